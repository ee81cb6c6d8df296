/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * kho load, and kho run --load: an arena from a file of kho save.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arena.h"
#include "load.h"
#include "save_file.h"
#include "tool.h"

static const char help[] =
	"usage: kho load [OPTION]... FILE\n"
	"\n"
	"Checks a file of kho save, all of it, and says what it has. To start a server with\n"
	"it: kho run --load FILE -- SERVER.\n"
	"\n"
	"  --arena OUT  also write the arena itself to OUT, a sparse file\n"
	"  --help\n";

enum {
	OPT_ARENA = 256,
	OPT_HELP,
};

static const struct option options[] = {
	{"arena", required_argument, NULL, OPT_ARENA},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL, 0, NULL, 0},
};

static int open_file(const char *file)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;

	if (fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode))
		return fd;
	complain("%s: %s", file, fd < 0 ? strerror(errno) : "not an ordinary file");
	if (fd >= 0)
		close(fd);
	return -EINVAL;
}

/* All of it is checked before the first byte of memory is taken: a small file may ask for much. */
static int load_into(int in, const char *file, int arena)
{
	struct save_summary sum;
	int r = save_read(in, file, -1, &sum);

	if (!r && sum.stored > memory_available()) {
		complain("%s: the arena takes %llu MiB, and %llu are available", file,
			 (unsigned long long)(sum.stored >> 20),
			 (unsigned long long)(memory_available() >> 20));
		r = -ENOMEM;
	}
	if (!r && lseek(in, 0, SEEK_SET))
		r = -errno;
	return r ?: save_read(in, file, arena, NULL);
}

bool is_saved_arena(int fd)
{
	__u64 magic = 0;

	return pread(fd, &magic, sizeof(magic), 0) == sizeof(magic) && magic == KHO_ABI_SAVE_MAGIC;
}

int load_arena(const char *file, const char *name)
{
	int in = open_file(file), arena, r;

	if (in < 0)
		return in;
	arena = kho_arena_create_(name);
	if (arena < 0)
		complain("%s: %s", name, kho_error());
	r = arena < 0 ? arena : load_into(in, file, arena);
	close(in);
	if (r && arena >= 0)
		close(arena);
	return r ?: arena;
}

static int load_to_file(int in, const char *file, const char *to)
{
	int out = open(to, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), r;

	if (out < 0) {
		complain("%s: %s", to, strerror(errno));
		return -errno;
	}
	r = lseek(in, 0, SEEK_SET) ? -errno : save_read(in, file, out, NULL);
	if (!r && (fsync(out) && errno != EINVAL)) {
		r = -errno;
		complain("%s: %s", to, strerror(errno));
	}
	close(out);
	if (r)
		unlink(to);
	return r;
}

static int load(const char *file, const char *to)
{
	struct save_summary sum;
	int in = open_file(file), r;

	if (in < 0)
		return in;
	r = save_read(in, file, -1, &sum);
	if (!r && to)
		r = load_to_file(in, file, to);
	close(in);
	if (r)
		return r;
	printf("arena ");
	for (size_t i = 0; i < sizeof(sum.head.id); i++)
		printf("%02x", sum.head.id[i]);
	printf("\nsize %llu\nmax_size %llu\nstored %llu\nfile %llu\ncompression %s\n",
	       (unsigned long long)sum.head.arena_size, (unsigned long long)sum.head.max_size,
	       (unsigned long long)sum.stored, (unsigned long long)sum.file,
	       sum.head.compression ? "zstd" : "none");
	return 0;
}

int cmd_load(int argc, char **argv)
{
	const char *to = NULL;
	int opt;

	optind = 1;
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == OPT_HELP) {
			fputs(help, stdout);
			return output_done(0, 2);
		}
		if (opt != OPT_ARENA)
			return 2;
		to = optarg;
	}
	if (argc - optind != 1) {
		complain("load: one FILE is expected; kho run --load FILE starts a server with it");
		return 2;
	}
	return output_done(load(argv[optind], to) ? 1 : 0, 1);
}
