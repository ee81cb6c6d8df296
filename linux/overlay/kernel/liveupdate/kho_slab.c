// SPDX-License-Identifier: GPL-2.0-only
/*
 * Slab caches that are handed over.
 *
 *	unit	64 KiB, what a slab is aligned to
 *	place	of an object in a slab; free ones are zeroes
 *	class	a cache of kho_kmalloc()'s, by size alone
 *	ours	an object that this kernel has handed out, or restored
 *
 * A slab is preserved as a whole. An object's state is one byte of it, which is LIVE from the
 * moment on that the object is handed out; so at each moment the slabs are what the next kernel
 * will find.
 */
#define pr_fmt(fmt) "KHO: " fmt

#include <linux/bitmap.h>
#include <linux/export.h>
#include <linux/init.h>
#include <linux/io.h>
#include <linux/kmemleak.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/vmstat.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "kexec_handover_internal.h"
#include "kho_slab.h"

struct kho_slabs kho_slabs = {
	.lock = __MUTEX_INITIALIZER(kho_slabs.lock),
	.caches = LIST_HEAD_INIT(kho_slabs.caches),
};

/* By number of unit. An entry stays as long as an object of its slab is in use. */
static DEFINE_XARRAY(by_unit);

static u64 unit_of(phys_addr_t phys)
{
	return phys >> KHO_SLAB_UNIT_SHIFT;
}

/* The slab that has an address in it; NULL: none. */
struct kho_slab *kho_slab_of(phys_addr_t phys)
{
	return xa_load(&by_unit, unit_of(phys));
}

/* ---- slabs that come and go ---------------------------------------------- */

/* What there is to know of a slab with a header at @mem. Return: NULL if there is no memory. */
struct kho_slab *kho_slab_describe(struct kho_cache *cache, void *mem)
{
	struct kho_abi_slab *header = mem;
	size_t words = BITS_TO_LONGS(header->nr_objects);
	struct kho_slab *slab = kzalloc(struct_size(slab, ours, words), GFP_KERNEL);

	if (!slab)
		return NULL;
	slab->cache = cache;
	slab->header = header;
	slab->states = (u8 *)(header + 1);
	for (u32 i = 0; i < header->nr_objects; i++)
		slab->nr_live += slab->states[i] == KHO_ABI_OBJECT_LIVE;
	return slab;
}

static u64 nr_units(const struct kho_slab *slab)
{
	return 1ULL << (slab->header->order + PAGE_SHIFT - KHO_SLAB_UNIT_SHIFT);
}

static void forget(struct kho_slab *slab)
{
	u64 unit = unit_of(kho_slab_phys(slab));

	for (u64 i = 0; i < nr_units(slab); i++)
		xa_erase(&by_unit, unit + i);
}

/* A slab can be found, and be allocated from. Return: 0 or -ENOMEM. */
int kho_slab_enter(struct kho_slab *slab)
{
	u64 unit = unit_of(kho_slab_phys(slab));
	struct kho_cache *cache = slab->cache;

	for (u64 i = 0; i < nr_units(slab); i++) {
		int err = xa_err(xa_store(&by_unit, unit + i, slab, GFP_KERNEL));

		if (err) {
			forget(slab);
			return err;
		}
	}
	guard(spinlock_irqsave)(&cache->lock);
	list_add(&slab->list,
		 slab->nr_live < slab->header->nr_objects ? &cache->partial : &cache->full);
	cache->nr_empty += !slab->nr_live;
	return 0;
}

static void free_slab_pages(void *mem, unsigned int order)
{
	for (unsigned long i = 0; i < 1UL << order; i++)
		__free_page(virt_to_page(mem) + i);
}

/* Pages of zeroes, each by itself, as those of a slab that was restored. */
static void *get_slab_pages(unsigned int order)
{
	struct page *page = alloc_pages(GFP_KERNEL | __GFP_ZERO, order);

	if (!page)
		return NULL;
	if (order)
		split_page(page, order);
	return page_address(page);
}

/* Preserved, then named: in between it is nobody's, and the next kernel passes over it. */
static int publish_slab(struct kho_slab *slab)
{
	phys_addr_t phys = kho_slab_phys(slab);
	unsigned int order = slab->header->order;
	int err = kho_mark(phys, order, KHO_ABI_TYPE_SLAB, NULL);

	if (err)
		return err;
	err = kho_array_set(&kho_slabs.slab_array, unit_of(phys), kho_array_mk_value(order));
	if (!err) {
		err = kho_slab_enter(slab);
		if (err)
			kho_array_erase(&kho_slabs.slab_array, unit_of(phys));
	}
	if (err)
		kho_unmark(phys, order, KHO_ABI_TYPE_SLAB);
	return err;
}

static int add_slab(struct kho_cache *cache)
{
	unsigned int order = khoc_slab_order(PAGE_SHIFT, cache->object_size);
	void *mem = get_slab_pages(order);
	phys_addr_t record = cache->record ? virt_to_phys(cache->record) : 0;
	u32 flags = cache->record ? cache->record->flags : 0;
	struct kho_slab *slab;
	int err;

	if (!mem)
		return -ENOMEM;
	khoc_slab_init(mem, PAGE_SHIFT, virt_to_phys(mem), cache->object_size, record, flags);
	slab = kho_slab_describe(cache, mem);
	err = slab ? publish_slab(slab) : -ENOMEM;
	if (err) {
		kfree(slab);
		free_slab_pages(mem, order);
	}
	return err;
}

/* A slab without objects, that is in no list any more. */
static void remove_slab(struct kho_slab *slab)
{
	phys_addr_t phys = kho_slab_phys(slab);
	unsigned int order = slab->header->order;

	forget(slab);
	kho_array_erase(&kho_slabs.slab_array, unit_of(phys));
	kho_unmark(phys, order, KHO_ABI_TYPE_SLAB);
	free_slab_pages(slab->header, order);
	kfree(slab);
}

/* An empty slab of a cache that has more than @keep of them; it is in no list then. */
static struct kho_slab *spare_slab(struct kho_cache *cache, unsigned int keep)
{
	struct kho_slab *slab;

	guard(spinlock_irqsave)(&cache->lock);
	if (cache->nr_empty <= keep)
		return NULL;
	list_for_each_entry(slab, &cache->partial, list) {
		if (!slab->nr_live) {
			list_del(&slab->list);
			cache->nr_empty--;
			return slab;
		}
	}
	return NULL;
}

static void shrink(struct kho_cache *cache, unsigned int keep)
{
	struct kho_slab *slab;

	lockdep_assert_held(&kho_slabs.lock);
	while ((slab = spare_slab(cache, keep)))
		remove_slab(slab);
}

/* Objects may be freed where slabs cannot be. */
static void reap(struct work_struct *work)
{
	struct kho_cache *cache;

	guard(mutex)(&kho_slabs.lock);
	list_for_each_entry(cache, &kho_slabs.caches, list)
		shrink(cache, 1);
}

static DECLARE_WORK(reaper, reap);

/* ---- objects ------------------------------------------------------------- */

static void *object_at(const struct kho_slab *slab, u32 nr)
{
	return (void *)slab->header + slab->header->objects_off + nr * slab->header->object_size;
}

/* A free place of a slab that has one. */
static u32 free_place(const struct kho_slab *slab)
{
	u32 nr = slab->header->nr_objects;
	u8 *at = memchr(slab->states + slab->hint, KHO_ABI_OBJECT_FREE, nr - slab->hint);

	if (!at)
		at = memchr(slab->states, KHO_ABI_OBJECT_FREE, nr);
	return at - slab->states;
}

/* Return: NULL if no slab has a free place. */
static void *alloc_object(struct kho_cache *cache)
{
	struct kho_slab *slab;
	u32 nr;

	guard(spinlock_irqsave)(&cache->lock);
	slab = list_first_entry_or_null(&cache->partial, struct kho_slab, list);
	if (!slab)
		return NULL;
	nr = free_place(slab);
	WRITE_ONCE(slab->states[nr], KHO_ABI_OBJECT_LIVE);
	__set_bit(nr, slab->ours);
	slab->hint = nr + 1 < slab->header->nr_objects ? nr + 1 : 0;
	cache->nr_empty -= !slab->nr_live;
	if (++slab->nr_live == slab->header->nr_objects)
		list_move(&slab->list, &cache->full);
	return object_at(slab, nr);
}

/* The number of the object that begins at @phys and is in use; -1: none does. */
static int object_nr(const struct kho_slab *slab, phys_addr_t phys)
{
	u64 offset = phys - kho_slab_phys(slab) - slab->header->objects_off;
	u64 nr = offset / slab->header->object_size;

	if (nr >= slab->header->nr_objects || offset % slab->header->object_size ||
	    slab->states[nr] != KHO_ABI_OBJECT_LIVE)
		return -1;
	return nr;
}

static void free_object(struct kho_slab *slab, void *object)
{
	struct kho_cache *cache = slab->cache;
	int nr;

	guard(spinlock_irqsave)(&cache->lock);
	nr = object_nr(slab, virt_to_phys(object));
	if (WARN_ON_ONCE(nr < 0 || !test_bit(nr, slab->ours)))
		return;
	memset(object, 0, cache->object_size);
	/* No free place that is not zeroes. */
	smp_store_release(&slab->states[nr], KHO_ABI_OBJECT_FREE);
	__clear_bit(nr, slab->ours);
	if (slab->nr_live-- == slab->header->nr_objects)
		list_move(&slab->list, &cache->partial);
	if (!slab->nr_live && cache->nr_empty++)
		schedule_work(&reaper);
}

/* The previous kernel's object at @phys becomes ours. Return: NULL if there is none, or it is. */
void *kho_slab_take(struct kho_cache *cache, struct kho_slab *slab, phys_addr_t phys)
{
	int nr;

	if (!slab || slab->cache != cache)
		return NULL;
	guard(spinlock_irqsave)(&cache->lock);
	nr = object_nr(slab, phys);
	if (nr < 0 || test_bit(nr, slab->ours))
		return NULL;
	__set_bit(nr, slab->ours);
	return phys_to_virt(phys);
}

/* ---- named caches -------------------------------------------------------- */

void kho_cache_setup(struct kho_cache *cache, struct kho_abi_cache *record, u32 object_size)
{
	cache->record = record;
	cache->object_size = object_size;
	spin_lock_init(&cache->lock);
	INIT_LIST_HEAD(&cache->partial);
	INIT_LIST_HEAD(&cache->full);
	list_add_tail(&cache->list, &kho_slabs.caches);
}

static struct kho_cache *find_cache(const char *name)
{
	struct kho_cache *cache;

	list_for_each_entry(cache, &kho_slabs.caches, list)
		if (cache->record && !strcmp(cache->record->name, name))
			return cache;
	return NULL;
}

/* The index of a record in the array of caches is where it is. */
static u64 record_index(const struct kho_abi_cache *record)
{
	return virt_to_phys((void *)record) / KHO_ABI_SLAB_OBJECT_MIN;
}

static struct kho_cache *new_cache(const char *name, unsigned int size, unsigned int align)
{
	struct kho_cache *cache = kzalloc_obj(*cache);
	struct kho_abi_cache *record = kho_kmalloc(sizeof(*record), GFP_KERNEL);
	int err = -ENOMEM;

	if (cache && record) {
		khoc_cache_init(record, PAGE_SHIFT, virt_to_phys(record), name, size, align,
				KHO_ABI_SLAB_SINGLE);
		err = kho_array_set(&kho_slabs.cache_array, record_index(record),
				    virt_to_phys(record));
	}
	if (err) {
		kho_kfree(record);
		kfree(cache);
		return ERR_PTR(err);
	}
	guard(mutex)(&kho_slabs.lock);
	kho_cache_setup(cache, record, record->object_size);
	return cache;
}

/* Serialises those who make and take away caches; kho_slabs.lock is for their slabs. */
static DEFINE_MUTEX(naming);

/**
 * kho_cache_create() - make a cache of objects of one size, or go on with the previous kernel's
 * @name: 1 to 63 letters, digits and "._+-"
 * @size: of an object, up to 32768
 * @align: a power of two, a page at most
 *
 * If a cache of this name was handed over it is that, with all its objects: kho_cache_restore()
 * makes one of them ours, kho_cache_walk() finds them.
 *
 * Context: May sleep.
 * Return: The cache, or an ERR_PTR(): -EINVAL: not a name or size, or another than that of the
 * cache that was handed over; -EEXIST: it is in use; -ENOMEM; -EOPNOTSUPP: there is no KHO.
 */
struct kho_cache *kho_cache_create(const char *name, unsigned int size, unsigned int align)
{
	struct kho_cache *cache;

	if (!kho_slabs.blob)
		return ERR_PTR(-EOPNOTSUPP);
	if (!khoc_cache_name_ok(name, KHO_ABI_CACHE_NAME_LEN - 1) ||
	    !khoc_cache_object_size(PAGE_SHIFT, size, align))
		return ERR_PTR(-EINVAL);
	guard(mutex)(&naming);
	cache = find_cache(name);
	if (!cache)
		cache = new_cache(name, size, align);
	else if (cache->open)
		return ERR_PTR(-EEXIST);
	else if (cache->record->size != size || cache->record->align != align)
		return ERR_PTR(-EINVAL);
	if (!IS_ERR(cache))
		cache->open = true;
	return cache;
}
EXPORT_SYMBOL_GPL(kho_cache_create);

/**
 * kho_cache_destroy() - take a cache away
 * @cache: the cache
 *
 * Context: May sleep.
 * Return: 0; -EBUSY: an object is in use, perhaps one that nobody restored.
 */
int kho_cache_destroy(struct kho_cache *cache)
{
	guard(mutex)(&naming);
	scoped_guard(mutex, &kho_slabs.lock) {
		shrink(cache, 0);
		if (!list_empty(&cache->partial) || !list_empty(&cache->full))
			return -EBUSY;
		list_del(&cache->list);
	}
	kho_array_erase(&kho_slabs.cache_array, record_index(cache->record));
	kho_kfree(cache->record);
	kfree(cache);
	return 0;
}
EXPORT_SYMBOL_GPL(kho_cache_destroy);

/**
 * kho_cache_alloc() - get an object of zeroes that is handed over
 * @cache: the cache
 * @gfp: GFP_KERNEL; what may not sleep gets an object only of a slab that is there
 *
 * Context: As @gfp says.
 * Return: The object, or NULL: no memory.
 */
void *kho_cache_alloc(struct kho_cache *cache, gfp_t gfp)
{
	void *object;

	while (!(object = alloc_object(cache))) {
		if (!gfpflags_allow_blocking(gfp))
			return NULL;
		guard(mutex)(&kho_slabs.lock);
		if (list_empty(&cache->partial) && add_slab(cache))
			return NULL;
	}
	return object;
}
EXPORT_SYMBOL_GPL(kho_cache_alloc);

/**
 * kho_cache_free() - give an object back
 * @cache: its cache
 * @object: of kho_cache_alloc() or kho_cache_restore(); may be NULL
 *
 * Context: Any but an NMI.
 */
void kho_cache_free(struct kho_cache *cache, void *object)
{
	struct kho_slab *slab = object ? kho_slab_of(virt_to_phys(object)) : NULL;

	if (object && !WARN_ON_ONCE(!slab || slab->cache != cache))
		free_object(slab, object);
}
EXPORT_SYMBOL_GPL(kho_cache_free);

/**
 * kho_cache_restore() - take over an object of the previous kernel's
 * @cache: the cache
 * @phys: the object's address
 *
 * Context: Any but an NMI.
 * Return: The object, with its contents, or NULL: none of this cache begins there that is in use
 * and that nobody has restored.
 */
void *kho_cache_restore(struct kho_cache *cache, phys_addr_t phys)
{
	return kho_slab_take(cache, kho_slab_of(phys), phys);
}
EXPORT_SYMBOL_GPL(kho_cache_restore);

static int walk_list(struct list_head *slabs, int (*fn)(void *object, bool ours, void *ctx),
		     void *ctx)
{
	struct kho_slab *slab;
	int err = 0;

	list_for_each_entry(slab, slabs, list)
		for (u32 i = 0; !err && i < slab->header->nr_objects; i++)
			if (slab->states[i] == KHO_ABI_OBJECT_LIVE)
				err = fn(object_at(slab, i), test_bit(i, slab->ours), ctx);
	return err;
}

/**
 * kho_cache_walk() - call a function for each object in use
 * @cache: the cache
 * @fn: what to call; anything but 0 ends the walk. @ours: it is one of this kernel's, or was
 * restored
 * @ctx: passed to it
 *
 * Context: Any but an NMI. @fn is called under a spinlock, and must not call any function of this
 * cache's.
 * Return: 0, or what @fn returned.
 */
int kho_cache_walk(struct kho_cache *cache, int (*fn)(void *object, bool ours, void *ctx),
		   void *ctx)
{
	guard(spinlock_irqsave)(&cache->lock);
	return walk_list(&cache->partial, fn, ctx) ?: walk_list(&cache->full, fn, ctx);
}
EXPORT_SYMBOL_GPL(kho_cache_walk);

/* ---- by size alone ------------------------------------------------------- */

/* The class for a size up to KHO_ABI_SLAB_OBJECT_MAX. */
struct kho_cache *kho_heap_class(size_t size)
{
	unsigned int log2;

	if (size <= 128)
		return &kho_slabs.heap[(size - 1) / 16];
	log2 = ilog2(size - 1);
	return &kho_slabs.heap[8 + 4 * (log2 - 7) + ((size - 1) >> (log2 - 2)) - 4];
}

static u32 class_size(unsigned int nr)
{
	if (nr < 8)
		return 16 * (nr + 1);
	return (5 + (nr - 8) % 4) << (5 + (nr - 8) / 4);
}

/* Not from slabs: the next size class is a page or more. */
static bool is_large(size_t size)
{
	return size > KHO_ABI_SLAB_OBJECT_MAX || kho_heap_class(size)->object_size >= PAGE_SIZE;
}

static void *alloc_large(size_t size, gfp_t gfp)
{
	/* kfree() does not believe in a single page. */
	void *object = __kmalloc_large_noprof(max(size, 2 * PAGE_SIZE), gfp | __GFP_ZERO);

	if (object && kho_kmalloc_preserve(object)) {
		kfree(object);
		return NULL;
	}
	return object;
}

/**
 * kho_kmalloc() - get memory of zeroes that is handed over
 * @size: bytes
 * @gfp: GFP_KERNEL; what may not sleep gets less than a page only, and of a slab that is there
 *
 * Context: As @gfp says.
 * Return: The memory, or NULL: no bytes were asked for, or there are none.
 */
void *kho_kmalloc(size_t size, gfp_t gfp)
{
	if (!size || !kho_slabs.blob)
		return NULL;
	if (!is_large(size))
		return kho_cache_alloc(kho_heap_class(size), gfp);
	return gfpflags_allow_blocking(gfp) ? alloc_large(size, gfp) : NULL;
}
EXPORT_SYMBOL_GPL(kho_kmalloc);

/**
 * kho_kfree() - give memory back
 * @object: of kho_kmalloc() or kho_kmalloc_restore(); may be NULL
 *
 * Context: Any but an NMI.
 */
void kho_kfree(void *object)
{
	struct kho_slab *slab;
	struct page *page;

	if (!object)
		return;
	slab = kho_slab_of(virt_to_phys(object));
	if (slab) {
		free_object(slab, object);
		return;
	}
	page = virt_to_page(object);
	if (WARN_ON_ONCE(!folio_test_large_kmalloc(page_folio(page))))
		return;
	kho_unmark(page_to_phys(page), compound_order(page), KHO_ABI_TYPE_FOLIO);
	kfree(object);
}
EXPORT_SYMBOL_GPL(kho_kfree);

/* A folio becomes what kmalloc() gives for so many bytes. */
static void *restore_large(phys_addr_t phys, size_t size)
{
	int order = kho_claimable_order(phys, KHO_ABI_TYPE_FOLIO);
	struct folio *folio;
	struct page *page;

	if (order >= 0 && (!order || PAGE_SIZE << order < size)) {
		pr_warn_ratelimited("%zu bytes at %pa: preserved as a folio of order %d\n", size,
				    &phys, order);
		return NULL;
	}
	folio = kho_restore_folio(phys);
	if (!folio)
		return NULL;
	page = folio_page(folio, 0);
	/* kmalloc()'s pages are not counted by references. */
	set_page_count(page, 0);
	mod_lruvec_page_state(page, NR_SLAB_UNRECLAIMABLE_B, folio_size(folio));
	__folio_set_large_kmalloc(folio);
	kmemleak_alloc(page_address(page), folio_size(folio), 1, GFP_KERNEL);
	return page_address(page);
}

/**
 * kho_kmalloc_restore() - take over memory of the previous kernel's
 * @phys: its address
 * @size: how many bytes it was asked for
 *
 * kho_kfree() frees it. What was asked for with a size for which kho_kmalloc() gives whole pages,
 * kfree() frees as well, as long as kho_kmalloc_preserve() was not called for it.
 *
 * Context: Any but an NMI.
 * Return: The memory, with its contents, or NULL: none of this size begins there, or it was
 * restored.
 */
void *kho_kmalloc_restore(phys_addr_t phys, size_t size)
{
	if (!size || !kho_slabs.blob)
		return NULL;
	if (is_large(size))
		return restore_large(phys, size);
	return kho_slab_take(kho_heap_class(size), kho_slab_of(phys), phys);
}
EXPORT_SYMBOL_GPL(kho_kmalloc_restore);

/**
 * kho_kmalloc_preserve() - hand over memory that was restored, to yet another kernel
 * @object: of kho_kmalloc_restore(). From here on kho_kfree() frees it, and not kfree()
 *
 * What is smaller than a page is handed over in any case.
 *
 * Context: May sleep.
 * Return: As kho_preserve_folio(); -EINVAL: it is not of kho_kmalloc().
 */
int kho_kmalloc_preserve(void *object)
{
	struct page *page = virt_to_page(object);
	int err;

	if (kho_slab_of(virt_to_phys(object)))
		return 0;
	if (!folio_test_large_kmalloc(page_folio(page)))
		return -EINVAL;
	err = kho_mark(page_to_phys(page), compound_order(page), KHO_ABI_TYPE_FOLIO, NULL);
	return kho_errno(err);
}
EXPORT_SYMBOL_GPL(kho_kmalloc_preserve);

/* ---- start --------------------------------------------------------------- */

static int __init new_blob(void)
{
	struct kho_abi_slabs *blob = kho_alloc_preserve(PAGE_SIZE);
	int err;

	if (IS_ERR(blob))
		return PTR_ERR(blob);
	blob->magic = KHO_ABI_SLABS_MAGIC;
	blob->version = KHO_ABI_SLAB_VERSION;
	err = kho_array_init(&kho_slabs.slab_array, &blob->slabs);
	if (!err)
		err = kho_array_init(&kho_slabs.cache_array, &blob->caches);
	if (!err)
		err = kho_add_subtree(KHO_ABI_SLABS_NODE, blob, sizeof(*blob));
	if (err)
		return err;
	kho_slabs.blob = blob;
	return 0;
}

/* The blob of the previous kernel, as ours; NULL: there is none. */
static struct kho_abi_slabs *__init incoming_blob(void)
{
	struct folio *folio;
	phys_addr_t phys;
	size_t size;

	if (kho_retrieve_subtree(KHO_ABI_SLABS_NODE, &phys, &size))
		return NULL;
	folio = PAGE_ALIGNED(phys) && size >= sizeof(struct kho_abi_slabs) ? kho_restore_folio(phys)
									   : NULL;
	if (!folio || kho_preserve_folio(folio)) {
		pr_warn("%s: not where it can be\n", KHO_ABI_SLABS_NODE);
		return NULL;
	}
	return folio_address(folio);
}

int __init kho_slab_init(void)
{
	struct kho_abi_slabs *blob;

	for (unsigned int i = 0; i < KHO_HEAP_CLASSES; i++)
		kho_cache_setup(&kho_slabs.heap[i], NULL, class_size(i));
	blob = incoming_blob();
	if (!blob)
		return new_blob();
	if (kho_slab_take_over(blob)) {
		kho_unpreserve_free(blob);
		return new_blob();
	}
	kho_slabs.blob = blob;
	return kho_add_subtree(KHO_ABI_SLABS_NODE, blob, sizeof(*blob));
}
