/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Compatibility strings: ours and Linux's, hostile ones, matching part by part, and its words. */
#include "shim.h"

#include <kho/kho.h>

/* Every composite string of the project, and those of Linux's series of June 2026. */
static const char *const composites[] = {
	KHO_ABI_COMPAT_CORE,
	KHO_ABI_COMPAT_ARENA,
	"kho-v4" KHO_ABI_COMPAT_PART("radix-v1") KHO_ABI_COMPAT_PART("vmalloc-v1"),
	"luo-v5" KHO_ABI_COMPAT_PART("block-v1"),
	"memfd-v2" KHO_ABI_COMPAT_PART("vmalloc-v1"),
};

TEST(all_composites_are_sorted_and_unique)
{
	for (size_t i = 0; i < ARRAY_LEN(composites); i++) {
		const char *part = strchr(composites[i], ';'), *next;

		EXPECT_EQ(khoc_compat_check(composites[i], strlen(composites[i]) + 1, NULL), 0);
		/* Without our reader, too. */
		for (; part && (next = strchr(part + 1, ';')); part = next) {
			char a[64] = {0}, b[64] = {0};

			memcpy(a, part + 1, (size_t)(next - part - 1));
			memcpy(b, next + 1, strcspn(next + 1, ";"));
			EXPECT(strcmp(a, b) < 0);
		}
	}
}

TEST(what_the_macros_make)
{
	EXPECT_STR_EQ(KHO_ABI_COMPAT_CORE, "kho-v4;radix-v1");
	EXPECT_STR_EQ(KHO_ABI_COMPAT_ARENA, "kho-v4;arena-v1;radix-v1;slab-v1");
	EXPECT_STR_EQ("a-v1" KHO_ABI_COMPAT_OPTIONAL("b-v2"), "a-v1;b-v2?");
	/* Linux's sizes: 27, 16 and 20 bytes. */
	EXPECT_EQ(sizeof("kho-v4;radix-v1;vmalloc-v1"), 27);
	EXPECT_EQ(KHO_ABI_COMPAT_ALIGN("kho-v4;radix-v1;vmalloc-v1"), 32);
	EXPECT_EQ(KHO_ABI_COMPAT_ALIGN("luo-v5;block-v1"), 16);
	EXPECT_EQ(KHO_ABI_COMPAT_ALIGN("memfd-v2;vmalloc-v1"), 24);
	EXPECT_EQ(KHO_ABI_COMPAT_ALIGN(""), 8);
	EXPECT_EQ(KHO_ABI_COMPAT_ALIGN("1234567"), 8);
	EXPECT_EQ(KHO_ABI_COMPAT_ALIGN("12345678"), 16);
}

TEST(parts_one_by_one)
{
	static const char string[] = "kho-v4;a-b-v1;hints-v4294967295?;z-v20";
	static const struct {
		const char *name;
		u32 version;
		bool optional;
	} want[] = {{"kho", 4, 0}, {"a-b", 1, 0}, {"hints", 0xffffffff, 1}, {"z", 20, 0}};
	struct khoc_compat_part part;
	size_t pos = 0;

	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		EXPECT_EQ(khoc_compat_next(string, sizeof(string), &pos, &part), 0);
		EXPECT_EQ(part.name_len, strlen(want[i].name));
		EXPECT_MEM_EQ(part.name, want[i].name, part.name_len);
		EXPECT_EQ(part.version, want[i].version);
		EXPECT_EQ(part.optional, want[i].optional);
	}
	EXPECT_EQ(khoc_compat_next(string, sizeof(string), &pos, &part), -ENOENT);
	pos = 0;
	EXPECT_EQ(khoc_compat_next("kho", 4, &pos, &part), -KHO_E_FORMAT);
	EXPECT_EQ(khoc_compat_next("kho-v4", 6, &pos, &part), -KHO_E_FORMAT);
}

static const struct {
	const char *string;
	int error;
	enum khoc_compat_verdict verdict;
	u32 at;
	const char *text;
} strings[] = {
	{"kho-v4", 0, KHOC_COMPAT_OK, 0, "compatible"},
	{"kho-v4;a-v1;b-v1", 0, KHOC_COMPAT_OK, 0, "compatible"},
	/* The base takes no part in the order, and its name none in uniqueness. */
	{"z-v1;a-v1;z-v1", 0, KHOC_COMPAT_OK, 0, "compatible"},
	/* As strcmp has it: ';' is no part of a part. */
	{"k-v1;a-v1;a-x-v1;a_-v1", 0, KHOC_COMPAT_OK, 0, "compatible"},
	{"k-v1;Z-v1;a-v1?", 0, KHOC_COMPAT_OK, 0, "compatible"},
	{"", KHO_E_FORMAT, KHOC_COMPAT_LENGTH, 0,
	 "a compatibility string that is empty, or does not end in 512 bytes"},
	{"kho", KHO_E_FORMAT, KHOC_COMPAT_SYNTAX, 0, "part \"kho\" is not NAME-vNUMBER"},
	{"kho-v", KHO_E_FORMAT, KHOC_COMPAT_SYNTAX, 0, "part \"kho-v\" is not NAME-vNUMBER"},
	{"-v4", KHO_E_FORMAT, KHOC_COMPAT_SYNTAX, 0, "part \"-v4\" is not NAME-vNUMBER"},
	{"v4", KHO_E_FORMAT, KHOC_COMPAT_SYNTAX, 0, "part \"v4\" is not NAME-vNUMBER"},
	{"kho-v4?", KHO_E_FORMAT, KHOC_COMPAT_SYNTAX, 0, "part \"kho-v4?\" is not NAME-vNUMBER"},
	{"kho-v04", KHO_E_FORMAT, KHOC_COMPAT_SYNTAX, 0, "part \"kho-v04\" is not NAME-vNUMBER"},
	{"kho-v0", KHO_E_FORMAT, KHOC_COMPAT_SYNTAX, 0, "part \"kho-v0\" is not NAME-vNUMBER"},
	{"kho-v4;a-v4294967296", KHO_E_FORMAT, KHOC_COMPAT_SYNTAX, 7,
	 "part \"a-v4294967296\" is not NAME-vNUMBER"},
	{"kho-v4;a-v42949672950", KHO_E_FORMAT, KHOC_COMPAT_SYNTAX, 7,
	 "part \"a-v42949672950\" is not NAME-vNUMBER"},
	{"kho-v4;", KHO_E_FORMAT, KHOC_COMPAT_SYNTAX, 7, "part \"\" is not NAME-vNUMBER"},
	{";a-v1", KHO_E_FORMAT, KHOC_COMPAT_SYNTAX, 0, "part \"\" is not NAME-vNUMBER"},
	{"kho-v4;;a-v1", KHO_E_FORMAT, KHOC_COMPAT_SYNTAX, 7, "part \"\" is not NAME-vNUMBER"},
	{"kho-v4;a-v1??", KHO_E_FORMAT, KHOC_COMPAT_SYNTAX, 7,
	 "part \"a-v1?\?\" is not NAME-vNUMBER"},
	{"kho-v4;a\x01\xff-v1", KHO_E_FORMAT, KHOC_COMPAT_SYNTAX, 7,
	 "part \"a..-v1\" is not NAME-vNUMBER"},
	{"kho-v4;a012345678901234567890123456789-v1", 0, KHOC_COMPAT_OK, 0, "compatible"},
	{"kho-v4;a0123456789012345678901234567890-v1", KHO_E_FORMAT, KHOC_COMPAT_SYNTAX, 7,
	 "part \"a0123456789012345678901234567890-v1\" is not NAME-vNUMBER"},
	{"kho-v4;b-v1;a-v1", KHO_E_FORMAT, KHOC_COMPAT_UNSORTED, 12,
	 "part \"a-v1\" comes behind \"b-v1\", before which it belongs"},
	/* strcmp, not numbers: but one name cannot be there in two versions anyway. */
	{"kho-v4;a-v1;a-v1", KHO_E_DUPLICATE, KHOC_COMPAT_TWICE, 12,
	 "part \"a-v1\" has the name of \"a-v1\", which is there already"},
	{"kho-v4;a-v1;a-v1?", KHO_E_DUPLICATE, KHOC_COMPAT_TWICE, 12,
	 "part \"a-v1?\" has the name of \"a-v1\", which is there already"},
	/* Sorted, and not neighbours. */
	{"kho-v4;a-v1;a-v1x-v1;a-v2", KHO_E_DUPLICATE, KHOC_COMPAT_TWICE, 21,
	 "part \"a-v2\" has the name of \"a-v1\", which is there already"},
};

TEST(what_is_a_string)
{
	struct khoc_compat_why why;
	char text[200];

	for (size_t i = 0; i < ARRAY_LEN(strings); i++) {
		size_t size = strlen(strings[i].string) + 1;
		char *copy = shim_alloc(size); /* so that a byte beyond is found */

		memcpy(copy, strings[i].string, size);
		EXPECT_EQ(khoc_compat_check(copy, size, &why), -strings[i].error);
		EXPECT_STR_EQ(khoc_compat_text(&why, text, sizeof(text)), strings[i].text);
		EXPECT_EQ(why.verdict, strings[i].verdict);
		EXPECT_EQ(why.at, strings[i].at);
		/* Without its end. */
		memmove(copy + 1, copy, size - 1);
		EXPECT_EQ(khoc_compat_check(copy + 1, size - 1, &why), -KHO_E_FORMAT);
		EXPECT_EQ(why.verdict, KHOC_COMPAT_LENGTH);
		shim_free(copy);
	}
}

TEST(limits)
{
	struct khoc_compat_why why;
	char text[KHO_ABI_COMPAT_MAX + 8] = "k-v1";
	size_t len = 4;

	for (u32 i = 0; i < 33; i++) {
		EXPECT_EQ(khoc_compat_check(text, sizeof(text), &why), 0);
		memcpy(text + len, ";p00-v1", 8);
		text[len + 2] = (char)('0' + i / 10);
		text[len + 3] = (char)('0' + i % 10);
		len += 7;
	}
	EXPECT_EQ(khoc_compat_check(text, sizeof(text), &why), -KHO_E_RANGE);
	EXPECT_EQ(why.verdict, KHOC_COMPAT_TOO_MANY);
	EXPECT_STR_EQ(why.part, "p32-v1");
	/* 4 bytes, 14 parts of 35 and one of 17 are 511, with the longest names. */
	memset(text, 0, sizeof(text));
	memcpy(text, "k-v1", 4);
	for (u32 i = 0; i < 15; i++) {
		size_t size = i == 14 ? 17 : 35;

		memset(text + 4 + i * 35, 'a' + (char)i, size);
		text[4 + i * 35] = ';';
		memcpy(text + 4 + i * 35 + size - 3, "-v1", 3);
	}
	EXPECT_EQ(strlen(text), 511);
	EXPECT_EQ(khoc_compat_check(text, sizeof(text), &why), 0);
	EXPECT_EQ(khoc_compat_check(text, 512, &why), 0);
	EXPECT_EQ(khoc_compat_check(text, 511, &why), -KHO_E_FORMAT);
	text[511] = '1';
	EXPECT_EQ(khoc_compat_check(text, sizeof(text), &why), -KHO_E_FORMAT);
	EXPECT_EQ(why.verdict, KHOC_COMPAT_LENGTH);
}

/* ---- matching ------------------------------------------------------------ */

static const struct khoc_compat_reads reads[] = {
	{"kho", 4, 5, true},
	{"radix", 1, 2, true},
	{"vmalloc", 2, 2, false},
	{"hints", 3, 4, false},
};

static const struct {
	const char *string;
	int error;
	const char *text;
} matches[] = {
	{"kho-v4;radix-v1", 0, "compatible"},
	{"kho-v5;hints-v3;radix-v2;vmalloc-v2", 0, "compatible"},
	/* Optional parts: unknown, of another version, and known. */
	{"kho-v4;cache-v9?;hints-v9?;radix-v1", 0, "compatible"},
	{"kho-v4;hints-v3?;radix-v1?", 0, "compatible"},
	{"luo-v4;radix-v1", KHO_E_INCOMPATIBLE, "base \"luo-v4\" is not a \"kho\""},
	{"kh-v4;radix-v1", KHO_E_INCOMPATIBLE, "base \"kh-v4\" is not a \"kho\""},
	{"kho-v3;radix-v1", KHO_E_INCOMPATIBLE,
	 "part \"kho\": it is version 3, this reader takes versions 4 to 5"},
	{"kho-v4;radix-v3", KHO_E_INCOMPATIBLE,
	 "part \"radix\": it is version 3, this reader takes versions 1 to 2"},
	{"kho-v4;radix-v1;vmalloc-v1", KHO_E_INCOMPATIBLE,
	 "part \"vmalloc\": it is version 1, this reader takes version 2"},
	{"kho-v4;array-v1;radix-v1", KHO_E_INCOMPATIBLE,
	 "part \"array-v1\" is mandatory, and this reader does not know it"},
	{"kho-v4", KHO_E_INCOMPATIBLE,
	 "part \"radix\" is missing: this reader needs it in versions 1 to 2"},
	/* What this reader needs may not be passed over. */
	{"kho-v4;radix-v3?", KHO_E_INCOMPATIBLE,
	 "part \"radix\": it is version 3, this reader takes versions 1 to 2"},
	{"kho-v4;radix-v1;hints-v3", KHO_E_FORMAT,
	 "part \"hints-v3\" comes behind \"radix-v1\", before which it belongs"},
};

TEST(matched_part_by_part)
{
	struct khoc_compat_why why;
	char text[200];

	for (size_t i = 0; i < ARRAY_LEN(matches); i++) {
		size_t size = strlen(matches[i].string) + 1;

		EXPECT_EQ(khoc_compat_match(matches[i].string, size, reads, ARRAY_LEN(reads), &why),
			  -matches[i].error);
		EXPECT_STR_EQ(khoc_compat_text(&why, text, sizeof(text)), matches[i].text);
		EXPECT_EQ(khoc_compat_match(matches[i].string, size, reads, ARRAY_LEN(reads), NULL),
			  -matches[i].error);
	}
}

TEST(words_are_cut)
{
	static const char whole[] =
		"part \"a-v1\" has the name of \"a-v1\", which is there already";
	struct khoc_compat_why why;
	char text[100];

	EXPECT_EQ(khoc_compat_check("k-v1;a-v1;a-v1", 15, &why), -KHO_E_DUPLICATE);
	for (size_t size = 1; size < sizeof(text); size++) {
		memset(text, 'x', sizeof(text));
		khoc_compat_text(&why, text, size);
		EXPECT_EQ(strlen(text), size < sizeof(whole) ? size - 1 : sizeof(whole) - 1);
		EXPECT_EQ(memcmp(text, whole, strlen(text)), 0);
		EXPECT_EQ(text[sizeof(text) - 1], 'x');
	}
}

/* ---- composing ------------------------------------------------------------ */

TEST(composed_in_order)
{
	static const struct khoc_compat_part base = {"kho", 3, 4, false};
	static const struct khoc_compat_part parts[] = {
		{"vmalloc", 7, 1, false}, {"array", 5, 12, false}, {"hints", 5, 7, true}};
	static const char want[40] = "kho-v4;array-v12;hints-v7?;vmalloc-v1";
	char to[40];

	memset(to, 'x', sizeof(to));
	EXPECT_EQ(khoc_compat_compose(to, sizeof(to), &base, parts, 3), 40);
	EXPECT_MEM_EQ(to, want, 40);
	EXPECT_EQ(khoc_compat_compose(to, 39, &base, parts, 3), -ENOSPC);
	EXPECT_EQ(khoc_compat_compose(to, sizeof(to), &base, NULL, 0), 8);
	EXPECT_STR_EQ(to, "kho-v4");
}

TEST(not_composed)
{
	static const struct khoc_compat_part good = {"kho", 3, 4, false};
	static const struct khoc_compat_part bad[] = {
		{"", 0, 1, false},    {"a;b", 3, 1, false},
		{"a?", 2, 1, false},  {"abc", 3, 0, false},
		{"a b", 3, 1, false}, {"abcdefghijklmnopqrstuvwxyzABCDEF", 32, 1, false}};
	static const struct khoc_compat_part twice[] = {{"a", 1, 1, false}, {"a", 1, 2, true}};
	static const struct khoc_compat_part optional = {"kho", 3, 4, true};
	struct khoc_compat_part many[33];
	char to[64];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		EXPECT_EQ(khoc_compat_compose(to, sizeof(to), &bad[i], NULL, 0), -EINVAL);
		EXPECT_EQ(khoc_compat_compose(to, sizeof(to), &good, &bad[i], 1), -EINVAL);
	}
	EXPECT_EQ(khoc_compat_compose(to, sizeof(to), &good, twice, 2), -EINVAL);
	EXPECT_EQ(khoc_compat_compose(to, sizeof(to), &optional, NULL, 0), -EINVAL);
	memset(many, 0, sizeof(many));
	EXPECT_EQ(khoc_compat_compose(to, sizeof(to), &good, many, 33), -EINVAL);
}

/* ---- against a model -------------------------------------------------------- */

struct model {
	char text[24];
	char name[16];
	u32 version;
	bool optional;
};

/* Written down one by one, sorted by insertion: another way to the same string. */
static size_t model_string(struct model *models, u32 nr, char *to)
{
	strcpy(to, "kho-v4");
	for (u32 i = 1; i < nr; i++)
		for (u32 j = i; j && strcmp(models[j - 1].text, models[j].text) > 0; j--) {
			struct model swap = models[j];

			models[j] = models[j - 1];
			models[j - 1] = swap;
		}
	for (u32 i = 0; i < nr; i++) {
		strcat(to, ";");
		strcat(to, models[i].text);
	}
	return strlen(to) + 1;
}

static u32 random_models(struct rng *rng, struct model *models)
{
	u32 nr = 0, want = (u32)rng_below(rng, 12);

	for (u32 tries = 0; nr < want && tries < 100; tries++) {
		struct model *m = &models[nr];
		bool twin = false;

		memset(m, 0, sizeof(*m));
		for (u64 i = 0, len = 1 + rng_below(rng, 3); i < len; i++)
			m->name[i] = "ab-vZ1"[rng_below(rng, 6)];
		m->version = 1 + (u32)rng_below(rng, 120);
		m->optional = !rng_below(rng, 4);
		for (u32 i = 0; i < nr; i++)
			twin |= !strcmp(models[i].name, m->name);
		snprintf(m->text, sizeof(m->text), "%s-v%u%s", m->name, m->version,
			 m->optional ? "?" : "");
		nr += !twin;
	}
	return nr;
}

/* What a reader takes of them, and whether it then takes the string. */
static bool model_reads(struct rng *rng, const struct model *models, u32 nr,
			struct khoc_compat_reads *takes, u32 *nr_takes)
{
	bool ok = true;

	takes[0] = (struct khoc_compat_reads){"kho", 4, 4, true};
	*nr_takes = 1;
	for (u32 i = 0; i < nr; i++) {
		u32 how = (u32)rng_below(rng, 16);
		u32 min = how == 1 ? models[i].version + 1 : models[i].version;
		bool required = how == 2;

		if (!how) { /* not known */
			ok &= models[i].optional;
			continue;
		}
		takes[(*nr_takes)++] =
			(struct khoc_compat_reads){models[i].name, min, min + 3, required};
		ok &= how != 1 || models[i].optional;
	}
	if (!rng_below(rng, 16)) {
		takes[(*nr_takes)++] = (struct khoc_compat_reads){"absent", 1, 1, true};
		ok = false;
	}
	return ok;
}

TEST(as_a_model_has_it)
{
	struct rng rng = {test_seed()};
	struct khoc_compat_part base = {"kho", 3, 4, false}, parts[12];
	struct khoc_compat_reads takes[16];
	struct model models[13];
	char want[512], got[512];

	for (int round = 0; round < 20000; round++) {
		u32 nr = random_models(&rng, models), nr_takes;
		size_t size;
		bool ok;

		for (u32 i = 0; i < nr; i++)
			parts[i] = (struct khoc_compat_part){models[i].name,
							     (u32)strlen(models[i].name),
							     models[i].version, models[i].optional};
		EXPECT(khoc_compat_compose(got, sizeof(got), &base, parts, nr) > 0);
		size = model_string(models, nr, want);
		EXPECT_STR_EQ(got, want);
		EXPECT_EQ(khoc_compat_check(want, size, NULL), 0);
		ok = model_reads(&rng, models, nr, takes, &nr_takes);
		EXPECT_EQ(khoc_compat_match(want, size, takes, nr_takes, NULL),
			  ok ? 0 : -KHO_E_INCOMPATIBLE);
	}
}

TEST_SUITE(compat, TEST_CASE(all_composites_are_sorted_and_unique), TEST_CASE(what_the_macros_make),
	   TEST_CASE(parts_one_by_one), TEST_CASE(what_is_a_string), TEST_CASE(limits),
	   TEST_CASE(matched_part_by_part), TEST_CASE(words_are_cut), TEST_CASE(composed_in_order),
	   TEST_CASE(not_composed), TEST_CASE(as_a_model_has_it));
