/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Of a program whose library is another one, before anything else: it reads and writes no blocks, or
 * version 2 of them alone if OTHER_BLOCK is 2.
 */
#ifndef KHO_TESTS_OTHER_BLOCK_H
#define KHO_TESTS_OTHER_BLOCK_H

#include <kho/abi/format.h>

#undef KHO_ABI_LIBRARY_FORMATS
#define KHO_ABI_LIBRARY_FORMATS(X)                                                                 \
	X("arena", 1, 1, 1, 0)                                                                     \
	X("array", 1, 1, 1, KHO_ABI_FORMAT_PART)                                                   \
	OTHER_BLOCK_LINE(X)                                                                        \
	X("handover", 1, 1, 1, 0)                                                                  \
	X("kho", 4, 4, 4, 0)                                                                       \
	X("radix", 1, 1, 1, 0)                                                                     \
	X("session", 1, 1, 1, KHO_ABI_FORMAT_PART)                                                 \
	X("slab", 1, 1, 1, 0)                                                                      \
	X("vmalloc", 1, 1, 1, KHO_ABI_FORMAT_PART)

#if OTHER_BLOCK == 2 /* plain numbers: the assembler reads them, too */
#define OTHER_BLOCK_LINE(X) X("block", 2, 2, 2, KHO_ABI_FORMAT_PART)
#else
#define OTHER_BLOCK_LINE(X)
#endif

#endif
