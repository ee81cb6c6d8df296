/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Processes by pid, or by the name that kho run gave them. */
#ifndef KHO_TOOL_FIND_H
#define KHO_TOOL_FIND_H

#include <sys/types.h>

/* Return: a pid (whether or not there is such a process), or 0. */
pid_t find_pid(const char *what);
/* The kho run of a name. Return: its pid, or 0. */
pid_t find_supervisor(const char *name);
/*
 * The arena that process @pid, which the user calls @what, has open. Return: an fd for reading; negative, having
 * complained.
 */
int find_arena(const char *what, pid_t pid);

#endif
