/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Was anything copied? Seen from outside, through /proc.
 *
 * The arena is the biggest memfd that the server has open. Its file is mapped here as
 * well, page for page, and the page frame numbers are read from our own pagemap: the same
 * numbers before and after an upgrade are the same memory. The frames that the successor
 * has in its own page table are held against them too.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "demo.h"

#define PAGE 4096ULL /* pagemap's unit on every machine that this runs on is the page size */
#define PFN_MASK ((1ULL << 55) - 1) /* bits 0-54 of a pagemap entry */
#define PAGEMAP_PRESENT (1ULL << 63)
#define CHUNK 512 /* pagemap entries read at one time */

struct demo_frames {
	pid_t pid;
	uint64_t inode;
	uint64_t dev;
	uint64_t blocks; /* bytes */
	uint64_t nr; /* pages of the file */
	uint64_t *pfn; /* 0: a hole, or not shown */
	bool shown;
};

/* Return: an fd of the biggest memfd of @pid, or -1. */
static int open_arena(pid_t pid, struct stat *best)
{
	char dir[64], path[400], target[64];
	char best_path[400] = "";
	struct dirent *entry;
	struct stat st;
	ssize_t n;
	DIR *d;

	memset(best, 0, sizeof(*best));
	snprintf(dir, sizeof(dir), "/proc/%d/fd", (int)pid);
	d = opendir(dir);
	while (d && (entry = readdir(d))) {
		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		n = readlink(path, target, sizeof(target) - 1);
		if (n < 7 || memcmp(target, "/memfd:", 7) || stat(path, &st))
			continue;
		if (*best_path && st.st_blocks <= best->st_blocks)
			continue;
		*best = st;
		snprintf(best_path, sizeof(best_path), "%s", path);
	}
	if (d)
		closedir(d);
	return *best_path ? open(best_path, O_RDONLY | O_CLOEXEC) : -1;
}

uint64_t demo_arena_inode(pid_t pid)
{
	struct stat st;
	int fd = open_arena(pid, &st);

	if (fd < 0)
		return 0;
	close(fd);
	return st.st_ino;
}

/* Frames of [from, to) of the mapping at @base. */
static void read_own(struct demo_frames *frames, int pagemap, const char *base, uint64_t from,
		     uint64_t to)
{
	uint64_t entries[CHUNK], page, nr, i;
	ssize_t n;

	madvise((void *)(base + from), to - from, MADV_POPULATE_READ);
	for (page = from / PAGE; page < to / PAGE; page += nr) {
		nr = to / PAGE - page < CHUNK ? to / PAGE - page : CHUNK;
		n = pread(pagemap, entries, nr * 8, (off_t)(((uintptr_t)base / PAGE + page) * 8));
		if (n <= 0)
			return;
		nr = (uint64_t)n / 8;
		for (i = 0; i < nr; i++) {
			if (!(entries[i] & PAGEMAP_PRESENT))
				continue;
			frames->pfn[page + i] = entries[i] & PFN_MASK;
			frames->shown |= (entries[i] & PFN_MASK) != 0;
		}
	}
}

static void read_file(struct demo_frames *frames, int fd, uint64_t size)
{
	char *base = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	off_t from = 0, to;

	/* Holes stay out: reading one through a mapping would allocate it. */
	while (base != MAP_FAILED && pagemap >= 0) {
		from = lseek(fd, from, SEEK_DATA);
		if (from < 0)
			break;
		to = lseek(fd, from, SEEK_HOLE);
		if (to < 0)
			break;
		read_own(frames, pagemap, base, (uint64_t)from & ~(PAGE - 1),
			 ((uint64_t)to + PAGE - 1) & ~(PAGE - 1));
		from = to;
	}
	if (pagemap >= 0)
		close(pagemap);
	if (base != MAP_FAILED)
		munmap(base, size);
}

struct demo_frames *demo_frames_of(pid_t pid)
{
	struct demo_frames *frames = calloc(1, sizeof(*frames));
	struct stat st;
	int fd = open_arena(pid, &st);

	if (!frames || fd < 0 || fstat(fd, &st))
		goto fail;
	frames->pid = pid;
	frames->inode = st.st_ino;
	frames->dev = st.st_dev;
	frames->blocks = (uint64_t)st.st_blocks * 512;
	frames->nr = ((uint64_t)st.st_size + PAGE - 1) / PAGE;
	frames->pfn = calloc(frames->nr ? frames->nr : 1, 8);
	if (!frames->pfn)
		goto fail;
	read_file(frames, fd, frames->nr * PAGE);
	close(fd);
	return frames;
fail:
	if (fd >= 0)
		close(fd);
	free(frames);
	return NULL;
}

void demo_frames_free(struct demo_frames *frames)
{
	if (!frames)
		return;
	free(frames->pfn);
	free(frames);
}

/* One mapping of the arena in the successor: its frames must be the file's. */
static void compare_mapping(const struct demo_frames *after, int pagemap, uint64_t start,
			    uint64_t end, uint64_t page, struct demo_copied *copied)
{
	uint64_t entries[CHUNK], nr, i, left = (end - start) / PAGE;
	ssize_t n;

	if (page >= after->nr)
		return;
	if (left > after->nr - page)
		left = after->nr - page;
	for (; left; left -= nr, page += nr, start += nr * PAGE) {
		nr = left < CHUNK ? left : CHUNK;
		n = pread(pagemap, entries, nr * 8, (off_t)(start / PAGE * 8));
		if (n <= 0)
			return;
		nr = (uint64_t)n / 8;
		for (i = 0; i < nr; i++) {
			if (!(entries[i] & PAGEMAP_PRESENT) || !(entries[i] & PFN_MASK))
				continue;
			if ((entries[i] & PFN_MASK) == after->pfn[page + i])
				copied->frames_mapped++;
			else if (after->pfn[page + i])
				copied->frames_moved++;
		}
	}
}

static void compare_mapped(const struct demo_frames *after, struct demo_copied *copied)
{
	unsigned long long start, end, offset, inode;
	char path[64], line[512];
	int pagemap;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)after->pid);
	pagemap = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)after->pid);
	maps = fopen(path, "re");
	while (maps && pagemap >= 0 && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%llx-%llx %*s %llx %*s %llu", &start, &end, &offset, &inode) ==
			    4 &&
		    inode == after->inode)
			compare_mapping(after, pagemap, start, end, offset / PAGE, copied);
	}
	if (maps)
		fclose(maps);
	if (pagemap >= 0)
		close(pagemap);
}

void demo_frames_compare(const struct demo_frames *before, const struct demo_frames *after,
			 struct demo_copied *copied)
{
	uint64_t i;

	copied->known = true;
	copied->same_file = before->inode == after->inode && before->dev == after->dev;
	copied->inode = after->inode;
	copied->blocks_before = before->blocks;
	copied->blocks_after = after->blocks;
	copied->frames_shown = before->shown && after->shown;
	for (i = 0; i < before->nr && i < after->nr; i++) {
		copied->frames += after->pfn[i] != 0;
		copied->frames_moved += before->pfn[i] != after->pfn[i] && before->pfn[i];
	}
	compare_mapped(after, copied);
	if (!copied->same_file) {
		copied->bytes = after->blocks;
		return;
	}
	copied->bytes = copied->frames_moved * PAGE;
	copied->bytes += before->blocks > after->blocks ? before->blocks - after->blocks
							: after->blocks - before->blocks;
}

uint64_t demo_private_bytes(pid_t pid, uint64_t inode)
{
	unsigned long long start, end, offset, ino, kib;
	bool counts = true;
	uint64_t sum = 0;
	char path[64], line[512];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%llx-%llx %*4s %llx %*x:%*x %llu", &start, &end, &offset, &ino) ==
		    4)
			counts = !inode || ino != inode;
		else if (counts && (sscanf(line, "Private_Clean: %llu", &kib) == 1 ||
				    sscanf(line, "Private_Dirty: %llu", &kib) == 1))
			sum += kib << 10;
	}
	if (f)
		fclose(f);
	return sum;
}
