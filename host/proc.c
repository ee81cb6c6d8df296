/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Processes as /proc shows them; see proc.h. No allocation: the way back from a failed
 * hand-over leads through here.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <kho/types.h>

#include "proc.h"

#define PF_EXITING_BIT 0x4
#define FIELD_FLAGS 9
#define FIELD_START_TIME 22
#define LONG_SLICE_NS 100000000 /* the longest there is */
#define SHORT_SLICE_NS 100000 /* the shortest */
#define SOON_NS 100000 /* between looks at a process that is dying: its clients wait */
#define SOON_LOOKS 30
#define LATER_NS 2000000

__u64 kho_now_us_(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (__u64)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

__u64 kho_now_ms_(void)
{
	return kho_now_us_() / 1000;
}

int kho_left_ms_(__u64 deadline)
{
	__u64 now = kho_now_ms_();

	if (now >= deadline)
		return 0;
	return deadline - now > 1000000 ? 1000000 : (int)(deadline - now);
}

int kho_proc_text_(int dir, const char *path, char *buf, size_t size)
{
	int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, size - 1);
	if (n < 0)
		n = -errno;
	close(fd);
	if (n < 0)
		return (int)n;
	buf[n] = '\0';
	return (int)n;
}

/* Field @nr (from 3) of a stat line. comm may hold blanks and brackets: count from the last one. */
static int stat_field(const char *stat, int nr, __u64 *value)
{
	const char *p = strrchr(stat, ')');
	char *end;
	int at = 2;

	if (!p)
		return -EINVAL;
	for (p++; *p == ' '; p = strchr(p, ' ')) {
		while (*p == ' ')
			p++;
		if (++at == nr) {
			*value = strtoull(p, &end, 10);
			return end == p ? -EINVAL : 0;
		}
		if (!strchr(p, ' '))
			break;
	}
	return -EINVAL;
}

static int read_field(int dir, const char *path, int nr, __u64 *value)
{
	char buf[1024];
	int r = kho_proc_text_(dir, path, buf, sizeof(buf));

	if (r < 0)
		return r == -ENOENT ? -ESRCH : r;
	return stat_field(buf, nr, value);
}

int kho_proc_field_(pid_t pid, int nr, __u64 *value)
{
	char path[48];

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	return read_field(AT_FDCWD, path, nr, value);
}

int kho_proc_start_time_(pid_t pid, __u64 *start_time)
{
	return kho_proc_field_(pid, FIELD_START_TIME, start_time);
}

bool kho_proc_hidden_(pid_t pid)
{
	__u64 start;

	return pid > 0 && kho_proc_start_time_(pid, &start) == -ESRCH &&
	       (!kill(pid, 0) || errno == EPERM);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

static int read_boot_id(__u8 *id)
{
	char buf[64];
	int r = kho_proc_text_(AT_FDCWD, "/proc/sys/kernel/random/boot_id", buf, sizeof(buf));
	int n = 0;

	if (r < 0)
		return r;
	for (char *p = buf; *p && n < 32; p++) {
		int digit = hex_digit(*p);

		if (digit < 0)
			continue;
		id[n / 2] = n % 2 ? id[n / 2] | digit : digit << 4;
		n++;
	}
	return n == 32 ? 0 : -EINVAL;
}

int kho_proc_self_(struct kho_proc_id *id)
{
	struct stat st = {0};
	int r;

	memset(id, 0, sizeof(*id));
	id->pid = getpid();
	r = read_field(AT_FDCWD, "/proc/self/stat", FIELD_START_TIME, &id->start_time);
	if (r)
		return r;
	r = read_boot_id(id->boot_id);
	if (r)
		return r;
	/* A kernel that is built without pid namespaces has one. */
	if (stat("/proc/self/ns/pid", &st) && errno != ENOENT)
		return -errno;
	id->pid_ns = st.st_ino;
	/* argv[0]'s name: a program executed through an fd has a number for its comm. */
	snprintf(id->comm, sizeof(id->comm), "%s", program_invocation_short_name);
	return 0;
}

char kho_proc_state_(pid_t pid, pid_t task)
{
	char path[64], text[512];
	const char *state;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)pid, (int)task);
	if (kho_proc_text_(AT_FDCWD, path, text, sizeof(text)) <= 0)
		return '\0';
	/* "PID (NAME) STATE ...", and a name may have brackets. */
	state = strrchr(text, ')');
	return state && state[1] ? state[2] : '\0';
}

/* Layout of getdents64(2), which libc's readdir() would need an allocation for. */
struct dirent_raw {
	__u64 ino;
	__s64 off;
	unsigned short reclen;
	unsigned char type;
	char name[];
};

static int task_exiting(int dir, const char *tid)
{
	char path[64];
	__u64 flags;
	int r;

	snprintf(path, sizeof(path), "%.20s/stat", tid);
	r = read_field(dir, path, FIELD_FLAGS, &flags);
	if (r == -ESRCH)
		return 1;
	if (r)
		return r;
	return flags & PF_EXITING_BIT ? 1 : 0;
}

static int tasks_exiting(int dir)
{
	char buf[4096] __attribute__((aligned(8)));
	long n;

	while ((n = syscall(SYS_getdents64, dir, buf, sizeof(buf))) > 0) {
		for (long at = 0; at < n;) {
			struct dirent_raw *d = (struct dirent_raw *)(buf + at);
			int r;

			at += d->reclen;
			if (d->name[0] == '.')
				continue;
			r = task_exiting(dir, d->name);
			if (r != 1)
				return r;
		}
	}
	if (n < 0)
		return errno == ENOENT || errno == ESRCH ? 1 : -errno;
	return 1;
}

int kho_proc_exiting_(pid_t pid, __u64 start_time)
{
	__u64 start;
	char path[48];
	int dir, r;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return errno == ENOENT || errno == ESRCH ? 1 : -errno;
	/* The directory is open: whoever it is now, it stays the same one. */
	r = kho_proc_start_time_(pid, &start);
	if (r == -ESRCH || (!r && start != start_time))
		r = 1;
	else if (!r)
		r = tasks_exiting(dir);
	close(dir);
	return r;
}

int kho_proc_wait_exiting_(pid_t pid, __u64 start_time, unsigned int timeout_ms)
{
	__u64 deadline = kho_now_ms_() + timeout_ms;
	struct timespec ts = {0, SOON_NS};

	for (unsigned int looks = 0;; looks++) {
		int r = kho_proc_exiting_(pid, start_time);

		if (r)
			return r < 0 ? r : 0;
		if (kho_now_ms_() >= deadline)
			return -ETIMEDOUT;
		nanosleep(&ts, NULL);
		if (looks >= SOON_LOOKS && ts.tv_nsec < LATER_NS)
			ts.tv_nsec *= 2;
	}
}

int kho_proc_task_named_(pid_t tid, const char *comm)
{
	char path[48], buf[64];

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)tid);
	if (kho_proc_text_(AT_FDCWD, path, buf, sizeof(buf)) < 0)
		return 0;
	buf[strcspn(buf, "\n")] = '\0';
	return !strcmp(buf, comm);
}

/* Not in every C library's headers yet. */
struct sched_attributes {
	__u32 size;
	__u32 policy;
	__u64 flags;
	__s32 nice;
	__u32 priority;
	__u64 runtime; /* ns; of an ordinary thread its slice, 0: the default */
	__u64 deadline;
	__u64 period;
};

static bool is_ordinary(pid_t tid, struct sched_attributes *attr)
{
	*attr = (struct sched_attributes){.size = sizeof(*attr)};
	return !syscall(SYS_sched_getattr, tid, attr, sizeof(*attr), 0) &&
	       (attr->policy == SCHED_OTHER || attr->policy == SCHED_BATCH);
}

static void set_slice(pid_t tid, __u64 ns)
{
	struct sched_attributes attr;

	if (!is_ordinary(tid, &attr))
		return;
	attr.runtime = ns;
	syscall(SYS_sched_setattr, tid, &attr, 0);
}

/* Return: 0, or the first error of @fn. */
static int each_thread(int (*fn)(pid_t tid, int arg), int arg)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *d;
	int r = 0;

	if (!dir)
		return -errno;
	while (!r && (d = readdir(dir)))
		if (d->d_name[0] != '.')
			r = fn((pid_t)strtol(d->d_name, NULL, 10), arg);
	closedir(dir);
	return r;
}

void kho_proc_hurry_(void)
{
	set_slice(0, SHORT_SLICE_NS);
}

void kho_proc_end_hurry_(pid_t tid)
{
	set_slice(tid, 0);
}

void kho_proc_give_way_(void)
{
	set_slice(0, LONG_SLICE_NS);
}

static int default_slice(pid_t tid, int unused)
{
	set_slice(tid, 0);
	return 0;
}

static int make_urgent(pid_t tid, int priority)
{
	const struct sched_param param = {.sched_priority = priority};
	struct sched_attributes attr;

	if (is_ordinary(tid, &attr) && sched_setscheduler(tid, SCHED_RR, &param) && errno != ESRCH)
		return -errno;
	return 0;
}

int kho_proc_end_way_(int realtime)
{
	return each_thread(realtime ? make_urgent : default_slice, realtime);
}

static int make_idle(pid_t tid, int unused)
{
	const struct sched_param param = {0};

	sched_setscheduler(tid, SCHED_IDLE, &param);
	return 0;
}

void kho_proc_stand_back_(void)
{
	each_thread(make_idle, 0);
}
