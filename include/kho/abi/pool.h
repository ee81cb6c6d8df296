/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * "pool-v1": live objects in a ring, so that whoever finds the pool finds, and can free, each of them.
 * docs/abi.md, "pool-v1". Pointers are virtual addresses in the arena, or 0; all objects are the heap's
 * ("slab-v1").
 *
 *	pool	 what the slot of a root points to; a link of the ring itself
 *	block	 struct kho_abi_pool_link, then what the program asked for
 */
#ifndef KHO_ABI_POOL_H
#define KHO_ABI_POOL_H

#include <kho/abi/layout.h>
#include <kho/types.h>

#define KHO_ABI_POOL_MAGIC 0x4c4f4f50204f484bULL /* bytes "KHO POOL" */
#define KHO_ABI_POOL_VERSION 1

/**
 * struct kho_abi_pool_link - in front of every block; 16 bytes, so that these stay aligned
 * @next: the link of the next block, or of the pool behind the last
 * @prev: the link of the one before
 */
struct kho_abi_pool_link {
	__u64 next;
	__u64 prev;
};

/**
 * struct kho_abi_pool - a pool
 * @magic: KHO_ABI_POOL_MAGIC
 * @version: KHO_ABI_POOL_VERSION
 * @pad: 0
 * @ring: empty: it points to itself
 * @mending: the link behind which, or behind whose next, one may not point back yet; 0: none
 * @updates: not 0: an update of what lies in the blocks has begun and not ended
 * @top: the program's first object, or 0
 * @top_size: its size, as the program that made it was compiled
 */
struct kho_abi_pool {
	__u64 magic;
	__u32 version;
	__u32 pad;
	struct kho_abi_pool_link ring;
	__u64 mending;
	__u64 updates;
	__u64 top;
	__u64 top_size;
};

KHO_ABI_SIZE(struct kho_abi_pool_link, 16);
KHO_ABI_OFFSET(struct kho_abi_pool_link, next, 0);
KHO_ABI_OFFSET(struct kho_abi_pool_link, prev, 8);

KHO_ABI_SIZE(struct kho_abi_pool, 64);
KHO_ABI_OFFSET(struct kho_abi_pool, magic, 0);
KHO_ABI_OFFSET(struct kho_abi_pool, version, 8);
KHO_ABI_OFFSET(struct kho_abi_pool, pad, 12);
KHO_ABI_OFFSET(struct kho_abi_pool, ring, 16);
KHO_ABI_OFFSET(struct kho_abi_pool, mending, 32);
KHO_ABI_OFFSET(struct kho_abi_pool, updates, 40);
KHO_ABI_OFFSET(struct kho_abi_pool, top, 48);
KHO_ABI_OFFSET(struct kho_abi_pool, top_size, 56);

#endif
