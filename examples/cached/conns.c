/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * All connections: their tokens, and what they left in the arena.
 *
 * An idle connection is an fd under a token and nothing else. Only one that stopped in
 * the middle of something has a struct conn_state, in a slot of root "conns". What a dead program was in the
 * middle of is in the journals: from these such a state is made.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <kho/host.h>
#include <kho/progress.h>

#include "cached.h"

#define HASH_SIZE 4096
#define ACCEPT_MAX 64 /* at a time */

static struct conn_table *table;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct conn *heads[HASH_SIZE];
static unsigned int nr_conns, next_worker;
static struct ids tokens;
static __u32 *free_slots; /* a stack */
/* Slots from @scanned on are not in the stack: to look at all of them would be a part of each hand-over. */
static unsigned int nr_free, nr_slots, scanned;
static int spare_fd = -1;
static bool probation;

unsigned int conns_count(void)
{
	return __atomic_load_n(&nr_conns, __ATOMIC_RELAXED);
}

bool conns_probation(void)
{
	return __atomic_load_n(&probation, __ATOMIC_RELAXED);
}

void conns_set_probation(bool on)
{
	__atomic_store_n(&probation, on, __ATOMIC_RELAXED);
}

/* ---- by token; @lock is held ---- */

static struct conn **find(__u64 token)
{
	struct conn **link = &heads[token % HASH_SIZE];

	while (*link && (*link)->token != token)
		link = &(*link)->hash_next;
	return link;
}

static void forget(struct conn **link)
{
	struct conn *conn = *link;

	*link = conn->hash_next;
	__atomic_sub_fetch(&nr_conns, 1, __ATOMIC_RELAXED);
	/* Duplicates elsewhere keep the file: it does not leave the epoll by itself. */
	epoll_ctl(conn->worker->epoll, EPOLL_CTL_DEL, conn->fd, NULL);
	free(conn);
}

static int conns_add(__u64 token, int fd, bool fresh)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct conn *conn = calloc(1, sizeof(*conn));
	struct conn **link;

	if (!conn)
		return -ENOMEM;
	conn->token = token;
	conn->fd = fd;
	conn->slot = -1;
	conn->known = fresh; /* nothing went through it yet */
	event.data.ptr = conn;
	pthread_mutex_lock(&lock);
	link = find(token);
	if (*link) {
		pthread_mutex_unlock(&lock);
		free(conn);
		return 0;
	}
	conn->worker = &workers[next_worker++ % options.threads];
	*link = conn;
	__atomic_add_fetch(&nr_conns, 1, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&lock);
	if (epoll_ctl(conn->worker->epoll, EPOLL_CTL_ADD, fd, &event)) {
		conns_forget(token);
		return -ENOMEM;
	}
	return 0;
}

int conns_adopt(__u64 token, int fd)
{
	return conns_add(token, fd, false);
}

void conns_forget(__u64 token)
{
	struct conn **link;

	pthread_mutex_lock(&lock);
	link = find(token);
	if (*link)
		forget(link);
	pthread_mutex_unlock(&lock);
}

int conns_adopt_all(void)
{
	unsigned int pos = 0;
	__u64 token;
	int fd, err;

	while ((fd = kho_fd_next(&pos, &token)) >= 0) {
		if (token < TOKEN_CONN || token >= KHO_FD_LISTEN)
			continue;
		err = conns_adopt(token, fd);
		if (err)
			return err;
	}
	return 0;
}

/* ---- states ---- */

static __u64 *slot_at(unsigned int slot)
{
	return (__u64 *)table->chunk[slot / CHUNK_STATES] + slot % CHUNK_STATES;
}

/* It is zero by now. */
static void add_slot(unsigned int slot)
{
	if (slot < scanned)
		free_slots[nr_free++] = slot;
}

static int add_chunk(void)
{
	__u64 *chunk;

	if (nr_slots == NR_CHUNKS * CHUNK_STATES)
		return -ENOSPC;
	chunk = kho_calloc(CHUNK_STATES, sizeof(*chunk));
	if (!chunk || kho_publish((void **)&table->chunk[nr_slots / CHUNK_STATES], chunk, NULL)) {
		kho_free(chunk);
		return -ENOMEM;
	}
	nr_slots += CHUNK_STATES;
	return 0;
}

/* @lock is held. */
static int take_slot(void)
{
	int err;

	if (nr_free)
		return (int)free_slots[--nr_free];
	for (;;) {
		while (scanned < nr_slots)
			if (!*slot_at(scanned++))
				return (int)scanned - 1;
		err = add_chunk();
		if (err)
			return err;
	}
}

bool conns_store(struct conn *conn, struct conn_state *state)
{
	if (conn->slot < 0) {
		pthread_mutex_lock(&lock);
		conn->slot = take_slot();
		pthread_mutex_unlock(&lock);
		if (conn->slot < 0)
			return false;
	}
	if (kho_publish((void **)slot_at(conn->slot), state, conn->state))
		return false;
	conn->state = state;
	if (!state) {
		pthread_mutex_lock(&lock);
		add_slot(conn->slot);
		pthread_mutex_unlock(&lock);
		conn->slot = -1;
	}
	return true;
}

/* The item first: it hangs on the state. */
static void drop_state(__u64 *slot)
{
	struct conn_state *state = (struct conn_state *)*slot;

	if (state->item)
		kho_publish((void **)&state->item, NULL, (void *)state->item);
	kho_publish((void **)slot, NULL, state);
}

static void close_locked(struct conn **link)
{
	struct conn *conn = *link;
	__u64 token = conn->token;

	if (conn->state) {
		drop_state(slot_at(conn->slot));
		add_slot(conn->slot);
	}
	forget(link);
	kho_fd_close(token);
}

void conns_close(struct conn *conn)
{
	pthread_mutex_lock(&lock);
	close_locked(find(conn->token));
	pthread_mutex_unlock(&lock);
}

void conn_want(struct conn *conn, bool writing)
{
	struct epoll_event event = {.events = writing ? EPOLLOUT : EPOLLIN, .data.ptr = conn};

	if (conn->writing == writing)
		return;
	conn->writing = writing;
	epoll_ctl(conn->worker->epoll, EPOLL_CTL_MOD, conn->fd, &event);
}

/* ---- start ---- */

int conns_make(void **slot)
{
	struct conn_table *made;

	if (*slot)
		return 0;
	made = kho_calloc(1, sizeof(*made));
	if (!made)
		return -ENOMEM;
	made->token_limit = TOKEN_CONN;
	return kho_publish(slot, made, NULL);
}

/* ---- after a crash ---- */

/*
 * Whose is an item that came in? The one in progress stays, the table's is left to it, and one that was
 * refused is freed. Return: the one in progress is there.
 */
static bool settle_item(__u64 *owner, const struct record *r)
{
	if (*owner && *owner == r->item)
		return true;
	if (*owner && *owner == r->linked)
		__atomic_store_n(owner, 0, __ATOMIC_RELEASE);
	else if (*owner)
		kho_publish((void **)owner, NULL, (void *)*owner);
	return false;
}

/* The same as what save() of conn.c would have left over. NULL: it cannot be told, or no memory. */
static struct conn_state *rebuild(const struct journal *journal, const struct record *r,
				  const struct kho_tcp_progress *p)
{
	__u64 in = (__u32)r->done, nin = r->item ? 0 : p->consumed - r->in_pos - in;
	__u64 sent = p->queued - r->out_pos, nout = (r->done >> 32) - sent;
	struct item *item = (struct item *)r->item;
	char prefix[PREFIX_MAX];
	struct conn_state *state;
	size_t len;

	if (in + nin > sizeof(journal->in) || sent > r->done >> 32 ||
	    (item && p->consumed - r->item_pos > (__u64)item->nbytes + 2))
		return NULL;
	len = journal_prefix(r, prefix);
	state = kho_calloc(1, sizeof(*state) + len + nin + nout);
	if (!state)
		return NULL;
	state->token = r->token;
	state->item = r->item;
	state->item_pos = r->item_pos;
	if (r->swallow_to > r->in_pos + in)
		state->swallow = r->swallow_to - r->in_pos - in;
	state->cas = r->cas;
	state->verb = r->verb;
	state->noreply = r->noreply;
	state->in_now = p->consumed;
	state->out_now = p->queued;
	state->out_pos = p->queued;
	state->nin = len + nin;
	state->nout = nout;
	memcpy(state->data, prefix, len);
	memcpy(state->data + len, journal->in + in, nin);
	memcpy(state->data + len + nin, (char *)journal->out + sent, nout);
	return state;
}

/* Return: false: the connection cannot go on. */
static bool resume(struct journal *journal, const struct record *r, struct conn *conn)
{
	struct kho_tcp_progress p;
	struct conn_state *state;
	bool there = settle_item(&journal->item, r);

	if (conn && conn->state)
		there |= settle_item(&conn->state->item, r);
	if (!conn || there != (r->item != 0) || kho_tcp_progress(conn->fd, &p))
		return false;
	state = rebuild(journal, r, &p);
	if (!state)
		return false;
	if (!conns_store(conn, state)) {
		kho_free(state);
		return false;
	}
	conn_want(conn, true);
	return true;
}

/* Can be killed and done again at any point: until the journal is closed nothing of it has changed. */
static void recover(struct journal *journal)
{
	const struct record *r = journal_read(journal);
	struct conn **link;

	if (r) {
		link = find(r->token);
		if (!resume(journal, r, *link)) {
			if (journal->item)
				kho_publish((void **)&journal->item, NULL, (void *)journal->item);
			if (*link)
				close_locked(link);
			else
				kho_fd_close(r->token);
		}
		__atomic_store_n(&journal->now, 0, __ATOMIC_RELEASE);
	}
	if (journal->item)
		__atomic_store_n(&journal->item, 0, __ATOMIC_RELEASE);
}

/* Nothing counts what went through a socket that is not TCP's: how much of an answer, or of a value, is not known. */
static void close_uncertain(void)
{
	struct kho_tcp_progress p;
	struct conn **link;

	for (unsigned int i = 0; i < HASH_SIZE; i++) {
		for (link = &heads[i]; *link;) {
			struct conn_state *state = (*link)->state;

			if (state && (state->nout || state->item) &&
			    kho_tcp_progress((*link)->fd, &p) == -EPROTOTYPE)
				close_locked(link);
			else
				link = &(*link)->hash_next;
		}
	}
}

static void recover_all(bool after_crash)
{
	for (unsigned int i = 0; i < MAX_WORKERS; i++)
		if (table->journal[i])
			recover((struct journal *)table->journal[i]);
	if (after_crash)
		close_uncertain();
}

/* A state that somebody left: of a connection of ours, or of one that is gone. */
static void read_slot(unsigned int slot)
{
	struct conn_state *state = (struct conn_state *)*slot_at(slot);
	struct conn *conn = *find(state->token);

	if (!conn) {
		drop_state(slot_at(slot));
		return;
	}
	conn->state = state;
	conn->slot = (int)slot;
	conn_want(conn, true); /* there may be output; if not, this costs one event */
}

/* The one walk of a hand-over over all slots: most are empty. */
static void read_chunk(const __u64 *chunk)
{
	unsigned int i;

	for (i = 0; i < CHUNK_STATES; i++)
		if (chunk[i])
			read_slot(nr_slots + i);
}

/* After a roll-back: the failed program closed connections, and made what we know of states stale. */
static void drop_gone(void)
{
	struct conn **link;
	unsigned int i;

	for (i = 0; i < HASH_SIZE; i++) {
		for (link = &heads[i]; *link;) {
			if (kho_fd_get((*link)->token) < 0) {
				forget(link);
				continue;
			}
			(*link)->state = NULL;
			(*link)->slot = -1;
			(*link)->known = false;
			link = &(*link)->hash_next;
		}
	}
}

int conns_prepare(void)
{
	if (!free_slots)
		free_slots = malloc(NR_CHUNKS * CHUNK_STATES * sizeof(*free_slots));
	if (spare_fd < 0)
		spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return free_slots ? 0 : -ENOMEM;
}

/*
 * Called while nobody serves: at the start, after the grant, after a roll-back. Who is known by
 * then goes on; states that nobody owns are freed.
 */
int conns_attach(struct conn_table *found, bool after_rollback, bool after_crash)
{
	table = found;
	ids_attach(&tokens, &table->token_limit);
	nr_free = scanned = 0;
	if (after_rollback)
		drop_gone();
	for (nr_slots = 0; nr_slots < NR_CHUNKS * CHUNK_STATES; nr_slots += CHUNK_STATES) {
		if (!table->chunk[nr_slots / CHUNK_STATES])
			break;
		read_chunk((const __u64 *)table->chunk[nr_slots / CHUNK_STATES]);
	}
	recover_all(after_rollback || after_crash);
	return journals_attach(table->journal);
}

__u64 conns_objects(void)
{
	const struct conn_state *state;
	__u64 objects = 1;
	unsigned int i;

	pthread_mutex_lock(&lock);
	for (i = 0; i < nr_slots; i++) {
		state = (const struct conn_state *)*slot_at(i);
		if (state)
			objects += state->item ? 2 : 1;
	}
	objects += nr_slots / CHUNK_STATES;
	for (i = 0; i < MAX_WORKERS; i++) {
		const struct journal *journal = (const struct journal *)table->journal[i];

		if (journal)
			objects += 1 + !!journal->out + !!journal->item;
	}
	pthread_mutex_unlock(&lock);
	return objects;
}

/* ---- new ones ---- */

/* Out of fds: take one more by giving up the spare one, so that the peer hears of it. */
static int accept_one(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd >= 0 || (errno != EMFILE && errno != ENFILE) || spare_fd < 0)
		return fd;
	close(spare_fd);
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	errno = EMFILE;
	return -1;
}

void conns_accept(int listener)
{
	static const char full[] = "ERROR Too many open connections\r\n";
	int fd, i, on = 1;
	__u64 token;

	for (i = 0; i < ACCEPT_MAX && (fd = accept_one(listener)) >= 0; i++) {
		if (conns_count() >= options.conns) {
			count(ACCEPTOR, REJECTED_CONNS, 1);
			if (send(fd, full, sizeof(full) - 1, MSG_NOSIGNAL) < 0)
				errno = 0; /* it is about to be closed anyway */
			close(fd);
			continue;
		}
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		pthread_mutex_lock(&lock);
		token = ids_take(&tokens, 1);
		pthread_mutex_unlock(&lock);
		count(ACCEPTOR, TOTAL_CONNS, 1);
		if (kho_fd_preserve(token, fd))
			close(fd);
		else if (conns_add(token, fd, true))
			kho_fd_close(token);
	}
}
