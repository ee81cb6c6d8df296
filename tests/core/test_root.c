/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The root FDT as written and read, held against libfdt: what is written passes its
 * full check and says what it should to a reader that knows nothing of ours; what is made by
 * editing in place, as Linux does, is read.
 */
#include "image.h"

#include <errno.h>
#include <libfdt.h>

#define SIZE 4096
#define IMAGE (1ULL << 40)

struct fdt {
	_Alignas(8) char bytes[SIZE];
};

static void sound(const struct fdt *fdt)
{
	struct khoc_report report;

	assert_int_equal(fdt_check_full(fdt->bytes, SIZE), 0);
	assert_int_equal(khoc_root_check(fdt->bytes, SIZE, 0, IMAGE, &report), 0);
	assert_int_equal(report.fault, 0);
}

static void add(struct fdt *fdt, const char *name, kho_pa_t data, u64 size, const char *type,
		u32 version)
{
	struct khoc_subtree subtree = {name, data, size, type, version};
	struct fdt to;

	assert_int_equal(khoc_root_add(fdt->bytes, to.bytes, SIZE, &subtree), 0);
	*fdt = to;
	sound(fdt);
}

static u64 native64(const void *fdt, int node, const char *name)
{
	int len;
	const void *prop = fdt_getprop(fdt, node, name, &len);
	u64 value;

	assert_non_null(prop);
	assert_int_equal(len, 8);
	memcpy(&value, prop, 8);
	return value;
}

static void an_empty_root(void **state)
{
	struct khoc_subtree subtree;
	struct fdt fdt;
	int pos = 0;

	assert_int_equal(khoc_root_create(fdt.bytes, SIZE, 0x3456789000), 0);
	sound(&fdt);
	assert_int_equal(khoc_root_tree(fdt.bytes), 0x3456789000);
	assert_int_equal(khoc_root_next(fdt.bytes, &pos, &subtree), -ENOENT);
	assert_int_equal(khoc_root_find(fdt.bytes, "LUO", &subtree), -ENOENT);
	/* Linux: exact compatible, 8 bytes in the CPU's order. */
	assert_int_equal(fdt_node_check_compatible(fdt.bytes, 0, "kho-v4"), 0);
	assert_int_equal(native64(fdt.bytes, 0, "preserved-memory-map"), 0x3456789000);
}

static void subtrees_as_linux_reads_them(void **state)
{
	struct fdt fdt;
	int node, len;

	assert_int_equal(khoc_root_create(fdt.bytes, SIZE, 0x5000), 0);
	add(&fdt, "kexec-metadata", 0x7000, 73, NULL, 0);
	add(&fdt, "kho_test", 0xfedcba9000, 0x1000, "cache,v", 0x01020304);
	node = fdt_subnode_offset(fdt.bytes, 0, "kexec-metadata");
	assert_true(node > 0);
	assert_int_equal(native64(fdt.bytes, node, "preserved-data"), 0x7000);
	assert_int_equal(native64(fdt.bytes, node, "blob-size"), 73);
	assert_null(fdt_getprop(fdt.bytes, node, "kho,type", NULL));
	node = fdt_subnode_offset(fdt.bytes, 0, "kho_test");
	assert_true(node > 0);
	assert_int_equal(native64(fdt.bytes, node, "preserved-data"), 0xfedcba9000);
	assert_int_equal(native64(fdt.bytes, node, "blob-size"), 0x1000);
	assert_string_equal(fdt_getprop(fdt.bytes, node, "kho,type", &len), "cache,v");
	assert_int_equal(len, 8);
	assert_memory_equal(fdt_getprop(fdt.bytes, node, "kho,type-version", &len),
			    &(u32){0x01020304}, 4);
	assert_int_equal(len, 4);
}

static void find_next_remove(void **state)
{
	static const char *const names[] = {"a", "bb", "a-much.longer+name,of_29-bytes"};
	struct khoc_subtree subtree;
	struct fdt fdt, to;
	int pos = 0;

	assert_int_equal(khoc_root_create(fdt.bytes, SIZE, 0x5000), 0);
	add(&fdt, names[0], 0x1000, 1, NULL, 0);
	add(&fdt, names[1], 0x2000, 2, "t", 9);
	add(&fdt, names[2], 0x3000, 3, NULL, 0);
	for (u64 i = 0; i < 3; i++) {
		assert_int_equal(khoc_root_next(fdt.bytes, &pos, &subtree), 0);
		assert_string_equal(subtree.name, names[i]);
		assert_int_equal(subtree.data, 0x1000 * (i + 1));
		assert_int_equal(subtree.size, i + 1);
		assert_int_equal(subtree.type_version, i == 1 ? 9 : 0);
	}
	assert_int_equal(khoc_root_next(fdt.bytes, &pos, &subtree), -ENOENT);
	assert_int_equal(khoc_root_find(fdt.bytes, "bb", &subtree), 0);
	assert_string_equal(subtree.type, "t");
	assert_int_equal(khoc_root_find(fdt.bytes, "b", &subtree), -ENOENT);
	assert_int_equal(khoc_root_find(fdt.bytes, "bbb", &subtree), -ENOENT);
	assert_int_equal(khoc_root_find(fdt.bytes, "", &subtree), -ENOENT);
	assert_int_equal(khoc_root_remove(fdt.bytes, to.bytes, SIZE, "b"), -ENOENT);
	assert_int_equal(khoc_root_remove(fdt.bytes, to.bytes, SIZE, "a"), 0);
	sound(&to);
	assert_int_equal(khoc_root_tree(to.bytes), 0x5000);
	assert_int_equal(khoc_root_find(to.bytes, "a", &subtree), -ENOENT);
	pos = 0;
	assert_int_equal(khoc_root_next(to.bytes, &pos, &subtree), 0);
	assert_string_equal(subtree.name, "bb");
	assert_string_equal(subtree.type, "t");
	assert_int_equal(subtree.type_version, 9);
	assert_int_equal(khoc_root_next(to.bytes, &pos, &subtree), 0);
	assert_string_equal(subtree.name, names[2]);
	assert_int_equal(khoc_root_next(to.bytes, &pos, &subtree), -ENOENT);
	/* What was removed can be added again. */
	add(&to, "a", 0x9000, 9, NULL, 0);
}

static void names_that_are_refused(void **state)
{
	char longest[65];
	const char *bad[] = {"", "a b", "a/b", "a@1", "\xc3\xa9", "a\n", "a:b", longest};
	struct khoc_subtree subtree = {.data = 0x1000, .size = 1};
	struct fdt fdt, to;

	memset(longest, 'x', 64);
	longest[64] = 0;
	assert_int_equal(khoc_root_create(fdt.bytes, SIZE, 0x5000), 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		subtree.name = bad[i];
		assert_int_equal(khoc_root_add(fdt.bytes, to.bytes, SIZE, &subtree), -EINVAL);
	}
	add(&fdt, longest + 1, 0x1000, 1, NULL, 0);
	subtree.name = longest + 1;
	assert_int_equal(khoc_root_add(fdt.bytes, to.bytes, SIZE, &subtree), -EEXIST);
	subtree.name = "empty-type";
	subtree.type = "";
	assert_int_equal(khoc_root_add(fdt.bytes, to.bytes, SIZE, &subtree), -EINVAL);
}

static void too_small(void **state)
{
	struct khoc_subtree subtree = {"name", 0x1000, 1, NULL, 0};
	struct fdt fdt, to;
	size_t size;

	for (size = 0; khoc_root_create(fdt.bytes, size, 0x5000); size++)
		assert_true(size < 1000);
	assert_int_equal(khoc_root_create(fdt.bytes, size - 1, 0x5000), -ENOSPC);
	assert_int_equal(khoc_root_create(fdt.bytes, SIZE, 0x5000), 0);
	for (size = 0; khoc_root_add(fdt.bytes, to.bytes, size, &subtree); size++)
		assert_int_equal(khoc_root_add(fdt.bytes, to.bytes, size, &subtree), -ENOSPC);
	assert_true(size < 1000);
	assert_int_equal(khoc_root_check(to.bytes, size, 0, IMAGE, NULL), 0);
	assert_int_equal(khoc_root_remove(to.bytes, fdt.bytes, 64, "name"), -ENOSPC);
}

/* As many as fit; the names differ in their last letters only. */
static void a_full_slot(void **state)
{
	static _Alignas(8) char slots[2][KHO_ABI_FDT_MAX];
	struct khoc_subtree subtree = {.data = 0x1000, .size = 1};
	char name[32];
	int in = 0, n = 0, pos = 0;

	assert_int_equal(khoc_root_create(slots[0], KHO_ABI_FDT_MAX, 0x5000), 0);
	for (;; n++, in = !in) {
		int err;

		snprintf(name, sizeof(name), "root-%d", n);
		subtree.name = name;
		err = khoc_root_add(slots[in], slots[!in], KHO_ABI_FDT_MAX, &subtree);
		if (err == -ENOSPC)
			break;
		assert_int_equal(err, 0);
	}
	assert_true(n > 900);
	assert_int_equal(khoc_root_check(slots[in], KHO_ABI_FDT_MAX, 0, IMAGE, NULL), 0);
	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "root-%d", i);
		assert_int_equal(khoc_root_next(slots[in], &pos, &subtree), 0);
		assert_string_equal(subtree.name, name);
	}
}

/* One page, edited in place with libfdt's writing functions, new nodes first. */
static void edited_in_place(void **state)
{
	u64 tree = 0x5000, data = 0x7000, size = 100;
	struct khoc_subtree subtree;
	struct fdt fdt, to;
	int node, pos = 0;

	assert_int_equal(khoc_root_create(fdt.bytes, SIZE, tree), 0);
	for (int i = 0; i < 3; i++) {
		char name[2] = {(char)('a' + i), 0};

		assert_int_equal(fdt_open_into(fdt.bytes, fdt.bytes, SIZE), 0);
		node = fdt_add_subnode(fdt.bytes, 0, name);
		assert_true(node > 0);
		assert_int_equal(fdt_setprop(fdt.bytes, node, "preserved-data", &data, 8), 0);
		assert_int_equal(fdt_setprop(fdt.bytes, node, "blob-size", &size, 8), 0);
		assert_int_equal(fdt_setprop(fdt.bytes, node, "vendor,else", "x", 2), 0);
		assert_int_equal(fdt_pack(fdt.bytes), 0);
	}
	sound(&fdt);
	assert_int_equal(khoc_root_find(fdt.bytes, "a", &subtree), 0);
	assert_int_equal(subtree.data, data);
	/* Nodes that were turned into padding. */
	assert_int_equal(fdt_nop_node(fdt.bytes, fdt_subnode_offset(fdt.bytes, 0, "b")), 0);
	sound(&fdt);
	assert_int_equal(khoc_root_next(fdt.bytes, &pos, &subtree), 0);
	assert_string_equal(subtree.name, "c");
	assert_int_equal(khoc_root_next(fdt.bytes, &pos, &subtree), 0);
	assert_string_equal(subtree.name, "a");
	assert_int_equal(khoc_root_next(fdt.bytes, &pos, &subtree), -ENOENT);
	assert_int_equal(khoc_root_remove(fdt.bytes, to.bytes, SIZE, "c"), 0);
	sound(&to);
}

static void compatible_list_is_kept(void **state)
{
	static const char list[] = "kho-v4;radix-v1;x-v1\0kho-v4";
	struct fdt fdt, to;
	const void *prop;
	int len;

	assert_int_equal(khoc_root_create(fdt.bytes, SIZE, 0x5000), 0);
	assert_int_equal(fdt_open_into(fdt.bytes, fdt.bytes, SIZE), 0);
	assert_int_equal(fdt_setprop(fdt.bytes, 0, "compatible", list, sizeof(list)), 0);
	sound(&fdt);
	add(&fdt, "x", 0x1000, 1, NULL, 0);
	assert_int_equal(khoc_root_remove(fdt.bytes, to.bytes, SIZE, "x"), 0);
	sound(&to);
	prop = fdt_getprop(to.bytes, 0, "compatible", &len);
	assert_int_equal(len, sizeof(list));
	assert_memory_equal(prop, list, sizeof(list));
}

/* "a" goes, "b" becomes "z" with another version, "c" gets a name that is none if @ctx says so. */
static bool edit(void *ctx, struct khoc_subtree *subtree)
{
	if (!strcmp(subtree->name, "b")) {
		subtree->name = "z";
		subtree->data = 0x8000;
		subtree->type_version = 9;
	}
	if (!strcmp(subtree->name, "c") && ctx)
		subtree->name = ctx;
	return strcmp(subtree->name, "a");
}

static void edited_on_the_way(void **state)
{
	struct khoc_subtree subtree;
	struct fdt fdt, to;
	int pos = 0;

	assert_int_equal(khoc_root_create(fdt.bytes, SIZE, 0x5000), 0);
	add(&fdt, "a", 0x1000, 1, NULL, 0);
	add(&fdt, "b", 0x2000, 2, "type", 3);
	add(&fdt, "c", 0x3000, 3, "other", 4);
	assert_int_equal(khoc_root_edit(fdt.bytes, to.bytes, SIZE, edit, NULL), 0);
	sound(&to);
	assert_string_equal(khoc_root_composite(to.bytes), "kho-v4;radix-v1");
	assert_int_equal(khoc_root_tree(to.bytes), 0x5000);
	assert_int_equal(khoc_root_next(to.bytes, &pos, &subtree), 0);
	assert_string_equal(subtree.name, "z");
	assert_string_equal(subtree.type, "type");
	assert_int_equal(subtree.data, 0x8000);
	assert_int_equal(subtree.size, 2);
	assert_int_equal(subtree.type_version, 9);
	assert_int_equal(khoc_root_next(to.bytes, &pos, &subtree), 0);
	assert_string_equal(subtree.name, "c");
	assert_int_equal(subtree.type_version, 4);
	assert_int_equal(khoc_root_next(to.bytes, &pos, &subtree), -ENOENT);
	assert_int_equal(khoc_root_edit(fdt.bytes, to.bytes, SIZE, edit, "a/b"), -EINVAL);
	assert_int_equal(khoc_root_edit(fdt.bytes, to.bytes, SIZE, edit, ""), -EINVAL);
	assert_int_equal(khoc_root_edit(fdt.bytes, to.bytes, 200, edit, NULL), -ENOSPC);
}

static void as_linux_asks(const struct fdt *fdt, const char *first)
{
	const char *prop;
	int len, node = fdt_path_offset(fdt->bytes, "/");

	/* What Linux 7.2 does: any entry of the list will do. */
	assert_int_equal(fdt_node_check_compatible(fdt->bytes, node, "kho-v4"), 0);
	assert_int_equal(fdt_node_check_compatible(fdt->bytes, node, "kho-v3"), 1);
	prop = fdt_getprop(fdt->bytes, 0, "compatible", &len);
	assert_string_equal(prop, first);
	assert_int_equal(len, strlen(first) + 1 + (strcmp(first, "kho-v4") ? 7 : 0));
	assert_string_equal(prop + len - 7, "kho-v4");
}

static void composites(void **state)
{
	struct fdt fdt, to;
	char many[600] = "kho-v4";

	assert_int_equal(khoc_root_create(fdt.bytes, SIZE, 0x5000), 0);
	as_linux_asks(&fdt, "kho-v4;radix-v1");
	assert_string_equal(khoc_root_composite(fdt.bytes), "kho-v4;radix-v1");
	add(&fdt, "x", 0x1000, 1, "type", 7);
	assert_int_equal(
		khoc_root_set_composite(fdt.bytes, to.bytes, SIZE, "kho-v4;a-v2?;radix-v1"), 0);
	sound(&to);
	as_linux_asks(&to, "kho-v4;a-v2?;radix-v1");
	assert_int_equal(fdt_node_check_compatible(to.bytes, 0, "kho-v4;a-v2?;radix-v1"), 0);
	assert_non_null(
		fdt_getprop(to.bytes, fdt_subnode_offset(to.bytes, 0, "x"), "kho,type", NULL));
	/* As Linux 7.2 writes it. */
	assert_int_equal(khoc_root_set_composite(to.bytes, fdt.bytes, SIZE, NULL), 0);
	sound(&fdt);
	as_linux_asks(&fdt, "kho-v4");
	assert_null(khoc_root_composite(fdt.bytes));
	assert_int_equal(khoc_root_set_composite(fdt.bytes, to.bytes, SIZE, "kho-v4"), -EINVAL);
	assert_int_equal(khoc_root_set_composite(fdt.bytes, to.bytes, SIZE, "kho-v5;a-v1"),
			 -EINVAL);
	assert_int_equal(khoc_root_set_composite(fdt.bytes, to.bytes, SIZE, "kho-v4;b-v1;a-v1"),
			 -EINVAL);
	memset(many + 6, ';', 593);
	assert_int_equal(khoc_root_set_composite(fdt.bytes, to.bytes, SIZE, many), -EINVAL);
	assert_int_equal(khoc_root_set_composite(fdt.bytes, to.bytes, 128, "kho-v4;a-v1"), -ENOSPC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_root),    cmocka_unit_test(subtrees_as_linux_reads_them),
		cmocka_unit_test(find_next_remove), cmocka_unit_test(names_that_are_refused),
		cmocka_unit_test(too_small),	    cmocka_unit_test(a_full_slot),
		cmocka_unit_test(composites),	    cmocka_unit_test(edited_on_the_way),
		cmocka_unit_test(edited_in_place),  cmocka_unit_test(compatible_list_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
