/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Kills: a block set for each thread, whose records come and go at the end, and which is cleared and
 * destroyed block by block: after a kill in the middle of that the model takes what is left.
 */
#include <errno.h>

#include <kho/block.h>

#include "kill.h"

#define RECORD_WORDS 60 /* 8 in a block */

static struct {
	struct kho_block_set set;
	struct kho_block_set_it it;
	bool open;
} sets[THREADS];

static __u64 nr_records(const struct block_model *model)
{
	return model->end - model->first;
}

static void fill(__u64 *record, __u64 seq)
{
	for (int w = 0; w < RECORD_WORDS; w++)
		record[w] = seq * 0x9e3779b97f4a7c15ULL + (__u64)w;
}

/* ---- the writer's ---- */

static void append_or_pop(unsigned int t, bool append)
{
	struct block_model *model = &the_log->block[t];
	struct flight *f = &the_log->flight[t];
	__u64 record[RECORD_WORDS];
	int rc;

	f->kind = append ? BLOCK_APPEND : BLOCK_POP;
	f->seq = append ? next_seq(t) : 0;
	f->nr = append ? model->end + 1 : model->end - 1;
	fill(record, f->seq);
	phase(f, 1);
	rc = append ? kho_block_set_it_append(&sets[t].it, record)
		    : kho_block_set_it_pop(&sets[t].it);
	CHECK(!rc || (rc == -ENOMEM && append), "block set: %d", rc);
	done(t, !rc);
}

/* Without records. */
static void empty(unsigned int t, enum op kind)
{
	struct flight *f = &the_log->flight[t];

	f->kind = kind;
	phase(f, 1);
	CHECK(!(kind == BLOCK_CLEAR ? kho_block_set_clear(&sets[t].set)
				    : kho_block_set_destroy(&sets[t].set)),
	      "block set");
	done(t, true);
}

static void change_block(unsigned int t, uint64_t r)
{
	const struct block_model *model = &the_log->block[t];
	bool append = r >> 16 & 1;
	int rc = 0;

	switch (r % 64) {
	case 0:
		empty(t, r & 64 ? BLOCK_CLEAR : BLOCK_DESTROY);
		break;
	case 1:
	case 2:
		rc = kho_block_set_grow(&sets[t].set, nr_records(model) + (r >> 8) % 40);
		break;
	case 3:
	case 4:
		rc = kho_block_set_shrink(&sets[t].set, nr_records(model));
		break;
	default:
		for (unsigned int n = 1 + (r >> 8) % 20; n; n--)
			if (append ? nr_records(model) < RECORDS : nr_records(model) > 0)
				append_or_pop(t, append);
		return;
	}
	CHECK(!rc || rc == -ENOMEM, "block set: %d", rc);
	CHECK(!kho_block_set_it_end(&sets[t].it, &sets[t].set), "end");
}

/* ---- the model ---- */

/* Twice is once: a kill may come in the middle of it. */
static void apply_block(unsigned int t, const struct flight *f)
{
	struct block_model *model = &the_log->block[t];

	switch (f->kind) {
	case BLOCK_APPEND:
		model->seq[(f->nr - 1) % RECORDS] = f->seq;
		model->end = f->nr;
		break;
	case BLOCK_POP:
		model->end = f->nr;
		break;
	default:
		model->first = model->end;
	}
}

static void restore(unsigned int t)
{
	if (sets[t].open)
		return;
	CHECK(!kho_block_set_init(&sets[t].set, &heads[t].blocks, RECORD_WORDS * 8), "block set");
	CHECK(!kho_block_set_restore(&sets[t].set), "block set %u", t);
	sets[t].open = true;
}

/* Are its records those of the model from @first to before @end, what the model does not have being @seq? */
static bool set_is(unsigned int t, __u64 first, __u64 end, __u64 seq)
{
	const struct block_model *model = &the_log->block[t];
	__u64 want[RECORD_WORDS], at = first;
	struct kho_block_set_it it;
	const void *found;

	restore(t);
	kho_block_set_it_init(&it, &sets[t].set);
	while ((found = kho_block_set_it_read_entry(&it))) {
		if (at == end)
			return false;
		fill(want, at < model->end ? model->seq[at % RECORDS] : seq);
		if (memcmp(found, want, sizeof(want)))
			return false;
		at++;
	}
	CHECK(!kho_block_set_it_error(&it), "block set %u", t);
	return at == end;
}

/* Blocks go one by one, of a set that is cleared from the last on, of one that is destroyed from the first. */
static bool emptied(unsigned int t, bool clear)
{
	struct block_model *model = &the_log->block[t];

	for (__u64 gone = 0; gone < nr_records(model); gone++) {
		__u64 first = clear ? model->first : model->first + gone;
		__u64 end = clear ? model->end - gone : model->end;

		if (!set_is(t, first, end, 0))
			continue;
		the_log->partial_sets += gone != 0;
		model->first = first;
		model->end = end;
		return false;
	}
	return true;
}

static bool block_happened(unsigned int t, const struct flight *f)
{
	const struct block_model *model = &the_log->block[t];

	switch (f->kind) {
	case BLOCK_APPEND:
	case BLOCK_POP:
		return set_is(t, model->first, f->nr, f->seq);
	default:
		return emptied(t, f->kind == BLOCK_CLEAR);
	}
}

static void check_block(unsigned int t, struct sums *sums)
{
	const struct block_model *model = &the_log->block[t];

	CHECK(set_is(t, model->first, model->end, 0), "block set %u: not what was acknowledged", t);
	CHECK(!kho_block_set_it_end(&sets[t].it, &sets[t].set), "end");
	for (kho_pa_t pa = heads[t].blocks; pa; pa = *(__u64 *)kho_phys_to_virt(pa))
		sums->struct_pages++;
}

const struct kill_subject kill_blocks = {.share = 22,
					 .change = change_block,
					 .apply = apply_block,
					 .happened = block_happened,
					 .check = check_block};
