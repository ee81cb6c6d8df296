/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The arena: mapped, checked, owned, let go. What lies where is in include/kho/abi/arena.h; its file
 * is made and looked at in arena_file.c.
 *
 * Mapped is not owned: a successor maps the arena while its predecessor works, to check it
 * and to fault it in, and becomes the writer only at the grant. What was checked then and
 * can have changed meanwhile is either checked again (O(1)) or bounded at each use.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arena.h"
#include "heap.h"
#include "migrate.h"
#include "node.h"
#include "page.h"
#include "preserve.h"
#include "sessions.h"
#include "subtree.h"
#include "vmalloc.h"

struct kho_arena kho_arena_ = {.fd = -1};
static struct kho_abi_arena_header constants;
static bool prepared;

/* ---- checking what came in ---- */

/* The checked words, again: cheap enough for the grant. */
static int check_words(void)
{
	struct khoc_report report;
	struct stat st;

	if (fstat(kho_arena_.fd, &st))
		return kho_fail_(-errno, "arena: %s", strerror(errno));
	kho_set_file_size_((__u64)st.st_size < kho_arena_.size ? (__u64)st.st_size
							       : kho_arena_.size);
	if (khoc_arena_check(kho_arena_.words, sizeof(*kho_arena_.words), (__u64)st.st_size,
			     &report))
		return kho_fail_report_(&report);
	if (memcmp(kho_arena_.words, &constants, offsetof(struct kho_abi_arena_header, root_fdt)))
		return kho_fail_(-KHO_E_CHECKSUM, "arena header: changed since it was checked");
	return 0;
}

static int check_tree(void)
{
	struct kho_arena *a = &kho_arena_;
	__u64 nr = (a->mem.node_hi - a->mem.node_lo) >> KHO_PAGE_SHIFT;
	struct khoc_radix_check check = {
		.data_lo = a->header->data_pa,
		.data_hi = kho_file_size_(),
		.seen = calloc((nr + 63) / 64, 8),
	};
	struct khoc_report report;
	int rc;

	if (!check.seen)
		return kho_fail_(-ENOMEM, "tree: no private memory to check it with");
	rc = khoc_radix_attach(&a->tree, &a->mem, KHO_PAGE_SHIFT, a->header->tree_root_pa);
	if (rc)
		kho_fail_(rc, "tree: its root %#llx is not in the node region",
			  (unsigned long long)a->header->tree_root_pa);
	else if (khoc_radix_validate(&a->tree, &check, &report))
		rc = kho_fail_report_(&report);
	free(check.seen);
	return rc;
}

static int check_file_grown(void)
{
	struct stat st;

	if (fstat(kho_arena_.fd, &st))
		return -errno;
	if ((__u64)st.st_size == kho_file_size_() || (__u64)st.st_size > kho_arena_.size)
		return 0;
	kho_set_file_size_((__u64)st.st_size);
	return 1;
}

/* The owner may be at work: a file that grew meanwhile explains a block beyond its end. */
static int check_image(bool live)
{
	int rc, tries = 0;

	do {
		rc = check_tree();
		rc = rc ?: kho_root_check_();
		rc = rc ?: kho_intents_check_();
	} while (rc && live && ++tries < 8 && check_file_grown() > 0);
	return rc || !live ? rc : kho_preserve_check_all_(true);
}

/* ---- mapping ---- */

static int map_at_base(int fd)
{
	void *want = (void *)(uintptr_t)constants.base;
	void *got = mmap(want, constants.max_size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE, fd, 0);

	if (got != MAP_FAILED && got != want) { /* kernels before 4.17 take it for a hint */
		munmap(got, constants.max_size);
		errno = EEXIST;
		got = MAP_FAILED;
	}
	if (got == MAP_FAILED)
		return kho_fail_(
			-errno,
			"arena: cannot be mapped at %#llx to %#llx: %s: raw pointers need that "
			"range; "
			"see /proc/self/maps for what is there, or raise the address space limit",
			(unsigned long long)constants.base,
			(unsigned long long)(constants.base + constants.max_size), strerror(errno));
	madvise(got, constants.max_size, MADV_DONTFORK);
	madvise(got, constants.max_size, MADV_DONTDUMP);
	madvise(got, constants.max_size, MADV_HUGEPAGE);
	return 0;
}

static void set_up(int fd, __u64 file_size)
{
	struct kho_arena *a = &kho_arena_;

	a->fd = fd;
	a->base = (char *)(uintptr_t)constants.base;
	a->size = constants.max_size;
	kho_set_file_size_(file_size < a->size ? file_size : a->size);
	a->header = &constants;
	a->words = (void *)a->base;
	a->owner = (void *)(a->base + KHO_ABI_OWNER_PA);
	a->mem = (struct khoc_mem){
		.ops = &kho_mem_ops_,
		.linear = a->base,
		.size = a->size,
		.node_lo = constants.nodes_pa,
		.node_hi = constants.descs_pa,
	};
	a->mapped = true;
}

/* Private tables, empty. What they say is found out from the tree once we own it. */
static int prepare(void)
{
	int rc;

	if (prepared)
		return 0;
	rc = kho_pages_init_();
	rc = rc ?: kho_claims_init_();
	rc = rc ?: kho_heap_init_();
	prepared = true; /* in part, at least: there is something to take down */
	return rc;
}

int kho_arena_map_(int fd, bool writable)
{
	__u64 size;
	int rc;

	if (kho_arena_.mapped)
		return kho_fail_(-EEXIST, "an arena is open already: one to a process");
	rc = kho_arena_check_file_(fd, &constants, &size);
	rc = rc ?: map_at_base(fd);
	if (rc)
		return rc;
	set_up(fd, size);
	rc = check_image(!writable);
	/* Set up now: a successor has no time for it after the grant. */
	rc = rc ?: prepare();
	if (rc) {
		kho_arena_.fd = -1; /* still the caller's */
		kho_arena_unmap_();
		return rc;
	}
	kho_metadata_take_();
	if (!writable)
		kho_pages_survey_();
	return 0;
}

int kho_arena_check_again_(void)
{
	int rc = check_words();

	rc = rc ?: check_image(false);
	if (!rc)
		kho_metadata_take_();
	return rc;
}

int kho_arena_own_(void)
{
	int rc = check_words();

	if (!rc && constants.features_ro_compat)
		rc = kho_fail_(-KHO_E_VERSION,
			       "arena header: features_ro_compat at %#zx: this program may only "
			       "read it (found %#llx)",
			       offsetof(struct kho_abi_arena_header, features_ro_compat),
			       (unsigned long long)constants.features_ro_compat);
	rc = rc ?: kho_root_check_();
	rc = rc ?: kho_intents_check_();
	rc = rc ?: prepare();
	if (rc) {
		kho_arena_disown_();
		return rc;
	}
	kho_arena_.writer = true;
	kho_intents_recover_();
	return 0;
}

void kho_arena_disown_(void)
{
	kho_arena_.writer = false;
	prepared = false;
	kho_migrate_forget_();
	kho_sessions_stale_();
	kho_parts_forget_();
	kho_vmalloc_forget_();
	kho_heap_destroy_();
	kho_claims_destroy_();
	kho_pages_destroy_();
	kho_nodes_forget_();
}

void kho_arena_unmap_(void)
{
	struct kho_arena *a = &kho_arena_;

	if (!a->mapped)
		return;
	kho_arena_disown_();
	kho_sessions_drop_();
	munmap(a->base, a->size);
	if (a->fd >= 0)
		close(a->fd);
	memset(a, 0, sizeof(*a));
	a->fd = -1;
}

/* ---- the header's words ---- */

static __u64 get_word(const kho_abi_cword_t *word, size_t salt)
{
	__u64 value;

	return khoc_cword_get(__atomic_load_n(word, __ATOMIC_ACQUIRE), (__u16)salt, &value) ? 0
											    : value;
}

static void set_word(kho_abi_cword_t *word, size_t salt, __u64 value)
{
	__atomic_store_n(word, khoc_cword(value, (__u16)salt), __ATOMIC_RELEASE);
}

__u64 kho_arena_generation_(void)
{
	return get_word(&kho_arena_.words->generation,
			offsetof(struct kho_abi_arena_header, generation));
}

int kho_arena_set_generation_(__u64 generation)
{
	set_word(&kho_arena_.words->generation, offsetof(struct kho_abi_arena_header, generation),
		 generation);
	return 0;
}

__u64 kho_arena_state_(void)
{
	return get_word(&kho_arena_.words->state, offsetof(struct kho_abi_arena_header, state));
}

void kho_arena_set_state_(__u64 state)
{
	set_word(&kho_arena_.words->state, offsetof(struct kho_abi_arena_header, state), state);
}
