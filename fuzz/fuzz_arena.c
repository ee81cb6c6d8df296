/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A whole arena with bytes changed: attached, gone through, and everything in it freed.
 *
 * An input is a list of patches of 8 bytes: 3 bytes of address in the image, a length
 * from 1 to 4 less 1, and 4 bytes to be written there.
 *
 * Facts: it is refused with a fault, or all that it counts as preserved can be restored and
 * freed, after which the arena is sound and nothing is in use but slabs.
 */
#include <kho/slab.h>
#include <string.h>

#include "arena_ops.h"
#include "heap.h"
#include "page.h"
#include "template.h"

#define BLOCKS_MAX 1024

static struct template things;
static struct arena_image image = {.fd = -1};

static void make_image(void)
{
	arena_begin(TEMPLATE_MAX);
	FACT(!template_fill(&things));
	arena_image_take(&image);
}

static void patch(const uint8_t *data, size_t size)
{
	memcpy(image.work, image.bytes, image.size);
	for (; size >= 8; data += 8, size -= 8) {
		__u64 at = (data[0] | data[1] << 8 | data[2] << 16) % image.size;
		size_t len = (data[3] & 3) + 1;

		memcpy(image.work + at, data + 4, at + len <= image.size ? len : 1);
	}
}

static void free_slab(kho_pa_t pa)
{
	const struct kho_abi_slab header = *(struct kho_abi_slab *)kho_phys_to_virt(pa);
	const unsigned char *state = (unsigned char *)kho_phys_to_virt(pa) + sizeof(header);
	kho_pa_t object = pa + header.objects_off;

	for (__u32 i = 0; i < header.nr_objects; i++, object += header.object_size) {
		if (state[i] != KHO_ABI_OBJECT_LIVE)
			continue;
		FACT(!(header.flags & KHO_ABI_SLAB_SINGLE) || kho_slab_restore(object));
		kho_free(kho_phys_to_virt(object));
	}
}

/* Give back one preserved block, whatever it is. False if it cannot be used as what it says. */
static bool free_block(const struct khoc_block *block)
{
	const struct kho_abi_large *large;
	unsigned int type, order;

	FACT(!kho_block_desc_(block->pa, &type, &order) && order == block->order);
	switch (type) {
	case KHO_ABI_DESC_FOLIO:
		FACT(kho_restore_folio(block->pa));
		kho_folio_put(kho_phys_to_virt(block->pa));
		return true;
	case KHO_ABI_DESC_PAGES:
		FACT(kho_restore_pages(block->pa, 1ULL << order));
		kho_unpreserve_pages(kho_phys_to_virt(block->pa), 1ULL << order);
		kho_free_pages(kho_phys_to_virt(block->pa), 1ULL << order);
		return true;
	case KHO_ABI_DESC_SLAB:
		if (!kho_slab_of_(kho_phys_to_virt(block->pa)))
			return false;
		free_slab(block->pa);
		return true;
	case KHO_ABI_DESC_LARGE:
		/* The copy at the run's start says how far it goes; the object may lie further on. */
		large = kho_large_of_((char *)kho_phys_to_virt(block->pa) + sizeof(*large));
		if (large && large->run_pa == block->pa)
			kho_free((char *)kho_phys_to_virt(block->pa) + sizeof(*large));
		return large;
	default:
		return false;
	}
}

static void free_all(void)
{
	static struct khoc_block blocks[BLOCKS_MAX];
	unsigned int nr = 0, slabs = 0;
	bool whole = true;

	for (kho_pa_t pos = 0;
	     nr < BLOCKS_MAX && khoc_radix_next(&kho_arena_.tree, pos, TEMPLATE_MAX, &blocks[nr]);
	     nr++)
		pos = blocks[nr].pa + (KHO_PAGE_SIZE << blocks[nr].order);
	for (unsigned int i = 0; i < nr; i++)
		if (khoc_radix_test(&kho_arena_.tree, blocks[i].pa, blocks[i].order))
			whole &= free_block(&blocks[i]);
	FACT(!kho_preserve_check_all_(false));
	for (unsigned int i = 0; i < nr; i++)
		if (khoc_radix_test(&kho_arena_.tree, blocks[i].pa, blocks[i].order))
			slabs += 1u << blocks[i].order;
	FACT(kho_pages_used_() >= slabs * KHO_PAGE_SIZE);
	FACT(!whole || kho_pages_used_() == slabs * KHO_PAGE_SIZE);
}

static void use(void)
{
	struct kho_heap_stats stats;
	char release[65];
	unsigned int count;
	kho_pa_t pa;
	size_t size;

	FACT(!kho_heap_stats(&stats, true));
	kho_metadata(release, &count);
	if (!kho_retrieve_subtree("sub-a", &pa, &size))
		FACT(pa < image.size && size <= image.size - pa);
	kho_root("chain", "test-chain", 1);
	kho_root("new", "test-chain", 1);
	for (unsigned int i = 0; i < things.nr; i++)
		kho_usable_size(kho_phys_to_virt(things.things[i].at));
	free_all();
	while (kho_malloc(3000))
		;
	while ((pa = kho_pages_alloc_(1, 0)))
		memset(kho_arena_.base + pa, 0xee, KHO_PAGE_SIZE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int rc;

	if (image.fd < 0)
		make_image();
	patch(data, size);
	rc = arena_image_attach(&image);
	rc = rc ?: kho_preserve_check_all_(false);
	rc = rc ?: kho_pages_discover_all_();
	FACT(!rc || (rc <= -KHO_E_TRUNCATED && rc > -KHO_E_MAX));
	if (!rc)
		use();
	kho_arena_unmap_();
	return 0;
}
