/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What a source contains: its root, its tree, and every preserved page with its owner.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <kho/abi/format.h>
#include <kho/core/arena.h>
#include <kho/core/compat.h>

#include "formats.h"
#include "model.h"
#include "tool.h"

#define STEPS_LEAST 100000
#define HEAL_MAX 1000 /* faults of a tree that are looked for */

/* ---- lists ---- */

void *list_add(struct list *list, const void *item, size_t size)
{
	if (array_grow(&list->at, list->nr, size))
		return NULL;
	return memcpy((char *)list->at + list->nr++ * size, item, size);
}

__u32 owner_add(struct model *m, enum owner_kind kind, const char *name, ...)
{
	struct owner o = {.kind = kind};
	char raw[sizeof(o.name)];
	va_list args;

	va_start(args, name);
	vsnprintf(raw, sizeof(raw), name, args);
	va_end(args);
	clean(o.name, sizeof(o.name), raw);
	return list_add(&m->owners, &o, sizeof(o)) ? (__u32)(m->owners.nr - 1) : NO_OWNER;
}

const char *owner_name(const struct model *m, __u32 owner)
{
	return ((const struct owner *)m->owners.at)[owner].name;
}

void claim(struct model *m, __u32 owner, kho_pa_t pa, __u64 len, bool alone)
{
	__u64 page = page_size(m);
	struct claim c = {pa & ~(page - 1), 0, owner, alone}, *last;

	if (!len || pa >= m->source->mem.size || len > m->source->mem.size - pa)
		return;
	c.len = ((pa + len + page - 1) & ~(page - 1)) - c.pa;
	last = m->claims.nr ? (struct claim *)m->claims.at + m->claims.nr - 1 : NULL;
	if (last && last->owner == owner && last->alone == alone && last->pa + last->len == c.pa)
		last->len += c.len;
	else if (m->claims.nr < CLAIMS_MAX)
		list_add(&m->claims, &c, sizeof(c));
}

bool spend(struct model *m, __u64 steps)
{
	struct khoc_report report = {.fault = KHO_E_RANGE, .level = -1, .field = "references"};

	if (steps <= m->steps) {
		m->steps -= steps;
		return true;
	}
	m->steps = 0;
	if (!m->tired)
		faults_add(&m->faults, &report,
			   "more references than it has room for: the rest is left out");
	m->tired = true;
	return false;
}

/* ---- the tree ---- */

/*
 * A fault of the tree, put right in our copy, so that the next one is found and the rest can be read: the
 * word is taken out.
 */
static bool heal(struct model *m, const struct khoc_report *report)
{
	__u64 *word = source_map(m->source, report->addr & ~7ULL, sizeof(*word));

	if (report->level < 0 || !word || !*word)
		return false;
	*word = 0;
	return true;
}

int tree_validate(const struct khoc_radix *tree, kho_pa_t data_lo, struct khoc_report *report)
{
	const struct khoc_mem *mem = tree->mem;
	size_t size = ((mem->node_hi - mem->node_lo) >> tree->shift) / 8 + 64;
	struct khoc_radix_check check = {.data_lo = data_lo, .data_hi = mem->size};
	int err;

	/* Most of it is never touched. */
	check.seen = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (check.seen == MAP_FAILED)
		return -ENOMEM;
	err = khoc_radix_validate(tree, &check, report);
	munmap(check.seen, size);
	return err;
}

const struct khoc_radix *whole_tree(const struct model *m)
{
	return m->have_tree && !m->faults.blind ? &m->tree : NULL;
}

static int make_tree(struct model *m)
{
	struct khoc_report report = {.structure = KHOC_S_RADIX_TABLE, .level = -1, .field = "root"};
	kho_pa_t root = khoc_root_tree(m->root);
	int err = khoc_radix_attach(&m->tree, &m->source->mem, m->source->shift, root);

	if (err) {
		report.fault = -err;
		report.addr = root;
		report.value = root;
		m->faults.blind = !faults_add(&m->faults, &report, "preserved memory");
		return err;
	}
	for (unsigned int i = 0; i < HEAL_MAX; i++) {
		err = tree_validate(&m->tree, m->source->header.data_pa, &report);
		if (err == -ENOMEM) {
			complain("%s: no memory", m->source->name);
			return err;
		}
		if (!err)
			break;
		if (!faults_add(&m->faults, &report, "preserved memory"))
			m->faults.blind = true;
		if (!heal(m, &report))
			break;
	}
	m->have_tree = !err;
	return 0;
}

static int count_node(void *ctx, kho_pa_t pa, int level)
{
	struct model *m = ctx;

	*(level ? &m->nr_tables : &m->nr_leaves) += 1;
	return 0;
}

/* By address; of those at one the largest first. */
static int by_address(const void *a, const void *b)
{
	const struct khoc_run *x = a, *y = b;

	if (x->pa != y->pa)
		return (x->pa > y->pa) - (x->pa < y->pa);
	return (x->order < y->order) - (x->order > y->order);
}

static void not_memory(struct model *m, const struct khoc_run *run)
{
	struct khoc_report report = {.fault = KHO_E_RANGE,
				     .structure = KHOC_S_RADIX_LEAF,
				     .level = 0,
				     .addr = run->pa,
				     .value = run->pa,
				     .field = "block"};

	faults_add(&m->faults, &report, "preserved memory: the machine has none there");
}

static int take_runs(struct model *m)
{
	struct khoc_radix_iter iter;
	struct khoc_run run;

	khoc_radix_nodes(&m->tree, count_node, m);
	khoc_radix_iter_init(&iter, &m->tree, 0, m->source->mem.size, 0,
			     khoc_max_order(m->source->shift));
	while (khoc_radix_iter_next(&iter, &run)) {
		m->order_blocks[run.order] += run.nr;
		if (m->runs.nr == RUNS_MAX)
			m->runs_cut = true;
		else if (!list_add(&m->runs, &run, sizeof(run)))
			return -ENOMEM;
		if (!source_is_ram(m->source, run.pa, run.nr << (m->source->shift + run.order)))
			not_memory(m, &run);
	}
	if (m->runs.nr)
		qsort(m->runs.at, m->runs.nr, sizeof(run), by_address);
	return 0;
}

/* Of a run that begins at or before @pa, how far it reaches; runs may overlap, but seldom. */
static __u64 reach(const struct model *m, kho_pa_t pa)
{
	const struct khoc_run *runs = m->runs.at;
	size_t lo = 0, hi = m->runs.nr;
	__u64 end = pa;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (runs[mid].pa <= pa)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (unsigned int back = 0; lo-- && back < 64; back++) {
		__u64 to = runs[lo].pa + (runs[lo].nr << (m->source->shift + runs[lo].order));

		end = to > end ? to : end;
	}
	return end;
}

bool is_preserved(const struct model *m, kho_pa_t pa, __u64 len)
{
	__u64 end = pa + len;

	while (pa < end) {
		__u64 to = reach(m, pa);

		if (to == pa)
			return false;
		pa = to;
	}
	return true;
}

/* ---- extents: runs and claims, side by side ---- */

static int claims_by_address(const void *a, const void *b)
{
	const struct claim *x = a, *y = b;

	if (x->pa != y->pa)
		return (x->pa > y->pa) - (x->pa < y->pa);
	return (x->owner > y->owner) - (x->owner < y->owner);
}

static const int structure_of[] = {
	[OWNER_ROOT] = KHOC_S_ROOT_FDT,	  [OWNER_SUBTREE] = KHOC_S_SUBTREE,
	[OWNER_LUO] = KHOC_S_LUO,	  [OWNER_SESSION] = KHOC_S_LUO_SESSION,
	[OWNER_FILE] = KHOC_S_MEMFD,	  [OWNER_RESERVE_MEM] = KHOC_S_RESERVE_MEM,
	[OWNER_VMALLOC] = KHOC_S_VMALLOC, [OWNER_ARRAY] = KHOC_S_ARRAY,
	[OWNER_BLOCKS] = KHOC_S_BLOCK,	  [OWNER_SLABS] = KHOC_S_SLAB,
	[OWNER_LARGE] = KHOC_S_LARGE,
};

static void claimed_twice(struct model *m, const struct claim *a, const struct claim *b)
{
	const struct owner *owners = m->owners.at;
	struct khoc_report report = {.fault = KHO_E_OVERLAP,
				     .structure = structure_of[owners[b->owner].kind],
				     .level = -1,
				     .addr = b->pa,
				     .value = b->pa,
				     .field = "page"};

	faults_add(&m->faults, &report, "%.60s, and %.60s", owner_name(m, a->owner),
		   owner_name(m, b->owner));
}

/* Sort claims, and cut what an earlier one has. */
static void settle_claims(struct model *m)
{
	struct claim *claims = m->claims.at, before = {0};
	size_t to = 0;
	__u64 end = 0;

	if (m->claims.nr)
		qsort(claims, m->claims.nr, sizeof(*claims), claims_by_address);
	for (size_t i = 0; i < m->claims.nr; i++) {
		struct claim c = claims[i];

		if (c.pa < end && c.alone && before.alone)
			claimed_twice(m, &before, &c);
		if (c.pa + c.len <= end)
			continue;
		if (c.pa < end) {
			c.len -= end - c.pa;
			c.pa = end;
		}
		end = c.pa + c.len;
		before = c;
		claims[to++] = c;
	}
	m->claims.nr = to;
}

static int add_extent(struct model *m, kho_pa_t pa, kho_pa_t end, __u32 order, __u32 owner)
{
	struct extent e = {pa, end - pa, owner, order},
		      *last = m->extents.nr ? (struct extent *)m->extents.at + m->extents.nr - 1
					    : NULL;
	__u64 pages = (end - pa) >> m->source->shift;

	m->pages += pages;
	m->pages_in_gaps += source_in_gaps(m->source, pa, end - pa) >> m->source->shift;
	((struct owner *)m->owners.at)[owner].pages += pages;
	if (last && last->pa + last->len == pa && last->order == order && last->owner == owner)
		last->len += e.len;
	else if (!list_add(&m->extents, &e, sizeof(e)))
		return -ENOMEM;
	return 0;
}

/* [@pa, @end) of one order, cut where claims begin and end. @i: the first claim that may count. */
static int cut_run(struct model *m, kho_pa_t pa, kho_pa_t end, __u32 order, size_t *i)
{
	const struct claim *claims = m->claims.at;
	int r = 0;

	while (pa < end && !r) {
		kho_pa_t to = end;
		__u32 owner = NO_OWNER;

		while (*i < m->claims.nr && claims[*i].pa + claims[*i].len <= pa)
			++*i;
		if (*i < m->claims.nr && claims[*i].pa <= pa) {
			owner = claims[*i].owner;
			to = claims[*i].pa + claims[*i].len;
		} else if (*i < m->claims.nr) {
			to = claims[*i].pa;
		}
		to = to < end ? to : end;
		r = add_extent(m, pa, to, order, owner);
		pa = to;
	}
	return r;
}

static int make_extents(struct model *m)
{
	const struct khoc_run *runs = m->runs.at;
	kho_pa_t done = 0;
	size_t at = 0;
	int r = 0;

	settle_claims(m);
	for (size_t i = 0; i < m->runs.nr && !r; i++) {
		kho_pa_t pa = runs[i].pa,
			 end = pa + (runs[i].nr << (m->source->shift + runs[i].order));

		if (pa < done)
			pa = done;
		if (pa >= end)
			continue;
		r = cut_run(m, pa, end, runs[i].order, &at);
		done = end;
	}
	return r;
}

/* ---- all of it ---- */

static int find_root(struct model *m, const char *fdt)
{
	struct source *s = m->source;
	__u64 at;

	if (s->kind == SOURCE_DUMP)
		return roots_find(m) ?: roots_choose(m, fdt);
	if (fdt)
		complain("%s: --fdt is not used: an arena says itself where its root FDT is",
			 s->name);
	/* khoc_arena_check() has accepted the word. */
	if (khoc_cword_get(s->header.root_fdt, offsetof(struct kho_abi_arena_header, root_fdt),
			   &at))
		return -KHO_E_CHECKSUM;
	m->root_pa = at;
	m->root_size = KHO_ABI_FDT_MAX;
	return source_read(s, at, m->root, m->root_size);
}

static void make_root(struct model *m)
{
	struct khoc_report report;

	if (khoc_root_check(m->root, m->root_size, m->root_pa, m->source->mem.size, &report)) {
		faults_add(&m->faults, &report, "root FDT");
		return;
	}
	m->have_root = true;
}

/* The parts that a handover says it is made of: are they those that are decoded here? */
static void check_parts(struct model *m)
{
	static const struct khoc_compat_reads reads[] = {
		KHO_READS_
		/* of kernels alone */
		{"luo", 5, 5, false},
		{"memblock", 1, 1, false},
		{"memfd", 2, 2, false},
		{"sparsefd", 1, 1, false},
		{"types", 1, 1, false},
	};
	const char *parts = m->have_root ? khoc_root_composite(m->root) : NULL;
	struct khoc_compat_why why;
	struct khoc_report report;
	char text[256];

	if (!parts || !khoc_compat_match(parts, strlen(parts) + 1, reads,
					 sizeof(reads) / sizeof(reads[0]), &why))
		return;
	report = (struct khoc_report){KHO_E_INCOMPATIBLE, KHOC_S_ROOT_FDT, -1,		m->root_pa,
				      why.version,	  why.max,	   "compatible"};
	faults_add(&m->faults, &report, "root: %s", khoc_compat_text(&why, text, sizeof(text)));
}

static void say_cut(struct model *m)
{
	struct khoc_report report = {.fault = KHO_E_TRUNCATED,
				     .level = -1,
				     .value = m->source->cut,
				     .field = "segments"};

	if (m->source->cut)
		faults_add(&m->faults, &report, "the dump: bytes that the file has not");
}

static void check_own_page(struct model *m)
{
	struct khoc_report report =
		report_unpreserved(KHOC_S_ROOT_FDT, m->root_pa, m->root_pa, "page");
	__u32 owner;

	if (m->source->kind != SOURCE_DUMP || !m->root_pa)
		return;
	owner = owner_add(m, OWNER_ROOT, "root FDT");
	claim(m, owner, m->root_pa, page_size(m), true);
	if (whole_tree(m) && !is_preserved(m, m->root_pa, 1))
		faults_add(&m->faults, &report, "root FDT: its tree does not have it");
}

int model_make(struct model *m, struct source *s, const char *fdt)
{
	int r;

	*m = (struct model){.source = s, .steps = STEPS_LEAST};
	/* /proc/kcore says that it is larger than memory, a dump may leave some out. */
	m->steps += (s->file_size < s->mem.size ? s->file_size : s->mem.size) / 16;
	m->root = calloc(1, ROOT_FDT_MAX);
	if (!m->root || owner_add(m, OWNER_NONE, "nobody")) {
		complain("no memory");
		return -ENOMEM;
	}
	r = find_root(m, fdt);
	if (r)
		return r;
	/* What was wanted of other candidates does not count. */
	s->nr_gaps = 0;
	m->faults.source = s;
	m->faults.gaps = &m->gaps;
	s->mem.node_hi &= ~(page_size(m) - 1);
	say_cut(m);
	make_root(m);
	if (m->have_root)
		r = make_tree(m);
	if (r == -ENOMEM)
		return r;
	r = m->have_tree ? take_runs(m) : 0;
	check_own_page(m);
	if (!r && m->have_root) {
		decode_subtrees(m);
		check_parts(m);
		decode_linux(m);
	}
	if (!r && s->kind == SOURCE_ARENA)
		decode_arena(m);
	r = r ?: make_extents(m);
	if (r)
		complain("%s: no memory", s->name);
	return r;
}

void model_free(struct model *m)
{
	struct list *lists[] = {&m->runs,  &m->owners,	 &m->claims,   &m->extents, &m->subtrees,
				&m->files, &m->areas,	 &m->sessions, &m->sets,    &m->arrays,
				&m->slabs, &m->reserved, &m->flbs,     &m->doubts};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		free(lists[i]->at);
	free(m->root);
	faults_free(&m->faults);
	faults_free(&m->gaps);
	*m = (struct model){0};
}
