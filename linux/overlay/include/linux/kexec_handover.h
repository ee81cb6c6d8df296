/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Kexec handover (KHO): memory that the next kernel finds as this one left it.
 *
 * Marking is done once and holds from then on: there is no step before the jump at which a
 * subsystem would have to write anything down. A mark is of one kind, and is taken back or restored
 * by the call of the same kind.
 */
#ifndef LINUX_KEXEC_HANDOVER_H
#define LINUX_KEXEC_HANDOVER_H

#include <linux/err.h>
#include <linux/errno.h>
#include <linux/types.h>
#include <linux/kho/vmalloc.h>

/*
 * An area in which nothing that is handed over ever lies: the next kernel starts in it. The table
 * of these is read by the next kernel.
 */
struct kho_scratch {
	phys_addr_t addr;
	phys_addr_t size;
};

struct folio;
struct page;

#ifdef CONFIG_KEXEC_HANDOVER

bool kho_is_enabled(void);
bool is_kho_boot(void);

int kho_preserve_folio(struct folio *folio);
void kho_unpreserve_folio(struct folio *folio);
struct folio *kho_restore_folio(phys_addr_t phys);

int kho_preserve_pages(struct page *page, unsigned long nr_pages);
void kho_unpreserve_pages(struct page *page, unsigned long nr_pages);
struct page *kho_restore_pages(phys_addr_t phys, unsigned long nr_pages);

void *kho_alloc_preserve(size_t size);
void kho_unpreserve_free(void *mem);
void kho_restore_free(void *mem);

int kho_add_subtree(const char *name, void *blob, size_t size);
void kho_remove_subtree(void *blob);
int kho_retrieve_subtree(const char *name, phys_addr_t *phys, size_t *size);

void kho_memory_init(void);
void kho_populate(phys_addr_t fdt_phys, u64 fdt_len, phys_addr_t scratch_phys, u64 scratch_len);

/* In mm/memblock.c. */
int memblock_reserve_sorted(unsigned long nr, void *ctx,
			    void (*next)(void *ctx, phys_addr_t *base, phys_addr_t *size));

#else

static inline bool kho_is_enabled(void)
{
	return false;
}

static inline bool is_kho_boot(void)
{
	return false;
}

static inline int kho_preserve_folio(struct folio *folio)
{
	return -EOPNOTSUPP;
}

static inline void kho_unpreserve_folio(struct folio *folio)
{
}

static inline struct folio *kho_restore_folio(phys_addr_t phys)
{
	return NULL;
}

static inline int kho_preserve_pages(struct page *page, unsigned long nr_pages)
{
	return -EOPNOTSUPP;
}

static inline void kho_unpreserve_pages(struct page *page, unsigned long nr_pages)
{
}

static inline struct page *kho_restore_pages(phys_addr_t phys, unsigned long nr_pages)
{
	return NULL;
}

static inline void *kho_alloc_preserve(size_t size)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static inline void kho_unpreserve_free(void *mem)
{
}

static inline void kho_restore_free(void *mem)
{
}

static inline int kho_add_subtree(const char *name, void *blob, size_t size)
{
	return -EOPNOTSUPP;
}

static inline void kho_remove_subtree(void *blob)
{
}

static inline int kho_retrieve_subtree(const char *name, phys_addr_t *phys, size_t *size)
{
	return -EOPNOTSUPP;
}

static inline void kho_memory_init(void)
{
}

static inline void kho_populate(phys_addr_t fdt_phys, u64 fdt_len, phys_addr_t scratch_phys,
				u64 scratch_len)
{
}

#endif /* CONFIG_KEXEC_HANDOVER */

#endif /* LINUX_KEXEC_HANDOVER_H */
