/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* bench-array: JudyL. Its pairs are written out and inserted again, in order. */
#include <malloc.h>
#include <stdlib.h>

#include <Judy.h>

#include "../rows.h"
#include "subject.h"

static Pvoid_t judy;

static void make(uint64_t limit)
{
	judy = NULL;
}

static void set(uint64_t index, uint64_t value)
{
	Word_t *word = (Word_t *)JudyLIns(&judy, index, NULL);

	*word = value;
}

static uint64_t get(uint64_t index)
{
	Word_t *word = (Word_t *)JudyLGet(judy, index, NULL);

	return word ? *word : 0;
}

static void erase(uint64_t index)
{
	JudyLDel(&judy, index, NULL);
}

static uint64_t walk(void)
{
	Word_t index = 0, *word, total = 0;

	for (word = (Word_t *)JudyLFirst(judy, &index, NULL); word;
	     word = (Word_t *)JudyLNext(judy, &index, NULL))
		total += *word;
	return total;
}

static uint64_t bytes(void)
{
	return JudyLMemUsed(judy);
}

static double handover(void)
{
	uint64_t *buffer = handover_buffer(2 * JudyLCount(judy, 0, -1, NULL)), nr = 0;
	Word_t index = 0, *word;
	double start = now_ns();

	for (word = (Word_t *)JudyLFirst(judy, &index, NULL); word;
	     word = (Word_t *)JudyLNext(judy, &index, NULL)) {
		buffer[nr++] = index;
		buffer[nr++] = *word;
	}
	/* The predecessor's goes with its process: freeing it is not counted. */
	start = now_ns() - start;
	JudyLFreeArray(&judy, NULL);
	start = now_ns() - start;
	for (uint64_t i = 0; i < nr; i += 2)
		set(buffer[i], buffer[i + 1]);
	return now_ns() - start;
}

static void destroy(void)
{
	JudyLFreeArray(&judy, NULL);
}

const struct subject subject_judy = {"JudyL", 0,    make,  set,	     get,
				     erase,   walk, bytes, handover, destroy};
