/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The memory limit, and housekeeping.
 *
 * Eviction is a clock: a hand goes round the buckets; an item that was used since the hand's last
 * visit loses its bit and stays, any other goes. A get stores one byte, and that
 * only once between two visits; there is no list to keep in order or to repair.
 *
 * The sums of bytes and items are private. A predecessor stores them when it is parked; after
 * a crash the housekeeping thread counts anew, while the others serve: an item
 * counts when it is changed behind the counter's position or when the counter comes by. Until it is
 * through, more than the limit may be in use.
 */
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <kho/host.h>

#include "cached.h"

#define TELL_BYTES (16 << 10) /* what a worker keeps to itself */
#define TELL_ITEMS 32
/* After so many items without a victim the bits no longer count: a set does not wait for a round. */
#define PATIENCE 512
/* Clients have waited for this process: they are answered before housekeeping takes a processor. */
#define CLIENTS_FIRST_MS 20

static __s64 used, items;
static __u64 hand;
static int wake = -1;
static bool awake;
static bool stopping;
static pthread_t thread;

__u64 clock_used(void)
{
	__s64 sum = __atomic_load_n(&used, __ATOMIC_RELAXED);

	return sum < 0 ? 0 : sum;
}

__u64 clock_items(void)
{
	__s64 sum = __atomic_load_n(&items, __ATOMIC_RELAXED);

	return sum < 0 ? 0 : sum;
}

struct tally clock_exact(void)
{
	struct tally sum = {__atomic_load_n(&used, __ATOMIC_RELAXED),
			    __atomic_load_n(&items, __ATOMIC_RELAXED)};
	unsigned int i;

	for (i = 0; i < NR_THREADS; i++) {
		sum.bytes += __atomic_load_n(&workers[i].tally.bytes, __ATOMIC_RELAXED);
		sum.items += __atomic_load_n(&workers[i].tally.items, __ATOMIC_RELAXED);
	}
	sum.bytes = sum.bytes < 0 ? 0 : sum.bytes;
	sum.items = sum.items < 0 ? 0 : sum.items;
	return sum;
}

void clock_set(__u64 bytes, __u64 nr)
{
	used = bytes;
	items = nr;
}

void clock_tell(struct worker *w, bool now)
{
	struct tally *tally = &w->tally;
	__s64 nr;

	if (!now && tally->bytes < TELL_BYTES && tally->bytes > -TELL_BYTES &&
	    tally->items < TELL_ITEMS && tally->items > -TELL_ITEMS)
		return;
	__atomic_add_fetch(&used, tally->bytes, __ATOMIC_RELAXED);
	nr = __atomic_add_fetch(&items, tally->items, __ATOMIC_RELAXED);
	tally_add(tally, -tally->bytes, -tally->items);
	if (nr > (__s64)table_buckets() && !__atomic_exchange_n(&awake, true, __ATOMIC_RELAXED))
		eventfd_write(wake, 1);
}

/* ---- the hand ---- */

struct sweep {
	struct worker *w;
	bool merciless;
	unsigned int freed;
};

static bool sweep_item(void *ctx, struct item *item)
{
	struct sweep *sweep = ctx;

	if (item_gone(sweep->w, item)) {
		count(sweep->w, RECLAIMED, 1);
	} else if (item->ref && !sweep->merciless) {
		item->ref = 0;
		return false;
	} else {
		count(sweep->w, EVICTIONS, 1);
	}
	sweep->freed++;
	return true;
}

/* Return: items freed. */
static unsigned int sweep_bucket(struct worker *w, bool merciless, unsigned int *seen)
{
	__u64 bucket = __atomic_fetch_add(&hand, 1, __ATOMIC_RELAXED) & (table_buckets() - 1);
	struct sweep sweep = {w, merciless, 0};

	*seen += table_visit(bucket, sweep_item, &sweep, &w->tally);
	if (sweep.freed)
		clock_tell(w, true);
	return sweep.freed;
}

void clock_make_room(struct worker *w, size_t bytes)
{
	__u64 empty = 0, round = table_buckets();
	unsigned int seen = 0;

	clock_tell(w, false);
	while (clock_used() + bytes > __atomic_load_n(&options.limit, __ATOMIC_RELAXED) &&
	       empty < round) {
		if (sweep_bucket(w, seen >= PATIENCE, &seen)) {
			seen = 0;
			empty = 0;
		} else {
			empty++;
		}
	}
}

bool clock_evict_any(struct worker *w)
{
	__u64 steps, round = table_buckets();
	unsigned int seen = 0;

	for (steps = 0; steps < round; steps++)
		if (sweep_bucket(w, seen >= PATIENCE, &seen))
			return true;
	return false;
}

/* ---- housekeeping ---- */

void clock_reset(void)
{
	unsigned int i;

	clock_set(0, 0);
	for (i = 0; i < NR_THREADS; i++)
		workers[i].tally = (struct tally){0, 0};
}

static bool housekeeping_step(struct worker *w)
{
	bool more = table_count_step(&w->tally);

	clock_tell(w, false);
	return more | table_grow_step(clock_items());
}

static void *housekeeping(void *arg)
{
	struct worker *w = KEEPER;
	struct pollfd pollfd = {.fd = wake, .events = POLLIN};
	eventfd_t ignored;

	kho_worker_enter();
	kho_blocking();
	poll(&pollfd, 1, CLIENTS_FIRST_MS);
	kho_unblocked();
	while (!__atomic_load_n(&stopping, __ATOMIC_ACQUIRE)) {
		/* A hand-over waits for us: one step is a few microseconds. */
		while (housekeeping_step(w) && !__atomic_load_n(&stopping, __ATOMIC_ACQUIRE)) {
			kho_checkpoint();
			survive_alive();
		}
		clock_tell(w, true);
		/* If the table could not be doubled, asking again at once is of no use. */
		if (clock_items() <= table_buckets())
			__atomic_store_n(&awake, false, __ATOMIC_RELAXED);
		kho_blocking();
		poll(&pollfd, 1, conns_probation() ? ALIVE_MS : 1000);
		kho_unblocked();
		survive_alive();
		if (pollfd.revents)
			eventfd_read(wake, &ignored);
	}
	kho_worker_exit();
	return NULL;
}

int clock_start(void)
{
	int err;

	wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (wake < 0)
		return -errno;
	err = pthread_create(&thread, NULL, housekeeping, NULL);
	return err ? -err : 0;
}

void clock_stop(void)
{
	__atomic_store_n(&stopping, true, __ATOMIC_RELEASE);
	eventfd_write(wake, 1);
	pthread_join(thread, NULL);
}
