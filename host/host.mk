# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# The arena and what lies in it; then ownership and hand-over.
KHO_HOST_MEMORY_SRCS := arena.c image.c node.c prefault.c error.c hbitmap.c page.c \
	preserve.c unclaimed.c vmalloc.c slab.c large.c heap.c publish.c subtree.c migrate.c
KHO_HOST_LIFE_SRCS := owner.c proc.c fdtable.c quiesce.c message.c environ.c formats.c note.c keeper.c \
	predecessor.c inplace.c successor.c life.c
KHO_HOST_SRCS := $(KHO_HOST_MEMORY_SRCS) $(KHO_HOST_LIFE_SRCS)
