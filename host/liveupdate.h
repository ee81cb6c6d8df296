/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Private to the process host and kho(1): /dev/liveupdate, by which the kernel hands files to
 * the kernel after it, and what an arena has to be before it is given to it.
 *
 * Glossary: session = a named set of files that goes over a kexec; it lasts as long as its fd is open
 * somewhere; token = a file's number in its session; outgoing = made by this kernel; incoming = by the
 * kernel before it.
 */
#ifndef KHO_HOST_LIVEUPDATE_H
#define KHO_HOST_LIVEUPDATE_H

#include <stdbool.h>

#include <kho/types.h>

#define KHO_LIVEUPDATE_DEVICE "/dev/liveupdate"
#define KHO_LIVEUPDATE_NAME_MAX 63
#define KHO_LIVEUPDATE_ARENA 1ULL /* token of the arena in a session of kho run's */

/**
 * struct kho_liveupdate_calls - the kernel, as this file's callers see it
 *
 * The first two return an fd or 0, or -errno. Tests put a kernel of their own here.
 */
struct kho_liveupdate_calls {
	int (*open)(const char *path);
	int (*request)(int fd, unsigned long nr, void *arg);
	void (*close)(int fd);
	bool (*kexec_loaded)(void);
};

extern struct kho_liveupdate_calls kho_liveupdate_calls_ __attribute__((visibility("hidden")));

/* Requests, and what goes with them: Linux 7.2. */
#define KHO_LIVEUPDATE_CREATE 0xba00
#define KHO_LIVEUPDATE_RETRIEVE 0xba01
#define KHO_LIVEUPDATE_PRESERVE_FD 0xba40
#define KHO_LIVEUPDATE_RETRIEVE_FD 0xba41
#define KHO_LIVEUPDATE_FINISH 0xba42

/* Each says its own size first, so that a kernel can tell an older or newer caller. */
struct kho_liveupdate_session {
	__u32 size;
	__s32 fd; /* out */
	char name[KHO_LIVEUPDATE_NAME_MAX + 1];
};

struct kho_liveupdate_file {
	__u32 size;
	__s32 fd;
	__u64 token;
};

struct kho_liveupdate_finish {
	__u32 size;
	__u32 reserved;
};

/**
 * kho_liveupdate_create_() - a new outgoing session
 *
 * One process at a time may have the device open: another one is waited for, for
 * a second. All of these say in kho_error() what is wrong and what helps.
 *
 * Return: its fd (close-on-exec); -ENODEV: the kernel has no live update, or it is off; -EACCES;
 * -EBUSY: another process keeps the device; -EIO: what came in cannot be read; -EEXIST: there is a
 * session of this name; -EINVAL: no name of 1 to 63 bytes; another errno.
 */
int kho_liveupdate_create_(const char *name);

/* An incoming session. Return: as above; -ENOENT: none of that name, or it was taken before. */
int kho_liveupdate_find_(const char *name);

/**
 * kho_liveupdate_preserve_() - put a file into an outgoing session
 *
 * From now on until the session's fd is closed a memfd can neither grow nor have holes punched, and all
 * its holes are filled.
 *
 * Return: 0; -EEXIST: the token is taken; -EBUSY: the file is in a session already; -EOPNOTSUPP: a kind of
 * file, or a seal, that the kernel cannot hand over; -EPERM: the session came in; -ENOMEM; another errno.
 */
int kho_liveupdate_preserve_(int session, int fd, __u64 token);

/* Take a file out of an incoming session. Return: its fd (close-on-exec); -ENOENT: no such token; -errno. */
int kho_liveupdate_retrieve_(int session, __u64 token);

/* Everything was taken: what was not is discarded. Return: 0 or -errno. */
int kho_liveupdate_finish_(int session);

/* Is a kernel loaded that a reboot would jump to? */
static inline bool kho_kexec_loaded_(void)
{
	return kho_liveupdate_calls_.kexec_loaded();
}

/* ---- compact.c ---- */

/**
 * struct kho_extent - how much of an arena's file is there
 * @size: of the file
 * @allocated: bytes of it that are no holes
 * @end: of the last byte that anything preserved, or the arena itself, needs
 * @max_size: what the arena's header allows
 * @generation: of the arena
 * @sealed: against execution: it would come back as a file that nobody can write to
 */
struct kho_extent {
	__u64 size;
	__u64 allocated;
	__u64 end;
	__u64 max_size;
	__u64 generation;
	bool sealed;
};

/**
 * kho_extent_() - check everything in an arena, and measure it
 *
 * Maps it at its base meanwhile: not for a process that has an arena open. An owner may be at work.
 *
 * Return: 0; a fault of the arena, or -errno, with kho_error().
 */
int kho_extent_(int fd, struct kho_extent *extent);

/* Bytes that the kernel adds when it is given the file as it is, or a compact copy of it. */
static inline __u64 kho_extent_filled_(const struct kho_extent *extent)
{
	return extent->size > extent->allocated ? extent->size - extent->allocated : 0;
}

/*
 * Is a copy that ends at @end the smaller evil? It takes @allocated bytes for a moment, and saves what lies
 * behind @end: both are memory, and about as fast to copy as to clear.
 */
static inline bool kho_extent_worth_copying_(const struct kho_extent *extent)
{
	return extent->size - extent->end > extent->allocated;
}

/**
 * kho_compact_() - copy an arena into a new memfd that ends behind its last byte in use
 *
 * What is a hole stays one. Nobody may own the arena meanwhile.
 *
 * Return: the new fd, or -errno.
 */
int kho_compact_(int fd, const struct kho_extent *extent, const char *name);

#endif
