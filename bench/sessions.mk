# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# make bench-sessions   SOCKETS=10000 N=50: rounds, of an upgrade and a SIGKILL each
SOCKETS ?= 10000
SESSIONS_BENCH_SRCS := $(wildcard bench/sessions/*.c)
$(O)/bench/bench-sessions: $(SESSIONS_BENCH_SRCS) bench/sessions/sessions.h bench/rows.h $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(KHO_CFLAGS) -Wframe-larger-than=65536 $(KHO_INC) -Ibench -MF $@.d -MT $@ \
		-o $@ $(SESSIONS_BENCH_SRCS) $(LIB) $(KHO_LDFLAGS) $(KHO_LDLIBS)

.PHONY: bench-sessions
bench-sessions: $(O)/bench/bench-sessions $(O)/kho
	@$< $(O)/kho $(O)/bench/sessions.json $(SOCKETS) $(or $(N),50)
