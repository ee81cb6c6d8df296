# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# The core's sources: the one list that every build reads.
KHO_CORE_SRCS := radix.c radix_walk.c radix_check.c root.c root_check.c arena_check.c checksum.c report.c vmalloc.c
KHO_CORE_SRCS += compat.c
