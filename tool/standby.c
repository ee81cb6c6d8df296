/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The standby: a successor that waits for a death. It was started, has checked and faulted in the arena and set
 * itself up, as for a hand-over; but at the other end of its channel we are, not a predecessor:
 *
 *	started		right after the server runs; we wait for HELLO
 *	listed		it got listening sockets and held fds, FDS_DONE; we wait for READY
 *	ready		fds that come and go are told a little later, several at a time
 *	TAKE		the server died: it is the server now
 *
 * It waits itself until no thread of the dead one can write any more. One that dies, or does not get ready, is
 * replaced after a while; one of an older program after an upgrade.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <kho/host.h>

#include "fdtable.h"
#include "owner.h"
#include "proc.h"
#include "supervisor.h"

#define TELL_MS 50 /* fds that came or went */
#define AGAIN_MS 1000 /* after one that failed; twice as long each time, up to */
#define AGAIN_MAX_MS 60000
#define AFTER_MS 300 /* after a death: the clients come first, and a start takes a processor */
#define HUSH_MS 20 /* reaping alone takes a processor for a millisecond */
#define DISMISS_MS 1000
/* All but the last step is done; before that it waits until nobody of the dead process can write. */
#define TAKE_MS (KHO_OWNER_DYING_MS + 5000)
#define SEND_MS 1000

/* With the table locked: never blocks. */
static int send_batch(void *ctx, const __u64 *tokens, const int *fds, unsigned int nr)
{
	const struct sup *s = ctx;

	return kho_msg_send_tokens_(s->standby_channel, fds ? KHO_MSG_FD : KHO_MSG_FD_GONE, tokens,
				    fds, nr, 0);
}

static int send_listeners(struct sup *s)
{
	__u64 tokens[MAX_LISTEN];

	for (unsigned int i = 0; i < s->nr_listen; i++)
		tokens[i] = KHO_FD_LISTEN + i;
	if (!s->nr_listen)
		return 0;
	return kho_msg_send_tokens_(s->standby_channel, KHO_MSG_FD, tokens, s->listen, s->nr_listen,
				    SEND_MS);
}

/* The session of the table ends with the standby. */
static void let_go(struct sup *s)
{
	if (s->standby_channel >= 0)
		close(s->standby_channel);
	s->standby_channel = -1;
	s->standby_state = STANDBY_NONE;
	s->standby_tell = 0;
	kho_fdtable_end_();
}

void standby_dismiss(struct sup *s)
{
	if (s->standby.pid)
		add_dying(s, &s->standby, DISMISS_MS, false);
	let_go(s);
	s->standby_at = 0;
}

static void failed(struct sup *s, const char *why)
{
	unsigned int wait = s->standby_wait ? s->standby_wait : AGAIN_MS;

	complain("%s: no standby: %s: another one in %u s", s->name, why, wait / 1000);
	standby_dismiss(s);
	s->standby_at = kho_now_ms_() + wait;
	s->standby_wait = 2 * wait < AGAIN_MAX_MS ? 2 * wait : AGAIN_MAX_MS;
}

/* ---- start ---- */

static int start(struct sup *s)
{
	struct launch launch = {.program = &s->program,
				.arena = s->arena,
				.held = -1,
				.holds = s->max_holds,
				.supervisor = s->path,
				.arena_max = s->arena_max,
				.realtime = s->realtime};
	int pair[2], channel[2], r = open_channel(channel);

	if (r)
		return r;
	s->standby_channel = channel[0];
	launch.channel = channel[1];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		close(channel[1]);
		return -errno;
	}
	launch.server = high_fd(pair[1]);
	r = spawn(&launch, &s->standby.pid, &s->standby.pidfd);
	kho_proc_hurry_(); /* from now on: who has a standby waits for nothing else than a death */
	close(launch.server);
	close(channel[1]);
	if (r) {
		close(pair[0]);
		s->standby = (struct server){.pidfd = -1, .sock = -1};
		return r;
	}
	s->standby.sock = high_fd(pair[0]);
	s->standby.child = true;
	s->standby.since = kho_now_ms_();
	s->standby_state = STANDBY_STARTED;
	return 0;
}

/* ---- what it says ---- */

/* All that does not fit into its socket waits until it has read some. */
static void tell(struct sup *s)
{
	int r = kho_fdtable_send_(send_batch, s, KHO_ABI_MSG_FDS_MAX);

	s->standby_tell = 0;
	if (r == -EAGAIN)
		s->standby_tell = kho_now_ms_() + 1;
	else if (r)
		failed(s, strerror(-r));
	else if (s->standby_state == STANDBY_STARTED) {
		kho_msg_say_(s->standby_channel, KHO_MSG_FDS_DONE, NULL);
		s->standby_state = STANDBY_LISTED;
	}
}

static void list(struct sup *s)
{
	kho_fdtable_begin_();
	if (send_listeners(s))
		failed(s, "it does not take its listening sockets");
	else
		tell(s);
}

void standby_serve(struct sup *s)
{
	int r = kho_msg_recv_(s->standby_channel, &s->msg, 0);

	if (r == -ETIMEDOUT)
		return;
	if (r)
		failed(s, "it exited");
	else if (s->msg.type == KHO_MSG_HELLO && s->standby_state == STANDBY_STARTED)
		list(s);
	else if (s->msg.type == KHO_MSG_READY && s->standby_state == STANDBY_LISTED) {
		s->standby_state = STANDBY_READY;
		s->standby_wait = 0;
	} else
		failed(s, s->msg.type == KHO_MSG_CANCEL ? kho_msg_text_(&s->msg, 0)
							: "it said something unexpected");
	kho_msg_drop_(&s->msg);
}

void standby_died(struct sup *s, const char *how)
{
	char why[160];

	forget_server(&s->standby);
	snprintf(why, sizeof(why), "its process %s", how);
	failed(s, why);
}

/* ---- time ---- */

void standby_changed(struct sup *s)
{
	if (s->standby_state == STANDBY_READY && !s->standby_tell)
		s->standby_tell = kho_now_ms_() + TELL_MS;
}

__u64 standby_next(const struct sup *s)
{
	__u64 at = s->standby.pid ? s->standby_tell : s->state == SUP_RUNNING ? s->standby_at : 0;

	return at;
}

void standby_on_time(struct sup *s)
{
	int r;

	if (!s->wants_standby)
		return;
	if (s->standby_tell && !kho_left_ms_(s->standby_tell))
		tell(s);
	if (s->standby.pid || s->state != SUP_RUNNING)
		return;
	if (s->standby_at && kho_left_ms_(s->standby_at))
		return;
	r = start(s);
	if (r)
		failed(s, strerror(-r));
}

/* ---- the death ---- */

/* The server is gone, s->cur empty. Return: the standby is the server. */
bool standby_take(struct sup *s)
{
	__u64 deadline = kho_now_ms_() + SEND_MS;
	struct kho_msg_out out = {.type = KHO_MSG_TAKE};
	int r;

	if (s->standby_state != STANDBY_READY) {
		standby_dismiss(s);
		return false;
	}
	/* What is not there yet: it has room for it soon. */
	while ((r = kho_fdtable_send_(send_batch, s, KHO_ABI_MSG_FDS_MAX)) == -EAGAIN &&
	       kho_left_ms_(deadline))
		usleep(100);
	r = r ?: kho_msg_send_(s->standby_channel, &out, SEND_MS);
	if (r) {
		standby_dismiss(s);
		return false;
	}
	s->cur = s->standby;
	s->cur.since = kho_now_ms_();
	s->standby = (struct server){.pidfd = -1, .sock = -1};
	s->standby_at = kho_now_ms_() + AFTER_MS;
	s->hush = kho_now_ms_() + HUSH_MS;
	let_go(s); /* it reads TAKE before it sees the end of it */
	s->state = SUP_STARTING;
	s->deadline =
		kho_now_ms_() + (s->ready_ms && s->ready_ms < TAKE_MS ? s->ready_ms : TAKE_MS);
	return true;
}
