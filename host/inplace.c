/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Exec in place: the process becomes the new program and keeps its pid. The very binary has been
 * rehearsed by a successor that got as far as READY. Slower than a spawn, since the old
 * address space is torn down first, and without a way back once exec succeeded.
 *
 * The lock is released before exec, not left to the kernel: exec gives the calling thread
 * the process's id before it walks the robust list, so that the word would not match.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fdtable.h"
#include "life.h"
#include "owner.h"

extern char **environ;

#define NR_VARS 4
#define VAR_MAX 160

struct image {
	char **argv;
	char **envp;
	char vars[NR_VARS][VAR_MAX];
	int records; /* memfd */
};

static char **split_args(char *text, size_t len)
{
	size_t nr = 0, i = 0;
	char **argv;

	for (size_t at = 0; at < len; at++)
		nr += !text[at];
	argv = calloc(nr + 1, sizeof(*argv));
	for (char *p = text; argv && i < nr; p += strlen(p) + 1)
		argv[i++] = p;
	return argv;
}

static bool is_ours(const char *var)
{
	static const char *const names[] = {KHO_ENV_ARENA_FD "=",   KHO_ENV_SERVER_FD "=",
					    KHO_ENV_SUPERVISOR "=", KHO_ENV_EXEC_FDS "=",
					    KHO_ENV_CHANNEL_FD "=", KHO_ENV_LISTEN_FDS "="};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strncmp(var, names[i], strlen(names[i])))
			return true;
	return false;
}

static int build_env(struct image *im)
{
	const struct kho_life *life = &kho_life_;
	size_t nr = 0, at = 0;
	int var = 0;

	while (environ && environ[nr])
		nr++;
	im->envp = calloc(nr + NR_VARS + 1, sizeof(*im->envp));
	if (!im->envp)
		return -ENOMEM;
	snprintf(im->vars[var++], VAR_MAX, KHO_ENV_ARENA_FD "=%d", kho_arena_.fd);
	snprintf(im->vars[var++], VAR_MAX, KHO_ENV_EXEC_FDS "=%d", im->records);
	if (life->server >= 0)
		snprintf(im->vars[var++], VAR_MAX, KHO_ENV_SERVER_FD "=%d", life->server);
	if (life->supervisor[0])
		snprintf(im->vars[var++], VAR_MAX, KHO_ENV_SUPERVISOR "=%.107s", life->supervisor);
	for (size_t i = 0; i < nr; i++)
		if (!is_ours(environ[i]))
			im->envp[at++] = environ[i];
	for (int i = 0; i < var; i++)
		im->envp[at++] = im->vars[i];
	return 0;
}

static int build(struct kho_handover *h, struct image *im)
{
	memset(im, 0, sizeof(*im));
	im->records = memfd_create("kho-fds", MFD_CLOEXEC);
	im->argv = split_args(h->args, h->args_len);
	if (im->records < 0 || !im->argv || build_env(im))
		return kho_fail_(-ENOMEM, "no memory to prepare the exec");
	return 0;
}

static void discard(struct image *im)
{
	free(im->argv);
	free(im->envp);
	if (im->records >= 0)
		close(im->records);
}

static int keep(int fd, bool on)
{
	return fcntl(fd, F_SETFD, on ? 0 : FD_CLOEXEC) < 0 ? -errno : 0;
}

static int keep_entry(void *ctx, __u64 token, int fd)
{
	struct kho_abi_exec_fd rec = {token, fd, 0};
	int r = keep(fd, true);

	if (r)
		return kho_fail_(r, "preserved fd %d was closed", fd);
	if (write(*(int *)ctx, &rec, sizeof(rec)) != sizeof(rec))
		return kho_fail_(-ENOSPC, "the fds cannot be written down");
	return 0;
}

static int release_entry(void *ctx, __u64 token, int fd)
{
	keep(fd, false);
	return 0;
}

/* A script's interpreter opens the script by its fd's number. */
static void keep_script(int binary)
{
	char magic[2];

	if (pread(binary, magic, 2, 0) == 2 && magic[0] == '#' && magic[1] == '!')
		keep(binary, true);
}

static void keep_own(struct image *im, bool on)
{
	keep(kho_arena_.fd, on);
	keep(im->records, on);
	if (kho_life_.server >= 0)
		keep(kho_life_.server, on);
}

static int exec_frozen(struct kho_handover *h, struct image *im)
{
	sigset_t mask;
	int r = kho_fdtable_each_(keep_entry, &im->records);

	if (r)
		return r;
	keep_own(im, true);
	keep_script(h->binary);
	h->step = KHO_STEP_GRANT;
	kho_step_("predecessor-exec");
	kho_arena_set_state_(KHO_ABI_STATE_EXEC);
	kho_owner_release_();
	pthread_sigmask(SIG_SETMASK, &kho_life_.mask, &mask);
	syscall(SYS_execveat, h->binary, "", im->argv, im->envp, AT_EMPTY_PATH);
	r = -errno;
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	return kho_fail_(r, "exec of the new program failed: %s", strerror(-r));
}

static void undo(struct kho_handover *h, struct image *im, __u64 generation)
{
	kho_fdtable_each_(release_entry, NULL);
	keep_own(im, false);
	keep(h->binary, false);
	if (h->step != KHO_STEP_GRANT)
		return;
	h->step = KHO_STEP_FREEZE; /* nothing was handed over */
	if (kho_owner_acquire_(0) < 0 || kho_arena_generation_() != generation)
		_exit(EXIT_FAILURE); /* somebody took it in between: it is not ours any more */
	kho_arena_set_state_(KHO_ABI_STATE_RUNNING);
}

int kho_inplace_exec_(struct kho_handover *h)
{
	__u64 generation = kho_arena_generation_();
	struct image im;
	int r = build(h, &im);

	if (!r) {
		kho_predecessor_dismiss_(h, "the rehearsal is over");
		r = kho_predecessor_freeze_(h);
	}
	if (!r) {
		r = exec_frozen(h, &im);
		undo(h, &im, generation);
	}
	discard(&im);
	return r;
}
