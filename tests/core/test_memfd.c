/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Memory files of Linux: headers and lists written here byte by byte, read back; then what can be
 * wrong.
 */
#include "image.h"

#include <errno.h>

#define SIZE 0x40000000ULL
#define PA 0x10000ULL
#define LIST 0x11000ULL
#define CHUNK 0x17000ULL

static void put64(struct image *image, kho_pa_t pa, u64 value)
{
	for (int i = 0; i < 8; i++)
		image->bytes[pa + i] = (char)(value >> 8 * i);
}

static void put32(struct image *image, kho_pa_t pa, u32 value)
{
	for (int i = 0; i < 4; i++)
		image->bytes[pa + i] = (char)(value >> 8 * i);
}

/* A file of @size bytes and @nr folios, at a position of 123, with all seals that there are. */
static void put_header(struct image *image, u64 size, u64 nr)
{
	put64(image, PA, 123);
	put64(image, PA + 8, size);
	put32(image, PA + 16, 0x3f);
	put32(image, PA + 20, 0);
	put64(image, PA + 24, nr);
	/* The list: scattered memory of one page, its chunk. */
	put64(image, PA + 32, CHUNK);
	put32(image, PA + 40, 1);
	put32(image, PA + 44, 1);
	put64(image, CHUNK, 0);
	put64(image, CHUNK + 8, LIST);
	put64(image, CHUNK + 16, 0);
}

static void put_folio(struct image *image, kho_pa_t at, u64 pfn, u64 flags, u64 index)
{
	put64(image, at, pfn | flags << 52);
	put64(image, at + 8, index);
}

static void setup(struct image *image)
{
	image_make(image, 12, SIZE, PA, 16, true);
}

static void expect_report(const struct khoc_report *r, int fault, u64 addr, u64 value, u64 limit,
			  const char *field)
{
	EXPECT_EQ(r->fault, fault);
	EXPECT_EQ(r->structure, KHOC_S_MEMFD);
	EXPECT_EQ(r->addr, addr);
	EXPECT_EQ(r->value, value);
	EXPECT_EQ(r->limit, limit);
	EXPECT_STR_EQ(r->field, field);
}

TEST(header)
{
	struct khoc_memfd memfd;
	struct khoc_report r;
	struct image image;

	setup(&image);
	put_header(&image, 3 * 4096 + 1, 4);
	EXPECT_EQ(khoc_memfd_open(&memfd, &image.mem, 12, PA, &r), 0);
	EXPECT_EQ(r.fault, 0);
	EXPECT_EQ(memfd.pa, PA);
	EXPECT_EQ(memfd.pos, 123);
	EXPECT_EQ(memfd.size, 12289);
	EXPECT_EQ(memfd.seals, 0x3f);
	EXPECT_EQ(memfd.flags, 0);
	EXPECT_EQ(memfd.nr_folios, 4);
	EXPECT_EQ(memfd.folios.first, CHUNK);
	EXPECT_EQ(memfd.folios.total_pages, 1);
	EXPECT_EQ(memfd.folios.flags, 1);
	EXPECT_EQ(memfd.folios.order, 0);
	/* The same file in larger pages has fewer. */
	EXPECT_EQ(khoc_memfd_open(&memfd, &image.mem, 14, PA, &r), -KHO_E_RANGE);
	expect_report(&r, KHO_E_RANGE, PA + 24, 4, 1, "nr_folios");
	EXPECT_EQ(khoc_memfd_open(&memfd, &image.mem, 6, PA, &r), 0);
	EXPECT_EQ(khoc_memfd_open(&memfd, &image.mem, 5, PA, &r), -EINVAL);
	EXPECT_EQ(khoc_memfd_open(&memfd, &image.mem, 17, PA, &r), -EINVAL);
	/* Nothing in it. */
	put_header(&image, 0, 0);
	EXPECT_EQ(khoc_memfd_open(&memfd, &image.mem, 12, PA, NULL), 0);
	image_destroy(&image);
}

TEST(headers_that_cannot_be)
{
	struct khoc_memfd memfd;
	struct khoc_report r;
	struct image image;

	setup(&image);
	EXPECT_EQ(khoc_memfd_open(&memfd, &image.mem, 12, SIZE - 47, &r), -KHO_E_RANGE);
	expect_report(&r, KHO_E_RANGE, SIZE - 47, SIZE - 47, SIZE, "header");
	put_header(&image, 0, 1);
	EXPECT_EQ(khoc_memfd_open(&memfd, &image.mem, 12, PA, &r), -KHO_E_RANGE);
	expect_report(&r, KHO_E_RANGE, PA + 24, 1, 0, "nr_folios");
	put_header(&image, 4096, 1);
	put32(&image, PA + 16, 0x40);
	EXPECT_EQ(khoc_memfd_open(&memfd, &image.mem, 12, PA, &r), -KHO_E_INCOMPATIBLE);
	expect_report(&r, KHO_E_INCOMPATIBLE, PA + 16, 0x40, 0x3f, "seals");
	EXPECT_EQ(memfd.size, 4096);
	put_header(&image, 4096, 1);
	put32(&image, PA + 20, 1);
	EXPECT_EQ(khoc_memfd_open(&memfd, &image.mem, 12, PA, &r), -KHO_E_VERSION);
	expect_report(&r, KHO_E_VERSION, PA + 20, 1, 0, "flags");
	put_header(&image, 0xffffffffULL << 12, 1);
	EXPECT_EQ(khoc_memfd_open(&memfd, &image.mem, 12, PA, &r), 0);
	put_header(&image, (0xffffffffULL << 12) + 1, 1);
	EXPECT_EQ(khoc_memfd_open(&memfd, &image.mem, 12, PA, &r), -KHO_E_RANGE);
	expect_report(&r, KHO_E_RANGE, PA + 8, (0xffffffffULL << 12) + 1, 0xffffffffULL << 12,
		      "size");
	put_header(&image, ~0ULL, ~0ULL);
	EXPECT_EQ(khoc_memfd_open(&memfd, &image.mem, 12, PA, &r), -KHO_E_RANGE);
	image_destroy(&image);
}

/* The bytes of an entry: page 0x123456789, both flags, index 7. */
TEST(an_entry_by_hand)
{
	struct khoc_memfd_folio folio;
	struct khoc_memfd_list list;
	struct khoc_memfd memfd;
	struct khoc_report r;
	struct image image;

	setup(&image);
	image.mem.size = 1ULL << 50;
	put_header(&image, 8 * 4096, 1);
	memcpy(image.bytes + LIST, "\x89\x67\x45\x23\x01\x00\x30\x00\x07\0\0\0\0\0\0\0", 16);
	EXPECT_EQ(khoc_memfd_open(&memfd, &image.mem, 12, PA, NULL), 0);
	EXPECT_EQ(khoc_memfd_list(&list, &memfd, NULL, &r), 0);
	EXPECT_EQ(khoc_memfd_folio_next(&list, &folio, &r), 0);
	EXPECT_EQ(folio.at, LIST);
	EXPECT_EQ(folio.pfn, 0x123456789);
	EXPECT_EQ(folio.pa, 0x123456789000);
	EXPECT_EQ(folio.flags, KHO_ABI_MEMFD_DIRTY | KHO_ABI_MEMFD_UPTODATE);
	EXPECT_EQ(folio.index, 7);
	EXPECT_EQ(khoc_memfd_folio_next(&list, &folio, &r), -ENOENT);
	EXPECT_EQ(khoc_memfd_folio_next(&list, &folio, &r), -ENOENT);
	image_destroy(&image);
}

/* A list of two blocks; holes in the file are no fault. In blocks of one page, and of two. */
TEST(a_list)
{
	for (u32 order = 0; order < 2; order++) {
		struct khoc_memfd_folio folio;
		struct khoc_memfd_list list;
		struct khoc_memfd memfd;
		struct image image;
		u64 nr = 300 << order;

		setup(&image);
		put_header(&image, 4096 * 4096, nr);
		put32(&image, PA + 40, 2U << order);
		put32(&image, PA + 44, 1 | order << 16);
		put64(&image, CHUNK + 8, LIST + 0x3000);
		put64(&image, CHUNK + 16, LIST + 0x1000);
		put64(&image, CHUNK + 24, 0);
		for (u64 i = 0; i < nr; i++)
			put_folio(&image,
				  i < 256ULL << order
					  ? LIST + 0x3000 + i * 16
					  : LIST + 0x1000 + (i - (256ULL << order)) * 16,
				  1000 + i * 3, 3, i * 2);
		EXPECT_EQ(khoc_memfd_open(&memfd, &image.mem, 12, PA, NULL), 0);
		EXPECT_EQ(khoc_memfd_list(&list, &memfd, NULL, NULL), 0);
		for (u64 i = 0; i < nr; i++) {
			EXPECT_EQ(khoc_memfd_folio_next(&list, &folio, NULL), 0);
			EXPECT_EQ(folio.entry, i);
			EXPECT_EQ(folio.index, i * 2);
			EXPECT_EQ(folio.pa, (1000 + i * 3) << 12);
		}
		EXPECT_EQ(khoc_memfd_folio_next(&list, &folio, NULL), -ENOENT);
		image_destroy(&image);
	}
}

/* Without folios there is no list, whatever its descriptor says. */
TEST(no_list)
{
	struct khoc_memfd_folio folio;
	struct khoc_memfd_list list;
	struct khoc_memfd memfd;
	struct image image;

	setup(&image);
	put_header(&image, 4096, 0);
	put64(&image, PA + 32, ~0ULL);
	put64(&image, PA + 40, ~0ULL);
	EXPECT_EQ(khoc_memfd_open(&memfd, &image.mem, 12, PA, NULL), 0);
	EXPECT_EQ(khoc_memfd_list(&list, &memfd, NULL, NULL), 0);
	EXPECT_EQ(khoc_memfd_folio_next(&list, &folio, NULL), -ENOENT);
	image_destroy(&image);
}

TEST(lists_that_cannot_be)
{
	struct khoc_memfd_folio folio;
	struct khoc_memfd_list list;
	struct khoc_memfd memfd;
	struct khoc_report r;
	struct image image;

	setup(&image);
	/* The descriptor: told by its place in the image. */
	put_header(&image, 1024 * 4096, 256);
	put64(&image, PA + 32, CHUNK + 8);
	EXPECT_EQ(khoc_memfd_open(&memfd, &image.mem, 12, PA, NULL), 0);
	EXPECT_EQ(khoc_memfd_list(&list, &memfd, NULL, &r), -KHO_E_ALIGN);
	EXPECT_EQ(r.structure, KHOC_S_VMALLOC);
	EXPECT_EQ(r.addr, PA + 32);
	EXPECT_EQ(r.value, CHUNK + 8);
	EXPECT_EQ(khoc_memfd_list(&list, &memfd, NULL, NULL), -KHO_E_ALIGN);
	EXPECT_EQ(khoc_memfd_folio_next(&list, &folio, &r), -ENOENT);
	put_header(&image, 1024 * 4096, 256);
	put32(&image, PA + 44, 0x8001);
	EXPECT_EQ(khoc_memfd_open(&memfd, &image.mem, 12, PA, NULL), 0);
	EXPECT_EQ(khoc_memfd_list(&list, &memfd, NULL, &r), -KHO_E_VERSION);
	EXPECT_EQ(r.addr, PA + 44);
	/* Room for 256 entries: of one more there are those. */
	put_header(&image, 1024 * 4096, 257);
	for (u64 i = 0; i < 256; i++)
		put_folio(&image, LIST + i * 16, 16 + i, 3, i);
	EXPECT_EQ(khoc_memfd_open(&memfd, &image.mem, 12, PA, NULL), 0);
	EXPECT_EQ(khoc_memfd_list(&list, &memfd, NULL, &r), -KHO_E_RANGE);
	expect_report(&r, KHO_E_RANGE, PA + 24, 257, 256, "nr_folios");
	for (u64 i = 0; i < 256; i++)
		EXPECT_EQ(khoc_memfd_folio_next(&list, &folio, &r), 0);
	EXPECT_EQ(khoc_memfd_folio_next(&list, &folio, &r), -KHO_E_TRUNCATED);
	expect_report(&r, KHO_E_TRUNCATED, PA + 24, 257, 256, "nr_folios");
	EXPECT_EQ(folio.at, 0);
	EXPECT_EQ(khoc_memfd_folio_next(&list, &folio, &r), -ENOENT);
	/* A block outside: the list cannot be followed any further. */
	put_header(&image, 1024 * 4096, 300);
	put32(&image, PA + 40, 2);
	put64(&image, CHUNK + 16, SIZE);
	EXPECT_EQ(khoc_memfd_open(&memfd, &image.mem, 12, PA, NULL), 0);
	EXPECT_EQ(khoc_memfd_list(&list, &memfd, NULL, &r), 0);
	for (u64 i = 0; i < 256; i++)
		EXPECT_EQ(khoc_memfd_folio_next(&list, &folio, &r), 0);
	EXPECT_EQ(khoc_memfd_folio_next(&list, &folio, &r), -KHO_E_RANGE);
	EXPECT_EQ(r.structure, KHOC_S_VMALLOC_CHUNK);
	EXPECT_EQ(r.addr, CHUNK + 16);
	EXPECT_EQ(khoc_memfd_folio_next(&list, &folio, &r), -ENOENT);
	image_destroy(&image);
}

/* All entries of a file, and what is said behind the last. */
static int behind_the_last(struct image *image, struct khoc_report *r)
{
	struct khoc_memfd_folio folio;
	struct khoc_memfd_list list;
	struct khoc_memfd memfd;
	int err;

	EXPECT_EQ(khoc_memfd_open(&memfd, &image->mem, 12, PA, NULL), 0);
	EXPECT_EQ(khoc_memfd_list(&list, &memfd, NULL, NULL), 0);
	for (u64 i = 0; i < memfd.nr_folios; i++)
		EXPECT_EQ(khoc_memfd_folio_next(&list, &folio, NULL), 0);
	err = khoc_memfd_folio_next(&list, &folio, r);
	EXPECT_EQ(folio.at, 0);
	EXPECT_EQ(khoc_memfd_folio_next(&list, &folio, NULL), -ENOENT);
	return err;
}

/* Of no use to the file, but followed by who restores the list. */
TEST(chains_that_go_on)
{
	static const struct {
		u64 next;
		u64 second;
		u32 pages;
		int fault, structure;
		u64 addr, value, limit;
		const char *field;
	} cases[] = {
		{0, 0, 2, KHO_E_RANGE, KHOC_S_VMALLOC, PA + 40, 2, 1, "total_pages"},
		{0, 0, 9, KHO_E_RANGE, KHOC_S_VMALLOC, PA + 40, 9, 1, "total_pages"},
		{CHUNK, 0, 1, KHO_E_FORMAT, KHOC_S_VMALLOC_CHUNK, CHUNK, CHUNK, 0, "next"},
		{SIZE, 0, 1, KHO_E_FORMAT, KHOC_S_VMALLOC_CHUNK, CHUNK, SIZE, 0, "next"},
		{0, SIZE, 2, KHO_E_RANGE, KHOC_S_VMALLOC_CHUNK, CHUNK + 16, SIZE, SIZE, "phys"},
		{0, LIST, 1, KHO_E_RANGE, KHOC_S_VMALLOC_CHUNK, CHUNK + 16, LIST, 1, "phys"},
	};
	struct khoc_report r;
	struct image image;

	setup(&image);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		put_header(&image, 8 * 4096, 2);
		put_folio(&image, LIST, 8, 3, 4);
		put_folio(&image, LIST + 16, 9, 3, 5);
		put32(&image, PA + 40, cases[i].pages);
		put64(&image, CHUNK, cases[i].next);
		put64(&image, CHUNK + 16, cases[i].second);
		EXPECT_EQ(behind_the_last(&image, &r), -cases[i].fault);
		EXPECT_EQ(r.fault, cases[i].fault);
		EXPECT_EQ(r.structure, cases[i].structure);
		EXPECT_EQ(r.addr, cases[i].addr);
		EXPECT_EQ(r.value, cases[i].value);
		EXPECT_EQ(r.limit, cases[i].limit);
		EXPECT_STR_EQ(r.field, cases[i].field);
		EXPECT_EQ(behind_the_last(&image, NULL), -cases[i].fault);
	}
	/* A block more than the entries need is no fault. */
	put_header(&image, 8 * 4096, 2);
	put32(&image, PA + 40, 2);
	put64(&image, CHUNK + 16, LIST + 0x1000);
	put64(&image, CHUNK + 24, 0);
	EXPECT_EQ(behind_the_last(&image, &r), -ENOENT);
	EXPECT_EQ(r.fault, 0);
	image_destroy(&image);
}

TEST(entries_that_cannot_be)
{
	static const struct {
		u64 pfn, flags, index;
		int fault;
		u64 at, value, limit;
		const char *field;
	} cases[] = {
		{0, 3, 5, KHO_E_RANGE, 0, 0, SIZE >> 12, "pfn"},
		{SIZE >> 12, 3, 5, KHO_E_RANGE, 0, SIZE >> 12, SIZE >> 12, "pfn"},
		{(1ULL << 52) - 1, 3, 5, KHO_E_RANGE, 0, (1ULL << 52) - 1, SIZE >> 12, "pfn"},
		{9, 4, 5, KHO_E_VERSION, 0, 4, 3, "flags"},
		{9, 0x800, 5, KHO_E_VERSION, 0, 0x800, 3, "flags"},
		{9, 3, 8, KHO_E_RANGE, 8, 8, 8, "index"},
		{9, 3, ~0ULL, KHO_E_RANGE, 8, ~0ULL, 8, "index"},
		{9, 3, 4, KHO_E_FORMAT, 8, 4, 5, "index"},
		{9, 3, 0, KHO_E_FORMAT, 8, 0, 5, "index"},
	};
	struct khoc_memfd_folio folio;
	struct khoc_memfd_list list;
	struct khoc_memfd memfd;
	struct khoc_report r;
	struct image image;

	setup(&image);
	put_header(&image, 8 * 4096, 3);
	EXPECT_EQ(khoc_memfd_open(&memfd, &image.mem, 12, PA, NULL), 0);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		put_folio(&image, LIST, 8, 3, 4);
		put_folio(&image, LIST + 16, cases[i].pfn, cases[i].flags, cases[i].index);
		put_folio(&image, LIST + 32, 10, 0, 7);
		EXPECT_EQ(khoc_memfd_list(&list, &memfd, NULL, NULL), 0);
		EXPECT_EQ(khoc_memfd_folio_next(&list, &folio, &r), 0);
		EXPECT_EQ(khoc_memfd_folio_next(&list, &folio, &r), -cases[i].fault);
		expect_report(&r, cases[i].fault, LIST + 16 + cases[i].at, cases[i].value,
			      cases[i].limit, cases[i].field);
		EXPECT_EQ(folio.at, LIST + 16);
		EXPECT_EQ(folio.pfn, cases[i].pfn);
		EXPECT_EQ(folio.index, cases[i].index);
		EXPECT_EQ(khoc_memfd_folio_next(&list, &folio, &r), 0);
		EXPECT_EQ(folio.index, 7);
		EXPECT_EQ(khoc_memfd_folio_next(&list, &folio, &r), -ENOENT);
	}
	/* An image that shrinks under its reader. */
	EXPECT_EQ(khoc_memfd_list(&list, &memfd, NULL, NULL), 0);
	EXPECT_EQ(khoc_memfd_folio_next(&list, &folio, &r), 0);
	image.mem.size = LIST + 24;
	EXPECT_EQ(khoc_memfd_folio_next(&list, &folio, &r), -KHO_E_RANGE);
	expect_report(&r, KHO_E_RANGE, LIST + 16, LIST + 16, LIST + 24, "folios");
	EXPECT_EQ(folio.at, 0);
	EXPECT_EQ(khoc_memfd_folio_next(&list, &folio, &r), -ENOENT);
	image_destroy(&image);
}

TEST(folios_that_nobody_preserved)
{
	struct khoc_vmalloc_check check = {.data_hi = SIZE};
	struct khoc_memfd_folio folio;
	struct khoc_memfd_list list;
	struct khoc_memfd memfd;
	struct khoc_radix tree;
	struct khoc_report r;
	struct image image, nodes;

	setup(&image);
	image_make(&nodes, 12, SIZE, 0x10000, 64, true);
	EXPECT_EQ(khoc_radix_init(&tree, &nodes.mem, 12), 0);
	EXPECT_EQ(khoc_radix_add(&tree, 512 << 12, 9), 0);
	put_header(&image, 1024 * 4096, 2);
	put_folio(&image, LIST, 512, 3, 0);
	put_folio(&image, LIST + 16, 1024, 3, 512);
	EXPECT_EQ(khoc_memfd_open(&memfd, &image.mem, 12, PA, NULL), 0);
	/* The list's own pages, too, are held against the tree. */
	check.tree = &tree;
	EXPECT_EQ(khoc_memfd_list(&list, &memfd, &check, &r), 0);
	EXPECT_EQ(khoc_memfd_folio_next(&list, &folio, &r), -KHO_E_NOT_PRESERVED);
	EXPECT_EQ(folio.at, 0);
	EXPECT_EQ(khoc_radix_add(&tree, CHUNK, 0), 0);
	EXPECT_EQ(khoc_radix_add(&tree, LIST, 0), 0);
	EXPECT_EQ(khoc_memfd_list(&list, &memfd, &check, &r), 0);
	EXPECT_EQ(khoc_memfd_folio_next(&list, &folio, &r), 0);
	EXPECT_EQ(folio.order, 9);
	EXPECT_EQ(khoc_memfd_folio_next(&list, &folio, &r), -KHO_E_NOT_PRESERVED);
	expect_report(&r, KHO_E_NOT_PRESERVED, LIST + 16, 1024 << 12, 0, "pfn");
	image_destroy(&nodes);
	image_destroy(&image);
}

TEST_SUITE(memfd, TEST_CASE(header), TEST_CASE(headers_that_cannot_be), TEST_CASE(an_entry_by_hand),
	   TEST_CASE(a_list), TEST_CASE(no_list), TEST_CASE(lists_that_cannot_be),
	   TEST_CASE(chains_that_go_on), TEST_CASE(entries_that_cannot_be),
	   TEST_CASE(folios_that_nobody_preserved));
