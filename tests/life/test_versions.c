/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Upgrades and downgrades between programs of different versions of the same state: the count
 * goes on, in the version that the program in force reads, whoever fails or is killed whenever.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util.h"

#define NAME "t"

static pid_t run;
static int count;

static int tear_down(void **state)
{
	end_children();
	return 0;
}

static void begin(const char *versions)
{
	/* Deaths are what this is about: on a slow machine each kill of the last test is one. */
	static const char *const options[] = {"--restarts", "50/10", NULL};
	const char *const args[] = {"first", "1", "none", versions, NULL};

	run = start_run(NAME, options, args);
	count = 0;
}

/* The next count, in @version, with its objects alone: the server's own, and one or two. */
static void expect(int version)
{
	assert_int_equal(ask_number('s'), ++count * 10 + version);
	assert_int_equal(ask_number('l'), 1 + version);
}

static int to(const char *versions, const char *fault)
{
	return kho("upgrade", NAME, PATIENT, "--exec", server_path, "--", versions, "1", fault,
		   versions, NULL);
}

static void up_and_down(void **state)
{
	begin("1");
	expect(1);
	assert_int_equal(to("1-2", "none"), 0);
	expect(2);
	assert_int_equal(to("1-2", "none"), 0);
	expect(2);
	/* Who reads the newer version alone, and back again. */
	assert_int_equal(to("2", "none"), 0);
	expect(2);
	assert_int_equal(to("1-2", "none"), 0);
	expect(2);
	assert_int_equal(to("1", "none"), 0);
	expect(1);
	assert_string_equal(ask(-1).release, "1");
	assert_int_equal(to("1-2", "none"), 0);
	expect(2);
	/* In place: there is no predecessor to be waited for. */
	assert_int_equal(kho("upgrade", NAME, PATIENT, "--in-place", "--exec", server_path, "--",
			     "x", "1", "none", "1", NULL),
			 0);
	expect(1);
	await_status(NAME, "restarts", "0");
}

static void no_way(void **state)
{
	begin("2");
	expect(2);
	/* It has no hook down, and does not say that it could write version 1. */
	assert_int_equal(to("1", "none"), 1);
	assert_non_null(strstr(kho_out, "format store: we write version 2, the successor reads "
					"version 1"));
	expect(2);
	assert_int_equal(to("1-2", "none"), 0);
	expect(2);
}

static void rolled_back(void **state)
{
	static const char *const faults[] = {"crash-granted", "crash-migrated"};

	begin("1");
	for (int i = 0; i < 2; i++) {
		expect(1);
		assert_int_equal(to("1-2", faults[i]), 1);
		assert_non_null(strstr(kho_out, "rolled back"));
		expect(1);
		assert_string_equal(ask(-1).release, "first");
	}
	assert_int_equal(to("1-2", "none"), 0);
	expect(2);
	/* What the one of before reads is there already: it goes on with it, and is not stuck. */
	assert_int_equal(to("1", "crash-granted"), 1);
	expect(1);
	assert_string_equal(ask(-1).release, "1-2");
	assert_int_equal(to("1", "none"), 0);
	expect(1);
	assert_int_equal(to("1-2", "none"), 0);
	/* Up to there it costs nothing. */
	assert_int_equal(to("1", "exit"), 1);
	expect(2);
	kill(ask(-1).pid, SIGKILL);
	ask(-1);
	expect(2);
}

/* A death before the program is healthy: the next one finds the old version, and migrates by itself. */
static void killed_at(const char *step, const char *from, const char *next, int version)
{
	const char *const argv[] = {tool_path, "upgrade", NAME,	  "--exec", server_path, "--",
				    next,      "1",	  "none", next,	    NULL};
	pid_t upgrade, held;
	int status, got;

	begin(from);
	expect(version);
	hold(step);
	upgrade = fork();
	if (!upgrade) {
		execv(tool_path, (char *const *)argv);
		_exit(99);
	}
	held = await_held(step);
	kill(held, SIGKILL);
	let_go(step);
	status = await_child(upgrade);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) <= 1);
	ask(-1);
	got = ask_number('s');
	assert_int_equal(got / 10, ++count);
	assert_true(got % 10 == 1 || got % 10 == 2);
	assert_int_equal(ask_number('l'), 1 + got % 10);
	await_status(NAME, "state", "running");
	assert_int_equal(to("1-2", "none"), 0);
	expect(2);
	assert_int_equal(to("1", "none"), 0);
	expect(1);
	end_children();
}

static void killed_at_each_step(void **state)
{
	static const char *const steps[] = {"migration-built", "migration-swapped",
					    "migration-settled", "migration-finished"};

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		printf("step %s\n", steps[i]);
		fflush(stdout);
		killed_at(steps[i], "1", "1-2", 1); /* the successor, up */
		killed_at(steps[i], "1-2", "1", 2); /* the predecessor, down */
	}
}

/* Versions back and forth, while whoever serves is killed at any time. */
static void killed_at_any_time(void **state)
{
	unsigned int seed = seed_random();

	begin("1");
	for (int i = 0; i < 12; i++) {
		const char *const argv[] = {
			tool_path,	     "upgrade", NAME, "--quiet", "--exec",
			server_path,	     "--",	"x",  "1",	 "none",
			i & 1 ? "1" : "1-2", NULL};
		pid_t server = ask(-1).pid, upgrade = fork();
		int status;

		if (!upgrade) {
			execv(tool_path, (char *const *)argv);
			_exit(99);
		}
		usleep((unsigned int)rand_r(&seed) % 12000);
		kill(server, SIGKILL);
		status = await_child(upgrade);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) <= 1);
		ask(-1);
		status = ask_number('s');
		assert_int_equal(status / 10, ++count);
		await_status(NAME, "state", "running");
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(up_and_down, tear_down),
		cmocka_unit_test_teardown(no_way, tear_down),
		cmocka_unit_test_teardown(rolled_back, tear_down),
		cmocka_unit_test_teardown(killed_at_each_step, tear_down),
		cmocka_unit_test_teardown(killed_at_any_time, tear_down),
	};
	int failed;

	util_begin(argv[0]);
	failed = cmocka_run_group_tests_name("versions", tests, NULL, NULL);
	util_end();
	return failed;
}
