/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Memory files with holes: written word by word, read back; then what can be wrong with them. */
#include "image.h"

#define SHIFT 12
#define FILE_PA 0x8000ULL
#define ARRAY_PA (FILE_PA + 24)
#define NODE_LO 0x10000ULL
#define NR_NODES 64ULL
#define SIZE (1ULL << 30)
#define A 0x20000000ULL
#define B 0x20200000ULL

struct setup {
	struct image image;
	struct khoc_radix tree;
	struct khoc_array array;
	struct khoc_sparse_memfd file;
	struct khoc_report report;
	u64 seen[SIZE >> SHIFT >> 6];
};

static struct kho_abi_sparse_memfd *header(struct setup *s)
{
	return (struct kho_abi_sparse_memfd *)(s->image.bytes + FILE_PA);
}

/* Ten pages and a half: one at 1, four at 4; the rest are holes. */
static struct setup *setup(void)
{
	struct setup *s = shim_alloc(sizeof(*s));

	image_make(&s->image, SHIFT, SIZE, NODE_LO, NR_NODES, true);
	header(s)->pos = 77;
	header(s)->size = 0xa800;
	header(s)->seals = 5;
	EXPECT_EQ(khoc_radix_init(&s->tree, &s->image.mem, SHIFT), 0);
	EXPECT_EQ(khoc_radix_add(&s->tree, A, 0), 0);
	EXPECT_EQ(khoc_radix_add(&s->tree, B, 2), 0);
	EXPECT_EQ(khoc_array_init(&s->array, &s->image.mem, SHIFT, ARRAY_PA), 0);
	EXPECT_EQ(khoc_array_set(&s->array, 1, khoc_array_integer(A)), 0);
	EXPECT_EQ(khoc_array_set(&s->array, 4, khoc_array_integer(B)), 0);
	return s;
}

static void teardown(struct setup *s)
{
	image_destroy(&s->image);
	shim_free(s);
}

static int open(struct setup *s, u64 pa)
{
	memset(&s->report, 0xee, sizeof(s->report));
	return khoc_sparse_memfd_open(&s->file, &s->image.mem, SHIFT, pa, &s->report);
}

static int validate(struct setup *s)
{
	struct khoc_array_check check = {1 << SHIFT, SIZE, s->seen, 0, 0};

	memset(s->seen, 0, sizeof(s->seen));
	return khoc_sparse_memfd_validate(&s->file, &check, &s->tree, &s->report);
}

TEST(read_back)
{
	struct setup *s = setup();

	EXPECT_EQ(open(s, FILE_PA), 0);
	EXPECT_EQ(s->report.fault, 0);
	EXPECT_EQ(s->file.pos, 77);
	EXPECT_EQ(s->file.size, 0xa800);
	EXPECT_EQ(s->file.seals, 5);
	EXPECT_EQ(khoc_array_get(&s->file.folios, 4), khoc_array_integer(B));
	EXPECT_EQ(validate(s), 0);
	/* The last page of a file may be half of one, and the last folio reach beyond it. */
	EXPECT_EQ(khoc_array_erase(&s->array, 4), 0);
	EXPECT_EQ(khoc_array_set(&s->array, 8, khoc_array_integer(B)), 0);
	EXPECT_EQ(open(s, FILE_PA), 0);
	EXPECT_EQ(validate(s), 0);
	teardown(s);
}

static void refused(struct setup *s, int fault, u64 addr, u64 value, u64 limit, const char *field)
{
	EXPECT_EQ(open(s, FILE_PA) ?: validate(s), -fault);
	EXPECT_EQ(s->report.fault, fault);
	EXPECT_EQ(s->report.structure, KHOC_S_MEMFD);
	EXPECT_EQ(s->report.addr, addr);
	EXPECT_EQ(s->report.value, value);
	EXPECT_EQ(s->report.limit, limit);
	EXPECT_STR_EQ(s->report.field, field);
}

TEST(headers)
{
	struct setup *s = setup();

	EXPECT_EQ(open(s, FILE_PA + 4), -KHO_E_ALIGN);
	EXPECT_EQ(open(s, SIZE - 80), -KHO_E_RANGE);
	header(s)->size = 1ULL << 63;
	refused(s, KHO_E_RANGE, FILE_PA + 8, 1ULL << 63, 1ULL << 63, "size");
	header(s)->size = 0xa800;
	header(s)->seals = 0x45;
	refused(s, KHO_E_INCOMPATIBLE, FILE_PA + 16, 0x45, 0x3f, "seals");
	header(s)->seals = 0;
	header(s)->flags = 1;
	refused(s, KHO_E_VERSION, FILE_PA + 20, 1, 0, "flags");
	header(s)->flags = 0;
	header(s)->folios.magic++;
	EXPECT_EQ(open(s, FILE_PA), -KHO_E_MAGIC);
	EXPECT_EQ(s->report.structure, KHOC_S_ARRAY);
	header(s)->folios.magic--;
	EXPECT_EQ(open(s, FILE_PA), 0);
	EXPECT_EQ(validate(s), 0);
	header(s)->folios.reserved[0] = 1;
	EXPECT_EQ(open(s, FILE_PA) ?: validate(s), -KHO_E_FORMAT);
	EXPECT_EQ(s->report.structure, KHOC_S_ARRAY);
	teardown(s);
}

TEST(folios)
{
	static const struct {
		u64 index, entry;
		int fault;
		u64 value, limit;
		const char *field;
	} cases[] = {
		{2, A, KHO_E_FORMAT, 2, 0, "folio"},
		{2, A << 1 | 1 | 0x400, KHO_E_ALIGN, 2, 0x1000, "folio"},
		{2, (A + 0x1000) << 1 | 1, KHO_E_NOT_PRESERVED, 2, A + 0x1000, "folio"},
		{2, (B + 0x1000) << 1 | 1, KHO_E_NOT_PRESERVED, 2, B + 0x1000, "folio"},
		{2, (SIZE + 0x1000) << 1 | 1, KHO_E_NOT_PRESERVED, 2, SIZE + 0x1000, "folio"},
		{2, B << 1 | 1, KHO_E_ALIGN, 2, 4, "index"},
		{11, A << 1 | 1, KHO_E_RANGE, 11, 11, "index"},
		{~0ULL, A << 1 | 1, KHO_E_RANGE, ~0ULL, 11, "index"},
		{5, A << 1 | 1, KHO_E_OVERLAP, 5, 8, "index"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct setup *s = setup();

		EXPECT_EQ(khoc_array_set(&s->array, cases[i].index, cases[i].entry), 0);
		refused(s, cases[i].fault, ARRAY_PA, cases[i].value, cases[i].limit,
			cases[i].field);
		EXPECT_EQ(khoc_array_erase(&s->array, cases[i].index), 0);
		EXPECT_EQ(open(s, FILE_PA) ?: validate(s), 0);
		teardown(s);
	}
}

TEST_SUITE(sparse_memfd, TEST_CASE(read_back), TEST_CASE(headers), TEST_CASE(folios));
