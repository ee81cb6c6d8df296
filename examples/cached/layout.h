/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What outlives the program: every byte that cached keeps in the arena.
 *
 * Two formats: "cached-items" (root "cache": struct table, its buckets, the items) and
 * "cached-conns" (root "conns": struct conn_table, what connections left over, what workers are doing). A change here
 * is a new version of its format in survive.c.
 *
 * Everything is changed by one kho_publish() or by one aligned store, and is valid
 * between any two of them. So there is nothing to write when the program ends.
 *
 *	sort key	of an item: its hash with the bits reversed, bit 0 set;
 *			of a bucket: its index with the bits reversed (bit 0 is clear)
 *	list word	says what follows in the list: an item's address; or a bucket's
 *			address with bit 0 set: there that bucket's items begin; or LIST_END
 *	bucket		one list word; 0 = not spliced in: its items are its parent's
 *	position	of a byte in what a connection received, or sent, since it was accepted
 */
#ifndef CACHED_LAYOUT_H
#define CACHED_LAYOUT_H

#include <stddef.h>
#include <kho/abi/layout.h>
#include <kho/types.h>

#define LIST_END 1ULL
#define BASE_BITS 10 /* 1,024 buckets that are always there; as many locks */
#define BASE_BUCKETS (1U << BASE_BITS)
#define NR_SEGMENTS 30 /* segment i doubles the table: 2^(BASE_BITS + i) buckets more */
#define NR_COUNTERS 48
#define MAX_WORKERS 64
#define KEY_MAX 250

/**
 * struct item - a key and its value
 * @next: list word
 * @sort: sort key; never changes, like all but @next, @exptime and @ref
 * @cas: unique for ever
 * @flags: the client's
 * @exptime: second of the epoch from which on it is gone; 0 = never. Stored in place by touch.
 * @epoch: of struct table's @flush when it was made
 * @nbytes: length of the value
 * @nkey: length of the key
 * @ref: clock bit: used since the hand was last here
 * @data: key, value, "\r\n"
 */
struct item {
	__u64 next;
	__u64 sort;
	__u64 cas;
	__u32 flags;
	__u32 exptime;
	__u32 epoch;
	__u32 nbytes;
	__u8 nkey;
	__u8 ref;
	char data[6];
};

#define ITEM_HEADER offsetof(struct item, data)

#define SERVING 0ULL
#define PARKED_EXACT 1ULL
#define PARKED_COUNTING 2ULL /* had not counted all items yet */

/**
 * struct table - root "cache": a hash table of items as split-ordered lists
 * @seed: of the hash function
 * @flush: low half: an epoch, high half: from which second on. Items of older epochs are gone
 *	from then on; one word, so that one store flushes the cache.
 * @cas_limit: ids below it may have been used; raised ahead of use
 * @splice: the first bucket that may not be spliced in; nor is any after it
 * @parked: SERVING; or how well @used and @items are known: nobody has served since
 * @used: bytes of items
 * @items: how many
 * @counters: enum counter, as the predecessor left them
 * @segment: address of segment i; the first 0 ends the table
 * @base: the first buckets
 */
struct table {
	__u64 seed;
	__u64 flush;
	__u64 cas_limit;
	__u64 splice;
	__u64 parked;
	__u64 used;
	__u64 items;
	__u64 reserved;
	__u64 counters[NR_COUNTERS];
	__u64 segment[NR_SEGMENTS];
	__u64 base[BASE_BUCKETS];
};

/**
 * struct conn_state - what one connection left over between two events
 * @token: whose
 * @item: a live item whose value is coming in, or 0
 * @item_pos: position in the input of its first byte; those read since are there
 * @swallow: bytes of input to ignore
 * @cas: the id that a cas command wants to replace
 * @in_now, @out_now: bytes read from and given to the socket; what TCP counts is used before these
 * @out_pos: position in the output of the first of @nout bytes. What the socket took since is sent
 * @nin: bytes of input that wait for more; they begin @data
 * @nout: bytes of output that the socket did not take; they follow
 * @verb: what @item is for: an enum verb
 * @noreply: it wants no answer
 *
 * Only @in_now and @out_now change in place; anything else is a new object.
 */
struct conn_state {
	__u64 token;
	__u64 item;
	__u64 item_pos;
	__u64 swallow;
	__u64 cas;
	__u64 in_now;
	__u64 out_now;
	__u64 out_pos;
	__u32 nin;
	__u32 nout;
	__u8 verb;
	__u8 noreply;
	char data[6];
};

#define STATE_HEADER offsetof(struct conn_state, data)
#define CHUNK_STATES 4096
#define NR_CHUNKS 64

/**
 * struct record - how far a worker is with one connection, between two steps
 * @token: whose
 * @in_pos: position in the input of the journal's first byte of it
 * @out_pos: the same of the output
 * @done: low half: bytes of the input that are done; high half: bytes of the output that answer them.
 *	One word: commands that change nothing are done with one store
 * @swallow_to: position in the input up to which it is ignored
 * @item: as in struct conn_state; while there is one, no input is in the journal
 * @item_pos: as there
 * @linked: was @item, and belongs to the table since
 * @cas, @verb, @noreply: what @item is for
 * @prefix: 1: what comes next are keys of a get: @verb and @exptime stand before them
 */
struct record {
	__u64 token;
	__u64 in_pos;
	__u64 out_pos;
	__u64 done;
	__u64 swallow_to;
	__u64 item;
	__u64 item_pos;
	__u64 linked;
	__u64 cas;
	__u32 exptime;
	__u8 verb;
	__u8 noreply;
	__u8 prefix;
	__u8 pad;
};

#define IN_BYTES (64 << 10)

/**
 * struct journal - what a worker does at this moment
 * @now: 0: nothing: connections are as their states say; else 1 or 2: the record in force. Then the
 *	state of its connection is out of date
 * @slot: 0, or the address of a word: when @value stands there, the command in flight has taken effect,
 *	and @then, not @now, is in force
 * @item: owns an item that came in during this event
 * @out: output: an object
 * @in: input, read right into it: what is there is seen from how much the socket gave
 */
struct journal {
	__u64 now;
	__u64 slot;
	__u64 value;
	__u64 then;
	__u64 item;
	__u64 out;
	struct record record[2];
	char in[2 * IN_BYTES];
};

/**
 * struct conn_table - root "conns"
 * @token_limit: tokens below it may have been used; raised ahead of use
 * @journal: of each worker: a struct journal's address, or 0
 * @chunk: CHUNK_STATES addresses of struct conn_state each; 0 = none
 */
struct conn_table {
	__u64 token_limit;
	__u64 journal[MAX_WORKERS];
	__u64 chunk[NR_CHUNKS];
};

KHO_ABI_OFFSET(struct item, next, 0);
KHO_ABI_OFFSET(struct item, sort, 8);
KHO_ABI_OFFSET(struct item, cas, 16);
KHO_ABI_OFFSET(struct item, flags, 24);
KHO_ABI_OFFSET(struct item, exptime, 28);
KHO_ABI_OFFSET(struct item, epoch, 32);
KHO_ABI_OFFSET(struct item, nbytes, 36);
KHO_ABI_OFFSET(struct item, nkey, 40);
KHO_ABI_OFFSET(struct item, ref, 41);
KHO_ABI_OFFSET(struct item, data, 42);
KHO_ABI_OFFSET(struct table, seed, 0);
KHO_ABI_OFFSET(struct table, flush, 8);
KHO_ABI_OFFSET(struct table, cas_limit, 16);
KHO_ABI_OFFSET(struct table, splice, 24);
KHO_ABI_OFFSET(struct table, parked, 32);
KHO_ABI_OFFSET(struct table, used, 40);
KHO_ABI_OFFSET(struct table, items, 48);
KHO_ABI_OFFSET(struct table, reserved, 56);
KHO_ABI_OFFSET(struct table, counters, 64);
KHO_ABI_OFFSET(struct table, segment, 448);
KHO_ABI_OFFSET(struct table, base, 688);
KHO_ABI_SIZE(struct table, 8880);
KHO_ABI_OFFSET(struct conn_state, token, 0);
KHO_ABI_OFFSET(struct conn_state, item, 8);
KHO_ABI_OFFSET(struct conn_state, item_pos, 16);
KHO_ABI_OFFSET(struct conn_state, swallow, 24);
KHO_ABI_OFFSET(struct conn_state, cas, 32);
KHO_ABI_OFFSET(struct conn_state, in_now, 40);
KHO_ABI_OFFSET(struct conn_state, out_now, 48);
KHO_ABI_OFFSET(struct conn_state, out_pos, 56);
KHO_ABI_OFFSET(struct conn_state, nin, 64);
KHO_ABI_OFFSET(struct conn_state, nout, 68);
KHO_ABI_OFFSET(struct conn_state, verb, 72);
KHO_ABI_OFFSET(struct conn_state, noreply, 73);
KHO_ABI_OFFSET(struct conn_state, data, 74);
KHO_ABI_OFFSET(struct record, token, 0);
KHO_ABI_OFFSET(struct record, in_pos, 8);
KHO_ABI_OFFSET(struct record, out_pos, 16);
KHO_ABI_OFFSET(struct record, done, 24);
KHO_ABI_OFFSET(struct record, swallow_to, 32);
KHO_ABI_OFFSET(struct record, item, 40);
KHO_ABI_OFFSET(struct record, item_pos, 48);
KHO_ABI_OFFSET(struct record, linked, 56);
KHO_ABI_OFFSET(struct record, cas, 64);
KHO_ABI_OFFSET(struct record, exptime, 72);
KHO_ABI_OFFSET(struct record, verb, 76);
KHO_ABI_OFFSET(struct record, noreply, 77);
KHO_ABI_OFFSET(struct record, prefix, 78);
KHO_ABI_SIZE(struct record, 80);
KHO_ABI_OFFSET(struct journal, now, 0);
KHO_ABI_OFFSET(struct journal, slot, 8);
KHO_ABI_OFFSET(struct journal, value, 16);
KHO_ABI_OFFSET(struct journal, then, 24);
KHO_ABI_OFFSET(struct journal, item, 32);
KHO_ABI_OFFSET(struct journal, out, 40);
KHO_ABI_OFFSET(struct journal, record, 48);
KHO_ABI_OFFSET(struct journal, in, 208);
KHO_ABI_OFFSET(struct conn_table, token_limit, 0);
KHO_ABI_OFFSET(struct conn_table, journal, 8);
KHO_ABI_OFFSET(struct conn_table, chunk, 520);
KHO_ABI_SIZE(struct conn_table, 1032);

#endif
