# SPDX-License-Identifier: GPL-2.0-only
# The Linux host under QEMU. `make vm-check`: linux/vm/check; docs/linux.md.
$(O)/vm/check-dump: linux/vm/check-dump.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(KHO_CFLAGS) $(KHO_INC) -MF $@.d -MT $@ -o $@ $< $(LIB) $(KHO_LDFLAGS) $(KHO_LDLIBS)

.PHONY: vm-check
vm-check:
	@linux/vm/check $(VM)
