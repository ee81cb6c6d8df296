/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Any flattened device tree, token by token.
 *
 *	block		one of the FDT's three parts: reservations, structure, strings
 *	offset, at	bytes from the FDT's start
 */
#include "mem.h"

/* The header's words that count, all big-endian, by their offset. */
enum {
	MAGIC = 0,
	TOTALSIZE = 4,
	OFF_STRUCT = 8,
	OFF_STRINGS = 12,
	OFF_RESERVED = 16,
	VERSION = 20,
	LAST_COMP = 24,
	SIZE_STRINGS = 32,
	SIZE_STRUCT = 36,
	HEADER_SIZE = 40,
};

enum {
	MAGIC_VALUE = 0xd00dfeed,
	/*
	 * The version that is read: the first whose header has the structure's size, and the last.
	 */
	VERSION_VALUE = 17,
	/* No FDT is larger: its readers count in ints. */
	SIZE_MAX_VALUE = 0x7fffffff,
};

static u32 be32(const u8 *p)
{
	return (u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | p[3];
}

khoc_noinline int fault(const struct khoc_fdt *fdt, struct khoc_report *report, int code, u32 at,
			u64 value, u64 limit, const char *field)
{
	return report_fault(report, code, fdt->structure, -1, fdt->addr + at, value, limit, field);
}

/* A block: aligned, behind the header, and inside. @size is 0 where the header does not say. */
static int check_block(const struct khoc_fdt *fdt, struct khoc_report *report, u32 off_at,
		       u32 align, u32 size_at, u32 size, const char *off_name,
		       const char *size_name)
{
	u32 off = be32(fdt->bytes + off_at);

	if (off & (align - 1))
		return fault(fdt, report, KHO_E_ALIGN, off_at, off, align, off_name);
	if (off < HEADER_SIZE)
		return fault(fdt, report, KHO_E_RANGE, off_at, off, HEADER_SIZE, off_name);
	if (off > fdt->total)
		return fault(fdt, report, KHO_E_RANGE, off_at, off, fdt->total, off_name);
	if (size > fdt->total - off)
		return fault(fdt, report, KHO_E_TRUNCATED, size_at, size, fdt->total - off,
			     size_name);
	return 0;
}

static int check_identity(struct khoc_fdt *fdt, size_t size, struct khoc_report *report)
{
	const u8 *bytes = fdt->bytes;
	u32 version, last_comp;

	if (size < HEADER_SIZE)
		return fault(fdt, report, KHO_E_TRUNCATED, 0, size, HEADER_SIZE, "header");
	if (be32(bytes + MAGIC) != MAGIC_VALUE)
		return fault(fdt, report, KHO_E_MAGIC, 0, be32(bytes + MAGIC), MAGIC_VALUE,
			     "magic");
	version = be32(bytes + VERSION);
	last_comp = be32(bytes + LAST_COMP);
	if (version < VERSION_VALUE)
		return fault(fdt, report, KHO_E_VERSION, VERSION, version, VERSION_VALUE,
			     "version");
	if (last_comp > VERSION_VALUE)
		return fault(fdt, report, KHO_E_VERSION, LAST_COMP, last_comp, VERSION_VALUE,
			     "last_comp_version");
	fdt->total = be32(bytes + TOTALSIZE);
	if (fdt->total < HEADER_SIZE)
		return fault(fdt, report, KHO_E_RANGE, TOTALSIZE, fdt->total, HEADER_SIZE,
			     "totalsize");
	if (fdt->total > SIZE_MAX_VALUE)
		return fault(fdt, report, KHO_E_RANGE, TOTALSIZE, fdt->total, SIZE_MAX_VALUE,
			     "totalsize");
	if (fdt->total > size)
		return fault(fdt, report, KHO_E_TRUNCATED, TOTALSIZE, fdt->total, size,
			     "totalsize");
	return 0;
}

int khoc_fdt_init(struct khoc_fdt *fdt, const void *bytes, size_t size, kho_pa_t addr,
		  int structure, struct khoc_report *report)
{
	u32 size_struct;
	int err;

	report_clear(report);
	*fdt = (struct khoc_fdt){.bytes = bytes, .addr = addr, .structure = structure};
	err = check_identity(fdt, size, report);
	if (err)
		return err;
	size_struct = be32(fdt->bytes + SIZE_STRUCT);
	fdt->at = be32(fdt->bytes + OFF_STRUCT);
	fdt->end = fdt->at + size_struct;
	fdt->reserved = be32(fdt->bytes + OFF_RESERVED);
	fdt->strings = be32(fdt->bytes + OFF_STRINGS);
	fdt->strings_size = be32(fdt->bytes + SIZE_STRINGS);
	err = check_block(fdt, report, OFF_RESERVED, 8, 0, 0, "off_mem_rsvmap", "");
	if (!err)
		err = check_block(fdt, report, OFF_STRUCT, 4, SIZE_STRUCT, size_struct,
				  "off_dt_struct", "size_dt_struct");
	if (!err)
		err = check_block(fdt, report, OFF_STRINGS, 1, SIZE_STRINGS, fdt->strings_size,
				  "off_dt_strings", "size_dt_strings");
	if (!err && fdt->strings_size)
		fdt->strings_end = !fdt->bytes[fdt->strings + fdt->strings_size - 1];
	return err;
}

/* Pairs of 8 bytes up to one that is 0, 0. */
int khoc_fdt_check_reserved(const struct khoc_fdt *fdt, struct khoc_report *report)
{
	for (u32 at = fdt->reserved;; at += 16) {
		u8 any = 0;

		if (fdt->total - at < 16)
			return fault(fdt, report, KHO_E_TRUNCATED, at, 16, fdt->total - at,
				     "mem_rsvmap");
		for (int i = 0; i < 16; i++)
			any |= fdt->bytes[at + i];
		if (!any)
			return 0;
	}
}

/* A property at @at, behind its token. */
static int next_prop(struct khoc_fdt *fdt, struct khoc_fdt_item *item, u32 at,
		     struct khoc_report *report)
{
	u32 left = fdt->end - at, name, len;

	if (left < 8)
		return fault(fdt, report, KHO_E_TRUNCATED, at, 8, left, "property");
	len = be32(fdt->bytes + at);
	name = be32(fdt->bytes + at + 4);
	left -= 8;
	/* The value is padded to 4 bytes; @left is a number below 2^31. */
	if (len > left || ((len + 3) & ~3U) > left)
		return fault(fdt, report, KHO_E_TRUNCATED, at, len, left, "property length");
	if (name >= fdt->strings_size)
		return fault(fdt, report, KHO_E_RANGE, at + 4, name, fdt->strings_size,
			     "property name");
	item->name = (const char *)fdt->bytes + fdt->strings + name;
	if (!fdt->strings_end && !memchr(item->name, 0, fdt->strings_size - name))
		return fault(fdt, report, KHO_E_TRUNCATED, at + 4, name, fdt->strings_size,
			     "property name");
	item->value_at = at + 8;
	item->len = len;
	fdt->at = at + 8 + ((len + 3) & ~3U);
	return 0;
}

/* A node at @at, behind its token. */
static int next_begin(struct khoc_fdt *fdt, struct khoc_fdt_item *item, u32 at,
		      struct khoc_report *report)
{
	u32 left = fdt->end - at, len;

	item->name = (const char *)fdt->bytes + at;
	len = (u32)strnlen(item->name, left);
	/* The name with its NUL, which is not there if @len is @left, is padded to 4 bytes. */
	if (((len + 4) & ~3U) > left)
		return fault(fdt, report, KHO_E_TRUNCATED, at, len, left, "name");
	item->name_len = len;
	fdt->at = at + ((len + 4) & ~3U);
	return 0;
}

int khoc_fdt_next(struct khoc_fdt *fdt, struct khoc_fdt_item *item, struct khoc_report *report)
{
	u32 at = fdt->at, token;

	item->name = "";
	item->name_len = item->value_at = item->len = 0;
	do {
		item->at = at;
		if (fdt->end - at < 4)
			return fault(fdt, report, KHO_E_TRUNCATED, at, 4, fdt->end - at, "token");
		item->token = token = be32(fdt->bytes + at);
		at += 4;
	} while (token == KHOC_FDT_NOP);
	fdt->at = at;
	if (token == KHOC_FDT_PROP)
		return next_prop(fdt, item, at, report);
	if (token == KHOC_FDT_BEGIN)
		return next_begin(fdt, item, at, report);
	if (token == KHOC_FDT_END_NODE || token == KHOC_FDT_END)
		return 0;
	return fault(fdt, report, KHO_E_FORMAT, item->at, token, 0, "token");
}

bool khoc_fdt_has_node(const struct khoc_fdt *fdt, u32 from, u32 to, const char *name)
{
	while (from < to) {
		u32 token = be32(fdt->bytes + from);

		from += 4;
		if (token == KHOC_FDT_PROP) {
			from += 8 + ((be32(fdt->bytes + from) + 3) & ~3U);
		} else if (token == KHOC_FDT_BEGIN) {
			const char *other = (const char *)fdt->bytes + from;

			if (!strcmp(other, name))
				return true;
			from += ((u32)strlen(other) + 4) & ~3U;
		}
	}
	return false;
}

bool khoc_fdt_named(const struct khoc_fdt_item *item, const char *name)
{
	return !strcmp(item->name, name); /* no further than @name */
}

__u64 khoc_fdt_u64(const struct khoc_fdt *fdt, const struct khoc_fdt_item *item)
{
	u64 value;

	memcpy(&value, fdt->bytes + item->value_at, sizeof(value));
	return value;
}

bool khoc_fdt_lists(const struct khoc_fdt *fdt, const struct khoc_fdt_item *item,
		    const char *string)
{
	const char *list = (const char *)fdt->bytes + item->value_at;
	size_t len = strlen(string) + 1;

	for (u32 pos = 0; pos < item->len;) {
		u32 part = (u32)strnlen(list + pos, item->len - pos) + 1;

		if (part == len && pos + part <= item->len && !memcmp(list + pos, string, len))
			return true;
		pos += part;
	}
	return false;
}
