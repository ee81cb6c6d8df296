/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Made tests/golden/structures-v1.sparse once: an arena with arrays, block sets and vmalloc areas. make.py
 * says in its own words what is in them. Usage: make_structures FILE
 */
#include <kho/array.h>
#include <kho/block.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "sparse.h"
#include "vmalloc.h"

#define GOLDEN 0x9e3779b97f4a7c15ULL

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "make_structures: %s: %s\n", what, kho_error());
	exit(1);
}

/* A live object under a root. */
static void *object(const char *name, const char *type, size_t size)
{
	void **slot = kho_root(name, type, 1), *object = kho_calloc(1, size);

	need(slot && object && !kho_publish(slot, object, NULL), name);
	return object;
}

static struct kho_array *array(const char *name)
{
	struct kho_array_desc *desc = object(name, "array", sizeof(*desc));
	struct kho_array *array;

	need(!kho_array_init(desc), name);
	array = kho_array_attach(desc);
	need(array, name);
	return array;
}

static void make_arrays(void)
{
	struct kho_array *dense = array("dense"), *scattered = array("scattered"),
			 *died = array("died");
	char *word = object("object", "text", 16);
	struct kho_abi_array *desc;

	strcpy(word, "OBJECT");
	for (__u64 i = 0; i < 1000; i++)
		need(!kho_array_set(dense, i, kho_array_mk_value(i * i + 1)), "set");
	for (__u64 i = 500; i < 1000; i += 5)
		need(!kho_array_erase(dense, i), "erase");
	for (__u64 i = 1; i <= 100; i++)
		need(!kho_array_set(scattered, i * GOLDEN, kho_array_mk_value(i)), "set");
	need(!kho_array_set(scattered, ~0ULL, word), "set");
	for (__u64 i = 0; i < 3; i++)
		need(!kho_array_set(died, i + 7, kho_array_mk_value(i)), "set");
	/* Killed before the last store. */
	desc = *(void **)kho_root("died", "array", 1);
	need(desc->count == 3, "died");
	desc->count = 2;
}

static void make_set(const char *name, size_t size, unsigned int nr, unsigned int room)
{
	struct log {
		__u64 head;
		__u64 entry_size;
	} *log = object(name, "log", sizeof(*log));
	struct kho_block_set set;
	struct kho_block_set_it it;

	log->entry_size = size;
	need(!kho_block_set_init(&set, &log->head, size), name);
	kho_block_set_it_init(&it, &set);
	for (unsigned int i = 0; i < nr; i++) {
		unsigned char record[64];

		for (unsigned int j = 0; j < size; j++)
			record[j] = (unsigned char)((i * 20 + j) * 7 % 251);
		need(!kho_block_set_it_append(&it, record), name);
	}
	need(!kho_block_set_grow(&set, room), name);
}

/* Page i of area n begins with n * 1000 + i. */
static void make_area(struct kho_vmalloc *descs, unsigned int n, void *area, size_t pages)
{
	need(area, "area");
	memset(area, 0, pages * KHO_PAGE_SIZE);
	for (size_t i = 0; i < pages; i++)
		*(__u64 *)((char *)area + i * KHO_PAGE_SIZE) = n * 1000 + i;
	need(!kho_preserve_vmalloc(area, descs + n), "area");
}

static void make_areas(void)
{
	struct kho_vmalloc *descs = kho_alloc_preserve(KHO_PAGE_SIZE);

	need(descs && !kho_add_subtree("areas", descs, 2 * sizeof(*descs)), "areas");
	make_area(descs, 0, kho_kvmalloc(10 * KHO_PAGE_SIZE), 10);
	make_area(descs, 1, kho_vmalloc(33 * KHO_PAGE_SIZE), 33);
}

int main(int argc, char **argv)
{
	int fd = kho_arena_create_("golden");
	FILE *out = argc == 2 ? fopen(argv[1], "wb") : NULL;

	need(out && fd >= 0 && !kho_arena_format_(fd, 4 << 20) && !kho_arena_map_(fd, true) &&
		     !kho_arena_own_(),
	     "arena");
	make_arrays();
	make_set("log", 20, 500, 500);
	make_set("empty", 8, 0, 600);
	make_areas();
	kho_arena_set_state_(KHO_ABI_STATE_RUNNING);
	return sparse_write(out, kho_arena_.base, kho_arena_.file_size) || fclose(out);
}
