/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Programs of different versions over the same state: which version of a format may be written
 * now, and how the objects of one version become those of another. <kho/host.h> includes this.
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

/* ---- migrations ------------------------------------------------------------ */

/**
 * struct kho_migration - how objects of a type become those of another version
 * @type: the type of the roots that they hang from, and the name of their format
 * @from, @to: versions; up or down
 * @build: make new objects of version @to, with kho_migrate_malloc() only, from those at @old, and set
 *	*@fresh to the first of them. Changes no old object; new ones may refer to old ones
 *	that @release leaves alone. Return: 0, or negative: all new objects go away again.
 * @release: free the objects of version @from that hang from @slot with kho_publish(), and leave
 *	NULL in it. May be killed on the way: then it is called again for what is left. Return: 0, or
 *	negative: it is called again later.
 *
 * All are called with kho_config.ctx; @build down in the keeper, while the workers are parked.
 */
struct kho_migration {
	const char *type;
	__u32 from;
	__u32 to;
	int (*build)(void *ctx, void *old, void **fresh);
	int (*release)(void *ctx, void **slot);
};

/**
 * kho_migrate() - make new objects beside the old ones of a root
 * @root: its name
 * @to: the version that it is to have
 * @fresh: the first new object; may be NULL
 *
 * Nothing changes yet: until kho_healthy() the old objects are in force, and all that a
 * predecessor, rolled back to, or the next program finds; the new ones are gone then without a
 * leak. kho_healthy() puts the new objects and the version in the place of the old ones, of all roots at
 * once and as one step to any crash, and frees the old ones. Slots that kho_root() gave are to be asked
 * for again after that.
 *
 * What changes in the old objects in between does not reach the new ones. A server that cannot
 * wait for kho_healthy() says so first, and migrates when it suits it: call kho_healthy()
 * once more then.
 *
 * Return: 0, also if the root has that version; -ENOENT: no such root, or no migration from its
 * version to @to; -EBUSY: done already; -EPERM: not the owner; -ENOMEM; -ENOSPC; what @build returned.
 */
int kho_migrate(const char *root, __u32 to, void **fresh);

/* In kho_migration.build: an object, cleared. It lives when the migration does. NULL: errno, as kho_malloc(). */
void *kho_migrate_malloc(size_t size);

/* The version of a root. Return: it; -ENOENT. */
int kho_root_version(const char *root);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
