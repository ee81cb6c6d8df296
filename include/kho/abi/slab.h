/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * "slab-v1": preserved slabs of equal objects, of the heap and of named caches; the records of
 * those caches; and the heap's large objects. docs/abi.md, "slab-v1".
 *
 * A slab is one preserved block of 2^order pages, aligned to its size:
 *
 *	struct kho_abi_slab | one byte per object: its state | objects
 *
 * One byte and not one bit per object: a plain byte store by whichever thread
 * publishes or frees is then atomic and cannot disturb a neighbour, without a
 * locked instruction.
 */
#ifndef KHO_ABI_SLAB_H
#define KHO_ABI_SLAB_H

#include <kho/abi/array.h>
#include <kho/abi/layout.h>
#include <kho/types.h>

#define KHO_ABI_SLAB_COMPATIBLE "slab-v1"
#define KHO_ABI_SLAB_MAGIC 0x42414c53U /* bytes "SLAB" */
#define KHO_ABI_CACHE_MAGIC 0x48434143U /* bytes "CACH" */
#define KHO_ABI_LARGE_MAGIC 0x4752414cU /* bytes "LARG" */
#define KHO_ABI_SLAB_VERSION 1

/* State of an object. Any other value is a fault. */
#define KHO_ABI_OBJECT_FREE 0x00
#define KHO_ABI_OBJECT_LIVE 0xa5
#define KHO_ABI_OBJECT_FREED 0x5a /* free; on its way back to the thread that hands it out */
#define KHO_ABI_OBJECT_RESERVED 0x3c /* with KHO_ABI_SLAB_SINGLE only: handed out, not preserved */

/*
 * Objects are preserved one by one: bytes that belong to no object that is LIVE, RESERVED or FREED
 * are 0, so that nothing but what was preserved gets to a successor.
 */
#define KHO_ABI_SLAB_SINGLE 0x1U
#define KHO_ABI_SLAB_FLAGS KHO_ABI_SLAB_SINGLE /* all that there are */

#define KHO_ABI_SLAB_OBJECT_MIN 16
#define KHO_ABI_SLAB_OBJECT_MAX 32768

/**
 * struct kho_abi_slab - at the start of a slab
 * @magic: KHO_ABI_SLAB_MAGIC
 * @version: KHO_ABI_SLAB_VERSION
 * @order: log2 of its pages
 * @object_size: bytes from one object to the next, a multiple of 16
 * @nr_objects: how many there are
 * @objects_off: where the first one starts, bytes from the slab's start, a multiple of 16
 * @flags: KHO_ABI_SLAB_*, those of its cache; 0 in the heap's
 * @cache: pa of the struct kho_abi_cache that it belongs to; 0: the heap's
 * @reserved: 0
 * @crc: CRC-32C of the 60 bytes before it, then of the slab's pa (8 bytes)
 *
 * All of it is written once, before the slab is preserved. The state bytes start
 * right behind this structure.
 */
struct kho_abi_slab {
	__u32 magic;
	__u16 version;
	__u16 order;
	__u32 object_size;
	__u32 nr_objects;
	__u32 objects_off;
	__u32 flags;
	__u64 cache;
	__u8 reserved[28];
	__u32 crc;
};

KHO_ABI_SIZE(struct kho_abi_slab, 64);
KHO_ABI_OFFSET(struct kho_abi_slab, magic, 0);
KHO_ABI_OFFSET(struct kho_abi_slab, version, 4);
KHO_ABI_OFFSET(struct kho_abi_slab, order, 6);
KHO_ABI_OFFSET(struct kho_abi_slab, object_size, 8);
KHO_ABI_OFFSET(struct kho_abi_slab, nr_objects, 12);
KHO_ABI_OFFSET(struct kho_abi_slab, objects_off, 16);
KHO_ABI_OFFSET(struct kho_abi_slab, flags, 20);
KHO_ABI_OFFSET(struct kho_abi_slab, cache, 24);
KHO_ABI_OFFSET(struct kho_abi_slab, reserved, 32);
KHO_ABI_OFFSET(struct kho_abi_slab, crc, 60);

#define KHO_ABI_CACHE_ROOT_PREFIX "cache," /* a cache's root is this and its name */
#define KHO_ABI_CACHE_ROOT_TYPE "kmem_cache"
#define KHO_ABI_CACHE_ROOT_VERSION 1
#define KHO_ABI_CACHE_NAME_LEN 64 /* with the NUL; a root's name is shorter still */

/**
 * struct kho_abi_cache - a named cache: a live object of the heap, found by a named root
 * @magic: KHO_ABI_CACHE_MAGIC
 * @version: KHO_ABI_SLAB_VERSION
 * @pad: 0
 * @size: bytes of an object that its users asked for
 * @align: power of two that they asked for; 1: none
 * @object_size: of its slabs: @size, rounded up to 16 and @align
 * @flags: KHO_ABI_SLAB_*
 * @name: NUL-terminated, the rest 0
 * @pad2: 0
 * @crc: CRC-32C of the 92 bytes before it, then of the record's pa (8 bytes)
 *
 * Written once, before it is published.
 */
struct kho_abi_cache {
	__u32 magic;
	__u16 version;
	__u16 pad;
	__u32 size;
	__u32 align;
	__u32 object_size;
	__u32 flags;
	char name[KHO_ABI_CACHE_NAME_LEN];
	__u32 pad2;
	__u32 crc;
};

KHO_ABI_SIZE(struct kho_abi_cache, 96);
KHO_ABI_OFFSET(struct kho_abi_cache, magic, 0);
KHO_ABI_OFFSET(struct kho_abi_cache, version, 4);
KHO_ABI_OFFSET(struct kho_abi_cache, pad, 6);
KHO_ABI_OFFSET(struct kho_abi_cache, size, 8);
KHO_ABI_OFFSET(struct kho_abi_cache, align, 12);
KHO_ABI_OFFSET(struct kho_abi_cache, object_size, 16);
KHO_ABI_OFFSET(struct kho_abi_cache, flags, 20);
KHO_ABI_OFFSET(struct kho_abi_cache, name, 24);
KHO_ABI_OFFSET(struct kho_abi_cache, pad2, 88);
KHO_ABI_OFFSET(struct kho_abi_cache, crc, 92);

#define KHO_ABI_SLABS_NODE "kho-slab"
#define KHO_ABI_SLABS_MAGIC 0x424c534bU /* bytes "KSLB" */

/**
 * struct kho_abi_slabs - between kernels: where all slabs and caches are
 * @magic, @version: KHO_ABI_SLABS_MAGIC, KHO_ABI_SLAB_VERSION
 * @reserved: 0
 * @slabs: by pa / 65536: an integer, the order of the slab that is there
 * @caches: by any number: pa of a struct kho_abi_cache
 *
 * The blob of the subtree "kho-slab". An arena has page descriptors and cells instead.
 */
struct kho_abi_slabs {
	__u32 magic;
	__u16 version;
	__u16 reserved;
	struct kho_abi_array slabs;
	struct kho_abi_array caches;
};

KHO_ABI_SIZE(struct kho_abi_slabs, 136);
KHO_ABI_OFFSET(struct kho_abi_slabs, magic, 0);
KHO_ABI_OFFSET(struct kho_abi_slabs, version, 4);
KHO_ABI_OFFSET(struct kho_abi_slabs, reserved, 6);
KHO_ABI_OFFSET(struct kho_abi_slabs, slabs, 8);
KHO_ABI_OFFSET(struct kho_abi_slabs, caches, 72);

/**
 * struct kho_abi_large - the 64 bytes before a large object, and again at the start of its run
 * @magic: KHO_ABI_LARGE_MAGIC
 * @version: KHO_ABI_SLAB_VERSION
 * @pad: 0
 * @run_pa: first page of the run that the object lies in
 * @nr_pages: length of the run
 * @size: bytes usable from the object on
 * @crc: CRC-32C of the 32 bytes before it, then of this structure's pa (8 bytes)
 * @reserved: 0
 *
 * Both copies are the same but for the CRC, and one and the same unless the object
 * is aligned to more than 64 bytes. The object is live while its run is preserved.
 */
struct kho_abi_large {
	__u32 magic;
	__u16 version;
	__u16 pad;
	__u64 run_pa;
	__u64 nr_pages;
	__u64 size;
	__u32 crc;
	__u8 reserved[28];
};

KHO_ABI_SIZE(struct kho_abi_large, 64);
KHO_ABI_OFFSET(struct kho_abi_large, magic, 0);
KHO_ABI_OFFSET(struct kho_abi_large, version, 4);
KHO_ABI_OFFSET(struct kho_abi_large, pad, 6);
KHO_ABI_OFFSET(struct kho_abi_large, run_pa, 8);
KHO_ABI_OFFSET(struct kho_abi_large, nr_pages, 16);
KHO_ABI_OFFSET(struct kho_abi_large, size, 24);
KHO_ABI_OFFSET(struct kho_abi_large, crc, 32);
KHO_ABI_OFFSET(struct kho_abi_large, reserved, 36);

#endif
