/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Hostile root FDTs, built byte by byte, each with the exact fault it gets. The bytes end
 * at a page that cannot be read. What passes in spite of random damage must be readable.
 *
 * Every FDT here has its blocks in this order: header 0, reservations 40, structure 56, strings.
 */
#include "image.h"

#define ADDR 0x2000ULL
#define IMAGE 0x40000000ULL
#define STRUCT_AT 56

struct builder {
	u8 structure[4096];
	u32 at;
	u8 strings[1024];
	u32 strings_size;
	u8 fdt[8192];
	u32 size;
	struct shim_guard guard;
};

static void put32(u8 *p, u32 x)
{
	p[0] = (u8)(x >> 24);
	p[1] = (u8)(x >> 16);
	p[2] = (u8)(x >> 8);
	p[3] = (u8)x;
}

static void token(struct builder *b, u32 x)
{
	put32(b->structure + b->at, x);
	b->at += 4;
}

static void bytes(struct builder *b, const void *data, u32 len)
{
	memcpy(b->structure + b->at, data, len);
	memset(b->structure + b->at + len, 0, 3);
	b->at += (len + 3) & ~3U;
}

static void begin(struct builder *b, const char *name)
{
	token(b, 1);
	bytes(b, name, (u32)strlen(name) + 1);
}

static u32 string(struct builder *b, const char *name)
{
	u32 at = b->strings_size;

	memcpy(b->strings + at, name, strlen(name) + 1);
	b->strings_size += (u32)strlen(name) + 1;
	return at;
}

static void prop(struct builder *b, const char *name, const void *value, u32 len)
{
	token(b, 3);
	token(b, len);
	token(b, string(b, name));
	bytes(b, value, len);
}

static void prop64(struct builder *b, const char *name, u64 value)
{
	prop(b, name, &value, 8);
}

/* A root up to where subtrees or its end follow. */
static void root(struct builder *b)
{
	b->at = b->strings_size = 0;
	begin(b, "");
	prop(b, "compatible", "kho-v4", 7);
	prop64(b, "preserved-memory-map", 0x5000);
}

static void subtree(struct builder *b, const char *name)
{
	begin(b, name);
	prop64(b, "preserved-data", 0x7000);
	prop64(b, "blob-size", 0x100);
}

static void finish(struct builder *b)
{
	u32 strings = STRUCT_AT + b->at;

	memset(b->fdt, 0, STRUCT_AT);
	b->size = strings + b->strings_size;
	put32(b->fdt, 0xd00dfeed);
	put32(b->fdt + 4, b->size);
	put32(b->fdt + 8, STRUCT_AT);
	put32(b->fdt + 12, strings);
	put32(b->fdt + 16, 40);
	put32(b->fdt + 20, 17);
	put32(b->fdt + 24, 16);
	put32(b->fdt + 32, b->strings_size);
	put32(b->fdt + 36, b->at);
	memcpy(b->fdt + STRUCT_AT, b->structure, b->at);
	memcpy(b->fdt + strings, b->strings, b->strings_size);
}

/* Close the root and finish. */
static void end(struct builder *b)
{
	token(b, 2);
	token(b, 9);
	finish(b);
}

/* A sound one with everything in it. */
static void good(struct builder *b)
{
	root(b);
	token(b, 4);
	subtree(b, "kexec-metadata");
	token(b, 2);
	subtree(b, "cache");
	prop(b, "kho,type", "cached", 7);
	prop(b, "kho,type-version", "\1\0\0", 4);
	prop(b, "vendor,unknown", "", 0);
	token(b, 4);
	token(b, 2);
	/* Readers want it aligned, and its end at the guard page: whole 8 bytes. */
	while ((STRUCT_AT + b->at + 8 + b->strings_size) % 8)
		string(b, "");
	end(b);
}

static int check(struct builder *b, u32 size, struct khoc_report *report)
{
	return khoc_root_check(shim_guard_copy(b->guard, b->fdt, size), size, ADDR, IMAGE, report);
}

static void expect_at(struct builder *b, u32 size, int fault, int structure, u64 at, u64 value,
		      u64 limit, const char *field)
{
	struct khoc_report report;

	memset(&report, 0xee, sizeof(report));
	EXPECT_EQ(check(b, size, &report), -fault);
	EXPECT_EQ(report.fault, fault);
	if (!fault)
		return;
	EXPECT_STR_EQ(report.field, field);
	EXPECT_EQ(report.structure, structure);
	EXPECT_EQ(report.level, -1);
	EXPECT_EQ(report.addr, ADDR + at);
	EXPECT_EQ(report.value, value);
	EXPECT_EQ(report.limit, limit);
	EXPECT_EQ(check(b, size, NULL), -fault);
}

static void expect(struct builder *b, int fault, u64 at, u64 value, u64 limit, const char *field)
{
	expect_at(b, b->size, fault, KHOC_S_ROOT_FDT, at, value, limit, field);
}

static void expect_sub(struct builder *b, int fault, u64 at, u64 value, u64 limit,
		       const char *field)
{
	expect_at(b, b->size, fault, KHOC_S_SUBTREE, at, value, limit, field);
}

/* Offset in the FDT of the next token to be put. */
static u32 here(const struct builder *b)
{
	return STRUCT_AT + b->at;
}

static struct builder *setup(void)
{
	struct builder *b = shim_alloc(sizeof(*b));

	b->guard = shim_guard_make();
	return b;
}

static void teardown(struct builder *b)
{
	shim_guard_destroy(b->guard);
	shim_free(b);
}

TEST(good_ones_pass)
{
	struct builder *b = setup();
	struct khoc_report report;

	good(b);
	EXPECT_EQ(check(b, b->size, &report), 0);
	EXPECT_EQ(report.fault, 0);
	EXPECT_EQ(report.level, -1);
	EXPECT_STR_EQ(report.field, "");
	root(b);
	end(b);
	EXPECT_EQ(check(b, b->size, NULL), 0);
	/* A later version that says that readers of ours can read it. */
	put32(b->fdt + 20, 18);
	EXPECT_EQ(check(b, b->size, NULL), 0);
	teardown(b);
}

TEST(header_fields)
{
	static const struct {
		u32 at;
		u32 value;
		int fault;
		u64 limit;
		const char *field;
	} bad[] = {
		{0, 0xd00dfeee, KHO_E_MAGIC, 0xd00dfeed, "magic"},
		{0, 0xedfe0dd0, KHO_E_MAGIC, 0xd00dfeed, "magic"},
		{4, 39, KHO_E_RANGE, 40, "totalsize"},
		{4, 0x80000000, KHO_E_RANGE, 0x7fffffff, "totalsize"},
		{8, 58, KHO_E_ALIGN, 4, "off_dt_struct"},
		{8, 36, KHO_E_RANGE, 40, "off_dt_struct"},
		{12, 0, KHO_E_RANGE, 40, "off_dt_strings"},
		{16, 44, KHO_E_ALIGN, 8, "off_mem_rsvmap"},
		{16, 32, KHO_E_RANGE, 40, "off_mem_rsvmap"},
		{20, 16, KHO_E_VERSION, 17, "version"},
		{20, 0, KHO_E_VERSION, 17, "version"},
		{24, 18, KHO_E_VERSION, 17, "last_comp_version"},
	};
	struct builder *b = setup();

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		good(b);
		put32(b->fdt + bad[i].at, bad[i].value);
		expect(b, bad[i].fault, bad[i].at, bad[i].value, bad[i].limit, bad[i].field);
	}
	/* Sizes and offsets against the FDT's own size. */
	good(b);
	put32(b->fdt + 4, b->size + 1);
	expect(b, KHO_E_TRUNCATED, 4, b->size + 1, b->size, "totalsize");
	good(b);
	put32(b->fdt + 8, 0xfffffffc);
	expect(b, KHO_E_RANGE, 8, 0xfffffffc, b->size, "off_dt_struct");
	good(b);
	put32(b->fdt + 36, b->size - STRUCT_AT + 1);
	expect(b, KHO_E_TRUNCATED, 36, b->size - STRUCT_AT + 1, b->size - STRUCT_AT,
	       "size_dt_struct");
	put32(b->fdt + 36, 0xffffffff);
	expect(b, KHO_E_TRUNCATED, 36, 0xffffffff, b->size - STRUCT_AT, "size_dt_struct");
	good(b);
	put32(b->fdt + 12, b->size + 1);
	expect(b, KHO_E_RANGE, 12, b->size + 1, b->size, "off_dt_strings");
	good(b);
	put32(b->fdt + 32, b->strings_size + 1);
	expect(b, KHO_E_TRUNCATED, 32, b->strings_size + 1, b->strings_size, "size_dt_strings");
	good(b);
	put32(b->fdt + 16, 0xfffffff8);
	expect(b, KHO_E_RANGE, 16, 0xfffffff8, b->size, "off_mem_rsvmap");
	teardown(b);
}

TEST(reservations_without_end)
{
	struct builder *b = setup();
	u32 end_at;

	good(b);
	/* Each 16 bytes of the rest have something in them. */
	memset(b->fdt + 40, 1, b->size - 40);
	end_at = 40 + (b->size - 40) / 16 * 16;
	expect(b, KHO_E_TRUNCATED, end_at, 16, b->size - end_at, "mem_rsvmap");
	teardown(b);
}

TEST(tokens_in_the_wrong_place)
{
	static const u32 unknown[] = {0, 5, 8, 10, 0x01000000, 0xffffffff};
	struct builder *b = setup();
	u32 at;

	for (size_t i = 0; i < ARRAY_LEN(unknown); i++) {
		root(b);
		at = here(b);
		token(b, unknown[i]);
		end(b);
		expect(b, KHO_E_FORMAT, at, unknown[i], 0, "token");
	}
	/* Nothing but the root may come first. */
	for (u32 first = 2; first <= 9; first++) {
		b->at = b->strings_size = 0;
		string(b, "x");
		token(b, first);
		token(b, 0);
		token(b, 0);
		finish(b);
		expect(b, KHO_E_FORMAT, STRUCT_AT, first, 0, "token");
	}
	/* The end inside the root. */
	root(b);
	at = here(b);
	token(b, 9);
	finish(b);
	expect(b, KHO_E_FORMAT, at, 9, 0, "token");
	/* The end inside a subtree. */
	root(b);
	subtree(b, "x");
	at = here(b);
	token(b, 9);
	finish(b);
	expect_sub(b, KHO_E_FORMAT, at, 9, 0, "token");
	/* One node closed too often. */
	root(b);
	token(b, 2);
	at = here(b);
	token(b, 2);
	finish(b);
	expect(b, KHO_E_FORMAT, at, 2, 0, "token");
	/* A second root. */
	root(b);
	token(b, 2);
	at = here(b);
	begin(b, "");
	finish(b);
	expect(b, KHO_E_FORMAT, at, 0, 2, "depth");
	/* A property behind a subtree. */
	root(b);
	subtree(b, "x");
	token(b, 2);
	at = here(b);
	prop(b, "y", "", 0);
	end(b);
	expect(b, KHO_E_FORMAT, at, 3, 0, "token");
	/* And behind the root. */
	root(b);
	token(b, 2);
	at = here(b);
	prop(b, "y", "", 0);
	token(b, 9);
	finish(b);
	expect(b, KHO_E_FORMAT, at, 3, 0, "token");
	/* No end at all. */
	root(b);
	token(b, 2);
	at = here(b);
	finish(b);
	expect(b, KHO_E_TRUNCATED, at, 4, 0, "token");
	/* A node below a subtree. */
	root(b);
	subtree(b, "x");
	at = here(b);
	begin(b, "y");
	finish(b);
	expect_sub(b, KHO_E_FORMAT, at, 2, 2, "depth");
	teardown(b);
}

TEST(names)
{
	static const char *const bad[] = {"", "a b", "a@1", "a/b", "\x80"};
	struct builder *b = setup();
	char longest[65];
	u32 at, first;

	b->at = b->strings_size = 0;
	begin(b, "root");
	finish(b);
	expect(b, KHO_E_FORMAT, STRUCT_AT + 4, 4, 0, "name");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		root(b);
		at = here(b);
		subtree(b, bad[i]);
		token(b, 2);
		end(b);
		expect_sub(b, KHO_E_FORMAT, at + 4, strlen(bad[i]), 63, "name");
	}
	memset(longest, 'x', 64);
	longest[64] = 0;
	root(b);
	at = here(b);
	subtree(b, longest);
	token(b, 2);
	end(b);
	expect_sub(b, KHO_E_FORMAT, at + 4, 64, 63, "name");
	root(b);
	subtree(b, longest + 1);
	token(b, 2);
	end(b);
	expect(b, 0, 0, 0, 0, "");
	/* A name that the structure's end cuts off. */
	root(b);
	at = here(b);
	token(b, 1);
	bytes(b, "abcd", 4);
	finish(b);
	expect(b, KHO_E_TRUNCATED, at + 4, 4, 4, "name");
	/* One name twice, with others and padding between. */
	root(b);
	first = here(b);
	subtree(b, "twice");
	token(b, 2);
	token(b, 4);
	subtree(b, "twic");
	token(b, 2);
	subtree(b, "twicee");
	token(b, 2);
	at = here(b);
	subtree(b, "twice");
	token(b, 2);
	end(b);
	expect_sub(b, KHO_E_DUPLICATE, at + 4, 0, 0, "name");
	EXPECT(first < at);
	teardown(b);
}

TEST(properties_of_the_root)
{
	struct builder *b = setup();
	u32 at;

	/* Without compatible, and without the map. */
	b->at = b->strings_size = 0;
	begin(b, "");
	prop64(b, "preserved-memory-map", 0x5000);
	end(b);
	expect(b, KHO_E_INCOMPATIBLE, STRUCT_AT + b->at - 4, 0, 0, "compatible");
	b->at = b->strings_size = 0;
	begin(b, "");
	prop(b, "compatible", "kho-v4", 7);
	subtree(b, "x");
	token(b, 2);
	end(b);
	expect(b, KHO_E_FORMAT, STRUCT_AT + 8 + 12 + 8 + 8, 0, 0, "preserved-memory-map");
	/* Values of compatible. */
	static const struct {
		const char *value;
		u32 len;
		int fault;
	} compatible[] = {
		{"kho-v4", 6, KHO_E_FORMAT},
		{"", 0, KHO_E_FORMAT},
		{"", 1, KHO_E_INCOMPATIBLE},
		{"kho-v3", 7, KHO_E_INCOMPATIBLE},
		{"kho-v44", 8, KHO_E_INCOMPATIBLE},
		{"kho-v", 6, KHO_E_INCOMPATIBLE},
		{"kho-v4;radix-v1", 16, KHO_E_INCOMPATIBLE},
		{"kho-v4;radix-v1\0kho-v4", 23, 0},
		{"kho-v4\0kho-v9", 14, 0},
		{"\0\0kho-v4", 9, 0},
	};
	for (size_t i = 0; i < ARRAY_LEN(compatible); i++) {
		b->at = b->strings_size = 0;
		begin(b, "");
		at = here(b) + 12;
		prop(b, "compatible", compatible[i].value, compatible[i].len);
		prop64(b, "preserved-memory-map", 0x5000);
		end(b);
		expect(b, compatible[i].fault, at,
		       compatible[i].fault == KHO_E_FORMAT ? compatible[i].len : 0, 0,
		       "compatible");
	}
	/* Twice. */
	root(b);
	at = here(b) + 12;
	prop(b, "compatible", "kho-v4", 7);
	end(b);
	expect(b, KHO_E_DUPLICATE, at, 0, 0, "compatible");
	root(b);
	at = here(b) + 12;
	prop64(b, "preserved-memory-map", 0x6000);
	end(b);
	expect(b, KHO_E_DUPLICATE, at, 0, 0, "preserved-memory-map");
	/* The map's length and value. */
	for (u32 len = 0; len < 16; len++) {
		b->at = b->strings_size = 0;
		begin(b, "");
		at = here(b) + 12;
		prop(b, "preserved-memory-map", "\0\x50\0\0\0\0\0\0\0\0\0\0\0\0\0", len);
		prop(b, "compatible", "kho-v4", 7);
		end(b);
		expect(b, len == 8 ? 0 : KHO_E_FORMAT, at, len, 8, "preserved-memory-map");
	}
	static const u64 maps[] = {0, IMAGE, ~0ULL};
	for (size_t i = 0; i < ARRAY_LEN(maps); i++) {
		b->at = b->strings_size = 0;
		begin(b, "");
		at = here(b) + 12;
		prop64(b, "preserved-memory-map", maps[i]);
		end(b);
		expect(b, KHO_E_RANGE, at, maps[i], IMAGE, "preserved-memory-map");
	}
	teardown(b);
}

TEST(properties_of_a_subtree)
{
	static const struct {
		const char *name;
		const char *value;
		u32 len;
		int fault;
		u64 limit;
	} bad[] = {
		{"preserved-data", "\0\x70\0\0\0\0\0", 8, KHO_E_DUPLICATE, 0},
		{"blob-size", "\0\x70\0\0\0\0\0", 8, KHO_E_DUPLICATE, 0},
		{"kho,type", "ab", 2, KHO_E_FORMAT, 0},
		{"kho,type", "a\0b", 4, KHO_E_FORMAT, 0},
		{"kho,type", "", 1, KHO_E_FORMAT, 0},
		{"kho,type", "", 0, KHO_E_FORMAT, 0},
		{"kho,type-version", "\1\0\0", 3, KHO_E_FORMAT, 4},
		{"kho,type-version", "\1\0\0\0\0", 5, KHO_E_FORMAT, 4},
	};
	struct builder *b = setup();
	u32 at;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		root(b);
		subtree(b, "x");
		at = here(b) + 12;
		prop(b, bad[i].name, bad[i].value, bad[i].len);
		token(b, 2);
		end(b);
		expect_sub(b, bad[i].fault, at, bad[i].fault == KHO_E_FORMAT ? bad[i].len : 0,
			   bad[i].limit, bad[i].name);
	}
	/* Missing ones. */
	root(b);
	at = here(b);
	begin(b, "x");
	prop64(b, "blob-size", 1);
	token(b, 2);
	end(b);
	expect_sub(b, KHO_E_FORMAT, at, 0, 0, "preserved-data");
	root(b);
	at = here(b);
	begin(b, "x");
	prop64(b, "preserved-data", 0x1000);
	token(b, 2);
	end(b);
	expect_sub(b, KHO_E_FORMAT, at, 0, 0, "blob-size");
	/* Another subtree's do not count. */
	root(b);
	subtree(b, "y");
	token(b, 2);
	at = here(b);
	begin(b, "x");
	token(b, 2);
	end(b);
	expect_sub(b, KHO_E_FORMAT, at, 0, 0, "preserved-data");
	teardown(b);
}

TEST(blobs_outside_the_image)
{
	static const struct {
		u64 data, size;
		const char *field; /* NULL: sound */
		u64 limit;
	} blobs[] = {
		{IMAGE - 1, 1, NULL, 0},
		{0x1000, IMAGE - 0x1000, NULL, 0},
		{0, 0, NULL, 0},
		{IMAGE - 1, 0, NULL, 0},
		{0, 1, "preserved-data", IMAGE},
		{IMAGE, 0, "preserved-data", IMAGE},
		{~0ULL, 1, "preserved-data", IMAGE},
		{IMAGE - 1, 2, "blob-size", 1},
		{0x1000, IMAGE, "blob-size", IMAGE - 0x1000},
		{0x1000, ~0ULL, "blob-size", IMAGE - 0x1000},
		{0x1000, ~0ULL - 0xfff, "blob-size", IMAGE - 0x1000},
	};
	struct builder *b = setup();

	for (size_t i = 0; i < ARRAY_LEN(blobs); i++) {
		bool size = blobs[i].field && !strcmp(blobs[i].field, "blob-size");
		u32 at;

		root(b);
		at = here(b);
		begin(b, "x");
		prop64(b, "preserved-data", blobs[i].data);
		prop64(b, "blob-size", blobs[i].size);
		token(b, 2);
		end(b);
		expect_sub(b, blobs[i].field ? KHO_E_RANGE : 0, at,
			   size ? blobs[i].size : blobs[i].data, blobs[i].limit, blobs[i].field);
	}
	teardown(b);
}

TEST(properties_cut_off)
{
	struct builder *b = setup();
	u32 at;

	for (u32 words = 0; words < 2; words++) {
		root(b);
		token(b, 3);
		at = here(b);
		for (u32 i = 0; i < words; i++)
			token(b, 0);
		finish(b);
		expect(b, KHO_E_TRUNCATED, at, 8, words * 4, "property");
	}
	static const u32 lengths[] = {5, 0x7fffffff, 0x80000000, 0xfffffffd, 0xffffffff};
	for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
		root(b);
		token(b, 3);
		at = here(b);
		token(b, lengths[i]);
		token(b, 0);
		token(b, 0);
		finish(b);
		expect(b, KHO_E_TRUNCATED, at, lengths[i], 4, "property length");
	}
	/* A name behind the strings, and one that they cut off. */
	root(b);
	token(b, 3);
	at = here(b);
	token(b, 0);
	token(b, b->strings_size);
	end(b);
	expect(b, KHO_E_RANGE, at + 4, b->strings_size, b->strings_size, "property name");
	root(b);
	token(b, 3);
	at = here(b);
	token(b, 0);
	token(b, b->strings_size);
	memcpy(b->strings + b->strings_size, "abc", 3);
	b->strings_size += 3;
	end(b);
	expect(b, KHO_E_TRUNCATED, at + 4, b->strings_size - 3, b->strings_size, "property name");
	teardown(b);
}

/* What has passed is read in every way; the guard page and the sanitizers watch. */
static void read_all(const void *fdt)
{
	static _Alignas(8) char to[2][8192];
	struct khoc_subtree sub, found;
	int pos = 0, n = 0, err;

	while (!khoc_root_next(fdt, &pos, &sub)) {
		EXPECT(++n < 100);
		EXPECT(strlen(sub.name) <= KHO_ABI_ROOT_NAME_MAX);
		EXPECT(sub.data + sub.size >= sub.data && sub.data + sub.size <= IMAGE);
		EXPECT_EQ(khoc_root_find(fdt, sub.name, &found), 0);
		EXPECT_EQ(found.name, sub.name);
		if (sub.type)
			EXPECT(strlen(sub.type) > 0);
	}
	EXPECT(khoc_root_tree(fdt) && khoc_root_tree(fdt) < IMAGE);
	sub = (struct khoc_subtree){"new-one", 0x1000, 1, "type", 2};
	err = khoc_root_add(fdt, to[0], sizeof(to[0]), &sub);
	EXPECT_EQ(err, 0);
	EXPECT_EQ(khoc_root_check(to[0], sizeof(to[0]), 0, IMAGE, NULL), 0);
	EXPECT_EQ(khoc_root_remove(to[0], to[1], sizeof(to[1]), "new-one"), 0);
	EXPECT_EQ(khoc_root_check(to[1], sizeof(to[1]), 0, IMAGE, NULL), 0);
}

TEST(every_byte_changed)
{
	struct builder *b = setup();
	unsigned int passed = 0;

	good(b);
	for (u32 i = 0; i < b->size; i++) {
		u8 was = b->fdt[i];

		for (unsigned int flip = 1; flip < 256; flip++) {
			b->fdt[i] = (u8)(was ^ flip);
			if (check(b, b->size, NULL))
				continue;
			passed++;
			read_all(b->guard.end - b->size);
		}
		b->fdt[i] = was;
	}
	/* Names, sizes and addresses can change into others that are sound. */
	EXPECT(passed > 1000);
	EXPECT(passed < 255 * b->size / 2);
	teardown(b);
}

TEST(every_truncation)
{
	struct builder *b = setup();

	good(b);
	for (u32 size = 0; size < b->size; size++) {
		struct khoc_report report;

		/* As it is, and with a header that admits it. */
		EXPECT_EQ(check(b, size, &report), -KHO_E_TRUNCATED);
		put32(b->fdt + 4, size);
		EXPECT_NE(check(b, size, &report), 0);
		if (size >= 40)
			EXPECT(report.fault == KHO_E_TRUNCATED || report.fault == KHO_E_RANGE);
		put32(b->fdt + 4, b->size);
	}
	teardown(b);
}

/* Random bytes over random places, several at once. */
TEST(random_damage)
{
	struct builder *b = setup();
	struct rng rng = {test_seed()};

	for (int i = 0; i < 50000; i++) {
		u64 n = 1 + rng_below(&rng, 4);

		good(b);
		while (n--) {
			u32 at = (u32)rng_below(&rng, b->size / 4) * 4;

			if (rng_below(&rng, 2))
				put32(b->fdt + at, (u32)rng_below(&rng, b->size + 8));
			else
				b->fdt[at + rng_below(&rng, 4)] = (u8)rng_next(&rng);
		}
		if (!check(b, b->size, NULL))
			read_all(b->guard.end - b->size);
	}
	teardown(b);
}

TEST_SUITE(root_check, TEST_CASE(good_ones_pass), TEST_CASE(header_fields),
	   TEST_CASE(reservations_without_end), TEST_CASE(tokens_in_the_wrong_place),
	   TEST_CASE(names), TEST_CASE(properties_of_the_root), TEST_CASE(properties_of_a_subtree),
	   TEST_CASE(blobs_outside_the_image), TEST_CASE(properties_cut_off),
	   TEST_CASE(every_byte_changed), TEST_CASE(every_truncation), TEST_CASE(random_damage));
