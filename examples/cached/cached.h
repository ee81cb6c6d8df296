/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What the parts of cached know of each other. All of it is private to the process:
 * what outlives it is in layout.h.
 *
 *	worker	a thread that serves some of the connections
 *	token	the name of a connection's fd; never used twice
 */
#ifndef CACHED_H
#define CACHED_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "layout.h"
#include "proto.h"
#include "table.h"

#ifndef CACHED_VERSION
#define CACHED_VERSION "1.0.0"
#endif

/* Clients take what a server can do from the number; this is whose protocol we speak. */
#define CACHED_PROTOCOL "1.6.18-cached-" CACHED_VERSION

struct options {
	const char *listen;
	const char *port;
	const char *unix_path;
	__u64 limit;
	__u64 item_max;
	unsigned int threads;
	unsigned int conns;
	unsigned int healthy_after;
	unsigned int verbose;
	bool debug;
};

extern struct options options;

/* options.c: fills in @options; ends the program on an error, --help and --version */
void options_parse(int argc, char **argv);

/* ---- counters: stats.c ---- */

/* Stored in struct table: new ones go to the end. */
enum counter {
	CMD_GET = 0,
	CMD_SET = 1,
	CMD_FLUSH = 2,
	CMD_TOUCH = 3,
	GET_HITS = 4,
	GET_MISSES = 5,
	GET_EXPIRED = 6,
	GET_FLUSHED = 7,
	DELETE_MISSES = 8,
	DELETE_HITS = 9,
	INCR_MISSES = 10,
	INCR_HITS = 11,
	DECR_MISSES = 12,
	DECR_HITS = 13,
	CAS_MISSES = 14,
	CAS_HITS = 15,
	CAS_BADVAL = 16,
	TOUCH_HITS = 17,
	TOUCH_MISSES = 18,
	BYTES_READ = 19,
	BYTES_WRITTEN = 20,
	TOTAL_CONNS = 21,
	REJECTED_CONNS = 22,
	TOTAL_ITEMS = 23,
	EVICTIONS = 24,
	RECLAIMED = 25,
	OUT_OF_MEMORY = 26,
	COUNTERS = 27,
};

_Static_assert(COUNTERS <= NR_COUNTERS, "struct table has no room for the counters");

struct worker;

/* All workers are parked: store what is private. */
void stats_park(void);
/* Somebody serves again: what was stored is no longer right. */
void stats_unpark(void);
/* Take over what was stored; our own counters, if we had served before a roll-back, go on. */
void stats_attach(bool after_rollback);
void stats_reset(void);
void stats_command(struct worker *w, struct span args);

/* ---- one worker ---- */

/* Output of one event: an object that the journal has. */
struct out {
	char *buf;
	size_t len;
	size_t cap;
	size_t sent;
	__u64 pos; /* in the connection's output, of the first byte */
	struct journal *journal;
};

/* Return: room for @size more bytes; NULL if there is no memory. */
char *out_room(struct out *out, size_t size);
void out_add(struct out *out, const char *text, size_t len);
void out_line(struct out *out, const char *line);
void out_format(struct out *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define OUT_FLUSH (64 << 10) /* write when there is this much */
#define OUT_EVENT (4 << 20) /* let others have their turn after this much */

/**
 * struct event - one event of one connection
 * @in, @nin: input that is not done
 * @base: position of the journal's first byte of input
 * @after: where in it the next command begins, while one is carried out
 * @item: value being received, of which @got bytes are there; from @item_pos of the input on
 * @owned: that item, complete, until the table has it or it is freed
 * @owner: the word that @item or @owned hangs on: the journal's or the state's
 * @linked: the table has it
 * @answered: bytes of the answer to the command that is carried out
 * @sent: bytes written since the event began
 * @dirty: more has changed than a record's @done says
 */
struct event {
	char *in;
	size_t nin;
	__u64 base;
	size_t after;
	struct item *item;
	struct item *owned;
	__u64 *owner;
	__u64 item_pos;
	__u64 swallow;
	size_t answered;
	__u32 got;
	bool linked;
	bool dirty;
	struct command store;
	size_t sent;
	bool closing;
	bool stalled; /* output first: do not process more */
};

struct conn;

struct worker {
	unsigned int id;
	int epoll;
	int wake;
	pthread_t thread;
	__u32 now; /* seconds of the epoch, at the event */
	__u64 rounds;
	struct tally tally;
	__u64 cas, cas_end;
	char *in; /* the journal's */
	struct journal *journal;
	struct out out;
	struct event event;
	struct conn *conn;
	__u64 counters[COUNTERS];
};

extern struct worker workers[MAX_WORKERS + 2];
#define ACCEPTOR (&workers[MAX_WORKERS]) /* the main thread */
#define KEEPER (&workers[MAX_WORKERS + 1]) /* housekeeping */
#define NR_THREADS (MAX_WORKERS + 2)

static inline void count(struct worker *w, enum counter counter, __u64 by)
{
	__atomic_store_n(&w->counters[counter], w->counters[counter] + by, __ATOMIC_RELAXED);
}

/* worker.c */
int workers_init(void); /* epolls, so that connections may be added */
int workers_start(void); /* threads, which wait for workers_go() */
void workers_go(void);
void workers_stop(void);

/* Rounds that workers had gone when all were seen to have gone one for the last time. */
struct rounds {
	__u64 before[MAX_WORKERS];
};

/* Since the last call with @rounds that returned true? */
bool workers_went_round(struct rounds *rounds);

/* ---- items: item.c ---- */

/* A reserved item with room for a value of @nbytes; old ones are evicted for it. NULL: no memory. */
struct item *item_new(struct worker *w, struct span key, __u32 flags, __u32 exptime, __u32 nbytes);
bool item_fits(size_t nkey, __u64 nbytes);
enum gone { ITEM_THERE = 0, ITEM_EXPIRED, ITEM_FLUSHED, ITEM_ABSENT };
enum gone item_gone(const struct worker *w, const struct item *item);

static inline char *item_value(struct item *item)
{
	return item->data + item->nkey;
}

/* Lock the place of a key; an item that has expired or was flushed is deleted on the way. */
enum gone item_lock(struct worker *w, struct place *place, struct span key);
/* Give @item its id and make it the one; @answer is the command's, or NULL. Return: false: no memory, @item is dropped. */
bool item_link(struct worker *w, struct place *place, struct item *item, const char *answer);
void item_unlink(struct worker *w, struct place *place);
/* Delete what a command deletes. */
void item_delete(struct worker *w, struct place *place, const char *answer);
/* A complete item that is not wanted: free it, or leave that to whoever received it. */
void item_drop(struct worker *w, struct item *item);
void item_use(struct item *item);

/* As sent by a client: seconds from now, or of the epoch; 0 = never. */
__u32 item_exptime(const struct worker *w, __s32 exptime);
/* Flush from second @at on; 0 = now. */
void item_flush_all(struct worker *w, __u32 at, const char *answer);
void items_attach(void);

/* ---- memory limit: clock.c ---- */

/* Make room for @bytes. */
void clock_make_room(struct worker *w, size_t bytes);
/* The arena is full: evict at least one item. Return: false if there is none. */
bool clock_evict_any(struct worker *w);
void clock_tell(struct worker *w, bool now); /* w->tally to the sums */
void clock_set(__u64 used, __u64 items);
__u64 clock_used(void); /* but for what workers still keep to themselves */
__u64 clock_items(void);
struct tally clock_exact(void); /* with it */
/* Housekeeping: the thread that doubles the table and counts items. */
int clock_start(void);
void clock_stop(void);
void clock_reset(void);

/* ---- commands.c ---- */

/* Is an item of this size allowed? If not, the answer is given. */
bool command_admit(struct worker *w, const struct command *cmd);
/* For a set that cannot be done at all: do not leave the old value. */
void command_no_memory(struct worker *w, const struct command *cmd);
/* @item: reserved and complete; taken over. */
void command_store(struct worker *w, const struct command *cmd, struct item *item);
/* Return: false if a get's remaining keys (left in @cmd->rest) have to wait for w->out to drain. */
bool command_get(struct worker *w, struct command *cmd);
void command_run(struct worker *w, struct command *cmd);

/* ---- connections: conn.c, conns.c ---- */

/* conns.c guards @hash_next; all else belongs to the worker. */
struct conn {
	__u64 token;
	__u64 in_total; /* bytes read from and given to the socket, ever, if @known */
	__u64 out_total;
	int fd;
	int slot; /* of its state, or -1 */
	bool known;
	bool writing; /* waits for EPOLLOUT */
	struct conn_state *state; /* in the arena; NULL = nothing is left over */
	struct worker *worker;
	struct conn *hash_next;
};

void conn_event(struct worker *w, struct conn *conn, __u32 events);
/* Write as much of w->out as goes. Return: false if some is left. */
bool conn_flush(struct worker *w);
void conn_want(struct conn *conn, bool writing);

int conns_make(void **slot);
/* Before the arena is ours: what conns_attach() needs of private memory. Return: 0, -ENOMEM. */
int conns_prepare(void);
int conns_attach(struct conn_table *table, bool after_rollback, bool after_crash);
int conns_adopt(__u64 token, int fd);
void conns_forget(__u64 token);
int conns_adopt_all(void);
void conns_accept(int fd);
/* Close without leaving anything. */
void conns_close(struct conn *conn);
/* Replace a connection's state. @state: reserved, or NULL. Return: false: no memory, nothing done. */
bool conns_store(struct conn *conn, struct conn_state *state);
unsigned int conns_count(void);
/* Live objects of root "conns". */
__u64 conns_objects(void);

/* In probation a hand-over may be taken back. It ends when the predecessor has gone, which is later
 * than when we said that we are healthy. */
bool conns_probation(void);
void conns_set_probation(bool on);

/* ---- journal.c: what a worker does, so that the next program goes on in the middle of it ---- */

/* Find or make the journals of our workers. Return: 0, -ENOMEM. */
int journals_attach(__u64 *journals);
/* An event of w->conn begins; w->event says how it is. From here on its state is out of date. */
void journal_open(struct worker *w);
/* It ends, and what the connection's state says holds. */
void journal_close(struct worker *w);
/* All up to w->event.in is done, and its answers are in w->out. */
void journal_commit(struct worker *w);
/* The same in the middle of a get: up to the keys that are left, @rest. */
void journal_commit_get(struct worker *w, const struct command *cmd);

/*
 * The one store that is a command's effect: between these two, with the lock held that nobody else
 * changes @slot without. When @value stands there, the command up to w->event.after is done, and @answer, or NULL, given.
 */
void journal_intend(struct worker *w, __u64 *slot, __u64 value, const char *answer);
void journal_done(struct worker *w);
/* It was not stored. */
void journal_undo(struct worker *w);

/* The item that came in, w->event.owned: the table has it, or it is freed. After the commit. */
void journal_release(struct worker *w);

/* What a dead worker's journal says of its connection. Returns the record in force, or NULL. */
struct record *journal_read(struct journal *journal);
/* "get ", "gat 10 ": at most PREFIX_MAX bytes. Return: how many. */
#define PREFIX_MAX 24
size_t journal_prefix(const struct record *record, char *text);

/* ---- listen.c ---- */

int listen_start(void); /* Return: number of sockets, or negative */
int listen_fd(unsigned int i);

#define TOKEN_LISTEN 1ULL /* and the next 15 */
#define LISTEN_MAX 16
#define TOKEN_CONN 65536ULL

/* ---- survive.c: all that cached does to outlive itself ---- */

int survive_start(void);
int survive_ready(void);
void survive_healthy(void);
/* In probation: show that we live, at most every ALIVE_MS. */
#define ALIVE_MS 50
void survive_alive(void);
void survive_stop(void);

/* Numbers that no program gives twice. @limit is in the arena, the rest is private. */
struct ids {
	__u64 *limit;
	__u64 next;
};

void ids_attach(struct ids *ids, __u64 *limit);
/* Return: the first of @nr numbers. The caller serialises. */
__u64 ids_take(struct ids *ids, unsigned int nr);

#endif
