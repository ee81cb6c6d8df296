/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* JSON, a member a line; objects of few members on one. */
#ifndef KHO_TOOL_JSON_OUT_H
#define KHO_TOOL_JSON_OUT_H

#include <stdbool.h>
#include <stdio.h>

#include <kho/types.h>

/**
 * struct json - a text being written
 * @depth: of objects and arrays that are open
 * @flat: from this depth on, all is on one line; 0: not
 * @first: nothing is in the innermost yet
 */
struct json {
	FILE *out;
	unsigned int depth;
	unsigned int flat;
	bool first;
};

/* @key: NULL in arrays. @open: '{' or '['. */
void json_open(struct json *j, const char *key, char open);
/* The same, all on one line. */
void json_open_flat(struct json *j, const char *key, char open);
void json_close(struct json *j, char close);

void json_u64(struct json *j, const char *key, __u64 value);
/* Addresses and words of 64 bits, which many readers of JSON cannot have as numbers: "0x1000". */
void json_hex(struct json *j, const char *key, __u64 value);
void json_bool(struct json *j, const char *key, bool value);
/* NULL: null. */
void json_text(struct json *j, const char *key, const char *value);

#endif
