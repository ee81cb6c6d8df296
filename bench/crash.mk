# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# make bench-crash   SIZES="16MiB 12GiB" N=200 RATE=2000 SUBJECTS=standby,redis
CRASH_OBJS := $(addprefix $(O)/bench/crash/,crash.o subjects.o watch.o)

$(O)/bench/crash-bench: $(CRASH_OBJS) $(O)/bench/libload.a
	$(CC) $(CFLAGS) $(KHO_LDFLAGS) -o $@ $^

.PHONY: bench-crash
bench-crash: all $(O)/bench/crash-bench
	$(O)/bench/crash-bench --bin $(O) --json $(O)/bench/crash.json --sizes "$(SIZES)" \
		$(if $(N),--n $(N)) $(if $(RATE),--rate $(RATE)) --subjects "$(SUBJECTS)"
