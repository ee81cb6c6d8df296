/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* kho(1) that asks a test's kernel: see fake_kernel.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fake_kernel.h"
#include "liveupdate.h"

static int dial(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strncpy(addr.sun_path, getenv(FAKE_ENV) ?: "/", sizeof(addr.sun_path) - 1);
	return fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) ? -ENOENT : fd;
}

/* Return: 0 or -errno; @fd: what came along, or -1. */
static int talk(int sock, const struct fake_request *request, int give, int *fd)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct fake_answer answer;
	struct iovec iov = {(void *)request, sizeof(*request)};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *c = &control.align;

	if (give >= 0) {
		mh.msg_control = &control;
		mh.msg_controllen = sizeof(control.space);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &give, sizeof(int));
	}
	if (sendmsg(sock, &mh, MSG_NOSIGNAL) < 0)
		return -ENOTTY;
	iov = (struct iovec){&answer, sizeof(answer)};
	mh.msg_control = &control;
	mh.msg_controllen = sizeof(control.space);
	if (recvmsg(sock, &mh, MSG_CMSG_CLOEXEC) != sizeof(answer))
		return -ENOTTY;
	c = CMSG_FIRSTHDR(&mh);
	*fd = -1;
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(c), sizeof(int));
	return answer.error;
}

static int fake_open(const char *path)
{
	struct fake_request request = {.nr = FAKE_OPEN};
	int fd = dial(), r, none;

	if (fd < 0)
		return fd;
	r = talk(fd, &request, -1, &none);
	if (r)
		close(fd);
	return r ?: fd;
}

static int fake_ioctl(int fd, unsigned long nr, void *arg)
{
	struct fake_request request = {.nr = nr};
	struct kho_liveupdate_session *session = arg;
	struct kho_liveupdate_file *file = arg;
	int r, came;

	if (nr == KHO_LIVEUPDATE_CREATE || nr == KHO_LIVEUPDATE_RETRIEVE) {
		memcpy(request.name, session->name, sizeof(request.name));
		r = talk(fd, &request, -1, &session->fd);
	} else if (nr == KHO_LIVEUPDATE_FINISH) {
		r = talk(fd, &request, -1, &came);
	} else {
		request.token = file->token;
		r = talk(fd, &request, nr == KHO_LIVEUPDATE_PRESERVE_FD ? file->fd : -1, &came);
		if (nr == KHO_LIVEUPDATE_RETRIEVE_FD)
			file->fd = came;
	}
	return r;
}

static void fake_close(int fd)
{
	close(fd);
}

static bool fake_loaded(void)
{
	struct fake_request request = {.nr = FAKE_LOADED};
	int fd = dial(), r, none;

	if (fd < 0)
		return false;
	r = talk(fd, &request, -1, &none);
	close(fd);
	return !r;
}

__attribute__((constructor)) static void install(void)
{
	kho_liveupdate_calls_ = (struct kho_liveupdate_calls){
		fake_open,
		fake_ioctl,
		fake_close,
		fake_loaded,
	};
}
