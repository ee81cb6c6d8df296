/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The clients' record. Of a counter each value from 1 on must have been told to exactly one client. Of
 * appends each id must stand in its key exactly once. The cas commands that were done on a key must form one
 * chain from its first value to its last: no value replaced twice, none that came from nowhere.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "torture.h"

#define WINDOWS 4096
#define IDS (32 * WINDOW)

struct list {
	uint64_t *at;
	size_t nr, max;
};

static struct list incrs[COUNTERS];
static struct list appends[WINDOWS];
static struct list stored[CHAINS], refused[CHAINS]; /* before << 32 | after */
static size_t nr_incrs, nr_appends, nr_cas, nr_refused;

static void add(struct list *l, uint64_t value)
{
	if (l->nr == l->max) {
		l->max = l->max ? 2 * l->max : 256;
		l->at = realloc(l->at, l->max * sizeof(*l->at));
		if (!l->at)
			abort();
	}
	l->at[l->nr++] = value;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void sort(struct list *l)
{
	if (l->nr)
		qsort(l->at, l->nr, sizeof(*l->at), compare);
}

void record_incr(unsigned int counter, uint64_t value)
{
	add(&incrs[counter], value);
	nr_incrs++;
}

void record_append(unsigned int window, uint32_t id)
{
	if (window >= WINDOWS)
		broken("the record has no room for window %u", window);
	add(&appends[window], id);
	nr_appends++;
}

void record_cas(unsigned int chain, uint32_t before, uint32_t after, bool done)
{
	add(done ? &stored[chain] : &refused[chain], (uint64_t)before << 32 | after);
	nr_cas += done;
	nr_refused += !done;
}

static void check_counter(unsigned int i, char *(*get)(const char *key, size_t *len))
{
	struct list *l = &incrs[i];
	char key[16], *value;
	size_t len;

	sort(l);
	for (size_t n = 0; n < l->nr; n++)
		if (l->at[n] != n + 1)
			broken("counter %u: after value %zu a client was told %llu: %s", i, n,
			       (unsigned long long)l->at[n],
			       l->at[n] == n ? "two got the same"
					     : "one was counted and nobody told");
	snprintf(key, sizeof(key), "c%u", i);
	value = get(key, &len);
	if (!value || strtoull(value, NULL, 10) != l->nr)
		broken("counter %u is %.20s at the end, and %zu increments were answered", i,
		       value ? value : "gone", l->nr);
	free(value);
}

static void check_window(unsigned int i, char *(*get)(const char *key, size_t *len))
{
	struct list *l = &appends[i], found = {0};
	char key[16], *value;
	size_t len;

	if (!l->nr)
		return;
	snprintf(key, sizeof(key), "a%u", i);
	value = get(key, &len);
	if (!value || len % 11)
		broken("key a%u has %zu bytes, not whole ids", i, value ? len : 0);
	for (size_t at = 0; at < len; at += 11)
		add(&found, strtoull(value + at, NULL, 10));
	free(value);
	sort(l);
	sort(&found);
	for (size_t n = 0; n < l->nr || n < found.nr; n++) {
		if (n >= found.nr || (n < l->nr && l->at[n] < found.at[n]))
			broken("key a%u: id %llu was acknowledged and is not there", i,
			       (unsigned long long)l->at[n]);
		if (n >= l->nr || found.at[n] < l->at[n])
			broken("key a%u: id %llu is there once more than it was appended", i,
			       (unsigned long long)found.at[n]);
	}
	free(found.at);
}

static void check_chain(unsigned int i, char *(*get)(const char *key, size_t *len))
{
	struct list *l = &stored[i];
	char key[16], *value;
	uint32_t at = 0;
	size_t len;

	/* By what each replaced: the chain is walked by bisection. */
	sort(l);
	for (size_t n = 1; n < l->nr; n++)
		if (l->at[n] >> 32 == l->at[n - 1] >> 32)
			broken("chain %u: value %u was replaced twice", i,
			       (unsigned int)(l->at[n] >> 32));
	for (size_t n = 0; n < l->nr; n++) {
		size_t low = 0, high = l->nr;

		while (low < high) {
			size_t middle = (low + high) / 2;

			if (l->at[middle] >> 32 < at)
				low = middle + 1;
			else
				high = middle;
		}
		if (low == l->nr || l->at[low] >> 32 != at)
			broken("chain %u ends at value %u, after %zu of %zu that were stored", i,
			       at, n, l->nr);
		at = (uint32_t)l->at[low];
	}
	for (size_t n = 0; n < refused[i].nr; n++)
		if ((uint32_t)refused[i].at[n] == at)
			broken("chain %u: value %u was refused and is there", i, at);
	snprintf(key, sizeof(key), "x%u", i);
	value = get(key, &len);
	if (!value || strtoul(value, NULL, 10) != at)
		broken("chain %u: %.20s at the end, and the last that was stored is %u", i,
		       value ? value : "nothing", at);
	free(value);
}

void record_check(char *(*get)(const char *key, size_t *len))
{
	for (unsigned int i = 0; i < COUNTERS; i++)
		check_counter(i, get);
	for (unsigned int i = 0; i < WINDOWS; i++)
		check_window(i, get);
	for (unsigned int i = 0; i < CHAINS; i++)
		check_chain(i, get);
}

void record_show(void)
{
	printf("%zu increments, %zu appends, %zu cas stored and %zu refused", nr_incrs, nr_appends,
	       nr_cas, nr_refused);
}
