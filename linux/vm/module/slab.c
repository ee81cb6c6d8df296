// SPDX-License-Identifier: GPL-2.0-only
/*
 * Slab caches: objects of every size and of two named caches are made on the first boot; those
 * that follow find and restore them, free some, allocate others in their places, and hand over
 * again. One slab is damaged on the way: its objects are gone, and nothing else is.
 */
#include <linux/kho/array.h>
#include <linux/kho/preserve.h>
#include <linux/kho/slab.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "ours.h"

#define NR_SIZES 60
#define PER_SIZE 40
#define NR_NAMED 3000
#define NAMED_SIZE 72
#define NAMED_ALIGN 64
#define NR_LARGE 3

struct record {
	u64 object[NR_SIZES]; /* arrays of PER_SIZE addresses, by kho_kmalloc() themselves */
	u64 large[NR_LARGE];
	u64 atomic;
	u64 damaged;
};

static size_t size_of(unsigned int nr)
{
	/* To each class one or two, and never just a class's. */
	return nr * nr + 5;
}

static size_t large_size(unsigned int nr)
{
	static const size_t sizes[NR_LARGE] = {PAGE_SIZE, 3 * PAGE_SIZE, 100000};

	return sizes[nr];
}

static void fill(void *object, size_t size, u64 seed)
{
	for (size_t i = 0; i < size; i++)
		((u8 *)object)[i] = (u8)(seed * 131 + i * 7 + 1);
}

static bool is_filled(const void *object, size_t size, u64 seed)
{
	for (size_t i = 0; i < size; i++)
		if (((u8 *)object)[i] != (u8)(seed * 131 + i * 7 + 1))
			return false;
	return true;
}

static u64 *new_object(size_t size, u64 seed, struct kho_vm_tally *tally)
{
	u8 *object = kho_kmalloc(size, GFP_KERNEL);

	if (!kho_vm_expect(tally, object, "no memory for %zu bytes", size))
		return NULL;
	kho_vm_expect(tally, !memchr_inv(object, 0, size), "%zu bytes: not zeroes", size);
	fill(object, size, seed);
	return (u64 *)object;
}

static int make_sizes(struct record *record, struct kho_vm_tally *tally)
{
	for (unsigned int nr = 0; nr < NR_SIZES; nr++) {
		u64 *list = kho_kmalloc(PER_SIZE * sizeof(u64), GFP_KERNEL);

		if (!list)
			return -ENOMEM;
		record->object[nr] = virt_to_phys(list);
		for (unsigned int i = 0; i < PER_SIZE; i++) {
			void *object = new_object(size_of(nr), nr + i, tally);

			if (!object)
				return -ENOMEM;
			list[i] = virt_to_phys(object);
		}
	}
	for (unsigned int nr = 0; nr < NR_LARGE; nr++) {
		void *object = new_object(large_size(nr), nr, tally);

		if (!object)
			return -ENOMEM;
		record->large[nr] = virt_to_phys(object);
	}
	return 0;
}

/* Nothing sleeps while a lock is held: of a slab with free places there is an object, of a page none. */
static void make_atomic(struct record *record, struct kho_vm_tally *tally)
{
	static DEFINE_SPINLOCK(lock);
	void *first = kho_kmalloc(40, GFP_KERNEL), *object, *large;
	unsigned long flags;

	spin_lock_irqsave(&lock, flags);
	object = kho_kmalloc(40, GFP_ATOMIC);
	large = kho_kmalloc(PAGE_SIZE, GFP_ATOMIC);
	kho_kfree(first);
	spin_unlock_irqrestore(&lock, flags);
	if (!kho_vm_expect(tally, object && !large, "without sleeping"))
		return;
	fill(object, 40, 99);
	record->atomic = virt_to_phys(object);
}

/* @cache with NR_NAMED objects, of which every third is freed again. */
static int make_named(struct kho_cache *cache, struct kho_vm_tally *tally)
{
	void **object = kcalloc(NR_NAMED, sizeof(*object), GFP_KERNEL);
	u64 i;

	for (i = 0; object && i < NR_NAMED; i++) {
		object[i] = kho_cache_alloc(cache, GFP_KERNEL);
		if (!object[i])
			return -ENOMEM;
		kho_vm_expect(tally, IS_ALIGNED((uintptr_t)object[i], NAMED_ALIGN), "alignment");
		*(u64 *)object[i] = i;
		fill(object[i] + 8, NAMED_SIZE - 8, i);
	}
	for (i = 0; object && i < NR_NAMED; i += 3)
		kho_cache_free(cache, object[i]);
	kfree(object);
	return object ? 0 : -ENOMEM;
}

static int make_damaged(struct record *record)
{
	struct kho_cache *cache = kho_cache_create("vm.damaged", 4096, 8);
	u8 *object;

	if (IS_ERR(cache))
		return PTR_ERR(cache);
	object = kho_cache_alloc(cache, GFP_KERNEL);
	if (!object)
		return -ENOMEM;
	record->damaged = virt_to_phys(object);
	/* Behind it is a free place, which must be zeroes. */
	object[4096 + 17] = 1;
	return 0;
}

static int first_boot(struct record *record, struct kho_vm_tally *tally)
{
	struct kho_cache *cache = kho_cache_create("vm.named", NAMED_SIZE, NAMED_ALIGN);
	int err;

	if (IS_ERR(cache))
		return PTR_ERR(cache);
	kho_vm_expect(tally,
		      kho_cache_create("vm.named", NAMED_SIZE, NAMED_ALIGN) == ERR_PTR(-EEXIST),
		      "a cache twice");
	kho_vm_expect(tally, kho_cache_create("vm/named", 8, 8) == ERR_PTR(-EINVAL), "a bad name");
	kho_vm_expect(tally, kho_cache_create("x", 1 << 20, 8) == ERR_PTR(-EINVAL), "a bad size");
	err = make_sizes(record, tally);
	if (!err)
		err = make_named(cache, tally);
	make_atomic(record, tally);
	return err ?: make_damaged(record);
}

/* An object is found once, with its contents, and not in its middle. */
static void *restored(u64 phys, size_t size, u64 seed, struct kho_vm_tally *tally)
{
	void *object;

	kho_vm_expect(tally, !kho_kmalloc_restore(phys + 8, size), "%zu bytes from the middle on",
		      size);
	kho_vm_expect(tally, !kho_kmalloc_restore(phys, size * 2 + 16), "%zu bytes as more", size);
	object = kho_kmalloc_restore(phys, size);
	if (!kho_vm_expect(tally, object, "no object of %zu bytes at %#llx", size, phys))
		return NULL;
	kho_vm_expect(tally, is_filled(object, size, seed), "%zu bytes: changed", size);
	kho_vm_expect(tally, !kho_kmalloc_restore(phys, size), "%zu bytes twice", size);
	return object;
}

/* The half of them is freed and made anew, as the first boot would have. */
static void check_sizes(struct record *record, bool last, struct kho_vm_tally *tally)
{
	for (unsigned int nr = 0; nr < NR_SIZES; nr++) {
		u64 *list = kho_kmalloc_restore(record->object[nr], PER_SIZE * sizeof(u64));

		if (!kho_vm_expect(tally, list, "no list %u", nr))
			continue;
		for (unsigned int i = 0; i < PER_SIZE; i++) {
			void *object = restored(list[i], size_of(nr), nr + i, tally);

			if (!last && i % 2)
				continue;
			kho_kfree(object);
			if (last)
				continue;
			object = new_object(size_of(nr), nr + i, tally);
			list[i] = object ? virt_to_phys(object) : 0;
		}
		if (last)
			kho_kfree(list);
	}
}

/* Whole pages: kfree() frees them when nobody hands them over again. */
static void check_large(struct record *record, bool last, struct kho_vm_tally *tally)
{
	struct kho_run found;

	for (unsigned int nr = 0; nr < NR_LARGE; nr++) {
		void *object = restored(record->large[nr], large_size(nr), nr, tally);

		if (!object)
			continue;
		kho_vm_expect(tally, ksize(object) >= large_size(nr), "ksize %zu", ksize(object));
		kho_vm_expect(tally, !kho_preserved_lookup(record->large[nr], &found),
			      "%zu bytes are handed over unasked", large_size(nr));
		if (last)
			kfree(object);
		else
			kho_vm_expect(tally,
				      !kho_kmalloc_preserve(object) &&
					      kho_preserved_lookup(record->large[nr], &found),
				      "%zu bytes are not handed over", large_size(nr));
	}
}

struct named {
	struct kho_vm_tally *tally;
	u64 *phys;
	u64 nr;
	u64 sum;
};

static int look(void *object, bool ours, void *ctx)
{
	struct named *named = ctx;
	u64 i = *(u64 *)object;

	kho_vm_expect(named->tally, !ours && i < NR_NAMED && i % 3, "object %llu", i);
	kho_vm_expect(named->tally, is_filled(object + 8, NAMED_SIZE - 8, i),
		      "object %llu: changed", i);
	named->phys[named->nr++] = virt_to_phys(object);
	named->sum += i;
	return named->nr == NR_NAMED;
}

/* All of a cache that was handed over is found, restored and freed; then it is filled as before. */
static int check_named(bool last, struct kho_vm_tally *tally)
{
	struct named named = {.tally = tally};
	u64 want = 0, nr = 0, i;
	struct kho_cache *cache;

	kho_vm_expect(tally, kho_cache_create("vm.named", 80, NAMED_ALIGN) == ERR_PTR(-EINVAL),
		      "a cache with another size");
	cache = kho_cache_create("vm.named", NAMED_SIZE, NAMED_ALIGN);
	if (IS_ERR(cache))
		return PTR_ERR(cache);
	named.phys = kcalloc(NR_NAMED, sizeof(u64), GFP_KERNEL);
	if (!named.phys)
		return -ENOMEM;
	kho_cache_walk(cache, look, &named);
	for (i = 0; i < NR_NAMED; i++) {
		nr += !!(i % 3);
		want += i % 3 ? i : 0;
	}
	kho_vm_expect(tally, named.nr == nr && named.sum == want, "%llu objects of %llu", named.nr,
		      nr);
	kho_vm_expect(tally, kho_cache_destroy(cache) == -EBUSY, "destroyed with objects");
	for (i = 0; i < named.nr; i++) {
		void *object = kho_cache_restore(cache, named.phys[i]);

		kho_vm_expect(tally, object && !kho_cache_restore(cache, named.phys[i]),
			      "object %llu restored", i);
		kho_cache_free(cache, object);
		kho_vm_expect(tally, !kho_cache_restore(cache, named.phys[i]), "freed %llu", i);
	}
	kfree(named.phys);
	if (!last)
		return make_named(cache, tally);
	kho_vm_expect(tally, !kho_cache_destroy(cache), "not destroyed");
	return 0;
}

/* Its slab was refused, the cache has no objects. */
static void check_damaged(struct record *record, struct kho_vm_tally *tally)
{
	struct kho_cache *cache = kho_cache_create("vm.damaged", 4096, 8);

	if (!kho_vm_expect(tally, !IS_ERR(cache), "no cache of the damaged slab"))
		return;
	kho_vm_expect(tally, !kho_cache_restore(cache, record->damaged), "a damaged slab's object");
	kho_vm_expect(tally, !kho_cache_destroy(cache), "a damaged slab's cache not destroyed");
}

int kho_vm_slab(const struct kho_vm_request *request, struct kho_vm_tally *tally)
{
	struct record *record = kho_vm_record("kho_vm_slab");
	void *atomic;
	int err;

	BUILD_BUG_ON(sizeof(*record) > PAGE_SIZE);
	if (IS_ERR(record))
		return PTR_ERR(record);
	if (!request->hop)
		return first_boot(record, tally);
	check_sizes(record, request->last, tally);
	check_large(record, request->last, tally);
	err = check_named(request->last, tally);
	atomic = restored(record->atomic, 40, 99, tally);
	check_damaged(record, tally);
	if (!request->last)
		return err ?: make_damaged(record);
	kho_kfree(atomic);
	kho_vm_record_free(record);
	return err;
}
