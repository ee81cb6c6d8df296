/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Arrays of tests: an image whose pages are all for one array, and a plain sorted array as its model. */
#ifndef TESTS_CORE_ARRAY_FIXTURE_H
#define TESTS_CORE_ARRAY_FIXTURE_H

#include "image.h"

static const unsigned int array_shifts[] __attribute__((unused)) = {6, 12, 14, 16};

struct model_entry {
	u64 index;
	u64 entry;
};

struct model {
	struct model_entry *entries;
	u64 nr;
	u64 max;
};

struct fixture {
	struct image image;
	struct khoc_array array;
	struct model model;
	kho_pa_t desc_pa;
	u64 *seen;
	u64 pages; /* that the last check found */
};

/* ---- the model ---- */

static inline u64 model_find(const struct model *model, u64 index)
{
	u64 lo = 0, hi = model->nr;

	while (lo < hi) {
		u64 at = lo + (hi - lo) / 2;

		if (model->entries[at].index < index)
			lo = at + 1;
		else
			hi = at;
	}
	return lo;
}

static inline u64 model_get(const struct model *model, u64 index)
{
	u64 at = model_find(model, index);

	return at < model->nr && model->entries[at].index == index ? model->entries[at].entry : 0;
}

/* @entry 0 erases. */
static inline void model_set(struct model *model, u64 index, u64 entry)
{
	struct model_entry *entries = model->entries;
	u64 at = model_find(model, index);
	bool there = at < model->nr && entries[at].index == index;

	if (there && entry) {
		entries[at].entry = entry;
	} else if (there) {
		model->nr--;
		memmove(entries + at, entries + at + 1, (model->nr - at) * sizeof(*entries));
	} else if (entry) {
		EXPECT(model->nr < model->max);
		memmove(entries + at + 1, entries + at, (model->nr - at) * sizeof(*entries));
		entries[at] = (struct model_entry){index, entry};
		model->nr++;
	}
}

/* ---- the fixture ---- */

static inline void fixture_make(struct fixture *f, unsigned int shift, u64 nr_pages, u64 max,
				bool linear)
{
	u64 lo = 4ULL << shift;

	image_make(&f->image, shift, lo + (nr_pages << shift), lo, nr_pages, linear);
	f->image.anywhere = true; /* desc->slot_pa may say anything */
	f->model = (struct model){shim_alloc(max * sizeof(struct model_entry)), 0, max};
	f->seen = shim_alloc((nr_pages + 64) / 8 + 8);
	f->desc_pa = image_node(&f->image);
	EXPECT_EQ(khoc_array_init(&f->array, &f->image.mem, shift, f->desc_pa), 0);
}

static inline void fixture_destroy(struct fixture *f)
{
	shim_free(f->model.entries);
	shim_free(f->seen);
	image_destroy(&f->image);
}

static inline int fixture_validate(struct fixture *f, const struct khoc_array *array,
				   struct khoc_array_check *check, struct khoc_report *report)
{
	memset(f->seen, 0, (f->image.nr_nodes + 64) / 8 + 8);
	*check = (struct khoc_array_check){
		.data_lo = f->image.mem.node_lo, .data_hi = f->image.mem.node_hi, .seen = f->seen};
	return khoc_array_validate(array, check, report);
}

/* A successor finds what the model says, each page that is published, and no other. */
static inline void fixture_check(struct fixture *f)
{
	struct khoc_array_check check;
	struct khoc_array_iter iter;
	struct khoc_report report;
	struct khoc_array other;
	u64 index, entry, at = 0, published = 0;

	EXPECT_EQ(khoc_array_attach(&other, &f->image.mem, f->image.shift, f->desc_pa, &report), 0);
	if (fixture_validate(f, &other, &check, &report))
		printf("%s: %s level %d at %#llx: %#llx, %#llx\n", khoc_fault_text(report.fault),
		       report.field, report.level, (unsigned long long)report.addr,
		       (unsigned long long)report.value, (unsigned long long)report.limit);
	EXPECT_EQ(report.fault, 0);
	EXPECT_EQ(check.entries, f->model.nr);
	EXPECT_EQ(khoc_array_count(&other), f->model.nr);
	khoc_array_iter_init(&iter, &other, 0, ~0ULL);
	while (khoc_array_iter_next(&iter, &index, &entry) == 1) {
		EXPECT(at < f->model.nr);
		EXPECT_EQ(index, f->model.entries[at].index);
		EXPECT_EQ(entry, f->model.entries[at].entry);
		EXPECT_EQ(khoc_array_get(&other, index - 1), model_get(&f->model, index - 1));
		EXPECT_EQ(khoc_array_get(&other, index), entry);
		EXPECT_EQ(khoc_array_get(&other, index + 1), model_get(&f->model, index + 1));
		at++;
	}
	EXPECT_EQ(at, f->model.nr);
	for (u64 i = 0; i < f->image.nr_nodes; i++) {
		bool seen = f->seen[i / 64] >> (i % 64) & 1;

		published += f->image.used[i] == IMAGE_PUBLISHED;
		EXPECT_EQ(seen, f->image.used[i] == IMAGE_PUBLISHED);
	}
	EXPECT_EQ(check.pages, published);
	f->pages = published;
	/* The descriptor, and nothing that was taken and neither published nor given back. */
	EXPECT_EQ(f->image.live, published + 1);
}

#endif
