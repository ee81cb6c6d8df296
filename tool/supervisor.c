/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * kho run's loop: everything that happens is an event on some fd, and nothing blocks: whoever does not
 * read what it asked for is hung up on, and who has nothing to ask makes room for others.
 * What a peer sends is checked by message.c and by who the kernel says it is.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proc.h"
#include "supervisor.h"

static const char *const states[] = {
	[SUP_STARTING] = "starting", [SUP_RUNNING] = "running", [SUP_UPGRADING] = "upgrading",
	[SUP_STOPPING] = "stopping", [SUP_FAILED] = "failed",	[SUP_ADOPTING] = "adopting",
	[SUP_HELD] = "held",
};

static const char *const standbys[] = {[STANDBY_NONE] = "none",
				       [STANDBY_STARTED] = "starting",
				       [STANDBY_LISTED] = "starting",
				       [STANDBY_READY] = "ready"};

static void hang_up(struct conn *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->upgrades = c->stops = false;
}

void reply(struct conn *c, int error, unsigned int step, const char *text)
{
	struct kho_abi_msg_result result = {error, step};
	struct kho_msg_out out = {.type = KHO_MSG_CTL_REPLY,
				  .head = &result,
				  .head_len = sizeof(result),
				  .text = text,
				  .text_len = strlen(text)};

	if (kho_msg_send_(c->fd, &out, 0))
		hang_up(c);
}

void reply_upgrade(struct sup *s, int error, unsigned int step, const char *text)
{
	for (struct conn *c = s->conns; c < s->conns + MAX_CONNS; c++) {
		if (c->fd < 0 || !c->upgrades)
			continue;
		reply(c, error, step, text);
		hang_up(c);
	}
}

void progress(struct sup *s, const char *text)
{
	struct kho_msg_out out = {
		.type = KHO_MSG_CTL_PROGRESS, .text = text, .text_len = strlen(text)};

	/* News that do not fit are not missed: the reply matters. */
	for (struct conn *c = s->conns; c < s->conns + MAX_CONNS; c++)
		if (c->fd >= 0 && c->upgrades)
			kho_msg_send_(c->fd, &out, 0);
}

/* ---- control connections ---- */

/* Paths, and what programs say of themselves, may have several lines: they would be keys of their own. */
static const char *one_line(char *copy, size_t size, const char *text)
{
	snprintf(copy, size, "%s", text);
	for (char *at = copy; *at; at++)
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			*at = '?';
	return copy;
}

static void status(struct sup *s, struct conn *c)
{
	char release[sizeof(s->cur.release)], program[1024];
	char upgrade[sizeof(s->last_upgrade)], death[sizeof(s->last_death)];
	char text[4096];
	struct stat st = {0};

	if (s->arena >= 0)
		fstat(s->arena, &st);
	/* One "key value" a line; what people may have chosen freely comes last on its line. */
	snprintf(text, sizeof(text),
		 "name %s\nstate %s\nsupervisor %d\npid %d\nrelease %s\ngeneration %llu\n"
		 "restarts %u\nuptime_ms %llu\narena_size %lld\narena_used %lld\nlisten %u\n"
		 "liveupdate %s\n"
		 "held %u\nheld_max %u\nstandby %d\nstandby_state %s\n"
		 "program %s\nlast_upgrade %s\nlast_death %s\n",
		 s->name, states[s->state], (int)getpid(), (int)s->cur.pid,
		 one_line(release, sizeof(release), s->cur.release),
		 (unsigned long long)s->cur.generation, s->restarts,
		 (unsigned long long)(s->cur.pid ? kho_now_ms_() - s->cur.since : 0),
		 (long long)st.st_size, (long long)st.st_blocks * 512, s->nr_listen,
		 liveupdate_word(s), holds_count(), s->max_holds, (int)s->standby.pid,
		 standbys[s->standby_state], one_line(program, sizeof(program), s->program.argv[0]),
		 one_line(upgrade, sizeof(upgrade), s->last_upgrade),
		 one_line(death, sizeof(death), s->last_death));
	reply(c, 0, 0, text);
}

static void serve_conn(struct sup *s, struct conn *c)
{
	int r = kho_msg_recv_(c->fd, &s->msg, 0);

	if (r == -ETIMEDOUT)
		return;
	c->since = ++s->nr_heard;
	if (r) {
		if (r != -EPIPE)
			reply(c, r, 0, "message refused");
		hang_up(c);
		return;
	}
	switch (s->msg.type) {
	case KHO_MSG_CTL_STATUS:
		status(s, c);
		break;
	case KHO_MSG_CTL_STOP:
		c->stops = true;
		stop_server(s);
		break;
	case KHO_MSG_CTL_CLEAR:
		clear_server(s, c);
		break;
	case KHO_MSG_CTL_UPGRADE:
		begin_upgrade(s, c);
		break;
	case KHO_MSG_CTL_PRESERVE:
		liveupdate_request(s, c);
		break;
	case KHO_MSG_CTL_TAKE:
		liveupdate_give(s, c);
		hang_up(c);
		break;
	case KHO_MSG_REGISTER:
		if (adopt(s, c)) {
			c->fd = -1; /* it is the server's now */
			break;
		}
		if (s->state != SUP_ADOPTING)
			reply(c, -EBUSY, 0,
			      "this kho run supervises another server: one that lost its own is "
			      "taken over by kho run --adopt");
		hang_up(c);
		break;
	default:
		hang_up(c);
	}
	kho_msg_drop_(&s->msg);
}

/* A free place, or that of the client which has been silent for longest; NULL: all wait for something. */
static struct conn *find_place(struct sup *s)
{
	struct conn *found = NULL;

	for (struct conn *c = s->conns; c < s->conns + MAX_CONNS; c++) {
		if (c->fd < 0)
			return c;
		if (!c->upgrades && !c->stops && (!found || c->since < found->since))
			found = c;
	}
	if (found)
		hang_up(found);
	return found;
}

static void refuse(int fd, const char *why)
{
	struct conn c = {.fd = fd};

	reply(&c, -EPERM, 0, why);
	hang_up(&c);
}

static void accept_conn(struct sup *s)
{
	struct conn *c;
	struct ucred cred;
	socklen_t len = sizeof(cred);
	int fd = accept4(s->control, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) ||
	    (cred.uid && cred.uid != geteuid())) {
		refuse(fd, "this kho run is another user's");
		return;
	}
	c = find_place(s);
	if (!c) {
		close(fd);
		return;
	}
	*c = (struct conn){.fd = high_fd(fd), .since = ++s->nr_heard};
}

/* ---- signals ---- */

static void reap(struct sup *s)
{
	int status;
	pid_t pid;

	/* Also what is not ours: as process 1 we are everybody's parent in the end. */
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		child_died(s, pid, status);
}

static void forward(struct sup *s, int sig)
{
	if (s->cur.pid && s->cur.pidfd >= 0)
		kill(s->cur.pid, sig);
}

static void on_signal(struct sup *s)
{
	struct signalfd_siginfo info;

	while (read(s->signals, &info, sizeof(info)) == sizeof(info)) {
		switch (info.ssi_signo) {
		case SIGCHLD:
			reap(s);
			break;
		case SIGTERM:
		case SIGINT:
			if (s->state == SUP_HELD)
				break; /* everybody is told to end when a machine goes down */
			s->by_signal = true;
			stop_server(s);
			break;
		default:
			forward(s, (int)info.ssi_signo);
		}
	}
}

static int open_signals(struct sup *s)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	s->signals = high_fd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
	return s->signals < 0 ? -errno : 0;
}

/* ---- time ---- */

static int next_timeout(struct sup *s)
{
	__u64 first = s->deadline, watchdog = notify_deadline();
	__u64 standby = s->wants_standby ? standby_next(s) : 0;
	__u64 upgrade = upgrade_next(s);

	if (upgrade && (!first || upgrade < first))
		first = upgrade;
	if (standby && (!first || standby < first))
		first = standby;
	if (s->hush && (!first || s->hush < first))
		first = s->hush;
	if (watchdog && (!first || watchdog < first))
		first = watchdog;
	for (struct dying *d = s->dying; d < s->dying + MAX_DYING; d++)
		if (d->pid && d->kill_at && (!first || d->kill_at < first))
			first = d->kill_at;
	return first ? kho_left_ms_(first) : -1;
}

static void on_time(struct sup *s)
{
	notify_on_time();
	standby_on_time(s);
	upgrade_on_time(s);
	for (struct dying *d = s->dying; d < s->dying + MAX_DYING; d++) {
		if (!d->pid || !d->kill_at || kho_left_ms_(d->kill_at))
			continue;
		kill(d->pid, SIGKILL); /* not reaped yet: the pid is still its own */
		d->kill_at = 0;
	}
	if (!s->deadline || kho_left_ms_(s->deadline))
		return;
	s->deadline = 0;
	if (s->state == SUP_UPGRADING) {
		upgrade_timed_out(s);
	} else if (s->state == SUP_STOPPING && s->cur.pid) {
		complain("%s: process %d does not stop: killed", s->name, (int)s->cur.pid);
		kill(s->cur.pid, SIGKILL);
	} else if (s->state == SUP_STARTING && s->cur.pid) {
		complain("%s: process %d was not ready in time: killed", s->name, (int)s->cur.pid);
		kill(s->cur.pid, SIGKILL);
	} else if (s->state == SUP_ADOPTING) {
		complain("%s: no server registered within %u ms: is one running? Without --adopt a "
			 "new one is started",
			 s->name, s->adopt_ms);
		s->exit_status = 1;
		s->exiting = true;
	}
}

/* ---- the loop ---- */

#define NR_POLLED 9 /* besides connections */
#define TURN_MSGS 64 /* of one server, before others have their turn */
#define REST_MS 1

static void turn(struct sup *s)
{
	struct pollfd p[NR_POLLED + MAX_CONNS] = {
		{s->signals, POLLIN, 0},
		{s->control, POLLIN, 0},
		{s->deathwatch, POLLIN, 0},
		{s->cur.sock, POLLIN, 0},
		{s->next.sock, POLLIN, 0},
		{s->cur.pid && !s->cur.child ? s->cur.pidfd : -1, POLLIN, 0},
		{s->hangups, POLLIN, 0},
		{s->standby_channel, POLLIN, 0},
		{s->standby.sock, POLLIN, 0},
	};
	bool rest = s->held_some;

	if (s->hush && !kho_left_ms_(s->hush))
		s->hush = 0;
	if (s->hush)
		p[0].fd = -1;
	for (int i = 0; i < MAX_CONNS; i++)
		p[NR_POLLED + i] = (struct pollfd){s->conns[i].fd, POLLIN, 0};
	/*
	 * Fds to hold are safe on the way to us, and connections may come and go by the thousand: what
	 * comes within a while is taken together.
	 */
	if (rest)
		p[3].fd = p[6].fd = -1;
	s->held_some = false;
	if (poll(p, NR_POLLED + MAX_CONNS, rest ? REST_MS : next_timeout(s)) < 0)
		return;
	/* Words before deaths: a server says UPGRADED and exits. */
	for (int i = 0;
	     p[3].revents && i < TURN_MSGS && s->cur.sock == p[3].fd && serve(s, &s->cur);)
		i++;
	if (p[4].revents && s->next.sock == p[4].fd)
		serve(s, &s->next);
	if (p[2].revents)
		owner_died(s);
	if (p[0].revents)
		on_signal(s);
	if (p[5].revents && s->cur.pidfd == p[5].fd)
		adopted_died(s);
	for (int i = 0; i < MAX_CONNS; i++)
		if (p[NR_POLLED + i].revents && s->conns[i].fd == p[NR_POLLED + i].fd)
			serve_conn(s, &s->conns[i]);
	if (p[6].revents)
		holds_hung_up(s);
	if (p[8].revents && s->standby.sock == p[8].fd)
		serve(s, &s->standby);
	if (p[7].revents && s->standby_channel == p[7].fd)
		standby_serve(s);
	if (p[1].revents)
		accept_conn(s);
	on_time(s);
}

static void take_leave(struct sup *s)
{
	for (struct conn *c = s->conns; c < s->conns + MAX_CONNS; c++) {
		if (c->fd >= 0 && c->stops)
			reply(c, 0, KHO_STEP_DONE, "");
		else if (c->fd >= 0 && c->upgrades)
			reply(c, -ESHUTDOWN, KHO_STEP_SPAWN, "the supervisor stops");
	}
}

int supervise(struct sup *s)
{
	int r = open_signals(s) ?: holds_open(s) ?: watch_owner(s);

	patient = false; /* the servers matter more than words about them */
	if (r) {
		complain("%s: the supervisor cannot start: %s", s->name, strerror(-r));
		return 1;
	}
	notify_store_arena(s);
	if (s->state == SUP_ADOPTING)
		s->deadline = kho_now_ms_() + s->adopt_ms;
	else if (start_server(s))
		return 1;
	while (!s->exiting)
		turn(s);
	notify("STOPPING=1");
	take_leave(s);
	return s->exit_status;
}

void supervise_held(struct sup *s)
{
	for (struct conn *c = s->conns; c < s->conns + MAX_CONNS; c++)
		hang_up(c);
	s->state = SUP_HELD;
	s->deadline = 0;
	s->exiting = false;
	while (!s->exiting)
		turn(s);
	take_leave(s);
}
