/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Block sets in the arena: the core's, with the arena as the image, its owner as the only writer,
 * and errors in words.
 */
#include <errno.h>

#include <kho/block.h>

#include "arena.h"
#include "heap.h"
#include "preserve.h"
#include "subtree.h"

_Static_assert(sizeof(struct khoc_block_set) <= sizeof(struct kho_block_set), "a set fits");
_Static_assert(sizeof(struct khoc_block_it) <= sizeof(struct kho_block_set_it), "a position fits");

static struct khoc_block_set *core_set(const struct kho_block_set *bs)
{
	return (struct khoc_block_set *)bs->private_words;
}

static struct khoc_block_it *core_it(const struct kho_block_set_it *it)
{
	return (struct khoc_block_it *)it->private_words;
}

int kho_block_set_init(struct kho_block_set *bs, __u64 *head, size_t entry_size)
{
	__u64 pa = kho_arena_.mapped ? (__u64)((char *)head - kho_arena_.base) : 0;

	if (!kho_arena_.mapped || pa & 7 || pa < kho_arena_.header->data_pa ||
	    pa >= kho_file_size_())
		return kho_fail_(-EINVAL, "block set: head %p: not an aligned word of the arena",
				 (void *)head);
	if (khoc_block_set_init(core_set(bs), &kho_arena_.mem, KHO_PAGE_SHIFT, head, entry_size))
		return kho_fail_(-EINVAL, "block set: records of %zu bytes: 1 to %zu are possible",
				 entry_size, KHO_PAGE_SIZE - sizeof(struct kho_abi_block));
	return 0;
}

/* Does every block of a chain that was checked belong to a structure? */
static int check_owned(const struct kho_block_set *bs)
{
	kho_pa_t pa = __atomic_load_n(core_set(bs)->slot, __ATOMIC_ACQUIRE);

	for (__u64 left = KHO_ABI_BLOCKS_MAX; pa && left; left--) {
		int rc = kho_block_check_(pa, 0, KHO_ABI_DESC_STRUCT);

		if (rc)
			return rc;
		pa = ((struct kho_abi_block *)kho_phys_to_virt(pa))->next;
	}
	return 0;
}

int kho_block_set_restore(struct kho_block_set *bs)
{
	struct khoc_block_set fresh = *core_set(bs);
	struct khoc_report report;
	int rc;

	if (!khoc_block_set_is_empty(core_set(bs)))
		return kho_fail_(-EBUSY, "block set: it has blocks already");
	rc = khoc_block_set_restore(&fresh, &kho_arena_.tree, &report);
	if (rc)
		return kho_fail_report_(&report);
	rc = check_owned(bs);
	if (!rc)
		*core_set(bs) = fresh;
	return rc;
}

/* What the core says without a report. */
static int told(int rc, const char *what)
{
	if (rc == -ENOSPC)
		return kho_fail_(rc, "block set: %s: it would have more than %d blocks", what,
				 KHO_ABI_BLOCKS_MAX);
	if (rc == -ENOMEM)
		return kho_fail_(rc, "block set: %s: the arena is full", what);
	if (rc <= -KHO_E_TRUNCATED)
		return kho_fail_(rc, "block set: %s: its chain was overwritten: %s", what,
				 khoc_fault_text(-rc));
	return rc;
}

int kho_block_set_grow(struct kho_block_set *bs, __u64 count)
{
	return kho_writer_error_() ?: kho_part_use_(KHO_PART_BLOCK)
		       ?: told(khoc_block_set_grow(core_set(bs), count), "grow");
}

int kho_block_set_shrink(struct kho_block_set *bs, __u64 count)
{
	return kho_writer_error_() ?: told(khoc_block_set_shrink(core_set(bs), count), "shrink");
}

int kho_block_set_destroy(struct kho_block_set *bs)
{
	return kho_writer_error_() ?: told(khoc_block_set_destroy(core_set(bs)), "destroy");
}

int kho_block_set_clear(struct kho_block_set *bs)
{
	return kho_writer_error_() ?: told(khoc_block_set_clear(core_set(bs)), "clear");
}

kho_pa_t kho_block_set_head_pa(const struct kho_block_set *bs)
{
	return khoc_block_set_head_pa(core_set(bs));
}

bool kho_block_set_is_empty(const struct kho_block_set *bs)
{
	return khoc_block_set_is_empty(core_set(bs));
}

void kho_block_set_it_init(struct kho_block_set_it *it, struct kho_block_set *bs)
{
	khoc_block_it_init(core_it(it), core_set(bs));
}

int kho_block_set_it_end(struct kho_block_set_it *it, struct kho_block_set *bs)
{
	return khoc_block_it_init_end(core_it(it), core_set(bs)) ? kho_block_set_it_error(it) : 0;
}

void *kho_block_set_it_read_entry(struct kho_block_set_it *it)
{
	return khoc_block_it_read(core_it(it));
}

void *kho_block_set_it_reserve_entry(struct kho_block_set_it *it)
{
	return kho_writer_error_() ? NULL : khoc_block_it_reserve(core_it(it));
}

void *kho_block_set_it_prev(struct kho_block_set_it *it)
{
	return khoc_block_it_prev(core_it(it));
}

static int not_at_end(int rc)
{
	return rc == -EINVAL ? kho_fail_(rc, "block set: not at the end of its records") : rc;
}

int kho_block_set_it_append(struct kho_block_set_it *it, const void *entry)
{
	return kho_writer_error_() ?: kho_part_use_(KHO_PART_BLOCK)
		       ?: told(not_at_end(khoc_block_it_append(core_it(it), entry)), "append");
}

int kho_block_set_it_pop(struct kho_block_set_it *it)
{
	return kho_writer_error_() ?: told(not_at_end(khoc_block_it_pop(core_it(it))), "pop");
}

int kho_block_set_it_error(const struct kho_block_set_it *it)
{
	struct khoc_report report;

	return khoc_block_it_error(core_it(it), &report) ? kho_fail_report_(&report) : 0;
}
