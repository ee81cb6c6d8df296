/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Any bytes as a slab, and as a cache's record. What passes has objects inside the slab that do not
 * overlap, counts that add up, and, if its objects are preserved singly, nothing else in it; a record
 * that passes says what a new one with the same operands would.
 */
#include "fuzz.h"

static void check_slab(const struct kho_abi_slab *slab, unsigned int shift, unsigned int order,
		       const struct khoc_slab_counts *counts)
{
	const uint8_t *bytes = (const uint8_t *)slab;
	uint32_t len = 1u << (shift + order), end = slab->objects_off, sum = 0, live = 0;

	FACT(sizeof(*slab) + slab->nr_objects <= slab->objects_off);
	for (uint32_t i = 0; i < slab->nr_objects; i++, end += slab->object_size) {
		uint8_t state = bytes[sizeof(*slab) + i];

		live += state == KHO_ABI_OBJECT_LIVE;
		if (state != KHO_ABI_OBJECT_FREE || !(slab->flags & KHO_ABI_SLAB_SINGLE))
			continue;
		for (uint32_t b = end; b < end + slab->object_size; b++)
			FACT(!bytes[b]);
	}
	FACT(end <= len);
	sum = counts->free + counts->live + counts->freed + counts->reserved;
	FACT(sum == slab->nr_objects && counts->live == live);
	FACT(!counts->reserved || slab->flags & KHO_ABI_SLAB_SINGLE);
	FACT(slab->cache || khoc_slab_is_heap_size(slab->object_size));
}

static void try_record(const uint8_t *data, size_t size, unsigned int shift)
{
	struct kho_abi_cache record = {0}, again;
	struct khoc_report report;
	int err;

	memcpy(&record, data, size < sizeof(record) ? size : sizeof(record));
	if (record.crc == 0xffffffff) /* as below: let the fuzzer through */
		record.crc = khoc_crc32c(khoc_crc32c(0, &record, 92), &(kho_pa_t){0x4000}, 8);
	err = khoc_cache_check(&record, shift, 0x4000, &report);
	FACT(report.fault == -err && report.field);
	if (err)
		return;
	khoc_cache_init(&again, shift, 0x4000, record.name, record.size, record.align,
			record.flags);
	FACT(!memcmp(&again, &record, sizeof(record)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct khoc_mem mem = {.size = 0};
	struct khoc_slab_counts counts;
	struct khoc_report report;
	unsigned int shift, order;
	kho_pa_t pa = 1 << 18;
	struct kho_abi_slab *slab;
	char *image;
	int err;

	if (size < FUZZ_SLAB_HEADER)
		return 0;
	shift = 6 + data[0] % 11;
	order = data[1];
	data += FUZZ_SLAB_HEADER;
	size -= FUZZ_SLAB_HEADER;
	if (size > 1 << 18)
		size = 1 << 18;
	/* The slab is the end of the image, and of the memory: 64 or 256 KiB, the rest zeroes. */
	mem.size = pa + (size > 1 << 16 || order + shift != 16 ? 1 << 18 : 1 << 16);
	image = calloc(1, mem.size);
	FACT(image);
	mem.linear = image;
	memcpy(image + pa, data, size);
	slab = (struct kho_abi_slab *)(image + pa);
	/* A checksum is hard to guess. */
	if (slab->crc == 0xffffffff)
		slab->crc = khoc_crc32c(khoc_crc32c(0, slab, 60), &pa, 8);
	err = khoc_slab_check(&mem, shift, pa, order, &counts, &report);
	FACT(report.fault == -err && report.field);
	FACT(!err || (report.fault >= KHO_E_TRUNCATED && report.fault < KHO_E_MAX));
	FACT(err == khoc_slab_check(&mem, shift, pa, order, NULL, NULL));
	if (!err)
		check_slab(slab, shift, order, &counts);
	try_record(data, size, shift);
	free(image);
	return 0;
}
