/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The text protocol's command lines: pure functions over a buffer.
 */
#ifndef CACHED_PROTO_H
#define CACHED_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <kho/types.h>

/* A line this long without an end is only allowed to be a get of many keys. */
#define LINE_MAX_BYTES 2048

/* Verbs are stored in struct conn_state: new ones go to the end. */
enum verb {
	VERB_ERROR = 0,
	VERB_SET = 1,
	VERB_ADD = 2,
	VERB_REPLACE = 3,
	VERB_APPEND = 4,
	VERB_PREPEND = 5,
	VERB_CAS = 6,
	VERB_GET = 7,
	VERB_GETS = 8,
	VERB_GAT = 9,
	VERB_GATS = 10,
	VERB_DELETE = 11,
	VERB_INCR = 12,
	VERB_DECR = 13,
	VERB_TOUCH = 14,
	VERB_FLUSH_ALL = 15,
	VERB_STATS = 16,
	VERB_VERSION = 17,
	VERB_VERBOSITY = 18,
	VERB_QUIT = 19,
	VERB_CACHE_MEMLIMIT = 20,
};

struct span {
	const char *at;
	size_t len;
};

/**
 * struct command - one command line
 * @verb: what to do; VERB_ERROR: answer @error (unless @noreply). Verbs up to VERB_CAS
 *	are followed by @nbytes of data and "\r\n".
 * @noreply: no answer is wanted
 * @error: a whole line with its end
 * @key: of all commands that have one key
 * @rest: the keys of VERB_GET to VERB_GATS, the arguments of VERB_STATS
 * @flags, @exptime, @nbytes, @cas, @delta: as sent; @exptime also is flush_all's delay
 * @has_exptime: flush_all had an argument
 */
struct command {
	enum verb verb;
	bool noreply;
	bool has_exptime;
	const char *error;
	struct span key;
	struct span rest;
	__u32 flags;
	__s32 exptime;
	__u32 nbytes;
	__u64 cas;
	__u64 delta;
};

/**
 * proto_parse() - read one command line
 * @buf, @len: input; any bytes
 * @cmd: filled in if a line is there; points into @buf
 *
 * Return: bytes of the line with its end, 0 if its end is not there yet.
 */
size_t proto_parse(const char *buf, size_t len, struct command *cmd);

/**
 * proto_split() - do a part of a line that is too long to wait for
 * @buf, @len: input without a line's end
 * @cmd: VERB_GET to VERB_GATS with all keys but the last, which may go on
 * @prefix: bytes of verb and exptime with which the rest of the line has to begin
 *
 * Return: where @cmd's keys end, or 0: not a line that may be split.
 */
size_t proto_split(const char *buf, size_t len, struct command *cmd, size_t *prefix);

/* Take the next word off @rest. Return: false at the end. */
bool proto_word(struct span *rest, struct span *word);

/* A decimal number of a whole span; as strtoull() has it, but negative ones are refused. */
bool proto_u64(const char *at, size_t len, __u64 *value);

/* Write @value in decimal. Return: the end; at most 20 bytes. */
char *proto_decimal(char *to, __u64 value);

#endif
