/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Kills: lists of objects, of the heap and of a slab cache, changed by publishing. */
#include <errno.h>
#include <kho/slab.h>
#include <pthread.h>

#include "kill.h"

struct item {
	struct item *next;
	__u64 seq;
	__u64 size;
	__u64 sum;
	unsigned char data[];
};

static pthread_mutex_t slot_lock[SLOTS];
static struct kmem_cache *items;

static __u64 item_sum(const struct item *item)
{
	__u64 x = item->seq * 0x9e3779b97f4a7c15ULL ^ item->size;

	return x ^ x >> 29;
}

/* Bytes at the start and at the end: large ones would take all the time otherwise. */
static void item_bytes(struct item *item, bool check)
{
	for (__u64 i = 0; i < item->size; i++) {
		unsigned char want = (unsigned char)(item->seq * 31 + i * 7);

		if (i == 128 && item->size > 256)
			i = item->size - 128;
		want = (unsigned char)(item->seq * 31 + i * 7);
		if (!check)
			item->data[i] = want;
		else
			CHECK(item->data[i] == want, "item %llx, byte %llu", item->seq, i);
	}
}

static struct item *item_new(unsigned int t, uint64_t r)
{
	__u64 size = r % 100 < 70 ? r % 300 : r % 100 < 95 ? r % 8000 : 33000 + r % 250000;
	struct item *item = size < 300 && r >> 40 & 1 ? kho_kmem_cache_alloc(items)
						      : kho_malloc(sizeof(*item) + size);

	if (!item)
		return NULL;
	item->seq = next_seq(t);
	item->size = size;
	item->sum = item_sum(item);
	item_bytes(item, false);
	return item;
}

static void change_list(unsigned int t, uint64_t r)
{
	unsigned int s = (unsigned int)(r % SLOTS), what = (unsigned int)(r >> 8 & 7), at;
	struct flight *f = &the_log->flight[t];
	struct item *fresh = what < 6 ? item_new(t, r >> 16) : NULL, *old, *exchanged = NULL;
	void **word = slots + s;
	struct list *after = &f->after;
	int rc;

	pthread_mutex_lock(&slot_lock[s]);
	*after = the_log->list[s];
	at = after->n ? (unsigned int)(r >> 40) % after->n : 0;
	for (unsigned int i = 0; i < at; i++)
		word = (void **)&((struct item *)*word)->next;
	old = *word;
	f->kind = LIST;
	f->index = s;
	if (fresh && (!old || (what < 3 && after->n < LIST_MAX))) { /* insert before @old */
		memmove(after->seq + at + 1, after->seq + at, (after->n - at) * 8);
		after->seq[at] = fresh->seq;
		after->n++;
		fresh->next = old;
		phase(f, 1);
		rc = kho_publish(word, fresh, NULL);
	} else if (fresh && old) { /* replace */
		after->seq[at] = fresh->seq;
		fresh->next = old->next;
		exchanged = what & 1 ? NULL : old;
		phase(f, 1);
		rc = exchanged ? kho_exchange(word, fresh, old) : kho_publish(word, fresh, old);
	} else if (old) { /* delete */
		after->n--;
		memmove(after->seq + at, after->seq + at + 1, (after->n - at) * 8);
		phase(f, 1);
		rc = kho_publish(word, old->next, old);
	} else {
		pthread_mutex_unlock(&slot_lock[s]);
		return;
	}
	CHECK(!rc || rc == -ENOMEM, "publish: %d", rc);
	done(t, !rc);
	pthread_mutex_unlock(&slot_lock[s]);
	if (rc && fresh)
		kho_free(fresh);
	if (!rc && exchanged && r >> 62 & 1) /* else it is gone with the crash */
		kho_free(exchanged);
}

static void apply_list(unsigned int t, const struct flight *f)
{
	the_log->list[f->index] = f->after;
}

/* Is the list at slot @s the one that @want says? Adds what it reaches to the counts. */
static bool list_is(unsigned int s, const struct list *want)
{
	const struct item *item = slots[s];
	unsigned int n = 0;

	for (; item; item = item->next, n++) {
		CHECK(n < LIST_MAX, "slot %u: longer than it can be", s);
		CHECK(kho_usable_size(item) >= sizeof(*item), "slot %u: not an object", s);
		CHECK(item->sum == item_sum(item), "slot %u, item %u: checksum", s, n);
		if (n >= want->n || item->seq != want->seq[n])
			return false;
	}
	return n == want->n;
}

static bool list_happened(unsigned int t, const struct flight *f)
{
	if (list_is(f->index, &f->after))
		return true;
	CHECK(list_is(f->index, &the_log->list[f->index]), "slot %u: neither before nor after",
	      f->index);
	return false;
}

static void check_lists(unsigned int t, struct sums *sums)
{
	for (unsigned int s = t; s < SLOTS; s += THREADS) {
		CHECK(list_is(s, &the_log->list[s]), "slot %u: not what was acknowledged", s);
		for (struct item *item = slots[s]; item; item = item->next) {
			const struct kho_abi_large *large = NULL;

			item_bytes(item, true);
			sums->items++;
			if (kho_usable_size(item) > HEAP_SMALL_MAX)
				large = kho_large_of_(item);
			if (large)
				sums->large_pages += large->nr_pages;
		}
	}
}

void lists_open(void)
{
	for (unsigned int s = 0; s < SLOTS; s++)
		pthread_mutex_init(&slot_lock[s], NULL);
	items = kho_kmem_cache_create("items", sizeof(struct item) + 300, 0, 0, NULL);
	CHECK(items, "cache");
}

const struct kill_subject kill_lists = {.share = 108,
					.change = change_list,
					.apply = apply_list,
					.happened = list_happened,
					.check = check_lists};
