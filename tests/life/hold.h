/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Holding a process at a step of the protocol, so that a test can kill it, or another, there.
 *
 * KHO_TEST_DIR/hold.STEP, made by the test: whoever reaches STEP writes its pid into
 * KHO_TEST_DIR/at.STEP and waits until hold.STEP is removed.
 */
#ifndef KHO_TESTS_HOLD_H
#define KHO_TESTS_HOLD_H

void hold_install(void);

#endif
