/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The progress bar, on a terminal and a clock that are ours. */
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include "save_file.h"

static __u64 now;

__u64 __wrap_kho_now_ms_(void);
__u64 __wrap_kho_now_ms_(void)
{
	return now;
}

static int was, screen;
static struct progress_bar bar;

static void stderr_is(int fd)
{
	fflush(stderr);
	assert_true(dup2(fd, STDERR_FILENO) >= 0);
}

static int set_up(void **state)
{
	struct termios raw;
	int slave;

	was = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
	if (was < 0)
		return -1;
	if (openpty(&screen, &slave, NULL, NULL, NULL)) {
		screen = -1;
		return 0;
	}
	if (tcgetattr(slave, &raw))
		return -1;
	cfmakeraw(&raw);
	if (tcsetattr(slave, TCSANOW, &raw))
		return -1;
	stderr_is(slave);
	close(slave);
	now = 5000;
	return 0;
}

static void need_terminal(void)
{
	if (screen >= 0)
		return;
	print_message("skipped: no pseudo-terminal: is /dev/pts mounted?\n");
	skip();
}

static int tear_down(void **state)
{
	stderr_is(was);
	close(was);
	if (screen >= 0)
		close(screen);
	return 0;
}

/* What was written since the last time. */
static const char *seen(void)
{
	static char text[1024];
	struct pollfd p = {screen, POLLIN, 0};
	size_t len = 0;

	fflush(stderr);
	while (len < sizeof(text) - 1 && poll(&p, 1, 50) == 1) {
		ssize_t n = read(screen, text + len, sizeof(text) - 1 - len);

		assert_true(n > 0);
		len += (size_t)n;
	}
	text[len] = '\0';
	return text;
}

static void after_a_second(void **state)
{
	need_terminal();
	progress_begin(&bar, "saving", 4 << 20);
	now += 999;
	progress_show(&bar, 1 << 20);
	assert_string_equal(seen(), "");
	now += 1;
	progress_show(&bar, 1 << 20);
	assert_string_equal(seen(),
			    "\rsaving [#######                       ]  25% 1.0 of 4.0 MiB ");
	now += 199; /* no more often than that */
	progress_show(&bar, 2 << 20);
	assert_string_equal(seen(), "");
	now += 1;
	progress_show(&bar, 2 << 20);
	assert_string_equal(seen(),
			    "\rsaving [###############               ]  50% 2.0 of 4.0 MiB ");
	progress_end(&bar);
	assert_string_equal(seen(), "\r\033[K");
}

static void a_short_one(void **state)
{
	need_terminal();
	progress_begin(&bar, "saving", 4 << 20);
	progress_show(&bar, 4 << 20);
	progress_end(&bar);
	assert_string_equal(seen(), "");
}

/* An arena that grows meanwhile, or an empty one. */
static void more_than_all(void **state)
{
	need_terminal();
	progress_begin(&bar, "checking", 1 << 20);
	now += 2000;
	progress_show(&bar, 2 << 20);
	assert_string_equal(seen(),
			    "\rchecking [##############################] 100% 1.0 of 1.0 MiB ");
	progress_begin(&bar, "checking", 0);
	now += 2000;
	progress_show(&bar, 0);
	assert_string_equal(seen(),
			    "\rchecking [                              ]   0% 0.0 of 0.0 MiB ");
}

static void nobody_looks(void **state)
{
	int ends[2];
	char c;

	need_terminal();
	assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
	stderr_is(ends[1]);
	progress_begin(&bar, "saving", 4 << 20);
	now += 2000;
	progress_show(&bar, 1 << 20);
	progress_end(&bar);
	fflush(stderr);
	assert_int_equal(read(ends[0], &c, 1), -1);
	stderr_is(was);
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(after_a_second, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_short_one, set_up, tear_down),
		cmocka_unit_test_setup_teardown(more_than_all, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nobody_looks, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
