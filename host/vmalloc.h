/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Areas of scattered pages: what the rest of the host needs of them. */
#ifndef KHO_HOST_VMALLOC_H
#define KHO_HOST_VMALLOC_H

#include <kho/types.h>
#include <kho/vmalloc.h>
#include <stdbool.h>

/* Unmap and forget all areas. Nobody uses them any more. */
void kho_vmalloc_forget_(void);

/* Forbid writing to all areas, or allow it again: to find who writes after the grant. */
void kho_vmalloc_protect_(bool on);

/* Mappings that areas use, their guard pages counted. */
__u64 kho_vmalloc_mappings_(void);

#endif
