/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Who handed over: written here byte by byte, and read back; then what can be wrong with it. */
#include "image.h"

#define BASE 0x10000ULL

static void setup(struct image *image, kho_pa_t pa)
{
	image_make(image, 12, BASE + 0x4000, BASE, 4, true);
	memcpy(image->bytes + pa, "\x01\0\0\0", 4);
	memcpy(image->bytes + pa + 4, "7.2.13-amd64", 12);
	memcpy(image->bytes + pa + 69, "\x03\x01\0\0", 4);
}

TEST(read_back)
{
	struct khoc_metadata metadata;
	struct khoc_report report;
	struct image image;

	setup(&image, BASE + 5);
	EXPECT_EQ(khoc_metadata_read(&metadata, &image.mem, BASE + 5, 73, &report), 0);
	EXPECT_EQ(metadata.version, 1);
	EXPECT_STR_EQ(metadata.release, "7.2.13-amd64");
	EXPECT_EQ(metadata.release_len, 12);
	EXPECT_EQ(metadata.count, 259);
	EXPECT_EQ(report.fault, 0);
	/* As long as it fits, with what a later writer may put behind. */
	memset(image.bytes + BASE + 9, 'r', 64);
	EXPECT_EQ(khoc_metadata_read(&metadata, &image.mem, BASE + 5, 4096, NULL), 0);
	EXPECT_EQ(metadata.release_len, 64);
	/* No release at all is one, too. */
	image.bytes[BASE + 9] = 0;
	EXPECT_EQ(khoc_metadata_read(&metadata, &image.mem, BASE + 5, 73, NULL), 0);
	EXPECT_STR_EQ(metadata.release, "");
	image_destroy(&image);
}

TEST(what_can_be_wrong)
{
	static const struct {
		u64 pa, size;
		int fault;
		u64 addr, value, limit;
		const char *field;
	} cases[] = {
		{BASE, 0, KHO_E_TRUNCATED, BASE, 0, 73, "version"},
		{BASE, 3, KHO_E_TRUNCATED, BASE, 3, 73, "version"},
		{BASE, 72, KHO_E_TRUNCATED, BASE, 72, 73, "kexec_count"},
		{BASE + 0x4000 - 72, 73, KHO_E_RANGE, BASE + 0x4000 - 72, BASE + 0x4000 - 72,
		 BASE + 0x4000, "version"},
		{~0ULL, 73, KHO_E_RANGE, ~0ULL, ~0ULL, BASE + 0x4000, "version"},
		{BASE + 100, 73, KHO_E_VERSION, BASE + 100, 2, 1, "version"},
		{BASE + 100, 4, KHO_E_VERSION, BASE + 100, 2, 1, "version"},
		{BASE + 200, 73, KHO_E_FORMAT, BASE + 204, 65, 65, "previous_release"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct khoc_metadata metadata;
		struct khoc_report r;
		struct image image;

		setup(&image, BASE);
		image.bytes[BASE + 100] = 2;
		image.bytes[BASE + 200] = 1;
		memset(image.bytes + BASE + 204, 'r', 65);
		EXPECT_EQ(khoc_metadata_read(&metadata, &image.mem, cases[i].pa, cases[i].size, &r),
			  -cases[i].fault);
		EXPECT_EQ(r.fault, cases[i].fault);
		EXPECT_EQ(r.structure, KHOC_S_METADATA);
		EXPECT_EQ(r.addr, cases[i].addr);
		EXPECT_EQ(r.value, cases[i].value);
		EXPECT_EQ(r.limit, cases[i].limit);
		EXPECT_STR_EQ(r.field, cases[i].field);
		EXPECT_EQ(khoc_metadata_read(&metadata, &image.mem, cases[i].pa, cases[i].size,
					     NULL),
			  -cases[i].fault);
		image_destroy(&image);
	}
}

TEST_SUITE(metadata, TEST_CASE(read_back), TEST_CASE(what_can_be_wrong));
