/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The servers: ours with and without a standby; memcached, which starts cold; Redis with an
 * append-only file on tmpfs. Peers are started again by us, as soon as they are reaped.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crash.h"

#define MIB (1ULL << 20)
#define START_TIMEOUT (60 * LOAD_NS)
#define REST_TIMEOUT (120 * LOAD_NS)

static uint64_t need_once(uint64_t state)
{
	return state + state / 4 + 512 * MIB;
}

/* In memory, in the file, and in the file that it is rewritten to. */
static uint64_t need_thrice(uint64_t state)
{
	return 7 * state / 2 + 512 * MIB;
}

static int wait_answer(struct run *run)
{
	int err = load_wait_port(run->port, run->pid, START_TIMEOUT);

	if (err) {
		fprintf(stderr, "\ncrash: no answer: %s\n", strerror(-err));
		load_show_tail(run->log, "");
	}
	return err;
}

static int start(struct run *run, char *const argv[])
{
	run->pid = load_spawn(argv, run->log, run->dir);
	if (run->pid < 0) {
		fprintf(stderr, "\ncrash: %s: %s\n", argv[0], strerror(-run->pid));
		return run->pid;
	}
	run->server = run->pid;
	return 0;
}

static void stop_child(struct run *run)
{
	load_end(run->pid, 30 * LOAD_NS);
	run->pid = 0;
}

static int reap(struct run *run)
{
	int status = load_wait(run->pid, REST_TIMEOUT);

	return status == 128 + SIGKILL ? 0 : -EPROTO;
}

/* ---- libkho ---- */

static int kho_status(struct run *run, char *out, size_t size)
{
	char kho[4096];
	char *argv[] = {kho, "status", "bench", "--json", NULL};

	snprintf(kho, sizeof(kho), "%s/kho", run->bin);
	return load_run(argv, out, size, START_TIMEOUT);
}

/* A server that runs, and, if there is to be one, a standby that is ready. */
static int kho_wait(struct run *run, bool standby)
{
	uint64_t end = load_now() + REST_TIMEOUT;
	char out[8192];

	do {
		if (!kho_status(run, out, sizeof(out)) && strstr(out, "\"state\": \"running\"") &&
		    (!standby || strstr(out, "\"standby_state\": \"ready\""))) {
			run->server = (pid_t)load_json_number(out, "pid");
			return run->server > 0 ? 0 : -EPROTO;
		}
		load_sleep(20 * LOAD_MS);
	} while (load_now() < end);
	fprintf(stderr, "\ncrash: kho status: %s\n", out);
	load_show_tail(run->log, "");
	return -ETIMEDOUT;
}

static int kho_start(struct run *run, bool standby)
{
	char kho[4096], server[4096], listen[32], max[32], limit[32];
	char *argv[20] = {kho, "run", "--name", "bench", "--restarts", "0/1", "--listen", listen};
	unsigned int n = 8;
	int err;

	if (standby)
		argv[n++] = "--standby";
	argv[n++] = server;
	argv[n++] = "-t";
	argv[n++] = "2";
	argv[n++] = "-m";
	argv[n++] = limit;
	snprintf(kho, sizeof(kho), "%s/kho", run->bin);
	snprintf(server, sizeof(server), "%s/cached", run->bin);
	snprintf(listen, sizeof(listen), "127.0.0.1:%u", run->port);
	snprintf(limit, sizeof(limit), "%llu",
		 (unsigned long long)(need_once(run->state) * 3 / 2 / MIB));
	snprintf(max, sizeof(max), "%llu", (unsigned long long)(2 * need_once(run->state)));
	setenv("KHO_RUNDIR", run->dir, 1);
	setenv("KHO_ARENA_MAX", max, 1);
	err = start(run, argv);
	return err ? err : wait_answer(run);
}

static int kho_plain_start(struct run *run)
{
	return kho_start(run, false);
}

static int kho_standby_start(struct run *run)
{
	return kho_start(run, true);
}

static int kho_plain_rest(struct run *run)
{
	return kho_wait(run, false);
}

static int kho_standby_rest(struct run *run)
{
	return kho_wait(run, true);
}

/* ---- peers ---- */

static int memcached_spawn(struct run *run)
{
	char port[16], limit[32];
	char *argv[] = {"memcached", "-l", "127.0.0.1", "-p", port,   "-t",
			"2",	     "-m", limit,	"-u", "root", NULL};

	if (getuid())
		argv[9] = NULL;
	snprintf(port, sizeof(port), "%u", run->port);
	snprintf(limit, sizeof(limit), "%llu", (unsigned long long)(need_once(run->state) / MIB));
	return start(run, argv);
}

static int memcached_start(struct run *run)
{
	return memcached_spawn(run) ?: wait_answer(run);
}

static int memcached_again(struct run *run)
{
	return reap(run) ?: memcached_spawn(run);
}

static int redis_spawn(struct run *run)
{
	char port[16];
	char *argv[] = {"redis-server", "--port",	 port,	     "--bind", "127.0.0.1",
			"--dir",	run->dir,	 "--save",   "",       "--appendonly",
			"yes",		"--appendfsync", "everysec", NULL};

	snprintf(port, sizeof(port), "%u", run->port);
	return start(run, argv);
}

static int redis_start(struct run *run)
{
	return redis_spawn(run) ?: wait_answer(run);
}

static int redis_again(struct run *run)
{
	return reap(run) ?: redis_spawn(run);
}

const struct subject crash_subjects[] = {
	{.name = "libkho-standby",
	 .need = need_once,
	 .start = kho_standby_start,
	 .rest = kho_standby_rest,
	 .stop = stop_child},
	{.name = "libkho",
	 .need = need_once,
	 .start = kho_plain_start,
	 .rest = kho_plain_rest,
	 .stop = stop_child},
	{.name = "memcached, cold",
	 .cold = true,
	 .need = need_once,
	 .start = memcached_start,
	 .again = memcached_again,
	 .stop = stop_child},
	{.name = "redis, AOF",
	 .proto = LOAD_REDIS,
	 .slow = true,
	 .need = need_thrice,
	 .start = redis_start,
	 .again = redis_again,
	 .stop = stop_child},
};

const unsigned int nr_crash_subjects = sizeof(crash_subjects) / sizeof(crash_subjects[0]);
