/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Block chains that somebody else wrote: bytes put down by hand, as Linux 7.2 lays them, read back;
 * and each thing that can be wrong with them, with all that the report says.
 */
#include "image.h"

#define BASE 0x100000ULL
#define NR_PAGES 64ULL

/* A page of an image, by number. */
struct setup {
	struct image image;
	struct khoc_block_chain chain;
	unsigned int shift;
};

static void setup(struct setup *s, unsigned int shift, u64 entry_size)
{
	s->shift = shift;
	image_make(&s->image, shift, BASE + (NR_PAGES << shift), BASE, NR_PAGES, true);
	s->chain = (struct khoc_block_chain){&s->image.mem, shift, entry_size, 0, 0x40};
}

static kho_pa_t page(const struct setup *s, u64 n)
{
	return BASE + (n << s->shift);
}

/* @len bytes at @pa, one by one. */
static void put(struct setup *s, kho_pa_t pa, const char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		s->image.bytes[pa + i] = bytes[i];
}

static void put64(struct setup *s, kho_pa_t pa, u64 value)
{
	for (int i = 0; i < 8; i++)
		s->image.bytes[pa + i] = (char)(value >> 8 * i);
}

/* The block on page @n: its header, and records whose bytes are their number in all. */
static void put_block(struct setup *s, u64 n, kho_pa_t next, u64 count, u64 first)
{
	put64(s, page(s, n), next);
	put64(s, page(s, n) + 8, count);
	for (u64 i = 0; i < count; i++)
		for (u64 at = 0; at < s->chain.entry_size; at++)
			s->image.bytes[page(s, n) + 16 + i * s->chain.entry_size + at] =
				(char)(first + i);
}

static void expect(struct setup *s, int fault, u64 addr, u64 value, u64 limit, const char *field)
{
	struct khoc_report r;

	memset(&r, 0xee, sizeof(r));
	EXPECT_EQ(khoc_block_check(&s->chain, NULL, NULL, &r), -fault);
	EXPECT_EQ(r.fault, fault);
	EXPECT_EQ(r.structure, KHOC_S_BLOCK);
	EXPECT_EQ(r.level, -1);
	EXPECT_EQ(r.addr, addr);
	EXPECT_EQ(r.value, value);
	EXPECT_EQ(r.limit, limit);
	EXPECT_STR_EQ(r.field, field);
	EXPECT_EQ(khoc_block_check(&s->chain, NULL, NULL, NULL), -fault);
}

/* Everything that can be read, without a check before: it ends, and gives what is in the image. */
static u64 read_all(struct setup *s, int *err)
{
	struct khoc_block_it it;
	const u8 *entry;
	u64 nr = 0;

	khoc_block_it_init_read(&it, &s->chain);
	while ((entry = khoc_block_it_read(&it))) {
		EXPECT(entry == (u8 *)s->image.bytes + khoc_block_it_pa(&it));
		nr++;
	}
	EXPECT(!khoc_block_it_read(&it));
	*err = khoc_block_it_error(&it, NULL);
	return nr;
}

static void expect_records(struct setup *s, u64 nr)
{
	struct khoc_block_counts counts;
	struct khoc_report report;
	struct khoc_block_it it;

	EXPECT_EQ(khoc_block_check(&s->chain, NULL, &counts, &report), 0);
	EXPECT_EQ(report.fault, 0);
	EXPECT_EQ(counts.entries, nr);
	khoc_block_it_init_read(&it, &s->chain);
	for (u64 i = 0; i < nr; i++) {
		const u8 *entry = khoc_block_it_read(&it);

		EXPECT(entry);
		for (u64 at = 0; at < s->chain.entry_size; at++)
			EXPECT_EQ(entry[at], (u8)i);
	}
	EXPECT(!khoc_block_it_read(&it));
	EXPECT_EQ(khoc_block_it_error(&it, &report), 0);
	EXPECT_EQ(report.fault, 0);
}

/*
 * Two blocks of 64 bytes: four records of 12 fill the first, the second has one. Every byte is
 * here.
 */
TEST(bytes_by_hand)
{
	static const char first[] = "\x80\x01\x10\0\0\0\0\0\x04\0\0\0\0\0\0\0"
				    "aaaaaaaaaaaabbbbbbbbbbbbccccccccccccdddddddddddd";
	static const char second[] = "\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0"
				     "eeeeeeeeeeee................";
	struct khoc_block_counts counts;
	struct khoc_block_it it;
	char text[6] = "";
	struct setup s;

	setup(&s, 6, 12);
	put(&s, 0x100040, first, 64);
	put(&s, 0x100180, second, 44);
	s.chain.head = 0x100040;
	EXPECT_EQ(khoc_block_check(&s.chain, NULL, &counts, NULL), 0);
	EXPECT_EQ(counts.blocks, 2);
	EXPECT_EQ(counts.entries, 5);
	EXPECT_EQ(counts.tail, 0x100180);
	khoc_block_it_init_read(&it, &s.chain);
	for (int i = 0; i < 5; i++) {
		const char *entry = khoc_block_it_read(&it);

		EXPECT_EQ(khoc_block_it_pa(&it), i < 4 ? 0x100050ULL + 12ULL * i : 0x100190ULL);
		EXPECT_EQ(entry[0], entry[11]);
		text[i] = entry[0];
	}
	EXPECT_STR_EQ(text, "abcde");
	EXPECT(!khoc_block_it_read(&it));
	image_destroy(&s.image);
}

/* What one block holds is what Linux 7.2 says for its own records. */
TEST(records_in_a_block)
{
	EXPECT_EQ(kho_abi_block_entries(12, 80), 51);
	EXPECT_EQ(kho_abi_block_entries(12, 64), 63);
	EXPECT_EQ(kho_abi_block_entries(12, 32), 127);
	EXPECT_EQ(kho_abi_block_entries(14, 80), 204);
	EXPECT_EQ(kho_abi_block_entries(16, 64), 1023);
	EXPECT_EQ(kho_abi_block_entries(6, 48), 1);
	EXPECT_EQ(kho_abi_block_entries(6, 49), 0);
}

TEST(chains_of_every_page_size)
{
	static const unsigned int shifts[] = {6, 7, 12, 14, 16};

	for (size_t i = 0; i < ARRAY_LEN(shifts); i++) {
		static const u64 sizes[] = {1, 8, 13, 48};

		for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
			struct setup s;
			u64 full;

			setup(&s, shifts[i], sizes[k]);
			full = kho_abi_block_entries(shifts[i], sizes[k]);
			expect_records(&s, 0);
			s.chain.head = page(&s, 9);
			put_block(&s, 9, 0, full, 0);
			expect_records(&s, full);
			put_block(&s, 9, page(&s, 3), full, 0);
			put_block(&s, 3, page(&s, 63), full, full);
			put_block(&s, 63, 0, 1, 2 * full);
			expect_records(&s, 2 * full + 1);
			/* Linux takes a block that is not full in the middle. So do we. */
			put_block(&s, 9, page(&s, 3), 1, 0);
			put_block(&s, 3, page(&s, 63), full, 1);
			put_block(&s, 63, 0, full, full + 1);
			expect_records(&s, 2 * full + 1);
			/* Empty blocks at the end, which Linux 7.2 can write and does not read. */
			put_block(&s, 63, 0, 0, 0);
			expect_records(&s, full + 1);
			put_block(&s, 3, page(&s, 63), 0, 0);
			expect_records(&s, 1);
			put_block(&s, 9, page(&s, 3), 0, 0);
			expect_records(&s, 0);
			image_destroy(&s.image);
		}
	}
}

TEST(sizes_that_cannot_be)
{
	static const struct {
		unsigned int shift;
		u64 entry_size;
	} bad[] = {{12, 0}, {12, 4081}, {6, 49}, {5, 8}, {17, 8}, {0, 8}, {64, 8}, {12, ~0ULL}};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct khoc_block_counts counts;
		struct khoc_block_set set;
		struct khoc_block_it it;
		struct setup s;
		u64 slot = 0;

		setup(&s, 12, 8);
		put_block(&s, 1, 0, 1, 0);
		s.chain.head = page(&s, 1);
		s.chain.shift = bad[i].shift;
		s.chain.entry_size = bad[i].entry_size;
		EXPECT_EQ(khoc_block_check(&s.chain, NULL, &counts, NULL), -EINVAL);
		khoc_block_it_init_read(&it, &s.chain);
		EXPECT(!khoc_block_it_read(&it));
		EXPECT_EQ(khoc_block_set_init(&set, &s.image.mem, bad[i].shift, &slot,
					      bad[i].entry_size),
			  -EINVAL);
		image_destroy(&s.image);
	}
}

TEST(addresses_that_cannot_be)
{
	struct setup s;
	u64 size;

	setup(&s, 12, 80);
	size = s.image.mem.size;
	s.chain.head = page(&s, 5) + 8;
	expect(&s, KHO_E_ALIGN, 0x40, page(&s, 5) + 8, 4096, "head");
	s.chain.head = size;
	expect(&s, KHO_E_RANGE, 0x40, size, size, "head");
	s.chain.head = ~0xfffULL;
	expect(&s, KHO_E_RANGE, 0x40, ~0xfffULL, size, "head");
	s.chain.head = page(&s, 5);
	put_block(&s, 5, page(&s, 6), 51, 0);
	put_block(&s, 6, page(&s, 7) + 1, 51, 51);
	expect(&s, KHO_E_ALIGN, page(&s, 6), page(&s, 7) + 1, 4096, "next");
	put64(&s, page(&s, 6), size);
	expect(&s, KHO_E_RANGE, page(&s, 6), size, size, "next");
	put64(&s, page(&s, 6), 1ULL << 63);
	expect(&s, KHO_E_RANGE, page(&s, 6), 1ULL << 63, size, "next");
	/* The last page of an image that ends in the middle of it. */
	s.image.mem.size = size - 1;
	put64(&s, page(&s, 6), page(&s, 63));
	expect(&s, KHO_E_RANGE, page(&s, 6), page(&s, 63), size - 1, "next");
	image_destroy(&s.image);
}

/* A reader that was not told of the fault meets it, and stops with the same. */
TEST(a_reader_stops_at_a_fault)
{
	struct khoc_report report;
	struct khoc_block_it it;
	struct setup s;
	int err;

	setup(&s, 12, 80);
	s.chain.head = page(&s, 5);
	put_block(&s, 5, page(&s, 6), 51, 0);
	put_block(&s, 6, page(&s, 7) + 1, 51, 51);
	EXPECT_EQ(read_all(&s, &err), 102);
	EXPECT_EQ(err, -KHO_E_ALIGN);
	put_block(&s, 6, page(&s, 7), 52, 51);
	EXPECT_EQ(read_all(&s, &err), 51);
	EXPECT_EQ(err, -KHO_E_RANGE);
	s.chain.head = 1;
	khoc_block_it_init_read(&it, &s.chain);
	EXPECT(!khoc_block_it_read(&it));
	EXPECT_EQ(khoc_block_it_error(&it, &report), -KHO_E_ALIGN);
	EXPECT_EQ(report.addr, 0x40);
	EXPECT_EQ(report.value, 1);
	EXPECT_STR_EQ(report.field, "head");
	EXPECT(!khoc_block_it_prev(&it));
	/* A chain that is read cannot be written. */
	s.chain.head = page(&s, 5);
	khoc_block_it_init_read(&it, &s.chain);
	EXPECT(!khoc_block_it_reserve(&it));
	EXPECT_EQ(khoc_block_it_append(&it, "x"), -EINVAL);
	EXPECT_EQ(khoc_block_it_pop(&it), -EINVAL);
	image_destroy(&s.image);
}

TEST(counts_that_cannot_be)
{
	struct khoc_block_counts counts;
	struct setup s;

	setup(&s, 12, 80);
	s.chain.head = page(&s, 5);
	put_block(&s, 5, page(&s, 6), 51, 0);
	put_block(&s, 6, 0, 51, 51);
	put64(&s, page(&s, 6) + 8, 52);
	expect(&s, KHO_E_RANGE, page(&s, 6) + 8, 52, 51, "count");
	put64(&s, page(&s, 6) + 8, ~0ULL);
	expect(&s, KHO_E_RANGE, page(&s, 6) + 8, ~0ULL, 51, "count");
	EXPECT_EQ(khoc_block_check(&s.chain, NULL, &counts, NULL), -KHO_E_RANGE);
	/* What was counted up to there. */
	EXPECT_EQ(counts.blocks, 1);
	EXPECT_EQ(counts.entries, 51);
	EXPECT_EQ(counts.tail, page(&s, 5));
	/* Nothing, and then something. */
	put64(&s, page(&s, 5) + 8, 0);
	put64(&s, page(&s, 6) + 8, 1);
	expect(&s, KHO_E_FORMAT, page(&s, 5) + 8, 0, 0, "count");
	put64(&s, page(&s, 6), page(&s, 7));
	put64(&s, page(&s, 6) + 8, 0);
	put_block(&s, 7, 0, 1, 0);
	expect(&s, KHO_E_FORMAT, page(&s, 5) + 8, 0, 0, "count");
	image_destroy(&s.image);
}

/* Loops of every length, entered after every number of blocks: the word that closes it is named. */
TEST(loops)
{
	struct setup s;
	int err;

	setup(&s, 12, 4080);
	for (u64 lead = 0; lead < 20; lead++)
		for (u64 length = 1; length < 20; length++) {
			u64 nr = lead + length;

			for (u64 i = 0; i < nr; i++)
				put_block(&s, i, page(&s, i + 1 < nr ? i + 1 : lead), 1, 0);
			s.chain.head = page(&s, 0);
			expect(&s, KHO_E_CYCLE, page(&s, nr - 1), page(&s, lead), 0, "next");
			EXPECT_EQ(read_all(&s, &err), KHO_ABI_BLOCKS_MAX);
			EXPECT_EQ(err, -KHO_E_RANGE);
		}
	image_destroy(&s.image);
}

/* 10,000 blocks, and one more. */
TEST(as_many_as_linux_allows)
{
	struct khoc_block_chain chain = {NULL, 6, 48, BASE, 0};
	struct khoc_block_counts counts;
	struct khoc_report report;
	struct image image;

	image_make(&image, 6, BASE + (10001ULL << 6), BASE, 10001, true);
	chain.mem = &image.mem;
	for (u64 i = 0; i < 10001; i++) {
		*image_word(&image, BASE + (i << 6)) = i < 9999 ? BASE + ((i + 1) << 6) : 0;
		*image_word(&image, BASE + (i << 6) + 8) = 1;
	}
	EXPECT_EQ(khoc_block_check(&chain, NULL, &counts, &report), 0);
	EXPECT_EQ(counts.blocks, 10000);
	*image_word(&image, BASE + (9999ULL << 6)) = BASE + (10000ULL << 6);
	EXPECT_EQ(khoc_block_check(&chain, NULL, &counts, &report), -KHO_E_RANGE);
	EXPECT_EQ(report.addr, BASE + (9999ULL << 6));
	EXPECT_EQ(report.value, BASE + (10000ULL << 6));
	EXPECT_EQ(report.limit, 10000);
	EXPECT_STR_EQ(report.field, "blocks");
	EXPECT_EQ(counts.blocks, 10000);
	image_destroy(&image);
}

TEST(blocks_that_nobody_preserved)
{
	struct khoc_block_counts counts;
	struct khoc_report report;
	struct khoc_radix tree;
	struct image nodes;
	struct setup s;

	setup(&s, 12, 8);
	image_make(&nodes, 12, 1ULL << 30, 0x10000, 64, true);
	EXPECT_EQ(khoc_radix_init(&tree, &nodes.mem, 12), 0);
	put_block(&s, 2, page(&s, 4), 3, 0);
	put_block(&s, 4, 0, 3, 3);
	s.chain.head = page(&s, 2);
	EXPECT_EQ(khoc_radix_add(&tree, page(&s, 2), 0), 0);
	EXPECT_EQ(khoc_block_check(&s.chain, &tree, &counts, &report), -KHO_E_NOT_PRESERVED);
	EXPECT_EQ(report.structure, KHOC_S_BLOCK);
	EXPECT_EQ(report.addr, page(&s, 4));
	EXPECT_STR_EQ(report.field, "block");
	/* As part of something larger is as good. */
	EXPECT_EQ(khoc_radix_add(&tree, page(&s, 4), 2), 0);
	EXPECT_EQ(khoc_block_check(&s.chain, &tree, &counts, &report), 0);
	image_destroy(&nodes);
	image_destroy(&s.image);
}

/* A set that is refused stays empty, and what it was to take over stays as it was. */
TEST(restore)
{
	struct khoc_report report;
	struct khoc_block_set set;
	struct khoc_block_it it;
	struct setup s;
	u64 slot, nr = 0;

	setup(&s, 12, 80);
	put_block(&s, 5, page(&s, 6), 51, 0);
	put_block(&s, 6, 0, 52, 51);
	slot = page(&s, 5);
	EXPECT_EQ(khoc_block_set_init(&set, &s.image.mem, 12, &slot, 80), 0);
	EXPECT(khoc_block_set_is_empty(&set));
	EXPECT_EQ(khoc_block_set_restore(&set, NULL, &report), -KHO_E_RANGE);
	EXPECT_EQ(report.value, 52);
	EXPECT(khoc_block_set_is_empty(&set));
	EXPECT_EQ(slot, page(&s, 5));
	put64(&s, page(&s, 6) + 8, 0);
	EXPECT_EQ(khoc_block_set_restore(&set, NULL, &report), 0);
	EXPECT_EQ(khoc_block_set_head_pa(&set), page(&s, 5));
	khoc_block_it_init(&it, &set);
	while (khoc_block_it_read(&it))
		nr++;
	EXPECT_EQ(nr, 51);
	image_destroy(&s.image);
}

TEST_SUITE(block, TEST_CASE(bytes_by_hand), TEST_CASE(records_in_a_block),
	   TEST_CASE(chains_of_every_page_size), TEST_CASE(sizes_that_cannot_be),
	   TEST_CASE(addresses_that_cannot_be), TEST_CASE(a_reader_stops_at_a_fault),
	   TEST_CASE(counts_that_cannot_be), TEST_CASE(loops), TEST_CASE(as_many_as_linux_allows),
	   TEST_CASE(blocks_that_nobody_preserved), TEST_CASE(restore));
