/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Private to the slab caches: kho_slab.c hands objects out, kho_slab_restore.c takes over what the
 * previous kernel had.
 */
#ifndef KHO_SLAB_PRIVATE_H
#define KHO_SLAB_PRIVATE_H

#include <linux/io.h>
#include <linux/kho/array.h>
#include <linux/kho/slab.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>

#include <kho/core/slab.h>

/* What slabs are aligned to, and a multiple of. */
#define KHO_SLAB_UNIT_SHIFT 16
/* Size classes of kho_kmalloc(): 16 to 128 by 16, then four to a doubling, up to 32768. */
#define KHO_HEAP_CLASSES 40

/**
 * struct kho_cache - a named cache, or a size class of kho_kmalloc()
 * @list: in kho_slabs.caches
 * @record: of a named cache; NULL: a size class
 * @object_size: from one object to the next
 * @lock: for all below, and its slabs
 * @partial: slabs with free places
 * @full: the others
 * @nr_empty: slabs in @partial without an object
 * @open: somebody has it from kho_cache_create()
 */
struct kho_cache {
	struct list_head list;
	struct kho_abi_cache *record;
	u32 object_size;
	spinlock_t lock; /* of the slabs' states, too */
	struct list_head partial;
	struct list_head full;
	unsigned int nr_empty;
	bool open;
};

/**
 * struct kho_slab - a slab
 * @list: in its cache's @partial or @full
 * @header: its start
 * @states: a byte for each object
 * @nr_live: objects in use
 * @hint: where to look for a free place first
 * @ours: those objects that are this kernel's: allocated or restored
 */
struct kho_slab {
	struct list_head list;
	struct kho_cache *cache;
	struct kho_abi_slab *header;
	u8 *states;
	u32 nr_live;
	u32 hint;
	unsigned long ours[];
};

/**
 * struct kho_slabs - all of them
 * @lock: for slabs and caches that come and go
 * @blob: what is handed over
 * @slab_array, @cache_array: the arrays in it
 * @caches: the named ones, and the size classes
 * @heap: the size classes
 */
struct kho_slabs {
	struct mutex lock; /* taken before a cache's lock */
	struct kho_abi_slabs *blob;
	struct kho_array slab_array;
	struct kho_array cache_array;
	struct list_head caches;
	struct kho_cache heap[KHO_HEAP_CLASSES];
};

extern struct kho_slabs kho_slabs;

void kho_cache_setup(struct kho_cache *cache, struct kho_abi_cache *record, u32 object_size);
struct kho_cache *kho_heap_class(size_t size);
struct kho_slab *kho_slab_describe(struct kho_cache *cache, void *mem);
int kho_slab_enter(struct kho_slab *slab);
struct kho_slab *kho_slab_of(phys_addr_t phys);
void *kho_slab_take(struct kho_cache *cache, struct kho_slab *slab, phys_addr_t phys);
int kho_slab_take_over(struct kho_abi_slabs *blob);

/* Is there a slab, or a named cache, for the next kernel to find? */
static inline bool kho_slab_in_use(void)
{
	const struct kho_abi_slabs *blob = kho_slabs.blob;

	return blob && (READ_ONCE(blob->slabs.count) || READ_ONCE(blob->caches.count));
}

static inline phys_addr_t kho_slab_phys(const struct kho_slab *slab)
{
	return virt_to_phys(slab->header);
}

#endif /* KHO_SLAB_PRIVATE_H */
