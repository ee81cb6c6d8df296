/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The clients of a server of bench/sessions, in a process of their own. */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "rows.h"
#include "sessions.h"

#define ANSWER_MS 20000

static int *fds;
static unsigned int nr_fds;

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "bench-sessions clients: %s: %s\n", what, strerror(errno));
	_exit(1);
}

static int connect_one(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	strcpy(addr.sun_path, path);
	for (int i = 0; i < 5000; i++) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		need(fd >= 0, "socket");
		if (!connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
			return fd;
		close(fd);
		usleep(1000);
	}
	need(false, "connect");
	return -1;
}

static struct figures ask(int fd)
{
	struct pollfd p = {fd, POLLIN, 0};
	struct figures f;
	char text[200];
	ssize_t n;

	need(send(fd, "?", 1, MSG_NOSIGNAL) == 1 && poll(&p, 1, ANSWER_MS) == 1, "no answer");
	n = recv(fd, text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	need(sscanf(text, FIGURES_IN, &f.preserve, &f.retrieve, &f.first, &f.close, &f.retrieved) ==
		     5,
	     "answer");
	return f;
}

/* Return: us until the end of them all was seen. Others hold the server's sockets, too. */
static double hang_up(const int *some, unsigned int nr)
{
	double begin = now_ns();
	char c;

	for (unsigned int i = 0; i < nr; i++)
		need(send(some[i], "c", 1, MSG_NOSIGNAL) == 1, "close");
	for (unsigned int i = 0; i < nr; i++) {
		struct pollfd p = {some[i], POLLIN, 0};

		need(poll(&p, 1, ANSWER_MS) == 1 && !recv(some[i], &c, 1, 0),
		     "a closed connection is open");
	}
	return (now_ns() - begin) / 1000;
}

void be_clients(int channel, const char *path, unsigned int max)
{
	struct order_msg order;

	fds = calloc(max, sizeof(int));
	need(fds, "memory");
	while (recv(channel, &order, sizeof(order), 0) == sizeof(order)) {
		struct reply_msg reply = {.us = 0};

		switch (order.what) {
		case CONNECT:
			while (nr_fds < order.nr)
				fds[nr_fds++] = connect_one(path);
			/* Those who wait for accept() are few, and what the server measured is theirs. */
			reply.figures = ask(fds[nr_fds - 1]);
			break;
		case ASK:
			reply.figures = ask(fds[order.nr]);
			break;
		case HANG_UP:
			reply.us = hang_up(fds + order.nr, order.count);
		}
		need(send(channel, &reply, sizeof(reply), MSG_NOSIGNAL) == sizeof(reply), "reply");
	}
	_exit(0);
}
