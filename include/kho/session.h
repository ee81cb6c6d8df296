/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The process host: sessions, the live update orchestrator's model for the files of a process.
 *
 *	luo_session_create("conns", &session);		// first time
 *	luo_session_preserve_fd(session, fd, token);	// from now on it outlives us
 *
 *	luo_session_retrieve("conns", &session);	// in the next program, from kho_start() on
 *	fd = luo_session_retrieve_fd(session, token);
 *	luo_session_release_unclaimed(session);		// what we do not want
 *	luo_session_preserve_fd(session, fd2, token2);	// and it goes on; or:
 *	luo_session_finish(session);			// the end of it; what was retrieved is ours
 *
 *	session	files under a name; lies in the arena, ready at every instant
 *	token	the caller's 64-bit name of a file in a session
 *	kind	what a file is, as far as its handler is concerned
 *	handler	callbacks of a kind, and its compatibility string, "base-v1;part-v2"
 *	FLB	file-lifecycle-bound data: made with the first file that needs it, gone with the last
 *	lost	a file that is in a session while its fd did not get here: nobody held it
 *
 * The fds travel as those of kho_fd_preserve() do, under tokens of their own; what a session says of them
 * lies in the arena in the formats of Linux (docs/abi.md, "session-v1"). The library uses an fd itself,
 * not a duplicate: do not close one that is in a session, but by luo_session_close_fd().
 *
 * Handlers for listening and connected sockets, pipes, eventfds, timerfds, memory files and regular files
 * are there. An application registers those for its own kinds, before kho_start(): a predecessor
 * with files of a kind that its successor has no handler for refuses it before anybody stops. The library's
 * need nothing but the fd: memory files keep their holes, timers go on ticking.
 *
 * Crashes: whatever instant the program dies at, the next one finds each file in its session, with its fd
 * if somebody held that (kho run, a service manager), or not at all, the fd closed.
 *
 * Until a successor is healthy its predecessor may have to go on: what would end a file that came in,
 * luo_session_finish() and luo_session_release_unclaimed(), waits for kho_healthy().
 *
 * Errors and threads: see <kho/host.h>. All calls serialise on one lock, and callbacks are called under it:
 * they may call nothing of this header but liveupdate_flb_get_incoming() and _outgoing().
 */
#ifndef KHO_SESSION_H
#define KHO_SESSION_H

#include <stdbool.h>
#include <stddef.h>

#include <kho/host.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

#define LUO_SESSION_NAME_MAX 63 /* bytes */
#define LIVEUPDATE_COMPATIBLE_MAX 47
#define LIVEUPDATE_FLB_NAME_MAX 47
#define LIVEUPDATE_STATE_MAX 1024

/* ---- sessions ------------------------------------------------------------ */

struct luo_session;

/**
 * luo_session_create() - a new session without files
 * @name: 1 to LUO_SESSION_NAME_MAX bytes, any but NUL
 * @session: its handle
 *
 * Return: 0; -EEXIST (retrieve it, or finish it first), -ENAMETOOLONG, -EINVAL (no name), -ENOMEM, -ENOSPC,
 * -EPERM, -EOWNERDEAD; of the first in an arena: -KHO_E_INCOMPATIBLE (the predecessor, which may have to
 * go on with the arena, knows no sessions: not before kho_healthy()); a fault of what came in.
 */
int luo_session_create(const char *name, struct luo_session **session);

/**
 * luo_session_retrieve() - a session that came in
 *
 * Also in a successor before kho_ready(), where it is as the predecessor has it at that time; what
 * changes until the grant is there after it. Once per program and session.
 *
 * Return: 0; -ENOENT, -EALREADY (open in this program), -ENAMETOOLONG, -EINVAL, -ENODEV; a fault.
 */
int luo_session_retrieve(const char *name, struct luo_session **session);

/* Names of the sessions there are. @pos: 0 at first. @name: 64 bytes. Return: 0; -ENOENT after the last. */
int luo_session_next(unsigned int *pos, char *name);

/**
 * luo_session_preserve_fd() - a file into a session, under a token
 *
 * For a successor that is not healthy yet: of kinds that its predecessor has a handler for, too.
 *
 * Return: 0; -EBADF; -EEXIST (the token is in use), -EBUSY (the fd is in a session already), -EOPNOTSUPP (no
 * handler takes such a file), -ESTALE (the session is finished), -KHO_E_INCOMPATIBLE, -ENOMEM, -ENOSPC,
 * -EPERM, -EOWNERDEAD; what a callback returned. Nothing changed then.
 */
int luo_session_preserve_fd(struct luo_session *session, int fd, __u64 token);

/**
 * luo_session_retrieve_fd() - the fd of a token
 *
 * The same one each time. It stays in the session.
 *
 * Return: the fd; -ENOENT (no such token), -ENXIO (lost), -KHO_E_INCOMPATIBLE (no handler registered for
 * files of this kind or version), -KHO_E_TYPE (the fd that came is not of the kind that the session says), -ESTALE;
 * what a callback returned: the file is as before.
 */
int luo_session_retrieve_fd(struct luo_session *session, __u64 token);

/* Take a file out of its session; the fd stays open and is the caller's. Return: 0; as for luo_session_close_fd(). */
int luo_session_unpreserve_fd(struct luo_session *session, __u64 token);

/*
 * Take it out, shut it down if it is a socket, and close it: duplicates elsewhere do not keep a peer waiting.
 * Return: 0; -ENOENT, -ESTALE, -ENOMEM (the arena is full: nothing changed), -EPERM, -EOWNERDEAD.
 */
int luo_session_close_fd(struct luo_session *session, __u64 token);

/*
 * Would the fd outlive a SIGKILL now? See kho_fd_held(). Return: 1: somebody holds a duplicate; 0: not yet, or there
 * is nobody; -EMFILE; -ENOENT, -ESTALE.
 */
int luo_session_fd_held(struct luo_session *session, __u64 token);

/* Files of a session, by token, in no particular order. @pos: 0 at first. Return: 0; -ENOENT after the last, -ESTALE. */
int luo_session_next_token(struct luo_session *session, unsigned int *pos, __u64 *token);

/**
 * luo_session_for_each_unclaimed() - files that came in and that nobody retrieved
 * @fn: @fd is -1 if it is lost. Another result than 0 stops. It calls nothing of this header
 * Return: 0, what @fn returned, -ESTALE, a fault.
 */
int luo_session_for_each_unclaimed(struct luo_session *session,
				   int (*fn)(void *ctx, __u64 token, int fd,
					     const char *compatible),
				   void *ctx);

/*
 * Close what nobody retrieved; the session goes on with the rest. Return: how many; -EPERM (kho_healthy()
 * first), -EBUSY (a handler said so: nothing changed), -ESTALE, -EOWNERDEAD, -ENOMEM (some may be closed).
 */
int luo_session_release_unclaimed(struct luo_session *session);

/**
 * luo_session_finish() - the end of a session
 *
 * What was retrieved, or preserved in this program, is out of it, open, and the caller's. What was not is
 * closed; luo_session_for_each_unclaimed() told before. The handle is good for luo_session_put() only.
 *
 * Return: how many were closed, or lost; as for luo_session_release_unclaimed().
 */
int luo_session_finish(struct luo_session *session);

/* Drop the handle. A session that is not finished stays what it is, and can be retrieved again. NULL is ignored. */
void luo_session_put(struct luo_session *session);

/* ---- handlers -------------------------------------------------------------- */

struct liveupdate_file_handler;

/**
 * struct liveupdate_file_op_args - a file, for its handler
 * @token, @fd: its; the fd of a file that is lost is -1
 * @retrieved: it was, in this program
 * @serialized_data: the handler's, goes along; preserve and freeze may set it
 * @state, @state_len: the handler's ops->state_size bytes in the arena, zero at preserve; freeze may change them
 *	(as one that came in, it may have another length: what its version had)
 * @private_data: the handler's, of this program
 */
struct liveupdate_file_op_args {
	struct liveupdate_file_handler *handler;
	__u64 token;
	int fd;
	bool retrieved;
	__u64 serialized_data;
	void *state;
	size_t state_len;
	void *private_data;
};

/**
 * struct liveupdate_file_ops - what a handler does; all but @can_preserve may be NULL
 * @state_size: bytes that the arena keeps for each file, at most LIVEUPDATE_STATE_MAX
 * @can_preserve: is the file of this kind? Looks at it, and does nothing else. When one comes in, it is asked again
 * @preserve: it goes into a session. Everything that the next program needs has to be in @state and
 *	@serialized_data then: a program that is killed does not freeze. Return: 0 or negative: not preserved
 * @unpreserve: out of it again, in the program that put it in
 * @freeze: a hand-over, the workers are parked: last words. A negative result cancels it
 * @unfreeze: it was cancelled, or failed
 * @retrieve: the successor asks for it. Before the grant, too, when @state may only be read. Return: 0 or negative
 * @can_finish: may the file go? Asked of all files that came in before any is finished
 * @finish: a file that came in leaves the session, retrieved or not
 */
struct liveupdate_file_ops {
	size_t state_size;
	bool (*can_preserve)(struct liveupdate_file_handler *handler, int fd);
	int (*preserve)(struct liveupdate_file_op_args *args);
	void (*unpreserve)(struct liveupdate_file_op_args *args);
	int (*freeze)(struct liveupdate_file_op_args *args);
	void (*unfreeze)(struct liveupdate_file_op_args *args);
	int (*retrieve)(struct liveupdate_file_op_args *args);
	bool (*can_finish)(struct liveupdate_file_op_args *args);
	void (*finish)(struct liveupdate_file_op_args *args);
};

/* Versions of the base, or of a part, that a handler reads. */
struct liveupdate_reads {
	const char *name;
	__u32 min;
	__u32 max;
};

/**
 * struct liveupdate_file_handler - callbacks for a kind of file
 * @compatible: what it writes: "base-v1", or with parts, in the order of strcmp: "base-v1;hints-v2?;table-v1". At
 *	most LIVEUPDATE_COMPATIBLE_MAX bytes; names of at most 26; "fd-" in front is the library's
 * @reads, @nr_reads: what it reads, the base first; none: what it writes
 * @ctx: the application's
 */
struct liveupdate_file_handler {
	const char *compatible;
	const struct liveupdate_file_ops *ops;
	const struct liveupdate_reads *reads;
	unsigned int nr_reads;
	void *ctx;
};

/**
 * liveupdate_register_file_handler() - have files of a kind in sessions
 * @handler: must stay. The last one registered is asked first whether it takes an fd, the library's last
 *
 * Before kho_start(): later ones are not known to a predecessor.
 *
 * Return: 0; -EINVAL (@compatible, @reads, or no can_preserve), -EEXIST (the base is taken), -ENOSPC (more than 24).
 */
int liveupdate_register_file_handler(struct liveupdate_file_handler *handler);

/* Return: 0; -ENOENT; -EBUSY: files of it are in sessions. */
int liveupdate_unregister_file_handler(struct liveupdate_file_handler *handler);

/* ---- data of a kind ---------------------------------------------------------- */

struct liveupdate_flb;

/* @obj: what the application uses: set by preserve and retrieve. The rest as for files. */
struct liveupdate_flb_op_args {
	struct liveupdate_flb *flb;
	__u64 data;
	void *state;
	size_t state_len;
	void *obj;
};

/**
 * struct liveupdate_flb_ops - callbacks; @preserve and @retrieve are needed
 * @preserve: the first file that needs it is being preserved. Return: 0 or negative: the file is not
 * @unpreserve: the last one went, in the program that made it
 * @retrieve: somebody asks for it in a later program
 * @finish: the last one went, in a later program
 */
struct liveupdate_flb_ops {
	size_t state_size;
	int (*preserve)(struct liveupdate_flb_op_args *args);
	void (*unpreserve)(struct liveupdate_flb_op_args *args);
	int (*retrieve)(struct liveupdate_flb_op_args *args);
	void (*finish)(struct liveupdate_flb_op_args *args);
};

/* @compatible: its name, 1 to LIVEUPDATE_FLB_NAME_MAX bytes. */
struct liveupdate_flb {
	const char *compatible;
	const struct liveupdate_flb_ops *ops;
	void *ctx;
};

/**
 * liveupdate_register_flb() - files of @handler need @flb; several handlers may
 * Return: 0; -ENOENT (the handler is not registered), -EINVAL, -EEXIST (another of that name), -ENOSPC (8 for a handler).
 */
int liveupdate_register_flb(struct liveupdate_file_handler *handler, struct liveupdate_flb *flb);

/* What came in: retrieved at the first call. Return: 0; -ENOENT: did not come in; what @retrieve returned. */
int liveupdate_flb_get_incoming(struct liveupdate_flb *flb, void **obj);
/* What this program's files have, whoever made it. Return: 0; -ENOENT: there is none; what @retrieve returned. */
int liveupdate_flb_get_outgoing(struct liveupdate_flb *flb, void **obj);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
