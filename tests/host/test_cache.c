/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Slab caches: found by name after a crash, with their objects; single objects take nothing else along. */
#include <errno.h>
#include <kho/slab.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "arena_fixture.h"
#include "heap.h"
#include "page.h"
#include "preserve.h"

#define MIB (1ULL << 20)

static int fresh(void **state)
{
	arena_new(64 * MIB);
	return 0;
}

static int drop(void **state)
{
	arena_drop();
	return 0;
}

/* ---- what must hold of every slab, at any time ---- */

static void check_slabs(void)
{
	if (arena_check_slabs())
		fail_msg("%s", kho_error());
}

static __u64 slab_pages(void)
{
	struct khoc_block block;
	unsigned int type, order;
	__u64 pages = 0;

	for (kho_pa_t pos = 0; khoc_radix_next(&kho_arena_.tree, pos, kho_arena_.size, &block);
	     pos = block.pa + (KHO_PAGE_SIZE << block.order))
		if (!kho_block_desc_(block.pa, &type, &order) && type == KHO_ABI_DESC_SLAB)
			pages += 1ULL << order;
	return pages;
}

static struct kmem_cache *whole(void)
{
	return kho_kmem_cache_create("whole", 200, 0, 0, NULL);
}

static struct kmem_cache *single(void)
{
	return kho_kmem_cache_create("single", 200, 64, KHO_CACHE_SINGLE, NULL);
}

static bool all_zero(const void *p, size_t len)
{
	const unsigned char *bytes = p;

	for (size_t i = 0; i < len; i++)
		if (bytes[i])
			return false;
	return true;
}

/* ---- both kinds ---- */

static void objects_have_their_size_and_alignment(void **state)
{
	static const size_t sizes[] = {1, 16, 17, 100, 1000, 5000, 32768};
	static const size_t aligns[] = {0, 1, 8, 64, 4096};
	char name[16] = "c00";

	for (unsigned int s = 0; s < 7; s++)
		for (unsigned int a = 0; a < 5; a++) {
			struct kmem_cache *cache;
			unsigned char *p[50];

			name[1] = (char)('0' + s);
			name[2] = (char)('0' + a);
			cache = kho_kmem_cache_create(name, sizes[s], aligns[a], s & 1, NULL);
			assert_non_null(cache);
			assert_int_equal(kho_kmem_cache_size(cache), sizes[s]);
			assert_string_equal(kho_kmem_cache_name(cache), name);
			for (int i = 0; i < 50; i++) {
				p[i] = kho_kmem_cache_alloc(cache);
				assert_non_null(p[i]);
				assert_int_equal((uintptr_t)p[i] % (aligns[a] ?: 16), 0);
				assert_true(kho_usable_size(p[i]) >= sizes[s]);
				assert_ptr_equal(kho_kmem_cache_of(p[i]), cache);
				memset(p[i], i + 1, sizes[s]);
			}
			for (int i = 0; i < 50; i++) {
				assert_int_equal(p[i][0], i + 1);
				assert_int_equal(p[i][sizes[s] - 1], i + 1);
				assert_int_equal(kho_kmem_cache_free(cache, p[i]), 0);
			}
			assert_int_equal(kho_kmem_cache_destroy(cache), 0);
		}
	check_slabs();
}

static void bad_caches_are_refused(void **state)
{
	static const char *const names[] = {"", "a b", "a/b", "a,b", NULL};
	char name[80];

	for (int i = 0; i < 5; i++) {
		assert_null(kho_kmem_cache_create(names[i], 64, 0, 0, NULL));
		assert_int_equal(errno, EINVAL);
	}
	memset(name, 'x', sizeof(name));
	name[58] = 0;
	assert_null(kho_kmem_cache_create(name, 64, 0, 0, NULL));
	name[57] = 0;
	assert_non_null(kho_kmem_cache_create(name, 64, 0, 0, NULL));
	assert_null(kho_kmem_cache_create("x", 0, 0, 0, NULL));
	assert_null(kho_kmem_cache_create("x", 32769, 0, 0, NULL));
	assert_null(kho_kmem_cache_create("x", 1ULL << 32 | 64, 0, 0, NULL));
	assert_null(kho_kmem_cache_create("x", 64, 48, 0, NULL));
	assert_null(kho_kmem_cache_create("x", 64, 8192, 0, NULL));
	assert_null(kho_kmem_cache_create("x", 64, 0, 2, NULL));
	assert_int_equal(errno, EINVAL);
	assert_int_equal(kho_retrieve_subtree("cache,x", NULL, NULL), -ENOENT);
	errno = 0;
	assert_null(kho_kmem_cache_alloc(NULL));
	assert_int_equal(errno, EINVAL);
	assert_int_equal(kho_kmem_cache_destroy(NULL), -EINVAL);
}

static void another_size_is_refused(void **state)
{
	for (int round = 0; round < 2; round++) {
		struct kmem_cache *cache = whole();

		assert_non_null(cache);
		assert_ptr_equal(whole(), cache);
		assert_null(kho_kmem_cache_create("whole", 201, 0, 0, NULL));
		assert_int_equal(errno, EPROTOTYPE);
		assert_non_null(strstr(kho_error(), "200 bytes"));
		assert_null(kho_kmem_cache_create("whole", 200, 32, 0, NULL));
		assert_null(kho_kmem_cache_create("whole", 200, 0, KHO_CACHE_SINGLE, NULL));
		assert_int_equal(errno, EPROTOTYPE);
		arena_crash();
	}
}

static void the_wrong_cache_is_refused(void **state)
{
	struct kmem_cache *a = whole(), *b = single();
	char *in_a = kho_kmem_cache_alloc(a), *in_b = kho_kmem_cache_alloc(b),
	     *in_heap = kho_malloc(200);

	assert_int_equal(kho_kmem_cache_free(b, in_a), -EINVAL);
	assert_non_null(strstr(kho_error(), "whole"));
	assert_int_equal(kho_kmem_cache_free(a, in_b), -EINVAL);
	assert_int_equal(kho_kmem_cache_free(a, in_heap), -EINVAL);
	assert_int_equal(kho_kmem_cache_free(a, in_a + 16), -EINVAL);
	assert_int_equal(kho_kmem_cache_free(a, a), -EINVAL);
	assert_null(kho_kmem_cache_of(in_heap));
	assert_null(kho_realloc(in_a, 300));
	assert_int_equal(errno, EINVAL);
	assert_int_equal(kho_kmem_cache_free(a, in_a), 0);
	assert_int_equal(kho_kmem_cache_free(b, in_b), 0);
	assert_int_equal(kho_kmem_cache_free(b, in_b), -EINVAL); /* twice */
	kho_free(in_heap);
}

static void make_seven(void *object)
{
	*(int *)object = 7;
}

static void the_constructor_makes_every_object(void **state)
{
	for (unsigned int flags = 0; flags <= KHO_CACHE_SINGLE; flags++) {
		struct kmem_cache *cache =
			kho_kmem_cache_create(flags ? "s" : "w", 64, 0, flags, make_seven);

		for (int i = 0; i < 3000; i++) {
			int *p = kho_kmem_cache_alloc(cache);

			assert_int_equal(*p, 7);
			*p = 8;
			if (i % 3)
				kho_free(p);
		}
	}
}

static void an_empty_cache_goes_and_leaves_nothing(void **state)
{
	struct kmem_cache *a = whole(), *b = single();
	void **root = kho_root("x", "test", 1);
	void *p[1000], *q;
	__u64 live = arena_live(), pages = slab_pages();

	for (int i = 0; i < 1000; i++)
		p[i] = kho_kmem_cache_alloc(i & 1 ? a : b);
	assert_true(slab_pages() > pages + 32);
	assert_int_equal(kho_kmem_cache_destroy(a), -EBUSY);
	assert_int_equal(kho_kmem_cache_destroy(b), -EBUSY);
	for (int i = 0; i < 1000; i++)
		kho_free(p[i]);
	q = kho_kmem_cache_alloc(a);
	assert_int_equal(kho_publish(root, q, NULL), 0);
	arena_crash();
	a = whole();
	b = single();
	assert_int_equal(kho_kmem_cache_destroy(a), -EBUSY);
	root = kho_root("x", "test", 1);
	assert_int_equal(kho_publish(root, NULL, *root), 0);
	assert_int_equal(kho_kmem_cache_destroy(a), 0);
	assert_null(kho_kmem_cache_alloc(a));
	assert_int_equal(errno, EINVAL);
	assert_int_equal(kho_kmem_cache_destroy(a), -EINVAL);
	assert_int_equal(kho_kmem_cache_destroy(b), 0);
	assert_int_equal(slab_pages(), pages);
	assert_int_equal(arena_live(), live - 2); /* the two records */
	assert_int_equal(kho_retrieve_subtree("cache,whole", NULL, NULL), -ENOENT);
	/* The name is free for another size. */
	assert_non_null(kho_kmem_cache_create("whole", 300, 0, 0, NULL));
}

static void caches_have_an_end(void **state)
{
	struct kmem_cache *cache = NULL;
	char name[8];
	int n = 0;

	for (; n < 1000; n++) {
		snprintf(name, sizeof(name), "c%d", n);
		cache = kho_kmem_cache_create(name, 64, 0, 0, NULL);
		if (!cache)
			break;
	}
	assert_int_equal(n, HEAP_NR_CACHES);
	assert_int_equal(errno, ENOSPC);
	cache = kho_kmem_cache_create("c7", 64, 0, 0, NULL);
	assert_int_equal(kho_kmem_cache_destroy(cache), 0);
	assert_non_null(kho_kmem_cache_create("other", 64, 0, 0, NULL));
}

/* ---- whole ---- */

struct node {
	struct node *next;
	uint64_t value;
};

static int sum_values(void *ctx, void *object, bool restored)
{
	assert_true(restored);
	*(uint64_t *)ctx += ((struct node *)object)->value;
	return 0;
}

static void published_objects_stay_and_the_cache_goes_on(void **state)
{
	enum { N = 2000 };
	struct kmem_cache *cache = whole();
	void **root = kho_root("list", "test-list", 1);
	struct node *node, *kept[N];
	uint64_t sum = 0;

	for (uint64_t i = 0; i < N; i++) {
		node = kho_kmem_cache_alloc(cache);
		node->value = i;
		node->next = *root;
		assert_int_equal(kho_publish(root, node, NULL), 0);
		kept[i] = node;
		kho_kmem_cache_alloc(cache); /* only reserved: gone */
	}
	arena_crash();
	root = kho_root("list", "test-list", 1);
	/* Freed as any other, before anybody asked for the cache by name. */
	for (int i = 0; i < N / 2; i++) {
		node = *root;
		assert_ptr_equal(node, kept[N - 1 - i]);
		assert_int_equal(kho_publish(root, node->next, node), 0);
	}
	cache = whole();
	assert_ptr_equal(kho_kmem_cache_of(*root), cache);
	assert_int_equal(kho_kmem_cache_for_each(cache, sum_values, &sum), 0);
	assert_int_equal(sum, (uint64_t)(N / 2) * (N / 2 - 1) / 2);
	for (int i = 0; i < 3 * N; i++) {
		node = kho_kmem_cache_alloc(cache);
		for (int k = 0; k < N / 2; k += 97)
			assert_ptr_not_equal(node, kept[k]);
		node->value = 0;
	}
	assert_int_equal(arena_live(), N / 2 + 1);
	check_slabs();
}

static void slabs_of_a_cache_are_filled_again_after_a_crash(void **state)
{
	struct kmem_cache *cache = whole();
	void **root = kho_root("x", "test", 1);
	void *first = kho_kmem_cache_alloc(cache);
	__u64 pages;

	assert_int_equal(kho_publish(root, first, NULL), 0);
	pages = slab_pages();
	for (int round = 0; round < 5; round++) {
		arena_crash();
		cache = whole();
		for (int i = 0; i < 100; i++)
			assert_non_null(kho_kmem_cache_alloc(cache));
		assert_int_equal(slab_pages(), pages);
	}
}

static int free_it(void *ctx, void *object, bool restored)
{
	++*(int *)ctx;
	kho_free(object);
	return 0;
}

static void for_each_may_free(void **state)
{
	struct kmem_cache *cache = whole();
	void **root = kho_root("x", "test", 1);
	int n = 0;

	for (int i = 0; i < 1500; i++) {
		struct node *node = kho_kmem_cache_alloc(cache);

		node->next = *root;
		assert_int_equal(kho_publish(root, node, NULL), 0);
	}
	arena_crash();
	root = kho_root("x", "test", 1);
	kho_publish(root, NULL, NULL);
	cache = whole();
	assert_int_equal(kho_kmem_cache_for_each(cache, free_it, &n), 0);
	assert_int_equal(n, 1500);
	assert_int_equal(kho_kmem_cache_destroy(cache), 0);
}

static void a_full_arena_takes_empty_caches_back(void **state)
{
	struct kmem_cache *cache[2] = {whole(), single()};
	void *list[2] = {NULL, NULL}, *p;

	for (int c = 0; c < 2; c++) {
		for (int i = 0; i < 50000; i++) {
			p = kho_kmem_cache_alloc(cache[c]);
			assert_non_null(p);
			*(void **)p = list[c];
			list[c] = p;
		}
		while ((p = list[c])) {
			list[c] = *(void **)p;
			assert_int_equal(kho_kmem_cache_free(cache[c], p), 0);
		}
		p = kho_malloc(55 * MIB);
		assert_non_null(p);
		kho_free(p);
	}
	/* And so when nobody asked for them yet. */
	for (int i = 0; i < 250000; i++)
		if (!kho_kmem_cache_alloc(cache[i & 1]))
			break;
	arena_crash();
	assert_non_null(kho_malloc(55 * MIB));
}

/* ---- single objects ---- */

static void preserved_objects_are_restored_once(void **state)
{
	struct kmem_cache *cache = single();
	kho_pa_t pa[3];
	char *p[3];

	for (int i = 0; i < 3; i++) {
		p[i] = kho_kmem_cache_alloc(cache);
		assert_true(all_zero(p[i], 200));
		memset(p[i], 'a' + i, 200);
		pa[i] = kho_virt_to_phys(p[i]);
	}
	assert_int_equal(kho_slab_preserve(p[0]), 0);
	assert_int_equal(kho_slab_preserve(p[0]), -EALREADY);
	assert_int_equal(kho_slab_preserve(p[1]), 0);
	assert_int_equal(kho_slab_unpreserve(p[1]), 0);
	assert_int_equal(kho_slab_unpreserve(p[1]), -KHO_E_NOT_PRESERVED);
	assert_int_equal(kho_slab_preserve(p[1]), 0);
	assert_null(kho_slab_restore(pa[0])); /* preserved here */
	check_slabs();
	arena_crash();
	/* Nobody's data but what was preserved: what was only reserved is gone. */
	assert_int_equal(arena_live(), 3);
	assert_null(kho_slab_restore(pa[2]));
	assert_int_equal(errno, EINVAL);
	assert_non_null(strstr(kho_error(), "never preserved"));
	assert_true(all_zero(p[2], 200));
	assert_int_equal(kho_slab_unpreserve(p[0]), -EINVAL); /* not restored yet */
	kho_free(p[0]);
	assert_int_equal(arena_live(), 3);
	assert_ptr_equal(kho_slab_restore(pa[0]), p[0]);
	assert_int_equal(p[0][199], 'a');
	assert_null(kho_slab_restore(pa[0]));
	assert_non_null(strstr(kho_error(), "before"));
	assert_null(kho_slab_restore(pa[0] + 64));
	assert_null(kho_slab_restore(0));
	assert_null(kho_slab_restore(64 * MIB - 4096));
	cache = single();
	assert_null(kho_kmem_cache_restore(whole(), pa[1]));
	assert_ptr_equal(kho_kmem_cache_restore(cache, pa[1]), p[1]);
	kho_free(p[0]);
	assert_int_equal(kho_kmem_cache_free(cache, p[1]), 0);
	assert_int_equal(kho_kmem_cache_destroy(cache), 0);
}

static void objects_of_other_slabs_are_not_preserved_singly(void **state)
{
	struct kmem_cache *cache = whole(), *s = single();
	void **root = kho_root("x", "test", 1);
	void *in_cache = kho_kmem_cache_alloc(cache), *in_heap = kho_malloc(64),
	     *large = kho_malloc(100000), *folio = kho_folio_alloc(0),
	     *in_single = kho_kmem_cache_alloc(s);

	assert_int_equal(kho_slab_preserve(in_cache), -KHO_E_TYPE);
	assert_non_null(strstr(kho_error(), "not an object of a single-object cache"));
	assert_int_equal(kho_slab_preserve(in_heap), -KHO_E_TYPE);
	assert_int_equal(kho_slab_preserve(large), -KHO_E_TYPE);
	assert_int_equal(kho_slab_preserve(folio), -KHO_E_TYPE);
	assert_int_equal(kho_slab_preserve(&cache), -KHO_E_TYPE);
	assert_int_equal(kho_slab_preserve(NULL), -KHO_E_TYPE);
	assert_int_equal(kho_slab_unpreserve(in_heap), -KHO_E_TYPE);
	assert_int_equal(kho_slab_preserve((char *)in_single + 16), -EINVAL);
	/* And those that are, are not published. */
	assert_int_equal(kho_publish(root, in_single, NULL), -EINVAL);
	assert_int_equal(kho_publish(root, in_heap, NULL), 0);
	assert_null(kho_slab_restore(kho_virt_to_phys(in_heap)));
	assert_int_equal(kho_slab_preserve(in_single), 0);
	assert_int_equal(kho_publish(root, NULL, in_single), -EINVAL);
	kho_free(in_single);
	assert_int_equal(kho_slab_preserve(in_single), -EINVAL); /* freed */
}

static int count_both(void *ctx, void *object, bool restored)
{
	((int *)ctx)[restored]++;
	return 0;
}

/* Against a model: which objects there are, in which state, with which byte; the slabs are checked after each crash. */
static void single_objects_do_what_the_model_says(void **state)
{
	enum { N = 1500, OPS = 30000 };
	static struct {
		unsigned char *p;
		enum { NONE, RESERVED, PRESERVED, CAME_IN } is;
		unsigned char byte;
	} m[N];
	uint64_t rng = test_seed();
	struct kmem_cache *cache = single();

	memset(m, 0, sizeof(m));
	for (int op = 0; op < OPS; op++) {
		uint64_t r = test_random(&rng);
		unsigned int i = (unsigned int)(r % N), preserved[2] = {0, 0};
		int seen[2] = {0, 0};

		switch (m[i].is) {
		case NONE:
			m[i].p = kho_kmem_cache_alloc(cache);
			assert_true(all_zero(m[i].p, 256));
			m[i].byte = (unsigned char)(r >> 32) | 1;
			memset(m[i].p, m[i].byte, 200);
			m[i].is = RESERVED;
			break;
		case RESERVED:
			if (r >> 62 == 0)
				kho_free(m[i].p);
			else
				assert_int_equal(kho_slab_preserve(m[i].p), 0);
			m[i].is = r >> 62 ? PRESERVED : NONE;
			break;
		case CAME_IN:
			assert_ptr_equal(kho_slab_restore(kho_virt_to_phys(m[i].p)), m[i].p);
			m[i].is = PRESERVED;
			/* fallthrough */
		case PRESERVED:
			assert_int_equal(m[i].p[0], m[i].byte);
			assert_int_equal(m[i].p[199], m[i].byte);
			if (r >> 63)
				assert_int_equal(kho_kmem_cache_free(cache, m[i].p), 0);
			else
				assert_int_equal(kho_slab_unpreserve(m[i].p), 0);
			m[i].is = r >> 63 ? NONE : RESERVED;
		}
		if (op % 3000 != 2999)
			continue;
		check_slabs();
		arena_crash();
		cache = single();
		for (i = 0; i < N; i++)
			if (m[i].is == PRESERVED || m[i].is == CAME_IN) {
				m[i].is = CAME_IN;
				preserved[0]++;
			} else {
				m[i].is = NONE;
			}
		assert_int_equal(kho_kmem_cache_for_each(cache, count_both, seen), 0);
		assert_int_equal(seen[0], preserved[0]);
		assert_int_equal(seen[1], 0);
		check_slabs();
	}
}

/* ---- damage ---- */

static void damaged_slabs_and_records_are_not_used(void **state)
{
	struct kmem_cache *cache = single();
	char *p = kho_kmem_cache_alloc(cache), *q = kho_kmem_cache_alloc(cache);
	void **root = kho_root("cache,single", "kmem_cache", 1);
	struct kho_abi_cache *record = *root;
	kho_pa_t pa = kho_virt_to_phys(p);

	assert_int_equal(kho_slab_preserve(p), 0);
	kho_free(q);
	/* Bytes that belong to nobody */
	q[5] = 1;
	arena_crash();
	assert_null(kho_slab_restore(pa));
	assert_non_null(strstr(kho_error(), "free bytes"));
	q[5] = 0;
	arena_crash();
	/* The record of its cache */
	record->object_size += 16;
	assert_null(kho_slab_restore(pa));
	assert_non_null(strstr(kho_error(), "slab cache"));
	assert_null(single());
	assert_int_equal(errno, EPROTO);
	record->object_size -= 16;
	arena_crash();
	assert_ptr_equal(kho_slab_restore(pa), p);
	cache = single();
	assert_non_null(cache);
	kho_free(p);
	assert_int_equal(kho_kmem_cache_destroy(cache), 0);
}

/* ---- threads ---- */

#define THREADS 3
#define RING 300

static struct {
	struct kmem_cache *cache[2];
	unsigned char *exchange[64];
} shared;

/* Objects wander between threads: whoever puts one into a place frees what was there. */
static void *churn(void *arg)
{
	uint64_t rng = 77 + (uintptr_t)arg;

	for (int i = 0; i < 30000; i++) {
		uint64_t r = test_random(&rng);
		unsigned char *p = kho_kmem_cache_alloc(shared.cache[r & 1]), *old;

		assert_non_null(p);
		if (r & 1) {
			assert_true(all_zero(p, 192));
			if (r & 2)
				assert_int_equal(kho_slab_preserve(p), 0);
		}
		memset(p, (int)(r >> 8) | 1, 192);
		old = __atomic_exchange_n(&shared.exchange[(r & 1) * 32 + (r >> 16) % 32], p,
					  __ATOMIC_ACQ_REL);
		if (old) {
			assert_int_equal(old[0], old[191]);
			assert_int_equal(kho_kmem_cache_free(shared.cache[r & 1], old), 0);
		}
	}
	return NULL;
}

static void threads_free_each_others_objects(void **state)
{
	pthread_t thread[THREADS];

	for (int round = 0; round < 3; round++) {
		shared.cache[0] = whole();
		shared.cache[1] = single();
		memset(shared.exchange, 0, sizeof(shared.exchange));
		for (uintptr_t t = 0; t < THREADS; t++)
			pthread_create(&thread[t], NULL, churn,
				       (void *)(t + 10 * (uintptr_t)round));
		for (int t = 0; t < THREADS; t++)
			pthread_join(thread[t], NULL);
		check_slabs();
		if (round < 2) {
			for (int i = 0; i < 64; i++)
				kho_free(shared.exchange[i]);
			assert_int_equal(kho_kmem_cache_destroy(shared.cache[0]), 0);
			assert_int_equal(kho_kmem_cache_destroy(shared.cache[1]), 0);
		}
	}
	arena_crash();
	check_slabs();
}

static void *make_and_use(void *arg)
{
	struct kmem_cache *cache = kho_kmem_cache_create("both", 100, 0, 0, NULL);

	for (int i = 0; i < 500; i++)
		kho_kmem_cache_free(cache, kho_kmem_cache_alloc(cache));
	return cache;
}

static void threads_make_one_cache(void **state)
{
	pthread_t thread[THREADS];
	void *cache[THREADS];

	for (int t = 0; t < THREADS; t++)
		pthread_create(&thread[t], NULL, make_and_use, NULL);
	for (int t = 0; t < THREADS; t++)
		pthread_join(thread[t], &cache[t]);
	assert_non_null(cache[0]);
	assert_ptr_equal(cache[0], cache[1]);
	assert_ptr_equal(cache[0], cache[2]);
	assert_int_equal(kho_kmem_cache_destroy(cache[0]), 0);
}

#define WITH_ARENA(test) cmocka_unit_test_setup_teardown(test, fresh, drop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_ARENA(objects_have_their_size_and_alignment),
		WITH_ARENA(bad_caches_are_refused),
		WITH_ARENA(another_size_is_refused),
		WITH_ARENA(the_wrong_cache_is_refused),
		WITH_ARENA(the_constructor_makes_every_object),
		WITH_ARENA(an_empty_cache_goes_and_leaves_nothing),
		WITH_ARENA(caches_have_an_end),
		WITH_ARENA(published_objects_stay_and_the_cache_goes_on),
		WITH_ARENA(slabs_of_a_cache_are_filled_again_after_a_crash),
		WITH_ARENA(for_each_may_free),
		WITH_ARENA(a_full_arena_takes_empty_caches_back),
		WITH_ARENA(preserved_objects_are_restored_once),
		WITH_ARENA(objects_of_other_slabs_are_not_preserved_singly),
		WITH_ARENA(single_objects_do_what_the_model_says),
		WITH_ARENA(damaged_slabs_and_records_are_not_used),
		WITH_ARENA(threads_free_each_others_objects),
		WITH_ARENA(threads_make_one_cache),
	};

	return cmocka_run_group_tests_name("cache", tests, NULL, NULL);
}
