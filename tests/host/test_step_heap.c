/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Every instruction: objects of the heap. See step.h. */
#include "step.h"

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

static void op_publish_b(void)
{
	if (kho_publish(slot_b, object, NULL))
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

/* ---- recovery: killed while it puts right what the last kill left ---- */

static void setup_intent(void)
{
	struct kho_abi_intent *intent = (void *)(kho_arena_.base + KHO_ABI_INTENTS_PA);

	setup_one();
	intent->value = (uintptr_t)object;
	intent->new_object = (uintptr_t)object;
	intent->old_object = (uintptr_t)old_object;
	intent->slot = kho_virt_to_phys(slot_a);
	*kho_slab_state_of_(object) = KHO_ABI_OBJECT_LIVE;
	if (info->done)
		*slot_a = object;
	map_again();
}

static void setup_intent_done(void)
{
	info->done = true;
	setup_intent();
}

static const struct step_case cases[] = {
	{.name = "malloc",
	 .setup = setup_one,
	 .op = op_malloc,
	 .check = check_one_stays,
	 .constant = true},
	{.name = "malloc, new slab",
	 .setup = setup_nothing,
	 .op = op_malloc,
	 .check = check_slab_made},
	{.name = "malloc, large",
	 .setup = setup_roots,
	 .op = op_malloc_large,
	 .check = check_no_change,
	 .constant = true},
	{.name = "free",
	 .setup = setup_one,
	 .op = op_free,
	 .check = check_one_stays,
	 .constant = true},
	{.name = "free, large",
	 .setup = setup_large,
	 .op = op_free,
	 .check = check_no_change,
	 .constant = true},
	{.name = "free, slab goes",
	 .setup = setup_slab_to_delete,
	 .op = op_free,
	 .check = check_slab_deleted},
	{.name = "publish, insert",
	 .setup = setup_one,
	 .op = op_publish_b,
	 .check = check_insert_b},
	{.name = "publish, replace",
	 .setup = setup_replace,
	 .op = op_replace,
	 .check = check_replace},
	{.name = "publish, delete",
	 .setup = setup_one,
	 .op = op_delete_first,
	 .check = check_delete},
	{.name = "publish, unlink", .setup = setup_two, .op = op_replace, .check = check_unlink},
	{.name = "publish, large new",
	 .setup = setup_large,
	 .op = op_publish_a,
	 .check = check_insert},
	{.name = "publish, large old",
	 .setup = setup_large_live,
	 .op = op_delete,
	 .check = check_removed},
	{.name = "publish, tagged", .setup = setup_one, .op = op_tagged, .check = check_replace},
	{.name = "exchange", .setup = setup_one, .op = op_exchange, .check = check_replace},
	{.name = "exchange, large out",
	 .setup = setup_large_live,
	 .op = op_exchange_out,
	 .check = check_removed},
	{.name = "recovery, undone",
	 .setup = setup_intent,
	 .op = op_own,
	 .check = check_one_stays,
	 .constant = true},
	{.name = "recovery, completed",
	 .setup = setup_intent_done,
	 .op = op_own,
	 .check = check_two_stays,
	 .constant = true,
	 .slow = true},
};

int main(void)
{
	return step_main("step_heap", cases, sizeof(cases) / sizeof(*cases));
}
