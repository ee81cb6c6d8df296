/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Programs of different versions over the same state: which version of a format may be written
 * now. <kho/host.h> includes this.
 */
#ifndef KHO_COMPAT_H
#define KHO_COMPAT_H

#include <stddef.h>

#include <kho/note.h>
#include <kho/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

/**
 * kho_format_writes() - the version of a format that may be written now
 * @name: one of kho_config.formats
 *
 * In a successor, until it has said kho_healthy() and its predecessor has retired: the newest that
 * both can do, it writing and the predecessor, which may have to go on with it, reading; 0 if there is
 * none (an optional format, or one that can wait: KHO_FORMAT_LATER): write none. Otherwise the
 * format's own @writes. After a hand-over that was forced, too, where there is no common version.
 *
 * Return: the version; -ENOENT: no such format.
 */
int kho_format_writes(const char *name);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
