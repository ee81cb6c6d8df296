/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Hand-over, successor's side; runs in the threads that call kho_start() and kho_ready(). The grant
 * is received, the lock taken and the arena owned by the thread that waits in kho_ready():
 * no other thread has to be woken before the clients get answers again.
 *
 * A successor that is given up, or whose predecessor dies before the grant, exits.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fdtable.h"
#include "life.h"
#include "owner.h"
#include "proc.h"
#include "sessions.h"

#define SEND_MS 2000
#define LOOK_OUT_US 500
#define FDS_MS 60000 /* for all preserved fds to come */
#define PREFAULT_MS 20000 /* idle priority may mean never on a busy machine */

static struct kho_msg incoming; /* the channel has one reader at a time */

static int send_hello(int channel)
{
	static struct kho_abi_format formats[KHO_ABI_FORMATS_MAX];
	struct kho_abi_msg_hello hello;
	struct kho_msg_out out = {
		.type = KHO_MSG_HELLO, .head = &hello, .head_len = sizeof(hello), .text = formats};

	kho_formats_hello_(&hello, formats);
	out.text_len = hello.nr_formats * sizeof(formats[0]);
	return kho_msg_send_(channel, &out, SEND_MS);
}

/* The next message; a CANCEL or the predecessor's end is ours. */
static int next_msg(unsigned int timeout_ms)
{
	int r = kho_msg_recv_(kho_life_.channel, &incoming, timeout_ms);

	if (r == -EPIPE || (!r && incoming.type == KHO_MSG_CANCEL))
		kho_life_given_up_();
	return r;
}

/* Tell the predecessor, so that its operator reads the reason. */
static int give_up(int error)
{
	kho_msg_say_(kho_life_.channel, KHO_MSG_CANCEL, kho_error());
	return error;
}

static int take_fds(bool tell)
{
	const struct kho_abi_msg_fds *head = (const void *)incoming.body;
	const __u64 *tokens = (const void *)(head + 1);
	const struct kho_config *config = &kho_life_.config;

	for (unsigned int i = 0; i < head->nr; i++) {
		int fd = incoming.fds[i];
		int r = kho_fdtable_add_(tokens[i], fd);

		if (r)
			return r;
		incoming.fds[i] = -1;
		if (tell && config->fd && !kho_is_session_token_(tokens[i]))
			config->fd(config->ctx, tokens[i], fd);
	}
	return 0;
}

static int lose_fds(bool tell)
{
	const struct kho_abi_msg_fds *head = (const void *)incoming.body;
	const __u64 *tokens = (const void *)(head + 1);
	const struct kho_config *config = &kho_life_.config;

	for (unsigned int i = 0; i < head->nr; i++) {
		int fd = kho_fdtable_del_(tokens[i]);

		if (fd < 0)
			continue; /* came and went before it could be sent */
		if (tell && config->fd && !kho_is_session_token_(tokens[i]))
			config->fd(config->ctx, tokens[i], -1);
		close(fd);
	}
	return 0;
}

static int unexpected(void)
{
	return kho_fail_(-KHO_E_STATE, "the predecessor said message %u", incoming.type);
}

static int receive_fds(void)
{
	__u64 deadline = kho_now_ms_() + FDS_MS;
	int r;

	for (;;) {
		r = next_msg((unsigned int)kho_left_ms_(deadline));
		if (r == -ETIMEDOUT)
			return kho_fail_(r, "the predecessor did not send its fds in time");
		if (!r && incoming.type == KHO_MSG_FDS_DONE)
			return 0;
		if (!r && incoming.type == KHO_MSG_WELCOME) {
			kho_formats_welcome_((const void *)incoming.body);
			continue;
		}
		/* The predecessor serves meanwhile: what was sent may be gone before all is sent. */
		if (!r && incoming.type == KHO_MSG_FD)
			r = take_fds(false);
		else if (!r && incoming.type == KHO_MSG_FD_GONE)
			r = lose_fds(false);
		else if (!r)
			r = unexpected();
		kho_msg_drop_(&incoming);
		if (r)
			return r;
	}
}

int kho_successor_start_(const struct kho_environ *env)
{
	int r;

	kho_proc_give_way_();
	kho_life_.channel = env->channel;
	kho_life_.reader = KHO_READER_CALLER;
	/* First of all: a predecessor of another format refuses us in better words than map() can. */
	r = send_hello(env->channel);
	if (r == -EPIPE)
		kho_life_given_up_();
	if (r)
		return r;
	r = kho_arena_map_(env->arena, false);
	if (!r)
		kho_life_mapped_();
	r = r ?: kho_owner_open_(kho_arena_.fd);
	r = r ?: receive_fds();
	if (r)
		return give_up(r);
	r = kho_keeper_start_();
	if (r)
		return give_up(r);
	kho_life_.phase = KHO_PHASE_SUCCESSOR;
	kho_life_.reader = KHO_READER_IDLE;
	kho_keeper_kick_();
	return KHO_SUCCESSOR;
}

/* ---- pre-faulting ---------------------------------------------------------- */

struct prefault {
	pthread_t thread;
	bool stop;
	int done; /* eventfd */
};

static void *prefault(void *ctx)
{
	struct sched_param param = {0};
	struct prefault *p = ctx;
	__u64 one = 1;

	pthread_setschedparam(pthread_self(), SCHED_IDLE, &param);
	kho_own_prefault_();
	kho_arena_prefault_(&p->stop);
	if (write(p->done, &one, sizeof(one)) < 0)
		return NULL;
	return NULL;
}

/*
 * Time is up, but the thread may not run for as long again: at idle priority, on a busy machine. Who may
 * give it back its priority does (CAP_SYS_NICE).
 */
static void hurry(struct prefault *p)
{
	struct sched_param param = {0};

	__atomic_store_n(&p->stop, true, __ATOMIC_RELAXED);
	pthread_setschedparam(p->thread, SCHED_OTHER, &param);
}

/* Page tables are filled before READY, not in the blackout. The channel is heard meanwhile. */
static int prefault_and_listen(void)
{
	struct prefault p = {.done = eventfd(0, EFD_CLOEXEC)};
	__u64 deadline = kho_now_ms_() + PREFAULT_MS;
	int r = 0;

	if (p.done < 0 || pthread_create(&p.thread, NULL, prefault, &p)) {
		if (p.done >= 0)
			close(p.done);
		return 0; /* slower, not wrong */
	}
	for (;;) {
		struct pollfd f[2] = {{p.done, POLLIN, 0}, {kho_life_.channel, POLLIN, 0}};
		int n = poll(f, 2, kho_left_ms_(deadline));

		if (n > 0 && f[1].revents) {
			r = next_msg(0);
			r = r == -ETIMEDOUT ? 0 : r ?: unexpected();
		}
		if (r || n == 0 || f[0].revents)
			break;
	}
	hurry(&p);
	pthread_join(p.thread, NULL);
	close(p.done);
	return r;
}

/* ---- the grant -------------------------------------------------------------- */

static int take_over(void)
{
	const struct kho_abi_msg_grant *grant = (const void *)incoming.body;
	int r;

	kho_step_("successor-granted");
	if (grant->generation != kho_arena_generation_() + 1)
		return kho_fail_(-KHO_E_STATE, "granted generation %llu after %llu",
				 (unsigned long long)grant->generation,
				 (unsigned long long)kho_arena_generation_());
	r = kho_owner_inherit_();
	if (r)
		return r;
	kho_step_("successor-locked");
	r = kho_arena_own_();
	kho_step_("successor-owned");
	r = r ?: kho_life_begin_(grant->generation);
	if (r)
		kho_owner_release_(); /* for the predecessor */
	return r;
}

/*
 * We are a standby: the owner died, and nobody prepared the arena for us. All that was checked when we came may
 * be other by now.
 */
static int take_after_death(void)
{
	int r = kho_owner_acquire_(KHO_OWNER_DYING_MS);

	if (r < 0)
		return r;
	kho_step_("standby-locked");
	r = kho_arena_check_again_();
	r = r ?: kho_arena_own_();
	r = r ?: kho_life_begin_(kho_arena_generation_() + 1);
	if (r)
		kho_owner_release_(); /* for who is started now */
	return r;
}

/*
 * The grant follows READY within a fraction of a millisecond, while clients wait: to fall asleep
 * and be woken takes as long again. Whoever else wants this processor gets it.
 */
static void look_out(void)
{
	struct pollfd p = {kho_life_.channel, POLLIN, 0};
	__u64 end = kho_now_us_() + LOOK_OUT_US;

	while (!poll(&p, 1, 0) && kho_now_us_() < end)
		sched_yield();
}

static int await_grant(void)
{
	int r;

	look_out();
	/* Not so soon: whenever it comes, clients wait. */
	kho_proc_hurry_();

	for (;;) {
		r = next_msg(1000000);
		if (r == -ETIMEDOUT)
			continue;
		if (!r && incoming.type == KHO_MSG_GRANT)
			return take_over();
		if (!r && incoming.type == KHO_MSG_TAKE)
			return take_after_death();
		if (!r && incoming.type == KHO_MSG_FD)
			r = take_fds(true);
		else if (!r && incoming.type == KHO_MSG_FD_GONE)
			r = lose_fds(true);
		else if (!r)
			r = unexpected();
		kho_msg_drop_(&incoming);
		if (r)
			return r;
	}
}

int kho_successor_ready_(void)
{
	struct kho_msg_out ready = {.type = KHO_MSG_READY}, taken = {.type = KHO_MSG_TAKEN},
			   alive = {.type = KHO_MSG_ALIVE};
	int r;

	kho_life_.reader = KHO_READER_CALLER;
	kho_keeper_kick_();
	r = prefault_and_listen();
	r = r ?: kho_life_end_way_();
	kho_step_("successor-ready");
	if (!r)
		r = kho_msg_send_(kho_life_.channel, &ready, SEND_MS);
	if (r == -EPIPE)
		kho_life_given_up_();
	r = r ?: await_grant();
	if (r)
		return give_up(r);
	kho_proc_end_hurry_(0);
	kho_life_.ready = true;
	kho_step_("successor-taken");
	kho_msg_send_(kho_life_.channel, &taken, 0); /* EPIPE: the predecessor died; we go on */
	if (kho_life_.config.flags & KHO_START_ALIVE)
		kho_msg_send_(kho_life_.channel, &alive,
			      0); /* from now on silence means something */
	kho_life_.reader = KHO_READER_KEEPER; /* it looks by itself: no kick in the blackout */
	/* Not soon, though, if it has looked for long: a standby's may sleep. */
	if (incoming.type == KHO_MSG_TAKE)
		kho_keeper_kick_();
	return 0;
}
