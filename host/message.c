/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Messages of "handover-v1": see message.h. One table says what each type may carry; what
 * it does not allow is refused here, once, for every reader.
 */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "arena.h"
#include "message.h"
#include "proc.h"

#define FDS_KERNEL_MAX                                                                             \
	253 /* what one message can carry at most: room to see, and close, too many */
#define SEND_MS 2000

typedef int (*check_fn)(const struct kho_msg *msg);

struct rule {
	size_t min, max;
	unsigned int max_fds;
	check_fn check;
};

static bool terminated(const char *text, size_t size)
{
	return memchr(text, 0, size);
}

static int check_hello(const struct kho_msg *msg)
{
	const struct kho_abi_msg_hello *hello = (const void *)msg->body;
	const struct kho_abi_format *f = (const void *)(hello + 1);

	if (hello->nr_formats > KHO_ABI_FORMATS_MAX)
		return kho_fail_(-KHO_E_RANGE, "HELLO: nr_formats is %u, at most %d are allowed",
				 hello->nr_formats, KHO_ABI_FORMATS_MAX);
	if (msg->len != sizeof(*hello) + hello->nr_formats * sizeof(*f))
		return kho_fail_(-KHO_E_TRUNCATED, "HELLO: %zu bytes do not hold %u formats",
				 msg->len, hello->nr_formats);
	if (!terminated(hello->name, sizeof(hello->name)) ||
	    !terminated(hello->release, sizeof(hello->release)))
		return kho_fail_(-KHO_E_FORMAT, "HELLO: name or release does not end");
	for (unsigned int i = 0; i < hello->nr_formats; i++) {
		if (!terminated(f[i].name, sizeof(f[i].name)) || !f[i].name[0])
			return kho_fail_(-KHO_E_FORMAT,
					 "HELLO: format %u has no name, or one "
					 "that does not end",
					 i);
		if (f[i].reads_min > f[i].reads_max || f[i].writes_min > f[i].writes)
			return kho_fail_(-KHO_E_RANGE,
					 "HELLO: format %s reads %u to %u, writes %u to %u",
					 f[i].name, f[i].reads_min, f[i].reads_max, f[i].writes_min,
					 f[i].writes);
		if (f[i].flags & ~KHO_ABI_FORMAT_FLAGS)
			return kho_fail_(-KHO_E_VERSION, "HELLO: format %s: unknown flags %#x",
					 f[i].name, f[i].flags);
	}
	return 0;
}

static int check_fds(const struct kho_msg *msg)
{
	const struct kho_abi_msg_fds *fds = (const void *)msg->body;
	bool gone = msg->type == KHO_MSG_FD_GONE || msg->type == KHO_MSG_DROP;
	const char *what = msg->type == KHO_MSG_DROP   ? "DROP"
			   : msg->type == KHO_MSG_HOLD ? "HOLD"
			   : gone		       ? "FD_GONE"
						       : "FD";

	if (!fds->nr || fds->nr > KHO_ABI_MSG_FDS_MAX)
		return kho_fail_(-KHO_E_RANGE, "%s: nr is %u, 1 to %d are allowed", what, fds->nr,
				 KHO_ABI_MSG_FDS_MAX);
	if (fds->pad || msg->len != sizeof(*fds) + fds->nr * sizeof(__u64))
		return kho_fail_(-KHO_E_TRUNCATED, "%s: %zu bytes do not hold %u tokens", what,
				 msg->len, fds->nr);
	if (msg->nr_fds != (gone ? 0 : fds->nr))
		return kho_fail_(-KHO_E_FORMAT, "%s: %u tokens with %u fds", what, fds->nr,
				 msg->nr_fds);
	return 0;
}

static int check_register(const struct kho_msg *msg)
{
	const struct kho_abi_msg_register *reg = (const void *)msg->body;

	if (!terminated(reg->name, sizeof(reg->name)) ||
	    !terminated(reg->release, sizeof(reg->release)))
		return kho_fail_(-KHO_E_FORMAT, "REGISTER: name or release does not end");
	return 0;
}

static int check_sync(const struct kho_msg *msg)
{
	const struct kho_abi_msg_sync *sync = (const void *)msg->body;

	if (sync->end > 1 || sync->pad)
		return kho_fail_(-KHO_E_RANGE, "HOLD_SYNC: end is %u", sync->end);
	return 0;
}

static int check_upgrade(const struct kho_msg *msg)
{
	const struct kho_abi_msg_upgrade *up = (const void *)msg->body;
	__u32 known = KHO_UPGRADE_FORCE | KHO_UPGRADE_EXEC |
		      (msg->type == KHO_MSG_CTL_UPGRADE ? KHO_UPGRADE_OLD_ARGS : 0);

	if (up->flags & ~known)
		return kho_fail_(-KHO_E_VERSION, "UPGRADE: unknown flags %#x", up->flags);
	if (msg->len > sizeof(*up) && msg->body[msg->len - 1])
		return kho_fail_(-KHO_E_FORMAT, "UPGRADE: the last argument does not end");
	if (msg->type == KHO_MSG_UPGRADE && !msg->nr_fds)
		return kho_fail_(-KHO_E_FORMAT, "UPGRADE: without the channel's fd");
	if (msg->type == KHO_MSG_UPGRADE && up->flags & KHO_UPGRADE_EXEC &&
	    (msg->nr_fds != 3 || msg->len == sizeof(*up)))
		return kho_fail_(-KHO_E_FORMAT, "UPGRADE: exec without a binary or arguments");
	return 0;
}

static int check_preserve(const struct kho_msg *msg)
{
	const struct kho_abi_msg_preserve *preserve = (const void *)msg->body;

	if (preserve->flags & ~KHO_PRESERVE_CANCEL || preserve->pad)
		return kho_fail_(-KHO_E_VERSION, "CTL_PRESERVE: unknown flags %#x",
				 preserve->flags);
	return 0;
}

static int check_arena(const struct kho_msg *msg)
{
	return msg->nr_fds ? 0 : kho_fail_(-KHO_E_FORMAT, "CTL_ARENA: without the arena's fd");
}

#define TEXT KHO_MSG_BODY_MAX
#define EXACT(type) sizeof(struct type), sizeof(struct type)
#define OPEN(type) sizeof(struct type), KHO_MSG_BODY_MAX

static const struct rule rules[] = {
	[KHO_MSG_HELLO] = {OPEN(kho_abi_msg_hello), 0, check_hello},
	[KHO_MSG_FD] = {OPEN(kho_abi_msg_fds), KHO_ABI_MSG_FDS_MAX, check_fds},
	[KHO_MSG_FDS_DONE] = {0, 0, 0, NULL},
	[KHO_MSG_READY] = {0, 0, 0, NULL},
	[KHO_MSG_FD_GONE] = {OPEN(kho_abi_msg_fds), 0, check_fds},
	[KHO_MSG_GRANT] = {EXACT(kho_abi_msg_grant), 0, NULL},
	[KHO_MSG_TAKEN] = {0, 0, 0, NULL},
	[KHO_MSG_HEALTHY] = {0, 0, 0, NULL},
	[KHO_MSG_RETIRE] = {0, 0, 0, NULL},
	[KHO_MSG_CANCEL] = {0, TEXT, 0, NULL},
	[KHO_MSG_ALIVE] = {0, 0, 0, NULL},
	[KHO_MSG_WELCOME] = {OPEN(kho_abi_msg_hello), 0, check_hello},
	[KHO_MSG_TAKE] = {0, 0, 0, NULL},
	[KHO_MSG_REGISTER] = {EXACT(kho_abi_msg_register), 1, check_register},
	[KHO_MSG_RUNNING] = {EXACT(kho_abi_msg_register), 0, check_register},
	[KHO_MSG_UPGRADE] = {OPEN(kho_abi_msg_upgrade), 3, check_upgrade},
	[KHO_MSG_UPGRADED] = {OPEN(kho_abi_msg_result), 0, NULL},
	[KHO_MSG_STOP] = {0, 0, 0, NULL},
	[KHO_MSG_LISTEN] = {OPEN(kho_abi_msg_fds), KHO_ABI_MSG_FDS_MAX, check_fds},
	[KHO_MSG_PROGRESS] = {OPEN(kho_abi_msg_result), 0, NULL},
	[KHO_MSG_HOLDS] = {EXACT(kho_abi_msg_holds), 0, NULL},
	[KHO_MSG_HOLD] = {OPEN(kho_abi_msg_fds), KHO_ABI_MSG_FDS_MAX, check_fds},
	[KHO_MSG_DROP] = {OPEN(kho_abi_msg_fds), 0, check_fds},
	[KHO_MSG_HOLD_SYNC] = {EXACT(kho_abi_msg_sync), 0, check_sync},
	[KHO_MSG_CTL_UPGRADE] = {OPEN(kho_abi_msg_upgrade), 1, check_upgrade},
	[KHO_MSG_CTL_STOP] = {0, 0, 0, NULL},
	[KHO_MSG_CTL_STATUS] = {0, 0, 0, NULL},
	[KHO_MSG_CTL_REPLY] = {OPEN(kho_abi_msg_result), 0, NULL},
	[KHO_MSG_CTL_PROGRESS] = {0, TEXT, 0, NULL},
	[KHO_MSG_CTL_PRESERVE] = {EXACT(kho_abi_msg_preserve), 0, check_preserve},
	[KHO_MSG_CTL_TAKE] = {0, 0, 0, NULL},
	[KHO_MSG_CTL_ARENA] = {0, 0, 1, check_arena},
	[KHO_MSG_CTL_CLEAR] = {0, 0, 0, NULL},
};

#define NR_RULES (sizeof(rules) / sizeof(rules[0]))

static bool known(unsigned int type)
{
	return (type >= KHO_MSG_HELLO && type <= KHO_MSG_TAKE) ||
	       (type >= KHO_MSG_REGISTER && type <= KHO_MSG_HOLD_SYNC) ||
	       (type >= KHO_MSG_CTL_UPGRADE && type <= KHO_MSG_CTL_CLEAR && type < NR_RULES);
}

static int check(struct kho_msg *msg, const struct kho_abi_msg *head, size_t got)
{
	const struct rule *rule;

	if (got < sizeof(*head))
		return kho_fail_(-KHO_E_TRUNCATED, "a message of %zu bytes", got);
	if (head->magic != KHO_ABI_MSG_MAGIC)
		return kho_fail_(-KHO_E_MAGIC, "a message begins with %#x, not %#x", head->magic,
				 KHO_ABI_MSG_MAGIC);
	if (!known(head->type))
		return kho_fail_(-KHO_E_VERSION, "a message of the unknown type %u", head->type);
	if (head->len != got - sizeof(*head))
		return kho_fail_(-KHO_E_TRUNCATED, "message %u has %zu bytes and says %u",
				 head->type, got - sizeof(*head), head->len);
	rule = &rules[head->type];
	msg->type = head->type;
	msg->len = head->len;
	if (msg->len < rule->min || msg->len > rule->max)
		return kho_fail_(-KHO_E_RANGE, "message %u has %zu bytes, %zu to %zu are allowed",
				 msg->type, msg->len, rule->min, rule->max);
	if (msg->nr_fds > rule->max_fds)
		return kho_fail_(-KHO_E_RANGE, "message %u has %u fds, at most %u are allowed",
				 msg->type, msg->nr_fds, rule->max_fds);
	return rule->check ? rule->check(msg) : 0;
}

union control {
	struct cmsghdr align;
	char space[CMSG_SPACE(FDS_KERNEL_MAX * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
};

/* Return: fds that came beyond those that fit in @msg; they are closed. */
static unsigned int take_control(struct msghdr *mh, struct kho_msg *msg)
{
	unsigned int surplus = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		size_t nr = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_CREDENTIALS) {
			struct ucred cred;

			memcpy(&cred, CMSG_DATA(c), sizeof(cred));
			msg->pid = cred.pid;
		}
		if (c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < nr; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (msg->nr_fds < KHO_ABI_MSG_FDS_MAX) {
				msg->fds[msg->nr_fds++] = fd;
			} else {
				close(fd);
				surplus++;
			}
		}
	}
	return surplus;
}

static int recv_one(int sock, struct kho_msg *msg)
{
	struct kho_abi_msg head;
	union control control;
	struct iovec iov[2] = {{&head, sizeof(head)}, {msg->body, KHO_MSG_BODY_MAX}};
	struct msghdr mh = {.msg_iov = iov,
			    .msg_iovlen = 2,
			    .msg_control = &control,
			    .msg_controllen = sizeof(control)};
	unsigned int surplus;
	ssize_t n;

	msg->nr_fds = 0;
	msg->pid = 0;
	n = recvmsg(sock, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	surplus = take_control(&mh, msg);
	if (!n && !msg->nr_fds)
		return -EPIPE;
	if (mh.msg_flags & MSG_CTRUNC)
		return kho_fail_(-EMFILE, "the limit of open files is reached: raise RLIMIT_NOFILE "
					  "(ulimit -n)");
	if (surplus)
		return kho_fail_(-KHO_E_RANGE, "a message with %u fds",
				 KHO_ABI_MSG_FDS_MAX + surplus);
	if (mh.msg_flags & MSG_TRUNC)
		return kho_fail_(-KHO_E_RANGE, "a message longer than %d bytes", KHO_ABI_MSG_MAX);
	if ((size_t)n > sizeof(head))
		msg->body[n - sizeof(head)] = '\0';
	else
		msg->body[0] = '\0';
	return check(msg, &head, n);
}

static int wait_for(int sock, short events, __u64 deadline)
{
	struct pollfd p = {sock, events, 0};
	int left = kho_left_ms_(deadline);

	if (!left)
		return -ETIMEDOUT;
	if (poll(&p, 1, left) < 0 && errno != EINTR)
		return -errno;
	return 0;
}

int kho_msg_recv_(int sock, struct kho_msg *msg, unsigned int timeout_ms)
{
	__u64 deadline = timeout_ms ? kho_now_ms_() + timeout_ms : 0;
	int r;

	while ((r = recv_one(sock, msg)) == -EAGAIN || r == -EINTR) {
		r = timeout_ms ? wait_for(sock, POLLIN, deadline) : -ETIMEDOUT;
		if (r)
			break;
	}
	if (r)
		kho_msg_drop_(msg);
	return r;
}

void kho_msg_drop_(struct kho_msg *msg)
{
	for (unsigned int i = 0; i < msg->nr_fds; i++)
		if (msg->fds[i] >= 0)
			close(msg->fds[i]);
	msg->nr_fds = 0;
}

static void put_fds(struct msghdr *mh, union control *control, const int *fds, unsigned int nr)
{
	struct cmsghdr *c;

	memset(control, 0, CMSG_SPACE(nr * sizeof(int)));
	mh->msg_control = control;
	mh->msg_controllen = CMSG_SPACE(nr * sizeof(int));
	c = CMSG_FIRSTHDR(mh);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(nr * sizeof(int));
	memcpy(CMSG_DATA(c), fds, nr * sizeof(int));
}

int kho_msg_send_(int sock, const struct kho_msg_out *out, unsigned int timeout_ms)
{
	struct kho_abi_msg head = {KHO_ABI_MSG_MAGIC, (__u16)out->type,
				   (__u16)(out->head_len + out->text_len)};
	union control control;
	struct iovec iov[3] = {{&head, sizeof(head)},
			       {(void *)out->head, out->head_len},
			       {(void *)out->text, out->text_len}};
	struct msghdr mh = {.msg_iov = iov, .msg_iovlen = 3};
	__u64 deadline = timeout_ms ? kho_now_ms_() + timeout_ms : 0;
	int r = 0;

	if (out->head_len + out->text_len > KHO_MSG_BODY_MAX || out->nr_fds > KHO_ABI_MSG_FDS_MAX)
		return kho_fail_(-EMSGSIZE, "message %u: %zu bytes and %u fds are too much",
				 out->type, out->head_len + out->text_len, out->nr_fds);
	if (out->nr_fds)
		put_fds(&mh, &control, out->fds, out->nr_fds);
	while (sendmsg(sock, &mh, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		r = errno == ECONNRESET ? -EPIPE : -errno;
		/* Too many fds are on their way: the reader must take some first. */
		if (r == -ETOOMANYREFS && timeout_ms && kho_left_ms_(deadline)) {
			usleep(1000);
			continue;
		}
		if (r == -EINTR)
			continue;
		if (r != -EAGAIN || !timeout_ms)
			return r == -ETOOMANYREFS ? -EAGAIN : r;
		r = wait_for(sock, POLLOUT, deadline);
		if (r)
			return r;
	}
	return 0;
}

int kho_msg_send_tokens_(int sock, unsigned int type, const __u64 *tokens, const int *fds,
			 unsigned int nr, unsigned int timeout_ms)
{
	struct kho_abi_msg_fds head = {nr, 0};
	struct kho_msg_out out = {.type = type,
				  .head = &head,
				  .head_len = sizeof(head),
				  .text = tokens,
				  .text_len = nr * sizeof(*tokens),
				  .fds = fds,
				  .nr_fds = fds ? nr : 0};

	return kho_msg_send_(sock, &out, timeout_ms);
}

void kho_msg_say_(int sock, unsigned int type, const char *text)
{
	struct kho_msg_out out = {.type = type, .text = text, .text_len = text ? strlen(text) : 0};

	if (sock >= 0)
		kho_msg_send_(sock, &out, SEND_MS);
}

int kho_msg_result_(int sock, unsigned int type, int error, unsigned int step, const char *text)
{
	struct kho_abi_msg_result result = {error, step};
	struct kho_msg_out out = {.type = type,
				  .head = &result,
				  .head_len = sizeof(result),
				  .text = text,
				  .text_len = strlen(text)};

	if (out.text_len > KHO_MSG_BODY_MAX - sizeof(result))
		out.text_len = KHO_MSG_BODY_MAX - sizeof(result);
	return sock >= 0 ? kho_msg_send_(sock, &out, SEND_MS) : -EPIPE;
}

const char *kho_msg_text_(const struct kho_msg *msg, size_t skip)
{
	return msg->len > skip ? (const char *)msg->body + skip : "";
}
