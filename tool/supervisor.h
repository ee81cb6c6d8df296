/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Private to kho run: one supervisor, one event loop.
 *
 *	supervisor.c	the loop: signals, control connections, time-outs
 *	servers.c	start, death, restart, stop, adoption
 *	upgrades.c	a hand-over as the supervisor sees it
 *	liveupdate.c	the arena over a kexec
 *	notify.c	under systemd
 *	holds.c		fds that outlive the server
 *	standby.c	a successor that waits for the server's death
 */
#ifndef KHO_TOOL_SUPERVISOR_H
#define KHO_TOOL_SUPERVISOR_H

#include <limits.h>

#include <kho/abi/arena.h>
#include <kho/abi/handover.h>

#include "message.h"
#include "tool.h"

#define MAX_LISTEN 100
#define MAX_CONNS 32
#define MAX_DYING 16
#define MAX_DEATHS 1000

enum sup_state {
	SUP_STARTING, /* spawned, kho_ready() has not returned */
	SUP_RUNNING,
	SUP_UPGRADING,
	SUP_STOPPING,
	SUP_FAILED, /* died too often: waits for kho upgrade or kho stop */
	SUP_ADOPTING, /* waits for a server to register */
	SUP_HELD, /* there is no server any more: holds the arena until the kernel is replaced */
};

enum standby_state {
	STANDBY_NONE,
	STANDBY_STARTED,
	STANDBY_LISTED, /* it has all fds */
	STANDBY_READY,
};

/**
 * struct server - a server process; pid 0: none
 * @child: ours, so that waitpid() tells; else only its pidfd does
 * @sock: to its keeper, or -1
 * @running: it said so: its kho_ready() returned
 * @stale: upgrades that were given up, and of which it will still say how they ended
 */
struct server {
	pid_t pid;
	int pidfd;
	int sock;
	bool child;
	bool running;
	unsigned int stale;
	__u64 generation;
	__u64 since;
	char release[NAME_SIZE];
};

/* A process that is not a server of ours any more, but not reaped either. */
struct dying {
	pid_t pid;
	int pidfd;
	__u64 kill_at; /* ms, 0 = never */
	bool was_server; /* its status is of interest */
};

/* A client of the control socket, or a server that connects again. */
struct conn {
	int fd; /* -1: free */
	__u64 since; /* number of what it said last, or of its coming */
	bool upgrades; /* waits for the upgrade's end */
	bool stops; /* waits for our end */
};

struct sup {
	/* options */
	char name[NAME_SIZE];
	__u64 arena_max;
	int realtime; /* priority of the server's threads, or 0 */
	unsigned int max_deaths, death_seconds;
	unsigned int ready_ms, stop_ms, adopt_ms;
	bool fresh;
	bool liveupdate;
	bool wants_standby;

	enum sup_state state;
	struct program program; /* what is started after a death */
	struct program candidate; /* what the upgrade in progress starts */
	struct server cur; /* the owner, as far as we know */
	struct server next; /* successor, or rehearsal */
	struct server standby;
	enum standby_state standby_state;
	int standby_channel; /* to it, or -1 */
	__u64 standby_at; /* when to start one; 0: at once */
	__u64 standby_tell; /* when to tell it of fds; 0: nothing to tell */
	__u64 hush; /* it takes over: signals wait until then; 0: nobody does */
	unsigned int
		standby_wait; /* before the next one, if this one fails; 0: it has not failed */
	struct dying dying[MAX_DYING];
	struct conn conns[MAX_CONNS];
	__u64 nr_heard;

	char path[108];
	int lock, control, signals;
	int arena;
	bool stored; /* it is in the service manager's store */
	int session; /* of the kernel's, with the arena in it; or -1 */
	bool by_signal; /* that is how we were told to stop */
	int discarded; /* the last one's fd, for the watcher to close; or -1 */
	int listen[MAX_LISTEN];
	unsigned int nr_listen;

	struct kho_abi_owner *owner; /* page 1, once the arena is formatted */
	int hangups; /* epoll of the fds that we hold */
	unsigned int max_holds;
	pid_t syncer; /* who tells anew what to hold; 0: nobody */
	unsigned long sync_began;
	bool held_some; /* in this turn */

	int deathwatch; /* eventfd: the owner's word says that it died */
	__u64 early; /* its pid << 32 | the status that it is going to have, or 0 */

	struct kho_abi_msg_upgrade up;
	__u64 deadline; /* of what the state waits for; 0 = none */
	__u64 begin_by; /* an upgrade waits for the server, until then; 0: none does */
	__u64 look_at; /* when to look at the predecessor again */
	bool again; /* it has been begun twice */
	bool order_read; /* the predecessor has taken it */
	unsigned int idle_looks; /* in a row that found it standing still */
	__u64 deaths[MAX_DEATHS];
	unsigned int nr_deaths;
	unsigned int restarts;
	bool rehearsed; /* exec in place: RUNNING comes from the new program from now on */
	bool reviving; /* started by kho upgrade after too many deaths: one chance */
	bool exiting;
	int exit_status;
	char last_upgrade[256];
	char last_death[256];
	struct kho_msg msg;
};

/* ---- supervisor.c ---- */
int supervise(struct sup *s);
/* The loop of a process that only holds the arena: until somebody asks for it, or says stop. */
void supervise_held(struct sup *s);
/* Answer, or hang up on who does not read. */
void reply(struct conn *c, int error, unsigned int step, const char *text);
/* The upgrade is over: tell who waits for it. */
void reply_upgrade(struct sup *s, int error, unsigned int step, const char *text);
void progress(struct sup *s, const char *text);

/* ---- servers.c ---- */
int start_server(struct sup *s);
void stop_server(struct sup *s);
/* Of one that died too often: start it with an empty arena. */
void clear_server(struct sup *s, struct conn *c);
/* Something on the socket of @who. Return: there was. */
bool serve(struct sup *s, struct server *who);
/* A connection said REGISTER: is it one that we take? It is in s->msg. */
bool adopt(struct sup *s, struct conn *c);
void adopt_listener(struct sup *s);
void child_died(struct sup *s, pid_t pid, int status);
void adopted_died(struct sup *s);
/* The owner's word says that it died; waitpid() says so later. */
void owner_died(struct sup *s);
/* Count a death and start again, unless there were too many. */
void restart_server(struct sup *s, const char *how);
void forget_server(struct server *who);
void add_dying(struct sup *s, struct server *who, unsigned int kill_ms, bool was_server);
void describe_exit(int status, char *text, size_t size);
int watch_owner(struct sup *s);

/* ---- upgrades.c ---- */
/* A channel whose messages say who sent them. Return: 0 or -errno. */
int open_channel(int *pair);
void begin_upgrade(struct sup *s, struct conn *c);
/* What the predecessor says. */
void upgraded(struct sup *s, int error, unsigned int step, const char *text);
/* A server said RUNNING during an upgrade. */
void upgrade_running(struct sup *s, struct server *who);
/* The successor or the predecessor died. */
void successor_died(struct sup *s, const char *how);
bool predecessor_died(struct sup *s, const char *how);
void upgrade_timed_out(struct sup *s);
/* One that waits to begin, or whose predecessor may stand still; when it wants that called, 0: it does not. */
void upgrade_on_time(struct sup *s);
__u64 upgrade_next(const struct sup *s);

/* ---- liveupdate.c ---- */
/* The arena that came in, if any. Return: 0, or negative: the kernel cannot do it. */
int liveupdate_start(struct sup *s);
/* Ask a process that holds the arena of this name for it. */
void liveupdate_take_back(struct sup *s);
/* Return: 0, with words for the user; negative, with kho_error(). */
int liveupdate_preserve(struct sup *s, char *text, size_t size);
void liveupdate_cancel(struct sup *s);
/* CTL_PRESERVE, CTL_TAKE */
void liveupdate_request(struct sup *s, struct conn *c);
void liveupdate_give(struct sup *s, struct conn *c);
/* The server has stopped: does the arena stay? Then we leave everything as it is, and exit. */
bool liveupdate_hold(struct sup *s);
/* For the status. */
const char *liveupdate_word(const struct sup *s);

/* ---- notify.c ---- */
/* Find the service manager, if one started us; take what it has stored. */
void notify_start(struct sup *s);
bool notify_manager(void);
void notify(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The arena is another one. */
void notify_store_arena(struct sup *s);
/* When the watchdog wants a word, ms; 0 = never. */
__u64 notify_deadline(void);
void notify_on_time(void);
/* Is the arena that was stored owned by a server which is at work? */
bool notify_owner_lives(const struct sup *s);
/* ---- standby.c ---- */
/* Something on its channel. */
void standby_serve(struct sup *s);
void standby_died(struct sup *s, const char *how);
/* Fds came or went. */
void standby_changed(struct sup *s);
/* When it wants standby_on_time() to be called; 0: it does not. */
__u64 standby_next(const struct sup *s);
void standby_on_time(struct sup *s);
/* The server died, and s->cur is empty. Return: the standby is the server. */
bool standby_take(struct sup *s);
/* It is not wanted any more, or not this one. */
void standby_dismiss(struct sup *s);

/* ---- holds.c ---- */
/* May as many files be open as can be; what the limit was, the servers get. Return: 0 or -errno. */
int holds_open(struct sup *s);
/* @who registered, by what is in s->msg: tell it that we hold fds. */
void holds_offer(struct sup *s, struct server *who);
/* HOLD, DROP, HOLD_SYNC; fds of a HOLD that did not fit below the limit. */
void holds_take(struct sup *s);
void holds_drop(struct sup *s);
void holds_sync(struct sup *s, struct server *who);
void holds_refused(struct sup *s, struct server *who);
/* Something hung up. */
void holds_hung_up(struct sup *s);
unsigned int holds_count(void);
/* Drop all. */
void holds_clear(struct sup *s);
/* Records of all of them for the next server. Return: a memfd, or -1: there are none. */
int holds_list(void);

#endif
