/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Free pages: the buddy allocator against a table of who has which page; the file under it. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "arena_fixture.h"
#include "page.h"
#include "preserve.h"

#define MIB (1ULL << 20)
#define MAX_PAGES 4096

static int drop(void **state)
{
	arena_drop();
	return 0;
}

static int small(void **state)
{
	arena_new(8 * MIB);
	return 0;
}

static int big(void **state)
{
	arena_new(512 * MIB);
	return 0;
}

/* ---- the model: who has each page; 0 = nobody ---- */

static struct {
	unsigned int owner[MAX_PAGES];
	__u64 first, nr, used;
} model;

static void model_init(void)
{
	memset(&model, 0, sizeof(model));
	model.first = kho_arena_.header->data_pa >> KHO_PAGE_SHIFT;
	model.nr = kho_arena_.size >> KHO_PAGE_SHIFT;
	assert_true(model.nr <= MAX_PAGES);
}

static bool model_fits(__u64 pfn, __u64 nr)
{
	if (pfn + nr > model.nr)
		return false;
	for (__u64 i = 0; i < nr; i++)
		if (model.owner[pfn + i])
			return false;
	return true;
}

static bool model_any(__u64 nr, unsigned int align_order)
{
	__u64 step = 1ULL << align_order;

	for (__u64 pfn = (model.first + step - 1) & ~(step - 1); pfn < model.nr; pfn += step)
		if (model_fits(pfn, nr))
			return true;
	return false;
}

static void model_set(__u64 pfn, __u64 nr, unsigned int id)
{
	for (__u64 i = 0; i < nr; i++)
		model.owner[pfn + i] = id;
	model.used += id ? nr : -nr;
}

static void assert_model(void)
{
	assert_int_equal(kho_pages_used_(), model.used << KHO_PAGE_SHIFT);
	for (__u64 pfn = model.first; pfn < model.nr; pfn++)
		if (kho_pages_are_free_(pfn << KHO_PAGE_SHIFT, 1) != !model.owner[pfn])
			fail_msg("page %llu: owner %u", (unsigned long long)pfn, model.owner[pfn]);
}

static void random_alloc(uint64_t *rng, unsigned int id)
{
	uint64_t r = test_random(rng);
	__u64 nr = 1 + (r >> 8) % (r & 7 ? 9 : 300);
	unsigned int align = (unsigned int)((r >> 32) % (r & 8 ? 2 : 8));
	kho_pa_t pa = kho_pages_alloc_(nr, align);
	__u64 pfn = pa >> KHO_PAGE_SHIFT;

	if (!pa) {
		assert_false(model_any(nr, align));
		return;
	}
	assert_int_equal(pa & ((KHO_PAGE_SIZE << align) - 1), 0);
	assert_true(pfn >= model.first && model_fits(pfn, nr));
	memset(kho_arena_.base + pa, (int)id, nr * KHO_PAGE_SIZE);
	model_set(pfn, nr, id);
}

/* A whole allocation, or some pages out of the middle of one. */
static void random_free(uint64_t *rng)
{
	uint64_t r = test_random(rng);
	__u64 pfn = model.first + r % (model.nr - model.first), lo = pfn, hi = pfn;
	unsigned int id = model.owner[pfn];

	if (!id)
		return;
	while (lo > model.first && model.owner[lo - 1] == id)
		lo--;
	while (hi < model.nr && model.owner[hi] == id)
		hi++;
	if (!(r >> 60))
		lo = pfn;
	for (__u64 p = lo; p < hi; p++)
		assert_int_equal(kho_arena_.base[p << KHO_PAGE_SHIFT], (char)id);
	kho_pages_free_(lo << KHO_PAGE_SHIFT, hi - lo);
	model_set(lo, hi - lo, 0);
}

static void pages_agree_with_a_table(void **state)
{
	uint64_t rng = test_seed();

	kho_pages_discover_all_();
	model_init();
	for (unsigned int i = 1; i <= 6000; i++) {
		/* Sweeps between full and empty, so that refusals are met as well. */
		if (test_random(&rng) % 100 < (i / 500 % 2 ? 70 : 35))
			random_alloc(&rng, i);
		else
			random_free(&rng);
		if (!(i % 50))
			assert_model();
	}
	assert_model();
}

static void a_run_that_is_no_aligned_block_is_found(void **state)
{
	kho_pa_t pa = kho_pages_alloc_(16, 4);

	while (kho_pages_alloc_(1, 0))
		;
	/* Pages 1 to 4 of a block: no aligned block of 4 is free, but 4 neighbours are. */
	kho_pages_free_(pa + KHO_PAGE_SIZE, 4);
	assert_int_equal(kho_pages_alloc_(4, 2), 0);
	assert_int_equal(kho_pages_alloc_(4, 0), pa + KHO_PAGE_SIZE);
}

static void impossible_sizes_are_refused(void **state)
{
	assert_int_equal(kho_pages_alloc_(0, 0), 0);
	assert_int_equal(kho_pages_alloc_(~0ULL, 0), 0);
	assert_int_equal(kho_pages_alloc_(1, 40), 0);
	assert_int_equal(kho_pages_alloc_(kho_arena_.size >> KHO_PAGE_SHIFT, 0), 0);
	assert_null(kho_folio_alloc(64));
	assert_int_equal(errno, ENOMEM);
	assert_non_null(strstr(kho_error(), "arena: no "));
}

/* ---- the file ---- */

static struct stat file(void)
{
	struct stat st;

	assert_int_equal(fstat(kho_arena_.fd, &st), 0);
	return st;
}

static void the_file_grows_up_to_its_limit(void **state)
{
	__u64 before = (__u64)file().st_size;
	kho_pa_t pa;

	assert_true(before < kho_arena_.size);
	while ((pa = kho_pages_alloc_(64, 0))) {
		assert_true((__u64)file().st_size >= pa + 64 * KHO_PAGE_SIZE);
		assert_int_equal(file().st_size, kho_arena_.file_size);
		kho_arena_.base[pa] = 1;
	}
	assert_int_equal(file().st_size, kho_arena_.size);
}

static void freed_memory_goes_back_to_the_machine(void **state)
{
	__u64 nr = 256 * MIB / KHO_PAGE_SIZE;
	kho_pa_t pa = kho_pages_alloc_(nr, 0);
	__u64 full = (__u64)file().st_blocks * 512;

	assert_true(pa && full >= 256 * MIB);
	kho_pages_free_(pa, nr);
	assert_true((__u64)file().st_blocks * 512 < 80 * MIB);
	/* What was punched is allocated again before it is handed out. */
	pa = kho_pages_alloc_(nr, 0);
	assert_true((__u64)file().st_blocks * 512 >= 256 * MIB);
}

static void set_file_limit(__u64 bytes)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes ?: limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void no_space_gives_null_and_no_signal(void **state)
{
	__u64 before = kho_arena_.file_size, used;
	kho_pa_t pa, last = 0;

	signal(SIGXFSZ, SIG_IGN);
	kho_pages_discover_all_();
	/* Just room for 33 pages: less than one step of growth. */
	set_file_limit(before + 33 * KHO_PAGE_SIZE);
	while ((pa = kho_pages_alloc_(1, 0))) {
		memset(kho_arena_.base + pa, 1, KHO_PAGE_SIZE);
		last = pa;
	}
	used = kho_pages_used_();
	assert_int_equal(last, before + 32 * KHO_PAGE_SIZE);
	assert_int_equal(file().st_size, kho_arena_.file_size);
	assert_int_equal(kho_pages_alloc_(3, 0), 0);
	assert_int_equal(kho_pages_used_(), used);
	set_file_limit(0);
	pa = kho_pages_alloc_(200, 0);
	assert_true(pa > last);
	memset(kho_arena_.base + pa, 1, 200 * KHO_PAGE_SIZE);
}

static void on_alarm(int sig)
{
}

static void signals_do_not_make_the_arena_full(void **state)
{
	struct sigaction act = {.sa_handler = on_alarm};
	struct itimerval timer = {{0, 3000}, {0, 3000}}, off = {{0, 0}, {0, 0}};
	kho_pa_t pa;

	sigaction(SIGALRM, &act, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
	pa = kho_pages_alloc_(384 * MIB / KHO_PAGE_SIZE, 0);
	setitimer(ITIMER_REAL, &off, NULL);
	assert_int_not_equal(pa, 0);
}

/* ---- discovery ---- */

static void what_leaves_the_tree_still_has_an_owner(void **state)
{
	struct page *pages = kho_alloc_pages(5);
	struct folio *folio = kho_folio_alloc(3);
	kho_pa_t pages_pa = kho_virt_to_phys(pages), folio_pa = kho_virt_to_phys(folio), pa;

	assert_int_equal(kho_preserve_pages(pages, 5), 0);
	assert_int_equal(kho_preserve_folio(folio), 0);
	arena_crash();
	pages = kho_restore_pages(pages_pa, 5);
	folio = kho_restore_folio(folio_pa);
	kho_unpreserve_pages(pages, 5);
	kho_unpreserve_folio(folio);
	while ((pa = kho_pages_alloc_(1, 0))) {
		assert_false(pa >= pages_pa && pa < pages_pa + 5 * KHO_PAGE_SIZE);
		assert_false(pa >= folio_pa && pa < folio_pa + 8 * KHO_PAGE_SIZE);
	}
	kho_free_pages(pages, 5);
	kho_folio_put(folio);
	for (int i = 0; i < 13; i++)
		assert_int_not_equal(kho_pages_alloc_(1, 0), 0);
	assert_int_equal(kho_pages_alloc_(1, 0), 0);
}

static void *put_folios(void *arg)
{
	kho_pa_t *list = arg;

	for (int i = 0; list[i]; i++)
		kho_folio_put(kho_restore_folio(list[i]));
	return NULL;
}

/* Freeing what came in races with looking at its section: no page may come out twice. */
static void freeing_races_with_discovery(void **state)
{
	enum { N = 24 };
	kho_pa_t list[N + 1] = {0};
	pthread_t thread;

	for (int round = 0; round < 40; round++) {
		__u64 used;

		for (int i = 0; i < N; i++) {
			struct folio *folio = kho_folio_alloc(0);

			assert_int_equal(kho_preserve_folio(folio), 0);
			list[i] = kho_virt_to_phys(folio);
		}
		arena_crash();
		pthread_create(&thread, NULL, put_folios, list);
		for (int i = 0; i < round; i++)
			sched_yield();
		kho_pages_alloc_(1, 0);
		pthread_join(thread, NULL);
		assert_int_equal(kho_pages_discover_all_(), 0);
		used = kho_pages_used_();
		assert_int_equal(used, KHO_PAGE_SIZE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(pages_agree_with_a_table, small, drop),
		cmocka_unit_test_setup_teardown(a_run_that_is_no_aligned_block_is_found, small,
						drop),
		cmocka_unit_test_setup_teardown(impossible_sizes_are_refused, small, drop),
		cmocka_unit_test_setup_teardown(the_file_grows_up_to_its_limit, small, drop),
		cmocka_unit_test_setup_teardown(freed_memory_goes_back_to_the_machine, big, drop),
		cmocka_unit_test_setup_teardown(no_space_gives_null_and_no_signal, small, drop),
		cmocka_unit_test_setup_teardown(signals_do_not_make_the_arena_full, big, drop),
		cmocka_unit_test_setup_teardown(what_leaves_the_tree_still_has_an_owner, small,
						drop),
		cmocka_unit_test_setup_teardown(freeing_races_with_discovery, small, drop),
	};

	return cmocka_run_group_tests_name("pages", tests, NULL, NULL);
}
