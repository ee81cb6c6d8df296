# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# The memory side of the process host: make check-host (short), check-kill KILLS=N and
# check-corrupt, check-mutate MUTATIONS=N (long). KHO_SEED=N repeats a random test.

KILLS ?= $(or $(KHO_KILLS),3000)
MUTATIONS ?= 1000000
# Sanitizers multiply the instructions, and their leak checker dislikes ptrace.
HOST_TEST_SKIP := $(if $(SAN),$(wildcard tests/host/test_step_*.c))
HOST_TEST_INC := $(KHO_CORE_INC) -Ihost -Itests/host
HOST_TEST_SUPPORT := tests/host/arena_fixture.c tests/host/template.c
HOST_TEST_SUPPORT += tests/host/damage.c tests/host/damage_rows.c tests/host/damage_structs.c
# All of their cases are slow: check-kill runs them.
HOST_TEST_LONG := tests/host/test_step_names.c tests/host/test_step_migrate.c
TEST_host := $(patsubst %.c,$(O)/%,$(filter-out $(HOST_TEST_SKIP) $(HOST_TEST_LONG), \
	$(wildcard tests/host/test_*.c)))
# Every call that can fail for want of memory goes through test_nomem.c.
HOST_WRAP := malloc calloc aligned_alloc mmap munmap madvise fallocate ftruncate

$(O)/tests/host/test_nomem: HOST_TEST_LD := $(HOST_WRAP:%=-Wl,--wrap=%)
# The file grows right after it was looked at.
$(O)/tests/host/test_arena: HOST_TEST_LD := -Wl,--wrap=fstat
# A file that is preserved by the kernel.
$(O)/tests/host/test_compact: HOST_TEST_LD := -Wl,--wrap=fallocate -Wl,--wrap=ftruncate
# Stepping through the dynamic linker would be no use.
TEST_step := $(filter $(O)/tests/host/test_step_%,$(TEST_host)) $(HOST_TEST_LONG:%.c=$(O)/%)
$(TEST_step): HOST_TEST_LD := -Wl,-z,now
$(TEST_step): HOST_TEST_MORE := tests/host/step.c
$(TEST_step): tests/host/step.c

KILL_SRCS := $(wildcard tests/host/kill_*.c)
$(O)/tests/host/test_kill: HOST_TEST_MORE := $(KILL_SRCS)
$(O)/tests/host/test_kill: $(KILL_SRCS)

$(O)/tests/host/%: tests/host/%.c $(HOST_TEST_SUPPORT) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(KHO_CFLAGS) -Wframe-larger-than=65536 $(HOST_TEST_INC) -MF $@.d -MT $@ \
		-o $@ $< $(HOST_TEST_MORE) $(HOST_TEST_SUPPORT) $(LIB) $(KHO_LDFLAGS) $(HOST_TEST_LD) \
		$(KHO_LDLIBS) -lcmocka

.PHONY: check check-host
check-host: $(TEST_host)
	@tests/run.sh check-host $(TEST_host)
check: check-host

.PHONY: check-kill check-corrupt check-mutate
check-kill: $(O)/tests/host/test_kill $(O)/tests/host/test_kill_block $(TEST_step)
	KHO_KILLS=$(KILLS) $(O)/tests/host/test_kill
	KHO_KILLS=$(KILLS) $(O)/tests/host/test_kill_block
	for test in $(TEST_step); do KHO_STEP=full $$test || exit 1; done

check-corrupt: $(O)/tests/host/test_corrupt
	KHO_CORRUPT=full KHO_CORRUPT_JSON=$(O)/corrupt.json $<

check-mutate: $(O)/tests/host/test_mutate
	KHO_MUTATIONS=$(MUTATIONS) KHO_MUTATE_JSON=$(O)/mutate.json $<

# Not run by anything: the golden images stay as they are.
$(O)/tests/host/make_golden: tests/host/make_golden.c
