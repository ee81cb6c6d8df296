/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * How long does nobody answer when a server that holds much is replaced?
 *
 *	subject	one way to replace it
 *	event	one replacement; its blackout is the prober's longest gap from before it
 *		until all of it is over, the old process's end included
 */
#ifndef KHO_BENCH_BLACKOUT_H
#define KHO_BENCH_BLACKOUT_H

#include "load.h"

struct run {
	const char *bin; /* absolute */
	uint64_t state; /* bytes of keys and values */
	uint64_t keys;
	struct load_shape shape;
	char dir[256]; /* of this run, on tmpfs */
	char log[300];
	unsigned int port;
	pid_t pid; /* child: supervisor, or the server itself */
	pid_t server;
	unsigned int events;
	uint64_t event_ns; /* how long the last event took: the noise floor's windows are as long */
};

struct subject {
	const char *name;
	enum load_proto proto;
	bool slow; /* seconds each: few of them */
	bool versions; /* each event changes the version that it tells */
	bool fills_itself; /* has the state from the start */
	/* Memory that it takes at its peak. */
	uint64_t (*need)(uint64_t state);
	/* Each returns 0, or negative errno after a message. */
	int (*start)(struct run *run);
	int (*rest)(struct run *run); /* before each event; optional */
	int (*event)(struct run *run);
	void (*stop)(struct run *run);
};

extern const struct subject subject_kho;
extern const struct subject subject_kho_exec;
extern const struct subject subject_kho_realtime;
extern const struct subject subject_noise;
extern const struct subject subject_noise_realtime;
extern const struct subject subject_memcached;
extern const struct subject subject_redis;
extern const struct subject subject_spawn;
extern const struct subject subject_exec;

/* Wait until a process is gone. */
bool blackout_wait_gone(pid_t pid, uint64_t timeout);

#endif
