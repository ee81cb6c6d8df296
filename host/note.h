/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Reading ELF notes: private to the process host. */
#ifndef KHO_HOST_NOTE_H
#define KHO_HOST_NOTE_H

#include <kho/note.h>

/* Bytes to look for notes in. @read: @len bytes at @at, all inside; 0 or negative. */
struct note_file {
	int (*read)(void *ctx, __u64 at, void *to, size_t len);
	void *ctx;
	__u64 size;
};

/* As kho_note_read(). */
int kho_note_parse_(const struct note_file *file, struct kho_note_format *formats);

#endif
