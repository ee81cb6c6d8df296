/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What the files of linux/overlay/kernel/liveupdate that do not touch the hardware need of a kernel, for
 * a process: memory is one file, a struct page for each page of it, there is one task, and locks are
 * nothing. memory.c has the allocators. Whatever <linux/NAME.h> those files include is this file.
 */
#ifndef TESTS_GLUE_KERNEL_H
#define TESTS_GLUE_KERNEL_H

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/types.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef u64 phys_addr_t;
typedef unsigned int gfp_t;

#define CONFIG_KEXEC_HANDOVER 1
#define CONFIG_LIVEUPDATE_MEMFD 1
#define PAGE_SHIFT 12
#define PAGE_SIZE 4096UL
#define PAGE_MASK (~(PAGE_SIZE - 1))
#define MAX_PAGE_ORDER 10
#define MAX_PHYSMEM_BITS 46
#define U64_MAX (~0ULL)

#define __init
#define __ro_after_init
#define noinline __attribute__((noinline))
#define EXPORT_SYMBOL_GPL(symbol) _Static_assert(sizeof(symbol), #symbol)
#define static_assert(condition) _Static_assert(condition, #condition)
#define BUILD_BUG_ON(condition) _Static_assert(!(condition), #condition)

#define READ_ONCE(x) (*(volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, value) (*(volatile __typeof__(x) *)&(x) = (value))
#define smp_store_release(p, value) __atomic_store_n(p, value, __ATOMIC_RELEASE)
#define cmpxchg(p, old, new) __sync_val_compare_and_swap(p, old, new)

#define BITS_TO_LONGS(n) (((n) + 63) / 64)
#define DECLARE_BITMAP(name, bits) unsigned long name[(bits) / 64]
#define DIV_ROUND_UP(a, b) (((a) + (b)-1) / (b))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define min(a, b) ((a) < (b) ? (a) : (b))
#define max(a, b) ((a) > (b) ? (a) : (b))
#define IS_ALIGNED(x, a) (((x) & ((__typeof__(x))(a)-1)) == 0)
#define PAGE_ALIGNED(x) IS_ALIGNED((u64)(x), PAGE_SIZE)
#define PAGE_ALIGN_DOWN(x) ((x)&PAGE_MASK)
#define offset_in_page(x) ((u64)(x) & ~PAGE_MASK)
#define PFN_PHYS(pfn) ((phys_addr_t)(pfn) << PAGE_SHIFT)
#define PHYS_PFN(phys) ((unsigned long)((phys) >> PAGE_SHIFT))
#define ilog2(x) (63 - __builtin_clzll(x))
#define const_ilog2(x) ilog2(x)
#define __ffs(x) __builtin_ctzll(x)
#define is_power_of_2(x) (__builtin_popcountll(x) == 1)
#define array_size(a, b) ((a) * (b))

#define test_bit(nr, words) ((words)[(nr) / 64] >> ((nr) % 64) & 1)
#define __set_bit(nr, words) ((words)[(nr) / 64] |= 1UL << ((nr) % 64))
#define __clear_bit(nr, words) ((words)[(nr) / 64] &= ~(1UL << ((nr) % 64)))
#define for_each_set_bit(bit, words, nr)                                                           \
	for ((bit) = 0; (bit) < (nr); (bit)++)                                                     \
		if (test_bit(bit, words))

#define IS_ERR(p) ((unsigned long)(p) >= -4095UL)
#define PTR_ERR(p) ((long)(p))
#define ERR_PTR(err) ((void *)(long)(err))

/* ---- the log: only what a test calls a fault is of interest ---------------- */

__attribute__((format(printf, 1, 2))) static inline void glue_no_log(const char *format, ...)
{
}

#define pr_info glue_no_log
#define pr_warn glue_no_log
#define pr_err printf
#define pr_warn_ratelimited glue_no_log

#define WARN_ON_ONCE(condition) glue_warn(condition, __FILE__, __LINE__, #condition)
bool glue_warn(bool condition, const char *file, int line, const char *text);

/* ---- locks: nobody else is there; but what sleeps must be allowed to ------- */

extern int glue_no_sleep;

struct mutex {
	int unused;
};
struct rw_semaphore {
	int unused;
};
typedef int spinlock_t;

#define __MUTEX_INITIALIZER(name)                                                                  \
	{                                                                                          \
		0                                                                                  \
	}
#define DEFINE_MUTEX(name) struct mutex name
#define DEFINE_SPINLOCK(name) spinlock_t name
#define guard(kind) glue_guard
#define scoped_guard(kind, lock) if (1)
#define lockdep_assert_held(lock)
#define init_rwsem(lock)
#define spin_lock_init(lock)
#define spin_lock_irqsave(lock, flags) ((void)(lock), (flags) = 0, glue_no_sleep++)
#define spin_unlock_irqrestore(lock, flags) ((void)(flags), glue_no_sleep--)
#define cond_resched()

static inline void glue_guard(void *lock)
{
}

struct work_struct {
	void (*fn)(struct work_struct *work);
};
extern struct work_struct *glue_queued;
#define DECLARE_WORK(name, function) struct work_struct name = {function}
#define schedule_work(work) (glue_queued = (work))

struct task_struct;
#define current ((struct task_struct *)1)
struct notifier_block {
	int (*notifier_call)(struct notifier_block *nb, unsigned long action, void *data);
	int priority;
};
#define NOTIFY_DONE 0
#define register_reboot_notifier(nb) ((void)(nb), 0)

typedef int atomic_t;
#define ATOMIC_INIT(value) (value)
#define atomic_read(p) (*(p))
#define atomic_inc(p) ((*(p))++)
#define atomic_dec(p) ((*(p))--)

/* ---- lists ------------------------------------------------------------------ */

struct list_head {
	struct list_head *next, *prev;
};

#define LIST_HEAD_INIT(name)                                                                       \
	{                                                                                          \
		&(name), &(name)                                                                   \
	}
#define glue_entry(at, type, member) ((type *)((char *)(at)-offsetof(type, member)))
#define list_for_each_entry(pos, head, member)                                                     \
	for (pos = glue_entry((head)->next, __typeof__(*pos), member); &pos->member != (head);     \
	     pos = glue_entry(pos->member.next, __typeof__(*pos), member))
#define list_first_entry_or_null(head, type, member)                                               \
	(list_empty(head) ? NULL : glue_entry((head)->next, type, member))

static inline void INIT_LIST_HEAD(struct list_head *head)
{
	head->next = head->prev = head;
}

static inline bool list_empty(const struct list_head *head)
{
	return head->next == head;
}

static inline void list_add(struct list_head *entry, struct list_head *head)
{
	*entry = (struct list_head){head->next, head};
	head->next->prev = entry;
	head->next = entry;
}

static inline void list_add_tail(struct list_head *entry, struct list_head *head)
{
	list_add(entry, head->prev);
}

static inline void list_del(struct list_head *entry)
{
	entry->prev->next = entry->next;
	entry->next->prev = entry->prev;
}

static inline void list_move(struct list_head *entry, struct list_head *head)
{
	list_del(entry);
	list_add(entry, head);
}

/* Indices are small. */
struct glue_xarray {
	void *entry[1 << 13];
};
#define DEFINE_XARRAY(name) struct glue_xarray name
#define xa_load(xa, index) ((index) < 1 << 13 ? (xa)->entry[index] : NULL)
#define xa_store(xa, index, value, gfp) ((xa)->entry[index] = (value))
#define xa_erase(xa, index) ((xa)->entry[index] = NULL)
#define xa_err(entry) ((void)(entry), 0)

/* ---- memory --------------------------------------------------------------------- */

#define GFP_KERNEL 1U /* may sleep */
#define GFP_ATOMIC 2U
#define __GFP_ZERO 16U
#define gfpflags_allow_blocking(gfp) ((gfp)&GFP_KERNEL)

/*
 * @count: references; @order, @large: of a folio, and of one that kmalloc() gave; @taken: not free; the
 * others: of a folio in a file
 */
struct page {
	unsigned long private;
	int count;
	unsigned int order;
	bool large;
	bool taken;
	bool uptodate;
	bool dirty;
	bool locked;
	int pins;
	u64 index;
};

struct folio {
	union {
		struct page page;
		struct {
			char glue_before[offsetof(struct page, index)];
			u64 index;
		};
	};
};

static_assert(sizeof(struct folio) == sizeof(struct page));

extern struct page *glue_pages;
extern char *glue_ram;
extern unsigned long glue_counted;
/* Calls of alloc_pages() until it finds none; negative: it always does, if there are any. */
extern long glue_pages_left;
#define GLUE_PAGES (1UL << 16)
/* Map a file as all the memory that there is. */
void glue_memory(int fd);

#define pfn_to_page(pfn) (glue_pages + (pfn))
#define page_to_pfn(page) ((unsigned long)((page)-glue_pages))
#define phys_to_page(phys) pfn_to_page(PHYS_PFN(phys))
#define page_to_phys(page) PFN_PHYS(page_to_pfn(page))
#define phys_to_virt(phys) ((void *)(glue_ram + (phys)))
#define virt_to_phys(p) ((u64)((char *)(p)-glue_ram))
#define virt_to_page(p) phys_to_page(virt_to_phys(p))
#define page_address(page) phys_to_virt(page_to_phys(page))
#define pfn_to_online_page(pfn) ((pfn) < GLUE_PAGES ? pfn_to_page(pfn) : NULL)
#define pfn_valid(pfn) ((pfn) < GLUE_PAGES)
#define page_to_nid(page) 0
#define pfn_to_nid(pfn) 0
#define numa_node_id() 0
#define PageReserved(page) 1

#define page_folio(page) ((struct folio *)(page))
#define folio_page(folio, nr) (&(folio)->page + (nr))
#define folio_pfn(folio) page_to_pfn(&(folio)->page)
#define folio_order(folio) ((folio)->page.order)
#define folio_nr_pages(folio) (1L << folio_order(folio))
#define folio_size(folio) (PAGE_SIZE << folio_order(folio))
#define folio_address(folio) page_address(&(folio)->page)
#define folio_ref_count(folio) ((folio)->page.count)
#define virt_to_folio(p) page_folio(virt_to_page(p))
#define compound_order(page) ((page)->order)
#define prep_compound_page(page, nr) ((page)->order = (nr))
#define folio_test_large_kmalloc(folio) ((folio)->page.large)
#define __folio_set_large_kmalloc(folio) ((folio)->page.large = true)
#define page_count(page) ((page)->count)
#define set_page_count(page, nr) ((page)->count = (nr))
#define set_page_private(page, value) ((page)->private = (value))
#define clear_page_tag_ref(page)
#define adjust_managed_page_count(page, nr) (glue_counted += (nr))
#define totalram_pages() glue_counted
#define mod_lruvec_page_state(page, item, nr)
#define kmemleak_alloc(p, size, nr, gfp)

struct page *alloc_pages(gfp_t gfp, unsigned int order);
void __free_pages(struct page *page, unsigned int order);
void split_page(struct page *page, unsigned int order);
#define alloc_page(gfp) alloc_pages(gfp, 0)
#define alloc_contig_pages(nr, gfp, node, mask) alloc_pages(gfp, ilog2(nr))
#define __free_page(page) __free_pages(page, 0)
unsigned long get_zeroed_page(gfp_t gfp);
#define __get_free_page(gfp) get_zeroed_page(gfp)
#define free_page(addr) __free_page(virt_to_page(addr))
struct folio *folio_alloc(gfp_t gfp, unsigned int order);
void folio_put(struct folio *folio);
unsigned int get_order(size_t size);

void *glue_calloc(size_t nr, size_t size, gfp_t gfp);
#define kzalloc(size, gfp) glue_calloc(1, size, gfp)
#define kcalloc(nr, size, gfp) glue_calloc(nr, size, gfp)
#define kzalloc_obj(object) glue_calloc(1, sizeof(object), GFP_KERNEL)
#define kvmalloc_array(nr, size, gfp) glue_calloc(nr, size, gfp)
#define struct_size(p, member, nr) (sizeof(*(p)) + (nr) * sizeof((p)->member[0]))
#define vzalloc(size) glue_calloc(1, size, GFP_KERNEL)
#define kvfree(p) kfree(p)
void *__kmalloc_large_noprof(size_t size, gfp_t gfp);
void kfree(const void *p);
size_t ksize(const void *p);
void *memchr_inv(const void *p, int c, size_t size);

/* ---- memory files (files.c) ------------------------------------------------------ */

typedef unsigned long pgoff_t;

/* A place for each folio that a test's file can have. @index: of the file, ascending; the last is NULL */
struct glue_place {
	u64 index;
	struct folio *folio;
};

struct address_space {
	struct glue_place i_pages[64];
};

struct inode {
	struct address_space *i_mapping;
	unsigned int i_nlink;
	u64 size;
	long blocks; /* accounted for */
	long alloced; /* told to shmem_recalc_inode() */
	bool frozen;
	bool locked;
};

struct file {
	struct address_space *f_mapping;
	struct inode *inode;
	loff_t f_pos;
	unsigned int seals;
};

#define MFD_ALLOW_SEALING 2U
#define F_SEAL_SEAL 0x01
#define F_SEAL_SHRINK 0x02
#define F_SEAL_GROW 0x04
#define F_SEAL_WRITE 0x08
#define F_SEAL_FUTURE_WRITE 0x10
#define F_SEAL_EXEC 0x20
#define MAX_LFS_FILESIZE LLONG_MAX
#define XA_PRESENT 0
#define THIS_MODULE NULL
#define IS_ENABLED(option) 0
#define early_param(name, function) int (*glue_param_##function)(char *) = function
#define device_initcall_sync(function) int (*glue_initcall)(void) = function
#define pfn_folio(pfn) page_folio(pfn_to_page(pfn))

#define file_inode(file) ((file)->inode)
#define i_size_read(inode) ((inode)->size)
#define i_size_write(inode, bytes) ((inode)->size = (bytes))
#define inode_lock(inode) ((inode)->locked = true)
#define inode_unlock(inode) ((inode)->locked = false)
#define shmem_freeze(inode, freeze) ((inode)->frozen = (freeze))
#define shmem_file(file) true
#define vfs_setpos(file, pos, max) ((file)->f_pos = (pos))
#define memfd_get_seals(file) ((int)(file)->seals)
#define memfd_add_seals(file, add) ((file)->seals |= (add), 0)
#define mapping_gfp_mask(mapping) GFP_KERNEL
#define mem_cgroup_charge(folio, mm, gfp) 0
#define folio_test_uptodate(folio) ((folio)->page.uptodate)
#define folio_mark_uptodate(folio) ((folio)->page.uptodate = true)
#define folio_mark_dirty(folio) ((folio)->page.dirty = true)
#define folio_lock(folio) ((folio)->page.locked = true)
#define folio_unlock(folio) ((folio)->page.locked = false)
#define __folio_set_locked(folio) folio_lock(folio)
#define __folio_set_swapbacked(folio)
#define folio_add_lru(folio)
#define flush_dcache_folio(folio)
#define folio_zero_range(folio, from, bytes) memset(folio_address(folio), 0, bytes)
#define folio_next_index(folio) ((folio)->index + folio_nr_pages(folio))

struct file *memfd_alloc_file(const char *name, unsigned int flags);
void fput(struct file *file);
long memfd_pin_folios(struct file *file, loff_t start, loff_t end, struct folio **folios,
		      unsigned int max, pgoff_t *offset);
void unpin_folio(struct folio *folio);
int shmem_add_to_page_cache(struct folio *folio, struct address_space *mapping, u64 index,
			    void *expected, gfp_t gfp);
void filemap_remove_folio(struct folio *folio);
int shmem_inode_acct_blocks(struct inode *inode, long pages);
bool shmem_recalc_inode(struct inode *inode, long alloced, long swapped);
void *xa_find(struct glue_place (*pages)[64], unsigned long *index, unsigned long last, int mark);

#define LIVEUPDATE_HNDL_COMPAT_LENGTH 48
struct liveupdate_file_handler {
	const struct liveupdate_file_ops *ops;
	const char compatible[LIVEUPDATE_HNDL_COMPAT_LENGTH];
};
struct liveupdate_file_op_args {
	struct liveupdate_file_handler *handler;
	int retrieve_status;
	struct file *file;
	u64 serialized_data;
	void *private_data;
};
struct liveupdate_file_ops {
	bool (*can_preserve)(struct liveupdate_file_handler *handler, struct file *file);
	int (*preserve)(struct liveupdate_file_op_args *args);
	void (*unpreserve)(struct liveupdate_file_op_args *args);
	int (*freeze)(struct liveupdate_file_op_args *args);
	int (*retrieve)(struct liveupdate_file_op_args *args);
	void (*finish)(struct liveupdate_file_op_args *args);
	unsigned long (*get_id)(struct file *file);
	void *owner;
};
int liveupdate_register_file_handler(struct liveupdate_file_handler *handler);

/* ---- areas of vmalloc() ---------------------------------------------------------- */

struct vm_struct {
	unsigned long flags;
	void *addr;
	struct page **pages;
	unsigned int nr_pages;
	unsigned long size;
};

#define VM_ALLOC 2
#define VM_ALLOW_HUGE_VMAP 0x400
#define VMALLOC_START 0
#define VMALLOC_END 0
#define NUMA_NO_NODE -1
#define PAGE_KERNEL 0
#define get_vm_area_page_order(vm) 0U
#define kasan_unpoison_vmalloc(addr, size, flags) (addr)
#define free_vm_area(vm)

void *vmalloc(size_t size);
void vfree(const void *p);
struct page *vmalloc_to_page(const void *p);
struct vm_struct *find_vm_area(const void *p);
struct vm_struct *glue_vm_area(size_t size, unsigned long flags);
int vmap_pages_range(unsigned long addr, unsigned long end, int prot, struct page **pages,
		     unsigned int shift);
#define __get_vm_area_node(size, align, shift, flags, start, end, node, gfp, caller)               \
	glue_vm_area(size, flags)

#endif
