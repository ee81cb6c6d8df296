/* SPDX-License-Identifier: GPL-2.0-only */
/* The core's headers include it by this name; a kernel has no C library. */
#include <linux/stddef.h>
#include <linux/types.h>
