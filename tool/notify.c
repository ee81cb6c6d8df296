/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * kho run as a service of systemd: what it says (sd_notify(3)), what it
 * stores (FDSTORE, FDNAME), and what it was started with (sd_listen_fds(3)).
 *
 * The arena is in the manager's store under the name ARENA_NAME, so it outlives kho run
 * itself; and, from systemd 261 on, the kernel.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "arena.h"
#include "owner.h"
#include "proc.h"
#include "supervisor.h"
#include "systemd.h"

#define ARENA_NAME "kho-arena"
#define FIRST_LISTEN_FD 3

static struct kho_manager manager = {.fd = -1};
static unsigned int watchdog_ms;
static __u64 watchdog_at;

static bool number_of(const char *name, unsigned long long *value)
{
	const char *text = getenv(name);
	char *end;

	if (!text || *text < '0' || *text > '9')
		return false;
	*value = strtoull(text, &end, 10);
	return !*end;
}

static void find_manager(void)
{
	const char *path = getenv("NOTIFY_SOCKET");

	if (path && !kho_manager_open_(&manager, path))
		manager.fd = high_fd(manager.fd);
}

static void find_watchdog(void)
{
	unsigned long long pid = (unsigned long long)getpid(), us;

	if (!notify_manager() || !number_of("WATCHDOG_USEC", &us))
		return;
	if (getenv("WATCHDOG_PID") && (!number_of("WATCHDOG_PID", &pid) || pid != (__u64)getpid()))
		return;
	watchdog_ms = us / 2000 > 3600000 ? 3600000 : (unsigned int)(us / 2000);
	watchdog_at = watchdog_ms ? kho_now_ms_() + watchdog_ms : 0;
}

bool notify_manager(void)
{
	return manager.fd >= 0;
}

/* What goes with an fd must arrive; other words are lost rather than waited for. */
static bool say(const char *words, int fd)
{
	return notify_manager() &&
	       !kho_manager_send_(&manager, words, fd, fd < 0 ? MSG_DONTWAIT : 0);
}

void notify(const char *format, ...)
{
	char words[512];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	if (len > 0 && (size_t)len < sizeof(words))
		say(words, -1);
}

void notify_store_arena(struct sup *s)
{
	if (s->stored || s->arena < 0 || !notify_manager())
		return;
	say("FDSTOREREMOVE=1\nFDNAME=" ARENA_NAME, -1);
	s->stored = say("FDSTORE=1\nFDNAME=" ARENA_NAME, s->arena);
}

__u64 notify_deadline(void)
{
	return watchdog_at;
}

void notify_on_time(void)
{
	if (!watchdog_at || kho_left_ms_(watchdog_at))
		return;
	notify("WATCHDOG=1");
	watchdog_at = kho_now_ms_() + watchdog_ms;
}

/* ---- what we were started with ---- */

static bool is_listener(int fd)
{
	int yes = 0;
	socklen_t len = sizeof(yes);

	return !getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &len) && yes;
}

static void take_fd(struct sup *s, int fd, const char *name, size_t len)
{
	if (len == strlen(ARENA_NAME) && !memcmp(name, ARENA_NAME, len) && s->arena < 0) {
		s->arena = high_fd(fd);
		s->stored = true;
	} else if (is_listener(fd) && s->nr_listen < MAX_LISTEN) {
		s->listen[s->nr_listen++] = high_fd(fd);
	} else {
		complain("%s: what systemd has stored as \"%.*s\" is neither an arena nor a "
			 "listening "
			 "socket: closed",
			 s->name, (int)len, name);
		close(fd);
	}
}

static void take_fds(struct sup *s)
{
	const char *names = getenv("LISTEN_FDNAMES") ?: "";
	unsigned long long pid, nr;

	if (!number_of("LISTEN_PID", &pid) || pid != (__u64)getpid() ||
	    !number_of("LISTEN_FDS", &nr) || nr > 1000)
		return;
	for (int fd = FIRST_LISTEN_FD; fd < FIRST_LISTEN_FD + (int)nr; fd++) {
		size_t len = strcspn(names, ":");

		take_fd(s, fd, names, len);
		names += len + (names[len] == ':');
	}
}

/* What is none, or was never written to, is no loss. */
static void check_arena(struct sup *s)
{
	struct kho_abi_arena_header header;
	__u64 size;

	if (s->arena < 0 || !kho_arena_check_file_(s->arena, &header, &size))
		return;
	complain("%s: what systemd has stored as the arena is not used, a new one is made: %s",
		 s->name, kho_error());
	close(s->arena);
	s->arena = -1;
	s->stored = false;
}

void notify_start(struct sup *s)
{
	static const char *const ours[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
					   "LISTEN_PID",    "LISTEN_FDS",    "LISTEN_FDNAMES",
					   "LISTEN_PIDFDID"};

	find_manager();
	find_watchdog();
	take_fds(s);
	check_arena(s);
	/* Meant for us, not for the server. */
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		unsetenv(ours[i]);
}

bool notify_owner_lives(const struct sup *s)
{
	struct kho_abi_owner *owner = s->arena < 0 ? NULL : kho_owner_map_(s->arena);
	bool lives;

	if (!owner)
		return false;
	lives = kho_owner_alive_(owner) == 1;
	munmap(owner, KHO_PAGE_SIZE);
	return lives;
}
