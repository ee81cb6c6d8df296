/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The header of an arena, "arena-v1", and the records that check themselves. */
#ifndef KHO_CORE_ARENA_H
#define KHO_CORE_ARENA_H

#include <stddef.h>

#include <kho/abi/arena.h>
#include <kho/core/report.h>
#include <kho/types.h>

/* CRC-32C (Castagnoli, reflected, start and final XOR all ones) of @len bytes; @crc is 0 or the result so far. */
__u32 khoc_crc32c(__u32 crc, const void *data, size_t len);

/* Encode a checked word: @value below 2^48, @salt its offset in the page. */
kho_abi_cword_t khoc_cword(__u64 value, __u16 salt);

/* Decode a checked word. Return: 0, or -KHO_E_CHECKSUM. */
int khoc_cword_get(kho_abi_cword_t word, __u16 salt, __u64 *value);

/* Make a page descriptor of a type and an order below 64. */
kho_abi_desc_t khoc_desc(unsigned int type, unsigned int order);

/* Take it apart. Return: 0, or -KHO_E_CHECKSUM (for a type that does not exist as well). 0 decodes as KHO_ABI_DESC_NONE. */
int khoc_desc_get(kho_abi_desc_t desc, unsigned int *type, unsigned int *order);

/**
 * khoc_arena_geometry() - where an arena of this size keeps what
 * @max_size: a multiple of 128 MiB up to 2^47, or any multiple of 4096 below 128 MiB
 *	that leaves 64 KiB of data
 * @header: nodes_pa, descs_pa, data_pa, tree_root_pa and max_size are filled in
 *
 * The rule is in <kho/abi/arena.h>.
 *
 * Return: 0, -EINVAL.
 */
int khoc_arena_geometry(__u64 max_size, struct kho_abi_arena_header *header);

/**
 * khoc_arena_check() - check a header
 * @header: @len bytes, untrusted
 * @file_size: what fstat() says
 *
 * Magic, header size, version, features, CRC, then every address against what
 * khoc_arena_geometry() gives for the same size, then the three checked words.
 * @file_size is a multiple of 4096 from data_pa to max_size. Unknown bits of
 * features_ro_compat are no fault: whoever means to write has to look at them.
 *
 * Return: 0, or a negative fault that @report explains.
 */
int khoc_arena_check(const struct kho_abi_arena_header *header, size_t len, __u64 file_size,
		     struct khoc_report *report);

#endif
