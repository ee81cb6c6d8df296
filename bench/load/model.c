/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What a server owes for one key, decided exactly.
 *
 * A key is written by one connection, one write at a time, so a get on that connection
 * may find the last acknowledged write, or the single "maybe". Whatever it finds is
 * settled from then on: finding the older one later is a loss. A loss is counted once: from
 * then on what was found is what is owed.
 */
#include "load.h"

static enum load_verdict judge_miss(struct load_known *known)
{
	uint32_t maybe = known->maybe;

	known->maybe = 0;
	if (known->acked & LOAD_DELETED || !known->acked)
		return LOAD_GOOD;
	if (maybe & LOAD_DELETED) {
		known->acked = maybe;
		return LOAD_GOOD;
	}
	known->acked |= LOAD_DELETED;
	return LOAD_LOST;
}

enum load_verdict load_judge(struct load_known *known, uint64_t index,
			     const struct load_reply *reply)
{
	uint32_t version, maybe = known->maybe;

	if (reply->status == LOAD_MISS)
		return judge_miss(known);
	if (reply->status != LOAD_OK ||
	    !load_value_check(reply->value, reply->len, index, &version))
		return LOAD_WRONG;
	if (version == known->acked) {
		known->maybe = 0;
		return LOAD_GOOD;
	}
	if (maybe && version == maybe) {
		known->acked = maybe;
		known->maybe = 0;
		return LOAD_GOOD;
	}
	/* Also when the acknowledged write is a delete: what it deleted is back. */
	if (version < (known->acked & ~LOAD_DELETED)) {
		known->acked = version;
		known->maybe = 0;
		return LOAD_LOST;
	}
	return LOAD_WRONG;
}

/*
 * Keys go round: one for each busy connection, then one still key for every four busy
 * ones, at least one.
 */
unsigned int load_turn(unsigned int busy)
{
	return busy + (busy + 3) / 4 + !busy;
}

bool load_is_still(uint64_t index, unsigned int busy)
{
	return index % load_turn(busy) >= busy;
}

uint64_t load_still(uint64_t nth, uint64_t keys, unsigned int busy)
{
	unsigned int len = load_turn(busy), still = len - busy;
	uint64_t turns = keys / len;

	return nth / still % turns * len + busy + nth % still;
}
