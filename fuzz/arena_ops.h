/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Operations on an arena of the process host: made, dropped as by a crash and attached anew, as often as an input says. */
#ifndef FUZZ_ARENA_OPS_H
#define FUZZ_ARENA_OPS_H

#include "arena.h"
#include "ops.h"
#include "preserve.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static inline void arena_begin(__u64 max)
{
	int fd = kho_arena_create_("fuzz");

	FACT(fd >= 0 && !kho_arena_format_(fd, max) && !kho_arena_map_(fd, true));
	FACT(!kho_arena_own_());
}

/* What a crash leaves, attached as the next program would, and sound. */
static inline void arena_again(void)
{
	int fd = fcntl(kho_arena_.fd, F_DUPFD_CLOEXEC, 0);

	kho_arena_unmap_();
	FACT(!kho_arena_map_(fd, true) && !kho_arena_own_());
	FACT(!kho_preserve_check_all_(false));
}

/* Bytes of an arena, and a file of them that inputs change. */
struct arena_image {
	char *bytes, *work;
	__u64 size;
	int fd; /* -1: not taken yet */
};

/* What is attached becomes the image, and is not attached any more. */
static inline void arena_image_take(struct arena_image *image)
{
	image->size = kho_arena_.file_size;
	image->bytes = malloc(image->size);
	memcpy(image->bytes, kho_arena_.base, image->size);
	kho_arena_unmap_();
	image->fd = kho_arena_create_("fuzz");
	FACT(!ftruncate(image->fd, (off_t)image->size));
	image->work = mmap(NULL, image->size, PROT_READ | PROT_WRITE, MAP_SHARED, image->fd, 0);
	FACT(image->work != MAP_FAILED);
}

/* The file, as it is now. Return: as kho_arena_map_() and kho_arena_own_(). */
static inline int arena_image_attach(const struct arena_image *image)
{
	int fd = fcntl(image->fd, F_DUPFD_CLOEXEC, 0), rc = kho_arena_map_(fd, true);

	if (rc)
		close(fd);
	return rc ?: kho_arena_own_();
}

/* A few bytes at both ends say whose it is. */
static inline void arena_mark(void *at, size_t len, u8 id)
{
	memset(at, id, len < 64 ? len : 64);
	memset((char *)at + len - (len < 64 ? len : 64), id, len < 64 ? len : 64);
}

static inline void arena_marked(const void *at, size_t len, u8 id)
{
	const u8 *bytes = at;

	for (size_t i = 0; i < len && i < 64; i++)
		FACT(bytes[i] == id && bytes[len - 1 - i] == id);
}

#endif
