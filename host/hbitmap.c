/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Bitmaps that find their lowest set bit: see hbitmap.h. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "hbitmap.h"

static uint64_t level_words(uint64_t bits)
{
	return (bits + 63) / 64;
}

/* Fills in the number of levels. Return: words of all of them. */
static uint64_t all_words(struct hbitmap *map)
{
	uint64_t bits = map->nr_bits, sum = 0;

	map->nr_levels = 0;
	do {
		bits = level_words(bits);
		sum += bits;
		map->nr_levels++;
	} while (bits > 1 && map->nr_levels < HBITMAP_LEVELS);
	return sum;
}

int hbitmap_init_(struct hbitmap *map, uint64_t nr_bits)
{
	uint64_t words, *at;

	memset(map, 0, sizeof(*map));
	map->nr_bits = nr_bits;
	words = all_words(map);
	at = mmap(NULL, words * sizeof(*at), PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED) {
		memset(map, 0, sizeof(*map));
		return -ENOMEM;
	}
	for (unsigned int l = 0; l < map->nr_levels; l++) {
		map->level[l] = at;
		nr_bits = level_words(nr_bits);
		at += nr_bits;
	}
	return 0;
}

void hbitmap_destroy_(struct hbitmap *map)
{
	if (map->nr_levels)
		munmap(map->level[0], all_words(map) * sizeof(uint64_t));
	memset(map, 0, sizeof(*map));
}

void hbitmap_set_(struct hbitmap *map, uint64_t bit)
{
	for (unsigned int l = 0; l < map->nr_levels; l++, bit /= 64) {
		uint64_t *word = &map->level[l][bit / 64];
		uint64_t old = *word;

		*word = old | 1ULL << (bit % 64);
		if (old)
			return;
	}
}

void hbitmap_clear_(struct hbitmap *map, uint64_t bit)
{
	for (unsigned int l = 0; l < map->nr_levels; l++, bit /= 64) {
		uint64_t *word = &map->level[l][bit / 64];

		*word &= ~(1ULL << (bit % 64));
		if (*word)
			return;
	}
}

/* Lowest set bit at or after @from in the words of one level; the last level may have many words. */
static uint64_t scan(const uint64_t *words, uint64_t nr_words, uint64_t from, uint64_t limit)
{
	uint64_t i = from / 64;
	uint64_t word;

	if (i >= nr_words)
		return HBITMAP_NONE;
	word = words[i] & ~0ULL << (from % 64);
	while (!word) {
		if (++i >= nr_words || i >= limit)
			return HBITMAP_NONE;
		word = words[i];
	}
	return i * 64 + (uint64_t)__builtin_ctzll(word);
}

uint64_t hbitmap_next_(const struct hbitmap *map, uint64_t from)
{
	uint64_t words[HBITMAP_LEVELS];
	uint64_t bits = map->nr_bits;
	unsigned int l = 0;
	uint64_t found;

	for (unsigned int i = 0; i < map->nr_levels; i++)
		bits = words[i] = level_words(bits);
	/* Up until a level has something at or after the place, looking at one word each … */
	for (;; l++) {
		bool top = l + 1 == map->nr_levels;

		found = scan(map->level[l], words[l], from, top ? words[l] : from / 64 + 1);
		if (found != HBITMAP_NONE)
			break;
		if (top)
			return HBITMAP_NONE;
		from = from / 64 + 1;
	}
	/* … and down again to the bit it stands for. */
	while (l--)
		found = found * 64 + (uint64_t)__builtin_ctzll(map->level[l][found]);
	return found;
}
