/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Backend: an ELF core whose segments are physical memory, as QEMU, kdump, makedumpfile -E and
 * /proc/kcore make it. Every number in it is untrusted.
 */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <kho/core/report.h>

#include "source.h"
#include "tool.h"

#define SEGMENTS_MAX (1U << 20)
#define NOTE_MAX (1U << 20) /* of a file: what it may cost us */
#define AT_ONCE 1024U

static int load(const struct source *s, __u64 at, void *to, size_t len)
{
	ssize_t n = pread(s->fd, to, len, (off_t)at);

	if (n != (ssize_t)len) {
		complain("%s: %zu bytes of the ELF file's headers at %#llx are not in it", s->name,
			 len, (unsigned long long)at);
		return -KHO_E_TRUNCATED;
	}
	return 0;
}

/* With more segments than 16 bits count, section header 0 says how many. */
static int count_segments(const struct source *s, const Elf64_Ehdr *head, __u32 *nr)
{
	Elf64_Shdr section;
	int r;

	*nr = head->e_phnum;
	if (head->e_phnum != PN_XNUM)
		return 0;
	r = load(s, head->e_shoff, &section, sizeof(section));
	if (!r)
		*nr = section.sh_info;
	return r;
}

/* ---- notes: page size and release, if a kernel left them ---- */

static unsigned int shift_of(__u64 page_size)
{
	for (unsigned int shift = 12; shift <= 16; shift += 2)
		if (page_size == 1ULL << shift)
			return shift;
	return 0;
}

/* "PAGESIZE=4096" and the like: lines of text. @text ends with a NUL. */
static void take_vmcoreinfo(struct source *s, const char *text)
{
	const char *size = strstr(text, "PAGESIZE="), *release = strstr(text, "OSRELEASE=");
	unsigned int shift = size ? shift_of(strtoull(size + 9, NULL, 10)) : 0;

	if (shift)
		s->shifts = 1ULL << shift;
	if (!release)
		return;
	release += 10;
	snprintf(s->release, sizeof(s->release), "%.*s", (int)strcspn(release, "\n"), release);
}

/* Notes of one segment, of which at most NOTE_MAX bytes are looked at. */
static void take_notes(struct source *s, const Elf64_Phdr *p)
{
	__u64 size = p->p_filesz < NOTE_MAX ? p->p_filesz : NOTE_MAX;
	char *notes = calloc(1, size + 1), *found;

	if (!notes || pread(s->fd, notes, size, (off_t)p->p_offset) != (ssize_t)size) {
		free(notes);
		return;
	}
	found = memmem(notes, size, "VMCOREINFO", 11);
	if (found && found + 12 < notes + size)
		take_vmcoreinfo(s, found + 12);
	free(notes);
}

/* ---- segments ---- */

static int take_segment(struct source *s, const Elf64_Phdr *p)
{
	__u64 pa = p->p_paddr, len = p->p_filesz, memory = p->p_memsz;
	int r;

	/* What has no physical address says so: /proc/kcore's vmalloc and vmemmap. */
	if (pa == ~0ULL || pa >= SOURCE_SIZE_MAX)
		return 0;
	if (memory < len)
		memory = len;
	if (memory > SOURCE_SIZE_MAX - pa)
		memory = SOURCE_SIZE_MAX - pa;
	if (len > memory)
		len = memory;
	if (!s->live && p->p_offset > s->file_size) {
		s->cut += len;
		len = 0;
	} else if (!s->live && len > s->file_size - p->p_offset) {
		s->cut += len - (s->file_size - p->p_offset);
		len = s->file_size - p->p_offset;
	}
	if (p->p_offset > 1ULL << 62)
		len = 0;
	r = source_add_piece(s, pa, len, p->p_offset) ?: source_add_ram(s, pa, memory);
	if (!r && pa + memory > s->mem.size)
		s->mem.size = pa + memory;
	return r;
}

static int take_segments(struct source *s, const Elf64_Ehdr *head, __u32 nr)
{
	static Elf64_Phdr segments[AT_ONCE];
	__u64 at = head->e_phoff;
	int r = 0;

	while (nr && !r) {
		__u32 n = nr < AT_ONCE ? nr : AT_ONCE;

		r = load(s, at, segments, n * sizeof(*segments));
		for (__u32 i = 0; i < n && !r; i++) {
			if (segments[i].p_type == PT_LOAD)
				r = take_segment(s, &segments[i]);
			else if (segments[i].p_type == PT_NOTE)
				take_notes(s, &segments[i]);
		}
		at += n * sizeof(*segments);
		nr -= n;
	}
	return r;
}

static int refuse(const struct source *s, const char *why)
{
	complain("%s: %s", s->name, why);
	return -KHO_E_FORMAT;
}

int source_elf_open(struct source *s)
{
	Elf64_Ehdr head;
	__u32 nr;
	int r = load(s, 0, &head, sizeof(head));

	if (r)
		return r;
	s->kind = SOURCE_DUMP;
	if (head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_ident[EI_DATA] != ELFDATA2LSB)
		return refuse(s, "an ELF file, but not of 64 bits, least significant byte first");
	if (head.e_type != ET_CORE)
		return refuse(s, "an ELF file, but not a core: a memory dump is wanted "
				 "(kho check compares programs)");
	if (head.e_phentsize != sizeof(Elf64_Phdr))
		return refuse(s, "an ELF core with program headers of another size");
	r = count_segments(s, &head, &nr);
	if (r)
		return r;
	if (!nr || nr > SEGMENTS_MAX)
		return refuse(s, "an ELF core without segments, or with too many");
	s->machine = head.e_machine;
	/* x86-64 has one page size; arm64 three. */
	s->shifts = head.e_machine == EM_X86_64 ? 1ULL << 12 : 1ULL << 12 | 1ULL << 14 | 1ULL << 16;
	r = take_segments(s, &head, nr);
	if (r == -ENOMEM)
		complain("%s: no memory", s->name);
	if (!r && !s->mem.size)
		return refuse(s, "an ELF core without physical memory: one of a process?");
	s->mem.node_hi = s->mem.size & ~((1ULL << 16) - 1);
	return r;
}
