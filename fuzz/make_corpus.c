/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Writes the seeds of the fuzz targets: sound FDTs and trees of each kind, and each with one
 * thing wrong. make_corpus DIRECTORY
 */
#include "fuzz.h"

#include <elf.h>
#include <kho/abi/note.h>

static void write_file(const char *dir, const char *kind, const char *name, const void *data,
		       size_t size)
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

int main(int argc, char **argv)
{
	FACT(argc == 2);
	roots(argv[1]);
	trees_of(argv[1], 6);
	trees_of(argv[1], 7);
	tree_of_4k(argv[1]);
	compats(argv[1]);
	elfs(argv[1]);
	chain_of(argv[1], 6, 17, 0, "three");
	chain_of(argv[1], 6, 7, 3, "full");
	chain_of(argv[1], 7, 31, 2, "order");
	chain_of(argv[1], 12, 5, 0, "short");
	return 0;
}
