/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Any bytes as what kho inspect reads: an ELF core of a machine's memory, or an arena. It is refused, or
 * shown in every way; what is shown adds up, and a fault says what and where.
 *
 * An input: which file (0: the bytes that follow; else one of the golden images, those of Linux in
 * an ELF core), then changes to it: where (4 bytes), how (1), a value (8).
 */
#include "fuzz.h"

#include <elf.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arena.h"
#include "sparse.h"
#include "views.h"

#define CHANGE 13
#define IMAGE_MAX (8U << 20)
#define HEAD (sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr))

void __wrap_complain(const char *format, ...);
void __wrap_complain(const char *format, ...)
{
	FACT(*format);
}

/* ---- files ---- */

static const struct base {
	const char *path;
	unsigned int shift; /* of an image of Linux */
} bases[] = {
	{"tests/golden/linux-12.sparse", 12},	  {"tests/golden/linux-14.sparse", 14},
	{"tests/golden/linux-16.sparse", 16},	  {"tests/golden/arena-v1.sparse", 0},
	{"tests/golden/structures-v1.sparse", 0},
};

#define NR_BASES (sizeof(bases) / sizeof(bases[0]))

static void put_head(char *file, const struct base *base, u64 size)
{
	Elf64_Ehdr head = {.e_ident = "\177ELF\002\001\001",
			   .e_type = ET_CORE,
			   .e_machine = base->shift == 12 ? EM_X86_64 : EM_AARCH64,
			   .e_phoff = sizeof(head),
			   .e_phentsize = sizeof(Elf64_Phdr),
			   .e_phnum = 1};
	Elf64_Phdr segment = {.p_type = PT_LOAD,
			      .p_offset = HEAD,
			      .p_filesz = size,
			      .p_memsz = 65536ULL << base->shift};

	memcpy(file, &head, sizeof(head));
	memcpy(file + sizeof(head), &segment, sizeof(segment));
}

/* The file of a golden image, made once. Return: its size. */
static u64 base_file(unsigned int nr, const char **file)
{
	static char *files[NR_BASES];
	static u64 sizes[NR_BASES];
	const struct base *base = &bases[nr];
	u64 head = base->shift ? HEAD : 0;

	if (!files[nr]) {
		FILE *in = fopen(base->path, "rb");

		FACT(in && (files[nr] = calloc(1, IMAGE_MAX + HEAD)));
		sizes[nr] = sparse_read(in, files[nr] + head, IMAGE_MAX) + head;
		FACT(sizes[nr] > head && !fclose(in));
		if (head)
			put_head(files[nr], base, sizes[nr] - head);
	}
	*file = files[nr];
	return sizes[nr];
}

static void change(int fd, u64 size, const uint8_t *input)
{
	u32 where;
	u64 value;

	memcpy(&where, input, 4);
	memcpy(&value, input + 5, 8);
	where %= size - 8;
	if (input[4] % 4 == 1)
		where &= ~7U; /* a word of an arena */
	else if (input[4] % 4 == 2)
		where = (where & ~7U) + HEAD % 8; /* one of an image in a core */
	FACT(pwrite(fd, &value, input[4] % 4 == 3 ? 1 : 8, where) > 0);
}

static int make_file(const uint8_t *data, size_t size)
{
	int fd = memfd_create("dump", MFD_CLOEXEC);
	const char *base;
	u64 len;

	FACT(fd >= 0);
	if (!size || data[0] % (NR_BASES + 1) == 0) {
		FACT(!size || write(fd, data + 1, size - 1) == (ssize_t)size - 1);
		return fd;
	}
	len = base_file(data[0] % (NR_BASES + 1) - 1, &base);
	FACT(write(fd, base, len) == (ssize_t)len);
	for (size_t at = 1; at + CHANGE <= size; at += CHANGE)
		change(fd, len, data + at);
	return fd;
}

/* ---- what is shown ---- */

static void check_extents(const struct model *m)
{
	const struct owner *owners = m->owners.at;
	const struct extent *e = m->extents.at;
	u64 pages = 0, owned = 0;
	kho_pa_t end = 0;

	for (size_t i = 0; i < m->extents.nr; i++) {
		FACT(e[i].pa >= end && e[i].len && e[i].owner < m->owners.nr);
		end = e[i].pa + e[i].len;
		FACT(end > e[i].pa && end <= m->source->mem.size);
		pages += e[i].len >> m->source->shift;
	}
	for (size_t i = 0; i < m->owners.nr; i++)
		owned += owners[i].pages;
	FACT(pages == m->pages && owned == m->pages);
}

static void check_faults(const struct model *m)
{
	char text[512];

	for (size_t i = 0; i < m->faults.nr; i++) {
		const struct fault *f = &m->faults.list[i];

		FACT(f->report.fault >= KHO_E_TRUNCATED && f->report.fault < KHO_E_MAX);
		FACT(f->report.structure >= 0 && f->report.structure < KHOC_S_MAX);
		FACT(*kho_report_text_(&f->report, text, sizeof(text)) &&
		     *report_remedy(&f->report));
		FACT(*f->what);
	}
}

static void show(const struct model *m)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	FACT(out);
	view_text(out, m, true);
	view_json(out, m, true);
	view_map(out, m, 80, true);
	view_svg(out, m);
	FACT(!view_diff(out, m, m, false, true));
	FACT(!fclose(out) && size);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct model m;
	struct source s;

	if (source_open_fd(&s, "dump", make_file(data, size), false, 0))
		return 0;
	if (!model_make(&m, &s, NULL)) {
		check_extents(&m);
		check_faults(&m);
		show(&m);
	}
	model_free(&m);
	source_close(&s);
	return 0;
}
