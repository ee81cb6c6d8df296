/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Sessions in one process: what goes in comes out in the next program, with the table of fds as whoever
 * held them would fill it; misuse says what it is; against a model, at random.
 */
#include "session_fixture.h"

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
	assert_string_equal(kind_of(session, 8), "fd-memory-v1");
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

/* ---- many ---- */

static void next_is(unsigned int *pos, unsigned int number)
{
	char name[64], expected[64];

	snprintf(expected, sizeof(expected), "number %u", number);
	assert_int_equal(luo_session_next(pos, name), 0);
	assert_string_equal(name, expected);
}

/* Without looking at those before; what changes meanwhile is seen as from the front. */
static void a_walk_goes_on_where_it_was(void **state)
{
	struct luo_session *session, *front;
	unsigned int pos = 0, other = 0;
	char name[64];

	for (unsigned int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "number %u", i);
		session = new_session(name);
		put(session);
	}
	/* The newest is the first. */
	for (unsigned int i = 0; i < 50; i++)
		next_is(&pos, 99 - i);
	front = kho_luo_.list->next;
	kho_luo_.list->next = NULL;
	for (unsigned int i = 50; i < 60; i++)
		next_is(&pos, 99 - i);
	kho_luo_.list->next = front;
	/* Another walk; and one more session, behind whose number all others lie. */
	next_is(&other, 99);
	next_is(&pos, 39);
	put(new_session("number 100"));
	next_is(&pos, 39);
	next_is(&other, 99);
	session = old_session("number 70");
	assert_int_equal(luo_session_finish(session), 0);
	put(session);
	next_is(&pos, 37);
	while (!luo_session_next(&pos, name))
		;
	assert_string_equal(name, "number 0");
	assert_int_equal(pos, 100);
	assert_int_equal(luo_session_next(&pos, name), -ENOENT);
}

/* The most that a look-up may have to compare. */
static unsigned int longest_chain(const struct kho_htable *table)
{
	unsigned int longest = 0;

	for (__u64 i = 0; i <= table->mask; i++) {
		unsigned int len = 0;

		for (struct kho_hnode *node = table->buckets[i]; node; node = node->next)
			len++;
		longest = len > longest ? len : longest;
	}
	return longest;
}

/* Numbers in any of a token's bits: as they are, at the top, swapped, in the middle. */
static void tokens_are_scattered_wherever_they_differ(void **state)
{
	static struct kho_hnode nodes[4096];

	for (unsigned int shift = 0; shift <= 52; shift += 4) {
		struct kho_htable table = {NULL};

		for (__u64 i = 0; i < 4096; i++) {
			nodes[i].key = i << shift;
			assert_int_equal(kho_hash_add_(&table, &nodes[i]), 0);
		}
		assert_in_range(longest_chain(&table), 1, 16);
		for (__u64 i = 0; i < 4096; i++)
			assert_ptr_equal(kho_hash_find_(&table, i << shift), &nodes[i]);
		kho_hash_free_(&table);
	}
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
		TEST_IN_ARENA(a_walk_goes_on_where_it_was),
		cmocka_unit_test(tokens_are_scattered_wherever_they_differ),
		TEST_IN_ARENA(like_a_model),
		TEST_IN_ARENA(a_full_arena),
	};

	return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
