/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Every instruction: areas of scattered pages, with the descriptor in a preserved folio. See step.h. */
#include "step.h"
#include "vmalloc.h"

#define AREA_PAGES 5
#define LONG_PAGES 515 /* their list is a chain of two */

static void make_area(void *(*alloc)(size_t size), __u64 pages)
{
	struct kho_vmalloc *v = kho_alloc_preserve(sizeof(*v));

	info->pa = kho_virt_to_phys(v);
	info->nr = pages;
	object = alloc(pages * KHO_PAGE_SIZE);
	if (!object)
		_exit(8);
	memset(object, 0x5a, pages * KHO_PAGE_SIZE);
}

/* The first use in an arena takes more than others. */
static void use_areas(void)
{
	struct kho_vmalloc *v = kho_alloc_preserve(sizeof(*v));
	void *area = kho_vmalloc(KHO_PAGE_SIZE);

	if (kho_preserve_vmalloc(area, v))
		_exit(8);
	kho_unpreserve_vmalloc(v);
	kho_vfree(area);
	kho_unpreserve_free(v);
}

static void setup_no_use(void)
{
	make_area(kho_vmalloc, AREA_PAGES);
}

static void setup_area(void)
{
	use_areas();
	make_area(kho_vmalloc, AREA_PAGES);
}

static void setup_linear(void)
{
	use_areas();
	make_area(kho_kvmalloc, AREA_PAGES);
}

/* In one block. */
static void setup_huge(void)
{
	use_areas();
	make_area(kho_vmalloc_huge, 8);
}

static void setup_long(void)
{
	use_areas();
	make_area(kho_vmalloc, LONG_PAGES);
}

static void setup_area_preserved(void)
{
	setup_area();
	if (kho_preserve_vmalloc(object, kho_phys_to_virt(info->pa)))
		_exit(8);
}

static void setup_huge_preserved(void)
{
	setup_huge();
	if (kho_preserve_vmalloc(object, kho_phys_to_virt(info->pa)))
		_exit(8);
}

static void setup_long_preserved(void)
{
	setup_long();
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

static void setup_area_restored(void)
{
	setup_area_came_in();
	object = kho_restore_vmalloc(kho_phys_to_virt(info->pa));
	if (!object)
		_exit(8);
}

static void op_vmalloc(void)
{
	old_object = kho_vmalloc(3 * KHO_PAGE_SIZE);
}

static void op_kvmalloc(void)
{
	old_object = kho_kvmalloc(3 * KHO_PAGE_SIZE);
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

/* Of what is preserved: the descriptor still names what is gone. */
static void op_vfree(void)
{
	info->done = true;
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
	__u64 all = info->nr + info->nr / kho_abi_vmalloc_per_chunk(KHO_PAGE_SHIFT) + 1;

	assert_int_equal(found->folio_pages, 1);
	assert_true(found->area_pages <= all);
	assert_true(area || !v->first || info->done);
	assert_non_null(kho_restore_folio(info->pa));
	for (size_t i = 0; area && i < info->nr * KHO_PAGE_SIZE; i++)
		assert_int_equal(area[i], 0x5a);
	if (area)
		assert_int_equal(found->area_pages, all);
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

static const struct step_case cases[] = {
	{.name = "vmalloc",
	 .setup = setup_nothing,
	 .op = op_vmalloc,
	 .check = check_no_area_stays,
	 .constant = true},
	{.name = "kvmalloc",
	 .setup = setup_nothing,
	 .op = op_kvmalloc,
	 .check = check_no_area_stays,
	 .constant = true},
	{.name = "free area",
	 .setup = setup_area,
	 .op = op_vfree,
	 .check = check_no_area_stays,
	 .constant = true},
	{.name = "preserve linear area",
	 .setup = setup_linear,
	 .op = op_preserve_area,
	 .check = check_area},
	{.name = "preserve huge area",
	 .setup = setup_huge,
	 .op = op_preserve_area,
	 .check = check_area},
	{.name = "unpreserve huge area",
	 .setup = setup_huge_preserved,
	 .op = op_unpreserve_area,
	 .check = check_no_area},
	{.name = "unpreserve restored area",
	 .setup = setup_area_restored,
	 .op = op_unpreserve_area,
	 .check = check_no_area},
	{.name = "free restored area",
	 .setup = setup_area_restored,
	 .op = op_vfree,
	 .check = check_no_area},
	{.name = "preserve long area",
	 .setup = setup_long,
	 .op = op_preserve_area,
	 .check = check_area,
	 .slow = true},
	{.name = "unpreserve long area",
	 .setup = setup_long_preserved,
	 .op = op_unpreserve_area,
	 .check = check_no_area,
	 .slow = true},
	{.name = "preserve first area",
	 .setup = setup_no_use,
	 .op = op_preserve_area,
	 .check = check_area,
	 .slow = true},
	{.name = "preserve area", .setup = setup_area, .op = op_preserve_area, .check = check_area},
	{.name = "unpreserve area",
	 .setup = setup_area_preserved,
	 .op = op_unpreserve_area,
	 .check = check_no_area},
	{.name = "free preserved area",
	 .setup = setup_area_preserved,
	 .op = op_vfree,
	 .check = check_no_area},
	{.name = "restore area",
	 .setup = setup_area_came_in,
	 .op = op_restore_area,
	 .check = check_area_stays,
	 .constant = true},
};

int main(void)
{
	return step_main("step_vmalloc", cases, sizeof(cases) / sizeof(*cases));
}
