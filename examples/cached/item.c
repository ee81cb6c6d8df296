/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Items: made, found, expired, linked.
 *
 * A new item is only reserved: if we die before item_link() it never was.
 */
#include <string.h>

#include <kho/host.h>

#include "cached.h"

#define CAS_BLOCK 1024 /* ids that a worker takes at a time */
#define RELATIVE_MAX (60 * 60 * 24 * 30) /* memcached's: larger ones are seconds of the epoch */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct ids cas_ids;

/* ---- time ---- */

__u32 item_exptime(const struct worker *w, __s32 exptime)
{
	if (exptime < 0)
		return 1;
	if (exptime == 0 || exptime > RELATIVE_MAX)
		return exptime;
	return w->now + exptime;
}

/* The epoch of new items. While a flush still lies ahead, that is the one before it. */
static __u32 epoch_now(const struct worker *w)
{
	__u64 flush = __atomic_load_n(&table_get()->flush, __ATOMIC_RELAXED);

	return (__u32)flush - (flush >> 32 > w->now);
}

void item_flush_all(struct worker *w, __u32 at, const char *answer)
{
	struct table *table = table_get();
	__u64 flush;

	pthread_mutex_lock(&lock);
	flush = (__u64)at << 32 | (__u32)(epoch_now(w) + 1);
	journal_intend(w, &table->flush, flush, answer);
	__atomic_store_n(&table->flush, flush, __ATOMIC_RELEASE);
	journal_done(w);
	pthread_mutex_unlock(&lock);
}

enum gone item_gone(const struct worker *w, const struct item *item)
{
	if (item->exptime && item->exptime <= w->now)
		return ITEM_EXPIRED;
	if ((__s32)(item->epoch - epoch_now(w)) < 0)
		return ITEM_FLUSHED;
	return ITEM_THERE;
}

/* ---- life ---- */

bool item_fits(size_t nkey, __u64 nbytes)
{
	return ITEM_HEADER + nkey + nbytes + 2 <= options.item_max;
}

struct item *item_new(struct worker *w, struct span key, __u32 flags, __u32 exptime, __u32 nbytes)
{
	size_t size = ITEM_HEADER + key.len + nbytes + 2;
	struct item *item;

	if (size < sizeof(*item))
		size = sizeof(*item);
	clock_make_room(w, size);
	while (!(item = kho_malloc(size))) {
		if (!clock_evict_any(w)) {
			count(w, OUT_OF_MEMORY, 1);
			return NULL;
		}
	}
	item->flags = flags;
	item->exptime = exptime;
	item->nbytes = nbytes;
	item->nkey = key.len;
	item->ref = 0;
	memcpy(item->data, key.at, key.len);
	return item;
}

/* Ids are taken from the arena's limit, so that no later program gives one again. */
static __u64 cas_id(struct worker *w)
{
	if (w->cas == w->cas_end) {
		pthread_mutex_lock(&lock);
		w->cas = ids_take(&cas_ids, CAS_BLOCK);
		w->cas_end = w->cas + CAS_BLOCK;
		pthread_mutex_unlock(&lock);
	}
	return w->cas++;
}

void items_attach(void)
{
	unsigned int i;

	ids_attach(&cas_ids, &table_get()->cas_limit);
	for (i = 0; i < NR_THREADS; i++)
		workers[i].cas = workers[i].cas_end = 0;
}

enum gone item_lock(struct worker *w, struct place *place, struct span key)
{
	enum gone gone = ITEM_ABSENT;

	table_lock(place, key.at, key.len, table_hash(key.at, key.len));
	if (!place->item)
		return gone;
	gone = item_gone(w, place->item);
	if (gone)
		item_unlink(w, place);
	return gone;
}

bool item_link(struct worker *w, struct place *place, struct item *item, const char *answer)
{
	item->cas = cas_id(w);
	item->epoch = epoch_now(w);
	w->event.linked = item == w->event.owned;
	journal_intend(w, place->pred, (__u64)item, answer);
	if (table_put(place, item, &w->tally)) {
		journal_undo(w);
		item_drop(w, item);
		return false;
	}
	journal_done(w);
	count(w, TOTAL_ITEMS, 1);
	return true;
}

void item_delete(struct worker *w, struct place *place, const char *answer)
{
	journal_intend(w, place->pred, place->item->next, answer);
	item_unlink(w, place);
	journal_done(w);
}

void item_drop(struct worker *w, struct item *item)
{
	if (item != w->event.owned)
		kho_free(item);
}

void item_unlink(struct worker *w, struct place *place)
{
	table_delete(place, &w->tally);
}

/* Looks before it writes: a line that all workers read stays in all caches. */
void item_use(struct item *item)
{
	if (!item->ref)
		item->ref = 1;
}
