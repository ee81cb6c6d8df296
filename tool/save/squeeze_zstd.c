/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Compression by libzstd, a frame for every chunk. */
#include <zstd.h>

#include "save_file.h"

#define LEVEL 1 /* the server stands still meanwhile */

bool squeeze_possible(void)
{
	return true;
}

size_t squeeze(void *to, size_t room, const void *from, size_t len)
{
	size_t n = ZSTD_compress(to, room, from, len, LEVEL);

	return ZSTD_isError(n) || n >= len ? 0 : n;
}

bool unsqueeze(void *to, size_t len, const void *from, size_t stored)
{
	return ZSTD_decompress(to, len, from, stored) == len;
}
