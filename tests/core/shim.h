/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What the core's tests use of their harness, and no more, so that the same files run elsewhere: here
 * over cmocka in a process; a kernel has a shim.h of its own with these names over KUnit.
 *
 *	TEST(adds_what_it_is_told)
 *	{
 *		EXPECT_EQ(2 + 2, 4);
 *	}
 *
 *	TEST_SUITE(numbers, TEST_CASE(adds_what_it_is_told));
 *
 * An expectation that fails prints both values and ends the test. EXPECT_EQ and EXPECT_NE
 * compare integers or pointers of up to 64 bits; operands are evaluated once.
 *
 * Beside what is declared here a test may use what every host of the core has: errno's names,
 * mem*, str*, snprintf, and libfdt. The functions are in shim.c.
 */
#ifndef TESTS_CORE_SHIM_H
#define TESTS_CORE_SHIM_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <libfdt.h>

#include "env.h"

#define EXPECT(condition) assert_true(condition)
#define EXPECT_EQ(a, b) assert_int_equal(a, b)
#define EXPECT_NE(a, b) assert_int_not_equal(a, b)
#define EXPECT_STR_EQ(a, b) assert_string_equal(a, b)
#define EXPECT_STR_NE(a, b) assert_string_not_equal(a, b)
#define EXPECT_MEM_EQ(a, b, len) assert_memory_equal(a, b, len)

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* A test that hangs is a test that failed: seconds until the whole program is ended. */
#ifndef TEST_SECONDS
#define TEST_SECONDS 120
#endif

#define TEST(name) static void name(void **test_state_ __attribute__((unused)))
#define TEST_CASE(name) cmocka_unit_test(name)
#define TEST_SUITE(suite, ...)                                                                     \
	int main(void)                                                                             \
	{                                                                                          \
		const struct CMUnitTest tests[] = {__VA_ARGS__};                                   \
                                                                                                   \
		alarm(TEST_SECONDS);                                                               \
		return cmocka_run_group_tests_name(#suite, tests, NULL, NULL);                     \
	}                                                                                          \
	int main(void)

/* Zeroed memory; the test fails when there is none. */
static inline void *shim_alloc(size_t size)
{
	void *memory = calloc(1, size);

	assert_non_null(memory);
	return memory;
}

static inline void shim_free(void *memory)
{
	free(memory);
}

/* The same for much memory, of which little may be touched. */
void *shim_map(size_t size);
void shim_unmap(void *memory, size_t size);

/**
 * struct shim_guard - bytes that end where a page begins that nobody may touch
 * @end: that page
 */
struct shim_guard {
	unsigned char *end;
};

#define SHIM_GUARD_SIZE 65536

struct shim_guard shim_guard_make(void);
void shim_guard_destroy(struct shim_guard guard);

/* A copy of @len bytes, at most SHIM_GUARD_SIZE, whose last is the last that can be read. */
static inline unsigned char *shim_guard_copy(struct shim_guard guard, const void *bytes, size_t len)
{
	EXPECT(len <= SHIM_GUARD_SIZE);
	return memcpy(guard.end - len, bytes, len);
}

/* Threads. EXPECT* belong to the test's own: another thread uses this one, which ends everything. */
struct shim_thread;
struct shim_thread *shim_thread_start(void (*fn)(void *arg), void *arg);
void shim_thread_join(struct shim_thread *thread);
/* Let another thread run. */
void shim_yield(void);
#define EXPECT_IN_THREAD(condition)                                                                \
	((condition) ? (void)0 : shim_die(#condition, __FILE__, __LINE__))
void shim_die(const char *what, const char *file, int line) __attribute__((noreturn));

/* Is it well-formed, as a library says that is not ours? */
bool shim_fdt_sound(const void *fdt, size_t size);

/* A generator of 64-bit numbers: xorshift64*. */
struct rng {
	u64 state;
};

/* KHO_SEED if set, else the clock; printed, so that a failure can be repeated. Never 0. */
u64 test_seed(void);
u64 rng_next(struct rng *rng);
/* 0 to @n - 1 */
u64 rng_below(struct rng *rng, u64 n);

#endif
