/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What each test of an arena's golden image says of the arena that is mapped. */
#ifndef TESTS_GOLDEN_SAY_ARENA_H
#define TESTS_GOLDEN_SAY_ARENA_H

#include <libfdt.h>

#include <kho/abi/arena.h>

#include "arena.h"
#include "golden.h"
#include "page.h"

/* The strings of its root FDT's "compatible". */
static inline void say_compatible(struct said *said)
{
	const char *list;
	kho_pa_t pa;
	int len;

	EXPECT_EQ(khoc_cword_get(kho_arena_.words->root_fdt,
				 offsetof(struct kho_abi_arena_header, root_fdt), &pa),
		  0);
	list = fdt_getprop(kho_phys_to_virt(pa), 0, "compatible", &len);
	EXPECT(list && len > 0 && !list[len - 1]);
	say(said, "compatible");
	for (const char *at = list; at < list + len; at += strlen(at) + 1)
		say(said, " %s", at);
	say(said, "\n");
}

#endif
