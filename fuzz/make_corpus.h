/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What the two parts of the maker of seeds share. */
#ifndef FUZZ_MAKE_CORPUS_H
#define FUZZ_MAKE_CORPUS_H

#include <stddef.h>

/* DIR/KIND/NAME */
void write_file(const char *dir, const char *kind, const char *name, const void *data, size_t size);

/* make_corpus_life.c: messages, environments, a supervisor's life, command lines of cached. */
void make_life(const char *dir);

#endif
