/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Sessions in one process: what goes in comes out in the next program, with the table of fds as whoever
 * held them would fill it; misuse says what it is; against a model, at random.
 */
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

static int set_up(void **state)
{
	arena_new(ARENA_MAX);
	return 0;
}

/* Handles that a test leaves. */
static struct luo_session *opened[512];
static unsigned int nr_opened;

static struct luo_session *note(struct luo_session *session)
{
	assert_true(nr_opened < sizeof(opened) / sizeof(opened[0]));
	return opened[nr_opened++] = session;
}

static void put(struct luo_session *session)
{
	for (unsigned int i = 0; i < nr_opened; i++)
		if (opened[i] == session)
			opened[i] = opened[--nr_opened];
	luo_session_put(session);
}

static int tear_down(void **state)
{
	arena_drop();
	kho_fdtable_clear_();
	while (nr_opened)
		put(opened[0]);
	return 0;
}

static struct luo_session *new_session(const char *name)
{
	struct luo_session *session = NULL;

	if (luo_session_create(name, &session))
		fail_msg("%s", kho_error());
	return note(session);
}

static struct luo_session *old_session(const char *name)
{
	struct luo_session *session = NULL;

	if (luo_session_retrieve(name, &session))
		fail_msg("%s", kho_error());
	return note(session);
}

static int event(void)
{
	int fd = eventfd(0, EFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void put_in(struct luo_session *session, int fd, __u64 token)
{
	if (luo_session_preserve_fd(session, fd, token))
		fail_msg("%s", kho_error());
}

static void said(const char *part)
{
	if (!strstr(kho_error(), part))
		fail_msg("\"%s\" is not in: %s", part, kho_error());
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* ---- what core/luo.c finds ---- */

struct counts {
	__u64 sessions, files, flbs, flb_files;
	__u64 pages;
};

/* All of it, held to be sound, every name and token once, every page preserved. */
static struct counts decode(void)
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

static __u64 struct_pages(void)
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
static void no_leak(void)
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

/* ---- in and out ---- */

static void a_file_is_there_in_the_next_program(void **state)
{
	struct luo_session *session = new_session("a");
	int fd = event(), other = event();
	__u64 token, found = 0;
	unsigned int pos = 0;

	put_in(session, fd, 7);
	put_in(session, other, ~0ULL);
	assert_int_equal(luo_session_retrieve_fd(session, 7), fd);
	arena_crash();
	session = old_session("a");
	while (!luo_session_next_token(session, &pos, &token))
		found += token;
	assert_int_equal(found, 6);
	assert_int_equal(luo_session_retrieve_fd(session, 7), fd);
	assert_int_equal(luo_session_retrieve_fd(session, 7), fd);
	assert_int_equal(luo_session_retrieve_fd(session, ~0ULL), other);
	no_leak();
	assert_int_equal(luo_session_finish(session), 0);
	put(session);
	no_leak();
	assert_int_equal(kho_fdtable_count_(), 0);
	assert_true(is_open(fd) && is_open(other));
	close(fd);
	close(other);
}

static int take_note(void *ctx, __u64 token, int fd, const char *compatible)
{
	*(__u64 *)ctx += token;
	assert_string_equal(compatible, "fd-eventfd-v1");
	assert_true(is_open(fd));
	return 0;
}

static void what_nobody_wants_is_told_and_closed(void **state)
{
	struct luo_session *session = new_session("a");
	int fd[4];
	__u64 unclaimed = 0;

	for (unsigned int i = 0; i < 4; i++) {
		fd[i] = event();
		put_in(session, fd[i], 1 << i);
	}
	arena_crash();
	session = old_session("a");
	assert_int_equal(luo_session_retrieve_fd(session, 2), fd[1]);
	assert_int_equal(luo_session_for_each_unclaimed(session, take_note, &unclaimed), 0);
	assert_int_equal(unclaimed, 13);
	assert_int_equal(luo_session_release_unclaimed(session), 3);
	assert_true(is_open(fd[1]));
	assert_false(is_open(fd[0]) || is_open(fd[2]) || is_open(fd[3]));
	no_leak();
	/* It goes on. */
	fd[0] = event();
	put_in(session, fd[0], 1);
	arena_crash();
	session = old_session("a");
	no_leak();
	assert_int_equal(luo_session_retrieve_fd(session, 1), fd[0]);
	assert_int_equal(luo_session_finish(session), 1);
	put(session);
	assert_false(is_open(fd[1]));
	assert_true(is_open(fd[0]));
	close(fd[0]);
	assert_int_equal(decode().sessions, 0);
	no_leak();
}

static void out_again(void **state)
{
	struct luo_session *session = new_session("a");
	int pair[2], fd = event(), copy;
	char c;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	copy = dup(pair[0]); /* as a supervisor has one */
	put_in(session, pair[0], 1);
	put_in(session, fd, 2);
	assert_int_equal(luo_session_unpreserve_fd(session, 2), 0);
	assert_true(is_open(fd));
	put_in(session, fd, 2);
	assert_int_equal(luo_session_close_fd(session, 1), 0);
	assert_int_equal(recv(pair[1], &c, 1, MSG_DONTWAIT), 0);
	assert_false(is_open(pair[0]));
	close(copy);
	close(pair[1]);
	arena_crash();
	no_leak();
	assert_int_equal(kho_fdtable_count_(), 1);
}

/* A record without its fd, and an fd without its record. */
static void lost_and_found(void **state)
{
	struct luo_session *session = new_session("a");
	int fd = event(), lone = event();

	put_in(session, fd, 1);
	assert_int_equal(kho_fd_unpreserve(KHO_FD_SESSION + 1), 0);
	assert_int_equal(kho_fd_preserve(KHO_FD_SESSION + 2, lone), 0);
	assert_int_equal(kho_fd_preserve(5, fd), 0); /* the application's own */
	arena_crash();
	session = old_session("a");
	kho_sessions_settle_();
	assert_false(is_open(lone));
	assert_int_equal(kho_fd_get(5), fd);
	assert_int_equal(luo_session_retrieve_fd(session, 1), -ENXIO);
	said("session \"a\", token 0x1: its fd is lost");
	assert_int_equal(luo_session_finish(session), 1);
	put(session);
	no_leak();
}

/* ---- kinds ---- */

static int listening(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(sa_family_t)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static int regular(void)
{
	char path[] = "/tmp/kho-session-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	unlink(path);
	return fd;
}

static const char *kind_of(struct luo_session *session, __u64 token)
{
	return kho_luo_find_file_(session, token)->kind->compatible;
}

static void every_kind_has_its_handler(void **state)
{
	struct luo_session *session = new_session("kinds");
	int pair[2], ends[2], fd;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(pipe(ends), 0);
	put_in(session, pair[0], 1);
	put_in(session, pair[1], 2);
	put_in(session, ends[0], 3);
	put_in(session, ends[1], 4);
	put_in(session, listening(), 5);
	put_in(session, event(), 6);
	put_in(session, timerfd_create(CLOCK_MONOTONIC, 0), 7);
	put_in(session, memfd_create("x", MFD_ALLOW_SEALING), 8);
	put_in(session, regular(), 9);
	assert_string_equal(kind_of(session, 1), "fd-socket-v1");
	assert_string_equal(kind_of(session, 4), "fd-pipe-v1");
	assert_string_equal(kind_of(session, 5), "fd-listen-v1");
	assert_string_equal(kind_of(session, 6), "fd-eventfd-v1");
	assert_string_equal(kind_of(session, 7), "fd-timerfd-v1");
	assert_string_equal(kind_of(session, 8), "fd-memfd-v1");
	assert_string_equal(kind_of(session, 9), "fd-file-v1");
	fd = epoll_create1(0);
	assert_int_equal(luo_session_preserve_fd(session, fd, 10), -EOPNOTSUPP);
	said("no handler takes a file like fd");
	close(fd);
	fd = open("/", O_RDONLY | O_DIRECTORY);
	assert_int_equal(luo_session_preserve_fd(session, fd, 10), -EOPNOTSUPP);
	close(fd);
	/* It takes a peer that went away before the next program came. */
	shutdown(pair[1], SHUT_RDWR);
	arena_crash();
	session = old_session("kinds");
	for (__u64 token = 1; token < 10; token++)
		assert_true(luo_session_retrieve_fd(session, token) >= 0);
	no_leak();
}

static void a_memory_file_keeps_its_holes(void **state)
{
	struct luo_session *session = new_session("a");
	int fd = memfd_create("holes", MFD_ALLOW_SEALING);
	struct stat before, after;

	assert_int_equal(ftruncate(fd, 1 << 30), 0);
	assert_int_equal(pwrite(fd, "x", 1, 512 << 20), 1);
	assert_int_equal(lseek(fd, 77, SEEK_SET), 77);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), 0);
	assert_int_equal(fstat(fd, &before), 0);
	put_in(session, fd, 1);
	arena_crash();
	session = old_session("a");
	fd = luo_session_retrieve_fd(session, 1);
	assert_int_equal(fstat(fd, &after), 0);
	assert_int_equal(after.st_blocks, before.st_blocks);
	assert_int_equal(after.st_size, 1 << 30);
	assert_int_equal(lseek(fd, 0, SEEK_CUR), 77);
	assert_int_equal(lseek(fd, 0, SEEK_DATA), 512 << 20);
	assert_int_equal(fcntl(fd, F_GET_SEALS), F_SEAL_GROW);
}

/* ---- misuse ---- */

static void misuse_of_tokens(void **state)
{
	struct luo_session *session = new_session("a"), *other = new_session("b");
	int fd = event(), second = event();

	put_in(session, fd, 1);
	assert_int_equal(luo_session_preserve_fd(session, second, 1), -EEXIST);
	said("session \"a\": token 0x1 names a file of kind \"fd-eventfd-v1\"");
	assert_int_equal(luo_session_preserve_fd(other, fd, 1), -EBUSY);
	said("is token 0x1 of session \"a\"");
	put_in(other, second, 1); /* a token is a session's */
	assert_int_equal(luo_session_retrieve_fd(session, 2), -ENOENT);
	said("session \"a\": token 0x2 names no file");
	assert_int_equal(luo_session_close_fd(session, 2), -ENOENT);
	assert_int_equal(luo_session_unpreserve_fd(session, 2), -ENOENT);
	assert_int_equal(luo_session_preserve_fd(session, -1, 3), -EBADF);
	assert_int_equal(luo_session_preserve_fd(session, 123456, 3), -EBADF);
	said("fd 123456 is not open");
	no_leak();
}

static void misuse_of_sessions(void **state)
{
	char name[LUO_SESSION_NAME_MAX + 2];
	struct luo_session *session, *again = NULL;
	int fd = event();

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(luo_session_create(name, &session), -ENAMETOOLONG);
	said("its name has 64 bytes, at most 63");
	assert_int_equal(luo_session_retrieve(name, &session), -ENAMETOOLONG);
	assert_int_equal(luo_session_create("", &session), -EINVAL);
	assert_int_equal(luo_session_create(NULL, &session), -EINVAL);
	assert_int_equal(luo_session_retrieve("a", &session), -ENOENT);
	said("session \"a\" does not exist");
	name[LUO_SESSION_NAME_MAX] = '\0';
	session = new_session(name);
	assert_int_equal(luo_session_create(name, &again), -EEXIST);
	said("retrieve it, or finish it first");
	assert_int_equal(luo_session_retrieve(name, &again), -EALREADY);
	put(session);
	session = old_session(name);
	assert_int_equal(luo_session_finish(session), 0);
	assert_int_equal(luo_session_finish(session), -ESTALE);
	said("is finished");
	assert_int_equal(luo_session_preserve_fd(session, fd, 1), -ESTALE);
	assert_int_equal(luo_session_retrieve_fd(session, 1), -ESTALE);
	assert_int_equal(luo_session_release_unclaimed(session), -ESTALE);
	put(session);
	put(NULL);
	no_leak();
	close(fd);
}

static void misuse_of_the_arena(void **state)
{
	struct luo_session *session = new_session("a"), *other;
	int fd = event();

	put_in(session, fd, 1);
	kho_arena_disown_();
	assert_int_equal(luo_session_preserve_fd(session, fd, 2), -EPERM);
	assert_int_equal(luo_session_create("b", &other), -EPERM);
	assert_int_equal(luo_session_close_fd(session, 1), -EPERM);
	assert_int_equal(luo_session_finish(session), -EPERM);
	assert_int_equal(luo_session_retrieve_fd(session, 1), fd); /* may be read */
	assert_int_equal(kho_arena_own_(), 0);
	assert_int_equal(luo_session_close_fd(session, 1), 0);
	arena_drop();
	assert_int_equal(luo_session_create("b", &other), -ENODEV);
	arena_new(ARENA_MAX);
	put(session);
}

/* ---- handlers of an application ---- */

static struct {
	unsigned int preserved, unpreserved, frozen, unfrozen, retrieved, finished;
	int fail; /* what the next callback that may returns */
	bool busy;
} calls;

static bool mine(struct liveupdate_file_handler *handler, int fd)
{
	struct stat st;

	return !fstat(fd, &st) && S_ISDIR(st.st_mode);
}

static int on_preserve(struct liveupdate_file_op_args *args)
{
	if (calls.fail)
		return calls.fail;
	calls.preserved++;
	args->serialized_data = 0x1234;
	assert_int_equal(args->state_len, 24);
	memset(args->state, 's', 24);
	args->private_data = &calls;
	return 0;
}

static void on_unpreserve(struct liveupdate_file_op_args *args)
{
	calls.unpreserved++;
	assert_ptr_equal(args->private_data, &calls);
}

static int on_freeze(struct liveupdate_file_op_args *args)
{
	calls.frozen++;
	args->serialized_data++;
	return calls.fail;
}

static void on_unfreeze(struct liveupdate_file_op_args *args)
{
	calls.unfrozen++;
}

static int on_retrieve(struct liveupdate_file_op_args *args)
{
	calls.retrieved++;
	assert_int_equal(args->serialized_data & ~3ULL, 0x1234);
	assert_int_equal(((char *)args->state)[23], 's');
	args->private_data = &calls;
	return calls.fail;
}

static bool on_can_finish(struct liveupdate_file_op_args *args)
{
	return !calls.busy;
}

static void on_finish(struct liveupdate_file_op_args *args)
{
	calls.finished++;
	assert_int_equal(((char *)args->state)[0], 's');
}

static const struct liveupdate_file_ops dir_ops = {
	.state_size = 24,
	.can_preserve = mine,
	.preserve = on_preserve,
	.unpreserve = on_unpreserve,
	.freeze = on_freeze,
	.unfreeze = on_unfreeze,
	.retrieve = on_retrieve,
	.can_finish = on_can_finish,
	.finish = on_finish,
};
static struct liveupdate_file_handler dir_handler = {.compatible = "dir-v2;names-v1",
						     .ops = &dir_ops};

static int set_up_handler(void **state)
{
	memset(&calls, 0, sizeof(calls));
	assert_int_equal(liveupdate_register_file_handler(&dir_handler), 0);
	return set_up(state);
}

static int tear_down_handler(void **state)
{
	tear_down(state);
	return liveupdate_unregister_file_handler(&dir_handler);
}

/* Between two programs nothing is left in this one. */
static int between = -1;

static void arena_drop_private(void)
{
	between = fcntl(kho_arena_.fd, F_DUPFD_CLOEXEC, 0);
	kho_arena_unmap_();
}

static void arena_map_again(void)
{
	if (kho_arena_map_(between, true) || kho_arena_own_())
		fail_msg("%s", kho_error());
}

static int directory(void)
{
	return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void callbacks_are_called(void **state)
{
	struct luo_session *session = new_session("a");
	int fd = directory(), second = directory(), third = directory();

	put_in(session, fd, 1);
	put_in(session, second, 2);
	put_in(session, third, 3);
	assert_string_equal(kind_of(session, 1), "dir-v2;names-v1");
	assert_int_equal(luo_session_unpreserve_fd(session, 3), 0);
	assert_int_equal(calls.unpreserved, 1);
	assert_int_equal(kho_sessions_freeze_(), 0);
	kho_sessions_unfreeze_();
	assert_int_equal(calls.frozen, 2);
	assert_int_equal(calls.unfrozen, 2);
	assert_int_equal(kho_sessions_freeze_(), 0); /* 0x1236 */
	assert_int_equal(liveupdate_unregister_file_handler(&dir_handler), -EBUSY);
	said("2 of its files are in sessions");
	arena_crash();
	session = old_session("a");
	calls.fail = -EIO;
	assert_int_equal(luo_session_retrieve_fd(session, 1), -EIO);
	calls.fail = 0;
	assert_int_equal(luo_session_retrieve_fd(session, 1), fd);
	assert_int_equal(luo_session_retrieve_fd(session, 1), fd);
	assert_int_equal(calls.retrieved, 2);
	calls.busy = true;
	assert_int_equal(luo_session_finish(session), -EBUSY);
	said("is not done");
	assert_int_equal(decode().files, 2);
	calls.busy = false;
	assert_int_equal(luo_session_finish(session), 1);
	put(session);
	assert_int_equal(calls.finished, 2);
	assert_true(is_open(fd));
	assert_false(is_open(second));
	no_leak();
	close(fd);
	close(third);
}

static void a_callback_that_fails_leaves_nothing(void **state)
{
	struct luo_session *session = new_session("a");
	int fd = directory();

	calls.fail = -EIO;
	assert_int_equal(luo_session_preserve_fd(session, fd, 1), -EIO);
	no_leak();
	assert_int_equal(kho_fdtable_count_(), 0);
	calls.fail = 0;
	put_in(session, fd, 1);
	calls.fail = -EAGAIN;
	assert_int_equal(kho_sessions_freeze_(), -EAGAIN);
	kho_sessions_unfreeze_();
	assert_int_equal(calls.unfrozen, 0);
}

static void without_its_handler(void **state)
{
	static const struct liveupdate_reads newer[] = {{"dir", 3, 4}};
	static struct liveupdate_file_handler third = {
		.compatible = "dir-v3", .ops = &dir_ops, .reads = newer, .nr_reads = 1};
	static const struct liveupdate_reads both[] = {{"dir", 2, 3}, {"names", 1, 1}};
	static struct liveupdate_file_handler reads_both = {
		.compatible = "dir-v3", .ops = &dir_ops, .reads = both, .nr_reads = 2};
	struct luo_session *session = new_session("a");
	int fd = directory();

	put_in(session, fd, 1);
	arena_drop_private();
	assert_int_equal(liveupdate_unregister_file_handler(&dir_handler), 0);
	arena_map_again();
	session = old_session("a");
	assert_int_equal(luo_session_retrieve_fd(session, 1), -KHO_E_INCOMPATIBLE);
	said("no handler is registered for files of kind \"dir-v2;names-v1\"");
	assert_int_equal(liveupdate_register_file_handler(&third), 0);
	assert_int_equal(luo_session_retrieve_fd(session, 1), -KHO_E_INCOMPATIBLE);
	said("\"dir\": it is version 2, this reader takes versions 3 to 4");
	assert_int_equal(liveupdate_unregister_file_handler(&third), 0);
	assert_int_equal(liveupdate_register_file_handler(&reads_both), 0);
	assert_int_equal(luo_session_retrieve_fd(session, 1), fd);
	arena_drop_private();
	assert_int_equal(liveupdate_unregister_file_handler(&reads_both), 0);
	assert_int_equal(liveupdate_register_file_handler(&dir_handler), 0);
	arena_map_again();
}

static void bad_handlers(void **state)
{
	static const struct liveupdate_file_ops no_ops = {0}, ops = {.can_preserve = mine},
						large = {.state_size = 1025, .can_preserve = mine};
	static const struct liveupdate_reads other[] = {{"x", 1, 1}};
	static struct liveupdate_file_handler bad[] = {
		{.compatible = "x-v1"},
		{.compatible = "x-v1", .ops = &no_ops},
		{.ops = &ops},
		{.compatible = "x", .ops = &ops},
		{.compatible = "x-v0", .ops = &ops},
		{.compatible = "x-v1;b-v1;a-v1", .ops = &ops},
		{.compatible = "fd-mine-v1", .ops = &ops},
		{.compatible = "x-v1", .ops = &large},
		{.compatible = "x-v2", .ops = &ops, .reads = other, .nr_reads = 1},
		{.compatible = "abcdefghijklmnopqrstuvwxyza-v1", .ops = &ops},
		{.compatible = "x-v1;abcdefghijklmnopqrstuvwxyz0123456789-v12345", .ops = &ops},
	};
	static struct liveupdate_file_handler many[32];
	static char names[32][8];
	int rc = 0;
	unsigned int nr = 0;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(liveupdate_register_file_handler(&bad[i]), -EINVAL);
	assert_int_equal(liveupdate_register_file_handler(&dir_handler), -EEXIST);
	assert_int_equal(liveupdate_unregister_file_handler(&bad[0]), -ENOENT);
	for (; nr < 32 && !rc; nr++) {
		snprintf(names[nr], sizeof(names[nr]), "k%u-v1", nr);
		many[nr] = (struct liveupdate_file_handler){.compatible = names[nr], .ops = &ops};
		rc = liveupdate_register_file_handler(&many[nr]);
	}
	assert_int_equal(rc, -ENOSPC);
	assert_int_equal(nr, 24 - 7 - 2 + 1);
	while (--nr)
		assert_int_equal(liveupdate_unregister_file_handler(&many[nr - 1]), 0);
}

/* What a successor reads, as its HELLO has it. */
static void a_successor_without_the_handler_is_refused(void **state)
{
	static struct kho_abi_format theirs[KHO_ABI_FORMATS_MAX];
	unsigned int nr = kho_handlers_formats_(theirs, KHO_ABI_FORMATS_MAX);
	struct luo_session *session = new_session("a");

	assert_int_equal(nr, 9);
	assert_int_equal(kho_sessions_readable_(theirs, 0), 0);
	put_in(session, directory(), 1);
	assert_int_equal(kho_sessions_readable_(theirs, nr), 0);
	assert_int_equal(kho_sessions_readable_(theirs, 0), -KHO_E_INCOMPATIBLE);
	said("files of kind \"dir-v2;names-v1\" are in sessions: the successor has no handler that "
	     "reads dir-v2");
	for (unsigned int i = 0; i < nr; i++)
		if (!strcmp(theirs[i].name, "file,names"))
			theirs[i].reads_min = theirs[i].reads_max = 3;
	assert_int_equal(kho_sessions_readable_(theirs, nr), -KHO_E_INCOMPATIBLE);
	said("names is version 1, the successor reads 3 to 3");
	assert_int_equal(luo_session_close_fd(session, 1), 0);
	assert_int_equal(kho_sessions_readable_(theirs, nr), 0);
}

/* ---- FLBs ---- */

static struct {
	unsigned int preserved, unpreserved, retrieved, finished;
	int fail;
} flb_calls;

static int flb_preserve(struct liveupdate_flb_op_args *args)
{
	if (flb_calls.fail)
		return flb_calls.fail;
	flb_calls.preserved++;
	args->data = 99;
	memcpy(args->state, "shared", 7);
	args->obj = &flb_calls;
	return 0;
}

static void flb_unpreserve(struct liveupdate_flb_op_args *args)
{
	flb_calls.unpreserved++;
}

static int flb_retrieve(struct liveupdate_flb_op_args *args)
{
	flb_calls.retrieved++;
	assert_int_equal(args->data, 99);
	assert_string_equal(args->state, "shared");
	args->obj = &calls;
	return flb_calls.fail;
}

static void flb_finish(struct liveupdate_flb_op_args *args)
{
	flb_calls.finished++;
	assert_string_equal(args->state, "shared");
}

static const struct liveupdate_flb_ops flb_ops = {.state_size = 16,
						  .preserve = flb_preserve,
						  .unpreserve = flb_unpreserve,
						  .retrieve = flb_retrieve,
						  .finish = flb_finish};
static struct liveupdate_flb flb = {.compatible = "dirs-shared-v1", .ops = &flb_ops};

static int set_up_flb(void **state)
{
	set_up_handler(state);
	memset(&flb_calls, 0, sizeof(flb_calls));
	return liveupdate_register_flb(&dir_handler, &flb);
}

static void shared_by_all_files_of_a_handler(void **state)
{
	struct luo_session *a = new_session("a"), *b = new_session("b");
	void *obj;

	assert_int_equal(liveupdate_flb_get_outgoing(&flb, &obj), -ENOENT);
	put_in(a, event(), 9); /* another handler's */
	assert_int_equal(flb_calls.preserved, 0);
	put_in(a, directory(), 1);
	put_in(b, directory(), 1);
	put_in(b, directory(), 2);
	assert_int_equal(flb_calls.preserved, 1);
	assert_int_equal(decode().flb_files, 3);
	assert_int_equal(liveupdate_flb_get_outgoing(&flb, &obj), 0);
	assert_ptr_equal(obj, &flb_calls);
	assert_int_equal(liveupdate_flb_get_incoming(&flb, &obj), -ENOENT);
	said("it did not come in");
	no_leak();
	arena_crash();
	assert_int_equal(liveupdate_flb_get_incoming(&flb, &obj), 0);
	assert_ptr_equal(obj, &calls);
	assert_int_equal(liveupdate_flb_get_outgoing(&flb, &obj), 0);
	assert_int_equal(flb_calls.retrieved, 1);
	a = old_session("a");
	b = old_session("b");
	assert_int_equal(luo_session_finish(b), 2);
	assert_int_equal(flb_calls.finished, 0);
	put_in(a, directory(), 2);
	assert_int_equal(decode().flb_files, 2);
	assert_int_equal(luo_session_finish(a), 2);
	assert_int_equal(flb_calls.finished, 1);
	assert_int_equal(flb_calls.preserved, 1);
	put(a);
	put(b);
	assert_int_equal(decode().flbs, 0);
	no_leak();
}

static void flbs_that_fail_or_go(void **state)
{
	static struct liveupdate_flb other = {.compatible = "dirs-shared-v1", .ops = &flb_ops};
	struct luo_session *session = new_session("a");
	int fd = directory();

	assert_int_equal(liveupdate_register_flb(&dir_handler, &other), -EEXIST);
	other.compatible = "";
	assert_int_equal(liveupdate_register_flb(&dir_handler, &other), -EINVAL);
	flb_calls.fail = -ENOMSG;
	assert_int_equal(luo_session_preserve_fd(session, fd, 1), -ENOMSG);
	flb_calls.fail = 0;
	calls.fail = -EIO;
	assert_int_equal(luo_session_preserve_fd(session, fd, 1), -EIO);
	assert_int_equal(flb_calls.unpreserved, 1);
	calls.fail = 0;
	put_in(session, fd, 1);
	no_leak();
	assert_int_equal(luo_session_close_fd(session, 1), 0);
	assert_int_equal(flb_calls.unpreserved, 2);
	assert_int_equal(decode().flbs, 0);
	no_leak();
}

/* ---- many, against a model ---- */

#define SESSIONS 130 /* three blocks */
#define TOKENS 200 /* four blocks each, for some */

static struct {
	bool there;
	bool token[TOKENS];
	int fd[TOKENS];
} model[SESSIONS];

static struct luo_session *handle[SESSIONS];

static void compare_with_model(void)
{
	struct counts counts = decode();
	__u64 sessions = 0, files = 0;

	for (unsigned int i = 0; i < SESSIONS; i++) {
		sessions += model[i].there;
		for (unsigned int t = 0; t < TOKENS; t++)
			files += model[i].token[t];
		for (unsigned int t = 0; model[i].there && t < TOKENS; t++)
			assert_int_equal(luo_session_retrieve_fd(handle[i], t),
					 model[i].token[t] ? model[i].fd[t] : -ENOENT);
	}
	assert_int_equal(counts.sessions, sessions);
	assert_int_equal(counts.files, files);
	no_leak();
}

static void flip_session(unsigned int i)
{
	char name[16];

	snprintf(name, sizeof(name), "s%u", i);
	if (!model[i].there) {
		handle[i] = new_session(name);
		model[i].there = true;
		return;
	}
	for (unsigned int t = 0; t < TOKENS; t++)
		if (model[i].token[t])
			assert_int_equal(luo_session_retrieve_fd(handle[i], t), model[i].fd[t]);
	assert_int_equal(luo_session_finish(handle[i]), 0);
	put(handle[i]);
	for (unsigned int t = 0; t < TOKENS; t++)
		if (model[i].token[t])
			close(model[i].fd[t]);
	memset(&model[i], 0, sizeof(model[i]));
}

static void flip_token(unsigned int i, unsigned int t)
{
	if (model[i].token[t]) {
		assert_int_equal(luo_session_close_fd(handle[i], t), 0);
		assert_false(is_open(model[i].fd[t]));
	} else {
		model[i].fd[t] = event();
		put_in(handle[i], model[i].fd[t], t);
	}
	model[i].token[t] = !model[i].token[t];
}

static void next_program(void)
{
	char name[16];

	arena_crash();
	for (unsigned int i = 0; i < SESSIONS; i++) {
		if (!model[i].there)
			continue;
		put(handle[i]);
		snprintf(name, sizeof(name), "s%u", i);
		handle[i] = old_session(name);
	}
}

static void like_a_model(void **state)
{
	uint64_t seed = test_seed();

	memset(model, 0, sizeof(model));
	for (unsigned int i = 0; i < SESSIONS; i++)
		flip_session(i);
	for (unsigned int step = 0; step < 6000; step++) {
		uint64_t r = test_random(&seed);
		unsigned int i = r % 8 ? r / 8 % 3 : r / 8 % SESSIONS;

		if (r >> 32 & 31 && model[i].there)
			flip_token(i, r >> 40 & 3 ? (r >> 44) % TOKENS : (r >> 44) % 4);
		else if (r % 8 == 0)
			flip_session(i);
		if (step % 1500 == 1499) {
			next_program();
			compare_with_model();
		}
	}
	for (unsigned int i = 0; i < SESSIONS; i++)
		if (model[i].there)
			flip_session(i);
	assert_int_equal(decode().sessions, 0);
	assert_int_equal(struct_pages(), 0);
	no_leak();
}

/* What is in sessions can leave when nothing more comes in. */
static void a_full_arena(void **state)
{
	struct luo_session *session = new_session("a");
	struct folio *room = kho_folio_alloc(6);
	__u64 nr = 0;
	int fd, rc;

	while (kho_folio_alloc(0))
		;
	kho_folio_put(room); /* 64 pages for objects and blocks */
	do {
		fd = event();
		rc = luo_session_preserve_fd(session, fd, nr);
	} while (!rc && ++nr < 20000);
	assert_int_equal(rc, -ENOMEM);
	close(fd);
	assert_in_range(nr, 10, 19999);
	for (__u64 token = 0; token < nr; token++)
		if (luo_session_close_fd(session, token))
			fail_msg("%llu of %llu: %s", (unsigned long long)token,
				 (unsigned long long)nr, kho_error());
	assert_int_equal(kho_fdtable_count_(), 0);
	assert_int_equal(decode().files, 0);
}

#define TEST_IN_ARENA(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
#define TEST_WITH_HANDLER(fn) cmocka_unit_test_setup_teardown(fn, set_up_handler, tear_down_handler)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_IN_ARENA(a_file_is_there_in_the_next_program),
		TEST_IN_ARENA(what_nobody_wants_is_told_and_closed),
		TEST_IN_ARENA(out_again),
		TEST_IN_ARENA(lost_and_found),
		TEST_IN_ARENA(every_kind_has_its_handler),
		TEST_IN_ARENA(a_memory_file_keeps_its_holes),
		TEST_IN_ARENA(misuse_of_tokens),
		TEST_IN_ARENA(misuse_of_sessions),
		TEST_IN_ARENA(misuse_of_the_arena),
		TEST_WITH_HANDLER(callbacks_are_called),
		TEST_WITH_HANDLER(a_callback_that_fails_leaves_nothing),
		TEST_WITH_HANDLER(without_its_handler),
		TEST_WITH_HANDLER(bad_handlers),
		TEST_WITH_HANDLER(a_successor_without_the_handler_is_refused),
		cmocka_unit_test_setup_teardown(shared_by_all_files_of_a_handler, set_up_flb,
						tear_down_handler),
		cmocka_unit_test_setup_teardown(flbs_that_fail_or_go, set_up_flb,
						tear_down_handler),
		TEST_IN_ARENA(like_a_model),
		TEST_IN_ARENA(a_full_arena),
	};

	return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
