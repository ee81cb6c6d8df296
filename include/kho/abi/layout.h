/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Compile-time proof that a structure lies in memory as docs/abi.md says.
 * The second operand is always a literal: a reviewer reads the layout here,
 * and a change of it does not compile until somebody writes a new number.
 */
#ifndef KHO_ABI_LAYOUT_H
#define KHO_ABI_LAYOUT_H

#ifdef __cplusplus
#define KHO_ABI_ASSERT static_assert
#else
#define KHO_ABI_ASSERT _Static_assert
#endif

#define KHO_ABI_SIZE(type, size) KHO_ABI_ASSERT(sizeof(type) == (size), #type " changed size")
#define KHO_ABI_OFFSET(type, field, offset)                                                        \
	KHO_ABI_ASSERT(__builtin_offsetof(type, field) == (offset), #type "." #field " moved")

#endif
