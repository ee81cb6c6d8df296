/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * "handover-v1": what supervisor, predecessor and successor say to each other, over
 * AF_UNIX SOCK_SEQPACKET, one message a packet. docs/abi.md, "handover-v1".
 *
 * Three programs of three releases may take part, so it is a format like any other.
 *
 *	control	client (kho upgrade, stop, status) -> supervisor, at RUNDIR/NAME.sock
 *	server	server's keeper <-> supervisor: inherited, or connected again to the same path
 *	channel	predecessor <-> successor: a socket pair made by whoever spawns
 *
 *	channel:  successor   predecessor
 *		   HELLO  -->               releases, formats
 *		          <--  WELCOME      its own releases, formats
 *		          <--  FD ...       preserved fds, up to 200 a message
 *		          <--  FDS_DONE
 *		   READY  -->               may be granted from now on
 *		          <--  FD, FD_GONE  as they come and go, until the grant
 *		          <--  GRANT        the successor is the writer
 *		   TAKEN  -->               it has the lock
 *		   ALIVE  -->               now and then; see @alive_ms
 *		   HEALTHY -->
 *		          <--  RETIRE       the predecessor exits now
 *		          <--  TAKE         of a standby, whose channel is the supervisor's: the owner died
 *		   either side: CANCEL with a reason, or end of file, at any time
 *
 * Whoever makes the channel sets SO_PASSCRED on both ends before it lets go of them: the
 * sender of HELLO is known from its credentials (SO_PEERCRED would name the maker).
 */
#ifndef KHO_ABI_HANDOVER_H
#define KHO_ABI_HANDOVER_H

#include <kho/abi/format.h>
#include <kho/abi/layout.h>
#include <kho/types.h>

#define KHO_ABI_HANDOVER_COMPATIBLE "handover-v1"
#define KHO_ABI_MSG_MAGIC 0x314f484bU /* bytes "KHO1" */
#define KHO_ABI_MSG_MAX 8192
#define KHO_ABI_MSG_FDS_MAX 200

/* Environment of a server; removed by kho_start(). */
#define KHO_ENV_ARENA_FD "KHO_ARENA_FD" /* number of the arena's memfd */
#define KHO_ENV_SERVER_FD "KHO_SERVER_FD" /* number of the socket to the supervisor */
#define KHO_ENV_CHANNEL_FD "KHO_CHANNEL_FD" /* number of the socket to the predecessor */
#define KHO_ENV_LISTEN_FDS                                                                         \
	"KHO_LISTEN_FDS" /* "FIRST:COUNT": listening sockets of kho run --listen */
#define KHO_ENV_SUPERVISOR                                                                         \
	"KHO_SUPERVISOR" /* path of the supervisor's socket, to connect to again */
#define KHO_ENV_EXEC_FDS                                                                           \
	"KHO_EXEC_FDS" /* memfd with struct kho_abi_exec_fd records (exec in place) */
#define KHO_ENV_HOLDS                                                                              \
	"KHO_HOLDS" /* the supervisor holds so many fds; like a HOLDS that came first */
#define KHO_ENV_ARENA_MAX "KHO_ARENA_MAX" /* kept: limit of a new arena */
#define KHO_ENV_REALTIME "KHO_REALTIME" /* kept: real-time priority of a server that serves */
#define KHO_REALTIME_MAX 99
#define KHO_ENV_RUNDIR "KHO_RUNDIR" /* kept: where control sockets are */

enum kho_abi_msg_type {
	KHO_MSG_HELLO = 1,
	KHO_MSG_FD = 2,
	KHO_MSG_FDS_DONE = 3,
	KHO_MSG_READY = 4,
	KHO_MSG_FD_GONE = 5,
	KHO_MSG_GRANT = 6,
	KHO_MSG_TAKEN = 7,
	KHO_MSG_HEALTHY = 8,
	KHO_MSG_RETIRE = 9,
	KHO_MSG_CANCEL = 10,
	KHO_MSG_ALIVE = 11,
	KHO_MSG_WELCOME = 12,
	KHO_MSG_TAKE = 13, /* supervisor -> standby, in place of GRANT: the owner died */

	KHO_MSG_REGISTER =
		32, /* server -> supervisor: struct kho_abi_msg_register; fd 0: arena when adopted */
	KHO_MSG_RUNNING =
		33, /* server -> supervisor: kho_ready() passed; struct kho_abi_msg_register */
	KHO_MSG_UPGRADE = 34, /* supervisor -> server: hand over; struct kho_abi_msg_upgrade */
	KHO_MSG_UPGRADED =
		35, /* server -> supervisor: struct kho_abi_msg_result: healthy, or why not */
	KHO_MSG_STOP = 36, /* supervisor -> server */
	KHO_MSG_LISTEN =
		37, /* server -> supervisor: fds of listening sockets to hold as well, and their tokens */

	KHO_MSG_PROGRESS = 38, /* server -> supervisor: struct kho_abi_msg_result, then text */
	/* Fds that the supervisor holds, so that they outlive the server. It says first that it does so. */
	KHO_MSG_HOLDS = 39, /* supervisor -> server: struct kho_abi_msg_holds */
	KHO_MSG_HOLD = 40, /* server -> supervisor: as FD; of a token that is held: replaces it */
	KHO_MSG_DROP = 41, /* server -> supervisor: as FD_GONE; unknown tokens are ignored */
	KHO_MSG_HOLD_SYNC = 42, /* server -> supervisor: struct kho_abi_msg_sync */

	KHO_MSG_CTL_UPGRADE =
		64, /* struct kho_abi_msg_upgrade, then argv as in UPGRADE; fd 0: the binary */
	KHO_MSG_CTL_STOP = 65,
	KHO_MSG_CTL_STATUS = 66,
	KHO_MSG_CTL_REPLY = 67, /* struct kho_abi_msg_result, then text */
	KHO_MSG_CTL_PROGRESS = 68, /* text */
	KHO_MSG_CTL_PRESERVE = 69, /* struct kho_abi_msg_preserve: into a session of the kernel's */
	KHO_MSG_CTL_TAKE = 70, /* to a supervisor that only holds an arena: give it back, and end */
	KHO_MSG_CTL_ARENA = 71, /* its answer; fd 0: the arena */
	KHO_MSG_CTL_CLEAR = 72,
};

/**
 * struct kho_abi_msg - start of every message
 * @magic: KHO_ABI_MSG_MAGIC
 * @type: enum kho_abi_msg_type
 * @len: bytes that follow
 */
struct kho_abi_msg {
	__u32 magic;
	__u16 type;
	__u16 len;
};

KHO_ABI_SIZE(struct kho_abi_msg, 8);
KHO_ABI_OFFSET(struct kho_abi_msg, magic, 0);
KHO_ABI_OFFSET(struct kho_abi_msg, type, 4);
KHO_ABI_OFFSET(struct kho_abi_msg, len, 6);

/* HELLO and WELCOME: who, then @nr_formats of struct kho_abi_format. */
struct kho_abi_msg_hello {
	char name[32];
	char release[32];
	__u32 pid;
	__u32 nr_formats;
};

KHO_ABI_SIZE(struct kho_abi_msg_hello, 72);
KHO_ABI_OFFSET(struct kho_abi_msg_hello, name, 0);
KHO_ABI_OFFSET(struct kho_abi_msg_hello, release, 32);
KHO_ABI_OFFSET(struct kho_abi_msg_hello, pid, 64);
KHO_ABI_OFFSET(struct kho_abi_msg_hello, nr_formats, 68);

#define KHO_ABI_FORMATS_MAX 64

/* FD and FD_GONE: @nr tokens (u64 each) follow; in FD as many fds go along, in the same order. */
struct kho_abi_msg_fds {
	__u32 nr;
	__u32 pad;
};

KHO_ABI_SIZE(struct kho_abi_msg_fds, 8);
KHO_ABI_OFFSET(struct kho_abi_msg_fds, nr, 0);
KHO_ABI_OFFSET(struct kho_abi_msg_fds, pad, 4);

/* GRANT: the generation that the successor becomes. */
struct kho_abi_msg_grant {
	__u64 generation;
};

KHO_ABI_SIZE(struct kho_abi_msg_grant, 8);
KHO_ABI_OFFSET(struct kho_abi_msg_grant, generation, 0);

/*
 * UPGRADE. Time-outs of one hand-over, milliseconds; 0 = the default.
 *
 * fd 0: the predecessor's end of the channel; fd 1: a pidfd of the successor; fd 2, with
 * KHO_UPGRADE_EXEC only: the binary, opened for reading, which the successor at the other end
 * of the channel executes for rehearsal. With KHO_UPGRADE_EXEC the new argv follows the
 * struct: each argument with its NUL, at least one.
 */
struct kho_abi_msg_upgrade {
	__u32 ready_ms; /* HELLO to READY; default 60000 */
	__u32 freeze_ms; /* workers to park; default 1000 */
	__u32 taken_ms; /* GRANT to TAKEN; default 1000 */
	__u32 healthy_ms; /* GRANT to HEALTHY; default 10000 */
	__u32 flags; /* KHO_UPGRADE_* */
	__u32 successor; /* pid of the successor, 0 = as the credentials of its HELLO say */
	__u32 alive_ms; /* from one ALIVE to the next; default 1000. Counts from the first one on. */
};

#define KHO_UPGRADE_FORCE 1u /* do not hold the formats against each other */
#define KHO_UPGRADE_EXEC 2u /* exec in place */
#define KHO_UPGRADE_OLD_ARGS                                                                       \
	4u /* CTL_UPGRADE only: the server's old arguments follow those given */

KHO_ABI_SIZE(struct kho_abi_msg_upgrade, 28);
KHO_ABI_OFFSET(struct kho_abi_msg_upgrade, ready_ms, 0);
KHO_ABI_OFFSET(struct kho_abi_msg_upgrade, freeze_ms, 4);
KHO_ABI_OFFSET(struct kho_abi_msg_upgrade, taken_ms, 8);
KHO_ABI_OFFSET(struct kho_abi_msg_upgrade, healthy_ms, 12);
KHO_ABI_OFFSET(struct kho_abi_msg_upgrade, flags, 16);
KHO_ABI_OFFSET(struct kho_abi_msg_upgrade, successor, 20);
KHO_ABI_OFFSET(struct kho_abi_msg_upgrade, alive_ms, 24);

/* How something ended: @error 0 or negative; @step where; text (not NUL-terminated) follows. */
struct kho_abi_msg_result {
	__s32 error;
	__u32 step;
};

enum kho_abi_step {
	KHO_STEP_SPAWN = 1,
	KHO_STEP_READY = 2,
	KHO_STEP_CHECK = 3,
	KHO_STEP_FREEZE = 4,
	KHO_STEP_GRANT = 5,
	KHO_STEP_HEALTHY = 6,
	KHO_STEP_DONE = 7,
};

KHO_ABI_SIZE(struct kho_abi_msg_result, 8);
KHO_ABI_OFFSET(struct kho_abi_msg_result, error, 0);
KHO_ABI_OFFSET(struct kho_abi_msg_result, step, 4);

/* One record of KHO_ENV_EXEC_FDS: @fd stays open over exec under the same number. */
struct kho_abi_exec_fd {
	__u64 token;
	__s32 fd;
	__u32 pad;
};

KHO_ABI_SIZE(struct kho_abi_exec_fd, 16);
KHO_ABI_OFFSET(struct kho_abi_exec_fd, token, 0);
KHO_ABI_OFFSET(struct kho_abi_exec_fd, fd, 8);
KHO_ABI_OFFSET(struct kho_abi_exec_fd, pad, 12);

/* CTL_PRESERVE */
struct kho_abi_msg_preserve {
	__u32 flags; /* KHO_PRESERVE_* */
	__u32 pad;
};

#define KHO_PRESERVE_CANCEL 1u /* take it out again */

KHO_ABI_SIZE(struct kho_abi_msg_preserve, 8);
KHO_ABI_OFFSET(struct kho_abi_msg_preserve, flags, 0);
KHO_ABI_OFFSET(struct kho_abi_msg_preserve, pad, 4);

/* REGISTER and RUNNING. fd 0 of a REGISTER over a new connection: the arena. */
struct kho_abi_msg_register {
	__u32 pid;
	__u32 flags; /* KHO_REGISTER_*; others are ignored */
	__u64 generation;
	char name[32];
	char release[32];
};

KHO_ABI_SIZE(struct kho_abi_msg_register, 80);
KHO_ABI_OFFSET(struct kho_abi_msg_register, pid, 0);
KHO_ABI_OFFSET(struct kho_abi_msg_register, flags, 4);
KHO_ABI_OFFSET(struct kho_abi_msg_register, generation, 8);
KHO_ABI_OFFSET(struct kho_abi_msg_register, name, 16);
KHO_ABI_OFFSET(struct kho_abi_msg_register, release, 48);

#define KHO_REGISTER_HOLDS 1u /* it understands HOLDS */

/* HOLDS: so many fds may be held at a time. */
struct kho_abi_msg_holds {
	__u32 max;
	__u32 pad;
};

KHO_ABI_SIZE(struct kho_abi_msg_holds, 8);
KHO_ABI_OFFSET(struct kho_abi_msg_holds, max, 0);
KHO_ABI_OFFSET(struct kho_abi_msg_holds, pad, 4);

/* HOLD_SYNC: begins, or, with @end 1, ends a sync. Fds held before it began that were not held again in it are dropped. */
struct kho_abi_msg_sync {
	__u32 end;
	__u32 pad;
};

KHO_ABI_SIZE(struct kho_abi_msg_sync, 8);
KHO_ABI_OFFSET(struct kho_abi_msg_sync, end, 0);
KHO_ABI_OFFSET(struct kho_abi_msg_sync, pad, 4);

#endif
