/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The root FDT of the arena: private to the process host. */
#ifndef KHO_HOST_SUBTREE_H
#define KHO_HOST_SUBTREE_H

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
 * version of that name are replaced. Return: 0 or negative.
 */
int kho_root_part_(const char *part);

/* Remember for kho_metadata() who handed over: what is in the checked FDT now. */
void kho_metadata_take_(void);

/* Does a byte of a subtree's blob lie in [@pa, @pa + @len)? */
bool kho_subtree_within_(kho_pa_t pa, __u64 len);

#endif
