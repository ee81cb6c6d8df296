/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* A small arena with some of everything: see template.h. */
#include <kho/slab.h>
#include <string.h>

#include "arena.h"
#include "template.h"

#define OR_LINE(cond)                                                                              \
	do {                                                                                       \
		if (!(cond))                                                                       \
			return __LINE__;                                                           \
	} while (0)

static unsigned char pattern(unsigned int i, __u64 at)
{
	return (unsigned char)(i * 37 + at * 11 + (at >> 8) + 1);
}

/* The first eight bytes of heap objects are links: not part of the pattern. */
static __u64 first_byte(const struct thing *thing)
{
	return thing->kind == THING_SMALL || thing->kind == THING_LARGE ? 8 : 0;
}

static void add(struct template *t, enum thing_kind kind, void *p, __u64 len, __u64 nr)
{
	struct thing *thing = &t->things[t->nr];
	unsigned char *bytes = p;

	*thing = (struct thing){kind, kho_virt_to_phys(p), len, nr};
	for (__u64 at = first_byte(thing); at < len; at++)
		bytes[at] = pattern(t->nr, at);
	if (first_byte(thing))
		memset(p, 0, 8);
	t->nr++;
}

bool template_intact(const struct template *t, unsigned int i)
{
	const struct thing *thing = &t->things[i];
	const unsigned char *bytes = (unsigned char *)kho_arena_.base + thing->at;

	for (__u64 at = first_byte(thing); at < thing->len; at++)
		if (bytes[at] != pattern(i, at))
			return false;
	return true;
}

static int fill_heap(struct template *t)
{
	static const size_t small[] = {16, 24, 64, 200, 1000, 24, 64, 5000};
	static const size_t large[] = {40000, 50000, 33000};
	void **chain = kho_root("chain", "test-chain", 1);
	void **big = kho_root("big", "test-chain", 2);
	void *p;

	OR_LINE(chain && big && kho_root("empty", "test-empty", 7));
	for (size_t i = 0; i < 24; i++) {
		size_t size = small[i % 8];

		p = kho_malloc(size);
		OR_LINE(p);
		add(t, THING_SMALL, p, size, 0);
		OR_LINE(!kho_publish(chain, p, NULL));
		chain = p;
	}
	for (size_t i = 0; i < 3; i++) {
		p = i == 1 ? kho_memalign(256, large[i]) : kho_malloc(large[i]);
		OR_LINE(p);
		add(t, THING_LARGE, p, large[i], 0);
		OR_LINE(!kho_publish(big, p, NULL));
		big = p;
	}
	return 0;
}

static int fill_pages(struct template *t)
{
	static const char *const names[] = {"sub-a", "sub-b", "sub-c"};

	for (unsigned int order = 0; order < 4; order++) {
		struct folio *folio = kho_folio_alloc(order);

		OR_LINE(folio);
		add(t, THING_FOLIO, kho_folio_address(folio), KHO_PAGE_SIZE << order, order);
		OR_LINE(!kho_preserve_folio(folio));
		if (order < 3)
			OR_LINE(!kho_add_subtree(names[order], folio, 100 + order));
	}
	for (size_t nr = 5; nr < 14; nr += 6) {
		struct page *page = kho_alloc_pages(nr);

		OR_LINE(page);
		add(t, THING_RUN, kho_page_address(page), nr * KHO_PAGE_SIZE, nr);
		OR_LINE(!kho_preserve_pages(page, nr));
	}
	return 0;
}

static int fill_caches(struct template *t)
{
	struct kmem_cache *whole = kho_kmem_cache_create(TEMPLATE_WHOLE);
	struct kmem_cache *single = kho_kmem_cache_create(TEMPLATE_SINGLE);
	void **chain = kho_root("cached", "test-chain", 3);
	void *p;

	OR_LINE(whole && single && chain);
	for (int i = 0; i < 3; i++) {
		p = kho_kmem_cache_alloc(whole);
		OR_LINE(p);
		add(t, THING_SMALL, p, 72, 0);
		OR_LINE(!kho_publish(chain, p, NULL));
		chain = p;
		/* One of two is only handed out. */
		OR_LINE(kho_kmem_cache_alloc(single));
		p = kho_kmem_cache_alloc(single);
		OR_LINE(p);
		add(t, THING_SINGLE, p, 100, 0);
		OR_LINE(!kho_slab_preserve(p));
	}
	return 0;
}

int template_fill(struct template *t)
{
	int rc;

	memset(t, 0, sizeof(*t));
	rc = fill_heap(t);
	rc = rc ?: fill_pages(t);
	rc = rc ?: fill_caches(t);
	OR_LINE(rc || !kho_arena_set_metadata_("template", 5));
	return rc;
}
