/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The heap against glibc's and mimalloc's: malloc and free in pairs, with 512 objects in
 * use throughout (the oldest goes for each new one); and publishing, which the others do not have:
 * an object is made, published in a slot, and deleted from it again.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <string.h>

#include "arena.h"
#include "rows.h"

#define IN_USE 512
#define PAIRS 20000
#define ROUNDS 60
#define ARENA_MAX (256ULL << 20)

struct subject {
	const char *name;
	void *(*alloc)(size_t size);
	void (*free)(void *ptr);
};

/* Linked, mimalloc would take the place of malloc(): it is loaded beside it. */
static struct subject subjects[] = {
	{"libkho", kho_malloc, kho_free},
	{"glibc", malloc, free},
	{"mimalloc", NULL, NULL},
};

static size_t sizes[PAIRS];

static void set_sizes(size_t size)
{
	uint64_t x = 88172645463325252ULL;

	for (int i = 0; i < PAIRS; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		sizes[i] = size ?: 16 + x % 241; /* mixed: 16 to 256 */
	}
}

static double pairs(const struct subject *s)
{
	static void *ring[IN_USE];
	double start;

	for (int i = 0; i < IN_USE; i++)
		ring[i] = s->alloc(sizes[i]);
	start = now_ns();
	for (int i = 0; i < PAIRS; i++) {
		void **place = &ring[i % IN_USE];

		s->free(*place);
		*place = s->alloc(sizes[i]);
		*(volatile char *)*place = 1;
	}
	start = now_ns() - start;
	for (int i = 0; i < IN_USE; i++)
		s->free(ring[i]);
	return start / PAIRS;
}

static double publishes(void **slots)
{
	double start = now_ns();

	for (int i = 0; i < PAIRS; i++) {
		void **slot = &slots[i % IN_USE];
		void *object = kho_malloc(sizes[i]);

		if (!object || kho_publish(slot, object, NULL) || kho_publish(slot, NULL, object))
			abort();
	}
	return (now_ns() - start) / PAIRS;
}

static void **open_arena(void)
{
	int fd = kho_arena_create_("bench");
	void **root;

	if (fd < 0 || kho_arena_format_(fd, ARENA_MAX) || kho_arena_map_(fd, true) ||
	    kho_arena_own_())
		abort();
	root = kho_root("slots", "bench-slots", 1);
	if (!root || kho_publish(root, kho_calloc(IN_USE, 8), NULL))
		abort();
	return *root;
}

static int load_mimalloc(void)
{
	void *lib = dlopen("libmimalloc.so.2", RTLD_NOW | RTLD_LOCAL);

	if (lib) {
		subjects[2].alloc = (void *(*)(size_t))(uintptr_t)dlsym(lib, "mi_malloc");
		subjects[2].free = (void (*)(void *))(uintptr_t)dlsym(lib, "mi_free");
	}
	if (!subjects[2].alloc || !subjects[2].free)
		fprintf(stderr, "bench-heap: %s\n", dlerror());
	return subjects[2].alloc && subjects[2].free ? 0 : 1;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *pairs, *publish;
		size_t size;
	} cases[] = {
		{"pairs/16", "publish/16", 16},	   {"pairs/32", "publish/32", 32},
		{"pairs/64", "publish/64", 64},	   {"pairs/128", "publish/128", 128},
		{"pairs/256", "publish/256", 256}, {"pairs/mixed", "publish/mixed", 0},
	};
	static struct rows rows;
	void **slots = open_arena();

	if (argc != 2 || load_mimalloc())
		return 2;
	for (size_t c = 0; c < sizeof(cases) / sizeof(*cases); c++) {
		struct row *row[4];

		set_sizes(cases[c].size);
		for (int s = 0; s < 3; s++)
			row[s] = row_new(&rows, cases[c].pairs, subjects[s].name, "pair_ns", "ns");
		row[3] = row_new(&rows, cases[c].publish, "libkho", "publish_ns", "ns");
		/* In turns, so that noise meets all of them. */
		for (int round = -5; round < ROUNDS; round++) {
			for (int s = 0; s < 4; s++) {
				double ns = s < 3 ? pairs(&subjects[s]) : publishes(slots);

				if (round >= 0)
					row_add(row[s], ns);
			}
		}
	}
	return rows_write(&rows, argv[1]);
}
