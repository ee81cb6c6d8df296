/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* bench-array: absl::btree_map. Its pairs are written out and inserted again, in order, at the end. */
#include <memory>

#include <absl/container/btree_map.h>

#include "subject.h"

#include <time.h>

namespace
{

double now()
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

uint64_t used;

/* Counts what the map asks for; what malloc adds is not counted, for JudyL neither. */
template <class T> struct Counting {
	using value_type = T;
	Counting() = default;
	template <class U> Counting(const Counting<U> &)
	{
	}
	T *allocate(size_t n)
	{
		used += n * sizeof(T);
		return std::allocator<T>().allocate(n);
	}
	void deallocate(T *p, size_t n)
	{
		used -= n * sizeof(T);
		std::allocator<T>().deallocate(p, n);
	}
	template <class U> bool operator==(const Counting<U> &) const
	{
		return true;
	}
	template <class U> bool operator!=(const Counting<U> &) const
	{
		return false;
	}
};

using Map = absl::btree_map<uint64_t, uint64_t, std::less<uint64_t>,
			    Counting<std::pair<const uint64_t, uint64_t>>>;

Map *map;

void make(uint64_t)
{
	map = new Map;
}

void set(uint64_t index, uint64_t value)
{
	(*map)[index] = value;
}

uint64_t get(uint64_t index)
{
	auto at = map->find(index);

	return at == map->end() ? 0 : at->second;
}

void erase(uint64_t index)
{
	map->erase(index);
}

uint64_t walk()
{
	uint64_t total = 0;

	for (const auto &pair : *map)
		total += pair.second;
	return total;
}

uint64_t bytes()
{
	return used;
}

double handover()
{
	uint64_t *buffer = handover_buffer(2 * map->size()), nr = 0;
	double taken, start = now();

	for (const auto &pair : *map) {
		buffer[nr++] = pair.first;
		buffer[nr++] = pair.second;
	}
	taken = now() - start;
	/* The predecessor's goes with its process: freeing it is not counted. */
	delete map;
	start = now();
	map = new Map;
	for (uint64_t i = 0; i < nr; i += 2)
		map->emplace_hint(map->end(), buffer[i], buffer[i + 1]);
	return taken + now() - start;
}

void destroy()
{
	delete map;
}

} // namespace

const struct subject subject_btree = {"btree_map", 0,	 make,	set,	  get,
				      erase,	   walk, bytes, handover, destroy};
