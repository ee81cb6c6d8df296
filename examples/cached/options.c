/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The command line: memcached's names where it has the thing.
 */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cached.h"

#define MIB (1ULL << 20)

struct options options = {
	.port = "11211",
	.limit = 64 * MIB,
	.item_max = MIB,
	.threads = 4,
	.conns = 1024,
	.healthy_after = 1500,
};

static const char usage[] =
	"usage: cached [options]\n"
	"  -p, --port=NUM            TCP port (default 11211)\n"
	"  -l, --listen=ADDR,...     addresses to listen on (default: all)\n"
	"  -s, --unix-socket=PATH    listen on a Unix socket instead\n"
	"  -m, --memory-limit=MB     memory for items (default 64)\n"
	"  -t, --threads=NUM         worker threads, 1 to 64 (default 4)\n"
	"  -c, --conn-limit=NUM      connections at a time (default 1024)\n"
	"  -I, --max-item-size=SIZE  largest item, with k or m; 1k to 1024m (default 1m)\n"
	"  -v, --verbose             more words; may be repeated\n"
	"      --healthy-after=MS    after an upgrade, let the old program go after this\n"
	"                            long of good service (default 1500)\n"
	"      --debug               allow \"stats check\", which walks all items\n"
	"  -h, --help                this text\n"
	"  -V, --version             the version\n"
	"Sockets that kho run holds, or an old program left, come before -p, -l and -s.\n";

static void __attribute__((format(printf, 1, 2), noreturn)) bad(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("cached: ", stderr);
	vfprintf(stderr, format, args);
	fputs("\nTry 'cached --help'.\n", stderr);
	va_end(args);
	exit(64);
}

static __u64 number(const char *option, const char *text, __u64 min, __u64 max)
{
	__u64 value;

	if (!proto_u64(text, strlen(text), &value) || strspn(text, "0123456789") != strlen(text))
		bad("%s: '%s' is not a number", option, text);
	if (value < min || value > max)
		bad("%s: %s is not between %llu and %llu", option, text, (unsigned long long)min,
		    (unsigned long long)max);
	return value;
}

static __u64 size(const char *option, const char *text)
{
	size_t len = strlen(text);
	__u64 unit = 1, value;
	char digits[24];

	if (len && strchr("kKmM", text[len - 1]))
		unit = strchr("kK", text[--len]) ? 1024 : MIB;
	if (len >= sizeof(digits))
		len = 0;
	memcpy(digits, text, len);
	digits[len] = 0;
	value = number(option, digits, 1, 1024 * MIB) * unit;
	if (value < 1024 || value > 1024 * MIB)
		bad("%s: %s is not between 1k and 1024m", option, text);
	return value;
}

static void one(int option, const char *arg)
{
	switch (option) {
	case 'p':
		number("-p", arg, 0, 65535);
		options.port = arg;
		break;
	case 'l':
		options.listen = arg;
		break;
	case 's':
		options.unix_path = arg;
		break;
	case 'm':
		options.limit = number("-m", arg, 1, 1 << 24) * MIB;
		break;
	case 't':
		options.threads = number("-t", arg, 1, MAX_WORKERS);
		break;
	case 'c':
		options.conns = number("-c", arg, 1, NR_CHUNKS * CHUNK_STATES);
		break;
	case 'I':
		options.item_max = size("-I", arg);
		break;
	case 'v':
		options.verbose++;
		break;
	case 'H':
		options.healthy_after = number("--healthy-after", arg, 0, 3600000);
		break;
	case 'D':
		options.debug = true;
		break;
	case 'h':
		fputs(usage, stdout);
		exit(0);
	case 'V':
		puts("cached " CACHED_VERSION);
		exit(0);
	}
}

void options_parse(int argc, char **argv)
{
	static const struct option names[] = {
		{"port", 1, NULL, 'p'},
		{"listen", 1, NULL, 'l'},
		{"unix-socket", 1, NULL, 's'},
		{"memory-limit", 1, NULL, 'm'},
		{"threads", 1, NULL, 't'},
		{"conn-limit", 1, NULL, 'c'},
		{"max-item-size", 1, NULL, 'I'},
		{"verbose", 0, NULL, 'v'},
		{"healthy-after", 1, NULL, 'H'},
		{"debug", 0, NULL, 'D'},
		{"help", 0, NULL, 'h'},
		{"version", 0, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, ":p:l:s:m:t:c:I:vhV", names, NULL)) != -1) {
		if (option == ':')
			bad("%s needs a value", argv[optind - 1]);
		if (option == '?')
			bad("unknown option '%s'", argv[optind - 1]);
		one(option, optarg);
	}
	if (optind < argc)
		bad("unexpected '%s'", argv[optind]);
	if (options.item_max > options.limit / 2)
		bad("-I: the largest item must fit into half of -m");
}
