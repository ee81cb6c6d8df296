/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Allocators of kernel.h: pages of a file that lives through all boots of a test. */
#include <sys/mman.h>

#include <linux/kho/preserve.h>

#include "kernel.h"

int glue_no_sleep;
long glue_pages_left = -1;
struct work_struct *glue_queued;
struct page *glue_pages;
char *glue_ram;
unsigned long glue_counted;
static int ram_fd;

static void die(const char *what, u64 at)
{
	printf("%s: %#llx\n", what, at);
	abort();
}

bool glue_warn(bool condition, const char *file, int line, const char *text)
{
	if (condition) {
		printf("%s:%d: WARNING: %s\n", file, line, text);
		abort();
	}
	return condition;
}

void glue_memory(int fd)
{
	ram_fd = fd;
	glue_ram = mmap(NULL, GLUE_PAGES << PAGE_SHIFT, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	glue_pages = calloc(GLUE_PAGES, sizeof(*glue_pages));
	if (glue_ram == MAP_FAILED || !glue_pages)
		die("no memory", GLUE_PAGES);
	glue_pages[0].taken = true;
}

static void may_sleep(gfp_t gfp)
{
	if (gfpflags_allow_blocking(gfp) && glue_no_sleep)
		die("sleeps where it must not", gfp);
}

/* ---- pages ---------------------------------------------------------------------- */

static bool is_free(u64 pfn, unsigned int order)
{
	for (u64 i = 0; i < 1ULL << order; i++)
		if (glue_pages[pfn + i].taken)
			return false;
	return true;
}

/* Contents of memory that is not asked to be zeroes are none that anybody should rely on. */
struct page *alloc_pages(gfp_t gfp, unsigned int order)
{
	u64 nr = 1ULL << order;

	may_sleep(gfp);
	if (!glue_pages_left)
		return NULL;
	if (glue_pages_left > 0)
		glue_pages_left--;
	for (u64 pfn = 0; pfn + nr <= GLUE_PAGES; pfn += nr) {
		if (!is_free(pfn, order))
			continue;
		for (u64 i = 0; i < nr; i++)
			glue_pages[pfn + i] = (struct page){.taken = true};
		glue_pages[pfn].count = 1;
		memset(glue_ram + PFN_PHYS(pfn), gfp & __GFP_ZERO ? 0 : 0xa5, nr << PAGE_SHIFT);
		return &glue_pages[pfn];
	}
	return NULL;
}

/* Freed memory is neither preserved nor in use. */
void __free_pages(struct page *page, unsigned int order)
{
	struct kho_run run;

	if (!page->taken || page->count != 1)
		die("freed, but not in use by one", page_to_phys(page));
	for (u64 i = 0; i < 1ULL << order; i++) {
		if (kho_preserved_lookup(page_to_phys(page + i), &run))
			die("freed while it is preserved", page_to_phys(page + i));
		page[i] = (struct page){0};
	}
	memset(page_address(page), 0xcc, PAGE_SIZE << order);
}

void split_page(struct page *page, unsigned int order)
{
	for (u64 i = 0; i < 1ULL << order; i++)
		page[i].count = 1;
}

unsigned long get_zeroed_page(gfp_t gfp)
{
	struct page *page = alloc_pages(gfp | __GFP_ZERO, 0);

	return page ? (unsigned long)page_address(page) : 0;
}

struct folio *folio_alloc(gfp_t gfp, unsigned int order)
{
	struct page *page = alloc_pages(gfp, order);

	if (page)
		page->order = order;
	return page_folio(page);
}

void folio_put(struct folio *folio)
{
	if (folio->page.count > 1)
		folio->page.count--;
	else
		__free_pages(&folio->page, folio_order(folio));
}

unsigned int get_order(size_t size)
{
	return size <= PAGE_SIZE ? 0 : ilog2(size - 1) + 1 - PAGE_SHIFT;
}

/* ---- kmalloc() ------------------------------------------------------------------ */

void *glue_calloc(size_t nr, size_t size, gfp_t gfp)
{
	may_sleep(gfp);
	return calloc(nr, size);
}

void *__kmalloc_large_noprof(size_t size, gfp_t gfp)
{
	struct folio *folio = folio_alloc(gfp, get_order(size));

	if (!folio)
		return NULL;
	folio->page.count = 0;
	folio->page.large = true;
	return folio_address(folio);
}

void kfree(const void *p)
{
	struct page *page;

	if ((const char *)p < glue_ram || virt_to_phys(p) >= GLUE_PAGES << PAGE_SHIFT) {
		free((void *)p);
		return;
	}
	page = virt_to_page(p);
	if (!page->large || page->count || !page->order)
		die("not kmalloc()'s", virt_to_phys(p));
	page->count = 1;
	__free_pages(page, page->order);
}

size_t ksize(const void *p)
{
	return PAGE_SIZE << virt_to_page(p)->order;
}

void *memchr_inv(const void *p, int c, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (((const u8 *)p)[i] != c)
			return (u8 *)p + i;
	return NULL;
}

/* ---- vmalloc() ------------------------------------------------------------------- */

static struct vm_struct areas[16];
static unsigned int nr_areas;

struct vm_struct *find_vm_area(const void *p)
{
	for (unsigned int i = 0; i < nr_areas; i++)
		if (areas[i].addr == p)
			return &areas[i];
	return NULL;
}

struct vm_struct *glue_vm_area(size_t size, unsigned long flags)
{
	struct vm_struct *vm = &areas[nr_areas++];

	if (nr_areas > ARRAY_SIZE(areas))
		die("too many areas", nr_areas);
	vm->addr = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	vm->flags = flags;
	vm->size = size;
	return vm;
}

int vmap_pages_range(unsigned long addr, unsigned long end, int prot, struct page **pages,
		     unsigned int shift)
{
	for (; addr < end; addr += PAGE_SIZE, pages++)
		if (mmap((void *)addr, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			 ram_fd, page_to_phys(*pages)) == MAP_FAILED)
			return -ENOMEM;
	return 0;
}

void *vmalloc(size_t size)
{
	unsigned int nr = DIV_ROUND_UP(size, PAGE_SIZE);
	struct vm_struct *vm = glue_vm_area((size_t)nr << PAGE_SHIFT, VM_ALLOC);

	vm->pages = calloc(nr, sizeof(*vm->pages));
	vm->nr_pages = nr;
	for (unsigned int i = 0; i < nr; i++)
		vm->pages[i] = alloc_page(GFP_KERNEL);
	vmap_pages_range((unsigned long)vm->addr, (unsigned long)vm->addr + vm->size, 0, vm->pages,
			 PAGE_SHIFT);
	return vm->addr;
}

void vfree(const void *p)
{
	struct vm_struct *vm = p ? find_vm_area(p) : NULL;

	/* The areas of vzalloc() are only memory. */
	if (!vm) {
		free((void *)p);
		return;
	}
	munmap(vm->addr, vm->size);
	for (unsigned int i = 0; i < vm->nr_pages; i++)
		__free_page(vm->pages[i]);
	free(vm->pages);
	vm->addr = NULL;
}

struct page *vmalloc_to_page(const void *p)
{
	return find_vm_area(p)->pages[0];
}
