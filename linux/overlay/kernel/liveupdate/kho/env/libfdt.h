/* SPDX-License-Identifier: GPL-2.0-only */
/* The core includes it by this name. */
#include <linux/libfdt.h>
