/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What the programs that make random images draw from: the same numbers for the same seed. */
#ifndef KHO_TEST_READER_RANDOM_H
#define KHO_TEST_READER_RANDOM_H

#include <kho/types.h>

static __u64 seed;

/* From 0 to @n - 1; @n is not 0. */
static inline __u64 below(__u64 n)
{
	__u64 z = seed += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return (z ^ z >> 31) % n;
}

#endif
