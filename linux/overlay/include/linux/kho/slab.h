/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Objects that are handed over, each by itself: from caches of our own, whose slabs are preserved
 * with every object in them. What is restored is the allocator and not bytes alone: an object that
 * the next kernel restores is freed there as one of its own.
 *
 * Memory is zeroed when it is handed out. A free place of a slab is zeroes: nothing but objects in
 * use gets to the next kernel.
 *
 * An object of a page or more is memory of kmalloc()'s, of two pages at least: when it was
 * restored, kfree() frees it, and it is handed over again if kho_kmalloc_preserve() is called for
 * it. Smaller objects stay preserved, restored or not, until kho_kfree() or kho_cache_free().
 */
#ifndef _LINUX_KHO_SLAB_H
#define _LINUX_KHO_SLAB_H

#include <linux/errno.h>
#include <linux/gfp_types.h>
#include <linux/types.h>
#include <linux/kho/abi/slab.h>

struct kho_cache;

#ifdef CONFIG_KEXEC_HANDOVER

void *kho_kmalloc(size_t size, gfp_t gfp);
void kho_kfree(void *object);
void *kho_kmalloc_restore(phys_addr_t phys, size_t size);
int kho_kmalloc_preserve(void *object);

struct kho_cache *kho_cache_create(const char *name, unsigned int size, unsigned int align);
int kho_cache_destroy(struct kho_cache *cache);
void *kho_cache_alloc(struct kho_cache *cache, gfp_t gfp);
void kho_cache_free(struct kho_cache *cache, void *object);
void *kho_cache_restore(struct kho_cache *cache, phys_addr_t phys);
int kho_cache_walk(struct kho_cache *cache, int (*fn)(void *object, bool ours, void *ctx),
		   void *ctx);

#else

static inline void *kho_kmalloc(size_t size, gfp_t gfp)
{
	return NULL;
}

static inline void kho_kfree(void *object)
{
}

static inline void *kho_kmalloc_restore(phys_addr_t phys, size_t size)
{
	return NULL;
}

static inline int kho_kmalloc_preserve(void *object)
{
	return -EOPNOTSUPP;
}

static inline struct kho_cache *kho_cache_create(const char *name, unsigned int size,
						 unsigned int align)
{
	return NULL;
}

static inline int kho_cache_destroy(struct kho_cache *cache)
{
	return -EOPNOTSUPP;
}

static inline void *kho_cache_alloc(struct kho_cache *cache, gfp_t gfp)
{
	return NULL;
}

static inline void kho_cache_free(struct kho_cache *cache, void *object)
{
}

static inline void *kho_cache_restore(struct kho_cache *cache, phys_addr_t phys)
{
	return NULL;
}

static inline int kho_cache_walk(struct kho_cache *cache,
				 int (*fn)(void *object, bool ours, void *ctx), void *ctx)
{
	return -EOPNOTSUPP;
}

#endif /* CONFIG_KEXEC_HANDOVER */

#endif /* _LINUX_KHO_SLAB_H */
