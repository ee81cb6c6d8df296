/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Workers: where threads park during a hand-over.
 *
 * Each worker has a word of its own: RUNNING or PARKED. The freezer has one: frozen.
 *
 *	worker, comes out:	state = RUNNING;  if (frozen) park
 *	freezer:		frozen = 1;       for each worker: wait for state == PARKED
 *
 * Both store to their own word and then read the other's, sequentially consistent: at least
 * one of the two sees the other, so no worker runs on past a freezer that counted it as
 * parked. A worker that parks does the same in the same order (state = PARKED; frozen?), so
 * either the freezer's scan sees it parked or the worker sees frozen and wakes the freezer,
 * which sleeps on a count that the worker raised first: no wake-up is lost.
 */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "arena.h"
#include "heap.h"
#include "life.h"
#include "proc.h"

enum { PARKED = 0, RUNNING = 1 };

struct worker {
	_Atomic __u32 state;
	__u32 thaws; /* what it has been told of */
	__u32 rolls;
	struct worker *next;
	struct worker **link;
};

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct worker *list;
static unsigned int nr_workers;

static _Atomic __u32 frozen;
static _Atomic __u32 parks; /* raised by every worker that parks while frozen */
static _Atomic __u32 thaws; /* hand-overs that failed after a freeze */
static _Atomic __u32 rolls; /* those of them that had been granted */

static _Thread_local struct worker *me;
static pthread_key_t exit_key;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;

static void futex_wait(_Atomic __u32 *word, __u32 value, const struct timespec *ts)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, ts, NULL, 0);
}

static void futex_wake_all(_Atomic __u32 *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 0x7fffffff, NULL, NULL, 0);
}

static void park(struct worker *w)
{
	atomic_exchange(&w->state, PARKED);
	if (atomic_load(&frozen)) {
		atomic_fetch_add(&parks, 1);
		futex_wake_all(&parks);
	}
}

static void unpark(struct worker *w)
{
	for (;;) {
		atomic_exchange(&w->state, RUNNING);
		if (!atomic_load(&frozen))
			return;
		park(w);
		while (atomic_load(&frozen))
			futex_wait(&frozen, 1, NULL);
	}
}

/* What happened since this worker last looked. It runs: nothing can be added meanwhile. */
static int news(struct worker *w)
{
	__u32 t = atomic_load(&thaws), r = atomic_load(&rolls);
	int why = r != w->rolls ? KHO_THAW_ROLLED_BACK : t != w->thaws ? KHO_THAW_CANCELLED : 0;

	w->thaws = t;
	w->rolls = r;
	return why;
}

static void leave(void *worker)
{
	struct worker *w = worker;

	if (kho_forked_()) /* the list's lock may be held for ever */
		return;
	park(w);
	pthread_mutex_lock(&list_lock);
	*w->link = w->next;
	if (w->next)
		w->next->link = w->link;
	nr_workers--;
	pthread_mutex_unlock(&list_lock);
	me = NULL;
	free(w);
}

static void make_key(void)
{
	pthread_key_create(&exit_key, leave);
}

int kho_worker_enter(void)
{
	struct worker *w;

	if (kho_forked_())
		return kho_fail_(-EOWNERDEAD, "a forked child has no workers");
	if (me)
		return kho_fail_(-EALREADY, "the thread is a worker already");
	pthread_once(&exit_once, make_key);
	w = calloc(1, sizeof(*w));
	if (!w || pthread_setspecific(exit_key, w)) {
		free(w);
		return kho_fail_(-ENOMEM, "no memory for a worker's record");
	}
	pthread_mutex_lock(&list_lock);
	w->next = list;
	w->link = &list;
	if (list)
		list->link = &w->next;
	list = w;
	nr_workers++;
	pthread_mutex_unlock(&list_lock);
	me = w;
	unpark(w);
	news(w);
	return 0;
}

void kho_worker_exit(void)
{
	if (!me || kho_forked_())
		return;
	pthread_setspecific(exit_key, NULL);
	kho_heap_release_(); /* while it still counts as running */
	leave(me);
}

void kho_blocking(void)
{
	if (me)
		park(me);
}

int kho_unblocked(void)
{
	if (!me || kho_forked_())
		return 0;
	unpark(me);
	return news(me);
}

int kho_checkpoint(void)
{
	if (!me || !atomic_load(&frozen) || kho_forked_())
		return 0;
	park(me);
	unpark(me);
	return news(me);
}

static bool all_parked(void)
{
	bool all = true;

	pthread_mutex_lock(&list_lock);
	for (struct worker *w = list; w && all; w = w->next)
		all = atomic_load(&w->state) == PARKED;
	pthread_mutex_unlock(&list_lock);
	return all;
}

static void let_go(void)
{
	atomic_store(&frozen, 0);
	futex_wake_all(&frozen);
}

int kho_quiesce_freeze_(unsigned int timeout_ms)
{
	__u64 deadline = kho_now_ms_() + timeout_ms;

	atomic_store(&frozen, 1);
	for (;;) {
		__u32 seen = atomic_load(&parks);
		int left;
		struct timespec ts;

		if (all_parked())
			return 0;
		left = kho_left_ms_(deadline);
		if (!left)
			break;
		ts = (struct timespec){left / 1000, (left % 1000) * 1000000L};
		futex_wait(&parks, seen, &ts);
	}
	let_go();
	return kho_fail_(-ETIMEDOUT,
			 "a worker did not park within %u ms: it must call kho_checkpoint(), or "
			 "kho_blocking() where it blocks",
			 timeout_ms);
}

void kho_quiesce_thaw_(int why)
{
	if (why)
		atomic_fetch_add(&thaws, 1);
	if (why == KHO_THAW_ROLLED_BACK)
		atomic_fetch_add(&rolls, 1);
	let_go();
}

unsigned int kho_quiesce_workers_(void)
{
	unsigned int nr;

	pthread_mutex_lock(&list_lock);
	nr = nr_workers;
	pthread_mutex_unlock(&list_lock);
	return nr;
}
