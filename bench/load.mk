# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# The client library of the demo and the benchmarks, and the test of its model.
LOAD_SRCS := value.c client.c fill.c model.c verify.c prober.c figures.c proc.c sized.c launch.c
LOAD_OBJS := $(LOAD_SRCS:%.c=$(O)/bench/load/%.o)
LOAD_LIB := $(O)/bench/libload.a

# These are programs of 2 MiB stacks; only the library counts its frames.
LOAD_CFLAGS = $(filter-out -Wframe-larger-than=%,$(KHO_CFLAGS)) $(KHO_INC) -Ibench/load

$(O)/bench/%.o: bench/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LOAD_CFLAGS) -c -o $@ $<

$(LOAD_LIB): $(LOAD_OBJS)
	@rm -f $@
	$(AR) rcs $@ $^

TESTS += $(O)/tests/test_load
$(O)/tests/test_load: $(O)/bench/load/test_load.o $(LOAD_LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(KHO_LDFLAGS) -o $@ $^ -lcmocka

.PHONY: check-load
check-load: $(O)/tests/test_load
	@scripts/run-tests $^
