/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What people see: progress, the table; and what programs see: result.json. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "demo.h"

static bool on_terminal, coloured;
static uint64_t started, last_step;

#define BOLD (coloured ? "\033[1m" : "")
#define DIM (coloured ? "\033[2m" : "")
#define GREEN (coloured ? "\033[32m" : "")
#define RED (coloured ? "\033[1;31m" : "")
#define PLAIN (coloured ? "\033[0m" : "")

void demo_show_init(void)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	on_terminal = isatty(1);
	coloured = on_terminal && !(no && *no) && !(term && !strcmp(term, "dumb"));
	started = load_now();
}

static void progress(const char *text)
{
	double seconds = (double)(load_now() - started) / 1e9;

	if (on_terminal)
		printf("\r\033[K%s%5.1f s%s  %s", DIM, seconds, PLAIN, text);
	else
		printf("%5.1f s  %s\n", seconds, text);
	fflush(stdout);
}

void demo_progress(const char *fmt, ...)
{
	char text[160];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	progress(text);
}

void demo_progress_step(const char *what, uint64_t done, uint64_t total)
{
	uint64_t now = load_now();
	char text[160];

	/* Ten a second are as many as an eye follows. */
	if (!on_terminal || (now - last_step < 100 * LOAD_MS && done < total))
		return;
	last_step = now;
	snprintf(text, sizeof(text), "%s: %s of %s", what, load_commas(done), load_commas(total));
	progress(text);
}

void demo_progress_end(void)
{
	if (on_terminal)
		printf("\r\033[K");
	fflush(stdout);
}

static const char *microseconds(double us)
{
	static char bufs[4][32];
	static unsigned int next;
	char *buf = bufs[next++ % 4];

	snprintf(buf, sizeof(bufs[0]), "%.2f ms", us / 1000);
	return buf;
}

static void show_kind(struct demo_kind *kind, bool kept)
{
	if (!kind->times)
		return;
	printf("  %-30s %5u %12s %12s %12s %9s  %s%s%s\n", kind->what, kind->times,
	       microseconds(load_quantile(&kind->gap_us, 0.5)),
	       microseconds(load_quantile(&kind->gap_us, 0.99)),
	       microseconds(load_quantile(&kind->gap_us, 1)), load_commas(kind->dropped),
	       kept ? GREEN : RED, kind->outcome, PLAIN);
}

static void show_kinds(struct demo *demo)
{
	unsigned int i;

	printf("  %s%-30s %5s %38s %9s%s\n", DIM, "", "", "longest time without an answer",
	       "connect.", PLAIN);
	printf("  %s%-30s %5s %12s %12s %12s %9s  %s%s\n", DIM, "event", "times", "median", "p99",
	       "max", "dropped", "outcome", PLAIN);
	show_kind(&demo->upgrade,
		  demo->upgrade.good == demo->upgrade.times && !demo->upgrade.dropped);
	for (i = 0; i < DEMO_SIGNALS; i++)
		show_kind(&demo->kill[i], demo->kill[i].good == demo->kill[i].times);
	for (i = 0; i < DEMO_BAD; i++)
		show_kind(&demo->bad[i], demo->bad[i].good == 1);
}

static bool show_promise(const char *what, uint64_t broken, const char *of)
{
	printf("  %-30s %s%5s%s  %s%s%s\n", what, broken ? RED : GREEN, load_commas(broken), PLAIN,
	       DIM, of, PLAIN);
	return !broken;
}

static void copied_text(const struct demo_copied *copied, char *text, size_t size)
{
	char frames[128];

	if (!copied->known) {
		snprintf(text, size, "could not be seen: /proc/PID/fd may not be read");
		return;
	}
	if (copied->frames_shown)
		snprintf(frames, sizeof(frames), "%s page frames the same",
			 load_commas(copied->frames - copied->frames_moved));
	else
		snprintf(frames, sizeof(frames), "page frames are shown to root only");
	snprintf(text, size, "%s memfd, %s, file %+lld bytes; its own memory %s, without keys %s",
		 copied->same_file ? "the same" : "ANOTHER", frames,
		 (long long)(copied->blocks_after - copied->blocks_before),
		 load_bytes(copied->private_after), load_bytes(copied->private_empty));
}

static unsigned long stuck(struct demo *demo)
{
	return atomic_load(&load_verify_counts(demo->verify)->stuck) + demo->prober_stuck;
}

bool demo_show(struct demo *demo, bool complete)
{
	struct load_counts *counts = load_verify_counts(demo->verify);
	unsigned long dropped = atomic_load(&counts->dropped[LOAD_BLAME_UPGRADE]);
	char text[256];
	bool kept = true;

	printf("\n  %sA memcached-protocol server with %s keys (%s), %u busy and %s idle "
	       "connections%s\n\n",
	       BOLD, load_commas(demo->options.keys), load_bytes(demo->state_bytes),
	       demo->options.busy, load_commas(demo->options.idle), PLAIN);
	show_kinds(demo);
	putchar('\n');
	snprintf(text, sizeof(text), "of %s acknowledged and %s loaded",
		 load_commas(atomic_load(&counts->writes)), load_commas(demo->options.keys));
	kept &= show_promise("acknowledged writes lost", atomic_load(&counts->lost), text);
	snprintf(text, sizeof(text), "in %s checked reads",
		 load_commas(atomic_load(&counts->reads)));
	kept &= show_promise("wrong values", atomic_load(&counts->wrong), text);
	snprintf(text, sizeof(text), "%s short-lived ones were opened and answered",
		 load_commas(atomic_load(&counts->opened)));
	kept &= show_promise("connections refused", atomic_load(&counts->refused), text);
	kept &= show_promise("connections lost by upgrades", dropped, "");
	kept &= show_promise("connections lost by kills",
			     atomic_load(&counts->dropped[LOAD_BLAME_KILL]),
			     "each goes on where it was, in the middle of a request as well");
	copied_text(&demo->copied, text, sizeof(text));
	kept &= show_promise("bytes of state copied", demo->copied.bytes, text);
	kept &= demo->copied.known;
	snprintf(text, sizeof(text), "%u of %u rolled back", demo->rollbacks, DEMO_BAD);
	kept &= show_promise("bad successors that stayed", DEMO_BAD - demo->rollbacks, text);
	kept &= show_promise("connections left unanswered", stuck(demo),
			     "given up after 8 s, and counted as lost");
	kept &= show_promise("answers that are errors", atomic_load(&counts->errors), "");
	kept &= demo->upgrade.good == demo->options.upgrades;
	if (demo->core_note)
		printf("  %-30s %5s  %s%s%s\n", "core dumps", "", DIM, demo->core_note, PLAIN);
	else
		printf("  %-30s %5u  %swritten while a successor started, and removed%s\n",
		       "core dumps", demo->core_files, DIM, PLAIN);
	if (!complete)
		printf("  %sthe demo did not get to its end%s\n", RED, PLAIN);
	kept &= complete;
	printf("\n  %s%s%s\n\n", kept ? GREEN : RED,
	       kept ? "All promises kept." : "PROMISES BROKEN: see above.", PLAIN);
	return kept;
}

static void write_quantiles(FILE *f, const char *name, struct load_samples *samples,
			    const char *tail)
{
	fprintf(f, "  \"%s\": {\"p50\": %.1f, \"p99\": %.1f, \"max\": %.1f}%s\n", name,
		load_quantile(samples, 0.5), load_quantile(samples, 0.99),
		load_quantile(samples, 1), tail);
}

int demo_write_json(struct demo *demo)
{
	struct load_counts *counts = load_verify_counts(demo->verify);
	struct load_samples crash = {0};
	unsigned int i, kills = 0;
	char dir[4096];
	char *slash;
	size_t j;
	FILE *f;

	for (i = 0; i < DEMO_SIGNALS; i++) {
		kills += demo->kill[i].times;
		for (j = 0; j < demo->kill[i].gap_us.nr; j++)
			load_samples_add(&crash, demo->kill[i].gap_us.v[j]);
	}
	snprintf(dir, sizeof(dir), "%s", demo->options.json);
	slash = strrchr(dir, '/');
	if (slash) {
		*slash = '\0';
		load_mkdirs(dir);
	}
	f = fopen(demo->options.json, "we");
	if (!f)
		return -errno;
	fprintf(f, "{\n  \"keys\": %llu,\n  \"state_bytes\": %llu,\n",
		(unsigned long long)demo->options.keys, (unsigned long long)demo->state_bytes);
	fprintf(f, "  \"upgrades\": %u,\n  \"kills\": %u,\n  \"rollbacks\": %u,\n",
		demo->upgrade.good, kills, demo->rollbacks);
	fprintf(f, "  \"lost\": %lu,\n  \"wrong\": %lu,\n  \"refused\": %lu,\n",
		atomic_load(&counts->lost), atomic_load(&counts->wrong),
		atomic_load(&counts->refused));
	fprintf(f, "  \"conns_dropped_upgrade\": %lu,\n  \"conns_dropped_kill\": %lu,\n",
		atomic_load(&counts->dropped[LOAD_BLAME_UPGRADE]),
		atomic_load(&counts->dropped[LOAD_BLAME_KILL]));
	fprintf(f, "  \"stuck\": %lu,\n", stuck(demo));
	fprintf(f, "  \"copied_bytes\": %llu,\n  \"writes\": %lu,\n  \"reads\": %lu,\n",
		(unsigned long long)demo->copied.bytes, atomic_load(&counts->writes),
		atomic_load(&counts->reads));
	write_quantiles(f, "blackout_us", &demo->upgrade.gap_us, ",");
	write_quantiles(f, "crash_us", &crash, "");
	fputs("}\n", f);
	load_samples_free(&crash);
	return fclose(f) ? -errno : 0;
}
