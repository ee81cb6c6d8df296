/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The process host: memory and files that outlive the program.
 *
 *	static const struct kho_format formats[] = {
 *		{ .name = "mycache", .reads_min = 1, .reads_max = 1, .writes = 1 } };
 *	struct kho_config config = KHO_CONFIG_INIT;
 *
 *	config.name = "mycache";
 *	config.release = "1.4";
 *	config.formats = formats;
 *	config.nr_formats = 1;
 *	how = kho_start(&config);		// fresh, after a crash, or as a successor
 *	slot = kho_root("table", "mycache-table", 1);
 *	if (!*slot)				// first time
 *		kho_publish(slot, new_table(), NULL);
 *	... open listening sockets, or kho_fd_get() them ...
 *	kho_ready();				// a successor waits here for the grant
 *	... serve; kho_healthy() once it works ...
 *
 * Named caches of objects of one size: <kho/slab.h>.
 *
 * One arena is open per process, mapped where it always was, so that plain pointers
 * into it stay valid in every later program.
 *
 * Errors: 0 or negative: an errno, or a fault of <kho/kho.h>; kho_error() has the last
 * one of the calling thread in words: structure, address, limit and remedy.
 *
 * Threads: every function may be called from any thread unless it says otherwise. None may
 * be called in a signal handler, or in a child of fork(): a child does not inherit the
 * arena (MADV_DONTFORK); there they return -EOWNERDEAD or NULL.
 */
#ifndef KHO_HOST_H
#define KHO_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <kho/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

/* ---- life ---------------------------------------------------------------- */

/**
 * struct kho_format - one format of the application's own that lies in the arena
 * @name: at most 31 bytes; "." and ";" are not allowed, nor a name of the library's own formats
 * @reads_min, @reads_max: versions that this program reads
 * @writes: the version that it writes; 0: none yet
 * @writes_min: the oldest version that it can write as well; 0: @writes alone
 * @flags: KHO_FORMAT_*
 *
 * A successor must read what the predecessor writes, and, until it is healthy, write
 * what the predecessor reads: kho_format_writes() says which version that is. If there is none it
 * is refused before anybody stops.
 */
struct kho_format {
	const char *name;
	__u32 reads_min;
	__u32 reads_max;
	__u32 writes;
	__u32 writes_min;
	__u32 flags;
};

/* Hints, caches: a program that does not know the format, or not in that version, does without. */
#define KHO_FORMAT_OPTIONAL 1u
/* A successor can do without writing it until it is healthy, if its predecessor does not read it. */
#define KHO_FORMAT_LATER 2u

/* Why kho_config.thaw is called. */
enum kho_thaw {
	KHO_THAW_CANCELLED = 1, /* the successor was given up before the grant: nothing changed */
	/* It had been granted and failed, or roots got older versions for it: look everything up again. */
	KHO_THAW_ROLLED_BACK = 2,
};

struct kho_migration;

/**
 * struct kho_config - what kho_start() wants to know
 * @size: sizeof(struct kho_config) as compiled; KHO_CONFIG_INIT sets it
 * @name: the program's name in status and messages; at most 31 bytes
 * @release: its version, free text; at most 31 bytes
 * @formats, @nr_formats: its own formats; may be 0
 * @arena_max: largest size of a new arena in bytes; 0 = the environment's KHO_ARENA_MAX
 *	(bytes, or with K, M, G, T), else half of the machine's memory
 * @flags: KHO_START_*
 * @ctx: passed back to the callbacks
 * @frozen: predecessor, all workers parked, before the grant: store what is private
 *	and must go along. Optional.
 * @thaw: predecessor, before the workers go on: see enum kho_thaw. After a roll-back
 *	every pointer that did not come from a root is stale and every reserved object gone;
 *	workers see it as the result of kho_unblocked(). Optional.
 * @fd: successor: a preserved fd came after READY was said (@fd >= 0), or went (@fd < 0): its
 *	token names nothing any more, but our fd of it is open until the callback returns,
 *	and closed then, not shut down. Called in the thread that waits in kho_ready(), before
 *	it returns. Optional: the fd table has it all the same.
 * @stop: asked to stop (kho stop, SIGTERM of the supervisor). Must not block; typically
 *	writes to an eventfd. Optional: without it the process gets SIGTERM.
 * @retired: predecessor, its successor is healthy: last words before _exit(0). Optional.
 *
 * @migrations, @nr_migrations: see <kho/compat.h>; may be 0
 *
 * Callbacks but @fd run in the library's keeper thread and may use the whole API but
 * kho_start(), kho_ready() and kho_close().
 */
struct kho_config {
	size_t size;
	const char *name;
	const char *release;
	const struct kho_format *formats;
	unsigned int nr_formats;
	__u64 arena_max;
	unsigned int flags;
	void *ctx;
	void (*frozen)(void *ctx);
	void (*thaw)(void *ctx, enum kho_thaw why);
	void (*fd)(void *ctx, __u64 token, int fd);
	void (*stop)(void *ctx);
	void (*retired)(void *ctx);
	const struct kho_migration *migrations;
	unsigned int nr_migrations;
};

#define KHO_CONFIG_INIT                                                                            \
	{                                                                                          \
		.size = sizeof(struct kho_config)                                                  \
	}

#define KHO_START_DUMPABLE                                                                         \
	1u /* have the arena in core dumps (they then hold the owner's lock for long) */
#define KHO_START_ALIVE 2u /* a successor calls kho_alive() from kho_ready() on */

/* What kho_start() found. */
enum kho_how {
	KHO_FRESH = 1, /* an empty arena */
	KHO_RESTARTED = 2, /* the last owner is gone: crash, kill, or an ordinary stop */
	KHO_SUCCESSOR = 3, /* the predecessor lives and waits for kho_ready() */
};

/**
 * kho_start() - get the arena: inherited from a predecessor or supervisor, or new
 * @config: copied; the strings and arrays it points to must stay
 *
 * Under kho run, or as a successor, the environment names the inherited fds (KHO_*
 * variables; removed from it here). Without them a new arena is made, which lives as long
 * as somebody holds it.
 *
 * Everything that came in is validated first. What is refused is left as it was.
 *
 * A successor may only read until kho_ready() returns: writing functions give -EPERM.
 *
 * Return: enum kho_how; -EBUSY (owned by a live process: kho_error() names it), -ENOMEM,
 * -EEXIST (called before; or the arena's address range is taken), a fault.
 */
int kho_start(const struct kho_config *config);

/**
 * kho_ready() - everything is set up
 *
 * In a successor: tells the predecessor so, waits for the grant, takes the arena over,
 * and returns; a successor that is given up does not return but exits with status 0.
 * Otherwise: tells the supervisor, if any, and returns at once.
 *
 * Return: 0; a fault if the arena cannot be taken over (the predecessor goes on: exit).
 */
int kho_ready(void);

/**
 * kho_healthy() - the successor has proven itself: the predecessor may go
 *
 * Until then it can be rolled back, at the latest when the hand-over's time-out
 * passes. If kho_migrate() was called, or old objects are left to be freed, this waits, at most a
 * second, until the predecessor has retired, and puts the new objects in force. Otherwise, and
 * without a predecessor, a no-op.
 *
 * Return: 0; -ETIMEDOUT or another error of the channel: not said, may be tried again; an error of the
 * migration: said, and the old objects are in force.
 */
int kho_healthy(void);

/**
 * kho_alive() - the server went round its loops
 *
 * With KHO_START_ALIVE a successor that hangs is rolled back when it has been silent for the
 * hand-over's alive time-out (1 s by default) instead of at the end of the much longer time that it
 * has to prove itself. Call it several times within that, from kho_ready() until kho_healthy(),
 * and only if every thread that matters has made progress since the last call. Without the flag
 * the first call begins the watch.
 *
 * Under a service manager with a watchdog (WatchdogSec=) this is what it hears; then for as long as we run.
 *
 * Return: 1: a predecessor may still take the arena back; 0: not any more, or there is none.
 */
int kho_alive(void);

/* Stop on purpose: the arena stays whole for the next start. Ends the keeper. Return: 0. */
int kho_close(void);

/* The calling thread's last error in words; "" if there was none. Valid until its next call. */
const char *kho_error(void);

/* How often the arena changed hands; 0 before the first time. */
__u64 kho_generation(void);

/* ---- workers: where threads park during a hand-over ------------------------ */

/*
 * A worker is a thread that may write to the arena or to preserved fds. It says where it
 * blocks; there it counts as parked, needs no waking, and is held when it comes out
 * while the arena belongs to somebody else.
 *
 *	kho_worker_enter();
 *	for (;;) {
 *		kho_blocking();
 *		n = epoll_wait(...);
 *		if (kho_unblocked() == KHO_THAW_ROLLED_BACK)
 *			start_over();
 *		...
 *	}
 */

/* Become a worker. Return: 0; -EALREADY; -ENOMEM. */
int kho_worker_enter(void);

/*
 * Be one no longer. What the thread's heap kept at hand goes to whichever thread needs memory next,
 * at once; otherwise that happens when the thread ends. Objects that it reserved stay reserved.
 */
void kho_worker_exit(void);

/* From here on the thread touches neither arena nor preserved fds. Must be a worker. */
void kho_blocking(void);

/**
 * kho_unblocked() - about to touch them again; waits while frozen
 *
 * Return: 0, or the enum kho_thaw of the last hand-over that failed since
 * kho_blocking(): what was read before may be stale then.
 */
int kho_unblocked(void);

/* kho_blocking(); return kho_unblocked(): for loops that never block. Costs two loads when nothing is up. */
int kho_checkpoint(void);

/* ---- heap ------------------------------------------------------------------ */

/*
 * kho_malloc() only reserves: a reserved object is gone after a crash, without a leak.
 * kho_publish() makes it live. Live objects are freed by kho_publish() too, in the step
 * that makes them unreachable. All are aligned to 16 bytes; contents are not cleared.
 */

/* Return: the object, or NULL with errno ENOMEM: the arena is full (or -EPERM, not the owner). */
void *kho_malloc(size_t size);
void *kho_calloc(size_t nmemb, size_t size);
void *kho_memalign(size_t alignment, size_t size);

/* A reserved object only: a live one would move from under its slot (EINVAL). */
void *kho_realloc(void *ptr, size_t size);

/* Free a reserved object. A live one, too, when the caller knows that nothing reaches it. NULL is ignored. */
void kho_free(void *ptr);

/* Bytes that may be used, at least what was asked for. 0 for NULL. */
size_t kho_usable_size(const void *ptr);

/**
 * kho_publish() - store @new_object to @slot and free @old, as one step to any crash
 * @slot: 8-byte word in the arena, inside a live object or a root's cell
 * @new_object: the value to store: NULL; a reserved object, which becomes live; or the start
 *	of an object that is live already (to unlink @old: its successor)
 * @old: a live object that this makes unreachable: it is freed; or NULL
 *
 * Insert, replace and delete are this one call. Whatever instant the process dies
 * at, the next one finds either the old state or the new, with nothing leaked. The store is
 * a release: what was written to @new_object before is seen by whoever reads @slot.
 *
 * The caller serialises each slot.
 *
 * Return: 0; -EINVAL (@slot not in the arena or not aligned, an object that is not one);
 * -ENOMEM (a large object's first publication needs a tree node: nothing changed).
 */
int kho_publish(void **slot, void *new_object, void *old);

/**
 * kho_publish_tagged() - the same, for a word that is not a plain pointer
 * @value: what is stored; never equal to what @slot holds unless both objects are NULL
 * @new_object: reserved object that becomes live, or NULL
 */
int kho_publish_tagged(__u64 *slot, __u64 value, void *new_object, void *old);

/**
 * kho_exchange() - as kho_publish(), but @old becomes reserved instead of free
 *
 * For readers that may still use @old: kho_free() it after the last of them.
 */
int kho_exchange(void **slot, void *new_object, void *old);

struct kho_heap_stats {
	__u64 arena_max; /* bytes, the limit */
	__u64 arena_size; /* bytes, the file's size */
	__u64 arena_used; /* bytes of pages handed out or preserved, as far as discovered */
	__u64 live_objects; /* counted by a full scan: slow */
	__u64 live_bytes; /* their usable sizes; slow as well */
};

/* @scan: count live objects too: O(arena). */
int kho_heap_stats(struct kho_heap_stats *stats, bool scan);

/* ---- roots ------------------------------------------------------------------ */

/**
 * kho_root() - the slot of a named root, made if it is not there
 * @name: up to 63 letters, digits and ",._+-"; not "kho," in front
 * @type: what its object is; at most 39 bytes
 * @version: of that type
 *
 * Return: the slot, in the arena, for kho_publish(); NULL with errno: ENOENT (a
 * successor before the grant does not make roots), EPROTOTYPE (there with another type or
 * version), ENOSPC, EINVAL.
 */
void **kho_root(const char *name, const char *type, __u32 version);

/* Take a root away. Its slot must be NULL (EBUSY). Return: 0, -ENOENT. */
int kho_root_remove(const char *name);

/* ---- subtrees, as in Linux --------------------------------------------------- */

/* Register @size bytes at @blob, which the caller preserves, under @name. Return: 0, -EEXIST, -ENOSPC, -EINVAL. */
int kho_add_subtree(const char *name, void *blob, size_t size);

/* Take it away by its blob. Unknown blobs are ignored, as in Linux. */
void kho_remove_subtree(void *blob);

/* Find one. @phys and @size may be NULL. Return: 0, -ENOENT. */
int kho_retrieve_subtree(const char *name, kho_pa_t *phys, size_t *size);

/*
 * Who handed over to us, and how often that has happened to this arena; as it was when
 * kho_start() attached it. An arena that came from nobody: "" and 0. Crashes and restarts count, too: the
 * program that ended is the one that handed over.
 * @release: 65 bytes. Return: 0, -ENODEV, -KHO_E_VERSION, -KHO_E_FORMAT (a release that does not end).
 */
int kho_metadata(char *release, unsigned int *count);

/* ---- pages, as in Linux ------------------------------------------------------- */

/* Opaque: a folio's or page's address is the address of its memory. */
struct folio;
struct page;

kho_pa_t kho_virt_to_phys(const void *ptr);
void *kho_phys_to_virt(kho_pa_t pa);

/* 2^order pages, aligned to their size, not cleared. NULL when the arena is full. */
struct folio *kho_folio_alloc(unsigned int order);
/* Give one back; unpreserves it first if it is preserved. */
void kho_folio_put(struct folio *folio);
void *kho_folio_address(struct folio *folio);

/* Return: 0, -EINVAL (not a folio's start), -ENOMEM. */
int kho_preserve_folio(struct folio *folio);
void kho_unpreserve_folio(struct folio *folio);
/* One-shot for each generation: NULL with errno EINVAL and kho_error() for never preserved, another type, twice. */
struct folio *kho_restore_folio(kho_pa_t phys);

/**
 * kho_alloc_preserve() - zeroed memory that is preserved from the start
 * @size: rounded up to 2^order pages; at most 4 MiB
 *
 * A folio, by its address: a successor uses kho_restore_folio(), or reads it in place.
 *
 * Return: its address; NULL with errno EINVAL (@size 0), E2BIG, ENOMEM, EPERM, EOWNERDEAD.
 */
void *kho_alloc_preserve(size_t size);
/* Free memory of kho_alloc_preserve() in the program that made it, or that restored it. NULL is ignored. */
void kho_unpreserve_free(void *mem);
/* The same in a later program, which restored it by no other call. kho_error() says if that was not so. */
void kho_restore_free(void *mem);

/* @nr neighbouring pages; freed in one go or page by page. */
struct page *kho_alloc_pages(size_t nr);
void kho_free_pages(struct page *page, size_t nr);
void *kho_page_address(struct page *page);
/* Return: 0; -EINVAL (not handed out as pages here); -EBUSY (shares pages with another preserved range); -ENOMEM. */
int kho_preserve_pages(struct page *page, size_t nr);
void kho_unpreserve_pages(struct page *page, size_t nr);
struct page *kho_restore_pages(kho_pa_t phys, size_t nr);

/**
 * kho_for_each_unclaimed() - memory that came in and that nobody restored yet
 * @fn: called for each block of 2^@order pages; @what is "folio", "pages" (a range of
 *	kho_preserve_pages() may be several blocks), "vmalloc part" or "vmalloc chunk" (the
 *	pages of an area of <kho/vmalloc.h>, and of its list). Another result than 0 stops. It may not
 *	call kho_release_unclaimed().
 *
 * Not among them: the heap's memory, and blocks in which a subtree's blob lies. After a
 * roll-back nothing counts as restored. O(what is preserved).
 *
 * Return: 0; what @fn returned; -EPERM, -EOWNERDEAD: not the owner.
 */
int kho_for_each_unclaimed(int (*fn)(void *ctx, kho_pa_t pa, unsigned int order, const char *what),
			   void *ctx);

/**
 * kho_release_unclaimed() - free them all
 *
 * For a program that has restored everything that it wants: what only its own data
 * points to is not seen to be in use. A successor calls kho_healthy() first: until then
 * the predecessor may have to take the arena back; this waits, at most a second, until it has retired.
 *
 * Return: bytes freed; with errno EPERM, EOWNERDEAD or a fault if that was not, or not all, possible.
 */
__u64 kho_release_unclaimed(void);

/* ---- files: preserved fds under tokens ------------------------------------------ */

/**
 * kho_fd_preserve() - let @fd go along to the successor
 * @token: the caller's name for it, not in use
 *
 * The library uses @fd itself, not a duplicate: close it only by kho_fd_close(), or after
 * kho_fd_unpreserve().
 *
 * Under kho run the fd also outlives a crash: a duplicate of it is with the supervisor when this
 * returns, and the next program finds it under its token; see kho_fd_held().
 *
 * Return: 0, -EEXIST, -EBADF, -ENOMEM.
 */
int kho_fd_preserve(__u64 token, int fd);
int kho_fd_unpreserve(__u64 token);

/*
 * Would the fd of @token outlive a kill of this process? Return: 1: somebody holds a duplicate; 0: nobody does,
 * or not yet: it is on its way; -EMFILE: who does holds as many as it may open; -ENOTCONN: the supervisor is gone; -ENOENT.
 */
int kho_fd_held(__u64 token);

/* shutdown(2), unpreserve, close(2): duplicates elsewhere do not keep the peer waiting. Return: 0, -ENOENT. */
int kho_fd_close(__u64 token);

/* The fd of a token: inherited, or preserved here. Return: the fd, or -ENOENT. */
int kho_fd_get(__u64 token);

/*
 * Go through all tokens in no particular order, but those of sessions (<kho/session.h>), which are not told
 * to kho_config.fd either. @pos: 0 at first. Return: the fd, or -ENOENT after the last.
 */
int kho_fd_next(unsigned int *pos, __u64 *token);

/* Tokens of listening sockets that kho run holds (--listen): KHO_FD_LISTEN + 0, 1, … */
#define KHO_FD_LISTEN 0xffffffff00000000ULL
/* Tokens from here to KHO_FD_LISTEN are of files in sessions, and the library's. */
#define KHO_FD_SESSION 0xfffffffe00000000ULL

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#include <kho/compat.h>

#endif
