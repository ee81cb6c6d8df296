/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The tree of preserved memory beside other sets of integers: 4 KiB pages, one thread and two.
 *
 *	set/dense	2^20 keys one behind the other
 *	set/rand24	2^20 keys drawn from 2^24
 *	set/rand36	2^16 keys drawn from 2^36: each alone in a leaf
 *	set/runs64	2^14 runs of 64 keys, aligned, drawn from 2^30
 *	.../2		two threads, each with one half of the stream
 *
 * Every subject gets the same keys in the same order; subjects take turns, in another order each round. The
 * first round is not counted. Sets that are not safe for threads take a mutex with two.
 *
 *	insert, lookup, delete		nanoseconds per key, by the subject's call for runs if it has one
 *	walk				per key: ours yields runs, "per-bit" calls for each bit of our tree
 *	bytes_per_entry			after all were inserted
 *	handover			theirs: serialise and load; ours: attach and validate
 */
#include <malloc.h>
#include <string.h>

#include "rows.h"
#include "set.h"

static struct set_case cases[] = {
	{"set/dense", 1ULL << 24, 1 << 20, 1, NULL},
	{"set/rand24", 1ULL << 24, 1 << 20, 1, NULL},
	{"set/rand36", 1ULL << 36, 1 << 16, 1, NULL},
	{"set/runs64", 1ULL << 30, 1 << 14, 64, NULL},
};
static const char *const threaded_name[] = {"set/dense/2", "set/rand24/2", "set/rand36/2",
					    "set/runs64/2"};

static const struct set_ops *const subjects[] = {&set_kho,     &set_per_bit, &set_bitmap,
						 &set_roaring, &set_judy,    &set_std};

#define NR_CASES (sizeof(cases) / sizeof(cases[0]))
#define NR_SUBJECTS (sizeof(subjects) / sizeof(subjects[0]))

enum metric { INSERT, LOOKUP, DELETE, WALK, BYTES, HANDOVER, NR_METRICS };

static const char *const metric_name[NR_METRICS] = {"insert_ns", "lookup_ns",	    "delete_ns",
						    "walk_ns",	 "bytes_per_entry", "handover_us"};
static const char *const metric_unit[NR_METRICS] = {"ns/key", "ns/key", "ns/key",
						    "ns/key", "bytes",	"us"};

static struct row *table[NR_CASES][2][NR_SUBJECTS][NR_METRICS];

static void must(bool ok, const char *what, const char *who)
{
	if (ok)
		return;
	fprintf(stderr, "bench-core: %s: %s\n", who, what);
	exit(1);
}

/* ---- streams ---- */

static void make_stream(struct set_case *c)
{
	uint64_t seed = 88172645463325252ULL;

	c->keys = malloc(c->nr * sizeof(*c->keys));
	must(c->keys, "no memory", c->name);
	for (size_t i = 0; i < c->nr; i++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		c->keys[i] = strcmp(c->name, "set/dense")
				     ? (seed >> 20) % (c->space / c->run) * c->run
				     : i;
	}
}

/* ---- threads ---- */

struct job {
	const struct set_ops *ops;
	void *set;
	const uint64_t *keys;
	size_t nr, run, found;
	enum metric what;
	pthread_mutex_t *lock;
	pthread_barrier_t *start;
};

static void job_run(struct job *job)
{
	switch (job->what) {
	case INSERT:
		job->ops->insert(job->set, job->keys, job->nr, job->run, job->lock);
		break;
	case LOOKUP:
		job->found = job->ops->lookup(job->set, job->keys, job->nr, job->run, job->lock);
		break;
	default:
		job->ops->erase(job->set, job->keys, job->nr, job->run, job->lock);
	}
}

static void *job_main(void *arg)
{
	struct job *job = arg;

	pthread_barrier_wait(job->start);
	job_run(job);
	return NULL;
}

/* Return: nanoseconds per key. */
static double timed(const struct set_case *c, const struct set_ops *ops, void *set,
		    enum metric what, int threads)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	size_t half = threads == 1 ? c->nr : c->nr / 2, found;
	pthread_barrier_t start;
	struct job jobs[2];
	pthread_t other;
	double t0, t1;

	for (int i = 0; i < 2; i++)
		jobs[i] = (struct job){.ops = ops,
				       .set = set,
				       .keys = c->keys + (i ? half : 0),
				       .nr = i ? c->nr - half : half,
				       .run = c->run,
				       .what = what,
				       .lock = threads == 2 ? &lock : NULL,
				       .start = &start};
	if (threads == 2) {
		pthread_barrier_init(&start, NULL, 2);
		pthread_create(&other, NULL, job_main, &jobs[1]);
		pthread_barrier_wait(&start);
	}
	t0 = now_ns();
	job_run(&jobs[0]);
	if (threads == 2)
		pthread_join(other, NULL);
	t1 = now_ns();
	found = jobs[0].found + (threads == 2 ? jobs[1].found : 0);
	must(what != LOOKUP || found == c->nr * c->run, "lost a key", ops->name);
	return (t1 - t0) / (double)(c->nr * c->run);
}

/* ---- one subject, one case ---- */

static void note(struct row **rows, enum metric what, double sample, bool counts)
{
	if (counts && rows[what])
		row_add(rows[what], sample);
}

/* How many keys there are, duplicates once: what the first walk of a case says. */
static size_t entries[NR_CASES];

static void all_at_rest(size_t at, const struct set_ops *ops, void *set, size_t heap,
			struct row **rows, bool counts)
{
	size_t bytes = ops->bytes ? ops->bytes(set)
				  : mallinfo2().uordblks + mallinfo2().hblkhd - heap;
	double t0 = now_ns(), t1;
	size_t nr = ops->walk(set);

	t1 = now_ns();
	if (!entries[at])
		entries[at] = nr;
	must(nr == entries[at], "walked over another number of keys than the others", ops->name);
	note(rows, WALK, (t1 - t0) / (double)nr, counts);
	note(rows, BYTES, (double)bytes / (double)nr, counts);
	if (!ops->hand_over)
		return;
	t0 = now_ns();
	ops->hand_over(set);
	note(rows, HANDOVER, (now_ns() - t0) / 1000, counts);
}

static void measure(size_t at, const struct set_ops *ops, int threads, struct row **rows,
		    bool counts)
{
	const struct set_case *c = &cases[at];
	size_t heap = mallinfo2().uordblks + mallinfo2().hblkhd;
	void *set = ops->make(c);

	note(rows, INSERT, timed(c, ops, set, INSERT, threads), counts);
	if (ops->lookup)
		note(rows, LOOKUP, timed(c, ops, set, LOOKUP, threads), counts);
	if (threads == 1)
		all_at_rest(at, ops, set, heap, rows, counts);
	if (ops->erase) {
		note(rows, DELETE, timed(c, ops, set, DELETE, threads), counts);
		must(threads == 2 || !ops->walk(set), "kept a key", ops->name);
	}
	ops->drop(set);
}

static void make_rows(struct rows *rows)
{
	for (size_t c = 0; c < NR_CASES; c++)
		for (int t = 0; t < 2; t++)
			for (size_t s = 0; s < NR_SUBJECTS; s++)
				for (int m = 0; m < NR_METRICS; m++) {
					const struct set_ops *ops = subjects[s];

					if ((ops->fits && !ops->fits(&cases[c])) ||
					    (t && m >= WALK) ||
					    (ops == &set_per_bit && (t || m != WALK)))
						continue;
					table[c][t][s][m] =
						row_new(rows, t ? threaded_name[c] : cases[c].name,
							ops->name, metric_name[m], metric_unit[m]);
				}
}

int main(int argc, char **argv)
{
	struct rows *rows = calloc(1, sizeof(*rows));
	unsigned int rounds = argc == 3 ? (unsigned int)atoi(argv[2]) : 0;

	if (!rows || !rounds) {
		fprintf(stderr, "usage: core FILE.json ROUNDS\n");
		return 2;
	}
	/* Freed memory stays with the heap, as nodes stay in the image: no page faults after the first round. */
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	make_rows(rows);
	for (size_t c = 0; c < NR_CASES; c++) {
		make_stream(&cases[c]);
		for (unsigned int round = 0; round <= rounds; round++)
			for (size_t i = 0; i < NR_SUBJECTS; i++)
				for (int t = 0; t < 2; t++) {
					size_t s = (i + round) % NR_SUBJECTS;

					if (table[c][t][s][t ? INSERT : WALK])
						measure(c, subjects[s], t + 1, table[c][t][s],
							round);
				}
		free(cases[c].keys);
	}
	return rows_write(rows, argv[1]);
}
