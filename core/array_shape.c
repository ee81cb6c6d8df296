/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The array: nodes that are made, divided, evened out, merged and freed.
 *
 * A node that changes is written anew, and one word that leads to it is stored: the seam's
 * publish_page() makes that one step. What touches two nodes is made of such steps, each of
 * which leaves the array as it was, because keys outside a node's range are not there:
 *
 *	to move keys to a neighbour	write it anew, with them; then move the separator
 *	to divide a node		write the new one; then link it, with its separator
 *	to merge two			write the left one anew, with both; then unlink the right one
 *
 * A range grows only around a node that was written anew just before: so a ghost never comes
 * to life. What is a ghost in a node goes when the node is next written anew.
 *
 *	window	neighbours, in order, whose keys are looked at as one sequence
 *	sep	separator
 *	step	indices that a leaf without keys covers: where leaves of dense indices meet
 */
#include "array_node.h"

/* More neighbours would fill nodes better: k full ones become k + 1. */
#define WINDOW 3
/* Insertions in one direction that make it one. */
#define TREND 16

enum {
	NO_FIT = 1, /* the keys need more than a page */
	PARENT_FIRST = 2, /* there must be room for a separator above before this level can go on */
};

struct stats {
	u64 nr;
	u64 first;
	u64 last;
};

/* A key that will be inserted next, if @nr is 1: as if it were there. */
struct extra {
	u64 key;
	unsigned int nr;
};

static const struct extra no_extra;

static u64 max64(u64 a, u64 b)
{
	return a > b ? a : b;
}

static u64 min64(u64 a, u64 b)
{
	return a < b ? a : b;
}

/* Words that are kept free where a node is written anew, so that the next keys do not have it written again. */
static unsigned int spare_of(unsigned int cap)
{
	return cap / 32;
}

/* ---- what is there ------------------------------------------------------ */

static void window_cursor(const struct khoc_array *array, struct khoc_array_cursor *cursor,
			  const struct array_place *place, u64 from, u64 to)
{
	array_cursor_init_(cursor, place->node, max64(place->lo, from), min64(place->last, to),
			   array->shift);
}

static void survey(const struct khoc_array *array, const struct array_place *window,
		   unsigned int nr, u64 from, u64 to, struct stats *stats)
{
	struct khoc_array_cursor cursor;
	u64 key, value;

	*stats = (struct stats){0, from, from};
	for (unsigned int i = 0; i < nr; i++) {
		window_cursor(array, &cursor, window + i, from, to);
		while (array_cursor_next_(&cursor, &key, &value)) {
			if (!stats->nr++)
				stats->first = key;
			stats->last = key;
		}
	}
}

/* The key number @at of a window. */
static u64 quantile(const struct khoc_array *array, const struct array_place *window,
		    unsigned int nr, u64 at)
{
	struct khoc_array_cursor cursor;
	u64 key = 0, value;

	for (unsigned int i = 0; i < nr; i++) {
		window_cursor(array, &cursor, window + i, 0, ~0ULL);
		while (array_cursor_next_(&cursor, &key, &value))
			if (!at--)
				return key;
	}
	return key;
}

/* ---- writing a node anew ------------------------------------------------ */

/* Where a leaf without keys that has @index begins: leaves of dense indices meet at multiples of the step. */
static u64 dense_base(const struct khoc_array *array, u64 index)
{
	u64 step = array_cap(0, array->shift);

	/* Its last word has an index too, so that nothing wraps. */
	return min64(index - index % step, ~0ULL - (step - 1));
}

/* The narrowest form of a node of the range [@from, @to] that takes these keys, @extra being one. */
static void node_form(const struct khoc_array *array, unsigned int level, const struct stats *stats,
		      u64 from, u64 to, const struct extra *extra, array_node *form)
{
	u64 step = array_cap(0, array->shift), base = dense_base(array, stats->first);
	u64 span = stats->last - stats->first;

	*form = (array_node){.level = (u8)level, .width = ARRAY_WIDTH_INNER};
	if (level)
		return;
	if (span < step) {
		form->width = 0;
		if (stats->last - base >=
		    step) /* more keys may follow in the direction of the last */
			base = extra->nr && extra->key == stats->first ? stats->last - (step - 1)
								       : stats->first;
		form->base = min64(base, ~0ULL - (step - 1));
		return;
	}
	for (unsigned int width = 2; width < 8; width *= 2) {
		if (span > array_delta_max(width))
			continue;
		form->width = (u8)width;
		/* By the range, if it is no wider: then no key to come can be too far off. */
		form->base = to - from <= array_delta_max(width) ? from : stats->first;
		return;
	}
	form->base = from;
}

/* See array_guess(). */
static u64 inner_hint(const u64 *keys, unsigned int nr)
{
	u64 span = nr > 1 ? keys[nr - 1] - keys[0] : 0, factor;
	unsigned int bits = khoc_fls64(span), less = bits > 32 ? bits - 32 : 0;

	if (!span)
		return 0;
	factor = ((u64)(nr - 1) << 32) / (span >> less) + 1;
	return (u64)less << 32 | min64(factor, 0xffffffff);
}

static void node_fill(const struct khoc_array *array, array_node *node,
		      const struct array_place *window, unsigned int nr, u64 from, u64 to)
{
	unsigned int width = node->width, used = 0;
	void *keys = array_keys(node, width, array->shift);
	u64 *values = array_values(node), base = node->base, key, value, live = 0;
	struct khoc_array_cursor cursor;

	for (unsigned int i = 0; i < nr; i++) {
		window_cursor(array, &cursor, window + i, from, to);
		while (array_cursor_next_(&cursor, &key, &value)) {
			live++;
			if (!width) {
				values[key - base] = value;
				continue;
			}
			array_key_store(keys, used, width, key - base);
			values[used++] = value;
		}
	}
	node->nr_sorted = node->nr_used = (u16)used;
	if (node->level)
		node->base = inner_hint(keys, used);
	node->nr_live = (u16)live;
}

static int page_new(const struct khoc_array *array, kho_pa_t *pa, array_node **node)
{
	const struct khoc_mem *mem = array->mem;
	int fault;

	*pa = mem->ops->alloc_page ? mem->ops->alloc_page(mem->ctx) : 0;
	if (!*pa)
		return -ENOMEM;
	fault = array_pa_fault(mem, *pa, array->shift);
	*node = fault ? NULL : khoc_map(mem, *pa, 1UL << array->shift);
	if (*node)
		return 0;
	mem->ops->free_page(mem->ctx, *pa);
	return fault ? -fault : -KHO_E_RANGE;
}

/*
 * build() - write the keys of a window in [@from, @to] to a new page, which nothing leads to yet
 * @from, @to: its range
 * @spare: one in so many words is to be free afterwards
 *
 * Return: 0 and the page; NO_FIT; or an error.
 */
static int build(const struct khoc_array *array, const struct array_place *window, unsigned int nr,
		 u64 from, u64 to, const struct extra *extra, unsigned int spare, kho_pa_t *pa)
{
	array_node form, *node;
	struct stats stats;
	unsigned int cap;
	int rc;

	survey(array, window, nr, from, to, &stats);
	if (extra->nr) {
		stats.first = stats.nr ? min64(stats.first, extra->key) : extra->key;
		stats.last = stats.nr ? max64(stats.last, extra->key) : extra->key;
	}
	node_form(array, window->level, &stats, from, to, extra, &form);
	cap = array_cap(form.width, array->shift);
	if (form.width && stats.nr + extra->nr > cap - (spare ? cap / spare : 0))
		return NO_FIT;
	rc = page_new(array, pa, &node);
	if (rc)
		return rc;
	*node = form;
	node_fill(array, node, window, nr, from, to);
	return 0;
}

#define SPARE_NONE 0
#define SPARE_SOME 32
#define SPARE_QUARTER 4

/* Make @fresh reachable from a place's slot, and @stale unreachable. */
static int link_page(struct khoc_array *array, u64 *slot, unsigned int level, kho_pa_t fresh,
		     kho_pa_t stale)
{
	const struct khoc_mem *mem = array->mem;
	u64 value = slot == &array->desc->root ? fresh + level : fresh;
	int rc;

	array->leaf = NULL;
	rc = mem->ops->publish_page(mem->ctx, slot, value, fresh, stale);
	if (rc)
		mem->ops->free_page(mem->ctx, fresh);
	return rc;
}

static int unlink_page(struct khoc_array *array, u64 *slot, u64 value, kho_pa_t stale)
{
	array->leaf = NULL;
	return array->mem->ops->publish_page(array->mem->ctx, slot, value, 0, stale);
}

/* Write a node anew in the place of @at, with what of @window is in [@from, @to]. */
static int replace(struct khoc_array *array, const struct array_place *at,
		   const struct array_place *window, unsigned int nr, u64 from, u64 to,
		   const struct extra *extra, unsigned int spare)
{
	kho_pa_t pa;
	int rc = build(array, window, nr, from, to, extra, spare, &pa);

	return rc ? rc : link_page(array, at->slot, at->level, pa, at->pa);
}

static int rewrite(struct khoc_array *array, const struct array_place *at,
		   const struct extra *extra, unsigned int spare)
{
	return replace(array, at, at, 1, at->lo, at->last, extra, spare);
}

/* ---- room for a key ----------------------------------------------------- */

static int first_leaf(struct khoc_array *array, u64 index)
{
	array_node *node;
	kho_pa_t pa;
	int rc = page_new(array, &pa, &node);

	if (rc)
		return rc;
	*node = (array_node){.base = dense_base(array, index)};
	return link_page(array, &array->desc->root, 0, pa, 0);
}

/* A root above the root, which has a parent then. */
static int grow_root(struct khoc_array *array, const struct array_place *at)
{
	array_node *node;
	kho_pa_t pa;
	int rc;

	if (at->level == KHO_ABI_ARRAY_LEVEL_MAX)
		return -ENOSPC;
	rc = page_new(array, &pa, &node);
	if (rc)
		return rc;
	*node = (array_node){.level = (u8)(at->level + 1),
			     .width = ARRAY_WIDTH_INNER,
			     .nr_sorted = 1,
			     .nr_used = 1,
			     .nr_live = 1};
	array_values(node)[0] = at->pa; /* its separator is 0 */
	return link_page(array, &array->desc->root, at->level + 1, pa, 0);
}

/* Is there a free word, and no dead key among the sorted ones, past which a separator could move? */
static bool parent_is_ready(const array_node *node, unsigned int shift)
{
	const u64 *values = array_values(node);

	if (node->nr_used == array_cap(ARRAY_WIDTH_INNER, shift) ||
	    node->nr_used - node->nr_sorted == KHO_ABI_ARRAY_TAIL)
		return false;
	for (unsigned int i = 0; i < node->nr_used; i++)
		if (!values[i])
			return false;
	return true;
}

/* Link a new node, whose range begins at @sep, to a parent that is ready. */
static int add_child(struct khoc_array *array, const struct array_place *parent, u64 sep,
		     kho_pa_t pa)
{
	array_node *node = parent->node;
	u64 *keys = array_keys(node, ARRAY_WIDTH_INNER, array->shift);
	unsigned int used = node->nr_used;

	keys[used] = sep;
	node->nr_used = (u16)(used + 1);
	node->nr_live++;
	return link_page(array, array_values(node) + used, parent->level - 1, pa, 0);
}

/* Sort a parent's separators. Without memory it stays as it is: that is no error, but slower. */
static void tidy(struct khoc_array *array, const struct array_place *parent)
{
	rewrite(array, parent, &no_extra, SPARE_NONE);
}

/* Divide one node: what is at @sep and above goes to a new one. */
static int divide_at(struct khoc_array *array, const struct array_place *at,
		     const struct array_place *parent, u64 sep, const struct extra *extra)
{
	kho_pa_t pa;
	int rc = build(array, at, 1, sep, at->last, extra, SPARE_NONE, &pa);

	if (!rc)
		rc = add_child(array, parent, sep, pa);
	if (!rc)
		tidy(array, parent);
	return rc;
}

/*
 * The multiple of the step next to @sep that is above @above and at most @most; @sep if there is none, and
 * of inner nodes, whose separators must be some of their keys.
 */
static u64 round_sep(const struct khoc_array *array, unsigned int level, u64 sep, u64 above,
		     u64 most)
{
	u64 step = array_cap(0, array->shift), near = sep + step / 2;

	near -= near % step;
	if (near <= above)
		near += step;
	else if (near > most)
		near -= step;
	return level || near <= above || near > most ? sep : near;
}

/* Would leaves that meet at @sep not be full when they are dense? */
static bool is_odd(const struct khoc_array *array, unsigned int level, u64 sep)
{
	return !level && sep % array_cap(0, array->shift);
}

/* Where keys come in order, the node behind is left as full as it is. Return: the separator, or 0. */
static u64 sep_of_trend(const struct khoc_array *array, const struct array_place *at,
			const struct stats *stats, u64 key)
{
	u64 step = array_cap(0, array->shift), base = at->node->base, second;

	/* A leaf without keys is not wanted in another form: it is dense. Where such meet it ends, too. */
	if (!at->node->width && base % step)
		return base - base % step + step;
	if (!at->node->width)
		return key < base ? base : base + step;
	if (array->trend >= TREND && key >= stats->last)
		return at->level ? stats->last : key;
	if (array->trend > -TREND)
		return 0;
	second = at->level ? quantile(array, at, 1, 1) : stats->first;
	return key < second ? second : 0;
}

/*
 * struct window - a node that is full, and its neighbours below the same parent
 * @place: in order
 * @stats: of each
 * @nr: how many there are
 * @at: which is the full one
 */
struct window {
	struct array_place place[WINDOW];
	struct stats stats[WINDOW];
	unsigned int nr;
	unsigned int at;
};

static int window_look(const struct khoc_array *array, const struct array_place *at,
		       const struct array_place *parent, struct window *w)
{
	int rc = 0;

	w->nr = 0;
	if (at->lo > parent->lo)
		rc = array_place_child_(array, parent, at->lo - 1, &w->place[w->nr++]);
	w->at = w->nr;
	w->place[w->nr++] = *at;
	if (!rc && at->last < parent->last)
		rc = array_place_child_(array, parent, at->last + 1, &w->place[w->nr++]);
	if (rc)
		return rc;
	for (unsigned int i = 0; i < w->nr; i++)
		survey(array, w->place + i, 1, 0, ~0ULL, w->stats + i);
	return 0;
}

/*
 * Give half of what it has more to the neighbour that has least. Return: 0, NO_FIT if there is none that
 * has much less, or an error.
 */
static int even_out(struct khoc_array *array, const struct window *w)
{
	const struct array_place *at = w->place + w->at;
	const struct stats *stats = w->stats + w->at;
	unsigned int least = spare_of(array_cap(at->node->width, array->shift)), to = w->at;
	struct stats moved;
	u64 more, sep;
	int rc;

	for (unsigned int i = 0; i < w->nr; i++)
		if (w->stats[i].nr < w->stats[to].nr)
			to = i;
	more = (stats->nr - w->stats[to].nr) / 2;
	if (more < (least ? least : 1))
		return NO_FIT;
	sep = quantile(array, at, 1, to < w->at ? more : stats->nr - more);
	sep = round_sep(array, at->level, sep, stats->first, stats->last);
	/* Rounded, it may be so much more that they would change places, and back again for ever. */
	survey(array, at, 1, to < w->at ? 0 : sep, to < w->at ? sep - 1 : ~0ULL, &moved);
	if (is_odd(array, at->level, sep) || w->stats[to].nr + moved.nr >= stats->nr)
		return NO_FIT;
	if (to < w->at) {
		rc = replace(array, at - 1, at - 1, 2, at[-1].lo, sep - 1, &no_extra, SPARE_SOME);
		if (!rc)
			array_store(at->sep, sep);
		return rc;
	}
	rc = replace(array, at + 1, at, 2, sep, at[1].last, &no_extra, SPARE_SOME);
	if (!rc)
		array_store(at[1].sep, sep);
	return rc;
}

/* The separator that leaves @part of @parts of a window's keys below it, if it is in @place's range, else 0. */
static u64 sep_at(const struct khoc_array *array, const struct window *w, unsigned int part,
		  unsigned int parts, const struct array_place *place)
{
	u64 all = 0, sep;

	for (unsigned int i = 0; i < w->nr; i++)
		all += w->stats[i].nr;
	sep = quantile(array, w->place, w->nr, all * part / parts);
	sep = round_sep(array, place->level, sep, place->lo, place->last);
	return sep > place->lo && sep <= place->last && !is_odd(array, place->level, sep) ? sep : 0;
}

/*
 * Make k full nodes k + 1 that are less full, k being 2 or 3. The new one goes between the last
 * two, and takes keys of both; of three, the second then takes from the first.
 * Return: 0, NO_FIT if they cannot be divided like that, or an error.
 */
static int divide_evenly(struct khoc_array *array, const struct window *w,
			 const struct array_place *parent)
{
	unsigned int nr = w->nr;
	const struct array_place *left, *right;
	u64 low, sep, high;
	kho_pa_t pa;
	int rc;

	if (nr < 2)
		return NO_FIT;
	left = w->place + nr - 2;
	right = w->place + nr - 1;
	sep = sep_at(array, w, nr - 1, nr + 1, left);
	high = sep_at(array, w, nr, nr + 1, right);
	low = nr == 3 ? sep_at(array, w, 1, 4, w->place) : 0;
	if (!sep || !high || (nr == 3 && !low))
		return NO_FIT;
	rc = build(array, left, 2, sep, high - 1, &no_extra, SPARE_SOME, &pa);
	if (!rc)
		rc = add_child(array, parent, sep, pa);
	if (rc)
		return rc;
	array_store(right->sep, high);
	if (nr == 3 && !replace(array, left, w->place, 2, low, sep - 1, &no_extra, SPARE_SOME))
		array_store(left->sep, low);
	tidy(array, parent);
	return 0;
}

static int divide(struct khoc_array *array, const struct array_place *at,
		  const struct array_place *parent, const struct extra *extra)
{
	u64 narrow = 8ULL * array_cap(0, array->shift), sep;
	struct stats stats;
	struct window w;
	int rc;

	survey(array, at, 1, 0, ~0ULL, &stats);
	sep = sep_of_trend(array, at, &stats, extra->key);
	if (sep > at->lo && sep <= at->last)
		return divide_at(array, at, parent, sep,
				 at->level || extra->key < sep || sep <= stats.last ? &no_extra
										    : extra);
	/* Where leaves will soon be dense it matters more that they meet where those will. */
	if (!at->level && stats.last - stats.first >= narrow) {
		rc = window_look(array, at, parent, &w);
		if (!rc)
			rc = even_out(array, &w);
		if (rc == NO_FIT)
			rc = divide_evenly(array, &w, parent);
		if (rc != NO_FIT)
			return rc;
	}
	sep = quantile(array, at, 1, stats.nr / 2);
	sep = round_sep(array, at->level, sep, stats.first, stats.last);
	return divide_at(array, at, parent, sep, &no_extra);
}

/* Room for one more key in the node of @level that @key belongs to, or a step towards it. */
static int room_at(struct khoc_array *array, u64 key, unsigned int level)
{
	const struct extra extra = {key, 1};
	struct array_place at, parent;
	int rc = array_locate_(array, key, level, &at, &parent);

	if (rc <= 0)
		return rc ? rc : first_leaf(array, key);
	rc = rewrite(array, &at, &extra, SPARE_SOME);
	if (rc != NO_FIT)
		return rc;
	if (!at.sep)
		return grow_root(array, &at);
	if (!parent_is_ready(parent.node, array->shift))
		return PARENT_FIRST;
	return divide(array, &at, &parent, &extra);
}

int array_make_room_(struct khoc_array *array, u64 index)
{
	for (unsigned int level = 0; level <= KHO_ABI_ARRAY_LEVEL_MAX; level++) {
		int rc = room_at(array, index, level);

		if (rc != PARENT_FIRST)
			return rc;
	}
	return -KHO_E_STATE;
}

/* ---- fewer nodes -------------------------------------------------------- */

/* Merge two neighbours, if they fit one node with some room left. */
static int merge(struct khoc_array *array, const struct array_place *left,
		 const struct array_place *right, const struct array_place *parent,
		 unsigned int spare)
{
	const struct array_place pair[2] = {*left, *right};
	int rc = replace(array, left, pair, 2, left->lo, right->last, &no_extra, spare);

	if (rc)
		return rc;
	rc = unlink_page(array, right->slot, 0, right->pa);
	if (!rc)
		tidy(array, parent);
	return rc;
}

/* Return: 1 if the level above should be looked at, 0 if not, or an error. */
static int shrink_at(struct khoc_array *array, u64 key, unsigned int level)
{
	struct array_place at, parent, other;
	struct stats stats;
	unsigned int spare;
	int rc = array_locate_(array, key, level, &at, &parent);

	if (rc <= 0 || !at.sep)
		return rc < 0 ? rc : 0;
	survey(array, &at, 1, 0, ~0ULL, &stats);
	if (stats.nr > array_cap(at.node->width, array->shift) / 4 + 1)
		return 0;
	if (at.lo == parent.lo && at.last == parent.last)
		return 1;
	spare = stats.nr ? SPARE_QUARTER : SPARE_NONE;
	rc = NO_FIT;
	if (at.lo > parent.lo && !array_place_child_(array, &parent, at.lo - 1, &other))
		rc = merge(array, &other, &at, &parent, spare);
	if (rc == NO_FIT && at.last < parent.last &&
	    !array_place_child_(array, &parent, at.last + 1, &other))
		rc = merge(array, &at, &other, &parent, spare);
	return rc == NO_FIT ? 0 : rc ? rc : 1;
}

/* A root with one child gives its place to it. */
static void collapse_root(struct khoc_array *array)
{
	struct array_place root, child;
	struct stats stats;

	while (array_place_root_(array, &root) == 1 && root.level) {
		survey(array, &root, 1, 0, ~0ULL, &stats);
		if (stats.nr != 1 || array_place_child_(array, &root, 0, &child))
			return;
		if (unlink_page(array, root.slot, child.pa + child.level, root.pa))
			return;
	}
}

void array_shrink_(struct khoc_array *array, u64 index)
{
	for (unsigned int level = 0; level < KHO_ABI_ARRAY_LEVEL_MAX; level++)
		if (shrink_at(array, index, level) != 1)
			break;
	collapse_root(array);
}

/* ---- freeing ------------------------------------------------------------ */

/*
 * The leftmost node below @place that has no children, @place itself if it has none. Only children
 * in range are looked at: ghosts may have been freed long ago. From the left, because
 * the range of a node that is freed goes to the one on its left.
 */
static int leftmost(const struct khoc_array *array, struct array_place *place)
{
	while (place->level) {
		const u64 *keys = array_keys(place->node, ARRAY_WIDTH_INNER, array->shift);
		struct array_place parent = *place;
		int at = array_route(place->node, place->lo, array->shift), rc;

		if (at < 0 || keys[at] < place->lo)
			at = array_route_above_(place->node, place->lo, array->shift);
		if (at < 0 || keys[at] > place->last)
			return 0;
		rc = array_place_child_(array, &parent, keys[at], place);
		if (rc)
			return rc;
	}
	return 0;
}

int array_bury_(struct khoc_array *array)
{
	u64 doomed = array->desc->doomed;
	u64 budget = khoc_load(&array->mem->size) >> array->shift;

	while (budget--) {
		struct array_place at = {.pa = array_root_pa(doomed),
					 .last = ~0ULL,
					 .slot = &array->desc->doomed,
					 .level = array_root_level(doomed)};
		bool root;
		int rc;

		if (at.level > KHO_ABI_ARRAY_LEVEL_MAX)
			return -KHO_E_STATE;
		at.node = array_node_at(array->mem, at.pa, at.level, array->shift);
		if (!at.node)
			return array_node_fault(array->mem, at.pa, array->shift);
		rc = leftmost(array, &at);
		root = at.slot == &array->desc->doomed;
		if (!rc)
			rc = unlink_page(array, at.slot, 0, at.pa);
		if (rc || root)
			return rc;
	}
	return -KHO_E_CYCLE;
}
