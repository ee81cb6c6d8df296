/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What the processes of bench/sessions share.
 *
 *	group	a server, its kho run, and the process that has its clients: as many connections as the
 *		limit of open files leaves each of the three
 */
#ifndef BENCH_SESSIONS_H
#define BENCH_SESSIONS_H

/* What a server answers, as text: times are means, since the last answer but for @retrieve and @first. */
struct figures {
	double preserve, retrieve, close; /* ns */
	double first; /* us */
	unsigned int retrieved;
};

#define FIGURES_OUT "%.1f %.1f %.1f %.1f %u\n"
#define FIGURES_IN "%lf %lf %lf %lf %u"

/* To the clients, and back. */
enum order {
	CONNECT, /* until there are @nr, then ask on the last one */
	ASK, /* on connection @nr */
	HANG_UP, /* the server is to close @count from @nr on; until that is seen: @us */
};

struct order_msg {
	enum order what;
	unsigned int nr, count;
};

struct reply_msg {
	struct figures figures;
	double us;
};

/* The server, in a program that kho run starts. */
void serve(void);
/* The clients: carries out what comes on @channel, until that is closed. Ends the process. */
void be_clients(int channel, const char *path, unsigned int max);

#endif
