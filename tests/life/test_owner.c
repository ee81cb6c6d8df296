/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The lock: one holder, whose death is heard of at once and waited for to the last thread. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kho/host.h>

#include "arena.h"
#include "owner.h"
#include "proc.h"
#include "util.h"

static int fd;
static struct kho_abi_owner *page;

static int set_up(void **state)
{
	fd = kho_arena_create_("test");
	if (fd < 0 || kho_arena_format_(fd, 128ULL << 20))
		return -1;
	page = kho_owner_map_(fd);
	return page ? 0 : -1;
}

static int tear_down(void **state)
{
	end_children();
	munmap(page, KHO_PAGE_SIZE);
	close(fd);
	return 0;
}

/* ---- children: each is one process at the lock -------------------------------- */

struct child {
	pid_t pid;
	int out;
};

struct report {
	int result;
	__u64 at_us;
	char error[300];
};

static struct child begin(void (*body)(int out))
{
	struct child c;
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	c.out = p[0];
	c.pid = fork();
	if (!c.pid) {
		if (kho_owner_open_(fd))
			_exit(1);
		kho_owner_keep_();
		body(p[1]);
		_exit(0);
	}
	close(p[1]);
	return c;
}

static void tell(int out, int result)
{
	struct report r = {.result = result, .at_us = now_us()};

	snprintf(r.error, sizeof(r.error), "%s", kho_error());
	if (write(out, &r, sizeof(r)) != sizeof(r))
		_exit(1);
}

static struct report hear(struct child *c)
{
	struct report r;

	alarm(20);
	assert_int_equal(read(c->out, &r, sizeof(r)), sizeof(r));
	alarm(0);
	return r;
}

static void finish(struct child *c)
{
	kill_and_wait(c->pid);
	close(c->out);
}

static void hold_forever(int out)
{
	tell(out, kho_owner_acquire_(0));
	pause();
}

static void try_once(int out)
{
	tell(out, kho_owner_acquire_(0));
}

static void wait_long(int out)
{
	tell(out, 1000);
	tell(out, kho_owner_acquire_(10000));
	pause();
}

static void hold_then_release(int out)
{
	tell(out, kho_owner_acquire_(0));
	usleep(30000);
	kho_owner_release_();
	pause();
}

/* ---- tests ---------------------------------------------------------------------- */

static void the_second_is_told_who(void **state)
{
	struct child a = begin(hold_forever), b;
	char want[64];
	struct report r;

	assert_int_equal(hear(&a).result, 0);
	assert_int_equal(page->pid, a.pid);
	assert_int_equal(kho_owner_alive_(page), 1);
	b = begin(try_once);
	r = hear(&b);
	assert_int_equal(r.result, -EBUSY);
	snprintf(want, sizeof(want), "process %d (test_owner)", (int)a.pid);
	assert_non_null(strstr(r.error, want));
	assert_non_null(strstr(r.error, "kho upgrade"));
	finish(&a);
	assert_int_equal(kho_owner_alive_(page), 0);
	finish(&b);
}

static void death_is_heard_of_at_once(void **state)
{
	struct child a = begin(hold_forever), b;
	struct report r;
	__u64 killed;

	hear(&a);
	b = begin(wait_long);
	hear(&b);
	usleep(20000);
	killed = now_us();
	kill(a.pid, SIGKILL);
	r = hear(&b);
	assert_int_equal(r.result, 1);
	assert_in_range(r.at_us - killed, 0, 1000000);
	assert_int_equal(page->pid, b.pid);
	finish(&b);
	finish(&a);
}

static void release_is_no_death(void **state)
{
	struct child a = begin(hold_then_release), b;

	hear(&a);
	b = begin(wait_long);
	hear(&b);
	assert_int_equal(hear(&b).result, 0);
	finish(&b);
	finish(&a);
}

static void one_wake_serves_many(void **state)
{
	struct child a = begin(hold_forever), waiters[8];
	__u64 t;

	hear(&a);
	for (int i = 0; i < 8; i++) {
		waiters[i] = begin(wait_long);
		hear(&waiters[i]);
	}
	usleep(20000);
	t = now_us();
	kill(a.pid, SIGKILL);
	/* Each holder is killed in its turn; whoever the record names is the next. */
	for (int i = 0; i < 8; i++) {
		__u64 deadline = now_us() + WAIT_US;
		pid_t last = i ? (pid_t)page->pid : a.pid;
		int at = -1;

		if (i)
			kill(last, SIGKILL);
		while (at < 0 && now_us() < deadline) {
			for (int k = 0; k < 8; k++)
				if (page->pid == (__u64)waiters[k].pid && waiters[k].pid != last)
					at = k;
			usleep(200);
		}
		assert_true(at >= 0);
		assert_int_equal(hear(&waiters[at]).result, 1);
	}
	assert_in_range(now_us() - t, 0, 5000000);
	for (int i = 0; i < 8; i++)
		finish(&waiters[i]);
	finish(&a);
}

/* A thread inside read(2) goes on writing after its process was killed. */
static void *fill(void *memory)
{
	int zero = open("/dev/urandom", O_RDONLY | O_CLOEXEC);

	for (;;)
		if (read(zero, memory, 16 << 20) <= 0)
			return NULL;
}

static int payload; /* memfd that the holder's threads write to */

static void hold_and_write(int out)
{
	void *memory = mmap(NULL, 16 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, payload, 0);
	pthread_t thread;

	memset(memory, 1, 16 << 20);
	pthread_create(&thread, NULL, fill, memory);
	usleep(10000);
	tell(out, kho_owner_acquire_(0));
	pause();
}

static void acquire_and_compare(int out)
{
	unsigned char *memory = mmap(NULL, 16 << 20, PROT_READ, MAP_SHARED, payload, 0);
	unsigned char *copy = malloc(16 << 20);

	memset(copy, 1, 16 << 20);
	tell(out, 1000);
	if (kho_owner_acquire_(10000) != 1)
		_exit(1);
	memcpy(copy, memory, 16 << 20);
	usleep(20000);
	tell(out, memcmp(copy, memory, 16 << 20));
}

static void nobody_writes_after_the_take_over(void **state)
{
	payload = memfd_create("payload", MFD_CLOEXEC);
	assert_int_equal(ftruncate(payload, 16 << 20), 0);
	for (int i = 0; i < 5; i++) {
		struct child a = begin(hold_and_write), b;

		hear(&a);
		b = begin(acquire_and_compare);
		hear(&b);
		usleep(5000 + 3000 * i);
		kill(a.pid, SIGKILL);
		assert_int_equal(hear(&b).result, 0);
		finish(&b);
		finish(&a);
	}
	close(payload);
}

static void stale(const struct kho_proc_id *id, __u64 pid, __u64 start_time)
{
	memset(page, 0, sizeof(*page));
	page->pid = pid;
	page->start_time = start_time;
	page->pid_ns = id->pid_ns;
	memcpy(page->boot_id, id->boot_id, sizeof(page->boot_id));
	strcpy(page->comm, "gone");
	page->futex = 4000000;
}

static int tried(void)
{
	struct child c = begin(try_once);
	int result = hear(&c).result;

	finish(&c);
	return result;
}

static void a_word_that_nobody_cleared(void **state)
{
	struct kho_proc_id id;

	assert_int_equal(kho_proc_self_(&id), 0);
	stale(&id, 3999999, 1);
	assert_int_equal(tried(), 1); /* the process is gone */
	stale(&id, id.pid, id.start_time + 1);
	assert_int_equal(tried(), 1); /* its pid is another's by now */
	stale(&id, id.pid, id.start_time);
	assert_int_equal(tried(), -EBUSY); /* it lives */
	stale(&id, 3999999, 1);
	page->pid_ns++;
	assert_int_equal(tried(), -EBUSY); /* who knows? */
	page->boot_id[3] ^= 1;
	assert_int_equal(tried(), 1); /* before the last boot */
}

/* ---- a /proc that hides the processes of others -------------------------------- */

#define NOBODY 65534

/* Become somebody who cannot see our parent. Return: false: not possible here. */
static bool blindfold(void)
{
	__u64 start;

	return !unshare(CLONE_NEWNS) && !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
	       !mount("proc", "/proc", "proc", 0, "hidepid=2") && !setgroups(0, NULL) &&
	       !setgid(NOBODY) && !setuid(NOBODY) &&
	       kho_proc_start_time_(getppid(), &start) == -ESRCH &&
	       !kho_proc_self_(&(struct kho_proc_id){0});
}

static void try_blindfolded(int out)
{
	tell(out, blindfold());
	tell(out, kho_owner_acquire_(0));
}

static void wait_blindfolded(int out)
{
	tell(out, blindfold());
	tell(out, kho_owner_acquire_(10000));
}

static struct report tried_blindfolded(void)
{
	struct child c = begin(try_blindfolded);
	struct report r;

	hear(&c);
	r = hear(&c);
	finish(&c);
	return r;
}

static void an_owner_that_cannot_be_seen(void **state)
{
	struct child c = begin(try_blindfolded), a;
	bool possible = hear(&c).result;
	struct kho_proc_id id;
	struct report r;
	__u64 killed;

	finish(&c);
	if (!possible) {
		print_message(
			"skipped: no /proc with hidepid=2 here (not root, or Linux before 5.8)\n");
		skip();
	}
	assert_int_equal(kho_proc_self_(&id), 0);
	stale(&id, id.pid, id.start_time);
	assert_int_equal(tried_blindfolded().result, -EBUSY); /* hidden, but it lives */
	stale(&id, 3999999, 1);
	assert_int_equal(tried_blindfolded().result, 1); /* gone, not hidden */
	/* Nobody sees when the last thread of a dead one has ended: it is given time. */
	memset(page, 0, sizeof(*page));
	a = begin(hold_forever);
	assert_int_equal(hear(&a).result, 0);
	c = begin(wait_blindfolded);
	assert_true(hear(&c).result);
	killed = now_us();
	kill(a.pid, SIGKILL);
	r = hear(&c);
	assert_int_equal(r.result, 1);
	assert_true(r.at_us - killed >= 900000);
	finish(&c);
	finish(&a);
}

static void grant_to_us(int out)
{
	tell(out, kho_owner_acquire_(0));
	kho_owner_grant_((unsigned int)getppid());
	tell(out, 0);
	pause();
}

static void an_heir_goes_first(void **state)
{
	struct child a = begin(grant_to_us);

	hear(&a);
	hear(&a);
	assert_int_equal(page->futex, 0);
	assert_int_equal(tried(), -EBUSY); /* free, but not for anybody */
	assert_int_equal(kho_owner_open_(fd), 0);
	kho_owner_keep_();
	assert_int_equal(kho_owner_inherit_(), 0);
	assert_int_equal(page->pid, getpid());
	assert_int_equal(page->heir, 0);
	assert_int_equal(kho_owner_inherit_(), -EBUSY);
	kho_owner_release_();
	kho_owner_close_();
	finish(&a);
	a = begin(grant_to_us);
	hear(&a);
	hear(&a);
	finish(&a);
	assert_int_equal(tried(), 0); /* the promise dies with whoever gave it */
}

/* ---- the API in a process without supervisor ------------------------------------ */

static void in_a_fork(int out)
{
	void *old = kho_malloc(64);
	int status;
	pid_t pid;

	if (!old)
		_exit(1);
	pid = fork();
	if (!pid) {
		int wrong = 0;

		errno = 0;
		wrong |= kho_malloc(64) != NULL || errno != EOWNERDEAD;
		wrong |= (kho_fd_get(1) != -EOWNERDEAD) << 1;
		wrong |= (kho_fd_preserve(1, 0) != -EOWNERDEAD) << 2;
		wrong |= (kho_ready() != -EOWNERDEAD) << 3;
		wrong |= (kho_close() != -EOWNERDEAD) << 4;
		wrong |= !strstr(kho_error(), "fork") << 5;
		wrong |= (kho_worker_enter() != -EOWNERDEAD) << 6;
		_exit(wrong);
	}
	waitpid(pid, &status, 0);
	tell(out, WIFEXITED(status) ? WEXITSTATUS(status) : 999);
	kho_free(old);
}

static void alone(int out)
{
	struct kho_config config = KHO_CONFIG_INIT;
	void **slot;

	kho_owner_close_();
	config.arena_max = 128ULL << 20;
	tell(out, kho_start(&config));
	tell(out, kho_start(&config));
	tell(out, kho_ready());
	tell(out, kho_healthy());
	slot = kho_root("x", "x", 1);
	tell(out, slot && !kho_publish(slot, kho_malloc(10), NULL));
	in_a_fork(out);
	tell(out, kho_close());
	tell(out, kho_malloc(10) == NULL && errno == EPERM);
	tell(out, kho_start(&config)); /* another arena */
	tell(out, kho_close());
}

static void life_without_supervisor(void **state)
{
	static const int want[] = {KHO_FRESH, -EEXIST, 0, 0, 1, 0, 0, 1, KHO_FRESH, 0};
	struct child c = begin(alone);

	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		struct report r = hear(&c);

		if (r.result != want[i])
			fail_msg("answer %zu is %d, not %d: %s", i, r.result, want[i], r.error);
	}
	finish(&c);
}

/* ---- no thread for the keeper ---- */

int __real_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
int __wrap_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

int __real_pthread_join(pthread_t, void **);
int __wrap_pthread_join(pthread_t, void **);

static bool no_threads;
static int strangers_joined; /* threads that never were */

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
			  void *arg)
{
	return no_threads ? EAGAIN : __real_pthread_create(thread, attr, start, arg);
}

int __wrap_pthread_join(pthread_t thread, void **result)
{
	strangers_joined += no_threads;
	return no_threads ? ESRCH : __real_pthread_join(thread, result);
}

/* How many mappings of memfds there are. */
static int mapped_files(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];
	int nr = 0;

	while (f && fgets(line, sizeof(line), f))
		nr += strstr(line, "/memfd:") != NULL;
	if (f)
		fclose(f);
	return nr;
}

static void threadless(int out)
{
	struct kho_config config = KHO_CONFIG_INIT;
	unsigned int fds;
	int files;

	kho_owner_close_();
	config.arena_max = 128ULL << 20;
	fds = count_fds();
	files = mapped_files();
	no_threads = true;
	tell(out, kho_start(&config));
	no_threads = false;
	tell(out, strangers_joined);
	tell(out, count_fds() == fds);
	tell(out, mapped_files() == files);
	tell(out, kho_ready());
	tell(out, kho_close());
	tell(out, kho_start(&config));
	tell(out, kho_ready());
	tell(out, kho_close());
	tell(out, count_fds() == fds);
}

static void a_start_without_a_thread(void **state)
{
	static const int want[] = {-EAGAIN, 0, 1, 1, -EINVAL, 0, KHO_FRESH, 0, 0, 1};
	struct child c = begin(threadless);

	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		struct report r = hear(&c);

		if (r.result != want[i])
			fail_msg("answer %zu is %d, not %d: %s", i, r.result, want[i], r.error);
		if (!i)
			assert_non_null(strstr(r.error, "keeper thread cannot be started"));
	}
	finish(&c);
}

static const char *var, *value;
static int wanted_fd;

static void with_environment(int out)
{
	struct kho_config config = KHO_CONFIG_INIT;
	char number[16];

	kho_owner_close_();
	config.arena_max = 128ULL << 20;
	snprintf(number, sizeof(number), "%d", wanted_fd);
	setenv(var, value ? value : number, 1);
	tell(out, kho_start(&config));
}

static void environment(const char *name, const char *text, int number, int want, const char *words)
{
	struct child c;
	struct report r;

	var = name;
	value = text;
	wanted_fd = number;
	c = begin(with_environment);
	r = hear(&c);
	finish(&c);
	if (r.result != want || !strstr(r.error, words))
		fail_msg("%s=%s: %d, not %d: %s", name, text ? text : "(fd)", r.result, want,
			 r.error);
}

static void hostile_environment(void **state)
{
	int p[2], plain = memfd_create("plain", MFD_CLOEXEC), stream[2];

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream), 0);
	environment("KHO_ARENA_FD", "", 0, -EINVAL, "KHO_ARENA_FD");
	environment("KHO_ARENA_FD", "3x", 0, -EINVAL, "3x");
	environment("KHO_ARENA_FD", "-1", 0, -EINVAL, "-1");
	environment("KHO_ARENA_FD", "99999999999", 0, -EINVAL, "KHO_ARENA_FD");
	environment("KHO_ARENA_FD", "1000", 0, -EBADF, "not open");
	environment("KHO_ARENA_FD", NULL, p[0], -ESPIPE, "");
	environment("KHO_SERVER_FD", NULL, plain, -EINVAL, "SEQPACKET");
	environment("KHO_SERVER_FD", NULL, stream[0], -EINVAL, "SEQPACKET");
	environment("KHO_CHANNEL_FD", NULL, p[0], -EINVAL, "SEQPACKET");
	environment("KHO_LISTEN_FDS", "3", 0, -EINVAL, "FIRST:COUNT");
	environment("KHO_LISTEN_FDS", "3:99999", 0, -EINVAL, "FIRST:COUNT");
	environment("KHO_LISTEN_FDS", "2147483647:2", 0, -EINVAL, "FIRST:COUNT");
	environment("KHO_LISTEN_FDS", "1000:1", 0, -EBADF, "not open");
	environment("KHO_ARENA_MAX", "1Q", 0, -EINVAL, "KHO_ARENA_MAX");
	environment("KHO_ARENA_MAX", "99999999T", 0, -EINVAL, "KHO_ARENA_MAX");
	environment("KHO_REALTIME", "0", 0, -EINVAL, "1 to 99");
	environment("KHO_REALTIME", "100", 0, -EINVAL, "1 to 99");
	environment("KHO_REALTIME", "5 ", 0, -EINVAL, "1 to 99");
	assert_int_equal(ftruncate(plain, 1 << 20), 0);
	assert_int_equal(pwrite(plain, "KO ARENAgarbage", 15, 0), 15);
	environment("KHO_ARENA_FD", NULL, plain, -KHO_E_FORMAT, "seal");
	environment("KHO_EXEC_FDS", NULL, p[0], -KHO_E_TRUNCATED, "records");
	assert_int_equal(pwrite(plain, "\1\2\3", 3, 0), 3);
	assert_int_equal(pwrite(fd, "\1\2\3", 3, 0), 3);
	environment("KHO_ARENA_FD", NULL, fd, -KHO_E_MAGIC, "magic");
	close(plain);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(the_second_is_told_who),
		TEST(death_is_heard_of_at_once),
		TEST(release_is_no_death),
		TEST(one_wake_serves_many),
		TEST(nobody_writes_after_the_take_over),
		TEST(a_word_that_nobody_cleared),
		TEST(an_owner_that_cannot_be_seen),
		TEST(an_heir_goes_first),
		TEST(life_without_supervisor),
		TEST(a_start_without_a_thread),
		TEST(hostile_environment),
	};
	int failed;

	util_begin(argv[0]);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	util_end();
	return failed;
}
