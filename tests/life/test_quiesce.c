/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Workers: while frozen none of them moves, none is forgotten, none misses what happened. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <kho/host.h>

#include "arena.h"
#include "util.h"

#define NR_WORKERS 8
#define ROUNDS 400

struct worker {
	pthread_t thread;
	unsigned int kind;
	unsigned long work; /* plain on purpose: a write while frozen is a race for TSan */
	unsigned long cancelled, rolled_back;
};

static struct worker workers[NR_WORKERS];
static atomic_bool done, stubborn;
static atomic_uint entered;

static void took(struct worker *w, int why)
{
	w->cancelled += why == KHO_THAW_CANCELLED;
	w->rolled_back += why == KHO_THAW_ROLLED_BACK;
}

static void *work(void *arg)
{
	struct worker *w = arg;

	assert_int_equal(kho_worker_enter(), 0);
	atomic_fetch_add(&entered, 1);
	while (!atomic_load(&done)) {
		w->work++;
		if (w->kind % 3 == 0) {
			took(w, kho_checkpoint());
		} else {
			kho_blocking();
			if (w->kind % 3 == 2)
				usleep(50);
			took(w, kho_unblocked());
		}
	}
	kho_worker_exit();
	return NULL;
}

/* Workers that come and go: registering and leaving meet the freezer as well. */
static void *churn(void *arg)
{
	struct worker *w = arg;

	atomic_fetch_add(&entered, 1);
	while (!atomic_load(&done)) {
		assert_int_equal(kho_worker_enter(), 0);
		w->work++;
		kho_worker_exit();
	}
	return NULL;
}

static void start(void *(*fn)(void *), unsigned int nr)
{
	atomic_store(&done, false);
	atomic_store(&entered, 0);
	for (unsigned int i = 0; i < nr; i++) {
		workers[i] = (struct worker){.kind = i};
		pthread_create(&workers[i].thread, NULL, i == 7 ? churn : fn, &workers[i]);
	}
	while (atomic_load(&entered) < nr)
		usleep(100);
}

static void stop(unsigned int nr)
{
	atomic_store(&done, true);
	for (unsigned int i = 0; i < nr; i++)
		pthread_join(workers[i].thread, NULL);
	assert_int_equal(kho_quiesce_workers_(), 0);
}

static void nobody_moves_while_frozen(void **state)
{
	start(work, NR_WORKERS);
	for (int round = 0; round < ROUNDS; round++) {
		unsigned long before[NR_WORKERS];

		assert_int_equal(kho_quiesce_freeze_(5000), 0);
		for (int i = 0; i < NR_WORKERS; i++)
			before[i] = workers[i].work;
		if (round % 16 == 0)
			usleep(300);
		for (int i = 0; i < NR_WORKERS; i++)
			assert_int_equal(workers[i].work, before[i]);
		kho_quiesce_thaw_(round % 2 ? KHO_THAW_ROLLED_BACK : 0);
	}
	stop(NR_WORKERS);
}

static void *never_parks(void *arg)
{
	assert_int_equal(kho_worker_enter(), 0);
	atomic_fetch_add(&entered, 1);
	while (atomic_load(&stubborn))
		usleep(100);
	assert_int_equal(kho_checkpoint(), 0); /* a freeze that timed out never happened */
	kho_worker_exit();
	return NULL;
}

static void a_worker_that_does_not_park_times_out(void **state)
{
	__u64 t = now_us();

	atomic_store(&stubborn, true);
	start(never_parks, 3);
	assert_int_equal(kho_quiesce_workers_(), 3);
	assert_int_equal(kho_quiesce_freeze_(50), -ETIMEDOUT);
	assert_in_range(now_us() - t, 50000, 5000000);
	assert_non_null(strstr(kho_error(), "kho_checkpoint()"));
	atomic_store(&stubborn, false);
	stop(3);
}

static atomic_int gate, said;

static void *blocks(void *arg)
{
	kho_worker_enter();
	kho_blocking();
	atomic_fetch_add(&entered, 1);
	while (!atomic_load(&gate))
		usleep(100);
	atomic_store(&said, kho_unblocked());
	assert_int_equal(kho_checkpoint(), 0); /* told once */
	kho_worker_exit();
	return NULL;
}

static int what_a_blocked_worker_hears(const int *thaws, int nr)
{
	atomic_store(&gate, 0);
	start(blocks, 1);
	for (int i = 0; i < nr; i++) {
		assert_int_equal(kho_quiesce_freeze_(1000), 0);
		kho_quiesce_thaw_(thaws[i]);
	}
	atomic_store(&gate, 1);
	stop(1);
	return atomic_load(&said);
}

static void a_blocked_worker_hears_the_worst(void **state)
{
	static const int none[] = {0}, cancelled[] = {KHO_THAW_CANCELLED},
			 rolled[] = {KHO_THAW_ROLLED_BACK, KHO_THAW_CANCELLED};

	assert_int_equal(what_a_blocked_worker_hears(none, 1), 0);
	assert_int_equal(what_a_blocked_worker_hears(cancelled, 1), KHO_THAW_CANCELLED);
	assert_int_equal(what_a_blocked_worker_hears(rolled, 1), KHO_THAW_ROLLED_BACK);
	assert_int_equal(what_a_blocked_worker_hears(rolled, 2), KHO_THAW_ROLLED_BACK);
}

static void *leaves_without_a_word(void *arg)
{
	kho_worker_enter();
	atomic_fetch_add(&entered, 1);
	return NULL;
}

static void a_thread_that_ends_is_no_worker(void **state)
{
	start(leaves_without_a_word, 4);
	stop(4);
	assert_int_equal(kho_quiesce_freeze_(0), 0);
	kho_quiesce_thaw_(0);
}

static void not_a_worker(void **state)
{
	kho_blocking();
	assert_int_equal(kho_unblocked(), 0);
	assert_int_equal(kho_checkpoint(), 0);
	kho_worker_exit();
	assert_int_equal(kho_worker_enter(), 0);
	assert_int_equal(kho_worker_enter(), -EALREADY);
	kho_worker_exit();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_moves_while_frozen),
		cmocka_unit_test(a_worker_that_does_not_park_times_out),
		cmocka_unit_test(a_blocked_worker_hears_the_worst),
		cmocka_unit_test(a_thread_that_ends_is_no_worker),
		cmocka_unit_test(not_a_worker),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
