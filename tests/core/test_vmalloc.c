/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Chains of chunks: written as Linux 7.2 writes them, read back, and every way of bending one.
 *
 * Images have chunks in pages [NODE_LO, ...) that are backed; blocks lie above and are never touched.
 */
#include "image.h"

#include <errno.h>

#define NR_NODES 600
#define BLOCKS_AT (1ULL << 27)
#define IMAGE_SIZE (1ULL << 34)

static const unsigned int shifts[] = {6, 12, 14, 16};

static void make(struct image *image, unsigned int shift, bool linear)
{
	image_make(image, shift, IMAGE_SIZE, 16ULL << shift, NR_NODES, linear);
}

static kho_pa_t block_at(const struct image *image, u64 i, unsigned int order)
{
	return BLOCKS_AT + (i << (image->shift + order));
}

/* @nr blocks in an order that no address gives away: ascending by 7, modulo. */
static kho_pa_t *blocks_new(const struct image *image, u64 nr, unsigned int order)
{
	kho_pa_t *blocks = shim_alloc((nr ? nr : 1) * sizeof(*blocks));

	for (u64 i = 0; i < nr; i++)
		blocks[i] = block_at(image, (i * 7) % (nr % 7 ? nr : nr + 1), order);
	return blocks;
}

/* Does the chain of @desc hold exactly these blocks? */
static void expect_chain(struct image *image, const struct kho_abi_vmalloc *desc,
			 const kho_pa_t *blocks, u64 nr, unsigned int order)
{
	struct khoc_vmalloc_iter iter;
	struct khoc_vmalloc_part part;
	u64 i = 0, chunks = 0;

	EXPECT_EQ(khoc_vmalloc_iter_init(&iter, &image->mem, image->shift, desc, NULL), 0);
	while (khoc_vmalloc_iter_next(&iter, &part)) {
		if (part.chunk) {
			EXPECT_EQ(part.order, 0);
			EXPECT_EQ(i, chunks * kho_abi_vmalloc_per_chunk(image->shift));
			chunks++;
			continue;
		}
		EXPECT(i < nr);
		EXPECT_EQ(part.pa, blocks[i]);
		EXPECT_EQ(part.order, order);
		i++;
	}
	EXPECT_EQ(khoc_vmalloc_iter_error(&iter), 0);
	EXPECT_EQ(i, nr);
	EXPECT_EQ(chunks, nr / kho_abi_vmalloc_per_chunk(image->shift) + 1);
	EXPECT(!khoc_vmalloc_iter_next(&iter, &part));
	EXPECT_EQ(khoc_vmalloc_validate(&image->mem, image->shift, desc, NULL, NULL), 0);
}

TEST(a_chunk_is_a_page)
{
	static const u32 want[] = {7, 511, 2047, 8191};

	for (size_t i = 0; i < ARRAY_LEN(shifts); i++)
		EXPECT_EQ(kho_abi_vmalloc_per_chunk(shifts[i]), want[i]);
}

/* What Linux 7.2 leaves behind, written here byte by byte; @chunk: where its chunks are. */
static void write_le(u8 *at, u64 value, unsigned int len)
{
	for (unsigned int i = 0; i < len; i++)
		at[i] = (u8)(value >> 8 * i);
}

static void desc_of_linux(struct kho_abi_vmalloc *desc, u64 first, u32 pages, u16 flags, u16 order)
{
	u8 *bytes = (u8 *)desc;

	write_le(bytes, first, 8);
	write_le(bytes + 8, pages, 4);
	write_le(bytes + 12, flags, 2);
	write_le(bytes + 14, order, 2);
}

TEST(what_linux_writes_is_read)
{
	static const u64 counts[] = {1, 3, 510, 511, 512, 1021, 1022, 1023};
	struct kho_abi_vmalloc desc;

	for (size_t c = 0; c < ARRAY_LEN(counts) * 2; c++) {
		u64 nr = counts[c / 2];
		unsigned int order = c % 2 ? 9 : 0;
		struct image image;
		kho_pa_t *blocks, chunk, first;

		make(&image, 12, c & 2);
		blocks = blocks_new(&image, nr, order);
		chunk = first = image_node(&image);
		for (u64 i = 0; i < nr; i++) {
			write_le((u8 *)image.bytes + chunk + 8 + i % 511 * 8, blocks[i], 8);
			if (i % 511 == 510) {
				kho_pa_t next = image_node(&image);

				write_le((u8 *)image.bytes + chunk, next, 8);
				chunk = next;
			}
		}
		desc_of_linux(&desc, first, (u32)(nr << order), order ? 3 : 1, (u16)order);
		expect_chain(&image, &desc, blocks, nr, order);
		/* A full last chunk without a successor says the same. */
		if (nr % 511 == 0) {
			chunk = first;
			for (u64 i = 511; i < nr; i += 511)
				chunk = *image_word(&image, chunk);
			*image_word(&image, chunk) = 0;
			EXPECT_EQ(khoc_vmalloc_validate(&image.mem, 12, &desc, NULL, NULL), 0);
		}
		shim_free(blocks);
		image_destroy(&image);
	}
}

/* The chain word by word as Linux writes it: chunks full but for the last, zeros behind. */
static void expect_words(struct image *image, const struct kho_abi_vmalloc *desc,
			 const kho_pa_t *blocks, u64 nr)
{
	u32 per = kho_abi_vmalloc_per_chunk(image->shift);
	kho_pa_t chunk = desc->first;

	for (u64 done = 0; done <= nr; done += per) {
		const u64 *words = image_word(image, chunk);

		EXPECT(chunk);
		for (u32 i = 0; i < per; i++)
			EXPECT_EQ(words[1 + i], done + i < nr ? blocks[done + i] : 0);
		EXPECT_EQ(!words[0], done + per > nr);
		chunk = words[0];
	}
}

static void build_and_read(unsigned int shift, u64 nr, unsigned int order, bool linear)
{
	unsigned int flags = order ? KHO_ABI_VMALLOC_FLAGS : KHO_ABI_VMALLOC_ALLOC;
	struct kho_abi_vmalloc desc, want;
	struct image image;
	kho_pa_t *blocks;

	make(&image, shift, linear);
	blocks = blocks_new(&image, nr, order);
	EXPECT_EQ(khoc_vmalloc_build(&image.mem, shift, order, flags, blocks, nr, &desc), 0);
	EXPECT_EQ(image.live, nr / kho_abi_vmalloc_per_chunk(shift) + 1);
	desc_of_linux(&want, desc.first, (u32)(nr << order), (u16)flags, (u16)order);
	EXPECT_MEM_EQ(&desc, &want, sizeof(desc));
	expect_words(&image, &desc, blocks, nr);
	expect_chain(&image, &desc, blocks, nr, order);
	khoc_vmalloc_free(&image.mem, shift, &desc);
	EXPECT_EQ(image.live, 0);
	shim_free(blocks);
	image_destroy(&image);
}

TEST(lists_of_any_length_come_back)
{
	for (size_t s = 0; s < ARRAY_LEN(shifts); s++) {
		u32 per = kho_abi_vmalloc_per_chunk(shifts[s]);
		u64 counts[] = {1, 2, per - 1, per, per + 1, 2 * per, 2 * per + 1, 5 * per - 1};

		for (size_t c = 0; c < ARRAY_LEN(counts); c++) {
			build_and_read(shifts[s], counts[c], 0, c % 2);
			build_and_read(shifts[s], counts[c], 2, c % 2 == 0);
		}
	}
}

TEST(every_allocation_may_fail)
{
	for (size_t s = 0; s < ARRAY_LEN(shifts); s++) {
		u64 nr = 3 * kho_abi_vmalloc_per_chunk(shifts[s]) + 1, chunks = 4;
		struct kho_abi_vmalloc desc = {.first = 77};
		struct image image;
		kho_pa_t *blocks;

		make(&image, shifts[s], true);
		blocks = blocks_new(&image, nr, 0);
		for (u64 fail = 1; fail <= chunks; fail++) {
			image_reset(&image);
			image.fail_at = fail;
			EXPECT_EQ(khoc_vmalloc_build(&image.mem, shifts[s], 0, 1, blocks, nr,
						     &desc),
				  -ENOMEM);
			EXPECT_EQ(image.live, 0);
			EXPECT_EQ(desc.first, 77);
		}
		image_reset(&image);
		image.fail_at = chunks + 1;
		EXPECT_EQ(khoc_vmalloc_build(&image.mem, shifts[s], 0, 1, blocks, nr, &desc), 0);
		EXPECT_EQ(image.allocs, chunks);
		shim_free(blocks);
		image_destroy(&image);
	}
}

TEST(what_cannot_be_described_is_refused)
{
	struct kho_abi_vmalloc desc = {0};
	struct image image;
	kho_pa_t good, bad[2];

	make(&image, 12, true);
	good = block_at(&image, 0, 9);
	EXPECT_EQ(khoc_vmalloc_build(&image.mem, 5, 0, 1, &good, 1, &desc), -EINVAL);
	EXPECT_EQ(khoc_vmalloc_build(&image.mem, 17, 0, 1, &good, 1, &desc), -EINVAL);
	EXPECT_EQ(khoc_vmalloc_build(&image.mem, 12, 0, 4, &good, 1, &desc), -EINVAL);
	EXPECT_EQ(khoc_vmalloc_build(&image.mem, 12, 32, 1, &good, 1, &desc), -EINVAL);
	EXPECT_EQ(khoc_vmalloc_build(&image.mem, 12, 0, 1, &good, 0, &desc), -EINVAL);
	EXPECT_EQ(khoc_vmalloc_build(&image.mem, 12, 0, 1, &good, 1ULL << 32, &desc), -EINVAL);
	EXPECT_EQ(khoc_vmalloc_build(&image.mem, 12, 9, 1, &good, 1ULL << 23, &desc), -EINVAL);
	bad[0] = good;
	bad[1] = good + 0x1000;
	EXPECT_EQ(khoc_vmalloc_build(&image.mem, 12, 9, 1, bad, 2, &desc), -EINVAL);
	bad[1] = 0;
	EXPECT_EQ(khoc_vmalloc_build(&image.mem, 12, 0, 1, bad, 2, &desc), -EINVAL);
	bad[1] = IMAGE_SIZE;
	EXPECT_EQ(khoc_vmalloc_build(&image.mem, 12, 0, 1, bad, 2, &desc), -EINVAL);
	EXPECT_EQ(image.allocs, 0);
	EXPECT_EQ(desc.first | desc.total_pages, 0);
	bad[1] = IMAGE_SIZE - 0x1000;
	EXPECT_EQ(khoc_vmalloc_build(&image.mem, 12, 0, 1, bad, 2, &desc), 0);
	image_destroy(&image);
}

/* ---- faults ---- */

/* A chain of 64-byte pages: chunks of 7, 7 and 3 blocks of order 1. */
struct bent {
	struct image image;
	struct kho_abi_vmalloc desc;
	kho_pa_t chunk[3];
	struct khoc_vmalloc_check check;
	struct khoc_radix tree;
	struct khoc_report report;
};

#define BENT_BLOCKS 17

static void bent_make(struct bent *b)
{
	kho_pa_t *blocks;

	memset(b, 0, sizeof(*b));
	make(&b->image, 6, false);
	blocks = blocks_new(&b->image, BENT_BLOCKS, 1);
	EXPECT_EQ(khoc_vmalloc_build(&b->image.mem, 6, 1, 1, blocks, BENT_BLOCKS, &b->desc), 0);
	b->chunk[0] = b->desc.first;
	b->chunk[1] = *image_word(&b->image, b->chunk[0]);
	b->chunk[2] = *image_word(&b->image, b->chunk[1]);
	b->check.data_lo = b->image.mem.node_lo;
	b->check.data_hi = BLOCKS_AT + (64 << 7);
	shim_free(blocks);
}

static u64 *word_of(struct bent *b, unsigned int chunk, unsigned int i)
{
	return image_word(&b->image, b->chunk[chunk] + i * 8);
}

static void expect_fault(struct bent *b, int fault, int structure, u64 addr, u64 value,
			 const char *field)
{
	EXPECT_EQ(khoc_vmalloc_validate(&b->image.mem, 6, &b->desc, &b->check, &b->report), -fault);
	EXPECT_EQ(b->report.fault, fault);
	EXPECT_EQ(b->report.structure, structure);
	EXPECT_EQ(b->report.addr, addr);
	EXPECT_EQ(b->report.value, value);
	EXPECT_STR_EQ(b->report.field, field);
	EXPECT_EQ(khoc_vmalloc_validate(&b->image.mem, 6, &b->desc, &b->check, NULL), -fault);
}

static void expect_desc_fault(struct bent *b, int fault, u64 addr, u64 value, const char *field)
{
	expect_fault(b, fault, KHOC_S_VMALLOC, addr, value, field);
}

TEST(a_bad_descriptor_is_named)
{
	struct kho_abi_vmalloc good;
	struct bent b;

	bent_make(&b);
	good = b.desc;
	EXPECT_EQ(khoc_vmalloc_validate(&b.image.mem, 6, &b.desc, &b.check, &b.report), 0);
	EXPECT_EQ(b.report.fault, 0);
	EXPECT_EQ(khoc_vmalloc_validate(&b.image.mem, 5, &b.desc, &b.check, &b.report), -EINVAL);
	EXPECT_EQ(khoc_vmalloc_validate(&b.image.mem, 17, &b.desc, &b.check, NULL), -EINVAL);
	b.desc.flags = 4 | 1;
	expect_desc_fault(&b, KHO_E_VERSION, 12, 5, "flags");
	b.desc = good;
	b.desc.order = 32;
	expect_desc_fault(&b, KHO_E_ORDER, 14, 32, "order");
	b.desc.order = 0xffff;
	expect_desc_fault(&b, KHO_E_ORDER, 14, 0xffff, "order");
	b.desc = good;
	b.desc.total_pages = 0;
	expect_desc_fault(&b, KHO_E_RANGE, 8, 0, "total_pages");
	b.desc.total_pages = 0xfffffffe;
	expect_desc_fault(&b, KHO_E_RANGE, 8, 0xfffffffe, "total_pages");
	b.desc.total_pages = 33;
	expect_desc_fault(&b, KHO_E_ORDER, 8, 33, "total_pages");
	b.desc = good;
	b.desc.first = 0;
	expect_desc_fault(&b, KHO_E_RANGE, 0, 0, "first");
	b.desc.first = 8ULL << 6;
	expect_desc_fault(&b, KHO_E_RANGE, 0, 8ULL << 6, "first");
	b.desc.first = b.check.data_hi;
	expect_desc_fault(&b, KHO_E_RANGE, 0, b.check.data_hi, "first");
	b.desc.first = ~63ULL;
	expect_desc_fault(&b, KHO_E_RANGE, 0, ~63ULL, "first");
	b.desc.first = good.first + 8;
	expect_desc_fault(&b, KHO_E_ALIGN, 0, good.first + 8, "first");
	b.desc = good;
	b.check.data_hi = 0;
	expect_desc_fault(&b, KHO_E_RANGE, 8, 34, "total_pages");
	image_destroy(&b.image);
}

/* Put @value to a word, expect the fault there, and put it right again. */
static void bend(struct bent *b, unsigned int chunk, unsigned int i, u64 value, int fault)
{
	u64 was = *word_of(b, chunk, i);

	*word_of(b, chunk, i) = value;
	expect_fault(b, fault, KHOC_S_VMALLOC_CHUNK, b->chunk[chunk] + i * 8, value,
		     i ? "phys" : "next");
	*word_of(b, chunk, i) = was;
	EXPECT_EQ(khoc_vmalloc_validate(&b->image.mem, 6, &b->desc, &b->check, NULL), 0);
}

TEST(a_bad_word_of_a_chunk_is_named)
{
	u64 block, last;
	struct bent b;

	bent_make(&b);
	block = *word_of(&b, 1, 3);
	bend(&b, 1, 3, block + 64, KHO_E_ALIGN); /* a page, and not a block of two */
	bend(&b, 1, 3, block + 1, KHO_E_ALIGN);
	bend(&b, 1, 3, b.check.data_hi, KHO_E_RANGE);
	bend(&b, 1, 3, 1ULL << 62, KHO_E_RANGE);
	bend(&b, 1, 3, ~127ULL, KHO_E_RANGE);
	bend(&b, 1, 3, 64 * 8, KHO_E_RANGE); /* below the data */
	bend(&b, 0, 0, b.chunk[1] + 8, KHO_E_ALIGN);
	bend(&b, 0, 0, b.check.data_hi, KHO_E_RANGE);
	bend(&b, 2, 0, b.chunk[1], KHO_E_FORMAT); /* three blocks, and a successor */
	bend(&b, 2, 5, block, KHO_E_FORMAT); /* a block behind the end */
	bend(&b, 2, 7, 1, KHO_E_FORMAT);
	bend(&b, 2, 4, block, KHO_E_RANGE); /* one more than the descriptor counts */
	/* Fewer than it counts. */
	last = *word_of(&b, 2, 3);
	*word_of(&b, 2, 3) = 0;
	expect_fault(&b, KHO_E_RANGE, KHOC_S_VMALLOC_CHUNK, b.chunk[2], BENT_BLOCKS - 1, "next");
	*word_of(&b, 2, 3) = last;
	*word_of(&b, 1, 0) = 0;
	expect_fault(&b, KHO_E_RANGE, KHOC_S_VMALLOC_CHUNK, b.chunk[1], 14, "next");
	/* A hole in a chunk ends it; what is behind is then in the wrong place. */
	*word_of(&b, 1, 0) = b.chunk[2];
	*word_of(&b, 0, 6) = 0;
	expect_fault(&b, KHO_E_FORMAT, KHOC_S_VMALLOC_CHUNK, b.chunk[0] + 56, *word_of(&b, 0, 7),
		     "phys");
	image_destroy(&b.image);
}

TEST(circles_end)
{
	struct bent b;

	bent_make(&b);
	/* The last full chunk leads back: to itself, to the one before, to the first. */
	for (unsigned int to = 0; to < 2; to++) {
		*word_of(&b, 1, 0) = b.chunk[to];
		expect_fault(&b, KHO_E_CYCLE, KHOC_S_VMALLOC_CHUNK, b.chunk[to ? 1 : 0],
			     b.chunk[to ? 1 : 0], "next");
	}
	*word_of(&b, 0, 0) = b.chunk[0];
	expect_fault(&b, KHO_E_CYCLE, KHOC_S_VMALLOC_CHUNK, b.chunk[0], b.chunk[0], "next");
	/* A chain that is too long and no circle. */
	*word_of(&b, 0, 0) = b.chunk[1];
	*word_of(&b, 1, 0) = b.chunk[2];
	b.desc.total_pages = 10;
	expect_fault(&b, KHO_E_RANGE, KHOC_S_VMALLOC_CHUNK, b.chunk[0] + 6 * 8, *word_of(&b, 0, 6),
		     "phys");
	b.desc.total_pages = 28;
	expect_fault(&b, KHO_E_RANGE, KHOC_S_VMALLOC_CHUNK, b.chunk[2] + 8, *word_of(&b, 2, 1),
		     "phys");
	image_destroy(&b.image);
}

TEST(a_page_in_two_blocks_is_seen)
{
	static u64 seen[(BLOCKS_AT + 64 * 128) / 64 / 64];
	u64 was;
	struct bent b;

	bent_make(&b);
	b.check.data_hi = BLOCKS_AT + 64 * 128;
	b.check.seen = seen;
	EXPECT_EQ(khoc_vmalloc_validate(&b.image.mem, 6, &b.desc, &b.check, NULL), 0);
	/* All of them, and nothing else, are marked. */
	for (u64 i = 0, sum = 0; i < ARRAY_LEN(seen); i++) {
		sum += khoc_popcount64(seen[i]);
		if (i == ARRAY_LEN(seen) - 1)
			EXPECT_EQ(sum, BENT_BLOCKS * 2 + 3);
	}
	memset(seen, 0, sizeof(seen));
	was = *word_of(&b, 2, 1);
	*word_of(&b, 2, 1) = *word_of(&b, 0, 4);
	expect_fault(&b, KHO_E_OVERLAP, KHOC_S_VMALLOC_CHUNK, b.chunk[2] + 8, *word_of(&b, 0, 4),
		     "phys");
	memset(seen, 0, sizeof(seen));
	*word_of(&b, 2, 1) = b.chunk[0] & ~127ULL; /* a block that has a chunk in it */
	EXPECT_EQ(khoc_vmalloc_validate(&b.image.mem, 6, &b.desc, &b.check, &b.report),
		  -KHO_E_OVERLAP);
	*word_of(&b, 2, 1) = was;
	memset(seen, 0, sizeof(seen));
	*word_of(&b, 1, 0) = b.chunk[0]; /* a circle is found at its first repetition */
	EXPECT_EQ(khoc_vmalloc_validate(&b.image.mem, 6, &b.desc, &b.check, &b.report),
		  -KHO_E_OVERLAP);
	EXPECT_EQ(b.report.addr, b.chunk[1]);
	EXPECT_EQ(b.report.value, b.chunk[0]);
	image_destroy(&b.image);
}

TEST(what_the_tree_does_not_have_is_named)
{
	struct khoc_vmalloc_iter iter;
	struct khoc_vmalloc_part part;
	struct bent b;

	bent_make(&b);
	EXPECT_EQ(khoc_radix_init(&b.tree, &b.image.mem, 6), 0);
	EXPECT_EQ(khoc_vmalloc_iter_init(&iter, &b.image.mem, 6, &b.desc, NULL), 0);
	while (khoc_vmalloc_iter_next(&iter, &part))
		EXPECT_EQ(khoc_radix_add(&b.tree, part.pa, part.order), 0);
	b.check.tree = &b.tree;
	EXPECT_EQ(khoc_vmalloc_validate(&b.image.mem, 6, &b.desc, &b.check, NULL), 0);
	khoc_radix_del(&b.tree, b.chunk[0], 0);
	expect_desc_fault(&b, KHO_E_NOT_PRESERVED, 0, b.chunk[0], "first");
	khoc_radix_add(&b.tree, b.chunk[0], 0);
	khoc_radix_del(&b.tree, b.chunk[2], 0);
	expect_fault(&b, KHO_E_NOT_PRESERVED, KHOC_S_VMALLOC_CHUNK, b.chunk[1], b.chunk[2], "next");
	khoc_radix_add(&b.tree, b.chunk[2], 0);
	/* As two pages instead of a block of two. */
	khoc_radix_del(&b.tree, *word_of(&b, 1, 5), 1);
	khoc_radix_add_range(&b.tree, *word_of(&b, 1, 5), 2, 0);
	expect_fault(&b, KHO_E_NOT_PRESERVED, KHOC_S_VMALLOC_CHUNK, b.chunk[1] + 40,
		     *word_of(&b, 1, 5), "phys");
	image_destroy(&b.image);
}

static void *map_nothing(void *ctx, kho_pa_t pa, size_t len)
{
	return NULL;
}

TEST(an_image_may_have_holes)
{
	struct bent b;

	bent_make(&b);
	b.image.ops.map = map_nothing;
	expect_desc_fault(&b, KHO_E_RANGE, 0, b.chunk[0], "first");
	image_destroy(&b.image);
}

/* ---- against a model ---- */

/* A chain is a list: random ones, at random lengths, and preserved in a tree. */
static void model_round(struct rng *rng, unsigned int shift)
{
	u32 per = kho_abi_vmalloc_per_chunk(shift);
	unsigned int order = (unsigned int)rng_below(rng, 4);
	u64 nr = 1 + rng_below(rng, per < 100 ? 60 * per : 3 * per + 2);
	struct khoc_vmalloc_check check = {.data_lo = 16ULL << shift, .data_hi = IMAGE_SIZE};
	struct kho_abi_vmalloc desc;
	struct image image;
	kho_pa_t *blocks = shim_alloc(nr * sizeof(*blocks));

	make(&image, shift, rng_below(rng, 2));
	for (u64 i = 0; i < nr; i++)
		blocks[i] = block_at(&image, rng_below(rng, 1 << 14), order);
	EXPECT_EQ(khoc_vmalloc_build(&image.mem, shift, order, (unsigned int)rng_below(rng, 4),
				     blocks, nr, &desc),
		  0);
	expect_chain(&image, &desc, blocks, nr, order);
	EXPECT_EQ(khoc_vmalloc_validate(&image.mem, shift, &desc, &check, NULL), 0);
	khoc_vmalloc_free(&image.mem, shift, &desc);
	EXPECT_EQ(image.live, 0);
	shim_free(blocks);
	image_destroy(&image);
}

TEST(random_lists_come_back)
{
	struct rng rng = {test_seed()};

	for (size_t s = 0; s < ARRAY_LEN(shifts); s++)
		for (int i = 0; i < 30; i++)
			model_round(&rng, shifts[s]);
}

/* Beyond what is backed there is nothing, as in a sparse dump. */
static void *map_backed(void *ctx, kho_pa_t pa, size_t len)
{
	struct image *image = ctx;

	return pa < image->mem.node_hi && len <= image->mem.node_hi - pa ? image->bytes + pa : NULL;
}

/* Words of a sound chain change at random: walks end, and what validates comes back as it is read. */
TEST(random_damage_is_bounded)
{
	struct rng rng = {test_seed()};
	u64 refused = 0;

	for (int i = 0; i < 4000; i++) {
		struct khoc_vmalloc_iter iter;
		struct khoc_vmalloc_part part;
		struct bent b;
		u64 steps = 0;
		int rc;

		bent_make(&b);
		b.image.ops.map = map_backed;
		for (u64 n = 1 + rng_below(&rng, 3); n; n--) {
			unsigned int c = (unsigned int)rng_below(&rng, 3);
			u64 *word = word_of(&b, c, (unsigned int)rng_below(&rng, 8));
			u64 r = rng_next(&rng);

			*word = r % 4 == 0   ? b.chunk[r >> 8 & 1]
				: r % 4 == 1 ? *word ^ 1ULL << (r >> 8 & 63)
				: r % 4 == 2 ? 0
					     : r;
		}
		if (rng_below(&rng, 4) == 0)
			((u8 *)&b.desc)[rng_below(&rng, 16)] ^= (u8)rng_next(&rng);
		rc = khoc_vmalloc_iter_init(&iter, &b.image.mem, 6, &b.desc, &b.check);
		while (!rc && khoc_vmalloc_iter_next(&iter, &part)) {
			EXPECT(part.pa >= b.check.data_lo && part.pa < b.check.data_hi);
			EXPECT(++steps < 2 * (b.check.data_hi >> 6));
		}
		rc = khoc_vmalloc_iter_error(&iter);
		EXPECT_EQ(khoc_vmalloc_validate(&b.image.mem, 6, &b.desc, &b.check, &b.report), rc);
		EXPECT_EQ(b.report.fault, -rc);
		refused += rc != 0;
		image_destroy(&b.image);
	}
	EXPECT(refused > 2000);
}

TEST_SUITE(vmalloc, TEST_CASE(a_chunk_is_a_page), TEST_CASE(what_linux_writes_is_read),
	   TEST_CASE(lists_of_any_length_come_back), TEST_CASE(every_allocation_may_fail),
	   TEST_CASE(what_cannot_be_described_is_refused), TEST_CASE(a_bad_descriptor_is_named),
	   TEST_CASE(a_bad_word_of_a_chunk_is_named), TEST_CASE(circles_end),
	   TEST_CASE(a_page_in_two_blocks_is_seen), TEST_CASE(what_the_tree_does_not_have_is_named),
	   TEST_CASE(an_image_may_have_holes), TEST_CASE(random_lists_come_back),
	   TEST_CASE(random_damage_is_bounded));
