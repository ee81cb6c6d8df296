/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The array: making, looking up, updates of one entry. Nodes change shape in array_shape.c.
 *
 * An update of an entry is four stores, in this order:
 *
 *	desc->slot_pa		where the entry's word is
 *	desc->next_count	from here on the word says whether the update was done
 *	the word		the step itself
 *	desc->count		as desc->next_count
 */
#include "array_node.h"

/* Times that room is made for one entry: each brings it nearer by a step on one level. */
#define ROOM_STEPS (8 * (KHO_ABI_ARRAY_LEVEL_MAX + 1))

static int array_open(struct khoc_array *array, const struct khoc_mem *mem, unsigned int shift,
		      kho_pa_t desc_pa)
{
	struct kho_abi_array *desc;

	if (shift < KHO_ABI_PAGE_SHIFT_MIN || shift > KHO_ABI_PAGE_SHIFT_MAX)
		return -EINVAL;
	if (desc_pa & 7)
		return -KHO_E_ALIGN;
	desc = desc_pa ? khoc_map(mem, desc_pa, sizeof(*desc)) : NULL;
	if (!desc)
		return -KHO_E_RANGE;
	*array = (struct khoc_array){.mem = mem, .desc = desc, .desc_pa = desc_pa, .shift = shift};
	return 0;
}

int khoc_array_init(struct khoc_array *array, const struct khoc_mem *mem, unsigned int shift,
		    kho_pa_t desc_pa)
{
	int rc = array_open(array, mem, shift, desc_pa);

	if (rc)
		return rc;
	*array->desc = (struct kho_abi_array){.magic = KHO_ABI_ARRAY_MAGIC,
					      .version = KHO_ABI_ARRAY_VERSION,
					      .page_shift = (u8)shift};
	return 0;
}

int khoc_array_attach(struct khoc_array *array, const struct khoc_mem *mem, unsigned int shift,
		      kho_pa_t desc_pa, struct khoc_report *report)
{
	const struct kho_abi_array *desc;
	int rc = array_open(array, mem, shift, desc_pa);

	report_clear(report);
	if (rc == -EINVAL)
		return rc;
	if (rc)
		return report_fault(report, -rc, KHOC_S_ARRAY, -1, desc_pa, desc_pa, mem->size,
				    "descriptor");
	desc = array->desc;
	if (desc->magic != KHO_ABI_ARRAY_MAGIC)
		return report_fault(report, KHO_E_MAGIC, KHOC_S_ARRAY, -1, desc_pa, desc->magic,
				    KHO_ABI_ARRAY_MAGIC, "magic");
	if (desc->version != KHO_ABI_ARRAY_VERSION)
		return report_fault(report, KHO_E_VERSION, KHOC_S_ARRAY, -1, desc_pa, desc->version,
				    KHO_ABI_ARRAY_VERSION, "version");
	if (desc->page_shift != shift)
		return report_fault(report, KHO_E_INCOMPATIBLE, KHOC_S_ARRAY, -1, desc_pa,
				    desc->page_shift, shift, "page_shift");
	return 0;
}

/* ---- reading ------------------------------------------------------------ */

/* Of a leaf that may have keys. */
khoc_noinline u64 get_in_leaf(array_node *leaf, u64 index, unsigned int shift)
{
	const u64 *word = array_head_ok(leaf, 0, shift) ? array_leaf_word(leaf, index, shift)
							: NULL;

	return word ? khoc_load_acquire(word) : 0;
}

/* Of any array, from a node on. */
khoc_noinline u64 get_below(const struct khoc_array *array, kho_pa_t pa, unsigned int level,
			    u64 index)
{
	unsigned int shift = khoc_pin_shift(array->shift);
	array_node *node;
	int at;

	for (; level; level--) {
		node = array_node_at(array->mem, pa, level, shift);
		at = likely(node) ? array_route(node, index, shift) : -1;
		if (unlikely(at < 0))
			return 0;
		pa = khoc_load_acquire(array_values(node) + at);
	}
	node = array_node_at(array->mem, pa, 0, shift);
	return node ? get_in_leaf(node, index, shift) : 0;
}

/* Is it an inner node of @level without a tail? */
khoc_inline bool is_sorted(const array_node *node, unsigned int level, unsigned int shift)
{
	u64 nr = node->nr_sorted;

	return node->level == level && node->width == ARRAY_WIDTH_INNER && node->nr_used == nr &&
	       nr - 1 < array_cap(ARRAY_WIDTH_INNER, shift);
}

khoc_inline bool is_keyless(const array_node *node)
{
	return !(node->width | node->level | node->nr_sorted | node->nr_used);
}

/*
 * Of an array in linear memory, as long as inner nodes have no tails. Mostly no call, and few instructions: the
 * processor is at the next lookup while this one waits for memory. As much is checked as in get_below().
 */
khoc_inline u64 get_at(const struct khoc_array *array, u64 index, unsigned int shift)
{
	const struct khoc_mem *mem = array->mem;
	u64 root = khoc_load_acquire(&array->desc->root), pages = khoc_load(&mem->size) >> shift;
	unsigned int level = array_root_level(root);
	kho_pa_t pa = array_root_pa(root);
	array_node *node;
	u64 off;
	int at;

	if (unlikely(level > KHO_ABI_ARRAY_LEVEL_MAX))
		return 0;
	if (unlikely(!mem->linear || !pages))
		return get_below(array, pa, level, index);
	/* An address that is not aligned has a large number, and so has page 0. */
	while (likely(khoc_ror64(pa, shift) - 1 < pages - 1)) {
		node = (array_node *)((char *)mem->linear + pa);
		if (!level) {
			off = index - node->base;
			return is_keyless(node) && off < array_cap(0, shift)
				       ? khoc_load_acquire(array_values(node) + off)
				       : get_in_leaf(node, index, shift);
		}
		at = likely(is_sorted(node, level, shift)) ? array_route(node, index, shift) : -1;
		if (unlikely(at < 0))
			break;
		pa = khoc_load_acquire(array_values(node) + at);
		off = index - ((const u64 *)array_keys(node, ARRAY_WIDTH_INNER, shift))[at];
		/* A leaf without keys mostly begins at its separator: do not wait for its head. */
		if (!--level && off < array_cap(0, shift))
			khoc_prefetch((const void *)((unsigned long)mem->linear + pa +
						     sizeof(*node) + 8 * off));
	}
	return get_below(array, pa, level, index);
}

khoc_noinline u64 get_of_pages(const struct khoc_array *array, u64 index, unsigned int shift)
{
	return get_at(array, index, shift);
}

u64 khoc_array_get(const struct khoc_array *array, u64 index)
{
	unsigned int shift = khoc_pin_shift(array->shift);

	return likely(shift == 12) ? get_at(array, index, 12) : get_of_pages(array, index, shift);
}

/* The word of an address, if the image has one there. */
static const u64 *word_at(const struct khoc_array *array, kho_pa_t pa)
{
	return !pa || pa & 7 ? NULL : khoc_map(array->mem, pa, sizeof(u64));
}

/* Was the update done that desc->next_count speaks of? */
static bool update_done(const struct khoc_array *array)
{
	const struct kho_abi_array *desc = array->desc;
	const u64 *word = word_at(array, desc->slot_pa);

	return word && !*word == (desc->next_count < desc->count);
}

u64 khoc_array_count(const struct khoc_array *array)
{
	const struct kho_abi_array *desc = array->desc;

	if (!desc->root)
		return 0;
	return desc->next_count != desc->count && update_done(array) ? desc->next_count
								     : desc->count;
}

/* ---- updates ------------------------------------------------------------ */

/* What a crash, or an error half-way, left to do. Pages that cannot be freed for want of memory wait. */
khoc_noinline int settle(struct khoc_array *array)
{
	struct kho_abi_array *desc = array->desc;
	u64 count = khoc_array_count(array);
	int rc;

	if (desc->doomed == desc->root)
		array_store(&desc->doomed, 0);
	/* An empty array's numbers do not count until it has a root: which of them goes first is all one. */
	if (desc->count != count)
		array_store(&desc->count, count);
	if (desc->next_count != count)
		array_store(&desc->next_count, count);
	rc = desc->doomed ? array_bury_(array) : 0;
	return rc == -ENOMEM ? 0 : rc;
}

khoc_inline int update_begin(struct khoc_array *array)
{
	const struct kho_abi_array *desc = array->desc;

	if (likely(desc->next_count == desc->count && !desc->doomed && desc->root))
		return 0;
	return settle(array);
}

/* The leaf of an index, remembered. Return: 1, 0 (there is none), or a fault. */
khoc_inline int leaf_of(struct khoc_array *array, u64 index)
{
	struct array_place at, parent;
	int rc;

	if (array->leaf && index >= array->leaf_lo && index <= array->leaf_last)
		return 1;
	array->leaf = NULL;
	rc = array_locate_(array, index, 0, &at, &parent);
	if (rc <= 0)
		return rc;
	array->leaf = at.node;
	array->leaf_pa = at.pa;
	array->leaf_lo = at.lo;
	array->leaf_last = at.last;
	return 1;
}

/* Give an index a word at the leaf's end. Return: NULL if it does not fit. */
static u64 *leaf_append(array_node *leaf, u64 index, unsigned int shift)
{
	unsigned int width = leaf->width, used = leaf->nr_used;
	u64 delta = index - leaf->base;

	if (!width || used == array_cap(width, shift) ||
	    used - leaf->nr_sorted == KHO_ABI_ARRAY_TAIL)
		return NULL;
	if (index < leaf->base || delta > array_delta_max(width))
		return NULL;
	/* Its word is 0, so that in whatever order these stores are seen the key is dead. */
	array_key_store(array_keys(leaf, width, shift), used, width, delta);
	leaf->nr_used = (u16)(used + 1);
	return array_values(leaf) + used;
}

/* Store @entry to a word, which makes @change more entries. */
static void commit(struct khoc_array *array, u64 *word, u64 entry, int change)
{
	struct kho_abi_array *desc = array->desc;
	u64 count = desc->count + (u64)change;

	if (change) {
		array_store(&desc->slot_pa,
			    array->leaf_pa + (u64)((char *)word - (char *)array->leaf));
		array_store(&desc->next_count, count);
	}
	array_store(word, entry);
	if (change) {
		array_store(&desc->count, count);
		array->leaf->nr_live = (u16)(array->leaf->nr_live + change);
	}
}

/* How long have indices been inserted in ascending (above 0) or descending order? */
khoc_inline void trend_note(struct khoc_array *array, u64 index)
{
	int trend = array->trend;

	if (index > array->last_index)
		trend = trend < 0 ? 0 : trend + (trend < 64);
	else
		trend = trend > 0 ? 0 : trend - (trend > -64);
	array->trend = trend;
	array->last_index = index;
}

int khoc_array_set(struct khoc_array *array, u64 index, u64 entry)
{
	u64 *word = NULL;
	int rc;

	if (!(entry & KHO_ABI_ARRAY_INTEGER) &&
	    (!entry || entry & KHO_ABI_ARRAY_TAG_MASK || entry >= khoc_load(&array->mem->size)))
		return -EINVAL;
	rc = update_begin(array);
	if (rc)
		return rc;
	for (int steps = 0; steps < ROOM_STEPS; steps++) {
		rc = leaf_of(array, index);
		if (rc < 0)
			return rc;
		word = rc ? array_leaf_word(array->leaf, index, array->shift) : NULL;
		if (rc && !word)
			word = leaf_append(array->leaf, index, array->shift);
		if (word)
			break;
		array->leaf = NULL;
		rc = array_make_room_(array, index);
		if (rc)
			return rc;
	}
	if (!word)
		return -KHO_E_STATE;
	if (!*word)
		trend_note(array, index);
	commit(array, word, entry, !*word);
	return 0;
}

/* Everything goes. Return: 0 or a fault. */
static int bury_all(struct khoc_array *array)
{
	struct kho_abi_array *desc = array->desc;

	array->leaf = NULL;
	array->trend = 0;
	/* What could not be freed before is there still: then this is not the time. */
	if (desc->doomed)
		return 0;
	array_store(&desc->doomed, desc->root);
	array_store(&desc->root, 0);
	return settle(array);
}

/* Is it time to see whether a leaf should be merged? Not at every entry: looking takes time. */
static bool leaf_is_sparse(const array_node *leaf, unsigned int shift)
{
	unsigned int live = leaf->nr_live, cap = array_cap(leaf->width, shift);

	return live <= cap / 4 + 1 && (cap < 32 || !(live % 8));
}

int khoc_array_erase(struct khoc_array *array, u64 index)
{
	u64 *word;
	int rc;

	if (!array->desc->root)
		return -ENOENT;
	rc = update_begin(array);
	if (!rc)
		rc = leaf_of(array, index);
	if (rc <= 0)
		return rc ? rc : -ENOENT;
	word = array_leaf_word(array->leaf, index, array->shift);
	if (!word || !*word)
		return -ENOENT;
	commit(array, word, 0, -1);
	if (!array->desc->count)
		return bury_all(array);
	if (unlikely(leaf_is_sparse(array->leaf, array->shift))) {
		array->leaf = NULL;
		array_shrink_(array, index);
	}
	return 0;
}

int khoc_array_clear(struct khoc_array *array)
{
	struct kho_abi_array *desc = array->desc;
	int rc;

	if (!desc->root && !desc->doomed)
		return 0;
	rc = update_begin(array);
	if (rc || !desc->root)
		return rc;
	if (desc->doomed)
		return -ENOMEM;
	return bury_all(array);
}

int khoc_array_destroy(struct khoc_array *array)
{
	int rc = khoc_array_clear(array);

	if (!rc && array->desc->doomed)
		rc = -ENOMEM;
	if (!rc)
		*array->desc = (struct kho_abi_array){.magic = 0};
	return rc;
}
