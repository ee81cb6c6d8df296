# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# Benchmarks: `make bench-NAME` prints a table and writes $(O)/bench/NAME.json.
#
# make bench-core   ROUNDS=7; needs g++, libroaring-dev and libjudy-dev (scripts/packages, "bench")
ROUNDS ?= 7

BENCH_CORE_OBJS := $(addprefix $(O)/bench/core/,set.o set_kho.o set_peers.o)
BENCH_CORE_FLAGS = $(CFLAGS) $(filter-out -Wframe-larger-than=%,$(KHO_CFLAGS)) $(KHO_INC) -Ibench

$(BENCH_CORE_OBJS): bench/rows.h bench/core/set.h

$(O)/bench/core/%.o: bench/core/%.c
	@mkdir -p $(@D)
	$(CC) $(BENCH_CORE_FLAGS) -c -o $@ $<

$(O)/bench/core/%.o: bench/core/%.cc
	@mkdir -p $(@D)
	$(CXX) $(CFLAGS) -std=c++17 -Wall -Wextra -Werror -pthread -Ibench -c -o $@ $<

$(O)/bench/core/bench-core: $(BENCH_CORE_OBJS) $(LIB)
	$(CXX) $(CFLAGS) $(KHO_LDFLAGS) -o $@ $^ $(KHO_LDLIBS) -lroaring -lJudy

.PHONY: bench-core
bench-core: $(O)/bench/core/bench-core
	@$< $(O)/bench/core.json $(ROUNDS)
