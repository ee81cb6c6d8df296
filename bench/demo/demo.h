/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The demo: a cache server is upgraded, killed and offered bad successors under a load
 * that checks every answer.
 *
 * Words: see bench/load/load.h; and
 *	event	one upgrade, one kill, one bad successor
 *	roll-back	a bad successor was refused or taken back, and the old server goes on
 */
#ifndef KHO_BENCH_DEMO_H
#define KHO_BENCH_DEMO_H

#include "load.h"

#define DEMO_BAD 5
#define DEMO_SIGNALS 3

struct demo_options {
	uint64_t keys;
	unsigned int upgrades;
	unsigned int kills;
	unsigned int busy;
	unsigned int idle;
	unsigned int rate;
	uint64_t seed;
	const char *bin; /* where kho and cached-* are */
	const char *json;
	const char *arena_max;
	bool quick;
};

/* A kind of event and what happened in all of them. */
struct demo_kind {
	char what[48];
	unsigned int times;
	unsigned int good;
	unsigned long dropped;
	struct load_samples gap_us;
	char outcome[96];
};

/* What moved in an upgrade with the load paused, seen from outside. */
struct demo_copied {
	bool known; /* the processes could be looked into */
	bool same_file; /* one memfd before and after */
	bool frames_shown; /* page frame numbers may be seen (root) */
	uint64_t inode;
	uint64_t blocks_before, blocks_after; /* bytes */
	uint64_t frames; /* pages of the arena */
	uint64_t frames_moved;
	uint64_t frames_mapped; /* of them in the successor's page table, the same */
	uint64_t private_empty; /* a server's own memory before loading */
	uint64_t private_after; /* the successor's, with all the state */
	uint64_t bytes; /* the verdict */
};

struct demo {
	struct demo_options options;
	char dir[256]; /* temporary */
	char log[300]; /* what the server and kho print */
	char name[32];
	unsigned int port;
	pid_t supervisor;
	pid_t server;
	unsigned int upgraded; /* which build is next */
	struct load_shape shape;
	struct load_verify *verify;
	struct load_prober *prober;
	uint64_t state_bytes;
	uint64_t started;
	struct demo_kind upgrade;
	struct demo_kind kill[DEMO_SIGNALS];
	struct demo_kind bad[DEMO_BAD];
	struct demo_copied copied;
	unsigned int rollbacks;
	unsigned int events_done, events;
	unsigned int core_files;
	const char *core_note; /* why there are none, or NULL */
	bool paused; /* the load rests */
	uint64_t prober_stuck; /* its requests that nobody answered */
};

/* ---- show.c -------------------------------------------------------------------- */

void demo_show_init(void);
/* What is going on: a line that replaces the last on a terminal, a plain line elsewhere. */
void demo_progress(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same, for steps of one thing; elsewhere than on a terminal nothing. */
void demo_progress_step(const char *what, uint64_t done, uint64_t total);
void demo_progress_end(void);
/* @complete: it got to its end. Return: whether all promises were kept. */
bool demo_show(struct demo *demo, bool complete);
int demo_write_json(struct demo *demo);

/* ---- server.c ------------------------------------------------------------------- */

/* Each returns 0 or negative errno after a message. */
int demo_server_start(struct demo *demo);
int demo_server_pid(struct demo *demo, pid_t *pid);
/*
 * kho upgrade to @build. @arg: one more argument of a bad server, or NULL.
 * @said: the last line that kho printed. Return: its exit status, or negative errno.
 */
int demo_server_upgrade(struct demo *demo, const char *build, const char *arg, char *said,
			size_t size);
/* Stop it and take everything away. */
void demo_server_stop(struct demo *demo);
/* Core files that are there are counted and removed. */
void demo_server_cores(struct demo *demo);
/* The end of its log, for people. */
void demo_server_log(struct demo *demo);

/* ---- copied.c --------------------------------------------------------------------- */

struct demo_frames; /* an arena's file, its page frames, and who maps it */

/* Wait until the arena's size no longer changes. */
void demo_wait_at_rest(pid_t pid);
/* Return: NULL when the process cannot be looked into. */
struct demo_frames *demo_frames_of(pid_t pid);
void demo_frames_free(struct demo_frames *frames);
void demo_frames_compare(const struct demo_frames *before, const struct demo_frames *after,
			 struct demo_copied *copied);
/* Private memory of a process outside its arena; 0 if unknown. */
uint64_t demo_private_bytes(pid_t pid, uint64_t inode);
/* The arena's inode; 0 if unknown. */
uint64_t demo_arena_inode(pid_t pid);

/* ---- events.c ----------------------------------------------------------------------- */

/* Each returns 0, or negative errno when the demo cannot go on. */
int demo_upgrades(struct demo *demo);
int demo_kills(struct demo *demo);
int demo_bad(struct demo *demo);

#endif
