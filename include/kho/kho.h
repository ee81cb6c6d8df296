/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The core of libkho: formats of a handover as algorithms on any image, without
 * globals, I/O or a C library. Both hosts are built on it; a program normally
 * wants <kho/host.h> instead. Each structure has a header of its own under <kho/core/>.
 *
 * Errors. Functions return 0 or a negative number: an errno where one fits, else
 * a fault of <kho/core/report.h>. Nothing here asserts on what an image contains.
 *
 * Memory. The core never dereferences an address that it did not get from
 * khoc_map(), and never takes a step through incoming bytes without a bound.
 *
 * Context. Nothing sleeps or locks. Functions are reentrant; what may run at
 * the same time as what is said at each object.
 */
#ifndef KHO_KHO_H
#define KHO_KHO_H

#include <kho/core/arena.h>
#include <kho/core/array.h>
#include <kho/core/block.h>
#include <kho/core/block_types.h>
#include <kho/core/compat.h>
#include <kho/core/fdt.h>
#include <kho/core/image.h>
#include <kho/core/kernel_info.h>
#include <kho/core/luo.h>
#include <kho/core/memfd.h>
#include <kho/core/metadata.h>
#include <kho/core/radix.h>
#include <kho/core/report.h>
#include <kho/core/reserve_mem.h>
#include <kho/core/root.h>
#include <kho/core/slab.h>
#include <kho/core/sparse_memfd.h>
#include <kho/core/vmalloc.h>

#endif
