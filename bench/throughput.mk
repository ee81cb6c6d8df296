# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# make bench-throughput   N=7
$(O)/bench/throughput-bench: $(O)/bench/throughput/throughput.o $(O)/bench/libload.a
	$(CC) $(CFLAGS) $(KHO_LDFLAGS) -o $@ $^

.PHONY: bench-throughput
bench-throughput: all $(O)/bench/throughput-bench
	$(O)/bench/throughput-bench --bin $(O) --json $(O)/bench/throughput.json $(if $(N),--n $(N))
