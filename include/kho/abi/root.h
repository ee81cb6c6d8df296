/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * "kho-v4": the root of a handover, a flattened device tree (FDT) with the
 * names and properties of Linux 7.2. docs/abi.md, "kho-v4".
 *
 *	/ {
 *		compatible = "kho-v4";
 *		preserved-memory-map = <u64, native order: pa of the radix root>;
 *		NAME {
 *			preserved-data = <u64, native order: pa of the blob>;
 *			blob-size = <u64, native order: bytes>;
 *		};
 *	};
 *
 * The FDT's own header, tokens and lengths are big-endian, as FDTs are; the
 * three u64 properties are in the CPU's order. Readers ignore properties that
 * they do not know. The process host adds "kho,type" (string) and
 * "kho,type-version" (u32, native order) to a subtree that is a named root.
 */
#ifndef KHO_ABI_ROOT_H
#define KHO_ABI_ROOT_H

#include <kho/abi/metadata.h>

#define KHO_ABI_ROOT_COMPATIBLE "kho-v4"

#define KHO_ABI_ROOT_PROP_COMPATIBLE "compatible"
#define KHO_ABI_ROOT_PROP_MEMORY_MAP "preserved-memory-map"
#define KHO_ABI_ROOT_PROP_DATA "preserved-data"
#define KHO_ABI_ROOT_PROP_SIZE "blob-size"
#define KHO_ABI_ROOT_PROP_TYPE "kho,type"
#define KHO_ABI_ROOT_PROP_TYPE_VERSION "kho,type-version"

/* Longest name of a subtree, without the NUL: what fits a node name of one FDT in practice. */
#define KHO_ABI_ROOT_NAME_MAX 63

#endif
