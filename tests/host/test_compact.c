/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* An arena that is given to the kernel: measured, made shorter, and kept from growing. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arena_fixture.h"
#include "liveupdate.h"
#include "page.h"

#define MAX (256ULL << 20)
#define PAGES 16

int __real_fallocate(int fd, int mode, off_t at, off_t len);
int __wrap_fallocate(int fd, int mode, off_t at, off_t len);
int __real_ftruncate(int fd, off_t size);
int __wrap_ftruncate(int fd, off_t size);

/* As Linux 7.2 does for a file that is preserved: all that changes size or holes is refused, a touch is not. */
static bool frozen;

int __wrap_fallocate(int fd, int mode, off_t at, off_t len)
{
	if (frozen) {
		errno = EPERM;
		return -1;
	}
	return __real_fallocate(fd, mode, at, len);
}

int __wrap_ftruncate(int fd, off_t size)
{
	if (frozen) {
		errno = EPERM;
		return -1;
	}
	return __real_ftruncate(fd, size);
}

static kho_pa_t pa_of(const struct folio *folio)
{
	return kho_virt_to_phys(folio);
}

/* Preserve a folio of 2^@order pages that says its own address. */
static kho_pa_t keep(unsigned int order)
{
	struct folio *folio = kho_folio_alloc(order);
	__u64 *words = (void *)folio;

	assert_non_null(folio);
	words[0] = pa_of(folio);
	words[511] = ~pa_of(folio);
	assert_int_equal(kho_preserve_folio(folio), 0);
	return pa_of(folio);
}

static void check_kept(kho_pa_t pa)
{
	struct folio *folio = kho_restore_folio(pa);
	__u64 *words = (void *)folio;

	assert_non_null(folio);
	assert_true(words[0] == pa);
	assert_true(words[511] == ~pa);
}

static void attach(int fd)
{
	assert_int_equal(kho_arena_map_(fd, true), 0);
	assert_int_equal(kho_arena_own_(), 0);
	assert_int_equal(kho_pages_discover_all_(), 0);
}

/* Low pages that stay, and high ones that go: the file is long, and there is little in it. */
static int sparse(kho_pa_t *kept)
{
	struct folio *high[24];
	int fd;

	arena_new(MAX);
	for (int i = 0; i < PAGES; i++)
		kept[i] = keep(0);
	for (int i = 0; i < 24; i++)
		assert_non_null(high[i] = kho_folio_alloc(10));
	for (int i = 0; i < 24; i++)
		kho_folio_put(high[i]);
	fd = dup(kho_arena_.fd);
	arena_drop();
	return fd;
}

static void measured(void **state)
{
	kho_pa_t kept[PAGES], last;
	struct kho_extent extent;
	struct stat st;
	int fd = sparse(kept);

	assert_int_equal(kho_extent_(fd, &extent), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(extent.size == (__u64)st.st_size);
	assert_true(extent.allocated == (__u64)st.st_blocks * 512);
	assert_true(extent.max_size == MAX);
	assert_true(kho_extent_filled_(&extent) == extent.size - extent.allocated);
	last = 0;
	for (int i = 0; i < PAGES; i++)
		last = kept[i] > last ? kept[i] : last;
	assert_true(extent.end > last && extent.end <= last + (2 << 20));
	assert_int_equal(extent.end % (64 << 12), 0);
	assert_false(kho_arena_.mapped);
	close(fd);
}

static void short_and_the_same(void **state)
{
	kho_pa_t kept[PAGES];
	struct kho_extent extent, after;
	struct stat st;
	int fd = sparse(kept), to;

	assert_int_equal(kho_extent_(fd, &extent), 0);
	to = kho_compact_(fd, &extent, "short");
	assert_true(to >= 0);
	assert_int_equal(fstat(to, &st), 0);
	assert_true((__u64)st.st_size == extent.end);
	assert_true((__u64)st.st_size < extent.size / 4);
	assert_true((__u64)st.st_blocks * 512 <= extent.allocated);
	assert_true(fcntl(to, F_GET_SEALS) & F_SEAL_SHRINK);
	assert_int_equal(kho_extent_(to, &after), 0);
	assert_true(after.generation == extent.generation);
	attach(to);
	for (int i = 0; i < PAGES; i++)
		check_kept(kept[i]);
	/* And it grows again. */
	for (int i = 0; i < 24; i++)
		assert_non_null(kho_folio_alloc(10));
	arena_drop();
	close(fd);
}

/* Allocated and never written: lseek(2) calls it a hole, and the tree does not. */
static void untouched_memory_counts(void **state)
{
	struct kho_extent extent;
	struct folio *folio;
	kho_pa_t pa;
	int fd, to;

	arena_new(MAX);
	folio = kho_folio_alloc(10);
	assert_non_null(folio);
	pa = pa_of(folio);
	assert_int_equal(kho_preserve_folio(folio), 0);
	fd = dup(kho_arena_.fd);
	arena_drop();
	assert_int_equal(kho_extent_(fd, &extent), 0);
	assert_true(extent.end >= pa + (4 << 20));
	to = kho_compact_(fd, &extent, "short");
	assert_true(to >= 0);
	attach(to);
	folio = kho_restore_folio(pa);
	assert_non_null(folio);
	for (size_t i = 0; i < (4 << 20) / 8; i++)
		assert_true(((__u64 *)folio)[i] == 0);
	arena_drop();
	close(fd);
}

/* A copy takes what is allocated, and saves what lies behind the end. */
static void when_a_copy_is_worth_it(void **state)
{
	struct kho_extent e = {.size = 1000, .allocated = 400, .end = 500};

	assert_true(kho_extent_worth_copying_(&e));
	e.end = 600;
	assert_false(kho_extent_worth_copying_(&e));
	e.end = 1000;
	assert_false(kho_extent_worth_copying_(&e));
}

static void damage_is_seen(void **state)
{
	kho_pa_t kept[PAGES];
	struct kho_extent extent;
	struct kho_abi_arena_header header;
	int fd = sparse(kept), plain = memfd_create("x", MFD_CLOEXEC);
	__u64 bad = 0x123456789000ULL;
	unsigned char flipped;

	assert_int_equal(pread(fd, &header, sizeof(header), 0), sizeof(header));
	assert_int_equal(pwrite(fd, &bad, 8, header.tree_root_pa), 8);
	assert_true(kho_extent_(fd, &extent) < 0);
	assert_non_null(strstr(kho_error(), "tree"));
	assert_false(kho_arena_.mapped);
	assert_int_equal(pread(fd, &flipped, 1, 40), 1);
	flipped ^= 4;
	assert_int_equal(pwrite(fd, &flipped, 1, 40), 1);
	assert_true(kho_extent_(fd, &extent) < 0);
	assert_int_equal(kho_extent_(plain, &extent), -KHO_E_FORMAT);
	assert_int_equal(kho_extent_(999, &extent), -EBADF);
	close(plain);
	close(fd);
}

static void a_frozen_file_does_not_grow(void **state)
{
	struct folio *large[8], *folio;
	struct stat before, after;

	arena_new(MAX);
	for (int i = 0; i < 8; i++)
		assert_non_null(large[i] = kho_folio_alloc(10));
	for (int i = 0; i < 8; i++)
		kho_folio_put(large[i]);
	assert_int_equal(fstat(kho_arena_.fd, &before), 0);
	frozen = true;
	/* What is free in the file is had as before, in large pieces as well. */
	for (int i = 0; i < 7; i++) {
		folio = kho_folio_alloc(10);
		assert_non_null(folio);
		memset(folio, 0x5a, 4 << 20);
	}
	/* What is not says why. */
	while ((folio = kho_folio_alloc(9)))
		;
	assert_int_equal(errno, ENOMEM);
	assert_non_null(strstr(kho_error(), "preserved for a live update"));
	while (kho_malloc(3000))
		;
	assert_non_null(strstr(kho_error(), "preserved for a live update"));
	assert_int_equal(fstat(kho_arena_.fd, &after), 0);
	assert_true(before.st_size == after.st_size);
	frozen = false;
	assert_non_null(kho_folio_alloc(9));
	assert_non_null(kho_malloc(3000));
	arena_drop();
}

/* Nothing is punched, and nothing is lost by that: the pages are handed out again. */
static void a_frozen_file_is_not_punched(void **state)
{
	struct folio *folio[40];
	struct stat before, after;

	arena_new(MAX);
	for (int i = 0; i < 40; i++) {
		assert_non_null(folio[i] = kho_folio_alloc(10));
		memset(folio[i], 1, 4 << 20);
	}
	assert_int_equal(fstat(kho_arena_.fd, &before), 0);
	frozen = true;
	for (int i = 0; i < 40; i++)
		kho_folio_put(folio[i]);
	assert_int_equal(fstat(kho_arena_.fd, &after), 0);
	assert_true(before.st_blocks == after.st_blocks);
	for (int i = 0; i < 40; i++)
		assert_non_null(kho_folio_alloc(10));
	frozen = false;
	arena_drop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(measured),
		cmocka_unit_test(short_and_the_same),
		cmocka_unit_test(untouched_memory_counts),
		cmocka_unit_test(when_a_copy_is_worth_it),
		cmocka_unit_test(damage_is_seen),
		cmocka_unit_test(a_frozen_file_does_not_grow),
		cmocka_unit_test(a_frozen_file_is_not_punched),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
