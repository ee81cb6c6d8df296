/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A writer of JSON.
 */
#include "json_out.h"
#include "tool.h"

static void begin(struct json *j, const char *key)
{
	bool flat = j->flat && j->depth >= j->flat;

	if (j->depth) {
		if (!j->first)
			fputc(',', j->out);
		if (flat)
			fputs(j->first ? "" : " ", j->out);
		else
			fprintf(j->out, "\n%*s", (int)j->depth * 2, "");
	}
	j->first = false;
	if (key) {
		json_string(j->out, key);
		fputs(": ", j->out);
	}
}

void json_open(struct json *j, const char *key, char open)
{
	begin(j, key);
	fputc(open, j->out);
	j->depth++;
	j->first = true;
}

void json_open_flat(struct json *j, const char *key, char open)
{
	json_open(j, key, open);
	if (!j->flat)
		j->flat = j->depth;
}

void json_close(struct json *j, char close)
{
	bool flat = j->flat && j->depth >= j->flat;

	if (j->flat == j->depth)
		j->flat = 0;
	j->depth--;
	if (!j->first && !flat)
		fprintf(j->out, "\n%*s", (int)j->depth * 2, "");
	fputc(close, j->out);
	j->first = false;
	if (!j->depth)
		fputc('\n', j->out);
}

void json_u64(struct json *j, const char *key, __u64 value)
{
	begin(j, key);
	fprintf(j->out, "%llu", (unsigned long long)value);
}

void json_hex(struct json *j, const char *key, __u64 value)
{
	begin(j, key);
	fprintf(j->out, "\"0x%llx\"", (unsigned long long)value);
}

void json_bool(struct json *j, const char *key, bool value)
{
	begin(j, key);
	fputs(value ? "true" : "false", j->out);
}

void json_text(struct json *j, const char *key, const char *value)
{
	begin(j, key);
	if (value)
		json_string(j->out, value);
	else
		fputs("null", j->out);
}
