/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Validation: every class of fault provoked once, with all that its report says. */
#include "image.h"

#define SHIFT 12
#define NODE_LO 0x10000ULL
#define NR_NODES 128ULL
#define NODE_HI (NODE_LO + (NR_NODES << SHIFT))
#define SIZE (1ULL << 30)
#define DATA_LO 0x200000ULL

struct setup {
	struct image image;
	struct khoc_radix tree;
	struct khoc_radix_check check;
	struct khoc_report report;
	u64 seen[NR_NODES / 64];
};

static struct setup *setup(void)
{
	struct setup *s = shim_alloc(sizeof(*s));

	image_make(&s->image, SHIFT, SIZE, NODE_LO, NR_NODES, true);
	EXPECT_EQ(khoc_radix_init(&s->tree, &s->image.mem, SHIFT), 0);
	s->check = (struct khoc_radix_check){DATA_LO, SIZE, s->seen};
	return s;
}

static void teardown(struct setup *s)
{
	image_destroy(&s->image);
	shim_free(s);
}

static int validate(struct setup *s)
{
	memset(s->seen, 0, sizeof(s->seen));
	memset(&s->report, 0xee, sizeof(s->report));
	return khoc_radix_validate(&s->tree, &s->check, &s->report);
}

static void expect(struct setup *s, int fault, int structure, int level, u64 addr, u64 value,
		   u64 limit, const char *field)
{
	EXPECT_EQ(validate(s), -fault);
	EXPECT_EQ(s->report.fault, fault);
	EXPECT_EQ(s->report.structure, structure);
	EXPECT_EQ(s->report.level, level);
	EXPECT_EQ(s->report.addr, addr);
	EXPECT_EQ(s->report.value, value);
	EXPECT_EQ(s->report.limit, limit);
	EXPECT_STR_EQ(s->report.field, field);
	/* The same without anybody to tell. */
	memset(s->seen, 0, sizeof(s->seen));
	EXPECT_EQ(khoc_radix_validate(&s->tree, &s->check, NULL), -fault);
}

/* Address of the word of the table of @level on the way to @key. */
static kho_pa_t word_of(struct setup *s, u64 key, unsigned int level)
{
	kho_pa_t pa = s->tree.root_pa;

	for (unsigned int l = 5;; l--) {
		kho_pa_t word = pa + 8 * (key >> (15 + 9 * (l - 1)) & 511);

		if (l == level)
			return word;
		pa = *image_word(&s->image, word);
	}
}

static kho_pa_t leaf_of(struct setup *s, u64 key)
{
	return *image_word(&s->image, word_of(s, key, 1));
}

static unsigned int nr_seen(struct setup *s)
{
	return khoc_popcount64(s->seen[0]) + khoc_popcount64(s->seen[1]);
}

TEST(sound_trees)
{
	struct setup *s = setup();

	EXPECT_EQ(validate(s), 0);
	EXPECT_EQ(s->report.fault, 0);
	EXPECT_EQ(s->report.structure, KHOC_S_NONE);
	EXPECT_STR_EQ(s->report.field, "");
	EXPECT_EQ(nr_seen(s), 1);
	for (unsigned int order = 0; order <= 28; order++) {
		kho_pa_t last = SIZE - (4096ULL << order);

		if (last >= DATA_LO && last < SIZE)
			EXPECT_EQ(khoc_radix_add(&s->tree, last, order), 0);
	}
	EXPECT_EQ(khoc_radix_add(&s->tree, DATA_LO, 0), 0);
	EXPECT_EQ(khoc_radix_add_range(&s->tree, DATA_LO, (SIZE - DATA_LO) >> 12, 0), 0);
	EXPECT_EQ(validate(s), 0);
	EXPECT_EQ(nr_seen(s), s->image.live);
	/* Every node that the tree has is marked as seen, and no other. */
	for (u64 i = 0; i < NR_NODES; i++)
		EXPECT_EQ(s->seen[i / 64] >> i % 64 & 1, s->image.used[i]);
	/* Empty nodes are sound. */
	EXPECT_EQ(khoc_radix_del_range(&s->tree, 0, SIZE >> 12, 0), 0);
	EXPECT_EQ(validate(s), 0);
	EXPECT_EQ(nr_seen(s), s->image.live);
	teardown(s);
}

TEST(misaligned_child_of_each_level)
{
	struct setup *s = setup();
	u64 key = khoc_key(SHIFT, DATA_LO, 0);

	EXPECT_EQ(khoc_radix_add(&s->tree, DATA_LO, 0), 0);
	for (unsigned int level = 1; level <= 5; level++) {
		kho_pa_t at = word_of(s, key, level);
		u64 was = *image_word(&s->image, at);

		*image_word(&s->image, at) = was + 8;
		expect(s, KHO_E_ALIGN, KHOC_S_RADIX_TABLE, (int)level, at, was + 8, 4096, "child");
		*image_word(&s->image, at) = was;
	}
	EXPECT_EQ(validate(s), 0);
	teardown(s);
}

TEST(child_outside_the_node_region)
{
	struct setup *s = setup();
	u64 key = khoc_key(SHIFT, DATA_LO, 0);

	EXPECT_EQ(khoc_radix_add(&s->tree, DATA_LO, 0), 0);
	for (unsigned int level = 1; level <= 5; level++) {
		kho_pa_t at = word_of(s, key, level);
		u64 was = *image_word(&s->image, at);

		*image_word(&s->image, at) = NODE_LO - 4096;
		expect(s, KHO_E_RANGE, KHOC_S_RADIX_TABLE, (int)level, at, NODE_LO - 4096, NODE_LO,
		       "child");
		*image_word(&s->image, at) = NODE_HI;
		expect(s, KHO_E_RANGE, KHOC_S_RADIX_TABLE, (int)level, at, NODE_HI, NODE_HI,
		       "child");
		*image_word(&s->image, at) = ~4095ULL;
		expect(s, KHO_E_RANGE, KHOC_S_RADIX_TABLE, (int)level, at, ~4095ULL, NODE_HI,
		       "child");
		*image_word(&s->image, at) = was;
	}
	teardown(s);
}

static void *refuse_map(void *ctx, kho_pa_t pa, size_t len)
{
	struct image *image = ctx;

	return pa == NODE_LO ? NULL : image->bytes + pa;
}

TEST(child_that_is_not_there)
{
	struct setup *s = setup();
	u64 key = khoc_key(SHIFT, DATA_LO, 0);
	kho_pa_t at;

	EXPECT_EQ(khoc_radix_add(&s->tree, DATA_LO, 0), 0);
	at = word_of(s, key, 1);
	*image_word(&s->image, at) = NODE_LO;
	s->image.mem.linear = NULL;
	s->image.ops.map = refuse_map;
	expect(s, KHO_E_RANGE, KHOC_S_RADIX_TABLE, 1, at, NODE_LO, SIZE, "child");
	teardown(s);
}

TEST(root_outside)
{
	struct setup *s = setup();

	s->tree.root_pa = 8;
	expect(s, KHO_E_ALIGN, KHOC_S_RADIX_TABLE, 6, 8, 8, 4096, "root");
	s->tree.root_pa = NODE_HI;
	expect(s, KHO_E_RANGE, KHOC_S_RADIX_TABLE, 6, NODE_HI, NODE_HI, NODE_HI, "root");
	teardown(s);
}

TEST(node_reached_twice)
{
	struct setup *s = setup();
	u64 key = khoc_key(SHIFT, DATA_LO, 0);

	EXPECT_EQ(khoc_radix_add(&s->tree, DATA_LO, 0), 0);
	/* Loops: a word of each level leads back to the root, or to its own table. */
	for (unsigned int level = 1; level <= 5; level++) {
		kho_pa_t at = word_of(s, key, level);
		u64 was = *image_word(&s->image, at);

		*image_word(&s->image, at) = s->tree.root_pa;
		expect(s, KHO_E_CYCLE, KHOC_S_RADIX_TABLE, (int)level, at, s->tree.root_pa, 0,
		       "child");
		*image_word(&s->image, at) = at & ~4095ULL;
		expect(s, KHO_E_CYCLE, KHOC_S_RADIX_TABLE, (int)level, at, at & ~4095ULL, 0,
		       "child");
		*image_word(&s->image, at) = was;
	}
	/* Two parents: the neighbour of a leaf's word names the same leaf. */
	for (unsigned int level = 1; level <= 4; level++) {
		kho_pa_t at = word_of(s, key, level);
		u64 child = *image_word(&s->image, at);

		*image_word(&s->image, at + 8) = child;
		expect(s, KHO_E_CYCLE, KHOC_S_RADIX_TABLE, (int)level, at + 8, child, 0, "child");
		*image_word(&s->image, at + 8) = 0;
	}
	EXPECT_EQ(validate(s), 0);
	teardown(s);
}

TEST(index_above_order_0)
{
	struct setup *s = setup();

	/* Keys end below 2^53; a word of the root covers 2^51. */
	for (u64 index = 4; index < 512; index++) {
		kho_pa_t at = s->tree.root_pa + 8 * index;

		*image_word(&s->image, at) = NODE_LO;
		expect(s, KHO_E_KEY, KHOC_S_RADIX_TABLE, 5, at, index << 51, 1ULL << 53, "index");
		*image_word(&s->image, at) = 0;
	}
	teardown(s);
}

/* Set one bit in the leaf of large orders, keys 0 to 32767. */
static void low_key(struct setup *s, u64 key, u64 addr_of_word)
{
	u8 *leaf = (u8 *)image_word(&s->image, leaf_of(s, 0));

	leaf[key / 8] ^= (u8)(1 << key % 8);
	expect(s, KHO_E_KEY, KHOC_S_RADIX_LEAF, 0, leaf_of(s, 0) + addr_of_word, key, SIZE, "key");
	leaf[key / 8] ^= (u8)(1 << key % 8);
}

TEST(keys_without_a_block)
{
	struct setup *s = setup();
	kho_pa_t leaf;

	/* Makes the tables of the leaf of keys 0 to 32767: orders 38 and up. */
	s->image.mem.size = 1ULL << 63;
	EXPECT_EQ(khoc_radix_add(&s->tree, 0, 40), 0);
	EXPECT_EQ(khoc_radix_del(&s->tree, 0, 40), 0);
	s->image.mem.size = SIZE;
	EXPECT_EQ(validate(s), 0);
	low_key(s, 0, 0); /* no order bit */
	low_key(s, 1, 0); /* a block of 2^64 bytes */
	low_key(s, 2, 0); /* address 0, larger than the image */
	low_key(s, 3, 0);
	low_key(s, 100, 8);
	low_key(s, 32767, 4088);
	/* The first block of order 0 behind the image. */
	EXPECT_EQ(khoc_radix_add(&s->tree, SIZE - 4096, 0), 0);
	s->image.mem.size = SIZE - 4096;
	leaf = leaf_of(s, khoc_key(SHIFT, SIZE - 4096, 0));
	expect(s, KHO_E_KEY, KHOC_S_RADIX_LEAF, 0, leaf + 4088, 0x1000000003ffff, SIZE - 4096,
	       "key");
	teardown(s);
}

TEST(blocks_outside_the_data_region)
{
	struct setup *s = setup();
	u64 key = khoc_key(SHIFT, DATA_LO - 4096, 0);

	EXPECT_EQ(khoc_radix_add(&s->tree, DATA_LO - 4096, 0), 0);
	expect(s, KHO_E_OVERLAP, KHOC_S_RADIX_LEAF, 0, leaf_of(s, key) + 8 * (511 / 64),
	       DATA_LO - 4096, DATA_LO, "block");
	EXPECT_EQ(khoc_radix_del(&s->tree, DATA_LO - 4096, 0), 0);
	EXPECT_EQ(khoc_radix_add(&s->tree, DATA_LO, 0), 0);
	EXPECT_EQ(validate(s), 0);
	/* A block that begins before the region and ends in it. */
	EXPECT_EQ(khoc_radix_add(&s->tree, 0, 10), 0);
	expect(s, KHO_E_OVERLAP, KHOC_S_RADIX_LEAF, 0, leaf_of(s, khoc_key(SHIFT, 0, 10)), 0,
	       DATA_LO, "block");
	EXPECT_EQ(khoc_radix_del(&s->tree, 0, 10), 0);
	/* And one that ends behind it: pages 16 to 31 of the last 32, when the last 8 are not data. */
	s->check.data_hi = SIZE - 0x8000;
	EXPECT_EQ(khoc_radix_add(&s->tree, SIZE - 0x10000, 4), 0);
	key = khoc_key(SHIFT, SIZE - 0x10000, 4);
	expect(s, KHO_E_OVERLAP, KHOC_S_RADIX_LEAF, 0, leaf_of(s, key) + (key % 32768) / 64 * 8,
	       SIZE, SIZE - 0x8000, "block");
	EXPECT_EQ(khoc_radix_del(&s->tree, SIZE - 0x10000, 4), 0);
	EXPECT_EQ(khoc_radix_add(&s->tree, SIZE - 0x10000, 3), 0);
	EXPECT_EQ(validate(s), 0);
	teardown(s);
}

/*
 * Bit by bit: in trees of all page sizes each single bit of a lone leaf is judged as the
 * definition of a key says.
 */
TEST(every_bit_of_a_leaf)
{
	static const unsigned int shifts[] = {6, 12, 14, 16};

	for (size_t i = 0; i < ARRAY_LEN(shifts); i++) {
		unsigned int shift = shifts[i];
		u64 bits = 8ULL << shift, size = 3ULL << (shift + 20), step = bits / 512;
		u64 lo = 5ULL << shift, hi = size - (7ULL << shift);
		u64 keys[] = {0, khoc_key(shift, 0, 0), khoc_key(shift, size - 1, 0),
			      khoc_key(shift, 0, 9), khoc_key(shift, 0, 30)};

		for (size_t k = 0; k < ARRAY_LEN(keys); k++) {
			unsigned int depth = kho_abi_radix_depth(shift);
			struct khoc_radix_check check = {lo, hi, NULL};
			struct khoc_radix tree;
			struct khoc_block b;
			struct image image;
			kho_pa_t pa;

			image_make(&image, shift, size, 16ULL << shift, 64, false);
			EXPECT_EQ(khoc_radix_init(&tree, &image.mem, shift), 0);
			pa = tree.root_pa;
			for (unsigned int l = depth - 1; l; l--) {
				u64 span = shift + 3 + (l - 1) * (shift - 3);
				u64 index = keys[k] >> span & ((1ULL << (shift - 3)) - 1);
				kho_pa_t child = image_node(&image);

				*image_word(&image, pa + 8 * index) = child;
				pa = child;
			}
			for (u64 bit = 0; bit < bits;
			     bit += bit < 64 || bits - bit < 64 ? 1 : step) {
				u64 key = (keys[k] & ~(bits - 1)) + bit, seen = 0;
				int want = 0;

				if (khoc_key_decode(shift, key, &b) ||
				    b.order > khoc_max_order(shift) || b.pa > size ||
				    1ULL << (shift + b.order) > size - b.pa)
					want = -KHO_E_KEY;
				else if (b.pa < lo || b.pa + (1ULL << (shift + b.order)) > hi)
					want = -KHO_E_OVERLAP;
				image.bytes[pa + bit / 8] = (char)(1 << bit % 8);
				check.seen = &seen;
				EXPECT_EQ(khoc_radix_validate(&tree, &check, NULL), want);
				image.bytes[pa + bit / 8] = 0;
			}
			image_destroy(&image);
		}
	}
}

TEST_SUITE(validate, TEST_CASE(sound_trees), TEST_CASE(misaligned_child_of_each_level),
	   TEST_CASE(child_outside_the_node_region), TEST_CASE(child_that_is_not_there),
	   TEST_CASE(root_outside), TEST_CASE(node_reached_twice), TEST_CASE(index_above_order_0),
	   TEST_CASE(keys_without_a_block), TEST_CASE(blocks_outside_the_data_region),
	   TEST_CASE(every_bit_of_a_leaf));
