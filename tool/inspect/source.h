/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Private to kho inspect, map, diff and verify: where bytes come from.
 *
 *	source		an image to be looked at: an arena (of a process or saved in a file) or the
 *			memory of a machine (an ELF core)
 *	piece		bytes of the file that are bytes of the image
 *	region		pieces that follow each other in the image
 *	gap		memory that the machine had, and whose bytes the source has not: a dump
 *			from which pages were left out, or that was cut
 *
 *	source.c	bytes at an address, by whatever backend opened the source
 *	source_elf.c	backend: ELF cores
 *	source_arena.c	backend: arenas
 *	find.c		SOURCE as the user names it: pid, name, file
 *
 * Bytes are read into memory of ours, each page once: what we judged is what we use, whatever a live
 * program does meanwhile; holes of an arena stay holes; a file that becomes shorter is an error and
 * not a signal.
 */
#ifndef KHO_TOOL_SOURCE_H
#define KHO_TOOL_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <kho/abi/arena.h>
#include <kho/core/image.h>

#include "spans.h"

#define GAPS_MAX 256 /* that are remembered */

enum source_kind { SOURCE_ARENA, SOURCE_DUMP };

/* @len bytes of the image at @pa are those of the file at @at. */
struct piece {
	kho_pa_t pa;
	__u64 len;
	__u64 at;
};

/**
 * struct region - pieces without a gap
 * @base: copy of the page that @pa lies in, and of all that follow; NULL until something is read
 * @loaded: a bit for each 4 KiB of it
 */
struct region {
	kho_pa_t pa;
	__u64 len;
	char *base;
	__u64 *loaded;
};

/* [@pa, @pa + @len) was wanted; the first @has bytes of it are there. */
struct wanted {
	kho_pa_t pa;
	__u64 len;
	__u64 has;
};

/**
 * struct source - an opened source
 * @name: as the user gave it
 * @live: somebody may be changing it
 * @shift: log2 of the page size; 0: not known yet (dumps, until the root FDT was found)
 * @shifts: a bit for each page size that is possible
 * @ram, @nr_ram: memory that the machine had, by address, whether or not its bytes are there
 * @cut: bytes that the file should have, and has not: it was truncated
 * @gaps: what was wanted and reaches into a gap: the newest of @nr_gaps
 * @machine: e_machine of an ELF core
 * @release: what an ELF core says of its kernel, or ""
 * @pid: whose arena it is, or 0
 * @header: of an arena
 * @mem: the image, as the core sees it
 */
struct source {
	enum source_kind kind;
	const char *name;
	int fd;
	bool live;
	unsigned int shift;
	__u64 shifts;
	__u64 file_size;
	struct piece *pieces;
	size_t nr_pieces;
	struct region *regions;
	size_t nr_regions;
	struct span *ram;
	size_t nr_ram;
	__u64 cut;
	struct wanted gaps[GAPS_MAX];
	size_t nr_gaps;
	unsigned int machine;
	char release[72];
	pid_t pid;
	struct kho_abi_arena_header header;
	struct khoc_mem mem;
};

/* Largest address of an image, and 1: nothing that exists has more. */
#define SOURCE_SIZE_MAX (1ULL << 48)

/* ---- find.c ---- */

/* Open @what: a file, a pid, a server's name. Complains. Return: 0 or negative. */
int source_open(struct source *s, const char *what);

/* ---- source.c ---- */

/* The same for an open file; closes @fd in any case. @live, @pid: as in struct source. */
int source_open_fd(struct source *s, const char *name, int fd, bool live, pid_t pid);
void source_close(struct source *s);

/* Forget what was read: a live source is looked at anew. */
void source_renew(struct source *s);

/*
 * @len bytes at @pa in our copy, which may be written to; NULL if they are not there. They stay until
 * source_forget().
 */
void *source_map(struct source *s, kho_pa_t pa, size_t len);
/* What source_map() gave for a range that is not needed any more. */
void source_forget(struct source *s, kho_pa_t pa, __u64 len);

/* Copy @len bytes without keeping them. Return: 0, -KHO_E_RANGE (not all there), -errno. */
int source_read(struct source *s, kho_pa_t pa, void *to, size_t len);

/* How many bytes from @pa on are there, up to @max. */
__u64 source_has(const struct source *s, kho_pa_t pa, __u64 max);

/* Number of the first of @ram that ends behind @pa; nr_ram: none does. */
size_t source_ram_at(const struct source *s, kho_pa_t pa);

/* Is all of it memory of the machine? */
bool source_is_ram(const struct source *s, kho_pa_t pa, __u64 len);

/*
 * Was something wanted that has @pa in it, or begins in the same 4 KiB, and not given because it reaches into a
 * gap? Return: its first byte that is not there; or NO_GAP.
 */
kho_pa_t source_gap_at(const struct source *s, kho_pa_t pa);
#define NO_GAP (~0ULL)

/* How many bytes of [@pa, @pa + @len), which is memory of the machine, are in gaps. */
__u64 source_in_gaps(const struct source *s, kho_pa_t pa, __u64 len);

/* ---- backends: fill in pieces, ram, mem.size. Return: 0 or negative, having complained ---- */

/* Pieces in any order, overlapping or not, to sound ones and regions. Return: 0, -ENOMEM. */
int source_arrange(struct source *s);
int source_add_piece(struct source *s, kho_pa_t pa, __u64 len, __u64 at);
int source_add_ram(struct source *s, kho_pa_t pa, __u64 len);

int source_elf_open(struct source *s);
int source_arena_open(struct source *s);

#endif
