/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Private to kho inspect, map, diff and verify: what is handed over, and who owns it.
 *
 *	owner	whom a preserved page belongs to: a subtree, a session, a file, a structure
 *	claim	memory that an owner says is its own
 *	extent	preserved memory of one order and one owner
 *
 *	roots.c		finds root FDTs in a dump
 *	model_make.c	root, tree, extents
 *	decode_ours.c	decodes our structures, wherever they are
 *	decode_linux.c	decodes what Linux hands over
 *	decode_arena.c	decodes what is in an arena
 *	view_*.c	show it
 */
#ifndef KHO_TOOL_MODEL_H
#define KHO_TOOL_MODEL_H

#include <kho/abi/block_types.h>
#include <kho/abi/compat.h>
#include <kho/core/block.h>
#include <kho/core/luo.h>
#include <kho/core/memfd.h>
#include <kho/core/metadata.h>
#include <kho/core/radix.h>
#include <kho/core/reserve_mem.h>
#include <kho/core/root.h>

#include "faults.h"
#include "source.h"

#define ROOT_FDT_MAX 0x10000 /* a page of 64 KiB; a slot of an arena */
#define CANDIDATES_MAX 64
#define RUNS_MAX (4U << 20)
#define CLAIMS_MAX (8U << 20)
#define HEX_MAX 64
#define NO_OWNER 0U /* nobody: the first of the owners */

/* A page that looks like a root FDT. */
struct candidate {
	kho_pa_t pa;
	unsigned int shift;
	bool sound;
	bool tree_sound;
	bool marks_itself; /* it is preserved in its own tree */
	bool gaps; /* the tree is not in the dump, or not all */
	unsigned int nr_subtrees;
	bool counted; /* @count was there */
	__u32 count; /* of its kexec-metadata */
	struct khoc_report report; /* of one that is not sound */
};

enum owner_kind {
	OWNER_NONE,
	OWNER_ROOT,
	OWNER_SUBTREE,
	OWNER_LUO, /* session records, FLBs */
	OWNER_SESSION,
	OWNER_FILE,
	OWNER_RESERVE_MEM,
	OWNER_VMALLOC,
	OWNER_ARRAY,
	OWNER_BLOCKS,
	OWNER_SLABS,
	OWNER_LARGE,
};

/* @pages: preserved, each once. */
struct owner {
	enum owner_kind kind;
	char name[112];
	__u64 pages;
};

struct claim {
	kho_pa_t pa;
	__u64 len;
	__u32 owner;
	bool alone; /* nobody else may have these pages */
};

struct extent {
	kho_pa_t pa;
	__u64 len;
	__u32 owner;
	__u32 order;
};

/* A subtree, with what was made of its blob. */
struct subtree {
	char name[KHO_ABI_ROOT_NAME_MAX + 1];
	char type[40]; /* "" without */
	__u32 type_version;
	kho_pa_t data;
	__u64 size;
	const char *format; /* NULL: unknown */
	bool preserved; /* all of the blob; in an arena, or a cell */
	unsigned int nr_hex;
	__u8 hex[HEX_MAX]; /* of the blob's start, if its format is not known */
};

struct file {
	__u32 session; /* index */
	char handler[KHO_ABI_LUO_HANDLER_LEN + 1];
	__u64 token;
	__u64 data;
	bool is_memfd;
	struct khoc_memfd memfd;
	__u64 nr_folios; /* that were sound */
};

struct session {
	char name[KHO_ABI_LUO_SESSION_NAME_LEN + 1];
	__u64 nr_files;
};

struct area {
	kho_pa_t first;
	__u64 pages;
	unsigned int order;
	__u64 nr_blocks;
	__u32 owner;
	bool sound;
};

struct block_set {
	kho_pa_t first;
	__u64 nr_blocks, nr_records;
	__u32 owner;
	bool sound;
};

struct array_info {
	kho_pa_t at;
	__u64 entries, pages;
	__u32 owner;
	bool sound;
};

/* What may be a descriptor of scattered memory, or may have been one: its list is not sound. */
struct doubt {
	struct kho_abi_vmalloc desc;
	kho_pa_t at;
	char whose[KHO_ABI_ROOT_NAME_MAX + 16];
};

/* Slabs of one object size and cache. */
struct slabs {
	__u32 object_size;
	kho_pa_t cache;
	char cache_name[KHO_ABI_ROOT_NAME_MAX + 1];
	__u64 nr_slabs, nr_bad;
	__u64 live, freed, reserved, free;
	__u32 owner;
};

/* An array of anything; see list_add(). */
struct list {
	void *at;
	size_t nr;
};

/**
 * struct model - what a source contains
 * @root: the FDT, in ROOT_FDT_MAX bytes; @root_size of them count
 * @root_pa: 0: not in the source
 * @have_root, @have_tree: they can be read
 * @gaps: what is not in the dump and was wanted; no faults
 * @pages_in_gaps: of @pages, those whose bytes are not in the dump, or not all
 * @runs: of the tree, by address
 * @nr_tables, @nr_leaves: nodes
 * @order_blocks: by order
 * @tired: there were more references than there can be
 */
struct model {
	struct source *source;
	struct faults faults, gaps;
	struct candidate candidates[CANDIDATES_MAX];
	unsigned int nr_candidates;
	void *root;
	size_t root_size;
	kho_pa_t root_pa;
	bool have_root, have_tree;
	struct khoc_radix tree;
	struct list runs; /* struct khoc_run */
	bool runs_cut;
	__u64 nr_tables, nr_leaves;
	__u64 order_blocks[64];
	__u64 pages; /* preserved, each once */
	__u64 pages_in_gaps;
	struct list owners; /* struct owner; the first is nobody */
	struct list claims; /* struct claim */
	struct list extents; /* struct extent */
	struct list subtrees, sessions, files, areas, sets, arrays, slabs;
	struct list doubts;
	struct list reserved; /* struct khoc_reserve_mem_region */
	struct list flbs; /* struct khoc_luo_flb */
	struct khoc_luo luo;
	bool have_luo;
	struct khoc_metadata metadata;
	bool have_metadata;
	__u64 generation, state; /* of an arena */
	struct kho_abi_owner holder;
	__u64 nr_intents;
	__u64 nr_large, large_bytes;
	__u32 large_owner; /* NO_OWNER: none yet */
	__u64 type_blocks[KHO_ABI_TYPES]; /* preserved as what, if have_types */
	bool have_types;
	char writes[KHO_ABI_COMPAT_MAX]; /* what the kernel that hands over writes, or "" */
	__u64 steps; /* that are left: see spend() */
	bool tired;
};

/* ---- roots.c ---- */

/* Find what looks like a root. Return: 0 or negative. */
int roots_find(struct model *m);
/* Choose one, from the command line (NULL: the live one). Return: 0; negative, having complained. */
int roots_choose(struct model *m, const char *fdt);

/* ---- model_make.c ---- */

/* Make it all. @fdt: --fdt or NULL. Return: 0; negative, having complained. */
int model_make(struct model *m, struct source *s, const char *fdt);
void model_free(struct model *m);

/* Add @size bytes to a list of such. Return: where it is now; NULL: no memory. */
void *list_add(struct list *list, const void *item, size_t size);

__u32 owner_add(struct model *m, enum owner_kind kind, const char *name, ...)
	__attribute__((format(printf, 3, 4)));
const char *owner_name(const struct model *m, __u32 owner);
void claim(struct model *m, __u32 owner, kho_pa_t pa, __u64 len, bool alone);
/* khoc_radix_validate() over the whole image. Return: 0, a fault, -ENOMEM. */
int tree_validate(const struct khoc_radix *tree, kho_pa_t data_lo, struct khoc_report *report);
/*
 * Many words may lead to one structure, over and over. Sound ones are as many as there is room for: 16 bytes for
 * each step are the least that any of them needs. Return: may @steps more be taken?
 */
bool spend(struct model *m, __u64 steps);
/* The tree, if all of it is there: else nobody can tell what is not preserved. NULL: it is not. */
const struct khoc_radix *whole_tree(const struct model *m);
/* Is each page of it in a block of the tree? */
bool is_preserved(const struct model *m, kho_pa_t pa, __u64 len);

static inline __u64 page_size(const struct model *m)
{
	return 1ULL << m->source->shift;
}

/* ---- decode_linux.c, decode_arena.c: fill in the rest ---- */

void decode_subtrees(struct model *m);
void decode_linux(struct model *m);
void decode_arena(struct model *m);
/* Claim the pages of @set, which @counts has counted, and keep it in m->sets. @alone: as for claim(). */
void take_blocks_of(struct model *m, struct block_set *set, const struct khoc_block_counts *counts,
		    bool alone);

/* ---- decode_ours.c ---- */

/* Keep it in m->arrays; its pages are @owner's. Return: is it sound? */
bool decode_array(struct model *m, __u32 owner, kho_pa_t pa);
void decode_slab(struct model *m, kho_pa_t pa, unsigned int order);
/* A record of a cache: its slabs, which were decoded, get its name. */
void decode_cache(struct model *m, kho_pa_t pa, const char *whose);
/* A memory file with holes. */
void decode_sparse(struct model *m, struct file *f, __u32 owner);
void decode_types(struct model *m, const struct subtree *t);
void decode_slabs(struct model *m, const struct subtree *t);
void decode_formats(struct model *m, const struct subtree *t);
/* Is there a slab of an arena? */
bool is_heap(struct model *m, kho_pa_t pa);
/* A list of blocks, whose descriptor is at @at: claim its pages for @owner, keep it in m->areas. */
void decode_vmalloc(struct model *m, __u32 owner, const struct kho_abi_vmalloc *desc, kho_pa_t at);

/* ---- view_text.c ---- */

/* Untrusted text: what is not printable ASCII becomes \xNN. Return: @to. */
const char *clean(char *to, size_t size, const char *from);
/* "s" unless it is one. */
const char *plural(__u64 nr);
/* "4.0 KiB" */
const char *human(char *to, size_t size, __u64 bytes);

#endif
