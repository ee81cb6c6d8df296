/* SPDX-License-Identifier: GPL-2.0-only */
/* The name of old; see linux/kho/block.h. */
#include <linux/kho/block.h>
