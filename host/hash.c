/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* A private hash table, see sessions.h. Keys are scattered by a multiplication; at most one a bucket on average. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "sessions.h"

__u64 kho_hash_factor_ = 0x9e3779b97f4a7c15ULL;

/* Before main(): tables that are in use cannot change it. Without randomness it stays what it is. */
__attribute__((constructor)) static void draw_factor(void)
{
	__u64 drawn;

	if (getrandom(&drawn, sizeof(drawn), GRND_NONBLOCK) == sizeof(drawn))
		kho_hash_factor_ = drawn | 1;
}

__u64 kho_hash_text_(const char *text)
{
	__u64 key = 0xcbf29ce484222325ULL ^ kho_hash_factor_; /* FNV-1a, from somewhere else */

	while (*text)
		key = (key ^ (unsigned char)*text++) * 0x100000001b3ULL;
	return key;
}

static struct kho_hnode **bucket(const struct kho_htable *table, __u64 key)
{
	return &table->buckets[kho_hash_place_(key, table->mask)];
}

static int grow(struct kho_htable *table)
{
	struct kho_htable larger = {.mask = table->buckets ? 2 * table->mask + 1 : 15,
				    .nr = table->nr};

	larger.buckets = calloc(larger.mask + 1, sizeof(*larger.buckets));
	if (!larger.buckets)
		return -ENOMEM;
	for (__u64 i = 0; table->buckets && i <= table->mask; i++) {
		for (struct kho_hnode *node = table->buckets[i], *next; node; node = next) {
			struct kho_hnode **to = bucket(&larger, node->key);

			next = node->next;
			node->next = *to;
			*to = node;
		}
	}
	free(table->buckets);
	*table = larger;
	return 0;
}

int kho_hash_add_(struct kho_htable *table, struct kho_hnode *node)
{
	struct kho_hnode **to;

	if ((!table->buckets || table->nr > table->mask) && grow(table))
		return -ENOMEM;
	to = bucket(table, node->key);
	node->next = *to;
	*to = node;
	table->nr++;
	return 0;
}

void kho_hash_del_(struct kho_htable *table, struct kho_hnode *node)
{
	struct kho_hnode **at = table->buckets ? bucket(table, node->key) : NULL;

	while (at && *at && *at != node)
		at = &(*at)->next;
	if (!at || !*at)
		return;
	*at = node->next;
	table->nr--;
}

struct kho_hnode *kho_hash_find_(const struct kho_htable *table, __u64 key)
{
	struct kho_hnode *node = table->buckets ? *bucket(table, key) : NULL;

	while (node && node->key != key)
		node = node->next;
	return node;
}

struct kho_hnode *kho_hash_find_text_(const struct kho_htable *table, __u64 key, const char *text,
				      size_t off)
{
	struct kho_hnode *node = kho_hash_find_(table, key);

	while (node && (node->key != key || strcmp((const char *)node + off, text)))
		node = node->next;
	return node;
}

struct kho_hnode *kho_hash_any_(const struct kho_htable *table, __u64 *from)
{
	for (; table->nr && *from <= table->mask; ++*from)
		if (table->buckets[*from])
			return table->buckets[*from];
	return NULL;
}

void kho_hash_free_(struct kho_htable *table)
{
	free(table->buckets);
	*table = (struct kho_htable){0};
}
