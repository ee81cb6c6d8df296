/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A module for the tests of vm-check: preserves what no program can, by the kernel's exported calls
 * alone, so that one source serves every kernel.
 *
 *	do=WHAT		what to do; loading fails if it goes wrong
 *	nr=N		how many blocks (or pages)
 *	seed=S		of what is drawn
 *	pa=A pages=N	a range of memory, for do=range
 *	orders=N	do=orders: the largest
 *	hop=N last=1	the number of this boot, and if it is the last: for do=array and the other
 *			tests of what ours alone has (ours.h)
 *
 * What was preserved is listed in scattered memory, which a record in the subtree "kho_vm" names.
 * Every marked page begins with its own address, turned over.
 */
#ifndef KHO_VM_H
#define KHO_VM_H

#include <linux/io.h>
#include <linux/kexec_handover.h>
#include <linux/kho/abi/kexec_handover.h>
#include <linux/mm.h>
#include <linux/types.h>

#define KHO_VM_SUBTREE "kho_vm"
#define KHO_VM_MAGIC 0x4d565f4f484bULL /* "KHO_VM" */

/* How a block was preserved, and is to be restored. */
enum kho_vm_how {
	KHO_VM_PAGES, /* kho_preserve_pages(), in one call */
	KHO_VM_SINGLES, /* kho_preserve_pages(), a call for each page */
	KHO_VM_FOLIO, /* kho_preserve_folio() */
};

/* A block. @step: every so many pages one is marked. */
struct kho_vm_block {
	u64 pa;
	u32 nr;
	u16 step;
	u16 how;
};

/* The subtree's blob, one page. */
struct kho_vm_record {
	u64 magic;
	u64 nr;
	struct kho_vmalloc list;
};

/* Blocks that were made, in memory of vmalloc(). */
struct kho_vm_blocks {
	struct kho_vm_block *block;
	unsigned long nr;
};

struct kho_vm_request {
	unsigned long nr;
	unsigned long seed;
	unsigned long pa;
	unsigned long pages;
	unsigned int orders;
	unsigned int hop;
	bool last;
};

static inline u64 kho_vm_mark(u64 pa)
{
	return ~pa;
}

/* Preserve blocks and hand over the list of them. */
int kho_vm_make(const char *what, const struct kho_vm_request *request);

/* Restore all that the kernel before has handed over, see that it is what it was, and free it. */
int kho_vm_check(void);

/* Preserve and unpreserve, on one processor or more at a time, and say how long it took. */
int kho_vm_speed(const struct kho_vm_request *request);

#endif
