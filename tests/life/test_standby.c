/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* kho run --standby: who goes on after a death, with what, and who does not. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util.h"

#define NAME "t"

static const char *const plain[] = {"1", NULL};
static const char *const standby[] = {"--standby", "--restarts", "0/1", NULL};

static int tear_down(void **state)
{
	end_children();
	return 0;
}

/* Return: the pid of the standby, which is ready. */
static int await_standby(void)
{
	await_status(NAME, "standby_state", "ready");
	return atoi(status_field(NAME, "standby"));
}

static void end(pid_t run)
{
	assert_int_equal(kho("stop", NAME, NULL), 0);
	assert_int_equal(await_child(run), 0);
}

static bool lives(pid_t pid)
{
	waitpid(pid, NULL, WNOHANG); /* ours, if its parent is gone */
	return !kill(pid, 0);
}

static void assert_gone(pid_t pid)
{
	for (int i = 0; lives(pid); i++) {
		assert_in_range(i, 0, WAIT_MS);
		usleep(1000);
	}
}

static void it_takes_over(void **state)
{
	pid_t run = start_run(NAME, standby, plain);
	int conn = connect_server(), later, gone, next;
	struct answer a = ask(conn), b;

	for (int round = 0; round < 3; round++) {
		next = await_standby();
		assert_int_not_equal(next, a.pid);
		later = connect_server(); /* came, and went, since it is ready */
		ask(later);
		gone = connect_server();
		a = ask(gone);
		close(gone);
		if (round)
			usleep(100000); /* told before the death; the first time with it */
		kill(a.pid, SIGKILL);
		b = ask(conn);
		assert_int_equal(b.pid, next);
		assert_int_equal(b.count, a.count + 1);
		assert_int_equal(b.generation, a.generation + 1);
		assert_int_equal(ask(later).pid, next);
		assert_int_equal(ask(-1).pid, next);
		close(later);
		a = b;
	}
	await_standby();
	close(conn);
	await_status(NAME, "held", "0");
	end(run);
}

static void after_an_upgrade_it_is_of_the_new_program(void **state)
{
	pid_t run = start_run(NAME, standby, plain);
	int before = await_standby(), conn = connect_server();
	struct answer a;

	assert_int_equal(kho("upgrade", NAME, "--exec", server_path, "--", "2", NULL), 0);
	assert_gone(before);
	for (int i = 0; await_standby() == before; i++)
		usleep(1000);
	a = ask(conn);
	assert_string_equal(a.release, "2");
	kill(a.pid, SIGKILL);
	a = ask(conn);
	assert_string_equal(a.release, "2");
	/* One that is refused leaves it alone. */
	before = await_standby();
	assert_int_equal(kho("upgrade", NAME, "--exec", server_path, "--", "3", "1", "exit", NULL),
			 1);
	assert_int_equal(await_standby(), before);
	kill(a.pid, SIGKILL);
	assert_int_equal(ask(conn).pid, before);
	await_status(NAME, "state", "running");
	assert_int_equal(kho("upgrade", NAME, "--in-place", "--exec", server_path, "--", "4", NULL),
			 0);
	assert_string_equal(ask(conn).release, "4");
	await_standby();
	kill(before, SIGKILL);
	assert_string_equal(ask(conn).release, "4");
	close(conn);
	end(run);
}

static void not_ready_it_is_not_waited_for(void **state)
{
	pid_t run, stuck;
	struct answer a;

	hold("successor-ready");
	run = start_run(NAME, standby, plain);
	stuck = await_held("successor-ready");
	a = ask(-1);
	kill(a.pid, SIGKILL);
	assert_int_not_equal(ask(-1).pid, stuck);
	let_go("successor-ready");
	assert_gone(stuck);
	a = ask(-1);
	assert_int_not_equal(await_standby(), a.pid);
	end(run);
}

static void one_that_dies_is_replaced(void **state)
{
	pid_t run = start_run(NAME, standby, plain);
	int pid = await_standby(), conn = connect_server();
	struct answer a = ask(conn);

	kill(pid, SIGKILL);
	await_status(NAME, "standby_state", "none");
	assert_int_equal(ask(conn).pid, a.pid);
	assert_int_not_equal(await_standby(), pid);
	/* Both at once. */
	pid = await_standby();
	kill(pid, SIGKILL);
	kill(a.pid, SIGKILL);
	a = ask(conn);
	assert_int_not_equal(a.pid, pid);
	close(conn);
	end(run);
}

static void killed_while_it_takes_over(void **state)
{
	pid_t run = start_run(NAME, standby, plain), next;
	int conn = connect_server();
	struct answer a = ask(conn), b;

	await_standby();
	hold("standby-locked");
	kill(a.pid, SIGKILL);
	next = await_held("standby-locked");
	kill(next, SIGKILL);
	let_go("standby-locked");
	b = ask(conn);
	assert_int_not_equal(b.pid, next);
	assert_int_equal(b.count, a.count + 1);
	close(conn);
	end(run);
}

static void one_that_hangs_is_not_waited_for(void **state)
{
	static const char *const impatient[] = {"--standby", "--ready-timeout", "2s", NULL};
	pid_t run = start_run(NAME, impatient, plain), next;
	int conn = connect_server();
	struct answer a = ask(conn), b;

	next = await_standby();
	kill(next, SIGSTOP);
	kill(a.pid, SIGKILL);
	b = ask(conn);
	assert_int_not_equal(b.pid, next);
	assert_int_equal(b.count, a.count + 1);
	close(conn);
	end(run);
}

static void it_goes_with_the_others(void **state)
{
	pid_t run = start_run(NAME, standby, plain);
	int pid = await_standby();

	end(run);
	assert_gone(pid);
	/* And when nobody is left that it could hear of a death from. */
	run = start_run(NAME, standby, plain);
	pid = await_standby();
	kill_and_wait(run);
	assert_gone(pid);
	assert_true(ask(-1).pid > 0);
}

static void too_many_deaths_are_too_many(void **state)
{
	static const char *const few[] = {"--standby", "--restarts", "2/60", NULL};
	pid_t run = start_run(NAME, few, plain);
	int first, second;

	await_standby();
	first = ask(-1).pid;
	kill(first, SIGKILL);
	await_status(NAME, "restarts", "1");
	second = ask(-1).pid;
	assert_int_not_equal(second, first);
	await_standby();
	kill(second, SIGKILL);
	await_status(NAME, "state", "failed");
	await_status(NAME, "standby", "0");
	end(run);
}

static void nothing_to_go_on_with(void **state)
{
	assert_int_equal(kho("run", "--name", NAME, "--standby", "--fresh", server_path, NULL), 2);
	assert_non_null(strstr(kho_out, "--standby and --fresh"));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_teardown(name, tear_down)
		TEST(it_takes_over),
		TEST(after_an_upgrade_it_is_of_the_new_program),
		TEST(not_ready_it_is_not_waited_for),
		TEST(one_that_dies_is_replaced),
		TEST(killed_while_it_takes_over),
		TEST(one_that_hangs_is_not_waited_for),
		TEST(it_goes_with_the_others),
		TEST(too_many_deaths_are_too_many),
		TEST(nothing_to_go_on_with),
	};
	int failed;

	util_begin(argv[0]);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	util_end();
	return failed;
}
