/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Areas of scattered pages in the next program: after a kill, from the golden image, damaged, and
 * restored by nobody.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sparse.h"
#include "vmalloc_fixture.h"

struct shared {
	kho_pa_t desc;
	int step;
	char text[200];
};

static void predecessor(int fd, struct shared *shared)
{
	struct kho_vmalloc *v;
	char *area;

	if (kho_arena_map_(fd, true) || kho_arena_own_())
		_exit(2);
	fragment();
	v = kho_alloc_preserve(sizeof(*v));
	if (!v)
		_exit(3); /* the last free pages were taken by others: see fragment() */
	area = kho_vmalloc(700 * KHO_PAGE_SIZE);
	stamp(area, 700, 0x5eed);
	if (kho_preserve_vmalloc(area, v))
		_exit(4);
	shared->desc = kho_virt_to_phys(v);
	__atomic_store_n(&shared->step, 1, __ATOMIC_SEQ_CST);
	for (;;)
		pause();
}

static void successor(int fd, struct shared *shared)
{
	struct kho_vmalloc *v;
	char *area;

	if (kho_arena_map_(fd, true) || kho_arena_own_())
		_exit(2);
	v = kho_phys_to_virt(shared->desc);
	area = kho_restore_vmalloc(v);
	if (!area) {
		snprintf(shared->text, sizeof(shared->text), "%s", kho_error());
		_exit(3);
	}
	for (size_t i = 0; i < 700; i++)
		if (*(__u64 *)(area + i * KHO_PAGE_SIZE) != 0x5eed + i)
			_exit(4);
	if (kho_restore_vmalloc(v) || errno != EINVAL || !strstr(kho_error(), "before"))
		_exit(5);
	kho_unpreserve_vmalloc(v);
	if (v->first || v->total_pages)
		_exit(6);
	kho_vfree(area);
	kho_restore_free(v);
	if (khoc_radix_test(&kho_arena_.tree, shared->desc, 0))
		_exit(7);
	_exit(0);
}

static void it_outlives_a_killed_program(void **state)
{
	struct shared *shared =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int fd = kho_arena_create_("pair"), status = 0;
	pid_t pid = fork();

	assert_true(fd >= 0);
	if (!pid) {
		if (kho_arena_format_(fd, ARENA_MAX))
			_exit(9);
		predecessor(fd, shared);
	}
	while (!__atomic_load_n(&shared->step, __ATOMIC_SEQ_CST) && !waitpid(pid, &status, WNOHANG))
		usleep(1000);
	assert_int_equal(status, 0);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	assert_true(WIFSIGNALED(status));
	pid = fork();
	if (!pid)
		successor(fd, shared);
	waitpid(pid, &status, 0);
	assert_string_equal(shared->text, "");
	assert_int_equal(status, 0);
	munmap(shared, 4096);
	close(fd);
}

static void damage_is_refused_in_words(void **state)
{
	struct kho_vmalloc *v = keep(0), bad;
	char *area = kho_vmalloc(3 * KHO_PAGE_SIZE);
	__u64 *chunk;

	assert_int_equal(kho_preserve_vmalloc(area, v), 0);
	arena_crash();
	v = keep(0);
	chunk = kho_phys_to_virt(v->first);
	bad = *v;
	bad.flags = 0x81;
	assert_null(kho_restore_vmalloc(&bad));
	assert_non_null(strstr(kho_error(), "vmalloc descriptor: flags"));
	bad = *v;
	bad.order = 1;
	assert_null(kho_restore_vmalloc(&bad));
	assert_non_null(strstr(kho_error(), "total_pages"));
	bad.total_pages = 6;
	assert_null(kho_restore_vmalloc(&bad)); /* blocks of two are not what is preserved */
	assert_int_equal(errno, EINVAL);
	bad = *v;
	bad.total_pages = 4;
	assert_null(kho_restore_vmalloc(&bad));
	assert_non_null(strstr(kho_error(), "vmalloc chunk: next"));
	bad.total_pages = 2;
	assert_null(kho_restore_vmalloc(&bad));
	assert_non_null(strstr(kho_error(), "vmalloc chunk: phys"));
	bad.total_pages = ~0u;
	assert_null(kho_restore_vmalloc(&bad));
	bad = *v;
	bad.first = 1ULL << 60;
	assert_null(kho_restore_vmalloc(&bad));
	bad.first = kho_arena_.header->nodes_pa;
	assert_null(kho_restore_vmalloc(&bad));
	chunk[0] = v->first;
	assert_null(kho_restore_vmalloc(v));
	chunk[0] = 0;
	assert_non_null(kho_restore_vmalloc(v));
}

/* Linux ends a full chunk with an empty one; without it the list says the same. */
static void a_full_chunk_may_end_the_list(void **state)
{
	struct kho_vmalloc *v = keep(0);
	char *area = kho_vmalloc(511 * KHO_PAGE_SIZE);
	kho_pa_t second;

	stamp(area, 511, 8);
	assert_int_equal(kho_preserve_vmalloc(area, v), 0);
	second = *(__u64 *)kho_phys_to_virt(v->first);
	assert_int_not_equal(second, 0);
	*(__u64 *)kho_phys_to_virt(v->first) = 0;
	arena_crash();
	area = kho_restore_vmalloc(keep(0));
	assert_non_null(area);
	expect_stamp(area, 511, 8);
	kho_vfree(area);
	arena_crash();
	/* The lost chunk is nobody's, and released as such. */
	assert_int_equal(kho_release_unclaimed(), KHO_PAGE_SIZE);
	kho_pages_discover_all_();
	assert_true(kho_pages_are_free_(second, 1));
}

/* ---- nobody restored it ---- */

struct seen {
	unsigned int parts, chunks, others;
};

static int note(void *ctx, kho_pa_t pa, unsigned int order, const char *what)
{
	struct seen *seen = ctx;

	if (!strcmp(what, "vmalloc part"))
		seen->parts++;
	else if (!strcmp(what, "vmalloc chunk"))
		seen->chunks++;
	else
		seen->others++;
	return 0;
}

static void what_is_not_restored_is_released(void **state)
{
	struct kho_vmalloc *v = keep(0);
	struct seen seen = {0};
	char *area;
	__u64 used;

	assert_int_equal(kho_preserve_vmalloc(kho_vmalloc(600 * KHO_PAGE_SIZE), v), 0);
	area = kho_vmalloc_huge(4 * MIB);
	stamp(area, 1024, 6);
	assert_int_equal(kho_preserve_vmalloc(area, v + 1), 0);
	assert_int_equal(kho_for_each_unclaimed(note, &seen), 0);
	assert_int_equal(seen.parts + seen.chunks + seen.others, 0);
	arena_crash();
	kho_pages_discover_all_();
	used = kho_pages_used_();
	assert_int_equal(kho_for_each_unclaimed(note, &seen), 0);
	assert_int_equal(seen.parts, 602);
	assert_int_equal(seen.chunks, 3);
	assert_int_equal(seen.others, 0);
	area = kho_restore_vmalloc(keep(1));
	assert_int_equal(kho_release_unclaimed(), 602 * KHO_PAGE_SIZE);
	assert_int_equal(kho_pages_used_(), used - 602 * KHO_PAGE_SIZE);
	expect_stamp(area, 1024, 6);
	assert_null(kho_restore_vmalloc(keep(0)));
	arena_crash();
	assert_non_null(kho_restore_vmalloc(keep(1)));
}

/* ---- the image of the first release is read for ever: see make_golden_vmalloc.c ---- */

static int open_golden(void **state)
{
	FILE *in = fopen("tests/golden/vmalloc-v1.sparse", "r");
	char *image = calloc(1, 8 * MIB);
	int fd = kho_arena_create_("golden");
	__u64 size;

	assert_non_null(in);
	size = sparse_read(in, image, 8 * MIB);
	assert_true(size > 4 * MIB);
	assert_int_equal(pwrite(fd, image, size, 0), size);
	fclose(in);
	free(image);
	if (kho_arena_map_(fd, true) || kho_arena_own_())
		fail_msg("%s", kho_error());
	return 0;
}

static void the_golden_areas_are_there(void **state)
{
	static const struct {
		size_t pages;
		unsigned int flags, order;
	} want[] = {{1, 1, 0}, {511, 1, 0}, {512, 3, 9}, {24, 3, 3}};
	struct kho_vmalloc *v;
	kho_pa_t pa;
	size_t size;

	assert_int_equal(kho_retrieve_subtree("areas", &pa, &size), 0);
	assert_int_equal(size, 4 * 16);
	v = (struct kho_vmalloc *)kho_restore_folio(pa);
	for (unsigned int n = 0; n < 4; n++) {
		const char *area = kho_restore_vmalloc(v + n);

		assert_non_null(area);
		assert_int_equal(v[n].total_pages, want[n].pages);
		assert_int_equal(v[n].flags, want[n].flags);
		assert_int_equal(v[n].order, want[n].order);
		for (size_t i = 0; i < want[n].pages; i++)
			assert_int_equal(*(__u64 *)(area + i * KHO_PAGE_SIZE), n * 1000 + i);
	}
	/* The chunk that 511 addresses fill has an empty successor. */
	pa = *(__u64 *)kho_phys_to_virt(v[1].first);
	for (unsigned int i = 0; i < 512; i++)
		assert_int_equal(((__u64 *)kho_phys_to_virt(pa))[i], 0);
	/* Nothing else came in but the 32 pages of make_gaps(). */
	assert_int_equal(kho_release_unclaimed(), 32 * KHO_PAGE_SIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_outlives_a_killed_program),
		AREA_CASE(damage_is_refused_in_words),
		AREA_CASE(a_full_chunk_may_end_the_list),
		AREA_CASE(what_is_not_restored_is_released),
		cmocka_unit_test_setup_teardown(the_golden_areas_are_there, open_golden, drop),
	};

	return cmocka_run_group_tests_name("vmalloc_handover", tests, NULL, NULL);
}
