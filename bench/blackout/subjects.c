/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The ways to replace a server: ours, two peers', and the floors. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "blackout.h"

#define MIB (1ULL << 20)
#define START_TIMEOUT (60 * LOAD_NS)
#define EVENT_TIMEOUT (180 * LOAD_NS)
/*
 * memcached's warm restart throws the cache away when it takes less than a second of
 * wall-clock time: restart as soon as it may.
 */
#define MEMCACHED_GAP (1100 * LOAD_MS)

static uint64_t need_once(uint64_t state)
{
	return state + state / 4 + 512 * MIB;
}

/* In memory, and once more in the file that it saves to. */
static uint64_t need_twice(uint64_t state)
{
	return 5 * state / 2 + 512 * MIB;
}

static int wait_answer(struct run *run)
{
	int err = load_wait_port(run->port, run->pid, START_TIMEOUT);

	if (err) {
		fprintf(stderr, "\nblackout: no answer: %s\n", strerror(-err));
		load_show_tail(run->log, "");
	}
	return err;
}

static int start(struct run *run, char *const argv[])
{
	run->pid = load_spawn(argv, run->log, run->dir);
	if (run->pid < 0) {
		fprintf(stderr, "\nblackout: %s: %s\n", argv[0], strerror(-run->pid));
		return run->pid;
	}
	run->server = run->pid;
	return wait_answer(run);
}

static void stop_child(struct run *run)
{
	load_end(run->pid, 30 * LOAD_NS);
	run->pid = 0;
}

/* ---- libkho ---------------------------------------------------------------------- */

static int kho_pid(struct run *run)
{
	char kho[4096], out[8192];
	char *argv[] = {kho, "status", "bench", "--json", NULL};
	long long pid;

	snprintf(kho, sizeof(kho), "%s/kho", run->bin);
	pid = load_run(argv, out, sizeof(out), START_TIMEOUT) ? -1 : load_json_number(out, "pid");
	if (pid <= 0) {
		fprintf(stderr, "\nblackout: kho status: %s\n", out);
		return -EPROTO;
	}
	run->server = (pid_t)pid;
	return 0;
}

/* The limit of the cache must not be what decides. */
static char *const *server_args(struct run *run)
{
	static char limit[32];
	static char *const args[] = {"-t", "2", "--healthy-after=50", "-m", limit, NULL};

	snprintf(limit, sizeof(limit), "%llu",
		 (unsigned long long)(need_once(run->state) * 3 / 2 / MIB));
	return args;
}

static int start_kho(struct run *run, bool realtime)
{
	char kho[4096], server[4096], listen[32], max[32];
	char *argv[20] = {kho, "run", "--name", "bench", "--listen", listen};
	unsigned int n = 6;
	char *const *arg;
	int err;

	if (realtime) {
		argv[n++] = "--realtime";
		argv[n++] = "1";
	}
	argv[n++] = "--";
	argv[n++] = server;

	snprintf(kho, sizeof(kho), "%s/kho", run->bin);
	snprintf(server, sizeof(server), "%s/cached-v1", run->bin);
	snprintf(listen, sizeof(listen), "127.0.0.1:%u", run->port);
	for (arg = server_args(run); *arg; arg++)
		argv[n++] = *arg;
	setenv("KHO_RUNDIR", run->dir, 1);
	snprintf(max, sizeof(max), "%llu", (unsigned long long)(2 * need_once(run->state)));
	setenv("KHO_ARENA_MAX", max, 1);
	err = start(run, argv);
	return err ? err : kho_pid(run);
}

static int kho_start_server(struct run *run)
{
	return start_kho(run, false);
}

static int kho_start_realtime(struct run *run)
{
	return start_kho(run, true);
}

static int kho_upgrade(struct run *run, bool in_place)
{
	char kho[4096], server[4096], out[8192];
	char *argv[20] = {kho, "upgrade", "--exec", server};
	pid_t old = run->server;
	unsigned int n = 4;
	char *const *arg;
	int status;

	snprintf(kho, sizeof(kho), "%s/kho", run->bin);
	snprintf(server, sizeof(server), "%s/cached-v%d", run->bin, run->events % 2 ? 1 : 2);
	if (in_place)
		argv[n++] = "--in-place";
	argv[n++] = "bench";
	argv[n++] = "--";
	for (arg = server_args(run); *arg; arg++)
		argv[n++] = *arg;
	status = load_run(argv, out, sizeof(out), EVENT_TIMEOUT);
	if (status) {
		fprintf(stderr, "\nblackout: kho upgrade: %d: %s\n", status, out);
		load_show_tail(run->log, "");
		return -EPROTO;
	}
	if (!in_place && !blackout_wait_gone(old, EVENT_TIMEOUT)) {
		fprintf(stderr, "\nblackout: the predecessor stays\n");
		return -ETIMEDOUT;
	}
	return 0;
}

static int kho_spawn_event(struct run *run)
{
	int err = kho_upgrade(run, false);

	return err ? err : kho_pid(run);
}

static int kho_exec_event(struct run *run)
{
	return kho_upgrade(run, true);
}

static void kho_stop_server(struct run *run)
{
	char kho[4096], out[4096];
	char *argv[] = {kho, "stop", "bench", NULL};

	snprintf(kho, sizeof(kho), "%s/kho", run->bin);
	if (run->pid <= 0)
		return;
	load_run(argv, out, sizeof(out), START_TIMEOUT);
	if (load_wait(run->pid, 30 * LOAD_NS) == -ETIMEDOUT) {
		stop_child(run);
		kill(run->server, SIGKILL);
	}
	blackout_wait_gone(run->server, 30 * LOAD_NS);
	run->pid = 0;
}

/* Nothing happens, for as long as an upgrade takes. */
static int noise_event(struct run *run)
{
	load_sleep(run->event_ns);
	return 0;
}

const struct subject subject_kho = {.name = "libkho",
				    .versions = true,
				    .need = need_once,
				    .start = kho_start_server,
				    .event = kho_spawn_event,
				    .stop = kho_stop_server};
const struct subject subject_kho_exec = {.name = "libkho-exec",
					 .versions = true,
					 .need = need_once,
					 .start = kho_start_server,
					 .event = kho_exec_event,
					 .stop = kho_stop_server};
/* Its threads at the prober's own priority, so that what else runs does not come before an answer. */
const struct subject subject_kho_realtime = {.name = "libkho-realtime",
					     .versions = true,
					     .need = need_once,
					     .start = kho_start_realtime,
					     .event = kho_spawn_event,
					     .stop = kho_stop_server};
const struct subject subject_noise = {.name = "noise-floor",
				      .need = need_once,
				      .start = kho_start_server,
				      .event = noise_event,
				      .stop = kho_stop_server};
const struct subject subject_noise_realtime = {.name = "noise-realtime",
					       .need = need_once,
					       .start = kho_start_realtime,
					       .event = noise_event,
					       .stop = kho_stop_server};

/* ---- memcached -e: the cache in a file on tmpfs, and its index rebuilt ------------- */

static int memcached_start(struct run *run)
{
	char port[16], limit[32], file[300];
	char *argv[] = {"memcached", "-l",  "127.0.0.1", "-p", port, "-t",   "2",
			"-m",	     limit, "-e",	 file, "-u", "root", NULL};

	if (getuid())
		argv[11] = NULL;
	snprintf(port, sizeof(port), "%u", run->port);
	snprintf(limit, sizeof(limit), "%llu", (unsigned long long)(need_once(run->state) / MIB));
	snprintf(file, sizeof(file), "%s/cache", run->dir);
	return start(run, argv);
}

static int memcached_event(struct run *run)
{
	int status;

	kill(run->pid, SIGUSR1);
	status = load_wait(run->pid, EVENT_TIMEOUT);
	run->pid = 0;
	if (status) {
		fprintf(stderr, "\nblackout: memcached ended with %d\n", status);
		return -EPROTO;
	}
	load_sleep(MEMCACHED_GAP);
	return memcached_start(run);
}

const struct subject subject_memcached = {.name = "memcached -e",
					  .slow = true,
					  .need = need_once,
					  .start = memcached_start,
					  .event = memcached_event,
					  .stop = stop_child};

/* ---- Redis: save, load ----------------------------------------------------------------- */

static int redis_start(struct run *run)
{
	char port[16];
	char *argv[] = {"redis-server", "--port",	    port,     "--bind", "127.0.0.1",
			"--dir",	run->dir,	    "--save", "",	"--appendonly",
			"no",		"--rdbcompression", "no",     NULL};

	snprintf(port, sizeof(port), "%u", run->port);
	return start(run, argv);
}

static int redis_event(struct run *run)
{
	static const char command[] = "SHUTDOWN SAVE\r\n";
	struct sockaddr_in addr = load_addr(run->port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), status;

	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) ||
	    send(fd, command, sizeof(command) - 1, MSG_NOSIGNAL) < 0) {
		fprintf(stderr, "\nblackout: redis: %s\n", strerror(errno));
		return -errno;
	}
	status = load_wait(run->pid, EVENT_TIMEOUT);
	close(fd);
	run->pid = 0;
	if (status) {
		fprintf(stderr, "\nblackout: redis ended with %d\n", status);
		return -EPROTO;
	}
	return redis_start(run);
}

const struct subject subject_redis = {.name = "redis",
				      .proto = LOAD_REDIS,
				      .slow = true,
				      .need = need_twice,
				      .start = redis_start,
				      .event = redis_event,
				      .stop = stop_child};

/* ---- floors: a program that maps the memory and answers, and nothing else ---------------- */

/* "PID GENERATION", written by each new one when it answers. */
static unsigned int floor_read(struct run *run, const char *name)
{
	unsigned int generation = 0;
	char path[300];
	FILE *f;
	int pid;

	snprintf(path, sizeof(path), "%s/%s", run->dir, name);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%d %u", &pid, &generation) == 2)
		run->server = (pid_t)pid;
	fclose(f);
	return generation;
}

static int floor_start(struct run *run, char *how)
{
	char program[4096], port[16], state[32];
	char *argv[] = {program, how, port, state, run->dir, NULL};

	snprintf(program, sizeof(program), "%s/bench/blackout-floor", run->bin);
	snprintf(port, sizeof(port), "%u", run->port);
	snprintf(state, sizeof(state), "%llu", (unsigned long long)run->state);
	return start(run, argv);
}

static int floor_spawn_start(struct run *run)
{
	return floor_start(run, "spawn");
}

static int floor_exec_start(struct run *run)
{
	return floor_start(run, "exec");
}

static int floor_rest(struct run *run)
{
	uint64_t end = load_now() + EVENT_TIMEOUT;

	while (floor_read(run, "full") != floor_read(run, "floor")) {
		if (load_now() > end)
			return -ETIMEDOUT;
		load_sleep(LOAD_MS);
	}
	return 0;
}

static int floor_event(struct run *run)
{
	unsigned int before = floor_read(run, "floor");
	uint64_t end = load_now() + EVENT_TIMEOUT;
	pid_t old = run->server;

	kill(old, SIGUSR1);
	while (floor_read(run, "floor") == before || !run->server) {
		if (load_now() > end) {
			fprintf(stderr, "\nblackout: the floor's successor does not come\n");
			return -ETIMEDOUT;
		}
		load_sleep(LOAD_MS);
	}
	/* We are the subreaper: all of them are children of ours. */
	if (run->server != old) {
		load_wait(old, EVENT_TIMEOUT);
		run->pid = run->server;
	}
	return 0;
}

const struct subject subject_spawn = {.name = "plain-spawn",
				      .fills_itself = true,
				      .need = need_once,
				      .start = floor_spawn_start,
				      .rest = floor_rest,
				      .event = floor_event,
				      .stop = stop_child};
const struct subject subject_exec = {.name = "plain-exec",
				     .fills_itself = true,
				     .need = need_once,
				     .start = floor_exec_start,
				     .rest = floor_rest,
				     .event = floor_event,
				     .stop = stop_child};
