// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel's memory as the core of KHO sees it: how it gets at an address, and where its pages
 * come from.
 */
#define pr_fmt(fmt) "KHO: " fmt

#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/mm.h>

#include "kexec_handover_internal.h"

struct khoc_mem kho_mem_out;
struct khoc_radix kho_tree;

/*
 * A page that the next kernel reads before it knows what is free. It must not be one of slab's,
 * which may be kfence's and lie in scratch, nor a movable one, which may as well. The zeroes are
 * what the formats want for "nothing".
 */
static kho_pa_t kho_page_get(void *ctx)
{
	void *page = (void *)get_zeroed_page(GFP_KERNEL);

	if (!page)
		return 0;
	if (WARN_ON_ONCE(kho_scratch_overlap(virt_to_phys(page), PAGE_SIZE))) {
		free_page((unsigned long)page);
		return 0;
	}
	return virt_to_phys(page);
}

static void kho_page_put(void *ctx, kho_pa_t pa)
{
	free_page((unsigned long)phys_to_virt(pa));
}

static void *kho_out_map(void *ctx, kho_pa_t pa, size_t len)
{
	return phys_to_virt(pa);
}

/* The tree is complete before the store, and after it there is nobody who looks for @stale. */
static int kho_out_publish(void *ctx, u64 *slot, u64 value, kho_pa_t fresh, kho_pa_t stale)
{
	if (fresh && kho_mark(fresh, 0, KHO_ABI_TYPE_STRUCT, NULL))
		return -ENOMEM;
	/* After what @fresh holds, for who reads the chain at any time. */
	smp_store_release(slot, value);
	if (stale) {
		kho_unmark(stale, 0, KHO_ABI_TYPE_STRUCT);
		kho_page_put(ctx, stale);
	}
	return 0;
}

static const struct khoc_mem_ops kho_out_ops = {
	.map = kho_out_map,
	.alloc_node = kho_page_get,
	.free_node = kho_page_put,
	.alloc_page = kho_page_get,
	.free_page = kho_page_put,
	.publish_page = kho_out_publish,
};

/* What the previous kernel wrote can be read as long as nobody has restored it. */
static void *kho_in_map(void *ctx, kho_pa_t pa, size_t len)
{
	return kho_is_stamped(pa, len) ? phys_to_virt(pa) : NULL;
}

static kho_pa_t kho_in_alloc(void *ctx)
{
	return 0;
}

static void kho_in_free(void *ctx, kho_pa_t pa)
{
	struct page *page = kho_claim(pa, 1, KHO_ABI_TYPE_STRUCT);

	if (page)
		__free_page(page);
}

static int kho_in_publish(void *ctx, u64 *slot, u64 value, kho_pa_t fresh, kho_pa_t stale)
{
	WRITE_ONCE(*slot, value);
	if (stale)
		kho_in_free(ctx, stale);
	return 0;
}

static const struct khoc_mem_ops kho_in_ops = {
	.map = kho_in_map,
	.alloc_page = kho_in_alloc,
	.free_page = kho_in_free,
	.publish_page = kho_in_publish,
};

struct khoc_mem kho_mem_in = {
	.ops = &kho_in_ops,
};

/* Make the outgoing tree. Everything that memory hotplug can add is in the image. */
int __init kho_image_init(void)
{
	void *page = (void *)__get_free_page(GFP_KERNEL);

	if (!page)
		return -ENOMEM;
	kho_mem_out = (struct khoc_mem){
		.ops = &kho_out_ops,
		.linear = page - virt_to_phys(page),
		.size = 1ULL << MAX_PHYSMEM_BITS,
		.node_hi = 1ULL << MAX_PHYSMEM_BITS,
	};
	free_page((unsigned long)page);
	return khoc_radix_init(&kho_tree, &kho_mem_out, PAGE_SHIFT);
}
