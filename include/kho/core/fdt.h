/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Any flattened device tree (FDT) that somebody else wrote, token by token. For readers of formats
 * that are FDTs: every byte is bounded, each token is read once, and nothing is trusted that was
 * checked before.
 */
#ifndef KHO_CORE_FDT_H
#define KHO_CORE_FDT_H

#include <stdbool.h>

#include <kho/core/image.h>
#include <kho/core/report.h>

/* Tokens of the structure block. */
enum khoc_fdt_token {
	KHOC_FDT_BEGIN = 1,
	KHOC_FDT_END_NODE = 2,
	KHOC_FDT_PROP = 3,
	KHOC_FDT_NOP = 4,
	KHOC_FDT_END = 9,
};

/**
 * struct khoc_fdt - a walk; private
 * @bytes: the FDT
 * @addr: its address, for reports
 * @structure: whose format it is, for reports
 * @total: its size
 * @reserved: the block of reservations
 * @at, @end: the next token, and where the structure block ends
 * @strings, @strings_size: the strings block
 * @strings_end: it ends with a NUL, so that all names in it end
 */
struct khoc_fdt {
	const __u8 *bytes;
	kho_pa_t addr;
	int structure;
	__u32 total;
	__u32 reserved;
	__u32 at;
	__u32 end;
	__u32 strings;
	__u32 strings_size;
	bool strings_end;
};

/**
 * struct khoc_fdt_item - a token
 * @token: enum khoc_fdt_token
 * @at: where it begins, from the FDT's start
 * @name: of a node or property; NUL-terminated when it was read
 * @name_len: its bytes, of a node only
 * @value_at: where a property's value begins
 * @len: its bytes
 */
struct khoc_fdt_item {
	__u32 token;
	__u32 at;
	const char *name;
	__u32 name_len;
	__u32 value_at;
	__u32 len;
};

/**
 * khoc_fdt_init() - check the header, and begin
 * @bytes, @size: what may be read, aligned to 4
 * @addr, @structure: for reports
 *
 * Return: 0 or a fault.
 */
int khoc_fdt_init(struct khoc_fdt *fdt, const void *bytes, size_t size, kho_pa_t addr,
		  int structure, struct khoc_report *report);

/* Does the block of reservations end? What they reserve is not looked at. Return: 0 or a fault. */
int khoc_fdt_check_reserved(const struct khoc_fdt *fdt, struct khoc_report *report);

/**
 * khoc_fdt_next() - the next token
 *
 * How tokens nest is the caller's to see. KHOC_FDT_NOP is passed over. @report is left alone unless there is
 * a fault.
 *
 * Return: 0 or a fault.
 */
int khoc_fdt_next(struct khoc_fdt *fdt, struct khoc_fdt_item *item, struct khoc_report *report);

/* Does a node of this name begin in [@from, @to)? All there was read with khoc_fdt_next() before. */
bool khoc_fdt_has_node(const struct khoc_fdt *fdt, __u32 from, __u32 to, const char *name);

/* Is the node or property of this name? */
bool khoc_fdt_named(const struct khoc_fdt_item *item, const char *name);

/* A property of 8 bytes in the CPU's order. */
__u64 khoc_fdt_u64(const struct khoc_fdt *fdt, const struct khoc_fdt_item *item);

/* Is @string one of the strings that a property lists? */
bool khoc_fdt_lists(const struct khoc_fdt *fdt, const struct khoc_fdt_item *item,
		    const char *string);

#endif
