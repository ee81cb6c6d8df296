/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Successors whose library reads no blocks, or other ones: they are refused, before anybody stops, where
 * the arena has blocks, and only there; and nobody makes the first block while it could be rolled
 * back to one who would not read it.
 */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kho/kho.h>

#include "util.h"

#define NAME "t"

static char without[256], other[256]; /* servers: no blocks; version 2 alone */
static unsigned long long count, generation;

static int tear_down(void **state)
{
	end_children();
	return 0;
}

static void begin(const char *path, const char *fault)
{
	const char *const args[] = {"first", "1", fault, NULL};
	char usual[sizeof(server_path)];

	memcpy(usual, server_path, sizeof(usual));
	memmove(server_path, path, strlen(path) + 1);
	start_run(NAME, NULL, args);
	memcpy(server_path, usual, sizeof(usual));
	count = 1; /* start_run() asked */
	generation = ask(-1).generation;
	count++;
}

/* Who answers, after @handovers more; nothing was lost. */
static void expect(const char *release, unsigned int handovers)
{
	struct answer a = ask(-1);

	assert_string_equal(a.release, release);
	assert_int_equal(a.count, ++count);
	generation += handovers;
	assert_int_equal(a.generation, generation);
}

static int to(const char *path, const char *release, const char *fault)
{
	return kho("upgrade", NAME, "--exec", path, "--", release, "1", fault, NULL);
}

/* The predecessor serves on as if nothing had been: no generation was granted. */
static void refused(const char *path, const char *why)
{
	assert_int_equal(to(path, "x", "none"), 1);
	if (!strstr(kho_out, why))
		fail_msg("\"%s\" is not in: %s", why, kho_out);
}

#define WHY_NONE "part block: the arena has version 1, the successor reads none"
#define WHY_OTHER "part block: the arena has version 1, the successor reads version 2"

static void no_matter_while_there_are_none(void **state)
{
	begin(server_path, "none");
	assert_int_equal(to(without, "without", "none"), 0);
	expect("without", 1);
	assert_int_equal(to(other, "other", "none"), 0);
	expect("other", 1);
	assert_int_equal(to(server_path, "all", "none"), 0);
	expect("all", 1);
}

static void refused_where_there_are(void **state)
{
	begin(server_path, "none");
	assert_int_equal(ask_number('b'), 0);
	refused(without, WHY_NONE);
	expect("first", 0);
	refused(other, WHY_OTHER);
	expect("first", 0);
	assert_int_equal(to(server_path, "second", "none"), 0);
	expect("second", 1);
	/* The part came along. */
	refused(without, WHY_NONE);
	assert_int_equal(ask_number('b'), 0);
	/* In place, too: there, who cannot read it would find out when nobody is left. */
	assert_int_equal(kho("upgrade", NAME, "--in-place", "--exec", without, "--", "x", NULL), 1);
	assert_non_null(strstr(kho_out, WHY_NONE));
	expect("second", 0);
}

/* Nobody asks the lists then, but the arena says the same. */
static void forced(void **state)
{
	begin(server_path, "none");
	assert_int_equal(ask_number('b'), 0);
	assert_int_equal(kho("upgrade", NAME, "--force", "--exec", without, "--", "x", NULL), 1);
	assert_non_null(strstr(kho_out, "part \"block-v1\" is mandatory, and this reader does not "
					"know it"));
	assert_int_equal(kho("upgrade", NAME, "--force", "--exec", other, "--", "x", NULL), 1);
	assert_non_null(
		strstr(kho_out, "part \"block\": it is version 1, this reader takes version 2"));
	expect("first", 0);
}

/* The first block comes when the successor has seen an arena without. */
static void first_use_on_the_way(void **state)
{
	const char *const argv[] = {tool_path, "upgrade", NAME, "--quiet", "--exec", without,
				    "--",      "x",	  "1",	"none",	   NULL};
	pid_t upgrade;
	int status;

	begin(server_path, "none");
	hold("predecessor-fds");
	upgrade = fork();
	if (!upgrade) {
		execv(tool_path, (char *const *)argv);
		_exit(99);
	}
	await_held("predecessor-fds");
	assert_int_equal(ask_number('b'), 0);
	let_go("predecessor-fds");
	status = await_child(upgrade);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	await_status(NAME, "state", "running");
	expect("first", 0);
}

static void first_use_at_the_last_moment(void **state)
{
	begin(server_path, "last");
	refused(without, WHY_NONE);
	expect("first", 0);
	assert_int_equal(to(server_path, "second", "none"), 0);
	expect("second", 1);
}

/* The predecessor goes a little after its successor is healthy. */
static int make_blocks_soon(void)
{
	__u64 deadline = now_us() + WAIT_US;
	int r;

	while ((r = ask_number('b')) == -KHO_E_INCOMPATIBLE && now_us() < deadline)
		usleep(1000);
	return r;
}

static void not_before_the_predecessor_has_gone(void **state)
{
	begin(without, "none");
	assert_int_equal(to(server_path, "x", "eager"), 0);
	expect("waits", 1);
	assert_int_equal(to(without, "without", "none"), 0);
	expect("without", 1);
	assert_int_equal(to(server_path, "x", "eager"), 0);
	assert_int_equal(make_blocks_soon(), 0);
	expect("waits", 1);
	refused(without, WHY_NONE);
	/* Whose predecessor reads them need not wait. */
	assert_int_equal(to(server_path, "x", "eager"), 0);
	expect("eager", 1);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(no_matter_while_there_are_none, tear_down),
		cmocka_unit_test_teardown(refused_where_there_are, tear_down),
		cmocka_unit_test_teardown(forced, tear_down),
		cmocka_unit_test_teardown(first_use_on_the_way, tear_down),
		cmocka_unit_test_teardown(first_use_at_the_last_moment, tear_down),
		cmocka_unit_test_teardown(not_before_the_predecessor_has_gone, tear_down),
	};
	int failed;

	util_begin(argv[0]);
	snprintf(without, sizeof(without), "%.200s-block0", server_path);
	snprintf(other, sizeof(other), "%.200s-block2", server_path);
	failed = cmocka_run_group_tests_name("parts", tests, NULL, NULL);
	util_end();
	return failed;
}
