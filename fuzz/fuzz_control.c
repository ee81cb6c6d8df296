/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * kho run's loop, as it is, with everything around it made up: clients of its control socket and servers that
 * say anything, processes that are started, die and are reaped, signals, time-outs.
 *
 * Facts: no process is signalled that it has reaped, no fd is left over, what is asked for the
 * status is answered, and when everybody has died and it was told to stop, it stops.
 *
 * An input: options; then events, one for each time the loop waits: see happen(). The calls that would touch
 * real processes are replaced at link time (--wrap).
 */
#include "ops.h"

#include "life.h"
#include "message.h"
#include "supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define NR_CLIENTS 40 /* more than it has places for */
#define NR_PROCS 64
#define FIRST_PID 1000000000 /* none that there could be */
#define MAX_EVENTS 200
#define END_EVENTS (2 * NR_PROCS + 50) /* in which it must have stopped */
#define FDS_SEEN 512

enum life { ALIVE, DEAD, REAPED };

struct proc {
	enum life life;
	int status;
	int sock; /* its end of the socket to the supervisor, or -1 */
	int channel;
};

static struct {
	struct sup sup;
	struct ops_bytes in;
	int clients[NR_CLIENTS];
	struct proc procs[NR_PROCS];
	unsigned int nr_procs;
	unsigned int events, after_end;
	struct sockaddr_un control;
	socklen_t control_len;
	bool inside;
} t;

bool patient;

void complain(const char *format, ...)
{
	char line[1024];
	va_list args;

	va_start(args, format);
	FACT(vsnprintf(line, sizeof(line), format, args) >= 0);
	va_end(args);
}

int open_program(const char *name)
{
	FACT(strlen(name) < KHO_ABI_MSG_MAX);
	return *name == '!' ? -ENOENT : memfd_create("program", MFD_CLOEXEC);
}

/* ---- processes ---- */

int __wrap_spawn(const struct launch *launch, pid_t *pid, int *pidfd);
int __wrap_spawn(const struct launch *launch, pid_t *pid, int *pidfd)
{
	struct proc *proc = &t.procs[t.nr_procs];

	FACT(launch->program->argv && launch->program->argv[0]);
	FACT(launch->server >= 0 && launch->arena >= 0 && launch->nr_listen <= MAX_LISTEN);
	if (t.nr_procs == NR_PROCS || *launch->program->argv[0] == '?')
		return -ENOEXEC;
	/* Empty until its first server has formatted it. */
	FACT(!ftruncate(launch->arena, KHO_ABI_FIXED_END));
	proc->sock = fcntl(launch->server, F_DUPFD_CLOEXEC, 0);
	proc->channel = launch->channel < 0 ? -1 : fcntl(launch->channel, F_DUPFD_CLOEXEC, 0);
	*pid = FIRST_PID + (pid_t)t.nr_procs++;
	*pidfd = memfd_create("pidfd", MFD_CLOEXEC);
	return 0;
}

static void die(struct proc *proc, int status)
{
	if (proc->life != ALIVE)
		return;
	proc->life = DEAD;
	proc->status = status;
	if (proc->sock >= 0)
		close(proc->sock);
	if (proc->channel >= 0)
		close(proc->channel);
	proc->sock = proc->channel = -1;
	raise(SIGCHLD); /* blocked: it comes by the signalfd */
}

int __real_kill(pid_t pid, int sig);
int __wrap_kill(pid_t pid, int sig);
int __wrap_kill(pid_t pid, int sig)
{
	struct proc *proc;

	if (!t.inside)
		return __real_kill(pid, sig);
	if (pid == getpid())
		return 0; /* a server that it adopted */
	FACT(pid >= FIRST_PID && pid < FIRST_PID + (pid_t)t.nr_procs);
	proc = &t.procs[pid - FIRST_PID];
	FACT(proc->life != REAPED);
	if (sig == SIGKILL)
		die(proc, SIGKILL);
	return 0;
}

pid_t __real_waitpid(pid_t pid, int *status, int options);
pid_t __wrap_waitpid(pid_t pid, int *status, int options);
pid_t __wrap_waitpid(pid_t pid, int *status, int options)
{
	if (!t.inside)
		return __real_waitpid(pid, status, options);
	for (unsigned int i = 0; i < t.nr_procs; i++)
		if (t.procs[i].life == DEAD) {
			t.procs[i].life = REAPED;
			*status = t.procs[i].status;
			return FIRST_PID + (pid_t)i;
		}
	return 0;
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *ctx);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *ctx);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *ctx)
{
	/* The watcher: the owner's word is looked at when the input says so. */
	return t.inside ? 0 : __real_pthread_create(thread, attr, fn, ctx);
}

/* ---- events ---- */

static void say(int sock, struct ops_bytes *in)
{
	static u8 bytes[KHO_ABI_MSG_MAX + 16];
	struct kho_abi_msg head = {KHO_ABI_MSG_MAGIC, take_byte(in), take_byte(in)};
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(3 * sizeof(int))];
	} control = {0};
	u8 with = take_byte(in);
	unsigned int nr = with % 4;
	struct iovec iov = {bytes, sizeof(head) + head.len};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	int fd = -1;

	memcpy(bytes, &head, sizeof(head));
	for (unsigned int i = 0; i < head.len; i++)
		bytes[sizeof(head) + i] = take_byte(in);
	if (nr) {
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(nr * sizeof(int));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(nr * sizeof(int));
		fd = memfd_create("sent", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		if (with & 4)
			FACT(!ftruncate(fd, KHO_ABI_FIXED_END) &&
			     !fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
		for (unsigned int i = 0; i < nr; i++)
			memcpy(CMSG_DATA(&control.align) + i * sizeof(int), &fd, sizeof(int));
	}
	if (sock >= 0)
		sendmsg(sock, &mh,
			MSG_DONTWAIT | MSG_NOSIGNAL); /* it may have hung up, or be full */
	if (fd >= 0)
		close(fd);
}

static void client(struct ops_bytes *in, u8 what)
{
	int *fd = &t.clients[what % NR_CLIENTS];

	if (*fd < 0) {
		*fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		/* The queue of who waits to be let in may be full. */
		if (connect(*fd, (struct sockaddr *)&t.control, t.control_len)) {
			close(*fd);
			*fd = -1;
		}
	} else if (what >= 224) {
		close(*fd);
		*fd = -1;
	} else {
		say(*fd, in);
	}
}

/* Answers are taken, now and then. */
static void listen_to(void)
{
	static struct kho_msg msg;

	for (unsigned int i = 0; i < NR_CLIENTS; i++)
		while (t.clients[i] >= 0 && !kho_msg_recv_(t.clients[i], &msg, 0)) {
			FACT(msg.type == KHO_MSG_CTL_REPLY || msg.type == KHO_MSG_CTL_PROGRESS);
			kho_msg_drop_(&msg);
		}
	for (unsigned int i = 0; i < t.nr_procs; i++)
		while (t.procs[i].sock >= 0 && !kho_msg_recv_(t.procs[i].sock, &msg, 0)) {
			FACT(msg.type == KHO_MSG_UPGRADE || msg.type == KHO_MSG_STOP);
			FACT(msg.type == KHO_MSG_STOP || msg.nr_fds >= 2);
			kho_msg_drop_(&msg);
		}
}

/* The watcher's part. */
static void owner_dies(void)
{
	struct kho_abi_owner *owner = t.sup.owner;
	__u64 one = 1;

	if (owner && t.sup.cur.pid >= FIRST_PID) {
		owner->pid = (__u64)t.sup.cur.pid;
		owner->futex = 0x40000000;
		t.sup.early = (__u64)t.sup.cur.pid << 32 | SIGSEGV;
		die(&t.procs[t.sup.cur.pid - FIRST_PID], SIGSEGV);
	}
	FACT(write(t.sup.deathwatch, &one, sizeof(one)) == sizeof(one));
}

static void time_passes(void)
{
	if (t.sup.deadline)
		t.sup.deadline = 1;
	for (unsigned int i = 0; i < MAX_DYING; i++)
		if (t.sup.dying[i].kill_at)
			t.sup.dying[i].kill_at = 1;
}

/* The process that the loop takes for the owner, or the next one, or any. */
static struct proc *choose(u8 what)
{
	pid_t pid = what & 64 ? t.sup.cur.pid : what & 128 ? t.sup.next.pid : 0;

	if (pid >= FIRST_PID)
		return &t.procs[pid - FIRST_PID];
	return &t.procs[what % NR_PROCS];
}

static void happen(struct ops_bytes *in)
{
	u8 event = take_byte(in), what = take_byte(in);
	struct proc *proc = choose(what);

	switch (event % 11) {
	case 0:
	case 1:
	case 2:
		client(in, what);
		break;
	case 3:
	case 4:
	case 5:
		say(proc->sock, in);
		break;
	case 6:
		die(proc, event & 128 ? SIGABRT : event >> 4 << 8);
		break;
	case 7:
		if (event & 128 && proc->sock >= 0) {
			close(proc->sock);
			proc->sock = -1;
		} else {
			time_passes();
		}
		break;
	case 8:
		owner_dies();
		break;
	case 9:
		listen_to();
		break;
	default:
		raise(event & 128 ? SIGHUP : event & 64 ? SIGTERM : SIGUSR1);
	}
}

static void check(void)
{
	const struct sup *s = &t.sup;

	FACT(s->state <= SUP_ADOPTING && s->program.argv && s->program.argv[0]);
	FACT(s->nr_listen <= MAX_LISTEN && s->nr_deaths <= MAX_DEATHS);
	FACT(s->cur.pid || s->cur.sock < 0);
	FACT(s->next.pid || s->next.sock < 0);
	FACT(s->state != SUP_RUNNING || s->cur.pid);
	FACT(s->state != SUP_UPGRADING || s->cur.pid || s->next.pid);
	for (unsigned int i = 0; i < MAX_CONNS; i++)
		FACT(s->conns[i].fd >= 0 || (!s->conns[i].upgrades && !s->conns[i].stops));
}

int __real_poll(struct pollfd *p, nfds_t nr, int timeout);
int __wrap_poll(struct pollfd *p, nfds_t nr, int timeout);
int __wrap_poll(struct pollfd *p, nfds_t nr, int timeout)
{
	int r;

	if (!t.inside || nr < MAX_CONNS)
		return __real_poll(p, nr, timeout);
	check();
	if (t.in.left && t.events++ < MAX_EVENTS) {
		happen(&t.in);
	} else {
		FACT(t.after_end++ < END_EVENTS);
		listen_to();
		raise(SIGTERM);
		for (unsigned int i = 0; i < t.nr_procs; i++)
			die(&t.procs[i], SIGTERM);
		time_passes();
	}
	r = __real_poll(p, nr, 0);
	if (t.after_end && t.sup.cur.pid == getpid()) { /* adopted: it goes, too */
		p[5].revents = POLLIN;
		return r + 1;
	}
	return r;
}

/* ---- one life ---- */

static void open_control_socket(void)
{
	struct sockaddr_un any = {.sun_family = AF_UNIX};

	t.sup.control = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* A name that the kernel chooses. */
	FACT(!bind(t.sup.control, (struct sockaddr *)&any, sizeof(sa_family_t)));
	t.control_len = sizeof(t.control);
	FACT(!getsockname(t.sup.control, (struct sockaddr *)&t.control, &t.control_len));
	FACT(!listen(t.sup.control, 8));
}

static void begin(struct ops_bytes *in)
{
	static const char text[] = "server\0--option\0value";
	u8 options = take_byte(in);

	memset(&t, 0, sizeof(t));
	t.in = *in;
	t.sup = (struct sup){.name = "fuzz",
			     .max_deaths = options >> 4,
			     .death_seconds = 10,
			     .adopt_ms = 10000,
			     .stop_ms = 10000,
			     .ready_ms = options & 2 ? 1000 : 0,
			     .fresh = options & 4,
			     .state = options & 1 ? SUP_ADOPTING : SUP_STARTING,
			     .program = {.binary = memfd_create("program", MFD_CLOEXEC),
					 .argv = split_argv(text, sizeof(text))},
			     .candidate = {.binary = -1},
			     .cur = {.pidfd = -1, .sock = -1},
			     .next = {.pidfd = -1, .sock = -1},
			     .path = "/run/fuzz.sock",
			     .lock = -1,
			     .signals = -1,
			     .deathwatch = -1,
			     .arena = -1,
			     .discarded = -1,
			     .session = -1,
			     .standby = {.pidfd = -1, .sock = -1},
			     .standby_channel = -1};
	for (unsigned int i = 0; i < MAX_CONNS; i++)
		t.sup.conns[i].fd = -1;
	for (unsigned int i = 0; i < NR_CLIENTS; i++)
		t.clients[i] = -1;
	for (unsigned int i = 0; i < NR_PROCS; i++)
		t.procs[i].sock = t.procs[i].channel = -1;
	open_control_socket();
}

static void shut(int fd)
{
	if (fd >= 0)
		FACT(!close(fd));
}

/* What the process's end would do for the supervisor. */
static void end(void)
{
	struct signalfd_siginfo info;
	struct sup *s = &t.sup;

	while (s->signals >= 0 && read(s->signals, &info, sizeof(info)) > 0)
		;
	for (unsigned int i = 0; i < MAX_CONNS; i++)
		shut(s->conns[i].fd);
	for (unsigned int i = 0; i < s->nr_listen; i++)
		shut(s->listen[i]);
	forget_server(&s->cur);
	forget_server(&s->next);
	shut(s->arena);
	shut(s->discarded);
	shut(s->control);
	shut(s->signals);
	shut(s->deathwatch);
	holds_clear(s);
	shut(s->hangups);
	shut(s->program.binary);
	shut(s->candidate.binary);
	free_argv(s->program.argv);
	free_argv(s->candidate.argv);
	if (s->owner)
		munmap(s->owner, KHO_PAGE_SIZE);
	for (unsigned int i = 0; i < NR_CLIENTS; i++)
		shut(t.clients[i]);
	for (unsigned int i = 0; i < t.nr_procs; i++) {
		shut(t.procs[i].sock);
		shut(t.procs[i].channel);
	}
}

static unsigned int count_fds(void)
{
	unsigned int nr = 0;

	for (int fd = 0; fd < FDS_SEEN; fd++)
		nr += fcntl(fd, F_GETFD) >= 0;
	return nr;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ops_bytes in = {data, size};
	unsigned int fds = count_fds();

	begin(&in);
	t.inside = true;
	supervise(&t.sup);
	t.inside = false;
	end();
	FACT(count_fds() == fds);
	return 0;
}
