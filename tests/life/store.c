/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Version 1 is a counter; version 2 is a counter behind a pointer. A server of "1" knows the one, of
 * "1-2" both and the ways between them, of "2" the other.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "store.h"

struct two {
	__u64 tag;
	__u64 *value;
};

#define TAG 0x74776fULL

struct kho_format store_format = {.name = "store"};
static int version;
static __u64 *value;

static int build_up(void *ctx, void *old, void **fresh)
{
	struct two *to = kho_migrate_malloc(sizeof(*to));

	if (!to || !(to->value = kho_migrate_malloc(sizeof(__u64))))
		return -errno;
	to->tag = TAG;
	*to->value = *(__u64 *)old;
	*fresh = to;
	return 0;
}

static int build_down(void *ctx, void *old, void **fresh)
{
	__u64 *to = kho_migrate_malloc(sizeof(*to));

	if (!to)
		return -errno;
	*to = *((struct two *)old)->value;
	*fresh = to;
	return 0;
}

static int release_one(void *ctx, void **slot)
{
	return kho_publish(slot, NULL, *slot);
}

static int release_two(void *ctx, void **slot)
{
	struct two *old = *slot;

	if (old->value && kho_publish((void **)&old->value, NULL, old->value))
		return -EIO;
	return kho_publish(slot, NULL, old);
}

const struct kho_migration store_hooks[2] = {
	{"store", 1, 2, build_up, release_one},
	{"store", 2, 1, build_down, release_two},
};

static void need(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "store: %s: %s\n", what, kho_error());
	exit(1);
}

void store_parse(const char *text)
{
	char *end;

	store_format.reads_min = store_format.writes_min = (__u32)strtoul(text, &end, 10);
	store_format.writes = *end == '-' ? (__u32)atoi(end + 1) : store_format.reads_min;
	store_format.reads_max = store_format.writes;
}

static void make(void **slot)
{
	__u64 *count = kho_calloc(1, sizeof(*count));
	struct two *two;

	need(count != NULL, "memory");
	if (version == 1) {
		need(!kho_publish(slot, count, NULL), "publish");
		return;
	}
	two = kho_calloc(1, sizeof(*two));
	need(two != NULL, "memory");
	two->tag = TAG;
	need(!kho_publish(slot, two, NULL) && !kho_publish((void **)&two->value, count, NULL),
	     "publish");
}

void store_find(void)
{
	void **slot;

	if (!store_format.writes)
		return;
	version = kho_root_version("store");
	if (version == -ENOENT)
		version = kho_format_writes("store");
	slot = kho_root("store", "store", (__u32)version);
	need(slot && (__u32)version >= store_format.reads_min &&
		     (__u32)version <= store_format.reads_max,
	     "root");
	if (!*slot)
		make(slot);
	if (version == 2)
		need(((struct two *)*slot)->tag == TAG, "tag");
	value = version == 1 ? *slot : ((struct two *)*slot)->value;
}

void store_migrate(void)
{
	if (store_format.writes)
		need(!kho_migrate("store", store_format.writes, NULL), "migrate");
}

int store_next(void)
{
	return value ? (int)++*value * 10 + version : -1;
}
