/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A server under a service manager, which is this program: it keeps fds by their names as systemd does, hears
 * READY and WATCHDOG, and starts the server again with what it has. Nothing else holds arena or fds.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util.h"

#define STORE_MAX 512
#define CONNS 40

static struct {
	char name[64];
	int fd;
} store[STORE_MAX];
static unsigned int nr_store, nr_stored, nr_removed, nr_ready, nr_watchdog, nr_stopping;
static int notify = -1, listening = -1;
static char path[300], out_path[128];
static pid_t server;

/* ---- the manager ------------------------------------------------------------- */

static void forget(unsigned int i)
{
	close(store[i].fd);
	store[i] = store[--nr_store];
}

static void keep(const char *name, int fd)
{
	struct stat a, b;

	assert_int_equal(fstat(fd, &a), 0);
	for (unsigned int i = 0; i < nr_store; i++) {
		if (strcmp(store[i].name, name))
			continue;
		assert_int_equal(fstat(store[i].fd, &b), 0);
		/* systemd would have two of one name then. */
		assert_true(a.st_dev == b.st_dev && a.st_ino == b.st_ino);
		close(fd);
		return;
	}
	assert_true(nr_store < STORE_MAX && strlen(name) < sizeof(store[0].name));
	strcpy(store[nr_store].name, name);
	store[nr_store++].fd = fd;
	nr_stored++;
}

static void obey(const char *text, int fd)
{
	const char *name = strstr(text, "FDNAME=");

	nr_ready += !strcmp(text, "READY=1");
	nr_watchdog += !strcmp(text, "WATCHDOG=1");
	nr_stopping += !strcmp(text, "STOPPING=1");
	if (!strncmp(text, "FDSTORE=1\n", 10)) {
		assert_non_null(name);
		assert_true(fd >= 0);
		keep(name + 7, fd);
		return;
	}
	if (strncmp(text, "FDSTOREREMOVE=1\n", 16))
		return;
	assert_non_null(name);
	for (unsigned int i = 0; i < nr_store; i++)
		if (!strcmp(store[i].name, name + 7)) {
			forget(i);
			nr_removed++;
			return;
		}
	/* It hung up before the server could say so. */
}

/* One datagram. Return: was there one? */
static bool hear_one(void)
{
	union {
		char bytes[CMSG_SPACE(4 * sizeof(int))];
		struct cmsghdr align;
	} control;
	char text[512];
	struct iovec iov = {text, sizeof(text) - 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *head;
	int fd = -1;
	ssize_t n = recvmsg(notify, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0)
		return false;
	text[n] = '\0';
	head = CMSG_FIRSTHDR(&msg);
	if (head && head->cmsg_type == SCM_RIGHTS) {
		assert_int_equal(head->cmsg_len, CMSG_LEN(sizeof(int)));
		memcpy(&fd, CMSG_DATA(head), sizeof(fd));
	}
	obey(text, fd);
	return true;
}

/* All that was said; and what hung up is dropped. */
static void hear(void)
{
	while (hear_one())
		;
	for (unsigned int i = nr_store; i--;) {
		struct pollfd p = {store[i].fd, 0, 0};

		if (poll(&p, 1, 0) > 0 && p.revents & (POLLHUP | POLLERR))
			forget(i);
	}
}

static void await(const unsigned int *what, unsigned int value)
{
	for (int i = 0; i < WAIT_MS && *what != value; i++) {
		hear();
		usleep(1000);
	}
	assert_int_equal(*what, value);
}

/* In the child: what is in the store goes from fd 4 on, the socket is fd 3. */
static void hand_over_fds(char *names, size_t size)
{
	int at = 3, fds[STORE_MAX + 1];
	size_t len = 0;

	fds[0] = fcntl(listening, F_DUPFD, 1000);
	for (unsigned int i = 0; i < nr_store; i++)
		fds[i + 1] = fcntl(store[i].fd, F_DUPFD, 1000);
	len += (size_t)snprintf(names, size, "www.socket");
	for (unsigned int i = 0; i < nr_store; i++)
		len += (size_t)snprintf(names + len, size - len, ":%s", store[i].name);
	for (unsigned int i = 0; i <= nr_store; i++, at++)
		dup2(fds[i], at);
	close_range(at, ~0U, 0);
}

static void start_with(const char *nr_fds, const char *watchdog)
{
	static char names[STORE_MAX * 65];
	char number[16];
	int out;

	server = fork();
	assert_true(server >= 0);
	if (server)
		return;
	out = open(out_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	dup2(out, 2);
	hand_over_fds(names, sizeof(names));
	snprintf(number, sizeof(number), "%u", nr_store + 1);
	setenv("LISTEN_FDS", nr_fds ? nr_fds : number, 1);
	setenv("LISTEN_FDNAMES", names, 1);
	snprintf(number, sizeof(number), "%d", (int)getpid());
	setenv("LISTEN_PID", number, 1);
	if (watchdog)
		setenv("WATCHDOG_USEC", watchdog, 1);
	execl(path, "session_server", "1", "none", NULL);
	_exit(127);
}

static void start(void)
{
	unsigned int ready = nr_ready;

	start_with(NULL, NULL);
	await(&nr_ready, ready + 1);
}

/* As a manager does, which waits for all of it. */
static void end_server(void)
{
	kill(server, SIGKILL);
	await_child(server);
}

static int set_up(void **state)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	snprintf(out_path, sizeof(out_path), "%s/out", test_dir);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/notify", test_dir);
	notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(notify, (struct sockaddr *)&addr, sizeof(addr)), 0);
	setenv("NOTIFY_SOCKET", addr.sun_path, 1);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/listen", test_dir);
	listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listening, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(listening, 128), 0);
	nr_stored = nr_removed = nr_ready = nr_watchdog = nr_stopping = 0;
	return 0;
}

static int tear_down(void **state)
{
	char name[128];

	end_children();
	while (nr_store)
		forget(0);
	close(notify);
	close(listening);
	snprintf(name, sizeof(name), "%s/notify", test_dir);
	unlink(name);
	snprintf(name, sizeof(name), "%s/listen", test_dir);
	unlink(name);
	return 0;
}

/* ---- the server, as its clients see it ------------------------------------------- */

static int ask_on(int fd, char request)
{
	struct pollfd p = {fd, POLLIN, 0};
	char buf[64];
	int number;
	ssize_t n;

	assert_int_equal(send(fd, &request, 1, MSG_NOSIGNAL), 1);
	for (int i = 0; i < 1000 && poll(&p, 1, 10) < 1; i++)
		hear();
	n = recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT);
	assert_true(n > 0);
	buf[n] = '\0';
	assert_int_equal(sscanf(buf, "%d", &number), 1);
	return number;
}

static bool has(const char *name)
{
	for (unsigned int i = 0; i < nr_store; i++)
		if (!strcmp(store[i].name, name))
			return true;
	return false;
}

static void everything_is_kept(void **state)
{
	int conn[CONNS], fds;

	start();
	for (int i = 0; i < CONNS; i++) {
		conn[i] = connect_server();
		ask_on(conn[i], '?');
	}
	fds = ask_on(conn[0], 'n');
	await(&nr_store, 1 + 7 + CONNS); /* the arena, one of each kind */
	assert_true(has("kho-arena"));
	for (int round = 0; round < 5; round++) {
		end_server();
		hear();
		start();
		for (int i = 0; i < CONNS; i++)
			assert_int_equal(ask_on(conn[i], '?'), CONNS * (round + 1) + i + 1);
		assert_int_equal(ask_on(conn[1], 'k'), 0);
		assert_int_equal(ask_on(conn[2], 'c'), CONNS);
		assert_int_equal(ask_on(conn[3], 'n'), fds);
		assert_int_equal(nr_store, 1 + 7 + CONNS);
	}
	/* What came back was not sent there again. */
	assert_int_equal(nr_stored, 1 + 7 + CONNS);
	assert_int_equal(nr_removed, 0);
	for (int i = 1; i < CONNS; i++)
		close(conn[i]);
	await(&nr_store, 1 + 7 + 1);
	assert_int_equal(ask_on(conn[0], 'd'), 0); /* a directory does not hang up */
	await(&nr_store, 1 + 6 + 1);
	assert_true(nr_removed >= 1);
	close(conn[0]);
}

/* What went while nobody listened to us, it is told when somebody does. */
static void what_is_not_wanted_is_dropped(void **state)
{
	int conn, extra = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	start();
	await(&nr_store, 1 + 7);
	end_server();
	hear();
	keep("kho-fffffffe00001234", extra); /* no session knows it */
	start();
	await(&nr_store, 1 + 7);
	assert_false(has("kho-fffffffe00001234"));
	conn = connect_server();
	assert_int_equal(ask_on(conn, 'k'), 0);
	close(conn);
}

static void it_hears_that_we_live(void **state)
{
	start_with(NULL, "40000");
	await(&nr_ready, 1);
	await(&nr_watchdog, 10);
}

static void it_hears_that_we_stop(void **state)
{
	int conn, status;
	char q = 'q';

	start();
	conn = connect_server();
	assert_int_equal(send(conn, &q, 1, 0), 1);
	status = await_child(server);
	hear();
	assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
	assert_int_equal(nr_stopping, 1);
	/* On purpose, and all is there for the next start. */
	start();
	assert_int_equal(ask_on(conn, 'k'), 0);
	close(conn);
}

static void expect_failure(const char *nr_fds, const char *why)
{
	char text[4096];
	int status, fd;
	ssize_t n;

	unlink(out_path);
	start_with(nr_fds, NULL);
	status = await_child(server);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	fd = open(out_path, O_RDONLY | O_CLOEXEC);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	if (!strstr(text, why))
		fail_msg("\"%s\" is not in: %s", why, text);
}

static void an_environment_that_lies(void **state)
{
	char good[128];

	expect_failure("x", "LISTEN_FDS is \"x\", which no service manager says");
	expect_failure("-1", "LISTEN_FDS is \"-1\"");
	expect_failure("99999999999", "LISTEN_FDS is");
	expect_failure("9", ", which is not open");
	strcpy(good, getenv("NOTIFY_SOCKET"));
	setenv("NOTIFY_SOCKET", "here", 1);
	expect_failure(NULL, "NOTIFY_SOCKET is \"here\"");
	/* Nobody there: it works, and nothing outlives it. */
	setenv("NOTIFY_SOCKET", "/nowhere/at/all", 1);
	start_with(NULL, NULL);
	ask(-1);
	setenv("NOTIFY_SOCKET", good, 1);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(everything_is_kept),	TEST(what_is_not_wanted_is_dropped),
		TEST(it_hears_that_we_live),	TEST(it_hears_that_we_stop),
		TEST(an_environment_that_lies),
	};
	int failed;

	util_begin(argv[0]);
	snprintf(path, sizeof(path), "%.*ssession_server",
		 (int)(strlen(server_path) - strlen("server")), server_path);
	failed = cmocka_run_group_tests_name("systemd", tests, NULL, NULL);
	util_end();
	return failed;
}
