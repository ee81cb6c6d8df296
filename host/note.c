/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * ELF notes of a file that somebody else wrote. Only what PT_NOTE segments say is looked at: what
 * strip(1) leaves. Every offset is held against the file's size, every step counted.
 *
 *	pad	name and records of a note end at a multiple of this: 4, or 8 in segments
 *		that are aligned so
 */
#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "life.h"
#include "note.h"

#define SEGMENTS_MAX 1024
#define NOTES_MAX 16384 /* in one file: what it may cost us */

static int load(const struct note_file *file, __u64 at, void *to, size_t len)
{
	if (at > file->size || len > file->size - at)
		return kho_fail_(-KHO_E_TRUNCATED, "ELF file: %zu bytes at %#llx are not in it",
				 len, (unsigned long long)at);
	return file->read(file->ctx, at, to, len);
}

static bool is_ours(const Elf64_Ehdr *head)
{
	return !memcmp(head->e_ident, ELFMAG, SELFMAG) && head->e_ident[EI_CLASS] == ELFCLASS64 &&
	       head->e_ident[EI_DATA] == ELFDATA2LSB;
}

/* ---- one note --------------------------------------------------------------- */

struct notes {
	const struct note_file *file;
	struct kho_note_format *formats;
	unsigned int nr;
	unsigned int steps;
};

static int check_format(const struct kho_abi_format *f, __u64 at)
{
	if (!f->name[0] || !memchr(f->name, 0, sizeof(f->name)))
		return kho_fail_(-KHO_E_FORMAT,
				 "note at %#llx: a format has no name, or one that does not end",
				 (unsigned long long)at);
	if (f->reads_min > f->reads_max || f->writes_min > f->writes)
		return kho_fail_(-KHO_E_RANGE,
				 "note at %#llx: format %s reads %u to %u, writes %u to %u",
				 (unsigned long long)at, f->name, f->reads_min, f->reads_max,
				 f->writes_min, f->writes);
	return 0;
}

/* The records of a note of ours: @size bytes at @at. */
static int take_formats(struct notes *n, __u32 type, __u64 at, __u64 size)
{
	if (!size || size % sizeof(struct kho_abi_format))
		return kho_fail_(-KHO_E_FORMAT, "note at %#llx: %llu bytes are not formats",
				 (unsigned long long)at, (unsigned long long)size);
	for (__u64 end = at + size; at < end; at += sizeof(struct kho_abi_format)) {
		struct kho_note_format *f = &n->formats[n->nr];
		int r;

		if (n->nr == KHO_NOTE_FORMATS_MAX)
			return kho_fail_(-KHO_E_RANGE, "notes of more than %d formats",
					 KHO_NOTE_FORMATS_MAX);
		r = load(n->file, at, &f->format, sizeof(f->format))
			    ?: check_format(&f->format, at);
		if (r)
			return r;
		f->type = type;
		n->nr++;
	}
	return 0;
}

static __u64 padded(__u64 size, __u64 pad)
{
	return (size + pad - 1) & ~(pad - 1);
}

/* The note at @at of a segment that ends at @end. Return: where the next one is, or negative. */
static __s64 read_note(struct notes *n, __u64 at, __u64 end, __u64 pad)
{
	struct kho_abi_note note;
	__u64 name = at + offsetof(struct kho_abi_note, name), records;
	int r;

	if (end - at < sizeof(note))
		return (__s64)end; /* no room for one of ours */
	r = load(n->file, at, &note, sizeof(note));
	if (r)
		return r;
	if (!note.name_size)
		return (__s64)(at + 4); /* space between notes, as sanitizers leave it */
	/* Both are 32 bits wide, @at lies in the file: no sum wraps. */
	records = padded(name - at + note.name_size, pad) + at;
	if (records > end || note.size > end - records)
		return kho_fail_(-KHO_E_TRUNCATED,
				 "note at %#llx: %u and %u bytes leave its segment",
				 (unsigned long long)at, note.name_size, note.size);
	if (note.name_size == sizeof(note.name) &&
	    !memcmp(note.name, KHO_ABI_NOTE_OWNER, sizeof(note.name)) &&
	    note.type >= KHO_ABI_NOTE_FORMATS && note.type <= KHO_ABI_NOTE_KERNEL)
		r = take_formats(n, note.type, records, note.size);
	at = padded(records + note.size, pad);
	return r ? r : (__s64)(at < end ? at : end);
}

static int read_segment(struct notes *n, const Elf64_Phdr *segment)
{
	__u64 at = segment->p_offset, end = at + segment->p_filesz;

	if (at > n->file->size || segment->p_filesz > n->file->size - at)
		return kho_fail_(-KHO_E_TRUNCATED, "ELF file: a segment of notes leaves the file");
	while (at < end) {
		__s64 next = read_note(n, at, end, segment->p_align == 8 ? 8 : 4);

		if (next < 0)
			return (int)next;
		if (++n->steps > NOTES_MAX)
			return kho_fail_(-KHO_E_RANGE, "ELF file: more than %d notes", NOTES_MAX);
		at = (__u64)next;
	}
	return 0;
}

int kho_note_parse_(const struct note_file *file, struct kho_note_format *formats)
{
	struct notes n = {.file = file, .formats = formats};
	Elf64_Ehdr head;
	int r;

	if (file->size < sizeof(head))
		return 0;
	r = load(file, 0, &head, sizeof(head));
	if (r || !is_ours(&head) || !head.e_phnum)
		return r;
	if (head.e_phentsize != sizeof(Elf64_Phdr) || head.e_phnum > SEGMENTS_MAX)
		return kho_fail_(-KHO_E_RANGE, "ELF file: %u program headers of %u bytes",
				 head.e_phnum, head.e_phentsize);
	for (unsigned int i = 0; !r && i < head.e_phnum; i++) {
		Elf64_Phdr segment;

		if (head.e_phoff > file->size)
			return kho_fail_(-KHO_E_TRUNCATED,
					 "ELF file: its program headers are at %#llx",
					 (unsigned long long)head.e_phoff);
		r = load(file, head.e_phoff + i * sizeof(segment), &segment, sizeof(segment));
		if (!r && segment.p_type == PT_NOTE)
			r = read_segment(&n, &segment);
	}
	return r ? r : (int)n.nr;
}

/* ---- files ------------------------------------------------------------------ */

static int read_fd(void *ctx, __u64 at, void *to, size_t len)
{
	ssize_t n = pread(*(int *)ctx, to, len, (off_t)at);

	if (n < 0)
		return kho_fail_(-errno, "ELF file: %s", strerror(errno));
	/* It was as long when we began. */
	return n == (ssize_t)len ? 0 : kho_fail_(-KHO_E_TRUNCATED, "ELF file: becomes shorter");
}

int kho_note_read(int fd, struct kho_note_format *formats)
{
	struct note_file file = {.read = read_fd, .ctx = &fd};
	struct stat st;

	if (fstat(fd, &st))
		return kho_fail_(-errno, "ELF file: %s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return 0;
	file.size = (__u64)st.st_size;
	return kho_note_parse_(&file, formats);
}

/* Those of @type, without what goes before them. Return: how many. */
static unsigned int pick(const struct kho_note_format *from, unsigned int nr, __u32 type,
			 struct kho_abi_format *to)
{
	unsigned int found = 0;

	for (unsigned int i = 0; i < nr; i++)
		if (from[i].type == type)
			to[found++] = from[i].format;
	return found;
}

int kho_note_check(int predecessor, int successor)
{
	static const __u32 types[] = {KHO_ABI_NOTE_LIBRARY, KHO_ABI_NOTE_FORMATS};
	struct kho_note_format notes[2][KHO_NOTE_FORMATS_MAX];
	struct kho_abi_format lists[2][KHO_NOTE_FORMATS_MAX];
	int nr[2] = {kho_note_read(predecessor, notes[0]), 0}, r = 0;

	if (nr[0] < 0)
		return nr[0];
	nr[1] = kho_note_read(successor, notes[1]);
	if (nr[1] < 0)
		return nr[1];
	for (size_t i = 0; !r && i < sizeof(types) / sizeof(types[0]); i++) {
		unsigned int ours = pick(notes[0], (unsigned int)nr[0], types[i], lists[0]);
		unsigned int theirs = pick(notes[1], (unsigned int)nr[1], types[i], lists[1]);

		if (ours && theirs)
			r = kho_formats_compare_(lists[0], ours, lists[1], theirs);
	}
	return r;
}
