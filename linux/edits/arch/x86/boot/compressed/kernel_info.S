# SPDX-License-Identifier: GPL-2.0-only
# What the kernel reads of a handover, outside of what is compressed.
@after kernel_info_var_len_data:
#include <linux/kho/kernel_info.S>
