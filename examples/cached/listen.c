/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Listening sockets: those that kho run holds for us, those that a predecessor
 * left under tokens of ours, or new ones.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <kho/host.h>

#include "cached.h"

#define BACKLOG 1024

static int fds[LISTEN_MAX];
static unsigned int nr;

int listen_fd(unsigned int i)
{
	return i < nr ? fds[i] : -1;
}

static int inherit(__u64 first)
{
	unsigned int i;
	int fd;

	for (i = 0; i < LISTEN_MAX; i++) {
		fd = kho_fd_get(first + i);
		if (fd < 0)
			continue;
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
		fds[nr++] = fd;
	}
	return nr;
}

static int open_one(const struct sockaddr *address, socklen_t len)
{
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1, err;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (address->sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, address, len) || listen(fd, BACKLOG))
		err = -errno;
	else
		err = kho_fd_preserve(TOKEN_LISTEN + nr, fd);
	if (err) {
		close(fd);
		return err;
	}
	fds[nr++] = fd;
	return 0;
}

static int open_unix(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat stat;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	if (lstat(path, &stat) == 0 && S_ISSOCK(stat.st_mode))
		unlink(path);
	return open_one((struct sockaddr *)&address, sizeof(address));
}

/* All addresses of a name, as far as the machine has them. */
static int open_tcp(const char *host, const char *port)
{
	struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
	struct addrinfo *list, *info;
	int err = -EADDRNOTAVAIL, one;

	one = getaddrinfo(host, port, &hints, &list);
	if (one) {
		fprintf(stderr, "cached: %s: %s\n", host, gai_strerror(one));
		return -EADDRNOTAVAIL;
	}
	for (info = list; info && nr < LISTEN_MAX; info = info->ai_next) {
		one = open_one(info->ai_addr, info->ai_addrlen);
		if (one && one != -EAFNOSUPPORT)
			err = one;
	}
	freeaddrinfo(list);
	return nr ? 0 : err;
}

static int open_list(char *hosts)
{
	char *host, *rest;
	int err = 0;

	for (host = strtok_r(hosts, ",", &rest); host && !err; host = strtok_r(NULL, ",", &rest))
		err = open_tcp(host, options.port);
	return err;
}

int listen_start(void)
{
	char hosts[512];
	int err;

	if (inherit(KHO_FD_LISTEN) || inherit(TOKEN_LISTEN))
		return nr;
	if (options.unix_path) {
		err = open_unix(options.unix_path);
	} else if (options.listen) {
		snprintf(hosts, sizeof(hosts), "%s", options.listen);
		err = open_list(hosts);
	} else {
		err = open_tcp(NULL, options.port);
	}
	return err ? err : (int)nr;
}
