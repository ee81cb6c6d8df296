/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Where supervisors are found: RUNDIR/NAME.sock, beside it NAME.lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <kho/abi/handover.h>

#include "tool.h"

/* A directory that others may write to, or own, would let them pose as a supervisor. */
static int check_dir(const char *path)
{
	struct stat st;

	if (lstat(path, &st))
		return -errno;
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || st.st_mode & 022) {
		complain("%s: not a directory of yours that others cannot write to: remove it, or "
			 "set " KHO_ENV_RUNDIR,
			 path);
		return -EPERM;
	}
	return 0;
}

int run_dir(char *path, size_t size, bool make)
{
	const char *dir = getenv(KHO_ENV_RUNDIR), *xdg = getenv("XDG_RUNTIME_DIR");
	int n;

	if (dir && *dir)
		n = snprintf(path, size, "%s", dir);
	else if (xdg && *xdg)
		n = snprintf(path, size, "%s/kho", xdg);
	else if (!geteuid())
		n = snprintf(path, size, "/run/kho");
	else
		n = snprintf(path, size, "/tmp/kho-%u", (unsigned int)geteuid());
	if (n < 0 || (size_t)n >= size) {
		complain("the path of the run directory is too long: set " KHO_ENV_RUNDIR);
		return -ENAMETOOLONG;
	}
	if (make && mkdir(path, 0700) && errno != EEXIST) {
		complain("%s: %s: set " KHO_ENV_RUNDIR " to a directory of yours", path,
			 strerror(errno));
		return -errno;
	}
	return make || !access(path, F_OK) ? check_dir(path) : -ENOENT;
}

static int in_run_dir(const char *name, const char *suffix, char *path, size_t size, bool make)
{
	char dir[256];
	int r = run_dir(dir, sizeof(dir), make);

	if (r)
		return r;
	if ((size_t)snprintf(path, size, "%s/%s%s", dir, name, suffix) >= size) {
		complain("%s/%s%s: longer than a socket's path may be: set " KHO_ENV_RUNDIR, dir,
			 name, suffix);
		return -ENAMETOOLONG;
	}
	return 0;
}

int socket_path(const char *name, char *path, size_t size, bool make)
{
	return in_run_dir(name, ".sock", path, size, make);
}

int lock_name(const char *name)
{
	char path[512];
	int fd, r = in_run_dir(name, ".lock", path, sizeof(path), true);

	if (r)
		return r;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		complain("%s: %s", path, strerror(errno));
		return -errno;
	}
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		complain("%s is supervised already: kho status %s shows it; choose another --name",
			 name, name);
		close(fd);
		return -EBUSY;
	}
	return fd;
}

static void fill(struct sockaddr_un *addr, const char *path)
{
	memset(addr, 0, sizeof(*addr));
	addr->sun_family = AF_UNIX;
	memcpy(addr->sun_path, path, strnlen(path, sizeof(addr->sun_path) - 1));
}

int open_control(const char *path)
{
	struct sockaddr_un addr;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	fill(&addr, path);
	unlink(path); /* we hold the name's lock: whoever made it is gone */
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || chmod(path, 0600) ||
	    listen(fd, 64)) {
		int r = -errno;

		complain("%s: %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return r;
	}
	return fd;
}

int connect_control(const char *path)
{
	static const struct timeval limit = {.tv_sec = 5};
	struct sockaddr_un addr;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	fill(&addr, path);
	/* One that is stopped accepts nobody, and once enough have come they wait here. */
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		int r = -errno;

		close(fd);
		return r;
	}
	return fd;
}
