/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Private: what writer and checker of the root FDT agree on. */
#ifndef KHO_CORE_ROOT_PRIVATE_H
#define KHO_CORE_ROOT_PRIVATE_H

#include "mem.h"

/* No FDT is larger: its readers count in ints. */
#define ROOT_FDT_MAX 0x7fffffff

/* May a subtree have this name? It has @len bytes without its NUL. */
khoc_inline bool root_name_ok(const char *name, size_t len)
{
	if (!len || len > KHO_ABI_ROOT_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!name_char_ok(name[i]) && name[i] != ',' && name[i] != '.')
			return false;
	return true;
}

/* Is an entry of the root's "compatible", @len bytes without its NUL, exactly what Linux asks for? */
khoc_inline bool root_is_plain(const char *entry, size_t len)
{
	return len == sizeof(KHO_ABI_ROOT_COMPATIBLE) - 1 &&
	       !memcmp(entry, KHO_ABI_ROOT_COMPATIBLE, len);
}

/* Is it a compatibility string of our base with at least one part? */
khoc_inline bool root_is_composite(const char *entry, size_t len)
{
	size_t base = sizeof(KHO_ABI_ROOT_COMPATIBLE) - 1;

	return len > base && !memcmp(entry, KHO_ABI_ROOT_COMPATIBLE ";", base + 1);
}

#endif
