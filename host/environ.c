/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What a server inherits: the KHO_* variables of <kho/abi/handover.h>. Nothing is believed: a
 * number must be a number, an fd open and of the right kind.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fdtable.h"
#include "life.h"
#include "systemd.h"

#define LISTEN_MAX 1024
#define EXEC_FDS_MAX (1u << 20)

static const char *const variables[] = {
	KHO_ENV_ARENA_FD,   KHO_ENV_SERVER_FD, KHO_ENV_CHANNEL_FD, KHO_ENV_LISTEN_FDS,
	KHO_ENV_SUPERVISOR, KHO_ENV_EXEC_FDS,  KHO_ENV_HOLDS,
};

void kho_environ_forget_(void)
{
	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
		unsetenv(variables[i]);
}

int kho_parse_size_(const char *text, __u64 *size)
{
	static const char units[] = "KMGT";
	const char *unit;
	char *end;
	unsigned int shift = 0;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	*size = strtoull(text, &end, 10);
	if (errno)
		return -EINVAL;
	unit = *end ? strchr(units, *end) : NULL;
	if (unit) {
		shift = 10 * (unsigned int)(unit - units + 1);
		end++;
	}
	if (*end || *size > (__u64)LLONG_MAX >> shift)
		return -EINVAL;
	*size <<= shift;
	return 0;
}

/* A whole number from 0 to INT_MAX that ends at @stop. */
static int parse_number(const char **text, char stop, int *value)
{
	char *end;
	long n;

	if (**text < '0' || **text > '9')
		return -EINVAL;
	errno = 0;
	n = strtol(*text, &end, 10);
	if (errno || n > INT_MAX || *end != stop)
		return -EINVAL;
	*value = (int)n;
	*text = end + (stop ? 1 : 0);
	return 0;
}

static int close_on_exec(const char *name, int fd)
{
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return kho_fail_(-EBADF, "%s names fd %d, which is not open", name, fd);
	return 0;
}

static int read_fd(const char *name, int *fd)
{
	const char *text = getenv(name);

	*fd = -1;
	if (!text)
		return 0;
	if (parse_number(&text, '\0', fd)) {
		*fd = -1;
		return kho_fail_(-EINVAL, "%s is \"%.32s\", not an fd's number", name,
				 getenv(name));
	}
	return close_on_exec(name, *fd);
}

static int read_socket(const char *name, int *fd)
{
	int value, r = read_fd(name, fd);
	socklen_t len = sizeof(value);

	if (r || *fd < 0)
		return r;
	if (getsockopt(*fd, SOL_SOCKET, SO_DOMAIN, &value, &len) || value != AF_UNIX ||
	    getsockopt(*fd, SOL_SOCKET, SO_TYPE, &value, &len) || value != SOCK_SEQPACKET)
		return kho_fail_(-EINVAL, "%s: fd %d is not a unix SEQPACKET socket", name, *fd);
	return 0;
}

static int read_listen(struct kho_environ *env)
{
	const char *text = getenv(KHO_ENV_LISTEN_FDS);

	if (!text)
		return 0;
	if (parse_number(&text, ':', &env->listen_first) ||
	    parse_number(&text, '\0', &env->listen_count) || env->listen_count > LISTEN_MAX ||
	    env->listen_first > INT_MAX - LISTEN_MAX)
		return kho_fail_(-EINVAL, KHO_ENV_LISTEN_FDS " is \"%.32s\", not FIRST:COUNT",
				 getenv(KHO_ENV_LISTEN_FDS));
	for (int i = 0; i < env->listen_count; i++) {
		int r = close_on_exec(KHO_ENV_LISTEN_FDS, env->listen_first + i);

		if (r)
			return r;
	}
	return 0;
}

static int read_arena_max(struct kho_environ *env)
{
	const char *text = getenv(KHO_ENV_ARENA_MAX);

	if (text && kho_parse_size_(text, &env->arena_max))
		return kho_fail_(-EINVAL,
				 KHO_ENV_ARENA_MAX " is \"%.32s\", not bytes or with K, M, "
						   "G, T",
				 text);
	return 0;
}

static int read_realtime(struct kho_environ *env)
{
	const char *text = getenv(KHO_ENV_REALTIME);

	if (text && (parse_number(&text, '\0', &env->realtime) || env->realtime < 1 ||
		     env->realtime > KHO_REALTIME_MAX))
		return kho_fail_(-EINVAL, KHO_ENV_REALTIME " is \"%.32s\", not from 1 to %d",
				 getenv(KHO_ENV_REALTIME), KHO_REALTIME_MAX);
	return 0;
}

static int read_holds(struct kho_environ *env)
{
	const char *text = getenv(KHO_ENV_HOLDS);

	if (text && parse_number(&text, '\0', &env->holds))
		return kho_fail_(-EINVAL, KHO_ENV_HOLDS " is \"%.32s\", not a number of fds",
				 getenv(KHO_ENV_HOLDS));
	return 0;
}

/* The variable that names @fd for us, or NULL. */
static const char *named(const struct kho_environ *env, int fd)
{
	if (fd < 0)
		return NULL;
	if (fd == env->arena)
		return KHO_ENV_ARENA_FD;
	if (fd == env->server)
		return KHO_ENV_SERVER_FD;
	if (fd == env->channel)
		return KHO_ENV_CHANNEL_FD;
	return fd == env->exec_fds ? KHO_ENV_EXEC_FDS : NULL;
}

/* Each fd has one owner here: who closes it must not close somebody else's. */
static int check_distinct(const struct kho_environ *env)
{
	const int fds[] = {env->server, env->channel, env->exec_fds};
	const char *const names[] = {KHO_ENV_SERVER_FD, KHO_ENV_CHANNEL_FD, KHO_ENV_EXEC_FDS};
	const char *other;

	for (int i = 0; i < 3; i++) {
		other = named(env, fds[i]);
		if (other && strcmp(other, names[i]))
			return kho_fail_(-EINVAL, "%s names fd %d, as %s does", names[i], fds[i],
					 other);
	}
	for (int i = 0; i < env->listen_count; i++) {
		other = named(env, env->listen_first + i);
		if (other)
			return kho_fail_(-EINVAL, KHO_ENV_LISTEN_FDS " names fd %d, as %s does",
					 env->listen_first + i, other);
	}
	return 0;
}

int kho_environ_read_(struct kho_environ *env)
{
	const char *path = getenv(KHO_ENV_SUPERVISOR);
	int r;

	memset(env, 0, sizeof(*env));
	r = read_fd(KHO_ENV_ARENA_FD, &env->arena);
	r = r ?: read_fd(KHO_ENV_EXEC_FDS, &env->exec_fds);
	r = r ?: read_socket(KHO_ENV_SERVER_FD, &env->server);
	r = r ?: read_socket(KHO_ENV_CHANNEL_FD, &env->channel);
	r = r ?: read_listen(env);
	r = r ?: read_arena_max(env);
	r = r ?: read_realtime(env);
	r = r ?: read_holds(env);
	r = r ?: check_distinct(env);
	if (r)
		return r;
	if (env->channel >= 0 && env->arena < 0)
		return kho_fail_(-EINVAL, KHO_ENV_CHANNEL_FD " is set without " KHO_ENV_ARENA_FD);
	if (path && strlen(path) >= sizeof(env->supervisor))
		return kho_fail_(-EINVAL, KHO_ENV_SUPERVISOR " is longer than a socket's path");
	if (path)
		strcpy(env->supervisor, path);
	/* kho run is closer to us than whoever started it. */
	return path || env->server >= 0 || env->channel >= 0 ? 0 : kho_systemd_read_(env);
}

static int take_exec_fd(const struct kho_environ *env, const struct kho_abi_exec_fd *rec)
{
	if (rec->pad || rec->fd < 0 || named(env, rec->fd))
		return kho_fail_(-KHO_E_FORMAT, KHO_ENV_EXEC_FDS ": token %#llx with fd %d",
				 (unsigned long long)rec->token, rec->fd);
	return close_on_exec(KHO_ENV_EXEC_FDS, rec->fd) ?: kho_fdtable_add_(rec->token, rec->fd);
}

static int take_exec_fds(const struct kho_environ *env)
{
	int memfd = env->exec_fds;
	struct kho_abi_exec_fd recs[256];
	struct stat st;
	off_t at = 0;
	int r = 0;

	if (fstat(memfd, &st) || !S_ISREG(st.st_mode) || st.st_size % sizeof(recs[0]) ||
	    st.st_size / sizeof(recs[0]) > EXEC_FDS_MAX)
		return kho_fail_(-KHO_E_TRUNCATED, KHO_ENV_EXEC_FDS ": fd %d holds no fd records",
				 memfd);
	while (at < st.st_size && !r) {
		ssize_t n = pread(memfd, recs, sizeof(recs), at);

		if (n <= 0 || n % sizeof(recs[0]))
			return kho_fail_(-KHO_E_TRUNCATED, KHO_ENV_EXEC_FDS ": fd %d ends early",
					 memfd);
		for (size_t i = 0; i < n / sizeof(recs[0]) && !r; i++)
			r = take_exec_fd(env, &recs[i]);
		at += n;
	}
	close(memfd);
	return r;
}

int kho_environ_take_fds_(const struct kho_environ *env)
{
	int r = 0;

	for (int i = 0; i < env->listen_count && !r; i++)
		r = kho_fdtable_add_(KHO_FD_LISTEN + i, env->listen_first + i);
	if (!r && env->exec_fds >= 0)
		r = take_exec_fds(env);
	return r ?: kho_systemd_take_fds_();
}
