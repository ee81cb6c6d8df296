/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The lock of the one writer: a robust futex word in page 1 of the arena.
 *
 * The kernel clears it when the keeper thread dies, before it tears the address space down,
 * so that a waiter hears of a death in a fraction of a millisecond whatever the process's
 * size. The page is mapped a second time on its own: a word that is not mapped when
 * its holder dies is never cleared.
 *
 * The word is the keeper thread's, but any thread of the process takes it on the keeper's
 * behalf: the robust list is plain memory, and the kernel looks only at whether the dying
 * thread's list reaches the word and the word holds its id. So a successor takes the lock in
 * the thread that received the grant.
 *
 * A word that names a holder which is no more and that nobody cleared (the arena came
 * over a reboot; the page was unmapped) may be taken over if
 *	- the record is of another boot: nothing of that boot lives; or
 *	- it is of this boot and pid namespace, its process is gone, and the word's thread is no
 *	  keeper; then the word and the record must also stay the same for GRACE_MS, since a
 *	  new holder takes the word first and writes the record second.
 * Of another pid namespace nothing can be said: busy. A process that /proc hides is there: busy.
 */
#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "arena.h"
#include "owner.h"
#include "proc.h"

#define GRACE_MS 200
#define POLL_MS 50 /* a robust wake reaches one waiter: nobody sleeps longer than this */
/* Without a view of the dead process, its last threads get so long to finish. */
#define BLIND_MS 1000

enum holder { ALIVE, DYING, STALE };

static struct {
	struct kho_abi_owner *page;
	struct robust_list_head head;
	struct robust_list node;
	struct kho_proc_id self;
	__u32 tid;
} lock;

static __u32 load(const __u32 *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static void futex_wake(__u32 *word, int nr)
{
	syscall(SYS_futex, word, FUTEX_WAKE, nr, NULL, NULL, 0);
}

static void futex_wait(__u32 *word, __u32 value, unsigned int ms)
{
	struct timespec ts = {ms / 1000, (ms % 1000) * 1000000L};

	syscall(SYS_futex, word, FUTEX_WAIT, value, &ts, NULL, 0);
}

struct kho_abi_owner *kho_owner_map_(int fd)
{
	void *page = mmap(NULL, KHO_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
			  fd, KHO_ABI_OWNER_PA);

	if (page == MAP_FAILED)
		return NULL;
	madvise(page, KHO_PAGE_SIZE, MADV_DONTFORK);
	return page;
}

int kho_owner_open_(int fd)
{
	int r = kho_proc_self_(&lock.self);

	if (r)
		return kho_fail_(r, "/proc does not say who we are: mount it");
	lock.page = kho_owner_map_(fd);
	if (!lock.page)
		return kho_fail_(-errno, "the owner's page of the arena cannot be mapped");
	return 0;
}

void kho_owner_close_(void)
{
	if (lock.page)
		munmap(lock.page, KHO_PAGE_SIZE);
	lock.page = NULL;
}

void kho_owner_keep_(void)
{
	lock.head.list.next = &lock.head.list;
	lock.head.list_op_pending = NULL;
	lock.head.futex_offset = (char *)&lock.page->futex - (char *)&lock.node;
	lock.tid = (__u32)syscall(SYS_gettid);
	syscall(SYS_set_robust_list, &lock.head, sizeof(lock.head));
}

/* The kernel reads the list after the last instruction of its thread: program order is enough. */
static void set_pending(struct robust_list *node)
{
	atomic_signal_fence(memory_order_seq_cst);
	*(struct robust_list *volatile *)&lock.head.list_op_pending = node;
	atomic_signal_fence(memory_order_seq_cst);
}

static void link_node(struct robust_list *node)
{
	*(struct robust_list *volatile *)&lock.node.next = &lock.head.list;
	*(struct robust_list *volatile *)&lock.head.list.next = node;
}

static void write_record(void)
{
	struct kho_abi_owner *page = lock.page;

	page->pid = lock.self.pid;
	page->start_time = lock.self.start_time;
	memcpy(page->boot_id, lock.self.boot_id, sizeof(page->boot_id));
	memcpy(page->comm, lock.self.comm, sizeof(page->comm));
	page->pid_ns = lock.self.pid_ns;
	page->heir = 0;
}

static bool try_lock(__u32 old, __u32 flags)
{
	bool ok;

	set_pending(&lock.node);
	ok = __atomic_compare_exchange_n(&lock.page->futex, &old, lock.tid | flags, false,
					 __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	if (ok)
		link_node(&lock.node);
	set_pending(NULL);
	if (ok)
		write_record();
	return ok;
}

static void unlock(unsigned int heir)
{
	__u32 old;

	lock.page->heir = heir;
	set_pending(&lock.node);
	link_node(&lock.head.list);
	old = __atomic_exchange_n(&lock.page->futex, 0, __ATOMIC_SEQ_CST);
	if (old & FUTEX_WAITERS)
		futex_wake(&lock.page->futex, 1);
	set_pending(NULL);
}

void kho_owner_release_(void)
{
	unlock(0);
}

void kho_owner_grant_(unsigned int heir)
{
	unlock(heir);
}

int kho_owner_inherit_(void)
{
	__u32 word = load(&lock.page->futex);

	/* WAITERS: somebody may sleep on the word; a wake too many at the next release is cheap. */
	if (word || !try_lock(0, FUTEX_WAITERS))
		return kho_fail_(-EBUSY, "the arena was granted, but thread %u holds its lock",
				 word & FUTEX_TID_MASK);
	return 0;
}

int kho_owner_died_(void)
{
	return !!(load(&lock.page->futex) & FUTEX_OWNER_DIED);
}

static bool same_boot(const struct kho_abi_owner *owner, const struct kho_proc_id *self)
{
	return !memcmp(owner->boot_id, self->boot_id, sizeof(self->boot_id));
}

/* What the record says about its process. */
static enum holder recorded(const struct kho_abi_owner *owner, const struct kho_proc_id *self)
{
	__u64 start;
	int r;

	if (!same_boot(owner, self))
		return STALE;
	if (owner->pid_ns != self->pid_ns)
		return ALIVE;
	if (owner->pid == self->pid && owner->start_time == self->start_time)
		return ALIVE;
	r = kho_proc_start_time_((pid_t)owner->pid, &start);
	if (r == -ESRCH && kho_proc_hidden_((pid_t)owner->pid))
		return ALIVE;
	if (r == -ESRCH || (!r && start != owner->start_time))
		return STALE;
	r = kho_proc_exiting_((pid_t)owner->pid, owner->start_time);
	return r == 1 ? DYING : ALIVE;
}

/* A word without OWNER_DIED: is its holder there? */
static enum holder holder_of(const struct kho_abi_owner *owner, const struct kho_proc_id *self)
{
	__u32 word = load(&owner->futex);
	enum holder h = recorded(owner, self);
	struct kho_abi_owner before;
	__u64 deadline = kho_now_ms_() + GRACE_MS;

	if (h != STALE)
		return h;
	if (same_boot(owner, self) && kho_proc_task_named_(word & FUTEX_TID_MASK, KHO_KEEPER_COMM))
		return ALIVE;
	before = *owner;
	while (kho_left_ms_(deadline)) {
		usleep(10000);
		if ((load(&owner->futex) ^ word) & FUTEX_TID_MASK || owner->pid != before.pid ||
		    owner->start_time != before.start_time)
			return ALIVE; /* somebody moves: look again */
	}
	return STALE;
}

/* Nobody writes any more who did when the recorded holder died. Return: 0, -ETIMEDOUT. */
static int wait_dead(void)
{
	const struct kho_abi_owner *owner = lock.page;
	int r;

	if (!same_boot(owner, &lock.self))
		return 0;
	if (owner->pid_ns != lock.self.pid_ns || kho_proc_hidden_((pid_t)owner->pid)) {
		usleep(BLIND_MS * 1000);
		return 0;
	}
	if (owner->pid == lock.self.pid)
		return 0; /* our own record: it was never written over */
	r = kho_proc_wait_exiting_((pid_t)owner->pid, owner->start_time, KHO_OWNER_DYING_MS);
	if (r)
		return kho_fail_(r, "process %llu (%.31s) died, but a thread of it is stuck",
				 (unsigned long long)owner->pid, owner->comm);
	return 0;
}

static int busy(void)
{
	const struct kho_abi_owner *owner = lock.page;

	return kho_fail_(-EBUSY,
			 "the arena is owned by process %llu (%.31s)%s: stop it, or replace it "
			 "with kho upgrade",
			 (unsigned long long)owner->pid, owner->comm,
			 owner->pid_ns == lock.self.pid_ns ? "" : " of another pid namespace");
}

/* Free, but on its way from a predecessor that lives to its heir? */
static bool promised(void)
{
	const struct kho_abi_owner *owner = lock.page;

	return owner->heir && owner->heir != lock.self.pid && owner->pid != lock.self.pid &&
	       recorded(owner, &lock.self) == ALIVE;
}

/* One look at a word that could not be taken at once. Return: 1 = try again, 0 = wait, negative. */
static int look(__u32 word, __u64 *deadline, bool *dying)
{
	enum holder h;

	if (word & FUTEX_OWNER_DIED) {
		/* The kernel woke one of us; the others shall not sleep until their time-out. */
		futex_wake(&lock.page->futex, 1);
		return wait_dead() ?: 1;
	}
	h = word ? holder_of(lock.page, &lock.self) : ALIVE;
	if (h == STALE)
		return wait_dead() ?: 1;
	if (h == DYING && !*dying) {
		*dying = true;
		*deadline = kho_now_ms_() + KHO_OWNER_DYING_MS;
	}
	return kho_left_ms_(*deadline) ? 0 : busy();
}

int kho_owner_acquire_(unsigned int timeout_ms)
{
	__u64 deadline = kho_now_ms_() + timeout_ms;
	__u32 waiters = 0;
	bool dying = false;

	for (;;) {
		__u32 word = load(&lock.page->futex);
		int r;

		if (!word && !promised() && try_lock(0, waiters))
			return 0;
		if (!word && !promised())
			continue;
		r = look(word, &deadline, &dying);
		if (r < 0)
			return r;
		if (r && try_lock(word, waiters | (word & FUTEX_WAITERS)))
			return 1;
		if (r)
			continue;
		waiters = FUTEX_WAITERS;
		if (!word)
			usleep(1000);
		else if (word & FUTEX_WAITERS ||
			 __atomic_compare_exchange_n(&lock.page->futex, &word, word | FUTEX_WAITERS,
						     false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			futex_wait(&lock.page->futex, word | FUTEX_WAITERS, POLL_MS);
	}
}

int kho_owner_alive_(const struct kho_abi_owner *owner)
{
	struct kho_proc_id self;
	__u32 word = load(&owner->futex);
	int r;

	if (!word || word & FUTEX_OWNER_DIED)
		return 0;
	r = kho_proc_self_(&self);
	if (r)
		return r;
	return holder_of(owner, &self) == ALIVE;
}

int kho_owner_wait_death_(struct kho_abi_owner *owner, unsigned int timeout_ms)
{
	__u64 deadline = kho_now_ms_() + timeout_ms;

	for (;;) {
		__u32 word = load(&owner->futex);
		int left = kho_left_ms_(deadline);

		if (word & FUTEX_OWNER_DIED) {
			futex_wake(&owner->futex, 1);
			return 1;
		}
		if (!word || !left)
			return 0;
		if (word & FUTEX_WAITERS ||
		    __atomic_compare_exchange_n(&owner->futex, &word, word | FUTEX_WAITERS, false,
						__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			futex_wait(&owner->futex, word | FUTEX_WAITERS,
				   left < POLL_MS ? left : POLL_MS);
	}
}
