/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A sparse array from 64-bit index to a value, "array-v1": a descriptor of 64 bytes in memory of
 * its user's, and pages below it. kho/abi/array.h describes it in full.
 */
#ifndef _LINUX_KHO_ABI_ARRAY_H
#define _LINUX_KHO_ABI_ARRAY_H

#include <kho/abi/array.h>

#define KHO_ARRAY_COMPATIBLE KHO_ABI_ARRAY_COMPATIBLE

#endif /* _LINUX_KHO_ABI_ARRAY_H */
