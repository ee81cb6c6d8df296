/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Damage to an arena: see damage.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include "arena_fixture.h"
#include "damage.h"
#include "heap.h"
#include "page.h"
#include "preserve.h"

#include <kho/slab.h>

struct damage_part damage_parts[DAMAGE_PARTS];
unsigned int damage_nr_parts;
const char *damage_image;
__u64 damage_size;

static char *work;
static int work_fd;
static bool work_locked;

void damage_add_part(unsigned int row, __u64 lo, __u64 len)
{
	assert_true(damage_nr_parts < DAMAGE_PARTS);
	damage_parts[damage_nr_parts++] = (struct damage_part){row, lo, lo + len};
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
bool damage_is_told(void)
{
	if (!says_any(kho_error()))
		return false;
	/* Roots and caches have names. */
	if (!strstr(kho_error(), " at 0x") && !strstr(kho_error(), " of 0x") &&
	    !says("root \";cache \";", kho_error()))
		damage_must_not("does not say where: %s", kho_error());
	snprintf(damage_said, sizeof(damage_said), "%s", kho_error());
	return true;
}

void damage_hush(void)
{
	kho_fail_(0, "%s", "");
}

bool damage_changed(kho_pa_t at, __u64 len)
{
	for (unsigned int i = 0; i < at_hand->nr; i++)
		if (at_hand->change[i].at < at + len &&
		    at < at_hand->change[i].at + at_hand->change[i].len)
			return true;
	return false;
}

bool damage_is_live(kho_pa_t pa)
{
	const unsigned char *state = kho_slab_state_of_(kho_phys_to_virt(pa));

	return state && *state == KHO_ABI_OBJECT_LIVE;
}

/* ---- the image ---- */

/* Nobody else is to be next to the arena. (The thread sanitizer lets nobody be below it at all.) */
static void guard(void)
{
	char *lo __attribute__((unused)) = (char *)KHO_ARENA_BASE - (1 << 20),
		 *hi = (char *)KHO_ARENA_BASE + DAMAGE_MAX;
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
	work_locked = !mlock(work, damage_size);
}

void damage_open(void)
{
	char *copy;

	arena_new(DAMAGE_MAX);
	for (unsigned int i = 0; i < damage_nr_structures; i++)
		if (damage_structures[i].fill)
			assert_int_equal(damage_structures[i].fill(), 0);
	assert_int_equal(damage_leave_intents(), 0);
	for (unsigned int i = 0; i < damage_nr_structures; i++)
		damage_structures[i].parts(i);
	/* As large as it can get, so that no try leaves the next one a larger file. */
	damage_size = DAMAGE_MAX;
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

void damage_watch(void)
{
	const struct itimerval timer = {.it_value.tv_sec = DAMAGE_SECONDS};

	setitimer(ITIMER_PROF, &timer, NULL);
	alarm(DAMAGE_SECONDS_WAITING);
}

/* ---- trying one ---- */

static void (*broken)(const char *text);

void damage_must_not(const char *format, ...)
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
		damage_must_not("refused with %d, which is no fault: %s", rc, kho_error());
	if (!strstr(kho_error(), " at 0"))
		damage_must_not("does not say where: %s", kho_error());
	/* A word of the header may be sound and name another place: then that is at fault. */
	if (is_plain() && !says_any(kho_error()) &&
	    !(at_hand->change[0].row == DAMAGE_WORDS &&
	      says(damage_structures[DAMAGE_FDT].says, kho_error())))
		damage_must_not("told of another structure: %s", kho_error());
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

/* Is it free once the slab is adopted? Of what no state is, the slab is not. */
static bool is_free(unsigned char state, bool single)
{
	return state == KHO_ABI_OBJECT_FREE || state == KHO_ABI_OBJECT_FREED ||
	       (single && state == KHO_ABI_OBJECT_RESERVED);
}

/* Does the accepted image still count this as allocated? Nobody may then be given its memory. */
static bool is_allocated(const struct thing *thing)
{
	const unsigned char *state;
	kho_pa_t first = thing->at & ~(KHO_PAGE_SIZE - 1);

	if (!blocks_preserved(first, (thing->at + thing->len - first + KHO_PAGE_SIZE - 1) >> 12))
		return false;
	if (thing->kind == THING_SINGLE)
		return !is_free((unsigned char)kho_arena_.base[state_of_single(thing->at)], true);
	if (thing->kind != THING_SMALL)
		return true;
	state = kho_slab_state_of_(kho_phys_to_virt(thing->at));
	return !state || !is_free(*state, false);
}

/* Is it found as the program would find it? Sets @typed when a fault says why not. */
static bool is_found(const struct thing *thing, bool *typed)
{
	void *p = kho_phys_to_virt(thing->at);
	const unsigned char *state;

	damage_hush();
	switch (thing->kind) {
	case THING_SMALL:
		if (!kho_slab_of_(p)) {
			*typed |= damage_is_told();
			return false;
		}
		state = kho_slab_state_of_(p);
		return state && *state == KHO_ABI_OBJECT_LIVE;
	case THING_LARGE:
		if (!kho_large_of_(p)) {
			*typed |= damage_is_told();
			return false;
		}
		return kho_large_is_live_(kho_large_of_(p)) && kho_usable_size(p) >= thing->len;
	case THING_FOLIO:
		if (kho_restore_folio(thing->at))
			return true;
		break;
	case THING_RUN:
		if (kho_restore_pages(thing->at, thing->nr))
			return true;
		break;
	case THING_SINGLE:
		if (kho_slab_restore(thing->at))
			return true;
		break;
	}
	*typed |= damage_is_told();
	return false;
}

/* All objects that @alloc has. Those of one size have the same room. */
static void use_all(void *(*alloc)(void *arg), void *arg)
{
	char *p = alloc(arg);
	size_t room = p ? kho_usable_size(p) : 0;

	for (; p; p = alloc(arg))
		memset(p, 0xee, room);
}

static void *alloc_size(void *arg)
{
	return kho_malloc(*(const size_t *)arg);
}

static void *alloc_cached(void *arg)
{
	return kho_kmem_cache_alloc(arg);
}

/* Hand out everything that counts as free, and write to it. */
static void use_up(void)
{
	size_t sizes[] = {100000, 32768, 5000, 1000, 200, 64, 24, 16};
	kho_pa_t pa;

	for (unsigned int i = 0; i < 8; i++)
		use_all(alloc_size, &sizes[i]);
	for (int i = 0; i < 2; i++) {
		struct kmem_cache *cache = i ? kho_kmem_cache_create(TEMPLATE_WHOLE)
					     : kho_kmem_cache_create(TEMPLATE_SINGLE);

		if (cache)
			use_all(alloc_cached, cache);
	}
	while ((pa = kho_pages_alloc_(1, 0)))
		memset(kho_arena_.base + pa, 0xee, KHO_PAGE_SIZE);
}

#define MAX_STRUCTURES 64

/* Does a thing have the bytes that it had before the damage? Objects of the heap begin with a link. */
static bool thing_intact(const struct thing *thing)
{
	__u64 link = thing->kind == THING_SMALL || thing->kind == THING_LARGE ? 8 : 0;

	return !memcmp(kho_arena_.base + thing->at + link, damage_image + thing->at + link,
		       thing->len - link);
}

/* Things that counted as allocated have their bytes still? */
static bool things_intact(const bool *allocated)
{
	bool all = true;

	for (unsigned int i = 0; i < damage_things.nr; i++) {
		const struct thing *thing = &damage_things.things[i];

		if (!allocated[i] || thing_intact(thing))
			continue;
		all = false;
		if (!at_hand->forged && !damage_changed(thing->at, thing->len))
			damage_must_not("thing %u at %#llx was overwritten", i,
					(unsigned long long)thing->at);
	}
	return all;
}

static bool structures_intact(const bool *whole)
{
	bool all = true;

	for (unsigned int i = 0; i < damage_nr_structures; i++) {
		if (!whole[i] || !damage_structures[i].intact || damage_structures[i].intact())
			continue;
		all = false;
		if (!at_hand->forged)
			damage_must_not("%s: found, then overwritten", damage_structures[i].name);
	}
	return all;
}

static enum damage_outcome try_accepted(void)
{
	bool allocated[NR_THINGS], whole[MAX_STRUCTURES] = {false}, all = true, typed = false;

	for (unsigned int i = 0; i < damage_things.nr; i++)
		allocated[i] = is_allocated(&damage_things.things[i]);
	assert_true(damage_nr_structures <= MAX_STRUCTURES);
	for (unsigned int i = 0; i < damage_nr_structures; i++) {
		if (!damage_structures[i].found)
			continue;
		whole[i] = damage_structures[i].found(&typed);
		all &= whole[i];
	}
	for (unsigned int i = 0; i < damage_things.nr; i++)
		all &= is_found(&damage_things.things[i], &typed);
	use_up();
	all &= things_intact(allocated);
	all &= structures_intact(whole);
	for (unsigned int i = 0; i < damage_nr_structures; i++)
		if (damage_structures[i].write)
			damage_structures[i].write();
	return all ? DAMAGE_HARMLESS : typed ? DAMAGE_DETECTED : DAMAGE_LOST;
}

/* ---- laying it anew ---- */

#define DAMAGE_PAGES (DAMAGE_MAX / KHO_PAGE_SIZE)

static bool touched[DAMAGE_PAGES];

/*
 * Which pages of the arena, still mapped, the try has looked at: no others can have been written. (Nobody
 * writes to areas by another address.) Comparing all of them takes as long as the rest of a try.
 */
static void note_touched(void)
{
	static __u64 words[DAMAGE_PAGES];
	static int fd = -1;
	off_t at = (off_t)((uintptr_t)kho_arena_.base / KHO_PAGE_SIZE * sizeof(words[0]));

	if (fd < 0)
		fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	memset(touched, true, sizeof(touched));
	/* A page that went to swap would look like one that was not touched. */
	if (!work_locked || fd < 0 || pread(fd, words, sizeof(words), at) != (ssize_t)sizeof(words))
		return;
	/* Bits 63 and 62: present, swapped. */
	for (__u64 i = 0; i < DAMAGE_PAGES; i++)
		touched[i] = words[i] >> 62;
}

static void lay_anew(__u64 at, __u64 len)
{
	if (memcmp(work + at, damage_image + at, len))
		memcpy(work + at, damage_image + at, len);
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
			damage_must_not("%s", kho_error());
		outcome = try_accepted();
	}
	if (mapped)
		note_touched();
	kho_arena_unmap_();
	for (__u64 i = 0; mapped && i < DAMAGE_PAGES; i++)
		if (touched[i])
			lay_anew(i * KHO_PAGE_SIZE, KHO_PAGE_SIZE);
	for (unsigned int i = 0; i < damage->nr; i++)
		lay_anew(damage->change[i].at, damage->change[i].len);
	return outcome;
}
