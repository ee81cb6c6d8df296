/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Seeds for what programs say to each other: see make_corpus.c. */
#include "fuzz.h"
#include "make_corpus.h"

#include <kho/abi/handover.h>
#include <kho/host.h>

/* ---- what clients of cached say ---------------------------------------------- */

static void protos(const char *dir)
{
	static const char *const texts[] = {
		"get a b c\r\ngets a\r\ngat 10 k\r\ngats 0 k1 k2\r\n",
		"set k 0 0 5\r\nhello\r\nadd k 1 -1 0 noreply\r\n\r\n",
		"cas k 4294967295 2592001 2147483645 18446744073709551615\r\n",
		"append k 1 2 3\r\nprepend k 1 2 3\r\nreplace k 0 0 x\r\n",
		"incr n 18446744073709551616\r\ndecr n 1 noreply\r\ntouch k 5\r\n",
		"delete k\r\ndelete k 0\r\ndelete k 0 noreply\r\ndelete k 1\r\n",
		"stats\r\nstats settings\r\nflush_all 10 noreply\r\nversion\nverbosity 1\nquit\r\n",
		"cache_memlimit 64\r\nshutdown\r\n\r\n GET a\r\nget\r\nset k\r\n",
	};
	char name[16], keys[1400] = "get";

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		snprintf(name, sizeof(name), "line-%zu", i);
		write_file(dir, "proto", name, texts[i], strlen(texts[i]));
	}
	/* A line that is split before its end has come. */
	for (size_t at = 3; at < sizeof(keys) - 8; at += 8)
		memcpy(keys + at, " key-key", 8);
	write_file(dir, "proto", "many-keys", keys, strlen(keys));
	memset(keys + 4, 'k', 251);
	memcpy(keys + 255, "\r\n", 3);
	write_file(dir, "proto", "long-key", keys, strlen(keys));
}

/* ---- bodies ---------------------------------------------------------------------- */

static struct {
	u8 bytes[8192];
	size_t len;
} out;

static void put(const void *bytes, size_t len)
{
	FACT(out.len + len <= sizeof(out.bytes));
	memcpy(out.bytes + out.len, bytes, len);
	out.len += len;
}

static void put_byte(unsigned int byte)
{
	put(&(u8){(u8)byte}, 1);
}

struct body {
	unsigned int type;
	unsigned int nr_fds;
	size_t len;
	u8 bytes[400];
};

static struct body hello_body(unsigned int type)
{
	const struct kho_abi_format formats[2] = {{"arena", 1, 1, 1, 0, 0},
						  {"mine", 1, 3, 2, 1, 0}};
	const struct kho_abi_msg_hello hello = {"name", "1.0", 77, 2};
	struct body body = {.type = type, .len = sizeof(hello) + sizeof(formats)};

	memcpy(body.bytes, &hello, sizeof(hello));
	memcpy(body.bytes + sizeof(hello), formats, sizeof(formats));
	return body;
}

static struct body fds_body(unsigned int type, unsigned int nr, __u64 token)
{
	struct body body = {.type = type, .len = 8 + 8 * nr};

	body.nr_fds = type == KHO_MSG_FD_GONE ? 0 : nr;
	body.bytes[0] = (u8)nr;
	for (unsigned int i = 0; i < nr; i++, token++)
		memcpy(body.bytes + 8 + 8 * i, &token, 8);
	return body;
}

static struct body register_body(unsigned int type, unsigned int nr_fds)
{
	const struct kho_abi_msg_register reg = {77, 0, 5, "name", "1.0\n"};
	struct body body = {.type = type, .nr_fds = nr_fds, .len = sizeof(reg)};

	memcpy(body.bytes, &reg, sizeof(reg));
	return body;
}

static struct body upgrade_body(unsigned int type, __u32 flags, unsigned int nr_fds,
				const char *args, size_t args_len)
{
	const struct kho_abi_msg_upgrade up = {100, 10, 10, 100, flags, 0, 10};
	struct body body = {.type = type, .nr_fds = nr_fds, .len = sizeof(up) + args_len};

	memcpy(body.bytes, &up, sizeof(up));
	memcpy(body.bytes + sizeof(up), args, args_len);
	return body;
}

static struct body result_body(unsigned int type, int error, unsigned int step)
{
	const struct kho_abi_msg_result result = {error, step};
	struct body body = {.type = type, .len = sizeof(result) + 4};

	memcpy(body.bytes, &result, sizeof(result));
	memcpy(body.bytes + sizeof(result), "why\n", 4);
	return body;
}

/* ---- messages: fuzz_message.c ------------------------------------------------------ */

static void message(const struct body *body)
{
	put_byte(1);
	put_byte(body->nr_fds);
	put_byte((unsigned int)body->len >> 8);
	put_byte(body->len & 255);
	put_byte(body->type);
	put(body->bytes, body->len);
}

static void messages(const char *dir)
{
	const struct body bodies[] = {
		hello_body(KHO_MSG_HELLO),
		fds_body(KHO_MSG_FD, 3, 40),
		{.type = KHO_MSG_FDS_DONE},
		{.type = KHO_MSG_READY},
		fds_body(KHO_MSG_FD_GONE, 3, 40),
		{.type = KHO_MSG_GRANT, .len = 8, .bytes = {1}},
		{.type = KHO_MSG_CANCEL, .len = 3, .bytes = "why"},
		hello_body(KHO_MSG_WELCOME),
		register_body(KHO_MSG_REGISTER, 1),
		register_body(KHO_MSG_RUNNING, 0),
		upgrade_body(KHO_MSG_UPGRADE, 0, 2, "", 0),
		upgrade_body(KHO_MSG_UPGRADE, KHO_UPGRADE_EXEC, 3, "new\0-x", 7),
		result_body(KHO_MSG_UPGRADED, -5, KHO_STEP_GRANT),
		fds_body(KHO_MSG_LISTEN, 2, KHO_FD_LISTEN),
		upgrade_body(KHO_MSG_CTL_UPGRADE, KHO_UPGRADE_OLD_ARGS, 1, "new", 4),
		result_body(KHO_MSG_CTL_REPLY, 0, KHO_STEP_DONE),
		{.type = KHO_MSG_CTL_PRESERVE, .len = 8, .bytes = {KHO_PRESERVE_CANCEL}},
		{.type = KHO_MSG_CTL_ARENA, .nr_fds = 1},
	};
	char name[16];

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		out.len = 0;
		message(&bodies[i]);
		snprintf(name, sizeof(name), "type-%02u-%02zu", bodies[i].type, i);
		write_file(dir, "message", name, out.bytes, out.len);
		/* Bytes that need no help, and with one fd too many. */
		if (i > 1)
			continue;
		out.bytes[1]++;
		write_file(dir, "message", i ? "fds-4-of-3" : "hello-fd", out.bytes, out.len);
	}
	out.len = 0;
	put("\0\0\0\x08KHO1\x03\0\0\0\0\xfd\0\x08KHO1\x03\0\0\0", 24);
	write_file(dir, "message", "raw", out.bytes, out.len);
}

/* ---- environments: fuzz_environ.c ---------------------------------------------------- */

static void environs(const char *dir)
{
	static const char *const texts[] = {
		"-\n-\n-\n-\n-\n-\n-\n-\n",
		"@a\n@b\n@c\n3:0\n/run/x.sock\n@e\n64M\n50\n",
		"@a\n@d\n-\n-\n-\n-\n1G\n1\n",
		"-\n@b\n@c\n-\n-\n-\n0\n99\n",
		"@f\n-\n-\n@a:2\n-\n-\n99999999999999999999\n100\n",
		"@a\n-\n-\n@a:4\n-\n-\n9223372036854775807\n0\n",
		"-1\n 3\n0x3\n1:2:3\n\n@e\n8388608T\nx\n",
		"3x\n-\n-\n2147483647:1024\n-\n-\n12KK\n-\n",
		"@a\n-\n-\n@a:1025\n-\n@a\n-5\n7\n",
	};
	const struct kho_abi_exec_fd fds[] = {{5, 0, 0}, {6, 1, 0}, {6, 2, 0}, {7, -1, 0}};
	char name[16];

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		out.len = 0;
		put(texts[i], strlen(texts[i]));
		if (i == 1)
			put(fds, sizeof(fds[0]) * 2);
		snprintf(name, sizeof(name), "env-%zu", i);
		write_file(dir, "environ", name, out.bytes, out.len);
	}
	for (size_t nr = 3; nr < 6; nr++) {
		out.len = 0;
		put("-\n-\n-\n-\n-\n@e\n-\n-\n", 17);
		put(fds, nr < 5 ? sizeof(fds[0]) * nr : 40);
		snprintf(name, sizeof(name), "exec-fds-%zu", nr);
		write_file(dir, "environ", name, out.bytes, out.len);
	}
	out.len = 0;
	put("-\n-\n-\n-\n", 8);
	for (int i = 0; i < 120; i++)
		put("/", 1);
	write_file(dir, "environ", "long-path", out.bytes, out.len);
}

/* ---- a supervisor's life: fuzz_control.c ------------------------------------------------ */

enum { CLIENT = 0, SAYS = 3, DIES = 6, TIME = 7, OWNER = 8, LISTENS = 9, SIGNAL = 10 };
enum { CURRENT = 64, NEXT = 128 };

static void event(unsigned int what, unsigned int which)
{
	put_byte(what);
	put_byte(which);
}

static void says(unsigned int what, unsigned int which, struct body body)
{
	event(what, which);
	put_byte(body.type);
	put_byte((unsigned int)body.len);
	put_byte(body.nr_fds);
	put(body.bytes, body.len);
}

/* A server that runs, and a client that has connected. */
static void begin_life(void)
{
	out.len = 0;
	put_byte(0x50);
	says(SAYS, CURRENT, register_body(KHO_MSG_REGISTER, 0));
	says(SAYS, CURRENT, register_body(KHO_MSG_RUNNING, 0));
	event(CLIENT, 0);
	event(LISTENS, 0);
}

static void begin_upgrade(__u32 flags)
{
	begin_life();
	says(CLIENT, 0, upgrade_body(KHO_MSG_CTL_UPGRADE, flags, 1, "new\0arg", 8));
	event(LISTENS, 0);
	says(SAYS, CURRENT, result_body(KHO_MSG_PROGRESS, 0, KHO_STEP_READY));
}

static void end_life(const char *dir, const char *name)
{
	says(CLIENT, 0, (struct body){.type = KHO_MSG_CTL_STATUS});
	event(LISTENS, 0);
	write_file(dir, "control", name, out.bytes, out.len);
}

static void upgrades(const char *dir)
{
	begin_upgrade(0);
	says(SAYS, CURRENT, result_body(KHO_MSG_UPGRADED, 0, KHO_STEP_DONE));
	event(LISTENS, 0);
	event(DIES, 0);
	says(SAYS, CURRENT, register_body(KHO_MSG_RUNNING, 0));
	end_life(dir, "upgraded");
	begin_upgrade(KHO_UPGRADE_FORCE);
	says(SAYS, CURRENT, result_body(KHO_MSG_UPGRADED, -5, KHO_STEP_GRANT));
	event(TIME, 0);
	end_life(dir, "rolled-back");
	begin_upgrade(0);
	event(DIES, NEXT);
	says(SAYS, CURRENT, result_body(KHO_MSG_UPGRADED, 0, KHO_STEP_DONE));
	end_life(dir, "healthy-and-dead");
	begin_upgrade(0);
	event(DIES, CURRENT);
	says(SAYS, NEXT, register_body(KHO_MSG_RUNNING, 0));
	end_life(dir, "orphan");
	begin_upgrade(0);
	event(DIES | 11 << 4, CURRENT);
	event(DIES, NEXT);
	end_life(dir, "both-dead");
	begin_upgrade(KHO_UPGRADE_EXEC);
	event(DIES, NEXT);
	says(SAYS, CURRENT, register_body(KHO_MSG_RUNNING, 0));
	end_life(dir, "in-place");
	begin_upgrade(KHO_UPGRADE_OLD_ARGS);
	event(TIME, 0);
	event(LISTENS, 0);
	end_life(dir, "timed-out");
	begin_life();
	says(CLIENT, 0, upgrade_body(KHO_MSG_CTL_UPGRADE, 0, 0, "", 0));
	says(CLIENT, 0, upgrade_body(KHO_MSG_CTL_UPGRADE, 0, 0, "?", 2));
	end_life(dir, "busy");
}

static void lives(const char *dir)
{
	begin_life();
	event(DIES | 128, CURRENT);
	event(OWNER, 0);
	says(SAYS, CURRENT, fds_body(KHO_MSG_LISTEN, 2, KHO_FD_LISTEN));
	end_life(dir, "restarted");
	begin_life();
	for (int i = 0; i < 6; i++)
		event(OWNER, 0);
	says(CLIENT, 0, upgrade_body(KHO_MSG_CTL_UPGRADE, 0, 0, "new", 4));
	end_life(dir, "revived");
	begin_life();
	event(CLIENT, 1);
	says(CLIENT, 1, (struct body){.type = KHO_MSG_CTL_STOP});
	event(TIME, 0);
	end_life(dir, "stopped");
	begin_life();
	says(CLIENT, 0, (struct body){.type = KHO_MSG_CTL_PRESERVE, .len = 8});
	says(CLIENT, 1, (struct body){.type = KHO_MSG_CTL_TAKE});
	says(CLIENT, 2, (struct body){.type = KHO_MSG_CTL_PRESERVE, .len = 8, .bytes = {1}});
	end_life(dir, "preserved");
	begin_life();
	for (unsigned int i = 1; i < 40; i++)
		event(CLIENT, i);
	end_life(dir, "crowd");
	out.len = 0;
	put_byte(0x51);
	event(CLIENT, 0);
	event(LISTENS, 0);
	says(CLIENT, 0, register_body(KHO_MSG_REGISTER, 1 | 4)); /* 4: the file is sealed */
	event(LISTENS, 0);
	end_life(dir, "adopted");
}

/* ---- a hand-over: fuzz_peers.c ------------------------------------------------------------ */

enum { PEER_SAYS = 0, PEER_TIME = 4, PEER_TABLE = 5, PEER_HEARS = 6, PEER_HANGS_UP = 7 | 64 };
enum { AS_SUCCESSOR = 1, AS_PREDECESSOR = 8, IN_PLACE = 4 };

static void peer_says(struct body body)
{
	put_byte(PEER_SAYS);
	put_byte(body.type);
	put_byte((unsigned int)body.len);
	put_byte(body.nr_fds);
	put(body.bytes, body.len);
}

static void peer_word(unsigned int type)
{
	peer_says((struct body){.type = type});
}

/* HELLO with what the library itself reads and writes: it is not refused. */
static struct body library_hello(unsigned int type)
{
#define FORMAT(name, min, max, writes, flags) {name, min, max, writes, 0, flags},
	static const struct kho_abi_format all[] = {KHO_ABI_LIBRARY_FORMATS(FORMAT)};
	struct body body = hello_body(type);

	/* Four are what a length of one byte has room for: a predecessor is told to insist on none. */
	((struct kho_abi_msg_hello *)body.bytes)->nr_formats = 3;
	memcpy(body.bytes + sizeof(struct kho_abi_msg_hello), all, 3 * sizeof(all[0]));
	body.len = sizeof(struct kho_abi_msg_hello) + 3 * sizeof(all[0]);
	return body;
}

static void begin_peer(unsigned int options)
{
	out.len = 0;
	put_byte(options);
	if (!(options & AS_SUCCESSOR))
		put("\x64\x64\x20", 3);
}

static void predecessors(const char *dir)
{
	for (unsigned int i = 0; i < 7; i++) {
		char name[24];

		begin_peer((i == 5 ? IN_PLACE : AS_PREDECESSOR) | (i ? 2 : 0));
		put_byte(PEER_TABLE | 1 << 3);
		peer_says(library_hello(KHO_MSG_HELLO));
		put_byte(PEER_TABLE | 2 << 3);
		peer_word(i == 1 ? KHO_MSG_CANCEL : KHO_MSG_READY);
		put_byte(PEER_TABLE | 1 << 3);
		if (i == 2)
			put_byte(PEER_HANGS_UP);
		peer_word(i == 3 ? KHO_MSG_HEALTHY : KHO_MSG_TAKEN);
		peer_word(KHO_MSG_ALIVE);
		if (i == 4)
			put_byte(PEER_TIME | 7 << 4);
		if (i == 6)
			put_byte(PEER_HEARS | 128);
		peer_word(KHO_MSG_HEALTHY);
		snprintf(name, sizeof(name), "predecessor-%u", i);
		write_file(dir, "peers", name, out.bytes, out.len);
	}
}

static void successors(const char *dir)
{
	for (unsigned int i = 0; i < 6; i++) {
		char name[24];

		begin_peer(AS_SUCCESSOR);
		peer_says(hello_body(KHO_MSG_WELCOME));
		peer_says(fds_body(KHO_MSG_FD, 3, 40));
		peer_says(fds_body(KHO_MSG_FD_GONE, 2, 40));
		if (i == 1)
			peer_says(fds_body(KHO_MSG_FD, 3, 40));
		peer_word(i == 2 ? KHO_MSG_RETIRE : KHO_MSG_FDS_DONE);
		peer_says(fds_body(KHO_MSG_FD, 2, 50));
		peer_says(fds_body(KHO_MSG_FD_GONE, 2, 50));
		if (i == 3)
			peer_word(KHO_MSG_CANCEL);
		if (i == 4)
			put_byte(PEER_HANGS_UP);
		peer_says((struct body){.type = KHO_MSG_GRANT, .len = 8, .bytes = {(u8)i}});
		snprintf(name, sizeof(name), "successor-%u", i);
		write_file(dir, "peers", name, out.bytes, out.len);
	}
}

void make_life(const char *dir)
{
	protos(dir);
	messages(dir);
	environs(dir);
	upgrades(dir);
	lives(dir);
	predecessors(dir);
	successors(dir);
}
