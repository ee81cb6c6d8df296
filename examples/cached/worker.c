/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Worker threads: each waits for its own connections, and parks nowhere else.
 */
#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <kho/host.h>

#include "cached.h"

#define EVENTS 32
#define PROBATION_MS 100 /* an idle worker shows that it lives this often */

struct worker workers[NR_THREADS];

static sem_t gate; /* closed until the arena is ours */
static bool stopping;

static __u32 clock_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	return now.tv_sec;
}

static void serve(struct worker *w)
{
	struct epoll_event events[EVENTS];
	int i, n;

	while (!__atomic_load_n(&stopping, __ATOMIC_ACQUIRE)) {
		kho_blocking();
		n = epoll_wait(w->epoll, events, EVENTS, conns_probation() ? PROBATION_MS : -1);
		/* Connections may be gone after a roll-back; what is true will be reported again. */
		if (kho_unblocked() == KHO_THAW_ROLLED_BACK)
			continue;
		w->now = clock_seconds();
		__atomic_store_n(&w->rounds, w->rounds + 1, __ATOMIC_RELEASE);
		for (i = 0; i < n; i++)
			if (events[i].data.ptr)
				conn_event(w, events[i].data.ptr, events[i].events);
	}
}

static void *run(void *arg)
{
	kho_worker_enter();
	kho_blocking();
	while (sem_wait(&gate))
		;
	serve(arg);
	kho_worker_exit();
	return NULL;
}

int workers_init(void)
{
	unsigned int i;

	sem_init(&gate, 0, 0);
	for (i = 0; i < options.threads; i++) {
		struct worker *w = &workers[i];
		struct epoll_event event = {.events = EPOLLIN};

		w->id = i;
		w->epoll = epoll_create1(EPOLL_CLOEXEC);
		w->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (w->epoll < 0 || w->wake < 0)
			return -errno;
		if (epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->wake, &event))
			return -errno;
	}
	return 0;
}

int workers_start(void)
{
	unsigned int i;
	int err;

	for (i = 0; i < options.threads; i++) {
		err = pthread_create(&workers[i].thread, NULL, run, &workers[i]);
		if (err)
			return -err;
	}
	return 0;
}

void workers_go(void)
{
	unsigned int i;

	/* Those who never wait for an event, like the clock, need a time, too. */
	for (i = 0; i < NR_THREADS; i++)
		workers[i].now = clock_seconds();
	for (i = 0; i < options.threads; i++)
		sem_post(&gate);
}

bool workers_went_round(struct rounds *rounds)
{
	__u64 *before = rounds->before;
	unsigned int i;

	for (i = 0; i < options.threads; i++)
		if (__atomic_load_n(&workers[i].rounds, __ATOMIC_ACQUIRE) == before[i])
			return false;
	for (i = 0; i < options.threads; i++)
		before[i] = __atomic_load_n(&workers[i].rounds, __ATOMIC_ACQUIRE);
	return true;
}

void workers_stop(void)
{
	unsigned int i;

	__atomic_store_n(&stopping, true, __ATOMIC_RELEASE);
	for (i = 0; i < options.threads; i++)
		eventfd_write(workers[i].wake, 1);
	for (i = 0; i < options.threads; i++)
		pthread_join(workers[i].thread, NULL);
}
