/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Operations on the heap and two caches: objects reserved, published, exchanged, freed, preserved
 * singly, and the program dying in between. What was published or preserved is there afterwards with its
 * bytes, nothing else is, and every slab is sound.
 *
 * An input is a list of operations: see operate().
 */
#include "arena_ops.h"

#include <kho/slab.h>

#include "page.h"

#define ARENA_MAX (6ULL << 20)
#define NR 32
#define MAX_OPS 400

struct object {
	void *at; /* NULL: none */
	size_t size;
	u8 id;
	bool preserved; /* single: it goes along */
	bool came_in; /* single: and was not restored yet */
};

static struct {
	void **slots; /* in the arena, NR of them */
	struct object live[NR];
	struct object reserved[NR];
	struct object single[NR];
	struct kmem_cache *whole_cache;
	struct kmem_cache *single_cache;
	u64 others; /* live objects: the slots, and what the caches need */
	u8 id;
} t;

/* ---- facts ---- */

static void check_slabs(void)
{
	struct khoc_report report;
	struct khoc_block block;
	unsigned int type, order;

	for (kho_pa_t pos = 0; khoc_radix_next(&kho_arena_.tree, pos, kho_arena_.size, &block);
	     pos = block.pa + (KHO_PAGE_SIZE << block.order))
		if (!kho_block_desc_(block.pa, &type, &order) && type == KHO_ABI_DESC_SLAB)
			FACT(!khoc_slab_check(&kho_arena_.mem, KHO_PAGE_SHIFT, block.pa, order,
					      NULL, &report));
}

static int see(void *ctx, void *object, bool restored)
{
	unsigned int i = 0;

	while (i < NR && !(t.single[i].at == object && t.single[i].preserved))
		i++;
	FACT(i < NR && restored == !t.single[i].came_in);
	++*(unsigned int *)ctx;
	return 0;
}

static void check(void)
{
	struct kho_heap_stats stats;
	unsigned int live = 0, preserved = 0, seen = 0;

	for (unsigned int i = 0; i < NR; i++) {
		const struct object *object = &t.live[i];

		FACT(t.slots[i] == object->at);
		if (object->at)
			arena_marked(object->at, object->size, object->id);
		live += !!object->at;
		object = &t.reserved[i];
		if (object->at)
			arena_marked(object->at, object->size, object->id);
		object = &t.single[i];
		if (object->at)
			arena_marked(object->at, object->size, object->id);
		preserved += object->at && object->preserved;
	}
	FACT(!kho_heap_stats(&stats, true));
	FACT(stats.live_objects == t.others + live + preserved);
	FACT(!kho_kmem_cache_for_each(t.single_cache, see, &seen) && seen == preserved);
	check_slabs();
}

/* ---- operations ---- */

static size_t take_size(struct ops_bytes *in)
{
	u8 how = take_byte(in);

	return ((how & 15) + 1ULL) << (how >> 4) % 14;
}

static void open_caches(void)
{
	t.whole_cache = kho_kmem_cache_create("whole", 200, 0, 0, NULL);
	t.single_cache = kho_kmem_cache_create("single", 900, 64, KHO_CACHE_SINGLE, NULL);
	FACT(t.whole_cache && t.single_cache);
}

static void reserve(struct ops_bytes *in, unsigned int i, u8 how)
{
	struct object *object = &t.reserved[i];
	size_t align = 1ULL << (how & 15);

	if (object->at)
		return;
	object->size = take_size(in);
	object->id = ++t.id;
	if (how >> 6 == 0) {
		object->size = 200;
		object->at = kho_kmem_cache_alloc(t.whole_cache);
	} else if (how >> 6 == 1 && align <= KHO_PAGE_SIZE) {
		object->at = kho_memalign(align, object->size);
		FACT(!((uintptr_t)object->at & (align - 1)));
	} else {
		object->at = kho_malloc(object->size);
	}
	if (!object->at)
		return;
	FACT(!((uintptr_t)object->at & 15) && kho_usable_size(object->at) >= object->size);
	arena_mark(object->at, object->size, object->id);
}

static void resize(struct ops_bytes *in, unsigned int i)
{
	struct object *object = &t.reserved[i];
	size_t size = take_size(in);
	void *at = object->at ? kho_realloc(object->at, size) : NULL;

	if (!at)
		return;
	object->at = at;
	if (size < 64 || object->size < 64)
		arena_marked(at, size < object->size ? size : object->size, object->id);
	object->size = size;
	arena_mark(at, size, object->id);
}

static void release(struct object *object)
{
	kho_free(object->at);
	memset(object, 0, sizeof(*object));
}

/* A reserved object, or none, comes to a slot; what was there is freed, or reserved again. */
static void publish(unsigned int slot, unsigned int from, bool none, bool exchange)
{
	struct object was = t.live[slot];
	void *fresh = none ? NULL : t.reserved[from].at;
	int rc;

	if (!fresh && !was.at)
		return;
	rc = exchange ? kho_exchange(&t.slots[slot], fresh, was.at)
		      : kho_publish(&t.slots[slot], fresh, was.at);
	FACT(!rc || rc == -ENOMEM);
	if (rc)
		return;
	t.live[slot] = (struct object){0};
	if (fresh) {
		t.live[slot] = t.reserved[from];
		t.reserved[from] = (struct object){0};
	}
	if (exchange && was.at) {
		if (t.reserved[from].at)
			release(&was);
		else
			t.reserved[from] = was;
	}
}

static void make_single(unsigned int i)
{
	struct object *object = &t.single[i];

	if (object->at)
		return;
	*object = (struct object){kho_kmem_cache_alloc(t.single_cache), 900, ++t.id, false, false};
	if (!object->at)
		return;
	for (size_t b = 0; b < 900; b++)
		FACT(!((u8 *)object->at)[b]);
	arena_mark(object->at, 900, object->id);
}

static void change_single(unsigned int i, unsigned int what)
{
	struct object *object = &t.single[i];
	int rc;

	if (!object->at)
		return;
	if (object->came_in) {
		void *at = kho_slab_restore(kho_virt_to_phys(object->at));

		FACT(at == object->at);
		object->came_in = false;
		FACT(!kho_slab_restore(kho_virt_to_phys(at)) && errno == EINVAL);
	} else if (what == 0) {
		rc = kho_slab_preserve(object->at);
		FACT(rc == (object->preserved ? -EALREADY : 0));
		object->preserved = true;
	} else if (what == 1) {
		rc = kho_slab_unpreserve(object->at);
		FACT(rc == (object->preserved ? 0 : -KHO_E_NOT_PRESERVED));
		object->preserved = false;
	} else {
		release(object);
	}
}

static void die(void)
{
	arena_again();
	t.slots = *kho_root("slots", "fuzz", 1);
	FACT(t.slots);
	memset(t.reserved, 0, sizeof(t.reserved));
	for (unsigned int i = 0; i < NR; i++) {
		if (t.single[i].preserved)
			t.single[i].came_in = true;
		else
			t.single[i] = (struct object){0};
	}
	open_caches();
	check();
}

static void operate(struct ops_bytes *in)
{
	u8 op = take_byte(in), which = take_byte(in);
	unsigned int i = which % NR;

	switch (op & 7) {
	case 0:
	case 1:
		reserve(in, i, take_byte(in));
		break;
	case 2:
		publish(i, op >> 3, which & 64, which & 128);
		break;
	case 3:
		if (t.reserved[i].at)
			release(&t.reserved[i]);
		break;
	case 4:
		make_single(i);
		break;
	case 5:
		change_single(i, which >> 6);
		break;
	case 6:
		resize(in, i);
		break;
	default:
		if (op >> 3 > 27)
			die();
		else if (op >> 3 > 24)
			check();
		else
			for (unsigned int n = 0; n < op >> 3; n++) /* slabs become full */
				reserve(&(struct ops_bytes){&which, 1}, (i + n) % NR, which);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ops_bytes in = {data, size};
	struct kho_heap_stats stats;
	void **root, **slots;

	memset(&t, 0, sizeof(t));
	arena_begin(ARENA_MAX);
	root = kho_root("slots", "fuzz", 1);
	slots = kho_calloc(NR, sizeof(void *));
	FACT(root && slots && !kho_publish(root, slots, NULL));
	t.slots = slots;
	open_caches();
	FACT(!kho_heap_stats(&stats, true));
	t.others = stats.live_objects;
	for (unsigned int i = 0; i < MAX_OPS && in.left; i++)
		operate(&in);
	check();
	die();
	for (unsigned int i = 0; i < NR; i++) {
		publish(i, 0, true, false);
		change_single(i, 2); /* restores it */
		change_single(i, 2);
	}
	check();
	FACT(!kho_kmem_cache_destroy(t.whole_cache) && !kho_kmem_cache_destroy(t.single_cache));
	root = kho_root("slots", "fuzz", 1);
	FACT(root && !kho_publish(root, NULL, *root));
	FACT(!kho_root_remove("slots"));
	kho_arena_unmap_();
	return 0;
}
