/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The watch: one thread and one connection that asks for one key every 50 microseconds, and sleeps in
 * between. The pace: another thread that asks and stores, as clients do.
 *
 * Which answer is the next process's? The first after all threads of the old one were seen to be exiting:
 * until then that one may answer for some microseconds. What lies in our socket at that moment is its last.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "crash.h"

#define INTERVAL (50 * LOAD_US)
#define RETRY (200 * LOAD_US)
#define PACE_CONNS 4

struct watch {
	unsigned int port;
	enum load_proto proto;
	bool any;
	pthread_t thread;
	atomic_bool stop;
	_Atomic uint64_t mark;
	_Atomic uint64_t last; /* answer */
	_Atomic uint64_t first; /* since the mark */
	atomic_int fd; /* -1: none */
	atomic_bool skip; /* the next answer is the old process's */
};

static int open_connection(unsigned int port)
{
	struct sockaddr_in addr = load_addr(port);
	struct timeval patience = {.tv_sec = 0, .tv_usec = 500000};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (!connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		return fd;
	close(fd);
	return -1;
}

/* Read until @want bytes are there; of a miss there are fewer. @right: what they must be, or NULL. Return: they are. */
static bool read_answer(int fd, char *got, size_t size, size_t want, const char *right,
			const atomic_bool *stop)
{
	size_t have = 0;

	while (have < want) {
		ssize_t n = recv(fd, got + have, size - have, 0);

		if (n < 0 && (errno == EAGAIN || errno == EINTR) && !atomic_load(stop))
			continue;
		if (n <= 0)
			return false;
		have += (size_t)n;
		if (!right && got[have - 1] == '\n')
			return true;
		/* Another answer may be shorter: it is not waited for. */
		if (right && memcmp(got, right, have < want ? have : want))
			return false;
	}
	return have == want;
}

static void note_answer(struct watch *w)
{
	uint64_t now = load_now(), mark = atomic_load(&w->mark);

	if (mark && now >= mark && !atomic_load(&w->first) && !atomic_exchange(&w->skip, false))
		atomic_store(&w->first, now);
	atomic_store(&w->last, now);
}

static void *watch_thread(void *ctx)
{
	struct load_op op = {.index = 0, .version = 1, .kind = LOAD_GET};
	struct watch *w = ctx;
	char request[128], answer[512], got[512];
	size_t nr, len;
	int fd = -1;

	prctl(PR_SET_TIMERSLACK, 1);
	nr = load_request(request, sizeof(request), w->proto, &op, &sized_shape0);
	len = load_answer(answer, sizeof(answer), w->proto, &op, &sized_shape0);
	while (!atomic_load(&w->stop)) {
		uint64_t began = load_now();

		if (fd < 0)
			fd = open_connection(w->port);
		atomic_store(&w->fd, fd);
		if (fd >= 0 && send(fd, request, nr, MSG_NOSIGNAL) == (ssize_t)nr &&
		    read_answer(fd, got, sizeof(got), len, w->any ? NULL : answer, &w->stop)) {
			note_answer(w);
			load_sleep_until(began + INTERVAL);
			continue;
		}
		atomic_store(&w->fd, -1);
		atomic_store(&w->skip, false);
		/* Broken, or a server that has not its data yet: an answer all the same, but no good one. */
		if (fd >= 0)
			close(fd);
		fd = -1;
		load_sleep(RETRY);
	}
	if (fd >= 0)
		close(fd);
	return NULL;
}

struct watch *watch_start(unsigned int port, enum load_proto proto, bool any)
{
	struct watch *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->port = port;
	w->proto = proto;
	w->any = any;
	atomic_store(&w->fd, -1);
	if (!pthread_create(&w->thread, NULL, watch_thread, w))
		return w;
	free(w);
	return NULL;
}

void watch_stop(struct watch *w)
{
	if (!w)
		return;
	atomic_store(&w->stop, true);
	pthread_join(w->thread, NULL);
	free(w);
}

bool watch_answered(struct watch *w, uint64_t timeout)
{
	uint64_t now = load_now(), end = now + timeout;

	while (atomic_load(&w->last) <= now) {
		if (load_now() > end)
			return false;
		load_sleep(LOAD_MS / 5);
	}
	return true;
}

void watch_mark(struct watch *w)
{
	int fd = atomic_load(&w->fd), left = 0;

	atomic_store(&w->mark, 0);
	atomic_store(&w->first, 0);
	atomic_store(&w->skip, fd >= 0 && !ioctl(fd, FIONREAD, &left) && left);
	atomic_store(&w->mark, load_now());
}

uint64_t watch_first(struct watch *w)
{
	return atomic_load(&w->first);
}

/* ---- the pace ---- */

struct pace {
	unsigned int port;
	enum load_proto proto;
	uint64_t keys;
	struct load_shape shape;
	uint64_t every;
	pthread_t thread;
	atomic_bool stop;
};

/* One operation; what is answered is of no interest, but all of it is read. */
static bool operate(struct pace *p, int fd, uint64_t nth, char *buf, size_t size)
{
	struct load_op op = {.index = 1 + load_mix(nth) % p->keys, .version = 1};
	size_t nr;

	op.kind = nth % 10 ? LOAD_GET : LOAD_SET;
	nr = load_request(buf, size, p->proto, &op, &p->shape);
	if (send(fd, buf, nr, MSG_NOSIGNAL) != (ssize_t)nr)
		return false;
	nr = load_answer(buf, size, p->proto, &op, &p->shape);
	return read_answer(fd, buf, size, nr, NULL, &p->stop);
}

static void *pace_thread(void *ctx)
{
	struct pace *p = ctx;
	size_t size = 2 * p->shape.max + 4096;
	char *buf = malloc(size);
	int fds[PACE_CONNS] = {-1, -1, -1, -1};
	uint64_t next = load_now();

	for (uint64_t nth = 0; buf && !atomic_load(&p->stop); nth++) {
		int *fd = &fds[nth % PACE_CONNS];

		if (*fd < 0)
			*fd = open_connection(p->port);
		if (*fd >= 0 && !operate(p, *fd, nth, buf, size)) {
			close(*fd);
			*fd = -1;
		}
		next += p->every;
		if (next < load_now())
			next = load_now();
		load_sleep_until(next);
	}
	for (int i = 0; i < PACE_CONNS; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	free(buf);
	return NULL;
}

struct pace *pace_start(unsigned int port, enum load_proto proto, uint64_t keys,
			const struct load_shape *shape, unsigned int per_s)
{
	struct pace *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	*p = (struct pace){.port = port,
			   .proto = proto,
			   .keys = keys,
			   .shape = *shape,
			   .every = LOAD_NS / per_s};
	if (!pthread_create(&p->thread, NULL, pace_thread, p))
		return p;
	free(p);
	return NULL;
}

void pace_stop(struct pace *p)
{
	if (!p)
		return;
	atomic_store(&p->stop, true);
	pthread_join(p->thread, NULL);
	free(p);
}
