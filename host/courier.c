/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Couriers: see courier.h. Which fds are held is known in the table of fds; here is what has to
 * be told, and when.
 *
 * The order of two messages matters in one case alone: a token that is dropped and given
 * to another fd. So while drops wait to be sent, all that comes waits behind them.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "arena.h"
#include "courier.h"
#include "fdtable.h"
#include "life.h"

/* Beyond so many that wait, a sync says the same in fewer words. */
#define DROPS_MAX 1024

/* Taken with the table of fds locked, never the other way round. */
static struct {
	pthread_mutex_t lock;
	const struct kho_courier *courier;
	unsigned int max;
	unsigned int nr_held;
	bool due;
	bool sync_due; /* to be begun */
	bool syncing;
	bool told_full;
	unsigned int nr_drops;
	__u64 drops[DROPS_MAX];
} c = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void set_due(bool sync)
{
	c.due = true;
	c.sync_due |= sync;
	kho_keeper_kick_();
}

void kho_courier_attach_(const struct kho_courier *courier, unsigned int max)
{
	pthread_mutex_lock(&c.lock);
	c.courier = courier;
	c.max = max;
	c.told_full = false;
	set_due(true);
	pthread_mutex_unlock(&c.lock);
}

void kho_courier_detach_(void)
{
	pthread_mutex_lock(&c.lock);
	c.courier = NULL;
	c.due = c.sync_due = c.syncing = false;
	c.nr_drops = 0;
	pthread_mutex_unlock(&c.lock);
	kho_fdtable_unhold_();
}

bool kho_courier_due_(void)
{
	return __atomic_load_n(&c.due, __ATOMIC_RELAXED);
}

void kho_courier_resync_(void)
{
	pthread_mutex_lock(&c.lock);
	if (c.courier)
		set_due(true);
	pthread_mutex_unlock(&c.lock);
}

static void tell_full(void)
{
	if (c.told_full)
		return;
	c.told_full = true;
	fprintf(stderr,
		"libkho: %s: %s holds %u files, as many as it may open: those preserved from now "
		"on do not outlive a crash: raise its limit (ulimit -n)\n",
		kho_life_.name, c.courier->name, c.nr_held);
}

bool kho_courier_hold_(__u64 token, int fd)
{
	bool held = false;
	int r;

	pthread_mutex_lock(&c.lock);
	if (c.courier && c.nr_held >= c.max) {
		tell_full();
	} else if (c.courier) {
		r = c.nr_drops ? -EAGAIN : c.courier->hold(&token, &fd, 1);
		held = !r;
		c.nr_held += held;
		if (r == -EAGAIN)
			set_due(false);
	}
	pthread_mutex_unlock(&c.lock);
	return held;
}

void kho_courier_drop_(__u64 token, bool seen)
{
	pthread_mutex_lock(&c.lock);
	if (c.nr_held-- == c.max && c.courier)
		set_due(false); /* room for another */
	if (c.courier && !seen && (c.nr_drops || c.courier->drop(&token, 1) == -EAGAIN)) {
		if (c.nr_drops < DROPS_MAX)
			c.drops[c.nr_drops++] = token;
		set_due(c.nr_drops == DROPS_MAX);
	}
	pthread_mutex_unlock(&c.lock);
}

void kho_courier_forgot_(void)
{
	pthread_mutex_lock(&c.lock);
	c.nr_held = 0;
	pthread_mutex_unlock(&c.lock);
}

int kho_courier_why_(void)
{
	int r;

	pthread_mutex_lock(&c.lock);
	if (c.courier)
		r = c.nr_held >= c.max ? -EMFILE : 0;
	else
		r = kho_life_.supervisor[0] ? -ENOTCONN : 0;
	pthread_mutex_unlock(&c.lock);
	return r;
}

/* ---- the keeper ---- */

static int begin_sync(void)
{
	int r = 0;
	bool begin;

	pthread_mutex_lock(&c.lock);
	begin = c.sync_due && c.courier;
	if (begin)
		r = c.courier->sync(false);
	if (begin && !r) {
		c.sync_due = false;
		c.syncing = true;
		c.nr_drops = 0; /* the end of the sync drops them */
	}
	pthread_mutex_unlock(&c.lock);
	if (begin && !r)
		kho_fdtable_unhold_();
	return r;
}

static int send_drops(void)
{
	int r = 0;

	pthread_mutex_lock(&c.lock);
	while (c.nr_drops && c.courier && !r) {
		unsigned int nr = c.nr_drops < KHO_COURIER_BATCH ? c.nr_drops : KHO_COURIER_BATCH;

		r = c.courier->drop(c.drops, nr);
		if (r)
			break;
		c.nr_drops -= nr;
		memmove(c.drops, c.drops + nr, c.nr_drops * sizeof(c.drops[0]));
	}
	pthread_mutex_unlock(&c.lock);
	return r;
}

/* With the table locked. */
static int send_holds(void *ctx, const __u64 *tokens, const int *fds, unsigned int nr)
{
	int r;

	pthread_mutex_lock(&c.lock);
	if (!c.courier || c.sync_due)
		r = -ESTALE; /* begin again */
	else if (c.nr_held + nr > c.max)
		r = -EMFILE;
	else
		r = c.nr_drops ? -EAGAIN : c.courier->hold(tokens, fds, nr);
	if (!r)
		c.nr_held += nr;
	pthread_mutex_unlock(&c.lock);
	return r;
}

static unsigned int room(void)
{
	unsigned int nr;

	pthread_mutex_lock(&c.lock);
	nr = c.nr_held < c.max ? c.max - c.nr_held : 0;
	pthread_mutex_unlock(&c.lock);
	return nr < KHO_COURIER_BATCH ? nr : KHO_COURIER_BATCH;
}

static int hold_all(void)
{
	unsigned int pos = 0, most = KHO_COURIER_BATCH, batch;
	int r = 1;

	while ((r > 0 || r == -EBADF) && (batch = room())) {
		/* One of them was closed behind our back: find it, and leave it out. */
		if (r == -EBADF)
			most = 1;
		r = kho_fdtable_hold_(send_holds, NULL, &pos, batch < most ? batch : most);
	}
	if (r == 1 && kho_fdtable_hold_(NULL, NULL, &pos, 1)) {
		pthread_mutex_lock(&c.lock);
		if (c.courier)
			tell_full();
		pthread_mutex_unlock(&c.lock);
	}
	return r == -EMFILE || r > 0 ? 0 : r;
}

static int end_sync(void)
{
	int r = 0;

	pthread_mutex_lock(&c.lock);
	if (c.syncing && !c.sync_due && c.courier) {
		r = c.courier->sync(true);
		c.syncing = r;
	}
	pthread_mutex_unlock(&c.lock);
	return r;
}

int kho_courier_flush_(void)
{
	int r;

	pthread_mutex_lock(&c.lock);
	c.due = false;
	pthread_mutex_unlock(&c.lock);
	r = begin_sync() ?: send_drops() ?: hold_all() ?: end_sync();
	if (r == -ESTALE)
		r = -EAGAIN;
	if (r == -EAGAIN)
		__atomic_store_n(&c.due, true, __ATOMIC_RELAXED);
	return r;
}
