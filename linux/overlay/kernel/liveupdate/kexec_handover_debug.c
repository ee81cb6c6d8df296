// SPDX-License-Identifier: GPL-2.0-only
/* Checks that cost time wherever memory is preserved. */
#include "kexec_handover_internal.h"

/* Does any of it lie in scratch, where the next kernel will overwrite it? */
bool kho_scratch_overlap(phys_addr_t phys, size_t size)
{
	for (unsigned int i = 0; i < kho_scratch_cnt; i++) {
		const struct kho_scratch *area = &kho_scratch[i];

		if (phys < area->addr + area->size && area->addr < phys + size)
			return true;
	}
	return false;
}
