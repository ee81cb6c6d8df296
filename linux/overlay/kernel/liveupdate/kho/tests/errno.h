/* SPDX-License-Identifier: GPL-2.0-only */
/* The core's tests include it by this name; a kernel has no C library. */
#include <linux/errno.h>
