/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Samples, quantiles, and a benchmark's rows as a table and as JSON. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load.h"

#define NAME_BYTES 64

struct row {
	char which[NAME_BYTES];
	char subject[NAME_BYTES];
	char metric[NAME_BYTES];
	char unit[NAME_BYTES];
	char why[128]; /* not "": no figures, for this reason */
	size_t n;
	double min, median, p99, max;
};

struct load_report {
	const char *title;
	struct row *rows;
	size_t nr;
};

void load_samples_add(struct load_samples *samples, double v)
{
	double *bigger;

	if (samples->nr == samples->size) {
		samples->size = samples->size ? 2 * samples->size : 64;
		bigger = realloc(samples->v, samples->size * sizeof(*bigger));
		if (!bigger)
			abort();
		samples->v = bigger;
	}
	samples->v[samples->nr++] = v;
}

void load_samples_free(struct load_samples *samples)
{
	free(samples->v);
	memset(samples, 0, sizeof(*samples));
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double load_quantile(struct load_samples *samples, double share)
{
	size_t rank;

	if (!samples->nr)
		return 0;
	qsort(samples->v, samples->nr, sizeof(*samples->v), compare);
	/* Nearest rank: the smallest sample with at least this share at or below it. */
	rank = (size_t)(share * (double)samples->nr);
	if ((double)rank < share * (double)samples->nr)
		rank++;
	return samples->v[rank ? rank - 1 : 0];
}

struct load_report *load_report_new(const char *title)
{
	struct load_report *report = calloc(1, sizeof(*report));

	if (!report)
		abort();
	report->title = title;
	return report;
}

static struct row *new_row(struct load_report *report, const char *which, const char *subject,
			   const char *metric, const char *unit)
{
	struct row *rows = realloc(report->rows, (report->nr + 1) * sizeof(*rows)), *row;

	if (!rows)
		abort();
	report->rows = rows;
	row = &rows[report->nr++];
	memset(row, 0, sizeof(*row));
	snprintf(row->which, sizeof(row->which), "%s", which);
	snprintf(row->subject, sizeof(row->subject), "%s", subject);
	snprintf(row->metric, sizeof(row->metric), "%s", metric);
	snprintf(row->unit, sizeof(row->unit), "%s", unit);
	return row;
}

void load_report_add(struct load_report *report, const char *which, const char *subject,
		     const char *metric, const char *unit, struct load_samples *samples)
{
	struct row *row = new_row(report, which, subject, metric, unit);

	row->n = samples->nr;
	row->min = load_quantile(samples, 0);
	row->median = load_quantile(samples, 0.5);
	row->p99 = load_quantile(samples, 0.99);
	row->max = load_quantile(samples, 1);
}

void load_report_skip(struct load_report *report, const char *which, const char *subject,
		      const char *metric, const char *unit, const char *why)
{
	struct row *row = new_row(report, which, subject, metric, unit);

	snprintf(row->why, sizeof(row->why), "%s", why);
}

/* Four digits are what these figures are good for. */
static const char *figure(double v)
{
	static char bufs[8][32];
	static unsigned int next;
	char *buf = bufs[next++ % 8];

	if (v >= 1000)
		snprintf(buf, sizeof(bufs[0]), "%s", load_commas((uint64_t)(v + 0.5)));
	else
		snprintf(buf, sizeof(bufs[0]), "%.*f", v >= 100 ? 0 : v >= 10 ? 1 : 2, v);
	return buf;
}

/* Cases that differ after the '/' alone stand together. */
static bool is_beside(const char *a, const char *b)
{
	size_t len = strcspn(a, "/");

	return len == strcspn(b, "/") && !memcmp(a, b, len);
}

static void print(const struct load_report *report)
{
	const char *last = "";
	size_t i;

	printf("\n%s\n\n  %-14s %-18s %-14s %6s %12s %12s %12s %12s  %s\n", report->title, "case",
	       "subject", "metric", "n", "min", "median", "p99", "max", "unit");
	for (i = 0; i < report->nr; i++) {
		const struct row *row = &report->rows[i];

		if (*last && !is_beside(last, row->which))
			putchar('\n');
		last = row->which;
		printf("  %-14s %-18s %-14s ", row->which, row->subject, row->metric);
		if (*row->why)
			printf("%6s %s\n", "-", row->why);
		else
			printf("%6zu %12s %12s %12s %12s  %s\n", row->n, figure(row->min),
			       figure(row->median), figure(row->p99), figure(row->max), row->unit);
	}
	putchar('\n');
	fflush(stdout);
}

static void write_row(FILE *f, const struct row *row)
{
	fprintf(f,
		"  {\"case\": \"%s\", \"subject\": \"%s\", \"metric\": \"%s\", \"unit\": \"%s\", ",
		row->which, row->subject, row->metric, row->unit);
	if (*row->why)
		fprintf(f,
			"\"n\": 0, \"min\": null, \"median\": null, \"p99\": null, \"max\": null, "
			"\"why\": \"%s\"}",
			row->why);
	else
		fprintf(f,
			"\"n\": %zu, \"min\": %.3f, \"median\": %.3f, \"p99\": %.3f, \"max\": "
			"%.3f}",
			row->n, row->min, row->median, row->p99, row->max);
}

static int write_rows(const struct load_report *report, const char *path)
{
	char dir[4096];
	char *slash;
	FILE *f;
	size_t i;

	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (slash) {
		*slash = '\0';
		load_mkdirs(dir);
	}
	f = fopen(path, "w");
	if (!f)
		return -errno;
	fputs("{\"rows\": [\n", f);
	for (i = 0; i < report->nr; i++) {
		write_row(f, &report->rows[i]);
		fputs(i + 1 < report->nr ? ",\n" : "\n", f);
	}
	fputs("]}\n", f);
	return fclose(f) ? -errno : 0;
}

void load_report_finish(struct load_report *report, const char *path)
{
	/* What went on before is a line without an end. */
	if (isatty(2))
		fputs("\r\033[K", stderr);
	print(report);
	if (write_rows(report, path))
		perror(path);
	free(report->rows);
	free(report);
}

const char *load_commas(uint64_t v)
{
	static char bufs[8][32];
	static unsigned int next;
	char *buf = bufs[next++ % 8], *p = buf + sizeof(bufs[0]) - 1;
	unsigned int digits = 0;

	*p = '\0';
	do {
		if (digits && digits % 3 == 0)
			*--p = ',';
		*--p = (char)('0' + v % 10);
		v /= 10;
		digits++;
	} while (v);
	return p;
}

const char *load_bytes(uint64_t v)
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
	static char bufs[8][32];
	static unsigned int next;
	char *buf = bufs[next++ % 8];
	double x = (double)v;
	unsigned int unit = 0;

	while (x >= 1024 && unit < 4) {
		x /= 1024;
		unit++;
	}
	snprintf(buf, sizeof(bufs[0]), "%.*f %s", unit && x < 10 ? 1 : 0, x, units[unit]);
	return buf;
}
