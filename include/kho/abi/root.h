/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * "kho-v4": the root of a handover, a flattened device tree (FDT) with the
 * names and properties of Linux 7.2. docs/abi.md, "kho-v4".
 *
 *	/ {
 *		compatible = "kho-v4;PART;...", "kho-v4";
 *		preserved-memory-map = <u64, native order: pa of the radix root>;
 *		NAME {
 *			preserved-data = <u64, native order: pa of the blob>;
 *			blob-size = <u64, native order: bytes>;
 *		};
 *	};
 *
 * "compatible" is a list: first the compatibility string of what lies in the image
 * (<kho/abi/compat.h>), last exactly what Linux 7.2 asks for and itself writes alone.
 *
 * The FDT's own header, tokens and lengths are big-endian, as FDTs are; the
 * three u64 properties are in the CPU's order. Readers ignore properties that
 * they do not know. The process host adds "kho,type" (string) and
 * "kho,type-version" (u32, native order) to a subtree that is a named root.
 */
#ifndef KHO_ABI_ROOT_H
#define KHO_ABI_ROOT_H

#include <kho/abi/layout.h>
#include <kho/types.h>

#define KHO_ABI_ROOT_COMPATIBLE "kho-v4"

#define KHO_ABI_ROOT_PROP_COMPATIBLE "compatible"
#define KHO_ABI_ROOT_PROP_MEMORY_MAP "preserved-memory-map"
#define KHO_ABI_ROOT_PROP_DATA "preserved-data"
#define KHO_ABI_ROOT_PROP_SIZE "blob-size"
#define KHO_ABI_ROOT_PROP_TYPE "kho,type"
#define KHO_ABI_ROOT_PROP_TYPE_VERSION "kho,type-version"

/* Longest name of a subtree, without the NUL: what fits a node name of one FDT in practice. */
#define KHO_ABI_ROOT_NAME_MAX 63

/* "kexec-metadata": who handed over, and how many times. The subtree's blob. */
#define KHO_ABI_METADATA_NODE "kexec-metadata"
#define KHO_ABI_METADATA_VERSION 1
#define KHO_ABI_METADATA_RELEASE_LEN 65

/**
 * struct kho_abi_metadata - blob of the subtree "kexec-metadata" (Linux: kho_kexec_metadata)
 * @version: KHO_ABI_METADATA_VERSION; a reader ignores the blob when it differs
 * @previous_release: NUL-terminated: utsname release of the kernel, or name and
 *	version of the program, that handed over last
 * @kexec_count: how many handovers there were
 */
struct kho_abi_metadata {
	__u32 version;
	char previous_release[KHO_ABI_METADATA_RELEASE_LEN];
	__u32 kexec_count;
} __attribute__((packed));

KHO_ABI_SIZE(struct kho_abi_metadata, 73);
KHO_ABI_OFFSET(struct kho_abi_metadata, version, 0);
KHO_ABI_OFFSET(struct kho_abi_metadata, previous_release, 4);
KHO_ABI_OFFSET(struct kho_abi_metadata, kexec_count, 69);

#endif
