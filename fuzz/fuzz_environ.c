/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What a server inherits: any texts as its KHO_* variables, any bytes as the file of KHO_EXEC_FDS, and any text as a
 * size. What is taken are numbers of open fds of the right kind; the rest is refused.
 *
 * An input: lines, the values of the variables in the order of names[]; "-": not set. What follows the last is
 * the file. In a value '@' followed by a letter stands for the number of an fd of some kind: see fds[].
 */
#include "ops.h"

#include "fdtable.h"
#include "life.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *const names[] = {KHO_ENV_ARENA_FD,	KHO_ENV_SERVER_FD,  KHO_ENV_CHANNEL_FD,
				    KHO_ENV_LISTEN_FDS, KHO_ENV_SUPERVISOR, KHO_ENV_EXEC_FDS,
				    KHO_ENV_ARENA_MAX,	KHO_ENV_REALTIME};

#define NR_NAMES (sizeof(names) / sizeof(names[0]))
#define NR_FDS 6

/* a: a memfd; b, c: SEQPACKET; d: STREAM; e: the file; f: not open. */
static int fds[NR_FDS] = {-1};

static void set_up(void)
{
	int pair[2];

	fds[0] = memfd_create("fuzz", MFD_CLOEXEC);
	FACT(fds[0] >= 0 && !socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, &fds[1]));
	FACT(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	close(pair[1]);
	fds[3] = pair[0];
	fds[5] = 999;
}

static const uint8_t *set_variable(const char *name, const uint8_t *data, const uint8_t *end)
{
	const uint8_t *stop = memchr(data, '\n', (size_t)(end - data));
	char value[512];
	size_t len = 0;

	if (!stop)
		stop = end;
	for (; data < stop && len < sizeof(value) - 16 && *data; data++) {
		if (*data == '@' && data + 1 < stop && data[1] >= 'a' && data[1] < 'a' + NR_FDS)
			len += (size_t)sprintf(value + len, "%d", fds[*++data - 'a']);
		else
			value[len++] = (char)*data;
	}
	value[len] = '\0';
	if (!strcmp(value, "-"))
		unsetenv(name);
	else
		FACT(!setenv(name, value, 1));
	return stop < end ? stop + 1 : end;
}

static void check_size(const char *text)
{
	__u64 size = 0;
	int rc = kho_parse_size_(text, &size);

	FACT(!rc || rc == -EINVAL);
	FACT(rc || (size <= INT64_MAX && *text >= '0' && *text <= '9'));
}

static void check_fd(int fd)
{
	FACT(fd == -1 || (fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC));
}

/* They are numbers here, and stay open: the table is emptied without closing them. */
static void empty_table(void)
{
	unsigned int pos = 0;
	__u64 token;

	while (kho_fd_next(&pos, &token) >= 0) {
		check_fd(kho_fd_get(token));
		FACT(kho_fdtable_del_(token) >= 0);
		pos = 0;
	}
	FACT(!kho_fdtable_count_());
}

static void take(struct kho_environ *env)
{
	int rc;

	if (env->listen_count)
		FACT(env->listen_first >= 0 && env->listen_count <= 1024);
	/* It is closed: not anything else's. */
	if (env->exec_fds >= 0 && env->exec_fds != fds[4])
		env->exec_fds = -1;
	rc = kho_environ_take_fds_(env);
	FACT(rc <= 0);
	if (env->exec_fds >= 0 && fcntl(fds[4], F_GETFD) < 0)
		fds[4] = -1;
	empty_table();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = data + size;
	struct kho_environ env;
	int rc;

	if (fds[0] < 0)
		set_up();
	fds[4] = memfd_create("fuzz", MFD_CLOEXEC);
	FACT(fds[4] >= 0);
	for (size_t i = 0; i < NR_NAMES; i++)
		data = set_variable(names[i], data, end);
	FACT(write(fds[4], data, (size_t)(end - data)) == end - data);
	if (getenv(KHO_ENV_ARENA_MAX))
		check_size(getenv(KHO_ENV_ARENA_MAX));
	rc = kho_environ_read_(&env);
	FACT(!rc || rc == -EINVAL || rc == -EBADF);
	if (!rc) {
		check_fd(env.arena);
		check_fd(env.server);
		check_fd(env.channel);
		check_fd(env.exec_fds);
		FACT(strlen(env.supervisor) < sizeof(env.supervisor));
		FACT(!env.realtime || (env.realtime > 0 && env.realtime < 100));
		FACT(env.channel < 0 || (env.arena >= 0 && env.channel != env.arena));
		take(&env);
	}
	kho_environ_forget_();
	FACT(!getenv(KHO_ENV_ARENA_FD));
	if (fds[4] >= 0)
		close(fds[4]);
	return 0;
}
