/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a handover is made of, as one string: a base and parts, each NAME-vNUMBER. The parts follow
 * the base in the order of strcmp(), each once. kho/abi/compat.h has the rules, formats.h the
 * versions.
 */
#ifndef _LINUX_KHO_ABI_COMPAT_H
#define _LINUX_KHO_ABI_COMPAT_H

#include <linux/align.h>

/* A part, behind a base or another part. */
#define KHO_SUB_COMPAT(str) ";" str
/* Bytes that a string takes in a structure. */
#define KHO_COMPAT_ALIGN(str) ALIGN(sizeof(str), 8)

#endif /* _LINUX_KHO_ABI_COMPAT_H */
