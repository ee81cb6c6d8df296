/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * How far a program was with a connection when it died, from TCP's own counters.
 *
 * A connection that outlives its program (kho_fd_preserve() under kho run) is of no use to the next one
 * unless that knows which bytes of it were read, and which answers were given to the kernel. What the
 * program noted beside each read(2) and write(2) can be one call behind. What the kernel counts cannot:
 * a program that keeps input and output in the arena, with the stream position of both, needs
 * no note of its own.
 *
 * That holds once no thread of the dead program can read or write any more. kho_start() has waited for that
 * when it returns KHO_RESTARTED.
 *
 * Only TCP counts so. AF_UNIX sockets and pipes say how much is unread, not how much ever came: whoever
 * died in the middle of a request on one of these leaves a doubt, and the connection has to be
 * closed, or the request be one that may be done twice.
 */
#ifndef KHO_PROGRESS_H
#define KHO_PROGRESS_H

#include <stdbool.h>

#include <kho/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

/**
 * struct kho_tcp_progress - stream positions of a connection
 * @consumed: bytes that were read from the socket, ever
 * @queued: bytes that the socket took from write(2) and its kin, ever; on their way or received. Of a
 *	connection that was opened by connect(2), one more: call this before the first byte, too,
 *	and look at differences
 * @peer_closed: the peer sends no more; bytes may be left to be read
 * @shut: we said that we send no more (shutdown(2))
 */
struct kho_tcp_progress {
	__u64 consumed;
	__u64 queued;
	bool peer_closed;
	bool shut;
};

/**
 * kho_tcp_progress() - ask for them
 * @fd: a TCP connection, which nobody reads from or writes to meanwhile; the peer may send
 *
 * Return: 0; -EBADF, -ENOTSOCK, -EPROTOTYPE: not a TCP socket; -ENOTCONN: not connected, or
 * not any more; -EOPNOTSUPP: a kernel that does not count (before Linux 4.1); -EAGAIN: the counters did
 * not stand still.
 */
int kho_tcp_progress(int fd, struct kho_tcp_progress *progress);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
