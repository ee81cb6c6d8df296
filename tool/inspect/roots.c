/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Root FDTs in a memory dump. Nothing there says where the root is: only the next kernel is told. A root
 * is a page that begins with an FDT's magic number and is sound. That of a kernel before may lie
 * around as well; the live one is preserved in its own tree.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "model.h"
#include "tool.h"

#define FDT_MAGIC 0xedfe0dd0U /* bytes d0 0d fe ed */
#define STEP 4096ULL
#define FEW 65536 /* so few bytes are not worth a mapping */
#define WINDOW (32ULL << 20) /* of the file, mapped at once */

/* ---- one page ---- */

static bool speaks_of_kho(const char *page, size_t size)
{
	return memmem(page, size, "kho-v", 5) && memmem(page, size, KHO_ABI_ROOT_PROP_MEMORY_MAP,
							sizeof(KHO_ABI_ROOT_PROP_MEMORY_MAP));
}

static void look_closer(struct model *m, const void *page, struct candidate *c)
{
	struct khoc_subtree subtree;
	struct khoc_metadata metadata;
	struct khoc_block block;
	struct khoc_radix tree;
	size_t nr_gaps;
	int pos = 0;

	c->sound = true;
	while (!khoc_root_next(page, &pos, &subtree)) {
		c->nr_subtrees++;
		if (!strcmp(subtree.name, KHO_ABI_METADATA_NODE) &&
		    !khoc_metadata_read(&metadata, &m->source->mem, subtree.data, subtree.size,
					NULL)) {
			c->counted = true;
			c->count = metadata.count;
		}
	}
	nr_gaps = m->source->nr_gaps;
	if (!khoc_radix_attach(&tree, &m->source->mem, c->shift, khoc_root_tree(page))) {
		c->marks_itself = khoc_radix_lookup(&tree, c->pa, &block);
		c->tree_sound = !tree_validate(&tree, 0, NULL);
	}
	c->gaps = m->source->nr_gaps != nr_gaps;
}

/*
 * How much speaks for it? Of page sizes between which nothing decides the smaller is taken. What was left out
 * of a dump does not speak against it: the tree of a kernel before, which nobody needs, may be there whole.
 */
static int rank(const struct candidate *c)
{
	return !c->shift   ? 0
	       : !c->sound ? 1
			   : 2 + (c->gaps || c->tree_sound) + 2 * (c->gaps || c->marks_itself);
}

static void look_at(struct model *m, kho_pa_t pa)
{
	struct source *s = m->source;
	struct candidate best = {0};
	void *page = m->root;

	if (m->nr_candidates == CANDIDATES_MAX)
		return;
	for (unsigned int shift = 12; shift <= 16; shift += 2) {
		struct candidate c = {.pa = pa, .shift = shift};
		__u64 size = source_has(s, pa, 1ULL << shift);

		if (!(s->shifts >> shift & 1) || pa & ((1ULL << shift) - 1))
			continue;
		if (source_read(s, pa, page, size) || !speaks_of_kho(page, size))
			return;
		if (!khoc_root_check(page, size, pa, s->mem.size, &c.report))
			look_closer(m, page, &c);
		if (rank(&c) > rank(&best))
			best = c;
	}
	if (best.shift)
		m->candidates[m->nr_candidates++] = best;
}

/* ---- the scan ---- */

/* Somebody who truncates the file while we look at it must not kill us. */
static sigjmp_buf fallen;

static void on_bus(int sig)
{
	siglongjmp(fallen, sig);
}

/* Steps of one window: file bytes [@at, @at + @len) are those at @pa, which is aligned. */
static int scan_mapped(struct model *m, kho_pa_t pa, __u64 at, __u64 len)
{
	__u64 lead = at & (STEP - 1);
	struct sigaction old, act = {.sa_handler = on_bus};
	const char *bytes;
	__u64 i;

	bytes = mmap(NULL, lead + len, PROT_READ, MAP_SHARED, m->source->fd, (off_t)(at - lead));
	if (bytes == MAP_FAILED)
		return -errno;
	sigaction(SIGBUS, &act, &old);
	if (sigsetjmp(fallen, 1)) {
		sigaction(SIGBUS, &old, NULL);
		munmap((void *)bytes, lead + len);
		return -KHO_E_TRUNCATED;
	}
	for (i = 0; i + 8 <= len; i += STEP) {
		__u32 word;

		memcpy(&word, bytes + lead + i, 4);
		if (word == FDT_MAGIC)
			look_at(m, pa + i);
	}
	sigaction(SIGBUS, &old, NULL);
	munmap((void *)bytes, lead + len);
	return 0;
}

static void scan_read(struct model *m, kho_pa_t pa, __u64 len)
{
	for (__u64 i = 0; i + 8 <= len; i += STEP) {
		__u32 word;

		if (!source_read(m->source, pa + i, &word, 4) && word == FDT_MAGIC)
			look_at(m, pa + i);
	}
}

int roots_find(struct model *m)
{
	for (size_t n = 0; n < m->source->nr_pieces; n++) {
		const struct piece *p = &m->source->pieces[n];
		__u64 skip = -p->pa & (STEP - 1);

		while (skip < p->len) {
			__u64 len = p->len - skip < WINDOW ? p->len - skip : WINDOW;
			int r = m->source->live || len < FEW
					? -ENODEV
					: scan_mapped(m, p->pa + skip, p->at + skip, len);

			if (r == -KHO_E_TRUNCATED) {
				complain("%s: it became shorter while we read", m->source->name);
				return r;
			}
			if (r)
				scan_read(m, p->pa + skip, len);
			skip += len;
		}
	}
	return 0;
}

/* ---- choosing ---- */

static int take(struct model *m, const struct candidate *c)
{
	m->source->shift = c->shift;
	m->root_pa = c->pa;
	m->root_size = source_has(m->source, c->pa, 1ULL << c->shift);
	return source_read(m->source, c->pa, m->root, m->root_size);
}

static bool has_gaps(const struct source *s)
{
	for (size_t i = 0; i < s->nr_ram; i++)
		if (source_in_gaps(s, s->ram[i].pa, s->ram[i].len))
			return true;
	return false;
}

/* Of those that are equally good the one with the highest count: that of the newest kernel. */
static int choose_live(struct model *m)
{
	const struct candidate *best = NULL;
	bool doubt = false;

	for (unsigned int i = 0; i < m->nr_candidates; i++) {
		const struct candidate *c = &m->candidates[i];
		int better = best ? rank(c) - rank(best) : 1;

		if (!better)
			better = (c->count > best->count) - (c->count < best->count);
		doubt = better > 0 ? false : doubt || !better;
		best = better > 0 ? c : best;
	}
	if (!best) {
		complain("%s: no root FDT in it: no kernel with kho=on was running, or the "
			 "page's first bytes are lost (--fdt ADDRESS)%s",
			 m->source->name,
			 has_gaps(m->source) ? ", or its page was left out of the dump" : "");
		return -ENOENT;
	}
	if (doubt) {
		complain("%s: several root FDTs are as good as each other: choose with --fdt",
			 m->source->name);
		for (unsigned int i = 0; i < m->nr_candidates; i++)
			complain("  --fdt %#llx", (unsigned long long)m->candidates[i].pa);
		return -EEXIST;
	}
	return take(m, best);
}

static unsigned int likely_shift(const struct source *s)
{
	return (unsigned int)__builtin_ctzll(s->shifts);
}

static int choose_address(struct model *m, kho_pa_t pa)
{
	struct candidate c = {.pa = pa, .shift = likely_shift(m->source)};

	for (unsigned int i = 0; i < m->nr_candidates; i++)
		if (m->candidates[i].pa == pa)
			c = m->candidates[i];
	if (!source_has(m->source, pa, 1) || take(m, &c)) {
		complain("--fdt %#llx: that is not in %s", (unsigned long long)pa, m->source->name);
		return -KHO_E_RANGE;
	}
	return 0;
}

/* A copy of the root, as debugfs shows it. Where it is in the dump follows from its contents. */
static int choose_file(struct model *m, const char *path)
{
	char *copy = calloc(1, ROOT_FDT_MAX);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 || !copy ? -1 : read(fd, copy, ROOT_FDT_MAX);
	int r = n < 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	if (r) {
		complain("--fdt %s: %s", path, strerror(-r));
		free(copy);
		return r;
	}
	for (unsigned int i = 0; i < m->nr_candidates; i++)
		if (!take(m, &m->candidates[i]) && (size_t)n <= m->root_size &&
		    !memcmp(m->root, copy, (size_t)n)) {
			free(copy);
			return 0;
		}
	memcpy(m->root, copy, ROOT_FDT_MAX);
	free(copy);
	m->root_pa = 0;
	m->root_size = (size_t)n;
	m->source->shift = likely_shift(m->source);
	return 0;
}

int roots_choose(struct model *m, const char *fdt)
{
	char *end;
	__u64 pa;

	if (!fdt)
		return choose_live(m);
	pa = strtoull(fdt, &end, 0);
	return *fdt && !*end ? choose_address(m, pa) : choose_file(m, fdt);
}
