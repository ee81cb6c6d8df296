/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Operations on the table of preserved fds beside a plain one, in and out of a session whose messages
 * must give the receiver what is there in the end. The fds are numbers, of nothing.
 *
 * An input is a list of operations: see operate().
 */
#include "ops.h"

#include "fdtable.h"
#include "message.h"

#include <kho/host.h>

#define NR 1024
#define MAX_OPS 3000

static struct {
	int model[NR]; /* 0: none */
	int replica[NR];
	bool session;
	unsigned int nr;
	unsigned int refuse; /* that many calls until the receiver takes one */
	int next_fd;
} t;

static __u64 token_of(unsigned int i)
{
	return (__u64)i << 20 | 7; /* probes collide */
}

static int receive(void *ctx, const __u64 *tokens, const int *fds, unsigned int nr)
{
	FACT(nr && nr <= *(unsigned int *)ctx);
	if (t.refuse) {
		t.refuse--;
		return -EAGAIN;
	}
	for (unsigned int i = 0; i < nr; i++) {
		unsigned int at = (unsigned int)(tokens[i] >> 20);

		FACT(at < NR && tokens[i] == token_of(at));
		/* What is gone may never have come; what comes is not there. */
		FACT(!fds || (fds[i] > 0 && !t.replica[at]));
		t.replica[at] = fds ? fds[i] : 0;
	}
	return 0;
}

static void send_all(unsigned int batch)
{
	int rc;

	while ((rc = kho_fdtable_send_(receive, &batch, batch)) == -EAGAIN)
		;
	FACT(!rc && !memcmp(t.replica, t.model, sizeof(t.model)));
}

static void begin(void)
{
	if (t.session)
		kho_fdtable_end_();
	kho_fdtable_begin_();
	memset(t.replica, 0, sizeof(t.replica));
	t.session = true;
}

static void change(unsigned int i)
{
	if (t.model[i]) {
		FACT(kho_fdtable_add_(token_of(i), 1) == -EEXIST);
		FACT(kho_fdtable_del_(token_of(i)) == t.model[i]);
		t.model[i] = 0;
		t.nr--;
	} else {
		FACT(kho_fdtable_del_(token_of(i)) == -ENOENT);
		t.model[i] = ++t.next_fd;
		FACT(!kho_fdtable_add_(token_of(i), t.model[i]));
		t.nr++;
	}
}

static void check(void)
{
	unsigned int pos = 0, seen = 0;
	__u64 token;
	int fd;

	FACT(kho_fdtable_count_() == t.nr);
	for (unsigned int i = 0; i < NR; i++)
		FACT(kho_fd_get(token_of(i)) == (t.model[i] ?: -ENOENT));
	while ((fd = kho_fd_next(&pos, &token)) >= 0) {
		FACT(t.model[token >> 20] == fd);
		seen++;
	}
	FACT(seen == t.nr);
}

static void operate(struct ops_bytes *in)
{
	u8 op = take_byte(in);
	unsigned int batch = 1 + (op >> 3) * 6;

	switch (op & 7) {
	case 0:
		begin();
		break;
	case 1:
		t.refuse = op >> 3;
		break;
	case 2:
		if (t.session)
			kho_fdtable_send_(receive, &batch, batch);
		break;
	case 3:
		if (t.session)
			send_all(batch);
		break;
	case 4:
		check();
		break;
	case 5: {
		unsigned int first = (unsigned int)take_number(in, 2), nr = take_byte(in);

		for (unsigned int i = 0; i < nr; i++)
			change((first + i * (op >> 3)) % NR);
		break;
	}
	default:
		change((unsigned int)take_number(in, 2) % NR);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ops_bytes in = {data, size};

	memset(&t, 0, sizeof(t));
	for (unsigned int i = 0; i < MAX_OPS && in.left; i++)
		operate(&in);
	check();
	if (!t.session)
		begin();
	send_all(KHO_ABI_MSG_FDS_MAX);
	kho_fdtable_end_();
	for (unsigned int i = 0; i < NR; i++)
		if (t.model[i])
			change(i);
	kho_fdtable_clear_();
	return 0;
}
