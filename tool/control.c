/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * kho upgrade, preserve, stop, status, clear: what is asked of a supervisor over its control socket.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <kho/abi/handover.h>

#include "life.h"
#include "message.h"
#include "proc.h"
#include "tool.h"

#define STATUS_MS 5000 /* on a busy machine nobody is quick */
#define LONG_MS 3600000 /* the supervisor has its own time-outs and always answers */

static struct kho_msg reply; /* one answer at a time, and too large for a stack */

/* ---- finding supervisors ---- */

/* Send a request. A supervisor that does not want to hear from us has said why. Return: 0 or -errno. */
static int request(int fd, const struct kho_msg_out *out)
{
	const struct kho_abi_msg_result *res = (const void *)reply.body;
	int r = kho_msg_send_(fd, out, STATUS_MS);

	if (r != -EPIPE || kho_msg_recv_(fd, &reply, STATUS_MS) || reply.type != KHO_MSG_CTL_REPLY)
		return r;
	return res->error ? res->error : -EPROTO;
}

/* Ask for the status at @path; its text is in reply. Return: 0 or -errno. */
static int ask_status(const char *path)
{
	struct kho_msg_out out = {.type = KHO_MSG_CTL_STATUS};
	const struct kho_abi_msg_result *res = (const void *)reply.body;
	int fd = connect_control(path);
	int r;

	if (fd < 0)
		return fd;
	r = request(fd, &out) ?: kho_msg_recv_(fd, &reply, STATUS_MS);
	if (!r && reply.type != KHO_MSG_CTL_REPLY)
		r = -EPROTO;
	if (!r)
		r = res->error;
	close(fd);
	return r;
}

/* What came with an answer, or as news, for people. */
static void print_said(const char *text)
{
	char line[4096];

	snprintf(line, sizeof(line), "%s", text);
	puts(printable(line));
}

static const char *status_text(void)
{
	return kho_msg_text_(&reply, sizeof(struct kho_abi_msg_result));
}

/* Say what it said. Return: @error. */
static int refused(int error)
{
	if (error == -EPERM)
		complain("%s", status_text());
	else if (error)
		complain("the supervisor does not listen: %s", strerror(-error));
	return error;
}

void status_value(const char *text, const char *key, char *value, size_t size)
{
	size_t len = strlen(key);

	*value = '\0';
	for (; *text; text += strcspn(text, "\n"), text += *text == '\n') {
		if (strncmp(text, key, len) || text[len] != ' ')
			continue;
		text += len + 1;
		snprintf(value, size, "%.*s", (int)strcspn(text, "\n"), text);
		return;
	}
}

/*
 * Call @fn for every supervisor that answers, its status in reply; @dead for each that left its socket behind, unless
 * NULL. Return: how many answered, or negative.
 */
static int each_supervisor(void (*fn)(void *ctx, const char *path), void (*dead)(const char *name),
			   void *ctx)
{
	char dir[256], path[512];
	struct dirent *d;
	DIR *list;
	int nr = 0, r = run_dir(dir, sizeof(dir), false);

	if (r)
		return r == -ENOENT ? 0 : r;
	list = opendir(dir);
	if (!list)
		return -errno;
	while ((d = readdir(list))) {
		size_t len = strlen(d->d_name);

		if (len < 6 || strcmp(d->d_name + len - 5, ".sock"))
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, d->d_name);
		r = ask_status(path);
		if (r == -ECONNREFUSED && dead) {
			d->d_name[len - 5] = '\0';
			dead(d->d_name);
		}
		if (r)
			continue;
		nr++;
		fn(ctx, path);
	}
	closedir(list);
	return nr;
}

struct wanted {
	const char *pid;
	char path[512];
};

static void match_pid(void *ctx, const char *path)
{
	struct wanted *w = ctx;
	char server[32], supervisor[32];

	status_value(status_text(), "pid", server, sizeof(server));
	status_value(status_text(), "supervisor", supervisor, sizeof(supervisor));
	if (!strcmp(server, w->pid) || !strcmp(supervisor, w->pid))
		snprintf(w->path, sizeof(w->path), "%s", path);
}

/* Connect to whom a PID or NAME means. Return: the fd or negative. */
static int connect_target(const char *target, char *path, size_t size)
{
	struct wanted w = {.pid = target};
	int fd, r;

	if (*target && strspn(target, "0123456789") == strlen(target)) {
		r = each_supervisor(match_pid, NULL, &w);
		if (r < 0 || !*w.path) {
			complain("process %s is neither a server under kho run nor a kho run of "
				 "yours: kho status lists them; a server whose kho run died is "
				 "taken "
				 "over by kho run --adopt",
				 target);
			return -ESRCH;
		}
		snprintf(path, size, "%s", w.path);
	} else {
		char name[NAME_SIZE];

		if (parse_name(target, name, false) || socket_path(name, path, size, false)) {
			complain("no kho run of the name \"%.100s\": kho status lists them",
				 target);
			return -ESRCH;
		}
	}
	fd = connect_control(path);
	if (fd == -ECONNREFUSED)
		complain("the kho run of %s died. If its server goes on, kho run --adopt --name %s "
			 "-- "
			 "SERVER [ARGUMENT]... takes it over; without --adopt a new one is started",
			 target, target);
	else if (fd == -ENOENT)
		complain("no kho run of the name %s: kho status lists them", target);
	else if (fd < 0)
		complain("no kho run answers at %s (%s): kho status lists those that do", path,
			 strerror(-fd));
	return fd;
}

/* Wait for the answer, showing progress. Return: the exit status. */
static int await_reply(int fd, bool quiet)
{
	const struct kho_abi_msg_result *res = (const void *)reply.body;

	for (;;) {
		int r = kho_msg_recv_(fd, &reply, LONG_MS);

		if (r) {
			complain(
				"the supervisor went away without an answer: kho status shows what "
				"is left");
			return 1;
		}
		if (reply.type == KHO_MSG_CTL_PROGRESS && !quiet)
			print_said(kho_msg_text_(&reply, 0));
		fflush(stdout);
		if (reply.type == KHO_MSG_CTL_REPLY)
			break;
	}
	if (!res->error)
		return 0;
	complain("%s: %s",
		 res->step >= KHO_STEP_GRANT ? "rolled back" : "refused before the hand-over",
		 status_text());
	return 1;
}

/* ---- kho upgrade ---- */

static const char upgrade_help[] =
	"usage: kho upgrade [OPTION]... PID|NAME [-- ARGUMENT]...\n"
	"\n"
	"Replaces a server by a new program that takes over its memory and files. The new\n"
	"one is started and checked beside the old one; if anything fails until it says\n"
	"that it is healthy, the old one goes on.\n"
	"\n"
	"  --exec BINARY          the new program (default: the server's file name again)\n"
	"  --args ARGUMENT        one argument of it; may be repeated; also after --\n"
	"                         (default: the old ones)\n"
	"  --in-place             keep the pid: exec in the old process, after a rehearsal\n"
	"  --force                do not hold the formats against each other\n"
	"  --ready-timeout TIME   to start and get ready (default 60s)\n"
	"  --freeze-timeout TIME  for the old one's workers to park (default 1s)\n"
	"  --taken-timeout TIME   to take the arena over (default 1s)\n"
	"  --healthy-timeout TIME to prove itself (default 10s)\n"
	"  --alive-timeout TIME   without a sign of life, if it shows any (default 1s)\n"
	"  --quiet                no progress\n"
	"  --help\n"
	"\n"
	"TIME is in milliseconds, or seconds as in 10s. Exit status: 0 when the new program\n"
	"serves, 1 when the old one goes on.\n";

enum {
	OPT_EXEC = 256,
	OPT_ARGS,
	OPT_IN_PLACE,
	OPT_FORCE,
	OPT_READY,
	OPT_FREEZE,
	OPT_TAKEN,
	OPT_HEALTHY,
	OPT_ALIVE,
	OPT_QUIET,
	OPT_JSON,
	OPT_HELP,
};

static const struct option upgrade_options[] = {
	{"exec", required_argument, NULL, OPT_EXEC},
	{"args", required_argument, NULL, OPT_ARGS},
	{"in-place", no_argument, NULL, OPT_IN_PLACE},
	{"force", no_argument, NULL, OPT_FORCE},
	{"ready-timeout", required_argument, NULL, OPT_READY},
	{"freeze-timeout", required_argument, NULL, OPT_FREEZE},
	{"taken-timeout", required_argument, NULL, OPT_TAKEN},
	{"healthy-timeout", required_argument, NULL, OPT_HEALTHY},
	{"alive-timeout", required_argument, NULL, OPT_ALIVE},
	{"quiet", no_argument, NULL, OPT_QUIET},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL, 0, NULL, 0},
};

struct upgrade {
	struct kho_abi_msg_upgrade up;
	const char *exec;
	bool quiet, help;
	size_t args_len; /* with the NULs */
	char args[KHO_ABI_MSG_MAX];
};

static int add_arg(struct upgrade *u, const char *arg)
{
	size_t len = strlen(arg) + 1;

	/* The message must also hold what the supervisor adds to it. */
	if (len > sizeof(u->args) - u->args_len - sizeof(u->up) - 64) {
		complain("the arguments are too long: %zu bytes are possible",
			 sizeof(u->args) - 128);
		return -E2BIG;
	}
	memcpy(u->args + u->args_len, arg, len);
	u->args_len += len;
	return 0;
}

static int upgrade_option(struct upgrade *u, int opt)
{
	switch (opt) {
	case OPT_EXEC:
		u->exec = optarg;
		return 0;
	case OPT_ARGS:
		return add_arg(u, optarg);
	case OPT_IN_PLACE:
		u->up.flags |= KHO_UPGRADE_EXEC;
		return 0;
	case OPT_FORCE:
		u->up.flags |= KHO_UPGRADE_FORCE;
		return 0;
	case OPT_READY:
		return parse_ms("--ready-timeout", optarg, &u->up.ready_ms);
	case OPT_FREEZE:
		return parse_ms("--freeze-timeout", optarg, &u->up.freeze_ms);
	case OPT_TAKEN:
		return parse_ms("--taken-timeout", optarg, &u->up.taken_ms);
	case OPT_HEALTHY:
		return parse_ms("--healthy-timeout", optarg, &u->up.healthy_ms);
	case OPT_ALIVE:
		return parse_ms("--alive-timeout", optarg, &u->up.alive_ms);
	case OPT_QUIET:
		u->quiet = true;
		return 0;
	case OPT_HELP:
		u->help = true;
		return 0;
	default:
		return -EINVAL;
	}
}

/* argv[0], then what was given. */
static int put_argv0(struct upgrade *u, const char *path)
{
	char old[sizeof(u->args)];
	const char *argv0 = u->exec;
	size_t len = u->args_len;
	int r;

	if (!argv0) {
		char value[512];

		if (ask_status(path))
			return -EPIPE;
		status_value(status_text(), "program", value, sizeof(value));
		argv0 = strdupa(value);
	}
	memcpy(old, u->args, len);
	u->args_len = 0;
	r = add_arg(u, argv0);
	for (size_t at = 0; !r && at < len; at += strlen(old + at) + 1)
		r = add_arg(u, old + at);
	return r;
}

static int send_upgrade(struct upgrade *u, int fd, const char *path)
{
	int binary = -1, r = 0;
	struct kho_msg_out out = {.type = KHO_MSG_CTL_UPGRADE,
				  .head = &u->up,
				  .head_len = sizeof(u->up),
				  .fds = &binary};

	if (u->exec && !u->args_len)
		u->up.flags |= KHO_UPGRADE_OLD_ARGS;
	if (u->exec || u->args_len)
		r = put_argv0(u, path);
	if (!r && u->exec) {
		binary = open_program(u->exec);
		if (binary < 0) {
			complain("%s: %s", u->exec, strerror(-binary));
			return binary;
		}
		out.nr_fds = 1;
	}
	out.text = u->args;
	out.text_len = u->args_len;
	return r ?: refused(request(fd, &out));
}

int cmd_upgrade(int argc, char **argv)
{
	static struct upgrade u;
	char path[512];
	int opt, fd, r = 0;

	optind = 1;
	while (!r && (opt = getopt_long(argc, argv, "", upgrade_options, NULL)) != -1)
		r = upgrade_option(&u, opt);
	if (u.help) {
		fputs(upgrade_help, stdout);
		return output_done(0, 2);
	}
	if (!r && optind == argc) {
		complain("upgrade: which server? kho status lists them");
		r = -EINVAL;
	}
	for (int i = optind + 1; !r && i < argc; i++)
		r = add_arg(&u, argv[i]);
	if (r)
		return 2;
	kho_proc_give_way_(); /* what the server does meanwhile is more urgent than our words */
	fd = connect_target(argv[optind], path, sizeof(path));
	if (fd < 0 || send_upgrade(&u, fd, path))
		return 1;
	return await_reply(fd, u.quiet);
}

/* ---- kho preserve, stop, clear: a request about one server ---- */

/* Send it to whom @target means. Return: the connection; negative, having complained. */
static int ask(const char *target, const struct kho_msg_out *out)
{
	char path[512];
	int fd = connect_target(target, path, sizeof(path));

	return fd < 0 ? fd : refused(request(fd, out)) ?: fd;
}

/* The one answer to it. @done: what was not done, if it was not. Return: the exit status. */
static int await_answer(int fd, unsigned int timeout_ms, const char *done)
{
	const struct kho_abi_msg_result *res = (const void *)reply.body;

	if (kho_msg_recv_(fd, &reply, timeout_ms) || reply.type != KHO_MSG_CTL_REPLY) {
		complain("the supervisor did not answer: kho status shows what there is");
		return 1;
	}
	if (res->error)
		complain("not %s: %s", done, status_text());
	else if (*status_text())
		print_said(status_text());
	return res->error ? 1 : 0;
}

/*
 * What stands behind the name of a command: @options, which set their flags ('h' asks for @help), and at most
 * one name of a server. Return: -1; the exit status, having said what.
 */
static int read_words(int argc, char **argv, const struct option *options, const char *help,
		      const char **target)
{
	int opt;

	optind = 1;
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'h') {
			fputs(help, stdout);
			return output_done(0, 2);
		}
		if (opt)
			return 2;
	}
	*target = argv[optind];
	if (argc - optind <= 1)
		return -1;
	complain("%s: %s: one PID or NAME is expected", argv[0], argv[optind + 1]);
	return 2;
}

/* The same, with a name for certain. */
static int read_target(int argc, char **argv, const struct option *options, const char *help,
		       const char **target)
{
	int status = read_words(argc, argv, options, help, target);

	if (status >= 0 || *target)
		return status;
	complain("%s: one PID or NAME is expected: kho status lists them", argv[0]);
	return 2;
}

static const struct option help_alone[] = {{"help", no_argument, NULL, 'h'}, {0}};

static const char preserve_help[] =
	"usage: kho preserve [--cancel] PID|NAME\n"
	"\n"
	"Puts the arena of a server under kho run --liveupdate into a session of the kernel's,\n"
	"so that it goes over the next kexec. The server goes on; until the jump its arena\n"
	"does not grow. With --cancel the arena is taken out again.\n";

int cmd_preserve(int argc, char **argv)
{
	int cancel = 0;
	const struct option options[] = {
		{"cancel", no_argument, &cancel, 1}, {"help", no_argument, NULL, 'h'}, {0}};
	struct kho_abi_msg_preserve head = {0};
	struct kho_msg_out out = {
		.type = KHO_MSG_CTL_PRESERVE, .head = &head, .head_len = sizeof(head)};
	const char *target;
	int fd, status = read_target(argc, argv, options, preserve_help, &target);

	if (status >= 0)
		return status;
	head.flags = cancel ? KHO_PRESERVE_CANCEL : 0;
	fd = ask(target, &out);
	return fd < 0 ? 1 : await_answer(fd, LONG_MS, "preserved");
}

static const char stop_help[] =
	"usage: kho stop PID|NAME\n"
	"\n"
	"Stops the server, then its kho run. Its arena is gone after that.\n";

int cmd_stop(int argc, char **argv)
{
	struct kho_msg_out out = {.type = KHO_MSG_CTL_STOP};
	const char *target;
	int fd, status = read_target(argc, argv, help_alone, stop_help, &target);

	if (status >= 0)
		return status;
	fd = ask(target, &out);
	return fd < 0 ? 1 : await_reply(fd, false);
}

static const char clear_help[] =
	"usage: kho clear PID|NAME\n"
	"\n"
	"Of a server that died too often, and is not started again: throws its arena away, and\n"
	"the connections that are held for it, and starts it with an empty one. A server that\n"
	"runs is refused: kho stop ends it, with its arena.\n";

int cmd_clear(int argc, char **argv)
{
	struct kho_msg_out out = {.type = KHO_MSG_CTL_CLEAR};
	const char *target;
	int fd, status = read_target(argc, argv, help_alone, clear_help, &target);

	if (status >= 0)
		return status;
	fd = ask(target, &out);
	return fd < 0 ? 1 : await_answer(fd, STATUS_MS, "cleared");
}

/* ---- kho status ---- */

static const char status_help[] = "usage: kho status [--json|--prometheus] [PID|NAME]\n"
				  "\n"
				  "Shows one server under kho run, or all of yours.\n";

struct view {
	int json, prometheus; /* flags of options */
	bool list;
	int nr;
};

/* One of JSON: without zeroes in front. */
static bool is_number(const char *text)
{
	return *text && strspn(text, "0123456789") == strlen(text) && (*text != '0' || !text[1]);
}

static bool is_text_key(const char *key)
{
	static const char *const keys[] = {"name",    "liveupdate", "standby_state", "state",
					   "release", "program",    "last_upgrade",  "last_death"};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (!strcmp(key, keys[i]))
			return true;
	return false;
}

static void show_json(struct view *v)
{
	const char *text = status_text();
	bool first = true;

	printf("%s{", v->nr ? ",\n " : "");
	while (*text) {
		char key[64], value[1024];
		size_t len = strcspn(text, "\n"), key_len = strcspn(text, " \n");

		snprintf(key, sizeof(key), "%.*s", (int)key_len, text);
		snprintf(value, sizeof(value), "%.*s", len > key_len ? (int)(len - key_len - 1) : 0,
			 text + key_len + 1);
		printf(first ? "" : ", ");
		json_string(stdout, key);
		printf(": ");
		if (!is_text_key(key) && is_number(value))
			fputs(value, stdout);
		else
			json_string(stdout, value);
		first = false;
		text += len + (text[len] == '\n');
	}
	printf("}");
}

static void show_line(struct view *v)
{
	char name[64], state[32], pid[32], generation[32], restarts[32], used[32];
	const char *text = status_text();

	status_value(text, "name", name, sizeof(name));
	status_value(text, "state", state, sizeof(state));
	status_value(text, "pid", pid, sizeof(pid));
	status_value(text, "generation", generation, sizeof(generation));
	status_value(text, "restarts", restarts, sizeof(restarts));
	status_value(text, "arena_used", used, sizeof(used));
	if (!v->nr)
		printf("%-20s %-10s %8s %10s %8s %10s\n", "NAME", "STATE", "PID", "GENERATION",
		       "RESTARTS", "ARENA");
	printf("%-20s %-10s %8s %10s %8s %9.1fM\n", name, state, pid, generation, restarts,
	       (double)strtoull(used, NULL, 10) / (1 << 20));
}

static void show(void *ctx, const char *path)
{
	struct view *v = ctx;

	if (v->prometheus)
		prometheus_add(status_text());
	else if (v->json)
		show_json(v);
	else if (v->list)
		show_line(v);
	else
		fputs(status_text(), stdout);
	v->nr++;
}

static int status_one(struct view *v, const char *target)
{
	char path[512];
	int fd = connect_target(target, path, sizeof(path)), r;

	if (fd < 0)
		return 1;
	close(fd);
	r = ask_status(path);
	if (r == -EPERM)
		return refused(r), 1;
	if (r) {
		complain("the kho run at %s does not answer: is it stopped?", path);
		return 1;
	}
	show(v, path);
	if (v->prometheus)
		prometheus_print();
	else if (v->json)
		printf("\n");
	return 0;
}

static void tell_dead(const char *name)
{
	complain("%s: its kho run died: kho run --adopt takes its server over", name);
}

int cmd_status(int argc, char **argv)
{
	struct view v = {0};
	const struct option options[] = {{"json", no_argument, &v.json, 1},
					 {"prometheus", no_argument, &v.prometheus, 1},
					 {"help", no_argument, NULL, 'h'},
					 {0}};
	const char *target;
	int status = read_words(argc, argv, options, status_help, &target);

	if (status >= 0)
		return status;
	if (target)
		return output_done(status_one(&v, target), 1);
	v.list = true;
	if (v.json && !v.prometheus)
		printf("[");
	if (each_supervisor(show, v.json || v.prometheus ? NULL : tell_dead, &v) < 0) {
		complain("the run directory cannot be read");
		return 1;
	}
	if (v.prometheus)
		prometheus_print();
	else if (v.json)
		printf("]\n");
	else if (!v.nr)
		printf("no server runs under kho run\n");
	return output_done(0, 1);
}
