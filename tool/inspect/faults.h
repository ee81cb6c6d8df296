/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Everything that is wrong with a source, where, why, and what to do. */
#ifndef KHO_TOOL_FAULTS_H
#define KHO_TOOL_FAULTS_H

#include <stdbool.h>
#include <stddef.h>

#include <kho/core/report.h>

struct source;

/* More are counted, and not kept. */
#define FAULTS_MAX 10000

/* @what: whose structure it is, as "session \"vm\"". */
struct fault {
	struct khoc_report report;
	char what[160];
};

/*
 * @source: whose; what is not in it is no fault: then the report goes to @gaps, and @value is the first byte that is
 *	not there. NULL: no such distinction
 * @blind: not all of the tree is there: nobody can tell what is preserved
 */
struct faults {
	struct fault *list;
	size_t nr;
	size_t lost;
	const struct source *source;
	struct faults *gaps;
	bool blind;
};

/* Of @structure, @field of which is at @addr: what the report of something that is not preserved says. */
static inline struct khoc_report report_unpreserved(int structure, __u64 addr, __u64 value,
						    const char *field)
{
	return (struct khoc_report){.fault = KHO_E_NOT_PRESERVED,
				    .structure = structure,
				    .level = -1,
				    .addr = addr,
				    .value = value,
				    .field = field};
}

/* Keep @report. @what is a format. Return: is it a fault of the image, and not of a dump with gaps? */
bool faults_add(struct faults *f, const struct khoc_report *report, const char *what, ...)
	__attribute__((format(printf, 3, 4)));
void faults_free(struct faults *f);

/* What to do about it, as a sentence without a full stop; never NULL. */
const char *report_remedy(const struct khoc_report *report);

#endif
