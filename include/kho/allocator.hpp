/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * C++17: the arena's heap for the standard library. A header alone; programs link libkho as in C.
 *
 *	using names = std::map<int, kho::string, std::less<int>, kho::allocator<std::pair<const int, kho::string>>>;
 *
 *	kho_start(&config); ... kho_ready();
 *	kho::pool pool("names", "names", 1);		// after kho_ready(): it may have to mend
 *	if (pool.torn())				// the last program died inside an update
 *		pool.drop();				// frees everything: begin again
 *	names &all = pool.top<names>();			// made the first time, found ever after
 *	{
 *		kho::pool::update u(pool);
 *		all[7] = "seven";
 *	}
 *
 * Three things:
 *
 *	kho::heap	a std::pmr::memory_resource of reserved memory: in the arena, and gone with the program
 *	kho::pool	a std::pmr::memory_resource of live memory: there for the next program
 *	kho::allocator	of the pool, without state: for containers that themselves lie in the pool
 *
 * std::pmr containers keep the address of their resource, and that an object with virtual functions: both mean
 * nothing to the next program. So they may use a pool, but not outlive the program; containers with kho::allocator
 * outlive it. The next program must lay them out alike: the same standard library, the same ABI of it.
 *
 * A container's operation is many stores, and a crash can fall between them. Hence updates: a program that died in
 * one leaves the pool torn, and what lies in it is not to be trusted, but is still freed whole by drop(). Hand-overs
 * do not tear, if workers park outside updates. Where every instant has to be a valid state, use kho_publish().
 *
 * Threads: a pool serialises itself; what lies in it is the program's to serialise.
 */
#ifndef KHO_ALLOCATOR_HPP
#define KHO_ALLOCATOR_HPP

#include <cerrno>
#include <cinttypes>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory_resource>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include <kho/abi/pool.h>
#include <kho/core/report.h>
#include <kho/host.h>

namespace kho
{

/* What a function of the C interface said. */
[[noreturn]] inline void fail(int error, const char *what)
{
	std::string text = what;

	if (*kho_error())
		text = text + ": " + kho_error();
	throw std::system_error(error < 0 ? -error : error, std::generic_category(), text);
}

/* ---- reserved memory --------------------------------------------------------- */

class heap_resource final : public std::pmr::memory_resource
{
	void *do_allocate(std::size_t bytes, std::size_t alignment) override
	{
		void *p = alignment > 16 ? kho_memalign(alignment, bytes) : kho_malloc(bytes ? bytes : 1);

		if (!p)
			throw std::bad_alloc();
		return p;
	}

	void do_deallocate(void *p, std::size_t, std::size_t) override
	{
		kho_free(p);
	}

	bool do_is_equal(const std::pmr::memory_resource &other) const noexcept override
	{
		return dynamic_cast<const heap_resource *>(&other) != nullptr;
	}
};

inline heap_resource *heap() noexcept
{
	static heap_resource resource;

	return &resource;
}

/* ---- live memory ---------------------------------------------------------------- */

/* What is wrong with a pool that came in, where and why. code() is EPROTO. */
class pool_fault final : public std::system_error
{
    public:
	pool_fault(int why, std::uint64_t where, const char *what, std::uint64_t found)
		: std::system_error(EPROTO, std::generic_category(), text(why, where, what, found)), fault(why),
		  at(where), field(what), value(found)
	{
	}

	int fault; /* KHO_E_* of <kho/core/report.h> */
	std::uint64_t at; /* the pool, or the link of a block */
	const char *field; /* as in docs/abi.md, "pool-v1" */
	std::uint64_t value; /* of it */

    private:
	static const char *meaning(int fault) noexcept
	{
		switch (fault) {
		case KHO_E_MAGIC:
			return "not a pool";
		case KHO_E_VERSION:
			return "a version that this program does not know";
		case KHO_E_NOT_PRESERVED:
			return "no live object of the heap is there";
		case KHO_E_ORDER:
			return "its neighbours do not point back";
		case KHO_E_TRUNCATED:
			return "more than its object has";
		default:
			return "not as the format has it";
		}
	}

	static std::string text(int fault, std::uint64_t at, const char *field, std::uint64_t value)
	{
		char where[160];

		std::snprintf(where, sizeof(where), "kho::pool: at %#" PRIx64 ": %s is %#" PRIx64 ": ", at, field,
			      value);
		return std::string(where) + meaning(fault);
	}
};

class pool final : public std::pmr::memory_resource
{
	using link = kho_abi_pool_link;

    public:
	/**
	 * The pool that hangs from a root, made if it is not there. After kho_ready(). The first one of a program
	 * is that of kho::allocator. Throws std::system_error: as kho_root(); kho::pool_fault: what is there is no
	 * pool, or damaged.
	 * After KHO_THAW_ROLLED_BACK: destroy it, and make it again.
	 */
	pool(const char *name, const char *type, std::uint32_t version)
		: slot(kho_root(name, type, version))
	{
		if (!slot)
			fail(errno, "kho::pool: no root");
		if (!*slot)
			create();
		head = static_cast<kho_abi_pool *>(*slot);
		check();
		was_torn = head->updates != 0;
		if (!current)
			current = this;
	}

	~pool() override
	{
		if (current == this)
			current = nullptr;
	}

	pool(const pool &) = delete;
	pool &operator=(const pool &) = delete;

	/* The pool of kho::allocator. Throws std::logic_error: there is none. */
	static pool &instance()
	{
		if (!current)
			throw std::logic_error("kho::pool: none was made yet");
		return *current;
	}

	/* Did a program die inside an update? Until drop() or mended(). */
	bool torn() const noexcept
	{
		return was_torn;
	}

	/* The program has looked at everything itself, and it is whole. */
	void mended() noexcept
	{
		was_torn = false;
		if (!depth)
			store(head->updates, 0);
	}

	/**
	 * Free everything, without a destructor being called: nothing in the pool may be touched any more.
	 * Throws kho::pool_fault at a block that is damaged: it and those behind it stay, and the pool is torn.
	 */
	void drop()
	{
		std::lock_guard<std::mutex> guard(lock);

		store(head->updates, 1);
		store(head->top, 0);
		was_torn = true;
		while (to_link(head->ring.next) != &head->ring)
			unlink(to_link(head->ring.next));
		was_torn = false;
		if (!depth)
			store(head->updates, 0);
	}

	/**
	 * The first object, made of @arguments if there is none. Throws std::system_error: EPROTOTYPE (there with
	 * another size), EUCLEAN (the pool is torn); std::bad_alloc, and what the constructor throws.
	 */
	template <class T, class... Arguments> T &top(Arguments &&...arguments)
	{
		if (was_torn)
			fail(EUCLEAN, "kho::pool: torn: drop() it, or say that it is mended()");
		if (head->top && head->top_size != sizeof(T))
			fail(EPROTOTYPE, "kho::pool: its first object has another size");
		if (!head->top)
			make_top<T>(std::forward<Arguments>(arguments)...);
		return *reinterpret_cast<T *>(head->top);
	}

	/* From the first change of anything in the pool to the last. May be nested. */
	class update
	{
	    public:
		explicit update(pool &of) : p(of)
		{
			std::lock_guard<std::mutex> guard(p.lock);

			if (!p.depth++)
				store(p.head->updates, 1);
		}

		~update()
		{
			std::lock_guard<std::mutex> guard(p.lock);

			if (!--p.depth && !p.was_torn)
				store(p.head->updates, 0);
		}

		update(const update &) = delete;
		update &operator=(const update &) = delete;

	    private:
		pool &p;
	};

    private:
	/* In program order, for whoever finds the arena after a kill. */
	static void store(__u64 &word, std::uint64_t value) noexcept
	{
		__atomic_store_n(&word, value, __ATOMIC_RELEASE);
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
	}

	static link *to_link(__u64 address) noexcept
	{
		return reinterpret_cast<link *>(address);
	}

	static std::uint64_t address(const void *p) noexcept
	{
		return reinterpret_cast<std::uint64_t>(p);
	}

	static std::size_t offset(std::size_t alignment) noexcept
	{
		return alignment > sizeof(link) ? alignment : sizeof(link);
	}

	void create()
	{
		auto *fresh = static_cast<kho_abi_pool *>(kho_calloc(1, sizeof(kho_abi_pool)));
		int r;

		if (!fresh)
			throw std::bad_alloc();
		fresh->magic = KHO_ABI_POOL_MAGIC;
		fresh->version = KHO_ABI_POOL_VERSION;
		fresh->ring = {address(&fresh->ring), address(&fresh->ring)};
		r = kho_publish(slot, fresh, nullptr);
		if (r)
			fail(r, "kho::pool: not published");
	}

	/* ---- of a predecessor: nothing is believed ---- */

	/* The pool itself, and what a link being changed left; other links as they are used. */
	void check()
	{
		if (!is_live(address(head), sizeof(*head)))
			throw pool_fault(KHO_E_NOT_PRESERVED, address(slot), "slot", address(head));
		if (head->magic != KHO_ABI_POOL_MAGIC)
			throw pool_fault(KHO_E_MAGIC, address(head), "magic", head->magic);
		if (head->version != KHO_ABI_POOL_VERSION)
			throw pool_fault(KHO_E_VERSION, address(head), "version", head->version);
		if (head->pad)
			throw pool_fault(KHO_E_FORMAT, address(head), "pad", head->pad);
		if (head->mending)
			mend(head->mending);
		check_neighbours(&head->ring);
		if (head->top)
			check_top();
	}

	void check_top() const
	{
		std::uint64_t block = head->top - sizeof(link);

		if (!is_live(block, sizeof(link)))
			throw pool_fault(KHO_E_NOT_PRESERVED, address(head), "top", head->top);
		if (head->top_size > kho_usable_size(to_link(block)) - sizeof(link))
			throw pool_fault(KHO_E_TRUNCATED, address(head), "top_size", head->top_size);
		check_neighbours(to_link(block));
	}

	/* Both are there, and know it. */
	void check_neighbours(const link *at) const
	{
		if (!is_live_link(at->next))
			throw pool_fault(KHO_E_NOT_PRESERVED, address(at), "next", at->next);
		if (!is_live_link(at->prev))
			throw pool_fault(KHO_E_NOT_PRESERVED, address(at), "prev", at->prev);
		if (to_link(at->next)->prev != address(at))
			throw pool_fault(KHO_E_ORDER, address(at), "next", at->next);
		if (to_link(at->prev)->next != address(at))
			throw pool_fault(KHO_E_ORDER, address(at), "prev", at->prev);
	}

	/*
	 * What went leaves one way back that is wrong, behind it; what came (in front of all), the one behind that.
	 * If more is, the ring is damaged, or is none, and is not written to.
	 */
	void mend(std::uint64_t before)
	{
		if (!is_live_link(before) || !is_live_link(to_link(before)->next) ||
		    !is_live_link(to_link(to_link(before)->next)->next))
			throw pool_fault(KHO_E_NOT_PRESERVED, address(head), "mending", before);
		link *at = to_link(before), *next = to_link(at->next), *after = to_link(next->next);
		bool first = at == &head->ring;
		bool known = first || (next != at && is_live_link(at->prev) && to_link(at->prev)->next == before);
		bool went = next == at || after->prev == address(next);
		bool came = first && next->prev == before && after->prev == before;

		if (!known || (!went && !came))
			throw pool_fault(KHO_E_ORDER, address(head), "mending", before);
		store(next->prev, before);
		store(after->prev, address(next));
		store(head->mending, 0);
	}

	/* Is there a live object of the heap that has as many bytes? Asked by what a live one alone refuses. */
	static bool is_live(std::uint64_t at, std::size_t bytes)
	{
		std::size_t size = at & 15 ? 0 : kho_usable_size(to_link(at));

		if (size < bytes || kho_realloc(to_link(at), size))
			return false;
		if (errno != EINVAL)
			fail(errno, "kho::pool: not opened");
		return true;
	}

	bool is_live_link(std::uint64_t at) const
	{
		return at == address(&head->ring) || is_live(at, sizeof(link));
	}

	bool is_link(__u64 at) const noexcept
	{
		return at == address(&head->ring) ||
		       (at && !(at & 15) && kho_usable_size(to_link(at)) >= sizeof(link));
	}

	/* One step to any crash but for the neighbour's way back, which check() mends. */
	void insert(link *block)
	{
		link *next = to_link(head->ring.next);
		int r;

		*block = {address(next), address(&head->ring)};
		store(head->mending, address(&head->ring));
		r = kho_publish(reinterpret_cast<void **>(&head->ring.next), block, nullptr);
		if (!r)
			store(next->prev, address(block));
		store(head->mending, 0);
		if (r)
			fail(r, "kho::pool: not published");
	}

	void unlink(link *block)
	{
		link *prev = to_link(block->prev), *next = to_link(block->next);

		if (!is_link(block->next))
			throw pool_fault(KHO_E_NOT_PRESERVED, address(block), "next", block->next);
		if (!is_link(block->prev))
			throw pool_fault(KHO_E_NOT_PRESERVED, address(block), "prev", block->prev);
		if (next->prev != address(block))
			throw pool_fault(KHO_E_ORDER, address(block), "next", block->next);
		if (prev->next != address(block))
			throw pool_fault(KHO_E_ORDER, address(block), "prev", block->prev);
		store(head->mending, address(prev));
		/* The ring's own link is no object: a slot may not get its address by kho_publish(). */
		int r = kho_publish_tagged(&prev->next, address(next), nullptr, block);

		if (!r)
			store(next->prev, address(prev));
		store(head->mending, 0);
		if (r == -EINVAL)
			throw pool_fault(KHO_E_NOT_PRESERVED, address(prev), "next", address(block));
		if (r)
			fail(r, "kho::pool: not freed");
	}

	template <class T, class... Arguments> void make_top(Arguments &&...arguments)
	{
		update u(*this);
		void *p = do_allocate(sizeof(T), alignof(T));

		static_assert(alignof(T) <= 16, "a first object of ordinary alignment");
		try {
			::new (p) T(std::forward<Arguments>(arguments)...);
		} catch (...) {
			do_deallocate(p, sizeof(T), alignof(T));
			throw;
		}
		store(head->top_size, sizeof(T));
		store(head->top, address(p));
	}

	void *do_allocate(std::size_t bytes, std::size_t alignment) override
	{
		std::lock_guard<std::mutex> guard(lock);
		std::size_t front = offset(alignment);
		void *block;

		if (!depth)
			throw std::logic_error("kho::pool: a change outside of an update");
		if (bytes > SIZE_MAX - front)
			throw std::bad_alloc();
		block = alignment > 16 ? kho_memalign(alignment, front + bytes) : kho_malloc(front + bytes);
		if (!block)
			throw std::bad_alloc();
		try {
			insert(static_cast<link *>(block));
		} catch (...) {
			kho_free(block);
			throw;
		}
		return static_cast<char *>(block) + front;
	}

	/* Containers may not see an exception here: what is damaged ends the program, as a damaged heap does. */
	void do_deallocate(void *p, std::size_t, std::size_t alignment) noexcept override
	{
		std::lock_guard<std::mutex> guard(lock);

		unlink(reinterpret_cast<link *>(static_cast<char *>(p) - offset(alignment)));
	}

	bool do_is_equal(const std::pmr::memory_resource &other) const noexcept override
	{
		return this == &other;
	}

	inline static pool *current = nullptr;

	void **slot;
	kho_abi_pool *head = nullptr;
	bool was_torn = false;
	unsigned int depth = 0; /* of updates, of all threads */
	std::mutex lock;
};

/* ---- for containers that lie in the pool ----------------------------------------- */

template <class T> class allocator
{
    public:
	using value_type = T;
	using is_always_equal = std::true_type;
	using propagate_on_container_move_assignment = std::true_type;

	allocator() noexcept = default;
	template <class U> allocator(const allocator<U> &) noexcept
	{
	}

	T *allocate(std::size_t n)
	{
		if (n > SIZE_MAX / sizeof(T))
			throw std::bad_array_new_length();
		return static_cast<T *>(pool::instance().allocate(n * sizeof(T), alignof(T)));
	}

	void deallocate(T *p, std::size_t n) noexcept
	{
		pool::instance().deallocate(p, n * sizeof(T), alignof(T));
	}

	template <class U> bool operator==(const allocator<U> &) const noexcept
	{
		return true;
	}

	template <class U> bool operator!=(const allocator<U> &) const noexcept
	{
		return false;
	}
};

using string = std::basic_string<char, std::char_traits<char>, allocator<char>>;

} // namespace kho

#endif
