/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Private to kernel/liveupdate: what its files share.
 *
 *	outgoing	what we hand over: the tree and the root FDT that the next kernel will read
 *	incoming	what the previous kernel handed over
 *	scratch		where nothing that is handed over lies, and the next kernel starts
 *	stamp		in the struct page at the start of each incoming block, until it is restored
 */
#ifndef LINUX_KEXEC_HANDOVER_INTERNAL_H
#define LINUX_KEXEC_HANDOVER_INTERNAL_H

#include <linux/init.h>
#include <linux/kexec_handover.h>
#include <linux/mm_types.h>
#include <linux/types.h>

#include <kho/core/block_types.h>
#include <kho/core/radix.h>
#include <kho/core/report.h>
#include <kho/core/root.h>

/* ---- kexec_handover.c ---------------------------------------------------- */

/**
 * enum kho_state - what came of the handover to this kernel
 * @KHO_COLD: there was none
 * @KHO_OFFERED: there is one, and what can be checked in kho_populate() is sound
 * @KHO_REVIVED: all of it is sound, and what it preserves is ours
 * @KHO_REFUSED_EARLY: kho_populate() refused it; scratch is made anew
 * @KHO_REFUSED_LATE: the tree or a payload was refused; its scratch is kept
 *
 * Changes before the first initcall, by one CPU.
 */
enum kho_state {
	KHO_COLD,
	KHO_OFFERED,
	KHO_REVIVED,
	KHO_REFUSED_EARLY,
	KHO_REFUSED_LATE,
};

extern enum kho_state kho_state;
const char *kho_state_text(void);
void kho_disable(void);
int kho_errno(int err);

/* ---- kho_image.c --------------------------------------------------------- */

/* Memory as we write it, and as we read what stamps say is there. */
extern struct khoc_mem kho_mem_out;
extern struct khoc_mem kho_mem_in;
/* The outgoing tree. Its functions take no lock and may run at the same time. */
extern struct khoc_radix kho_tree;

int kho_image_init(void);

/* ---- kho_page.c ---------------------------------------------------------- */

void kho_stamp_run(const struct khoc_run *run);
void kho_stamp_type(phys_addr_t phys, unsigned int order, unsigned int type);
void kho_stamps_have_types(void);
bool kho_is_stamped(phys_addr_t phys, size_t size);
int kho_claimable_order(phys_addr_t phys, unsigned int type);
bool kho_can_claim(phys_addr_t phys, unsigned int order, unsigned int type);
struct page *kho_claim(phys_addr_t phys, unsigned long nr_pages, unsigned int type);

/* ---- kho_types.c --------------------------------------------------------- */

int kho_mark(phys_addr_t phys, unsigned int order, unsigned int type,
	     struct khoc_radix_reserve *reserve);
void kho_unmark(phys_addr_t phys, unsigned int order, unsigned int type);
int kho_mark_run(phys_addr_t phys, u64 nr, unsigned int order, unsigned int type);
void kho_unmark_run(phys_addr_t phys, u64 nr, unsigned int order, unsigned int type);
int kho_mark_reserve(struct khoc_radix_reserve *reserve);
void kho_mark_drain(struct khoc_radix_reserve *reserve);
int kho_types_init(void);

/* ---- kho_memfd.c --------------------------------------------------------- */

#ifdef CONFIG_LIVEUPDATE_MEMFD
bool kho_memfd_in_use(void);
#else
static inline bool kho_memfd_in_use(void)
{
	return false;
}
#endif

/* ---- kho_slab.c ---------------------------------------------------------- */

int kho_slab_init(void);

/* ---- kho_root.c ---------------------------------------------------------- */

int kho_root_init(void);
phys_addr_t kho_root_phys(void);
int kho_root_with(int (*fn)(const void *fdt, void *ctx), void *ctx);

/* ---- kho_scratch.c ------------------------------------------------------- */

extern struct kho_scratch *kho_scratch;
extern unsigned int kho_scratch_cnt;

int kho_scratch_reserve(void);
void kho_scratch_release(void);

/* ---- kho_boot.c ---------------------------------------------------------- */

const void *kho_in_fdt(void);
const struct khoc_report *kho_refusal(void);

/* ---- kho_verify.c -------------------------------------------------------- */

/**
 * struct kho_verify - a handover to be checked
 * @mem: the image; its map must take any address, and refuse what is not RAM or lies in scratch
 * @trusted: the same, for the tree when each of its nodes has been looked at; its map need not be
 *	as careful
 * @fdt: the root FDT, a page, that passed khoc_root_check()
 * @fdt_phys: its address
 * @is_ram: may this be preserved? Called by ascending address; reports what is wrong, with the
 *	first address at fault as value
 * @alloc: zeroed memory, or NULL; all of it is given back to @free before kho_verify() returns
 * @ctx: passed to both
 * @tree: filled in
 * @types: if not NULL, filled in; without a tree if nothing is said of types
 * @typed: filled in: something is
 * @seen: while memory files are looked at: pages of their arrays
 * @report: filled in
 */
struct kho_verify {
	const struct khoc_mem *mem;
	const struct khoc_mem *trusted;
	const void *fdt;
	phys_addr_t fdt_phys;
	int (*is_ram)(struct kho_verify *verify, phys_addr_t phys, u64 size);
	void *(*alloc)(struct kho_verify *verify, size_t size);
	void (*free)(struct kho_verify *verify, void *mem, size_t size);
	void *ctx;
	struct khoc_radix tree;
	struct khoc_types *types;
	bool typed;
	u64 *seen;
	struct khoc_report report;
};

int kho_verify(struct kho_verify *verify);
int kho_verify_payloads(struct kho_verify *verify);
bool kho_verify_covered(const struct khoc_radix *tree, phys_addr_t phys, u64 size);
int kho_verify_fault(struct kho_verify *verify, int fault, int structure, u64 addr, u64 value,
		     u64 limit, const char *field);

/* As many orders as a block can have. */
#define KHO_NR_ORDERS (64 - PAGE_SHIFT)

/**
 * struct kho_merge - the runs of all orders by ascending address
 * @iter: a walk for each order
 * @head: the next run of each
 * @order: those orders that have one
 * @nr: how many that are
 * @error: why it ended, if not at the end
 */
struct kho_merge {
	struct khoc_radix_iter iter[KHO_NR_ORDERS];
	struct khoc_run head[KHO_NR_ORDERS];
	u8 order[KHO_NR_ORDERS];
	unsigned int nr;
	int error;
};

void kho_merge_init(struct kho_merge *merge, const struct khoc_radix *tree);
bool kho_merge_next(struct kho_merge *merge, struct khoc_run *run);

static inline u64 kho_run_size(const struct khoc_run *run)
{
	return run->nr << (PAGE_SHIFT + run->order);
}

/* ---- kho_compat.c -------------------------------------------------------- */

extern const char kho_formats[], kho_formats_end[]; /* our list, in kho_formats.S */
extern const char kho_compat_writes[];
int kho_compat_init(void);
int kho_compat_check_image(const void *image, size_t size);
int kho_compat_check_root(const void *fdt, phys_addr_t fdt_phys, struct khoc_report *report);

/* ---- kexec_handover_debugfs.c, kexec_handover_debug.c -------------------- */

#ifdef CONFIG_KEXEC_HANDOVER_DEBUGFS
int kho_debugfs_init(void);
void kho_debugfs_blob_add(const char *name, const void *blob, size_t size);
void kho_debugfs_blob_remove(const void *blob);
#else
static inline int kho_debugfs_init(void)
{
	return 0;
}

static inline void kho_debugfs_blob_add(const char *name, const void *blob, size_t size)
{
}

static inline void kho_debugfs_blob_remove(const void *blob)
{
}
#endif

#ifdef CONFIG_KEXEC_HANDOVER_DEBUG
bool kho_scratch_overlap(phys_addr_t phys, size_t size);
#else
static inline bool kho_scratch_overlap(phys_addr_t phys, size_t size)
{
	return false;
}
#endif

#endif /* LINUX_KEXEC_HANDOVER_INTERNAL_H */
