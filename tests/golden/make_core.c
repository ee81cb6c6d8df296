/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Made tests/golden/core-SHIFT.sparse once. The images stay for ever; make.py says in its own words
 * what is in them. Usage: make_core SHIFT FILE
 */
#include "core_image.h"
#include "sparse.h"

#define GOLDEN 0x9e3779b97f4a7c15ULL

static struct core_image c;
static struct khoc_array arrays[NR_ARRAYS];

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "make_core: %s\n", what);
	exit(1);
}

static void set(unsigned int n, u64 index, u64 entry)
{
	need(!khoc_array_set(&arrays[n], index, entry), "set");
}

static void make_arrays(void)
{
	struct kho_abi_array *died;

	for (unsigned int n = 0; n < NR_ARRAYS; n++)
		need(!khoc_array_init(&arrays[n], &c.image.mem, c.image.shift, array_pa(&c, n)),
		     "array");
	for (u64 i = 0; i < 300; i++)
		set(0, i, khoc_array_integer(i * i + 1));
	for (u64 i = 1; i <= 60; i++)
		set(1, i * GOLDEN, i % 4 ? khoc_array_integer(i) : 8 * i);
	for (u64 i = 3; i <= 60; i += 3)
		need(!khoc_array_erase(&arrays[1], i * GOLDEN), "erase");
	for (u64 i = 0; i < 8; i++)
		set(2, 10000 + i * 3 % 8 * 5000, khoc_array_integer(i));
	/* Its nodes could not be freed. */
	for (u64 i = 0; i < 40; i++)
		set(3, i * 1000, khoc_array_integer(i));
	c.image.fail_publish = true;
	need(!khoc_array_clear(&arrays[3]), "clear");
	c.image.fail_publish = false;
	need(arrays[3].desc->doomed && !arrays[3].desc->root, "a root that waits");
	/* Died before the last store. */
	for (u64 i = 5; i < 8; i++)
		set(4, i, khoc_array_integer(i - 4));
	died = arrays[4].desc;
	need(died->count == 3 && died->next_count == 3 && *image_word(&c.image, died->slot_pa),
	     "the last update");
	died->count = 2;
	set(5, 0, khoc_array_integer(~0ULL >> 1));
	set(5, ~0ULL, 0x48);
}

static void make_sets(void)
{
	for (unsigned int n = 0; n < NR_SETS; n++) {
		struct khoc_block_set set;
		struct khoc_block_it it;
		unsigned char record[20];

		need(!khoc_block_set_init(&set, &c.image.mem, c.image.shift, set_word(&c, n),
					  set_sizes[n]),
		     "set");
		khoc_block_it_init(&it, &set);
		for (unsigned int i = 0; i < (n ? 3 : 13); i++) {
			for (unsigned int j = 0; j < 20; j++)
				record[j] = (unsigned char)((i * 20 + j) * 7 % 251);
			need(!khoc_block_it_append(&it, record), "append");
		}
		/* Room that was never used: empty blocks at the end. */
		if (n)
			need(!khoc_block_set_grow(&set,
						  3 * kho_abi_block_entries(c.image.shift, 8)),
			     "grow");
	}
}

static void make_area(unsigned int n, unsigned int order, unsigned int flags, unsigned int nr,
		      u64 first)
{
	kho_pa_t blocks[16];

	for (unsigned int i = 0; i < nr; i++)
		blocks[i] = zone_pa(&c) + page_pa(&c, (first + i * 3 % nr * 2) << order);
	need(!khoc_vmalloc_build(&c.image.mem, c.image.shift, order, flags, blocks, nr,
				 area_desc(&c, n)),
	     "area");
	for (unsigned int i = 0; i < nr; i++)
		need(!khoc_radix_add(&c.tree, blocks[i], order), "block");
	for (kho_pa_t chunk = area_desc(&c, n)->first; chunk; chunk = *image_word(&c.image, chunk))
		need(!khoc_radix_add(&c.tree, chunk, 0), "chunk");
}

int main(int argc, char **argv)
{
	FILE *out = argc == 3 ? fopen(argv[2], "wb") : NULL;

	need(out, "usage: make_core SHIFT FILE");
	core_image_make(&c, (unsigned int)atoi(argv[1]));
	need(!khoc_radix_init(&c.tree, &c.image.mem, c.image.shift), "tree");
	*tree_word(&c) = c.tree.root_pa;
	make_arrays();
	make_sets();
	make_area(0, 0, KHO_ABI_VMALLOC_ALLOC, 4, 16);
	make_area(1, 3, KHO_ABI_VMALLOC_FLAGS, 10, 16);
	make_area(2, 1, KHO_ABI_VMALLOC_ALLOC, 7, 512);
	need(!khoc_radix_add(&c.tree, zone_pa(&c) + page_pa(&c, 5), 0), "block");
	need(!khoc_radix_add(&c.tree, zone_pa(&c) + page_pa(&c, 2048), 11), "block");
	need(!khoc_radix_add(&c.tree, page_pa(&c, 32768), 15), "block");
	need(!khoc_radix_add_pages(&c.tree, zone_pa(&c) + page_pa(&c, 1539), 13), "range");
	/* What was freed says so; here it is as if it had never been used. */
	for (u64 i = 0; i < c.image.nr_nodes; i++)
		if (!c.image.used[i])
			memset(image_word(&c.image, c.image.mem.node_lo + page_pa(&c, i)), 0,
			       page_pa(&c, 1));
	return sparse_write(out, c.image.bytes, c.image.mem.node_hi) || fclose(out);
}
