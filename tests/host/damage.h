/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Damage to an arena that holds some of everything: what the tests of corruption share. One of
 * them changes bytes of the work image, then damage_try() attaches it, uses all there is up to
 * the last free page, says what came of it, and lays the image anew.
 *
 *	detected	refused at attach, or a typed fault when it is used
 *	harmless	accepted, and everything is there
 *	lost		accepted, and something is not found any more
 *
 * A structure that is new is one row of damage_structures in damage_rows.c. What has pages of its own
 * is in damage_structs.c.
 */
#ifndef KHO_TEST_DAMAGE_H
#define KHO_TEST_DAMAGE_H

#include <kho/types.h>
#include <stdbool.h>
#include <stddef.h>

#include "template.h"

/* Bytes of the arena: room for an area whose list takes two chunks. */
#define DAMAGE_MAX (11ULL << 19)

/* What there is, the rows of damage_structures. */
enum damage_row {
	DAMAGE_HEADER,
	DAMAGE_WORDS,
	DAMAGE_FDT,
	DAMAGE_COMPAT,
	DAMAGE_ROOTS,
	DAMAGE_METADATA,
	DAMAGE_TABLES,
	DAMAGE_LEAVES,
	DAMAGE_DESCS,
	DAMAGE_SLABS,
	DAMAGE_STATES,
	DAMAGE_RECORDS,
	DAMAGE_CACHE_SLABS,
	DAMAGE_CACHE_STATES,
	DAMAGE_SINGLE_REST,
	DAMAGE_LARGES,
	DAMAGE_INTENTS,
	DAMAGE_CELLS,
	DAMAGE_AREAS,
	DAMAGE_CHUNKS,
	DAMAGE_ARRAYS,
	DAMAGE_NODES,
	DAMAGE_BLOCKS,
	DAMAGE_RECORDS_OF_BLOCKS,
	DAMAGE_CONTENTS,
	DAMAGE_NR_ROWS,
};

/**
 * struct damage_structure - something that can be damaged
 * @name: for people
 * @says: structures that a fault may be reported of, each followed by ';'
 * @fill: put it into the open arena; 0, or the line that failed; may be NULL
 * @parts: damage_add_part() for each place where it has bytes
 * @found: is all of it found as its user would find it? Sets @typed when a fault says why not; may be NULL
 * @intact: does what was found still have its bytes, when all free memory is used up? May be NULL
 * @write: write to what was accepted, whatever it is: last of all, and nobody asks what comes of it; may be
 *	NULL
 */
struct damage_structure {
	const char *name;
	const char *says;
	int (*fill)(void);
	void (*parts)(unsigned int row);
	bool (*found)(bool *typed);
	bool (*intact)(void);
	void (*write)(void);
};

extern const struct damage_structure damage_structures[];
extern const unsigned int damage_nr_structures;

/* What is in the image besides the structures of damage_structs.c. */
extern struct template damage_things;

struct damage_part {
	unsigned int row;
	__u64 lo, hi;
};

#define DAMAGE_PARTS 2048
extern struct damage_part damage_parts[DAMAGE_PARTS];
extern unsigned int damage_nr_parts;
void damage_add_part(unsigned int row, __u64 lo, __u64 len);

/* The image as it was, and its length. */
extern const char *damage_image;
extern __u64 damage_size;

#define DAMAGE_CHANGES 8

/**
 * struct damage - changes of one image
 * @forged: a checksum was made right again, so that blocks may be what they never were
 */
struct damage {
	unsigned int nr;
	struct {
		unsigned int row;
		__u64 at, len;
	} change[DAMAGE_CHANGES];
	bool forged;
};

enum damage_outcome { DAMAGE_DETECTED, DAMAGE_HARMLESS, DAMAGE_LOST, DAMAGE_NR_OUTCOMES };

/* Make the image, and take the pages around where arenas are mapped, so that nobody else is next to it. */
void damage_open(void);
/* A work image of its own, for a child that was forked off before its first. */
void damage_work_open(void);
/* Change the work image, and note it in @damage. Return: false if that changes nothing. */
bool damage_write(struct damage *damage, unsigned int row, __u64 at, const void *bytes, size_t len);
/* What the work image has there now. */
const void *damage_now(__u64 at);

/**
 * damage_try() - attach the work image, use it up, lay it anew
 * @broken: called, not to return, with what must not be, whatever is damaged
 */
enum damage_outcome damage_try(const struct damage *damage, void (*broken)(const char *text));

/*
 * More than this for one try is a hang: of the processor's time, or of anybody's. A machine with much to do
 * may leave a process waiting for minutes. A signal ends it.
 */
#define DAMAGE_SECONDS 10
#define DAMAGE_SECONDS_WAITING 600
void damage_watch(void);

/* The fault that the last one was told of, if it was detected. */
extern char damage_said[320];

/* ---- for rows ---- */

/* A question was answered with no: is that a fault that was told, of what was changed? */
bool damage_is_told(void);
/* Forget what was said of something else. */
void damage_hush(void);
/* What must not be, unless the damage was done by somebody who knows the format. */
void damage_must_not(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Are the bytes of a thing among those that were changed? */
bool damage_changed(kho_pa_t at, __u64 len);
/* Is the object at @pa, of a slab of the heap, live? */
bool damage_is_live(kho_pa_t pa);

/* damage_rows.c: put into the image last what was interrupted; 0, or the line that failed. */
int damage_leave_intents(void);

/* damage_structs.c; each as in struct damage_structure */
void damage_add_object(kho_pa_t pa);
bool damage_objects_found(bool *typed);
int damage_fill_page(void);
bool damage_page_found(bool *typed);
bool damage_page_intact(void);
int damage_fill_areas(void);
void damage_area_parts(unsigned int row);
void damage_chunk_parts(unsigned int row);
bool damage_areas_found(bool *typed);
bool damage_areas_intact(void);
void damage_areas_write(void);
int damage_fill_arrays(void);
void damage_array_parts(unsigned int row);
void damage_node_parts(unsigned int row);
bool damage_arrays_found(bool *typed);
bool damage_arrays_intact(void);
void damage_arrays_write(void);
int damage_fill_blocks(void);
void damage_block_parts(unsigned int row);
void damage_block_record_parts(unsigned int row);
bool damage_blocks_found(bool *typed);
bool damage_blocks_intact(void);
void damage_blocks_write(void);

#endif
