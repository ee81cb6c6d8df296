/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Prints every example of docs/abi.md as a fenced block, made by the code that makes the
 * real thing. check_abi.py holds the document against it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kho/abi/handover.h>
#include <kho/abi/slab.h>

#include "arena.h"
#include "heap.h"
#include "preserve.h"

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

static void heap(void)
{
	int fd = kho_arena_create_("examples");

	need(fd >= 0 && !kho_arena_format_(fd, 128 * MiB), "arena");
	need(!kho_arena_map_(fd, true) && !kho_arena_own_(), "arena");
	slab();
	slab_geometry();
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

int main(void)
{
	radix_geometry();
	radix_keys();
	radix_tree();
	compat_strings();
	root_fdt();
	vmalloc_chain();
	checksums();
	geometry();
	arena_header();
	heap();
	note();
	messages();
	return 0;
}
