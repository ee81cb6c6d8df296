/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The KHO array: a sparse array from 64-bit index to a value that is handed over as it is. The next
 * kernel reads it in place, and goes on writing to it; nothing is rebuilt.
 *
 * A value is an integer below 2^63, kho_array_mk_value(), or a physical address, a multiple of 8
 * that is not 0. The array does not preserve what addresses lead to.
 *
 * The descriptor is its user's, in memory that is preserved and that the next kernel finds: at the
 * start of a subtree's blob, say. Pages of the array are preserved as they are linked to it, and
 * each state of the array in between is one that the next kernel can read.
 */
#ifndef _LINUX_KHO_ARRAY_H
#define _LINUX_KHO_ARRAY_H

#include <linux/errno.h>
#include <linux/limits.h>
#include <linux/rwsem.h>
#include <linux/types.h>
#include <linux/kho/abi/array.h>

/**
 * struct kho_array - a handle of an array
 * @lock: private; held to read or to write
 * @core: private, a struct khoc_array
 */
struct kho_array {
	struct rw_semaphore lock;
	u64 core[11];
};

/* @value is below 2^63. */
static inline u64 kho_array_mk_value(u64 value)
{
	return value << 1 | KHO_ABI_ARRAY_INTEGER;
}

static inline bool kho_array_is_value(u64 entry)
{
	return entry & KHO_ABI_ARRAY_INTEGER;
}

static inline u64 kho_array_to_value(u64 entry)
{
	return entry >> 1;
}

#ifdef CONFIG_KEXEC_HANDOVER

int kho_array_init(struct kho_array *array, struct kho_abi_array *desc);
int kho_array_restore(struct kho_array *array, struct kho_abi_array *desc);
u64 kho_array_get(struct kho_array *array, u64 index);
int kho_array_set(struct kho_array *array, u64 index, u64 entry);
int kho_array_erase(struct kho_array *array, u64 index);
u64 kho_array_count(struct kho_array *array);
int kho_array_next(struct kho_array *array, u64 *index, u64 *entry);
int kho_array_prev(struct kho_array *array, u64 *index, u64 *entry);
int kho_array_walk(struct kho_array *array, u64 first, u64 last,
		   int (*fn)(u64 index, u64 entry, void *ctx), void *ctx);
int kho_array_destroy(struct kho_array *array);

#else

static inline int kho_array_init(struct kho_array *array, struct kho_abi_array *desc)
{
	return -EOPNOTSUPP;
}

static inline int kho_array_restore(struct kho_array *array, struct kho_abi_array *desc)
{
	return -EOPNOTSUPP;
}

static inline u64 kho_array_get(struct kho_array *array, u64 index)
{
	return 0;
}

static inline int kho_array_set(struct kho_array *array, u64 index, u64 entry)
{
	return -EOPNOTSUPP;
}

static inline int kho_array_erase(struct kho_array *array, u64 index)
{
	return -EOPNOTSUPP;
}

static inline u64 kho_array_count(struct kho_array *array)
{
	return 0;
}

static inline int kho_array_next(struct kho_array *array, u64 *index, u64 *entry)
{
	return -EOPNOTSUPP;
}

static inline int kho_array_prev(struct kho_array *array, u64 *index, u64 *entry)
{
	return -EOPNOTSUPP;
}

static inline int kho_array_walk(struct kho_array *array, u64 first, u64 last,
				 int (*fn)(u64 index, u64 entry, void *ctx), void *ctx)
{
	return -EOPNOTSUPP;
}

static inline int kho_array_destroy(struct kho_array *array)
{
	return -EOPNOTSUPP;
}

#endif /* CONFIG_KEXEC_HANDOVER */

#endif /* _LINUX_KHO_ARRAY_H */
