/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Any bytes as a bzImage, and as a kernel's list alone. What passes is sorted, and what it says of
 * itself is a compatibility string that it can read, as far as it reads what it writes.
 */
#include "fuzz.h"

#include <errno.h>

/* As a string; and which of its parts the list itself could read. */
static void speaks(const struct khoc_kernel_formats *list, bool reads_all)
{
	char string[KHO_ABI_COMPAT_MAX], text[300];
	struct khoc_compat_why why;
	int len, err;

	len = khoc_kernel_writes(list, string, sizeof(string));
	FACT(len == -EINVAL || len == -ENOSPC || (len > 0 && !(len & 7)));
	if (len < 0)
		return;
	FACT(!khoc_compat_check(string, sizeof(string), NULL));
	err = khoc_kernel_match(list, string, sizeof(string), &why);
	FACT(!err || err == -KHO_E_INCOMPATIBLE);
	FACT(!err || !reads_all);
	FACT(strlen(khoc_compat_text(&why, text, sizeof(text))) < sizeof(text) - 1);
	khoc_kernel_match(khoc_kernel_linux(), string, sizeof(string), &why);
}

static void sound(const struct khoc_kernel_formats *list)
{
	struct kho_abi_format f, same;
	char before[sizeof(f.name)] = "";
	bool reads_all = true, base = false;

	FACT(list->nr && list->nr <= KHO_ABI_KERNEL_FORMATS_MAX);
	for (unsigned int i = 0; i < list->nr; i++) {
		khoc_kernel_format(list, i, &f);
		FACT(*f.name && memchr(f.name, 0, sizeof(f.name)));
		FACT(strcmp(before, f.name) < 0);
		FACT(f.reads_min && f.reads_min <= f.reads_max && f.writes_min <= f.writes);
		FACT(!khoc_kernel_find(list, f.name, &same) && !memcmp(&f, &same, sizeof(f)));
		strcpy(before, f.name);
		base |= !strcmp(f.name, KHO_ABI_KERNEL_BASE);
		reads_all &= !f.writes || (f.writes >= f.reads_min && f.writes <= f.reads_max);
	}
	FACT(base);
	speaks(list, reads_all);
}

static void told(int err, const struct khoc_report *report, const struct khoc_kernel_formats *list)
{
	FACT(report->fault == (err == -ENOENT ? 0 : -err));
	FACT(report->field && khoc_fault_text(report->fault));
	FACT(!err || !list->nr);
	if (!err)
		sound(list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct khoc_kernel_formats list;
	struct khoc_report report;
	/* A copy whose end is the allocation's, and that is not aligned. */
	uint8_t *bytes = malloc(size + 1);

	memcpy(bytes + 1, data, size);
	told(khoc_kernel_image(&list, bytes + 1, size, &report), &report, &list);
	told(khoc_kernel_note(&list, bytes + 1, size, 0, &report), &report, &list);
	free(bytes);
	return 0;
}
