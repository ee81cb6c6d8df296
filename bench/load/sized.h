/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Benchmarks of servers that hold much: every subject at every size, one at a time, in a
 * directory of its own on tmpfs: started, filled, measured, stopped. What does not fit into
 * memory has a row that says so.
 *
 *	--sizes "16MiB 12GiB"	of keys and values
 *	--n N	events; else 200, and 50 from 12 GiB on. Slow subjects have fewer.
 *	--subjects A,B	names or ways; '/' separates as well
 *	--json FILE
 *	--bin DIR	where kho and the servers are
 *	--rate N	operations a second of what else goes on, where there is such a thing
 *
 *	subject	a server, and how another process takes its place
 *	event	once that
 */
#ifndef KHO_BENCH_SIZED_H
#define KHO_BENCH_SIZED_H

#include "load.h"

#define SIZED_METRICS 3
#define SIZED_MIB (1ULL << 20)

struct run {
	const struct subject *subject;
	char which[64]; /* the case: the size, and the subject's way */
	const char *bin; /* absolute */
	uint64_t state; /* bytes of keys and values */
	uint64_t keys; /* key 0, which is the prober's, is one more */
	struct load_shape shape; /* of all but key 0's */
	char dir[256];
	char log[300];
	unsigned int port;
	pid_t pid; /* child: supervisor, or the server itself */
	pid_t server;
	unsigned int n, rate; /* the options */
	unsigned int events; /* done */
	struct load_samples samples[SIZED_METRICS];
};

struct subject {
	const char *name;
	const char *way; /* what the case says beside the size; NULL: nothing */
	enum load_proto proto;
	bool slow; /* seconds each: few of them */
	bool versions; /* each event changes the version that it tells */
	bool fills_itself; /* has the state from the start */
	bool cold; /* the next process has nothing: a miss is an answer */
	/* Memory that it takes at its peak. */
	uint64_t (*need)(uint64_t state);
	/* Each returns 0, or negative errno after a message. */
	int (*start)(struct run *run);
	/* Optional. Before each event: all is well again, @run->server is who answers. */
	int (*rest)(struct run *run);
	/* Optional. Put another process in its place, if nobody else does. */
	int (*replace)(struct run *run);
	void (*stop)(struct run *run);
};

/* Values of key 0 are short: what counts is the time, not the bytes. */
extern const struct load_shape sized_shape0;

struct sized {
	const char *title;
	const char *sizes, *json; /* unless the options say another */
	unsigned int rate; /* 0: there is none */
	unsigned int n_slow;
	const struct subject *const *subjects; /* ends with NULL */
	/* The first has a row for each subject; the others, when there are samples. */
	struct {
		const char *name, *unit;
	} metrics[SIZED_METRICS];
	/* @run->n events. Return: 0 or negative errno. */
	int (*measure)(struct run *run);
};

/* ---- sized.c ---- */

/* Return: main()'s. */
int sized_main(const struct sized *bench, int argc, char **argv);
/* What is going on: a line that replaces the last on a terminal; elsewhere one, when @done is 0. */
void sized_progress(const struct run *run, const char *what, uint64_t done, uint64_t total);
/* A message under the program's name. */
void sized_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* "16MiB", "12GiB". Return: bytes; 0: it is no size. */
uint64_t sized_bytes(const char *text);
/* Is it in the list of --subjects? NULL and "": all are. */
bool sized_wanted(const struct subject *subject, const char *list);

/* ---- launch.c: servers, for @run; each returns 0, or negative errno after a message ---- */

#define LAUNCH_TIMEOUT (60 * LOAD_NS)

/* In memory, with what surrounds it. */
uint64_t launch_need_once(uint64_t state);
int launch(struct run *run, char *const argv[]);
/* Wait for the first answer. */
int launch_answer(struct run *run);
void launch_stop(struct run *run);
/* Append @more, which ends with NULL, to the @n in @argv. Return: how many there are then. */
unsigned int launch_append(char **argv, unsigned int n, char *const more[]);

/* `kho run` of a build of cached, until it answers; @options: of kho run, @args: of the server. */
int launch_kho(struct run *run, const char *build, char *const options[], char *const args[]);
/* What each build is started with; until the next call. */
char *const *launch_cached_args(const struct run *run);
/* `kho status`: what it says to @out, whom it names to @run->server. There is no message. */
int launch_kho_status(struct run *run, char *out, size_t size);

/* With @args beside the usual. It may not answer yet. */
int launch_memcached(struct run *run, char *const args[]);
int launch_redis(struct run *run, char *const args[]);

#endif
