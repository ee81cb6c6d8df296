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

#define EVENT_TIMEOUT (180 * LOAD_NS)
/*
 * memcached's warm restart throws the cache away when it takes less than a second of
 * wall-clock time: restart as soon as it may.
 */
#define MEMCACHED_GAP (1100 * LOAD_MS)

/* In memory, and once more in the file that it saves to. */
static uint64_t need_twice(uint64_t state)
{
	return 5 * state / 2 + 512 * SIZED_MIB;
}

/* ---- libkho ---------------------------------------------------------------------- */

static char *const healthy_args[] = {"--healthy-after=50", NULL};

static bool wait_gone(pid_t pid, uint64_t timeout)
{
	uint64_t end = load_now() + timeout;

	while (!load_is_gone(pid)) {
		if (load_now() > end)
			return false;
		load_sleep(LOAD_MS);
	}
	return true;
}

static int kho_pid(struct run *run)
{
	char out[8192] = "";
	int err = launch_kho_status(run, out, sizeof(out));

	if (err)
		sized_say("kho status: %s", out);
	return err;
}

static int kho_start_server(struct run *run)
{
	char *const options[] = {NULL};

	return launch_kho(run, "cached-v1", options, healthy_args) ?: kho_pid(run);
}

static int kho_start_realtime(struct run *run)
{
	char *const options[] = {"--realtime", "1", NULL};

	return launch_kho(run, "cached-v1", options, healthy_args) ?: kho_pid(run);
}

static int kho_upgrade(struct run *run, bool in_place)
{
	char kho[4096], server[4096], out[8192];
	char *argv[20] = {kho, "upgrade", "--exec", server};
	char *const names[] = {"bench", "--", NULL};
	pid_t old = run->server;
	unsigned int n = 4;
	int status;

	snprintf(kho, sizeof(kho), "%s/kho", run->bin);
	snprintf(server, sizeof(server), "%s/cached-v%d", run->bin, run->events % 2 ? 1 : 2);
	if (in_place)
		argv[n++] = "--in-place";
	n = launch_append(argv, n, names);
	n = launch_append(argv, n, launch_cached_args(run));
	launch_append(argv, n, healthy_args);
	status = load_run(argv, out, sizeof(out), EVENT_TIMEOUT);
	if (status) {
		sized_say("kho upgrade: %d: %s", status, out);
		load_show_tail(run->log, "");
		return -EPROTO;
	}
	if (!in_place && !wait_gone(old, EVENT_TIMEOUT)) {
		sized_say("the predecessor stays");
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
	load_run(argv, out, sizeof(out), LAUNCH_TIMEOUT);
	if (load_wait(run->pid, 30 * LOAD_NS) == -ETIMEDOUT) {
		launch_stop(run);
		kill(run->server, SIGKILL);
	}
	wait_gone(run->server, 30 * LOAD_NS);
	run->pid = 0;
}

/* The median of the upgrades that were measured last; until then a guess. */
static uint64_t upgrade_ns = 60 * LOAD_MS;

static void kho_stop_upgraded(struct run *run)
{
	if (run->samples[BLACKOUT_WHOLE_MS].nr)
		upgrade_ns =
			(uint64_t)(load_quantile(&run->samples[BLACKOUT_WHOLE_MS], 0.5) * LOAD_MS);
	kho_stop_server(run);
}

/* Nothing happens, for as long as an upgrade takes. */
static int noise_event(struct run *run)
{
	load_sleep(upgrade_ns);
	return 0;
}

static const struct subject kho = {.name = "libkho",
				   .versions = true,
				   .need = launch_need_once,
				   .start = kho_start_server,
				   .replace = kho_spawn_event,
				   .stop = kho_stop_upgraded};
static const struct subject kho_exec = {.name = "libkho-exec",
					.versions = true,
					.need = launch_need_once,
					.start = kho_start_server,
					.replace = kho_exec_event,
					.stop = kho_stop_server};
/* Its threads at the prober's own priority, so that what else runs does not come before an answer. */
static const struct subject kho_realtime = {.name = "libkho-realtime",
					    .versions = true,
					    .need = launch_need_once,
					    .start = kho_start_realtime,
					    .replace = kho_spawn_event,
					    .stop = kho_stop_upgraded};
static const struct subject noise = {.name = "noise-floor",
				     .need = launch_need_once,
				     .start = kho_start_server,
				     .replace = noise_event,
				     .stop = kho_stop_server};
static const struct subject noise_realtime = {.name = "noise-realtime",
					      .need = launch_need_once,
					      .start = kho_start_realtime,
					      .replace = noise_event,
					      .stop = kho_stop_server};

/* ---- memcached -e: the cache in a file on tmpfs, and its index rebuilt ------------- */

static int memcached_start(struct run *run)
{
	char file[300];
	char *const args[] = {"-e", file, NULL};

	snprintf(file, sizeof(file), "%s/cache", run->dir);
	return launch_memcached(run, args) ?: launch_answer(run);
}

static int memcached_event(struct run *run)
{
	int status;

	kill(run->pid, SIGUSR1);
	status = load_wait(run->pid, EVENT_TIMEOUT);
	run->pid = 0;
	if (status) {
		sized_say("memcached ended with %d", status);
		return -EPROTO;
	}
	load_sleep(MEMCACHED_GAP);
	return memcached_start(run);
}

static const struct subject memcached = {.name = "memcached -e",
					 .slow = true,
					 .need = launch_need_once,
					 .start = memcached_start,
					 .replace = memcached_event,
					 .stop = launch_stop};

/* ---- Redis: save, load ----------------------------------------------------------------- */

static int redis_start(struct run *run)
{
	char *const args[] = {"--appendonly", "no", "--rdbcompression", "no", NULL};

	return launch_redis(run, args) ?: launch_answer(run);
}

static int redis_event(struct run *run)
{
	static const char command[] = "SHUTDOWN SAVE\r\n";
	struct sockaddr_in addr = load_addr(run->port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), err = 0, status;

	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) ||
	    send(fd, command, sizeof(command) - 1, MSG_NOSIGNAL) < 0) {
		err = -errno;
		sized_say("redis: %s", strerror(-err));
	}
	status = err ? 0 : load_wait(run->pid, EVENT_TIMEOUT);
	if (fd >= 0)
		close(fd);
	if (err)
		return err;
	run->pid = 0;
	if (status) {
		sized_say("redis ended with %d", status);
		return -EPROTO;
	}
	return redis_start(run);
}

static const struct subject redis = {.name = "redis",
				     .proto = LOAD_REDIS,
				     .slow = true,
				     .need = need_twice,
				     .start = redis_start,
				     .replace = redis_event,
				     .stop = launch_stop};

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
	return launch(run, argv) ?: launch_answer(run);
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
			sized_say("the floor's successor does not come");
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

static const struct subject spawn = {.name = "plain-spawn",
				     .fills_itself = true,
				     .need = launch_need_once,
				     .start = floor_spawn_start,
				     .rest = floor_rest,
				     .replace = floor_event,
				     .stop = launch_stop};
static const struct subject exec = {.name = "plain-exec",
				    .fills_itself = true,
				    .need = launch_need_once,
				    .start = floor_exec_start,
				    .rest = floor_rest,
				    .replace = floor_event,
				    .stop = launch_stop};

const struct subject *const blackout_subjects[] = {
	/* The noise floor after libkho: it needs to know how long an upgrade takes. */
	&kho,	&noise, &kho_realtime, &noise_realtime, &kho_exec,
	&spawn, &exec,	&memcached,    &redis,		NULL,
};
