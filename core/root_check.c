/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The root FDT: a bounded walk over bytes that somebody else wrote. What passes can
 * be read with root.c, which trusts what is checked here.
 *
 *	at	bytes from the FDT's start
 */
#include "root.h"

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
 * @fdt, @item: it, and the token that is looked at; @fdt.structure says whether a subtree is open
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
	struct khoc_fdt fdt;
	struct khoc_fdt_item item;
	u64 image_size;
	struct khoc_report *report;
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

khoc_noinline int fault(struct root_walk *w, int code, u32 at, u64 value, u64 limit,
			const char *field)
{
	return report_fault(w->report, code, w->fdt.structure, -1, w->fdt.addr + at, value, limit,
			    field);
}

/* A token where another must be. */
static int stray(struct root_walk *w)
{
	return fault(w, KHO_E_FORMAT, w->item.at, w->item.token, 0, "token");
}

/* ---- properties --------------------------------------------------------- */

/* One string and nothing behind it. */
static bool is_string(const u8 *value, u32 len)
{
	return len > 1 && strnlen((const char *)value, len) == len - 1;
}

/* The entry at @at of @len bytes without its NUL. Return: 1 = accepted, 0 = not for us, negative. */
static int check_entry(struct root_walk *w, u32 at, u32 len)
{
	const char *entry = (const char *)w->fdt.bytes + at;
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
static int check_compatible(struct root_walk *w)
{
	u32 at = w->item.value_at, len = w->item.len, pos = 0;
	const u8 *list = w->fdt.bytes + at;
	bool found = false;

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

/* A known property: once, and of its length; @want is 0 where that is left to the caller. */
static int check_known(struct root_walk *w, u32 *had, u32 bit, u32 want, const char *name)
{
	if (*had & bit)
		return fault(w, KHO_E_DUPLICATE, w->item.value_at, 0, 0, name);
	*had |= bit;
	if (want && w->item.len != want)
		return fault(w, KHO_E_FORMAT, w->item.value_at, w->item.len, want, name);
	return 0;
}

static int check_root_prop(struct root_walk *w)
{
	const char *name = w->item.name;
	u64 tree;
	int err;

	if (!strcmp(name, KHO_ABI_ROOT_PROP_COMPATIBLE)) {
		err = check_known(w, &w->had, PROP_COMPATIBLE, 0, KHO_ABI_ROOT_PROP_COMPATIBLE);
		return err ? err : check_compatible(w);
	}
	if (strcmp(name, KHO_ABI_ROOT_PROP_MEMORY_MAP))
		return 0;
	err = check_known(w, &w->had, PROP_MEMORY_MAP, 8, KHO_ABI_ROOT_PROP_MEMORY_MAP);
	if (err)
		return err;
	tree = khoc_fdt_u64(&w->fdt, &w->item);
	if (!tree || tree >= w->image_size)
		return fault(w, KHO_E_RANGE, w->item.value_at, tree, w->image_size,
			     KHO_ABI_ROOT_PROP_MEMORY_MAP);
	return 0;
}

static int check_subtree_prop(struct root_walk *w)
{
	const char *name = w->item.name;
	u32 *had = &w->sub_had;
	int err;

	if (!strcmp(name, KHO_ABI_ROOT_PROP_DATA)) {
		err = check_known(w, had, PROP_DATA, 8, KHO_ABI_ROOT_PROP_DATA);
		if (!err)
			w->data = khoc_fdt_u64(&w->fdt, &w->item);
		return err;
	}
	if (!strcmp(name, KHO_ABI_ROOT_PROP_SIZE)) {
		err = check_known(w, had, PROP_SIZE, 8, KHO_ABI_ROOT_PROP_SIZE);
		if (!err)
			w->size = khoc_fdt_u64(&w->fdt, &w->item);
		return err;
	}
	if (!strcmp(name, KHO_ABI_ROOT_PROP_TYPE)) {
		err = check_known(w, had, PROP_TYPE, 0, KHO_ABI_ROOT_PROP_TYPE);
		if (!err && !is_string(w->fdt.bytes + w->item.value_at, w->item.len))
			err = fault(w, KHO_E_FORMAT, w->item.value_at, w->item.len, 0,
				    KHO_ABI_ROOT_PROP_TYPE);
		return err;
	}
	if (!strcmp(name, KHO_ABI_ROOT_PROP_TYPE_VERSION))
		return check_known(w, had, PROP_TYPE_VERSION, 4, KHO_ABI_ROOT_PROP_TYPE_VERSION);
	return 0;
}

static int check_prop(struct root_walk *w)
{
	if (!w->depth || (w->depth == 1 && w->first_at))
		return stray(w);
	return w->depth == 1 ? check_root_prop(w) : check_subtree_prop(w);
}

/* ---- nodes -------------------------------------------------------------- */

/* FNV-1a, of which the upper bits are the better ones. */
static u32 hash_name(const char *name, u32 len)
{
	u32 hash = 0x811c9dc5;

	for (u32 i = 0; i < len; i++)
		hash = (hash ^ (u8)name[i]) * 0x01000193;
	return (hash >> 16) % NAME_BITS;
}

static int check_name(struct root_walk *w)
{
	const struct khoc_fdt_item *item = &w->item;
	u32 hash;

	if (!root_name_ok(item->name, item->name_len))
		return fault(w, KHO_E_FORMAT, item->at + 4, item->name_len, KHO_ABI_ROOT_NAME_MAX,
			     "name");
	hash = hash_name(item->name, item->name_len);
	if (w->names[hash / 64] >> (hash % 64) & 1 &&
	    khoc_fdt_has_node(&w->fdt, w->first_at, w->sub_at, item->name))
		return fault(w, KHO_E_DUPLICATE, item->at + 4, 0, 0, "name");
	w->names[hash / 64] |= 1ULL << (hash % 64);
	return 0;
}

/* What the root must have had before its first subtree, and at its end. */
static int check_root_complete(struct root_walk *w)
{
	if (!(w->had & PROP_COMPATIBLE))
		return fault(w, KHO_E_INCOMPATIBLE, w->fdt.at, 0, 0, KHO_ABI_ROOT_PROP_COMPATIBLE);
	if (!(w->had & PROP_MEMORY_MAP))
		return fault(w, KHO_E_FORMAT, w->fdt.at, 0, 0, KHO_ABI_ROOT_PROP_MEMORY_MAP);
	return 0;
}

static int check_begin(struct root_walk *w)
{
	const struct khoc_fdt_item *item = &w->item;
	int err;

	if (w->depth > 1 || (!w->depth && w->root_seen))
		return fault(w, KHO_E_FORMAT, item->at, w->depth, 2, "depth");
	if (!w->depth++) {
		w->root_seen = true;
		return item->name_len
			       ? fault(w, KHO_E_FORMAT, item->at + 4, item->name_len, 0, "name")
			       : 0;
	}
	err = check_root_complete(w);
	if (err)
		return err;
	w->fdt.structure = KHOC_S_SUBTREE;
	w->sub_at = item->at;
	if (!w->first_at)
		w->first_at = w->sub_at;
	w->sub_had = 0;
	return check_name(w);
}

static int check_end_node(struct root_walk *w)
{
	if (!w->depth)
		return stray(w);
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
	w->fdt.structure = KHOC_S_ROOT_FDT;
	return 0;
}

/* khoc_fdt_next() passes over NOPs; readers expect the root first. */
static int check_start(struct root_walk *w)
{
	static const u8 nop[] = {0, 0, 0, KHOC_FDT_NOP};

	if (w->fdt.end - w->fdt.at < sizeof(nop) ||
	    memcmp(w->fdt.bytes + w->fdt.at, nop, sizeof(nop)))
		return 0;
	return fault(w, KHO_E_FORMAT, w->fdt.at, KHOC_FDT_NOP, 0, "token");
}

/* Return: 1: the FDT's end; 0: go on; negative: a fault. */
static int check_item(struct root_walk *w)
{
	switch (w->item.token) {
	case KHOC_FDT_BEGIN:
		return check_begin(w);
	case KHOC_FDT_END_NODE:
		return check_end_node(w);
	case KHOC_FDT_PROP:
		return check_prop(w);
	default:
		return !w->depth && w->root_seen ? 1 : stray(w);
	}
}

static int check_structure(struct root_walk *w)
{
	int err = check_start(w);

	while (!err) {
		err = khoc_fdt_next(&w->fdt, &w->item, w->report);
		if (!err)
			err = check_item(w);
	}
	return err > 0 ? 0 : err;
}

int khoc_root_check(const void *fdt, size_t size, kho_pa_t addr, u64 image_size,
		    struct khoc_report *report)
{
	struct root_walk w = {.image_size = image_size, .report = report};
	int err;

	err = khoc_fdt_init(&w.fdt, fdt, size, addr, KHOC_S_ROOT_FDT, report);
	if (!err)
		err = khoc_fdt_check_reserved(&w.fdt, report);
	if (!err)
		err = check_structure(&w);
	return err;
}
