// SPDX-License-Identifier: GPL-2.0-only
/*
 * What our handovers are made of, and what we read. A part's version is its own: a handover with a
 * part that we do not know is refused by the name of that part.
 */
#define pr_fmt(fmt) "KHO: " fmt

#include <linux/kernel.h>
#include <linux/kho/abi/compat.h>
#include <linux/kho/abi/kexec_handover.h>
#include <linux/printk.h>
#include <linux/string.h>

#include <kho/core/compat.h>

#include "kexec_handover_internal.h"

const char kho_compat_writes[] = KHO_FDT_COMPATIBLE KHO_SUB_COMPAT(KHO_BLOCK_COMPATIBLE)
	KHO_SUB_COMPAT(KHO_RADIX_COMPATIBLE) KHO_SUB_COMPAT(KHO_VMALLOC_COMPATIBLE);

static const struct khoc_compat_reads reads[] = {
	{"kho", 4, 4, true},
	{"block", 1, 1, false},
	{"radix", 1, 1, false},
	{"vmalloc", 1, 1, false},
};

/*
 * Hold the root FDT's compatibility string, if it has one, against what we read. Linux 7.2 has
 * none, and writes the versions above.
 *
 * Return: 0 or a fault.
 */
int kho_compat_check_root(const void *fdt, phys_addr_t fdt_phys, struct khoc_report *report)
{
	const char *composite = khoc_root_composite(fdt);
	struct khoc_compat_why why;
	char text[160];
	int err;

	if (!composite)
		return 0;
	err = khoc_compat_match(composite, strlen(composite) + 1, reads, ARRAY_SIZE(reads), &why);
	if (!err)
		return 0;
	pr_err("\"%s\": %s\n", composite, khoc_compat_text(&why, text, sizeof(text)));
	*report = (struct khoc_report){
		.fault = -err,
		.structure = KHOC_S_ROOT_FDT,
		.level = -1,
		.addr = fdt_phys + (composite - (const char *)fdt),
		.value = why.version,
		.limit = why.max,
		.field = "compatible",
	};
	return err;
}
