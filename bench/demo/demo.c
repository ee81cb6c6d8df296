/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The demo, from the first key to the verdict. See demo.h.
 *
 *	demo [--quick] [--keys N] [--upgrades N] [--kills N] [--rate N] [--json FILE] [--bin DIR]
 */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "demo.h"

static const struct option long_options[] = {
	{"quick", no_argument, NULL, 'q'},
	{"keys", required_argument, NULL, 'k'},
	{"upgrades", required_argument, NULL, 'u'},
	{"kills", required_argument, NULL, 'x'},
	{"rate", required_argument, NULL, 'r'},
	{"json", required_argument, NULL, 'j'},
	{"bin", required_argument, NULL, 'b'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

static void usage(FILE *f)
{
	fputs("usage: demo [options]\n"
	      "  --quick       50,000 keys, 3 upgrades, 3 kills, 5 bad successors\n"
	      "  --keys N      keys to load (1,000,000)\n"
	      "  --upgrades N  (10)\n"
	      "  --kills N     (10)\n"
	      "  --rate N      key operations a second of the busy connections (12,000)\n"
	      "  --json FILE   where the figures go (build/demo/result.json)\n"
	      "  --bin DIR     where kho and the servers are (build)\n",
	      f);
}

static unsigned int number(const char *text)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);

	if (end == text || *end || !v || v > 1000000000) {
		fprintf(stderr, "demo: \"%s\" is not a number above 0\n", text);
		exit(2);
	}
	return (unsigned int)v;
}

static void parse(struct demo_options *o, int argc, char **argv)
{
	unsigned int keys = 0, upgrades = 0, kills = 0;
	int c;

	while ((c = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
		switch (c) {
		case 'q':
			o->quick = true;
			break;
		case 'k':
			keys = number(optarg);
			break;
		case 'u':
			upgrades = number(optarg);
			break;
		case 'x':
			kills = number(optarg);
			break;
		case 'r':
			o->rate = number(optarg);
			break;
		case 'j':
			o->json = optarg;
			break;
		case 'b':
			o->bin = optarg;
			break;
		case 'h':
			usage(stdout);
			exit(0);
		default:
			usage(stderr);
			exit(2);
		}
	}
	o->keys = keys ? keys : o->quick ? 50000 : 1000000;
	o->upgrades = upgrades ? upgrades : o->quick ? 3 : 10;
	o->kills = kills ? kills : o->quick ? 3 : 10;
	if (o->keys < 1000) {
		fprintf(stderr, "demo: the connections need 1000 keys to share\n");
		exit(2);
	}
}

static void filled(void *ctx, uint64_t done, uint64_t total)
{
	demo_progress_step("loading", done, total);
}

static void swept(void *ctx, uint64_t done, uint64_t total)
{
	demo_progress_step("reading every key", done, total);
}

static int fill(struct demo *demo)
{
	struct load_fill f = {.port = demo->port,
			      .proto = LOAD_MEMCACHED,
			      .nr = demo->options.keys,
			      .shape = demo->shape,
			      .progress = filled};
	int err;

	demo_progress("loading %s keys", load_commas(demo->options.keys));
	err = load_fill(&f);
	if (err)
		fprintf(stderr, "demo: loading failed: %s\n", strerror(-err));
	demo->state_bytes = f.bytes;
	return err;
}

static int start_load(struct demo *demo)
{
	struct load_verify_config verify = {.port = demo->port,
					    .keys = demo->options.keys,
					    .shape = demo->shape,
					    .busy = demo->options.busy,
					    .idle = demo->options.idle,
					    .rate = demo->options.rate,
					    .opens = 100,
					    .seed = demo->options.seed};
	struct load_prober_config prober = {.port = demo->port,
					    .proto = LOAD_MEMCACHED,
					    .index = load_still(0, demo->options.keys,
								demo->options.busy),
					    .shape = demo->shape};

	demo_progress("%u busy and %s idle connections", demo->options.busy,
		      load_commas(demo->options.idle));
	demo->verify = load_verify_start(&verify);
	if (demo->verify)
		demo->prober = load_prober_start(&prober);
	if (demo->prober && load_verify_settle(demo->verify, 20 * LOAD_NS))
		return 0;
	fprintf(stderr, "demo: the load does not start: %s\n", strerror(errno));
	return -errno;
}

static int carry_through(struct demo *demo)
{
	int err = demo_server_start(demo);

	if (err)
		return err;
	demo->copied.private_empty =
		demo_private_bytes(demo->server, demo_arena_inode(demo->server));
	err = fill(demo);
	if (!err)
		err = start_load(demo);
	if (!err)
		err = demo_upgrades(demo);
	if (!err)
		err = demo_kills(demo);
	if (!err)
		err = demo_bad(demo);
	if (err)
		return err;
	demo_progress("asking on every connection, and for every key");
	load_prober_stop(demo->prober);
	demo->prober = NULL;
	err = load_verify_finish(demo->verify, swept, NULL);
	if (err)
		fprintf(stderr, "demo: not every connection and key answered: %s\n",
			strerror(-err));
	return err;
}

/* An interrupted demo leaves nothing behind either. */
static struct demo *running;

static void interrupted(int sig)
{
	demo_server_stop(running);
	_exit(128 + sig);
}

static void *watch_signals(void *arg)
{
	sigset_t *set = arg;
	int sig;

	if (!sigwait(set, &sig))
		interrupted(sig);
	return NULL;
}

static void catch_signals(struct demo *demo)
{
	static sigset_t set;
	pthread_t thread;

	running = demo;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	pthread_create(&thread, NULL, watch_signals, &set);
	pthread_detach(thread);
}

int main(int argc, char **argv)
{
	static struct demo demo;
	const char *seed = getenv("KHO_SEED");
	char bin[4096];
	bool kept = false;
	int err;

	demo.options = (struct demo_options){.busy = 64,
					     .idle = 1000,
					     .rate = 12000,
					     .bin = "build",
					     .json = "build/demo/result.json",
					     .arena_max = "4G"};
	demo.options.seed = seed && *seed ? strtoull(seed, NULL, 0)
					  : load_now() ^ (uint64_t)getpid() << 40;
	parse(&demo.options, argc, argv);
	demo.shape = (struct load_shape){40, 440};
	if (!realpath(demo.options.bin, bin) || load_tmpdir(demo.dir, sizeof(demo.dir))) {
		perror("demo");
		return 1;
	}
	demo.options.bin = bin;
	snprintf(demo.log, sizeof(demo.log), "%s/log", demo.dir);
	snprintf(demo.name, sizeof(demo.name), "demo-%d", (int)getpid());
	demo.port = load_free_port();
	demo_show_init();
	catch_signals(&demo);
	printf("KHO_SEED=%llu\n", (unsigned long long)demo.options.seed);
	err = carry_through(&demo);
	demo_progress_end();
	if (demo.verify) {
		kept = demo_show(&demo, !err);
		if (demo_write_json(&demo))
			perror(demo.options.json);
	}
	if (err || !kept)
		demo_server_log(&demo);
	load_prober_stop(demo.prober);
	load_verify_free(demo.verify);
	demo_server_stop(&demo);
	return kept ? 0 : 1;
}
