/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* kho::pool in C, and pools in every state: see pools.h. */
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>

#include <kho/allocator.hpp>

#include "pools.h"

const char *const pools_names[POOLS_NR] = {"full",	    "empty",	     "died-adding",
					   "died-removing", "died-emptying", "died-updating"};

namespace
{

struct first {
	char bytes[POOLS_TOP_SIZE];

	first() noexcept
	{
		std::memset(bytes, 't', sizeof(bytes));
	}
};

std::unique_ptr<kho::pool> pool;

template <class F> int caught(pools_why *why, F &&f)
{
	std::memset(why, 0, sizeof(*why));
	try {
		f();
		return 0;
	} catch (const kho::pool_fault &e) {
		*why = {-e.code().value(), e.fault, e.at, e.value, "", ""};
		std::snprintf(why->field, sizeof(why->field), "%s", e.field);
		std::snprintf(why->text, sizeof(why->text), "%s", e.what());
	} catch (const std::system_error &e) {
		why->error = -e.code().value();
		std::snprintf(why->text, sizeof(why->text), "%s", e.what());
	} catch (const std::bad_alloc &e) {
		why->error = -ENOMEM;
	}
	return -1;
}

/* ---- the same every time ---- */

const struct {
	std::size_t size, alignment;
} blocks[] = {{8, 8}, {100, 16}, {1000, 64}, {40000, 16}, {0, 1}};

void mark(void *p, std::uint64_t number, std::uint64_t size)
{
	char bytes[24] = POOLS_TAG;

	std::memcpy(bytes + 8, &number, 8);
	std::memcpy(bytes + 16, &size, 8);
	std::memcpy(p, bytes, sizeof(bytes));
}

void *fill_block(std::uint64_t number, std::size_t size, std::size_t alignment)
{
	void *p = pool->allocate(size + 24, alignment);

	/* Little of a large one: images of these are kept. */
	std::memset(static_cast<char *>(p) + 24, static_cast<int>(0x40 + number), std::min<std::size_t>(size, 100));
	mark(p, number, size);
	return p;
}

void fill()
{
	kho::pool::update u(*pool);
	void *gone;

	mark(&pool->top<first>(), 0, POOLS_TOP_SIZE - 24);
	for (std::uint64_t i = 0; i < 5; i++) {
		fill_block(i + 1, blocks[i].size, blocks[i].alignment);
		if (i != 2)
			continue;
		gone = pool->allocate(500, 8);
		pool->deallocate(gone, 500, 8);
	}
}

kho_abi_pool_link *to_link(__u64 at)
{
	return reinterpret_cast<kho_abi_pool_link *>(at);
}

/* Dead behind the publication of a block in front of all, before the way back to it. */
void die_adding(kho_abi_pool *head)
{
	auto ring = reinterpret_cast<__u64>(&head->ring);

	{
		kho::pool::update u(*pool);

		fill_block(6, 0, 8);
	}
	to_link(to_link(head->ring.next)->next)->prev = ring;
	head->mending = ring;
	head->updates = 1;
}

/* The same, of the removal of block @nr from the front. */
void die_removing(kho_abi_pool *head, unsigned int nr)
{
	auto at = reinterpret_cast<__u64>(&head->ring);

	while (--nr)
		at = to_link(at)->next;
	auto *block = to_link(to_link(at)->next);
	int r = kho_publish_tagged(&to_link(at)->next, block->next, nullptr, block);

	if (r)
		kho::fail(r, "not unlinked");
	head->mending = at;
}

void make(const std::string &name)
{
	pools_why why;

	if (pools_open(name.c_str(), &why))
		kho::fail(why.error, why.text);
	kho_abi_pool *head = pools_head(name.c_str());

	if (name == "died-emptying")
		pools_allocate(8, 8, &why);
	else if (name != "empty")
		fill();
	if (name == "died-adding")
		die_adding(head);
	if (name == "died-removing")
		die_removing(head, 3);
	if (name == "died-emptying")
		die_removing(head, 1);
	if (name == "died-updating")
		head->updates = 1;
}

} // namespace

void pools_close(void)
{
	pool.reset();
}

int pools_open(const char *name, pools_why *why)
{
	pools_close();
	return caught(why, [&] { pool = std::make_unique<kho::pool>(name, "pool", 1); });
}

bool pools_torn(void)
{
	return pool->torn();
}

int pools_drop(pools_why *why)
{
	return caught(why, [] { pool->drop(); });
}

void *pools_top(pools_why *why)
{
	void *top = nullptr;

	caught(why, [&] { top = &pool->top<first>(); });
	return top;
}

void *pools_allocate(size_t size, size_t alignment, pools_why *why)
{
	void *p = nullptr;

	caught(why, [&] {
		kho::pool::update u(*pool);

		p = pool->allocate(size, alignment);
	});
	return p;
}

void pools_deallocate(void *p, size_t size, size_t alignment)
{
	kho::pool::update u(*pool);

	pool->deallocate(p, size, alignment);
}

kho_abi_pool *pools_head(const char *name)
{
	void **slot = kho_root(name, "pool", 1);

	return slot ? static_cast<kho_abi_pool *>(*slot) : nullptr;
}

int pools_fill(pools_why *why)
{
	return caught(why, [] {
		for (const char *name : pools_names)
			make(name);
		pools_close();
	});
}
