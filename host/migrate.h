/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Migrations: private to the process host. */
#ifndef KHO_HOST_MIGRATE_H
#define KHO_HOST_MIGRATE_H

#include <stdbool.h>

#include <kho/abi/format.h>
#include <kho/compat.h>

/* The hooks, and what they are called with. */
void kho_migrate_set_(const struct kho_migration *migrations, unsigned int nr, void *ctx);

/* The arena is not ours any more: what was pending is the journal's business. */
void kho_migrate_forget_(void);

/* Settle what a program that died left in the journal, once for each time that we own the arena. Return: 0 or negative. */
int kho_migrate_recover_(void);

/* Are there new objects to put in force, or old ones to free? */
bool kho_migrate_due_(void);

/* Do it. Nobody may want the arena back as it was. Return: 0 or negative. */
int kho_migrate_finish_(void);

/* Is there a hook from version @from of @type to one of @min to @max? Return: it, the newest, or NULL. */
const struct kho_migration *kho_migrate_find_(const char *type, __u32 from, __u32 min, __u32 max);

/* Can a program with @formats read all roots, after kho_migrate_down_()? Return: 0, -KHO_E_INCOMPATIBLE. */
int kho_migrate_check_(const struct kho_abi_format *formats, unsigned int nr);

/*
 * Give every root a version that a program with @formats reads, where it has a list entry for its type.
 * Return: 1: roots were changed; 0: none had to be; negative: all is as it was.
 */
int kho_migrate_down_(const struct kho_abi_format *formats, unsigned int nr);

#endif
