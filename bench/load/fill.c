/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Fill a server with keys: few connections, long pipelines. */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "load.h"

#define FILL_CONNS 4
#define FILL_PIPELINE 256
/* Queued bytes of a connection beyond which nothing is added: big values fill less deep. */
#define FILL_QUEUE (256u << 10)

struct filler {
	struct load_fill *fill;
	struct load_conn conns[FILL_CONNS];
	uint64_t sent;
	uint64_t done;
	bool refused;
};

static void fill_reply(struct load_conn *conn, const struct load_op *op,
		       const struct load_reply *reply)
{
	struct filler *filler = conn->owner;
	char key[LOAD_KEY_MAX];

	if (reply->status != LOAD_OK)
		filler->refused = true;
	filler->done++;
	filler->fill->bytes += load_key(key, op->index) +
			       load_value_len(&filler->fill->shape, op->index, op->version);
}

static int fill_more(struct filler *filler, struct load_conn *conn)
{
	struct load_fill *fill = filler->fill;
	struct load_op op = {.version = 1, .kind = LOAD_SET};
	int err;

	/* Many at a time: a system call each would cost more than the server does. */
	if (conn->nr > conn->nr_max / 2)
		return 0;
	while (filler->sent < fill->nr && conn->out.end - conn->out.start < FILL_QUEUE) {
		op.index = fill->first + filler->sent;
		err = load_conn_add(conn, &op);
		if (err == -ENOBUFS)
			break;
		if (err)
			return err;
		filler->sent++;
	}
	return load_conn_flush(conn);
}

static int fill_loop(struct filler *filler, int epfd)
{
	struct load_fill *fill = filler->fill;
	struct epoll_event ev[FILL_CONNS];
	struct load_conn *conn;
	int i, nr, err;

	while (filler->done < fill->nr) {
		nr = epoll_wait(epfd, ev, FILL_CONNS, 30000);
		if (nr < 0 && errno == EINTR)
			continue;
		if (nr <= 0)
			return nr ? -errno : -ETIMEDOUT;
		for (i = 0; i < nr; i++) {
			conn = ev[i].data.ptr;
			err = load_conn_event(conn, ev[i].events);
			if (!err)
				err = fill_more(filler, conn);
			if (err)
				return err;
		}
		if (filler->refused)
			return -EIO;
		if (fill->progress)
			fill->progress(fill->ctx, filler->done, fill->nr);
	}
	return 0;
}

int load_fill(struct load_fill *fill)
{
	struct sockaddr_in addr = load_addr(fill->port);
	struct filler filler = {.fill = fill};
	int epfd = epoll_create1(EPOLL_CLOEXEC), err = 0;
	unsigned int i;

	if (epfd < 0)
		return -errno;
	fill->bytes = 0;
	for (i = 0; i < FILL_CONNS; i++) {
		if (load_conn_init(&filler.conns[i], epfd, FILL_PIPELINE, &fill->shape, fill_reply,
				   &filler))
			err = -ENOMEM;
		filler.conns[i].proto = fill->proto;
		if (!err)
			err = load_conn_open(&filler.conns[i], &addr);
	}
	if (!err)
		err = fill_loop(&filler, epfd);
	for (i = 0; i < FILL_CONNS; i++)
		load_conn_free(&filler.conns[i]);
	close(epfd);
	return err;
}
