// SPDX-License-Identifier: GPL-2.0-only
/*
 * Scratch: areas in which nothing that is handed over ever lies. The next kernel is put there, and
 * allocates from there alone until it knows what was handed over.
 *
 * They are set aside at a cold boot: one in low memory, one anywhere, one on each node, in this
 * order. Later kernels inherit them as they are. While we run, movable pages may use them (they are
 * CMA page blocks): what cannot be moved is never there, and only that can be preserved.
 */
#define pr_fmt(fmt) "KHO: " fmt

#include <linux/cma.h>
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/kexec.h>
#include <linux/kmemleak.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/nodemask.h>
#include <linux/sizes.h>

#include "../kexec_internal.h"
#include "../../mm/internal.h"
#include "kexec_handover_internal.h"

static_assert(sizeof(struct kho_scratch) == 16);
static_assert(offsetof(struct kho_scratch, size) == 8);

struct kho_scratch *kho_scratch;
unsigned int kho_scratch_cnt;

/* Areas begin and end where page blocks of the largest order do. */
#define SCRATCH_ALIGN (PAGE_SIZE * MAX_ORDER_NR_PAGES)

/*
 * kho_scratch=: what the areas are to have: so many bytes, or so many percent of what the kernel
 * itself has allocated by the time that they are set aside, which tells what the next one needs.
 */
static struct {
	phys_addr_t low, global, node;
	unsigned int percent;
} want __initdata = {
	.percent = 200,
};

/* "LOW,GLOBAL,NODE" with suffixes, or "N%". */
static int __init parse_scratch(char *text)
{
	phys_addr_t size[3];
	u64 percent;
	char *end;

	if (!text || !*text)
		return -EINVAL;
	percent = memparse(text, &end);
	if (end != text && *end == '%') {
		if (end[1] || !percent || percent > 10000)
			return -EINVAL;
		want.percent = percent;
		return 0;
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(size); i++) {
		size[i] = memparse(text, &end);
		if (end == text || *end != (i < ARRAY_SIZE(size) - 1 ? ',' : '\0'))
			return -EINVAL;
		text = end + 1;
	}
	if (!size[0] && !size[1] && !size[2])
		return -EINVAL;
	want.low = size[0];
	want.global = size[1];
	want.node = size[2];
	want.percent = 0;
	return 0;
}

static int __init kho_parse_scratch(char *text)
{
	int err = parse_scratch(text);

	if (err)
		pr_warn("kho_scratch=%s: neither LOW,GLOBAL,NODE nor N%%\n", text ?: "");
	return err;
}
early_param("kho_scratch", kho_parse_scratch);

/* ---- a cold boot --------------------------------------------------------- */

/* @used: what the kernel allocated where the area is for */
static phys_addr_t __init area_size(phys_addr_t bytes, phys_addr_t used)
{
	if (want.percent)
		bytes = used / 100 * want.percent + used % 100 * want.percent / 100;
	return round_up(bytes, SCRATCH_ALIGN);
}

/* Set an area aside. One of no bytes is none. Return: 0 or -ENOMEM. */
static int __init add_area(phys_addr_t size, phys_addr_t limit, int nid)
{
	struct kho_scratch *area = &kho_scratch[kho_scratch_cnt];

	if (!size)
		return 0;
	area->addr =
		memblock_alloc_range_nid(size, SCRATCH_ALIGN, 0, limit, nid, numa_valid_node(nid));
	if (!area->addr) {
		pr_warn("no %pa bytes of scratch below %pa on node %d\n", &size, &limit, nid);
		return -ENOMEM;
	}
	area->size = size;
	kho_scratch_cnt++;
	return 0;
}

static int __init add_areas(void)
{
	phys_addr_t all = memblock_reserved_kern_size(MEMBLOCK_ALLOC_ANYWHERE, NUMA_NO_NODE);
	phys_addr_t low = memblock_reserved_kern_size(ARCH_LOW_ADDRESS_LIMIT, NUMA_NO_NODE);
	int nid, err;

	err = add_area(area_size(want.low, low), ARCH_LOW_ADDRESS_LIMIT, NUMA_NO_NODE);
	if (!err)
		err = add_area(area_size(want.global, all - low), MEMBLOCK_ALLOC_ANYWHERE,
			       NUMA_NO_NODE);
	for_each_node_state(nid, N_MEMORY) {
		phys_addr_t used = memblock_reserved_kern_size(MEMBLOCK_ALLOC_ANYWHERE, nid);

		if (!err)
			err = add_area(area_size(want.node, used), MEMBLOCK_ALLOC_ANYWHERE, nid);
	}
	return err;
}

/**
 * kho_scratch_reserve() - set scratch aside, at a cold boot
 *
 * Return: 0 or -ENOMEM; then nothing is set aside.
 */
int __init kho_scratch_reserve(void)
{
	size_t size = (nodes_weight(node_states[N_MEMORY]) + 2) * sizeof(*kho_scratch);
	int err;

	kho_scratch = memblock_alloc(size, PAGE_SIZE);
	if (!kho_scratch)
		return -ENOMEM;
	err = add_areas();
	if (!err && kho_scratch_cnt)
		return 0;
	while (kho_scratch_cnt--)
		memblock_phys_free(kho_scratch[kho_scratch_cnt].addr,
				   kho_scratch[kho_scratch_cnt].size);
	kho_scratch_cnt = 0;
	memblock_free(kho_scratch, size);
	kho_scratch = NULL;
	return -ENOMEM;
}

/*
 * Let movable pages use what was set aside at this boot; what was inherited is in the page
 * allocator already. If there is no KHO any more, it is memory like other memory.
 */
void __init kho_scratch_release(void)
{
	unsigned long pfn, end;

	if (kho_state == KHO_REVIVED || kho_state == KHO_REFUSED_LATE)
		return;
	for (unsigned int i = 0; i < kho_scratch_cnt; i++) {
		/* It holds pages of others from now on, which may be unmapped (debug_pagealloc). */
		kmemleak_ignore_phys(kho_scratch[i].addr);
		pfn = PHYS_PFN(kho_scratch[i].addr);
		end = pfn + PHYS_PFN(kho_scratch[i].size);
		for (; pfn < end; pfn += pageblock_nr_pages)
			init_cma_reserved_pageblock(pfn_to_page(pfn));
	}
}

/* ---- kexec_file_load() --------------------------------------------------- */

static bool hands_over(const struct kimage *image)
{
	if (!kho_is_enabled() || !kho_root_phys())
		return false;
#ifdef CONFIG_CRASH_DUMP
	if (image->type == KEXEC_TYPE_CRASH)
		return false;
#endif
	return true;
}

/**
 * kho_locate_mem_hole() - find room for a segment of the next kernel, in scratch
 * @kbuf: the segment
 * @func: looks at one area; 1: the segment fits
 *
 * Context: Under kexec's lock.
 * Return: 0: found; 1: anywhere will do, since nothing is handed over; -EADDRNOTAVAIL; or what
 * @func returned, if negative.
 */
int kho_locate_mem_hole(struct kexec_buf *kbuf, int (*func)(struct resource *, void *))
{
	int ret = 0;

	if (!hands_over(kbuf->image))
		return 1;
	for (unsigned int i = 0; i < kho_scratch_cnt && !ret; i++) {
		struct resource area = {
			.start = kho_scratch[i].addr,
			.end = kho_scratch[i].addr + kho_scratch[i].size - 1,
		};

		/* Linux 7.2 has areas of no bytes, of which that would be all memory. */
		if (kho_scratch[i].size)
			ret = func(&area, kbuf);
	}
	if (ret < 0)
		return ret;
	return ret ? 0 : -EADDRNOTAVAIL;
}

/**
 * kho_fill_kimage() - give an image what the next kernel must be told
 * @image: the image
 *
 * Where the root FDT is: the page itself goes over as it is at the jump. And a copy of the table of
 * scratch areas. An image that could not read what we hand over gets nothing.
 *
 * Context: Under kexec's lock.
 * Return: 0, or what kho_compat_check_image() and kexec_add_buffer() say.
 */
int kho_fill_kimage(struct kimage *image)
{
	struct kexec_buf kbuf = {
		.image = image,
		.buffer = kho_scratch,
		.bufsz = kho_scratch_cnt * sizeof(*kho_scratch),
		.memsz = kho_scratch_cnt * sizeof(*kho_scratch),
		.mem = KEXEC_BUF_MEM_UNKNOWN,
		.buf_align = SZ_64K,
		.buf_max = ULONG_MAX,
		.top_down = true,
	};
	int err;

	if (!hands_over(image))
		return 0;
	err = kho_compat_check_image(image->kernel_buf, image->kernel_buf_len);
	if (err)
		return err;
	err = kexec_add_buffer(&kbuf);
	if (err)
		return err;
	image->kho.scratch = &image->segment[image->nr_segments - 1];
	image->kho.fdt = kho_root_phys();
	return 0;
}
