/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Any bytes as an array, or as updates of one. What validates can be walked both ways without a
 * fault, and looked up; what does not, still ends and stays inside the image. Updates agree
 * with a plain sorted array, and leave no page behind.
 */
#include "fuzz.h"

#include <errno.h>

struct model_entry {
	u64 index;
	u64 entry;
};

struct input {
	struct khoc_mem_ops ops;
	struct khoc_mem mem;
	unsigned int shift;
	char *bytes;
	u8 used[FUZZ_ARRAY_PAGES];
	struct model_entry model[FUZZ_ARRAY_OPS_MAX];
	unsigned int nr;
};

static kho_pa_t desc_pa(const struct input *in)
{
	return 1ULL << in->shift;
}

static void *input_map(void *ctx, kho_pa_t pa, size_t len)
{
	struct input *in = ctx;

	FACT(len && pa <= in->mem.size && len <= in->mem.size - pa);
	return in->bytes + pa;
}

static kho_pa_t input_alloc(void *ctx)
{
	struct input *in = ctx;

	for (u64 i = 2; i < FUZZ_ARRAY_PAGES; i++)
		if (!in->used[i]) {
			in->used[i] = 1;
			memset(in->bytes + (i << in->shift), 0, 1UL << in->shift);
			return i << in->shift;
		}
	return 0;
}

static void input_free(void *ctx, kho_pa_t pa)
{
	struct input *in = ctx;

	FACT(in->used[pa >> in->shift]);
	in->used[pa >> in->shift] = 0;
}

static int input_publish(void *ctx, __u64 *slot, __u64 value, kho_pa_t fresh, kho_pa_t stale)
{
	FACT(*slot != value && fresh != stale);
	*slot = value;
	if (stale)
		input_free(ctx, stale);
	return 0;
}

static int validate(struct input *in, const struct khoc_array *array,
		    struct khoc_array_check *check)
{
	static u64 seen[FUZZ_ARRAY_PAGES / 64];
	struct khoc_report report;
	int rc;

	memset(seen, 0, sizeof(seen));
	*check = (struct khoc_array_check){.data_hi = in->mem.size, .seen = seen};
	rc = khoc_array_validate(array, check, &report);
	FACT(report.fault == -rc && report.field);
	return rc;
}

/* Both ways; @sound: without a fault, in order, and as looking up says. Return: the entries. */
static u64 walk(const struct khoc_array *array, bool down, bool sound)
{
	struct khoc_array_iter iter;
	u64 index, entry, before = 0, nr = 0;
	int rc;

	khoc_array_iter_init(&iter, array, 0, ~0ULL);
	while ((rc = down ? khoc_array_iter_prev(&iter, &index, &entry)
			  : khoc_array_iter_next(&iter, &index, &entry)) == 1) {
		FACT(entry);
		if (sound) {
			FACT(!nr || (down ? index < before : index > before));
			FACT(khoc_array_get(array, index) == entry);
		}
		before = index;
		nr++;
	}
	FACT(!sound || !rc);
	return nr;
}

static void any_bytes(struct input *in, const uint8_t *data, size_t size)
{
	struct khoc_array_check check;
	struct khoc_array array;
	u64 index = 0, entry;
	int rc;

	if (size > in->mem.size - desc_pa(in))
		size = in->mem.size - desc_pa(in);
	memcpy(in->bytes + desc_pa(in), data, size);
	if (khoc_array_attach(&array, &in->mem, in->shift, desc_pa(in), NULL))
		return;
	rc = validate(in, &array, &check);
	if (!rc) {
		FACT(walk(&array, false, true) == check.entries);
		FACT(walk(&array, true, true) == check.entries);
		FACT(khoc_array_count(&array) == check.entries);
		/* A sound array takes updates, and stays sound. The pages that it has are not free. */
		for (u64 i = 0; i < FUZZ_ARRAY_PAGES; i++)
			in->used[i] = check.seen[i / 64] >> (i % 64) & 1;
		for (u64 i = 0; i < 40; i++) {
			rc = khoc_array_set(&array, i * 0x9e3779b97f4a7c15ULL >> (i & 31), 1);
			FACT(!rc || rc == -ENOMEM || rc == -ENOSPC);
		}
		FACT(!validate(in, &array, &check));
		FACT(!khoc_array_clear(&array));
		FACT(!validate(in, &array, &check) && !check.pages);
		return;
	}
	walk(&array, false, false);
	walk(&array, true, false);
	khoc_array_count(&array);
	khoc_array_get(&array, in->mem.size);
	khoc_array_next(&array, &index, &entry);
}

/* ---- updates ------------------------------------------------------------ */

static unsigned int model_find(const struct input *in, u64 index)
{
	unsigned int at = 0;

	while (at < in->nr && in->model[at].index < index)
		at++;
	return at;
}

static void model_set(struct input *in, u64 index, u64 entry)
{
	unsigned int at = model_find(in, index);
	bool there = at < in->nr && in->model[at].index == index;
	struct model_entry *model = in->model + at;

	if (!entry) {
		in->nr -= there;
		memmove(model, model + there, (in->nr - at) * sizeof(*model));
		return;
	}
	if (!there)
		memmove(model + 1, model, (in->nr++ - at) * sizeof(*model));
	*model = (struct model_entry){index, entry};
}

static void compare(struct input *in, const struct khoc_array *array)
{
	struct khoc_array_check check;
	u64 index = 0, entry, pages = 0;

	FACT(!validate(in, array, &check) && check.entries == in->nr);
	FACT(khoc_array_count(array) == in->nr);
	for (u64 i = 0; i < FUZZ_ARRAY_PAGES; i++)
		pages += in->used[i];
	FACT(check.pages == pages);
	for (unsigned int i = 0; i < in->nr; i++, index++) {
		FACT(khoc_array_next(array, &index, &entry) == 1);
		FACT(index == in->model[i].index && entry == in->model[i].entry);
	}
	FACT(walk(array, true, true) == in->nr);
}

/* An update: what it is and how far the index is shifted down; the index. */
static void updates(struct input *in, const uint8_t *data, size_t size)
{
	struct khoc_array array;
	unsigned int nr = 0;

	FACT(!khoc_array_init(&array, &in->mem, in->shift, desc_pa(in)));
	for (; size >= 9 && nr < FUZZ_ARRAY_OPS_MAX; data += 9, size -= 9, nr++) {
		u64 index;
		int rc;

		memcpy(&index, data + 1, 8);
		index >>= data[0] >> 2;
		switch (data[0] & 3) {
		case 0:
		case 1:
			rc = khoc_array_set(&array, index, (u64)nr << 1 | 1);
			FACT(!rc || rc == -ENOMEM || rc == -ENOSPC);
			if (!rc)
				model_set(in, index, (u64)nr << 1 | 1);
			break;
		case 2: /* of what there is */
			if (in->nr)
				index = in->model[index % in->nr].index;
			FACT(khoc_array_erase(&array, index) == (in->nr ? 0 : -ENOENT));
			model_set(in, index, 0);
			break;
		default:
			if (index % 61)
				break;
			FACT(!khoc_array_clear(&array));
			in->nr = 0;
		}
		if (!(nr % 16))
			compare(in, &array);
	}
	compare(in, &array);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct input in;
	unsigned int shift = size < FUZZ_ARRAY_HEADER ? 0 : data[0];

	if (shift < KHO_ABI_PAGE_SHIFT_MIN || shift > FUZZ_TREE_SHIFT_MAX)
		return 0;
	memset(&in, 0, sizeof(in));
	in.shift = shift;
	in.bytes = calloc(FUZZ_ARRAY_PAGES, 1UL << shift);
	in.ops = (struct khoc_mem_ops){.map = input_map,
				       .alloc_page = input_alloc,
				       .free_page = input_free,
				       .publish_page = input_publish};
	in.mem = (struct khoc_mem){.ops = &in.ops, .ctx = &in, .size = FUZZ_ARRAY_PAGES << shift};
	if (data[1] & 1)
		in.mem.linear = in.bytes;
	if (data[1] & 2)
		updates(&in, data + FUZZ_ARRAY_HEADER, size - FUZZ_ARRAY_HEADER);
	else
		any_bytes(&in, data + FUZZ_ARRAY_HEADER, size - FUZZ_ARRAY_HEADER);
	free(in.bytes);
	return 0;
}
