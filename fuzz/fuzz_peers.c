/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A predecessor whose successor says anything, in any order, and dies at any time; and a successor
 * with such a predecessor. Messages, time and changes of the fd table come one by one, whenever the code
 * under test waits. Lock, arena and processes are made up (--wrap); the protocol is not.
 *
 * Facts: a predecessor grants only after READY, exits only after TAKEN and HEALTHY, and otherwise owns the
 * arena in the end; a successor owns it only after the right GRANT; no fd is left over.
 *
 * An input: options; then events, see happen().
 */
#include "arena_ops.h"

#include "fdtable.h"
#include "life.h"
#include "message.h"

#include <poll.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_EVENTS 200
#define FDS_SEEN 512
#define NR_TOKENS 16

enum { SUCCESSOR = 1, FORCE = 2, IN_PLACE = 4, KNOWN = 8, NO_CREDENTIALS = 16 };

static struct {
	struct ops_bytes in;
	u8 options;
	unsigned int events;
	int peer; /* our end of the channel; -1: hung up */
	int file; /* what comes as an fd */
	__u64 now; /* us */
	bool inside;
	bool died; /* the successor, as the lock's word says */
	bool said[256]; /* by us */
	bool heard[256];
	bool owned; /* the successor took the lock; the predecessor, took everything back */
	bool retired;
	bool given_up;
	jmp_buf over;
	unsigned int tokens;
} t;

static const struct kho_format formats[] = {{"mine", 1, 3, 2, 1, 0}, {"hint", 1, 1, 1, 1, 1}};

/* ---- what is made up ---------------------------------------------------------------- */

#define WRAP(type, name, ...)                                                                      \
	type __real_##name(__VA_ARGS__);                                                           \
	type __wrap_##name(__VA_ARGS__);                                                           \
	type __wrap_##name(__VA_ARGS__)

WRAP(__u64, kho_now_us_, void)
{
	return t.now;
}

WRAP(__u64, kho_now_ms_, void)
{
	return t.now / 1000;
}

WRAP(int, kho_left_ms_, __u64 deadline)
{
	return deadline > t.now / 1000 ? (int)(deadline - t.now / 1000) : 0;
}

WRAP(int, usleep, useconds_t us)
{
	if (!t.inside)
		return __real_usleep(us);
	t.now += us;
	return 0;
}

WRAP(int, sched_yield, void)
{
	t.now += 10;
	return 0;
}

WRAP(pid_t, getpid, void)
{
	/* The other side is another process. */
	return __real_getpid() + t.inside;
}

WRAP(long, syscall, long nr, long a, long b, long c, long d, long e, long f)
{
	if (t.inside && nr == SYS_pidfd_send_signal) {
		FACT(b == SIGKILL);
		return 0;
	}
	return __real_syscall(nr, a, b, c, d, e, f);
}

WRAP(void, _exit, int status)
{
	FACT(t.inside);
	t.retired = true;
	longjmp(t.over, 1);
}

WRAP(void, kho_life_given_up_, void)
{
	t.given_up = true;
	longjmp(t.over, 1);
}

WRAP(int, kho_life_begin_, __u64 generation)
{
	kho_life_.phase = KHO_PHASE_OWNER;
	return 0;
}

WRAP(int, kho_arena_own_, void)
{
	if (!t.inside)
		return __real_kho_arena_own_();
	t.owned = true;
	kho_arena_.writer = true;
	return 0;
}

WRAP(int, kho_arena_map_, int fd, bool writable)
{
	if (!t.inside)
		return __real_kho_arena_map_(fd, writable);
	FACT(!writable && !close(fd));
	return 0;
}

WRAP(int, kho_owner_died_, void)
{
	return t.died;
}

WRAP(int, pthread_create, pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
     void *ctx)
{
	return t.inside ? EAGAIN : __real_pthread_create(thread, attr, fn, ctx);
}

#define NOTHING(type, name, ...)                                                                   \
	type __wrap_##name(__VA_ARGS__);                                                           \
	type __wrap_##name(__VA_ARGS__)

NOTHING(void, kho_life_settle_, void)
{
}

NOTHING(void, kho_life_mapped_, void)
{
}

NOTHING(void, kho_arena_disown_, void)
{
	t.owned = false;
}

NOTHING(int, kho_owner_acquire_, unsigned int timeout_ms)
{
	return 0;
}

NOTHING(void, kho_owner_grant_, unsigned int heir)
{
	FACT(heir == (unsigned int)__real_getpid());
}

NOTHING(int, kho_owner_open_, int fd)
{
	return 0;
}

NOTHING(int, kho_owner_inherit_, void)
{
	return 0;
}

NOTHING(int, kho_keeper_start_, void)
{
	return 0;
}

NOTHING(int, kho_inplace_exec_, struct kho_handover *h)
{
	FACT(h->binary >= 0 && h->args_len && !h->args[h->args_len - 1]);
	return -ENOEXEC;
}

NOTHING(int, kho_proc_wait_exiting_, pid_t pid, __u64 start_time, unsigned int timeout_ms)
{
	return 0;
}

NOTHING(void, kho_proc_give_way_, void)
{
}

NOTHING(int, kho_proc_end_way_, int realtime)
{
	return 0;
}

NOTHING(void, kho_proc_stand_back_, void)
{
}

/* ---- events ---------------------------------------------------------------------------- */

static void say(struct ops_bytes *in)
{
	static u8 bytes[KHO_ABI_MSG_MAX + 16];
	struct kho_abi_msg head = {KHO_ABI_MSG_MAGIC, take_byte(in), take_byte(in)};
	struct kho_abi_msg_hello *hello = (void *)(bytes + sizeof(head));
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(4 * sizeof(int))];
	} control = {0};
	u8 with = take_byte(in);
	unsigned int nr = with % 5;
	struct iovec iov = {bytes, sizeof(head) + head.len};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

	memcpy(bytes, &head, sizeof(head));
	for (unsigned int i = 0; i < head.len; i++)
		bytes[sizeof(head) + i] = take_byte(in);
	if (head.type == KHO_MSG_HELLO && head.len >= sizeof(*hello) && !(with & 128))
		hello->pid = (__u32)__real_getpid();
	if (nr) {
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(nr * sizeof(int));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(nr * sizeof(int));
		for (unsigned int i = 0; i < nr; i++)
			memcpy(CMSG_DATA(&control.align) + i * sizeof(int), &t.file, sizeof(int));
	}
	if (sendmsg(t.peer, &mh, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		t.said[head.type & 255] = true;
}

static void hear(void)
{
	static struct kho_msg msg;

	while (t.peer >= 0 && !kho_msg_recv_(t.peer, &msg, 0)) {
		FACT(msg.type <= KHO_MSG_WELCOME);
		t.heard[msg.type] = true;
		FACT(msg.type != KHO_MSG_GRANT || t.said[KHO_MSG_READY]);
		FACT(msg.type != KHO_MSG_RETIRE || t.said[KHO_MSG_HEALTHY]);
		kho_msg_drop_(&msg);
	}
}

static void hang_up(void)
{
	hear();
	if (t.peer >= 0)
		close(t.peer);
	t.peer = -1;
}

static void change_table(u8 what)
{
	__u64 token = what % NR_TOKENS;

	if (t.options & SUCCESSOR)
		return;
	if (t.tokens >> token & 1)
		FACT(!kho_fd_close(token));
	else
		FACT(!kho_fd_preserve(token, memfd_create("token", MFD_CLOEXEC)));
	t.tokens ^= 1u << token;
}

static void happen(struct ops_bytes *in)
{
	u8 event = take_byte(in);

	switch (event & 7) {
	case 4:
		t.now += 1000ULL << (event >> 4);
		break;
	case 5:
		change_table(event >> 3);
		break;
	case 6:
		t.died |= event & 128;
		hear();
		break;
	case 7:
		if (event & 64)
			hang_up();
		break;
	default:
		say(in);
	}
}

WRAP(int, poll, struct pollfd *p, nfds_t nr, int timeout)
{
	if (!t.inside)
		return __real_poll(p, nr, timeout);
	t.now += 100;
	if (t.peer >= 0 && t.in.left && t.events++ < MAX_EVENTS)
		happen(&t.in);
	else
		hang_up();
	return __real_poll(p, nr, 0);
}

/* ---- one hand-over -------------------------------------------------------------------------- */

static void count_fds(bool *open)
{
	for (int fd = 0; fd < FDS_SEEN; fd++)
		open[fd] = fcntl(fd, F_GETFD) >= 0;
}

/* @exited: a process that is gone leaves none. */
static void compare_fds(const bool *before, bool exited)
{
	bool after[FDS_SEEN];

	count_fds(after);
	for (int fd = 0; fd < FDS_SEEN; fd++) {
		FACT(after[fd] >= before[fd]);
		if (after[fd] && !before[fd])
			FACT(exited && !close(fd));
	}
}

static void see_fd(void *ctx, __u64 token, int fd)
{
	FACT(fd < 0 ? kho_fd_get(token) == -ENOENT : kho_fd_get(token) == fd);
	FACT(fd < 0 || fcntl(fd, F_GETFD) == FD_CLOEXEC);
}

static void be_predecessor(int channel)
{
	static struct kho_msg up;
	struct kho_abi_msg_upgrade *body = (void *)up.body;

	up = (struct kho_msg){.type = KHO_MSG_UPGRADE, .len = sizeof(*body), .nr_fds = 1};
	*body = (struct kho_abi_msg_upgrade){.ready_ms = take_byte(&t.in) * 10u,
					     .taken_ms = take_byte(&t.in),
					     .alive_ms = take_byte(&t.in)};
	body->flags = (t.options & FORCE ? KHO_UPGRADE_FORCE : 0) |
		      (t.options & IN_PLACE ? KHO_UPGRADE_EXEC : 0);
	up.fds[0] = channel;
	if (t.options & (KNOWN | IN_PLACE)) {
		body->successor = (__u32)__real_getpid();
		up.fds[up.nr_fds++] =
			(int)__real_syscall(SYS_pidfd_open, __real_getpid(), 0, 0, 0, 0, 0);
	}
	if (t.options & IN_PLACE) {
		up.fds[up.nr_fds++] = memfd_create("binary", MFD_CLOEXEC);
		memcpy(up.body + sizeof(*body), "new", 4);
		up.len += 4;
	}
	kho_life_.phase = KHO_PHASE_OWNER;
	kho_life_.ready = true;
	kho_arena_.writer = true;
	if (!setjmp(t.over)) {
		t.inside = true;
		kho_predecessor_run_(&up);
		t.inside = false;
		FACT(kho_life_.phase == KHO_PHASE_OWNER && kho_arena_.writer);
		FACT(!up.nr_fds);
	} else {
		t.inside = false;
		FACT(t.retired && t.said[KHO_MSG_HELLO] && t.said[KHO_MSG_READY]);
		FACT(t.said[KHO_MSG_TAKEN] && t.said[KHO_MSG_HEALTHY]);
		FACT(kho_life_.phase == KHO_PHASE_GRANTED && !kho_arena_.writer);
		kho_fdtable_end_();
		kho_quiesce_thaw_(0);
	}
	hear();
}

static void be_successor(int channel)
{
	struct kho_environ env = {.arena = memfd_create("arena", MFD_CLOEXEC),
				  .server = -1,
				  .channel = channel,
				  .exec_fds = -1};
	int r;

	kho_life_.phase = KHO_PHASE_STARTING;
	kho_arena_.writer = false;
	if (!setjmp(t.over)) {
		t.inside = true;
		r = kho_successor_start_(&env);
		if (r == KHO_SUCCESSOR) {
			FACT(kho_life_.phase == KHO_PHASE_SUCCESSOR && !t.owned);
			FACT(t.said[KHO_MSG_FDS_DONE]);
			r = kho_successor_ready_();
		}
		t.inside = false;
		FACT(r <= 0 && (!r) == t.owned);
		FACT(r || (t.said[KHO_MSG_GRANT] && kho_life_.ready));
	} else {
		t.inside = false;
		FACT(t.given_up && !t.owned);
	}
	FACT(kho_format_writes("mine") <= 2);
}

/* One arena for all: nobody writes to it. */
static void set_up(void)
{
	arena_begin(4 << 20);
	kho_life_.config = (struct kho_config)KHO_CONFIG_INIT;
	kho_life_.config.formats = formats;
	kho_life_.config.nr_formats = 2;
	kho_life_.config.fd = see_fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool before[FDS_SEEN];
	int pair[2], one = 1;

	if (!kho_arena_.mapped)
		set_up();
	memset(&t, 0, sizeof(t));
	t.in = (struct ops_bytes){data, size};
	t.options = take_byte(&t.in);
	t.now = 1000000;
	count_fds(before);
	FACT(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	for (int i = 0; i < 2 && !(t.options & NO_CREDENTIALS); i++)
		setsockopt(pair[i], SOL_SOCKET, SO_PASSCRED, &one, sizeof(one));
	t.peer = pair[0];
	t.file = memfd_create("file", MFD_CLOEXEC);
	if (t.options & SUCCESSOR)
		be_successor(pair[1]);
	else
		be_predecessor(pair[1]);
	if (t.peer >= 0)
		close(t.peer);
	if (t.options & SUCCESSOR) /* it is a process's whole life */
		close(pair[1]);
	close(t.file);
	kho_life_.channel = -1;
	kho_life_.ready = kho_life_.healthy = false;
	kho_fdtable_clear_();
	compare_fds(before, t.retired || t.given_up);
	return 0;
}
