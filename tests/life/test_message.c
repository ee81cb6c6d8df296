/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Messages: whatever comes in is taken whole or refused with its reason, and no fd is left open. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <kho/host.h>
#include <kho/kho.h>

#include "life.h"
#include "message.h"
#include "util.h"

static int pair[2];
static struct kho_msg msg;

static int set_up(void **state)
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
}

static int tear_down(void **state)
{
	close(pair[0]);
	close(pair[1]);
	return 0;
}

/* Raw bytes with @nr fds, as no honest sender would. */
static void send_raw(const void *bytes, size_t len, unsigned int nr)
{
	struct iovec iov = {(void *)bytes, len};
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(253 * sizeof(int))];
	} control = {0};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

	if (nr) {
		struct cmsghdr *c = &control.align;

		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(nr * sizeof(int));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nr * sizeof(int));
		for (unsigned int i = 0; i < nr; i++)
			memcpy(CMSG_DATA(c) + i * sizeof(int), &pair[0], sizeof(int));
	}
	assert_int_equal(sendmsg(pair[0], &mh, 0), len);
}

struct packet {
	struct kho_abi_msg head;
	unsigned char body[KHO_ABI_MSG_MAX + 64];
};

static struct packet packet;

static size_t make(unsigned int type, const void *body, size_t len)
{
	packet.head = (struct kho_abi_msg){KHO_ABI_MSG_MAGIC, (__u16)type, (__u16)len};
	memset(packet.body, 0, sizeof(packet.body));
	memcpy(packet.body, body, len);
	return sizeof(packet.head) + len;
}

static int refused(size_t len, unsigned int nr)
{
	unsigned int fds = count_fds();
	int r;

	send_raw(&packet, len, nr);
	r = kho_msg_recv_(pair[1], &msg, 1000);
	assert_int_equal(count_fds(), fds);
	return r;
}

static void bad_heads(void **state)
{
	size_t len = make(KHO_MSG_READY, "", 0);

	assert_int_equal(refused(len, 0), 0);
	assert_int_equal(refused(1, 0), -KHO_E_TRUNCATED);
	assert_int_equal(refused(7, 0), -KHO_E_TRUNCATED);
	packet.head.magic++;
	assert_int_equal(refused(len, 0), -KHO_E_MAGIC);
	make(KHO_MSG_READY, "", 0);
	packet.head.len = 1;
	assert_int_equal(refused(len, 0), -KHO_E_TRUNCATED);
	assert_int_equal(refused(len + 1, 0), -KHO_E_RANGE); /* READY has no body */
	packet.head.len = 65535;
	assert_int_equal(refused(len, 0), -KHO_E_TRUNCATED);
	for (unsigned int type = 0; type < 65536; type++) {
		bool known = (type >= 1 && type <= 13) || (type >= 32 && type <= 42) ||
			     (type >= 64 && type <= 72);

		make(type, "", 0);
		if (!known)
			assert_int_equal(refused(len, 0), -KHO_E_VERSION);
		if (type == 300)
			type = 65500;
	}
}

static void preserve_and_arena(void **state)
{
	struct kho_abi_msg_preserve p = {0};
	size_t len = make(KHO_MSG_CTL_PRESERVE, &p, sizeof(p));

	assert_int_equal(refused(len, 0), 0);
	assert_int_equal(refused(len, 1), -KHO_E_RANGE);
	assert_int_equal(refused(make(KHO_MSG_CTL_PRESERVE, &p, 4), 0), -KHO_E_RANGE);
	p.flags = KHO_PRESERVE_CANCEL;
	assert_int_equal(refused(make(KHO_MSG_CTL_PRESERVE, &p, sizeof(p)), 0), 0);
	p.flags = 2;
	assert_int_equal(refused(make(KHO_MSG_CTL_PRESERVE, &p, sizeof(p)), 0), -KHO_E_VERSION);
	p = (struct kho_abi_msg_preserve){.pad = 1};
	assert_int_equal(refused(make(KHO_MSG_CTL_PRESERVE, &p, sizeof(p)), 0), -KHO_E_VERSION);
	len = make(KHO_MSG_CTL_ARENA, "", 0);
	assert_int_equal(refused(len, 0), -KHO_E_FORMAT);
	assert_int_equal(refused(len, 2), -KHO_E_RANGE);
	send_raw(&packet, len, 1);
	assert_int_equal(kho_msg_recv_(pair[1], &msg, 1000), 0);
	assert_int_equal(msg.nr_fds, 1);
	kho_msg_drop_(&msg);
}

static void too_long(void **state)
{
	make(KHO_MSG_CANCEL, "", 0);
	packet.head.len = (__u16)KHO_MSG_BODY_MAX;
	assert_int_equal(refused(KHO_ABI_MSG_MAX, 0), 0);
	assert_int_equal(msg.len, KHO_MSG_BODY_MAX);
	assert_int_equal(msg.body[msg.len], 0);
	packet.head.len++;
	assert_int_equal(refused(KHO_ABI_MSG_MAX + 1, 0), -KHO_E_RANGE);
}

static void unexpected_fds(void **state)
{
	size_t len = make(KHO_MSG_READY, "", 0);

	assert_int_equal(refused(len, 1), -KHO_E_RANGE);
	assert_int_equal(refused(len, 200), -KHO_E_RANGE);
	assert_int_equal(refused(len, 201), -KHO_E_RANGE);
	assert_int_equal(refused(len, 253), -KHO_E_RANGE);
	packet.head.magic = 0;
	assert_int_equal(refused(len, 3), -KHO_E_MAGIC);
}

struct fds {
	struct kho_abi_msg_fds head;
	__u64 tokens[300];
};

static void fd_messages(void **state)
{
	struct fds f = {{2, 0}, {5, 6}};
	size_t len = make(KHO_MSG_FD, &f, 24);

	send_raw(&packet, len, 2);
	assert_int_equal(kho_msg_recv_(pair[1], &msg, 1000), 0);
	assert_int_equal(msg.nr_fds, 2);
	assert_int_equal(fcntl(msg.fds[0], F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(msg.fds[1], F_GETFD), FD_CLOEXEC);
	kho_msg_drop_(&msg);
	assert_int_equal(fcntl(msg.fds[0], F_GETFD), -1);
	assert_int_equal(refused(len, 1), -KHO_E_FORMAT);
	assert_int_equal(refused(len, 3), -KHO_E_FORMAT);
	assert_int_equal(refused(make(KHO_MSG_FD, &f, 16), 2), -KHO_E_TRUNCATED);
	assert_int_equal(refused(make(KHO_MSG_FD, &f, 23), 2), -KHO_E_TRUNCATED);
	assert_int_equal(refused(make(KHO_MSG_FD_GONE, &f, 24), 1), -KHO_E_RANGE);
	assert_int_equal(refused(make(KHO_MSG_FD_GONE, &f, 24), 0), 0);
	f.head.nr = 0;
	assert_int_equal(refused(make(KHO_MSG_FD, &f, 8), 0), -KHO_E_RANGE);
	f.head.nr = 201;
	assert_int_equal(refused(make(KHO_MSG_FD, &f, 8 + 201 * 8), 201), -KHO_E_RANGE);
	f.head.nr = 0x20000002; /* times 8 overflows 32 bits to 16 */
	assert_int_equal(refused(make(KHO_MSG_FD, &f, 24), 2), -KHO_E_RANGE);
	f.head = (struct kho_abi_msg_fds){2, 0};
	assert_int_equal(refused(make(KHO_MSG_HOLD, &f, 24), 1), -KHO_E_FORMAT);
	assert_int_equal(refused(make(KHO_MSG_DROP, &f, 24), 0), 0);
	assert_int_equal(refused(make(KHO_MSG_DROP, &f, 24), 1), -KHO_E_RANGE);
	assert_int_equal(refused(make(KHO_MSG_DROP, &f, 16), 0), -KHO_E_TRUNCATED);
	assert_int_equal(refused(make(KHO_MSG_HOLD_SYNC, (__u32[]){1, 0}, 8), 0), 0);
	assert_int_equal(refused(make(KHO_MSG_HOLD_SYNC, (__u32[]){2, 0}, 8), 0), -KHO_E_RANGE);
	assert_int_equal(refused(make(KHO_MSG_HOLDS, (__u32[]){2, 0}, 7), 0), -KHO_E_RANGE);
	f.head = (struct kho_abi_msg_fds){2, 1};
	assert_int_equal(refused(make(KHO_MSG_FD, &f, 24), 2), -KHO_E_TRUNCATED);
}

struct hello {
	struct kho_abi_msg_hello head;
	struct kho_abi_format formats[65];
};

static void hello_messages(void **state)
{
	struct hello h = {0};

	strcpy(h.head.name, "n");
	strcpy(h.formats[0].name, "f");
	h.head.nr_formats = 1;
	assert_int_equal(refused(make(KHO_MSG_HELLO, &h, 72 + 52), 0), 0);
	assert_int_equal(refused(make(KHO_MSG_HELLO, &h, 72), 0), -KHO_E_TRUNCATED);
	assert_int_equal(refused(make(KHO_MSG_HELLO, &h, 71), 0), -KHO_E_RANGE);
	h.formats[0].reads_min = 2;
	assert_int_equal(refused(make(KHO_MSG_HELLO, &h, 72 + 52), 0), -KHO_E_RANGE);
	h.formats[0].reads_min = 0;
	h.formats[0].writes_min = 1;
	assert_int_equal(refused(make(KHO_MSG_HELLO, &h, 72 + 52), 0), -KHO_E_RANGE);
	h.formats[0].writes = 1;
	h.formats[0].flags = 7;
	assert_int_equal(refused(make(KHO_MSG_WELCOME, &h, 72 + 52), 0), 0);
	h.formats[0].flags = 8;
	assert_int_equal(refused(make(KHO_MSG_HELLO, &h, 72 + 52), 0), -KHO_E_VERSION);
	h.formats[0].flags = 0;
	memset(h.formats[0].name, 'x', 32);
	assert_int_equal(refused(make(KHO_MSG_HELLO, &h, 72 + 52), 0), -KHO_E_FORMAT);
	memset(h.formats[0].name, 0, 32);
	assert_int_equal(refused(make(KHO_MSG_HELLO, &h, 72 + 52), 0), -KHO_E_FORMAT);
	h.head.nr_formats = 65;
	assert_int_equal(refused(make(KHO_MSG_HELLO, &h, sizeof(h)), 0), -KHO_E_RANGE);
	h.head.nr_formats = 0;
	memset(h.head.release, 'x', 32);
	assert_int_equal(refused(make(KHO_MSG_HELLO, &h, 72), 0), -KHO_E_FORMAT);
}

static void upgrade_messages(void **state)
{
	struct {
		struct kho_abi_msg_upgrade up;
		char args[8];
	} u = {{0}, "prog\0-x"};

	assert_int_equal(refused(make(KHO_MSG_UPGRADE, &u, 28), 0), -KHO_E_FORMAT);
	assert_int_equal(refused(make(KHO_MSG_UPGRADE, &u, 28), 4), -KHO_E_RANGE);
	send_raw(&packet, make(KHO_MSG_UPGRADE, &u, 28), 2);
	assert_int_equal(kho_msg_recv_(pair[1], &msg, 1000), 0);
	kho_msg_drop_(&msg);
	u.up.flags = KHO_UPGRADE_EXEC;
	assert_int_equal(refused(make(KHO_MSG_UPGRADE, &u, 28), 3), -KHO_E_FORMAT);
	assert_int_equal(refused(make(KHO_MSG_UPGRADE, &u, 36), 2), -KHO_E_FORMAT);
	assert_int_equal(refused(make(KHO_MSG_UPGRADE, &u, 35), 3), -KHO_E_FORMAT);
	send_raw(&packet, make(KHO_MSG_UPGRADE, &u, 36), 3);
	assert_int_equal(kho_msg_recv_(pair[1], &msg, 1000), 0);
	kho_msg_drop_(&msg);
	u.up.flags = KHO_UPGRADE_OLD_ARGS; /* a client's, never the supervisor's */
	assert_int_equal(refused(make(KHO_MSG_UPGRADE, &u, 28), 2), -KHO_E_VERSION);
	send_raw(&packet, make(KHO_MSG_CTL_UPGRADE, &u, 36), 1);
	assert_int_equal(kho_msg_recv_(pair[1], &msg, 1000), 0);
	kho_msg_drop_(&msg);
	u.up.flags = 0x80;
	assert_int_equal(refused(make(KHO_MSG_UPGRADE, &u, 28), 2), -KHO_E_VERSION);
}

/* Honest messages with some bytes changed: any answer is right but a crash or a leaked fd. */
static void mutations(void **state)
{
	static const unsigned char types[] = {1, 2, 3, 5, 6, 10, 11, 32, 34, 35, 37, 64, 67};
	unsigned int fds = count_fds(), taken = 0;

	for (int i = 0; i < 20000; i++) {
		unsigned int type = types[random() % sizeof(types)],
			     nr = (unsigned int)random() % 4;
		struct fds f = {{nr, 0}, {1, 2, 3}};
		size_t len = make(type, &f, (size_t)(random() % 200));

		for (long n = random() % 4; n > 0; n--)
			((unsigned char *)&packet)[random() % len] ^= 1 << random() % 8;
		send_raw(&packet, 1 + random() % len, random() % 2 ? nr : 0);
		if (!kho_msg_recv_(pair[1], &msg, 1000)) {
			taken++;
			assert_true(strlen(kho_msg_text_(&msg, 0)) <= msg.len);
			kho_msg_drop_(&msg);
		}
	}
	assert_int_equal(count_fds(), fds);
	assert_true(taken > 0);
}

static void ends_and_time_outs(void **state)
{
	__u64 t = now_us();

	assert_int_equal(kho_msg_recv_(pair[1], &msg, 0), -ETIMEDOUT);
	assert_int_equal(kho_msg_recv_(pair[1], &msg, 30), -ETIMEDOUT);
	assert_in_range(now_us() - t, 30000, 5000000);
	kho_msg_say_(pair[0], KHO_MSG_CANCEL, "why");
	shutdown(pair[0], SHUT_WR);
	assert_int_equal(kho_msg_recv_(pair[1], &msg, 0), 0); /* what was said is heard first */
	assert_string_equal(kho_msg_text_(&msg, 0), "why");
	assert_int_equal(kho_msg_recv_(pair[1], &msg, 0), -EPIPE);
}

static void a_reader_that_does_not_read(void **state)
{
	struct kho_msg_out out = {.type = KHO_MSG_READY};
	__u64 t;
	int r;

	while (!(r = kho_msg_send_(pair[0], &out, 0)))
		;
	assert_int_equal(r, -EAGAIN);
	t = now_us();
	assert_int_equal(kho_msg_send_(pair[0], &out, 30), -ETIMEDOUT);
	assert_in_range(now_us() - t, 30000, 5000000);
	close(pair[1]);
	assert_int_equal(kho_msg_send_(pair[0], &out, 30), -EPIPE);
	pair[1] = dup(pair[0]);
}

static void the_limit_of_files(void **state)
{
	unsigned int fds = count_fds();
	struct rlimit old, low;
	struct fds f = {{100, 0}, {0}};
	int r;

	send_raw(&packet, make(KHO_MSG_FD, &f, 808), 100);
	getrlimit(RLIMIT_NOFILE, &old);
	low = (struct rlimit){fds + 20, old.rlim_max};
	setrlimit(RLIMIT_NOFILE, &low);
	r = kho_msg_recv_(pair[1], &msg, 1000);
	setrlimit(RLIMIT_NOFILE, &old);
	assert_int_equal(r, -EMFILE);
	assert_non_null(strstr(kho_error(), "RLIMIT_NOFILE"));
	assert_int_equal(count_fds(), fds);
}

static void the_kernel_names_the_sender(void **state)
{
	int one = 1;

	kho_msg_say_(pair[0], KHO_MSG_READY, NULL);
	assert_int_equal(kho_msg_recv_(pair[1], &msg, 0), 0);
	assert_int_equal(msg.pid, 0);
	setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof(one));
	kho_msg_say_(pair[0], KHO_MSG_READY, NULL);
	assert_int_equal(kho_msg_recv_(pair[1], &msg, 0), 0);
	assert_int_equal(msg.pid, getpid());
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

/* ---- HEALTHY, said by kho_healthy() ---- */

static void become_granted(int channel)
{
	kho_life_.channel = channel;
	kho_life_.reader = KHO_READER_KEEPER;
	kho_life_.healthy = false;
}

static void fill_channel(void)
{
	struct kho_msg_out out = {.type = KHO_MSG_ALIVE};

	while (!kho_msg_send_(pair[0], &out, 0))
		;
	assert_int_equal(kho_msg_send_(pair[0], &out, 0), -EAGAIN);
}

static unsigned int count_healthy(void)
{
	unsigned int nr = 0;

	while (!kho_msg_recv_(pair[1], &msg, 0))
		nr += msg.type == KHO_MSG_HEALTHY;
	return nr;
}

static void healthy_that_is_not_sent_is_not_said(void **state)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	become_granted(pair[0]);
	fill_channel();
	assert_int_equal(kho_healthy(), -ETIMEDOUT);
	assert_false(kho_life_.healthy);
	assert_int_equal(kho_alive(), 1); /* the watch goes on */
	assert_int_equal(count_healthy(), 0);
	assert_int_equal(kho_healthy(), 0);
	assert_true(kho_life_.healthy);
	assert_int_equal(count_healthy(), 1);
	become_granted(null); /* another error than that nobody is there */
	assert_int_equal(kho_healthy(), -ENOTSOCK);
	assert_false(kho_life_.healthy);
	become_granted(pair[0]);
	assert_int_equal(kho_healthy(), 0);
	assert_int_equal(count_healthy(), 1);
	/* A predecessor that has gone needs no telling. */
	become_granted(pair[0]);
	shutdown(pair[1], SHUT_RDWR);
	assert_int_equal(kho_healthy(), 0);
	assert_true(kho_life_.healthy);
	become_granted(-1);
	close(null);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(bad_heads),
		TEST(preserve_and_arena),
		TEST(too_long),
		TEST(unexpected_fds),
		TEST(fd_messages),
		TEST(hello_messages),
		TEST(upgrade_messages),
		TEST(mutations),
		TEST(ends_and_time_outs),
		TEST(a_reader_that_does_not_read),
		TEST(the_limit_of_files),
		TEST(the_kernel_names_the_sender),
		TEST(healthy_that_is_not_sent_is_not_said),
	};

	seed_random();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
