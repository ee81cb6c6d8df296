/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The table of structures that are damaged: where each has its bytes, and whether it is found as its
 * user would find it. What has pages of its own is in damage_structs.c. See damage.h.
 */
#include <libfdt.h>
#include <string.h>

#include <kho/slab.h>

#include "arena_fixture.h"
#include "damage.h"
#include "heap.h"
#include "page.h"
#include "preserve.h"

struct template damage_things;

/* ---- where structures have their bytes ---- */

static void header_parts(unsigned int row)
{
	damage_add_part(row, 0, offsetof(struct kho_abi_arena_header, root_fdt));
}

static void word_parts(unsigned int row)
{
	damage_add_part(row, offsetof(struct kho_abi_arena_header, root_fdt), 24);
}

static __u64 fdt_in_force(void)
{
	__u64 fdt = 0;

	khoc_cword_get(kho_arena_.words->root_fdt, offsetof(struct kho_abi_arena_header, root_fdt),
		       &fdt);
	return fdt;
}

/* What the root FDT has where: each of its bytes is of one row. */
static unsigned char fdt_row[KHO_ABI_FDT_MAX];

static void mark_fdt(const void *at, int len, unsigned int row)
{
	__u64 off = (__u64)((const char *)at - kho_arena_.base) - fdt_in_force();

	assert_true(at && len > 0 && off + (__u64)len <= sizeof(fdt_row));
	memset(fdt_row + off, (int)row, (size_t)len);
}

static void mark_prop(const void *fdt, int node, const char *name, unsigned int row)
{
	int len;
	const void *value = fdt_getprop(fdt, node, name, &len);

	mark_fdt(value, len, row);
}

/* Parts of one format and of another; names, types and versions of roots; and all else. */
static void mark_rows(void)
{
	const void *fdt = kho_arena_.base + fdt_in_force();
	int node, len;

	memset(fdt_row, DAMAGE_FDT, sizeof(fdt_row));
	mark_prop(fdt, 0, KHO_ABI_ROOT_PROP_COMPATIBLE, DAMAGE_COMPAT);
	fdt_for_each_subnode(node, fdt, 0)
	{
		const char *name = fdt_get_name(fdt, node, &len);

		if (!fdt_getprop(fdt, node, KHO_ABI_ROOT_PROP_TYPE, NULL))
			continue;
		mark_fdt(name, len + 1, DAMAGE_ROOTS);
		mark_prop(fdt, node, KHO_ABI_ROOT_PROP_TYPE, DAMAGE_ROOTS);
		mark_prop(fdt, node, KHO_ABI_ROOT_PROP_TYPE_VERSION, DAMAGE_ROOTS);
	}
}

static void fdt_parts(unsigned int row)
{
	__u64 fdt = fdt_in_force(), lo = 0;
	__u64 len = __builtin_bswap32(*(__u32 *)(kho_arena_.base + fdt + 4));

	mark_rows();
	for (__u64 at = 0; at < len; at++) {
		if (fdt_row[at] != row)
			continue;
		lo = at;
		while (at < len && fdt_row[at] == row)
			at++;
		damage_add_part(row, fdt + lo, at - lo);
	}
}

static void metadata_parts(unsigned int row)
{
	damage_add_part(row, fdt_in_force() + KHO_ABI_FDT_MAX, sizeof(struct kho_abi_metadata));
}

static int add_table(void *ctx, kho_pa_t pa, int level)
{
	if (level)
		damage_add_part(*(unsigned int *)ctx, pa, KHO_PAGE_SIZE);
	return 0;
}

static int add_leaf(void *ctx, kho_pa_t pa, int level)
{
	if (!level)
		damage_add_part(*(unsigned int *)ctx, pa, KHO_PAGE_SIZE);
	return 0;
}

static void table_parts(unsigned int row)
{
	assert_int_equal(khoc_radix_nodes(&kho_arena_.tree, add_table, &row), 0);
}

static void leaf_parts(unsigned int row)
{
	assert_int_equal(khoc_radix_nodes(&kho_arena_.tree, add_leaf, &row), 0);
}

static bool next_block(struct khoc_block *block, unsigned int *type)
{
	kho_pa_t pos = block->pa ? block->pa + (KHO_PAGE_SIZE << block->order) : 0;
	unsigned int order;

	if (!khoc_radix_next(&kho_arena_.tree, pos, DAMAGE_MAX, block))
		return false;
	assert_int_equal(kho_block_desc_(block->pa, type, &order), 0);
	return true;
}

/* Descriptors next to each other are one part. */
static void desc_parts(unsigned int row)
{
	struct khoc_block block = {0, 0};
	__u64 lo = 0, hi = 0;
	unsigned int type;

	while (next_block(&block, &type)) {
		__u64 at = kho_arena_.header->descs_pa + (block.pa >> 12) * 2;

		if (at != hi) {
			if (hi)
				damage_add_part(row, lo, hi - lo);
			lo = at;
		}
		hi = at + 2;
	}
	damage_add_part(row, lo, hi - lo);
}

/* The next slab, of the heap or of caches. */
static const struct kho_abi_slab *next_slab(struct khoc_block *block, bool cached)
{
	unsigned int type;

	while (next_block(block, &type)) {
		const struct kho_abi_slab *slab = kho_phys_to_virt(block->pa);

		if (type == KHO_ABI_DESC_SLAB && !slab->cache == !cached)
			return slab;
	}
	return NULL;
}

static void slab_parts(unsigned int row)
{
	struct khoc_block block = {0, 0};

	while (next_slab(&block, row == DAMAGE_CACHE_SLABS))
		damage_add_part(row, block.pa, sizeof(struct kho_abi_slab));
}

static void state_parts(unsigned int row)
{
	const struct kho_abi_slab *slab;
	struct khoc_block block = {0, 0};

	while ((slab = next_slab(&block, row == DAMAGE_CACHE_STATES)))
		damage_add_part(row, block.pa + sizeof(*slab), slab->nr_objects);
}

/* Where objects that are preserved singly have nothing: behind the states, in free slots, behind those. */
static void rest_parts(unsigned int row)
{
	const struct kho_abi_slab *slab;
	struct khoc_block block = {0, 0};

	while ((slab = next_slab(&block, true))) {
		kho_pa_t end = block.pa + (KHO_PAGE_SIZE << block.order);
		kho_pa_t last = block.pa + slab->objects_off +
				(slab->nr_objects - 1) * (__u64)slab->object_size;

		if (!(slab->flags & KHO_ABI_SLAB_SINGLE))
			continue;
		damage_add_part(row, block.pa + slab->objects_off - 16, 16);
		damage_add_part(row, last, 32);
		if (last + slab->object_size < end)
			damage_add_part(row, last + slab->object_size,
					end - last - slab->object_size);
	}
}

/* Each cache once, though several slabs may name it. */
static void record_parts(unsigned int row)
{
	const struct kho_abi_slab *slab;
	struct khoc_block block = {0, 0};
	kho_pa_t last = 0;

	while ((slab = next_slab(&block, true))) {
		if (slab->cache == last)
			continue;
		last = slab->cache;
		damage_add_part(row, last, sizeof(struct kho_abi_cache));
		damage_add_object(last);
	}
}

static void large_parts(unsigned int row)
{
	for (unsigned int i = 0; i < damage_things.nr; i++)
		if (damage_things.things[i].kind == THING_LARGE)
			damage_add_part(row,
					damage_things.things[i].at - sizeof(struct kho_abi_large),
					sizeof(struct kho_abi_large));
}

#define INTENTS 4

static void intent_parts(unsigned int row)
{
	damage_add_part(row, KHO_ABI_INTENTS_PA, INTENTS * sizeof(struct kho_abi_intent));
}

static void cell_parts(unsigned int row)
{
	damage_add_part(row, KHO_ABI_CELLS_PA, 9 * sizeof(struct kho_abi_cell));
}

/* Some bytes of each thing, none of which the library writes. */
static void content_parts(unsigned int row)
{
	for (unsigned int i = 0; i < damage_things.nr; i++)
		damage_add_part(row, damage_things.things[i].at + 8, 8);
}

/* A page that was preserved for a word of an object, which does not have its address yet. */
static int leave_page(struct kho_abi_intent *intent)
{
	__u64 *word = kho_calloc(1, 64);
	kho_pa_t pa = kho_arena_.mem.ops->alloc_page(kho_arena_.mem.ctx);

	if (!word || !pa || kho_publish(kho_root("half", "test-half", 1), word, NULL) ||
	    kho_block_preserve_(pa, 0, KHO_ABI_DESC_STRUCT))
		return __LINE__;
	intent->value = pa;
	intent->new_object = (uintptr_t)kho_phys_to_virt(pa) | KHO_ABI_INTENT_PAGE;
	intent->slot = kho_virt_to_phys(word);
	return 0;
}

/* A run of pages that is just being preserved. */
static int leave_run(struct kho_abi_intent *intent)
{
	struct page *page = kho_alloc_pages(5);

	if (!page || kho_preserve_pages(page, 5))
		return __LINE__;
	intent->value = 5;
	intent->slot = kho_virt_to_phys(kho_page_address(page)) | KHO_ABI_INTENT_RUN;
	return 0;
}

/* Publishing was interrupted: what is to be undone. Last of all: whoever publishes clears a record. */
int damage_leave_intents(void)
{
	struct kho_abi_intent left[INTENTS] = {{.slot = 0}};
	void **slot = kho_root("empty", "test-empty", 7);
	void *fresh = kho_malloc(64);

	if (!slot || !fresh || leave_page(&left[1]) || leave_run(&left[2]))
		return __LINE__;
	left[0].value = left[0].new_object = (uintptr_t)fresh;
	left[0].slot = kho_virt_to_phys(slot);
	memcpy(kho_arena_.base + KHO_ABI_INTENTS_PA, left, sizeof(left));
	return 0;
}

static int fill_template(void)
{
	return template_fill(&damage_things);
}

static bool subtrees_found(bool *typed)
{
	static const char *const subs[] = {"sub-a", "sub-b", "sub-c"};
	bool all = true;

	for (unsigned int i = 0; i < 3; i++) {
		kho_pa_t pa = 0;
		size_t size = 0;
		int rc = kho_retrieve_subtree(subs[i], &pa, &size);

		all &= !rc && pa == damage_things.things[27 + i].at && size == 100 + i;
	}
	return all;
}

static bool metadata_found(bool *typed)
{
	char release[65];
	unsigned int count;
	int rc = kho_metadata(release, &count);

	*typed |= rc && damage_is_told();
	return !rc && !strcmp(release, "template") && count == 5;
}

/* As a program would have it, unless that would make a new one. */
static void **old_root(const char *name, const char *type, __u32 version, bool *typed)
{
	void **root;

	if (kho_retrieve_subtree(name, NULL, NULL))
		return NULL;
	damage_hush();
	root = kho_root(name, type, version);
	if (!root)
		*typed |= damage_is_told();
	return root;
}

static bool roots_found(bool *typed)
{
	void **chain = old_root("chain", "test-chain", 1, typed);
	void **big = old_root("big", "test-chain", 2, typed);
	void **empty = old_root("empty", "test-empty", 7, typed);

	return chain && kho_virt_to_phys(*chain) == damage_things.things[0].at && big &&
	       kho_virt_to_phys(*big) == damage_things.things[24].at && empty && !*empty;
}

/* ---- caches ---- */

static int count_object(void *ctx, void *object, bool restored)
{
	++*(unsigned int *)ctx;
	return 0;
}

static bool cache_found(const char *root, bool single, bool *typed)
{
	struct kmem_cache *cache;
	unsigned int nr = 0;

	damage_hush();
	if (kho_retrieve_subtree(root, NULL, NULL))
		return false;
	cache = single ? kho_kmem_cache_create(TEMPLATE_SINGLE)
		       : kho_kmem_cache_create(TEMPLATE_WHOLE);
	if (cache && !kho_kmem_cache_for_each(cache, count_object, &nr))
		return nr == 3;
	*typed |= damage_is_told();
	return false;
}

static bool caches_found(bool *typed)
{
	bool whole = cache_found(KHO_ABI_CACHE_ROOT_PREFIX "whole", false, typed);

	return cache_found(KHO_ABI_CACHE_ROOT_PREFIX "single", true, typed) && whole;
}

/* ---- writing, whatever it is ---- */

/* By the ordinary calls, as far as they let us. */
static void free_thing(const struct thing *thing, void **slot)
{
	void *p = kho_phys_to_virt(thing->at);

	switch (thing->kind) {
	case THING_SMALL:
	case THING_LARGE:
		if (slot && !kho_publish(slot, p, NULL))
			kho_publish(slot, NULL, p);
		break;
	case THING_SINGLE:
		kho_slab_unpreserve(p);
		kho_free(p);
		break;
	case THING_FOLIO:
		kho_unpreserve_folio((struct folio *)p);
		break;
	case THING_RUN:
		kho_unpreserve_pages((struct page *)p, thing->nr);
		break;
	}
}

static void free_things(void)
{
	bool typed = false;
	void **slot = old_root("empty", "test-empty", 7, &typed);

	for (unsigned int i = 0; i < damage_things.nr; i++)
		free_thing(&damage_things.things[i], slot);
	for (int i = 0; i < 50; i++)
		kho_free(kho_malloc(72));
}

/* ---- the table ---- */

static const char node_says[] = "tree table;tree leaf;page descriptor;block at;block;array node;"
				"vmalloc chunk;vmalloc descriptor;";
static const char fdt_says[] = "root FDT;subtree;cell;kexec-metadata;root \";cache \";";
static const char desc_says[] = "page descriptor;block at;";
static const char area_says[] = "vmalloc descriptor;vmalloc chunk;page descriptor;block at;";
static const char array_says[] = "array;array node;page descriptor;block at;";
static const char slab_says[] = "slab;slab cache;";

const struct damage_structure damage_structures[] = {
	[DAMAGE_HEADER] = {.name = "header, constant",
			   .says = "arena header;",
			   .fill = fill_template,
			   .parts = header_parts},
	[DAMAGE_WORDS] = {.name = "header, checked words",
			  .says = "arena header;",
			  .parts = word_parts},
	[DAMAGE_FDT] = {.name = "root FDT",
			.says = fdt_says,
			.parts = fdt_parts,
			.found = subtrees_found},
	[DAMAGE_COMPAT] = {.name = "compatibility parts", .says = fdt_says, .parts = fdt_parts},
	[DAMAGE_ROOTS] = {.name = "roots: names, types, versions",
			  .says = fdt_says,
			  .parts = fdt_parts,
			  .found = roots_found},
	[DAMAGE_METADATA] = {.name = "metadata",
			     .says = "kexec-metadata;",
			     .parts = metadata_parts,
			     .found = metadata_found},
	[DAMAGE_TABLES] = {.name = "tree tables", .says = node_says, .parts = table_parts},
	[DAMAGE_LEAVES] = {.name = "tree leaves", .says = node_says, .parts = leaf_parts},
	[DAMAGE_DESCS] = {.name = "page descriptors",
			  .says = desc_says,
			  .fill = damage_fill_page,
			  .parts = desc_parts,
			  .found = damage_page_found,
			  .intact = damage_page_intact},
	[DAMAGE_SLABS] = {.name = "slab headers, heap",
			  .says = slab_says,
			  .parts = slab_parts,
			  .found = damage_objects_found},
	[DAMAGE_STATES] = {.name = "state bytes, heap", .says = slab_says, .parts = state_parts},
	[DAMAGE_RECORDS] = {.name = "records of caches",
			    .says = slab_says,
			    .parts = record_parts,
			    .found = caches_found},
	[DAMAGE_CACHE_SLABS] = {.name = "slab headers, caches",
				.says = slab_says,
				.parts = slab_parts},
	[DAMAGE_CACHE_STATES] = {.name = "state bytes, caches",
				 .says = slab_says,
				 .parts = state_parts},
	[DAMAGE_SINGLE_REST] = {.name = "free bytes of single objects",
				.says = slab_says,
				.parts = rest_parts},
	[DAMAGE_LARGES] = {.name = "headers of large objects",
			   .says = "large object;",
			   .parts = large_parts},
	[DAMAGE_INTENTS] = {.name = "intents", .says = "intent record;", .parts = intent_parts},
	[DAMAGE_CELLS] = {.name = "cells", .says = "cell;slab cache;", .parts = cell_parts},
	[DAMAGE_AREAS] = {.name = "vmalloc descriptors",
			  .says = area_says,
			  .fill = damage_fill_areas,
			  .parts = damage_area_parts,
			  .found = damage_areas_found,
			  .intact = damage_areas_intact,
			  .write = damage_areas_write},
	[DAMAGE_CHUNKS] = {.name = "vmalloc chunks",
			   .says = area_says,
			   .parts = damage_chunk_parts},
	[DAMAGE_ARRAYS] = {.name = "array descriptors",
			   .says = array_says,
			   .fill = damage_fill_arrays,
			   .parts = damage_array_parts,
			   .found = damage_arrays_found,
			   .intact = damage_arrays_intact,
			   .write = damage_arrays_write},
	[DAMAGE_NODES] = {.name = "array nodes", .says = array_says, .parts = damage_node_parts},
	[DAMAGE_BLOCKS] = {.name = "block sets: heads",
			   .says = "block;page descriptor;",
			   .fill = damage_fill_blocks,
			   .parts = damage_block_parts,
			   .found = damage_blocks_found,
			   .intact = damage_blocks_intact,
			   .write = damage_blocks_write},
	[DAMAGE_RECORDS_OF_BLOCKS] = {.name = "block sets: records",
				      .says = "block;",
				      .parts = damage_block_record_parts},
	[DAMAGE_CONTENTS] = {.name = "contents of objects",
			     .says = "slab;",
			     .parts = content_parts,
			     .write = free_things},
};

const unsigned int damage_nr_structures = sizeof(damage_structures) / sizeof(damage_structures[0]);
