/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * TCP's counters as stream positions.
 *
 *	consumed = bytes received in order - bytes not read yet (SIOCINQ)
 *	queued   = bytes acknowledged + bytes not acknowledged yet (SIOCOUTQ)
 *
 * Two calls for each, and segments come in between: so the first is asked for again after the
 * second, and all of it anew until it has not moved. A FIN takes a number of the sequence like
 * a byte. Of the peer's, "received" has it and SIOCINQ has not; of ours, "queued" has it.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <kho/progress.h>

#include "arena.h"

#define TRIES 1000

/* Of tcpi_state; the kernel's numbers, which <linux/tcp.h> does not name. */
enum {
	ESTABLISHED = 1,
	FIN_WAIT1 = 4,
	FIN_WAIT2 = 5,
	CLOSE_WAIT = 8,
	LAST_ACK = 9,
	CLOSING = 11,
};

static int get_info(int fd, struct tcp_info *info)
{
	socklen_t len = sizeof(*info);

	memset(info, 0, sizeof(*info));
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &len))
		return kho_fail_(-errno, "fd %d: TCP_INFO: %s", fd, strerror(errno));
	if (len < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(__u64))
		return kho_fail_(-EOPNOTSUPP,
				 "this kernel does not count the bytes of a connection");
	return 0;
}

static int check(int fd)
{
	socklen_t len = sizeof(int);
	int protocol;

	if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len))
		return kho_fail_(-errno, "fd %d: %s", fd, strerror(errno));
	if (protocol != IPPROTO_TCP)
		return kho_fail_(-EPROTOTYPE,
				 "fd %d is no TCP socket: nothing counts what went through it", fd);
	return 0;
}

/* Return: 1: try again. */
static int look(int fd, struct kho_tcp_progress *p)
{
	struct tcp_info before, after;
	int unread, unacked, r, state;

	r = get_info(fd, &before);
	if (r)
		return r;
	if (ioctl(fd, SIOCINQ, &unread) || ioctl(fd, SIOCOUTQ, &unacked))
		return kho_fail_(errno == EINVAL ? -ENOTCONN : -errno, "fd %d: %s", fd,
				 strerror(errno));
	r = get_info(fd, &after);
	if (r)
		return r;
	state = after.tcpi_state;
	if (before.tcpi_state != state || before.tcpi_bytes_received != after.tcpi_bytes_received ||
	    before.tcpi_bytes_acked != after.tcpi_bytes_acked)
		return 1;
	p->peer_closed = state == CLOSE_WAIT || state == LAST_ACK || state == CLOSING;
	p->shut = state == FIN_WAIT1 || state == FIN_WAIT2 || state == LAST_ACK || state == CLOSING;
	if (state != ESTABLISHED && !p->peer_closed && !p->shut)
		return kho_fail_(-ENOTCONN, "fd %d is not connected", fd);
	p->consumed = after.tcpi_bytes_received - (unsigned int)unread - p->peer_closed;
	p->queued = after.tcpi_bytes_acked + (unsigned int)unacked - p->shut;
	return 0;
}

int kho_tcp_progress(int fd, struct kho_tcp_progress *progress)
{
	struct kho_tcp_progress p;
	int r = check(fd);

	for (int i = 0; i < TRIES && !r; i++) {
		r = look(fd, &p);
		if (!r)
			*progress = p;
		if (r <= 0)
			return r;
		r = 0;
	}
	return r ? r : kho_fail_(-EAGAIN, "fd %d: its counters do not stand still", fd);
}
