/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * bench/throughput: what does state that outlives its program cost in ordinary service?
 * cached beside Debian's memcached, with the same number of threads, in turn: A B A B.
 *
 *	throughput [--n ROUNDS] [--seconds S] [--json FILE] [--bin DIR]
 *
 *	mixed	our own load: 64 connections, reads and writes, every answer checked
 *	get, set	memcslap
 *
 * ops_per_s depends on the load generator's core as much as on the server's; cpu_ns_per_op,
 * the server's own user and system time, does not.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load.h"

#define KEYS 100000
#define SLAP_CONNS 8
#define SLAP_EACH 20000
#define NR_LOADS 3
#define NR_SUBJECTS 2

static const char *const loads[NR_LOADS] = {"mixed", "get", "set"};
static const char *const names[NR_SUBJECTS] = {"libkho", "memcached"};
static const struct load_shape shape = {40, 440};

struct result {
	struct load_samples ops;
	struct load_samples cpu;
};

static struct {
	unsigned int rounds;
	unsigned int seconds;
	const char *json;
	char bin[4000];
} options = {.rounds = 7, .seconds = 3, .json = "build/bench/throughput.json"};

struct server {
	pid_t pid;
	unsigned int port;
};

static int server_start(struct server *server, unsigned int subject)
{
	char program[4096], port[16];
	char *argv[] = {program, "-l",	"127.0.0.1", "-p",  port, "-t",	  "2",
			"-m",	 "512", "-c",	     "500", "-u", "root", NULL};

	server->port = load_free_port();
	snprintf(port, sizeof(port), "%u", server->port);
	snprintf(program, sizeof(program), "memcached");
	if (!subject)
		snprintf(program, sizeof(program), "%s/cached-v1", options.bin);
	/* memcached refuses to be root otherwise. */
	if (!subject || getuid())
		argv[11] = NULL;
	server->pid = load_spawn(argv, NULL, NULL);
	return server->pid < 0 ? server->pid
			       : load_wait_port(server->port, server->pid, 20 * LOAD_NS);
}

/* Return: operations, or 0 after a message. */
static uint64_t run_mixed(struct server *server)
{
	struct load_verify_config config = {.port = server->port,
					    .keys = KEYS,
					    .shape = shape,
					    .busy = 64,
					    .rate = 100000000,
					    .seed = 1};
	struct load_verify *verify = load_verify_start(&config);
	struct load_counts *counts;
	uint64_t ops;

	if (!verify)
		return 0;
	counts = load_verify_counts(verify);
	load_sleep(options.seconds * LOAD_NS);
	ops = atomic_load(&counts->reads) + atomic_load(&counts->writes);
	if (atomic_load(&counts->lost) || atomic_load(&counts->wrong) ||
	    atomic_load(&counts->errors) || atomic_load(&counts->dropped[LOAD_BLAME_UPGRADE])) {
		fprintf(stderr, "throughput: a server that loses values is not measured\n");
		ops = 0;
	}
	load_verify_free(verify);
	return ops;
}

static uint64_t run_slap(struct server *server, const char *test)
{
	char servers[64], conns[32], each[32], what[32], out[4096];
	char *argv[] = {"memcslap", servers, conns, each, what, "--tcp-nodelay", NULL};
	int status;

	snprintf(servers, sizeof(servers), "--servers=127.0.0.1:%u", server->port);
	snprintf(conns, sizeof(conns), "--concurrency=%d", SLAP_CONNS);
	snprintf(each, sizeof(each), "--execute-number=%d", SLAP_EACH);
	snprintf(what, sizeof(what), "--test=%s", test);
	status = load_run(argv, out, sizeof(out), 120 * LOAD_NS);
	if (status) {
		fprintf(stderr, "throughput: memcslap ended with %d: %s\n", status, out);
		return 0;
	}
	return (uint64_t)SLAP_CONNS * SLAP_EACH;
}

static int round_of(unsigned int subject, struct result *results)
{
	struct load_fill fill = {.nr = KEYS, .shape = shape};
	uint64_t start, cpu, ops;
	struct server server;
	unsigned int i;
	int err = server_start(&server, subject);

	fill.port = server.port;
	if (!err)
		err = load_fill(&fill);
	for (i = 0; i < NR_LOADS && !err; i++) {
		fprintf(stderr, isatty(2) ? "\r\033[K%s %s" : "%s %s\n", names[subject], loads[i]);
		start = load_now();
		cpu = load_cpu(server.pid);
		ops = i ? run_slap(&server, loads[i]) : run_mixed(&server);
		cpu = load_cpu(server.pid) - cpu;
		start = load_now() - start;
		if (!ops) {
			err = -EIO;
			break;
		}
		load_samples_add(&results[i].ops, (double)ops * 1e9 / (double)start);
		load_samples_add(&results[i].cpu, (double)cpu / (double)ops);
	}
	if (err)
		fprintf(stderr, "\nthroughput: %s: %s\n", names[subject], strerror(-err));
	load_end(server.pid, 10 * LOAD_NS);
	return err;
}

static void parse(int argc, char **argv)
{
	static const struct option long_options[] = {
		{"n", required_argument, NULL, 'n'},
		{"seconds", required_argument, NULL, 's'},
		{"json", required_argument, NULL, 'j'},
		{"bin", required_argument, NULL, 'b'},
		{NULL, 0, NULL, 0},
	};
	const char *bin = "build";
	int c;

	while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (c == 'n')
			options.rounds = (unsigned int)atoi(optarg);
		else if (c == 's')
			options.seconds = (unsigned int)atoi(optarg);
		else if (c == 'j')
			options.json = optarg;
		else if (c == 'b')
			bin = optarg;
		else
			exit(2);
	}
	if (!realpath(bin, options.bin)) {
		perror(bin);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	static struct result results[NR_SUBJECTS][NR_LOADS];
	struct load_report *report = load_report_new("Throughput beside memcached, 2 threads each");
	unsigned int i, s, l;
	int err = 0;

	parse(argc, argv);
	for (i = 0; i < options.rounds; i++)
		for (s = 0; s < NR_SUBJECTS; s++)
			err |= round_of(s, results[s]);
	for (l = 0; l < NR_LOADS; l++) {
		for (s = 0; s < NR_SUBJECTS; s++)
			load_report_add(report, loads[l], names[s], "ops_per_s", "1/s",
					&results[s][l].ops);
		for (s = 0; s < NR_SUBJECTS; s++)
			load_report_add(report, loads[l], names[s], "cpu_ns_per_op", "ns",
					&results[s][l].cpu);
	}
	load_report_finish(report, options.json);
	return err ? 1 : 0;
}
