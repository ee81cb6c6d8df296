/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A server of C++ containers in a kho::pool, for allocator.py: a line in, a line out, one client at a time.
 *
 *	set KEY VALUE, get KEY, del KEY, count	a std::map of std::vectors of strings; a value is stored in two places
 *	check		walks everything: "ok", or what is wrong
 *	torn, drop	as in <kho/allocator.hpp>
 *	blocks		how many lie in the pool's ring, both ways, and how many objects the heap has
 *	churn N		N random changes, each in an update: to be killed in
 *	abort KEY	dies inside an update
 *	die-adding, die-removing	dies with the ring half changed
 *	scratch		std::pmr containers on the heap and on the pool
 */
#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <memory_resource>
#include <sstream>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <kho/allocator.hpp>

namespace
{

using values = std::vector<kho::string, kho::allocator<kho::string>>;
using table = std::map<long, values, std::less<long>, kho::allocator<std::pair<const long, values>>>;

std::unique_ptr<kho::pool> pool;

table &all()
{
	return pool->top<table>();
}

void set(long key, const std::string &value)
{
	kho::pool::update u(*pool);
	values &v = all()[key];

	v.assign(2, kho::string(value.c_str()));
}

std::string check()
{
	for (const auto &[key, v] : all())
		if (v.size() != 2 || v[0] != v[1])
			return "damaged at " + std::to_string(key);
	return "ok";
}

std::string blocks()
{
	auto *head = static_cast<kho_abi_pool *>(*kho_root("names", "names", 1));
	struct kho_heap_stats stats{};
	unsigned long forth = 0, back = 0;

	for (auto *l = &head->ring; l->next != reinterpret_cast<__u64>(&head->ring);
	     l = reinterpret_cast<kho_abi_pool_link *>(l->next))
		forth++;
	for (auto *l = &head->ring; l->prev != reinterpret_cast<__u64>(&head->ring);
	     l = reinterpret_cast<kho_abi_pool_link *>(l->prev))
		back++;
	::kho_heap_stats(&stats, true);
	return std::to_string(forth) + " " + std::to_string(back) + " " + std::to_string(stats.live_objects);
}

/* What a death leaves behind the store that adds a block at the front, or removes what was behind the first. */
void die_linking(bool adding)
{
	auto *head = static_cast<kho_abi_pool *>(*kho_root("names", "names", 1));
	auto *first = reinterpret_cast<kho_abi_pool_link *>(head->ring.next);
	auto *second = reinterpret_cast<kho_abi_pool_link *>(first->next);

	head->mending = adding ? reinterpret_cast<__u64>(&head->ring) : head->ring.next;
	second->prev = reinterpret_cast<__u64>(&head->ring);
	raise(SIGKILL);
}

std::string churn(long n)
{
	std::srand(static_cast<unsigned int>(n));
	while (n--) {
		long key = std::rand() % 500;

		if (std::rand() % 3) {
			set(key, std::string(std::rand() % 100, 'a' + key % 26));
		} else {
			kho::pool::update u(*pool);

			all().erase(key);
		}
	}
	return "churned";
}

/* What std::pmr containers make, on either resource, is gone when they are. */
std::string scratch()
{
	std::string before = blocks();

	{
		kho::pool::update u(*pool);
		std::pmr::vector<std::pmr::string> v(pool.get());
		std::pmr::map<int, std::pmr::string> m(kho::heap());
		std::pmr::monotonic_buffer_resource buffer(pool.get());
		std::pmr::vector<int> ints(&buffer);
		void *wide = pool->allocate(100, 4096), *page = kho::heap()->allocate(100, 4096);

		for (int i = 0; i < 1000; i++) {
			v.emplace_back("a string that is too long to lie in its object itself");
			m.emplace(i, "another string that is too long for that, on the heap");
			ints.push_back(i);
		}
		if (reinterpret_cast<uintptr_t>(wide) % 4096 || reinterpret_cast<uintptr_t>(page) % 4096)
			return "not aligned";
		if (v.size() != 1000 || m.size() != 1000 || ints[999] != 999 || !kho_usable_size(page))
			return "not stored";
		if (blocks() == before)
			return "not in the pool";
		pool->deallocate(wide, 100, 4096);
		kho::heap()->deallocate(page, 100, 4096);
	}
	if (blocks() != before)
		return before + " became " + blocks();
	try {
		static_cast<void>(pool->allocate(8));
		return "allocated outside of an update";
	} catch (const std::logic_error &) {
	}
	try {
		kho::pool other("names", "other", 1);
		return "a pool of another type";
	} catch (const std::system_error &e) {
		if (e.code().value() != EPROTOTYPE)
			return e.what();
	}
	try {
		pool->top<int>();
		return "a first object of another size";
	} catch (const std::system_error &e) {
		if (e.code().value() != EPROTOTYPE)
			return e.what();
	}
	return "ok";
}

std::string answer(const std::string &line)
{
	std::istringstream in(line);
	std::string command, text;
	long key = 0;

	in >> command >> key >> text;
	if (command == "torn")
		return pool->torn() ? "yes" : "no";
	if (command == "drop")
		return pool->drop(), "dropped";
	if (command == "blocks")
		return blocks();
	if (pool->torn()) {
		try {
			all();
			return "a torn pool was opened";
		} catch (const std::system_error &e) {
			return e.code().value() == EUCLEAN ? "torn" : e.what();
		}
	}
	if (command == "set")
		return set(key, text), "set";
	if (command == "get")
		return all().count(key) ? std::string(all()[key].at(1).c_str()) : "-";
	if (command == "del") {
		kho::pool::update u(*pool);

		return all().erase(key) ? "deleted" : "-";
	}
	if (command == "count")
		return std::to_string(all().size());
	if (command == "check")
		return check();
	if (command == "churn")
		return churn(key);
	if (command == "scratch")
		return scratch();
	if (command == "die-adding" || command == "die-removing")
		die_linking(command == "die-adding");
	if (command == "abort") {
		kho::pool::update u(*pool);

		all()[key];
		std::abort();
	}
	return "what?";
}

void serve(int fd)
{
	char buf[512];
	ssize_t n = read(fd, buf, sizeof(buf));
	std::string text;

	if (n > 0) {
		try {
			text = answer(std::string(buf, n)) + "\n";
		} catch (const std::exception &e) {
			text = std::string("exception: ") + e.what() + "\n";
		}
		if (write(fd, text.data(), text.size()) < 0)
			std::cerr << "names: the client went away\n";
	}
	close(fd);
}

} // namespace

int main()
{
	kho_config config{};
	pollfd p{};

	config.size = sizeof(config);
	config.name = "names";
	if (kho_start(&config) < 0 || kho_worker_enter() || (p.fd = kho_fd_get(KHO_FD_LISTEN)) < 0 ||
	    fcntl(p.fd, F_SETFL, O_NONBLOCK) || kho_ready()) {
		std::cerr << kho_error() << "\n";
		return 1;
	}
	pool = std::make_unique<kho::pool>("names", "names", 1);
	kho_healthy();
	p.events = POLLIN;
	for (;;) {
		kho_blocking();
		poll(&p, 1, -1);
		if (kho_unblocked() == KHO_THAW_ROLLED_BACK) {
			pool.reset();
			pool = std::make_unique<kho::pool>("names", "names", 1);
		}
		int fd = accept(p.fd, nullptr, nullptr);
		if (fd >= 0)
			serve(fd);
	}
}
