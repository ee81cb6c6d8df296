# SPDX-License-Identifier: GPL-2.0-only
# What was handed over, at once: one region after the other takes time in the square of their number.
@before static int reset_managed_pages_done __initdata;
#ifdef CONFIG_KEXEC_HANDOVER
/* Reserve @nr ranges, by ascending address, of which nothing is reserved; the old ones make way. */
int __init memblock_reserve_sorted(unsigned long nr, void *ctx,
				   void (*next)(void *ctx, phys_addr_t *base, phys_addr_t *size))
{
	struct memblock_region *r, new = { .flags = MEMBLOCK_RSRV_NOINIT };
	struct memblock_type *type = &memblock.reserved;
	unsigned long from = nr, to = 0;

	while (type->cnt + nr > type->max)
		if (memblock_double_array(type, 0, 0) < 0)
			return -ENOMEM;
	r = memmove(type->regions + nr, type->regions, type->cnt * sizeof(*r)) - nr * sizeof(*r);
	memblock_set_region_node(&new, MAX_NUMNODES);
	for (type->cnt += nr; nr--; r[to++] = new) {
		next(ctx, &new.base, &new.size);
		while (from < type->cnt && r[from].base < new.base)
			r[to++] = r[from++];
		type->total_size += new.size;
	}
	return 0;
}
#endif

