/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * kho run: options, what is made before the first start, what is removed at the end.
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load.h"
#include "supervisor.h"

static const char help[] =
	"usage: kho run [OPTION]... [--] SERVER [ARGUMENT]...\n"
	"\n"
	"Runs SERVER, a program that uses libkho, and keeps what must outlive it: its\n"
	"arena and its listening sockets. A server that dies is started again and finds\n"
	"both; kho upgrade replaces it without a pause.\n"
	"\n"
	"  --name NAME            what kho upgrade, stop and status call it\n"
	"                         (default: SERVER's file name)\n"
	"  --listen [HOST:]PORT   listen there for the server; may be repeated\n"
	"  --listen unix:PATH\n"
	"  --realtime PRIORITY    the server's threads get SCHED_RR with it, 1 to 99, when\n"
	"                         they serve; a starting successor stays behind them\n"
	"  --arena-max SIZE       largest size of the arena, as in 8G\n"
	"                         (default: the server's choice, else half of the memory)\n"
	"  --restarts N/SECONDS   give up after N deaths within SECONDS (default 5/10);\n"
	"                         0/1: never. Given up, the arena is kept for kho upgrade.\n"
	"  --load FILE            start with the arena of a file of kho save\n"
	"  --standby              keep a second process of the server ready, which goes on\n"
	"                         when the first one dies\n"
	"  --fresh                a new, empty arena for every start but an upgrade\n"
	"  --liveupdate           the arena goes over a kexec: taken out of the kernel's\n"
	"                         session at the start; put there by kho preserve, or when\n"
	"                         SIGTERM comes and a kernel is loaded (root only)\n"
	"  --adopt                do not start SERVER, but take over the one of this NAME\n"
	"                         whose supervisor died; SERVER is for later restarts\n"
	"  --adopt-timeout TIME   wait so long for it (default 10s)\n"
	"  --ready-timeout TIME   kill a server that is not ready by then (default: never)\n"
	"  --stop-timeout TIME    kill a server that does not stop (default 10s)\n"
	"  --help\n"
	"\n"
	"TIME is in milliseconds, or seconds as in 10s. SIGTERM and SIGINT stop the server,\n"
	"then kho run; SIGHUP, SIGUSR1 and SIGUSR2 are passed on. A server that exits with\n"
	"status 0 is not started again. If kho run itself dies, the server goes on.\n";

enum {
	OPT_NAME = 256,
	OPT_LISTEN,
	OPT_ARENA_MAX,
	OPT_REALTIME,
	OPT_RESTARTS,
	OPT_LOAD,
	OPT_FRESH,
	OPT_LIVEUPDATE,
	OPT_STANDBY,
	OPT_ADOPT,
	OPT_ADOPT_TIMEOUT,
	OPT_READY_TIMEOUT,
	OPT_STOP_TIMEOUT,
	OPT_HELP,
};

static const struct option options[] = {
	{"name", required_argument, NULL, OPT_NAME},
	{"listen", required_argument, NULL, OPT_LISTEN},
	{"arena-max", required_argument, NULL, OPT_ARENA_MAX},
	{"realtime", required_argument, NULL, OPT_REALTIME},
	{"restarts", required_argument, NULL, OPT_RESTARTS},
	{"load", required_argument, NULL, OPT_LOAD},
	{"fresh", no_argument, NULL, OPT_FRESH},
	{"liveupdate", no_argument, NULL, OPT_LIVEUPDATE},
	{"standby", no_argument, NULL, OPT_STANDBY},
	{"adopt", no_argument, NULL, OPT_ADOPT},
	{"adopt-timeout", required_argument, NULL, OPT_ADOPT_TIMEOUT},
	{"ready-timeout", required_argument, NULL, OPT_READY_TIMEOUT},
	{"stop-timeout", required_argument, NULL, OPT_STOP_TIMEOUT},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL, 0, NULL, 0},
};

struct request {
	const char *name;
	const char *listen[MAX_LISTEN];
	unsigned int nr_listen;
	const char *load;
	bool adopt;
	bool help;
};

static int take_option(struct sup *s, struct request *req, int opt)
{
	switch (opt) {
	case OPT_NAME:
		req->name = optarg;
		return 0;
	case OPT_LISTEN:
		if (req->nr_listen == MAX_LISTEN) {
			complain("--listen: at most %d are possible", MAX_LISTEN);
			return -EINVAL;
		}
		req->listen[req->nr_listen++] = optarg;
		return 0;
	case OPT_ARENA_MAX:
		return parse_size("--arena-max", optarg, &s->arena_max);
	case OPT_REALTIME:
		return parse_realtime(optarg, &s->realtime);
	case OPT_RESTARTS:
		return parse_restarts(optarg, &s->max_deaths, &s->death_seconds);
	case OPT_LOAD:
		req->load = optarg;
		return 0;
	case OPT_FRESH:
		s->fresh = true;
		return 0;
	case OPT_LIVEUPDATE:
		s->liveupdate = true;
		return 0;
	case OPT_STANDBY:
		s->wants_standby = true;
		return 0;
	case OPT_ADOPT:
		req->adopt = true;
		return 0;
	case OPT_ADOPT_TIMEOUT:
		return parse_ms("--adopt-timeout", optarg, &s->adopt_ms);
	case OPT_READY_TIMEOUT:
		return parse_ms("--ready-timeout", optarg, &s->ready_ms);
	case OPT_STOP_TIMEOUT:
		return parse_ms("--stop-timeout", optarg, &s->stop_ms);
	case OPT_HELP:
		req->help = true;
		return 0;
	default:
		return -EINVAL;
	}
}

static int parse(struct sup *s, struct request *req, int argc, char **argv)
{
	const char *base;
	int opt;

	optind = 1;
	while ((opt = getopt_long(argc, argv, "+", options, NULL)) != -1) {
		int r = take_option(s, req, opt);

		if (r || req->help)
			return r;
	}
	if (optind == argc) {
		complain("run: no server given: kho run [OPTION]... -- SERVER [ARGUMENT]...");
		return -EINVAL;
	}
	if (req->adopt && req->nr_listen) {
		complain("--adopt and --listen: the server brings its listening sockets along");
		return -EINVAL;
	}
	if (s->fresh && s->liveupdate) {
		complain(
			"--fresh and --liveupdate: an arena that is thrown away need not be handed "
			"over");
		return -EINVAL;
	}
	if (req->load && (req->adopt || s->fresh)) {
		complain("--load: not with --adopt or --fresh, which say where the arena is from");
		return -EINVAL;
	}
	if (s->wants_standby && s->fresh) {
		complain("--standby and --fresh: there is nothing that a standby could go on with");
		return -EINVAL;
	}
	s->program.argv = argv + optind;
	base = strrchr(argv[optind], '/');
	return parse_name(req->name ? req->name : base ? base + 1 : argv[optind], s->name, true);
}

static int copy_program(struct sup *s)
{
	char **argv = s->program.argv;
	size_t nr = 0;

	s->program.binary = high_fd(open_program(argv[0]));
	if (s->program.binary < 0) {
		complain("%s: %s", argv[0], strerror(-s->program.binary));
		return s->program.binary;
	}
	while (argv[nr])
		nr++;
	/* Of its own, as every later program's is: it is freed after an upgrade. */
	s->program.argv = calloc(nr + 1, sizeof(*argv));
	for (size_t i = 0; s->program.argv && i < nr; i++)
		s->program.argv[i] = strdup(argv[i]);
	return s->program.argv ? 0 : -ENOMEM;
}

static int prepare(struct sup *s, const struct request *req)
{
	int r = socket_path(s->name, s->path, sizeof(s->path), true);
	bool adopts;

	if (r)
		return r;
	if (s->liveupdate && s->arena < 0)
		liveupdate_take_back(s);
	s->lock = high_fd(lock_name(s->name));
	if (s->lock < 0)
		return s->lock;
	r = copy_program(s) ?: liveupdate_start(s);
	if (r)
		return r;
	/* A server that outlived the kho run before us comes by itself, and brings its sockets. */
	adopts = req->adopt || notify_owner_lives(s);
	s->state = adopts ? SUP_ADOPTING : SUP_STARTING;
	for (unsigned int i = 0; i < req->nr_listen && !adopts; i++) {
		int fd = high_fd(open_listener(req->listen[i]));

		if (fd < 0)
			return fd;
		s->listen[s->nr_listen++] = fd;
	}
	/* Clients wait meanwhile: the sockets are there. What came over in memory is newer than a file. */
	if (req->load && (s->arena >= 0 || adopts)) {
		complain("--load %s: not loaded, the arena itself is there", req->load);
	} else if (req->load) {
		s->arena = high_fd(load_arena(req->load, s->name));
		if (s->arena < 0)
			return s->arena;
	}
	s->control = high_fd(open_control(s->path));
	return s->control < 0 ? s->control : 0;
}

static void remove_sockets(const struct sup *s, const struct request *req)
{
	unlink(s->path);
	for (unsigned int i = 0; i < req->nr_listen; i++)
		if (!strncmp(req->listen[i], "unix:", 5))
			unlink(req->listen[i] + 5);
}

int cmd_run(int argc, char **argv)
{
	static struct sup sup = {
		.max_deaths = 5,
		.death_seconds = 10,
		.adopt_ms = 10000,
		.stop_ms = 10000,
		.program = {.binary = -1},
		.candidate = {.binary = -1},
		.cur = {.pidfd = -1, .sock = -1},
		.next = {.pidfd = -1, .sock = -1},
		.standby = {.pidfd = -1, .sock = -1},
		.standby_channel = -1,
		.arena = -1,
		.session = -1,
		.discarded = -1,
		.control = -1,
		.lock = -1,
	};
	static struct request req;
	int status;

	for (int i = 0; i < MAX_CONNS; i++)
		sup.conns[i].fd = -1;
	if (parse(&sup, &req, argc, argv))
		return 2;
	if (req.help) {
		fputs(help, stdout);
		return output_done(0, 2);
	}
	notify_start(&sup);
	if (prepare(&sup, &req))
		return 1;
	status = supervise(&sup);
	if (liveupdate_hold(&sup))
		return status;
	remove_sockets(&sup, &req);
	return status;
}
