/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Types of blocks: written here word by word, and read back; then what can be wrong with them. */
#include "image.h"

#include <kho/abi/arena.h>

#define SHIFT 12
#define BLOB 0x8000ULL
#define NODE_LO 0x10000ULL
#define NR_NODES 64ULL
#define SIZE (1ULL << 32)
#define A 0x40000000ULL
#define B 0x40200000ULL

struct setup {
	struct image image;
	struct khoc_radix tree[KHO_ABI_TYPES];
	struct khoc_types types;
	struct khoc_report report;
	u64 seen[NR_NODES / 64];
};

static struct kho_abi_types *blob(struct setup *s)
{
	return (struct kho_abi_types *)(s->image.bytes + BLOB);
}

static struct setup *setup(void)
{
	struct setup *s = shim_alloc(sizeof(*s));

	image_make(&s->image, SHIFT, SIZE, NODE_LO, NR_NODES, true);
	memcpy(s->image.bytes + BLOB, "KTYP\x01\0\0\0", 8);
	for (unsigned int type = 0; type < KHO_ABI_TYPES; type++) {
		if (!khoc_type_has_tree(type))
			continue;
		EXPECT_EQ(khoc_radix_init(&s->tree[type], &s->image.mem, SHIFT), 0);
		blob(s)->tree[type] = s->tree[type].root_pa;
	}
	return s;
}

static void teardown(struct setup *s)
{
	image_destroy(&s->image);
	shim_free(s);
}

static int open(struct setup *s, u64 pa, u64 size)
{
	memset(&s->report, 0xee, sizeof(s->report));
	return khoc_types_open(&s->types, &s->image.mem, SHIFT, pa, size, &s->report);
}

static int validate(struct setup *s)
{
	struct khoc_radix_check check = {0x200000, SIZE, s->seen};

	memset(s->seen, 0, sizeof(s->seen));
	return khoc_types_validate(&s->types, &check, &s->report);
}

TEST(read_back)
{
	struct setup *s = setup();

	EXPECT_EQ(khoc_radix_add(&s->tree[KHO_ABI_TYPE_PAGES], A, 3), 0);
	EXPECT_EQ(khoc_radix_add(&s->tree[KHO_ABI_TYPE_STRUCT], B, 0), 0);
	EXPECT_EQ(open(s, BLOB, sizeof(struct kho_abi_types)), 0);
	EXPECT_EQ(s->report.fault, 0);
	EXPECT_EQ(validate(s), 0);
	EXPECT_EQ(khoc_types_of(&s->types, A, 3), KHO_ABI_TYPE_PAGES);
	EXPECT_EQ(khoc_types_of(&s->types, B, 0), KHO_ABI_TYPE_STRUCT);
	/* Another order, another place. */
	EXPECT_EQ(khoc_types_of(&s->types, A, 2), KHO_ABI_TYPE_FOLIO);
	EXPECT_EQ(khoc_types_of(&s->types, B + 0x1000, 0), KHO_ABI_TYPE_FOLIO);
	/* A type that nobody used needs no tree; more bytes are a later writer's. */
	memset(blob(s)->tree, 0, sizeof(blob(s)->tree));
	EXPECT_EQ(open(s, BLOB, 4096), 0);
	EXPECT_EQ(validate(s), 0);
	EXPECT_EQ(khoc_types_of(&s->types, A, 3), KHO_ABI_TYPE_FOLIO);
	teardown(s);
}

static void refused(struct setup *s, int fault, u64 addr, u64 value, u64 limit, const char *field)
{
	EXPECT_EQ(open(s, BLOB, sizeof(struct kho_abi_types)), -fault);
	EXPECT_EQ(s->report.fault, fault);
	EXPECT_EQ(s->report.structure, KHOC_S_TYPES);
	EXPECT_EQ(s->report.level, -1);
	EXPECT_EQ(s->report.addr, addr);
	EXPECT_EQ(s->report.value, value);
	EXPECT_EQ(s->report.limit, limit);
	EXPECT_STR_EQ(s->report.field, field);
	EXPECT_EQ(khoc_types_open(&s->types, &s->image.mem, SHIFT, BLOB,
				  sizeof(struct kho_abi_types), NULL),
		  -fault);
}

TEST(what_can_be_wrong)
{
	struct setup *s = setup();

	EXPECT_EQ(open(s, BLOB, 135), -KHO_E_TRUNCATED);
	EXPECT_EQ(s->report.value, 135);
	EXPECT_EQ(open(s, SIZE - 8, 136), -KHO_E_RANGE);
	blob(s)->magic ^= 1;
	refused(s, KHO_E_MAGIC, BLOB, KHO_ABI_TYPES_MAGIC ^ 1, KHO_ABI_TYPES_MAGIC, "magic");
	blob(s)->magic ^= 1;
	blob(s)->version = 2;
	refused(s, KHO_E_VERSION, BLOB + 4, 2, 1, "version");
	blob(s)->version = 1;
	blob(s)->reserved = 3;
	refused(s, KHO_E_FORMAT, BLOB + 6, 3, 0, "reserved");
	blob(s)->reserved = 0;
	for (unsigned int type = 0; type < KHO_ABI_TYPES; type++) {
		u64 was = blob(s)->tree[type], at = BLOB + 8 + type * 8;

		if (!khoc_type_has_tree(type)) {
			blob(s)->tree[type] = NODE_LO;
			refused(s, KHO_E_FORMAT, at, NODE_LO, 0, "tree");
		} else {
			blob(s)->tree[type] = was + 8;
			refused(s, KHO_E_ALIGN, at, was + 8, SIZE, "tree");
			blob(s)->tree[type] = SIZE;
			refused(s, KHO_E_RANGE, at, SIZE, SIZE, "tree");
		}
		blob(s)->tree[type] = was;
	}
	EXPECT_EQ(open(s, BLOB, sizeof(struct kho_abi_types)), 0);
	teardown(s);
}

/* Trees are held against each other, too. */
TEST(trees_share_nothing)
{
	struct setup *s = setup();
	u64 *root;

	EXPECT_EQ(khoc_radix_add(&s->tree[KHO_ABI_TYPE_PAGES], A, 0), 0);
	EXPECT_EQ(khoc_radix_add(&s->tree[KHO_ABI_TYPE_SLAB], A, 0), 0);
	EXPECT_EQ(open(s, BLOB, sizeof(struct kho_abi_types)), 0);
	EXPECT_EQ(validate(s), 0);
	root = image_word(&s->image, s->tree[KHO_ABI_TYPE_PAGES].root_pa);
	memcpy(image_word(&s->image, s->tree[KHO_ABI_TYPE_SLAB].root_pa), root, 1 << SHIFT);
	EXPECT_EQ(validate(s), -KHO_E_CYCLE);
	EXPECT_EQ(s->report.structure, KHOC_S_RADIX_TABLE);
	blob(s)->tree[KHO_ABI_TYPE_SLAB] = blob(s)->tree[KHO_ABI_TYPE_PAGES];
	EXPECT_EQ(open(s, BLOB, sizeof(struct kho_abi_types)), 0);
	EXPECT_EQ(validate(s), -KHO_E_CYCLE);
	teardown(s);
}

TEST(numbers_and_names)
{
	EXPECT_EQ(KHO_ABI_TYPE_FOLIO, KHO_ABI_DESC_FOLIO);
	EXPECT_EQ(KHO_ABI_TYPE_PAGES, KHO_ABI_DESC_PAGES);
	EXPECT_EQ(KHO_ABI_TYPE_SLAB, KHO_ABI_DESC_SLAB);
	EXPECT_EQ(KHO_ABI_TYPE_STRUCT, KHO_ABI_DESC_STRUCT);
	EXPECT_EQ(KHO_ABI_TYPE_VMALLOC, KHO_ABI_DESC_VMALLOC);
	EXPECT_EQ(KHO_ABI_TYPE_VMALLOC_CHUNK, KHO_ABI_DESC_VMALLOC_CHUNK);
	EXPECT_STR_EQ(khoc_type_text(KHO_ABI_TYPE_FOLIO), "folio");
	EXPECT_STR_EQ(khoc_type_text(KHO_ABI_TYPE_VMALLOC_CHUNK), "vmalloc-chunk");
	EXPECT_STR_EQ(khoc_type_text(4), "unknown");
	EXPECT_STR_EQ(khoc_type_text(~0U), "unknown");
}

TEST_SUITE(block_types, TEST_CASE(read_back), TEST_CASE(what_can_be_wrong),
	   TEST_CASE(trees_share_nothing), TEST_CASE(numbers_and_names));
