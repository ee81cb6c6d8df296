/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * bench/crash: every subject at every size, one at a time. See crash.h.
 *
 *	crash [--sizes "16MiB 12GiB"] [--n N] [--rate N] [--subjects "libkho,..."] [--json FILE] [--bin DIR]
 *
 *	crash_us	from the signal to the first answer of the next process, on a connection that the
 *			prober has had from the start (ours), or that it opens as soon as it can (peers).
 *			It holds the prober's interval of 50 microseconds and the machine's noise.
 */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "crash.h"

#define GIB (1ULL << 30)
#define N_DEFAULT 200
#define N_BIG 50 /* from 12 GiB on */
#define N_SLOW 5
#define ANSWER_TIMEOUT (300 * LOAD_NS)
#define REST (50 * LOAD_MS)
#define LOOK (20 * LOAD_US)

static struct {
	const char *sizes;
	const char *which;
	const char *json;
	char bin[4096];
	unsigned int n, rate;
} options = {.sizes = "16MiB 12GiB", .json = "build/bench/crash.json", .rate = 2000};

static struct load_report *report;

static int fill(struct run *run, const struct subject *subject, uint64_t keys,
		const struct load_shape *shape)
{
	/* Key 0 is the prober's, with a short value. */
	struct load_fill first = {
		.port = run->port, .proto = subject->proto, .nr = 1, .shape = {64, 64}};
	struct load_fill rest = {.port = run->port,
				 .proto = subject->proto,
				 .first = 1,
				 .nr = keys,
				 .shape = *shape};
	int err = load_fill(&rest);

	if (!err)
		err = load_fill(&first);
	if (err)
		fprintf(stderr, "\ncrash: %s: loading: %s\n", subject->name, strerror(-err));
	return err;
}

static bool task_exits(pid_t pid, const char *tid)
{
	char path[64], text[512], *end;
	unsigned int flags = 0;
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%.16s/stat", (int)pid, tid);
	f = fopen(path, "re");
	if (!f)
		return true;
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	end = strrchr(text, ')');
	/* state ppid pgrp session tty tpgid flags: PF_EXITING is 4 */
	return !end || sscanf(end + 1, " %*c %*d %*d %*d %*d %*d %u", &flags) != 1 || flags & 4;
}

/* Does no thread of it return to its program any more? */
static bool is_exiting(pid_t pid)
{
	char path[32];
	struct dirent *d;
	bool all = true;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	while (tasks && all && (d = readdir(tasks)))
		if (d->d_name[0] != '.')
			all = task_exits(pid, d->d_name);
	if (tasks)
		closedir(tasks);
	return all;
}

/* Return: microseconds, or negative errno. */
static double one_kill(struct run *run, const struct subject *subject, struct watch *watch)
{
	uint64_t signal, end, first;
	int err;

	if (!watch_answered(watch, ANSWER_TIMEOUT))
		return -ETIMEDOUT;
	err = subject->rest ? subject->rest(run) : 0;
	if (err)
		return err;
	load_sleep(REST);
	signal = load_now();
	if (kill(run->server, SIGKILL))
		return -errno;
	/* Asleep in between: its threads need the processors to exit. */
	while (!is_exiting(run->server))
		load_sleep(LOOK);
	watch_mark(watch);
	err = subject->again ? subject->again(run) : 0;
	end = load_now() + ANSWER_TIMEOUT;
	while (!err && !(first = watch_first(watch))) {
		if (load_now() > end)
			return -ETIMEDOUT;
		load_sleep(LOAD_MS);
	}
	return err ? err : (double)(first - signal) / LOAD_US;
}

static int measure(struct run *run, const struct subject *subject, unsigned int n, uint64_t keys,
		   const struct load_shape *shape, struct load_samples *samples)
{
	struct pace *pace = pace_start(run->port, subject->proto, keys, shape, options.rate);
	struct watch *watch = watch_start(run->port, subject->proto, subject->cold);
	int err = pace && watch ? 0 : -ENOMEM;

	for (unsigned int i = 0; i < n && !err; i++) {
		double us = one_kill(run, subject, watch);

		if (us < 0)
			err = (int)us;
		else
			load_samples_add(samples, us);
	}
	pace_stop(pace);
	watch_stop(watch);
	return err;
}

static int make_dir(struct run *run)
{
	snprintf(run->dir, sizeof(run->dir), "/dev/shm/kho-XXXXXX");
	if (!mkdtemp(run->dir)) {
		perror(run->dir);
		return -errno;
	}
	snprintf(run->log, sizeof(run->log), "%s/log", run->dir);
	return 0;
}

static void one(const char *size, const struct subject *subject, uint64_t state, unsigned int n)
{
	uint32_t len = state >= 4 * GIB ? 4096 : 1024;
	struct load_shape shape = {len, len};
	uint64_t keys = state / (len + 14), need = subject->need(state);
	struct run run = {.bin = options.bin, .state = state, .port = load_free_port()};
	uint64_t free_bytes = load_meminfo("MemAvailable");
	struct load_samples samples = {0};
	char why[128];
	int err;

	if (need > free_bytes) {
		snprintf(why, sizeof(why), "does not fit: needs %s, %s are free", load_bytes(need),
			 load_bytes(free_bytes));
		load_report_skip(report, size, subject->name, "crash_us", "us", why);
		return;
	}
	if (make_dir(&run))
		exit(1);
	fprintf(stderr, "%s %s: loading, then %u kills\n", size, subject->name, n);
	err = subject->start(&run);
	if (!err)
		err = fill(&run, subject, keys, &shape);
	if (!err)
		err = measure(&run, subject, n, keys, &shape, &samples);
	subject->stop(&run);
	load_rmtree(run.dir);
	if (err && !samples.nr) {
		snprintf(why, sizeof(why), "failed: %s", strerror(-err));
		load_report_skip(report, size, subject->name, "crash_us", "us", why);
	} else {
		if (err)
			fprintf(stderr, "crash: %s: %s after %zu kills\n", subject->name,
				strerror(-err), samples.nr);
		load_report_add(report, size, subject->name, "crash_us", "us", &samples);
	}
	load_samples_free(&samples);
}

static bool wanted(const char *name)
{
	size_t len = strlen(name);
	const char *p = options.which;

	if (!p || !*p)
		return true;
	for (; (p = strstr(p, name)); p += len)
		if ((p == options.which || p[-1] == '/') && (!p[len] || p[len] == '/'))
			return true;
	return false;
}

static void size_run(char *size)
{
	char *end;
	uint64_t state = strtoull(size, &end, 10);
	unsigned int n;

	state <<= !strcmp(end, "MiB") ? 20 : !strcmp(end, "GiB") ? 30 : 63;
	if (!state || state >> 62) {
		fprintf(stderr, "crash: a size is 16MiB or 1GiB, not \"%s\"\n", size);
		exit(2);
	}
	n = options.n ? options.n : state >= 12 * GIB ? N_BIG : N_DEFAULT;
	for (unsigned int i = 0; i < nr_crash_subjects; i++) {
		const struct subject *s = &crash_subjects[i];

		if (wanted(s->name))
			one(size, s, state, s->slow && n > N_SLOW ? N_SLOW : n);
	}
}

static void parse(int argc, char **argv)
{
	static const struct option long_options[] = {
		{"sizes", required_argument, NULL, 's'},
		{"n", required_argument, NULL, 'n'},
		{"subjects", required_argument, NULL, 'w'},
		{"json", required_argument, NULL, 'j'},
		{"bin", required_argument, NULL, 'b'},
		{"rate", required_argument, NULL, 'r'},
		{NULL, 0, NULL, 0},
	};
	const char *bin = "build";
	int c;

	while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (c == 's' && *optarg)
			options.sizes = optarg;
		else if (c == 'n')
			options.n = (unsigned int)atoi(optarg);
		else if (c == 'r' && atoi(optarg) > 0)
			options.rate = (unsigned int)atoi(optarg);
		else if (c == 'w')
			options.which = optarg;
		else if (c == 'j')
			options.json = optarg;
		else if (c == 'b')
			bin = optarg;
		else if (c == '?')
			exit(2);
	}
	if (!realpath(bin, options.bin)) {
		perror(bin);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	char *sizes, *size, *save;

	parse(argc, argv);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	report = load_report_new("From a SIGKILL to the first answer");
	sizes = strdup(options.sizes);
	for (size = strtok_r(sizes, " ,", &save); size; size = strtok_r(NULL, " ,", &save))
		size_run(size);
	load_report_finish(report, options.json);
	free(sizes);
	return 0;
}
