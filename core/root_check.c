/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The root FDT: a bounded walk over bytes that somebody else wrote. What passes can
 * be read with root.c, which trusts what is checked here.
 *
 *	block		one of the FDT's three parts: reservations, structure, strings
 *	offset, at	bytes from the FDT's start
 */
#include "root.h"

/* The header's ten words, all big-endian, by their offset. */
enum {
	FDT_MAGIC_AT = 0,
	FDT_TOTALSIZE = 4,
	FDT_OFF_STRUCT = 8,
	FDT_OFF_STRINGS = 12,
	FDT_OFF_RESERVED = 16,
	FDT_VERSION = 20,
	FDT_LAST_COMP = 24,
	FDT_SIZE_STRINGS = 32,
	FDT_SIZE_STRUCT = 36,
	FDT_HEADER_SIZE = 40,
};

enum {
	FDT_MAGIC_VALUE = 0xd00dfeed,
	/* The version that is read: the first whose header has the structure's size, and the last. */
	FDT_VERSION_VALUE = 17,
};

enum fdt_token {
	TOKEN_BEGIN = 1,
	TOKEN_END_NODE = 2,
	TOKEN_PROP = 3,
	TOKEN_NOP = 4,
	TOKEN_END = 9,
};

/* Properties that we know, as bits: which a node has had. */
enum {
	PROP_COMPATIBLE = 1 << 0,
	PROP_MEMORY_MAP = 1 << 1,
	PROP_DATA = 1 << 2,
	PROP_SIZE = 1 << 3,
	PROP_TYPE = 1 << 4,
	PROP_TYPE_VERSION = 1 << 5,
};

/*
 * A name whose hash is new has no namesake; only others are looked for. The largest FDT
 * of an arena has some 1,100 nodes: one in four meets another among 2048 bits.
 */
#define NAME_BITS 2048

/*
 * struct root_walk - the walk over the structure block
 * @at, @end: where it is and where the block ends, offsets
 * @strings, @strings_size: the strings block
 * @depth: nodes that are open
 * @had: properties that the root has had
 * @sub_had: and those of the subtree that is open
 * @sub_at: where the subtree that is open begins
 * @first_at: where the first subtree begins; 0 before it
 * @root_seen: the root was opened
 * @data, @size: what the subtree's properties say
 * @names: which hashes there were
 */
struct root_walk {
	const u8 *fdt;
	u64 image_size;
	kho_pa_t addr;
	struct khoc_report *report;
	u32 total;
	u32 at;
	u32 end;
	u32 strings;
	u32 strings_size;
	u32 depth;
	u32 had;
	u32 sub_had;
	u32 sub_at;
	u32 first_at;
	bool root_seen;
	u64 data;
	u64 size;
	u64 names[NAME_BITS / 64];
};

static u32 be32(const u8 *p)
{
	return (u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | p[3];
}

static int fault(struct root_walk *w, int code, u32 at, u64 value, u64 limit, const char *field)
{
	return report_fault(w->report, code, w->sub_at ? KHOC_S_SUBTREE : KHOC_S_ROOT_FDT, -1,
			    w->addr + at, value, limit, field);
}

/* ---- header ------------------------------------------------------------- */

/* A block: aligned, behind the header, and inside. @size is 0 where the header does not say. */
static int check_block(struct root_walk *w, u32 off_at, u32 align, u32 size_at, u32 size,
		       const char *off_name, const char *size_name)
{
	u32 off = be32(w->fdt + off_at);

	if (off & (align - 1))
		return fault(w, KHO_E_ALIGN, off_at, off, align, off_name);
	if (off < FDT_HEADER_SIZE)
		return fault(w, KHO_E_RANGE, off_at, off, FDT_HEADER_SIZE, off_name);
	if (off > w->total)
		return fault(w, KHO_E_RANGE, off_at, off, w->total, off_name);
	if (size > w->total - off)
		return fault(w, KHO_E_TRUNCATED, size_at, size, w->total - off, size_name);
	return 0;
}

static int check_header(struct root_walk *w, size_t size)
{
	const u8 *fdt = w->fdt;
	u32 version, last_comp;
	int err;

	if (size < FDT_HEADER_SIZE)
		return fault(w, KHO_E_TRUNCATED, 0, size, FDT_HEADER_SIZE, "header");
	if (be32(fdt + FDT_MAGIC_AT) != FDT_MAGIC_VALUE)
		return fault(w, KHO_E_MAGIC, 0, be32(fdt + FDT_MAGIC_AT), FDT_MAGIC_VALUE, "magic");
	version = be32(fdt + FDT_VERSION);
	last_comp = be32(fdt + FDT_LAST_COMP);
	if (version < FDT_VERSION_VALUE)
		return fault(w, KHO_E_VERSION, FDT_VERSION, version, FDT_VERSION_VALUE, "version");
	if (last_comp > FDT_VERSION_VALUE)
		return fault(w, KHO_E_VERSION, FDT_LAST_COMP, last_comp, FDT_VERSION_VALUE,
			     "last_comp_version");
	w->total = be32(fdt + FDT_TOTALSIZE);
	if (w->total < FDT_HEADER_SIZE)
		return fault(w, KHO_E_RANGE, FDT_TOTALSIZE, w->total, FDT_HEADER_SIZE, "totalsize");
	if (w->total > ROOT_FDT_MAX)
		return fault(w, KHO_E_RANGE, FDT_TOTALSIZE, w->total, ROOT_FDT_MAX, "totalsize");
	if (w->total > size)
		return fault(w, KHO_E_TRUNCATED, FDT_TOTALSIZE, w->total, size, "totalsize");
	w->strings = be32(fdt + FDT_OFF_STRINGS);
	w->strings_size = be32(fdt + FDT_SIZE_STRINGS);
	err = check_block(w, FDT_OFF_RESERVED, 8, 0, 0, "off_mem_rsvmap", "");
	if (!err)
		err = check_block(w, FDT_OFF_STRUCT, 4, FDT_SIZE_STRUCT,
				  be32(fdt + FDT_SIZE_STRUCT), "off_dt_struct", "size_dt_struct");
	if (!err)
		err = check_block(w, FDT_OFF_STRINGS, 1, FDT_SIZE_STRINGS, w->strings_size,
				  "off_dt_strings", "size_dt_strings");
	return err;
}

/* Pairs of 8 bytes up to one that is 0, 0. What they reserve is nobody's business here. */
static int check_reserved(struct root_walk *w)
{
	u32 at = be32(w->fdt + FDT_OFF_RESERVED);

	for (;; at += 16) {
		u8 any = 0;

		if (w->total - at < 16)
			return fault(w, KHO_E_TRUNCATED, at, 16, w->total - at, "mem_rsvmap");
		for (int i = 0; i < 16; i++)
			any |= w->fdt[at + i];
		if (!any)
			return 0;
	}
}

/* ---- properties --------------------------------------------------------- */

static u64 native64(const u8 *p)
{
	u64 value;

	memcpy(&value, p, sizeof(value));
	return value;
}

/* One string and nothing behind it. */
static bool is_string(const u8 *value, u32 len)
{
	return len > 1 && strnlen((const char *)value, len) == len - 1;
}

/* The entry at @at of @len bytes without its NUL. Return: 1 = accepted, 0 = not for us, negative. */
static int check_entry(struct root_walk *w, u32 at, u32 len)
{
	const char *entry = (const char *)w->fdt + at;
	struct khoc_compat_why why;
	int err;

	if (root_is_plain(entry, len))
		return 1;
	if (!root_is_composite(entry, len))
		return 0;
	err = khoc_compat_check(entry, len + 1, &why);
	return err ? fault(w, -err, at + why.at, 0, 0, KHO_ABI_ROOT_PROP_COMPATIBLE) : 1;
}

/* Every entry is looked at: a compatibility string counts wherever it is. */
static int check_compatible(struct root_walk *w, u32 at, u32 len)
{
	const u8 *list = w->fdt + at;
	bool found = false;
	u32 pos = 0;

	if (!len || list[len - 1])
		return fault(w, KHO_E_FORMAT, at, len, 0, KHO_ABI_ROOT_PROP_COMPATIBLE);
	while (pos < len) {
		u32 size = (u32)strlen((const char *)list + pos);
		int r = check_entry(w, at + pos, size);

		if (r < 0)
			return r;
		found |= r;
		pos += size + 1;
	}
	if (found)
		return 0;
	return fault(w, KHO_E_INCOMPATIBLE, at, 0, 0, KHO_ABI_ROOT_PROP_COMPATIBLE);
}

/* A known property: once, and of its length; @len is 0 where that is left to the caller. */
static int check_known(struct root_walk *w, u32 *had, u32 bit, u32 at, u32 len, u32 want,
		       const char *name)
{
	if (*had & bit)
		return fault(w, KHO_E_DUPLICATE, at, 0, 0, name);
	*had |= bit;
	if (want && len != want)
		return fault(w, KHO_E_FORMAT, at, len, want, name);
	return 0;
}

static int check_root_prop(struct root_walk *w, const char *name, u32 at, u32 len)
{
	u64 tree;
	int err;

	if (!strcmp(name, KHO_ABI_ROOT_PROP_COMPATIBLE)) {
		err = check_known(w, &w->had, PROP_COMPATIBLE, at, len, 0,
				  KHO_ABI_ROOT_PROP_COMPATIBLE);
		return err ? err : check_compatible(w, at, len);
	}
	if (strcmp(name, KHO_ABI_ROOT_PROP_MEMORY_MAP))
		return 0;
	err = check_known(w, &w->had, PROP_MEMORY_MAP, at, len, 8, KHO_ABI_ROOT_PROP_MEMORY_MAP);
	if (err)
		return err;
	tree = native64(w->fdt + at);
	if (!tree || tree >= w->image_size)
		return fault(w, KHO_E_RANGE, at, tree, w->image_size, KHO_ABI_ROOT_PROP_MEMORY_MAP);
	return 0;
}

static int check_subtree_prop(struct root_walk *w, const char *name, u32 at, u32 len)
{
	u32 *had = &w->sub_had;
	int err;

	if (!strcmp(name, KHO_ABI_ROOT_PROP_DATA)) {
		err = check_known(w, had, PROP_DATA, at, len, 8, KHO_ABI_ROOT_PROP_DATA);
		if (!err)
			w->data = native64(w->fdt + at);
		return err;
	}
	if (!strcmp(name, KHO_ABI_ROOT_PROP_SIZE)) {
		err = check_known(w, had, PROP_SIZE, at, len, 8, KHO_ABI_ROOT_PROP_SIZE);
		if (!err)
			w->size = native64(w->fdt + at);
		return err;
	}
	if (!strcmp(name, KHO_ABI_ROOT_PROP_TYPE)) {
		err = check_known(w, had, PROP_TYPE, at, len, 0, KHO_ABI_ROOT_PROP_TYPE);
		if (!err && !is_string(w->fdt + at, len))
			err = fault(w, KHO_E_FORMAT, at, len, 0, KHO_ABI_ROOT_PROP_TYPE);
		return err;
	}
	if (!strcmp(name, KHO_ABI_ROOT_PROP_TYPE_VERSION))
		return check_known(w, had, PROP_TYPE_VERSION, at, len, 4,
				   KHO_ABI_ROOT_PROP_TYPE_VERSION);
	return 0;
}

/* A property at w->at, behind its token. */
static int check_prop(struct root_walk *w)
{
	u32 left = w->end - w->at;
	u32 len, name, at;
	int err;

	if (left < 8)
		return fault(w, KHO_E_TRUNCATED, w->at, 8, left, "property");
	len = be32(w->fdt + w->at);
	name = be32(w->fdt + w->at + 4);
	at = w->at + 8;
	left -= 8;
	/* The value is padded to 4 bytes; @left is a number below 2^31. */
	if (len > left || ((len + 3) & ~3U) > left)
		return fault(w, KHO_E_TRUNCATED, w->at, len, left, "property length");
	if (name >= w->strings_size)
		return fault(w, KHO_E_RANGE, w->at + 4, name, w->strings_size, "property name");
	if (!memchr(w->fdt + w->strings + name, 0, w->strings_size - name))
		return fault(w, KHO_E_TRUNCATED, w->at + 4, name, w->strings_size, "property name");
	if (!w->depth || (w->depth == 1 && w->first_at))
		return fault(w, KHO_E_FORMAT, w->at - 4, TOKEN_PROP, 0, "token");
	w->at = at + ((len + 3) & ~3U);
	if (w->depth == 1)
		err = check_root_prop(w, (const char *)w->fdt + w->strings + name, at, len);
	else
		err = check_subtree_prop(w, (const char *)w->fdt + w->strings + name, at, len);
	return err;
}

/* ---- nodes -------------------------------------------------------------- */

/* Is there an earlier subtree of this name? All before @limit is checked: its tokens can be believed. */
static bool name_before(const struct root_walk *w, const char *name, u32 limit)
{
	u32 at = w->first_at;

	while (at < limit) {
		u32 token = be32(w->fdt + at);

		at += 4;
		if (token == TOKEN_PROP) {
			at += 8 + ((be32(w->fdt + at) + 3) & ~3U);
		} else if (token == TOKEN_BEGIN) {
			const char *other = (const char *)w->fdt + at;

			if (!strcmp(other, name))
				return true;
			at += ((u32)strlen(other) + 4) & ~3U;
		}
	}
	return false;
}

static int check_name(struct root_walk *w, u32 at, u32 len)
{
	const char *name = (const char *)w->fdt + at;
	u32 hash;

	if (!root_name_ok(name, len))
		return fault(w, KHO_E_FORMAT, at, len, KHO_ABI_ROOT_NAME_MAX, "name");
	hash = khoc_crc32c(0, name, len) % NAME_BITS;
	if (w->names[hash / 64] >> (hash % 64) & 1 && name_before(w, name, w->sub_at))
		return fault(w, KHO_E_DUPLICATE, at, 0, 0, "name");
	w->names[hash / 64] |= 1ULL << (hash % 64);
	return 0;
}

/* What the root must have had before its first subtree, and at its end. */
static int check_root_complete(struct root_walk *w)
{
	if (!(w->had & PROP_COMPATIBLE))
		return fault(w, KHO_E_INCOMPATIBLE, w->at, 0, 0, KHO_ABI_ROOT_PROP_COMPATIBLE);
	if (!(w->had & PROP_MEMORY_MAP))
		return fault(w, KHO_E_FORMAT, w->at, 0, 0, KHO_ABI_ROOT_PROP_MEMORY_MAP);
	return 0;
}

/* A node at w->at, behind its token. */
static int check_begin(struct root_walk *w)
{
	u32 left = w->end - w->at, at = w->at;
	u32 len = (u32)strnlen((const char *)w->fdt + at, left);
	int err;

	/* The name with its NUL is padded to 4 bytes. */
	if (len == left || ((len + 4) & ~3U) > left)
		return fault(w, KHO_E_TRUNCATED, at, len, left, "name");
	if (w->depth > 1 || (!w->depth && w->root_seen))
		return fault(w, KHO_E_FORMAT, at - 4, w->depth, 2, "depth");
	w->at += (len + 4) & ~3U;
	if (!w->depth++) {
		w->root_seen = true;
		return len ? fault(w, KHO_E_FORMAT, at, len, 0, "name") : 0;
	}
	err = check_root_complete(w);
	if (err)
		return err;
	w->sub_at = at - 4;
	if (!w->first_at)
		w->first_at = w->sub_at;
	w->sub_had = 0;
	return check_name(w, at, len);
}

static int check_end_node(struct root_walk *w)
{
	if (!w->depth)
		return fault(w, KHO_E_FORMAT, w->at - 4, TOKEN_END_NODE, 0, "token");
	if (!--w->depth)
		return check_root_complete(w);
	if (!(w->sub_had & PROP_DATA))
		return fault(w, KHO_E_FORMAT, w->sub_at, 0, 0, KHO_ABI_ROOT_PROP_DATA);
	if (!(w->sub_had & PROP_SIZE))
		return fault(w, KHO_E_FORMAT, w->sub_at, 0, 0, KHO_ABI_ROOT_PROP_SIZE);
	/* 0 means none, and has no bytes. */
	if (w->data >= w->image_size || (!w->data && w->size))
		return fault(w, KHO_E_RANGE, w->sub_at, w->data, w->image_size,
			     KHO_ABI_ROOT_PROP_DATA);
	if (w->size > w->image_size - w->data)
		return fault(w, KHO_E_RANGE, w->sub_at, w->size, w->image_size - w->data,
			     KHO_ABI_ROOT_PROP_SIZE);
	w->sub_at = 0;
	return 0;
}

static int check_structure(struct root_walk *w)
{
	w->at = be32(w->fdt + FDT_OFF_STRUCT);
	w->end = w->at + be32(w->fdt + FDT_SIZE_STRUCT);
	for (;;) {
		u32 at = w->at, token;
		int err = 0;

		if (w->end - at < 4)
			return fault(w, KHO_E_TRUNCATED, at, 4, w->end - at, "token");
		token = be32(w->fdt + at);
		w->at += 4;
		if (token == TOKEN_BEGIN)
			err = check_begin(w);
		else if (token == TOKEN_END_NODE)
			err = check_end_node(w);
		else if (token == TOKEN_PROP)
			err = check_prop(w);
		else if (token == TOKEN_END && !w->depth && w->root_seen)
			return 0;
		else if (token != TOKEN_NOP || !w->root_seen) /* readers expect the root first */
			err = fault(w, KHO_E_FORMAT, at, token, 0, "token");
		if (err)
			return err;
	}
}

int khoc_root_check(const void *fdt, size_t size, kho_pa_t addr, u64 image_size,
		    struct khoc_report *report)
{
	struct root_walk w = {.fdt = fdt, .image_size = image_size, .addr = addr, .report = report};
	int err;

	report_clear(report);
	err = check_header(&w, size);
	if (!err)
		err = check_reserved(&w);
	if (!err)
		err = check_structure(&w);
	return err;
}
