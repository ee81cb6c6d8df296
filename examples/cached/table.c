/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A hash table that grows while it serves and is whole after every store.
 *
 * Split-ordered lists (Shalev and Shavit, 2006): all items of a list are sorted by their hash
 * with the bits reversed. Then the items of a bucket stay together however often
 * the number of buckets is doubled, and a new bucket is only a mark inside a list: no item
 * moves. The mark is the bucket itself, one word of an array, so it costs no memory.
 *
 *	base[1] -> item -> item -> bucket 1025 -> item -> LIST_END
 *
 * Each of the BASE_BUCKETS first buckets begins a list of its own, with a lock of its own,
 * found by the low bits of the hash: a bucket and its parent share it.
 *
 * Doubling is one store (the new segment's address); then the new buckets are spliced in one
 * by one. Until its turn has come, a bucket is 0 and its items are found from its
 * parent, which is the bucket with the top bit of the index cleared: all buckets of the size before
 * are spliced in when the next doubling begins.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <kho/host.h>

#include "table.h"

#define LOAD(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define STORE(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)

#define ZERO_STEP (256 << 10) /* bytes cleared, and */
#define SPLICE_STEP 64 /* buckets spliced in, before somebody else may have the thread */
#define COUNT_STEP 256

/* @counted: items with smaller sort keys are in the sums. */
struct stripe {
	__u32 lock;
	__u64 counted;
} __attribute__((aligned(64)));

static struct table *table;
static __u64 buckets;
static struct stripe stripes[BASE_BUCKETS];
static unsigned int count_stripe; /* BASE_BUCKETS when all are counted */
static struct {
	char *words;
	size_t zeroed;
} growing;

struct table *table_get(void)
{
	return table;
}

__u64 table_buckets(void)
{
	return LOAD(&buckets);
}

/* ---- hash and sort keys ---- */

static __u64 mix(__u64 a, __u64 b)
{
	unsigned __int128 product = (unsigned __int128)a * b;

	return (__u64)product ^ (__u64)(product >> 64);
}

static __u64 load64(const char *at)
{
	__u64 value;

	memcpy(&value, at, 8);
	return value;
}

/*
 * Multiply and fold 16 bytes at a time. The state, which begins with the secret seed, is in both
 * factors: no input makes one of them 0 on purpose.
 */
__u64 table_hash(const char *key, unsigned int nkey)
{
	const __u64 k1 = 0x9e6c63d0876a9a4bULL, k2 = 0xd1b54a32d192ed03ULL;
	__u64 h = table->seed ^ (nkey * k1);
	char tail[16] = {0};

	for (; nkey > 16; nkey -= 16, key += 16)
		h = mix(load64(key) ^ h, load64(key + 8) ^ k1 ^ (h << 32 | h >> 32));
	memcpy(tail, key, nkey);
	h = mix(load64(tail) ^ h, load64(tail + 8) ^ k2 ^ (h << 32 | h >> 32));
	return mix(h ^ table->seed, k1);
}

static __u64 reverse(__u64 v)
{
	v = (v >> 1 & 0x5555555555555555ULL) | (v & 0x5555555555555555ULL) << 1;
	v = (v >> 2 & 0x3333333333333333ULL) | (v & 0x3333333333333333ULL) << 2;
	v = (v >> 4 & 0x0f0f0f0f0f0f0f0fULL) | (v & 0x0f0f0f0f0f0f0f0fULL) << 4;
	return __builtin_bswap64(v);
}

/* ---- locks ---- */

static void lock_stripe(unsigned int index)
{
	struct stripe *stripe = &stripes[index];
	unsigned int tries = 0;

	while (__atomic_exchange_n(&stripe->lock, 1, __ATOMIC_ACQUIRE)) {
		while (__atomic_load_n(&stripe->lock, __ATOMIC_RELAXED)) {
			if (++tries % 128 == 0)
				sched_yield(); /* the holder may be waiting for our processor */
		}
	}
}

static void unlock_stripe(unsigned int index)
{
	STORE(&stripes[index].lock, 0);
}

/* ---- words ---- */

static __u64 *bucket_at(__u64 index)
{
	unsigned int segment;

	if (index < BASE_BUCKETS)
		return &table->base[index];
	segment = 63 - __builtin_clzll(index) - BASE_BITS;
	return (__u64 *)table->segment[segment] + (index - (1ULL << (segment + BASE_BITS)));
}

static bool is_item(__u64 word)
{
	return !(word & 1);
}

static struct item *as_item(__u64 word)
{
	return (struct item *)word;
}

static __u64 as_mark(const __u64 *bucket)
{
	return (__u64)bucket | 1;
}

/* The bucket from which items with this hash are found. Its stripe is locked. */
static __u64 *bucket_for(__u64 hash)
{
	__u64 size = LOAD(&buckets);
	__u64 *bucket = bucket_at(hash & (size - 1));

	return *bucket ? bucket : bucket_at(hash & (size / 2 - 1));
}

/* The first word from @word on that leads to @sort or beyond. */
static __u64 *seek(__u64 *word, __u64 sort)
{
	while (is_item(*word) && as_item(*word)->sort < sort)
		word = &as_item(*word)->next;
	return word;
}

/* ---- one key ---- */

void table_lock(struct place *place, const char *key, unsigned int nkey, __u64 hash)
{
	struct item *item;

	place->stripe = hash % BASE_BUCKETS;
	place->sort = reverse(hash) | 1;
	lock_stripe(place->stripe);
	place->pred = seek(bucket_for(hash), place->sort);
	place->item = NULL;
	/* Two hashes in 2^63 are alike: their items stand side by side in any order. */
	for (__u64 *word = place->pred; is_item(*word); word = &item->next) {
		item = as_item(*word);
		if (item->sort != place->sort)
			break;
		if (item->nkey == nkey && memcmp(item->data, key, nkey) == 0) {
			place->pred = word;
			place->item = item;
			break;
		}
	}
}

void table_unlock(const struct place *place)
{
	unlock_stripe(place->stripe);
}

/* What the counter has not reached, it will count itself. */
static void account(struct tally *tally, const struct place *place, __s64 bytes, __s64 items)
{
	if (place->sort < stripes[place->stripe].counted)
		tally_add(tally, bytes, items);
}

int table_put(struct place *place, struct item *item, struct tally *tally)
{
	struct item *old = place->item;
	__s64 bytes = kho_usable_size(item);
	int err;

	if (old)
		bytes -= kho_usable_size(old);
	item->sort = place->sort;
	item->next = old ? old->next : *place->pred;
	err = kho_publish_tagged(place->pred, (__u64)item, item, old);
	if (err)
		return err;
	account(tally, place, bytes, old ? 0 : 1);
	place->item = item;
	return 0;
}

void table_delete(struct place *place, struct tally *tally)
{
	struct item *old = place->item;

	account(tally, place, -(__s64)kho_usable_size(old), -1);
	kho_publish_tagged(place->pred, old->next, NULL, old);
	place->item = NULL;
}

unsigned int table_visit(__u64 bucket, bool (*fn)(void *ctx, struct item *item), void *ctx,
			 struct tally *tally)
{
	struct place place = {.stripe = bucket % BASE_BUCKETS};
	unsigned int seen = 0;

	lock_stripe(place.stripe);
	place.pred = bucket_at(bucket);
	while (*place.pred && is_item(*place.pred)) {
		place.item = as_item(*place.pred);
		place.sort = place.item->sort;
		seen++;
		if (fn(ctx, place.item))
			table_delete(&place, tally);
		else
			place.pred = &place.item->next;
	}
	unlock_stripe(place.stripe);
	return seen;
}

/* ---- growth ---- */

/* May be done twice: an owner may have died at any store in it. */
static void splice(__u64 index)
{
	__u64 parent = index ^ (1ULL << (63 - __builtin_clzll(index)));
	__u64 *bucket = bucket_at(index), *pred;

	lock_stripe(index % BASE_BUCKETS);
	pred = seek(bucket_at(parent), reverse(index));
	if (*pred != as_mark(bucket)) {
		STORE(bucket, *pred);
		STORE(pred, as_mark(bucket));
	}
	STORE(&table->splice, index + 1);
	unlock_stripe(index % BASE_BUCKETS);
}

void table_grow_reset(void)
{
	growing.words = NULL;
	growing.zeroed = 0;
}

static bool new_segment_step(__u64 size, __u64 *slot)
{
	size_t bytes = size * sizeof(__u64), n;

	if (!growing.words) {
		growing.words = kho_malloc(bytes);
		growing.zeroed = 0;
		return growing.words != NULL;
	}
	if (growing.zeroed < bytes) {
		n = bytes - growing.zeroed;
		n = n < ZERO_STEP ? n : ZERO_STEP;
		memset(growing.words + growing.zeroed, 0, n);
		growing.zeroed += n;
		return true;
	}
	if (kho_publish((void **)slot, growing.words, NULL))
		kho_free(growing.words); /* the arena is full: stay with long lists */
	else
		STORE(&buckets, size * 2);
	growing.words = NULL;
	return *slot != 0;
}

bool table_grow_step(__u64 items)
{
	__u64 size = LOAD(&buckets);
	unsigned int i;

	if (table->splice < size) {
		for (i = 0; i < SPLICE_STEP && table->splice < size; i++)
			splice(table->splice);
		return true;
	}
	if (items <= size || size == (__u64)BASE_BUCKETS << NR_SEGMENTS)
		return false;
	return new_segment_step(size, &table->segment[__builtin_ctzll(size) - BASE_BITS]);
}

/* ---- start ---- */

int table_make(void **slot)
{
	struct table *made;
	unsigned int i;

	if (*slot)
		return 0;
	made = kho_calloc(1, sizeof(*made));
	if (!made)
		return -ENOMEM;
	if (getrandom(&made->seed, sizeof(made->seed), 0) != sizeof(made->seed))
		made->seed = (__u64)made;
	for (i = 0; i < BASE_BUCKETS; i++)
		made->base[i] = LIST_END;
	made->splice = BASE_BUCKETS;
	made->parked = PARKED_EXACT;
	return kho_publish(slot, made, NULL);
}

void table_prepare(void)
{
	memset(stripes, 0, sizeof(stripes));
}

void table_attach(struct table *found, bool counted)
{
	unsigned int i;

	table = found;
	table_grow_reset();
	for (i = 0; i < NR_SEGMENTS && table->segment[i]; i++)
		;
	buckets = (__u64)BASE_BUCKETS << i;
	for (i = 0; i < BASE_BUCKETS; i++) {
		stripes[i].lock = 0;
		stripes[i].counted = counted ? UINT64_MAX : reverse(i);
	}
	count_stripe = counted ? BASE_BUCKETS : 0;
	/* It may be half done, and then looks done. */
	if (table->splice < buckets)
		splice(table->splice);
}

/* ---- walks ---- */

bool table_count_step(struct tally *tally)
{
	struct stripe *stripe;
	unsigned int n = 0;
	__u64 word, last;

	if (count_stripe >= BASE_BUCKETS)
		return false;
	stripe = &stripes[count_stripe];
	lock_stripe(count_stripe);
	last = stripe->counted;
	word = *seek(bucket_for(reverse(last)), last);
	while (word != LIST_END) {
		if (!is_item(word)) {
			word = *(__u64 *)(word & ~1ULL);
			continue;
		}
		/* Stop between two sort keys, or some of equal ones would count twice. */
		if (n >= COUNT_STEP && as_item(word)->sort != last)
			break;
		last = as_item(word)->sort;
		tally_add(tally, kho_usable_size(as_item(word)), 1);
		n++;
		word = as_item(word)->next;
	}
	stripe->counted = word == LIST_END ? UINT64_MAX : as_item(word)->sort;
	unlock_stripe(count_stripe);
	if (word == LIST_END)
		__atomic_add_fetch(&count_stripe, 1, __ATOMIC_RELAXED);
	return true;
}

bool table_counting(void)
{
	return __atomic_load_n(&count_stripe, __ATOMIC_RELAXED) < BASE_BUCKETS;
}

static int fault(struct table_report *report, __u64 list, const char *what)
{
	snprintf(report->fault, sizeof(report->fault), "list %llu, after %llu items: %s",
		 (unsigned long long)list, (unsigned long long)report->items, what);
	return -EINVAL;
}

/* Return: the index of the bucket that a mark names, or the number of buckets. */
static __u64 bucket_index(__u64 mark)
{
	__u64 at = mark & ~1ULL, first, size;

	if (at - (__u64)table->base < sizeof(table->base))
		return (at - (__u64)table->base) / sizeof(__u64);
	for (size = BASE_BUCKETS; size < buckets; size *= 2) {
		first = (__u64)bucket_at(size);
		if (at - first < size * sizeof(__u64))
			return size + (at - first) / sizeof(__u64);
	}
	return buckets;
}

static const char *check_mark(__u64 mark, unsigned int list, __u64 *last)
{
	__u64 index = bucket_index(mark);

	if (index >= buckets || index % BASE_BUCKETS != list)
		return "a mark that is no bucket of this list";
	if (index >= table->splice)
		return "a bucket before its turn";
	if (reverse(index) <= *last)
		return "a bucket out of order";
	*last = reverse(index);
	return NULL;
}

static const char *check_item(const struct item *item, unsigned int list, __u64 last)
{
	__u64 hash = reverse(item->sort);

	if (item->sort < last || !(item->sort & 1))
		return "an item out of order";
	if (hash % BASE_BUCKETS != list)
		return "an item of another list";
	if (item->nkey > KEY_MAX ||
	    kho_usable_size(item) < ITEM_HEADER + item->nkey + item->nbytes + 2)
		return "an item larger than its memory";
	if ((hash ^ table_hash(item->data, item->nkey)) << 1)
		return "an item that does not have its key's hash";
	return NULL;
}

/* Sort keys rise, so that the walk ends. */
static int check_list(unsigned int list, struct table_report *report)
{
	__u64 word = table->base[list], last = reverse(list);
	const char *what;

	while (word != LIST_END) {
		if (!word)
			return fault(report, list, "a list that breaks off");
		what = is_item(word) ? check_item(as_item(word), list, last)
				     : check_mark(word, list, &last);
		if (what)
			return fault(report, list, what);
		if (is_item(word)) {
			last = as_item(word)->sort;
			report->items++;
			report->bytes += kho_usable_size(as_item(word));
			word = as_item(word)->next;
		} else {
			report->spliced++;
			word = *(__u64 *)(word & ~1ULL);
		}
	}
	return 0;
}

int table_check(struct table_report *report)
{
	unsigned int list;
	int err = 0;

	memset(report, 0, sizeof(*report));
	report->segments = __builtin_ctzll(LOAD(&buckets)) - BASE_BITS;
	for (list = 0; list < BASE_BUCKETS && !err; list++) {
		lock_stripe(list);
		err = check_list(list, report);
		unlock_stripe(list);
	}
	if (!err && BASE_BUCKETS + report->spliced < table->splice)
		return fault(report, list, "buckets that should be spliced in are not");
	return err;
}
