/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * blackout: bench/blackout in a guest whose clock counts instructions (linux/vm/blackout_bench.py), so that
 * nothing that goes on around the guest is in its figures.
 *
 *	vm.do=SIZE:N:SUBJECT[,SUBJECT...]	as blackout-bench takes them
 *
 * Its rows go to the console, a line "VM: row {...}" each.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "init.h"

#define RESULT "/tmp/blackout.json"

/* Half of the memory, which is what a tmpfs may hold unless it is told, is not enough for the state. */
static int mount_shm(void)
{
	mkdir("/dev/shm", 01777);
	if (mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=90%"))
		return failed("mount /dev/shm");
	return 0;
}

static int show_rows(void)
{
	static char line[4096];
	FILE *file = fopen(RESULT, "re");
	int rows = 0;

	while (file && fgets(line, sizeof(line), file)) {
		char *row = strstr(line, "{\"case\"");

		if (row)
			rows += printf("VM: row %s", row) > 0;
	}
	if (file)
		fclose(file);
	return rows ? 0 : failed("%s has no rows", RESULT);
}

int case_blackout(const struct stage *stage)
{
	char words[256], *rest = words;
	const char *size, *n, *subjects;

	parameter("vm.do=", words, sizeof(words));
	size = strsep(&rest, ":");
	n = strsep(&rest, ":");
	subjects = rest;
	if (!n || !subjects)
		return failed("vm.do=%s", words);
	setenv("HOME", "/tmp", 1);
	setenv("TMPDIR", "/tmp", 1);
	if (loopback_up() < 0 || mount_shm() < 0 ||
	    run_program("blackout-bench", "--bin", "/bin", "--sizes", size, "--n", n, "--subjects",
			subjects, "--json", RESULT, NULL) < 0)
		return -1;
	return show_rows();
}
