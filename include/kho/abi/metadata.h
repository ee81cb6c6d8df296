/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * "kexec-metadata": who handed over, and how many times. The blob of the subtree of that name, the
 * format of Linux 7.2. docs/abi.md, "kexec-metadata".
 */
#ifndef KHO_ABI_METADATA_H
#define KHO_ABI_METADATA_H

#include <kho/abi/layout.h>
#include <kho/types.h>

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
