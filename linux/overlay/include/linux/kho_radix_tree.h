/* SPDX-License-Identifier: GPL-2.0-only */
/* The name of old; see linux/kho/radix_tree.h. */
#include <linux/kho/radix_tree.h>
