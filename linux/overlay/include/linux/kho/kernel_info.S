/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The chunk of x86's kernel_info that says what this kernel reads and writes of a handover, for
 * whoever has the image and does not run it. For kernel_info.S alone, behind its fixed part.
 */
#include <linux/kho/formats.S>

#ifdef CONFIG_KEXEC_HANDOVER
kho_formats_chunk:
	.ascii	"KHOF"
	.4byte	kho_formats_chunk_end - kho_formats_chunk
	kho_formats_note
kho_formats_chunk_end:
#endif
