/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What Linux 7.2's live update orchestrator hands over: written here byte by byte from its layout,
 * and read back; then each thing that can be wrong with it.
 */
#include "image.h"

#include <errno.h>

#define BASE 0x100000ULL
#define NR_PAGES 96ULL

struct setup {
	struct image image;
	struct khoc_luo luo;
	unsigned int shift;
};

static kho_pa_t page(const struct setup *s, u64 n)
{
	return BASE + (n << s->shift);
}

static void put64(struct setup *s, kho_pa_t pa, u64 value)
{
	for (int i = 0; i < 8; i++)
		s->image.bytes[pa + i] = (char)(value >> 8 * i);
}

/* @text and no NUL: what is there already ends it. */
static void put_text(struct setup *s, kho_pa_t pa, const char *text)
{
	for (size_t i = 0; text[i]; i++)
		s->image.bytes[pa + i] = text[i];
}

static void put_header(struct setup *s, kho_pa_t pa, u64 num, kho_pa_t sessions, kho_pa_t flbs)
{
	put_text(s, pa, "luo-v5");
	put64(s, pa + 8, num);
	put64(s, pa + 16, sessions);
	put64(s, pa + 24, flbs);
}

/* The record of 80 bytes of number @i of the block on page @n. */
static kho_pa_t put_session(struct setup *s, u64 n, u64 i, const char *name, kho_pa_t files,
			    u64 count)
{
	kho_pa_t pa = page(s, n) + 16 + i * 80;

	put_text(s, pa, name);
	put64(s, pa + 64, files);
	put64(s, pa + 72, count);
	return pa;
}

/* The record of 64 bytes. */
static kho_pa_t put_file(struct setup *s, u64 n, u64 i, const char *handler, u64 data, u64 token)
{
	kho_pa_t pa = page(s, n) + 16 + i * 64;

	put_text(s, pa, handler);
	put64(s, pa + 48, data);
	put64(s, pa + 56, token);
	return pa;
}

static void put_block(struct setup *s, u64 n, kho_pa_t next, u64 count)
{
	put64(s, page(s, n), next);
	put64(s, page(s, n) + 8, count);
}

/*
 * Two sessions, "vm-1" with three files and "vm-2" with none; two FLBs. With small pages each
 * record has a block of its own.
 */
static void setup(struct setup *s, unsigned int shift)
{
	u64 sessions, files;

	memset(s, 0, sizeof(*s));
	s->shift = shift;
	image_make(&s->image, shift, BASE + (NR_PAGES << shift), BASE, NR_PAGES, true);
	sessions = ((1ULL << shift) - 16) / 80;
	files = ((1ULL << shift) - 16) / 64;
	put_header(s, page(s, 1) + 40, 7, page(s, 2), page(s, 8));
	for (u64 i = 0; i < 2; i++) {
		put_block(s, 2 + i / sessions, sessions == 1 && !i ? page(s, 3) : 0,
			  sessions == 1 ? 1 : 2);
		put_session(s, 2 + i / sessions, i % sessions, i ? "vm-2" : "vm-1",
			    i ? 0 : page(s, 4), i ? 0 : 3);
	}
	for (u64 i = 0; i < 3; i++) {
		put_block(s, 4 + i / files, files == 1 && i < 2 ? page(s, 5 + i) : 0,
			  files == 1 ? 1 : 3);
		put_file(s, 4 + i / files, i % files, i == 2 ? "iommufd-v1" : "memfd-v2",
			 0xfeed000 + i, 100 + i);
	}
	put64(s, page(s, 8), 1);
	put64(s, page(s, 8) + 8, files == 1 ? 1 : 2);
	put_text(s, page(s, 8) + 16, "test-flb-v0");
	put64(s, page(s, 8) + 64, 0xfeedf00dcafebee0);
	put64(s, page(s, 8) + 72, 3);
	if (files > 1) {
		put_text(s, page(s, 8) + 80, "test-flb-v1");
		put64(s, page(s, 8) + 128, 0xfeedf00dcafebee1);
		put64(s, page(s, 8) + 136, 4);
	}
	EXPECT_EQ(khoc_luo_open(&s->luo, &s->image.mem, shift, page(s, 1) + 40, 32, NULL), 0);
}

static void expect_report(const struct khoc_report *r, int fault, int structure, u64 addr,
			  u64 value, u64 limit, const char *field)
{
	EXPECT_EQ(r->fault, fault);
	EXPECT_EQ(r->structure, structure);
	EXPECT_EQ(r->level, -1);
	EXPECT_EQ(r->addr, addr);
	EXPECT_EQ(r->value, value);
	EXPECT_EQ(r->limit, limit);
	EXPECT_STR_EQ(r->field, field);
}

/* ---- what is right -------------------------------------------------------- */

static void expect_files(struct setup *s, const struct khoc_luo_session *session)
{
	struct khoc_luo_records walk;
	struct khoc_luo_file file;
	struct khoc_report report;

	EXPECT_EQ(khoc_luo_files(&walk, &s->luo, session, NULL, &report), 0);
	EXPECT_EQ(walk.nr, 3);
	for (u64 i = 0; i < 3; i++) {
		EXPECT_EQ(khoc_luo_file_next(&walk, &file, &report), 0);
		EXPECT_EQ(file.index, i);
		EXPECT_STR_EQ(file.compatible, i == 2 ? "iommufd-v1" : "memfd-v2");
		EXPECT_EQ(file.compatible_len, i == 2 ? 10 : 8);
		EXPECT_EQ(file.data, 0xfeed000 + i);
		EXPECT_EQ(file.token, 100 + i);
		EXPECT_EQ(file.pa, (s->shift == 7 ? page(s, 4 + i) : page(s, 4) + i * 64) + 16);
	}
	EXPECT_EQ(khoc_luo_file_next(&walk, &file, &report), -ENOENT);
	EXPECT_EQ(khoc_luo_file_next(&walk, &file, &report), -ENOENT);
	EXPECT_EQ(report.fault, 0);
}

TEST(everything_is_read)
{
	static const unsigned int shifts[] = {7, 12, 14, 16};

	for (size_t k = 0; k < ARRAY_LEN(shifts); k++) {
		struct khoc_luo_session session;
		struct khoc_luo_records walk;
		struct khoc_luo_flbs flbs;
		struct khoc_luo_flb flb;
		struct setup s;
		u64 work[6];

		setup(&s, shifts[k]);
		EXPECT_STR_EQ(s.luo.compatible, "luo-v5");
		EXPECT_EQ(s.luo.liveupdate_num, 7);
		EXPECT_EQ(s.luo.sessions_pa, page(&s, 2));
		EXPECT_EQ(s.luo.flbs_pa, page(&s, 8));
		EXPECT_EQ(khoc_luo_sessions(&walk, &s.luo, NULL, NULL), 0);
		EXPECT_EQ(walk.nr, 2);
		EXPECT_EQ(khoc_luo_session_next(&walk, &session, NULL), 0);
		EXPECT_STR_EQ(session.name, "vm-1");
		EXPECT_EQ(session.name_len, 4);
		EXPECT_EQ(session.pa, page(&s, 2) + 16);
		EXPECT_EQ(session.files_pa, page(&s, 4));
		EXPECT_EQ(session.nr_files, 3);
		expect_files(&s, &session);
		EXPECT_EQ(khoc_luo_unique_tokens(&s.luo, &session, work, 6, NULL), 0);
		EXPECT_EQ(khoc_luo_unique_tokens(&s.luo, &session, work, 5, NULL), -ENOMEM);
		EXPECT_EQ(khoc_luo_session_next(&walk, &session, NULL), 0);
		EXPECT_STR_EQ(session.name, "vm-2");
		EXPECT_EQ(session.index, 1);
		EXPECT_EQ(session.files_pa, 0);
		EXPECT_EQ(khoc_luo_session_next(&walk, &session, NULL), -ENOENT);
		EXPECT_EQ(session.pa, 0);
		EXPECT_EQ(khoc_luo_unique_sessions(&s.luo, work, 4, NULL), 0);
		EXPECT_EQ(khoc_luo_unique_sessions(&s.luo, work, 3, NULL), -ENOMEM);
		EXPECT_EQ(khoc_luo_flbs(&flbs, &s.luo, NULL, NULL), 0);
		EXPECT_EQ(flbs.pgcnt, 1);
		EXPECT_EQ(flbs.nr, shifts[k] == 7 ? 1 : 2);
		for (u64 i = 0; i < flbs.nr; i++) {
			EXPECT_EQ(khoc_luo_flb_next(&flbs, &flb, NULL), 0);
			EXPECT_STR_EQ(flb.name, i ? "test-flb-v1" : "test-flb-v0");
			EXPECT_EQ(flb.index, i);
			EXPECT_EQ(flb.data, 0xfeedf00dcafebee0 + i);
			EXPECT_EQ(flb.count, 3 + i);
			EXPECT_EQ(khoc_luo_flb_needed(&flb, NULL), 0);
			EXPECT_EQ(flb.pa, page(&s, 8) + 16 + i * 64);
		}
		EXPECT_EQ(khoc_luo_flb_next(&flbs, &flb, NULL), -ENOENT);
		image_destroy(&s.image);
	}
}

/* None of anything; and pages that no record fits. */
TEST(nothing_there)
{
	struct khoc_luo_session session = {.pa = 0x1000};
	struct khoc_luo_records walk;
	struct khoc_luo_flbs flbs;
	struct khoc_luo_flb flb;
	struct khoc_luo_file file;
	struct setup s;
	u64 work[1];

	setup(&s, 12);
	s.luo.sessions_pa = s.luo.flbs_pa = 0;
	EXPECT_EQ(khoc_luo_sessions(&walk, &s.luo, NULL, NULL), 0);
	EXPECT_EQ(khoc_luo_session_next(&walk, &session, NULL), -ENOENT);
	EXPECT_EQ(khoc_luo_unique_sessions(&s.luo, work, 0, NULL), 0);
	EXPECT_EQ(khoc_luo_flbs(&flbs, &s.luo, NULL, NULL), 0);
	EXPECT_EQ(khoc_luo_flb_next(&flbs, &flb, NULL), -ENOENT);
	EXPECT_EQ(khoc_luo_files(&walk, &s.luo, &session, NULL, NULL), 0);
	EXPECT_EQ(khoc_luo_file_next(&walk, &file, NULL), -ENOENT);
	s.luo.shift = 6;
	EXPECT_EQ(khoc_luo_sessions(&walk, &s.luo, NULL, NULL), -EINVAL);
	EXPECT_EQ(khoc_luo_session_next(&walk, &session, NULL), -ENOENT);
	EXPECT_EQ(khoc_luo_flbs(&flbs, &s.luo, NULL, NULL), -EINVAL);
	EXPECT_EQ(khoc_luo_flb_next(&flbs, &flb, NULL), -ENOENT);
	image_destroy(&s.image);
}

/* As many as one block holds, and one more: 51 and 63 with 4 KiB pages. The longest names. */
TEST(many_records)
{
	struct khoc_luo_session session;
	struct khoc_luo_records walk;
	char name[64];
	struct setup s;
	u64 work[104];

	setup(&s, 12);
	put_block(&s, 2, page(&s, 3), 51);
	put_block(&s, 3, 0, 1);
	for (u64 i = 0; i < 52; i++) {
		snprintf(name, sizeof(name), "%063u", (unsigned int)(999 - i));
		put_session(&s, i == 51 ? 3 : 2, i % 51, name, 0, i);
	}
	EXPECT_EQ(khoc_luo_sessions(&walk, &s.luo, NULL, NULL), 0);
	EXPECT_EQ(walk.nr, 52);
	for (u64 i = 0; i < 52; i++) {
		EXPECT_EQ(khoc_luo_session_next(&walk, &session, NULL), 0);
		snprintf(name, sizeof(name), "%063u", (unsigned int)(999 - i));
		EXPECT_STR_EQ(session.name, name);
		EXPECT_EQ(session.name_len, 63);
		EXPECT_EQ(session.nr_files, i);
	}
	EXPECT_EQ(khoc_luo_session_next(&walk, &session, NULL), -ENOENT);
	EXPECT_EQ(khoc_luo_unique_sessions(&s.luo, work, 104, NULL), 0);
	image_destroy(&s.image);
}

/* ---- what is wrong --------------------------------------------------------------- */

TEST(header)
{
	struct khoc_report r;
	struct khoc_luo luo;
	struct setup s;
	kho_pa_t pa;
	u64 size;

	setup(&s, 12);
	pa = page(&s, 1) + 40;
	size = s.image.mem.size;
	EXPECT_EQ(khoc_luo_open(&luo, &s.image.mem, 12, pa, 31, &r), -KHO_E_TRUNCATED);
	expect_report(&r, KHO_E_TRUNCATED, KHOC_S_LUO, pa, 31, 32, "header");
	EXPECT_EQ(khoc_luo_open(&luo, &s.image.mem, 12, size - 31, 32, &r), -KHO_E_RANGE);
	expect_report(&r, KHO_E_RANGE, KHOC_S_LUO, size - 31, size - 31, size, "header");
	EXPECT_EQ(khoc_luo_open(&luo, &s.image.mem, 12, ~0ULL, 32, &r), -KHO_E_RANGE);
	/* Of another version, but told as it is. */
	s.image.bytes[pa + 5] = '4';
	EXPECT_EQ(khoc_luo_open(&luo, &s.image.mem, 12, pa, 32, &r), -KHO_E_INCOMPATIBLE);
	expect_report(&r, KHO_E_INCOMPATIBLE, KHOC_S_LUO, pa, 0, 0, "compatible");
	EXPECT_STR_EQ(luo.compatible, "luo-v4");
	EXPECT_EQ(luo.liveupdate_num, 7);
	/* Without an end. */
	put_text(&s, pa, "luo-v5;b");
	EXPECT_EQ(khoc_luo_open(&luo, &s.image.mem, 12, pa, 32, &r), -KHO_E_INCOMPATIBLE);
	EXPECT_STR_EQ(luo.compatible, "luo-v5;b");
	image_destroy(&s.image);
}

/* Names without an end, and without a beginning: told, and read all the same; the next one, too. */
TEST(names_that_cannot_be)
{
	struct khoc_luo_session session;
	struct khoc_luo_records walk;
	struct khoc_luo_file file;
	struct khoc_luo_flbs flbs;
	struct khoc_luo_flb flb;
	struct khoc_report r;
	struct setup s;

	setup(&s, 12);
	memset(s.image.bytes + page(&s, 2) + 16, 'x', 64);
	EXPECT_EQ(khoc_luo_sessions(&walk, &s.luo, NULL, NULL), 0);
	EXPECT_EQ(khoc_luo_session_next(&walk, &session, &r), -KHO_E_FORMAT);
	expect_report(&r, KHO_E_FORMAT, KHOC_S_LUO_SESSION, page(&s, 2) + 16, 64, 64, "name");
	EXPECT_EQ(session.name_len, 64);
	EXPECT_EQ(strlen(session.name), 64);
	EXPECT_EQ(session.nr_files, 3);
	EXPECT_EQ(khoc_luo_session_next(&walk, &session, &r), 0);
	EXPECT_STR_EQ(session.name, "vm-2");
	s.image.bytes[page(&s, 2) + 16] = 0;
	EXPECT_EQ(khoc_luo_sessions(&walk, &s.luo, NULL, NULL), 0);
	EXPECT_EQ(khoc_luo_session_next(&walk, &session, &r), -KHO_E_FORMAT);
	EXPECT_EQ(r.value, 0);
	EXPECT_STR_EQ(session.name, "");
	memset(s.image.bytes + page(&s, 4) + 16, 'y', 48);
	EXPECT_EQ(khoc_luo_files(&walk, &s.luo, &session, NULL, NULL), 0);
	EXPECT_EQ(khoc_luo_file_next(&walk, &file, &r), -KHO_E_FORMAT);
	expect_report(&r, KHO_E_FORMAT, KHOC_S_LUO_FILE, page(&s, 4) + 16, 48, 48, "compatible");
	EXPECT_EQ(file.compatible_len, 48);
	EXPECT_EQ(file.token, 100);
	EXPECT_EQ(khoc_luo_file_next(&walk, &file, &r), 0);
	memset(s.image.bytes + page(&s, 8) + 16, 'z', 48);
	EXPECT_EQ(khoc_luo_flbs(&flbs, &s.luo, NULL, NULL), 0);
	EXPECT_EQ(khoc_luo_flb_next(&flbs, &flb, &r), -KHO_E_FORMAT);
	expect_report(&r, KHO_E_FORMAT, KHOC_S_LUO_FLB, page(&s, 8) + 16, 48, 48, "name");
	EXPECT_EQ(flb.count, 3);
	for (u64 count = 1; count < 1ULL << 40; count <<= 1) {
		flb.count = count;
		EXPECT_EQ(khoc_luo_flb_needed(&flb, &r), count < 1ULL << 31 ? 0 : -KHO_E_RANGE);
	}
	flb.count = 0;
	EXPECT_EQ(khoc_luo_flb_needed(&flb, &r), -KHO_E_RANGE);
	expect_report(&r, KHO_E_RANGE, KHOC_S_LUO_FLB, page(&s, 8) + 16 + 56, 0, 0x7fffffff,
		      "count");
	EXPECT_EQ(khoc_luo_flb_next(&flbs, &flb, &r), 0);
	EXPECT_STR_EQ(flb.name, "test-flb-v1");
	image_destroy(&s.image);
}

/* Each address leads to the word that holds it. */
TEST(chains_that_break)
{
	struct khoc_luo_session session;
	struct khoc_luo_records walk;
	struct khoc_luo_file file;
	struct khoc_report r;
	struct setup s;
	u64 work[8];

	setup(&s, 12);
	s.luo.sessions_pa = page(&s, 2) + 8;
	EXPECT_EQ(khoc_luo_sessions(&walk, &s.luo, NULL, &r), -KHO_E_ALIGN);
	expect_report(&r, KHO_E_ALIGN, KHOC_S_BLOCK, page(&s, 1) + 40 + 16, page(&s, 2) + 8, 4096,
		      "head");
	EXPECT_EQ(khoc_luo_session_next(&walk, &session, &r), -KHO_E_ALIGN);
	EXPECT_EQ(session.pa, 0);
	EXPECT_EQ(khoc_luo_session_next(&walk, &session, &r), -ENOENT);
	EXPECT_EQ(khoc_luo_unique_sessions(&s.luo, work, 8, &r), -KHO_E_ALIGN);
	s.luo.sessions_pa = page(&s, 2);
	/* A loop: told at once, and what is read ends. */
	put_block(&s, 2, page(&s, 2), 2);
	EXPECT_EQ(khoc_luo_sessions(&walk, &s.luo, NULL, &r), -KHO_E_CYCLE);
	expect_report(&r, KHO_E_CYCLE, KHOC_S_BLOCK, page(&s, 2), page(&s, 2), 0, "next");
	EXPECT_EQ(walk.nr, 2);
	for (u64 i = 0; i < 20000; i++)
		EXPECT_EQ(khoc_luo_session_next(&walk, &session, &r), 0);
	EXPECT_EQ(khoc_luo_session_next(&walk, &session, &r), -KHO_E_RANGE);
	EXPECT_EQ(khoc_luo_session_next(&walk, &session, &r), -ENOENT);
	put_block(&s, 2, 0, 52);
	EXPECT_EQ(khoc_luo_sessions(&walk, &s.luo, NULL, &r), -KHO_E_RANGE);
	expect_report(&r, KHO_E_RANGE, KHOC_S_BLOCK, page(&s, 2) + 8, 52, 51, "count");
	put_block(&s, 2, 0, 2);
	EXPECT_EQ(khoc_luo_sessions(&walk, &s.luo, NULL, &r), 0);
	EXPECT_EQ(khoc_luo_session_next(&walk, &session, &r), 0);
	/* A session that says it has more files than there are. */
	session.nr_files = 4;
	EXPECT_EQ(khoc_luo_files(&walk, &s.luo, &session, NULL, &r), -KHO_E_RANGE);
	expect_report(&r, KHO_E_RANGE, KHOC_S_LUO_SESSION, page(&s, 2) + 16 + 72, 4, 3, "count");
	EXPECT_EQ(khoc_luo_file_next(&walk, &file, &r), 0);
	EXPECT_EQ(khoc_luo_unique_tokens(&s.luo, &session, work, 8, &r), -KHO_E_RANGE);
	session.nr_files = 3;
	session.files_pa = 1ULL << 60;
	EXPECT_EQ(khoc_luo_files(&walk, &s.luo, &session, NULL, &r), -KHO_E_RANGE);
	expect_report(&r, KHO_E_RANGE, KHOC_S_BLOCK, page(&s, 2) + 16 + 64, 1ULL << 60,
		      s.image.mem.size, "head");
	image_destroy(&s.image);
}

/* The 7.2 writer's empty block at the end: Linux 7.2 panics, we do not. */
TEST(an_empty_block_at_the_end)
{
	struct khoc_luo_session session;
	struct khoc_luo_records walk;
	struct setup s;

	setup(&s, 12);
	put_block(&s, 2, page(&s, 9), 2);
	put_block(&s, 9, 0, 0);
	EXPECT_EQ(khoc_luo_sessions(&walk, &s.luo, NULL, NULL), 0);
	EXPECT_EQ(walk.nr, 2);
	EXPECT_EQ(khoc_luo_session_next(&walk, &session, NULL), 0);
	EXPECT_EQ(khoc_luo_session_next(&walk, &session, NULL), 0);
	EXPECT_EQ(khoc_luo_session_next(&walk, &session, NULL), -ENOENT);
	image_destroy(&s.image);
}

/* Of any two that are the same, wherever they are, the later is named. */
TEST(names_and_tokens_twice)
{
	struct khoc_luo_session session = {.nr_files = 60};
	struct khoc_report r;
	struct setup s;
	u64 work[120];

	setup(&s, 12);
	session.files_pa = page(&s, 20);
	put_block(&s, 20, 0, 60);
	put_block(&s, 2, 0, 40);
	memset(s.image.bytes + page(&s, 2) + 16, 0, 160);
	for (u64 i = 0; i < 60; i++) {
		char name[16];

		snprintf(name, sizeof(name), "n%02u", (unsigned int)(i * 7 % 60));
		if (i < 40)
			put_session(&s, 2, i, name, 0, 0);
		put_file(&s, 20, i, "memfd-v2", 0, i * 11 % 60 << 32);
	}
	EXPECT_EQ(khoc_luo_unique_sessions(&s.luo, work, 120, &r), 0);
	EXPECT_EQ(khoc_luo_unique_tokens(&s.luo, &session, work, 120, &r), 0);
	for (u64 a = 0; a < 40; a += 3)
		for (u64 b = a + 1; b < 40; b += 5) {
			kho_pa_t x = page(&s, 2) + 16 + a * 80, y = page(&s, 2) + 16 + b * 80;
			char was[4];

			memcpy(was, s.image.bytes + y, 4);
			memcpy(s.image.bytes + y, s.image.bytes + x, 4);
			/* What is behind the end does not count. */
			s.image.bytes[y + 4] = 'q';
			EXPECT_EQ(khoc_luo_unique_sessions(&s.luo, work, 120, &r),
				  -KHO_E_DUPLICATE);
			expect_report(&r, KHO_E_DUPLICATE, KHOC_S_LUO_SESSION, y, x, 0, "name");
			memcpy(s.image.bytes + y, was, 4);
		}
	for (u64 a = 0; a < 60; a += 7)
		for (u64 b = a + 1; b < 60; b += 4) {
			kho_pa_t x = page(&s, 20) + 16 + a * 64 + 56;
			kho_pa_t y = page(&s, 20) + 16 + b * 64 + 56;
			u64 was = *image_word(&s.image, y);

			put64(&s, y, *image_word(&s.image, x));
			EXPECT_EQ(khoc_luo_unique_tokens(&s.luo, &session, work, 120, &r),
				  -KHO_E_DUPLICATE);
			expect_report(&r, KHO_E_DUPLICATE, KHOC_S_LUO_FILE, y, x, 0, "token");
			put64(&s, y, was);
		}
	image_destroy(&s.image);
}

TEST(flbs)
{
	struct khoc_luo_flbs walk;
	struct khoc_luo_flb flb;
	struct khoc_report r;
	struct setup s;
	kho_pa_t pa;

	setup(&s, 12);
	pa = page(&s, 8);
	s.luo.flbs_pa = pa + 1;
	EXPECT_EQ(khoc_luo_flbs(&walk, &s.luo, NULL, &r), -KHO_E_ALIGN);
	expect_report(&r, KHO_E_ALIGN, KHOC_S_LUO_FLB, page(&s, 1) + 40 + 24, pa + 1, 4096,
		      "flbs_pa");
	EXPECT_EQ(khoc_luo_flb_next(&walk, &flb, &r), -ENOENT);
	s.luo.flbs_pa = s.image.mem.size;
	EXPECT_EQ(khoc_luo_flbs(&walk, &s.luo, NULL, &r), -KHO_E_RANGE);
	expect_report(&r, KHO_E_RANGE, KHOC_S_LUO_FLB, page(&s, 1) + 40 + 24, s.image.mem.size,
		      s.image.mem.size, "flbs_pa");
	s.luo.flbs_pa = pa;
	put64(&s, pa, 2);
	EXPECT_EQ(khoc_luo_flbs(&walk, &s.luo, NULL, &r), -KHO_E_RANGE);
	expect_report(&r, KHO_E_RANGE, KHOC_S_LUO_FLB, pa, 2, 1, "pgcnt");
	EXPECT_EQ(khoc_luo_flb_next(&walk, &flb, &r), 0);
	put64(&s, pa, 1);
	put64(&s, pa + 8, 64);
	EXPECT_EQ(khoc_luo_flbs(&walk, &s.luo, NULL, &r), -KHO_E_RANGE);
	expect_report(&r, KHO_E_RANGE, KHOC_S_LUO_FLB, pa + 8, 64, 63, "count");
	EXPECT_EQ(walk.count, 64);
	EXPECT_EQ(walk.nr, 63);
	put64(&s, pa + 8, ~0ULL);
	EXPECT_EQ(khoc_luo_flbs(&walk, &s.luo, NULL, &r), -KHO_E_RANGE);
	EXPECT_EQ(walk.nr, 63);
	put64(&s, pa + 8, 63);
	for (u64 i = 0; i < 63; i++) {
		char name[16];

		snprintf(name, sizeof(name), "flb-%u", (unsigned int)(i == 62 ? 5 : i));
		memset(s.image.bytes + pa + 16 + i * 64, 0, 48);
		put_text(&s, pa + 16 + i * 64, name);
	}
	EXPECT_EQ(khoc_luo_flbs(&walk, &s.luo, NULL, &r), 0);
	for (u64 i = 0; i < 62; i++)
		EXPECT_EQ(khoc_luo_flb_next(&walk, &flb, &r), 0);
	EXPECT_EQ(khoc_luo_flb_next(&walk, &flb, &r), -KHO_E_DUPLICATE);
	expect_report(&r, KHO_E_DUPLICATE, KHOC_S_LUO_FLB, pa + 16 + 62 * 64, pa + 16 + 5 * 64, 0,
		      "name");
	EXPECT_STR_EQ(flb.name, "flb-5");
	EXPECT_EQ(khoc_luo_flb_next(&walk, &flb, &r), -ENOENT);
	image_destroy(&s.image);
}

/* Where the tree is asked, what is not preserved is a fault. */
TEST(nobody_preserved_it)
{
	struct khoc_luo_records walk;
	struct khoc_luo_flbs flbs;
	struct khoc_radix tree;
	struct khoc_report r;
	struct image nodes;
	struct setup s;

	setup(&s, 12);
	image_make(&nodes, 12, 1ULL << 30, 0x10000, 64, true);
	EXPECT_EQ(khoc_radix_init(&tree, &nodes.mem, 12), 0);
	EXPECT_EQ(khoc_luo_sessions(&walk, &s.luo, &tree, &r), -KHO_E_NOT_PRESERVED);
	expect_report(&r, KHO_E_NOT_PRESERVED, KHOC_S_BLOCK, page(&s, 2), 0, 0, "block");
	EXPECT_EQ(khoc_luo_flbs(&flbs, &s.luo, &tree, &r), -KHO_E_NOT_PRESERVED);
	expect_report(&r, KHO_E_NOT_PRESERVED, KHOC_S_LUO_FLB, page(&s, 8), 0, 0, "flbs_pa");
	EXPECT_EQ(khoc_radix_add(&tree, page(&s, 2), 0), 0);
	EXPECT_EQ(khoc_radix_add(&tree, page(&s, 8), 0), 0);
	EXPECT_EQ(khoc_luo_sessions(&walk, &s.luo, &tree, &r), 0);
	EXPECT_EQ(khoc_luo_flbs(&flbs, &s.luo, &tree, &r), 0);
	image_destroy(&nodes);
	image_destroy(&s.image);
}

TEST_SUITE(luo, TEST_CASE(everything_is_read), TEST_CASE(nothing_there), TEST_CASE(many_records),
	   TEST_CASE(header), TEST_CASE(names_that_cannot_be), TEST_CASE(chains_that_break),
	   TEST_CASE(an_empty_block_at_the_end), TEST_CASE(names_and_tokens_twice), TEST_CASE(flbs),
	   TEST_CASE(nobody_preserved_it));
