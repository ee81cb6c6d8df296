/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Private to sessions: what the arena has of them, as this program found it and changes it.
 *
 *	session_records.c	records in blocks: in and out in one step to any crash
 *	session_index.c		what this program knows of them
 *	session_load.c		what came in, checked; recovery
 *	session.c		the API
 *	session_flb.c		data of a kind
 *	handlers.c		handlers, what they read, who reads what is there
 *	handlers_fd.c		those of the library
 *
 *	number	of a file: its fd's token is KHO_ABI_SESSION_TOKEN + number
 */
#ifndef KHO_HOST_SESSIONS_H
#define KHO_HOST_SESSIONS_H

#include <stdbool.h>
#include <stddef.h>

#include <kho/abi/format.h>
#include <kho/abi/session.h>
#include <kho/session.h>

#include "arena.h"

/* ---- a hash table of what has a key, chained through it ---- */

struct kho_hnode {
	struct kho_hnode *next;
	__u64 key;
};

struct kho_htable {
	struct kho_hnode **buckets;
	__u64 mask;
	__u64 nr;
};

/* Odd, and another one in each process: who chose the keys, a hostile predecessor, does not choose their places. */
extern __u64 kho_hash_factor_;

/* Which of @mask + 1 places, a power of two from 2 on: the top bits of a product depend on all of the key's. */
static inline __u64 kho_hash_place_(__u64 key, __u64 mask)
{
	return (key * kho_hash_factor_) >> __builtin_clzll(mask);
}

/* The key of a text; several may have the same. */
__u64 kho_hash_text_(const char *text);

/* Return: 0, -ENOMEM. */
int kho_hash_add_(struct kho_htable *table, struct kho_hnode *node);
void kho_hash_del_(struct kho_htable *table, struct kho_hnode *node);
/* One of a key, or NULL. */
struct kho_hnode *kho_hash_find_(const struct kho_htable *table, __u64 key);
/* The one whose text, @off bytes behind its node, is @text; @key is that text's. */
struct kho_hnode *kho_hash_find_text_(const struct kho_htable *table, __u64 key, const char *text,
				      size_t off);
/* Any one, or NULL; to take all out, from @from, which is 0 at first. */
struct kho_hnode *kho_hash_any_(const struct kho_htable *table, __u64 *from);
void kho_hash_free_(struct kho_htable *table);

/* ---- session_records.c ------------------------------------------------------ */

struct rec_block;

/* Where a record is: kept up to date as it moves. */
struct rec_ref {
	struct rec_block *block;
	__u32 index;
};

/* A page of records, as it is in the arena; @refs: whose they are. */
struct rec_block {
	struct rec_block *next, *prev;
	struct rec_block *room_next, *room_prev;
	bool has_room;
	kho_pa_t pa;
	__u32 nr;
	struct rec_ref *refs[];
};

/**
 * struct rec_store - a chain of blocks
 * @size: bytes of a record
 * @owner: the record that has the head's word, at @head_off of it; NULL: it is at @head
 * @first_word: what a block begins with, in place of the next one's address, if there is one block only; 0
 * @room: blocks with room
 */
struct rec_store {
	__u32 size;
	__u32 head_off;
	const struct rec_ref *owner;
	__u32 owner_size;
	__u64 *head;
	__u64 first_word;
	struct rec_block *first, *last, *room;
};

void *kho_rec_at_(const struct rec_ref *ref, __u32 size);
/**
 * kho_rec_insert_() - a record, and what its data leads to, in one step to any crash
 * @object: reserved; live with the record; or NULL
 * Return: 0, -ENOMEM, -ENOSPC: nothing changed.
 */
int kho_rec_insert_(struct rec_store *store, struct rec_ref *ref, const void *record, void *object);
/* Take it out, and free its object. Return: 0, -ENOMEM: nothing changed. */
int kho_rec_remove_(struct rec_store *store, struct rec_ref *ref, void *object);
/* Free blocks without records: a death may have left one at the end. Return: 0, -ENOMEM. */
int kho_rec_trim_(struct rec_store *store);
/* A block that is there, behind the last one. NULL: no memory. */
struct rec_block *kho_rec_block_add_(struct rec_store *store, kho_pa_t pa);
/* The record behind those of the block; it is there already. */
void kho_rec_adopt_(struct rec_store *store, struct rec_block *block, struct rec_ref *ref);
/* Forget what is private. */
void kho_rec_forget_(struct rec_store *store);
/* Have a page at hand, so that what is removed finds one. Return: 0, -ENOMEM. */
int kho_rec_spare_(void);
/* The arena is not ours any more: it was reserved only, whoever owns the arena next finds it free. */
void kho_rec_spare_forget_(void);

/* ---- the index ------------------------------------------------------------------ */

#define LUO_FLBS_MAX 64 /* bits of a file's flbs; a page has room for 63 */

/* Files of one compatibility string. @handler: the one that reads it, NULL if there is none. */
struct kind {
	struct kho_hnode hash; /* what it begins with */
	struct kind *next, **at;
	unsigned int files;
	struct handler *handler;
	char compatible[KHO_ABI_LUO_HANDLER_LEN + 1];
};

/**
 * struct luo_file - a file of a session
 * @token, @number: hash nodes, in the session's and in the table of all
 * @object: pa
 * @fd: the fd, if this program preserved or retrieved it; else -1
 * @retrieved: it came in, and was asked for
 * @preserved: this program put it in
 */
struct luo_file {
	struct kho_hnode token;
	struct kho_hnode number;
	struct rec_ref ref;
	struct luo_session *session;
	struct kind *kind;
	kho_pa_t object;
	__u64 flbs;
	unsigned int order_at;
	int fd;
	bool retrieved;
	bool preserved;
	bool frozen;
	void *private_data;
};

/**
 * struct luo_session - a session, and its handle
 * @alive: it is in the arena
 * @open: the application has the handle
 */
struct luo_session {
	struct kho_hnode name_hash; /* what it begins with */
	struct luo_session *next, *prev;
	char name[KHO_ABI_LUO_SESSION_NAME_LEN + 1];
	struct rec_ref ref;
	struct rec_store files;
	struct kho_htable tokens;
	struct luo_file **order; /* in which they came, NULL for those that went; for walks */
	unsigned int nr_order, max_order;
	bool alive;
	bool open;
	bool seen; /* by the load under way */
};

/* An FLB that is in the arena. @flb: the application's, if it is registered. */
struct flb_record {
	struct rec_ref ref;
	bool there;
	kho_pa_t object;
	__u64 files;
	char name[KHO_ABI_LUO_FLB_NAME_LEN + 1];
	struct liveupdate_flb *flb;
	void *obj;
	bool preserved; /* by this program */
	bool retrieved;
};

/**
 * struct luo_state - all of it, under @lock
 * @loaded: the index is what the arena has; @as_writer: and we are its writer
 * @changes: of the arena when that was so
 * @head: in the arena, or NULL: no sessions yet
 * @named: the subtree is there, too
 * @walked: number @walked_nr of @list, which a walk was at last; NULL: none since that changed
 * @flb: by bit
 */
struct luo_state {
	pthread_mutex_t lock;
	bool loaded;
	bool as_writer;
	__u64 changes;
	struct kho_abi_session *head;
	bool named;
	struct rec_store sessions;
	struct rec_store flbs;
	struct kho_htable names;
	struct kho_htable numbers;
	struct luo_session *list;
	struct luo_session *walked;
	unsigned int walked_nr;
	struct flb_record flb[LUO_FLBS_MAX];
	struct luo_file **by_fd;
	unsigned int nr_by_fd;
	__u64 next_number;
};

extern struct luo_state kho_luo_;

static inline __u64 kho_file_token_(const struct luo_file *file)
{
	return KHO_ABI_SESSION_TOKEN + file->number.key;
}

static inline bool kho_is_session_token_(__u64 token)
{
	return token - KHO_ABI_SESSION_TOKEN < KHO_ABI_SESSION_NUMBERS;
}

static inline struct kho_abi_session_object *kho_object_at_(kho_pa_t pa)
{
	return (struct kho_abi_session_object *)(kho_arena_.base + pa);
}

/* ---- session_load.c ---- */

/* Make the index current. @refresh: in a rehearsal, too. Return: 0 or negative. */
int kho_luo_load_(bool refresh);
/* ---- session_index.c ---- */

void kho_luo_lock_(void);
/* The same in a call of the API, if the arena may be read. Return: 0; negative: it is not locked. */
int kho_luo_enter_(void);
void kho_luo_unlock_(void);
/* All of it; handles stay, of sessions that are finished. */
void kho_luo_forget_(void);
/* Everything that is changed lies between the two. */
void kho_luo_change_begin_(void);
void kho_luo_change_end_(void);
struct luo_session *kho_luo_find_session_(const char *name);
struct luo_session *kho_luo_new_session_(const char *name);
/* From 0; NULL: there are fewer. One step for the number behind that of the last call. */
struct luo_session *kho_luo_session_nth_(unsigned int nth);
struct luo_file *kho_luo_find_file_(const struct luo_session *session, __u64 token);
/* Into the tables. Return: 0, -ENOMEM: @file is not freed. */
int kho_luo_file_add_(struct luo_session *session, struct luo_file *file);
/* One that is in no table. */
void kho_luo_file_free_(struct luo_file *file);
/* Out of all tables, and freed. */
void kho_luo_file_forget_(struct luo_file *file);
/* Out of the index; freed, if nobody has the handle. */
void kho_luo_session_forget_(struct luo_session *session);
/* @file has @fd from now on; -1: none. Return: 0, -ENOMEM. */
int kho_luo_set_fd_(struct luo_file *file, int fd);

/* ---- for the rest of the host ---- */

/* Another writer may come, or was there: look again before the next use. */
void kho_sessions_stale_(void);
/* The arena is unmapped: forget everything. */
void kho_sessions_drop_(void);
/* The owner, when there is time: recovery, and fds of sessions that no session has any more are closed. */
void kho_sessions_settle_(void);
/* Hand-over: workers are parked. Return: 0 or what a handler said. */
int kho_sessions_freeze_(void);
/* It came to nothing. */
void kho_sessions_unfreeze_(void);
/* Is every kind of file that is in sessions among what @theirs read? Return: 0, -KHO_E_INCOMPATIBLE. */
int kho_sessions_readable_(const struct kho_abi_format *theirs, unsigned int nr);

/* ---- handlers.c ---- */

#define HANDLER_READS_MAX 8
#define HANDLER_FLBS_MAX 8

/* A registered handler. @reads: the base first. @names: of @reads, where they come from what it writes. */
struct handler {
	struct handler *next;
	struct liveupdate_file_handler *public;
	struct liveupdate_reads reads[HANDLER_READS_MAX];
	unsigned int nr_reads;
	struct liveupdate_flb *flbs[HANDLER_FLBS_MAX];
	unsigned int nr_flbs;
	bool builtin;
	char names[64];
};

/* The one that takes @fd; NULL. */
struct handler *kho_handler_for_fd_(int fd);
/* The one that reads @compatible; NULL: kho_error() says why not. */
struct handler *kho_handler_for_(const char *compatible);
struct handler *kho_handler_find_(const struct liveupdate_file_handler *public);
/* Is FLB @name of any handler? */
struct liveupdate_flb *kho_handler_flb_(const char *name);
/* Formats that say what the registered handlers read. Return: how many. @max: no more than that. */
unsigned int kho_handlers_formats_(struct kho_abi_format *formats, unsigned int max);
unsigned int kho_handlers_nr_formats_(void);
/* Has any of them something to say when the workers are parked? */
bool kho_handlers_freeze_(void);
/* A file more of a kind. NULL: no memory. */
struct kind *kho_kind_get_(const char *compatible);
/* And one less. */
void kho_kind_put_(struct kind *kind);
/* Successor: what the predecessor, which may have to go on with the arena, reads. */
void kho_handlers_welcome_(const struct kho_abi_format *theirs, unsigned int nr);
/* May a file of this kind come into a session? Return: 0, -KHO_E_INCOMPATIBLE. */
int kho_handlers_may_use_(const char *compatible);

extern struct liveupdate_file_handler kho_fd_handlers_[];
extern const unsigned int kho_nr_fd_handlers_;

/* ---- session_flb.c ---- */

/* The FLBs that files of @handler need: there, a file more each. @mask: their bits. Return: 0, negative: none of it. */
int kho_flbs_take_(struct handler *handler, __u64 *mask);
/* A file less. */
void kho_flbs_drop_(__u64 mask);
/* Those in @mask have a file more: it is being counted at load. */
void kho_flbs_count_(__u64 mask);
/* Recovery: counts are what files there are; an FLB without is freed. */
void kho_flbs_settle_(void);
void kho_flb_registered_(struct liveupdate_flb *flb);

#endif
