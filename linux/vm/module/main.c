// SPDX-License-Identifier: GPL-2.0-only
/* What to do, from the module's parameters. */
#include <linux/module.h>
#include <linux/string.h>

#include "kho_vm.h"
#ifdef KHO_VM_OURS
#include "ours.h"
#endif

static char *todo = "";
module_param_named(do, todo, charp, 0);
static struct kho_vm_request request = {.seed = 1, .nr = 65536, .orders = 18};
module_param_named(nr, request.nr, ulong, 0);
module_param_named(seed, request.seed, ulong, 0);
module_param_named(pa, request.pa, ulong, 0);
module_param_named(pages, request.pages, ulong, 0);
module_param_named(orders, request.orders, uint, 0);
module_param_named(hop, request.hop, uint, 0);
module_param_named(last, request.last, bool, 0);

/* Return: -ENOENT if it is not one of those. */
static int run_ours(void)
{
#ifdef KHO_VM_OURS
	return kho_vm_ours(todo, &request);
#else
	return -ENOENT;
#endif
}

static int __init kho_vm_init(void)
{
	int err;

	if (!kho_is_enabled())
		return -EOPNOTSUPP;
	err = run_ours();
	if (err != -ENOENT)
		;
	else if (!strcmp(todo, "check"))
		err = kho_vm_check();
	else if (!strcmp(todo, "speed"))
		err = kho_vm_speed(&request);
	else
		err = kho_vm_make(todo, &request);
	pr_info("kho_vm: %s: %d\n", todo, err);
	return err;
}

static void __exit kho_vm_exit(void)
{
	/* What was preserved stays, for the next kernel. */
}

module_init(kho_vm_init);
module_exit(kho_vm_exit);
MODULE_DESCRIPTION("Preserves memory for the tests of libkho");
MODULE_LICENSE("GPL");
