/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Reading as what the blocks of a handover were preserved: "types-v1". */
#ifndef KHO_CORE_BLOCK_TYPES_H
#define KHO_CORE_BLOCK_TYPES_H

#include <stdbool.h>

#include <kho/abi/block_types.h>
#include <kho/core/image.h>
#include <kho/core/radix.h>
#include <kho/core/report.h>

/**
 * struct khoc_types - the trees that there are; private
 * @has: bit T: there is one of type T
 */
struct khoc_types {
	__u32 has;
	struct khoc_radix tree[KHO_ABI_TYPES];
};

/* Has a type a tree of its own? */
static inline bool khoc_type_has_tree(unsigned int type)
{
	return type == KHO_ABI_TYPE_PAGES || type == KHO_ABI_TYPE_SLAB ||
	       (type >= KHO_ABI_TYPE_STRUCT && type <= KHO_ABI_TYPE_VMALLOC_CHUNK);
}

/* What blocks of a type are, in one word; "unknown" for what is none. Never NULL. */
const char *khoc_type_text(unsigned int type);

/**
 * khoc_types_open() - read the blob of the subtree KHO_ABI_TYPES_NODE
 * @pa, @size: the blob
 *
 * Looks at the blob and at where the roots are; khoc_types_validate() at the trees.
 *
 * Return: 0; -EINVAL (page size); or a negative fault that @report, if not NULL, explains:
 * KHO_E_TRUNCATED, KHO_E_ALIGN or KHO_E_RANGE (where the blob is, or a root), KHO_E_MAGIC,
 * KHO_E_VERSION, KHO_E_FORMAT (@reserved, or a tree of what is no type).
 */
int khoc_types_open(struct khoc_types *types, const struct khoc_mem *mem, unsigned int shift,
		    kho_pa_t pa, __u64 size, struct khoc_report *report);

/**
 * khoc_types_validate() - are the trees sound?
 * @check: as for khoc_radix_validate(), and for all trees: no node may be in two of them
 *
 * Return: as khoc_radix_validate().
 */
int khoc_types_validate(const struct khoc_types *types, const struct khoc_radix_check *check,
			struct khoc_report *report);

/**
 * khoc_types_of() - what is a preserved block?
 * @pa, @order: the block
 *
 * Return: a type; of several (which no writer makes) the lowest.
 */
unsigned int khoc_types_of(const struct khoc_types *types, kho_pa_t pa, unsigned int order);

#endif
