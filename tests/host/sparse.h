/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Images in small files: what is not zero. The file's size, then records of an offset, a length
 * and that many bytes; a length of 0 ends it. All numbers have 8 bytes, least significant first.
 */
#ifndef KHO_TEST_SPARSE_H
#define KHO_TEST_SPARSE_H

#include <kho/types.h>
#include <stdio.h>

#define SPARSE_GAP 32 /* zeroes that end a record */

/* Return: 0, or -1. */
static inline int sparse_write(FILE *out, const char *image, __u64 size)
{
	__u64 end[2] = {size, 0};
	__u64 at = 0;

	if (fwrite(&size, 8, 1, out) != 1)
		return -1;
	while (at < size) {
		__u64 record[2], gap = 0, hi;

		for (; at < size && !image[at]; at++)
			;
		for (hi = at; hi < size && gap < SPARSE_GAP; hi++)
			gap = image[hi] ? 0 : gap + 1;
		record[0] = at;
		record[1] = hi - gap - at;
		if (record[1] &&
		    (fwrite(record, 16, 1, out) != 1 || fwrite(image + at, record[1], 1, out) != 1))
			return -1;
		at = hi;
	}
	return fwrite(end, 16, 1, out) == 1 ? 0 : -1;
}

/* @image: @max zeroed bytes. Return: the image's size, or 0. */
static inline __u64 sparse_read(FILE *in, char *image, __u64 max)
{
	__u64 size, record[2];

	if (fread(&size, 8, 1, in) != 1 || size > max)
		return 0;
	while (fread(record, 16, 1, in) == 1) {
		if (!record[1])
			return size;
		if (record[0] > size || record[1] > size - record[0] ||
		    fread(image + record[0], record[1], 1, in) != 1)
			return 0;
	}
	return 0;
}

#endif
