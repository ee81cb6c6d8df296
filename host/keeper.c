/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The keeper: the thread whose life is the lock's. It never exits while the arena is ours, talks
 * to the supervisor, and in a predecessor carries the hand-over out.
 *
 * A supervisor that died is not missed: the server goes on, and tries twice a
 * second to reach whoever listens at the same path, to be adopted with all that the next
 * supervisor needs: the arena and the listening sockets.
 */
#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "courier.h"
#include "fdtable.h"
#include "life.h"
#include "owner.h"
#include "proc.h"

#define RECONNECT_MS 500
#define SEND_MS 2000
#define GRANT_POLL_MS 10
#define GRANT_POLLS 100 /* it follows READY soon, or this is a standby, and it may take years */
#define LONG_POLL_MS 1000
#define RETIRE_MS 500
#define HOLD_MS 10 /* until the supervisor is asked again to take fds */

static sem_t started;
static struct kho_msg incoming; /* only the keeper uses it */

void kho_keeper_kick_(void)
{
	__u64 one = 1;

	if (write(kho_life_.kick, &one, sizeof(one)) < 0)
		return; /* full: it is awake */
}

void kho_keeper_tell_(unsigned int type, int error, unsigned int step, const char *text)
{
	if (kho_life_.server >= 0)
		kho_msg_result_(kho_life_.server, type, error, step, text);
}

static void hang_up(void)
{
	kho_courier_detach_();
	kho_life_.holds = 0; /* the next supervisor says itself */
	if (kho_life_.server >= 0)
		close(kho_life_.server);
	kho_life_.server = -1;
	kho_life_.registered = false;
	kho_life_.announced = false;
}

static int send_register(unsigned int type, const int *fd)
{
	struct kho_abi_msg_register reg;
	struct kho_msg_out out = {.type = type,
				  .head = &reg,
				  .head_len = sizeof(reg),
				  .fds = fd,
				  .nr_fds = fd ? 1 : 0};

	memset(&reg, 0, sizeof(reg));
	reg.pid = getpid();
	reg.flags = kho_life_.holds ? 0 : KHO_REGISTER_HOLDS;
	reg.generation = kho_arena_generation_();
	memcpy(reg.name, kho_life_.name, sizeof(reg.name));
	memcpy(reg.release, kho_life_.release, sizeof(reg.release));
	return kho_msg_send_(kho_life_.server, &out, SEND_MS);
}

/* What the supervisor does not know yet. */
static void announce(void)
{
	struct kho_life *life = &kho_life_;

	if (life->server < 0 || life->phase == KHO_PHASE_STARTING)
		return;
	if (!life->registered) {
		if (send_register(KHO_MSG_REGISTER, NULL))
			hang_up();
		else
			life->registered = true;
	}
	if (life->server >= 0 && life->ready && !life->announced) {
		if (send_register(KHO_MSG_RUNNING, NULL))
			hang_up();
		else
			life->announced = true;
	}
}

static int send_listener(void *ctx, __u64 token, int fd)
{
	struct {
		struct kho_abi_msg_fds head;
		__u64 token;
	} body = {{1, 0}, token};
	struct kho_msg_out out = {.type = KHO_MSG_LISTEN,
				  .head = &body,
				  .head_len = sizeof(body),
				  .fds = &fd,
				  .nr_fds = 1};

	if (token < KHO_FD_LISTEN)
		return 0;
	return kho_msg_send_(kho_life_.server, &out, SEND_MS);
}

/* A supervisor that did not start us: it gets everything that it would have had. */
static void reconnect(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return;
	memcpy(addr.sun_path, kho_life_.supervisor, sizeof(addr.sun_path));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		close(fd);
		return;
	}
	kho_life_.server = fd;
	if (send_register(KHO_MSG_REGISTER, &kho_arena_.fd) ||
	    kho_fdtable_each_(send_listener, NULL)) {
		hang_up();
		return;
	}
	kho_life_.registered = true;
}

static void stop(void)
{
	const struct kho_config *config = &kho_life_.config;

	if (config->stop)
		config->stop(config->ctx);
	else
		kill(getpid(), SIGTERM);
}

static void refuse(int error, const char *why)
{
	kho_keeper_tell_(KHO_MSG_UPGRADED, error, KHO_STEP_SPAWN, why);
}

/* By a supervisor that we looked for: another server is there, say. It is asked again, and told of once. */
static void refused(void)
{
	static bool told;

	if (!told)
		fprintf(stderr, "libkho: %s: %s: %s\n", kho_life_.name, kho_life_.supervisor,
			kho_msg_text_(&incoming, sizeof(struct kho_abi_msg_result)));
	told = true;
	hang_up();
}

static void serve_supervisor(void)
{
	int r = kho_msg_recv_(kho_life_.server, &incoming, 0);

	if (r == -ETIMEDOUT)
		return;
	if (r) {
		hang_up();
		return;
	}
	if (incoming.type == KHO_MSG_CTL_REPLY) {
		refused();
	} else if (incoming.type == KHO_MSG_STOP) {
		stop();
	} else if (incoming.type == KHO_MSG_HOLDS) {
		kho_courier_attach_(&kho_courier_run_,
				    ((const struct kho_abi_msg_holds *)incoming.body)->max);
	} else if (incoming.type == KHO_MSG_UPGRADE) {
		pthread_mutex_lock(&kho_life_.busy);
		if (kho_life_.phase != KHO_PHASE_OWNER || !kho_life_.ready || kho_life_.closing)
			refuse(-EAGAIN, "the server is not ready yet");
		else if (kho_life_.channel >= 0)
			refuse(-EBUSY, "the server has not proven itself yet (kho_healthy())");
		else
			kho_predecessor_run_(&incoming);
		pthread_mutex_unlock(&kho_life_.busy);
	}
	kho_msg_drop_(&incoming);
}

static void close_channel(void)
{
	pthread_mutex_lock(&kho_life_.lock);
	close(kho_life_.channel);
	kho_life_.channel = -1;
	pthread_mutex_unlock(&kho_life_.lock);
}

/* The predecessor, between kho_start() and kho_ready(), and from the grant on. */
static void serve_predecessor(int reader)
{
	int r;

	if (kho_life_.reader != reader)
		return; /* the caller of kho_ready() reads by now */
	r = kho_msg_recv_(kho_life_.channel, &incoming, 0);
	if (r == -ETIMEDOUT)
		return;
	if (reader == KHO_READER_IDLE || (!r && incoming.type == KHO_MSG_CANCEL))
		kho_life_given_up_();
	if (r || incoming.type == KHO_MSG_RETIRE)
		close_channel();
	kho_msg_drop_(&incoming);
}

/*
 * The predecessor tells the supervisor before it tells us that it goes: an order for the next
 * hand-over must not find the last one unfinished.
 */
static void await_retirement(void)
{
	__u64 deadline = kho_now_ms_() + RETIRE_MS;

	while (kho_life_.channel >= 0 && kho_life_.healthy && kho_left_ms_(deadline)) {
		struct pollfd p = {kho_life_.channel, POLLIN, 0};

		if (poll(&p, 1, kho_left_ms_(deadline)) > 0)
			serve_predecessor(KHO_READER_KEEPER);
	}
}

static void drain_kick(void)
{
	__u64 n;

	if (read(kho_life_.kick, &n, sizeof(n)) < 0)
		return;
}

static void settle(void)
{
	if (!kho_life_.metadata_due)
		return;
	pthread_mutex_lock(&kho_life_.busy);
	if (kho_life_.phase == KHO_PHASE_OWNER && !kho_life_.closing)
		kho_life_settle_();
	pthread_mutex_unlock(&kho_life_.busy);
}

/* Fds that the supervisor is to hold, if there are any that it does not. */
static void hold(void)
{
	if (!kho_courier_due_() || kho_life_.phase != KHO_PHASE_OWNER || kho_life_.closing)
		return;
	if (kho_courier_flush_() == -EPIPE)
		hang_up();
}

/*
 * Nobody kicks us when the grant comes: a thread that wakes then takes time from those
 * that the clients wait for. So we look now and then whether it has come.
 */
static int sleep_ms(int reader)
{
	static unsigned int polls;

	if (kho_courier_due_() && kho_life_.phase == KHO_PHASE_OWNER)
		return HOLD_MS;
	if (kho_life_.phase == KHO_PHASE_SUCCESSOR && reader == KHO_READER_CALLER &&
	    ++polls > GRANT_POLLS)
		return LONG_POLL_MS;
	return kho_life_.phase == KHO_PHASE_STARTING || reader != KHO_READER_CALLER ||
			       kho_life_.channel < 0
		       ? -1
		       : GRANT_POLL_MS;
}

static void loop(void)
{
	struct kho_life *life = &kho_life_;
	__u64 next_try = 0;

	while (!life->closing) {
		int reader = life->reader;
		bool lost = life->server < 0 && life->supervisor[0] &&
			    life->phase == KHO_PHASE_OWNER;
		struct pollfd p[3] = {
			{life->kick, POLLIN, 0},
			{life->server, POLLIN, 0},
			{reader == KHO_READER_CALLER ? -1 : life->channel, POLLIN, 0},
		};

		if (lost && !kho_left_ms_(next_try)) {
			reconnect();
			next_try = kho_now_ms_() + RECONNECT_MS;
			announce();
			continue;
		}
		if (poll(p, 3, lost ? kho_left_ms_(next_try) : sleep_ms(reader)) < 0)
			continue;
		if (p[0].revents)
			drain_kick();
		if (p[2].revents)
			serve_predecessor(reader);
		announce();
		settle();
		hold();
		if (p[1].revents)
			await_retirement();
		if (p[1].revents && life->server >= 0)
			serve_supervisor();
	}
}

static void *keeper(void *unused)
{
	prctl(PR_SET_NAME, KHO_KEEPER_COMM);
	kho_owner_keep_();
	sem_post(&started);
	loop();
	return NULL;
}

int kho_keeper_start_(void)
{
	sigset_t all;
	int r;

	kho_life_.kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (kho_life_.kick < 0)
		return kho_fail_(-errno, "no eventfd for the keeper");
	sem_init(&started, 0, 0);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &kho_life_.mask);
	r = pthread_create(&kho_life_.keeper, NULL, keeper, NULL);
	pthread_sigmask(SIG_SETMASK, &kho_life_.mask, NULL);
	if (r) {
		close(kho_life_.kick);
		kho_life_.kick = -1;
		return kho_fail_(-r, "the keeper thread cannot be started");
	}
	while (sem_wait(&started))
		;
	/* Now, so that what is preserved from the first moment on is held. */
	if (kho_life_.holds && kho_life_.server >= 0)
		kho_courier_attach_(&kho_courier_run_, (unsigned int)kho_life_.holds);
	return 0;
}

void kho_keeper_stop_(void)
{
	kho_life_.closing = true;
	kho_keeper_kick_();
	pthread_join(kho_life_.keeper, NULL);
	kho_life_.closing = false;
	close(kho_life_.kick);
	kho_life_.kick = -1;
	hang_up();
}
