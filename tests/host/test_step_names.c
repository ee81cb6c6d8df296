/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Every instruction: subtrees, roots, metadata. See step.h. */
#include "step.h"

static void setup_folio_preserved(void)
{
	object = kho_folio_alloc(3);
	info->pa = kho_virt_to_phys(object);
	if (kho_preserve_folio(object))
		_exit(8);
}

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

static const struct step_case cases[] = {
	{.name = "add subtree",
	 .setup = setup_folio_preserved,
	 .op = op_add_sub,
	 .check = check_sub,
	 .slow = true},
	{.name = "remove subtree",
	 .setup = setup_sub,
	 .op = op_remove_sub,
	 .check = check_no_sub,
	 .slow = true},
	{.name = "make root",
	 .setup = setup_nothing,
	 .op = op_add_root,
	 .check = check_root,
	 .slow = true},
	{.name = "remove root",
	 .setup = setup_fresh_root,
	 .op = op_remove_root,
	 .check = check_no_root,
	 .slow = true},
	{.name = "set metadata",
	 .setup = setup_metadata,
	 .op = op_metadata,
	 .check = check_metadata,
	 .slow = true},
};

int main(void)
{
	return step_main("step_names", cases, sizeof(cases) / sizeof(*cases));
}
