/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Compatibility strings: taken apart, put together, and held part by part against what a
 * reader takes. The bytes are <kho/abi/compat.h>'s; strings that come in are untrusted.
 */
#ifndef KHO_CORE_COMPAT_H
#define KHO_CORE_COMPAT_H

#include <stdbool.h>
#include <stddef.h>

#include <kho/abi/compat.h>
#include <kho/types.h>

/**
 * struct khoc_compat_part - a base or part
 * @name: not NUL-terminated; points into the string
 * @optional: a reader may do without; never of a base
 */
struct khoc_compat_part {
	const char *name;
	__u32 name_len;
	__u32 version;
	bool optional;
};

/**
 * struct khoc_compat_reads - what a reader takes
 * @name: of the base (the first of a list) or a part, NUL-terminated
 * @min, @max: versions
 * @required: it must be there; of the base it always is
 */
struct khoc_compat_reads {
	const char *name;
	__u32 min;
	__u32 max;
	bool required;
};

enum khoc_compat_verdict {
	KHOC_COMPAT_OK,
	KHOC_COMPAT_LENGTH, /* empty, without an end, or longer than KHO_ABI_COMPAT_MAX */
	KHOC_COMPAT_SYNTAX, /* @part is not NAME-vNUMBER */
	KHOC_COMPAT_TOO_MANY, /* more than KHO_ABI_COMPAT_PARTS_MAX: @part is the first beyond */
	KHOC_COMPAT_UNSORTED, /* @part comes behind @other, before which it belongs */
	KHOC_COMPAT_TWICE, /* @part and @other have one name */
	KHOC_COMPAT_BASE, /* @part is the base, @other the name that is wanted */
	KHOC_COMPAT_UNKNOWN, /* @part is mandatory, and the reader has nothing of that name */
	KHOC_COMPAT_VERSION, /* @part has @version, the reader takes @min to @max */
	KHOC_COMPAT_MISSING, /* the reader needs @part, in @min to @max */
};

/* As much of a part as is reported: name, "-v", ten digits, "?" and a NUL. */
#define KHOC_COMPAT_PART_TEXT (KHO_ABI_COMPAT_NAME_MAX + 14)

/**
 * struct khoc_compat_why - why a string was refused
 * @at: offset of @part in the string; 0 where it has none
 * @part, @other: NUL-terminated, cut if too long; other bytes than printable ASCII are '.'
 */
struct khoc_compat_why {
	enum khoc_compat_verdict verdict;
	__u32 at;
	__u32 version;
	__u32 min;
	__u32 max;
	char part[KHOC_COMPAT_PART_TEXT];
	char other[KHOC_COMPAT_PART_TEXT];
};

/**
 * khoc_compat_check() - is this a compatibility string?
 * @string, @size: bytes that may be read; it ends at a NUL within
 * @why: may be NULL
 *
 * No byte beyond @size, or KHO_ABI_COMPAT_MAX, is looked at.
 *
 * Return: 0; -KHO_E_FORMAT, -KHO_E_RANGE (too many parts), -KHO_E_DUPLICATE.
 */
int khoc_compat_check(const char *string, size_t size, struct khoc_compat_why *why);

/**
 * khoc_compat_next() - go through base and parts
 * @pos: 0 at first, then what the last call left; the base comes first
 *
 * Return: 0; -ENOENT after the last; -KHO_E_FORMAT: not a part (of a string that
 * was not checked).
 */
int khoc_compat_next(const char *string, size_t size, size_t *pos, struct khoc_compat_part *part);

/**
 * khoc_compat_match() - can a reader read what is @string?
 * @reads, @nr: what it takes: the base first, the rest in any order
 *
 * Every mandatory part must be known in its version, every required one be there. An optional part
 * that the reader does not know, or not in that version, is passed over.
 *
 * Return: 0; as khoc_compat_check(); -KHO_E_INCOMPATIBLE.
 */
int khoc_compat_match(const char *string, size_t size, const struct khoc_compat_reads *reads,
		      unsigned int nr, struct khoc_compat_why *why);

/**
 * khoc_compat_compose() - a string of a base and parts in any order
 * @to, @size: where to; filled with zeros to the next multiple of 8
 *
 * Return: bytes, a multiple of 8; -ENOSPC; -EINVAL: names twice, too long or not names, a version 0, an
 * optional base, too many.
 */
int khoc_compat_compose(char *to, size_t size, const struct khoc_compat_part *base,
			const struct khoc_compat_part *parts, unsigned int nr);

/* What @why says, as one sentence without a full stop, cut to @size with its NUL. Return: @text. */
const char *khoc_compat_text(const struct khoc_compat_why *why, char *text, size_t size);

#endif
