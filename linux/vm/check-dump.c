/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * check-dump CORE: read a handover of Linux from an ELF core of the guest's physical memory
 * (linux/vm/dump) with libkho's core. Finds the root FDT, judges it and the tree, lists the
 * subtrees and what is preserved, holds both against what the guest is known to have preserved,
 * and sees that damage to this very image is noticed.
 *
 * Exit status: 0 if all is as it must be; else the last line says what is not.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libfdt.h>

#include <kho/abi/radix.h>
#include <kho/core/image.h>
#include <kho/core/radix.h>
#include <kho/core/root.h>

#include "vmcore.h"

static int validate(const struct dump *dump, struct khoc_radix *tree, kho_pa_t root,
		    struct khoc_report *report)
{
	struct khoc_radix_check check = {.data_hi = dump->mem.size};
	int err;

	err = khoc_radix_attach(tree, &dump->mem, SHIFT, root);
	if (err) {
		*report = (struct khoc_report){.fault = -err,
					       .addr = root,
					       .level = -1,
					       .structure = KHOC_S_RADIX_TABLE,
					       .field = "root"};
		return err;
	}
	check.seen = calloc((dump->mem.node_hi >> SHIFT) / 64 + 1, 8);
	if (!check.seen)
		fail("no memory");
	err = khoc_radix_validate(tree, &check, report);
	free(check.seen);
	return err;
}

/* Is each page of a range in a preserved block? */
static void all_preserved(const struct khoc_radix *tree, const char *what, kho_pa_t pa, __u64 size)
{
	struct khoc_block block;
	kho_pa_t at;

	for (at = pa & ~(PAGE - 1); at < pa + size; at += PAGE)
		if (!khoc_radix_lookup(tree, at, &block))
			fail("%s: %#llx is not preserved", what, (unsigned long long)at);
}

static void check_metadata(const struct kho_abi_metadata *metadata)
{
	printf("  version %u, \"%.*s\", count %u\n", metadata->version,
	       KHO_ABI_METADATA_RELEASE_LEN - 1, metadata->previous_release, metadata->kexec_count);
	if (metadata->version != KHO_ABI_METADATA_VERSION || metadata->kexec_count != 1 ||
	    strncmp(metadata->previous_release, "7.2.", 4))
		fail("kexec-metadata is not that of a first boot of 7.2");
}

/* reserve_mem=2M:4096:kept. docs: an FDT, node "kept", "start" and "size" in native order. */
static void check_memblock(const struct khoc_radix *tree, const void *fdt)
{
	const void *start, *size;
	int node, start_len, size_len;
	__u64 region[2];

	node = fdt_check_full(fdt, PAGE) ? -1 : fdt_path_offset(fdt, "/kept");
	start = node < 0 ? NULL : fdt_getprop(fdt, node, "start", &start_len);
	size = node < 0 ? NULL : fdt_getprop(fdt, node, "size", &size_len);
	if (!start || !size || start_len != 8 || size_len != 8)
		fail("memblock: no region \"kept\"");
	memcpy(&region[0], start, 8);
	memcpy(&region[1], size, 8);
	printf("  kept: %#llx, %llu bytes\n", (unsigned long long)region[0],
	       (unsigned long long)region[1]);
	if (region[1] != 2 << 20 || region[0] % PAGE)
		fail("memblock: not 2 MiB");
	all_preserved(tree, "kept", region[0], region[1]);
}

static void check_subtrees(const struct dump *dump, const struct khoc_radix *tree, const void *root)
{
	static const char *const names[] = {"kexec-metadata", "LUO", "memblock", "kho_test"};
	struct khoc_subtree subtree;
	unsigned int found = 0, i;
	int pos = 0;

	while (!khoc_root_next(root, &pos, &subtree)) {
		const void *blob = dump_map((void *)dump, subtree.data, subtree.size);

		printf("subtree %s: %#llx, %llu bytes\n", subtree.name,
		       (unsigned long long)subtree.data, (unsigned long long)subtree.size);
		if (!blob)
			fail("%s lies outside memory", subtree.name);
		all_preserved(tree, subtree.name, subtree.data, subtree.size);
		for (i = 0; i < 4; i++)
			found |= !strcmp(subtree.name, names[i]) << i;
		if (!strcmp(subtree.name, "kexec-metadata") &&
		    subtree.size == sizeof(struct kho_abi_metadata))
			check_metadata(blob);
		else if (!strcmp(subtree.name, "LUO") && memcmp(blob, "luo-v5\0", 8))
			fail("LUO is not luo-v5");
		else if (!strcmp(subtree.name, "memblock"))
			check_memblock(tree, blob);
	}
	if (found != 15)
		fail("a subtree is missing: found %#x", found);
}

/*
 * The session's files have 16 + 1024 + 1500 + 32 pages (7.2 fills holes), the region of
 * reserve_mem= 512: more must be preserved, and none of it twice.
 */
static void check_counts(const struct dump *dump, const struct khoc_radix *tree)
{
	struct khoc_radix_counts counts;
	struct khoc_radix_iter iter;
	__u64 pages = 0, once = 0;
	struct khoc_run run;
	struct khoc_block block;
	kho_pa_t pa = 0;
	int order, err;

	err = khoc_radix_count(tree, 0, dump->mem.size, &counts);
	if (err)
		fail("count: %d", err);
	for (order = 63; order >= 0; order--)
		if (counts.blocks[order])
			printf("order %d: %llu blocks\n", order,
			       (unsigned long long)counts.blocks[order]);
	khoc_radix_iter_init(&iter, tree, 0, dump->mem.size, 0, 63);
	while (khoc_radix_iter_next(&iter, &run)) {
		if (!dump_map((void *)dump, run.pa, run.nr << (run.order + SHIFT)))
			fail("%#llx, %llu blocks of order %u: not memory",
			     (unsigned long long)run.pa, (unsigned long long)run.nr, run.order);
		pages += run.nr << run.order;
	}
	for (; khoc_radix_next(tree, pa, dump->mem.size, &block);
	     pa = block.pa + (PAGE << block.order))
		once += 1ULL << block.order;
	printf("%llu pages preserved, %llu tables, %llu leaves\n", (unsigned long long)pages,
	       (unsigned long long)counts.tables, (unsigned long long)counts.leaves);
	if (pages != counts.pages || pages != once)
		fail("the walk finds %llu pages, the count %llu, by address %llu",
		     (unsigned long long)pages, (unsigned long long)counts.pages,
		     (unsigned long long)once);
	if (pages < 16 + 1024 + 1500 + 32 + 512)
		fail("that is less than the guest has preserved");
}

/* Is this page of the memfd that cases.c numbers from 1, and the page's number in it? */
static unsigned int page_of(const __u64 *word, __u64 *nr)
{
	unsigned int file = word[0] >> 56, i;

	*nr = word[0] << 8 >> 24;
	for (i = 0; i < PAGE / 8; i++)
		if (word[i] != ((__u64)file << 56 | *nr << 16 | i))
			return 0;
	return file;
}

/* What the session's files contain is found by way of the tree, each page of it once. */
static void check_contents(const struct dump *dump, const struct khoc_radix *tree)
{
	static const unsigned int expected[4] = {0, 16, (1024 + 72) / 73, 1500};
	static unsigned char seen[4][1536];
	unsigned int found[4] = {0}, file;
	struct khoc_block block;
	kho_pa_t pa = 0, at;
	__u64 nr;

	for (; khoc_radix_next(tree, pa, dump->mem.size, &block); pa = at) {
		for (at = block.pa; at < block.pa + (PAGE << block.order); at += PAGE) {
			file = page_of(dump_map((void *)dump, at, PAGE), &nr);
			if (file < 1 || file > 3 || nr >= 1536)
				continue;
			if (seen[file][nr]++)
				fail("page %llu of file %u is there twice", (unsigned long long)nr,
				     file);
			found[file]++;
		}
	}
	for (file = 1; file <= 3; file++) {
		printf("file %u: %u pages\n", file, found[file]);
		if (found[file] != expected[file])
			fail("file %u must have %u pages", file, expected[file]);
	}
}

/* Put @value to *@slot, see that validation says @fault there, put the old back. */
static void damage(const struct dump *dump, kho_pa_t root, __u64 *slot, __u64 value, int fault)
{
	struct khoc_report report = {0};
	struct khoc_radix tree;
	__u64 was = *slot;
	int err;

	*slot = value;
	err = validate(dump, &tree, root, &report);
	*slot = was;
	if (err != -fault || report.value != value)
		fail("%#llx in place of %#llx: error %d, not %d", (unsigned long long)value,
		     (unsigned long long)was, err, -fault);
	printf("damage: %s is seen\n", khoc_fault_text(fault));
}

static void check_damage(const struct dump *dump, kho_pa_t root)
{
	__u64 *slot = dump_map((void *)dump, root, PAGE);

	while (!*slot)
		slot++;
	damage(dump, root, slot, *slot + 8, KHO_E_ALIGN);
	damage(dump, root, slot, dump->mem.node_hi + PAGE, KHO_E_RANGE);
	damage(dump, root, slot, root, KHO_E_CYCLE);
}

int main(int argc, char **argv)
{
	struct khoc_report report = {0};
	struct khoc_radix tree;
	static struct dump dump;
	kho_pa_t root_pa;
	const void *root;

	if (argc != 2)
		fail("usage: check-dump CORE");
	dump_open(&dump, argv[1]);
	root_pa = find_root(&dump);
	printf("root FDT at %#llx\n", (unsigned long long)root_pa);
	root = dump_map(&dump, root_pa, PAGE);
	if (khoc_root_check(root, PAGE, root_pa, dump.mem.size, &report))
		refused("root FDT", &report);
	printf("tree at %#llx\n", (unsigned long long)khoc_root_tree(root));
	if (validate(&dump, &tree, khoc_root_tree(root), &report))
		refused("tree", &report);
	check_counts(&dump, &tree);
	check_subtrees(&dump, &tree, root);
	check_contents(&dump, &tree);
	check_damage(&dump, khoc_root_tree(root));
	return 0;
}
