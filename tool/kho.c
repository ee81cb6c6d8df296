/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * kho(1): programs whose memory and files outlive them.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

static const struct command {
	const char *name;
	int (*main)(int argc, char **argv);
	const char *purpose;
} commands[] = {
	{"run", cmd_run, "run a server, keep its arena and listening sockets, restart it"},
	{"upgrade", cmd_upgrade, "replace a running server by a new program"},
	{"preserve", cmd_preserve, "have the kernel keep a server's arena over the next kexec"},
	{"stop", cmd_stop, "stop a server and its supervisor"},
	{"status", cmd_status, "show one server, or all"},
	{"clear", cmd_clear,
	 "throw away what a server that died too often left, and start it anew"},
	{"save", cmd_save, "write a server's arena to a file"},
	{"load", cmd_load, "check such a file; kho run --load starts with it"},
	{"inspect", cmd_inspect, "show what a process, an arena or a memory dump hands over"},
	{"map", cmd_map, "draw it"},
	{"diff", cmd_diff, "show what differs between two of them"},
	{"verify", cmd_verify, "find all that is wrong with it"},
	{"check", cmd_check, "would one program or kernel take what another hands over?"},
};

#define NR_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void usage(FILE *out)
{
	fputs("usage: kho COMMAND [OPTION]...\n\n", out);
	for (size_t i = 0; i < NR_COMMANDS; i++)
		fprintf(out, "  %-10s%s\n", commands[i].name, commands[i].purpose);
	fputs("\nkho COMMAND --help says more; kho --version, which release this is.\n", out);
}

/*
 * Started with stdin, stdout or stderr closed, the next file that is opened would get its number, and our words
 * or a server's with it.
 */
static bool fill_standard_fds(void)
{
	bool filled = true;

	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			filled = filled && open("/dev/null", O_RDWR) == fd;
	return filled;
}

int main(int argc, char **argv)
{
	if (!fill_standard_fds())
		return 2;
	if (argc < 2) {
		usage(stderr);
		return 2;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "help")) {
		usage(stdout);
		return output_done(0, 2);
	}
	if (!strcmp(argv[1], "--version")) {
		puts("kho " KHO_VERSION);
		return output_done(0, 2);
	}
	for (size_t i = 0; i < NR_COMMANDS; i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].main(argc - 1, argv + 1);
	complain("unknown command \"%s\": kho --help lists them", argv[1]);
	return 2;
}
