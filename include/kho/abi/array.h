/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * "array-v1": a sparse array from 64-bit index to a value. docs/abi.md, "array-v1".
 *
 *	descriptor	struct kho_abi_array, in memory of its user or at the start of a page
 *	node		a page: an ordered map from 64-bit keys to words that are not 0
 *	leaf		a node of level 0: its keys are indices, its words entries
 *	inner node	its keys are separators, its words the addresses of nodes one level below
 *	range		the keys that the way down to a node gives to it; the root's is all
 *	ghost		a key of a node outside the node's range: it is not there
 *	dead		a key whose word is 0: it is not there
 *
 * A node is struct kho_abi_array_node, then cap words, then cap keys of width bytes, each less
 * by base. cap is as many as fit. Keys [0, nr_sorted) ascend; up to KHO_ABI_ARRAY_TAIL more
 * follow in no order. A leaf of width 0 has no keys: word i belongs to index base + i.
 *
 * A separator is the first key of its child's range, which ends before the next separator
 * that is neither dead nor a ghost; the first is where the node's own range begins.
 */
#ifndef KHO_ABI_ARRAY_H
#define KHO_ABI_ARRAY_H

#include <kho/abi/layout.h>
#include <kho/types.h>

#define KHO_ABI_ARRAY_COMPATIBLE "array-v1"

#define KHO_ABI_ARRAY_MAGIC 0x4b415252 /* "KARR" */
#define KHO_ABI_ARRAY_VERSION 1 /* 0 was an array of another layout, never released */

/* Keys of a node that are in no order. */
#define KHO_ABI_ARRAY_TAIL 32
/* The highest level of a root: it and the address share a word, and a page has 2^6 bytes at least. */
#define KHO_ABI_ARRAY_LEVEL_MASK 63
#define KHO_ABI_ARRAY_LEVEL_MAX 23

/* Entries: an integer v below 2^63 is v << 1 | 1; an address, 8-byte aligned, is itself. */
#define KHO_ABI_ARRAY_INTEGER 1
#define KHO_ABI_ARRAY_TAG_MASK 7

/**
 * struct kho_abi_array - the descriptor
 * @magic, @version: KHO_ABI_ARRAY_MAGIC, KHO_ABI_ARRAY_VERSION
 * @page_shift: log2 of the size of a node
 * @reserved0, @reserved: 0
 * @root: address of the root plus its level; 0: nothing in the array, whatever @count says
 * @count: entries, if @next_count is the same
 * @next_count: entries when the update that is going on is done; then @count follows
 * @slot_pa: the word that this update stores: it is done when the word is not 0 and
 *	@next_count > @count, or when it is 0 and @next_count < @count
 * @doomed: a root, as in @root, of nodes that are being freed; if it is what @root holds, they are not
 */
struct kho_abi_array {
	__u32 magic;
	__u16 version;
	__u8 page_shift;
	__u8 reserved0;
	__u64 root;
	__u64 count;
	__u64 next_count;
	__u64 slot_pa;
	__u64 doomed;
	__u64 reserved[2];
};

KHO_ABI_SIZE(struct kho_abi_array, 64);
KHO_ABI_OFFSET(struct kho_abi_array, magic, 0);
KHO_ABI_OFFSET(struct kho_abi_array, version, 4);
KHO_ABI_OFFSET(struct kho_abi_array, page_shift, 6);
KHO_ABI_OFFSET(struct kho_abi_array, reserved0, 7);
KHO_ABI_OFFSET(struct kho_abi_array, root, 8);
KHO_ABI_OFFSET(struct kho_abi_array, count, 16);
KHO_ABI_OFFSET(struct kho_abi_array, next_count, 24);
KHO_ABI_OFFSET(struct kho_abi_array, slot_pa, 32);
KHO_ABI_OFFSET(struct kho_abi_array, doomed, 40);
KHO_ABI_OFFSET(struct kho_abi_array, reserved, 48);

/**
 * struct kho_abi_array_node - the head of a node
 * @base: what each key of it is less by; of inner nodes a hint where a key may be, see docs/abi.md
 * @width: bytes of a key: 2, 4 or 8; 0: a leaf without keys; inner nodes: 8
 * @level: 0 for leaves
 * @nr_sorted: keys that ascend, the dead and the ghosts with them; 0 if @width is
 * @nr_used: those and the tail; 0 if @width is
 * @nr_live: about how many are there: a hint, off by one for each program that died
 */
struct kho_abi_array_node {
	__u64 base;
	__u8 width;
	__u8 level;
	__u16 nr_sorted;
	__u16 nr_used;
	__u16 nr_live;
};

KHO_ABI_SIZE(struct kho_abi_array_node, 16);
KHO_ABI_OFFSET(struct kho_abi_array_node, base, 0);
KHO_ABI_OFFSET(struct kho_abi_array_node, width, 8);
KHO_ABI_OFFSET(struct kho_abi_array_node, level, 9);
KHO_ABI_OFFSET(struct kho_abi_array_node, nr_sorted, 10);
KHO_ABI_OFFSET(struct kho_abi_array_node, nr_used, 12);
KHO_ABI_OFFSET(struct kho_abi_array_node, nr_live, 14);

/* Words of a node of 2^@shift bytes whose keys take @width bytes: 510, 408, 340, 255 for 0, 2, 4, 8 of 4 KiB */
static inline unsigned int kho_abi_array_cap(unsigned int shift, unsigned int width)
{
	unsigned int room = (1U << shift) - 16;

	switch (width) {
	case 0:
		return room / 8;
	case 2:
		return room / 10;
	case 4:
		return room / 12;
	default:
		return room / 16;
	}
}

#endif
