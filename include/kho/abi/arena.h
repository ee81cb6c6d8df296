/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * "arena-v1": an image in one memfd, as the process host lays it out.
 * docs/abi.md, "arena-v1". Addresses are offsets in the file.
 *
 *	page 0		struct kho_abi_arena_header
 *	page 1		struct kho_abi_owner: the lock, and who holds it
 *	pages 2..33	two slots of 16 pages for the root FDT (kho-v4); the header
 *			names the one in force, the other is rewritten next
 *	pages 34..41	KHO_ABI_NR_INTENTS intent records of the heap
 *	pages 42..57	KHO_ABI_NR_CELLS cells of named roots
 *	nodes_pa..	nodes of the preserved-memory tree, and nothing else
 *	descs_pa..	one page descriptor for every page of the arena
 *	data_pa..	everything that is handed out, up to max_size
 *
 * Where the regions lie follows from max_size alone, which is a multiple of 128 MiB,
 * or of 4096 below 128 MiB, and at most 2^47:
 *
 *	nodes_pa = KHO_ABI_FIXED_END rounded up to 64 KiB
 *	descs_pa = nodes_pa + 4096 * (2 * ceil(max_size / 128 MiB) + KHO_ABI_ARENA_NODES_EXTRA)
 *	data_pa  = descs_pa + 2 * max_size / 4096, rounded up to 2 MiB, or to 64 KiB
 *		   if max_size is below 128 MiB
 *
 * and data_pa + 64 KiB must not be above max_size.
 *
 * Sparse: what was never used is a hole of the file.
 */
#ifndef KHO_ABI_ARENA_H
#define KHO_ABI_ARENA_H

#include <kho/abi/layout.h>
#include <kho/types.h>

#define KHO_ABI_ARENA_COMPATIBLE "arena-v1"
#define KHO_ABI_ARENA_MAGIC 0x414e455241204f4bULL /* bytes "KO ARENA" */
#define KHO_ABI_ARENA_VERSION 1

#define KHO_ABI_ARENA_PAGE_SHIFT 12
#define KHO_ABI_ARENA_PAGE_SIZE 4096

#define KHO_ABI_OWNER_PA 0x1000
#define KHO_ABI_FDT_SLOT_PA 0x2000
#define KHO_ABI_FDT_SLOT_SIZE 0x10000
#define KHO_ABI_NR_FDT_SLOTS 2
/* The FDT may use this much of its slot; the rest holds struct kho_abi_metadata. */
#define KHO_ABI_FDT_MAX 0xf000
#define KHO_ABI_INTENTS_PA 0x22000
#define KHO_ABI_NR_INTENTS 512
#define KHO_ABI_INTENT_PAGE 1 /* in new_object and old_object: a page, not an object */
#define KHO_ABI_INTENT_RUN 1 /* in slot: a run of pages, not a word */
#define KHO_ABI_CELLS_PA 0x2a000
#define KHO_ABI_NR_CELLS 1024
#define KHO_ABI_FIXED_END 0x3a000
/* Node pages beyond two per 128 MiB: the way to a lone leaf of each of 27 orders, 6 levels each, and 64. */
#define KHO_ABI_ARENA_NODES_EXTRA (6 * 27 + 64)

/*
 * A checked word: a 48-bit value that proves itself, so that one 8-byte store
 * changes it and a stray change of any of its bytes is seen.
 *
 *	word = value << 16 | crc16(value, salt)
 *
 * crc16 is CRC-16/CCITT (polynomial 0x1021, MSB first, start value = salt) over
 * the value's six bytes, least significant first. The salt is the word's offset in the page, so that
 * one word copied over another is seen as well.
 */
typedef __u64 kho_abi_cword_t;

/**
 * struct kho_abi_arena_header - page 0
 *
 * The first 128 bytes never change once written and carry their own CRC; the
 * checked words that follow change, each by one store.
 *
 * @magic: KHO_ABI_ARENA_MAGIC
 * @header_size: bytes that the writer knew of; a reader ignores what it does not know
 * @version: KHO_ABI_ARENA_VERSION
 * @features_compat: unknown bits may be ignored
 * @features_ro_compat: an unknown bit forbids writing
 * @features_incompat: an unknown bit forbids reading
 * @page_shift: log2 of the page size: 12
 * @id: 128 random bits, this arena's identity
 * @base: virtual address that page 0 is mapped at, always
 * @max_size: the largest the file can become: see above
 * @nodes_pa: start of the tree's node region
 * @descs_pa: end of the node region, start of the page descriptors
 * @data_pa: end of the page descriptors, start of what is handed out
 * @tree_root_pa: the tree's root node, the first page of the node region
 * @reserved: 0
 * @crc: CRC-32C of the bytes before it
 * @root_fdt: checked word: address of the root FDT in force
 * @generation: checked word: number of handovers and restarts so far
 * @state: checked word: enum kho_abi_arena_state
 */
struct kho_abi_arena_header {
	__u64 magic;
	__u32 header_size;
	__u32 version;
	__u64 features_compat;
	__u64 features_ro_compat;
	__u64 features_incompat;
	__u32 page_shift;
	__u32 pad;
	__u8 id[16];
	__u64 base;
	__u64 max_size;
	__u64 nodes_pa;
	__u64 descs_pa;
	__u64 data_pa;
	__u64 tree_root_pa;
	__u8 reserved[12];
	__u32 crc;
	kho_abi_cword_t root_fdt;
	kho_abi_cword_t generation;
	kho_abi_cword_t state;
};

/* What the last owner was doing. Written before it happens, for whoever finds the arena. */
enum kho_abi_arena_state {
	KHO_ABI_STATE_RUNNING = 1, /* an owner is, or was, at work: not to be alive means a crash */
	KHO_ABI_STATE_GRANTED = 2, /* handed to a successor that has not yet proven itself */
	KHO_ABI_STATE_STOPPED = 3, /* the owner stopped on purpose */
	KHO_ABI_STATE_EXEC = 4, /* the owner is replacing itself by exec */
};

KHO_ABI_SIZE(struct kho_abi_arena_header, 152);
KHO_ABI_OFFSET(struct kho_abi_arena_header, magic, 0);
KHO_ABI_OFFSET(struct kho_abi_arena_header, header_size, 8);
KHO_ABI_OFFSET(struct kho_abi_arena_header, version, 12);
KHO_ABI_OFFSET(struct kho_abi_arena_header, features_compat, 16);
KHO_ABI_OFFSET(struct kho_abi_arena_header, features_ro_compat, 24);
KHO_ABI_OFFSET(struct kho_abi_arena_header, features_incompat, 32);
KHO_ABI_OFFSET(struct kho_abi_arena_header, page_shift, 40);
KHO_ABI_OFFSET(struct kho_abi_arena_header, pad, 44);
KHO_ABI_OFFSET(struct kho_abi_arena_header, id, 48);
KHO_ABI_OFFSET(struct kho_abi_arena_header, base, 64);
KHO_ABI_OFFSET(struct kho_abi_arena_header, max_size, 72);
KHO_ABI_OFFSET(struct kho_abi_arena_header, nodes_pa, 80);
KHO_ABI_OFFSET(struct kho_abi_arena_header, descs_pa, 88);
KHO_ABI_OFFSET(struct kho_abi_arena_header, data_pa, 96);
KHO_ABI_OFFSET(struct kho_abi_arena_header, tree_root_pa, 104);
KHO_ABI_OFFSET(struct kho_abi_arena_header, reserved, 112);
KHO_ABI_OFFSET(struct kho_abi_arena_header, crc, 124);
KHO_ABI_OFFSET(struct kho_abi_arena_header, root_fdt, 128);
KHO_ABI_OFFSET(struct kho_abi_arena_header, generation, 136);
KHO_ABI_OFFSET(struct kho_abi_arena_header, state, 144);

/**
 * struct kho_abi_owner - page 1: the lock of the one writer, and who that is
 * @futex: robust futex word: 0 = free, else the thread id of the holder's
 *	keeper thread, with FUTEX_WAITERS and FUTEX_OWNER_DIED as futex(2) has them
 * @pad: 0
 * @pid: process id of the last holder, in its own pid namespace
 * @start_time: its start time: field 22 of /proc/PID/stat, clock ticks since boot
 * @boot_id: the 16 bytes of /proc/sys/kernel/random/boot_id
 * @comm: its name, NUL-terminated
 * @pid_ns: inode number of its pid namespace, which @pid and the futex's thread id are of
 * @heir: while @futex is 0: process that the lock is being handed to (nobody else takes it
 *	as long as the last holder lives); else 0
 * @pad2: 0
 *
 * Only @futex decides who holds it. The rest names the holder, lets whoever comes after a
 * dead one wait for its last thread, and tells a dead one whose word nobody released.
 */
struct kho_abi_owner {
	__u32 futex;
	__u32 pad;
	__u64 pid;
	__u64 start_time;
	__u8 boot_id[16];
	char comm[32];
	__u64 pid_ns;
	__u32 heir;
	__u32 pad2;
};

KHO_ABI_SIZE(struct kho_abi_owner, 88);
KHO_ABI_OFFSET(struct kho_abi_owner, futex, 0);
KHO_ABI_OFFSET(struct kho_abi_owner, pad, 4);
KHO_ABI_OFFSET(struct kho_abi_owner, pid, 8);
KHO_ABI_OFFSET(struct kho_abi_owner, start_time, 16);
KHO_ABI_OFFSET(struct kho_abi_owner, boot_id, 24);
KHO_ABI_OFFSET(struct kho_abi_owner, comm, 40);
KHO_ABI_OFFSET(struct kho_abi_owner, pid_ns, 72);
KHO_ABI_OFFSET(struct kho_abi_owner, heir, 80);
KHO_ABI_OFFSET(struct kho_abi_owner, pad2, 84);

/**
 * struct kho_abi_intent - what one thread is about to publish; all zero when nothing
 * @slot: pa of the 8-byte word that is about to change; written last and
 *	cleared last: the record counts while it is not 0
 * @value: what @slot will hold; virtual address or 0
 * @new_object: virtual address of the object that this makes reachable, or 0
 * @old_object: virtual address of the object that this frees, or 0
 * @pad: 0
 *
 * An object is one of the heap; or, if KHO_ABI_INTENT_PAGE is set in its address, the page there,
 * which is or becomes a preserved block of order 0 with descriptor type STRUCT.
 *
 * Whoever finds a record that counts: if the word at @slot equals @value, marks
 * @new_object live and @old_object free; else marks @new_object free. Then
 * clears the record.
 *
 * If KHO_ABI_INTENT_RUN is set in @slot, the record is of a run of pages that is being preserved
 * or unpreserved: @slot is its address, @value its length in pages, the rest 0. Whoever finds it
 * unpreserves those of the run's blocks that there are with descriptor type PAGES.
 */
struct kho_abi_intent {
	__u64 slot;
	__u64 value;
	__u64 new_object;
	__u64 old_object;
	__u64 pad[4];
};

KHO_ABI_SIZE(struct kho_abi_intent, 64);
KHO_ABI_OFFSET(struct kho_abi_intent, slot, 0);
KHO_ABI_OFFSET(struct kho_abi_intent, value, 8);
KHO_ABI_OFFSET(struct kho_abi_intent, new_object, 16);
KHO_ABI_OFFSET(struct kho_abi_intent, old_object, 24);

/**
 * struct kho_abi_cell - the slot of a named root; in use while the root FDT names it
 * @value: virtual address of the root's object, or 0: a slot for kho_publish()
 * @pad: 0
 */
struct kho_abi_cell {
	__u64 value;
	__u64 pad[7];
};

KHO_ABI_SIZE(struct kho_abi_cell, 64);
KHO_ABI_OFFSET(struct kho_abi_cell, value, 0);

/*
 * A page descriptor: what the block that starts at this page is. 0 = nothing
 * preserved starts here.
 *
 *	bits 0..3	enum kho_abi_desc_type
 *	bits 4..9	order
 *	bits 10..15	CRC-6 (polynomial x^6+x+1, start value 0x3f, MSB first) of bits 9..0
 *
 * Written before the block's bit is set in the tree and cleared after the bit
 * is: the tree decides, the descriptor must agree with it.
 */
typedef __u16 kho_abi_desc_t;

enum kho_abi_desc_type {
	KHO_ABI_DESC_NONE = 0,
	KHO_ABI_DESC_FOLIO = 1, /* kho_preserve_folio() */
	KHO_ABI_DESC_PAGES = 2, /* one block of kho_preserve_pages() */
	KHO_ABI_DESC_SLAB = 3, /* struct kho_abi_slab starts here */
	KHO_ABI_DESC_LARGE =
		4, /* the first block of a large heap object: struct kho_abi_large starts here */
	KHO_ABI_DESC_LARGE_PART = 5, /* a further block of it */
	KHO_ABI_DESC_STRUCT = 6, /* a page of a structure: whoever points to it owns it */
	KHO_ABI_DESC_VMALLOC = 7, /* one block of an area of kho_preserve_vmalloc() */
	KHO_ABI_DESC_VMALLOC_CHUNK = 8, /* a page of the list of such blocks */
};

#endif
