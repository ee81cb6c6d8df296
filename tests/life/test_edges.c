/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Starting where something is missing: configurations and environments that cannot be, and every system call
 * that kho_start() makes failed once. Each ends with an error in words, or in a start; no fd is left over, and the
 * next start succeeds. And the table of preserved fds without memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <kho/host.h>
#include <kho/kho.h>

#include "fdtable.h"
#include "life.h"
#include "message.h"
#include "util.h"

/* ---- calls that fail (--wrap) ---------------------------------------------------- */

enum call {
	MEMFD,
	FCNTL,
	FSTAT,
	FTRUNCATE,
	FALLOCATE,
	MMAP,
	EVENTFD,
	THREAD,
	PREAD,
	PWRITE,
	RANDOM,
	OPENAT,
	STAT,
	CALLOC,
	REALLOC,
	NR_CALLS,
};

static struct {
	enum call which;
	unsigned int fail_at; /* the call, from 1; 0: none */
	unsigned int calls;
	int error;
} plan;

static bool fails(enum call which)
{
	if (!plan.fail_at || which != plan.which || ++plan.calls != plan.fail_at)
		return false;
	errno = plan.error;
	return true;
}

#define WRAP(type, failed, which, name, args, ...)                                                 \
	type __real_##name(__VA_ARGS__);                                                           \
	type __wrap_##name(__VA_ARGS__);                                                           \
	type __wrap_##name(__VA_ARGS__)                                                            \
	{                                                                                          \
		return fails(which) ? (failed) : __real_##name args;                               \
	}

WRAP(int, -1, MEMFD, memfd_create, (name, flags), const char *name, unsigned int flags)
WRAP(int, -1, FCNTL, fcntl, (fd, cmd, arg), int fd, int cmd, long arg)
WRAP(int, -1, FSTAT, fstat, (fd, st), int fd, struct stat *st)
WRAP(int, -1, FTRUNCATE, ftruncate, (fd, size), int fd, off_t size)
WRAP(int, -1, FALLOCATE, fallocate, (fd, mode, at, len), int fd, int mode, off_t at, off_t len)
WRAP(void *, MAP_FAILED, MMAP, mmap, (at, len, prot, flags, fd, off), void *at, size_t len,
     int prot, int flags, int fd, off_t off)
WRAP(int, -1, EVENTFD, eventfd, (value, flags), unsigned int value, int flags)
WRAP(int, EAGAIN, THREAD, pthread_create, (thread, attr, fn, ctx), pthread_t *thread,
     const pthread_attr_t *attr, void *(*fn)(void *), void *ctx)
WRAP(ssize_t, -1, PREAD, pread, (fd, to, len, at), int fd, void *to, size_t len, off_t at)
WRAP(ssize_t, -1, PWRITE, pwrite, (fd, from, len, at), int fd, const void *from, size_t len,
     off_t at)
WRAP(ssize_t, -1, RANDOM, getrandom, (to, len, flags), void *to, size_t len, unsigned int flags)
WRAP(int, -1, OPENAT, openat, (dir, path, flags), int dir, const char *path, int flags)
WRAP(int, -1, STAT, stat, (path, st), const char *path, struct stat *st)
WRAP(void *, NULL, CALLOC, calloc, (nr, size), size_t nr, size_t size)
WRAP(void *, NULL, REALLOC, realloc, (ptr, size), void *ptr, size_t size)

/* ---- configurations ------------------------------------------------------------------ */

static void refused(const struct kho_config *config, int error, const char *words)
{
	unsigned int fds = count_fds();

	assert_int_equal(kho_start(config), error);
	if (!strstr(kho_error(), words))
		fail_msg("\"%s\" is not in \"%s\"", words, kho_error());
	assert_int_equal(count_fds(), fds);
}

static void starts(void)
{
	struct kho_config config = KHO_CONFIG_INIT;
	unsigned int fds = count_fds();

	config.arena_max = 8 << 20;
	assert_int_equal(kho_start(&config), KHO_FRESH);
	assert_int_equal(kho_ready(), 0);
	assert_int_equal(kho_close(), 0);
	assert_int_equal(count_fds(), fds);
}

static void a_configuration_that_cannot_be_is_refused(void **state)
{
	struct kho_config config = KHO_CONFIG_INIT;
	struct {
		struct kho_config config;
		char more[8];
	} newer = {.config = KHO_CONFIG_INIT, .more = {1}};

	refused(NULL, -EINVAL, "no size");
	config.size = 8;
	refused(&config, -EINVAL, "no size");
	newer.config.size = sizeof(newer);
	refused(&newer.config, -E2BIG, "does not know");
	config = (struct kho_config)KHO_CONFIG_INIT;
	config.name = "a name of more than thirty-one bytes";
	refused(&config, -EINVAL, "longer than 31 bytes");
	config.name = NULL;
	config.release = "a release of more than thirty-one bytes";
	refused(&config, -EINVAL, "longer than 31 bytes");
	starts();
}

static void a_format_that_cannot_be_is_refused(void **state)
{
	static const struct kho_format bad[] = {
		{NULL, 1, 1, 1, 0, 0},	 {"", 1, 1, 1, 0, 0},	  {"a.b", 1, 1, 1, 0, 0},
		{"mine", 2, 1, 1, 0, 0}, {"mine", 1, 1, 1, 2, 0}, {"mine", 1, 1, 1, 1, 4},
	};
	static const char *const words[] = {"1 to 31 bytes", "1 to 31 bytes", "1 to 31 bytes",
					    "reads 2 to 1",  "writes 2 to 1", "unknown flags 0x4"};
	struct kho_config config = KHO_CONFIG_INIT;

	config.nr_formats = 1;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		config.formats = &bad[i];
		refused(&config, -EINVAL, words[i]);
	}
	config.nr_formats = KHO_ABI_FORMATS_MAX;
	refused(&config, -EINVAL, "are possible");
}

static void calls_out_of_order_are_refused(void **state)
{
	struct kho_config config = KHO_CONFIG_INIT;

	config.arena_max = 8 << 20;
	assert_int_equal(kho_ready(), -EINVAL);
	assert_int_equal(kho_close(), 0);
	assert_int_equal(kho_start(&config), KHO_FRESH);
	assert_int_equal(kho_start(&config), -EEXIST);
	assert_int_equal(kho_format_writes("nobody's"), -ENOENT);
	assert_non_null(strstr(kho_error(), "nobody's"));
	assert_int_equal(kho_close(), 0);
	starts();
}

/* ---- environments ------------------------------------------------------------------------ */

static void set_fd(const char *name, int fd)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", fd);
	assert_int_equal(setenv(name, text, 1), 0);
}

static void an_fd_is_named_once(void **state)
{
	struct kho_config config = KHO_CONFIG_INIT;
	struct kho_environ env = {.arena = -1, .server = -1, .channel = -1};
	struct kho_abi_exec_fd record = {5, 0, 0};
	char listen[32], path[200];
	int pair[2], file = memfd_create("exec-fds", MFD_CLOEXEC);

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	set_fd(KHO_ENV_ARENA_FD, pair[0]);
	set_fd(KHO_ENV_SERVER_FD, pair[0]);
	refused(&config, -EINVAL, "KHO_SERVER_FD names fd");
	unsetenv(KHO_ENV_ARENA_FD);
	snprintf(listen, sizeof(listen), "%d:1", pair[0]);
	setenv(KHO_ENV_LISTEN_FDS, listen, 1);
	refused(&config, -EINVAL, "as KHO_SERVER_FD does");
	unsetenv(KHO_ENV_SERVER_FD);
	unsetenv(KHO_ENV_LISTEN_FDS);
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	setenv(KHO_ENV_SUPERVISOR, path, 1);
	refused(&config, -EINVAL, "longer than a socket's path");
	unsetenv(KHO_ENV_SUPERVISOR);
	/* The list of fds that lists itself. */
	record.fd = file;
	env.exec_fds = file;
	assert_int_equal(write(file, &record, sizeof(record)), sizeof(record));
	assert_int_equal(kho_environ_take_fds_(&env), -KHO_E_FORMAT);
	assert_int_equal(kho_fdtable_count_(), 0);
	close(file);
	close(pair[0]);
	close(pair[1]);
	starts();
}

/* ---- every system call --------------------------------------------------------------------- */

static void each_call_may_fail(void **state)
{
	struct kho_config config = KHO_CONFIG_INIT;
	unsigned int fds = count_fds(), failed = 0, survived = 0;

	config.arena_max = 8 << 20;
	for (enum call which = 0; which < CALLOC; which++) {
		for (unsigned int n = 1; n < 200; n++) {
			int how;
			bool hit;

			plan = (typeof(plan)){which, n, 0, which == MEMFD ? EINVAL : EMFILE};
			how = kho_start(&config);
			hit = plan.calls >= n;
			plan.fail_at = 0;
			if (how < 0) {
				assert_true(hit && *kho_error());
				failed++;
			} else {
				assert_int_equal(how, KHO_FRESH);
				assert_int_equal(kho_close(), 0);
				survived += hit;
			}
			if (count_fds() != fds)
				fail_msg("call %d, number %u: %u fds, not %u", which, n,
					 count_fds(), fds);
			if (!hit)
				break;
		}
	}
	/* A memfd without MFD_NOEXEC_SEAL is one of those that do without. */
	assert_true(failed >= 8 && survived >= 1);
	starts();
}

/* ---- without memory -------------------------------------------------------------------------- */

static int take(void *ctx, const __u64 *tokens, const int *fds, unsigned int nr)
{
	return 0;
}

static void the_fd_table_without_memory(void **state)
{
	plan = (typeof(plan)){CALLOC, 1, 0, ENOMEM};
	assert_int_equal(kho_fdtable_add_(1, 100), -ENOMEM);
	plan = (typeof(plan)){REALLOC, 1, 0, ENOMEM};
	assert_int_equal(kho_fdtable_add_(1, 100), -ENOMEM);
	assert_int_equal(kho_fdtable_count_(), 0);
	assert_int_equal(kho_fdtable_add_(1, 100), 0);
	/* A change that cannot be noted ends the session, not the change. */
	kho_fdtable_begin_();
	plan = (typeof(plan)){REALLOC, 1, 0, ENOMEM};
	assert_int_equal(kho_fdtable_add_(2, 101), 0);
	assert_int_equal(plan.calls, 1);
	plan.fail_at = 0;
	assert_int_equal(kho_fdtable_send_(take, NULL, 10), -ENOMEM);
	kho_fdtable_end_();
	assert_int_equal(kho_fdtable_del_(1), 100);
	assert_int_equal(kho_fdtable_del_(2), 101);
	kho_fdtable_clear_();
}

static void what_is_too_long_is_not_sent(void **state)
{
	static char text[KHO_ABI_MSG_MAX + 1];
	static struct kho_msg msg;
	struct kho_msg_out out = {
		.type = KHO_MSG_CANCEL, .text = text, .text_len = KHO_ABI_MSG_MAX};
	int pair[2];

	memset(text, 'x', KHO_ABI_MSG_MAX);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(kho_msg_send_(pair[0], &out, 0), -EMSGSIZE);
	/* What only explains is cut. */
	assert_int_equal(kho_msg_result_(pair[0], KHO_MSG_UPGRADED, -5, 1, text), 0);
	assert_int_equal(kho_msg_recv_(pair[1], &msg, 0), 0);
	assert_int_equal(msg.len, KHO_MSG_BODY_MAX);
	close(pair[0]);
	close(pair[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_configuration_that_cannot_be_is_refused),
		cmocka_unit_test(a_format_that_cannot_be_is_refused),
		cmocka_unit_test(calls_out_of_order_are_refused),
		cmocka_unit_test(an_fd_is_named_once),
		cmocka_unit_test(each_call_may_fail),
		cmocka_unit_test(the_fd_table_without_memory),
		cmocka_unit_test(what_is_too_long_is_not_sent),
	};

	return cmocka_run_group_tests_name("edges", tests, NULL, NULL);
}
