// SPDX-License-Identifier: GPL-2.0-only
/* Which of the tests of ours alone, and what they share. */
#include <linux/string.h>

#include "ours.h"

static const struct {
	const char *name;
	int (*run)(const struct kho_vm_request *request, struct kho_vm_tally *tally);
} tests[] = {
	{"array", kho_vm_array},
	{"slab", kho_vm_slab},
	{"types", kho_vm_types},
};

int kho_vm_ours(const char *what, const struct kho_vm_request *request)
{
	struct kho_vm_tally tally = {};
	unsigned int i;
	int err;

	for (i = 0; i < ARRAY_SIZE(tests) && strcmp(what, tests[i].name); i++)
		;
	if (i == ARRAY_SIZE(tests))
		return -ENOENT;
	err = tests[i].run(request, &tally);
	pr_info("kho_vm: %s: boot %u, %lu checked, %lu faults\n", what, request->hop, tally.checks,
		tally.faults);
	if (!err && !tally.checks)
		return -ENODATA;
	return err ?: tally.faults ? -EBADMSG : 0;
}

static void *restored_record(const char *name)
{
	struct folio *folio;
	phys_addr_t pa;
	size_t size;
	int err;

	if (kho_retrieve_subtree(name, &pa, &size))
		return NULL;
	folio = size == PAGE_SIZE ? kho_restore_folio(pa) : NULL;
	if (!folio)
		return ERR_PTR(-EBADMSG);
	err = kho_preserve_folio(folio);
	return err ? ERR_PTR(err) : folio_address(folio);
}

void *kho_vm_record(const char *name)
{
	void *record = restored_record(name);
	int err;

	if (!record)
		record = kho_alloc_preserve(PAGE_SIZE);
	if (IS_ERR(record))
		return record;
	err = kho_add_subtree(name, record, PAGE_SIZE);
	return err ? ERR_PTR(err) : record;
}

void kho_vm_record_free(void *record)
{
	kho_remove_subtree(record);
	kho_unpreserve_free(record);
}
