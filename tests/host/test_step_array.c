/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Every instruction: arrays in an arena, whose pages come and go by the host's publishing. The array's
 * descriptor is in an object at root "a". After every instruction a successor attaches the array:
 * it is sound, as before the call or as after it, its pages are the preserved ones and no others;
 * and it goes on with it, and leaves no page behind. See step.h; tests/core/test_array_step.c
 * steps through more updates, on tiny pages, without a host.
 *
 *	plan	what is in the array before the call, and what the call is
 *	rise	pages that are more, or less, after it: nodes were divided, or merged
 *	shape	what tells that nodes were written anew: the root or, above leaves, its separators
 */
#include <errno.h>
#include <sys/mman.h>

#include <kho/array.h>

#include "step.h"

#define MAX_ENTRIES 1100
#define DENSE_CAP 510 /* entries in a leaf without keys */

enum keys { DENSE, SCATTERED };
enum call { SET_NEXT, SET_OLD, SET_FAR, ERASE, ERASE_NONE, CLEAR, DESTROY, MAKE };

/* @nr keys are set, of these the first @erased erased again; then the call. */
struct plan {
	enum keys keys;
	unsigned int nr;
	unsigned int erased;
	enum call call;
	int rise;
	bool reshaped;
};

struct array_node {
	struct node node;
	struct kho_array_desc desc;
};

/* Shared by tracer and child. */
static struct shared {
	struct plan plan;
	__u64 first_pages, last_pages, first_shape, last_shape;
	bool any;
} * shared;

static struct kho_array *array;

static __u64 key_of(enum keys keys, __u64 i)
{
	__u64 z = (i + 1) * 0x9e3779b97f4a7c15ULL;

	if (keys == DENSE)
		return i;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

static void *entry_of(__u64 i)
{
	return kho_array_mk_value(i * 3);
}

static struct kho_array_desc *the_desc(void)
{
	struct array_node *first = *kho_root("a", "list", 1);

	return first ? &first->desc : NULL;
}

/* ---- the calls ---- */

/* A descriptor in an object that is reachable; or, @reserved, not yet. */
static void make_desc(bool reserved)
{
	struct array_node *first = (void *)node_new(sizeof(*first), 1);

	setup_roots();
	if (kho_array_init(&first->desc) || (!reserved && kho_publish(slot_a, first, NULL)))
		_exit(8);
	object = first;
}

/* The first use of an array in an arena takes more than that of others. */
static void use_arrays(void)
{
	struct kho_array *other;

	make_desc(false);
	other = kho_array_attach(the_desc());
	if (!other || kho_array_set(other, 1, entry_of(1)) || kho_array_destroy(other) ||
	    kho_publish(slot_a, NULL, object))
		_exit(8);
}

static void follow(const struct plan *plan)
{
	shared->plan = *plan;
	shared->any = false;
	make_desc(false);
	array = kho_array_attach(the_desc());
	for (unsigned int i = 0; i < plan->nr; i++)
		if (kho_array_set(array, key_of(plan->keys, i), entry_of(i)))
			_exit(8);
	for (unsigned int i = 0; i < plan->erased; i++)
		if (kho_array_erase(array, key_of(plan->keys, i)))
			_exit(8);
	/* Its first touch of fresh memory is not the case's affair. */
	kho_arena_.mem.ops->free_page(NULL, page_new());
}

static void setup(enum keys keys, unsigned int nr, unsigned int erased, enum call call, int rise)
{
	use_arrays();
	follow(&(struct plan){keys, nr, erased, call, rise, rise != 0});
}

static void op_call(void)
{
	const struct plan *plan = &shared->plan;
	int rc = 0;

	switch (plan->call) {
	case SET_NEXT:
		rc = kho_array_set(array, key_of(plan->keys, plan->nr), entry_of(plan->nr));
		break;
	case SET_OLD:
		rc = kho_array_set(array, key_of(plan->keys, plan->erased), entry_of(1000000));
		break;
	case SET_FAR:
		rc = kho_array_set(array, ~0ULL, entry_of(1000000));
		break;
	case ERASE:
		rc = kho_array_erase(array, key_of(plan->keys, plan->erased));
		break;
	case ERASE_NONE:
		rc = kho_array_erase(array, ~0ULL) == -ENOENT ? 0 : -EINVAL;
		break;
	case CLEAR:
		rc = kho_array_clear(array);
		break;
	case DESTROY:
		rc = kho_array_destroy(array);
		break;
	case MAKE:
		rc = kho_publish(slot_a, object, NULL);
	}
	if (rc)
		_exit(7);
}

/* ---- what a successor finds ---- */

/* How many entries before (@after: after) the call, and which is number @i of them, in any order. */
static unsigned int nr_entries(bool after)
{
	const struct plan *plan = &shared->plan;
	unsigned int nr = plan->nr - plan->erased;

	if (!after)
		return nr;
	switch (plan->call) {
	case SET_NEXT:
	case SET_FAR:
		return nr + 1;
	case ERASE:
		return nr - 1;
	case CLEAR:
	case DESTROY:
		return 0;
	default:
		return nr;
	}
}

static void entry_number(bool after, unsigned int i, __u64 *index, void **entry)
{
	const struct plan *plan = &shared->plan;
	unsigned int at = plan->erased + i + (after && plan->call == ERASE);

	*index = key_of(plan->keys, at);
	*entry = entry_of(at);
	if (!after)
		return;
	if (plan->call == SET_FAR && at == plan->nr)
		*index = ~0ULL;
	if ((plan->call == SET_OLD && !i) || (plan->call == SET_FAR && at == plan->nr))
		*entry = entry_of(1000000);
}

static bool is(const struct kho_array *found, bool after)
{
	unsigned int nr = nr_entries(after);

	if (kho_array_count(found) != nr)
		return false;
	for (unsigned int i = 0; i < nr; i++) {
		__u64 index;
		void *entry;

		entry_number(after, i, &index, &entry);
		if (kho_array_get(found, index) != entry)
			return false;
	}
	return true;
}

static int count_one(void *ctx, __u64 index, void *entry)
{
	++*(unsigned int *)ctx;
	return 0;
}

/* Pages that the array says are its own, each preserved. */
static __u64 pages_of(struct kho_array_desc *desc)
{
	static __u64 seen[ARENA_MAX / KHO_PAGE_SIZE / 64];
	struct khoc_array_check check = {
		.data_lo = kho_arena_.header->data_pa, .data_hi = kho_file_size_(), .seen = seen};
	struct khoc_report report;
	struct khoc_array core;

	memset(seen, 0, sizeof(seen));
	assert_int_equal(khoc_array_attach(&core, &kho_arena_.mem, KHO_PAGE_SHIFT,
					   kho_virt_to_phys(desc), &report),
			 0);
	if (khoc_array_validate(&core, &check, &report)) {
		kho_fail_report_(&report);
		fail_msg("%s", kho_error());
	}
	return check.pages;
}

static __u64 struct_pages(void)
{
	struct khoc_block block;
	unsigned int type, order;
	__u64 nr = 0;

	for (kho_pa_t pos = 0; khoc_radix_next(&kho_arena_.tree, pos, ARENA_MAX, &block);
	     pos = block.pa + (KHO_PAGE_SIZE << block.order))
		nr += !kho_block_desc_(block.pa, &type, &order) && type == KHO_ABI_DESC_STRUCT;
	return nr;
}

/* Whatever was left half-way is finished by updates, and nothing stays behind. */
static void go_on(struct kho_array *found, struct kho_array_desc *desc)
{
	__u64 count = kho_array_count(found), extra = 1ULL << 40 | 5;

	assert_int_equal(kho_array_set(found, extra, entry_of(1)), 0);
	assert_int_equal(kho_array_count(found), count + 1);
	assert_int_equal(pages_of(desc), struct_pages());
	assert_int_equal(kho_array_erase(found, extra), 0);
	assert_int_equal(kho_array_count(found), count);
	assert_int_equal(pages_of(desc), struct_pages());
	assert_int_equal(kho_array_clear(found), 0);
	assert_int_equal(kho_array_count(found), 0);
	assert_int_equal(struct_pages(), 0);
}

static __u64 shape_of(const struct kho_abi_array *desc)
{
	const struct kho_abi_array_node *root = kho_phys_to_virt(desc->root & ~63ULL);
	const __u64 *values = (const __u64 *)(root + 1);
	const __u64 *keys = values + kho_abi_array_cap(KHO_PAGE_SHIFT, 8);
	__u64 sum = 0;

	if (!(desc->root & KHO_ABI_ARRAY_LEVEL_MASK))
		return desc->root;
	for (unsigned int i = 0; i < root->nr_used; i++)
		sum += values[i] ? keys[i] * 3 + 1 : 0;
	return sum;
}

static void note(const struct found *found, const struct kho_array_desc *desc)
{
	shared->last_pages = found->struct_pages;
	shared->last_shape = shape_of((const void *)desc);
	if (shared->any)
		return;
	shared->first_pages = shared->last_pages;
	shared->first_shape = shared->last_shape;
	shared->any = true;
}

static int check_call(const struct found *found)
{
	struct kho_array_desc *desc = the_desc();
	struct kho_array *there;
	unsigned int nr = 0;
	bool after;

	note(found, desc);
	assert_int_equal(found->struct_pages, pages_of(desc));
	there = kho_array_attach(desc);
	if (!there)
		fail_msg("%s", kho_error());
	after = !is(there, false);
	assert_true(!after || is(there, true));
	assert_int_equal(kho_array_walk(there, 0, ~0ULL, false, count_one, &nr), 0);
	assert_int_equal(nr, nr_entries(after));
	go_on(there, desc);
	kho_array_detach(there);
	return after;
}

static int check_stays(const struct found *found)
{
	assert_int_equal(check_call(found), 0);
	return 0;
}

/* Not reachable, or empty. */
static int check_made(const struct found *found)
{
	struct kho_array_desc *desc = the_desc();

	assert_int_equal(found->a, desc ? 1 : 0);
	return desc ? 1 + check_call(found) : 0;
}

static int check_not_reachable(const struct found *found)
{
	assert_int_equal(found->struct_pages, 0);
	return check_no_change(found);
}

static void end_call(void)
{
	assert_int_equal((int)(shared->last_pages - shared->first_pages), shared->plan.rise);
	assert_int_equal(shared->last_shape != shared->first_shape, shared->plan.reshaped);
}

/* ---- the cases: how many keys bring a node to where it is divided or merged follows from its size ---- */

static void setup_to_make(void)
{
	use_arrays();
	shared->plan = (struct plan){.call = MAKE};
	make_desc(true);
}

static void op_create(void)
{
	if (!kho_array_create())
		_exit(7);
}

static void op_attach(void)
{
	if (!kho_array_attach(the_desc()))
		_exit(7);
}

static void setup_attach(void)
{
	setup(DENSE, DENSE_CAP + 10, 0, ERASE_NONE, 0);
}

static void setup_first_use(void)
{
	follow(&(struct plan){DENSE, 0, 0, SET_NEXT, 1, true});
}

static void setup_first(void)
{
	setup(DENSE, 0, 0, SET_NEXT, 1);
}

static void setup_set(void)
{
	setup(DENSE, 9, 0, SET_NEXT, 0);
}

static void setup_replace(void)
{
	setup(DENSE, 9, 2, SET_OLD, 0);
}

static void setup_erase(void)
{
	setup(DENSE, 9, 2, ERASE, 0);
}

/* Of another form, and the old one goes. */
static void setup_keys_come(void)
{
	setup(DENSE, 9, 0, SET_FAR, 0);
	shared->plan.reshaped = true;
}

static void setup_append(void)
{
	setup(SCATTERED, 9, 0, SET_NEXT, 0);
}

/* Two keys make it a leaf with keys, 32 more are in no order: now they are sorted. */
static void setup_sort(void)
{
	setup(SCATTERED, 33, 0, SET_NEXT, 0);
	shared->plan.reshaped = true;
}

static void setup_level(void)
{
	setup(DENSE, DENSE_CAP, 0, SET_NEXT, 2);
}

static void setup_leaf(void)
{
	setup(DENSE, 2 * DENSE_CAP, 0, SET_NEXT, 1);
}

static void setup_divide_root(void)
{
	setup(SCATTERED, 255, 0, SET_NEXT, 2);
}

static void setup_even_out(void)
{
	setup(SCATTERED, 488, 0, SET_NEXT, 0);
	shared->plan.reshaped = true;
}

static void setup_two_to_three(void)
{
	setup(SCATTERED, 504, 0, SET_NEXT, 1);
}

static void setup_three_to_four(void)
{
	setup(SCATTERED, 982, 0, SET_NEXT, 1);
}

static void setup_merge(void)
{
	setup(DENSE, 2 * DENSE_CAP + 60, DENSE_CAP - 1, ERASE, -1);
}

static void setup_merge_to_root(void)
{
	setup(DENSE, DENSE_CAP + 60, 381, ERASE, -2);
}

static void setup_erase_last(void)
{
	setup(SCATTERED, 2, 1, ERASE, -1);
}

static void setup_clear(void)
{
	setup(DENSE, DENSE_CAP + 10, 0, CLEAR, -3);
}

static void setup_destroy(void)
{
	setup(DENSE, DENSE_CAP + 10, 0, DESTROY, -3);
}

/* Killed as it was being cleared: a root of nodes to be freed, all of them there. */
static void leave_doomed(enum call call)
{
	struct kho_abi_array *desc;

	setup(DENSE, DENSE_CAP + 10, 0, call, call == SET_NEXT ? -2 : -3);
	desc = (struct kho_abi_array *)the_desc();
	desc->doomed = desc->root;
	desc->root = 0;
	shared->plan.erased = shared->plan.nr;
	shared->plan.reshaped = call == SET_NEXT;
}

static void setup_doomed_set(void)
{
	leave_doomed(SET_NEXT);
}

static void setup_doomed_clear(void)
{
	leave_doomed(CLEAR);
}

/* Killed between the word and the count: the next update, even one that finds nothing, settles it. */
static void setup_unsettled(void)
{
	struct kho_abi_array *desc;

	setup(DENSE, 9, 0, ERASE_NONE, 0);
	desc = (struct kho_abi_array *)the_desc();
	desc->count--;
}

#define CASE(text, set_up) .name = "array, " text, .setup = set_up, .op = op_call, .end = end_call
#define UPDATE(text, set_up) CASE(text, set_up), .check = check_call

static const struct step_case cases[] = {
	{.name = "array, first create",
	 .setup = setup_roots,
	 .op = op_create,
	 .check = check_not_reachable,
	 .constant = true,
	 .slow = true},
	{.name = "array, create",
	 .setup = use_arrays,
	 .op = op_create,
	 .check = check_not_reachable,
	 .constant = true},
	{CASE("publish", setup_to_make), .check = check_made},
	{UPDATE("first use", setup_first_use), .slow = true},
	{UPDATE("first", setup_first)},
	{UPDATE("set", setup_set)},
	{UPDATE("replace", setup_replace)},
	{UPDATE("erase", setup_erase)},
	{UPDATE("append", setup_append)},
	{UPDATE("keys come", setup_keys_come)},
	{UPDATE("sort", setup_sort), .slow = true},
	{UPDATE("another level", setup_level)},
	{UPDATE("another leaf", setup_leaf), .slow = true},
	{UPDATE("divide root", setup_divide_root), .slow = true},
	{UPDATE("even out", setup_even_out), .slow = true},
	{UPDATE("two to three", setup_two_to_three), .slow = true},
	{UPDATE("three to four", setup_three_to_four), .slow = true},
	{UPDATE("merge", setup_merge), .slow = true},
	{UPDATE("merge to root", setup_merge_to_root), .slow = true},
	{UPDATE("erase last", setup_erase_last)},
	{UPDATE("clear", setup_clear)},
	{UPDATE("destroy", setup_destroy)},
	{.name = "array, attach",
	 .setup = setup_attach,
	 .op = op_attach,
	 .check = check_stays,
	 .constant = true,
	 .slow = true},
	{UPDATE("set, clearing left", setup_doomed_set)},
	{CASE("clear, clearing left", setup_doomed_clear), .check = check_stays, .constant = true},
	{CASE("settle count", setup_unsettled), .check = check_stays, .constant = true},
};

int main(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	return step_main("step_array", cases, sizeof(cases) / sizeof(*cases));
}
