/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Arenas from files of kho save, for other commands. */
#ifndef KHO_TOOL_LOAD_H
#define KHO_TOOL_LOAD_H

#include <stdbool.h>

bool is_saved_arena(int fd);
/* A new arena of what is in @file, all of it checked. Return: its fd, or negative: said on stderr. */
int load_arena(const char *file, const char *name);

#endif
