/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * How long does nobody answer after a SIGKILL?
 *
 *	subject	a server and whoever starts it again
 *	event	one kill; its figure is the time from the signal to the first answer of the next process
 *	load	some connections that ask and store at a steady pace meanwhile
 */
#ifndef KHO_BENCH_CRASH_H
#define KHO_BENCH_CRASH_H

#include "sized.h"

extern const struct subject *const crash_subjects[];

/* ---- watch.c: who asks, and when it was answered ---- */

struct watch;
/* @any: every whole answer is one; else the value must be right. */
struct watch *watch_start(unsigned int port, enum load_proto proto, bool any);
void watch_stop(struct watch *watch);
/* Wait for an answer from now on. Return: false: none within @timeout. */
bool watch_answered(struct watch *watch, uint64_t timeout);
/* The old process is dead: from now on answers are the next one's. */
void watch_mark(struct watch *watch);
/* When the first answer since the mark came; 0: none yet. */
uint64_t watch_first(struct watch *watch);

struct pace;
/* @per_s operations, over a few connections; every tenth stores. */
struct pace *pace_start(unsigned int port, enum load_proto proto, uint64_t keys,
			const struct load_shape *shape, unsigned int per_s);
void pace_stop(struct pace *pace);

#endif
