# SPDX-License-Identifier: GPL-2.0-only
# The kernel's place is chosen before anybody has looked at the table of scratch areas.
@before static void process_e820_entries(unsigned long minimum,
static bool kho_scratch_is_ram(const struct kho_scratch *area, int nr)
{
	const struct boot_e820_entry *e = boot_params_ptr->e820_table;
	int i = 0, last = boot_params_ptr->e820_entries;

	for (; nr > 0 && nr <= 1024 && i < last; area++, nr--)
		for (i = 0; i < last && area->size; i++)
			if (e[i].type == E820_TYPE_RAM && area->addr >= e[i].addr &&
			    area->addr - e[i].addr <= e[i].size && area->size <=
			    e[i].size - (area->addr - e[i].addr))
				break;
	return !nr && i < last;
}

@after 			nr_areas = kho->scratch_size / sizeof(*kho_scratch);
			if (!kho_scratch_is_ram(kho_scratch, nr_areas))
				return true; /* stay where we are */
