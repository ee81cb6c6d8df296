/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Kills: a process with several threads changes an arena as fast as it can and is killed at
 * any instant; the next one checks everything that was acknowledged, and goes on.
 *
 * What was acknowledged is in a log that the processes share, outside the arena: the model. Each
 * thread says there what it is about to do (phase 1), that it is done (phase 2), and
 * that the model has it (phase 0). So one operation per thread, in phase 1, is undecided.
 *
 * KHO_KILLS: how many (150); KHO_SEED.
 */
#include <errno.h>
#include <kho/slab.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "arena_fixture.h"
#include "heap.h"
#include "page.h"
#include "preserve.h"
#include "vmalloc.h"

#define ARENA_MAX (96ULL << 20)
#define THREADS 4
#define SLOTS 96
#define LIST_MAX 6
#define FOLIOS 6
#define RUNS 4
#define AREAS 3
#define DESCS_AT 2048 /* descriptors of areas, in the page of the subtrees' blobs */
#define SINGLES 40
#define SINGLE_WORDS 25
#define NAMES 3
#define BITMAP_WORDS (ARENA_MAX / KHO_PAGE_SIZE / 64)

struct item {
	struct item *next;
	__u64 seq;
	__u64 size;
	__u64 sum;
	unsigned char data[];
};

struct list {
	unsigned int n;
	__u64 seq[LIST_MAX];
};

enum kind {
	LIST,
	FOLIO_ADD,
	FOLIO_DEL,
	RUN_ADD,
	RUN_DEL,
	AREA_ADD,
	AREA_DEL,
	SINGLE_ADD,
	SINGLE_DEL,
	SUB_ADD,
	SUB_DEL,
	ROOT_ADD,
	ROOT_DEL,
	META
};

struct flight {
	int phase;
	enum kind kind;
	unsigned int index;
	struct list after;
	kho_pa_t pa;
	__u64 nr;
	__u64 seq;
};

struct extent {
	kho_pa_t pa; /* 0 = none */
	__u64 nr; /* order of a folio, pages of a run */
	__u64 seq; /* tells it from who has the same pages next */
};

static struct log {
	struct list list[SLOTS];
	struct extent folio[THREADS][FOLIOS], run[THREADS][RUNS], area[THREADS][AREAS],
		single[THREADS][SINGLES];
	bool sub[THREADS][NAMES], root[THREADS][NAMES];
	__u64 meta;
	struct flight flight[THREADS];
	__u64 next_seq[THREADS];
	kho_pa_t blob;
	/* not part of the model */
	int running;
	__u64 ops[META + 1], undecided, decided_after, partial_runs, partial_areas;
	char text[400];
} * the_log;

static pthread_mutex_t slot_lock[SLOTS];
static void **slots;
static struct {
	char *at; /* where it is in this process, preserved or not */
	__u64 nr;
} areas[THREADS][AREAS];
static struct kmem_cache *items, *singles; /* of list items, and preserved one by one */

#define CHECK(cond, ...)                                                                           \
	do {                                                                                       \
		if (!(cond))                                                                       \
			give_up(__LINE__, #cond, __VA_ARGS__);                                     \
	} while (0)

static void __attribute__((format(printf, 3, 4)))
give_up(int line, const char *cond, const char *format, ...)
{
	char text[200];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	snprintf(the_log->text, sizeof(the_log->text), "line %d: %s: %s (%.80s)", line, cond, text,
		 kho_error());
	_exit(1);
}

/* ---- items ---- */

static __u64 item_sum(const struct item *item)
{
	__u64 x = item->seq * 0x9e3779b97f4a7c15ULL ^ item->size;

	return x ^ x >> 29;
}

/* Bytes at the start and at the end: large ones would take all the time otherwise. */
static void item_bytes(struct item *item, bool check)
{
	for (__u64 i = 0; i < item->size; i++) {
		unsigned char want = (unsigned char)(item->seq * 31 + i * 7);

		if (i == 128 && item->size > 256)
			i = item->size - 128;
		want = (unsigned char)(item->seq * 31 + i * 7);
		if (!check)
			item->data[i] = want;
		else
			CHECK(item->data[i] == want, "item %llx, byte %llu", item->seq, i);
	}
}

static struct item *item_new(unsigned int t, uint64_t r)
{
	__u64 size = r % 100 < 70 ? r % 300 : r % 100 < 95 ? r % 8000 : 33000 + r % 250000;
	struct item *item = size < 300 && r >> 40 & 1 ? kho_kmem_cache_alloc(items)
						      : kho_malloc(sizeof(*item) + size);

	if (!item)
		return NULL;
	item->seq = ++the_log->next_seq[t] << 8 | t;
	item->size = size;
	item->sum = item_sum(item);
	item_bytes(item, false);
	return item;
}

/* ---- phases ---- */

static void phase(struct flight *f, int value)
{
	__atomic_store_n(&f->phase, value, __ATOMIC_SEQ_CST);
}

/* Phase 2, or what recovery found: the model takes the operation over. */
static void apply(unsigned int t, const struct flight *f)
{
	struct log *log = the_log;

	switch (f->kind) {
	case LIST:
		log->list[f->index] = f->after;
		break;
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
	case AREA_ADD:
		log->area[t][f->index] = (struct extent){1, f->nr, f->seq};
		break;
	case AREA_DEL:
		log->area[t][f->index].pa = 0;
		break;
	case SINGLE_ADD:
		log->single[t][f->index] = (struct extent){f->pa, 0, f->seq};
		break;
	case SINGLE_DEL:
		log->single[t][f->index].pa = 0;
		break;
	case SUB_ADD:
	case SUB_DEL:
		log->sub[t][f->index] = f->kind == SUB_ADD;
		break;
	case ROOT_ADD:
	case ROOT_DEL:
		log->root[t][f->index] = f->kind == ROOT_ADD;
		break;
	case META:
		log->meta = f->nr;
	}
}

static void done(unsigned int t, bool ok)
{
	struct flight *f = &the_log->flight[t];

	if (ok) {
		phase(f, 2);
		apply(t, f);
		the_log->ops[f->kind]++;
	}
	phase(f, 0);
}

/* ---- the writer's operations ---- */

static void change_list(unsigned int t, uint64_t r)
{
	unsigned int s = (unsigned int)(r % SLOTS), what = (unsigned int)(r >> 8 & 7), at;
	struct flight *f = &the_log->flight[t];
	struct item *fresh = what < 6 ? item_new(t, r >> 16) : NULL, *old, *exchanged = NULL;
	void **word = slots + s;
	struct list *after = &f->after;
	int rc;

	pthread_mutex_lock(&slot_lock[s]);
	*after = the_log->list[s];
	at = after->n ? (unsigned int)(r >> 40) % after->n : 0;
	for (unsigned int i = 0; i < at; i++)
		word = (void **)&((struct item *)*word)->next;
	old = *word;
	f->kind = LIST;
	f->index = s;
	if (fresh && (!old || (what < 3 && after->n < LIST_MAX))) { /* insert before @old */
		memmove(after->seq + at + 1, after->seq + at, (after->n - at) * 8);
		after->seq[at] = fresh->seq;
		after->n++;
		fresh->next = old;
		phase(f, 1);
		rc = kho_publish(word, fresh, NULL);
	} else if (fresh && old) { /* replace */
		after->seq[at] = fresh->seq;
		fresh->next = old->next;
		exchanged = what & 1 ? NULL : old;
		phase(f, 1);
		rc = exchanged ? kho_exchange(word, fresh, old) : kho_publish(word, fresh, old);
	} else if (old) { /* delete */
		after->n--;
		memmove(after->seq + at, after->seq + at + 1, (after->n - at) * 8);
		phase(f, 1);
		rc = kho_publish(word, old->next, old);
	} else {
		pthread_mutex_unlock(&slot_lock[s]);
		return;
	}
	CHECK(!rc || rc == -ENOMEM, "publish: %d", rc);
	done(t, !rc);
	pthread_mutex_unlock(&slot_lock[s]);
	if (rc && fresh)
		kho_free(fresh);
	if (!rc && exchanged && r >> 62 & 1) /* else it is gone with the crash */
		kho_free(exchanged);
}

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
		f->seq = ++the_log->next_seq[t] << 8 | t;
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
		f->seq = ++the_log->next_seq[t] << 8 | t;
		stamp(f->pa, nr, f->seq);
		phase(f, 1);
		rc = kho_preserve_pages(page, nr);
	}
	CHECK(!rc, "preserve: %d", rc);
	done(t, true);
	if (entry.pa)
		kho_free_pages(page, entry.nr);
}

/* Each area has its descriptor at a place of its own. */
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
	f->seq = ++the_log->next_seq[t] << 8 | t;
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

static void name_of(char *name, const char *what, unsigned int t, unsigned int i)
{
	snprintf(name, 16, "%s%u-%u", what, t, i);
}

/* A subtree's blob stays for ever; each name has its own address in it. */
static char *blob_of(unsigned int t, unsigned int i)
{
	return kho_arena_.base + the_log->blob + (t * NAMES + i) * 16;
}

static void change_names(unsigned int t, uint64_t r)
{
	unsigned int i = (unsigned int)(r >> 8) % NAMES;
	struct flight *f = &the_log->flight[t];
	char name[16];
	int rc = 0;

	f->index = i;
	if (r % 16 == 0 && !t) {
		f->kind = META;
		f->nr = the_log->meta + 1;
		phase(f, 1);
		rc = kho_arena_set_metadata_("killed", (unsigned int)f->nr);
	} else if (r & 1) {
		name_of(name, "sub", t, i);
		f->kind = the_log->sub[t][i] ? SUB_DEL : SUB_ADD;
		phase(f, 1);
		if (f->kind == SUB_ADD)
			rc = kho_add_subtree(name, blob_of(t, i), 16);
		else
			kho_remove_subtree(blob_of(t, i));
	} else {
		name_of(name, "root", t, i);
		f->kind = the_log->root[t][i] ? ROOT_DEL : ROOT_ADD;
		phase(f, 1);
		if (f->kind == ROOT_ADD)
			rc = kho_root(name, "test-empty", 1) ? 0 : -errno;
		else
			rc = kho_root_remove(name);
	}
	CHECK(!rc, "name: %d", rc);
	done(t, true);
}

struct sums {
	__u64 items, large_pages, folio_pages, run_pages, area_pages, area_chunks, singles;
};

#include "kill_caches.h"

static struct thread_arg {
	unsigned int t;
	uint64_t rng;
} thread_arg[THREADS];

static void *work(void *p)
{
	struct thread_arg *arg = p;

	for (;;) {
		uint64_t r = test_random(&arg->rng), what = r >> 56;

		r &= ~(0xffULL << 56);
		r |= test_random(&arg->rng) << 62;
		if (what < 160)
			change_list(arg->t, r);
		else if (what < 190)
			change_folio(arg->t, r);
		else if (what < 215)
			change_run(arg->t, r);
		else if (what < 217)
			change_names(arg->t, r);
		else if (what < 230)
			change_area(arg->t, r);
		else if (what < 240)
			change_single(arg->t, r);
		else /* reserved, and now and then forgotten */
			kho_free(what % 8 ? kho_malloc(r % 3000) : NULL);
		if (what == 255)
			kho_malloc(r % 500);
	}
	return NULL;
}

/* ---- what the next process finds ---- */

/* Is the list at slot @s the one that @want says? Adds what it reaches to the counts. */
static bool list_is(unsigned int s, const struct list *want)
{
	const struct item *item = slots[s];
	unsigned int n = 0;

	for (; item; item = item->next, n++) {
		CHECK(n < LIST_MAX, "slot %u: longer than it can be", s);
		CHECK(kho_usable_size(item) >= sizeof(*item), "slot %u: not an object", s);
		CHECK(item->sum == item_sum(item), "slot %u, item %u: checksum", s, n);
		if (n >= want->n || item->seq != want->seq[n])
			return false;
	}
	return n == want->n;
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

/* Did the operation that was under way happen? */
static bool happened(unsigned int t, const struct flight *f)
{
	char name[16], release[65];
	unsigned int count, total, there;

	switch (f->kind) {
	case LIST:
		if (list_is(f->index, &f->after))
			return true;
		CHECK(list_is(f->index, &the_log->list[f->index]),
		      "slot %u: neither before nor after", f->index);
		return false;
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
	case AREA_ADD:
	case AREA_DEL:
		/* What is there in part is nobody's: see release_rest(). */
		return !!desc_of(t, f->index)->first == (f->kind == AREA_ADD);
	case SINGLE_ADD:
	case SINGLE_DEL:
		return single_is(f->pa, f->seq) == (f->kind == SINGLE_ADD);
	case SUB_ADD:
	case SUB_DEL:
		name_of(name, "sub", t, f->index);
		return !kho_retrieve_subtree(name, NULL, NULL) == (f->kind == SUB_ADD);
	case ROOT_ADD:
	case ROOT_DEL:
		name_of(name, "root", t, f->index);
		return !kho_retrieve_subtree(name, NULL, NULL) == (f->kind == ROOT_ADD);
	case META:
		CHECK(!kho_metadata(release, &count), "metadata");
		return count == f->nr;
	}
	return false;
}

static void settle_flights(void)
{
	for (unsigned int t = 0; t < THREADS; t++) {
		struct flight *f = &the_log->flight[t];
		bool yes = f->phase == 2;

		if (f->phase == 1) {
			the_log->undecided++;
			yes = happened(t, f);
			the_log->decided_after += yes;
		}
		if (yes) {
			phase(f, 2);
			apply(t, f);
		}
		phase(f, 0);
	}
}

static void check_lists(struct sums *sums)
{
	for (unsigned int s = 0; s < SLOTS; s++) {
		CHECK(list_is(s, &the_log->list[s]), "slot %u: not what was acknowledged", s);
		for (struct item *item = slots[s]; item; item = item->next) {
			const struct kho_abi_large *large = NULL;

			item_bytes(item, true);
			sums->items++;
			if (kho_usable_size(item) > HEAP_SMALL_MAX)
				large = kho_large_of_(item);
			if (large)
				sums->large_pages += large->nr_pages;
		}
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

static int is_an_areas(void *ctx, kho_pa_t pa, unsigned int order, const char *what)
{
	__u64 *pages = ctx;

	CHECK(!strncmp(what, "vmalloc", 7), "%s at %#llx: nobody's", what, pa);
	*pages += 1ULL << order;
	return 0;
}

/* What a kill left of areas that were being preserved or taken back, and nothing else, is nobody's. */
static void release_rest(void)
{
	__u64 pages = 0, one = 2 + 516 + 64; /* the largest area, and its list */

	CHECK(!kho_for_each_unclaimed(is_an_areas, &pages), "unclaimed");
	CHECK(pages <= THREADS * one, "%llu pages unclaimed", pages);
	CHECK(kho_release_unclaimed() == pages * KHO_PAGE_SIZE, "%llu pages to release", pages);
	the_log->partial_areas += pages != 0;
}

static void check_names(unsigned int t)
{
	char name[16];

	for (unsigned int i = 0; i < NAMES; i++) {
		name_of(name, "sub", t, i);
		CHECK(!kho_retrieve_subtree(name, NULL, NULL) == the_log->sub[t][i], "%s", name);
		name_of(name, "root", t, i);
		CHECK(!kho_retrieve_subtree(name, NULL, NULL) == the_log->root[t][i], "%s", name);
	}
}

/* Every preserved page by what it is, against what is reachable; and free + used = all. */
static void check_pages(const struct sums *sums)
{
	static __u64 in_use[BITMAP_WORDS];
	__u64 pages[16] = {0}, first = kho_arena_.header->data_pa >> KHO_PAGE_SHIFT, all = 0,
	      sum = 0;
	struct khoc_block block;
	unsigned int type, order;

	for (kho_pa_t pos = 0; khoc_radix_next(&kho_arena_.tree, pos, ARENA_MAX, &block);) {
		CHECK(!kho_block_desc_(block.pa, &type, &order) && order == block.order, "desc");
		pages[type] += 1ULL << order;
		sum += 1ULL << order;
		pos = block.pa + (KHO_PAGE_SIZE << order);
	}
	CHECK(pages[KHO_ABI_DESC_FOLIO] == sums->folio_pages, "%llu folio pages, not %llu",
	      pages[KHO_ABI_DESC_FOLIO], sums->folio_pages);
	CHECK(pages[KHO_ABI_DESC_PAGES] == sums->run_pages, "%llu run pages, not %llu",
	      pages[KHO_ABI_DESC_PAGES], sums->run_pages);
	CHECK(pages[KHO_ABI_DESC_LARGE] + pages[KHO_ABI_DESC_LARGE_PART] == sums->large_pages,
	      "%llu pages of large objects, not %llu",
	      pages[KHO_ABI_DESC_LARGE] + pages[KHO_ABI_DESC_LARGE_PART], sums->large_pages);
	CHECK(pages[KHO_ABI_DESC_VMALLOC] == sums->area_pages, "%llu pages of areas, not %llu",
	      pages[KHO_ABI_DESC_VMALLOC], sums->area_pages);
	CHECK(pages[KHO_ABI_DESC_VMALLOC_CHUNK] == sums->area_chunks, "%llu chunks, not %llu",
	      pages[KHO_ABI_DESC_VMALLOC_CHUNK], sums->area_chunks);
	CHECK(!khoc_radix_union(&kho_arena_.tree, 0, ARENA_MAX / KHO_PAGE_SIZE, in_use), "union");
	for (__u64 i = first; i < ARENA_MAX / KHO_PAGE_SIZE; i++) {
		bool used = in_use[i / 64] >> (i % 64) & 1;

		all += used;
		CHECK(kho_pages_are_free_(i << KHO_PAGE_SHIFT, 1) == !used, "page %#llx", i << 12);
	}
	CHECK(all == sum, "%llu pages preserved, in blocks of %llu", all, sum);
	CHECK(kho_pages_used_() == all << KHO_PAGE_SHIFT, "%llu bytes used, not %llu",
	      kho_pages_used_(), all << KHO_PAGE_SHIFT);
}

static void check_all(void)
{
	struct sums sums = {.folio_pages = 1}; /* the blob */
	struct kho_heap_stats stats;
	unsigned int count;
	char release[65];

	CHECK(!kho_preserve_check_all_(false), "descriptors");
	CHECK(!kho_pages_discover_all_(), "discovery");
	settle_flights();
	check_lists(&sums);
	for (unsigned int t = 0; t < THREADS; t++) {
		check_extents(t, &sums);
		check_areas(t, &sums);
		check_singles(t, &sums);
		check_names(t);
	}
	CHECK(kho_restore_folio(the_log->blob), "blob");
	release_rest();
	CHECK(!kho_metadata(release, &count) && count == the_log->meta, "metadata: %u", count);
	check_pages(&sums);
	CHECK(!kho_heap_stats(&stats, true), "stats");
	sums.items += 1 + 2 + sums.singles; /* the slots, the caches' records */
	CHECK(stats.live_objects == sums.items, "%llu live objects, %llu reachable",
	      stats.live_objects, sums.items);
}

static void attach(int fd)
{
	void **root;

	CHECK(!kho_arena_map_(fd, true), "map");
	CHECK(!kho_arena_own_(), "own");
	root = kho_root("slots", "test-slots", 1);
	CHECK(root && *root, "root");
	slots = *root;
	CHECK(!arena_check_slabs(), "slabs");
	items = kho_kmem_cache_create("items", sizeof(struct item) + 300, 0, 0, NULL);
	singles = kho_kmem_cache_create("singles", SINGLE_WORDS * 8, 64, KHO_CACHE_SINGLE, NULL);
	CHECK(items && singles, "caches");
}

static void writer(int fd, uint64_t seed)
{
	pthread_t thread;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	attach(fd);
	check_all();
	for (unsigned int s = 0; s < SLOTS; s++)
		pthread_mutex_init(&slot_lock[s], NULL);
	for (unsigned int t = 0; t < THREADS; t++) {
		thread_arg[t] = (struct thread_arg){t, seed + t * 7919};
		pthread_create(&thread, NULL, work, &thread_arg[t]);
	}
	__atomic_store_n(&the_log->running, 1, __ATOMIC_SEQ_CST);
	for (;;)
		pause();
}

/* In a process of its own: the tester's maps nothing at the arena's address. */
static void make_arena(int fd)
{
	struct folio *folio;
	void **root;

	CHECK(!kho_arena_format_(fd, ARENA_MAX) && !kho_arena_map_(fd, true), "format");
	CHECK(!kho_arena_own_(), "own");
	root = kho_root("slots", "test-slots", 1);
	CHECK(root && !kho_publish(root, kho_calloc(SLOTS, 8), NULL), "table");
	folio = kho_folio_alloc(0);
	CHECK(folio && !kho_preserve_folio(folio), "blob");
	the_log->blob = kho_virt_to_phys(folio);
	_exit(0);
}

static void nap(uint64_t ns)
{
	nanosleep(&(struct timespec){.tv_nsec = (long)ns}, NULL);
}

static void run_and_kill(int fd, uint64_t *rng, int round)
{
	uint64_t r = test_random(rng);
	bool early = r % 4 == 0; /* while it attaches, checks or recovers */
	int status;
	pid_t pid;

	the_log->running = 0;
	pid = fork();
	if (!pid)
		writer(fd, r);
	while (!early && !__atomic_load_n(&the_log->running, __ATOMIC_SEQ_CST) &&
	       !waitpid(pid, &status, WNOHANG))
		nap(20000);
	nap((r >> 8) % (early ? 6000000 : 8000000));
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	if (the_log->text[0])
		fail_msg("kill %d: %s", round, the_log->text);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		fail_msg("kill %d: the writer ended by itself: status %#x", round, status);
}

static void whatever_the_instant_of_the_kill(void **state)
{
	const char *kills = getenv("KHO_KILLS");
	int n = kills ? atoi(kills) : 150, fd = kho_arena_create_("kill"), status;
	uint64_t rng = test_seed();
	__u64 ops = 0;
	pid_t pid;

	the_log = mmap(NULL, sizeof(*the_log), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	pid = fork();
	if (!pid)
		make_arena(fd);
	waitpid(pid, &status, 0);
	assert_string_equal(the_log->text, "");
	for (int i = 0; i < n; i++)
		run_and_kill(fd, &rng, i);
	/* Once more, not killed. */
	pid = fork();
	if (!pid) {
		attach(fd);
		check_all();
		_exit(0);
	}
	waitpid(pid, &status, 0);
	assert_string_equal(the_log->text, "");
	assert_int_equal(status, 0);
	for (int k = 0; k <= META; k++)
		ops += the_log->ops[k];
	assert_true(ops > (__u64)n * 10);
	printf("%d kills, %llu operations acknowledged, %llu undecided at a kill, of them %llu had "
	       "happened, %llu runs and areas of %llu kills in part\n",
	       n, (unsigned long long)ops, (unsigned long long)the_log->undecided,
	       (unsigned long long)the_log->decided_after,
	       (unsigned long long)the_log->partial_runs,
	       (unsigned long long)the_log->partial_areas);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(whatever_the_instant_of_the_kill)};

	return cmocka_run_group_tests_name("kill", tests, NULL, NULL);
}
