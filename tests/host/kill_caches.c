/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Kills: objects of a slab cache that are preserved singly; and caches that come and go. */
#include <errno.h>
#include <kho/slab.h>

#include "kill.h"

#define SINGLE_WORDS 25

static struct kmem_cache *singles;

static void change_single(unsigned int t, uint64_t r)
{
	unsigned int i = (unsigned int)(r % SINGLES);
	struct extent *entry = &the_log->single[t][i];
	struct flight *f = &the_log->flight[t];
	__u64 *object;

	f->index = i;
	if (entry->pa) {
		f->kind = SINGLE_DEL;
		f->pa = entry->pa;
		f->seq = entry->seq;
		phase(f, 1);
		if (r >> 63)
			CHECK(!kho_slab_unpreserve(kho_phys_to_virt(entry->pa)), "unpreserve");
		CHECK(!kho_kmem_cache_free(singles, kho_phys_to_virt(entry->pa)), "free");
	} else {
		object = kho_kmem_cache_alloc(singles);
		if (!object)
			return;
		f->kind = SINGLE_ADD;
		f->pa = kho_virt_to_phys(object);
		f->seq = next_seq(t);
		for (int w = 0; w < SINGLE_WORDS; w++) {
			CHECK(!object[w], "single at %#llx: not zero", f->pa);
			object[w] = f->seq;
		}
		phase(f, 1);
		CHECK(!kho_slab_preserve(object), "preserve");
	}
	done(t, true);
}

static void apply_single(unsigned int t, const struct flight *f)
{
	struct extent *entry = &the_log->single[t][f->index];

	*entry = f->kind == SINGLE_ADD ? (struct extent){f->pa, 0, f->seq} : (struct extent){0};
}

static bool single_is(kho_pa_t pa, __u64 seq)
{
	const __u64 *object = kho_phys_to_virt(pa);
	struct slab *slab = kho_slab_of_(object);

	return slab && slab->single && *object == seq &&
	       kho_slab_state_(slab, kho_slab_index_(slab, object)) == KHO_ABI_OBJECT_LIVE;
}

static bool single_happened(unsigned int t, const struct flight *f)
{
	return single_is(f->pa, f->seq) == (f->kind == SINGLE_ADD);
}

static void check_singles(unsigned int t, struct sums *sums)
{
	for (unsigned int i = 0; i < SINGLES; i++) {
		struct extent *e = &the_log->single[t][i];
		const __u64 *object = kho_phys_to_virt(e->pa);

		if (!e->pa)
			continue;
		CHECK(kho_kmem_cache_restore(singles, e->pa), "single object %#llx lost", e->pa);
		for (int w = 0; w < SINGLE_WORDS; w++)
			CHECK(object[w] == e->seq, "single object %#llx, word %d", e->pa, w);
		sums->items++;
	}
}

const struct kill_subject kill_singles = {.share = 16,
					  .change = change_single,
					  .apply = apply_single,
					  .happened = single_happened,
					  .check = check_singles};

/* ---- caches as such ---- */

/* A cache's root: its name, and where it is while there is a record. */
static void **record_of(unsigned int t, unsigned int i)
{
	char name[16], root[32];

	name_of(name, "c", t, i);
	snprintf(root, sizeof(root), "cache,%s", name);
	return kho_retrieve_subtree(root, NULL, NULL) ? NULL : kho_root(root, "kmem_cache", 1);
}

/* With an object that is handed out and, if it is preserved, taken back in time. */
static void change_cache(unsigned int t, uint64_t r)
{
	unsigned int i = (unsigned int)(r % NAMES);
	unsigned int flags = i % 2 ? KHO_CACHE_SINGLE : 0;
	struct flight *f = &the_log->flight[t];
	struct kmem_cache *cache;
	char name[16];
	void *object;

	name_of(name, "c", t, i);
	f->index = i;
	f->kind = the_log->cache[t][i] ? CACHE_DEL : CACHE_ADD;
	phase(f, 1);
	cache = kho_kmem_cache_create(name, 100 + i, 0, flags, NULL);
	CHECK(cache, "cache %s", name);
	if (f->kind == CACHE_ADD) {
		done(t, true);
		return;
	}
	object = kho_kmem_cache_alloc(cache);
	CHECK(object && !kho_kmem_cache_free(cache, object), "object of %s", name);
	CHECK(!kho_kmem_cache_destroy(cache), "cache %s", name);
	done(t, true);
}

static void apply_cache(unsigned int t, const struct flight *f)
{
	the_log->cache[t][f->index] = f->kind == CACHE_ADD;
}

/* A root without a record, which was just made or is about to go, can be asked for as it is; here it goes. */
static bool cache_happened(unsigned int t, const struct flight *f)
{
	void **slot = record_of(t, f->index);
	char name[16], root[32];

	name_of(name, "c", t, f->index);
	snprintf(root, sizeof(root), "cache,%s", name);
	if (slot && !*slot)
		CHECK(!kho_root_remove(root), "%s", root);
	return (slot && *slot) == (f->kind == CACHE_ADD);
}

/* No slab is left of a cache that is gone. */
static void check_slabs(void)
{
	struct khoc_block block;
	unsigned int type, order;

	for (kho_pa_t pos = 0; khoc_radix_next(&kho_arena_.tree, pos, ARENA_MAX, &block);
	     pos = block.pa + (KHO_PAGE_SIZE << block.order)) {
		const struct kho_abi_slab *slab = kho_phys_to_virt(block.pa);
		const unsigned char *state;

		if (kho_block_desc_(block.pa, &type, &order) || type != KHO_ABI_DESC_SLAB ||
		    !slab->cache)
			continue;
		state = kho_slab_state_of_(kho_phys_to_virt(slab->cache));
		CHECK(state && *state == KHO_ABI_OBJECT_LIVE, "slab at %#llx of no cache",
		      block.pa);
	}
}

static void check_caches(unsigned int t, struct sums *sums)
{
	if (!t)
		check_slabs();
	for (unsigned int i = 0; i < NAMES; i++) {
		void **slot = record_of(t, i);

		CHECK((slot && *slot) == the_log->cache[t][i], "cache %u-%u", t, i);
		CHECK(!slot || *slot, "cache %u-%u: its root alone", t, i);
		sums->items += slot != NULL;
	}
}

void caches_open(void)
{
	singles = kho_kmem_cache_create("singles", SINGLE_WORDS * 8, 64, KHO_CACHE_SINGLE, NULL);
	CHECK(singles, "cache");
}

const struct kill_subject kill_caches = {.share = 1,
					 .change = change_cache,
					 .apply = apply_cache,
					 .happened = cache_happened,
					 .check = check_caches};
