/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What test_kill.c and its subjects share: the model, outside the arena, in memory that all the
 * processes share. Each thread says there what it is about to do (phase 1), that it is done (phase 2),
 * and that the model has it (phase 0). So one operation per thread, in phase 1, is undecided.
 *
 * A subject is a kind of thing: kill_*.c.
 */
#ifndef KHO_TEST_KILL_H
#define KHO_TEST_KILL_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arena_fixture.h"
#include "heap.h"
#include "page.h"
#include "preserve.h"

#define ARENA_MAX (96ULL << 20)
#define THREADS 4
#define SLOTS 96
#define LIST_MAX 6
#define FOLIOS 6
#define RUNS 4
#define AREAS 3
#define SINGLES 40
#define NAMES 3
#define KEYS 2048
#define RECORDS 120
#define SESSIONS 2
#define FILES 70 /* more than a block has room for */
#define HELD_MAX (THREADS * (SESSIONS * FILES + 1)) /* one each is on its way */

enum op {
	LIST,
	FOLIO_ADD,
	FOLIO_DEL,
	RUN_ADD,
	RUN_DEL,
	AREA_ADD,
	AREA_DEL,
	SINGLE_ADD,
	SINGLE_DEL,
	CACHE_ADD,
	CACHE_DEL,
	SUB_ADD,
	SUB_DEL,
	ROOT_ADD,
	ROOT_DEL,
	META,
	ARRAY_SET, /* or erase, if @seq is 0 */
	ARRAY_CLEAR,
	ARRAY_MAKE,
	ARRAY_DROP,
	BLOCK_APPEND,
	BLOCK_POP,
	BLOCK_CLEAR,
	BLOCK_DESTROY,
	SESSION_MAKE,
	SESSION_FINISH,
	FILE_IN,
	FILE_OUT,
	FILES_RELEASE,
	NR_KINDS
};

struct list {
	unsigned int n;
	__u64 seq[LIST_MAX];
};

struct flight {
	int phase;
	enum op kind;
	unsigned int index;
	struct list after;
	kho_pa_t pa;
	__u64 nr;
	__u64 seq;
};

struct extent {
	kho_pa_t pa; /* 0 = none */
	__u64 nr; /* order of a folio, pages of a run */
	__u64 seq; /* tells it from who has the same pages next */
};

/* A thread's array: @there: it has a descriptor; @seq of each key: 0: no entry. */
struct array_model {
	bool there;
	__u64 seq[KEYS];
};

/* Record number i, from @first to before @end, is @seq[i % RECORDS]. */
struct block_model {
	__u64 first, end;
	__u64 seq[RECORDS];
};

/* @seq of each token: 0: no file. @claimed: by the process that is at work, or was killed. */
struct session_model {
	bool there;
	bool claimed[FILES];
	__u64 seq[FILES];
};

/* An fd of a session that the next process is to get; @token 0: none. */
struct held {
	__u64 token;
	__u64 template;
};

struct log {
	struct list list[SLOTS];
	struct extent folio[THREADS][FOLIOS], run[THREADS][RUNS], area[THREADS][AREAS],
		single[THREADS][SINGLES];
	bool sub[THREADS][NAMES], root[THREADS][NAMES], cache[THREADS][NAMES];
	__u64 meta;
	struct array_model array[THREADS];
	struct block_model block[THREADS];
	struct session_model session[THREADS][SESSIONS];
	struct held held[HELD_MAX];
	struct flight flight[THREADS];
	__u64 next_seq[THREADS];
	kho_pa_t blob;
	/* not part of the model */
	int running;
	__u64 ops[NR_KINDS], refused, undecided_of[NR_KINDS], undecided, decided_after,
		partial_runs, partial_areas, partial_sets, partial_sessions, slab_pages;
	char text[400];
};

extern struct log *the_log;

/* What is reachable, to be held against what is allocated. */
struct sums {
	__u64 items, large_pages, folio_pages, run_pages, area_pages, area_chunks, struct_pages;
};

/* A thread's word for the array, and the head of its block set: an object at the root "heads", one for each. */
struct head {
	void *array;
	__u64 blocks;
};

extern struct head *heads;
extern void **slots;

/**
 * struct kill_subject - a kind of thing
 * @share: of 256 operations
 * @change: an operation of thread @t, at random
 * @apply: the model takes an operation over
 * @happened: did the operation that was under way happen? Also finishes or drops what may be there in part
 * @check: what the next process finds of thread @t's, which it adds to @sums; and makes it ready for use
 */
struct kill_subject {
	unsigned int share;
	void (*change)(unsigned int t, uint64_t r);
	void (*apply)(unsigned int t, const struct flight *f);
	bool (*happened)(unsigned int t, const struct flight *f);
	void (*check)(unsigned int t, struct sums *sums);
};

extern const struct kill_subject kill_lists, kill_pages, kill_areas, kill_singles, kill_caches,
	kill_names, kill_arrays, kill_blocks, kill_sessions;

void give_up(int line, const char *cond, const char *format, ...)
	__attribute__((format(printf, 3, 4), noreturn));

#define CHECK(cond, ...)                                                                           \
	do {                                                                                       \
		if (!(cond))                                                                       \
			give_up(__LINE__, #cond, __VA_ARGS__);                                     \
	} while (0)

void phase(struct flight *f, int value);
/* The operation of thread @t is done, or (not @ok) was refused. */
void done(unsigned int t, bool ok);
/* A number that never comes again. */
__u64 next_seq(unsigned int t);
/* Of a thread's thing of a name: "sub1-0". */
void name_of(char *name, const char *what, unsigned int t, unsigned int i);

void lists_open(void);
void caches_open(void);
/* Before the first process is there. */
void sessions_prepare(void);
void sessions_open(void);

#endif
