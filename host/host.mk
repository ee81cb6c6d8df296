# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# The arena and what lies in it; then ownership and hand-over.
KHO_HOST_MEMORY_SRCS := arena_file.c arena.c image.c node.c prefault.c error.c hbitmap.c page.c
KHO_HOST_MEMORY_SRCS += preserve.c unclaimed.c
KHO_HOST_MEMORY_SRCS += slab.c cache.c large.c heap.c publish.c
KHO_HOST_MEMORY_SRCS += array.c
KHO_HOST_MEMORY_SRCS += vmalloc.c
KHO_HOST_MEMORY_SRCS += block.c
KHO_HOST_MEMORY_SRCS += subtree.c migrate.c
KHO_HOST_MEMORY_SRCS += hash.c session_records.c session_index.c session_load.c session.c session_flb.c
KHO_HOST_MEMORY_SRCS += handlers.c handlers_fd.c
KHO_HOST_LIFE_SRCS := owner.c proc.c fdtable.c systemd.c quiesce.c message.c environ.c keeper.c
KHO_HOST_LIFE_SRCS += courier.c courier_run.c progress.c
KHO_HOST_LIFE_SRCS += formats.c note.c
KHO_HOST_LIFE_SRCS += liveupdate.c compact.c
KHO_HOST_LIFE_SRCS += predecessor.c inplace.c successor.c life.c
KHO_HOST_SRCS := $(KHO_HOST_MEMORY_SRCS) $(KHO_HOST_LIFE_SRCS)
