/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Any bytes as a chain of blocks, read, and if it is sound taken over and written as the rest of
 * the input says, against a plain array. Every call ends; what is sound can be read to its end; and
 * a set does what the array does, with as many pages as its blocks.
 */
#include "fuzz.h"

#include <errno.h>

#define MAX_RECORDS 4096

struct input {
	struct khoc_mem mem;
	char *bytes;
	unsigned int shift;
	bool used[FUZZ_BLOCK_PAGES];
	u64 live;
	u64 fail; /* allocations until one fails */
};

static u64 page_of(const struct input *in, kho_pa_t pa)
{
	u64 page = pa >> in->shift;

	FACT(!(pa & ((1ULL << in->shift) - 1)) && page && page < FUZZ_BLOCK_PAGES);
	return page;
}

static void *input_map(void *ctx, kho_pa_t pa, size_t len)
{
	struct input *in = ctx;

	FACT(len && pa < in->mem.size && len <= in->mem.size - pa);
	return in->bytes + pa;
}

static kho_pa_t input_alloc(void *ctx)
{
	struct input *in = ctx;

	if (!in->fail--)
		return 0;
	for (u64 i = 1; i < FUZZ_BLOCK_PAGES; i++)
		if (!in->used[i]) {
			in->used[i] = true;
			in->live++;
			memset(in->bytes + (i << in->shift), 0, 1UL << in->shift);
			return i << in->shift;
		}
	return 0;
}

static void input_free(void *ctx, kho_pa_t pa)
{
	struct input *in = ctx;

	FACT(in->used[page_of(in, pa)]);
	in->used[page_of(in, pa)] = false;
	in->live--;
}

static int input_publish(void *ctx, __u64 *slot, __u64 value, kho_pa_t fresh, kho_pa_t stale)
{
	FACT(*slot != value && (!fresh || fresh == value));
	*slot = value;
	if (stale)
		input_free(ctx, stale);
	return 0;
}

/* Every record, to the end or to a fault. */
static u64 read_all(const struct khoc_block_chain *chain, u8 *firsts)
{
	struct khoc_report report;
	struct khoc_block_it it;
	const u8 *entry;
	u64 nr = 0;

	khoc_block_it_init_read(&it, chain);
	while ((entry = khoc_block_it_read(&it))) {
		kho_pa_t pa = khoc_block_it_pa(&it);

		FACT(pa < chain->mem->size && chain->entry_size <= chain->mem->size - pa);
		if (firsts && nr < MAX_RECORDS)
			firsts[nr] = *entry;
		nr++;
	}
	FACT(khoc_block_it_error(&it, &report) == -report.fault);
	FACT(nr <= (u64)KHO_ABI_BLOCKS_MAX << chain->shift);
	return nr;
}

/* All pages of the chain are in use, and no others. */
static void take_pages(struct input *in, kho_pa_t head)
{
	for (kho_pa_t pa = head; pa; pa = *(u64 *)(in->bytes + pa)) {
		FACT(!in->used[page_of(in, pa)]);
		in->used[page_of(in, pa)] = true;
		in->live++;
	}
}

static void compare(const struct khoc_block_set *set, const u64 *slot, const struct input *in,
		    const u8 *model, u64 nr)
{
	static u8 firsts[MAX_RECORDS];
	struct khoc_block_chain chain = set->chain;
	struct khoc_block_counts counts;

	chain.head = *slot;
	FACT(!khoc_block_check(&chain, NULL, &counts, NULL));
	FACT(counts.entries == nr && counts.blocks == in->live);
	FACT(read_all(&chain, firsts) == nr && !memcmp(firsts, model, nr));
}

/* One operation for each byte of the input. */
static void write_set(struct input *in, struct khoc_block_set *set, u64 *slot, u8 *model, u64 nr,
		      const uint8_t *ops, size_t nr_ops)
{
	static u8 entry[4096];
	struct khoc_block_it it;

	FACT(!khoc_block_it_init_end(&it, set));
	for (size_t i = 0; i < nr_ops; i++) {
		u8 op = ops[i];
		int err;

		in->fail = op & 0x40 ? 0 : ~0ULL;
		if (op < 0x80) {
			memset(entry, i + 1, set->chain.entry_size);
			err = nr < MAX_RECORDS ? khoc_block_it_append(&it, entry) : -ENOMEM;
			FACT(!err || err == -ENOMEM);
			if (!err)
				model[nr++] = (u8)(i + 1);
		} else if (op < 0xe0) {
			err = khoc_block_it_pop(&it);
			FACT(err == (nr ? 0 : -ENOENT));
			nr -= !err;
		} else if (op < 0xf0) {
			err = khoc_block_set_grow(set, nr + op % 16 * 3);
			FACT(!err || err == -ENOMEM);
		} else if (op < 0xfe) {
			struct khoc_block_chain was = set->chain;

			/* As a successor. */
			FACT(!khoc_block_set_init(set, was.mem, was.shift, slot, was.entry_size));
			FACT(!khoc_block_set_restore(set, NULL, NULL));
			FACT(!khoc_block_it_init_end(&it, set));
		} else {
			FACT(!khoc_block_set_clear(set));
			nr = 0;
			FACT(!khoc_block_it_init_end(&it, set));
		}
		compare(set, slot, in, model, nr);
	}
	FACT(!khoc_block_set_destroy(set) && !in->live && !*slot);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct khoc_mem_ops ops = {.map = input_map,
					 .alloc_page = input_alloc,
					 .free_page = input_free,
					 .publish_page = input_publish};
	static u8 model[MAX_RECORDS];
	struct khoc_block_counts counts;
	struct khoc_block_set set;
	struct khoc_report report;
	struct input in = {.fail = ~0ULL};
	u64 slot, nr_ops, image;
	int err;

	if (size < FUZZ_BLOCK_HEADER || data[0] < KHO_ABI_PAGE_SHIFT_MIN ||
	    data[0] > FUZZ_BLOCK_SHIFT_MAX)
		return 0;
	in.shift = data[0];
	nr_ops = data[3];
	if (nr_ops > size - FUZZ_BLOCK_HEADER)
		nr_ops = size - FUZZ_BLOCK_HEADER;
	in.mem = (struct khoc_mem){.ops = &ops, .ctx = &in, .size = FUZZ_BLOCK_PAGES << in.shift};
	in.bytes = calloc(FUZZ_BLOCK_PAGES, 1UL << in.shift);
	image = size - FUZZ_BLOCK_HEADER - nr_ops;
	if (image > in.mem.size - (1ULL << in.shift))
		image = in.mem.size - (1ULL << in.shift);
	memcpy(in.bytes + (1ULL << in.shift), data + FUZZ_BLOCK_HEADER + nr_ops, image);
	slot = image ? 1ULL << in.shift : 0;
	if (khoc_block_set_init(&set, &in.mem, in.shift, &slot, data[1] | (u64)data[2] << 8))
		goto out;
	set.chain.head = slot;
	read_all(&set.chain, NULL);
	err = khoc_block_check(&set.chain, NULL, &counts, &report);
	FACT(report.fault == -err && report.field);
	set.chain.head = 0;
	FACT(khoc_block_set_restore(&set, NULL, NULL) == err);
	FACT(err || read_all(&set.chain, model) == counts.entries);
	/* A block that is not full in the middle is sound, but a shrink would take it for full. */
	if (!err && counts.entries < MAX_RECORDS) {
		take_pages(&in, slot);
		write_set(&in, &set, &slot, model, counts.entries, data + FUZZ_BLOCK_HEADER,
			  nr_ops);
	}
out:
	free(in.bytes);
	return 0;
}
