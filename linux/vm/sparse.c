/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * kho_memfd=sparse: memory files much larger than the guest's memory, with pages far apart, are
 * handed over and have exactly these pages afterwards. Some pages are written after the file was
 * preserved.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <linux/liveupdate.h>

#include "init.h"

#define PAGE 4096
#define PAGES_MAX 8
#define NONE ~0ULL

/* @page: what is written; from @late on after the file was preserved */
static const struct {
	uint64_t size;
	int late;
	uint64_t page[PAGES_MAX];
} files[] = {
	{1ULL << 36, 6, {0, 1, 2, 73, 0x123456, 0xffffff, 7, 0x800000}},
	{1ULL << 40, 0, {0xfedcba9, 0xfedcbaa, 5, 6, NONE, NONE, NONE, NONE}},
	{1ULL << 30, 8, {NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE}},
	{5 * PAGE + 17, 8, {5, 0, NONE, NONE, NONE, NONE, NONE, NONE}},
	{0, 8, {NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE}},
};
#define NR_FILES (sizeof(files) / sizeof(files[0]))

static uint64_t word[PAGE / 8];

static uint64_t content(unsigned int file, uint64_t page, unsigned int i)
{
	return (file + 1) * 0x9e3779b97f4a7c15ULL + page * 512 + i;
}

/* How much of a page is in the file. */
static size_t bytes_of(unsigned int file, uint64_t page)
{
	uint64_t left = files[file].size - page * PAGE;

	return left < PAGE ? left : PAGE;
}

static int write_pages(int fd, unsigned int file, int from, int to)
{
	int n;
	unsigned int i;

	for (n = from; n < to; n++) {
		uint64_t page = files[file].page[n];

		if (page == NONE)
			continue;
		for (i = 0; i < PAGE / 8; i++)
			word[i] = content(file, page, i);
		if (pwrite(fd, word, bytes_of(file, page), page * PAGE) !=
		    (ssize_t)bytes_of(file, page))
			return failed("file %u page %#llx: %s", file, (unsigned long long)page,
				      strerror(errno));
	}
	return 0;
}

/* The file has so many pages and no more. */
static int check_blocks(int fd, unsigned int file, int to, const char *when)
{
	struct stat st;
	int n, pages = 0;

	for (n = 0; n < to; n++)
		pages += files[file].page[n] != NONE;
	if (fstat(fd, &st))
		return failed("fstat: %s", strerror(errno));
	if (st.st_size != (off_t)files[file].size || st.st_blocks != pages * (PAGE / 512))
		return failed("file %u %s: %lld bytes, %lld blocks, not %lld and %d", file, when,
			      (long long)st.st_size, (long long)st.st_blocks,
			      (long long)files[file].size, pages * (PAGE / 512));
	return 0;
}

static int make_file(int session, unsigned int file)
{
	struct liveupdate_session_preserve_fd preserve = {.size = sizeof(preserve)};
	int fd = memfd_create("sparse", 0);

	if (fd < 0 || ftruncate(fd, files[file].size))
		return failed("memfd: %s", strerror(errno));
	if (write_pages(fd, file, 0, files[file].late) < 0)
		return -1;
	preserve.fd = fd;
	preserve.token = file + 1;
	if (ioctl(session, LIVEUPDATE_SESSION_PRESERVE_FD, &preserve))
		return failed("preserve file %u: %s", file, strerror(errno));
	if (check_blocks(fd, file, files[file].late, "preserved") < 0)
		return -1;
	return write_pages(fd, file, files[file].late, PAGES_MAX);
}

static int make(int luo, int hop)
{
	struct liveupdate_ioctl_create_session create = {.size = sizeof(create)};
	unsigned int i;

	snprintf((char *)create.name, sizeof(create.name), "sparse-%d", hop);
	if (ioctl(luo, LIVEUPDATE_IOCTL_CREATE_SESSION, &create))
		return failed("create session: %s", strerror(errno));
	for (i = 0; i < NR_FILES; i++)
		if (make_file(create.fd, i) < 0)
			return -1;
	return 0;
}

static int check_page(int fd, unsigned int file, uint64_t page)
{
	unsigned int i;

	memset(word, 0xee, sizeof(word));
	if (pread(fd, word, PAGE, page * PAGE) != (ssize_t)bytes_of(file, page))
		return failed("file %u page %#llx: %s", file, (unsigned long long)page,
			      strerror(errno));
	for (i = 0; i < bytes_of(file, page) / 8; i++)
		if (word[i] != content(file, page, i))
			return failed("file %u page %#llx: was changed", file,
				      (unsigned long long)page);
	return 0;
}

/* Holes read as zeroes, and stay holes. */
static int check_hole(int fd, unsigned int file)
{
	unsigned int i;

	if (files[file].size < 1 << 20)
		return 0;
	if (pread(fd, word, PAGE, 300 * PAGE) != PAGE)
		return failed("file %u: a hole: %s", file, strerror(errno));
	for (i = 0; i < PAGE / 8; i++)
		if (word[i])
			return failed("file %u: a hole is not zeroes", file);
	return check_blocks(fd, file, PAGES_MAX, "read");
}

static int check_file(int session, unsigned int file)
{
	struct liveupdate_session_retrieve_fd retrieve = {.size = sizeof(retrieve)};
	int n;

	retrieve.token = file + 1;
	if (ioctl(session, LIVEUPDATE_SESSION_RETRIEVE_FD, &retrieve))
		return failed("retrieve file %u: %s", file, strerror(errno));
	if (check_blocks(retrieve.fd, file, PAGES_MAX, "retrieved") < 0)
		return -1;
	for (n = 0; n < PAGES_MAX; n++)
		if (files[file].page[n] != NONE &&
		    check_page(retrieve.fd, file, files[file].page[n]) < 0)
			return -1;
	if (check_hole(retrieve.fd, file) < 0)
		return -1;
	/* It is a file like any other: it can be written to, and freed. */
	if (files[file].size && pwrite(retrieve.fd, "x", 1, 0) != 1)
		return failed("file %u: %s", file, strerror(errno));
	close(retrieve.fd);
	return 0;
}

/* Every other time the first file is not retrieved: it is freed with the session. */
static int check(int luo, int hop)
{
	struct liveupdate_ioctl_retrieve_session old = {.size = sizeof(old)};
	struct liveupdate_session_finish finish = {.size = sizeof(finish)};
	unsigned int i;

	snprintf((char *)old.name, sizeof(old.name), "sparse-%d", hop);
	if (ioctl(luo, LIVEUPDATE_IOCTL_RETRIEVE_SESSION, &old))
		return failed("retrieve session: %s", strerror(errno));
	for (i = hop % 2; i < NR_FILES; i++)
		if (check_file(old.fd, i) < 0)
			return -1;
	if (ioctl(old.fd, LIVEUPDATE_SESSION_FINISH, &finish) || close(old.fd))
		return failed("finish: %s", strerror(errno));
	return 0;
}

int case_sparse(const struct stage *stage)
{
	int luo = open("/dev/liveupdate", O_RDWR);

	if (luo < 0)
		return failed("/dev/liveupdate: %s", strerror(errno));
	if (stage->hop && check(luo, stage->hop - 1) < 0)
		return -1;
	return stage->last ? 0 : make(luo, stage->hop);
}
