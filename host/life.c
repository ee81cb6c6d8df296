/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * kho_start() and its kin: how a process comes to own the arena and lets go of it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fdtable.h"
#include "heap.h"
#include "life.h"
#include "migrate.h"
#include "owner.h"
#include "proc.h"
#include "sessions.h"
#include "systemd.h"

#define HEALTHY_SEND_MS 1000
#define RETIRE_MS 1000 /* the predecessor, when it was told that we are healthy */

struct kho_life kho_life_ = {.lock = PTHREAD_MUTEX_INITIALIZER,
			     .busy = PTHREAD_MUTEX_INITIALIZER,
			     .server = -1,
			     .channel = -1,
			     .kick = -1};
bool kho_is_child_;
void (*kho_step_hook_)(const char *step);

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* In the child: the arena is not mapped here, and the sockets must not outlive their owner. */
static void after_fork(void)
{
	if (kho_life_.phase == KHO_PHASE_NONE)
		return;
	kho_is_child_ = true;
	kho_arena_.writer = false;
	kho_heap_forked_();
	close_fd(kho_life_.server);
	close_fd(kho_life_.channel);
	close_fd(kho_life_.kick);
	close_fd(kho_arena_.fd);
}

static void watch_fork(void)
{
	pthread_atfork(NULL, NULL, after_fork);
}

static int forked(void)
{
	return kho_fail_(-EOWNERDEAD, "a forked child does not inherit the arena: exec, or let the "
				      "parent do it");
}

bool kho_may_write_(void)
{
	static const char *const why[] = {
		[KHO_PHASE_NONE] = "no arena is open: kho_start() first",
		[KHO_PHASE_STARTING] = "the arena is not ours yet",
		[KHO_PHASE_SUCCESSOR] = "the predecessor owns the arena until kho_ready() returns",
		[KHO_PHASE_OWNER] = "the arena is not ours",
		[KHO_PHASE_GRANTED] = "the arena was handed over to a successor",
	};

	if (kho_forked_()) {
		errno = -forked();
		return false;
	}
	if (__builtin_expect(__atomic_load_n(&kho_arena_.writer, __ATOMIC_ACQUIRE), 1))
		return true;
	kho_fail_(-EPERM, "%s", why[kho_life_.phase]);
	errno = EPERM;
	return false;
}

int kho_writer_error_(void)
{
	return kho_may_write_() ? 0 : -errno;
}

int kho_reader_error_(void)
{
	if (kho_forked_())
		return forked();
	return kho_arena_.mapped ? 0 : kho_fail_(-ENODEV, "no arena: call kho_start() first");
}

void kho_life_given_up_(void)
{
	_exit(0);
}

bool kho_life_alone_(void)
{
	return kho_life_.healthy && kho_life_.channel < 0;
}

int kho_life_retired_(void)
{
	for (int i = 0; i < RETIRE_MS && kho_life_.channel >= 0; i++) {
		if (!kho_life_.healthy)
			return kho_fail_(-EPERM, "the predecessor may still take the arena back: "
						 "kho_healthy() first");
		usleep(1000);
	}
	if (kho_life_.channel >= 0)
		return kho_fail_(-EPERM, "the predecessor has not retired yet");
	return 0;
}

int kho_life_begin_(__u64 generation)
{
	int r = kho_arena_set_generation_(generation);

	if (r)
		return r;
	kho_arena_set_state_(KHO_ABI_STATE_RUNNING);
	kho_life_.phase = KHO_PHASE_OWNER;
	kho_life_.metadata_due = true; /* rewrites the root FDT: not while clients wait */
	return 0;
}

void kho_life_settle_(void)
{
	static _Atomic bool told;

	if (!atomic_exchange(&kho_life_.metadata_due, false))
		return;
	/* For whoever comes next. What cannot be noted keeps nobody from serving. */
	if (kho_arena_set_metadata_(kho_life_.release, (unsigned int)kho_arena_generation_() + 1) &&
	    !atomic_exchange(&told, true))
		fprintf(stderr, "libkho: %s: the next program will not learn who we are: %s\n",
			kho_life_.name, kho_error());
	if (kho_migrate_recover_())
		fprintf(stderr, "libkho: %s: a migration that failed is not undone yet: %s\n",
			kho_life_.name, kho_error());
	kho_sessions_settle_(); /* what cannot be read is told to whoever uses sessions */
}

/* ---- kho_start() ------------------------------------------------------------ */

static int take_name(char *to, size_t size, const char *what, const char *from)
{
	if (strlen(from) >= size)
		return kho_fail_(-EINVAL, "%s \"%.40s\" is longer than %zu bytes", what, from,
				 size - 1);
	memset(to, 0, size);
	memcpy(to, from, strlen(from));
	return 0;
}

static int take_config(const struct kho_config *config)
{
	struct kho_config *to = &kho_life_.config;
	const char *tail = (const char *)config;

	if (!config || config->size < offsetof(struct kho_config, flags))
		return kho_fail_(-EINVAL, "struct kho_config has no size: use KHO_CONFIG_INIT");
	for (size_t i = sizeof(*to); i < config->size; i++)
		if (tail[i])
			return kho_fail_(-E2BIG, "struct kho_config has a field that this library "
						 "does not know");
	memset(to, 0, sizeof(*to));
	memcpy(to, config, config->size < sizeof(*to) ? config->size : sizeof(*to));
	kho_migrate_set_(to->migrations, to->nr_migrations, to->ctx);
	return take_name(kho_life_.name, sizeof(kho_life_.name), "name",
			 to->name ? to->name : program_invocation_short_name) ?:
	       take_name(kho_life_.release, sizeof(kho_life_.release), "release",
			 to->release ? to->release : "") ?:
	       kho_formats_valid_(to);
}

static __u64 arena_max(const struct kho_environ *env)
{
	__u64 max = kho_life_.config.arena_max;

	if (!max)
		max = env->arena_max;
	if (!max)
		max = (__u64)sysconf(_SC_PHYS_PAGES) * (__u64)sysconf(_SC_PAGESIZE) / 2;
	max &= ~(KHO_SECTION_SIZE - 1);
	return max ? max : KHO_SECTION_SIZE;
}

void kho_life_mapped_(void)
{
	if (kho_life_.config.flags & KHO_START_DUMPABLE)
		madvise(kho_arena_.base, kho_arena_.size, MADV_DODUMP);
}

static int own(int fd, bool fresh)
{
	int r = kho_owner_acquire_(0);

	if (r < 0)
		return r;
	r = kho_arena_map_(fd, true);
	if (!r)
		kho_life_mapped_();
	r = r ?: kho_arena_own_();
	r = r ?: kho_life_begin_(kho_arena_generation_() + (fresh ? 0 : 1));
	if (r)
		kho_owner_release_();
	else
		kho_life_settle_();
	return r;
}

static int start_with(int fd, const struct kho_environ *env)
{
	struct kho_abi_arena_header header;
	int empty = kho_arena_is_empty_(fd), r;
	__u64 size;

	if (empty < 0)
		return empty;
	r = empty ? kho_arena_format_(fd, arena_max(env)) : 0;
	/* The lock is written to before the arena is mapped: is this one at all? */
	r = r ?: kho_arena_check_file_(fd, &header, &size);
	r = r ?: kho_owner_open_(fd) ?: kho_environ_take_fds_(env);
	if (r)
		return r;
	r = kho_keeper_start_();
	if (r)
		return r;
	r = own(fd, empty);
	if (r)
		return r;
	kho_keeper_kick_();
	return empty ? KHO_FRESH : KHO_RESTARTED;
}

static int start_owner(const struct kho_environ *env)
{
	int fd = env->arena >= 0 ? env->arena : kho_arena_create_(kho_life_.name), r;

	if (fd < 0)
		return fd;
	r = start_with(fd, env);
	/* Once mapped, it goes with the arena. */
	if (r < 0 && env->arena < 0 && !kho_arena_.mapped)
		close(fd);
	if (r >= 0)
		kho_systemd_attach_();
	return r;
}

static void undo_start(void)
{
	if (kho_life_.kick >= 0)
		kho_keeper_stop_();
	kho_owner_close_();
	if (kho_arena_.mapped)
		kho_arena_unmap_();
	kho_systemd_forget_();
	kho_fdtable_clear_();
	close_fd(kho_life_.server);
	close_fd(kho_life_.channel);
	kho_life_.server = kho_life_.channel = -1;
	kho_life_.ready = false;
	kho_life_.phase = KHO_PHASE_NONE;
}

int kho_start(const struct kho_config *config)
{
	struct kho_environ env;
	int phase = KHO_PHASE_NONE, r;

	if (kho_forked_())
		return forked();
	if (!atomic_compare_exchange_strong(&kho_life_.phase, &phase, KHO_PHASE_STARTING))
		return kho_fail_(-EEXIST, "kho_start() was called before");
	pthread_once(&fork_once, watch_fork);
	r = take_config(config) ?: kho_environ_read_(&env);
	if (r) {
		kho_life_.phase = KHO_PHASE_NONE;
		return r;
	}
	kho_environ_forget_();
	kho_life_.debug_freeze = getenv("KHO_DEBUG_FREEZE");
	kho_life_.realtime = env.realtime;
	kho_life_.holds = env.holds;
	kho_life_.server = env.server;
	strcpy(kho_life_.supervisor, env.supervisor);
	r = env.channel >= 0 ? kho_successor_start_(&env) : start_owner(&env);
	if (r < 0) {
		char why[512];

		snprintf(why, sizeof(why), "%s", kho_error());
		undo_start();
		return kho_fail_(r, "%s", why);
	}
	return r;
}

/* ---- the others ------------------------------------------------------------- */

int kho_life_end_way_(void)
{
	int r = kho_proc_end_way_(kho_life_.realtime);

	if (!r)
		return 0;
	return kho_fail_(r,
			 KHO_ENV_REALTIME "=%d: a thread may not have that priority: %s; it takes "
					  "CAP_SYS_NICE, or RLIMIT_RTPRIO of %d (ulimit -r)",
			 kho_life_.realtime, strerror(-r), kho_life_.realtime);
}

int kho_ready(void)
{
	int r;

	if (kho_forked_())
		return forked();
	if (kho_life_.phase == KHO_PHASE_SUCCESSOR)
		return kho_successor_ready_();
	if (kho_life_.phase != KHO_PHASE_OWNER)
		return kho_fail_(-EINVAL, "kho_ready() without kho_start()");
	r = kho_life_.realtime ? kho_life_end_way_() : 0;
	if (r)
		return r;
	kho_life_.ready = true;
	kho_keeper_kick_();
	kho_systemd_tell_("READY=1");
	return 0;
}

/* New objects take their place when nobody wants the old ones back. */
static int finish_migrations(void)
{
	return kho_life_retired_() ? -ETIMEDOUT : kho_migrate_finish_();
}

int kho_healthy(void)
{
	struct kho_msg_out out = {.type = KHO_MSG_HEALTHY};
	int r = 0;

	if (kho_forked_())
		return forked();
	kho_step_("successor-healthy");
	pthread_mutex_lock(&kho_life_.lock);
	if (kho_life_.channel < 0 && kho_life_.ready)
		kho_life_.healthy = true; /* nobody is left to be told */
	if (kho_life_.channel >= 0 && kho_life_.reader == KHO_READER_KEEPER) {
		r = kho_msg_send_(kho_life_.channel, &out, HEALTHY_SEND_MS);
		/* A predecessor that has gone needs no telling. */
		if (r == -EPIPE)
			r = 0;
		kho_life_.healthy = !r;
	}
	pthread_mutex_unlock(&kho_life_.lock);
	if (!r && kho_life_.healthy && kho_migrate_due_())
		r = finish_migrations();
	return r;
}

int kho_alive(void)
{
	struct kho_msg_out out = {.type = KHO_MSG_ALIVE};
	int r;

	if (kho_forked_())
		return forked();
	kho_systemd_alive_();
	pthread_mutex_lock(&kho_life_.lock);
	r = kho_life_.channel >= 0;
	/* If the channel is full, the predecessor has signs enough to read. */
	if (r && kho_life_.reader == KHO_READER_KEEPER && !kho_life_.healthy)
		kho_msg_send_(kho_life_.channel, &out, 0);
	pthread_mutex_unlock(&kho_life_.lock);
	return r;
}

int kho_close(void)
{
	if (kho_forked_())
		return forked();
	if (kho_life_.phase == KHO_PHASE_NONE)
		return 0;
	/* Not in the middle of a hand-over; and before the keeper dies, which would be a crash. */
	pthread_mutex_lock(&kho_life_.busy);
	kho_life_.closing = true;
	kho_systemd_tell_("STOPPING=1");
	if (kho_life_.phase == KHO_PHASE_OWNER) {
		kho_arena_disown_();
		kho_arena_set_state_(KHO_ABI_STATE_STOPPED);
		kho_owner_release_();
	}
	pthread_mutex_unlock(&kho_life_.busy);
	undo_start();
	return 0;
}

__u64 kho_generation(void)
{
	if (kho_forked_() || !kho_arena_.mapped)
		return 0;
	return kho_arena_generation_();
}
