/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Reading what Linux's live update orchestrator handed over: "luo-v5".
 *
 * Made for a caller that prints everything: what could be read is filled in also when it is at
 * fault, and a record at fault does not end the walk. Bytes are untrusted, and copied once. Every
 * walk is bounded, whether or not anything was checked before. Nothing is written.
 *
 * Walks return 0 with a record; a fault with the record it is about (its @pa is not 0), or with
 * none (@pa 0: the chain cannot be followed further); -ENOENT at the end and ever after.
 */
#ifndef KHO_CORE_LUO_H
#define KHO_CORE_LUO_H

#include <kho/abi/luo.h>
#include <kho/core/block.h>
#include <kho/core/image.h>
#include <kho/core/report.h>

/**
 * struct khoc_luo - the header
 * @mem, @shift: the image
 * @pa: where the header is
 * @compatible: NUL-terminated, as it is there
 * @liveupdate_num, @sessions_pa, @flbs_pa: as struct kho_abi_luo says
 */
struct khoc_luo {
	const struct khoc_mem *mem;
	unsigned int shift;
	kho_pa_t pa;
	char compatible[KHO_ABI_LUO_COMPATIBLE_LEN + 1];
	__u64 liveupdate_num;
	kho_pa_t sessions_pa;
	kho_pa_t flbs_pa;
};

/**
 * khoc_luo_open() - read the header
 * @shift: log2 of the page size
 * @pa, @size: the blob of the subtree KHO_ABI_LUO_NODE
 *
 * Return: 0; -KHO_E_TRUNCATED, -KHO_E_RANGE: nothing could be read; -KHO_E_INCOMPATIBLE: @luo is
 * filled in (Linux 7.2 panics).
 */
int khoc_luo_open(struct khoc_luo *luo, const struct khoc_mem *mem, unsigned int shift, kho_pa_t pa,
		  __u64 size, struct khoc_report *report);

/**
 * struct khoc_luo_records - a walk through the records of a block set
 * @nr: records that the chain has, as far as it is sound
 *
 * The rest is private. May not be copied: it points into itself.
 */
struct khoc_luo_records {
	__u64 nr;
	struct khoc_block_chain chain;
	struct khoc_block_it it;
	__u64 index;
	bool ended;
};

/**
 * struct khoc_luo_session - a session
 * @pa: of its record
 * @index: from 0
 * @name: NUL-terminated
 * @name_len: bytes before the first NUL; KHO_ABI_LUO_SESSION_NAME_LEN without one
 * @files_pa: first block of its files, or 0
 * @nr_files: how many it says there are
 */
struct khoc_luo_session {
	kho_pa_t pa;
	__u64 index;
	char name[KHO_ABI_LUO_SESSION_NAME_LEN + 1];
	__u32 name_len;
	kho_pa_t files_pa;
	__u64 nr_files;
};

/**
 * khoc_luo_sessions() - start a walk through the sessions
 * @tree: if not NULL, the blocks must be preserved there
 *
 * The chain is checked first, as khoc_block_check() does.
 *
 * Return: 0, -EINVAL (pages too small for a session), or a fault of the chain: what is before it
 * can be walked all the same.
 */
int khoc_luo_sessions(struct khoc_luo_records *walk, const struct khoc_luo *luo,
		      const struct khoc_radix *tree, struct khoc_report *report);

/**
 * khoc_luo_session_next() - the next session
 * Return: as said above; -KHO_E_FORMAT: its name is empty or does not end.
 */
int khoc_luo_session_next(struct khoc_luo_records *walk, struct khoc_luo_session *session,
			  struct khoc_report *report);

/**
 * struct khoc_luo_file - a file of a session
 * @pa: of its record
 * @index: from 0
 * @compatible: its handler; NUL-terminated
 * @compatible_len: bytes before the first NUL; KHO_ABI_LUO_HANDLER_LEN without one
 * @data: the handler's
 * @token: its name in the session
 */
struct khoc_luo_file {
	kho_pa_t pa;
	__u64 index;
	char compatible[KHO_ABI_LUO_HANDLER_LEN + 1];
	__u32 compatible_len;
	__u64 data;
	__u64 token;
};

/**
 * khoc_luo_files() - start a walk through a session's files
 * Return: as khoc_luo_sessions(); -KHO_E_RANGE, too, if the chain has not as many as the session
 * says.
 */
int khoc_luo_files(struct khoc_luo_records *walk, const struct khoc_luo *luo,
		   const struct khoc_luo_session *session, const struct khoc_radix *tree,
		   struct khoc_report *report);

/**
 * khoc_luo_file_next() - the next file
 * Return: as said above; -KHO_E_FORMAT: its handler is empty or does not end.
 */
int khoc_luo_file_next(struct khoc_luo_records *walk, struct khoc_luo_file *file,
		       struct khoc_report *report);

/**
 * khoc_luo_unique_sessions() - is every session's name there once?
 * @work: scratch
 * @nr_work: its words; two for each record of the chain are needed
 *
 * Takes time n log n, whatever the names are.
 *
 * Return: 0, -ENOMEM (@work is too small), -KHO_E_DUPLICATE (the report's @addr is the later
 * of two names, @value the address of the earlier), or what khoc_luo_sessions() says.
 */
int khoc_luo_unique_sessions(const struct khoc_luo *luo, __u64 *work, __u64 nr_work,
			     struct khoc_report *report);

/* The same for the tokens of a session's files. Linux 7.2 does not look. */
int khoc_luo_unique_tokens(const struct khoc_luo *luo, const struct khoc_luo_session *session,
			   __u64 *work, __u64 nr_work, struct khoc_report *report);

/**
 * struct khoc_luo_flb - file-lifecycle-bound data
 * @pa: of its record
 * @index: from 0
 * @name: NUL-terminated
 * @name_len: bytes before the first NUL; KHO_ABI_LUO_FLB_NAME_LEN without one
 * @data, @count: as struct kho_abi_luo_flb says
 */
struct khoc_luo_flb {
	kho_pa_t pa;
	__u64 index;
	char name[KHO_ABI_LUO_FLB_NAME_LEN + 1];
	__u32 name_len;
	__u64 data;
	__u64 count;
};

/**
 * struct khoc_luo_flbs - a walk through the FLBs
 * @pgcnt, @count: what the page's header says
 * @nr: how many there can be of those
 *
 * The rest is private.
 */
struct khoc_luo_flbs {
	__u64 pgcnt;
	__u64 count;
	__u64 nr;
	const struct khoc_luo *luo;
	__u64 index;
};

/**
 * khoc_luo_flbs() - start a walk through the FLBs
 * @luo: must outlive @walk
 *
 * Return: 0; -KHO_E_ALIGN, -KHO_E_RANGE (the page is none of the image; @pgcnt is not 1; @count is
 * more than fit: those that fit can be walked), -EINVAL (pages too small).
 */
int khoc_luo_flbs(struct khoc_luo_flbs *walk, const struct khoc_luo *luo,
		  const struct khoc_radix *tree, struct khoc_report *report);

/**
 * khoc_luo_flb_next() - the next FLB
 * Return: as said above; -KHO_E_FORMAT: its name is empty or does not end; -KHO_E_DUPLICATE: its
 * name was there before (@value of the report: where).
 */
int khoc_luo_flb_next(struct khoc_luo_flbs *walk, struct khoc_luo_flb *flb,
		      struct khoc_report *report);

/**
 * khoc_luo_flb_needed() - is its count one that Linux writes?
 * Linux takes a reference away for each file, and warns if there are not as many. A host that counts anew does not
 * ask.
 *
 * Return: 0; -KHO_E_RANGE.
 */
int khoc_luo_flb_needed(const struct khoc_luo_flb *flb, struct khoc_report *report);

#endif
