/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Subtrees, named roots and metadata: there or not there, whatever the instant of a crash. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <sys/mman.h>
#include <unistd.h>

#include <kho/array.h>
#include <kho/block.h>
#include <kho/vmalloc.h>

#include "arena_fixture.h"
#include "life.h"
#include "preserve.h"
#include "subtree.h"

#define MIB (1ULL << 20)

static int fresh(void **state)
{
	arena_new(64 * MIB);
	return 0;
}

static int drop(void **state)
{
	arena_drop();
	return 0;
}

static char *blob(void)
{
	struct folio *folio = kho_folio_alloc(0);

	assert_int_equal(kho_preserve_folio(folio), 0);
	return kho_folio_address(folio);
}

static __u64 slot_in_force(void)
{
	__u64 pa = 0;

	assert_int_equal(khoc_cword_get(kho_arena_.words->root_fdt,
					offsetof(struct kho_abi_arena_header, root_fdt), &pa),
			 0);
	return pa;
}

static void subtrees_are_found_after_a_crash(void **state)
{
	char *a = blob(), *b = blob();
	kho_pa_t pa = 1;
	size_t size = 1;

	assert_int_equal(kho_add_subtree("a", a, 100), 0);
	assert_int_equal(kho_add_subtree("b-2.x,y_z+", b, 4096), 0);
	assert_int_equal(kho_add_subtree("a", b, 100), -EEXIST);
	arena_crash();
	assert_int_equal(kho_retrieve_subtree("a", &pa, &size), 0);
	assert_int_equal(pa, kho_virt_to_phys(a));
	assert_int_equal(size, 100);
	assert_int_equal(kho_retrieve_subtree("b-2.x,y_z+", &pa, NULL), 0);
	assert_int_equal(pa, kho_virt_to_phys(b));
	assert_int_equal(kho_retrieve_subtree("c", NULL, NULL), -ENOENT);
	kho_remove_subtree(b + 8); /* unknown: ignored */
	kho_remove_subtree(a);
	arena_crash();
	assert_int_equal(kho_retrieve_subtree("a", NULL, NULL), -ENOENT);
	assert_int_equal(kho_retrieve_subtree("b-2.x,y_z+", NULL, NULL), 0);
}

static void bad_subtrees_are_refused(void **state)
{
	static const char too_long[] = "0123456789012345678901234567890123456789"
				       "012345678901234567890123";
	static const char *const names[] = {"", "a b", "a/b", "\xc3\xa4", too_long};
	char *a = blob();
	int local;

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		assert_int_equal(kho_add_subtree(names[i], a, 8), -EINVAL);
	assert_int_equal(kho_add_subtree("x", &local, 4), -EINVAL);
	assert_int_equal(kho_add_subtree("x", kho_arena_.base, 4), -EINVAL);
	assert_int_equal(kho_add_subtree("x", a, 64 * MIB), -EINVAL);
	assert_int_equal(kho_add_subtree("x", a, ~0UL), -EINVAL);
	assert_int_equal(kho_add_subtree("kexec-metadata", a, 8), -EEXIST);
	arena_crash();
}

/* What is refused at attach must be refused when it is made. */
static void a_blob_ends_where_the_file_ends(void **state)
{
	char *a = blob();
	size_t room = kho_arena_.file_size - kho_virt_to_phys(a);

	assert_true(room < 32 * MIB);
	assert_int_equal(kho_add_subtree("x", a, room + 1), -EINVAL);
	assert_int_equal(kho_add_subtree("x", kho_arena_.base + kho_arena_.file_size, 1), -EINVAL);
	assert_int_equal(kho_add_subtree("x", a, room), 0);
	assert_int_equal(kho_add_subtree("y", a, 0), 0);
	arena_crash();
	assert_int_equal(kho_retrieve_subtree("x", NULL, NULL), 0);
}

static void slots_take_turns(void **state)
{
	char *a = blob();
	__u64 before = slot_in_force(), after;

	assert_int_equal(kho_add_subtree("a", a, 8), 0);
	after = slot_in_force();
	assert_int_not_equal(before, after);
	kho_remove_subtree(a);
	assert_int_equal(slot_in_force(), before);
	assert_int_equal(kho_add_subtree("a", a, 8), 0);
	/* Until the header's word changes nothing has happened: damage to the other slot is nothing. */
	memset(kho_arena_.base + before, 0x5a, KHO_ABI_FDT_SLOT_SIZE);
	arena_crash();
	assert_int_equal(slot_in_force(), after);
	assert_int_equal(kho_retrieve_subtree("a", NULL, NULL), 0);
	kho_remove_subtree(a);
	arena_crash();
	assert_int_equal(kho_retrieve_subtree("a", NULL, NULL), -ENOENT);
}

static void metadata_is_kept_over_changes(void **state)
{
	char release[65];
	unsigned int count;

	assert_int_equal(kho_metadata(release, &count), 0);
	assert_string_equal(release, "");
	assert_int_equal(count, 0);
	assert_int_equal(kho_arena_set_metadata_("server 1.4", 7), 0);
	/* Of who handed over to us: what we write is for the next one. */
	assert_int_equal(kho_metadata(release, &count), 0);
	assert_string_equal(release, "");
	assert_int_equal(count, 0);
	for (int i = 0; i < 5; i++) {
		char *a = blob();

		assert_int_equal(kho_add_subtree("a", a, 8), 0);
		arena_crash();
		assert_int_equal(kho_metadata(release, &count), 0);
		assert_string_equal(release, "server 1.4");
		assert_int_equal(count, 7);
		kho_remove_subtree(a);
	}
}

/* An FDT that somebody else wrote, without the node; with @full no room for it. */
static void without_metadata(bool full)
{
	static __u64 a[KHO_ABI_FDT_MAX / 8], b[KHO_ABI_FDT_MAX / 8];
	struct khoc_subtree node = {.data = kho_virt_to_phys(blob()), .size = 8};
	char name[64];
	int n = 0;

	assert_int_equal(khoc_root_create(a, sizeof(a), kho_arena_.header->tree_root_pa), 0);
	for (size_t len = full ? 63 : 0; len; len--) {
		node.name = name;
		do {
			snprintf(name, sizeof(name), "%0*d", (int)len, n++ % 10000);
			memcpy(b, a, sizeof(b));
		} while (!khoc_root_add(b, a, sizeof(a), &node) || !memcpy(a, b, sizeof(b)));
		memcpy(a, b, sizeof(a));
		if (len < 5)
			break;
	}
	memcpy(kho_arena_.base + slot_in_force(), a, sizeof(a));
}

static void metadata_of_a_foreign_arena(void **state)
{
	char release[65], *a = blob();
	unsigned int count = 1;

	without_metadata(false);
	arena_crash();
	assert_int_equal(kho_metadata(release, &count), 0);
	assert_string_equal(release, "");
	assert_int_equal(count, 0);
	assert_int_equal(kho_add_subtree("a", a, 8), 0);
	assert_int_equal(kho_arena_set_metadata_("2", 3), 0);
	arena_crash();
	assert_int_equal(kho_metadata(release, &count), 0);
	assert_string_equal(release, "2");
	assert_int_equal(count, 3);
}

/* Of a later version, or not as it must be: nothing of it is told, and nobody is kept from the arena. */
static void metadata_that_cannot_be_read(void **state)
{
	struct kho_abi_metadata *blob;
	char release[65] = "as before";
	unsigned int count = 7;

	assert_int_equal(kho_arena_set_metadata_("2", 3), 0);
	blob = (void *)(kho_arena_.base + slot_in_force() + KHO_ABI_FDT_MAX);
	blob->version = 2;
	arena_crash();
	assert_int_equal(kho_metadata(release, &count), -KHO_E_VERSION);
	assert_non_null(strstr(kho_error(), "metadata"));
	blob->version = 1;
	memset(blob->previous_release, 'x', sizeof(blob->previous_release));
	arena_crash();
	assert_int_equal(kho_metadata(release, &count), -KHO_E_FORMAT);
	assert_non_null(strstr(kho_error(), "previous_release"));
	assert_string_equal(release, "as before");
	assert_int_equal(count, 7);
	blob->previous_release[64] = 0;
	arena_crash();
	assert_int_equal(kho_metadata(release, &count), 0);
	assert_int_equal(strlen(release), 64);
	assert_int_equal(count, 3);
}

/* Called a named root by a foreign writer: its blob is no cell. */
static void metadata_that_is_called_a_root(void **state)
{
	static __u64 without[KHO_ABI_FDT_MAX / 8];
	struct khoc_subtree node;
	int fd = fcntl(kho_arena_.fd, F_DUPFD_CLOEXEC, 0);
	char *fdt = kho_arena_.base + slot_in_force();

	assert_int_equal(khoc_root_find(fdt, KHO_ABI_METADATA_NODE, &node), 0);
	node.name = KHO_ABI_METADATA_NODE;
	node.type = "t";
	node.type_version = 1;
	assert_int_equal(khoc_root_remove(fdt, without, sizeof(without), node.name), 0);
	assert_int_equal(khoc_root_add(without, fdt, KHO_ABI_FDT_MAX, &node), 0);
	assert_int_equal(kho_root_check_(), -KHO_E_RANGE);
	kho_arena_unmap_();
	assert_int_equal(kho_arena_map_(fd, true), -KHO_E_RANGE);
	assert_non_null(strstr(kho_error(), "kexec-metadata"));
	close(fd);
}

static void metadata_that_cannot_be_written_is_told_once(void **state)
{
	int old = dup(2), file = memfd_create("stderr", MFD_CLOEXEC);
	char text[1024] = "";

	without_metadata(true);
	arena_crash();
	assert_int_equal(kho_arena_set_metadata_("x", 1), -ENOSPC);
	dup2(file, 2);
	for (int i = 0; i < 2; i++) {
		kho_life_.metadata_due = true;
		kho_life_settle_();
	}
	dup2(old, 2);
	close(old);
	assert_true(pread(file, text, sizeof(text) - 1, 0) > 0);
	close(file);
	assert_non_null(strstr(text, "root FDT"));
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

static void roots_have_a_type_and_a_version(void **state)
{
	void **slot = kho_root("r", "type", 3);

	assert_non_null(slot);
	assert_null(*slot);
	assert_ptr_equal(kho_root("r", "type", 3), slot);
	assert_null(kho_root("r", "type", 4));
	assert_int_equal(errno, EPROTOTYPE);
	assert_null(kho_root("r", "typ", 3));
	assert_int_equal(errno, EPROTOTYPE);
	assert_null(kho_root("kexec-metadata", "type", 3));
	assert_int_equal(errno, EPROTOTYPE);
	assert_null(kho_root("q", "", 3));
	assert_int_equal(errno, EINVAL);
	assert_null(kho_root("q", "0123456789012345678901234567890123456789", 3));
	assert_int_equal(errno, EINVAL);
	assert_null(kho_root("q", NULL, 3));
	assert_int_equal(errno, EINVAL);
	assert_null(kho_root("r", NULL, 3));
	assert_int_equal(errno, EINVAL);
	assert_non_null(kho_root("q", "012345678901234567890123456789012345678", 3));
	arena_crash();
	assert_ptr_equal(kho_root("r", "type", 3), slot);
	assert_int_equal(kho_root_remove("r"), 0);
	assert_int_equal(kho_root_remove("r"), -ENOENT);
	assert_int_equal(kho_root_remove("kexec-metadata"), -ENOENT);
	arena_crash();
	assert_int_equal(kho_root_remove("r"), -ENOENT);
}

static void a_root_in_use_is_not_removed(void **state)
{
	void **slot = kho_root("r", "t", 1), *object = kho_malloc(64);

	assert_int_equal(kho_publish(slot, object, NULL), 0);
	assert_int_equal(kho_root_remove("r"), -EBUSY);
	assert_int_equal(kho_publish(slot, NULL, object), 0);
	assert_int_equal(kho_root_remove("r"), 0);
	/* A cell is clean when it is used again. */
	assert_null(*kho_root("s", "t", 1));
}

/* A cell holds an address: anything else would have the next program refuse the arena. */
static void a_cell_takes_addresses_only(void **state)
{
	void **slot = kho_root("r", "t", 1), *object = kho_malloc(64);

	assert_int_equal(kho_publish_tagged((__u64 *)slot, 5, NULL, NULL), -EINVAL);
	assert_int_equal(kho_publish_tagged((__u64 *)slot, ~0ULL, object, NULL), -EINVAL);
	assert_int_equal(kho_publish_tagged((__u64 *)slot, (uintptr_t)object | 3, object, NULL), 0);
	arena_crash();
	assert_int_equal((uintptr_t)*kho_root("r", "t", 1), (uintptr_t)object | 3);
	assert_int_equal(arena_live(), 1);
}

static void a_full_fdt_is_told_and_changes_nothing(void **state)
{
	char name[64], *a = blob();
	__u64 slot;
	int n, rc;

	for (n = 0;; n++) {
		snprintf(name, sizeof(name), "a-name-of-some-length-so-that-it-fills-%d", n);
		slot = slot_in_force();
		rc = kho_add_subtree(name, a, 8);
		if (rc)
			break;
	}
	assert_int_equal(rc, -ENOSPC);
	assert_true(n > 400);
	assert_int_equal(slot_in_force(), slot);
	assert_null(kho_root("r", "t", 1));
	assert_int_equal(errno, ENOSPC);
	arena_crash();
	for (int i = 0; i < n; i += 37) {
		snprintf(name, sizeof(name), "a-name-of-some-length-so-that-it-fills-%d", i);
		assert_int_equal(kho_retrieve_subtree(name, NULL, NULL), 0);
		kho_remove_subtree(a);
	}
	assert_non_null(kho_root("r", "t", 1));
}

/* What the arena is made of, by what lies in it. */
static const char *composite(void)
{
	return khoc_root_composite(kho_arena_.base + slot_in_force());
}

struct first_ones {
	__u64 head;
	struct kho_array_desc array;
	struct kho_vmalloc area;
	char *pages;
};

static int make_array(struct first_ones *all)
{
	return kho_array_init(&all->array);
}

static int make_block(struct first_ones *all)
{
	struct kho_block_set set;

	assert_int_equal(kho_block_set_init(&set, &all->head, 8), 0);
	if (all->head)
		assert_int_equal(kho_block_set_restore(&set), 0);
	return kho_block_set_grow(&set, 1);
}

static int append_record(struct first_ones *all)
{
	struct kho_block_set_it it;
	struct kho_block_set set;
	__u64 record = 1;

	assert_int_equal(kho_block_set_init(&set, &all->head, 8), 0);
	kho_block_set_it_init(&it, &set);
	return kho_block_set_it_append(&it, &record);
}

static int preserve_area(struct first_ones *all)
{
	return kho_preserve_vmalloc(all->pages, &all->area);
}

static const struct {
	int (*make)(struct first_ones *all);
	const char *then;
} firsts[] = {
	{make_array, "kho-v4;arena-v1;array-v1;radix-v1;slab-v1"},
	{make_block, "kho-v4;arena-v1;block-v1;radix-v1;slab-v1"},
	{append_record, "kho-v4;arena-v1;block-v1;radix-v1;slab-v1"},
	{preserve_area, "kho-v4;arena-v1;radix-v1;slab-v1;vmalloc-v1"},
};

#define NR_FIRSTS (sizeof(firsts) / sizeof(firsts[0]))

static struct first_ones *prepare_firsts(void)
{
	struct first_ones *all = (void *)blob();

	memset(all, 0, sizeof(*all));
	all->pages = kho_vmalloc(8192);
	assert_non_null(all->pages);
	return all;
}

static void the_first_of_a_kind_is_a_part(void **state)
{
	for (size_t i = 0; i < NR_FIRSTS; i++) {
		struct first_ones *all = prepare_firsts();
		__u64 slot = slot_in_force();

		assert_string_equal(composite(), "kho-v4;arena-v1;radix-v1;slab-v1");
		assert_int_equal(firsts[i].make(all), 0);
		assert_string_equal(composite(), firsts[i].then);
		assert_int_not_equal(slot_in_force(), slot);
		/* Once in an arena, whoever makes the second one. */
		slot = slot_in_force();
		if (firsts[i].make == make_block)
			assert_int_equal(make_block(all), 0);
		arena_crash();
		memset(all, 0, sizeof(*all));
		all->pages = kho_vmalloc(8192);
		assert_int_equal(firsts[i].make(all), 0);
		assert_int_equal(slot_in_force(), slot);
		arena_drop();
		arena_new(64 * MIB);
	}
}

static void without_room_for_the_part_there_is_no_first(void **state)
{
	struct first_ones *all = prepare_firsts();
	char name[64], *a = blob();
	__u64 slot;

	for (int i = 0; i < 10000; i++) {
		snprintf(name, sizeof(name), "a-name-of-some-length-so-that-it-fills-%d", i);
		if (kho_add_subtree(name, a, 8))
			break;
	}
	/* What is left is too short for a subtree; now for another part as well. */
	for (int i = 1; snprintf(name, sizeof(name), "z%d-v1?", i), !kho_root_part_(name);)
		i++;
	slot = slot_in_force();
	for (size_t i = 0; i < NR_FIRSTS; i++)
		assert_int_equal(firsts[i].make(all), -ENOSPC);
	assert_int_equal(slot_in_force(), slot);
	assert_int_equal(all->head, 0);
	assert_int_equal(all->area.first, 0);
	for (size_t i = 0; i < sizeof(all->array); i++)
		assert_int_equal(((char *)&all->array)[i], 0);
	kho_remove_subtree(a);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(firsts[i].make(all), 0);
	assert_int_equal(preserve_area(all), 0);
	arena_crash();
	assert_non_null(
		strstr(composite(), ";array-v1;block-v1;radix-v1;slab-v1;vmalloc-v1;z1-v1?"));
}

static void all_cells_can_be_used(void **state)
{
	char name[16];
	int n = 0;

	do
		snprintf(name, sizeof(name), "%d", n);
	while (kho_root(name, "t", 1) && ++n <= KHO_ABI_NR_CELLS);
	assert_int_equal(errno, ENOSPC);
	assert_true(n > 500 && n <= KHO_ABI_NR_CELLS);
	arena_crash();
	for (; n > 0; n -= 97) {
		snprintf(name, sizeof(name), "%d", n - 1);
		assert_int_equal(kho_root_remove(name), 0);
	}
}

static void compatible_is_matched_part_by_part(void **state)
{
	static const struct {
		const char *now, *why;
	} bad[] = {
		{"kho-v4;arena-v1;radix-v2;slab-v1",
		 "compatible: part \"radix\": it is version 2, this reader takes version 1"},
		{"kho-v4;arena-v1;radix-v1;slub-v1",
		 "compatible: part \"slub-v1\" is mandatory, and this reader does not know it"},
		{"kho-v4;arena-v1;arena-v2;slab-v1", "root FDT"},
		{"kho-v4;radix-v1;arena-v1;slab-v1", "root FDT"},
	};
	static const char good[] = "kho-v4;arena-v1;radix-v1;slab-v1";
	char *at = (char *)khoc_root_composite(kho_arena_.base + slot_in_force());

	assert_string_equal(at, good);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memcpy(at, bad[i].now, sizeof(good)); /* all are of one length */
		assert_true(kho_root_check_() < 0);
		if (!strstr(kho_error(), bad[i].why))
			fail_msg("\"%s\" is not in: %s", bad[i].why, kho_error());
		memcpy(at, good, sizeof(good));
	}
	/* Of an unknown base: the entry is not for us; with "kho-v4" alone all is taken as before. */
	memcpy(at, "kho-v5;arena-v1;radix-v2;slab-v1", sizeof(good));
	assert_int_equal(kho_root_check_(), 0);
	arena_crash();
}

static void parts_are_added_when_they_come(void **state)
{
	const char *fdt = kho_arena_.base + slot_in_force();

	assert_non_null(kho_root("r", "type", 1));
	assert_int_equal(kho_root_part_("slab-v1"), 0);
	assert_string_equal(khoc_root_composite(kho_arena_.base + slot_in_force()),
			    "kho-v4;arena-v1;radix-v1;slab-v1");
	assert_int_equal(kho_root_part_("hints-v2?"), 0);
	assert_int_equal(kho_root_part_("hints-v3?"), 0);
	fdt = kho_arena_.base + slot_in_force();
	assert_string_equal(khoc_root_composite(fdt), "kho-v4;arena-v1;hints-v3?;radix-v1;slab-v1");
	assert_int_equal(kho_root_part_("hints-v3?"), 0);
	assert_ptr_equal(fdt, kho_arena_.base + slot_in_force()); /* nothing to be written */
	arena_crash();
	assert_non_null(kho_root("r", "type", 1));
	assert_int_equal(kho_root_part_("nonsense"), -EINVAL);
	assert_int_equal(kho_root_part_("a-v1;b-v1"), -EINVAL);
	assert_int_equal(kho_root_part_("other-v1"), 0);
	assert_int_equal(kho_root_check_(), -KHO_E_INCOMPATIBLE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(subtrees_are_found_after_a_crash, fresh, drop),
		cmocka_unit_test_setup_teardown(bad_subtrees_are_refused, fresh, drop),
		cmocka_unit_test_setup_teardown(a_blob_ends_where_the_file_ends, fresh, drop),
		cmocka_unit_test_setup_teardown(slots_take_turns, fresh, drop),
		cmocka_unit_test_setup_teardown(metadata_is_kept_over_changes, fresh, drop),
		cmocka_unit_test_setup_teardown(metadata_of_a_foreign_arena, fresh, drop),
		cmocka_unit_test_setup_teardown(metadata_that_cannot_be_read, fresh, drop),
		cmocka_unit_test_setup_teardown(metadata_that_is_called_a_root, fresh, drop),
		cmocka_unit_test_setup_teardown(metadata_that_cannot_be_written_is_told_once, fresh,
						drop),
		cmocka_unit_test_setup_teardown(roots_have_a_type_and_a_version, fresh, drop),
		cmocka_unit_test_setup_teardown(a_root_in_use_is_not_removed, fresh, drop),
		cmocka_unit_test_setup_teardown(a_cell_takes_addresses_only, fresh, drop),
		cmocka_unit_test_setup_teardown(compatible_is_matched_part_by_part, fresh, drop),
		cmocka_unit_test_setup_teardown(parts_are_added_when_they_come, fresh, drop),
		cmocka_unit_test_setup_teardown(a_full_fdt_is_told_and_changes_nothing, fresh,
						drop),
		cmocka_unit_test_setup_teardown(all_cells_can_be_used, fresh, drop),
		cmocka_unit_test_setup_teardown(the_first_of_a_kind_is_a_part, fresh, drop),
		cmocka_unit_test_setup_teardown(without_room_for_the_part_there_is_no_first, fresh,
						drop),
	};

	return cmocka_run_group_tests_name("subtree", tests, NULL, NULL);
}
