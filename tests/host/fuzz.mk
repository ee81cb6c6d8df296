# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# fuzz/fuzz_arena.c needs the host's private side and the template. It is replayed and fuzzed as the
# others of fuzz/fuzz.mk are: build/fuzz/arena, and build/fuzz/fuzz/arena.fuzzer.

ARENA_FUZZ_SRCS := tests/host/template.c
ARENA_FUZZ_CC = $(CC) $(CFLAGS) $(KHO_CFLAGS) -Wframe-larger-than=65536 $(KHO_CORE_INC) -Ihost \
	-Itests/host -Ifuzz -MF $@.d -MT $@

$(O)/fuzz/arena: fuzz/fuzz_arena.c fuzz/replay.c $(ARENA_FUZZ_SRCS) $(LIB)
	@mkdir -p $(@D)
	$(ARENA_FUZZ_CC) -o $@ $< fuzz/replay.c $(ARENA_FUZZ_SRCS) $(LIB) $(KHO_LDFLAGS) $(KHO_LDLIBS)

$(O)/fuzz/arena.fuzzer: fuzz/fuzz_arena.c $(ARENA_FUZZ_SRCS) $(LIB)
	@mkdir -p $(@D)
	$(ARENA_FUZZ_CC) -o $@ $< $(ARENA_FUZZ_SRCS) $(LIB) $(KHO_LDFLAGS) -fsanitize=fuzzer $(KHO_LDLIBS)

.PHONY: check-fuzz-arena
check-fuzz-arena: $(O)/fuzz/arena
	@$< fuzz/corpus/arena
