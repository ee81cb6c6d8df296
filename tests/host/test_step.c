/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Every instruction: calls that change the arena run in a child that is stepped by ptrace; whenever an
 * instruction changed the arena's file, a copy of it is attached and checked: the state
 * before the call or that after it, never back again, nothing lost and nothing leaked.
 *
 * KHO_STEP=full takes all cases; otherwise the slow ones are left out.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arena_fixture.h"
#include "heap.h"
#include "migrate.h"
#include "page.h"
#include "preserve.h"
#include "vmalloc.h"

#define ARENA_MAX (8ULL << 20)
#define NODE_TAG 0x6e6f6465ULL
#define MAX_EXTENTS 256
#define FORMATTED 0x41000 /* up to the tree's root and with it */

struct node {
	struct node *next;
	__u64 tag;
	__u64 value;
};

/* What set-up and operation tell the checks; shared by tracer and child. */
static struct info {
	kho_pa_t pa;
	__u64 nr;
	bool fallible;
} * info;

/* The child's: what set-up leaves to the operation. */
static void **slot_a, **slot_b, *object, *old_object;

/* ---- what is reachable ---- */

static struct node *node_new(size_t size, __u64 value)
{
	struct node *node = kho_malloc(size);

	if (!node)
		_exit(9);
	node->next = NULL;
	node->tag = NODE_TAG;
	node->value = value;
	return node;
}

/* The values of the list at root @name as decimal digits; counts and large pages are added. */
static __u64 list_value(const char *name, __u64 *count, __u64 *large_pages)
{
	void **slot = NULL;
	__u64 value = 0;

	if (!kho_retrieve_subtree(name, NULL, NULL))
		slot = kho_root(name, "list", 1) ?: kho_root(name, "list", 2);
	for (struct node *node = slot ? *slot : NULL; node; node = node->next) {
		const struct kho_abi_large *large;

		node = (void *)((uintptr_t)node & ~15UL);
		assert_true(kho_usable_size(node) >= sizeof(*node));
		assert_int_equal(node->tag, NODE_TAG);
		value = value * 10 + node->value;
		++*count;
		large = kho_usable_size(node) > HEAP_SMALL_MAX ? kho_large_of_(node) : NULL;
		*large_pages += large ? large->nr_pages : 0;
	}
	return value;
}

struct found {
	__u64 a, b;
	__u64 folio_pages, run_pages, slab_pages, struct_pages, area_pages;
	__u64 singles, records; /* of slab caches */
};

static __u64 check_slabs(__u64 *records);

/* Everything that must hold in every snapshot, whatever the call. */
static struct found check_common(void)
{
	struct found found = {0};
	__u64 count = 0, large = 0, pages[16] = {0}, sum = 0;
	struct khoc_block block;
	unsigned int type, order;

	assert_int_equal(kho_preserve_check_all_(false), 0);
	assert_int_equal(kho_pages_discover_all_(), 0);
	found.singles = check_slabs(&found.records);
	found.a = list_value("a", &count, &large);
	found.b = list_value("b", &count, &large);
	assert_int_equal(arena_live(), count + found.singles + found.records);
	for (kho_pa_t pos = 0; khoc_radix_next(&kho_arena_.tree, pos, ARENA_MAX, &block);) {
		assert_int_equal(kho_block_desc_(block.pa, &type, &order), 0);
		pages[type] += 1ULL << order;
		sum += 1ULL << order;
		pos = block.pa + (KHO_PAGE_SIZE << order);
	}
	assert_int_equal(pages[KHO_ABI_DESC_LARGE] + pages[KHO_ABI_DESC_LARGE_PART], large);
	assert_int_equal(kho_pages_used_(), sum << KHO_PAGE_SHIFT);
	found.folio_pages = pages[KHO_ABI_DESC_FOLIO];
	found.run_pages = pages[KHO_ABI_DESC_PAGES];
	found.slab_pages = pages[KHO_ABI_DESC_SLAB];
	found.struct_pages = pages[KHO_ABI_DESC_STRUCT];
	found.area_pages = pages[KHO_ABI_DESC_VMALLOC] + pages[KHO_ABI_DESC_VMALLOC_CHUNK];
	return found;
}

/* ---- the cases: set-up, operation, and whether a snapshot is before (0) or after (1) ---- */

static void setup_roots(void)
{
	slot_a = kho_root("a", "list", 1);
	slot_b = kho_root("b", "list", 1);
}

static void setup_one(void)
{
	setup_roots();
	old_object = node_new(64, 1);
	if (kho_publish(slot_a, old_object, NULL))
		_exit(8);
	object = node_new(64, 2);
}

static void setup_two(void)
{
	setup_one();
	((struct node *)old_object)->next = NULL;
	if (kho_publish((void **)old_object, object, NULL))
		_exit(8);
}

static void setup_replace(void)
{
	setup_one();
	((struct node *)object)->next = ((struct node *)old_object)->next;
}

static void setup_large(void)
{
	setup_roots();
	object = node_new(13 * 4096 + 100, 2);
}

static void setup_large_live(void)
{
	setup_large();
	if (kho_publish(slot_a, object, NULL))
		_exit(8);
}

static void op_malloc(void)
{
	object = kho_malloc(64);
}

static void op_malloc_large(void)
{
	object = kho_malloc(50000);
}

static void op_free(void)
{
	kho_free(object);
}

static void op_publish_a(void)
{
	if (kho_publish(slot_a, object, NULL))
		_exit(7);
}

static void op_publish_b(void)
{
	if (kho_publish(slot_b, object, NULL))
		_exit(7);
}

static void op_replace(void)
{
	if (kho_publish(slot_a, object, old_object))
		_exit(7);
}

static void op_exchange(void)
{
	if (kho_exchange(slot_a, object, old_object))
		_exit(7);
}

static void op_exchange_out(void)
{
	if (kho_exchange(slot_a, NULL, object))
		_exit(7);
}

static void op_tagged(void)
{
	if (kho_publish_tagged((__u64 *)slot_a, (uintptr_t)object | 3, object, old_object))
		_exit(7);
}

static void op_delete_first(void)
{
	if (kho_publish(slot_a, NULL, old_object))
		_exit(7);
}

static void op_delete_large(void)
{
	if (kho_publish(slot_a, NULL, object))
		_exit(7);
}

static int a_is(__u64 before, __u64 after, const struct found *found)
{
	assert_int_equal(found->b, 0);
	assert_true(found->a == before || found->a == after);
	return found->a == after;
}

static int check_no_change(const struct found *found)
{
	return a_is(0, 0, found);
}

static int check_one_stays(const struct found *found)
{
	return a_is(1, 1, found);
}

static int check_insert(const struct found *found)
{
	return a_is(0, 2, found);
}

static int check_insert_b(const struct found *found)
{
	assert_int_equal(found->a, 1);
	assert_true(found->b == 0 || found->b == 2);
	return found->b == 2;
}

static int check_replace(const struct found *found)
{
	return a_is(1, 2, found);
}

static int check_delete(const struct found *found)
{
	return a_is(1, 0, found);
}

static int check_delete_large(const struct found *found)
{
	return a_is(2, 0, found);
}

static int check_unlink(const struct found *found)
{
	return a_is(12, 2, found);
}

/* Slabs of 7 objects of 32 KiB: the second one has a single object left, and goes with it. */
static void setup_slab_to_delete(void)
{
	void *p[21];

	setup_roots();
	for (int i = 0; i < 21; i++)
		p[i] = kho_malloc(32768);
	kho_free(p[0]);
	for (int i = 8; i < 14; i++)
		kho_free(p[i]);
	object = p[7];
}

static int check_slab_deleted(const struct found *found)
{
	assert_true(found->slab_pages == 3 * 64 || found->slab_pages == 2 * 64);
	return found->slab_pages == 2 * 64;
}

static int check_slab_made(const struct found *found)
{
	assert_true(found->slab_pages == 0 || found->slab_pages == 16);
	return found->slab_pages == 16;
}

/* ---- pages ---- */

static void setup_folio(void)
{
	object = kho_folio_alloc(3);
	info->pa = kho_virt_to_phys(object);
	info->nr = 3;
}

static void setup_folio_preserved(void)
{
	setup_folio();
	if (kho_preserve_folio(object))
		_exit(8);
}

static void op_preserve_folio(void)
{
	if (kho_preserve_folio(object))
		_exit(7);
}

static void op_unpreserve_folio(void)
{
	kho_unpreserve_folio(object);
}

static void op_folio_put(void)
{
	kho_folio_put(object);
}

static int check_folio(const struct found *found)
{
	bool there = kho_restore_folio(info->pa);

	assert_int_equal(found->folio_pages, there ? 1ULL << info->nr : 0);
	return there;
}

static int check_no_folio(const struct found *found)
{
	return !check_folio(found);
}

static void setup_run(void)
{
	/* 11 pages at an aligned start: blocks of 8, 2 and 1. */
	object = kho_alloc_pages(11);
	info->pa = kho_virt_to_phys(object);
	info->nr = 11;
}

static void setup_run_preserved(void)
{
	setup_run();
	if (kho_preserve_pages(object, 11))
		_exit(8);
}

static void op_preserve_run(void)
{
	if (kho_preserve_pages(object, 11))
		_exit(7);
}

static void op_unpreserve_run(void)
{
	kho_unpreserve_pages(object, 11);
}

/* All of its blocks, or none. */
static int check_run(const struct found *found)
{
	assert_true(found->run_pages == 0 || found->run_pages == 11);
	return found->run_pages == 11;
}

static int check_no_run(const struct found *found)
{
	return !check_run(found);
}

/* ---- pages of structures ---- */

/* A page's address, in an object of its own that the list at root "a" begins with. */
struct page_node {
	struct node node;
	__u64 page;
};

static __u64 *page_slot(void)
{
	return &((struct page_node *)*kho_root("a", "list", 1))->page;
}

static void page_publish(kho_pa_t fresh, kho_pa_t stale)
{
	kho_arena_.mem.ops->publish_page(NULL, page_slot(), fresh, fresh, stale);
}

static kho_pa_t page_new(void)
{
	kho_pa_t pa = kho_arena_.mem.ops->alloc_page(NULL);

	if (!pa)
		_exit(9);
	return pa;
}

static void setup_page(void)
{
	struct page_node *first;

	setup_roots();
	first = (void *)node_new(sizeof(*first), 1);
	first->page = 0;
	if (kho_publish(slot_a, first, NULL))
		_exit(8);
	info->pa = page_new();
}

static void setup_page_published(void)
{
	setup_page();
	page_publish(info->pa, 0);
	info->nr = page_new();
}

static void op_page_insert(void)
{
	page_publish(info->pa, 0);
}

static void op_page_replace(void)
{
	page_publish(info->nr, info->pa);
}

static void op_page_remove(void)
{
	page_publish(0, info->pa);
}

/* What the word says is preserved, and nothing else. */
static kho_pa_t the_page(const struct found *found)
{
	kho_pa_t pa = *page_slot();

	assert_int_equal(found->struct_pages, pa ? 1 : 0);
	if (pa)
		assert_int_equal(kho_block_check_(pa, 0, KHO_ABI_DESC_STRUCT), 0);
	return pa;
}

static int check_page_insert(const struct found *found)
{
	kho_pa_t pa = the_page(found);

	assert_true(!pa || pa == info->pa);
	return !!pa;
}

static int check_page_replace(const struct found *found)
{
	kho_pa_t pa = the_page(found);

	assert_true(pa == info->nr || pa == info->pa);
	return pa == info->nr;
}

static int check_page_remove(const struct found *found)
{
	return !check_page_insert(found);
}

/* ---- areas, with the descriptor in a preserved folio ---- */

#define AREA_PAGES 5

static void setup_area(void)
{
	struct kho_vmalloc *v = kho_alloc_preserve(sizeof(*v));

	info->pa = kho_virt_to_phys(v);
	object = kho_vmalloc(AREA_PAGES * KHO_PAGE_SIZE);
	if (!object)
		_exit(8);
	memset(object, 0x5a, AREA_PAGES * KHO_PAGE_SIZE);
}

static void setup_area_preserved(void)
{
	setup_area();
	if (kho_preserve_vmalloc(object, kho_phys_to_virt(info->pa)))
		_exit(8);
}

static void setup_area_came_in(void)
{
	setup_area_preserved();
	kho_arena_disown_();
	if (kho_arena_own_())
		_exit(8);
}

static void op_vmalloc(void)
{
	old_object = kho_vmalloc(3 * KHO_PAGE_SIZE);
}

static void op_preserve_area(void)
{
	if (kho_preserve_vmalloc(object, kho_phys_to_virt(info->pa)))
		_exit(7);
}

static void op_unpreserve_area(void)
{
	kho_unpreserve_vmalloc(kho_phys_to_virt(info->pa));
}

static void op_vfree(void)
{
	kho_vfree(object);
}

static void op_restore_area(void)
{
	if (!kho_restore_vmalloc(kho_phys_to_virt(info->pa)))
		_exit(7);
}

/* All of it or, for who asks for it, nothing; what is left in part is nobody's and is released. */
static int check_area(const struct found *found)
{
	struct kho_vmalloc *v = kho_phys_to_virt(info->pa);
	const char *area = kho_restore_vmalloc(v);

	assert_int_equal(found->folio_pages, 1);
	assert_true(found->area_pages <= AREA_PAGES + 1);
	assert_non_null(kho_restore_folio(info->pa));
	for (size_t i = 0; area && i < AREA_PAGES * KHO_PAGE_SIZE; i++)
		assert_int_equal(area[i], 0x5a);
	if (area)
		assert_int_equal(found->area_pages, AREA_PAGES + 1);
	assert_int_equal(kho_release_unclaimed(), area ? 0 : found->area_pages * KHO_PAGE_SIZE);
	return area != NULL;
}

static int check_no_area(const struct found *found)
{
	return !check_area(found);
}

static int check_area_stays(const struct found *found)
{
	assert_int_equal(check_area(found), 1);
	return 0;
}

static int check_no_area_stays(const struct found *found)
{
	assert_int_equal(found->area_pages, 0);
	return 0;
}

/* ---- folios by their memory's address ---- */

static void op_alloc_preserve(void)
{
	if (!kho_alloc_preserve(2 * KHO_PAGE_SIZE))
		_exit(7);
}

static void setup_alloc_came_in(void)
{
	object = kho_alloc_preserve(2 * KHO_PAGE_SIZE);
	info->pa = kho_virt_to_phys(object);
	info->nr = 1;
	kho_arena_disown_();
	if (kho_arena_own_())
		_exit(8);
}

static void op_restore_free(void)
{
	kho_restore_free(object);
}

static int check_alloc(const struct found *found)
{
	struct khoc_block block;
	const char *mem;

	assert_true(found->folio_pages == 0 || found->folio_pages == 2);
	if (!found->folio_pages)
		return 0;
	assert_true(khoc_radix_next(&kho_arena_.tree, 0, ARENA_MAX, &block));
	mem = (const char *)kho_restore_folio(block.pa);
	for (size_t i = 0; i < 2 * KHO_PAGE_SIZE; i++)
		assert_int_equal(mem[i], 0);
	return 1;
}

#include "step_block.h"

/* ---- names ---- */

static void setup_sub(void)
{
	setup_folio_preserved();
	if (kho_add_subtree("sub", object, 64))
		_exit(8);
}

static void op_add_sub(void)
{
	if (kho_add_subtree("sub", object, 64))
		_exit(7);
}

static void op_remove_sub(void)
{
	kho_remove_subtree(object);
}

static int check_sub(const struct found *found)
{
	kho_pa_t pa = 0;
	size_t size = 0;

	if (kho_retrieve_subtree("sub", &pa, &size))
		return 0;
	assert_int_equal(pa, info->pa);
	assert_int_equal(size, 64);
	return 1;
}

static int check_no_sub(const struct found *found)
{
	return !check_sub(found);
}

static void setup_nothing(void)
{
}

static void op_add_root(void)
{
	kho_root("fresh", "type", 2);
}

static void setup_fresh_root(void)
{
	op_add_root();
}

static void op_remove_root(void)
{
	kho_root_remove("fresh");
}

static int check_root(const struct found *found)
{
	void **slot;

	if (kho_retrieve_subtree("fresh", NULL, NULL))
		return 0;
	slot = kho_root("fresh", "type", 2);
	assert_non_null(slot);
	assert_null(*slot);
	return 1;
}

static int check_no_root(const struct found *found)
{
	return !check_root(found);
}

static void setup_metadata(void)
{
	if (kho_arena_set_metadata_("old", 3))
		_exit(8);
}

static void op_metadata(void)
{
	if (kho_arena_set_metadata_("new and longer", 4))
		_exit(7);
}

static int check_metadata(const struct found *found)
{
	char release[65];
	unsigned int count;

	assert_int_equal(kho_metadata(release, &count), 0);
	assert_string_equal(release, count == 3 ? "old" : "new and longer");
	assert_true(count == 3 || count == 4);
	return count == 4;
}

/* ---- recovery: killed while it puts right what the last kill left ---- */

static void setup_intent(void)
{
	struct kho_abi_intent *intent = (void *)(kho_arena_.base + KHO_ABI_INTENTS_PA);
	int fd = fcntl(kho_arena_.fd, F_DUPFD_CLOEXEC, 0);

	setup_one();
	intent->value = (uintptr_t)object;
	intent->new_object = (uintptr_t)object;
	intent->old_object = (uintptr_t)old_object;
	intent->slot = kho_virt_to_phys(slot_a);
	*kho_slab_state_of_(object) = KHO_ABI_OBJECT_LIVE;
	if (info->fallible)
		*slot_a = object;
	kho_arena_unmap_();
	if (kho_arena_map_(fd, true))
		_exit(8);
}

static void setup_intent_done(void)
{
	info->fallible = true;
	setup_intent();
}

/* The same for a page: @done: the word says it already. */
static void leave_page_intent(bool done)
{
	struct kho_abi_intent *intent = (void *)(kho_arena_.base + KHO_ABI_INTENTS_PA);
	int fd = fcntl(kho_arena_.fd, F_DUPFD_CLOEXEC, 0);

	setup_page_published();
	intent->value = info->nr;
	intent->new_object = (uintptr_t)kho_phys_to_virt(info->nr) | KHO_ABI_INTENT_PAGE;
	intent->old_object = (uintptr_t)kho_phys_to_virt(info->pa) | KHO_ABI_INTENT_PAGE;
	intent->slot = kho_virt_to_phys(page_slot());
	if (kho_block_preserve_(info->nr, 0, KHO_ABI_DESC_STRUCT))
		_exit(8);
	if (done)
		*page_slot() = info->nr;
	kho_arena_unmap_();
	if (kho_arena_map_(fd, true))
		_exit(8);
}

static void setup_page_intent(void)
{
	leave_page_intent(false);
}

static void setup_page_intent_done(void)
{
	leave_page_intent(true);
}

static int check_old_page_stays(const struct found *found)
{
	assert_int_equal(the_page(found), info->pa);
	return 0;
}

static int check_new_page_stays(const struct found *found)
{
	assert_int_equal(the_page(found), info->nr);
	return 0;
}

static void op_own(void)
{
	if (kho_arena_own_())
		_exit(7);
}

/* Left in the middle: its first two blocks are preserved. */
static void setup_run_intent(void)
{
	struct kho_abi_intent *intent = (void *)(kho_arena_.base + KHO_ABI_INTENTS_PA);
	int fd = fcntl(kho_arena_.fd, F_DUPFD_CLOEXEC, 0);

	setup_run();
	if (kho_run_preserve_(info->pa, 10, KHO_ABI_DESC_PAGES, KHO_ABI_DESC_PAGES))
		_exit(8);
	intent->value = 11;
	intent->slot = info->pa | KHO_ABI_INTENT_RUN;
	kho_arena_unmap_();
	if (kho_arena_map_(fd, true))
		_exit(8);
}

static int check_nothing_stays(const struct found *found)
{
	assert_int_equal(found->run_pages, 0);
	return 0;
}

static int check_two_stays(const struct found *found)
{
	return a_is(2, 2, found);
}

#include "step_caches.h"
/* ---- a migration: killed anywhere, all of the one version or all of the other ---- */

static int build_up(void *ctx, void *old, void **fresh)
{
	struct node **tail = (struct node **)fresh;

	for (struct node *from = old; from; from = from->next) {
		struct node *to = kho_migrate_malloc(sizeof(*to));

		if (!to)
			return -1;
		to->tag = NODE_TAG;
		to->value = from->value + 5;
		*tail = to;
		tail = &to->next;
	}
	return 0;
}

static int release_nodes(void *ctx, void **slot)
{
	struct node *first;

	while ((first = *slot))
		if (kho_publish(slot, first->next, first))
			return -1;
	return 0;
}

static const struct kho_migration hook = {"list", 1, 2, build_up, release_nodes};

static void setup_migration(void)
{
	setup_two();
	kho_migrate_set_(&hook, 1, NULL);
}

static void op_migrate(void)
{
	if (kho_migrate("a", 2, NULL) || kho_migrate_finish_())
		_exit(7);
}

/* What the next program does with what is left. */
static void finish_migration(void)
{
	kho_migrate_set_(&hook, 1, NULL);
	assert_int_equal(kho_migrate_finish_(), 0);
	assert_false(kho_migrate_due_());
}

static int check_migrated(const struct found *found)
{
	return a_is(12, 67, found);
}

static const struct step_case {
	const char *name;
	void (*setup)(void);
	void (*op)(void);
	int (*check)(const struct found *found);
	bool constant; /* nothing to be seen of it */
	bool slow;
} cases[] = {
	{"malloc", setup_one, op_malloc, check_one_stays, true, false},
	{"malloc, new slab", setup_nothing, op_malloc, check_slab_made, false, false},
	{"malloc, large", setup_roots, op_malloc_large, check_no_change, true, false},
	{"free", setup_one, op_free, check_one_stays, true, false},
	{"free, large", setup_large, op_free, check_no_change, true, false},
	{"free, slab goes", setup_slab_to_delete, op_free, check_slab_deleted, false, false},
	{"publish, insert", setup_one, op_publish_b, check_insert_b, false, false},
	{"publish, replace", setup_replace, op_replace, check_replace, false, false},
	{"publish, delete", setup_one, op_delete_first, check_delete, false, false},
	{"publish, unlink", setup_two, op_replace, check_unlink, false, false},
	{"publish, large new", setup_large, op_publish_a, check_insert, false, false},
	{"publish, large old", setup_large_live, op_delete_large, check_delete_large, false, false},
	{"publish, tagged", setup_one, op_tagged, check_replace, false, false},
	{"exchange", setup_one, op_exchange, check_replace, false, false},
	{"exchange, large out", setup_large_live, op_exchange_out, check_delete_large, false,
	 false},
	{"preserve folio", setup_folio, op_preserve_folio, check_folio, false, false},
	{"unpreserve folio", setup_folio_preserved, op_unpreserve_folio, check_no_folio, false,
	 false},
	{"put folio", setup_folio_preserved, op_folio_put, check_no_folio, false, false},
	{"preserve run", setup_run, op_preserve_run, check_run, false, false},
	{"unpreserve run", setup_run_preserved, op_unpreserve_run, check_no_run, false, false},
	{"publish page, insert", setup_page, op_page_insert, check_page_insert, false, false},
	{"publish page, replace", setup_page_published, op_page_replace, check_page_replace, false,
	 false},
	{"publish page, remove", setup_page_published, op_page_remove, check_page_remove, false,
	 false},
	{"vmalloc", setup_folio, op_vmalloc, check_no_area_stays, true, false},
	{"preserve area", setup_area, op_preserve_area, check_area, false, false},
	{"unpreserve area", setup_area_preserved, op_unpreserve_area, check_no_area, false, false},
	{"free preserved area", setup_area_preserved, op_vfree, check_no_area, false, false},
	{"restore area", setup_area_came_in, op_restore_area, check_area_stays, true, false},
	{"alloc_preserve", setup_nothing, op_alloc_preserve, check_alloc, false, false},
	{"restore_free", setup_alloc_came_in, op_restore_free, check_no_folio, false, false},
	STEP_BLOCK_CASES,
	CACHE_CASES,
	{"add subtree", setup_folio_preserved, op_add_sub, check_sub, false, true},
	{"remove subtree", setup_sub, op_remove_sub, check_no_sub, false, true},
	{"make root", setup_nothing, op_add_root, check_root, false, true},
	{"remove root", setup_fresh_root, op_remove_root, check_no_root, false, true},
	{"set metadata", setup_metadata, op_metadata, check_metadata, false, true},
	{"recovery, undone", setup_intent, op_own, check_one_stays, true, false},
	{"recovery, completed", setup_intent_done, op_own, check_two_stays, true, true},
	{"recovery, page undone", setup_page_intent, op_own, check_old_page_stays, true, true},
	{"recovery, page completed", setup_page_intent_done, op_own, check_new_page_stays, true,
	 false},
	{"recovery, run", setup_run_intent, op_own, check_nothing_stays, true, false},
	{"migrate", setup_migration, op_migrate, check_migrated, false, true},
};

/* ---- stepping ---- */

static struct {
	int fd;
	char *view, *shadow;
	blkcnt_t blocks;
	struct {
		off_t lo, hi;
	} extent[MAX_EXTENTS];
	int nr_extents;
	unsigned long steps, snapshots, all_steps, all_snapshots;
	int last;
} step;

/* The parts of the file that are there; they change when its blocks do. */
static void find_extents(void)
{
	struct stat st;

	fstat(step.fd, &st);
	if (st.st_blocks == step.blocks)
		return;
	step.blocks = st.st_blocks;
	step.nr_extents = 0;
	/* What was allocated and not yet written passes for a hole. */
	step.extent[step.nr_extents].lo = 0;
	step.extent[step.nr_extents++].hi = FORMATTED;
	for (off_t hi = FORMATTED, lo; (lo = lseek(step.fd, hi, SEEK_DATA)) >= 0;) {
		hi = lseek(step.fd, lo, SEEK_HOLE);
		assert_true(step.nr_extents < MAX_EXTENTS);
		step.extent[step.nr_extents].lo = lo;
		step.extent[step.nr_extents++].hi = hi;
	}
}

static bool changed(void)
{
	bool any = false;

	find_extents();
	for (int i = 0; i < step.nr_extents; i++)
		for (off_t at = step.extent[i].lo; at < step.extent[i].hi; at += 4096)
			if (memcmp(step.view + at, step.shadow + at, 4096)) {
				memcpy(step.shadow + at, step.view + at, 4096);
				any = true;
			}
	return any;
}

static int snapshot(void)
{
	int fd = kho_arena_create_("step");
	struct stat st;

	assert_true(fd >= 0);
	fstat(step.fd, &st);
	assert_int_equal(ftruncate(fd, st.st_size), 0);
	for (int i = 0; i < step.nr_extents; i++) {
		size_t len = (size_t)(step.extent[i].hi - step.extent[i].lo);

		assert_int_equal(
			pwrite(fd, step.shadow + step.extent[i].lo, len, step.extent[i].lo), len);
	}
	return fd;
}

static void attach_snapshot(const struct step_case *c)
{
	struct found found;
	int after;

	if (kho_arena_map_(snapshot(), true) || kho_arena_own_())
		fail_msg("%s, step %lu: %s", c->name, step.steps, kho_error());
	if (c->setup == setup_migration)
		finish_migration();
	found = check_common();
	after = c->check(&found);
	if (!c->constant && after < step.last)
		fail_msg("%s, step %lu: back to the state before", c->name, step.steps);
	if (step.snapshots == 0 && !c->constant)
		assert_int_equal(after, 0);
	step.last = after;
	step.snapshots++;
	kho_arena_unmap_();
}

static void child(const struct step_case *c, int fd)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (kho_arena_format_(fd, ARENA_MAX) || kho_arena_map_(fd, true) || kho_arena_own_())
		_exit(10);
	c->setup();
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	c->op();
	raise(SIGSTOP);
	_exit(0);
}

static void run_case(const struct step_case *c)
{
	pid_t pid;
	int status;

	memset(&step, 0, offsetof(typeof(step), all_steps));
	memset(info, 0, sizeof(*info));
	step.fd = kho_arena_create_("stepped");
	pid = fork();
	if (!pid)
		child(c, step.fd);
	waitpid(pid, &status, 0);
	if (!WIFSTOPPED(status))
		fail_msg("%s: set-up failed, status %#x", c->name, status);
	step.view = mmap(NULL, ARENA_MAX, PROT_READ, MAP_SHARED, step.fd, 0);
	step.shadow =
		mmap(NULL, ARENA_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	step.last = 0;
	changed();
	attach_snapshot(c);
	for (;;) {
		ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL);
		waitpid(pid, &status, 0);
		if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
			break;
		step.steps++;
		if (changed())
			attach_snapshot(c);
	}
	if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGSTOP)
		fail_msg("%s: ended with status %#x", c->name, status);
	if (!c->constant)
		assert_int_equal(step.last, 1);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	munmap(step.view, ARENA_MAX);
	munmap(step.shadow, ARENA_MAX);
	close(step.fd);
	printf("%-22s %8lu instructions %6lu snapshots\n", c->name, step.steps, step.snapshots);
	step.all_steps += step.steps;
	step.all_snapshots += step.snapshots;
}

static void whatever_the_instruction(void **state)
{
	const char *mode = getenv("KHO_STEP"), *only = getenv("KHO_STEP_ONLY");
	bool full = mode && !strcmp(mode, "full");

	info = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		if ((full || !cases[i].slow) && (!only || !strcmp(only, cases[i].name)))
			run_case(&cases[i]);
	printf("%lu instructions stepped, %lu snapshots attached\n", step.all_steps,
	       step.all_snapshots);
	assert_true(only || step.all_snapshots > 300);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(whatever_the_instruction)};

	return cmocka_run_group_tests_name("step", tests, NULL, NULL);
}
