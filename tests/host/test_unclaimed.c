/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What came in and nobody restored: reported, and released without touching anything else. */
#include <errno.h>
#include <string.h>

#include "arena_fixture.h"
#include "life.h"
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

struct seen {
	unsigned int folios, pages;
	__u64 bytes;
	kho_pa_t lowest;
};

static int note(void *ctx, kho_pa_t pa, unsigned int order, const char *what)
{
	struct seen *seen = ctx;

	seen->folios += !strcmp(what, "folio");
	seen->pages += !strcmp(what, "pages");
	seen->bytes += KHO_PAGE_SIZE << order;
	if (!seen->lowest || pa < seen->lowest)
		seen->lowest = pa;
	return 0;
}

static struct seen look(void)
{
	struct seen seen = {0};

	assert_int_equal(kho_for_each_unclaimed(note, &seen), 0);
	assert_int_equal(seen.folios + seen.pages > 0, seen.bytes > 0);
	return seen;
}

static kho_pa_t folio(unsigned int order)
{
	struct folio *f = kho_folio_alloc(order);

	assert_int_equal(kho_preserve_folio(f), 0);
	memset(kho_folio_address(f), 0x77, KHO_PAGE_SIZE << order);
	return kho_virt_to_phys(f);
}

static void what_is_not_restored_is_released(void **state)
{
	kho_pa_t lost = folio(3), kept = folio(2), named = folio(0), run, kept_run;
	struct page *pages = kho_alloc_pages(11), *more = kho_alloc_pages(5);
	void **root = kho_root("heap", "test", 1);
	char *small = kho_calloc(1, 100);
	struct seen seen;

	run = kho_virt_to_phys(pages);
	kept_run = kho_virt_to_phys(more);
	assert_int_equal(kho_preserve_pages(pages, 11), 0);
	assert_int_equal(kho_preserve_pages(more, 5), 0);
	assert_int_equal(kho_add_subtree("named", kho_phys_to_virt(named), 0), 0);
	assert_int_equal(kho_publish(root, small, NULL), 0);
	assert_int_equal(kho_publish((void **)small, kho_malloc(100000), NULL), 0);
	assert_int_equal(look().bytes, 0); /* made here, so claimed */
	assert_int_equal(kho_release_unclaimed(), 0);
	arena_crash();
	seen = look();
	assert_int_equal(seen.folios, 2);
	assert_int_equal(seen.bytes, (8 + 4 + 11 + 5) * KHO_PAGE_SIZE);
	assert_non_null(kho_restore_folio(kept));
	assert_non_null(kho_restore_pages(kept_run, 5));
	seen = look();
	assert_int_equal(seen.folios, 1);
	assert_true(seen.pages >= 3); /* 11 pages are no power of two */
	assert_int_equal(seen.lowest, lost < run ? lost : run);
	errno = 0;
	assert_int_equal(kho_release_unclaimed(), (8 + 11) * KHO_PAGE_SIZE);
	assert_int_equal(errno, 0);
	assert_int_equal(kho_release_unclaimed(), 0);
	assert_int_equal(look().bytes, 0);
	assert_int_equal(kho_pages_discover_all_(), 0);
	assert_true(kho_pages_are_free_(lost, 8));
	assert_true(kho_pages_are_free_(run, 11));
	assert_false(kho_pages_are_free_(kept, 1));
	assert_false(kho_pages_are_free_(named, 1));
	arena_crash();
	assert_null(kho_restore_folio(lost));
	assert_null(kho_restore_pages(run, 11));
	assert_int_equal(*(char *)kho_folio_address(kho_restore_folio(kept)), 0x77);
	assert_non_null(kho_restore_pages(kept_run, 5));
	assert_non_null(kho_restore_folio(named));
	assert_int_equal(arena_live(), 2);
}

static int stop(void *ctx, kho_pa_t pa, unsigned int order, const char *what)
{
	++*(int *)ctx;
	return 42;
}

static void a_result_stops(void **state)
{
	int calls = 0;

	folio(0);
	folio(0);
	arena_crash();
	assert_int_equal(kho_for_each_unclaimed(stop, &calls), 42);
	assert_int_equal(calls, 1);
}

static void not_before_healthy(void **state)
{
	folio(1);
	arena_crash();
	kho_life_.channel = 0; /* as in a successor whose predecessor waits */
	assert_int_equal(kho_release_unclaimed(), 0);
	assert_int_equal(errno, EPERM);
	assert_non_null(strstr(kho_error(), "kho_healthy"));
	kho_life_.channel = -1;
	assert_int_equal(look().folios, 1);
	kho_arena_.writer = false;
	assert_int_equal(kho_release_unclaimed(), 0);
	assert_int_equal(errno, EPERM);
	assert_int_equal(kho_for_each_unclaimed(note, &(struct seen){0}), -EPERM);
	kho_arena_.writer = true;
	assert_int_equal(kho_release_unclaimed(), 2 * KHO_PAGE_SIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_not_restored_is_released, fresh, drop),
		cmocka_unit_test_setup_teardown(a_result_stops, fresh, drop),
		cmocka_unit_test_setup_teardown(not_before_healthy, fresh, drop),
	};

	return cmocka_run_group_tests_name("unclaimed", tests, NULL, NULL);
}
