/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* An arena for a test: made, owned, dropped as by a crash, and owned again, in one process. */
#ifndef KHO_TEST_ARENA_FIXTURE_H
#define KHO_TEST_ARENA_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "arena.h"

/* A new arena of at most @max bytes, owned. */
void arena_new(__u64 max);
/* What a crash leaves: private state is gone. Then attach as the next program would, validating everything. */
void arena_crash(void);
/* Unmap it. */
void arena_drop(void);
/* Live objects that the heap counts. */
__u64 arena_live(void);
/*
 * Are all slabs sound? Of those whose objects are preserved singly that includes that bytes of nobody
 * are 0. Nothing is adopted. Return: 0 or a fault; kho_error() says more.
 */
int arena_check_slabs(void);
/* Seed of the random tests: KHO_SEED, or from the clock; printed. */
uint64_t test_seed(void);
uint64_t test_random(uint64_t *state);

#endif
