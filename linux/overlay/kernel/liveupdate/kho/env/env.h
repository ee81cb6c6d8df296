/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What libkho's core needs from its surroundings, for a kernel. The core's own description of
 * the need, and the same for a process, is host/env/env.h in libkho's tree.
 */
#ifndef KHO_ENV_H
#define KHO_ENV_H

#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/bug.h>
#include <linux/build_bug.h>
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/kconfig.h>
#include <linux/prefetch.h>
#include <linux/string.h>
#include <linux/types.h>

#include <asm/page.h>

#define khoc_inline static __always_inline
#define khoc_noinline static noinline

/* For bugs of the core alone, and of no harm beyond a wrong answer: a message, not a stop. */
#define khoc_assert(x) WARN_ON_ONCE(!(x))

/*
 * A kernel knows one page size, and the code for all others goes away. The core's tests want
 * pages of 64 bytes: a kernel that contains them keeps the shift a value.
 */
khoc_inline unsigned int khoc_pin_shift(unsigned int shift)
{
	return IS_ENABLED(CONFIG_KHO_CORE_KUNIT_TEST) ? shift : PAGE_SHIFT;
}

/* ---- bits: @x must not be 0 where that is said --------------------------- */

/* Number of the highest bit set, from 1; 0 for 0. */
khoc_inline unsigned int khoc_fls64(u64 x)
{
	return fls64(x);
}

/* Number of the lowest bit set, from 0; @x is not 0. */
khoc_inline unsigned int khoc_ctz64(u64 x)
{
	return __ffs64(x);
}

khoc_inline unsigned int khoc_popcount64(u64 x)
{
	return hweight64(x);
}

/* @n is 1 to 63 */
khoc_inline u64 khoc_ror64(u64 x, unsigned int n)
{
	return ror64(x, n);
}

/* Begin to fetch a line that will be read. @p may be any address. */
khoc_inline void khoc_prefetch(const void *p)
{
	prefetch(p);
}

/* ---- atomics on aligned words ------------------------------------------- */

khoc_inline u64 khoc_load(const u64 *p)
{
	return READ_ONCE(*p);
}

khoc_inline u64 khoc_load_acquire(const u64 *p)
{
	/* Pairs with whichever of the calls below published what is read. */
	return smp_load_acquire(p);
}

khoc_inline void khoc_store(u64 *p, u64 value)
{
	WRITE_ONCE(*p, value);
}

khoc_inline void khoc_store_release(u64 *p, u64 value)
{
	/* Pairs with khoc_load_acquire(). */
	smp_store_release(p, value);
}

/* Store @value if *@p is @old. Return: what was there: @old if it was stored. */
khoc_inline u64 khoc_cmpxchg(u64 *p, u64 old, u64 value)
{
	return cmpxchg(p, old, value);
}

/*
 * Release: what was written before the bits are set is seen by whoever acquires them. The old
 * value is not asked for: x86 would need a loop to give it.
 */
khoc_inline void khoc_atomic_or(u64 *p, u64 bits)
{
	static_assert(sizeof(atomic64_t) == sizeof(u64));
	/* Makes it a release; pairs with khoc_load_acquire(). */
	smp_mb__before_atomic();
	atomic64_or(bits, (atomic64_t *)p);
}

khoc_inline void khoc_atomic_andnot(u64 *p, u64 bits)
{
	/* As in khoc_atomic_or(). */
	smp_mb__before_atomic();
	atomic64_andnot(bits, (atomic64_t *)p);
}

#endif
