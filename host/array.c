/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The array in an arena. Entries that are pointers are stored as addresses in the image, so that
 * any reader of it can follow them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <kho/array.h>

#include "heap.h"
#include "preserve.h"
#include "subtree.h"

_Static_assert(sizeof(struct kho_array_desc) == sizeof(struct kho_abi_array), "descriptor");

struct kho_array {
	struct khoc_array core;
};

static bool in_arena(const void *ptr, size_t len)
{
	kho_pa_t pa = kho_virt_to_phys(ptr);

	return kho_arena_.mapped && pa >= kho_arena_.header->data_pa && pa < kho_file_size_() &&
	       len <= kho_file_size_() - pa;
}

static int bad_desc(const void *desc, const char *what)
{
	return kho_fail_(-EINVAL, "array %p: descriptor: %s", desc, what);
}

int kho_array_init(struct kho_array_desc *desc)
{
	struct khoc_array array;
	int rc = kho_writer_error_();

	if (rc)
		return rc;
	if (!in_arena(desc, sizeof(*desc)) || (uintptr_t)desc & 7)
		return bad_desc(desc, "not aligned memory in the arena");
	return kho_part_use_(KHO_PART_ARRAY)
		       ?: khoc_array_init(&array, &kho_arena_.mem, KHO_PAGE_SHIFT,
					  kho_virt_to_phys(desc));
}

struct kho_array_desc *kho_array_create(void)
{
	struct kho_array_desc *desc = kho_calloc(1, sizeof(*desc));

	if (desc && kho_array_init(desc)) {
		kho_free(desc);
		desc = NULL;
	}
	return desc;
}

/* Each page that was seen is preserved, as a page of a structure. */
static int check_blocks(const __u64 *seen, __u64 nr_pages)
{
	for (__u64 i = 0; i < (nr_pages + 63) / 64; i++) {
		for (__u64 bits = seen[i]; bits; bits &= bits - 1) {
			__u64 page = i * 64 + (unsigned int)__builtin_ctzll(bits);
			int rc = kho_block_check_(kho_arena_.header->data_pa +
							  (page << KHO_PAGE_SHIFT),
						  0, KHO_ABI_DESC_STRUCT);

			if (rc)
				return rc;
		}
	}
	return 0;
}

static int check_array(const struct khoc_array *core)
{
	__u64 lo = kho_arena_.header->data_pa, hi = kho_file_size_();
	__u64 nr_pages = (hi - lo) >> KHO_PAGE_SHIFT;
	struct khoc_array_check check = {.data_lo = lo, .data_hi = hi};
	struct khoc_report report;
	int rc;

	check.seen = calloc(nr_pages / 64 + 1, 8);
	if (!check.seen)
		return kho_fail_(-ENOMEM, "array: no memory to check it");
	rc = khoc_array_validate(core, &check, &report);
	rc = rc ? kho_fail_report_(&report) : check_blocks(check.seen, nr_pages);
	free(check.seen);
	return rc;
}

static int attach(struct khoc_array *core, struct kho_array_desc *desc)
{
	struct khoc_report report;
	int rc;

	if (!in_arena(desc, sizeof(*desc)) || (uintptr_t)desc & 7)
		return bad_desc(desc, "not aligned memory in the arena");
	rc = khoc_array_attach(core, &kho_arena_.mem, KHO_PAGE_SHIFT, kho_virt_to_phys(desc),
			       &report);
	return rc ? kho_fail_report_(&report) : check_array(core);
}

struct kho_array *kho_array_attach(struct kho_array_desc *desc)
{
	struct kho_array *array = malloc(sizeof(*array));

	if (!array) {
		kho_fail_(-ENOMEM, "array: no memory for a handle");
		return NULL;
	}
	if (attach(&array->core, desc)) {
		free(array);
		return NULL;
	}
	return array;
}

void kho_array_detach(struct kho_array *array)
{
	free(array);
}

/* ---- entries ---- */

static void *entry_out(__u64 entry)
{
	return !entry || entry & KHO_ABI_ARRAY_INTEGER ? (void *)(uintptr_t)entry
						       : kho_phys_to_virt(entry);
}

/* A fault in words, if the core found one; what kho_error() says of the rest is said already. */
static int result(int rc)
{
	if (rc <= -KHO_E_TRUNCATED)
		return kho_fail_(rc, "array: %s", khoc_fault_text(-rc));
	return rc;
}

void *kho_array_get(const struct kho_array *array, __u64 index)
{
	return entry_out(khoc_array_get(&array->core, index));
}

int kho_array_set(struct kho_array *array, __u64 index, void *entry)
{
	__u64 word = (uintptr_t)entry;
	int rc = kho_writer_error_();

	if (rc)
		return rc;
	if (!kho_array_is_value(entry)) {
		if (!in_arena(entry, 1) || (uintptr_t)entry & KHO_ABI_ARRAY_TAG_MASK)
			return kho_fail_(
				-EINVAL,
				"array: %p: neither a value nor an aligned pointer into the arena",
				entry);
		word = kho_virt_to_phys(entry);
	}
	return result(khoc_array_set(&array->core, index, word));
}

int kho_array_erase(struct kho_array *array, __u64 index)
{
	int rc = kho_writer_error_();

	return rc ? rc : result(khoc_array_erase(&array->core, index));
}

int kho_array_clear(struct kho_array *array)
{
	int rc = kho_writer_error_();

	return rc ? rc : result(khoc_array_clear(&array->core));
}

int kho_array_destroy(struct kho_array *array)
{
	int rc = kho_array_clear(array);

	if (!rc)
		kho_array_detach(array);
	return rc;
}

__u64 kho_array_count(const struct kho_array *array)
{
	return khoc_array_count(&array->core);
}

void *kho_array_next(const struct kho_array *array, __u64 *index)
{
	__u64 entry;

	return khoc_array_next(&array->core, index, &entry) == 1 ? entry_out(entry) : NULL;
}

void *kho_array_prev(const struct kho_array *array, __u64 *index)
{
	__u64 entry;

	return khoc_array_prev(&array->core, index, &entry) == 1 ? entry_out(entry) : NULL;
}

int kho_array_walk(const struct kho_array *array, __u64 first, __u64 last, bool down,
		   int (*fn)(void *ctx, __u64 index, void *entry), void *ctx)
{
	struct khoc_array_iter iter;
	__u64 index, entry;
	int rc;

	khoc_array_iter_init(&iter, &array->core, first, last);
	for (;;) {
		rc = down ? khoc_array_iter_prev(&iter, &index, &entry)
			  : khoc_array_iter_next(&iter, &index, &entry);
		if (rc <= 0)
			return result(rc);
		rc = fn(ctx, index, entry_out(entry));
		if (rc)
			return rc;
	}
}
