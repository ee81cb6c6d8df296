/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The heap's calls: size classes, the heaps of threads, allocating and freeing.
 *
 * A slab is written by the one thread whose heap owns it; other threads push what they free
 * on the slab's remote list. So the common path has no locked instruction. A heap whose
 * thread is gone is taken over, slabs and all, by the next thread that needs one; a
 * thread that finds nothing of its own takes single slabs out of such heaps.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "heap.h"
#include "page.h"
#include "preserve.h"

__thread struct heap *kho_heap_tls_ __attribute__((tls_model("initial-exec")));

static pthread_mutex_t heaps_lock = PTHREAD_MUTEX_INITIALIZER;
static struct heap *heaps;
static pthread_key_t exit_key;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;

/*
 * Lists of named caches, while a heap's owner changes them by itself and not because it was asked for
 * memory of that cache: kho_heap_drop_class_() takes them away from all heaps. Inside heaps_lock.
 */
static pthread_mutex_t named_lock = PTHREAD_MUTEX_INITIALIZER;

static struct slab
	no_slab; /* what a heap without a slab of a class points to: nothing to hand out */

/* ---- size classes: 16 to 128 by 16, then four to a doubling, up to 32 KiB ---- */

/* By size in units of 16: a table, because which side of 128 a size is on cannot be foretold. */
#define TABLE_SIZE 1024
#define EIGHT(n) n, n, n, n, n, n, n, n
static const unsigned char class_table[TABLE_SIZE / 16 + 1] = {
	0,	   0,	      1,	 2,	    3,	4,  5,	6,  7, /* 128 */
	8,	   8,	      9,	 9,	    10, 10, 11, 11, /* 256 */
	12,	   12,	      12,	 12,	    13, 13, 13, 13, 14,
	14,	   14,	      14,	 15,	    15, 15, 15, /* 512 */
	EIGHT(16), EIGHT(17), EIGHT(18), EIGHT(19), /* 1024 */
};

static inline unsigned int size_class(size_t size)
{
	unsigned int log2;

	if (__builtin_expect(size <= TABLE_SIZE, 1))
		return class_table[(size + 15) / 16];
	log2 = 63 - (unsigned int)__builtin_clzll(size - 1); /* 7 for 129..256 */
	return 8 + (log2 - 7) * 4 + (unsigned int)((size - 1) >> (log2 - 2) & 3);
}

unsigned int kho_size_class_(size_t size)
{
	return size_class(size);
}

size_t kho_class_size_(unsigned int class)
{
	unsigned int log2, quarter;

	if (class < 8)
		return (class + 1) * 16;
	if (class >= HEAP_NR_CLASSES)
		return kho_class_cache_(class)->object_size;
	log2 = 7 + (class - 8) / 4;
	quarter = (class - 8) % 4 + 1;
	return (1UL << log2) + ((size_t)quarter << (log2 - 2));
}

/* ---- heaps ---- */

static void heap_reset(struct heap *heap)
{
	for (unsigned int c = 0; c < HEAP_NR_LISTS; c++) {
		heap->current[c] = &no_slab;
		heap->partial[c] = NULL;
	}
	heap->pending = NULL;
	heap->intent = NULL;
}

static void thread_exits(void *arg)
{
	struct heap *heap = arg;

	pthread_mutex_lock(&heaps_lock);
	heap->idle = true;
	pthread_mutex_unlock(&heaps_lock);
	kho_heap_tls_ = NULL;
}

static void make_key(void)
{
	pthread_key_create(&exit_key, thread_exits);
}

struct heap *kho_heap_get_slow_(void)
{
	struct heap *heap;

	pthread_once(&exit_once, make_key);
	pthread_mutex_lock(&heaps_lock);
	for (heap = heaps; heap && !heap->idle; heap = heap->next)
		;
	if (!heap) {
		heap = calloc(1, sizeof(*heap));
		if (heap) {
			heap_reset(heap);
			heap->next = heaps;
			heaps = heap;
		}
	}
	if (heap)
		heap->idle = false;
	pthread_mutex_unlock(&heaps_lock);
	if (!heap) {
		kho_fail_(-ENOMEM, "heap: no private memory for a thread's heap");
		return NULL;
	}
	pthread_setspecific(exit_key, heap);
	kho_heap_tls_ = heap;
	return heap;
}

static bool reclaim(void);

int kho_heap_init_(void)
{
	kho_pages_set_reclaim_(reclaim);
	return kho_slabs_init_();
}

void kho_heap_destroy_(void)
{
	pthread_mutex_lock(&heaps_lock);
	for (struct heap *heap = heaps; heap; heap = heap->next)
		heap_reset(heap);
	pthread_mutex_unlock(&heaps_lock);
	kho_slabs_destroy_();
	kho_caches_forget_();
}

void kho_heap_release_(void)
{
	if (!kho_heap_tls_)
		return;
	pthread_setspecific(exit_key, NULL);
	thread_exits(kho_heap_tls_);
}

void kho_heap_forked_(void)
{
	if (kho_heap_tls_)
		pthread_setspecific(exit_key, NULL);
	kho_heap_tls_ = NULL;
}

/* ---- lists of slabs ---- */

static void add_partial(struct heap *heap, struct slab *slab)
{
	kho_slab_set_full_(slab, false);
	slab->prev = NULL;
	slab->next = heap->partial[slab->class];
	if (slab->next)
		slab->next->prev = slab;
	heap->partial[slab->class] = slab;
}

static void remove_partial(struct heap *heap, struct slab *slab)
{
	if (slab->next)
		slab->next->prev = slab->prev;
	if (slab->prev)
		slab->prev->next = slab->next;
	else
		heap->partial[slab->class] = slab->next;
	slab->next = slab->prev = NULL;
}

/* A full slab was freed into by another thread: have its owner look, or whoever wants memory of its class. */
static void tell_owner(struct slab *slab)
{
	struct heap *owner = kho_slab_owner_(slab);
	struct slab *head;

	if (!owner)
		kho_slab_offer_(slab);
	if (!owner || __atomic_exchange_n(&slab->pending, true, __ATOMIC_ACQ_REL))
		return;
	head = __atomic_load_n(&owner->pending, __ATOMIC_RELAXED);
	do
		slab->next_pending = head;
	while (!__atomic_compare_exchange_n(&owner->pending, &head, slab, true, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED));
}

/* One that was full, and in the list of @heap. */
static void take_one_pending(struct heap *heap, struct slab *slab)
{
	if (kho_slab_owner_(slab) != heap)
		tell_owner(slab); /* taken over, or another slab by now */
	else if (kho_slab_collect_(slab) && kho_slab_is_full_(slab))
		add_partial(heap, slab);
}

/* Full slabs that other threads freed objects of have something to hand out again. */
static void take_pending(struct heap *heap)
{
	struct slab *slab = __atomic_exchange_n(&heap->pending, NULL, __ATOMIC_ACQUIRE);

	if (!slab)
		return;
	pthread_mutex_lock(&named_lock);
	while (slab) {
		struct slab *next = slab->next_pending;

		__atomic_store_n(&slab->pending, false, __ATOMIC_RELEASE);
		take_one_pending(heap, slab);
		slab = next;
	}
	pthread_mutex_unlock(&named_lock);
}

static struct slab *take_partial(struct heap *heap, unsigned int class)
{
	struct slab *slab = heap->partial[class];

	if (slab)
		remove_partial(heap, slab);
	return slab;
}

/* Nothing to hand out: full. Return: false: freed meanwhile by a thread that did not see that it is. */
static bool set_aside(struct slab *slab)
{
	kho_slab_set_full_(slab, true);
	if (!__atomic_load_n(&slab->remote, __ATOMIC_SEQ_CST))
		return true;
	kho_slab_set_full_(slab, false);
	kho_slab_collect_(slab);
	return false;
}

/* A slab with free objects out of a heap whose thread is gone. */
static struct slab *take_from_idle(struct heap *heap, unsigned int class)
{
	struct slab *slab = NULL;

	pthread_mutex_lock(&heaps_lock);
	for (struct heap *idle = heaps; idle && !slab; idle = idle->next) {
		if (!idle->idle)
			continue;
		take_pending(idle);
		slab = take_partial(idle, class);
		if (!slab && idle->current[class] != &no_slab) {
			slab = idle->current[class];
			idle->current[class] = &no_slab;
			if (!kho_slab_collect_(slab) && set_aside(slab))
				slab = NULL;
		}
		if (slab)
			kho_slab_set_owner_(slab, heap);
	}
	pthread_mutex_unlock(&heaps_lock);
	return slab;
}

static struct slab *next_slab(struct heap *heap, unsigned int class)
{
	struct slab *slab = take_partial(heap, class);

	if (slab)
		return slab;
	take_pending(heap);
	slab = take_partial(heap, class) ?: take_from_idle(heap, class);
	slab = slab ?: kho_slab_inherited_(heap, class);
	slab = slab ?: kho_slab_new_(heap, class);
	/* Full: by now every slab that came in was looked at. */
	return slab ?: take_partial(heap, class) ?: kho_slab_inherited_(heap, class);
}

/* Give back the empty slabs of a class. Return: whether there were any. */
static bool give_back_class(struct heap *heap, unsigned int class)
{
	struct slab *next = heap->current[class];
	bool any = false;

	if (next != &no_slab) {
		kho_slab_collect_(next);
		if (!next->used) {
			heap->current[class] = &no_slab;
			kho_slab_delete_(next);
			any = true;
		}
	}
	for (struct slab *slab = heap->partial[class]; slab; slab = next) {
		next = slab->next;
		kho_slab_collect_(slab);
		if (slab->used)
			continue;
		remove_partial(heap, slab);
		kho_slab_delete_(slab);
		any = true;
	}
	return any;
}

static bool give_back_empty(struct heap *heap)
{
	bool any = false;

	take_pending(heap);
	for (unsigned int c = 0; c < HEAP_NR_CLASSES; c++)
		any |= give_back_class(heap, c);
	pthread_mutex_lock(&named_lock);
	for (unsigned int c = HEAP_NR_CLASSES; c < HEAP_NR_LISTS; c++)
		any |= give_back_class(heap, c);
	pthread_mutex_unlock(&named_lock);
	return any;
}

static int check_unused(void *ctx, struct slab *slab)
{
	kho_slab_collect_(slab);
	return slab->used ? -EBUSY : 0;
}

static int drop_slab(void *ctx, struct slab *slab)
{
	kho_slab_delete_(slab);
	return 0;
}

int kho_heap_drop_class_(unsigned int class, kho_pa_t cache)
{
	int rc;

	if (!kho_heap_get_()) /* now: not under the lock */
		return -ENOMEM;
	pthread_mutex_lock(&heaps_lock);
	pthread_mutex_lock(&named_lock);
	rc = kho_slabs_of_cache_(cache, check_unused, NULL);
	if (!rc) {
		for (struct heap *heap = heaps; heap; heap = heap->next) {
			heap->current[class] = &no_slab;
			heap->partial[class] = NULL;
		}
		kho_slabs_drop_inherited_(class);
		rc = kho_slabs_of_cache_(cache, drop_slab, NULL);
	}
	pthread_mutex_unlock(&named_lock);
	pthread_mutex_unlock(&heaps_lock);
	return rc;
}

/* No pages are left: those of slabs in which nothing is in use may serve for something else. */
static bool reclaim(void)
{
	struct heap *heap = kho_heap_get_();
	bool any;

	if (!heap)
		return false;
	any = give_back_empty(heap);
	pthread_mutex_lock(&heaps_lock);
	for (struct heap *idle = heaps; idle; idle = idle->next)
		if (idle->idle)
			any |= give_back_empty(idle);
	pthread_mutex_unlock(&heaps_lock);
	return kho_slabs_give_back_(heap) || any;
}

/* ---- allocating ---- */

static inline void *take_object(struct slab *slab)
{
	void *object = slab->free;

	if (object)
		slab->free = *(void **)object;
	else
		object = kho_slab_scan_(slab);
	if (object)
		slab->used++;
	return object;
}

void *kho_heap_alloc_slow_(struct heap *heap, unsigned int class)
{
	for (;;) {
		struct slab *slab = heap->current[class];
		void *object = take_object(slab);

		if (object)
			return object;
		if (slab != &no_slab && (kho_slab_collect_(slab) || !set_aside(slab)))
			continue;
		heap->current[class] = &no_slab;
		slab = next_slab(heap, class);
		if (!slab) {
			errno = ENOMEM;
			return NULL;
		}
		kho_slab_set_full_(slab, false);
		heap->current[class] = slab;
	}
}

/* Not the common case: too large for the table, no heap yet, or not allowed. */
static void *__attribute__((noinline)) malloc_slow(size_t size)
{
	struct heap *heap;

	if (!kho_arena_.writer && !kho_may_write_())
		return NULL;
	if (size > HEAP_SMALL_MAX)
		return kho_large_alloc_(size, 0);
	heap = kho_heap_get_();
	return heap ? kho_heap_alloc_slow_(heap, size_class(size)) : NULL;
}

void *kho_malloc(size_t size)
{
	struct heap *heap = kho_heap_tls_;
	unsigned int class;
	struct slab *slab;
	void *object;

	if (__builtin_expect(!kho_arena_.writer || size > TABLE_SIZE || !heap, 0))
		return malloc_slow(size);
	class = class_table[(size + 15) / 16];
	slab = heap->current[class];
	object = slab->free;
	if (__builtin_expect(!object, 0))
		return kho_heap_alloc_slow_(heap, class);
	slab->free = *(void **)object;
	slab->used++;
	return object;
}

void *kho_calloc(size_t nmemb, size_t size)
{
	size_t bytes;
	void *object;

	if (__builtin_mul_overflow(nmemb, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	object = kho_malloc(bytes);
	return object ? memset(object, 0, bytes) : NULL;
}

void *kho_memalign(size_t alignment, size_t size)
{
	if (!alignment || alignment & (alignment - 1) || alignment > KHO_SECTION_SIZE) {
		errno = EINVAL;
		return NULL;
	}
	if (!kho_may_write_())
		return NULL;
	if (alignment > KHO_PAGE_SIZE || size > HEAP_SMALL_MAX)
		return kho_large_alloc_(size, alignment);
	/* An object is aligned as its size is. */
	for (unsigned int c = kho_size_class_(size); c < HEAP_NR_CLASSES; c++)
		if (!(kho_class_size_(c) & (alignment - 1)))
			return kho_malloc(kho_class_size_(c));
	return kho_large_alloc_(size, alignment);
}

/* ---- freeing ---- */

static void free_remote(struct slab *slab, void *ptr, long index)
{
	void *head = __atomic_load_n(&slab->remote, __ATOMIC_RELAXED);

	kho_slab_set_state_(slab, index, KHO_ABI_OBJECT_FREED);
	do
		*(void **)ptr = head;
	while (!__atomic_compare_exchange_n(&slab->remote, &head, ptr, true, __ATOMIC_SEQ_CST,
					    __ATOMIC_RELAXED));
	if (kho_slab_is_full_(slab))
		tell_owner(slab);
}

/* It was full or is empty now: should it go into a list, or out of it? */
static void free_moves_slab(struct heap *heap, struct slab *slab)
{
	if (kho_slab_is_full_(slab)) {
		add_partial(heap, slab);
	} else if (!slab->used && slab != heap->current[slab->class] && slab->next) {
		/* Empty, and not the last of its class. Nobody else can hold an object of it. */
		remove_partial(heap, slab);
		kho_slab_delete_(slab);
	}
}

static void __attribute__((noinline))
free_object_slow(struct heap *heap, struct slab *slab, void *ptr, long index, bool live)
{
	bool owned = kho_slab_owner_(slab) == heap;

	if (slab->single) {
		if (kho_slab_clear_object_(slab, ptr, index, owned)) {
			errno = EINVAL;
			return;
		}
	} else if (live && owned) {
		kho_slab_set_state_(slab, index, KHO_ABI_OBJECT_FREE);
	}
	if (!owned) {
		free_remote(slab, ptr, index);
		return;
	}
	slab->used--;
	free_moves_slab(heap, slab);
}

static inline void free_object(struct heap *heap, struct slab *slab, void *ptr, long index,
			       bool live)
{
	/* What was never looked at, and every single object, lies at or behind @scan. */
	if (__builtin_expect(kho_slab_owner_(slab) != heap || (char *)ptr >= slab->scan, 0)) {
		free_object_slow(heap, slab, ptr, index, live);
		return;
	}
	if (live)
		kho_slab_set_state_(slab, index, KHO_ABI_OBJECT_FREE);
	*(void **)ptr = slab->free;
	slab->free = ptr;
	if (__builtin_expect(!--slab->used || kho_slab_is_full_(slab), 0))
		free_moves_slab(heap, slab);
}

void kho_heap_free_object_(struct heap *heap, struct slab *slab, void *ptr, long index, bool live)
{
	free_object(heap, slab, ptr, index, live);
}

static void bad_pointer(const void *ptr)
{
	kho_fail_(-EINVAL, "%p: not an object of the heap", ptr);
	errno = EINVAL;
}

/* Not the common case: nothing, a large object, one of a slab that nobody touched yet, or not allowed. */
static void __attribute__((noinline)) free_slow(void *ptr)
{
	const struct kho_abi_large *large;
	struct heap *heap;
	struct slab *slab;
	long i;

	if (!ptr || (!kho_arena_.writer && !kho_may_write_()))
		return;
	heap = kho_heap_get_();
	slab = heap ? kho_slab_of_(ptr) : NULL;
	if (slab) {
		i = kho_slab_index_(slab, ptr);
		if (i < 0)
			bad_pointer(ptr);
		else
			free_object(heap, slab, ptr, i, true);
		return;
	}
	large = kho_large_find_(ptr);
	if (!large) {
		bad_pointer(ptr);
		return;
	}
	kho_large_unpreserve_(large);
	kho_large_free_(large);
}

void kho_free(void *ptr)
{
	struct heap *heap = kho_heap_tls_;
	struct slab *slab = kho_slab_known_(ptr);
	long i;

	if (__builtin_expect(!kho_arena_.writer || !heap || !slab, 0)) {
		free_slow(ptr);
		return;
	}
	i = kho_slab_index_(slab, ptr);
	if (__builtin_expect(i < 0, 0))
		bad_pointer(ptr);
	else
		free_object(heap, slab, ptr, i, true);
}

size_t kho_usable_size(const void *ptr)
{
	const struct kho_abi_large *large;
	struct slab *slab;

	if (!ptr || kho_reader_error_())
		return 0;
	slab = kho_slab_of_(ptr);
	if (slab)
		return kho_slab_index_(slab, ptr) < 0 ? 0 : slab->size;
	large = kho_large_find_(ptr);
	return large ? large->size : 0;
}

/* Is it reserved, and not live? */
static bool is_reserved(const void *ptr)
{
	struct slab *slab = kho_slab_of_(ptr);
	const struct kho_abi_large *large;
	long i;

	if (slab) {
		i = kho_slab_index_(slab, ptr);
		return i >= 0 && slab->class < HEAP_NR_CLASSES &&
		       kho_slab_state_(slab, i) != KHO_ABI_OBJECT_LIVE;
	}
	large = kho_large_find_(ptr);
	return large && !kho_large_is_live_(large);
}

void *kho_realloc(void *ptr, size_t size)
{
	size_t old = kho_usable_size(ptr);
	void *object;

	if (!ptr)
		return kho_malloc(size);
	if (!kho_may_write_())
		return NULL;
	if (!old || !is_reserved(ptr)) {
		kho_fail_(-EINVAL,
			  "%p: not a reserved object of kho_malloc(): a live one cannot move from "
			  "under its slot",
			  ptr);
		errno = EINVAL;
		return NULL;
	}
	if (size <= old && size > old / 2)
		return ptr;
	object = kho_malloc(size);
	if (!object)
		return NULL;
	memcpy(object, ptr, size < old ? size : old);
	kho_free(ptr);
	return object;
}

/* ---- figures ---- */

/* Not adopted: what is only looked at stays for the threads that allocate. */
static void count_slab(kho_pa_t pa, unsigned int order, struct kho_heap_stats *stats)
{
	__u32 size, nr = kho_slab_count_(pa, order, &size);

	stats->live_objects += nr;
	stats->live_bytes += nr ? (__u64)nr * size : 0;
}

static void count_block(kho_pa_t pa, struct kho_heap_stats *stats)
{
	const struct kho_abi_large *large = kho_phys_to_virt(pa);
	unsigned int type, order;

	if (kho_block_desc_(pa, &type, &order))
		return;
	if (type == KHO_ABI_DESC_SLAB)
		count_slab(pa, order, stats);
	if (type == KHO_ABI_DESC_LARGE) {
		stats->live_objects++;
		stats->live_bytes += large->size;
	}
}

int kho_heap_stats(struct kho_heap_stats *stats, bool scan)
{
	struct kho_arena *a = &kho_arena_;
	struct khoc_block block = {.pa = 0};
	kho_pa_t pos = 0;

	memset(stats, 0, sizeof(*stats));
	if (kho_reader_error_())
		return kho_reader_error_();
	stats->arena_max = a->size;
	stats->arena_size = kho_file_size_();
	stats->arena_used = kho_pages_used_();
	while (scan && khoc_radix_next(&a->tree, pos, kho_file_size_(), &block)) {
		count_block(block.pa, stats);
		pos = block.pa + (KHO_PAGE_SIZE << block.order);
	}
	return 0;
}
