/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The heap: what is reserved goes with a crash, what is published stays, nothing leaks. */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "arena_fixture.h"
#include "heap.h"
#include "page.h"

#define MIB (1ULL << 20)

struct node {
	struct node *next;
	uint64_t value;
	char rest[];
};

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

static void size_classes_cover_every_size(void **state)
{
	for (size_t size = 0; size <= HEAP_SMALL_MAX; size++) {
		unsigned int c = kho_size_class_(size);

		assert_true(c < HEAP_NR_CLASSES);
		assert_true(kho_class_size_(c) >= size);
		if (c)
			assert_true(kho_class_size_(c - 1) < size);
		assert_int_equal(kho_class_size_(c) % HEAP_ALIGN, 0);
	}
}

static void objects_do_not_overlap(void **state)
{
	enum { N = 400 };
	static const size_t sizes[] = {1, 16, 17, 100, 4096, 5000, 32768, 32769, 100000};
	unsigned char *p[N];
	size_t size[N];

	for (int i = 0; i < N; i++) {
		size[i] = sizes[i % 9];
		p[i] = kho_malloc(size[i]);
		assert_non_null(p[i]);
		assert_int_equal((uintptr_t)p[i] % 16, 0);
		assert_true(kho_usable_size(p[i]) >= size[i]);
		memset(p[i], i, kho_usable_size(p[i]));
	}
	for (int i = 0; i < N; i++)
		for (size_t b = 0; b < kho_usable_size(p[i]); b++)
			assert_int_equal(p[i][b], i & 0xff);
	for (int i = 0; i < N; i++)
		kho_free(p[i]);
}

static void reserved_goes_published_stays(void **state)
{
	void **slot = kho_root("list", "test-list", 1);
	struct node *kept = kho_malloc(sizeof(*kept));
	struct node *lost = kho_malloc(sizeof(*lost));

	assert_non_null(slot);
	kept->next = NULL;
	kept->value = 42;
	lost->value = 43;
	assert_int_equal(kho_publish(slot, kept, NULL), 0);
	arena_crash();
	slot = kho_root("list", "test-list", 1);
	kept = *slot;
	assert_int_equal(kept->value, 42);
	assert_int_equal(arena_live(), 1);
	/* The reserved one's memory is handed out again, the live one's is not. */
	for (int i = 0; i < 4000; i++)
		assert_ptr_not_equal(kho_malloc(sizeof(*kept)), kept);
}

static void replace_and_delete_free_the_old(void **state)
{
	void **slot = kho_root("list", "test-list", 1);
	struct node *a = kho_calloc(1, 200), *b = kho_calloc(1, 200), *c = kho_calloc(1, 200);

	assert_int_equal(kho_publish(slot, a, NULL), 0);
	assert_int_equal(kho_publish((void **)&a->next, b, NULL), 0);
	assert_int_equal(arena_live(), 2);
	c->next = b;
	assert_int_equal(kho_publish(slot, c, a), 0);
	assert_int_equal(arena_live(), 2);
	assert_int_equal(kho_publish((void **)&c->next, NULL, b), 0);
	assert_int_equal(kho_publish(slot, NULL, c), 0);
	assert_int_equal(arena_live(), 0);
	assert_int_equal(kho_root_remove("list"), 0);
}

static void deleting_links_past_live_neighbours(void **state)
{
	void **slot = kho_root("list", "test-list", 1);
	struct node *a = kho_calloc(1, 64), *b = kho_calloc(1, 64);

	kho_publish(slot, a, NULL);
	kho_publish((void **)&a->next, b, NULL);
	assert_int_equal(kho_publish(slot, b, a), 0);
	assert_ptr_equal(*slot, b);
	assert_int_equal(arena_live(), 1);
	arena_crash();
	assert_int_equal(arena_live(), 1);
}

static void large_objects_survive_and_are_freed(void **state)
{
	void **slot = kho_root("big", "test-big", 1);
	size_t size = 3 * MIB + 12345;
	unsigned char *p = kho_malloc(size);

	memset(p, 0x5c, size);
	assert_int_equal(kho_publish(slot, p, NULL), 0);
	arena_crash();
	slot = kho_root("big", "test-big", 1);
	p = *slot;
	for (size_t i = 0; i < size; i += 997)
		assert_int_equal(p[i], 0x5c);
	assert_true(kho_usable_size(p) >= size);
	assert_int_equal(kho_publish(slot, NULL, p), 0);
	assert_int_equal(arena_live(), 0);
	assert_int_equal(kho_pages_discover_all_(), 0);
	assert_true(kho_pages_are_free_(kho_virt_to_phys(p) & ~4095ULL, 1));
}

static void an_unpublished_large_object_leaves_no_trace(void **state)
{
	unsigned char *p = kho_malloc(5 * MIB);
	kho_pa_t pa = kho_virt_to_phys(p) & ~4095ULL;

	assert_non_null(p);
	arena_crash();
	assert_int_equal(kho_pages_discover_all_(), 0);
	assert_true(kho_pages_are_free_(pa, 5 * MIB / 4096));
}

static void alignment_is_kept(void **state)
{
	for (size_t align = 16; align <= 2 * MIB; align *= 2) {
		void *small = kho_memalign(align, 24), *big = kho_memalign(align, 70000);

		assert_non_null(small);
		assert_non_null(big);
		assert_int_equal((uintptr_t)small % align, 0);
		assert_int_equal((uintptr_t)big % align, 0);
		kho_free(small);
		kho_free(big);
	}
	assert_null(kho_memalign(24, 100));
	assert_int_equal(errno, EINVAL);
}

static void a_full_arena_gives_null_and_recovers(void **state)
{
	void *list = NULL, *p;
	size_t n = 0;

	while ((p = kho_malloc(10000))) {
		*(void **)p = list;
		list = p;
		n++;
	}
	assert_int_equal(errno, ENOMEM);
	assert_true(n > 5000);
	while (list) {
		p = list;
		list = *(void **)p;
		kho_free(p);
	}
	for (size_t i = 0; i < n; i++) {
		p = kho_malloc(10000);
		assert_non_null(p);
		*(void **)p = list;
		list = p;
	}
}

static void bad_operands_are_refused(void **state)
{
	void **slot = kho_root("x", "test", 1);
	char *a = kho_malloc(100), *b = kho_malloc(100);
	void *outside = NULL;

	assert_int_equal(kho_publish(&outside, a, NULL), -EINVAL);
	assert_int_equal(kho_publish(slot, a + 8, NULL), -EINVAL);
	assert_int_equal(kho_publish(slot, slot, NULL), -EINVAL);
	assert_int_equal(kho_publish((void **)((char *)slot + 1), a, NULL), -EINVAL);
	assert_int_equal(kho_publish(slot, a, b), -EINVAL); /* b is not live */
	assert_int_equal(kho_publish(slot, a, NULL), 0);
	assert_int_equal(kho_publish(slot, a, NULL), -EINVAL); /* holds it already */
	assert_null(kho_realloc(a, 500));
	assert_int_equal(errno, EINVAL);
	b = kho_realloc(b, 50000);
	assert_non_null(b);
	assert_int_equal(kho_root_remove("x"), -EBUSY);
}

static void exchanged_objects_are_the_callers(void **state)
{
	void **slot = kho_root("x", "test", 1);
	void *a = kho_malloc(48), *b = kho_malloc(48);

	kho_publish(slot, a, NULL);
	assert_int_equal(kho_exchange(slot, b, a), 0);
	assert_int_equal(arena_live(), 1);
	for (int i = 0; i < 3000; i++)
		assert_ptr_not_equal(kho_malloc(48), a);
	kho_free(a);
}

/* What was only reserved must not keep its pages from others, whatever size they want. */
static void slabs_that_a_crash_emptied_are_used_for_all_sizes(void **state)
{
	size_t n = 0;

	for (int round = 0; round < 2; round++) {
		while (kho_malloc(48))
			n++;
		assert_true(n > 500000);
		arena_crash();
		assert_non_null(kho_malloc(40 * MIB));
		arena_crash();
		assert_non_null(kho_folio_alloc(13));
		arena_crash();
		for (int i = 0; i < 1000; i++)
			assert_non_null(kho_malloc(30000));
		arena_crash();
		n = 0;
	}
}

static void empty_slabs_are_given_back_to_other_sizes(void **state)
{
	void *list = NULL, *p;

	while ((p = kho_malloc(1024))) {
		*(void **)p = list;
		list = p;
	}
	while ((p = list)) {
		list = *(void **)p;
		kho_free(p);
	}
	p = kho_malloc(50 * MIB);
	assert_non_null(p);
	kho_free(p);
	for (int i = 0; i < 50000; i++)
		assert_non_null(kho_malloc(1024));
}

static void large_objects_are_freed_once(void **state)
{
	void **slot = kho_root("x", "test", 1);
	char *a = kho_malloc(100000), *b;

	kho_free(a);
	assert_int_equal(kho_usable_size(a), 0);
	b = kho_malloc(60000);
	kho_publish(slot, b, NULL);
	kho_free(a); /* refused: its pages may be another's */
	assert_int_equal(errno, EINVAL);
	assert_int_equal(kho_publish(slot, a, b), -EINVAL);
	arena_crash();
	assert_int_equal(arena_live(), 1);
}

static void inherited_large_objects_can_be_exchanged(void **state)
{
	void **slot = kho_root("x", "test", 1);
	char *a = kho_malloc(100000);

	memset(a, 0x33, 100000);
	kho_publish(slot, a, NULL);
	arena_crash();
	assert_int_equal(kho_exchange(slot, NULL, a), 0);
	assert_int_equal(arena_live(), 0);
	/* Reserved: nobody else gets its pages. */
	while (kho_alloc_pages(1))
		;
	for (size_t i = 0; i < 100000; i++)
		assert_int_equal(a[i], 0x33);
	assert_int_equal(kho_publish(slot, a, NULL), 0);
	assert_int_equal(kho_exchange(slot, NULL, a), 0);
	kho_free(a);
	for (int i = 0; i < 25; i++)
		assert_non_null(kho_alloc_pages(1));
	assert_null(kho_alloc_pages(1));
}

static void an_object_does_not_replace_itself(void **state)
{
	void **slot = kho_root("x", "test", 1), **other = kho_root("y", "test", 1);
	void *a = kho_malloc(64);

	kho_publish(slot, a, NULL);
	assert_int_equal(kho_publish(other, a, a), -EINVAL);
	assert_int_equal(arena_live(), 1);
}

/* ---- several threads ---- */

#define GRABBERS 4
#define GRABS 6000

static void *grabbed[GRABBERS][GRABS];

static void *grab(void *arg)
{
	void **mine = arg;

	for (int i = 0; i < GRABS; i++) {
		mine[i] = kho_malloc(16 + (size_t)i % 7 * 300);
		*(void **)mine[i] = &mine[i];
	}
	for (int i = 0; i < GRABS; i += 3) {
		kho_free(mine[i]);
		mine[i] = NULL;
	}
	return NULL;
}

/* New slabs are made, and empty ones given back, while others look for what came in. */
static void no_slab_is_handed_out_twice(void **state)
{
	pthread_t thread[GRABBERS];

	for (int round = 0; round < 30; round++) {
		for (int t = 0; t < GRABBERS; t++)
			pthread_create(&thread[t], NULL, grab, grabbed[t]);
		for (int t = 0; t < GRABBERS; t++)
			pthread_join(thread[t], NULL);
		for (int t = 0; t < GRABBERS; t++)
			for (int i = 0; i < GRABS; i++)
				if (grabbed[t][i])
					assert_ptr_equal(*(void **)grabbed[t][i], &grabbed[t][i]);
		arena_crash();
	}
}

#define SLOTS 4096

static struct {
	void **slot[SLOTS];
	pthread_mutex_t lock[64];
	uint64_t seed;
} shared;

static void *churn(void *arg)
{
	uint64_t rng = shared.seed + (uintptr_t)arg;

	for (int i = 0; i < 40000; i++) {
		uint64_t r = test_random(&rng);
		unsigned int s = (unsigned int)(r % SLOTS);
		size_t size = 16 + (r >> 20) % ((r >> 40) % 16 ? 300 : 40000);
		uint64_t *fresh = r >> 60 ? kho_malloc(size) : NULL;

		if (fresh)
			fresh[0] = fresh[1] = r;
		pthread_mutex_lock(&shared.lock[s % 64]);
		if (fresh || *shared.slot[s])
			if (kho_publish(shared.slot[s], fresh, *shared.slot[s]))
				fail_msg("%s", kho_error());
		pthread_mutex_unlock(&shared.lock[s % 64]);
	}
	return NULL;
}

static void threads_publish_over_each_other(void **state)
{
	void ***table;
	void **root = kho_root("table", "test-table", 1);
	pthread_t thread[4];
	uint64_t live = 1;

	assert_int_equal(kho_publish(root, kho_calloc(SLOTS, 8), NULL), 0);
	shared.seed = test_seed();
	for (int i = 0; i < SLOTS; i++)
		shared.slot[i] = (void **)*root + i;
	for (int i = 0; i < 64; i++)
		pthread_mutex_init(&shared.lock[i], NULL);
	for (int round = 0; round < 3; round++) {
		for (uintptr_t t = 0; t < 4; t++)
			pthread_create(&thread[t], NULL, churn,
				       (void *)(t + 10 * (uintptr_t)round));
		for (int t = 0; t < 4; t++)
			pthread_join(thread[t], NULL);
		arena_crash();
		root = kho_root("table", "test-table", 1);
		table = *root;
		live = 1;
		for (int i = 0; i < SLOTS; i++) {
			uint64_t *object = (uint64_t *)table[i];

			live += object != NULL;
			if (object)
				assert_int_equal(object[0], object[1]);
		}
		assert_int_equal(arena_live(), live);
	}
}

static void *reserve(void *ctx)
{
	*(void **)ctx = kho_malloc(3000);
	return NULL;
}

static void workers_that_exit_leave_their_slabs(void **state)
{
	void *first, *second, *third;
	pthread_t thread;

	assert_int_equal(kho_worker_enter(), 0);
	first = kho_malloc(3000);
	kho_worker_exit();
	/* The thread lives; another one uses what is left of its slab. */
	pthread_create(&thread, NULL, reserve, &second);
	pthread_join(thread, NULL);
	assert_non_null(first);
	assert_non_null(second);
	assert_ptr_not_equal(first, second);
	assert_int_equal((uintptr_t)first >> 16, (uintptr_t)second >> 16);
	/* No worker any more, and still a thread like others. */
	third = kho_malloc(3000);
	assert_non_null(third);
	kho_free(first);
	kho_free(second);
	kho_free(third);
}

/* Or whoever asks for figures has all slabs that came in, and the threads that allocate need others. */
static void counting_objects_takes_no_slab(void **state)
{
	void **slot = kho_root("object", "test-object", 1), *second;
	pthread_t thread;
	__u64 used;

	assert_int_equal(kho_publish(slot, kho_malloc(3000), NULL), 0);
	arena_crash();
	assert_int_equal(kho_pages_discover_all_(), 0);
	assert_int_equal(arena_live(), 1);
	used = kho_pages_used_();
	pthread_create(&thread, NULL, reserve, &second);
	pthread_join(thread, NULL);
	slot = kho_root("object", "test-object", 1);
	assert_int_equal((uintptr_t)*slot >> 16, (uintptr_t)second >> 16);
	assert_int_equal(kho_pages_used_(), used);
}

#define TOUCHED 200

static void *replace_all(void *ctx)
{
	void **table = ctx;

	/* One by one: what is freed serves for the next but a few. */
	for (int round = 0; round < 20; round++)
		for (int i = 0; i < TOUCHED; i++)
			if (kho_publish(table + i, kho_malloc(3000), table[i]))
				return NULL;
	return ctx;
}

/* The slabs, full ones too, of a thread that looked at everything and allocates nothing serve the others. */
static void touching_objects_takes_no_slab(void **state)
{
	void **slot = kho_root("table", "test-table", 1), **table, *result;
	pthread_t thread;
	__u64 used;

	assert_int_equal(kho_publish(slot, kho_calloc(TOUCHED, sizeof(void *)), NULL), 0);
	table = *slot;
	for (int i = 0; i < TOUCHED; i++)
		assert_int_equal(kho_publish(table + i, kho_malloc(3000), NULL), 0);
	used = kho_pages_used_();
	for (int program = 0; program < 10; program++) {
		arena_crash();
		assert_int_equal(kho_pages_discover_all_(), 0);
		table = *kho_root("table", "test-table", 1);
		for (int i = 0; i < TOUCHED; i++)
			assert_true(kho_usable_size(table[i]) >= 3000);
		pthread_create(&thread, NULL, replace_all, table);
		pthread_join(thread, &result);
		assert_ptr_equal(result, table);
		/* A slab or two for what is on the way. */
		assert_true(kho_pages_used_() <= used + 48 * KHO_PAGE_SIZE);
	}
	assert_int_equal(arena_live(), TOUCHED + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(size_classes_cover_every_size),
		cmocka_unit_test_setup_teardown(objects_do_not_overlap, fresh, drop),
		cmocka_unit_test_setup_teardown(reserved_goes_published_stays, fresh, drop),
		cmocka_unit_test_setup_teardown(replace_and_delete_free_the_old, fresh, drop),
		cmocka_unit_test_setup_teardown(deleting_links_past_live_neighbours, fresh, drop),
		cmocka_unit_test_setup_teardown(large_objects_survive_and_are_freed, fresh, drop),
		cmocka_unit_test_setup_teardown(an_unpublished_large_object_leaves_no_trace, fresh,
						drop),
		cmocka_unit_test_setup_teardown(alignment_is_kept, fresh, drop),
		cmocka_unit_test_setup_teardown(a_full_arena_gives_null_and_recovers, fresh, drop),
		cmocka_unit_test_setup_teardown(bad_operands_are_refused, fresh, drop),
		cmocka_unit_test_setup_teardown(exchanged_objects_are_the_callers, fresh, drop),
		cmocka_unit_test_setup_teardown(slabs_that_a_crash_emptied_are_used_for_all_sizes,
						fresh, drop),
		cmocka_unit_test_setup_teardown(empty_slabs_are_given_back_to_other_sizes, fresh,
						drop),
		cmocka_unit_test_setup_teardown(large_objects_are_freed_once, fresh, drop),
		cmocka_unit_test_setup_teardown(inherited_large_objects_can_be_exchanged, fresh,
						drop),
		cmocka_unit_test_setup_teardown(an_object_does_not_replace_itself, fresh, drop),
		cmocka_unit_test_setup_teardown(workers_that_exit_leave_their_slabs, fresh, drop),
		cmocka_unit_test_setup_teardown(counting_objects_takes_no_slab, fresh, drop),
		cmocka_unit_test_setup_teardown(touching_objects_takes_no_slab, fresh, drop),
		cmocka_unit_test_setup_teardown(no_slab_is_handed_out_twice, fresh, drop),
		cmocka_unit_test_setup_teardown(threads_publish_over_each_other, fresh, drop),
	};

	return cmocka_run_group_tests_name("heap", tests, NULL, NULL);
}
