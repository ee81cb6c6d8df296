/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The servers that benchmarks start: cached under kho run, memcached, Redis. See sized.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sized.h"

#define MAX_ARGS 24

uint64_t launch_need_once(uint64_t state)
{
	return state + state / 4 + 512 * SIZED_MIB;
}

int launch(struct run *run, char *const argv[])
{
	run->pid = load_spawn(argv, run->log, run->dir);
	if (run->pid < 0) {
		sized_say("%s: %s", argv[0], strerror(-run->pid));
		return run->pid;
	}
	run->server = run->pid;
	return 0;
}

int launch_answer(struct run *run)
{
	int err = load_wait_port(run->port, run->pid, LAUNCH_TIMEOUT);

	if (err) {
		sized_say("no answer: %s", strerror(-err));
		load_show_tail(run->log, "");
	}
	return err;
}

void launch_stop(struct run *run)
{
	load_end(run->pid, 30 * LOAD_NS);
	run->pid = 0;
}

unsigned int launch_append(char **argv, unsigned int n, char *const more[])
{
	while (*more)
		argv[n++] = *more++;
	argv[n] = NULL;
	return n;
}

/* The limit of the cache must not be what decides. */
char *const *launch_cached_args(const struct run *run)
{
	static char limit[32];
	static char *const args[] = {"-t", "2", "-m", limit, NULL};

	snprintf(limit, sizeof(limit), "%llu",
		 (unsigned long long)(launch_need_once(run->state) * 3 / 2 / SIZED_MIB));
	return args;
}

int launch_kho(struct run *run, const char *build, char *const options[], char *const args[])
{
	char kho[4096], server[4096], listen[32], max[32];
	char *argv[MAX_ARGS] = {kho, "run", "--name", "bench", "--listen", listen};
	char *const program[] = {"--", server, NULL};
	unsigned int n = launch_append(argv, 6, options);
	int err;

	n = launch_append(argv, n, program);
	n = launch_append(argv, n, launch_cached_args(run));
	launch_append(argv, n, args);
	snprintf(kho, sizeof(kho), "%s/kho", run->bin);
	snprintf(server, sizeof(server), "%s/%s", run->bin, build);
	snprintf(listen, sizeof(listen), "127.0.0.1:%u", run->port);
	snprintf(max, sizeof(max), "%llu", (unsigned long long)(2 * launch_need_once(run->state)));
	setenv("KHO_RUNDIR", run->dir, 1);
	setenv("KHO_ARENA_MAX", max, 1);
	err = launch(run, argv);
	return err ? err : launch_answer(run);
}

int launch_kho_status(struct run *run, char *out, size_t size)
{
	char kho[4096];
	char *argv[] = {kho, "status", "bench", "--json", NULL};
	long long pid;

	snprintf(kho, sizeof(kho), "%s/kho", run->bin);
	pid = load_run(argv, out, size, LAUNCH_TIMEOUT) ? -1 : load_json_number(out, "pid");
	if (pid <= 0)
		return -EPROTO;
	run->server = (pid_t)pid;
	return 0;
}

int launch_memcached(struct run *run, char *const args[])
{
	static char *const root[] = {"-u", "root", NULL};
	char port[16], limit[32];
	char *argv[MAX_ARGS] = {"memcached", "-l", "127.0.0.1", "-p", port, "-t", "2", "-m", limit};
	unsigned int n = launch_append(argv, 9, args);

	/* It refuses to be root otherwise. */
	if (!getuid())
		launch_append(argv, n, root);
	snprintf(port, sizeof(port), "%u", run->port);
	snprintf(limit, sizeof(limit), "%llu",
		 (unsigned long long)(launch_need_once(run->state) / SIZED_MIB));
	return launch(run, argv);
}

int launch_redis(struct run *run, char *const args[])
{
	char port[16];
	char *argv[MAX_ARGS] = {"redis-server", "--port", port,	    "--bind", "127.0.0.1",
				"--dir",	run->dir, "--save", ""};

	launch_append(argv, 9, args);
	snprintf(port, sizeof(port), "%u", run->port);
	return launch(run, argv);
}
