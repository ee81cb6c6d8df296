# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# make bench-blackout   SIZES="16MiB 1GiB" N=50 SUBJECTS=libkho,redis
BLACKOUT_OBJS := $(O)/bench/blackout/blackout.o $(O)/bench/blackout/subjects.o

$(O)/bench/blackout-floor: $(O)/bench/blackout/floor.o $(O)/bench/libload.a
	$(CC) $(CFLAGS) $(KHO_LDFLAGS) -o $@ $^

$(O)/bench/blackout-bench: $(BLACKOUT_OBJS) $(O)/bench/libload.a
	$(CC) $(CFLAGS) $(KHO_LDFLAGS) -o $@ $^

.PHONY: bench-blackout
bench-blackout: all $(O)/bench/blackout-bench $(O)/bench/blackout-floor
	$(O)/bench/blackout-bench --bin $(O) --json $(O)/bench/blackout.json --sizes "$(SIZES)" \
		$(if $(N),--n $(N)) --subjects "$(SUBJECTS)"

# In a guest whose clock counts instructions: linux/vm/blackout_bench.py.
.PHONY: bench-blackout-counted
bench-blackout-counted: all $(O)/bench/blackout-bench
	@linux/vm/bench blackout $(O)/bench/blackout-counted.json
