/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * An arena to a file: "save-v1".
 *
 * A stretch of the arena is a run of pages that are all zeroes, or all not. Holes are left out; pages that are
 * allocated and zero are named, because whoever has them may write there without memory being needed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <kho/core/arena.h>

#include "arena.h"
#include "save_file.h"
#include "tool.h"

struct writer {
	int out;
	const char *name;
	int arena;
	bool compress;
	__u32 chain; /* of the crcs so far */
	__u64 done;
	struct progress_bar bar;
	unsigned char *buf;
	unsigned char *squeezed;
};

static int put(const struct writer *w, const void *data, size_t len)
{
	const char *at = data;

	while (len) {
		ssize_t n = write(w->out, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			n = -errno;
			complain("%s: %s", w->name, strerror(errno));
			return (int)n;
		}
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

static int put_chunk(struct writer *w, struct kho_abi_save_chunk *chunk)
{
	chunk->crc = khoc_crc32c(0, chunk, offsetof(struct kho_abi_save_chunk, crc));
	w->chain = khoc_crc32c(w->chain, &chunk->crc, sizeof(chunk->crc));
	return put(w, chunk, sizeof(*chunk));
}

static int put_run(struct writer *w, __u64 pa, const unsigned char *data, size_t len, bool zero)
{
	struct kho_abi_save_chunk chunk = {.pa = pa, .len = (__u32)len};
	size_t fewer = 0;
	int r;

	if (!zero) {
		if (w->compress)
			fewer = squeeze(w->squeezed, KHO_ABI_SAVE_CHUNK_MAX, data, len);
		chunk.stored = (__u32)(fewer ? fewer : len);
		if (fewer)
			chunk.data_crc = khoc_crc32c(0, w->squeezed, fewer);
		chunk.data_crc = khoc_crc32c(chunk.data_crc, data, len);
	}
	r = put_chunk(w, &chunk);
	if (r || zero)
		return r;
	return put(w, fewer ? w->squeezed : data, chunk.stored);
}

static bool is_zero(const unsigned char *page)
{
	return !page[0] && !memcmp(page, page + 1, KHO_ABI_ARENA_PAGE_SIZE - 1);
}

/* [@pa, @pa + @len), which is in the buffer; the owner's page belongs to a process, not to the state. */
static int put_stretch(struct writer *w, __u64 pa, size_t len)
{
	const size_t page = KHO_ABI_ARENA_PAGE_SIZE;

	for (size_t at = 0, end; at < len; at = end) {
		bool zero = is_zero(w->buf + at);
		int r;

		end = at + page;
		if (pa + at == KHO_ABI_OWNER_PA)
			continue;
		while (end < len && pa + end != KHO_ABI_OWNER_PA && is_zero(w->buf + end) == zero)
			end += page;
		r = put_run(w, pa + at, w->buf + at, end - at, zero);
		if (r)
			return r;
	}
	w->done += len;
	progress_show(&w->bar, w->done);
	return 0;
}

/* @len bytes at @pa into the buffer. */
static int get(struct writer *w, __u64 pa, size_t len)
{
	for (size_t at = 0; at < len;) {
		ssize_t n = pread(w->arena, w->buf + at, len - at, (off_t)(pa + at));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			complain("the arena cannot be read at %#llx: %s",
				 (unsigned long long)(pa + at), n ? strerror(errno) : "it ends");
			return n ? -errno : -EIO;
		}
		at += (size_t)n;
	}
	return 0;
}

static int put_extent(struct writer *w, __u64 pa, __u64 end)
{
	int r = 0;

	while (!r && pa < end) {
		size_t len = end - pa < KHO_ABI_SAVE_CHUNK_MAX ? (size_t)(end - pa)
							       : KHO_ABI_SAVE_CHUNK_MAX;

		r = get(w, pa, len) ?: put_stretch(w, pa, len);
		pa += len;
	}
	return r;
}

static int put_extents(struct writer *w, __u64 size)
{
	off_t from = 0, to;

	for (;;) {
		from = lseek(w->arena, from, SEEK_DATA);
		if (from < 0 && errno == ENXIO)
			return 0;
		to = from < 0 ? -1 : lseek(w->arena, from, SEEK_HOLE);
		if (to < 0) {
			complain("the arena cannot be read: %s", strerror(errno));
			return -errno;
		}
		if (put_extent(w, (__u64)from, (__u64)to < size ? (__u64)to : size))
			return -EIO;
		from = to;
	}
}

static int put_all(struct writer *w, struct kho_abi_save *head)
{
	struct kho_abi_save_chunk end = {.pa = head->arena_size};
	int r;

	head->crc = khoc_crc32c(0, head, offsetof(struct kho_abi_save, crc));
	w->chain = khoc_crc32c(0, &head->crc, sizeof(head->crc));
	r = put(w, head, sizeof(*head)) ?: put_extents(w, head->arena_size);
	end.data_crc = w->chain;
	return r ?: put_chunk(w, &end);
}

int save_write(int out, const char *name, int arena, bool compress)
{
	struct writer w = {.out = out, .name = name, .arena = arena, .compress = compress};
	struct kho_abi_save head = {.magic = KHO_ABI_SAVE_MAGIC,
				    .version = KHO_ABI_SAVE_VERSION,
				    .compression = compress ? KHO_ABI_SAVE_ZSTD
							    : KHO_ABI_SAVE_PLAIN};
	struct kho_abi_arena_header header;
	struct stat st;
	int r = kho_arena_check_file_(arena, &header, &head.arena_size);

	if (r || fstat(arena, &st)) {
		complain("the arena: %s", r ? kho_error() : strerror(errno));
		return r ? r : -EIO;
	}
	memcpy(head.id, header.id, sizeof(head.id));
	head.max_size = header.max_size;
	w.buf = malloc(KHO_ABI_SAVE_CHUNK_MAX);
	w.squeezed = malloc(KHO_ABI_SAVE_CHUNK_MAX);
	progress_begin(&w.bar, "saving", (__u64)st.st_blocks * 512);
	r = w.buf && w.squeezed ? put_all(&w, &head) : -ENOMEM;
	if (!w.buf || !w.squeezed)
		complain("no memory to save with");
	progress_end(&w.bar);
	free(w.buf);
	free(w.squeezed);
	return r;
}
