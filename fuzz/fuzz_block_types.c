/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Any bytes as an image with types of blocks. Input: log2 of the page size, less 6; then the pages of
 * the image from the first on, the blob at the start. Reading ends; if the trees are sound, every
 * block of theirs has a type with a tree, which is its own or a lower one.
 */
#include "fuzz.h"

struct input {
	struct khoc_mem mem;
	char *bytes;
};

static void *input_map(void *ctx, kho_pa_t pa, size_t len)
{
	struct input *in = ctx;

	FACT(len && pa < in->mem.size && len <= in->mem.size - pa);
	return in->bytes + pa;
}

static const struct khoc_mem_ops input_ops = {.map = input_map};

static void walk(const struct khoc_types *types, unsigned int type, u64 size)
{
	struct khoc_radix_iter iter;
	struct khoc_run run;

	khoc_radix_iter_init(&iter, &types->tree[type], 0, size, 0, 63);
	while (khoc_radix_iter_next(&iter, &run)) {
		unsigned int of = khoc_types_of(types, run.pa, run.order);

		FACT(khoc_type_has_tree(of) && of <= type);
	}
	FACT(!khoc_radix_iter_error(&iter));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned int shift = size ? 6 + data[0] % (FUZZ_BLOCK_SHIFT_MAX - 5) : 6;
	static char bytes[FUZZ_BLOCK_PAGES << FUZZ_BLOCK_SHIFT_MAX] __attribute__((aligned(4096)));
	u64 room = FUZZ_BLOCK_PAGES << shift, seen[FUZZ_BLOCK_PAGES / 64] = {0};
	struct input in = {.bytes = bytes};
	struct khoc_radix_check check = {0, room, seen};
	struct khoc_report report;
	struct khoc_types types;
	int rc;

	in.mem = (struct khoc_mem){
		.ops = &input_ops, .ctx = &in, .size = room, .node_lo = 0, .node_hi = room};
	memset(bytes, 0, room);
	if (size > 1)
		memcpy(bytes, data + 1, size - 1 < room ? size - 1 : room);
	rc = khoc_types_open(&types, &in.mem, shift, 0, room, &report);
	FACT(!rc == !report.fault);
	if (rc)
		return 0;
	rc = khoc_types_validate(&types, &check, &report);
	FACT(rc == -report.fault);
	for (unsigned int type = 0; !rc && type < KHO_ABI_TYPES; type++)
		if (types.has & 1U << type)
			walk(&types, type, room);
	return 0;
}
