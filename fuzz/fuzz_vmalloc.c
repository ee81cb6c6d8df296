/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Any bytes as a descriptor and its chunks. Every walk ends and stays inside; what validates
 * lists each page once, and the chain written anew from its blocks says the same.
 */
#include "fuzz.h"

struct input {
	struct khoc_mem mem;
	char *pages;
	u64 lo;
	u64 hi;
	u64 next; /* number of the next page that is handed out, from the end of the input's */
	unsigned int shift;
};

/* Beyond the pages of the input there is nothing, as in a sparse dump. */
static void *input_map(void *ctx, kho_pa_t pa, size_t len)
{
	struct input *in = ctx;

	FACT(len == 1UL << in->shift && !(pa & (len - 1)));
	return pa >= in->lo && pa < in->hi ? in->pages + (pa - in->lo) : NULL;
}

static kho_pa_t input_alloc(void *ctx)
{
	struct input *in = ctx;

	if (in->next == FUZZ_VMALLOC_CHUNKS)
		return 0;
	memset(in->pages + (in->next << in->shift), 0, 1UL << in->shift);
	return in->lo + (in->next++ << in->shift);
}

static void input_free(void *ctx, kho_pa_t pa)
{
	struct input *in = ctx;

	FACT(pa >= in->lo && pa < in->hi && in->next);
	in->next--;
}

/* Return: how the walk ended; @blocks and @nr: the blocks that came before. */
static int walk(struct input *in, const struct kho_abi_vmalloc *desc,
		const struct khoc_vmalloc_check *check, kho_pa_t *blocks, u64 *nr, u64 *chunks)
{
	struct khoc_vmalloc_iter iter;
	struct khoc_vmalloc_part part;
	int err = khoc_vmalloc_iter_init(&iter, &in->mem, in->shift, desc, check);

	*nr = *chunks = 0;
	while (!err && khoc_vmalloc_iter_next(&iter, &part)) {
		u64 size = 1ULL << (in->shift + part.order);

		FACT(part.pa >= in->lo && !(part.pa & (size - 1)));
		FACT(size <= in->mem.size && part.pa <= in->mem.size - size);
		FACT(part.chunk ? !part.order : part.order == desc->order);
		if (part.chunk)
			++*chunks;
		else
			blocks[(*nr)++] = part.pa;
		FACT(*nr <= desc->total_pages >> desc->order && *nr <= FUZZ_TREE_PAGES);
		FACT(*chunks <= *nr / kho_abi_vmalloc_per_chunk(in->shift) + 1);
	}
	FACT(!khoc_vmalloc_iter_next(&iter, &part) || err);
	return err ?: khoc_vmalloc_iter_error(&iter);
}

/* The same list in a chain of our own. */
static void write_anew(struct input *in, const struct kho_abi_vmalloc *desc, kho_pa_t *blocks,
		       u64 nr)
{
	kho_pa_t *again = calloc(nr, sizeof(*again));
	struct kho_abi_vmalloc mine;
	u64 count, chunks;
	int err;

	in->next = 0; /* over the input's */
	err = khoc_vmalloc_build(&in->mem, in->shift, desc->order, desc->flags, blocks, nr, &mine);
	FACT(!err || nr / kho_abi_vmalloc_per_chunk(in->shift) >= FUZZ_VMALLOC_CHUNKS);
	if (!err) {
		FACT(mine.total_pages == desc->total_pages && mine.order == desc->order);
		FACT(!walk(in, &mine, NULL, again, &count, &chunks) && count == nr);
		FACT(!memcmp(blocks, again, nr * sizeof(*blocks)));
		khoc_vmalloc_free(&in->mem, in->shift, &mine);
	}
	FACT(!in->next);
	free(again);
}

static void check_input(struct input *in, const struct kho_abi_vmalloc *desc)
{
	static u64 seen[FUZZ_TREE_PAGES / 64];
	struct khoc_vmalloc_check check = {.data_lo = in->lo, .data_hi = in->mem.size};
	kho_pa_t *blocks = calloc(FUZZ_TREE_PAGES + 1, sizeof(*blocks));
	u64 nr, chunks, sum = 0;
	struct khoc_report report;
	int err = walk(in, desc, &check, blocks, &nr, &chunks), again;

	FACT(khoc_vmalloc_validate(&in->mem, in->shift, desc, &check, &report) == err);
	FACT(report.fault == -err && report.field);
	check.seen = seen;
	memset(seen, 0, sizeof(seen));
	/* With marks it finds the same, or sooner that a page comes twice. */
	again = khoc_vmalloc_validate(&in->mem, in->shift, desc, &check, &report);
	FACT(again == err || again == -KHO_E_OVERLAP);
	if (!again) {
		for (u64 i = 0; i < FUZZ_TREE_PAGES / 64; i++)
			sum += khoc_popcount64(seen[i]);
		FACT(sum == desc->total_pages + chunks);
		FACT(nr << desc->order == desc->total_pages);
		write_anew(in, desc, blocks, nr);
	}
	free(blocks);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct khoc_mem_ops ops = {
		.map = input_map, .alloc_page = input_alloc, .free_page = input_free};
	struct kho_abi_vmalloc desc;
	struct input in = {.next = 0};

	if (size < FUZZ_VMALLOC_HEADER || data[0] < KHO_ABI_PAGE_SHIFT_MIN ||
	    data[0] > FUZZ_TREE_SHIFT_MAX)
		return 0;
	in.shift = data[0];
	in.lo = FUZZ_TREE_NODE_LO << in.shift;
	in.hi = in.lo + (FUZZ_VMALLOC_CHUNKS << in.shift);
	in.pages = calloc(FUZZ_VMALLOC_CHUNKS, 1UL << in.shift);
	in.mem = (struct khoc_mem){.ops = &ops, .ctx = &in, .size = FUZZ_TREE_PAGES << in.shift};
	memcpy(&desc, data + 1, sizeof(desc));
	size -= FUZZ_VMALLOC_HEADER;
	if (size > in.hi - in.lo)
		size = in.hi - in.lo;
	memcpy(in.pages, data + FUZZ_VMALLOC_HEADER, size);
	check_input(&in, &desc);
	free(in.pages);
	return 0;
}
