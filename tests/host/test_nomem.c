/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * No memory: each allocation that the host makes, private or in the arena's file, fails once, and
 * then once with all after it. What was done before stays, nothing leaks, the
 * next try works.
 */
#include <errno.h>
#include <fcntl.h>
#include <kho/slab.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arena_fixture.h"
#include "heap.h"
#include "page.h"
#include "preserve.h"
#include "vmalloc.h"

#define ARENA_MAX (64ULL << 20)
#define LARGE (3UL << 20) /* beyond what is mapped at once: allocated by fallocate() */

/* ---- the allocations, through --wrap of the linker ---- */

static struct {
	long countdown; /* fails when it reaches 0; below: disarmed */
	bool from_then_on;
	bool hit;
	long mapped; /* bytes */
} inject = {.countdown = -1};

static bool fails(void)
{
	if (inject.countdown < 0 || (inject.hit && !inject.from_then_on))
		return false;
	if (!inject.hit && inject.countdown--)
		return false;
	inject.countdown = 0;
	inject.hit = true;
	errno = ENOMEM;
	return true;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t nmemb, size_t size);
void *__wrap_calloc(size_t nmemb, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
void *__real_mmap(void *at, size_t len, int prot, int flags, int fd, off_t off);
void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t off);
int __real_munmap(void *at, size_t len);
int __wrap_munmap(void *at, size_t len);
int __real_madvise(void *at, size_t len, int advice);
int __wrap_madvise(void *at, size_t len, int advice);
int __real_fallocate(int fd, int mode, off_t off, off_t len);
int __wrap_fallocate(int fd, int mode, off_t off, off_t len);
int __real_ftruncate(int fd, off_t len);
int __wrap_ftruncate(int fd, off_t len);

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t nmemb, size_t size)
{
	return fails() ? NULL : __real_calloc(nmemb, size);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
	return fails() ? NULL : __real_aligned_alloc(align, size);
}

void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
	void *p = fails() ? MAP_FAILED : __real_mmap(at, len, prot, flags, fd, off);

	if (p != MAP_FAILED && !(flags & MAP_FIXED)) /* those replace what is there */
		inject.mapped += (long)((len + 4095) & ~4095UL);
	return p;
}

int __wrap_munmap(void *at, size_t len)
{
	inject.mapped -= (long)((len + 4095) & ~4095UL);
	return __real_munmap(at, len);
}

/* A failed MADV_POPULATE_WRITE falls back to fallocate(): so that it is refused, both count as one. */
int __wrap_madvise(void *at, size_t len, int advice)
{
	if (advice == MADV_POPULATE_WRITE && inject.countdown >= 0)
		return errno = EINVAL, -1;
	return __real_madvise(at, len, advice);
}

int __wrap_fallocate(int fd, int mode, off_t off, off_t len)
{
	return fails() ? errno = ENOSPC, -1 : __real_fallocate(fd, mode, off, len);
}

int __wrap_ftruncate(int fd, off_t len)
{
	return fails() ? -1 : __real_ftruncate(fd, len);
}

static void arm(long nth, bool from_then_on)
{
	inject.hit = false;
	inject.from_then_on = from_then_on;
	inject.countdown = nth;
}

static void disarm(void)
{
	inject.countdown = -1;
}

/* ---- what a program does ---- */

struct node {
	struct node *next;
	__u64 tag;
};

static void push(void **slot, size_t size)
{
	struct node *node = slot ? kho_malloc(size) : NULL;

	if (!node)
		return;
	node->next = *slot;
	node->tag = 0x74616700000000 + size;
	if (kho_publish(slot, node, NULL))
		kho_free(node);
}

static void use_heap(void)
{
	void **slot = kho_root("list", "test-list", 1);
	struct node *node;

	push(slot, 40);
	push(slot, 300);
	push(slot, 20000);
	push(slot, LARGE);
	push(slot, 100000);
	/* Something of each goes again. */
	while (slot && (node = *slot) && node->tag != 0x74616700000000 + 40)
		assert_int_equal(kho_publish(slot, node->next, node), 0);
	push(slot, 5 * LARGE);
}

/* A cache is there or not; an object is preserved or gone. */
static void use_caches(void)
{
	for (unsigned int flags = 0; flags <= KHO_CACHE_SINGLE; flags++) {
		struct kmem_cache *cache =
			kho_kmem_cache_create(flags ? "single" : "whole", 9000, 0, flags, NULL);
		void *p = cache ? kho_kmem_cache_alloc(cache) : NULL;

		if (p && flags)
			assert_int_equal(kho_slab_preserve(p), 0);
		if (p)
			assert_int_equal(kho_kmem_cache_free(cache, p), 0);
		if (cache && kho_kmem_cache_destroy(cache) != -ENOMEM)
			assert_null(kho_kmem_cache_alloc(cache));
	}
}

static void use_pages(void)
{
	struct folio *folio = kho_folio_alloc(9);
	struct page *page = kho_alloc_pages(700);

	if (folio && !kho_preserve_folio(folio)) {
		kho_add_subtree("folio", folio, 100);
		kho_remove_subtree(folio);
		kho_unpreserve_folio(folio);
	}
	if (page && !kho_preserve_pages(page, 700))
		kho_unpreserve_pages(page, 700);
	if (folio)
		kho_folio_put(folio);
	if (page)
		kho_free_pages(page, 700);
}

/* An area of each kind; the first one, preserved, is restored as by the next program. */
static void use_areas(void)
{
	struct kho_vmalloc v = {0}, more = {0};
	char *area = kho_vmalloc(700 * KHO_PAGE_SIZE), *huge = kho_vmalloc_huge(LARGE);
	char *linear = kho_kvmalloc(LARGE);
	void *mem = kho_alloc_preserve(5000);

	if (mem)
		kho_unpreserve_free(mem);
	if (huge && !kho_preserve_vmalloc(huge, &more))
		kho_unpreserve_vmalloc(&more);
	assert_int_equal(more.first, 0);
	if (linear && !kho_preserve_vmalloc(linear, &more))
		kho_kvfree(linear);
	if (huge)
		kho_vfree(huge);
	if (!area || kho_preserve_vmalloc(area, &v))
		return;
	kho_arena_disown_();
	if (kho_arena_own_())
		return;
	for (int i = 0; i < 2; i++) {
		area = kho_restore_vmalloc(&v);
		if (!area)
			continue; /* may be tried again */
		kho_unpreserve_vmalloc(&v);
		kho_vfree(area);
		return;
	}
}

/* Attach and use. Return: the first error of attaching. */
static int scenario(int arena)
{
	int fd = fcntl(arena, F_DUPFD_CLOEXEC, 0);
	int rc = kho_arena_map_(fd, true);

	if (rc) {
		close(fd);
		return rc;
	}
	rc = kho_arena_own_();
	if (!rc) {
		use_areas(); /* first: it then needs nodes of the tree as well */
		use_heap();
		use_caches();
		use_pages();
		if (kho_preserve_check_all_(false))
			fail_msg("%s", kho_error());
	}
	kho_arena_unmap_();
	return rc;
}

/* ---- what is left ---- */

/* An area whose list was not finished, or that could not be mapped: nobody's, and nothing else is. */
static int is_an_areas(void *ctx, kho_pa_t pa, unsigned int order, const char *what)
{
	assert_memory_equal(what, "vmalloc", 7);
	return 0;
}

static void check_and_clear(int arena)
{
	__u64 reachable = 0, in_use[ARENA_MAX / 4096 / 64], pages = 0;
	struct khoc_radix_counts counts;
	struct node *node;
	void **slot;

	assert_int_equal(kho_arena_map_(fcntl(arena, F_DUPFD_CLOEXEC, 0), true), 0);
	assert_int_equal(kho_arena_own_(), 0);
	assert_int_equal(kho_preserve_check_all_(false), 0);
	assert_int_equal(kho_pages_discover_all_(), 0);
	assert_int_equal(kho_for_each_unclaimed(is_an_areas, NULL), 0);
	kho_release_unclaimed();
	for (unsigned int flags = 0; flags <= KHO_CACHE_SINGLE; flags++) {
		struct kmem_cache *cache =
			kho_kmem_cache_create(flags ? "single" : "whole", 9000, 0, flags, NULL);

		assert_non_null(cache);
		assert_int_equal(kho_kmem_cache_destroy(cache), 0);
	}
	slot = kho_root("list", "test-list", 1);
	assert_non_null(slot);
	for (node = *slot; node; node = node->next) {
		assert_int_equal(node->tag >> 32, 0x74616700000000 >> 32);
		reachable++;
	}
	assert_int_equal(arena_live(), reachable);
	assert_int_equal(kho_retrieve_subtree("folio", NULL, NULL), -ENOENT);
	while ((node = *slot))
		assert_int_equal(kho_publish(slot, node->next, node), 0);
	assert_int_equal(khoc_radix_count(&kho_arena_.tree, 0, ARENA_MAX, &counts), 0);
	assert_int_equal(khoc_radix_union(&kho_arena_.tree, 0, ARENA_MAX / 4096, in_use), 0);
	for (unsigned int i = 0; i < ARENA_MAX / 4096 / 64; i++)
		pages += (__u64)__builtin_popcountll(in_use[i]);
	assert_int_equal(pages, counts.pages);
	/* Empty slabs at most: nothing of folios, runs and large objects. */
	assert_true(pages <= 8 * 64);
	assert_int_equal(kho_pages_used_(), pages * 4096);
	kho_arena_unmap_();
}

/* A new arena each time: nodes of the tree, once made, stay. */
static bool fail_one(long nth, bool from_then_on)
{
	int arena = kho_arena_create_("nomem"), rc;
	long mapped = inject.mapped;

	assert_int_equal(kho_arena_format_(arena, ARENA_MAX), 0);
	arm(nth, from_then_on);
	rc = scenario(arena);
	disarm();
	assert_true(rc <= 0);
	if (rc)
		assert_true(strlen(kho_error()) > 10);
	if (inject.mapped != mapped)
		fail_msg("allocation %ld: %ld bytes left mapped", nth, inject.mapped - mapped);
	check_and_clear(arena);
	assert_int_equal(scenario(arena), 0);
	check_and_clear(arena);
	close(arena);
	return inject.hit;
}

static void fail_each(bool from_then_on)
{
	long nth = 0;

	while (fail_one(nth, from_then_on))
		nth++;
	assert_true(nth > 60);
	printf("%ld allocations failed%s\n", nth, from_then_on ? ", with all after them" : "");
}

static void every_allocation_fails_once(void **state)
{
	fail_each(false);
}

static void every_allocation_fails_and_all_after_it(void **state)
{
	fail_each(true);
}

static void making_an_arena_fails(void **state)
{
	for (long nth = 0;; nth++) {
		int fd = kho_arena_create_("nomem"), rc;
		long mapped = inject.mapped;

		arm(nth, false);
		rc = kho_arena_format_(fd, ARENA_MAX);
		disarm();
		assert_int_equal(inject.mapped, mapped);
		if (!inject.hit) {
			assert_int_equal(rc, 0);
			assert_true(nth >= 3);
			close(fd);
			break;
		}
		assert_true(rc == -ENOMEM || rc == -ENOSPC);
		/* It still counts as empty, and can be formatted the next time. */
		assert_int_equal(kho_arena_is_empty_(fd), 1);
		assert_int_equal(kho_arena_format_(fd, ARENA_MAX), 0);
		assert_int_equal(kho_arena_is_empty_(fd), 0);
		close(fd);
	}
}

/* A record that a crash left is not forgotten when there is no memory to follow it. */
static void recovery_waits_for_memory(void **state)
{
	int arena = kho_arena_create_("nomem");
	struct kho_abi_intent *intent;
	void **slot, *fresh, *old;

	assert_int_equal(kho_arena_format_(arena, ARENA_MAX), 0);
	for (long nth = 0;; nth++) {
		assert_int_equal(kho_arena_map_(fcntl(arena, F_DUPFD_CLOEXEC, 0), true), 0);
		assert_int_equal(kho_arena_own_(), 0);
		slot = kho_root("x", "test", 1);
		old = kho_malloc(64);
		assert_int_equal(kho_publish(slot, old, *slot), 0);
		fresh = kho_malloc(64);
		intent = (void *)(kho_arena_.base + KHO_ABI_INTENTS_PA);
		intent->value = intent->new_object = (uintptr_t)fresh;
		intent->old_object = (uintptr_t)old;
		intent->slot = kho_virt_to_phys(slot);
		*kho_slab_state_of_(fresh) = KHO_ABI_OBJECT_LIVE;
		*slot = fresh;
		kho_arena_unmap_();
		arm(nth, true);
		scenario(arena);
		disarm();
		assert_int_equal(kho_arena_map_(fcntl(arena, F_DUPFD_CLOEXEC, 0), true), 0);
		assert_int_equal(kho_arena_own_(), 0);
		slot = kho_root("x", "test", 1);
		assert_ptr_equal(*slot, fresh);
		assert_int_equal(*kho_slab_state_of_(fresh), KHO_ABI_OBJECT_LIVE);
		assert_int_equal(*kho_slab_state_of_(old), KHO_ABI_OBJECT_FREE);
		kho_arena_unmap_();
		if (nth == 120)
			break;
	}
	close(arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(making_an_arena_fails),
		cmocka_unit_test(every_allocation_fails_once),
		cmocka_unit_test(every_allocation_fails_and_all_after_it),
		cmocka_unit_test(recovery_waits_for_memory),
	};

	return cmocka_run_group_tests_name("nomem", tests, NULL, NULL);
}
