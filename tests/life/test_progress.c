/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* kho_tcp_progress() against real connections: every count beside what went through. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <kho/progress.h>

#include "util.h"

static int server, client;

static void open_pair(int family)
{
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct sockaddr_in a4 = {.sin_family = AF_INET};
	struct sockaddr *a = family == AF_INET ? (void *)&a4 : (void *)&a6;
	socklen_t len = family == AF_INET ? sizeof(a4) : sizeof(a6);
	int listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	a4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(listener, a, len), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, a, &len), 0);
	client = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(client, a, len), 0);
	server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(server >= 0);
	setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	close(listener);
}

static int set_up(void **state)
{
	open_pair(AF_INET);
	return 0;
}

static int tear_down(void **state)
{
	close(server);
	close(client);
	return 0;
}

static struct kho_tcp_progress get(int fd)
{
	struct kho_tcp_progress p;

	assert_int_equal(kho_tcp_progress(fd, &p), 0);
	return p;
}

static void await_bytes(int fd)
{
	assert_int_equal(poll(&(struct pollfd){fd, POLLIN, 0}, 1, WAIT_MS), 1);
}

static void nothing_yet(void **state)
{
	struct kho_tcp_progress p = get(server);

	assert_int_equal(p.consumed, 0);
	assert_int_equal(p.queued, 0);
	assert_false(p.peer_closed);
	assert_false(p.shut);
	assert_int_equal(get(client).consumed, 0);
	assert_int_equal(get(client).queued, 1); /* as the header says */
}

static void what_was_read_and_written(void **state)
{
	char buf[64];

	assert_int_equal(send(client, "0123456789", 10, 0), 10);
	await_bytes(server);
	assert_int_equal(get(server).consumed, 0);
	assert_int_equal(recv(server, buf, 64, MSG_PEEK), 10);
	assert_int_equal(get(server).consumed, 0);
	assert_int_equal(recv(server, buf, 3, 0), 3);
	assert_int_equal(get(server).consumed, 3);
	assert_int_equal(send(server, "abcdefg", 7, 0), 7);
	assert_int_equal(get(server).queued, 7);
	await_bytes(client);
	assert_int_equal(recv(client, buf, 64, 0), 7);
	assert_int_equal(get(server).queued, 7);
	assert_int_equal(get(client).consumed, 7);
	assert_int_equal(get(client).queued, 11);
	assert_int_equal(recv(server, buf, 64, 0), 7);
	assert_int_equal(get(server).consumed, 10);
}

static void a_peer_that_closed(void **state)
{
	char buf[64];

	assert_int_equal(send(client, "01234", 5, 0), 5);
	shutdown(client, SHUT_WR);
	assert_true(get(client).shut);
	assert_int_equal(get(client).queued, 6);
	while (!get(server).peer_closed)
		usleep(1000);
	assert_int_equal(get(server).consumed, 0);
	assert_int_equal(recv(server, buf, 2, 0), 2);
	assert_int_equal(get(server).consumed, 2);
	assert_int_equal(recv(server, buf, 64, 0), 3);
	assert_int_equal(get(server).consumed, 5);
	assert_int_equal(recv(server, buf, 64, 0), 0); /* the end itself is no byte */
	assert_int_equal(get(server).consumed, 5);
	assert_int_equal(send(server, "x", 1, 0), 1);
	assert_int_equal(get(server).queued, 1);
}

static void a_socket_that_is_full(void **state)
{
	static char block[1 << 16];
	__u64 sent = 0, got = 0;
	ssize_t n;

	while ((n = send(server, block, sizeof(block), MSG_DONTWAIT)) > 0)
		sent += (__u64)n;
	assert_int_equal(get(server).queued, sent);
	while (got < sent && (n = recv(client, block, 10007, 0)) > 0) {
		got += (__u64)n;
		assert_int_equal(get(client).consumed, got);
		assert_int_equal(get(server).queued, sent);
	}
	assert_int_equal(got, sent);
}

/* While segments and acknowledgements come in. */
static volatile int stop;

static void *flood(void *unused)
{
	static char block[5000];

	while (!stop)
		if (send(client, block, sizeof(block), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			recv(client, block, sizeof(block), MSG_DONTWAIT);
	return NULL;
}

static void counters_that_move(void **state)
{
	unsigned int seed = seed_random();
	__u64 consumed = 0, queued = 0;
	static char block[1 << 16];
	pthread_t thread;

	stop = 0;
	assert_int_equal(pthread_create(&thread, NULL, flood, NULL), 0);
	for (int i = 0; i < 3000; i++) {
		struct kho_tcp_progress p;
		ssize_t n;
		int r;

		n = recv(server, block, 1 + (size_t)rand_r(&seed) % sizeof(block), MSG_DONTWAIT);
		consumed += n > 0 ? (__u64)n : 0;
		n = send(server, block, 1 + (size_t)rand_r(&seed) % 20000, MSG_DONTWAIT);
		queued += n > 0 ? (__u64)n : 0;
		r = kho_tcp_progress(server, &p);
		if (r == -EAGAIN)
			continue;
		assert_int_equal(r, 0);
		assert_int_equal(p.consumed, consumed);
		assert_int_equal(p.queued, queued);
	}
	stop = 1;
	pthread_join(thread, NULL);
}

static void over_ipv6(void **state)
{
	char buf[8];

	close(server);
	close(client);
	open_pair(AF_INET6);
	assert_int_equal(get(server).queued, 0);
	assert_int_equal(send(client, "0123", 4, 0), 4);
	assert_int_equal(recv(server, buf, 2, MSG_WAITALL), 2);
	assert_int_equal(get(server).consumed, 2);
}

static void what_does_not_count(void **state)
{
	struct kho_tcp_progress p;
	int pair[2], fd;

	assert_int_equal(kho_tcp_progress(-1, &p), -EBADF);
	assert_int_equal(kho_tcp_progress(9999, &p), -EBADF);
	assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
	assert_int_equal(kho_tcp_progress(pair[0], &p), -ENOTSOCK);
	close(pair[0]);
	close(pair[1]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(kho_tcp_progress(pair[0], &p), -EPROTOTYPE);
	close(pair[0]);
	close(pair[1]);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(kho_tcp_progress(fd, &p), -EPROTOTYPE);
	close(fd);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(kho_tcp_progress(fd, &p), -ENOTCONN);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(kho_tcp_progress(fd, &p), -ENOTCONN);
	close(fd);
	setsockopt(client, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
	close(client);
	client = -1;
	assert_int_equal(poll(&(struct pollfd){server, 0, 0}, 1, WAIT_MS), 1);
	assert_int_equal(kho_tcp_progress(server, &p), -ENOTCONN); /* reset */
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(nothing_yet),	   TEST(what_was_read_and_written),
		TEST(a_peer_that_closed),  TEST(a_socket_that_is_full),
		TEST(counters_that_move),  TEST(over_ipv6),
		TEST(what_does_not_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
