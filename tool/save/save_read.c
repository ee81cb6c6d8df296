/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * An arena from a file that anybody may have made: nothing is used before it is checked, and what does
 * not fit is said with the byte of the file at which it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <kho/core/arena.h>

#include "arena.h"
#include "save_file.h"
#include "tool.h"

#define PAGE KHO_ABI_ARENA_PAGE_SIZE

struct reader {
	int in;
	const char *name;
	int arena; /* or -1 */
	__u64 at; /* bytes read so far */
	__u64 end; /* of the last chunk */
	__u32 chain;
	struct save_summary sum;
	struct progress_bar bar;
	unsigned char *data;
	unsigned char *stored;
	unsigned char first[PAGE] __attribute__((aligned(8))); /* page 0, if it came */
};

static int __attribute__((format(printf, 3, 4)))
refuse(const struct reader *r, __u64 at, const char *format, ...)
{
	char why[256];
	va_list args;

	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	complain("%s: at byte %llu: %s", r->name, (unsigned long long)at, why);
	return -EINVAL;
}

/* Exactly @len bytes. Return: 0; -EINVAL: they are not there. */
static int get(struct reader *r, void *to, size_t len)
{
	size_t got = 0;

	while (got < len) {
		ssize_t n = read(r->in, (char *)to + got, len - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			n = -errno;
			complain("%s: %s", r->name, strerror(errno));
			return (int)n;
		}
		if (!n)
			return refuse(
				r, r->at + got,
				"the file ends in the middle: it was cut off, or the save was "
				"not finished");
		got += (size_t)n;
	}
	r->at += len;
	return 0;
}

static int get_head(struct reader *r)
{
	struct kho_abi_save *h = &r->sum.head;
	static const __u8 zeroes[sizeof(h->reserved)];
	int rc = get(r, h, sizeof(*h));

	if (rc)
		return rc;
	if (h->magic != KHO_ABI_SAVE_MAGIC)
		return refuse(r, 0, "this is not a file of kho save");
	if (h->version != KHO_ABI_SAVE_VERSION)
		return refuse(r, 8, "version %u: this kho reads version %u", h->version,
			      KHO_ABI_SAVE_VERSION);
	if (h->crc != khoc_crc32c(0, h, offsetof(struct kho_abi_save, crc)))
		return refuse(r, 60, "the checksum of the beginning is wrong: the file is damaged");
	if (h->compression > KHO_ABI_SAVE_ZSTD)
		return refuse(r, 12, "compression %u is not known", h->compression);
	if (h->compression == KHO_ABI_SAVE_ZSTD && !squeeze_possible())
		return refuse(r, 12, "it is compressed, and this kho was built without libzstd");
	if (h->max_size > 1ULL << 47 || h->arena_size > h->max_size || h->arena_size % PAGE ||
	    h->arena_size < KHO_ABI_FIXED_END || memcmp(h->reserved, zeroes, sizeof(zeroes)))
		return refuse(r, 32, "an arena of %llu bytes with a limit of %llu cannot be",
			      (unsigned long long)h->arena_size, (unsigned long long)h->max_size);
	r->chain = khoc_crc32c(0, &h->crc, sizeof(h->crc));
	return 0;
}

/* Addresses ascend, so that nothing is written twice, and the number of chunks is bounded. */
static int check_chunk(const struct reader *r, const struct kho_abi_save_chunk *c)
{
	const __u64 at = r->at - sizeof(*c);

	if (c->crc != khoc_crc32c(0, c, offsetof(struct kho_abi_save_chunk, crc)))
		return refuse(r, at,
			      "the checksum of a chunk's head is wrong: the file is damaged");
	if (!c->len)
		return 0;
	if (c->len > KHO_ABI_SAVE_CHUNK_MAX || c->len % PAGE || c->stored > c->len ||
	    (c->stored < c->len && c->stored && r->sum.head.compression == KHO_ABI_SAVE_PLAIN))
		return refuse(r, at, "a chunk of %u bytes in %u cannot be", c->len, c->stored);
	if (c->pa % PAGE || c->pa < r->end || c->pa > r->sum.head.arena_size ||
	    c->len > r->sum.head.arena_size - c->pa)
		return refuse(r, at, "a chunk for %#llx, behind %#llx, in an arena of %#llx bytes",
			      (unsigned long long)c->pa, (unsigned long long)r->end,
			      (unsigned long long)r->sum.head.arena_size);
	if (c->pa <= KHO_ABI_OWNER_PA && c->pa + c->len > KHO_ABI_OWNER_PA)
		return refuse(r, at, "a chunk has the owner's page, which is never saved");
	return 0;
}

/* Bytes of a chunk into the arena. */
static int place(struct reader *r, const struct kho_abi_save_chunk *c)
{
	int rc = 0;

	if (r->arena < 0)
		return 0;
	if (!c->stored && fallocate(r->arena, 0, (off_t)c->pa, c->len))
		rc = -errno;
	if (c->stored && pwrite(r->arena, r->data, c->len, (off_t)c->pa) != (ssize_t)c->len)
		rc = errno ? -errno : -ENOSPC;
	if (rc)
		complain("%s: no memory for the arena at %#llx: %s", r->name,
			 (unsigned long long)c->pa, strerror(-rc));
	return rc;
}

static int take_chunk(struct reader *r, const struct kho_abi_save_chunk *c)
{
	const __u64 at = r->at;
	bool plain = c->stored == c->len;
	__u32 crc = 0;
	int rc = get(r, plain ? r->data : r->stored, c->stored);

	if (rc)
		return rc;
	if (c->stored && !plain) {
		crc = khoc_crc32c(0, r->stored, c->stored);
		if (!unsqueeze(r->data, c->len, r->stored, c->stored))
			return refuse(
				r, at,
				"a chunk does not decompress to %u bytes: the file is damaged",
				c->len);
	}
	if (c->stored)
		crc = khoc_crc32c(crc, r->data, c->len);
	if (c->data_crc != crc)
		return refuse(r, at,
			      "the checksum of the chunk for %#llx is wrong: the file is damaged",
			      (unsigned long long)c->pa);
	if (!c->pa && c->stored)
		memcpy(r->first, r->data, PAGE);
	r->end = c->pa + c->len;
	r->sum.stored += c->len;
	return place(r, c);
}

static int get_chunks(struct reader *r)
{
	struct kho_abi_save_chunk c;
	char more;

	for (;;) {
		int rc = get(r, &c, sizeof(c)) ?: check_chunk(r, &c);

		if (rc)
			return rc;
		if (!c.len)
			break;
		r->chain = khoc_crc32c(r->chain, &c.crc, sizeof(c.crc));
		rc = take_chunk(r, &c);
		if (rc)
			return rc;
		progress_show(&r->bar, r->at);
	}
	if (c.pa != r->sum.head.arena_size || c.stored || c.data_crc != r->chain)
		return refuse(r, r->at - sizeof(c), "chunks are missing, or are another file's");
	if (read(r->in, &more, 1) > 0)
		return refuse(r, r->at, "there is something behind the end");
	r->sum.file = r->at;
	return 0;
}

/* Is what came the arena that the file says? */
static int check_arena(struct reader *r)
{
	const struct kho_abi_arena_header *header = (const void *)r->first;
	struct khoc_report report;
	char why[256];

	if (khoc_arena_check(header, sizeof(r->first), r->sum.head.arena_size, &report)) {
		kho_report_text_(&report, why, sizeof(why));
		complain("%s: the arena in it: %s", r->name, why);
		return -EINVAL;
	}
	if (memcmp(header->id, r->sum.head.id, sizeof(header->id)) ||
	    header->max_size != r->sum.head.max_size)
		return refuse(r, 16, "it does not have the arena that it says it has");
	return 0;
}

static int lengthen(struct reader *r)
{
	int rc = r->arena < 0 ? 0 : kho_arena_lengthen_(r->arena, r->sum.head.arena_size);

	if (rc)
		complain("%s: an arena of %llu bytes: %s", r->name,
			 (unsigned long long)r->sum.head.arena_size, strerror(-rc));
	return rc;
}

int save_read(int in, const char *name, int arena, struct save_summary *sum)
{
	static struct reader r; /* too large for a stack, and one at a time */
	struct stat st;
	int rc;

	if (fstat(in, &st))
		return -errno;
	r = (struct reader){.in = in, .name = name, .arena = arena};
	r.data = malloc(KHO_ABI_SAVE_CHUNK_MAX);
	r.stored = malloc(KHO_ABI_SAVE_CHUNK_MAX);
	progress_begin(&r.bar, "loading", (__u64)st.st_size);
	rc = r.data && r.stored ? get_head(&r) : -ENOMEM;
	rc = rc ?: lengthen(&r) ?: get_chunks(&r) ?: check_arena(&r);
	progress_end(&r.bar);
	free(r.data);
	free(r.stored);
	if (!rc && sum)
		*sum = r.sum;
	return rc;
}
