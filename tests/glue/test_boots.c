/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The kernel's side of arrays, slab caches, types and restoring in a process: linux/overlay's own files, the
 * tests of linux/vm/module, and several boots. A boot is a program that starts anew; memory is a file that
 * it is given, of which it knows where the root FDT is. What nobody preserved is overwritten.
 *
 * Without arguments all tests are run. With them, one boot: TEST LAST TYPED FD BOOT ROOT.
 */
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kexec_handover_internal.h"

#include <linux/kho/preserve.h>

#include "files.h"

enum kho_state kho_state;
const char kho_compat_writes[] = "kho-v4;block-v1;radix-v1;vmalloc-v1";

/* ---- what kexec_handover.c has, without its start ---------------------------- */

bool kho_is_enabled(void)
{
	return true;
}

int kho_errno(int err)
{
	return err <= -KHO_E_TRUNCATED ? -EINVAL : err;
}

int kho_preserve_folio(struct folio *folio)
{
	return kho_errno(
		kho_mark(PFN_PHYS(folio_pfn(folio)), folio_order(folio), KHO_ABI_TYPE_FOLIO, NULL));
}

void kho_unpreserve_folio(struct folio *folio)
{
	kho_unmark(PFN_PHYS(folio_pfn(folio)), folio_order(folio), KHO_ABI_TYPE_FOLIO);
}

int kho_preserve_pages(struct page *page, unsigned long nr)
{
	phys_addr_t pa = page_to_phys(page);
	unsigned int order;

	for (; nr; nr -= 1UL << order, pa += PAGE_SIZE << order) {
		order = khoc_radix_split(PAGE_SHIFT, pa, nr);
		if (kho_mark(pa, order, KHO_ABI_TYPE_PAGES, NULL))
			return -ENOMEM;
	}
	return 0;
}

void *kho_alloc_preserve(size_t size)
{
	struct folio *folio = folio_alloc(GFP_KERNEL | __GFP_ZERO, get_order(size));
	int err = folio ? kho_preserve_folio(folio) : -ENOMEM;

	return err ? ERR_PTR(err) : folio_address(folio);
}

void kho_unpreserve_free(void *mem)
{
	kho_unpreserve_folio(virt_to_folio(mem));
	folio_put(virt_to_folio(mem));
}

/* ---- what kho_boot.c has ------------------------------------------------------- */

static phys_addr_t in_fdt;
static struct khoc_types types;
static struct kho_verify in;

const void *kho_in_fdt(void)
{
	return in_fdt ? phys_to_virt(in_fdt) : NULL;
}

static void *boot_map(void *ctx, kho_pa_t pa, size_t len)
{
	return pa + len <= GLUE_PAGES << PAGE_SHIFT ? phys_to_virt(pa) : NULL;
}

static int is_ram(struct kho_verify *v, phys_addr_t phys, u64 size)
{
	return phys + size <= GLUE_PAGES << PAGE_SHIFT ? 0 : -KHO_E_RANGE;
}

static void *boot_alloc(struct kho_verify *v, size_t size)
{
	return calloc(1, size);
}

static void boot_free(struct kho_verify *v, void *mem, size_t size)
{
	free(mem);
}

static int reserve(void *ctx, const struct khoc_run *run)
{
	for (u64 i = 0; i < run->nr << run->order; i++)
		pfn_to_page(PHYS_PFN(run->pa) + i)->taken = true;
	kho_stamp_run(run);
	return 0;
}

static int stamp_types(void *ctx, const struct khoc_run *run)
{
	for (u64 i = 0; i < run->nr; i++) {
		phys_addr_t pa = run->pa + i * (PAGE_SIZE << run->order);

		if (khoc_radix_test(&in.tree, pa, run->order))
			kho_stamp_type(pa, run->order, *(unsigned int *)ctx);
	}
	return 0;
}

/* What was handed over is checked and reserved; all else is as if others had been there since. */
static int revive(bool typed)
{
	static const struct khoc_mem_ops ops = {.map = boot_map};
	static const struct khoc_mem mem = {
		.ops = &ops, .size = GLUE_PAGES << PAGE_SHIFT, .node_hi = GLUE_PAGES << PAGE_SHIFT};
	unsigned int type;

	in = (struct kho_verify){.mem = &mem,
				 .trusted = &mem,
				 .fdt = phys_to_virt(in_fdt),
				 .fdt_phys = in_fdt,
				 .is_ram = is_ram,
				 .alloc = boot_alloc,
				 .free = boot_free,
				 .types = &types};
	if (kho_verify(&in)) {
		printf("refused: %s at %#llx, %s: %s\n", khoc_structure_text(in.report.structure),
		       (u64)in.report.addr, in.report.field, khoc_fault_text(in.report.fault));
		return -EINVAL;
	}
	khoc_radix_walk(&in.tree, 0, mem.size, reserve, NULL);
	if (typed)
		kho_stamps_have_types();
	for (type = 0; typed && type < KHO_ABI_TYPES; type++)
		if (types.has & 1U << type)
			khoc_radix_walk(&types.tree[type], 0, mem.size, stamp_types, &type);
	for (u64 pfn = 1; pfn < GLUE_PAGES; pfn++)
		if (!pfn_to_page(pfn)->taken)
			memset(phys_to_virt(PFN_PHYS(pfn)), 0xcc, PAGE_SIZE);
	kho_mem_in.size = mem.size;
	kho_state = KHO_REVIVED;
	return 0;
}

/* ---- no memory ---------------------------------------------------------------- */

#define NOMEM_ORDER 5
/* The nodes of an order that nobody preserved yet: in the tree of its type, and in that of all. */
#define NOMEM_ENOUGH 10

/* A folio that could not be preserved as bare pages, for want of memory, and then is as what it is. */
static int nomem_make(long left)
{
	struct folio *folio = folio_alloc(GFP_KERNEL, NOMEM_ORDER);
	u64 *blob = kho_alloc_preserve(sizeof(*blob));
	phys_addr_t pa = PFN_PHYS(folio_pfn(folio));
	int err;

	*blob = pa;
	err = kho_add_subtree("nomem", blob, sizeof(*blob));
	if (err)
		return err;
	glue_pages_left = left;
	err = kho_mark(pa, NOMEM_ORDER, KHO_ABI_TYPE_PAGES, NULL);
	glue_pages_left = -1;
	/* Some are too few, and some are enough. */
	if (err != (left < NOMEM_ENOUGH ? -ENOMEM : 0))
		return err ?: -EBADMSG;
	if (!err)
		kho_unmark(pa, NOMEM_ORDER, KHO_ABI_TYPE_PAGES);
	return kho_preserve_folio(folio);
}

static int nomem_restore(void)
{
	phys_addr_t pa;
	size_t size;
	int err = kho_retrieve_subtree("nomem", &pa, &size);

	if (err)
		return err;
	return kho_restore_folio(*(u64 *)phys_to_virt(pa)) ? 0 : -EBADMSG;
}

/* ---- boots ---------------------------------------------------------------------- */

static int run_test(const char *test, const struct kho_vm_request *request)
{
	struct kho_vm_tally tally = {};
	int err;

	if (!strncmp(test, "nomem", 5))
		return request->hop ? nomem_restore() : nomem_make(atoi(test + 5));
	if (!strcmp(test, "memfd"))
		return kho_vm_memfd(request, &tally) ?: tally.faults ? -EBADMSG : 0;
	err = kho_vm_ours(test, request);

	if (err != -ENOENT)
		return err;
	return request->hop ? kho_vm_check() : kho_vm_make(test, request);
}

static int start(void)
{
	return kho_image_init() ?: kho_root_init() ?: kho_types_init() ?: kho_slab_init();
}

static int next_boot(char **argv, unsigned int boot)
{
	char number[16], root[24];

	snprintf(number, sizeof(number), "%u", boot + 1);
	snprintf(root, sizeof(root), "%llx", (u64)kho_root_phys());
	execl("/proc/self/exe", argv[0], argv[1], argv[2], argv[3], argv[4], number, root, NULL);
	return 1;
}

static int one_boot(char **argv)
{
	struct kho_vm_request request = {.nr = 2000, .seed = 1, .hop = atoi(argv[5])};
	int err;

	request.last = request.hop == (unsigned int)atoi(argv[2]);
	in_fdt = strtoull(argv[6], NULL, 16);
	glue_memory(atoi(argv[4]));
	err = in_fdt ? revive(atoi(argv[3])) : 0;
	if (!err)
		err = start();
	if (!err)
		err = run_test(argv[1], &request);
	if (glue_queued)
		glue_queued->fn(glue_queued);
	if (err) {
		printf("%s, boot %u: %d\n", argv[1], request.hop, err);
		return 1;
	}
	return request.last ? 0 : next_boot(argv, request.hop);
}

/* @typed: "0": as if what the first kernel said of types had been lost, as Linux 7.2 loses it */
static int run(const char *program, const char *test, const char *last, const char *typed)
{
	int fd = memfd_create("ram", 0), status;
	char number[16];
	pid_t pid;

	if (fd < 0 || ftruncate(fd, GLUE_PAGES << PAGE_SHIFT))
		return 1;
	snprintf(number, sizeof(number), "%d", fd);
	pid = fork();
	if (!pid) {
		execl("/proc/self/exe", program, test, last, typed, number, "0", "0", NULL);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	close(fd);
	if (status)
		printf("not ok: %s, types %s: status %#x\n", test, typed, status);
	return !!status;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *test, *last, *typed;
	} runs[] = {
		{"array", "3", "1"},  {"array", "1", "0"},  {"blocks", "1", "1"},
		{"blocks", "1", "0"}, {"memfd", "3", "1"},  {"slab", "3", "1"},
		{"slab", "1", "0"},   {"types", "1", "1"},  {"folios", "1", "1"},
		{"folios", "1", "0"}, {"nomem0", "1", "1"}, {"nomem1", "1", "1"},
		{"nomem2", "1", "1"}, {"nomem3", "1", "1"}, {"nomem4", "1", "1"},
		{"nomem5", "1", "1"}, {"nomem6", "1", "1"}, {"nomem7", "1", "1"},
		{"nomem8", "1", "1"}, {"nomem9", "1", "1"}, {"nomem10", "1", "1"},
	};
	int failed = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 7)
		return one_boot(argv);
	for (size_t i = 0; i < ARRAY_SIZE(runs); i++)
		failed += run(argv[0], runs[i].test, runs[i].last, runs[i].typed);
	return !!failed;
}
