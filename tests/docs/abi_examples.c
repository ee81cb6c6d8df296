/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Prints every example of docs/abi.md as a fenced block, made by the code that makes the
 * real thing. check_abi.py holds the document against it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include <libfdt.h>

#include <kho/abi/handover.h>
#include <kho/abi/migration.h>
#include <kho/abi/session.h>
#include <kho/abi/save.h>
#include <kho/abi/slab.h>
#include <kho/session.h>
#include <kho/slab.h>

#include "arena.h"
#include "heap.h"
#include "pools.h"
#include "preserve.h"
#include "subtree.h"

#define MiB (1ULL << 20)
#define GiB (1ULL << 30)
#define TiB (1ULL << 40)

/* Libraries without a life side have none; there everything that is mapped may be written. */
__attribute__((weak)) bool kho_may_write_(void)
{
	return kho_arena_.writer;
}

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "abi_examples: %s: %s\n", what, kho_error());
	exit(1);
}

static void line(const unsigned char *bytes, size_t len, unsigned int at)
{
	printf("%04x ", at);
	for (size_t i = 0; i < len; i++)
		printf("%s%02x", i == 8 ? "  " : " ", bytes[i]);
	putchar('\n');
}

/* 16 bytes a line; lines of zeros in the middle are left out. */
static void hexdump(const char *name, const void *data, size_t len)
{
	static const unsigned char zeros[16];
	const unsigned char *bytes = data;
	bool skipped = false;

	printf("```hexdump %s\n", name);
	for (size_t at = 0; at < len; at += 16) {
		size_t n = len - at < 16 ? len - at : 16;

		if (n == 16 && at + n < len && !memcmp(bytes + at, zeros, 16)) {
			if (!skipped)
				puts("*");
			skipped = true;
			continue;
		}
		skipped = false;
		line(bytes + at, n, (unsigned int)at);
	}
	printf("```\n");
}

/* ---- radix-v1 -------------------------------------------------------------- */

static void radix_geometry(void)
{
	static const unsigned int shifts[] = {6, 12, 14, 16};

	printf("```values radix-geometry\nshift order0 table bitmap levels\n");
	for (size_t i = 0; i < sizeof(shifts) / sizeof(shifts[0]); i++)
		printf("%u %u %u %u %u\n", shifts[i], kho_abi_radix_order0_log2(shifts[i]),
		       kho_abi_radix_table_log2(shifts[i]), kho_abi_radix_bitmap_log2(shifts[i]),
		       kho_abi_radix_depth(shifts[i]));
	printf("```\n");
}

static void radix_keys(void)
{
	static const struct {
		unsigned int shift, order;
		__u64 pa;
	} rows[] = {
		{12, 0, 0x0},		{12, 0, 0x1000},   {12, 0, 0x40000000}, {12, 0, 4 * GiB},
		{12, 0, 0x7fffffff000}, {12, 9, 0x200000}, {12, 9, 0x40000000}, {12, 10, 0x400000},
		{12, 18, 0x40000000},	{12, 18, TiB},	   {14, 0, 0x40000000}, {16, 10, 0x4000000},
		{6, 0, 0x1000},		{6, 3, 0x1200},
	};

	printf("```values radix-keys\nshift order pa key\n");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		printf("%u %u %#llx %#llx\n", rows[i].shift, rows[i].order,
		       (unsigned long long)rows[i].pa,
		       (unsigned long long)khoc_key(rows[i].shift, rows[i].pa, rows[i].order));
	printf("```\n");
}

/* An image of 8 KiB in 64-byte pages; nodes come from 0x400 on, in the order they are asked for. */
#define TINY_SIZE 8192
#define TINY_NODES 0x400
#define TINY_DATA 0x1000

static _Alignas(64) unsigned char tiny[TINY_SIZE];
static __u64 tiny_next = TINY_NODES;

static kho_pa_t tiny_alloc(void *ctx)
{
	kho_pa_t pa = tiny_next;

	if (pa >= TINY_DATA)
		return 0;
	tiny_next += 64;
	return pa;
}

static void tiny_free(void *ctx, kho_pa_t pa)
{
}

static void radix_tree(void)
{
	static const struct khoc_mem_ops ops = {.alloc_node = tiny_alloc, .free_node = tiny_free};
	static const struct khoc_mem mem = {.ops = &ops,
					    .linear = tiny,
					    .size = TINY_SIZE,
					    .node_lo = TINY_NODES,
					    .node_hi = TINY_DATA};
	__u64 seen[1] = {0};
	struct khoc_radix_check check = {.data_lo = TINY_DATA, .data_hi = TINY_SIZE, .seen = seen};
	struct khoc_report report;
	struct khoc_radix tree;

	need(!khoc_radix_init(&tree, &mem, 6), "tree");
	need(!khoc_radix_add(&tree, 0x1000, 0), "add");
	need(!khoc_radix_add(&tree, 0x1040, 0), "add");
	need(!khoc_radix_add(&tree, 0x1200, 3), "add");
	need(!khoc_radix_validate(&tree, &check, &report), "validate");
	hexdump("radix-tree", tiny, tiny_next);
}

/* ---- array-v1 -------------------------------------------------------------- */

static void array_caps(void)
{
	static const unsigned int shifts[] = {6, 12, 14, 16};

	printf("```values array-capacity\nshift width0 width2 width4 width8\n");
	for (size_t i = 0; i < sizeof(shifts) / sizeof(shifts[0]); i++)
		printf("%u %u %u %u %u\n", shifts[i], kho_abi_array_cap(shifts[i], 0),
		       kho_abi_array_cap(shifts[i], 2), kho_abi_array_cap(shifts[i], 4),
		       kho_abi_array_cap(shifts[i], 8));
	printf("```\n");
}

/* An image of 1 KiB in 64-byte pages: the descriptor at 0x40, pages as they are asked for. */
#define ARRAY_IMAGE_SIZE 1024

static _Alignas(64) unsigned char array_image[ARRAY_IMAGE_SIZE];
static bool array_used[ARRAY_IMAGE_SIZE / 64] = {true, true};

static kho_pa_t array_alloc(void *ctx)
{
	for (unsigned int i = 0; i < ARRAY_IMAGE_SIZE / 64; i++)
		if (!array_used[i]) {
			array_used[i] = true;
			memset(array_image + i * 64, 0, 64);
			return i * 64;
		}
	return 0;
}

static void array_free(void *ctx, kho_pa_t pa)
{
	array_used[pa / 64] = false;
	memset(array_image + pa, 0, 64);
}

static int array_publish(void *ctx, __u64 *slot, __u64 value, kho_pa_t fresh, kho_pa_t stale)
{
	*slot = value;
	if (stale)
		array_free(ctx, stale);
	return 0;
}

/* The descriptor before the last store of an update. */
static void array_death(struct khoc_array *array)
{
	struct kho_abi_array died;

	need(!khoc_array_set(array, 9, 11), "set");
	died = *array->desc;
	died.count--;
	hexdump("array-died", &died, sizeof(died));
	printf("```values array-died-word\nat word\n%#llx %#llx\n```\n",
	       (unsigned long long)died.slot_pa,
	       (unsigned long long)*(__u64 *)(array_image + died.slot_pa));
}

static void array_example(void)
{
	static const struct khoc_mem_ops ops = {
		.alloc_page = array_alloc, .free_page = array_free, .publish_page = array_publish};
	static const struct khoc_mem mem = {
		.ops = &ops, .linear = array_image, .size = ARRAY_IMAGE_SIZE};
	static const __u64 entries[][2] = {{7, 42 << 1 | 1},	  {8, 0x3c0},
					   {1000000, 1 << 1 | 1}, {1000003, 2 << 1 | 1},
					   {1000100, 3 << 1 | 1}, {1ULL << 40, 4 << 1 | 1},
					   {~0ULL, 0x3c8}};
	__u64 seen[1] = {0}, index, entry;
	struct khoc_array_check check = {.data_hi = ARRAY_IMAGE_SIZE, .seen = seen};
	struct khoc_array_iter iter;
	struct khoc_report report;
	struct khoc_array array;

	need(!khoc_array_init(&array, &mem, 6, 0x40), "array");
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
		need(!khoc_array_set(&array, entries[i][0], entries[i][1]), "set");
	need(!khoc_array_erase(&array, 1000003), "erase");
	need(!khoc_array_validate(&array, &check, &report), "validate");
	hexdump("array", array_image, ARRAY_IMAGE_SIZE);
	printf("```values array-entries\nindex entry\n");
	khoc_array_iter_init(&iter, &array, 0, ~0ULL);
	while (khoc_array_iter_next(&iter, &index, &entry) == 1)
		printf("%#llx %#llx\n", (unsigned long long)index, (unsigned long long)entry);
	printf("```\n");
	array_death(&array);
}

static void compat_strings(void)
{
#define STRING(s)                                                                                  \
	{                                                                                          \
		s, sizeof(s), KHO_ABI_COMPAT_ALIGN(s)                                              \
	}
	static const struct {
		const char *string;
		size_t size, aligned;
	} strings[] = {
		STRING(KHO_ABI_ROOT_COMPATIBLE),
		STRING(KHO_ABI_COMPAT_CORE),
		STRING(KHO_ABI_COMPAT_ARENA),
		STRING("kho-v4" KHO_ABI_COMPAT_PART("radix-v1") KHO_ABI_COMPAT_PART("vmalloc-v1")),
		STRING("luo-v5" KHO_ABI_COMPAT_PART("block-v1")),
		STRING("memfd-v2" KHO_ABI_COMPAT_PART("vmalloc-v1")),
	};

	printf("```values compat-strings\nstring bytes in-a-structure\n");
	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
		need(!khoc_compat_check(strings[i].string, strings[i].size, NULL), "string");
		printf("\"%s\" %zu %zu\n", strings[i].string, strings[i].size, strings[i].aligned);
	}
	printf("```\n");
}

/* ---- kho-v4 ---------------------------------------------------------------- */

static void root_fdt(void)
{
	static __u64 empty[64], one[64], two[64];
	struct khoc_subtree metadata = {.name = KHO_ABI_METADATA_NODE, .data = 0x11000, .size = 73};
	struct khoc_subtree cell = {.name = "table",
				    .data = KHO_ABI_CELLS_PA,
				    .size = sizeof(struct kho_abi_cell),
				    .type = "mycache-table",
				    .type_version = 1};
	struct kho_abi_metadata blob = {.version = 1, .kexec_count = 3};
	struct khoc_report report;
	const unsigned char *bytes = (const void *)two;

	need(!khoc_root_create(one, sizeof(one), 0x40000), "create");
	need(!khoc_root_set_composite(one, empty, sizeof(empty), KHO_ABI_COMPAT_ARENA), "list");
	need(!khoc_root_add(empty, one, sizeof(one), &metadata), "add");
	need(!khoc_root_add(one, two, sizeof(two), &cell), "add");
	need(!khoc_root_check(two, sizeof(two), 0x2000, GiB, &report), "check");
	hexdump("root-fdt", two, (size_t)bytes[6] << 8 | bytes[7]);
	strcpy(blob.previous_release, "mycache 1.4");
	hexdump("metadata", &blob, sizeof(blob));
}

/* ---- vmalloc-v1 ------------------------------------------------------------ */

/* The same tiny image: chunks come from 0x400 on, and ten blocks of two pages lie above 0x1000. */
static void vmalloc_chain(void)
{
	static const struct khoc_mem_ops ops = {.alloc_page = tiny_alloc, .free_page = tiny_free};
	static const struct khoc_mem mem = {.ops = &ops, .linear = tiny, .size = TINY_SIZE};
	struct khoc_vmalloc_check check = {.data_lo = TINY_NODES, .data_hi = TINY_SIZE};
	struct kho_abi_vmalloc desc;
	kho_pa_t blocks[10];

	memset(tiny, 0, sizeof(tiny));
	tiny_next = TINY_NODES;
	for (unsigned int i = 0; i < 10; i++)
		blocks[i] = TINY_DATA + i * 3 % 10 * 128;
	need(!khoc_vmalloc_build(&mem, 6, 1, KHO_ABI_VMALLOC_FLAGS, blocks, 10, &desc), "build");
	need(!khoc_vmalloc_validate(&mem, 6, &desc, &check, NULL), "validate");
	hexdump("vmalloc-desc", &desc, sizeof(desc));
	hexdump("vmalloc-chunks", tiny, tiny_next);
	printf("```values vmalloc-per-chunk\nshift blocks\n");
	for (unsigned int shift = 6; shift <= 16; shift += shift == 6 ? 6 : 2)
		printf("%u %u\n", shift, kho_abi_vmalloc_per_chunk(shift));
	printf("```\n");
}

/* ---- block-v1 -------------------------------------------------------------- */

/* Pages of 64 bytes again; what is published here is simply stored. */
static kho_pa_t small_next = 0x1000;

static kho_pa_t small_alloc(void *ctx)
{
	kho_pa_t pa = small_next;

	small_next += 0x80;
	memset(tiny + pa, 0, 64);
	return pa;
}

static int small_publish(void *ctx, __u64 *slot, __u64 value, kho_pa_t fresh, kho_pa_t stale)
{
	*slot = value;
	return 0;
}

static void block_set(void)
{
	static const struct khoc_mem_ops ops = {.alloc_page = small_alloc,
						.publish_page = small_publish};
	static const struct khoc_mem mem = {.ops = &ops, .linear = tiny, .size = TINY_SIZE};
	struct khoc_block_set set;
	struct khoc_block_it it;
	__u64 slot = 0;

	memset(tiny, 0, sizeof(tiny));
	need(!khoc_block_set_init(&set, &mem, 6, &slot, 20), "set");
	khoc_block_it_init(&it, &set);
	for (int i = 0; i < 3; i++) {
		char record[20];

		memset(record, 'a' + i, sizeof(record));
		need(!khoc_block_it_append(&it, record), "append");
	}
	need(!khoc_block_set_restore(&set, NULL, NULL), "check");
	hexdump("blocks", tiny, 0x10c0);
}

/* ---- luo-v5 ------------------------------------------------------------------- */

/* Pages of 128 bytes, so that a block has one record. */
static void luo_block(__u64 pa, __u64 next, const void *record, size_t size)
{
	struct kho_abi_block block = {next, 1};

	memcpy(tiny + pa, &block, sizeof(block));
	memcpy(tiny + pa + sizeof(block), record, size);
}

static void luo(void)
{
	static const struct kho_abi_luo header = {"luo-v5", 2, 0x180, 0x380};
	static const struct kho_abi_luo_session sessions[] = {{"vm-1", 0x280, 2}, {"idle", 0, 0}};
	static const struct kho_abi_luo_file files[] = {{"memfd-v2", 0x17000, 1},
							{"memfd-v2", 0x18000, 42}};
	static const struct kho_abi_luo_flb_header flbs = {1, 1};
	static const struct kho_abi_luo_flb flb = {"iommu-v1", 0x19000, 2};
	static const struct khoc_mem mem = {.linear = tiny, .size = TINY_SIZE};
	struct khoc_luo_session session;
	struct khoc_luo_records walk;
	struct khoc_luo_flbs flb_walk;
	struct khoc_luo handed;

	memset(tiny, 0, sizeof(tiny));
	memcpy(tiny + 0x100, &header, sizeof(header));
	luo_block(0x180, 0x200, &sessions[0], sizeof(sessions[0]));
	luo_block(0x200, 0, &sessions[1], sizeof(sessions[1]));
	luo_block(0x280, 0x300, &files[0], sizeof(files[0]));
	luo_block(0x300, 0, &files[1], sizeof(files[1]));
	memcpy(tiny + 0x380, &flbs, sizeof(flbs));
	memcpy(tiny + 0x390, &flb, sizeof(flb));
	need(!khoc_luo_open(&handed, &mem, 7, 0x100, 32, NULL), "header");
	need(!khoc_luo_sessions(&walk, &handed, NULL, NULL), "sessions");
	need(!khoc_luo_session_next(&walk, &session, NULL), "session");
	need(!khoc_luo_files(&walk, &handed, &session, NULL, NULL), "files");
	need(!khoc_luo_flbs(&flb_walk, &handed, NULL, NULL), "FLBs");
	hexdump("luo", tiny, 0x400);
}

/* ---- memfd-v2 ---------------------------------------------------------------------- */

static unsigned char memfd_bytes[0x4000];

static void memfd(void)
{
	static const struct khoc_mem mem = {.linear = memfd_bytes, .size = 1ULL << 50};
	static const struct kho_abi_memfd header = {.pos = 100,
						    .size = 9 * 4096,
						    .seals = KHO_ABI_MEMFD_SEAL_GROW,
						    .nr_folios = 2,
						    .folios = {0x2000, 1, KHO_ABI_VMALLOC_ALLOC,
							       0}};
	static const struct kho_abi_memfd_folio folios[] = {{0x2000ULL | 3ULL << 52, 0},
							    {0x123456789 | 3ULL << 52, 7}};
	struct khoc_memfd_folio folio;
	struct khoc_memfd_list list;
	struct khoc_memfd file;

	memset(memfd_bytes, 0, sizeof(memfd_bytes));
	memcpy(memfd_bytes + 0x1000, &header, sizeof(header));
	memcpy(memfd_bytes + 0x2008, &(__u64){0x3000}, 8);
	memcpy(memfd_bytes + 0x3000, folios, sizeof(folios));
	need(!khoc_memfd_open(&file, &mem, 12, 0x1000, NULL), "memory file");
	need(!khoc_memfd_list(&list, &file, NULL, NULL), "list");
	for (int i = 0; i < 2; i++)
		need(!khoc_memfd_folio_next(&list, &folio, NULL), "folio");
	need(folio.pa == 0x123456789000 && folio.index == 7, "folio");
	hexdump("memfd", memfd_bytes + 0x1000, sizeof(header));
	hexdump("memfd-folios", folios, sizeof(folios));
}

/* ---- memblock-v1 ----------------------------------------------------------------- */

static void reserve_mem(void)
{
	static const struct khoc_mem mem = {.linear = tiny, .size = TINY_SIZE};
	struct khoc_reserve_mem walk;
	struct khoc_reserve_mem_region region;
	__u64 start = 0x1000, size = 0x800;

	memset(tiny, 0, sizeof(tiny));
	need(!fdt_create(tiny, 1024) && !fdt_finish_reservemap(tiny) && !fdt_begin_node(tiny, ""),
	     "FDT");
	need(!fdt_property_string(tiny, "compatible", KHO_ABI_MEMBLOCK_COMPATIBLE), "FDT");
	need(!fdt_begin_node(tiny, "oops"), "FDT");
	need(!fdt_property_string(tiny, "compatible", KHO_ABI_RESERVE_MEM_COMPATIBLE), "FDT");
	need(!fdt_property(tiny, "start", &start, 8) && !fdt_property(tiny, "size", &size, 8),
	     "FDT");
	need(!fdt_end_node(tiny) && !fdt_end_node(tiny) && !fdt_finish(tiny), "FDT");
	need(!khoc_reserve_mem_open(&walk, &mem, 0, 1024, NULL), "regions");
	need(!khoc_reserve_mem_next(&walk, &region, NULL) && region.start == 0x1000, "region");
	hexdump("reserve-mem", tiny, fdt_totalsize(tiny));
}

/* ---- sparsefd-v1 ----------------------------------------------------------------- */

static kho_pa_t memfd_page(void *ctx)
{
	return 0x2000;
}

static void sparse_memfd(void)
{
	static const struct khoc_mem_ops ops = {.alloc_page = memfd_page,
						.publish_page = small_publish};
	static const struct khoc_mem mem = {
		.ops = &ops, .linear = memfd_bytes, .size = sizeof(memfd_bytes)};
	const struct kho_abi_sparse_memfd header = {.pos = 77, .size = 0xa800, .seals = 5};
	struct khoc_sparse_memfd file;
	struct khoc_array folios;

	memset(memfd_bytes, 0, sizeof(memfd_bytes));
	memcpy(memfd_bytes + 0x1000, &header, sizeof(header));
	need(!khoc_array_init(&folios, &mem, 12, 0x1018), "array");
	need(!khoc_array_set(&folios, 1, khoc_array_integer(0x20000000)), "folio");
	need(!khoc_array_set(&folios, 4, khoc_array_integer(0x20200000)), "folio");
	need(!khoc_sparse_memfd_open(&file, &mem, 12, 0x1000, NULL), "memory file");
	hexdump("sparse-memfd", memfd_bytes + 0x1000, sizeof(header));
}

/* ---- types-v1 ----------------------------------------------------------------- */

static void block_types(void)
{
	static const struct khoc_mem mem = {
		.linear = tiny, .size = TINY_SIZE, .node_hi = TINY_SIZE};
	const struct kho_abi_types blob = {
		.magic = KHO_ABI_TYPES_MAGIC,
		.version = KHO_ABI_TYPES_VERSION,
		.tree = {[KHO_ABI_TYPE_PAGES] = 0x1000, [KHO_ABI_TYPE_STRUCT] = 0x1040},
	};
	struct khoc_types types;

	memset(tiny, 0, sizeof(tiny));
	memcpy(tiny, &blob, sizeof(blob));
	need(!khoc_types_open(&types, &mem, 6, 0, sizeof(blob), NULL), "types");
	need(types.has == (1 << 2 | 1 << 6), "types");
	hexdump("block-types", tiny, sizeof(blob));
}

/* ---- arena-v1 -------------------------------------------------------------- */

static void checksums(void)
{
	static const struct {
		__u64 value;
		unsigned int salt;
	} words[] = {{0, 0},   {0, 128}, {0x2000, 128}, {0x12000, 128},
		     {1, 136}, {1, 144}, {3, 144},	{0xffffffffffff, 136}};
	static const struct {
		unsigned int type, order;
	} descs[] = {{0, 0}, {1, 0}, {1, 9}, {2, 0}, {2, 5}, {3, 4}, {3, 6},
		     {4, 8}, {5, 3}, {6, 0}, {7, 0}, {7, 9}, {8, 0}};

	printf("```values crc32c\nbytes crc\n");
	printf("\"123456789\" %#x\n", khoc_crc32c(0, "123456789", 9));
	printf("```\n```values checked-words\nsalt value word\n");
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		printf("%u %#llx 0x%016llx\n", words[i].salt, (unsigned long long)words[i].value,
		       (unsigned long long)khoc_cword(words[i].value, (__u16)words[i].salt));
	printf("```\n```values descriptors\ntype order desc\n");
	for (size_t i = 0; i < sizeof(descs) / sizeof(descs[0]); i++)
		printf("%u %u 0x%04x\n", descs[i].type, descs[i].order,
		       khoc_desc(descs[i].type, descs[i].order));
	printf("```\n");
}

static void geometry(void)
{
	static const __u64 sizes[] = {0x7d0000, 64 * MiB,  128 * MiB, GiB,
				      12 * GiB, 256 * GiB, 128 * TiB};
	struct kho_abi_arena_header h;

	printf("```values arena-geometry\nmax_size nodes_pa descs_pa data_pa\n");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		need(!khoc_arena_geometry(sizes[i], &h), "geometry");
		printf("%#llx %#llx %#llx %#llx\n", (unsigned long long)sizes[i],
		       (unsigned long long)h.nodes_pa, (unsigned long long)h.descs_pa,
		       (unsigned long long)h.data_pa);
	}
	printf("```\n");
}

static void arena_header(void)
{
	struct kho_abi_arena_header h = {.magic = KHO_ABI_ARENA_MAGIC,
					 .header_size = sizeof(h),
					 .version = KHO_ABI_ARENA_VERSION,
					 .page_shift = KHO_ABI_ARENA_PAGE_SHIFT,
					 .base = KHO_ARENA_BASE};
	struct khoc_report report;

	for (unsigned int i = 0; i < sizeof(h.id); i++)
		h.id[i] = (__u8)(0xa0 + i);
	need(!khoc_arena_geometry(GiB, &h), "geometry");
	h.crc = khoc_crc32c(0, &h, offsetof(struct kho_abi_arena_header, crc));
	h.root_fdt = khoc_cword(KHO_ABI_FDT_SLOT_PA + KHO_ABI_FDT_SLOT_SIZE, 128);
	h.generation = khoc_cword(3, 136);
	h.state = khoc_cword(KHO_ABI_STATE_RUNNING, 144);
	need(!khoc_arena_check(&h, sizeof(h), h.data_pa + MiB, &report), "header");
	hexdump("arena-header", &h, sizeof(h));
}

/* ---- slab-v1: from an arena with a heap in it -------------------------------- */

static const struct kho_abi_slab *slab_of(const void *object)
{
	struct khoc_block block = {0};

	need(khoc_radix_lookup(&kho_arena_.tree, kho_virt_to_phys(object), &block), "slab");
	return kho_phys_to_virt(block.pa);
}

static void slab(void)
{
	struct kho_abi_intent *intent = (void *)(kho_arena_.base + KHO_ABI_INTENTS_PA);
	char *first = kho_malloc(3000), *second = kho_malloc(3000);
	void *large = kho_malloc(100000);
	const struct kho_abi_slab *header;
	void **slot = (void **)(kho_arena_.base + KHO_ABI_CELLS_PA);

	need(first && second && large, "heap");
	need(!kho_publish(slot, second, NULL), "publish");
	header = slab_of(first);
	printf("```values slab-place\nslab_pa first second\n%#llx %#llx %#llx\n```\n",
	       (unsigned long long)kho_virt_to_phys(header),
	       (unsigned long long)kho_virt_to_phys(first),
	       (unsigned long long)kho_virt_to_phys(second));
	hexdump("slab-header", header, sizeof(*header) + header->nr_objects);
	printf("```values large-place\nobject_pa\n%#llx\n```\n",
	       (unsigned long long)kho_virt_to_phys(large));
	hexdump("large-header", (char *)large - sizeof(struct kho_abi_large),
		sizeof(struct kho_abi_large));
	hexdump("intent", intent, sizeof(*intent));
}

static void slab_geometry(void)
{
	printf("```values slab-geometry\nsize order nr_objects objects_off\n");
	for (unsigned int class = 0; class < HEAP_NR_CLASSES; class ++) {
		const struct kho_abi_slab *header;
		void *object = kho_malloc(kho_class_size_(class));

		need(object, "heap");
		header = slab_of(object);
		printf("%u %u %u %u\n", header->object_size, header->order, header->nr_objects,
		       header->objects_off);
	}
	printf("```\n");
}

/* One object preserved, one only handed out, one freed; up to the first two. */
static void single_objects(void)
{
	struct kmem_cache *cache = kho_kmem_cache_create("keys", 20, 0, KHO_CACHE_SINGLE, NULL);
	char *key[3] = {NULL};
	const struct kho_abi_slab *header;
	const struct kho_abi_cache *record;

	for (int i = 0; i < 3; i++) {
		key[i] = cache ? kho_kmem_cache_alloc(cache) : NULL;
		need(key[i], "cache");
		memset(key[i], 0xa0 + i, 20);
	}
	need(!kho_slab_preserve(key[0]), "preserve");
	kho_free(key[2]);
	header = slab_of(key[0]);
	record = kho_phys_to_virt(header->cache);
	printf("```values cache-place\nrecord_pa slab_pa object\n%#llx %#llx %#llx\n```\n",
	       (unsigned long long)header->cache, (unsigned long long)kho_virt_to_phys(header),
	       (unsigned long long)kho_virt_to_phys(key[0]));
	hexdump("cache-record", record, sizeof(*record));
	hexdump("single-slab", header, header->objects_off + 3 * header->object_size);
}

static void heap(void)
{
	int fd = kho_arena_create_("examples");

	need(fd >= 0 && !kho_arena_format_(fd, 128 * MiB), "arena");
	need(!kho_arena_map_(fd, true) && !kho_arena_own_(), "arena");
	slab();
	slab_geometry();
	single_objects();
	kho_arena_unmap_();
}

/* ---- session-v1 ---------------------------------------------------------------- */

static bool is_ours(struct liveupdate_file_handler *handler, int fd)
{
	return true;
}

static int job_state(struct liveupdate_file_op_args *args)
{
	memcpy(args->state, "job #12", 8);
	args->serialized_data = 12;
	return 0;
}

static void sessions(void)
{
	static const struct liveupdate_file_ops ops = {
		.state_size = 8, .can_preserve = is_ours, .preserve = job_state};
	static struct liveupdate_file_handler handler = {.compatible = "job-v1", .ops = &ops};
	const struct kho_abi_session_object *object;
	const struct kho_abi_luo_session *record;
	const struct kho_abi_luo_file *file;
	int fd = kho_arena_create_("examples");
	const struct kho_abi_session *head;
	struct luo_session *session;

	need(fd >= 0 && !kho_arena_format_(fd, 128 * MiB), "arena");
	need(!kho_arena_map_(fd, true) && !kho_arena_own_(), "arena");
	need(!liveupdate_register_file_handler(&handler), "handler");
	need(!luo_session_create("conns", &session), "session");
	need(!luo_session_preserve_fd(session, eventfd(0, EFD_CLOEXEC), 7), "file");
	head = *kho_root_reserved_(KHO_ABI_SESSION_ROOT, KHO_ABI_SESSION_TYPE, 1);
	record = (void *)((char *)kho_phys_to_virt(head->luo.sessions_pa) + 16);
	file = (void *)((char *)kho_phys_to_virt(record->files_pa) + 16);
	object = kho_phys_to_virt(file->data);
	hexdump("session-head", head, sizeof(*head));
	hexdump("session-record", record, sizeof(*record));
	hexdump("session-file", file, sizeof(*file));
	hexdump("session-object", object, sizeof(*object) + 8);
	need(!luo_session_close_fd(session, 7), "close");
	luo_session_put(session);
	kho_arena_unmap_();
}

/* ---- ELF notes ---------------------------------------------------------------- */

/* In this program, too: check_abi.py looks for it there. */
KHO_FORMATS_NOTE({"mycache", 1, 2, 2, 1, KHO_FORMAT_LATER});

static void note(void)
{
	static const struct {
		struct kho_abi_note head;
		struct kho_abi_format format;
	} example = {{4, sizeof(example.format), KHO_ABI_NOTE_FORMATS, KHO_ABI_NOTE_OWNER},
		     {"mycache", 1, 2, 2, 1, KHO_ABI_FORMAT_LATER}};

	hexdump("elf-note", &example, sizeof(example));
}

/* What a bzImage has at kernel_info; the fourth word is Linux's. */
static void kernel_info(void)
{
	struct {
		struct kho_abi_kernel_info info;
		__u32 setup_type_max;
		struct kho_abi_kernel_chunk chunk;
		struct kho_abi_note head;
		struct kho_abi_format records[3];
	} example = {
		{KHO_ABI_KERNEL_INFO_MAGIC, 16, sizeof(example)},
		0x80000009,
		{KHO_ABI_KERNEL_CHUNK_MAGIC, sizeof(example) - 16},
		{4, sizeof(example.records), KHO_ABI_NOTE_KERNEL, KHO_ABI_NOTE_OWNER},
		{{"hints", 1, 3, 2, 0, KHO_ABI_FORMAT_OPTIONAL},
		 {"kho", 4, 4, 4, 0, 0},
		 {"radix", 1, 1, 1, 0, 0}},
	};
	struct khoc_kernel_formats list;

	need(!khoc_kernel_note(&list, &example.head, sizeof(example) - 24, 24, NULL), "list");
	hexdump("kernel-info", &example, sizeof(example));
}

/* ---- handover-v1 ------------------------------------------------------------- */

static void messages(void)
{
	struct {
		struct kho_abi_msg head;
		struct kho_abi_msg_grant body;
	} grant = {{KHO_ABI_MSG_MAGIC, KHO_MSG_GRANT, sizeof(struct kho_abi_msg_grant)}, {4}};
	struct {
		struct kho_abi_msg head;
		struct kho_abi_msg_hello hello;
		struct kho_abi_format format;
	} hello = {{KHO_ABI_MSG_MAGIC, KHO_MSG_HELLO, sizeof(hello) - sizeof(hello.head)},
		   {"mycache", "1.4", 4711, 1},
		   {"mycache", 1, 2, 2, 1, KHO_ABI_FORMAT_LATER}};

	hexdump("msg-hello", &hello, sizeof(hello));
	hexdump("msg-grant", &grant, sizeof(grant));
}

#define BODY(message) (sizeof(message) - sizeof((message).head))

static void more_messages(void)
{
	struct {
		struct kho_abi_msg head;
		struct kho_abi_msg_fds body;
		__u64 token[2];
	} fds = {{KHO_ABI_MSG_MAGIC, KHO_MSG_FD, BODY(fds)}, {2, 0}, {7, 0xffffffff00000000}};
	struct {
		struct kho_abi_msg head;
		struct kho_abi_msg_upgrade body;
		char argv[12];
	} upgrade = {{KHO_ABI_MSG_MAGIC, KHO_MSG_CTL_UPGRADE, BODY(upgrade)},
		     {.ready_ms = 30000, .flags = KHO_UPGRADE_OLD_ARGS, .alive_ms = 500},
		     "cached\0-p80"};
	struct {
		struct kho_abi_msg head;
		struct kho_abi_msg_preserve body;
	} preserve = {{KHO_ABI_MSG_MAGIC, KHO_MSG_CTL_PRESERVE, BODY(preserve)},
		      {.flags = KHO_PRESERVE_CANCEL}};
	struct {
		struct kho_abi_msg head;
		struct kho_abi_msg_result body;
		char text[12];
	} result = {{KHO_ABI_MSG_MAGIC, KHO_MSG_UPGRADED, BODY(result)},
		    {-ETIMEDOUT, KHO_STEP_READY},
		    "time is over"};
	struct {
		struct kho_abi_msg head;
		struct kho_abi_msg_register body;
	} registration = {{KHO_ABI_MSG_MAGIC, KHO_MSG_REGISTER, BODY(registration)},
			  {4711, 0, 3, "mycache", "1.4"}};
	static const struct kho_abi_exec_fd exec[] = {{7, 12, 0}, {0xffffffff00000000, 5, 0}};

	hexdump("msg-fds", &fds, sizeof(fds));
	hexdump("msg-upgrade", &upgrade, sizeof(upgrade));
	hexdump("msg-preserve", &preserve, sizeof(preserve));
	hexdump("msg-result", &result, sizeof(result));
	static const struct {
		struct kho_abi_msg head;
		struct kho_abi_msg_holds body;
	} holds = {{KHO_ABI_MSG_MAGIC, KHO_MSG_HOLDS, 8}, {19700, 0}};
	static const struct {
		struct kho_abi_msg head;
		struct kho_abi_msg_sync body;
	} sync = {{KHO_ABI_MSG_MAGIC, KHO_MSG_HOLD_SYNC, 8}, {1, 0}};

	hexdump("msg-holds", &holds, sizeof(holds));
	hexdump("msg-sync", &sync, sizeof(sync));
	hexdump("msg-register", &registration, sizeof(registration));
	hexdump("exec-fds", exec, sizeof(exec));
}

/* What stands in an arena beside what slab() and arena_header() show. */
static void owner_and_journal(void)
{
	struct kho_abi_owner owner = {.futex = 4713 | 1U << 31,
				      .pid = 4711,
				      .start_time = 123456,
				      .comm = "mycache",
				      .pid_ns = 4026531836,
				      .heir = 0};
	static const struct kho_abi_journal journal = {.next = 0,
						       .object = {0x550000201000, 0x550000204000}};

	for (unsigned int i = 0; i < sizeof(owner.boot_id); i++)
		owner.boot_id[i] = (__u8)(0xb0 + i);
	hexdump("owner", &owner, sizeof(owner));
	hexdump("journal", &journal, sizeof(journal));
}

/* ---- pool-v1 --------------------------------------------------------------------- */

/* Made by kho::pool; its program dies in an update. */
static void pool(void)
{
	int fd = kho_arena_create_("examples");
	struct kho_abi_pool *head;
	struct pools_why why;

	need(fd >= 0 && !kho_arena_format_(fd, 128 * MiB), "arena");
	need(!kho_arena_map_(fd, true) && !kho_arena_own_(), "arena");
	need(!pools_open("names", &why) && pools_top(&why), "pool");
	need(pools_allocate(100, 16, &why), "pool");
	head = pools_head("names");
	head->updates = 1;
	hexdump("pool", head, sizeof(*head));
	hexdump("pool-top", (void *)(uintptr_t)(head->top - sizeof(head->ring)),
		sizeof(head->ring));
	hexdump("pool-link", (void *)(uintptr_t)head->ring.next, sizeof(head->ring));
	pools_close();
	kho_arena_unmap_();
}

/* ---- save-v1 --------------------------------------------------------------------- */

static void save(void)
{
	struct {
		struct kho_abi_save head;
		struct kho_abi_save_chunk zeroes, end;
	} file = {{.magic = KHO_ABI_SAVE_MAGIC,
		   .version = KHO_ABI_SAVE_VERSION,
		   .arena_size = 3 * MiB,
		   .max_size = GiB},
		  {.pa = 0x200000, .len = KHO_ABI_ARENA_PAGE_SIZE},
		  {.pa = 3 * MiB}};
	const size_t sum = offsetof(struct kho_abi_save_chunk, crc);
	__u32 chain;

	for (unsigned int i = 0; i < sizeof(file.head.id); i++)
		file.head.id[i] = (unsigned char)(0xa0 + i);
	file.head.crc = khoc_crc32c(0, &file.head, offsetof(struct kho_abi_save, crc));
	file.zeroes.crc = khoc_crc32c(0, &file.zeroes, sum);
	chain = khoc_crc32c(0, &file.head.crc, 4);
	file.end.data_crc = khoc_crc32c(chain, &file.zeroes.crc, 4);
	file.end.crc = khoc_crc32c(0, &file.end, sum);
	hexdump("save", &file, sizeof(file));
}

int main(void)
{
	radix_geometry();
	radix_keys();
	radix_tree();
	array_caps();
	array_example();
	compat_strings();
	root_fdt();
	vmalloc_chain();
	block_set();
	luo();
	memfd();
	reserve_mem();
	sparse_memfd();
	block_types();
	checksums();
	geometry();
	arena_header();
	heap();
	sessions();
	owner_and_journal();
	pool();
	save();
	note();
	kernel_info();
	messages();
	more_messages();
	return 0;
}
