/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What is wrong with an image, where and why: faults, structures, reports. */
#ifndef KHO_CORE_REPORT_H
#define KHO_CORE_REPORT_H

#include <kho/types.h>

/**
 * enum khoc_fault - what is wrong with an image; functions return them negated
 *
 * The numbers are stable. They start above every errno and fit ERR_PTR().
 */
enum khoc_fault {
	KHO_E_TRUNCATED = 4000, /* a structure ends outside the bytes that there are */
	KHO_E_MAGIC = 4001, /* not this structure at all */
	KHO_E_VERSION = 4002, /* a version or feature that this reader does not know */
	KHO_E_CHECKSUM = 4003, /* a checksum does not match */
	KHO_E_ALIGN = 4004, /* an address that must be aligned is not */
	KHO_E_RANGE = 4005, /* an address or count outside its limits */
	KHO_E_CYCLE = 4006, /* a node reached twice: a loop, or two parents */
	KHO_E_KEY = 4007, /* a tree key that no block of this image can have */
	KHO_E_OVERLAP = 4008, /* preserved memory overlaps memory that must not be */
	KHO_E_FORMAT = 4009, /* a token, name, property or field that the format forbids */
	KHO_E_DUPLICATE = 4010, /* one name twice */
	KHO_E_INCOMPATIBLE = 4011, /* well formed, but of a format that this reader does not take */
	KHO_E_TYPE = 4012, /* a block is not of the type asked for */
	KHO_E_ORDER = 4013, /* a block is not of the order asked for, or two records disagree */
	KHO_E_NOT_PRESERVED = 4014, /* nothing preserved there */
	KHO_E_CLAIMED = 4015, /* restored before */
	KHO_E_STATE = 4016, /* an object is in a state that the format does not have */
	KHO_E_MAX = 4017,
};

/* Which structure a report is about. */
enum khoc_structure {
	KHOC_S_NONE,
	KHOC_S_ARENA_HEADER,
	KHOC_S_ROOT_FDT,
	KHOC_S_SUBTREE,
	KHOC_S_RADIX_TABLE,
	KHOC_S_RADIX_LEAF,
	KHOC_S_DESC,
	KHOC_S_SLAB,
	KHOC_S_LARGE,
	KHOC_S_INTENT,
	KHOC_S_CELL,
	KHOC_S_OWNER,
	KHOC_S_METADATA,
	KHOC_S_VMALLOC,
	KHOC_S_VMALLOC_CHUNK,
	KHOC_S_BLOCK,
	KHOC_S_LUO,
	KHOC_S_LUO_SESSION,
	KHOC_S_LUO_FILE,
	KHOC_S_LUO_FLB,
	KHOC_S_MEMFD,
	KHOC_S_RESERVE_MEM,
	KHOC_S_CACHE,
	KHOC_S_ARRAY,
	KHOC_S_ARRAY_NODE,
	KHOC_S_SCRATCH,
	KHOC_S_KERNEL_INFO,
	KHOC_S_FORMATS,
	KHOC_S_TYPES,
	KHOC_S_MAX,
};

/**
 * struct khoc_report - why something was refused
 * @fault: enum khoc_fault, or 0 when all is well
 * @structure: enum khoc_structure: what was being read
 * @level: level of the tree (0 = leaf), -1 where there is none
 * @addr: address in the image of the word, or start of the structure, at fault
 * @value: what was found
 * @limit: what it was held against (an upper bound, an expected value); 0 where
 *	there is none
 * @field: the field's or property's name as in docs/abi.md; a string constant,
 *	never NULL
 */
struct khoc_report {
	int fault;
	int structure;
	int level;
	__u64 addr;
	__u64 value;
	__u64 limit;
	const char *field;
};

/* A fault's meaning as one lower-case sentence without a full stop; never NULL. */
const char *khoc_fault_text(int fault);
/* A structure's name as in docs/abi.md; never NULL. */
const char *khoc_structure_text(int structure);

#endif
