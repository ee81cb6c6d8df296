/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * "session-v1": sessions of files in an arena. What they are is luo-v5, where every program that decodes
 * that finds it; this is what it stands on, and what a file's data leads to. docs/abi.md, "session-v1".
 *
 *	root "kho,session" -> kho_abi_session, whose first 32 bytes are the subtree "LUO"
 *	kho_abi_luo_file.data -> kho_abi_session_object
 *	kho_abi_luo_flb.data -> kho_abi_session_object
 *
 * The fds are not in the arena: they go from process to process under the tokens that the objects say.
 */
#ifndef KHO_ABI_SESSION_H
#define KHO_ABI_SESSION_H

#include <kho/abi/layout.h>
#include <kho/abi/luo.h>
#include <kho/types.h>

#define KHO_ABI_SESSION_COMPATIBLE "session-v1"
#define KHO_ABI_SESSION_ROOT "kho,session"
#define KHO_ABI_SESSION_TYPE "kho,session"
#define KHO_ABI_SESSION_VERSION 1

/**
 * struct kho_abi_session - all sessions: an object of the heap
 * @luo: their header
 * @changes: odd while something is changed, and after a death in the middle of that; counts up
 * @dead: pa of an object that no record may lead to any more: whoever attaches frees it if none
 *	does, and leaves it alone if one does; or 0
 * @reserved: 0
 */
struct kho_abi_session {
	struct kho_abi_luo luo;
	__u64 changes;
	__u64 dead;
	__u64 reserved[2];
};

KHO_ABI_SIZE(struct kho_abi_session, 64);
KHO_ABI_OFFSET(struct kho_abi_session, luo, 0);
KHO_ABI_OFFSET(struct kho_abi_session, changes, 32);
KHO_ABI_OFFSET(struct kho_abi_session, dead, 40);
KHO_ABI_OFFSET(struct kho_abi_session, reserved, 48);

#define KHO_ABI_SESSION_FILE_MAGIC 0x3146534bu /* "KSF1" */
#define KHO_ABI_SESSION_FLB_MAGIC 0x3142534bu /* "KSB1" */
#define KHO_ABI_SESSION_STATE_MAX 1024

/**
 * struct kho_abi_session_object - of a file, or of an FLB: an object of the heap
 * @magic: KHO_ABI_SESSION_FILE_MAGIC or KHO_ABI_SESSION_FLB_MAGIC
 * @state_len: bytes of @state, at most KHO_ABI_SESSION_STATE_MAX
 * @number: of a file: the token that its fd travels under is KHO_ABI_SESSION_TOKEN + @number; of an
 *	FLB: its bit in @flbs, 0 to 63. Unique
 * @data: the handler's, or the FLB's
 * @flbs: of a file: those that it needs, a bit each; of an FLB: 0
 * @state: the handler's, or the FLB's
 */
struct kho_abi_session_object {
	__u32 magic;
	__u32 state_len;
	__u64 number;
	__u64 data;
	__u64 flbs;
	__u8 state[];
};

KHO_ABI_SIZE(struct kho_abi_session_object, 32);
KHO_ABI_OFFSET(struct kho_abi_session_object, magic, 0);
KHO_ABI_OFFSET(struct kho_abi_session_object, state_len, 4);
KHO_ABI_OFFSET(struct kho_abi_session_object, number, 8);
KHO_ABI_OFFSET(struct kho_abi_session_object, data, 16);
KHO_ABI_OFFSET(struct kho_abi_session_object, flbs, 24);
KHO_ABI_OFFSET(struct kho_abi_session_object, state, 32);

/* Tokens of sessions' fds, from here to KHO_ABI_SESSION_NUMBERS behind. */
#define KHO_ABI_SESSION_TOKEN 0xfffffffe00000000ULL
#define KHO_ABI_SESSION_NUMBERS 0x100000000ULL

/* A kind of file in HELLO and WELCOME: this, and the name of the handler's base or part. */
#define KHO_ABI_SESSION_KIND "file,"

/* What the library hands over by itself: the kinds' bases, each in version 1; their data is 0. */
#define KHO_ABI_SESSION_LISTEN "fd-listen-v1"
#define KHO_ABI_SESSION_SOCKET "fd-socket-v1" /* one that does not listen */
#define KHO_ABI_SESSION_PIPE "fd-pipe-v1"
#define KHO_ABI_SESSION_EVENTFD "fd-eventfd-v1"
#define KHO_ABI_SESSION_TIMERFD "fd-timerfd-v1"
#define KHO_ABI_SESSION_MEMORY "fd-memory-v1"
#define KHO_ABI_SESSION_FILE "fd-file-v1"

#endif
