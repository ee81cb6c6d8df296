/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What the core needs from its surroundings, for a process. A kernel puts a
 * file of the same name on the include path instead.
 *
 * Need: u8..u64, size_t, bool, static_assert, errno numbers; mem* (memchr too), strlen,
 * strnlen, strcmp; likely, unlikely, khoc_inline, khoc_noinline, khoc_assert;
 * bit operations; 64-bit atomics; khoc_pin_shift().
 */
#ifndef KHO_ENV_H
#define KHO_ENV_H

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <linux/types.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define khoc_inline static inline __attribute__((always_inline))
#define khoc_noinline static __attribute__((noinline))

/* For bugs of the core alone; never for what an image or a caller's argument contains. */
#define khoc_assert(x) assert(x)

/*
 * The page shift that the core is built for. A host that knows only one returns
 * that constant, and the code for every other page size goes away.
 */
khoc_inline unsigned int khoc_pin_shift(unsigned int shift)
{
	return shift;
}

/* ---- bits: @x must not be 0 where that is said --------------------------- */

/* Number of the highest bit set, from 1; 0 for 0. */
khoc_inline unsigned int khoc_fls64(u64 x)
{
	return x ? 64 - (unsigned int)__builtin_clzll(x) : 0;
}

/* Number of the lowest bit set, from 0; @x is not 0. */
khoc_inline unsigned int khoc_ctz64(u64 x)
{
	return (unsigned int)__builtin_ctzll(x);
}

khoc_inline unsigned int khoc_popcount64(u64 x)
{
	return (unsigned int)__builtin_popcountll(x);
}

/* @n is 1 to 63 */
khoc_inline u64 khoc_ror64(u64 x, unsigned int n)
{
	return x >> n | x << (64 - n);
}

/* Begin to fetch a line that will be read. @p may be any address. */
khoc_inline void khoc_prefetch(const void *p)
{
	__builtin_prefetch(p);
}

/* ---- atomics on aligned words ------------------------------------------- */

khoc_inline u64 khoc_load(const u64 *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

khoc_inline u64 khoc_load_acquire(const u64 *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

khoc_inline void khoc_store(u64 *p, u64 value)
{
	__atomic_store_n(p, value, __ATOMIC_RELAXED);
}

khoc_inline void khoc_store_release(u64 *p, u64 value)
{
	__atomic_store_n(p, value, __ATOMIC_RELEASE);
}

/* Store @value if *@p is @old. Release and acquire. Return: what was there: @old if it was stored. */
khoc_inline u64 khoc_cmpxchg(u64 *p, u64 old, u64 value)
{
	__atomic_compare_exchange_n(p, &old, value, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
	return old;
}

/* Release: what was written before the bits are set is seen by whoever acquires them. */
khoc_inline void khoc_atomic_or(u64 *p, u64 bits)
{
	__atomic_fetch_or(p, bits, __ATOMIC_RELEASE);
}

khoc_inline void khoc_atomic_andnot(u64 *p, u64 bits)
{
	__atomic_fetch_and(p, ~bits, __ATOMIC_RELEASE);
}

#endif
