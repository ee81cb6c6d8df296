/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Other processes: started, asked, measured, and ended by pid. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "load.h"

extern char **environ;

int load_tmpdir(char *path, size_t size)
{
	const char *base = getenv("TMPDIR");

	if ((size_t)snprintf(path, size, "%s/kho-XXXXXX", base && *base ? base : "/tmp") >= size)
		return -ENAMETOOLONG;
	return mkdtemp(path) ? 0 : -errno;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	remove(path);
	return 0;
}

void load_rmtree(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int load_mkdirs(const char *path)
{
	char dir[4096];
	size_t i;

	if ((size_t)snprintf(dir, sizeof(dir), "%s", path) >= sizeof(dir))
		return -ENAMETOOLONG;
	for (i = 1; dir[i]; i++) {
		if (dir[i] != '/')
			continue;
		dir[i] = '\0';
		mkdir(dir, 0755);
		dir[i] = '/';
	}
	return !mkdir(dir, 0755) || errno == EEXIST ? 0 : -errno;
}

unsigned int load_free_port(void)
{
	struct sockaddr_in addr = load_addr(0);
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) ||
	    getsockname(fd, (struct sockaddr *)&addr, &len)) {
		perror("a free port of 127.0.0.1");
		exit(1);
	}
	close(fd);
	return ntohs(addr.sin_port);
}

/* A server that is only bound answers nothing yet: ask it. */
static bool answers(unsigned int port)
{
	struct sockaddr_in addr = load_addr(port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	bool yes;
	char c;

	yes = fd >= 0 && !connect(fd, (struct sockaddr *)&addr, sizeof(addr)) &&
	      send(fd, "get -\r\n", 7, MSG_NOSIGNAL) == 7 && poll(&pfd, 1, 200) == 1 &&
	      recv(fd, &c, 1, 0) == 1;
	if (fd >= 0)
		close(fd);
	return yes;
}

int load_wait_port(unsigned int port, pid_t pid, uint64_t timeout)
{
	uint64_t end = load_now() + timeout;
	siginfo_t info;

	for (;;) {
		if (answers(port))
			return 0;
		memset(&info, 0, sizeof(info));
		if (pid > 0 && !waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) &&
		    info.si_pid == pid)
			return -ECHILD;
		if (load_now() > end)
			return -ETIMEDOUT;
		load_sleep(2 * LOAD_MS);
	}
}

static pid_t spawn(char *const argv[], int out, const char *cwd)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none;
	pid_t pid;
	int err;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, out, 1);
	posix_spawn_file_actions_adddup2(&actions, out, 2);
	if (cwd)
		posix_spawn_file_actions_addchdir_np(&actions, cwd);
	posix_spawnattr_init(&attr);
	sigemptyset(&none);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	err = posix_spawnp(&pid, argv[0], &actions, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	return err ? -err : pid;
}

pid_t load_spawn(char *const argv[], const char *log, const char *cwd)
{
	int fd = open(log ? log : "/dev/null", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	pid_t pid;

	if (fd < 0)
		return -errno;
	pid = spawn(argv, fd, cwd);
	close(fd);
	return pid;
}

int load_wait(pid_t pid, uint64_t timeout)
{
	uint64_t end = load_now() + timeout;
	int status;
	pid_t got;

	for (;;) {
		got = waitpid(pid, &status, WNOHANG);
		if (got == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		if (got < 0 && errno != EINTR)
			return -errno;
		if (load_now() > end)
			return -ETIMEDOUT;
		load_sleep(LOAD_MS);
	}
}

void load_end(pid_t pid, uint64_t timeout)
{
	if (pid <= 0)
		return;
	kill(pid, SIGTERM);
	if (load_wait(pid, timeout) == -ETIMEDOUT) {
		kill(pid, SIGKILL);
		load_wait(pid, 60 * LOAD_NS);
	}
}

int load_run(char *const argv[], char *out, size_t size, uint64_t timeout)
{
	uint64_t end = load_now() + timeout, now;
	struct pollfd pfd = {.events = POLLIN};
	int fds[2], status;
	size_t have = 0;
	char waste[512];
	ssize_t n;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	pid = spawn(argv, fds[1], NULL);
	close(fds[1]);
	pfd.fd = fds[0];
	/* To the end of file, or to the time-out: a program that it started may hold the pipe. */
	while (pid > 0 && (now = load_now()) < end) {
		if (poll(&pfd, 1, 20) <= 0) {
			siginfo_t info = {0};

			if (!waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) &&
			    info.si_pid == pid)
				break;
			continue;
		}
		n = have + 1 < size ? read(fds[0], out + have, size - 1 - have)
				    : read(fds[0], waste, sizeof(waste));
		if (n <= 0)
			break;
		if (have + 1 < size)
			have += (size_t)n;
	}
	close(fds[0]);
	if (size)
		out[have] = '\0';
	if (pid < 0)
		return pid;
	now = load_now();
	status = load_wait(pid, end > now ? end - now : 0);
	if (status == -ETIMEDOUT)
		load_end(pid, LOAD_NS);
	return status;
}

long long load_json_number(const char *text, const char *name)
{
	char quoted[64];
	const char *p;

	snprintf(quoted, sizeof(quoted), "\"%s\"", name);
	p = strstr(text, quoted);
	if (!p)
		return -1;
	p += strlen(quoted);
	p += strspn(p, " \t\n:");
	return *p >= '0' && *p <= '9' ? strtoll(p, NULL, 10) : -1;
}

uint64_t load_cpu(pid_t pid)
{
	unsigned long utime, stime;
	char path[64], text[1024];
	uint64_t ns = 0;
	size_t n;
	char *p;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "r");
	if (!f)
		return 0;
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	/* Fields 14 and 15; field 2, in brackets, may hold anything. */
	p = strrchr(text, ')');
	if (p && sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &utime,
			&stime) == 2)
		ns = (uint64_t)(utime + stime) * (LOAD_NS / (uint64_t)sysconf(_SC_CLK_TCK));
	return ns;
}

uint64_t load_meminfo(const char *name)
{
	unsigned long long kib = 0;
	size_t len = strlen(name);
	char line[256];
	FILE *f = fopen("/proc/meminfo", "r");

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, name, len) && line[len] == ':' &&
		    sscanf(line + len + 1, "%llu", &kib) == 1)
			break;
	fclose(f);
	return (uint64_t)kib << 10;
}

/* Its first thread may be a zombie long before its last one has gone. */
bool load_is_gone(pid_t pid)
{
	char path[64], text[512];
	unsigned int tasks = 0;
	struct dirent *entry;
	size_t n;
	char *p;
	FILE *f;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	d = opendir(path);
	while (d && (entry = readdir(d)))
		tasks += entry->d_name[0] != '.';
	if (d)
		closedir(d);
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return true;
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = '\0';
	fclose(f);
	p = strrchr(text, ')');
	return tasks <= 1 && (!p || p[1] != ' ' || p[2] == 'Z' || p[2] == 'X');
}

void load_show_tail(const char *file, const char *heading)
{
	char text[4096];
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
	ssize_t n;

	if (fd < 0)
		return;
	n = pread(fd, text, sizeof(text),
		  size > (off_t)sizeof(text) ? size - (off_t)sizeof(text) : 0);
	if (n > 0)
		fprintf(stderr, "%s%.*s\n", heading, (int)n, text);
	close(fd);
}
