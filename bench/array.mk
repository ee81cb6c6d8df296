# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# make bench-array   ARRAY_ROUNDS=5; needs g++, libjudy-dev and libabsl-dev (scripts/packages, "bench")
ARRAY_ROUNDS ?= 5
ARRAY_BENCH_OBJS := $(addprefix $(O)/bench/array/,array.o subject_kho.o subject_plain.o subject_judy.o subject_btree.o)

$(O)/bench/array/%.o: bench/array/%.c bench/array/subject.h bench/rows.h
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(KHO_CFLAGS) -Wframe-larger-than=65536 $(KHO_CORE_INC) -Ihost -c -o $@ $<

$(O)/bench/array/%.o: bench/array/%.cc bench/array/subject.h
	@mkdir -p $(@D)
	$(CXX) $(CFLAGS) -std=c++17 -Wall -Wextra -Werror -pthread -MMD -MP -c -o $@ $<

$(O)/bench/array/bench-array: $(ARRAY_BENCH_OBJS) $(LIB)
	$(CXX) $(CFLAGS) $(KHO_LDFLAGS) -o $@ $^ $(KHO_LDLIBS) -lJudy -labsl_throw_delegate -labsl_raw_logging_internal

.PHONY: bench-array
bench-array: $(O)/bench/array/bench-array
	@$< $(O)/bench/core-array.json $(ARRAY_ROUNDS)
