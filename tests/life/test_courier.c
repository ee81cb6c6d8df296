/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Fds that kho run holds: what outlives a kill, what is let go of, limits, another supervisor. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "message.h"
#include "util.h"

#define NAME "t"

static const char *const plain[] = {"1", NULL};
static struct sockaddr_in address;
static char listen_at[32];
static const char *tcp[] = {"--restarts", "0/1", "--listen", listen_at, NULL};

static int set_up(void **state)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(address);

	address = (struct sockaddr_in){.sin_family = AF_INET};
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	close(fd);
	snprintf(listen_at, sizeof(listen_at), "127.0.0.1:%d", ntohs(address.sin_port));
	return 0;
}

static int tear_down(void **state)
{
	end_children();
	return 0;
}

static int connect_tcp(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* The peer closed: at once, within what a busy machine takes. */
static void assert_closed(int fd)
{
	struct pollfd p = {fd, POLLIN, 0};
	char c;

	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	assert_true(recv(fd, &c, 1, 0) <= 0);
}

static void await_running(void)
{
	await_status(NAME, "state", "running");
}

static void connections_outlive_a_kill(void **state)
{
	pid_t run = start_run(NAME, tcp, plain);
	int conn[3] = {connect_tcp(), connect_server(), connect_tcp()};
	struct answer a = {0}, b;

	for (int i = 0; i < 3; i++)
		a = ask(conn[i]);
	await_status(NAME, "held", "3");
	for (int round = 0; round < 3; round++) {
		kill_and_wait(a.pid);
		for (int i = 0; i < 3; i++) {
			b = ask(conn[i]);
			assert_int_not_equal(b.pid, a.pid);
			assert_int_equal(b.count, a.count + 1 + (unsigned int)i);
		}
		a = b;
		await_running();
	}
	/* A request that nobody has read waits for whoever reads it. */
	kill(a.pid, SIGSTOP);
	assert_int_equal(send(conn[0], "?", 1, 0), 1);
	kill_and_wait(a.pid);
	assert_int_equal(poll(&(struct pollfd){conn[0], POLLIN, 0}, 1, WAIT_MS), 1);
	await_status(NAME, "held", "3");
	for (int i = 0; i < 3; i++)
		close(conn[i]);
	await_status(NAME, "held", "0");
	assert_int_equal(kho("stop", NAME, NULL), 0);
	assert_int_equal(await_child(run), 0);
}

static void nothing_is_held_for_longer_than_needed(void **state)
{
	pid_t run = start_run(NAME, tcp, plain);
	int conn[2] = {connect_tcp(), connect_server()};
	int pid = ask(conn[0]).pid;

	ask(conn[1]);
	await_status(NAME, "held", "2");
	/* The server cannot say that the client went: the supervisor sees it. Of the first it sees a reset. */
	kill(pid, SIGSTOP);
	setsockopt(conn[0], SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
	for (int i = 0; i < 2; i++)
		close(conn[i]);
	await_status(NAME, "held", "0");
	kill(pid, SIGCONT);
	conn[0] = connect_tcp();
	ask(conn[0]);
	await_status(NAME, "held", "1");
	assert_int_equal(kho("stop", NAME, NULL), 0);
	assert_closed(conn[0]);
	close(conn[0]);
	assert_int_equal(await_child(run), 0);
}

static void a_close_reaches_the_client(void **state)
{
	pid_t run = start_run(NAME, tcp, plain);
	int conn;

	for (int i = 0; i < 2; i++) {
		conn = i ? connect_tcp() : connect_server();
		ask(conn);
		await_status(NAME, "held", "1");
		assert_int_equal(send(conn, "c", 1, 0), 1);
		assert_closed(conn);
		await_status(NAME, "held", "0");
		close(conn);
	}
	/* Unpreserved, it is not held. */
	conn = connect_tcp();
	ask(conn);
	await_status(NAME, "held", "1");
	assert_int_equal(send(conn, "U", 1, 0), 1);
	await_status(NAME, "held", "0");
	close(conn);
	assert_int_equal(kho("stop", NAME, NULL), 0);
	assert_int_equal(await_child(run), 0);
}

static void an_upgrade_keeps_them_held(void **state)
{
	pid_t run = start_run(NAME, tcp, plain);
	int conn[2] = {connect_tcp(), connect_tcp()};
	struct answer a;

	ask(conn[0]);
	ask(conn[1]);
	for (int i = 0; i < 2; i++) {
		if (i)
			assert_int_equal(kho("upgrade", NAME, "--in-place", NULL), 0);
		else
			assert_int_equal(
				kho("upgrade", NAME, "--exec", server_path, "--", "2", NULL), 0);
		a = ask(conn[0]);
		await_status(NAME, "held", "2");
		usleep(50000); /* a sync may be under way */
		kill_and_wait(a.pid);
		assert_int_not_equal(ask(conn[0]).pid, a.pid);
		ask(conn[1]);
		await_running();
	}
	close(conn[0]);
	close(conn[1]);
	await_status(NAME, "held", "0");
	assert_int_equal(kho("stop", NAME, NULL), 0);
	assert_int_equal(await_child(run), 0);
}

static void a_roll_back_keeps_them_held(void **state)
{
	pid_t run = start_run(NAME, tcp, plain);
	int conn = connect_tcp();
	struct answer a = ask(conn);

	assert_int_equal(kho("upgrade", NAME, "--exec", server_path, "--", "2", "1",
			     "crash-granted", NULL),
			 1);
	assert_int_equal(ask(conn).pid, a.pid);
	await_status(NAME, "held", "1");
	kill_and_wait(a.pid);
	assert_int_not_equal(ask(conn).pid, a.pid);
	close(conn);
	assert_int_equal(kho("stop", NAME, NULL), 0);
	assert_int_equal(await_child(run), 0);
}

static void another_supervisor_holds_them_too(void **state)
{
	static const char *const adopting[] = {"--adopt", NULL};
	pid_t run = start_run(NAME, tcp, plain);
	int conn = connect_tcp(), later;
	struct answer a = ask(conn), b;

	kill_and_wait(run);
	later = connect_tcp();
	assert_int_equal(ask(later).pid, a.pid);
	run = start_run(NAME, adopting, plain);
	await_status(NAME, "held", "2");
	kill(a.pid, SIGKILL);
	b = ask(conn);
	assert_int_not_equal(b.pid, a.pid);
	assert_int_equal(ask(later).pid, b.pid);
	close(conn);
	close(later);
	await_running();
	assert_int_equal(kho("stop", NAME, NULL), 0);
	assert_int_equal(await_child(run), 0);
}

static void a_supervisor_that_stands_still(void **state)
{
	pid_t run = start_run(NAME, tcp, plain);
	int conn[40];
	struct answer a;

	kill(run, SIGSTOP);
	for (int i = 0; i < 40; i++) {
		conn[i] = connect_tcp();
		a = ask(conn[i]);
	}
	kill(a.pid, SIGKILL); /* what is on the way to it counts as held */
	kill(run, SIGCONT);
	for (int i = 0; i < 40; i++) {
		assert_int_not_equal(ask(conn[i]).pid, a.pid);
		close(conn[i]);
	}
	await_running();
	await_status(NAME, "held", "0");
	assert_int_equal(kho("stop", NAME, NULL), 0);
	assert_int_equal(await_child(run), 0);
}

static void a_fresh_arena_has_no_tokens(void **state)
{
	static const char *fresh[] = {"--restarts", "0/1", "--fresh", "--listen", listen_at, NULL};
	pid_t run = start_run(NAME, fresh, plain);
	int conn = connect_tcp();
	struct answer a = ask(conn);

	await_status(NAME, "held", "1");
	kill_and_wait(a.pid);
	assert_closed(conn);
	close(conn);
	assert_int_equal(ask(-1).generation, 0);
	await_running();
	assert_int_equal(kho("stop", NAME, NULL), 0);
	assert_int_equal(await_child(run), 0);
}

/* Of 400 files that may be open, 300 are kept back: see holds.c. The last test: it does not go up again. */
static void as_many_as_may_be_open(void **state)
{
	struct rlimit few = {350, 400}, limit;
	int conn[110];
	struct answer a;
	pid_t run;

	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	run = start_run(NAME, tcp, plain);
	await_status(NAME, "held_max", "100");
	for (int i = 0; i < 110; i++) {
		conn[i] = connect_tcp();
		a = ask(conn[i]);
	}
	await_status(NAME, "held", "100");
	assert_int_equal(ask_number('h'), -EMFILE); /* of its own connection */
	assert_int_equal(prlimit(a.pid, RLIMIT_NOFILE, NULL, &limit), 0);
	assert_int_equal(limit.rlim_cur, 350); /* the higher one is the supervisor's alone */
	/* Room again is used for one that has none. */
	for (int i = 0; i < 5; i++)
		close(conn[i]);
	usleep(100000);
	await_status(NAME, "held", "100");
	kill_and_wait(a.pid);
	for (int i = 5; i < 105; i++)
		assert_int_not_equal(ask(conn[i]).pid, a.pid);
	for (int i = 105; i < 110; i++)
		assert_closed(conn[i]);
	for (int i = 5; i < 110; i++)
		close(conn[i]);
	await_running();
	assert_int_equal(ask_number('h'), 1);
	assert_int_equal(kho("stop", NAME, NULL), 0);
	assert_int_equal(await_child(run), 0);
}

/* ---- misuse ---- */

static int connect_run(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s.sock", test_dir, NAME);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static void assert_refused(int fd, int error, const char *why)
{
	static struct kho_msg msg;
	const struct kho_abi_msg_result *res = (const void *)msg.body;

	assert_int_equal(kho_msg_recv_(fd, &msg, WAIT_MS), 0);
	assert_int_equal(msg.type, KHO_MSG_CTL_REPLY);
	assert_int_equal(res->error, error);
	assert_non_null(strstr(kho_msg_text_(&msg, sizeof(*res)), why));
	assert_int_equal(kho_msg_recv_(fd, &msg, WAIT_MS), -EPIPE);
	close(fd);
}

static void another_user_is_told_so(void **state)
{
	char path[128];
	pid_t run;
	int fd;

	if (geteuid()) {
		print_message("not root: not tested\n");
		return;
	}
	run = start_run(NAME, tcp, plain);
	snprintf(path, sizeof(path), "%s/%s.sock", test_dir, NAME);
	assert_int_equal(chmod(test_dir, 0755), 0);
	assert_int_equal(chmod(path, 0777), 0);
	assert_int_equal(seteuid(65534), 0);
	fd = connect_run();
	assert_int_equal(seteuid(0), 0);
	assert_refused(fd, -EPERM, "another user's");
	assert_int_equal(kho("stop", NAME, NULL), 0);
	assert_int_equal(await_child(run), 0);
}

static void two_supervisors(void **state)
{
	struct kho_abi_msg_register reg = {.pid = 1, .name = "fake", .release = "0"};
	struct kho_msg_out out = {.type = KHO_MSG_REGISTER, .head = &reg, .head_len = sizeof(reg)};
	pid_t run = start_run(NAME, tcp, plain);
	struct answer a = ask(-1);
	int fd = connect_run();

	/* A second one of the name; a server that one which has a server is asked to take. */
	assert_int_equal(kho("run", "--name", NAME, server_path, NULL), 1);
	assert_non_null(strstr(kho_out, "is supervised already"));
	assert_int_equal(kho("run", "--name", NAME, "--adopt", server_path, NULL), 1);
	assert_non_null(strstr(kho_out, "is supervised already"));
	assert_int_equal(kho_msg_send_(fd, &out, 1000), 0);
	assert_refused(fd, -EBUSY, "supervises another server");
	assert_int_equal(ask(-1).pid, a.pid);
	assert_int_equal(kho("stop", NAME, NULL), 0);
	assert_int_equal(await_child(run), 0);
}

static void a_supervisor_that_is_gone(void **state)
{
	static const char *const adopting[] = {"--adopt", NULL};
	pid_t run = start_run(NAME, tcp, plain);

	assert_int_equal(ask_number('h'), 1);
	kill_and_wait(run);
	for (int i = 0; ask_number('h') != -ENOTCONN; i++) {
		assert_in_range(i, 0, 1000);
		usleep(1000);
	}
	run = start_run(NAME, adopting, plain);
	for (int i = 0; ask_number('h') != 1; i++) {
		assert_in_range(i, 0, 1000);
		usleep(1000);
	}
	assert_int_equal(kho("stop", NAME, NULL), 0);
	assert_int_equal(await_child(run), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(connections_outlive_a_kill),     TEST(nothing_is_held_for_longer_than_needed),
		TEST(a_close_reaches_the_client),     TEST(an_upgrade_keeps_them_held),
		TEST(a_roll_back_keeps_them_held),    TEST(another_supervisor_holds_them_too),
		TEST(a_supervisor_that_stands_still), TEST(a_fresh_arena_has_no_tokens),
		TEST(another_user_is_told_so),	      TEST(two_supervisors),
		TEST(a_supervisor_that_is_gone),      TEST(as_many_as_may_be_open),
	};
	int failed;

	util_begin(argv[0]);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	util_end();
	return failed;
}
