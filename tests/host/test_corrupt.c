/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Damage: every byte of every structure, changed in ten ways (each bit, 0x00, 0xff). What
 * is damaged is refused with a typed fault, or does no harm beyond itself: no signal,
 * no hang, no access outside, and after all free memory was handed out and written,
 * everything that still counts as allocated has its bytes.
 *
 *	detected	refused at attach, or a typed fault when it is used
 *	harmless	accepted, and everything is there
 *	lost		accepted, and something is not found any more
 *
 * KHO_CORRUPT=full takes every byte, KHO_CORRUPT=N every byte but of tree nodes each Nth; KHO_CORRUPT_JSON names a file for the figures; KHO_SEED.
 */
#include <errno.h>
#include <fcntl.h>
#include <kho/slab.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arena_fixture.h"
#include "heap.h"
#include "page.h"
#include "preserve.h"
#include "template.h"

#define TIMEOUT 20
#define MAX_PARTS 400

enum region {
	HEADER,
	WORDS,
	FDT,
	METADATA,
	TABLES,
	LEAVES,
	DESCS,
	SLABS,
	STATES,
	RECORDS,
	LARGES,
	INTENTS,
	CELLS,
	NR_REGIONS
};

static const char *const region_name[NR_REGIONS] = {"header, constant",
						    "header, checked words",
						    "root FDT",
						    "metadata",
						    "tree tables",
						    "tree leaves",
						    "page descriptors",
						    "slab headers",
						    "state bytes",
						    "records of caches",
						    "headers of large objects",
						    "intents",
						    "cells"};

/* Structures that a fault of a region may be reported of. */
static const char *const region_says[NR_REGIONS] = {
	"arena header;",
	"arena header;",
	"root FDT;subtree;cell;kexec-metadata;",
	"kexec-metadata",
	"tree table;tree leaf;page descriptor;",
	"tree table;tree leaf;page descriptor;",
	"page descriptor;",
	"slab;",
	"slab;slab cache;",
	"slab cache;",
	"large object;",
	"intent record;",
	"cell;",
};

static struct {
	unsigned long tried, detected, harmless, lost;
} figures[NR_REGIONS];

static struct part {
	enum region region;
	__u64 lo, hi;
} parts[MAX_PARTS];
static unsigned int nr_parts;

static struct template things;
static char *image, *work;
static __u64 image_size;
static int work_fd;

/* The change at hand, for whoever has to tell of a failure. */
static struct {
	__u64 at;
	unsigned char was, is;
	enum region region;
} change;

static void on_signal(int sig)
{
	char text[160];
	int n = snprintf(text, sizeof(text), "%s at %#llx, %#x -> %#x: signal %d%s\n",
			 region_name[change.region], (unsigned long long)change.at, change.was,
			 change.is, sig, sig == SIGALRM ? " (hang)" : "");

	if (write(1, text, (size_t)n) < 0)
		_exit(3);
	_exit(2);
}

#define fail_change(...)                                                                           \
	do {                                                                                       \
		print_message("%s at %#llx, %#x -> %#x:\n", region_name[change.region],            \
			      (unsigned long long)change.at, change.was, change.is);               \
		fail_msg(__VA_ARGS__);                                                             \
	} while (0)

/* ---- the image and its parts ---- */

static void add_part(enum region region, __u64 lo, __u64 len)
{
	assert_true(nr_parts < MAX_PARTS);
	parts[nr_parts++] = (struct part){region, lo, lo + len};
}

static int add_node(void *ctx, kho_pa_t pa, int level)
{
	add_part(level ? TABLES : LEAVES, pa, KHO_PAGE_SIZE);
	return 0;
}

static void add_blocks(void)
{
	struct khoc_block block;

	for (kho_pa_t pos = 0; khoc_radix_next(&kho_arena_.tree, pos, TEMPLATE_MAX, &block);
	     pos = block.pa + (KHO_PAGE_SIZE << block.order)) {
		unsigned int type, order;
		const struct kho_abi_slab *slab = kho_phys_to_virt(block.pa);

		assert_int_equal(kho_block_desc_(block.pa, &type, &order), 0);
		add_part(DESCS, kho_arena_.header->descs_pa + (block.pa >> 12) * 2, 2);
		if (type == KHO_ABI_DESC_SLAB) {
			add_part(SLABS, block.pa, sizeof(*slab));
			add_part(STATES, block.pa + sizeof(*slab), slab->nr_objects);
			if (slab->cache)
				add_part(RECORDS, slab->cache, sizeof(struct kho_abi_cache));
		}
	}
	for (unsigned int i = 0; i < things.nr; i++)
		if (things.things[i].kind == THING_LARGE)
			add_part(LARGES, things.things[i].at - sizeof(struct kho_abi_large),
				 sizeof(struct kho_abi_large));
}

/* Publishing was interrupted: the last record says what is to be undone. */
static void leave_intent(void)
{
	struct kho_abi_intent *intent = (void *)(kho_arena_.base + KHO_ABI_INTENTS_PA);
	void **slot = kho_root("empty", "test-empty", 7);
	void *fresh = kho_malloc(64);

	memset(intent, 0, 2 * sizeof(*intent));
	intent->value = intent->new_object = (uintptr_t)fresh;
	intent->slot = kho_virt_to_phys(slot);
}

static void make_image(void)
{
	__u64 fdt = 0;
	__u32 total;

	arena_new(TEMPLATE_MAX);
	assert_int_equal(template_fill(&things), 0);
	leave_intent();
	khoc_cword_get(kho_arena_.words->root_fdt, offsetof(struct kho_abi_arena_header, root_fdt),
		       &fdt);
	total = __builtin_bswap32(*(__u32 *)(kho_arena_.base + fdt + 4));
	add_part(HEADER, 0, offsetof(struct kho_abi_arena_header, root_fdt));
	add_part(WORDS, offsetof(struct kho_abi_arena_header, root_fdt), 24);
	add_part(FDT, fdt, total);
	add_part(METADATA, fdt + KHO_ABI_FDT_MAX, sizeof(struct kho_abi_metadata));
	add_part(INTENTS, KHO_ABI_INTENTS_PA, 2 * sizeof(struct kho_abi_intent));
	add_part(CELLS, KHO_ABI_CELLS_PA, 4 * sizeof(struct kho_abi_cell));
	assert_int_equal(khoc_radix_nodes(&kho_arena_.tree, add_node, NULL), 0);
	add_blocks();
	image_size = kho_arena_.file_size;
	image = malloc(image_size);
	memcpy(image, kho_arena_.base, image_size);
	arena_drop();
	work_fd = kho_arena_create_("work");
	assert_int_equal(ftruncate(work_fd, (off_t)image_size), 0);
	work = mmap(NULL, image_size, PROT_READ | PROT_WRITE, MAP_SHARED, work_fd, 0);
	memcpy(work, image, image_size);
}

/* ---- trying one ---- */

/* Does the text name a structure that belongs to the region? */
static bool says(enum region region, const char *text)
{
	const char *list = region_says[region];
	size_t len;

	for (; *list; list += len + (list[len] == ';')) {
		len = strcspn(list, ";");
		if (!strncmp(text, list, len))
			return true;
	}
	return false;
}

static void check_refusal(int rc)
{
	if (rc > -KHO_E_TRUNCATED || rc <= -KHO_E_MAX)
		fail_change("refused with %d, which is no fault: %s", rc, kho_error());
	/* A word of the header may be sound and name another place: then that is at fault. */
	if (!says(change.region, kho_error()) &&
	    !(change.region == WORDS && says(FDT, kho_error())))
		fail_change("told of another structure: %s", kho_error());
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
	const struct kho_abi_slab *slab = (const void *)(image + (at & ~0xffffULL));

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

	kho_fail_(0, "%s", ""); /* forget what was said of another change */
	switch (thing->kind) {
	case THING_SMALL:
		if (!kho_slab_of_(p)) {
			*typed |= says(change.region, kho_error());
			return false;
		}
		state = kho_slab_state_of_(p);
		return state && *state == KHO_ABI_OBJECT_LIVE;
	case THING_LARGE:
		if (!kho_large_of_(p)) {
			*typed |= says(change.region, kho_error());
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
		*typed |= says(change.region, kho_error());
		return false;
	}
	return false;
}

static bool names_found(bool *typed)
{
	static const char *const subs[] = {"sub-a", "sub-b", "sub-c"};
	void **chain, **big, **empty;
	char release[65];
	unsigned int count;
	kho_pa_t pa = 0;
	size_t size = 0;
	bool all = true;
	int rc;

	for (unsigned int i = 0; i < 3; i++) {
		rc = kho_retrieve_subtree(subs[i], &pa, &size);
		all &= !rc && pa == things.things[27 + i].at && size == 100 + i;
	}
	/* As a program would have them, unless that would make new ones. */
	chain = !kho_retrieve_subtree("chain", NULL, NULL) ? kho_root("chain", "test-chain", 1)
							   : NULL;
	big = !kho_retrieve_subtree("big", NULL, NULL) ? kho_root("big", "test-chain", 2) : NULL;
	empty = !kho_retrieve_subtree("empty", NULL, NULL) ? kho_root("empty", "test-empty", 7)
							   : NULL;
	all &= chain && kho_virt_to_phys(*chain) == things.things[0].at;
	all &= big && kho_virt_to_phys(*big) == things.things[24].at;
	all &= empty && !*empty;
	rc = kho_metadata(release, &count);
	*typed |= rc && says(change.region, kho_error());
	return all & (!rc && !strcmp(release, "template") && count == 5);
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
	return change.at >= thing->at && change.at < thing->at + thing->len;
}

static void try_accepted(void)
{
	bool allocated[NR_THINGS], all = true, typed = false;

	for (unsigned int i = 0; i < things.nr; i++)
		allocated[i] = is_allocated(&things.things[i]);
	all &= names_found(&typed);
	for (unsigned int i = 0; i < things.nr; i++)
		all &= is_found(&things.things[i], &typed);
	use_up();
	for (unsigned int i = 0; i < things.nr; i++)
		if (allocated[i] && !thing_changed(&things.things[i]) &&
		    !template_intact(&things, i))
			fail_change("thing %u at %#llx was overwritten", i,
				    (unsigned long long)things.things[i].at);
	if (all)
		figures[change.region].harmless++;
	else if (typed)
		figures[change.region].detected++;
	else
		figures[change.region].lost++;
}

static void try_change(enum region region, __u64 at, unsigned char is)
{
	int fd, rc;
	bool mapped;

	if (is == (unsigned char)image[at])
		return;
	change.at = at;
	change.was = (unsigned char)image[at];
	change.is = is;
	change.region = region;
	figures[region].tried++;
	alarm(TIMEOUT);
	work[at] = (char)is;
	fd = fcntl(work_fd, F_DUPFD_CLOEXEC, 0);
	rc = kho_arena_map_(fd, true);
	mapped = !rc;
	rc = rc ?: kho_arena_own_();
	rc = rc ?: kho_preserve_check_all_(false);
	if (rc) {
		check_refusal(rc);
		figures[region].detected++;
		if (!mapped)
			close(fd);
	} else {
		/* What the tree and the descriptors agree on is discovered without a fault. */
		if (kho_pages_discover_all_())
			fail_change("%s", kho_error());
		try_accepted();
	}
	kho_arena_unmap_();
	if (mapped)
		memcpy(work, image, image_size);
	else
		work[at] = image[at];
}

static void try_byte(enum region region, __u64 at)
{
	for (unsigned int bit = 0; bit < 8; bit++)
		try_change(region, at, (unsigned char)(image[at] ^ (char)(1 << bit)));
	try_change(region, at, 0);
	try_change(region, at, 0xff);
}

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

static void write_json(const char *path)
{
	FILE *out = fopen(path, "w");

	assert_non_null(out);
	fprintf(out, "{\"rows\": [\n");
	for (int r = 0; r < NR_REGIONS; r++)
		fprintf(out,
			"  {\"structure\": \"%s\", \"changes\": %lu, \"detected\": %lu, "
			"\"harmless\": %lu, \"lost\": %lu}%s\n",
			region_name[r], figures[r].tried, figures[r].detected, figures[r].harmless,
			figures[r].lost, r + 1 < NR_REGIONS ? "," : "");
	fprintf(out, "]}\n");
	fclose(out);
}

static void print_figures(void)
{
	for (int r = 0; r < NR_REGIONS; r++) {
		double n = figures[r].tried ? (double)figures[r].tried / 100 : 1;

		printf("%-26s %8lu changes  %6.2f%% detected %6.2f%% harmless %6.2f%% lost\n",
		       region_name[r], figures[r].tried, (double)figures[r].detected / n,
		       (double)figures[r].harmless / n, (double)figures[r].lost / n);
	}
}

static void whatever_byte_is_damaged(void **state)
{
	const char *mode = getenv("KHO_CORRUPT"), *json = getenv("KHO_CORRUPT_JSON");
	__u64 nodes = !mode ? 211 : strcmp(mode, "full") ? strtoull(mode, NULL, 0) : 1;
	bool full = mode;
	uint64_t rng = test_seed();
	int signals[] = {SIGSEGV, SIGBUS, SIGALRM, SIGFPE, SIGILL};

	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		signal(signals[i], on_signal);
	make_image();
	guard();
	for (unsigned int i = 0; i < nr_parts; i++) {
		enum region r = parts[i].region;
		__u64 stride = r == TABLES || r == LEAVES ? nodes
			       : full			  ? 1
			       : r == FDT || r == STATES  ? 23
							  : 7;

		for (__u64 at = parts[i].lo + (stride == 1 ? 0 : test_random(&rng) % stride);
		     at < parts[i].hi; at += stride)
			try_byte(r, at);
	}
	alarm(0);
	print_figures();
	if (json)
		write_json(json);
	/* What carries a checksum or an exact value of its own is never believed when damaged. */
	assert_int_equal(figures[HEADER].detected, figures[HEADER].tried);
	assert_int_equal(figures[WORDS].detected, figures[WORDS].tried);
	assert_int_equal(figures[DESCS].detected, figures[DESCS].tried);
	assert_int_equal(figures[SLABS].detected, figures[SLABS].tried);
	assert_int_equal(figures[RECORDS].detected, figures[RECORDS].tried);
	assert_int_equal(figures[LARGES].lost, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(whatever_byte_is_damaged)};

	return cmocka_run_group_tests_name("corrupt", tests, NULL, NULL);
}
