/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Structures of ours, wherever they are: arrays, slabs, memory files with holes; and the subtrees by which
 * a kernel of ours says as what each block was preserved, where slabs are, and what it reads and writes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <kho/core/array.h>
#include <kho/core/block_types.h>
#include <kho/core/kernel_info.h>
#include <kho/core/slab.h>
#include <kho/core/sparse_memfd.h>

#include "model.h"

#define SLAB_CLASSES_MAX 4096
#define SLAB_UNIT 65536ULL /* kho_abi_slabs counts places in these */

/* ---- arrays ---- */

/* A bit for each page of the image, of which most are never touched. */
static __u64 *page_bits(const struct model *m, size_t *size)
{
	void *bits;

	*size = (m->source->mem.size >> m->source->shift) / 8 + 64;
	bits = mmap(NULL, *size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return bits == MAP_FAILED ? NULL : bits;
}

/* Pages that a validation has seen; they are among those whose bytes are there. */
static void claim_seen(struct model *m, __u32 owner, const __u64 *seen, kho_pa_t lo)
{
	unsigned int shift = m->source->shift;

	for (size_t r = 0; r < m->source->nr_regions; r++) {
		const struct region *region = &m->source->regions[r];
		__u64 i = region->pa > lo ? (region->pa - lo) >> shift : 0;
		__u64 end = region->pa + region->len > lo ? (region->pa + region->len - lo) >> shift
							  : 0;

		for (; i < end; i += i % 64 || seen[i / 64] ? 1 : 64)
			if (seen[i / 64] >> (i % 64) & 1 && spend(m, 1))
				claim(m, owner, lo + (i << shift), 1ULL << shift, true);
	}
}

bool decode_array(struct model *m, __u32 owner, kho_pa_t pa)
{
	kho_pa_t lo = m->source->header.data_pa;
	struct khoc_array_check check = {.data_lo = lo,
					 .data_hi = m->source->mem.size & ~(page_size(m) - 1)};
	struct array_info info = {.at = pa, .owner = owner};
	struct khoc_report report;
	struct khoc_array array;
	size_t size;
	int err;

	if (!spend(m, 4))
		return false;
	err = khoc_array_attach(&array, &m->source->mem, m->source->shift, pa, &report);
	check.seen = err ? NULL : page_bits(m, &size);
	if (check.seen) {
		err = khoc_array_validate(&array, &check, &report);
		claim_seen(m, owner, check.seen, lo);
		munmap(check.seen, size);
		info.entries = check.entries;
		info.pages = check.pages;
	}
	if (err)
		faults_add(&m->faults, &report, "%s: its array", owner_name(m, owner));
	info.sound = !err;
	list_add(&m->arrays, &info, sizeof(info));
	return info.sound;
}

/* ---- slabs ---- */

static struct slabs *slabs_of(struct model *m, const struct kho_abi_slab *slab)
{
	struct slabs s = {
		.object_size = slab->object_size, .cache = slab->cache, .owner = NO_OWNER};
	struct slabs *all = m->slabs.at;

	for (size_t i = 0; i < m->slabs.nr; i++)
		if (all[i].object_size == s.object_size && all[i].cache == s.cache)
			return &all[i];
	if (m->slabs.nr == SLAB_CLASSES_MAX)
		return NULL;
	s.owner = s.cache ? owner_add(m, OWNER_SLABS, "cache at %#llx", (unsigned long long)s.cache)
			  : owner_add(m, OWNER_SLABS, "heap, objects of %u", s.object_size);
	return list_add(&m->slabs, &s, sizeof(s)) ? (struct slabs *)m->slabs.at + m->slabs.nr - 1
						  : NULL;
}

/* Header and states are enough, but where free bytes must be 0. */
void decode_slab(struct model *m, kho_pa_t pa, unsigned int order)
{
	unsigned int shift = m->source->shift;
	const struct kho_abi_slab *slab = source_map(m->source, pa, sizeof(*slab));
	struct khoc_slab_counts counts;
	struct khoc_report report;
	struct slabs *s = NULL;
	int err;

	if (!slab)
		return;
	err = khoc_slab_header_check(slab, shift, pa, order, &report);
	if (!err)
		s = slabs_of(m, slab);
	if (!err && slab->flags & KHO_ABI_SLAB_SINGLE)
		err = khoc_slab_check(&m->source->mem, shift, pa, order, &counts, &report);
	else if (!err && source_map(m->source, pa, slab->objects_off))
		err = khoc_slab_states_check(slab, pa, &counts, &report);
	else if (!err)
		s = NULL; /* not all there: told by whoever says that it is */
	if (err)
		faults_add(&m->faults, &report, "slab at %#llx", (unsigned long long)pa);
	if (s) {
		claim(m, s->owner, pa, page_size(m) << order, false);
		s->nr_slabs++;
		s->nr_bad += err != 0;
	}
	if (s && !err) {
		s->live += counts.live;
		s->freed += counts.freed;
		s->reserved += counts.reserved;
		s->free += counts.free;
	}
	source_forget(m->source, pa, page_size(m) << order);
}

void decode_cache(struct model *m, kho_pa_t pa, const char *whose)
{
	const struct kho_abi_cache *record = source_map(m->source, pa, sizeof(*record));
	struct slabs *all = m->slabs.at;
	struct khoc_report report;

	if (!record)
		return;
	if (khoc_cache_check(record, m->source->shift, pa, &report)) {
		faults_add(&m->faults, &report, "%s", whose);
		return;
	}
	for (size_t i = 0; i < m->slabs.nr; i++) {
		struct owner *owner = (struct owner *)m->owners.at + all[i].owner;

		if (all[i].cache != pa)
			continue;
		snprintf(all[i].cache_name, sizeof(all[i].cache_name), "%.*s",
			 (int)sizeof(all[i].cache_name) - 1, record->name);
		snprintf(owner->name, sizeof(owner->name), "cache %.64s", record->name);
	}
}

/* A slab that is listed: an entry says its order. */
static void listed_slab(struct model *m, __u64 index, __u64 entry)
{
	struct khoc_report report = {.fault = KHO_E_FORMAT,
				     .structure = KHOC_S_SLAB,
				     .level = -1,
				     .addr = index * SLAB_UNIT,
				     .value = entry,
				     .field = "order"};
	__u64 order = khoc_array_to_integer(entry);
	kho_pa_t pa = index * SLAB_UNIT;

	if (!khoc_array_is_integer(entry) || order > 12 ||
	    index > m->source->mem.size / SLAB_UNIT) {
		faults_add(&m->faults, &report, "subtree " KHO_ABI_SLABS_NODE);
		return;
	}
	report.fault = KHO_E_NOT_PRESERVED;
	if (m->have_tree && !khoc_radix_test(&m->tree, pa, (unsigned int)order))
		faults_add(&m->faults, &report, "slab at %#llx", (unsigned long long)pa);
	else
		decode_slab(m, pa, (unsigned int)order);
}

void decode_slabs(struct model *m, const struct subtree *t)
{
	static const size_t at[] = {offsetof(struct kho_abi_slabs, slabs),
				    offsetof(struct kho_abi_slabs, caches)};
	const struct kho_abi_slabs *slabs = source_map(m->source, t->data, sizeof(*slabs));
	struct khoc_report report = {.fault = KHO_E_MAGIC,
				     .structure = KHOC_S_SLAB,
				     .level = -1,
				     .addr = t->data,
				     .field = "magic"};
	__u32 owner = owner_add(m, OWNER_SLABS, "list of slabs");
	struct khoc_array_iter iter;
	struct khoc_array array;
	__u64 index, entry;

	if (!slabs || t->size < sizeof(*slabs) || slabs->magic != KHO_ABI_SLABS_MAGIC ||
	    slabs->version != KHO_ABI_SLAB_VERSION) {
		faults_add(&m->faults, &report, "subtree %s", t->name);
		return;
	}
	for (unsigned int i = 0; i < 2; i++) {
		if (!decode_array(m, owner, t->data + at[i]) ||
		    khoc_array_attach(&array, &m->source->mem, m->source->shift, t->data + at[i],
				      NULL))
			continue;
		khoc_array_iter_init(&iter, &array, 0, ~0ULL);
		while (khoc_array_iter_next(&iter, &index, &entry) > 0 && spend(m, 1)) {
			if (!i)
				listed_slab(m, index, entry);
			else if (!khoc_array_is_integer(entry))
				decode_cache(m, entry, "a cache");
		}
	}
}

/* ---- memory files with holes ---- */

static void claim_sparse(struct model *m, struct file *f, __u32 owner,
			 const struct khoc_sparse_memfd *sparse)
{
	struct khoc_array_iter iter;
	struct khoc_block block;
	__u64 index, entry;

	khoc_array_iter_init(&iter, &sparse->folios, 0, ~0ULL);
	while (khoc_array_iter_next(&iter, &index, &entry) > 0 && spend(m, 1)) {
		kho_pa_t pa = khoc_array_to_integer(entry);

		f->memfd.nr_folios++;
		if (!m->have_tree || !khoc_array_is_integer(entry) ||
		    !khoc_radix_lookup(&m->tree, pa, &block) || block.pa != pa)
			continue;
		f->nr_folios++;
		claim(m, owner, pa, page_size(m) << block.order, true);
	}
}

void decode_sparse(struct model *m, struct file *f, __u32 owner)
{
	struct khoc_array_check check = {.data_hi = m->source->mem.size & ~(page_size(m) - 1)};
	struct khoc_sparse_memfd sparse;
	struct khoc_report report;
	size_t size;
	int err = khoc_sparse_memfd_open(&sparse, &m->source->mem, m->source->shift, f->data,
					 &report);

	f->is_memfd = true;
	if (err) {
		faults_add(&m->faults, &report, "%s", owner_name(m, owner));
		return;
	}
	f->memfd.size = sparse.size;
	f->memfd.pos = sparse.pos;
	f->memfd.seals = sparse.seals;
	claim(m, owner, f->data, sizeof(struct kho_abi_sparse_memfd), false);
	if (!decode_array(m, owner, f->data + offsetof(struct kho_abi_sparse_memfd, folios)))
		return;
	check.seen = m->have_tree ? page_bits(m, &size) : NULL;
	if (check.seen) {
		err = khoc_sparse_memfd_validate(&sparse, &check, &m->tree, &report);
		munmap(check.seen, size);
	}
	if (err)
		faults_add(&m->faults, &report, "%s", owner_name(m, owner));
	claim_sparse(m, f, owner, &sparse);
}

/* ---- what a kernel says of itself ---- */

void decode_types(struct model *m, const struct subtree *t)
{
	const struct khoc_run *runs = m->runs.at;
	struct khoc_radix_check check = {.data_hi = m->source->mem.size};
	struct khoc_report report;
	struct khoc_types types;
	size_t size;
	int err = khoc_types_open(&types, &m->source->mem, m->source->shift, t->data, t->size,
				  &report);

	check.seen = err ? NULL : page_bits(m, &size);
	if (check.seen) {
		err = khoc_types_validate(&types, &check, &report);
		munmap(check.seen, size);
	}
	if (err) {
		faults_add(&m->faults, &report, "subtree %s", t->name);
		return;
	}
	m->have_types = true;
	for (size_t i = 0; i < m->runs.nr; i++)
		for (__u64 j = 0; j < runs[i].nr && spend(m, 1); j++)
			m->type_blocks[khoc_types_of(
				&types, runs[i].pa + ((j << m->source->shift) << runs[i].order),
				runs[i].order)]++;
}

void decode_formats(struct model *m, const struct subtree *t)
{
	struct khoc_kernel_formats formats;
	struct khoc_report report;
	const void *note = source_map(m->source, t->data, t->size);

	if (!note || !t->size)
		return;
	if (khoc_kernel_note(&formats, note, t->size, t->data, &report)) {
		faults_add(&m->faults, &report, "subtree %s", t->name);
		return;
	}
	if (khoc_kernel_writes(&formats, m->writes, sizeof(m->writes)) < 0)
		m->writes[0] = '\0';
}
