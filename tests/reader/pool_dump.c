/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What <kho/allocator.hpp> finds in the pools of an arena file, in the words of pool_reader.py; and random arenas
 * with pools for both to read.
 *
 *	pool_dump make SEED FILE	an arena with pools, some of them as a death leaves them
 *	pool_dump read FILE...		what is in its pools, each in the arena as it came; "end" after each file
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arena.h"
#include "dump_main.h"
#include "page.h"
#include "pools.h"
#include "preserve.h"

#define MAX_SIZE (3ULL << 20)
#define NR_POOLS 4
#define NR_OBJECTS 30

static struct pools_why why;

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "pool_dump: %s: %s %s\n", what, kho_error(), why.text);
	exit(1);
}

/* ---- a random arena ---- */

static struct kho_abi_pool_link *link_at(__u64 at)
{
	return (struct kho_abi_pool_link *)(uintptr_t)at;
}

static size_t some_size(void)
{
	return below(20) ? below(1ULL << below(13)) : 32769 + below(30000);
}

/* Changes through the pool's own functions. */
static void change(void)
{
	void *objects[NR_OBJECTS] = {NULL};
	size_t sizes[NR_OBJECTS];

	if (below(2))
		must(pools_top(&why), "top");
	for (__u64 n = below(60); n; n--) {
		__u64 i = below(NR_OBJECTS), alignment = 1ULL << below(8);

		if (objects[i]) {
			pools_deallocate(objects[i], sizes[i] >> 8, sizes[i] & 255);
			objects[i] = NULL;
		} else {
			sizes[i] = some_size() << 8 | alignment;
			objects[i] = pools_allocate(sizes[i] >> 8, alignment, &why);
		}
	}
}

/* As a death leaves it, behind the publication or before or behind the rest. */
static void die(struct kho_abi_pool *head)
{
	__u64 ring = (uintptr_t)&head->ring, at = ring;
	bool known = below(2);

	for (__u64 n = below(5); n && link_at(at)->next != ring; n--)
		at = link_at(at)->next;
	switch (below(4)) {
	case 0:
		head->updates = 1;
		break;
	case 1: /* one came */
		head->mending = ring;
		at = link_at(head->ring.next)->next;
		if (!known && head->ring.next != ring)
			link_at(at)->prev = ring;
		break;
	case 2: /* one goes */
		head->mending = at;
		at = link_at(at)->next;
		if (at == ring || at + 16 == head->top)
			break;
		must(!kho_publish_tagged(&link_at(head->mending)->next, link_at(at)->next, NULL,
					 link_at(at)),
		     "unlink");
		at = link_at(head->mending)->next;
		if (known)
			link_at(at)->prev = head->mending;
	}
}

static void save(const char *path)
{
	FILE *out = fopen(path, "wb");

	must(out && fwrite(kho_arena_.base, kho_file_size_(), 1, out) == 1 && !fclose(out), path);
}

static int make(const char *path)
{
	int fd = kho_arena_create_("reader");
	char name[] = "pool0";

	must(fd >= 0 && !kho_arena_format_(fd, MAX_SIZE) && !kho_arena_map_(fd, true) &&
		     !kho_arena_own_(),
	     "arena");
	for (; name[4] < '0' + NR_POOLS; name[4]++) {
		must(!pools_open(name, &why), name);
		change();
		if (below(2))
			die(pools_head(name));
	}
	pools_close();
	save(path);
	return 0;
}

/* ---- what is in one ---- */

static __u64 live(void)
{
	struct kho_heap_stats stats;

	must(!kho_heap_stats(&stats, true), "heap");
	return stats.live_objects;
}

static void say_pool(const char *name)
{
	__u64 before = live();
	const struct kho_abi_pool *head;

	printf("pool %s ", name);
	if (pools_open(name, &why)) {
		must(why.error == -EPROTO && why.fault, "not a fault");
		printf("refused\n");
		return;
	}
	head = pools_head(name);
	printf("%d %llu ", pools_torn(), head->top ? (unsigned long long)head->top_size : 0);
	if (pools_drop(&why)) {
		must(why.error == -EPROTO && why.fault, "not a fault");
		printf("stays\n");
	} else {
		printf("freed %llu\n", (unsigned long long)(before - live()));
	}
	pools_close();
}

static void read_one(const char *path)
{
	FILE *in = fopen(path, "rb");
	char *bytes = malloc(MAX_SIZE), name[] = "pool0";
	size_t size;

	must(in && bytes, path);
	size = fread(bytes, 1, MAX_SIZE, in);
	fclose(in);
	for (; name[4] < '0' + NR_POOLS; name[4]++) {
		int fd = kho_arena_create_("reader");

		must(fd >= 0 && pwrite(fd, bytes, size, 0) == (ssize_t)size, path);
		must(!kho_arena_map_(fd, true) && !kho_arena_own_(), path);
		say_pool(name);
		must(!kho_preserve_check_all_(false), "the arena, behind");
		kho_arena_unmap_();
	}
	free(bytes);
	printf("end\n");
}

int main(int argc, char **argv)
{
	return dump_main(argc, argv, make, read_one);
}
