/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Bytes that end where a page begins that nobody may touch. */
#ifndef TESTS_CORE_GUARD_H
#define TESTS_CORE_GUARD_H

#include <assert.h>
#include <string.h>
#include <sys/mman.h>

#define GUARD_SIZE 65536

struct guard {
	unsigned char *base;
};

static inline void guard_make(struct guard *guard)
{
	guard->base = mmap(NULL, GUARD_SIZE + 4096, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert(guard->base != MAP_FAILED);
	assert(!mprotect(guard->base + GUARD_SIZE, 4096, PROT_NONE));
}

static inline void guard_destroy(struct guard *guard)
{
	munmap(guard->base, GUARD_SIZE + 4096);
}

/* A copy of @len bytes, at most GUARD_SIZE, whose last is the last that can be read. */
static inline unsigned char *guard_copy(struct guard *guard, const void *bytes, size_t len)
{
	assert(len <= GUARD_SIZE);
	return memcpy(guard->base + GUARD_SIZE - len, bytes, len);
}

#endif
