/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What lies in an arena while objects of one version are made from those of another: a journal of
 * the new ones, and roots with names of their own. docs/abi.md, "Migrations".
 */
#ifndef KHO_ABI_MIGRATION_H
#define KHO_ABI_MIGRATION_H

#include <kho/abi/layout.h>
#include <kho/types.h>

/* Names that begin so are the library's. */
#define KHO_ABI_ROOT_RESERVED "kho,"
#define KHO_ABI_ROOT_JOURNAL "kho,journal" /* first of the journal's chunks */
#define KHO_ABI_ROOT_NEW "kho,new." /* with a number behind it: made, and not in force yet */
#define KHO_ABI_ROOT_OLD "kho,old." /* was in force, and is not freed yet */

#define KHO_ABI_JOURNAL_TYPE "kho,journal"

/* The version of the journal's root. */
enum kho_abi_journal_state {
	KHO_ABI_JOURNAL_OPEN = 1, /* whoever finds it frees the objects */
	KHO_ABI_JOURNAL_DONE = 2, /* the objects are in use: whoever finds it drops the chunks */
};

/**
 * struct kho_abi_journal - a chunk of the journal: an object of the heap
 * @next: virtual address of the next chunk, or 0
 * @object: virtual addresses of live objects; 0 where there is none
 */
struct kho_abi_journal {
	__u64 next;
	__u64 object[63];
};

KHO_ABI_SIZE(struct kho_abi_journal, 512);
KHO_ABI_OFFSET(struct kho_abi_journal, next, 0);
KHO_ABI_OFFSET(struct kho_abi_journal, object, 8);

#endif
