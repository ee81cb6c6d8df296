// SPDX-License-Identifier: GPL-2.0-only
/* The harness of the core's tests in a kernel: see shim.h. */
#include "shim.h"

#include <kunit/test-bug.h>
#include <linux/completion.h>
#include <linux/kthread.h>
#include <linux/moduleparam.h>
#include <linux/panic.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/vmalloc.h>

#ifdef MODULE_PARAM_PREFIX
#undef MODULE_PARAM_PREFIX
#endif
#define MODULE_PARAM_PREFIX "kho_kunit."

/* 0: the clock's */
static u64 seed_parameter;
module_param_named(seed, seed_parameter, ullong, 0);
MODULE_PARM_DESC(seed, "of the random tests of libkho's core; a failure is repeated with its own");

/* ---- expectations ------------------------------------------------------- */

/* The test that runs in this thread. Elsewhere no test can be ended, so everything is. */
static struct kunit *this_test(const char *what, const char *file, int line)
{
	struct kunit *test = kunit_get_current_test();

	if (!test)
		shim_die(what, file, line);
	return test;
}

void shim_true(bool condition, const char *what, const char *file, int line)
{
	if (unlikely(!condition))
		KUNIT_FAIL_AND_ABORT(this_test(what, file, line), "%s:%d: not so: %s", file, line,
				     what);
}

void shim_equal(u64 a, u64 b, bool want, const char *what, const char *file, int line)
{
	bool same = a == b;

	if (unlikely(same != want))
		KUNIT_FAIL_AND_ABORT(this_test(what, file, line),
				     "%s:%d: not so: %s: %#llx (%lld), %#llx (%lld)", file, line,
				     what, a, (s64)a, b, (s64)b);
}

void shim_same_string(const char *a, const char *b, bool want, const char *what, const char *file,
		      int line)
{
	bool same = a && b && !strcmp(a, b);

	if (unlikely(!a || !b || same != want))
		KUNIT_FAIL_AND_ABORT(this_test(what, file, line),
				     "%s:%d: not so: %s: \"%s\", \"%s\"", file, line, what,
				     a ?: "(none)", b ?: "(none)");
}

void shim_same_memory(const void *a, const void *b, size_t len, const char *what, const char *file,
		      int line)
{
	const u8 *x = a, *y = b;
	size_t i = 0;

	if (likely(!memcmp(a, b, len)))
		return;
	while (x[i] == y[i])
		i++;
	KUNIT_FAIL_AND_ABORT(this_test(what, file, line),
			     "%s:%d: not so: %s: byte %zu of %zu: %#x, %#x", file, line, what, i,
			     len, x[i], y[i]);
}

void shim_die(const char *what, const char *file, int line)
{
	panic("%s:%d: not so: %s\n", file, line, what);
}

/* ---- memory ------------------------------------------------------------- */

void *shim_alloc(size_t size)
{
	void *memory = kvzalloc(size, GFP_KERNEL);

	EXPECT(memory);
	return memory;
}

void shim_free(void *memory)
{
	kvfree(memory);
}

void *shim_map(size_t size)
{
	void *memory = vzalloc(size);

	EXPECT(memory);
	return memory;
}

void shim_unmap(void *memory, size_t size)
{
	vfree(memory);
}

/* After each vmalloc area there is a page that is not mapped. */
struct shim_guard shim_guard_make(void)
{
	unsigned char *base = shim_map(SHIM_GUARD_SIZE);

	return (struct shim_guard){base + SHIM_GUARD_SIZE};
}

void shim_guard_destroy(struct shim_guard guard)
{
	shim_unmap(guard.end - SHIM_GUARD_SIZE, SHIM_GUARD_SIZE);
}

unsigned char *shim_guard_copy(struct shim_guard guard, const void *bytes, size_t len)
{
	EXPECT(len <= SHIM_GUARD_SIZE);
	return memcpy(guard.end - len, bytes, len);
}

/* ---- threads ------------------------------------------------------------ */

struct shim_thread {
	struct completion done;
	void (*fn)(void *arg);
	void *arg;
};

static int thread_main(void *arg)
{
	struct shim_thread *thread = arg;

	thread->fn(thread->arg);
	/* The last that it has to do with this structure. */
	complete(&thread->done);
	return 0;
}

struct shim_thread *shim_thread_start(void (*fn)(void *arg), void *arg)
{
	struct shim_thread *thread = shim_alloc(sizeof(*thread));

	init_completion(&thread->done);
	thread->fn = fn;
	thread->arg = arg;
	EXPECT(!IS_ERR(kthread_run(thread_main, thread, "kho_kunit")));
	return thread;
}

void shim_thread_join(struct shim_thread *thread)
{
	wait_for_completion(&thread->done);
	shim_free(thread);
}

void shim_yield(void)
{
	schedule();
}

/* ---- the rest ----------------------------------------------------------- */

/* The kernel's libfdt has no complete check: each tag and each property is asked for. */
bool shim_fdt_sound(const void *fdt, size_t size)
{
	int node, property, len, depth = 0;

	if (fdt_check_header(fdt) || fdt_totalsize(fdt) > size)
		return false;
	for (node = fdt_next_node(fdt, -1, &depth); node >= 0 && depth >= 0;
	     node = fdt_next_node(fdt, node, &depth)) {
		if (!fdt_get_name(fdt, node, NULL))
			return false;
		property = fdt_first_property_offset(fdt, node);
		while (property >= 0 && fdt_getprop_by_offset(fdt, property, NULL, &len))
			property = fdt_next_property_offset(fdt, property);
		if (property != -FDT_ERR_NOTFOUND)
			return false;
	}
	return node == -FDT_ERR_NOTFOUND || depth < 0;
}

u64 test_seed(void)
{
	u64 seed = seed_parameter ?: ktime_get_real_ns() * 1000003;

	seed = seed ?: 1;
	kunit_info(kunit_get_current_test(), "kho_kunit.seed=%llu\n", seed);
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
