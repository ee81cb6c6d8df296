/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What is in an arena: page descriptors against the tree, slabs, large objects, and the structures that
 * named roots and blobs lead to.
 *
 * Descriptors of scattered memory and heads of block sets carry no mark: they are found where a word
 * of a root's object, or of a blob, is the address of a page that can only be theirs.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kho/abi/session.h>
#include <kho/core/arena.h>
#include <kho/abi/array.h>
#include <kho/core/block.h>
#include <kho/core/slab.h>

#include "model.h"

#define SCAN_MAX (1U << 20) /* of an object or a blob that is searched */
#define SHIFT KHO_ABI_ARENA_PAGE_SHIFT
#define PAGE (1ULL << SHIFT)

static const struct kho_abi_arena_header *header_of(const struct model *m)
{
	return &m->source->header;
}

/* Descriptor of a page. Return: 0 or a fault. */
static int desc_of(struct model *m, kho_pa_t pa, unsigned int *type, unsigned int *order)
{
	kho_pa_t at = header_of(m)->descs_pa + (pa >> SHIFT) * sizeof(kho_abi_desc_t);
	const kho_abi_desc_t *desc = source_map(m->source, at, sizeof(*desc));

	*type = *order = 0;
	return desc ? khoc_desc_get(*desc, type, order) : -KHO_E_RANGE;
}

static bool is_type(struct model *m, kho_pa_t pa, unsigned int want)
{
	unsigned int type, order;

	return pa >= header_of(m)->data_pa && pa < m->source->mem.size && !(pa & (PAGE - 1)) &&
	       !desc_of(m, pa, &type, &order) && type == want && m->have_tree &&
	       khoc_radix_test(&m->tree, pa, order);
}

bool is_heap(struct model *m, kho_pa_t pa)
{
	unsigned int type, order;
	struct khoc_block block;

	return m->source->kind == SOURCE_ARENA && m->have_tree &&
	       khoc_radix_lookup(&m->tree, pa, &block) && !desc_of(m, block.pa, &type, &order) &&
	       type == KHO_ABI_DESC_SLAB;
}

static void bad_block(struct model *m, int fault, kho_pa_t pa, __u64 value, __u64 limit)
{
	struct khoc_report report = {.fault = fault,
				     .structure = KHOC_S_DESC,
				     .level = -1,
				     .addr = header_of(m)->descs_pa + (pa >> SHIFT) * 2,
				     .value = value,
				     .limit = limit,
				     .field = "descriptor"};

	faults_add(&m->faults, &report, "block at %#llx", (unsigned long long)pa);
}

/* ---- large objects ---- */

static void take_large(struct model *m, kho_pa_t pa)
{
	struct khoc_report report = {.structure = KHOC_S_LARGE, .level = -1, .addr = pa};
	const struct kho_abi_large *large = source_map(m->source, pa, sizeof(*large));
	__u32 crc;

	if (!large)
		return;
	crc = khoc_crc32c(khoc_crc32c(0, large, offsetof(struct kho_abi_large, crc)), &pa, 8);
	if (large->magic != KHO_ABI_LARGE_MAGIC)
		report.fault = KHO_E_MAGIC, report.value = large->magic, report.field = "magic";
	else if (large->version != KHO_ABI_SLAB_VERSION)
		report.fault = KHO_E_VERSION, report.value = large->version,
		report.field = "version";
	else if (large->crc != crc)
		report.fault = KHO_E_CHECKSUM, report.value = large->crc, report.field = "crc";
	else if (large->run_pa != pa || large->nr_pages > (m->source->mem.size - pa) >> SHIFT)
		report.fault = KHO_E_RANGE, report.value = large->nr_pages,
		report.field = "nr_pages";
	if (report.fault) {
		faults_add(&m->faults, &report, "large object");
		return;
	}
	m->nr_large++;
	m->large_bytes += large->size;
	if (!m->large_owner)
		m->large_owner = owner_add(m, OWNER_LARGE, "heap, large objects");
	claim(m, m->large_owner, pa, large->nr_pages << SHIFT, true);
}

/* ---- every block has its descriptor, and every descriptor its block ---- */

static void take_block(struct model *m, kho_pa_t pa, unsigned int order)
{
	unsigned int type, has;
	int err = desc_of(m, pa, &type, &has);

	if (err)
		bad_block(m, -err, pa, 0, 0);
	else if (type == KHO_ABI_DESC_NONE)
		bad_block(m, KHO_E_TYPE, pa, type, 0);
	else if (has != order)
		bad_block(m, KHO_E_ORDER, pa, has, order);
	else if (type == KHO_ABI_DESC_SLAB)
		decode_slab(m, pa, order);
	else if (type == KHO_ABI_DESC_LARGE)
		take_large(m, pa);
}

static void take_blocks(struct model *m)
{
	const struct khoc_run *runs = m->runs.at;

	for (size_t i = 0; i < m->runs.nr; i++)
		for (__u64 j = 0; j < runs[i].nr; j++)
			take_block(m, runs[i].pa + (j << (SHIFT + runs[i].order)), runs[i].order);
}

static void take_descs(struct model *m)
{
	const struct kho_abi_arena_header *h = header_of(m);
	__u64 nr = m->source->mem.size >> SHIFT;
	kho_abi_desc_t descs[PAGE / 2];

	for (__u64 i = h->data_pa >> SHIFT; i < nr; i += PAGE / 2) {
		__u64 n = nr - i < PAGE / 2 ? nr - i : PAGE / 2;

		if (source_read(m->source, h->descs_pa + i * 2, descs, n * 2))
			return;
		for (__u64 j = 0; j < n; j++) {
			kho_pa_t pa = (i + j) << SHIFT;
			unsigned int type, order;
			struct khoc_block block;

			if (!descs[j])
				continue;
			if (khoc_desc_get(descs[j], &type, &order)) {
				/* Of a block that there is: told by take_block(). */
				if (!khoc_radix_lookup(&m->tree, pa, &block) || block.pa != pa)
					bad_block(m, KHO_E_CHECKSUM, pa, descs[j], 0);
			} else if (!khoc_radix_test(&m->tree, pa, order) &&
				   (!khoc_radix_lookup(&m->tree, pa, &block) || block.pa != pa)) {
				bad_block(m, KHO_E_NOT_PRESERVED, pa, descs[j], 0);
			}
		}
	}
}

/* ---- structures by way of words ---- */

/* Records' size is not known: they are counted as if each had a byte. */
static void take_set(struct model *m, kho_pa_t head, kho_pa_t at, const char *whose)
{
	struct khoc_block_chain chain = {&m->source->mem, SHIFT, 1, head, at};
	struct block_set set = {.first = head};
	struct khoc_block_counts counts = {0};
	struct khoc_report report;

	/* Else a word that only looks like it. */
	for (size_t i = 0; i < m->sets.nr; i++)
		if (((const struct block_set *)m->sets.at)[i].first == head)
			return;
	if (khoc_block_check(&chain, &m->tree, &counts, &report) || !spend(m, counts.blocks))
		return;
	set.owner = owner_add(m, OWNER_BLOCKS, "block set in %s", whose);
	set.sound = true;
	take_blocks_of(m, &set, &counts, false);
}

static bool has_area(const struct model *m, kho_pa_t first)
{
	const struct area *areas = m->areas.at;

	for (size_t i = 0; i < m->areas.nr; i++)
		if (areas[i].first == first)
			return true;
	return false;
}

/*
 * A descriptor of memory that was freed stays what it was until its owner writes to it, and its pages may be
 * another's by now. So one whose list is not sound is in doubt.
 */
static void take_area(struct model *m, const struct kho_abi_vmalloc *desc, kho_pa_t at,
		      const char *whose)
{
	const struct khoc_vmalloc_check check = {
		.data_lo = header_of(m)->data_pa, .data_hi = m->source->mem.size, .tree = &m->tree};
	struct doubt doubt = {.desc = *desc, .at = at};

	if (has_area(m, desc->first) || !spend(m, 1))
		return;
	if (!khoc_vmalloc_validate(&m->source->mem, SHIFT, desc, &check, NULL)) {
		decode_vmalloc(m, owner_add(m, OWNER_VMALLOC, "scattered memory in %s", whose),
			       desc, at);
		return;
	}
	snprintf(doubt.whose, sizeof(doubt.whose), "%s", whose);
	list_add(&m->doubts, &doubt, sizeof(doubt));
}

/* A list that nobody else has, and that is not sound, was damaged. */
static void settle_doubts(struct model *m)
{
	const struct claim *claims = m->claims.at;
	const struct doubt *doubts = m->doubts.at;
	size_t nr = m->claims.nr;

	for (size_t i = 0; i < m->doubts.nr; i++) {
		kho_pa_t first = doubts[i].desc.first;
		bool taken = false;

		for (size_t j = 0; j < nr && !taken; j++)
			taken = claims[j].alone && claims[j].pa <= first &&
				claims[j].pa + claims[j].len > first;
		if (taken || has_area(m, first) || !spend(m, nr))
			continue;
		decode_vmalloc(
			m, owner_add(m, OWNER_VMALLOC, "scattered memory in %s", doubts[i].whose),
			&doubts[i].desc, doubts[i].at);
		claims = m->claims.at;
	}
}

/* Words of an object or blob: @size bytes at @pa, aligned to 8. */
static void scan(struct model *m, kho_pa_t pa, __u64 size, const char *whose)
{
	const __u64 *words;

	size = (size < SCAN_MAX ? size : SCAN_MAX) & ~7ULL;
	words = size ? source_map(m->source, pa, size) : NULL;
	for (__u64 i = 0; words && i < size / 8 && !m->tired; i++) {
		kho_pa_t at = pa + i * 8;
		struct kho_abi_vmalloc desc;

		if ((__u32)words[i] == KHO_ABI_ARRAY_MAGIC && size - i * 8 >= 64) {
			decode_array(m, owner_add(m, OWNER_ARRAY, "array in %s", whose), at);
			i += sizeof(struct kho_abi_array) / 8 - 1;
		} else if (is_type(m, words[i], KHO_ABI_DESC_VMALLOC_CHUNK) && i + 1 < size / 8) {
			memcpy(&desc, &words[i], sizeof(desc));
			take_area(m, &desc, at, whose);
			i++;
		} else if (is_type(m, words[i], KHO_ABI_DESC_STRUCT)) {
			take_set(m, words[i], at, whose);
		}
	}
}

/* How many bytes the object at @pa has: what its slab or its head says. */
static __u64 object_size(struct model *m, kho_pa_t pa)
{
	const struct kho_abi_large *large;
	const struct kho_abi_slab *slab;
	struct khoc_block block;
	unsigned int type, order;

	if (pa >= m->source->mem.size || !m->have_tree ||
	    !khoc_radix_lookup(&m->tree, pa, &block) || desc_of(m, block.pa, &type, &order))
		return 0;
	slab = source_map(m->source, block.pa, sizeof(*slab));
	if (slab && type == KHO_ABI_DESC_SLAB &&
	    !khoc_slab_header_check(slab, SHIFT, block.pa, block.order, NULL))
		return slab->object_size;
	large = pa >= 64 ? source_map(m->source, pa - 64, sizeof(*large)) : NULL;
	if (large && type == KHO_ABI_DESC_LARGE && large->magic == KHO_ABI_LARGE_MAGIC &&
	    large->size <= m->source->mem.size - pa)
		return large->size;
	return 0;
}

static void take_root(struct model *m, const struct subtree *t)
{
	const __u64 *cell = source_map(m->source, t->data, sizeof(*cell));
	kho_pa_t pa = cell ? *cell - header_of(m)->base : 0;
	struct khoc_report report = {.fault = KHO_E_RANGE,
				     .structure = KHOC_S_CELL,
				     .level = -1,
				     .addr = t->data,
				     .field = "value"};
	char whose[96];
	__u64 size;

	if (!cell || !*cell)
		return;
	size = object_size(m, pa);
	report.value = *cell;
	snprintf(whose, sizeof(whose), "root %s", t->name);
	if (!strcmp(t->type, KHO_ABI_CACHE_ROOT_TYPE))
		decode_cache(m, pa, whose);
	else if (size && strcmp(t->type, KHO_ABI_SESSION_TYPE)) /* that is LUO's */
		scan(m, pa, size, whose);
	if (!size)
		faults_add(&m->faults, &report, "%s: no live object there", whose);
}

static void take_names(struct model *m)
{
	size_t nr = m->subtrees.nr;

	for (size_t i = 0; i < nr; i++) {
		struct subtree t = ((const struct subtree *)m->subtrees.at)[i];
		char whose[96];

		if (*t.type) {
			take_root(m, &t);
			continue;
		}
		snprintf(whose, sizeof(whose), "subtree %s", t.name);
		if (!(t.data & 7) && !t.format)
			scan(m, t.data, t.size, whose);
	}
}

static void take_words(struct model *m)
{
	const struct kho_abi_arena_header *h = header_of(m);
	const struct kho_abi_intent *intents =
		source_map(m->source, KHO_ABI_INTENTS_PA, KHO_ABI_NR_INTENTS * sizeof(*intents));

	khoc_cword_get(h->generation, offsetof(struct kho_abi_arena_header, generation),
		       &m->generation);
	khoc_cword_get(h->state, offsetof(struct kho_abi_arena_header, state), &m->state);
	source_read(m->source, KHO_ABI_OWNER_PA, &m->holder, sizeof(m->holder));
	for (unsigned int i = 0; intents && i < KHO_ABI_NR_INTENTS; i++)
		m->nr_intents += intents[i].slot != 0;
}

void decode_arena(struct model *m)
{
	take_words(m);
	if (!m->have_tree)
		return;
	take_blocks(m);
	take_descs(m);
	take_names(m);
	settle_doubts(m);
}
