/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The verifying load: busy, idle and short-lived connections, in one thread.
 *
 *	busy	has keys of its own; reads one, and in the same packet may write it, so that
 *		every write that is replaced has been checked by the connection that knows
 *	idle	reads a still key now and then
 *	short	connects, reads a still key, closes
 *
 * A connection that breaks is counted, its unanswered writes become maybes, and it is opened
 * again; it reads something at once, so that "answered" also means served.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "load.h"

#define SHORT_MAX 64 /* short-lived connections at one time */
#define SWEEP_PIPELINE 64
#define IDLE_ROUND (5 * LOAD_NS) /* each idle connection is touched once in it */
#define TICK (500 * LOAD_US)
#define EVENTS 256
#define REOPEN (5 * LOAD_MS) /* between attempts to connect that fail */
#define TEND (5 * LOAD_MS) /* looking for what is closed or stuck */

enum role { BUSY, IDLE, SHORT };

enum mode {
	MODE_RUN,
	MODE_PAUSE,
	MODE_TOUCH, /* ask on every connection, then pause */
	MODE_SWEEP, /* read all keys, then pause */
	MODE_STOP,
};

struct client {
	struct load_conn conn; /* first: epoll's data points to it */
	enum role role;
	bool touched; /* in this MODE_TOUCH */
	uint64_t reopen; /* when, if closed */
};

/* Work that comes at a rate: how much of it is due. */
struct pace {
	double per_ns;
	double due;
	double max;
};

struct load_verify {
	struct load_verify_config config;
	struct sockaddr_in addr;
	struct load_counts counts;
	struct load_known *known;
	struct client *clients; /* busy, idle, short */
	unsigned int nr_clients;
	int epfd;
	pthread_t thread;
	uint64_t random;
	uint64_t nth_still;
	unsigned int next_busy, next_idle, next_short;
	uint64_t sweep_next;
	atomic_int mode;
	atomic_int blame;
	atomic_int quiet; /* in this mode there is nothing left to do, and nothing under way */
	_Atomic uint64_t sweep_done;
	struct pace busy_pace, idle_pace, short_pace;
};

static uint64_t random_next(struct load_verify *v)
{
	return v->random = load_mix(v->random);
}

static struct load_verify *owner(struct load_conn *conn)
{
	return conn->owner;
}

static void count(atomic_ulong *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* ---- answers ------------------------------------------------------------------ */

static void judge_read(struct load_verify *v, const struct load_op *op,
		       const struct load_reply *reply)
{
	count(&v->counts.reads);
	if (reply->status == LOAD_ERROR) {
		count(&v->counts.errors);
		return;
	}
	switch (load_judge(&v->known[op->index], op->index, reply)) {
	case LOAD_LOST:
		count(&v->counts.lost);
		break;
	case LOAD_WRONG:
		count(&v->counts.wrong);
		break;
	default:
		break;
	}
}

static void take_write(struct load_verify *v, const struct load_op *op,
		       const struct load_reply *reply)
{
	struct load_known *known = &v->known[op->index];

	if (reply->status == LOAD_ERROR) {
		/* It may have dropped the old value, too. */
		known->maybe = op->version;
		count(&v->counts.errors);
		return;
	}
	/* The read before it found the key, and nobody else writes it. */
	if (op->kind == LOAD_DELETE && reply->status == LOAD_MISS)
		count(&v->counts.lost);
	known->acked = op->version;
	count(&v->counts.writes);
}

static void client_reply(struct load_conn *conn, const struct load_op *op,
			 const struct load_reply *reply)
{
	struct load_verify *v = owner(conn);
	struct client *client = (struct client *)conn;

	if (op->kind == LOAD_GET)
		judge_read(v, op, reply);
	else
		take_write(v, op, reply);
	if (atomic_load_explicit(&v->mode, memory_order_relaxed) == MODE_SWEEP)
		atomic_fetch_add_explicit(&v->sweep_done, 1, memory_order_relaxed);
	if (client->role == SHORT) {
		count(&v->counts.opened);
		load_conn_close(conn);
	}
}

/* ---- connections ----------------------------------------------------------------- */

static void add(struct client *client, enum load_kind kind, uint64_t index, uint32_t version)
{
	struct load_op op = {.index = index, .version = version, .kind = (uint8_t)kind};

	op.sent = load_now();
	if (load_conn_add(&client->conn, &op))
		count(&owner(&client->conn)->counts.errors);
}

static uint64_t next_still(struct load_verify *v)
{
	return load_still(v->nth_still++, v->config.keys, v->config.busy);
}

static void client_open(struct load_verify *v, struct client *client)
{
	int err = load_conn_open(&client->conn, &v->addr);

	if (err) {
		count(&v->counts.refused);
		client->reopen = load_now() + REOPEN;
		return;
	}
	add(client, LOAD_GET, next_still(v), 0);
}

static void client_broken(struct load_verify *v, struct client *client, int err)
{
	struct load_op op;

	bool refused = client->conn.connecting && err == -ECONNREFUSED;

	if (refused)
		count(&v->counts.refused);
	else
		count(&v->counts.dropped[atomic_load(&v->blame)]);
	load_conn_close(&client->conn);
	while (load_conn_forget(&client->conn, &op)) {
		if (op.kind == LOAD_GET)
			continue;
		v->known[op.index].maybe = op.version;
		count(&v->counts.maybe);
	}
	client->reopen = refused ? load_now() + REOPEN : 0;
	if (client->role != SHORT && !refused)
		client_open(v, client);
}

static void client_flush(struct load_verify *v, struct client *client)
{
	int err = load_conn_flush(&client->conn);

	if (err)
		client_broken(v, client, err);
}

static bool is_free(const struct client *client)
{
	return client->conn.fd >= 0 && !client->conn.connecting && !client->conn.nr;
}

/* ---- work ---------------------------------------------------------------------------- */

static void busy_work(struct load_verify *v, struct client *client)
{
	unsigned int turn = load_turn(v->config.busy);
	uint64_t turns = v->config.keys / turn, dice = random_next(v);
	uint64_t index = dice % turns * turn + client->conn.number;
	struct load_known *known = &v->known[index];
	bool gone = known->acked & LOAD_DELETED;

	add(client, LOAD_GET, index, 0);
	/* A maybe must be settled before there is a second one. */
	if (!known->maybe && dice >> 63) {
		known->issued++;
		if (!gone && (dice >> 60 & 7) == 0)
			add(client, LOAD_DELETE, index, known->issued | LOAD_DELETED);
		else
			add(client, LOAD_SET, index, known->issued);
	}
	client_flush(v, client);
}

static unsigned int pace_take(struct pace *pace, uint64_t ns)
{
	unsigned int whole;

	pace->due += pace->per_ns * (double)ns;
	if (pace->due > pace->max)
		pace->due = pace->max;
	whole = (unsigned int)pace->due;
	pace->due -= whole;
	return whole;
}

static void run_busy(struct load_verify *v, unsigned int due)
{
	unsigned int tried;

	for (tried = 0; due && tried < v->config.busy; tried++) {
		struct client *client = &v->clients[v->next_busy];

		v->next_busy = (v->next_busy + 1) % v->config.busy;
		if (!is_free(client))
			continue;
		busy_work(v, client);
		due--;
	}
}

static void touch(struct load_verify *v, struct client *client)
{
	add(client, LOAD_GET, next_still(v), 0);
	client_flush(v, client);
}

static void run_idle(struct load_verify *v, unsigned int due)
{
	while (v->config.idle && due--) {
		struct client *client = &v->clients[v->config.busy + v->next_idle];

		v->next_idle = (v->next_idle + 1) % v->config.idle;
		if (is_free(client))
			touch(v, client);
	}
}

static void run_short(struct load_verify *v, unsigned int due)
{
	unsigned int first = v->config.busy + v->config.idle, tried;

	for (tried = 0; due && tried < SHORT_MAX; tried++) {
		struct client *client = &v->clients[first + v->next_short];

		v->next_short = (v->next_short + 1) % SHORT_MAX;
		if (client->conn.fd >= 0)
			continue;
		client_open(v, client);
		due--;
	}
}

static bool run_sweep(struct load_verify *v)
{
	unsigned int i;

	for (i = 0; i < v->config.busy && v->sweep_next < v->config.keys; i++) {
		struct client *client = &v->clients[i];

		if (client->conn.nr > SWEEP_PIPELINE / 2)
			continue;
		while (v->sweep_next < v->config.keys && client->conn.nr < SWEEP_PIPELINE)
			add(client, LOAD_GET, v->sweep_next++, 0);
		client_flush(v, client);
	}
	return v->sweep_next < v->config.keys;
}

/* Return: whether there is more to ask. */
static bool run_touch(struct load_verify *v)
{
	unsigned int i, nr = v->config.busy + v->config.idle, left = 0, now = 0;

	for (i = 0; i < nr; i++) {
		struct client *client = &v->clients[i];

		if (client->touched)
			continue;
		left++;
		/* A burst of a thousand would be a test of something else. */
		if (now == 32 || !is_free(client))
			continue;
		client->touched = true;
		now++;
		touch(v, client);
	}
	return left > 0;
}

/* Anything without an answer, or not connected? Gives up what is stuck, opens what failed to. */
static bool tend(struct load_verify *v, uint64_t now)
{
	bool under_way = false;
	unsigned int i;

	for (i = 0; i < v->nr_clients; i++) {
		struct client *client = &v->clients[i];
		struct load_conn *conn = &client->conn;

		if (conn->fd < 0 && client->role != SHORT) {
			under_way = true;
			if (now >= client->reopen)
				client_open(v, client);
		} else if (conn->nr) {
			under_way = true;
			if (now > conn->ops[conn->head].sent + load_patience) {
				count(&v->counts.stuck);
				client_broken(v, client, -ETIMEDOUT);
			}
		}
	}
	return under_way;
}

static void step(struct load_verify *v, enum mode mode, uint64_t ns)
{
	unsigned int busy = pace_take(&v->busy_pace, ns), idle = pace_take(&v->idle_pace, ns);
	unsigned int opens = pace_take(&v->short_pace, ns);
	bool more = true;

	switch (mode) {
	case MODE_RUN:
		run_busy(v, busy);
		run_idle(v, idle);
		run_short(v, opens);
		return;
	case MODE_TOUCH:
		more = run_touch(v);
		break;
	case MODE_SWEEP:
		more = run_sweep(v);
		break;
	default:
		more = false;
		break;
	}
	more |= tend(v, load_now());
	atomic_store(&v->quiet, more ? -1 : (int)mode);
}

static void events(struct load_verify *v)
{
	struct timespec tick = {0, TICK};
	struct epoll_event ev[EVENTS];
	int i, nr, err;

	nr = epoll_pwait2(v->epfd, ev, EVENTS, &tick, NULL);
	for (i = 0; i < nr; i++) {
		struct client *client = ev[i].data.ptr;

		/* Closed by an event before it in this batch. */
		if (client->conn.fd < 0)
			continue;
		err = load_conn_event(&client->conn, ev[i].events);
		if (err && client->conn.fd >= 0)
			client_broken(v, client, err);
	}
}

static void *verify_main(void *arg)
{
	struct load_verify *v = arg;
	uint64_t last = load_now(), tended = last, now;
	enum mode mode;

	prctl(PR_SET_TIMERSLACK, 1);
	for (;;) {
		mode = (enum mode)atomic_load(&v->mode);
		if (mode == MODE_STOP)
			return NULL;
		now = load_now();
		step(v, mode, now - last);
		last = now;
		if (mode == MODE_RUN && now - tended > TEND) {
			tend(v, now);
			tended = now;
		}
		events(v);
	}
}

/* ---- from outside ------------------------------------------------------------------------ */

static int make_clients(struct load_verify *v)
{
	unsigned int i;

	for (i = 0; i < v->nr_clients; i++) {
		struct client *client = &v->clients[i];
		unsigned int pipeline = 4;

		client->role = SHORT;
		if (i < v->config.busy + v->config.idle)
			client->role = IDLE;
		if (i < v->config.busy) {
			client->role = BUSY;
			pipeline = SWEEP_PIPELINE;
		}
		if (load_conn_init(&client->conn, v->epfd, pipeline, &v->config.shape, client_reply,
				   v))
			return -ENOMEM;
		client->conn.number = i;
		if (client->role != SHORT)
			client_open(v, client);
	}
	return 0;
}

struct load_verify *load_verify_start(const struct load_verify_config *config)
{
	struct load_verify *v = calloc(1, sizeof(*v));
	uint64_t i;

	if (!v)
		return NULL;
	v->config = *config;
	v->addr = load_addr(config->port);
	v->random = config->seed;
	v->nr_clients = config->busy + config->idle + SHORT_MAX;
	v->busy_pace = (struct pace){config->rate / 1e9, 0, config->busy};
	v->idle_pace = (struct pace){config->idle / (double)IDLE_ROUND, 0, 8};
	v->short_pace = (struct pace){config->opens / 1e9, 0, 8};
	atomic_store(&v->quiet, -1);
	v->epfd = epoll_create1(EPOLL_CLOEXEC);
	v->known = calloc(config->keys, sizeof(*v->known));
	v->clients = calloc(v->nr_clients, sizeof(*v->clients));
	if (v->epfd >= 0 && v->known && v->clients) {
		for (i = 0; i < config->keys; i++)
			v->known[i].acked = v->known[i].issued = 1;
		for (i = 0; i < v->nr_clients; i++)
			v->clients[i].conn.fd = -1;
		errno = -make_clients(v);
		if (!errno)
			errno = pthread_create(&v->thread, NULL, verify_main, v);
		if (!errno)
			return v;
	}
	atomic_store(&v->mode, MODE_STOP);
	load_verify_free(v);
	return NULL;
}

struct load_counts *load_verify_counts(struct load_verify *v)
{
	return &v->counts;
}

void load_verify_blame(struct load_verify *v, enum load_blame blame)
{
	atomic_store(&v->blame, blame);
}

static bool wait_quiet(struct load_verify *v, enum mode mode, uint64_t timeout)
{
	uint64_t end = load_now() + timeout;

	atomic_store(&v->quiet, -1);
	atomic_store(&v->mode, mode);
	while (atomic_load(&v->quiet) != (int)mode) {
		if (load_now() > end)
			return false;
		load_sleep(LOAD_MS);
	}
	return true;
}

bool load_verify_pause(struct load_verify *v, uint64_t timeout)
{
	return wait_quiet(v, MODE_PAUSE, timeout);
}

void load_verify_resume(struct load_verify *v)
{
	atomic_store(&v->mode, MODE_RUN);
}

bool load_verify_settle(struct load_verify *v, uint64_t timeout)
{
	bool settled = load_verify_pause(v, timeout);

	load_verify_resume(v);
	return settled;
}

int load_verify_finish(struct load_verify *v,
		       void (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx)
{
	uint64_t end = load_now() + 120 * LOAD_NS;

	if (!wait_quiet(v, MODE_PAUSE, 2 * load_patience) ||
	    !wait_quiet(v, MODE_TOUCH, 2 * load_patience))
		return -ETIMEDOUT;
	atomic_store(&v->quiet, -1);
	atomic_store(&v->mode, MODE_SWEEP);
	while (atomic_load(&v->quiet) != MODE_SWEEP) {
		if (load_now() > end)
			return -ETIMEDOUT;
		load_sleep(10 * LOAD_MS);
		if (progress)
			progress(ctx, atomic_load(&v->sweep_done), v->config.keys);
	}
	return 0;
}

void load_verify_free(struct load_verify *v)
{
	unsigned int i;

	if (!v)
		return;
	if (v->thread) {
		atomic_store(&v->mode, MODE_STOP);
		pthread_join(v->thread, NULL);
	}
	for (i = 0; v->clients && i < v->nr_clients; i++)
		load_conn_free(&v->clients[i].conn);
	if (v->epfd >= 0)
		close(v->epfd);
	free(v->clients);
	free(v->known);
	free(v);
}
