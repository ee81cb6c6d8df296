/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Memory from scattered pages at one contiguous address, as in Linux.
 *
 *	struct table { struct kho_vmalloc cells; ... } *table;	// lives in the heap, reachable from a root
 *
 *	cells = kho_vmalloc(size);
 *	kho_preserve_vmalloc(cells, &table->cells);
 *	... in the next program ...
 *	cells = kho_restore_vmalloc(&table->cells);
 *
 * Addresses are not stable: an area lies elsewhere in every program, also in a predecessor that
 * takes the arena back, and Linux's format has no place for an address. So nothing in the arena
 * may point into an area: keep offsets. kho_publish() and kho_virt_to_phys() do not know
 * these addresses.
 *
 * Each stretch of pages that are not neighbours is one mapping of the process, of which the kernel
 * allows vm.max_map_count (65530). An area that would leave too few of them for everybody
 * else is refused: errno EDQUOT, and kho_error() names the limit, what is in use and what to do.
 *
 * A hand-over that fails after the grant forgets every area of the predecessor: it restores them
 * again. A child of fork() does not inherit them.
 */
#ifndef KHO_VMALLOC_H
#define KHO_VMALLOC_H

#include <stddef.h>

#include <kho/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

/**
 * struct kho_vmalloc - a preserved area: Linux's 16 bytes, struct kho_abi_vmalloc
 * @first: 0: nothing is preserved here
 *
 * Put it where the next program finds it. It takes two stores to write, and @first comes last, so
 * after a crash it says either nothing or all.
 */
struct kho_vmalloc {
	__u64 first;
	__u32 total_pages;
	__u16 flags;
	__u16 order;
};

/*
 * All give whole pages, not cleared. Behind an area lies a page that faults. Return: NULL with
 * errno ENOMEM (the arena is full, or no address space), EDQUOT (mappings), EINVAL (@size 0), EPERM,
 * EOWNERDEAD.
 */
void *kho_vmalloc(size_t size);

/* In blocks of up to 2 MiB, as long as there are some: fewer mappings, and huge pages where they are on. */
void *kho_vmalloc_huge(size_t size);

/* Neighbouring pages if there are any, at no mapping; else as kho_vmalloc(). */
void *kho_kvmalloc(size_t size);

/*
 * Free memory of these three or of kho_restore_vmalloc(). What is still preserved is unpreserved; whoever has
 * the descriptor calls kho_unpreserve_vmalloc() before, or it names what is gone. NULL is ignored.
 */
void kho_vfree(void *ptr);
void kho_kvfree(void *ptr);

/**
 * kho_preserve_vmalloc() - let an area go along
 * @ptr: its start, of any of the functions above
 * @preservation: filled in; twice gives the same again
 *
 * After a crash before @preservation is written, its pages are among the unclaimed.
 *
 * The first one in an arena makes "vmalloc-v1" a part of that.
 *
 * Return: 0; -EINVAL (not an area's start); -ENOMEM; -ENOSPC (the root FDT has no room for the part);
 * -KHO_E_INCOMPATIBLE (the part is not there, and the predecessor, which may have to go on with the
 * arena, does not read it: not before kho_healthy()). Nothing changed then.
 */
int kho_preserve_vmalloc(void *ptr, struct kho_vmalloc *preservation);

/* Take it back: @preservation becomes 0, the area stays. It must have been preserved or restored here. */
void kho_unpreserve_vmalloc(struct kho_vmalloc *preservation);

/**
 * kho_restore_vmalloc() - map an area that came in
 *
 * Everything is checked before anything is claimed: the descriptor, the chain, and that each page of
 * it is preserved as what it is used for. One-shot for each generation. It stays preserved.
 *
 * Return: its address here; NULL with errno EINVAL (never preserved, restored before,
 * damaged: kho_error() says which page and why), ENOMEM, EDQUOT (nothing was claimed: may be
 * tried again), EPERM, EOWNERDEAD.
 */
void *kho_restore_vmalloc(const struct kho_vmalloc *preservation);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
