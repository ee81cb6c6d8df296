/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A kernel with a live update orchestrator, for tests: a thread of the test's that holds what is
 * preserved, and in kho-fake (kho(1) with fake_client.c) calls that ask it, over a socket.
 *
 * A device or a session is a connection: the session's other end is here, so that its closing is seen,
 * as a kernel sees it. A jump makes the sessions that are open incoming ones, files and all.
 */
#ifndef KHO_TESTS_FAKE_KERNEL_H
#define KHO_TESTS_FAKE_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

#define FAKE_ENV "KHO_TEST_KERNEL" /* path of the socket */

/* One request: @nr as KHO_LIVEUPDATE_*; the answer has @error, and its fd comes along. */
struct fake_request {
	uint64_t nr;
	uint64_t token;
	char name[64];
};

struct fake_answer {
	int error;
};

#define FAKE_OPEN 1
#define FAKE_LOADED 2

/* Starts it, and sets FAKE_ENV. */
void fake_start(void);
void fake_stop(void);
/* What kexec_loaded says from now on; what opening and preserving fail with (0: they do not). */
void fake_set(bool loaded, int open_error, int preserve_error);
/* The kernel is replaced: what is open goes over, what came in before and was not finished is lost. */
void fake_jump(void);
/* A file in an incoming session, out of nowhere. */
void fake_hand_over(const char *name, uint64_t token, int fd);
/* How many sessions are outgoing, incoming. */
unsigned int fake_outgoing(void);
unsigned int fake_incoming(void);

#endif
