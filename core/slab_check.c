/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The rules of "slab-v1": geometry of slabs, their headers and state bytes, records of caches;
 * and whether bytes that came in follow them. Nothing found is used as an address.
 *
 * Glossary: unit = 64 KiB, the size of a slab of small objects; slot = the place of an object.
 */
#include "mem.h"

#define UNIT_SHIFT 16
#define BIG_OBJECT 4096 /* objects above this come from slabs of four units */
#define OBJECT_ALIGN 16

unsigned int khoc_slab_order(unsigned int shift, u32 object_size)
{
	return (object_size > BIG_OBJECT ? UNIT_SHIFT + 2 : UNIT_SHIFT) - shift;
}

static u32 align_up(u32 x, u32 align)
{
	return (x + align - 1) & ~(align - 1);
}

void khoc_slab_geometry(unsigned int shift, u32 object_size, u32 *nr, u32 *off)
{
	u32 bytes = 1U << (shift + khoc_slab_order(shift, object_size));
	u32 align = object_size & -object_size;

	if (align > 1U << shift)
		align = 1U << shift;
	*nr = (bytes - (u32)sizeof(struct kho_abi_slab)) / (object_size + 1);
	/* Few rounds: rounding up costs less than a page. */
	for (;; (*nr)--) {
		*off = align_up((u32)sizeof(struct kho_abi_slab) + *nr, align);
		if (*off + *nr * object_size <= bytes)
			return;
	}
}

bool khoc_slab_is_heap_size(u32 size)
{
	unsigned int log2;

	if (size < KHO_ABI_SLAB_OBJECT_MIN || size > KHO_ABI_SLAB_OBJECT_MAX)
		return false;
	if (size <= 128)
		return !(size % 16);
	log2 = khoc_fls64(size - 1) - 1; /* 7 for 129..256 */
	return !(size & ((1U << (log2 - 2)) - 1));
}

static bool object_size_ok(u32 size)
{
	return size >= KHO_ABI_SLAB_OBJECT_MIN && size <= KHO_ABI_SLAB_OBJECT_MAX &&
	       !(size % OBJECT_ALIGN);
}

/* CRC of what comes before a checksum, and of where it lies. */
static u32 placed_crc(const void *bytes, size_t len, kho_pa_t pa)
{
	return khoc_crc32c(khoc_crc32c(0, bytes, len), &pa, sizeof(pa));
}

static u32 slab_crc(const struct kho_abi_slab *header, kho_pa_t pa)
{
	return placed_crc(header, offsetof(struct kho_abi_slab, crc), pa);
}

void khoc_slab_init(struct kho_abi_slab *header, unsigned int shift, kho_pa_t pa, u32 object_size,
		    kho_pa_t cache, u32 flags)
{
	memset(header, 0, sizeof(*header));
	header->magic = KHO_ABI_SLAB_MAGIC;
	header->version = KHO_ABI_SLAB_VERSION;
	header->order = (u16)khoc_slab_order(shift, object_size);
	header->object_size = object_size;
	khoc_slab_geometry(shift, object_size, &header->nr_objects, &header->objects_off);
	header->flags = flags;
	header->cache = cache;
	header->crc = slab_crc(header, pa);
}

/* The first byte of [@p, @p + @len) that is not 0, or NULL. */
static const u8 *first_set(const void *p, size_t len)
{
	const u8 *at = p, *end = at + len;

	while (end - at >= 8) {
		u64 word;

		memcpy(&word, at, 8);
		if (word)
			break;
		at += 8;
	}
	while (at < end && !*at)
		at++;
	return at < end ? at : NULL;
}

#define SLAB_FAULT(fault, member, limit)                                                           \
	report_fault(report, fault, KHOC_S_SLAB, -1, pa, header->member, limit, #member)

int khoc_slab_header_check(const struct kho_abi_slab *header, unsigned int shift, kho_pa_t pa,
			   unsigned int order, struct khoc_report *report)
{
	u32 nr, off;

	report_clear(report);
	if (header->magic != KHO_ABI_SLAB_MAGIC)
		return SLAB_FAULT(KHO_E_MAGIC, magic, KHO_ABI_SLAB_MAGIC);
	if (header->version != KHO_ABI_SLAB_VERSION)
		return SLAB_FAULT(KHO_E_VERSION, version, KHO_ABI_SLAB_VERSION);
	if (header->crc != slab_crc(header, pa))
		return SLAB_FAULT(KHO_E_CHECKSUM, crc, slab_crc(header, pa));
	if (header->flags & ~KHO_ABI_SLAB_FLAGS || (header->flags && !header->cache))
		return SLAB_FAULT(KHO_E_FORMAT, flags, header->cache ? KHO_ABI_SLAB_FLAGS : 0);
	if (!object_size_ok(header->object_size) ||
	    (!header->cache && !khoc_slab_is_heap_size(header->object_size)))
		return SLAB_FAULT(KHO_E_RANGE, object_size, KHO_ABI_SLAB_OBJECT_MAX);
	if (header->order != order || order != khoc_slab_order(shift, header->object_size))
		return SLAB_FAULT(KHO_E_ORDER, order, order);
	if (pa & ((1ULL << (shift + order)) - 1))
		return report_fault(report, KHO_E_ALIGN, KHOC_S_SLAB, -1, pa, pa,
				    1ULL << (shift + order), "address");
	khoc_slab_geometry(shift, header->object_size, &nr, &off);
	if (header->nr_objects != nr)
		return SLAB_FAULT(KHO_E_RANGE, nr_objects, nr);
	if (header->objects_off != off)
		return SLAB_FAULT(KHO_E_RANGE, objects_off, off);
	if (header->cache & (OBJECT_ALIGN - 1))
		return SLAB_FAULT(KHO_E_ALIGN, cache, OBJECT_ALIGN);
	if (first_set(header->reserved, sizeof(header->reserved)))
		return report_fault(report, KHO_E_FORMAT, KHOC_S_SLAB, -1, pa,
				    *first_set(header->reserved, sizeof(header->reserved)), 0,
				    "reserved");
	return 0;
}

/* Read once: the owner may be at work on them. */
static u8 state_at(const struct kho_abi_slab *slab, u32 i)
{
	return ((const volatile u8 *)(slab + 1))[i];
}

int khoc_slab_states_check(const struct kho_abi_slab *slab, kho_pa_t pa,
			   struct khoc_slab_counts *counts, struct khoc_report *report)
{
	bool single = slab->flags & KHO_ABI_SLAB_SINGLE;

	report_clear(report);
	*counts = (struct khoc_slab_counts){0};
	for (u32 i = 0; i < slab->nr_objects; i++) {
		u8 state = state_at(slab, i);

		if (state == KHO_ABI_OBJECT_FREE)
			counts->free++;
		else if (state == KHO_ABI_OBJECT_LIVE)
			counts->live++;
		else if (state == KHO_ABI_OBJECT_FREED)
			counts->freed++;
		else if (state == KHO_ABI_OBJECT_RESERVED && single)
			counts->reserved++;
		else
			return report_fault(report, KHO_E_STATE, KHOC_S_SLAB, -1,
					    pa + sizeof(*slab) + i, state, 0, "state");
	}
	return 0;
}

static int check_zero(const struct kho_abi_slab *slab, kho_pa_t pa, u32 off, u32 end,
		      struct khoc_report *report)
{
	const u8 *bad = first_set((const u8 *)slab + off, end - off);

	if (!bad)
		return 0;
	return report_fault(report, KHO_E_FORMAT, KHOC_S_SLAB, -1,
			    pa + (u64)(bad - (const u8 *)slab), *bad, 0, "free bytes");
}

/* Objects that are preserved singly take nothing along: all else is 0. */
static int check_nothing_else(const struct kho_abi_slab *slab, kho_pa_t pa, u32 bytes,
			      struct khoc_report *report)
{
	u32 off = slab->objects_off, size = slab->object_size;
	int err = check_zero(slab, pa, (u32)sizeof(*slab) + slab->nr_objects, off, report);

	for (u32 i = 0; !err && i < slab->nr_objects; i++, off += size)
		if (state_at(slab, i) == KHO_ABI_OBJECT_FREE)
			err = check_zero(slab, pa, off, off + size, report);
	return err ? err : check_zero(slab, pa, off, bytes, report);
}

int khoc_slab_check(const struct khoc_mem *mem, unsigned int shift, kho_pa_t pa, unsigned int order,
		    struct khoc_slab_counts *counts, struct khoc_report *report)
{
	const struct kho_abi_slab *slab = khoc_map(mem, pa, sizeof(*slab));
	struct khoc_slab_counts scratch;
	u32 bytes;
	int err;

	report_clear(report);
	if (!slab)
		return report_fault(report, KHO_E_RANGE, KHOC_S_SLAB, -1, pa, pa,
				    khoc_load(&mem->size), "address");
	err = khoc_slab_header_check(slab, shift, pa, order, report);
	if (err)
		return err;
	bytes = 1U << (shift + order); /* 64 or 256 KiB: the order was checked */
	slab = khoc_map(mem, pa, bytes);
	if (!slab)
		return report_fault(report, KHO_E_RANGE, KHOC_S_SLAB, -1, pa, pa + bytes,
				    khoc_load(&mem->size), "address");
	err = khoc_slab_states_check(slab, pa, counts ? counts : &scratch, report);
	if (!err && slab->flags & KHO_ABI_SLAB_SINGLE)
		err = check_nothing_else(slab, pa, bytes, report);
	return err;
}

/* ---- records of caches ---- */

u32 khoc_cache_object_size(unsigned int shift, u32 size, u32 align)
{
	if (!size || size > KHO_ABI_SLAB_OBJECT_MAX || !align || align & (align - 1) ||
	    align > 1U << shift || align > KHO_ABI_SLAB_OBJECT_MAX)
		return 0;
	size = align_up(size, align > OBJECT_ALIGN ? align : OBJECT_ALIGN);
	return size <= KHO_ABI_SLAB_OBJECT_MAX ? size : 0;
}

bool khoc_cache_name_ok(const char *name, size_t max)
{
	size_t len = strnlen(name, max + 1);

	for (size_t i = 0; i < len; i++)
		if (!name_char_ok(name[i]) && name[i] != '.')
			return false;
	return len && len <= max;
}

static u32 cache_crc(const struct kho_abi_cache *record, kho_pa_t pa)
{
	return placed_crc(record, offsetof(struct kho_abi_cache, crc), pa);
}

void khoc_cache_init(struct kho_abi_cache *record, unsigned int shift, kho_pa_t pa,
		     const char *name, u32 size, u32 align, u32 flags)
{
	memset(record, 0, sizeof(*record));
	record->magic = KHO_ABI_CACHE_MAGIC;
	record->version = KHO_ABI_SLAB_VERSION;
	record->size = size;
	record->align = align;
	record->object_size = khoc_cache_object_size(shift, size, align);
	record->flags = flags;
	memcpy(record->name, name, strnlen(name, sizeof(record->name) - 1));
	record->crc = cache_crc(record, pa);
}

#define CACHE_FAULT(fault, member, limit)                                                          \
	report_fault(report, fault, KHOC_S_CACHE, -1, pa, record->member, limit, #member)

int khoc_cache_check(const struct kho_abi_cache *record, unsigned int shift, kho_pa_t pa,
		     struct khoc_report *report)
{
	u32 size;
	size_t len;

	report_clear(report);
	if (record->magic != KHO_ABI_CACHE_MAGIC)
		return CACHE_FAULT(KHO_E_MAGIC, magic, KHO_ABI_CACHE_MAGIC);
	if (record->version != KHO_ABI_SLAB_VERSION)
		return CACHE_FAULT(KHO_E_VERSION, version, KHO_ABI_SLAB_VERSION);
	if (record->crc != cache_crc(record, pa))
		return CACHE_FAULT(KHO_E_CHECKSUM, crc, cache_crc(record, pa));
	if (record->flags & ~KHO_ABI_SLAB_FLAGS)
		return CACHE_FAULT(KHO_E_FORMAT, flags, KHO_ABI_SLAB_FLAGS);
	size = khoc_cache_object_size(shift, record->size, record->align);
	if (!size)
		return CACHE_FAULT(KHO_E_RANGE, size, KHO_ABI_SLAB_OBJECT_MAX);
	if (record->object_size != size)
		return CACHE_FAULT(KHO_E_RANGE, object_size, size);
	if (record->pad || record->pad2)
		return report_fault(report, KHO_E_FORMAT, KHOC_S_CACHE, -1, pa,
				    record->pad ? record->pad : record->pad2, 0, "pad");
	if (!khoc_cache_name_ok(record->name, sizeof(record->name) - 1))
		return report_fault(report, KHO_E_FORMAT, KHOC_S_CACHE, -1,
				    pa + offsetof(struct kho_abi_cache, name), 0, 0, "name");
	len = strnlen(record->name, sizeof(record->name));
	if (first_set(record->name + len, sizeof(record->name) - len))
		return report_fault(report, KHO_E_FORMAT, KHOC_S_CACHE, -1,
				    pa + offsetof(struct kho_abi_cache, name) + len, 0, 0, "name");
	return 0;
}
