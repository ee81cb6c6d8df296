/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * One event of one connection: one read, as many commands as came in, one write.
 *
 * Input and output are the worker's and private. What is left over at the end (part of a
 * command, output that the socket did not take) goes to the arena; so between two
 * events, which is where workers park, everything is there.
 *
 * A large value is received right into its item. It hangs on the connection's state while
 * we wait for the rest, because an item that is only reserved does not go along.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <kho/host.h>

#include "cached.h"

#define WAIT_BYTES 2048 /* a value up to this long is read again when the rest has come */
#define ITEM_READS 4 /* reads of one large value in one event */

/* ---- output ---- */

char *out_room(struct out *out, size_t size)
{
	size_t cap = out->cap ? out->cap : 2 * OUT_FLUSH;
	char *buf;

	if (out->cap - out->len >= size)
		return out->buf + out->len;
	while (cap - out->len < size)
		cap *= 2;
	buf = realloc(out->buf, cap);
	if (!buf)
		return NULL;
	out->buf = buf;
	out->cap = cap;
	return buf + out->len;
}

void out_add(struct out *out, const char *text, size_t len)
{
	char *to = out_room(out, len);

	if (to) {
		memcpy(to, text, len);
		out->len += len;
	}
}

void out_line(struct out *out, const char *line)
{
	out_add(out, line, strlen(line));
}

void out_format(struct out *out, const char *format, ...)
{
	char line[512];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (len > 0)
		out_add(out, line, (size_t)len < sizeof(line) ? (size_t)len : sizeof(line) - 1);
}

/* Return: bytes taken; fewer, or 0, when the socket is full or broken (then @closing). */
static size_t write_some(struct worker *w, const char *from, size_t len)
{
	ssize_t n = send(w->conn->fd, from, len, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			w->event.closing = true;
		return 0;
	}
	count(w, BYTES_WRITTEN, n);
	w->event.sent += n;
	return n;
}

bool conn_flush(struct worker *w)
{
	struct out *out = &w->out;
	size_t n;

	if (!out->len)
		return w->event.sent < OUT_EVENT;
	n = write_some(w, out->buf, out->len);
	if (w->event.closing)
		n = out->len;
	else if (n < out->len)
		memmove(out->buf, out->buf + n, out->len - n);
	out->len -= n;
	return !out->len && w->event.sent < OUT_EVENT && !w->event.closing;
}

/* ---- input ---- */

static void advance(struct event *e, size_t n)
{
	e->in += n;
	e->nin -= n;
}

/* Go on with a get's keys at @rest: put verb and exptime in front of them again. */
static void rewind_get(struct event *e, const char *rest, const char *prefix, size_t len)
{
	size_t skip = rest - len - e->in;

	memmove(e->in + skip, prefix, len);
	advance(e, skip);
}

static void run_get(struct worker *w, struct command *cmd, size_t used)
{
	struct event *e = &w->event;
	size_t prefix = cmd->rest.at - e->in;

	if (command_get(w, cmd)) {
		advance(e, used);
		return;
	}
	rewind_get(e, cmd->rest.at, e->in, prefix);
	e->stalled = true;
}

/* No end of line yet. Return: false: wait for it. */
static bool run_part(struct worker *w)
{
	struct event *e = &w->event;
	struct command cmd;
	size_t used, prefix;

	if (e->nin <= LINE_MAX_BYTES)
		return false;
	used = proto_split(e->in, e->nin, &cmd, &prefix);
	if (!used) {
		e->closing = true;
		return false;
	}
	cmd.noreply = true; /* no END yet */
	if (!command_get(w, &cmd))
		e->stalled = true;
	else if (cmd.verb == VERB_ERROR)
		e->closing = true;
	else
		cmd.rest.at = e->in + used - 1;
	if (!e->closing)
		rewind_get(e, cmd.rest.at, e->in, prefix);
	return false;
}

static bool run_store(struct worker *w, struct command *cmd, size_t used)
{
	struct event *e = &w->event;
	size_t need = (size_t)cmd->nbytes + 2, have = e->nin - used;
	struct item *item = NULL;

	if (item_fits(cmd->key.len, cmd->nbytes)) {
		if (have < need && need <= WAIT_BYTES)
			return false;
		item = item_new(w, cmd->key, cmd->flags, item_exptime(w, cmd->exptime),
				cmd->nbytes);
	}
	if (!item) {
		command_no_memory(w, cmd);
		advance(e, used);
		e->swallow = need;
	} else if (have >= need) {
		memcpy(item_value(item), e->in + used, need);
		command_store(w, cmd, item);
		advance(e, used + need);
	} else {
		advance(e, used);
		e->item = item;
		e->item_live = false;
		e->got = 0;
		e->store = *cmd;
		e->store.key = (struct span){item->data, item->nkey};
	}
	return true;
}

/* All of the value is there. */
static void finish_item(struct worker *w)
{
	struct event *e = &w->event;
	struct item *item = e->item;

	if (e->item_live)
		kho_exchange((void **)&w->conn->state->item, NULL, item);
	e->item = NULL;
	e->item_live = false;
	command_store(w, &e->store, item);
}

static void fill_item(struct worker *w)
{
	struct event *e = &w->event;
	size_t need = (size_t)e->item->nbytes + 2 - e->got;
	size_t n = e->nin < need ? e->nin : need;

	memcpy(item_value(e->item) + e->got, e->in, n);
	advance(e, n);
	e->got += n;
	if (n == need)
		finish_item(w);
}

/* Return: false if nothing more can be done now. */
static bool step(struct worker *w)
{
	struct event *e = &w->event;
	struct command cmd;
	size_t n;

	if (e->swallow) {
		n = e->nin < e->swallow ? e->nin : e->swallow;
		advance(e, n);
		e->swallow -= n;
		return true;
	}
	if (e->item) {
		fill_item(w);
		return true;
	}
	n = proto_parse(e->in, e->nin, &cmd);
	if (!n)
		return run_part(w);
	if (cmd.verb >= VERB_SET && cmd.verb <= VERB_CAS)
		return run_store(w, &cmd, n);
	if (cmd.verb >= VERB_GET && cmd.verb <= VERB_GATS) {
		run_get(w, &cmd, n);
		return true;
	}
	command_run(w, &cmd);
	advance(e, n);
	return true;
}

static void process(struct worker *w)
{
	struct event *e = &w->event;

	while (e->nin && !e->closing && !e->stalled && step(w)) {
		if (w->out.len >= OUT_FLUSH && !conn_flush(w))
			e->stalled = true;
	}
}

static bool took(struct worker *w, ssize_t n)
{
	if (n > 0) {
		count(w, BYTES_READ, n);
		return true;
	}
	if (n == 0 || (errno != EAGAIN && errno != EINTR))
		w->event.closing = true;
	return false;
}

/* Right into the item, as long as there is more. */
static void receive_item(struct worker *w)
{
	struct event *e = &w->event;
	size_t need;
	ssize_t n;
	int i;

	for (i = 0; i < ITEM_READS && e->item && !e->closing; i++) {
		need = (size_t)e->item->nbytes + 2 - e->got;
		n = recv(w->conn->fd, item_value(e->item) + e->got, need, MSG_DONTWAIT);
		if (!took(w, n))
			return;
		e->got += n;
		if ((size_t)n == need)
			finish_item(w);
	}
}

static void receive(struct worker *w)
{
	struct event *e = &w->event;
	ssize_t n;

	if (e->item && !e->nin) {
		receive_item(w);
		return;
	}
	if (e->in != w->in)
		memmove(w->in, e->in, e->nin);
	e->in = w->in;
	n = recv(w->conn->fd, e->in + e->nin, IN_BYTES - e->nin, MSG_DONTWAIT);
	if (took(w, n))
		e->nin += n;
}

/* ---- what is left over ---- */

/* Return: false if output has to go first. */
static bool load(struct worker *w, struct conn *conn)
{
	struct conn_state *state = conn->state;
	struct event *e = &w->event;

	memset(e, 0, offsetof(struct event, store));
	e->sent = 0;
	e->closing = e->stalled = false;
	e->in = w->in;
	w->conn = conn;
	w->out.len = 0;
	if (!state)
		return true;
	if (state->sent < state->nout) {
		__u32 sent = state->sent + write_some(w, state->data + state->nin + state->sent,
						      state->nout - state->sent);

		__atomic_store_n(&state->sent, sent, __ATOMIC_RELEASE);
		if (sent < state->nout)
			return false;
	}
	memcpy(e->in, state->data, state->nin);
	e->nin = state->nin;
	e->swallow = state->swallow;
	e->item = (struct item *)state->item;
	if (e->item) {
		e->item_live = true;
		e->got = state->got;
		e->store = (struct command){.verb = state->verb,
					    .noreply = state->noreply,
					    .cas = state->cas,
					    .nbytes = e->item->nbytes,
					    .key = {e->item->data, e->item->nkey}};
	}
	return true;
}

static struct conn_state *new_state(struct worker *w)
{
	struct event *e = &w->event;
	struct conn_state *state;
	size_t size = STATE_HEADER + e->nin + w->out.len;

	if (size < sizeof(*state))
		size = sizeof(*state);
	while (!(state = kho_malloc(size)))
		if (!clock_evict_any(w))
			return NULL;
	memset(state, 0, sizeof(*state));
	state->token = w->conn->token;
	state->item = e->item_live ? (__u64)e->item : 0;
	state->swallow = e->swallow;
	state->got = e->got;
	state->nin = e->nin;
	state->nout = w->out.len;
	if (e->item) {
		state->cas = e->store.cas;
		state->verb = e->store.verb;
		state->noreply = e->store.noreply;
	}
	memcpy(state->data, e->in, e->nin);
	if (w->out.len)
		memcpy(state->data + e->nin, w->out.buf, w->out.len);
	return state;
}

/* Return: false: no memory. */
static bool save(struct worker *w)
{
	struct conn_state *state = w->conn->state;
	struct event *e = &w->event;

	if (!e->nin && !w->out.len && !e->item && !e->swallow)
		return !state || conns_store(w->conn, NULL);
	if (e->item_live && !e->nin && !w->out.len && !state->nin && !state->nout) {
		__atomic_store_n(&state->got, e->got, __ATOMIC_RELEASE);
		return true;
	}
	state = new_state(w);
	if (!state)
		return false;
	if (!conns_store(w->conn, state)) {
		kho_free(state);
		return false;
	}
	if (e->item && !e->item_live) {
		if (kho_publish((void **)&state->item, e->item, NULL))
			return false;
		e->item_live = true;
	}
	return true;
}

static void serve(struct worker *w)
{
	struct event *e = &w->event;

	process(w);
	if (!e->closing && !e->stalled && !w->conn->writing) {
		receive(w);
		process(w);
	}
	if (w->out.len && !conn_flush(w) && !e->closing)
		e->stalled = true;
}

void conn_event(struct worker *w, struct conn *conn, __u32 events)
{
	bool probation = conns_probation();
	struct event *e = &w->event;

	if (probation)
		conns_serving(w, conn->token);
	if (load(w, conn)) {
		serve(w);
		if (e->closing || !save(w)) {
			if (e->item && !e->item_live)
				kho_free(e->item);
			e->closing = true;
		} else {
			conn_want(conn, e->stalled);
		}
	}
	if (e->closing)
		conns_close(conn);
	if (probation)
		conns_serving(w, 0);
}
