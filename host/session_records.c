/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Records in blocks, of sessions: any one may go, not only the last, and what a record leads to comes and
 * goes with it. Readers of block-v1 see nothing of that: each block has its own count.
 *
 *	insert	the record is written behind those of a block that has room; one store of the count
 *		makes it one of them, and its object live. A new block is linked empty before that, or
 *		with its record, if that has no object.
 *	remove	the last of a block: one store of the count, which frees the object. Another one: the
 *		block is replaced by a copy without, in one store of the word that led to it; the
 *		object, which that cannot free as well, is named in kho_abi_session.dead meanwhile.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "heap.h"
#include "preserve.h"
#include "sessions.h"

static kho_pa_t spare; /* for a copy: a full arena keeps nobody from closing files */

static struct kho_abi_block *page_of(const struct rec_block *block)
{
	return (struct kho_abi_block *)(kho_arena_.base + block->pa);
}

void *kho_rec_at_(const struct rec_ref *ref, __u32 size)
{
	return (char *)(page_of(ref->block) + 1) + (size_t)ref->index * size;
}

static __u32 per_block(const struct rec_store *store)
{
	return (__u32)kho_abi_block_entries(KHO_PAGE_SHIFT, store->size);
}

static __u64 *head_word(const struct rec_store *store)
{
	if (!store->owner)
		return store->head;
	return (__u64 *)((char *)kho_rec_at_(store->owner, store->owner_size) + store->head_off);
}

/* The word that leads to @block. */
static __u64 *slot_of(const struct rec_store *store, const struct rec_block *block)
{
	return block->prev ? &page_of(block->prev)->next : head_word(store);
}

/* ---- private: which blocks there are, which have room ---- */

static void set_room(struct rec_store *store, struct rec_block *block)
{
	bool room = block->nr < per_block(store);

	if (room == block->has_room)
		return;
	block->has_room = room;
	if (room) {
		block->room_prev = NULL;
		block->room_next = store->room;
		if (store->room)
			store->room->room_prev = block;
		store->room = block;
		return;
	}
	*(block->room_prev ? &block->room_prev->room_next : &store->room) = block->room_next;
	if (block->room_next)
		block->room_next->room_prev = block->room_prev;
}

struct rec_block *kho_rec_block_add_(struct rec_store *store, kho_pa_t pa)
{
	struct rec_block *block =
		calloc(1, sizeof(*block) + per_block(store) * sizeof(block->refs[0]));

	if (!block)
		return NULL;
	block->pa = pa;
	block->prev = store->last;
	*(store->last ? &store->last->next : &store->first) = block;
	store->last = block;
	set_room(store, block);
	return block;
}

static void block_forget(struct rec_store *store, struct rec_block *block)
{
	block->nr = per_block(store);
	set_room(store, block);
	*(block->prev ? &block->prev->next : &store->first) = block->next;
	*(block->next ? &block->next->prev : &store->last) = block->prev;
	free(block);
}

void kho_rec_adopt_(struct rec_store *store, struct rec_block *block, struct rec_ref *ref)
{
	*ref = (struct rec_ref){block, block->nr};
	block->refs[block->nr++] = ref;
	set_room(store, block);
}

void kho_rec_forget_(struct rec_store *store)
{
	while (store->first)
		block_forget(store, store->first);
}

void kho_rec_spare_forget_(void)
{
	spare = 0;
}

int kho_rec_spare_(void)
{
	if (!spare)
		spare = kho_arena_.mem.ops->alloc_page(NULL);
	return spare ? 0 : -ENOMEM;
}

/* ---- insert ---- */

/* A block behind the last one. @record: in it, counted; or NULL: without. */
static int link_block(struct rec_store *store, const void *record)
{
	kho_pa_t pa = store->first_word && store->first ? 0 : kho_arena_.mem.ops->alloc_page(NULL);
	struct kho_abi_block *page = (void *)(kho_arena_.base + pa);
	struct rec_block *block;
	int rc;

	if (!pa)
		return store->first_word && store->first ? -ENOSPC : -ENOMEM;
	block = kho_rec_block_add_(store, pa);
	if (!block) {
		kho_arena_.mem.ops->free_page(NULL, pa);
		return -ENOMEM;
	}
	page->next = store->first_word;
	page->count = record ? 1 : 0;
	if (record)
		memcpy(page + 1, record, store->size);
	rc = kho_arena_.mem.ops->publish_page(NULL, slot_of(store, block), pa, pa, 0);
	if (rc) {
		block_forget(store, block);
		kho_arena_.mem.ops->free_page(NULL, pa);
	}
	return rc;
}

/* One store; with an object, one that takes or gives it as well. */
static int set_count(struct rec_block *block, __u64 count, void *fresh, void *stale)
{
	if (fresh || stale)
		return kho_publish_tagged(&page_of(block)->count, count, fresh, stale);
	__atomic_store_n(&page_of(block)->count, count, __ATOMIC_RELEASE);
	return 0;
}

int kho_rec_insert_(struct rec_store *store, struct rec_ref *ref, const void *record, void *object)
{
	struct rec_block *block;
	int rc;

	if (!store->room) {
		rc = link_block(store, object ? NULL : record);
		if (rc)
			return rc;
		if (!object) {
			kho_rec_adopt_(store, store->last, ref);
			return 0;
		}
	}
	block = store->room;
	memcpy((char *)(page_of(block) + 1) + (size_t)block->nr * store->size, record, store->size);
	rc = set_count(block, block->nr + 1, object, NULL);
	if (!rc)
		kho_rec_adopt_(store, block, ref);
	return rc;
}

/* ---- remove ---- */

static void name_dead(void *object)
{
	if (object)
		__atomic_store_n(&kho_luo_.head->dead, kho_virt_to_phys(object), __ATOMIC_RELEASE);
}

/* The object goes by itself: the record has gone, or (not @gone) has not. */
static void bury(void *object, bool gone)
{
	if (object && (!gone || kho_publish_tagged(&kho_luo_.head->dead, 0, NULL, object)))
		__atomic_store_n(&kho_luo_.head->dead, 0, __ATOMIC_RELEASE);
}

/* The block goes with its only record. */
static int unlink_block(struct rec_store *store, struct rec_block *block, void *object)
{
	__u64 next = store->first_word ? 0 : page_of(block)->next;
	int rc;

	name_dead(object);
	rc = kho_arena_.mem.ops->publish_page(NULL, slot_of(store, block), next, 0, block->pa);
	bury(object, !rc);
	if (!rc)
		block_forget(store, block);
	return rc;
}

/* A copy of the page, the last record in the place of number @index. */
static void copy_without(const struct rec_store *store, const struct rec_block *block, __u32 index,
			 struct kho_abi_block *to)
{
	const struct kho_abi_block *from = page_of(block);
	char *records = (char *)(to + 1);

	memcpy(to, from, sizeof(*to) + (size_t)block->nr * store->size);
	memcpy(records + (size_t)index * store->size,
	       records + (size_t)(block->nr - 1) * store->size, store->size);
	memset(records + (size_t)(block->nr - 1) * store->size, 0, store->size);
	to->count = block->nr - 1;
}

static int replace_block(struct rec_store *store, struct rec_block *block, __u32 index,
			 void *object)
{
	kho_pa_t pa, stale = block->pa;
	int rc = kho_rec_spare_();

	if (rc)
		return rc;
	pa = spare;
	memset(kho_arena_.base + pa, 0, KHO_PAGE_SIZE);
	copy_without(store, block, index, (void *)(kho_arena_.base + pa));
	name_dead(object);
	rc = kho_arena_.mem.ops->publish_page(NULL, slot_of(store, block), pa, pa, stale);
	bury(object, !rc);
	if (rc)
		return rc;
	spare = 0;
	kho_rec_spare_(); /* there is one: that of the old block */
	block->pa = pa;
	block->refs[index] = block->refs[block->nr - 1];
	block->refs[index]->index = index;
	return 0;
}

int kho_rec_trim_(struct rec_store *store)
{
	int rc = 0;

	while (!rc && store->last && !store->last->nr)
		rc = unlink_block(store, store->last, NULL);
	return rc;
}

int kho_rec_remove_(struct rec_store *store, struct rec_ref *ref, void *object)
{
	struct rec_block *block = ref->block;
	__u32 last = block->nr - 1;
	int rc;

	if (!last)
		return unlink_block(store, block, object);
	if (ref->index == last)
		rc = set_count(block, last, NULL, object);
	else
		rc = replace_block(store, block, ref->index, object);
	if (rc)
		return rc;
	block->refs[last] = NULL;
	block->nr = last;
	set_room(store, block);
	return 0;
}
