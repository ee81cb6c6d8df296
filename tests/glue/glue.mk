# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# linux/overlay's files that need no hardware, in a process: tests/glue/test_boots.c.
GLUE_KERNEL := array image memfd page preserve root slab slab_restore types verify vmalloc
GLUE_KERNEL := $(GLUE_KERNEL:%=linux/overlay/kernel/liveupdate/kho_%.c)
GLUE_TESTS := $(patsubst %,linux/vm/module/%.c,array check make ours preserve slab types)
GLUE_SRCS := tests/glue/test_boots.c tests/glue/memory.c tests/glue/files.c $(GLUE_KERNEL) $(GLUE_TESTS)
# Whatever these include by a name of the kernel's: all of it is in one file.
GLUE_HEADERS := $(sort $(filter-out linux/kexec_handover.h linux/types.h linux/errno.h linux/kho/%,$(shell \
	sed -n 's/^\#include <\(\(linux\|asm\|uapi\)\/.*\)>.*/\1/p' $(GLUE_KERNEL) $(GLUE_TESTS) \
		linux/vm/module/*.h linux/overlay/kernel/liveupdate/*.h \
		$$(find linux/overlay/include -name '*.h'))) mm/internal.h)
GLUE_DIR := $(O)/tests/glue
GLUE_INC := -include tests/glue/kernel.h -I$(GLUE_DIR)/include -I$(GLUE_DIR)/include/a/b -Ilinux/overlay/include -Iinclude \
	-Ilinux/overlay/kernel/liveupdate -Ilinux/vm/module -DKHO_VM_OURS
# The kernel's own warnings are other ones: linux/vm/checks.
GLUE_WARN := -Wno-unknown-warning-option -Wno-sign-compare -Wno-missing-prototypes -Wno-shadow -Wno-unused -Wno-type-limits -Wno-format \
	-Wno-empty-body -Wno-discarded-qualifiers

$(GLUE_DIR)/test_boots: $(GLUE_SRCS) tests/glue/kernel.h tests/glue/files.h tests/glue/glue.mk $(LIB)
	@rm -rf $(GLUE_DIR)/include && mkdir -p $(GLUE_DIR)/include/a/b
	@for h in $(GLUE_HEADERS); do mkdir -p $(GLUE_DIR)/include/$$(dirname $$h) && : >$(GLUE_DIR)/include/$$h; done
	$(CC) $(CFLAGS) $(filter-out -MMD -MP,$(KHO_CFLAGS)) -Wframe-larger-than=65536 $(GLUE_WARN) $(GLUE_INC) \
		-o $@ $(GLUE_SRCS) $(LIB) $(KHO_LDFLAGS) $(KHO_LDLIBS)

.PHONY: check-glue
check-glue: $(GLUE_DIR)/test_boots
	@tests/run.sh check-glue $<
