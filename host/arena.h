/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Private to the process host: the arena, and which file offers what to the others.
 *
 *	arena_file.c	memfd and header, made and checked
 *	arena.c		mapping, attach, the header's words; the one open arena
 *	image.c		the arena as the core sees it
 *	node.c		pages for tree nodes
 *	prefault.c	what a successor touches before it is needed
 *	hbitmap.c	bitmaps that find their lowest set bit
 *	page.c		free pages: a buddy allocator, discovery section by section, growth
 *	preserve.c	blocks in the tree and their descriptors; folios, runs, restore
 *	unclaimed.c	blocks that came in and were not restored
 *	vmalloc.c	scattered pages at one contiguous address
 *	block.c		block sets
 *	slab.c, cache.c, large.c, heap.c, publish.c	the heap and its named caches
 *	subtree.c	the root FDT, subtrees, named roots
 *	array.c		sparse arrays
 *	session*.c, handlers*.c, hash.c	sessions of files: see sessions.h
 *	owner.c		the lock, its keeper thread's robust list, PF_EXITING
 *	fdtable.c	preserved fds
 *	quiesce.c	workers
 *	predecessor.c, inplace.c, successor.c, keeper.c, formats.c, environ.c, message.c
 *	life.c		kho_start() and its kin
 */
#ifndef KHO_HOST_ARENA_H
#define KHO_HOST_ARENA_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <kho/abi/arena.h>
#include <kho/host.h>
#include <kho/kho.h>

#define KHO_PAGE_SHIFT KHO_ABI_ARENA_PAGE_SHIFT
#define KHO_PAGE_SIZE ((size_t)KHO_ABI_ARENA_PAGE_SIZE)
#define KHO_SECTION_SIZE (1ULL << 27) /* what one order-0 leaf covers: the unit of discovery */
#define KHO_ARENA_BASE 0x550000000000ULL

/**
 * struct kho_arena - the open arena
 * @fd: the memfd
 * @base: address of pa 0, as in the header
 * @size: bytes mapped: max_size
 * @file_size: current size of the file; only through kho_file_size_()
 * @writer: this process owns it and may write
 * @mapped: there is an arena
 * @header: our own copy of what never changes, made when it was checked
 * @words: page 0 itself, for the checked words
 * @owner: page 1
 */
struct kho_arena {
	int fd;
	char *base;
	__u64 size;
	__u64 file_size;
	bool writer;
	bool mapped;
	const struct kho_abi_arena_header *header;
	struct kho_abi_arena_header *words;
	struct kho_abi_owner *owner;
	struct khoc_mem mem;
	struct khoc_radix tree;
};

extern struct kho_arena kho_arena_ __attribute__((visibility("hidden")));

/* The file grows in one thread while others hold addresses against its size. */
static inline __u64 kho_file_size_(void)
{
	return __atomic_load_n(&kho_arena_.file_size, __ATOMIC_RELAXED);
}

static inline void kho_set_file_size_(__u64 size)
{
	__atomic_store_n(&kho_arena_.file_size, size, __ATOMIC_RELAXED);
}

/* ---- image.c ---- */

extern const struct khoc_mem_ops kho_mem_ops_;

/* ---- arena_file.c ---- */

/* Make a sealed memfd without a name in any file system. Return: the fd or -errno. */
int kho_arena_create_(const char *name);

/* Write header, empty tree and root FDT into an empty file of @fd. Return: 0 or negative. */
int kho_arena_format_(int fd, __u64 max_size);

/*
 * Make the file longer. Beyond RLIMIT_FSIZE there would be a SIGXFSZ: a full arena is no death. Any thread.
 * Return: 0; -EFBIG, -ENOMEM.
 */
int kho_arena_lengthen_(int fd, __u64 size);

/* Is the file still empty (never formatted)? Return: 1, 0, or -errno. */
int kho_arena_is_empty_(int fd);

/* Is @fd's file an arena of ours? What its header says that never changes, and its size. Return: 0 or a fault. */
int kho_arena_check_file_(int fd, struct kho_abi_arena_header *header, __u64 *size);

/* ---- arena.c ---- */

/**
 * kho_arena_map_() - check @fd, map it at its base and validate everything in it
 * @writable: false: mapped read-only, for rehearsal by a successor; kho_arena_own_() makes it writable
 *
 * @fd is owned by the arena afterwards. Return: 0 or negative; kho_error() says more.
 */
int kho_arena_map_(int fd, bool writable);

/**
 * kho_arena_own_() - become the writer: O(1) checks again, redo or undo intents, set up allocators
 * @expect_generation: the header must say this
 *
 * The lock must be held (owner.c). Raises nothing: kho_arena_set_generation_() does.
 */
int kho_arena_own_(void);

/* Mapped, and the owner died since: everything is checked, as at the start. Return: 0 or a fault. */
int kho_arena_check_again_(void);

/* Drop all private state (allocators, thread caches, claims) so that kho_arena_own_() can be called again. Workers are parked. */
void kho_arena_disown_(void);

/* Unmap and forget. Closes the fd. */
void kho_arena_unmap_(void);

/* Header words. */
__u64 kho_arena_generation_(void);
int kho_arena_set_generation_(__u64 generation);
__u64 kho_arena_state_(void);
void kho_arena_set_state_(__u64 state);

/* Rewrite "kexec-metadata": @release handed over, @count times so far. Part of the next root publication. */
int kho_arena_set_metadata_(const char *release, unsigned int count);

/* Pre-fault what the tree says is there, skipping holes; idle priority; stops when *@stop. */
void kho_arena_prefault_(const volatile bool *stop);
/* Of a program that is about to exit: the page tables, in pieces. */
void kho_arena_unfault_(void);

/* Touch the data and zeros of the program and its libraries, up to 1 MiB of each. */
void kho_own_prefault_(void);

/* ---- error.c ---- */

/* Record an error of this thread in words and return @error. */
int kho_fail_(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Record a report. Return: -report->fault. */
int kho_fail_report_(const struct khoc_report *report);
/* The same in words, for the tool: structure, if it names one, field, address, level, value, limit. Return: @text. */
const char *kho_report_text_(const struct khoc_report *report, char *text, size_t size);

/* ---- owner.c ---- */

/**
 * kho_owner_acquire_() - take the lock for this process's keeper thread
 * @timeout_ms: 0 = try once; waits for a holder that dies, or lets go
 *
 * From any thread, after kho_owner_open_() and after the keeper called kho_owner_keep_()
 * (owner.h); the keeper must live as long as the process is the owner. A dead holder's other
 * tasks are waited for (PF_EXITING), whatever @timeout_ms is.
 *
 * Return: 0; 1 = taken from a dead holder; -EBUSY (kho_error() names it); -ETIMEDOUT.
 */
int kho_owner_acquire_(unsigned int timeout_ms);
/* Let go: anybody may take it. */
void kho_owner_release_(void);
/* Is the lock's holder alive? For another process than the owner's (supervisor): 1, 0, -errno. @owner: a mapping of page 1. */
int kho_owner_alive_(const struct kho_abi_owner *owner);

/* ---- quiesce.c ---- */
/* Ask workers to park and wait. Return: 0, -ETIMEDOUT (they go on). */
int kho_quiesce_freeze_(unsigned int timeout_ms);
/* Let them go on; kho_unblocked() returns @why. */
void kho_quiesce_thaw_(int why);
/* Count of workers, for status. */
unsigned int kho_quiesce_workers_(void);

/* ---- fdtable.c ---- */
struct kho_fd_entry {
	__u64 token;
	int fd;
	unsigned int change; /* counts up with every change of the table: what is new since … */
};
/* Called once; sets the table's lock up. Others: see fdtable.h, private to the hand-over. */

/* May the caller write? Return: true, or false with errno EPERM / EOWNERDEAD and kho_error(). */
bool kho_may_write_(void);
/* The same as a result. Return: 0, -EPERM, -EOWNERDEAD. */
int kho_writer_error_(void);
/* May the caller read the arena? Return: 0; -EOWNERDEAD in a child of fork(); -ENODEV without an arena. */
int kho_reader_error_(void);

#endif
