/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Reading who handed over. */
#include "mem.h"

static int fault(struct khoc_report *report, int code, u64 addr, u64 value, u64 limit,
		 const char *field)
{
	return report_fault(report, code, KHOC_S_METADATA, -1, addr, value, limit, field);
}

int khoc_metadata_read(struct khoc_metadata *metadata, const struct khoc_mem *mem, kho_pa_t pa,
		       __u64 size, struct khoc_report *report)
{
	struct kho_abi_metadata blob = {0};
	size_t len = size < sizeof(blob) ? (size_t)size : sizeof(blob);
	const void *bytes;

	report_clear(report);
	*metadata = (struct khoc_metadata){0};
	/*
	 * The version says how long the rest is: it has to be there, as Linux sees it, before
	 * anything else.
	 */
	if (len < sizeof(blob.version))
		return fault(report, KHO_E_TRUNCATED, pa, size, sizeof(blob), "version");
	bytes = khoc_map(mem, pa, len);
	if (!bytes)
		return fault(report, KHO_E_RANGE, pa, pa, khoc_load(&mem->size), "version");
	memcpy(&blob, bytes, len);
	metadata->version = blob.version;
	if (blob.version != KHO_ABI_METADATA_VERSION)
		return fault(report, KHO_E_VERSION, pa, blob.version, KHO_ABI_METADATA_VERSION,
			     "version");
	if (len < sizeof(blob))
		return fault(report, KHO_E_TRUNCATED, pa, size, sizeof(blob), "kexec_count");
	memcpy(metadata->release, blob.previous_release, sizeof(blob.previous_release));
	metadata->release_len = (u32)strlen(metadata->release);
	metadata->count = blob.kexec_count;
	if (metadata->release_len == KHO_ABI_METADATA_RELEASE_LEN)
		return fault(report, KHO_E_FORMAT,
			     pa + offsetof(struct kho_abi_metadata, previous_release),
			     metadata->release_len, KHO_ABI_METADATA_RELEASE_LEN,
			     "previous_release");
	return 0;
}
