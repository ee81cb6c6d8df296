# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# The core's sources: the one list that every build reads. A line for each structure.
KHO_CORE_SRCS := report.c checksum.c
KHO_CORE_SRCS += radix.c radix_walk.c radix_check.c
KHO_CORE_SRCS += root.c root_check.c fdt.c
KHO_CORE_SRCS += compat.c kernel_info.c
KHO_CORE_SRCS += arena_check.c
KHO_CORE_SRCS += slab_check.c
KHO_CORE_SRCS += array.c array_shape.c array_walk.c array_check.c
KHO_CORE_SRCS += vmalloc.c
KHO_CORE_SRCS += block.c block_check.c block_types.c
# What Linux hands over.
KHO_CORE_SRCS += luo.c memfd.c metadata.c reserve_mem.c sparse_memfd.c
