/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * kho run --liveupdate: the arena goes over a kexec in a session of the kernel's.
 *
 *	at the start	the session "kho-NAME" that came in, if there is one, has the arena
 *	kho preserve	the arena is put into a session of the same name, while its server works
 *	SIGTERM		the server stops; if a kernel is loaded (or kho preserve was called) the arena
 *			is put there now, and a child of ours stays to hold the session until the jump
 *	kho run again	before the jump: the holder gives the arena back, and ends
 *
 * A session lasts as long as somebody holds its fd. So the holder must outlive whatever a
 * shutdown kills: its name begins with '@', which systemd's last round of signals passes over if it is
 * root's; nothing but SIGKILL ends it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arena.h"
#include "liveupdate.h"
#include "proc.h"
#include "supervisor.h"

#define TAKE_MS 10000 /* the holder answers at once, unless the machine is very busy */
#define PER_PAGE                                                                                   \
	24 /* bytes that the kernel takes for each page: 16 in its list, and the list of those */

static void session_name(const struct sup *s, char name[KHO_LIVEUPDATE_NAME_MAX + 1])
{
	snprintf(name, KHO_LIVEUPDATE_NAME_MAX + 1, "kho-%s", s->name);
}

/* ---- in ---- */

/* Nothing in it is believed: all of it is checked before anybody is started with it. */
static bool sound(struct sup *s, const char *from)
{
	struct kho_extent extent;

	if (!kho_extent_(s->arena, &extent)) {
		complain("%s: the arena came from %s: %llu MiB, generation %llu", s->name, from,
			 (unsigned long long)(extent.size >> 20),
			 (unsigned long long)extent.generation);
		return true;
	}
	complain("%s: what came from %s is not used, a new arena is made: %s", s->name, from,
		 kho_error());
	close(s->arena);
	s->arena = -1;
	return false;
}

static int take_from_kernel(struct sup *s)
{
	char name[KHO_LIVEUPDATE_NAME_MAX + 1];
	int session, fd;

	session_name(s, name);
	session = kho_liveupdate_find_(name);
	if (session == -ENOENT)
		return 0; /* a cold start */
	if (session < 0)
		return session;
	fd = high_fd(kho_liveupdate_retrieve_(session, KHO_LIVEUPDATE_ARENA));
	if (fd < 0) {
		complain("%s: the arena did not come over the reboot: %s", s->name, kho_error());
	} else {
		fcntl(fd, F_SETFD, FD_CLOEXEC);
		fchmod(fd, 0600); /* the kernel makes it anew, for everybody to execute */
		s->arena = fd;
		sound(s, "the kernel before this one");
	}
	if (kho_liveupdate_finish_(session))
		complain("%s: %s", s->name, kho_error());
	close(session);
	return 0;
}

int liveupdate_start(struct sup *s)
{
	int r = s->liveupdate && s->arena < 0 ? take_from_kernel(s) : 0;

	if (r == -EIO) {
		complain("%s: %s", s->name, kho_error());
		return 0; /* what came in is lost; the service need not be */
	}
	if (r)
		complain("--liveupdate: %s", kho_error());
	return r;
}

/* Wait until the other end is closed: its lock and its socket are gone by then. */
static void wait_end(int fd, struct kho_msg *msg)
{
	while (!kho_msg_recv_(fd, msg, TAKE_MS))
		kho_msg_drop_(msg);
}

void liveupdate_take_back(struct sup *s)
{
	struct kho_msg_out out = {.type = KHO_MSG_CTL_TAKE};
	int fd = connect_control(s->path);

	if (fd < 0)
		return; /* the ordinary case */
	if (!kho_msg_send_(fd, &out, TAKE_MS) && !kho_msg_recv_(fd, &s->msg, TAKE_MS) &&
	    s->msg.type == KHO_MSG_CTL_ARENA) {
		s->arena = high_fd(s->msg.fds[0]);
		s->msg.fds[0] = -1;
		kho_msg_drop_(&s->msg);
		wait_end(fd, &s->msg);
		sound(s, "the process that held it");
	}
	kho_msg_drop_(&s->msg);
	close(fd);
}

/* ---- out ---- */

__u64 memory_available(void)
{
	char text[4096], *at;

	if (kho_proc_text_(AT_FDCWD, "/proc/meminfo", text, sizeof(text)) < 0)
		return ~0ULL;
	at = strstr(text, "MemAvailable:");
	return at ? strtoull(at + strlen("MemAvailable:"), NULL, 10) << 10 : ~0ULL;
}

/* Nobody owns it any more: a shorter file if that is worth while. Not to be had is no reason to give up. */
static void compact(struct sup *s, struct kho_extent *extent)
{
	int fd;

	if ((!kho_extent_worth_copying_(extent) && !extent->sealed) ||
	    memory_available() < extent->allocated)
		return;
	fd = high_fd(kho_compact_(s->arena, extent, s->name));
	if (fd < 0) {
		complain("%s: %s", s->name, kho_error());
		return;
	}
	close(s->arena);
	s->arena = fd;
	s->stored = false;
	kho_extent_(s->arena, extent);
}

static int measure(struct sup *s, struct kho_extent *extent)
{
	__u64 need, have;
	int r = kho_extent_(s->arena, extent);

	if (r)
		return r;
	if (!s->cur.pid && !s->next.pid && !s->standby.pid)
		compact(s, extent);
	if (extent->sealed)
		return kho_fail_(
			-EOPNOTSUPP,
			"live update: the arena is sealed against execution, and would come "
			"back sealed against writing: it can be copied when its server has "
			"stopped, if vm.memfd_noexec is not 2");
	need = kho_extent_filled_(extent) + (extent->size >> 12) * PER_PAGE;
	have = memory_available();
	if (need <= have)
		return 0;
	return kho_fail_(-ENOMEM,
			 "live update: the kernel fills the holes of the arena's file, which takes "
			 "%llu MiB more, and %llu MiB are available",
			 (unsigned long long)(need >> 20), (unsigned long long)(have >> 20));
}

int liveupdate_preserve(struct sup *s, char *text, size_t size)
{
	char name[KHO_LIVEUPDATE_NAME_MAX + 1];
	struct kho_extent extent;
	int session, r;

	if (!s->liveupdate)
		return kho_fail_(-EOPNOTSUPP,
				 "this kho run was started without --liveupdate: it would not look "
				 "for the arena after the reboot");
	if (s->arena < 0 ||
	    (s->state != SUP_RUNNING && s->state != SUP_FAILED && s->state != SUP_STOPPING))
		return kho_fail_(-EBUSY,
				 "there is no arena to preserve, or it is being handed over");
	if (s->session >= 0)
		return kho_fail_(-EALREADY, "the arena is preserved already");
	r = measure(s, &extent);
	if (r)
		return r;
	session_name(s, name);
	session = high_fd(kho_liveupdate_create_(name));
	if (session < 0)
		return session;
	r = kho_liveupdate_preserve_(session, s->arena, KHO_LIVEUPDATE_ARENA);
	if (r) {
		close(session);
		return r;
	}
	s->session = session;
	snprintf(text, size, "%s: %llu MiB are preserved, of these %llu MiB that were holes",
		 s->name, (unsigned long long)(extent.size >> 20),
		 (unsigned long long)(kho_extent_filled_(&extent) >> 20));
	return 0;
}

void liveupdate_cancel(struct sup *s)
{
	if (s->session >= 0)
		close(s->session);
	s->session = -1;
}

void liveupdate_request(struct sup *s, struct conn *c)
{
	const struct kho_abi_msg_preserve *msg = (const void *)s->msg.body;
	char text[256] = "";
	int r;

	if (msg->flags & KHO_PRESERVE_CANCEL) {
		liveupdate_cancel(s);
		reply(c, 0, KHO_STEP_DONE, text);
		return;
	}
	r = liveupdate_preserve(s, text, sizeof(text));
	reply(c, r, 0, r ? kho_error() : text);
}

/* ---- holding ---- */

void liveupdate_give(struct sup *s, struct conn *c)
{
	struct kho_msg_out out = {.type = KHO_MSG_CTL_ARENA, .fds = &s->arena, .nr_fds = 1};

	if (s->state != SUP_HELD) {
		reply(c, -EBUSY, 0, "it has a server, or waits for one");
		return;
	}
	/* Whoever asks takes our place: nothing of ours may be in its way when it has the answer. */
	liveupdate_cancel(s);
	unlink(s->path);
	close(s->control);
	close(s->lock);
	s->control = s->lock = -1;
	s->path[0] = '\0';
	kho_msg_send_(c->fd, &out, TAKE_MS);
	s->exiting = true;
}

/* In the child: nothing of the service's, and nothing that shutting down waits for. */
static void settle_down(struct sup *s)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	setsid();
	program_invocation_name[0] = '@';
	for (int fd = 0; null >= 0 && fd <= 2; fd++)
		dup2(null, fd);
	if (null > 2)
		close(null);
	if (chdir("/"))
		return;
	for (unsigned int i = 0; i < s->nr_listen; i++)
		close(s->listen[i]);
	s->nr_listen = 0;
	holds_clear(s);
}

bool liveupdate_hold(struct sup *s)
{
	struct kho_extent extent;
	char text[256];
	pid_t pid;
	int r;

	if (!s->by_signal || s->arena < 0 || (s->session < 0 && !kho_kexec_loaded_()))
		return false;
	if (!s->liveupdate) {
		/* It is in the manager's store, which may go over the kexec: then in no more than it needs. */
		if (notify_manager() && !measure(s, &extent))
			notify_store_arena(s);
		return false;
	}
	r = s->session < 0 ? liveupdate_preserve(s, text, sizeof(text)) : 0;
	pid = r ? -1 : fork();
	if (pid < 0) {
		complain("%s: its arena does not go over the kexec: %s", s->name,
			 r ? kho_error() : strerror(errno));
		return false;
	}
	if (pid) {
		complain("%s: process %d holds the arena for the next kernel", s->name, (int)pid);
		return true;
	}
	settle_down(s);
	supervise_held(s);
	if (*s->path)
		unlink(s->path);
	return true;
}

const char *liveupdate_word(const struct sup *s)
{
	return !s->liveupdate ? "off" : s->session >= 0 ? "preserved" : "on";
}
