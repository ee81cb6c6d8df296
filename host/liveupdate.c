/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The live update orchestrator of Linux (7.2's requests), as far as files go: see liveupdate.h. All
 * system calls go through one struct, so that tests need no kernel that has it.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "arena.h"
#include "liveupdate.h"
#include "proc.h"

#define OPEN_MS 1000 /* whoever else opens the device does so for one request */

_Static_assert(sizeof(struct kho_liveupdate_session) == 72, "session");
_Static_assert(sizeof(struct kho_liveupdate_file) == 16, "file");
_Static_assert(sizeof(struct kho_liveupdate_finish) == 8, "finish");

static int call_open(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int call_request(int fd, unsigned long nr, void *arg)
{
	return ioctl(fd, nr, arg) < 0 ? -errno : 0;
}

static void call_close(int fd)
{
	close(fd);
}

static bool call_kexec_loaded(void)
{
	char text[8];

	return kho_proc_text_(AT_FDCWD, "/sys/kernel/kexec_loaded", text, sizeof(text)) > 0 &&
	       text[0] == '1';
}

struct kho_liveupdate_calls kho_liveupdate_calls_ = {call_open, call_request, call_close,
						     call_kexec_loaded};

#define calls kho_liveupdate_calls_

static int no_device(int r)
{
	switch (r) {
	case -ENOENT:
	case -ENXIO:
	case -ENODEV:
		return kho_fail_(-ENODEV,
				 "live update: there is no " KHO_LIVEUPDATE_DEVICE
				 ": it takes Linux 7.2 with "
				 "CONFIG_LIVEUPDATE and CONFIG_LIVEUPDATE_MEMFD, booted with "
				 "kho=on liveupdate=on");
	case -EACCES:
	case -EPERM:
		return kho_fail_(-EACCES,
				 "live update: " KHO_LIVEUPDATE_DEVICE
				 " may not be opened: %s: it is "
				 "root's, unless its permissions are changed",
				 strerror(-r));
	case -EBUSY:
		return kho_fail_(-EBUSY,
				 "live update: another process keeps " KHO_LIVEUPDATE_DEVICE
				 " open, and "
				 "only one may: systemd from 261 on is one; leave it to its file "
				 "descriptor store then");
	case -EIO:
		return kho_fail_(-EIO, "live update: what the kernel before this one handed over "
				       "cannot be read: see "
				       "its log; a reboot without a hand-over clears it");
	default:
		return kho_fail_(r, "live update: " KHO_LIVEUPDATE_DEVICE ": %s", strerror(-r));
	}
}

static int open_device(void)
{
	__u64 deadline = kho_now_ms_() + OPEN_MS;
	int fd;

	while ((fd = calls.open(KHO_LIVEUPDATE_DEVICE)) == -EBUSY && kho_left_ms_(deadline))
		usleep(10000);
	return fd < 0 ? no_device(fd) : fd;
}

static int unknown(int r, const char *what)
{
	if (r == -ENOTTY || r == -E2BIG)
		return kho_fail_(r,
				 "live update: this kernel does not know \"%s\" as Linux 7.2 does: "
				 "its interface has changed",
				 what);
	return kho_fail_(r, "live update: %s: %s", what, strerror(-r));
}

static int session(const char *name, unsigned long nr, const char *what)
{
	struct kho_liveupdate_session arg = {.size = sizeof(arg), .fd = -1};
	size_t len = strlen(name);
	int device, r;

	if (!len || len > KHO_LIVEUPDATE_NAME_MAX)
		return kho_fail_(-EINVAL, "live update: a session's name has 1 to %d bytes",
				 KHO_LIVEUPDATE_NAME_MAX);
	memcpy(arg.name, name, len);
	device = open_device();
	if (device < 0)
		return device;
	r = calls.request(device, nr, &arg);
	calls.close(device);
	if (!r)
		return arg.fd;
	if (r == -EEXIST)
		return kho_fail_(r, "live update: there is a session %s already: somebody holds it",
				 name);
	if (r == -ENOENT || (r == -EINVAL && nr == KHO_LIVEUPDATE_RETRIEVE))
		return kho_fail_(-ENOENT, "live update: no session %s came in%s", name,
				 r == -EINVAL ? " that was not taken before" : "");
	return unknown(r, what);
}

int kho_liveupdate_create_(const char *name)
{
	return session(name, KHO_LIVEUPDATE_CREATE, "create session");
}

int kho_liveupdate_find_(const char *name)
{
	return session(name, KHO_LIVEUPDATE_RETRIEVE, "retrieve session");
}

int kho_liveupdate_preserve_(int fd, int file, __u64 token)
{
	struct kho_liveupdate_file arg = {.size = sizeof(arg), .fd = file, .token = token};
	int r = calls.request(fd, KHO_LIVEUPDATE_PRESERVE_FD, &arg);

	switch (r) {
	case 0:
		return 0;
	case -EEXIST:
		return kho_fail_(r, "live update: token %llu is in the session already",
				 (unsigned long long)token);
	case -EBUSY:
		return kho_fail_(r, "live update: the file is in a session already");
	case -ENOENT:
		return kho_fail_(-EOPNOTSUPP,
				 "live update: the kernel cannot hand over a file of "
				 "this kind: for memfds it takes CONFIG_LIVEUPDATE_MEMFD");
	case -EOPNOTSUPP:
		return kho_fail_(r, "live update: the file has a seal that the kernel cannot hand "
				    "over");
	case -EINVAL:
		return kho_fail_(
			-EPERM,
			"live update: a session that came in takes no files: make one of your own");
	case -ENOMEM:
		return kho_fail_(r, "live update: no memory to preserve the file: its holes are "
				    "filled, and its pages moved");
	default:
		return unknown(r, "preserve fd");
	}
}

int kho_liveupdate_retrieve_(int fd, __u64 token)
{
	struct kho_liveupdate_file arg = {.size = sizeof(arg), .fd = -1, .token = token};
	int r = calls.request(fd, KHO_LIVEUPDATE_RETRIEVE_FD, &arg);

	if (!r)
		return arg.fd;
	if (r == -ENOENT)
		return kho_fail_(r, "live update: the session has no file under token %llu",
				 (unsigned long long)token);
	return unknown(r, "retrieve fd");
}

int kho_liveupdate_finish_(int fd)
{
	struct kho_liveupdate_finish arg = {.size = sizeof(arg)};
	int r = calls.request(fd, KHO_LIVEUPDATE_FINISH, &arg);

	return r ? unknown(r, "finish session") : 0;
}
