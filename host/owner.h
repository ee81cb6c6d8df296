/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Private to the host's life side and kho(1): the lock's other end. See arena.h for
 * acquiring and releasing.
 *
 *	holder	the process whose keeper thread's id is in the word
 *	record	what the holder wrote beside it: who it is
 *	heir	the process that a predecessor releases the lock for
 */
#ifndef KHO_HOST_OWNER_H
#define KHO_HOST_OWNER_H

#include <kho/abi/arena.h>

#define KHO_KEEPER_COMM "kho-keeper" /* name of every keeper thread */
/* A holder that was seen dying is waited for so long. */
#define KHO_OWNER_DYING_MS 10000

/* Map page 1 of @fd for itself. Return: the mapping, or NULL with errno. */
struct kho_abi_owner *kho_owner_map_(int fd);
/* Map it as this process's lock. Return: 0 or negative. */
int kho_owner_open_(int fd);
/* Undo it; the lock must have been released. */
void kho_owner_close_(void);
/* The calling thread becomes the keeper: the kernel looks at its robust list when it dies. */
void kho_owner_keep_(void);
/* The lock was released for us: take it. No waiting, no system call. Return: 0, -EBUSY. */
int kho_owner_inherit_(void);
/* Release it for process @heir. */
void kho_owner_grant_(unsigned int heir);
/* Has the holder died? One load. */
int kho_owner_died_(void);
/* Wait until the word says that its holder died. Return: 1, or 0 after @timeout_ms, or when it is free. */
int kho_owner_wait_death_(struct kho_abi_owner *owner, unsigned int timeout_ms);

#endif
