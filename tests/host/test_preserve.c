/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Folios and runs: preserved, unpreserved, restored, and every way of asking for the wrong thing. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "arena_fixture.h"
#include "page.h"
#include "preserve.h"

#define MIB (1ULL << 20)

static int fresh(void **state)
{
	arena_new(64 * MIB);
	return 0;
}

static int drop(void **state)
{
	arena_drop();
	return 0;
}

/* Everything preserved in the arena, in pages. */
static __u64 preserved_pages(void)
{
	struct khoc_radix_counts counts;

	assert_int_equal(khoc_radix_count(&kho_arena_.tree, 0, kho_arena_.size, &counts), 0);
	return counts.pages;
}

static bool all_free(kho_pa_t pa, __u64 nr)
{
	assert_int_equal(kho_pages_discover_all_(), 0);
	return kho_pages_are_free_(pa, nr);
}

static void folios_of_every_order_survive(void **state)
{
	kho_pa_t pa[12];

	for (unsigned int o = 0; o < 12; o++) {
		struct folio *folio = kho_folio_alloc(o);

		assert_non_null(folio);
		pa[o] = kho_virt_to_phys(folio);
		assert_int_equal(pa[o] & ((KHO_PAGE_SIZE << o) - 1), 0);
		memset(kho_folio_address(folio), (int)o + 1, KHO_PAGE_SIZE << o);
		assert_int_equal(kho_preserve_folio(folio), 0);
	}
	assert_int_equal(preserved_pages(), 4095);
	arena_crash();
	for (unsigned int o = 0; o < 12; o++) {
		struct folio *folio = kho_restore_folio(pa[o]);
		const char *bytes = kho_folio_address(folio);

		assert_ptr_equal(folio, kho_phys_to_virt(pa[o]));
		for (size_t i = 0; i < KHO_PAGE_SIZE << o; i += 511)
			assert_int_equal(bytes[i], o + 1);
	}
	/* A restored folio knows its order: it is freed whole. */
	for (unsigned int o = 0; o < 12; o++)
		kho_folio_put(kho_phys_to_virt(pa[o]));
	assert_int_equal(preserved_pages(), 0);
	for (unsigned int o = 0; o < 12; o++)
		assert_true(all_free(pa[o], 1ULL << o));
	assert_int_equal(kho_pages_used_(), 0);
}

static void unpreserved_folios_are_gone_after_a_crash(void **state)
{
	struct folio *folio = kho_folio_alloc(4), *never = kho_folio_alloc(2);
	kho_pa_t pa = kho_virt_to_phys(folio);

	assert_int_equal(kho_preserve_folio(folio), 0);
	kho_unpreserve_folio(folio);
	kho_unpreserve_folio(folio); /* twice is once */
	kho_unpreserve_folio(never);
	assert_int_equal(preserved_pages(), 0);
	/* Still ours: preserving it again works. */
	assert_int_equal(kho_preserve_folio(folio), 0);
	assert_int_equal(kho_preserve_folio(folio), 0);
	kho_unpreserve_folio(folio);
	arena_crash();
	assert_null(kho_restore_folio(pa));
	assert_int_equal(errno, EINVAL);
	assert_true(all_free(pa, 16));
}

static void folios_are_restored_once_in_a_generation(void **state)
{
	struct folio *folio = kho_folio_alloc(3);
	kho_pa_t pa = kho_virt_to_phys(folio);

	assert_int_equal(kho_preserve_folio(folio), 0);
	assert_int_equal(kho_block_restore_(pa, 3, KHO_ABI_DESC_FOLIO), -KHO_E_CLAIMED);
	assert_null(kho_restore_folio(pa));
	for (int i = 0; i < 3; i++) {
		arena_crash();
		assert_int_equal(kho_block_restore_(pa, 3, KHO_ABI_DESC_FOLIO), 0);
		assert_int_equal(kho_block_restore_(pa, 3, KHO_ABI_DESC_FOLIO), -KHO_E_CLAIMED);
		assert_null(kho_restore_folio(pa));
		assert_int_equal(errno, EINVAL);
		assert_non_null(strstr(kho_error(), "before"));
	}
}

static void blocks_are_not_restored_as_something_else(void **state)
{
	struct folio *folio = kho_folio_alloc(3);
	struct page *pages = kho_alloc_pages(8);
	kho_pa_t f = kho_virt_to_phys(folio), p = kho_virt_to_phys(pages);
	kho_pa_t unused = kho_virt_to_phys(kho_alloc_pages(1));

	assert_int_equal(kho_preserve_folio(folio), 0);
	assert_int_equal(kho_preserve_pages(pages, 8), 0);
	arena_crash();
	assert_int_equal(kho_block_restore_(f, 3, KHO_ABI_DESC_PAGES), -KHO_E_TYPE);
	assert_int_equal(kho_block_restore_(p, 3, KHO_ABI_DESC_FOLIO), -KHO_E_TYPE);
	assert_int_equal(kho_block_restore_(f, 2, KHO_ABI_DESC_FOLIO), -KHO_E_ORDER);
	assert_int_equal(kho_block_restore_(f + KHO_PAGE_SIZE, 0, KHO_ABI_DESC_FOLIO),
			 -KHO_E_NOT_PRESERVED);
	assert_int_equal(kho_block_restore_(unused, 0, KHO_ABI_DESC_PAGES), -KHO_E_NOT_PRESERVED);
	assert_int_equal(kho_block_restore_(f + 8, 3, KHO_ABI_DESC_FOLIO), -KHO_E_ALIGN);
	assert_int_equal(kho_block_restore_(0, 0, KHO_ABI_DESC_FOLIO), -KHO_E_RANGE);
	assert_int_equal(kho_block_restore_(kho_arena_.header->descs_pa, 0, KHO_ABI_DESC_FOLIO),
			 -KHO_E_RANGE);
	assert_int_equal(kho_block_restore_(64 * MIB, 0, KHO_ABI_DESC_FOLIO), -KHO_E_RANGE);
	assert_int_equal(kho_block_restore_(1ULL << 62, 0, KHO_ABI_DESC_FOLIO), -KHO_E_RANGE);
	assert_null(kho_restore_folio(p));
	assert_null(kho_restore_folio(f + 8));
	assert_null(kho_restore_folio(1ULL << 62));
	assert_null(kho_restore_pages(f, 8));
	/* None of that claimed anything. */
	assert_non_null(kho_restore_folio(f));
	assert_non_null(kho_restore_pages(p, 8));
}

static void a_damaged_descriptor_is_told(void **state)
{
	struct folio *folio = kho_folio_alloc(0);
	kho_pa_t pa = kho_virt_to_phys(folio);
	kho_abi_desc_t *desc = (void *)(kho_arena_.base + kho_arena_.header->descs_pa +
					(pa >> KHO_PAGE_SHIFT) * 2);

	assert_int_equal(kho_preserve_folio(folio), 0);
	*desc ^= 0x40;
	assert_int_equal(kho_block_restore_(pa, 0, KHO_ABI_DESC_FOLIO), -KHO_E_CHECKSUM);
	assert_int_equal(kho_preserve_check_all_(false), -KHO_E_CHECKSUM);
	*desc = 0;
	assert_int_equal(kho_preserve_check_all_(false), -KHO_E_TYPE);
	*desc = khoc_desc(KHO_ABI_DESC_FOLIO, 1);
	assert_int_equal(kho_preserve_check_all_(false), -KHO_E_ORDER);
	*desc = khoc_desc(KHO_ABI_DESC_FOLIO, 0);
	assert_int_equal(kho_preserve_check_all_(false), 0);
}

/* Whoever made such an image: freeing both blocks would free the pages twice. */
static void blocks_that_share_pages_are_told(void **state)
{
	struct folio *folio = kho_folio_alloc(3);
	kho_pa_t pa = kho_virt_to_phys(folio), inside = pa + 2 * KHO_PAGE_SIZE;
	int fd;

	assert_int_equal(kho_preserve_folio(folio), 0);
	assert_int_equal(kho_block_preserve_(inside, 1, KHO_ABI_DESC_FOLIO), 0);
	assert_int_equal(kho_preserve_check_all_(false), -KHO_E_OVERLAP);
	fd = fcntl(kho_arena_.fd, F_DUPFD_CLOEXEC, 0);
	kho_arena_unmap_();
	assert_int_equal(kho_arena_map_(fd, true), 0);
	assert_int_equal(kho_arena_own_(), 0);
	assert_int_equal(kho_pages_discover_all_(), -KHO_E_OVERLAP);
	assert_non_null(strstr(kho_error(), "tree leaf"));
	/* Nothing is handed out of such a section, and the refusal says why. */
	assert_int_equal(kho_pages_alloc_(1, 0), 0);
	assert_non_null(strstr(kho_error(), "overlaps"));
	kho_block_unpreserve_(inside, 1);
	arena_crash();
}

static void runs_of_any_length_survive(void **state)
{
	static const size_t nr[] = {1, 2, 3, 5, 7, 13, 64, 100, 1001};
	kho_pa_t pa[9];
	__u64 sum = 0;

	for (int i = 0; i < 9; i++) {
		struct page *pages = kho_alloc_pages(nr[i]);

		pa[i] = kho_virt_to_phys(pages);
		memset(kho_page_address(pages), i + 1, nr[i] * KHO_PAGE_SIZE);
		assert_int_equal(kho_preserve_pages(pages, nr[i]), 0);
		sum += nr[i];
	}
	assert_int_equal(preserved_pages(), sum);
	arena_crash();
	for (int i = 0; i < 9; i++) {
		const char *bytes = kho_page_address(kho_restore_pages(pa[i], nr[i]));

		assert_non_null(bytes);
		for (size_t at = 0; at < nr[i] * KHO_PAGE_SIZE; at += 511)
			assert_int_equal(bytes[at], i + 1);
		assert_null(kho_restore_pages(pa[i], nr[i]));
	}
	for (int i = 0; i < 9; i++) {
		kho_free_pages(kho_phys_to_virt(pa[i]), nr[i]); /* refused: still preserved */
		assert_non_null(strstr(kho_error(), "still preserved"));
		kho_unpreserve_pages(kho_phys_to_virt(pa[i]), nr[i]);
		for (size_t p = 0; p < nr[i]; p++) /* page by page */
			kho_free_pages(kho_phys_to_virt(pa[i] + p * KHO_PAGE_SIZE), 1);
	}
	assert_int_equal(preserved_pages(), 0);
	assert_int_equal(kho_pages_discover_all_(), 0);
	assert_int_equal(kho_pages_used_(), 0);
}

static void runs_are_restored_as_they_were_preserved(void **state)
{
	struct page *pages = kho_alloc_pages(16);
	kho_pa_t pa = kho_virt_to_phys(pages);

	assert_int_equal(kho_preserve_pages(pages, 16), 0);
	arena_crash();
	assert_int_equal(kho_run_check_(pa, 16, KHO_ABI_DESC_PAGES, KHO_ABI_DESC_PAGES), 0);
	assert_int_equal(kho_run_check_(pa, 15, KHO_ABI_DESC_PAGES, KHO_ABI_DESC_PAGES),
			 -KHO_E_ORDER);
	assert_int_equal(kho_run_check_(pa + KHO_PAGE_SIZE, 1, KHO_ABI_DESC_PAGES,
					KHO_ABI_DESC_PAGES),
			 -KHO_E_NOT_PRESERVED);
	assert_int_equal(kho_run_check_(pa + 1, 1, KHO_ABI_DESC_PAGES, KHO_ABI_DESC_PAGES),
			 -KHO_E_ALIGN);
	assert_int_equal(kho_run_check_(pa, 0, KHO_ABI_DESC_PAGES, KHO_ABI_DESC_PAGES),
			 -KHO_E_RANGE);
	assert_int_equal(kho_run_check_(pa, ~0ULL, KHO_ABI_DESC_PAGES, KHO_ABI_DESC_PAGES),
			 -KHO_E_RANGE);
	assert_int_equal(kho_run_check_(~0ULL, 1, KHO_ABI_DESC_PAGES, KHO_ABI_DESC_PAGES),
			 -KHO_E_RANGE);
	assert_null(kho_restore_pages(pa, 15));
	assert_null(kho_restore_pages(pa, 17));
	assert_non_null(kho_restore_pages(pa, 16));
}

/* A restore that fails half-way leaves nothing claimed. */
static void a_failed_restore_claims_nothing(void **state)
{
	struct page *pages = kho_alloc_pages(16);
	kho_pa_t pa = kho_virt_to_phys(pages);

	/* 7 pages are blocks of 4, 2 and 1. */
	assert_int_equal(pa & (16 * KHO_PAGE_SIZE - 1), 0);
	assert_int_equal(kho_preserve_pages(pages, 7), 0);
	arena_crash();
	assert_int_equal(kho_block_restore_(pa + 6 * KHO_PAGE_SIZE, 0, KHO_ABI_DESC_PAGES), 0);
	assert_null(kho_restore_pages(pa, 7));
	assert_non_null(kho_restore_pages(pa, 4));
	assert_non_null(kho_restore_pages(pa + 4 * KHO_PAGE_SIZE, 2));
}

static void ranges_that_contradict_each_other_are_refused(void **state)
{
	struct page *pages = kho_alloc_pages(16);
	kho_pa_t pa = kho_virt_to_phys(pages);
	struct page *second = kho_phys_to_virt(pa + KHO_PAGE_SIZE);

	assert_int_equal(kho_preserve_pages(pages, 4), 0);
	assert_int_equal(kho_preserve_pages(pages, 4), 0); /* the same again is no change */
	assert_int_equal(kho_preserve_pages(pages, 2), -EBUSY);
	assert_int_equal(kho_preserve_pages(pages, 8), -EBUSY);
	assert_int_equal(kho_preserve_pages(second, 1), -EBUSY);
	assert_int_equal(kho_preserve_pages(second, 15), -EBUSY);
	/* Another range than was preserved changes nothing. */
	kho_unpreserve_pages(pages, 2);
	kho_unpreserve_pages(pages, 8);
	kho_unpreserve_pages(second, 1);
	arena_crash();
	assert_int_equal(preserved_pages(), 4);
	assert_non_null(kho_restore_pages(pa, 4));
}

static void what_is_no_folio_or_run_is_refused(void **state)
{
	struct folio *folio = kho_folio_alloc(2);
	struct page *pages = kho_alloc_pages(4);
	char *inside = (char *)folio + KHO_PAGE_SIZE;
	int local;

	assert_int_equal(kho_preserve_folio((struct folio *)inside), -EINVAL);
	assert_int_equal(kho_preserve_folio((struct folio *)((char *)folio + 16)), -EINVAL);
	assert_int_equal(kho_preserve_folio((struct folio *)pages), -EINVAL);
	assert_int_equal(kho_preserve_folio((struct folio *)&local), -EINVAL);
	assert_int_equal(kho_preserve_folio(NULL), -EINVAL);
	assert_int_equal(kho_preserve_pages((struct page *)folio, 4), -EINVAL);
	assert_int_equal(kho_preserve_pages(pages, 5), -EINVAL);
	assert_int_equal(kho_preserve_pages(pages, 0), -EINVAL);
	assert_int_equal(kho_preserve_pages(pages, ~0UL), -EINVAL);
	assert_int_equal(kho_preserve_pages(NULL, 1), -EINVAL);
	kho_folio_put((struct folio *)inside);
	kho_free_pages((struct page *)folio, 4);
	kho_free_pages(pages, 5);
	assert_int_equal(preserved_pages(), 0);
	kho_folio_put(folio);
	kho_free_pages(pages, 4);
	assert_int_equal(kho_preserve_folio(folio), -EINVAL);
	assert_int_equal(kho_preserve_pages(pages, 4), -EINVAL);
	assert_int_equal(kho_pages_used_(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(folios_of_every_order_survive, fresh, drop),
		cmocka_unit_test_setup_teardown(unpreserved_folios_are_gone_after_a_crash, fresh,
						drop),
		cmocka_unit_test_setup_teardown(folios_are_restored_once_in_a_generation, fresh,
						drop),
		cmocka_unit_test_setup_teardown(blocks_are_not_restored_as_something_else, fresh,
						drop),
		cmocka_unit_test_setup_teardown(a_damaged_descriptor_is_told, fresh, drop),
		cmocka_unit_test_setup_teardown(blocks_that_share_pages_are_told, fresh, drop),
		cmocka_unit_test_setup_teardown(runs_of_any_length_survive, fresh, drop),
		cmocka_unit_test_setup_teardown(runs_are_restored_as_they_were_preserved, fresh,
						drop),
		cmocka_unit_test_setup_teardown(a_failed_restore_claims_nothing, fresh, drop),
		cmocka_unit_test_setup_teardown(ranges_that_contradict_each_other_are_refused,
						fresh, drop),
		cmocka_unit_test_setup_teardown(what_is_no_folio_or_run_is_refused, fresh, drop),
	};

	return cmocka_run_group_tests_name("preserve", tests, NULL, NULL);
}
