/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The heap's private side. What survives is in include/kho/abi/slab.h: a header and one
 * state byte per object. Everything here is forgotten when the process goes, and found
 * again from those bytes.
 *
 * Glossary: unit = 64 KiB of the arena, the granularity of slabs; reserved = handed out, not
 * live; live = its state byte says so; a thread's heap owns slabs, only it hands out their
 * objects; remote = a thread other than the one whose heap owns the slab; class = which list
 * of slabs: a size class of kho_malloc(), or, from HEAP_NR_CLASSES on, a named cache; single = of
 * a cache whose objects are preserved one by one.
 */
#ifndef KHO_HOST_HEAP_H
#define KHO_HOST_HEAP_H

#include <kho/abi/slab.h>
#include <kho/types.h>
#include <stdbool.h>
#include <stddef.h>

#include "arena.h"

#define HEAP_UNIT_SHIFT 16
#define HEAP_NR_CLASSES 40
#define HEAP_NR_CACHES 216
#define HEAP_NR_LISTS (HEAP_NR_CLASSES + HEAP_NR_CACHES)
#define HEAP_SMALL_MAX KHO_ABI_SLAB_OBJECT_MAX
#define HEAP_ALIGN 16

/* Keeps the compiler from moving stores across: all that a crash can see of their order. */
#define heap_barrier() __asm__ __volatile__("" ::: "memory")

/* Only within the library: addressed directly, and not by way of a table. */
#pragma GCC visibility push(hidden)

struct heap;

/**
 * struct slab - one slab, as its owner sees it
 *
 * Other threads read the first line of it when they free, and from @remote on they write, at times after
 * the slab was given back: so the memory of these structures is only ever reused for others of them, and
 * @pending, which says that the structure is in a list, stays what it is when that happens.
 *
 * @free: objects that were freed: a list through their first words
 * @scan: the first object never looked at: from here on a free state byte means that the object
 *	can be handed out, and freeing only sets that byte. @single: stays at the first object
 * @state: the state bytes, in the arena
 * @objects: the first object
 * @inverse: 2^64 / @size, rounded up: see kho_slab_index_()
 * @owner: the heap that hands out its objects
 * @size: bytes per object
 * @nr: objects in all
 * @used: objects reserved or live
 * @class, @order: which list, and log2 of the pages
 * @full: set aside, in no list: nothing left to hand out
 * @single: objects are preserved one by one: nothing is written to free ones, so there is no list of them
 * @end: behind the last object
 * @next, @prev: in the owner's list of slabs with free objects
 * @restored: @single: one byte per object: it was restored, or preserved, in this program
 * @hint: @single: no object before this one is free
 * @remote: list of objects that other threads freed
 * @next_pending: in the owner's list of full slabs that got remote frees
 */
struct slab {
	void *free; /* this line is all that a malloc or a free looks at */
	char *scan;
	unsigned char *state;
	char *objects;
	__u64 inverse;
	struct heap *owner;
	__u32 size;
	__u32 nr;
	__u32 used;
	__u8 class;
	__u8 order;
	bool full;
	bool single;
	char *end;
	struct slab *next, *prev;
	unsigned char *restored;
	__u32 hint;
	void *remote __attribute__((aligned(64)));
	struct slab *next_pending;
	bool pending;
};

/**
 * struct heap - what one thread allocates from
 * @current: per class the slab in use; never NULL: an empty one that is nobody's
 * @partial: per class further slabs with free objects
 * @pending: full slabs that other threads freed objects of
 * @intent: this thread's intent record, or NULL
 * @next: all heaps
 * @idle: its thread is gone
 */
struct heap {
	struct slab *current[HEAP_NR_LISTS];
	struct slab *partial[HEAP_NR_LISTS];
	struct slab *pending;
	struct kho_abi_intent *intent;
	struct heap *next;
	bool idle;
};

/*
 * In the static TLS block, also of the shared library: a call for its address would be a third of
 * what a malloc costs.
 */
extern __thread struct heap *kho_heap_tls_ __attribute__((tls_model("initial-exec")));

/* The calling thread's heap, made or taken over from a thread that is gone. NULL: no memory. */
struct heap *kho_heap_get_slow_(void);

static inline struct heap *kho_heap_get_(void)
{
	struct heap *heap = kho_heap_tls_;

	return __builtin_expect(!!heap, 1) ? heap : kho_heap_get_slow_();
}

/* Private state of all heaps: set up, and dropped. */
int kho_heap_init_(void);
void kho_heap_destroy_(void);
/* The calling thread's heap, slabs and all, goes to whichever thread needs one next. */
void kho_heap_release_(void);
/* In a child of fork(): the calling thread has no heap. */
void kho_heap_forked_(void);

/* Of at most HEAP_SMALL_MAX bytes. */
unsigned int kho_size_class_(size_t size);
size_t kho_class_size_(unsigned int class);

/* ---- slab.c ---- */

int kho_slabs_init_(void);
void kho_slabs_destroy_(void);

/* The slab of an address, adopted if it came with the arena; NULL: not in a slab (or a bad one: kho_error()). */
struct slab *kho_slab_of_slow_(const void *ptr);

extern struct slab **kho_units_;
extern __u64 kho_nr_units_;

/* The same if it was made or adopted already; else NULL. */
static inline struct slab *kho_slab_known_(const void *ptr)
{
	__u64 unit = ((uintptr_t)ptr - (uintptr_t)kho_arena_.base) >> HEAP_UNIT_SHIFT;

	return __builtin_expect(unit < kho_nr_units_, 1)
		       ? __atomic_load_n(&kho_units_[unit], __ATOMIC_ACQUIRE)
		       : NULL;
}

static inline struct slab *kho_slab_of_(const void *ptr)
{
	struct slab *slab = kho_slab_known_(ptr);

	return slab || !kho_nr_units_ ? slab : kho_slab_of_slow_(ptr);
}

/*
 * Index of the object at @ptr, or -1 when no object starts there.
 *
 * Offset times 2^64 / size (rounded up, by less than 1): what is above the point is the index. Below it
 * there is less than 2^64 / size just when the division has no remainder: the rounding adds less than
 * the offset, and 2^18 is less than 2^64 / size. Before the first object the offset is
 * next to 2^64, and so the index above @nr.
 */
static inline long kho_slab_index_(const struct slab *slab, const void *ptr)
{
	__u64 off = (uintptr_t)ptr - (uintptr_t)slab->objects;
	unsigned __int128 product = (unsigned __int128)off * slab->inverse;
	__u64 i = (__u64)(product >> 64);

	return i < slab->nr && (__u64)product < slab->inverse ? (long)i : -1;
}

static inline struct heap *kho_slab_owner_(const struct slab *slab)
{
	return __atomic_load_n(&slab->owner, __ATOMIC_RELAXED);
}

static inline void kho_slab_set_owner_(struct slab *slab, struct heap *heap)
{
	__atomic_store_n(&slab->owner, heap, __ATOMIC_RELAXED);
}

static inline bool kho_slab_is_full_(const struct slab *slab)
{
	return __atomic_load_n(&slab->full, __ATOMIC_SEQ_CST);
}

static inline void kho_slab_set_full_(struct slab *slab, bool full)
{
	__atomic_store_n(&slab->full, full, __ATOMIC_SEQ_CST);
}

/* State bytes are read by a slab's owner while other threads free. */
static inline unsigned char kho_slab_state_(const struct slab *slab, long index)
{
	return __atomic_load_n(&slab->state[index], __ATOMIC_RELAXED);
}

static inline void kho_slab_set_state_(struct slab *slab, long index, unsigned char state)
{
	__atomic_store_n(&slab->state[index], state, __ATOMIC_RELAXED);
}

/* A new slab, preserved and empty. NULL: arena full. */
struct slab *kho_slab_new_(struct heap *heap, unsigned int class);
/* Give an empty slab's pages back. */
void kho_slab_delete_(struct slab *slab);
/* A slab of @class that came with the arena, has free objects and is nobody's yet; NULL: none at hand. */
struct slab *kho_slab_inherited_(struct heap *heap, unsigned int class);
/* A slab that came in, is nobody's, and was full got something to hand out: kho_slab_inherited_() may find it. */
void kho_slab_offer_(struct slab *slab);
/*
 * The state byte of an object, found without private memory: for recovery. NULL: no object of a
 * slab starts there, or one that is not published but preserved singly.
 */
unsigned char *kho_slab_state_of_(const void *ptr);
/* The arena is full: adopt what came in, for @heap, and give back the pages of empty slabs. Return: whether there were any. */
bool kho_slabs_give_back_(struct heap *heap);
/* The next object never looked at that is free, or NULL. */
void *kho_slab_scan_(struct slab *slab);
/* Live objects of a preserved slab, and their size, without adopting it. Return: 0 as well if it is damaged. */
__u32 kho_slab_count_(kho_pa_t pa, unsigned int order, __u32 *object_size);
/* Take the objects that other threads freed. By the owner. Return: whether there is something to hand out. */
bool kho_slab_collect_(struct slab *slab);
/* Free an object of a single-object slab that @heap owns, or make it ready to go to its owner. Return: 0, or -EINVAL. */
int kho_slab_clear_object_(struct slab *slab, void *ptr, long index, bool owned);

/**
 * kho_slabs_of_cache_() - call @fn for each slab of a cache, adopted if need be
 * @fn: another result than 0 stops. The slab may be gone when it returns
 * Return: 0, what @fn returned, or a fault.
 */
int kho_slabs_of_cache_(kho_pa_t cache, int (*fn)(void *ctx, struct slab *slab), void *ctx);
/* Forget those that came in and that nobody took yet. */
void kho_slabs_drop_inherited_(unsigned int class);

/* ---- cache.c ---- */

/**
 * struct kmem_cache - a named cache, as this program uses it
 * @record: pa of its struct kho_abi_cache; 0: not in use
 * @size, @align, @object_size, @flags, @name: as there
 * @ctor: of the program, or NULL
 */
struct kmem_cache {
	kho_pa_t record;
	__u32 size;
	__u32 align;
	__u32 object_size;
	__u32 flags;
	void (*ctor)(void *object);
	char name[KHO_ABI_CACHE_NAME_LEN];
};

extern struct kmem_cache kho_caches_[HEAP_NR_CACHES];

/* The cache of a class from HEAP_NR_CLASSES on. */
static inline struct kmem_cache *kho_class_cache_(unsigned int class)
{
	return &kho_caches_[class - HEAP_NR_CLASSES];
}

/* The class of a slab that came in, whose header is sound; its cache is looked up. Return: -1: none, kho_error() says why. */
int kho_cache_class_(const struct kho_abi_slab *header);
/* All are closed: what they were belongs to an arena that is not ours, or not any more. */
void kho_caches_forget_(void);

/* ---- heap.c ---- */

/* Give back all slabs of a named cache, if nothing in them is in use. Return: 0, -EBUSY, a fault. */
int kho_heap_drop_class_(unsigned int class, kho_pa_t cache);

void *kho_heap_alloc_slow_(struct heap *heap, unsigned int class);

/* Hand an object back to its slab. Its state byte is settled by the caller but for @live. */
void kho_heap_free_object_(struct heap *heap, struct slab *slab, void *ptr, long index, bool live);

/* ---- large.c ---- */

void *kho_large_alloc_(size_t size, size_t align);
/* The header of the large object at @ptr, checked; NULL: it is none, kho_error() says why. */
const struct kho_abi_large *kho_large_of_(const void *ptr);
/* The same for one that is reserved or live: not what a freed one left in its pages. */
const struct kho_abi_large *kho_large_find_(const void *ptr);
bool kho_large_is_live_(const struct kho_abi_large *large);
int kho_large_preserve_(const struct kho_abi_large *large);
/* Live no longer: reserved. */
void kho_large_unpreserve_(const struct kho_abi_large *large);
/* For recovery: neither. */
void kho_large_drop_(const struct kho_abi_large *large);
void kho_large_free_(const struct kho_abi_large *large);

/* ---- publish.c ---- */

/* publish_page of struct khoc_mem_ops, which see; also -EINVAL: operands that cannot be; kho_error() says more. */
int kho_page_publish_(__u64 *slot, __u64 value, kho_pa_t fresh, kho_pa_t stale);
/* A run of descriptor type PAGES, as one step to any crash. Return: 0, or negative: nothing of it is preserved. */
int kho_pages_preserve_(kho_pa_t pa, __u64 nr);
/* The same; not one step if more threads than KHO_ABI_NR_INTENTS publish. */
void kho_pages_unpreserve_(kho_pa_t pa, __u64 nr);

/* Is every intent record sound? Nothing is changed. Return: 0 or a fault. */
int kho_intents_check_(void);
/* Complete or undo them all. */
void kho_intents_recover_(void);
struct kho_abi_intent *kho_intent_get_(void);

#pragma GCC visibility pop

#endif
