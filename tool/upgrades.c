/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * An upgrade as the supervisor sees it: it starts the successor and introduces the two to
 * each other; they hand over between themselves. It learns the outcome from what they say
 * and from who dies:
 *
 *	predecessor says UPGRADED	that is how it ended
 *	predecessor dies, successor says (or said) RUNNING	it went on alone
 *	predecessor dies, successor dies	restart, with the program of before
 *	successor dies	the predecessor will say what it did about it
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/sockios.h>

#include <kho/abi/handover.h>
#include <kho/core/report.h>
#include <kho/host.h>

#include "proc.h"
#include "supervisor.h"

#define SLACK_MS 15000 /* beyond the hand-over's own time-outs: kills, waits, roll-back */
#define BEGIN_MS 5000 /* for a server that starts to be one that can be asked */
#define LOOK_MS 250
#define LOOKS 20 /* at a predecessor that stands still: 5 s */
#define ORPHAN_MS 15000 /* a successor without predecessor to say RUNNING, or exit */
#define RETIRE_MS 10000 /* a predecessor to exit after it said UPGRADED */
#define REFUSED_MS 1000

static unsigned int or_default(unsigned int value, unsigned int fallback)
{
	return value ? value : fallback;
}

static void drop_program(struct program *p)
{
	if (p->argv)
		free_argv(p->argv);
	if (p->argv && p->binary >= 0)
		close(p->binary);
	p->argv = NULL;
	p->binary = -1;
}

static void use_candidate(struct sup *s)
{
	drop_program(&s->program);
	s->program = s->candidate;
	s->candidate = (struct program){.binary = -1};
}

static void finish(struct sup *s, int error, unsigned int step, const char *text)
{
	if (s->state != SUP_STARTING && s->state != SUP_ADOPTING)
		s->deadline = 0; /* there it is the server's own */
	snprintf(s->last_upgrade, sizeof(s->last_upgrade), "%s%s%s",
		 !error			 ? "ok"
		 : step < KHO_STEP_GRANT ? "refused"
					 : "rolled back",
		 *text ? ": " : "", text);
	for (char *p = s->last_upgrade; *p; p++)
		if ((unsigned char)*p < 0x20)
			*p = ' ';
	drop_program(&s->candidate);
	reply_upgrade(s, error, step, text);
}

/* What the client gave, then what is left of the old arguments from number @old on. */
static char **candidate_argv(const struct sup *s, const char *given, size_t len, size_t old)
{
	char **from = s->program.argv, **argv, *text, *to;
	size_t size = len;

	for (size_t i = 0; from[i]; i++)
		size += i < old ? 0 : strlen(from[i]) + 1;
	text = malloc(size);
	if (!text)
		return NULL;
	memcpy(text, given, len);
	to = text + len;
	for (size_t i = 0; from[i]; i++)
		if (i >= old)
			to = stpcpy(to, from[i]) + 1;
	argv = split_argv(text, size);
	free(text);
	return argv;
}

/* The new program from the client's message; without a binary the same file name again. */
static int take_candidate(struct sup *s)
{
	const char *given = (const char *)s->msg.body + sizeof(s->up);
	size_t len = s->msg.len - sizeof(s->up), old = 0;
	struct program *p = &s->candidate;

	if (len)
		old = s->up.flags & KHO_UPGRADE_OLD_ARGS ? 1 : SIZE_MAX;
	s->up.flags &= ~KHO_UPGRADE_OLD_ARGS; /* between the client and us */
	p->argv = candidate_argv(s, given, len, old);
	if (!p->argv || !p->argv[0])
		return -ENOMEM;
	if (s->msg.nr_fds) {
		p->binary = high_fd(s->msg.fds[0]);
		s->msg.fds[0] = -1;
		return 0;
	}
	p->binary = high_fd(open_program(p->argv[0]));
	return p->binary < 0 ? p->binary : 0;
}

int open_channel(int *pair)
{
	int one = 1;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	for (int i = 0; i < 2; i++) {
		pair[i] = high_fd(pair[i]);
		setsockopt(pair[i], SOL_SOCKET, SO_PASSCRED, &one, sizeof(one));
	}
	return 0;
}

static int spawn_next(struct sup *s, int channel)
{
	struct launch launch = {.program = &s->candidate,
				.arena = s->arena,
				.channel = channel,
				.held = -1,
				.holds = s->max_holds,
				.supervisor = s->path,
				.arena_max = s->arena_max,
				.realtime = s->realtime};
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	launch.server = high_fd(pair[1]);
	r = spawn(&launch, &s->next.pid, &s->next.pidfd);
	close(launch.server);
	if (r) {
		close(pair[0]);
		s->next = (struct server){.pidfd = -1, .sock = -1};
		return r;
	}
	s->next.sock = high_fd(pair[0]);
	s->next.child = true;
	s->next.running = false;
	s->next.since = kho_now_ms_();
	return 0;
}

static int introduce(struct sup *s, int channel)
{
	bool exec = s->up.flags & KHO_UPGRADE_EXEC;
	int fds[3] = {channel, s->next.pidfd, s->candidate.binary};
	struct kho_msg_out out = {.type = KHO_MSG_UPGRADE,
				  .head = &s->up,
				  .head_len = sizeof(s->up),
				  .fds = fds,
				  .nr_fds = exec ? 3 : 2};
	char args[KHO_ABI_MSG_MAX], *to = args;

	for (char **p = s->candidate.argv; exec && *p; p++) {
		if (strlen(*p) + 1 > sizeof(args) - sizeof(s->up) - 16 - (size_t)(to - args))
			return -E2BIG;
		to = stpcpy(to, *p) + 1;
	}
	out.text = args;
	out.text_len = (size_t)(to - args);
	s->up.successor = (__u32)s->next.pid;
	return kho_msg_send_(s->cur.sock, &out, 0);
}

static int start_upgrade(struct sup *s)
{
	int pair[2], r = open_channel(pair);
	char text[64];

	if (r)
		return r;
	r = spawn_next(s, pair[1]);
	close(pair[1]);
	if (!r) {
		snprintf(text, sizeof(text), "started process %d", (int)s->next.pid);
		progress(s, text);
		r = introduce(s, pair[0]);
		if (r)
			kill(s->next.pid, SIGKILL);
	}
	close(pair[0]);
	return r;
}

/*
 * What the very files say that were and will be executed. Advice: what they do not say, or not well, is left
 * to the hand-over itself. Return: 0, or negative with @text.
 */
static int check_notes(struct sup *s, char *text, size_t size)
{
	int r;

	if (s->up.flags & KHO_UPGRADE_FORCE || s->program.binary < 0)
		return 0;
	r = kho_note_check(s->program.binary, s->candidate.binary);
	if (r == -KHO_E_INCOMPATIBLE) {
		snprintf(text, size, "by what the files say, before it was started: %s",
			 kho_error());
		return r;
	}
	if (r) {
		snprintf(text, size, "notes on formats cannot be read: %s", kho_error());
		progress(s, text);
	}
	return 0;
}

static __u64 upgrade_deadline(const struct sup *s)
{
	/* Files are sent twice, the second time as long as a freeze may take. */
	return kho_now_ms_() + or_default(s->up.ready_ms, 60000) +
	       2ULL * or_default(s->up.freeze_ms, 1000) + or_default(s->up.taken_ms, 1000) +
	       or_default(s->up.healthy_ms, 10000) + SLACK_MS;
}

/* Of a server that died too often: the new program is its next start, and has one chance. */
static int revive(struct sup *s)
{
	int r;

	use_candidate(s);
	s->nr_deaths = 0;
	s->reviving = true;
	r = start_server(s);
	if (r) {
		s->reviving = false;
		s->state = SUP_FAILED;
	}
	return r;
}

static void launch(struct sup *s)
{
	char text[512];
	int r;

	if (s->state == SUP_FAILED) {
		r = revive(s);
	} else if (check_notes(s, text, sizeof(text))) {
		finish(s, -KHO_E_INCOMPATIBLE, KHO_STEP_CHECK, text);
		return;
	} else {
		r = start_upgrade(s);
		if (!r) {
			s->state = SUP_UPGRADING;
			s->rehearsed = false;
			s->look_at = kho_now_ms_() + LOOK_MS;
			s->idle_looks = 0;
			s->order_read = false;
			s->deadline = upgrade_deadline(s);
		}
	}
	if (!r)
		return;
	snprintf(text, sizeof(text), "the new program cannot be executed: %s", strerror(-r));
	finish(s, r, KHO_STEP_SPAWN, text);
}

void begin_upgrade(struct sup *s, struct conn *c)
{
	char text[128];
	int r;

	if (s->state == SUP_UPGRADING || s->begin_by || (s->reviving && s->state == SUP_STARTING)) {
		reply(c, -EBUSY, KHO_STEP_SPAWN, "an upgrade is in progress");
		return;
	}
	if (s->state == SUP_STOPPING || s->state == SUP_HELD) {
		reply(c, -ESHUTDOWN, KHO_STEP_SPAWN,
		      s->state == SUP_HELD ? "there is no server: its arena waits for a kexec"
					   : "the server is being stopped");
		return;
	}
	if (s->state == SUP_RUNNING && s->cur.sock < 0) {
		reply(c, -ENOTCONN, KHO_STEP_SPAWN, "the server does not talk to its supervisor");
		return;
	}
	memcpy(&s->up, s->msg.body, sizeof(s->up));
	r = take_candidate(s);
	c->upgrades = true;
	if (r) {
		snprintf(text, sizeof(text), "the new program cannot be executed: %s",
			 strerror(-r));
		finish(s, r, KHO_STEP_SPAWN, text);
		return;
	}
	/* Who has just been started answers clients before we hear that it does. */
	s->begin_by = kho_now_ms_() + BEGIN_MS;
	s->again = false;
	upgrade_on_time(s);
}

/* ---- a predecessor that does not answer ---- */

/* Nothing of what we said to it is left in the socket. */
static bool has_read_all(const struct server *who)
{
	int unread = 0;

	return who->sock < 0 || ioctl(who->sock, SIOCOUTQ, &unread) || !unread;
}

static bool stands_still(pid_t pid)
{
	char state = kho_proc_state_(pid, pid);

	return state == 'T' || state == 't';
}

static void say_silent(const struct sup *s, char *text, size_t size)
{
	int pid = (int)s->cur.pid;

	if (stands_still(s->cur.pid))
		snprintf(text, size,
			 "the old program, process %d, is stopped (SIGSTOP, a debugger, kho save): "
			 "kill -CONT %d lets it go on",
			 pid, pid);
	else
		snprintf(text, size,
			 "the old program, process %d, does not answer: kill -KILL %d has it "
			 "started again, with its arena",
			 pid, pid);
}

/* What it says of this one from now on is nobody's business. */
static void give_up(struct sup *s, unsigned int step, const char *text)
{
	if (s->next.pid)
		kill(s->next.pid, SIGKILL);
	if (!s->cur.pid)
		return; /* its death is the next event */
	s->state = SUP_RUNNING;
	s->cur.stale++;
	if (s->next.pid)
		add_dying(s, &s->next, 0, false);
	finish(s, -ETIMEDOUT, step, text);
}

static void predecessor_silent(struct sup *s)
{
	char text[256];

	say_silent(s, text, sizeof(text));
	if (!s->next.running) {
		give_up(s, KHO_STEP_SPAWN, text);
		return;
	}
	/* The arena is the new one's, which serves: that the other one could take it back helps nobody. */
	progress(s, text);
	progress(s, "the new program serves: the old one is killed");
	kill(s->cur.pid, SIGKILL);
}

static void look_at_predecessor(struct sup *s)
{
	if (!s->cur.pid || kho_left_ms_(s->look_at))
		return;
	s->look_at = kho_now_ms_() + LOOK_MS;
	/* Once it is at it, it reads nothing from us until it is done. */
	s->order_read = s->order_read || s->rehearsed || has_read_all(&s->cur);
	if (s->order_read && !stands_still(s->cur.pid))
		s->idle_looks = 0;
	else if (++s->idle_looks == LOOKS)
		predecessor_silent(s);
}

/* One that has an earlier order still to read would answer that first. */
static bool can_begin(const struct sup *s)
{
	return s->state == SUP_FAILED ||
	       (s->state == SUP_RUNNING && (!s->cur.stale || has_read_all(&s->cur)));
}

static void begin_or_wait(struct sup *s)
{
	char text[256] = "the server has not called kho_ready() yet";

	if (can_begin(s)) {
		s->begin_by = 0;
		launch(s);
		return;
	}
	if (s->state == SUP_STOPPING || s->state == SUP_HELD) {
		s->begin_by = 0; /* who waits for it was told */
		return;
	}
	if (kho_left_ms_(s->begin_by))
		return;
	s->begin_by = 0;
	if (s->state == SUP_RUNNING)
		say_silent(s, text, sizeof(text));
	else if (s->state == SUP_ADOPTING)
		strcpy(text, "no server has come to be adopted yet");
	finish(s, -EBUSY, KHO_STEP_SPAWN, text);
}

void upgrade_on_time(struct sup *s)
{
	if (s->begin_by)
		begin_or_wait(s);
	else if (s->state == SUP_UPGRADING)
		look_at_predecessor(s);
}

__u64 upgrade_next(const struct sup *s)
{
	if (s->begin_by)
		return s->cur.stale ? kho_now_ms_() + LOOK_MS : s->begin_by;
	return s->state == SUP_UPGRADING && s->cur.pid ? s->look_at : 0;
}

/* ---- how it ends ---- */

static void promote(struct sup *s)
{
	s->cur = s->next;
	s->cur.running = true; /* it says so itself a little later */
	s->next = (struct server){.pidfd = -1, .sock = -1};
	s->state = SUP_RUNNING;
	use_candidate(s);
	standby_dismiss(s); /* it is of the program of before */
	finish(s, 0, KHO_STEP_DONE, "");
}

void upgraded(struct sup *s, int error, unsigned int step, const char *text)
{
	if (s->cur.stale) {
		s->cur.stale--; /* of one that was given up */
		return;
	}
	if (s->state != SUP_UPGRADING)
		return;
	if (!error && s->next.pid && !(s->up.flags & KHO_UPGRADE_EXEC)) {
		add_dying(s, &s->cur, RETIRE_MS, false);
		promote(s);
		return;
	}
	if (!error && !(s->up.flags & KHO_UPGRADE_EXEC)) {
		/* Healthy, and died since: the predecessor does not take back what is proven. */
		standby_dismiss(s);
		add_dying(s, &s->cur, RETIRE_MS, false);
		use_candidate(s);
		finish(s, 0, KHO_STEP_DONE, "");
		restart_server(s, s->last_death);
		return;
	}
	/* Cancelled or rolled back; the predecessor told the successor, or killed it. */
	if (s->next.pid)
		add_dying(s, &s->next, REFUSED_MS, false);
	s->state = SUP_RUNNING;
	finish(s, error ? error : -EPROTO, step, text);
}

/*
 * A server that came by the last upgrade may say RUNNING only now; then it is not the result of
 * this one. It says so before anything about this one.
 */
void upgrade_running(struct sup *s, struct server *who)
{
	if (who == &s->next && !s->cur.pid) {
		promote(s); /* the predecessor died after the grant */
	} else if (who == &s->cur && s->up.flags & KHO_UPGRADE_EXEC && s->rehearsed) {
		if (s->next.pid)
			add_dying(s, &s->next, REFUSED_MS, false);
		s->state = SUP_RUNNING;
		s->cur.since = kho_now_ms_();
		use_candidate(s);
		standby_dismiss(s);
		finish(s, 0, KHO_STEP_DONE, "");
	}
}

/* A predecessor that died before it said a word about it was dying already: once more, with the next one. */
static bool try_again(struct sup *s)
{
	if (s->rehearsed || s->again)
		return false;
	s->again = true;
	s->begin_by = kho_now_ms_() + BEGIN_MS;
	progress(s, "the old program died before it was asked: it is started again first");
	return true;
}

void successor_died(struct sup *s, const char *how)
{
	char text[256];

	if (s->state == SUP_STOPPING && !s->cur.pid) {
		s->exiting = true;
		return;
	}
	if (s->state != SUP_UPGRADING)
		return;
	if (!s->cur.pid && try_again(s)) {
		snprintf(text, sizeof(text), "%s", s->last_death);
		restart_server(s, text);
		return;
	}
	if (!(s->up.flags & KHO_UPGRADE_EXEC)) { /* there it is the end of the rehearsal */
		snprintf(text, sizeof(text), "process of the new program %s", how);
		progress(s, text);
		snprintf(s->last_death, sizeof(s->last_death), "%s", how);
	}
	if (s->cur.pid)
		return; /* it says UPGRADED */
	snprintf(text, sizeof(text), "both predecessor and successor died; successor: %s", how);
	finish(s, -ECHILD, KHO_STEP_GRANT, text);
	restart_server(s, text);
}

bool predecessor_died(struct sup *s, const char *how)
{
	if ((s->up.flags & KHO_UPGRADE_EXEC || !s->next.pid) && try_again(s)) {
		if (s->next.pid)
			add_dying(s, &s->next, REFUSED_MS, false);
		s->state = SUP_RUNNING;
		return false;
	}
	if (s->up.flags & KHO_UPGRADE_EXEC) {
		if (s->next.pid)
			add_dying(s, &s->next, REFUSED_MS, false);
		s->state = SUP_RUNNING;
		finish(s, -ECHILD, KHO_STEP_GRANT, "the program died after exec");
		return false;
	}
	if (!s->next.pid) {
		s->state = SUP_RUNNING;
		finish(s, -ECHILD, KHO_STEP_GRANT, "both predecessor and successor died");
		return false;
	}
	if (s->next.running) {
		promote(s);
		return true;
	}
	/* Granted, it says RUNNING soon; not granted, it exits. */
	s->deadline = kho_now_ms_() + ORPHAN_MS;
	return true;
}

void upgrade_timed_out(struct sup *s)
{
	char text[256];

	snprintf(text, sizeof(text),
		 "the old program, process %d, did not say in time how it ended", (int)s->cur.pid);
	give_up(s, KHO_STEP_HEALTHY, text);
}
