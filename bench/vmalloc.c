/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Areas of 64 MiB: made, preserved, freed, and restored by whoever attaches next; beside mmap() of
 * as much, with its pages there. Once with an arena that has room, once with one where only every
 * other page is free.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arena.h"
#include "page.h"
#include "rows.h"
#include "vmalloc.h"

#define SIZE (64UL << 20)
#define PAGES (SIZE / KHO_PAGE_SIZE)
#define ARENA_MAX (384ULL << 20)
#define ROUNDS 15

static struct rows rows;

static void need(bool ok)
{
	if (ok)
		return;
	fprintf(stderr, "bench-vmalloc: %s\n", kho_error());
	abort();
}

static void open_arena(void)
{
	int fd = kho_arena_create_("bench");

	need(fd >= 0 && !kho_arena_format_(fd, ARENA_MAX) && !kho_arena_map_(fd, true) &&
	     !kho_arena_own_());
}

/* As the next program does. */
static void attach_again(void)
{
	int fd = fcntl(kho_arena_.fd, F_DUPFD_CLOEXEC, 0);

	kho_arena_unmap_();
	need(!kho_arena_map_(fd, true) && !kho_arena_own_());
}

/* Every other page belongs to somebody for ever: preserved, so that it stays so. */
static void fragment(void)
{
	static struct page *page[3 * PAGES / 2 * 2];
	size_t nr = 0;

	while (nr < sizeof(page) / sizeof(*page) && (page[nr] = kho_alloc_pages(1)))
		nr++;
	for (size_t i = 0; i < nr; i++)
		if (i % 2)
			kho_free_pages(page[i], 1);
		else
			need(!kho_preserve_pages(page[i], 1));
	/* And all that is left in one piece. */
	for (struct page *rest; (rest = kho_alloc_pages(1024));)
		need(!kho_preserve_pages(rest, 1024));
}

struct metric {
	const char *name;
	struct row *row;
};

static void sample(struct metric *m, const char *name, const char *subject, const char *metric,
		   double value)
{
	if (!m->row)
		m->row = row_new(&rows, name, subject, metric,
				 strcmp(metric, "mappings") ? "us" : "count");
	row_add(m->row, value);
}

static void areas(const char *name, void *(*make)(size_t), bool scattered)
{
	struct metric alloc = {0}, preserve = {0}, restore = {0}, release = {0}, maps = {0};

	open_arena();
	if (scattered)
		fragment();
	for (int round = -2; round < ROUNDS; round++) {
		struct kho_vmalloc v = {0};
		double t[8];
		void *area;

		t[0] = now_ns();
		area = make(SIZE);
		t[1] = now_ns();
		need(area);
		need(!kho_preserve_vmalloc(area, &v));
		t[2] = now_ns();
		attach_again();
		t[3] = now_ns();
		area = kho_restore_vmalloc(&v);
		t[4] = now_ns();
		need(area);
		t[5] = (double)kho_vmalloc_mappings_();
		t[6] = now_ns();
		kho_unpreserve_vmalloc(&v);
		kho_vfree(area);
		t[7] = now_ns();
		if (round < 0)
			continue;
		sample(&alloc, name, "libkho", "alloc_us", (t[1] - t[0]) / 1e3);
		sample(&preserve, name, "libkho", "preserve_us", (t[2] - t[1]) / 1e3);
		sample(&restore, name, "libkho", "restore_us", (t[4] - t[3]) / 1e3);
		sample(&release, name, "libkho", "free_us", (t[7] - t[6]) / 1e3);
		sample(&maps, name, "libkho", "mappings", t[5]);
	}
	kho_arena_unmap_();
}

/* Anonymous memory, and a file as the arena's is: what has to be paid for the pages alone. */
static void plain(const char *subject, bool file)
{
	struct metric alloc = {0}, release = {0};

	for (int round = -2; round < ROUNDS; round++) {
		int fd = file ? memfd_create("bench", MFD_CLOEXEC) : -1;
		double t[4];
		void *p;

		need(!file || (fd >= 0 && !ftruncate(fd, SIZE)));
		t[0] = now_ns();
		need(!file || !fallocate(fd, 0, 0, SIZE));
		p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
			 file ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, fd, 0);
		t[1] = now_ns();
		need(p != MAP_FAILED);
		t[2] = now_ns();
		munmap(p, SIZE);
		t[3] = now_ns();
		if (file)
			close(fd);
		if (round < 0)
			continue;
		sample(&alloc, "pages", subject, "alloc_us", (t[1] - t[0]) / 1e3);
		sample(&release, "pages", subject, "free_us", (t[3] - t[2]) / 1e3);
	}
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	plain("mmap", false);
	plain("memfd", true);
	areas("vmalloc", kho_vmalloc, false);
	areas("vmalloc_huge", kho_vmalloc_huge, false);
	areas("kvmalloc", kho_kvmalloc, false);
	areas("vmalloc/gaps", kho_vmalloc, true);
	return rows_write(&rows, argv[1]);
}
