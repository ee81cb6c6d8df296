/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Private to the host's life side: the process's part in the hand-over, and who does what.
 *
 *	life.c		kho_start() and its kin
 *	environ.c	what the environment says, validated
 *	keeper.c	the thread that holds the lock and talks to the supervisor
 *	formats.c	who reads and writes what; may one follow the other?
 *	note.c		the same from ELF files that are not started yet
 *	predecessor.c	hand-over, from the keeper; roll-back
 *	inplace.c	its last step when the process replaces itself
 *	successor.c	the other side, from the threads that call kho_start() and kho_ready()
 */
#ifndef KHO_HOST_LIFE_H
#define KHO_HOST_LIFE_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <kho/host.h>

#include "arena.h"
#include "message.h"

enum kho_phase {
	KHO_PHASE_NONE, /* no arena */
	KHO_PHASE_STARTING, /* inside kho_start() */
	KHO_PHASE_SUCCESSOR, /* the predecessor owns it */
	KHO_PHASE_OWNER,
	KHO_PHASE_GRANTED, /* predecessor: the successor owns it, and is not healthy yet */
};

/* Who reads the successor's channel. */
enum kho_reader {
	KHO_READER_CALLER, /* the thread in kho_start() or kho_ready() */
	KHO_READER_IDLE, /* the keeper, between the two: only bad news can come */
	KHO_READER_KEEPER, /* the keeper, from the grant on */
};

/**
 * struct kho_life - this process's life
 * @lock: of @server and @channel while somebody sends
 * @busy: held by the keeper in a hand-over, so that the arena is not closed meanwhile
 * @kick: eventfd that makes the keeper look up
 * @server: socket to the supervisor, or -1; only the keeper changes it
 * @supervisor: path to connect to again, or ""
 * @channel: successor: socket to the predecessor until that is gone, or -1
 * @mask: signal mask of the thread that started us, for exec
 * @realtime: priority of our threads from kho_ready() on, or 0 for an ordinary one
 * @holds: fds that the supervisor holds at most, if it said so when it started us
 * @debug_freeze: KHO_DEBUG_FREEZE is set: a granted arena is write-protected
 * @registered, @announced: the supervisor heard of us; that kho_ready() passed
 */
struct kho_life {
	struct kho_config config;
	char name[32];
	char release[32];
	_Atomic int phase;
	_Atomic bool ready;
	_Atomic bool healthy; /* successor: it told the predecessor so */
	_Atomic bool closing;
	_Atomic bool metadata_due;
	bool debug_freeze;
	int holds;
	int realtime;
	_Atomic int reader;
	pthread_mutex_t lock;
	pthread_mutex_t busy;
	int kick;
	int server;
	char supervisor[108];
	int channel;
	sigset_t mask;
	pthread_t keeper;
	bool registered;
	bool announced;
};

extern struct kho_life kho_life_;

/* Set in a child of fork(). */
extern bool kho_is_child_;

static inline bool kho_forked_(void)
{
	return __builtin_expect(kho_is_child_, 0);
}

/* For tests: called at the named steps of the protocol, unless NULL. */
extern void (*kho_step_hook_)(const char *step);

static inline void kho_step_(const char *step)
{
	if (__builtin_expect(!!kho_step_hook_, 0))
		kho_step_hook_(step);
}

/* ---- environ.c ---- */

/* What was inherited; -1, 0 or "" where nothing was. */
struct kho_environ {
	int arena;
	int server;
	int channel;
	int exec_fds;
	int listen_first;
	int listen_count;
	__u64 arena_max;
	int realtime; /* priority while we serve; 0: an ordinary one */
	int holds; /* fds that the supervisor holds at most; 0: not known */
	char supervisor[108];
};

/* Read and validate; marks every fd close-on-exec. Return: 0; -EINVAL, -EBADF. */
int kho_environ_read_(struct kho_environ *env);
/* Take the variables of one start away, so that children do not see them. */
void kho_environ_forget_(void);
/* Put listening sockets and fds of an exec into the table. Return: 0 or negative. */
int kho_environ_take_fds_(const struct kho_environ *env);
/* Bytes, or with K, M, G, T. Return: 0, -EINVAL. */
int kho_parse_size_(const char *text, __u64 *size);

/* ---- formats.c ---- */

/* Fill in HELLO for this program. @formats: KHO_ABI_FORMATS_MAX of them. */
void kho_formats_hello_(struct kho_abi_msg_hello *hello, struct kho_abi_format *formats);
/* Valid, and not too many with the library's own? Return: 0, -EINVAL. */
int kho_formats_valid_(const struct kho_config *config);
/* May @theirs follow us, and be rolled back to us? Return: 0, -KHO_E_INCOMPATIBLE; kho_error() names the part. */
int kho_formats_check_(const struct kho_abi_msg_hello *theirs);

/* Is every part that the arena has by now among what @theirs read? Return: as kho_formats_check_(). */
int kho_formats_parts_(const struct kho_abi_format *theirs, unsigned int nr);

/* The same as far as two lists alone tell: @ours, of who goes. */
int kho_formats_compare_(const struct kho_abi_format *ours, unsigned int nr_ours,
			 const struct kho_abi_format *theirs, unsigned int nr_theirs);
/* Successor: @theirs, a WELCOME, says what the predecessor reads. */
void kho_formats_welcome_(const struct kho_abi_msg_hello *theirs);
/* May the arena get a part that it does not have? A predecessor that could not read it must have gone. */
int kho_formats_may_use_(const struct khoc_compat_part *part);

/* ---- keeper.c ---- */

/* Start the keeper, which waits for work. The owner's page is open. Return: 0 or -errno. */
int kho_keeper_start_(void);
/* End it and join. */
void kho_keeper_stop_(void);
/* Make it look at the flags. */
void kho_keeper_kick_(void);
/* Tell the supervisor, if any. Called by the keeper. */
void kho_keeper_tell_(unsigned int type, int error, unsigned int step, const char *text);

/* ---- life.c ---- */

/* The lock and the arena are ours: count up, say so in the arena. Return: 0 or negative. */
int kho_life_begin_(__u64 generation);
/* What that leaves for later: the metadata. With @busy held, or before anybody else runs. */
void kho_life_settle_(void);
/* The arena was just mapped: what the configuration says about its memory. */
void kho_life_mapped_(void);
/*
 * May nobody want the arena back as it was? A successor that said it is healthy has to see its
 * predecessor go; one whose predecessor died before that may still be followed by the program of before.
 */
bool kho_life_alone_(void);
/* A successor that is healthy waits a moment for its predecessor to go. Return: 0: there is none; -EPERM: too early. */
int kho_life_retired_(void);
/* From now on our threads are as urgent as a server's are to be. Return: 0; -EPERM, kho_error() says why. */
int kho_life_end_way_(void);
/* Exit status 0 of a successor that was given up. */
void kho_life_given_up_(void) __attribute__((noreturn));

/* ---- predecessor.c ---- */

/**
 * struct kho_handover - one hand-over, in the predecessor
 * @pid, @start_time, @pidfd: the successor; @pidfd is -1 until HELLO
 * @binary, @args, @args_len: what to execute, in place only
 * @step: enum kho_abi_step that is being taken
 * @frozen: workers are parked
 * @migrated: roots have got older versions for the successor
 * @formats, @nr_formats: what the successor reads and writes
 */
struct kho_handover {
	struct kho_abi_msg_upgrade up;
	int channel;
	int pidfd;
	int binary;
	pid_t pid;
	__u64 start_time;
	unsigned int step;
	bool frozen;
	bool migrated;
	unsigned int nr_formats;
	size_t args_len;
	char args[KHO_ABI_MSG_MAX];
	char why[512];
	struct kho_msg msg;
	struct kho_abi_format formats[KHO_ABI_FORMATS_MAX];
};

/* Do what @up, an UPGRADE, says. Does not return if the successor is healthy. */
void kho_predecessor_run_(struct kho_msg *up);
/* Park the workers and let the application store what is private. Return: 0, -ETIMEDOUT. */
int kho_predecessor_freeze_(struct kho_handover *h);
/* End the successor: it is told why, then killed. Waits until it cannot write any more. */
int kho_predecessor_dismiss_(struct kho_handover *h, const char *why);

/* ---- inplace.c ---- */

/* Everything is rehearsed: replace this process. Returns only if that failed: negative. */
int kho_inplace_exec_(struct kho_handover *h);

/* ---- successor.c ---- */

int kho_successor_start_(const struct kho_environ *env);
int kho_successor_ready_(void);

#endif
