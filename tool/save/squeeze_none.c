/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Built without libzstd: compressed files are refused, and cannot be made. */
#include "save_file.h"

bool squeeze_possible(void)
{
	return false;
}

size_t squeeze(void *to, size_t room, const void *from, size_t len)
{
	return 0;
}

bool unsqueeze(void *to, size_t len, const void *from, size_t stored)
{
	return false;
}
