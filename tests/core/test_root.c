/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The root FDT as written and read, held against libfdt: what is written passes its
 * full check and says what it should to a reader that knows nothing of ours; what is made by
 * editing in place, as Linux does, is read.
 */
#include "image.h"

#define SIZE 4096
#define IMAGE (1ULL << 40)

struct fdt {
	_Alignas(8) char bytes[SIZE];
};

static void sound(const struct fdt *fdt)
{
	struct khoc_report report;

	EXPECT(shim_fdt_sound(fdt->bytes, SIZE));
	EXPECT_EQ(khoc_root_check(fdt->bytes, SIZE, 0, IMAGE, &report), 0);
	EXPECT_EQ(report.fault, 0);
}

static void add(struct fdt *fdt, const char *name, kho_pa_t data, u64 size, const char *type,
		u32 version)
{
	struct khoc_subtree subtree = {name, data, size, type, version};
	struct fdt to;

	EXPECT_EQ(khoc_root_add(fdt->bytes, to.bytes, SIZE, &subtree), 0);
	*fdt = to;
	sound(fdt);
}

static u64 native64(const void *fdt, int node, const char *name)
{
	int len;
	const void *prop = fdt_getprop(fdt, node, name, &len);
	u64 value;

	EXPECT_NE(prop, NULL);
	EXPECT_EQ(len, 8);
	memcpy(&value, prop, 8);
	return value;
}

TEST(an_empty_root)
{
	struct khoc_subtree subtree;
	struct fdt fdt;
	int pos = 0;

	EXPECT_EQ(khoc_root_create(fdt.bytes, SIZE, 0x3456789000), 0);
	sound(&fdt);
	EXPECT_EQ(khoc_root_tree(fdt.bytes), 0x3456789000);
	EXPECT_EQ(khoc_root_next(fdt.bytes, &pos, &subtree), -ENOENT);
	EXPECT_EQ(khoc_root_find(fdt.bytes, "LUO", &subtree), -ENOENT);
	/* Linux: exact compatible, 8 bytes in the CPU's order. */
	EXPECT_EQ(fdt_node_check_compatible(fdt.bytes, 0, "kho-v4"), 0);
	EXPECT_EQ(native64(fdt.bytes, 0, "preserved-memory-map"), 0x3456789000);
}

TEST(subtrees_as_linux_reads_them)
{
	struct fdt fdt;
	int node, len;

	EXPECT_EQ(khoc_root_create(fdt.bytes, SIZE, 0x5000), 0);
	add(&fdt, "kexec-metadata", 0x7000, 73, NULL, 0);
	add(&fdt, "kho_test", 0xfedcba9000, 0x1000, "cache,v", 0x01020304);
	node = fdt_subnode_offset(fdt.bytes, 0, "kexec-metadata");
	EXPECT(node > 0);
	EXPECT_EQ(native64(fdt.bytes, node, "preserved-data"), 0x7000);
	EXPECT_EQ(native64(fdt.bytes, node, "blob-size"), 73);
	EXPECT_EQ(fdt_getprop(fdt.bytes, node, "kho,type", NULL), NULL);
	node = fdt_subnode_offset(fdt.bytes, 0, "kho_test");
	EXPECT(node > 0);
	EXPECT_EQ(native64(fdt.bytes, node, "preserved-data"), 0xfedcba9000);
	EXPECT_EQ(native64(fdt.bytes, node, "blob-size"), 0x1000);
	EXPECT_STR_EQ(fdt_getprop(fdt.bytes, node, "kho,type", &len), "cache,v");
	EXPECT_EQ(len, 8);
	EXPECT_MEM_EQ(fdt_getprop(fdt.bytes, node, "kho,type-version", &len), &(u32){0x01020304},
		      4);
	EXPECT_EQ(len, 4);
}

TEST(find_next_remove)
{
	static const char *const names[] = {"a", "bb", "a-much.longer+name,of_29-bytes"};
	struct khoc_subtree subtree;
	static struct fdt fdt, to; /* together too large for a kernel's stack */
	int pos = 0;

	EXPECT_EQ(khoc_root_create(fdt.bytes, SIZE, 0x5000), 0);
	add(&fdt, names[0], 0x1000, 1, NULL, 0);
	add(&fdt, names[1], 0x2000, 2, "t", 9);
	add(&fdt, names[2], 0x3000, 3, NULL, 0);
	for (u64 i = 0; i < 3; i++) {
		EXPECT_EQ(khoc_root_next(fdt.bytes, &pos, &subtree), 0);
		EXPECT_STR_EQ(subtree.name, names[i]);
		EXPECT_EQ(subtree.data, 0x1000 * (i + 1));
		EXPECT_EQ(subtree.size, i + 1);
		EXPECT_EQ(subtree.type_version, i == 1 ? 9 : 0);
	}
	EXPECT_EQ(khoc_root_next(fdt.bytes, &pos, &subtree), -ENOENT);
	EXPECT_EQ(khoc_root_find(fdt.bytes, "bb", &subtree), 0);
	EXPECT_STR_EQ(subtree.type, "t");
	EXPECT_EQ(khoc_root_find(fdt.bytes, "b", &subtree), -ENOENT);
	EXPECT_EQ(khoc_root_find(fdt.bytes, "bbb", &subtree), -ENOENT);
	EXPECT_EQ(khoc_root_find(fdt.bytes, "", &subtree), -ENOENT);
	EXPECT_EQ(khoc_root_remove(fdt.bytes, to.bytes, SIZE, "b"), -ENOENT);
	EXPECT_EQ(khoc_root_remove(fdt.bytes, to.bytes, SIZE, "a"), 0);
	sound(&to);
	EXPECT_EQ(khoc_root_tree(to.bytes), 0x5000);
	EXPECT_EQ(khoc_root_find(to.bytes, "a", &subtree), -ENOENT);
	pos = 0;
	EXPECT_EQ(khoc_root_next(to.bytes, &pos, &subtree), 0);
	EXPECT_STR_EQ(subtree.name, "bb");
	EXPECT_STR_EQ(subtree.type, "t");
	EXPECT_EQ(subtree.type_version, 9);
	EXPECT_EQ(khoc_root_next(to.bytes, &pos, &subtree), 0);
	EXPECT_STR_EQ(subtree.name, names[2]);
	EXPECT_EQ(khoc_root_next(to.bytes, &pos, &subtree), -ENOENT);
	/* What was removed can be added again. */
	add(&to, "a", 0x9000, 9, NULL, 0);
}

/* Nothing else changes by it, not a byte. */
TEST(data_that_lie_elsewhere)
{
	struct khoc_subtree subtree;
	static struct fdt fdt, was;
	unsigned int changed = 0;

	EXPECT_EQ(khoc_root_create(fdt.bytes, SIZE, 0x5000), 0);
	add(&fdt, "a", 0x1000, 8, NULL, 0);
	add(&fdt, "ab", 0x1111111000, 16, "t", 9);
	EXPECT_EQ(khoc_root_set_data(fdt.bytes, "b", 0x2000), -ENOENT);
	EXPECT_EQ(khoc_root_set_data(fdt.bytes, "abc", 0x2000), -ENOENT);
	was = fdt;
	EXPECT_EQ(khoc_root_set_data(fdt.bytes, "ab", 0x2222222000), 0);
	for (size_t i = 0; i < SIZE; i++)
		changed += fdt.bytes[i] != was.bytes[i];
	EXPECT_EQ(changed, 4);
	EXPECT_EQ(khoc_root_find(fdt.bytes, "ab", &subtree), 0);
	EXPECT_EQ(subtree.data, 0x2222222000);
	EXPECT_EQ(subtree.size, 16);
	EXPECT_STR_EQ(subtree.type, "t");
	EXPECT_EQ(khoc_root_find(fdt.bytes, "a", &subtree), 0);
	EXPECT_EQ(subtree.data, 0x1000);
}

/* The first subtree brings its properties' names with it, and the longest name and type fit as any. */
TEST(room_for_a_copy)
{
	char longest[64];
	struct khoc_subtree subtree = {.name = longest, .data = 0x1000, .size = 1, .type = longest};
	static struct fdt bare, to, two;

	memset(longest, 'x', 63);
	longest[63] = 0;
	EXPECT_EQ(khoc_root_create(bare.bytes, SIZE, 0x5000), 0);
	EXPECT_EQ(khoc_root_add(bare.bytes, to.bytes, SIZE, &subtree), 0);
	EXPECT_EQ(khoc_root_set_composite(to.bytes, two.bytes, SIZE, KHO_ABI_COMPAT_ARENA), 0);
	EXPECT_EQ(khoc_root_remove(two.bytes, to.bytes, SIZE, longest), 0);
	sound(&to);
}

TEST(names_that_are_refused)
{
	char longest[65];
	const char *bad[] = {"", "a b", "a/b", "a@1", "\xc3\xa9", "a\n", "a:b", longest};
	struct khoc_subtree subtree = {.data = 0x1000, .size = 1};
	static struct fdt fdt, to;

	memset(longest, 'x', 64);
	longest[64] = 0;
	EXPECT_EQ(khoc_root_create(fdt.bytes, SIZE, 0x5000), 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		subtree.name = bad[i];
		EXPECT_EQ(khoc_root_add(fdt.bytes, to.bytes, SIZE, &subtree), -EINVAL);
	}
	add(&fdt, longest + 1, 0x1000, 1, NULL, 0);
	subtree.name = longest + 1;
	EXPECT_EQ(khoc_root_add(fdt.bytes, to.bytes, SIZE, &subtree), -EEXIST);
	subtree.name = "empty-type";
	subtree.type = "";
	EXPECT_EQ(khoc_root_add(fdt.bytes, to.bytes, SIZE, &subtree), -EINVAL);
}

TEST(too_small)
{
	struct khoc_subtree subtree = {"name", 0x1000, 1, NULL, 0};
	static struct fdt fdt, to;
	size_t size;

	for (size = 0; khoc_root_create(fdt.bytes, size, 0x5000); size++)
		EXPECT(size < 1000);
	EXPECT_EQ(khoc_root_create(fdt.bytes, size - 1, 0x5000), -ENOSPC);
	EXPECT_EQ(khoc_root_create(fdt.bytes, SIZE, 0x5000), 0);
	for (size = 0; khoc_root_add(fdt.bytes, to.bytes, size, &subtree); size++)
		EXPECT_EQ(khoc_root_add(fdt.bytes, to.bytes, size, &subtree), -ENOSPC);
	EXPECT(size < 1000);
	EXPECT_EQ(khoc_root_check(to.bytes, size, 0, IMAGE, NULL), 0);
	EXPECT_EQ(khoc_root_remove(to.bytes, fdt.bytes, 64, "name"), -ENOSPC);
}

/* As many as fit; the names differ in their last letters only. */
TEST(a_full_slot)
{
	static _Alignas(8) char slots[2][KHO_ABI_FDT_MAX];
	struct khoc_subtree subtree = {.data = 0x1000, .size = 1};
	char name[32];
	int in = 0, n = 0, pos = 0;

	EXPECT_EQ(khoc_root_create(slots[0], KHO_ABI_FDT_MAX, 0x5000), 0);
	for (;; n++, in = !in) {
		int err;

		snprintf(name, sizeof(name), "root-%d", n);
		subtree.name = name;
		err = khoc_root_add(slots[in], slots[!in], KHO_ABI_FDT_MAX, &subtree);
		if (err == -ENOSPC)
			break;
		EXPECT_EQ(err, 0);
	}
	EXPECT(n > 900);
	EXPECT_EQ(khoc_root_check(slots[in], KHO_ABI_FDT_MAX, 0, IMAGE, NULL), 0);
	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "root-%d", i);
		EXPECT_EQ(khoc_root_next(slots[in], &pos, &subtree), 0);
		EXPECT_STR_EQ(subtree.name, name);
	}
}

/* One page, edited in place with libfdt's writing functions, new nodes first. */
TEST(edited_in_place)
{
	u64 tree = 0x5000, data = 0x7000, size = 100;
	struct khoc_subtree subtree;
	static struct fdt fdt, to;
	int node, pos = 0;

	EXPECT_EQ(khoc_root_create(fdt.bytes, SIZE, tree), 0);
	for (int i = 0; i < 3; i++) {
		char name[2] = {(char)('a' + i), 0};

		EXPECT_EQ(fdt_open_into(fdt.bytes, fdt.bytes, SIZE), 0);
		node = fdt_add_subnode(fdt.bytes, 0, name);
		EXPECT(node > 0);
		EXPECT_EQ(fdt_setprop(fdt.bytes, node, "preserved-data", &data, 8), 0);
		EXPECT_EQ(fdt_setprop(fdt.bytes, node, "blob-size", &size, 8), 0);
		EXPECT_EQ(fdt_setprop(fdt.bytes, node, "vendor,else", "x", 2), 0);
		EXPECT_EQ(fdt_pack(fdt.bytes), 0);
	}
	sound(&fdt);
	EXPECT_EQ(khoc_root_find(fdt.bytes, "a", &subtree), 0);
	EXPECT_EQ(subtree.data, data);
	/* Nodes that were turned into padding. */
	EXPECT_EQ(fdt_nop_node(fdt.bytes, fdt_subnode_offset(fdt.bytes, 0, "b")), 0);
	sound(&fdt);
	EXPECT_EQ(khoc_root_next(fdt.bytes, &pos, &subtree), 0);
	EXPECT_STR_EQ(subtree.name, "c");
	EXPECT_EQ(khoc_root_next(fdt.bytes, &pos, &subtree), 0);
	EXPECT_STR_EQ(subtree.name, "a");
	EXPECT_EQ(khoc_root_next(fdt.bytes, &pos, &subtree), -ENOENT);
	EXPECT_EQ(khoc_root_remove(fdt.bytes, to.bytes, SIZE, "c"), 0);
	sound(&to);
}

TEST(compatible_list_is_kept)
{
	static const char list[] = "kho-v4;radix-v1;x-v1\0kho-v4";
	static struct fdt fdt, to;
	const void *prop;
	int len;

	EXPECT_EQ(khoc_root_create(fdt.bytes, SIZE, 0x5000), 0);
	EXPECT_EQ(fdt_open_into(fdt.bytes, fdt.bytes, SIZE), 0);
	EXPECT_EQ(fdt_setprop(fdt.bytes, 0, "compatible", list, sizeof(list)), 0);
	sound(&fdt);
	add(&fdt, "x", 0x1000, 1, NULL, 0);
	EXPECT_EQ(khoc_root_remove(fdt.bytes, to.bytes, SIZE, "x"), 0);
	sound(&to);
	prop = fdt_getprop(to.bytes, 0, "compatible", &len);
	EXPECT_EQ(len, sizeof(list));
	EXPECT_MEM_EQ(prop, list, sizeof(list));
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

TEST(edited_on_the_way)
{
	struct khoc_subtree subtree;
	static struct fdt fdt, to;
	int pos = 0;

	EXPECT_EQ(khoc_root_create(fdt.bytes, SIZE, 0x5000), 0);
	add(&fdt, "a", 0x1000, 1, NULL, 0);
	add(&fdt, "b", 0x2000, 2, "type", 3);
	add(&fdt, "c", 0x3000, 3, "other", 4);
	EXPECT_EQ(khoc_root_edit(fdt.bytes, to.bytes, SIZE, edit, NULL), 0);
	sound(&to);
	EXPECT_STR_EQ(khoc_root_composite(to.bytes), "kho-v4;radix-v1");
	EXPECT_EQ(khoc_root_tree(to.bytes), 0x5000);
	EXPECT_EQ(khoc_root_next(to.bytes, &pos, &subtree), 0);
	EXPECT_STR_EQ(subtree.name, "z");
	EXPECT_STR_EQ(subtree.type, "type");
	EXPECT_EQ(subtree.data, 0x8000);
	EXPECT_EQ(subtree.size, 2);
	EXPECT_EQ(subtree.type_version, 9);
	EXPECT_EQ(khoc_root_next(to.bytes, &pos, &subtree), 0);
	EXPECT_STR_EQ(subtree.name, "c");
	EXPECT_EQ(subtree.type_version, 4);
	EXPECT_EQ(khoc_root_next(to.bytes, &pos, &subtree), -ENOENT);
	EXPECT_EQ(khoc_root_edit(fdt.bytes, to.bytes, SIZE, edit, "a/b"), -EINVAL);
	EXPECT_EQ(khoc_root_edit(fdt.bytes, to.bytes, SIZE, edit, ""), -EINVAL);
	EXPECT_EQ(khoc_root_edit(fdt.bytes, to.bytes, 200, edit, NULL), -ENOSPC);
}

static void as_linux_asks(const struct fdt *fdt, const char *first)
{
	const char *prop;
	int len, node = fdt_path_offset(fdt->bytes, "/");

	/* What Linux 7.2 does: any entry of the list will do. */
	EXPECT_EQ(fdt_node_check_compatible(fdt->bytes, node, "kho-v4"), 0);
	EXPECT_EQ(fdt_node_check_compatible(fdt->bytes, node, "kho-v3"), 1);
	prop = fdt_getprop(fdt->bytes, 0, "compatible", &len);
	EXPECT_STR_EQ(prop, first);
	EXPECT_EQ(len, strlen(first) + 1 + (strcmp(first, "kho-v4") ? 7 : 0));
	EXPECT_STR_EQ(prop + len - 7, "kho-v4");
}

TEST(composites)
{
	static struct fdt fdt, to;
	char many[600] = "kho-v4";

	EXPECT_EQ(khoc_root_create(fdt.bytes, SIZE, 0x5000), 0);
	as_linux_asks(&fdt, "kho-v4;radix-v1");
	EXPECT_STR_EQ(khoc_root_composite(fdt.bytes), "kho-v4;radix-v1");
	add(&fdt, "x", 0x1000, 1, "type", 7);
	EXPECT_EQ(khoc_root_set_composite(fdt.bytes, to.bytes, SIZE, "kho-v4;a-v2?;radix-v1"), 0);
	sound(&to);
	as_linux_asks(&to, "kho-v4;a-v2?;radix-v1");
	EXPECT_EQ(fdt_node_check_compatible(to.bytes, 0, "kho-v4;a-v2?;radix-v1"), 0);
	EXPECT(fdt_getprop(to.bytes, fdt_subnode_offset(to.bytes, 0, "x"), "kho,type", NULL));
	/* As Linux 7.2 writes it. */
	EXPECT_EQ(khoc_root_set_composite(to.bytes, fdt.bytes, SIZE, NULL), 0);
	sound(&fdt);
	as_linux_asks(&fdt, "kho-v4");
	EXPECT(!khoc_root_composite(fdt.bytes));
	EXPECT_EQ(khoc_root_set_composite(fdt.bytes, to.bytes, SIZE, "kho-v4"), -EINVAL);
	EXPECT_EQ(khoc_root_set_composite(fdt.bytes, to.bytes, SIZE, "kho-v5;a-v1"), -EINVAL);
	EXPECT_EQ(khoc_root_set_composite(fdt.bytes, to.bytes, SIZE, "kho-v4;b-v1;a-v1"), -EINVAL);
	memset(many + 6, ';', 593);
	EXPECT_EQ(khoc_root_set_composite(fdt.bytes, to.bytes, SIZE, many), -EINVAL);
	EXPECT_EQ(khoc_root_set_composite(fdt.bytes, to.bytes, 128, "kho-v4;a-v1"), -ENOSPC);
}

TEST_SUITE(root, TEST_CASE(an_empty_root), TEST_CASE(subtrees_as_linux_reads_them),
	   TEST_CASE(find_next_remove), TEST_CASE(data_that_lie_elsewhere),
	   TEST_CASE(room_for_a_copy), TEST_CASE(names_that_are_refused), TEST_CASE(too_small),
	   TEST_CASE(a_full_slot), TEST_CASE(edited_in_place), TEST_CASE(edited_on_the_way),
	   TEST_CASE(composites), TEST_CASE(compatible_list_is_kept));
