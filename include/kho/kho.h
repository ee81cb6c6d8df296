/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The core of libkho: formats of a handover as algorithms on any image, without
 * globals, I/O or a C library. Both hosts are built on it; a program normally
 * wants <kho/host.h> instead.
 *
 * Errors. Functions return 0 or a negative number: an errno where one fits, else
 * a fault of the table below. Nothing here asserts on what an image contains.
 *
 * Memory. The core never dereferences an address that it did not get from
 * khoc_map(), and never takes a step through incoming bytes without a bound.
 *
 * Context. Nothing sleeps or locks. Functions are reentrant; what may run at
 * the same time as what is said at each object.
 */
#ifndef KHO_KHO_H
#define KHO_KHO_H

#include <stdbool.h>
#include <stddef.h>

#include <kho/abi/arena.h>
#include <kho/abi/radix.h>
#include <kho/abi/root.h>
#include <kho/types.h>

/**
 * enum khoc_fault - what is wrong with an image; functions return them negated
 *
 * The numbers are stable. They start above every errno and fit ERR_PTR().
 */
enum khoc_fault {
	KHO_E_TRUNCATED = 4000, /* a structure ends outside the bytes that there are */
	KHO_E_MAGIC = 4001, /* not this structure at all */
	KHO_E_VERSION = 4002, /* a version or feature that this reader does not know */
	KHO_E_CHECKSUM = 4003, /* a checksum does not match */
	KHO_E_ALIGN = 4004, /* an address that must be aligned is not */
	KHO_E_RANGE = 4005, /* an address or count outside its limits */
	KHO_E_CYCLE = 4006, /* a node reached twice: a loop, or two parents */
	KHO_E_KEY = 4007, /* a tree key that no block of this image can have */
	KHO_E_OVERLAP = 4008, /* preserved memory overlaps memory that must not be */
	KHO_E_FORMAT = 4009, /* a token, name, property or field that the format forbids */
	KHO_E_DUPLICATE = 4010, /* one name twice */
	KHO_E_INCOMPATIBLE = 4011, /* well formed, but of a format that this reader does not take */
	KHO_E_TYPE = 4012, /* a block is not of the type asked for */
	KHO_E_ORDER = 4013, /* a block is not of the order asked for, or two records disagree */
	KHO_E_NOT_PRESERVED = 4014, /* nothing preserved there */
	KHO_E_CLAIMED = 4015, /* restored before */
	KHO_E_STATE = 4016, /* an object is in a state that the format does not have */
	KHO_E_MAX = 4017,
};

/* Which structure a report is about. */
enum khoc_structure {
	KHOC_S_NONE,
	KHOC_S_ARENA_HEADER,
	KHOC_S_ROOT_FDT,
	KHOC_S_SUBTREE,
	KHOC_S_RADIX_TABLE,
	KHOC_S_RADIX_LEAF,
	KHOC_S_DESC,
	KHOC_S_SLAB,
	KHOC_S_LARGE,
	KHOC_S_INTENT,
	KHOC_S_CELL,
	KHOC_S_OWNER,
	KHOC_S_METADATA,
	KHOC_S_MAX,
};

/**
 * struct khoc_report - why something was refused
 * @fault: enum khoc_fault, or 0 when all is well
 * @structure: enum khoc_structure: what was being read
 * @level: level of the tree (0 = leaf), -1 where there is none
 * @addr: address in the image of the word, or start of the structure, at fault
 * @value: what was found
 * @limit: what it was held against (an upper bound, an expected value); 0 where
 *	there is none
 * @field: the field's or property's name as in docs/abi.md; a string constant,
 *	never NULL
 */
struct khoc_report {
	int fault;
	int structure;
	int level;
	__u64 addr;
	__u64 value;
	__u64 limit;
	const char *field;
};

/* A fault's meaning as one lower-case sentence without a full stop; never NULL. */
const char *khoc_fault_text(int fault);
/* A structure's name as in docs/abi.md; never NULL. */
const char *khoc_structure_text(int structure);

/* ---- the image ---------------------------------------------------------- */

/**
 * struct khoc_mem_ops - how the core reaches an image
 * @map: address of @len bytes at @pa, or NULL when they are not all in the image.
 *	The result stays valid until the image goes away. Never called with @len 0.
 * @alloc_node: a zeroed page for a tree node, as its pa, or 0 when there is none.
 *	May be called from several threads at once.
 * @free_node: gives a page of @alloc_node back.
 *
 * @alloc_node and @free_node may be NULL for an image that is only read.
 */
struct khoc_mem_ops {
	void *(*map)(void *ctx, kho_pa_t pa, size_t len);
	kho_pa_t (*alloc_node)(void *ctx);
	void (*free_node)(void *ctx, kho_pa_t pa);
};

/**
 * struct khoc_mem - an image
 * @ops, @ctx: the seam; @ctx is passed back to every call
 * @linear: if not NULL, address of pa 0 of an image that lies in one piece; then @ops->map
 *	is not called
 * @size: bytes in the image; no valid pa is this or larger
 * @node_lo, @node_hi: where tree nodes may lie: [lo, hi), page aligned; [0, @size) if
 *	they may lie anywhere
 */
struct khoc_mem {
	const struct khoc_mem_ops *ops;
	void *ctx;
	void *linear;
	__u64 size;
	kho_pa_t node_lo;
	kho_pa_t node_hi;
};

/* ---- preserved-memory tree: "radix-v1" ---------------------------------- */

/**
 * struct khoc_radix - a preserved-memory tree
 *
 * Set up by khoc_radix_init() or khoc_radix_attach(); its fields are private.
 *
 * khoc_radix_add*, _del*, _test, _lookup, _next* and _count* may run in any number of
 * threads at once on one tree. Each store leaves a valid tree. _prune and _destroy
 * need exclusion from everything else.
 *
 * @size, @node_lo, @node_nr, @linear and @top are short cuts for 4 KiB pages and a linear
 * image: what was last read of @mem, and for the lower orders the address of the
 * lowest table that has all blocks of that order below it, with its level added.
 * They hold as long as the image only grows and no table is freed: khoc_radix_prune()
 * renews them, and every other struct khoc_radix on the same tree must be attached again.
 */
#define KHOC_RADIX_NR_TOPS 24
struct khoc_radix {
	const struct khoc_mem *mem;
	kho_pa_t root_pa;
	void *root;
	unsigned int shift;
	__u64 size;
	__u64 node_lo;
	__u64 node_nr;
	void *linear;
	__u64 top[KHOC_RADIX_NR_TOPS];
};

/* A block: 2^order pages at pa, which is aligned to their size. */
struct khoc_block {
	kho_pa_t pa;
	unsigned int order;
};

/* @nr neighbouring blocks of one order, the first at @pa. */
struct khoc_run {
	kho_pa_t pa;
	__u64 nr;
	unsigned int order;
};

/**
 * khoc_key() - the key of a block
 * @shift: log2 of the page size
 * @pa: address; bits below the block's size are ignored
 * @order: log2 of the pages, at most khoc_max_order(@shift)
 */
__u64 khoc_key(unsigned int shift, kho_pa_t pa, unsigned int order);

/**
 * khoc_key_decode() - the block of a key
 * Return: 0, or -KHO_E_KEY if no order bit, or one above that of order 0, is set.
 */
int khoc_key_decode(unsigned int shift, __u64 key, struct khoc_block *block);

/* Largest order whose block can still have an address: 63 - shift. */
unsigned int khoc_max_order(unsigned int shift);

/**
 * khoc_radix_init() - make an empty tree
 * @tree: filled in
 * @mem: the image; must outlive @tree
 * @shift: log2 of the page size, KHO_ABI_PAGE_SHIFT_MIN to _MAX
 *
 * Return: 0, -EINVAL (page size, or a node region that is not page aligned), -ENOMEM (no
 * node for the root).
 */
int khoc_radix_init(struct khoc_radix *tree, const struct khoc_mem *mem, unsigned int shift);

/**
 * khoc_radix_attach() - use the tree that is already there
 * @root_pa: its root; checked to be an aligned page inside the node region
 *
 * The rest of the tree is not judged: see khoc_radix_validate(). Every later step
 * through it is bounded all the same.
 *
 * Return: 0, -EINVAL (as khoc_radix_init()), -KHO_E_ALIGN, -KHO_E_RANGE.
 */
int khoc_radix_attach(struct khoc_radix *tree, const struct khoc_mem *mem, unsigned int shift,
		      kho_pa_t root_pa);

/*
 * Free every node, the root too. Needs exclusion. @tree is unusable afterwards. It must be
 * one of our own making, or have passed khoc_radix_validate(): in others a node with two
 * parents would be freed twice.
 */
void khoc_radix_destroy(struct khoc_radix *tree);

/**
 * khoc_radix_add() - mark one block
 *
 * Marking twice is marking once. Blocks of other orders on the same pages are not
 * looked for.
 *
 * Return: 0; -EINVAL (@pa not aligned to the block, order too large, block not all
 * inside the image); -ENOMEM (no node; nothing changed but for empty nodes);
 * -KHO_E_RANGE or -KHO_E_ALIGN (a corrupt node on the way).
 */
int khoc_radix_add(struct khoc_radix *tree, kho_pa_t pa, unsigned int order);

/* Clear one block. Return: as khoc_radix_add(); a block that is not marked is no error. */
int khoc_radix_del(struct khoc_radix *tree, kho_pa_t pa, unsigned int order);

/* Is exactly this block marked? False, too, for a block that cannot be. */
bool khoc_radix_test(const struct khoc_radix *tree, kho_pa_t pa, unsigned int order);

/**
 * struct khoc_radix_reserve - nodes set aside for adds that must not fail
 * @pa: the nodes
 * @nr: how many are left
 */
struct khoc_radix_reserve {
	kho_pa_t pa[18];
	unsigned int nr;
};

/**
 * khoc_radix_reserve_fill() - set aside enough nodes for one add of any key
 * Return: 0, or -ENOMEM (what was taken stays in @reserve).
 */
int khoc_radix_reserve_fill(struct khoc_radix *tree, struct khoc_radix_reserve *reserve);

/* Give back what is left. */
void khoc_radix_reserve_drain(struct khoc_radix *tree, struct khoc_radix_reserve *reserve);

/**
 * khoc_radix_add_reserved() - as khoc_radix_add(), allocating from @reserve only
 *
 * Cannot return -ENOMEM after a successful khoc_radix_reserve_fill(). @reserve belongs to
 * one thread.
 */
int khoc_radix_add_reserved(struct khoc_radix *tree, kho_pa_t pa, unsigned int order,
			    struct khoc_radix_reserve *reserve);

/**
 * khoc_radix_add_range() - mark @nr neighbouring blocks of one order
 *
 * A word of the bitmap at a time. On -ENOMEM the blocks before the missing node are
 * marked; khoc_radix_del_range() takes all of it back.
 *
 * Return: as khoc_radix_add().
 */
int khoc_radix_add_range(struct khoc_radix *tree, kho_pa_t pa, __u64 nr, unsigned int order);

/* Clear @nr neighbouring blocks of one order. Never allocates. */
int khoc_radix_del_range(struct khoc_radix *tree, kho_pa_t pa, __u64 nr, unsigned int order);

/**
 * khoc_radix_split() - the next block of a range of pages, split as Linux 7.2 splits it
 * @pa: start of what is left, page aligned
 * @nr_pages: how many pages are left, not 0
 *
 * The largest block that @pa is aligned to and that fits. Callers step by the
 * result's size; there is no other way to find the same blocks again.
 *
 * Return: the order.
 */
unsigned int khoc_radix_split(unsigned int shift, kho_pa_t pa, __u64 nr_pages);

/**
 * khoc_radix_add_pages() - mark @nr_pages pages, split by khoc_radix_split()
 * Return: as khoc_radix_add(); on an error what this call marked is cleared again, and
 * what was marked before stays.
 */
int khoc_radix_add_pages(struct khoc_radix *tree, kho_pa_t pa, __u64 nr_pages);

/* Clear what khoc_radix_add_pages() with the same operands marked. */
int khoc_radix_del_pages(struct khoc_radix *tree, kho_pa_t pa, __u64 nr_pages);

/**
 * khoc_radix_reorder() - change the order that pages are marked with
 * @pa, @nr_pages: a range aligned to both orders
 * @from, @to: the orders
 *
 * Sets the new keys before it clears the old: a reader that takes the union of all
 * orders never sees the pages unmarked.
 *
 * Return: as khoc_radix_add(); on an error the old keys stay and the new are cleared.
 */
int khoc_radix_reorder(struct khoc_radix *tree, kho_pa_t pa, __u64 nr_pages, unsigned int from,
		       unsigned int to);

/**
 * khoc_radix_lookup() - which block covers this address?
 * @block: filled in with the largest marked block that covers @pa
 *
 * Return: true if there is one.
 */
bool khoc_radix_lookup(const struct khoc_radix *tree, kho_pa_t pa, struct khoc_block *block);

/**
 * khoc_radix_next() - the first preserved block at or after an address, of any order
 * @pa: where to start; a block that begins before @pa does not count
 * @end: where to stop: only blocks that begin below it count
 * @block: filled in; of several at one address, the largest
 *
 * Return: true if there is one.
 */
bool khoc_radix_next(const struct khoc_radix *tree, kho_pa_t pa, kho_pa_t end,
		     struct khoc_block *block);

/**
 * struct khoc_radix_iter - a walk by runs, resumable: copy it to remember a place
 *
 * Private but for khoc_radix_iter_init(), _next() and _error().
 */
struct khoc_radix_iter {
	const struct khoc_radix *tree;
	kho_pa_t lo;
	kho_pa_t hi;
	unsigned int order_min;
	unsigned int order_max;
	__u64 key;
	bool done;
	int error;
};

/**
 * khoc_radix_iter_init() - start a walk
 * @lo, @hi: only blocks that share bytes with [@lo, @hi)
 * @order_min, @order_max: only these orders
 */
void khoc_radix_iter_init(struct khoc_radix_iter *iter, const struct khoc_radix *tree, kho_pa_t lo,
			  kho_pa_t hi, unsigned int order_min, unsigned int order_max);

/**
 * khoc_radix_iter_next() - the next run
 * @run: filled in: as many neighbouring blocks of one order as there are
 *
 * From the largest order to the smallest, each by ascending address. What other
 * threads change meanwhile may or may not be seen.
 *
 * Keys of no block of the image are not looked at: khoc_radix_validate() finds them. So the
 * time of a walk is bounded by the image's size, however the tree is bent.
 *
 * Return: true if there was one; false at the end, or at a corrupt node: then
 * khoc_radix_iter_error() says -KHO_E_RANGE or -KHO_E_ALIGN.
 */
bool khoc_radix_iter_next(struct khoc_radix_iter *iter, struct khoc_run *run);

static inline int khoc_radix_iter_error(const struct khoc_radix_iter *iter)
{
	return iter->error;
}

/**
 * khoc_radix_walk() - call @fn for every run that shares bytes with [@lo, @hi)
 * @fn: a non-zero result stops the walk
 *
 * Return: 0, what @fn returned, or the error of khoc_radix_iter_error().
 */
int khoc_radix_walk(const struct khoc_radix *tree, kho_pa_t lo, kho_pa_t hi,
		    int (*fn)(void *ctx, const struct khoc_run *run), void *ctx);

/**
 * khoc_radix_union() - which pages of a range are in any block of any order?
 * @pa: start, aligned to 64 pages
 * @nr_pages: a multiple of 64
 * @bitmap: @nr_pages bits, overwritten: bit i is page i of the range
 *
 * Pages outside the image are in none.
 *
 * Return: 0, -EINVAL (alignment), or the walk's error.
 */
int khoc_radix_union(const struct khoc_radix *tree, kho_pa_t pa, __u64 nr_pages, __u64 *bitmap);

/* What a tree holds. @blocks[order] for each order; pages counts a page once per block it is in. */
struct khoc_radix_counts {
	__u64 tables;
	__u64 leaves;
	__u64 pages;
	__u64 blocks[64];
};

/* Count blocks that begin in [@lo, @hi) (tables and leaves: of the whole tree). Return: as khoc_radix_walk(). */
int khoc_radix_count(const struct khoc_radix *tree, kho_pa_t lo, kho_pa_t hi,
		     struct khoc_radix_counts *counts);

/* Free nodes in which nothing is marked, as khoc_radix_destroy() would. Return: how many were freed. */
__u64 khoc_radix_prune(struct khoc_radix *tree);

/**
 * khoc_radix_nodes() - call @fn for every node, parents before children
 * @fn: (ctx, pa, level); a non-zero result stops
 *
 * Bounded: at most one visit per node page of the image, however the tree is bent.
 *
 * Return: 0, what @fn returned, or a fault.
 */
int khoc_radix_nodes(const struct khoc_radix *tree, int (*fn)(void *ctx, kho_pa_t pa, int level),
		     void *ctx);

/**
 * struct khoc_radix_check - what to hold a tree against
 * @data_lo, @data_hi: where preserved blocks may lie: [lo, hi)
 * @seen: scratch memory, one bit for each page of [mem->node_lo, mem->node_hi), zeroed by the
 *	caller; on success the bits of all nodes of the tree are set
 */
struct khoc_radix_check {
	kho_pa_t data_lo;
	kho_pa_t data_hi;
	__u64 *seen;
};

/**
 * khoc_radix_validate() - is this tree sound?
 *
 * Every node aligned, in the node region, reached once; every key that of a block that
 * lies whole in [data_lo, data_hi). Each node is read once, so the time is bounded by the
 * node region whatever the bytes are.
 *
 * Blocks of different orders on the same pages are accepted: khoc_radix_reorder() makes
 * them for a moment.
 *
 * A fault of a word of a table is reported with the word's address and its table's level:
 * KHO_E_ALIGN, KHO_E_RANGE or KHO_E_CYCLE (@value: the child), KHO_E_KEY (@value: the first
 * key below a word that leads to none). Of a leaf, with the address of the bitmap's word:
 * KHO_E_KEY (@value: a key that no block of the image has), KHO_E_OVERLAP (@value: start or
 * end of a block outside [data_lo, data_hi)). Nodes without a mark are no fault.
 *
 * Return: 0, or a negative fault that @report, if not NULL, explains.
 */
int khoc_radix_validate(const struct khoc_radix *tree, const struct khoc_radix_check *check,
			struct khoc_report *report);

/* ---- root FDT: "kho-v4" -------------------------------------------------- */

/**
 * struct khoc_subtree - an entry of the root FDT
 * @name: NUL-terminated, at most KHO_ABI_ROOT_NAME_MAX; points into the FDT
 * @data: pa of the blob
 * @size: bytes of the blob
 * @type: type name of a named root, or NULL; points into the FDT
 * @type_version: its version; 0 without a type
 */
struct khoc_subtree {
	const char *name;
	kho_pa_t data;
	__u64 size;
	const char *type;
	__u32 type_version;
};

/**
 * khoc_root_create() - write a root FDT without subtrees
 * @fdt, @size: where to: 8-byte aligned
 * @tree_root: goes to "preserved-memory-map"
 *
 * Return: 0, -ENOSPC.
 */
int khoc_root_create(void *fdt, size_t size, kho_pa_t tree_root);

/**
 * khoc_root_add() - copy a root FDT with one subtree more
 * @from: a checked FDT
 * @to, @size: where to; may not overlap @from
 *
 * Return: 0, -EEXIST (that name is there), -EINVAL (a name that is empty, too long, or not
 * made of letters, digits and ",._+-"), -ENOSPC.
 */
int khoc_root_add(const void *from, void *to, size_t size, const struct khoc_subtree *subtree);

/* Copy a root FDT without the subtree @name. Return: 0, -ENOENT, -ENOSPC. */
int khoc_root_remove(const void *from, void *to, size_t size, const char *name);

/* Find a subtree by name. @fdt must have passed khoc_root_check(). Return: 0, -ENOENT. */
int khoc_root_find(const void *fdt, const char *name, struct khoc_subtree *subtree);

/**
 * khoc_root_next() - go through the subtrees
 * @pos: 0 at first, then what the last call left
 *
 * Return: 0, or -ENOENT after the last.
 */
int khoc_root_next(const void *fdt, int *pos, struct khoc_subtree *subtree);

/* "preserved-memory-map" of a checked FDT. */
kho_pa_t khoc_root_tree(const void *fdt);

/**
 * khoc_root_check() - is this a root FDT that the functions above can read?
 * @fdt: @size bytes, 8-byte aligned, contents untrusted
 * @size: bytes that may be read
 * @addr: the FDT's address, for the report
 * @image_size: every blob must end at or below it
 *
 * A bounded walk of our own over header, reservation map, structure and strings: no
 * byte outside is read, each token is read once, "compatible" is or contains "kho-v4",
 * names are unique and such as khoc_root_add() takes, the properties that we know have
 * their lengths, nesting is two deep. The tree's root and every blob lie in the image; only a
 * blob without bytes may be at address 0.
 *
 * Return: 0, or a negative fault that @report, if not NULL, explains.
 */
int khoc_root_check(const void *fdt, size_t size, kho_pa_t addr, __u64 image_size,
		    struct khoc_report *report);

/* ---- arena header: "arena-v1" -------------------------------------------- */

/* CRC-32C (Castagnoli, reflected, start and final XOR all ones) of @len bytes; @crc is 0 or the result so far. */
__u32 khoc_crc32c(__u32 crc, const void *data, size_t len);

/* Encode a checked word: @value below 2^48, @salt its offset in the page. */
kho_abi_cword_t khoc_cword(__u64 value, __u16 salt);

/* Decode a checked word. Return: 0, or -KHO_E_CHECKSUM. */
int khoc_cword_get(kho_abi_cword_t word, __u16 salt, __u64 *value);

/* Make a page descriptor of a type and an order below 64. */
kho_abi_desc_t khoc_desc(unsigned int type, unsigned int order);

/* Take it apart. Return: 0, or -KHO_E_CHECKSUM (for a type that does not exist as well). 0 decodes as KHO_ABI_DESC_NONE. */
int khoc_desc_get(kho_abi_desc_t desc, unsigned int *type, unsigned int *order);

/**
 * khoc_arena_geometry() - where an arena of this size keeps what
 * @max_size: a multiple of 128 MiB up to 2^47, or any multiple of 4096 below 128 MiB
 *	that leaves 64 KiB of data
 * @header: nodes_pa, descs_pa, data_pa, tree_root_pa and max_size are filled in
 *
 * The rule is in <kho/abi/arena.h>.
 *
 * Return: 0, -EINVAL.
 */
int khoc_arena_geometry(__u64 max_size, struct kho_abi_arena_header *header);

/**
 * khoc_arena_check() - check a header
 * @header: @len bytes, untrusted
 * @file_size: what fstat() says
 *
 * Magic, header size, version, features, CRC, then every address against what
 * khoc_arena_geometry() gives for the same size, then the three checked words.
 * @file_size is a multiple of 4096 from data_pa to max_size. Unknown bits of
 * features_ro_compat are no fault: whoever means to write has to look at them.
 *
 * Return: 0, or a negative fault that @report explains.
 */
int khoc_arena_check(const struct kho_abi_arena_header *header, size_t len, __u64 file_size,
		     struct khoc_report *report);

#endif
