/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * kho check: would one program or kernel take what another hands over? Asked of what is written in their
 * files, and of the arena of one that runs; nothing is started.
 *
 *	part	a format by name: "radix", or an application's own
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <kho/core/kernel_info.h>
#include <kho/core/root.h>
#include <kho/host.h>

#include "arena.h"
#include "find.h"
#include "formats.h"
#include "json_out.h"
#include "model.h"
#include "tool.h"

#define IMAGE_MAX (256U << 20)
#define RECORDS_MAX (KHO_NOTE_FORMATS_MAX + KHO_ABI_COMPAT_PARTS_MAX)

/**
 * struct party - one of the two
 * @kernel: it is a kernel
 * @origin: where its formats are from, in words
 * @list: what it reads and writes, by name
 * @has: what lies in its arena, as a compatibility string; "" if it has none, or does not run
 */
struct party {
	const char *name;
	bool kernel;
	const char *origin;
	struct kho_abi_format list[RECORDS_MAX];
	unsigned int nr;
	char has[KHO_ABI_COMPAT_MAX];
};

enum verdict { TAKEN, UNUSED, MIGRATED, IF_USED, OPTIONAL, REFUSED, NO_WAY_BACK };

static const char *const verdicts[] = {
	[TAKEN] = "taken",
	[UNUSED] = "not written",
	[MIGRATED] = "taken if it can be written in an older version",
	[IF_USED] = "refused if it is used",
	[OPTIONAL] = "done without",
	[REFUSED] = "REFUSED",
	[NO_WAY_BACK] = "REFUSED: the old one could not take it back",
};

/* ---- parties ---- */

static const struct kho_abi_format *find(const struct party *p, const char *name)
{
	return kho_format_find_(p->list, p->nr, name);
}

static void put(struct party *p, const struct kho_abi_format *format)
{
	if (p->nr < RECORDS_MAX && !find(p, format->name))
		p->list[p->nr++] = *format;
}

static unsigned int put_type(struct party *p, const struct kho_note_format *notes, int nr,
			     __u32 type)
{
	unsigned int before = p->nr;

	for (int i = 0; i < nr; i++)
		if (notes[i].type == type)
			put(p, &notes[i].format);
	return p->nr - before;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct kho_abi_format *)a)->name,
		      ((const struct kho_abi_format *)b)->name);
}

/* A library of ours that process @pid has mapped. Return: an fd or -1. */
static int library_of(pid_t pid)
{
	char line[4200], path[4300];
	int fd = -1;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	while (maps && fd < 0 && fgets(line, sizeof(line), maps)) {
		const char *file = strchr(line, '/');

		line[strcspn(line, "\n")] = '\0';
		if (!file || !strstr(file, "/libkho.so"))
			continue;
		snprintf(path, sizeof(path), "/proc/%d/root%s", (int)pid, file);
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	}
	if (maps)
		fclose(maps);
	return fd;
}

static int take_notes(struct party *p, const struct kho_note_format *notes, int nr, pid_t pid)
{
	static struct kho_note_format more[KHO_NOTE_FORMATS_MAX];
	int fd;

	put_type(p, notes, nr, KHO_ABI_NOTE_FORMATS);
	p->origin = "its notes";
	if (put_type(p, notes, nr, KHO_ABI_NOTE_LIBRARY))
		return 0;
	fd = pid ? library_of(pid) : -1;
	if (fd >= 0) {
		int n = kho_note_read(fd, more);

		close(fd);
		p->origin = "its notes, and its library's";
		if (n > 0 && put_type(p, more, n, KHO_ABI_NOTE_LIBRARY))
			return 0;
	}
	p->origin = "its notes; of its library, what it was compiled with";
	put_type(p, notes, nr, KHO_ABI_NOTE_BUILT_WITH);
	return 0;
}

static void take_kernel(struct party *p, const struct khoc_kernel_formats *formats,
			const char *origin)
{
	struct kho_abi_format format;

	p->kernel = true;
	p->origin = origin;
	for (unsigned int i = 0; i < formats->nr; i++) {
		khoc_kernel_format(formats, i, &format);
		put(p, &format);
	}
}

static char *read_all(int fd, size_t *size)
{
	struct stat st;
	size_t at = 0;
	char *bytes;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size > (off_t)IMAGE_MAX)
		return NULL;
	bytes = malloc((size_t)st.st_size + 1);
	while (bytes && at < (size_t)st.st_size) {
		ssize_t n = pread(fd, bytes + at, (size_t)st.st_size - at, (off_t)at);

		if (n <= 0)
			break;
		at += (size_t)n;
	}
	*size = at;
	return bytes;
}

static int take_image(struct party *p, int fd)
{
	struct khoc_kernel_formats formats;
	struct khoc_report report = {.level = -1, .field = ""};
	char text[512];
	size_t size;
	char *image = read_all(fd, &size);
	int r = image ? khoc_kernel_image(&formats, image, size, &report) : -KHO_E_MAGIC;

	if (!r)
		take_kernel(p, &formats, "its kernel_info");
	else if (r == -ENOENT)
		take_kernel(p, khoc_kernel_linux(), "Linux 7.2's: it has no list");
	else if (r == -KHO_E_MAGIC && report.structure == KHOC_S_NONE)
		complain("%s: neither a program with formats, nor a bzImage, nor a vmlinux with a "
			 "list of formats",
			 p->name);
	else
		complain("%s: %s", p->name, kho_report_text_(&report, text, sizeof(text)));
	free(image);
	return r == -ENOENT ? 0 : r;
}

/* What lies in its arena now. */
static void take_arena(struct party *p, pid_t pid)
{
	static struct model m;
	struct source s;
	char number[16];
	const char *has;

	snprintf(number, sizeof(number), "%d", (int)pid);
	if (source_open(&s, number))
		return;
	if (!model_make(&m, &s, NULL) && m.have_root) {
		has = khoc_root_composite(m.root);
		snprintf(p->has, sizeof(p->has), "%s", has ?: "");
	}
	model_free(&m);
	source_close(&s);
}

/* A server's name comes before a file's. */
static int open_party(const char *what, pid_t *pid)
{
	char path[64];
	int fd, r;

	*pid = strchr(what, '/') ? 0 : find_pid(what);
	if (*pid > 0)
		snprintf(path, sizeof(path), "/proc/%d/exe", (int)*pid);
	fd = open(*pid > 0 ? path : what, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd >= 0)
		return fd;
	r = -errno;
	if (*pid > 0)
		complain("%s: process %d: %s", what, (int)*pid, strerror(-r));
	else if (r == -ENOENT)
		complain("%s: neither a file, nor a process, nor a server's name", what);
	else
		complain("%s: %s", what, strerror(-r));
	return r;
}

static int take_party(struct party *p, const char *what)
{
	static struct kho_note_format notes[KHO_NOTE_FORMATS_MAX];
	struct khoc_kernel_formats formats;
	static struct kho_abi_format kernel[KHO_NOTE_FORMATS_MAX];
	unsigned int nr_kernel = 0;
	pid_t pid;
	int fd = open_party(what, &pid), nr, r = 0;

	*p = (struct party){.name = what};
	if (fd < 0)
		return fd;
	nr = kho_note_read(fd, notes);
	for (int i = 0; i < nr; i++)
		if (notes[i].type == KHO_ABI_NOTE_KERNEL)
			kernel[nr_kernel++] = notes[i].format;
	if (nr < 0)
		complain("%s: %s", what, kho_error());
	else if (nr_kernel &&
		 (r = khoc_kernel_list(&formats, kernel, nr_kernel * sizeof(*kernel), 0, NULL)))
		complain("%s: its list of formats: %s", what, khoc_fault_text(-r));
	else if (nr_kernel)
		take_kernel(p, &formats, "its note");
	else
		r = nr ? take_notes(p, notes, nr, pid) : take_image(p, fd);
	close(fd);
	if (nr >= 0 && !r && pid)
		take_arena(p, pid);
	if (p->nr)
		qsort(p->list, p->nr, sizeof(*p->list), by_name);
	return nr < 0 ? nr : r;
}

/* ---- part by part ---- */

/* The part of that name in a compatibility string. */
static bool part_of(const char *string, const char *name, struct khoc_compat_part *part)
{
	size_t pos = 0;

	while (*string && !khoc_compat_next(string, strlen(string) + 1, &pos, part))
		if (strlen(name) == part->name_len && !memcmp(part->name, name, part->name_len))
			return true;
	return false;
}

static enum verdict judge(const struct party *old, const struct party *new,
			  const struct kho_abi_format *w, const struct kho_abi_format *r)
{
	struct khoc_compat_part part;
	__u32 version = w ? w->writes : 0;
	bool there = w && part_of(old->has, w->name, &part);

	if (there)
		version = part.version;
	if (!version || (w->flags & KHO_ABI_FORMAT_PART && *old->has && !there))
		return UNUSED;
	if (kho_format_reads_(r, version))
		return TAKEN;
	if (w->flags & KHO_ABI_FORMAT_OPTIONAL || (there && part.optional))
		return OPTIONAL;
	if (w->flags & KHO_ABI_FORMAT_PART && !there)
		return IF_USED;
	return !new->kernel && !there &&kho_format_common_(w, r) ? MIGRATED : REFUSED;
}

/* Until it is healthy the new one must not write what the old one, which may have to go on, cannot read. */
static bool no_way_back(const struct party *new, const struct kho_abi_format *w,
			const struct kho_abi_format *r)
{
	return !new->kernel &&w && w->writes && !w->flags && !kho_format_common_(w, r);
}

struct comparison {
	const struct party *old, *new;
	struct json *json;
	bool quiet;
	bool refused;
};

static const char *versions(char *text, size_t size, __u32 min, __u32 max)
{
	if (!max)
		return "-";
	if (min == max)
		snprintf(text, size, "%u", max);
	else
		snprintf(text, size, "%u to %u", min, max);
	return text;
}

static void compare_part(struct comparison *c, const char *name)
{
	const struct kho_abi_format *a = find(c->old, name), *b = find(c->new, name);
	enum verdict v = judge(c->old, c->new, a, b);
	char writes[32], read[32], clear[40];

	if (v != REFUSED && no_way_back(c->new, b, a))
		v = NO_WAY_BACK;
	c->refused = c->refused || v >= REFUSED;
	if (c->quiet)
		return;
	if (!c->json) {
		printf("%-16s %-12s %-12s %s\n", clean(clear, sizeof(clear), name),
		       versions(writes, sizeof(writes), a ? a->writes : 0, a ? a->writes : 0),
		       versions(read, sizeof(read), b ? b->reads_min : 0, b ? b->reads_max : 0),
		       verdicts[v]);
		return;
	}
	json_open_flat(c->json, NULL, '{');
	json_text(c->json, "part", name);
	json_u64(c->json, "old_writes", a ? a->writes : 0);
	json_u64(c->json, "new_reads_min", b ? b->reads_min : 0);
	json_u64(c->json, "new_reads_max", b ? b->reads_max : 0);
	json_text(c->json, "verdict", verdicts[v]);
	json_bool(c->json, "refused", v >= REFUSED);
	json_close(c->json, '}');
}

/* Both lists ascend. */
static void compare_parts(struct comparison *c)
{
	unsigned int i = 0, j = 0;

	while (i < c->old->nr || j < c->new->nr) {
		const char *a = i < c->old->nr ? c->old->list[i].name : NULL;
		const char *b = j < c->new->nr ? c->new->list[j].name : NULL;
		int order = !a ? 1 : !b ? -1 : strcmp(a, b);

		compare_part(c, order <= 0 ? a : b);
		i += order <= 0;
		j += order >= 0;
	}
}

static bool compare(const struct party *old, const struct party *new, bool json, bool quiet)
{
	struct json j = {.out = stdout};
	struct comparison c = {.old = old, .new = new, .json = json ? &j : NULL, .quiet = quiet};

	if (quiet) {
		compare_parts(&c);
		return c.refused;
	}
	if (json) {
		json_open(&j, NULL, '{');
		json_text(&j, "schema", "kho-check-1");
		json_text(&j, "old", old->name);
		json_text(&j, "new", new->name);
		json_text(&j, "old_by", old->origin);
		json_text(&j, "new_by", new->origin);
		json_text(&j, "old_has", *old->has ? old->has : NULL);
		json_open(&j, "parts", '[');
		compare_parts(&c);
		json_close(&j, ']');
		json_bool(&j, "taken", !c.refused);
		json_close(&j, '}');
		return c.refused;
	}
	printf("old: %s, by %s\n", old->name, old->origin);
	if (*old->has)
		printf("     its arena has %s\n", old->has);
	printf("new: %s, by %s\n\n%-16s %-12s %-12s verdict\n", new->name, new->origin, "part",
	       "old writes", "new reads");
	compare_parts(&c);
	printf("\n%s\n", c.refused ? "the new one refuses what the old one hands over"
				   : "the new one takes what the old one hands over");
	return c.refused;
}

/* ---- the command ---- */

static const char check_help[] =
	"usage: kho check [OPTION]... OLD NEW\n"
	"\n"
	"Would NEW take what OLD hands over? Each is a program's file, a kernel (bzImage, or a\n"
	"vmlinux with a list of formats), or the pid or name of a running server.\n"
	"\n"
	"  --json                 as JSON\n"
	"  --quiet                nothing but the exit status\n"
	"  --help\n"
	"\n"
	"Exit status: 0 if it would, 1 if not, 2 if that cannot be told.\n";

static const struct option check_options[] = {{"json", no_argument, NULL, 'j'},
					      {"quiet", no_argument, NULL, 'q'},
					      {"help", no_argument, NULL, 'h'},
					      {NULL, 0, NULL, 0}};

int cmd_check(int argc, char **argv)
{
	static struct party old, new;
	bool json = false, quiet = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "", check_options, NULL)) >= 0) {
		json = json || opt == 'j';
		quiet = quiet || opt == 'q';
		if (opt == 'h' || opt == '?') {
			fputs(check_help, opt == 'h' ? stdout : stderr);
			return opt == 'h' ? output_done(0, 2) : 2;
		}
	}
	if (argc - optind != 2) {
		fputs(check_help, stderr);
		return 2;
	}
	if (take_party(&old, argv[optind]) || take_party(&new, argv[optind + 1]))
		return 2;
	if (old.kernel != new.kernel) {
		complain(
			"one is a kernel and the other a program: neither hands over to the other");
		return 2;
	}
	return output_done(compare(&old, &new, json, quiet), 2);
}
