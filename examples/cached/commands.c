/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What the commands do. Each finds its key's place, which locks it, makes the new item, puts it
 * there in one step, and answers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kho/host.h>

#include "cached.h"

#define NO_MEMORY "SERVER_ERROR out of memory storing object\r\n"
#define TOO_LARGE "SERVER_ERROR object too large for cache\r\n"
#define STORED "STORED\r\n"
#define BAD_FORMAT "CLIENT_ERROR bad command line format\r\n"
#define DIGITS 20 /* of the largest number */

/* @line: NULL: it was given in the step that was the command's effect. */
static void answer(struct worker *w, const struct command *cmd, const char *line)
{
	if (line && !cmd->noreply)
		out_line(&w->out, line);
}

/* What goes with that step. */
static const char *wanted(const struct command *cmd, const char *line)
{
	return cmd->noreply ? NULL : line;
}

/* ---- storing ---- */

void command_no_memory(struct worker *w, const struct command *cmd)
{
	const char *line = item_fits(cmd->key.len, cmd->nbytes) ? NO_MEMORY : TOO_LARGE;
	struct place place;

	if (cmd->verb == VERB_SET) {
		item_lock(w, &place, cmd->key);
		if (place.item) {
			item_delete(w, &place, wanted(cmd, line));
			line = NULL;
		}
		table_unlock(&place);
	}
	answer(w, cmd, line);
}

static const char *store(struct worker *w, struct place *place, const struct command *cmd,
			 struct item *item)
{
	const struct item *old = place->item;
	const char *refusal = NULL;

	if (cmd->verb == VERB_CAS) {
		if (!old) {
			count(w, CAS_MISSES, 1);
			refusal = "NOT_FOUND\r\n";
		} else if (old->cas != cmd->cas) {
			count(w, CAS_BADVAL, 1);
			refusal = "EXISTS\r\n";
		} else {
			count(w, CAS_HITS, 1);
		}
	} else if (cmd->verb == VERB_ADD ? old != NULL : cmd->verb == VERB_REPLACE && !old) {
		refusal = "NOT_STORED\r\n";
	}
	if (refusal) {
		item_drop(w, item);
		return refusal;
	}
	return item_link(w, place, item, wanted(cmd, STORED)) ? NULL : NO_MEMORY;
}

/* Return: an item with room for both values, or NULL and an answer. @place is locked if there is one. */
static struct item *joined(struct worker *w, struct place *place, const struct command *cmd,
			   const struct item *more, const char **refusal)
{
	struct item *item = NULL;
	__u64 nbytes = 0;

	for (;;) {
		item_lock(w, place, cmd->key);
		if (!place->item) {
			*refusal = "NOT_STORED\r\n";
			break;
		}
		if (item && nbytes == (__u64)place->item->nbytes + more->nbytes)
			return item;
		nbytes = (__u64)place->item->nbytes + more->nbytes;
		table_unlock(place);
		kho_free(item);
		if (!item_fits(cmd->key.len, nbytes)) {
			*refusal = TOO_LARGE;
			return NULL;
		}
		item = item_new(w, cmd->key, 0, 0, nbytes);
		if (!item) {
			*refusal = NO_MEMORY;
			return NULL;
		}
	}
	table_unlock(place);
	kho_free(item);
	return NULL;
}

static const char *append(struct worker *w, const struct command *cmd, struct item *more)
{
	struct item *item, *first, *second;
	const char *result = NULL;
	struct place place;
	char *to;

	item = joined(w, &place, cmd, more, &result);
	if (item) {
		item->flags = place.item->flags;
		item->exptime = place.item->exptime;
		first = cmd->verb == VERB_APPEND ? place.item : more;
		second = cmd->verb == VERB_APPEND ? more : place.item;
		to = item_value(item);
		memcpy(to, item_value(first), first->nbytes);
		memcpy(to + first->nbytes, item_value(second), second->nbytes);
		memcpy(to + item->nbytes, "\r\n", 2);
		result = item_link(w, &place, item, wanted(cmd, STORED)) ? NULL : NO_MEMORY;
		table_unlock(&place);
	}
	item_drop(w, more);
	return result;
}

void command_store(struct worker *w, const struct command *cmd, struct item *item)
{
	const char *result;
	struct place place;

	count(w, CMD_SET, 1);
	if (memcmp(item_value(item) + item->nbytes, "\r\n", 2)) {
		item_drop(w, item);
		answer(w, cmd, "CLIENT_ERROR bad data chunk\r\n");
		return;
	}
	if (cmd->verb == VERB_APPEND || cmd->verb == VERB_PREPEND) {
		result = append(w, cmd, item);
	} else {
		item_lock(w, &place, cmd->key);
		result = store(w, &place, cmd, item);
		table_unlock(&place);
	}
	answer(w, cmd, result);
}

/* ---- get, gets, gat, gats ---- */

static char *put_value(char *to, struct item *item, bool with_cas)
{
	memcpy(to, "VALUE ", 6);
	to += 6;
	memcpy(to, item->data, item->nkey);
	to += item->nkey;
	*to++ = ' ';
	to = proto_decimal(to, item->flags);
	*to++ = ' ';
	to = proto_decimal(to, item->nbytes);
	if (with_cas) {
		*to++ = ' ';
		to = proto_decimal(to, item->cas);
	}
	memcpy(to, "\r\n", 2);
	to += 2;
	memcpy(to, item_value(item), item->nbytes + 2);
	return to + item->nbytes + 2;
}

static void count_get(struct worker *w, const struct command *cmd, enum gone gone)
{
	bool touch = cmd->verb >= VERB_GAT;

	count(w, CMD_GET, 1);
	if (touch)
		count(w, CMD_TOUCH, 1);
	if (gone == ITEM_THERE) {
		count(w, GET_HITS, 1);
		if (touch)
			count(w, TOUCH_HITS, 1);
		return;
	}
	count(w, GET_MISSES, 1);
	if (touch)
		count(w, TOUCH_MISSES, 1);
	if (gone == ITEM_EXPIRED)
		count(w, GET_EXPIRED, 1);
	if (gone == ITEM_FLUSHED)
		count(w, GET_FLUSHED, 1);
}

/* Return: false if there is no memory for the answer. */
static bool get_key(struct worker *w, const struct command *cmd, struct span key)
{
	const size_t head = 6 + KEY_MAX + 3 * (DIGITS + 1) + 4;
	struct place place;
	enum gone gone;
	size_t need = 0;
	char *to;

	for (;;) {
		gone = item_lock(w, &place, key);
		if (!place.item)
			break;
		need = head + place.item->nbytes;
		if (w->out.cap - w->out.len >= need) {
			to = w->out.buf + w->out.len;
			w->out.len += put_value(to, place.item,
						cmd->verb == VERB_GETS || cmd->verb == VERB_GATS) -
				      to;
			item_use(place.item);
			if (cmd->verb >= VERB_GAT)
				__atomic_store_n(&place.item->exptime,
						 item_exptime(w, cmd->exptime), __ATOMIC_RELEASE);
			break;
		}
		table_unlock(&place);
		if (!out_room(&w->out, need))
			return false;
	}
	table_unlock(&place);
	count_get(w, cmd, gone);
	return true;
}

/* The answer to a get is an error alone, unless some of it is on its way already. */
static bool bad_get(struct worker *w, struct command *cmd, size_t begin, size_t sent)
{
	if (w->event.sent == sent)
		w->out.len = begin;
	out_line(&w->out, BAD_FORMAT);
	cmd->verb = VERB_ERROR;
	return true;
}

static bool keys_left(const struct command *cmd)
{
	struct span rest = cmd->rest, key;

	return proto_word(&rest, &key);
}

bool command_get(struct worker *w, struct command *cmd)
{
	size_t begin = w->out.len, sent = w->event.sent;
	struct span key;

	while (proto_word(&cmd->rest, &key)) {
		if (key.len > KEY_MAX)
			return bad_get(w, cmd, begin, sent);
		if (!get_key(w, cmd, key)) {
			out_line(&w->out, "SERVER_ERROR out of memory writing get response\r\n");
			return true;
		}
		/* After the last key the end goes behind its answer, whatever the socket takes. */
		if (w->out.len - w->out.sent < OUT_FLUSH || !keys_left(cmd))
			continue;
		journal_commit_get(w, cmd);
		if (!conn_flush(w))
			return false;
	}
	if (!cmd->noreply)
		out_add(&w->out, "END\r\n", 5);
	return true;
}

/* ---- the others ---- */

static void delete (struct worker *w, const struct command *cmd)
{
	struct place place;
	bool found;

	item_lock(w, &place, cmd->key);
	found = place.item != NULL;
	if (found)
		item_delete(w, &place, wanted(cmd, "DELETED\r\n"));
	table_unlock(&place);
	count(w, found ? DELETE_HITS : DELETE_MISSES, 1);
	answer(w, cmd, found ? NULL : "NOT_FOUND\r\n");
}

static void touch(struct worker *w, const struct command *cmd)
{
	struct place place;
	bool found;

	item_lock(w, &place, cmd->key);
	found = place.item != NULL;
	if (found) {
		__atomic_store_n(&place.item->exptime, item_exptime(w, cmd->exptime),
				 __ATOMIC_RELEASE);
		item_use(place.item);
	}
	table_unlock(&place);
	count(w, CMD_TOUCH, 1);
	count(w, found ? TOUCH_HITS : TOUCH_MISSES, 1);
	answer(w, cmd, found ? "TOUCHED\r\n" : "NOT_FOUND\r\n");
}

/* The new value's text in @digits; as long as the old one, as memcached does it, if it fits. */
static __u32 calculate(const struct command *cmd, const struct item *old, __u64 value, char *digits)
{
	__u32 len;

	if (cmd->verb == VERB_INCR)
		value += cmd->delta;
	else
		value = value < cmd->delta ? 0 : value - cmd->delta;
	len = proto_decimal(digits, value) - digits;
	digits[len] = 0;
	return len > old->nbytes ? len : old->nbytes;
}

/*
 * The result is a new item: storing in place would be two stores, value and id, and one
 * who dies between them would leave an id that names two values. Return: the answer, or NULL: given.
 */
static const char *arithmetic(struct worker *w, const struct command *cmd, char *digits)
{
	struct item *item = NULL;
	struct place place;
	__u32 nbytes = DIGITS;
	__u64 value;
	bool done;

	for (;;) {
		kho_free(item);
		item = item_new(w, cmd->key, 0, 0, nbytes);
		if (!item)
			return "SERVER_ERROR out of memory in incr\r\n";
		item_lock(w, &place, cmd->key);
		if (!place.item) {
			table_unlock(&place);
			kho_free(item);
			count(w, cmd->verb == VERB_INCR ? INCR_MISSES : DECR_MISSES, 1);
			return "NOT_FOUND\r\n";
		}
		if (!proto_u64(item_value(place.item), place.item->nbytes + 1, &value)) {
			table_unlock(&place);
			kho_free(item);
			return "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
		}
		if (place.item->nbytes <= nbytes)
			break;
		nbytes = place.item->nbytes;
		table_unlock(&place);
	}
	count(w, cmd->verb == VERB_INCR ? INCR_HITS : DECR_HITS, 1);
	item->flags = place.item->flags;
	item->exptime = place.item->exptime;
	item->nbytes = calculate(cmd, place.item, value, digits);
	memset(item_value(item), ' ', item->nbytes);
	memcpy(item_value(item), digits, strlen(digits));
	memcpy(item_value(item) + item->nbytes, "\r\n", 2);
	strcat(digits, "\r\n");
	done = item_link(w, &place, item, wanted(cmd, digits));
	table_unlock(&place);
	return done ? NULL : "SERVER_ERROR out of memory in incr\r\n";
}

static void flush_all(struct worker *w, const struct command *cmd)
{
	count(w, CMD_FLUSH, 1);
	item_flush_all(w, cmd->exptime > 0 ? item_exptime(w, cmd->exptime) : 0,
		       wanted(cmd, "OK\r\n"));
}

static void memlimit(struct worker *w, const struct command *cmd)
{
	if (cmd->flags < 8) {
		answer(w, cmd, "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n");
		return;
	}
	__atomic_store_n(&options.limit, (__u64)cmd->flags << 20, __ATOMIC_RELAXED);
	answer(w, cmd, "OK\r\n");
}

void command_run(struct worker *w, struct command *cmd)
{
	char digits[DIGITS + 3];

	switch (cmd->verb) {
	case VERB_DELETE:
		delete (w, cmd);
		break;
	case VERB_INCR:
	case VERB_DECR:
		answer(w, cmd, arithmetic(w, cmd, digits));
		break;
	case VERB_TOUCH:
		touch(w, cmd);
		break;
	case VERB_FLUSH_ALL:
		flush_all(w, cmd);
		break;
	case VERB_STATS:
		stats_command(w, cmd->rest);
		break;
	case VERB_VERSION:
		out_line(&w->out, "VERSION " CACHED_PROTOCOL "\r\n");
		break;
	case VERB_VERBOSITY:
		answer(w, cmd, "OK\r\n");
		break;
	case VERB_CACHE_MEMLIMIT:
		memlimit(w, cmd);
		break;
	case VERB_QUIT:
		w->event.closing = true;
		break;
	default:
		answer(w, cmd, cmd->error);
		break;
	}
}
