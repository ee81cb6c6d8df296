/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What the core reads in images of its own formats, in the words of core_agree.py; and random images
 * of any page size for both to read.
 *
 *	core_dump make SEED SHIFT FILE	an image, as a program leaves it that ends or dies at any store
 *	core_dump read FILE PATCHES	what is in it after each line of PATCHES, "OFFSET:WORD ..." in hex: words
 *					of 8 bytes to be changed; "refused" for each structure that is; "end"
 *
 *	FILE: struct head, then head.backed bytes
 *	image: page 1 an array, page 2 vmalloc descriptors, page 3 words that lead to block sets; nodes of
 *	the tree; pages, preserved as they are published. All of it up to head.backed has memory.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kho/kho.h>

#include "random.h"

#define NR_AREAS 4
#define NR_SETS 3

typedef unsigned long long ull;

static struct head {
	__u64 shift;
	__u64 size;
	__u64 backed;
	__u64 node_lo;
	__u64 node_hi;
	__u64 root;
	__u64 entry_size[NR_SETS];
} head;

static char *bytes;
static struct khoc_radix tree;
static struct khoc_array array;
static unsigned char *used; /* per page below head.backed */
static jmp_buf death;
static __u64 stores_left;
static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "core_dump: %s\n", what);
	exit(1);
}

/* ---- the image ------------------------------------------------------------------- */

static void *map(void *ctx, kho_pa_t pa, size_t len)
{
	return len <= head.backed && pa <= head.backed - len ? bytes + pa : NULL;
}

static kho_pa_t take_page(kho_pa_t lo, kho_pa_t hi)
{
	__u64 first = lo >> head.shift, nr = (hi - lo) >> head.shift, at = below(nr);

	for (__u64 i = 0; i < nr; i++, at = (at + 1) % nr)
		if (!used[first + at]) {
			used[first + at] = 1;
			memset(bytes + ((first + at) << head.shift), 0, 1UL << head.shift);
			return (first + at) << head.shift;
		}
	return 0;
}

static kho_pa_t alloc_node(void *ctx)
{
	return take_page(head.node_lo, head.node_hi);
}

static kho_pa_t alloc_page(void *ctx)
{
	if (!stores_left--)
		longjmp(death, 1);
	return take_page(head.node_hi, head.backed);
}

static void free_page(void *ctx, kho_pa_t pa)
{
	used[pa >> head.shift] = 0;
}

/* A crash is one before or behind the store. */
static int publish_page(void *ctx, __u64 *slot, __u64 value, kho_pa_t fresh, kho_pa_t stale)
{
	if (!stores_left--)
		longjmp(death, 1);
	if (fresh && khoc_radix_add(&tree, fresh, 0))
		return -ENOMEM;
	*slot = value;
	if (stale) {
		must(!khoc_radix_del(&tree, stale, 0), "stale page");
		free_page(ctx, stale);
	}
	if (!stores_left--)
		longjmp(death, 1);
	return 0;
}

static const struct khoc_mem_ops ops = {map,	    alloc_node, free_page,
					alloc_page, free_page,	publish_page};
static struct khoc_mem mem = {.ops = &ops};

static void open_image(void)
{
	mem.size = head.size;
	mem.node_lo = head.node_lo;
	mem.node_hi = head.node_hi;
}

static __u64 *word_at(kho_pa_t pa)
{
	return (__u64 *)(bytes + pa);
}

static kho_pa_t page_pa(unsigned int n)
{
	return (kho_pa_t)n << head.shift;
}

/* ---- a random image ---------------------------------------------------------------- */

static __u64 some_entry(void)
{
	return below(3) ? khoc_array_integer(below(1ULL << 63))
			: 8 + (below(head.size - 8) & ~7ULL);
}

/* Different ways to fill: ascending, descending, scattered, in clusters, near the last index. */
static __u64 some_index(unsigned int kind, __u64 i, __u64 n)
{
	switch (kind) {
	case 0:
		return i;
	case 1:
		return 1000000 - i;
	case 2:
		return ~0ULL >> below(60) & (below(1ULL << 32) << 32 | below(1ULL << 32));
	case 3:
		return below(8) << 40 | below(2 * n);
	case 4:
		return ~0ULL - below(3 * n);
	default:
		return below(n) * (1 + below(2) * 65536);
	}
}

static void fill_array(void)
{
	__u64 n = 1ULL << below(head.shift == 6 ? 9 : 12);
	unsigned int kind = (unsigned int)below(6);
	int rc = 0;

	for (__u64 i = 0; i < n && rc != -ENOMEM && rc != -ENOSPC; i++)
		rc = khoc_array_set(&array, some_index(kind, i, n), some_entry());
	must(!rc || rc == -ENOMEM || rc == -ENOSPC, "set");
}

/* Every so many entries, or all of a range. */
static void thin_array(void)
{
	__u64 index = below(2) ? 0 : below(1ULL << 20), entry, every = 1 + below(4), i = 0;

	for (; khoc_array_next(&array, &index, &entry) == 1; index++, i++) {
		if (i % every == 0)
			must(!khoc_array_erase(&array, index), "erase");
		if (index == ~0ULL)
			break;
	}
}

static void make_array(void)
{
	for (__u64 rounds = below(4); rounds; rounds--) {
		fill_array();
		if (below(2))
			thin_array();
		if (!below(8))
			khoc_array_clear(&array);
	}
}

static void make_set(unsigned int n)
{
	char record[4096];
	struct khoc_block_set set;
	struct khoc_block_it it;
	__u64 size = head.entry_size[n];

	must(!khoc_block_set_init(&set, &mem, (unsigned int)head.shift, word_at(page_pa(3)) + n,
				  size),
	     "set");
	for (__u64 steps = below(200); steps; steps--) {
		unsigned int what = (unsigned int)below(24);
		int rc = khoc_block_it_init_end(&it, &set);

		must(!rc, "end of a set");
		for (__u64 i = 0; i < size; i++)
			record[i] = (char)below(256);
		if (what < 14)
			rc = khoc_block_it_append(&it, record);
		else if (what < 21)
			rc = khoc_block_it_pop(&it);
		else if (what == 21)
			rc = khoc_block_set_grow(&set, below(60));
		else if (what == 22)
			rc = below(4) ? 0 : khoc_block_set_clear(&set);
		else if (khoc_block_it_reserve(&it))
			rc = 0;
		must(!rc || rc == -ENOENT || rc == -ENOMEM, "step of a set");
	}
}

static void make_area(unsigned int n)
{
	struct kho_abi_vmalloc *desc = (void *)(bytes + page_pa(2)), built;
	unsigned int order = (unsigned int)below(3), shift = (unsigned int)head.shift;
	__u64 max = (head.size - head.node_hi) >> (shift + order),
	      nr = 1 + below(below(4) ? 20 : 600);
	__u64 at = (head.node_hi >> (shift + order)) + 1 + below(max / 2);
	kho_pa_t blocks[600];

	for (__u64 i = 0; i < nr; i++, at += 1 + below(3))
		blocks[i] = at << (shift + order);
	for (__u64 i = nr; i > 1; i--) {
		__u64 j = below(i);
		kho_pa_t swap = blocks[i - 1];

		blocks[i - 1] = blocks[j];
		blocks[j] = swap;
	}
	if (khoc_vmalloc_build(&mem, shift, order, 1 + 2 * (unsigned int)below(2), blocks, nr,
			       &built))
		return;
	for (kho_pa_t chunk = built.first; chunk; chunk = *word_at(chunk))
		if (khoc_radix_add(&tree, chunk, 0))
			return;
	for (__u64 i = 0; i < nr; i++)
		if (khoc_radix_add(&tree, blocks[i], order))
			return;
	desc[n] = built;
}

static void make_blocks(void)
{
	unsigned int shift = (unsigned int)head.shift;

	for (__u64 n = below(100); n; n--) {
		unsigned int order = (unsigned int)below(below(4) ? 3 : 20);
		__u64 lo = (head.node_hi >> (shift + order)) + 1, hi = head.size >> (shift + order);

		if (hi > lo)
			khoc_radix_add(&tree, (lo + below(hi - lo)) << (shift + order), order);
	}
}

static void make_structures(void)
{
	if (setjmp(death))
		return;
	stores_left = below(4) ? ~0ULL : below(300);
	for (unsigned int i = 0; i < 6; i++)
		switch (below(6)) {
		case 0:
			make_blocks();
			break;
		case 1:
			make_area((unsigned int)below(NR_AREAS));
			break;
		case 2:
			for (unsigned int n = 0; n < NR_SETS; n++)
				if (!*(word_at(page_pa(3)) + n) && below(3))
					make_set(n);
			break;
		default:
			make_array();
		}
}

static int make(unsigned int shift, const char *path)
{
	__u64 pages = shift == 6 ? 2048 : shift == 16 ? 48 : 128, nodes = shift == 6 ? 2048 : 64;
	FILE *out = fopen(path, "wb");

	head.shift = shift;
	head.node_lo = page_pa(4);
	head.node_hi = page_pa(4 + (unsigned int)nodes);
	head.backed = page_pa(4 + (unsigned int)(nodes + pages));
	head.size = head.backed + (below(2) ? 8192ULL << shift : 1ULL << (shift + 24));
	for (unsigned int i = 0; i < NR_SETS; i++)
		head.entry_size[i] = 1 + below(below(2) ? 48 : (shift == 6 ? 48 : 4080));
	bytes = calloc(1, head.backed);
	used = calloc(1, head.backed >> shift);
	must(out && bytes && used, path);
	open_image();
	must(!khoc_radix_init(&tree, &mem, shift), "tree");
	must(!khoc_array_init(&array, &mem, shift, page_pa(1)), "array");
	head.root = tree.root_pa;
	make_structures();
	must(fwrite(&head, sizeof(head), 1, out) == 1 && fwrite(bytes, head.backed, 1, out) == 1 &&
		     !fclose(out),
	     path);
	return 0;
}

/* ---- what is in one ------------------------------------------------------------------ */

static __u64 digest(__u64 value, __u64 word)
{
	return (value ^ word) * 0x100000001b3ull;
}

#define DIGEST_0 0xcbf29ce484222325ull

static int by_address(const void *a, const void *b)
{
	const struct khoc_block *x = a, *y = b;

	return x->pa != y->pa ? (x->pa > y->pa) - (x->pa < y->pa)
			      : (x->order > y->order) - (x->order < y->order);
}

static void say_blocks(void)
{
	static struct khoc_block blocks[100000];
	struct khoc_radix_iter iter;
	struct khoc_run run;
	size_t nr = 0;

	khoc_radix_iter_init(&iter, &tree, 0, head.size, 0,
			     khoc_max_order((unsigned int)head.shift));
	while (khoc_radix_iter_next(&iter, &run))
		for (__u64 i = 0; i < run.nr; i++, nr++) {
			must(nr < sizeof(blocks) / sizeof(blocks[0]), "too many blocks");
			blocks[nr] = (struct khoc_block){run.pa + (i << (head.shift + run.order)),
							 run.order};
		}
	must(!khoc_radix_iter_error(&iter), "walk");
	qsort(blocks, nr, sizeof(blocks[0]), by_address);
	for (size_t i = 0; i < nr; i++)
		printf("block 0x%llx %u\n", (ull)blocks[i].pa, blocks[i].order);
}

/* A bit for each page. */
static __u64 *scratch(kho_pa_t lo, kho_pa_t hi)
{
	__u64 *seen = calloc(((hi - lo) >> head.shift) / 64 + 1, 8);

	must(seen, "memory");
	return seen;
}

static bool say_tree(void)
{
	__u64 *seen = scratch(head.node_lo, head.node_hi);
	struct khoc_radix_check check = {head.node_hi, head.size, seen};
	bool ok = !khoc_radix_attach(&tree, &mem, (unsigned int)head.shift, head.root) &&
		  !khoc_radix_validate(&tree, &check, NULL);

	if (ok)
		say_blocks();
	else
		printf("tree refused\n");
	free(seen);
	return ok;
}

static void say_array(void)
{
	__u64 *seen = scratch(head.node_hi, head.backed);
	struct khoc_array_check check = {head.node_hi, head.backed, seen, 0, 0};
	__u64 index, entry, sum = DIGEST_0, nr = 0;
	struct khoc_array_iter iter;

	if (khoc_array_attach(&array, &mem, (unsigned int)head.shift, page_pa(1), NULL) ||
	    khoc_array_validate(&array, &check, NULL)) {
		printf("array refused\n");
		free(seen);
		return;
	}
	khoc_array_iter_init(&iter, &array, 0, ~0ULL);
	for (; khoc_array_iter_next(&iter, &index, &entry) == 1; nr++) {
		must(khoc_array_get(&array, index) == entry, "get");
		sum = digest(digest(sum, index), entry);
	}
	must(nr == khoc_array_count(&array), "count");
	printf("array %llu %llu %016llx\n", (ull)nr, (ull)check.pages, (ull)sum);
	free(seen);
}

static void say_set(unsigned int n, bool tree_ok)
{
	struct khoc_block_chain chain = {.mem = &mem,
					 .shift = (unsigned int)head.shift,
					 .entry_size = head.entry_size[n],
					 .head = word_at(page_pa(3))[n]};
	__u64 sum = DIGEST_0;
	struct khoc_block_counts counts;
	struct khoc_block_it it;
	const unsigned char *record;

	if (khoc_block_check(&chain, tree_ok ? &tree : NULL, &counts, NULL)) {
		printf("set %u refused\n", n);
		return;
	}
	khoc_block_it_init_read(&it, &chain);
	while ((record = khoc_block_it_read(&it)))
		for (__u64 i = 0; i < chain.entry_size; i++)
			sum = digest(sum, record[i]);
	must(!khoc_block_it_error(&it, NULL), "records");
	printf("set %u %llu %llu %016llx\n", n, (ull)counts.blocks, (ull)counts.entries, (ull)sum);
}

static void say_area(unsigned int n, bool tree_ok)
{
	const struct kho_abi_vmalloc *desc = (void *)(bytes + page_pa(2) + n * 16);
	__u64 *seen = scratch(head.node_hi, head.size);
	struct khoc_vmalloc_check check = {head.node_hi, head.size, tree_ok ? &tree : NULL, seen};
	struct khoc_vmalloc_iter iter;
	struct khoc_vmalloc_part part;
	__u64 sum = DIGEST_0;

	if (!desc->first) {
		printf("area %u none\n", n);
	} else if (khoc_vmalloc_validate(&mem, (unsigned int)head.shift, desc, &check, NULL)) {
		printf("area %u refused\n", n);
	} else {
		check.seen = NULL;
		khoc_vmalloc_iter_init(&iter, &mem, (unsigned int)head.shift, desc, &check);
		while (khoc_vmalloc_iter_next(&iter, &part))
			sum = digest(digest(sum, part.pa), part.chunk);
		printf("area %u %u %u %u %016llx\n", n, desc->total_pages, desc->flags, desc->order,
		       (ull)sum);
	}
	free(seen);
}

static void say_all(void)
{
	bool tree_ok = say_tree();

	say_array();
	for (unsigned int n = 0; n < NR_SETS; n++)
		say_set(n, tree_ok);
	for (unsigned int n = 0; n < NR_AREAS; n++)
		say_area(n, tree_ok);
	printf("end\n");
}

/* Change the words of a line, or put back what was there before. */
static void patch(const char *line, const char *before)
{
	char *at = (char *)line;

	while (*at && *at != '\n') {
		__u64 offset = strtoull(at, &at, 16), value;

		must(*at == ':' && offset + 8 <= head.backed, "patch");
		value = strtoull(at + 1, &at, 16);
		memcpy(bytes + offset, before ? before + offset : (char *)&value, 8);
		while (*at == ' ')
			at++;
	}
}

int main(int argc, char **argv)
{
	FILE *in, *lines;
	char line[4096], *saved;

	if (argc == 5 && !strcmp(argv[1], "make")) {
		seed = strtoull(argv[2], NULL, 0);
		return make((unsigned int)atoi(argv[3]), argv[4]);
	}
	if (argc != 4 || strcmp(argv[1], "read")) {
		fprintf(stderr, "usage: core_dump make SEED SHIFT FILE | read FILE PATCHES\n");
		return 2;
	}
	in = fopen(argv[2], "rb");
	lines = fopen(argv[3], "r");
	must(in && lines && fread(&head, sizeof(head), 1, in) == 1, argv[2]);
	bytes = malloc(head.backed);
	must(bytes && fread(bytes, head.backed, 1, in) == 1, argv[2]);
	open_image();
	saved = malloc(head.backed);
	must(saved, "memory");
	memcpy(saved, bytes, head.backed);
	while (fgets(line, sizeof(line), lines)) {
		patch(line, NULL);
		say_all();
		patch(line, saved);
	}
	free(saved);
	fclose(in);
	fclose(lines);
	return 0;
}
