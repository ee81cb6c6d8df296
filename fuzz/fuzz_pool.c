/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * An arena with pools of kho::pool (pool-v1), and bytes of theirs changed: opened, used, dropped.
 *
 * An input is a list of patches of 8 bytes: 2 bytes that say where in the pools and their links; then, if the third
 * is odd, an address to be put there, of what the fourth says and as far behind it as the fifth; else as many bytes
 * (from 1 to 4) as the third says, of the last 4.
 *
 * Facts: a pool is refused with a fault, or can be used, and what cannot be done says so with one; what
 * lies beside the pools keeps its bytes; the arena stays sound. Without a patch nothing is refused, and nothing left.
 */
#include <errno.h>
#include <string.h>

#include "arena_ops.h"
#include "heap.h"
#include "page.h"
#include "pools.h"

#define MAX_SIZE (2ULL << 20)
#define REGIONS_MAX 64
#define NR_BESIDE 3

static struct arena_image image = {.fd = -1};
static struct pools_why why;

/* What patches go to, and what addresses lead to. The last ones lie beside the pools. */
static struct {
	__u64 at, len;
} regions[REGIONS_MAX];
static unsigned int nr_regions, nr_patched;
static __u64 all_regions;

static const size_t beside[NR_BESIDE] = {16, 200, 40000};

static void region(const void *p, __u64 len)
{
	FACT(nr_regions < REGIONS_MAX);
	regions[nr_regions].at = kho_virt_to_phys(p);
	regions[nr_regions++].len = len;
}

static void pool_regions(const char *name)
{
	const struct kho_abi_pool *head = pools_head(name);
	__u64 at = head->ring.next;

	region(head, sizeof(*head));
	for (; at != (uintptr_t)&head->ring; at = ((struct kho_abi_pool_link *)at)->next)
		region((void *)at, sizeof(struct kho_abi_pool_link));
}

static void make_image(void)
{
	arena_begin(MAX_SIZE);
	FACT(!pools_fill(&why));
	for (unsigned int i = 0; i < POOLS_NR; i++)
		pool_regions(pools_names[i]);
	nr_patched = nr_regions;
	for (unsigned int i = 0; i < nr_patched; i++)
		all_regions += regions[i].len;
	for (unsigned int i = 0; i < NR_BESIDE; i++) {
		char name[] = {'b', (char)('0' + i), 0};
		void *p = kho_malloc(beside[i]);

		arena_mark(p, beside[i], (u8)(0x80 + i));
		FACT(!kho_publish(kho_root(name, "bytes", 1), p, NULL));
		region(p, beside[i]);
	}
	arena_image_take(&image);
}

static void patch_one(const uint8_t *data)
{
	__u64 at = (data[0] | data[1] << 8) % all_regions, word;
	size_t len = (data[2] >> 1 & 3) + 1;
	unsigned int i = 0, to = data[3] % nr_regions;

	for (; at >= regions[i].len; i++)
		at -= regions[i].len;
	if (data[2] & 1) {
		word = KHO_ARENA_BASE + regions[to].at + data[4];
		memcpy(image.work + regions[i].at + (at & ~7ULL), &word, 8);
	} else {
		memcpy(image.work + regions[i].at + at, data + 4,
		       at + len <= regions[i].len ? len : 1);
	}
}

static __u64 live(void)
{
	struct kho_heap_stats stats;

	FACT(!kho_heap_stats(&stats, true));
	return stats.live_objects;
}

/* What was thrown is a fault of the pool, with all that belongs to one. */
static void typed(void)
{
	FACT(why.error == -EPROTO && why.fault >= KHO_E_TRUNCATED && why.fault < KHO_E_MAX);
	FACT(why.at && why.field[0] && why.text[0]);
}

static void use_open(const char *name)
{
	bool torn = pools_torn();
	void *p = pools_top(&why);

	if (!p)
		FACT(why.error == (torn ? -EUCLEAN : -EPROTOTYPE));
	else
		memset(p, 0x11, POOLS_TOP_SIZE);
	p = pools_allocate(300, 16, &why);
	if (p) {
		memset(p, 0x22, 300);
		pools_deallocate(p, 300, 16);
	} else {
		typed();
	}
	FACT(torn == pools_torn());
	if (pools_drop(&why)) {
		typed();
		FACT(pools_torn());
		return;
	}
	FACT(!pools_torn() && pools_top(&why));
	FACT(!pools_drop(&why));
	FACT(pools_head(name)->ring.next == (uintptr_t)&pools_head(name)->ring);
	FACT(pools_head(name)->ring.prev == (uintptr_t)&pools_head(name)->ring);
}

static void use(bool patched)
{
	for (unsigned int i = 0; i < POOLS_NR; i++) {
		__u64 before = live();

		if (!pools_open(pools_names[i], &why)) {
			use_open(pools_names[i]);
			FACT(live() <= before);
			continue;
		}
		FACT(patched);
		typed();
		FACT(live() == before);
	}
	pools_close();
	for (unsigned int i = 0; i < NR_BESIDE; i++)
		arena_marked(kho_phys_to_virt(regions[nr_patched + i].at), beside[i],
			     (u8)(0x80 + i));
	FACT(!kho_preserve_check_all_(false));
	FACT(patched || live() == POOLS_NR + NR_BESIDE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool patched = size >= 8;

	if (image.fd < 0)
		make_image();
	memcpy(image.work, image.bytes, image.size);
	for (; size >= 8; data += 8, size -= 8)
		patch_one(data);
	FACT(!arena_image_attach(&image));
	use(patched);
	kho_arena_unmap_();
	return 0;
}
