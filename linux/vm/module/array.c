// SPDX-License-Identifier: GPL-2.0-only
/*
 * KHO arrays: one of every kind of entry is made on the first boot, compared entry by entry and
 * changed on each that follows, and destroyed on the last; and one that is damaged on the way is
 * refused.
 *
 *	dense		[0, nr): integers; every third is erased
 *	addresses	ADDRESSES + 512 i: addresses
 *	scattered	2^63 and above: i times an odd number
 *	boots		BOOTS + n: written on boot n
 */
#include <linux/kho/array.h>
#include <linux/sched.h>

#include "ours.h"

#define ADDRESSES (1ULL << 40)
#define BOOTS (1ULL << 50)
#define SCATTERED (1ULL << 63)
#define ODD 0x9e3779b97f4a7c15ULL

/* @array, @damaged: descriptors */
struct record {
	struct kho_abi_array array;
	struct kho_abi_array damaged;
	u64 nr;
};

/* An address as good as any. */
static u64 address(const struct record *record)
{
	return virt_to_phys((void *)record) + 8;
}

static u64 scattered(u64 i)
{
	return SCATTERED | i * ODD;
}

/* The number that scattered() made @index of; modulo 2^63. */
static u64 unscattered(u64 index)
{
	u64 inverse = ODD;

	/* Each step doubles the bits that are right: 3 at first. */
	for (int i = 0; i < 5; i++)
		inverse *= 2 - ODD * inverse;
	return index * inverse & (SCATTERED - 1);
}

/* What must be at an index on boot @hop before that has changed anything; 0: nothing. */
static u64 expected(const struct record *record, u64 index, unsigned int hop)
{
	if (index < record->nr)
		return index % 3 ? kho_array_mk_value(index * 7) : 0;
	if (index >= SCATTERED)
		return unscattered(index) < record->nr ? kho_array_mk_value(~index & ~SCATTERED)
						       : 0;
	if (index >= BOOTS)
		return index < BOOTS + hop ? kho_array_mk_value(index) : 0;
	if (index < ADDRESSES || index % 512 || index >= ADDRESSES + 512 * record->nr)
		return 0;
	return address(record);
}

static u64 expected_count(const struct record *record, unsigned int hop)
{
	return record->nr * 2 + record->nr - DIV_ROUND_UP(record->nr, 3) + hop;
}

static int fill(struct kho_array *array, const struct record *record)
{
	u64 i;
	int err = 0;

	for (i = 0; i < record->nr && !err; i++) {
		err = kho_array_set(array, i, kho_array_mk_value(i * 7));
		if (!err)
			err = kho_array_set(array, ADDRESSES + 512 * i, address(record));
		if (!err)
			err = kho_array_set(array, scattered(i),
					    kho_array_mk_value(~scattered(i) & ~SCATTERED));
		cond_resched();
	}
	for (i = 0; i < record->nr && !err; i += 3)
		err = kho_array_erase(array, i);
	return err;
}

struct walk {
	const struct record *record;
	struct kho_vm_tally *tally;
	u64 nr;
	u64 last;
	unsigned int hop;
};

static int look(u64 index, u64 entry, void *ctx)
{
	struct walk *walk = ctx;
	u64 want = expected(walk->record, index, walk->hop);

	kho_vm_expect(walk->tally, want && entry == want, "array: at %#llx %#llx and not %#llx",
		      index, entry, want);
	kho_vm_expect(walk->tally, !walk->nr || index > walk->last, "array: %#llx after %#llx",
		      index, walk->last);
	walk->last = index;
	walk->nr++;
	return 0;
}

/* Everything by a walk, and some of it by number. */
static void compare(struct kho_array *array, const struct record *record, unsigned int hop,
		    struct kho_vm_tally *tally)
{
	struct walk walk = {.record = record, .tally = tally, .hop = hop};
	u64 count = expected_count(record, hop), index, entry, i;

	kho_array_walk(array, 0, U64_MAX, look, &walk);
	kho_vm_expect(tally, walk.nr == count && kho_array_count(array) == count,
		      "array: %llu entries, counted %llu, not %llu", walk.nr,
		      kho_array_count(array), count);
	for (i = 0; i < record->nr; i += 97) {
		kho_vm_expect(tally, kho_array_get(array, i) == expected(record, i, hop),
			      "array: no %llu", i);
		index = scattered(i) + 1;
		kho_vm_expect(tally,
			      kho_array_prev(array, &index, &entry) == 1 && index == scattered(i),
			      "array: before %#llx is %#llx", scattered(i) + 1, index);
		index = ADDRESSES + 512 * i - 511;
		kho_vm_expect(tally,
			      kho_array_next(array, &index, &entry) == 1 &&
				      index == ADDRESSES + 512 * i,
			      "array: behind %#llx is %#llx", ADDRESSES + 512 * i - 511, index);
	}
}

/* An array whose first leaf says that it is of a level that it is not. */
static int make_damaged(struct record *record)
{
	struct kho_array array;
	struct kho_abi_array_node *root;
	int err = kho_array_init(&array, &record->damaged);
	u64 i;

	for (i = 0; i < 1000 && !err; i++)
		err = kho_array_set(&array, i * 3, kho_array_mk_value(i));
	if (err)
		return err;
	root = phys_to_virt(record->damaged.root & PAGE_MASK);
	root->level++;
	return 0;
}

static int first_boot(struct record *record, const struct kho_vm_request *request,
		      struct kho_vm_tally *tally)
{
	struct kho_array array;
	int err;

	record->nr = min(request->nr, 20000UL);
	err = kho_array_init(&array, &record->array);
	if (!err)
		err = fill(&array, record);
	if (err)
		return err;
	compare(&array, record, 0, tally);
	err = kho_array_set(&array, BOOTS, kho_array_mk_value(BOOTS));
	return err ?: make_damaged(record);
}

static void refuse_damaged(struct record *record, struct kho_vm_tally *tally)
{
	struct kho_array array;
	int err = kho_array_restore(&array, &record->damaged);

	kho_vm_expect(tally, err == -EINVAL, "array: a damaged one: %d", err);
}

int kho_vm_array(const struct kho_vm_request *request, struct kho_vm_tally *tally)
{
	struct record *record = kho_vm_record("kho_vm_array");
	struct kho_array array, again;
	u64 boot = BOOTS + request->hop;
	int err;

	if (IS_ERR(record))
		return PTR_ERR(record);
	if (!request->hop)
		return first_boot(record, request, tally);
	refuse_damaged(record, tally);
	err = kho_array_restore(&array, &record->array);
	if (err)
		return err;
	kho_vm_expect(tally, kho_array_restore(&again, &record->array) == -EINVAL,
		      "array: restored twice");
	compare(&array, record, request->hop, tally);
	err = kho_array_set(&array, boot, kho_array_mk_value(boot));
	if (err || !request->last)
		return err;
	err = kho_array_destroy(&array);
	kho_vm_expect(tally, !err && !record->array.root, "array: destroyed: %d", err);
	kho_vm_record_free(record);
	return 0;
}
