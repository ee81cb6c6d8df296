/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Faults, kept and explained.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "faults.h"
#include "source.h"
#include "spans.h"

#define NOWHERE 4096U /* nothing lies in the first page: less is a count, or no address at all */

/*
 * The core has one word for what cannot be mapped, whether it is nonsense or not in the dump. Which it is the source
 * knows: what it was asked for is where the report is, or where the word that was found leads to.
 */
static kho_pa_t gap_of(const struct source *s, const struct khoc_report *report)
{
	kho_pa_t at = NO_GAP;

	if (!s || (report->fault != KHO_E_RANGE && report->fault != KHO_E_TRUNCATED &&
		   report->fault != KHO_E_MAGIC))
		return NO_GAP;
	if (report->addr >= NOWHERE && source_is_ram(s, report->addr, 1) &&
	    !source_has(s, report->addr, 1))
		return report->addr;
	if (report->fault == KHO_E_MAGIC)
		return NO_GAP;
	if (report->value >= NOWHERE && report->value < s->mem.size)
		at = source_gap_at(s, report->value);
	return at == NO_GAP && report->addr >= NOWHERE ? source_gap_at(s, report->addr) : at;
}

bool faults_add(struct faults *f, const struct khoc_report *report, const char *what, ...)
{
	kho_pa_t gap = gap_of(f->source, report);
	struct fault *fault;
	va_list args;

	if (f->blind && report->fault == KHO_E_NOT_PRESERVED)
		return true;
	if (gap != NO_GAP)
		f = f->gaps;
	if (f->nr == FAULTS_MAX || array_grow(&f->list, f->nr, sizeof(*f->list))) {
		f->lost++;
		return gap == NO_GAP;
	}
	fault = &f->list[f->nr++];
	fault->report = *report;
	if (gap != NO_GAP)
		fault->report.value = gap;
	if (!fault->report.field)
		fault->report.field = "";
	va_start(args, what);
	vsnprintf(fault->what, sizeof(fault->what), what, args);
	va_end(args);
	return gap == NO_GAP;
}

void faults_free(struct faults *f)
{
	free(f->list);
	*f = (struct faults){0};
}

/* What follows from where the fault is; else from what it is. */
static const char *const by_structure[KHOC_S_MAX] = {
	[KHOC_S_ARENA_HEADER] = "nothing else can be trusted: start afresh (kho run --fresh)",
	[KHOC_S_ROOT_FDT] = "no successor takes this: it boots or starts without handover; name "
			    "another root with --fdt",
	[KHOC_S_RADIX_TABLE] = "what the entry led to is lost to the successor, who refuses the "
			       "whole: find who wrote to a node's page",
	[KHOC_S_RADIX_LEAF] = "the bits name no memory; the successor refuses the whole: find who "
			      "wrote to the leaf's page",
	[KHOC_S_DESC] = "the page is not handed out again, and not restored: unpreserve and "
			"preserve it anew",
	[KHOC_S_METADATA] = "harmless: the successor does not learn who came before",
	[KHOC_S_RESERVE_MEM] = "the region is allocated anew: its contents are lost",
	[KHOC_S_LUO] = "Linux 7.2 panics on it: close the sessions before kexec, or boot with "
		       "kho=off",
	[KHOC_S_LUO_SESSION] = "the sessions cannot be retrieved: their owner has to do without",
	[KHOC_S_LUO_FILE] = "the file cannot be retrieved: its owner has to do without",
	[KHOC_S_MEMFD] = "the file cannot be retrieved: its owner has to do without",
	[KHOC_S_SCRATCH] = "the next kernel has no memory to boot in",
};

static const char *const by_fault[KHO_E_MAX - KHO_E_TRUNCATED] = {
	[KHO_E_VERSION - KHO_E_TRUNCATED] =
		"written by a newer program: use a newer kho, or the program that wrote it",
	[KHO_E_INCOMPATIBLE - KHO_E_TRUNCATED] =
		"written by another version: use a reader that knows it",
	[KHO_E_NOT_PRESERVED - KHO_E_TRUNCATED] =
		"its bytes will be overwritten by the successor: preserve it before it is named",
	[KHO_E_OVERLAP - KHO_E_TRUNCATED] =
		"two owners of one page: whoever restores it second is refused",
	[KHO_E_TRUNCATED - KHO_E_TRUNCATED] = "take the dump or save the file again, whole",
};

const char *report_remedy(const struct khoc_report *report)
{
	int fault = report->fault - KHO_E_TRUNCATED;
	const char *text = NULL;

	if (fault >= 0 && fault < KHO_E_MAX - KHO_E_TRUNCATED)
		text = by_fault[fault];
	if (!text && report->structure >= 0 && report->structure < KHOC_S_MAX)
		text = by_structure[report->structure];
	return text ?: "the successor refuses this structure: its owner has to do without";
}
