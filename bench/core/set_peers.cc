/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Subjects of others: CRoaring's 64-bit map, Judy1, std::set. None is safe for threads:
 * each takes the lock around every key, or every run where it has a call for runs.
 */
#include <cstdlib>
#include <roaring/roaring64map.hh>
#include <set>
#include <vector>

#include <Judy.h>

#include "set.h"

namespace
{
void must(bool ok)
{
	if (!ok)
		abort();
}

struct guard {
	pthread_mutex_t *lock;
	explicit guard(pthread_mutex_t *l) : lock(l)
	{
		set_lock(lock);
	}
	~guard()
	{
		set_unlock(lock);
	}
};

/* ---- CRoaring ---- */

void *roaring_make(const struct set_case *)
{
	return new Roaring64Map;
}

void roaring_insert(void *set, const uint64_t *keys, size_t nr, size_t run, pthread_mutex_t *lock)
{
	auto *map = static_cast<Roaring64Map *>(set);

	for (size_t i = 0; i < nr; i++) {
		guard held(lock);

		if (run == 1) {
			map->add(keys[i]);
			continue;
		}
		uint64_t all[64];

		for (size_t j = 0; j < run; j++)
			all[j] = keys[i] + j;
		map->addMany(run, all);
	}
}

size_t roaring_lookup(void *set, const uint64_t *keys, size_t nr, size_t run, pthread_mutex_t *lock)
{
	auto *map = static_cast<Roaring64Map *>(set);
	size_t found = 0;

	for (size_t i = 0; i < nr; i++)
		for (size_t j = 0; j < run; j++) {
			guard held(lock);

			found += map->contains(keys[i] + j);
		}
	return found;
}

void roaring_erase(void *set, const uint64_t *keys, size_t nr, size_t run, pthread_mutex_t *lock)
{
	auto *map = static_cast<Roaring64Map *>(set);

	for (size_t i = 0; i < nr; i++)
		for (size_t j = 0; j < run; j++) {
			guard held(lock);

			map->remove(keys[i] + j);
		}
}

bool count_one(uint64_t, void *ctx)
{
	++*static_cast<size_t *>(ctx);
	return true;
}

size_t roaring_walk(void *set)
{
	size_t nr = 0;

	static_cast<Roaring64Map *>(set)->iterate(count_one, &nr);
	return nr;
}

void roaring_hand_over(void *set)
{
	auto *map = static_cast<Roaring64Map *>(set);
	std::vector<char> saved(map->getSizeInBytes());

	must(map->write(saved.data()) == saved.size());

	Roaring64Map other = Roaring64Map::readSafe(saved.data(), saved.size());

	must(other.cardinality() == map->cardinality());
}

void roaring_drop(void *set)
{
	delete static_cast<Roaring64Map *>(set);
}

/* ---- Judy1 ---- */

struct judy {
	Pvoid_t root;
};

void *judy_make(const struct set_case *)
{
	return new judy{nullptr};
}

void judy_insert(void *set, const uint64_t *keys, size_t nr, size_t run, pthread_mutex_t *lock)
{
	auto *judy = static_cast<struct judy *>(set);

	for (size_t i = 0; i < nr; i++)
		for (size_t j = 0; j < run; j++) {
			guard held(lock);

			must(Judy1Set(&judy->root, keys[i] + j, PJE0) != JERR);
		}
}

size_t judy_lookup(void *set, const uint64_t *keys, size_t nr, size_t run, pthread_mutex_t *lock)
{
	auto *judy = static_cast<struct judy *>(set);
	size_t found = 0;

	for (size_t i = 0; i < nr; i++)
		for (size_t j = 0; j < run; j++) {
			guard held(lock);

			found += Judy1Test(judy->root, keys[i] + j, PJE0) == 1;
		}
	return found;
}

void judy_erase(void *set, const uint64_t *keys, size_t nr, size_t run, pthread_mutex_t *lock)
{
	auto *judy = static_cast<struct judy *>(set);

	for (size_t i = 0; i < nr; i++)
		for (size_t j = 0; j < run; j++) {
			guard held(lock);

			Judy1Unset(&judy->root, keys[i] + j, PJE0);
		}
}

size_t judy_walk(void *set)
{
	auto *judy = static_cast<struct judy *>(set);
	Word_t key = 0;
	size_t nr = 0;

	for (int rc = Judy1First(judy->root, &key, PJE0); rc == 1;
	     rc = Judy1Next(judy->root, &key, PJE0))
		nr++;
	return nr;
}

size_t judy_bytes(void *set)
{
	return Judy1MemUsed(static_cast<struct judy *>(set)->root);
}

/* It has no form outside memory: its keys are listed, and put into another. */
void judy_hand_over(void *set)
{
	auto *judy = static_cast<struct judy *>(set);
	std::vector<uint64_t> saved;
	Pvoid_t other = nullptr;
	Word_t key = 0;

	saved.reserve(Judy1Count(judy->root, 0, -1, PJE0));
	for (int rc = Judy1First(judy->root, &key, PJE0); rc == 1;
	     rc = Judy1Next(judy->root, &key, PJE0))
		saved.push_back(key);
	for (uint64_t k : saved)
		must(Judy1Set(&other, k, PJE0) == 1);
	Judy1FreeArray(&other, PJE0);
}

void judy_drop(void *set)
{
	auto *judy = static_cast<struct judy *>(set);

	Judy1FreeArray(&judy->root, PJE0);
	delete judy;
}

/* ---- std::set ---- */

using tree = std::set<uint64_t>;

void *std_make(const struct set_case *)
{
	return new tree;
}

void std_insert(void *set, const uint64_t *keys, size_t nr, size_t run, pthread_mutex_t *lock)
{
	auto *s = static_cast<tree *>(set);

	for (size_t i = 0; i < nr; i++)
		for (size_t j = 0; j < run; j++) {
			guard held(lock);

			s->insert(keys[i] + j);
		}
}

size_t std_lookup(void *set, const uint64_t *keys, size_t nr, size_t run, pthread_mutex_t *lock)
{
	auto *s = static_cast<tree *>(set);
	size_t found = 0;

	for (size_t i = 0; i < nr; i++)
		for (size_t j = 0; j < run; j++) {
			guard held(lock);

			found += s->count(keys[i] + j);
		}
	return found;
}

void std_erase(void *set, const uint64_t *keys, size_t nr, size_t run, pthread_mutex_t *lock)
{
	auto *s = static_cast<tree *>(set);

	for (size_t i = 0; i < nr; i++)
		for (size_t j = 0; j < run; j++) {
			guard held(lock);

			s->erase(keys[i] + j);
		}
}

size_t std_walk(void *set)
{
	auto *s = static_cast<tree *>(set);
	volatile uint64_t last;
	size_t nr = 0;

	for (uint64_t key : *s) {
		last = key;
		nr++;
	}
	(void)last;
	return nr;
}

void std_hand_over(void *set)
{
	auto *s = static_cast<tree *>(set);
	std::vector<uint64_t> saved(s->begin(), s->end());
	tree other;

	for (uint64_t key : saved)
		other.insert(other.end(), key);
	must(other.size() == s->size());
}

void std_drop(void *set)
{
	delete static_cast<tree *>(set);
}
} // namespace

extern "C" {
const struct set_ops set_roaring = {"CRoaring",	       nullptr,	      roaring_make, roaring_insert,
				    roaring_lookup,    roaring_erase, roaring_walk, nullptr,
				    roaring_hand_over, roaring_drop};
const struct set_ops set_judy = {"Judy1",    nullptr,	judy_make,  judy_insert,    judy_lookup,
				 judy_erase, judy_walk, judy_bytes, judy_hand_over, judy_drop};
const struct set_ops set_std = {"std::set", nullptr,  std_make, std_insert,    std_lookup,
				std_erase,  std_walk, nullptr,	std_hand_over, std_drop};
}
