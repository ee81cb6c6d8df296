/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Large objects: a run of pages each, with a header before the object. One is live while
 * its run is preserved; there is no other record of it.
 */
#include <errno.h>
#include <string.h>

#include "heap.h"
#include "page.h"
#include "preserve.h"

#define HEADER_SIZE sizeof(struct kho_abi_large)

static __u32 header_crc(const struct kho_abi_large *large)
{
	kho_pa_t pa = kho_virt_to_phys(large);
	__u32 crc = khoc_crc32c(0, large, offsetof(struct kho_abi_large, crc));

	return khoc_crc32c(crc, &pa, sizeof(pa));
}

static void write_header(void *at, kho_pa_t run_pa, __u64 nr_pages, __u64 size)
{
	struct kho_abi_large *large = at;

	memset(large, 0, sizeof(*large));
	large->magic = KHO_ABI_LARGE_MAGIC;
	large->version = KHO_ABI_SLAB_VERSION;
	large->run_pa = run_pa;
	large->nr_pages = nr_pages;
	large->size = size;
	large->crc = header_crc(large);
}

void *kho_large_alloc_(size_t size, size_t align)
{
	size_t off = align > HEADER_SIZE ? align : HEADER_SIZE;
	unsigned int align_order = 0;
	__u64 nr, bytes;
	kho_pa_t pa;
	char *run;

	if (size > kho_arena_.size || off > kho_arena_.size) {
		errno = ENOMEM;
		return NULL;
	}
	while (KHO_PAGE_SIZE << align_order < align)
		align_order++;
	nr = (off + size + KHO_PAGE_SIZE - 1) >> KHO_PAGE_SHIFT;
	pa = kho_pages_alloc_(nr, align_order);
	if (!pa) {
		errno = ENOMEM;
		return NULL;
	}
	kho_pages_set_kind_(pa, nr, PAGE_KIND_LARGE);
	run = kho_phys_to_virt(pa);
	bytes = (nr << KHO_PAGE_SHIFT) - off;
	write_header(run, pa, nr, bytes);
	if (off != HEADER_SIZE)
		write_header(run + off - HEADER_SIZE, pa, nr, bytes);
	return run + off;
}

const struct kho_abi_large *kho_large_of_(const void *ptr)
{
	kho_pa_t pa = kho_virt_to_phys(ptr);
	const struct kho_abi_large *large = (const void *)((uintptr_t)ptr - HEADER_SIZE);
	struct khoc_report report = {.structure = KHOC_S_LARGE, .level = -1};

	report.addr = pa - HEADER_SIZE;
	report.field = "run_pa";
	report.value = pa;
	report.limit = kho_file_size_();
	if (pa & (HEAP_ALIGN - 1) || pa < kho_arena_.header->data_pa + HEADER_SIZE ||
	    pa >= kho_file_size_())
		report.fault = KHO_E_RANGE;
	else if (large->magic != KHO_ABI_LARGE_MAGIC)
		report.fault = KHO_E_MAGIC;
	else if (large->version != KHO_ABI_SLAB_VERSION)
		report.fault = KHO_E_VERSION;
	else if (large->crc != header_crc(large))
		report.fault = KHO_E_CHECKSUM;
	else if (large->run_pa & (KHO_PAGE_SIZE - 1) ||
		 large->run_pa < kho_arena_.header->data_pa || large->run_pa >= pa ||
		 !large->nr_pages ||
		 large->nr_pages > (kho_file_size_() - large->run_pa) >> KHO_PAGE_SHIFT ||
		 large->size > (large->nr_pages << KHO_PAGE_SHIFT) ||
		 pa + large->size != large->run_pa + (large->nr_pages << KHO_PAGE_SHIFT))
		report.fault = KHO_E_RANGE;
	else
		return large;
	kho_fail_report_(&report);
	return NULL;
}

const struct kho_abi_large *kho_large_find_(const void *ptr)
{
	const struct kho_abi_large *large = kho_large_of_(ptr);

	if (!large || kho_pages_kind_(large->run_pa) == PAGE_KIND_LARGE)
		return large;
	if (!kho_large_is_live_(large)) {
		kho_fail_(-EINVAL, "%p: a large object that was freed", ptr);
		return NULL;
	}
	/* It came in: pages of it that the tree has lost count as free already. */
	if (kho_run_check_(large->run_pa, large->nr_pages, KHO_ABI_DESC_LARGE,
			   KHO_ABI_DESC_LARGE_PART))
		return NULL;
	return large;
}

bool kho_large_is_live_(const struct kho_abi_large *large)
{
	unsigned int order = khoc_radix_split(KHO_PAGE_SHIFT, large->run_pa, large->nr_pages);

	return khoc_radix_test(&kho_arena_.tree, large->run_pa, order);
}

int kho_large_preserve_(const struct kho_abi_large *large)
{
	return kho_run_preserve_(large->run_pa, large->nr_pages, KHO_ABI_DESC_LARGE,
				 KHO_ABI_DESC_LARGE_PART);
}

void kho_large_unpreserve_(const struct kho_abi_large *large)
{
	if (kho_pages_kind_(large->run_pa) != PAGE_KIND_LARGE)
		kho_pages_set_kind_(large->run_pa, large->nr_pages, PAGE_KIND_LARGE);
	kho_run_unpreserve_(large->run_pa, large->nr_pages);
}

void kho_large_drop_(const struct kho_abi_large *large)
{
	kho_run_drop_(large->run_pa, large->nr_pages);
}

void kho_large_free_(const struct kho_abi_large *large)
{
	kho_pages_free_(large->run_pa, large->nr_pages);
}
