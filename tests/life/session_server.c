/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A server whose files are all in sessions: its connections in "conns", by numbers; and in "kinds" one of
 * each kind, and a directory, which is a kind of its own with an FLB. What it finds is what it serves.
 * session_server RELEASE [FAULT]
 *
 * One letter a request: ? as util.h wants it; k: is all of "kinds" there? 0, or the line that says no;
 * n: fds that are open but those of connections; c: connections; h: those that nobody holds; f: how often
 * files were frozen before this program came; d: take the directory out, e: put it in; m: misuse, 0 or
 * the line; q: end.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <kho/kho.h>
#include <kho/session.h>

#include "hold.h"

#define HOLE (64 << 20)

enum { EVENT = 1, TIMER, PIPE_READ, PIPE_WRITE, MEMORY, REGULAR, DIRECTORY };

static const char *release = "1", *fault = "none";
static struct luo_session *conns, *kinds;
static int epoll, stop_fd, how;
static __u64 *counter;
static unsigned int frozen;

static bool faulty(const char *name)
{
	return !strcmp(fault, name);
}

static void die(const char *what)
{
	fprintf(stderr, "session_server %s: %s: %s\n", release, what, kho_error());
	exit(1);
}

/* ---- a kind of its own ---- */

static bool is_directory(struct liveupdate_file_handler *handler, int fd)
{
	struct stat st;

	return !fstat(fd, &st) && S_ISDIR(st.st_mode);
}

static int put_name(struct liveupdate_file_op_args *args)
{
	strcpy(args->state, "a directory");
	return 0;
}

static int freeze(struct liveupdate_file_op_args *args)
{
	args->serialized_data++;
	return faulty("no-freeze") ? -EIO : 0;
}

static int check_name(struct liveupdate_file_op_args *args)
{
	frozen = (unsigned int)args->serialized_data;
	return strcmp(args->state, "a directory") ? -EILSEQ : 0;
}

static int flb_preserve(struct liveupdate_flb_op_args *args)
{
	strcpy(args->state, "of all directories");
	args->obj = &frozen;
	return 0;
}

static int flb_retrieve(struct liveupdate_flb_op_args *args)
{
	args->obj = strcmp(args->state, "of all directories") ? NULL : &frozen;
	return 0;
}

static const struct liveupdate_file_ops dir_ops = {.state_size = 16,
						   .can_preserve = is_directory,
						   .preserve = put_name,
						   .freeze = freeze,
						   .retrieve = check_name};
static struct liveupdate_file_handler directories = {.compatible = "dir-v1;names-v2",
						     .ops = &dir_ops};
static const struct liveupdate_flb_ops flb_ops = {
	.state_size = 32, .preserve = flb_preserve, .retrieve = flb_retrieve};
static struct liveupdate_flb flb = {.compatible = "dirs", .ops = &flb_ops};

/* ---- one of each ---- */

static void add(int fd, __u64 token)
{
	if (fd < 0 || luo_session_preserve_fd(kinds, fd, token))
		die("preserve");
}

static void make_kinds(void)
{
	struct itimerspec hour = {.it_value.tv_sec = 3600};
	char path[] = "/tmp/kho-session-XXXXXX";
	int ends[2], fd;

	add(eventfd(5, EFD_CLOEXEC | EFD_NONBLOCK), EVENT);
	fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	timerfd_settime(fd, 0, &hour, NULL);
	add(fd, TIMER);
	if (pipe2(ends, O_CLOEXEC) || write(ends[1], "in the pipe", 11) != 11)
		die("pipe");
	add(ends[0], PIPE_READ);
	add(ends[1], PIPE_WRITE);
	fd = memfd_create("holes", MFD_CLOEXEC);
	if (ftruncate(fd, 2 * HOLE) || pwrite(fd, "x", 1, HOLE) != 1)
		die("memfd");
	add(fd, MEMORY);
	fd = mkostemp(path, O_CLOEXEC);
	unlink(path);
	if (write(fd, "a file", 6) != 6)
		die("file");
	add(fd, REGULAR);
	if (!faulty("no-handler"))
		add(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), DIRECTORY);
}

#define SO(cond)                                                                                   \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "session_server %s: line %d: %s\n", release, __LINE__,     \
				kho_error());                                                      \
			return __LINE__;                                                           \
		}                                                                                  \
	} while (0)

static int check_kinds(void)
{
	struct itimerspec left;
	char text[16] = "";
	struct stat st;
	void *obj;
	int fd[8];

	for (int i = EVENT; i <= DIRECTORY; i++) {
		fd[i] = luo_session_retrieve_fd(kinds, i);
		SO(fd[i] >= 0);
	}
	SO(!eventfd_write(fd[EVENT], 1));
	SO(!timerfd_gettime(fd[TIMER], &left) && left.it_value.tv_sec > 3000);
	SO(write(fd[PIPE_WRITE], "!", 1) == 1);
	SO(read(fd[PIPE_READ], text, 12) == 12 && !strcmp(text, "in the pipe!"));
	SO(write(fd[PIPE_WRITE], "in the pipe", 11) == 11);
	SO(!fstat(fd[MEMORY], &st) && st.st_size == 2 * HOLE && st.st_blocks <= 4096);
	SO(lseek(fd[MEMORY], 0, SEEK_DATA) == HOLE);
	SO(pread(fd[REGULAR], text, 6, 0) == 6 && !memcmp(text, "a file", 6));
	SO(!liveupdate_flb_get_outgoing(&flb, &obj) && obj == &frozen);
	return 0;
}

/* What every program may do wrong. */
static int misuse(void)
{
	struct luo_session *s;
	int fd = eventfd(0, EFD_CLOEXEC), other = epoll_create1(EPOLL_CLOEXEC);

	SO(luo_session_create("kinds", &s) == -EEXIST);
	SO(luo_session_retrieve("kinds", &s) == -EALREADY);
	SO(luo_session_retrieve("none", &s) == -ENOENT);
	SO(luo_session_preserve_fd(kinds, fd, EVENT) == -EEXIST);
	SO(luo_session_preserve_fd(kinds, other, 99) == -EOPNOTSUPP);
	SO(luo_session_retrieve_fd(kinds, 99) == -ENOENT);
	SO(!luo_session_create("short", &s) && !luo_session_finish(s));
	SO(luo_session_preserve_fd(s, fd, 1) == -ESTALE);
	luo_session_put(s);
	close(fd);
	close(other);
	return 0;
}

/* ---- serving ---- */

static void watch(int fd, __u64 token)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = token};

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev) && errno != EEXIST)
		die("epoll");
}

static int nr_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int nr = -3;

	while (readdir(dir))
		nr++;
	closedir(dir);
	return nr;
}

static int nr_conns(void)
{
	unsigned int pos = 0;
	__u64 token;
	int nr = 0;

	while (!luo_session_next_token(conns, &pos, &token))
		nr++;
	return nr;
}

static int nr_not_held(void)
{
	unsigned int pos = 0;
	__u64 token;
	int nr = 0;

	while (!luo_session_next_token(conns, &pos, &token))
		nr += luo_session_fd_held(conns, token) != 1;
	return nr;
}

/* What came in, some of it perhaps lost. */
static void take_conns(void)
{
	unsigned int pos = 0;
	__u64 token;

	while (!luo_session_next_token(conns, &pos, &token)) {
		int fd = luo_session_retrieve_fd(conns, token);

		if (fd >= 0)
			watch(fd, token);
		else if (fd == -ENXIO && how != KHO_SUCCESSOR)
			luo_session_close_fd(conns, token);
		else
			die("connection");
	}
}

static int number_for(char request)
{
	switch (request) {
	case 'k':
		return check_kinds();
	case 'n':
		return nr_fds() - nr_conns();
	case 'c':
		return nr_conns();
	case 'h':
		return nr_not_held();
	case 'f':
		return (int)frozen;
	case 'd':
		return luo_session_close_fd(kinds, DIRECTORY);
	case 'e':
		return luo_session_preserve_fd(kinds, open("/", O_RDONLY | O_DIRECTORY), DIRECTORY);
	default:
		return misuse();
	}
}

/* Whoever has a duplicate keeps the file in our epoll, too. */
static void hang_up(int fd, __u64 token)
{
	epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
	if (luo_session_close_fd(conns, token))
		die("close");
}

static void answer(__u64 token)
{
	int fd = luo_session_retrieve_fd(conns, token);
	char request, text[128];

	if (fd < 0)
		return; /* of a successor that failed, and took it along */
	if (recv(fd, &request, 1, 0) != 1) {
		hang_up(fd, token);
		return;
	}
	if (request == 'q') {
		eventfd_write(stop_fd, 1);
		return;
	}
	if (request == '?')
		snprintf(text, sizeof(text), "%llu %llu %d %s - 0\n",
			 (unsigned long long)++*counter, (unsigned long long)kho_generation(),
			 (int)getpid(), release);
	else
		snprintf(text, sizeof(text), "%d\n", number_for(request));
	if (write(fd, text, strlen(text)) < 0)
		hang_up(fd, token);
}

static void accept_one(void)
{
	int fd = accept4(kho_fd_get(KHO_FD_LISTEN), NULL, NULL, SOCK_CLOEXEC);
	static __u64 next;
	int r;

	if (fd < 0)
		return;
	do
		r = luo_session_preserve_fd(conns, fd, ++next);
	while (r == -EEXIST);
	if (r)
		die("accept");
	watch(fd, next);
}

static void find_counter(void)
{
	void **slot = kho_root("counter", "counter", 1);

	if (!slot || (!*slot && kho_publish(slot, kho_calloc(1, 8), NULL)))
		die("counter");
	counter = *slot;
}

static void serve(void)
{
	bool watched = getenv("WATCHDOG_USEC");
	struct epoll_event ev;

	for (;;) {
		int n;

		if (watched)
			kho_alive();
		kho_blocking();
		n = epoll_wait(epoll, &ev, 1, watched ? 5 : -1);
		if (kho_unblocked() == KHO_THAW_ROLLED_BACK) {
			find_counter();
			take_conns();
		}
		if (n == 1 && ev.data.u64 == ~0ULL)
			return;
		if (n == 1 && ev.data.u64 == KHO_FD_LISTEN)
			accept_one();
		else if (n == 1)
			answer(ev.data.u64);
	}
}

static void on_stop(void *ctx)
{
	eventfd_write(stop_fd, 1);
}

/* What was there before, or made now. */
static void open_sessions(bool may_make)
{
	int r = luo_session_retrieve("conns", &conns);

	if (r == -ENOENT && may_make)
		r = luo_session_create("conns", &conns);
	if (r)
		die("conns");
	r = luo_session_retrieve("kinds", &kinds);
	if (r == -ENOENT && may_make) {
		r = luo_session_create("kinds", &kinds);
		if (!r)
			make_kinds();
	}
	if (r)
		die("kinds");
}

/* A successor that was granted the arena, changes a lot, and dies. */
static void go_wild(void)
{
	struct luo_session *s;
	unsigned int pos = 0;
	__u64 token;

	if (luo_session_finish(kinds) != -EPERM || !strstr(kho_error(), "kho_healthy() first"))
		die("finish");
	if (luo_session_create("wild", &s) || luo_session_preserve_fd(s, eventfd(0, 0), 1) ||
	    luo_session_preserve_fd(kinds, eventfd(0, 0), 77))
		die("wild");
	if (!luo_session_next_token(conns, &pos, &token))
		luo_session_unpreserve_fd(conns, token);
	kill(getpid(), SIGKILL);
}

static void start(void)
{
	struct kho_config config = KHO_CONFIG_INIT;

	config.name = "sessions";
	config.release = release;
	config.arena_max = 64ULL << 20;
	config.stop = on_stop;
	if (!faulty("no-handler") && (liveupdate_register_file_handler(&directories) ||
				      liveupdate_register_flb(&directories, &flb)))
		die("handler");
	how = kho_start(&config);
	if (how < 0)
		die("start");
	if (how == KHO_RESTARTED || how == KHO_FRESH)
		fault = faulty("no-handler") || faulty("no-freeze") ? fault : "none";
	watch(kho_fd_get(KHO_FD_LISTEN), KHO_FD_LISTEN);
	if (kho_worker_enter())
		die("worker");
	if (how == KHO_SUCCESSOR) { /* the rehearsal */
		open_sessions(false);
		take_conns();
	} else {
		open_sessions(true);
	}
	if (kho_ready())
		die("ready");
	find_counter();
	take_conns();
	if (faulty("wild"))
		go_wild();
	kho_healthy();
}

int main(int argc, char **argv)
{
	if (argc > 1)
		release = argv[1];
	if (argc > 2)
		fault = argv[2];
	signal(SIGPIPE, SIG_IGN);
	hold_install();
	epoll = epoll_create1(EPOLL_CLOEXEC);
	stop_fd = eventfd(0, EFD_CLOEXEC);
	watch(stop_fd, ~0ULL);
	start();
	serve();
	kho_close();
	return 0;
}
