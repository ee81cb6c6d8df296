/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The test's side of fake_kernel.h. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fake_kernel.h"
#include "liveupdate.h"
#include "util.h"

#define MAX_PEERS 32
#define MAX_FILES 4

enum kind { NONE, DEVICE, OUTGOING, INCOMING };

/* A connection, or (with @sock -1) a session that came in and nobody has taken. */
struct peer {
	enum kind kind;
	int sock;
	char name[64];
	unsigned int nr_files;
	struct {
		uint64_t token;
		int fd; /* -1: was taken */
	} file[MAX_FILES];
};

static struct {
	pthread_mutex_t lock;
	pthread_t thread;
	struct peer peer[MAX_PEERS];
	int listen, wake;
	bool stopping, loaded;
	int open_error, preserve_error;
} kernel = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void forget(struct peer *p)
{
	for (unsigned int i = 0; i < p->nr_files; i++)
		if (p->file[i].fd >= 0)
			close(p->file[i].fd);
	if (p->sock >= 0)
		close(p->sock);
	*p = (struct peer){.sock = -1};
}

static struct peer *place(void)
{
	for (struct peer *p = kernel.peer; p < kernel.peer + MAX_PEERS; p++)
		if (p->kind == NONE && p->sock < 0)
			return p;
	abort();
}

static struct peer *named(enum kind kind, const char *name)
{
	for (struct peer *p = kernel.peer; p < kernel.peer + MAX_PEERS; p++)
		if (p->kind == kind && !strcmp(p->name, name))
			return p;
	return NULL;
}

static unsigned int count(enum kind kind)
{
	unsigned int nr = 0;

	for (struct peer *p = kernel.peer; p < kernel.peer + MAX_PEERS; p++)
		nr += p->kind == kind;
	return nr;
}

static int open_session(const struct fake_request *request, int *fd)
{
	bool create = request->nr == KHO_LIVEUPDATE_CREATE;
	struct peer *p = named(create ? OUTGOING : INCOMING, request->name);
	int pair[2];

	if (create == !!p)
		return create ? -EEXIST : -ENOENT;
	if (p && p->sock >= 0)
		return -EINVAL;
	p = p ?: place();
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -ENOMEM;
	p->kind = create ? OUTGOING : INCOMING;
	p->sock = pair[0];
	memcpy(p->name, request->name, sizeof(p->name));
	*fd = pair[1];
	return 0;
}

static int add_file(struct peer *p, uint64_t token, int fd)
{
	for (unsigned int i = 0; i < p->nr_files; i++)
		if (p->file[i].token == token)
			return -EEXIST;
	if (p->nr_files == MAX_FILES || fd < 0)
		return -ENOMEM;
	p->file[p->nr_files].token = token;
	p->file[p->nr_files++].fd = dup(fd);
	return 0;
}

static int take_file(struct peer *p, uint64_t token, int *fd)
{
	for (unsigned int i = 0; i < p->nr_files; i++) {
		if (p->file[i].token != token)
			continue;
		*fd = p->file[i].fd;
		p->file[i].fd = -1;
		return *fd < 0 ? -EIO : 0;
	}
	return -ENOENT;
}

static int serve(struct peer *p, const struct fake_request *request, int given, int *fd)
{
	bool session = p->kind == OUTGOING || p->kind == INCOMING;

	switch (request->nr) {
	case FAKE_LOADED:
		return kernel.loaded ? 0 : -ENOENT;
	case FAKE_OPEN:
		if (kernel.open_error || count(DEVICE))
			return kernel.open_error ?: -EBUSY;
		p->kind = DEVICE;
		return 0;
	case KHO_LIVEUPDATE_CREATE:
	case KHO_LIVEUPDATE_RETRIEVE:
		return p->kind == DEVICE ? open_session(request, fd) : -ENOTTY;
	case KHO_LIVEUPDATE_PRESERVE_FD:
		if (!session || p->kind == INCOMING)
			return session ? -EINVAL : -ENOTTY;
		return kernel.preserve_error ?: add_file(p, request->token, given);
	case KHO_LIVEUPDATE_RETRIEVE_FD:
		if (!session || p->kind == OUTGOING)
			return session ? -EINVAL : -ENOTTY;
		return take_file(p, request->token, fd);
	case KHO_LIVEUPDATE_FINISH:
		return p->kind == INCOMING ? 0 : session ? -EINVAL : -ENOTTY;
	default:
		return -ENOTTY;
	}
}

static void answer(struct peer *p)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct fake_request request;
	struct fake_answer result;
	struct iovec iov = {&request, sizeof(request)};
	struct msghdr mh = {.msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = &control,
			    .msg_controllen = sizeof(control.space)};
	struct cmsghdr *c;
	int given = -1, fd = -1;

	if (recvmsg(p->sock, &mh, MSG_CMSG_CLOEXEC) != sizeof(request)) {
		forget(p);
		return;
	}
	c = CMSG_FIRSTHDR(&mh);
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(&given, CMSG_DATA(c), sizeof(int));
	result.error = serve(p, &request, given, &fd);
	iov = (struct iovec){&result, sizeof(result)};
	mh = (struct msghdr){.msg_iov = &iov, .msg_iovlen = 1};
	if (fd >= 0) {
		memset(&control, 0, sizeof(control));
		mh.msg_control = &control;
		mh.msg_controllen = sizeof(control.space);
		c = &control.align;
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	sendmsg(p->sock, &mh, MSG_NOSIGNAL);
	if (fd >= 0)
		close(fd);
	if (given >= 0)
		close(given);
}

static void *run(void *arg)
{
	struct pollfd p[MAX_PEERS + 2];
	eventfd_t ignored;

	for (;;) {
		pthread_mutex_lock(&kernel.lock);
		for (int i = 0; i < MAX_PEERS; i++)
			p[i] = (struct pollfd){kernel.peer[i].sock, POLLIN, 0};
		pthread_mutex_unlock(&kernel.lock);
		p[MAX_PEERS] = (struct pollfd){kernel.listen, POLLIN, 0};
		p[MAX_PEERS + 1] = (struct pollfd){kernel.wake, POLLIN, 0};
		poll(p, MAX_PEERS + 2, -1);
		pthread_mutex_lock(&kernel.lock);
		if (p[MAX_PEERS + 1].revents)
			eventfd_read(kernel.wake, &ignored);
		for (int i = 0; i < MAX_PEERS; i++)
			if (p[i].revents && kernel.peer[i].sock == p[i].fd)
				answer(&kernel.peer[i]);
		if (p[MAX_PEERS].revents)
			place()->sock = accept4(kernel.listen, NULL, NULL, SOCK_CLOEXEC);
		pthread_mutex_unlock(&kernel.lock);
		if (kernel.stopping)
			return NULL;
	}
}

void fake_start(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/kernel", test_dir);
	unlink(addr.sun_path);
	for (struct peer *p = kernel.peer; p < kernel.peer + MAX_PEERS; p++)
		p->sock = -1;
	kernel.stopping = kernel.loaded = false;
	kernel.open_error = kernel.preserve_error = 0;
	kernel.listen = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	kernel.wake = eventfd(0, EFD_CLOEXEC);
	if (bind(kernel.listen, (struct sockaddr *)&addr, sizeof(addr)) ||
	    listen(kernel.listen, 16) || pthread_create(&kernel.thread, NULL, run, NULL))
		abort();
	setenv(FAKE_ENV, addr.sun_path, 1);
}

void fake_stop(void)
{
	kernel.stopping = true;
	eventfd_write(kernel.wake, 1);
	pthread_join(kernel.thread, NULL);
	for (struct peer *p = kernel.peer; p < kernel.peer + MAX_PEERS; p++)
		forget(p);
	close(kernel.listen);
	close(kernel.wake);
}

void fake_set(bool loaded, int open_error, int preserve_error)
{
	pthread_mutex_lock(&kernel.lock);
	kernel.loaded = loaded;
	kernel.open_error = open_error;
	kernel.preserve_error = preserve_error;
	pthread_mutex_unlock(&kernel.lock);
}

void fake_jump(void)
{
	pthread_mutex_lock(&kernel.lock);
	kernel.loaded = false;
	for (struct peer *p = kernel.peer; p < kernel.peer + MAX_PEERS; p++) {
		if (p->kind != OUTGOING) {
			forget(p);
			continue;
		}
		close(p->sock);
		p->sock = -1;
		p->kind = INCOMING;
	}
	pthread_mutex_unlock(&kernel.lock);
	eventfd_write(kernel.wake, 1);
}

void fake_hand_over(const char *name, uint64_t token, int fd)
{
	struct peer *p;

	pthread_mutex_lock(&kernel.lock);
	p = place();
	p->kind = INCOMING;
	snprintf(p->name, sizeof(p->name), "%s", name);
	add_file(p, token, fd);
	pthread_mutex_unlock(&kernel.lock);
}

static unsigned int counted(enum kind kind)
{
	unsigned int nr;

	pthread_mutex_lock(&kernel.lock);
	nr = count(kind);
	pthread_mutex_unlock(&kernel.lock);
	return nr;
}

unsigned int fake_outgoing(void)
{
	return counted(OUTGOING);
}

unsigned int fake_incoming(void)
{
	return counted(INCOMING);
}
