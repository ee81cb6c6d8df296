# SPDX-License-Identifier: GPL-2.0-only
# The Linux host under QEMU. `make vm-check`: linux/vm/check; docs/linux.md.
VM_TOOLS := $(O)/vm/locate
$(VM_TOOLS): $(O)/vm/%: linux/vm/%.c linux/vm/vmcore.c linux/vm/vmcore.h $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(filter-out -MMD -MP,$(KHO_CFLAGS)) $(KHO_INC) -o $@ $< linux/vm/vmcore.c $(LIB) \
		$(KHO_LDFLAGS) $(KHO_LDLIBS)

.PHONY: vm-check vm-check-long vm-demo
vm-check:
	@linux/vm/check $(VM)
vm-check-long:
	@KHO_LONG=1 linux/vm/check $(VM)
vm-demo:
	@linux/vm/check demo
