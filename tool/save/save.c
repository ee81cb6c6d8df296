/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * kho save: the arena of a server, as of one instant, to a file.
 *
 * An arena is sound at every instant, but a copy takes many. So the server is stopped (SIGSTOP) while its memory is
 * copied: the file has what the next program would have found if it had been killed there. A process of its own
 * lets it go on when we are done, or die.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kho/abi/arena.h>

#include "find.h"
#include "proc.h"
#include "save_file.h"
#include "tool.h"

#define STOP_MS 5000

static const char help[] =
	"usage: kho save [OPTION]... PID|NAME FILE\n"
	"\n"
	"Writes the arena of a server to FILE, which kho run --load starts from, also after a\n"
	"reboot. The server stands still meanwhile, the longer the more it holds.\n"
	"\n"
	"  --zstd     compress; the server stands still for longer\n"
	"  --force    replace FILE if it is there\n"
	"  --help\n";

enum {
	OPT_ZSTD = 256,
	OPT_FORCE,
	OPT_HELP,
};

static const struct option options[] = {
	{"zstd", no_argument, NULL, OPT_ZSTD},
	{"force", no_argument, NULL, OPT_FORCE},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL, 0, NULL, 0},
};

/**
 * struct stopped - a process that stands still
 * @pid: 0: nobody has to
 * @guard, @pipe: lets it go on once the pipe is closed, by us or by our death
 */
struct stopped {
	pid_t pid;
	int pidfd;
	pid_t guard;
	int pipe;
};

/* All threads of @pid: do they stand still, or are gone? Return: 1, 0, -errno. */
static int all_stopped(pid_t pid)
{
	struct dirent *d;
	char path[64];
	int stopped = 1;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	if (!tasks)
		return -errno;
	while (stopped && (d = readdir(tasks))) {
		if (d->d_name[0] != '.') {
			char state = kho_proc_state_(pid, atoi(d->d_name));

			stopped = !state || strchr("TtZX", state);
		}
	}
	closedir(tasks);
	return stopped;
}

static void guard(int pidfd, int end)
{
	char c;

	setsid(); /* what ends us from the terminal leaves it alone */
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_IGN);
	while (read(end, &c, 1) < 0 && errno == EINTR)
		;
	syscall(SYS_pidfd_send_signal, pidfd, SIGCONT, NULL, 0);
	_exit(0);
}

static int start_guard(struct stopped *s)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	s->guard = fork();
	if (!s->guard) {
		close(ends[1]);
		guard(s->pidfd, ends[0]);
	}
	close(ends[0]);
	s->pipe = ends[1];
	return s->guard < 0 ? -errno : 0;
}

static void let_go(struct stopped *s)
{
	if (s->pipe >= 0)
		close(s->pipe);
	if (s->guard > 0)
		waitpid(s->guard, NULL, 0);
	if (s->pidfd >= 0)
		close(s->pidfd);
	*s = (struct stopped){.pidfd = -1, .pipe = -1};
}

static bool is_dead(const struct stopped *s)
{
	struct pollfd p = {s->pidfd, POLLIN, 0};

	return poll(&p, 1, 0) != 0;
}

/* One inside a system call may still write; stopped are they all, or dead. */
static int wait_stopped(const struct stopped *s)
{
	const __u64 end = kho_now_ms_() + STOP_MS;
	int r;

	while (!(r = all_stopped(s->pid)) && kho_left_ms_(end))
		usleep(500);
	if (r == 1 && !is_dead(s))
		return 0;
	complain(is_dead(s) ? "process %d died: try again"
			    : "process %d cannot be stopped: a thread of it is in the kernel",
		 (int)s->pid);
	return -EBUSY;
}

static int stop(struct stopped *s, pid_t pid)
{
	int r;

	s->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (s->pidfd < 0) {
		complain("process %d: %s", (int)pid, strerror(errno));
		return -errno;
	}
	s->pid = pid;
	/* Whoever stopped it before wants it to stay so. */
	r = all_stopped(pid) == 1 ? 0 : start_guard(s);
	if (r || syscall(SYS_pidfd_send_signal, s->pidfd, SIGSTOP, NULL, 0)) {
		complain("process %d cannot be stopped: %s", (int)pid, strerror(r ? -r : errno));
		return -EPERM;
	}
	return wait_stopped(s);
}

/* ---- who writes ---- */

static int get_owner(int arena, struct kho_abi_owner *owner)
{
	if (pread(arena, owner, sizeof(*owner), KHO_ABI_OWNER_PA) == sizeof(*owner))
		return 0;
	complain("the arena cannot be read: %s", strerror(errno));
	return -EIO;
}

static bool is_held(const struct kho_abi_owner *owner)
{
	return owner->futex & FUTEX_TID_MASK && !(owner->futex & FUTEX_OWNER_DIED);
}

/* Is it @pid, which stands still, or nobody? */
static int check_owner(int arena, pid_t pid, struct kho_abi_owner *owner)
{
	int r = get_owner(arena, owner);

	if (r || !is_held(owner) || (pid && owner->pid == (__u64)pid))
		return r;
	complain("process %llu has the arena (as its pid namespace numbers it): an upgrade is "
		 "under way, or "
		 "another process was meant: try again",
		 (unsigned long long)owner->pid);
	return -EBUSY;
}

/* Was it nobody else until now? */
static int check_after(int arena, const struct stopped *s, const struct kho_abi_owner *before)
{
	struct kho_abi_owner now;
	int r = get_owner(arena, &now);

	if (r)
		return r;
	/* A lock that is waited for gets a bit more; the rest of it is the holder's. */
	now.futex &= ~FUTEX_WAITERS;
	if ((s->pid && is_dead(s)) || now.futex != (before->futex & ~FUTEX_WAITERS) ||
	    now.pid != before->pid || now.start_time != before->start_time) {
		complain("the server died, or was started, meanwhile: nothing is saved; try again");
		return -EBUSY;
	}
	return 0;
}

/* ---- the command ---- */

struct request {
	const char *what, *file;
	bool compress, force;
};

/* @pid: who is to stand still, or 0. */
static int save_to(int out, const struct request *req, int arena, pid_t pid)
{
	struct stopped s = {.pidfd = -1, .pipe = -1};
	struct kho_abi_owner owner;
	int r = pid ? stop(&s, pid) : 0;

	r = r ?: check_owner(arena, pid, &owner);
	r = r ?: save_write(out, req->file, arena, req->compress);
	r = r ?: check_after(arena, &s, &owner);
	let_go(&s);
	return r;
}

/* A name is written with its directory: without that a loss of power may take it back. */
static int sync_directory(const char *file)
{
	const char *slash = strrchr(file, '/');
	char *dir = slash ? strndup(file, slash == file ? 1 : (size_t)(slash - file)) : strdup(".");
	int fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int r = fd < 0 || fsync(fd) ? -errno : 0;

	if (fd >= 0)
		close(fd);
	/* A file system that cannot do it has nothing to do. */
	if (r == -EINVAL)
		r = 0;
	if (r)
		complain("%s: written, but its directory %s cannot be synced: %s: the file may be "
			 "gone after a loss of power",
			 file, dir ?: "", strerror(-r));
	free(dir);
	return r;
}

/* @temp, which is whole, gets the name that is asked for. */
static int give_name(const struct request *req, int out, const char *temp)
{
	int r = 0;

	if (fsync(out) || (req->force ? rename(temp, req->file) : link(temp, req->file))) {
		r = -errno;
		complain("%s: %s%s", req->file, strerror(errno),
			 r == -EEXIST ? ": --force replaces it" : "");
	}
	return r;
}

/* The name of the file is that of a whole one, or of none. */
static int save_beside(const struct request *req, int arena, pid_t pid)
{
	bool named = false;
	char temp[4096];
	int out, r;

	if (snprintf(temp, sizeof(temp), "%s.XXXXXX", req->file) >= (int)sizeof(temp)) {
		complain("the file's name is too long");
		return -ENAMETOOLONG;
	}
	out = mkostemp(temp, O_CLOEXEC);
	if (out < 0) {
		r = -errno;
		complain("%s: no file can be made beside it: %s", req->file, strerror(-r));
		return r;
	}
	r = save_to(out, req, arena, pid);
	if (!r) {
		r = give_name(req, out, temp);
		named = !r;
	}
	close(out);
	if (!named || !req->force)
		unlink(temp);
	return named ? sync_directory(req->file) : r;
}

static int save(const struct request *req)
{
	pid_t pid = find_pid(req->what), holder = pid;
	int arena, r;

	if (pid <= 0)
		holder = find_supervisor(req->what);
	if (holder <= 0) {
		complain("%s is neither a process nor the name of a server under kho run: kho "
			 "status lists them",
			 req->what);
		return -ESRCH;
	}
	arena = find_arena(req->what, holder);
	if (arena < 0)
		return arena;
	r = save_beside(req, arena, pid > 0 ? pid : 0);
	close(arena);
	return r;
}

static int take_option(struct request *req, int opt, bool *show_help)
{
	switch (opt) {
	case OPT_ZSTD:
		req->compress = true;
		return 0;
	case OPT_FORCE:
		req->force = true;
		return 0;
	case OPT_HELP:
		*show_help = true;
		return 0;
	default:
		return -EINVAL;
	}
}

/* What is there is replaced by a file beside it: of a device or a pipe nothing would be left. */
static bool may_be_written(const struct request *req)
{
	struct stat st;

	if (stat(req->file, &st))
		return true;
	if (!S_ISREG(st.st_mode))
		complain("%s: not an ordinary file", req->file);
	else if (!req->force)
		complain("%s is there already: --force replaces it", req->file);
	return S_ISREG(st.st_mode) && req->force;
}

int cmd_save(int argc, char **argv)
{
	struct request req = {0};
	bool show_help = false;
	int opt;

	optind = 1;
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (take_option(&req, opt, &show_help))
			return 2;
	if (show_help) {
		fputs(help, stdout);
		return output_done(0, 2);
	}
	if (argc - optind != 2) {
		complain("save: a PID or NAME, and a FILE, are expected");
		return 2;
	}
	if (req.compress && !squeeze_possible()) {
		complain("--zstd: this kho was built without libzstd");
		return 2;
	}
	req.what = argv[optind];
	req.file = argv[optind + 1];
	if (!may_be_written(&req))
		return 1;
	return save(&req) ? 1 : 0;
}
