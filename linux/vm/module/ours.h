/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tests of what a kernel of ours alone has. Each is called once on each boot of a chain, with the
 * number of the boot, and hands over to itself: it checks what it made on the boots before, goes
 * on, and gives it all back on the last.
 */
#ifndef KHO_VM_OURS_H
#define KHO_VM_OURS_H

#include <linux/printk.h>

#include "kho_vm.h"

/* What a test has looked at. The first fault of a boot is shown. */
struct kho_vm_tally {
	unsigned long checks;
	unsigned long faults;
};

#define kho_vm_expect(tally, condition, fmt, ...)                          \
	({                                                                 \
		bool _ok = (condition);                                    \
		(tally)->checks++;                                         \
		if (!_ok && !(tally)->faults++)                            \
			pr_err("kho_vm: fault: " fmt "\n", ##__VA_ARGS__); \
		_ok;                                                       \
	})

/* Return: 0, or why the test could not go on; its faults are in @tally. */
int kho_vm_array(const struct kho_vm_request *request, struct kho_vm_tally *tally);
int kho_vm_slab(const struct kho_vm_request *request, struct kho_vm_tally *tally);
int kho_vm_types(const struct kho_vm_request *request, struct kho_vm_tally *tally);

/* As those of make.c. */
int kho_vm_make_blocks(struct kho_vm_blocks *blocks, const struct kho_vm_request *request);

/* Run the test of a name. Return: -ENOENT: there is none of it; -EBADMSG: there were faults. */
int kho_vm_ours(const char *what, const struct kho_vm_request *request);

/*
 * A page for a test's record, under a subtree of its name: the one that the kernel before handed
 * over if there is one, restored and handed over again; else a new one, of zeroes.
 */
void *kho_vm_record(const char *name);
/* The end of it. */
void kho_vm_record_free(void *record);

#endif
