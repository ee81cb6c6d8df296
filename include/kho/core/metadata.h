/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Reading who handed over: "kexec-metadata". */
#ifndef KHO_CORE_METADATA_H
#define KHO_CORE_METADATA_H

#include <kho/abi/metadata.h>
#include <kho/core/image.h>
#include <kho/core/report.h>

/**
 * struct khoc_metadata - what it says
 * @version: as it is there
 * @release: NUL-terminated
 * @release_len: bytes before the first NUL; KHO_ABI_METADATA_RELEASE_LEN without one
 * @count: handovers so far
 */
struct khoc_metadata {
	__u32 version;
	char release[KHO_ABI_METADATA_RELEASE_LEN + 1];
	__u32 release_len;
	__u32 count;
};

/**
 * khoc_metadata_read() - read the blob of the subtree KHO_ABI_METADATA_NODE
 * @metadata: filled in as far as it could be read
 * @pa, @size: the blob; it may be longer
 *
 * Return: 0; -KHO_E_TRUNCATED; -KHO_E_RANGE (not in the image); -KHO_E_VERSION (only @version is
 * filled in: Linux 7.2 ignores the blob, with a warning); -KHO_E_FORMAT (the release does not end).
 */
int khoc_metadata_read(struct khoc_metadata *metadata, const struct khoc_mem *mem, kho_pa_t pa,
		       __u64 size, struct khoc_report *report);

#endif
