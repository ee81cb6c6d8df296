/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Lists of what is read and written, and how two of them are held against each other: private to the process
 * host and kho(1).
 */
#ifndef KHO_HOST_FORMATS_H
#define KHO_HOST_FORMATS_H

#include <stdbool.h>

#include <kho/abi/format.h>

/*
 * Elements of an array of struct khoc_compat_reads: what we read of a handover that says what it is made of.
 * First the base that all others are parts of.
 */
#define KHO_READS_PART_(name, min, max, writes, flags) {name, min, max, false},
#define KHO_READS_ {"kho", 4, 4, true}, KHO_ABI_LIBRARY_FORMATS(KHO_READS_PART_)

/* The one of that name, or NULL. */
const struct kho_abi_format *kho_format_find_(const struct kho_abi_format *list, unsigned int nr,
					      const char *name);
/* Is @version read? Nobody, NULL, reads nothing. */
bool kho_format_reads_(const struct kho_abi_format *reader, __u32 version);
/* The newest version that @writer can write and @reader, or nobody, reads; 0: there is none. */
__u32 kho_format_common_(const struct kho_abi_format *writer, const struct kho_abi_format *reader);

#endif
