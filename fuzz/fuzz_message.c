/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Any bytes, with any number of fds, as messages of handover-v1, for whoever reads one: supervisor,
 * server, predecessor, successor, client. Each is refused with a reason, and its fds closed, or it is what
 * its type's struct says.
 *
 * An input: for each message a byte with flags, one with the number of fds, two with the length; then its bytes.
 * Flags: 1: the bytes are a body: magic, type (the next byte) and length are put before it.
 */
#include "ops.h"

#include "message.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_MESSAGES 16
#define MAX_FDS 253 /* of one message: the kernel's limit */
#define MAX_LEN (KHO_ABI_MSG_MAX + 64)

static int pair[2] = {-1, -1};
static int null_fd;

static void set_up(void)
{
	FACT(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	FACT(null_fd >= 0);
}

static void send_bytes(const void *bytes, size_t len, unsigned int nr)
{
	struct iovec iov = {(void *)bytes, len};
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(MAX_FDS * sizeof(int))];
	} control = {0};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

	if (nr) {
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(nr * sizeof(int));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(nr * sizeof(int));
		for (unsigned int i = 0; i < nr; i++)
			memcpy(CMSG_DATA(&control.align) + i * sizeof(int), &null_fd, sizeof(int));
	}
	FACT(sendmsg(pair[0], &mh, MSG_DONTWAIT) == (ssize_t)len);
}

static bool ends(const char *text, size_t room)
{
	return memchr(text, 0, room);
}

static void check_hello(const struct kho_msg *msg)
{
	const struct kho_abi_msg_hello *hello = (const void *)msg->body;
	const struct kho_abi_format *formats = (const void *)(hello + 1);

	FACT(ends(hello->name, 32) && ends(hello->release, 32));
	FACT(hello->nr_formats <= KHO_ABI_FORMATS_MAX);
	FACT(msg->len == sizeof(*hello) + hello->nr_formats * sizeof(*formats));
	for (unsigned int i = 0; i < hello->nr_formats; i++) {
		FACT(*formats[i].name && ends(formats[i].name, sizeof(formats[i].name)));
		FACT(formats[i].reads_min <= formats[i].reads_max);
		FACT(formats[i].writes_min <= formats[i].writes);
	}
}

/* What each reader relies on without looking again. */
static void check(const struct kho_msg *msg)
{
	const struct kho_abi_msg_fds *fds = (const void *)msg->body;

	FACT(msg->len <= KHO_MSG_BODY_MAX && !msg->body[msg->len]);
	FACT(msg->nr_fds <= KHO_ABI_MSG_FDS_MAX);
	FACT(strlen(kho_msg_text_(msg, 8)) <= msg->len);
	switch (msg->type) {
	case KHO_MSG_HELLO:
	case KHO_MSG_WELCOME:
		check_hello(msg);
		break;
	case KHO_MSG_FD:
	case KHO_MSG_FD_GONE:
	case KHO_MSG_LISTEN:
		FACT(fds->nr && fds->nr <= KHO_ABI_MSG_FDS_MAX);
		FACT(msg->len == sizeof(*fds) + fds->nr * 8ULL);
		FACT(msg->nr_fds == (msg->type == KHO_MSG_FD_GONE ? 0 : fds->nr));
		break;
	case KHO_MSG_GRANT:
		FACT(msg->len == 8 && !msg->nr_fds);
		break;
	case KHO_MSG_REGISTER:
	case KHO_MSG_RUNNING:
		FACT(ends((char *)msg->body + 16, 32) && ends((char *)msg->body + 48, 32));
		FACT(msg->nr_fds <= (msg->type == KHO_MSG_REGISTER));
		break;
	case KHO_MSG_UPGRADE:
		FACT(msg->nr_fds);
		/* fall through */
	case KHO_MSG_CTL_UPGRADE:
		FACT(msg->len >= sizeof(struct kho_abi_msg_upgrade));
		FACT(msg->len == sizeof(struct kho_abi_msg_upgrade) || !msg->body[msg->len - 1]);
		break;
	case KHO_MSG_UPGRADED:
	case KHO_MSG_PROGRESS:
	case KHO_MSG_CTL_REPLY:
		FACT(msg->len >= sizeof(struct kho_abi_msg_result));
		break;
	case KHO_MSG_CTL_PRESERVE:
		FACT(msg->len == 8 && msg->body[0] <= KHO_PRESERVE_CANCEL && !msg->body[4]);
		break;
	case KHO_MSG_CTL_ARENA:
		FACT(!msg->len && msg->nr_fds == 1);
		break;
	default:
		FACT(!msg->nr_fds);
	}
}

static int lowest_fd(void)
{
	int fd = fcntl(null_fd, F_DUPFD_CLOEXEC, 0);

	close(fd);
	return fd;
}

static void one(struct ops_bytes *in)
{
	static struct kho_msg msg;
	static u8 bytes[MAX_LEN];
	u8 flags = take_byte(in);
	unsigned int nr = take_byte(in) % (MAX_FDS + 1);
	size_t len = take_number(in, 2) % MAX_LEN, at = 0;
	int fd = lowest_fd(), rc;

	if (flags & 1) {
		struct kho_abi_msg head = {KHO_ABI_MSG_MAGIC, take_byte(in), 0};

		if (len > KHO_MSG_BODY_MAX)
			len = KHO_MSG_BODY_MAX;
		head.len = (u16)len;
		memcpy(bytes, &head, sizeof(head));
		at = sizeof(head);
		len += at;
	}
	memset(bytes + at, 0, len - at);
	memcpy(bytes + at, in->data, len - at < in->left ? len - at : in->left);
	while (at++ < len)
		take_byte(in);
	send_bytes(bytes, len, nr);
	rc = kho_msg_recv_(pair[1], &msg, 0);
	FACT(rc <= 0);
	if (rc) {
		FACT(rc == -EPIPE || (rc <= -KHO_E_TRUNCATED && rc > -KHO_E_MAX));
		FACT(!msg.nr_fds && lowest_fd() == fd);
		return;
	}
	check(&msg);
	kho_msg_drop_(&msg);
	FACT(lowest_fd() == fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ops_bytes in = {data, size};

	if (pair[0] < 0)
		set_up();
	for (unsigned int i = 0; i < MAX_MESSAGES && in.left; i++)
		one(&in);
	return 0;
}
