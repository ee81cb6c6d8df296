/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Private: the one way from an address of an image to a pointer. */
#ifndef KHO_CORE_MEM_H
#define KHO_CORE_MEM_H

#include "env.h"

#include <kho/kho.h>

/* Do @len bytes at @pa lie in the first @size bytes? No sum is formed, so nothing wraps. */
khoc_inline bool mem_inside(u64 size, kho_pa_t pa, u64 len)
{
	return len <= size && pa <= size - len;
}

/* A letter, a digit, or one of "_+-": what every kind of name may have. */
khoc_inline bool name_char_ok(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '+' || c == '-';
}

/**
 * khoc_map() - address of @len bytes at @pa; @len is not 0
 * Return: NULL if they are not all in the image.
 */
khoc_inline void *khoc_map(const struct khoc_mem *mem, kho_pa_t pa, size_t len)
{
	if (unlikely(!mem_inside(khoc_load(&mem->size), pa, len)))
		return NULL;
	if (likely(mem->linear))
		return (char *)mem->linear + pa;
	return mem->ops->map(mem->ctx, pa, len);
}

/* Fill in a report, if the caller wants one. Return: -@fault. */
khoc_inline int report_fault(struct khoc_report *report, int fault, int structure, int level,
			     u64 addr, u64 value, u64 limit, const char *field)
{
	if (report)
		*report = (struct khoc_report){fault, structure, level, addr, value, limit, field};
	return -fault;
}

khoc_inline void report_clear(struct khoc_report *report)
{
	if (report)
		*report = (struct khoc_report){.level = -1, .field = ""};
}

#endif
