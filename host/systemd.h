/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Private to the life side: a service manager that speaks systemd's protocol, for a server that it
 * starts by itself, without kho run. systemd.c.
 */
#ifndef KHO_HOST_SYSTEMD_H
#define KHO_HOST_SYSTEMD_H

#include <sys/socket.h>
#include <sys/un.h>

#include "courier.h"
#include "life.h"

/* Where a manager listens. @fd: a socket of ours to say things from; -1: there is none. */
struct kho_manager {
	int fd;
	struct sockaddr_un to;
	socklen_t to_len;
};

/* @path: what NOTIFY_SOCKET says. Return: 0; -EINVAL: that is no address; -errno of the socket. */
int kho_manager_open_(struct kho_manager *manager, const char *path);
/* @fd: goes along, or -1. @flags: of sendmsg(2). Return: 0, -EAGAIN, -EBADF (@fd), -EPIPE: there is nobody. */
int kho_manager_send_(const struct kho_manager *manager, const char *text, int fd, int flags);

/*
 * Is there one, and what did it keep for us? Puts the arena into @env, and takes the variables of one
 * start away. Return: 0; -EINVAL, -EBADF: the environment is wrong.
 */
int kho_systemd_read_(struct kho_environ *env);
/* Put what it kept, and sockets that it listens on for us, into the table. Return: 0 or negative. */
int kho_systemd_take_fds_(void);
/* We own the arena: it keeps that, and from now on our fds. */
void kho_systemd_attach_(void);
/* Tell it: READY=1 and the like. Nothing happens without one. */
void kho_systemd_tell_(const char *text);
/* The server went round its loops. */
void kho_systemd_alive_(void);
/* We are not its service any more. */
void kho_systemd_forget_(void);

extern const struct kho_courier kho_courier_systemd_;

#endif
