// SPDX-License-Identifier: GPL-2.0-only
/*
 * Kexec handover on libkho's core: what it is to preserve memory, and how it starts.
 *
 *	kho_image.c	where the core's pages come from, and how it gets at memory
 *	kho_scratch.c	the areas that nothing is handed over in; where the next kernel goes
 *	kho_boot.c	what the previous kernel handed over: checked, reserved
 *	kho_verify.c	the check
 *	kho_page.c	restoring
 *	kho_preserve.c	preserving without sleeping and in bulk; what is preserved
 *	kho_memfd.c	memory files with holes
 *	kho_slab.c	slab caches; kho_slab_restore.c, those that were handed to us
 *	kho_types.c	as what things were preserved
 *	kho_root.c	names
 *	kho_radix.c kho_vmalloc.c kho_block.c kho_array.c kho_compat.c	formats, one each
 *	kho/		libkho's core
 *
 * Preserving takes no lock: a mark is one bit that is set atomically, and each state of the tree in
 * between is one that the next kernel can read. Nothing is left to be done before the jump.
 */
#define pr_fmt(fmt) "KHO: " fmt

#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/io.h>
#include <linux/kexec_handover.h>
#include <linux/kho/abi/kexec_metadata.h>
#include <linux/kstrtox.h>
#include <linux/mm.h>
#include <linux/printk.h>
#include <linux/utsname.h>

#include <kho/core/metadata.h>

#include "kexec_handover_internal.h"

static_assert(sizeof(struct kho_kexec_metadata) == sizeof(struct kho_abi_metadata));
static_assert(offsetof(struct kho_kexec_metadata, previous_release) ==
	      offsetof(struct kho_abi_metadata, previous_release));
static_assert(offsetof(struct kho_kexec_metadata, kexec_count) ==
	      offsetof(struct kho_abi_metadata, kexec_count));
static_assert(KHO_KEXEC_METADATA_VERSION == KHO_ABI_METADATA_VERSION);

static bool kho_enable __ro_after_init = IS_ENABLED(CONFIG_KEXEC_HANDOVER_ENABLE_DEFAULT);

enum kho_state kho_state __ro_after_init;

/**
 * kho_is_enabled() - can we hand over?
 *
 * Context: Any.
 */
bool kho_is_enabled(void)
{
	return kho_enable;
}
EXPORT_SYMBOL_GPL(kho_is_enabled);

static int __init kho_parse_enable(char *text)
{
	return kstrtobool(text, &kho_enable);
}
early_param("kho", kho_parse_enable);

/* We cannot hand over, after all. */
void __init kho_disable(void)
{
	kho_enable = false;
}

/**
 * is_kho_boot() - was something handed over to us that was not refused?
 *
 * Context: Any, from kho_populate() on.
 */
bool is_kho_boot(void)
{
	return kho_state == KHO_OFFERED || kho_state == KHO_REVIVED;
}
EXPORT_SYMBOL_GPL(is_kho_boot);

const char *kho_state_text(void)
{
	static const char *const text[] = {
		[KHO_COLD] = "cold",
		[KHO_OFFERED] = "offered",
		[KHO_REVIVED] = "revived",
		[KHO_REFUSED_EARLY] = "refused early",
		[KHO_REFUSED_LATE] = "refused late",
	};

	return text[kho_state];
}

/* The core's faults as errnos that everybody knows. */
int kho_errno(int err)
{
	return err <= -KHO_E_TRUNCATED ? -EINVAL : err;
}

/* ---- preserving ---------------------------------------------------------- */

/**
 * kho_preserve_folio() - hand over a folio
 * @folio: must be neither split nor moved nor freed while it is preserved; no reference is taken
 *
 * Context: May sleep, for memory. Takes no lock.
 * Return: 0; -ENOMEM; -EINVAL: it lies in scratch; -EOPNOTSUPP: there is no KHO.
 */
int kho_preserve_folio(struct folio *folio)
{
	int err =
		kho_mark(PFN_PHYS(folio_pfn(folio)), folio_order(folio), KHO_ABI_TYPE_FOLIO, NULL);

	return kho_errno(err);
}
EXPORT_SYMBOL_GPL(kho_preserve_folio);

/**
 * kho_unpreserve_folio() - take back kho_preserve_folio()
 * @folio: the folio, of the same order
 *
 * Context: Any. Takes no lock.
 */
void kho_unpreserve_folio(struct folio *folio)
{
	kho_unmark(PFN_PHYS(folio_pfn(folio)), folio_order(folio), KHO_ABI_TYPE_FOLIO);
}
EXPORT_SYMBOL_GPL(kho_unpreserve_folio);

/*
 * The next block of a range of pages: as large as alignment and length allow, and all in one node.
 * Linux 7.2 stores ranges so and finds them again so; another split would be another format.
 */
static unsigned int block_order_at(unsigned long pfn, unsigned long end)
{
	unsigned int order = khoc_radix_split(PAGE_SHIFT, PFN_PHYS(pfn), end - pfn);

	while (order && pfn_to_nid(pfn) != pfn_to_nid(pfn + (1UL << order) - 1))
		order--;
	return order;
}

/* The blocks of a range that ends at @end, up to @stop. */
static void unpreserve_range(unsigned long pfn, unsigned long stop, unsigned long end)
{
	unsigned int order;

	for (; pfn < stop; pfn += 1UL << order) {
		order = block_order_at(pfn, end);
		kho_unmark(PFN_PHYS(pfn), order, KHO_ABI_TYPE_PAGES);
	}
}

/**
 * kho_preserve_pages() - hand over pages that belong to no folio
 * @page: the first
 * @nr_pages: how many
 *
 * Context: May sleep, for memory. Takes no lock.
 * Return: As kho_preserve_folio(). On an error nothing of the range is preserved.
 */
int kho_preserve_pages(struct page *page, unsigned long nr_pages)
{
	unsigned long start = page_to_pfn(page), end = start + nr_pages, pfn;
	unsigned int order;
	int err;

	for (pfn = start; pfn < end; pfn += 1UL << order) {
		order = block_order_at(pfn, end);
		err = kho_mark(PFN_PHYS(pfn), order, KHO_ABI_TYPE_PAGES, NULL);
		if (err) {
			unpreserve_range(start, pfn, end);
			return kho_errno(err);
		}
	}
	return 0;
}
EXPORT_SYMBOL_GPL(kho_preserve_pages);

/**
 * kho_unpreserve_pages() - take back kho_preserve_pages()
 * @page: the first
 * @nr_pages: how many; both as that was called with
 *
 * Context: Any. Takes no lock.
 */
void kho_unpreserve_pages(struct page *page, unsigned long nr_pages)
{
	unsigned long pfn = page_to_pfn(page);

	unpreserve_range(pfn, pfn + nr_pages, pfn + nr_pages);
}
EXPORT_SYMBOL_GPL(kho_unpreserve_pages);

/**
 * kho_alloc_preserve() - zeroed memory that is handed over
 * @size: bytes; a power of two of pages is what is allocated
 *
 * Context: May sleep.
 * Return: The memory, or an ERR_PTR(): -EINVAL for no bytes, -E2BIG for more than the page
 * allocator gives, or as kho_preserve_folio().
 */
void *kho_alloc_preserve(size_t size)
{
	struct folio *folio;
	int order, err;

	if (!size)
		return ERR_PTR(-EINVAL);
	order = get_order(size);
	if (order > MAX_PAGE_ORDER)
		return ERR_PTR(-E2BIG);
	folio = folio_alloc(GFP_KERNEL | __GFP_ZERO, order);
	if (!folio)
		return ERR_PTR(-ENOMEM);
	err = kho_preserve_folio(folio);
	if (err) {
		folio_put(folio);
		return ERR_PTR(err);
	}
	return folio_address(folio);
}
EXPORT_SYMBOL_GPL(kho_alloc_preserve);

/**
 * kho_unpreserve_free() - free what kho_alloc_preserve() gave in this kernel
 * @mem: the memory; may be NULL
 *
 * Context: Any.
 */
void kho_unpreserve_free(void *mem)
{
	struct folio *folio;

	if (!mem)
		return;
	folio = virt_to_folio(mem);
	kho_unpreserve_folio(folio);
	folio_put(folio);
}
EXPORT_SYMBOL_GPL(kho_unpreserve_free);

/* ---- start --------------------------------------------------------------- */

/* How many kernels were jumped into before this one, and from which we come. */
static u32 __init incoming_count(void)
{
	struct khoc_metadata metadata;
	struct khoc_report report;
	phys_addr_t phys;
	size_t size;

	if (kho_retrieve_subtree(KHO_METADATA_NODE_NAME, &phys, &size))
		return 0;
	if (khoc_metadata_read(&metadata, &kho_mem_in, phys, size, &report)) {
		pr_warn("%s: %s\n", KHO_METADATA_NODE_NAME, khoc_fault_text(report.fault));
		return 0;
	}
	pr_info("exec from: %s (count %u)\n", metadata.release, metadata.count);
	return metadata.count;
}

static int __init metadata_init(void)
{
	struct kho_kexec_metadata *metadata = kho_alloc_preserve(sizeof(*metadata));
	int err;

	if (IS_ERR(metadata))
		return PTR_ERR(metadata);
	metadata->version = KHO_KEXEC_METADATA_VERSION;
	strscpy(metadata->previous_release, init_utsname()->release,
		sizeof(metadata->previous_release));
	metadata->kexec_count = incoming_count() + 1;
	err = kho_add_subtree(KHO_METADATA_NODE_NAME, metadata, sizeof(*metadata));
	if (err)
		kho_unpreserve_free(metadata);
	return err;
}

/* Everything that we hand over begins here; scratch was set aside when memory was counted. */
static int __init kho_init(void)
{
	int err;

	if (!kho_enable)
		return 0;
	err = kho_image_init();
	if (!err)
		err = kho_root_init();
	if (!err && kho_debugfs_init())
		pr_warn("no debugfs\n");
	if (!err)
		err = kho_types_init();
	if (!err)
		err = metadata_init();
	if (!err)
		err = kho_slab_init();
	if (!err)
		err = kho_compat_init();
	if (err) {
		pr_err("nothing can be handed over: %pe\n", ERR_PTR(err));
		kho_enable = false;
	}
	kho_scratch_release();
	return err;
}
fs_initcall(kho_init);
