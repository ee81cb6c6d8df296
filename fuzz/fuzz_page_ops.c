/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Operations on folios, runs of pages, areas of scattered pages, and memory that is preserved from
 * the start: taken, preserved, given back, restored once as what they are, and the program
 * dying in between. What was preserved is there afterwards with its bytes; nothing else is.
 *
 * An input is a list of operations: see operate().
 */
#include "arena_ops.h"

#include <kho/vmalloc.h>

#include "page.h"
#include "vmalloc.h"

#define ARENA_MAX (4ULL << 20)
#define NR 32
#define MAX_OPS 300

enum kind { FOLIO, PAGES, AREA, ALLOCATED, NR_KINDS };

/*
 * struct thing - memory of one kind
 * @at: NULL: none. Of an area that came in: where it was in another program
 * @nr: pages; of a folio its order
 * @came_in: it was preserved in a program that is gone, and is not restored
 */
struct thing {
	enum kind kind;
	char *at;
	kho_pa_t pa;
	u64 nr;
	u8 id;
	bool preserved;
	bool came_in;
};

static struct {
	struct thing things[NR];
	struct kho_vmalloc *keep; /* in the arena, one for each thing */
	u8 id;
} t;

static size_t size_of(const struct thing *thing)
{
	if (thing->kind == FOLIO || thing->kind == ALLOCATED)
		return KHO_PAGE_SIZE << thing->nr;
	return KHO_PAGE_SIZE * thing->nr;
}

static void make(unsigned int i, enum kind kind, u8 how)
{
	struct thing *thing = &t.things[i];

	if (thing->at)
		return;
	memset(thing, 0, sizeof(*thing));
	thing->kind = kind;
	thing->nr = kind == FOLIO || kind == ALLOCATED ? how % 6 : how % 70 + 1;
	if (kind == FOLIO)
		thing->at = (char *)kho_folio_alloc((unsigned int)thing->nr);
	else if (kind == PAGES)
		thing->at = (char *)kho_alloc_pages(thing->nr);
	else if (kind == ALLOCATED)
		thing->at = kho_alloc_preserve(KHO_PAGE_SIZE << thing->nr);
	else if (how & 128)
		thing->at = how & 1 ? kho_kvmalloc(size_of(thing))
				    : kho_vmalloc_huge(size_of(thing));
	else
		thing->at = kho_vmalloc(size_of(thing));
	if (!thing->at)
		return;
	if (kind == ALLOCATED)
		arena_marked(thing->at, size_of(thing), 0);
	if (kind != AREA)
		thing->pa = kho_virt_to_phys(thing->at);
	thing->preserved = kind == ALLOCATED;
	thing->id = ++t.id;
	arena_mark(thing->at, size_of(thing), thing->id);
}

static void preserve(unsigned int i)
{
	struct thing *thing = &t.things[i];
	struct kho_vmalloc was = t.keep[i];
	int rc = 0;

	if (!thing->at || thing->came_in)
		return;
	if (thing->kind == FOLIO)
		rc = kho_preserve_folio((struct folio *)thing->at);
	else if (thing->kind == PAGES)
		rc = kho_preserve_pages((struct page *)thing->at, thing->nr);
	else if (thing->kind == AREA)
		rc = kho_preserve_vmalloc(thing->at, &t.keep[i]);
	FACT(!rc || (rc == -ENOMEM && !thing->preserved));
	FACT(!thing->preserved || !memcmp(&was, &t.keep[i], sizeof(was)));
	thing->preserved |= !rc;
}

static void unpreserve(unsigned int i)
{
	struct thing *thing = &t.things[i];

	if (!thing->at || thing->came_in || !thing->preserved || thing->kind == ALLOCATED)
		return;
	if (thing->kind == FOLIO)
		kho_unpreserve_folio((struct folio *)thing->at);
	else if (thing->kind == PAGES)
		kho_unpreserve_pages((struct page *)thing->at, thing->nr);
	else
		kho_unpreserve_vmalloc(&t.keep[i]);
	FACT(!t.keep[i].first);
	thing->preserved = false;
}

static void give_back(unsigned int i)
{
	struct thing *thing = &t.things[i];

	if (!thing->at)
		return;
	if (thing->came_in) {
		if (thing->kind != ALLOCATED)
			return;
		kho_restore_free(thing->at);
	} else if (thing->kind == ALLOCATED) {
		kho_unpreserve_free(thing->at);
	} else if (thing->kind == FOLIO) {
		kho_folio_put((struct folio *)thing->at);
	} else if (thing->kind == PAGES) {
		unpreserve(i);
		kho_free_pages((struct page *)thing->at, thing->nr);
	} else {
		if (thing->id & 1)
			unpreserve(i);
		else
			kho_kvfree(thing->at);
		if (thing->id & 1)
			kho_vfree(thing->at);
		memset(&t.keep[i], 0, sizeof(t.keep[i]));
	}
	memset(thing, 0, sizeof(*thing));
}

/* Restoring as anything else than what it is, or as ours, gives nothing. */
static void *restore_as(unsigned int i, enum kind kind)
{
	const struct thing *thing = &t.things[i];

	if (kind == AREA)
		return kho_restore_vmalloc(&t.keep[i]);
	if (kind == PAGES)
		return kho_restore_pages(thing->pa, thing->nr);
	return kho_restore_folio(thing->pa);
}

static void restore(unsigned int i, enum kind kind)
{
	struct thing *thing = &t.things[i];
	bool fits = kind == thing->kind || (thing->kind == ALLOCATED && kind == FOLIO);
	void *at;

	if (!thing->at || (kind != AREA && !thing->pa))
		return;
	if (!fits && thing->kind != AREA && kind == PAGES && !thing->nr)
		return; /* a run of no pages */
	at = restore_as(i, kind);
	if (!fits || !thing->came_in) {
		FACT(!at && errno == EINVAL);
		return;
	}
	FACT(at && (kind == AREA || at == thing->at));
	thing->at = at;
	thing->came_in = false;
	FACT(!restore_as(i, kind) && errno == EINVAL);
	arena_marked(at, size_of(thing), thing->id);
}

struct unclaimed {
	u64 pages;
	u64 parts; /* of areas: the last of them may be larger than what is left */
};

static int count_pages(void *ctx, kho_pa_t pa, unsigned int order, const char *what)
{
	struct unclaimed *found = ctx;

	if (!strcmp(what, "vmalloc part"))
		found->parts += 1ULL << order;
	else if (strcmp(what, "vmalloc chunk"))
		found->pages += 1ULL << order;
	return 0;
}

static void release_unclaimed(void)
{
	struct unclaimed found = {0, 0}, want = {0, 0};

	for (unsigned int i = 0; i < NR; i++) {
		struct thing *thing = &t.things[i];

		if (!thing->at || !thing->came_in)
			continue;
		*(thing->kind == AREA ? &want.parts : &want.pages) +=
			size_of(thing) / KHO_PAGE_SIZE;
		memset(&t.keep[i], 0, sizeof(t.keep[i]));
		memset(thing, 0, sizeof(*thing));
	}
	FACT(!kho_for_each_unclaimed(count_pages, &found));
	FACT(found.pages == want.pages && found.parts >= want.parts);
	FACT(!found.parts == !want.parts);
	FACT(kho_release_unclaimed() >= (found.pages + found.parts) * KHO_PAGE_SIZE);
	found = (struct unclaimed){0, 0};
	FACT(!kho_for_each_unclaimed(count_pages, &found) && !found.pages && !found.parts);
}

static void find_keep(void)
{
	kho_pa_t pa;
	size_t size;

	FACT(!kho_retrieve_subtree("keep", &pa, &size) && size == NR * sizeof(*t.keep));
	t.keep = kho_phys_to_virt(pa);
}

static void die(void)
{
	kho_vmalloc_forget_();
	arena_again();
	find_keep();
	for (unsigned int i = 0; i < NR; i++) {
		if (t.things[i].preserved)
			t.things[i].came_in = true;
		else
			memset(&t.things[i], 0, sizeof(t.things[i]));
	}
}

static void check(void)
{
	FACT(!kho_preserve_check_all_(false));
	for (unsigned int i = 0; i < NR; i++) {
		const struct thing *thing = &t.things[i];

		if (thing->at && !thing->came_in)
			arena_marked(thing->at, size_of(thing), thing->id);
		else if (thing->at && thing->kind != AREA) /* it can be read in place */
			arena_marked(thing->at, size_of(thing), thing->id);
	}
}

static void operate(struct ops_bytes *in)
{
	u8 op = take_byte(in);
	unsigned int i = (op >> 3) % NR;

	switch (op & 7) {
	case 0:
	case 1: {
		u8 kind = take_byte(in);

		make(i, kind % NR_KINDS, take_byte(in));
		break;
	}
	case 2:
		preserve(i);
		break;
	case 3:
		unpreserve(i);
		break;
	case 4:
		give_back(i);
		break;
	case 5:
		restore(i, t.things[i].kind);
		break;
	case 6:
		restore(i, (t.things[i].kind + take_byte(in)) % NR_KINDS);
		break;
	default:
		if (i < 4)
			die();
		else if (i < 6)
			release_unclaimed();
		else
			check();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ops_bytes in = {data, size};

	memset(&t, 0, sizeof(t));
	arena_begin(ARENA_MAX);
	t.keep = kho_alloc_preserve(NR * sizeof(*t.keep));
	FACT(t.keep && !kho_add_subtree("keep", t.keep, NR * sizeof(*t.keep)));
	for (unsigned int i = 0; i < MAX_OPS && in.left; i++)
		operate(&in);
	check();
	die();
	check();
	for (unsigned int i = 0; i < NR; i++)
		restore(i, t.things[i].kind);
	release_unclaimed();
	for (unsigned int i = 0; i < NR; i++)
		give_back(i);
	FACT(!kho_preserve_check_all_(false));
	kho_vmalloc_forget_();
	kho_arena_unmap_();
	return 0;
}
