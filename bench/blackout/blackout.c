/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * bench/blackout: every subject at every size, one at a time. See blackout.h.
 *
 *	blackout [--sizes "16MiB 1GiB"] [--n N] [--subjects "libkho redis"] [--json FILE] [--bin DIR]
 *
 * The same prober asks in all of them. Its figure is the time between two answers, so it
 * holds the prober's own interval of 50 microseconds and the machine's noise; the
 * noise floor is the same server and prober with nothing going on, in windows as long.
 *
 *	blackout_us	the longest time between two answers while the event lasted, noise included
 *	change_us	from the last answer of the old program to the first of the new one: the
 *			hand-over alone. Two builds take turns, and the prober asks for the version.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "blackout.h"

#define GIB (1ULL << 30)
#define N_DEFAULT 200
#define N_BIG 50 /* from 12 GiB on */
#define N_SLOW 3
#define ANSWER_TIMEOUT (60 * LOAD_NS)
#define REST (20 * LOAD_MS) /* between events */

static const struct subject *const subjects[] = {
	/* The noise floor after libkho: it needs to know how long an upgrade takes. */
	&subject_kho,	   &subject_noise, &subject_kho_realtime, &subject_noise_realtime,
	&subject_kho_exec, &subject_spawn, &subject_exec,	  &subject_memcached,
	&subject_redis,
};

#define NR_SUBJECTS (sizeof(subjects) / sizeof(subjects[0]))

static struct {
	const char *sizes;
	const char *which;
	const char *json;
	char bin[4096];
	unsigned int n;
} options = {.sizes = "16MiB 256MiB 1GiB 4GiB 12GiB", .json = "build/bench/blackout.json"};

static struct load_report *report;
static uint64_t upgrade_ns = 60 * LOAD_MS; /* until one was measured */

bool blackout_wait_gone(pid_t pid, uint64_t timeout)
{
	uint64_t end = load_now() + timeout;

	while (!load_is_gone(pid)) {
		if (load_now() > end)
			return false;
		load_sleep(LOAD_MS);
	}
	return true;
}

static void progress(const char *size, const char *subject, const char *what, uint64_t done,
		     uint64_t total)
{
	static uint64_t last;
	uint64_t now = load_now();

	if (!isatty(2)) {
		if (!done)
			fprintf(stderr, "%s %s: %s\n", size, subject, what);
		return;
	}
	if (now - last < 100 * LOAD_MS && done)
		return;
	last = now;
	fprintf(stderr, "\r\033[K%s %s: %s %s/%s", size, subject, what, load_commas(done),
		load_commas(total));
}

static const char *size_now, *subject_now;

static void filled(void *ctx, uint64_t done, uint64_t total)
{
	progress(size_now, subject_now, "loading", done ? done : 1, total);
}

static int fill(struct run *run, const struct subject *subject)
{
	/* Key 0 is the prober's, with a short value: what counts is the time, not the bytes. */
	struct load_fill first = {
		.port = run->port, .proto = subject->proto, .nr = 1, .shape = {64, 64}};
	struct load_fill rest = {.port = run->port,
				 .proto = subject->proto,
				 .first = 1,
				 .nr = run->keys,
				 .shape = run->shape,
				 .progress = filled};
	int err = load_fill(&first);

	if (!err)
		err = load_fill(&rest);
	if (err)
		fprintf(stderr, "\nblackout: %s: loading: %s\n", subject->name, strerror(-err));
	return err;
}

static int measure(struct run *run, const struct subject *subject, unsigned int n,
		   struct load_samples *samples, struct load_samples *change,
		   struct load_samples *took)
{
	struct load_prober_config config = {.port = run->port,
					    .proto = subject->proto,
					    .shape = {64, 64},
					    .version = subject->versions};
	struct load_prober *prober = load_prober_start(&config);
	struct load_window window;
	uint64_t start;
	int err = prober ? 0 : -ENOMEM;

	for (run->events = 0; run->events < n && !err; run->events++) {
		progress(size_now, subject_now, "event", run->events, n);
		load_sleep(REST);
		run->event_ns = upgrade_ns;
		err = subject->rest ? subject->rest(run) : 0;
		if (!err)
			err = load_prober_begin(prober, ANSWER_TIMEOUT);
		start = load_now();
		if (!err)
			err = subject->event(run);
		load_samples_add(took, (double)(load_now() - start) / LOAD_MS);
		if (!err)
			err = load_prober_end(prober, ANSWER_TIMEOUT, &window);
		if (!err)
			load_samples_add(samples, (double)window.gap / LOAD_US);
		if (!err && window.change)
			load_samples_add(change, (double)window.change / LOAD_US);
	}
	load_prober_stop(prober);
	return err;
}

/* On tmpfs: a peer that saves to a file must not be slowed by a disk. */
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

static void one(const struct subject *subject, uint64_t state, unsigned int n)
{
	/* Few big values, so that loading does not take the day. */
	uint32_t len = state >= 4 * GIB ? 4096 : 1024;
	struct run run = {.bin = options.bin,
			  .state = state,
			  .keys = state / (len + 14),
			  .shape = {len, len},
			  .port = load_free_port()};
	struct load_samples samples = {0}, change = {0}, took = {0};
	uint64_t free_bytes = load_meminfo("MemAvailable"), need = subject->need(state);
	char why[128];
	int err;

	subject_now = subject->name;
	if (need > free_bytes) {
		snprintf(why, sizeof(why), "does not fit: needs %s, %s are free", load_bytes(need),
			 load_bytes(free_bytes));
		load_report_skip(report, size_now, subject->name, "blackout_us", "us", why);
		return;
	}
	if (make_dir(&run))
		exit(1);
	progress(size_now, subject_now, "loading", 0, 1);
	err = subject->start(&run);
	if (!err && !subject->fills_itself)
		err = fill(&run, subject);
	if (!err)
		err = measure(&run, subject, n, &samples, &change, &took);
	subject->stop(&run);
	load_rmtree(run.dir);
	if ((subject == &subject_kho || subject == &subject_kho_realtime) && took.nr)
		upgrade_ns = (uint64_t)(load_quantile(&took, 0.5) * LOAD_MS);
	if (err && !samples.nr) {
		snprintf(why, sizeof(why), "failed: %s", strerror(-err));
		load_report_skip(report, size_now, subject->name, "blackout_us", "us", why);
	} else {
		load_report_add(report, size_now, subject->name, "blackout_us", "us", &samples);
		if (change.nr)
			load_report_add(report, size_now, subject->name, "change_us", "us",
					&change);
		load_report_add(report, size_now, subject->name, "whole_event_ms", "ms", &took);
	}
	load_samples_free(&samples);
	load_samples_free(&change);
	load_samples_free(&took);
}

static bool named(const char *list, const char *name)
{
	size_t len = strlen(name);
	const char *p;

	if (!list || !*list)
		return true;
	for (p = list; (p = strstr(p, name)); p += len)
		if ((p == list || p[-1] == ',') && (!p[len] || p[len] == ','))
			return true;
	return false;
}

static void size_run(char *size)
{
	char *end;
	uint64_t state = strtoull(size, &end, 10);
	unsigned int n;
	size_t i;

	if (!strcmp(end, "MiB"))
		state <<= 20;
	else if (!strcmp(end, "GiB"))
		state <<= 30;
	else
		state = 0;
	if (!state) {
		fprintf(stderr, "blackout: a size is 16MiB or 1GiB, not \"%s\"\n", size);
		exit(2);
	}
	size_now = size;
	n = options.n ? options.n : state >= 12 * GIB ? N_BIG : N_DEFAULT;
	for (i = 0; i < NR_SUBJECTS; i++) {
		if (!named(options.which, subjects[i]->name))
			continue;
		one(subjects[i], state, subjects[i]->slow && n > N_SLOW ? N_SLOW : n);
	}
}

static void parse(int argc, char **argv)
{
	static const struct option long_options[] = {
		{"sizes", required_argument, NULL, 's'},    {"n", required_argument, NULL, 'n'},
		{"subjects", required_argument, NULL, 'w'}, {"json", required_argument, NULL, 'j'},
		{"bin", required_argument, NULL, 'b'},	    {NULL, 0, NULL, 0},
	};
	const char *bin = "build";
	int c;

	while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (c == 's' && *optarg)
			options.sizes = optarg;
		else if (c == 'n')
			options.n = (unsigned int)atoi(optarg);
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
	struct rlimit limit;
	char *sizes, *size, *save;

	parse(argc, argv);
	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	/* Spawned successors come to us when their predecessor ends. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	report = load_report_new("Blackout of an upgrade: the longest time without an answer");
	sizes = strdup(options.sizes);
	for (size = strtok_r(sizes, " ,", &save); size; size = strtok_r(NULL, " ,", &save))
		size_run(size);
	load_report_finish(report, options.json);
	free(sizes);
	return 0;
}
