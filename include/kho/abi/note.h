/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * ELF notes: what a program says of its formats before it is started. docs/abi.md, "ELF notes".
 *
 * Section .note.kho, segments PT_NOTE. They are advice: a program may be started with other
 * formats than it was built with, and a shared library is another file. What binds is HELLO.
 */
#ifndef KHO_ABI_NOTE_H
#define KHO_ABI_NOTE_H

#include <kho/abi/format.h>
#include <kho/abi/layout.h>
#include <kho/types.h>

#define KHO_ABI_NOTE_SECTION ".note.kho"
#define KHO_ABI_NOTE_OWNER "KHO"

/* What a note is about; all are followed by struct kho_abi_format records, at least one. */
enum kho_abi_note_type {
	KHO_ABI_NOTE_FORMATS = 1, /* the application's formats: all notes of a file together */
	KHO_ABI_NOTE_LIBRARY = 2, /* those of the library that the file contains */
	KHO_ABI_NOTE_BUILT_WITH = 3, /* those of the headers that it was compiled with */
	KHO_ABI_NOTE_KERNEL = 4, /* a kernel's: <kho/abi/kernel_info.h> */
};

/**
 * struct kho_abi_note - head of a note
 * @name_size: 4, with the NUL
 * @size: bytes of records that follow
 * @type: enum kho_abi_note_type
 * @name: KHO_ABI_NOTE_OWNER
 */
struct kho_abi_note {
	__u32 name_size;
	__u32 size;
	__u32 type;
	char name[4];
};

KHO_ABI_SIZE(struct kho_abi_note, 16);
KHO_ABI_OFFSET(struct kho_abi_note, name_size, 0);
KHO_ABI_OFFSET(struct kho_abi_note, size, 4);
KHO_ABI_OFFSET(struct kho_abi_note, type, 8);
KHO_ABI_OFFSET(struct kho_abi_note, name, 12);

#endif
