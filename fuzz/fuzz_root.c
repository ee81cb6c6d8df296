/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Any bytes as a root FDT. What passes the check can be read, and written anew with one
 * subtree more and one less, and passes again.
 */
#include "fuzz.h"

#include <errno.h>

static void read_all(const void *fdt)
{
	struct khoc_subtree sub, found;
	int pos = 0;

	while (!khoc_root_next(fdt, &pos, &sub)) {
		FACT(strlen(sub.name) <= KHO_ABI_ROOT_NAME_MAX);
		FACT(sub.size <= FUZZ_ROOT_IMAGE && sub.data <= FUZZ_ROOT_IMAGE - sub.size);
		FACT(!sub.type || strlen(sub.type) > 0);
		FACT(!khoc_root_find(fdt, sub.name, &found));
		FACT(found.name == sub.name);
	}
	FACT(khoc_root_tree(fdt) && khoc_root_tree(fdt) < FUZZ_ROOT_IMAGE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct khoc_subtree more = {"fuzz", 0x1000, 1, "type", 1};
	struct khoc_report report;
	struct khoc_subtree found;
	size_t room = size + 4096;
	char *fdt = malloc(size ? size : 1), *to = malloc(room), *back = malloc(room);
	int err;

	memcpy(fdt, data, size);
	err = khoc_root_check(fdt, size, 0x2000, FUZZ_ROOT_IMAGE, &report);
	FACT(report.fault == -err && report.field);
	FACT(!err || (report.fault >= KHO_E_TRUNCATED && report.fault < KHO_E_MAX));
	if (!err) {
		bool there = !khoc_root_find(fdt, "fuzz", &found);

		read_all(fdt);
		err = khoc_root_add(fdt, to, room, &more);
		FACT(err == (there ? -EEXIST : 0));
		if (!err) {
			FACT(!khoc_root_check(to, room, 0, FUZZ_ROOT_IMAGE, NULL));
			read_all(to);
			FACT(!khoc_root_remove(to, back, room, "fuzz"));
			FACT(!khoc_root_check(back, room, 0, FUZZ_ROOT_IMAGE, NULL));
			FACT(khoc_root_tree(back) == khoc_root_tree(fdt));
		}
	}
	free(fdt);
	free(to);
	free(back);
	return 0;
}
