/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* kho run --liveupdate and kho preserve, with a kernel that the test plays: fake_kernel.h. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake_kernel.h"
#include "liveupdate.h"
#include "util.h"

#define NAME "t"
#define SESSION "kho-" NAME

static const char *const live[] = {"--liveupdate", NULL};
static const char *const plain[] = {"1", NULL};

static int set_up(void **state)
{
	fake_start();
	return 0;
}

static int tear_down(void **state)
{
	end_children();
	fake_stop();
	return 0;
}

static void log_has(const char *words)
{
	char path[128], text[16384];
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), "%s/log", test_dir);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	assert_true(len >= 0);
	text[len] = '\0';
	if (!strstr(text, words))
		fail_msg("the log has no \"%s\": %s", words, text);
}

static void forget_log(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/log", test_dir);
	assert_int_equal(truncate(path, 0), 0);
}

/* SIGTERM, as when a machine goes down. */
static void shut_down(pid_t run)
{
	assert_int_equal(kill(run, SIGTERM), 0);
	assert_int_equal(await_child(run), 0);
}

/* The kernel is replaced, and with it go all processes. */
static void jump(void)
{
	fake_jump();
	end_children();
}

static void await_outgoing(unsigned int nr)
{
	for (int i = 0; fake_outgoing() != nr; i++) {
		assert_in_range(i, 0, WAIT_MS);
		usleep(1000);
	}
}

/* ---- the way over ---- */

static void over_a_kexec(void **state)
{
	pid_t run = start_run(NAME, live, plain);
	struct answer a, b;

	ask(-1);
	a = ask(-1);
	fake_set(true, 0, 0);
	shut_down(run);
	assert_string_equal(status_field(NAME, "state"), "held");
	assert_string_equal(status_field(NAME, "liveupdate"), "preserved");
	assert_int_equal(fake_outgoing(), 1);
	jump();
	run = start_run(NAME, live, plain);
	b = ask(-1);
	assert_int_equal(b.count, a.count + 2); /* start_run() asks, too */
	assert_int_equal(b.generation, a.generation + 1);
	assert_int_equal(fake_incoming(), 0);
	log_has("the arena came from the kernel before this one");
	/* And once more. */
	fake_set(true, 0, 0);
	shut_down(run);
	jump();
	run = start_run(NAME, live, plain);
	assert_int_equal(ask(-1).count, b.count + 2);
	assert_int_equal(kho("stop", NAME, NULL), 0);
	assert_int_equal(await_child(run), 0);
}

static void while_it_serves(void **state)
{
	struct answer a, b;

	start_run(NAME, live, plain);
	assert_int_equal(kho("preserve", NAME, NULL), 0);
	assert_non_null(strstr(kho_out, "MiB are preserved"));
	assert_string_equal(status_field(NAME, "liveupdate"), "preserved");
	assert_int_equal(kho("preserve", NAME, NULL), 1);
	assert_non_null(strstr(kho_out, "preserved already"));
	assert_int_equal(fake_outgoing(), 1);
	/* A crash meanwhile is one as any. */
	a = ask(-1);
	kill_and_wait(a.pid);
	b = ask(-1);
	assert_int_equal(b.count, a.count + 1);
	/* The jump comes without a word to anybody. */
	jump();
	start_run(NAME, live, plain);
	assert_int_equal(ask(-1).count, b.count + 2);
}

static void preserved_and_stopped(void **state)
{
	pid_t run = start_run(NAME, live, plain);
	struct answer a = ask(-1);

	/* No kernel is loaded yet: that it was asked for is enough. */
	assert_int_equal(kho("preserve", NAME, NULL), 0);
	shut_down(run);
	assert_string_equal(status_field(NAME, "state"), "held");
	jump();
	start_run(NAME, live, plain);
	assert_int_equal(ask(-1).count, a.count + 2);
}

static void cancelled(void **state)
{
	pid_t run = start_run(NAME, live, plain);

	assert_int_equal(kho("preserve", NAME, NULL), 0);
	assert_int_equal(kho("preserve", "--cancel", NAME, NULL), 0);
	await_outgoing(0);
	assert_string_equal(status_field(NAME, "liveupdate"), "on");
	assert_int_equal(kho("preserve", "--cancel", NAME, NULL), 0);
	shut_down(run);
	assert_int_equal(kho("status", NAME, NULL), 1); /* nobody is left */
}

/* What came over in memory is newer than a file; without it, the file is what there is. */
static void a_file_is_older(void **state)
{
	char file[128];
	const char *const loads[] = {"--liveupdate", "--load", file, NULL};
	pid_t run = start_run(NAME, live, plain);
	struct answer saved = ask(-1), a;

	snprintf(file, sizeof(file), "%s/saved", test_dir);
	assert_int_equal(kho("save", NAME, file, NULL), 0);
	for (int i = 0; i < 10; i++)
		a = ask(-1);
	fake_set(true, 0, 0);
	shut_down(run);
	jump();
	run = start_run(NAME, loads, plain);
	assert_int_equal(ask(-1).count, a.count + 2);
	log_has("not loaded, the arena itself is there");
	/* The process that held it before a jump that did not come. */
	fake_set(true, 0, 0);
	shut_down(run);
	forget_log();
	run = start_run(NAME, loads, plain);
	assert_int_equal(ask(-1).count, a.count + 4);
	log_has("not loaded, the arena itself is there");
	assert_int_equal(kho("stop", NAME, NULL), 0);
	assert_int_equal(await_child(run), 0);
	run = start_run(NAME, loads, plain);
	assert_int_equal(ask(-1).count, saved.count + 2);
	shut_down(run);
	unlink(file);
}

/* ---- who does not go over ---- */

static void no_kernel_is_loaded(void **state)
{
	pid_t run = start_run(NAME, live, plain);

	ask(-1);
	shut_down(run);
	assert_int_equal(kho("status", NAME, NULL), 1);
	assert_int_equal(fake_outgoing(), 0);
	start_run(NAME, live, plain);
	assert_int_equal(ask(-1).count, 2);
}

static void told_to_stop(void **state)
{
	pid_t run = start_run(NAME, live, plain);

	fake_set(true, 0, 0);
	assert_int_equal(kho("preserve", NAME, NULL), 0);
	assert_int_equal(kho("stop", NAME, NULL), 0);
	assert_int_equal(await_child(run), 0);
	await_outgoing(0);
	assert_int_equal(kho("status", NAME, NULL), 1);
}

static void the_holder_gives_it_back(void **state)
{
	pid_t run = start_run(NAME, live, plain);
	struct answer a = ask(-1);

	fake_set(true, 0, 0);
	shut_down(run);
	assert_int_equal(fake_outgoing(), 1);
	run = start_run(NAME, live, plain);
	assert_int_equal(ask(-1).count, a.count + 2);
	await_outgoing(0);
	log_has("the arena came from the process that held it");
	/* One that has a server gives nothing. */
	assert_int_equal(kho("run", "--name", NAME, "--liveupdate", server_path, NULL), 1);
	assert_non_null(strstr(kho_out, "is supervised already"));
	assert_int_equal(ask(-1).count, a.count + 3);
	shut_down(run);
}

static void the_holder_stays(void **state)
{
	pid_t run = start_run(NAME, live, plain), holder;
	char path[64], name[8] = "";
	int fd;

	fake_set(true, 0, 0);
	shut_down(run);
	holder = atoi(status_field(NAME, "supervisor"));
	assert_int_not_equal(holder, run);
	snprintf(path, sizeof(path), "/proc/%d/cmdline", holder);
	fd = open(path, O_RDONLY);
	assert_int_equal(read(fd, name, 1), 1);
	close(fd);
	assert_int_equal(name[0], '@');
	kill(holder, SIGTERM);
	kill(holder, SIGINT);
	kill(holder, SIGHUP);
	usleep(100000);
	assert_string_equal(status_field(NAME, "state"), "held");
	assert_int_equal(connect_server(),
			 -1); /* it does not listen for a server that is not there */
	assert_int_equal(kho("upgrade", NAME, NULL), 1);
	assert_int_equal(kho("stop", NAME, NULL), 0);
	await_outgoing(0);
	for (int i = 0; !kill(holder, 0); i++) {
		assert_in_range(i, 0, WAIT_MS);
		waitpid(-1, NULL, WNOHANG);
		usleep(1000);
	}
}

/* ---- what came in is not believed ---- */

static void cold_after(const char *words)
{
	pid_t run = start_run(NAME, live, plain);

	assert_int_equal(ask(-1).count, 2);
	log_has(words);
	assert_int_equal(fake_incoming(), 0);
	kill_and_wait(run);
	end_children();
}

static void bad_arenas(void **state)
{
	int pipes[2], empty = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int noise = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	char bytes[8192];

	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	fake_hand_over(SESSION, KHO_LIVEUPDATE_ARENA, pipes[0]);
	cold_after("is not a memfd");
	fake_hand_over(SESSION, KHO_LIVEUPDATE_ARENA, empty);
	cold_after("not sealed against shrinking");
	assert_int_equal(fcntl(empty, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	fake_hand_over(SESSION, KHO_LIVEUPDATE_ARENA, empty);
	cold_after("is empty");
	memset(bytes, 0x5a, sizeof(bytes));
	assert_int_equal(write(noise, bytes, sizeof(bytes)), sizeof(bytes));
	assert_int_equal(fcntl(noise, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	fake_hand_over(SESSION, KHO_LIVEUPDATE_ARENA, noise);
	cold_after("magic");
	fake_hand_over(SESSION, 7, noise); /* another token */
	cold_after("no file under token 1");
	fake_hand_over("kho-other", KHO_LIVEUPDATE_ARENA, noise); /* not ours to take */
	start_run(NAME, live, plain);
	assert_int_equal(fake_incoming(), 1);
	close(empty);
	close(noise);
	close(pipes[0]);
	close(pipes[1]);
}

/* ---- a kernel that says no ---- */

static void no_device(void **state)
{
	static const struct {
		int error;
		const char *words;
	} rows[] = {
		{-ENOENT, "there is no /dev/liveupdate"}, {-ENODEV, "liveupdate=on"},
		{-EACCES, "may not be opened"},		  {-EPERM, "it is root's"},
		{-EBUSY, "another process keeps"},	  {-EMFILE, "Too many open files"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		fake_set(false, rows[i].error, 0);
		assert_int_equal(kho("run", "--name", NAME, "--liveupdate", server_path, NULL), 1);
		assert_non_null(strstr(kho_out, rows[i].words));
	}
	/* What came in is lost: the service starts cold. */
	fake_set(false, -EIO, 0);
	start_run(NAME, live, plain);
	log_has("cannot be read");
}

static void not_preserved(void **state)
{
	static const struct {
		int open, preserve;
		const char *words;
	} rows[] = {
		{0, -EBUSY, "in a session already"},
		{0, -ENOENT, "CONFIG_LIVEUPDATE_MEMFD"},
		{0, -EOPNOTSUPP, "a seal"},
		{0, -ENOMEM, "no memory"},
		{0, -EEXIST, "token 1"},
		{0, -E2BIG, "interface has changed"},
		{0, -EFBIG, "File too large"},
		{-EBUSY, 0, "another process keeps"},
	};
	pid_t run = start_run(NAME, live, plain);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		fake_set(false, rows[i].open, rows[i].preserve);
		assert_int_equal(kho("preserve", NAME, NULL), 1);
		assert_non_null(strstr(kho_out, rows[i].words));
		await_outgoing(0);
	}
	ask(-1);
	/* At a shutdown, too, it is said, and keeps nobody from shutting down. */
	fake_set(true, 0, -ENOMEM);
	shut_down(run);
	log_has("its arena does not go over the kexec");
	assert_int_equal(kho("status", NAME, NULL), 1);
}

/* ---- misuse ---- */

static void misuse(void **state)
{
	pid_t run = start_run(NAME, NULL, plain);

	assert_int_equal(kho("preserve", NAME, NULL), 1);
	assert_non_null(strstr(kho_out, "started without --liveupdate"));
	fake_set(true, 0, 0);
	shut_down(run);
	assert_int_equal(fake_outgoing(), 0);
	assert_int_equal(kho("run", "--liveupdate", "--fresh", server_path, NULL), 2);
	assert_int_equal(kho("preserve", NULL), 2);
	assert_int_equal(kho("preserve", "--cancel", NULL), 2);
	assert_int_equal(kho("preserve", "a", "b", NULL), 2);
	assert_int_equal(kho("preserve", "nobody", NULL), 1);
	assert_int_equal(kho("preserve", "--help", NULL), 0);
}

/* The names and sessions of the library's own calls; here without the kernel. */
static int refuse(const char *path)
{
	return -EBADMSG;
}

static void names(void **state)
{
	struct kho_liveupdate_calls was = kho_liveupdate_calls_;
	char name[80];

	memset(name, 'x', sizeof(name));
	kho_liveupdate_calls_.open = refuse;
	name[64] = '\0';
	assert_int_equal(kho_liveupdate_create_(""), -EINVAL);
	assert_int_equal(kho_liveupdate_create_(name), -EINVAL);
	assert_int_equal(kho_liveupdate_find_(name), -EINVAL);
	name[63] = '\0';
	assert_int_equal(kho_liveupdate_create_(name), -EBADMSG);
	assert_int_equal(kho_liveupdate_find_(name), -EBADMSG);
	kho_liveupdate_calls_ = was;
	/* And of a file that is none of the kernel's. */
	assert_int_equal(kho_liveupdate_preserve_(0, 1, 2), -ENOTTY);
	assert_int_equal(kho_liveupdate_retrieve_(0, 2), -ENOTTY);
	assert_int_equal(kho_liveupdate_finish_(-1), -EBADF);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(over_a_kexec, set_up, tear_down),
		cmocka_unit_test_setup_teardown(while_it_serves, set_up, tear_down),
		cmocka_unit_test_setup_teardown(preserved_and_stopped, set_up, tear_down),
		cmocka_unit_test_setup_teardown(cancelled, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_file_is_older, set_up, tear_down),
		cmocka_unit_test_setup_teardown(no_kernel_is_loaded, set_up, tear_down),
		cmocka_unit_test_setup_teardown(told_to_stop, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_holder_gives_it_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_holder_stays, set_up, tear_down),
		cmocka_unit_test_setup_teardown(bad_arenas, set_up, tear_down),
		cmocka_unit_test_setup_teardown(no_device, set_up, tear_down),
		cmocka_unit_test_setup_teardown(not_preserved, set_up, tear_down),
		cmocka_unit_test_setup_teardown(misuse, set_up, tear_down),
		cmocka_unit_test(names),
	};
	int r;

	util_begin(argv[0]);
	snprintf(strrchr(tool_path, '/'), 32, "/tests/life/kho-fake");
	r = cmocka_run_group_tests(tests, NULL, NULL);
	util_end();
	return r;
}
