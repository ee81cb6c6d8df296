/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An area of vmalloc(), "vmalloc-v1": a descriptor, and a chain of pages that list the addresses of
 * the area's blocks in their sequence. kho/abi/vmalloc.h describes it in full.
 */
#ifndef _LINUX_KHO_ABI_VMALLOC_H
#define _LINUX_KHO_ABI_VMALLOC_H

#include <linux/build_bug.h>
#include <linux/types.h>

#include <asm/page.h>

/* A physical address in a structure that is handed over, and what it is the address of. */
#define DECLARE_KHOSER_PTR(name, type) \
	union {                        \
		u64 phys;              \
		type ptr;              \
	} name

#define KHOSER_STORE_PTR(dest, val)                      \
	do {                                             \
		typeof((dest).ptr) _khoser_ptr = (val);  \
		(dest).phys = virt_to_phys(_khoser_ptr); \
	} while (0)

/* NULL for address 0. */
#define KHOSER_LOAD_PTR(src)                                                           \
	({                                                                             \
		u64 _khoser_phys = (src).phys;                                         \
		(typeof((src).ptr))(_khoser_phys ? phys_to_virt(_khoser_phys) : NULL); \
	})

struct kho_vmalloc_chunk;

struct kho_vmalloc_hdr {
	DECLARE_KHOSER_PTR(next, struct kho_vmalloc_chunk *);
};

/* Addresses in a page. */
#define KHO_VMALLOC_SIZE ((PAGE_SIZE - sizeof(struct kho_vmalloc_hdr)) / sizeof(u64))

struct kho_vmalloc_chunk {
	struct kho_vmalloc_hdr hdr;
	u64 phys[KHO_VMALLOC_SIZE];
};

static_assert(sizeof(struct kho_vmalloc_chunk) == PAGE_SIZE);

/**
 * struct kho_vmalloc - an area
 * @first: first page of the chain
 * @total_pages: of all blocks
 * @flags: KHO_ABI_VMALLOC_*
 * @order: of each block
 */
struct kho_vmalloc {
	DECLARE_KHOSER_PTR(first, struct kho_vmalloc_chunk *);
	unsigned int total_pages;
	unsigned short flags;
	unsigned short order;
};

#endif /* _LINUX_KHO_ABI_VMALLOC_H */
