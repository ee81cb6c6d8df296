/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Slab caches: named pools of objects of one size that outlive the program, with the names of
 * Linux's kmem_cache. For threads and errors see <kho/host.h>.
 *
 *	conns = kho_kmem_cache_create("conn", sizeof(struct conn), 0, 0, NULL);
 *	conn = kho_kmem_cache_alloc(conns);
 *	...
 *	kho_publish(&table->conn[i], conn, NULL);	// live from here on
 *	...
 *	kho_publish(&table->conn[i], NULL, conn);	// freed
 *
 * A cache is found by its name in every later program, with all its objects. There are two kinds:
 *
 *	whole		kho_publish() makes an object live, and frees it, as it does with objects of
 *			kho_malloc(). All live objects of the cache are preserved.
 *	single objects	(KHO_CACHE_SINGLE) an object is preserved by kho_slab_preserve(), found again
 *			by its address with kho_slab_restore(), and takes nothing else along:
 *			what is preserved of its slab besides such objects is zeroes.
 *
 * In both an object that is not live, or not preserved, is gone with the program, without a leak.
 */
#ifndef KHO_SLAB_H
#define KHO_SLAB_H

#include <stdbool.h>
#include <stddef.h>

#include <kho/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

struct kmem_cache;

/*
 * Objects are preserved one by one. Free ones are zeroes, at any instant. What a program leaves in
 * an object that it has not preserved is cleared before the next one is handed anything of the slab.
 */
#define KHO_CACHE_SINGLE 1u

/**
 * kho_kmem_cache_create() - the cache of a name, made if it is not there
 * @name: 1 to 57 letters, digits and "._+-"
 * @size: bytes of an object, 1 to 32768
 * @align: power of two up to 4096, or 0: none beyond 16
 * @flags: KHO_CACHE_*
 * @ctor: called with each object as it is handed out, or NULL. Linux calls it when a slab is
 *	made and relies on what is freed being as the constructor left it; a program that crashed
 *	leaves nothing to rely on.
 *
 * Asked again for a name it gives the same cache; then the last @ctor counts. After
 * KHO_THAW_ROLLED_BACK ask again before using it. At most 216 at a time in a program.
 *
 * Return: the cache; NULL with errno: EPROTOTYPE (there with another size, alignment or flags),
 * EINVAL, ENOSPC (too many caches, or roots), ENOMEM, EPERM (a successor before the grant),
 * EPROTO (its record is damaged: kho_error()).
 */
struct kmem_cache *kho_kmem_cache_create(const char *name, size_t size, size_t align,
					 unsigned int flags, void (*ctor)(void *object));

/**
 * kho_kmem_cache_destroy() - give back its memory and its name
 *
 * No other thread may use the cache meanwhile.
 *
 * Return: 0; -EBUSY: objects are reserved, live or preserved; -EINVAL: not a cache; -EPERM.
 */
int kho_kmem_cache_destroy(struct kmem_cache *cache);

/* A reserved object; zeroes, but for the constructor's work, if KHO_CACHE_SINGLE. NULL with errno: ENOMEM, EPERM, EINVAL. */
void *kho_kmem_cache_alloc(struct kmem_cache *cache);

/**
 * kho_kmem_cache_free() - as kho_free(), for an object of this very cache
 * Return: 0; -EINVAL: not an object of @cache, or one that is not in use; -KHO_E_FORMAT; -EPERM.
 */
int kho_kmem_cache_free(struct kmem_cache *cache, void *object);

/* Bytes of an object, as asked for. */
size_t kho_kmem_cache_size(const struct kmem_cache *cache);
const char *kho_kmem_cache_name(const struct kmem_cache *cache);

/* The cache that an object is of; NULL: of none, or of one that was not asked for in this program and cannot be. */
struct kmem_cache *kho_kmem_cache_of(const void *object);

/**
 * kho_kmem_cache_for_each() - all live, or preserved, objects of a cache
 * @fn: another result than 0 stops; @restored: not of a KHO_CACHE_SINGLE cache, or restored, or
 *	preserved, in this program. It may free the object that it is called with.
 *
 * No other thread may free objects of the cache meanwhile. O(what is preserved).
 *
 * Return: 0; what @fn returned; -EINVAL; -EPERM; a fault: a slab that cannot be read.
 */
int kho_kmem_cache_for_each(struct kmem_cache *cache,
			    int (*fn)(void *ctx, void *object, bool restored), void *ctx);

/**
 * kho_slab_preserve() - preserve one object, without anything else of its slab
 *
 * Objects of KHO_CACHE_SINGLE caches only: other slabs have data of others in them.
 *
 * Return: 0; -KHO_E_TYPE: not such an object; -EALREADY; -EINVAL: not in use, or not the start of
 * an object; -KHO_E_FORMAT: in a slab that is damaged, kho_error(); -EPERM.
 */
int kho_slab_preserve(void *object);

/* Take it back: reserved again. Return: 0; -KHO_E_NOT_PRESERVED; otherwise as kho_slab_preserve(). */
int kho_slab_unpreserve(void *object);

/**
 * kho_slab_restore() - the object that was preserved at an address
 * @phys: what kho_virt_to_phys() said of it
 *
 * One-shot for each generation. From then on it is an object of its cache like any other: it
 * stays preserved until kho_slab_unpreserve() or kho_free().
 *
 * Return: the object; NULL with errno EINVAL and kho_error(): never preserved, restored before, not
 * an object of a KHO_CACHE_SINGLE cache; its slab, or its cache's record, is damaged.
 */
void *kho_slab_restore(kho_pa_t phys);

/* The same for an object that must be of @cache. */
void *kho_kmem_cache_restore(struct kmem_cache *cache, kho_pa_t phys);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
