/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Exactly once: what a worker does stands in its journal, so that after a kill at any instruction the
 * next program knows which commands took effect, and has the answers.
 *
 * Input is read into the journal, output stands there before it is sent, and TCP's counters say how
 * much of either the kernel has given or taken (kho_tcp_progress()). What has to be stored is only
 * where in the input, and in the output, the last command that is done ends:
 *
 *	gets and their like	one word (@done) when the answer is there. A kill before it: done again,
 *				which nobody sees, since no byte of the answer was sent
 *	everything that changes	two records, of which one is in force. The other one gets what holds
 *	something		afterwards, the answer included. Then the effect is one store, kho_publish()'s
 *				or a plain one, to a word that nobody else changes, because we
 *				have the lock; the journal says which word and which value. Then the
 *				other record comes into force, and only then is the lock given
 *				back. A kill in between: the word itself says whether the effect is there
 *
 * Nothing is sent that the record in force does not have. So a kill never leaves an answer that was seen
 * without its effect, or an effect that will be repeated.
 */
#include <errno.h>
#include <string.h>

#include <kho/host.h>

#include "cached.h"

#define OUT_BYTES (2 * OUT_FLUSH)

/* The order of one thread's stores is all that a kill can see. */
#define STORE(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)

static int make(__u64 *slot)
{
	struct journal *journal = kho_malloc(sizeof(*journal));

	if (!journal)
		return -ENOMEM;
	memset(journal, 0, sizeof(*journal) - sizeof(journal->in));
	if (kho_publish((void **)slot, journal, NULL)) {
		kho_free(journal);
		return -ENOMEM;
	}
	return 0;
}

static int make_out(struct journal *journal)
{
	void *out = kho_malloc(OUT_BYTES);

	if (!out)
		return -ENOMEM;
	if (kho_publish((void **)&journal->out, out, NULL)) {
		kho_free(out);
		return -ENOMEM;
	}
	return 0;
}

int journals_attach(__u64 *journals)
{
	int err = 0;

	for (unsigned int i = 0; i < options.threads && !err; i++) {
		struct worker *w = &workers[i];

		if (!journals[i])
			err = make(&journals[i]);
		if (err)
			break;
		w->journal = (struct journal *)journals[i];
		if (!w->journal->out)
			err = make_out(w->journal);
		if (err)
			break;
		w->in = w->journal->in;
		w->out = (struct out){.buf = (char *)w->journal->out,
				      .cap = kho_usable_size((void *)w->journal->out),
				      .journal = w->journal};
	}
	return err;
}

static struct record *in_force(struct worker *w)
{
	return &w->journal->record[w->journal->now - 1];
}

/* The record that is not in force. */
static struct record *other(struct worker *w)
{
	return &w->journal->record[w->journal->now != 2];
}

static __u64 number_of(struct worker *w, const struct record *record)
{
	return 1 + (record - w->journal->record);
}

static void fill(struct worker *w, struct record *r, size_t in, size_t out)
{
	const struct event *e = &w->event;

	r->token = w->conn->token;
	r->in_pos = e->base;
	r->out_pos = w->out.pos;
	r->done = (__u64)out << 32 | in;
	r->swallow_to = e->swallow ? e->base + in + e->swallow : 0;
	r->item = (__u64)e->item;
	r->item_pos = e->item_pos;
	r->linked = 0;
	r->prefix = 0;
	if (e->item) {
		r->cas = e->store.cas;
		r->verb = e->store.verb;
		r->noreply = e->store.noreply;
	}
}

static void put_in_force(struct worker *w, const struct record *r)
{
	STORE(&w->journal->now, number_of(w, r));
	w->event.dirty = false;
}

void journal_open(struct worker *w)
{
	struct record *r = other(w);

	fill(w, r, w->event.in - w->in, w->out.len);
	put_in_force(w, r);
}

void journal_close(struct worker *w)
{
	STORE(&w->journal->now, 0);
	if (w->journal->item)
		STORE(&w->journal->item, 0); /* its connection's state has it */
}

void journal_commit(struct worker *w)
{
	size_t in = w->event.in - w->in;
	struct record *r;

	if (!w->event.dirty) {
		STORE(&in_force(w)->done, (__u64)w->out.len << 32 | in);
		return;
	}
	r = other(w);
	fill(w, r, in, w->out.len);
	put_in_force(w, r);
}

void journal_commit_get(struct worker *w, const struct command *cmd)
{
	struct record *r = other(w);

	fill(w, r, cmd->rest.at - w->in, w->out.len);
	r->prefix = 1;
	r->verb = cmd->verb;
	r->exptime = (__u32)cmd->exptime;
	put_in_force(w, r);
	w->event.dirty = true;
}

void journal_intend(struct worker *w, __u64 *slot, __u64 value, const char *answer)
{
	size_t len = answer ? strlen(answer) : 0;
	struct journal *journal = w->journal;
	struct event *e = &w->event;
	struct record *r = other(w);

	/* There is room: a command begins with OUT_FLUSH bytes in it at most. */
	if (len)
		memcpy(w->out.buf + w->out.len, answer, len);
	w->out.len += len;
	e->answered = len;
	fill(w, r, e->after, w->out.len);
	r->linked = e->linked ? (__u64)e->owned : 0;
	journal->value = value;
	journal->then = number_of(w, r);
	STORE(&journal->slot, (__u64)slot);
}

void journal_done(struct worker *w)
{
	put_in_force(w, other(w));
	STORE(&w->journal->slot, 0);
}

void journal_undo(struct worker *w)
{
	STORE(&w->journal->slot, 0);
	w->event.linked = false;
	w->out.len -= w->event.answered;
}

void journal_release(struct worker *w)
{
	struct event *e = &w->event;

	if (!e->owned)
		return;
	if (e->linked) {
		STORE(e->owner, 0);
		STORE(&in_force(w)->linked, 0);
	} else {
		kho_publish((void **)e->owner, NULL, e->owned);
	}
	e->owned = NULL;
	e->owner = NULL;
	e->linked = false;
}

/* ---- afterwards ---- */

struct record *journal_read(struct journal *journal)
{
	if (journal->slot) {
		if (*(__u64 *)journal->slot == journal->value)
			STORE(&journal->now, journal->then);
		STORE(&journal->slot, 0);
	}
	return journal->now == 1 || journal->now == 2 ? &journal->record[journal->now - 1] : NULL;
}

size_t journal_prefix(const struct record *record, char *text)
{
	static const char *const words[] = {"get ", "gets ", "gat ", "gats "};
	char *to = text;

	if (!record->prefix || record->verb < VERB_GET || record->verb > VERB_GATS)
		return 0;
	to = stpcpy(to, words[record->verb - VERB_GET]);
	if (record->verb >= VERB_GAT) {
		__s32 exptime = (__s32)record->exptime;

		if (exptime < 0)
			*to++ = '-';
		to = proto_decimal(to, exptime < 0 ? -(__s64)exptime : exptime);
		*to++ = ' ';
	}
	return to - text;
}
