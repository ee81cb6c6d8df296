/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The regions of reserve_mem=: FDTs put together here token by token, as Linux 7.2 writes them,
 * read back; then what can be wrong with the FDT, and with what it says.
 */
#include "image.h"

#include <errno.h>

#define PA 0x10000ULL
#define SIZE 0x40000000ULL

/* An FDT that is being put together. Strings first, then the structure up to @at. */
struct maker {
	struct image image;
	u8 *fdt;
	u32 at;
};

enum {
	STRINGS = 64, /* offsets of blocks; reservations are at 40 */
	STRUCT = 128,
	/* offsets of names in the strings */
	COMPATIBLE = 0,
	START = 11,
	SIZE_NAME = 17,
	OTHER = 22,
	STRINGS_SIZE = 28,
};

static void put32(struct maker *m, u32 at, u32 value)
{
	for (int i = 0; i < 4; i++)
		m->fdt[at + i] = (u8)(value >> (24 - 8 * i));
}

static void token(struct maker *m, u32 value)
{
	put32(m, m->at, value);
	m->at += 4;
}

static void begin(struct maker *m, const char *name)
{
	token(m, 1);
	memcpy(m->fdt + m->at, name, strlen(name) + 1);
	m->at += (u32)(strlen(name) + 4) & ~3U;
}

static void prop(struct maker *m, u32 name, const void *value, u32 len)
{
	token(m, 3);
	token(m, len);
	token(m, name);
	memcpy(m->fdt + m->at, value, len);
	m->at += (len + 3) & ~3U;
}

static void prop64(struct maker *m, u32 name, u64 value)
{
	prop(m, name, &value, 8);
}

static void make(struct maker *m, const char *compatible, u32 len)
{
	memset(m, 0, sizeof(*m));
	image_make(&m->image, 12, SIZE, PA, 1, true);
	m->fdt = (u8 *)m->image.bytes + PA;
	memset(m->fdt, 0, 4096);
	memcpy(m->fdt + STRINGS, "compatible\0start\0size\0other", STRINGS_SIZE);
	m->at = STRUCT;
	begin(m, "");
	prop(m, COMPATIBLE, compatible, len);
}

static void region(struct maker *m, const char *name, u64 start, u64 size)
{
	begin(m, name);
	prop(m, COMPATIBLE, "reserve-mem-v1", 15);
	prop64(m, START, start);
	prop64(m, SIZE_NAME, size);
	token(m, 2);
}

/* The end of the root and all, and the header. */
static void finish(struct maker *m)
{
	token(m, 2);
	token(m, 9);
	put32(m, 0, 0xd00dfeed);
	put32(m, 4, 4096);
	put32(m, 8, STRUCT);
	put32(m, 12, STRINGS);
	put32(m, 16, 40);
	put32(m, 20, 17);
	put32(m, 24, 16);
	put32(m, 32, STRINGS_SIZE);
	put32(m, 36, m->at - STRUCT);
}

static void expect_report(const struct khoc_report *r, int fault, u64 addr, u64 value, u64 limit,
			  const char *field)
{
	EXPECT_EQ(r->fault, fault);
	EXPECT_EQ(r->structure, KHOC_S_RESERVE_MEM);
	EXPECT_EQ(r->addr, addr);
	EXPECT_EQ(r->value, value);
	EXPECT_EQ(r->limit, limit);
	EXPECT_STR_EQ(r->field, field);
}

static void expect_open(struct maker *m, int fault, u64 addr, u64 value, u64 limit,
			const char *field)
{
	struct khoc_reserve_mem_region found;
	struct khoc_reserve_mem walk;
	struct khoc_report r;

	memset(&r, 0xee, sizeof(r));
	EXPECT_EQ(khoc_reserve_mem_open(&walk, &m->image.mem, PA, 4096, &r), -fault);
	if (fault) {
		expect_report(&r, fault, addr, value, limit, field);
		EXPECT_EQ(khoc_reserve_mem_next(&walk, &found, &r), -ENOENT);
	}
	EXPECT_EQ(khoc_reserve_mem_open(&walk, &m->image.mem, PA, 4096, NULL), -fault);
}

TEST(regions)
{
	struct khoc_reserve_mem_region found;
	struct khoc_reserve_mem walk;
	struct khoc_report r;
	struct maker m;

	make(&m, "memblock-v1", 12);
	token(&m, 4); /* NOP */
	region(&m, "oops", 0x3000000, 0x200000);
	region(&m, "fifteen-letters", SIZE - 4096, 4096);
	/* What we do not know is none of our business. */
	begin(&m, "t");
	prop(&m, OTHER, "abcde", 5);
	prop64(&m, SIZE_NAME, 0x1000);
	prop(&m, COMPATIBLE, "reserve-mem-v2\0reserve-mem-v1", 30);
	prop64(&m, START, 0x1000000);
	token(&m, 2);
	finish(&m);
	EXPECT_EQ(khoc_reserve_mem_open(&walk, &m.image.mem, PA, 4096, &r), 0);
	EXPECT_EQ(r.fault, 0);
	EXPECT_EQ(khoc_reserve_mem_next(&walk, &found, &r), 0);
	EXPECT_STR_EQ(found.name, "oops");
	EXPECT_EQ(found.name_len, 4);
	EXPECT_EQ(found.start, 0x3000000);
	EXPECT_EQ(found.size, 0x200000);
	EXPECT_EQ(found.pa, PA + STRUCT + 8 + 24 + 4);
	EXPECT_EQ(khoc_reserve_mem_next(&walk, &found, &r), 0);
	EXPECT_STR_EQ(found.name, "fifteen-letters");
	EXPECT_EQ(found.start, SIZE - 4096);
	EXPECT_EQ(khoc_reserve_mem_next(&walk, &found, &r), 0);
	EXPECT_STR_EQ(found.name, "t");
	EXPECT_EQ(found.size, 0x1000);
	EXPECT_EQ(khoc_reserve_mem_next(&walk, &found, &r), -ENOENT);
	EXPECT_EQ(found.pa, 0);
	EXPECT_EQ(khoc_reserve_mem_next(&walk, &found, &r), -ENOENT);
	image_destroy(&m.image);
	make(&m, "memblock-v1", 12);
	finish(&m);
	EXPECT_EQ(khoc_reserve_mem_open(&walk, &m.image.mem, PA, m.at, &r), -KHO_E_TRUNCATED);
	put32(&m, 4, m.at);
	EXPECT_EQ(khoc_reserve_mem_open(&walk, &m.image.mem, PA, m.at, &r), 0);
	EXPECT_EQ(khoc_reserve_mem_next(&walk, &found, &r), -ENOENT);
	image_destroy(&m.image);
}

/* Each word of the header, and what it may not be. */
TEST(fdt_header)
{
	static const struct {
		u32 at, value;
		int fault;
		u64 limit;
		const char *field;
	} cases[] = {
		{0, 0xd00dfeee, KHO_E_MAGIC, 0xd00dfeed, "magic"},
		{4, 39, KHO_E_RANGE, 40, "totalsize"},
		{4, 0x80000000, KHO_E_RANGE, 0x7fffffff, "totalsize"},
		{4, 4097, KHO_E_TRUNCATED, 4096, "totalsize"},
		{8, 130, KHO_E_ALIGN, 4, "off_dt_struct"},
		{8, 36, KHO_E_RANGE, 40, "off_dt_struct"},
		{8, 4100, KHO_E_RANGE, 4096, "off_dt_struct"},
		{12, 39, KHO_E_RANGE, 40, "off_dt_strings"},
		{12, 4097, KHO_E_RANGE, 4096, "off_dt_strings"},
		{16, 44, KHO_E_ALIGN, 8, "off_mem_rsvmap"},
		{16, 32, KHO_E_RANGE, 40, "off_mem_rsvmap"},
		{20, 16, KHO_E_VERSION, 17, "version"},
		{24, 18, KHO_E_VERSION, 17, "last_comp_version"},
		{32, 4096 - STRINGS + 1, KHO_E_TRUNCATED, 4096 - STRINGS, "size_dt_strings"},
		{36, 4096 - STRUCT + 1, KHO_E_TRUNCATED, 4096 - STRUCT, "size_dt_struct"},
		{36, 0xffffffff, KHO_E_TRUNCATED, 4096 - STRUCT, "size_dt_struct"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct maker m;

		make(&m, "memblock-v1", 12);
		region(&m, "a", 0x100000, 0x1000);
		finish(&m);
		put32(&m, cases[i].at, cases[i].value);
		expect_open(&m, cases[i].fault, PA + cases[i].at, cases[i].value, cases[i].limit,
			    cases[i].field);
		image_destroy(&m.image);
	}
}

TEST(blobs_that_are_not_there)
{
	struct khoc_reserve_mem walk;
	struct khoc_report r;
	struct maker m;

	make(&m, "memblock-v1", 12);
	finish(&m);
	EXPECT_EQ(khoc_reserve_mem_open(&walk, &m.image.mem, PA, 0, &r), -KHO_E_RANGE);
	expect_report(&r, KHO_E_RANGE, PA, 0, SIZE, "blob");
	EXPECT_EQ(khoc_reserve_mem_open(&walk, &m.image.mem, PA, SIZE, &r), -KHO_E_RANGE);
	EXPECT_EQ(khoc_reserve_mem_open(&walk, &m.image.mem, SIZE, 1, &r), -KHO_E_RANGE);
	EXPECT_EQ(khoc_reserve_mem_open(&walk, &m.image.mem, PA, 39, &r), -KHO_E_TRUNCATED);
	expect_report(&r, KHO_E_TRUNCATED, PA, 39, 40, "header");
	image_destroy(&m.image);
}

TEST(roots_that_cannot_be)
{
	struct maker m;

	make(&m, "memblock-v2\0memblock-v11", 25);
	finish(&m);
	expect_open(&m, KHO_E_INCOMPATIBLE, PA + m.at - 8, 0, 0, "compatible");
	image_destroy(&m.image);
	/* Without its NUL. */
	make(&m, "memblock-v1", 11);
	finish(&m);
	expect_open(&m, KHO_E_INCOMPATIBLE, PA + m.at - 8, 0, 0, "compatible");
	image_destroy(&m.image);
	make(&m, "memblock-v2\0memblock-v1", 24);
	finish(&m);
	expect_open(&m, 0, 0, 0, 0, "");
	/* No root, or one with a name. */
	put32(&m, STRUCT, 2);
	expect_open(&m, KHO_E_FORMAT, PA + STRUCT, 2, 0, "token");
	put32(&m, STRUCT, 7);
	expect_open(&m, KHO_E_FORMAT, PA + STRUCT, 7, 0, "token");
	put32(&m, STRUCT, 1);
	m.fdt[STRUCT + 4] = 'x';
	expect_open(&m, KHO_E_FORMAT, PA + STRUCT, 1, 0, "token");
	m.fdt[STRUCT + 4] = 0;
	/* A property that does not end, or whose name does not. */
	put32(&m, STRUCT + 12, 4096);
	expect_open(&m, KHO_E_TRUNCATED, PA + STRUCT + 12, 4096, m.at - STRUCT - 20,
		    "property length");
	put32(&m, STRUCT + 12, 0xffffffff);
	expect_open(&m, KHO_E_TRUNCATED, PA + STRUCT + 12, 0xffffffff, m.at - STRUCT - 20,
		    "property length");
	put32(&m, STRUCT + 12, 24);
	put32(&m, STRUCT + 16, STRINGS_SIZE);
	expect_open(&m, KHO_E_RANGE, PA + STRUCT + 16, STRINGS_SIZE, STRINGS_SIZE, "property name");
	put32(&m, STRUCT + 16, OTHER);
	put32(&m, 32, STRINGS_SIZE - 1);
	expect_open(&m, KHO_E_TRUNCATED, PA + STRUCT + 16, OTHER, STRINGS_SIZE - 1,
		    "property name");
	put32(&m, 32, STRINGS_SIZE);
	put32(&m, STRUCT + 16, COMPATIBLE);
	/* The structure ends in what pads a value: 22 bytes, and room for those alone. */
	put32(&m, STRUCT + 12, 22);
	put32(&m, 36, 20 + 22);
	expect_open(&m, KHO_E_TRUNCATED, PA + STRUCT + 12, 22, 22, "property length");
	put32(&m, STRUCT + 12, 24);
	/* Or too early: in a token's name, between tokens, in a property. */
	put32(&m, 36, 4);
	expect_open(&m, KHO_E_TRUNCATED, PA + STRUCT + 4, 0, 0, "name");
	put32(&m, 36, 0);
	expect_open(&m, KHO_E_TRUNCATED, PA + STRUCT, 4, 0, "token");
	put32(&m, 36, 16);
	expect_open(&m, KHO_E_TRUNCATED, PA + STRUCT + 12, 8, 4, "property");
	image_destroy(&m.image);
}

/* A region between two sound ones: told, read as far as it can be, and the next one is read. */
static void expect_bad(struct maker *m, int fault, u64 addr, u64 value, u64 limit,
		       const char *field)
{
	struct khoc_reserve_mem_region found;
	struct khoc_reserve_mem walk;
	struct khoc_report r;

	region(m, "last", 0x2000000, 0x1000);
	finish(m);
	EXPECT_EQ(khoc_reserve_mem_open(&walk, &m->image.mem, PA, 4096, NULL), 0);
	EXPECT_EQ(khoc_reserve_mem_next(&walk, &found, &r), 0);
	EXPECT_STR_EQ(found.name, "first");
	EXPECT_EQ(khoc_reserve_mem_next(&walk, &found, &r), -fault);
	EXPECT_NE(found.pa, 0);
	expect_report(&r, fault, PA + addr, value, limit, field);
	EXPECT_EQ(khoc_reserve_mem_next(&walk, &found, &r), 0);
	EXPECT_STR_EQ(found.name, "last");
	EXPECT_EQ(khoc_reserve_mem_next(&walk, &found, &r), -ENOENT);
	/* And without anybody to tell. */
	EXPECT_EQ(khoc_reserve_mem_open(&walk, &m->image.mem, PA, 4096, NULL), 0);
	EXPECT_EQ(khoc_reserve_mem_next(&walk, &found, NULL), 0);
	EXPECT_EQ(khoc_reserve_mem_next(&walk, &found, NULL), -fault);
	image_destroy(&m->image);
}

static u32 make_first(struct maker *m)
{
	make(m, "memblock-v1", 12);
	region(m, "first", 0x1000000, 0x1000);
	return m->at;
}

TEST(regions_that_cannot_be)
{
	struct maker m;
	u32 at;

	at = make_first(&m);
	region(&m, "", 0x3000000, 0x1000);
	expect_bad(&m, KHO_E_FORMAT, at, 0, 15, "name");
	at = make_first(&m);
	region(&m, "sixteen--letters", 0x3000000, 0x1000);
	expect_bad(&m, KHO_E_FORMAT, at, 16, 15, "name");
	at = make_first(&m);
	region(&m, "first", 0x3000000, 0x1000);
	expect_bad(&m, KHO_E_DUPLICATE, at, PA + STRUCT + 32, 0, "name");
	at = make_first(&m);
	region(&m, "a", 0x3000000, 0);
	expect_bad(&m, KHO_E_RANGE, at, 0, SIZE, "size");
	at = make_first(&m);
	region(&m, "a", SIZE - 0x1000, 0x1001);
	expect_bad(&m, KHO_E_RANGE, at, 0x1001, SIZE, "size");
	at = make_first(&m);
	region(&m, "a", ~0ULL, ~0ULL);
	expect_bad(&m, KHO_E_RANGE, at, ~0ULL, SIZE, "size");
	at = make_first(&m);
	region(&m, "a", 0xfff001, 0x1000);
	expect_bad(&m, KHO_E_OVERLAP, at, 0xfff001, PA + STRUCT + 32, "start");
	at = make_first(&m);
	region(&m, "a", 0x1000fff, 1);
	expect_bad(&m, KHO_E_OVERLAP, at, 0x1000fff, PA + STRUCT + 32, "start");
	at = make_first(&m);
	begin(&m, "a");
	prop64(&m, START, 0x3000000);
	prop64(&m, SIZE_NAME, 0x1000);
	token(&m, 2);
	expect_bad(&m, KHO_E_INCOMPATIBLE, at, 0, 0, "compatible");
	at = make_first(&m);
	begin(&m, "a");
	prop(&m, COMPATIBLE, "reserve-mem-v1", 15);
	prop64(&m, SIZE_NAME, 0x1000);
	token(&m, 2);
	expect_bad(&m, KHO_E_FORMAT, at, 0, 0, "start");
	at = make_first(&m);
	begin(&m, "a");
	prop(&m, COMPATIBLE, "reserve-mem-v1", 15);
	prop64(&m, START, 0x1000);
	token(&m, 2);
	expect_bad(&m, KHO_E_FORMAT, at, 0, 0, "size");
}

TEST(properties_that_cannot_be)
{
	struct maker m;
	u32 at;

	at = make_first(&m);
	begin(&m, "a");
	prop(&m, COMPATIBLE, "reserve-mem-v2", 15);
	/* Of several faults the first is told. */
	prop(&m, START, "1234", 4);
	token(&m, 2);
	expect_bad(&m, KHO_E_INCOMPATIBLE, at + 8, 0, 0, "compatible");
	at = make_first(&m);
	begin(&m, "a");
	prop(&m, START, "1234", 4);
	token(&m, 2);
	expect_bad(&m, KHO_E_FORMAT, at + 8, 4, 8, "start");
	at = make_first(&m);
	begin(&m, "a");
	prop64(&m, SIZE_NAME, 1);
	prop64(&m, SIZE_NAME, 1);
	token(&m, 2);
	expect_bad(&m, KHO_E_DUPLICATE, at + 28, 0, 0, "size");
	at = make_first(&m);
	begin(&m, "a");
	prop(&m, COMPATIBLE, "reserve-mem-v1", 15);
	prop(&m, COMPATIBLE, "reserve-mem-v1", 15);
	token(&m, 2);
	expect_bad(&m, KHO_E_DUPLICATE, at + 8 + 28, 0, 0, "compatible");
}

TEST(more_than_linux_can_have)
{
	struct khoc_reserve_mem_region found;
	struct khoc_reserve_mem walk;
	struct khoc_report r;
	struct maker m;
	char name[] = "0";
	u32 at = 0;

	make(&m, "memblock-v1", 12);
	for (u64 i = 0; i < 9; i++, name[0]++) {
		at = m.at;
		region(&m, name, 0x1000000 + i * 0x1000, 0x1000);
	}
	finish(&m);
	EXPECT_EQ(khoc_reserve_mem_open(&walk, &m.image.mem, PA, 4096, &r), 0);
	for (int i = 0; i < 8; i++)
		EXPECT_EQ(khoc_reserve_mem_next(&walk, &found, &r), 0);
	EXPECT_EQ(khoc_reserve_mem_next(&walk, &found, &r), -KHO_E_RANGE);
	expect_report(&r, KHO_E_RANGE, PA + at, 9, 8, "regions");
	EXPECT_STR_EQ(found.name, "8");
	EXPECT_EQ(khoc_reserve_mem_next(&walk, &found, &r), -ENOENT);
	image_destroy(&m.image);
}

/* The FDT itself breaks off: told once, without a region. */
TEST(tokens_that_cannot_be)
{
	struct khoc_reserve_mem_region found;
	struct khoc_reserve_mem walk;
	struct khoc_report r;

	for (int i = 0; i < 7; i++) {
		struct maker m;
		int want = KHO_E_FORMAT;
		u32 at = make_first(&m);

		if (i == 0) /* a node in a region */
			begin(&m, "a"), at = m.at, begin(&m, "b");
		else if (i == 1) /* the end in a region */
			begin(&m, "a"), at = m.at, token(&m, 9);
		else if (i == 2) /* a property behind a region */
			prop64(&m, START, 0);
		else if (i == 3) /* the end without that of the root */
			token(&m, 9);
		else if (i == 4) /* a second root */
			token(&m, 2), at = m.at, begin(&m, "");
		else if (i == 5) /* no token at all */
			token(&m, 5);
		else /* a region whose fault nobody hears of because the FDT breaks off in it */
			begin(&m, "a"), prop(&m, START, "", 0), at = m.at, token(&m, 77);
		finish(&m);
		EXPECT_EQ(khoc_reserve_mem_open(&walk, &m.image.mem, PA, 4096, &r), 0);
		EXPECT_EQ(khoc_reserve_mem_next(&walk, &found, &r), 0);
		EXPECT_EQ(khoc_reserve_mem_next(&walk, &found, &r), -want);
		EXPECT_EQ(found.pa, 0);
		EXPECT_EQ(r.addr, PA + at);
		EXPECT_STR_EQ(r.field, "token");
		EXPECT_EQ(khoc_reserve_mem_next(&walk, &found, &r), -ENOENT);
		/* Cut behind the first region. */
		put32(&m, 36, at - STRUCT);
		EXPECT_EQ(khoc_reserve_mem_open(&walk, &m.image.mem, PA, 4096, &r), 0);
		EXPECT_EQ(khoc_reserve_mem_next(&walk, &found, &r), 0);
		EXPECT_EQ(khoc_reserve_mem_next(&walk, &found, &r), -KHO_E_TRUNCATED);
		EXPECT_EQ(khoc_reserve_mem_next(&walk, &found, &r), -ENOENT);
		image_destroy(&m.image);
	}
}

TEST_SUITE(reserve_mem, TEST_CASE(regions), TEST_CASE(fdt_header),
	   TEST_CASE(blobs_that_are_not_there), TEST_CASE(roots_that_cannot_be),
	   TEST_CASE(regions_that_cannot_be), TEST_CASE(properties_that_cannot_be),
	   TEST_CASE(more_than_linux_can_have), TEST_CASE(tokens_that_cannot_be));
