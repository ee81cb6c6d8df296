/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Compile-time proof that a structure lies in memory as docs/abi.md says.
 * The second operand is always a literal: a reviewer reads the layout here,
 * and a change of it does not compile until somebody writes a new number.
 */
#ifndef KHO_ABI_LAYOUT_H
#define KHO_ABI_LAYOUT_H

#define KHO_ABI_SIZE(type, size) _Static_assert(sizeof(type) == (size), #type " changed size")
#define KHO_ABI_OFFSET(type, field, offset)                                                        \
	_Static_assert(__builtin_offsetof(type, field) == (offset), #type "." #field " moved")

#endif
