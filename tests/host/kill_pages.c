/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Kills: folios and runs of pages, preserved and taken back. */
#include "kill.h"

static __u64 *page_at(kho_pa_t pa)
{
	return (__u64 *)(kho_arena_.base + pa);
}

static void stamp(kho_pa_t pa, __u64 nr, __u64 seq)
{
	for (__u64 i = 0; i < nr; i++, pa += KHO_PAGE_SIZE) {
		page_at(pa)[0] = seq;
		page_at(pa)[511] = pa;
	}
}

static void change_folio(unsigned int t, uint64_t r)
{
	unsigned int i = (unsigned int)(r % FOLIOS), order = (unsigned int)(r >> 8) % 5;
	struct extent *entry = &the_log->folio[t][i];
	struct flight *f = &the_log->flight[t];
	struct folio *folio;
	int rc = 0;

	f->index = i;
	if (entry->pa) {
		folio = kho_phys_to_virt(entry->pa);
		f->kind = FOLIO_DEL;
		f->pa = entry->pa;
		f->nr = entry->nr;
		f->seq = entry->seq;
		phase(f, 1);
		if (r >> 63)
			kho_unpreserve_folio(folio);
		kho_folio_put(folio);
	} else {
		folio = kho_folio_alloc(order);
		if (!folio)
			return;
		f->kind = FOLIO_ADD;
		f->pa = kho_virt_to_phys(folio);
		f->nr = order;
		f->seq = next_seq(t);
		stamp(f->pa, 1ULL << order, f->seq);
		phase(f, 1);
		rc = kho_preserve_folio(folio);
	}
	CHECK(!rc, "preserve: %d", rc);
	done(t, true);
}

static void change_run(unsigned int t, uint64_t r)
{
	unsigned int i = (unsigned int)(r % RUNS);
	struct extent entry = the_log->run[t][i];
	struct flight *f = &the_log->flight[t];
	__u64 nr = 1 + (r >> 8) % 30;
	struct page *page;
	int rc = 0;

	f->index = i;
	if (entry.pa) {
		page = kho_phys_to_virt(entry.pa);
		f->kind = RUN_DEL;
		f->pa = entry.pa;
		f->nr = entry.nr;
		f->seq = entry.seq;
		phase(f, 1);
		kho_unpreserve_pages(page, entry.nr);
	} else {
		page = kho_alloc_pages(nr);
		if (!page)
			return;
		f->kind = RUN_ADD;
		f->pa = kho_virt_to_phys(page);
		f->nr = nr;
		f->seq = next_seq(t);
		stamp(f->pa, nr, f->seq);
		phase(f, 1);
		rc = kho_preserve_pages(page, nr);
	}
	CHECK(!rc, "preserve: %d", rc);
	done(t, true);
	if (entry.pa)
		kho_free_pages(page, entry.nr);
}

static void change_pages(unsigned int t, uint64_t r)
{
	if (r >> 32 & 1)
		change_folio(t, r);
	else
		change_run(t, r);
}

static void apply_pages(unsigned int t, const struct flight *f)
{
	struct log *log = the_log;

	switch (f->kind) {
	case FOLIO_ADD:
		log->folio[t][f->index] = (struct extent){f->pa, f->nr, f->seq};
		break;
	case FOLIO_DEL:
		log->folio[t][f->index].pa = 0;
		break;
	case RUN_ADD:
		log->run[t][f->index] = (struct extent){f->pa, f->nr, f->seq};
		break;
	case RUN_DEL:
		log->run[t][f->index].pa = 0;
		break;
	default:
		break;
	}
}

/* How many blocks of a run are preserved, from whichever end. */
static unsigned int run_blocks(const struct flight *f, unsigned int *total, bool drop)
{
	kho_pa_t pa = f->pa;
	__u64 nr = f->nr;
	unsigned int there = 0;

	for (*total = 0; nr; ++*total) {
		unsigned int order = khoc_radix_split(KHO_PAGE_SHIFT, pa, nr);

		if (!kho_block_check_(pa, order, KHO_ABI_DESC_PAGES) && *page_at(pa) == f->seq) {
			there++;
			if (drop) {
				kho_block_unpreserve_(pa, order);
				kho_pages_free_(pa, 1ULL << order);
			}
		}
		pa += KHO_PAGE_SIZE << order;
		nr -= 1ULL << order;
	}
	return there;
}

static bool pages_happened(unsigned int t, const struct flight *f)
{
	unsigned int total, there;

	switch (f->kind) {
	case FOLIO_ADD:
	case FOLIO_DEL:
		return (!kho_block_check_(f->pa, (unsigned int)f->nr, KHO_ABI_DESC_FOLIO) &&
			*page_at(f->pa) == f->seq) == (f->kind == FOLIO_ADD);
	case RUN_ADD:
	case RUN_DEL:
		/* Block by block, as in Linux: a part may be left, and is dropped here. */
		there = run_blocks(f, &total, false);
		if (there == total)
			return f->kind == RUN_ADD;
		the_log->partial_runs += there != 0;
		run_blocks(f, &total, true);
		return f->kind == RUN_DEL;
	default:
		return false;
	}
}

static void check_stamp(kho_pa_t pa, __u64 nr, __u64 seq)
{
	for (; nr--; pa += KHO_PAGE_SIZE)
		CHECK(page_at(pa)[0] == seq && page_at(pa)[511] == pa, "page %#llx: contents", pa);
}

static void check_extents(unsigned int t, struct sums *sums)
{
	for (unsigned int i = 0; i < FOLIOS; i++) {
		struct extent *e = &the_log->folio[t][i];

		if (!e->pa)
			continue;
		CHECK(kho_restore_folio(e->pa), "folio %#llx lost", e->pa);
		check_stamp(e->pa, 1ULL << e->nr, e->seq);
		sums->folio_pages += 1ULL << e->nr;
	}
	for (unsigned int i = 0; i < RUNS; i++) {
		struct extent *e = &the_log->run[t][i];

		if (!e->pa)
			continue;
		CHECK(kho_restore_pages(e->pa, e->nr), "run %#llx lost", e->pa);
		check_stamp(e->pa, e->nr, e->seq);
		sums->run_pages += e->nr;
	}
}

const struct kill_subject kill_pages = {.share = 45,
					.change = change_pages,
					.apply = apply_pages,
					.happened = pages_happened,
					.check = check_extents};
