/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A server's life as its supervisor sees it: start, death, restart, stop, adoption.
 *
 * A death is heard of twice: from the owner's futex word, at once, and from waitpid(), after the
 * kernel has torn the address space down, which takes long for a large one. The first is
 * enough to start the next server, if the status that is visible by then says that it did
 * not just exit.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arena.h"
#include "owner.h"
#include "proc.h"
#include "supervisor.h"

#define FIELD_EXIT_CODE 52
#define HEAR_MAX 4096 /* more than fit into a socket */

static void remember(struct sup *s, struct server *who)
{
	const struct kho_abi_msg_register *reg = (const void *)s->msg.body;

	who->generation = reg->generation;
	memcpy(who->release, reg->release, sizeof(who->release));
	for (char *p = who->release; *p; p++)
		if ((unsigned char)*p < 0x20)
			*p = '?';
}

void forget_server(struct server *who)
{
	if (who->pidfd >= 0)
		close(who->pidfd);
	if (who->sock >= 0)
		close(who->sock);
	memset(who, 0, sizeof(*who));
	who->pidfd = who->sock = -1;
}

void add_dying(struct sup *s, struct server *who, unsigned int kill_ms, bool was_server)
{
	struct dying *d = s->dying;

	while (d < s->dying + MAX_DYING && d->pid)
		d++;
	if (who->child && d < s->dying + MAX_DYING)
		*d = (struct dying){.pid = who->pid,
				    .pidfd = -1,
				    .kill_at = kill_ms ? kho_now_ms_() + kill_ms : 0,
				    .was_server = was_server};
	forget_server(who);
}

/* ---- start ---- */

/* The last to let go of an arena frees its memory, which takes long for a large one: the watcher's work. */
static void close_aside(struct sup *s, int fd)
{
	fd = __atomic_exchange_n(&s->discarded, fd, __ATOMIC_ACQ_REL);
	if (fd >= 0)
		close(fd);
}

static int new_arena(struct sup *s)
{
	/* The watcher may look at it: what it finds there from now on is a free lock. */
	if (s->owner)
		mmap(s->owner, KHO_PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		     -1, 0);
	__atomic_store_n(&s->owner, NULL, __ATOMIC_RELEASE);
	if (s->arena >= 0)
		close_aside(s, s->arena);
	s->stored = false;
	holds_clear(s); /* tokens mean nothing to an empty arena */
	s->arena = high_fd(kho_arena_create_(s->name));
	if (s->arena < 0)
		complain("%s: %s", s->name, kho_error());
	return s->arena < 0 ? s->arena : 0;
}

int start_server(struct sup *s)
{
	struct launch launch = {.program = &s->program,
				.channel = -1,
				.held = -1,
				.holds = s->max_holds,
				.listen = s->listen,
				.nr_listen = s->nr_listen,
				.supervisor = s->path,
				.arena_max = s->arena_max,
				.realtime = s->realtime};
	int pair[2], r;

	if ((s->arena < 0 || s->fresh) && new_arena(s))
		return -ENOMEM;
	notify_store_arena(s);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	launch.arena = s->arena;
	launch.server = high_fd(pair[1]);
	launch.held = holds_list();
	memset(&s->cur, 0, sizeof(s->cur));
	r = spawn(&launch, &s->cur.pid, &s->cur.pidfd);
	close(launch.server);
	if (launch.held >= 0)
		close(launch.held);
	if (r) {
		complain("%s: %s cannot be started: %s%s", s->name, s->program.argv[0],
			 strerror(-r),
			 r == -EMFILE ? ": raise the limit of open files (ulimit -n)" : "");
		close(pair[0]);
		s->cur = (struct server){.pidfd = -1, .sock = -1};
		return r;
	}
	s->cur.sock = high_fd(pair[0]);
	s->cur.child = true;
	s->cur.since = kho_now_ms_();
	s->state = SUP_STARTING;
	s->deadline = s->ready_ms ? kho_now_ms_() + s->ready_ms : 0;
	return 0;
}

void clear_server(struct sup *s, struct conn *c)
{
	if (s->state != SUP_FAILED) {
		reply(c, -EBUSY, KHO_STEP_SPAWN, "the server has not failed: kho stop ends it");
		return;
	}
	s->nr_deaths = 0;
	if (new_arena(s) || start_server(s)) {
		s->state = SUP_FAILED;
		reply(c, -ENOMEM, KHO_STEP_SPAWN, "the server cannot be started");
		return;
	}
	complain("%s: started with an empty arena", s->name);
	reply(c, 0, KHO_STEP_DONE, "");
}

/* ---- death ---- */

void describe_exit(int status, char *text, size_t size)
{
	if (WIFSIGNALED(status))
		snprintf(text, size, "killed by signal %d (%s)%s", WTERMSIG(status),
			 sigabbrev_np(WTERMSIG(status)) ?: "?",
			 WCOREDUMP(status) ? ", core dumped" : "");
	else
		snprintf(text, size, "exited with status %d", WEXITSTATUS(status));
}

/* Deaths within the last seconds, this one included. */
static unsigned int count_death(struct sup *s)
{
	__u64 now = kho_now_ms_();
	__u64 since = now > s->death_seconds * 1000ULL ? now - s->death_seconds * 1000ULL : 0;
	unsigned int kept = 0;

	for (unsigned int i = 0; i < s->nr_deaths; i++)
		if (s->deaths[i] >= since)
			s->deaths[kept++] = s->deaths[i];
	if (kept == MAX_DEATHS)
		memmove(s->deaths, s->deaths + 1, --kept * sizeof(s->deaths[0]));
	s->deaths[kept++] = now;
	s->nr_deaths = kept;
	return kept;
}

void restart_server(struct sup *s, const char *how)
{
	unsigned int deaths = count_death(s);

	s->restarts++;
	if (s->reviving || (s->max_deaths && deaths >= s->max_deaths)) {
		s->reviving = false;
		standby_dismiss(s);
		s->state = SUP_FAILED;
		s->deadline = 0;
		complain("%s: %u death(s) within %u s, last: %s: not started again; its arena is "
			 "kept: kho upgrade %s starts a new program with it, kho stop %s ends it",
			 s->name, deaths, s->death_seconds, how, s->name, s->name);
		/* One that has not begun starts its program now. */
		if (!s->begin_by)
			reply_upgrade(s, -ECHILD, KHO_STEP_SPAWN, how);
		return;
	}
	if (s->wants_standby && standby_take(s)) {
		complain("%s: the server died (%s): its standby took over", s->name, how);
		return;
	}
	complain("%s: the server died (%s): restarted", s->name, how);
	if (start_server(s))
		s->state = SUP_FAILED; /* the program itself cannot be executed */
}

/* The server is gone, however we heard of it; s->cur is empty. @status: -1 = not known. */
static void server_gone(struct sup *s, const char *how, int status)
{
	snprintf(s->last_death, sizeof(s->last_death), "%s", how);
	if (s->state == SUP_STOPPING) {
		s->exiting = true;
		return;
	}
	if (s->state == SUP_UPGRADING && predecessor_died(s, how))
		return;
	if (status == 0) {
		complain("%s: the server exited by itself", s->name);
		reply_upgrade(s, -ECHILD, KHO_STEP_SPAWN, how);
		s->exiting = true;
		return;
	}
	restart_server(s, how);
}

static void drain(struct sup *s, struct server *who)
{
	while (who->sock >= 0 && who->pid) {
		int sock = who->sock;

		serve(s, who);
		if (who->sock == sock)
			break; /* nothing more in it */
	}
}

/* Take everything that it said before it died. */
static void hear_out(struct sup *s, pid_t pid)
{
	for (int i = 0; i < HEAR_MAX; i++) {
		struct server *who = s->cur.pid == pid	  ? &s->cur
				     : s->next.pid == pid ? &s->next
							  : NULL;

		if (!who || who->sock < 0)
			return;
		drain(s, who);
		if (who->pid != pid || who->sock < 0)
			return;
		if (recv(who->sock, &(char){0}, 1, MSG_PEEK | MSG_DONTWAIT) <= 0)
			return;
	}
}

void child_died(struct sup *s, pid_t pid, int status)
{
	char how[128];

	describe_exit(status, how, sizeof(how));
	hear_out(s, pid);
	for (struct dying *d = s->dying; d < s->dying + MAX_DYING; d++) {
		if (d->pid != pid)
			continue;
		if (d->was_server)
			snprintf(s->last_death, sizeof(s->last_death), "%s", how);
		d->pid = 0;
		return;
	}
	if (s->cur.pid == pid) {
		forget_server(&s->cur);
		server_gone(s, how, status);
	} else if (s->next.pid == pid) {
		forget_server(&s->next);
		successor_died(s, how);
	} else if (s->standby.pid == pid) {
		standby_died(s, how);
	}
}

void adopted_died(struct sup *s)
{
	hear_out(s, s->cur.pid);
	if (!s->cur.pid || s->cur.child)
		return;
	forget_server(&s->cur);
	server_gone(s, "died (not our child: status unknown)", -1);
}

/* What /proc shows of a dying process's status (since Linux 6.8 set for all its tasks). */
static int early_status(pid_t pid)
{
	__u64 status;

	return kho_proc_field_(pid, FIELD_EXIT_CODE, &status) ? 0 : (int)status;
}

void owner_died(struct sup *s)
{
	__u64 n, early;
	char how[128];
	int status;

	if (read(s->deathwatch, &n, sizeof(n)) < 0 || !s->owner || !s->cur.pid || !s->cur.child ||
	    s->state == SUP_STOPPING || s->state == SUP_UPGRADING)
		return;
	if (s->owner->pid != (__u64)s->cur.pid ||
	    !(__atomic_load_n(&s->owner->futex, __ATOMIC_ACQUIRE) & 0x40000000))
		return;
	early = __atomic_load_n(&s->early, __ATOMIC_ACQUIRE);
	status = early >> 32 == (__u64)s->cur.pid ? (int)(__u32)early : 0;
	if (!status)
		return; /* an exit, or not to be seen: waitpid() will tell */
	describe_exit(status, how, sizeof(how));
	hear_out(s, s->cur.pid);
	add_dying(s, &s->cur, 0, true);
	server_gone(s, how, status);
}

/* ---- the owner's word ---- */

/*
 * Here, not in the loop: whoever reads about a process that is dying may be the last to let its address
 * space go, and has to take it down then.
 */
static void look_at(struct sup *s, pid_t pid)
{
	__u64 early = pid > 0 ? (__u64)pid << 32 | (__u32)early_status(pid) : 0;

	__atomic_store_n(&s->early, early, __ATOMIC_RELEASE);
}

static void *watch(void *ctx)
{
	struct sup *s = ctx;
	__u64 one = 1;

	kho_proc_hurry_();

	for (;;) {
		struct kho_abi_owner *owner = __atomic_load_n(&s->owner, __ATOMIC_ACQUIRE);

		if (__atomic_load_n(&s->discarded, __ATOMIC_ACQUIRE) >= 0)
			close_aside(s, -1);
		if (owner && kho_owner_wait_death_(owner, 1000) == 1) {
			look_at(s, (pid_t)owner->pid);
			if (write(s->deathwatch, &one, sizeof(one)) < 0)
				return NULL;
			/* Until somebody takes it there is nothing new to hear. */
			usleep(5000);
		} else {
			usleep(20000);
		}
	}
	return NULL;
}

int watch_owner(struct sup *s)
{
	pthread_t thread;
	sigset_t all, old;
	int r;

	s->deathwatch = high_fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (s->deathwatch < 0)
		return -errno;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&thread, NULL, watch, s);
	sigprocmask(SIG_SETMASK, &old, NULL);
	return -r;
}

static void map_owner(struct sup *s)
{
	struct stat st;

	/* Formatted by now, and sealed against shrinking: it will not fault. */
	if (s->owner || fstat(s->arena, &st) || st.st_size < KHO_ABI_FIXED_END)
		return;
	__atomic_store_n(&s->owner, kho_owner_map_(s->arena), __ATOMIC_RELEASE);
}

/* ---- what a server says ---- */

bool serve(struct sup *s, struct server *who)
{
	int r = kho_msg_recv_(who->sock, &s->msg, 0);
	const struct kho_abi_msg_result *res = (const void *)s->msg.body;

	if (r == -ETIMEDOUT)
		return false;
	if (r == -EMFILE) {
		holds_refused(s, who);
		return true;
	}
	if (r) {
		close(who->sock);
		who->sock = -1;
		return false;
	}
	if (s->msg.type == KHO_MSG_REGISTER || s->msg.type == KHO_MSG_RUNNING) {
		who->stale = 0; /* another program by now: it does not know of those */
		remember(s, who);
		map_owner(s);
	}
	if (s->msg.type == KHO_MSG_REGISTER) {
		holds_offer(s, who);
	} else if (s->msg.type == KHO_MSG_HOLD) {
		holds_take(s);
	} else if (s->msg.type == KHO_MSG_DROP) {
		holds_drop(s);
	} else if (s->msg.type == KHO_MSG_HOLD_SYNC) {
		holds_sync(s, who);
	} else if (s->msg.type == KHO_MSG_RUNNING) {
		who->running = true;
		if (s->state == SUP_UPGRADING) {
			upgrade_running(s, who);
		} else if (s->state == SUP_STARTING || s->state == SUP_ADOPTING) {
			s->state = SUP_RUNNING;
			notify("READY=1\nSTATUS=served by process %d", (int)s->cur.pid);
			s->reviving = false;
			s->deadline = 0;
			if (!s->begin_by)
				reply_upgrade(s, 0, KHO_STEP_DONE, "");
		}
	} else if (s->msg.type == KHO_MSG_LISTEN) {
		adopt_listener(s);
	} else if (s->msg.type == KHO_MSG_PROGRESS && who == &s->cur && !who->stale) {
		s->rehearsed |= res->step >= KHO_STEP_READY;
		progress(s, kho_msg_text_(&s->msg, sizeof(*res)));
	} else if (s->msg.type == KHO_MSG_UPGRADED && who == &s->cur) {
		upgraded(s, res->error, res->step, kho_msg_text_(&s->msg, sizeof(*res)));
	}
	kho_msg_drop_(&s->msg);
	return true;
}

/* ---- stop ---- */

void stop_server(struct sup *s)
{
	struct kho_msg_out out = {.type = KHO_MSG_STOP};

	if (s->state == SUP_HELD)
		s->exiting = true;
	if (s->state == SUP_STOPPING || s->state == SUP_HELD)
		return;
	notify("STOPPING=1");
	/* Without its successor the predecessor takes everything back, and then listens to us. */
	if (s->next.pid && s->cur.pid)
		kill(s->next.pid, SIGKILL);
	reply_upgrade(s, -ESHUTDOWN, KHO_STEP_SPAWN, "the supervisor was told to stop");
	s->state = SUP_STOPPING;
	standby_dismiss(s);
	s->deadline = kho_now_ms_() + s->stop_ms;
	if (!s->cur.pid && s->next.pid)
		kill(s->next.pid, SIGTERM);
	else if (!s->cur.pid)
		s->exiting = true;
	else if (s->cur.sock < 0 || !s->cur.running || kho_msg_send_(s->cur.sock, &out, 0))
		kill(s->cur.pid, SIGTERM);
}

/* ---- adoption ---- */

/* We map it: nobody may cut it off under us. */
static bool sealed(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	return seals >= 0 && seals & F_SEAL_SHRINK;
}

bool adopt(struct sup *s, struct conn *c)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	int pidfd;

	if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) || cred.pid <= 0)
		return false;
	if (s->state != SUP_ADOPTING || s->cur.pid || s->msg.nr_fds != 1)
		return false; /* somebody else's, or one that we gave up */
	if (!sealed(s->msg.fds[0])) {
		complain(
			"%s: process %d is not adopted: what it brings as its arena is not a memfd "
			"that is sealed against shrinking",
			s->name, (int)cred.pid);
		return false;
	}
	pidfd = (int)syscall(SYS_pidfd_open, cred.pid, 0);
	if (pidfd < 0)
		return false;
	s->cur = (struct server){
		.pid = cred.pid, .pidfd = high_fd(pidfd), .sock = c->fd, .since = kho_now_ms_()};
	if (s->arena >= 0)
		close(s->arena); /* the same, out of the service manager's store */
	s->arena = high_fd(s->msg.fds[0]);
	s->msg.fds[0] = -1;
	remember(s, &s->cur);
	map_owner(s);
	holds_offer(s, &s->cur);
	complain("%s: adopted process %d", s->name, (int)cred.pid);
	s->deadline = 0;
	return true;
}

void adopt_listener(struct sup *s)
{
	const struct kho_abi_msg_fds *head = (const void *)s->msg.body;
	const __u64 *tokens = (const void *)(head + 1);

	for (unsigned int i = 0; i < head->nr; i++) {
		__u64 nr = tokens[i] - KHO_FD_LISTEN;

		/* In their order, as they are numbered; a gap cannot be handed on. */
		if (nr != s->nr_listen || nr >= MAX_LISTEN)
			continue;
		s->listen[s->nr_listen++] = high_fd(s->msg.fds[i]);
		s->msg.fds[i] = -1;
	}
}
