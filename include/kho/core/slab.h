/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Slabs of equal objects and the records of named caches, "slab-v1": the format's rules, and
 * checkers for bytes that came in. Who hands out the objects is the host's affair.
 */
#ifndef KHO_CORE_SLAB_H
#define KHO_CORE_SLAB_H

#include <stdbool.h>
#include <stddef.h>

#include <kho/abi/slab.h>
#include <kho/core/image.h>
#include <kho/core/report.h>
#include <kho/types.h>

/**
 * khoc_slab_order() - how large the slabs of an object size are
 * @shift: log2 of the page size, 6 to 16
 *
 * 64 KiB for objects up to 4096 bytes and 256 KiB above, whatever the page size.
 *
 * Return: log2 of a slab's pages.
 */
unsigned int khoc_slab_order(unsigned int shift, __u32 object_size);

/**
 * khoc_slab_geometry() - how many objects a slab has, and where
 * @object_size: a multiple of 16, from KHO_ABI_SLAB_OBJECT_MIN to KHO_ABI_SLAB_OBJECT_MAX
 * @nr, @off: filled in: nr_objects and objects_off
 *
 * Objects begin at a multiple of the largest power of two that their size is a multiple of
 * (one page at most), so that an object's alignment is that of its size.
 */
void khoc_slab_geometry(unsigned int shift, __u32 object_size, __u32 *nr, __u32 *off);

/* Is it one of the heap's size classes: 16 to 128 by 16, then four to a doubling, up to 32768? */
bool khoc_slab_is_heap_size(__u32 object_size);

/* Write the header of a slab at @pa. @cache and @flags are 0 for the heap's. */
void khoc_slab_init(struct kho_abi_slab *header, unsigned int shift, kho_pa_t pa, __u32 object_size,
		    kho_pa_t cache, __u32 flags);

/**
 * khoc_slab_header_check() - check a slab's header
 * @header: untrusted; nothing else is read
 * @pa: the slab's address
 * @order: that of the preserved block
 *
 * Magic, version, CRC, flags, order, object size, geometry, reserved bytes. @cache is a
 * multiple of 16 or 0, and not looked up.
 *
 * Return: 0, or a negative fault that @report, if not NULL, explains.
 */
int khoc_slab_header_check(const struct kho_abi_slab *header, unsigned int shift, kho_pa_t pa,
			   unsigned int order, struct khoc_report *report);

/* Objects of a slab by state. */
struct khoc_slab_counts {
	__u32 free;
	__u32 live;
	__u32 freed;
	__u32 reserved;
};

/**
 * khoc_slab_states_check() - check and count the state bytes
 * @slab: the whole slab at @pa, with a header that khoc_slab_header_check() accepted
 *
 * One pass over them; KHO_E_STATE for a value that the slab's kind does not have.
 *
 * Return: 0, or a negative fault that @report, if not NULL, explains.
 */
int khoc_slab_states_check(const struct kho_abi_slab *slab, kho_pa_t pa,
			   struct khoc_slab_counts *counts, struct khoc_report *report);

/**
 * khoc_slab_check() - check a whole slab of an image
 * @order: of the preserved block at @pa
 * @counts: filled in if not NULL
 *
 * Header, states, and in slabs of objects that are preserved singly that every byte is 0 which
 * belongs to no object that is LIVE, RESERVED or FREED: KHO_E_FORMAT, field "free bytes". Reads
 * the block once, at most 256 KiB.
 *
 * Return: 0, or a negative fault that @report, if not NULL, explains; KHO_E_RANGE, too, when the
 * block is not all in the image.
 */
int khoc_slab_check(const struct khoc_mem *mem, unsigned int shift, kho_pa_t pa, unsigned int order,
		    struct khoc_slab_counts *counts, struct khoc_report *report);

/* The object size of a cache's slabs, or 0: @size or @align cannot be had. @align is a power of two. */
__u32 khoc_cache_object_size(unsigned int shift, __u32 size, __u32 align);

/* Could it be a cache's name? 1 to @max letters, digits and "._+-". */
bool khoc_cache_name_ok(const char *name, size_t max);

/* Fill in a record that will lie at @pa. */
void khoc_cache_init(struct kho_abi_cache *record, unsigned int shift, kho_pa_t pa,
		     const char *name, __u32 size, __u32 align, __u32 flags);

/**
 * khoc_cache_check() - check a cache's record
 * @record: untrusted
 * @pa: its address
 *
 * Return: 0, or a negative fault that @report, if not NULL, explains.
 */
int khoc_cache_check(const struct kho_abi_cache *record, unsigned int shift, kho_pa_t pa,
		     struct khoc_report *report);

#endif
