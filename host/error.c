/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The last error of each thread, in words: which structure, at which address, against
 * which limit, and what to do about it.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "arena.h"

static __thread char last_error[320];

int kho_fail_(int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(last_error, sizeof(last_error), format, args);
	va_end(args);
	return error;
}

const char *kho_report_text_(const struct khoc_report *report, char *text, size_t size)
{
	char level[24] = "", limit[48] = "";

	if (report->level >= 0)
		snprintf(level, sizeof(level), ", level %d", report->level);
	if (report->limit)
		snprintf(limit, sizeof(limit), ", held against %#llx",
			 (unsigned long long)report->limit);
	snprintf(text, size, "%s%s%s at %#llx%s: %s (found %#llx%s)",
		 report->structure ? khoc_structure_text(report->structure) : "",
		 report->structure ? ": " : "", report->field, (unsigned long long)report->addr,
		 level, khoc_fault_text(report->fault), (unsigned long long)report->value, limit);
	return text;
}

int kho_fail_report_(const struct khoc_report *report)
{
	kho_report_text_(report, last_error, sizeof(last_error));
	return -report->fault;
}

const char *kho_error(void)
{
	return last_error;
}
