/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What the benchmark of the heap measures, in a process with one allocator: pairs of malloc and
 * free with 512 objects in use throughout (the oldest goes for each new one), and objects that are made
 * reachable from a persistent slot and deleted from it again.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arena.h"
#include "heap_work.h"
#include "rows.h"

#define IN_USE 512
#define PAIRS 20000
#define PUBLISHES 4000
#define ARENA_MAX (256ULL << 20)
#define POOL_SIZE (256UL << 20)

static size_t sizes[PAIRS];

static void set_sizes(size_t size)
{
	uint64_t x = 88172645463325252ULL;

	for (int i = 0; i < PAIRS; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		sizes[i] = size ?: 16 + x % 241;
	}
}

/* ---- pairs: by pointer for all, so that nobody is inlined ---- */

static void *(*volatile use_alloc)(size_t size) = malloc;
static void (*volatile use_free)(void *ptr) = free;

static double pairs(unsigned int thread)
{
	static void *rings[WORK_THREADS][IN_USE];
	void *(*alloc)(size_t) = use_alloc;
	void (*release)(void *) = use_free;
	void **ring = rings[thread];
	double start;

	for (int i = 0; i < IN_USE; i++)
		ring[i] = alloc(sizes[i]);
	start = now_ns();
	for (int i = 0; i < PAIRS; i++) {
		void **place = &ring[i % IN_USE];

		release(*place);
		*place = alloc(sizes[i]);
		*(volatile char *)*place = 1;
	}
	start = now_ns() - start;
	for (int i = 0; i < IN_USE; i++)
		release(ring[i]);
	return start / PAIRS;
}

/* ---- publishing: libkho ---- */

static void **slots;

static int open_arena(void)
{
	int fd = kho_arena_create_("bench");
	void **root;

	if (fd < 0 || kho_arena_format_(fd, ARENA_MAX) || kho_arena_map_(fd, true) ||
	    kho_arena_own_())
		return 1;
	root = kho_root("slots", "bench-slots", 1);
	if (!root || kho_publish(root, kho_calloc(WORK_THREADS * IN_USE, 8), NULL))
		return 1;
	slots = *root;
	use_alloc = kho_malloc;
	use_free = kho_free;
	return 0;
}

static double kho_publishes(unsigned int thread)
{
	double start = now_ns();

	for (int i = 0; i < PUBLISHES; i++) {
		void **slot = &slots[thread * IN_USE + (unsigned int)i % IN_USE];
		void *object = kho_malloc(sizes[i]);

		if (!object || kho_publish(slot, object, NULL) || kho_publish(slot, NULL, object))
			abort();
	}
	return (now_ns() - start) / PUBLISHES;
}

/* ---- publishing: libpmemobj, loaded when it is there, by the few calls that are needed ---- */

struct oid {
	uint64_t pool;
	uint64_t off;
};

static struct {
	void *pool;
	struct oid *oids;
	int (*alloc)(void *pool, struct oid *oid, size_t size, uint64_t type,
		     int (*construct)(void *, void *, void *), void *arg);
	void (*release)(struct oid *oid);
} pmem;

static int open_pool(void)
{
	void *lib = dlopen("libpmemobj.so.1", RTLD_NOW | RTLD_LOCAL);
	void *(*create)(const char *, const char *, size_t, mode_t);
	struct oid (*root)(void *, size_t), at;
	char path[64];

	if (!lib)
		return 3;
	*(void **)&create = dlsym(lib, "pmemobj_create");
	*(void **)&root = dlsym(lib, "pmemobj_root");
	*(void **)&pmem.alloc = dlsym(lib, "pmemobj_alloc");
	*(void **)&pmem.release = dlsym(lib, "pmemobj_free");
	snprintf(path, sizeof(path), "/dev/shm/bench-heap-%d", (int)getpid());
	pmem.pool = create && root ? create(path, "bench", POOL_SIZE, 0600) : NULL;
	unlink(path);
	if (!pmem.pool || !pmem.alloc || !pmem.release)
		return 1;
	at = root(pmem.pool, WORK_THREADS * IN_USE * sizeof(struct oid));
	pmem.oids = (struct oid *)((char *)pmem.pool + at.off);
	return 0;
}

static double pmem_publishes(unsigned int thread)
{
	double start = now_ns();

	for (int i = 0; i < PUBLISHES; i++) {
		struct oid *oid = &pmem.oids[thread * IN_USE + (unsigned int)i % IN_USE];

		if (pmem.alloc(pmem.pool, oid, sizes[i], 1, NULL, NULL))
			abort();
		pmem.release(oid);
	}
	return (now_ns() - start) / PUBLISHES;
}

/* ---- runs ---- */

static double (*publishes)(unsigned int thread);

static struct {
	pthread_barrier_t ready;
	struct work work;
	double ns[WORK_THREADS];
	bool go_on;
} team = {.go_on = true};

static double one(const struct work *work, unsigned int thread)
{
	return work->kind == WORK_PAIRS ? pairs(thread) : publishes(thread);
}

/* The second thread lives as long as the worker: its heap is not made anew for each run. */
static void *second(void *arg)
{
	for (;;) {
		pthread_barrier_wait(&team.ready);
		if (!team.go_on)
			return NULL;
		team.ns[1] = one(&team.work, 1);
		pthread_barrier_wait(&team.ready);
	}
}

static double run(const struct work *work)
{
	set_sizes(work->size);
	if (work->threads == 1)
		return one(work, 0);
	team.work = *work;
	pthread_barrier_wait(&team.ready);
	team.ns[0] = one(work, 0);
	pthread_barrier_wait(&team.ready);
	return (team.ns[0] + team.ns[1]) / 2;
}

static int open_subject(const char *subject)
{
	if (!strcmp(subject, "libkho")) {
		publishes = kho_publishes;
		return open_arena();
	}
	if (!strncmp(subject, "libpmemobj", 10)) {
		publishes = pmem_publishes;
		return open_pool();
	}
	/* Preloaded, or not at all. */
	if (!strcmp(subject, "mimalloc"))
		return dlsym(RTLD_DEFAULT, "mi_malloc") ? 0 : 3;
	if (!strcmp(subject, "jemalloc"))
		return dlsym(RTLD_DEFAULT, "mallctl") ? 0 : 3;
	return strcmp(subject, "glibc") ? 2 : 0;
}

int heap_worker(const char *subject)
{
	int rc = open_subject(subject);
	pthread_t thread;
	struct work work;
	double ns = 0;

	if (rc)
		return rc;
	pthread_barrier_init(&team.ready, NULL, WORK_THREADS);
	if (pthread_create(&thread, NULL, second, NULL) || write(1, &ns, sizeof(ns)) != sizeof(ns))
		return 1;
	while (read(0, &work, sizeof(work)) == sizeof(work)) {
		ns = run(&work);
		if (write(1, &ns, sizeof(ns)) != sizeof(ns))
			return 1;
	}
	team.go_on = false;
	pthread_barrier_wait(&team.ready);
	pthread_join(thread, NULL);
	return 0;
}
