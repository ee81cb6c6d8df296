/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Damage: every byte of every structure, changed in ten ways (each bit, 0x00, 0xff). What
 * is damaged is refused with a typed fault, or does no harm beyond itself: no signal,
 * no hang, no access outside, and after all free memory was handed out and written,
 * everything that still counts as allocated has its bytes. See damage.h.
 *
 * Each processor has a child that tries its share.
 *
 * KHO_CORRUPT=full takes every byte, KHO_CORRUPT=N every byte but of tree nodes each Nth;
 * KHO_CORRUPT_JSON names a file for the figures; KHO_SEED.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arena_fixture.h"
#include "damage.h"

#define MAX_JOBS 8

struct figures {
	unsigned long tried, outcome[DAMAGE_NR_OUTCOMES];
};

/* Of each child, shared with its parent, which adds them up in the first. */
static struct figures (*shares)[DAMAGE_NR_ROWS];
static struct figures *figures;
static unsigned int nr_jobs;

/* The change at hand, for whoever has to tell of a failure. */
static struct {
	__u64 at;
	unsigned char was, is;
	unsigned int row;
} change;

static void on_signal(int sig)
{
	char text[160];
	int n = snprintf(text, sizeof(text), "%s at %#llx, %#x -> %#x: signal %d%s\n",
			 damage_structures[change.row].name, (unsigned long long)change.at,
			 change.was, change.is, sig,
			 sig == SIGALRM || sig == SIGPROF ? " (hang)" : "");

	if (write(1, text, (size_t)n) < 0)
		_exit(3);
	_exit(2);
}

static void broken(const char *text)
{
	printf("%s at %#llx, %#x -> %#x: %s\n", damage_structures[change.row].name,
	       (unsigned long long)change.at, change.was, change.is, text);
	fflush(stdout);
	_exit(1);
}

static void try_change(unsigned int row, __u64 at, unsigned char is)
{
	struct damage damage = {.nr = 0};

	change.at = at;
	change.was = (unsigned char)damage_image[at];
	change.is = is;
	change.row = row;
	if (!damage_write(&damage, row, at, &is, 1))
		return;
	figures[row].tried++;
	damage_watch();
	figures[row].outcome[damage_try(&damage, broken)]++;
}

static void try_byte(unsigned int row, __u64 at)
{
	for (unsigned int bit = 0; bit < 8; bit++)
		try_change(row, at, (unsigned char)(damage_image[at] ^ (char)(1 << bit)));
	try_change(row, at, 0);
	try_change(row, at, 0xff);
}

static void write_json(const char *path)
{
	FILE *out = fopen(path, "w");

	assert_non_null(out);
	fprintf(out, "{\"rows\": [\n");
	for (unsigned int r = 0; r < damage_nr_structures; r++)
		fprintf(out,
			"  {\"structure\": \"%s\", \"changes\": %lu, \"detected\": %lu, "
			"\"harmless\": %lu, \"lost\": %lu}%s\n",
			damage_structures[r].name, figures[r].tried,
			figures[r].outcome[DAMAGE_DETECTED], figures[r].outcome[DAMAGE_HARMLESS],
			figures[r].outcome[DAMAGE_LOST], r + 1 < damage_nr_structures ? "," : "");
	fprintf(out, "]}\n");
	fclose(out);
}

static void print_figures(void)
{
	for (unsigned int r = 0; r < damage_nr_structures; r++) {
		double n = figures[r].tried ? (double)figures[r].tried / 100 : 1;

		printf("%-26s %8lu changes  %6.2f%% detected %6.2f%% harmless %6.2f%% lost\n",
		       damage_structures[r].name, figures[r].tried,
		       (double)figures[r].outcome[DAMAGE_DETECTED] / n,
		       (double)figures[r].outcome[DAMAGE_HARMLESS] / n,
		       (double)figures[r].outcome[DAMAGE_LOST] / n);
	}
}

static __u64 stride_of(unsigned int row, const char *mode)
{
	__u64 nodes = !mode ? 331 : strcmp(mode, "full") ? strtoull(mode, NULL, 0) : 1;

	if (row == DAMAGE_TABLES || row == DAMAGE_LEAVES)
		return nodes;
	if (mode)
		return 1;
	switch (row) {
	case DAMAGE_FDT:
	case DAMAGE_STATES:
	case DAMAGE_CACHE_STATES:
		return 53;
	case DAMAGE_DESCS:
	case DAMAGE_CHUNKS:
	case DAMAGE_NODES:
	case DAMAGE_CONTENTS:
		return 37;
	default:
		return 17;
	}
}

static void child(unsigned int job, const char *mode, uint64_t rng)
{
	static const int signals[] = {SIGSEGV, SIGBUS, SIGALRM, SIGPROF, SIGFPE, SIGILL};
	__u64 nr = 0;

	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		signal(signals[i], on_signal);
	figures = shares[job];
	damage_work_open();
	for (unsigned int i = 0; i < damage_nr_parts; i++) {
		const struct damage_part *part = &damage_parts[i];
		__u64 stride = stride_of(part->row, mode);

		for (__u64 at = part->lo + (stride == 1 ? 0 : test_random(&rng) % stride);
		     at < part->hi; at += stride)
			if (nr++ % nr_jobs == job)
				try_byte(part->row, at);
	}
	_exit(0);
}

/* All shares in the first. */
static void add_up(void)
{
	figures = shares[0];
	for (unsigned int job = 1; job < nr_jobs; job++)
		for (unsigned int r = 0; r < DAMAGE_NR_ROWS; r++) {
			figures[r].tried += shares[job][r].tried;
			for (int o = 0; o < DAMAGE_NR_OUTCOMES; o++)
				figures[r].outcome[o] += shares[job][r].outcome[o];
		}
}

static void try_all(const char *mode)
{
	uint64_t seed = test_seed();
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	int status, failed = 0;

	nr_jobs = cpus < 1 ? 1 : cpus > MAX_JOBS ? MAX_JOBS : (unsigned int)cpus;
	shares = mmap(NULL, nr_jobs * sizeof(*shares), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(shares, MAP_FAILED);
	fflush(stdout);
	for (unsigned int job = 0; job < nr_jobs; job++) {
		pid_t pid = fork();

		assert_int_not_equal(pid, -1);
		if (!pid)
			child(job, mode, seed);
	}
	for (unsigned int job = 0; job < nr_jobs; job++) {
		assert_int_not_equal(wait(&status), -1);
		failed += !!status;
	}
	assert_int_equal(failed, 0);
	add_up();
}

static void whatever_byte_is_damaged(void **state)
{
	static const unsigned int exact[] = {DAMAGE_HEADER,	DAMAGE_WORDS,	DAMAGE_DESCS,
					     DAMAGE_SLABS,	DAMAGE_RECORDS, DAMAGE_CACHE_SLABS,
					     DAMAGE_SINGLE_REST};
	static const unsigned int found[] = {DAMAGE_LARGES, DAMAGE_AREAS, DAMAGE_CHUNKS};
	const char *mode = getenv("KHO_CORRUPT"), *json = getenv("KHO_CORRUPT_JSON");

	damage_open();
	assert_true(damage_nr_structures == DAMAGE_NR_ROWS);
	try_all(mode);
	print_figures();
	if (json)
		write_json(json);
	/* What carries a checksum or an exact value of its own is never believed when damaged. */
	for (size_t i = 0; i < sizeof(exact) / sizeof(exact[0]); i++)
		assert_int_equal(figures[exact[i]].outcome[DAMAGE_DETECTED],
				 figures[exact[i]].tried);
	/* And what is checked as a whole is told, or makes no difference. */
	for (size_t i = 0; i < sizeof(found) / sizeof(found[0]); i++)
		assert_int_equal(figures[found[i]].outcome[DAMAGE_LOST], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(whatever_byte_is_damaged)};

	return cmocka_run_group_tests_name("corrupt", tests, NULL, NULL);
}
