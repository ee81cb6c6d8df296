/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* A double of what the memory side needs from the life side: only linked while host/life.c is not there. */
#include <errno.h>

#include "arena.h"

bool kho_may_write_(void)
{
	if (kho_arena_.writer)
		return true;
	kho_fail_(-EPERM, "the arena is not ours");
	errno = EPERM;
	return false;
}
