/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Operations on an arena of the process host: made, dropped as by a crash and attached anew, as often as an input says. */
#ifndef FUZZ_ARENA_OPS_H
#define FUZZ_ARENA_OPS_H

#include "arena.h"
#include "ops.h"
#include "preserve.h"

#include <fcntl.h>

static inline void arena_begin(__u64 max)
{
	int fd = kho_arena_create_("fuzz");

	FACT(fd >= 0 && !kho_arena_format_(fd, max) && !kho_arena_map_(fd, true));
	FACT(!kho_arena_own_());
}

/* What a crash leaves, attached as the next program would, and sound. */
static inline void arena_again(void)
{
	int fd = fcntl(kho_arena_.fd, F_DUPFD_CLOEXEC, 0);

	kho_arena_unmap_();
	FACT(!kho_arena_map_(fd, true) && !kho_arena_own_());
	FACT(!kho_preserve_check_all_(false));
}

/* A few bytes at both ends say whose it is. */
static inline void arena_mark(void *at, size_t len, u8 id)
{
	memset(at, id, len < 64 ? len : 64);
	memset((char *)at + len - (len < 64 ? len : 64), id, len < 64 ? len : 64);
}

static inline void arena_marked(const void *at, size_t len, u8 id)
{
	const u8 *bytes = at;

	for (size_t i = 0; i < len && i < 64; i++)
		FACT(bytes[i] == id && bytes[len - 1 - i] == id);
}

#endif
