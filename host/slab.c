/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Slabs: made, found again in an arena that came in, and given back.
 *
 * A slab that came in is adopted when it is first touched, by a free or by an allocation
 * of its class; until then it costs nothing. Its header is not trusted: magic, CRC (which
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
#define BIG_CLASS_SIZE 4096 /* objects above this come from slabs of 256 KiB */
#define INHERIT_TRIES 16 /* inherited slabs looked at for one allocation */

struct slab **kho_units_;
__u64 kho_nr_units_;

static pthread_mutex_t adopt_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static struct slab *pool; /* structures for reuse: see struct slab */
static struct {
	kho_pa_t pos; /* the next place to look for inherited slabs */
	struct slab *found[HEAP_NR_CLASSES];
	__u64 given_back; /* empty slabs whose pages were */
} inherited;

static unsigned int slab_order(unsigned int class)
{
	return kho_class_size_(class) > BIG_CLASS_SIZE ? UNIT_PAGES_LOG2 + 2 : UNIT_PAGES_LOG2;
}

/*
 * Objects begin at a multiple of the largest power of two that their size is a multiple of
 * (one page at most), so that an object's alignment is that of its size.
 */
static void geometry(__u32 size, unsigned int order, __u32 *nr, __u32 *off)
{
	__u32 bytes = (__u32)(KHO_PAGE_SIZE << order);
	__u32 align = size & -size;

	if (align > KHO_PAGE_SIZE)
		align = KHO_PAGE_SIZE;
	*nr = (bytes - (__u32)sizeof(struct kho_abi_slab)) / (size + 1);
	for (;; (*nr)--) {
		*off = ((__u32)sizeof(struct kho_abi_slab) + *nr + align - 1) & ~(align - 1);
		if (*off + *nr * size <= bytes)
			return;
	}
}

static __u32 header_crc(const struct kho_abi_slab *header, kho_pa_t pa)
{
	__u32 crc = khoc_crc32c(0, header, offsetof(struct kho_abi_slab, crc));

	return khoc_crc32c(crc, &pa, sizeof(pa));
}

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
	pthread_mutex_lock(&pool_lock);
	slab->next = pool;
	pool = slab;
	pthread_mutex_unlock(&pool_lock);
}

static struct slab *slab_alloc(char *base, unsigned int class, unsigned int order)
{
	struct slab *slab = pool_get();
	__u32 off;

	if (!slab)
		return NULL;
	slab->free = NULL;
	slab->used = 0;
	slab->next = slab->prev = NULL;
	kho_slab_set_full_(slab, false);
	slab->size = (__u32)kho_class_size_(class);
	geometry(slab->size, order, &slab->nr, &off);
	slab->inverse = (__u32)(((1ULL << 32) + slab->size - 1) / slab->size);
	slab->state = (unsigned char *)base + sizeof(struct kho_abi_slab);
	slab->objects = slab->scan = base + off;
	slab->end = slab->objects + (size_t)slab->nr * slab->size;
	slab->class = (__u8) class;
	slab->order = (__u8)order;
	return slab;
}

static void set_units(kho_pa_t pa, unsigned int order, struct slab *slab)
{
	__u64 unit = pa >> HEAP_UNIT_SHIFT;

	for (__u64 i = 0; i < 1ULL << (order - UNIT_PAGES_LOG2); i++)
		__atomic_store_n(&kho_units_[unit + i], slab, __ATOMIC_RELEASE);
}

struct slab *kho_slab_new_(struct heap *heap, unsigned int class)
{
	unsigned int order = slab_order(class);
	kho_pa_t pa = kho_pages_alloc_(1ULL << order, order);
	struct kho_abi_slab *header = kho_phys_to_virt(pa);
	struct slab *slab;
	int rc;

	if (!pa)
		return NULL;
	slab = slab_alloc((char *)header, class, order);
	if (!slab)
		goto free_pages;
	memset(header, 0, sizeof(*header) + slab->nr);
	header->magic = KHO_ABI_SLAB_MAGIC;
	header->version = KHO_ABI_SLAB_VERSION;
	header->order = (__u16)order;
	header->object_size = slab->size;
	header->nr_objects = slab->nr;
	header->objects_off = (__u32)(slab->objects - (char *)header);
	header->crc = header_crc(header, pa);
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

static int header_check(const struct kho_abi_slab *h, kho_pa_t pa, unsigned int order)
{
	struct khoc_report report = {.structure = KHOC_S_SLAB, .level = -1, .addr = pa};
	__u32 nr = 0, off = 0;

	if (h->magic != KHO_ABI_SLAB_MAGIC) {
		report.fault = KHO_E_MAGIC;
		report.field = "magic";
		report.value = h->magic;
	} else if (h->version != KHO_ABI_SLAB_VERSION) {
		report.fault = KHO_E_VERSION;
		report.field = "version";
		report.value = h->version;
		report.limit = KHO_ABI_SLAB_VERSION;
	} else if (h->crc != header_crc(h, pa)) {
		report.fault = KHO_E_CHECKSUM;
		report.field = "crc";
		report.value = h->crc;
	} else if (h->order != order || order < UNIT_PAGES_LOG2 || order > UNIT_PAGES_LOG2 + 2) {
		report.fault = KHO_E_ORDER;
		report.field = "order";
		report.value = h->order;
		report.limit = order;
	} else if (h->object_size < HEAP_ALIGN || h->object_size > HEAP_SMALL_MAX ||
		   kho_class_size_(kho_size_class_(h->object_size)) != h->object_size) {
		report.fault = KHO_E_RANGE;
		report.field = "object_size";
		report.value = h->object_size;
	} else {
		geometry(h->object_size, order, &nr, &off);
		if (h->nr_objects == nr && h->objects_off == off)
			return 0;
		report.fault = KHO_E_RANGE;
		report.field = "nr_objects";
		report.value = h->nr_objects;
		report.limit = nr;
	}
	return kho_fail_report_(&report);
}

/* Count what is live; what another thread had freed is free now. */
static int count_states(struct slab *slab)
{
	for (__u32 i = 0; i < slab->nr; i++) {
		struct khoc_report report = {
			.structure = KHOC_S_SLAB, .level = -1, .field = "state"};

		switch (slab->state[i]) {
		case KHO_ABI_OBJECT_LIVE:
			slab->used++;
			break;
		case KHO_ABI_OBJECT_FREED:
			slab->state[i] = KHO_ABI_OBJECT_FREE;
			break;
		case KHO_ABI_OBJECT_FREE:
			break;
		default:
			report.fault = KHO_E_STATE;
			report.addr = kho_virt_to_phys(&slab->state[i]);
			report.value = slab->state[i];
			return kho_fail_report_(&report);
		}
	}
	return 0;
}

/* Under adopt_lock: make the slab at @pa ours, owned by @heap. */
static struct slab *adopt(kho_pa_t pa, unsigned int order, struct heap *heap)
{
	struct kho_abi_slab *header = kho_phys_to_virt(pa);
	struct slab *slab;

	if (kho_block_check_(pa, order, KHO_ABI_DESC_SLAB) || header_check(header, pa, order))
		return NULL;
	slab = slab_alloc((char *)header, kho_size_class_(header->object_size), order);
	if (!slab)
		return NULL;
	if (count_states(slab)) {
		pool_put(slab);
		return NULL;
	}
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
	if (header_check(header, block.pa, order) || pa < block.pa + header->objects_off)
		return NULL;
	off = pa - block.pa - header->objects_off;
	if (off % header->object_size || off / header->object_size >= header->nr_objects)
		return NULL;
	return (unsigned char *)(uintptr_t)(header + 1) + off / header->object_size;
}

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
		slab = adopt(block.pa, order, heap);
		if (slab && slab->used < slab->nr)
			kho_heap_add_partial_(heap, slab);
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
		kho_slab_set_full_(slab, false);
		kho_slab_set_owner_(slab, NULL);
		slab->next = inherited.found[slab->class];
		inherited.found[slab->class] = slab;
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
	while (inherit_next(heap, HEAP_NR_CLASSES))
		;
	for (unsigned int c = 0; c < HEAP_NR_CLASSES; c++) {
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

/* ---- handing out ---- */

void *kho_slab_scan_(struct slab *slab)
{
	while (slab->scan < slab->end) {
		char *object = slab->scan;
		long i = kho_slab_index_(slab, object);

		slab->scan += slab->size;
		if (kho_slab_state_(slab, i) == KHO_ABI_OBJECT_FREE)
			return object;
	}
	return NULL;
}

bool kho_slab_collect_(struct slab *slab)
{
	void *list = __atomic_exchange_n(&slab->remote, NULL, __ATOMIC_ACQUIRE);

	while (list) {
		char *object = list;

		list = *(void **)object;
		kho_slab_set_state_(slab, kho_slab_index_(slab, object), KHO_ABI_OBJECT_FREE);
		slab->used--;
		if (object >= slab->scan)
			continue;
		*(void **)object = slab->free;
		slab->free = object;
	}
	return slab->free || slab->scan < slab->end;
}
