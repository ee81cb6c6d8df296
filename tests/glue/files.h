/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What files.c shares with kho_memfd.c and the boots. */
#ifndef TESTS_GLUE_FILES_H
#define TESTS_GLUE_FILES_H

#include "ours.h"

extern int (*glue_param_parse_sparse)(char *text);
extern int (*glue_initcall)(void);

/* As the tests of linux/vm/module: files with holes, from boot to boot. */
int kho_vm_memfd(const struct kho_vm_request *request, struct kho_vm_tally *tally);

#endif
