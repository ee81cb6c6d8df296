/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Kills: areas of scattered pages, preserved and taken back, each with its descriptor at a place of its own. */
#include <errno.h>

#include "kill.h"
#include "vmalloc.h"

#define DESCS_AT 2048 /* descriptors, in the page of the subtrees' blobs */

static struct {
	char *at; /* where it is in this process, preserved or not */
	__u64 nr;
} areas[THREADS][AREAS];

static struct kho_vmalloc *desc_of(unsigned int t, unsigned int i)
{
	char *page = kho_arena_.base + the_log->blob;

	return (struct kho_vmalloc *)(page + DESCS_AT) + t * AREAS + i;
}

static void stamp_area(char *area, __u64 nr, __u64 seq)
{
	for (__u64 i = 0; i < nr; i++) {
		*(__u64 *)(area + i * KHO_PAGE_SIZE) = seq;
		*(__u64 *)(area + i * KHO_PAGE_SIZE + 8) = i;
	}
}

static void take_area_back(unsigned int t, unsigned int i, bool keep)
{
	struct extent entry = the_log->area[t][i];
	struct flight *f = &the_log->flight[t];

	f->kind = AREA_DEL;
	f->nr = entry.nr;
	f->seq = entry.seq;
	phase(f, 1);
	kho_unpreserve_vmalloc(desc_of(t, i));
	done(t, true);
	if (keep)
		return;
	kho_vfree(areas[t][i].at);
	areas[t][i].at = NULL;
}

static void preserve_area(unsigned int t, unsigned int i, uint64_t r)
{
	struct flight *f = &the_log->flight[t];
	__u64 nr = r & 1 ? 1 + (r >> 11) % 40 : 505 + (r >> 11) % 12;
	int rc;

	if (!areas[t][i].at) {
		areas[t][i].at = r >> 40 & 1 ? kho_vmalloc_huge(nr * KHO_PAGE_SIZE)
					     : kho_vmalloc(nr * KHO_PAGE_SIZE);
		areas[t][i].nr = nr;
	}
	if (!areas[t][i].at)
		return;
	f->kind = AREA_ADD;
	f->nr = areas[t][i].nr;
	f->seq = next_seq(t);
	stamp_area(areas[t][i].at, f->nr, f->seq);
	phase(f, 1);
	rc = kho_preserve_vmalloc(areas[t][i].at, desc_of(t, i));
	CHECK(!rc || rc == -ENOMEM, "preserve: %d", rc);
	done(t, !rc);
}

/* To and fro a few times: memory to be had takes much longer than marks. */
static void change_area(unsigned int t, uint64_t r)
{
	unsigned int i = (unsigned int)(r % AREAS);

	the_log->flight[t].index = i;
	for (unsigned int left = 8; left; left--) {
		if (the_log->area[t][i].pa)
			take_area_back(t, i, left > 1 || r >> 60 & 1);
		else
			preserve_area(t, i, r >> 8);
	}
}

static void apply_area(unsigned int t, const struct flight *f)
{
	struct log *log = the_log;

	if (f->kind == AREA_ADD)
		log->area[t][f->index] = (struct extent){1, f->nr, f->seq};
	else
		log->area[t][f->index].pa = 0;
}

/* What is there in part is nobody's, and released with the rest. */
static bool area_happened(unsigned int t, const struct flight *f)
{
	return !!desc_of(t, f->index)->first == (f->kind == AREA_ADD);
}

static void check_areas(unsigned int t, struct sums *sums)
{
	for (unsigned int i = 0; i < AREAS; i++) {
		struct extent *e = &the_log->area[t][i];
		struct kho_vmalloc *v = desc_of(t, i);

		CHECK(!v->first == !e->pa, "area %u-%u: %llx", t, i, v->first);
		if (!e->pa)
			continue;
		areas[t][i].at = kho_restore_vmalloc(v);
		areas[t][i].nr = e->nr;
		CHECK(areas[t][i].at, "area %u-%u lost", t, i);
		CHECK(v->total_pages >= e->nr, "area %u-%u: %u pages", t, i, v->total_pages);
		for (__u64 p = 0; p < e->nr; p++) {
			const __u64 *page = (__u64 *)(areas[t][i].at + p * KHO_PAGE_SIZE);

			CHECK(page[0] == e->seq && page[1] == p, "area %u-%u, page %llu", t, i, p);
		}
		sums->area_pages += v->total_pages;
		sums->area_chunks += (v->total_pages >> v->order) / 511 + 1;
	}
}

const struct kill_subject kill_areas = {.share = 12,
					.change = change_area,
					.apply = apply_area,
					.happened = area_happened,
					.check = check_areas};
