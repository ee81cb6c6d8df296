/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Private to the host: couriers, which hold the preserved fds so that they outlive a SIGKILL.
 *
 *	courier	somebody outside of this process who keeps duplicates: kho run, say
 *	hold	a duplicate of this fd is with the courier: the next program gets it with its token
 *	drop	it lets go of it
 *	sync	from its begin to its end everything is held again; what was not is dropped
 *
 * An fd is held in the call of kho_fd_preserve(), by the thread that makes it: when that returns, a
 * kill finds it in the courier's hands or on the way there. What cannot be sent at once the
 * keeper sends later. One courier at a time.
 *
 * Drops: only those are sent that the courier cannot see itself. A TCP connection that was
 * shut down hangs up, and who holds it drops it then.
 */
#ifndef KHO_HOST_COURIER_H
#define KHO_HOST_COURIER_H

#include <stdbool.h>

#include <kho/types.h>

/* Most tokens in one call of @hold or @drop. */
#define KHO_COURIER_BATCH 200

/**
 * struct kho_courier - how to talk to one
 * @name: for messages
 * @hold: take duplicates of @fds under @tokens; one of a token that is held already replaces it
 * @drop: let go; unknown tokens are ignored
 * @sync: begin or @end one
 *
 * Called from any thread, one at a time, with locks held: they must not block or call back.
 * Return: 0; -EAGAIN: not now, the keeper asks again; another error: it is gone.
 */
struct kho_courier {
	const char *name;
	int (*hold)(const __u64 *tokens, const int *fds, unsigned int nr);
	int (*drop)(const __u64 *tokens, unsigned int nr);
	int (*sync)(bool end);
};

/* ---- for the keeper, or whoever finds a courier ---- */

/* From now on @courier holds our fds, at most @max at a time. All of them are sent anew. */
void kho_courier_attach_(const struct kho_courier *courier, unsigned int max);
/* It is gone; no call of it is under way when this returns. */
void kho_courier_detach_(void);
/* Is there something that the keeper has to send? */
bool kho_courier_due_(void);
/* What it holds may be other than we know: begin a sync. */
void kho_courier_resync_(void);
/* Send what is due. Return: 0; -EAGAIN: call again later; another error: the courier is gone. */
int kho_courier_flush_(void);

/* ---- for the table of fds, which is locked ---- */

/* Return: is it held now? */
bool kho_courier_hold_(__u64 token, int fd);
/* @seen: the courier sees by itself that it hung up. */
void kho_courier_drop_(__u64 token, bool seen);
/* None of them is held. */
void kho_courier_forgot_(void);
/* Of an fd that is not held: 0: no courier, or not yet; -EMFILE: it holds as many as it may; -ENOTCONN: it is gone. */
int kho_courier_why_(void);

/* ---- courier_run.c: kho run, at the other end of kho_life_.server ---- */

extern const struct kho_courier kho_courier_run_;

#endif
