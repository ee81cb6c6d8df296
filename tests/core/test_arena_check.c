/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The arena header: geometry worked by hand, and every field wrong once with its exact report. */
#include "image.h"

#define GIB (1ULL << 30)
#define MIB (1ULL << 20)

TEST(geometry_worked_by_hand)
{
	/*
	 * Nodes: 226 pages and 2 per 128 MiB begun, from 0x40000 on. Descriptors: 2 bytes per
	 * page. Then up to 2 MiB, or to 64 KiB below 128 MiB.
	 */
	static const struct {
		u64 max_size, descs_pa, data_pa;
	} want[] = {
		/* 228 pages: 0xe4000; 320 pages need 640 bytes */
		{0x140000, 0x124000, 0x130000},
		{4 * MIB, 0x124000, 0x130000},
		/* 32767 pages need 0xfffe bytes */
		{128 * MIB - 4096, 0x124000, 0x140000},
		{128 * MIB, 0x124000, 0x200000},
		/* 12 GiB: 96 leaves, 418 pages: 0x1a2000; 0x300000 pages need 0x600000 bytes */
		{12 * GIB, 0x1e2000, 0x800000},
		/* 256 GiB: 2048 leaves, 4322 pages: 0x10e2000; 0x4000000 pages need 0x8000000 bytes */
		{256 * GIB, 0x1122000, 0x9200000},
	};

	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		struct kho_abi_arena_header h;

		memset(&h, 0xee, sizeof(h));
		EXPECT_EQ(khoc_arena_geometry(want[i].max_size, &h), 0);
		EXPECT_EQ(h.max_size, want[i].max_size);
		EXPECT_EQ(h.nodes_pa, 0x40000);
		EXPECT_EQ(h.tree_root_pa, 0x40000);
		EXPECT_EQ(h.descs_pa, want[i].descs_pa);
		EXPECT_EQ(h.data_pa, want[i].data_pa);
		/* It touches nothing else. */
		EXPECT_EQ(h.base, 0xeeeeeeeeeeeeeeee);
		EXPECT_EQ(h.magic, 0xeeeeeeeeeeeeeeee);
	}
}

TEST(sizes_that_are_refused)
{
	static const u64 bad[] = {
		0,
		1,
		4096,
		0x13f000,
		0x140000 - 4096,
		4 * MIB + 1,
		4 * MIB + 512,
		128 * MIB + 4096,
		129 * MIB,
		GIB + 64 * MIB,
		1ULL << 48,
		1ULL << 63,
		~0ULL,
		~0ULL << 27,
	};
	struct kho_abi_arena_header h;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		EXPECT_EQ(khoc_arena_geometry(bad[i], &h), -EINVAL);
	EXPECT_EQ(khoc_arena_geometry(1ULL << 47, &h), 0);
}

/* The node region holds all nodes of a tree of one leaf in each section and one of each other order. */
TEST(nodes_are_enough)
{
	static const u64 sizes[] = {128 * MIB, GIB, 12 * GIB};

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct kho_abi_arena_header h;
		struct khoc_radix tree;
		struct image image;

		EXPECT_EQ(khoc_arena_geometry(sizes[i], &h), 0);
		image_make(&image, 12, sizes[i], h.nodes_pa, (h.descs_pa - h.nodes_pa) / 4096,
			   true);
		EXPECT_EQ(khoc_radix_init(&tree, &image.mem, 12), 0);
		for (u64 pa = 0; pa < sizes[i]; pa += 4096)
			if (pa % (128 * MIB) < 65536)
				EXPECT_EQ(khoc_radix_add(&tree, pa, 0), 0);
		for (unsigned int order = 1; 4096ULL << order <= sizes[i]; order++)
			EXPECT_EQ(khoc_radix_add_range(&tree, 0, sizes[i] >> (12 + order), order),
				  0);
		khoc_radix_destroy(&tree);
		image_destroy(&image);
	}
}

static void seal(struct kho_abi_arena_header *h)
{
	h->crc = khoc_crc32c(0, h, 124);
}

static void good(struct kho_abi_arena_header *h)
{
	memset(h, 0, sizeof(*h));
	EXPECT_EQ(khoc_arena_geometry(12 * GIB, h), 0);
	h->magic = 0x414e455241204f4b;
	h->header_size = 152;
	h->version = 1;
	h->page_shift = 12;
	memset(h->id, 0x5a, sizeof(h->id));
	h->base = 0x550000000000;
	h->root_fdt = khoc_cword(0x2000, 128);
	h->generation = khoc_cword(7, 136);
	h->state = khoc_cword(KHO_ABI_STATE_RUNNING, 144);
	seal(h);
}

#define FILE_SIZE (16 * MIB)

static void expect(const struct kho_abi_arena_header *h, u64 file_size, int fault, u64 addr,
		   u64 value, u64 limit, const char *field)
{
	struct khoc_report report;

	memset(&report, 0xee, sizeof(report));
	EXPECT_EQ(khoc_arena_check(h, sizeof(*h), file_size, &report), -fault);
	EXPECT_EQ(report.fault, fault);
	EXPECT_STR_EQ(report.field, field);
	EXPECT_EQ(report.structure, KHOC_S_ARENA_HEADER);
	EXPECT_EQ(report.level, -1);
	EXPECT_EQ(report.addr, addr);
	EXPECT_EQ(report.value, value);
	EXPECT_EQ(report.limit, limit);
	EXPECT_EQ(khoc_arena_check(h, sizeof(*h), file_size, NULL), -fault);
}

TEST(good_ones_pass)
{
	struct kho_abi_arena_header h;
	struct khoc_report report;

	good(&h);
	EXPECT_EQ(khoc_arena_check(&h, sizeof(h), FILE_SIZE, &report), 0);
	EXPECT_EQ(report.fault, 0);
	EXPECT_EQ(khoc_arena_check(&h, 4096, h.max_size, NULL), 0);
	EXPECT_EQ(khoc_arena_check(&h, 4096, h.data_pa, NULL), 0);
	/* The other slot, each state, and features that may be ignored or forbid writing only. */
	h.root_fdt = khoc_cword(0x12000, 128);
	for (u64 s = 1; s <= 4; s++) {
		h.state = khoc_cword(s, 144);
		EXPECT_EQ(khoc_arena_check(&h, sizeof(h), FILE_SIZE, NULL), 0);
	}
	h.features_compat = ~0ULL;
	h.features_ro_compat = ~0ULL;
	h.header_size = 4096;
	seal(&h);
	EXPECT_EQ(khoc_arena_check(&h, sizeof(h), FILE_SIZE, NULL), 0);
}

TEST(too_short)
{
	struct kho_abi_arena_header h;
	struct khoc_report report;

	good(&h);
	for (size_t len = 0; len < sizeof(h); len++) {
		EXPECT_EQ(khoc_arena_check(&h, len, FILE_SIZE, &report), -KHO_E_TRUNCATED);
		EXPECT_EQ(report.value, len);
		EXPECT_EQ(report.limit, 152);
		EXPECT_STR_EQ(report.field, "header");
	}
}

/* One field set to a wrong value; the checksum is right unless the field itself comes before it. */
#define WRONG(f, wrong, fault, limit)                                                              \
	do {                                                                                       \
		good(&h);                                                                          \
		h.f = (wrong);                                                                     \
		seal(&h);                                                                          \
		expect(&h, FILE_SIZE, fault, offsetof(struct kho_abi_arena_header, f), (wrong),    \
		       limit, #f);                                                                 \
	} while (0)

TEST(each_field_wrong)
{
	struct kho_abi_arena_header h;

	WRONG(magic, 0x414e455241204f4a, KHO_E_MAGIC, 0x414e455241204f4b);
	WRONG(header_size, 151, KHO_E_RANGE, 152);
	WRONG(header_size, 0, KHO_E_RANGE, 152);
	WRONG(header_size, 4097, KHO_E_RANGE, 4096);
	WRONG(version, 0, KHO_E_VERSION, 1);
	WRONG(version, 2, KHO_E_VERSION, 1);
	WRONG(features_incompat, 1, KHO_E_VERSION, 0);
	WRONG(features_incompat, 1ULL << 63, KHO_E_VERSION, 0);
	WRONG(page_shift, 14, KHO_E_INCOMPATIBLE, 12);
	WRONG(pad, 1, KHO_E_FORMAT, 0);
	WRONG(max_size, 12 * GIB + 4096, KHO_E_RANGE, 1ULL << 47);
	WRONG(max_size, 0, KHO_E_RANGE, 1ULL << 47);
	WRONG(max_size, ~0ULL, KHO_E_RANGE, 1ULL << 47);
	WRONG(base, 0x550000000800, KHO_E_ALIGN, 4096);
	WRONG(base, 0, KHO_E_RANGE, 1ULL << 47);
	WRONG(base, (1ULL << 47) - 12 * GIB + 4096, KHO_E_RANGE, 1ULL << 47);
	WRONG(base, ~4095ULL, KHO_E_RANGE, 1ULL << 47);
	WRONG(nodes_pa, 0x41000, KHO_E_RANGE, 0x40000);
	WRONG(descs_pa, 0x1e3000, KHO_E_RANGE, 0x1e2000);
	WRONG(data_pa, 0x600000, KHO_E_RANGE, 0x800000);
	WRONG(tree_root_pa, 0x41000, KHO_E_RANGE, 0x40000);
	good(&h);
	h.reserved[3] = 9;
	seal(&h);
	expect(&h, FILE_SIZE, KHO_E_FORMAT, 115, 9, 0, "reserved");
}

TEST(file_sizes)
{
	struct kho_abi_arena_header h;

	good(&h);
	expect(&h, FILE_SIZE + 1, KHO_E_ALIGN, 0, FILE_SIZE + 1, 4096, "file size");
	expect(&h, 0x7ff000, KHO_E_TRUNCATED, 0, 0x7ff000, 0x800000, "file size");
	expect(&h, 0, KHO_E_TRUNCATED, 0, 0, 0x800000, "file size");
	expect(&h, 12 * GIB + 4096, KHO_E_RANGE, 0, 12 * GIB + 4096, 12 * GIB, "file size");
}

TEST(checked_words)
{
	struct kho_abi_arena_header h;

	good(&h);
	h.root_fdt ^= 1 << 20;
	expect(&h, FILE_SIZE, KHO_E_CHECKSUM, 128, h.root_fdt, 0, "root_fdt");
	/* A word copied over another is seen. */
	good(&h);
	h.generation = h.state;
	expect(&h, FILE_SIZE, KHO_E_CHECKSUM, 136, h.generation, 0, "generation");
	good(&h);
	h.state = 0;
	expect(&h, FILE_SIZE, KHO_E_CHECKSUM, 144, 0, 0, "state");
	good(&h);
	h.root_fdt = khoc_cword(0x3000, 128);
	expect(&h, FILE_SIZE, KHO_E_RANGE, 128, 0x3000, 0x12000, "root_fdt");
	for (u64 s = 0; s < 300; s = s ? s + 5 : 5) {
		good(&h);
		h.state = khoc_cword(s, 144);
		expect(&h, FILE_SIZE, KHO_E_STATE, 144, s, 4, "state");
	}
}

/* The checksum covers every bit before it: none can change unseen, nor any of the checked words. */
TEST(every_bit_counts)
{
	struct kho_abi_arena_header h;

	good(&h);
	for (unsigned int bit = 0; bit < sizeof(h) * 8; bit++) {
		((u8 *)&h)[bit / 8] ^= (u8)(1 << bit % 8);
		EXPECT(khoc_arena_check(&h, sizeof(h), FILE_SIZE, NULL) <= -KHO_E_TRUNCATED);
		((u8 *)&h)[bit / 8] ^= (u8)(1 << bit % 8);
	}
	h.crc ^= 1;
	expect(&h, FILE_SIZE, KHO_E_CHECKSUM, 124, h.crc, h.crc ^ 1, "crc");
}

TEST_SUITE(arena_check, TEST_CASE(geometry_worked_by_hand), TEST_CASE(sizes_that_are_refused),
	   TEST_CASE(nodes_are_enough), TEST_CASE(good_ones_pass), TEST_CASE(too_short),
	   TEST_CASE(each_field_wrong), TEST_CASE(file_sizes), TEST_CASE(checked_words),
	   TEST_CASE(every_bit_counts));
