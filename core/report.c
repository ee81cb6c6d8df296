/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Texts of reports. */
#include "mem.h"

static const char *const fault_texts[KHO_E_MAX - KHO_E_TRUNCATED] = {
	[KHO_E_TRUNCATED - KHO_E_TRUNCATED] = "a structure ends outside the bytes that there are",
	[KHO_E_MAGIC - KHO_E_TRUNCATED] = "not this structure at all",
	[KHO_E_VERSION - KHO_E_TRUNCATED] = "a version or feature that this reader does not know",
	[KHO_E_CHECKSUM - KHO_E_TRUNCATED] = "a checksum does not match",
	[KHO_E_ALIGN - KHO_E_TRUNCATED] = "an address that must be aligned is not",
	[KHO_E_RANGE - KHO_E_TRUNCATED] = "an address or count is outside its limits",
	[KHO_E_CYCLE - KHO_E_TRUNCATED] = "a node is reached twice",
	[KHO_E_KEY - KHO_E_TRUNCATED] = "a tree key that no block of this image can have",
	[KHO_E_OVERLAP - KHO_E_TRUNCATED] = "preserved memory overlaps memory that must not be",
	[KHO_E_FORMAT - KHO_E_TRUNCATED] =
		"a token, name, property or field that the format forbids",
	[KHO_E_DUPLICATE - KHO_E_TRUNCATED] = "one name is there twice",
	[KHO_E_INCOMPATIBLE - KHO_E_TRUNCATED] =
		"well formed, but of a format that this reader does not take",
	[KHO_E_TYPE - KHO_E_TRUNCATED] = "a block is not of the type asked for",
	[KHO_E_ORDER - KHO_E_TRUNCATED] =
		"a block is not of the order asked for, or two records of it disagree",
	[KHO_E_NOT_PRESERVED - KHO_E_TRUNCATED] = "nothing is preserved there",
	[KHO_E_CLAIMED - KHO_E_TRUNCATED] = "it was restored before",
	[KHO_E_STATE - KHO_E_TRUNCATED] = "an object is in a state that the format does not have",
};

static const char *const structure_texts[KHOC_S_MAX] = {
	[KHOC_S_NONE] = "none",
	[KHOC_S_ARENA_HEADER] = "arena header",
	[KHOC_S_ROOT_FDT] = "root FDT",
	[KHOC_S_SUBTREE] = "subtree",
	[KHOC_S_RADIX_TABLE] = "tree table",
	[KHOC_S_RADIX_LEAF] = "tree leaf",
	[KHOC_S_DESC] = "page descriptor",
	[KHOC_S_SLAB] = "slab",
	[KHOC_S_LARGE] = "large object",
	[KHOC_S_INTENT] = "intent record",
	[KHOC_S_CELL] = "cell",
	[KHOC_S_OWNER] = "owner record",
	[KHOC_S_METADATA] = "kexec-metadata",
	[KHOC_S_VMALLOC] = "vmalloc descriptor",
	[KHOC_S_VMALLOC_CHUNK] = "vmalloc chunk",
	[KHOC_S_BLOCK] = "block",
	[KHOC_S_LUO] = "LUO header",
	[KHOC_S_LUO_SESSION] = "LUO session",
	[KHOC_S_LUO_FILE] = "LUO file",
	[KHOC_S_LUO_FLB] = "LUO FLB page",
	[KHOC_S_MEMFD] = "memfd",
	[KHOC_S_RESERVE_MEM] = "reserve_mem FDT",
	[KHOC_S_CACHE] = "slab cache",
	[KHOC_S_ARRAY] = "array",
	[KHOC_S_ARRAY_NODE] = "array node",
	[KHOC_S_SCRATCH] = "scratch table",
	[KHOC_S_KERNEL_INFO] = "kernel_info",
	[KHOC_S_FORMATS] = "list of formats",
	[KHOC_S_TYPES] = "block types",
};

const char *khoc_fault_text(int fault)
{
	if (!fault)
		return "no fault";
	if (fault < KHO_E_TRUNCATED || fault >= KHO_E_MAX)
		return "unknown fault";
	return fault_texts[fault - KHO_E_TRUNCATED];
}

const char *khoc_structure_text(int structure)
{
	if (structure < 0 || structure >= KHOC_S_MAX)
		return "unknown structure";
	return structure_texts[structure];
}
