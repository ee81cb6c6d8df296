/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The server of bench/sessions: all connections in one session. A byte on a connection is answered with what
 * this program has measured; 'c' takes the connection out and closes it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <kho/kho.h>
#include <kho/session.h>

#include "rows.h"
#include "sessions.h"

static struct luo_session *conns;
static int epoll;
static struct {
	double preserve, close;
	unsigned int preserved, closed;
} sum; /* since the last answer */
static double retrieve_ns, first_us;
static unsigned int retrieved;

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "bench-sessions server: %s: %s\n", what, kho_error());
	exit(1);
}

static void watch(int fd, __u64 token)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = token};

	need(!epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev), "epoll");
}

static void take_all(void)
{
	double begin = now_ns();
	unsigned int pos = 0;
	__u64 token;

	need(!luo_session_retrieve("conns", &conns), "retrieve");
	while (!luo_session_next_token(conns, &pos, &token)) {
		need(luo_session_retrieve_fd(conns, token) >= 0, "fd");
		retrieved++;
	}
	retrieve_ns = retrieved ? (now_ns() - begin) / retrieved : 0;
	pos = 0;
	while (!luo_session_next_token(conns, &pos, &token))
		watch(luo_session_retrieve_fd(conns, token), token);
}

static void accept_one(void)
{
	static __u64 next = 1;
	int fd = accept4(kho_fd_get(KHO_FD_LISTEN), NULL, NULL, SOCK_CLOEXEC);
	double begin;

	if (fd < 0)
		return;
	begin = now_ns();
	need(!luo_session_preserve_fd(conns, fd, next), "preserve");
	sum.preserve += now_ns() - begin;
	sum.preserved++;
	watch(fd, next++);
}

static void hang_up(int fd, __u64 token)
{
	double begin;

	epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
	begin = now_ns();
	need(!luo_session_close_fd(conns, token), "close");
	sum.close += now_ns() - begin;
	sum.closed++;
}

static void answer(__u64 token)
{
	int fd = luo_session_retrieve_fd(conns, token);
	char request, text[160];

	if (recv(fd, &request, 1, 0) != 1 || request == 'c') {
		hang_up(fd, token);
		return;
	}
	snprintf(text, sizeof(text), FIGURES_OUT, sum.preserved ? sum.preserve / sum.preserved : 0,
		 retrieve_ns, first_us, sum.closed ? sum.close / sum.closed : 0, retrieved);
	memset(&sum, 0, sizeof(sum));
	if (write(fd, text, strlen(text)) < 0)
		hang_up(fd, token);
}

static void start(void)
{
	struct kho_config config = KHO_CONFIG_INIT;
	unsigned int pos = 0;
	double begin;
	__u64 token;
	int how;

	config.name = "sessions";
	config.arena_max = 256ULL << 20;
	how = kho_start(&config);
	need(how > 0, "start");
	watch(kho_fd_get(KHO_FD_LISTEN), 0);
	need(!kho_worker_enter(), "worker");
	if (how == KHO_FRESH)
		need(!luo_session_create("conns", &conns), "create");
	else
		take_all();
	need(!kho_ready(), "ready");
	/* What a client waits for: the first call after the grant. */
	begin = now_ns();
	luo_session_next_token(conns, &pos, &token);
	first_us = (now_ns() - begin) / 1000;
	kho_healthy();
}

void serve(void)
{
	struct epoll_event ev;

	epoll = epoll_create1(EPOLL_CLOEXEC);
	start();
	for (;;) {
		int n;

		kho_blocking();
		n = epoll_wait(epoll, &ev, 1, -1);
		kho_unblocked();
		if (n != 1)
			continue;
		if (ev.data.u64)
			answer(ev.data.u64);
		else
			accept_one();
	}
}
