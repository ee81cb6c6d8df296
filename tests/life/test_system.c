/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * kho run and a server in their surroundings: pid 1 of a container, several listening sockets,
 * many preserved fds and none that leaks, privileges dropped, real-time priority, children of fork().
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util.h"

#define NAME "t"

static const char *const plain[] = {"1", NULL};

static int tear_down(void **state)
{
	end_children();
	return 0;
}

static int upgrade(const char *release)
{
	return kho("upgrade", NAME, "--exec", server_path, "--", release, NULL);
}

/* ---- time slices ---- */

/* Of a thread, in ns; 0 where the kernel does not tell (before Linux 6.12). */
static __u64 slice_of(pid_t tid)
{
	struct {
		__u32 size, policy;
		__u64 flags;
		__s32 nice;
		__u32 priority;
		__u64 runtime, deadline, period;
	} attr = {.size = sizeof(attr)};

	assert_int_equal(syscall(SYS_sched_getattr, tid, &attr, sizeof(attr), 0), 0);
	return attr.runtime;
}

/* What is started in haste, and what starts while others serve, is an equal in the end. */
static void slices_are_ordinary_again(void **state)
{
	pid_t run = start_run(NAME, NULL, NULL);

	assert_int_equal(slice_of(run), slice_of(0));
	assert_int_equal(slice_of(ask(-1).pid), slice_of(0));
	assert_int_equal(upgrade("2"), 0);
	assert_int_equal(slice_of(run), slice_of(0));
	assert_int_equal(slice_of(ask(-1).pid), slice_of(0));
}

/* ---- pid 1 ---- */

/* Children of a process, zombies included. @first: one of them. */
static int children_of(pid_t pid, pid_t *first)
{
	char path[64];
	int nr = 0, child;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	f = fopen(path, "re");
	for (*first = 0; f && fscanf(f, "%d", &child) == 1; nr++)
		*first = *first ?: child;
	if (f)
		fclose(f);
	return nr;
}

static pid_t only_child(pid_t pid)
{
	pid_t child;

	for (int i = 0; i < WAIT_MS; i++, usleep(1000))
		if (children_of(pid, &child) == 1)
			return child;
	fail_msg("process %d has %d children", (int)pid, children_of(pid, &child));
	return 0;
}

static pid_t start_container(void)
{
	char listen[128];
	const char *const argv[] = {"unshare", "-Urpf", "--mount-proc", tool_path, "run",
				    "--name",  NAME,	"--listen",	listen,	   server_path,
				    "1",       NULL};
	pid_t pid;

	snprintf(listen, sizeof(listen), "unix:%s/listen", test_dir);
	pid = fork();
	if (!pid) {
		if (!freopen("/dev/null", "w", stderr))
			_exit(99);
		execvp(argv[0], (char *const *)argv);
		_exit(99);
	}
	return pid;
}

static void pid_1_of_a_container(void **state)
{
	pid_t outer, init, server;
	struct answer a, b;

	if (system("unshare -Urpf --mount-proc true 2>/dev/null")) {
		print_message("no user namespaces here: pid 1 is not tested\n");
		skip();
	}
	outer = start_container();
	assert_true(try_ask(&a, WAIT_MS));
	assert_true(a.pid < 10); /* its own pid namespace */
	init = only_child(outer);
	server = only_child(init);
	for (int i = 0; i < 3; i++)
		assert_int_equal(ask_number('o'), 0);
	assert_int_equal(only_child(init), server); /* the orphans were reaped */
	kill(server, SIGKILL);
	assert_true(try_ask(&b, WAIT_MS));
	assert_int_not_equal(b.pid, a.pid);
	assert_int_equal(b.count, a.count + 1);
	await_status(NAME, "state", "running");
	assert_int_equal(upgrade("2"), 0);
	a = ask(-1);
	assert_string_equal(a.release, "2");
	assert_int_equal(a.count, b.count + 1);
	server = only_child(init);
	kill(init, SIGTERM);
	assert_int_equal(await_child(outer), 0);
	assert_int_equal(kill(server, 0), -1);
}

/* ---- listening ---- */

static unsigned short free_port(int family)
{
	struct sockaddr_in6 any = {.sin6_family = (sa_family_t)family};
	socklen_t len = family == AF_INET6 ? sizeof(any) : sizeof(struct sockaddr_in);
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool ok = fd >= 0 && !bind(fd, (struct sockaddr *)&any, len) &&
		  !getsockname(fd, (struct sockaddr *)&any, &len);

	if (fd >= 0)
		close(fd);
	return ok ? ntohs(any.sin6_port) : 0; /* at the same place in both */
}

static struct answer ask_at(int family, unsigned short port)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6,
				   .sin6_port = htons(port),
				   .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct answer a;

	if (family == AF_INET)
		assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	else
		assert_int_equal(connect(fd, (struct sockaddr *)&in6, sizeof(in6)), 0);
	a = ask(fd);
	close(fd);
	return a;
}

static void every_kind_of_listening_socket(void **state)
{
	unsigned short four = free_port(AF_INET), six = free_port(AF_INET6);
	unsigned short any = free_port(AF_INET);
	char text[3][32];
	const char *options[8] = {"--listen", text[0], "--listen", text[1], "--listen", text[2]};
	unsigned long long count;

	snprintf(text[0], sizeof(text[0]), "127.0.0.1:%u", four);
	snprintf(text[1], sizeof(text[1]), "%u", any);
	snprintf(text[2], sizeof(text[2]), "[::1]:%u", six);
	if (!six) {
		print_message("no IPv6 here: not tested\n");
		options[4] = NULL;
	}
	start_run(NAME, options, plain);
	count = ask(-1).count;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(ask_at(AF_INET, four).count, ++count);
		assert_int_equal(ask_at(AF_INET, any).count, ++count);
		if (six)
			assert_int_equal(ask_at(AF_INET6, six).count, ++count);
		assert_int_equal(ask(-1).count, ++count);
		if (!i)
			assert_int_equal(upgrade("2"), 0);
		else
			kill_and_wait(ask(-1).pid);
		count = ask(-1).count;
	}
}

/* ---- fds ---- */

static void hundreds_of_preserved_fds(void **state)
{
	setenv("KHO_TEST_PAIRS", "300", 1);
	start_run(NAME, NULL, plain);
	unsetenv("KHO_TEST_PAIRS");
	assert_int_equal(ask_number('p'), 300);
	assert_int_equal(upgrade("2"), 0);
	assert_string_equal(ask(-1).release, "2");
	assert_int_equal(ask_number('p'), 300);
	assert_int_equal(upgrade("3"), 0);
	assert_int_equal(ask_number('p'), 300);
	assert_int_equal(kho("upgrade", NAME, "--in-place", "--exec", server_path, "--", "4", NULL),
			 0);
	assert_string_equal(ask(-1).release, "4");
	assert_int_equal(ask_number('p'), 300);
}

static int fds_of(pid_t pid)
{
	char path[64];
	struct dirent *d;
	int nr = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	assert_non_null(dir);
	while ((d = readdir(dir)))
		nr += d->d_name[0] != '.';
	closedir(dir);
	return nr;
}

/* Until all who are about to close something have done so. */
static void await_fds(pid_t pid, int want)
{
	for (int i = 0; i < 3000 && fds_of(pid) != want; i++)
		usleep(1000);
	assert_int_equal(fds_of(pid), want);
}

static int settled_fds(pid_t pid)
{
	int least = fds_of(pid);

	for (int i = 0; i < 300; i++, usleep(1000))
		least = fds_of(pid) < least ? fds_of(pid) : least;
	return least;
}

static void upgrades_leak_no_fd(void **state)
{
	pid_t run = start_run(NAME, NULL, plain);
	int supervisor, server;

	assert_int_equal(upgrade("first"), 0);
	supervisor = settled_fds(run);
	server = settled_fds(ask(-1).pid);
	for (int i = 0; i < 20; i++)
		assert_int_equal(upgrade("again"), 0);
	await_fds(run, supervisor);
	await_fds(ask(-1).pid, server);
	for (int i = 0; i < 5; i++)
		assert_int_equal(kho("upgrade", NAME, "--exec", server_path, "--", "x", "1",
				     i & 1 ? "exit" : "crash-granted", NULL),
				 1);
	await_fds(run, supervisor);
	await_fds(ask(-1).pid, server);
}

/* ---- privileges, children ---- */

static void privileges_can_be_dropped(void **state)
{
	struct answer a, b;

	if (geteuid()) {
		print_message("not root: dropping privileges is not tested\n");
		skip();
	}
	setenv("KHO_TEST_DROP", "1", 1);
	start_run(NAME, NULL, plain);
	unsetenv("KHO_TEST_DROP");
	assert_int_equal(ask_number('u'), 65534);
	a = ask(-1);
	if (upgrade("2"))
		fail_msg("%s", kho_out);
	b = ask(-1);
	assert_string_equal(b.release, "2");
	assert_int_equal(b.count, a.count + 1);
	assert_int_equal(ask_number('u'), 65534);
	/* A successor that fails is refused, and rolled back, as ever. */
	assert_int_equal(kho("upgrade", NAME, "--exec", server_path, "--", "x", "1",
			     "crash-granted", NULL),
			 1);
	assert_int_equal(kho("upgrade", NAME, "--exec", server_path, "--healthy-timeout", "200",
			     "--", "x", "1", "hang-granted", NULL),
			 1);
	a = ask(-1);
	assert_int_equal(a.pid, b.pid);
	assert_int_equal(a.count, b.count + 1);
	/* One that hangs while it is root still: its supervisor ends it. */
	assert_int_equal(kho("upgrade", NAME, "--exec", server_path, "--ready-timeout", "200", "--",
			     "x", "1", "hang", NULL),
			 1);
	assert_int_equal(ask(-1).pid, b.pid);
	if (upgrade("3"))
		fail_msg("%s", kho_out);
	kill_and_wait(ask(-1).pid);
	assert_string_equal(ask(-1).release, "3");
}

/* ---- real-time priority ---- */

/* Every thread of @pid: SCHED_RR with that priority? */
static void assert_realtime(int pid, int priority)
{
	struct sched_param param;
	struct dirent *d;
	int nr = 0, tid;
	char path[32];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	assert_non_null(dir);
	while ((d = readdir(dir))) {
		if (d->d_name[0] == '.')
			continue;
		tid = atoi(d->d_name);
		assert_int_equal(sched_getscheduler(tid), SCHED_RR);
		assert_int_equal(sched_getparam(tid, &param), 0);
		assert_int_equal(param.sched_priority, priority);
		nr++;
	}
	closedir(dir);
	assert_true(nr >= 2); /* the server's, and the library's */
}

static void only_who_serves_is_urgent(void **state)
{
	static const char *const urgent[] = {"--realtime", "2", NULL};
	const struct sched_param param = {.sched_priority = 2}, ordinary = {0};
	struct rlimit limit;
	pid_t run;
	int refused;

	if (sched_setscheduler(0, SCHED_RR, &param)) {
		print_message("no real-time priority may be had here (%s): not tested\n",
			      strerror(errno));
		skip();
	}
	sched_setscheduler(0, SCHED_OTHER, &ordinary);
	run = start_run(NAME, urgent, plain);
	assert_int_equal(ask_number('i'), SCHED_OTHER);
	assert_realtime(ask(-1).pid, 2);
	if (upgrade("2"))
		fail_msg("%s", kho_out);
	assert_int_equal(ask_number('i'), SCHED_OTHER); /* the predecessor served then */
	assert_realtime(ask(-1).pid, 2);
	assert_int_equal(sched_getscheduler(run), SCHED_OTHER);
	if (!geteuid()) {
		/* Who gives up its privileges goes by the limit: refused before the grant, or as ever. */
		assert_int_equal(prlimit(run, RLIMIT_RTPRIO, NULL, &limit), 0);
		refused = kho("upgrade", NAME, "--exec", server_path, "--", "3", "1", "drop", NULL);
		assert_int_equal(refused, limit.rlim_cur < 2);
		assert_string_equal(ask(-1).release, refused ? "2" : "3");
		assert_true(!refused || strstr(kho_out, "KHO_REALTIME=2"));
		assert_realtime(ask(-1).pid, 2);
	}
	kill_and_wait(ask(-1).pid);
	assert_realtime(ask(-1).pid, 2);
}

static void a_child_of_fork_has_nothing(void **state)
{
	int line;

	start_run(NAME, NULL, plain);
	line = ask_number('f');
	if (line)
		fail_msg("server.c:%d: not what a child should get", line);
	assert_int_equal(upgrade("2"), 0); /* and the parent is none the worse for it */
	assert_int_equal(ask_number('f'), 0);
}

#define TEST(fn) cmocka_unit_test_teardown(fn, tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(slices_are_ordinary_again),
		TEST(pid_1_of_a_container),
		TEST(every_kind_of_listening_socket),
		TEST(hundreds_of_preserved_fds),
		TEST(upgrades_leak_no_fd),
		TEST(privileges_can_be_dropped),
		TEST(a_child_of_fork_has_nothing),
		TEST(only_who_serves_is_urgent),
	};
	int failed;

	util_begin(argv[0]);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	util_end();
	return failed;
}
