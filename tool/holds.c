/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Fds that kho run holds for its server, so that they outlive it: duplicates under the server's
 * tokens, in the table that libkho keeps for a server's own.
 *
 * A server says what to hold and what to drop; a connection that hangs up is dropped here, whoever
 * lives: else a closed one would take an fd until the next server looks at it.
 *
 * Each of them is marked close-on-exec, until the child that becomes the next server clears that for
 * itself: it finds them under the same numbers, by a list of records as after exec in place.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <kho/host.h>

#include "fdtable.h"
#include "supervisor.h"

#define HOLDS_MAX (1u << 20)
#define OWN_FDS                                                                                    \
	300 /* those below, and around, HIGH_FD; connections; what is on its way in a message */
#define EVENTS 64

int holds_open(struct sup *s)
{
	struct rlimit limit;
	__u64 room;

	s->hangups = high_fd(epoll_create1(EPOLL_CLOEXEC));
	if (s->hangups < 0)
		return -errno;
	if (getrlimit(RLIMIT_NOFILE, &limit))
		return -errno;
	server_limit = limit;
	limit.rlim_cur = limit.rlim_max < HOLDS_MAX ? limit.rlim_max : HOLDS_MAX;
	if (limit.rlim_cur < server_limit.rlim_cur || setrlimit(RLIMIT_NOFILE, &limit))
		limit = server_limit;
	room = limit.rlim_cur > OWN_FDS ? limit.rlim_cur - OWN_FDS : 0;
	s->max_holds = room < HOLDS_MAX ? (unsigned int)room : HOLDS_MAX;
	return 0;
}

void holds_offer(struct sup *s, struct server *who)
{
	const struct kho_abi_msg_register *reg = (const void *)s->msg.body;
	struct kho_abi_msg_holds body = {.max = s->max_holds};
	struct kho_msg_out out = {.type = KHO_MSG_HOLDS, .head = &body, .head_len = sizeof(body)};

	if (reg->flags & KHO_REGISTER_HOLDS)
		kho_msg_send_(who->sock, &out, 0);
}

static void let_go(struct sup *s, __u64 token)
{
	int fd = kho_fdtable_del_(token);

	if (fd < 0)
		return;
	standby_changed(s);
	/* The file lives on elsewhere: it does not leave by itself. */
	epoll_ctl(s->hangups, EPOLL_CTL_DEL, fd, NULL);
	close(fd);
}

static void hold(struct sup *s, __u64 token, int fd)
{
	/* Hang-ups are always told. What cannot be watched does not hang up. */
	struct epoll_event event = {.events = EPOLLET, .data.u64 = token};

	let_go(s, token);
	if (kho_fdtable_add_(token, fd)) {
		complain("%s: %s", s->name, kho_error());
		close(fd);
		return;
	}
	epoll_ctl(s->hangups, EPOLL_CTL_ADD, fd, &event);
}

/* ---- hang-ups ---- */

/* Is nothing left that the next server could do for it? */
static bool is_over(int fd)
{
	struct pollfd p = {fd, 0, 0};
	int protocol = 0, left = 0;
	socklen_t len = sizeof(protocol);

	if (poll(&p, 1, 0) <= 0 || !(p.revents & (POLLHUP | POLLERR)))
		return false;
	/* A TCP connection hangs up when neither side is open. Of a pipe there may be something to read. */
	if (!getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) && protocol == IPPROTO_TCP)
		return p.revents & POLLHUP;
	return !ioctl(fd, FIONREAD, &left) && !left;
}

static int look(struct sup *s)
{
	struct epoll_event events[EVENTS];
	int n = epoll_wait(s->hangups, events, EVENTS, 0);

	for (int i = 0; i < n; i++) {
		int fd = kho_fd_get(events[i].data.u64);

		/* The token may be another's by now. */
		if (fd >= 0 && is_over(fd))
			let_go(s, events[i].data.u64);
	}
	return n;
}

void holds_hung_up(struct sup *s)
{
	while (look(s) == EVENTS)
		;
}

/* ---- what the server says ---- */

void holds_take(struct sup *s)
{
	const struct kho_abi_msg_fds *head = (const void *)s->msg.body;
	const __u64 *tokens = (const void *)(head + 1);

	s->held_some = true;
	standby_changed(s);
	/* What hung up before this was said makes room for it. */
	if (kho_fdtable_count_() + head->nr > s->max_holds)
		holds_hung_up(s);
	for (unsigned int i = 0; i < head->nr; i++) {
		/* Tokens from there on name our own listening sockets. */
		if (tokens[i] >= KHO_FD_LISTEN ||
		    (kho_fdtable_count_() >= s->max_holds && kho_fd_get(tokens[i]) < 0))
			continue;
		hold(s, tokens[i], high_fd(s->msg.fds[i]));
		s->msg.fds[i] = -1;
	}
}

void holds_drop(struct sup *s)
{
	const struct kho_abi_msg_fds *head = (const void *)s->msg.body;
	const __u64 *tokens = (const void *)(head + 1);

	for (unsigned int i = 0; i < head->nr; i++)
		let_go(s, tokens[i]);
}

struct older {
	__u64 tokens[EVENTS];
	unsigned int nr;
	unsigned long change;
};

static int find_older(void *ctx, __u64 token, int fd, unsigned long change)
{
	struct older *o = ctx;

	if (change <= o->change)
		o->tokens[o->nr++] = token;
	return o->nr == EVENTS;
}

static void drop_older(struct sup *s, unsigned long change)
{
	struct older o;

	do {
		o.nr = 0;
		o.change = change;
		kho_fdtable_changes_(find_older, &o);
		for (unsigned int i = 0; i < o.nr; i++)
			let_go(s, o.tokens[i]);
	} while (o.nr);
}

void holds_sync(struct sup *s, struct server *who)
{
	const struct kho_abi_msg_sync *sync = (const void *)s->msg.body;

	if (!sync->end) {
		s->syncer = who->pid;
		s->sync_began = kho_fdtable_changes_(NULL, NULL);
	} else if (s->syncer == who->pid) {
		drop_older(s, s->sync_began);
		s->syncer = 0;
	}
}

/* The limit was lower than we thought, or somebody else opened files in our name. */
void holds_refused(struct sup *s, struct server *who)
{
	struct kho_abi_msg_holds body;
	struct kho_msg_out out = {.type = KHO_MSG_HOLDS, .head = &body, .head_len = sizeof(body)};

	s->max_holds = kho_fdtable_count_();
	complain(
		"%s: no more than %u fds can be held for the server: raise the limit of open files "
		"(ulimit -n)",
		s->name, s->max_holds);
	body = (struct kho_abi_msg_holds){.max = s->max_holds};
	kho_msg_send_(who->sock, &out, 0);
}

unsigned int holds_count(void)
{
	return kho_fdtable_count_();
}

void holds_clear(struct sup *s)
{
	drop_older(s, ~0UL);
}

/* ---- the next server ---- */

struct listing {
	int memfd;
	unsigned int nr;
	struct kho_abi_exec_fd recs[256];
	int error;
};

static void write_records(struct listing *l)
{
	size_t size = l->nr * sizeof(l->recs[0]);

	if (size && write(l->memfd, l->recs, size) != (ssize_t)size)
		l->error = -ENOMEM;
	l->nr = 0;
}

static int list_one(void *ctx, __u64 token, int fd)
{
	struct listing *l = ctx;

	l->recs[l->nr++] = (struct kho_abi_exec_fd){.token = token, .fd = fd};
	if (l->nr == sizeof(l->recs) / sizeof(l->recs[0]))
		write_records(l);
	return l->error;
}

int holds_list(void)
{
	static struct listing l;

	if (!kho_fdtable_count_())
		return -1;
	l = (struct listing){.memfd = high_fd(memfd_create("kho-fds", MFD_CLOEXEC))};
	if (l.memfd < 0) {
		complain("the held fds cannot be passed on: %s", strerror(errno));
		return -1;
	}
	kho_fdtable_each_(list_one, &l);
	write_records(&l);
	if (l.error) {
		complain("the held fds cannot be passed on: %s", strerror(-l.error));
		close(l.memfd);
		return -1;
	}
	return l.memfd;
}
