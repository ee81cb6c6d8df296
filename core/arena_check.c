/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The arena's header: where an arena of a size keeps what, and whether a header says so. */
#include "mem.h"

/* Keys of one page size: a leaf of order 0 covers this much. */
#define LEAF_COVERS (128ULL << 20)
/* Checked words hold 48 bits, and an address space has 47. */
#define MAX_MAX_SIZE (1ULL << 47)
/* Room that must be left for what is handed out. */
#define MIN_DATA (64ULL << 10)

/* @align is a power of two */
static u64 align_up(u64 x, u64 align)
{
	return (x + align - 1) & ~(align - 1);
}

int khoc_arena_geometry(u64 max_size, struct kho_abi_arena_header *header)
{
	bool small = max_size < LEAF_COVERS;
	u64 leaves, nodes, descs;

	if (max_size & ((small ? KHO_ABI_ARENA_PAGE_SIZE : LEAF_COVERS) - 1) ||
	    max_size > MAX_MAX_SIZE)
		return -EINVAL;
	leaves = (max_size + LEAF_COVERS - 1) / LEAF_COVERS;
	nodes = 2 * leaves + KHO_ABI_ARENA_NODES_EXTRA;
	descs = max_size / KHO_ABI_ARENA_PAGE_SIZE * sizeof(kho_abi_desc_t);
	header->nodes_pa = align_up(KHO_ABI_FIXED_END, 0x10000);
	header->descs_pa = header->nodes_pa + nodes * KHO_ABI_ARENA_PAGE_SIZE;
	header->data_pa = align_up(header->descs_pa + descs, small ? 0x10000 : 0x200000);
	header->tree_root_pa = header->nodes_pa;
	header->max_size = max_size;
	return max_size < header->data_pa + MIN_DATA ? -EINVAL : 0;
}

/* Fault of field @f of the header: its value against @limit. */
#define HEADER_FAULT(fault, f, limit)                                                              \
	report_fault(report, fault, KHOC_S_ARENA_HEADER, -1,                                       \
		     offsetof(struct kho_abi_arena_header, f), header->f, limit, #f)

/* What says whether the rest can be read. */
static int check_identity(const struct kho_abi_arena_header *header, size_t len,
			  struct khoc_report *report)
{
	const u32 crc_at = offsetof(struct kho_abi_arena_header, crc);
	u32 crc;

	if (len < sizeof(*header))
		return report_fault(report, KHO_E_TRUNCATED, KHOC_S_ARENA_HEADER, -1, 0, len,
				    sizeof(*header), "header");
	if (header->magic != KHO_ABI_ARENA_MAGIC)
		return HEADER_FAULT(KHO_E_MAGIC, magic, KHO_ABI_ARENA_MAGIC);
	if (header->header_size < sizeof(*header))
		return HEADER_FAULT(KHO_E_RANGE, header_size, sizeof(*header));
	if (header->header_size > KHO_ABI_ARENA_PAGE_SIZE)
		return HEADER_FAULT(KHO_E_RANGE, header_size, KHO_ABI_ARENA_PAGE_SIZE);
	if (header->version != KHO_ABI_ARENA_VERSION)
		return HEADER_FAULT(KHO_E_VERSION, version, KHO_ABI_ARENA_VERSION);
	if (header->features_incompat)
		return HEADER_FAULT(KHO_E_VERSION, features_incompat, 0);
	crc = khoc_crc32c(0, header, crc_at);
	if (header->crc != crc)
		return HEADER_FAULT(KHO_E_CHECKSUM, crc, crc);
	return 0;
}

static int check_geometry(const struct kho_abi_arena_header *header, u64 file_size,
			  struct khoc_report *report)
{
	struct kho_abi_arena_header want;

	if (header->page_shift != KHO_ABI_ARENA_PAGE_SHIFT)
		return HEADER_FAULT(KHO_E_INCOMPATIBLE, page_shift, KHO_ABI_ARENA_PAGE_SHIFT);
	if (header->pad)
		return HEADER_FAULT(KHO_E_FORMAT, pad, 0);
	for (size_t i = 0; i < sizeof(header->reserved); i++)
		if (header->reserved[i])
			return report_fault(report, KHO_E_FORMAT, KHOC_S_ARENA_HEADER, -1,
					    offsetof(struct kho_abi_arena_header, reserved) + i,
					    header->reserved[i], 0, "reserved");
	if (khoc_arena_geometry(header->max_size, &want))
		return HEADER_FAULT(KHO_E_RANGE, max_size, MAX_MAX_SIZE);
	if (header->base & (KHO_ABI_ARENA_PAGE_SIZE - 1))
		return HEADER_FAULT(KHO_E_ALIGN, base, KHO_ABI_ARENA_PAGE_SIZE);
	if (!header->base || !mem_inside(MAX_MAX_SIZE, header->base, header->max_size))
		return HEADER_FAULT(KHO_E_RANGE, base, MAX_MAX_SIZE);
	if (header->nodes_pa != want.nodes_pa)
		return HEADER_FAULT(KHO_E_RANGE, nodes_pa, want.nodes_pa);
	if (header->descs_pa != want.descs_pa)
		return HEADER_FAULT(KHO_E_RANGE, descs_pa, want.descs_pa);
	if (header->data_pa != want.data_pa)
		return HEADER_FAULT(KHO_E_RANGE, data_pa, want.data_pa);
	if (header->tree_root_pa != want.tree_root_pa)
		return HEADER_FAULT(KHO_E_RANGE, tree_root_pa, want.tree_root_pa);
	if (file_size & (KHO_ABI_ARENA_PAGE_SIZE - 1))
		return report_fault(report, KHO_E_ALIGN, KHOC_S_ARENA_HEADER, -1, 0, file_size,
				    KHO_ABI_ARENA_PAGE_SIZE, "file size");
	if (file_size < header->data_pa)
		return report_fault(report, KHO_E_TRUNCATED, KHOC_S_ARENA_HEADER, -1, 0, file_size,
				    header->data_pa, "file size");
	if (file_size > header->max_size)
		return report_fault(report, KHO_E_RANGE, KHOC_S_ARENA_HEADER, -1, 0, file_size,
				    header->max_size, "file size");
	return 0;
}

static int check_words(const struct kho_abi_arena_header *header, struct khoc_report *report)
{
	u64 fdt, generation, state;

	if (khoc_cword_get(khoc_load(&header->root_fdt),
			   offsetof(struct kho_abi_arena_header, root_fdt), &fdt))
		return HEADER_FAULT(KHO_E_CHECKSUM, root_fdt, 0);
	if (khoc_cword_get(khoc_load(&header->generation),
			   offsetof(struct kho_abi_arena_header, generation), &generation))
		return HEADER_FAULT(KHO_E_CHECKSUM, generation, 0);
	if (khoc_cword_get(khoc_load(&header->state), offsetof(struct kho_abi_arena_header, state),
			   &state))
		return HEADER_FAULT(KHO_E_CHECKSUM, state, 0);
	if (fdt != KHO_ABI_FDT_SLOT_PA && fdt != KHO_ABI_FDT_SLOT_PA + KHO_ABI_FDT_SLOT_SIZE)
		return report_fault(report, KHO_E_RANGE, KHOC_S_ARENA_HEADER, -1,
				    offsetof(struct kho_abi_arena_header, root_fdt), fdt,
				    KHO_ABI_FDT_SLOT_PA + KHO_ABI_FDT_SLOT_SIZE, "root_fdt");
	if (state < KHO_ABI_STATE_RUNNING || state > KHO_ABI_STATE_EXEC)
		return report_fault(report, KHO_E_STATE, KHOC_S_ARENA_HEADER, -1,
				    offsetof(struct kho_abi_arena_header, state), state,
				    KHO_ABI_STATE_EXEC, "state");
	return 0;
}

int khoc_arena_check(const struct kho_abi_arena_header *header, size_t len, u64 file_size,
		     struct khoc_report *report)
{
	int err;

	report_clear(report);
	err = check_identity(header, len, report);
	if (!err)
		err = check_geometry(header, file_size, report);
	if (!err)
		err = check_words(header, report);
	return err;
}
