/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The golden images of what Linux 7.2 hands over: root FDT, tree, live update's sessions, files and FLBs,
 * memory files, reserved memory and metadata, in pages of 4, 16 and 64 KiB. make.py wrote them after
 * docs/abi.md; they contain what linux-SHIFT.txt says.
 */
#include "golden.h"
#include "image.h"

#define NR_PAGES 96 /* have memory; page 1 is the root FDT */

typedef unsigned long long ull;

static const unsigned int linux_shifts[] = {12, 14, 16};

struct linux_image {
	struct image image;
	struct khoc_radix tree;
	const void *root;
	struct said said;
};

static void open_image(struct linux_image *l, unsigned int shift)
{
	struct khoc_radix_check check = {1ULL << shift, 65536ULL << shift, NULL};
	char name[32];

	image_make(&l->image, shift, 65536ULL << shift, 1ULL << shift, NR_PAGES - 1, false);
	l->image.anywhere = true;
	snprintf(name, sizeof(name), "linux-%u.sparse", shift);
	EXPECT_EQ(golden_image(name, l->image.bytes, l->image.mapped), l->image.mem.node_hi);
	/* What is used is not handed out. */
	for (u64 i = 0; i < l->image.nr_nodes; i++) {
		const char *page = l->image.bytes + ((i + 1) << shift);

		l->image.used[i] = *page || memcmp(page, page + 1, (1UL << shift) - 1);
		l->image.live += l->image.used[i];
	}
	l->root = l->image.bytes + (1UL << shift);
	EXPECT_EQ(khoc_root_check(l->root, 1UL << shift, 1UL << shift, l->image.mem.size, NULL), 0);
	EXPECT(!khoc_root_composite(l->root)); /* Linux 7.2 writes none */
	EXPECT_EQ(khoc_radix_attach(&l->tree, &l->image.mem, shift, khoc_root_tree(l->root)), 0);
	check.seen = shim_alloc(NR_PAGES / 8 + 8);
	EXPECT_EQ(khoc_radix_validate(&l->tree, &check, NULL), 0);
	shim_free(check.seen);
}

static void say_root(struct linux_image *l)
{
	struct khoc_subtree s;
	int pos = 0;

	while (!khoc_root_next(l->root, &pos, &s)) {
		EXPECT(!s.type);
		say(&l->said, "subtree %s %llu\n", s.name, (ull)s.size);
	}
}

static void say_blocks(struct linux_image *l)
{
	struct khoc_block block;

	for (kho_pa_t pa = 0; khoc_radix_next(&l->tree, pa, l->image.mem.size, &block);
	     pa = block.pa + (1ULL << (l->image.shift + block.order)))
		say(&l->said, "block 0x%llx %u\n", (ull)block.pa, block.order);
}

static void say_memfd(struct linux_image *l, kho_pa_t pa)
{
	struct khoc_vmalloc_check check = {1ULL << l->image.shift, l->image.mem.size, NULL, NULL};
	struct khoc_memfd memfd;
	struct khoc_memfd_list list;
	struct khoc_memfd_folio folio;
	int rc;

	EXPECT_EQ(khoc_memfd_open(&memfd, &l->image.mem, l->image.shift, pa, NULL), 0);
	say(&l->said, "memfd %llu %llu %u %llu\n", (ull)memfd.pos, (ull)memfd.size, memfd.seals,
	    (ull)memfd.nr_folios);
	EXPECT_EQ(khoc_memfd_list(&list, &memfd, &check, NULL), 0);
	while (!(rc = khoc_memfd_folio_next(&list, &folio, NULL)))
		say(&l->said, "folio 0x%llx %u %llu\n", (ull)folio.pa, folio.flags,
		    (ull)folio.index);
	EXPECT_EQ(rc, -ENOENT);
}

static void say_files(struct linux_image *l, const struct khoc_luo *luo,
		      const struct khoc_luo_session *session)
{
	struct khoc_luo_records walk;
	struct khoc_luo_file file;
	u64 work[64];
	int rc;

	EXPECT_EQ(khoc_luo_files(&walk, luo, session, &l->tree, NULL), 0);
	EXPECT_EQ(khoc_luo_unique_tokens(luo, session, work, ARRAY_LEN(work), NULL), 0);
	while (!(rc = khoc_luo_file_next(&walk, &file, NULL))) {
		say(&l->said, "file %s 0x%llx\n", file.compatible, (ull)file.token);
		if (!strcmp(file.compatible, KHO_ABI_MEMFD_COMPATIBLE))
			say_memfd(l, file.data);
	}
	EXPECT_EQ(rc, -ENOENT);
}

static void say_luo(struct linux_image *l)
{
	struct khoc_luo_records walk;
	struct khoc_luo_session session;
	struct khoc_luo_flbs flbs;
	struct khoc_luo_flb flb;
	struct khoc_subtree s;
	struct khoc_luo luo;
	int rc;

	EXPECT_EQ(khoc_root_find(l->root, KHO_ABI_LUO_NODE, &s), 0);
	EXPECT_EQ(khoc_luo_open(&luo, &l->image.mem, l->image.shift, s.data, s.size, NULL), 0);
	say(&l->said, "luo %llu\n", (ull)luo.liveupdate_num);
	EXPECT_EQ(khoc_luo_sessions(&walk, &luo, &l->tree, NULL), 0);
	while (!(rc = khoc_luo_session_next(&walk, &session, NULL))) {
		say(&l->said, "session %s %llu\n", session.name, (ull)session.nr_files);
		say_files(l, &luo, &session);
	}
	EXPECT_EQ(rc, -ENOENT);
	EXPECT_EQ(khoc_luo_flbs(&flbs, &luo, &l->tree, NULL), 0);
	while (!(rc = khoc_luo_flb_next(&flbs, &flb, NULL)))
		say(&l->said, "flb %s 0x%llx %llu\n", flb.name, (ull)flb.data, (ull)flb.count);
	EXPECT_EQ(rc, -ENOENT);
}

static void say_regions(struct linux_image *l)
{
	struct khoc_reserve_mem walk;
	struct khoc_reserve_mem_region region;
	struct khoc_subtree s;
	int rc;

	EXPECT_EQ(khoc_root_find(l->root, KHO_ABI_MEMBLOCK_NODE, &s), 0);
	EXPECT_EQ(khoc_reserve_mem_open(&walk, &l->image.mem, s.data, s.size, NULL), 0);
	while (!(rc = khoc_reserve_mem_next(&walk, &region, NULL)))
		say(&l->said, "region %s 0x%llx 0x%llx\n", region.name, (ull)region.start,
		    (ull)region.size);
	EXPECT_EQ(rc, -ENOENT);
}

static void say_metadata(struct linux_image *l)
{
	struct khoc_metadata metadata;
	struct khoc_subtree s;

	EXPECT_EQ(khoc_root_find(l->root, KHO_ABI_METADATA_NODE, &s), 0);
	EXPECT_EQ(khoc_metadata_read(&metadata, &l->image.mem, s.data, s.size, NULL), 0);
	say(&l->said, "metadata %s %u\n", metadata.release, metadata.count);
}

static void check_image(struct linux_image *l)
{
	char name[32];

	said_begin(&l->said);
	say_root(l);
	say_blocks(l);
	say_luo(l);
	say_regions(l);
	say_metadata(l);
	snprintf(name, sizeof(name), "linux-%u.txt", l->image.shift);
	EXPECT(said_end(&l->said, name));
}

TEST(they_contain_what_linux_would_hand_over)
{
	for (unsigned int i = 0; i < ARRAY_LEN(linux_shifts); i++) {
		struct linux_image l;

		open_image(&l, linux_shifts[i]);
		check_image(&l);
		image_destroy(&l.image);
	}
}

/* What a host does with root and tree: another subtree, and other memory; then as before. */
TEST(root_and_tree_can_be_worked_on)
{
	static const struct khoc_subtree mine = {
		.name = "mine", .data = 0x10000, .size = 16, .type = "thing", .type_version = 2};
	struct khoc_subtree found;
	struct linux_image l;
	kho_pa_t pa;
	u64 *one = shim_alloc(4096), *two = shim_alloc(4096);

	open_image(&l, 12);
	EXPECT_EQ(khoc_root_add(l.root, one, 4096, &mine), 0);
	EXPECT_EQ(khoc_root_set_composite(one, two, 4096, KHO_ABI_COMPAT_CORE), 0);
	EXPECT_EQ(khoc_root_check(two, 4096, 4096, l.image.mem.size, NULL), 0);
	EXPECT_EQ(khoc_root_find(two, "mine", &found), 0);
	EXPECT_STR_EQ(found.type, "thing");
	EXPECT_STR_EQ(khoc_root_composite(two), KHO_ABI_COMPAT_CORE);
	EXPECT_EQ(khoc_root_remove(two, one, 4096, "mine"), 0);
	EXPECT_EQ(khoc_root_set_composite(one, two, 4096, NULL), 0);
	EXPECT_EQ(khoc_root_check(two, 4096, 4096, l.image.mem.size, NULL), 0);
	l.root = two;
	for (pa = 0x1000000; pa < 0x1100000; pa += 0x8000)
		EXPECT_EQ(khoc_radix_add(&l.tree, pa, pa >> 15 & 2), 0);
	EXPECT(khoc_radix_test(&l.tree, 0x1018000, 2));
	for (pa = 0x1000000; pa < 0x1100000; pa += 0x8000)
		EXPECT_EQ(khoc_radix_del(&l.tree, pa, pa >> 15 & 2), 0);
	check_image(&l);
	image_destroy(&l.image);
	shim_free(one);
	shim_free(two);
}

TEST_SUITE(linux_images, TEST_CASE(they_contain_what_linux_would_hand_over),
	   TEST_CASE(root_and_tree_can_be_worked_on));
