/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* bench-array: an array of C, where the indices allow one. It is copied out and in. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../rows.h"
#include "subject.h"

static uint64_t *words, nr;

static uint64_t *room(void)
{
	uint64_t *p = mmap(NULL, nr * 8, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

static void make(uint64_t limit)
{
	nr = limit;
	words = room();
}

static void set(uint64_t index, uint64_t value)
{
	words[index] = value;
}

static uint64_t get(uint64_t index)
{
	return words[index];
}

static void erase(uint64_t index)
{
	words[index] = 0;
}

static uint64_t walk(void)
{
	uint64_t total = 0;

	for (uint64_t i = 0; i < nr; i++)
		if (words[i])
			total += words[i];
	return total;
}

static uint64_t bytes(void)
{
	return nr * 8;
}

static double handover(void)
{
	uint64_t *buffer = handover_buffer(nr);
	double start = now_ns();

	memcpy(buffer, words, nr * 8);
	munmap(words, nr * 8);
	words = room();
	memcpy(words, buffer, nr * 8);
	return now_ns() - start;
}

static void destroy(void)
{
	munmap(words, nr * 8);
}

const struct subject subject_plain = {"plain-array", 1ULL << 25, make,	set,	  get,
				      erase,	     walk,	 bytes, handover, destroy};
