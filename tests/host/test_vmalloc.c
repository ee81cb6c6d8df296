/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Areas of scattered pages: what is handed out, preserved and taken back; every way of asking for the
 * wrong thing; and what they cost in mappings.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "life.h"
#include "vmalloc_fixture.h"

#define NR_HOLES 1500

static unsigned int lines_of_maps(void)
{
	FILE *file = fopen("/proc/self/maps", "r");
	unsigned int lines = 0;
	int c;

	while ((c = getc(file)) != EOF)
		lines += c == '\n';
	fclose(file);
	return lines;
}

static bool is_mapped(const void *at)
{
	return !msync((void *)(uintptr_t)at, KHO_PAGE_SIZE, MS_ASYNC);
}

/* ---- what is handed out ---- */

static void neighbours_are_one_mapping(void **state)
{
	__u64 used = kho_pages_used_();
	unsigned int maps = lines_of_maps();
	char *area = kho_vmalloc(16 * MIB - 100);

	assert_non_null(area);
	assert_int_equal((uintptr_t)area % KHO_PAGE_SIZE, 0);
	assert_int_equal(kho_virt_to_phys(area), 0); /* not the arena's own address */
	assert_int_equal(kho_pages_used_() - used, 16 * MIB);
	assert_int_equal(kho_vmalloc_mappings_(), 2); /* its pages, and the guard */
	assert_true(lines_of_maps() <= maps + 40); /* a sanitizer has some of its own */
	stamp(area, 4096, 5);
	expect_stamp(area, 4096, 5);
	kho_vfree(area);
	assert_int_equal(kho_pages_used_(), used);
	assert_int_equal(kho_vmalloc_mappings_(), 0);
	assert_true(lines_of_maps() <= maps + 40);
	assert_false(is_mapped(area));
	kho_vfree(NULL);
	kho_kvfree(NULL);
}

static void scattered_pages_are_contiguous(void **state)
{
	static kho_pa_t blocks[NR_HOLES];
	struct kho_vmalloc *v = keep(0);
	char *area;

	fragment();
	area = kho_vmalloc(NR_HOLES * KHO_PAGE_SIZE);
	assert_non_null(area);
	stamp(area, NR_HOLES, 1000);
	assert_int_equal(kho_preserve_vmalloc(area, v), 0);
	assert_int_equal(blocks_of(v, blocks, NR_HOLES), NR_HOLES);
	for (size_t i = 0; i < NR_HOLES; i++) {
		/* Each page is where the list says, and no two are neighbours. */
		assert_int_equal(*(__u64 *)kho_phys_to_virt(blocks[i]), 1000 + i);
		if (i)
			assert_int_not_equal(blocks[i], blocks[i - 1] + KHO_PAGE_SIZE);
	}
	assert_int_equal(kho_vmalloc_mappings_(), NR_HOLES + 1);
	arena_crash();
	assert_int_equal(kho_vmalloc_mappings_(), 0);
	area = kho_restore_vmalloc(keep(0));
	assert_non_null(area);
	assert_int_equal(kho_vmalloc_mappings_(), NR_HOLES + 1);
	expect_stamp(area, NR_HOLES, 1000);
	kho_unpreserve_vmalloc(keep(0));
	kho_vfree(area);
	assert_int_equal(kho_pages_discover_all_(), 0);
	for (size_t i = 0; i < NR_HOLES; i++)
		assert_true(kho_pages_are_free_(blocks[i], 1));
}

static void huge_blocks_come_first(void **state)
{
	static kho_pa_t blocks[64];
	struct kho_vmalloc *v = keep(0);
	char *area = kho_vmalloc_huge(16 * MIB);

	assert_non_null(area);
	assert_int_equal((uintptr_t)area % (2 * MIB), 0);
	assert_int_equal(kho_preserve_vmalloc(area, v), 0);
	assert_int_equal(v->total_pages, 4096);
	assert_int_equal(v->order, 9);
	assert_int_equal(v->flags, KHO_ABI_VMALLOC_ALLOC | KHO_ABI_VMALLOC_HUGE);
	assert_int_equal(blocks_of(v, blocks, 64), 8);
	stamp(area, 4096, 77);
	arena_crash();
	area = kho_restore_vmalloc(keep(0));
	assert_non_null(area);
	assert_int_equal((uintptr_t)area % (2 * MIB), 0);
	expect_stamp(area, 4096, 77);
	/* Not more waste than an eighth: 513 pages are not two blocks of 512. */
	area = kho_vmalloc_huge(513 * KHO_PAGE_SIZE);
	assert_int_equal(kho_preserve_vmalloc(area, v + 1), 0);
	assert_true(v[1].total_pages >= 513 && v[1].total_pages <= 577);
	assert_true(v[1].order > 0 && v[1].order < 9);
	area = kho_vmalloc_huge(1);
	assert_int_equal(kho_preserve_vmalloc(area, v + 2), 0);
	assert_int_equal(v[2].total_pages, 1);
	/* Nothing large is free: pages will do. */
	fragment();
	area = kho_vmalloc_huge(2 * MIB);
	assert_non_null(area);
	assert_int_equal(kho_preserve_vmalloc(area, v + 3), 0);
	assert_int_equal(v[3].order, 0);
	assert_int_equal(v[3].total_pages, 512);
}

static void kvmalloc_needs_no_mapping_if_it_can(void **state)
{
	struct kho_vmalloc *v = keep(0);
	char *linear = kho_kvmalloc(3 * MIB), *scattered;
	unsigned int maps = lines_of_maps();

	assert_non_null(linear);
	assert_int_not_equal(kho_virt_to_phys(linear), 0);
	assert_int_equal(kho_vmalloc_mappings_(), 0);
	assert_int_equal(kho_preserve_vmalloc(linear, v), 0);
	assert_int_equal(v->total_pages, 768);
	stamp(linear, 768, 9);
	/* It is not to be freed as what it is not. */
	kho_free_pages((struct page *)linear, 768);
	assert_non_null(strstr(kho_error(), "not handed out as a page"));
	kho_folio_put((struct folio *)linear);
	assert_int_equal(kho_preserve_folio((struct folio *)linear), -EINVAL);
	fragment();
	scattered = kho_kvmalloc(64 * KHO_PAGE_SIZE);
	assert_non_null(scattered);
	assert_int_equal(kho_virt_to_phys(scattered), 0);
	assert_int_equal(kho_vmalloc_mappings_(), 65);
	assert_true(lines_of_maps() > maps + 60);
	stamp(scattered, 64, 10);
	assert_int_equal(kho_preserve_vmalloc(scattered, v + 1), 0);
	arena_crash();
	linear = kho_restore_vmalloc(keep(0));
	scattered = kho_restore_vmalloc(keep(1));
	assert_non_null(linear);
	assert_non_null(scattered);
	expect_stamp(linear, 768, 9);
	expect_stamp(scattered, 64, 10);
	kho_kvfree(linear);
	kho_kvfree(scattered);
	assert_int_equal(kho_vmalloc_mappings_(), 0);
}

static int killed_by(void (*fn)(char *), char *arg)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		fn(arg);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

static void touch(char *at)
{
	*(volatile char *)at = 1;
}

static void an_area_ends_where_it_ends(void **state)
{
	char *area = kho_vmalloc(5 * KHO_PAGE_SIZE), *linear = kho_kvmalloc(KHO_PAGE_SIZE);
	unsigned char there;

	/* The page behind it is taken, and not ours: nobody gets it, and touching it faults. */
	assert_int_equal(mincore(area + 5 * KHO_PAGE_SIZE, KHO_PAGE_SIZE, &there), 0);
	assert_int_equal(mprotect(area, 5 * KHO_PAGE_SIZE, PROT_READ | PROT_WRITE), 0);
	/* A child has none of it. */
	assert_int_equal(killed_by(touch, area), SIGSEGV);
	assert_int_equal(killed_by(touch, linear), SIGSEGV);
	assert_int_equal(killed_by(touch, area + 5 * KHO_PAGE_SIZE), SIGSEGV);
	touch(area);
	touch(area + 5 * KHO_PAGE_SIZE - 1);
}

static void a_frozen_area_is_not_written(void **state)
{
	char *area = kho_vmalloc(2 * MIB), *linear = kho_kvmalloc(KHO_PAGE_SIZE);
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	kho_vmalloc_protect_(true);
	assert_int_equal(read(fds[0], area + MIB, 1), -1); /* the kernel may not write either */
	assert_int_equal(errno, EFAULT);
	touch(linear); /* the arena's own mapping is somebody else's concern */
	kho_vmalloc_protect_(false);
	assert_int_equal(read(fds[0], area + MIB, 1), 1);
	close(fds[0]);
	close(fds[1]);
}

/* ---- preserving and taking back ---- */

static void preserving_twice_is_once(void **state)
{
	struct kho_vmalloc *v = keep(0);
	char *area = kho_vmalloc(20 * KHO_PAGE_SIZE);
	__u64 used = kho_pages_used_();

	assert_int_equal(kho_preserve_vmalloc(area, v), 0);
	assert_int_equal(kho_preserve_vmalloc(area, v + 1), 0);
	assert_memory_equal(v, v + 1, sizeof(*v));
	assert_int_equal(kho_pages_used_(), used + KHO_PAGE_SIZE); /* one chunk */
	assert_null(kho_restore_vmalloc(v)); /* ours already */
	assert_int_equal(errno, EINVAL);
	assert_non_null(strstr(kho_error(), "before"));
	kho_unpreserve_vmalloc(v);
	assert_int_equal(v->first | v->total_pages | v->flags | v->order, 0);
	assert_int_equal(kho_pages_used_(), used);
	kho_unpreserve_vmalloc(v + 1);
	assert_non_null(strstr(kho_error(), "no area"));
	assert_int_not_equal(v[1].first, 0); /* nothing was done */
	kho_unpreserve_vmalloc(v); /* nothing there */
	stamp(area, 20, 3);
	assert_int_equal(kho_preserve_vmalloc(area, v), 0);
	arena_crash();
	area = kho_restore_vmalloc(keep(0));
	expect_stamp(area, 20, 3);
	/* A restored area is preserved as it was. */
	assert_int_equal(kho_preserve_vmalloc(area, keep(2)), 0);
	assert_memory_equal(keep(0), keep(2), sizeof(*v));
	arena_crash();
	assert_null(kho_restore_vmalloc(keep(1)) ? NULL : kho_restore_vmalloc(keep(2)));
}

static void what_is_freed_is_not_restored(void **state)
{
	struct kho_vmalloc *v = keep(0);
	char *area = kho_vmalloc(600 * KHO_PAGE_SIZE);
	__u64 used = kho_pages_used_() - 600 * KHO_PAGE_SIZE;

	assert_int_equal(kho_preserve_vmalloc(area, v), 0);
	kho_vfree(area);
	assert_int_equal(kho_pages_used_(), used);
	assert_null(kho_restore_vmalloc(v));
	assert_non_null(strstr(kho_error(), "vmalloc descriptor: first"));
	arena_crash();
	assert_null(kho_restore_vmalloc(keep(0)));
	assert_null(kho_restore_vmalloc(keep(5)));
	assert_int_equal(errno, EINVAL);
	assert_non_null(strstr(kho_error(), "nothing preserved"));
	kho_pages_discover_all_();
	assert_int_equal(kho_pages_used_(), used);
}

static void only_an_areas_start_is_an_area(void **state)
{
	struct kho_vmalloc v = {.first = 4096};
	char *area = kho_vmalloc(3 * KHO_PAGE_SIZE);

	assert_int_equal(kho_preserve_vmalloc(area + KHO_PAGE_SIZE, &v), -EINVAL);
	assert_int_equal(kho_preserve_vmalloc(kho_malloc(100), &v), -EINVAL);
	assert_int_equal(kho_preserve_vmalloc(NULL, &v), -EINVAL);
	assert_non_null(strstr(kho_error(), "not the start of a vmalloc area"));
	assert_int_equal(v.first, 4096);
	kho_vfree(area + 1);
	kho_unpreserve_vmalloc(&v);
	stamp(area, 3, 1);
	assert_null(kho_vmalloc(0));
	assert_int_equal(errno, EINVAL);
	assert_null(kho_vmalloc(ARENA_MAX + 1));
	assert_int_equal(errno, ENOMEM);
	assert_null(kho_vmalloc_huge(~0UL));
	assert_null(kho_kvmalloc(~0UL));
	assert_int_equal(errno, ENOMEM);
	assert_null(kho_vmalloc(ARENA_MAX));
	assert_int_equal(errno, ENOMEM);
	assert_null(kho_vmalloc_huge(ARENA_MAX));
	assert_int_equal(errno, ENOMEM);
	assert_null(kho_kvmalloc(ARENA_MAX));
	assert_int_equal(errno, ENOMEM);
	assert_non_null(strstr(kho_error(), "--arena-max"));
}

static void only_the_owner_has_areas(void **state)
{
	struct kho_vmalloc v = {0}, gone = {.first = 4096};
	char *area = kho_vmalloc(KHO_PAGE_SIZE);

	kho_arena_.writer = false;
	assert_null(kho_vmalloc(1));
	assert_int_equal(errno, EPERM);
	assert_null(kho_kvmalloc(1));
	assert_null(kho_vmalloc_huge(1));
	assert_null(kho_restore_vmalloc(&gone));
	assert_int_equal(errno, EPERM);
	assert_int_equal(kho_preserve_vmalloc(area, &v), -EPERM);
	kho_unpreserve_vmalloc(&gone);
	assert_int_equal(gone.first, 4096);
	kho_vfree(area);
	assert_null(kho_alloc_preserve(1));
	assert_int_equal(errno, EPERM);
	kho_arena_.writer = true;
	touch(area); /* still there */
	kho_vfree(area);
}

/* A predecessor that takes the arena back: old addresses are gone, what was preserved is restored. */
static void taking_it_back_forgets_addresses(void **state)
{
	struct kho_vmalloc *v = keep(0);
	char *kept = kho_vmalloc(9 * KHO_PAGE_SIZE), *lost = kho_vmalloc(9 * KHO_PAGE_SIZE);
	char *again;

	stamp(kept, 9, 4);
	assert_int_equal(kho_preserve_vmalloc(kept, v), 0);
	kho_arena_disown_();
	assert_int_equal(kho_vmalloc_mappings_(), 0);
	assert_false(is_mapped(kept));
	assert_false(is_mapped(lost));
	assert_int_equal(kho_arena_own_(), 0);
	again = kho_restore_vmalloc(keep(0));
	assert_non_null(again);
	expect_stamp(again, 9, 4);
	assert_int_equal(kho_preserve_vmalloc(lost, v + 1), -EINVAL);
}

/* ---- mappings ---- */

/* Split a reservation until as many mappings are in use as leave @left. */
static char *use_up_mappings(size_t *len, unsigned int left)
{
	FILE *file = fopen("/proc/sys/vm/max_map_count", "r");
	unsigned int max, in_use;
	char *at;

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%u", &max), 1);
	fclose(file);
	*len = 0;
	if (max > 200000) /* somebody raised it: this would take too long */
		return NULL;
	*len = (size_t)max * KHO_PAGE_SIZE;
	at = mmap(NULL, *len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(at != MAP_FAILED);
	in_use = lines_of_maps();
	for (size_t i = 1; in_use + 2 + left < max; i += 2, in_use += 2)
		assert_int_equal(mprotect(at + i * KHO_PAGE_SIZE, KHO_PAGE_SIZE, PROT_READ), 0);
	return at;
}

static void too_many_mappings_are_refused(void **state)
{
	struct kho_vmalloc *v = keep(0);
	char *area, *taken, *linear;
	__u64 used;
	size_t len;

	fragment();
	area = kho_vmalloc(300 * KHO_PAGE_SIZE);
	stamp(area, 300, 2);
	assert_int_equal(kho_preserve_vmalloc(area, v), 0);
	arena_crash();
	fragment();
	used = kho_pages_used_();
	taken = use_up_mappings(&len, 1200);
	if (!taken)
		skip();
	/* A 64th of them, 1023, is not ours to take. */
	assert_null(kho_restore_vmalloc(keep(0)));
	assert_int_equal(errno, EDQUOT);
	assert_non_null(strstr(kho_error(), "vm.max_map_count"));
	assert_non_null(strstr(kho_error(), "kho_vmalloc_huge"));
	assert_null(kho_vmalloc(300 * KHO_PAGE_SIZE));
	assert_int_equal(errno, EDQUOT);
	assert_null(kho_vmalloc_huge(300 * KHO_PAGE_SIZE));
	assert_int_equal(errno, EDQUOT);
	assert_int_equal(kho_pages_used_(), used);
	/* A small one, and one that needs none, still fit. */
	area = kho_vmalloc(20 * KHO_PAGE_SIZE);
	assert_non_null(area);
	linear = kho_kvmalloc(KHO_PAGE_SIZE);
	assert_int_not_equal(kho_virt_to_phys(linear), 0);
	assert_int_equal(munmap(taken, len), 0);
	/* Nothing was claimed: it can be had now. */
	expect_stamp(kho_restore_vmalloc(keep(0)), 300, 2);
}

/* Counted once and then reckoned: others may be quicker. */
static void mappings_that_vanish_meanwhile_are_noticed(void **state)
{
	char *taken;
	size_t len;

	fragment();
	assert_non_null(kho_vmalloc(2 * KHO_PAGE_SIZE)); /* counts */
	taken = use_up_mappings(&len, 40);
	if (!taken)
		skip();
	assert_null(kho_vmalloc(200 * KHO_PAGE_SIZE));
	assert_int_equal(errno, EDQUOT);
	assert_non_null(strstr(kho_error(), "vm.max_map_count"));
	assert_int_equal(munmap(taken, len), 0);
	if (!kho_vmalloc(200 * KHO_PAGE_SIZE))
		fail_msg("%s", kho_error());
}

/* ---- threads ---- */

#define THREADS 4

static void *use_areas(void *arg)
{
	struct kho_vmalloc *v = arg;
	__u64 salt = (__u64)(uintptr_t)arg;

	for (int i = 0; i < 60; i++) {
		size_t pages = 1 + (salt / 16 * 7 + (unsigned int)i * 13) % 90;
		char *area = i % 3 ? kho_vmalloc(pages * KHO_PAGE_SIZE)
				   : kho_kvmalloc(pages * KHO_PAGE_SIZE);

		if (!area)
			return "kho_vmalloc";
		for (size_t p = 0; p < pages; p++)
			*(__u64 *)(area + p * KHO_PAGE_SIZE) = salt + p;
		if (kho_preserve_vmalloc(area, v))
			return "kho_preserve_vmalloc";
		for (size_t p = 0; p < pages; p++)
			if (*(__u64 *)(area + p * KHO_PAGE_SIZE) != salt + p)
				return "contents";
		kho_unpreserve_vmalloc(v);
		kho_vfree(area);
	}
	return NULL;
}

static void threads_have_areas_side_by_side(void **state)
{
	struct kho_vmalloc *v = keep(0);
	__u64 used = kho_pages_used_();
	pthread_t thread[THREADS];
	void *what;

	for (int t = 0; t < THREADS; t++)
		assert_int_equal(pthread_create(&thread[t], NULL, use_areas, v + t), 0);
	for (int t = 0; t < THREADS; t++) {
		assert_int_equal(pthread_join(thread[t], &what), 0);
		assert_string_equal(what ? what : "", "");
	}
	assert_int_equal(kho_pages_used_(), used);
	assert_int_equal(kho_vmalloc_mappings_(), 0);
}

/* ---- against a model ---- */

#define AREAS 24

static struct model {
	char *area[AREAS];
	size_t pages[AREAS];
	__u64 salt[AREAS];
	bool preserved[AREAS];
} model;

static void model_make(unsigned int i, uint64_t r)
{
	size_t pages = 1 + (r >> 8) % (r & 1 ? 40 : 700);
	char *area = r % 3 == 0	  ? kho_vmalloc(pages * KHO_PAGE_SIZE)
		     : r % 3 == 1 ? kho_vmalloc_huge(pages * KHO_PAGE_SIZE)
				  : kho_kvmalloc(pages * KHO_PAGE_SIZE);

	if (!area)
		return;
	model.area[i] = area;
	model.pages[i] = pages;
	model.salt[i] = r;
	model.preserved[i] = false;
	stamp(area, pages, r);
}

static void model_restart(void)
{
	arena_crash();
	for (unsigned int i = 0; i < AREAS; i++) {
		model.area[i] = model.preserved[i] ? kho_restore_vmalloc(keep(i)) : NULL;
		if (model.preserved[i] && !model.area[i])
			fail_msg("area %u: %s", i, kho_error());
		if (!model.preserved[i])
			assert_int_equal(keep(i)->first, 0);
		else
			expect_stamp(model.area[i], model.pages[i], model.salt[i]);
	}
	assert_int_equal(kho_release_unclaimed(), 0); /* nothing leaks */
}

static void model_change(uint64_t r)
{
	unsigned int i = (unsigned int)(r >> 32) % AREAS;

	if (!model.area[i]) {
		model_make(i, r >> 4);
		return;
	}
	expect_stamp(model.area[i], model.pages[i], model.salt[i]);
	if (!model.preserved[i]) {
		model.preserved[i] = !kho_preserve_vmalloc(model.area[i], keep(i));
	} else {
		kho_unpreserve_vmalloc(keep(i));
		model.preserved[i] = false;
	}
	if (!model.preserved[i] && r & 1) {
		kho_vfree(model.area[i]);
		model.area[i] = NULL;
	}
}

static void areas_are_what_the_model_says(void **state)
{
	uint64_t rng = test_seed();
	__u64 used;

	memset(&model, 0, sizeof(model));
	keep(0);
	used = kho_pages_used_();
	for (int round = 0; round < 1200; round++) {
		model_change(test_random(&rng));
		if (round % 60 == 59)
			model_restart();
	}
	for (unsigned int i = 0; i < AREAS; i++) {
		if (model.preserved[i])
			kho_unpreserve_vmalloc(keep(i));
		kho_vfree(model.area[i]);
	}
	kho_pages_discover_all_();
	assert_int_equal(kho_pages_used_(), used);
	assert_int_equal(kho_vmalloc_mappings_(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		AREA_CASE(neighbours_are_one_mapping),
		AREA_CASE(scattered_pages_are_contiguous),
		AREA_CASE(huge_blocks_come_first),
		AREA_CASE(kvmalloc_needs_no_mapping_if_it_can),
		AREA_CASE(an_area_ends_where_it_ends),
		AREA_CASE(a_frozen_area_is_not_written),
		AREA_CASE(preserving_twice_is_once),
		AREA_CASE(what_is_freed_is_not_restored),
		AREA_CASE(only_an_areas_start_is_an_area),
		AREA_CASE(only_the_owner_has_areas),
		AREA_CASE(taking_it_back_forgets_addresses),
		AREA_CASE(too_many_mappings_are_refused),
		AREA_CASE(mappings_that_vanish_meanwhile_are_noticed),
		AREA_CASE(threads_have_areas_side_by_side),
		AREA_CASE(areas_are_what_the_model_says),
	};

	return cmocka_run_group_tests_name("vmalloc", tests, NULL, NULL);
}
