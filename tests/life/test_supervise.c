/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* kho run, stop and status: restarts and their limit, adoption, names, signals, words. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "message.h"
#include "util.h"

#define NAME "t"

static const char *const plain[] = {"1", NULL};

static int tear_down(void **state)
{
	end_children();
	return 0;
}

static void dies_too_often(void **state)
{
	static const char *const options[] = {"--restarts", "3/60", NULL};
	pid_t run = start_run(NAME, options, plain);
	unsigned long long count = 0;
	struct answer a;

	for (int i = 0; i < 3; i++) {
		a = ask(-1);
		count = a.count;
		kill_and_wait(a.pid);
	}
	await_status(NAME, "state", "failed");
	await_status(NAME, "pid", "0");
	assert_int_equal(kho("upgrade", NAME, "--exec", server_path, "--", "x", "1", "exit", NULL),
			 1);
	assert_int_equal(kho("upgrade", NAME, "--exec", server_path, "--", "fixed", NULL), 0);
	a = ask(-1);
	assert_string_equal(a.release, "fixed");
	assert_int_equal(a.count, count + 1); /* the arena was kept */
	assert_int_equal(kho("stop", NAME, NULL), 0);
	assert_int_equal(await_child(run), 0);
}

static void stop_of_a_failed_one(void **state)
{
	static const char *const options[] = {"--restarts", "1/60", NULL};
	pid_t run = start_run(NAME, options, plain);

	kill_and_wait(ask(-1).pid);
	await_status(NAME, "state", "failed");
	assert_int_equal(kho("stop", NAME, NULL), 0);
	assert_int_equal(await_child(run), 0);
}

static void the_server_outlives_its_supervisor(void **state)
{
	static const char *const adopting[] = {"--adopt", NULL};
	pid_t run = start_run(NAME, NULL, plain);
	struct answer a = ask(-1), b;
	int conn = connect_server();

	ask(conn);
	kill_and_wait(run);
	b = ask(conn);
	assert_int_equal(b.pid, a.pid);
	assert_int_equal(b.count, a.count + 2);
	for (int i = 0; i < 5; i++) {
		static const char *const asks[] = {"status", "upgrade", "stop", "clear",
						   "preserve"};

		assert_int_equal(kho(asks[i], NAME, NULL), 1);
		assert_non_null(strstr(kho_out, "the kho run of t died"));
		assert_non_null(strstr(kho_out, "kho run --adopt --name t -- SERVER"));
	}
	assert_int_equal(kho("status", NULL), 0);
	assert_non_null(strstr(kho_out, "kho: t: its kho run died: kho run --adopt"));
	assert_int_equal(kho("status", "--json", NULL), 0);
	assert_string_equal(kho_out, "[]\n");
	run = start_run(NAME, adopting, plain);
	assert_int_equal(atoi(status_field(NAME, "pid")), a.pid);
	/* It holds arena and listening socket again: a crash is survived. */
	a = ask(-1);
	kill(a.pid, SIGKILL);
	b = ask(-1);
	assert_int_not_equal(b.pid, a.pid);
	assert_int_equal(b.count, a.count + 1);
	assert_int_equal(b.generation, a.generation + 1);
	await_status(NAME, "state", "running");
	assert_int_equal(kho("upgrade", NAME, "--exec", server_path, "--", "2", NULL), 0);
	assert_string_equal(ask(-1).release, "2");
	assert_int_equal(kho("stop", NAME, NULL), 0);
	assert_int_equal(await_child(run), 0);
}

static void nobody_to_adopt(void **state)
{
	assert_int_equal(kho("run", "--name", NAME, "--adopt", "--adopt-timeout", "50", server_path,
			     NULL),
			 1);
	assert_non_null(strstr(kho_out, "no server registered"));
}

/* A connection to a supervisor's control socket. */
static int connect_run(const char *name)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s.sock", test_dir, name);
	for (int i = 0; connect(fd, (struct sockaddr *)&addr, sizeof(addr)); i++) {
		assert_in_range(i, 0, WAIT_MS);
		usleep(1000);
	}
	return fd;
}

/* Register as a server that looks for a supervisor would. Return: the connection. */
static int register_with(const char *name, int arena)
{
	struct kho_abi_msg_register reg = {.pid = (__u32)getpid(), .name = "fake", .release = "0"};
	struct kho_msg_out out = {.type = KHO_MSG_REGISTER,
				  .head = &reg,
				  .head_len = sizeof(reg),
				  .fds = &arena,
				  .nr_fds = 1};
	int fd = connect_run(name);

	assert_int_equal(kho_msg_send_(fd, &out, 1000), 0);
	return fd;
}

static void read_line(int fd, char *line, size_t size)
{
	struct pollfd p = {fd, POLLIN, 0};
	size_t len = 0;

	do {
		assert_int_equal(poll(&p, 1, WAIT_MS), 1);
		assert_true(len < size - 1 && read(fd, line + len, 1) == 1);
	} while (line[len++] != '\n');
	line[len] = '\0';
}

/* Whoever maps it could be killed by whoever cuts it short. */
static void an_arena_that_can_shrink_is_not_adopted(void **state)
{
	const char *const argv[] = {tool_path,	       "run", "--name",	   NAME, "--adopt",
				    "--adopt-timeout", "5s",  server_path, NULL};
	int unsealed = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING), log[2], fd;
	int unsealable = memfd_create("x", MFD_CLOEXEC), p[2];
	static struct kho_msg msg;
	char text[1024];
	pid_t run;

	assert_int_equal(ftruncate(unsealed, 1 << 20), 0);
	assert_int_equal(pipe2(log, O_CLOEXEC), 0);
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	run = fork();
	if (!run) {
		dup2(log[1], 2);
		execv(argv[0], (char *const *)argv);
		_exit(99);
	}
	for (int i = 0; i < 3; i++) {
		char want[64];

		fd = register_with(NAME, i == 0 ? unsealed : i == 1 ? unsealable : p[0]);
		assert_int_equal(kho_msg_recv_(fd, &msg, WAIT_MS), -EPIPE); /* hung up on */
		close(fd);
		read_line(log[0], text, sizeof(text));
		snprintf(want, sizeof(want), "process %d is not adopted", (int)getpid());
		assert_non_null(strstr(text, want));
		assert_non_null(strstr(text, "sealed against shrinking"));
	}
	/* It still waits for somebody better. */
	assert_int_equal(fcntl(unsealed, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	fd = register_with(NAME, unsealed);
	read_line(log[0], text, sizeof(text));
	assert_non_null(strstr(text, "adopted process"));
	kill_and_wait(run);
	close(fd);
	for (int i = 0; i < 2; i++) {
		close(log[i]);
		close(p[i]);
	}
	close(unsealed);
	close(unsealable);
}

/* ---- nobody keeps the supervisor from the others ---- */

static void clients_that_say_nothing(void **state)
{
	int idle[100];

	start_run(NAME, NULL, plain);
	for (int i = 0; i < 100; i++)
		idle[i] = connect_run(NAME);
	assert_int_equal(kho("status", NAME, NULL), 0);
	assert_int_equal(kho("upgrade", NAME, "--exec", server_path, "--", "2", NULL), 0);
	assert_string_equal(ask(-1).release, "2");
	for (int i = 0; i < 100; i++)
		close(idle[i]);
}

static void a_client_that_does_not_read(void **state)
{
	struct kho_msg_out out = {.type = KHO_MSG_CTL_STATUS};
	int fd, r = 0, n;

	start_run(NAME, NULL, plain);
	fd = connect_run(NAME);
	/* Nobody waits for it: it is hung up on when no more answers fit. */
	for (n = 0; n < 100000 && !r; n++)
		r = kho_msg_send_(fd, &out, 1000);
	assert_int_equal(r, -EPIPE);
	assert_int_equal(kho("status", NAME, NULL), 0);
	close(fd);
}

/* A pipe behind stderr that nobody empties. */
static void words_that_nobody_reads(void **state)
{
	char pipe_full[4096] = "";
	int p[2];
	struct answer a, b;
	char listen[128];
	const char *const argv[] = {tool_path, "run", "--name",	   NAME, "--listen",
				    listen,    "--",  server_path, "1",	 NULL};
	pid_t run;

	snprintf(listen, sizeof(listen), "unix:%s/listen", test_dir);
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(fcntl(p[1], F_SETFL, O_NONBLOCK), 0);
	while (write(p[1], pipe_full, sizeof(pipe_full)) > 0)
		;
	assert_int_equal(fcntl(p[1], F_SETFL, 0), 0);
	run = fork();
	if (!run) {
		dup2(p[1], 2);
		execv(argv[0], (char *const *)argv);
		_exit(99);
	}
	a = ask(-1);
	await_status(NAME, "state", "running");
	kill(a.pid, SIGKILL);
	b = ask(-1); /* started again, without a word */
	assert_int_not_equal(b.pid, a.pid);
	await_status(NAME, "restarts", "1");
	assert_int_equal(kho("stop", NAME, NULL), 0);
	assert_int_equal(await_child(run), 0);
	close(p[0]);
	close(p[1]);
}

/* Opening one waits for a writer. */
static void a_program_that_is_a_fifo(void **state)
{
	char path[128], real[PATH_MAX];

	snprintf(path, sizeof(path), "%s/other", test_dir);
	assert_non_null(realpath(server_path, real));
	assert_int_equal(symlink(real, path), 0);
	start_run(NAME, NULL, plain);
	assert_int_equal(kho("upgrade", NAME, "--exec", path, NULL), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0700), 0);
	assert_int_equal(kho("upgrade", NAME, NULL), 1); /* the same file name again */
	assert_non_null(strstr(kho_out, "cannot be executed"));
	assert_int_equal(kho("status", NAME, NULL), 0);
	unlink(path);
}

/* As many as come at once while it stands still: none hangs, and each is answered afterwards. */
static void it_stands_still(void **state)
{
	pid_t run = start_run(NAME, NULL, plain), asking[40];
	int status;

	kill(run, SIGSTOP);
	for (int i = 0; i < 40; i++) {
		asking[i] = fork();
		if (!asking[i]) {
			struct kho_msg_out out = {.type = KHO_MSG_CTL_STATUS};
			static struct kho_msg msg;
			int fd = connect_run(NAME);

			_exit(kho_msg_send_(fd, &out, WAIT_MS) ||
			      kho_msg_recv_(fd, &msg, WAIT_MS) || msg.type != KHO_MSG_CTL_REPLY);
		}
	}
	usleep(200000);
	kill(run, SIGCONT);
	for (int i = 0; i < 40; i++) {
		status = await_child(asking[i]);
		assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
	}
}

static void one_supervisor_a_name(void **state)
{
	pid_t run = start_run(NAME, NULL, plain);

	assert_int_equal(kho("run", "--name", NAME, server_path, NULL), 1);
	assert_non_null(strstr(kho_out, "supervised already"));
	assert_string_equal(ask(-1).release, "1");
	assert_int_equal(kho("stop", NAME, NULL), 0);
	await_child(run);
}

static void signals(void **state)
{
	pid_t run = start_run(NAME, NULL, plain);
	pid_t server = ask(-1).pid;

	kill(run, SIGTERM);
	assert_int_equal(await_child(run), 0);
	assert_int_equal(kill(server, 0), -1);
	/* A signal that the server does not catch ends it, and it is started again. */
	run = start_run(NAME, NULL, plain);
	server = ask(-1).pid;
	kill(run, SIGUSR1);
	await_status(NAME, "restarts", "1");
	await_status(NAME, "last_death", "killed by signal 10 (USR1)");
	assert_int_not_equal(ask(-1).pid, server);
	kill(run, SIGINT);
	assert_int_equal(await_child(run), 0);
}

static void fresh(void **state)
{
	static const char *const options[] = {"--fresh", NULL};
	struct answer a;

	start_run(NAME, options, plain);
	ask(-1);
	a = ask(-1);
	assert_true(a.count >= 2);
	kill_and_wait(a.pid);
	await_status(NAME, "restarts", "1");
	a = ask(-1);
	assert_int_equal(a.count, 1);
	assert_int_equal(a.generation, 0);
	kill_and_wait(a.pid); /* and again: the second new arena is watched like the first */
	assert_int_equal(ask(-1).count, 1);
}

static void a_server_that_just_exits(void **state)
{
	const char *const argv[] = {tool_path, "run", "--name", NAME, "--", "true", NULL};
	const char *const failing[] = {tool_path,    "run", "--name",	  NAME,
				       "--restarts", "2/9", "/bin/false", NULL};
	pid_t pid;

	assert_int_equal(run_program(kho_out, sizeof(kho_out), argv), 0);
	assert_non_null(strstr(kho_out, "exited by itself"));
	pid = fork();
	if (!pid) {
		close(2);
		execv(failing[0], (char *const *)failing);
		_exit(99);
	}
	await_status(NAME, "state", "failed");
	await_status(NAME, "last_death", "exited with status 1");
	assert_int_equal(kho("stop", NAME, NULL), 0);
	assert_int_equal(await_child(pid), 0);
}

static void status_in_words_and_json(void **state)
{
	static const char *const odd[] = {"1\"\\\001\xff", NULL};
	char pid[16], want[64];
	struct answer a;

	assert_int_equal(kho("status", "--json", NULL), 0);
	assert_string_equal(kho_out, "[]\n");
	start_run(NAME, NULL, odd);
	a = ask(-1);
	snprintf(pid, sizeof(pid), "%d", a.pid);
	assert_int_equal(kho("status", pid, "--json", NULL), 0);
	assert_non_null(strstr(kho_out, "\"release\": \"1\\\"\\\\?\\ufffd\""));
	snprintf(want, sizeof(want), "\"pid\": %d,", a.pid);
	assert_non_null(strstr(kho_out, want));
	assert_non_null(strstr(kho_out, "\"state\": \"running\""));
	assert_int_equal(kho("status", NULL), 0);
	assert_non_null(strstr(kho_out, pid));
	assert_int_equal(kho("stop", pid, NULL), 0);
}

static void words_for_mistakes(void **state)
{
	assert_int_equal(kho("nonsense", NULL), 2);
	assert_non_null(strstr(kho_out, "--help"));
	assert_int_equal(kho("run", "--help", NULL), 0);
	assert_non_null(strstr(kho_out, "--restarts"));
	assert_int_equal(kho("upgrade", "--help", NULL), 0);
	assert_int_equal(kho("stop", "--help", NULL), 0);
	assert_int_equal(kho("status", "--help", NULL), 0);
	assert_int_equal(kho("run", "--restarts", "5", "x", NULL), 2);
	assert_non_null(strstr(kho_out, "5/10"));
	assert_int_equal(kho("run", "--arena-max", "1x", "x", NULL), 2);
	assert_int_equal(kho("run", "--name", "../x", "x", NULL), 2);
	assert_int_equal(kho("run", "--stop-timeout", "-1", "x", NULL), 2);
	assert_int_equal(kho("run", NULL), 2);
	assert_int_equal(kho("run", "--listen", "nowhere:nothing", "true", NULL), 1);
	assert_int_equal(kho("run", "/nonexistent", NULL), 1);
	assert_int_equal(kho("upgrade", NULL), 2);
	assert_int_equal(kho("upgrade", "nobody", NULL), 1);
	assert_non_null(strstr(kho_out, "kho status"));
	assert_int_equal(kho("stop", "1", NULL), 1);
	/* No escape sequence, no line of its own; and not the words of kho run. */
	assert_int_equal(kho("stop", "a\033[31m\nkho: b\x9b", NULL), 1);
	assert_string_equal(kho_out, "kho: no kho run of the name \"a?[31m?kho: b?\": kho status "
				     "lists them\n");
	assert_int_equal(kho("upgrade", "--exec", "", "nobody", NULL), 1);
	assert_int_equal(kho("run", "--name", NAME, "", NULL), 1);
	assert_string_equal(kho_out, "kho: : No such file or directory\n");
	/* 2^32 + 1 is not process 1. */
	assert_int_equal(kho("save", "4294967297", "/nonexistent/x", NULL), 1);
	assert_non_null(strstr(kho_out, "4294967297 is neither a process nor"));
	assert_int_equal(chmod(test_dir, 0777), 0);
	assert_int_equal(kho("run", "true", NULL), 1);
	assert_non_null(strstr(kho_out, "KHO_RUNDIR"));
	assert_int_equal(chmod(test_dir, 0700), 0);
}

#define TEST(fn) cmocka_unit_test_teardown(fn, tear_down)

static void addresses_that_are_none(void **state)
{
	static const char *const bad[] = {
		"127.0.0.1:99999",	     "70000", "127.0.0.1:", "99999999999999999999",
		"127.0.0.1:no-such-service", "[::1",  "unix:"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(kho("run", "--name", NAME, "--listen", bad[i], server_path, NULL),
				 1);
		if (!strstr(kho_out, "--listen"))
			fail_msg("%s: %s", bad[i], kho_out);
	}
}

/* Run kho(1) with stdin, stdout and stderr closed. */
static pid_t run_closed(const char *const *argv)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	for (int i = 0; i < 3; i++)
		close(i);
	execv(tool_path, (char *const *)argv);
	_exit(127);
}

/* The next file to be opened would be stdout: a client's connection, or an upgrade's program. */
static void closed_standard_fds(void **state)
{
	char listen[128], path[64];
	const char *const run[] = {"kho",  "run",	"--name", NAME, "--listen",
				   listen, server_path, "1",	  NULL};
	const char *const next[] = {"kho", "upgrade", "--exec", server_path, NAME, "--", "2", NULL};
	struct answer a;
	struct stat st;

	snprintf(listen, sizeof(listen), "unix:%s/listen", test_dir);
	run_closed(run);
	assert_true(try_ask(&a, WAIT_MS));
	await_status(NAME, "state", "running");
	assert_int_equal(await_child(run_closed(next)), 0);
	a = ask(-1);
	assert_string_equal(a.release, "2");
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", a.pid, i);
		assert_int_equal(stat(path, &st), 0);
		assert_true(S_ISCHR(st.st_mode));
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(addresses_that_are_none),
		TEST(closed_standard_fds),
		TEST(dies_too_often),
		TEST(stop_of_a_failed_one),
		TEST(the_server_outlives_its_supervisor),
		TEST(nobody_to_adopt),
		TEST(an_arena_that_can_shrink_is_not_adopted),
		TEST(clients_that_say_nothing),
		TEST(a_client_that_does_not_read),
		TEST(words_that_nobody_reads),
		TEST(a_program_that_is_a_fifo),
		TEST(it_stands_still),
		TEST(one_supervisor_a_name),
		TEST(signals),
		TEST(fresh),
		TEST(a_server_that_just_exits),
		TEST(status_in_words_and_json),
		TEST(words_for_mistakes),
	};
	int failed;

	util_begin(argv[0]);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	util_end();
	return failed;
}
