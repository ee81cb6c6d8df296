/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What is no arena, or none for us: each refused with its own code and words, and left as it was. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arena_fixture.h"
#include "page.h"
#include "preserve.h"

#define MIB (1ULL << 20)

static int formatted(__u64 max)
{
	int fd = kho_arena_create_("arena");

	assert_true(fd >= 0);
	assert_int_equal(kho_arena_format_(fd, max), 0);
	return fd;
}

/* Refused with @code and a text that has @words in it; @fd is still the caller's, and closed. */
static void assert_refused(int fd, int code, const char *words)
{
	int rc = kho_arena_map_(fd, true);

	if (rc != code || !strstr(kho_error(), words))
		fail_msg("%d: \"%s\", not %d with \"%s\"", rc, kho_error(), code, words);
	assert_false(kho_arena_.mapped);
	if (fd >= 0)
		assert_int_equal(close(fd), 0);
}

static void poke(int fd, off_t at, const void *bytes, size_t len)
{
	assert_int_equal(pwrite(fd, bytes, len, at), len);
}

/* A header's constant part changed on purpose: with the right checksum. */
static int altered(size_t at, __u64 value, size_t len)
{
	int fd = formatted(64 * MIB);
	struct kho_abi_arena_header header;

	assert_int_equal(pread(fd, &header, sizeof(header), 0), sizeof(header));
	memcpy((char *)&header + at, &value, len);
	header.crc = khoc_crc32c(0, &header, offsetof(struct kho_abi_arena_header, crc));
	poke(fd, 0, &header, sizeof(header));
	return fd;
}

#define ALTERED(field, value)                                                                      \
	altered(offsetof(struct kho_abi_arena_header, field), value,                               \
		sizeof(((struct kho_abi_arena_header *)0)->field))

static void what_is_no_memfd_is_refused(void **state)
{
	int fds[2], plain = open("/tmp", O_RDWR | O_TMPFILE, 0600);

	assert_int_equal(pipe(fds), 0);
	close(fds[1]);
	assert_refused(fds[0], -KHO_E_MAGIC, "not a memfd");
	assert_refused(open("/dev/zero", O_RDWR), -KHO_E_MAGIC, "not a memfd");
	assert_refused(open("/", O_RDONLY), -KHO_E_MAGIC, "not a memfd");
	if (plain >= 0) {
		assert_int_equal(ftruncate(plain, MIB), 0);
		assert_true(kho_arena_map_(plain, true) < 0);
		close(plain);
	}
	assert_refused(-1, -EBADF, "fd -1");
}

static void seals_are_checked(void **state)
{
	int fd = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_int_equal(kho_arena_format_(fd, 64 * MIB), 0);
	assert_refused(fd, -KHO_E_FORMAT, "not sealed against shrinking");
	fd = memfd_create("x", MFD_CLOEXEC); /* cannot be sealed at all */
	assert_int_equal(kho_arena_format_(fd, 64 * MIB), 0);
	assert_refused(fd, -KHO_E_FORMAT, "not sealed against shrinking");
	fd = formatted(64 * MIB);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	assert_refused(fd, -KHO_E_FORMAT, "sealed against writing");
	fd = formatted(64 * MIB);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), 0);
	assert_refused(fd, -KHO_E_FORMAT, "growing");
	/* And a sealed one cannot be cut short under its users. */
	fd = formatted(64 * MIB);
	assert_int_equal(ftruncate(fd, 4096), -1);
	close(fd);
}

static void truncated_files_are_refused(void **state)
{
	struct stat st;
	int fd = kho_arena_create_("x"), whole = formatted(64 * MIB);
	char *copy;

	assert_int_equal(kho_arena_is_empty_(fd), 1);
	assert_refused(fd, -KHO_E_TRUNCATED, "empty");
	assert_int_equal(fstat(whole, &st), 0);
	copy = calloc(1, (size_t)st.st_size);
	assert_int_equal(pread(whole, copy, (size_t)st.st_size, 0), st.st_size);
	for (off_t len = 8; len < st.st_size; len = len * 2 + 1) {
		fd = kho_arena_create_("x");
		poke(fd, 0, copy, (size_t)len);
		assert_refused(fd, len < 152 ? -KHO_E_TRUNCATED : -KHO_E_ALIGN, "arena header");
	}
	for (off_t len = 4096; len < 1100 * 1024; len += 100 * 4096) {
		fd = kho_arena_create_("x");
		poke(fd, 0, copy, (size_t)len);
		assert_refused(fd, -KHO_E_TRUNCATED, "arena header: file size");
	}
	free(copy);
	close(whole);
}

static void foreign_bytes_are_refused(void **state)
{
	uint64_t rng = test_seed();

	for (int i = 0; i < 200; i++) {
		int fd = kho_arena_create_("x");
		__u64 page[512];

		for (int w = 0; w < 512; w++)
			page[w] = test_random(&rng);
		for (int p = 0; p < 8; p++)
			poke(fd, p * 4096, page, 4096);
		assert_refused(fd, -KHO_E_MAGIC, "arena header: magic");
	}
	/* The right magic in front of it does not make it better. */
	for (int i = 0; i < 200; i++) {
		int fd = kho_arena_create_("x"), rc;
		__u64 page[512] = {KHO_ABI_ARENA_MAGIC};

		for (int w = 1; w < 512; w++)
			page[w] = test_random(&rng);
		if (i & 1)
			page[1] = 152 | 1ULL << 32;
		if (i & 1)
			page[4] = 0;
		poke(fd, 0, page, 4096);
		rc = kho_arena_map_(fd, true);
		assert_true(rc == -KHO_E_VERSION || rc == -KHO_E_CHECKSUM || rc == -KHO_E_RANGE);
		close(fd);
	}
}

static void other_formats_are_refused(void **state)
{
	int fd;

	assert_refused(ALTERED(version, 2), -KHO_E_VERSION, "arena header: version");
	assert_refused(ALTERED(version, 0), -KHO_E_VERSION, "arena header: version");
	assert_refused(ALTERED(features_incompat, 1), -KHO_E_VERSION, "features_incompat");
	assert_refused(ALTERED(page_shift, 14), -KHO_E_INCOMPATIBLE, "page_shift");
	assert_refused(ALTERED(max_size, 128 * MIB), -KHO_E_RANGE, "arena header");
	assert_refused(ALTERED(max_size, ~0ULL), -KHO_E_RANGE, "max_size");
	assert_refused(ALTERED(base, 0), -KHO_E_RANGE, "base");
	assert_refused(ALTERED(base, KHO_ARENA_BASE + 4096), -KHO_E_ALIGN, "base");
	assert_refused(ALTERED(base, 1ULL << 63), -KHO_E_RANGE, "base");
	assert_refused(ALTERED(tree_root_pa, 4096), -KHO_E_RANGE, "tree_root_pa");
	assert_refused(ALTERED(header_size, 100), -KHO_E_RANGE, "header_size");
	/* Unknown and harmless. */
	fd = ALTERED(features_compat, 6);
	assert_int_equal(kho_arena_map_(fd, true), 0);
	assert_int_equal(kho_arena_own_(), 0);
	kho_arena_unmap_();
	/* Unknown, and only for readers. */
	fd = ALTERED(features_ro_compat, 6);
	assert_int_equal(kho_arena_map_(fd, false), 0);
	assert_int_equal(kho_arena_own_(), -KHO_E_VERSION);
	assert_non_null(strstr(kho_error(), "features_ro_compat"));
	assert_false(kho_arena_.writer);
	kho_arena_unmap_();
}

static void a_range_that_is_taken_is_told(void **state)
{
	char *at = (char *)KHO_ARENA_BASE + 32 * MIB;
	int fd = formatted(64 * MIB), again = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	assert_ptr_equal(mmap(at, 4096, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
			 at);
	*at = 0x5a;
	assert_refused(fd, -EEXIST, "0x550000000000");
	assert_int_equal(*at, 0x5a);
	munmap(at, 4096);
	assert_int_equal(kho_arena_map_(again, true), 0);
	kho_arena_unmap_();
}

static void one_arena_to_a_process(void **state)
{
	int fd = formatted(64 * MIB), second = formatted(64 * MIB);

	assert_int_equal(kho_arena_map_(fd, true), 0);
	assert_int_equal(kho_arena_map_(second, true), -EEXIST);
	assert_non_null(strstr(kho_error(), "one to a process"));
	assert_int_equal(kho_arena_own_(), 0);
	assert_non_null(kho_malloc(100));
	kho_arena_unmap_();
	assert_int_equal(kho_arena_map_(second, true), 0);
	kho_arena_unmap_();
	kho_arena_unmap_(); /* twice is once */
}

/* Without an arena, and before it is ours, everything says so. */
static void nothing_is_written_by_who_does_not_own(void **state)
{
	int fd = formatted(64 * MIB);
	unsigned int count;
	char release[65];

	assert_null(kho_root("x", "t", 1));
	assert_int_equal(errno, ENODEV);
	assert_int_equal(kho_retrieve_subtree("x", NULL, NULL), -ENODEV);
	assert_int_equal(kho_metadata(release, &count), -ENODEV);
	assert_int_equal(kho_usable_size(&fd), 0);
	assert_null(kho_phys_to_virt(4096));
	assert_int_equal(kho_virt_to_phys(&fd), 0);
	for (int mapped = 0; mapped < 2; mapped++) {
		if (mapped)
			assert_int_equal(kho_arena_map_(fd, false), 0);
		assert_null(kho_malloc(10));
		assert_int_equal(errno, EPERM);
		assert_null(kho_malloc(100000));
		assert_null(kho_calloc(3, 10));
		assert_null(kho_memalign(64, 10));
		assert_null(kho_folio_alloc(0));
		assert_null(kho_alloc_pages(1));
		assert_null(kho_restore_folio(2 * MIB));
		assert_null(kho_restore_pages(2 * MIB, 1));
		assert_int_equal(kho_preserve_folio((struct folio *)KHO_ARENA_BASE), -EPERM);
		assert_int_equal(kho_publish((void **)KHO_ARENA_BASE, NULL, NULL), -EPERM);
		assert_int_equal(kho_add_subtree("x", (void *)KHO_ARENA_BASE, 1), -EPERM);
		assert_int_equal(kho_root_remove("x"), -EPERM);
		kho_free((void *)(KHO_ARENA_BASE + 2 * MIB));
		kho_remove_subtree((void *)(KHO_ARENA_BASE + 2 * MIB));
		kho_folio_put((struct folio *)(KHO_ARENA_BASE + 2 * MIB));
		kho_unpreserve_folio((struct folio *)(KHO_ARENA_BASE + 2 * MIB));
		kho_free_pages((struct page *)(KHO_ARENA_BASE + 2 * MIB), 1);
	}
	assert_null(kho_root("x", "t", 1));
	assert_int_equal(errno, ENOENT);
	/* The grant. */
	assert_int_equal(kho_arena_own_(), 0);
	assert_non_null(kho_root("x", "t", 1));
	kho_arena_unmap_();
}

static void limits_are_rounded_down(void **state)
{
	static const struct {
		__u64 asked, got;
	} cases[] = {
		{3 * MIB, 3 * MIB},	    {3 * MIB + 300000, 3 * MIB + 262144},
		{127 * MIB + 5, 127 * MIB}, {128 * MIB, 128 * MIB},
		{200 * MIB, 128 * MIB},	    {1000 * MIB + 1, 896 * MIB},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		int fd = formatted(cases[i].asked);

		assert_int_equal(kho_arena_map_(fd, true), 0);
		assert_int_equal(kho_arena_.size, cases[i].got);
		assert_int_equal(kho_arena_own_(), 0);
		assert_non_null(kho_malloc(50));
		kho_arena_unmap_();
	}
	assert_int_equal(kho_arena_format_(kho_arena_create_("x"), 100000), -EINVAL);
	assert_int_equal(kho_arena_format_(kho_arena_create_("x"), 1ULL << 50), -EINVAL);
}

/* Its formatter died before the last store: empty, and sealed, so that it cannot be made smaller. */
static int half_formatted(__u64 max)
{
	static const __u64 none;
	int fd = formatted(max);

	poke(fd, 0, &none, sizeof(none));
	assert_int_equal(kho_arena_is_empty_(fd), 1);
	return fd;
}

static void what_an_unfinished_formatting_left(void **state)
{
	int fd = half_formatted(8192 * MIB), rc;
	struct stat before, after;

	assert_int_equal(fstat(fd, &before), 0);
	/* Longer than a new file of this limit would be, but within it. */
	assert_int_equal(kho_arena_format_(fd, 64 * MIB), 0);
	assert_int_equal(fstat(fd, &after), 0);
	assert_int_equal(after.st_size, before.st_size);
	assert_int_equal(kho_arena_map_(fd, true), 0);
	assert_int_equal(kho_arena_.size, 64 * MIB);
	assert_int_equal(kho_arena_own_(), 0);
	assert_non_null(kho_malloc(100000));
	kho_arena_unmap_();
	/* Longer than the limit. */
	fd = half_formatted(8192 * MIB);
	rc = kho_arena_format_(fd, 3 * MIB);
	if (rc != -EINVAL || !strstr(kho_error(), "raise --arena-max"))
		fail_msg("%d: %s", rc, kho_error());
	assert_int_equal(kho_arena_is_empty_(fd), 1);
	assert_int_equal(kho_arena_format_(fd, 8192 * MIB), 0);
	close(fd);
}

/* ---- an owner at work while somebody checks ---- */

int __real_fstat(int fd, struct stat *st);
int __wrap_fstat(int fd, struct stat *st);

static off_t grow_by = -1; /* what the owner does once the file's size has been asked for */

/* Its file grows, and it is about to publish to a word that is new. */
static void grow(int fd, off_t size)
{
	struct kho_abi_intent intent = {.slot = (__u64)size, .value = 1};

	if (grow_by)
		assert_int_equal(ftruncate(fd, size + grow_by), 0);
	poke(fd, KHO_ABI_INTENTS_PA, &intent, sizeof(intent));
}

int __wrap_fstat(int fd, struct stat *st)
{
	int r = __real_fstat(fd, st);

	if (!r && grow_by >= 0) {
		grow(fd, st->st_size);
		grow_by = -1;
	}
	return r;
}

static void the_file_grows_while_intents_are_checked(void **state)
{
	int fd = formatted(64 * MIB);

	grow_by = (off_t)MIB;
	assert_int_equal(kho_arena_map_(fd, false), 0);
	assert_int_equal(grow_by, -1);
	kho_arena_unmap_();
	/* Not grown, it is a fault. */
	fd = formatted(64 * MIB);
	grow_by = 0;
	assert_int_equal(kho_arena_map_(fd, false), -KHO_E_RANGE);
	assert_non_null(strstr(kho_error(), "slot"));
	close(fd);
}

static void words_survive(void **state)
{
	arena_new(64 * MIB);
	assert_int_equal(kho_arena_generation_(), 0);
	kho_arena_set_generation_(41);
	kho_arena_set_state_(KHO_ABI_STATE_GRANTED);
	arena_crash();
	assert_int_equal(kho_arena_generation_(), 41);
	assert_int_equal(kho_arena_state_(), KHO_ABI_STATE_GRANTED);
	arena_drop();
}

/* The file's size limit is one more way for an arena to be full. */
static void a_limit_of_the_file_is_no_death(void **state)
{
	struct rlimit limit, tight;
	struct page *first, *p = NULL;
	unsigned int nr = 0;

	arena_new(64 * MIB);
	first = kho_alloc_pages(1);
	assert_non_null(first);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	tight = (struct rlimit){kho_file_size_() + (4 << 20), limit.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
	while (nr < 64 && (p = kho_alloc_pages(256)))
		nr++;
	setrlimit(RLIMIT_FSIZE, &limit);
	assert_null(p);
	assert_in_range(nr, 3, 8);
	assert_true(kho_file_size_() <= tight.rlim_cur);
	assert_non_null(kho_alloc_pages(256)); /* the limit was lifted */
	arena_crash();
	arena_drop();
}

/* Pages of the arena in this process's page tables. */
static unsigned int mapped_pages(void)
{
	uint64_t from = (uintptr_t)kho_arena_.base / KHO_PAGE_SIZE, words[512];
	uint64_t nr = kho_file_size_() / KHO_PAGE_SIZE;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	unsigned int there = 0;

	assert_true(fd >= 0);
	for (uint64_t i = 0; i < nr; i++) {
		if (i % 512 == 0)
			assert_true(pread(fd, words, sizeof(words), (off_t)(8 * (from + i))) > 0);
		there += words[i % 512] >> 63;
	}
	close(fd);
	return there;
}

/* Before an exit: no page table entry is left, nothing of the contents is lost. */
static void unfaulting_keeps_what_is_there(void **state)
{
	unsigned char *object[40];
	struct stat before, after;

	arena_new(256 * MIB);
	for (unsigned int i = 0; i < 40; i++) {
		object[i] = kho_malloc(MIB);
		assert_non_null(object[i]);
		memset(object[i], (int)i + 1, MIB);
	}
	assert_true(mapped_pages() >= 40 * MIB / KHO_PAGE_SIZE);
	assert_int_equal(fstat(kho_arena_.fd, &before), 0);
	kho_arena_unfault_();
	assert_int_equal(mapped_pages(), 0);
	for (unsigned int i = 0; i < 40; i++)
		for (unsigned int at = 0; at < MIB; at += 512)
			assert_int_equal(object[i][at], i + 1);
	assert_int_equal(fstat(kho_arena_.fd, &after), 0);
	assert_int_equal(after.st_blocks, before.st_blocks);
	arena_drop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_no_memfd_is_refused),
		cmocka_unit_test(seals_are_checked),
		cmocka_unit_test(truncated_files_are_refused),
		cmocka_unit_test(foreign_bytes_are_refused),
		cmocka_unit_test(other_formats_are_refused),
		cmocka_unit_test(a_range_that_is_taken_is_told),
		cmocka_unit_test(one_arena_to_a_process),
		cmocka_unit_test(nothing_is_written_by_who_does_not_own),
		cmocka_unit_test(limits_are_rounded_down),
		cmocka_unit_test(what_an_unfinished_formatting_left),
		cmocka_unit_test(the_file_grows_while_intents_are_checked),
		cmocka_unit_test(words_survive),
		cmocka_unit_test(a_limit_of_the_file_is_no_death),
		cmocka_unit_test(unfaulting_keeps_what_is_there),
	};

	return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
