/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * cached: a cache that speaks memcached's text protocol and outlives its program.
 *
 * The main thread takes new connections and watches the clock; all else is in the workers.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <kho/host.h>

#include "cached.h"

#define HEALTHY_AGAIN_MS 20 /* ask again after this if a worker has not gone round */

enum { ON_SIGNAL = LISTEN_MAX, ON_TIMER };

static int epoll_fd, signal_fd, timer_fd;

static int fail(const char *what, int err)
{
	fprintf(stderr, "cached: %s: %s\n", what, *kho_error() ? kho_error() : strerror(-err));
	return EXIT_FAILURE;
}

static int watch(int fd, __u64 what)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = what};

	return fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static void set_timer(unsigned int ms)
{
	struct itimerspec when = {.it_value = {ms / 1000, ms % 1000 * 1000000L}};

	if (!ms)
		when.it_value.tv_nsec = 1;
	timerfd_settime(timer_fd, 0, &when, NULL);
}

static void raise_fd_limit(void)
{
	struct rlimit limit;
	rlim_t need = options.conns + 4ULL * options.threads + 64;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= need)
		return;
	limit.rlim_cur = need;
	if (limit.rlim_max < need)
		limit.rlim_max = need;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		fprintf(stderr, "cached: fewer than %u connections: no more open files allowed\n",
			options.conns);
}

/* Before any thread is made, so that all of them have the signals blocked. */
static int prepare(void)
{
	sigset_t set;
	int err;

	raise_fd_limit();
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (epoll_fd < 0)
		return -errno;
	err = watch(signal_fd, ON_SIGNAL);
	return err ? err : watch(timer_fd, ON_TIMER);
}

static void on_timer(void)
{
	static struct rounds rounds;
	__u64 ticks;

	if (read(timer_fd, &ticks, sizeof(ticks)) != sizeof(ticks))
		return;
	if (workers_went_round(&rounds))
		survive_healthy();
	else
		set_timer(HEALTHY_AGAIN_MS);
}

static void serve(void)
{
	struct epoll_event events[8];
	bool stop = false;
	int i, n;

	kho_worker_enter();
	while (!stop) {
		kho_blocking();
		n = epoll_wait(epoll_fd, events, 8, -1);
		kho_unblocked();
		for (i = 0; i < n; i++) {
			if (events[i].data.u64 == ON_SIGNAL)
				stop = true;
			else if (events[i].data.u64 == ON_TIMER)
				on_timer();
			else
				conns_accept(listen_fd(events[i].data.u64));
		}
	}
	kho_worker_exit();
}

int main(int argc, char **argv)
{
	int err, i, nr;

	options_parse(argc, argv);
	err = prepare();
	if (err)
		return fail("cannot prepare", err);
	err = survive_start();
	if (err)
		return fail("cannot start", err);
	nr = listen_start();
	if (nr < 0)
		return fail("cannot listen", nr);
	for (i = 0; i < nr && !err; i++)
		err = watch(listen_fd(i), i);
	if (!err)
		err = workers_init();
	if (!err)
		err = workers_start();
	if (err)
		return fail("cannot prepare", err);
	err = survive_ready();
	if (err)
		return fail("cannot take over", err);
	workers_go();
	err = clock_start();
	if (err)
		return fail("no thread for housekeeping", err);
	set_timer(options.healthy_after);
	serve();
	workers_stop();
	clock_stop();
	survive_stop();
	return EXIT_SUCCESS;
}
