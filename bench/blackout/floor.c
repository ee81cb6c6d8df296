/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The floor: as little as a program can do and still be replaced with its memory.
 *
 *	blackout-floor exec|spawn PORT BYTES DIR
 *
 * One memfd with BYTES, all touched; one answer, at its start, for any request on any
 * connection. SIGUSR1: it stops answering and, with the memfd, the listening socket
 * and the connections inherited, executes itself, or spawns its successor and exits.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

#define CONNS 8
#define HEAD 4096 /* the answer's place; the first word is its length */

extern char **environ;

struct state {
	char **argv;
	int memfd, listener, signals;
	unsigned int generation;
	char *memory;
	size_t size;
	struct pollfd fds[CONNS + 2]; /* listener, signals, connections */
};

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void create(struct state *s, size_t size)
{
	struct sockaddr_in addr = load_addr((unsigned int)atoi(s->argv[2]));
	struct load_op op = {.index = 0, .version = 1, .kind = LOAD_GET};
	struct load_shape shape = {64, 64};
	int one = 1;
	size_t i;

	s->memfd = memfd_create("floor", 0);
	s->listener = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (s->memfd < 0 || ftruncate(s->memfd, (off_t)size) || s->listener < 0 ||
	    bind(s->listener, (struct sockaddr *)&addr, sizeof(addr)) || listen(s->listener, 64))
		fail("floor");
	s->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, s->memfd, 0);
	if (s->memory == MAP_FAILED)
		fail("mmap");
	for (i = 0; i < size; i += 4096)
		s->memory[i] = 1;
	i = load_answer(s->memory + 8, HEAD - 8, LOAD_MEMCACHED, &op, &shape);
	memcpy(s->memory, &i, sizeof(i));
}

/* FLOOR_FDS: memfd, listener, generation, connections */
static void inherit(struct state *s, const char *fds, size_t size)
{
	char *p;
	int i;

	s->memfd = (int)strtol(fds, &p, 10);
	s->listener = (int)strtol(p, &p, 10);
	s->generation = (unsigned int)strtol(p, &p, 10);
	for (i = 0; i < CONNS; i++)
		s->fds[2 + i].fd = (int)strtol(p, &p, 10);
	s->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, s->memfd, 0);
	if (s->memory == MAP_FAILED)
		fail("mmap");
}

static void tell(struct state *s, const char *name)
{
	char path[300], final[300], text[64];
	int fd, n;

	snprintf(path, sizeof(path), "%s/%s.new", s->argv[4], name);
	snprintf(final, sizeof(final), "%s/%s", s->argv[4], name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	n = snprintf(text, sizeof(text), "%d %u\n", (int)getpid(), s->generation);
	if (fd < 0 || write(fd, text, (size_t)n) != n || rename(path, final))
		fail(path);
	close(fd);
}

/* A server that has worked for a while has touched all it has. */
static void *touch(void *arg)
{
	struct state *s = arg;

	madvise(s->memory, s->size, MADV_POPULATE_WRITE);
	tell(s, "full");
	return NULL;
}

static void replace(struct state *s)
{
	struct signalfd_siginfo info;
	char fds[256];
	pid_t pid;
	int i, n;

	/* A pending signal outlives exec. */
	if (read(s->fds[1].fd, &info, sizeof(info)) != sizeof(info))
		fail("signalfd");
	n = snprintf(fds, sizeof(fds), "%d %d %u", s->memfd, s->listener, s->generation + 1);
	for (i = 0; i < CONNS; i++)
		n += snprintf(fds + n, sizeof(fds) - (size_t)n, " %d", s->fds[2 + i].fd);
	setenv("FLOOR_FDS", fds, 1);
	if (!strcmp(s->argv[1], "exec"))
		execve("/proc/self/exe", s->argv, environ);
	else if (!posix_spawn(&pid, "/proc/self/exe", NULL, NULL, s->argv, environ))
		_exit(0);
	fail("replace");
}

static void answer(struct state *s, struct pollfd *pfd)
{
	char request[256];
	size_t len;

	if (recv(pfd->fd, request, sizeof(request), 0) <= 0) {
		close(pfd->fd);
		pfd->fd = -1;
		return;
	}
	memcpy(&len, s->memory, sizeof(len));
	/* The bench's own question whether somebody is there gets it, too. */
	if (send(pfd->fd, s->memory + 8, len, MSG_NOSIGNAL) < 0)
		perror("send");
}

static void serve(struct state *s)
{
	int i, fd;

	for (;;) {
		if (poll(s->fds, CONNS + 2, -1) < 0)
			continue;
		if (s->fds[1].revents)
			replace(s);
		for (i = 2; i < CONNS + 2; i++)
			if (s->fds[i].fd >= 0 && s->fds[i].revents)
				answer(s, &s->fds[i]);
		if (!s->fds[0].revents)
			continue;
		fd = accept(s->listener, NULL, NULL);
		for (i = 2; fd >= 0 && i < CONNS + 2; i++) {
			if (s->fds[i].fd >= 0)
				continue;
			s->fds[i].fd = fd;
			fd = -1;
		}
		if (fd >= 0)
			close(fd);
	}
}

int main(int argc, char **argv)
{
	struct state s = {.argv = argv, .generation = 1};
	const char *fds = getenv("FLOOR_FDS");
	pthread_t toucher;
	sigset_t set;
	size_t size;
	int i;

	if (argc != 5)
		return 2;
	size = (size_t)strtoull(argv[3], NULL, 10);
	if (size < HEAD)
		return 2;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (i = 0; i < CONNS + 2; i++)
		s.fds[i] = (struct pollfd){.fd = -1, .events = POLLIN};
	if (fds)
		inherit(&s, fds, size);
	else
		create(&s, size);
	s.fds[0].fd = s.listener;
	s.fds[1].fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (s.fds[1].fd < 0)
		fail("signalfd");
	s.size = size;
	tell(&s, "floor");
	errno = pthread_create(&toucher, NULL, touch, &s);
	if (errno)
		fail("pthread_create");
	serve(&s);
	return 0;
}
