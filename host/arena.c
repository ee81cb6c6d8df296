/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The arena: made, formatted, checked, mapped, owned, let go. What lies where is in
 * include/kho/abi/arena.h.
 *
 * Mapped is not owned: a successor maps the arena while its predecessor works, to check it
 * and to fault it in, and becomes the writer only at the grant. What was checked then and
 * can have changed meanwhile is either checked again (O(1)) or bounded at each use.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arena.h"
#include "heap.h"
#include "migrate.h"
#include "node.h"
#include "page.h"
#include "preserve.h"
#include "subtree.h"
#include "vmalloc.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

#define SIZE_STEP (64 * KHO_PAGE_SIZE) /* the union of orders comes in words of 64 pages */
#define FIRST_GROWTH (1ULL << 20)

struct kho_arena kho_arena_ = {.fd = -1};
static struct kho_abi_arena_header constants;
static bool prepared;

/* ---- making ---- */

int kho_arena_create_(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return kho_fail_(-errno, "arena: memfd_create: %s", strerror(errno));
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK)) {
		int rc = kho_fail_(-errno, "arena: cannot be sealed against shrinking: %s",
				   strerror(errno));

		close(fd);
		return rc;
	}
	return fd;
}

int kho_arena_is_empty_(int fd)
{
	__u64 magic = 0;
	ssize_t n = pread(fd, &magic, sizeof(magic), 0);

	if (n < 0)
		return -errno;
	return !magic;
}

static int fill_header(struct kho_abi_arena_header *header, __u64 max_size)
{
	__u64 step = max_size < KHO_SECTION_SIZE ? SIZE_STEP : KHO_SECTION_SIZE;
	int rc = khoc_arena_geometry(max_size & ~(step - 1), header);

	if (rc)
		return kho_fail_(rc, "arena: a limit of %llu bytes is too small or too large",
				 (unsigned long long)max_size);
	header->magic = KHO_ABI_ARENA_MAGIC;
	header->header_size = sizeof(*header);
	header->version = KHO_ABI_ARENA_VERSION;
	header->page_shift = KHO_PAGE_SHIFT;
	header->base = KHO_ARENA_BASE;
	if (getrandom(header->id, sizeof(header->id), 0) != sizeof(header->id))
		return kho_fail_(-errno, "arena: no random bytes for its id");
	header->crc = khoc_crc32c(0, header, offsetof(struct kho_abi_arena_header, crc));
	return 0;
}

static __u64 first_size(const struct kho_abi_arena_header *header)
{
	__u64 size = header->data_pa + FIRST_GROWTH;

	return size < header->max_size ? size : header->max_size;
}

/* The magic number is stored last: until then the file counts as empty. */
static int write_image(char *base, const struct kho_abi_arena_header *header)
{
	struct kho_abi_arena_header *at = (void *)base;
	__s64 fdt = kho_root_format_(base, header->tree_root_pa);

	if (fdt < 0)
		return (int)fdt;
	memcpy((char *)at + 8, (const char *)header + 8, sizeof(*header) - 8);
	at->root_fdt = khoc_cword((__u64)fdt, offsetof(struct kho_abi_arena_header, root_fdt));
	at->generation = khoc_cword(0, offsetof(struct kho_abi_arena_header, generation));
	at->state = khoc_cword(KHO_ABI_STATE_STOPPED, offsetof(struct kho_abi_arena_header, state));
	__atomic_store_n(&at->magic, header->magic, __ATOMIC_RELEASE);
	return 0;
}

int kho_arena_format_(int fd, __u64 max_size)
{
	struct kho_abi_arena_header header = {0};
	char *base;
	struct stat st;
	int rc = fill_header(&header, max_size);

	if (rc)
		return rc;
	if (fstat(fd, &st))
		return kho_fail_(-errno, "arena: %s", strerror(errno));
	/* Left by somebody who died before the last store of this; sealed files do not shrink. */
	if ((__u64)st.st_size > header.max_size)
		return kho_fail_(
			-EINVAL,
			"arena: its file has %lld bytes already, more than a limit of %llu: "
			"raise --arena-max",
			(long long)st.st_size, (unsigned long long)header.max_size);
	/* Everything below the nodes, and the tree's root, is written without further ado. */
	if (((__u64)st.st_size < first_size(&header) &&
	     ftruncate(fd, (off_t)first_size(&header))) ||
	    fallocate(fd, 0, 0, (off_t)(header.nodes_pa + KHO_PAGE_SIZE)))
		return kho_fail_(-errno, "arena: no memory for its first %llu bytes: %s",
				 (unsigned long long)first_size(&header), strerror(errno));
	base = mmap(NULL, header.nodes_pa, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		return kho_fail_(-errno, "arena: mmap: %s", strerror(errno));
	rc = write_image(base, &header);
	munmap(base, header.nodes_pa);
	return rc;
}

/* ---- checking what came in ---- */

static int check_file(int fd, struct stat *st)
{
	int seals = fcntl(fd, F_GET_SEALS);

	if (fstat(fd, st))
		return kho_fail_(-errno, "arena: fd %d: %s", fd, strerror(errno));
	if (!S_ISREG(st->st_mode) || seals < 0)
		return kho_fail_(-KHO_E_MAGIC, "arena: fd %d is not a memfd", fd);
	if (!(seals & F_SEAL_SHRINK))
		return kho_fail_(
			-KHO_E_FORMAT,
			"arena: the memfd is not sealed against shrinking: whoever truncates it "
			"would kill its users; make it with kho run");
	if (seals & (F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
		return kho_fail_(-KHO_E_FORMAT,
				 "arena: the memfd is sealed against writing or growing (%#x)",
				 (unsigned int)seals);
	if (!st->st_size)
		return kho_fail_(-KHO_E_TRUNCATED, "arena: the memfd is empty: never formatted");
	return 0;
}

static int check_header(int fd, __u64 file_size)
{
	static unsigned char page[KHO_ABI_ARENA_PAGE_SIZE] __attribute__((aligned(8)));
	struct khoc_report report;
	ssize_t n = pread(fd, page, sizeof(page), 0);

	if (n < 0)
		return kho_fail_(-errno, "arena: its header cannot be read: %s", strerror(errno));
	if (khoc_arena_check((const void *)page, (size_t)n, file_size, &report))
		return kho_fail_report_(&report);
	memcpy(&constants, page, sizeof(constants));
	if (constants.base & (SIZE_STEP - 1) || constants.base >> 47 ||
	    constants.max_size & (SIZE_STEP - 1))
		return kho_fail_(-KHO_E_ALIGN,
				 "arena header: base %#llx or max_size %#llx: not aligned",
				 (unsigned long long)constants.base,
				 (unsigned long long)constants.max_size);
	return 0;
}

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
	struct stat st;
	int rc;

	if (kho_arena_.mapped)
		return kho_fail_(-EEXIST, "an arena is open already: one to a process");
	rc = check_file(fd, &st);
	rc = rc ?: check_header(fd, (__u64)st.st_size);
	rc = rc ?: map_at_base(fd);
	if (rc)
		return rc;
	set_up(fd, (__u64)st.st_size);
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

int kho_arena_own_(void)
{
	int rc = check_words();

	if (!rc && constants.features_ro_compat)
		rc = kho_fail_(
			-KHO_E_VERSION,
			"arena header: features_ro_compat %#llx: this program may only read it",
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
