/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* An arena for a test: see arena_fixture.h. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <fcntl.h>

#include "arena_fixture.h"
#include "page.h"
#include "preserve.h"

void arena_new(__u64 max)
{
	int fd = kho_arena_create_("test");

	assert_true(fd >= 0);
	assert_int_equal(kho_arena_format_(fd, max), 0);
	assert_int_equal(kho_arena_map_(fd, true), 0);
	assert_int_equal(kho_arena_own_(), 0);
}

void arena_crash(void)
{
	int fd = fcntl(kho_arena_.fd, F_DUPFD_CLOEXEC, 0);

	kho_arena_unmap_();
	if (kho_arena_map_(fd, true) || kho_arena_own_())
		fail_msg("%s", kho_error());
	if (kho_preserve_check_all_(false))
		fail_msg("%s", kho_error());
}

void arena_drop(void)
{
	kho_arena_unmap_();
}

__u64 arena_live(void)
{
	struct kho_heap_stats stats;

	assert_int_equal(kho_heap_stats(&stats, true), 0);
	return stats.live_objects;
}

int arena_check_slabs(void)
{
	struct khoc_report report;
	struct khoc_block block;
	unsigned int type, order;

	for (kho_pa_t pos = 0; khoc_radix_next(&kho_arena_.tree, pos, kho_arena_.size, &block);
	     pos = block.pa + (KHO_PAGE_SIZE << block.order)) {
		if (kho_block_desc_(block.pa, &type, &order) || type != KHO_ABI_DESC_SLAB)
			continue;
		if (khoc_slab_check(&kho_arena_.mem, KHO_PAGE_SHIFT, block.pa, order, NULL,
				    &report))
			return kho_fail_report_(&report);
	}
	return 0;
}

uint64_t test_seed(void)
{
	const char *text = getenv("KHO_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0)
			     : (uint64_t)time(NULL) * 1000003u + (uint64_t)getpid();

	printf("KHO_SEED=%llu\n", (unsigned long long)seed);
	return seed;
}

uint64_t test_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}
