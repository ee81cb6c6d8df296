/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * locate CORE [ADDRESS:SIZE...]: where everything of a handover is, from the memory of a guest that has
 * been stopped at the jump, found by libkho's core: lines "NAME ADDRESS". linux/vm/damages uses the
 * names. ADDRESS:SIZE: the scratch areas.
 *
 *	root		the root FDT; root.compatible, root.map: the values of its properties; root.part: the
 *			version of the last part of its composite string, if it has one: Linux 7.2's has none
 *	root.S.name, root.S.data, root.S.size
 *			of the subtree S: its name, the values of its properties
 *	tree		the root table; tree.first5 ... tree.first1: in the root table, and so on down
 *			to the last table, the first entry that is used; tree.last5 ... the last one
 *	tree.empty5, tree.empty1
 *			entries that are not used, beside tree.last5 and tree.last1
 *	tree.first.leaf, tree.last.leaf
 *			the first word of them that is not 0
 *	S		the blob of the subtree S: kexec-metadata, LUO, memblock, kho_test
 *	memblock.start, memblock.bytes, memblock.compatible
 *			values of properties of the region "kept" ; kept: its memory
 *	test.list	the descriptor in kho_test, test.chunk its first chunk, test.block the first
 *			block of that, test.folio the first folio
 *	luo.block, luo.session, luo.files, luo.file, luo.file3, luo.flb
 *			first block of sessions, first session, first block of files, first and third
 *			file, FLB page
 *	memfd1, memfd3	the headers of those files; .chunk: the first chunk of its list; .list: its
 *			first entry; .list2: its second page; .page: its first folio
 *	scratch.area	the first scratch area
 *	tree.scratch	where 2 MiB of a scratch area have their bit, bit 0 of that byte
 *	setup		the entry in the boot data that tells the next kernel
 *	free		a page that nobody has preserved and that is no node
 *	end		where memory ends
 *
 * A structure that is not there has no line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libfdt.h>

#include <kho/abi/radix.h>
#include <kho/core/luo.h>
#include <kho/core/memfd.h>
#include <kho/core/radix.h>
#include <kho/core/root.h>

#include "vmcore.h"

static struct dump dump;
static struct khoc_radix tree;

static void say(const char *name, kho_pa_t pa)
{
	printf("%s %#llx\n", name, (unsigned long long)pa);
}

/* Where a value is: @fdt is the page at @pa. */
static void say_prop(const char *name, const char *fdt, kho_pa_t pa, int node, const char *prop)
{
	const char *value = fdt_getprop(fdt, node, prop, NULL);

	if (value)
		say(name, pa + (value - fdt));
}

static void say_subtree(const char *root, kho_pa_t pa, const struct khoc_subtree *subtree)
{
	int node = fdt_subnode_offset(root, 0, subtree->name);
	char name[128];

	if (node < 0)
		fail("no node %s", subtree->name);
	snprintf(name, sizeof(name), "root.%s.name", subtree->name);
	say(name, pa + (fdt_get_name(root, node, NULL) - root));
	snprintf(name, sizeof(name), "root.%s.data", subtree->name);
	say_prop(name, root, pa, node, KHO_ABI_ROOT_PROP_DATA);
	snprintf(name, sizeof(name), "root.%s.size", subtree->name);
	say_prop(name, root, pa, node, KHO_ABI_ROOT_PROP_SIZE);
	say(subtree->name, subtree->data);
}

/* Down from the root table by the first or the last entry that is used. */
static void say_path(const char *which, kho_pa_t table, bool last)
{
	int level, i, nr = PAGE / 8;
	char name[64];

	for (level = kho_abi_radix_depth(SHIFT) - 1; level >= 0; level--) {
		const __u64 *word = dump_map(&dump, table, PAGE);

		if (!word)
			fail("no table at %#llx", (unsigned long long)table);
		for (i = last ? nr - 1 : 0; i >= 0 && i < nr && !word[i];)
			i += last ? -1 : 1;
		if (i < 0 || i == nr)
			fail("the node at %#llx is empty", (unsigned long long)table);
		if (level)
			snprintf(name, sizeof(name), "tree.%s%d", which, level);
		else
			snprintf(name, sizeof(name), "tree.%s.leaf", which);
		say(name, table + i * 8);
		if (last && (level == 5 || level == 1)) {
			snprintf(name, sizeof(name), "tree.empty%d", level);
			say(name, table + (i + 1 < nr ? i + 1 : 0) * 8);
		}
		table = word[i];
	}
}

static void say_memblock(kho_pa_t pa)
{
	const char *fdt = dump_map(&dump, pa, PAGE);
	const __u64 *start;
	int node;

	if (!fdt || fdt_check_full(fdt, PAGE) || (node = fdt_path_offset(fdt, "/kept")) < 0)
		fail("memblock is not as expected");
	say_prop("memblock.root", fdt, pa, 0, "compatible");
	say_prop("memblock.start", fdt, pa, node, "start");
	say_prop("memblock.bytes", fdt, pa, node, "size");
	say_prop("memblock.compatible", fdt, pa, node, "compatible");
	start = fdt_getprop(fdt, node, "start", NULL);
	if (start)
		say("kept", *start);
}

/* The first chunk of a list, and the first block of that. */
static kho_pa_t say_list(const char *what, const struct kho_abi_vmalloc *desc)
{
	const __u64 *chunk = desc->first ? dump_map(&dump, desc->first, PAGE) : NULL;
	char name[64];

	if (!chunk)
		return 0;
	snprintf(name, sizeof(name), "%s.chunk", what);
	say(name, desc->first);
	snprintf(name, sizeof(name), "%s.list", what);
	say(name, chunk[1]);
	if (chunk[2]) {
		snprintf(name, sizeof(name), "%s.list2", what);
		say(name, chunk[2]);
	}
	return chunk[1];
}

static void say_test(kho_pa_t pa)
{
	const char *fdt = dump_map(&dump, pa, PAGE);
	const struct kho_abi_vmalloc *desc;
	const __u64 *folio;
	kho_pa_t list;
	int len, node;

	node = !fdt || fdt_check_full(fdt, PAGE) ? -1 : fdt_path_offset(fdt, "/data");
	desc = node < 0 ? NULL : fdt_getprop(fdt, node, "folios_info", &len);
	if (!desc || len != sizeof(*desc))
		fail("kho_test is not as expected");
	say("test.desc", pa + ((const char *)desc - fdt));
	say_prop("test.nr", fdt, pa, node, "nr_folios");
	list = say_list("test", desc);
	folio = list ? dump_map(&dump, list, PAGE) : NULL;
	if (folio)
		say("test.folio", *folio & ~(PAGE - 1));
}

static void say_memfd(unsigned int nr, kho_pa_t pa)
{
	struct khoc_memfd_folio folio;
	struct khoc_memfd_list list;
	struct khoc_memfd memfd;
	char name[32];

	snprintf(name, sizeof(name), "memfd%u", nr);
	if (khoc_memfd_open(&memfd, &dump.mem, SHIFT, pa, NULL))
		fail("%s is not as expected", name);
	say(name, pa);
	say_list(name, &memfd.folios);
	if (khoc_memfd_list(&list, &memfd, NULL, NULL) ||
	    khoc_memfd_folio_next(&list, &folio, NULL))
		return;
	snprintf(name, sizeof(name), "memfd%u.page", nr);
	say(name, folio.pa);
}

static void say_luo(kho_pa_t pa, __u64 size)
{
	static struct khoc_luo_records sessions, files;
	struct khoc_luo_session session;
	struct khoc_luo_file file;
	struct khoc_luo luo;
	unsigned int nr;

	if (khoc_luo_open(&luo, &dump.mem, SHIFT, pa, size, NULL))
		fail("LUO is not as expected");
	if (luo.flbs_pa)
		say("luo.flb", luo.flbs_pa);
	/* At load time the sessions are not written yet. */
	if (!luo.sessions_pa || khoc_luo_sessions(&sessions, &luo, &tree, NULL) ||
	    khoc_luo_session_next(&sessions, &session, NULL))
		return;
	say("luo.block", luo.sessions_pa);
	say("luo.session", session.pa);
	if (khoc_luo_files(&files, &luo, &session, &tree, NULL))
		fail("the session's files are not as expected");
	say("luo.files", session.files_pa);
	for (nr = 1; !khoc_luo_file_next(&files, &file, NULL); nr++) {
		if (nr == 1)
			say("luo.file", file.pa);
		if (nr == 3)
			say("luo.file3", file.pa);
		if (nr <= 3)
			say_memfd(nr, file.data);
	}
}

/* Words of an entry of type 10: next; type and length; the FDT; one page; the scratch areas. */
static void say_setup(kho_pa_t root)
{
	kho_pa_t pa;
	const __u64 *word;
	unsigned int i;

	for (pa = 0; pa < dump.mem.node_hi; pa += PAGE) {
		word = dump_map(&dump, pa, PAGE);
		for (i = 0; word && i + 6 <= PAGE / 8; i++)
			if (word[i + 1] == (32ULL << 32 | 10) && word[i + 2] == root &&
			    word[i + 3] == PAGE)
				say("setup", pa + i * 8);
	}
}

static int node_bit(void *ctx, kho_pa_t pa, int level)
{
	unsigned char *node = ctx;

	node[pa >> SHIFT] = 1;
	return 0;
}

/* Above 16 MiB, where nothing of the platform is. */
static void say_free(void)
{
	unsigned char *node = calloc(dump.mem.node_hi >> SHIFT, 1);
	struct khoc_block block;
	kho_pa_t pa;

	if (!node || khoc_radix_nodes(&tree, node_bit, node))
		fail("the tree cannot be walked");
	for (pa = 16 << 20; pa < dump.mem.node_hi; pa += PAGE) {
		if (!khoc_radix_lookup(&tree, pa, &block) && !node[pa >> SHIFT]) {
			say("free", pa);
			break;
		}
	}
	free(node);
}

/* The byte of the leaf that has the bit of a block, if there is such a leaf. */
static bool say_bit(kho_pa_t root, kho_pa_t pa, unsigned int order)
{
	unsigned int table = kho_abi_radix_table_log2(SHIFT),
		     bits = kho_abi_radix_bitmap_log2(SHIFT);
	__u64 key = 1ULL << (kho_abi_radix_order0_log2(SHIFT) - order) | pa >> (SHIFT + order);
	kho_pa_t node = root;
	int level;

	for (level = kho_abi_radix_depth(SHIFT) - 1; level && node; level--) {
		const __u64 *word = dump_map(&dump, node, PAGE);

		node = word ? word[key >> ((level - 1) * table + bits) & ((1 << table) - 1)] : 0;
	}
	if (!node)
		return false;
	say("tree.scratch", node + (key & ((1 << bits) - 1)) / 8);
	return true;
}

/* A block of the region's order, and so with a leaf, that has bit 0 of its byte. */
static bool say_area(kho_pa_t root, kho_pa_t pa, __u64 size)
{
	kho_pa_t at = (pa + (16 << 20) - 1) & ~((16ULL << 20) - 1);

	return at + (2 << 20) <= pa + size && say_bit(root, at, 21 - SHIFT);
}

static void say_scratch(kho_pa_t root, int nr, char **areas)
{
	bool said = false;
	kho_pa_t pa;
	char *size;
	int i;

	for (i = 0; i < nr; i++) {
		pa = strtoull(areas[i], &size, 16);
		if (*size != ':')
			fail("%s is no ADDRESS:SIZE", areas[i]);
		if (!i)
			say("scratch.area", pa);
		said = said || say_area(root, pa, strtoull(size + 1, NULL, 16));
	}
}

int main(int argc, char **argv)
{
	struct khoc_subtree subtree;
	const char *root, *composite;
	kho_pa_t pa;
	int pos = 0;

	if (argc < 2)
		fail("usage: locate CORE [ADDRESS:SIZE...]");
	dump_open(&dump, argv[1]);
	pa = find_root(&dump);
	root = dump_map(&dump, pa, PAGE);
	say("root", pa);
	say_prop("root.compatible", root, pa, 0, KHO_ABI_ROOT_PROP_COMPATIBLE);
	say_prop("root.map", root, pa, 0, KHO_ABI_ROOT_PROP_MEMORY_MAP);
	composite = khoc_root_composite(root);
	if (composite)
		say("root.part", pa + (kho_pa_t)(composite - root) + strlen(composite) - 1);
	if (khoc_radix_attach(&tree, &dump.mem, SHIFT, khoc_root_tree(root)))
		fail("no tree");
	say("tree", khoc_root_tree(root));
	say_path("first", khoc_root_tree(root), false);
	say_path("last", khoc_root_tree(root), true);
	while (!khoc_root_next(root, &pos, &subtree)) {
		say_subtree(root, pa, &subtree);
		if (!strcmp(subtree.name, "memblock"))
			say_memblock(subtree.data);
		else if (!strcmp(subtree.name, "LUO"))
			say_luo(subtree.data, subtree.size);
		else if (!strcmp(subtree.name, "kho_test"))
			say_test(subtree.data);
	}
	say_scratch(khoc_root_tree(root), argc - 2, argv + 2);
	say_setup(pa);
	say_free();
	say("end", dump.mem.size);
	return 0;
}
