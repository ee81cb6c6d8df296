/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What tests of sessions share: an arena, handles that are put, and what core/luo.c finds of it all. */
#ifndef KHO_TEST_SESSION_FIXTURE_H
#define KHO_TEST_SESSION_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include <kho/abi/handover.h>
#include <kho/core/luo.h>
#include <kho/session.h>

#include "arena_fixture.h"
#include "fdtable.h"
#include "page.h"
#include "preserve.h"
#include "sessions.h"

#define ARENA_MAX (16ULL << 20)

static inline int set_up(void **state)
{
	arena_new(ARENA_MAX);
	return 0;
}

/* Handles that a test leaves. */
static struct luo_session *opened[512];
static unsigned int nr_opened;

static inline struct luo_session *note(struct luo_session *session)
{
	assert_true(nr_opened < sizeof(opened) / sizeof(opened[0]));
	return opened[nr_opened++] = session;
}

static inline void put(struct luo_session *session)
{
	for (unsigned int i = 0; i < nr_opened; i++)
		if (opened[i] == session)
			opened[i] = opened[--nr_opened];
	luo_session_put(session);
}

static inline int tear_down(void **state)
{
	arena_drop();
	kho_fdtable_clear_();
	while (nr_opened)
		put(opened[0]);
	return 0;
}

static inline struct luo_session *new_session(const char *name)
{
	struct luo_session *session = NULL;

	if (luo_session_create(name, &session))
		fail_msg("%s", kho_error());
	return note(session);
}

static inline struct luo_session *old_session(const char *name)
{
	struct luo_session *session = NULL;

	if (luo_session_retrieve(name, &session))
		fail_msg("%s", kho_error());
	return note(session);
}

static inline int event(void)
{
	int fd = eventfd(0, EFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static inline void put_in(struct luo_session *session, int fd, __u64 token)
{
	if (luo_session_preserve_fd(session, fd, token))
		fail_msg("%s", kho_error());
}

static inline void said(const char *part)
{
	if (!strstr(kho_error(), part))
		fail_msg("\"%s\" is not in: %s", part, kho_error());
}

static inline bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* ---- what core/luo.c finds ---- */

struct counts {
	__u64 sessions, files, flbs, flb_files;
	__u64 pages;
};

/* All of it, held to be sound, every name and token once, every page preserved. */
static inline struct counts decode(void)
{
	static __u64 work[65536];
	struct counts counts = {0};
	struct khoc_luo_records sessions, files;
	struct khoc_luo_session session;
	struct khoc_luo_file file;
	struct khoc_luo_flbs flbs;
	struct khoc_luo_flb flb;
	struct khoc_report report;
	struct khoc_luo luo;
	kho_pa_t pa;
	size_t size;
	int rc;

	assert_int_equal(kho_retrieve_subtree("LUO", &pa, &size), 0);
	assert_int_equal(size, 32);
	assert_int_equal(khoc_luo_open(&luo, &kho_arena_.mem, 12, pa, size, &report), 0);
	assert_int_equal(khoc_luo_sessions(&sessions, &luo, &kho_arena_.tree, &report), 0);
	assert_int_equal(khoc_luo_unique_sessions(&luo, work, 65536, &report), 0);
	while (!(rc = khoc_luo_session_next(&sessions, &session, &report))) {
		counts.sessions++;
		assert_int_equal(khoc_luo_files(&files, &luo, &session, &kho_arena_.tree, &report),
				 0);
		assert_int_equal(khoc_luo_unique_tokens(&luo, &session, work, 65536, &report), 0);
		while (!(rc = khoc_luo_file_next(&files, &file, &report)))
			counts.files++;
		assert_int_equal(rc, -ENOENT);
		for (pa = session.files_pa; pa; pa = *(__u64 *)kho_phys_to_virt(pa))
			counts.pages++;
	}
	assert_int_equal(rc, -ENOENT);
	assert_int_equal(khoc_luo_flbs(&flbs, &luo, &kho_arena_.tree, &report), 0);
	while (!(rc = khoc_luo_flb_next(&flbs, &flb, &report))) {
		counts.flbs++;
		counts.flb_files += flb.count;
	}
	assert_int_equal(rc, -ENOENT);
	for (pa = luo.sessions_pa; pa; pa = *(__u64 *)kho_phys_to_virt(pa))
		counts.pages++;
	counts.pages += luo.flbs_pa != 0;
	return counts;
}

static inline __u64 struct_pages(void)
{
	struct khoc_block block;
	unsigned int type, order;
	__u64 nr = 0;

	for (kho_pa_t pos = 0; khoc_radix_next(&kho_arena_.tree, pos, kho_arena_.size, &block);
	     pos = block.pa + (KHO_PAGE_SIZE << block.order))
		nr += !kho_block_desc_(block.pa, &type, &order) && type == KHO_ABI_DESC_STRUCT;
	return nr;
}

/* Nothing is preserved, or live, but what the records lead to. */
static inline void no_leak(void)
{
	struct counts counts;

	kho_sessions_settle_();
	counts = decode();
	assert_int_equal(struct_pages(), counts.pages);
	assert_int_equal(arena_live(), 1 + counts.files + counts.flbs);
	for (__u64 token = KHO_FD_SESSION; token < KHO_FD_SESSION + 64; token++)
		if (kho_fd_get(token) >= 0)
			assert_non_null(kho_hash_find_(&kho_luo_.numbers, token - KHO_FD_SESSION));
}

static inline const char *kind_of(struct luo_session *session, __u64 token)
{
	return kho_luo_find_file_(session, token)->kind->compatible;
}

#define TEST_IN_ARENA(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

#endif
