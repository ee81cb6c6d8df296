/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Areas for a test: an arena for each case, pages that say which they are, descriptors at a root. */
#ifndef KHO_TEST_VMALLOC_FIXTURE_H
#define KHO_TEST_VMALLOC_FIXTURE_H

#include <string.h>

#include "arena_fixture.h"
#include "page.h"
#include "preserve.h"
#include "vmalloc.h"

#define MIB (1ULL << 20)
#define ARENA_MAX (64 * MIB)
#define AREA_CASE(name) cmocka_unit_test_setup_teardown(name, fresh, drop)

static inline int fresh(void **state)
{
	arena_new(ARENA_MAX);
	return 0;
}

static inline int drop(void **state)
{
	arena_drop();
	assert_int_equal(kho_vmalloc_mappings_(), 0);
	return 0;
}

/* Page i of an area says which it is. */
static inline void stamp(void *area, size_t pages, __u64 salt)
{
	for (size_t i = 0; i < pages; i++) {
		__u64 *page = (__u64 *)((char *)area + i * KHO_PAGE_SIZE);

		page[0] = salt + i;
		page[511] = ~(salt + i);
	}
}

static inline void expect_stamp(const void *area, size_t pages, __u64 salt)
{
	for (size_t i = 0; i < pages; i++) {
		const __u64 *page = (const __u64 *)((const char *)area + i * KHO_PAGE_SIZE);

		assert_int_equal(page[0], salt + i);
		assert_int_equal(page[511], ~(salt + i));
	}
}

/* The addresses in the file of a preserved area. Return: how many blocks. */
static inline __u64 blocks_of(const struct kho_vmalloc *v, kho_pa_t *blocks, __u64 room)
{
	const struct khoc_vmalloc_check check = {.data_lo = kho_arena_.header->data_pa,
						 .data_hi = kho_file_size_(),
						 .tree = &kho_arena_.tree};
	struct khoc_vmalloc_iter iter;
	struct khoc_vmalloc_part part;
	struct kho_abi_vmalloc desc;
	__u64 nr = 0;

	memcpy(&desc, v, sizeof(desc));
	assert_int_equal(
		khoc_vmalloc_iter_init(&iter, &kho_arena_.mem, KHO_PAGE_SHIFT, &desc, &check), 0);
	while (khoc_vmalloc_iter_next(&iter, &part)) {
		if (part.chunk)
			continue;
		assert_true(nr < room);
		blocks[nr++] = part.pa;
	}
	assert_int_equal(khoc_vmalloc_iter_error(&iter), 0);
	return nr;
}

/* What a structure in the arena would be: where the next program finds the descriptors. */
static inline struct kho_vmalloc *keep(unsigned int i)
{
	void **slot = kho_root("areas", "test-areas", 1);

	assert_non_null(slot);
	if (!*slot)
		assert_int_equal(
			kho_publish(slot, kho_calloc(64, sizeof(struct kho_vmalloc)), NULL), 0);
	return (struct kho_vmalloc *)*slot + i;
}

/* Every other page in use, so that nothing larger than a page is free. */
static inline void fragment(void)
{
	while (kho_alloc_pages(1))
		;
	for (kho_pa_t pa = kho_arena_.header->data_pa; pa < kho_arena_.size;
	     pa += 2 * KHO_PAGE_SIZE)
		if (kho_pages_kind_(pa) == PAGE_KIND_PAGES)
			kho_free_pages(kho_phys_to_virt(pa), 1);
}

#endif
