/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Operations on an array beside a plain sorted one: single entries and runs, near those that are
 * there and far away, with memory running out, opened anew as by a successor, read in every way.
 *
 * An input: log2 of the page size, less 6, and 0x80 for an image in one piece; then operations, see
 * operate(). An index is chosen by a byte and those that it wants: see take_index().
 */
#include "ops.h"

#define MAX_ENTRIES 4096
#define MAX_OPS 1500

struct model_entry {
	u64 index;
	u64 entry;
};

static struct {
	struct ops_image image;
	struct khoc_array array;
	struct model_entry model[MAX_ENTRIES];
	unsigned int nr;
	bool left_over; /* pages of a clear that memory did not suffice for may be there */
} t;

static unsigned int model_find(u64 index)
{
	unsigned int lo = 0, hi = t.nr;

	while (lo < hi) {
		unsigned int mid = (lo + hi) / 2;

		if (t.model[mid].index < index)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool model_has(unsigned int at, u64 index)
{
	return at < t.nr && t.model[at].index == index;
}

static u64 model_get(u64 index)
{
	unsigned int at = model_find(index);

	return model_has(at, index) ? t.model[at].entry : 0;
}

static void model_set(u64 index, u64 entry)
{
	unsigned int at = model_find(index);
	bool there = model_has(at, index);
	struct model_entry *model = t.model + at;

	if (!entry) {
		t.nr -= there;
		memmove(model, model + there, (t.nr - at) * sizeof(*model));
		return;
	}
	if (!there)
		memmove(model + 1, model, (t.nr++ - at) * sizeof(*model));
	*model = (struct model_entry){index, entry};
}

/* ---- facts ---- */

static void validate(void)
{
	static u64 seen[OPS_PAGES / 64];
	struct khoc_array_check check = {.data_hi = t.image.mem.size, .seen = seen};
	struct khoc_report report;

	memset(seen, 0, sizeof(seen));
	FACT(!khoc_array_validate(&t.array, &check, &report));
	FACT(check.entries == t.nr && khoc_array_count(&t.array) == t.nr);
	FACT(t.left_over ? check.pages <= t.image.nr_used : check.pages == t.image.nr_used);
}

/* All entries in [@first, @last], upwards or downwards, and no others. */
static void walk(u64 first, u64 last, bool down)
{
	unsigned int lo = model_find(first), hi = model_find(last);
	struct khoc_array_iter iter;
	u64 index, entry;

	hi += model_has(hi, last);
	khoc_array_iter_init(&iter, &t.array, first, last);
	while (lo < hi) {
		const struct model_entry *want = &t.model[down ? --hi : lo++];

		FACT((down ? khoc_array_iter_prev(&iter, &index, &entry)
			   : khoc_array_iter_next(&iter, &index, &entry)) == 1);
		FACT(index == want->index && entry == want->entry);
	}
	FACT(!(down ? khoc_array_iter_prev(&iter, &index, &entry)
		    : khoc_array_iter_next(&iter, &index, &entry)));
}

static void neighbours(u64 index)
{
	unsigned int at = model_find(index);
	u64 found = index, entry;
	int rc = khoc_array_next(&t.array, &found, &entry);

	FACT(rc == (at < t.nr));
	FACT(!rc || (found == t.model[at].index && entry == t.model[at].entry));
	found = index;
	at += model_has(at, index);
	rc = khoc_array_prev(&t.array, &found, &entry);
	FACT(rc == (at > 0));
	FACT(!rc || (found == t.model[at - 1].index && entry == t.model[at - 1].entry));
}

/* ---- operations ---- */

static u64 take_index(struct ops_bytes *in)
{
	u8 how = take_byte(in);

	switch (how >> 6) {
	case 0: /* of an entry, or beside it */
		return (t.nr ? t.model[take_number(in, 2) % t.nr].index : 0) + (how & 15) - 7;
	case 1: /* low ones */
		return take_number(in, 1 + (how & 1));
	case 2: /* in a stretch of 2^16 somewhere */
		return ((u64)(how & 63) << 57) + take_number(in, 2);
	default:
		return take_number(in, 8) >> (how & 63);
	}
}

static u64 entry_of(u8 kind, u64 number)
{
	u64 size = t.image.mem.size;

	return kind & 1 ? (number * 8) % (size - 8) + 8 : khoc_array_integer(number);
}

static void set(u64 index, u64 entry)
{
	u64 was = model_get(index);
	int rc;

	if (t.nr == MAX_ENTRIES)
		return;
	rc = khoc_array_set(&t.array, index, entry);
	FACT(!rc || rc == -ENOMEM || rc == -ENOSPC);
	FACT(khoc_array_get(&t.array, index) == (rc ? was : entry));
	if (!rc) {
		model_set(index, entry);
		t.left_over &= t.image.fail != ~0ULL;
	}
}

static void erase(u64 index)
{
	FACT(khoc_array_erase(&t.array, index) == (model_get(index) ? 0 : -ENOENT));
	FACT(!khoc_array_get(&t.array, index));
	model_set(index, 0);
}

static void clear(void)
{
	int rc = khoc_array_clear(&t.array);

	FACT(!rc || (rc == -ENOMEM && t.left_over));
	t.left_over |= t.image.fail != ~0ULL;
	if (!rc)
		t.nr = 0;
}

static void attach(void)
{
	struct khoc_array again;

	FACT(!khoc_array_attach(&again, &t.image.mem, t.image.shift, t.array.desc_pa, NULL));
	t.array = again;
	validate();
}

static void run(struct ops_bytes *in, u8 op)
{
	u64 index = take_index(in);
	unsigned int nr = take_byte(in), stride = 1 + (op >> 5);

	for (unsigned int i = 0; i < nr; i++, index += op & 8 ? -stride : stride) {
		if (op & 16)
			erase(index);
		else
			set(index, entry_of((u8)i, i));
	}
}

static void operate(struct ops_bytes *in)
{
	u8 op = take_byte(in);
	u64 index;

	switch (op & 7) {
	case 0:
	case 1:
		index = take_index(in);
		set(index, entry_of(op >> 3, take_byte(in)));
		break;
	case 2:
		erase(take_index(in));
		break;
	case 3:
		run(in, op);
		break;
	case 4: /* allocations until they fail, from now on */
		t.image.fail = op & 8 ? ~0ULL : op >> 4;
		break;
	case 5:
		index = take_index(in);
		walk(index, op & 16 ? ~0ULL : take_index(in), op & 8);
		break;
	case 6:
		neighbours(take_index(in));
		break;
	default:
		if (op >> 3 == 31)
			clear();
		else if (op >> 3 > 24)
			attach();
		else
			validate();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ops_bytes in = {data, size};
	u8 head = take_byte(&in);

	memset(&t.array, 0, sizeof(t.array));
	t.nr = 0;
	t.left_over = false;
	ops_begin(&t.image, 6 + (head & 0x7f) % 3, 2, head & 0x80);
	FACT(!khoc_array_init(&t.array, &t.image.mem, t.image.shift, 1ULL << t.image.shift));
	for (unsigned int i = 0; i < MAX_OPS && in.left; i++)
		operate(&in);
	validate();
	walk(0, ~0ULL, false);
	walk(0, ~0ULL, true);
	t.image.fail = ~0ULL;
	FACT(!khoc_array_destroy(&t.array) && !t.image.nr_used);
	ops_end(&t.image);
	return 0;
}
