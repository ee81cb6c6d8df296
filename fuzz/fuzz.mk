# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# Fuzz targets. `make check-fuzz` replays fuzz/corpus/NAME/* with the ordinary compiler.
# `make fuzz-corpus` writes the seeds anew. To fuzz for real:
#
#	make O=build/fuzz CC=clang SAN=fuzzer-no-link,address,undefined build/fuzz/fuzz/root.fuzzer
#	build/fuzz/fuzz/root.fuzzer fuzz/corpus/root

FUZZ_NAMES := root tree
FUZZ_NAMES += vmalloc
FUZZ_NAMES += block luo
FUZZ_NAMES += slab
FUZZ_NAMES += array
FUZZ_REPLAYS := $(FUZZ_NAMES:%=$(O)/fuzz/%)
FUZZ_CC = $(CC) $(CFLAGS) $(KHO_CFLAGS) -Wframe-larger-than=65536 $(KHO_CORE_INC) -MF $@.d -MT $@

$(FUZZ_REPLAYS): $(O)/fuzz/%: fuzz/fuzz_%.c fuzz/replay.c fuzz/fuzz.h $(LIB)
	@mkdir -p $(@D)
	$(FUZZ_CC) -o $@ $< fuzz/replay.c $(LIB) $(KHO_LDFLAGS) $(KHO_LDLIBS)

$(O)/fuzz/%.fuzzer: fuzz/fuzz_%.c fuzz/fuzz.h $(LIB)
	@mkdir -p $(@D)
	$(FUZZ_CC) -o $@ $< $(LIB) $(KHO_LDFLAGS) -fsanitize=fuzzer $(KHO_LDLIBS)

$(O)/fuzz/make_corpus: fuzz/make_corpus.c fuzz/fuzz.h $(LIB)
	@mkdir -p $(@D)
	$(FUZZ_CC) -o $@ $< $(LIB) $(KHO_LDFLAGS) $(KHO_LDLIBS)

.PHONY: check-fuzz fuzz-corpus
check-fuzz: $(FUZZ_REPLAYS)
	@for name in $(FUZZ_NAMES); do \
		$(O)/fuzz/$$name fuzz/corpus/$$name || exit 1; \
	done
check: check-fuzz

fuzz-corpus: $(O)/fuzz/make_corpus
	@mkdir -p $(FUZZ_NAMES:%=fuzz/corpus/%)
	@$< fuzz/corpus
