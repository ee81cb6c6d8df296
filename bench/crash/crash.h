/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * How long does nobody answer after a SIGKILL?
 *
 *	subject	a server and whoever starts it again
 *	event	one kill; its figure is the time from the signal to the first answer of the next process
 *	load	some connections that ask and store at a steady pace meanwhile
 */
#ifndef KHO_BENCH_CRASH_H
#define KHO_BENCH_CRASH_H

#include "load.h"

struct run {
	const char *bin; /* absolute */
	uint64_t state; /* bytes of keys and values */
	char dir[256]; /* of this run, on tmpfs */
	char log[300];
	unsigned int port;
	pid_t pid; /* child: supervisor, or the server itself */
	pid_t server;
};

struct subject {
	const char *name;
	enum load_proto proto;
	bool cold; /* the next process has nothing: a miss is an answer */
	bool slow; /* seconds each: few of them */
	uint64_t (*need)(uint64_t state);
	/* Each returns 0, or negative errno after a message. */
	int (*start)(struct run *run);
	/* Before each event: all is well again, @run->server is who answers. */
	int (*rest)(struct run *run);
	/* After the signal: start it again, if nobody else does. */
	int (*again)(struct run *run);
	void (*stop)(struct run *run);
};

extern const struct subject crash_subjects[];
extern const unsigned int nr_crash_subjects;

/* ---- watch.c: who asks, and when it was answered ---- */

struct watch;
/* @any: every whole answer is one; else the value must be right. */
struct watch *watch_start(unsigned int port, enum load_proto proto, bool any);
void watch_stop(struct watch *watch);
/* Wait for an answer from now on. Return: false: none within @timeout. */
bool watch_answered(struct watch *watch, uint64_t timeout);
/* The old process is dead: from now on answers are the next one's. */
void watch_mark(struct watch *watch);
/* When the first answer since the mark came; 0: none yet. */
uint64_t watch_first(struct watch *watch);

struct pace;
/* @per_s operations, over a few connections; every tenth stores. */
struct pace *pace_start(unsigned int port, enum load_proto proto, uint64_t keys,
			const struct load_shape *shape, unsigned int per_s);
void pace_stop(struct pace *pace);

#endif
