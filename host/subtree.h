/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The root FDT of the arena: private to the process host. */
#ifndef KHO_HOST_SUBTREE_H
#define KHO_HOST_SUBTREE_H

#include <kho/kho.h>
#include <kho/types.h>
#include <stdbool.h>
#include <stddef.h>

/* Write the first root FDT to slot 0 of the file that is mapped at @base. Return: its pa or negative. */
__s64 kho_root_format_(char *base, kho_pa_t tree_root);

/* Check the FDT in force, and what it names. @live: it may change meanwhile. Return: 0 or a fault. */
int kho_root_check_(void);

/**
 * kho_root_part_() - say in "compatible" that a structure lies in the arena
 * @part: "NAME-vNUMBER", "?" behind it if a reader may do without
 *
 * Before the first one of its kind is reachable. Costs a look if it is said already. Parts of another
 * version of that name are replaced. Return: 0; -ENOSPC; -KHO_E_INCOMPATIBLE: not yet, see
 * kho_formats_may_use_().
 */
int kho_root_part_(const char *part);

/* Structures of ours that not every arena has. */
enum kho_part { KHO_PART_ARRAY, KHO_PART_BLOCK, KHO_PART_SESSION, KHO_PART_VMALLOC };

extern unsigned int kho_parts_listed_; /* by 1 << enum kho_part: those that are known to be said */

int kho_part_list_(enum kho_part part);

/* The writer, before it makes something of a structure: kho_root_part_() of it, the first time. */
static inline int kho_part_use_(enum kho_part part)
{
	if (__atomic_load_n(&kho_parts_listed_, __ATOMIC_ACQUIRE) & 1u << part)
		return 0;
	return kho_part_list_(part);
}

/* Another arena, or one that somebody else wrote to. */
void kho_parts_forget_(void);

/* Each part that is said, in order, until @fn does not return 0. @fn calls nothing of this file. Return: its. */
int kho_root_parts_(int (*fn)(void *ctx, const struct khoc_compat_part *part), void *ctx);

/* ---- for migrations ---- */

struct khoc_subtree;

struct kho_root_info {
	char name[64];
	char type[40]; /* cut: no root of ours has a longer one */
	__u32 version;
	void **slot;
};

/* The root @name, or number @nth of those whose name begins so if @prefix. Return: was there one? */
bool kho_root_look_(const char *name, bool prefix, unsigned int nth, struct kho_root_info *info);

/* Up to @max roots that @want wants, in one pass. Return: how many it wants. */
unsigned int kho_root_collect_(bool (*want)(void *ctx, const struct kho_root_info *info), void *ctx,
			       struct kho_root_info *infos, unsigned int max);

/* As kho_root(), for names that are the library's. */
void **kho_root_reserved_(const char *name, const char *type, __u32 version);

/* khoc_root_edit() on the FDT in force, in one step to any crash. Return: 0 or negative. */
int kho_root_edit_(bool (*each)(void *ctx, struct khoc_subtree *subtree), void *ctx);

/* Remember for kho_metadata() who handed over: what is in the checked FDT now. */
void kho_metadata_take_(void);

/* Does a byte of a subtree's blob lie in [@pa, @pa + @len)? */
bool kho_subtree_within_(kho_pa_t pa, __u64 len);

#endif
