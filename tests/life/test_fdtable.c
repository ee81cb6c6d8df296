/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The table of preserved fds: against a model, and that a session's messages rebuild it. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <kho/host.h>

#include "arena.h"
#include "fdtable.h"
#include "message.h"
#include "util.h"

#define NR 20000

static int model[NR]; /* fd of token i, -1: none */
static int replica[NR]; /* what the receiver of a session has */

static __u64 token_of(int i)
{
	/* Few distinct low bits: probes collide. */
	return (__u64)i << 20 | 7;
}

static void flip(int i)
{
	if (model[i] < 0) {
		int fd = 1000000 + (int)(random() % 100000);

		assert_int_equal(kho_fdtable_add_(token_of(i), fd), 0);
		model[i] = fd;
	} else {
		assert_int_equal(kho_fdtable_del_(token_of(i)), model[i]);
		model[i] = -1;
	}
}

static void agrees(const int *with)
{
	unsigned int pos = 0, nr = 0;
	__u64 token;
	int fd;

	for (int i = 0; i < NR; i++)
		assert_int_equal(kho_fd_get(token_of(i)), with[i] < 0 ? -ENOENT : with[i]);
	while ((fd = kho_fd_next(&pos, &token)) >= 0) {
		assert_int_equal(with[token >> 20], fd);
		nr++;
	}
	for (int i = 0; i < NR; i++)
		nr -= with[i] >= 0;
	assert_int_equal(nr, 0);
}

static void empty_all(void)
{
	for (int i = 0; i < NR; i++)
		if (model[i] >= 0)
			flip(i);
	assert_int_equal(kho_fdtable_count_(), 0);
}

static int set_up(void **state)
{
	memset(model, -1, sizeof(model));
	memset(replica, -1, sizeof(replica));
	return 0;
}

static void behaves_like_an_array(void **state)
{
	for (int i = 0; i < 3 * NR; i++)
		flip((int)(random() % NR));
	agrees(model);
	for (int i = 0; i < NR; i++)
		if (model[i] < 0)
			flip(i);
	agrees(model);
	assert_int_equal(kho_fdtable_add_(token_of(5), 9), -EEXIST);
	empty_all();
	assert_int_equal(kho_fdtable_del_(token_of(5)), -ENOENT);
}

struct sink {
	int refuse; /* one call in so many */
	unsigned int largest;
};

static int sink(void *ctx, const __u64 *tokens, const int *fds, unsigned int nr)
{
	struct sink *s = ctx;

	if (s->refuse && random() % s->refuse == 0)
		return -EAGAIN;
	assert_in_range(nr, 1, 200);
	if (nr > s->largest)
		s->largest = nr;
	for (unsigned int i = 0; i < nr; i++) {
		int *at = &replica[tokens[i] >> 20];

		if (fds) {
			assert_int_equal(*at, -1); /* never twice */
			*at = fds[i];
		} else {
			*at = -1; /* may be unknown: came and went unsent */
		}
	}
	return 0;
}

static void a_session_rebuilds_the_table(void **state)
{
	struct sink s = {.refuse = 3};
	int r;

	for (int i = 0; i < NR; i++)
		if (random() % 2)
			flip(i);
	kho_fdtable_begin_();
	do {
		r = kho_fdtable_send_(sink, &s, 200);
		assert_true(!r || r == -EAGAIN);
		for (int i = 0; i < 50; i++)
			flip((int)(random() % NR));
	} while (r);
	for (int round = 0; round < 100; round++) {
		while ((r = kho_fdtable_send_(sink, &s, 200)) == -EAGAIN)
			flip((int)(random() % NR));
		assert_int_equal(r, 0);
		assert_memory_equal(model, replica, sizeof(model));
		for (long i = random() % 300; i > 0; i--)
			flip((int)(random() % NR));
	}
	while ((r = kho_fdtable_send_(sink, &s, 200)) == -EAGAIN)
		;
	assert_memory_equal(model, replica, sizeof(model));
	assert_int_equal(s.largest, 200);
	kho_fdtable_end_();
	empty_all();
}

static void a_senders_error_ends_it(void **state)
{
	struct sink s = {.refuse = 1};

	flip(1);
	kho_fdtable_begin_();
	assert_int_equal(kho_fdtable_send_(sink, &s, 200), -EAGAIN);
	s.refuse = 0;
	assert_int_equal(kho_fdtable_send_(sink, &s, 200), 0);
	assert_int_equal(replica[1], model[1]);
	kho_fdtable_end_();
	empty_all();
}

static void closing_reaches_the_peer(void **state)
{
	int pair[2], copy;
	char c;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	copy = dup(pair[0]); /* as a predecessor or supervisor would have one */
	assert_int_equal(kho_fd_preserve(1, pair[0]), 0);
	assert_int_equal(kho_fd_preserve(1, pair[1]), -EEXIST);
	assert_int_equal(kho_fd_get(1), pair[0]);
	assert_int_equal(kho_fd_close(1), 0);
	assert_int_equal(recv(pair[1], &c, 1, MSG_DONTWAIT), 0);
	assert_int_equal(kho_fd_close(1), -ENOENT);
	assert_int_equal(fcntl(pair[0], F_GETFD), -1);
	assert_int_equal(kho_fd_preserve(2, pair[0]), -EBADF);
	assert_non_null(strstr(kho_error(), "not open"));
	assert_int_equal(kho_fd_preserve(2, -1), -EBADF);
	assert_int_equal(kho_fd_preserve(2, copy), 0);
	assert_int_equal(kho_fd_unpreserve(2), 0);
	assert_int_equal(kho_fd_get(2), -ENOENT);
	close(copy);
	close(pair[1]);
}

static atomic_bool done;

static void *mutate(void *arg)
{
	__u64 base = (__u64)(uintptr_t)arg << 32;

	for (int round = 0; round < 200; round++) {
		for (__u64 i = 0; i < 64; i++)
			assert_int_equal(kho_fdtable_add_(base + i, (int)i), 0);
		for (__u64 i = 0; i < 64; i++)
			assert_int_equal(kho_fd_get(base + i), i);
		for (__u64 i = 0; i < 64; i++)
			assert_int_equal(kho_fdtable_del_(base + i), i);
	}
	return NULL;
}

static int count(void *ctx, const __u64 *tokens, const int *fds, unsigned int nr)
{
	*(long *)ctx += fds ? (long)nr : 0;
	return 0;
}

static void *send_all(void *arg)
{
	while (!atomic_load(&done)) {
		long nr = 0;

		kho_fdtable_begin_();
		for (int i = 0; i < 10; i++)
			assert_int_equal(kho_fdtable_send_(count, &nr, 200), 0);
		kho_fdtable_end_();
	}
	return NULL;
}

static void from_many_threads(void **state)
{
	pthread_t t[4], sender;

	atomic_store(&done, false);
	pthread_create(&sender, NULL, send_all, NULL);
	for (uintptr_t i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, mutate, (void *)(i + 1));
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	atomic_store(&done, true);
	pthread_join(sender, NULL);
	assert_int_equal(kho_fdtable_count_(), 0);
}

/* ---- a successor that is sent them ---- */

/* What a predecessor sends: @nr tokens from @first on, each with @fd; @fd < 0: gone. */
static void send_tokens(int channel, __u64 first, unsigned int nr, int fd)
{
	struct kho_abi_msg_fds head = {nr, 0};
	__u64 tokens[16];
	int fds[16];
	struct kho_msg_out out = {.type = fd < 0 ? KHO_MSG_FD_GONE : KHO_MSG_FD,
				  .head = &head,
				  .head_len = sizeof(head),
				  .text = tokens,
				  .text_len = nr * sizeof(tokens[0]),
				  .fds = fds,
				  .nr_fds = fd < 0 ? 0 : nr};

	for (unsigned int i = 0; i < nr; i++) {
		tokens[i] = first + i;
		fds[i] = fd;
	}
	assert_int_equal(kho_msg_send_(channel, &out, 1000), 0);
}

static void nobody_is_told_yet(void *ctx, __u64 token, int fd)
{
	++*(unsigned int *)ctx;
}

/* Return: 0, or the line of what is wrong. */
static int succeed(int arena, int channel)
{
	struct kho_config config = KHO_CONFIG_INIT;
	unsigned int told = 0, before;
	char number[16];

	snprintf(number, sizeof(number), "%d", arena);
	setenv(KHO_ENV_ARENA_FD, number, 1);
	snprintf(number, sizeof(number), "%d", channel);
	setenv(KHO_ENV_CHANNEL_FD, number, 1);
	config.ctx = &told;
	config.fd = nobody_is_told_yet;
	before = count_fds();
	if (kho_start(&config) != KHO_SUCCESSOR) {
		fprintf(stderr, "%s\n", kho_error());
		return __LINE__;
	}
	if (kho_fd_get(1) != -ENOENT || kho_fd_get(2) != -ENOENT || kho_fd_get(3) < 0)
		return __LINE__;
	if (kho_fdtable_count_() != 1 || told)
		return __LINE__;
	/* What is new is the keeper's eventfd and token 3: those that went are closed. */
	return count_fds() == before + 2 ? 0 : __LINE__;
}

/* The predecessor serves while it sends: what has gone over may be gone before all has. */
static void gone_before_all_are_sent(void **state)
{
	int arena = kho_arena_create_("test"), pair[2], file = memfd_create("x", MFD_CLOEXEC);
	struct kho_msg_out all_sent = {.type = KHO_MSG_FDS_DONE};
	static struct kho_msg hello;
	pid_t pid;
	int line;

	assert_int_equal(kho_arena_format_(arena, 64 << 20), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	pid = fork();
	if (!pid) {
		close(pair[0]);
		line = succeed(arena, pair[1]);
		if (line)
			fprintf(stderr, "test_fdtable.c:%d: not so\n", line);
		_exit(!!line);
	}
	close(pair[1]);
	assert_int_equal(kho_msg_recv_(pair[0], &hello, WAIT_MS), 0);
	assert_int_equal(hello.type, KHO_MSG_HELLO);
	send_tokens(pair[0], 1, 3, file);
	send_tokens(pair[0], 1, 2, -1);
	send_tokens(pair[0], 9, 1, -1); /* came and went before it could be sent */
	assert_int_equal(kho_msg_send_(pair[0], &all_sent, 1000), 0);
	assert_int_equal(await_child(pid), 0);
	close(pair[0]);
	close(file);
	close(arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(behaves_like_an_array, set_up),
		cmocka_unit_test_setup(a_session_rebuilds_the_table, set_up),
		cmocka_unit_test_setup(a_senders_error_ends_it, set_up),
		cmocka_unit_test(closing_reaches_the_peer),
		cmocka_unit_test(from_many_threads),
		cmocka_unit_test(gone_before_all_are_sent),
	};

	seed_random();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
