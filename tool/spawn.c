/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Starting a server: vfork-style, by the fd of its binary, with exactly the fds it is to have.
 *
 * The supervisor stands still until the exec, so both make haste up to there: on a busy machine a process that
 * is new waits for a round of all others. A successor gives way to those who serve in kho_start().
 *
 * The numbers from FIRST_FD on are the server's: listening sockets, arena, supervisor's
 * socket, channel. Ours stay above HIGH_FD, so that none is in the way.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <kho/abi/handover.h>

#include "proc.h"
#include "tool.h"

#define FIRST_FD 3
#define NR_PASSED 5 /* arena, server, channel, list of held fds, and a script */
#define HIGH_FD 150 /* below the usual limit of 256 to 1024, above what servers get */
#define STACK_SIZE 65536
#define NR_VARS 9
#define VAR_SIZE 192

extern char **environ;

struct rlimit server_limit = {RLIM_INFINITY, RLIM_INFINITY};

struct child {
	const struct launch *launch;
	char **envp;
	int binary;
	bool script;
	const struct kho_abi_exec_fd *held;
	size_t nr_held;
	volatile int error;
};

int high_fd(int fd)
{
	int high;

	if (fd < 0 || fd >= HIGH_FD)
		return fd;
	high = fcntl(fd, F_DUPFD_CLOEXEC, HIGH_FD);
	if (high < 0)
		return fd; /* few are allowed: spawn() sees whether it is in the way */
	close(fd);
	return high;
}

static char **allocate_argv(size_t nr)
{
	return calloc(nr + 1, sizeof(char *));
}

char **split_argv(const char *text, size_t len)
{
	size_t nr = 0, at = 0;
	char **argv;

	for (size_t i = 0; i < len; i++)
		nr += !text[i];
	argv = allocate_argv(nr);
	for (size_t i = 0; argv && i < nr; i++) {
		argv[i] = strdup(text + at);
		if (!argv[i]) {
			free_argv(argv);
			return NULL;
		}
		at += strlen(text + at) + 1;
	}
	return argv;
}

void free_argv(char **argv)
{
	for (char **p = argv; p && *p; p++)
		free(*p);
	free(argv);
}

/* Runs on our memory, until exec: only system calls. */
static void put(struct child *c, int fd, int number)
{
	if (fd >= 0 && !c->error && dup2(fd, number) < 0)
		c->error = errno;
}

static int child_main(void *ctx)
{
	struct child *c = ctx;
	const struct launch *l = c->launch;
	int number = FIRST_FD;
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	sigset_t none;

	sigaction(SIGPIPE, &dfl, NULL); /* the one that the supervisor ignores */
	for (unsigned int i = 0; i < l->nr_listen; i++)
		put(c, l->listen[i], number++);
	put(c, l->arena, number++);
	put(c, l->server, number++);
	put(c, l->channel, number++);
	put(c, l->held, number++);
	for (size_t i = 0; i < c->nr_held; i++)
		if (!c->error && fcntl(c->held[i].fd, F_SETFD, 0))
			c->error = errno;
	if (c->script) {
		put(c, c->binary, number);
		c->binary = number;
	}
	if (server_limit.rlim_cur != RLIM_INFINITY)
		setrlimit(RLIMIT_NOFILE, &server_limit);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (!c->error) {
		syscall(SYS_execveat, c->binary, "", l->program->argv, c->envp, AT_EMPTY_PATH);
		c->error = errno;
	}
	_exit(127);
}

static bool is_var(const char *var, const char *name)
{
	return !strncmp(var, name, strlen(name));
}

static bool is_ours(const char *var)
{
	static const char *const names[] = {
		KHO_ENV_ARENA_FD "=",	KHO_ENV_SERVER_FD "=",	KHO_ENV_CHANNEL_FD "=",
		KHO_ENV_LISTEN_FDS "=", KHO_ENV_SUPERVISOR "=", KHO_ENV_EXEC_FDS "=",
		KHO_ENV_HOLDS "=",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (is_var(var, names[i]))
			return true;
	return false;
}

static char **build_env(const struct launch *l, char (*vars)[VAR_SIZE])
{
	int number = FIRST_FD + (int)l->nr_listen, var = 0;
	size_t nr = 0, at = 0;
	char **envp;

	while (environ && environ[nr])
		nr++;
	envp = allocate_argv(nr + NR_VARS);
	if (!envp)
		return NULL;
	snprintf(vars[var++], VAR_SIZE, KHO_ENV_ARENA_FD "=%d", number++);
	snprintf(vars[var++], VAR_SIZE, KHO_ENV_SERVER_FD "=%d", number++);
	if (l->channel >= 0)
		snprintf(vars[var++], VAR_SIZE, KHO_ENV_CHANNEL_FD "=%d", number);
	number++;
	if (l->held >= 0)
		snprintf(vars[var++], VAR_SIZE, KHO_ENV_EXEC_FDS "=%d", number);
	if (l->nr_listen)
		snprintf(vars[var++], VAR_SIZE, KHO_ENV_LISTEN_FDS "=%d:%u", FIRST_FD,
			 l->nr_listen);
	snprintf(vars[var++], VAR_SIZE, KHO_ENV_SUPERVISOR "=%s", l->supervisor);
	if (l->holds)
		snprintf(vars[var++], VAR_SIZE, KHO_ENV_HOLDS "=%u", l->holds);
	if (l->arena_max)
		snprintf(vars[var++], VAR_SIZE, KHO_ENV_ARENA_MAX "=%llu",
			 (unsigned long long)l->arena_max);
	if (l->realtime)
		snprintf(vars[var++], VAR_SIZE, KHO_ENV_REALTIME "=%d", l->realtime);
	for (size_t i = 0; i < nr; i++)
		if (!is_ours(environ[i]) &&
		    !(l->arena_max && is_var(environ[i], KHO_ENV_ARENA_MAX "=")) &&
		    !(l->realtime && is_var(environ[i], KHO_ENV_REALTIME "=")))
			envp[at++] = environ[i];
	for (int i = 0; i < var; i++)
		envp[at++] = vars[i];
	return envp;
}

/* Would one of ours be overwritten before it was passed on? */
static bool in_the_way(const struct launch *l)
{
	int end = FIRST_FD + (int)l->nr_listen + NR_PASSED;
	bool bad = l->program->binary < end || l->arena < end || l->server < end ||
		   (l->channel >= 0 && l->channel < end) || (l->held >= 0 && l->held < end);

	for (unsigned int i = 0; i < l->nr_listen; i++)
		bad = bad || l->listen[i] < end;
	return bad;
}

/* Held fds stay open under their numbers: none may be one that is passed on. Return: 0, -errno. */
static int map_held(struct child *c, const struct launch *l)
{
	int end = FIRST_FD + (int)l->nr_listen + NR_PASSED;
	off_t size = l->held < 0 ? 0 : lseek(l->held, 0, SEEK_END);
	void *recs;

	if (size <= 0)
		return size < 0 ? -errno : 0;
	recs = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, l->held, 0);
	if (recs == MAP_FAILED)
		return -errno;
	c->held = recs;
	c->nr_held = (size_t)size / sizeof(c->held[0]);
	for (size_t i = 0; i < c->nr_held; i++)
		if (c->held[i].fd < end)
			return -EMFILE;
	return 0;
}

int spawn(const struct launch *l, pid_t *pid, int *pidfd)
{
	struct child c = {.launch = l, .binary = l->program->binary};
	char vars[NR_VARS][VAR_SIZE], magic[2];
	char *stack;
	sigset_t all, old;
	int r;

	if (in_the_way(l))
		return -EMFILE;
	stack = malloc(STACK_SIZE);
	c.envp = build_env(l, vars);
	r = map_held(&c, l);
	c.script = pread(c.binary, magic, 2, 0) == 2 && magic[0] == '#' && magic[1] == '!';
	if (!r && (!stack || !c.envp))
		r = -ENOMEM;
	if (!r) {
		/* No handler of ours may run in the child on our memory. */
		sigfillset(&all);
		sigprocmask(SIG_SETMASK, &all, &old);
		kho_proc_hurry_();
		*pid = clone(child_main, stack + STACK_SIZE,
			     CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &c, pidfd);
		r = *pid < 0 ? -errno : -c.error;
		if (*pid > 0)
			kho_proc_end_hurry_(*pid);
		kho_proc_end_hurry_(0);
		sigprocmask(SIG_SETMASK, &old, NULL);
		if (r && *pid > 0)
			close(*pidfd); /* the dead child is reaped like any other */
		else if (!r)
			*pidfd = high_fd(*pidfd);
	}
	if (c.held)
		munmap((void *)c.held, c.nr_held * sizeof(c.held[0]));
	free(c.envp);
	free(stack);
	return r;
}
