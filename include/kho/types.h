/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Fixed-width types. <linux/types.h> exists in user space and in a kernel
 * alike, so that the same header serves both hosts without a conditional.
 */
#ifndef KHO_TYPES_H
#define KHO_TYPES_H

#include <linux/types.h>

/**
 * typedef kho_pa_t - a physical address: bytes from the start of an image
 *
 * In the process host it is the offset in the arena's file; in Linux it is a
 * phys_addr_t. 0 means "none" wherever an address is optional: page 0 of an
 * image is never handed out.
 */
typedef __u64 kho_pa_t;

#endif
