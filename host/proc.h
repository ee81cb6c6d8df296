/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Processes as /proc shows them: identity that survives the reuse of a pid, and whether a
 * dying process can still write.
 *
 * A process that was killed still writes for a while: a thread of it inside read(2) finishes
 * the copy. Once every task has PF_EXITING none returns from a system call or touches
 * user memory any more.
 */
#ifndef KHO_HOST_PROC_H
#define KHO_HOST_PROC_H

#include <stdbool.h>
#include <sys/types.h>

#include <kho/types.h>

struct kho_proc_id {
	__u64 pid;
	__u64 start_time;
	__u64 pid_ns;
	__u8 boot_id[16];
	char comm[32];
};

/* Monotonic milliseconds, microseconds. */
__u64 kho_now_ms_(void);
__u64 kho_now_us_(void);
/* Milliseconds until @deadline, 0 when it has passed; for poll(). */
int kho_left_ms_(__u64 deadline);

/* Read a small file, relative to @dir, up to @size - 1 bytes. Return: bytes (NUL-terminated), or -errno. */
int kho_proc_text_(int dir, const char *path, char *buf, size_t size);
/* Who we are; reads /proc. Return: 0 or -errno. */
int kho_proc_self_(struct kho_proc_id *id);
/*
 * Field @nr, from 3 on, of @pid's stat: proc(5) numbers them. What is no number (the state) is not read.
 * Return: 0, -ESRCH (no such process, or none that /proc shows), -EINVAL (no such field), -errno.
 */
int kho_proc_field_(pid_t pid, int nr, __u64 *value);
/* Start time of @pid (field 22). Return: 0, -ESRCH (no such process), -errno. */
int kho_proc_start_time_(pid_t pid, __u64 *start_time);
/* The letter of /proc's stat for a thread: 'T' or 't' when it stands still. '\0': it is gone, or hidden. */
char kho_proc_state_(pid_t pid, pid_t task);
/* Is there a process @pid that /proc does not show to us (hidepid)? A signal that may not be sent finds it. */
bool kho_proc_hidden_(pid_t pid);
/**
 * kho_proc_exiting_() - can the process not write any more?
 * Return: 1 when every task has PF_EXITING, or it is gone, or the pid is another's by now;
 * 0 when not; -errno when /proc cannot be read.
 */
int kho_proc_exiting_(pid_t pid, __u64 start_time);
/* Wait for that, polling asleep. Return: 0, -ETIMEDOUT, -errno. */
int kho_proc_wait_exiting_(pid_t pid, __u64 start_time, unsigned int timeout_ms);
/* Is task @tid there, and is it called @comm? Return: 1, 0. */
int kho_proc_task_named_(pid_t tid, const char *comm);

/*
 * While clients are served by somebody else: let whoever wakes up run at once, instead of at the end of
 * our time slice (up to a clock tick). It costs us nothing but the order: the share stays. By a long slice
 * (sched_setattr(2), from Linux 6.12 on; without effect before), which needs no privilege either
 * way. Given to the calling thread, and to what it starts from then on; taken back from all threads. Only
 * system calls.
 *
 * Taken back, all threads of an ordinary policy get SCHED_RR with @realtime, where that is not 0.
 * Return: 0; -EPERM without CAP_SYS_NICE and beyond RLIMIT_RTPRIO.
 */
void kho_proc_give_way_(void);
int kho_proc_end_way_(int realtime);

/*
 * The opposite, for what takes a fraction of a millisecond while others wait for it: the calling thread, and
 * what it starts, run next when they can. Taken back from thread @tid, 0: the calling one.
 */
void kho_proc_hurry_(void);
void kho_proc_end_hurry_(pid_t tid);

/* Have every thread of ours run only when nothing else wants to: for a process about to end. */
void kho_proc_stand_back_(void);

#endif
