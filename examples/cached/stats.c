/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The stats command, and the counters behind it.
 *
 * Each worker counts for itself. What all programs before us counted is in @inherited: they
 * store it when they are parked, so it is lost in a crash.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <kho/host.h>

#include "cached.h"

#define U(value) ((unsigned long long)(value))

static __u64 inherited[COUNTERS];
static __u64 at_reset[COUNTERS];
static time_t started;

static __u64 total(enum counter counter)
{
	__u64 sum = inherited[counter];
	unsigned int i;

	for (i = 0; i < NR_THREADS; i++)
		sum += __atomic_load_n(&workers[i].counters[counter], __ATOMIC_RELAXED);
	return sum;
}

static __u64 shown(enum counter counter)
{
	return total(counter) - __atomic_load_n(&at_reset[counter], __ATOMIC_RELAXED);
}

/* ---- from one program to the next ---- */

void stats_park(void)
{
	struct table *table = table_get();
	bool counted = !table_counting();
	unsigned int i;

	for (i = 0; i < NR_THREADS; i++)
		clock_tell(&workers[i], true);
	for (i = 0; i < COUNTERS; i++)
		table->counters[i] = shown(i);
	table->used = clock_used();
	table->items = clock_items();
	__atomic_store_n(&table->parked, counted ? PARKED_EXACT : PARKED_COUNTING,
			 __ATOMIC_RELEASE);
}

void stats_unpark(void)
{
	if (!started)
		started = time(NULL);
	__atomic_store_n(&table_get()->parked, SERVING, __ATOMIC_RELEASE);
}

void stats_attach(bool after_rollback)
{
	struct table *table = table_get();

	if (table->parked == PARKED_EXACT)
		clock_set(table->used, table->items);
	/* After a crash they are those of the last time that somebody was parked. */
	if (!after_rollback)
		memcpy(inherited, table->counters, sizeof(inherited));
}

void stats_reset(void)
{
	unsigned int i;

	for (i = 0; i < COUNTERS; i++)
		__atomic_store_n(&at_reset[i], total(i), __ATOMIC_RELAXED);
}

/* ---- the command ---- */

static void stat_u64(struct worker *w, const char *name, __u64 value)
{
	out_format(&w->out, "STAT %s %llu\r\n", name, U(value));
}

static void stat_text(struct worker *w, const char *name, const char *value)
{
	out_format(&w->out, "STAT %s %s\r\n", name, value);
}

static void stat_process(struct worker *w)
{
	time_t now = time(NULL);
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	stat_u64(w, "pid", getpid());
	stat_u64(w, "uptime", now - started);
	stat_u64(w, "time", now);
	stat_text(w, "version", CACHED_PROTOCOL);
	stat_u64(w, "pointer_size", 8 * sizeof(void *));
	out_format(&w->out, "STAT rusage_user %ld.%06ld\r\n", (long)usage.ru_utime.tv_sec,
		   (long)usage.ru_utime.tv_usec);
	out_format(&w->out, "STAT rusage_system %ld.%06ld\r\n", (long)usage.ru_stime.tv_sec,
		   (long)usage.ru_stime.tv_usec);
	stat_u64(w, "max_connections", options.conns);
	stat_u64(w, "curr_connections", conns_count());
	stat_u64(w, "total_connections", shown(TOTAL_CONNS));
	stat_u64(w, "rejected_connections", shown(REJECTED_CONNS));
}

static void stat_general(struct worker *w)
{
	static const struct {
		const char *name;
		enum counter counter;
	} table[] = {
		{"cmd_get", CMD_GET},
		{"cmd_set", CMD_SET},
		{"cmd_flush", CMD_FLUSH},
		{"cmd_touch", CMD_TOUCH},
		{"get_hits", GET_HITS},
		{"get_misses", GET_MISSES},
		{"get_expired", GET_EXPIRED},
		{"get_flushed", GET_FLUSHED},
		{"delete_misses", DELETE_MISSES},
		{"delete_hits", DELETE_HITS},
		{"incr_misses", INCR_MISSES},
		{"incr_hits", INCR_HITS},
		{"decr_misses", DECR_MISSES},
		{"decr_hits", DECR_HITS},
		{"cas_misses", CAS_MISSES},
		{"cas_hits", CAS_HITS},
		{"cas_badval", CAS_BADVAL},
		{"touch_hits", TOUCH_HITS},
		{"touch_misses", TOUCH_MISSES},
		{"bytes_read", BYTES_READ},
		{"bytes_written", BYTES_WRITTEN},
	};
	unsigned int i;

	stat_process(w);
	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		stat_u64(w, table[i].name, shown(table[i].counter));
	stat_u64(w, "limit_maxbytes", options.limit);
	stat_u64(w, "accepting_conns", 1);
	stat_u64(w, "threads", options.threads);
	stat_u64(w, "hash_power_level", __builtin_ctzll(table_buckets()));
	stat_u64(w, "hash_bytes", table_buckets() * sizeof(__u64));
	stat_u64(w, "generation", kho_generation());
	stat_u64(w, "counting", table_counting());
	stat_u64(w, "bytes", clock_exact().bytes);
	stat_u64(w, "curr_items", clock_exact().items);
	stat_u64(w, "total_items", shown(TOTAL_ITEMS));
	stat_u64(w, "evictions", shown(EVICTIONS));
	stat_u64(w, "reclaimed", shown(RECLAIMED));
	stat_u64(w, "outofmemory", shown(OUT_OF_MEMORY));
}

/* There are no size classes of our own: all items are class 1. */
static void stat_items(struct worker *w)
{
	if (!clock_exact().items)
		return;
	stat_u64(w, "items:1:number", clock_exact().items);
	stat_u64(w, "items:1:mem_requested", clock_exact().bytes);
	stat_u64(w, "items:1:evicted", shown(EVICTIONS));
	stat_u64(w, "items:1:outofmemory", shown(OUT_OF_MEMORY));
	stat_u64(w, "items:1:reclaimed", shown(RECLAIMED));
}

static void stat_slabs(struct worker *w)
{
	struct kho_heap_stats heap;

	if (clock_exact().items) {
		stat_u64(w, "1:used_chunks", clock_exact().items);
		stat_u64(w, "1:mem_requested", clock_exact().bytes);
		stat_u64(w, "1:get_hits", shown(GET_HITS));
		stat_u64(w, "1:cmd_set", shown(CMD_SET));
	}
	stat_u64(w, "active_slabs", clock_exact().items ? 1 : 0);
	if (!kho_heap_stats(&heap, false))
		stat_u64(w, "total_malloced", heap.arena_used);
}

static void stat_settings(struct worker *w)
{
	stat_u64(w, "maxbytes", options.limit);
	stat_u64(w, "maxconns", options.conns);
	stat_text(w, "tcpport", options.unix_path ? "0" : options.port);
	stat_text(w, "inter", options.listen ? options.listen : "NULL");
	stat_u64(w, "verbosity", options.verbose);
	stat_text(w, "evictions", "on");
	stat_text(w, "domain_socket", options.unix_path ? options.unix_path : "NULL");
	stat_u64(w, "num_threads", options.threads);
	stat_text(w, "cas_enabled", "yes");
	stat_text(w, "binding_protocol", "ascii");
	stat_u64(w, "item_size_max", options.item_max);
	stat_text(w, "maxconns_fast", "yes");
	stat_u64(w, "healthy_after_ms", options.healthy_after);
}

/*
 * For tests: walk all items. In a quiet server every live object is one that we know; any other
 * would be a leak.
 */
static void stat_check(struct worker *w)
{
	struct table_report report;
	struct kho_heap_stats heap;
	int err = table_check(&report);

	stat_u64(w, "check:items", report.items);
	stat_u64(w, "check:bytes", report.bytes);
	stat_u64(w, "check:buckets", BASE_BUCKETS + report.spliced);
	if (!kho_heap_stats(&heap, true)) {
		stat_u64(w, "check:objects", report.items + report.segments + 1 + conns_objects());
		stat_u64(w, "check:live_objects", heap.live_objects);
	}
	stat_text(w, "check:result", err ? report.fault : "sound");
}

static bool is(const struct span *word, const char *text)
{
	return word->len == strlen(text) && memcmp(word->at, text, word->len) == 0;
}

void stats_command(struct worker *w, struct span args)
{
	struct span word;

	if (!proto_word(&args, &word)) {
		stat_general(w);
	} else if (is(&word, "items")) {
		stat_items(w);
	} else if (is(&word, "slabs")) {
		stat_slabs(w);
	} else if (is(&word, "settings")) {
		stat_settings(w);
	} else if (is(&word, "check") && options.debug) {
		stat_check(w);
	} else if (is(&word, "reset")) {
		stats_reset();
		out_line(&w->out, "RESET\r\n");
		return;
	} else if (!is(&word, "sizes") && !is(&word, "conns")) {
		out_line(&w->out, "ERROR\r\n");
		return;
	}
	out_line(&w->out, "END\r\n");
}
