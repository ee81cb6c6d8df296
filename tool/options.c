/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What stands on the command line: numbers, names, addresses, programs.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <kho/abi/handover.h>

#include "life.h"
#include "tool.h"

#define BACKLOG 4096

static int parse_number(const char *text, char **end, unsigned int *value)
{
	unsigned long n;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	n = strtoul(text, end, 10);
	if (errno || n > UINT_MAX / 2)
		return -EINVAL;
	*value = (unsigned int)n;
	return 0;
}

int parse_ms(const char *what, const char *text, unsigned int *ms)
{
	char *end;

	if (!parse_number(text, &end, ms)) {
		if (!*end || !strcmp(end, "ms"))
			return 0;
		if (!strcmp(end, "s") && *ms <= UINT_MAX / 2000) {
			*ms *= 1000;
			return 0;
		}
	}
	complain("%s %s: milliseconds are expected, or seconds as in 10s", what, text);
	return -EINVAL;
}

int parse_size(const char *what, const char *text, __u64 *size)
{
	if (!kho_parse_size_(text, size) && *size)
		return 0;
	complain("%s %s: bytes are expected, or with K, M, G or T", what, text);
	return -EINVAL;
}

int parse_restarts(const char *text, unsigned int *deaths, unsigned int *seconds)
{
	char *end;

	if (!parse_number(text, &end, deaths) && *end == '/' &&
	    !parse_number(end + 1, &end, seconds) && !*end && *deaths <= 1000)
		return 0;
	complain("--restarts %s: DEATHS/SECONDS is expected, as in 5/10", text);
	return -EINVAL;
}

/* Our own limit goes to the server, which may have dropped its privileges when it serves. */
static int allow_realtime(int priority)
{
	const struct sched_param urgent = {.sched_priority = priority}, plain = {0};
	struct rlimit limit;

	if (!getrlimit(RLIMIT_RTPRIO, &limit) && limit.rlim_cur < (rlim_t)priority) {
		limit.rlim_cur = (rlim_t)priority;
		if (limit.rlim_max < limit.rlim_cur)
			limit.rlim_max = limit.rlim_cur;
		setrlimit(RLIMIT_RTPRIO, &limit);
	}
	if (sched_setscheduler(0, SCHED_RR, &urgent))
		return -errno;
	sched_setscheduler(0, SCHED_OTHER, &plain);
	return 0;
}

int parse_realtime(const char *text, int *priority)
{
	unsigned int n;
	char *end;
	int r;

	if (parse_number(text, &end, &n) || *end || n < 1 || n > KHO_REALTIME_MAX) {
		complain("--realtime %s: a priority from 1 to %d is expected", text,
			 KHO_REALTIME_MAX);
		return -EINVAL;
	}
	r = allow_realtime((int)n);
	if (r) {
		complain("--realtime %u: %s. It takes CAP_SYS_NICE, or RLIMIT_RTPRIO of %u (ulimit "
			 "-r)",
			 n, strerror(-r), n);
		return r;
	}
	*priority = (int)n;
	return 0;
}

int parse_name(const char *text, char *name, bool complains)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789._-+";
	const char *why = NULL;

	_Static_assert(NAME_SIZE == 32, "the words say so");
	if (!*text || strlen(text) >= NAME_SIZE || strspn(text, allowed) != strlen(text) ||
	    *text == '.')
		why = "1 to 31 letters, digits and . _ - + are expected";
	else if (strspn(text, "0123456789") == strlen(text))
		why = "the other commands would take it for a process id";
	if (why && complains)
		complain("name \"%.100s\": %s: choose one with --name", text, why);
	if (why)
		return -EINVAL;
	strcpy(name, text);
	return 0;
}

static int listen_on(int fd, const struct sockaddr *addr, socklen_t len, const char *text)
{
	int r;

	if (!bind(fd, addr, len) && !listen(fd, BACKLOG))
		return fd;
	r = -errno;
	complain("--listen %s: %s", text, strerror(errno));
	close(fd);
	return r;
}

static int listen_unix(const char *text)
{
	const char *path = text + strlen("unix:");
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct stat st;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || !*path || strlen(path) >= sizeof(addr.sun_path)) {
		complain("--listen %s: a path of 1 to %zu bytes is expected", text,
			 sizeof(addr.sun_path) - 1);
		if (fd >= 0)
			close(fd);
		return -EINVAL;
	}
	strcpy(addr.sun_path, path);
	/* Only what a dead server left is in the way. */
	if (!lstat(path, &st) && S_ISSOCK(st.st_mode) &&
	    connect(fd, (struct sockaddr *)&addr, sizeof(addr)) && errno == ECONNREFUSED)
		unlink(path);
	return listen_on(fd, (struct sockaddr *)&addr, sizeof(addr), text);
}

/* getaddrinfo(3) takes 99999 for 34463. */
static bool is_port(const char *text)
{
	char *end;
	unsigned int n;

	return *text && (parse_number(text, &end, &n) || *end || n <= 65535);
}

static int listen_inet(const char *text)
{
	const char *colon = strrchr(text, ':'), *port = colon ? colon + 1 : text;
	struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM}, *res;
	char host[256] = "";
	int one = 1, zero = 0, fd, r;

	if (colon)
		snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
	if (host[0] == '[' && host[strlen(host) - 1] == ']') {
		host[strlen(host) - 1] = '\0';
		memmove(host, host + 1, strlen(host));
	}
	r = is_port(port) ? getaddrinfo(*host	? host
					: colon ? NULL
						: "::",
					port, &hints, &res)
			  : EAI_SERVICE;
	if (r) {
		complain("--listen %s: %s: [HOST:]PORT or unix:PATH is expected", text,
			 gai_strerror(r));
		return -EINVAL;
	}
	fd = socket(res->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 && res->ai_family == AF_INET6 && !*host) {
		freeaddrinfo(res);
		hints.ai_family = AF_INET;
		r = getaddrinfo(NULL, port, &hints, &res);
		if (r) {
			complain("--listen %s: %s", text, gai_strerror(r));
			return -EINVAL;
		}
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	}
	if (fd < 0) {
		r = -errno;
		complain("--listen %s: %s", text, strerror(errno));
		freeaddrinfo(res);
		return r;
	}
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (res->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, 26 /* IPV6_V6ONLY */, &zero, sizeof(zero));
	r = listen_on(fd, res->ai_addr, res->ai_addrlen, text);
	freeaddrinfo(res);
	return r;
}

int open_listener(const char *text)
{
	return strncmp(text, "unix:", 5) ? listen_inet(text) : listen_unix(text);
}

static int open_executable(const char *path)
{
	struct stat st;
	int fd;

	if (access(path, X_OK))
		return -errno;
	/* Readable if possible: only so can a script be told from a binary. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO keeps nobody waiting */
	if (fd < 0 && errno == EACCES)
		fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		close(fd);
		return -EACCES;
	}
	return fd;
}

int open_program(const char *name)
{
	const char *path = getenv("PATH");
	char full[PATH_MAX];
	int r = -ENOENT;

	if (!*name || strchr(name, '/'))
		return open_executable(name);
	for (path = path ? path : "/usr/bin:/bin"; *path && r < 0;) {
		size_t len = strcspn(path, ":");

		snprintf(full, sizeof(full), "%.*s/%s", (int)len, len ? path : ".", name);
		r = open_executable(full);
		path += len + (path[len] == ':');
	}
	return r;
}
