// SPDX-License-Identifier: GPL-2.0-only
/*
 * Thousands of damaged handovers, told apart by what tells real ones apart: kho_verify(). The
 * image is a copy: the golden one of what Linux 7.2 hands over, with pages of this kernel's size,
 * in which all that 7.2 would have preserved is marked.
 *
 * Whatever is written into it, the check ends, changes nothing, gives back its memory, and either
 * says what is wrong, or has let through what can be walked without a fault.
 */
#include "image.h"

#include <kho/core/luo.h>
#include <kho/core/memfd.h>
#include <kho/core/reserve_mem.h>

#include "../../kexec_handover_internal.h"

#define NR_PAGES 96 /* have memory; page 1 is the root FDT */
#define NR_MUTATIONS 4096
#define SIZE (65536ULL * PAGE_SIZE)
#define ROOT PAGE_SIZE

/* The golden image: its size, then records: offset, length, bytes; one of no bytes ends it. */
static const u8 golden[] = {
#include "golden.inc"
};

/**
 * struct mutant - an image under test
 * @image: it, and who allocates its pages
 * @ops: how the check gets at it: any address, and nothing behind its end
 * @mem: the same, as the check gets it
 * @trusted: the same in one piece, for what was checked
 * @types: what it says of types of blocks
 * @before: what it was before the check
 * @words: offsets of the words that are not zero
 * @nr_words: how many
 * @allocs: how many times the check has asked for memory
 * @live: of these, not given back
 * @fail_at: the one, from 1, that gets none
 */
struct mutant {
	struct image image;
	struct khoc_mem_ops ops;
	struct khoc_mem mem;
	struct khoc_mem trusted;
	struct khoc_types types;
	char *before;
	u32 *words;
	u32 nr_words;
	u32 allocs;
	u32 live;
	u32 fail_at;
};

static void *map(void *ctx, kho_pa_t pa, size_t len)
{
	struct mutant *m = ctx;

	if (pa < PAGE_SIZE || pa >= m->image.mapped || len > m->image.mapped - pa)
		return NULL;
	return m->image.bytes + pa;
}

/* ---- the image ----------------------------------------------------------- */

static u64 word(const u8 *bytes)
{
	u64 value;

	memcpy(&value, bytes, sizeof(value));
	return value;
}

static void unpack(struct mutant *m)
{
	const u8 *at = golden + 8;

	EXPECT(word(golden) <= m->image.mapped);
	while (word(at + 8)) {
		EXPECT(word(at) + word(at + 8) <= m->image.mapped);
		memcpy(m->image.bytes + word(at), at + 16, word(at + 8));
		at += 16 + word(at + 8);
	}
	EXPECT_EQ(at + 16 - golden, sizeof(golden));
	/* What is used is not handed out. */
	for (u64 i = 0; i < m->image.nr_nodes; i++) {
		m->image.used[i] = !!memchr_inv(m->image.bytes + (i + 1) * PAGE_SIZE, 0, PAGE_SIZE);
		m->image.live += m->image.used[i];
	}
}

/* Mark a page, if no block has it. */
static void preserve(struct khoc_radix *tree, kho_pa_t pa)
{
	struct khoc_block block;

	if (!khoc_radix_lookup(tree, pa, &block))
		EXPECT_EQ(khoc_radix_add(tree, pa & PAGE_MASK, 0), 0);
}

static void preserve_folios(struct mutant *m, struct khoc_radix *tree, kho_pa_t pa)
{
	struct khoc_memfd_folio folio;
	struct khoc_memfd_list list;
	struct khoc_memfd memfd;

	preserve(tree, pa);
	EXPECT_EQ(khoc_memfd_open(&memfd, &m->mem, PAGE_SHIFT, pa, NULL), 0);
	EXPECT_EQ(khoc_memfd_list(&list, &memfd, NULL, NULL), 0);
	while (!khoc_memfd_folio_next(&list, &folio, NULL))
		preserve(tree, folio.pa);
}

/* The golden image has no marks for data that it has no memory for. */
static void preserve_files(struct mutant *m, struct khoc_radix *tree)
{
	struct khoc_luo_records sessions, files;
	struct khoc_luo_session session;
	struct khoc_subtree subtree;
	struct khoc_luo_file file;
	struct khoc_luo luo;

	EXPECT_EQ(khoc_root_find(m->image.bytes + ROOT, KHO_ABI_LUO_NODE, &subtree), 0);
	EXPECT_EQ(khoc_luo_open(&luo, &m->mem, PAGE_SHIFT, subtree.data, subtree.size, NULL), 0);
	EXPECT_EQ(khoc_luo_sessions(&sessions, &luo, tree, NULL), 0);
	while (!khoc_luo_session_next(&sessions, &session, NULL)) {
		EXPECT_EQ(khoc_luo_files(&files, &luo, &session, tree, NULL), 0);
		while (!khoc_luo_file_next(&files, &file, NULL))
			if (!strcmp(file.compatible, KHO_ABI_MEMFD_COMPATIBLE))
				preserve_folios(m, tree, file.data);
	}
}

static void make(struct mutant *m)
{
	struct khoc_radix tree;

	memset(m, 0, sizeof(*m));
	image_make(&m->image, PAGE_SHIFT, SIZE, PAGE_SIZE, NR_PAGES - 1, false);
	m->ops = m->image.ops;
	m->ops.map = map;
	m->mem = m->image.mem;
	m->mem.ops = &m->ops;
	m->mem.ctx = m;
	m->trusted = m->mem;
	m->trusted.linear = m->image.bytes;
	unpack(m);
	EXPECT_EQ(khoc_radix_attach(&tree, &m->image.mem, PAGE_SHIFT,
				    khoc_root_tree(m->image.bytes + ROOT)),
		  0);
	preserve(&tree, ROOT);
	preserve_files(m, &tree);
	m->before = shim_map(m->image.mapped);
	m->words = shim_map(m->image.mapped / 2);
	for (u32 at = PAGE_SIZE; at < m->image.mapped; at += 8)
		if (*image_word(&m->image, at))
			m->words[m->nr_words++] = at;
}

static void destroy(struct mutant *m)
{
	shim_unmap(m->words, m->image.mapped / 2);
	shim_unmap(m->before, m->image.mapped);
	image_destroy(&m->image);
}

/* ---- the check ----------------------------------------------------------- */

static int is_ram(struct kho_verify *v, phys_addr_t phys, u64 size)
{
	if (size <= SIZE && phys <= SIZE - size)
		return 0;
	return kho_verify_fault(v, KHO_E_RANGE, KHOC_S_RADIX_LEAF, 0, phys, SIZE, "no RAM");
}

static void *get(struct kho_verify *v, size_t size)
{
	struct mutant *m = v->ctx;

	if (++m->allocs == m->fail_at)
		return NULL;
	m->live++;
	return shim_alloc(size);
}

static void put(struct kho_verify *v, void *memory, size_t size)
{
	struct mutant *m = v->ctx;

	m->live--;
	shim_free(memory);
}

/* As at boot: the root FDT, then the rest. */
static int check(struct mutant *m, struct kho_verify *v)
{
	int err;

	*v = (struct kho_verify){
		.mem = &m->mem,
		.trusted = &m->trusted,
		.fdt = m->image.bytes + ROOT,
		.fdt_phys = ROOT,
		.is_ram = is_ram,
		.alloc = get,
		.free = put,
		.ctx = m,
		.types = &m->types,
	};
	m->allocs = 0;
	memcpy(m->before, m->image.bytes, m->image.mapped);
	err = khoc_root_check(v->fdt, PAGE_SIZE, ROOT, SIZE, &v->report) ?: kho_verify(v);
	EXPECT_EQ(m->live, 0);
	EXPECT(!memcmp(m->before, m->image.bytes, m->image.mapped));
	EXPECT_EQ(v->report.fault, -err);
	if (err) {
		EXPECT(v->report.field);
		EXPECT(*khoc_fault_text(v->report.fault));
		EXPECT(*khoc_structure_text(v->report.structure));
	}
	return err;
}

/* ---- what was let through ------------------------------------------------ */

static void walk_blocks(struct mutant *m, struct kho_verify *v)
{
	struct kho_merge *merge = shim_alloc(sizeof(*merge));
	struct khoc_run run;
	u64 end = 0;

	kho_merge_init(merge, &v->tree);
	while (kho_merge_next(merge, &run)) {
		EXPECT(run.nr && run.pa >= end && run.pa < SIZE);
		EXPECT(kho_run_size(&run) <= SIZE - run.pa);
		end = run.pa + kho_run_size(&run);
	}
	EXPECT_EQ(merge->error, 0);
	shim_free(merge);
}

/* As who restores it: the entries, and the list's own pages. */
static void walk_memfd(struct mutant *m, kho_pa_t pa)
{
	struct khoc_vmalloc_iter iter;
	struct khoc_memfd_folio folio;
	struct khoc_vmalloc_part part;
	struct khoc_memfd_list list;
	struct khoc_memfd memfd;
	u64 pages = 0;
	int err;

	EXPECT_EQ(khoc_memfd_open(&memfd, &m->mem, PAGE_SHIFT, pa, NULL), 0);
	EXPECT_EQ(khoc_memfd_list(&list, &memfd, NULL, NULL), 0);
	while (!(err = khoc_memfd_folio_next(&list, &folio, NULL)))
		EXPECT(folio.pa < SIZE);
	EXPECT_EQ(err, -ENOENT);
	if (!memfd.nr_folios)
		return;
	EXPECT_EQ(khoc_vmalloc_iter_init(&iter, &m->mem, PAGE_SHIFT, &memfd.folios, NULL), 0);
	while (khoc_vmalloc_iter_next(&iter, &part))
		pages += part.chunk ? 0 : 1ULL << part.order;
	EXPECT_EQ(khoc_vmalloc_iter_error(&iter), 0);
	EXPECT_EQ(pages, memfd.folios.total_pages);
}

static void walk_files(struct mutant *m, const struct khoc_luo *luo,
		       const struct khoc_luo_session *session)
{
	struct khoc_luo_records walk;
	struct khoc_luo_file file;
	int err;

	EXPECT_EQ(khoc_luo_files(&walk, luo, session, NULL, NULL), 0);
	while (!(err = khoc_luo_file_next(&walk, &file, NULL)))
		if (!strcmp(file.compatible, KHO_ABI_MEMFD_COMPATIBLE))
			walk_memfd(m, file.data);
	EXPECT_EQ(err, -ENOENT);
}

static void walk_luo(struct mutant *m, const struct khoc_subtree *subtree)
{
	struct khoc_luo_session session;
	struct khoc_luo_records walk;
	struct khoc_luo_flbs flbs;
	struct khoc_luo_flb flb;
	struct khoc_luo luo;
	int err;

	EXPECT_EQ(khoc_luo_open(&luo, &m->mem, PAGE_SHIFT, subtree->data, subtree->size, NULL), 0);
	EXPECT_EQ(khoc_luo_sessions(&walk, &luo, NULL, NULL), 0);
	while (!(err = khoc_luo_session_next(&walk, &session, NULL)))
		walk_files(m, &luo, &session);
	EXPECT_EQ(err, -ENOENT);
	EXPECT_EQ(khoc_luo_flbs(&flbs, &luo, NULL, NULL), 0);
	while (!(err = khoc_luo_flb_next(&flbs, &flb, NULL)))
		;
	EXPECT_EQ(err, -ENOENT);
}

static void walk_regions(struct mutant *m, const struct khoc_subtree *subtree)
{
	struct khoc_reserve_mem_region region;
	struct khoc_reserve_mem walk;
	int err;

	EXPECT_EQ(khoc_reserve_mem_open(&walk, &m->mem, subtree->data, subtree->size, NULL), 0);
	while (!(err = khoc_reserve_mem_next(&walk, &region, NULL)))
		EXPECT(region.start < SIZE && region.size <= SIZE - region.start);
	EXPECT_EQ(err, -ENOENT);
}

static void walk(struct mutant *m, struct kho_verify *v)
{
	struct khoc_subtree subtree;
	int pos = 0;

	walk_blocks(m, v);
	while (!khoc_root_next(v->fdt, &pos, &subtree)) {
		EXPECT(subtree.data < SIZE && subtree.size <= SIZE - subtree.data);
		if (!strcmp(subtree.name, KHO_ABI_LUO_NODE))
			walk_luo(m, &subtree);
		else if (!strcmp(subtree.name, KHO_ABI_MEMBLOCK_NODE))
			walk_regions(m, &subtree);
	}
}

/* ---- tests --------------------------------------------------------------- */

TEST(the_image_is_sound)
{
	struct mutant *m = shim_alloc(sizeof(*m));
	struct kho_verify v;

	make(m);
	EXPECT_EQ(check(m, &v), 0);
	EXPECT(m->allocs);
	walk(m, &v);
	destroy(m);
	shim_free(m);
}

/* A check that cannot be made is a refusal. */
TEST(no_memory_to_check_it)
{
	struct mutant *m = shim_alloc(sizeof(*m));
	struct kho_verify v;
	u32 allocs;

	make(m);
	EXPECT_EQ(check(m, &v), 0);
	allocs = m->allocs;
	for (m->fail_at = 1; m->fail_at <= allocs; m->fail_at++) {
		EXPECT_EQ(check(m, &v), -KHO_E_STATE);
		EXPECT_STR_EQ(v.report.field, "no memory to check it");
	}
	EXPECT_EQ(check(m, &v), 0);
	destroy(m);
	shim_free(m);
}

/* What is written instead of @old. */
static u64 another(struct mutant *m, struct rng *rng, u64 old)
{
	switch (rng_below(rng, 10)) {
	case 0:
		return 0;
	case 1:
		return ~0ULL;
	case 2:
		return old + 1;
	case 3:
		return old - 1;
	case 4:
		return old + PAGE_SIZE;
	case 5:
		return rng_below(rng, NR_PAGES + 1) * PAGE_SIZE;
	case 6:
		return *image_word(&m->image, m->words[rng_below(rng, m->nr_words)]);
	case 7:
		return rng_next(rng);
	default:
		return old ^ 1ULL << rng_below(rng, 64);
	}
}

/* Change a word, or some bytes of it. Return: where. */
static u32 mutate(struct mutant *m, struct rng *rng, u64 *old)
{
	u32 at = rng_below(rng, 8) ? m->words[rng_below(rng, m->nr_words)]
				   : PAGE_SIZE + rng_below(rng, (NR_PAGES - 1) * PAGE_SIZE / 8) * 8;
	u64 *slot = image_word(&m->image, at), value = another(m, rng, *slot);
	u32 width = 1 << rng_below(rng, 4), offset = rng_below(rng, 8 / width) * width;

	*old = *slot;
	/* Where it hurts is more often the word as a whole. */
	if (rng_below(rng, 2))
		*slot = value;
	else
		memcpy((char *)slot + offset, (char *)&value + offset, width);
	return at;
}

/* One word most often, else up to three. Each image is the sound one but for these. */
TEST(mutations)
{
	struct mutant *m = shim_alloc(sizeof(*m));
	struct rng rng = {test_seed()};
	u32 refused = 0, accepted = 0;
	struct kho_verify v;

	make(m);
	while (refused + accepted < NR_MUTATIONS) {
		u32 nr = 1 + (rng_below(&rng, 4) ? 0 : rng_below(&rng, 3)), at[3];
		u64 old[3];

		for (u32 i = 0; i < nr; i++)
			at[i] = mutate(m, &rng, &old[i]);
		if (check(m, &v)) {
			refused++;
		} else {
			accepted++;
			walk(m, &v);
		}
		while (nr--)
			*image_word(&m->image, at[nr]) = old[nr];
	}
	EXPECT_EQ(check(m, &v), 0);
	/* Most of the words are checked, and some are data, or have more than one good value. */
	EXPECT(refused > NR_MUTATIONS / 4);
	EXPECT(accepted);
	printf("%u mutations: %u refused, %u accepted and walked\n", refused + accepted, refused,
	       accepted);
	destroy(m);
	shim_free(m);
}

TEST_SUITE(mutate, TEST_CASE(the_image_is_sound), TEST_CASE(no_memory_to_check_it),
	   TEST_CASE(mutations));
