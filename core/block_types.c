/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* As what the blocks of a handover were preserved: a blob with a tree for each type. */
#include "mem.h"

#include <kho/core/block_types.h>

const char *khoc_type_text(unsigned int type)
{
	static const char *const texts[KHO_ABI_TYPES] = {
		[KHO_ABI_TYPE_FOLIO] = "folio",	    [KHO_ABI_TYPE_PAGES] = "pages",
		[KHO_ABI_TYPE_SLAB] = "slab",	    [KHO_ABI_TYPE_STRUCT] = "struct",
		[KHO_ABI_TYPE_VMALLOC] = "vmalloc", [KHO_ABI_TYPE_VMALLOC_CHUNK] = "vmalloc-chunk",
	};

	return type < KHO_ABI_TYPES && texts[type] ? texts[type] : "unknown";
}

static int fault(struct khoc_report *report, int code, u64 addr, u64 value, u64 limit,
		 const char *field)
{
	return report_fault(report, code, KHOC_S_TYPES, -1, addr, value, limit, field);
}

static int read_blob(struct kho_abi_types *blob, const struct khoc_mem *mem, kho_pa_t pa, u64 size,
		     struct khoc_report *report)
{
	const void *bytes;

	if (size < sizeof(*blob))
		return fault(report, KHO_E_TRUNCATED, pa, size, sizeof(*blob), "tree");
	bytes = khoc_map(mem, pa, sizeof(*blob));
	if (!bytes)
		return fault(report, KHO_E_RANGE, pa, pa, khoc_load(&mem->size), "magic");
	memcpy(blob, bytes, sizeof(*blob));
	if (blob->magic != KHO_ABI_TYPES_MAGIC)
		return fault(report, KHO_E_MAGIC, pa, blob->magic, KHO_ABI_TYPES_MAGIC, "magic");
	if (blob->version != KHO_ABI_TYPES_VERSION)
		return fault(report, KHO_E_VERSION, pa + 4, blob->version, KHO_ABI_TYPES_VERSION,
			     "version");
	if (blob->reserved)
		return fault(report, KHO_E_FORMAT, pa + 6, blob->reserved, 0, "reserved");
	return 0;
}

int khoc_types_open(struct khoc_types *types, const struct khoc_mem *mem, unsigned int shift,
		    kho_pa_t pa, u64 size, struct khoc_report *report)
{
	struct kho_abi_types blob;
	int rc;

	report_clear(report);
	types->has = 0;
	rc = read_blob(&blob, mem, pa, size, report);
	for (unsigned int type = 0; !rc && type < KHO_ABI_TYPES; type++) {
		u64 at = pa + offsetof(struct kho_abi_types, tree) + type * 8;

		if (!blob.tree[type])
			continue;
		if (!khoc_type_has_tree(type))
			return fault(report, KHO_E_FORMAT, at, blob.tree[type], 0, "tree");
		rc = khoc_radix_attach(&types->tree[type], mem, shift, blob.tree[type]);
		if (rc <= -KHO_E_TRUNCATED)
			return fault(report, -rc, at, blob.tree[type], khoc_load(&mem->size),
				     "tree");
		types->has |= 1U << type;
	}
	return rc;
}

int khoc_types_validate(const struct khoc_types *types, const struct khoc_radix_check *check,
			struct khoc_report *report)
{
	int rc = 0;

	report_clear(report);
	for (u32 left = types->has; left && !rc; left &= left - 1)
		rc = khoc_radix_validate(&types->tree[khoc_ctz64(left)], check, report);
	return rc;
}

unsigned int khoc_types_of(const struct khoc_types *types, kho_pa_t pa, unsigned int order)
{
	for (u32 left = types->has; left; left &= left - 1)
		if (khoc_radix_test(&types->tree[khoc_ctz64(left)], pa, order))
			return khoc_ctz64(left);
	return KHO_ABI_TYPE_FOLIO;
}
