/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Private to kho inspect, map, diff and verify: how a model is shown. */
#ifndef KHO_TOOL_VIEWS_H
#define KHO_TOOL_VIEWS_H

#include <stdio.h>

#include "model.h"

/* ---- view_text.c ---- */

/* @blocks: every run of blocks, too. */
void view_text(FILE *out, const struct model *m, bool blocks);
/* How many faults; of each: whose, what, what to do. */
void view_faults(FILE *out, const struct model *m);
/* What could not be looked at, of a dump with gaps. */
void view_gaps(FILE *out, const struct model *m);

const char *machine_name(unsigned int machine);
const char *arena_state(const struct model *m);
/* All memory of the machine, or of the arena's file. */
__u64 source_bytes(const struct source *s);

/* ---- view_json.c: docs/inspect.md has the schema ---- */

void view_json(FILE *out, const struct model *m, bool blocks);
void view_json_faults(FILE *out, const struct model *m);

/* ---- view_map.c, view_svg.c ---- */

/**
 * struct cell - a part of the memory, for a picture
 * @pa, @len: which
 * @preserved: bytes of it
 * @order: largest of its blocks
 * @owner: whose most of it is
 */
struct cell {
	kho_pa_t pa;
	__u64 len;
	__u64 preserved;
	unsigned int order;
	__u32 owner;
};

/* Orders by classes that have a colour of their own. */
enum { CLASS_PAGE, CLASS_SMALL, CLASS_HUGE, CLASS_LARGE, CLASS_GIANT, NR_CLASSES };

unsigned int class_of(const struct model *m, unsigned int order);
const char *class_name(unsigned int class);

/* @nr cells of @len bytes from @pa on. */
void cells_fill(const struct model *m, kho_pa_t pa, __u64 len, struct cell *cells, size_t nr);

/* Behind the last row. */
#define NO_ROW (~0ULL)
/* The first row of @row bytes at @pa or above that has memory, or NO_ROW. */
kho_pa_t next_row(const struct model *m, kho_pa_t pa, __u64 row);

/* @width: columns; @colour: with escape sequences. */
void view_map(FILE *out, const struct model *m, unsigned int width, bool colour);
void view_svg(FILE *out, const struct model *m);

/* ---- view_diff.c ---- */

/* @contents: compare preserved pages' bytes, too. Return: is there a difference? */
bool view_diff(FILE *out, const struct model *a, const struct model *b, bool json, bool contents);

#endif
