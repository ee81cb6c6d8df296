/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * How long does nobody answer when a server that holds much is replaced?
 *
 *	subject	one way to replace it
 *	event	one replacement; its blackout is the prober's longest gap from before it
 *		until all of it is over, the old process's end included
 */
#ifndef KHO_BENCH_BLACKOUT_H
#define KHO_BENCH_BLACKOUT_H

#include "sized.h"

/* Samples of a run. */
enum {
	BLACKOUT_US,
	BLACKOUT_CHANGE_US,
	BLACKOUT_WHOLE_MS,
};

extern const struct subject *const blackout_subjects[];

#endif
