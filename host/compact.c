/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * An arena that is about to be given to the kernel: checked, measured, and made shorter if much of it
 * is holes, because the kernel fills them. Pages cannot be moved, pointers have their addresses; and the
 * file is sealed against shrinking. So what can be saved is what lies behind the last page in use, by a copy.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arena.h"
#include "liveupdate.h"

#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif

#define PIECE (1UL << 20)
#define STEP (64 * KHO_PAGE_SIZE) /* files end at a multiple of what the tree has in a word */
#define SLACK                                                                                      \
	(1ULL << 20) /* behind the last page: the next owner grows the file in its own steps */

/* The tree's blocks, of all orders: where does the last one end? */
static int last_end(__u64 *end)
{
	const struct kho_arena *a = &kho_arena_;
	struct khoc_radix_iter iter;
	struct khoc_run run;

	khoc_radix_iter_init(&iter, &a->tree, 0, a->size, 0, 63);
	while (khoc_radix_iter_next(&iter, &run)) {
		__u64 at = run.pa + (run.nr << (run.order + KHO_PAGE_SHIFT));

		if (at > *end)
			*end = at;
	}
	return khoc_radix_iter_error(&iter);
}

int kho_extent_(int fd, struct kho_extent *extent)
{
	struct kho_abi_arena_header header;
	struct stat st;
	int own, r = kho_arena_check_file_(fd, &header, &extent->size);

	if (r)
		return r;
	own = dup(fd);
	if (own < 0 || fstat(fd, &st)) {
		r = kho_fail_(-errno, "arena: %s", strerror(errno));
		if (own >= 0)
			close(own);
		return r;
	}
	r = kho_arena_map_(own, false);
	if (r) {
		close(own);
		return r;
	}
	extent->allocated = (__u64)st.st_blocks * 512;
	extent->max_size = header.max_size;
	extent->sealed = fcntl(fd, F_GET_SEALS) & F_SEAL_EXEC;
	extent->generation = kho_arena_generation_();
	extent->end = header.data_pa;
	r = last_end(&extent->end);
	kho_arena_unmap_();
	if (r)
		return kho_fail_(r, "arena: its tree changed while it was measured");
	extent->end = (extent->end + SLACK + STEP - 1) / STEP * STEP;
	if (extent->end > extent->size)
		extent->end = extent->size;
	return 0;
}

static int copy_piece(int from, int to, __u64 at, __u64 end, char *buffer)
{
	while (at < end) {
		size_t len = end - at < PIECE ? end - at : PIECE;
		ssize_t got = pread(from, buffer, len, (off_t)at), put;

		if (got <= 0)
			return got ? -errno : -EIO;
		put = pwrite(to, buffer, (size_t)got, (off_t)at);
		if (put != got)
			return put < 0 ? -errno : -ENOSPC;
		at += (__u64)got;
	}
	return 0;
}

static int copy(int from, int to, __u64 end)
{
	char *buffer = malloc(PIECE);
	off_t at = 0, hole;
	int r = buffer ? 0 : -ENOMEM;

	while (!r && (at = lseek(from, at, SEEK_DATA)) >= 0 && (__u64)at < end) {
		hole = lseek(from, at, SEEK_HOLE);
		if (hole < 0)
			r = -errno;
		else
			r = copy_piece(from, to, (__u64)at, (__u64)hole < end ? (__u64)hole : end,
				       buffer);
		at = hole;
	}
	/* ENXIO: nothing but a hole from there on. */
	if (!r && at < 0 && errno != ENXIO)
		r = -errno;
	free(buffer);
	return r;
}

int kho_compact_(int fd, const struct kho_extent *extent, const char *name)
{
	int to = kho_arena_create_(name), r;

	if (to < 0)
		return to;
	r = kho_arena_lengthen_(to, extent->end) ?: copy(fd, to, extent->end);
	if (!r)
		return to;
	close(to);
	return kho_fail_(r, "arena: it cannot be copied to be shorter: %s", strerror(-r));
}
