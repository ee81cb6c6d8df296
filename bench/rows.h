/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Results of a benchmark: rows of samples, printed as a table and written as JSON. */
#ifndef BENCH_ROWS_H
#define BENCH_ROWS_H

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROWS_MAX 256
#define SAMPLES_MAX 4096

struct row {
	const char *name;
	const char *subject;
	const char *metric;
	const char *unit;
	unsigned int n;
	double samples[SAMPLES_MAX];
};

struct rows {
	unsigned int nr;
	struct row row[ROWS_MAX];
};

static inline double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static inline struct row *row_new(struct rows *rows, const char *name, const char *subject,
				  const char *metric, const char *unit)
{
	struct row *row = &rows->row[rows->nr++];

	if (rows->nr > ROWS_MAX)
		abort();
	row->name = name;
	row->subject = subject;
	row->metric = metric;
	row->unit = unit;
	row->n = 0;
	return row;
}

static inline void row_add(struct row *row, double sample)
{
	if (row->n < SAMPLES_MAX)
		row->samples[row->n++] = sample;
}

static inline int sample_order(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Sorts the samples. @percent is 0 to 100. */
static inline double row_percentile(struct row *row, unsigned int percent)
{
	qsort(row->samples, row->n, sizeof(row->samples[0]), sample_order);
	return row->n ? row->samples[(row->n - 1) * percent / 100] : 0;
}

static inline int rows_write(struct rows *rows, const char *path)
{
	FILE *json = fopen(path, "w");

	if (!json) {
		perror(path);
		return 1;
	}
	fprintf(json, "{\"rows\": [");
	printf("%-14s %-14s %-15s %-8s %6s %9s %9s %9s %9s\n", "case", "subject", "metric", "unit",
	       "n", "min", "median", "p99", "max");
	for (unsigned int i = 0; i < rows->nr; i++) {
		struct row *r = &rows->row[i];
		double min = row_percentile(r, 0), median = row_percentile(r, 50);
		double p99 = row_percentile(r, 99), max = row_percentile(r, 100);

		printf("%-14s %-14s %-15s %-8s %6u %9.3f %9.3f %9.3f %9.3f\n", r->name, r->subject,
		       r->metric, r->unit, r->n, min, median, p99, max);
		fprintf(json,
			"%s\n  {\"case\": \"%s\", \"subject\": \"%s\", \"metric\": \"%s\", "
			"\"unit\": \"%s\", \"n\": %u, \"min\": %.4f, \"median\": %.4f, "
			"\"p99\": %.4f, \"max\": %.4f}",
			i ? "," : "", r->name, r->subject, r->metric, r->unit, r->n, min, median,
			p99, max);
	}
	fprintf(json, "\n]}\n");
	return fclose(json) ? 1 : 0;
}

#endif
