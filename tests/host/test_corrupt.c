/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Damage: every byte of every structure, changed in ten ways (each bit, 0x00, 0xff). What
 * is damaged is refused with a typed fault, or does no harm beyond itself: no signal,
 * no hang, no access outside, and after all free memory was handed out and written,
 * everything that still counts as allocated has its bytes. See damage.h.
 *
 * KHO_CORRUPT=full takes every byte, KHO_CORRUPT=N every byte but of tree nodes each Nth;
 * KHO_CORRUPT_JSON names a file for the figures; KHO_SEED.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arena_fixture.h"
#include "damage.h"

#define TIMEOUT 20
#define MAX_ROWS 64

static struct {
	unsigned long tried, outcome[DAMAGE_NR_OUTCOMES];
} figures[MAX_ROWS];

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
			 change.was, change.is, sig, sig == SIGALRM ? " (hang)" : "");

	if (write(1, text, (size_t)n) < 0)
		_exit(3);
	_exit(2);
}

static void broken(const char *text)
{
	print_message("%s at %#llx, %#x -> %#x:\n", damage_structures[change.row].name,
		      (unsigned long long)change.at, change.was, change.is);
	fail_msg("%s", text);
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
	alarm(TIMEOUT);
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
	__u64 nodes = !mode ? 211 : strcmp(mode, "full") ? strtoull(mode, NULL, 0) : 1;

	if (row == DAMAGE_TABLES || row == DAMAGE_LEAVES)
		return nodes;
	if (mode)
		return 1;
	return row == DAMAGE_FDT || row == DAMAGE_STATES ? 23 : 7;
}

static void whatever_byte_is_damaged(void **state)
{
	static const unsigned int exact[] = {DAMAGE_HEADER, DAMAGE_WORDS, DAMAGE_DESCS,
					     DAMAGE_SLABS, DAMAGE_RECORDS};
	const char *mode = getenv("KHO_CORRUPT"), *json = getenv("KHO_CORRUPT_JSON");
	uint64_t rng = test_seed();
	int signals[] = {SIGSEGV, SIGBUS, SIGALRM, SIGFPE, SIGILL};

	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		signal(signals[i], on_signal);
	damage_open();
	damage_work_open();
	assert_true(damage_nr_structures <= MAX_ROWS);
	for (unsigned int i = 0; i < damage_nr_parts; i++) {
		const struct damage_part *part = &damage_parts[i];
		__u64 stride = stride_of(part->row, mode);

		for (__u64 at = part->lo + (stride == 1 ? 0 : test_random(&rng) % stride);
		     at < part->hi; at += stride)
			try_byte(part->row, at);
	}
	alarm(0);
	print_figures();
	if (json)
		write_json(json);
	/* What carries a checksum or an exact value of its own is never believed when damaged. */
	for (size_t i = 0; i < sizeof(exact) / sizeof(exact[0]); i++)
		assert_int_equal(figures[exact[i]].outcome[DAMAGE_DETECTED],
				 figures[exact[i]].tried);
	assert_int_equal(figures[DAMAGE_LARGES].outcome[DAMAGE_LOST], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(whatever_byte_is_damaged)};

	return cmocka_run_group_tests_name("corrupt", tests, NULL, NULL);
}
