/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * kho inspect, map, diff, verify: their options.
 */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tool.h"
#include "views.h"

#define SOURCES                                                                                    \
	"SOURCE is the pid or name of a running server, a saved arena, or the memory of a\n"       \
	"machine: an ELF core of QEMU's dump-guest-memory, of kdump or makedumpfile -E, or\n"      \
	"/proc/kcore.\n\n"

#define DUMP_OPTIONS                                                                               \
	"  --fdt ADDRESS|FILE     the root FDT, if a dump has several\n"                           \
	"  --page-size SIZE       4K, 16K or 64K, if it cannot be told from a dump\n"

static const char inspect_help[] =
	"usage: kho inspect [OPTION]... SOURCE\n"
	"\n"
	"Shows what is handed over: the root, its subtrees, preserved memory by order and by\n"
	"owner, live update's sessions and files, and structures.\n\n" SOURCES
	"  --json                 as JSON\n"
	"  --blocks               every run of preserved blocks, too\n" DUMP_OPTIONS "  --help\n"
	"\n"
	"Exit status: 0; 1 with faults, which are shown last; 2 if nothing could be read;\n"
	"3 without faults, if a dump lacks pages that were wanted.\n";

static const char map_help[] =
	"usage: kho map [OPTION]... SOURCE\n"
	"\n"
	"Draws the memory: what is preserved, by the order of its blocks.\n\n" SOURCES
	"  --svg FILE             as a picture for browsers\n"
	"  --width COLUMNS        instead of the terminal's\n"
	"  --colour WHEN          always, never, or auto: on a terminal\n" DUMP_OPTIONS
	"  --help\n";

static const char diff_help[] =
	"usage: kho diff [OPTION]... SOURCE SOURCE\n"
	"\n"
	"Shows what is in the second and not in the first, and the other way round.\n\n" SOURCES
	"  --json                 as JSON\n"
	"  --contents             preserved pages whose bytes are not the same, too\n" DUMP_OPTIONS
	"  --help\n"
	"\n"
	"Exit status: 0 if nothing differs, 1 if something does, 2 if one could not be read.\n";

static const char verify_help[] =
	"usage: kho verify [OPTION]... SOURCE\n"
	"\n"
	"Checks everything that is handed over, and says of each fault where it is, what it\n"
	"is, and what to do.\n\n" SOURCES "  --json                 as JSON\n"
	"  --quiet                nothing but the exit status\n" DUMP_OPTIONS "  --help\n"
	"\n"
	"Exit status: 0 if all is sound, 1 if there are faults, 2 if nothing could be read,\n"
	"3 if there are none in what a dump has, and it lacks pages that were wanted.\n";

enum {
	OPT_JSON = 256,
	OPT_BLOCKS,
	OPT_FDT,
	OPT_PAGE,
	OPT_SVG,
	OPT_WIDTH,
	OPT_COLOUR,
	OPT_QUIET,
	OPT_CONTENTS,
	OPT_HELP
};

struct options {
	bool json, blocks, quiet, contents, help;
	const char *fdt, *svg;
	unsigned int shift, width;
	int colour; /* -1: on a terminal */
};

#define COMMON                                                                                     \
	{"fdt", required_argument, NULL, OPT_FDT},                                                 \
		{"page-size", required_argument, NULL, OPT_PAGE},                                  \
		{"help", no_argument, NULL, OPT_HELP},                                             \
	{                                                                                          \
		NULL, 0, NULL, 0                                                                   \
	}

static const struct option inspect_options[] = {
	{"json", no_argument, NULL, OPT_JSON}, {"blocks", no_argument, NULL, OPT_BLOCKS}, COMMON};
static const struct option map_options[] = {{"svg", required_argument, NULL, OPT_SVG},
					    {"width", required_argument, NULL, OPT_WIDTH},
					    {"colour", required_argument, NULL, OPT_COLOUR},
					    {"color", required_argument, NULL, OPT_COLOUR},
					    COMMON};
static const struct option diff_options[] = {{"json", no_argument, NULL, OPT_JSON},
					     {"contents", no_argument, NULL, OPT_CONTENTS},
					     COMMON};
static const struct option verify_options[] = {
	{"json", no_argument, NULL, OPT_JSON}, {"quiet", no_argument, NULL, OPT_QUIET}, COMMON};

static bool set_page_size(struct options *o, const char *text)
{
	static const char *const sizes[] = {"4K", "16K", "64K"};

	for (unsigned int i = 0; i < 3; i++)
		if (!strcasecmp(text, sizes[i]))
			o->shift = 12 + 2 * i;
	if (!o->shift)
		complain("--page-size %s: 4K, 16K or 64K", text);
	return o->shift;
}

static bool set_width(struct options *o, const char *text)
{
	char *end;
	unsigned long width = strtoul(text, &end, 10);

	o->width = *end || width < 40 || width > 1000 ? 0 : (unsigned int)width;
	if (!o->width)
		complain("--width %s: 40 to 1000", text);
	return o->width;
}

static bool set_colour(struct options *o, const char *text)
{
	o->colour = !strcmp(text, "always") ? 1 : !strcmp(text, "never") ? 0 : -1;
	if (o->colour >= 0 || !strcmp(text, "auto"))
		return true;
	complain("--colour %s: always, never or auto", text);
	return false;
}

static bool set_option(struct options *o, int opt)
{
	switch (opt) {
	case OPT_JSON:
		o->json = true;
		return true;
	case OPT_BLOCKS:
		o->blocks = true;
		return true;
	case OPT_QUIET:
		o->quiet = true;
		return true;
	case OPT_CONTENTS:
		o->contents = true;
		return true;
	case OPT_HELP:
		o->help = true;
		return true;
	case OPT_FDT:
		o->fdt = optarg;
		return true;
	case OPT_SVG:
		o->svg = optarg;
		return true;
	case OPT_PAGE:
		return set_page_size(o, optarg);
	case OPT_WIDTH:
		return set_width(o, optarg);
	case OPT_COLOUR:
		return set_colour(o, optarg);
	default:
		return false;
	}
}

/* Return: 0; 1 after --help; 2 after a mistake. The sources are argv[optind] and so on. */
static int parse(struct options *o, int argc, char **argv, const struct option *list,
		 const char *help, int nr)
{
	int opt;

	*o = (struct options){.colour = -1};
	while ((opt = getopt_long(argc, argv, "", list, NULL)) >= 0)
		if (!set_option(o, opt)) {
			fputs(help, stderr);
			return 2;
		}
	if (o->help) {
		fputs(help, stdout);
		return 1;
	}
	if (argc - optind != nr) {
		fputs(help, stderr);
		return 2;
	}
	return 0;
}

/* Return: 0 or negative, with nothing left to be closed. */
static int open_model(struct source *s, struct model *m, const char *what, const struct options *o)
{
	int r = source_open(s, what);

	if (r)
		return r;
	if (o->shift && s->kind == SOURCE_DUMP)
		s->shifts = 1ULL << o->shift;
	r = model_make(m, s, o->fdt);
	if (r) {
		model_free(m);
		source_close(s);
	}
	return r;
}

/* Exit status. */
static int verdict(const struct model *m)
{
	return m->faults.nr ? 1 : m->gaps.nr ? 3 : 0;
}

int cmd_inspect(int argc, char **argv)
{
	struct options o;
	int r = parse(&o, argc, argv, inspect_options, inspect_help, 1);
	struct source s;
	struct model m;

	if (r)
		return r == 1 ? output_done(0, 2) : 2;
	if (open_model(&s, &m, argv[optind], &o))
		return 2;
	if (o.json)
		view_json(stdout, &m, o.blocks);
	else
		view_text(stdout, &m, o.blocks);
	r = verdict(&m);
	model_free(&m);
	source_close(&s);
	return output_done(r, 2);
}

#define ATTEMPTS 5

/* What a live source seems to have wrong may be what its program was about to do: look again. */
int cmd_verify(int argc, char **argv)
{
	struct options o;
	int r = parse(&o, argc, argv, verify_options, verify_help, 1);
	struct source s;
	struct model m;

	if (r)
		return r == 1 ? output_done(0, 2) : 2;
	for (int i = 0;; i++) {
		if (open_model(&s, &m, argv[optind], &o))
			return 2;
		if (!m.faults.nr || !s.live || i == ATTEMPTS - 1)
			break;
		model_free(&m);
		source_close(&s);
		usleep(20000);
	}
	r = verdict(&m);
	if (o.json) {
		view_json_faults(stdout, &m);
	} else if (!o.quiet && r) {
		if (m.gaps.nr)
			view_gaps(stdout, &m);
		if (m.faults.nr)
			view_faults(stdout, &m);
	} else if (!o.quiet) {
		printf("sound: %llu page%s preserved, %zu subtree%s\n", (unsigned long long)m.pages,
		       plural(m.pages), m.subtrees.nr, plural(m.subtrees.nr));
	}
	model_free(&m);
	source_close(&s);
	return output_done(r, 2);
}

static unsigned int columns(void)
{
	const char *text = getenv("COLUMNS");
	unsigned long n = text ? strtoul(text, NULL, 10) : 0;
	struct winsize w;

	if (!n && !ioctl(STDOUT_FILENO, TIOCGWINSZ, &w))
		n = w.ws_col;
	return n < 40 ? 80 : n > 1000 ? 1000 : (unsigned int)n;
}

static int write_svg(const struct model *m, const char *path)
{
	FILE *out = strcmp(path, "-") ? fopen(path, "w") : stdout;

	if (!out) {
		complain("%s: cannot be written: %m", path);
		return 2;
	}
	view_svg(out, m);
	if (out == stdout)
		return output_done(0, 2);
	if (ferror(out) | fclose(out)) {
		complain("%s: cannot be written: %m", path);
		return 2;
	}
	return 0;
}

int cmd_map(int argc, char **argv)
{
	struct options o;
	int r = parse(&o, argc, argv, map_options, map_help, 1);
	struct source s;
	struct model m;

	if (r)
		return r == 1 ? output_done(0, 2) : 2;
	if (open_model(&s, &m, argv[optind], &o))
		return 2;
	if (o.svg) {
		r = write_svg(&m, o.svg);
	} else {
		view_map(stdout, &m, o.width ?: columns(),
			 o.colour < 0 ? isatty(STDOUT_FILENO) && !getenv("NO_COLOR") : o.colour);
		r = output_done(0, 2);
	}
	model_free(&m);
	source_close(&s);
	return r;
}

int cmd_diff(int argc, char **argv)
{
	struct options o;
	int r = parse(&o, argc, argv, diff_options, diff_help, 2);
	struct source a, b;
	struct model x, y;

	if (r)
		return r == 1 ? output_done(0, 2) : 2;
	if (open_model(&a, &x, argv[optind], &o))
		return 2;
	if (!open_model(&b, &y, argv[optind + 1], &o)) {
		r = output_done(view_diff(stdout, &x, &y, o.json, o.contents), 2);
		model_free(&y);
		source_close(&b);
	} else {
		r = 2;
	}
	model_free(&x);
	source_close(&a);
	return r;
}
