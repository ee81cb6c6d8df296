/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The tests' harness in a process: see shim.h. */
#include "shim.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <time.h>

u64 test_seed(void)
{
	const char *text = getenv("KHO_SEED");
	struct timespec now;
	u64 seed;

	clock_gettime(CLOCK_REALTIME, &now);
	seed = text ? strtoull(text, NULL, 0) : (u64)now.tv_nsec * 1000003 + (u64)now.tv_sec;
	seed = seed ? seed : 1;
	printf("KHO_SEED=%llu\n", (unsigned long long)seed);
	return seed;
}

u64 rng_next(struct rng *rng)
{
	rng->state ^= rng->state >> 12;
	rng->state ^= rng->state << 25;
	rng->state ^= rng->state >> 27;
	return rng->state * 0x2545f4914f6cdd1dULL;
}

u64 rng_below(struct rng *rng, u64 n)
{
	return (rng_next(rng) >> 16) % n;
}

void *shim_map(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	EXPECT(memory != MAP_FAILED);
	return memory;
}

void shim_unmap(void *memory, size_t size)
{
	munmap(memory, size);
}

struct shim_guard shim_guard_make(void)
{
	unsigned char *base = shim_map(SHIM_GUARD_SIZE + 4096);

	EXPECT_EQ(mprotect(base + SHIM_GUARD_SIZE, 4096, PROT_NONE), 0);
	return (struct shim_guard){base + SHIM_GUARD_SIZE};
}

void shim_guard_destroy(struct shim_guard guard)
{
	shim_unmap(guard.end - SHIM_GUARD_SIZE, SHIM_GUARD_SIZE + 4096);
}

struct shim_thread {
	pthread_t id;
	void (*fn)(void *arg);
	void *arg;
};

static void *thread_main(void *arg)
{
	struct shim_thread *thread = arg;

	thread->fn(thread->arg);
	return NULL;
}

struct shim_thread *shim_thread_start(void (*fn)(void *arg), void *arg)
{
	struct shim_thread *thread = shim_alloc(sizeof(*thread));

	thread->fn = fn;
	thread->arg = arg;
	EXPECT_EQ(pthread_create(&thread->id, NULL, thread_main, thread), 0);
	return thread;
}

void shim_thread_join(struct shim_thread *thread)
{
	pthread_join(thread->id, NULL);
	shim_free(thread);
}

void shim_yield(void)
{
	sched_yield();
}

void shim_die(const char *what, const char *file, int line)
{
	fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
	abort();
}

bool shim_fdt_sound(const void *fdt, size_t size)
{
	return !fdt_check_full(fdt, size);
}
