/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Sockets in a session: time for each to be preserved, to be retrieved by a successor, and by the next
 * program after a SIGKILL, and to be closed; what a client waits for, all of them being there; and the fds
 * that server and supervisor have more of after all the hand-overs, half of them kills. That has to be 0.
 *
 * A server, its kho run and its clients have each connection open; what does not fit into their limit of
 * open files goes to more servers, all of which are there at the same time.
 *
 * bench-sessions KHO JSON [SOCKETS [ROUNDS]]: a round is an upgrade and a SIGKILL of each server
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rows.h"
#include "sessions.h"

#define SPARE 400 /* fds of a process that are no connections: kho run leaves 300 to itself */
#define GROUPS_MAX 256
#define BATCH 100 /* connections for a sample of the time that each takes */
#define SETTLE_MS 1000 /* without a change */
#define START_MS 20000

static struct group {
	char name[16];
	char path[96]; /* where it listens */
	pid_t run, clients;
	int channel; /* to the clients */
	unsigned int nr;
	int run_fds, server_fds; /* before the hand-overs */
} groups[GROUPS_MAX];

static unsigned int nr_groups;
static struct rows rows;
static const char *kho_path, *self;
static char dir[64], log_path[96], case_name[32];

static void stop(void)
{
	char lock[96];

	for (unsigned int i = 0; i < nr_groups; i++) {
		if (groups[i].run > 0)
			kill(groups[i].run, SIGTERM);
		if (groups[i].channel > 0)
			close(groups[i].channel);
	}
	for (unsigned int i = 0; i < nr_groups; i++) {
		if (groups[i].run > 0)
			waitpid(groups[i].run, NULL, 0);
		if (groups[i].clients > 0)
			waitpid(groups[i].clients, NULL, 0);
		unlink(groups[i].path);
		snprintf(lock, sizeof(lock), "%s/bench%u.lock", dir, i + 1);
		unlink(lock);
	}
}

static void __attribute__((noreturn)) fail(const char *what)
{
	fprintf(stderr, "bench-sessions: %s: %s (more in %s)\n", what, strerror(errno), log_path);
	stop();
	exit(1);
}

/* What it says goes to the log: every kill is a line. */
static pid_t spawn(const char *const *argv)
{
	pid_t pid = fork();

	if (pid < 0)
		fail("fork");
	if (pid)
		return pid;
	dup2(open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600), STDERR_FILENO);
	execv(argv[0], (char *const *)argv);
	_exit(127);
}

static struct reply_msg tell(const struct group *g, enum order what, unsigned int nr,
			     unsigned int count)
{
	struct order_msg order = {what, nr, count};
	struct reply_msg reply;

	if (send(g->channel, &order, sizeof(order), MSG_NOSIGNAL) != sizeof(order) ||
	    recv(g->channel, &reply, sizeof(reply), 0) != sizeof(reply))
		fail(g->name);
	return reply;
}

/* The server, when its kho run knows that it is running: it answers a little before that. */
static pid_t server_pid(const struct group *g)
{
	char command[256], line[128];

	snprintf(command, sizeof(command), "%s status %s", kho_path, g->name);
	for (int i = 0; i < START_MS; i += 10) {
		FILE *f = popen(command, "re");
		bool running = false;
		pid_t pid = 0;

		while (f && fgets(line, sizeof(line), f)) {
			running |= !strcmp(line, "state running\n");
			sscanf(line, "pid %d", &pid);
		}
		if (!f || pclose(f))
			fail("status");
		if (running && pid > 1)
			return pid;
		usleep(10000);
	}
	fail("status: the server does not get running");
}

static unsigned int room_of_a_process(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r))
		fail("limit");
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
	return r.rlim_max > 2 * SPARE ? (unsigned int)r.rlim_max - SPARE : SPARE;
}

static void start_clients(struct group *g)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		fail("socketpair");
	g->channel = pair[0];
	g->clients = fork();
	if (g->clients < 0)
		fail("fork");
	if (!g->clients) {
		for (unsigned int i = 0; i < nr_groups; i++)
			close(groups[i].channel);
		be_clients(pair[1], g->path, g->nr);
	}
	close(pair[1]);
}

static void start_group(unsigned int nr)
{
	struct group *g = &groups[nr_groups++];
	char listen[128];
	const char *const argv[] = {kho_path,	"run",	"--name", g->name,  "--restarts", "1000/60",
				    "--listen", listen, self,	  "server", NULL};

	snprintf(g->name, sizeof(g->name), "bench%u", nr_groups);
	snprintf(g->path, sizeof(g->path), "%s/listen%u", dir, nr_groups);
	snprintf(listen, sizeof(listen), "unix:%s", g->path);
	g->nr = nr;
	start_clients(g);
	g->run = spawn(argv);
}

static void start_groups(unsigned int nr)
{
	unsigned int room = room_of_a_process(), want = (nr + room - 1) / room;

	if (!nr || want > GROUPS_MAX)
		fail("so many sockets are not possible");
	for (unsigned int left = nr; left; left -= groups[nr_groups - 1].nr)
		start_group(left / (want - nr_groups));
	row_add(row_new(&rows, case_name, "libkho", "servers", ""), want);
}

static void connect_all(void)
{
	struct row *preserve = row_new(&rows, case_name, "libkho", "preserve_ns", "ns");

	for (struct group *g = groups; g < groups + nr_groups; g++)
		for (unsigned int nr = 0; nr < g->nr;) {
			nr = nr + BATCH < g->nr ? nr + BATCH : g->nr;
			row_add(preserve, tell(g, CONNECT, nr, 0).figures.preserve);
		}
}

/* ---- hand-overs ---- */

static struct figures after(const struct group *g, unsigned int round, const char *missing)
{
	struct figures f = tell(g, ASK, round % g->nr, 0).figures;

	if (f.retrieved != g->nr)
		fail(missing);
	return f;
}

static struct figures upgrade(const struct group *g, unsigned int round)
{
	const char *const argv[] = {kho_path, "upgrade", g->name, "--quiet", NULL};
	int status;

	server_pid(g);
	waitpid(spawn(argv), &status, 0);
	if (status)
		fail("upgrade");
	return after(g, round, "sockets are missing after an upgrade");
}

static struct figures kill_server(const struct group *g, unsigned int round)
{
	kill(server_pid(g), SIGKILL);
	return after(g, round, "sockets are missing after a SIGKILL");
}

static void hand_over(unsigned int rounds)
{
	struct row *retrieve = row_new(&rows, case_name, "libkho", "retrieve_ns", "ns");
	struct row *first = row_new(&rows, case_name, "libkho", "first_call_us", "us");
	struct row *killed = row_new(&rows, case_name, "libkho", "retrieve_after_kill_ns", "ns");

	for (unsigned int i = 0; i < rounds; i++)
		for (struct group *g = groups; g < groups + nr_groups; g++) {
			struct figures f = upgrade(g, i);

			row_add(retrieve, f.retrieve);
			row_add(first, f.first);
			row_add(killed, kill_server(g, i).retrieve);
		}
}

/* ---- leaks ---- */

static int fds_of(pid_t pid)
{
	struct dirent *d;
	char path[64];
	int nr = 0;
	DIR *at;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	at = opendir(path);
	if (!at)
		fail(path);
	while ((d = readdir(at)))
		nr += d->d_name[0] != '.';
	closedir(at);
	return nr;
}

/* When @enough are left, or nothing changes any more: some are about to be closed. */
static int settled_fds(pid_t pid, int enough)
{
	int nr = fds_of(pid);

	for (int i = 0; i < SETTLE_MS && nr > enough; i += 50) {
		int now;

		usleep(50000);
		now = fds_of(pid);
		i = now == nr ? i : 0;
		nr = now;
	}
	return nr;
}

/* After hand-overs as those that follow: a server that came by them has other fds than the first one. */
static void count_fds(void)
{
	for (struct group *g = groups; g < groups + nr_groups; g++) {
		upgrade(g, 0);
		kill_server(g, 0);
		/* A connection has one fd in each; until it is idle there are others. */
		g->run_fds = settled_fds(g->run, (int)g->nr);
		g->server_fds = settled_fds(server_pid(g), (int)g->nr);
	}
}

static bool leaks(struct row *row, pid_t pid, int before)
{
	int more = settled_fds(pid, before) - before;

	row_add(row, more);
	return more > 0;
}

static bool count_leaks(void)
{
	struct row *server = row_new(&rows, case_name, "libkho", "server_leaks", "fds");
	struct row *run = row_new(&rows, case_name, "libkho", "run_leaks", "fds");
	bool any = false;

	for (struct group *g = groups; g < groups + nr_groups; g++) {
		any |= leaks(server, server_pid(g), g->server_fds);
		any |= leaks(run, g->run, g->run_fds);
	}
	return any;
}

/* ---- the end ---- */

/* All but the first connection: half of them many at a time, half one by one. */
static void close_all(void)
{
	struct row *close = row_new(&rows, case_name, "libkho", "close_ns", "ns");
	struct row *seen = row_new(&rows, case_name, "libkho", "close_seen_us", "us");

	for (struct group *g = groups; g < groups + nr_groups; g++) {
		unsigned int i = 1;

		for (; i + BATCH <= g->nr / 2; i += BATCH) {
			tell(g, HANG_UP, i, BATCH);
			row_add(close, tell(g, ASK, 0, 0).figures.close);
		}
		for (; i < g->nr; i++)
			row_add(seen, tell(g, HANG_UP, i, 1).us);
	}
}

int main(int argc, char **argv)
{
	unsigned int nr = argc > 3 ? (unsigned int)atoi(argv[3]) : 10000;
	unsigned int rounds = argc > 4 ? (unsigned int)atoi(argv[4]) : 50;
	bool leak;

	if (argc > 1 && !strcmp(argv[1], "server")) {
		serve();
		return 0;
	}
	if (argc < 3)
		return 2;
	kho_path = argv[1];
	self = argv[0];
	snprintf(case_name, sizeof(case_name), "sockets/%u", nr);
	snprintf(dir, sizeof(dir), "/tmp/kho-bench-XXXXXX");
	if (!mkdtemp(dir))
		fail(dir);
	snprintf(log_path, sizeof(log_path), "%s/log", dir);
	setenv("KHO_RUNDIR", dir, 1);
	start_groups(nr);
	connect_all();
	count_fds();
	hand_over(rounds);
	leak = count_leaks();
	close_all();
	stop();
	unlink(log_path);
	rmdir(dir);
	if (leak)
		fprintf(stderr, "bench-sessions: fds leak: see server_leaks and run_leaks\n");
	return rows_write(&rows, argv[2]) || leak;
}
