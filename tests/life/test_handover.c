/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Hand-over end to end: kho run, the test server, and whatever may go wrong at any step. Each
 * request is counted in the arena, so that a count that does not go up by one means lost
 * or doubled state.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "util.h"

#define NAME "t"

static pid_t run;

static int set_up(void **state)
{
	static const char *const args[] = {"1", NULL};

	run = start_run(NAME, NULL, args);
	return 0;
}

static int tear_down(void **state)
{
	end_children();
	return 0;
}

/* Expect an answer with the next count. */
static struct answer next(unsigned long long *count, int fd)
{
	struct answer a = ask(fd);

	assert_int_equal(a.count, *count + 1);
	*count = a.count;
	return a;
}

static void upgrades_in_a_row(void **state)
{
	struct answer a = ask(-1);
	unsigned long long count = a.count, generation = a.generation;
	int conn = connect_server(), pid = a.pid;

	next(&count, conn);
	for (int i = 0; i < 10; i++) {
		char release[16];

		snprintf(release, sizeof(release), "r%d", i);
		assert_int_equal(kho("upgrade", NAME, "--exec", server_path, "--", release, NULL),
				 0);
		a = next(&count, conn); /* the old connection goes along */
		assert_string_equal(a.release, release);
		assert_int_not_equal(a.pid, pid);
		assert_int_equal(a.generation, ++generation);
		assert_int_equal(next(&count, -1).pid, a.pid);
		pid = a.pid;
	}
	assert_int_equal(atoi(status_field(NAME, "pid")), pid);
	await_status(NAME, "last_upgrade", "ok");
	await_status(NAME, "restarts", "0");
	assert_int_equal(kho("stop", NAME, NULL), 0);
	assert_int_equal(await_child(run), 0);
}

static void the_one_before_is_known(void **state)
{
	struct answer a = ask(-1);

	assert_string_equal(a.before, "-");
	assert_int_equal(a.handovers, 0);
	assert_int_equal(kho("upgrade", NAME, "--exec", server_path, "--", "two", NULL), 0);
	a = ask(-1);
	assert_string_equal(a.before, "1");
	assert_int_equal(a.handovers, 1);
	/* One that fails is nobody's predecessor, and the program before it keeps its own. */
	assert_int_equal(kho("upgrade", NAME, "--exec", server_path, "--force", "--", "three", "1",
			     "crash-granted", NULL),
			 1);
	assert_string_equal(ask(-1).before, "1");
	kill_and_wait(a.pid);
	a = ask(-1);
	assert_string_equal(a.before, "two");
	assert_int_equal(a.handovers, a.generation);
	assert_int_equal(
		kho("upgrade", NAME, "--in-place", "--exec", server_path, "--", "four", NULL), 0);
	a = ask(-1);
	assert_string_equal(a.before, "two");
	assert_int_equal(a.handovers, a.generation);
}

/* Is the arena of a process left out of core dumps? */
static bool left_out(pid_t pid)
{
	char path[64], line[512];
	bool arena = false, out = false, seen = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (strchr(line, '-') && strchr(line, '-') < strchr(line, ' '))
			arena = !strncmp(line, "550000000000-", 13);
		if (!arena || strncmp(line, "VmFlags:", 8))
			continue;
		seen = true;
		out = strstr(line, " dd");
	}
	fclose(f);
	assert_true(seen);
	return out;
}

static void in_core_dumps_if_wanted(void **state)
{
	static const char *const args[] = {"1", NULL};

	assert_true(left_out(ask(-1).pid));
	assert_int_equal(kho("upgrade", NAME, "--exec", server_path, NULL), 0);
	assert_true(left_out(ask(-1).pid));
	assert_int_equal(kho("stop", NAME, NULL), 0);
	await_child(run);
	setenv("KHO_TEST_DUMPABLE", "1", 1);
	run = start_run(NAME, NULL, args);
	unsetenv("KHO_TEST_DUMPABLE");
	assert_false(left_out(ask(-1).pid));
	assert_int_equal(kho("upgrade", NAME, "--exec", server_path, NULL), 0);
	assert_false(left_out(ask(-1).pid));
}

static void restart_run(const char *fault, const char *debug)
{
	const char *const args[] = {"1", "1", fault, NULL};

	assert_int_equal(kho("stop", NAME, NULL), 0);
	await_child(run);
	if (debug)
		setenv("KHO_DEBUG_FREEZE", debug, 1);
	run = start_run(NAME, NULL, args);
	unsetenv("KHO_DEBUG_FREEZE");
}

static void a_frozen_one_that_writes_is_caught(void **state)
{
	struct answer a, b;

	restart_run("rogue", "1");
	a = ask(-1);
	assert_int_equal(kho("upgrade", NAME, "--exec", server_path, "--", "2", "1", "slow-healthy",
			     NULL),
			 0);
	b = ask(-1);
	assert_string_equal(b.release, "2");
	assert_int_equal(b.count, a.count + 1);
	await_status(NAME, "last_death", "killed by signal 11 (SEGV)");
	await_status(NAME, "restarts", "0");
	/* Rolled back, it may write again. */
	a = ask(-1);
	assert_int_equal(kho("upgrade", NAME, "--exec", server_path, "--", "3", "1",
			     "crash-granted", NULL),
			 1);
	b = ask(-1);
	assert_int_equal(b.pid, a.pid);
	assert_int_equal(b.count, a.count + 1);
	/* Without it nobody is caught: the program that goes says goodbye. */
	restart_run("rogue", NULL);
	assert_int_equal(kho("upgrade", NAME, "--exec", server_path, "--", "2", "1", "slow-healthy",
			     NULL),
			 0);
	assert_string_equal(ask(-1).release, "2");
	assert_null(strstr(status_field(NAME, "last_death"), "SEGV"));
}

static void in_place(void **state)
{
	struct answer a = ask(-1), b;
	unsigned long long count = a.count;
	int conn = connect_server();

	next(&count, conn);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(kho("upgrade", NAME, "--in-place", "--exec", server_path, "--",
				     "inplace", NULL),
				 0);
		b = next(&count, conn);
		assert_int_equal(b.pid, a.pid);
		assert_string_equal(b.release, "inplace");
		assert_int_equal(b.generation, a.generation + 1 + i);
	}
	/* A crash afterwards restarts the new program. */
	kill(b.pid, SIGKILL);
	b = next(&count, -1);
	assert_int_not_equal(b.pid, a.pid);
	assert_string_equal(b.release, "inplace");
}

static void a_crash_loses_nothing(void **state)
{
	unsigned long long count = ask(-1).count;
	int pid = ask(-1).pid;

	count++;
	for (int i = 0; i < 3; i++) {
		struct answer a;

		kill(pid, SIGKILL);
		a = next(&count, -1);
		assert_int_not_equal(a.pid, pid);
		pid = a.pid;
	}
	await_status(NAME, "restarts", "3");
	await_status(NAME, "last_death", "killed by signal 9 (KILL)");
}

/* ---- successors that must not get through ------------------------------------------ */

static void bad(const char *version, const char *fault, const char *words, bool in_place_too)
{
	struct answer before = ask(-1), a;
	unsigned long long count = before.count;
	int conn = connect_server();

	for (int how = 0; how <= in_place_too; how++) {
		assert_int_equal(kho("upgrade", NAME, "--exec", server_path, "--ready-timeout",
				     "400", "--healthy-timeout", "400",
				     how ? "--in-place" : "--force", "--", "bad", version, fault,
				     NULL),
				 1);
		if (!strstr(kho_out, words))
			fail_msg("\"%s\" is not in: %s", words, kho_out);
		a = next(&count, conn);
		assert_int_equal(a.pid, before.pid);
		assert_string_equal(a.release, "1");
	}
	await_status(NAME, "state", "running");
	await_status(NAME, "restarts", "0");
	assert_int_equal(kho("upgrade", NAME, "--exec", server_path, "--", "good", NULL), 0);
	assert_string_equal(next(&count, conn).release, "good");
}

static void exits_at_once(void **state)
{
	bad("1", "exit", "refused before the hand-over: the successor exited", true);
}

static void hangs_before_ready(void **state)
{
	bad("1", "hang", "refused before the hand-over: the successor did not say READY in time",
	    true);
}

static void crashes_at_its_start(void **state)
{
	bad("1", "crash-start", "refused before the hand-over: the successor exited", true);
}

static void crashes_after_the_grant(void **state)
{
	bad("1", "crash-granted", "rolled back: the successor ", false);
}

static void hangs_after_the_grant(void **state)
{
	bad("1", "hang-granted", "rolled back: the successor did not say HEALTHY in time", false);
}

static __u64 now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (__u64)ts.tv_sec * 1000 + (__u64)ts.tv_nsec / 1000000;
}

/* Long before the time that it has to prove itself is over. */
static void shows_no_sign_of_life(void **state)
{
	unsigned long long count = ask(-1).count;
	__u64 began = now_ms();

	assert_int_equal(kho("upgrade", NAME, "--exec", server_path, "--healthy-timeout", "20s",
			     "--alive-timeout", "300", "--", "2", "1", "silent", NULL),
			 1);
	assert_non_null(
		strstr(kho_out, "rolled back: the successor showed no sign of life for 300 ms"));
	assert_true(now_ms() - began >= 300);
	assert_true(now_ms() - began < 10000);
	assert_string_equal(next(&count, -1).release, "1");
}

static void sleeps_now_and_then(void **state)
{
	unsigned long long count = ask(-1).count;

	assert_int_equal(kho("upgrade", NAME, "--exec", server_path, "--alive-timeout", "1s", "--",
			     "2", "1", "sleepy", NULL),
			 0);
	assert_string_equal(next(&count, -1).release, "2");
	/* Signs of life that nobody promised: the first one begins the watch. */
	assert_int_equal(kho("upgrade", NAME, "--exec", server_path, "--", "3", NULL), 0);
	assert_string_equal(next(&count, -1).release, "3");
}

static void is_no_program(void **state)
{
	char path[128];
	FILE *f;
	unsigned long long count = ask(-1).count;

	snprintf(path, sizeof(path), "%s/garbage", test_dir);
	f = fopen(path, "we");
	fputs("\177ELF but not really", f);
	fclose(f);
	chmod(path, 0700);
	assert_int_equal(kho("upgrade", NAME, "--exec", path, NULL), 1);
	assert_non_null(strstr(kho_out, "cannot be executed"));
	assert_int_equal(kho("upgrade", NAME, "--exec", "/nonexistent", NULL), 1);
	assert_int_equal(kho("upgrade", NAME, "--exec", "/", NULL), 1);
	next(&count, -1);
}

static void other_formats(void **state)
{
	unsigned long long count = ask(-1).count;
	const char *want = "format counter: we write version 1, the successor reads version 3";

	assert_int_equal(kho("upgrade", NAME, "--exec", server_path, "--", "x", "3", NULL), 1);
	assert_non_null(strstr(kho_out, want));
	assert_int_equal(
		kho("upgrade", NAME, "--in-place", "--exec", server_path, "--", "x", "3", NULL), 1);
	assert_non_null(strstr(kho_out, want));
	assert_string_equal(next(&count, -1).release, "1");
	assert_int_equal(
		kho("upgrade", NAME, "--force", "--exec", server_path, "--", "x", "3", NULL), 0);
	assert_string_equal(next(&count, -1).release, "x");
}

/* What is said in the files themselves keeps a program from being started at all. */
static void notes_in_the_files(void **state)
{
	const char *want = "refused before the hand-over: by what the files say, before it was "
			   "started: format counter: we write version 1, the successor reads "
			   "version 9";
	unsigned long long count = ask(-1).count;
	char note1[300], note9[300];

	snprintf(note1, sizeof(note1), "%s-note1", server_path);
	snprintf(note9, sizeof(note9), "%s-note9", server_path);
	/* A program without a note, and one with: nothing to compare. */
	assert_int_equal(kho("upgrade", NAME, "--exec", note1, "--", "noted", NULL), 0);
	for (int in_place = 0; in_place < 2; in_place++) {
		assert_int_equal(kho("upgrade", NAME, "--exec", note9,
				     in_place ? "--in-place" : "--quiet", "--", "9", NULL),
				 1);
		if (!strstr(kho_out, want))
			fail_msg("\"%s\" is not in: %s", want, kho_out);
		assert_null(strstr(kho_out, "started process"));
		assert_string_equal(next(&count, -1).release, "noted");
	}
	assert_non_null(
		strstr(status_field(NAME, "last_upgrade"), "refused: by what the files say"));
	/* Its formats are those of its arguments, not of its note: the hand-over finds them good. */
	assert_int_equal(kho("upgrade", NAME, "--force", "--exec", note9, "--", "9", NULL), 0);
	assert_string_equal(next(&count, -1).release, "9");
	assert_int_equal(kho("upgrade", NAME, "--exec", server_path, "--", "x", NULL), 0);
	assert_string_equal(next(&count, -1).release, "x");
}

/* What the server says that it may write of its format. */
static int may_write(void)
{
	char text[32] = "";
	int fd = connect_server();

	assert_int_equal(write(fd, "w", 1), 1);
	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	return atoi(text);
}

/* Until it has seen the predecessor go. */
static void await_writes(int version)
{
	for (int i = 0; may_write() != version; i++) {
		assert_true(i < 1000);
		usleep(1000);
	}
}

/* Upgrade to a server of @versions that is healthy when it is let go; what it may write before, and after. */
static void negotiated(const char *versions, int before, int after)
{
	const char *const argv[] = {tool_path, "upgrade", NAME,	    "--exec", server_path,
				    "--",      "v",	  versions, "late",   NULL};
	pid_t upgrade;
	int status;

	hold("successor-healthy");
	upgrade = fork();
	if (!upgrade) {
		execv(tool_path, (char *const *)argv);
		_exit(99);
	}
	await_held("successor-healthy");
	if (before >= 0)
		assert_int_equal(may_write(), before);
	let_go("successor-healthy");
	status = await_child(upgrade);
	assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
	await_writes(after);
}

static void the_version_to_write_is_negotiated(void **state)
{
	/* The first one reads and writes version 1. */
	negotiated("1-3", 1, 3);
	negotiated("2-5", 3, 5);
	/* It writes 5: read by this one. It writes 4, when 4 is the newest that both know. */
	negotiated("4-5", 5, 5);
	assert_int_equal(kho("upgrade", NAME, "--exec", server_path, "--", "x", "6-7", NULL), 1);
	assert_non_null(strstr(kho_out, "format counter: we write version 5, the successor reads "
					"versions 6 to 7"));
	/* What cannot be read is no matter if it is optional; it is written when nobody can want it back. */
	assert_int_equal(
		kho("upgrade", NAME, "--force", "--exec", server_path, "--", "x", "3o", NULL), 0);
	await_writes(3);
	negotiated("9o", 0, 9);
}

static void what_can_wait_is_written_later(void **state)
{
	const char *want =
		"format counter: the successor writes versions 2 to 3, we read version 1";

	assert_int_equal(kho("upgrade", NAME, "--exec", server_path, "--", "x", "1-3", NULL), 0);
	assert_int_equal(
		kho("upgrade", NAME, "--force", "--exec", server_path, "--", "x", "1o", NULL), 0);
	assert_int_equal(kho("upgrade", NAME, "--exec", server_path, "--", "x", "2-3", NULL), 1);
	if (!strstr(kho_out, want))
		fail_msg("\"%s\" is not in: %s", want, kho_out);
	negotiated("2-3l", 0, 3);
}

/* Arguments of a process as "a|b|c|". */
static void read_cmdline(int pid, char *text, size_t size)
{
	char path[48];
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	f = fopen(path, "re");
	assert_non_null(f);
	n = fread(text, 1, size - 1, f);
	fclose(f);
	text[n] = 0;
	for (size_t i = 0; i < n; i++)
		if (!text[i])
			text[i] = '|';
}

static void expect_cmdline(unsigned long long *count, const char *program, const char *args)
{
	char text[512], want[512];

	read_cmdline(next(count, -1).pid, text, sizeof(text));
	snprintf(want, sizeof(want), "%s|%s", program, args);
	assert_string_equal(text, want);
}

static void the_old_arguments(void **state)
{
	unsigned long long count = ask(-1).count;
	char other[128], real[PATH_MAX];

	snprintf(other, sizeof(other), "%s/other", test_dir);
	unlink(other);
	assert_non_null(realpath(server_path, real));
	assert_int_equal(symlink(real, other), 0);
	expect_cmdline(&count, server_path, "1|");
	assert_int_equal(kho("upgrade", NAME, "--", "v1", "1", "none", "two words", "", NULL), 0);
	expect_cmdline(&count, server_path, "v1|1|none|two words||");
	assert_int_equal(kho("upgrade", NAME, "--exec", other, NULL), 0);
	expect_cmdline(&count, other, "v1|1|none|two words||");
	assert_int_equal(kho("upgrade", NAME, NULL), 0);
	expect_cmdline(&count, other, "v1|1|none|two words||");
	assert_int_equal(kho("upgrade", NAME, "--in-place", "--exec", server_path, NULL), 0);
	expect_cmdline(&count, server_path, "v1|1|none|two words||");
	assert_int_equal(kho("upgrade", NAME, "--exec", other, "--args", "new", NULL), 0);
	expect_cmdline(&count, other, "new|");
}

static void a_script(void **state)
{
	unsigned long long count = ask(-1).count;
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/script", test_dir);
	f = fopen(path, "we");
	fprintf(f, "#!/bin/sh\nexec %s script\n", server_path);
	fclose(f);
	chmod(path, 0700);
	assert_int_equal(kho("upgrade", NAME, "--exec", path, NULL), 0);
	assert_string_equal(next(&count, -1).release, "script");
}

/* ---- SIGKILL at every step ---------------------------------------------------------- */

static pid_t begin_upgrade(const char *fault)
{
	pid_t pid = fork();

	if (!pid) {
		char log[128];

		snprintf(log, sizeof(log), "%s/upgrade.log", test_dir);
		if (!freopen(log, "w", stdout) || !freopen(log, "a", stderr))
			_exit(99);
		execl(tool_path, "kho", "upgrade", NAME, "--exec", server_path, "--alive-timeout",
		      "300", "--", "2", "1", fault, NULL);
		_exit(99);
	}
	return pid;
}

/* pid of the server's child of kho run that is not @other. */
static pid_t find_other(pid_t other)
{
	char path[96];
	FILE *f;
	pid_t pid = 0;
	int n;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)run, (int)run);
	f = fopen(path, "re");
	while (f && fscanf(f, "%d", &n) == 1)
		if (n != other)
			pid = n;
	if (f)
		fclose(f);
	return pid;
}

/* A machine that stands still is no reason to give a successor up. */
static void all_stand_still(void **state)
{
	unsigned long long count = ask(-1).count;
	pid_t old = ask(-1).pid, upgrade, new;
	int status;

	count++;
	hold("predecessor-taken");
	upgrade = begin_upgrade("steady");
	assert_int_equal(await_held("predecessor-taken"), old);
	new = find_other(old);
	assert_true(new > 1);
	let_go("predecessor-taken");
	usleep(300000);
	kill(old, SIGSTOP);
	kill(new, SIGSTOP);
	usleep(600000);
	kill(old, SIGCONT);
	usleep(10000);
	kill(new, SIGCONT);
	status = await_child(upgrade);
	assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
	assert_string_equal(next(&count, -1).release, "2");
}

/* A connection that goes while the successor waits for the grant. */
static void an_fd_goes(void **state)
{
	unsigned long long count = ask(-1).count;
	int conn = connect_server(), status;
	pid_t upgrade;

	next(&count, conn);
	hold("successor-ready");
	upgrade = begin_upgrade("gone");
	await_held("successor-ready");
	close(conn);
	next(&count, -1); /* the server has seen it by now */
	let_go("successor-ready");
	status = await_child(upgrade);
	assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
	assert_string_equal(next(&count, -1).release, "gone1");
}

/* The time slice of a thread, ns; 0: this kernel does not tell. */
static __u64 slice_of(pid_t tid)
{
	struct {
		__u32 size, policy;
		__u64 flags;
		__s32 nice;
		__u32 priority;
		__u64 runtime, deadline, period;
	} attr = {0};

	assert_int_equal(syscall(SYS_sched_getattr, tid, &attr, sizeof(attr), 0), 0);
	return attr.runtime;
}

/* A successor that starts lets those who serve run first; from READY on it is their equal. */
static void gives_way_until_ready(void **state)
{
	pid_t old = ask(-1).pid, upgrade, new;
	__u64 usual = slice_of(0);
	char path[300];
	struct dirent *d;
	int status;
	DIR *dir;

	if (!usual) {
		print_message("skipped: this kernel has no slices to set (before Linux 6.12)\n");
		skip();
	}
	assert_true(usual < 100000000);
	hold("predecessor-fds");
	hold("successor-ready");
	upgrade = begin_upgrade("none");
	await_held("predecessor-fds");
	new = find_other(old);
	assert_true(new > 1);
	assert_int_equal(slice_of(new), 100000000);
	assert_int_equal(slice_of(old), usual);
	let_go("predecessor-fds");
	assert_int_equal(await_held("successor-ready"), new);
	snprintf(path, sizeof(path), "/proc/%d/task", (int)new);
	dir = opendir(path);
	assert_non_null(dir);
	while ((d = readdir(dir)))
		if (d->d_name[0] != '.')
			assert_int_equal(slice_of(atoi(d->d_name)), usual);
	closedir(dir);
	let_go("successor-ready");
	status = await_child(upgrade);
	assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
}

enum victim { PREDECESSOR, SUCCESSOR, SUPERVISOR, NR_VICTIMS };

static const char *const steps[] = {
	"predecessor-hello",   "predecessor-fds",      "successor-ready",     "predecessor-ready",
	"predecessor-frozen",  "predecessor-released", "predecessor-granted", "successor-granted",
	"successor-locked",    "successor-taken",      "predecessor-taken",   "successor-healthy",
	"predecessor-healthy",
};

#define NR_STEPS (sizeof(steps) / sizeof(steps[0]))

static void kill_at(const char *step, enum victim victim)
{
	static const char *const args[] = {"1", NULL};
	static const char *const adopting[] = {"--adopt", NULL};
	unsigned long long count;
	pid_t held, old, upgrade, dead;
	int status;

	run = start_run(NAME, NULL, args);
	count = ask(-1).count;
	old = ask(-1).pid;
	count++;
	hold(step);
	upgrade = begin_upgrade("none");
	held = await_held(step);
	if (victim == SUPERVISOR)
		dead = run;
	else if ((victim == PREDECESSOR) == (held == old))
		dead = held;
	else
		dead = victim == PREDECESSOR ? old : find_other(old);
	assert_true(dead > 1);
	kill(dead, SIGKILL);
	let_go(step);
	/* One way or the other, the next answer comes, with the next count. */
	next(&count, -1);
	status = await_child(upgrade);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) <= 1);
	next(&count, -1);
	if (victim == SUPERVISOR) {
		await_child(run);
		run = start_run(NAME, adopting, args);
		count = ask(-1).count;
	}
	await_status(NAME, "state", "running");
	assert_int_equal(next(&count, -1).pid, atoi(status_field(NAME, "pid")));
	assert_int_equal(kho("upgrade", NAME, "--exec", server_path, "--", "3", NULL), 0);
	assert_string_equal(next(&count, -1).release, "3");
	end_children();
}

static void kill_everywhere(enum victim victim)
{
	for (size_t i = 0; i < NR_STEPS; i++) {
		printf("step %s\n", steps[i]); /* the last one is where it broke */
		fflush(stdout);
		kill_at(steps[i], victim);
	}
}

static void predecessor_killed_at_any_step(void **state)
{
	kill_everywhere(PREDECESSOR);
}

static void successor_killed_at_any_step(void **state)
{
	kill_everywhere(SUCCESSOR);
}

static void supervisor_killed_at_any_step(void **state)
{
	kill_everywhere(SUPERVISOR);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(upgrades_in_a_row),
		TEST(the_one_before_is_known),
		TEST(in_core_dumps_if_wanted),
		TEST(a_frozen_one_that_writes_is_caught),
		TEST(in_place),
		TEST(a_crash_loses_nothing),
		TEST(exits_at_once),
		TEST(hangs_before_ready),
		TEST(crashes_at_its_start),
		TEST(crashes_after_the_grant),
		TEST(hangs_after_the_grant),
		TEST(shows_no_sign_of_life),
		TEST(sleeps_now_and_then),
		TEST(all_stand_still),
		TEST(an_fd_goes),
		TEST(gives_way_until_ready),
		TEST(is_no_program),
		TEST(other_formats),
		TEST(notes_in_the_files),
		TEST(the_version_to_write_is_negotiated),
		TEST(what_can_wait_is_written_later),
		TEST(the_old_arguments),
		TEST(a_script),
		cmocka_unit_test_teardown(predecessor_killed_at_any_step, tear_down),
		cmocka_unit_test_teardown(successor_killed_at_any_step, tear_down),
		cmocka_unit_test_teardown(supervisor_killed_at_any_step, tear_down),
	};
	int failed;

	util_begin(argv[0]);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	util_end();
	return failed;
}
