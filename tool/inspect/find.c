/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What the user calls a source: a file, a process, a server under kho run.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <kho/abi/handover.h>

#include "find.h"
#include "load.h"
#include "message.h"
#include "proc.h"
#include "source.h"
#include "tool.h"

#define ANSWER_MS 5000

static bool is_number(const char *text)
{
	return *text && strspn(text, "0123456789") == strlen(text);
}

/* The pid behind @key, a line's beginning, in what a supervisor answers, or 0. The first line is its name. */
static pid_t pid_in(const char *status, const char *key)
{
	const char *line = strstr(status, key);

	return line ? (pid_t)strtoul(line + strlen(key), NULL, 10) : 0;
}

/* A file that is no server's name is none: no complaint. */
static pid_t pid_of_name(const char *name, const char *key)
{
	static struct kho_msg reply;
	struct kho_msg_out out = {.type = KHO_MSG_CTL_STATUS};
	char path[512];
	pid_t pid = 0;
	int fd;

	for (const char *c = name; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("._-+", *c))
			return 0;
	if (strlen(name) >= NAME_SIZE || socket_path(name, path, sizeof(path), false))
		return 0;
	fd = connect_control(path);
	if (fd < 0)
		return 0;
	if (!kho_msg_send_(fd, &out, ANSWER_MS) && !kho_msg_recv_(fd, &reply, ANSWER_MS) &&
	    reply.type == KHO_MSG_CTL_REPLY)
		pid = pid_in(kho_msg_text_(&reply, sizeof(struct kho_abi_msg_result)), key);
	close(fd);
	return pid;
}

pid_t find_pid(const char *what)
{
	unsigned long pid = is_number(what) ? strtoul(what, NULL, 10) : 0;

	/* One that no process can have is none, and not another one. */
	if (is_number(what))
		return pid > INT_MAX ? 0 : (pid_t)pid;
	return pid_of_name(what, "\npid ");
}

pid_t find_supervisor(const char *name)
{
	return pid_of_name(name, "\nsupervisor ");
}

/* Does it begin as an arena does? */
static bool is_arena(int fd)
{
	__u64 magic = 0;
	struct stat st;

	return !fstat(fd, &st) && S_ISREG(st.st_mode) &&
	       pread(fd, &magic, sizeof(magic), 0) == sizeof(magic) && magic == KHO_ABI_ARENA_MAGIC;
}

static int look_for_arena(pid_t pid)
{
	char path[300];
	struct dirent *d;
	int found = -ENOENT;
	DIR *list;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	list = opendir(path);
	if (!list)
		return -errno;
	while (found < 0 && (d = readdir(list))) {
		char target[64] = "";

		if (!is_number(d->d_name))
			continue;
		snprintf(path, sizeof(path), "/proc/%d/fd/%s", (int)pid, d->d_name);
		/* Opening anything else could block or have effects. */
		if (readlink(path, target, sizeof(target) - 1) < 0 || strncmp(target, "/memfd:", 7))
			continue;
		found = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
		if (found >= 0 && !is_arena(found)) {
			close(found);
			found = -ENOENT;
		}
	}
	closedir(list);
	return found;
}

int find_arena(const char *what, pid_t pid)
{
	int fd = look_for_arena(pid);

	if (fd >= 0)
		return fd;
	complain("%s: process %d %s", what, (int)pid,
		 fd == -ENOENT ? "is none, or has no arena open"
			       : "may not be looked into: be its user, or root");
	return fd;
}

/* Of kho save: what it holds is looked at, in memory. Takes @fd. */
static int open_saved(struct source *s, const char *what, int fd)
{
	int arena = load_arena(what, "saved");

	close(fd);
	return arena < 0 ? arena : source_open_fd(s, what, arena, false, 0);
}

/* A server's name comes before a file's: ./NAME is the file. */
int source_open(struct source *s, const char *what)
{
	pid_t pid = strchr(what, '/') ? 0 : find_pid(what);
	int fd, r;

	if (pid > 0) {
		fd = find_arena(what, pid);
		return fd < 0 ? fd : source_open_fd(s, what, fd, true, pid);
	}
	fd = open(what, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd >= 0 && is_saved_arena(fd))
		return open_saved(s, what, fd);
	if (fd >= 0)
		return source_open_fd(s, what, fd, !strcmp(what, "/proc/kcore"), 0);
	r = -errno;
	if (r == -ENOENT)
		complain(
			"%s: neither a file, nor a process, nor the name of a server under kho run",
			what);
	else
		complain("%s: %s", what, strerror(-r));
	return r;
}
