/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Preserved blocks, and Linux's calls for folios and pages on top: see preserve.h. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "arena.h"
#include "heap.h"
#include "page.h"
#include "preserve.h"

#define ALLOC_MAX_ORDER 10 /* Linux's MAX_PAGE_ORDER: programs for both find one limit */
#define SETTLE_TRIES 20 /* looks at a block that somebody else is just changing */

static unsigned char *claims; /* one bit a page: the block that starts here was claimed */

static size_t claims_len(void)
{
	return (kho_arena_.size >> KHO_PAGE_SHIFT) / 8 + 1;
}

int kho_claims_init_(void)
{
	void *p = mmap(NULL, claims_len(), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return kho_fail_(-ENOMEM, "no address space for the table of claims");
	claims = p;
	return 0;
}

void kho_claims_destroy_(void)
{
	if (claims)
		munmap(claims, claims_len());
	claims = NULL;
}

/* Return: true if it was set before. */
static bool claim(kho_pa_t pa)
{
	__u64 pfn = pa >> KHO_PAGE_SHIFT;
	unsigned char bit = (unsigned char)(1u << (pfn % 8));

	return __atomic_fetch_or(&claims[pfn / 8], bit, __ATOMIC_RELAXED) & bit;
}

static void unclaim(kho_pa_t pa)
{
	__u64 pfn = pa >> KHO_PAGE_SHIFT;

	__atomic_fetch_and(&claims[pfn / 8], (unsigned char)~(1u << (pfn % 8)), __ATOMIC_RELAXED);
}

bool kho_block_is_claimed_(kho_pa_t pa)
{
	__u64 pfn = pa >> KHO_PAGE_SHIFT;

	return __atomic_load_n(&claims[pfn / 8], __ATOMIC_RELAXED) & 1u << (pfn % 8);
}

void kho_block_unclaim_(kho_pa_t pa)
{
	unclaim(pa);
}

static kho_abi_desc_t *desc_of(kho_pa_t pa)
{
	struct kho_arena *a = &kho_arena_;

	return (kho_abi_desc_t *)(a->base + a->header->descs_pa) + (pa >> KHO_PAGE_SHIFT);
}

static void set_desc(kho_pa_t pa, kho_abi_desc_t desc)
{
	__atomic_store_n(desc_of(pa), desc, __ATOMIC_RELEASE);
}

int kho_block_preserve_(kho_pa_t pa, unsigned int order, unsigned int type)
{
	int rc;

	set_desc(pa, khoc_desc(type, order));
	rc = khoc_radix_add(&kho_arena_.tree, pa, order);
	if (rc) {
		set_desc(pa, 0);
		return kho_fail_(rc, "block at %#llx, order %u: cannot be preserved: %s",
				 (unsigned long long)pa, order,
				 rc == -ENOMEM ? "no memory for a tree node"
					       : khoc_fault_text(-rc));
	}
	claim(pa);
	return 0;
}

/* The descriptor stays when it is that of a block of another order that starts here. */
static void clear_block(kho_pa_t pa, unsigned int order)
{
	unsigned int type, has;

	khoc_radix_del(&kho_arena_.tree, pa, order);
	if (!kho_block_desc_(pa, &type, &has) && type != KHO_ABI_DESC_NONE && has != order &&
	    khoc_radix_test(&kho_arena_.tree, pa, has))
		return;
	set_desc(pa, 0);
	unclaim(pa);
}

void kho_block_unpreserve_(kho_pa_t pa, unsigned int order)
{
	kho_pages_know_(pa, 1ULL << order);
	clear_block(pa, order);
}

int kho_block_desc_(kho_pa_t pa, unsigned int *type, unsigned int *order)
{
	return khoc_desc_get(__atomic_load_n(desc_of(pa), __ATOMIC_ACQUIRE), type, order);
}

const char *kho_block_type_text_(unsigned int type)
{
	static const char *const texts[] = {
		[KHO_ABI_DESC_NONE] = "nothing",
		[KHO_ABI_DESC_FOLIO] = "folio",
		[KHO_ABI_DESC_PAGES] = "pages",
		[KHO_ABI_DESC_SLAB] = "slab",
		[KHO_ABI_DESC_LARGE] = "large object",
		[KHO_ABI_DESC_LARGE_PART] = "part of a large object",
		[KHO_ABI_DESC_STRUCT] = "page of a structure",
		[KHO_ABI_DESC_VMALLOC] = "vmalloc part",
		[KHO_ABI_DESC_VMALLOC_CHUNK] = "vmalloc chunk",
	};

	return type < sizeof(texts) / sizeof(*texts) ? texts[type] : "unknown type";
}

int kho_block_check_(kho_pa_t pa, unsigned int order, unsigned int type)
{
	struct kho_arena *a = &kho_arena_;
	unsigned int has_type, has_order;
	int rc;

	if (pa & (KHO_PAGE_SIZE - 1))
		return kho_fail_(-KHO_E_ALIGN, "block at %#llx: not page aligned",
				 (unsigned long long)pa);
	if (pa < a->header->data_pa || pa >= kho_file_size_())
		return kho_fail_(-KHO_E_RANGE, "block at %#llx: outside the data, %#llx to %#llx",
				 (unsigned long long)pa, (unsigned long long)a->header->data_pa,
				 (unsigned long long)kho_file_size_());
	rc = kho_block_desc_(pa, &has_type, &has_order);
	if (rc)
		return kho_fail_(rc, "page descriptor of %#llx: checksum does not match",
				 (unsigned long long)pa);
	if (has_type == KHO_ABI_DESC_NONE || !khoc_radix_test(&a->tree, pa, has_order))
		return kho_fail_(-KHO_E_NOT_PRESERVED,
				 "block at %#llx: no preserved block starts here",
				 (unsigned long long)pa);
	if (has_type != type)
		return kho_fail_(-KHO_E_TYPE,
				 "block at %#llx: preserved as %s of order %u, asked for as %s",
				 (unsigned long long)pa, kho_block_type_text_(has_type), has_order,
				 kho_block_type_text_(type));
	if (has_order != order)
		return kho_fail_(
			-KHO_E_ORDER,
			"block at %#llx: preserved as %s of order %u, asked for with order %u",
			(unsigned long long)pa, kho_block_type_text_(has_type), has_order, order);
	return 0;
}

int kho_block_restore_(kho_pa_t pa, unsigned int order, unsigned int type)
{
	int rc = kho_block_check_(pa, order, type);

	if (!rc && claim(pa))
		rc = kho_fail_(-KHO_E_CLAIMED,
			       "block at %#llx: %s of order %u: restored, or preserved, in this "
			       "program before",
			       (unsigned long long)pa, kho_block_type_text_(type), order);
	return rc;
}

/* ---- runs: pages split as Linux splits them ---- */

static unsigned int part_order(kho_pa_t pa, __u64 nr)
{
	return khoc_radix_split(KHO_PAGE_SHIFT, pa, nr);
}

int kho_run_check_(kho_pa_t pa, __u64 nr, unsigned int type, unsigned int part_type)
{
	if (!nr || pa >> KHO_PAGE_SHIFT >= kho_arena_.size >> KHO_PAGE_SHIFT ||
	    nr > (kho_arena_.size - pa) >> KHO_PAGE_SHIFT)
		return kho_fail_(-KHO_E_RANGE, "%llu pages at %#llx: not inside the arena",
				 (unsigned long long)nr, (unsigned long long)pa);
	while (nr) {
		unsigned int order = part_order(pa, nr);
		int rc = kho_block_check_(pa, order, type);

		if (rc)
			return rc;
		pa += KHO_PAGE_SIZE << order;
		nr -= 1ULL << order;
		type = part_type;
	}
	return 0;
}

int kho_run_restore_(kho_pa_t pa, __u64 nr, unsigned int type, unsigned int part_type)
{
	kho_pa_t start = pa;
	__u64 left = nr;
	int rc = kho_run_check_(pa, nr, type, part_type);

	while (!rc && left) {
		unsigned int order = part_order(pa, left);

		rc = kho_block_restore_(pa, order, pa == start ? type : part_type);
		if (rc)
			break;
		pa += KHO_PAGE_SIZE << order;
		left -= 1ULL << order;
	}
	for (kho_pa_t undo = start; rc && undo < pa;) {
		unclaim(undo);
		undo += KHO_PAGE_SIZE << part_order(undo, nr - ((undo - start) >> KHO_PAGE_SHIFT));
	}
	return rc;
}

int kho_run_preserve_(kho_pa_t pa, __u64 nr, unsigned int type, unsigned int part_type)
{
	kho_pa_t start = pa;
	__u64 left = nr;

	while (left) {
		unsigned int order = part_order(pa, left);
		int rc = kho_block_preserve_(pa, order, pa == start ? type : part_type);

		if (rc) {
			kho_run_unpreserve_(start, nr);
			return rc;
		}
		pa += KHO_PAGE_SIZE << order;
		left -= 1ULL << order;
	}
	return 0;
}

void kho_run_drop_(kho_pa_t pa, __u64 nr)
{
	while (nr) {
		unsigned int order = part_order(pa, nr);

		clear_block(pa, order);
		pa += KHO_PAGE_SIZE << order;
		nr -= 1ULL << order;
	}
}

void kho_run_settle_(kho_pa_t pa, __u64 nr, unsigned int type)
{
	while (nr) {
		unsigned int order = part_order(pa, nr), has_type, has_order;

		if (!kho_block_desc_(pa, &has_type, &has_order) && has_type == type &&
		    has_order == order)
			clear_block(pa, order);
		pa += KHO_PAGE_SIZE << order;
		nr -= 1ULL << order;
	}
}

bool kho_run_is_split_(kho_pa_t pa, __u64 nr)
{
	return nr && 1ULL << part_order(pa, nr) != nr;
}

void kho_run_unpreserve_(kho_pa_t pa, __u64 nr)
{
	kho_pages_know_(pa, nr);
	kho_run_drop_(pa, nr);
}

/* ---- tree and descriptors against each other ---- */

static int block_agrees(kho_pa_t pa, unsigned int order)
{
	unsigned int type, has;
	struct khoc_report report = {.structure = KHOC_S_DESC, .level = -1, .addr = pa};
	int rc = kho_block_desc_(pa, &type, &has);

	if (rc)
		report.fault = KHO_E_CHECKSUM;
	else if (type == KHO_ABI_DESC_NONE)
		report.fault = KHO_E_TYPE;
	else if (has != order)
		report.fault = KHO_E_ORDER;
	else
		return 0;
	report.field = report.fault == KHO_E_ORDER ? "order" : "type";
	report.value = report.fault == KHO_E_ORDER ? has : *desc_of(pa);
	report.limit = order;
	return kho_fail_report_(&report);
}

/* The same while the owner works: look again before believing that something is wrong. */
static int block_settles(kho_pa_t pa, unsigned int order)
{
	int rc = 0;

	for (int i = 0; i < SETTLE_TRIES; i++) {
		rc = block_agrees(pa, order);
		if (!rc || !khoc_radix_test(&kho_arena_.tree, pa, order))
			return 0;
		nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
	}
	return rc;
}

static int check_range(kho_pa_t lo, kho_pa_t hi, int (*agrees)(kho_pa_t, unsigned int))
{
	struct khoc_radix_iter iter;
	struct khoc_run run;

	khoc_radix_iter_init(&iter, &kho_arena_.tree, lo, hi, 0, khoc_max_order(KHO_PAGE_SHIFT));
	while (khoc_radix_iter_next(&iter, &run)) {
		for (__u64 i = 0; i < run.nr; i++) {
			kho_pa_t pa = run.pa + (i << (KHO_PAGE_SHIFT + run.order));
			int rc = pa < kho_arena_.size ? agrees(pa, run.order) : -KHO_E_RANGE;

			if (rc)
				return rc;
		}
	}
	return khoc_radix_iter_error(&iter);
}

#define OVERLAP_STEP (4096 * KHO_PAGE_SIZE) /* 512 bytes of bitmap */

/* Pages that are in any block of [@lo, @hi), at most OVERLAP_STEP bytes. */
static int count_union(kho_pa_t lo, kho_pa_t hi, __u64 *pages)
{
	__u64 bitmap[OVERLAP_STEP / KHO_PAGE_SIZE / 64];
	__u64 words = ((hi - lo) / KHO_PAGE_SIZE + 63) / 64;
	int rc = khoc_radix_union(&kho_arena_.tree, lo, words * 64, bitmap);

	for (__u64 i = 0; !rc && i < words; i++)
		*pages += (__u64)__builtin_popcountll(bitmap[i]);
	return rc;
}

/* A page has one owner: two blocks that share pages would be freed twice. */
static int check_overlap(kho_pa_t lo, kho_pa_t hi)
{
	struct khoc_report report = {.fault = KHO_E_OVERLAP,
				     .structure = KHOC_S_RADIX_LEAF,
				     .field = "block",
				     .addr = lo};
	struct khoc_radix_iter iter;
	struct khoc_run run;
	__u64 sum = 0, any = 0;
	int rc = 0;

	khoc_radix_iter_init(&iter, &kho_arena_.tree, lo, hi, 0, khoc_max_order(KHO_PAGE_SHIFT));
	while (khoc_radix_iter_next(&iter, &run)) {
		kho_pa_t end = run.pa + (run.nr << (KHO_PAGE_SHIFT + run.order));

		sum += ((end < hi ? end : hi) - (run.pa > lo ? run.pa : lo)) >> KHO_PAGE_SHIFT;
	}
	for (kho_pa_t at = lo; !rc && at < hi; at += OVERLAP_STEP)
		rc = count_union(at, hi - at < OVERLAP_STEP ? hi : at + OVERLAP_STEP, &any);
	report.value = sum;
	report.limit = any;
	return rc || sum == any ? rc : kho_fail_report_(&report);
}

int kho_preserve_check_section_(kho_pa_t pa)
{
	kho_pa_t hi = pa + KHO_SECTION_SIZE < kho_arena_.size ? pa + KHO_SECTION_SIZE
							      : kho_arena_.size;

	return check_range(pa, hi, block_agrees) ?: check_overlap(pa, hi);
}

int kho_preserve_check_all_(bool live)
{
	if (live)
		return check_range(0, kho_arena_.size, block_settles);
	return check_range(0, kho_arena_.size, block_agrees) ?: check_overlap(0, kho_arena_.size);
}

/* ---- Linux's calls ---- */

kho_pa_t kho_virt_to_phys(const void *ptr)
{
	__u64 off = (__u64)((uintptr_t)ptr - (uintptr_t)kho_arena_.base);

	return off < kho_arena_.size ? off : 0;
}

void *kho_phys_to_virt(kho_pa_t pa)
{
	return pa && pa < kho_arena_.size ? kho_arena_.base + pa : NULL;
}

/* The order of a folio that was handed out or restored here, or a negative error. */
static int folio_order(struct folio *folio)
{
	kho_pa_t pa = kho_virt_to_phys(folio);
	unsigned int order = 0;

	if (!pa || pa & (KHO_PAGE_SIZE - 1) || kho_pages_kind_(pa) != PAGE_KIND_FOLIO)
		return kho_fail_(-EINVAL, "%p: not the start of a folio of this program",
				 (void *)folio);
	while (pa + (KHO_PAGE_SIZE << order) < kho_arena_.size &&
	       kho_pages_kind_(pa + (KHO_PAGE_SIZE << order)) == PAGE_KIND_TAIL)
		order++;
	return (int)order;
}

struct folio *kho_folio_alloc(unsigned int order)
{
	kho_pa_t pa;

	if (!kho_may_write_())
		return NULL;
	pa = order < 32 ? kho_pages_alloc_(1ULL << order, order) : 0;
	if (!pa) {
		errno = ENOMEM;
		return NULL;
	}
	kho_pages_set_kind_(pa, 1ULL << order, PAGE_KIND_FOLIO);
	return kho_phys_to_virt(pa);
}

void *kho_folio_address(struct folio *folio)
{
	return folio;
}

int kho_preserve_folio(struct folio *folio)
{
	int order = kho_writer_error_() ?: folio_order(folio);

	if (order < 0)
		return order;
	return kho_block_preserve_(kho_virt_to_phys(folio), (unsigned int)order,
				   KHO_ABI_DESC_FOLIO);
}

void kho_unpreserve_folio(struct folio *folio)
{
	int order = kho_writer_error_() ?: folio_order(folio);

	if (order >= 0)
		kho_block_unpreserve_(kho_virt_to_phys(folio), (unsigned int)order);
}

void kho_folio_put(struct folio *folio)
{
	int order = kho_writer_error_() ?: folio_order(folio);
	kho_pa_t pa = kho_virt_to_phys(folio);

	if (order < 0)
		return;
	kho_block_unpreserve_(pa, (unsigned int)order);
	kho_pages_free_(pa, 1ULL << order);
}

struct folio *kho_restore_folio(kho_pa_t phys)
{
	unsigned int type = 0, order = 0;
	int rc = kho_writer_error_();

	if (!rc && phys < kho_arena_.size)
		kho_block_desc_(phys & ~(KHO_PAGE_SIZE - 1), &type, &order);
	rc = rc ?: kho_block_restore_(phys, order, KHO_ABI_DESC_FOLIO);
	if (rc) {
		errno = rc == -EOWNERDEAD ? EOWNERDEAD : EINVAL;
		return NULL;
	}
	kho_pages_set_kind_(phys, 1ULL << order, PAGE_KIND_FOLIO);
	return kho_phys_to_virt(phys);
}

/* ---- whole folios by their memory's address ---- */

void *kho_alloc_preserve(size_t size)
{
	struct folio *folio = NULL;
	unsigned int order = 0;
	int rc = kho_writer_error_();

	while (order <= ALLOC_MAX_ORDER && KHO_PAGE_SIZE << order < size)
		order++;
	if (!rc && !size)
		rc = kho_fail_(-EINVAL, "kho_alloc_preserve: of nothing");
	if (!rc && order > ALLOC_MAX_ORDER)
		rc = kho_fail_(-E2BIG,
			       "kho_alloc_preserve: %zu bytes, at most %zu: use folios or "
			       "kho_vmalloc_huge()",
			       size, KHO_PAGE_SIZE << ALLOC_MAX_ORDER);
	if (!rc) {
		folio = kho_folio_alloc(order);
		rc = folio ? 0 : -ENOMEM;
	}
	if (!rc) {
		memset(folio, 0, KHO_PAGE_SIZE << order);
		rc = kho_preserve_folio(folio);
	}
	if (!rc)
		return folio;
	if (folio)
		kho_folio_put(folio);
	errno = -rc;
	return NULL;
}

void kho_unpreserve_free(void *mem)
{
	if (mem)
		kho_folio_put(mem);
}

void kho_restore_free(void *mem)
{
	struct folio *folio = mem ? kho_restore_folio(kho_virt_to_phys(mem)) : NULL;

	if (folio)
		kho_folio_put(folio);
}

struct page *kho_alloc_pages(size_t nr)
{
	kho_pa_t pa;

	if (!kho_may_write_())
		return NULL;
	pa = kho_pages_alloc_(nr, 0);
	if (!pa) {
		errno = ENOMEM;
		return NULL;
	}
	kho_pages_set_kind_(pa, nr, PAGE_KIND_PAGES);
	return kho_phys_to_virt(pa);
}

/* Are these @nr pages handed out or restored here, as pages? */
static int check_pages(struct page *page, size_t nr)
{
	kho_pa_t pa = kho_virt_to_phys(page);

	if (kho_writer_error_())
		return kho_writer_error_();
	if (!pa || pa & (KHO_PAGE_SIZE - 1) || !nr || nr > (kho_arena_.size - pa) >> KHO_PAGE_SHIFT)
		return kho_fail_(-EINVAL, "%p, %zu pages: not a run of pages of the arena",
				 (void *)page, nr);
	for (size_t i = 0; i < nr; i++)
		if (kho_pages_kind_(pa + i * KHO_PAGE_SIZE) != PAGE_KIND_PAGES)
			return kho_fail_(-EINVAL, "page at %#llx: not handed out as a page here",
					 (unsigned long long)(pa + i * KHO_PAGE_SIZE));
	return 0;
}

void *kho_page_address(struct page *page)
{
	return page;
}

/* Pages that are still preserved must be unpreserved by the range they were preserved by. */
void kho_free_pages(struct page *page, size_t nr)
{
	kho_pa_t pa = kho_virt_to_phys(page);
	struct khoc_block block;

	if (check_pages(page, nr))
		return;
	for (size_t i = 0; i < nr; i++)
		if (khoc_radix_lookup(&kho_arena_.tree, pa + i * KHO_PAGE_SIZE, &block)) {
			kho_fail_(-EBUSY,
				  "page at %#llx: still preserved: kho_unpreserve_pages() it first",
				  (unsigned long long)(pa + i * KHO_PAGE_SIZE));
			return;
		}
	kho_pages_free_(pa, nr);
}

/* A page has one descriptor: two ranges that share pages would contradict each other. */
static int check_unmarked(kho_pa_t pa, size_t nr)
{
	kho_pa_t end = pa + nr * KHO_PAGE_SIZE;
	struct khoc_block block;

	if (!khoc_radix_lookup(&kho_arena_.tree, pa, &block) &&
	    !khoc_radix_next(&kho_arena_.tree, pa, end, &block))
		return 0;
	return kho_fail_(-EBUSY, "page at %#llx: preserved already, in a block of order %u",
			 (unsigned long long)block.pa, block.order);
}

int kho_preserve_pages(struct page *page, size_t nr)
{
	kho_pa_t pa = kho_virt_to_phys(page);
	int rc = check_pages(page, nr);

	if (!rc && !kho_run_check_(pa, nr, KHO_ABI_DESC_PAGES, KHO_ABI_DESC_PAGES))
		return 0;
	return rc ?: check_unmarked(pa, nr) ?: kho_pages_preserve_(pa, nr);
}

void kho_unpreserve_pages(struct page *page, size_t nr)
{
	if (!check_pages(page, nr))
		kho_pages_unpreserve_(kho_virt_to_phys(page), nr);
}

struct page *kho_restore_pages(kho_pa_t phys, size_t nr)
{
	int rc = kho_writer_error_();

	rc = rc ?: kho_run_restore_(phys, nr, KHO_ABI_DESC_PAGES, KHO_ABI_DESC_PAGES);
	if (rc) {
		errno = rc == -EOWNERDEAD ? EOWNERDEAD : EINVAL;
		return NULL;
	}
	kho_pages_set_kind_(phys, nr, PAGE_KIND_PAGES);
	return kho_phys_to_virt(phys);
}
