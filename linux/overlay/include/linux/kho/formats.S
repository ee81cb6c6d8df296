/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What this kernel reads and writes of a handover: the one list, as macros that write it.
 * kho/abi/kernel_info.h describes the bytes.
 */
#include <linux/kho/abi/formats.h>

/* A record: the versions that are read, and the one that is written. */
.macro kho_format name:req, min:req, max:req, writes:req, flags=0
.Lkho_record\@:
	.ascii	"\name"
	.zero	32 - (. - .Lkho_record\@)
	.4byte	\min, \max, \writes, 0, \flags
.endm

/* The list, as an ELF note of type 4. Names ascend in the order of strcmp(). */
.macro kho_formats_note
	.4byte	4, .Lkho_end\@ - .Lkho_records\@, 4
	.asciz	"KHO"
.Lkho_records\@:
	kho_format "array", KHO_ARRAY_VERSION, KHO_ARRAY_VERSION, KHO_ARRAY_VERSION, KHO_FORMAT_PART
	kho_format "block", KHO_BLOCK_VERSION, KHO_BLOCK_VERSION, KHO_BLOCK_VERSION
	kho_format "kexec-metadata", KHO_METADATA_VERSION, KHO_METADATA_VERSION, \
		KHO_METADATA_VERSION, KHO_FORMAT_OPTIONAL
	kho_format "kho", KHO_FDT_VERSION, KHO_FDT_VERSION, KHO_FDT_VERSION
#ifdef CONFIG_LIVEUPDATE
	kho_format "luo", KHO_LUO_VERSION, KHO_LUO_VERSION, KHO_LUO_VERSION
#endif
	kho_format "memblock", KHO_MEMBLOCK_VERSION, KHO_MEMBLOCK_VERSION, KHO_MEMBLOCK_VERSION
#ifdef CONFIG_LIVEUPDATE_MEMFD
	kho_format "memfd", KHO_MEMFD_VERSION, KHO_MEMFD_VERSION, KHO_MEMFD_VERSION
#endif
	kho_format "radix", KHO_RADIX_VERSION, KHO_RADIX_VERSION, KHO_RADIX_VERSION
	kho_format "slab", KHO_SLAB_VERSION, KHO_SLAB_VERSION, KHO_SLAB_VERSION, KHO_FORMAT_PART
#ifdef CONFIG_LIVEUPDATE_MEMFD
	kho_format "sparsefd", KHO_SPARSEFD_VERSION, KHO_SPARSEFD_VERSION, \
		KHO_SPARSEFD_VERSION, KHO_FORMAT_PART
#endif
	kho_format "types", KHO_TYPES_VERSION, KHO_TYPES_VERSION, KHO_TYPES_VERSION, \
		KHO_FORMAT_OPTIONAL
	kho_format "vmalloc", KHO_VMALLOC_VERSION, KHO_VMALLOC_VERSION, KHO_VMALLOC_VERSION
.Lkho_end\@:
.endm
