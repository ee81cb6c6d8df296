/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * cached's command lines: any bytes give a command or a wait, within the buffer, and the
 * result does not depend on how the bytes were cut.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int fact)
{
	if (!fact)
		abort();
}

static void inside(struct span span, const char *buf, size_t len)
{
	must(!span.len || (span.at >= buf && span.at + span.len <= buf + len));
}

static void check(const struct command *cmd, const char *buf, size_t used)
{
	struct span rest = cmd->rest, word;

	must(cmd->verb <= VERB_CACHE_MEMLIMIT);
	must((cmd->verb == VERB_ERROR) == (cmd->error != NULL));
	inside(cmd->key, buf, used);
	inside(cmd->rest, buf, used);
	if (cmd->verb >= VERB_SET && cmd->verb <= VERB_CAS)
		must(cmd->key.len && cmd->key.len <= 250 && cmd->nbytes <= INT32_MAX - 2);
	for (size_t left = rest.len + 1; rest.at && proto_word(&rest, &word); left = rest.len) {
		inside(word, buf, used);
		must(rest.len < left && !memchr(word.at, ' ', word.len));
	}
}

static void split(const char *buf, size_t len)
{
	struct command cmd;
	size_t prefix, used = proto_split(buf, len, &cmd, &prefix);

	if (!used)
		return;
	must(used < len && prefix < used && buf[used - 1] == ' ' && buf[used] != ' ');
	must(cmd.verb >= VERB_GET && cmd.verb <= VERB_GATS);
	check(&cmd, buf, used);
	must(cmd.rest.at == buf + prefix);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *buf = (const char *)data;
	struct command cmd, again;
	size_t used;

	while (size) {
		used = proto_parse(buf, size, &cmd);
		if (!used) {
			must(!memchr(buf, '\n', size));
			split(buf, size);
			break;
		}
		must(used <= size && buf[used - 1] == '\n');
		check(&cmd, buf, used);
		must(proto_parse(buf, used - 1, &again) == 0);
		must(proto_parse(buf, used, &again) == used);
		must(memcmp(&cmd, &again, sizeof(cmd)) == 0);
		buf += used;
		size -= used;
	}
	return 0;
}
