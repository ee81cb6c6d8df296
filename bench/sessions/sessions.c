/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Sockets in a session: time for each to be preserved, to be retrieved by a successor, and by the next
 * program after a SIGKILL, and to be closed; and what a client waits for, all of them being there.
 *
 * bench-sessions KHO JSON [SOCKETS [ROUNDS]]: as many as the limit of open files allows
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rows.h"

#define NAME "bench"
#define SPARE 200 /* fds that are no sockets */

void serve(void);

static struct rows rows;
static const char *kho_path, *self;
static char dir[64], socket_path[96];
static pid_t run;

static void fail(const char *what)
{
	fprintf(stderr, "bench-sessions: %s: %s\n", what, strerror(errno));
	if (run > 0)
		kill(run, SIGTERM);
	exit(1);
}

static pid_t spawn(const char *const *argv)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	execv(argv[0], (char *const *)argv);
	_exit(127);
}

static int connect_one(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	strcpy(addr.sun_path, socket_path);
	for (int i = 0; i < 5000; i++) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (fd < 0)
			fail("socket");
		if (!connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
			return fd;
		close(fd);
		usleep(1000);
	}
	fail("connect");
	return -1;
}

struct figures {
	double preserve, retrieve, first, close;
	unsigned int retrieved;
};

static struct figures ask(int fd)
{
	struct pollfd p = {fd, POLLIN, 0};
	struct figures f;
	char text[200];
	ssize_t n;

	if (send(fd, "?", 1, MSG_NOSIGNAL) != 1 || poll(&p, 1, 20000) != 1)
		fail("no answer");
	n = recv(fd, text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	if (sscanf(text, "%lf %lf %lf %lf %u", &f.preserve, &f.retrieve, &f.first, &f.close,
		   &f.retrieved) != 5)
		fail("answer");
	return f;
}

static pid_t server_pid(void)
{
	char command[256], line[128];
	pid_t pid = 0;
	FILE *f;

	snprintf(command, sizeof(command), "%s status " NAME, kho_path);
	f = popen(command, "re");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "pid %d", &pid);
	if (!f || pclose(f) || pid <= 1)
		fail("status");
	return pid;
}

static unsigned int limit(unsigned int want)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r))
		fail("limit");
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
	if (r.rlim_max != RLIM_INFINITY && r.rlim_max < want + SPARE) {
		want = r.rlim_max > 2 * SPARE ? (unsigned int)r.rlim_max - SPARE : SPARE;
		fprintf(stderr, "bench-sessions: %u sockets: no more files may be open\n", want);
	}
	return want;
}

static void start_run(void)
{
	char listen[128];
	const char *const argv[] = {kho_path,	"run",	"--name", NAME,	    "--restarts", "1000/60",
				    "--listen", listen, self,	  "server", NULL};

	snprintf(listen, sizeof(listen), "unix:%s", socket_path);
	run = spawn(argv);
}

static void upgrade(void)
{
	const char *const argv[] = {kho_path, "upgrade", NAME, "--quiet", NULL};
	int status;

	waitpid(spawn(argv), &status, 0);
	if (status)
		fail("upgrade");
}

static void measure(const int *fds, unsigned int nr, unsigned int rounds, const char *name)
{
	struct row *preserve = row_new(&rows, name, "libkho", "preserve_ns", "ns");
	struct row *retrieve = row_new(&rows, name, "libkho", "retrieve_ns", "ns");
	struct row *first = row_new(&rows, name, "libkho", "first_call_us", "us");
	struct row *killed = row_new(&rows, name, "libkho", "retrieve_after_kill_ns", "ns");
	struct figures f = ask(fds[0]);

	row_add(preserve, f.preserve);
	for (unsigned int i = 0; i < rounds; i++) {
		upgrade();
		f = ask(fds[i % nr]);
		if (f.retrieved != nr)
			fail("sockets are missing after an upgrade");
		row_add(retrieve, f.retrieve);
		row_add(first, f.first);
		kill(server_pid(), SIGKILL);
		f = ask(fds[i % nr]);
		if (f.retrieved != nr)
			fail("sockets are missing after a SIGKILL");
		row_add(killed, f.retrieve);
	}
}

int main(int argc, char **argv)
{
	unsigned int nr = limit(argc > 3 ? (unsigned int)atoi(argv[3]) : 10000);
	unsigned int rounds = argc > 4 ? (unsigned int)atoi(argv[4]) : 5;
	static char name[32];
	char file[128];
	int *fds;

	if (argc > 1 && !strcmp(argv[1], "server")) {
		serve();
		return 0;
	}
	if (argc < 3)
		return 2;
	kho_path = argv[1];
	self = argv[0];
	snprintf(dir, sizeof(dir), "/tmp/kho-bench-XXXXXX");
	if (!mkdtemp(dir))
		fail(dir);
	snprintf(socket_path, sizeof(socket_path), "%s/listen", dir);
	setenv("KHO_RUNDIR", dir, 1);
	fds = calloc(nr, sizeof(int));
	start_run();
	for (unsigned int i = 0; i < nr; i++) {
		fds[i] = connect_one();
		if (i % 100 == 99)
			ask(fds[i]); /* the queue of those who wait is short */
	}
	snprintf(name, sizeof(name), "sockets/%u", nr);
	measure(fds, nr, rounds, name);
	for (unsigned int i = 1; i < nr; i++)
		if (send(fds[i], "c", 1, MSG_NOSIGNAL) != 1)
			fail("close");
	for (unsigned int i = 1; i < nr; i++) {
		char c;

		if (recv(fds[i], &c, 1, 0) != 0)
			fail("a closed connection is open");
	}
	row_add(row_new(&rows, name, "libkho", "close_ns", "ns"), ask(fds[0]).close);
	kill(run, SIGTERM);
	waitpid(run, NULL, 0);
	snprintf(file, sizeof(file), "%s/listen", dir);
	unlink(file);
	rmdir(dir);
	free(fds);
	return rows_write(&rows, argv[2]);
}
