/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Slabs and caches' records: the geometry against brute force for every object size and page size,
 * every check against the very fault, and random damage against a second, dumb reader.
 */
#include "image.h"

static const unsigned int shifts[] = {6, 12, 14, 16};

#define SLAB_BYTES(size) ((size) > 4096 ? 262144u : 65536u)

TEST(the_geometry_is_the_best_there_is)
{
	for (size_t s = 0; s < ARRAY_LEN(shifts); s++)
		for (u32 size = 16; size <= 32768; size += 16) {
			u32 nr, off, bytes = SLAB_BYTES(size), align = 1;
			unsigned int order = khoc_slab_order(shifts[s], size);

			EXPECT_EQ(1u << (shifts[s] + order), bytes);
			khoc_slab_geometry(shifts[s], size, &nr, &off);
			while (align < 1u << shifts[s] && !(size % (align * 2)))
				align *= 2;
			EXPECT_EQ(off % align, 0);
			EXPECT(off >= 64 + nr && off + nr * size <= bytes);
			EXPECT(nr >= 7);
			/* One more would not fit, and the first could not begin earlier. */
			EXPECT((64 + nr + 1 + align - 1) / align * align + (nr + 1) * size > bytes);
			EXPECT(off < 64 + nr + align);
		}
}

TEST(heap_sizes_are_the_forty)
{
	u32 last = 0, nr = 0;

	for (u32 size = 0; size < 70000; size++) {
		u32 step = 16;

		if (!khoc_slab_is_heap_size(size))
			continue;
		/* Four to a doubling from 128 on. */
		for (u32 base = 128; base < size; base *= 2)
			step = base / 4;
		EXPECT_EQ(size - last, step);
		last = size;
		nr++;
	}
	EXPECT_EQ(nr, 40);
	EXPECT_EQ(last, 32768);
}

TEST(cache_sizes_are_rounded)
{
	EXPECT_EQ(khoc_cache_object_size(12, 1, 1), 16);
	EXPECT_EQ(khoc_cache_object_size(12, 17, 8), 32);
	EXPECT_EQ(khoc_cache_object_size(12, 100, 64), 128);
	EXPECT_EQ(khoc_cache_object_size(12, 1, 4096), 4096);
	EXPECT_EQ(khoc_cache_object_size(12, 32768, 1), 32768);
	EXPECT_EQ(khoc_cache_object_size(16, 40, 32768), 32768);
	EXPECT_EQ(khoc_cache_object_size(12, 0, 1), 0);
	EXPECT_EQ(khoc_cache_object_size(12, 32769, 1), 0);
	EXPECT_EQ(khoc_cache_object_size(12, 64, 0), 0);
	EXPECT_EQ(khoc_cache_object_size(12, 64, 24), 0);
	EXPECT_EQ(khoc_cache_object_size(12, 64, 8192), 0);
	EXPECT_EQ(khoc_cache_object_size(6, 64, 128), 0);
	EXPECT_EQ(khoc_cache_object_size(16, 64, 65536), 0);
	EXPECT_EQ(khoc_cache_object_size(12, 0xffffffff, 1), 0);
}

TEST(names_are_checked)
{
	EXPECT(khoc_cache_name_ok("a", 1));
	EXPECT(khoc_cache_name_ok("Az09._+-", 8));
	EXPECT(!khoc_cache_name_ok("", 8));
	EXPECT(!khoc_cache_name_ok("abc", 2));
	EXPECT(!khoc_cache_name_ok("a b", 8));
	EXPECT(!khoc_cache_name_ok("a\xe4", 8));
	EXPECT(!khoc_cache_name_ok("a,b", 8));
}

/* ---- a slab in an image ---- */

struct fixture {
	struct image image;
	unsigned int shift, order;
	kho_pa_t pa;
	u32 bytes;
	struct kho_abi_slab *slab;
	struct khoc_report report;
	struct khoc_slab_counts counts;
};

static void make(struct fixture *f, unsigned int shift, bool linear, u32 size, kho_pa_t cache,
		 u32 flags)
{
	memset(f, 0, sizeof(*f));
	f->shift = shift;
	f->order = khoc_slab_order(shift, size);
	f->bytes = SLAB_BYTES(size);
	f->pa = 2 * f->bytes;
	/* The slab ends where the image does. */
	image_make(&f->image, shift, 3ULL * f->bytes, f->bytes, 2 * f->bytes >> shift, linear);
	f->slab = (struct kho_abi_slab *)image_word(&f->image, f->pa);
	khoc_slab_init(f->slab, shift, f->pa, size, cache, flags);
}

static int check(struct fixture *f)
{
	return khoc_slab_check(&f->image.mem, f->shift, f->pa, f->order, &f->counts, &f->report);
}

static u32 crc_of(const struct fixture *f)
{
	return khoc_crc32c(khoc_crc32c(0, f->slab, 60), &f->pa, 8);
}

static u8 *states(struct fixture *f)
{
	return (u8 *)(f->slab + 1);
}

static void expect_fault(struct fixture *f, int fault, const char *field)
{
	EXPECT_EQ(check(f), -fault);
	EXPECT_EQ(f->report.fault, fault);
	EXPECT_EQ(f->report.structure, KHOC_S_SLAB);
	EXPECT_EQ(f->report.level, -1);
	EXPECT_STR_EQ(f->report.field, field);
	EXPECT(f->report.addr >= f->pa && f->report.addr < f->pa + f->bytes);
}

TEST(sound_slabs_pass)
{
	static const u32 sizes[] = {16, 48, 4096, 5120, 32768};
	struct fixture f;

	for (size_t s = 0; s < ARRAY_LEN(shifts); s++)
		for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
			for (unsigned int single = 0; single < 2; single++) {
				make(&f, shifts[s], i & 1, sizes[i], single ? 0x1000 : 0, single);
				states(&f)[0] = KHO_ABI_OBJECT_LIVE;
				states(&f)[2] = KHO_ABI_OBJECT_FREED;
				states(&f)[f.slab->nr_objects - 1] = KHO_ABI_OBJECT_LIVE;
				EXPECT_EQ(check(&f), 0);
				EXPECT_EQ(f.report.fault, 0);
				EXPECT_EQ(f.counts.live, 2);
				EXPECT_EQ(f.counts.freed, 1);
				EXPECT_EQ(f.counts.free, f.slab->nr_objects - 3);
				EXPECT_EQ(f.counts.reserved, 0);
				EXPECT_EQ(khoc_slab_check(&f.image.mem, f.shift, f.pa, f.order,
							  NULL, NULL),
					  0);
				image_destroy(&f.image);
			}
}

/* Every field of the header, with a checksum that is right again. */
TEST(each_field_has_its_fault)
{
	struct fixture f;

#define WRONG(fault, name, change)                                                                 \
	do {                                                                                       \
		make(&f, 12, true, 64, 0x1000, KHO_ABI_SLAB_SINGLE);                               \
		change;                                                                            \
		f.slab->crc = crc_of(&f);                                                          \
		expect_fault(&f, fault, name);                                                     \
		image_destroy(&f.image);                                                           \
	} while (0)
	WRONG(KHO_E_MAGIC, "magic", f.slab->magic++);
	WRONG(KHO_E_VERSION, "version", f.slab->version++);
	WRONG(KHO_E_FORMAT, "flags", f.slab->flags = 2);
	WRONG(KHO_E_FORMAT, "flags", f.slab->flags = 0x80000001);
	WRONG(KHO_E_FORMAT, "flags", f.slab->cache = 0); /* the heap has none */
	WRONG(KHO_E_RANGE, "object_size", f.slab->object_size = 0);
	WRONG(KHO_E_RANGE, "object_size", f.slab->object_size = 8);
	WRONG(KHO_E_RANGE, "object_size", f.slab->object_size = 72);
	WRONG(KHO_E_RANGE, "object_size", f.slab->object_size = 32784);
	WRONG(KHO_E_RANGE, "object_size", f.slab->object_size = 0xfffffff0);
	/* 144 is a multiple of 16 and no size class. */
	WRONG(KHO_E_RANGE, "object_size",
	      (f.slab->object_size = 144, f.slab->cache = 0, f.slab->flags = 0));
	WRONG(KHO_E_ORDER, "order", f.slab->order = 3);
	WRONG(KHO_E_ORDER, "order", f.slab->object_size = 8192);
	WRONG(KHO_E_RANGE, "nr_objects", f.slab->nr_objects--);
	WRONG(KHO_E_RANGE, "nr_objects", f.slab->nr_objects = 0xffffffff);
	WRONG(KHO_E_RANGE, "objects_off", f.slab->objects_off -= 16);
	WRONG(KHO_E_ALIGN, "cache", f.slab->cache++);
	WRONG(KHO_E_FORMAT, "reserved", f.slab->reserved[27] = 1);
#undef WRONG
	make(&f, 12, true, 64, 0, 0);
	f.slab->crc ^= 1;
	expect_fault(&f, KHO_E_CHECKSUM, "crc");
	image_destroy(&f.image);
}

TEST(a_slab_is_bound_to_its_place)
{
	struct fixture f;

	make(&f, 12, false, 64, 0, 0);
	f.order = 3;
	expect_fault(&f, KHO_E_ORDER, "order");
	f.order = 63;
	expect_fault(&f, KHO_E_ORDER, "order");
	f.order = 4;
	/* Moved by a page: another address, another checksum; with the right one, not aligned. */
	memmove((char *)f.slab - 4096, f.slab, 4096);
	f.pa -= 4096;
	f.slab = (struct kho_abi_slab *)image_word(&f.image, f.pa);
	expect_fault(&f, KHO_E_CHECKSUM, "crc");
	f.slab->crc = crc_of(&f);
	expect_fault(&f, KHO_E_ALIGN, "address");
	image_destroy(&f.image);
	/* Behind the image's end, or across it. */
	make(&f, 12, true, 64, 0, 0);
	f.image.mem.size -= 4096;
	expect_fault(&f, KHO_E_RANGE, "address");
	f.pa = f.image.mem.size;
	EXPECT_EQ(check(&f), -KHO_E_RANGE);
	f.pa = ~0ULL - 4095;
	EXPECT_EQ(check(&f), -KHO_E_RANGE);
	image_destroy(&f.image);
}

TEST(states_are_those_of_the_kind)
{
	struct fixture f;

	for (unsigned int single = 0; single < 2; single++)
		for (unsigned int value = 0; value < 256; value++) {
			bool ok = value == 0 || value == 0xa5 || value == 0x5a ||
				  (value == 0x3c && single);

			make(&f, 12, true, 64, 0x1000, single);
			states(&f)[77] = (u8)value;
			if (ok) {
				EXPECT_EQ(check(&f), 0);
				EXPECT_EQ(f.counts.reserved, value == 0x3c);
			} else {
				expect_fault(&f, KHO_E_STATE, "state");
				EXPECT_EQ(f.report.addr, f.pa + 64 + 77);
				EXPECT_EQ(f.report.value, value);
			}
			image_destroy(&f.image);
		}
}

/* In every byte of a slab with objects in each state. */
TEST(single_objects_take_nothing_along)
{
	static const u8 values[] = {0xa5, 0, 0x5a, 0, 0x3c, 0};
	struct fixture f;
	u8 *bytes;

	make(&f, 6, true, 1040, 0x1000, KHO_ABI_SLAB_SINGLE);
	bytes = (u8 *)f.slab;
	for (u32 i = 0; i < f.slab->nr_objects; i++)
		states(&f)[i] = values[i % 6];
	EXPECT_EQ(check(&f), 0);
	for (u32 at = 64 + f.slab->nr_objects; at < f.bytes; at++) {
		u32 i = (at - f.slab->objects_off) / f.slab->object_size;
		bool free = at < f.slab->objects_off || i >= f.slab->nr_objects || !states(&f)[i];

		bytes[at] = 0x80;
		if (free) {
			expect_fault(&f, KHO_E_FORMAT, "free bytes");
			EXPECT_EQ(f.report.addr, f.pa + at);
			EXPECT_EQ(f.report.value, 0x80);
		} else {
			EXPECT_EQ(check(&f), 0);
		}
		bytes[at] = 0;
	}
	image_destroy(&f.image);
	/* Others may hold anything. */
	make(&f, 6, true, 1040, 0x1000, 0);
	memset((u8 *)f.slab + 64 + f.slab->nr_objects, 0xee, f.bytes - 64 - f.slab->nr_objects);
	EXPECT_EQ(check(&f), 0);
	image_destroy(&f.image);
}

/* Whatever bytes are changed, the dumb reader comes to the same end. */
static bool dumb_reader_accepts(struct fixture *f)
{
	const u8 *b = (const u8 *)f->slab;
	u32 size, nr, off, flags, want_nr, want_off;
	u64 cache;

	memcpy(&cache, b + 24, 8);
	memcpy(&size, b + 8, 4);
	memcpy(&nr, b + 12, 4);
	memcpy(&off, b + 16, 4);
	memcpy(&flags, b + 20, 4);
	if (memcmp(b, "SLAB\1\0", 6) || crc_of(f) != f->slab->crc)
		return false;
	if (size < 16 || size > 32768 || size % 16 || flags > 1)
		return false;
	if (!cache && (flags || !khoc_slab_is_heap_size(size)))
		return false;
	khoc_slab_geometry(f->shift, size, &want_nr, &want_off);
	if (nr != want_nr || off != want_off || SLAB_BYTES(size) != f->bytes)
		return false;
	for (u32 i = 0; i < nr; i++) {
		u8 s = b[64 + i];

		if (s && s != 0xa5 && s != 0x5a && (s != 0x3c || !flags))
			return false;
		for (u32 k = 0; flags && !s && k < size; k++)
			if (b[off + i * size + k])
				return false;
	}
	for (u32 i = 64 + nr; flags && i < off; i++)
		if (b[i])
			return false;
	for (u32 i = off + nr * size; flags && i < f->bytes; i++)
		if (b[i])
			return false;
	return true;
}

TEST(random_damage_is_judged_as_by_a_second_reader)
{
	static const u8 values[] = {0, 0xa5, 0x5a, 0x3c};
	struct rng rng = {test_seed()};
	u32 accepted = 0;
	struct fixture f;

	for (unsigned int round = 0; round < 1500; round++) {
		u32 size = 16 + 16 * (u32)rng_below(&rng, round % 8 ? 40 : 2000);
		unsigned int shift = shifts[rng_below(&rng, ARRAY_LEN(shifts))];
		int err;

		make(&f, shift, rng_below(&rng, 2), size, 0x2000, (u32)rng_below(&rng, 2));
		for (u32 i = 0; i < f.slab->nr_objects; i++) {
			u8 *object = (u8 *)f.slab + f.slab->objects_off + i * size;

			states(&f)[i] = values[rng_below(&rng, 3)];
			if (states(&f)[i])
				memset(object, 0x77, size);
		}
		for (u64 n = rng_below(&rng, 3); n; n--) {
			u64 range = rng_below(&rng, 2) ? f.bytes : 600;
			u64 at = 24 + rng_below(&rng, range - 24);

			((u8 *)f.slab)[at] = rng_below(&rng, 2) ? values[rng_below(&rng, 4)]
								: (u8)rng_next(&rng);
		}
		if (rng_below(&rng, 2))
			f.slab->crc = crc_of(&f);
		err = check(&f);
		/* What the dumb reader does not look at. */
		if (err != -KHO_E_ALIGN &&
		    (err != -KHO_E_FORMAT || strcmp(f.report.field, "reserved")))
			EXPECT_EQ(!err, dumb_reader_accepts(&f));
		EXPECT_EQ(f.report.fault, -err);
		accepted += !err;
		image_destroy(&f.image);
	}
	EXPECT(accepted > 100 && accepted < 1400);
}

/* ---- records of caches ---- */

#define RECORD_PA 0x12340

static u32 record_crc(const struct kho_abi_cache *record)
{
	kho_pa_t pa = RECORD_PA;

	return khoc_crc32c(khoc_crc32c(0, record, 92), &pa, 8);
}

TEST(records_are_checked)
{
	struct kho_abi_cache good, bad;
	struct khoc_report report;

	khoc_cache_init(&good, 12, RECORD_PA, "some.name", 100, 64, KHO_ABI_SLAB_SINGLE);
	EXPECT_EQ(khoc_cache_check(&good, 12, RECORD_PA, &report), 0);
	EXPECT_EQ(report.fault, 0);
	EXPECT_EQ(good.object_size, 128);
	EXPECT_EQ(khoc_cache_check(&good, 12, RECORD_PA + 16, &report), -KHO_E_CHECKSUM);
	EXPECT_EQ(khoc_cache_check(&good, 12, RECORD_PA, NULL), 0);
#define WRONG(want, name, change)                                                                  \
	do {                                                                                       \
		bad = good;                                                                        \
		change;                                                                            \
		bad.crc = record_crc(&bad);                                                        \
		EXPECT_EQ(khoc_cache_check(&bad, 12, RECORD_PA, &report), -(want));                \
		EXPECT_EQ(report.fault, want);                                                     \
		EXPECT_EQ(report.structure, KHOC_S_CACHE);                                         \
		EXPECT_STR_EQ(report.field, name);                                                 \
	} while (0)
	WRONG(KHO_E_MAGIC, "magic", bad.magic = KHO_ABI_SLAB_MAGIC);
	WRONG(KHO_E_VERSION, "version", bad.version = 2);
	WRONG(KHO_E_FORMAT, "flags", bad.flags = 4);
	WRONG(KHO_E_RANGE, "size", bad.size = 0);
	WRONG(KHO_E_RANGE, "size", bad.align = 3);
	WRONG(KHO_E_RANGE, "size", bad.align = 8192);
	WRONG(KHO_E_RANGE, "object_size", bad.size = 129);
	WRONG(KHO_E_RANGE, "object_size", bad.object_size = 112);
	WRONG(KHO_E_FORMAT, "pad", bad.pad = 1);
	WRONG(KHO_E_FORMAT, "pad", bad.pad2 = 1);
	WRONG(KHO_E_FORMAT, "name", bad.name[0] = 0);
	WRONG(KHO_E_FORMAT, "name", bad.name[4] = '/');
	WRONG(KHO_E_FORMAT, "name", bad.name[63] = 'x');
	WRONG(KHO_E_FORMAT, "name", memset(bad.name, 'x', 64));
#undef WRONG
	/* Every bit is covered by the checksum. */
	for (unsigned int bit = 0; bit < 96 * 8; bit++) {
		bad = good;
		((u8 *)&bad)[bit / 8] ^= (u8)(1 << bit % 8);
		EXPECT(khoc_cache_check(&bad, 12, RECORD_PA, &report) < 0);
	}
}

TEST_SUITE(slab_check, TEST_CASE(the_geometry_is_the_best_there_is),
	   TEST_CASE(heap_sizes_are_the_forty), TEST_CASE(cache_sizes_are_rounded),
	   TEST_CASE(names_are_checked), TEST_CASE(sound_slabs_pass),
	   TEST_CASE(each_field_has_its_fault), TEST_CASE(a_slab_is_bound_to_its_place),
	   TEST_CASE(states_are_those_of_the_kind), TEST_CASE(single_objects_take_nothing_along),
	   TEST_CASE(random_damage_is_judged_as_by_a_second_reader),
	   TEST_CASE(records_are_checked));
