/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Every instruction: folios, runs of pages, pages of structures. See step.h. */
#include "step.h"

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

/* ---- recovery: killed while it puts right what the last kill left ---- */

/* The same for a page: @done: the word says it already. */
static void leave_page_intent(bool done)
{
	struct kho_abi_intent *intent = (void *)(kho_arena_.base + KHO_ABI_INTENTS_PA);

	setup_page_published();
	intent->value = info->nr;
	intent->new_object = (uintptr_t)kho_phys_to_virt(info->nr) | KHO_ABI_INTENT_PAGE;
	intent->old_object = (uintptr_t)kho_phys_to_virt(info->pa) | KHO_ABI_INTENT_PAGE;
	intent->slot = kho_virt_to_phys(page_slot());
	if (kho_block_preserve_(info->nr, 0, KHO_ABI_DESC_STRUCT))
		_exit(8);
	if (done)
		*page_slot() = info->nr;
	map_again();
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

/* Left in the middle: its first two blocks are preserved. */
static void setup_run_intent(void)
{
	struct kho_abi_intent *intent = (void *)(kho_arena_.base + KHO_ABI_INTENTS_PA);

	setup_run();
	if (kho_run_preserve_(info->pa, 10, KHO_ABI_DESC_PAGES, KHO_ABI_DESC_PAGES))
		_exit(8);
	intent->value = 11;
	intent->slot = info->pa | KHO_ABI_INTENT_RUN;
	map_again();
}

static int check_nothing_stays(const struct found *found)
{
	assert_int_equal(found->run_pages, 0);
	return 0;
}

static const struct step_case cases[] = {
	{.name = "preserve folio",
	 .setup = setup_folio,
	 .op = op_preserve_folio,
	 .check = check_folio},
	{.name = "unpreserve folio",
	 .setup = setup_folio_preserved,
	 .op = op_unpreserve_folio,
	 .check = check_no_folio},
	{.name = "put folio",
	 .setup = setup_folio_preserved,
	 .op = op_folio_put,
	 .check = check_no_folio},
	{.name = "preserve run", .setup = setup_run, .op = op_preserve_run, .check = check_run},
	{.name = "unpreserve run",
	 .setup = setup_run_preserved,
	 .op = op_unpreserve_run,
	 .check = check_no_run},
	{.name = "publish page, insert",
	 .setup = setup_page,
	 .op = op_page_insert,
	 .check = check_page_insert},
	{.name = "publish page, replace",
	 .setup = setup_page_published,
	 .op = op_page_replace,
	 .check = check_page_replace},
	{.name = "publish page, remove",
	 .setup = setup_page_published,
	 .op = op_page_remove,
	 .check = check_page_remove},
	{.name = "alloc_preserve",
	 .setup = setup_nothing,
	 .op = op_alloc_preserve,
	 .check = check_alloc},
	{.name = "restore_free",
	 .setup = setup_alloc_came_in,
	 .op = op_restore_free,
	 .check = check_no_folio},
	{.name = "recovery, page undone",
	 .setup = setup_page_intent,
	 .op = op_own,
	 .check = check_old_page_stays,
	 .constant = true,
	 .slow = true},
	{.name = "recovery, page completed",
	 .setup = setup_page_intent_done,
	 .op = op_own,
	 .check = check_new_page_stays,
	 .constant = true},
	{.name = "recovery, run",
	 .setup = setup_run_intent,
	 .op = op_own,
	 .check = check_nothing_stays,
	 .constant = true},
};

int main(void)
{
	return step_main("step_pages", cases, sizeof(cases) / sizeof(*cases));
}
