/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The root FDT: "kho-v4". */
#ifndef KHO_CORE_ROOT_H
#define KHO_CORE_ROOT_H

#include <stdbool.h>
#include <stddef.h>

#include <kho/abi/root.h>
#include <kho/core/report.h>
#include <kho/types.h>

/**
 * struct khoc_subtree - an entry of the root FDT
 * @name: NUL-terminated, at most KHO_ABI_ROOT_NAME_MAX; points into the FDT
 * @data: pa of the blob
 * @size: bytes of the blob
 * @type: type name of a named root, or NULL; points into the FDT
 * @type_version: its version; 0 without a type
 */
struct khoc_subtree {
	const char *name;
	kho_pa_t data;
	__u64 size;
	const char *type;
	__u32 type_version;
};

/**
 * khoc_root_create() - write a root FDT without subtrees
 * @fdt, @size: where to: 8-byte aligned
 * @tree_root: goes to "preserved-memory-map"
 *
 * "compatible" says that a root and a tree are there: KHO_ABI_COMPAT_CORE.
 *
 * Return: 0, -ENOSPC.
 */
int khoc_root_create(void *fdt, size_t size, kho_pa_t tree_root);

/**
 * khoc_root_add() - copy a root FDT with one subtree more
 * @from: a checked FDT
 * @to, @size: where to; may not overlap @from
 *
 * Return: 0, -EEXIST (that name is there), -EINVAL (a name that is empty, too long, or not
 * made of letters, digits and ",._+-"), -ENOSPC.
 */
int khoc_root_add(const void *from, void *to, size_t size, const struct khoc_subtree *subtree);

/* Copy a root FDT without the subtree @name. Return: 0, -ENOENT, -ENOSPC. */
int khoc_root_remove(const void *from, void *to, size_t size, const char *name);

/**
 * khoc_root_set_data() - let a subtree's data lie elsewhere, in place
 * @fdt: a checked FDT, which may be written to
 *
 * Return: 0, -ENOENT.
 */
int khoc_root_set_data(void *fdt, const char *name, kho_pa_t data);

/**
 * khoc_root_edit() - copy a root FDT, with subtrees changed on the way
 * @each: called for every subtree in its order: may change all of it; false: leave it out. The names
 *	that it gives are as khoc_root_add() takes them, and end up unique.
 *
 * Return: 0, -EINVAL (a name), -ENOSPC.
 */
int khoc_root_edit(const void *from, void *to, size_t size,
		   bool (*each)(void *ctx, struct khoc_subtree *subtree), void *ctx);

/**
 * khoc_root_set_composite() - copy a root FDT with another compatibility string in its list
 * @composite: NUL-terminated, with base "kho-v4"; or NULL: none, as Linux 7.2 writes it
 *
 * Return: 0, -EINVAL (not such a string), -ENOSPC.
 */
int khoc_root_set_composite(const void *from, void *to, size_t size, const char *composite);

/* The compatibility string in the list of a checked FDT, or NULL: Linux 7.2 writes none. */
const char *khoc_root_composite(const void *fdt);

/* Find a subtree by name. @fdt must have passed khoc_root_check(). Return: 0, -ENOENT. */
int khoc_root_find(const void *fdt, const char *name, struct khoc_subtree *subtree);

/**
 * khoc_root_next() - go through the subtrees
 * @pos: 0 at first, then what the last call left
 *
 * Return: 0, or -ENOENT after the last.
 */
int khoc_root_next(const void *fdt, int *pos, struct khoc_subtree *subtree);

/* "preserved-memory-map" of a checked FDT. */
kho_pa_t khoc_root_tree(const void *fdt);

/**
 * khoc_root_check() - is this a root FDT that the functions above can read?
 * @fdt: @size bytes, 8-byte aligned, contents untrusted
 * @size: bytes that may be read
 * @addr: the FDT's address, for the report
 * @image_size: every blob must end at or below it
 *
 * A bounded walk of our own over header, reservation map, structure and strings: no
 * byte outside is read, each token is read once, "compatible" contains "kho-v4" or a
 * compatibility string with that base, which is well formed (what parts it has is for
 * khoc_compat_match() to judge),
 * names are unique and such as khoc_root_add() takes, the properties that we know have
 * their lengths, nesting is two deep. The tree's root and every blob lie in the image; only a
 * blob without bytes may be at address 0.
 *
 * Return: 0, or a negative fault that @report, if not NULL, explains.
 */
int khoc_root_check(const void *fdt, size_t size, kho_pa_t addr, __u64 image_size,
		    struct khoc_report *report);

#endif
