/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Compatibility strings: which structures, in which versions, something is made of.
 * docs/abi.md, "Compatibility strings".
 *
 *	kho-v4				one version
 *	kho-v4;radix-v1;vmalloc-v1	a base and its parts
 *	kho-v4;hints-v2?;radix-v1	a part that a reader may do without
 *
 * A version is NAME-vNUMBER. Parts follow the base after ';', unique by name and in strcmp order;
 * the base takes no part in the order. Strings that lie in structures take a multiple of 8 bytes.
 */
#ifndef KHO_ABI_COMPAT_H
#define KHO_ABI_COMPAT_H

#include <kho/abi/arena.h>
#include <kho/abi/layout.h>
#include <kho/abi/radix.h>
#include <kho/abi/root.h>
#include <kho/abi/slab.h>
#include <kho/types.h>

/* A part, behind a base or another part. Parts must be added in the order of strcmp. */
#define KHO_ABI_COMPAT_PART(string) ";" string
/* The same, if a reader may do without. */
#define KHO_ABI_COMPAT_OPTIONAL(string) ";" string "?"
/* Bytes that a string takes in a structure: with its NUL, a multiple of 8. */
#define KHO_ABI_COMPAT_ALIGN(string) ((sizeof(string) + 7) & ~(__SIZE_TYPE__)7)

#define KHO_ABI_COMPAT_MAX 512 /* longest string, with its NUL */
#define KHO_ABI_COMPAT_PARTS_MAX 32 /* behind the base */
#define KHO_ABI_COMPAT_NAME_MAX 31 /* longest name, without "-vNUMBER" */

/* What lies in an image of the core alone: a root FDT and a tree. */
#define KHO_ABI_COMPAT_CORE KHO_ABI_ROOT_COMPATIBLE KHO_ABI_COMPAT_PART(KHO_ABI_RADIX_COMPATIBLE)

/* As in an arena; other structures are added when they are used first. */
#define KHO_ABI_COMPAT_ARENA                                                                       \
	KHO_ABI_ROOT_COMPATIBLE                                                                    \
	KHO_ABI_COMPAT_PART(KHO_ABI_ARENA_COMPATIBLE)                                              \
	KHO_ABI_COMPAT_PART(KHO_ABI_RADIX_COMPATIBLE)                                              \
	KHO_ABI_COMPAT_PART(KHO_ABI_SLAB_COMPATIBLE)

#endif
