/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Private to kho save and load: arenas in files.
 *
 *	save_write.c	an arena to a file
 *	save_read.c	back
 *	squeeze_*.c	compression, or none
 *	progress_bar.c	for people who wait
 *	save.c		kho save: which arena, and that nobody writes to it
 *	load.c		kho load, and what kho run has of it
 */
#ifndef KHO_TOOL_SAVE_FILE_H
#define KHO_TOOL_SAVE_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include <kho/abi/arena.h>
#include <kho/abi/save.h>

/**
 * save_write() - everything that is allocated of an arena
 * @out: an empty file, or a pipe; @name: its, for complaints
 * @arena: only read; whoever calls sees to it that nobody writes meanwhile
 *
 * Return: 0, or negative: said on stderr.
 */
int save_write(int out, const char *name, int arena, bool compress);

/* What was in a file. */
struct save_summary {
	struct kho_abi_save head;
	__u64 stored; /* bytes of the arena that are not holes */
	__u64 file; /* bytes of the file */
};

/**
 * save_read() - check a file, and put an arena together from it
 * @in: of a file that anybody may have made; @name: its, for complaints
 * @arena: an empty file, or -1: check only. Its contents are sound as far as the header tells; the rest is checked
 *	by whoever attaches it
 * @sum: or NULL
 *
 * Return: 0, or negative: said on stderr.
 */
int save_read(int in, const char *name, int arena, struct save_summary *sum);

/* Is there a method? Of a library that was there when this was built. */
bool squeeze_possible(void);
/* Compress @len bytes if that makes them fewer. Return: how many then; 0: not fewer, or not possible. */
size_t squeeze(void *to, size_t room, const void *from, size_t len);
/* Return: do @stored bytes become @len? */
bool unsqueeze(void *to, size_t len, const void *from, size_t stored);

/* ---- progress_bar.c ---- */

struct progress_bar {
	const char *what;
	__u64 total;
	__u64 begun;
	__u64 shown;
};

/* Nothing is shown in the first second, nor if stderr is no terminal. */
void progress_begin(struct progress_bar *bar, const char *what, __u64 total);
void progress_show(struct progress_bar *bar, __u64 done);
void progress_end(struct progress_bar *bar);

#endif
