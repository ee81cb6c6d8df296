/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * "save-v1": an arena in an ordinary file, as kho save writes it. docs/abi.md, "save-v1".
 *
 *	struct kho_abi_save
 *	struct kho_abi_save_chunk, what is stored of it; as often as needed, in the order of addresses
 *	struct kho_abi_save_chunk with a length of 0: the end
 */
#ifndef KHO_ABI_SAVE_H
#define KHO_ABI_SAVE_H

#include <kho/abi/layout.h>
#include <kho/types.h>

#define KHO_ABI_SAVE_MAGIC 0x45564153204f484bULL /* bytes "KHO SAVE" */
#define KHO_ABI_SAVE_VERSION 1
#define KHO_ABI_SAVE_CHUNK_MAX 0x100000 /* bytes of the arena in a chunk */

enum kho_abi_save_compression {
	KHO_ABI_SAVE_PLAIN = 0,
	KHO_ABI_SAVE_ZSTD = 1, /* each chunk is a frame of its own, if that is smaller */
};

/**
 * struct kho_abi_save - the beginning
 * @magic: KHO_ABI_SAVE_MAGIC
 * @version: KHO_ABI_SAVE_VERSION
 * @compression: enum kho_abi_save_compression
 * @id: the arena's
 * @arena_size: bytes of its file
 * @max_size: as in its header
 * @reserved: 0
 * @crc: CRC-32C of the bytes before it
 */
struct kho_abi_save {
	__u64 magic;
	__u32 version;
	__u32 compression;
	__u8 id[16];
	__u64 arena_size;
	__u64 max_size;
	__u8 reserved[12];
	__u32 crc;
};

/**
 * struct kho_abi_save_chunk - in front of what is stored of a stretch of the arena
 * @pa: its address: a multiple of 4096, not below the end of the chunk before; at the end: arena_size
 * @len: its bytes: a multiple of 4096, up to KHO_ABI_SAVE_CHUNK_MAX; 0: the end of the file
 * @stored: bytes that follow: 0: zeroes, that are allocated; @len: as they are; less: compressed
 * @data_crc: CRC-32C of what is stored and, if that is compressed, then of the @len bytes that it becomes; 0 if
 *	@stored is 0; at the end: CRC-32C of the crc of the beginning, and of the crc of every chunk, 4 bytes each
 * @crc: CRC-32C of the bytes of this before it
 */
struct kho_abi_save_chunk {
	__u64 pa;
	__u32 len;
	__u32 stored;
	__u32 data_crc;
	__u32 crc;
};

KHO_ABI_SIZE(struct kho_abi_save, 64);
KHO_ABI_OFFSET(struct kho_abi_save, magic, 0);
KHO_ABI_OFFSET(struct kho_abi_save, version, 8);
KHO_ABI_OFFSET(struct kho_abi_save, compression, 12);
KHO_ABI_OFFSET(struct kho_abi_save, id, 16);
KHO_ABI_OFFSET(struct kho_abi_save, arena_size, 32);
KHO_ABI_OFFSET(struct kho_abi_save, max_size, 40);
KHO_ABI_OFFSET(struct kho_abi_save, reserved, 48);
KHO_ABI_OFFSET(struct kho_abi_save, crc, 60);

KHO_ABI_SIZE(struct kho_abi_save_chunk, 24);
KHO_ABI_OFFSET(struct kho_abi_save_chunk, pa, 0);
KHO_ABI_OFFSET(struct kho_abi_save_chunk, len, 8);
KHO_ABI_OFFSET(struct kho_abi_save_chunk, stored, 12);
KHO_ABI_OFFSET(struct kho_abi_save_chunk, data_crc, 16);
KHO_ABI_OFFSET(struct kho_abi_save_chunk, crc, 20);

#endif
