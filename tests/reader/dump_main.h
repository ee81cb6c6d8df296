/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What comparing.py asks of a program: a random image, or what is in images. */
#ifndef KHO_TEST_READER_DUMP_MAIN_H
#define KHO_TEST_READER_DUMP_MAIN_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "random.h"

/* @make: to FILE, from the seed; its exit status. Return: the exit status. */
static inline int dump_main(int argc, char **argv, int (*make)(const char *file),
			    void (*read_one)(const char *file))
{
	if (argc == 4 && !strcmp(argv[1], "make")) {
		seed = strtoull(argv[2], NULL, 0);
		return make(argv[3]);
	}
	if (argc < 3 || strcmp(argv[1], "read")) {
		fprintf(stderr, "usage: %s make SEED FILE | read FILE...\n", argv[0]);
		return 2;
	}
	for (int i = 2; i < argc; i++)
		read_one(argv[i]);
	return 0;
}

#endif
