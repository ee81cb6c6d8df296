/* SPDX-License-Identifier: GPL-2.0-only */
/* Handing over what vmalloc() gave. */
#ifndef _LINUX_KHO_VMALLOC_H
#define _LINUX_KHO_VMALLOC_H

#include <linux/errno.h>
#include <linux/types.h>

struct kho_vmalloc;

#ifdef CONFIG_KEXEC_HANDOVER

int kho_preserve_vmalloc(void *ptr, struct kho_vmalloc *preservation);
void kho_unpreserve_vmalloc(struct kho_vmalloc *preservation);
void *kho_restore_vmalloc(const struct kho_vmalloc *preservation);

#else

static inline int kho_preserve_vmalloc(void *ptr, struct kho_vmalloc *preservation)
{
	return -EOPNOTSUPP;
}

static inline void kho_unpreserve_vmalloc(struct kho_vmalloc *preservation)
{
}

static inline void *kho_restore_vmalloc(const struct kho_vmalloc *preservation)
{
	return NULL;
}

#endif /* CONFIG_KEXEC_HANDOVER */

#endif /* _LINUX_KHO_VMALLOC_H */
