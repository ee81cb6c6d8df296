/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The text protocol's command lines.
 *
 * What is an error, and in which words, follows memcached 1.6: clients compare them.
 */
#include <stdint.h>
#include <string.h>

#include "proto.h"

/* Words that are looked at; of longer lines only the number counts, up to memcached's 23. */
#define NR_WORDS 8
#define WORDS_MAX 23

#define BAD_FORMAT "CLIENT_ERROR bad command line format\r\n"
#define BAD_EXPTIME "CLIENT_ERROR invalid exptime argument\r\n"

struct line {
	struct span word[NR_WORDS];
	unsigned int nr;
};

bool proto_word(struct span *rest, struct span *word)
{
	const char *at = rest->at, *end = rest->at + rest->len;

	while (at < end && *at == ' ')
		at++;
	word->at = at;
	while (at < end && *at != ' ')
		at++;
	word->len = at - word->at;
	rest->at = at;
	rest->len = end - at;
	return word->len > 0;
}

static void words(struct line *line, struct span rest)
{
	struct span word;

	line->nr = 0;
	while (line->nr < WORDS_MAX && proto_word(&rest, &word)) {
		if (line->nr < NR_WORDS)
			line->word[line->nr] = word;
		line->nr++;
	}
}

static bool is(const struct span *word, const char *text, size_t len)
{
	return word->len == len && memcmp(word->at, text, len) == 0;
}

#define IS(word, text) is(word, text, sizeof(text) - 1)

/* White space before and after is let through, as by strtol() and its users. */
static bool number(const char *at, size_t len, bool *negative, __u64 *magnitude, bool *overflow)
{
	const char *end = at + len;
	__u64 value = 0;

	*negative = false;
	*overflow = false;
	while (at < end && (*at == ' ' || (*at >= '\t' && *at <= '\r')))
		at++;
	if (at < end && (*at == '-' || *at == '+'))
		*negative = *at++ == '-';
	if (at == end || *at < '0' || *at > '9')
		return false;
	for (; at < end && *at >= '0' && *at <= '9'; at++) {
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (__u64)(*at - '0'), &value))
			*overflow = true;
	}
	*magnitude = value;
	return at == end || *at == ' ' || (*at >= '\t' && *at <= '\r');
}

bool proto_u64(const char *at, size_t len, __u64 *value)
{
	bool negative, overflow;

	return number(at, len, &negative, value, &overflow) && !overflow &&
	       (!negative || *value == 0);
}

/* 32 bits, of which memcached keeps the low ones of a long. */
static bool number32(const struct span *word, bool is_signed, __u32 *value)
{
	bool negative, overflow;
	__u64 magnitude;

	if (!number(word->at, word->len, &negative, &magnitude, &overflow) || overflow)
		return false;
	if (is_signed && magnitude > INT64_MAX)
		return false;
	if (negative && !is_signed && magnitude)
		return false;
	*value = negative ? -(__u32)magnitude : (__u32)magnitude;
	return true;
}

char *proto_decimal(char *to, __u64 value)
{
	char digits[20];
	unsigned int n = 0;

	do {
		digits[n++] = '0' + value % 10;
		value /= 10;
	} while (value);
	while (n)
		*to++ = digits[--n];
	return to;
}

static void fail(struct command *cmd, const char *error)
{
	cmd->verb = VERB_ERROR;
	cmd->error = error;
}

static void unknown(struct command *cmd)
{
	cmd->noreply = false;
	fail(cmd, "ERROR\r\n");
}

/* The last word, wherever it is: memcached looks there before it looks at any other. */
static void find_noreply(struct command *cmd, const struct line *line)
{
	cmd->noreply = line->nr <= NR_WORDS && IS(&line->word[line->nr - 1], "noreply");
}

static bool take_key(struct command *cmd, const struct line *line)
{
	cmd->key = line->word[1];
	return cmd->key.len <= 250;
}

/* verb key flags exptime nbytes [cas] [noreply] */
static void parse_store(struct command *cmd, const struct line *line, enum verb verb)
{
	unsigned int need = verb == VERB_CAS ? 6 : 5;
	__u32 nbytes;

	if (line->nr != need && line->nr != need + 1) {
		unknown(cmd);
		return;
	}
	cmd->verb = verb;
	find_noreply(cmd, line);
	if (!take_key(cmd, line) || !number32(&line->word[2], false, &cmd->flags) ||
	    !number32(&line->word[3], true, (__u32 *)&cmd->exptime) ||
	    !number32(&line->word[4], true, &nbytes) || nbytes > INT32_MAX - 2 ||
	    (verb == VERB_CAS && !proto_u64(line->word[5].at, line->word[5].len, &cmd->cas)))
		fail(cmd, BAD_FORMAT);
	else
		cmd->nbytes = nbytes;
}

/* delete key [0] [noreply] */
static void parse_delete(struct command *cmd, const struct line *line)
{
	bool zero;

	if (line->nr < 2 || line->nr > 4) {
		unknown(cmd);
		return;
	}
	cmd->verb = VERB_DELETE;
	if (line->nr > 2) {
		zero = IS(&line->word[2], "0");
		find_noreply(cmd, line);
		if (!(line->nr == 3 && (zero || cmd->noreply)) &&
		    !(line->nr == 4 && zero && cmd->noreply)) {
			fail(cmd, "CLIENT_ERROR bad command line format.  "
				  "Usage: delete <key> [noreply]\r\n");
			return;
		}
	}
	if (!take_key(cmd, line))
		fail(cmd, BAD_FORMAT);
}

/* incr key delta [noreply], touch key exptime [noreply] */
static void parse_value(struct command *cmd, const struct line *line, enum verb verb)
{
	if (line->nr != 3 && line->nr != 4) {
		unknown(cmd);
		return;
	}
	cmd->verb = verb;
	find_noreply(cmd, line);
	if (!take_key(cmd, line))
		fail(cmd, BAD_FORMAT);
	else if (verb == VERB_TOUCH && !number32(&line->word[2], true, (__u32 *)&cmd->exptime))
		fail(cmd, BAD_EXPTIME);
	else if (verb != VERB_TOUCH && !proto_u64(line->word[2].at, line->word[2].len, &cmd->delta))
		fail(cmd, "CLIENT_ERROR invalid numeric delta argument\r\n");
}

/* get key*, gat exptime key* */
static void parse_get(struct command *cmd, struct span rest)
{
	struct span word, keys;

	proto_word(&rest, &word);
	cmd->verb = IS(&word, "get")	? VERB_GET
		    : IS(&word, "gets") ? VERB_GETS
		    : IS(&word, "gat")	? VERB_GAT
		    : IS(&word, "gats") ? VERB_GATS
					: VERB_ERROR;
	if (cmd->verb == VERB_ERROR) {
		unknown(cmd);
		return;
	}
	if (cmd->verb >= VERB_GAT) {
		if (!proto_word(&rest, &word)) {
			unknown(cmd);
			return;
		}
		cmd->has_exptime = number32(&word, true, (__u32 *)&cmd->exptime);
	}
	keys = rest;
	if (cmd->verb >= VERB_GAT && !cmd->has_exptime)
		fail(cmd, BAD_EXPTIME);
	else if (cmd->verb < VERB_GAT && !proto_word(&keys, &word))
		unknown(cmd);
	cmd->rest = rest;
}

/* flush_all [delay] [noreply], verbosity level [noreply], cache_memlimit megabytes [noreply] */
static void parse_setting(struct command *cmd, const struct line *line, enum verb verb)
{
	unsigned int least = verb == VERB_FLUSH_ALL ? 1 : 2;

	if (line->nr < least || line->nr > 3) {
		unknown(cmd);
		return;
	}
	cmd->verb = verb;
	find_noreply(cmd, line);
	if (line->nr == (cmd->noreply ? 2 : 1))
		return;
	cmd->has_exptime = true;
	if (verb == VERB_FLUSH_ALL) {
		if (!number32(&line->word[1], true, (__u32 *)&cmd->exptime))
			fail(cmd, BAD_EXPTIME);
	} else if (!number32(&line->word[1], false, &cmd->flags)) {
		fail(cmd, verb == VERB_VERBOSITY ? BAD_FORMAT : "ERROR\r\n");
	}
}

static void parse_other(struct command *cmd, const struct line *line, struct span rest)
{
	const struct span *verb = &line->word[0];

	if (IS(verb, "flush_all")) {
		parse_setting(cmd, line, VERB_FLUSH_ALL);
	} else if (IS(verb, "verbosity")) {
		parse_setting(cmd, line, VERB_VERBOSITY);
	} else if (IS(verb, "cache_memlimit")) {
		parse_setting(cmd, line, VERB_CACHE_MEMLIMIT);
	} else if (IS(verb, "stats")) {
		struct span word;

		cmd->verb = VERB_STATS;
		proto_word(&rest, &word);
		cmd->rest = rest;
	} else if (IS(verb, "version")) {
		cmd->verb = VERB_VERSION;
	} else if (IS(verb, "quit")) {
		cmd->verb = VERB_QUIT;
	} else if (line->nr <= NR_WORDS && line->word[line->nr - 1].len >= 5 &&
		   memcmp(line->word[line->nr - 1].at, "HTTP/", 5) == 0) {
		cmd->verb = VERB_QUIT; /* a browser, or somebody who uses one against us */
	} else {
		unknown(cmd);
	}
}

static void parse_line(struct command *cmd, struct span rest)
{
	static const struct {
		const char *name;
		enum verb verb;
	} stores[] = {{"set", VERB_SET},       {"add", VERB_ADD},	  {"replace", VERB_REPLACE},
		      {"append", VERB_APPEND}, {"prepend", VERB_PREPEND}, {"cas", VERB_CAS}};
	const struct span *verb;
	struct line line;
	unsigned int i;

	words(&line, rest);
	verb = &line.word[0];
	if (!line.nr || verb->len < 2) {
		unknown(cmd);
		return;
	}
	for (i = 0; i < sizeof(stores) / sizeof(stores[0]); i++) {
		if (is(verb, stores[i].name, strlen(stores[i].name))) {
			parse_store(cmd, &line, stores[i].verb);
			return;
		}
	}
	if (IS(verb, "delete"))
		parse_delete(cmd, &line);
	else if (IS(verb, "incr"))
		parse_value(cmd, &line, VERB_INCR);
	else if (IS(verb, "decr"))
		parse_value(cmd, &line, VERB_DECR);
	else if (IS(verb, "touch"))
		parse_value(cmd, &line, VERB_TOUCH);
	else
		parse_other(cmd, &line, rest);
}

size_t proto_parse(const char *buf, size_t len, struct command *cmd)
{
	const char *end = memchr(buf, '\n', len);
	struct span rest = {buf, 0};

	if (!end)
		return 0;
	memset(cmd, 0, sizeof(*cmd));
	rest.len = end - buf;
	if (rest.len && end[-1] == '\r')
		rest.len--;
	while (rest.len && *rest.at == ' ') {
		rest.at++;
		rest.len--;
	}
	if (rest.len && rest.at[0] == 'g')
		parse_get(cmd, rest);
	else
		parse_line(cmd, rest);
	return end + 1 - buf;
}

size_t proto_split(const char *buf, size_t len, struct command *cmd, size_t *prefix)
{
	struct span rest = {buf, len};
	const char *last = buf + len;

	memset(cmd, 0, sizeof(*cmd));
	while (last > buf && last[-1] == ' ')
		last--;
	while (last > buf && last[-1] != ' ')
		last--;
	/* The last key stays for the next time, so that there is always one. */
	rest.len = last - buf;
	while (rest.len && *rest.at == ' ') {
		rest.at++;
		rest.len--;
	}
	if (!rest.len || rest.at[0] != 'g' || rest.at - buf > 100)
		return 0;
	parse_get(cmd, rest);
	if (cmd->verb == VERB_ERROR)
		return 0;
	*prefix = cmd->rest.at - buf;
	return last - buf;
}
