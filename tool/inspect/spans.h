/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Arrays that grow, and arrays of what begins with a struct span, by address and without overlaps. */
#ifndef KHO_TOOL_SPANS_H
#define KHO_TOOL_SPANS_H

#include <errno.h>
#include <stdlib.h>

#include <kho/types.h>

struct span {
	kho_pa_t pa;
	__u64 len;
};

/* Number of the first of @nr spans, one each @size bytes from @at on, that ends behind @pa; @nr: none does. */
static inline size_t span_behind(const void *at, size_t nr, size_t size, kho_pa_t pa)
{
	size_t lo = 0, hi = nr;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		const struct span *span = (const void *)((const char *)at + mid * size);

		if (span->pa + span->len <= pa)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Make room for one more behind @nr items of @size bytes. @array: where its address is. Return: 0, -ENOMEM. */
static inline int array_grow(void *array, size_t nr, size_t size)
{
	void **at = array, *more;

	if (nr & (nr - 1))
		return 0;
	more = reallocarray(*at, nr ? nr * 2 : 1, size);
	if (!more)
		return -ENOMEM;
	*at = more;
	return 0;
}

#endif
