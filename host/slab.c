/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Slabs: made, found again in an arena that came in, and given back.
 *
 * A slab that came in is adopted when it is first touched, by a free or by an allocation
 * of its class; until then it costs nothing. Only the latter makes it the thread's own. Its header is not trusted: magic, CRC (which
 * covers its address), version and geometry are checked, and no state byte is
 * followed anywhere.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "heap.h"
#include "page.h"
#include "preserve.h"

#define UNIT_SIZE (1ULL << HEAP_UNIT_SHIFT)
#define UNIT_PAGES_LOG2 (HEAP_UNIT_SHIFT - KHO_PAGE_SHIFT)
#define INHERIT_TRIES 16 /* inherited slabs looked at for one allocation */

struct slab **kho_units_;
__u64 kho_nr_units_;

static pthread_mutex_t adopt_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static struct slab *pool; /* structures for reuse: see struct slab */
static struct {
	kho_pa_t pos; /* the next place to look for inherited slabs */
	struct slab *found[HEAP_NR_LISTS];
	__u64 given_back; /* empty slabs whose pages were */
} inherited;

int kho_slabs_init_(void)
{
	void *p;

	kho_nr_units_ = (kho_arena_.size + UNIT_SIZE - 1) >> HEAP_UNIT_SHIFT;
	p = mmap(NULL, kho_nr_units_ * sizeof(*kho_units_), PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) {
		kho_nr_units_ = 0;
		return kho_fail_(-ENOMEM, "no address space for the table of slabs");
	}
	kho_units_ = p;
	memset(&inherited, 0, sizeof(inherited));
	inherited.pos = kho_arena_.header->data_pa;
	return 0;
}

void kho_slabs_destroy_(void)
{
	struct slab *last = NULL;

	for (__u64 i = 0; i < kho_nr_units_; i++) {
		if (kho_units_[i] && kho_units_[i] != last) {
			last = kho_units_[i];
			free(last->restored);
			free(last);
		}
	}
	while (pool) {
		last = pool;
		pool = pool->next;
		free(last);
	}
	if (kho_units_)
		munmap(kho_units_, kho_nr_units_ * sizeof(*kho_units_));
	kho_units_ = NULL;
	kho_nr_units_ = 0;
}

/* ---- private side of a slab ---- */

static struct slab *pool_get(void)
{
	struct slab *slab;

	pthread_mutex_lock(&pool_lock);
	slab = pool;
	if (slab)
		pool = slab->next;
	pthread_mutex_unlock(&pool_lock);
	if (slab)
		return slab;
	slab = aligned_alloc(64, (sizeof(*slab) + 63) & ~63UL);
	return slab ? memset(slab, 0, sizeof(*slab)) : NULL;
}

static void pool_put(struct slab *slab)
{
	free(slab->restored);
	slab->restored = NULL;
	pthread_mutex_lock(&pool_lock);
	slab->next = pool;
	pool = slab;
	pthread_mutex_unlock(&pool_lock);
}

/* For a slab with a sound header. */
static struct slab *slab_alloc(struct kho_abi_slab *header, unsigned int class)
{
	struct slab *slab = pool_get();

	if (!slab)
		return NULL;
	slab->free = NULL;
	slab->used = 0;
	slab->next = slab->prev = NULL;
	kho_slab_set_full_(slab, false);
	slab->size = header->object_size;
	slab->nr = header->nr_objects;
	slab->inverse = ~0ULL / slab->size + 1;
	slab->state = (unsigned char *)(header + 1);
	slab->objects = slab->scan = (char *)header + header->objects_off;
	slab->end = slab->objects + (size_t)slab->nr * slab->size;
	slab->class = (__u8) class;
	slab->order = (__u8)header->order;
	slab->single = header->flags & KHO_ABI_SLAB_SINGLE;
	slab->hint = 0;
	if (slab->single) {
		slab->restored = calloc(1, slab->nr);
		if (!slab->restored) {
			pool_put(slab);
			return NULL;
		}
	}
	return slab;
}

static void set_units(kho_pa_t pa, unsigned int order, struct slab *slab)
{
	__u64 unit = pa >> HEAP_UNIT_SHIFT;

	for (__u64 i = 0; i < 1ULL << (order - UNIT_PAGES_LOG2); i++)
		__atomic_store_n(&kho_units_[unit + i], slab, __ATOMIC_RELEASE);
}

/* Write the header and the states, and what else has to be 0, to pages that may hold anything. */
static void format_slab(struct kho_abi_slab *header, kho_pa_t pa, unsigned int class)
{
	__u32 size = (__u32)kho_class_size_(class), flags = 0;
	kho_pa_t cache = 0;

	if (class >= HEAP_NR_CLASSES) {
		flags = kho_class_cache_(class)->flags;
		cache = kho_class_cache_(class)->record;
	}
	khoc_slab_init(header, KHO_PAGE_SHIFT, pa, size, cache, flags);
	if (flags & KHO_ABI_SLAB_SINGLE)
		memset(header + 1, 0, (KHO_PAGE_SIZE << header->order) - sizeof(*header));
	else
		memset(header + 1, 0, header->nr_objects);
}

struct slab *kho_slab_new_(struct heap *heap, unsigned int class)
{
	unsigned int order = khoc_slab_order(KHO_PAGE_SHIFT, (__u32)kho_class_size_(class));
	kho_pa_t pa = kho_pages_alloc_(1ULL << order, order);
	struct kho_abi_slab *header = kho_phys_to_virt(pa);
	struct slab *slab;
	int rc;

	if (!pa)
		return NULL;
	format_slab(header, pa, class);
	slab = slab_alloc(header, class);
	if (!slab)
		goto free_pages;
	kho_slab_set_owner_(slab, heap);
	/* In one step for inherit_next(), which takes what is preserved and nobody's. */
	pthread_mutex_lock(&adopt_lock);
	rc = kho_block_preserve_(pa, order, KHO_ABI_DESC_SLAB);
	if (!rc) {
		kho_pages_set_kind_(pa, 1ULL << order, PAGE_KIND_SLAB);
		set_units(pa, order, slab);
	}
	pthread_mutex_unlock(&adopt_lock);
	if (!rc)
		return slab;
	pool_put(slab);
free_pages:
	kho_pages_free_(pa, 1ULL << order);
	return NULL;
}

/* Under adopt_lock. */
static void delete_slab(struct slab *slab)
{
	char *base = (char *)slab->state - sizeof(struct kho_abi_slab);
	kho_pa_t pa = kho_virt_to_phys(base);

	kho_block_unpreserve_(pa, slab->order);
	set_units(pa, slab->order, NULL);
	kho_pages_free_(pa, 1ULL << slab->order);
	kho_slab_set_owner_(slab, NULL);
	pool_put(slab);
}

void kho_slab_delete_(struct slab *slab)
{
	pthread_mutex_lock(&adopt_lock);
	delete_slab(slab);
	pthread_mutex_unlock(&adopt_lock);
}

/* ---- slabs that came in ---- */

static int header_check(const struct kho_abi_slab *header, kho_pa_t pa, unsigned int order)
{
	struct khoc_report report;

	if (khoc_slab_header_check(header, KHO_PAGE_SHIFT, pa, order, &report))
		return kho_fail_report_(&report);
	return 0;
}

static char *object_at(const struct slab *slab, __u32 i)
{
	return slab->objects + (size_t)i * slab->size;
}

/* What another thread had freed is free now; so is what was handed out and not preserved. */
static void settle_states(struct slab *slab)
{
	for (__u32 i = 0; i < slab->nr; i++) {
		unsigned char state = kho_slab_state_(slab, i);

		if (state == KHO_ABI_OBJECT_LIVE) {
			slab->used++;
		} else if (state != KHO_ABI_OBJECT_FREE) {
			if (slab->single)
				memset(object_at(slab, i), 0, slab->size);
			heap_barrier();
			kho_slab_set_state_(slab, i, KHO_ABI_OBJECT_FREE);
		}
	}
}

__u32 kho_slab_count_(kho_pa_t pa, unsigned int order, __u32 *object_size)
{
	const struct kho_abi_slab *header = kho_phys_to_virt(pa);
	const unsigned char *state = (const unsigned char *)(header + 1);
	__u32 nr = 0;

	if (header_check(header, pa, order))
		return 0;
	*object_size = header->object_size;
	for (__u32 i = 0; i < header->nr_objects; i++)
		nr += __atomic_load_n(state + i, __ATOMIC_RELAXED) == KHO_ABI_OBJECT_LIVE;
	return nr;
}

/* Under adopt_lock: make the slab at @pa ours, owned by @heap, if not NULL. */
static struct slab *adopt(kho_pa_t pa, unsigned int order, struct heap *heap)
{
	struct kho_abi_slab *header = kho_phys_to_virt(pa);
	struct khoc_report report;
	struct slab *slab;
	int class;

	if (kho_block_check_(pa, order, KHO_ABI_DESC_SLAB))
		return NULL;
	if (khoc_slab_check(&kho_arena_.mem, KHO_PAGE_SHIFT, pa, order, NULL, &report)) {
		kho_fail_report_(&report);
		return NULL;
	}
	class = header->cache ? kho_cache_class_(header)
			      : (int)kho_size_class_(header->object_size);
	slab = class < 0 ? NULL : slab_alloc(header, (unsigned int)class);
	if (!slab)
		return NULL;
	settle_states(slab);
	kho_slab_set_owner_(slab, heap);
	kho_slab_set_full_(slab, true); /* in no list */
	kho_block_restore_(pa, order, KHO_ABI_DESC_SLAB);
	kho_pages_set_kind_(pa, 1ULL << order, PAGE_KIND_SLAB);
	set_units(pa, order, slab);
	return slab;
}

unsigned char *kho_slab_state_of_(const void *ptr)
{
	kho_pa_t pa = kho_virt_to_phys(ptr);
	const struct kho_abi_slab *header;
	struct khoc_block block;
	unsigned int type, order;
	__u64 off;

	if (pa < kho_arena_.header->data_pa || !khoc_radix_lookup(&kho_arena_.tree, pa, &block) ||
	    kho_block_desc_(block.pa, &type, &order) || type != KHO_ABI_DESC_SLAB ||
	    order != block.order)
		return NULL;
	header = kho_phys_to_virt(block.pa);
	if (header_check(header, block.pa, order) || header->flags & KHO_ABI_SLAB_SINGLE ||
	    pa < block.pa + header->objects_off)
		return NULL;
	off = pa - block.pa - header->objects_off;
	if (off % header->object_size || off / header->object_size >= header->nr_objects)
		return NULL;
	return (unsigned char *)(uintptr_t)(header + 1) + off / header->object_size;
}

/* Under adopt_lock: whoever wants memory of the class may have it. */
static void offer(struct slab *slab)
{
	kho_slab_set_full_(slab, false);
	slab->next = inherited.found[slab->class];
	inherited.found[slab->class] = slab;
}

/* It may have been given back meanwhile, and be a structure for reuse: then no unit is its own. */
void kho_slab_offer_(struct slab *slab)
{
	kho_pa_t pa;

	pthread_mutex_lock(&adopt_lock);
	pa = kho_virt_to_phys(slab->state);
	if (pa && kho_units_[pa >> HEAP_UNIT_SHIFT] == slab && !kho_slab_owner_(slab) &&
	    kho_slab_is_full_(slab))
		offer(slab);
	pthread_mutex_unlock(&adopt_lock);
}

/*
 * Who touches an object is not its slab's owner: often that is a thread which looks at everything once, and
 * which allocates nothing. A slab is somebody's when memory of its class is wanted.
 */
struct slab *kho_slab_of_slow_(const void *ptr)
{
	kho_pa_t pa = kho_virt_to_phys(ptr);
	struct heap *heap = kho_heap_get_();
	struct khoc_block block;
	unsigned int type, order;
	struct slab *slab;

	if (!heap || pa < kho_arena_.header->data_pa ||
	    !khoc_radix_lookup(&kho_arena_.tree, pa, &block) ||
	    kho_block_desc_(block.pa, &type, &order) || type != KHO_ABI_DESC_SLAB ||
	    block.pa & (UNIT_SIZE - 1) || order != block.order)
		return NULL;
	pthread_mutex_lock(&adopt_lock);
	slab = kho_units_[block.pa >> HEAP_UNIT_SHIFT];
	if (!slab) {
		slab = adopt(block.pa, order, NULL);
		if (slab && slab->used < slab->nr)
			offer(slab);
	}
	pthread_mutex_unlock(&adopt_lock);
	return slab;
}

/*
 * Find one slab at or after the cursor and adopt it. An empty one of another class than @class
 * gives its pages back: what filled it was only reserved. Return: false at the arena's end.
 */
static bool inherit_next(struct heap *heap, unsigned int class)
{
	struct kho_arena *a = &kho_arena_;
	struct khoc_block block;
	unsigned int type, order;
	struct slab *slab;

	if (inherited.pos >= kho_file_size_() ||
	    !khoc_radix_next(&a->tree, inherited.pos, kho_file_size_(), &block)) {
		inherited.pos = a->size;
		return false;
	}
	inherited.pos = block.pa + (KHO_PAGE_SIZE << block.order);
	if (kho_block_desc_(block.pa, &type, &order) || type != KHO_ABI_DESC_SLAB ||
	    block.pa & (UNIT_SIZE - 1) || kho_units_[block.pa >> HEAP_UNIT_SHIFT])
		return true;
	slab = adopt(block.pa, order, heap);
	if (slab && !slab->used && slab->class != class) {
		delete_slab(slab);
		inherited.given_back++;
	} else if (slab && slab->used < slab->nr) {
		kho_slab_set_owner_(slab, NULL);
		offer(slab);
	}
	return true;
}

struct slab *kho_slab_inherited_(struct heap *heap, unsigned int class)
{
	struct slab *slab;

	pthread_mutex_lock(&adopt_lock);
	for (int i = 0; !inherited.found[class] && i < INHERIT_TRIES; i++)
		if (!inherit_next(heap, class))
			break;
	slab = inherited.found[class];
	if (slab) {
		inherited.found[class] = slab->next;
		slab->next = NULL;
		kho_slab_set_owner_(slab, heap);
	}
	pthread_mutex_unlock(&adopt_lock);
	return slab;
}

bool kho_slabs_give_back_(struct heap *heap)
{
	__u64 before;
	bool any;

	pthread_mutex_lock(&adopt_lock);
	before = inherited.given_back;
	while (inherit_next(heap, HEAP_NR_LISTS))
		;
	for (unsigned int c = 0; c < HEAP_NR_LISTS; c++) {
		struct slab **link = &inherited.found[c];

		while (*link) {
			struct slab *slab = *link;

			kho_slab_collect_(slab);
			if (slab->used) {
				link = &slab->next;
				continue;
			}
			*link = slab->next;
			delete_slab(slab);
			inherited.given_back++;
		}
	}
	any = inherited.given_back != before;
	pthread_mutex_unlock(&adopt_lock);
	return any;
}

void kho_slabs_drop_inherited_(unsigned int class)
{
	pthread_mutex_lock(&adopt_lock);
	inherited.found[class] = NULL;
	pthread_mutex_unlock(&adopt_lock);
}

int kho_slabs_of_cache_(kho_pa_t cache, int (*fn)(void *ctx, struct slab *slab), void *ctx)
{
	kho_pa_t pos = kho_arena_.header->data_pa;
	struct khoc_block block;
	int rc = 0;

	while (!rc && khoc_radix_next(&kho_arena_.tree, pos, kho_file_size_(), &block)) {
		const struct kho_abi_slab *header = kho_phys_to_virt(block.pa);
		unsigned int type, order;
		struct slab *slab;

		pos = block.pa + (KHO_PAGE_SIZE << block.order);
		if (kho_block_desc_(block.pa, &type, &order) || type != KHO_ABI_DESC_SLAB ||
		    order != block.order || header->cache != cache)
			continue;
		slab = kho_slab_of_(header);
		rc = slab ? fn(ctx, slab) : -KHO_E_FORMAT;
	}
	return rc;
}

/* ---- handing out ---- */

/* Has one of the eight state bytes from @i on, a multiple of 8, the value FREE, which is 0? */
static bool any_free(const struct slab *slab, __u32 i)
{
	__u64 word = __atomic_load_n((const __u64 *)(slab->state + i), __ATOMIC_RELAXED);

	return (word - 0x0101010101010101ULL) & ~word & 0x8080808080808080ULL;
}

/* Like memchr(), but others may be storing to these bytes. */
static __u32 first_free(const struct slab *slab, __u32 i)
{
	while (i < slab->nr && kho_slab_state_(slab, i) != KHO_ABI_OBJECT_FREE) {
		i++;
		while (!(i % 8) && i + 8 <= slab->nr && !any_free(slab, i))
			i += 8;
	}
	return i;
}

static void *scan_single(struct slab *slab)
{
	__u32 i = first_free(slab, slab->hint);

	slab->hint = i;
	if (i == slab->nr)
		return NULL;
	slab->hint++;
	kho_slab_set_state_(slab, i, KHO_ABI_OBJECT_RESERVED);
	heap_barrier();
	return object_at(slab, i);
}

void *kho_slab_scan_(struct slab *slab)
{
	if (slab->single)
		return scan_single(slab);
	while (slab->scan < slab->end) {
		char *object = slab->scan;
		long i = kho_slab_index_(slab, object);

		slab->scan += slab->size;
		if (kho_slab_state_(slab, i) == KHO_ABI_OBJECT_FREE)
			return object;
	}
	return NULL;
}

/* Nothing is in the object any more: it may count as free. */
static void free_single(struct slab *slab, long index)
{
	heap_barrier();
	kho_slab_set_state_(slab, index, KHO_ABI_OBJECT_FREE);
	if (index < slab->hint)
		slab->hint = (__u32)index;
}

int kho_slab_clear_object_(struct slab *slab, void *ptr, long index, bool owned)
{
	unsigned char state = kho_slab_state_(slab, index);

	if (state != KHO_ABI_OBJECT_RESERVED && state != KHO_ABI_OBJECT_LIVE)
		return kho_fail_(-EINVAL, "%p: an object that is not in use", ptr);
	if (state == KHO_ABI_OBJECT_LIVE && !slab->restored[index])
		return kho_fail_(-EINVAL, "%p: came in and was not restored", ptr);
	/* Neither preserved with half of its bytes nor free with some of them. */
	kho_slab_set_state_(slab, index, owned ? KHO_ABI_OBJECT_RESERVED : KHO_ABI_OBJECT_FREED);
	heap_barrier();
	memset(ptr, 0, slab->size);
	__atomic_store_n(&slab->restored[index], 0, __ATOMIC_RELAXED);
	if (owned)
		free_single(slab, index);
	return 0;
}

bool kho_slab_collect_(struct slab *slab)
{
	void *list = __atomic_exchange_n(&slab->remote, NULL, __ATOMIC_ACQUIRE);

	while (list) {
		char *object = list;
		long index = kho_slab_index_(slab, object);

		list = *(void **)object;
		slab->used--;
		if (slab->single) {
			*(void **)object = NULL;
			free_single(slab, index);
			continue;
		}
		kho_slab_set_state_(slab, index, KHO_ABI_OBJECT_FREE);
		if (object >= slab->scan)
			continue;
		*(void **)object = slab->free;
		slab->free = object;
	}
	return slab->used < slab->nr;
}
