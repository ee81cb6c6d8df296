/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the core's tests use of their harness, over KUnit. tests/core/shim.h in libkho's tree is
 * the same over cmocka, and says what each name means.
 */
#ifndef TESTS_CORE_SHIM_H
#define TESTS_CORE_SHIM_H

#include <kunit/test.h>
#include <linux/align.h>
#include <linux/mm.h>
#include <linux/printk.h>
#include <linux/sprintf.h>
#include <linux/string.h>

#include <libfdt.h>

#include "env.h"

/*
 * A failed expectation is a function call, not one of KUnit's macros: those keep a description
 * of each assertion in the caller's frame, and a stack is 16 KiB here.
 */
#define EXPECT(condition) shim_true(condition, #condition, __FILE__, __LINE__)
#define EXPECT_EQ(a, b) shim_equal((u64)(a), (u64)(b), true, #a " == " #b, __FILE__, __LINE__)
#define EXPECT_NE(a, b) shim_equal((u64)(a), (u64)(b), false, #a " != " #b, __FILE__, __LINE__)
#define EXPECT_STR_EQ(a, b) shim_same_string(a, b, true, #a " == " #b, __FILE__, __LINE__)
#define EXPECT_STR_NE(a, b) shim_same_string(a, b, false, #a " != " #b, __FILE__, __LINE__)
#define EXPECT_MEM_EQ(a, b, len) shim_same_memory(a, b, len, #a " == " #b, __FILE__, __LINE__)

/* Each prints and ends the test if it is not so. */
void shim_true(bool condition, const char *what, const char *file, int line);
void shim_equal(u64 a, u64 b, bool want, const char *what, const char *file, int line);
void shim_same_string(const char *a, const char *b, bool want, const char *what, const char *file,
		      int line);
void shim_same_memory(const void *a, const void *b, size_t len, const char *what, const char *file,
		      int line);

#define ARRAY_LEN(a) ARRAY_SIZE(a)

#define printf(...) pr_info(__VA_ARGS__)

/* KUnit ends a test that takes too long; "slow" says that more than a second is no news. */
#define TEST(name) static void name(struct kunit *test_state_)
#define TEST_CASE(name) KUNIT_CASE_SLOW(name)
#define TEST_SUITE(suite_name, ...)                                        \
	static struct kunit_case suite_name##_cases[] = {__VA_ARGS__, {}}; \
	static struct kunit_suite suite_name##_suite = {                   \
		.name = "kho_" #suite_name,                                \
		.test_cases = suite_name##_cases,                          \
	};                                                                 \
	kunit_test_suite(suite_name##_suite)

/* Zeroed memory; the test fails when there is none. */
void *shim_alloc(size_t size);
void shim_free(void *memory);
/* The same for much memory, of which little may be touched. */
void *shim_map(size_t size);
void shim_unmap(void *memory, size_t size);

struct shim_guard {
	unsigned char *end;
};

#define SHIM_GUARD_SIZE 65536

struct shim_guard shim_guard_make(void);
void shim_guard_destroy(struct shim_guard guard);
unsigned char *shim_guard_copy(struct shim_guard guard, const void *bytes, size_t len);

struct shim_thread;
struct shim_thread *shim_thread_start(void (*fn)(void *arg), void *arg);
void shim_thread_join(struct shim_thread *thread);
/* Let another thread run. */
void shim_yield(void);
#define EXPECT_IN_THREAD(condition) \
	((condition) ? (void)0 : shim_die(#condition, __FILE__, __LINE__))
void shim_die(const char *what, const char *file, int line);

/* Is it well-formed, as a library says that is not ours? */
bool shim_fdt_sound(const void *fdt, size_t size);

struct rng {
	u64 state;
};

u64 test_seed(void);
u64 rng_next(struct rng *rng);
u64 rng_below(struct rng *rng, u64 n);

#endif
