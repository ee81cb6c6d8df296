/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What has pages of its own in the image that is damaged: a page of a structure, areas of vmalloc,
 * arrays, block sets. Each is made, and read as the program that comes next would read it. See
 * damage.h.
 */
#include <stdlib.h>
#include <string.h>

#include <kho/array.h>
#include <kho/block.h>
#include <kho/vmalloc.h>

#include "arena_fixture.h"
#include "damage.h"
#include "heap.h"
#include "preserve.h"

#define OR_LINE(cond)                                                                              \
	do {                                                                                       \
		if (!(cond))                                                                       \
			return __LINE__;                                                           \
	} while (0)

/* The objects of the heap in which descriptors, heads, words and records are. */
#define NR_OBJECTS 8

static kho_pa_t objects[NR_OBJECTS];
static unsigned int nr_objects;

void damage_add_object(kho_pa_t pa)
{
	assert_true(nr_objects < NR_OBJECTS);
	objects[nr_objects++] = pa;
}

/* An object of zeroes that a root leads to. */
static void *object_of_root(const char *root, size_t size)
{
	void *object = kho_calloc(1, size);

	if (!object || kho_publish(kho_root(root, "test-struct", 1), object, NULL))
		return NULL;
	damage_add_object(kho_virt_to_phys(object));
	return object;
}

bool damage_objects_found(bool *typed)
{
	bool all = true;

	for (unsigned int i = 0; i < nr_objects; i++) {
		damage_hush();
		if (kho_slab_of_(kho_phys_to_virt(objects[i]))) {
			all &= damage_is_live(objects[i]);
			continue;
		}
		*typed |= damage_is_told();
		all = false;
	}
	return all;
}

/* ---- a page of no structure in particular, reached by a word of an object ---- */

static kho_pa_t struct_page;

int damage_fill_page(void)
{
	__u64 *word = object_of_root("page", 64);

	OR_LINE(word);
	struct_page = kho_arena_.mem.ops->alloc_page(kho_arena_.mem.ctx);
	OR_LINE(struct_page);
	memset(kho_phys_to_virt(struct_page), 0x77, KHO_PAGE_SIZE);
	return kho_arena_.mem.ops->publish_page(kho_arena_.mem.ctx, word, struct_page, struct_page,
						0);
}

bool damage_page_found(bool *typed)
{
	/* The program follows its own word; what the arena says of the page is judged here. */
	damage_hush();
	if (!kho_block_check_(struct_page, 0, KHO_ABI_DESC_STRUCT))
		return true;
	*typed |= damage_is_told();
	return false;
}

bool damage_page_intact(void)
{
	const unsigned char *bytes = kho_phys_to_virt(struct_page);

	for (unsigned int i = 0; i < KHO_PAGE_SIZE; i++)
		if (bytes[i] != 0x77)
			return false;
	return true;
}

/* ---- areas of vmalloc ---- */

/*
 * The first needs two chunks, and some of its blocks are scattered; the second has blocks of more
 * than one page; the third lies in one piece. Each page begins with its number.
 */
static const struct {
	void *(*alloc)(size_t size);
	__u64 pages;
} area_kinds[] = {{kho_vmalloc, 520}, {kho_vmalloc_huge, 12}, {kho_kvmalloc, 5}};

#define NR_AREAS 3
#define SCATTERED 5
/* Pages of an area that are looked at, at each of its ends: its list may be damaged there. */
#define AREA_ENDS 24

static kho_pa_t areas_at; /* descriptors */
static kho_pa_t area_first[NR_AREAS]; /* chunks */
static char *areas[NR_AREAS]; /* as the try at hand restored them */

static struct kho_vmalloc *area_desc(unsigned int i)
{
	return (struct kho_vmalloc *)kho_phys_to_virt(areas_at) + i;
}

static int fill_area(unsigned int i)
{
	__u64 pages = area_kinds[i].pages;
	char *p = area_kinds[i].alloc(pages * KHO_PAGE_SIZE);

	OR_LINE(p);
	memset(p, 0x66, pages * KHO_PAGE_SIZE);
	for (__u64 at = 0; at < pages; at++)
		*(__u64 *)(p + at * KHO_PAGE_SIZE) = at;
	OR_LINE(!kho_preserve_vmalloc(p, area_desc(i)));
	OR_LINE(area_desc(i)->total_pages == pages);
	area_first[i] = area_desc(i)->first;
	return 0;
}

/* The first blocks in the reverse order: neighbours at other addresses than in the file. */
static int scatter(void)
{
	__u64 *words = kho_phys_to_virt(area_first[0]);

	OR_LINE(area_desc(0)->order == 0);
	for (unsigned int i = 1; i <= SCATTERED / 2; i++) {
		__u64 word = words[i];

		words[i] = words[SCATTERED + 1 - i];
		words[SCATTERED + 1 - i] = word;
	}
	for (unsigned int i = 0; i < SCATTERED; i++)
		*(__u64 *)kho_phys_to_virt(words[1 + i]) = i;
	return 0;
}

int damage_fill_areas(void)
{
	int rc = 0;
	void *object = object_of_root("areas", NR_AREAS * sizeof(struct kho_vmalloc));

	OR_LINE(object);
	areas_at = kho_virt_to_phys(object);
	for (unsigned int i = 0; !rc && i < NR_AREAS; i++)
		rc = fill_area(i);
	return rc ?: scatter();
}

void damage_area_parts(unsigned int row)
{
	damage_add_part(row, areas_at, NR_AREAS * sizeof(struct kho_vmalloc));
}

/* Chunks from the beginning to behind the last block; of a full one both ends. */
void damage_chunk_parts(unsigned int row)
{
	for (unsigned int i = 0; i < NR_AREAS; i++) {
		__u64 left = area_kinds[i].pages >> area_desc(i)->order;
		kho_pa_t pa = area_first[i];

		for (; pa; pa = *(__u64 *)kho_phys_to_virt(pa)) {
			__u64 per = kho_abi_vmalloc_per_chunk(KHO_PAGE_SHIFT);
			__u64 n = left < per ? left : per;

			if (n < per) {
				damage_add_part(row, pa, (n + 2) * sizeof(__u64));
			} else {
				damage_add_part(row, pa, 12 * sizeof(__u64));
				damage_add_part(row, pa + KHO_PAGE_SIZE - 8 * sizeof(__u64),
						8 * sizeof(__u64));
			}
			left -= n;
		}
	}
}

static bool area_intact(unsigned int i)
{
	__u64 pages = area_kinds[i].pages;

	for (__u64 at = 0; at < pages; at++) {
		if (*(__u64 *)(areas[i] + at * KHO_PAGE_SIZE) != at)
			return false;
		if (at == AREA_ENDS && pages > 2 * AREA_ENDS)
			at = pages - AREA_ENDS;
	}
	return true;
}

bool damage_areas_found(bool *typed)
{
	bool all = true;

	for (unsigned int i = 0; i < NR_AREAS; i++) {
		damage_hush();
		areas[i] = kho_restore_vmalloc(area_desc(i));
		if (!areas[i])
			*typed |= damage_is_told();
		all &= areas[i] && area_desc(i)->total_pages == area_kinds[i].pages &&
		       area_intact(i);
	}
	return all;
}

bool damage_areas_intact(void)
{
	bool all = true;

	for (unsigned int i = 0; i < NR_AREAS; i++)
		all &= area_intact(i);
	return all;
}

void damage_areas_write(void)
{
	for (unsigned int i = 0; i < NR_AREAS; i++) {
		if (i)
			kho_unpreserve_vmalloc(area_desc(i));
		if (areas[i])
			kho_vfree(areas[i]);
	}
}

/* ---- arrays ---- */

#define DENSE 600 /* entries: more than a leaf without keys has words */
#define RUN 300 /* neighbours of one another, in keys of two and of four bytes */
#define FAR 120 /* in keys of eight bytes */
#define LATE 20 /* that come in no order */
#define SPARSE (2 * RUN + FAR + 2 * LATE)
#define NR_ARRAYS 3

struct pair {
	__u64 index;
	__u64 word;
};

/**
 * struct array_case - an array of the image
 * @desc: its descriptor
 * @pairs: what is in it, in order; @nr of them
 * @handle: as the try at hand attached it
 */
static struct array_case {
	kho_pa_t desc;
	struct pair pairs[SPARSE > DENSE ? SPARSE : DENSE];
	__u64 nr;
	struct kho_array *handle;
} arrays[NR_ARRAYS]; /* dense; sparse, one entry just being added; just being cleared */

static kho_pa_t arrays_at;

static int by_index(const void *a, const void *b)
{
	const struct pair *left = a, *right = b;

	return left->index < right->index ? -1 : left->index > right->index;
}

/* Every 50th entry is an address. */
static int add_pair(struct array_case *c, __u64 index)
{
	__u64 nr = c->nr;
	void *entry = nr % 50 ? kho_array_mk_value(nr * 3) : kho_phys_to_virt(arrays_at);

	c->pairs[c->nr++] = (struct pair){index, (uintptr_t)entry};
	return kho_array_set(c->handle, index, entry);
}

static int fill_dense(struct array_case *c)
{
	for (__u64 i = 0; i < DENSE; i++)
		OR_LINE(!add_pair(c, i));
	return 0;
}

/* Indices that end up in leaves of each width, and some that stay out of order. */
static int fill_sparse(struct array_case *c)
{
	uint64_t rng = 12345;

	for (__u64 i = 0; i < RUN; i++)
		OR_LINE(!add_pair(c, (1ULL << 40) + i * 100));
	for (__u64 i = 0; i < RUN; i++)
		OR_LINE(!add_pair(c, (1ULL << 50) + i * 10000000));
	for (__u64 i = 0; i < FAR; i++)
		OR_LINE(!add_pair(c, (1ULL << 60) + (i << 52)));
	for (__u64 i = 0; i < LATE; i++) {
		OR_LINE(!add_pair(c, (1ULL << 40) + test_random(&rng) % 290 * 100 + 1 + i));
		OR_LINE(!add_pair(c, (1ULL << 50) + test_random(&rng) % 290 * 10000000 + 1 + i));
	}
	return 0;
}

/* As a program leaves it that is killed in the middle of an update: counted, and not stored. */
static int leave_update(struct kho_abi_array *desc, struct kho_array *handle)
{
	__u64 index = (1ULL << 40) + 7;
	__u64 count = desc->count;

	/* Its key is there; its word is not, again. */
	OR_LINE(!kho_array_set(handle, index, kho_array_mk_value(1)));
	OR_LINE(!kho_array_erase(handle, index));
	OR_LINE(desc->count == count && desc->slot_pa);
	desc->next_count = count + 1;
	return 0;
}

/* And in the middle of clearing. */
static int leave_clear(struct kho_abi_array *desc)
{
	OR_LINE(desc->root && !desc->doomed);
	desc->doomed = desc->root;
	desc->root = 0;
	return 0;
}

static kho_pa_t node_child(kho_pa_t pa, unsigned int i)
{
	return ((const __u64 *)kho_phys_to_virt(pa))[2 + i];
}

/* Are there leaves of all widths, and one with keys in no order? */
static int check_shapes(void)
{
	unsigned int widths = 0;
	bool tail = false;

	for (unsigned int i = 0; i < 2; i++) {
		const struct kho_abi_array *desc = kho_phys_to_virt(arrays[i].desc);
		kho_pa_t root = desc->root & ~(__u64)KHO_ABI_ARRAY_LEVEL_MASK;
		const struct kho_abi_array_node *node = kho_phys_to_virt(root);

		OR_LINE((desc->root & KHO_ABI_ARRAY_LEVEL_MASK) == 1 && node->nr_used > 1);
		for (unsigned int k = 0; k < node->nr_used; k++) {
			const struct kho_abi_array_node *leaf =
				kho_phys_to_virt(node_child(root, k));

			widths |= 1U << leaf->width;
			tail |= leaf->nr_used > leaf->nr_sorted;
		}
	}
	OR_LINE(widths == (1U << 0 | 1U << 2 | 1U << 4 | 1U << 8) && tail);
	return 0;
}

int damage_fill_arrays(void)
{
	struct kho_array_desc *desc = object_of_root("arrays", NR_ARRAYS * sizeof(*desc));
	int rc = 0;

	OR_LINE(desc);
	arrays_at = kho_virt_to_phys(desc);
	for (unsigned int i = 0; i < NR_ARRAYS; i++) {
		arrays[i].nr = 0;
		arrays[i].desc = kho_virt_to_phys(desc + i);
		OR_LINE(!kho_array_init(desc + i));
		arrays[i].handle = kho_array_attach(desc + i);
		OR_LINE(arrays[i].handle);
	}
	rc = fill_dense(&arrays[0]) ?: fill_sparse(&arrays[1]) ?: fill_dense(&arrays[2]);
	rc = rc ?: leave_update((void *)(desc + 1), arrays[1].handle);
	rc = rc ?: leave_clear((void *)(desc + 2));
	arrays[2].nr = 0;
	qsort(arrays[1].pairs, arrays[1].nr, sizeof(struct pair), by_index);
	for (unsigned int i = 0; i < NR_ARRAYS; i++) {
		kho_array_detach(arrays[i].handle);
		arrays[i].handle = NULL;
	}
	return rc ?: check_shapes();
}

void damage_array_parts(unsigned int row)
{
	damage_add_part(row, arrays_at, NR_ARRAYS * sizeof(struct kho_array_desc));
}

/* A node's head; of words and of keys the first, the last that are used, and one behind them. */
#define NODE_ENDS 6

static void node_parts(unsigned int row, kho_pa_t pa)
{
	const struct kho_abi_array_node *node = kho_phys_to_virt(pa);
	unsigned int cap = kho_abi_array_cap(KHO_PAGE_SHIFT, node->width);
	unsigned int used = node->width ? node->nr_used : cap - 1;
	unsigned int ends = used < NODE_ENDS ? used : NODE_ENDS;
	kho_pa_t keys = pa + sizeof(*node) + cap * sizeof(__u64);

	damage_add_part(row, pa, sizeof(*node) + ends * sizeof(__u64));
	damage_add_part(row, pa + sizeof(*node) + (used - ends) * sizeof(__u64),
			(ends + 1) * sizeof(__u64));
	if (!node->width)
		return;
	damage_add_part(row, keys, ends * node->width);
	damage_add_part(row, keys + (used - ends) * node->width, (ends + 1) * node->width);
}

void damage_node_parts(unsigned int row)
{
	for (unsigned int i = 0; i < NR_ARRAYS; i++) {
		const struct kho_abi_array *desc = kho_phys_to_virt(arrays[i].desc);
		__u64 word = desc->root ?: desc->doomed;
		kho_pa_t root = word & ~(__u64)KHO_ABI_ARRAY_LEVEL_MASK;
		const struct kho_abi_array_node *node = kho_phys_to_virt(root);

		node_parts(row, root);
		for (unsigned int k = 0; k < node->nr_used; k++)
			node_parts(row, node_child(root, k));
	}
}

struct walk {
	const struct array_case *c;
	__u64 at;
	bool same;
};

static int walk_up(void *ctx, __u64 index, void *entry)
{
	struct walk *w = ctx;
	const struct pair *pair = w->c->pairs + w->at++;

	w->same &= w->at <= w->c->nr && pair->index == index && pair->word == (uintptr_t)entry;
	return 0;
}

static int walk_down(void *ctx, __u64 index, void *entry)
{
	struct walk *w = ctx;

	w->same &= w->at && w->c->pairs[w->at - 1].index == index &&
		   w->c->pairs[w->at - 1].word == (uintptr_t)entry;
	w->at -= !!w->at;
	return 0;
}

/* Read all of it, in each way that there is. What was attached is read without a fault. */
static bool array_same(const struct array_case *c)
{
	struct walk up = {c, 0, true}, down = {c, c->nr, true};
	bool same = kho_array_count(c->handle) == c->nr;
	__u64 index = 0, last = ~0ULL;

	if (kho_array_walk(c->handle, 0, ~0ULL, false, walk_up, &up) ||
	    kho_array_walk(c->handle, 0, ~0ULL, true, walk_down, &down))
		damage_must_not("array at %#llx: attached, then: %s", (unsigned long long)c->desc,
				kho_error());
	same &= up.same && up.at == c->nr && down.same && !down.at;
	for (__u64 i = 0; i < c->nr; i++)
		same &= (uintptr_t)kho_array_get(c->handle, c->pairs[i].index) == c->pairs[i].word;
	same &= !kho_array_next(c->handle, &index) == !c->nr;
	same &= !kho_array_prev(c->handle, &last) == !c->nr;
	return same &&
	       (!c->nr || (index == c->pairs[0].index && last == c->pairs[c->nr - 1].index));
}

bool damage_arrays_found(bool *typed)
{
	bool all = true;

	for (unsigned int i = 0; i < NR_ARRAYS; i++) {
		struct array_case *c = &arrays[i];

		damage_hush();
		kho_array_detach(c->handle); /* the last try's */
		c->handle = kho_array_attach(kho_phys_to_virt(c->desc));
		if (!c->handle)
			*typed |= damage_is_told();
		all &= c->handle && array_same(c);
	}
	return all;
}

bool damage_arrays_intact(void)
{
	/* Descriptors are an object of the heap: it may be free, as far as the image says. */
	if (!damage_is_live(arrays_at))
		return true;
	for (unsigned int i = 0; i < NR_ARRAYS; i++)
		if (!array_same(&arrays[i]))
			return false;
	return true;
}

void damage_arrays_write(void)
{
	for (unsigned int i = 0; i < NR_ARRAYS; i++) {
		struct array_case *c = &arrays[i];

		if (!c->handle)
			continue;
		for (__u64 k = 0; k < c->nr; k += 9) {
			kho_array_set(c->handle, c->pairs[k].index, kho_array_mk_value(k));
			kho_array_set(c->handle, c->pairs[k].index + 5, kho_array_mk_value(k));
		}
		for (__u64 k = c->nr / 4; k < c->nr; k++)
			kho_array_erase(c->handle, c->pairs[k].index);
		kho_array_clear(c->handle);
		for (__u64 k = 0; k < 5; k++)
			kho_array_set(c->handle, k << 60, kho_array_mk_value(k));
		if (!kho_array_destroy(c->handle))
			c->handle = NULL;
	}
}

/* ---- block sets ---- */

/* The first is appended to; the second has room for more than was written; a chain of six. */
static const struct {
	size_t size;
	__u64 records;
	__u64 grown;
} set_kinds[] = {{100, 100, 0}, {1500, 5, 8}, {4000, 6, 0}};

#define NR_SETS 3
#define RECORD_MAX 4096

static kho_pa_t sets_at; /* heads */
static struct kho_block_set sets[NR_SETS]; /* as the try at hand restored them */
static bool set_restored[NR_SETS];

static __u64 *set_head(unsigned int i)
{
	return (__u64 *)kho_phys_to_virt(sets_at) + i;
}

static void record_bytes(unsigned char *bytes, unsigned int set, __u64 i)
{
	memset(bytes, (int)(0x11 * (set + 1) + i), set_kinds[set].size);
}

static int fill_set(unsigned int i)
{
	unsigned char bytes[RECORD_MAX];
	struct kho_block_set_it it;

	OR_LINE(!kho_block_set_init(&sets[i], set_head(i), set_kinds[i].size));
	OR_LINE(!kho_block_set_grow(&sets[i], set_kinds[i].grown));
	kho_block_set_it_init(&it, &sets[i]);
	for (__u64 k = 0; k < set_kinds[i].records; k++) {
		record_bytes(bytes, i, k);
		if (set_kinds[i].grown) {
			void *record = kho_block_set_it_reserve_entry(&it);

			OR_LINE(record);
			memcpy(record, bytes, set_kinds[i].size);
		} else {
			OR_LINE(!kho_block_set_it_append(&it, bytes));
		}
	}
	return 0;
}

int damage_fill_blocks(void)
{
	void *heads = object_of_root("sets", NR_SETS * sizeof(__u64));
	int rc = 0;

	OR_LINE(heads);
	sets_at = kho_virt_to_phys(heads);
	for (unsigned int i = 0; !rc && i < NR_SETS; i++)
		rc = fill_set(i);
	return rc;
}

/* Heads of chains, and of blocks. */
void damage_block_parts(unsigned int row)
{
	damage_add_part(row, sets_at, NR_SETS * sizeof(__u64));
	for (unsigned int i = 0; i < NR_SETS; i++)
		for (kho_pa_t pa = *set_head(i); pa; pa = *(__u64 *)kho_phys_to_virt(pa))
			damage_add_part(row, pa, sizeof(struct kho_abi_block));
}

/* Of each block some bytes that count, and some that do not. */
void damage_block_record_parts(unsigned int row)
{
	for (unsigned int i = 0; i < NR_SETS; i++)
		for (kho_pa_t pa = *set_head(i); pa; pa = *(__u64 *)kho_phys_to_virt(pa)) {
			damage_add_part(row, pa + sizeof(struct kho_abi_block), 16);
			damage_add_part(row, pa + KHO_PAGE_SIZE - 8, 8);
		}
}

static bool set_same(unsigned int i)
{
	unsigned char bytes[RECORD_MAX];
	struct kho_block_set_it it;
	const void *record;
	bool same = true;
	__u64 nr = 0, back = 0;

	kho_block_set_it_init(&it, &sets[i]);
	for (; (record = kho_block_set_it_read_entry(&it)); nr++) {
		record_bytes(bytes, i, nr);
		same &= nr < set_kinds[i].records && !memcmp(record, bytes, set_kinds[i].size);
	}
	if (kho_block_set_it_error(&it))
		damage_must_not("block set: restored, then: %s", kho_error());
	while (kho_block_set_it_prev(&it))
		back++;
	if (kho_block_set_it_error(&it))
		damage_must_not("block set: read, then backwards: %s", kho_error());
	return same && nr == set_kinds[i].records && back == nr;
}

bool damage_blocks_found(bool *typed)
{
	bool all = true;

	for (unsigned int i = 0; i < NR_SETS; i++) {
		damage_hush();
		set_restored[i] = !kho_block_set_init(&sets[i], set_head(i), set_kinds[i].size) &&
				  !kho_block_set_restore(&sets[i]);
		if (!set_restored[i])
			*typed |= damage_is_told();
		all &= set_restored[i] && set_same(i);
	}
	return all;
}

bool damage_blocks_intact(void)
{
	for (unsigned int i = 0; i < NR_SETS; i++)
		if (!set_same(i))
			return false;
	return true;
}

static void write_set(unsigned int i)
{
	unsigned char bytes[RECORD_MAX] = {0};
	struct kho_block_set_it it;

	if (!kho_block_set_it_end(&it, &sets[i]))
		for (unsigned int k = 0; k < 4; k++)
			kho_block_set_it_append(&it, bytes);
	for (unsigned int k = 0; k < 6; k++)
		kho_block_set_it_pop(&it);
	kho_block_set_shrink(&sets[i], 1);
	kho_block_set_clear(&sets[i]);
	kho_block_set_it_init(&it, &sets[i]);
	while (kho_block_set_it_reserve_entry(&it))
		;
	kho_block_set_grow(&sets[i], 3);
	kho_block_set_destroy(&sets[i]);
}

void damage_blocks_write(void)
{
	for (unsigned int i = 0; i < NR_SETS; i++)
		if (set_restored[i])
			write_set(i);
}
