/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Areas of scattered pages: made, preserved, restored by another process after a kill, and every way
 * of asking for the wrong thing; and what they cost in mappings.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arena_fixture.h"
#include "life.h"
#include "page.h"
#include "preserve.h"
#include "sparse.h"
#include "vmalloc.h"

#define MIB (1ULL << 20)
#define ARENA_MAX (64 * MIB)
#define NR_HOLES 1500

static int fresh(void **state)
{
	arena_new(ARENA_MAX);
	return 0;
}

static int drop(void **state)
{
	arena_drop();
	assert_int_equal(kho_vmalloc_mappings_(), 0);
	return 0;
}

/* Page i of an area says which it is. */
static void stamp(void *area, size_t pages, __u64 salt)
{
	for (size_t i = 0; i < pages; i++) {
		__u64 *page = (__u64 *)((char *)area + i * KHO_PAGE_SIZE);

		page[0] = salt + i;
		page[511] = ~(salt + i);
	}
}

static void expect_stamp(const void *area, size_t pages, __u64 salt)
{
	for (size_t i = 0; i < pages; i++) {
		const __u64 *page = (const __u64 *)((const char *)area + i * KHO_PAGE_SIZE);

		assert_int_equal(page[0], salt + i);
		assert_int_equal(page[511], ~(salt + i));
	}
}

/* The addresses in the file of a preserved area. Return: how many blocks. */
static __u64 blocks_of(const struct kho_vmalloc *v, kho_pa_t *blocks, __u64 room)
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
static struct kho_vmalloc *keep(unsigned int i)
{
	void **slot = kho_root("areas", "test-areas", 1);

	assert_non_null(slot);
	if (!*slot)
		assert_int_equal(
			kho_publish(slot, kho_calloc(64, sizeof(struct kho_vmalloc)), NULL), 0);
	return (struct kho_vmalloc *)*slot + i;
}

/* Every other page in use, so that nothing larger than a page is free. */
static void fragment(void)
{
	while (kho_alloc_pages(1))
		;
	for (kho_pa_t pa = kho_arena_.header->data_pa; pa < kho_arena_.size;
	     pa += 2 * KHO_PAGE_SIZE)
		if (kho_pages_kind_(pa) == PAGE_KIND_PAGES)
			kho_free_pages(kho_phys_to_virt(pa), 1);
}

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

/* ---- from one program to the next ---- */

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

/* ---- restored as what it is, once ---- */

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

static void damage_is_refused_in_words(void **state)
{
	struct kho_vmalloc *v = keep(0), bad;
	char *area = kho_vmalloc(3 * KHO_PAGE_SIZE), place[40];
	__u64 *chunk;

	assert_int_equal(kho_preserve_vmalloc(area, v), 0);
	arena_crash();
	v = keep(0);
	chunk = kho_phys_to_virt(v->first);
	bad = *v;
	bad.flags = 0x81;
	assert_null(kho_restore_vmalloc(&bad));
	assert_non_null(strstr(kho_error(), "vmalloc descriptor: flags at 0xc:"));
	/* Where it lies, if that is in the arena. */
	v->flags ^= 0x80;
	snprintf(place, sizeof(place),
		 "flags at %#llx:", (unsigned long long)kho_virt_to_phys(&v->flags));
	assert_null(kho_restore_vmalloc(v));
	assert_non_null(strstr(kho_error(), place));
	v->flags ^= 0x80;
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

#define CASE(name) cmocka_unit_test_setup_teardown(name, fresh, drop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(neighbours_are_one_mapping),
		CASE(scattered_pages_are_contiguous),
		CASE(huge_blocks_come_first),
		CASE(kvmalloc_needs_no_mapping_if_it_can),
		CASE(an_area_ends_where_it_ends),
		CASE(a_frozen_area_is_not_written),
		cmocka_unit_test(it_outlives_a_killed_program),
		CASE(preserving_twice_is_once),
		CASE(what_is_freed_is_not_restored),
		CASE(only_an_areas_start_is_an_area),
		CASE(only_the_owner_has_areas),
		CASE(taking_it_back_forgets_addresses),
		CASE(each_type_is_restored_as_itself_once),
		CASE(calls_refuse_what_is_another_calls),
		CASE(damage_is_refused_in_words),
		CASE(a_full_chunk_may_end_the_list),
		CASE(what_is_not_restored_is_released),
		CASE(too_many_mappings_are_refused),
		CASE(mappings_that_vanish_meanwhile_are_noticed),
		CASE(threads_have_areas_side_by_side),
		CASE(alloc_preserve_is_preserved_from_the_start),
		cmocka_unit_test_setup_teardown(the_golden_areas_are_there, open_golden, drop),
		CASE(areas_are_what_the_model_says),
	};

	return cmocka_run_group_tests_name("vmalloc", tests, NULL, NULL);
}
