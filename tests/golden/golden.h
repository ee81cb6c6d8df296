/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Golden files for tests: images, what they contain, and text to hold against that. */
#ifndef TESTS_GOLDEN_GOLDEN_H
#define TESTS_GOLDEN_GOLDEN_H

#include "shim.h"

/* tests/golden/@name, which is a sparse image, to @bytes, zeroed, of @max bytes. Return: its size. */
u64 golden_image(const char *name, char *bytes, u64 max);

/* Lines that a test says. */
struct said {
	char *text;
	size_t len;
};

void said_begin(struct said *said);
void say(struct said *said, const char *format, ...) __attribute__((format(printf, 2, 3)));
void say_bytes(struct said *said, const char *what, const void *bytes, size_t len);
/* Is it what tests/golden/@name says, but for the comments there? Prints the first line that differs. */
bool said_end(struct said *said, const char *name);

#endif
