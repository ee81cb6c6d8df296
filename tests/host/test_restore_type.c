/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Blocks are restored as what they are, once; and folios by their memory's address. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmalloc_fixture.h"

struct matrix {
	const char *what;
	unsigned int type, order;
	kho_pa_t pa;
};

static int restore_as(kho_pa_t pa, unsigned int order, unsigned int type)
{
	return kho_block_restore_(pa, order, type);
}

static kho_pa_t page_of_a_structure(void)
{
	__u64 *word = kho_calloc(1, 8);
	void **slot = kho_root("word", "test-word", 1);
	kho_pa_t pa = kho_arena_.mem.ops->alloc_page(NULL);

	assert_int_equal(kho_publish(slot, word, NULL), 0);
	assert_int_equal(kho_arena_.mem.ops->publish_page(NULL, word, pa, pa, 0), 0);
	return pa;
}

static void blocks_of_a_large_object(kho_pa_t *first, unsigned int *first_order, kho_pa_t *second,
				     unsigned int *second_order)
{
	char *large = kho_malloc(11 * KHO_PAGE_SIZE); /* no power of two with its header */
	struct khoc_block block;

	assert_int_equal(kho_publish(kho_root("large", "test-large", 1), large, NULL), 0);
	assert_true(khoc_radix_lookup(&kho_arena_.tree, kho_virt_to_phys(large), &block));
	*first = block.pa;
	*first_order = block.order;
	assert_true(khoc_radix_lookup(&kho_arena_.tree, block.pa + (KHO_PAGE_SIZE << block.order),
				      &block));
	*second = block.pa;
	*second_order = block.order;
}

static void each_type_is_restored_as_itself_once(void **state)
{
	struct matrix m[] = {{"folio", KHO_ABI_DESC_FOLIO, 2, 0},
			     {"pages", KHO_ABI_DESC_PAGES, 2, 0},
			     {"slab", KHO_ABI_DESC_SLAB, 4, 0},
			     {"vmalloc part", KHO_ABI_DESC_VMALLOC, 0, 0},
			     {"vmalloc chunk", KHO_ABI_DESC_VMALLOC_CHUNK, 0, 0},
			     {"page of a structure", KHO_ABI_DESC_STRUCT, 0, 0},
			     {"large object", KHO_ABI_DESC_LARGE, 0, 0},
			     {"part of a large object", KHO_ABI_DESC_LARGE_PART, 0, 0}};
	size_t n = sizeof(m) / sizeof(*m);
	struct kho_vmalloc *v = keep(0);
	struct folio *folio = kho_folio_alloc(2);
	struct page *pages = NULL;
	struct khoc_block slab;
	kho_pa_t unused = kho_virt_to_phys(kho_folio_alloc(0));
	char text[64];

	/* Four pages that are one block. */
	while (!pages || kho_virt_to_phys(pages) % (4 * KHO_PAGE_SIZE))
		pages = kho_alloc_pages(4);
	assert_int_equal(kho_preserve_folio(folio), 0);
	assert_int_equal(kho_preserve_pages(pages, 4), 0);
	assert_int_equal(kho_preserve_vmalloc(kho_vmalloc(KHO_PAGE_SIZE), v), 0);
	assert_true(khoc_radix_lookup(&kho_arena_.tree, kho_virt_to_phys(v), &slab));
	m[0].pa = kho_virt_to_phys(folio);
	m[1].pa = kho_virt_to_phys(pages);
	m[2].pa = slab.pa;
	assert_int_equal(slab.order, m[2].order);
	assert_int_equal(blocks_of(v, &m[3].pa, 1), 1);
	m[4].pa = v->first;
	m[5].pa = page_of_a_structure();
	blocks_of_a_large_object(&m[6].pa, &m[6].order, &m[7].pa, &m[7].order);
	arena_crash();
	for (size_t i = 0; i < n; i++) {
		for (size_t as = 0; as < n; as++) {
			if (as == i)
				continue;
			assert_int_equal(restore_as(m[i].pa, m[i].order, m[as].type), -KHO_E_TYPE);
			snprintf(text, sizeof(text), "preserved as %s of order %u, asked for as %s",
				 m[i].what, m[i].order, m[as].what);
			assert_non_null(strstr(kho_error(), text));
		}
		for (unsigned int order = 0; order < 6; order++) {
			if (order == m[i].order)
				continue;
			assert_int_equal(restore_as(m[i].pa, order, m[i].type), -KHO_E_ORDER);
			snprintf(text, sizeof(text), "%s of order %u, asked for with order %u",
				 m[i].what, m[i].order, order);
			assert_non_null(strstr(kho_error(), text));
		}
		assert_int_equal(restore_as(unused, 0, m[i].type), -KHO_E_NOT_PRESERVED);
		assert_non_null(strstr(kho_error(), "no preserved block starts here"));
		assert_int_equal(restore_as(m[i].pa, m[i].order, m[i].type), 0);
		assert_int_equal(restore_as(m[i].pa, m[i].order, m[i].type), -KHO_E_CLAIMED);
		snprintf(text, sizeof(text), "%s of order %u: restored", m[i].what, m[i].order);
		assert_non_null(strstr(kho_error(), text));
	}
	assert_string_equal(kho_block_type_text_(15), "unknown type");
}

/* The same through the calls that programs use. */
static void calls_refuse_what_is_another_calls(void **state)
{
	struct kho_vmalloc *v = keep(0), forged = {0};
	struct folio *folio = kho_folio_alloc(0);
	kho_pa_t f = kho_virt_to_phys(folio), part;

	assert_int_equal(kho_preserve_folio(folio), 0);
	assert_int_equal(kho_preserve_vmalloc(kho_vmalloc(KHO_PAGE_SIZE), v), 0);
	assert_int_equal(blocks_of(v, &part, 1), 1);
	arena_crash();
	v = keep(0);
	assert_null(kho_restore_folio(part));
	assert_non_null(
		strstr(kho_error(), "preserved as vmalloc part of order 0, asked for as folio"));
	assert_null(kho_restore_pages(v->first, 1));
	assert_non_null(strstr(kho_error(), "vmalloc chunk of order 0, asked for as pages"));
	/* A folio for a chunk. */
	forged = *v;
	forged.first = f;
	memset(kho_phys_to_virt(f), 0, KHO_PAGE_SIZE);
	((__u64 *)kho_phys_to_virt(f))[1] = part;
	assert_null(kho_restore_vmalloc(&forged));
	assert_int_equal(errno, EINVAL);
	assert_non_null(
		strstr(kho_error(), "preserved as folio of order 0, asked for as vmalloc chunk"));
	/* A folio for a part: then the chunk is not claimed either. */
	((__u64 *)kho_phys_to_virt(v->first))[1] = f;
	assert_null(kho_restore_vmalloc(v));
	assert_non_null(strstr(kho_error(), "folio of order 0, asked for as vmalloc part"));
	/* The same page twice: the first claim is taken back as well. */
	((__u64 *)kho_phys_to_virt(v->first))[1] = part;
	((__u64 *)kho_phys_to_virt(v->first))[2] = part;
	forged = *v;
	forged.total_pages = 2;
	assert_null(kho_restore_vmalloc(&forged));
	assert_non_null(strstr(kho_error(), "before"));
	((__u64 *)kho_phys_to_virt(v->first))[2] = 0;
	/* Neither was spoiled by any of this. */
	assert_non_null(kho_restore_vmalloc(v));
	assert_non_null(kho_restore_folio(f));
}

/* ---- folios by their memory's address ---- */

static void alloc_preserve_is_preserved_from_the_start(void **state)
{
	__u64 used = kho_pages_used_();
	struct folio *dirty = kho_folio_alloc(3);
	char *mem, *other;
	kho_pa_t pa;

	memset(kho_folio_address(dirty), 0xee, KHO_PAGE_SIZE << 3);
	kho_folio_put(dirty);
	mem = kho_alloc_preserve(5 * KHO_PAGE_SIZE);
	assert_non_null(mem);
	pa = kho_virt_to_phys(mem);
	for (size_t i = 0; i < KHO_PAGE_SIZE << 3; i++)
		assert_int_equal(mem[i], 0);
	assert_int_equal(kho_block_check_(pa, 3, KHO_ABI_DESC_FOLIO), 0);
	strcpy(mem, "stays");
	other = kho_alloc_preserve(1);
	assert_int_equal(kho_block_check_(kho_virt_to_phys(other), 0, KHO_ABI_DESC_FOLIO), 0);
	kho_unpreserve_free(other);
	assert_false(khoc_radix_test(&kho_arena_.tree, kho_virt_to_phys(other), 0));
	assert_int_equal(kho_pages_used_(), used + (KHO_PAGE_SIZE << 3));
	arena_crash();
	assert_string_equal(mem, "stays"); /* read in place */
	kho_restore_free(mem);
	assert_false(khoc_radix_test(&kho_arena_.tree, pa, 3));
	kho_pages_discover_all_();
	assert_int_equal(kho_pages_used_(), used);
	kho_restore_free(mem);
	assert_non_null(strstr(kho_error(), "no preserved block"));
	mem = kho_alloc_preserve(KHO_PAGE_SIZE);
	kho_restore_free(mem); /* made here: not to be restored */
	assert_non_null(strstr(kho_error(), "before"));
	assert_true(khoc_radix_test(&kho_arena_.tree, kho_virt_to_phys(mem), 0));
	kho_unpreserve_free(mem);
	kho_unpreserve_free(NULL);
	kho_restore_free(NULL);
	assert_null(kho_alloc_preserve(0));
	assert_int_equal(errno, EINVAL);
	assert_non_null(kho_alloc_preserve(4 * MIB));
	assert_null(kho_alloc_preserve(4 * MIB + 1));
	assert_int_equal(errno, E2BIG);
	assert_null(kho_alloc_preserve(~0UL));
	assert_int_equal(errno, E2BIG);
	while (kho_alloc_preserve(4 * MIB))
		;
	assert_int_equal(errno, ENOMEM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		AREA_CASE(each_type_is_restored_as_itself_once),
		AREA_CASE(calls_refuse_what_is_another_calls),
		AREA_CASE(alloc_preserve_is_preserved_from_the_start),
	};

	return cmocka_run_group_tests_name("restore_type", tests, NULL, NULL);
}
