/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Pages for tree nodes. Which are in use is not stored: those that the tree reaches are.
 * So a node that was taken and not yet linked when the process died is not lost.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "arena.h"
#include "hbitmap.h"
#include "node.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct hbitmap unused; /* bit i: page i of the region */
static bool known;

static int mark_used(void *ctx, kho_pa_t pa, int level)
{
	hbitmap_clear_(&unused, (pa - kho_arena_.mem.node_lo) >> KHO_PAGE_SHIFT);
	return 0;
}

static int learn(void)
{
	__u64 nr = (kho_arena_.mem.node_hi - kho_arena_.mem.node_lo) >> KHO_PAGE_SHIFT;
	int rc;

	if (known)
		return 0;
	rc = hbitmap_init_(&unused, nr);
	if (rc)
		return rc;
	for (__u64 i = 0; i < nr; i++)
		hbitmap_set_(&unused, i);
	rc = khoc_radix_nodes(&kho_arena_.tree, mark_used, NULL);
	if (rc)
		hbitmap_destroy_(&unused);
	known = !rc;
	return rc;
}

static kho_pa_t take(void)
{
	struct kho_arena *a = &kho_arena_;
	kho_pa_t pa;
	__u64 i;

	if (learn())
		return 0;
	i = hbitmap_next_(&unused, 0);
	if (i == HBITMAP_NONE)
		return 0;
	pa = a->mem.node_lo + (i << KHO_PAGE_SHIFT);
	if (madvise(a->base + pa, KHO_PAGE_SIZE, MADV_POPULATE_WRITE) &&
	    fallocate(a->fd, 0, (off_t)pa, KHO_PAGE_SIZE))
		return 0;
	hbitmap_clear_(&unused, i);
	return pa;
}

kho_pa_t kho_node_alloc_(void *ctx)
{
	kho_pa_t pa;

	pthread_mutex_lock(&lock);
	pa = take();
	pthread_mutex_unlock(&lock);
	if (pa)
		memset(kho_arena_.base + pa, 0, KHO_PAGE_SIZE);
	return pa;
}

void kho_node_free_(void *ctx, kho_pa_t pa)
{
	pthread_mutex_lock(&lock);
	if (known)
		hbitmap_set_(&unused, (pa - kho_arena_.mem.node_lo) >> KHO_PAGE_SHIFT);
	pthread_mutex_unlock(&lock);
}

void kho_nodes_forget_(void)
{
	pthread_mutex_lock(&lock);
	hbitmap_destroy_(&unused);
	known = false;
	pthread_mutex_unlock(&lock);
}
