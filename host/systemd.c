/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * systemd as the courier: its fd store keeps arena and fds between one start of a service and the next.
 * The protocol is datagrams of text to the socket that NOTIFY_SOCKET names; nothing of systemd is linked.
 *
 *	FDSTORE=1 FDNAME=name, with an fd	it keeps a duplicate
 *	FDSTOREREMOVE=1 FDNAME=name		it closes it
 *	LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES	what it has for us: fds from 3 on, and their names
 *
 * Names are "kho-" and the token in 16 hexadecimal digits; "kho-arena"; others are of sockets that it
 * listens on, and get tokens from KHO_FD_LISTEN on. By itself it drops what hangs up, and takes
 * no file twice. It keeps as many as FileDescriptorStoreMax= says, by default none.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "fdtable.h"
#include "proc.h"
#include "sessions.h"
#include "systemd.h"

#define FIRST_FD 3
#define FDS_MAX (1u << 20)
#define NAME_LEN 20 /* "kho-" and 16 digits */
#define SEND_MS 2000

/* What is in the store, as far as we know. @seen: in the sync under way. */
struct stored {
	struct kho_hnode token;
	dev_t dev;
	ino_t ino;
	bool seen;
};

static struct {
	pthread_mutex_t lock; /* of @table */
	struct kho_manager manager;
	unsigned int nr_fds; /* from FIRST_FD on */
	char *names; /* of them, with colons between */
	bool syncing;
	struct kho_htable table;
	unsigned int max;
	__u64 watchdog_us; /* how often it wants to hear of us; 0: never */
	_Atomic __u64 told_us;
} m = {.lock = PTHREAD_MUTEX_INITIALIZER, .manager.fd = -1};

/* ---- datagrams --------------------------------------------------------------- */

/* A path, or with @ in front a name of Linux's own (a NUL instead of the @). */
int kho_manager_open_(struct kho_manager *manager, const char *path)
{
	size_t len = strlen(path);

	if ((*path != '/' && *path != '@') || !path[1] || len >= sizeof(manager->to.sun_path))
		return -EINVAL;
	manager->to = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(manager->to.sun_path, path, len);
	if (*path == '@')
		manager->to.sun_path[0] = '\0';
	manager->to_len =
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (*path == '/'));
	manager->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return manager->fd < 0 ? -errno : 0;
}

int kho_manager_send_(const struct kho_manager *manager, const char *text, int fd, int flags)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {.bytes = {0}};
	struct iovec iov = {(void *)(uintptr_t)text, strlen(text)};
	struct msghdr msg = {.msg_name = (void *)(uintptr_t)&manager->to,
			     .msg_namelen = manager->to_len,
			     .msg_iov = &iov,
			     .msg_iovlen = 1};
	struct cmsghdr *head;

	if (fd >= 0) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		head = CMSG_FIRSTHDR(&msg);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(head), &fd, sizeof(fd));
	}
	if (sendmsg(manager->fd, &msg, MSG_NOSIGNAL | flags) >= 0)
		return 0;
	switch (errno) {
	case EAGAIN:
	case ENOBUFS:
	case ETOOMANYREFS:
		return -EAGAIN;
	case EBADF:
		return -EBADF;
	default:
		return -EPIPE;
	}
}

/* A message that must get there: not while clients wait. */
static int send_patiently(const char *text, int fd)
{
	__u64 deadline = kho_now_ms_() + SEND_MS;
	int r;

	while ((r = kho_manager_send_(&m.manager, text, fd, MSG_DONTWAIT)) == -EAGAIN &&
	       kho_left_ms_(deadline))
		usleep(1000);
	return r;
}

void kho_systemd_tell_(const char *text)
{
	if (m.manager.fd >= 0)
		send_patiently(text, -1);
}

void kho_systemd_alive_(void)
{
	__u64 now;

	if (m.manager.fd < 0 || !m.watchdog_us)
		return;
	now = kho_now_us_();
	if (now - m.told_us < m.watchdog_us / 4)
		return;
	if (!kho_manager_send_(&m.manager, "WATCHDOG=1", -1, MSG_DONTWAIT))
		m.told_us = now;
}

/* ---- the courier ---------------------------------------------------------------- */

static struct stored *find(__u64 token)
{
	return (struct stored *)kho_hash_find_(&m.table, token);
}

static struct stored *note(__u64 token, const struct stat *st)
{
	struct stored *stored = calloc(1, sizeof(*stored));

	if (!stored)
		return NULL;
	stored->token.key = token;
	stored->dev = st->st_dev;
	stored->ino = st->st_ino;
	if (!kho_hash_add_(&m.table, &stored->token))
		return stored;
	free(stored);
	return NULL;
}

static int remove_one(__u64 token)
{
	struct stored *stored = find(token);
	char text[64];
	int r;

	if (!stored)
		return 0;
	snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=kho-%016llx",
		 (unsigned long long)token);
	r = kho_manager_send_(&m.manager, text, -1, MSG_DONTWAIT);
	if (r)
		return r;
	kho_hash_del_(&m.table, &stored->token);
	free(stored);
	return 0;
}

static int hold_one(__u64 token, int fd)
{
	struct stored *stored = find(token);
	char text[64];
	struct stat st;
	int r;

	if (fstat(fd, &st))
		return -EBADF;
	/* Came from there: there is no moment in which it is not there. */
	if (stored && stored->dev == st.st_dev && stored->ino == st.st_ino) {
		stored->seen = true;
		return 0;
	}
	r = remove_one(token);
	if (r)
		return r;
	snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=kho-%016llx", (unsigned long long)token);
	r = kho_manager_send_(&m.manager, text, fd, MSG_DONTWAIT);
	if (r)
		return r;
	stored = note(token, &st);
	if (stored)
		stored->seen = true;
	return 0;
}

static int hold(const __u64 *tokens, const int *fds, unsigned int nr)
{
	int r = 0;

	pthread_mutex_lock(&m.lock);
	for (unsigned int i = 0; !r && i < nr; i++)
		r = hold_one(tokens[i], fds[i]);
	pthread_mutex_unlock(&m.lock);
	return r;
}

static int drop(const __u64 *tokens, unsigned int nr)
{
	int r = 0;

	pthread_mutex_lock(&m.lock);
	for (unsigned int i = 0; !r && i < nr; i++)
		r = remove_one(tokens[i]);
	pthread_mutex_unlock(&m.lock);
	return r;
}

/* What nobody held since the beginning goes. */
static int drop_unseen(void)
{
	int r = 0;

	for (__u64 i = 0; m.table.buckets && !r && i <= m.table.mask; i++)
		for (struct kho_hnode *node = m.table.buckets[i], *next; node && !r; node = next) {
			next = node->next;
			if (!((struct stored *)node)->seen)
				r = remove_one(node->key);
		}
	return r;
}

static int sync_all(bool end)
{
	int r = 0;

	pthread_mutex_lock(&m.lock);
	if (end)
		r = drop_unseen();
	for (__u64 i = 0; m.table.buckets && !end && i <= m.table.mask; i++)
		for (struct kho_hnode *node = m.table.buckets[i]; node; node = node->next)
			((struct stored *)node)->seen = false;
	pthread_mutex_unlock(&m.lock);
	return r;
}

const struct kho_courier kho_courier_systemd_ = {
	.name = "the service manager", .hold = hold, .drop = drop, .sync = sync_all};

void kho_systemd_attach_(void)
{
	if (m.manager.fd < 0)
		return;
	if (send_patiently("FDSTORE=1\nFDNAME=kho-arena", kho_arena_.fd))
		fprintf(stderr,
			"libkho: %s: the service manager does not take the arena: it does not "
			"outlive a crash\n",
			kho_life_.name);
	kho_courier_attach_(&kho_courier_systemd_, m.max);
}

void kho_systemd_forget_(void)
{
	struct kho_hnode *node;
	__u64 from = 0;

	if (m.manager.fd < 0)
		return;
	kho_courier_detach_();
	while ((node = kho_hash_any_(&m.table, &from))) {
		kho_hash_del_(&m.table, node);
		free(node);
	}
	kho_hash_free_(&m.table);
	free(m.names);
	m.names = NULL;
	m.nr_fds = 0;
	close(m.manager.fd);
	m.manager.fd = -1;
}

/* ---- what it says in the environment ------------------------------------------------ */

static int wrong(const char *name)
{
	return kho_fail_(-EINVAL, "%s is \"%.64s\", which no service manager says", name,
			 getenv(name) ?: "");
}

/* A whole number. Return: 0; -ENOENT: not set; -EINVAL. */
static int number(const char *name, __u64 max, __u64 *value)
{
	const char *text = getenv(name);
	char *end;

	if (!text)
		return -ENOENT;
	errno = 0;
	*value = strtoull(text, &end, 10);
	return *text < '0' || *text > '9' || *end || errno || *value > max ? wrong(name) : 0;
}

/* Is what variable @name says meant for us? */
static bool for_us(const char *name)
{
	__u64 pid;

	return !number(name, INT_MAX, &pid) && (pid_t)pid == getpid();
}

static int open_socket(const char *path)
{
	int r = kho_manager_open_(&m.manager, path);

	if (r == -EINVAL)
		return wrong("NOTIFY_SOCKET");
	return r ? kho_fail_(r, "service manager: socket: %s", strerror(-r)) : 0;
}

static bool is_arena(const char *name, size_t len)
{
	return len == 9 && !memcmp(name, "kho-arena", 9);
}

/* Is it "kho-" and a token? */
static bool is_token(const char *name, size_t len, __u64 *token)
{
	char digits[17];

	if (len != NAME_LEN || memcmp(name, "kho-", 4) || strspn(name + 4, "0123456789abcdef") < 16)
		return false;
	memcpy(digits, name + 4, 16);
	digits[16] = '\0';
	*token = strtoull(digits, NULL, 16);
	return true;
}

static int read_fds(struct kho_environ *env)
{
	const char *names = getenv("LISTEN_FDNAMES"), *name;
	__u64 nr;
	int r = number("LISTEN_FDS", FDS_MAX, &nr);

	if (r)
		return r == -ENOENT ? 0 : r;
	for (int fd = FIRST_FD; fd < FIRST_FD + (int)nr; fd++)
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
			return kho_fail_(-EBADF, "LISTEN_FDS names fd %d, which is not open", fd);
	m.nr_fds = (unsigned int)nr;
	m.names = strdup(names ?: "");
	if (!m.names)
		return kho_fail_(-ENOMEM, "service manager: no memory");
	name = m.names;
	for (unsigned int i = 0; i < nr; i++) {
		size_t len = strcspn(name, ":");

		if (is_arena(name, len) && env->arena < 0)
			env->arena = FIRST_FD + (int)i;
		name += len + (name[len] == ':');
	}
	return 0;
}

int kho_systemd_read_(struct kho_environ *env)
{
	const char *path = getenv("NOTIFY_SOCKET");
	__u64 value;
	int r;

	if (!path || !*path)
		return 0;
	r = open_socket(path);
	if (!r && for_us("LISTEN_PID"))
		r = read_fds(env);
	if (!r && (!getenv("WATCHDOG_PID") || for_us("WATCHDOG_PID")) &&
	    !number("WATCHDOG_USEC", LLONG_MAX, &value))
		m.watchdog_us = value;
	/* From version 254 on it says how many it keeps. */
	m.max = number("FDSTORE", FDS_MAX, &value) ? FDS_MAX : (unsigned int)value;
	if (r) {
		kho_systemd_forget_();
		return r;
	}
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return 0;
}

int kho_systemd_take_fds_(void)
{
	unsigned int nr_listening = 0;
	const char *name = m.names;
	bool arena = false;
	struct stat st;
	__u64 token;
	int r = 0;

	for (unsigned int i = 0; !r && i < m.nr_fds; i++) {
		size_t len = strcspn(name, ":");
		int fd = FIRST_FD + (int)i;

		if (is_arena(name, len)) {
			if (arena)
				close(fd); /* the first one is the arena */
			arena = true;
		} else if (!is_token(name, len, &token)) {
			r = kho_fdtable_add_(KHO_FD_LISTEN + nr_listening++, fd);
		} else if (kho_fd_get(token) >= 0 || fstat(fd, &st)) {
			close(fd); /* twice: which of them it is nobody knows any more */
		} else {
			r = kho_fdtable_add_(token, fd);
			if (!r)
				note(token, &st);
		}
		name += len + (name[len] == ':');
	}
	return r;
}
