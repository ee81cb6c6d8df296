/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Checksums against their published check values and against division bit by
 * bit; checked words and page descriptors against every small damage.
 */
#include "image.h"

/* The definition: @bits of @value, highest first, divided by x^width + poly. */
static u32 crc_bits(u32 crc, unsigned int width, u32 poly, u64 value, unsigned int bits)
{
	while (bits--) {
		u32 top = (crc >> (width - 1) ^ (u32)(value >> bits)) & 1;

		crc = crc << 1 & ((1U << width) - 1);
		if (top)
			crc ^= poly;
	}
	return crc;
}

static u16 crc16(u16 start, u64 value)
{
	u32 crc = start;

	for (int i = 0; i < 6; i++)
		crc = crc_bits(crc, 16, 0x1021, value >> (8 * i) & 0xff, 8);
	return (u16)crc;
}

TEST(crc32c_check_values)
{
	u8 buf[32];

	EXPECT_EQ(khoc_crc32c(0, "", 0), 0);
	EXPECT_EQ(khoc_crc32c(0, "123456789", 9), 0xe3069283);
	/* RFC 3720, B.4 */
	memset(buf, 0, sizeof(buf));
	EXPECT_EQ(khoc_crc32c(0, buf, 32), 0x8a9136aa);
	memset(buf, 0xff, sizeof(buf));
	EXPECT_EQ(khoc_crc32c(0, buf, 32), 0x62a8ab43);
	for (int i = 0; i < 32; i++)
		buf[i] = (u8)i;
	EXPECT_EQ(khoc_crc32c(0, buf, 32), 0x46dd794e);
	for (int i = 0; i < 32; i++)
		buf[i] = (u8)(31 - i);
	EXPECT_EQ(khoc_crc32c(0, buf, 32), 0x113fdb5c);
}

TEST(crc32c_goes_on)
{
	for (size_t cut = 0; cut <= 9; cut++) {
		u32 crc = khoc_crc32c(0, "123456789", cut);

		EXPECT_EQ(khoc_crc32c(crc, &"123456789"[cut], 9 - cut), 0xe3069283);
	}
}

TEST(reference_crc16_is_ccitt)
{
	u32 crc = 0xffff;

	for (const char *c = "123456789"; *c; c++)
		crc = crc_bits(crc, 16, 0x1021, (u8)*c, 8);
	EXPECT_EQ(crc, 0x29b1); /* published for start value 0xffff */
}

TEST(cword_is_value_and_crc)
{
	const u64 values[] = {0, 1, 0x2000, 0x12000, 0x123456789abc, (1ULL << 48) - 1};
	const u16 salts[] = {0, 128, 136, 144, 0xffff};

	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		for (size_t j = 0; j < ARRAY_LEN(salts); j++) {
			u64 word = khoc_cword(values[i], salts[j]), value = ~0ULL;

			EXPECT_EQ(word, values[i] << 16 | crc16(salts[j], values[i]));
			EXPECT_EQ(khoc_cword_get(word, salts[j], &value), 0);
			EXPECT_EQ(value, values[i]);
		}
	}
}

TEST(cword_sees_damage)
{
	u64 word = khoc_cword(0x12000, 128), value;

	for (int i = 0; i < 64; i++)
		EXPECT_EQ(khoc_cword_get(word ^ 1ULL << i, 128, &value), -KHO_E_CHECKSUM);
	for (int i = 0; i < 8; i++)
		for (u64 flip = 1; flip < 256; flip++)
			EXPECT_EQ(khoc_cword_get(word ^ flip << (8 * i), 128, &value),
				  -KHO_E_CHECKSUM);
	EXPECT_EQ(khoc_cword_get(word, 136, &value), -KHO_E_CHECKSUM);
	EXPECT_EQ(khoc_cword_get(0, 128, &value), -KHO_E_CHECKSUM);
}

TEST(desc_all_values)
{
	unsigned int good = 0;

	for (u32 desc = 0; desc < 0x10000; desc++) {
		unsigned int type, order;
		u32 bits = desc & 0x3ff;
		u32 crc = crc_bits(0x3f, 6, 0x03, bits, 10);
		bool want = desc == 0 ||
			    (desc >> 10 == crc && (bits & 15) >= 1 && (bits & 15) <= 8);
		int ret = khoc_desc_get((kho_abi_desc_t)desc, &type, &order);

		EXPECT_EQ(ret, want ? 0 : -KHO_E_CHECKSUM);
		if (ret)
			continue;
		good++;
		EXPECT_EQ(type, desc ? bits & 15 : KHO_ABI_DESC_NONE);
		EXPECT_EQ(order, desc ? bits >> 4 : 0);
		EXPECT_EQ(khoc_desc(type, order), desc);
	}
	EXPECT_EQ(good, 8 * 64 + 1);
}

TEST(texts_are_there)
{
	for (int i = KHO_E_TRUNCATED; i < KHO_E_MAX; i++) {
		const char *text = khoc_fault_text(i);

		EXPECT_NE(text, NULL);
		EXPECT_STR_NE(text, khoc_fault_text(-1));
		EXPECT(text[0] >= 'a' && text[0] <= 'z');
		EXPECT(text[strlen(text) - 1] != '.');
		for (int j = KHO_E_TRUNCATED; j < i; j++)
			EXPECT_STR_NE(text, khoc_fault_text(j));
	}
	EXPECT_STR_EQ(khoc_fault_text(KHO_E_MAX), khoc_fault_text(-1));
	for (int i = 0; i < KHOC_S_MAX; i++)
		for (int j = -1; j < i; j++)
			EXPECT_STR_NE(khoc_structure_text(i), khoc_structure_text(j));
	EXPECT_NE(khoc_structure_text(KHOC_S_MAX), NULL);
}

TEST_SUITE(checksum, TEST_CASE(crc32c_check_values), TEST_CASE(crc32c_goes_on),
	   TEST_CASE(reference_crc16_is_ccitt), TEST_CASE(cword_is_value_and_crc),
	   TEST_CASE(cword_sees_damage), TEST_CASE(desc_all_values), TEST_CASE(texts_are_there));
