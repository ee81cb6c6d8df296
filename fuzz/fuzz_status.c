/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What kho status, stop and upgrade make of any answer of a supervisor, or of whoever sits at its socket. They end, and
 * JSON is JSON.
 *
 * An input: which command; then answers, each a byte for its type, two for its length, and its bytes.
 */
#include "ops.h"

#include "message.h"
#include "tool.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_ANSWERS 8

static struct ops_bytes in;
static int sockets[16];
static unsigned int nr_sockets;
static char dir[] = "/tmp/kho-fuzz-XXXXXX";

/* ---- the rest of the tool ---- */

void __wrap_complain(const char *format, ...);
void __wrap_complain(const char *format, ...)
{
}

int parse_ms(const char *what, const char *text, unsigned int *ms)
{
	return -EINVAL;
}

int parse_name(const char *text, char *name, bool complains)
{
	strcpy(name, "name");
	return 0;
}

int open_program(const char *name)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

int socket_path(const char *name, char *path, size_t size, bool make)
{
	return snprintf(path, size, "%s/%s.sock", dir, name) < 0;
}

int run_dir(char *path, size_t size, bool make)
{
	return snprintf(path, size, "%s", dir) < 0;
}

/* What it answers has been sent before it is asked. */
int connect_control(const char *path)
{
	static u8 bytes[KHO_ABI_MSG_MAX];
	int pair[2];

	FACT(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	for (unsigned int i = 0; i < MAX_ANSWERS && in.left; i++) {
		struct kho_abi_msg head = {KHO_ABI_MSG_MAGIC, 0, 0};
		u8 type = take_byte(&in);

		head.type = type < 64 ? KHO_MSG_CTL_REPLY : type < 96 ? KHO_MSG_CTL_PROGRESS : type;
		head.len = (u16)(take_number(&in, 2) % (KHO_MSG_BODY_MAX + 1));
		memcpy(bytes, &head, sizeof(head));
		for (unsigned int b = 0; b < head.len; b++)
			bytes[sizeof(head) + b] = take_byte(&in);
		send(pair[0], bytes, sizeof(head) + head.len, MSG_DONTWAIT);
	}
	/* Whoever asks must not find it gone, and must not wait. */
	shutdown(pair[0], SHUT_WR);
	FACT(nr_sockets + 2 <= 16);
	sockets[nr_sockets++] = pair[0];
	sockets[nr_sockets++] = pair[1];
	return sockets[nr_sockets - 1];
}

/* A command leaves some open: its process ends. */
static void close_sockets(void)
{
	while (nr_sockets)
		if (fcntl(sockets[--nr_sockets], F_GETFD) >= 0)
			close(sockets[nr_sockets]);
}

/* ---- facts ---- */

static const char *json_text(const char *s)
{
	FACT(*s++ == '"');
	while (*s != '"') {
		FACT((unsigned char)*s >= 0x20);
		if (*s++ != '\\')
			continue;
		FACT(strchr("\"\\u", *s));
		if (*s++ == 'u')
			for (int i = 0; i < 4; i++, s++)
				FACT(strchr("0123456789abcdef", *s) && *s);
	}
	return s + 1;
}

static const char *json_number(const char *s)
{
	FACT(*s >= '0' && *s <= '9');
	FACT(*s != '0' || s[1] < '0' || s[1] > '9'); /* none begins with 0 */
	while (*s >= '0' && *s <= '9')
		s++;
	return s;
}

/* An object of texts and numbers. */
static const char *json_object(const char *s)
{
	FACT(*s++ == '{');
	while (*s != '}') {
		s = json_text(s);
		FACT(!strncmp(s, ": ", 2));
		s += 2;
		if (*s == '"')
			s = json_text(s);
		else
			s = json_number(s);
		if (!strncmp(s, ", ", 2))
			s += 2;
		else
			FACT(*s == '}');
	}
	return s + 1;
}

static void check_json(const char *s, bool list)
{
	if (!*s)
		return; /* it did not answer */
	if (list)
		FACT(*s++ == '[');
	if (*s == '{')
		s = json_object(s);
	FACT(!strcmp(s, list ? "]\n" : "\n"));
}

/* The directory of control sockets, with one that connect_control() knows how to answer for. */
static void remove_dir(void)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/x.sock", dir);
	unlink(path);
	rmdir(dir);
}

static void make_dir(void)
{
	char path[64];

	FACT(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/x.sock", dir);
	FACT(!close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)));
	FACT(!atexit(remove_dir));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char *const commands[][4] = {{"status", NULL},	       {"status", "--json", NULL},
					    {"status", "name", NULL},  {"status", "--json", "name"},
					    {"status", "4711", NULL},  {"stop", "name", NULL},
					    {"upgrade", "name", NULL}, {"upgrade", "name", "arg"}};
	static bool made;
	char *text = NULL, *argv[5] = {NULL};
	FILE *was = stdout;
	unsigned int which;
	size_t len = 0;
	int argc = 0;

	if (!made)
		make_dir();
	made = true;
	in = (struct ops_bytes){data, size};
	which = take_byte(&in) % 8;
	while (argc < 4 && commands[which][argc]) {
		argv[argc] = commands[which][argc];
		argc++;
	}
	stdout = open_memstream(&text, &len);
	FACT(stdout);
	if (which < 5)
		cmd_status(argc, argv);
	else if (which == 5)
		cmd_stop(argc, argv);
	else
		cmd_upgrade(argc, argv);
	fclose(stdout);
	stdout = was;
	if (which == 1 || which == 3)
		check_json(text, which == 1);
	free(text);
	close_sockets();
	return 0;
}
