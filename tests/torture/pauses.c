/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * cached with pauses, for the torture: linked with --wrap around each step that a kill must not come
 * between, so that kills do come between them. What takes ten nanoseconds takes up to a millisecond, now
 * and then.
 *
 * SABOTAGE in the environment breaks one thing on purpose; the torture has to find out:
 *	intend	the journal does not say which word the effect is
 *	commit	the record in force comes after the answer is sent, or never
 *	progress	the counters are off by a few
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <kho/host.h>
#include <kho/progress.h>

#include "cached.h"

#define EVERY 256 /* steps between two pauses, about */
#define PAUSE_US 1000

static bool sabotaged(const char *what)
{
	static const char *mode;

	if (!mode)
		mode = getenv("SABOTAGE") ?: "";
	return !strcmp(mode, what);
}

static void pause_maybe(void)
{
	static __thread unsigned int state;

	if (!state)
		state = (unsigned int)time(NULL) ^ (unsigned int)(uintptr_t)&state ^
			(unsigned int)getpid() << 8;
	state = state * 1664525u + 1013904223u;
	if ((state >> 8) % EVERY == 0)
		usleep((state >> 16) % PAUSE_US);
}

#define WRAP(type, name, params, args)                                                             \
	type __real_##name params;                                                                 \
	type __wrap_##name params;                                                                 \
	type __wrap_##name params

#define AROUND(name, params, args)                                                                 \
	WRAP(void, name, params, args)                                                             \
	{                                                                                          \
		pause_maybe();                                                                     \
		__real_##name args;                                                                \
		pause_maybe();                                                                     \
	}

AROUND(journal_open, (struct worker * w), (w))
AROUND(journal_close, (struct worker * w), (w))
AROUND(journal_release, (struct worker * w), (w))
AROUND(journal_done, (struct worker * w), (w))
AROUND(journal_commit_get, (struct worker * w, const struct command *cmd), (w, cmd))

WRAP(void, journal_commit, (struct worker * w), (w))
{
	pause_maybe();
	if (!sabotaged("commit") || w->event.dirty)
		__real_journal_commit(w);
	pause_maybe();
}

WRAP(void, journal_intend, (struct worker * w, __u64 *slot, __u64 value, const char *answer),
     (w, slot, value, answer))
{
	pause_maybe();
	__real_journal_intend(w, slot, value, answer);
	if (sabotaged("intend"))
		w->journal->slot = 0;
	pause_maybe();
}

WRAP(int, table_put, (struct place * place, struct item *item, struct tally *tally),
     (place, item, tally))
{
	int r = __real_table_put(place, item, tally);

	pause_maybe();
	return r;
}

WRAP(bool, conns_store, (struct conn * conn, struct conn_state *state), (conn, state))
{
	bool r;

	pause_maybe();
	r = __real_conns_store(conn, state);
	pause_maybe();
	return r;
}

WRAP(int, kho_tcp_progress, (int fd, struct kho_tcp_progress *p), (fd, p))
{
	int r = __real_kho_tcp_progress(fd, p);

	/* Not the same in each process: only differences matter. */
	if (!r && sabotaged("progress"))
		p->queued += (unsigned int)getpid() % 3;
	return r;
}
