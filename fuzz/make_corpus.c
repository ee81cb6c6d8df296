/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Writes the seeds of the fuzz targets: sound FDTs and trees of each kind, and each with one
 * thing wrong. make_corpus DIRECTORY
 */
#include "fuzz.h"
#include "make_corpus.h"

#include <libfdt.h>
#include <elf.h>
#include <kho/abi/note.h>

void write_file(const char *dir, const char *kind, const char *name, const void *data, size_t size)
{
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s/%s", dir, kind, name);
	file = fopen(path, "wb");
	FACT(file && fwrite(data, 1, size, file) == size && !fclose(file));
}

/* ---- root FDTs ---------------------------------------------------------- */

static u32 fdt_size(const u8 *fdt)
{
	return (u32)fdt[4] << 24 | (u32)fdt[5] << 16 | (u32)fdt[6] << 8 | fdt[7];
}

static void roots(const char *dir)
{
	static const struct khoc_subtree subtrees[] = {
		{"kexec-metadata", 0x7000, 73, NULL, 0},
		{"LUO", 0x123456000, 32, NULL, 0},
		{"cache.table", 0x2a040, 64, "cached-table", 3},
	};
	static _Alignas(8) u8 fdt[2][4096];
	u32 size;
	int in = 0;

	FACT(!khoc_root_create(fdt[0], sizeof(fdt[0]), 0x40000));
	write_file(dir, "root", "empty", fdt[0], fdt_size(fdt[0]));
	for (size_t i = 0; i < sizeof(subtrees) / sizeof(subtrees[0]); i++, in = !in)
		FACT(!khoc_root_add(fdt[in], fdt[!in], sizeof(fdt[0]), &subtrees[i]));
	size = fdt_size(fdt[in]);
	write_file(dir, "root", "three", fdt[in], size);
	write_file(dir, "root", "three-cut", fdt[in], size - 9);
	/* Each word of header and structure becomes large, once. */
	for (u32 at = 0; at + 4 <= size; at += 12) {
		char name[32];
		u8 was[4];

		memcpy(was, fdt[in] + at, 4);
		memset(fdt[in] + at, 0xff, 4);
		snprintf(name, sizeof(name), "ones-at-%03u", at);
		write_file(dir, "root", name, fdt[in], size);
		memcpy(fdt[in] + at, was, 4);
	}
}

/* ---- trees -------------------------------------------------------------- */

struct maker {
	struct khoc_mem_ops ops;
	struct khoc_mem mem;
	struct khoc_radix tree;
	unsigned int shift;
	u64 next; /* number of the next node */
	u8 *bytes; /* page 0 of the image */
};

static kho_pa_t maker_alloc(void *ctx)
{
	struct maker *m = ctx;

	FACT(m->next < FUZZ_TREE_NODES);
	return (FUZZ_TREE_NODE_LO + m->next++) << m->shift;
}

static void maker_free(void *ctx, kho_pa_t pa)
{
}

static void make(struct maker *m, unsigned int shift)
{
	u64 lo = FUZZ_TREE_NODE_LO << shift, hi = lo + (FUZZ_TREE_NODES << shift);

	memset(m, 0, sizeof(*m));
	m->shift = shift;
	m->bytes = calloc(1, hi);
	m->ops = (struct khoc_mem_ops){.alloc_node = maker_alloc, .free_node = maker_free};
	m->mem = (struct khoc_mem){&m->ops, m, m->bytes, FUZZ_TREE_PAGES << shift, lo, hi};
	FACT(!khoc_radix_init(&m->tree, &m->mem, shift));
}

static void add(struct maker *m, u64 page, u64 nr, unsigned int order)
{
	FACT(!khoc_radix_add_range(&m->tree, page << m->shift, nr, order));
}

static void dump(struct maker *m, const char *dir, const char *name, bool linear)
{
	size_t size = FUZZ_TREE_HEADER + (m->next << m->shift);
	u8 *out = malloc(size);
	char full[64];

	/* The root is node 0: the maker hands out nodes in ascending order. */
	out[0] = (u8)m->shift;
	out[1] = linear;
	memcpy(out + FUZZ_TREE_HEADER, m->bytes + (FUZZ_TREE_NODE_LO << m->shift),
	       size - FUZZ_TREE_HEADER);
	snprintf(full, sizeof(full), "%u-%s%s", m->shift, name, linear ? "-linear" : "");
	write_file(dir, "tree", full, out, size);
	free(out);
}

static void trees_of(const char *dir, unsigned int shift)
{
	struct maker m;
	u64 *root;

	for (int linear = 0; linear < 2; linear++) {
		make(&m, shift);
		dump(&m, dir, "empty", linear);
		add(&m, 200, 1, 0);
		dump(&m, dir, "one", linear);
		add(&m, 256, 700, 0);
		add(&m, 4096, 3, 9);
		dump(&m, dir, "runs", linear);
		/* Below the data, and so not valid. */
		add(&m, 3, 1, 0);
		dump(&m, dir, "overlap", linear);
		root = m.tree.root;
		for (u64 i = 0; i < 1ULL << (shift - 3); i++) {
			if (!root[i])
				continue;
			root[i] += 8;
			dump(&m, dir, "misaligned", linear);
			root[i] = m.mem.node_hi;
			dump(&m, dir, "outside", linear);
			root[i] = m.tree.root_pa;
			dump(&m, dir, "loop", linear);
			break;
		}
		free(m.bytes);
	}
}

/* One of the ordinary page size: its nodes are large. */
static void tree_of_4k(const char *dir)
{
	struct maker m;

	make(&m, 12);
	add(&m, 200, 3, 0);
	dump(&m, dir, "runs", true);
	free(m.bytes);
}

/* ---- compatibility strings ------------------------------------------------ */

static void compats(const char *dir)
{
	static const char *const strings[] = {
		KHO_ABI_COMPAT_ARENA,
		"kho-v4;radix-v1;vmalloc-v1",
		"kho-v4;hints-v4294967295?;radix-v1",
		"kho-v4;b-v1;a-v1",
		"kho-v4;a-v1;a-v1x-v1;a-v2",
		"kho-v4;;a-v01",
	};
	char name[16];

	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
		snprintf(name, sizeof(name), "string-%zu", i);
		write_file(dir, "compat", name, strings[i], strlen(strings[i]) + 1);
	}
}

/* ---- ELF files with notes --------------------------------------------------- */

static void elf(const char *dir, const char *name, u32 type, u32 align, u32 size)
{
	const struct kho_abi_format format = {"fuzzed", 1, 2, 2, 1, 0};
	const struct kho_abi_note note = {4, size, type, KHO_ABI_NOTE_OWNER};
	struct {
		Elf64_Ehdr head;
		Elf64_Phdr segment;
		u8 notes[2 * (sizeof(note) + sizeof(format) + 4)];
	} file = {.head = {.e_ident = "\177ELF\2\1\1",
			   .e_phoff = sizeof(Elf64_Ehdr),
			   .e_phentsize = sizeof(Elf64_Phdr),
			   .e_phnum = 1}};
	size_t len = 0;

	for (int i = 0; i < 2; i++) {
		memcpy(file.notes + len, &note, sizeof(note));
		memcpy(file.notes + len + sizeof(note), &format, sizeof(format));
		len += sizeof(note) + sizeof(format);
		len += len % align;
	}
	file.segment = (Elf64_Phdr){.p_type = PT_NOTE,
				    .p_offset = sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr),
				    .p_filesz = len,
				    .p_align = align};
	write_file(dir, "note", name, &file, sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr) + len);
}

static void elfs(const char *dir)
{
	elf(dir, "formats", KHO_ABI_NOTE_FORMATS, 4, sizeof(struct kho_abi_format));
	elf(dir, "library-8", KHO_ABI_NOTE_LIBRARY, 8, sizeof(struct kho_abi_format));
	elf(dir, "unknown", 77, 4, sizeof(struct kho_abi_format));
	elf(dir, "cut", KHO_ABI_NOTE_FORMATS, 4, sizeof(struct kho_abi_format) - 4);
	elf(dir, "large", KHO_ABI_NOTE_FORMATS, 4, 0xffffffff);
}

/* ---- kernels' lists ---------------------------------------------------------- */

/* A bzImage whose kernel_info is at 0x440, with another chunk before ours; then our list alone. */
static void kernel(const char *dir, const char *name, const struct khoc_kernel_formats *list)
{
	static u8 image[4096];
	u8 *info = image + 0x440, *chunk = info + 16 + 12;
	const u32 size = list->nr * (u32)sizeof(struct kho_abi_format);
	const struct kho_abi_kernel_info head = {KHO_ABI_KERNEL_INFO_MAGIC, 16,
						 16 + 12 + 8 + 16 + size};
	const struct kho_abi_kernel_chunk other = {0x44434241, 12};
	const struct kho_abi_kernel_chunk ours = {KHO_ABI_KERNEL_CHUNK_MAGIC, 8 + 16 + size};
	const struct kho_abi_note note = {4, size, KHO_ABI_NOTE_KERNEL, KHO_ABI_NOTE_OWNER};
	const u32 magic = KHO_ABI_BOOT_MAGIC, version = KHO_ABI_BOOT_VERSION_INFO, offset = 0x40;
	char alone[32];

	memset(image, 0, sizeof(image));
	image[KHO_ABI_BOOT_SETUP_SECTS] = 1;
	memcpy(image + KHO_ABI_BOOT_MAGIC_AT, &magic, 4);
	memcpy(image + KHO_ABI_BOOT_VERSION, &version, 2);
	memcpy(image + KHO_ABI_BOOT_INFO_OFFSET, &offset, 4);
	memcpy(info, &head, sizeof(head));
	memcpy(info + 16, &other, sizeof(other));
	memcpy(chunk, &ours, sizeof(ours));
	memcpy(chunk + 8, &note, sizeof(note));
	memcpy(chunk + 8 + 16, list->records, size);
	write_file(dir, "kernel_info", name, image, 0x440 + head.size_total);
	snprintf(alone, sizeof(alone), "%s-alone", name);
	write_file(dir, "kernel_info", alone, chunk + 8, 16 + size);
	snprintf(alone, sizeof(alone), "%s-cut", name);
	write_file(dir, "kernel_info", alone, image, 0x440 + head.size_total - 9);
}

static void kernels(const char *dir)
{
	struct kho_abi_format records[KHO_ABI_KERNEL_FORMATS_MAX] = {
		{"hints", 1, 3, 3, 2, KHO_ABI_FORMAT_OPTIONAL},
		{"kho", 4, 4, 4, 0, 0},
		{"slab", 2, 2, 1, 0, KHO_ABI_FORMAT_PART},
	};
	struct khoc_kernel_formats list = {(const char *)records, 3};

	kernel(dir, "linux", khoc_kernel_linux());
	kernel(dir, "flags", &list);
	records[2].name[0] = 'a';
	kernel(dir, "unsorted", &list);
	for (list.nr = 3; list.nr < KHO_ABI_KERNEL_FORMATS_MAX; list.nr++) {
		struct kho_abi_format *f = &records[list.nr];

		snprintf(f->name, sizeof(f->name), "p%02u", list.nr);
		f->reads_min = f->reads_max = f->writes = list.nr;
	}
	strcpy(records[2].name, "luo");
	kernel(dir, "many", &list);
}

/* ---- chains of chunks --------------------------------------------------- */

static void dump_chain(struct maker *m, const struct kho_abi_vmalloc *desc, const char *dir,
		       const char *name)
{
	size_t len = m->next << m->shift;
	u8 *out = malloc(FUZZ_VMALLOC_HEADER + len);
	char full[64];

	out[0] = (u8)m->shift;
	memcpy(out + 1, desc, sizeof(*desc));
	memcpy(out + FUZZ_VMALLOC_HEADER, m->bytes + (FUZZ_TREE_NODE_LO << m->shift), len);
	snprintf(full, sizeof(full), "%u-%s", m->shift, name);
	write_file(dir, "vmalloc", full, out, FUZZ_VMALLOC_HEADER + len);
	free(out);
}

static void chain_of(const char *dir, unsigned int shift, u64 nr, unsigned int order,
		     const char *name)
{
	struct kho_abi_vmalloc desc, bad;
	kho_pa_t blocks[600];
	struct maker m;
	u64 *first;

	make(&m, shift);
	m.next = 0; /* no tree in this image */
	memset(m.bytes + m.mem.node_lo, 0, 1UL << shift);
	m.ops.alloc_page = maker_alloc;
	for (u64 i = 0; i < nr; i++)
		blocks[i] = (1024 + ((i * 5 % nr) << order)) << shift;
	FACT(!khoc_vmalloc_build(&m.mem, shift, order, order ? 3 : 1, blocks, nr, &desc));
	dump_chain(&m, &desc, dir, name);
	if (shift > 6 || order)
		return free(m.bytes);
	bad = desc;
	bad.total_pages++;
	dump_chain(&m, &bad, dir, "count");
	bad = desc;
	bad.flags = 0x100;
	dump_chain(&m, &bad, dir, "flags");
	first = (u64 *)(m.bytes + desc.first);
	first[0] = desc.first;
	dump_chain(&m, &desc, dir, "loop");
	first[0] = desc.first + 64;
	first[3] = first[2];
	dump_chain(&m, &desc, dir, "twice");
	first[3] = 0;
	dump_chain(&m, &desc, dir, "hole");
	first[3] = ~0ULL;
	dump_chain(&m, &desc, dir, "outside");
	free(m.bytes);
}

/* ---- blocks ------------------------------------------------------------- */

#define BLOCK_SHIFT 7
#define BLOCK_PAGE (1ULL << BLOCK_SHIFT)

/* Page @n, from 1, of what is put together: its first words. */
static void block(u8 *pages, u64 n, u64 next, u64 count)
{
	u64 header[2] = {next << BLOCK_SHIFT, count};

	memcpy(pages + (n - 1) * BLOCK_PAGE, header, sizeof(header));
	for (u64 i = 16; i < BLOCK_PAGE; i++)
		pages[(n - 1) * BLOCK_PAGE + i] = (u8)(n * 16 + i);
}

static void blocks(const char *dir)
{
	static const u8 ops[] = {1, 2, 0x80, 3, 0xe5, 4, 0xf0, 0x41, 0x81, 0x82, 5, 6, 0xfe, 7};
	static const struct {
		const char *name;
		u64 next[3], count[3];
	} chains[] = {
		{"three", {2, 3, 0}, {7, 7, 2}},     {"part", {2, 3, 0}, {7, 1, 7}},
		{"empty-end", {2, 3, 0}, {7, 0, 0}}, {"empty-middle", {2, 3, 0}, {7, 0, 1}},
		{"count", {2, 3, 0}, {7, 8, 1}},     {"loop", {2, 3, 2}, {7, 7, 7}},
		{"itself", {1, 0, 0}, {1, 0, 0}},    {"outside", {2, 64, 0}, {7, 7, 7}},
	};

	for (size_t i = 0; i < sizeof(chains) / sizeof(chains[0]); i++) {
		u8 out[FUZZ_BLOCK_HEADER + sizeof(ops) + 3 * BLOCK_PAGE] = {BLOCK_SHIFT, 16, 0,
									    sizeof(ops)};

		memcpy(out + FUZZ_BLOCK_HEADER, ops, sizeof(ops));
		for (u64 n = 0; n < 3; n++)
			block(out + FUZZ_BLOCK_HEADER + sizeof(ops), n + 1, chains[i].next[n],
			      chains[i].count[n]);
		write_file(dir, "block", chains[i].name, out, sizeof(out));
		/* And from nothing. */
		if (!i)
			write_file(dir, "block", "none", out, FUZZ_BLOCK_HEADER + sizeof(ops));
	}
}

/* ---- what Linux hands over -------------------------------------------------- */

static void put(u8 *pages, u64 at, const char *text, u64 a, u64 b, size_t text_room)
{
	memset(pages + at, 0, text_room);
	memcpy(pages + at, text, strlen(text));
	memcpy(pages + at + text_room, &a, 8);
	memcpy(pages + at + text_room + 8, &b, 8);
}

/* A header, two sessions, two files, one FLB, in pages of 128 bytes. */
static void luo_image(u8 *out)
{
	u8 *pages = out + FUZZ_LUO_HEADER;

	memset(out, 0, FUZZ_LUO_HEADER + 6 * BLOCK_PAGE);
	out[0] = BLOCK_SHIFT;
	put(pages, 0, "luo-v5", 7, 2 * BLOCK_PAGE, 8);
	memcpy(pages + 24, &(u64){6 * BLOCK_PAGE}, 8);
	for (u64 i = 0; i < 2; i++) {
		block(pages, 2 + i, i ? 0 : 3, 1);
		put(pages, (1 + i) * BLOCK_PAGE + 16, i ? "vm-2" : "vm-1", i ? 0 : 4 * BLOCK_PAGE,
		    i ? 0 : 2, 64);
		block(pages, 4 + i, i ? 0 : 5, 1);
		put(pages, (3 + i) * BLOCK_PAGE + 16, "memfd-v2", 0x1000, i, 48);
	}
	memcpy(pages + 5 * BLOCK_PAGE, ((u64[]){1, 1}), 16);
	put(pages, 5 * BLOCK_PAGE + 16, "flb", 0x2000, 3, 48);
}

static void luos(const char *dir)
{
	static const struct {
		const char *name;
		u64 page, at, value;
	} faults[] = {
		{"sound", 1, 8, 9},
		{"version", 1, 0, 0x34762d6f756c},
		{"session-twice", 3, 16, 0x312d6d76},
		{"token-twice", 5, 16 + 56, 0},
		{"loop", 3, 0, 2 * BLOCK_PAGE},
		{"files-count", 2, 16 + 72, 3},
		{"files-head", 2, 16 + 64, 8},
		{"flb-count", 6, 8, 2},
		{"flb-pages", 6, 0, 2},
	};
	u8 out[FUZZ_LUO_HEADER + 6 * BLOCK_PAGE];
	const struct kho_abi_metadata metadata = {1, "7.2.13", 3};
	const struct kho_abi_memfd memfd = {
		7, 12 * BLOCK_PAGE, 5, 0, 12, {3 * BLOCK_PAGE, 2, KHO_ABI_VMALLOC_ALLOC, 0}};

	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		luo_image(out);
		memcpy(out + FUZZ_LUO_HEADER + (faults[i].page - 1) * BLOCK_PAGE + faults[i].at,
		       &faults[i].value, 8);
		write_file(dir, "luo", faults[i].name, out, sizeof(out));
	}
	memset(out, 0, sizeof(out));
	out[0] = BLOCK_SHIFT;
	out[1] = 2;
	memcpy(out + FUZZ_LUO_HEADER, &metadata, sizeof(metadata));
	write_file(dir, "luo", "metadata", out, FUZZ_LUO_HEADER + sizeof(metadata));
	memset(out, 0, sizeof(out));
	out[0] = BLOCK_SHIFT;
	out[1] = 3;
	memcpy(out + FUZZ_LUO_HEADER, &memfd, sizeof(memfd));
	/* The chunk on page 3 names 2 and 4. */
	memcpy(out + FUZZ_LUO_HEADER + 2 * BLOCK_PAGE, ((u64[]){0, 2 * BLOCK_PAGE, 4 * BLOCK_PAGE}),
	       24);
	for (u64 i = 0; i < memfd.nr_folios; i++)
		memcpy(out + FUZZ_LUO_HEADER + (i < 8 ? 1 : 3) * BLOCK_PAGE + 16 * (i % 8),
		       ((u64[]){(5 + i) | 3ULL << KHO_ABI_MEMFD_PFN_BITS, i}), 16);
	write_file(dir, "luo", "memfd", out, sizeof(out));
}

/* An FDT with one region: the writer is libfdt. */
static void reserve_mem(const char *dir)
{
	static _Alignas(8) u8 out[FUZZ_LUO_HEADER + 6 + 1024];
	u8 *fdt = out + 8;
	u64 start = 0x400, size = 0x100;

	FACT(!fdt_create(fdt, 1024) && !fdt_finish_reservemap(fdt) && !fdt_begin_node(fdt, ""));
	FACT(!fdt_property_string(fdt, "compatible", KHO_ABI_MEMBLOCK_COMPATIBLE));
	for (int i = 0; i < 2; i++, start += 0x200) {
		FACT(!fdt_begin_node(fdt, i ? "oops" : "trace"));
		FACT(!fdt_property_string(fdt, "compatible", KHO_ABI_RESERVE_MEM_COMPATIBLE));
		FACT(!fdt_property(fdt, "start", &start, 8) &&
		     !fdt_property(fdt, "size", &size, 8));
		FACT(!fdt_end_node(fdt));
	}
	FACT(!fdt_end_node(fdt) && !fdt_finish(fdt));
	out[6] = BLOCK_SHIFT;
	out[7] = 1;
	write_file(dir, "luo", "reserve-mem", out + 6, FUZZ_LUO_HEADER + fdt_totalsize(fdt));
}

/* ---- slabs --------------------------------------------------------------- */

struct slab_file {
	u8 head[FUZZ_SLAB_HEADER];
	u8 bytes[16384];
};

static void slab(const char *dir, const char *name, unsigned int shift, u32 size, u32 flags,
		 void (*change)(struct kho_abi_slab *slab))
{
	static struct slab_file file;
	struct kho_abi_slab header, *at = (void *)file.bytes;
	u32 len;

	memset(&file, 0, sizeof(file));
	khoc_slab_init(&header, shift, 1 << 18, size, flags ? 0x4000 : 0, flags);
	header.crc = 0xffffffff;
	file.head[0] = (u8)(shift - 6);
	file.head[1] = (u8)header.order;
	memcpy(at, &header, sizeof(header));
	file.bytes[64] = KHO_ABI_OBJECT_LIVE;
	file.bytes[66] = KHO_ABI_OBJECT_FREED;
	if (flags)
		file.bytes[65] = KHO_ABI_OBJECT_RESERVED;
	if (change)
		change(at);
	/* The last state byte that may be set, and some objects. */
	len = header.objects_off + 3 * size;
	if (len > sizeof(file.bytes))
		len = sizeof(file.bytes);
	memset(file.bytes + header.objects_off, 0x77, size < 256 ? size : 256);
	write_file(dir, "slab", name, &file, FUZZ_SLAB_HEADER + len);
}

static void bad_state(struct kho_abi_slab *s)
{
	((u8 *)(s + 1))[3] = 0x77;
}

static void bad_free(struct kho_abi_slab *s)
{
	((u8 *)s)[s->objects_off + 3 * s->object_size - 1] = 1;
}

static void bad_nr(struct kho_abi_slab *s)
{
	s->nr_objects = 0xffffffff;
}

static void bad_size(struct kho_abi_slab *s)
{
	s->object_size = 0xfffffff0;
}

static void bad_cache(struct kho_abi_slab *s)
{
	s->cache = ~0ULL;
}

static void bad_crc(struct kho_abi_slab *s)
{
	s->crc = 0;
}

static void slabs(const char *dir)
{
	struct {
		u8 head[FUZZ_SLAB_HEADER];
		struct kho_abi_cache record;
	} __attribute__((packed)) file = {{6, 4}, {0}};
	struct kho_abi_cache record;

	slab(dir, "heap-2048", 12, 2048, 0, NULL);
	slab(dir, "heap-1024-64K", 16, 1024, 0, NULL);
	slab(dir, "whole-16K", 14, 1040, 0, NULL);
	slab(dir, "single-1040", 12, 1040, KHO_ABI_SLAB_SINGLE, NULL);
	slab(dir, "single-5120-64", 6, 5120, KHO_ABI_SLAB_SINGLE, NULL);
	slab(dir, "bad-state", 12, 2048, 0, bad_state);
	slab(dir, "bad-free", 12, 2064, KHO_ABI_SLAB_SINGLE, bad_free);
	slab(dir, "bad-nr", 12, 2048, 0, bad_nr);
	slab(dir, "bad-size", 12, 2048, 0, bad_size);
	slab(dir, "bad-cache", 12, 2048, KHO_ABI_SLAB_SINGLE, bad_cache);
	slab(dir, "bad-crc", 12, 2048, 0, bad_crc);
	khoc_cache_init(&record, 12, 0x4000, "conn", 200, 64, KHO_ABI_SLAB_SINGLE);
	file.record = record;
	write_file(dir, "slab", "record", &file, sizeof(file));
	file.record.crc = 0xffffffff;
	write_file(dir, "slab", "record-crc", &file, sizeof(file));
	memset(file.record.name, 'x', sizeof(file.record.name));
	write_file(dir, "slab", "record-name", &file, sizeof(file));
}

/* ---- arrays ------------------------------------------------------------- */

static kho_pa_t array_alloc(void *ctx)
{
	struct maker *m = ctx;

	return m->next < FUZZ_ARRAY_PAGES ? m->next++ << m->shift : 0;
}

static int array_publish(void *ctx, __u64 *slot, __u64 value, kho_pa_t fresh, kho_pa_t stale)
{
	*slot = value;
	return 0;
}

static void array_dump(const struct maker *m, const char *dir, const char *name)
{
	size_t size = FUZZ_ARRAY_HEADER + ((m->next - 1) << m->shift);
	u8 *out = malloc(size);
	char full[64];

	out[0] = (u8)m->shift;
	out[1] = 1;
	memcpy(out + FUZZ_ARRAY_HEADER, m->bytes + (1UL << m->shift), size - FUZZ_ARRAY_HEADER);
	snprintf(full, sizeof(full), "%u-%s", m->shift, name);
	write_file(dir, "array", full, out, size);
	free(out);
}

/* @nr entries at multiples of @stride, and each word of descriptor and root bent once. */
static void array_of(const char *dir, unsigned int shift, const char *name, u64 nr, u64 stride)
{
	struct kho_abi_array *desc;
	struct khoc_array array;
	struct maker m;
	char bent[64];

	memset(&m, 0, sizeof(m));
	m.shift = shift;
	m.next = 2;
	m.bytes = calloc(FUZZ_ARRAY_PAGES, 1UL << shift);
	m.ops = (struct khoc_mem_ops){
		.alloc_page = array_alloc, .free_page = maker_free, .publish_page = array_publish};
	m.mem = (struct khoc_mem){&m.ops, &m, m.bytes, FUZZ_ARRAY_PAGES << shift, 0, 0};
	FACT(!khoc_array_init(&array, &m.mem, shift, 1ULL << shift));
	for (u64 i = 0; i < nr; i++)
		FACT(!khoc_array_set(&array, i * stride, i << 1 | 1));
	for (u64 i = 0; i < nr; i += 3)
		FACT(!khoc_array_erase(&array, i * stride));
	array_dump(&m, dir, name);
	desc = array.desc;
	for (unsigned int i = 0; i < 16 && shift == 6; i++) {
		u64 *word = i < 8 ? (u64 *)desc + i
				  : (u64 *)(m.bytes + (desc->root & ~63ULL)) + i - 8;
		u64 was = *word;

		*word ^= i & 1 ? 0x41 : 0x100;
		snprintf(bent, sizeof(bent), "%s-bent-%02u", name, i);
		array_dump(&m, dir, bent);
		*word = was;
	}
	free(m.bytes);
}

/* Updates: see fuzz_array.c. */
static void array_updates(const char *dir, unsigned int shift, unsigned int less, const char *name)
{
	u8 out[FUZZ_ARRAY_HEADER + 300 * 9] = {(u8)shift, 3};

	for (u64 i = 0; i < 300; i++) {
		u64 index = (i + 1) * 0x9e3779b97f4a7c15ULL;
		u8 *update = out + FUZZ_ARRAY_HEADER + i * 9;

		update[0] = (u8)(less << 2 | (i % 3 == 2 || i > 200 ? 2 : 0));
		memcpy(update + 1, &index, 8);
	}
	write_file(dir, "array", name, out, sizeof(out));
}

static void arrays(const char *dir)
{
	array_of(dir, 6, "dense", 40, 1);
	array_of(dir, 6, "sparse", 18, 0x123456789abcdULL);
	array_of(dir, 12, "few", 20, 1000003);
	array_updates(dir, 6, 0, "updates-6-wide");
	array_updates(dir, 6, 56, "updates-6-dense");
	array_updates(dir, 7, 40, "updates-7");
	array_updates(dir, 8, 30, "updates-8");
}

/* Words of the first pool of fuzz_pool, and of its first link, that lead elsewhere: see there. */
static void pools(const char *dir)
{
	static const struct {
		const char *name;
		u8 at, how, to, behind;
	} seeds[] = {
		{"magic", 0, 0, 0, 0},
		{"version", 8, 0, 0, 0},
		{"pad", 12, 0, 0, 0},
		{"next-third", 16, 1, 3, 0},
		{"next-itself", 16, 1, 0, 0},
		{"next-inside", 16, 1, 3, 16},
		{"prev-first", 24, 1, 1, 0},
		{"mending-ring", 32, 1, 0, 16},
		{"mending-block", 32, 1, 2, 0},
		{"mending-another", 32, 1, 9, 0},
		{"torn", 40, 0, 0, 0},
		{"top-first", 48, 1, 1, 16},
		{"top-inside", 48, 1, 1, 32},
		{"top-size", 57, 0, 0, 0},
		{"link-next-itself", 64, 1, 1, 0},
		{"link-next-ring", 64, 1, 0, 16},
		{"link-next-another", 64, 1, 9, 0},
		{"link-prev-third", 72, 1, 3, 0},
		{"second-next-first", 80, 1, 1, 0},
	};

	write_file(dir, "pool", "sound", "", 0);
	for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++) {
		const u8 patch[8] = {seeds[i].at,
				     0,
				     seeds[i].how,
				     seeds[i].to,
				     seeds[i].behind | !seeds[i].how,
				     1,
				     1,
				     1};

		write_file(dir, "pool", seeds[i].name, patch, sizeof(patch));
	}
}

int main(int argc, char **argv)
{
	FACT(argc == 2);
	roots(argv[1]);
	trees_of(argv[1], 6);
	trees_of(argv[1], 7);
	tree_of_4k(argv[1]);
	compats(argv[1]);
	elfs(argv[1]);
	kernels(argv[1]);
	chain_of(argv[1], 6, 17, 0, "three");
	chain_of(argv[1], 6, 7, 3, "full");
	chain_of(argv[1], 7, 31, 2, "order");
	chain_of(argv[1], 12, 5, 0, "short");
	blocks(argv[1]);
	luos(argv[1]);
	reserve_mem(argv[1]);
	slabs(argv[1]);
	arrays(argv[1]);
	pools(argv[1]);
	make_life(argv[1]);
	return 0;
}
