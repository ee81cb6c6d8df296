/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The root FDT: writing one, and reading one that khoc_root_check() has passed.
 *
 * A change writes the whole FDT anew somewhere else, so that the one in force is
 * whole at every instant. Subtrees keep the order in which they were added.
 */
#include "root.h"

#include <libfdt.h>

/* ---- reading ------------------------------------------------------------ */

/* A property of 8 bytes in the CPU's order. It may lie at any multiple of 4. */
static u64 prop_u64(const void *fdt, int node, const char *name)
{
	const void *prop = fdt_getprop(fdt, node, name, NULL);
	u64 value = 0;

	if (prop)
		memcpy(&value, prop, sizeof(value));
	return value;
}

static void subtree_read(const void *fdt, int node, struct khoc_subtree *subtree)
{
	const void *version = fdt_getprop(fdt, node, KHO_ABI_ROOT_PROP_TYPE_VERSION, NULL);

	*subtree = (struct khoc_subtree){
		.name = fdt_get_name(fdt, node, NULL),
		.data = prop_u64(fdt, node, KHO_ABI_ROOT_PROP_DATA),
		.size = prop_u64(fdt, node, KHO_ABI_ROOT_PROP_SIZE),
		.type = fdt_getprop(fdt, node, KHO_ABI_ROOT_PROP_TYPE, NULL),
	};
	if (subtree->type && version)
		memcpy(&subtree->type_version, version, sizeof(subtree->type_version));
}

int khoc_root_next(const void *fdt, int *pos, struct khoc_subtree *subtree)
{
	/* Position 0 is the root node itself, which no subtree has. */
	int node = *pos ? fdt_next_subnode(fdt, *pos) : fdt_first_subnode(fdt, 0);

	if (node < 0)
		return -ENOENT;
	*pos = node;
	subtree_read(fdt, node, subtree);
	return 0;
}

int khoc_root_find(const void *fdt, const char *name, struct khoc_subtree *subtree)
{
	int pos = 0;

	while (!khoc_root_next(fdt, &pos, subtree))
		if (!strcmp(subtree->name, name))
			return 0;
	return -ENOENT;
}

kho_pa_t khoc_root_tree(const void *fdt)
{
	return prop_u64(fdt, 0, KHO_ABI_ROOT_PROP_MEMORY_MAP);
}

const char *khoc_root_composite(const void *fdt)
{
	int len = 0;
	const char *list = fdt_getprop(fdt, 0, KHO_ABI_ROOT_PROP_COMPATIBLE, &len);

	for (int pos = 0; list && pos < len; pos += (int)strlen(list + pos) + 1)
		if (root_is_composite(list + pos, strlen(list + pos)))
			return list + pos;
	return NULL;
}

/* ---- writing ------------------------------------------------------------ */

/* The first error of a sequence of writes; the rest is then not done. */
struct writer {
	void *fdt;
	int err;
};

static void put_prop(struct writer *w, const char *name, const void *value, size_t len)
{
	if (!w->err)
		w->err = fdt_property(w->fdt, name, value, (int)len);
}

static void put_begin(struct writer *w, const char *name)
{
	if (!w->err)
		w->err = fdt_begin_node(w->fdt, name);
}

static void put_end(struct writer *w)
{
	if (!w->err)
		w->err = fdt_end_node(w->fdt);
}

static void put_subtree(struct writer *w, const struct khoc_subtree *subtree)
{
	put_begin(w, subtree->name);
	put_prop(w, KHO_ABI_ROOT_PROP_DATA, &subtree->data, sizeof(subtree->data));
	put_prop(w, KHO_ABI_ROOT_PROP_SIZE, &subtree->size, sizeof(subtree->size));
	if (subtree->type) {
		put_prop(w, KHO_ABI_ROOT_PROP_TYPE, subtree->type, strlen(subtree->type) + 1);
		put_prop(w, KHO_ABI_ROOT_PROP_TYPE_VERSION, &subtree->type_version,
			 sizeof(subtree->type_version));
	}
	put_end(w);
}

/* At most, of a subtree beside its name and type: tags, lengths, values, padding; and the properties' names. */
#define ROOT_SUBTREE_MAX 256u

/*
 * The room for a copy of @from with one subtree more and a list of @list bytes more: fdt_create() clears all that it
 * is given, and 64 KiB would be 16 pages touched for a few hundred bytes.
 */
static size_t room_for(const void *from, size_t size, const struct khoc_subtree *more, size_t list)
{
	size_t need = fdt_totalsize(from) + list + ROOT_SUBTREE_MAX;

	if (more)
		need += strlen(more->name) + (more->type ? strlen(more->type) : 0);
	return need < size ? need : size;
}

/* What every root FDT of ours ends its list with. */
static const char plain[] = KHO_ABI_ROOT_COMPATIBLE;

static void put_header(struct writer *w, size_t size, const void *compatible, size_t len,
		       kho_pa_t tree_root)
{
	/* The FDT's sizes are ints. */
	w->err = fdt_create(w->fdt, size > ROOT_FDT_MAX ? ROOT_FDT_MAX : (int)size);
	if (!w->err)
		w->err = fdt_finish_reservemap(w->fdt);
	put_begin(w, "");
	put_prop(w, KHO_ABI_ROOT_PROP_COMPATIBLE, compatible, len);
	put_prop(w, KHO_ABI_ROOT_PROP_MEMORY_MAP, &tree_root, sizeof(tree_root));
}

static int put_done(struct writer *w)
{
	put_end(w);
	if (!w->err)
		w->err = fdt_finish(w->fdt);
	/* All names were checked and all nodes are closed: only room can be missing. */
	return w->err ? -ENOSPC : 0;
}

static void put_header_of(struct writer *w, size_t size, const void *from)
{
	int len = 0;
	const void *compatible = fdt_getprop(from, 0, KHO_ABI_ROOT_PROP_COMPATIBLE, &len);

	put_header(w, size, compatible, (size_t)len, khoc_root_tree(from));
}

int khoc_root_create(void *fdt, size_t size, kho_pa_t tree_root)
{
	static const char list[] = KHO_ABI_COMPAT_CORE "\0" KHO_ABI_ROOT_COMPATIBLE;
	struct writer w = {fdt, 0};

	put_header(&w, size, list, sizeof(list), tree_root);
	return put_done(&w);
}

int khoc_root_set_composite(const void *from, void *to, size_t size, const char *composite)
{
	char list[KHO_ABI_COMPAT_MAX + sizeof(plain)];
	struct writer w = {to, 0};
	struct khoc_subtree other;
	size_t len = 0;
	int pos = 0;

	if (composite) {
		len = strnlen(composite, KHO_ABI_COMPAT_MAX) + 1;
		if (!root_is_composite(composite, len - 1) ||
		    khoc_compat_check(composite, len, NULL))
			return -EINVAL;
		memcpy(list, composite, len);
	}
	memcpy(list + len, plain, sizeof(plain));
	put_header(&w, room_for(from, size, NULL, sizeof(list)), list, len + sizeof(plain),
		   khoc_root_tree(from));
	while (!khoc_root_next(from, &pos, &other))
		put_subtree(&w, &other);
	return put_done(&w);
}

int khoc_root_add(const void *from, void *to, size_t size, const struct khoc_subtree *subtree)
{
	struct writer w = {to, 0};
	struct khoc_subtree other;
	int pos = 0;

	if (!root_name_ok(subtree->name, strnlen(subtree->name, KHO_ABI_ROOT_NAME_MAX + 1)))
		return -EINVAL;
	if (subtree->type && !*subtree->type)
		return -EINVAL;
	if (!khoc_root_find(from, subtree->name, &other))
		return -EEXIST;
	put_header_of(&w, room_for(from, size, subtree, 0), from);
	while (!khoc_root_next(from, &pos, &other))
		put_subtree(&w, &other);
	put_subtree(&w, subtree);
	return put_done(&w);
}

int khoc_root_remove(const void *from, void *to, size_t size, const char *name)
{
	struct writer w = {to, 0};
	struct khoc_subtree other;
	int pos = 0;

	if (khoc_root_find(from, name, &other))
		return -ENOENT;
	put_header_of(&w, room_for(from, size, NULL, 0), from);
	while (!khoc_root_next(from, &pos, &other))
		if (strcmp(other.name, name))
			put_subtree(&w, &other);
	return put_done(&w);
}

int khoc_root_set_data(void *fdt, const char *name, kho_pa_t data)
{
	int node = fdt_subnode_offset(fdt, 0, name);

	/* Of the same length as before, so it fits. */
	if (node < 0 || fdt_setprop_inplace(fdt, node, KHO_ABI_ROOT_PROP_DATA, &data, sizeof(data)))
		return -ENOENT;
	return 0;
}

int khoc_root_edit(const void *from, void *to, size_t size,
		   bool (*each)(void *ctx, struct khoc_subtree *subtree), void *ctx)
{
	struct writer w = {to, 0};
	struct khoc_subtree subtree;
	int pos = 0;

	put_header_of(&w, size, from);
	while (!khoc_root_next(from, &pos, &subtree)) {
		if (!each(ctx, &subtree))
			continue;
		if (!root_name_ok(subtree.name, strnlen(subtree.name, KHO_ABI_ROOT_NAME_MAX + 1)))
			return -EINVAL;
		put_subtree(&w, &subtree);
	}
	return put_done(&w);
}
