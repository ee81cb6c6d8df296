/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Private to the hand-over: the table of preserved fds and what changes in it.
 *
 *	session	a hand-over: from its beginning every change is noted
 *	change	number that counts up with every change; an entry has that of its preservation
 */
#ifndef KHO_HOST_FDTABLE_H
#define KHO_HOST_FDTABLE_H

#include <stdbool.h>

#include <kho/types.h>

/**
 * kho_fd_send_fn - pass @nr tokens on
 * @fds: theirs; NULL: they are gone
 *
 * Called with the table locked, so that no fd of it is closed: must not block or call back.
 * Return: 0, -EAGAIN (called with the same again later), or another error, which ends it.
 */
typedef int (*kho_fd_send_fn)(void *ctx, const __u64 *tokens, const int *fds, unsigned int nr);

int kho_fdtable_add_(__u64 token, int fd); /* not to the courier */
/* Return: the fd, which is the caller's now, or -ENOENT. */
int kho_fdtable_del_(__u64 token);
unsigned int kho_fdtable_count_(void);

/* Begin a session: everything is unsent. End it: changes are not noted any more. */
void kho_fdtable_begin_(void);
void kho_fdtable_end_(void);
/**
 * kho_fdtable_send_() - send what is not sent yet in this session
 * @batch: most tokens in one call of @send, at most KHO_ABI_MSG_FDS_MAX
 * Return: 0 when nothing is left; what @send returned; -ENOMEM if a change could not be noted.
 */
int kho_fdtable_send_(kho_fd_send_fn send, void *ctx, unsigned int batch);

/**
 * kho_fdtable_hold_() - one batch of what the courier does not hold, from place *@pos on
 * @send: NULL: only look
 * Return: 1: there may be more; 0: that was all; what @send returned.
 */
int kho_fdtable_hold_(kho_fd_send_fn send, void *ctx, unsigned int *pos, unsigned int batch);
/* The courier holds nothing. */
void kho_fdtable_unhold_(void);

/* Call @fn for every entry, locked; stops when it returns not 0, and returns that. */
int kho_fdtable_each_(int (*fn)(void *ctx, __u64 token, int fd), void *ctx);
/* The same with the change of each. Return: the last change, of whatever entry. @fn may be NULL. */
unsigned long kho_fdtable_changes_(int (*fn)(void *ctx, __u64 token, int fd, unsigned long change),
				   void *ctx);
/* Close every fd and empty the table. */
void kho_fdtable_clear_(void);

#endif
