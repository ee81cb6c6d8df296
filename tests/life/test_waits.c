/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* kho upgrade of a server that stands still, or that has only just been started. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util.h"

#define NAME "t"
#define SOON_US 20000000 /* the limit is 5 s; the machine may be busy */

static const char *const plain[] = {"1", NULL};

static int tear_down(void **state)
{
	unsetenv("KHO_TEST_SLOW");
	end_children();
	return 0;
}

static int upgrade_to(const char *release)
{
	return kho("upgrade", NAME, PATIENT, "--exec", server_path, "--", release, NULL);
}

static pid_t start_upgrade(const char *release)
{
	const char *const argv[] = {tool_path,	 "upgrade", NAME,    PATIENT, "--exec",
				    server_path, "--",	    release, NULL};
	pid_t pid = fork();

	if (!pid) {
		execv(argv[0], (char *const *)argv);
		_exit(99);
	}
	return pid;
}

static int exit_of(pid_t pid)
{
	int status = await_child(pid);

	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void a_predecessor_that_is_stopped(void **state)
{
	struct answer a, b;
	char want[64];
	__u64 begun;
	pid_t next;

	start_run(NAME, NULL, plain);
	a = ask(-1);
	kill(a.pid, SIGSTOP);
	begun = now_us();
	assert_int_equal(upgrade_to("2"), 1);
	assert_in_range(now_us() - begun, 1000000, SOON_US); /* and a short stop is no fault */
	snprintf(want, sizeof(want), "process %d, is stopped", a.pid);
	assert_non_null(strstr(kho_out, "refused before the hand-over"));
	assert_non_null(strstr(kho_out, want));
	snprintf(want, sizeof(want), "kill -CONT %d", a.pid);
	assert_non_null(strstr(kho_out, want));
	assert_string_equal(status_field(NAME, "state"), "running");
	/* An order that it has not read yet is in front of the next one, which is not sent before. */
	assert_int_equal(upgrade_to("3"), 1);
	assert_non_null(strstr(kho_out, "is stopped"));
	/* What it then says of the one that was given up does not end the next one. */
	next = start_upgrade("4");
	usleep(300000);
	kill(a.pid, SIGCONT);
	assert_int_equal(exit_of(next), 0);
	b = ask(-1);
	assert_string_equal(b.release, "4");
	assert_int_equal(b.count, a.count + 1);
	assert_int_equal(upgrade_to("5"), 0);
	assert_string_equal(ask(-1).release, "5");
	assert_string_equal(status_field(NAME, "restarts"), "0");
}

static void a_predecessor_that_is_stopped_for_a_moment(void **state)
{
	pid_t server, upgrade;

	start_run(NAME, NULL, plain);
	server = ask(-1).pid;
	kill(server, SIGSTOP);
	upgrade = start_upgrade("2");
	await_status(NAME, "state", "upgrading");
	usleep(500000);
	kill(server, SIGCONT);
	assert_int_equal(exit_of(upgrade), 0);
	assert_string_equal(ask(-1).release, "2");
}

/* The successor owns the arena, and serves: it is not to be killed for the other one's silence. */
static void a_predecessor_that_is_stopped_after_the_grant(void **state)
{
	const char *step = "predecessor-granted";
	pid_t upgrade, held;
	struct answer a, b;

	start_run(NAME, NULL, plain);
	a = ask(-1);
	hold(step);
	upgrade = start_upgrade("2");
	held = await_held(step);
	assert_int_equal(held, a.pid);
	kill(held, SIGSTOP);
	let_go(step);
	b = ask(-1);
	assert_string_equal(b.release, "2");
	assert_int_equal(exit_of(upgrade), 0);
	b = ask(-1);
	assert_string_equal(b.release, "2");
	assert_int_equal(b.count, a.count + 2);
	assert_string_equal(status_field(NAME, "restarts"), "0");
	assert_int_equal(atoi(status_field(NAME, "pid")), b.pid);
	assert_int_equal(upgrade_to("3"), 0);
}

/* A predecessor that waits for its successor, longer than one that stands still is waited for, is at work. */
static void a_successor_that_is_slow(void **state)
{
	char script[300];

	start_run(NAME, NULL, plain);
	snprintf(script, sizeof(script), "sleep 6; exec %s 2", server_path);
	assert_int_equal(
		kho("upgrade", NAME, PATIENT, "--exec", "/bin/sh", "--", "-c", script, NULL), 0);
	assert_string_equal(ask(-1).release, "2");
}

static void one_that_is_starting(void **state)
{
	struct answer a;

	setenv("KHO_TEST_SLOW", "700", 1);
	start_run(NAME, NULL, plain);
	a = ask(-1);
	kill_and_wait(a.pid);
	await_status(NAME, "state", "starting");
	assert_int_equal(upgrade_to("2"), 0);
	assert_string_equal(ask(-1).release, "2");
	await_status(NAME, "restarts", "1");
}

/* Killed, and not known to be: it has not said a word of it. That is once more, with the next one. */
static void one_that_is_dying(void **state)
{
	const char *step = "predecessor-hello";
	struct answer a, b;
	pid_t upgrade;

	start_run(NAME, NULL, plain);
	a = ask(-1);
	hold(step);
	upgrade = start_upgrade("2");
	assert_int_equal(await_held(step), a.pid);
	kill(a.pid, SIGKILL);
	let_go(step);
	assert_int_equal(exit_of(upgrade), 0);
	b = ask(-1);
	assert_string_equal(b.release, "2");
	assert_int_equal(b.count, a.count + 1);
	assert_string_equal(status_field(NAME, "restarts"), "1");
}

/* Not for ever; and its own time limit is still its own. */
static void one_that_does_not_get_ready(void **state)
{
	static const char *const options[] = {"--ready-timeout", "6s", NULL};
	pid_t first, other;

	setenv("KHO_TEST_SLOW", "100000", 1);
	start_run(NAME, options, plain);
	kill_and_wait(ask(-1).pid);
	await_status(NAME, "state", "starting");
	first = start_upgrade("2");
	usleep(300000);
	other = start_upgrade("3");
	assert_int_equal(exit_of(other), 1);
	assert_int_equal(waitpid(first, NULL, WNOHANG), 0); /* it waits; the other one did not */
	assert_int_equal(exit_of(first), 1);
	assert_string_equal(status_field(NAME, "last_upgrade"),
			    "refused: the server has not called kho_ready() yet");
	await_status(NAME, "restarts", "2");
}

/* It waits for a server that dies until there is none to wait for: then its program is the next start. */
static void one_that_fails_meanwhile(void **state)
{
	static const char *const options[] = {"--restarts", "2/60", NULL};
	struct answer a, b;
	pid_t upgrade;

	setenv("KHO_TEST_SLOW", "2000", 1);
	start_run(NAME, options, plain);
	a = ask(-1);
	kill_and_wait(a.pid);
	await_status(NAME, "state", "starting");
	upgrade = start_upgrade("2");
	usleep(300000);
	kill_and_wait(atoi(status_field(NAME, "pid")));
	assert_int_equal(exit_of(upgrade), 0);
	b = ask(-1);
	assert_string_equal(b.release, "2");
	assert_int_equal(b.count, a.count + 1);
	assert_string_equal(status_field(NAME, "state"), "running");
}

static void a_stop_meanwhile(void **state)
{
	pid_t run, upgrade;

	setenv("KHO_TEST_SLOW", "100000", 1);
	run = start_run(NAME, NULL, plain);
	kill_and_wait(ask(-1).pid);
	await_status(NAME, "state", "starting");
	upgrade = start_upgrade("2");
	usleep(300000);
	assert_int_equal(kho("stop", NAME, NULL), 0);
	assert_int_equal(exit_of(upgrade), 1);
	assert_int_equal(await_child(run), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(a_predecessor_that_is_stopped, tear_down),
		cmocka_unit_test_teardown(a_predecessor_that_is_stopped_for_a_moment, tear_down),
		cmocka_unit_test_teardown(a_predecessor_that_is_stopped_after_the_grant, tear_down),
		cmocka_unit_test_teardown(a_successor_that_is_slow, tear_down),
		cmocka_unit_test_teardown(one_that_is_starting, tear_down),
		cmocka_unit_test_teardown(one_that_is_dying, tear_down),
		cmocka_unit_test_teardown(one_that_does_not_get_ready, tear_down),
		cmocka_unit_test_teardown(one_that_fails_meanwhile, tear_down),
		cmocka_unit_test_teardown(a_stop_meanwhile, tear_down),
	};
	int failed;

	util_begin(argv[0]);
	failed = cmocka_run_group_tests_name("waits", tests, NULL, NULL);
	util_end();
	return failed;
}
