/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The servers: ours with and without a standby; memcached, which starts cold; Redis with an
 * append-only file on tmpfs. Peers are started again by us, as soon as they are reaped.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "crash.h"

#define REST_TIMEOUT (120 * LOAD_NS)

/* In memory, in the file, and in the file that it is rewritten to. */
static uint64_t need_thrice(uint64_t state)
{
	return 7 * state / 2 + 512 * SIZED_MIB;
}

/* ---- libkho ---- */

/* A server that runs, and, if there is to be one, a standby that is ready. */
static int kho_wait(struct run *run, bool standby)
{
	uint64_t end = load_now() + REST_TIMEOUT;
	char out[8192] = "";

	do {
		if (!launch_kho_status(run, out, sizeof(out)) &&
		    strstr(out, "\"state\": \"running\"") &&
		    (!standby || strstr(out, "\"standby_state\": \"ready\"")))
			return 0;
		load_sleep(20 * LOAD_MS);
	} while (load_now() < end);
	sized_say("kho status: %s", out);
	load_show_tail(run->log, "");
	return -ETIMEDOUT;
}

static char *const no_args[] = {NULL};

static int kho_restart_start(struct run *run)
{
	char *const options[] = {"--restarts", "0/1", NULL};

	return launch_kho(run, "cached", options, no_args);
}

static int kho_standby_start(struct run *run)
{
	char *const options[] = {"--restarts", "0/1", "--standby", NULL};

	return launch_kho(run, "cached", options, no_args);
}

static int kho_restart_rest(struct run *run)
{
	return kho_wait(run, false);
}

static int kho_standby_rest(struct run *run)
{
	return kho_wait(run, true);
}

static const struct subject kho_standby = {.name = "libkho",
					   .way = "standby",
					   .need = launch_need_once,
					   .start = kho_standby_start,
					   .rest = kho_standby_rest,
					   .stop = launch_stop};
static const struct subject kho_restart = {.name = "libkho",
					   .way = "restart",
					   .need = launch_need_once,
					   .start = kho_restart_start,
					   .rest = kho_restart_rest,
					   .stop = launch_stop};

/* ---- peers ---- */

static int reap(struct run *run)
{
	int status = load_wait(run->pid, REST_TIMEOUT);

	return status == 128 + SIGKILL ? 0 : -EPROTO;
}

static int memcached_start(struct run *run)
{
	return launch_memcached(run, no_args) ?: launch_answer(run);
}

static int memcached_again(struct run *run)
{
	return reap(run) ?: launch_memcached(run, no_args);
}

static const struct subject memcached = {.name = "memcached",
					 .way = "cold",
					 .cold = true,
					 .need = launch_need_once,
					 .start = memcached_start,
					 .replace = memcached_again,
					 .stop = launch_stop};

static char *const redis_args[] = {"--appendonly", "yes", "--appendfsync", "everysec", NULL};

static int redis_start(struct run *run)
{
	return launch_redis(run, redis_args) ?: launch_answer(run);
}

static int redis_again(struct run *run)
{
	return reap(run) ?: launch_redis(run, redis_args);
}

static const struct subject redis = {.name = "redis",
				     .way = "aof",
				     .proto = LOAD_REDIS,
				     .slow = true,
				     .need = need_thrice,
				     .start = redis_start,
				     .replace = redis_again,
				     .stop = launch_stop};

const struct subject *const crash_subjects[] = {&kho_standby, &kho_restart, &memcached, &redis,
						NULL};
