/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Notes in ELF files: those of our own programs, hand-made ones, and what is refused where. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <kho/host.h>
#include <kho/kho.h>

#include "util.h"

KHO_FORMATS_NOTE({"first", 1, 2, 2, 1, KHO_FORMAT_LATER},
		 {"second", 4000000000, 4000000001, 7, 0, 0});
KHO_FORMATS_NOTE({"third", 0, 0, 0, 0, KHO_FORMAT_OPTIONAL});

static struct kho_note_format formats[KHO_NOTE_FORMATS_MAX];

static int read_path(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), r;

	assert_true(fd >= 0);
	r = kho_note_read(fd, formats);
	close(fd);
	return r;
}

static const struct kho_abi_format *find(__u32 type, const char *name, int nr)
{
	for (int i = 0; i < nr; i++)
		if (formats[i].type == type && !strcmp(formats[i].format.name, name))
			return &formats[i].format;
	return NULL;
}

static void our_own_program(void **state)
{
	static const char *const library[] = {"arena", "array",	  "block", "handover", "kho",
					      "radix", "session", "slab",  "vmalloc"};
	int nr = read_path("/proc/self/exe"), of_type[4] = {0};
	const struct kho_abi_format *f;

	assert_true(nr > 0);
	for (int i = 0; i < nr; i++)
		of_type[formats[i].type]++;
	assert_int_equal(of_type[1], 3);
	assert_int_equal(of_type[2], sizeof(library) / sizeof(library[0]));
	assert_int_equal(of_type[2], of_type[3]); /* once each, however many files there are */
	for (size_t i = 0; i < sizeof(library) / sizeof(library[0]); i++) {
		const struct kho_abi_format *a = find(2, library[i], nr);
		const struct kho_abi_format *b = find(3, library[i], nr);

		assert_non_null(a);
		assert_non_null(b);
		assert_memory_equal(a, b, sizeof(*a));
	}
	f = find(2, "kho", nr);
	assert_int_equal(f->reads_min, 4);
	assert_int_equal(f->reads_max, 4);
	assert_int_equal(f->writes, 4);
	assert_int_equal(f->flags, 0);
	assert_int_equal(find(2, "block", nr)->flags, KHO_ABI_FORMAT_PART);
	f = find(1, "first", nr);
	assert_int_equal(f->writes_min, 1);
	assert_int_equal(f->flags, KHO_ABI_FORMAT_LATER);
	f = find(1, "second", nr);
	assert_int_equal(f->reads_max, 4000000001);
	assert_int_equal(find(1, "third", nr)->flags, KHO_ABI_FORMAT_OPTIONAL);
}

static void files_without(void **state)
{
	int p[2];

	assert_int_equal(read_path("/dev/null"), 0);
	assert_int_equal(read_path("tests/life/test_note.c"), 0);
	assert_int_equal(read_path("/bin/sh"), 0);
	assert_int_equal(pipe(p), 0);
	assert_int_equal(kho_note_read(p[0], formats), 0);
	close(p[0]);
	assert_int_equal(kho_note_read(p[0], formats), -EBADF);
	close(p[1]);
}

/* ---- made by hand ---------------------------------------------------------- */

#define NOTES_AT 200

struct elf {
	unsigned char bytes[8192];
	size_t len;
};

static struct elf elf;

static Elf64_Ehdr *head(void)
{
	return (Elf64_Ehdr *)elf.bytes;
}

static Elf64_Phdr *segment(int i)
{
	return (Elf64_Phdr *)(elf.bytes + sizeof(Elf64_Ehdr)) + i;
}

/* Two program headers, of which the second is for the notes that are put behind them. */
static void make_elf(void)
{
	memset(&elf, 0, sizeof(elf));
	memcpy(head()->e_ident, "\177ELF\2\1\1", 7);
	head()->e_phoff = sizeof(Elf64_Ehdr);
	head()->e_phentsize = sizeof(Elf64_Phdr);
	head()->e_phnum = 2;
	segment(0)->p_type = PT_LOAD;
	segment(0)->p_offset = ~0ULL; /* nobody looks */
	*segment(1) = (Elf64_Phdr){.p_type = PT_NOTE, .p_offset = NOTES_AT, .p_align = 4};
	elf.len = NOTES_AT;
}

static void *put(const void *bytes, size_t len)
{
	void *at = elf.bytes + elf.len;

	if (bytes)
		memcpy(at, bytes, len);
	elf.len += len;
	segment(1)->p_filesz = elf.len - NOTES_AT;
	return at;
}

static struct kho_abi_note *put_note(__u32 type, const char *name, __u32 version)
{
	const struct kho_abi_note note = {4, sizeof(struct kho_abi_format), type, "KHO"};
	struct kho_abi_format format = {"", version, version, version, 0, 0};
	struct kho_abi_note *at = put(&note, sizeof(note));

	memcpy(format.name, name, strlen(name));
	put(&format, sizeof(format));
	return at;
}

static int make_fd(size_t len)
{
	int fd = memfd_create("elf", MFD_CLOEXEC);

	assert_int_equal(write(fd, elf.bytes, len), len);
	return fd;
}

static int read_elf(void)
{
	int fd = make_fd(elf.len), r = kho_note_read(fd, formats);

	close(fd);
	return r;
}

static void between_other_notes(void **state)
{
	static const char gnu[] = "\4\0\0\0\5\0\0\0\1\0\0\0GNU\0hello\0\0";

	make_elf();
	put(gnu, 24);
	put_note(1, "a", 1);
	put(NULL, 36); /* zeros: nothing */
	put_note(2, "b", 2);
	put_note(5, "of a type to come", 3);
	put_note(4, "of a kernel", 3);
	put(gnu, 24);
	put("\0\0\0", 4);
	assert_int_equal(read_elf(), 3);
	assert_string_equal(formats[0].format.name, "a");
	assert_string_equal(formats[1].format.name, "b");
	assert_int_equal(formats[1].type, 2);
	assert_int_equal(formats[2].type, 4);
	/* Another owner: as long, and longer. */
	memcpy(put_note(1, "c", 3)->name, "KHA", 3);
	assert_int_equal(read_elf(), 3);
	/* Aligned to 8: name and records are padded so, too. */
	make_elf();
	segment(1)->p_align = 8;
	put("\4\0\0\0\5\0\0\0\1\0\0\0GNU\0hello\0\0\0", 24);
	put_note(1, "a", 1);
	put(NULL, 4);
	put_note(1, "b", 1);
	put(NULL, 4);
	assert_int_equal(read_elf(), 2);
}

static void not_elf_files_of_ours(void **state)
{
	make_elf();
	put_note(1, "a", 1);
	assert_int_equal(read_elf(), 1);
	head()->e_ident[EI_CLASS] = ELFCLASS32;
	assert_int_equal(read_elf(), 0);
	head()->e_ident[EI_CLASS] = ELFCLASS64;
	head()->e_ident[EI_DATA] = ELFDATA2MSB;
	assert_int_equal(read_elf(), 0);
	head()->e_ident[EI_DATA] = ELFDATA2LSB;
	head()->e_phnum = 1;
	assert_int_equal(read_elf(), 0);
	head()->e_phnum = 0;
	assert_int_equal(read_elf(), 0);
}

static void expect(int error, const char *words)
{
	assert_int_equal(read_elf(), -error);
	if (!strstr(kho_error(), words))
		fail_msg("\"%s\" is not in: %s", words, kho_error());
}

static void hostile_headers(void **state)
{
	make_elf();
	put_note(1, "a", 1);
	head()->e_phentsize = 55;
	expect(KHO_E_RANGE, "2 program headers of 55 bytes");
	head()->e_phentsize = sizeof(Elf64_Phdr);
	head()->e_phnum = 65535;
	expect(KHO_E_RANGE, "65535 program headers");
	head()->e_phnum = 2;
	head()->e_phoff = ~0ULL - 60;
	expect(KHO_E_TRUNCATED, "its program headers are at");
	head()->e_phoff = elf.len - 60;
	expect(KHO_E_TRUNCATED, "are not in it");
	head()->e_phoff = sizeof(Elf64_Ehdr);
	segment(1)->p_filesz++;
	expect(KHO_E_TRUNCATED, "leaves the file");
	segment(1)->p_filesz = ~0ULL;
	expect(KHO_E_TRUNCATED, "leaves the file");
	segment(1)->p_offset = ~0ULL - 8;
	expect(KHO_E_TRUNCATED, "leaves the file");
	segment(1)->p_filesz = 0;
	expect(KHO_E_TRUNCATED, "leaves the file");
}

static void hostile_notes(void **state)
{
	static const __u32 large[] = {57, 1000, 0x7fffffff, 0xfffffff8, 0xfffffffd, 0xffffffff};
	struct kho_abi_format *format;
	struct kho_abi_note *note;

	for (size_t i = 0; i < sizeof(large) / sizeof(large[0]); i++) {
		make_elf();
		put_note(1, "a", 1)->size = large[i];
		expect(KHO_E_TRUNCATED, "leave its segment");
		make_elf();
		put_note(1, "a", 1)->name_size = large[i];
		expect(KHO_E_TRUNCATED, "leave its segment");
	}
	make_elf();
	note = put_note(1, "a", 1);
	format = (void *)(note + 1);
	note->size = 0;
	expect(KHO_E_FORMAT, "0 bytes are not formats");
	note->size = 51;
	expect(KHO_E_FORMAT, "51 bytes are not formats");
	note->size = 52;
	format->name[0] = 0;
	expect(KHO_E_FORMAT, "note at 0xd8: a format has no name");
	memset(format->name, 'x', 32);
	expect(KHO_E_FORMAT, "no name, or one that does not end");
	format->name[31] = 0;
	format->reads_min = 2;
	expect(KHO_E_RANGE, "reads 2 to 1, writes 0 to 1");
	format->reads_min = 1;
	format->writes_min = 3;
	expect(KHO_E_RANGE, "reads 1 to 1, writes 3 to 1");
	format->writes_min = 1;
	assert_int_equal(read_elf(), 1);
	/* More formats than are read. */
	make_elf();
	note = put_note(1, "a", 1);
	for (int i = 1; i < KHO_NOTE_FORMATS_MAX; i++)
		put(note + 1, 52);
	note->size = elf.len - NOTES_AT - sizeof(*note);
	assert_int_equal(read_elf(), KHO_NOTE_FORMATS_MAX);
	put_note(1, "b", 1);
	expect(KHO_E_RANGE, "more than 128 formats");
}

/* Many segments that are all one and the same: what that costs has a limit. */
static void an_expensive_file(void **state)
{
	static unsigned char bytes[65536 + 64 * 56];
	Elf64_Ehdr *h = (void *)bytes;
	int fd = memfd_create("elf", MFD_CLOEXEC);

	memcpy(h->e_ident, "\177ELF\2\1\1", 7);
	h->e_phoff = 64;
	h->e_phentsize = sizeof(Elf64_Phdr);
	h->e_phnum = 60;
	for (int i = 0; i < 60; i++)
		((Elf64_Phdr *)(bytes + 64))[i] = (Elf64_Phdr){
			.p_type = PT_NOTE, .p_offset = 4096, .p_filesz = sizeof(bytes) - 4096};
	assert_int_equal(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
	assert_int_equal(kho_note_read(fd, formats), -KHO_E_RANGE);
	assert_non_null(strstr(kho_error(), "more than 16384 notes"));
	close(fd);
}

static int elf_of(__u32 type, const char *name, __u32 version)
{
	make_elf();
	put_note(type, name, version);
	return make_fd(elf.len);
}

static void compared(void **state)
{
	int one = elf_of(1, "f", 1), two = elf_of(1, "f", 2), lib = elf_of(2, "f", 9);
	int lib8 = elf_of(2, "f", 8), other = elf_of(3, "f", 7);

	assert_int_equal(kho_note_check(one, one), 0);
	assert_int_equal(kho_note_check(one, two), -KHO_E_INCOMPATIBLE);
	assert_string_equal(kho_error(),
			    "format f: we write version 1, the successor reads version 2");
	assert_int_equal(kho_note_check(lib, lib8), -KHO_E_INCOMPATIBLE);
	/* Of the library, of the application, of the headers: not held against each other. */
	assert_int_equal(kho_note_check(one, lib), 0);
	assert_int_equal(kho_note_check(lib, two), 0);
	assert_int_equal(kho_note_check(other, other), 0);
	/* Of a part: whether it is there the file does not know, and a file without it is as good. */
	make_elf();
	((struct kho_abi_format *)(put_note(2, "p", 1) + 1))->flags = KHO_ABI_FORMAT_PART;
	close(lib8);
	lib8 = make_fd(elf.len);
	assert_int_equal(kho_note_check(lib8, lib8), 0);
	close(other);
	other = elf_of(2, "p", 2);
	assert_int_equal(kho_note_check(lib8, other), -KHO_E_INCOMPATIBLE); /* it writes 2 always */
	make_elf();
	((struct kho_abi_format *)(put_note(2, "p", 2) + 1))->flags = KHO_ABI_FORMAT_PART;
	close(other);
	other = make_fd(elf.len);
	assert_int_equal(kho_note_check(lib8, other), 0);
	make_elf();
	put_note(1, "f", 1)->size = 51;
	close(two);
	two = make_fd(elf.len);
	assert_int_equal(kho_note_check(one, two), -KHO_E_FORMAT);
	assert_int_equal(kho_note_check(two, one), -KHO_E_FORMAT);
	close(one), close(two), close(lib), close(lib8), close(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(our_own_program),     cmocka_unit_test(files_without),
		cmocka_unit_test(between_other_notes), cmocka_unit_test(not_elf_files_of_ours),
		cmocka_unit_test(hostile_headers),     cmocka_unit_test(hostile_notes),
		cmocka_unit_test(an_expensive_file),   cmocka_unit_test(compared),
	};

	return cmocka_run_group_tests_name("note", tests, NULL, NULL);
}
