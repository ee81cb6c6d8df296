/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * "luo-v5": what Linux 7.2's live update orchestrator hands over: sessions of files, and data that
 * belongs to all files of a kind (FLB). docs/abi.md, "luo-v5".
 *
 *	subtree "LUO" -> kho_abi_luo
 *		sessions_pa -> block set of kho_abi_luo_session
 *			files_pa -> block set of kho_abi_luo_file
 *				data -> whatever the file's handler (its @compatible) made of it
 *		flbs_pa -> one page: kho_abi_luo_flb_header, kho_abi_luo_flb ...
 *
 * Names fill their field; one that is shorter ends with a NUL.
 */
#ifndef KHO_ABI_LUO_H
#define KHO_ABI_LUO_H

#include <kho/abi/layout.h>
#include <kho/types.h>

#define KHO_ABI_LUO_NODE "LUO"
#define KHO_ABI_LUO_COMPATIBLE "luo-v5"
#define KHO_ABI_LUO_COMPATIBLE_LEN 8
#define KHO_ABI_LUO_SESSION_NAME_LEN 64
#define KHO_ABI_LUO_HANDLER_LEN 48
#define KHO_ABI_LUO_FLB_NAME_LEN 48
#define KHO_ABI_LUO_FLB_PAGES 1
#define KHO_ABI_LUO_FLB_COUNT_MAX 0x7fffffffULL

/**
 * struct kho_abi_luo - blob of the subtree "LUO"
 * @compatible: KHO_ABI_LUO_COMPATIBLE, the rest NULs
 * @liveupdate_num: how many live updates there were
 * @sessions_pa: pa of the first block of sessions, 0: none
 * @flbs_pa: pa of the page of FLBs, 0: none
 */
struct kho_abi_luo {
	char compatible[KHO_ABI_LUO_COMPATIBLE_LEN];
	__u64 liveupdate_num;
	__u64 sessions_pa;
	__u64 flbs_pa;
};

KHO_ABI_SIZE(struct kho_abi_luo, 32);
KHO_ABI_OFFSET(struct kho_abi_luo, compatible, 0);
KHO_ABI_OFFSET(struct kho_abi_luo, liveupdate_num, 8);
KHO_ABI_OFFSET(struct kho_abi_luo, sessions_pa, 16);
KHO_ABI_OFFSET(struct kho_abi_luo, flbs_pa, 24);

/**
 * struct kho_abi_luo_session - record of the sessions' block set
 * @name: unique
 * @files_pa: pa of the first block of files, 0: none
 * @count: files
 */
struct kho_abi_luo_session {
	char name[KHO_ABI_LUO_SESSION_NAME_LEN];
	__u64 files_pa;
	__u64 count;
};

KHO_ABI_SIZE(struct kho_abi_luo_session, 80);
KHO_ABI_OFFSET(struct kho_abi_luo_session, name, 0);
KHO_ABI_OFFSET(struct kho_abi_luo_session, files_pa, 64);
KHO_ABI_OFFSET(struct kho_abi_luo_session, count, 72);

/**
 * struct kho_abi_luo_file - record of a session's block set of files
 * @compatible: which handler reads @data, and in which version
 * @data: the handler's, mostly a pa
 * @token: by which its owner asks for it; unique in a session
 */
struct kho_abi_luo_file {
	char compatible[KHO_ABI_LUO_HANDLER_LEN];
	__u64 data;
	__u64 token;
};

KHO_ABI_SIZE(struct kho_abi_luo_file, 64);
KHO_ABI_OFFSET(struct kho_abi_luo_file, compatible, 0);
KHO_ABI_OFFSET(struct kho_abi_luo_file, data, 48);
KHO_ABI_OFFSET(struct kho_abi_luo_file, token, 56);

/**
 * struct kho_abi_luo_flb_header - at the start of the page of FLBs
 * @pgcnt: pages: KHO_ABI_LUO_FLB_PAGES
 * @count: records behind this header
 */
struct kho_abi_luo_flb_header {
	__u64 pgcnt;
	__u64 count;
};

KHO_ABI_SIZE(struct kho_abi_luo_flb_header, 16);
KHO_ABI_OFFSET(struct kho_abi_luo_flb_header, pgcnt, 0);
KHO_ABI_OFFSET(struct kho_abi_luo_flb_header, count, 8);

/**
 * struct kho_abi_luo_flb - file-lifecycle-bound data
 * @name: of the kind; unique
 * @data: its owner's
 * @count: files that need it: 1 to KHO_ABI_LUO_FLB_COUNT_MAX; one that nobody needs is not written
 */
struct kho_abi_luo_flb {
	char name[KHO_ABI_LUO_FLB_NAME_LEN];
	__u64 data;
	__u64 count;
};

KHO_ABI_SIZE(struct kho_abi_luo_flb, 64);
KHO_ABI_OFFSET(struct kho_abi_luo_flb, name, 0);
KHO_ABI_OFFSET(struct kho_abi_luo_flb, data, 48);
KHO_ABI_OFFSET(struct kho_abi_luo_flb, count, 56);

#endif
