/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The parser: what it takes, what it refuses, and that it never looks outside. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "proto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BAD_FORMAT "CLIENT_ERROR bad command line format\r\n"

static struct command parse(const char *line)
{
	struct command cmd;

	assert_int_equal(proto_parse(line, strlen(line), &cmd), strlen(line));
	return cmd;
}

static void assert_span(struct span span, const char *text)
{
	if (span.len != strlen(text) || memcmp(span.at, text, span.len))
		fail_msg("'%.*s' is not '%s'", (int)span.len, span.at, text);
}

static void refused(const char *line, const char *error)
{
	struct command cmd = parse(line);

	assert_int_equal(cmd.verb, VERB_ERROR);
	assert_string_equal(cmd.error, error);
}

static void a_line_needs_its_end(void **state)
{
	struct command cmd;

	assert_int_equal(proto_parse("", 0, &cmd), 0);
	assert_int_equal(proto_parse("get a", 5, &cmd), 0);
	assert_int_equal(proto_parse("get a\r", 6, &cmd), 0);
	assert_int_equal(proto_parse("get a\r\nget b\r\n", 14, &cmd), 7);
	assert_int_equal(proto_parse("get a\nget b\n", 12, &cmd), 6);
}

static void storing(void **state)
{
	static const struct {
		const char *name;
		enum verb verb;
	} verbs[] = {{"set", VERB_SET},
		     {"add", VERB_ADD},
		     {"replace", VERB_REPLACE},
		     {"append", VERB_APPEND},
		     {"prepend", VERB_PREPEND}};
	struct command cmd;
	char line[100];

	for (size_t i = 0; i < 5; i++) {
		snprintf(line, sizeof(line), "%s key 4294967295 -17 12\r\n", verbs[i].name);
		cmd = parse(line);
		assert_int_equal(cmd.verb, verbs[i].verb);
		assert_span(cmd.key, "key");
		assert_int_equal(cmd.flags, UINT32_MAX);
		assert_int_equal(cmd.exptime, -17);
		assert_int_equal(cmd.nbytes, 12);
		assert_false(cmd.noreply);
	}
	assert_true(parse("  set  k  1 2   3  noreply  \r\n").noreply);
	cmd = parse("cas k 1 2 3 18446744073709551615 noreply\r\n");
	assert_int_equal(cmd.verb, VERB_CAS);
	assert_true(cmd.cas == UINT64_MAX);
	assert_true(cmd.noreply);
	assert_int_equal(parse("cas k 1 2 3 4\r\n").cas, 4);
}

static void storing_refused(void **state)
{
	char line[300];

	refused("set k 0 0\r\n", "ERROR\r\n");
	refused("set k 0 0 1 noreply x\r\n", "ERROR\r\n");
	refused("cas k 0 0 1\r\n", "ERROR\r\n");
	refused("set k x 0 1\r\n", BAD_FORMAT);
	refused("set k -1 0 1\r\n", BAD_FORMAT);
	refused("set k 0 1x 1\r\n", BAD_FORMAT);
	refused("set k 0 0 -1\r\n", BAD_FORMAT);
	refused("set k 0 0 2147483646\r\n", BAD_FORMAT);
	assert_int_equal(parse("set k 0 0 2147483645\r\n").nbytes, 2147483645);
	refused("set k 0 0 99999999999999999999\r\n", BAD_FORMAT);
	refused("cas k 0 0 1 -2\r\n", BAD_FORMAT);
	refused("cas k 0 0 1 18446744073709551616\r\n", BAD_FORMAT);
	memset(line, 'k', sizeof(line));
	memcpy(line, "set ", 4);
	strcpy(line + 4 + 250, " 0 0 1\r\n");
	assert_int_equal(parse(line).key.len, 250);
	memset(line + 4, 'k', 251);
	strcpy(line + 4 + 251, " 0 0 1\r\n");
	refused(line, BAD_FORMAT);
}

static void getting(void **state)
{
	struct command cmd = parse("get a  bb ccc \r\n");
	struct span key;

	assert_int_equal(cmd.verb, VERB_GET);
	assert_true(proto_word(&cmd.rest, &key));
	assert_span(key, "a");
	assert_true(proto_word(&cmd.rest, &key));
	assert_span(key, "bb");
	assert_true(proto_word(&cmd.rest, &key));
	assert_span(key, "ccc");
	assert_false(proto_word(&cmd.rest, &key));
	assert_int_equal(parse("gets a\r\n").verb, VERB_GETS);
	cmd = parse("gat 100 a b\r\n");
	assert_int_equal(cmd.verb, VERB_GAT);
	assert_int_equal(cmd.exptime, 100);
	assert_span(cmd.rest, " a b");
	assert_int_equal(parse("gats -1 a\r\n").verb, VERB_GATS);
	refused("get\r\n", "ERROR\r\n");
	refused("get  \r\n", "ERROR\r\n");
	refused("gat\r\n", "ERROR\r\n");
	refused("gat x a\r\n", "CLIENT_ERROR invalid exptime argument\r\n");
	refused("getter a\r\n", "ERROR\r\n");
}

static void others(void **state)
{
	struct command cmd = parse("incr k 18446744073709551615\r\n");

	assert_int_equal(cmd.verb, VERB_INCR);
	assert_true(cmd.delta == UINT64_MAX);
	refused("decr k -1\r\n", "CLIENT_ERROR invalid numeric delta argument\r\n");
	assert_int_equal(parse("touch k 5 noreply\r\n").exptime, 5);
	refused("touch k x\r\n", "CLIENT_ERROR invalid exptime argument\r\n");
	assert_int_equal(parse("delete k\r\n").verb, VERB_DELETE);
	assert_true(parse("delete k 0 noreply\r\n").noreply);
	refused("delete k 1\r\n", "CLIENT_ERROR bad command line format.  "
				  "Usage: delete <key> [noreply]\r\n");
	assert_false(parse("flush_all\r\n").has_exptime);
	assert_false(parse("flush_all noreply\r\n").has_exptime);
	assert_int_equal(parse("flush_all 7 noreply\r\n").exptime, 7);
	assert_span(parse("stats items x\r\n").rest, " items x");
	assert_int_equal(parse("GET / HTTP/1.1\r\n").verb, VERB_QUIT);
	refused("\r\n", "ERROR\r\n");
	refused("x\r\n", "ERROR\r\n");
	refused("SET k 0 0 1\r\n", "ERROR\r\n");
}

/* An error that nobody wants to hear of. */
static void errors_know_noreply(void **state)
{
	assert_true(parse("set k x 0 1 noreply\r\n").noreply);
	assert_true(parse("incr k x noreply\r\n").noreply);
	assert_false(parse("nonsense noreply\r\n").noreply);
}

static void long_gets_are_split(void **state)
{
	const char *line = "gat 100 one two thr";
	struct command cmd;
	size_t prefix, used = proto_split(line, strlen(line), &cmd, &prefix);

	assert_int_equal(used, strlen("gat 100 one two "));
	assert_int_equal(prefix, strlen("gat 100"));
	assert_span(cmd.rest, " one two ");
	assert_int_equal(proto_split("set a b", 7, &cmd, &prefix), 0);
	assert_int_equal(proto_split("get aaaaaa", 10, &cmd, &prefix), 0);
	assert_int_equal(proto_split("get a  ", 7, &cmd, &prefix), 0);
	assert_int_equal(proto_split("aaaaaaaaaa", 10, &cmd, &prefix), 0);
	assert_int_equal(proto_split("", 0, &cmd, &prefix), 0);
}

static void numbers(void **state)
{
	__u64 value;
	char text[21];

	assert_true(proto_u64("0", 1, &value) && value == 0);
	assert_true(proto_u64("00012", 5, &value) && value == 12);
	assert_true(proto_u64("-0", 2, &value) && value == 0);
	assert_false(proto_u64("", 0, &value));
	assert_false(proto_u64("-", 1, &value));
	assert_false(proto_u64("1a", 2, &value));
	assert_int_equal(proto_decimal(text, 0) - text, 1);
	assert_int_equal(proto_decimal(text, UINT64_MAX) - text, 20);
	assert_memory_equal(text, "18446744073709551615", 20);
}

/* Pieces of real lines in any order, and any bytes: the fuzz target's assertions hold. */
static void random_lines(void **state)
{
	static const char *const pieces[] = {"get ",  "gets ", "gat ",	 "set ", "cas ",
					     "incr ", "stats", "key",	 " ",	 "0",
					     "-1",    "250",   "\r\n",	 "\n",	 "noreply",
					     "x",     "HTTP/", "delete "};
	const char *seed_text = getenv("KHO_SEED");
	unsigned int seed = seed_text ? strtoul(seed_text, NULL, 0) : (unsigned int)time(NULL);
	uint8_t *line;
	size_t len;

	printf("KHO_SEED=%u\n", seed);
	for (int i = 0; i < 50000; i++) {
		char buf[256];

		for (len = 0; len < 200 && rand_r(&seed) % 12;) {
			const char *piece = pieces[rand_r(&seed) % 18];

			if (rand_r(&seed) % 8 == 0)
				buf[len++] = rand_r(&seed);
			memcpy(buf + len, piece, strlen(piece));
			len += strlen(piece);
		}
		/* Exactly as large as the line, for the sanitizer. */
		line = malloc(len ? len : 1);
		memcpy(line, buf, len);
		LLVMFuzzerTestOneInput(line, len);
		free(line);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_needs_its_end),
		cmocka_unit_test(storing),
		cmocka_unit_test(storing_refused),
		cmocka_unit_test(getting),
		cmocka_unit_test(others),
		cmocka_unit_test(errors_know_noreply),
		cmocka_unit_test(long_gets_are_split),
		cmocka_unit_test(numbers),
		cmocka_unit_test(random_lines),
	};

	return cmocka_run_group_tests_name("cached-proto", tests, NULL, NULL);
}
