/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Subjects of our own: the tree, a walk of it bit by bit, and a flat bitmap. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <kho/kho.h>

#include "set.h"

#define SHIFT 12
#define NODES_LO 0x10000ULL
#define NODES_HI (1ULL << 30)
/* Keys begin behind the nodes, at the start of a leaf. */
#define FIRST_PAGE (NODES_HI >> SHIFT)

/* The nodes' memory stays from one tree to the next, as a heap's does. It is zeroed when a tree is dropped. */
static char *image;

struct tree {
	struct khoc_mem_ops ops;
	struct khoc_mem mem;
	struct khoc_radix radix;
	__u64 next;
	__u64 *seen;
};

static void must(bool ok)
{
	if (!ok)
		abort();
}

static kho_pa_t node_alloc(void *ctx)
{
	struct tree *tree = ctx;
	__u64 pa = __atomic_fetch_add(&tree->next, 4096, __ATOMIC_RELAXED);

	return pa < NODES_HI ? pa : 0;
}

static void node_free(void *ctx, kho_pa_t pa)
{
	memset(image + pa, 0, 4096); /* by a thread that lost a race: never used */
}

static void *tree_make(const struct set_case *c)
{
	struct tree *tree = calloc(1, sizeof(*tree));

	if (!image) {
		image = mmap(NULL, NODES_HI, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		must(image != MAP_FAILED);
	}
	must(tree);
	tree->seen = calloc(1, NODES_HI / 4096 / 8);
	must(tree->seen);
	tree->next = NODES_LO;
	tree->ops = (struct khoc_mem_ops){.alloc_node = node_alloc, .free_node = node_free};
	tree->mem = (struct khoc_mem){&tree->ops, tree,	   image, (FIRST_PAGE + c->space) << SHIFT,
				      NODES_LO,	  NODES_HI};
	must(!khoc_radix_init(&tree->radix, &tree->mem, SHIFT));
	return tree;
}

static kho_pa_t pa_of(__u64 key)
{
	return (key + FIRST_PAGE) << SHIFT;
}

static void tree_insert(void *set, const uint64_t *keys, size_t nr, size_t run,
			pthread_mutex_t *lock)
{
	struct tree *tree = set;
	int err = 0;

	if (run == 1)
		for (size_t i = 0; i < nr; i++)
			err |= khoc_radix_add(&tree->radix, pa_of(keys[i]), 0);
	else
		for (size_t i = 0; i < nr; i++)
			err |= khoc_radix_add_range(&tree->radix, pa_of(keys[i]), run, 0);
	must(!err);
}

static size_t tree_lookup(void *set, const uint64_t *keys, size_t nr, size_t run,
			  pthread_mutex_t *lock)
{
	struct tree *tree = set;
	size_t found = 0;

	for (size_t i = 0; i < nr; i++)
		for (size_t j = 0; j < run; j++)
			found += khoc_radix_test(&tree->radix, pa_of(keys[i] + j), 0);
	return found;
}

static void tree_erase(void *set, const uint64_t *keys, size_t nr, size_t run,
		       pthread_mutex_t *lock)
{
	struct tree *tree = set;
	int err = 0;

	if (run == 1)
		for (size_t i = 0; i < nr; i++)
			err |= khoc_radix_del(&tree->radix, pa_of(keys[i]), 0);
	else
		for (size_t i = 0; i < nr; i++)
			err |= khoc_radix_del_range(&tree->radix, pa_of(keys[i]), run, 0);
	must(!err);
}

static int add_run(void *ctx, const struct khoc_run *run)
{
	*(size_t *)ctx += run->nr;
	return 0;
}

static size_t tree_walk(void *set)
{
	struct tree *tree = set;
	size_t nr = 0;

	must(!khoc_radix_walk(&tree->radix, 0, tree->mem.size, add_run, &nr));
	return nr;
}

static size_t tree_bytes(void *set)
{
	struct tree *tree = set;

	return tree->next - NODES_LO;
}

/* The successor's part: attach, and hold every node and every bit against the format. */
static void tree_hand_over(void *set)
{
	struct tree *tree = set;
	struct khoc_radix_check check = {NODES_HI, tree->mem.size, tree->seen};
	struct khoc_radix other;

	memset(tree->seen, 0, NODES_HI / 4096 / 8);
	must(!khoc_radix_attach(&other, &tree->mem, SHIFT, tree->radix.root_pa));
	must(!khoc_radix_validate(&other, &check, NULL));
}

static void tree_drop(void *set)
{
	struct tree *tree = set;

	memset(image + NODES_LO, 0, tree->next - NODES_LO);
	free(tree->seen);
	free(tree);
}

const struct set_ops set_kho = {.name = "libkho",
				.make = tree_make,
				.insert = tree_insert,
				.lookup = tree_lookup,
				.erase = tree_erase,
				.walk = tree_walk,
				.bytes = tree_bytes,
				.hand_over = tree_hand_over,
				.drop = tree_drop};

/* ---- a call of a function for every bit ---- */

static void bits_below(const __u64 *node, unsigned int level, __u64 key,
		       int (*fn)(void *ctx, const struct khoc_run *run), void *ctx)
{
	for (__u64 i = 0; i < 512; i++) {
		__u64 word = node[i];

		if (level && word)
			bits_below((__u64 *)(image + word), level - 1,
				   key + (i << (15 + 9 * (level - 1))), fn, ctx);
		for (; !level && word; word &= word - 1) {
			struct khoc_block block;
			struct khoc_run run;

			khoc_key_decode(SHIFT, key + i * 64 + (unsigned int)__builtin_ctzll(word),
					&block);
			run = (struct khoc_run){block.pa, 1, block.order};
			if (fn(ctx, &run))
				return;
		}
	}
}

static size_t per_bit_walk(void *set)
{
	struct tree *tree = set;
	size_t nr = 0;

	bits_below(tree->radix.root, 5, 0, add_run, &nr);
	return nr;
}

const struct set_ops set_per_bit = {.name = "per-bit",
				    .make = tree_make,
				    .insert = tree_insert,
				    .walk = per_bit_walk,
				    .drop = tree_drop};

/* ---- a flat bitmap ---- */

struct bitmap {
	__u64 *words;
	size_t len;
};

/* 8 GiB for 2^36 keys are no data structure any more. */
static bool bitmap_fits(const struct set_case *c)
{
	return c->space <= 1ULL << 30;
}

static void *bitmap_make(const struct set_case *c)
{
	struct bitmap *map = calloc(1, sizeof(*map));

	must(map);
	map->len = c->space / 8;
	map->words = mmap(NULL, map->len, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	must(map->words != MAP_FAILED);
	return map;
}

static void bitmap_change(struct bitmap *map, const uint64_t *keys, size_t nr, size_t run, bool set,
			  bool threads)
{
	for (size_t i = 0; i < nr; i++) {
		__u64 *word = map->words + keys[i] / 64, bit = 1ULL << keys[i] % 64;

		if (run == 64)
			*word = set ? ~0ULL : 0;
		else if (threads && set)
			__atomic_fetch_or(word, bit, __ATOMIC_RELAXED);
		else if (threads)
			__atomic_fetch_and(word, ~bit, __ATOMIC_RELAXED);
		else if (set)
			*word |= bit;
		else
			*word &= ~bit;
	}
}

static void bitmap_insert(void *set, const uint64_t *keys, size_t nr, size_t run,
			  pthread_mutex_t *lock)
{
	bitmap_change(set, keys, nr, run, true, lock);
}

static void bitmap_erase(void *set, const uint64_t *keys, size_t nr, size_t run,
			 pthread_mutex_t *lock)
{
	bitmap_change(set, keys, nr, run, false, lock);
}

static size_t bitmap_lookup(void *set, const uint64_t *keys, size_t nr, size_t run,
			    pthread_mutex_t *lock)
{
	struct bitmap *map = set;
	size_t found = 0;

	for (size_t i = 0; i < nr; i++)
		for (__u64 key = keys[i]; key < keys[i] + run; key++)
			found += *(volatile __u64 *)(map->words + key / 64) >> key % 64 & 1;
	return found;
}

static size_t bitmap_walk(void *set)
{
	struct bitmap *map = set;
	volatile size_t last;
	size_t nr = 0;

	for (size_t i = 0; i < map->len / 8; i++)
		for (__u64 word = map->words[i]; word; word &= word - 1) {
			last = i * 64 + (unsigned int)__builtin_ctzll(word);
			nr++;
		}
	(void)last;
	return nr;
}

static size_t bitmap_bytes(void *set)
{
	struct bitmap *map = set;

	return map->len;
}

static void bitmap_hand_over(void *set)
{
	struct bitmap *map = set;
	char *saved = malloc(map->len), *other = malloc(map->len);

	must(saved && other);
	memcpy(saved, map->words, map->len);
	__asm__ volatile("" : : "r"(saved) : "memory"); /* or the compiler sees that nobody looks */
	memcpy(other, saved, map->len);
	__asm__ volatile("" : : "r"(other) : "memory");
	free(saved);
	free(other);
}

static void bitmap_drop(void *set)
{
	struct bitmap *map = set;

	munmap(map->words, map->len);
	free(map);
}

const struct set_ops set_bitmap = {.name = "bitmap",
				   .fits = bitmap_fits,
				   .make = bitmap_make,
				   .insert = bitmap_insert,
				   .lookup = bitmap_lookup,
				   .erase = bitmap_erase,
				   .walk = bitmap_walk,
				   .bytes = bitmap_bytes,
				   .hand_over = bitmap_hand_over,
				   .drop = bitmap_drop};
