/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Backend: an arena, of a process or saved in a file.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <kho/core/arena.h>

#include "arena.h"
#include "faults.h"
#include "source.h"
#include "tool.h"

int source_arena_open(struct source *s)
{
	static unsigned char page[KHO_ABI_ARENA_PAGE_SIZE] __attribute__((aligned(8)));
	struct khoc_report report;
	ssize_t n = pread(s->fd, page, sizeof(page), 0);
	char why[512];

	s->kind = SOURCE_ARENA;
	s->shift = KHO_ABI_ARENA_PAGE_SHIFT;
	s->shifts = 1ULL << s->shift;
	if (n < 0) {
		complain("%s: %s", s->name, strerror(errno));
		return -errno;
	}
	if (khoc_arena_check((const void *)page, (size_t)n, s->file_size, &report)) {
		complain("%s: %s", s->name, kho_report_text_(&report, why, sizeof(why)));
		return -report.fault;
	}
	memcpy(&s->header, page, sizeof(s->header));
	s->mem.size = s->file_size;
	s->mem.node_lo = s->header.nodes_pa;
	s->mem.node_hi = s->header.descs_pa;
	if (source_add_piece(s, 0, s->file_size, 0) || source_add_ram(s, 0, s->file_size))
		return -ENOMEM;
	return 0;
}
