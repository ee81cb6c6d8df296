/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A bitmap that finds its lowest set bit in a few steps: each level's bit i says
 * whether word i of the level below has any bit set. Its memory is reserved, not used,
 * until bits are set.
 */
#ifndef KHO_HOST_HBITMAP_H
#define KHO_HOST_HBITMAP_H

#include <stdbool.h>
#include <stdint.h>

#define HBITMAP_LEVELS 5 /* 64^5 = 2^30 bits: 4 TiB of pages */
#define HBITMAP_NONE UINT64_MAX

struct hbitmap {
	uint64_t *level[HBITMAP_LEVELS];
	uint64_t nr_bits;
	unsigned int nr_levels;
};

/* All clear. Return: 0, -ENOMEM. */
int hbitmap_init_(struct hbitmap *map, uint64_t nr_bits);
void hbitmap_destroy_(struct hbitmap *map);

void hbitmap_set_(struct hbitmap *map, uint64_t bit);
void hbitmap_clear_(struct hbitmap *map, uint64_t bit);

/* The lowest set bit at or after @from, or HBITMAP_NONE. */
uint64_t hbitmap_next_(const struct hbitmap *map, uint64_t from);

static inline bool hbitmap_test_(const struct hbitmap *map, uint64_t bit)
{
	return bit < map->nr_bits && (map->level[0][bit / 64] >> (bit % 64) & 1);
}

#endif
