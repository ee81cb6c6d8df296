/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* bench-array: the array in an arena. Handing over is attaching, all that is checked then included. */
#include <stdlib.h>

#include <kho/array.h>

#include "../rows.h"
#include "arena.h"
#include "heap.h"
#include "preserve.h"
#include "subject.h"

#define ARENA_MAX (2ULL << 30)

static struct kho_array_desc **slot;
static struct kho_array *array;

static void make(uint64_t limit)
{
	if (!slot) {
		int fd = kho_arena_create_("bench");

		if (fd < 0 || kho_arena_format_(fd, ARENA_MAX) || kho_arena_map_(fd, true) ||
		    kho_arena_own_())
			abort();
		slot = (void *)kho_root("array", "bench-array", 1);
		if (!slot || kho_publish((void **)slot, kho_array_create(), NULL))
			abort();
	}
	array = kho_array_attach(*slot);
	if (!array)
		abort();
}

static void set(uint64_t index, uint64_t value)
{
	if (kho_array_set(array, index, (void *)value))
		abort();
}

static uint64_t get(uint64_t index)
{
	return (uintptr_t)kho_array_get(array, index);
}

static void erase(uint64_t index)
{
	kho_array_erase(array, index);
}

static int sum(void *ctx, __u64 index, void *entry)
{
	*(uint64_t *)ctx += (uintptr_t)entry;
	return 0;
}

static uint64_t walk(void)
{
	uint64_t total = 0;

	kho_array_walk(array, 0, ~0ULL, false, sum, &total);
	return total;
}

static int count(void *ctx, const struct khoc_run *run)
{
	unsigned int type, order;

	for (uint64_t i = 0; i < run->nr; i++)
		if (!kho_block_desc_(run->pa + i * KHO_PAGE_SIZE, &type, &order) &&
		    type == KHO_ABI_DESC_STRUCT)
			*(uint64_t *)ctx += KHO_PAGE_SIZE;
	return 0;
}

static uint64_t bytes(void)
{
	uint64_t total = sizeof(struct kho_array_desc);

	khoc_radix_walk(&kho_arena_.tree, kho_arena_.header->data_pa, ~0ULL, count, &total);
	return total;
}

static double handover(void)
{
	double start;

	kho_array_detach(array);
	start = now_ns();
	array = kho_array_attach(*slot);
	if (!array)
		abort();
	return now_ns() - start;
}

static void destroy(void)
{
	if (kho_array_destroy(array))
		abort();
}

const struct subject subject_kho = {"libkho", 0,    make,  set,	     get,
				    erase,    walk, bytes, handover, destroy};
