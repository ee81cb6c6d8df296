/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Bytes of an image by address: pieces of a file, read when they are wanted.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <kho/core/report.h>

#include "source.h"
#include "tool.h"

#define UNIT_SHIFT 12 /* what is read at once */
#define UNIT (1ULL << UNIT_SHIFT)

static void *map_for_core(void *ctx, kho_pa_t pa, size_t len)
{
	return source_map(ctx, pa, len);
}

static const struct khoc_mem_ops ops = {.map = map_for_core};

/* ---- arranging ---- */

int source_add_piece(struct source *s, kho_pa_t pa, __u64 len, __u64 at)
{
	if (!len)
		return 0;
	if (array_grow(&s->pieces, s->nr_pieces, sizeof(*s->pieces)))
		return -ENOMEM;
	s->pieces[s->nr_pieces++] = (struct piece){pa, len, at};
	return 0;
}

int source_add_ram(struct source *s, kho_pa_t pa, __u64 len)
{
	if (!len)
		return 0;
	if (array_grow(&s->ram, s->nr_ram, sizeof(*s->ram)))
		return -ENOMEM;
	s->ram[s->nr_ram++] = (struct span){pa, len};
	return 0;
}

/* Both begin with an address. */
static int by_address(const void *a, const void *b)
{
	kho_pa_t x = *(const kho_pa_t *)a, y = *(const kho_pa_t *)b;

	return (x > y) - (x < y);
}

/* Of pieces that overlap the one that begins first counts: /proc/kcore has the kernel twice. */
static void trim_pieces(struct source *s)
{
	size_t to = 0;
	__u64 end = 0;

	for (size_t i = 0; i < s->nr_pieces; i++) {
		struct piece p = s->pieces[i];
		__u64 skip = p.pa < end ? end - p.pa : 0;

		if (skip >= p.len)
			continue;
		s->pieces[to++] = (struct piece){p.pa + skip, p.len - skip, p.at + skip};
		end = p.pa + p.len;
	}
	s->nr_pieces = to;
}

static void merge_ram(struct source *s)
{
	size_t to = 0;

	for (size_t i = 0; i < s->nr_ram; i++) {
		struct span *last = to ? &s->ram[to - 1] : NULL, r = s->ram[i];

		if (!last || r.pa > last->pa + last->len)
			s->ram[to++] = r;
		else if (r.pa + r.len > last->pa + last->len)
			last->len = r.pa + r.len - last->pa;
	}
	s->nr_ram = to;
}

int source_arrange(struct source *s)
{
	if (s->nr_pieces)
		qsort(s->pieces, s->nr_pieces, sizeof(*s->pieces), by_address);
	if (s->nr_ram)
		qsort(s->ram, s->nr_ram, sizeof(*s->ram), by_address);
	trim_pieces(s);
	merge_ram(s);
	for (size_t i = 0; i < s->nr_pieces; i++) {
		const struct piece *p = &s->pieces[i];
		struct region *last = s->nr_regions ? &s->regions[s->nr_regions - 1] : NULL;

		if (last && last->pa + last->len == p->pa) {
			last->len += p->len;
			continue;
		}
		if (array_grow(&s->regions, s->nr_regions, sizeof(*s->regions)))
			return -ENOMEM;
		s->regions[s->nr_regions++] = (struct region){.pa = p->pa, .len = p->len};
	}
	return 0;
}

/* ---- reading ---- */

static struct region *region_of(const struct source *s, kho_pa_t pa)
{
	size_t i = span_behind(s->regions, s->nr_regions, sizeof(*s->regions), pa);

	return i < s->nr_regions && s->regions[i].pa <= pa ? &s->regions[i] : NULL;
}

static int read_file(const struct source *s, __u64 at, char *to, __u64 len)
{
	while (len) {
		ssize_t n = pread(s->fd, to, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -KHO_E_TRUNCATED;
		at += (__u64)n;
		to += n;
		len -= (__u64)n;
	}
	return 0;
}

__u64 source_has(const struct source *s, kho_pa_t pa, __u64 max)
{
	const struct region *r = region_of(s, pa);
	__u64 left = r ? r->len - (pa - r->pa) : 0;

	return left < max ? left : max;
}

/* Remember where the first byte is that was wanted and is not there. A page outside memory is nobody's gap. */
static void note_gap(struct source *s, kho_pa_t pa, __u64 len)
{
	__u64 has = source_has(s, pa, len);

	if (has < len && source_is_ram(s, pa, len))
		s->gaps[s->nr_gaps++ % GAPS_MAX] = (struct wanted){pa, len, has};
}

kho_pa_t source_gap_at(const struct source *s, kho_pa_t pa)
{
	size_t nr = s->nr_gaps < GAPS_MAX ? s->nr_gaps : GAPS_MAX;

	for (size_t i = 0; i < nr; i++)
		if (s->gaps[i].pa >> UNIT_SHIFT == pa >> UNIT_SHIFT ||
		    (s->gaps[i].pa <= pa && pa - s->gaps[i].pa < s->gaps[i].len))
			return s->gaps[i].pa + s->gaps[i].has;
	return NO_GAP;
}

__u64 source_in_gaps(const struct source *s, kho_pa_t pa, __u64 len)
{
	size_t i = span_behind(s->regions, s->nr_regions, sizeof(*s->regions), pa);
	kho_pa_t end = pa + len;

	for (; i < s->nr_regions && s->regions[i].pa < end; i++) {
		kho_pa_t from = s->regions[i].pa > pa ? s->regions[i].pa : pa;
		kho_pa_t to = s->regions[i].pa + s->regions[i].len;

		len -= (to < end ? to : end) - from;
	}
	return len;
}

int source_read(struct source *s, kho_pa_t pa, void *to, size_t len)
{
	char *at = to;

	if (source_has(s, pa, len) < len) {
		note_gap(s, pa, len);
		return -KHO_E_RANGE;
	}
	for (size_t i = span_behind(s->pieces, s->nr_pieces, sizeof(*s->pieces), pa); len; i++) {
		const struct piece *p = &s->pieces[i];
		__u64 left = p->len - (pa - p->pa), n = left < len ? left : len;
		int r = read_file(s, p->at + (pa - p->pa), at, n);

		if (r)
			return r;
		pa += n;
		at += n;
		len -= n;
	}
	return 0;
}

/* ---- copies ---- */

static __u64 units(const struct region *r)
{
	return ((r->pa & (UNIT - 1)) + r->len + UNIT - 1) >> UNIT_SHIFT;
}

static size_t bitmap_size(const struct region *r)
{
	return units(r) / 64 * 8 + 8;
}

static void *reserve(size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

static bool prepare(struct region *r)
{
	if (r->base)
		return true;
	r->base = reserve(units(r) << UNIT_SHIFT);
	r->loaded = r->base ? reserve(bitmap_size(r)) : NULL;
	if (r->loaded)
		return true;
	if (r->base)
		munmap(r->base, units(r) << UNIT_SHIFT);
	r->base = NULL;
	return false;
}

static int load(struct source *s, struct region *r, __u64 unit)
{
	kho_pa_t lo = (r->pa & ~(UNIT - 1)) + (unit << UNIT_SHIFT), hi = lo + UNIT;
	char *to = r->base + (unit << UNIT_SHIFT);
	kho_pa_t from = lo < r->pa ? r->pa : lo;
	int err;

	if (hi > r->pa + r->len)
		hi = r->pa + r->len;
	err = source_read(s, from, to + (from - lo), hi - from);
	if (!err)
		r->loaded[unit / 64] |= 1ULL << (unit % 64);
	return err;
}

void *source_map(struct source *s, kho_pa_t pa, size_t len)
{
	struct region *r = region_of(s, pa);
	__u64 at, first, last;

	if (!r || len > r->len - (pa - r->pa)) {
		note_gap(s, pa, len);
		return NULL;
	}
	if (!len || !prepare(r))
		return NULL;
	at = pa - (r->pa & ~(UNIT - 1));
	first = at >> UNIT_SHIFT;
	last = (at + len - 1) >> UNIT_SHIFT;
	for (__u64 unit = first; unit <= last; unit++)
		if (!(r->loaded[unit / 64] >> (unit % 64) & 1) && load(s, r, unit))
			return NULL;
	return r->base + at;
}

void source_forget(struct source *s, kho_pa_t pa, __u64 len)
{
	struct region *r = region_of(s, pa);
	__u64 at, first, last;

	if (!r || !r->base || len > r->len - (pa - r->pa) || !len)
		return;
	at = pa - (r->pa & ~(UNIT - 1));
	first = at >> UNIT_SHIFT;
	last = (at + len - 1) >> UNIT_SHIFT;
	for (__u64 unit = first; unit <= last; unit++)
		r->loaded[unit / 64] &= ~(1ULL << (unit % 64));
	madvise(r->base + (first << UNIT_SHIFT), (last - first + 1) << UNIT_SHIFT, MADV_DONTNEED);
}

void source_renew(struct source *s)
{
	for (size_t i = 0; i < s->nr_regions; i++) {
		struct region *r = &s->regions[i];

		if (!r->base)
			continue;
		munmap(r->base, units(r) << UNIT_SHIFT);
		munmap(r->loaded, bitmap_size(r));
		r->base = NULL;
		r->loaded = NULL;
	}
}

size_t source_ram_at(const struct source *s, kho_pa_t pa)
{
	return span_behind(s->ram, s->nr_ram, sizeof(*s->ram), pa);
}

bool source_is_ram(const struct source *s, kho_pa_t pa, __u64 len)
{
	size_t i = source_ram_at(s, pa);

	return i < s->nr_ram && s->ram[i].pa <= pa && len <= s->ram[i].len - (pa - s->ram[i].pa);
}

/* ---- opening ---- */

#define AS_ELF                                                                                     \
	"take the dump with makedumpfile -E, or QEMU's dump-guest-memory without -z, -l and -s"

/* Compressed or not: the format is that of makedumpfile without -E. */
static bool is_kdump(const char *magic)
{
	return !memcmp(magic, "KDUMP   ", 8) || !memcmp(magic, "DISKDUMP", 8);
}

#define FLAT_RECORDS_MAX (1U << 20)

/*
 * What goes through a pipe (makedumpfile -F): records, 4096 bytes from the start on, of an offset and a size, most
 * significant byte first, and the bytes that belong there, in any order. What does the file that -R makes begin with?
 * Return: is that known?
 */
static bool flattened_start(const struct source *s, char start[8])
{
	__u64 at = 4096, record[2];

	for (unsigned int i = 0; i < FLAT_RECORDS_MAX; i++) {
		if (read_file(s, at, (char *)record, sizeof(record)))
			return false;
		at += sizeof(record);
		record[1] = be64toh(record[1]);
		if (!record[0])
			return record[1] >= 8 && !read_file(s, at, start, 8);
		/* The last has sizes of -1. */
		if (at > s->file_size || record[1] > s->file_size - at)
			return false;
		at += record[1];
	}
	return false;
}

static void refuse_flattened(const struct source *s)
{
	char start[8];

	if (!flattened_start(s, start))
		complain("%s: a flattened kernel dump: put it together with makedumpfile -R OUT "
			 "<%s; an ELF core (-F -E) is read here then",
			 s->name, s->name);
	else if (!memcmp(start, "\177ELF", 4))
		complain("%s: an ELF core, flattened: put it together with "
			 "makedumpfile -R OUT <%s, and give OUT",
			 s->name, s->name);
	else
		complain("%s: flattened, and in the kdump-compressed format, of which makedumpfile "
			 "cannot make an ELF core, with -R neither: " AS_ELF,
			 s->name);
}

static int open_backend(struct source *s)
{
	char magic[8] = "";
	struct stat st;

	if (fstat(s->fd, &st)) {
		complain("%s: %s", s->name, strerror(errno));
		return -errno;
	}
	if (S_ISDIR(st.st_mode) || S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)) {
		complain("%s: not a file that can be read at any place", s->name);
		return -EINVAL;
	}
	s->file_size = (__u64)st.st_size;
	if (read_file(s, 0, magic, sizeof(magic))) {
		complain("%s: shorter than any image, or not to be read", s->name);
		return -KHO_E_TRUNCATED;
	}
	if (!memcmp(magic, "\177ELF", 4))
		return source_elf_open(s);
	if (!memcmp(magic, "KO ARENA", 8))
		return source_arena_open(s);
	if (is_kdump(magic))
		complain("%s: in the kdump-compressed format, which is not read here, and of "
			 "which makedumpfile cannot make an ELF core: " AS_ELF,
			 s->name);
	else if (!memcmp(magic, "makedump", 8))
		refuse_flattened(s);
	else
		complain("%s: neither an arena nor an ELF core: it begins with other bytes",
			 s->name);
	return -KHO_E_MAGIC;
}

int source_open_fd(struct source *s, const char *name, int fd, bool live, pid_t pid)
{
	int r;

	*s = (struct source){.name = name, .fd = fd, .live = live, .pid = pid};
	s->mem = (struct khoc_mem){.ops = &ops, .ctx = s};
	r = open_backend(s);
	if (!r && source_arrange(s)) {
		complain("%s: no memory", name);
		r = -ENOMEM;
	}
	if (r)
		source_close(s);
	return r;
}

void source_close(struct source *s)
{
	source_renew(s);
	free(s->pieces);
	free(s->regions);
	free(s->ram);
	s->pieces = NULL;
	s->regions = NULL;
	s->ram = NULL;
	s->nr_pieces = s->nr_regions = s->nr_ram = 0;
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}
