/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * One event of one connection: one read, as many commands as came in, one write.
 *
 * Input and output are in the worker's journal, so that a kill finds them there. What is left over
 * at the end (part of a command, output that the socket did not take) goes to the connection's state; so between two
 * events, which is where workers park, the journal is empty.
 *
 * A large value is received right into its item. Until it is complete that hangs on the journal, and
 * between events on the state.
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
#include <kho/progress.h>

#include "cached.h"

#define WAIT_BYTES 2048 /* a value up to this long is read again when the rest has come */
#define ITEM_READS 4 /* reads of one large value in one event */

/* ---- output ---- */

char *out_room(struct out *out, size_t size)
{
	size_t cap = out->cap;
	char *buf;

	if (out->cap - out->len >= size)
		return out->buf + out->len;
	while (cap - out->len < size)
		cap *= 2;
	buf = kho_malloc(cap);
	if (!buf)
		return NULL;
	memcpy(buf, out->buf, out->len);
	if (kho_publish((void **)&out->journal->out, buf, out->buf)) {
		kho_free(buf);
		return NULL;
	}
	out->buf = buf;
	out->cap = kho_usable_size(buf);
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
	w->conn->out_total += n;
	w->event.sent += n;
	return n;
}

/* Only what the record in force has may be sent. */
bool conn_flush(struct worker *w)
{
	struct out *out = &w->out;

	if (out->len > out->sent)
		out->sent += write_some(w, out->buf + out->sent, out->len - out->sent);
	if (w->event.closing || out->sent < out->len)
		return false;
	/* All of it is gone: what is written over is not needed. */
	if (out->len) {
		out->pos += out->len;
		out->len = out->sent = 0;
		w->event.dirty = true;
	}
	return w->event.sent < OUT_EVENT;
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

/* The beginning of a value that is long: the rest comes right into its item. */
static void begin_item(struct worker *w, struct command *cmd, struct item *item, size_t used)
{
	struct event *e = &w->event;
	__u64 *owner = &w->journal->item;

	e->item_pos = e->base + (e->in - w->in) + used;
	e->got = e->nin - used;
	memcpy(item_value(item), e->in + used, e->got);
	if (kho_publish((void **)owner, item, NULL)) {
		kho_free(item);
		e->closing = true;
		return;
	}
	e->item = item;
	e->owner = owner;
	e->store = *cmd;
	e->store.key = (struct span){item->data, item->nkey};
	e->dirty = true;
	advance(e, e->nin);
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
		e->after = e->in - w->in + used;
		e->swallow = need;
		command_no_memory(w, cmd);
		e->dirty = true;
		advance(e, used);
	} else if (have >= need) {
		e->after = e->in - w->in + used + need;
		memcpy(item_value(item), e->in + used, need);
		command_store(w, cmd, item);
		advance(e, used + need);
	} else {
		begin_item(w, cmd, item, used);
	}
	return true;
}

/* All of the value is there. Nothing else is: after it input begins anew. */
static void finish_item(struct worker *w)
{
	struct event *e = &w->event;
	struct item *item = e->item;

	e->owned = item;
	e->item = NULL;
	e->base = e->item_pos + item->nbytes + 2;
	e->in = w->in;
	e->nin = 0;
	e->after = 0;
	e->dirty = true;
	command_store(w, &e->store, item);
	journal_commit(w);
	journal_release(w);
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
	n = proto_parse(e->in, e->nin, &cmd);
	if (!n)
		return run_part(w);
	if (cmd.verb >= VERB_SET && cmd.verb <= VERB_CAS)
		return run_store(w, &cmd, n);
	if (cmd.verb >= VERB_GET && cmd.verb <= VERB_GATS) {
		run_get(w, &cmd, n);
		return true;
	}
	e->after = e->in - w->in + n;
	command_run(w, &cmd);
	advance(e, n);
	return true;
}

static void process(struct worker *w)
{
	struct event *e = &w->event;
	bool more = true;

	if (e->item && e->got == (size_t)e->item->nbytes + 2)
		finish_item(w);
	while (more && e->nin && !e->closing && !e->stalled) {
		more = step(w);
		/* What closes the connection is not done before it is closed. */
		if (e->closing)
			break;
		journal_commit(w);
		if (w->out.len - w->out.sent >= OUT_FLUSH && !conn_flush(w))
			e->stalled = true;
	}
}

static bool took(struct worker *w, ssize_t n)
{
	if (n > 0) {
		count(w, BYTES_READ, n);
		w->conn->in_total += n;
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

	if (e->item) {
		receive_item(w);
		return;
	}
	/* Behind what is there: the journal has twice the room, and that is not moved. */
	n = recv(w->conn->fd, e->in + e->nin, IN_BYTES - e->nin, MSG_DONTWAIT);
	if (took(w, n))
		e->nin += n;
}

/* ---- what is left over ---- */

/*
 * Where a connection that came along is: as TCP counts it. What does not count is where its state says, or anywhere: only
 * differences matter.
 */
static bool learn(struct conn *conn)
{
	struct conn_state *state = conn->state;
	struct kho_tcp_progress p;
	int err = kho_tcp_progress(conn->fd, &p);

	if (!err) {
		conn->in_total = p.consumed;
		conn->out_total = p.queued;
	} else if (err == -EPROTOTYPE) {
		conn->in_total = state ? state->in_now : 0;
		conn->out_total = state ? state->out_now : 0;
	}
	conn->known = !err || err == -EPROTOTYPE;
	return conn->known;
}

/* Return: false if output has to go first. */
static bool flush_state(struct worker *w, struct conn *conn)
{
	struct conn_state *state = conn->state;
	__u64 sent = conn->out_total - state->out_pos;

	if (sent >= state->nout)
		return true;
	write_some(w, state->data + state->nin + sent, state->nout - sent);
	__atomic_store_n(&state->out_now, conn->out_total, __ATOMIC_RELEASE);
	return conn->out_total - state->out_pos >= state->nout;
}

static void load_item(struct event *e, struct conn *conn)
{
	struct conn_state *state = conn->state;

	e->item = (struct item *)state->item;
	e->owner = &state->item;
	e->item_pos = state->item_pos;
	e->got = conn->in_total - state->item_pos;
	e->store = (struct command){.verb = state->verb,
				    .noreply = state->noreply,
				    .cas = state->cas,
				    .nbytes = e->item->nbytes,
				    .key = {e->item->data, e->item->nkey}};
}

/* Return: false if output has to go first, or nothing can be done. */
static bool load(struct worker *w, struct conn *conn)
{
	struct conn_state *state = conn->state;
	struct event *e = &w->event;

	memset(e, 0, offsetof(struct event, store));
	e->sent = 0;
	e->closing = e->stalled = false;
	e->in = w->in;
	w->conn = conn;
	if (!conn->known && !learn(conn)) {
		e->closing = true;
		return false;
	}
	if (state && !flush_state(w, conn))
		return false;
	w->out.len = w->out.sent = 0;
	w->out.pos = conn->out_total;
	if (state) {
		memcpy(e->in, state->data, state->nin);
		e->nin = state->nin;
		e->swallow = state->swallow;
		if (state->item)
			load_item(e, conn);
	}
	e->base = conn->in_total - e->nin;
	journal_open(w);
	return true;
}

static struct conn_state *new_state(struct worker *w)
{
	size_t nout = w->out.len - w->out.sent;
	struct event *e = &w->event;
	struct conn_state *state;
	size_t size = STATE_HEADER + e->nin + nout;

	if (size < sizeof(*state))
		size = sizeof(*state);
	while (!(state = kho_malloc(size)))
		if (!clock_evict_any(w))
			return NULL;
	memset(state, 0, sizeof(*state));
	state->token = w->conn->token;
	state->item = (__u64)e->item;
	state->item_pos = e->item_pos;
	state->swallow = e->swallow;
	state->in_now = w->conn->in_total;
	state->out_now = w->conn->out_total;
	state->out_pos = w->out.pos + w->out.sent;
	state->nin = e->nin;
	state->nout = nout;
	if (e->item) {
		state->cas = e->store.cas;
		state->verb = e->store.verb;
		state->noreply = e->store.noreply;
	}
	memcpy(state->data, e->in, e->nin);
	if (nout)
		memcpy(state->data + e->nin, w->out.buf + w->out.sent, nout);
	return state;
}

/* The journal is in force until it is closed. Return: false: no memory. */
static bool save(struct worker *w)
{
	struct conn_state *state = w->conn->state;
	size_t nout = w->out.len - w->out.sent;
	struct event *e = &w->event;

	if (!e->nin && !nout && !e->item && !e->swallow)
		return !state || conns_store(w->conn, NULL);
	if (e->item && e->owner != &w->journal->item && !e->nin && !nout && !state->nin &&
	    !state->nout) {
		__atomic_store_n(&state->in_now, w->conn->in_total, __ATOMIC_RELEASE);
		return true;
	}
	state = new_state(w);
	if (!state)
		return false;
	if (!conns_store(w->conn, state)) {
		kho_free(state);
		return false;
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
	if (w->out.len > w->out.sent && !conn_flush(w) && !e->closing)
		e->stalled = true;
}

void conn_event(struct worker *w, struct conn *conn, __u32 events)
{
	struct event *e = &w->event;

	if (load(w, conn)) {
		serve(w);
		if (!e->closing && save(w)) {
			conn_want(conn, e->stalled);
		} else {
			if (e->item)
				kho_publish((void **)e->owner, NULL, e->item);
			e->closing = true;
		}
	}
	if (e->closing)
		conns_close(conn);
	journal_close(w);
}
