/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * All that cached does to outlive itself. The rest is an ordinary server that
 * allocates with kho_malloc(), links with kho_publish(), and waits between kho_blocking() and
 * kho_unblocked().
 *
 *	kho_start()	says who we are and which bytes we read and write
 *	kho_root()	finds the two objects from which everything else is reached
 *	kho_ready()	a successor waits here until the predecessor has stopped
 *	frozen()	we are the predecessor: what is private and should go along, is stored
 *	thaw()		the successor failed: look everything up again
 *	kho_alive()	it goes round; and may the predecessor still come back?
 *	kho_healthy()	it works: the predecessor may go
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include <kho/host.h>

#include "cached.h"

#define IDS_AHEAD 1000000 /* one store for so many ids */

/* struct table, struct item; struct conn_table, struct conn_state, struct journal */
#define FORMATS                                                                                    \
	{"cached-items", 1, 1, 1, 0, 0},                                                           \
	{                                                                                          \
		"cached-conns", 2, 2, 2, 0, 0                                                      \
	}

static const struct kho_format formats[] = {FORMATS};
KHO_FORMATS_NOTE(FORMATS);

static int how;

/* Find what is there, or make it, and rebuild what is private. Nobody serves meanwhile. */
static int attach(bool after_rollback)
{
	void **items = kho_root("cache", "cached-table", 1);
	void **conns = kho_root("conns", "cached-conns", 2);
	bool crashed;
	int err;

	if (!items || !conns)
		return -errno;
	err = table_make(items);
	if (!err)
		err = conns_make(conns);
	if (err)
		return err;
	crashed = ((struct table *)*items)->parked == SERVING;
	clock_reset();
	table_attach(*items, ((struct table *)*items)->parked == PARKED_EXACT);
	stats_attach(after_rollback);
	items_attach();
	return conns_attach(*conns, after_rollback, crashed);
}

/* Predecessor, all workers parked: the last thing that we write, if all goes well. */
static void frozen(void *ctx)
{
	stats_park();
}

/* It did not: we go on. */
static void thaw(void *ctx, enum kho_thaw why)
{
	if (why == KHO_THAW_ROLLED_BACK) {
		/* What we know is stale, and cannot be looked up: the next start finds it all. */
		if (conns_adopt_all() || attach(true)) {
			fprintf(stderr, "cached: after the roll-back: %s\n", kho_error());
			_exit(1);
		}
	}
	stats_unpark();
}

/* Successor, still waiting: the predecessor accepted or closed a connection. */
static void fd_changed(void *ctx, __u64 token, int fd)
{
	if (token < TOKEN_CONN || token >= KHO_FD_LISTEN)
		return;
	if (fd < 0)
		conns_forget(token);
	else
		conns_adopt(token, fd);
}

int survive_start(void)
{
	struct kho_config config = KHO_CONFIG_INIT;

	config.name = "cached";
	config.release = CACHED_VERSION;
	config.formats = formats;
	config.nr_formats = sizeof(formats) / sizeof(formats[0]);
	config.flags = KHO_START_ALIVE;
	config.frozen = frozen;
	config.thaw = thaw;
	config.fd = fd_changed;
	how = kho_start(&config);
	return how < 0 ? how : 0;
}

/* Sockets and threads are there. Return: 0, and we own the arena; or negative. */
int survive_ready(void)
{
	/* All that came along go on, after a crash as well: what they were in the middle of is in the arena. */
	int err = conns_adopt_all();

	/* In a successor clients wait from the grant on: what can be done now, is. */
	if (!err)
		err = conns_prepare();
	table_prepare();
	if (how == KHO_SUCCESSOR)
		conns_set_probation(true);
	else if (!err)
		err = attach(false);
	if (!err)
		err = kho_ready();
	if (!err && how == KHO_SUCCESSOR)
		err = attach(false);
	if (!err)
		stats_unpark();
	return err;
}

/* Every worker has gone round since we began to serve. */
void survive_healthy(void)
{
	kho_healthy();
}

/* Only housekeeping calls this. */
void survive_alive(void)
{
	static struct rounds rounds;
	static __u64 next;
	struct timespec ts;
	__u64 now;

	if (!conns_probation())
		return;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	now = (__u64)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
	if (now < next || !workers_went_round(&rounds))
		return;
	next = now + ALIVE_MS;
	/* Until then what was said to be served counts: a roll-back closes those connections. */
	if (kho_alive() != 1)
		conns_set_probation(false);
}

/* All threads have stopped. */
void survive_stop(void)
{
	stats_park();
	kho_close();
}

void ids_attach(struct ids *ids, __u64 *limit)
{
	ids->limit = limit;
	ids->next = *limit ? *limit : 1;
}

__u64 ids_take(struct ids *ids, unsigned int nr)
{
	__u64 first = ids->next;

	ids->next += nr;
	if (ids->next > *ids->limit)
		__atomic_store_n(ids->limit, ids->next + IDS_AHEAD, __ATOMIC_RELEASE);
	return first;
}
