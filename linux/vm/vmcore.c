/* SPDX-License-Identifier: GPL-2.0-only */
/* The memory of a stopped guest, an ELF core, as an image for libkho's core. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <kho/core/root.h>

#include "vmcore.h"

void fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	exit(1);
}

void *dump_map(void *ctx, kho_pa_t pa, size_t len)
{
	const struct dump *dump = ctx;
	unsigned int i;

	for (i = 0; i < dump->nr; i++) {
		const Elf64_Phdr *s = &dump->segments[i];

		if (s->p_type == PT_LOAD && pa >= s->p_paddr && len <= s->p_filesz &&
		    pa - s->p_paddr <= s->p_filesz - len)
			return dump->file + s->p_offset + (pa - s->p_paddr);
	}
	return NULL;
}

static const struct khoc_mem_ops dump_ops = {.map = dump_map};

void dump_open(struct dump *dump, const char *path)
{
	const Elf64_Ehdr *elf;
	struct stat st;
	unsigned int i;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		fail("%s: %s", path, strerror(errno));
	dump->size = st.st_size;
	dump->file = mmap(NULL, dump->size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	close(fd);
	if (dump->file == MAP_FAILED)
		fail("%s: %s", path, strerror(errno));
	elf = (const void *)dump->file;
	if (dump->size < sizeof(*elf) || memcmp(elf->e_ident, ELFMAG, SELFMAG) ||
	    elf->e_ident[EI_CLASS] != ELFCLASS64 || elf->e_type != ET_CORE ||
	    elf->e_phentsize != sizeof(Elf64_Phdr) || elf->e_phoff > dump->size ||
	    elf->e_phnum > (dump->size - elf->e_phoff) / sizeof(Elf64_Phdr))
		fail("%s is no 64-bit ELF core", path);
	dump->segments = (const void *)(dump->file + elf->e_phoff);
	dump->nr = elf->e_phnum;
	dump->mem = (struct khoc_mem){.ops = &dump_ops, .ctx = dump};
	for (i = 0; i < dump->nr; i++) {
		const Elf64_Phdr *s = &dump->segments[i];

		if (s->p_type != PT_LOAD)
			continue;
		if (s->p_offset > dump->size || s->p_filesz > dump->size - s->p_offset ||
		    s->p_paddr > 1ULL << 52 || s->p_filesz > 1ULL << 52)
			fail("%s: segment %u is not in the file", path, i);
		if (s->p_paddr + s->p_filesz > dump->mem.size)
			dump->mem.size = s->p_paddr + s->p_filesz;
	}
	dump->mem.node_hi = dump->mem.size & ~(PAGE - 1);
}

void refused(const char *what, const struct khoc_report *report)
{
	fail("%s: %s: %s, %s, at %#llx, level %d: %#llx (limit %#llx)", what,
	     khoc_structure_text(report->structure), report->field, khoc_fault_text(report->fault),
	     (unsigned long long)report->addr, report->level, (unsigned long long)report->value,
	     (unsigned long long)report->limit);
}

kho_pa_t find_root(const struct dump *dump)
{
	kho_pa_t pa, found = 0;
	const void *page;
	int pos;

	for (pa = PAGE; pa < dump->mem.node_hi; pa += PAGE) {
		struct khoc_subtree subtree;

		page = dump_map((void *)dump, pa, PAGE);
		pos = 0;
		if (!page || khoc_root_check(page, PAGE, pa, dump->mem.size, NULL) ||
		    khoc_root_next(page, &pos, &subtree))
			continue;
		if (found)
			fail("two root FDTs: at %#llx and %#llx", (unsigned long long)found,
			     (unsigned long long)pa);
		found = pa;
	}
	if (!found)
		fail("no root FDT");
	return found;
}
