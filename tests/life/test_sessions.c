/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Sessions through the life of real servers: upgrades by a successor and in place, roll-backs, refusals,
 * SIGKILL under kho run; files of all kinds, and a hundred connections that nobody loses, or keeps too long.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util.h"

#define NAME "t"
#define CONNS 100
#define HANDOVERS 100

static int tear_down(void **state)
{
	char path[128];

	end_children();
	/* Fds that were on their way in a message may keep it open for a moment. */
	snprintf(path, sizeof(path), "%s/listen", test_dir);
	unlink(path);
	return 0;
}

static pid_t begin(const char *fault)
{
	static const char *const options[] = {"--restarts", "100/60", NULL};
	const char *const args[] = {"first", fault, NULL};

	return start_run(NAME, options, args);
}

static int upgrade(const char *release, const char *fault, const char *option)
{
	if (option)
		return kho("upgrade", NAME, option, "--exec", server_path, "--", release, fault,
			   NULL);
	return kho("upgrade", NAME, "--exec", server_path, "--", release, fault, NULL);
}

/* A number by a connection that stays. */
static int ask_on(int fd, char request)
{
	struct pollfd p = {fd, POLLIN, 0};
	char buf[64];
	int number;
	ssize_t n;

	assert_int_equal(send(fd, &request, 1, MSG_NOSIGNAL), 1);
	assert_int_equal(poll(&p, 1, 10000), 1);
	n = recv(fd, buf, sizeof(buf) - 1, 0);
	assert_true(n > 0);
	buf[n] = '\0';
	assert_int_equal(sscanf(buf, "%d", &number), 1);
	return number;
}

static int release_is(int fd, const char *release)
{
	struct answer a = ask(fd);

	assert_string_equal(a.release, release);
	return a.pid;
}

static void await_conns(int fd, int nr)
{
	for (int i = 0; i < 2000 && ask_on(fd, 'c') != nr; i++)
		usleep(1000);
	assert_int_equal(ask_on(fd, 'c'), nr);
}

/* kho run has them all: one that was accepted a moment ago may still be on its way. */
static void await_held_all(int fd)
{
	for (int i = 0; i < WAIT_MS && ask_on(fd, 'h'); i++)
		usleep(1000);
	assert_int_equal(ask_on(fd, 'h'), 0);
}

static void connect_all(int *conn)
{
	for (int i = 0; i < CONNS; i++) {
		conn[i] = connect_server();
		assert_true(conn[i] >= 0);
		ask(conn[i]);
	}
}

static void all_kinds_by_upgrade(void **state)
{
	int fd;

	begin("none");
	fd = connect_server();
	assert_int_equal(ask_on(fd, 'k'), 0);
	assert_int_equal(ask_on(fd, 'm'), 0);
	assert_int_equal(upgrade("2", "none", NULL), 0);
	release_is(fd, "2");
	assert_int_equal(ask_on(fd, 'k'), 0);
	assert_int_equal(ask_on(fd, 'f'), 1);
	assert_int_equal(ask_on(fd, 'm'), 0);
	assert_int_equal(upgrade("3", "none", "--in-place"), 0);
	release_is(fd, "3");
	assert_int_equal(ask_on(fd, 'k'), 0);
	assert_int_equal(ask_on(fd, 'f'), 2);
	close(fd);
}

/* Who fails after the grant leaves everything as whoever dies there would: the predecessor goes on with it. */
static void rolled_back(void **state)
{
	int conn[3], pid;

	begin("none");
	for (int i = 0; i < 3; i++) {
		conn[i] = connect_server();
		pid = release_is(conn[i], "first");
	}
	assert_int_equal(upgrade("2", "wild", NULL), 1);
	/* The first connection was the wild one's, and went with it. */
	assert_int_equal(release_is(conn[1], "first"), pid);
	release_is(conn[2], "first");
	assert_int_equal(ask_on(conn[1], 'k'), 0);
	await_conns(conn[1], 2);
	assert_int_equal(upgrade("2", "none", NULL), 0);
	release_is(conn[1], "2");
	assert_int_equal(ask_on(conn[2], 'k'), 0);
}

static void refused_without_a_handler(void **state)
{
	int fd, pid;

	begin("none");
	fd = connect_server();
	pid = release_is(fd, "first");
	assert_int_equal(upgrade("2", "no-handler", NULL), 1);
	if (!strstr(kho_out,
		    "files of kind \"dir-v1;names-v2\" are in sessions: the successor has no "
		    "handler that reads dir-v1"))
		fail_msg("%s", kho_out);
	assert_int_equal(release_is(fd, "first"), pid);
	assert_int_equal(ask_on(fd, 'k'), 0);
	/* In place, too. */
	assert_int_equal(upgrade("2", "no-handler", "--in-place"), 1);
	assert_int_equal(release_is(fd, "first"), pid);
	/* Nothing of it is in sessions: no matter. */
	assert_int_equal(ask_on(fd, 'd'), 0);
	assert_int_equal(upgrade("2", "no-handler", NULL), 0);
	release_is(fd, "2");
	assert_int_equal(ask_on(fd, 'e'), -EOPNOTSUPP);
}

/* The first file of a kind comes when the successor has been looked at. */
static void a_kind_that_comes_on_the_way(void **state)
{
	const char *const argv[] = {tool_path,	 "upgrade", NAME,      "--quiet",    "--exec",
				    server_path, "--",	    "without", "no-handler", NULL};
	pid_t child;
	int fd;

	begin("none");
	fd = connect_server();
	assert_int_equal(ask_on(fd, 'd'), 0);
	hold("predecessor-fds");
	child = fork();
	if (!child) {
		execv(tool_path, (char *const *)argv);
		_exit(99);
	}
	await_held("predecessor-fds");
	assert_int_equal(ask_on(fd, 'e'), 0);
	let_go("predecessor-fds");
	assert_int_not_equal(await_child(child), 0);
	release_is(fd, "first");
	assert_int_equal(ask_on(fd, 'k'), 0);
}

static void a_handler_that_does_not_freeze(void **state)
{
	int fd;

	begin("no-freeze");
	fd = connect_server();
	assert_int_equal(upgrade("2", "none", NULL), 1);
	release_is(fd, "first");
	assert_int_equal(ask_on(fd, 'k'), 0);
	assert_int_equal(ask_on(fd, 'd'), 0);
	assert_int_equal(upgrade("2", "none", NULL), 0);
	release_is(fd, "2");
}

/* What kho run holds is there in the next program, in the same sessions. */
static void killed(void **state)
{
	static int conn[CONNS];
	struct answer a;
	int pid, fds;

	begin("none");
	connect_all(conn);
	pid = ask(conn[0]).pid;
	fds = ask_on(conn[0], 'n');
	for (int round = 1; round <= 5; round++) {
		await_held_all(conn[0]);
		kill(pid, SIGKILL);
		for (int i = 0; i < CONNS; i++)
			a = ask(conn[i]);
		assert_int_not_equal(a.pid, pid);
		pid = a.pid;
		assert_int_equal(ask_on(conn[1], 'k'), 0);
		assert_int_equal(ask_on(conn[2], 'c'), CONNS);
		assert_int_equal(ask_on(conn[3], 'n'), fds);
		await_status(NAME, "state", "running");
	}
	/* One that goes is gone at once, and nobody has it. */
	for (int i = 1; i < CONNS; i++)
		close(conn[i]);
	await_conns(conn[0], 1);
	await_held_all(conn[0]);
	kill(pid, SIGKILL);
	ask(conn[0]);
	assert_int_equal(ask_on(conn[0], 'c'), 1);
	assert_int_equal(ask_on(conn[0], 'n'), fds);
	close(conn[0]);
}

/* Connections that come, ask and go, until somebody ends it. */
static pid_t make_noise(void)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	for (;;) {
		int conn[8];

		for (int i = 0; i < 8; i++)
			conn[i] = connect_server();
		for (int i = 0; i < 8; i++)
			if (conn[i] >= 0 && send(conn[i], "?", 1, MSG_NOSIGNAL) < 0)
				usleep(100);
		usleep((useconds_t)(random() % 500));
		for (int i = 0; i < 8; i++)
			close(conn[i]);
	}
}

/* Files come and go when it dies: what is left over is closed by the next one. */
static void killed_at_any_time(void **state)
{
	int conn, fds, pid;

	begin("none");
	seed_random();
	conn = connect_server();
	pid = ask(conn).pid;
	await_held_all(conn);
	fds = ask_on(conn, 'n');
	for (int round = 0; round < 40; round++) {
		pid_t noise = make_noise();

		usleep((useconds_t)(2000 + random() % 8000));
		kill(pid, SIGKILL);
		kill_and_wait(noise);
		pid = ask(conn).pid;
		assert_int_equal(ask_on(conn, 'k'), 0);
		await_status(NAME, "state", "running");
	}
	await_conns(conn, 1);
	assert_int_equal(ask_on(conn, 'n'), fds);
	close(conn);
}

static void no_fd_is_left_after_a_hundred(void **state)
{
	static int conn[CONNS];
	char number[8];
	int fds;

	begin("none");
	connect_all(conn);
	fds = ask_on(conn[0], 'n');
	for (int i = 0; i < HANDOVERS; i++) {
		struct answer a;

		snprintf(number, sizeof(number), "%d", i);
		if (upgrade(number, "none", i % 10 == 9 ? "--in-place" : NULL))
			fail_msg("%s", kho_out);
		a = ask(conn[i % CONNS]);
		assert_string_equal(a.release, number);
		/* Some go, some come. */
		close(conn[i % CONNS]);
		conn[i % CONNS] = connect_server();
		ask(conn[i % CONNS]);
		if (i % 20 != 19)
			continue;
		await_held_all(conn[0]);
		kill(a.pid, SIGKILL);
		ask(conn[0]);
		await_status(NAME, "state", "running");
	}
	for (int i = 0; i < CONNS; i++)
		ask(conn[i]);
	await_conns(conn[0], CONNS);
	assert_int_equal(ask_on(conn[0], 'n'), fds);
	assert_int_equal(ask_on(conn[0], 'k'), 0);
	for (int i = 0; i < CONNS; i++)
		close(conn[i]);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(all_kinds_by_upgrade, tear_down),
		cmocka_unit_test_teardown(rolled_back, tear_down),
		cmocka_unit_test_teardown(refused_without_a_handler, tear_down),
		cmocka_unit_test_teardown(a_kind_that_comes_on_the_way, tear_down),
		cmocka_unit_test_teardown(a_handler_that_does_not_freeze, tear_down),
		cmocka_unit_test_teardown(killed, tear_down),
		cmocka_unit_test_teardown(killed_at_any_time, tear_down),
		cmocka_unit_test_teardown(no_fd_is_left_after_a_hundred, tear_down),
	};
	int failed;

	util_begin(argv[0]);
	strcpy(strrchr(server_path, '/') + 1, "session_server");
	failed = cmocka_run_group_tests_name("sessions", tests, NULL, NULL);
	util_end();
	return failed;
}
