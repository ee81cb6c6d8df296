/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * torture [--kills N] [--clients N] [--standby] [--expect-broken] BUILD-DIR
 *
 * kho run with cached-torture; clients work on shared keys all the time; the server is killed N times, at
 * random instants, also while it starts. Then all answers are heard, and the record is checked.
 * KHO_SEED repeats what is drawn; SABOTAGE is passed on to the server, which must then be found out.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <netinet/in.h>
#include <time.h>
#include <unistd.h>

#include "torture.h"

#define CLIENTS_MAX 64
#define ALIVE_MS 30 /* longest life of a server; with a standby, which is then ready at times: */
#define STANDBY_MS 300
#define START_MS 10000

static unsigned int kills = 60, nr_clients = 32, port, seed;
static bool standby, expect_broken;
static struct client *clients[CLIENTS_MAX];
static pid_t supervisor;
static char dir[64] = "/tmp/kho-torture-XXXXXX";

uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void end_all(void)
{
	char command[128];

	if (supervisor > 0) {
		kill(supervisor, SIGTERM);
		waitpid(supervisor, NULL, 0);
	}
	snprintf(command, sizeof(command), "rm -r %s", dir);
	if (system(command))
		fprintf(stderr, "torture: %s is left\n", dir);
}

void broken(const char *format, ...)
{
	va_list args;

	printf("torture: %s", expect_broken ? "found out, as expected: " : "BROKEN: ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	if (getenv("TORTURE_KEEP"))
		raise(SIGSTOP); /* so that what is left can be looked at */
	end_all();
	exit(expect_broken ? 0 : 1);
}

/* ---- the server ---- */

static unsigned int free_port(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof(at);

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(fd, (struct sockaddr *)&at, len) || getsockname(fd, (struct sockaddr *)&at, &len))
		broken("no free port");
	close(fd);
	return ntohs(at.sin_port);
}

static void start_server(const char *build)
{
	char kho[256], server[256], address[32];
	const char *argv[16] = {kho,	      "run", "--name",	 "torture",
				"--restarts", "0/1", "--listen", address};
	int nr = 8;

	snprintf(kho, sizeof(kho), "%s/kho", build);
	snprintf(server, sizeof(server), "%s/cached-torture", build);
	snprintf(address, sizeof(address), "127.0.0.1:%u", port);
	if (standby)
		argv[nr++] = "--standby";
	argv[nr++] = server;
	argv[nr++] = "-t";
	argv[nr++] = "3";
	argv[nr++] = "--debug";
	if (!mkdtemp(dir))
		broken("no directory");
	setenv("KHO_RUNDIR", dir, 1);
	supervisor = fork();
	if (supervisor)
		return;
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (!getenv("TORTURE_VERBOSE") && !freopen("/dev/null", "w", stderr))
		_exit(126);
	execv(kho, (char *const *)argv);
	_exit(127);
}

/* A connection of our own, for what is asked in turn. */
static int own = -1;

static void ask(const char *line, const char *end, char *answer, size_t size)
{
	size_t len = 0;

	if (send(own, line, strlen(line), MSG_NOSIGNAL) < 0)
		broken("our own connection was lost: %s", strerror(errno));
	do {
		struct pollfd p = {own, POLLIN, 0};
		ssize_t n = poll(&p, 1, START_MS) == 1 ? recv(own, answer + len, size - 1 - len, 0)
						       : 0;

		if (n <= 0)
			broken("no answer to %.20s", line);
		len += (size_t)n;
		answer[len] = '\0';
	} while (len < strlen(end) || strcmp(answer + len - strlen(end), end));
}

static void connect_own(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	uint64_t deadline = now_ms() + START_MS;

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	own = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	while (connect(own, (struct sockaddr *)&to, sizeof(to))) {
		if (now_ms() > deadline)
			broken("the server does not start");
		usleep(2000);
	}
}

static char *get(const char *key, size_t *len)
{
	static char answer[1 << 20];
	char line[64], *value;
	unsigned int flags;

	snprintf(line, sizeof(line), "get %s\r\n", key);
	ask(line, "END\r\n", answer, sizeof(answer));
	if (sscanf(answer, "VALUE %*s %u %zu", &flags, len) != 2)
		return NULL;
	value = malloc(*len + 1);
	memcpy(value, strstr(answer, "\r\n") + 2, *len);
	value[*len] = '\0';
	return value;
}

static pid_t server_pid(void)
{
	static char answer[1 << 16];

	ask("stats\r\n", "END\r\n", answer, sizeof(answer));
	return (pid_t)atoi(strstr(answer, "STAT pid ") ? strstr(answer, "STAT pid ") + 9 : "0");
}

static void set_up_keys(void)
{
	char line[64], answer[64];

	for (unsigned int i = 0; i < COUNTERS; i++) {
		snprintf(line, sizeof(line), "set c%u 0 0 1\r\n0\r\n", i);
		ask(line, "STORED\r\n", answer, sizeof(answer));
	}
	for (unsigned int i = 0; i < CHAINS; i++) {
		snprintf(line, sizeof(line), "set x%u 0 0 10\r\n0000000000\r\n", i);
		ask(line, "STORED\r\n", answer, sizeof(answer));
	}
}

/* ---- the clients ---- */

static void turn(int timeout, bool last)
{
	struct pollfd p[CLIENTS_MAX];

	for (unsigned int i = 0; i < nr_clients; i++) {
		struct client *c = clients[i];

		if (client_idle(c))
			client_ask(c, last);
		client_patience(c);
		p[i] = (struct pollfd){client_fd(c), client_writes(c) ? POLLIN | POLLOUT : POLLIN,
				       0};
	}
	if (poll(p, nr_clients, timeout) <= 0)
		return;
	for (unsigned int i = 0; i < nr_clients; i++) {
		if (p[i].revents & POLLOUT)
			client_write(clients[i]);
		if (p[i].revents & (POLLIN | POLLHUP | POLLERR))
			client_read(clients[i]);
	}
}

static void work(unsigned int ms)
{
	uint64_t until = now_ms() + ms;

	while (now_ms() < until)
		turn(1, false);
}

static bool all_idle(void)
{
	for (unsigned int i = 0; i < nr_clients; i++)
		if (!client_idle(clients[i]))
			return false;
	return true;
}

/* Who is killed while it starts is not asked for its pid: the supervisor's youngest child is it. */
static pid_t youngest(void)
{
	char path[64], text[256];
	pid_t found = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", supervisor, supervisor);
	f = fopen(path, "re");
	if (f && fgets(text, sizeof(text), f))
		for (char *word = strtok(text, " "); word; word = strtok(NULL, " "))
			found = (pid_t)atoi(word);
	if (f)
		fclose(f);
	return found;
}

static void kill_one(void)
{
	bool starting = rand_r(&seed) % 4 == 0;
	pid_t pid;

	pid = starting ? youngest() : server_pid();
	work((unsigned int)rand_r(&seed) % (starting ? 4 : standby ? STANDBY_MS : ALIVE_MS));
	if (pid > 1)
		kill(pid, SIGKILL);
}

/* ---- the end ---- */

static void check_sound(void)
{
	static char answer[1 << 16];

	ask("stats check\r\n", "END\r\n", answer, sizeof(answer));
	if (!strstr(answer, "check:result sound"))
		broken("the table is not sound: %s", answer);
}

static void parse(int argc, char **argv)
{
	static const struct option options[] = {{"kills", required_argument, NULL, 'k'},
						{"clients", required_argument, NULL, 'c'},
						{"standby", no_argument, NULL, 's'},
						{"expect-broken", no_argument, NULL, 'b'},
						{0}};
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'k')
			kills = (unsigned int)atoi(optarg);
		else if (opt == 'c')
			nr_clients = (unsigned int)atoi(optarg);
		else if (opt == 's')
			standby = true;
		else if (opt == 'b')
			expect_broken = true;
		else
			exit(2);
	}
	if (optind + 1 != argc || nr_clients > CLIENTS_MAX) {
		fprintf(stderr, "usage: torture [--kills N] [--clients N] [--standby] "
				"[--expect-broken] BUILD-DIR\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	const char *text = getenv("KHO_SEED");
	uint64_t began, deadline;
	unsigned int drawn;

	parse(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	seed = drawn = text ? (unsigned int)strtoul(text, NULL, 0)
			    : (unsigned int)time(NULL) ^ (unsigned int)getpid();
	port = free_port();
	start_server(argv[optind]);
	connect_own();
	set_up_keys();
	for (unsigned int i = 0; i < nr_clients; i++)
		clients[i] = client_new(i + 1, port, seed * 64);
	began = now_ms();
	for (unsigned int i = 0; i < kills; i++)
		kill_one();
	work(50);
	deadline = now_ms() + 20000;
	while (!all_idle() && now_ms() < deadline)
		turn(1, true);
	if (!all_idle())
		broken("clients without an answer at the end");
	record_check(get);
	check_sound();
	printf("torture: KHO_SEED=%u: %u kills in %.1f s%s, %u clients: ", drawn, kills,
	       (double)(now_ms() - began) / 1000, standby ? " with a standby" : "", nr_clients);
	record_show();
	printf("\n");
	end_all();
	if (expect_broken)
		printf("torture: what was broken on purpose was not found out\n");
	return expect_broken;
}
