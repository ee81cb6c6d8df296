/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Slabs of objects that are handed over, "slab-v1", and the records of named caches.
 * kho/abi/slab.h describes them in full.
 */
#ifndef _LINUX_KHO_ABI_SLAB_H
#define _LINUX_KHO_ABI_SLAB_H

#include <kho/abi/slab.h>

#define KHO_SLAB_COMPATIBLE KHO_ABI_SLAB_COMPATIBLE

#endif /* _LINUX_KHO_ABI_SLAB_H */
