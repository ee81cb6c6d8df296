/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Made tests/golden/vmalloc-v1.sparse once, with the first release of "vmalloc-v1". The image stays
 * for ever; this file says what is in it. Usage: make_golden_vmalloc FILE
 */
#include <stdio.h>
#include <string.h>

#include "arena.h"
#include "sparse.h"
#include "vmalloc.h"

/* Page i of area n begins with n * 1000 + i. */
static void make_area(unsigned int n, struct kho_vmalloc *v, size_t pages, bool huge)
{
	size_t len = pages * KHO_PAGE_SIZE;
	char *area = huge ? kho_vmalloc_huge(len) : kho_vmalloc(len);

	memset(area, 0, len);
	for (size_t i = 0; i < pages; i++)
		*(__u64 *)(area + i * KHO_PAGE_SIZE) = n * 1000 + i;
	kho_preserve_vmalloc(area, v + n);
}

/* Every other page of the first 64 is somebody's, so that areas begin with gaps. */
static void make_gaps(void)
{
	struct page *page[64];

	for (unsigned int i = 0; i < 64; i++)
		page[i] = kho_alloc_pages(1);
	for (unsigned int i = 0; i < 64; i++) {
		memset(page[i], 0, KHO_PAGE_SIZE);
		if (i % 2)
			kho_free_pages(page[i], 1);
		else
			kho_preserve_pages(page[i], 1);
	}
}

int main(int argc, char **argv)
{
	int fd = kho_arena_create_("golden");
	FILE *out = argc == 2 ? fopen(argv[1], "w") : NULL;
	struct kho_vmalloc *v;

	if (!out || fd < 0 || kho_arena_format_(fd, 8 << 20) || kho_arena_map_(fd, true) ||
	    kho_arena_own_())
		return 1;
	v = kho_alloc_preserve(KHO_PAGE_SIZE);
	kho_add_subtree("areas", v, 4 * sizeof(*v));
	make_gaps();
	for (unsigned int i = 0; i < 30; i++)
		kho_alloc_pages(1); /* the gaps but two */
	make_area(0, v, 1, false);
	make_area(1, v, 511, false);
	make_area(2, v, 512, true);
	make_area(3, v, 24, true);
	kho_arena_set_state_(KHO_ABI_STATE_RUNNING);
	return sparse_write(out, kho_arena_.base, kho_arena_.file_size) || fclose(out);
}
