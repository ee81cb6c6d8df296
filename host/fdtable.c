/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Preserved fds under their tokens.
 *
 * Entries keep their place in an array as long as they live, so that walks can be resumed; a
 * hash index (open addressing, at most half full) finds them by token. During a session
 * changes are noted in a log, in order: what was in the table at the beginning is
 * sent by walking the array, what came later by the log.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <kho/abi/handover.h>

#include "arena.h"
#include "courier.h"
#include "fdtable.h"
#include "life.h"
#include "sessions.h"

#define NO_SLOT 0xffffffffu

struct slot {
	__u64 token;
	int fd; /* -1: free */
	bool held; /* by the courier */
	unsigned int next_free;
	unsigned long change;
};

struct note {
	__u64 token;
	unsigned long change;
	bool gone;
};

static struct {
	pthread_mutex_t lock;
	struct slot *slots;
	unsigned int nr_slots; /* ever used */
	unsigned int max_slots;
	unsigned int free; /* first of the list */
	unsigned int nr; /* in use */
	__u32 *index; /* slot number + 1; 0 = empty */
	unsigned int mask;
	unsigned long change;
	bool session;
	bool lost; /* a change could not be noted */
	unsigned long began; /* change number at the session's beginning */
	unsigned int sent_slots;
	struct note *notes;
	size_t nr_notes, max_notes;
	size_t sent_gone, sent_new; /* notes that were looked at for either */
} table = {.lock = PTHREAD_MUTEX_INITIALIZER, .free = NO_SLOT};

/* Where @token is looked for first. */
static unsigned int home_of(__u64 token)
{
	return (unsigned int)kho_hash_place_(token, table.mask);
}

/* Where @token is in the index, or the empty place where it would be. */
static unsigned int probe(__u64 token)
{
	unsigned int i = home_of(token);

	while (table.index[i] && table.slots[table.index[i] - 1].token != token)
		i = (i + 1) & table.mask;
	return i;
}

static struct slot *find(__u64 token)
{
	__u32 at = table.index ? table.index[probe(token)] : 0;

	return at ? &table.slots[at - 1] : NULL;
}

static int grow_index(void)
{
	unsigned int size = table.index ? 2 * (table.mask + 1) : 64;
	__u32 *index;

	if (table.index && 2 * (table.nr + 1) <= table.mask + 1)
		return 0;
	index = calloc(size, sizeof(*index));
	if (!index)
		return -ENOMEM;
	free(table.index);
	table.index = index;
	table.mask = size - 1;
	for (unsigned int i = 0; i < table.nr_slots; i++)
		if (table.slots[i].fd >= 0)
			table.index[probe(table.slots[i].token)] = i + 1;
	return 0;
}

static unsigned int take_slot(void)
{
	unsigned int i = table.free;

	if (i != NO_SLOT) {
		table.free = table.slots[i].next_free;
		return i;
	}
	if (table.nr_slots == table.max_slots) {
		unsigned int max = table.max_slots ? 2 * table.max_slots : 64;
		struct slot *slots = realloc(table.slots, max * sizeof(*slots));

		if (!slots)
			return NO_SLOT;
		table.slots = slots;
		table.max_slots = max;
	}
	return table.nr_slots++;
}

static void note(__u64 token, bool gone)
{
	table.change++;
	if (!table.session || table.lost)
		return;
	if (table.nr_notes == table.max_notes) {
		size_t max = table.max_notes ? 2 * table.max_notes : 256;
		struct note *notes = realloc(table.notes, max * sizeof(*notes));

		if (!notes) {
			table.lost = true;
			return;
		}
		table.notes = notes;
		table.max_notes = max;
	}
	table.notes[table.nr_notes++] = (struct note){token, table.change, gone};
}

static int add(__u64 token, int fd)
{
	unsigned int i;

	if (grow_index())
		return kho_fail_(-ENOMEM, "no memory for the table of preserved fds");
	if (find(token))
		return kho_fail_(-EEXIST, "token %#llx names fd %d already",
				 (unsigned long long)token, find(token)->fd);
	i = take_slot();
	if (i == NO_SLOT)
		return kho_fail_(-ENOMEM, "no memory for the table of preserved fds");
	note(token, false);
	table.slots[i] = (struct slot){token, fd, false, NO_SLOT, table.change};
	table.index[probe(token)] = i + 1;
	table.nr++;
	return 0;
}

/* Close the gap at @hole: move back whatever would not be found past it. */
static void fill_hole(unsigned int hole)
{
	for (unsigned int i = (hole + 1) & table.mask; table.index[i]; i = (i + 1) & table.mask) {
		unsigned int home = home_of(table.slots[table.index[i] - 1].token);

		if (((i - home) & table.mask) < ((i - hole) & table.mask))
			continue;
		table.index[hole] = table.index[i];
		hole = i;
	}
	table.index[hole] = 0;
}

/* @seen: whoever holds it sees that it hung up. */
static int del(__u64 token, bool seen)
{
	struct slot *s = find(token);
	int fd;

	if (!s)
		return kho_fail_(-ENOENT, "token %#llx names no preserved fd",
				 (unsigned long long)token);
	fd = s->fd;
	if (s->held)
		kho_courier_drop_(token, seen);
	fill_hole(probe(token));
	s->fd = -1;
	s->next_free = table.free;
	table.free = (unsigned int)(s - table.slots);
	table.nr--;
	note(token, true);
	return fd;
}

int kho_fdtable_add_(__u64 token, int fd)
{
	int r;

	pthread_mutex_lock(&table.lock);
	r = add(token, fd);
	pthread_mutex_unlock(&table.lock);
	return r;
}

int kho_fdtable_del_(__u64 token)
{
	int r;

	pthread_mutex_lock(&table.lock);
	r = del(token, false);
	pthread_mutex_unlock(&table.lock);
	return r;
}

unsigned int kho_fdtable_count_(void)
{
	unsigned int nr;

	pthread_mutex_lock(&table.lock);
	nr = table.nr;
	pthread_mutex_unlock(&table.lock);
	return nr;
}

void kho_fdtable_begin_(void)
{
	pthread_mutex_lock(&table.lock);
	table.session = true;
	table.lost = false;
	table.began = table.change;
	table.sent_slots = 0;
	table.nr_notes = 0;
	table.sent_gone = table.sent_new = 0;
	pthread_mutex_unlock(&table.lock);
}

void kho_fdtable_end_(void)
{
	pthread_mutex_lock(&table.lock);
	table.session = false;
	free(table.notes);
	table.notes = NULL;
	table.nr_notes = table.max_notes = 0;
	table.sent_gone = table.sent_new = 0;
	pthread_mutex_unlock(&table.lock);
}

/* One batch of what was there at the beginning. Return: 1 = more may be left, 0 = none, negative. */
static int send_slots(kho_fd_send_fn send, void *ctx, unsigned int batch)
{
	__u64 tokens[KHO_ABI_MSG_FDS_MAX];
	int fds[KHO_ABI_MSG_FDS_MAX];
	unsigned int nr = 0, i;
	int r;

	for (i = table.sent_slots; i < table.nr_slots && nr < batch; i++) {
		struct slot *s = &table.slots[i];

		if (s->fd < 0 || s->change > table.began)
			continue;
		tokens[nr] = s->token;
		fds[nr++] = s->fd;
	}
	r = nr ? send(ctx, tokens, fds, nr) : 0;
	if (r)
		return r;
	table.sent_slots = i;
	return i < table.nr_slots;
}

/*
 * One batch of what went, or of what came, since. Everything that went is sent first: of a
 * token that came and went, and came again, the receiver then has what is there now, however
 * the two are mixed, since of what came only what is still there is sent.
 */
static int send_notes(kho_fd_send_fn send, void *ctx, unsigned int batch, bool gone)
{
	size_t *sent = gone ? &table.sent_gone : &table.sent_new;
	__u64 tokens[KHO_ABI_MSG_FDS_MAX];
	int fds[KHO_ABI_MSG_FDS_MAX];
	unsigned int nr = 0;
	size_t i;
	int r;

	for (i = *sent; i < table.nr_notes && nr < batch; i++) {
		struct note *n = &table.notes[i];
		struct slot *s = gone ? NULL : find(n->token);

		/* Came and went since: its fd may be another file by now. */
		if (n->gone != gone || (!gone && (!s || s->change != n->change)))
			continue;
		tokens[nr] = n->token;
		fds[nr++] = s ? s->fd : -1;
	}
	r = nr ? send(ctx, tokens, gone ? NULL : fds, nr) : 0;
	if (r)
		return r;
	*sent = i;
	return i < table.nr_notes;
}

int kho_fdtable_send_(kho_fd_send_fn send, void *ctx, unsigned int batch)
{
	int r;

	do {
		pthread_mutex_lock(&table.lock);
		if (table.lost)
			r = -ENOMEM;
		else if (table.sent_slots < table.nr_slots)
			r = send_slots(send, ctx, batch) ?: 1;
		else
			r = send_notes(send, ctx, batch, true)
				    ?: send_notes(send, ctx, batch, false);
		if (!r)
			table.nr_notes = table.sent_gone = table.sent_new = 0;
		pthread_mutex_unlock(&table.lock);
	} while (r > 0);
	return r;
}

/* ---- the courier ---- */

int kho_fdtable_hold_(kho_fd_send_fn send, void *ctx, unsigned int *pos, unsigned int batch)
{
	unsigned int slots[KHO_COURIER_BATCH], nr = 0, i;
	__u64 tokens[KHO_COURIER_BATCH];
	int fds[KHO_COURIER_BATCH];
	int r = 0;

	pthread_mutex_lock(&table.lock);
	for (i = *pos; i < table.nr_slots && nr < batch; i++) {
		struct slot *s = &table.slots[i];

		/* Listening sockets that came from kho run are with it already. */
		if (s->fd < 0 || s->held || s->token >= KHO_FD_LISTEN)
			continue;
		slots[nr] = i;
		tokens[nr] = s->token;
		fds[nr++] = s->fd;
	}
	if (nr && send)
		r = send(ctx, tokens, fds, nr);
	if (r == -EBADF && nr == 1) {
		*pos = i;
		pthread_mutex_unlock(&table.lock);
		return 1;
	}
	if (nr && send && !r) {
		*pos = i;
		for (unsigned int j = 0; j < nr; j++)
			table.slots[slots[j]].held = true;
	}
	pthread_mutex_unlock(&table.lock);
	return r ? r : nr == batch;
}

void kho_fdtable_unhold_(void)
{
	pthread_mutex_lock(&table.lock);
	for (unsigned int i = 0; i < table.nr_slots; i++)
		table.slots[i].held = false;
	kho_courier_forgot_();
	pthread_mutex_unlock(&table.lock);
}

int kho_fdtable_each_(int (*fn)(void *ctx, __u64 token, int fd), void *ctx)
{
	int r = 0;

	pthread_mutex_lock(&table.lock);
	for (unsigned int i = 0; i < table.nr_slots && !r; i++)
		if (table.slots[i].fd >= 0)
			r = fn(ctx, table.slots[i].token, table.slots[i].fd);
	pthread_mutex_unlock(&table.lock);
	return r;
}

unsigned long kho_fdtable_changes_(int (*fn)(void *ctx, __u64 token, int fd, unsigned long change),
				   void *ctx)
{
	unsigned long change;
	int r = 0;

	pthread_mutex_lock(&table.lock);
	for (unsigned int i = 0; fn && i < table.nr_slots && !r; i++) {
		const struct slot *s = &table.slots[i];

		if (s->fd >= 0)
			r = fn(ctx, s->token, s->fd, s->change);
	}
	change = table.change;
	pthread_mutex_unlock(&table.lock);
	return change;
}

void kho_fdtable_clear_(void)
{
	pthread_mutex_lock(&table.lock);
	for (unsigned int i = 0; i < table.nr_slots; i++)
		if (table.slots[i].fd >= 0)
			close(table.slots[i].fd);
	free(table.slots);
	free(table.index);
	table.slots = NULL;
	table.index = NULL;
	table.nr = table.nr_slots = table.max_slots = 0;
	table.free = NO_SLOT;
	pthread_mutex_unlock(&table.lock);
}

/* ---- the API ------------------------------------------------------------- */

static int forked(void)
{
	return kho_fail_(-EOWNERDEAD, "a forked child does not inherit the arena: exec, or let the "
				      "parent do it");
}

int kho_fd_preserve(__u64 token, int fd)
{
	int r;

	if (kho_forked_())
		return forked();
	if (fd < 0 || fcntl(fd, F_GETFD) < 0)
		return kho_fail_(-EBADF, "fd %d is not open", fd);
	pthread_mutex_lock(&table.lock);
	r = add(token, fd);
	/* A successor's fds are its predecessor's until it owns the arena. */
	if (!r && token < KHO_FD_LISTEN && kho_life_.phase == KHO_PHASE_OWNER)
		find(token)->held = kho_courier_hold_(token, fd);
	pthread_mutex_unlock(&table.lock);
	return r;
}

int kho_fd_held(__u64 token)
{
	struct slot *s;
	int r;

	if (kho_forked_())
		return forked();
	pthread_mutex_lock(&table.lock);
	s = find(token);
	if (!s)
		r = kho_fail_(-ENOENT, "token %#llx names no preserved fd",
			      (unsigned long long)token);
	else
		r = s->held ? 1 : kho_courier_why_();
	pthread_mutex_unlock(&table.lock);
	if (r == -ENOTCONN)
		kho_fail_(r,
			  "the supervisor is gone: nobody holds fds until kho run --adopt comes");
	if (r == -EMFILE)
		kho_fail_(r, "whoever holds fds for us holds as many as it may open: raise its "
			     "limit (ulimit -n)");
	return r;
}

int kho_fd_unpreserve(__u64 token)
{
	int r;

	if (kho_forked_())
		return forked();
	r = kho_fdtable_del_(token);
	return r < 0 ? r : 0;
}

/* Does poll() tell everybody who has it that it was shut down? */
static bool is_tcp(int fd)
{
	socklen_t len = sizeof(int);
	int protocol;

	return !getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) && protocol == IPPROTO_TCP;
}

int kho_fd_close(__u64 token)
{
	bool seen;
	int fd;

	fd = kho_fd_get(token);
	if (fd == -ENOENT)
		return kho_fail_(fd, "token %#llx names no preserved fd",
				 (unsigned long long)token);
	if (fd < 0)
		return fd;
	seen = is_tcp(fd);
	shutdown(fd, SHUT_RDWR); /* ENOTSOCK for what is none */
	pthread_mutex_lock(&table.lock);
	fd = del(token, seen);
	pthread_mutex_unlock(&table.lock);
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

int kho_fd_get(__u64 token)
{
	struct slot *s;
	int fd;

	if (kho_forked_())
		return forked();
	pthread_mutex_lock(&table.lock);
	s = find(token);
	fd = s ? s->fd : -ENOENT;
	pthread_mutex_unlock(&table.lock);
	return fd;
}

int kho_fd_next(unsigned int *pos, __u64 *token)
{
	int fd = -ENOENT;

	if (kho_forked_())
		return forked();
	pthread_mutex_lock(&table.lock);
	for (; *pos < table.nr_slots && fd < 0; ++*pos) {
		if (table.slots[*pos].fd < 0 || kho_is_session_token_(table.slots[*pos].token))
			continue;
		fd = table.slots[*pos].fd;
		*token = table.slots[*pos].token;
	}
	pthread_mutex_unlock(&table.lock);
	return fd;
}
