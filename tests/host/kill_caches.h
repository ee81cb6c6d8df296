/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Operations of test_kill.c on objects that are preserved singly. Part of that file: it has what is used here. */
#ifndef KHO_TEST_KILL_CACHES_H
#define KHO_TEST_KILL_CACHES_H

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
		f->seq = ++the_log->next_seq[t] << 8 | t;
		for (int w = 0; w < SINGLE_WORDS; w++) {
			CHECK(!object[w], "single at %#llx: not zero", f->pa);
			object[w] = f->seq;
		}
		phase(f, 1);
		CHECK(!kho_slab_preserve(object), "preserve");
	}
	done(t, true);
}

static bool single_is(kho_pa_t pa, __u64 seq)
{
	const __u64 *object = kho_phys_to_virt(pa);
	struct slab *slab = kho_slab_of_(object);

	return slab && slab->single && *object == seq &&
	       kho_slab_state_(slab, kho_slab_index_(slab, object)) == KHO_ABI_OBJECT_LIVE;
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
		sums->singles++;
	}
}

#endif
