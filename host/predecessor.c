/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Hand-over, predecessor's side; runs in the keeper.
 *
 *	meet		HELLO: who is it, and does it read what we write?
 *	rehearse	it gets the fds, sets itself up, says READY
 *	hand over	freeze; last changes; release the lock; GRANT
 *	linger		until it is HEALTHY; else take everything back
 *
 * Up to the grant a failure costs nothing. After it the successor may have written anything that
 * a crash may leave: it is killed, waited for, and the arena attached as after a crash.
 * Between freeze and GRANT the clients wait: nothing there allocates, logs, or takes
 * longer with more state.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "courier.h"
#include "fdtable.h"
#include "life.h"
#include "migrate.h"
#include "owner.h"
#include "proc.h"
#include "sessions.h"
#include "vmalloc.h"

#define READY_MS 60000
#define FREEZE_MS 1000
#define TAKEN_MS 1000
#define HEALTHY_MS 10000
#define ALIVE_MS 1000
#define SEND_MS 1000
#define DISMISS_MS 200 /* to exit on its own after a CANCEL */
#define LINGER_POLL_MS 2 /* how soon the lock's word is looked at: sooner than a pidfd tells */
/* News for the operator wait until clients have been served for a while: who reads them wants a processor. */
#define NEWS_MS 10
#define SILENCE_STEP_MS                                                                            \
	20 /* one look counts for no more: a machine that starves us starves it, too */

static struct kho_handover handover; /* one at a time, and too large for a stack */

/* Keep the reason: kho_error() is good for one call. */
static int because(struct kho_handover *h, int error)
{
	snprintf(h->why, sizeof(h->why), "%s", kho_error());
	return error;
}

static void progress(struct kho_handover *h, const char *text)
{
	kho_keeper_tell_(KHO_MSG_PROGRESS, 0, h->step, text);
}

/* The next message of the successor. A CANCEL is an error here, with its reason in words. */
static int next_msg(struct kho_handover *h, __u64 deadline)
{
	bool gone = false;

	for (;;) {
		struct pollfd p[2] = {{h->channel, POLLIN, 0}, {h->pidfd, POLLIN, 0}};
		int r = kho_msg_recv_(h->channel, &h->msg, 0);

		if (r == -EPIPE)
			return kho_fail_(-EPIPE, "the successor exited");
		if (!r && h->msg.type == KHO_MSG_CANCEL)
			return kho_fail_(-ECANCELED, "the successor gave up: %s",
					 kho_msg_text_(&h->msg, 0));
		if (r != -ETIMEDOUT)
			return r;
		if (gone)
			return kho_fail_(-EPIPE, "the successor exited");
		if (!kho_left_ms_(deadline))
			return -ETIMEDOUT;
		/* What it said before it went is heard first. */
		gone = poll(p, 2, kho_left_ms_(deadline)) > 0 && p[1].revents;
	}
}

static int expect(struct kho_handover *h, unsigned int type, __u64 deadline, const char *what)
{
	int r = next_msg(h, deadline);

	if (r == -ETIMEDOUT)
		return kho_fail_(r, "the successor did not say %s in time", what);
	if (!r && h->msg.type != type)
		return kho_fail_(-KHO_E_STATE, "the successor said message %u, not %s", h->msg.type,
				 what);
	return r;
}

/* Which process a pidfd is of: line "Pid:" of its fdinfo. */
static pid_t pid_of(int pidfd)
{
	char path[48], buf[512], *line;
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	f = fopen(path, "re");
	if (!f)
		return -1;
	n = fread(buf, 1, sizeof(buf) - 1, f);
	fclose(f);
	buf[n] = '\0';
	line = strstr(buf, "\nPid:");
	return line ? (pid_t)strtol(line + 5, NULL, 10) : -1;
}

/* The kernel says who sent HELLO; later we kill by it, so it has to be right. */
static int identify(struct kho_handover *h)
{
	const struct kho_abi_msg_hello *hello = (const void *)h->msg.body;

	h->pid = h->msg.pid;
	if (h->pid <= 1 || h->pid == getpid())
		return kho_fail_(-EPERM, "HELLO came without its sender's credentials");
	if (hello->pid != (__u32)h->pid || (h->up.successor && h->up.successor != (__u32)h->pid))
		return kho_fail_(-EPERM, "HELLO of process %u came from process %d", hello->pid,
				 (int)h->pid);
	if (h->pidfd < 0)
		h->pidfd = (int)syscall(SYS_pidfd_open, h->pid, 0);
	if (h->pidfd < 0 || pid_of(h->pidfd) != h->pid)
		return kho_fail_(-ESRCH, "process %d is not the successor any more", (int)h->pid);
	if (kho_proc_start_time_(h->pid, &h->start_time))
		return kho_fail_(-ESRCH, "the successor exited");
	return 0;
}

/* What it may write until it is healthy, it finds out from what we read. */
static int welcome(struct kho_handover *h)
{
	static struct kho_abi_format formats[KHO_ABI_FORMATS_MAX];
	struct kho_abi_msg_hello hello;
	struct kho_msg_out out = {.type = KHO_MSG_WELCOME,
				  .head = &hello,
				  .head_len = sizeof(hello),
				  .text = formats};

	kho_formats_hello_(&hello, formats);
	out.text_len = hello.nr_formats * sizeof(formats[0]);
	return kho_msg_send_(h->channel, &out, SEND_MS);
}

static int check_formats(const struct kho_handover *h)
{
	return h->up.flags & KHO_UPGRADE_FORCE ? 0 : kho_formats_check_((const void *)h->msg.body);
}

static int meet(struct kho_handover *h, __u64 deadline)
{
	int r;

	h->step = KHO_STEP_SPAWN;
	r = expect(h, KHO_MSG_HELLO, deadline, "HELLO");
	if (r)
		return r;
	kho_step_("predecessor-hello");
	r = identify(h);
	if (r)
		/* Gone already? What it does not read is a better reason than that. */
		return r == -ESRCH ? check_formats(h) ?: kho_fail_(r, "the successor exited") : r;
	h->step = KHO_STEP_CHECK;
	h->nr_formats = ((const struct kho_abi_msg_hello *)h->msg.body)->nr_formats;
	memcpy(h->formats, h->msg.body + sizeof(struct kho_abi_msg_hello),
	       h->nr_formats * sizeof(h->formats[0]));
	return check_formats(h) ?: welcome(h);
}

static int send_batch(void *ctx, const __u64 *tokens, const int *fds, unsigned int nr)
{
	struct kho_handover *h = ctx;

	return kho_msg_send_tokens_(h->channel, fds ? KHO_MSG_FD : KHO_MSG_FD_GONE, tokens, fds, nr,
				    0);
}

/* Everything that the successor does not have yet. */
static int send_fds(struct kho_handover *h, __u64 deadline)
{
	int r;

	while ((r = kho_fdtable_send_(send_batch, h, KHO_ABI_MSG_FDS_MAX)) == -EAGAIN) {
		struct pollfd p = {h->channel, POLLOUT, 0};

		if (!kho_left_ms_(deadline))
			return kho_fail_(-ETIMEDOUT, "the successor does not take its fds");
		poll(&p, 1, 10);
		usleep(200); /* room, but too many fds on their way: poll() returns at once */
	}
	if (r == -ENOMEM)
		return kho_fail_(r, "no memory to note changes of preserved fds");
	if (r)
		return kho_fail_(r, "preserved fds cannot be sent to the successor: %s",
				 strerror(-r));
	return 0;
}

/* The first array, say, may have come since HELLO. */
static int check_new_parts(const struct kho_handover *h)
{
	return h->up.flags & KHO_UPGRADE_FORCE ? 0 : kho_formats_parts_(h->formats, h->nr_formats);
}

static int rehearse(struct kho_handover *h, __u64 deadline)
{
	int r;

	h->step = KHO_STEP_READY;
	progress(h, "formats agree");
	kho_fdtable_begin_();
	r = send_fds(h, deadline);
	if (r)
		return r;
	kho_step_("predecessor-fds");
	kho_msg_say_(h->channel, KHO_MSG_FDS_DONE, NULL);
	r = expect(h, KHO_MSG_READY, deadline, "READY");
	if (r)
		return r;
	kho_step_("predecessor-ready");
	r = check_new_parts(h);
	if (r)
		return r;
	/* What changed so far goes now, so that little is left for the blackout. */
	return send_fds(h, deadline);
}

int kho_predecessor_freeze_(struct kho_handover *h)
{
	const struct kho_config *config = &kho_life_.config;
	int r;

	h->step = KHO_STEP_FREEZE;
	r = kho_quiesce_freeze_(h->up.freeze_ms);
	if (r)
		return r;
	h->frozen = true;
	if (config->frozen)
		config->frozen(config->ctx);
	r = kho_sessions_freeze_() ?: check_new_parts(h);
	if (r)
		return r;
	/* Only for a successor that could not read what is there: its clients wait for it. */
	r = kho_migrate_down_(h->formats, h->nr_formats);
	h->migrated = r > 0;
	return r < 0 ? r : 0;
}

/*
 * From the grant on a write of ours would corrupt the successor's data; it can be made to fault here,
 * where its author is to be found. Not by default: all page tables are walked in the blackout.
 */
static void protect(bool on)
{
	if (!kho_life_.debug_freeze)
		return;
	mprotect(kho_arena_.base, kho_arena_.size, on ? PROT_READ : PROT_READ | PROT_WRITE);
	kho_vmalloc_protect_(on);
}

static int grant(struct kho_handover *h)
{
	struct kho_abi_msg_grant body = {kho_arena_generation_() + 1};
	struct kho_msg_out out = {.type = KHO_MSG_GRANT, .head = &body, .head_len = sizeof(body)};
	int r = send_fds(h, kho_now_ms_() + h->up.freeze_ms);

	if (r)
		return r;
	kho_step_("predecessor-frozen");
	h->step = KHO_STEP_GRANT;
	__atomic_store_n(&kho_arena_.writer, false, __ATOMIC_RELEASE);
	kho_life_.phase = KHO_PHASE_GRANTED;
	kho_arena_set_state_(KHO_ABI_STATE_GRANTED);
	protect(true);
	kho_owner_grant_((unsigned int)h->pid);
	kho_step_("predecessor-released");
	return kho_msg_send_(h->channel, &out, SEND_MS);
}

/**
 * struct vigil - what is known of a successor that was granted the arena
 * @looked: when we looked for the last time, ms
 * @silent_ms: how long it has said nothing since, if @signs
 * @taken_us: when it said TAKEN; 0: not yet told
 * @taken, @signs: it said TAKEN; it shows signs of life
 */
struct vigil {
	__u64 granted;
	__u64 looked;
	__u64 taken_us;
	unsigned int silent_ms;
	bool taken;
	bool signs;
};

/* Return: 1 = healthy, 0 = go on waiting, negative. */
static int hear(struct kho_handover *h, struct vigil *v)
{
	v->silent_ms = 0;
	if (h->msg.type == KHO_MSG_TAKEN && !v->taken) {
		v->taken = true;
		v->taken_us = kho_now_us_();
		h->step = KHO_STEP_HEALTHY;
		kho_step_("predecessor-taken");
		return 0;
	}
	if (h->msg.type == KHO_MSG_ALIVE && v->taken) {
		v->signs = true;
		return 0;
	}
	if (h->msg.type == KHO_MSG_HEALTHY && v->taken)
		return 1;
	return kho_fail_(-KHO_E_STATE, "the successor said message %u after the grant",
			 h->msg.type);
}

/* It said nothing between @v->looked and @now. Return: 0 = go on waiting, negative. */
static int miss(struct kho_handover *h, struct vigil *v, __u64 now, int left)
{
	__u64 step = now - v->looked;

	if (!left)
		return kho_fail_(-ETIMEDOUT, "the successor did not say %s in time",
				 v->taken ? "HEALTHY" : "TAKEN");
	v->silent_ms += step < SILENCE_STEP_MS ? (unsigned int)step : SILENCE_STEP_MS;
	if (v->signs && v->silent_ms >= h->up.alive_ms)
		return kho_fail_(-ETIMEDOUT, "the successor showed no sign of life for %u ms",
				 h->up.alive_ms);
	return 0;
}

/*
 * One look while lingering. Time and death are asked for before the channel is: all that was
 * said by then has been heard when it is judged. Return: 1 = healthy, 0 = go on waiting, negative.
 */
static int linger_once(struct kho_handover *h, struct vigil *v)
{
	int left = kho_left_ms_(v->granted + (v->taken ? h->up.healthy_ms : h->up.taken_ms));
	bool died = kho_owner_died_();
	__u64 now = kho_now_ms_();
	int wait = died ? 0 : left < LINGER_POLL_MS ? left : LINGER_POLL_MS;
	int r = next_msg(h, now + (unsigned int)wait);

	if (!r)
		r = hear(h, v);
	else if (r == -ETIMEDOUT)
		r = died ? kho_fail_(-EPIPE, "the successor died") : miss(h, v, now, left);
	v->looked = now;
	return r;
}

static void tell_taken(struct kho_handover *h, struct vigil *v, __u64 frozen_at)
{
	char text[128];

	snprintf(text, sizeof(text),
		 "the successor owns the arena; workers stood still for %llu us",
		 (unsigned long long)(v->taken_us - frozen_at));
	progress(h, text);
	v->taken_us = 0;
}

static int linger(struct kho_handover *h, __u64 frozen_at)
{
	struct vigil v = {.granted = kho_now_ms_(), .looked = kho_now_ms_()};
	int r;

	do {
		r = linger_once(h, &v);
		if (v.taken_us && (r || kho_now_us_() - v.taken_us >= NEWS_MS * 1000))
			tell_taken(h, &v, frozen_at);
	} while (!r);
	return r;
}

static void retire(struct kho_handover *h) __attribute__((noreturn));
static void retire(struct kho_handover *h)
{
	const struct kho_config *config = &kho_life_.config;

	kho_step_("predecessor-healthy");
	h->step = KHO_STEP_DONE;
	kho_keeper_tell_(KHO_MSG_UPGRADED, 0, KHO_STEP_DONE, "");
	kho_msg_say_(h->channel, KHO_MSG_RETIRE, NULL);
	if (config->retired)
		config->retired(config->ctx);
	/* Taking down page tables is 50 ms a GiB: not at the expense of who serves now. */
	kho_proc_stand_back_();
	kho_arena_unfault_();
	_exit(0);
}

static void kill_successor(struct kho_handover *h)
{
	if (h->pidfd >= 0)
		syscall(SYS_pidfd_send_signal, h->pidfd, SIGKILL, NULL, 0);
}

int kho_predecessor_dismiss_(struct kho_handover *h, const char *why)
{
	struct pollfd p = {h->pidfd, POLLIN, 0};

	kho_msg_say_(h->channel, KHO_MSG_CANCEL, why);
	if (h->pidfd < 0)
		return 0; /* it never said who it is, and never owned anything */
	if (poll(&p, 1, DISMISS_MS) <= 0)
		kill_successor(h);
	return kho_proc_wait_exiting_(h->pid, h->start_time, KHO_OWNER_DYING_MS);
}

/* Nothing can be taken back: this program cannot go on. Whoever supervises starts another. */
static void lost(struct kho_handover *h, const char *what) __attribute__((noreturn));
static void lost(struct kho_handover *h, const char *what)
{
	char text[1024];

	snprintf(text, sizeof(text), "%s; then the arena could not be taken back: %s: %s", h->why,
		 what, kho_error());
	kho_keeper_tell_(KHO_MSG_UPGRADED, -ENOTRECOVERABLE, h->step, text);
	_exit(EXIT_FAILURE);
}

/* After the grant: the arena is attached again as after a crash. */
static void roll_back(struct kho_handover *h)
{
	const struct kho_config *config = &kho_life_.config;

	kho_step_("predecessor-rollback");
	kill_successor(h);
	if (kho_proc_wait_exiting_(h->pid, h->start_time, KHO_OWNER_DYING_MS))
		lost(h, "the successor does not die");
	if (kho_owner_acquire_(KHO_OWNER_DYING_MS) < 0)
		lost(h, "the lock");
	protect(false);
	kho_arena_disown_();
	if (kho_arena_own_())
		lost(h, "its contents");
	if (kho_life_begin_(kho_arena_generation_() + 1))
		lost(h, "its header");
	kho_sessions_unfreeze_();
	if (config->thaw)
		config->thaw(config->ctx, KHO_THAW_ROLLED_BACK);
	kho_quiesce_thaw_(KHO_THAW_ROLLED_BACK);
	kho_courier_resync_(); /* the successor may have told of its own */
	kho_life_settle_();
}

/* Before the grant: as if nothing had been. */
static void cancel(struct kho_handover *h)
{
	const struct kho_config *config = &kho_life_.config;

	if (h->frozen) {
		/* Roots of another version: what was read before is as stale as after a roll-back. */
		enum kho_thaw why = h->migrated ? KHO_THAW_ROLLED_BACK : KHO_THAW_CANCELLED;

		kho_sessions_unfreeze_();
		if (config->thaw)
			config->thaw(config->ctx, why);
		kho_quiesce_thaw_(why);
	}
	kho_predecessor_dismiss_(h, h->why);
}

static int hand_over(struct kho_handover *h)
{
	__u64 frozen_at = kho_now_us_();
	int r = kho_predecessor_freeze_(h) ?: grant(h);

	if (r)
		return r;
	kho_step_("predecessor-granted");
	r = linger(h, frozen_at);
	if (r == 1)
		retire(h);
	return r;
}

/* Before the grant: who cannot be talked to any more may have said why. */
static int last_words(struct kho_handover *h, int error)
{
	int r = 0;

	if (error != -EPIPE && error != -ESRCH)
		return error;
	because(h, error);
	while (!r)
		r = next_msg(h, kho_now_ms_());
	return r == -ECANCELED ? r : kho_fail_(error, "%s", h->why);
}

static unsigned int or_default(unsigned int value, unsigned int fallback)
{
	return value ? value : fallback;
}

static void set_up(struct kho_handover *h, struct kho_msg *up)
{
	memset(h, 0, offsetof(struct kho_handover, msg));
	memcpy(&h->up, up->body, sizeof(h->up));
	h->up.ready_ms = or_default(h->up.ready_ms, READY_MS);
	h->up.freeze_ms = or_default(h->up.freeze_ms, FREEZE_MS);
	h->up.taken_ms = or_default(h->up.taken_ms, TAKEN_MS);
	h->up.healthy_ms = or_default(h->up.healthy_ms, HEALTHY_MS);
	h->up.alive_ms = or_default(h->up.alive_ms, ALIVE_MS);
	h->args_len = up->len - sizeof(h->up);
	memcpy(h->args, up->body + sizeof(h->up), h->args_len);
	h->channel = up->fds[0];
	h->pidfd = up->nr_fds > 1 ? up->fds[1] : -1;
	h->binary = up->nr_fds > 2 ? up->fds[2] : -1;
	up->nr_fds = 0;
}

static void tear_down(struct kho_handover *h)
{
	kho_msg_drop_(&h->msg);
	close(h->channel);
	if (h->pidfd >= 0)
		close(h->pidfd);
	if (h->binary >= 0)
		close(h->binary);
	kho_fdtable_end_();
}

void kho_predecessor_run_(struct kho_msg *up)
{
	struct kho_handover *h = &handover;
	__u64 deadline;
	int r;

	set_up(h, up);
	deadline = kho_now_ms_() + h->up.ready_ms;
	r = meet(h, deadline) ?: rehearse(h, deadline);
	if (!r && h->up.flags & KHO_UPGRADE_EXEC)
		r = kho_inplace_exec_(h);
	else if (!r)
		r = hand_over(h);
	if (kho_life_.phase != KHO_PHASE_GRANTED)
		r = last_words(h, r);
	because(h, r);
	if (kho_life_.phase == KHO_PHASE_GRANTED)
		roll_back(h);
	else
		cancel(h);
	kho_keeper_tell_(KHO_MSG_UPGRADED, r, h->step, h->why);
	tear_down(h);
}
