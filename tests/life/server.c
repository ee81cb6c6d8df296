/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A server for the tests: counts requests in the arena and answers each with
 * "COUNT GENERATION PID RELEASE PREDECESSOR HANDOVERS", the last two as kho_metadata() has
 * them. Connections go along in a hand-over. The count is in an area of scattered pages as well, which each
 * server restores at an address of its own and holds against it.
 *
 *	server [RELEASE [FORMAT-VERSIONS [FAULT [STORE-VERSIONS]]]]
 *
 * FORMAT-VERSIONS: "N", read and written; or "MIN-MAX", of which the oldest and the newest are written;
 * "o" or "l" behind it: an optional format, or one that can be written later.
 *
 * FAULT, of a successor only: exit, hang, crash-granted, hang-granted, slow-healthy; silent, which
 * promises signs of life and hangs; sleepy and steady, which give them every 300 and every
 * 20 ms and are healthy after 1.2 s; gone, which tells how many fds it saw go instead of RELEASE;
 * late, healthy in a thread of its own while it serves.
 * drop, become nobody after kho_start(); crash-migrated, before it is healthy; eager, which makes
 * blocks before it is, and has "eager" or, refused, "waits" for RELEASE. Of any start: crash-start;
 * of a predecessor: rogue, a thread that writes on after the freeze; last, its first blocks come
 * when its workers stand still already.
 * "none" otherwise.
 *
 * In the environment: KHO_TEST_DUMPABLE, have the arena in core dumps; KHO_TEST_PAIRS=N, preserve so
 * many socket pairs; KHO_TEST_DROP, become nobody after kho_start(); KHO_TEST_SLOW=MS, after a crash
 * it takes so long to kho_ready(). A request of another letter than
 * "?" is answered with one number.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kho/block.h>
#include <kho/host.h>
#include <kho/kho.h>
#include <kho/vmalloc.h>

#include "hold.h"
#include "store.h"

#define PAIRS (1ULL << 40) /* tokens of socket pairs */
#define NOBODY 65534

static const char *release = "1";
static const char *fault = "none";
static struct kho_format format = {"counter", 1, 1, 1, 0, 0};
static struct kho_format formats[2];
#ifdef SERVER_NOTE
KHO_FORMATS_NOTE({"counter", SERVER_NOTE, SERVER_NOTE, SERVER_NOTE, 0, 0});
#endif
static int epoll, stop_fd;
static int policy_at_start;
static struct counter {
	__u64 count;
	__u64 rogue;
	struct kho_vmalloc area;
	__u64 blocks; /* a block set's head */
} * counter;
static __u64 *area; /* AREA_PAGES pages: the count in each of them */
#define AREA_PAGES 3
#define AREA_STEP 512
static __u64 next_token = 1;

#define NR_KNOWN 256
static int known[NR_KNOWN]; /* fds of tokens */
static int gone_fd = -1;
static struct stat gone_file;
static unsigned int nr_gone;
static char gone_text[16];

static bool faulty(const char *what)
{
	return !strcmp(fault, what);
}

static void die(const char *what)
{
	fprintf(stderr, "server %s: %s: %s\n", release, what, kho_error());
	exit(1);
}

static void watch(int fd, __u64 token)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = token};

	epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev);
}

/* Its token is nobody's, its fd still ours. */
static void on_gone(__u64 token)
{
	gone_fd = token < NR_KNOWN ? known[token] : -1; /* tests have few connections */
	if (fstat(gone_fd, &gone_file) || kho_fd_get(token) != -ENOENT)
		abort();
	epoll_ctl(epoll, EPOLL_CTL_DEL, gone_fd,
		  NULL); /* others have the file: it does not leave by itself */
	nr_gone++;
}

static void on_fd(void *ctx, __u64 token, int fd)
{
	if (token >= PAIRS && token < KHO_FD_LISTEN)
		return;
	if (fd < 0) {
		on_gone(token);
		return;
	}
	watch(fd, token);
	if (token < NR_KNOWN)
		known[token] = fd;
	if (token < KHO_FD_LISTEN && token >= next_token)
		next_token = token + 1;
}

static void on_stop(void *ctx)
{
	__u64 one = 1;

	if (write(stop_fd, &one, sizeof(one)) < 0)
		abort();
}

static void count(void)
{
	++counter->count;
	for (int i = 0; i < AREA_PAGES; i++)
		__atomic_store_n(area + i * AREA_STEP, counter->count, __ATOMIC_RELAXED);
}

/* As fresh, or as whoever was here before left it; a kill may come between two stores of count(). */
static void find_area(void)
{
	if (!counter->area.first) {
		area = kho_vmalloc(AREA_PAGES * AREA_STEP * sizeof(*area));
		for (int i = 0; area && i < AREA_PAGES; i++)
			area[i * AREA_STEP] = counter->count;
		if (!area || kho_preserve_vmalloc(area, &counter->area))
			die("area");
		return;
	}
	area = kho_restore_vmalloc(&counter->area);
	if (!area)
		die("area");
	for (int i = 0; i < AREA_PAGES; i++)
		if (counter->count - area[i * AREA_STEP] > 1)
			die("contents of the area");
}

static void find_counter(void)
{
	void **slot = kho_root("counter", "count", 1);

	if (!slot)
		die("root");
	if (!*slot) {
		struct counter *fresh = kho_calloc(1, sizeof(*fresh));

		if (!fresh || kho_publish(slot, fresh, NULL))
			die("publish");
	}
	counter = *slot;
	find_area();
}

static void find_all(void)
{
	find_counter();
	store_find();
}

/* A block more, the first time the first one of the arena. Return: 0, or negative. */
static int make_blocks(void)
{
	struct kho_block_set set;
	int r = kho_block_set_init(&set, &counter->blocks, 64);

	if (!r && counter->blocks)
		r = kho_block_set_restore(&set);
	return r ?: kho_block_set_grow(&set, 1);
}

/* ---- other requests than for a count ---- */

static __u64 pair_token(int i, int end)
{
	return PAIRS + 2 * (__u64)i + (__u64)end;
}

/* Preserve socket pairs: KHO_TEST_PAIRS of them. */
static void make_pairs(void)
{
	const char *text = getenv("KHO_TEST_PAIRS");
	int n = text ? atoi(text) : 0;

	for (int i = 0; i < n; i++) {
		int pair[2];

		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) ||
		    kho_fd_preserve(pair_token(i, 0), pair[0]) ||
		    kho_fd_preserve(pair_token(i, 1), pair[1]))
			die("pairs");
	}
}

/* How many pairs are whole: what goes in at one end comes out at the other. */
static int count_pairs(void)
{
	int i, got;

	for (i = 0; kho_fd_get(pair_token(i, 0)) >= 0; i++)
		if (write(kho_fd_get(pair_token(i, 0)), &i, sizeof(i)) != sizeof(i) ||
		    read(kho_fd_get(pair_token(i, 1)), &got, sizeof(got)) != sizeof(got) ||
		    got != i)
			return -1;
	return i;
}

/* Leave a process behind whose parent is gone. */
static int make_orphan(void)
{
	pid_t child = fork();

	if (!child) {
		if (!fork()) {
			usleep(20000);
			_exit(7);
		}
		_exit(0);
	}
	return waitpid(child, NULL, 0) == child ? 0 : -1;
}

static int none(void *ctx, kho_pa_t pa, unsigned int order, const char *what)
{
	return 0;
}

/* Every call in a child of fork(). Return: 0, or the line of what did not say so. */
static int forked_child(void)
{
	struct kho_config config = KHO_CONFIG_INIT;
	struct kho_heap_stats stats;
	char release_[65];
	unsigned int pos = 0, nr;
	__u64 token, *at = &counter->count;
	void **slot = (void **)at;
	struct kho_vmalloc none_ = {0};

#define WANT(e)                                                                                    \
	do {                                                                                       \
		errno = 0;                                                                         \
		if (!(e))                                                                          \
			return __LINE__;                                                           \
	} while (0)
#define DEAD(e) WANT((e) == -EOWNERDEAD && strstr(kho_error(), "fork"))
#define NONE(e) WANT(!(e) && errno == EOWNERDEAD)
	DEAD(kho_start(&config));
	DEAD(kho_ready());
	DEAD(kho_healthy());
	DEAD(kho_close());
	DEAD(kho_worker_enter());
	kho_blocking();
	WANT(!kho_unblocked());
	WANT(!kho_checkpoint());
	kho_worker_exit();
	NONE(kho_malloc(10));
	NONE(kho_malloc(100000));
	NONE(kho_calloc(10, 10));
	NONE(kho_memalign(64, 10));
	NONE(kho_realloc(at, 10));
	kho_free(at);
	WANT(!kho_usable_size(at));
	DEAD(kho_publish(slot, NULL, at));
	DEAD(kho_publish_tagged(at, 1, NULL, NULL));
	DEAD(kho_exchange(slot, NULL, at));
	DEAD(kho_heap_stats(&stats, true));
	NONE(kho_root("counter", "count", 1));
	DEAD(kho_root_remove("counter"));
	DEAD(kho_add_subtree("x", at, 8));
	kho_remove_subtree(at);
	DEAD(kho_retrieve_subtree("x", NULL, NULL));
	DEAD(kho_metadata(release_, &nr));
	NONE(kho_folio_alloc(0));
	kho_folio_put((void *)at);
	DEAD(kho_preserve_folio((void *)at));
	kho_unpreserve_folio((void *)at);
	NONE(kho_restore_folio(kho_virt_to_phys(at)));
	NONE(kho_alloc_pages(2));
	kho_free_pages((void *)at, 1);
	DEAD(kho_preserve_pages((void *)at, 1));
	kho_unpreserve_pages((void *)at, 1);
	NONE(kho_restore_pages(kho_virt_to_phys(at), 1));
	NONE(kho_alloc_preserve(1));
	kho_unpreserve_free(at);
	kho_restore_free(at);
	NONE(kho_vmalloc(1));
	NONE(kho_vmalloc_huge(1));
	NONE(kho_kvmalloc(1));
	DEAD(kho_preserve_vmalloc(area, &none_));
	NONE(kho_restore_vmalloc(&none_));
	kho_unpreserve_vmalloc(&none_);
	kho_vfree(area);
	DEAD(kho_for_each_unclaimed(none, NULL));
	NONE(kho_release_unclaimed());
	DEAD(kho_fd_preserve(77, 0));
	DEAD(kho_fd_unpreserve(77));
	DEAD(kho_fd_close(77));
	DEAD(kho_fd_get(77));
	DEAD(kho_fd_held(77));
	DEAD(kho_fd_next(&pos, &token));
	WANT(!kho_generation());
	return 0;
}

/* Return: what a child's child of this, too, found; -1: it died. */
static int ask_child(void)
{
	int status, p[2], line = -1;
	pid_t child;

	if (pipe(p))
		return -1;
	child = fork();
	if (!child) {
		line = forked_child();
		_exit(write(p[1], &line, sizeof(line)) != sizeof(line));
	}
	close(p[1]);
	if (read(p[0], &line, sizeof(line)) != sizeof(line))
		line = -1;
	close(p[0]);
	waitpid(child, &status, 0);
	return WIFEXITED(status) && !WEXITSTATUS(status) ? line : -1;
}

/* One number for a request of another letter. */
static int special(char request)
{
	struct kho_heap_stats stats;

	switch (request) {
	case 'p':
		return count_pairs();
	case 'o':
		return make_orphan();
	case 'f':
		return ask_child();
	case 'i':
		return policy_at_start;
	case 'u':
		return (int)geteuid();
	case 'w':
		return kho_format_writes("counter");
	case 'b':
		return make_blocks();
	case 's':
		return store_next();
	case 'l':
		return kho_heap_stats(&stats, true) ? -1 : (int)stats.live_objects;
	}
	return -1;
}

static void answer(__u64 token)
{
	int fd = kho_fd_get(token);
	char buf[64], text[256], before[65];
	unsigned int handovers;
	ssize_t n = read(fd, buf, sizeof(buf));

	if (n <= 0) {
		kho_fd_close(token);
		return;
	}
	if (buf[0] == 'c') {
		kho_fd_close(token);
		return;
	}
	if (buf[0] == 'U') {
		if (kho_fd_unpreserve(token)) /* and left open: nobody's from now on */
			die("unpreserve");
		return;
	}
	if (buf[0] == 'h') {
		snprintf(text, sizeof(text), "%d\n", kho_fd_held(token));
		if (write(fd, text, strlen(text)) < 0)
			kho_fd_close(token);
		return;
	}
	if (buf[0] != '?') {
		snprintf(text, sizeof(text), "%d\n", special(buf[0]));
		if (write(fd, text, strlen(text)) < 0)
			kho_fd_close(token);
		return;
	}
	count();
	if (kho_metadata(before, &handovers))
		die("metadata");
	snprintf(text, sizeof(text), "%llu %llu %d %s %s %u\n", (unsigned long long)counter->count,
		 (unsigned long long)kho_generation(), (int)getpid(), release,
		 before[0] ? before : "-", handovers);
	if (write(fd, text, strlen(text)) < 0)
		kho_fd_close(token);
}

static void accept_one(__u64 token)
{
	int fd = accept4(kho_fd_get(token), NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (kho_fd_preserve(next_token, fd))
		die("preserve");
	watch(fd, next_token++);
}

static void serve(void)
{
	struct epoll_event ev;

	for (;;) {
		int n;

		kho_blocking();
		n = epoll_wait(epoll, &ev, 1, -1);
		if (kho_unblocked() == KHO_THAW_ROLLED_BACK)
			find_all();
		if (n != 1)
			continue;
		if (ev.data.u64 == ~0ULL)
			return;
		if (ev.data.u64 >= KHO_FD_LISTEN)
			accept_one(ev.data.u64);
		else
			answer(ev.data.u64);
	}
}

static void *late(void *unused)
{
	kho_healthy();
	return NULL;
}

static void show_life(unsigned int times, unsigned int ms)
{
	while (times--) {
		usleep(ms * 1000);
		if (kho_alive() != 1)
			abort();
	}
	kho_healthy();
	for (times = 0; kho_alive(); times++) {
		if (times == 2000)
			abort();
		usleep(1000);
	}
}

static void *rogue(void *unused)
{
	for (;;) {
		usleep(20000); /* the first time: until the grant is out, however busy the machine is */
		__atomic_fetch_add(&counter->rogue, 1, __ATOMIC_RELAXED); /* not the count itself */
	}
	return NULL;
}

static void on_frozen(void *ctx)
{
	pthread_t thread;

	if (faulty("rogue") && pthread_create(&thread, NULL, rogue, NULL))
		abort();
	if (faulty("last") && make_blocks())
		abort();
}

static void start(void)
{
	struct kho_config config = KHO_CONFIG_INIT;
	unsigned int pos = 0;
	struct stat now;
	__u64 token;
	int how, fd;

	config.name = "server";
	config.release = release;
	formats[0] = format;
	formats[1] = store_format;
	config.formats = formats;
	config.nr_formats = store_format.writes ? 2 : 1;
	config.migrations = store_hooks;
	config.nr_migrations = store_format.reads_max > store_format.reads_min ? 2 : 0;
	config.arena_max = 128ULL << 20;
	config.flags = KHO_START_ALIVE * (faulty("silent") || faulty("sleepy") || faulty("steady"));
	config.fd = on_fd;
	config.stop = on_stop;
	config.frozen = on_frozen;
	if (getenv("KHO_TEST_DUMPABLE"))
		config.flags |= KHO_START_DUMPABLE;
	how = kho_start(&config);
	if (how < 0)
		die("start");
	policy_at_start = sched_getscheduler(0);
	if (faulty("crash-start"))
		abort();
	if (how != KHO_SUCCESSOR && !faulty("rogue") && !faulty("last"))
		fault = "none";
	if (faulty("hang"))
		pause();
	if ((getenv("KHO_TEST_DROP") || faulty("drop")) && (setgid(NOBODY) || setuid(NOBODY)))
		die("privileges");
	while ((fd = kho_fd_next(&pos, &token)) >= 0)
		on_fd(NULL, token, fd);
	if (kho_worker_enter())
		die("worker");
	if (how != KHO_SUCCESSOR)
		find_all();
	if (how == KHO_FRESH)
		make_pairs();
	if (how == KHO_RESTARTED && getenv("KHO_TEST_SLOW"))
		usleep((unsigned int)atoi(getenv("KHO_TEST_SLOW")) * 1000);
	if (kho_ready())
		die("ready");
	if (faulty("crash-granted"))
		kill(getpid(), SIGKILL);
	if (faulty("silent"))
		pause();
	if (faulty("gone")) {
		if (!fstat(gone_fd, &now) && now.st_ino == gone_file.st_ino)
			abort(); /* not another one under that number, but still the same */
		snprintf(gone_text, sizeof(gone_text), "gone%u", nr_gone);
		release = gone_text;
	}
	if (how == KHO_SUCCESSOR)
		find_all();
	if (faulty("eager"))
		release = make_blocks() != -KHO_E_INCOMPATIBLE ||
					  !strstr(kho_error(), "not before kho_healthy()")
				  ? "eager"
				  : "waits";
	store_migrate();
	if (faulty("crash-migrated"))
		kill(getpid(), SIGKILL);
}

static void parse_versions(const char *text)
{
	char *end;

	format.reads_min = format.reads_max = (unsigned int)strtoul(text, &end, 10);
	if (*end == '-') {
		format.writes_min = format.reads_min;
		format.reads_max = (unsigned int)strtoul(end + 1, &end, 10);
	}
	format.writes = format.reads_max;
	format.flags = *end == 'o' ? KHO_FORMAT_OPTIONAL : *end == 'l' ? KHO_FORMAT_LATER : 0;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	if (argc > 1)
		release = argv[1];
	if (argc > 2)
		parse_versions(argv[2]);
	if (argc > 3)
		fault = argv[3];
	if (argc > 4)
		store_parse(argv[4]);
	hold_install();
	if (faulty("exit"))
		return 3;
	epoll = epoll_create1(EPOLL_CLOEXEC);
	stop_fd = eventfd(0, EFD_CLOEXEC);
	watch(stop_fd, ~0ULL);
	start();
	if (faulty("slow-healthy"))
		usleep(200000);
	if (faulty("sleepy"))
		show_life(4, 300);
	if (faulty("steady"))
		show_life(60, 20);
	if (faulty("late") && pthread_create(&thread, NULL, late, NULL))
		abort();
	if (!faulty("hang-granted") && !faulty("late"))
		kho_healthy();
	store_find(); /* in the version that it has now */
	serve();
	kho_close();
	return 0;
}
