/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* kho run as a service: what it says to a manager that the test plays, and what it gets back from it. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util.h"

#define NAME "t"

static int manager;
static int stored = -1; /* the arena, as the manager keeps it */

static int set_up(void **state)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/manager", test_dir);
	unlink(addr.sun_path);
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (bind(manager, (struct sockaddr *)&addr, sizeof(addr)))
		return -1;
	return setenv("NOTIFY_SOCKET", addr.sun_path, 1);
}

static int tear_down(void **state)
{
	static const char *const names[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC",  "WATCHDOG_PID",
					    "LISTEN_FDS",    "LISTEN_FDNAMES", "LISTEN_PID"};

	end_children();
	close(manager);
	if (stored >= 0)
		close(stored);
	stored = -1;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unsetenv(names[i]);
	return 0;
}

/* The next words; an fd that comes along becomes @stored. Return: false when there are none for a while. */
static bool hear(char *words, size_t size, int ms)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {words, size - 1};
	struct msghdr mh = {.msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = &control,
			    .msg_controllen = sizeof(control.space)};
	struct pollfd p = {manager, POLLIN, 0};
	struct cmsghdr *c;
	ssize_t n;

	if (poll(&p, 1, ms) != 1)
		return false;
	n = recvmsg(manager, &mh, MSG_CMSG_CLOEXEC);
	assert_true(n > 0);
	words[n] = '\0';
	c = CMSG_FIRSTHDR(&mh);
	if (c && c->cmsg_type == SCM_RIGHTS) {
		if (stored >= 0)
			close(stored);
		memcpy(&stored, CMSG_DATA(c), sizeof(int));
	}
	return true;
}

static void await_words(const char *start)
{
	char words[512];

	do {
		assert_true(hear(words, sizeof(words), WAIT_MS));
	} while (strncmp(words, start, strlen(start)));
}

/* kho run as a manager starts it, with the arena that is stored, if it is. */
static pid_t start_service(void)
{
	char listen[128], pid[16];
	const char *argv[] = {tool_path, "run", "--name",    NAME, "--listen",
			      listen,	 "--",	server_path, NULL};
	pid_t run;

	snprintf(listen, sizeof(listen), "unix:%s/listen", test_dir);
	run = fork();
	if (run)
		return run;
	if (stored >= 0) {
		snprintf(pid, sizeof(pid), "%d", (int)getpid());
		setenv("LISTEN_PID", pid, 1);
		setenv("LISTEN_FDS", "1", 1);
		setenv("LISTEN_FDNAMES", "kho-arena", 1);
		dup2(stored, 3);
	}
	execv(argv[0], (char *const *)argv);
	_exit(127);
}

static void says_how_it_is(void **state)
{
	pid_t run = start_service();
	char words[512];

	await_words("FDSTORE=1\nFDNAME=kho-arena");
	assert_true(stored >= 0);
	await_words("READY=1\nSTATUS=served by process ");
	assert_int_equal(ask(-1).count, 1);
	kill(run, SIGTERM);
	await_words("STOPPING=1");
	assert_int_equal(await_child(run), 0);
	while (hear(words, sizeof(words), 0))
		assert_string_equal(words, "STOPPING=1");
}

static void watchdog(void **state)
{
	__u64 began;

	setenv("WATCHDOG_USEC", "200000", 1);
	start_service();
	await_words("READY=1");
	began = now_us();
	for (int i = 0; i < 5; i++)
		await_words("WATCHDOG=1");
	assert_in_range(now_us() - began, 350000, 3000000);
	end_children();
	/* It is not meant for us. */
	setenv("WATCHDOG_PID", "1", 1);
	start_service();
	await_words("READY=1");
	assert_false(hear((char[512]){0}, 512, 400));
}

/* kho run and its server are killed, and started again by the manager. */
static void from_the_store(void **state)
{
	pid_t run = start_service();
	struct answer a, b;

	await_words("READY=1");
	ask(-1);
	a = ask(-1);
	kill_and_wait(run);
	end_children();
	run = start_service();
	await_words("READY=1");
	b = ask(-1);
	assert_int_equal(b.count, a.count + 1);
	assert_int_equal(b.generation, a.generation + 1);
	/* Stopped, and started again, as with FileDescriptorStorePreserve=yes. */
	kill(run, SIGTERM);
	assert_int_equal(await_child(run), 0);
	start_service();
	await_words("READY=1");
	assert_int_equal(ask(-1).count, b.count + 1);
}

/* kho run alone is killed: its server works, and the next kho run adopts it. */
static void adopts_what_lives(void **state)
{
	pid_t run = start_service();
	struct answer a, b;

	await_words("READY=1");
	a = ask(-1);
	kill_and_wait(run);
	assert_int_equal(ask(-1).pid, a.pid);
	start_service();
	await_words("READY=1");
	b = ask(-1);
	assert_int_equal(b.pid, a.pid);
	assert_int_equal(b.count, a.count + 2);
	await_status(NAME, "state", "running");
}

/* What a manager stored is not believed. */
static void nonsense_from_the_store(void **state)
{
	stored = open("/dev/null", O_RDONLY | O_CLOEXEC);
	start_service();
	await_words("FDSTORE=1\nFDNAME=kho-arena");
	await_words("READY=1");
	assert_int_equal(ask(-1).count, 1);
}

static void no_manager(void **state)
{
	static const char *const paths[] = {"", "x", "@", "relative/path", "/nowhere/at/all"};

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		setenv("NOTIFY_SOCKET", paths[i], 1);
		setenv("LISTEN_FDS", "70000000000", 1);
		setenv("LISTEN_PID", "x", 1);
		setenv("WATCHDOG_USEC", "-5", 1);
		start_service();
		assert_int_equal(ask(-1).count, 1);
		end_children();
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(says_how_it_is, set_up, tear_down),
		cmocka_unit_test_setup_teardown(watchdog, set_up, tear_down),
		cmocka_unit_test_setup_teardown(from_the_store, set_up, tear_down),
		cmocka_unit_test_setup_teardown(adopts_what_lives, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nonsense_from_the_store, set_up, tear_down),
		cmocka_unit_test_setup_teardown(no_manager, set_up, tear_down),
	};
	int r;

	util_begin(argv[0]);
	r = cmocka_run_group_tests(tests, NULL, NULL);
	util_end();
	return r;
}
