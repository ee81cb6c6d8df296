/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * One non-blocking connection: requests out, answers in, in order.
 *
 * The parser takes an answer only when all of it is there; an answer that does not fit
 * the request breaks the connection with -EPROTO.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

#define BUF_FIRST 2048
#define LINE_MAX_BYTES 512 /* an answer's line is shorter, or it is none */

uint64_t load_patience = 8 * LOAD_NS;

struct sockaddr_in load_addr(unsigned int port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return addr;
}

static int buf_room(struct load_buf *buf, size_t need)
{
	size_t size = buf->size ? buf->size : BUF_FIRST;
	char *bytes;

	if (buf->start == buf->end)
		buf->start = buf->end = 0;
	if (buf->size - buf->end >= need)
		return 0;
	if (buf->start) {
		memmove(buf->bytes, buf->bytes + buf->start, buf->end - buf->start);
		buf->end -= buf->start;
		buf->start = 0;
		if (buf->size - buf->end >= need)
			return 0;
	}
	while (size - buf->end < need)
		size *= 2;
	bytes = realloc(buf->bytes, size);
	if (!bytes)
		return -ENOMEM;
	buf->bytes = bytes;
	buf->size = size;
	return 0;
}

int load_conn_init(struct load_conn *conn, int epfd, unsigned int pipeline,
		   const struct load_shape *shape, load_reply_fn reply, void *owner)
{
	memset(conn, 0, sizeof(*conn));
	conn->fd = -1;
	conn->epfd = epfd;
	conn->shape = shape;
	conn->reply = reply;
	conn->owner = owner;
	conn->nr_max = pipeline;
	conn->ops = calloc(pipeline, sizeof(*conn->ops));
	return conn->ops ? 0 : -ENOMEM;
}

void load_conn_free(struct load_conn *conn)
{
	load_conn_close(conn);
	free(conn->ops);
	free(conn->in.bytes);
	free(conn->out.bytes);
	memset(conn, 0, sizeof(*conn));
	conn->fd = -1;
}

int load_conn_open(struct load_conn *conn, const struct sockaddr_in *addr)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP, .data.ptr = conn};
	int one = 1, err;

	conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (conn->fd < 0)
		return -errno;
	setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	conn->connecting = true;
	conn->wants_write = true;
	if ((connect(conn->fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 &&
	     errno != EINPROGRESS) ||
	    epoll_ctl(conn->epfd, EPOLL_CTL_ADD, conn->fd, &ev) < 0) {
		err = -errno;
		load_conn_close(conn);
		return err;
	}
	return 0;
}

void load_conn_close(struct load_conn *conn)
{
	if (conn->fd >= 0)
		close(conn->fd);
	conn->fd = -1;
	conn->in.start = conn->in.end = 0;
	conn->out.start = conn->out.end = 0;
}

bool load_conn_forget(struct load_conn *conn, struct load_op *op)
{
	if (!conn->nr)
		return false;
	*op = conn->ops[conn->head];
	conn->head = (conn->head + 1) % conn->nr_max;
	conn->nr--;
	return true;
}

static size_t value_of(char *buf, const struct load_op *op, const struct load_shape *shape)
{
	size_t len = load_value_len(shape, op->index, op->version);

	load_value_make(buf, len, op->index, op->version);
	memcpy(buf + len, "\r\n", 2);
	return len + 2;
}

size_t load_request(char *buf, size_t size, enum load_proto proto, const struct load_op *op,
		    const struct load_shape *shape)
{
	char key[LOAD_KEY_MAX];
	size_t key_len = load_key(key, op->index), n;
	bool redis = proto == LOAD_REDIS;

	if (op->kind != LOAD_SET)
		return (size_t)snprintf(buf, size, "%s %s\r\n",
					op->kind == LOAD_GET ? "get"
					: redis		     ? "del"
							     : "delete",
					key);
	n = load_value_len(shape, op->index, op->version);
	if (redis)
		n = (size_t)snprintf(buf, size, "*3\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$%zu\r\n",
				     key_len, key, n);
	else
		n = (size_t)snprintf(buf, size, "set %s 0 0 %zu\r\n", key, n);
	return n + value_of(buf + n, op, shape);
}

size_t load_answer(char *buf, size_t size, enum load_proto proto, const struct load_op *op,
		   const struct load_shape *shape)
{
	size_t len = load_value_len(shape, op->index, op->version), n;
	char key[LOAD_KEY_MAX];

	load_key(key, op->index);
	if (proto == LOAD_REDIS) {
		n = (size_t)snprintf(buf, size, "$%zu\r\n", len);
		return n + value_of(buf + n, op, shape);
	}
	n = (size_t)snprintf(buf, size, "VALUE %s 0 %zu\r\n", key, len);
	n += value_of(buf + n, op, shape);
	memcpy(buf + n, "END\r\n", 5);
	return n + 5;
}

int load_conn_add(struct load_conn *conn, const struct load_op *op)
{
	/* 96 bytes hold each command line of load_request() with its key and lengths. */
	size_t need = 96 + (op->kind == LOAD_SET ? conn->shape->max + 2 : 0);

	if (conn->nr == conn->nr_max)
		return -ENOBUFS;
	if (buf_room(&conn->out, need))
		return -ENOMEM;
	conn->out.end +=
		load_request(conn->out.bytes + conn->out.end, need, conn->proto, op, conn->shape);
	conn->ops[(conn->head + conn->nr) % conn->nr_max] = *op;
	conn->nr++;
	return 0;
}

static int want_write(struct load_conn *conn, bool want)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = conn};

	if (conn->wants_write == want)
		return 0;
	conn->wants_write = want;
	if (want)
		ev.events |= EPOLLOUT;
	return epoll_ctl(conn->epfd, EPOLL_CTL_MOD, conn->fd, &ev) < 0 ? -errno : 0;
}

int load_conn_flush(struct load_conn *conn)
{
	struct load_buf *out = &conn->out;
	ssize_t n;

	if (conn->connecting)
		return 0;
	while (out->start < out->end) {
		n = send(conn->fd, out->bytes + out->start, out->end - out->start, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return want_write(conn, true);
		if (n < 0)
			return -errno;
		out->start += (size_t)n;
	}
	return want_write(conn, false);
}

static bool line_is(const char *line, size_t len, const char *text)
{
	return len == strlen(text) && !memcmp(line, text, len);
}

/* "VALUE key flags len" of memcached, "$len" of Redis. Return: false if it is neither. */
static bool value_line(const struct load_conn *conn, const struct load_op *op, const char *line,
		       size_t len, size_t *value_len)
{
	char key[LOAD_KEY_MAX], text[LINE_MAX_BYTES];
	size_t key_len = load_key(key, op->index);
	char *end;

	memcpy(text, line, len);
	text[len] = '\0';
	if (conn->proto == LOAD_REDIS) {
		if (text[0] != '$')
			return false;
		*value_len = strtoul(text + 1, &end, 10);
		return end != text + 1 && !*end;
	}
	if (len < 6 + key_len || memcmp(text, "VALUE ", 6) || memcmp(text + 6, key, key_len) ||
	    memcmp(text + 6 + key_len, " 0 ", 3))
		return false;
	*value_len = strtoul(text + 9 + key_len, &end, 10);
	return !*end;
}

/* Answer to a get that is not an error. Return: bytes taken, 0: more is needed, or -EPROTO. */
static ssize_t parse_get(struct load_conn *conn, const struct load_op *op, const char *bytes,
			 size_t avail, size_t line_len, struct load_reply *reply)
{
	const char *tail = conn->proto == LOAD_REDIS ? "\r\n" : "\r\nEND\r\n";
	size_t head = line_len + 2, tail_len = strlen(tail), len;

	if (line_is(bytes, line_len, "END") || line_is(bytes, line_len, "$-1")) {
		reply->status = LOAD_MISS;
		return (ssize_t)head;
	}
	if (!value_line(conn, op, bytes, line_len, &len) || len > 64u << 20)
		return -EPROTO;
	if (avail < head + len + tail_len)
		return 0;
	if (memcmp(bytes + head + len, tail, tail_len))
		return -EPROTO;
	reply->status = LOAD_OK;
	reply->value = bytes + head;
	reply->len = len;
	return (ssize_t)(head + len + tail_len);
}

static ssize_t parse_one(struct load_conn *conn, const struct load_op *op, const char *bytes,
			 size_t avail, struct load_reply *reply)
{
	const char *end = memchr(bytes, '\n', avail < LINE_MAX_BYTES ? avail : LINE_MAX_BYTES);
	size_t len;

	memset(reply, 0, sizeof(*reply));
	if (!end)
		return avail < LINE_MAX_BYTES ? 0 : -EPROTO;
	len = (size_t)(end - bytes);
	if (!len || bytes[len - 1] != '\r')
		return -EPROTO;
	len--;
	if ((len >= 5 && !memcmp(bytes, "ERROR", 5)) || bytes[0] == '-' ||
	    (len >= 12 &&
	     (!memcmp(bytes, "SERVER_ERROR", 12) || !memcmp(bytes, "CLIENT_ERROR", 12)))) {
		reply->status = LOAD_ERROR;
		reply->value = bytes;
		reply->len = len;
		return (ssize_t)(len + 2);
	}
	if (op->kind == LOAD_GET)
		return parse_get(conn, op, bytes, avail, len, reply);
	if (op->kind == LOAD_SET)
		reply->status = LOAD_OK;
	else
		reply->status = line_is(bytes, len, "DELETED") ? LOAD_OK : LOAD_MISS;
	if (op->kind == LOAD_SET ? line_is(bytes, len, "STORED") || line_is(bytes, len, "+OK")
				 : reply->status == LOAD_OK || line_is(bytes, len, "NOT_FOUND"))
		return (ssize_t)(len + 2);
	return -EPROTO;
}

static int take_answers(struct load_conn *conn)
{
	struct load_buf *in = &conn->in;
	struct load_reply reply;
	struct load_op op;
	ssize_t n;

	while (in->start < in->end && conn->fd >= 0) {
		if (!conn->nr)
			return -EPROTO;
		op = conn->ops[conn->head];
		n = parse_one(conn, &op, in->bytes + in->start, in->end - in->start, &reply);
		if (n <= 0)
			return (int)n;
		load_conn_forget(conn, &op);
		in->start += (size_t)n;
		conn->reply(conn, &op, &reply);
	}
	return 0;
}

static int finish_connect(struct load_conn *conn)
{
	socklen_t len = sizeof(int);
	int err = 0;

	getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &err, &len);
	if (err)
		return -err;
	conn->connecting = false;
	return 0;
}

int load_conn_event(struct load_conn *conn, uint32_t events)
{
	struct load_buf *in = &conn->in;
	ssize_t n;
	int err;

	if (conn->connecting && events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) {
		err = finish_connect(conn);
		if (err)
			return err;
	}
	if (events & EPOLLOUT) {
		err = load_conn_flush(conn);
		if (err)
			return err;
	}
	if (!(events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP)))
		return 0;
	if (buf_room(in, conn->shape->max + LINE_MAX_BYTES))
		return -ENOMEM;
	n = recv(conn->fd, in->bytes + in->end, in->size - in->end, 0);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (!n)
		return -EPIPE;
	in->end += (size_t)n;
	return take_answers(conn);
}
