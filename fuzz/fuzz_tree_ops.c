/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Operations on a tree beside one byte per block and order: single blocks, ranges, pages split
 * as Linux splits them, changes of order, with nodes running out, opened anew, pruned, and read in
 * every way.
 *
 * An input: log2 of the page size, less 6, and 0x80 for an image in one piece; then operations, see operate().
 */
#include "ops.h"

#define MAX_ORDER 9
#define NR_PAGES 5003ULL /* not a power of two, and not a whole number of leaves or words */
#define MAX_OPS 600

static struct {
	struct ops_image image;
	struct khoc_radix tree;
	u8 marked[MAX_ORDER + 1][NR_PAGES];
	u64 nr_reserved;
} t;

static kho_pa_t pa_of(u64 page)
{
	return page << t.image.shift;
}

static u64 nr_blocks(unsigned int order)
{
	return NR_PAGES >> order;
}

/* ---- facts ---- */

static void same_blocks(unsigned int order, u64 first, u64 nr)
{
	for (u64 i = first; i < first + nr && i < nr_blocks(order); i++)
		FACT(khoc_radix_test(&t.tree, pa_of(i << order), order) == t.marked[order][i]);
}

/* Memory ran out on the way: @nr blocks from @first on may have become what they say now. */
static void take_over(unsigned int order, u64 first, u64 nr)
{
	for (u64 i = first; i < first + nr; i++)
		t.marked[order][i] = khoc_radix_test(&t.tree, pa_of(i << order), order);
}

static void validate(void)
{
	u64 seen[OPS_PAGES / 64] = {0}, nodes = 0, blocks[MAX_ORDER + 1] = {0};
	const struct khoc_radix_check check = {0, t.image.mem.size, seen};
	struct khoc_radix_counts counts;
	struct khoc_report report;

	FACT(!khoc_radix_validate(&t.tree, &check, &report));
	for (u64 i = 0; i < OPS_PAGES / 64; i++)
		nodes += khoc_popcount64(seen[i]);
	FACT(nodes == t.image.nr_used - t.nr_reserved);
	FACT(!khoc_radix_count(&t.tree, 0, ~0ULL, &counts));
	FACT(counts.tables + counts.leaves == nodes);
	for (unsigned int order = 0; order <= MAX_ORDER; order++) {
		for (u64 i = 0; i < nr_blocks(order); i++)
			blocks[order] += t.marked[order][i];
		FACT(counts.blocks[order] == blocks[order]);
	}
}

/* Runs that share bytes with a range: each block that is marked, once, the largest orders first. */
static void walk(u64 lo, u64 hi, unsigned int min, unsigned int max)
{
	struct khoc_radix_iter iter;
	struct khoc_run run;
	bool more;

	khoc_radix_iter_init(&iter, &t.tree, pa_of(lo), pa_of(hi), min, max);
	more = khoc_radix_iter_next(&iter, &run);
	for (unsigned int order = MAX_ORDER + 1; order-- > 0;) {
		for (u64 i = lo >> order; order >= min && order <= max && i < nr_blocks(order) &&
					  lo < hi && i << order < hi;
		     i++) {
			if (!t.marked[order][i])
				continue;
			FACT(more && run.order == order && run.pa == pa_of(i << order) && run.nr);
			run.pa += pa_of(1ULL << order);
			if (!--run.nr)
				more = khoc_radix_iter_next(&iter, &run);
		}
	}
	FACT(!more && !khoc_radix_iter_error(&iter));
}

/* The largest marked block that begins at @page; -1: none. */
static int begins(u64 page)
{
	for (int order = MAX_ORDER; order >= 0; order--)
		if (!(page & ((1ULL << order) - 1)) &&
		    page >> order < nr_blocks((unsigned int)order) &&
		    t.marked[order][page >> order])
			return order;
	return -1;
}

static void next(u64 page, u64 end)
{
	struct khoc_block block;
	bool found = khoc_radix_next(&t.tree, pa_of(page), pa_of(end), &block);

	while (page < end && page < NR_PAGES && begins(page) < 0)
		page++;
	FACT(found == (page < end && page < NR_PAGES));
	FACT(!found || (block.pa == pa_of(page) && (int)block.order == begins(page)));
}

static void look_up(u64 page)
{
	struct khoc_block block;
	bool found = khoc_radix_lookup(&t.tree, pa_of(page), &block);
	int order = MAX_ORDER;

	while (order >= 0 &&
	       (page >> order >= nr_blocks((unsigned int)order) || !t.marked[order][page >> order]))
		order--;
	FACT(found == (order >= 0));
	FACT(!found ||
	     (block.order == (unsigned int)order && block.pa == pa_of(page >> order << order)));
}

static void unite(u64 page)
{
	u64 bitmap[4], first = page & ~63ULL;

	FACT(!khoc_radix_union(&t.tree, pa_of(first), 256, bitmap));
	for (u64 i = 0; i < 256; i++) {
		bool covered = false;

		for (unsigned int order = 0; order <= MAX_ORDER; order++)
			covered |= (first + i) >> order < nr_blocks(order) &&
				   t.marked[order][(first + i) >> order];
		FACT((bitmap[i / 64] >> (i % 64) & 1) == covered);
	}
}

/* ---- operations ---- */

static void one(unsigned int order, u64 block, bool add)
{
	kho_pa_t pa = pa_of(block << order);
	int rc = add ? khoc_radix_add(&t.tree, pa, order) : khoc_radix_del(&t.tree, pa, order);

	if (block >= nr_blocks(order)) {
		FACT(rc == -EINVAL);
		return;
	}
	FACT(!rc || (add && rc == -ENOMEM));
	if (!rc)
		t.marked[order][block] = add;
	same_blocks(order, block, 1);
}

static void range(unsigned int order, u64 block, u64 nr, bool add)
{
	kho_pa_t pa = pa_of(block << order);
	int rc = add ? khoc_radix_add_range(&t.tree, pa, nr, order)
		     : khoc_radix_del_range(&t.tree, pa, nr, order);

	if (block > nr_blocks(order) || nr > nr_blocks(order) - block) {
		FACT(rc == -EINVAL);
		return;
	}
	FACT(!rc || (add && rc == -ENOMEM));
	if (rc)
		take_over(order, block, nr);
	else
		memset(t.marked[order] + block, add, nr);
	same_blocks(order, block ? block - 1 : 0, nr + 2);
}

static void pages(u64 page, u64 nr, bool add)
{
	int rc;

	if (!nr || page >= NR_PAGES || nr > NR_PAGES - page)
		return;
	if (khoc_radix_split(t.image.shift, pa_of(page), nr) > MAX_ORDER || nr >> (MAX_ORDER + 1))
		return; /* beyond the model */
	rc = add ? khoc_radix_add_pages(&t.tree, pa_of(page), nr)
		 : khoc_radix_del_pages(&t.tree, pa_of(page), nr);
	FACT(!rc || (add && rc == -ENOMEM));
	for (u64 step; nr; page += step, nr -= step) {
		unsigned int order = khoc_radix_split(t.image.shift, pa_of(page), nr);

		step = 1ULL << order;
		if (!rc)
			t.marked[order][page >> order] = add;
		same_blocks(order, page >> order, 1);
	}
}

static void reorder(u64 page, unsigned int from, unsigned int to, u64 nr)
{
	unsigned int larger = from > to ? from : to;
	u64 first = page >> larger << larger;
	int rc;

	nr <<= larger;
	if (from == to || !nr || first > NR_PAGES || nr > NR_PAGES - first)
		return;
	rc = khoc_radix_reorder(&t.tree, pa_of(first), nr, from, to);
	FACT(!rc || rc == -ENOMEM);
	memset(t.marked[to] + (first >> to), !rc, nr >> to);
	if (!rc)
		memset(t.marked[from] + (first >> from), 0, nr >> from);
	same_blocks(from, first >> from, nr >> from);
	same_blocks(to, first >> to, nr >> to);
}

/* An add that cannot fail, if the nodes for it were there before. */
static void reserved(unsigned int order, u64 block)
{
	struct khoc_radix_reserve reserve = {.nr = 0};
	u64 fail = t.image.fail;

	if (block >= nr_blocks(order))
		return;
	if (!khoc_radix_reserve_fill(&t.tree, &reserve)) {
		t.image.fail = 0;
		FACT(!khoc_radix_add_reserved(&t.tree, pa_of(block << order), order, &reserve));
		t.marked[order][block] = 1;
		t.image.fail = fail;
	}
	t.nr_reserved = reserve.nr;
	validate();
	khoc_radix_reserve_drain(&t.tree, &reserve);
	t.nr_reserved = 0;
	same_blocks(order, block, 1);
}

static void renew(bool prune)
{
	struct khoc_radix again;

	if (prune)
		khoc_radix_prune(&t.tree);
	FACT(!khoc_radix_attach(&again, &t.image.mem, t.image.shift, t.tree.root_pa));
	t.tree = again;
	validate();
}

static void look(struct ops_bytes *in, u8 op, u64 page)
{
	u64 other = take_number(in, 2) % (NR_PAGES + 2);

	switch (op >> 4 & 3) {
	case 0:
		walk(page < other ? page : other, page < other ? other : page, op >> 6,
		     MAX_ORDER - take_byte(in) % 4);
		break;
	case 1:
		next(page, other);
		break;
	case 2:
		look_up(page);
		break;
	default:
		unite(page);
	}
}

static void operate(struct ops_bytes *in)
{
	u8 op = take_byte(in);
	u64 page = take_number(in, 2) % (NR_PAGES + 2);
	unsigned int order = take_byte(in) % (MAX_ORDER + 1);
	bool add = op & 8;

	switch (op & 7) {
	case 0:
		one(order, page >> order, add);
		break;
	case 1:
		range(order, page >> order, take_number(in, 1 + (op >> 4 & 1)), add);
		break;
	case 2:
		pages(page, take_number(in, 1 + (op >> 4 & 1)), add);
		break;
	case 3:
		reorder(page, order, op >> 4 > MAX_ORDER ? 0 : op >> 4, take_byte(in));
		break;
	case 4:
		t.image.fail = add ? ~0ULL : op >> 4;
		break;
	case 5:
		reserved(order, page >> order);
		break;
	case 6:
		look(in, op, page);
		break;
	default:
		renew(add);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ops_bytes in = {data, size};
	u8 head = take_byte(&in);

	memset(t.marked, 0, sizeof(t.marked));
	ops_begin(&t.image, 6 + (head & 0x7f) % 3, 16, head & 0x80);
	/* The image is larger than what there is of it: blocks are numbers to a tree. */
	t.image.mem.size = NR_PAGES << t.image.shift;
	t.image.mem.node_hi = OPS_PAGES << t.image.shift;
	FACT(!khoc_radix_init(&t.tree, &t.image.mem, t.image.shift));
	for (unsigned int i = 0; i < MAX_OPS && in.left; i++)
		operate(&in);
	validate();
	walk(0, NR_PAGES, 0, 63);
	khoc_radix_destroy(&t.tree);
	FACT(!t.image.nr_used);
	ops_end(&t.image);
	return 0;
}
