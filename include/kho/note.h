/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What a program reads and writes, as a note in its ELF file, so that a hand-over to a
 * program that cannot take it is refused before that is even started.
 *
 *	#define FORMATS {"mycache", 1, 2, 2, 1, 0}, {"myhints", 1, 1, 1, 0, KHO_FORMAT_OPTIONAL}
 *
 *	static const struct kho_format formats[] = {FORMATS};
 *	KHO_FORMATS_NOTE(FORMATS);
 *
 * Every program that includes <kho/host.h> has a note of the library's formats; nothing is to be
 * done for it.
 */
#ifndef KHO_NOTE_H
#define KHO_NOTE_H

#include <stdbool.h>
#include <stddef.h>

#include <kho/abi/note.h>
#include <kho/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

/**
 * KHO_FORMATS_NOTE() - put formats into the program's note
 * @...: initialisers of struct kho_format, of constants, each name a string literal
 *
 * At file scope; any number of times in a program, at most once a line of a file.
 */
#define KHO_FORMATS_NOTE(...)                                                                      \
	KHO_NOTE_SECTION_(KHO_ABI_NOTE_FORMATS, KHO_NOTE_NAME_(kho_note_, __LINE__), __VA_ARGS__)

#define KHO_NOTE_SIZE_(...) sizeof((const struct kho_abi_format[]){__VA_ARGS__})
#define KHO_NOTE_NAME_(a, b) KHO_NOTE_NAME2_(a, b)
#define KHO_NOTE_NAME2_(a, b) a##b
#define KHO_NOTE_SECTION_(type, symbol, ...)                                                       \
	static const struct {                                                                      \
		struct kho_abi_note head;                                                          \
		struct kho_abi_format                                                              \
			formats[KHO_NOTE_SIZE_(__VA_ARGS__) / sizeof(struct kho_abi_format)];      \
	} symbol __attribute__((section(KHO_ABI_NOTE_SECTION), used, aligned(4))) = {              \
		{4, KHO_NOTE_SIZE_(__VA_ARGS__), type, KHO_ABI_NOTE_OWNER}, {__VA_ARGS__}}

/* At most so many formats of one file are read. */
#define KHO_NOTE_FORMATS_MAX 128

/* One format that a file's notes tell of. */
struct kho_note_format {
	__u32 type; /* enum kho_abi_note_type */
	struct kho_abi_format format;
};

/**
 * kho_note_read() - the notes of an ELF file
 * @fd: open for reading; its offset is not used
 * @formats: room for KHO_NOTE_FORMATS_MAX
 *
 * The file is untrusted: every step is bounded, and what is returned is well formed. A file that
 * is no ELF file of 64 bits and this byte order has none of our notes.
 *
 * Return: how many formats, 0 if there is no note; -KHO_E_TRUNCATED, -KHO_E_RANGE,
 * -KHO_E_FORMAT; -EIO and other errors of pread().
 */
int kho_note_read(int fd, struct kho_note_format *formats);

/**
 * kho_note_check() - by their notes, may the program of @successor follow that of @predecessor?
 *
 * Lists are compared that both have, as they would be in a hand-over. What a file was merely compiled
 * with is not held against it.
 *
 * Return: 0; -KHO_E_INCOMPATIBLE, kho_error() names format and versions; errors of kho_note_read().
 */
int kho_note_check(int predecessor, int successor);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

/*
 * The library's formats as these headers have them: once in a program, however many files include
 * this (hence the group). A program with a shared library has no other note of them.
 */
#define KHO_NOTE_RECORD_(name, min, max, writes, flags)                                            \
	"771:\n\t.ascii " #name "\n\t.zero 32-(.-771b)\n\t.4byte " #min "," #max "," #writes       \
	",0," KHO_NOTE_TEXT_(flags) "\n\t"
#define KHO_NOTE_TEXT_(macro) #macro

__asm__(".pushsection .note.kho,\"aG\",%note,kho_note_built_with,comdat\n\t"
	".balign 4\n\t"
	".4byte 4,773f-772f,3\n\t"
	".asciz \"KHO\"\n"
	"772:\n\t" KHO_ABI_LIBRARY_FORMATS(KHO_NOTE_RECORD_) "\n"
							     "773:\n\t"
							     ".popsection");

#endif
