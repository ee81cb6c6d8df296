/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A kernel's list of formats: in a bzImage, alone, damaged in every byte, and held against strings.
 * Images are written here by hand, by the boot protocol's description, and end at a page that
 * nobody may touch.
 */
#include "shim.h"

#include <kho/kho.h>

#define RECORD 52
#define INFO 0x440 /* in the image: its kernel begins at 0x400 */
#define CHUNK (INFO + 16)
#define NOTE (CHUNK + 8)
#define RECORDS (NOTE + 16)
#define SIZE_MAX_ 4096

/* ---- images -------------------------------------------------------------- */

static void put16(unsigned char *to, u32 value)
{
	to[0] = (unsigned char)value;
	to[1] = (unsigned char)(value >> 8);
}

static void put32(unsigned char *to, u32 value)
{
	put16(to, value);
	put16(to + 2, value >> 16);
}

static void put_record(unsigned char *to, const char *name, u32 min, u32 max, u32 writes, u32 flags)
{
	memset(to, 0, RECORD);
	memcpy(to, name, strlen(name));
	put32(to + 32, min);
	put32(to + 36, max);
	put32(to + 40, writes);
	put32(to + 48, flags);
}

static void put_note(unsigned char *to, u32 nr)
{
	put32(to, 4);
	put32(to + 4, nr * RECORD);
	put32(to + 8, 4);
	memcpy(to + 12, "KHO", 4);
}

/* What the tests' kernel reads and writes; four records. Return: bytes. */
static size_t put_list(unsigned char *to)
{
	put_note(to, 4);
	put_record(to + 16, "hints", 1, 3, 3, 1);
	put_record(to + 16 + RECORD, "kho", 4, 5, 4, 0);
	put_record(to + 16 + 2 * RECORD, "radix", 1, 1, 1, 0);
	put_record(to + 16 + 3 * RECORD, "slab", 2, 2, 2, 4);
	return 16 + 4 * RECORD;
}

/* A bzImage with that list and @behind bytes after kernel_info. Return: its size. */
static size_t put_image(unsigned char *image, size_t behind)
{
	size_t list;

	memset(image, 0, SIZE_MAX_);
	image[0x1f1] = 1;
	memcpy(image + 0x202, "HdrS", 4);
	put16(image + 0x206, 0x20f);
	put32(image + 0x268, INFO - 0x400);
	memcpy(image + INFO, "LToP", 4);
	put32(image + INFO + 4, 16);
	put32(image + INFO + 12, 0x80000009);
	memcpy(image + CHUNK, "KHOF", 4);
	list = put_list(image + NOTE);
	put32(image + CHUNK + 4, (u32)(8 + list));
	put32(image + INFO + 8, (u32)(16 + 8 + list));
	return NOTE + list + behind;
}

struct fixture {
	struct shim_guard guard;
	unsigned char *image;
	size_t size;
	struct khoc_kernel_formats formats;
	struct khoc_report report;
};

static struct fixture make(void)
{
	struct fixture f = {.guard = shim_guard_make(), .image = shim_alloc(SIZE_MAX_)};

	f.size = put_image(f.image, 0);
	return f;
}

static void drop(struct fixture *f)
{
	shim_guard_destroy(f->guard);
	shim_free(f->image);
}

static int read_image(struct fixture *f)
{
	return khoc_kernel_image(&f->formats, shim_guard_copy(f->guard, f->image, f->size), f->size,
				 &f->report);
}

/* ---- what is there ------------------------------------------------------- */

TEST(finds_the_list)
{
	struct fixture f = make();
	struct kho_abi_format format;

	for (size_t behind = 0; behind < 4; behind++) {
		f.size = put_image(f.image, behind);
		EXPECT_EQ(read_image(&f), 0);
		EXPECT_EQ(f.report.fault, 0);
		EXPECT_EQ(f.formats.nr, 4);
		khoc_kernel_format(&f.formats, 0, &format);
		EXPECT_STR_EQ(format.name, "hints");
		EXPECT_EQ(khoc_kernel_find(&f.formats, "kho", &format), 0);
		EXPECT_EQ(format.reads_min, 4);
		EXPECT_EQ(format.reads_max, 5);
		EXPECT_EQ(format.writes, 4);
		EXPECT_EQ(khoc_kernel_find(&f.formats, "slab", &format), 0);
		EXPECT_EQ(format.flags, 4);
		EXPECT_EQ(khoc_kernel_find(&f.formats, "sla", &format), -ENOENT);
		EXPECT_EQ(khoc_kernel_find(&f.formats, "slabs", &format), -ENOENT);
	}
	drop(&f);
}

/* The bytes of the chunk, without the head, are the note of the ELF file. */
TEST(the_chunk_is_the_note)
{
	struct fixture f = make();
	unsigned char note[16 + 4 * RECORD];
	struct khoc_kernel_formats list;

	EXPECT_EQ(put_list(note), sizeof(note));
	EXPECT_EQ(read_image(&f), 0);
	EXPECT_EQ(khoc_kernel_note(&list, note, sizeof(note), 0, &f.report), 0);
	EXPECT_EQ(list.nr, f.formats.nr);
	EXPECT_MEM_EQ(list.records, f.formats.records, 4 * RECORD);
	EXPECT_EQ(khoc_kernel_list(&list, note + 16, 4 * RECORD, 16, NULL), 0);
	EXPECT_EQ(list.nr, 4);
	drop(&f);
}

/* Chunks of others, of any length, before and behind ours. */
TEST(passes_over_other_chunks)
{
	struct fixture f = make();
	unsigned char *at = f.image + CHUNK;
	size_t list;

	memcpy(at, "ABCD", 4);
	put32(at + 4, 13);
	memcpy(at + 13, "KHOF", 4);
	list = put_list(at + 13 + 8);
	put32(at + 13 + 4, (u32)(8 + list));
	memcpy(at + 13 + 8 + list, "KHOG", 4);
	put32(at + 13 + 8 + list + 4, 8);
	put32(f.image + INFO + 8, (u32)(16 + 13 + 8 + list + 8));
	f.size = CHUNK + 13 + 8 + list + 8;
	EXPECT_EQ(read_image(&f), 0);
	EXPECT_EQ(f.formats.nr, 4);
	/* Ours twice. */
	memcpy(at + 13 + 8 + list, "KHOF", 4);
	EXPECT_EQ(read_image(&f), -KHO_E_DUPLICATE);
	EXPECT_EQ(f.report.structure, KHOC_S_KERNEL_INFO);
	EXPECT_EQ(f.report.addr, CHUNK + 13 + 8 + list);
	EXPECT_EQ(f.formats.nr, 0);
	drop(&f);
}

TEST(images_without_a_list)
{
	struct fixture f = make();

	/* Linux's own: kernel_info ends where chunks would begin. */
	put32(f.image + INFO + 8, 16);
	EXPECT_EQ(read_image(&f), -ENOENT);
	EXPECT_EQ(f.report.fault, 0);
	f.size = put_image(f.image, 0);
	memcpy(f.image + CHUNK, "KHOf", 4);
	EXPECT_EQ(read_image(&f), -ENOENT);
	/* Before 2.15 there was something else. */
	f.size = put_image(f.image, 0);
	put16(f.image + 0x206, 0x20e);
	put32(f.image + 0x268, 0xffffffff);
	EXPECT_EQ(read_image(&f), -ENOENT);
	drop(&f);
}

/* 0 sectors are 4. */
TEST(old_number_of_sectors)
{
	struct fixture f = make();

	f.image[0x1f1] = 0;
	memmove(f.image + 0xa40, f.image + INFO, f.size - INFO);
	memset(f.image + INFO, 0, 0xa40 - INFO);
	f.size += 0xa40 - INFO;
	EXPECT_EQ(read_image(&f), 0);
	EXPECT_EQ(f.formats.nr, 4);
	drop(&f);
}

/* ---- what is wrong ------------------------------------------------------- */

struct wrong {
	u32 at; /* where this is written */
	u32 value;
	int fault;
	int structure;
	u64 addr;
	const char *field;
};

static const struct wrong wrong[] = {
	{0x202, 0x53726449, KHO_E_MAGIC, KHOC_S_NONE, 0x202, "header"},
	{0x268, 0xffffffff, KHO_E_TRUNCATED, KHOC_S_KERNEL_INFO, 0x268, "kernel_info_offset"},
	{0x268, INFO - 0x400 + 1, KHO_E_MAGIC, KHOC_S_KERNEL_INFO, INFO + 1, "magic"},
	{INFO, 0x506f544d, KHO_E_MAGIC, KHOC_S_KERNEL_INFO, INFO, "magic"},
	{INFO + 4, 11, KHO_E_RANGE, KHOC_S_KERNEL_INFO, INFO + 4, "size"},
	{INFO + 4, 0xfffffff0, KHO_E_RANGE, KHOC_S_KERNEL_INFO, INFO + 4, "size"},
	{INFO + 8, 15, KHO_E_RANGE, KHOC_S_KERNEL_INFO, INFO + 4, "size"},
	{INFO + 8, 65537, KHO_E_RANGE, KHOC_S_KERNEL_INFO, INFO + 8, "size_total"},
	{INFO + 8, 65536, KHO_E_TRUNCATED, KHOC_S_KERNEL_INFO, INFO + 8, "size_total"},
	{INFO + 8, 249, KHO_E_TRUNCATED, KHOC_S_KERNEL_INFO, INFO + 8, "size_total"},
	{INFO + 8, 16 + 7, KHO_E_TRUNCATED, KHOC_S_KERNEL_INFO, CHUNK, "chunk"},
	{INFO + 8, 247, KHO_E_RANGE, KHOC_S_KERNEL_INFO, CHUNK + 4, "chunk size"},
	{CHUNK + 4, 7, KHO_E_RANGE, KHOC_S_KERNEL_INFO, CHUNK + 4, "chunk size"},
	{CHUNK + 4, 0, KHO_E_RANGE, KHOC_S_KERNEL_INFO, CHUNK + 4, "chunk size"},
	{CHUNK + 4, 0xffffffff, KHO_E_RANGE, KHOC_S_KERNEL_INFO, CHUNK + 4, "chunk size"},
	{CHUNK + 4, 8 + 15, KHO_E_TRUNCATED, KHOC_S_FORMATS, NOTE, "name_size"},
	{NOTE, 5, KHO_E_MAGIC, KHOC_S_FORMATS, NOTE, "name_size"},
	{NOTE + 4, 3 * RECORD, KHO_E_FORMAT, KHOC_S_FORMATS, NOTE + 4, "size"},
	{NOTE + 4, 5 * RECORD, KHO_E_TRUNCATED, KHOC_S_FORMATS, NOTE + 4, "size"},
	{NOTE + 8, 1, KHO_E_MAGIC, KHOC_S_FORMATS, NOTE + 8, "type"},
	{NOTE + 12, 0x004f484c, KHO_E_MAGIC, KHOC_S_FORMATS, NOTE + 12, "name"},
	{RECORDS, 0, KHO_E_FORMAT, KHOC_S_FORMATS, RECORDS, "name"},
	{RECORDS, 0x3b746e69, KHO_E_FORMAT, KHOC_S_FORMATS, RECORDS, "name"},
	/* "xints" comes behind "kho"; "khk" is before it, and then there is no "kho" */
	{RECORDS, 0x746e6978, KHO_E_FORMAT, KHOC_S_FORMATS, RECORDS + RECORD, "name"},
	{RECORDS + RECORD, 0x006b686b, KHO_E_FORMAT, KHOC_S_FORMATS, RECORDS, "kho"},
	{RECORDS + 32, 0, KHO_E_RANGE, KHOC_S_FORMATS, RECORDS + 32, "reads_min"},
	{RECORDS + 32, 4, KHO_E_RANGE, KHOC_S_FORMATS, RECORDS + 32, "reads_min"},
	{RECORDS + RECORD + 44, 5, KHO_E_RANGE, KHOC_S_FORMATS, RECORDS + RECORD + 44,
	 "writes_min"},
};

TEST(says_what_is_wrong)
{
	struct fixture f = make();

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		const struct wrong *w = &wrong[i];

		f.size = put_image(f.image, 0);
		put32(f.image + w->at, w->value);
		EXPECT_EQ(read_image(&f), -w->fault);
		EXPECT_EQ(f.report.fault, w->fault);
		EXPECT_EQ(f.report.structure, w->structure);
		EXPECT_EQ(f.report.addr, w->addr);
		EXPECT_STR_EQ(f.report.field, w->field);
		EXPECT_EQ(f.formats.nr, 0);
	}
	drop(&f);
}

TEST(names_are_names)
{
	struct fixture f = make();

	/* 31 bytes are a name, 32 have no end. */
	memset(f.image + RECORDS, 'a', 31);
	EXPECT_EQ(read_image(&f), 0);
	f.image[RECORDS + 31] = 'a';
	EXPECT_EQ(read_image(&f), -KHO_E_FORMAT);
	EXPECT_STR_EQ(f.report.field, "name");
	/* Twice. */
	f.size = put_image(f.image, 0);
	put_record(f.image + RECORDS, "kho", 4, 4, 4, 0);
	EXPECT_EQ(read_image(&f), -KHO_E_DUPLICATE);
	EXPECT_EQ(f.report.addr, RECORDS + RECORD);
	drop(&f);
}

TEST(as_many_records_as_a_string_has_parts)
{
	unsigned char *list = shim_alloc(16 + 34 * RECORD);
	struct khoc_kernel_formats formats;
	struct khoc_report report;
	char name[8];

	put_record(list + 16, "kho", 4, 4, 4, 0);
	for (u32 i = 1; i < 34; i++) {
		snprintf(name, sizeof(name), "p%02u", i);
		put_record(list + 16 + i * RECORD, name, 1, 1, 1, 0);
	}
	put_note(list, 33);
	EXPECT_EQ(khoc_kernel_note(&formats, list, 16 + 33 * RECORD, 0, &report), 0);
	EXPECT_EQ(formats.nr, 33);
	put_note(list, 34);
	EXPECT_EQ(khoc_kernel_note(&formats, list, 16 + 34 * RECORD, 0, &report), -KHO_E_RANGE);
	EXPECT_EQ(report.value, 34);
	EXPECT_EQ(khoc_kernel_list(&formats, list, 0, 0, &report), -KHO_E_FORMAT);
	shim_free(list);
}

/* Cut anywhere, or changed in any bit: an answer, and nothing read behind the end. */
TEST(any_cut_and_any_bit)
{
	struct fixture f = make();
	size_t whole = f.size;

	for (f.size = 0; f.size < whole; f.size++)
		EXPECT_EQ(read_image(&f) != 0, 1);
	for (size_t bit = INFO * 8; bit < whole * 8; bit++) {
		f.image[bit / 8] ^= (unsigned char)(1u << bit % 8);
		if (!read_image(&f))
			EXPECT_EQ(f.formats.nr, 4);
		f.image[bit / 8] ^= (unsigned char)(1u << bit % 8);
	}
	EXPECT_EQ(read_image(&f), 0);
	drop(&f);
}

/* ---- strings ------------------------------------------------------------- */

TEST(what_it_writes)
{
	struct fixture f = make();
	char text[KHO_ABI_COMPAT_MAX];

	EXPECT_EQ(read_image(&f), 0);
	/* Slabs only where they are used. */
	EXPECT_EQ(khoc_kernel_writes(&f.formats, text, sizeof(text)), 32);
	EXPECT_STR_EQ(text, "kho-v4;hints-v3?;radix-v1");
	EXPECT_EQ(khoc_kernel_writes(&f.formats, text, 24), -ENOSPC);
	put32(f.image + RECORDS + 40, 0);
	EXPECT_EQ(read_image(&f), 0);
	EXPECT_EQ(khoc_kernel_writes(&f.formats, text, sizeof(text)), 16);
	EXPECT_STR_EQ(text, "kho-v4;radix-v1");
	put32(f.image + RECORDS + RECORD + 40, 0);
	EXPECT_EQ(read_image(&f), 0);
	EXPECT_EQ(khoc_kernel_writes(&f.formats, text, sizeof(text)), -EINVAL);
	drop(&f);
}

static const struct {
	const char *string;
	int error;
	const char *text;
} strings[] = {
	{"kho-v4", 0, "compatible"},
	{"kho-v5;hints-v2;radix-v1;slab-v2", 0, "compatible"},
	{"kho-v3", -KHO_E_INCOMPATIBLE,
	 "part \"kho\": it is version 3, this reader takes versions 4 to 5"},
	{"lho-v4", -KHO_E_INCOMPATIBLE, "base \"lho-v4\" is not a \"kho\""},
	{"kho-v4;radix-v1;slab-v1", -KHO_E_INCOMPATIBLE,
	 "part \"slab\": it is version 1, this reader takes version 2"},
	{"kho-v4;radix-v1;vmalloc-v1", -KHO_E_INCOMPATIBLE,
	 "part \"vmalloc-v1\" is mandatory, and this reader does not know it"},
	{"kho-v4;hints-v9?;radix-v1;vmalloc-v1?", 0, "compatible"},
	{"kho-v4;", -KHO_E_FORMAT, "part \"\" is not NAME-vNUMBER"},
};

TEST(what_it_could_read)
{
	struct fixture f = make();
	struct khoc_compat_why why;
	char text[160];

	EXPECT_EQ(read_image(&f), 0);
	for (size_t i = 0; i < ARRAY_LEN(strings); i++) {
		EXPECT_EQ(khoc_kernel_match(&f.formats, strings[i].string,
					    strlen(strings[i].string) + 1, &why),
			  strings[i].error);
		EXPECT_STR_EQ(khoc_compat_text(&why, text, sizeof(text)), strings[i].text);
	}
	drop(&f);
}

/* A kernel without a list, and what such a one writes: by Linux's own strings and numbers. */
TEST(linux_without_a_list)
{
	const struct khoc_kernel_formats *plain = khoc_kernel_linux();
	struct khoc_kernel_formats again;
	struct khoc_compat_why why;
	char text[KHO_ABI_COMPAT_MAX];

	EXPECT_EQ(khoc_kernel_list(&again, plain->records, plain->nr * (size_t)RECORD, 0, NULL), 0);
	EXPECT(khoc_kernel_writes(plain, text, sizeof(text)) > 0);
	EXPECT_STR_EQ(text, "kho-v4;block-v1;kexec-metadata-v1?;luo-v5;memblock-v1;memfd-v2;"
			    "radix-v1;vmalloc-v1");
	EXPECT_EQ(khoc_kernel_match(plain, text, sizeof(text), &why), 0);
	EXPECT_EQ(khoc_kernel_match(plain, "kho-v4;vmalloc-v2", 18, &why), -KHO_E_INCOMPATIBLE);
	EXPECT_STR_EQ(why.part, "vmalloc");
	EXPECT_EQ(why.version, 2);
	EXPECT_EQ(why.max, 1);
}

TEST_SUITE(kernel_info, TEST_CASE(finds_the_list), TEST_CASE(the_chunk_is_the_note),
	   TEST_CASE(passes_over_other_chunks), TEST_CASE(images_without_a_list),
	   TEST_CASE(old_number_of_sectors), TEST_CASE(says_what_is_wrong),
	   TEST_CASE(names_are_names), TEST_CASE(as_many_records_as_a_string_has_parts),
	   TEST_CASE(any_cut_and_any_bit), TEST_CASE(what_it_writes), TEST_CASE(what_it_could_read),
	   TEST_CASE(linux_without_a_list));
