/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Made tests/golden/arena-v1.sparse once, with the first release of "arena-v1". The image stays
 * for ever; this file says what is in it. Usage: make_golden FILE
 */
#include <kho/slab.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "arena.h"
#include "heap.h"
#include "sparse.h"

struct node {
	struct node *next;
	__u64 value;
};

static struct node *node_new(size_t size, __u64 value)
{
	struct node *node = kho_calloc(1, size);

	node->value = value;
	return node;
}

static void make_heap(void)
{
	void **list = kho_root("list", "golden-list", 1), **big = kho_root("big", "golden-big", 9);
	struct kho_abi_intent *intent = (void *)(kho_arena_.base + KHO_ABI_INTENTS_PA);
	struct node *gone = node_new(16, 99), *last;
	char *large = kho_calloc(1, 40000);

	kho_publish(list, gone, NULL);
	for (__u64 value = 33; value; value -= 11) {
		struct node *node = node_new(value == 22 ? 1000 : 16, value);

		node->next = value == 33 ? NULL : *list;
		kho_publish(list, node, value == 33 ? gone : NULL);
	}
	large[0] = 'L';
	large[39999] = 'E';
	kho_publish(big, large, NULL);
	/* Killed behind the store: whoever attaches finishes it. */
	last = node_new(16, 44);
	last->next = *list;
	intent->value = intent->new_object = (uintptr_t)last;
	intent->slot = kho_virt_to_phys(list);
	*list = last;
}

/* Of each kind; one preserved object is named, one is only handed out, one was freed. */
static void make_caches(void)
{
	struct kmem_cache *nodes = kho_kmem_cache_create("nodes", 200, 0, 0, NULL);
	struct kmem_cache *keys = kho_kmem_cache_create("keys", 100, 64, KHO_CACHE_SINGLE, NULL);
	void **cached = kho_root("cached", "golden-list", 1);
	char *key[4];

	for (__u64 value = 1; value < 4; value++) {
		struct node *node = kho_kmem_cache_alloc(nodes);

		memset(node, 0, 200);
		node->value = value;
		node->next = *cached;
		kho_publish(cached, node, NULL);
	}
	for (int i = 0; i < 4; i++) {
		key[i] = kho_kmem_cache_alloc(keys);
		memset(key[i], 'k' + i, 100);
	}
	kho_slab_preserve(key[0]);
	kho_slab_preserve(key[2]);
	kho_free(key[3]);
	kho_add_subtree("key", key[0], 100);
	kho_add_subtree("key2", key[2], 100);
}

static void make_pages(void)
{
	struct folio *folio = kho_folio_alloc(2);
	struct page *page = kho_alloc_pages(5);

	memset(folio, 0, 4 * KHO_PAGE_SIZE);
	memset(page, 0, 5 * KHO_PAGE_SIZE);
	strcpy(kho_folio_address(folio), "GOLDEN");
	for (__u64 i = 0; i < 5; i++)
		((__u64 *)kho_page_address(page))[i * 512] = 0x1111 * i;
	kho_preserve_folio(folio);
	kho_preserve_pages(page, 5);
	kho_add_subtree("blob", folio, 7);
	kho_add_subtree("run", page, 5 * KHO_PAGE_SIZE);
}

/* Numbers instead of random bytes. */
static void set_id(void)
{
	struct kho_abi_arena_header *header = (void *)kho_arena_.base;

	for (unsigned int i = 0; i < sizeof(header->id); i++)
		header->id[i] = (__u8)(0xa0 + i);
	header->crc = khoc_crc32c(0, header, offsetof(struct kho_abi_arena_header, crc));
}

int main(int argc, char **argv)
{
	int fd = kho_arena_create_("golden");
	FILE *out = argc == 2 ? fopen(argv[1], "w") : NULL;

	if (!out || fd < 0 || kho_arena_format_(fd, 3 << 20) || kho_arena_map_(fd, true) ||
	    kho_arena_own_())
		return 1;
	make_caches();
	make_heap(); /* last to publish: what it leaves unfinished */
	make_pages();
	kho_arena_set_metadata_("golden 1.0", 3);
	kho_arena_set_generation_(7);
	kho_arena_set_state_(KHO_ABI_STATE_RUNNING);
	set_id();
	return sparse_write(out, kho_arena_.base, kho_arena_.file_size) || fclose(out);
}
