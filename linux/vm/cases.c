/* SPDX-License-Identifier: GPL-2.0-only */
/* The tests of vm-check that run in the guest and are not a program of the kernel's own. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/utsname.h>

#include <libfdt.h>
#include <linux/liveupdate.h>

#include "init.h"

#define PAGE 4096
#define KHO_DEBUG "/sys/kernel/debug/kho"

static char page[PAGE] __attribute__((aligned(8)));

/* Nothing to do but to boot: the kernel itself tests something. */
static int case_boot(const struct stage *stage)
{
	return 0;
}

/* The numbers in "kexec-metadata" (bytes 0, 4 and 69): version, last release, how many kexecs. */
static int metadata(const char *path, const char *release, uint32_t count)
{
	uint32_t version, found;
	char name[65];

	if (read_file(path, page, sizeof(page)) < 73)
		return failed("%s: too short", path);
	memcpy(&version, page, 4);
	memcpy(name, page + 4, sizeof(name));
	memcpy(&found, page + 69, 4);
	name[64] = 0;
	if (version != 1 || found != count || strcmp(name, release))
		return failed("%s: version %u, %s, count %u; not version 1, %s, count %u", path,
			      version, name, found, release, count);
	return 0;
}

static int case_kexec_count(const struct stage *stage)
{
	char release[65] = "";
	struct utsname uts;

	uname(&uts);
	if (metadata(KHO_DEBUG "/out/sub_fdts/kexec-metadata", uts.release, stage->hop + 1) < 0)
		return -1;
	if (stage->hop == 0)
		return 0;
	/* What comes in was written by another kernel: its name is only known to be one. */
	if (read_file(KHO_DEBUG "/in/sub_fdts/kexec-metadata", page, sizeof(page)) == 73)
		memcpy(release, page + 4, 64);
	if (strncmp(release, "7.2.", 4))
		return failed("came from \"%s\"", release);
	return metadata(KHO_DEBUG "/in/sub_fdts/kexec-metadata", release, stage->hop);
}

/* A property of 8 bytes, native order, of the region that reserve_mem= calls "kept". */
static int region(const char *path, uint64_t *start, uint64_t *size)
{
	const void *from, *bytes;
	int node, from_len, bytes_len;

	if (read_file(path, page, sizeof(page)) < 0)
		return -1;
	if (fdt_check_full(page, sizeof(page)))
		return failed("%s: no device tree", path);
	node = fdt_path_offset(page, "/kept");
	from = fdt_getprop(page, node, "start", &from_len);
	bytes = fdt_getprop(page, node, "size", &bytes_len);
	if (!from || !bytes || from_len != 8 || bytes_len != 8)
		return failed("%s: no region \"kept\"", path);
	memcpy(start, from, 8);
	memcpy(size, bytes, 8);
	return 0;
}

/* reserve_mem=2M:4096:kept: the words of the region are their own addresses, turned over. */
static int case_reserve_mem(const struct stage *stage)
{
	uint64_t start, size, was, was_size, at, *word = (uint64_t *)page;
	size_t i;
	int fd;

	if (region(KHO_DEBUG "/out/sub_fdts/memblock", &start, &size) < 0)
		return -1;
	if (size != 2 << 20)
		return failed("the region has %#llx bytes", (unsigned long long)size);
	if (stage->hop) {
		if (region(KHO_DEBUG "/in/sub_fdts/memblock", &was, &was_size) < 0)
			return -1;
		if (was != start || was_size != size)
			return failed("the region has moved to %#llx", (unsigned long long)start);
	}
	fd = open("/dev/mem", O_RDWR);
	if (fd < 0)
		return failed("/dev/mem: %s", strerror(errno));
	for (at = start; at < start + size; at += PAGE) {
		if (stage->hop && pread(fd, page, PAGE, at) != PAGE)
			return failed("read %#llx: %s", (unsigned long long)at, strerror(errno));
		for (i = 0; i < PAGE / 8; i++) {
			if (stage->hop && word[i] != ~(at + i * 8))
				return failed("%#llx was changed",
					      (unsigned long long)(at + i * 8));
			word[i] = ~(at + i * 8);
		}
		if (!stage->hop && pwrite(fd, page, PAGE, at) != PAGE)
			return failed("write %#llx: %s", (unsigned long long)at, strerror(errno));
	}
	close(fd);
	return 0;
}

/*
 * The memfds of a session: page @page of @file holds 512 words, @file << 56 | @page << 16 | index,
 * if it is one of those that are written; the others are holes.
 */
static const struct {
	unsigned int pages;
	/* Every @step-th page from 0 on is written. 0: none. */
	unsigned int step;
	uint64_t token;
} files[] = {
	{16, 1, 1}, {1024, 73, 0x1234}, {1500, 1, 0xfedcba9876543210ULL}, {32, 0, 4}, {0, 0, 5},
};
#define NR_FILES (sizeof(files) / sizeof(files[0]))
#define SESSION "libkho-dump"

static uint64_t content(unsigned int file, unsigned int page_nr, unsigned int word)
{
	if (!files[file].step || page_nr % files[file].step)
		return 0;
	return (uint64_t)(file + 1) << 56 | (uint64_t)page_nr << 16 | word;
}

static int make_file(int session, unsigned int file)
{
	struct liveupdate_session_preserve_fd preserve = {.size = sizeof(preserve)};
	uint64_t *word = (uint64_t *)page;
	unsigned int nr, i;
	int fd;

	fd = memfd_create("dump", 0);
	if (fd < 0 || ftruncate(fd, (off_t)files[file].pages * PAGE))
		return failed("memfd: %s", strerror(errno));
	for (nr = 0; files[file].step && nr < files[file].pages; nr += files[file].step) {
		for (i = 0; i < PAGE / 8; i++)
			word[i] = content(file, nr, i);
		if (pwrite(fd, page, PAGE, (off_t)nr * PAGE) != PAGE)
			return failed("memfd write: %s", strerror(errno));
	}
	preserve.fd = fd;
	preserve.token = files[file].token;
	if (ioctl(session, LIVEUPDATE_SESSION_PRESERVE_FD, &preserve))
		return failed("preserve file %u: %s", file, strerror(errno));
	return 0;
}

static int check_file(int session, unsigned int file)
{
	struct liveupdate_session_retrieve_fd retrieve = {.size = sizeof(retrieve)};
	uint64_t *word = (uint64_t *)page;
	unsigned int nr, i;

	retrieve.token = files[file].token;
	if (ioctl(session, LIVEUPDATE_SESSION_RETRIEVE_FD, &retrieve))
		return failed("retrieve file %u: %s", file, strerror(errno));
	if (lseek(retrieve.fd, 0, SEEK_END) != (off_t)files[file].pages * PAGE)
		return failed("file %u has another size", file);
	for (nr = 0; nr < files[file].pages; nr++) {
		if (pread(retrieve.fd, page, PAGE, (off_t)nr * PAGE) != PAGE)
			return failed("memfd read: %s", strerror(errno));
		for (i = 0; i < PAGE / 8; i++)
			if (word[i] != content(file, nr, i))
				return failed("file %u page %u word %u is %#llx", file, nr, i,
					      (unsigned long long)word[i]);
	}
	close(retrieve.fd);
	return 0;
}

/* A session with the files above. Boot 0 makes it; the others retrieve, compare and make it anew. */
static int case_session(const struct stage *stage)
{
	struct liveupdate_ioctl_create_session create = {.size = sizeof(create), .name = SESSION};
	struct liveupdate_ioctl_retrieve_session old = {.size = sizeof(old), .name = SESSION};
	struct liveupdate_session_finish finish = {.size = sizeof(finish)};
	unsigned int i;
	int luo;

	luo = open("/dev/liveupdate", O_RDWR);
	if (luo < 0)
		return failed("/dev/liveupdate: %s", strerror(errno));
	if (stage->hop) {
		if (ioctl(luo, LIVEUPDATE_IOCTL_RETRIEVE_SESSION, &old))
			return failed("retrieve session: %s", strerror(errno));
		for (i = 0; i < NR_FILES; i++)
			if (check_file(old.fd, i) < 0)
				return -1;
		if (ioctl(old.fd, LIVEUPDATE_SESSION_FINISH, &finish))
			return failed("finish: %s", strerror(errno));
		close(old.fd);
	}
	if (stage->last)
		return 0;
	/* Stays open: it is closed, and undone, with its last user. */
	if (ioctl(luo, LIVEUPDATE_IOCTL_CREATE_SESSION, &create))
		return failed("create session: %s", strerror(errno));
	for (i = 0; i < NR_FILES; i++)
		if (make_file(create.fd, i) < 0)
			return -1;
	return 0;
}

static const struct {
	const char *name;
	int (*run)(const struct stage *stage);
} cases[] = {
	{"boot", case_boot},
	{"kexec_count", case_kexec_count},
	{"reserve_mem", case_reserve_mem},
	{"session", case_session},
};

int run_case(const char *name, const struct stage *stage)
{
	char number[16];
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (!strcmp(name, cases[i].name))
			return cases[i].run(stage);
	/* A program: with stages, as the kernel's LUO tests have them, if a kexec is between. */
	snprintf(number, sizeof(number), "%d", stage->hop + 1);
	return run_program(name, stage->hop || !stage->last ? number : NULL);
}
