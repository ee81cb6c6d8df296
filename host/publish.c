/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Publishing: one store, seen by any crash as one step.
 *
 * The order of the stores of one thread is all that counts: a process that is killed has
 * executed its instructions up to one point and none after it, and its memory stays coherent.
 * So compiler barriers do; nothing is flushed and, for the crash's sake, nothing fenced.
 *
 *	record { value, new, old }, then record.slot	from here on it will be finished
 *	new: live
 *	*slot = value					the step itself
 *	old: free
 *	record.slot = 0
 *
 * Whoever finds a record looks at *slot: the value there says which side of the step it is on.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "heap.h"
#include "page.h"
#include "preserve.h"

#define barrier() __asm__ __volatile__("" ::: "memory")

/* An object as publishing needs it: small (@slab), large (@large), or a page of a structure (@page). */
struct object {
	void *ptr;
	struct slab *slab;
	const struct kho_abi_large *large;
	kho_pa_t page;
	long index;
	bool live;
};

static pthread_mutex_t intents_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned int nr_intents; /* records given to threads */

static struct kho_abi_intent *intent_at(unsigned int i)
{
	return (struct kho_abi_intent *)(kho_arena_.base + KHO_ABI_INTENTS_PA) + i;
}

/* Records are given out once and stay with their heap: threads that go leave theirs to the next. */
struct kho_abi_intent *kho_intent_get_(void)
{
	struct kho_abi_intent *intent = NULL;

	pthread_mutex_lock(&intents_lock);
	if (nr_intents < KHO_ABI_NR_INTENTS)
		intent = intent_at(nr_intents++);
	pthread_mutex_unlock(&intents_lock);
	if (!intent)
		kho_fail_(-EAGAIN, "more than %u threads publish at a time", KHO_ABI_NR_INTENTS);
	return intent;
}

static bool find_object(void *ptr, struct object *object)
{
	object->ptr = ptr;
	object->large = NULL;
	object->slab = kho_slab_of_(ptr);
	if (object->slab) {
		object->index = kho_slab_index_(object->slab, ptr);
		if (object->index < 0 || object->slab->single)
			return false;
		object->live = kho_slab_state_(object->slab, object->index) == KHO_ABI_OBJECT_LIVE;
		return true;
	}
	object->large = kho_large_find_(ptr);
	object->live = object->large && kho_large_is_live_(object->large);
	return object->large;
}

static int make_live(const struct object *object)
{
	if (object->slab)
		kho_slab_set_state_(object->slab, object->index, KHO_ABI_OBJECT_LIVE);
	else if (object->large)
		return kho_large_preserve_(object->large);
	else
		return kho_block_preserve_(object->page, 0, KHO_ABI_DESC_STRUCT);
	return 0;
}

/*
 * No longer live. FREE lets the slab's owner hand the object out again the next time it looks;
 * so while somebody still has it, or another thread may be looking, it is FREED.
 */
static void make_free(struct heap *heap, const struct object *object, bool keep)
{
	bool owned = object->slab && kho_slab_owner_(object->slab) == heap;

	if (object->slab)
		kho_slab_set_state_(object->slab, object->index,
				    owned && !keep ? KHO_ABI_OBJECT_FREE : KHO_ABI_OBJECT_FREED);
	else if (object->large)
		kho_large_unpreserve_(object->large);
	else
		kho_block_unpreserve_(object->page, 0);
}

static void hand_back(struct heap *heap, const struct object *object)
{
	if (object->slab)
		kho_heap_free_object_(heap, object->slab, object->ptr, object->index, false);
	else if (object->large)
		kho_large_free_(object->large);
	else
		kho_pages_free_(object->page, 1);
}

static int bad_object(const void *ptr, const char *what)
{
	return kho_fail_(-EINVAL, "kho_publish: %p: %s", ptr, what);
}

static bool is_cell(kho_pa_t pa)
{
	return pa >= KHO_ABI_CELLS_PA && pa < KHO_ABI_FIXED_END;
}

static bool in_data(__u64 address)
{
	kho_pa_t pa = address - (uintptr_t)kho_arena_.base;

	return pa >= kho_arena_.header->data_pa && pa < kho_file_size_();
}

/* Could an object be at this address? What it is, recovery finds out. */
static bool object_address_ok(__u64 address)
{
	__u64 align = address & KHO_ABI_INTENT_PAGE ? KHO_PAGE_SIZE : HEAP_ALIGN;

	return !address ||
	       (!((address & ~(__u64)KHO_ABI_INTENT_PAGE) & (align - 1)) && in_data(address));
}

/* Slots are words of the data, or of a root's cell. */
static bool slot_ok(kho_pa_t pa)
{
	if (pa & 7)
		return false;
	if (is_cell(pa))
		return !((pa - KHO_ABI_CELLS_PA) % sizeof(struct kho_abi_cell));
	return pa >= kho_arena_.header->data_pa && pa < kho_file_size_();
}

static int check_operands(__u64 *slot, __u64 value, void *new_object, void *old,
			  struct object *fresh, struct object *stale)
{
	if (!slot_ok(kho_virt_to_phys(slot)))
		return bad_object(slot, "slot: not an aligned word in the arena");
	if (new_object && !find_object(new_object, fresh))
		return bad_object(new_object, "new object: not an object of the heap");
	if (old && !find_object(old, stale))
		return bad_object(old, "old object: not an object of the heap");
	if (old && old == new_object)
		return bad_object(old, "old object: is the new one as well");
	if (is_cell(kho_virt_to_phys(slot)) && value && !in_data(value))
		return bad_object(slot, "slot: a root's cell takes addresses in the arena only");
	if (old && !stale->live)
		return bad_object(old, "old object: not live");
	if ((new_object || old) && *slot == value)
		return bad_object(slot, "slot: holds that value already");
	return 0;
}

/* How a record names an object. */
static __u64 object_name(const struct object *object)
{
	return object->page ? (uintptr_t)object->ptr | KHO_ABI_INTENT_PAGE : (uintptr_t)object->ptr;
}

/* The step itself. @fresh and @stale without an address: none. */
static inline __attribute__((always_inline)) int commit(struct heap *heap, __u64 *slot, __u64 value,
							const struct object *fresh,
							const struct object *stale, bool keep_stale)
{
	struct kho_abi_intent *intent = heap->intent;
	int rc;

	intent->value = value;
	intent->new_object = object_name(fresh);
	intent->old_object = object_name(stale);
	barrier();
	intent->slot = kho_virt_to_phys(slot);
	barrier();
	rc = fresh->ptr ? make_live(fresh) : 0;
	if (!rc) {
		barrier();
		__atomic_store_n(slot, value, __ATOMIC_RELEASE);
		barrier();
		if (stale->ptr)
			make_free(heap, stale, keep_stale);
	}
	barrier();
	intent->slot = 0;
	if (!rc && stale->ptr && !keep_stale)
		hand_back(heap, stale);
	return rc;
}

/* The calling thread's heap with a record; NULL: none left. */
static struct heap *heap_with_intent(void)
{
	struct heap *heap = kho_heap_get_();

	if (heap && !heap->intent)
		heap->intent = kho_intent_get_();
	return heap && heap->intent ? heap : NULL;
}

static int publish(__u64 *slot, __u64 value, void *new_object, void *old, bool keep_old)
{
	struct object fresh = {.ptr = NULL}, stale = {.ptr = NULL};
	struct heap *heap;
	int rc;

	if (!kho_arena_.writer)
		return kho_writer_error_();
	heap = heap_with_intent();
	if (!heap)
		return -ENOMEM;
	rc = check_operands(slot, value, new_object, old, &fresh, &stale);
	if (rc)
		return rc;
	if (fresh.live)
		fresh.ptr = NULL; /* reachable already: nothing to be made live, or undone */
	return commit(heap, slot, value, &fresh, &stale, keep_old);
}

/* ---- pages of structures ---- */

static int check_pages(const __u64 *slot, __u64 value, const struct object *fresh,
		       const struct object *stale)
{
	if (!slot_ok(kho_virt_to_phys(slot)) || is_cell(kho_virt_to_phys(slot)))
		return kho_fail_(-EINVAL, "page: slot %p: not an aligned word of the data",
				 (const void *)slot);
	if (*slot == value)
		return kho_fail_(-EINVAL, "page: slot %p: holds that value already",
				 (const void *)slot);
	if (fresh->page && kho_pages_kind_(fresh->page) != PAGE_KIND_STRUCT)
		return kho_fail_(-EINVAL, "page at %#llx: not handed out for a structure here",
				 (unsigned long long)fresh->page);
	return stale->page ? kho_block_check_(stale->page, 0, KHO_ABI_DESC_STRUCT) : 0;
}

int kho_page_publish_(__u64 *slot, __u64 value, kho_pa_t fresh_pa, kho_pa_t stale_pa)
{
	struct object fresh = {.ptr = kho_phys_to_virt(fresh_pa), .page = fresh_pa};
	struct object stale = {.ptr = kho_phys_to_virt(stale_pa), .page = stale_pa};
	struct heap *heap = heap_with_intent();
	int rc = kho_writer_error_() ?: check_pages(slot, value, &fresh, &stale);

	if (rc)
		return rc;
	return heap ? commit(heap, slot, value, &fresh, &stale, false) : -ENOMEM;
}

/* ---- runs of pages ---- */

/* While the record counts, whoever finds it unpreserves the run: what it was for is undone, or completed. */
static void begin_run(struct kho_abi_intent *intent, kho_pa_t pa, __u64 nr)
{
	intent->value = nr;
	intent->new_object = 0;
	intent->old_object = 0;
	barrier();
	intent->slot = pa | KHO_ABI_INTENT_RUN;
	barrier();
}

static void end_run(struct kho_abi_intent *intent)
{
	barrier();
	intent->slot = 0;
}

int kho_pages_preserve_(kho_pa_t pa, __u64 nr)
{
	struct heap *heap;
	int rc;

	if (!kho_run_is_split_(pa, nr))
		return kho_run_preserve_(pa, nr, KHO_ABI_DESC_PAGES, KHO_ABI_DESC_PAGES);
	heap = heap_with_intent();
	if (!heap)
		return -ENOMEM;
	begin_run(heap->intent, pa, nr);
	rc = kho_run_preserve_(pa, nr, KHO_ABI_DESC_PAGES, KHO_ABI_DESC_PAGES);
	end_run(heap->intent);
	return rc;
}

void kho_pages_unpreserve_(kho_pa_t pa, __u64 nr)
{
	struct heap *heap = kho_run_is_split_(pa, nr) ? heap_with_intent() : NULL;

	if (heap)
		begin_run(heap->intent, pa, nr);
	kho_run_unpreserve_(pa, nr);
	if (heap)
		end_run(heap->intent);
}

int kho_publish(void **slot, void *new_object, void *old)
{
	return publish((__u64 *)slot, (uintptr_t)new_object, new_object, old, false);
}

int kho_publish_tagged(__u64 *slot, __u64 value, void *new_object, void *old)
{
	return publish(slot, value, new_object, old, false);
}

int kho_exchange(void **slot, void *new_object, void *old)
{
	return publish((__u64 *)slot, (uintptr_t)new_object, new_object, old, true);
}

/* ---- after a crash ---- */

static int intent_fault(const struct kho_abi_intent *intent, const char *field, __u64 value)
{
	struct khoc_report report = {
		.fault = KHO_E_RANGE,
		.structure = KHOC_S_INTENT,
		.level = -1,
		.addr = kho_virt_to_phys(intent),
		.value = value,
		.field = field,
	};

	return kho_fail_report_(&report);
}

static bool run_ok(kho_pa_t pa, __u64 nr)
{
	return !(pa & (KHO_PAGE_SIZE - 1)) && pa >= kho_arena_.header->data_pa &&
	       pa < kho_file_size_() && nr && nr <= (kho_file_size_() - pa) >> KHO_PAGE_SHIFT;
}

/* @at: where @intent was read. */
static int check_intent(const struct kho_abi_intent *intent, const struct kho_abi_intent *at)
{
	if (!intent->slot)
		return 0;
	if (intent->slot & KHO_ABI_INTENT_RUN)
		return run_ok(intent->slot ^ KHO_ABI_INTENT_RUN, intent->value)
			       ? 0
			       : intent_fault(at, "slot", intent->slot);
	if (!slot_ok(intent->slot))
		return intent_fault(at, "slot", intent->slot);
	if (!object_address_ok(intent->new_object))
		return intent_fault(at, "new_object", intent->new_object);
	if (!object_address_ok(intent->old_object))
		return intent_fault(at, "old_object", intent->old_object);
	return 0;
}

/* Each word once: the owner may be at work. */
static struct kho_abi_intent read_intent(const struct kho_abi_intent *at)
{
	return (struct kho_abi_intent){
		.slot = __atomic_load_n(&at->slot, __ATOMIC_ACQUIRE),
		.value = __atomic_load_n(&at->value, __ATOMIC_ACQUIRE),
		.new_object = __atomic_load_n(&at->new_object, __ATOMIC_ACQUIRE),
		.old_object = __atomic_load_n(&at->old_object, __ATOMIC_ACQUIRE),
	};
}

int kho_intents_check_(void)
{
	int rc = 0;

	for (unsigned int i = 0; i < KHO_ABI_NR_INTENTS && !rc; i++) {
		struct kho_abi_intent seen = read_intent(intent_at(i)), again;

		/* Words of two records, one after the other, are no fault. */
		for (int tries = 0; (rc = check_intent(&seen, intent_at(i))) && tries < 8;
		     tries++, seen = again) {
			again = read_intent(intent_at(i));
			if (!memcmp(&seen, &again, sizeof(seen)))
				break;
		}
	}
	return rc;
}

static void settle_page(kho_pa_t pa, bool live)
{
	struct khoc_block block;
	unsigned int type, order;

	/* A block of something else there: the record is not about this page any more. */
	if (khoc_radix_lookup(&kho_arena_.tree, pa, &block) &&
	    (block.pa != pa || block.order || kho_block_desc_(pa, &type, &order) ||
	     type != KHO_ABI_DESC_STRUCT))
		return;
	if (live)
		kho_block_preserve_(pa, 0, KHO_ABI_DESC_STRUCT);
	else
		kho_run_drop_(pa, 1);
}

/*
 * Settle an object one way; a large one even if it seems settled: it may be marked in part.
 * Nothing was adopted or found free yet, and no private memory is needed, so that
 * this cannot fail half-way.
 */
static void settle(__u64 address, bool live)
{
	const struct kho_abi_large *large;
	unsigned char *state;

	if (!address)
		return;
	if (address & KHO_ABI_INTENT_PAGE) {
		settle_page((address ^ KHO_ABI_INTENT_PAGE) - (uintptr_t)kho_arena_.base, live);
		return;
	}
	state = kho_slab_state_of_((void *)(uintptr_t)address);
	if (state) {
		*state = live ? KHO_ABI_OBJECT_LIVE : KHO_ABI_OBJECT_FREE;
		return;
	}
	large = kho_large_of_((void *)(uintptr_t)address);
	if (large && live)
		kho_large_preserve_(large);
	else if (large)
		kho_large_drop_(large);
}

static void recover_run(struct kho_abi_intent *intent)
{
	kho_run_settle_(intent->slot ^ KHO_ABI_INTENT_RUN, intent->value, KHO_ABI_DESC_PAGES);
	end_run(intent);
}

static void recover(struct kho_abi_intent *intent)
{
	const __u64 *slot = (const __u64 *)(kho_arena_.base + intent->slot);
	bool done;

	if (intent->slot & KHO_ABI_INTENT_RUN) {
		recover_run(intent);
		return;
	}
	done = *slot == intent->value;
	settle(intent->new_object, done);
	if (done)
		settle(intent->old_object, false);
	barrier();
	intent->slot = 0;
}

void kho_intents_recover_(void)
{
	nr_intents = 0;
	for (unsigned int i = 0; i < KHO_ABI_NR_INTENTS; i++)
		if (intent_at(i)->slot)
			recover(intent_at(i));
}
