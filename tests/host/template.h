/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A small arena with some of everything in it, the same every time: what the tests of
 * corruption, the fuzzer and the golden image start from.
 */
#ifndef KHO_TEST_TEMPLATE_H
#define KHO_TEST_TEMPLATE_H

#include <kho/types.h>
#include <stdbool.h>
#include <stddef.h>

#define TEMPLATE_MAX (3ULL << 20)

enum thing_kind { THING_SMALL, THING_LARGE, THING_FOLIO, THING_RUN, THING_SINGLE };

/* Something published or preserved; its bytes follow from its number. */
struct thing {
	enum thing_kind kind;
	__u64 at; /* pa of the first byte that is the user's */
	__u64 len;
	__u64 nr; /* order of a folio, pages of a run */
};

#define NR_THINGS 64

/* The caches in it, as kho_kmem_cache_create() is asked for them. */
#define TEMPLATE_WHOLE "whole", 72, 0, 0, NULL
#define TEMPLATE_SINGLE "single", 100, 0, KHO_CACHE_SINGLE, NULL

struct template
{
	struct thing things[NR_THINGS];
	unsigned int nr;
};

/* Fill the open, owned, empty arena. Return: 0, or the line that failed. */
int template_fill(struct template *t);

/* Does what is mapped hold the bytes of thing @i? */
bool template_intact(const struct template *t, unsigned int i);

#endif
