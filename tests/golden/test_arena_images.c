/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The golden image of structures in an arena: what structures-v1.txt says is found by the next program, can
 * be worked on, and is found by the one after it. (tests/host/test_golden.c: heap, caches and pages.)
 */
#include <fcntl.h>

#include <kho/array.h>
#include <kho/block.h>

#include "arena.h"
#include "golden.h"
#include "heap.h"
#include "page.h"
#include "preserve.h"
#include "say_arena.h"
#include "vmalloc.h"

#define MAX_SIZE (4 << 20)
#define NR_AREAS 2

typedef unsigned long long ull;

struct log {
	__u64 head;
	__u64 entry_size;
};

static void attach(int fd)
{
	if (kho_arena_map_(fd, true) || kho_arena_own_() || kho_preserve_check_all_(false))
		printf("%s\n", kho_error());
	EXPECT(kho_arena_.mapped && kho_arena_.writer);
	EXPECT_EQ(kho_preserve_check_all_(false), 0);
	EXPECT_EQ(kho_pages_discover_all_(), 0);
}

static void open_image(void)
{
	char *image = shim_alloc(MAX_SIZE);
	int fd = kho_arena_create_("golden");
	u64 size = golden_image("structures-v1.sparse", image, MAX_SIZE);

	EXPECT_EQ(pwrite(fd, image, size, 0), size);
	shim_free(image);
	attach(fd);
}

static void crash(void)
{
	int fd = fcntl(kho_arena_.fd, F_DUPFD_CLOEXEC, 0);

	kho_arena_unmap_();
	attach(fd);
}

static void *object(const char *name, const char *type)
{
	void **slot = kho_root(name, type, 1);

	EXPECT(slot && *slot);
	return *slot;
}

static int say_entry(void *ctx, __u64 index, void *entry)
{
	if (kho_array_is_value(entry))
		EXPECT(kho_array_mk_value(kho_array_to_value(entry)) == entry);
	if (kho_array_is_value(entry))
		say(ctx, "entry 0x%llx 0x%llx\n", (ull)index, (ull)(uintptr_t)entry);
	else
		say(ctx, "entry 0x%llx %s\n", (ull)index, (char *)entry);
	return 0;
}

static void say_array(struct said *said, const char *name)
{
	struct kho_array *array = kho_array_attach(object(name, "array"));

	EXPECT(array);
	say(said, "array %s\n", name);
	EXPECT_EQ(kho_array_walk(array, 0, ~0ULL, false, say_entry, said), 0);
	kho_array_detach(array);
}

static void open_set(struct kho_block_set *set, struct log *log)
{
	EXPECT_EQ(kho_block_set_init(set, &log->head, log->entry_size), 0);
	EXPECT_EQ(kho_block_set_restore(set), 0);
}

static void say_set(struct said *said, const char *name)
{
	struct log *log = object(name, "log");
	struct kho_block_set set;
	struct kho_block_set_it it;
	const void *record;

	open_set(&set, log);
	say(said, "set %s\n", name);
	kho_block_set_it_init(&it, &set);
	while ((record = kho_block_set_it_read_entry(&it)))
		say_bytes(said, "record", record, log->entry_size);
	EXPECT_EQ(kho_block_set_it_error(&it), 0);
}

static struct kho_vmalloc *areas(void)
{
	kho_pa_t pa;
	size_t size;

	EXPECT_EQ(kho_retrieve_subtree("areas", &pa, &size), 0);
	EXPECT_EQ(size, NR_AREAS * sizeof(struct kho_vmalloc));
	return kho_phys_to_virt(pa);
}

static void say_area(struct said *said, unsigned int n)
{
	const struct kho_vmalloc *desc = areas() + n;
	char *area = kho_restore_vmalloc(desc);

	EXPECT(area);
	say(said, "area %u %u\n", n, desc->total_pages);
	for (unsigned int i = 0; i < desc->total_pages; i++)
		say(said, "page %llu\n", (ull) * (__u64 *)(area + i * KHO_PAGE_SIZE));
}

static void check_image(void)
{
	struct said said;

	said_begin(&said);
	say_compatible(&said);
	say_array(&said, "dense");
	say_array(&said, "scattered");
	say_array(&said, "died");
	say_set(&said, "log");
	say_set(&said, "empty");
	for (unsigned int n = 0; n < NR_AREAS; n++)
		say_area(&said, n);
	EXPECT(said_end(&said, "structures-v1.txt"));
}

TEST(they_contain_what_they_did)
{
	open_image();
	check_image();
	kho_arena_unmap_();
}

/* Entries come and go, and some go and come. */
static void work_on_array(const char *name)
{
	struct kho_array *array = kho_array_attach(object(name, "array"));
	__u64 index = 0, at, count = kho_array_count(array);
	void *entry;

	for (unsigned int i = 0; i < 3; i++) {
		entry = kho_array_next(array, &index);
		at = index;
		EXPECT(entry);
		EXPECT_EQ(kho_array_erase(array, at), 0);
		EXPECT(!kho_array_get(array, at));
		for (__u64 n = 0; n < 300; n++)
			EXPECT_EQ(kho_array_set(array, (1ULL << 50) + n * n, kho_array_mk_value(n)),
				  0);
		for (__u64 n = 0; n < 300; n++)
			EXPECT_EQ(kho_array_erase(array, (1ULL << 50) + n * n), 0);
		EXPECT_EQ(kho_array_set(array, at, entry), 0);
		index++;
	}
	EXPECT_EQ(kho_array_count(array), count);
	kho_array_detach(array);
}

static void work_on_set(const char *name)
{
	static const char record[64];
	struct kho_block_set set;
	struct kho_block_set_it it;

	open_set(&set, object(name, "log"));
	EXPECT_EQ(kho_block_set_it_end(&it, &set), 0);
	for (unsigned int i = 0; i < 700; i++)
		EXPECT_EQ(kho_block_set_it_append(&it, record), 0);
	for (unsigned int i = 0; i < 700; i++)
		EXPECT_EQ(kho_block_set_it_pop(&it), 0);
}

static void work_on_areas(void)
{
	struct kho_vmalloc *desc = areas();
	char *area = kho_restore_vmalloc(desc + 1), *other = kho_vmalloc(20 * KHO_PAGE_SIZE);

	EXPECT(area && other);
	kho_unpreserve_vmalloc(desc + 1);
	EXPECT_EQ(kho_preserve_vmalloc(area, desc + 1), 0);
	kho_vfree(other);
}

TEST(they_can_be_worked_on)
{
	open_image();
	work_on_array("dense");
	work_on_array("scattered");
	work_on_array("died");
	work_on_set("log");
	work_on_set("empty");
	work_on_areas();
	crash();
	check_image();
	/* And all goes away again, without leaving anything. */
	for (unsigned int n = 0; n < NR_AREAS; n++)
		kho_unpreserve_vmalloc(areas() + n);
	for (unsigned int i = 0; i < 3; i++) {
		static const char *const names[] = {"dense", "scattered", "died"};

		EXPECT_EQ(kho_array_destroy(kho_array_attach(object(names[i], "array"))), 0);
	}
	for (unsigned int i = 0; i < 2; i++) {
		struct kho_block_set set;

		open_set(&set, object(i ? "log" : "empty", "log"));
		EXPECT_EQ(kho_block_set_destroy(&set), 0);
	}
	crash();
	/* Two slabs of 16 pages, and the page of the areas' descriptors. */
	EXPECT_EQ(kho_pages_used_(), (2 * 16 + 1) * KHO_PAGE_SIZE);
	kho_arena_unmap_();
}

TEST_SUITE(arena_images, TEST_CASE(they_contain_what_they_did), TEST_CASE(they_can_be_worked_on));
