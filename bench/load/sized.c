/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* A run for each size and subject, and the rows of all of them. See sized.h. */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "sized.h"

#define GIB (1ULL << 30)
#define N_DEFAULT 200
#define N_BIG 50 /* from 12 GiB on */

const struct load_shape sized_shape0 = {64, 64};

static struct {
	const char *sizes, *subjects, *json;
	char bin[4096];
	unsigned int n, rate;
} options;

static const struct sized *bench;
static struct load_report *report;

void sized_say(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fprintf(stderr, "%s%s: ", isatty(2) ? "\n" : "", program_invocation_short_name);
	vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
	va_end(args);
}

void sized_progress(const struct run *run, const char *what, uint64_t done, uint64_t total)
{
	static uint64_t last;
	uint64_t now = load_now();

	if (!isatty(2)) {
		if (!done)
			fprintf(stderr, "%s %s: %s\n", run->which, run->subject->name, what);
		return;
	}
	if (now - last < 100 * LOAD_MS && done)
		return;
	last = now;
	fprintf(stderr, "\r\033[K%s %s: %s %s/%s", run->which, run->subject->name, what,
		load_commas(done), load_commas(total));
}

static void filled(void *ctx, uint64_t done, uint64_t total)
{
	sized_progress(ctx, "loading", done ? done : 1, total);
}

static int fill(struct run *run)
{
	struct load_fill first = {
		.port = run->port, .proto = run->subject->proto, .nr = 1, .shape = sized_shape0};
	struct load_fill rest = {.port = run->port,
				 .proto = run->subject->proto,
				 .first = 1,
				 .nr = run->keys,
				 .shape = run->shape,
				 .progress = filled,
				 .ctx = run};
	int err = load_fill(&first);

	if (!err)
		err = load_fill(&rest);
	if (err)
		sized_say("%s: loading: %s", run->subject->name, strerror(-err));
	return err;
}

/* On tmpfs: a peer that saves to a file must not be slowed by a disk. */
static void make_dir(struct run *run)
{
	snprintf(run->dir, sizeof(run->dir), "/dev/shm/kho-XXXXXX");
	if (!mkdtemp(run->dir)) {
		perror(run->dir);
		exit(1);
	}
	snprintf(run->log, sizeof(run->log), "%s/log", run->dir);
}

/* Few big values, so that loading does not take the day. */
static struct load_shape shape_of(uint64_t state)
{
	uint32_t len = state >= 4 * GIB ? 4096 : 1024;

	return (struct load_shape){len, len};
}

static void skip(const struct run *run, const char *why)
{
	load_report_skip(report, run->which, run->subject->name, bench->metrics[0].name,
			 bench->metrics[0].unit, why);
}

static void add_rows(struct run *run, int err)
{
	char why[128];

	if (err && !run->samples[0].nr) {
		snprintf(why, sizeof(why), "failed: %s", strerror(-err));
		skip(run, why);
		return;
	}
	if (err)
		sized_say("%s: %s after %zu events", run->subject->name, strerror(-err),
			  run->samples[0].nr);
	for (unsigned int i = 0; i < SIZED_METRICS; i++)
		if (!i || run->samples[i].nr)
			load_report_add(report, run->which, run->subject->name,
					bench->metrics[i].name, bench->metrics[i].unit,
					&run->samples[i]);
}

static void one(struct run *run)
{
	const struct subject *subject = run->subject;
	uint64_t free_bytes = load_meminfo("MemAvailable"), need = subject->need(run->state);
	char why[128];
	int err;

	if (need > free_bytes) {
		snprintf(why, sizeof(why), "does not fit: needs %s, %s are free", load_bytes(need),
			 load_bytes(free_bytes));
		skip(run, why);
		return;
	}
	make_dir(run);
	sized_progress(run, "loading", 0, 1);
	err = subject->start(run);
	if (!err && !subject->fills_itself)
		err = fill(run);
	if (!err)
		err = bench->measure(run);
	subject->stop(run);
	load_rmtree(run->dir);
	add_rows(run, err);
	for (unsigned int i = 0; i < SIZED_METRICS; i++)
		load_samples_free(&run->samples[i]);
}

bool sized_wanted(const struct subject *subject, const char *list)
{
	const char *const names[] = {subject->name, subject->way ? subject->way : ""};
	size_t len;

	if (!list || !*list)
		return true;
	for (; *list; list += len + (list[len] != '\0')) {
		len = strcspn(list, ",/");
		for (unsigned int i = 0; i < 2; i++)
			if (len && strlen(names[i]) == len && !memcmp(list, names[i], len))
				return true;
	}
	return false;
}

uint64_t sized_bytes(const char *text)
{
	char *end;
	unsigned long long v = strtoull(text, &end, 10);
	unsigned int shift = !strcmp(end, "MiB") ? 20 : !strcmp(end, "GiB") ? 30 : 0;

	/* Some need a few times as much: that is a number still. */
	return shift && v <= UINT64_MAX >> (shift + 3) ? (uint64_t)v << shift : 0;
}

static void size_run(const char *size)
{
	uint64_t state = sized_bytes(size);
	unsigned int n = options.n ? options.n : state >= 12 * GIB ? N_BIG : N_DEFAULT;

	if (!state) {
		sized_say("a size is 16MiB or 1GiB, not \"%s\"", size);
		exit(2);
	}
	for (const struct subject *const *s = bench->subjects; *s; s++) {
		struct run run = {.subject = *s,
				  .bin = options.bin,
				  .state = state,
				  .shape = shape_of(state),
				  .port = load_free_port(),
				  .n = (*s)->slow && n > bench->n_slow ? bench->n_slow : n,
				  .rate = options.rate};

		run.keys = state / (run.shape.max + 14);
		snprintf(run.which, sizeof(run.which), "%s%s%s", size, (*s)->way ? "/" : "",
			 (*s)->way ? (*s)->way : "");
		if (sized_wanted(*s, options.subjects))
			one(&run);
	}
}

static void parse(int argc, char **argv)
{
	static const struct option long_options[] = {
		{"rate", required_argument, NULL, 'r'}, /* the first: not for all */
		{"sizes", required_argument, NULL, 's'},    {"n", required_argument, NULL, 'n'},
		{"subjects", required_argument, NULL, 'w'}, {"json", required_argument, NULL, 'j'},
		{"bin", required_argument, NULL, 'b'},	    {NULL, 0, NULL, 0},
	};
	const char *bin = "build";
	int c;

	while ((c = getopt_long(argc, argv, "", long_options + !bench->rate, NULL)) != -1) {
		if (c == 's' && *optarg)
			options.sizes = optarg;
		else if (c == 'n')
			options.n = (unsigned int)atoi(optarg);
		else if (c == 'r' && atoi(optarg) > 0)
			options.rate = (unsigned int)atoi(optarg);
		else if (c == 'w')
			options.subjects = optarg;
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

static bool any_wanted(void)
{
	for (const struct subject *const *s = bench->subjects; *s; s++)
		if (sized_wanted(*s, options.subjects))
			return true;
	return false;
}

int sized_main(const struct sized *this, int argc, char **argv)
{
	char *sizes, *size, *save;

	bench = this;
	options.sizes = bench->sizes;
	options.json = bench->json;
	options.rate = bench->rate;
	parse(argc, argv);
	if (!any_wanted()) {
		sized_say("nobody is called \"%s\"", options.subjects);
		return 2;
	}
	/* Spawned successors come to us when their predecessor ends. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	report = load_report_new(bench->title);
	sizes = strdup(options.sizes);
	for (size = strtok_r(sizes, " ,", &save); size; size = strtok_r(NULL, " ,", &save))
		size_run(size);
	load_report_finish(report, options.json);
	free(sizes);
	return 0;
}
