/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A client of the memcached text protocol that knows what it was promised.
 *
 * The demo and the benchmarks use it against build/cached, and against any other server
 * of that protocol; its loader and prober speak Redis' as well.
 *
 * Words:
 *	index	a key's number; its text is made from it
 *	version	each write of a key carries the next; 0 is "never written"
 *	acknowledged	the server answered the write
 *	maybe	a write whose connection broke before the answer: done or not done
 *	still	a key that is never written after loading: anybody may check it
 *	lost	an acknowledged write is gone, or an older one is there
 *	wrong	a value that no write of that key put there, or mixed-up bytes
 *	blackout	the longest time without an answer around an event
 *
 * All sockets are 127.0.0.1. Times are nanoseconds of CLOCK_MONOTONIC.
 */
#ifndef KHO_BENCH_LOAD_H
#define KHO_BENCH_LOAD_H

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LOAD_NS 1000000000ULL
#define LOAD_MS 1000000ULL
#define LOAD_US 1000ULL

uint64_t load_now(void);
void load_sleep_until(uint64_t when);
void load_sleep(uint64_t ns);

/* Spread numbers: the same input gives the same output. */
uint64_t load_mix(uint64_t x);

/* ---- keys and values: value.c ---------------------------------------------- */

#define LOAD_KEY_MAX 24
#define LOAD_VALUE_MIN 32 /* a value's own description: struct value_head */

/* Values are @min to @max bytes, the length depends on index and version. */
struct load_shape {
	uint32_t min;
	uint32_t max;
};

/* Return: the key's length; it is NUL-terminated too. */
size_t load_key(char key[LOAD_KEY_MAX], uint64_t index);
size_t load_value_len(const struct load_shape *shape, uint64_t index, uint32_t version);
/* @len at least LOAD_VALUE_MIN. */
void load_value_make(void *buf, size_t len, uint64_t index, uint32_t version);
/* Return: whether these are the bytes of some write of @index; @version says which. */
bool load_value_check(const void *buf, size_t len, uint64_t index, uint32_t *version);

/* ---- one connection: client.c ------------------------------------------------ */

enum load_proto {
	LOAD_MEMCACHED,
	LOAD_REDIS,
};

enum load_kind {
	LOAD_GET,
	LOAD_SET,
	LOAD_DELETE,
};

struct load_op {
	uint64_t index;
	uint64_t sent;
	uint32_t version; /* of a write */
	uint32_t floor; /* of a read: for the caller */
	uint8_t kind;
};

enum load_status {
	LOAD_OK, /* stored, deleted, or a value */
	LOAD_MISS, /* no such key */
	LOAD_ERROR, /* the server refused */
};

struct load_reply {
	enum load_status status;
	const char *value; /* LOAD_GET and LOAD_OK; not NUL-terminated */
	size_t len;
};

struct load_conn;
typedef void (*load_reply_fn)(struct load_conn *conn, const struct load_op *op,
			      const struct load_reply *reply);

struct load_buf {
	char *bytes;
	size_t start;
	size_t end;
	size_t size;
};

/* Answers come in the order of requests. */
struct load_conn {
	int fd; /* -1: closed */
	int epfd;
	enum load_proto proto;
	const struct load_shape *shape;
	load_reply_fn reply;
	void *owner;
	unsigned int number; /* for the owner */
	bool connecting;
	bool wants_write;
	struct load_buf in;
	struct load_buf out;
	struct load_op *ops; /* ring of nr_max */
	unsigned int nr_max;
	unsigned int head;
	unsigned int nr; /* requests without an answer */
};

/* Return: 127.0.0.1:@port. */
struct sockaddr_in load_addr(unsigned int port);

/**
 * load_conn_init() - a closed connection
 * @pipeline: most requests without an answer
 *
 * Return: 0 or -ENOMEM.
 */
int load_conn_init(struct load_conn *conn, int epfd, unsigned int pipeline,
		   const struct load_shape *shape, load_reply_fn reply, void *owner);
void load_conn_free(struct load_conn *conn);

/* Start to connect. Its epoll data is the conn. Return: 0 or negative errno. */
int load_conn_open(struct load_conn *conn, const struct sockaddr_in *addr);
/* Requests without an answer stay in the ring for load_conn_forget(). */
void load_conn_close(struct load_conn *conn);
/* Take the oldest request without an answer. Return: false if there is none. */
bool load_conn_forget(struct load_conn *conn, struct load_op *op);

/* Queue a request. Return: 0, -ENOBUFS when the pipeline is full, -ENOMEM. */
int load_conn_add(struct load_conn *conn, const struct load_op *op);
/* Send what is queued, as far as it goes. Return: 0 or negative errno: broken. */
int load_conn_flush(struct load_conn *conn);
/* What epoll said. Return: 0, or negative errno: broken (-EPIPE: closed by the server). */
int load_conn_event(struct load_conn *conn, uint32_t events);

/* Bytes of a request and of the answer that a hit gives. Return: the length. */
size_t load_request(char *buf, size_t size, enum load_proto proto, const struct load_op *op,
		    const struct load_shape *shape);
size_t load_answer(char *buf, size_t size, enum load_proto proto, const struct load_op *op,
		   const struct load_shape *shape);

/* ---- filling a server: fill.c -------------------------------------------------- */

struct load_fill {
	unsigned int port;
	enum load_proto proto;
	uint64_t first; /* index */
	uint64_t nr;
	struct load_shape shape;
	void (*progress)(void *ctx, uint64_t done, uint64_t total); /* optional */
	void *ctx;
	uint64_t bytes; /* result: keys and values */
};

/* Write version 1 of every key. Return: 0 or negative errno (-EIO: the server refused). */
int load_fill(struct load_fill *fill);

/* ---- verifying load: verify.c, model.c ------------------------------------------ */

/* What is known of one key. Versions carry LOAD_DELETED when the write is a delete. */
#define LOAD_DELETED 0x80000000u

struct load_known {
	uint32_t acked;
	uint32_t maybe; /* 0: none. There is never more than one. */
	uint32_t issued;
};

enum load_verdict {
	LOAD_GOOD,
	LOAD_LOST,
	LOAD_WRONG,
};

/* Hold an answer to a get against what is known; settles a maybe. */
enum load_verdict load_judge(struct load_known *known, uint64_t index,
			     const struct load_reply *reply);

/* Whose fault it is when a connection breaks now. */
enum load_blame {
	LOAD_BLAME_UPGRADE, /* also in quiet times */
	LOAD_BLAME_KILL,
	LOAD_NR_BLAME,
};

struct load_counts {
	atomic_ulong reads;
	atomic_ulong writes; /* acknowledged */
	atomic_ulong maybe; /* writes whose connection broke */
	atomic_ulong opened; /* short-lived connections that got their answer */
	atomic_ulong lost;
	atomic_ulong wrong;
	atomic_ulong refused; /* connections */
	atomic_ulong errors; /* answers that are errors */
	atomic_ulong stuck; /* connections given up after load_patience; dropped as well */
	atomic_ulong dropped[LOAD_NR_BLAME];
};

/* How long an answer may take before its connection is given up: 8 s. Tests shorten it. */
extern uint64_t load_patience;

struct load_verify_config {
	unsigned int port;
	uint64_t keys;
	struct load_shape shape;
	unsigned int busy;
	unsigned int idle;
	unsigned int rate; /* key operations a second, over all busy connections */
	unsigned int opens; /* short-lived connections a second */
	uint64_t seed;
};

struct load_verify;

/* The keys must have been filled. Starts its thread. Return: NULL with errno. */
struct load_verify *load_verify_start(const struct load_verify_config *config);
struct load_counts *load_verify_counts(struct load_verify *verify);
void load_verify_blame(struct load_verify *verify, enum load_blame blame);
/* Stop sending, wait for all answers. Return: false when that takes longer. */
bool load_verify_pause(struct load_verify *verify, uint64_t timeout);
void load_verify_resume(struct load_verify *verify);
/* Wait until all connections are up and answered. Return: false when it takes longer. */
bool load_verify_settle(struct load_verify *verify, uint64_t timeout);
/* Ask on every connection once more, read every key, stop. Return: 0 or -ETIMEDOUT. */
int load_verify_finish(struct load_verify *verify,
		       void (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx);
void load_verify_free(struct load_verify *verify);

/* Keys go round: one for each busy connection, then the still ones. Return: how many that is. */
unsigned int load_turn(unsigned int busy);
bool load_is_still(uint64_t index, unsigned int busy);
uint64_t load_still(uint64_t nth, uint64_t keys, unsigned int busy);

/* ---- prober: prober.c --------------------------------------------------------------- */

/*
 * A thread with a connection of its own that asks for one still key every @interval.
 * It sleeps between requests and while it waits: a spinning prober would take one of two
 * cores away from the server. A request that is late is sent at once, and only one is
 * under way, so nothing piles up while nobody answers.
 *
 * An answer counts only if all its bytes are the expected ones. A connection that breaks is
 * opened again at once.
 */
struct load_prober_config {
	unsigned int port;
	enum load_proto proto;
	uint64_t index; /* version 1 is expected */
	struct load_shape shape;
	uint64_t interval; /* 0: 50 microseconds */
	bool version; /* ask for the server's version, too: who answers? */
};

struct load_prober;

struct load_window {
	uint64_t gap; /* longest time between two answers, the second in the window */
	uint64_t
		change; /* between the last answer of one version and the first of another; 0: none */
	uint64_t answers;
	uint64_t bad; /* answers with other bytes */
	uint64_t breaks; /* connections broken */
	uint64_t refused;
	uint64_t stuck; /* of @breaks: given up after load_patience */
};

/* Return: NULL with errno. */
struct load_prober *load_prober_start(const struct load_prober_config *config);
void load_prober_stop(struct load_prober *prober);
/* Wait for an answer, then start to look. Return: 0 or -ETIMEDOUT. */
int load_prober_begin(struct load_prober *prober, uint64_t timeout);
/* Wait for one more answer, and tell. Return: 0 or -ETIMEDOUT. */
int load_prober_end(struct load_prober *prober, uint64_t timeout, struct load_window *window);

/* ---- figures: figures.c --------------------------------------------------------------- */

struct load_samples {
	double *v;
	size_t nr;
	size_t size;
};

void load_samples_add(struct load_samples *samples, double v);
void load_samples_free(struct load_samples *samples);
/* The smallest sample that @share (0 to 1) of all do not exceed; 0 without samples. Sorts. */
double load_quantile(struct load_samples *samples, double share);

/* Rows of a benchmark: a table on stdout, and JSON. */
struct load_report;
struct load_report *load_report_new(const char *title);
void load_report_add(struct load_report *report, const char *which, const char *subject,
		     const char *metric, const char *unit, struct load_samples *samples);
/* A row without figures, and why. */
void load_report_skip(struct load_report *report, const char *which, const char *subject,
		      const char *metric, const char *unit, const char *why);
/* Print, write to @path, whose directories are made, and free it. */
void load_report_finish(struct load_report *report, const char *path);

/* "1,234,567"; one of eight static buffers. */
const char *load_commas(uint64_t v);
/* "243 MiB", likewise. */
const char *load_bytes(uint64_t v);

/* ---- other processes: proc.c ------------------------------------------------------------- */

/* A directory of our own; ends with its contents. Return: 0 or negative errno. */
int load_tmpdir(char *path, size_t size);
void load_rmtree(const char *path);
/* Make a directory and those above it. Return: 0 or negative errno. */
int load_mkdirs(const char *path);

/* A port of 127.0.0.1 that nobody listens at. */
unsigned int load_free_port(void);
/* Wait until @pid, or anybody, answers there. Return: 0, -ETIMEDOUT, -ECHILD: @pid ended. */
int load_wait_port(unsigned int port, pid_t pid, uint64_t timeout);

/* Is nothing of it left that could hold a file or a socket open? */
bool load_is_gone(pid_t pid);
/* The end of a log, under a heading, to stderr. */
void load_show_tail(const char *file, const char *heading);

/* Start a program with stdout and stderr to @log (NULL: /dev/null). Return: pid or negative errno. */
pid_t load_spawn(char *const argv[], const char *log, const char *cwd);
/* Wait for a child. Return: its exit status, 128 + signal, or -ETIMEDOUT. */
int load_wait(pid_t pid, uint64_t timeout);
/* SIGTERM, and after @timeout SIGKILL, to a child of ours, and wait. */
void load_end(pid_t pid, uint64_t timeout);
/* Run to the end; what it prints goes to @out. Return: as load_wait(). */
int load_run(char *const argv[], char *out, size_t size, uint64_t timeout);

/* A number of a flat JSON text: the first "@name": N. Return: -1 if there is none. */
long long load_json_number(const char *text, const char *name);

/* utime + stime of a process, nanoseconds; 0 if it is gone. */
uint64_t load_cpu(pid_t pid);
/* Value of a line of /proc/meminfo in bytes. */
uint64_t load_meminfo(const char *name);

#endif
