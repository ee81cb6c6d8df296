/* SPDX-License-Identifier: GPL-2.0-only */
/* What this kernel reads and writes, as an ELF note of vmlinux, and for ourselves. */
#include <linux/kho/formats.S>

	.section .note.kho, "a", @note
	.balign	4
	.globl	kho_formats
kho_formats:
	kho_formats_note
	.globl	kho_formats_end
kho_formats_end:
