/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * One client. It sends some commands at once, in pieces of any size, so that a kill finds the server in
 * the middle of lines and values; then reads all answers, and checks each. It connects once: a
 * connection that ends is an error.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "torture.h"

#define BATCH_MAX 8
#define PATIENCE_MS 20000

enum what { INCR, ADD, APPEND, GETS, CAS, SET, GET };

struct expected {
	enum what what;
	unsigned int key;
	uint32_t id;
	size_t len; /* of SET and GET */
};

struct client {
	unsigned int number;
	unsigned int seed;
	int fd;
	uint64_t asked;
	uint32_t nr_appends, nr_cas;
	struct expected expected[2 * BATCH_MAX];
	unsigned int nr_expected, nr_answered;
	bool chain_read; /* the last GETS was answered */
	unsigned int chain;
	uint32_t chain_value;
	unsigned long long chain_cas;
	size_t own_len; /* of the last value that was set */
	unsigned int own_seed;
	char *out;
	size_t out_len, out_sent;
	char *in;
	size_t in_len;
};

static unsigned int draw(struct client *c, unsigned int n)
{
	return (unsigned int)rand_r(&c->seed) % n;
}

struct client *client_new(unsigned int number, unsigned int port, unsigned int seed)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	struct client *c = calloc(1, sizeof(*c));
	int one = 1;

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	c->number = number;
	c->seed = seed + number;
	c->out = malloc(BATCH_MAX * (VALUE_MAX + 200));
	c->in = malloc(VALUE_MAX + 4096);
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(c->fd, (struct sockaddr *)&to, sizeof(to)))
		broken("client %u cannot connect: %s", number, strerror(errno));
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return c;
}

int client_fd(const struct client *c)
{
	return c->fd;
}

bool client_writes(const struct client *c)
{
	return c->out_sent < c->out_len;
}

bool client_idle(const struct client *c)
{
	return !client_writes(c) && c->nr_answered == c->nr_expected;
}

void client_patience(const struct client *c)
{
	if (!client_idle(c) && now_ms() - c->asked > PATIENCE_MS)
		broken("client %u: no answer to command %u of %u for %d ms", c->number,
		       c->nr_answered + 1, c->nr_expected, PATIENCE_MS);
}

/* ---- questions ---- */

static void expect(struct client *c, enum what what, unsigned int key, uint32_t id, size_t len)
{
	c->expected[c->nr_expected++] = (struct expected){what, key, id, len};
}

static void own_value(char *to, unsigned int number, unsigned int seed, size_t len)
{
	for (size_t i = 0; i < len; i++)
		to[i] = (char)('a' + (i * 7 + seed + number) % 26);
}

static void ask_append(struct client *c)
{
	unsigned int window = c->nr_appends / WINDOW;
	uint32_t id = c->number * 10000000u + c->nr_appends++;

	if (id % WINDOW == 0 || window == 0) {
		c->out_len += (size_t)sprintf(c->out + c->out_len, "add a%u 0 0 0\r\n\r\n", window);
		expect(c, ADD, window, 0, 0);
	}
	c->out_len +=
		(size_t)sprintf(c->out + c->out_len, "append a%u 0 0 11\r\n%010u;\r\n", window, id);
	expect(c, APPEND, window, id, 0);
}

static void ask_chain(struct client *c)
{
	uint32_t id;

	if (!c->chain_read) {
		c->chain = draw(c, CHAINS);
		c->out_len += (size_t)sprintf(c->out + c->out_len, "gets x%u\r\n", c->chain);
		expect(c, GETS, c->chain, 0, 0);
		return;
	}
	c->chain_read = false;
	id = c->number * 10000000u + ++c->nr_cas;
	c->out_len += (size_t)sprintf(c->out + c->out_len, "cas x%u 0 0 10 %llu\r\n%010u\r\n",
				      c->chain, c->chain_cas, id);
	expect(c, CAS, c->chain, id, 0);
}

static void ask_own(struct client *c)
{
	size_t len = draw(c, 4) ? draw(c, 3000) : draw(c, VALUE_MAX);

	if (draw(c, 2) && c->own_len) {
		c->out_len += (size_t)sprintf(c->out + c->out_len, "get o%u\r\n", c->number);
		expect(c, GET, 0, c->own_seed, c->own_len);
		return;
	}
	c->own_len = len + 1;
	c->own_seed = draw(c, 1000);
	c->out_len +=
		(size_t)sprintf(c->out + c->out_len, "set o%u 0 0 %zu\r\n", c->number, c->own_len);
	own_value(c->out + c->out_len, c->number, c->own_seed, c->own_len);
	c->out_len += c->own_len;
	memcpy(c->out + c->out_len, "\r\n", 2);
	c->out_len += 2;
	expect(c, SET, 0, 0, 0);
}

void client_ask(struct client *c, bool last)
{
	unsigned int nr = 1 + draw(c, BATCH_MAX);
	bool chained = false;

	if (last)
		return;
	c->out_len = c->out_sent = 0;
	c->nr_expected = c->nr_answered = 0;
	while (nr--) {
		unsigned int kind = draw(c, 16), counter = draw(c, COUNTERS);

		if (kind < 6) {
			c->out_len +=
				(size_t)sprintf(c->out + c->out_len, "incr c%u 1\r\n", counter);
			expect(c, INCR, counter, 0, 0);
		} else if (kind < 10) {
			ask_append(c);
		} else if (kind < 15 && !chained) {
			chained = true; /* the next step needs the answer to this one */
			ask_chain(c);
		} else if (kind == 15) {
			ask_own(c);
		}
	}
	c->asked = now_ms();
}

void client_write(struct client *c)
{
	size_t left = c->out_len - c->out_sent, piece = left;
	ssize_t n;

	if (draw(c, 2))
		piece = 1 + draw(c, (unsigned int)left);
	n = send(c->fd, c->out + c->out_sent, piece, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN)
		broken("client %u: the connection was lost: %s", c->number, strerror(errno));
	if (n > 0)
		c->out_sent += (size_t)n;
}

/* ---- answers ---- */

static bool is(const char *line, const char *want)
{
	return !strncmp(line, want, strlen(want));
}

static void unexpected(const struct client *c, const char *want)
{
	broken("client %u, command %u of %u: answer \"%.60s\", not %s", c->number,
	       c->nr_answered + 1, c->nr_expected, c->in, want);
}

static void hear_own(struct client *c, const struct expected *e, const char *value, size_t len)
{
	static char want[VALUE_MAX + 1];

	own_value(want, c->number, e->id, e->len);
	if (len != e->len || memcmp(value, want, len))
		broken("client %u: its own value of %zu bytes came back otherwise, with %zu",
		       c->number, e->len, len);
}

/* Return: bytes of a whole "VALUE key flags bytes [cas]", value and END; 0: not all is there. */
static size_t hear_value(struct client *c, const struct expected *e)
{
	char *end = memmem(c->in, c->in_len, "\r\n", 2), key[64];
	unsigned long long cas = 0;
	unsigned int flags;
	size_t len, head;

	if (!end)
		return 0;
	head = (size_t)(end - c->in) + 2;
	if (sscanf(c->in, "VALUE %63s %u %zu %llu", key, &flags, &len, &cas) < 3)
		unexpected(c, "a value");
	if (c->in_len < head + len + 7)
		return 0;
	if (memcmp(c->in + head + len, "\r\nEND\r\n", 7))
		unexpected(c, "a value that ends");
	if (e->what == GET) {
		hear_own(c, e, c->in + head, len);
	} else {
		c->chain_read = true;
		c->chain_cas = cas;
		c->chain_value = (uint32_t)strtoul(c->in + head, NULL, 10);
	}
	return head + len + 7;
}

static void hear_line(struct client *c, const struct expected *e)
{
	switch (e->what) {
	case INCR:
		if (*c->in < '0' || *c->in > '9')
			unexpected(c, "a number");
		record_incr(e->key, strtoull(c->in, NULL, 10));
		break;
	case ADD:
		if (!is(c->in, "STORED") && !is(c->in, "NOT_STORED"))
			unexpected(c, "STORED or NOT_STORED");
		break;
	case APPEND:
		if (!is(c->in, "STORED"))
			unexpected(c, "STORED");
		record_append(e->key, e->id);
		break;
	case CAS:
		if (!is(c->in, "STORED") && !is(c->in, "EXISTS"))
			unexpected(c, "STORED or EXISTS");
		record_cas(e->key, c->chain_value, e->id, is(c->in, "STORED"));
		break;
	default:
		if (!is(c->in, "STORED"))
			unexpected(c, "STORED");
	}
}

/* Return: an answer was there. */
static bool hear(struct client *c)
{
	const struct expected *e = &c->expected[c->nr_answered];
	size_t used = 0;

	c->in[c->in_len] = '\0';
	if (c->nr_answered == c->nr_expected) {
		if (c->in_len)
			broken("client %u: an answer to nothing: \"%.60s\"", c->number, c->in);
		return false;
	}
	if (e->what == GETS || e->what == GET) {
		used = hear_value(c, e);
	} else {
		char *end = memmem(c->in, c->in_len, "\r\n", 2);

		if (end) {
			used = (size_t)(end - c->in) + 2;
			hear_line(c, e);
		}
	}
	if (!used)
		return false;
	c->nr_answered++;
	c->in_len -= used;
	memmove(c->in, c->in + used, c->in_len);
	return true;
}

void client_read(struct client *c)
{
	ssize_t n = recv(c->fd, c->in + c->in_len, VALUE_MAX + 4000 - c->in_len, MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0)
		broken("client %u: the connection was lost: %s", c->number,
		       n ? strerror(errno) : "end of file");
	c->in_len += (size_t)n;
	while (hear(c))
		;
}
