/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What a kernel reads and writes, by its own list: found in a bzImage, checked, and held against
 * what is there to be read. The bytes are <kho/abi/kernel_info.h>'s, and untrusted.
 *
 *	khoc_kernel_image(&new, bzimage, size, &report)		a bzImage; or khoc_kernel_note()
 *	khoc_kernel_writes(&old, string, sizeof(string))	all that the old kernel may hand over
 *	khoc_kernel_match(&new, string, sizeof(string), &why)	could the new one read that?
 *	khoc_compat_text(&why, text, sizeof(text))		no: why
 */
#ifndef KHO_CORE_KERNEL_INFO_H
#define KHO_CORE_KERNEL_INFO_H

#include <stdbool.h>
#include <stddef.h>

#include <kho/abi/kernel_info.h>
#include <kho/core/compat.h>
#include <kho/core/report.h>
#include <kho/types.h>

/**
 * struct khoc_kernel_formats - a list that was checked
 * @records: points into the bytes that it was found in; at any address
 * @nr: how many
 */
struct khoc_kernel_formats {
	const char *records;
	unsigned int nr;
};

/**
 * khoc_kernel_note() - a list: an ELF note of type KHO_ABI_NOTE_KERNEL
 * @bytes, @size: the note and nothing else; at any address
 * @at: where that is, for the report
 *
 * Return: 0; -KHO_E_TRUNCATED, -KHO_E_MAGIC (another note), -KHO_E_FORMAT, -KHO_E_RANGE,
 * -KHO_E_DUPLICATE; @report, if not NULL, explains.
 */
int khoc_kernel_note(struct khoc_kernel_formats *formats, const void *bytes, size_t size, __u64 at,
		     struct khoc_report *report);

/**
 * khoc_kernel_list() - the same without the note's head: records alone
 * @records, @size: struct kho_abi_format, one behind the other; at any address
 *
 * For who has read the notes of an ELF file already.
 *
 * Return: as khoc_kernel_note().
 */
int khoc_kernel_list(struct khoc_kernel_formats *formats, const void *records, size_t size,
		     __u64 at, struct khoc_report *report);

/**
 * khoc_kernel_image() - the list in a bzImage
 * @image, @size: the whole file; at any address
 *
 * Looks at the boot header, at kernel_info, and at nothing else.
 *
 * Return: 0; -ENOENT: a bzImage without a list, as Linux's own is; -KHO_E_MAGIC in structure
 * KHOC_S_NONE: no bzImage; other faults: its kernel_info or its list is damaged. Addresses in
 * @report are offsets in the file.
 */
int khoc_kernel_image(struct khoc_kernel_formats *formats, const void *image, size_t size,
		      struct khoc_report *report);

/* What Linux 7.2 reads and writes, which has no list. */
const struct khoc_kernel_formats *khoc_kernel_linux(void);

/* Record @i of a list, which has more than @i. */
void khoc_kernel_format(const struct khoc_kernel_formats *formats, unsigned int i,
			struct kho_abi_format *format);

/* Find a record by name. Return: 0, -ENOENT. */
int khoc_kernel_find(const struct khoc_kernel_formats *formats, const char *name,
		     struct kho_abi_format *format);

/**
 * khoc_kernel_writes() - all that a kernel may hand over, as a compatibility string
 * @to, @size: where to; KHO_ABI_COMPAT_MAX bytes are enough
 *
 * Base "kho", and a part for each record that is written and is not KHO_ABI_FORMAT_PART: those are there
 * only if they are used. KHO_ABI_FORMAT_OPTIONAL makes an optional part.
 *
 * Return: bytes, a multiple of 8; -ENOSPC; -EINVAL: it writes no handovers.
 */
int khoc_kernel_writes(const struct khoc_kernel_formats *formats, char *to, size_t size);

/**
 * khoc_kernel_match() - could a kernel read this?
 * @formats: the kernel's list
 * @string, @size: what there is, as a compatibility string
 *
 * Return: as khoc_compat_match().
 */
int khoc_kernel_match(const struct khoc_kernel_formats *formats, const char *string, size_t size,
		      struct khoc_compat_why *why);

#endif
