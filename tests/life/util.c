/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* See util.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proc.h"
#include "util.h"

#define FIELD_PARENT 4

char tool_path[256], server_path[256], test_dir[64], kho_out[8192];

void util_begin(const char *argv0)
{
	char dir[200];
	char *slash;

	snprintf(dir, sizeof(dir), "%s", argv0);
	slash = strrchr(dir, '/');
	*(slash ? slash : dir) = '\0';
	snprintf(tool_path, sizeof(tool_path), "%s/../../kho", dir);
	snprintf(server_path, sizeof(server_path), "%s/server", dir);
	snprintf(test_dir, sizeof(test_dir), "/tmp/kho-test-XXXXXX");
	if (!mkdtemp(test_dir))
		abort();
	setenv("KHO_RUNDIR", test_dir, 1);
	setenv("KHO_TEST_DIR", test_dir, 1);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

/* Parent of @pid, 0 when it is gone. */
static pid_t parent_of(pid_t pid)
{
	__u64 parent;

	return kho_proc_field_(pid, FIELD_PARENT, &parent) ? 0 : (pid_t)parent;
}

static bool descends(pid_t pid)
{
	for (int i = 0; i < 16 && pid > 1; i++) {
		pid = parent_of(pid);
		if (pid == getpid())
			return true;
	}
	return false;
}

/* Until they are gone: one that dies at idle priority takes its time on a busy machine, and holds the address. */
void end_children(void)
{
	__u64 deadline = now_us() + WAIT_US;

	while (now_us() < deadline) {
		DIR *proc = opendir("/proc");
		struct dirent *d;
		bool any = false;

		while ((d = readdir(proc))) {
			pid_t pid = atoi(d->d_name);

			if (pid > 1 && descends(pid)) {
				kill(pid, SIGKILL);
				any = true;
			}
		}
		closedir(proc);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		if (!any)
			return;
		usleep(2000);
	}
}

static void remove_files(void)
{
	DIR *dir = opendir(test_dir);
	struct dirent *d;
	char path[512];

	while ((d = readdir(dir))) {
		snprintf(path, sizeof(path), "%s/%s", test_dir, d->d_name);
		unlink(path);
	}
	closedir(dir);
}

void util_end(void)
{
	end_children();
	remove_files();
	rmdir(test_dir);
}

unsigned int seed_random(void)
{
	const char *text = getenv("KHO_SEED");
	unsigned int seed = text ? (unsigned int)strtoul(text, NULL, 0) : (unsigned int)now_us();

	printf("KHO_SEED=%u\n", seed);
	srandom(seed);
	return seed;
}

__u64 now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (__u64)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

unsigned int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int nr = 0;

	while (readdir(dir))
		nr++;
	closedir(dir);
	return nr - 3; /* . and .. and the directory itself */
}

/* ---- programs --------------------------------------------------------------- */

static pid_t spawn_program(const char *const *argv, int out)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	if (out >= 0) {
		dup2(out, 1);
		dup2(out, 2);
	}
	execv(argv[0], (char *const *)argv);
	_exit(127);
}

int run_program(char *out, size_t size, const char *const *argv)
{
	__u64 deadline = now_us() + WAIT_US;
	size_t len = 0;
	int p[2], status;
	pid_t pid;

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	pid = spawn_program(argv, p[1]);
	close(p[1]);
	for (;;) {
		struct pollfd f = {p[0], POLLIN, 0};
		ssize_t n;

		assert_true(now_us() < deadline);
		if (poll(&f, 1, 1000) <= 0)
			continue;
		n = read(p[0], out + len, size - 1 - len);
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	out[len] = '\0';
	close(p[0]);
	status = await_child(pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

int kho(const char *first, ...)
{
	const char *argv[32] = {tool_path, first};
	va_list args;
	int nr = 2;

	va_start(args, first);
	while (nr < 31 && (argv[nr] = va_arg(args, const char *)))
		nr++;
	va_end(args);
	return run_program(kho_out, sizeof(kho_out), argv);
}

/* What kho run and its servers write to. */
static int open_log(int flags)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/log", test_dir);
	return open(path, flags | O_CLOEXEC, 0600);
}

static const char *log_end(void)
{
	static char text[2048];
	int fd = open_log(O_RDONLY);
	ssize_t n;

	lseek(fd, -(off_t)(sizeof(text) - 1), SEEK_END); /* a shorter one stays at its beginning */
	n = read(fd, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	close(fd);
	return text;
}

pid_t start_run(const char *name, const char *const *options, const char *const *server_args)
{
	char listen[128];
	const char *argv[32] = {tool_path, "run", "--name", name};
	struct answer a;
	pid_t pid;
	int nr = 4, fd;

	snprintf(listen, sizeof(listen), "unix:%s/listen", test_dir);
	for (; options && *options; options++)
		argv[nr++] = *options;
	if (!options || strcmp(argv[nr - 1], "--adopt")) {
		argv[nr++] = "--listen";
		argv[nr++] = listen;
	}
	argv[nr++] = server_path;
	for (; server_args && *server_args; server_args++)
		argv[nr++] = *server_args;
	argv[nr] = NULL;
	fd = open_log(O_WRONLY | O_CREAT | O_APPEND);
	pid = spawn_program(argv, fd);
	close(fd);
	if (!try_ask(&a, WAIT_MS))
		fail_msg("no answer; the log ends with:\n%s", log_end());
	await_status(name, "state", "running");
	return pid;
}

const char *status_field(const char *name, const char *key)
{
	size_t len = strlen(key);

	if (kho("status", name, NULL))
		return "";
	for (char *line = strtok(kho_out, "\n"); line; line = strtok(NULL, "\n"))
		if (!strncmp(line, key, len) && line[len] == ' ')
			return line + len + 1;
	return "";
}

void await_status(const char *name, const char *key, const char *value)
{
	__u64 deadline = now_us() + WAIT_US;

	while (strcmp(status_field(name, key), value)) {
		if (now_us() > deadline)
			assert_string_equal(status_field(name, key), value);
		usleep(5000);
	}
}

/* ---- the server ------------------------------------------------------------- */

int connect_server(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/listen", test_dir);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		close(fd);
		return -1;
	}
	return fd;
}

static bool ask_on(int fd, struct answer *a, unsigned int timeout_ms)
{
	struct pollfd p = {fd, POLLIN, 0};
	char buf[256];
	ssize_t n;

	if (send(fd, "?", 1, MSG_NOSIGNAL) != 1 || poll(&p, 1, (int)timeout_ms) != 1)
		return false;
	n = recv(fd, buf, sizeof(buf) - 1, 0);
	if (n <= 0)
		return false;
	buf[n] = '\0';
	return sscanf(buf, "%llu %llu %d %31s %64s %u", &a->count, &a->generation, &a->pid,
		      a->release, a->before, &a->handovers) == 6;
}

bool try_ask(struct answer *a, unsigned int timeout_ms)
{
	__u64 deadline = now_us() + timeout_ms * 1000ULL;

	do {
		int fd = connect_server();
		bool ok = fd >= 0 && ask_on(fd, a, timeout_ms);

		if (fd >= 0)
			close(fd);
		if (ok)
			return true;
		usleep(2000);
	} while (now_us() < deadline);
	return false;
}

struct answer ask(int fd)
{
	struct answer a = {0};

	if (fd < 0)
		assert_true(try_ask(&a, WAIT_MS));
	else
		assert_true(ask_on(fd, &a, WAIT_MS));
	return a;
}

int ask_number(char request)
{
	int fd = connect_server(), number;
	struct pollfd p = {fd, POLLIN, 0};
	char buf[32];
	ssize_t n;

	assert_true(fd >= 0);
	assert_int_equal(send(fd, &request, 1, MSG_NOSIGNAL), 1);
	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	n = recv(fd, buf, sizeof(buf) - 1, 0);
	assert_true(n > 0);
	buf[n] = '\0';
	assert_int_equal(sscanf(buf, "%d", &number), 1);
	close(fd);
	return number;
}

/* ---- steps ------------------------------------------------------------------ */

static void step_path(char *path, size_t size, const char *what, const char *step)
{
	snprintf(path, size, "%s/%s.%s", test_dir, what, step);
}

void hold(const char *step)
{
	char path[256];

	step_path(path, sizeof(path), "at", step);
	unlink(path);
	step_path(path, sizeof(path), "hold", step);
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
}

pid_t await_held(const char *step)
{
	__u64 deadline = now_us() + WAIT_US;
	char path[256];
	FILE *f;
	int pid = 0;

	step_path(path, sizeof(path), "at", step);
	while (!(f = fopen(path, "re"))) {
		if (now_us() > deadline)
			fail_msg("nobody reached step %s", step);
		usleep(500);
	}
	assert_int_equal(fscanf(f, "%d", &pid), 1);
	fclose(f);
	return pid;
}

void let_go(const char *step)
{
	char path[256];

	step_path(path, sizeof(path), "hold", step);
	unlink(path);
}

void kill_and_wait(pid_t pid)
{
	__u64 deadline = now_us() + WAIT_US;

	kill(pid, SIGKILL);
	while (now_us() < deadline) {
		char path[64], buf[512], *p;
		int fd;
		ssize_t n;

		waitpid(pid, NULL, WNOHANG); /* if it is ours */
		snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		n = fd < 0 ? 0 : read(fd, buf, sizeof(buf) - 1);
		if (fd >= 0)
			close(fd);
		if (n <= 0)
			return;
		buf[n] = '\0';
		p = strrchr(buf, ')');
		if (p && (p[2] == 'Z' || p[2] == 'X'))
			return;
		usleep(2000);
	}
	fail_msg("process %d does not die", (int)pid);
}

int await_child(pid_t pid)
{
	__u64 deadline = now_us() + WAIT_US;
	int status = 0;

	while (now_us() < deadline) {
		pid_t got = waitpid(pid, &status, WNOHANG);

		if (got == pid)
			return status;
		if (got < 0)
			fail_msg("process %d is no child", (int)pid);
		usleep(1000);
	}
	fail_msg("process %d does not end", (int)pid);
	return -1;
}
