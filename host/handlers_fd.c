/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The library's handlers: kinds that are all in the kernel, so that the fd is enough. What they do is to tell
 * one kind from another: when a file is put in, and again when an fd comes that is said to be it.
 *
 * A memory file's pages, and its holes, are the kernel's and stay where they are; a timer goes on.
 */
#include <string.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <unistd.h>

#include "sessions.h"

static bool socket_listens(int fd, bool *listens)
{
	int on = 0;
	socklen_t len = sizeof(on);

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len))
		return false;
	*listens = on;
	return true;
}

static bool is_listening(struct liveupdate_file_handler *handler, int fd)
{
	bool listens;

	return socket_listens(fd, &listens) && listens;
}

/* Connected or not: a peer that has gone by now is for the program to find. */
static bool is_socket(struct liveupdate_file_handler *handler, int fd)
{
	bool listens;

	return socket_listens(fd, &listens) && !listens;
}

static bool has_type(int fd, mode_t type)
{
	struct stat st;

	return !fstat(fd, &st) && (st.st_mode & S_IFMT) == type;
}

static bool is_pipe(struct liveupdate_file_handler *handler, int fd)
{
	return has_type(fd, S_IFIFO);
}

/* Files without a file system are known by what /proc calls them. */
static bool has_link(int fd, const char *begin)
{
	char path[32], link[64];
	ssize_t len;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	len = readlink(path, link, sizeof(link));
	return len >= (ssize_t)strlen(begin) && !memcmp(link, begin, strlen(begin));
}

static bool is_eventfd(struct liveupdate_file_handler *handler, int fd)
{
	return has_link(fd, "anon_inode:[eventfd");
}

static bool is_timerfd(struct liveupdate_file_handler *handler, int fd)
{
	return has_link(fd, "anon_inode:[timerfd");
}

/* It never had a name in a file system. */
static bool is_memory(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && S_ISREG(st.st_mode) && !st.st_nlink && has_link(fd, "/memfd:");
}

static bool is_memfd(struct liveupdate_file_handler *handler, int fd)
{
	return is_memory(fd);
}

static bool is_file(struct liveupdate_file_handler *handler, int fd)
{
	return has_type(fd, S_IFREG) && !is_memory(fd);
}

#define KIND(name, fn)                                                                             \
	{                                                                                          \
		.compatible = name,                                                                \
		.ops = &(const struct liveupdate_file_ops){.can_preserve = fn},                    \
	}

struct liveupdate_file_handler kho_fd_handlers_[] = {
	KIND(KHO_ABI_SESSION_FILE, is_file),	   KIND(KHO_ABI_SESSION_MEMORY, is_memfd),
	KIND(KHO_ABI_SESSION_TIMERFD, is_timerfd), KIND(KHO_ABI_SESSION_EVENTFD, is_eventfd),
	KIND(KHO_ABI_SESSION_PIPE, is_pipe),	   KIND(KHO_ABI_SESSION_LISTEN, is_listening),
	KIND(KHO_ABI_SESSION_SOCKET, is_socket),
};
const unsigned int kho_nr_fd_handlers_ = sizeof(kho_fd_handlers_) / sizeof(kho_fd_handlers_[0]);
