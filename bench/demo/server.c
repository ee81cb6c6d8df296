/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The server under kho run: started, asked, upgraded, stopped, in a directory of its own. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "demo.h"

#define START_TIMEOUT (30 * LOAD_NS)
#define KHO_TIMEOUT (60 * LOAD_NS)

static char *program(struct demo *demo, const char *name, char *path, size_t size)
{
	snprintf(path, size, "%s/%s", demo->options.bin, name);
	return path;
}

/* As many files as are allowed; core dumps, where they end up in the server's directory. */
static void raise_limits(struct demo *demo)
{
	static char note[160];
	char pattern[128] = "core";
	struct rlimit limit;
	ssize_t n = -1;
	int fd;

	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	fd = open("/proc/sys/kernel/core_pattern", O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, pattern, sizeof(pattern) - 1);
		close(fd);
	}
	pattern[n > 0 ? n : 4] = '\0';
	pattern[strcspn(pattern, "\n")] = '\0';
	if (pattern[0] == '|' || pattern[0] == '/') {
		snprintf(note, sizeof(note), "off: this system sends them to \"%.100s\"", pattern);
		demo->core_note = note;
		limit = (struct rlimit){0, 0};
		setrlimit(RLIMIT_CORE, &limit);
		return;
	}
	getrlimit(RLIMIT_CORE, &limit);
	limit.rlim_cur = limit.rlim_max;
	if (!getuid())
		limit.rlim_cur = limit.rlim_max = RLIM_INFINITY;
	if (setrlimit(RLIMIT_CORE, &limit) || !limit.rlim_cur)
		demo->core_note = "off: the hard limit (ulimit -H -c) is 0";
}

void demo_server_cores(struct demo *demo)
{
	char path[600];
	struct dirent *entry;
	DIR *d = opendir(demo->dir);

	while (d && (entry = readdir(d))) {
		if (strncmp(entry->d_name, "core", 4))
			continue;
		snprintf(path, sizeof(path), "%s/%s", demo->dir, entry->d_name);
		if (!unlink(path))
			demo->core_files++;
	}
	if (d)
		closedir(d);
}

int demo_server_pid(struct demo *demo, pid_t *pid)
{
	char kho[4096], out[8192];
	char *argv[] = {program(demo, "kho", kho, sizeof(kho)), "status", demo->name, "--json",
			NULL};
	long long number;
	int status = load_run(argv, out, sizeof(out), KHO_TIMEOUT);

	number = status ? -1 : load_json_number(out, "pid");
	if (number <= 0) {
		fprintf(stderr, "demo: kho status (%d) does not tell the server's pid:\n%s\n",
			status, out);
		return -EPROTO;
	}
	*pid = (pid_t)number;
	return 0;
}

/*
 * What every build of the server is started with. Nothing may be evicted: a missing key is
 * a lost one. Room: values, and as much again for what surrounds them.
 */
static void server_args(struct demo *demo, char **argv, unsigned int n)
{
	static char limit[32], conns[32];
	uint64_t mib = demo->options.keys * (demo->shape.max + 256ULL) >> 20;
	static char *const fixed[] = {"-t", "2", "--healthy-after=300", "-m", limit, "-c", conns};
	unsigned int i;

	snprintf(limit, sizeof(limit), "%llu", (unsigned long long)mib + 256);
	snprintf(conns, sizeof(conns), "%u", demo->options.busy + demo->options.idle + 400);
	for (i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		argv[n++] = fixed[i];
	argv[n] = NULL;
}

int demo_server_start(struct demo *demo)
{
	char kho[4096], server[4096], listen[32];
	char *argv[24] = {program(demo, "kho", kho, sizeof(kho)), "run", "--name", demo->name,
			  "--listen", listen,
			  /* It is killed more often than anybody would believe in. */
			  "--restarts", "1000/10", "--",
			  program(demo, "cached-v1", server, sizeof(server))};
	int err;

	server_args(demo, argv, 10);
	snprintf(listen, sizeof(listen), "127.0.0.1:%u", demo->port);
	raise_limits(demo);
	/* Where the control socket is: short, for a socket's path has 107 bytes. */
	setenv("KHO_RUNDIR", demo->dir, 1);
	setenv("KHO_ARENA_MAX", demo->options.arena_max, 1);
	demo->supervisor = load_spawn(argv, demo->log, demo->dir);
	if (demo->supervisor < 0) {
		err = demo->supervisor;
		fprintf(stderr, "demo: %s: %s\n", kho, strerror(-err));
		return err;
	}
	err = load_wait_port(demo->port, demo->supervisor, START_TIMEOUT);
	if (err) {
		fprintf(stderr, "demo: the server does not answer: %s\n", strerror(-err));
		demo_server_log(demo);
		return err;
	}
	return demo_server_pid(demo, &demo->server);
}

/* The last line with something in it, as kho upgrade says its reason there. */
static void last_line(char *out, char *said, size_t size)
{
	char *line, *end;

	for (end = out + strlen(out); end > out && (end[-1] == '\n' || end[-1] == ' '); end--)
		end[-1] = '\0';
	line = strrchr(out, '\n');
	snprintf(said, size, "%s", line ? line + 1 : out);
}

int demo_server_upgrade(struct demo *demo, const char *build, const char *arg, char *said,
			size_t size)
{
	char kho[4096], exec[4096], out[8192];
	char *argv[32] = {program(demo, "kho", kho, sizeof(kho)), "upgrade", "--exec",
			  program(demo, build, exec, sizeof(exec))};
	unsigned int n = 4;
	int status;

	/* A bad one must not take long to be found out, nor be found out early. */
	if (arg) {
		argv[n++] = "--ready-timeout";
		argv[n++] = "1500";
		argv[n++] = "--healthy-timeout";
		argv[n++] = "2500";
	}
	argv[n++] = demo->name;
	argv[n++] = "--";
	if (arg)
		argv[n++] = (char *)arg;
	server_args(demo, argv, n);
	status = load_run(argv, out, sizeof(out), KHO_TIMEOUT);
	last_line(out, said, size);
	return status;
}

void demo_server_stop(struct demo *demo)
{
	char kho[4096], out[4096];
	char *argv[] = {program(demo, "kho", kho, sizeof(kho)), "stop", demo->name, NULL};

	if (demo->supervisor > 0) {
		load_run(argv, out, sizeof(out), KHO_TIMEOUT);
		if (load_wait(demo->supervisor, 5 * LOAD_NS) == -ETIMEDOUT) {
			load_end(demo->supervisor, 5 * LOAD_NS);
			/* Its server would wait for another supervisor. */
			if (demo->server > 0)
				kill(demo->server, SIGKILL);
		}
	}
	if (*demo->dir)
		load_rmtree(demo->dir);
}

void demo_server_log(struct demo *demo)
{
	load_show_tail(demo->log, "--- end of what the server said ---\n");
}
