/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Chains of chunks: written from a list of blocks, and read with every step bounded.
 *
 * There is one reader, the iterator; the validator is a walk to the end. What ends a walk through
 * any bytes: a chunk that has a successor is full, and no more blocks come than the
 * descriptor counts, which is no more than the image has pages.
 */
#include "mem.h"

/* Fault of a field of the descriptor. */
#define DESC_FAULT(fault, f, limit)                                                                \
	report_fault(&iter->report, fault, KHOC_S_VMALLOC, -1,                                     \
		     offsetof(struct kho_abi_vmalloc, f), iter->desc.f, limit, #f)

/* 2^order pages are counted in 32 bits. */
#define ORDER_MAX 31

static bool shift_ok(unsigned int shift)
{
	return shift >= KHO_ABI_PAGE_SHIFT_MIN && shift <= KHO_ABI_PAGE_SHIFT_MAX;
}

/* ---- writing ---- */

static bool block_ok(const struct khoc_mem *mem, kho_pa_t pa, u64 size)
{
	return pa && !(pa & (size - 1)) && mem_inside(khoc_load(&mem->size), pa, size);
}

static bool can_be_built(const struct khoc_mem *mem, unsigned int shift, unsigned int order,
			 unsigned int flags, const kho_pa_t *blocks, u64 nr)
{
	if (!shift_ok(shift) || order > ORDER_MAX || flags & ~KHO_ABI_VMALLOC_FLAGS)
		return false;
	/* total_pages has 32 bits */
	if (!nr || nr > 0xffffffffULL >> order)
		return false;
	for (u64 i = 0; i < nr; i++)
		if (!block_ok(mem, blocks[i], 1ULL << (shift + order)))
			return false;
	return true;
}

void khoc_vmalloc_free(const struct khoc_mem *mem, unsigned int shift,
		       const struct kho_abi_vmalloc *desc)
{
	kho_pa_t pa = desc->first;

	while (pa) {
		const u64 *words = khoc_map(mem, pa, 1UL << shift);
		kho_pa_t next = words[0];

		mem->ops->free_page(mem->ctx, pa);
		pa = next;
	}
}

int khoc_vmalloc_build(const struct khoc_mem *mem, unsigned int shift, unsigned int order,
		       unsigned int flags, const kho_pa_t *blocks, u64 nr,
		       struct kho_abi_vmalloc *out)
{
	struct kho_abi_vmalloc desc = {.flags = (u16)flags, .order = (u16)order};
	u64 *slot = &desc.first;
	u32 per;

	if (!can_be_built(mem, shift, order, flags, blocks, nr))
		return -EINVAL;
	per = kho_abi_vmalloc_per_chunk(shift);
	/* <=: the last block fills a chunk, so an empty one follows, as Linux has it. */
	for (u64 done = 0; done <= nr; done += per) {
		u64 n = nr - done < per ? nr - done : per;
		kho_pa_t pa = mem->ops->alloc_page(mem->ctx);
		u64 *words = pa ? khoc_map(mem, pa, 1UL << shift) : NULL;

		if (!words) {
			khoc_vmalloc_free(mem, shift, &desc);
			return -ENOMEM;
		}
		memcpy(words + 1, blocks + done, n * sizeof(*words));
		*slot = pa;
		slot = words;
	}
	desc.total_pages = (u32)(nr << order);
	*out = desc;
	return 0;
}

/* ---- reading ---- */

static void set_bounds(struct khoc_vmalloc_iter *iter, const struct khoc_vmalloc_check *check)
{
	u64 size = khoc_load(&iter->mem->size);

	if (check)
		iter->check = *check;
	else
		iter->check.data_hi = size;
	if (iter->check.data_hi > size)
		iter->check.data_hi = size;
}

/* Does [@pa, @pa + @size) lie where data may lie? Page 0 is the end of a list, never data. */
static bool in_data(const struct khoc_vmalloc_iter *iter, kho_pa_t pa, u64 size)
{
	return pa && pa >= iter->check.data_lo && mem_inside(iter->check.data_hi, pa, size);
}

static int check_desc(struct khoc_vmalloc_iter *iter)
{
	const struct kho_abi_vmalloc *desc = &iter->desc;
	u64 page = 1ULL << iter->shift;
	u64 lo = iter->check.data_lo, hi = iter->check.data_hi;
	u64 pages = hi > lo ? (hi - lo) >> iter->shift : 0;

	if (desc->flags & ~KHO_ABI_VMALLOC_FLAGS)
		return DESC_FAULT(KHO_E_VERSION, flags, KHO_ABI_VMALLOC_FLAGS);
	if (desc->order > ORDER_MAX)
		return DESC_FAULT(KHO_E_ORDER, order, ORDER_MAX);
	if (!desc->total_pages || desc->total_pages > pages)
		return DESC_FAULT(KHO_E_RANGE, total_pages, pages);
	if (desc->total_pages & ((1ULL << desc->order) - 1))
		return DESC_FAULT(KHO_E_ORDER, total_pages, 1ULL << desc->order);
	if (desc->first & (page - 1))
		return DESC_FAULT(KHO_E_ALIGN, first, page);
	if (!in_data(iter, desc->first, page))
		return DESC_FAULT(KHO_E_RANGE, first, hi);
	return 0;
}

int khoc_vmalloc_iter_init(struct khoc_vmalloc_iter *iter, const struct khoc_mem *mem,
			   unsigned int shift, const struct kho_abi_vmalloc *desc,
			   const struct khoc_vmalloc_check *check)
{
	int err;

	memset(iter, 0, sizeof(*iter));
	report_clear(&iter->report);
	if (!shift_ok(shift))
		return -EINVAL;
	iter->mem = mem;
	iter->shift = shift;
	iter->desc = *desc;
	set_bounds(iter, check);
	err = check_desc(iter);
	if (err)
		return err;
	iter->left = iter->desc.total_pages >> iter->desc.order;
	iter->pending = iter->desc.first;
	return 0;
}

/* A fault of word @at of the chunk at hand. Return: false. */
static bool chunk_fault(struct khoc_vmalloc_iter *iter, int fault, u32 at, u64 limit,
			const char *field, u64 value)
{
	report_fault(&iter->report, fault, KHOC_S_VMALLOC_CHUNK, -1, iter->chunk + at * sizeof(u64),
		     value, limit, field);
	return false;
}

/* Mark pages as seen. Return: false if one was. */
static bool mark_seen(const struct khoc_vmalloc_iter *iter, kho_pa_t pa, unsigned int order)
{
	u64 bit = (pa - iter->check.data_lo) >> iter->shift, end = bit + (1ULL << order);
	u64 *seen = iter->check.seen;
	bool fresh = true;

	while (bit < end) {
		unsigned int in = bit % 64;
		u64 n = end - bit < 64 - in ? end - bit : 64 - in;
		u64 mask = ~0ULL >> (64 - n) << in;

		fresh = fresh && !(seen[bit / 64] & mask);
		seen[bit / 64] |= mask;
		bit += n;
	}
	return fresh;
}

/* Is this a block or chunk that may be followed? @at: the word of the chunk at hand that says so. */
static bool check_part(struct khoc_vmalloc_iter *iter, kho_pa_t pa, unsigned int order, u32 at,
		       const char *field)
{
	u64 size = 1ULL << (iter->shift + order);
	int fault = 0;

	if (pa & (size - 1))
		return chunk_fault(iter, KHO_E_ALIGN, at, size, field, pa);
	if (!in_data(iter, pa, size))
		return chunk_fault(iter, KHO_E_RANGE, at, iter->check.data_hi, field, pa);
	if (iter->check.tree && !khoc_radix_test(iter->check.tree, pa, order))
		fault = KHO_E_NOT_PRESERVED;
	else if (iter->check.seen && !mark_seen(iter, pa, order))
		fault = KHO_E_OVERLAP;
	return !fault || chunk_fault(iter, fault, at, 0, field, pa);
}

/*
 * Was the chunk at hand, number nr_chunks, met before? Asked once a walk, when there is more than the
 * descriptor counts: then a chain that runs in a circle has gone round.
 */
static bool in_circle(const struct khoc_vmalloc_iter *iter)
{
	kho_pa_t pa = iter->desc.first;

	for (u64 i = 1; i < iter->nr_chunks; i++) {
		const u64 *words;

		if (pa == iter->chunk)
			return true;
		words = in_data(iter, pa, 1ULL << iter->shift)
				? khoc_map(iter->mem, pa, 1UL << iter->shift)
				: NULL;
		if (!words)
			return false; /* changed since */
		pa = khoc_load(words);
	}
	return false;
}

/* Go to the chunk that is next. The descriptor's own word was checked with it, but not that it is preserved. */
static bool enter(struct khoc_vmalloc_iter *iter, struct khoc_vmalloc_part *part)
{
	kho_pa_t pa = iter->pending;

	/* Reports name the word that led here: next, in the chunk before, or the descriptor. */
	iter->words = check_part(iter, pa, 0, 0, "next")
			      ? khoc_map(iter->mem, pa, 1UL << iter->shift)
			      : NULL;
	if (!iter->words && !iter->report.fault)
		chunk_fault(iter, KHO_E_RANGE, 0, iter->check.data_hi, "next", pa);
	if (!iter->words && !iter->nr_chunks)
		report_fault(&iter->report, iter->report.fault, KHOC_S_VMALLOC, -1,
			     offsetof(struct kho_abi_vmalloc, first), pa, iter->report.limit,
			     "first");
	if (!iter->words)
		return false;
	iter->pending = 0;
	iter->chunk = pa;
	iter->at = 0;
	iter->nr_chunks++;
	*part = (struct khoc_vmalloc_part){pa, 0, true};
	return true;
}

static bool take_block(struct khoc_vmalloc_iter *iter, kho_pa_t pa, struct khoc_vmalloc_part *part)
{
	u32 word = 1 + iter->at;

	if (!iter->left) {
		bool circle = in_circle(iter);

		return chunk_fault(iter, circle ? KHO_E_CYCLE : KHO_E_RANGE, circle ? 0 : word,
				   iter->desc.total_pages >> iter->desc.order,
				   circle ? "next" : "phys", circle ? iter->chunk : pa);
	}
	if (!check_part(iter, pa, iter->desc.order, word, "phys"))
		return false;
	iter->at++;
	iter->left--;
	*part = (struct khoc_vmalloc_part){pa, iter->desc.order, false};
	return true;
}

/* The chunk at hand has no more blocks. Return: true if another one follows. */
static bool leave(struct khoc_vmalloc_iter *iter, u32 per)
{
	kho_pa_t next = khoc_load(iter->words);
	bool full = iter->at == per;

	for (u32 i = iter->at; i < per; i++)
		if (khoc_load(iter->words + 1 + i))
			return chunk_fault(iter, KHO_E_FORMAT, 1 + i, 0, "phys",
					   khoc_load(iter->words + 1 + i));
	if (next && !full)
		return chunk_fault(iter, KHO_E_FORMAT, 0, 0, "next", next);
	if (next) {
		iter->pending = next;
		return true;
	}
	if (iter->left)
		return chunk_fault(iter, KHO_E_RANGE, 0, iter->desc.total_pages >> iter->desc.order,
				   "next",
				   (iter->desc.total_pages >> iter->desc.order) - iter->left);
	iter->words = NULL;
	return false;
}

bool khoc_vmalloc_iter_next(struct khoc_vmalloc_iter *iter, struct khoc_vmalloc_part *part)
{
	u32 per = kho_abi_vmalloc_per_chunk(iter->shift);

	if (iter->report.fault)
		return false;
	while (iter->words && !iter->pending) {
		kho_pa_t pa = iter->at < per ? khoc_load(iter->words + 1 + iter->at) : 0;

		if (pa)
			return take_block(iter, pa, part);
		if (!leave(iter, per))
			return false;
	}
	return iter->pending && enter(iter, part);
}

int khoc_vmalloc_validate(const struct khoc_mem *mem, unsigned int shift,
			  const struct kho_abi_vmalloc *desc,
			  const struct khoc_vmalloc_check *check, struct khoc_report *report)
{
	struct khoc_vmalloc_iter iter;
	struct khoc_vmalloc_part part;
	int err = khoc_vmalloc_iter_init(&iter, mem, shift, desc, check);

	while (!err && khoc_vmalloc_iter_next(&iter, &part))
		;
	if (report)
		*report = iter.report;
	return err ?: khoc_vmalloc_iter_error(&iter);
}
