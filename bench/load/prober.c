/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The prober: how long does nobody answer? See load.h. */
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "load.h"

#define PROBER_INTERVAL (50 * LOAD_US)
#define PROBER_RETRY (200 * LOAD_US) /* between attempts to connect, and after a bad answer */
#define VERSION_LEN 80
#define PROBER_POLL (200 * LOAD_US) /* of the thread that looks for a window's answer */

struct load_prober {
	struct load_prober_config config;
	pthread_t thread;
	int fd;
	char *request;
	size_t request_len;
	char *answer;
	char *got;
	size_t answer_len;
	char said[VERSION_LEN]; /* of the version; the one before is @known */
	char known[VERSION_LEN];
	atomic_bool stop;
	_Atomic uint64_t last; /* the last answer's time; 0 = none yet */
	/* The window. The prober's thread writes; reset is the one word that others write. */
	atomic_bool reset;
	_Atomic uint64_t gap;
	_Atomic uint64_t change;
	_Atomic uint64_t answers;
	_Atomic uint64_t bad;
	_Atomic uint64_t breaks;
	_Atomic uint64_t refused;
	_Atomic uint64_t stuck;
};

/*
 * A single writer and readers that tolerate being a little late: a plain addition, where
 * a locked one would need the bus.
 */
static void bump(_Atomic uint64_t *counter)
{
	uint64_t v = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, v + 1, memory_order_relaxed);
}

static bool probe_connect(struct load_prober *prober)
{
	struct sockaddr_in addr = load_addr(prober->config.port);
	struct timeval patience = {.tv_usec = 200000}; /* how late a stop may be noticed */
	int one = 1;

	prober->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (prober->fd < 0)
		return false;
	setsockopt(prober->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(prober->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (!connect(prober->fd, (struct sockaddr *)&addr, sizeof(addr)))
		return true;
	close(prober->fd);
	prober->fd = -1;
	bump(&prober->refused);
	return false;
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Is it all there? Behind the answer comes the version's line, if it was asked for. */
static bool probe_done(struct load_prober *prober, size_t have)
{
	size_t len = have - prober->answer_len;

	if (have < prober->answer_len || !prober->config.version)
		return have == prober->answer_len;
	if (!len || len >= VERSION_LEN || prober->got[have - 1] != '\n')
		return false;
	memcpy(prober->said, prober->got + prober->answer_len, len);
	prober->said[len] = '\0';
	return true;
}

/* Return: the whole answer came; false: the connection is of no use any more. */
static bool probe_receive(struct load_prober *prober)
{
	size_t room = prober->answer_len + (prober->config.version ? VERSION_LEN : 0);
	uint64_t end = load_now() + load_patience;
	size_t have = 0;
	ssize_t n;

	while (!probe_done(prober, have) && !atomic_load(&prober->stop)) {
		n = recv(prober->fd, prober->got + have, room - have, 0);
		/* A server that took the request and forgot it would be waited for for ever. */
		if (n < 0 && (errno == EAGAIN || errno == EINTR) && load_now() < end)
			continue;
		if (n <= 0) {
			if (n < 0 && (errno == EAGAIN || errno == EINTR))
				bump(&prober->stuck);
			bump(&prober->breaks);
			return false;
		}
		/* At once: an answer of another kind may be shorter. */
		if (have < prober->answer_len && memcmp(prober->got + have, prober->answer + have,
							least(n, prober->answer_len - have))) {
			bump(&prober->bad);
			load_sleep(PROBER_RETRY);
			return false;
		}
		have += (size_t)n;
	}
	return probe_done(prober, have);
}

static void probe_count(struct load_prober *prober)
{
	uint64_t now = load_now(), last = atomic_load(&prober->last), gap = now - last;

	if (atomic_load(&prober->reset)) {
		atomic_store(&prober->gap, 0);
		atomic_store(&prober->change, 0);
		atomic_store(&prober->answers, 0);
		atomic_store(&prober->bad, 0);
		atomic_store(&prober->breaks, 0);
		atomic_store(&prober->refused, 0);
		atomic_store(&prober->stuck, 0);
		atomic_store(&prober->reset, false);
	} else if (last && gap > atomic_load(&prober->gap)) {
		atomic_store(&prober->gap, gap);
	}
	if (strcmp(prober->known, prober->said)) {
		if (prober->known[0])
			atomic_store(&prober->change, gap);
		memcpy(prober->known, prober->said, sizeof(prober->known));
	}
	bump(&prober->answers);
	atomic_store(&prober->last, now);
}

static void *probe_main(void *arg)
{
	struct load_prober *prober = arg;
	const struct sched_param realtime = {.sched_priority = 1};
	uint64_t next = load_now(), now;

	/* Or each sleep ends up to 50 microseconds late. */
	prctl(PR_SET_TIMERSLACK, 1);
	/*
	 * A client elsewhere would not wait for our processors. As an ordinary user we do,
	 * and it counts.
	 */
	pthread_setschedparam(pthread_self(), SCHED_FIFO, &realtime);
	while (!atomic_load(&prober->stop)) {
		if (prober->fd < 0 && !probe_connect(prober)) {
			load_sleep(PROBER_RETRY);
			continue;
		}
		if (send(prober->fd, prober->request, prober->request_len, MSG_NOSIGNAL) ==
			    (ssize_t)prober->request_len &&
		    probe_receive(prober)) {
			probe_count(prober);
		} else {
			close(prober->fd);
			prober->fd = -1;
		}
		next += prober->config.interval;
		now = load_now();
		if (next > now)
			load_sleep_until(next);
		else
			next = now;
	}
	return NULL;
}

struct load_prober *load_prober_start(const struct load_prober_config *config)
{
	struct load_prober *prober = calloc(1, sizeof(*prober));
	struct load_op op = {.index = config->index, .version = 1, .kind = LOAD_GET};
	size_t size = 256 + VERSION_LEN + config->shape.max;

	if (!prober)
		return NULL;
	prober->config = *config;
	if (!prober->config.interval)
		prober->config.interval = PROBER_INTERVAL;
	prober->fd = -1;
	prober->request = malloc(size);
	prober->answer = malloc(size);
	prober->got = malloc(size);
	if (!prober->request || !prober->answer || !prober->got)
		goto fail;
	prober->request_len =
		load_request(prober->request, size, config->proto, &op, &config->shape);
	if (config->version)
		prober->request_len +=
			(size_t)sprintf(prober->request + prober->request_len, "version\r\n");
	prober->answer_len = load_answer(prober->answer, size, config->proto, &op, &config->shape);
	errno = pthread_create(&prober->thread, NULL, probe_main, prober);
	if (!errno)
		return prober;
fail:
	free(prober->request);
	free(prober->answer);
	free(prober->got);
	free(prober);
	return NULL;
}

void load_prober_stop(struct load_prober *prober)
{
	if (!prober)
		return;
	atomic_store(&prober->stop, true);
	pthread_join(prober->thread, NULL);
	if (prober->fd >= 0)
		close(prober->fd);
	free(prober->request);
	free(prober->answer);
	free(prober->got);
	free(prober);
}

int load_prober_begin(struct load_prober *prober, uint64_t timeout)
{
	uint64_t end = load_now() + timeout;

	atomic_store(&prober->reset, true);
	while (atomic_load(&prober->reset)) {
		if (load_now() > end)
			return -ETIMEDOUT;
		load_sleep(PROBER_POLL);
	}
	return 0;
}

int load_prober_end(struct load_prober *prober, uint64_t timeout, struct load_window *window)
{
	uint64_t now = load_now(), end = now + timeout;
	int err = 0;

	while (atomic_load(&prober->last) < now && !err) {
		if (load_now() > end)
			err = -ETIMEDOUT;
		load_sleep(PROBER_POLL);
	}
	window->gap = atomic_load(&prober->gap);
	window->change = atomic_load(&prober->change);
	window->answers = atomic_load(&prober->answers);
	window->bad = atomic_load(&prober->bad);
	window->breaks = atomic_load(&prober->breaks);
	window->refused = atomic_load(&prober->refused);
	window->stuck = atomic_load(&prober->stuck);
	return err;
}
