/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Damage to an arena: see damage.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arena_fixture.h"
#include "damage.h"
#include "heap.h"
#include "page.h"
#include "preserve.h"
#include "template.h"

#include <kho/slab.h>
#include <kho/vmalloc.h>

struct damage_part damage_parts[DAMAGE_PARTS];
unsigned int damage_nr_parts;
const char *damage_image;
__u64 damage_size;

static struct template things;
static char *work;
static int work_fd;

void damage_add_part(unsigned int row, __u64 lo, __u64 len)
{
	assert_true(damage_nr_parts < DAMAGE_PARTS);
	damage_parts[damage_nr_parts++] = (struct damage_part){row, lo, lo + len};
}

/* ---- where structures have their bytes ---- */

static void header_parts(unsigned int row)
{
	damage_add_part(row, 0, offsetof(struct kho_abi_arena_header, root_fdt));
}

static void word_parts(unsigned int row)
{
	damage_add_part(row, offsetof(struct kho_abi_arena_header, root_fdt), 24);
}

static __u64 fdt_in_force(void)
{
	__u64 fdt = 0;

	khoc_cword_get(kho_arena_.words->root_fdt, offsetof(struct kho_abi_arena_header, root_fdt),
		       &fdt);
	return fdt;
}

static void fdt_parts(unsigned int row)
{
	__u64 fdt = fdt_in_force();

	damage_add_part(row, fdt, __builtin_bswap32(*(__u32 *)(kho_arena_.base + fdt + 4)));
}

static void metadata_parts(unsigned int row)
{
	damage_add_part(row, fdt_in_force() + KHO_ABI_FDT_MAX, sizeof(struct kho_abi_metadata));
}

static int add_table(void *ctx, kho_pa_t pa, int level)
{
	if (level)
		damage_add_part(*(unsigned int *)ctx, pa, KHO_PAGE_SIZE);
	return 0;
}

static int add_leaf(void *ctx, kho_pa_t pa, int level)
{
	if (!level)
		damage_add_part(*(unsigned int *)ctx, pa, KHO_PAGE_SIZE);
	return 0;
}

static void table_parts(unsigned int row)
{
	assert_int_equal(khoc_radix_nodes(&kho_arena_.tree, add_table, &row), 0);
}

static void leaf_parts(unsigned int row)
{
	assert_int_equal(khoc_radix_nodes(&kho_arena_.tree, add_leaf, &row), 0);
}

static bool next_block(struct khoc_block *block, unsigned int *type)
{
	kho_pa_t pos = block->pa ? block->pa + (KHO_PAGE_SIZE << block->order) : 0;
	unsigned int order;

	if (!khoc_radix_next(&kho_arena_.tree, pos, TEMPLATE_MAX, block))
		return false;
	assert_int_equal(kho_block_desc_(block->pa, type, &order), 0);
	return true;
}

static void desc_parts(unsigned int row)
{
	struct khoc_block block = {0, 0};
	unsigned int type;

	while (next_block(&block, &type))
		damage_add_part(row, kho_arena_.header->descs_pa + (block.pa >> 12) * 2, 2);
}

static void slab_parts(unsigned int row)
{
	struct khoc_block block = {0, 0};
	unsigned int type;

	while (next_block(&block, &type))
		if (type == KHO_ABI_DESC_SLAB)
			damage_add_part(row, block.pa, sizeof(struct kho_abi_slab));
}

static void state_parts(unsigned int row)
{
	struct khoc_block block = {0, 0};
	unsigned int type;

	while (next_block(&block, &type)) {
		const struct kho_abi_slab *slab = kho_phys_to_virt(block.pa);

		if (type == KHO_ABI_DESC_SLAB)
			damage_add_part(row, block.pa + sizeof(*slab), slab->nr_objects);
	}
}

/* Each cache once, though several slabs may name it. */
static void record_parts(unsigned int row)
{
	struct khoc_block block = {0, 0};
	kho_pa_t last = 0;
	unsigned int type;

	while (next_block(&block, &type)) {
		const struct kho_abi_slab *slab = kho_phys_to_virt(block.pa);

		if (type != KHO_ABI_DESC_SLAB || !slab->cache || slab->cache == last)
			continue;
		last = slab->cache;
		damage_add_part(row, last, sizeof(struct kho_abi_cache));
	}
}

static void large_parts(unsigned int row)
{
	for (unsigned int i = 0; i < things.nr; i++)
		if (things.things[i].kind == THING_LARGE)
			damage_add_part(row, things.things[i].at - sizeof(struct kho_abi_large),
					sizeof(struct kho_abi_large));
}

static void intent_parts(unsigned int row)
{
	damage_add_part(row, KHO_ABI_INTENTS_PA, 2 * sizeof(struct kho_abi_intent));
}

static void cell_parts(unsigned int row)
{
	damage_add_part(row, KHO_ABI_CELLS_PA, 4 * sizeof(struct kho_abi_cell));
}

/* Publishing was interrupted: the first record says what is to be undone. */
static int leave_intent(void)
{
	struct kho_abi_intent *intent = (void *)(kho_arena_.base + KHO_ABI_INTENTS_PA);
	void **slot = kho_root("empty", "test-empty", 7);
	void *fresh = kho_malloc(64);

	if (!slot || !fresh)
		return __LINE__;
	memset(intent, 0, 2 * sizeof(*intent));
	intent->value = intent->new_object = (uintptr_t)fresh;
	intent->slot = kho_virt_to_phys(slot);
	return 0;
}

static int fill_template(void)
{
	return template_fill(&things);
}

/* A page of no structure in particular, reached by a word of an object. */
static kho_pa_t struct_page;

static int fill_struct_page(void)
{
	__u64 *word = kho_calloc(1, 64);

	if (!word || kho_publish(kho_root("page", "test-page", 1), word, NULL))
		return __LINE__;
	struct_page = kho_arena_.mem.ops->alloc_page(kho_arena_.mem.ctx);
	if (!struct_page)
		return __LINE__;
	memset(kho_phys_to_virt(struct_page), 0x77, KHO_PAGE_SIZE);
	return kho_arena_.mem.ops->publish_page(kho_arena_.mem.ctx, word, struct_page, struct_page,
						0);
}

/* An area of scattered pages, described by an object of the heap. Each page begins with its number. */
#define AREA_PAGES 20

static kho_pa_t area_at, area_chunk;
static char *area; /* as the try at hand restored it */

static int fill_area(void)
{
	struct kho_vmalloc *v = kho_calloc(1, sizeof(*v));
	char *pages = kho_vmalloc(AREA_PAGES * KHO_PAGE_SIZE);

	if (!v || !pages || kho_publish(kho_root("area", "test-area", 1), v, NULL))
		return __LINE__;
	memset(pages, 0x66, AREA_PAGES * KHO_PAGE_SIZE);
	for (__u64 i = 0; i < AREA_PAGES; i++)
		*(__u64 *)(pages + i * KHO_PAGE_SIZE) = i;
	area_at = kho_virt_to_phys(v);
	if (kho_preserve_vmalloc(pages, v))
		return __LINE__;
	area_chunk = v->first;
	return 0;
}

static void area_parts(unsigned int row)
{
	damage_add_part(row, area_at, sizeof(struct kho_vmalloc));
}

static void chunk_parts(unsigned int row)
{
	damage_add_part(row, area_chunk, (AREA_PAGES + 2) * sizeof(__u64));
}

static bool area_intact(void)
{
	for (__u64 i = 0; i < AREA_PAGES; i++)
		if (*(__u64 *)(area + i * KHO_PAGE_SIZE) != i)
			return false;
	return true;
}

/* ---- are they found? ---- */

static bool says(const char *list, const char *text)
{
	size_t len;

	for (; *list; list += len + (list[len] == ';')) {
		len = strcspn(list, ";");
		if (!strncmp(text, list, len))
			return true;
	}
	return false;
}

/* The damage at hand, for what judges faults. */
static const struct damage *at_hand;

char damage_said[320];

/* Does the text name a structure that belongs to what was changed? */
static bool says_any(const char *text)
{
	for (unsigned int i = 0; i < at_hand->nr; i++)
		if (says(damage_structures[at_hand->change[i].row].says, text))
			return true;
	return false;
}

/* A question was answered with no: is that a fault that was told? */
static bool is_told(void)
{
	if (!says_any(kho_error()))
		return false;
	snprintf(damage_said, sizeof(damage_said), "%s", kho_error());
	return true;
}

static bool subtrees_found(bool *typed)
{
	static const char *const subs[] = {"sub-a", "sub-b", "sub-c"};
	bool all = true;

	for (unsigned int i = 0; i < 3; i++) {
		kho_pa_t pa = 0;
		size_t size = 0;
		int rc = kho_retrieve_subtree(subs[i], &pa, &size);

		all &= !rc && pa == things.things[27 + i].at && size == 100 + i;
	}
	return all;
}

static bool metadata_found(bool *typed)
{
	char release[65];
	unsigned int count;
	int rc = kho_metadata(release, &count);

	*typed |= rc && is_told();
	return !rc && !strcmp(release, "template") && count == 5;
}

/* As a program would have it, unless that would make a new one. */
static void **old_root(const char *name, const char *type, __u32 version)
{
	return !kho_retrieve_subtree(name, NULL, NULL) ? kho_root(name, type, version) : NULL;
}

static bool roots_found(bool *typed)
{
	void **chain = old_root("chain", "test-chain", 1), **big = old_root("big", "test-chain", 2);
	void **empty = old_root("empty", "test-empty", 7);

	return chain && kho_virt_to_phys(*chain) == things.things[0].at && big &&
	       kho_virt_to_phys(*big) == things.things[24].at && empty && !*empty;
}

static bool struct_page_found(bool *typed)
{
	void **root = old_root("page", "test-page", 1);

	/* The program follows its own word; what the arena says of the page is judged here. */
	if (!kho_block_check_(struct_page, 0, KHO_ABI_DESC_STRUCT))
		return root && *root;
	*typed |= is_told();
	return false;
}

static bool struct_page_intact(void)
{
	const unsigned char *bytes = kho_phys_to_virt(struct_page);

	for (unsigned int i = 0; i < KHO_PAGE_SIZE; i++)
		if (bytes[i] != 0x77)
			return false;
	return true;
}

static bool area_found(bool *typed)
{
	const struct kho_vmalloc *v = kho_phys_to_virt(area_at);

	kho_fail_(0, "%s", "");
	area = kho_restore_vmalloc(v);
	if (!area)
		*typed |= is_told();
	return area && v->total_pages == AREA_PAGES && area_intact();
}

static const char node_says[] = "tree table;tree leaf;page descriptor;";

const struct damage_structure damage_structures[] = {
	[DAMAGE_HEADER] = {.name = "header, constant",
			   .says = "arena header;",
			   .fill = fill_template,
			   .parts = header_parts},
	[DAMAGE_WORDS] = {.name = "header, checked words",
			  .says = "arena header;",
			  .parts = word_parts},
	[DAMAGE_FDT] = {.name = "root FDT",
			.says = "root FDT;subtree;cell;kexec-metadata;",
			.parts = fdt_parts,
			.found = subtrees_found},
	[DAMAGE_METADATA] = {.name = "metadata",
			     .says = "kexec-metadata;",
			     .parts = metadata_parts,
			     .found = metadata_found},
	[DAMAGE_TABLES] = {.name = "tree tables", .says = node_says, .parts = table_parts},
	[DAMAGE_LEAVES] = {.name = "tree leaves", .says = node_says, .parts = leaf_parts},
	[DAMAGE_DESCS] = {.name = "page descriptors",
			  .says = "page descriptor;",
			  .fill = fill_struct_page,
			  .parts = desc_parts,
			  .found = struct_page_found,
			  .intact = struct_page_intact},
	[DAMAGE_SLABS] = {.name = "slab headers", .says = "slab;", .parts = slab_parts},
	[DAMAGE_STATES] = {.name = "state bytes", .says = "slab;slab cache;", .parts = state_parts},
	[DAMAGE_RECORDS] = {.name = "records of caches",
			    .says = "slab cache;",
			    .parts = record_parts},
	[DAMAGE_LARGES] = {.name = "headers of large objects",
			   .says = "large object;",
			   .parts = large_parts},
	[DAMAGE_INTENTS] = {.name = "intents", .says = "intent record;", .parts = intent_parts},
	[DAMAGE_CELLS] = {.name = "cells",
			  .says = "cell;",
			  .parts = cell_parts,
			  .found = roots_found},
	{.name = "vmalloc descriptors",
	 .says = "vmalloc descriptor;vmalloc chunk;page descriptor;",
	 .fill = fill_area,
	 .parts = area_parts,
	 .found = area_found,
	 .intact = area_intact},
	{.name = "vmalloc chunks",
	 .says = "vmalloc descriptor;vmalloc chunk;page descriptor;",
	 .parts = chunk_parts},
};

const unsigned int damage_nr_structures = sizeof(damage_structures) / sizeof(damage_structures[0]);

/* ---- the image ---- */

/* Nobody else is to be next to the arena. (The thread sanitizer lets nobody be below it at all.) */
static void guard(void)
{
	char *lo __attribute__((unused)) = (char *)KHO_ARENA_BASE - (1 << 20),
		 *hi = (char *)KHO_ARENA_BASE + TEMPLATE_MAX;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;

#ifndef __SANITIZE_THREAD__
	assert_ptr_equal(mmap(lo, 1 << 20, PROT_NONE, flags, -1, 0), lo);
#endif
	assert_ptr_not_equal(lo, hi);
	assert_ptr_equal(mmap(hi, 1 << 20, PROT_NONE, flags, -1, 0), hi);
}

void damage_work_open(void)
{
	work_fd = kho_arena_create_("work");
	assert_int_equal(ftruncate(work_fd, (off_t)damage_size), 0);
	work = mmap(NULL, damage_size, PROT_READ | PROT_WRITE, MAP_SHARED, work_fd, 0);
	assert_ptr_not_equal(work, MAP_FAILED);
	memcpy(work, damage_image, damage_size);
}

void damage_open(void)
{
	char *copy;

	arena_new(TEMPLATE_MAX);
	for (unsigned int i = 0; i < damage_nr_structures; i++)
		if (damage_structures[i].fill)
			assert_int_equal(damage_structures[i].fill(), 0);
	assert_int_equal(leave_intent(), 0); /* last: whoever publishes clears it */
	for (unsigned int i = 0; i < damage_nr_structures; i++)
		damage_structures[i].parts(i);
	/* As large as it can get, so that no try leaves the next one a larger file. */
	damage_size = TEMPLATE_MAX;
	copy = calloc(1, damage_size);
	assert_non_null(copy);
	memcpy(copy, kho_arena_.base, kho_arena_.file_size);
	damage_image = copy;
	arena_drop();
	guard();
}

bool damage_write(struct damage *damage, unsigned int row, __u64 at, const void *bytes, size_t len)
{
	unsigned int i = damage->nr;

	assert_true(at <= damage_size && len <= damage_size - at && i < DAMAGE_CHANGES);
	if (!memcmp(work + at, bytes, len))
		return false;
	memcpy(work + at, bytes, len);
	damage->change[i].row = row;
	damage->change[i].at = at;
	damage->change[i].len = len;
	damage->nr++;
	return true;
}

const void *damage_now(__u64 at)
{
	return work + at;
}

/* ---- trying one ---- */

static void (*broken)(const char *text);

static void fail_broken(const char *format, ...)
{
	char text[480];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	broken(text);
}

/* One kind of structure was changed, and nothing that claims to be checked: then the fault is known. */
static bool is_plain(void)
{
	for (unsigned int i = 1; i < at_hand->nr; i++)
		if (at_hand->change[i].row != at_hand->change[0].row)
			return false;
	return !at_hand->forged;
}

/* A header that is sound and names a place that cannot be had. */
static bool is_elsewhere(void)
{
	return at_hand->forged && says("arena: cannot be mapped;", kho_error());
}

static void check_refusal(int rc)
{
	snprintf(damage_said, sizeof(damage_said), "%s", kho_error());
	if (is_elsewhere())
		return;
	if (rc > -KHO_E_TRUNCATED || rc <= -KHO_E_MAX)
		fail_broken("refused with %d, which is no fault: %s", rc, kho_error());
	if (!strstr(kho_error(), " at 0"))
		fail_broken("does not say where: %s", kho_error());
	/* A word of the header may be sound and name another place: then that is at fault. */
	if (is_plain() && !says_any(kho_error()) &&
	    !(at_hand->change[0].row == DAMAGE_WORDS &&
	      says(damage_structures[DAMAGE_FDT].says, kho_error())))
		fail_broken("told of another structure: %s", kho_error());
}

static bool blocks_preserved(kho_pa_t pa, __u64 nr)
{
	struct khoc_block block;

	for (; nr--; pa += KHO_PAGE_SIZE)
		if (!khoc_radix_lookup(&kho_arena_.tree, pa, &block))
			return false;
	return true;
}

/* Where the state byte of an object of a slab of 64 KiB is, by the header before the damage. */
static __u64 state_of_single(kho_pa_t at)
{
	const struct kho_abi_slab *slab = (const void *)(damage_image + (at & ~0xffffULL));

	return (at & ~0xffffULL) + sizeof(*slab) +
	       ((at & 0xffff) - slab->objects_off) / slab->object_size;
}

/* Does the accepted image still count this as allocated? Nobody may then be given its memory. */
static bool is_allocated(const struct thing *thing)
{
	const unsigned char *state;
	kho_pa_t first = thing->at & ~(KHO_PAGE_SIZE - 1);

	if (!blocks_preserved(first, (thing->at + thing->len - first + KHO_PAGE_SIZE - 1) >> 12))
		return false;
	if (thing->kind == THING_SINGLE)
		return kho_arena_.base[state_of_single(thing->at)] != KHO_ABI_OBJECT_FREE;
	if (thing->kind != THING_SMALL)
		return true;
	state = kho_slab_state_of_(kho_phys_to_virt(thing->at));
	return !state || *state != KHO_ABI_OBJECT_FREE;
}

/* Is it found as the program would find it? Sets @typed when a fault says why not. */
static bool is_found(const struct thing *thing, bool *typed)
{
	void *p = kho_phys_to_virt(thing->at);
	const unsigned char *state;

	kho_fail_(0, "%s", ""); /* forget what was said of something else */
	switch (thing->kind) {
	case THING_SMALL:
		if (!kho_slab_of_(p)) {
			*typed |= is_told();
			return false;
		}
		state = kho_slab_state_of_(p);
		return state && *state == KHO_ABI_OBJECT_LIVE;
	case THING_LARGE:
		if (!kho_large_of_(p)) {
			*typed |= is_told();
			return false;
		}
		return kho_large_is_live_(kho_large_of_(p)) && kho_usable_size(p) >= thing->len;
	case THING_FOLIO:
		return kho_restore_folio(thing->at);
	case THING_RUN:
		return kho_restore_pages(thing->at, thing->nr);
	case THING_SINGLE:
		if (kho_slab_restore(thing->at))
			return true;
		*typed |= is_told();
		return false;
	}
	return false;
}

/* Hand out everything that counts as free, and write to it. */
static void use_up(void)
{
	static const size_t sizes[] = {100000, 32768, 5000, 1000, 200, 64, 24, 16};
	kho_pa_t pa;
	char *p;

	for (unsigned int i = 0; i < 8; i++)
		while ((p = kho_malloc(sizes[i])))
			memset(p, 0xee, kho_usable_size(p));
	for (int i = 0; i < 2; i++) {
		struct kmem_cache *cache = i ? kho_kmem_cache_create(TEMPLATE_WHOLE)
					     : kho_kmem_cache_create(TEMPLATE_SINGLE);

		while (cache && (p = kho_kmem_cache_alloc(cache)))
			memset(p, 0xee, kho_usable_size(p));
	}
	while ((pa = kho_pages_alloc_(1, 0)))
		memset(kho_arena_.base + pa, 0xee, KHO_PAGE_SIZE);
}

static bool thing_changed(const struct thing *thing)
{
	for (unsigned int i = 0; i < at_hand->nr; i++)
		if (at_hand->change[i].at < thing->at + thing->len &&
		    thing->at < at_hand->change[i].at + at_hand->change[i].len)
			return true;
	return false;
}

#define MAX_STRUCTURES 64

static enum damage_outcome try_accepted(void)
{
	bool allocated[NR_THINGS], whole[MAX_STRUCTURES] = {false}, all = true, typed = false;

	for (unsigned int i = 0; i < things.nr; i++)
		allocated[i] = is_allocated(&things.things[i]);
	assert_true(damage_nr_structures <= MAX_STRUCTURES);
	for (unsigned int i = 0; i < damage_nr_structures; i++) {
		if (!damage_structures[i].found)
			continue;
		whole[i] = damage_structures[i].found(&typed);
		all &= whole[i];
	}
	for (unsigned int i = 0; i < things.nr; i++)
		all &= is_found(&things.things[i], &typed);
	use_up();
	for (unsigned int i = 0; i < things.nr; i++) {
		if (!allocated[i] || thing_changed(&things.things[i]) ||
		    template_intact(&things, i))
			continue;
		all = false;
		if (!at_hand->forged)
			fail_broken("thing %u at %#llx was overwritten", i,
				    (unsigned long long)things.things[i].at);
	}
	for (unsigned int i = 0; i < damage_nr_structures; i++) {
		if (!whole[i] || !damage_structures[i].intact || damage_structures[i].intact())
			continue;
		all = false;
		if (!at_hand->forged)
			fail_broken("%s: found, then overwritten", damage_structures[i].name);
	}
	return all ? DAMAGE_HARMLESS : typed ? DAMAGE_DETECTED : DAMAGE_LOST;
}

enum damage_outcome damage_try(const struct damage *damage, void (*on_broken)(const char *text))
{
	enum damage_outcome outcome = DAMAGE_DETECTED;
	int fd = fcntl(work_fd, F_DUPFD_CLOEXEC, 0);
	int rc = kho_arena_map_(fd, true);
	bool mapped = !rc;

	at_hand = damage;
	broken = on_broken;
	rc = rc ?: kho_arena_own_();
	rc = rc ?: kho_preserve_check_all_(false);
	if (rc) {
		check_refusal(rc);
		if (!mapped)
			close(fd);
	} else {
		/* What the tree and the descriptors agree on is discovered without a fault. */
		if (kho_pages_discover_all_())
			fail_broken("%s", kho_error());
		outcome = try_accepted();
	}
	kho_arena_unmap_();
	for (__u64 at = 0; mapped && at < damage_size; at += KHO_PAGE_SIZE)
		if (memcmp(work + at, damage_image + at, KHO_PAGE_SIZE))
			memcpy(work + at, damage_image + at, KHO_PAGE_SIZE);
	for (unsigned int i = 0; !mapped && i < damage->nr; i++)
		memcpy(work + damage->change[i].at, damage_image + damage->change[i].at,
		       damage->change[i].len);
	return outcome;
}
