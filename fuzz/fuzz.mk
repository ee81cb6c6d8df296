# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# Fuzz targets; docs/fuzzing.md lists them.
#
# make check-fuzz			all committed inputs, fuzz/corpus/NAME/*, with the ordinary compiler
# make fuzz TARGET=NAME SECONDS=N	libFuzzer; what it finds is in build/fuzzed/NAME
# make fuzz-afl TARGET=NAME SECONDS=N	AFL++; what it finds is in build/fuzzed/NAME.afl
# make fuzz-merge TARGET=NAME		of both, what reaches code that no committed input does
# make fuzz-corpus			the seeds that are made by a program, anew
#
# All but the first and the last need clang, and AFL++: scripts/packages, "fuzz".

FUZZ_NAMES := root tree
FUZZ_NAMES += vmalloc
FUZZ_NAMES += block luo block_types sparse_memfd
FUZZ_NAMES += slab
FUZZ_NAMES += array
FUZZ_NAMES += compat note kernel_info
FUZZ_NAMES += arena
FUZZ_NAMES += session
FUZZ_NAMES += pool
FUZZ_NAMES += proto
FUZZ_NAMES += array_ops tree_ops heap_ops page_ops fdtable
FUZZ_NAMES += dump
FUZZ_NAMES += save
FUZZ_NAMES += message environ control peers status

# What a target needs besides the library.
FUZZ_SRCS_arena := tests/host/template.c
FUZZ_INC_arena := -Itests/host
FUZZ_SRCS_pool = $(POOLS_OBJ)
FUZZ_INC_pool := -Itests/cpp $(KHO_INC)
FUZZ_LD_pool = $(POOLS_OBJ) $(POOLS_LIBS)
FUZZ_SRCS_proto := examples/cached/proto.c
FUZZ_INC_proto := -Iexamples/cached
FUZZ_SRCS_control := tool/supervisor.c tool/servers.c tool/upgrades.c tool/spawn.c tool/holds.c tool/standby.c tool/liveupdate.c tool/notify.c tool/paths.c
FUZZ_INC_control := -Itool
FUZZ_SRCS_status := tool/control.c tool/prometheus.c tool/output.c
FUZZ_INC_status := -Itool
FUZZ_SRCS_dump := $(filter-out %/find.c %/inspect.c %/check_formats.c,$(INSPECT_SRCS:%=tool/inspect/%)) tool/output.c
FUZZ_INC_dump := -Itool -Itool/inspect -Itests/host
FUZZ_LD_dump := -Wl,--wrap=complain
FUZZ_SRCS_save := tool/save/save_read.c tool/save/progress_bar.c tool/save/squeeze_$(or $(KHO_ZSTD),none).c
FUZZ_INC_save := -Itool -Itool/save
FUZZ_LD_save := -Wl,--wrap=complain $(if $(KHO_ZSTD),-lzstd)
FUZZ_LD_status := -Wl,--wrap=complain
FUZZ_WRAP_peers := usleep sched_yield getpid syscall _exit poll pthread_create \
	$(foreach f,now_us now_ms left_ms life_given_up life_begin life_settle life_mapped arena_own arena_map \
		arena_disown owner_died owner_acquire owner_grant owner_open owner_inherit keeper_start \
		inplace_exec proc_wait_exiting proc_give_way proc_end_way proc_stand_back,kho_$f_)
FUZZ_LD_peers := $(FUZZ_WRAP_peers:%=-Wl,--wrap=%)
FUZZ_LD_control := $(foreach f,spawn kill waitpid pthread_create poll,-Wl,--wrap=$f)

FUZZ_REPLAYS := $(FUZZ_NAMES:%=$(O)/fuzz/%)
FUZZ_CC = $(CC) $(CFLAGS) $(KHO_CFLAGS) -Wframe-larger-than=65536 $(KHO_CORE_INC) -Ihost -Ifuzz \
	$(FUZZ_INC_$*) -MF $@.d -MT $@ -o $@ $(filter %.c,$^) $(FUZZ_LD_$*) $(LIB) $(KHO_LDFLAGS)

define FUZZ_SOURCES
$(O)/fuzz/$1 $(O)/fuzz/$1.fuzzer $(O)/fuzz/$1.afl: fuzz/fuzz_$1.c $(FUZZ_SRCS_$1) $(LIB)
endef
$(foreach n,$(FUZZ_NAMES),$(eval $(call FUZZ_SOURCES,$n)))

$(FUZZ_REPLAYS): $(O)/fuzz/%: fuzz/replay.c
	@mkdir -p $(@D)
	$(FUZZ_CC) $(KHO_LDLIBS)

$(FUZZ_REPLAYS:%=%.fuzzer): $(O)/fuzz/%.fuzzer:
	@mkdir -p $(@D)
	$(FUZZ_CC) -fsanitize=fuzzer $(KHO_LDLIBS)

$(FUZZ_REPLAYS:%=%.afl): $(O)/fuzz/%.afl: fuzz/afl.c
	@mkdir -p $(@D)
	$(FUZZ_CC) $(KHO_LDLIBS)

$(O)/fuzz/make_corpus: fuzz/make_corpus.c fuzz/make_corpus_life.c $(LIB)
	@mkdir -p $(@D)
	$(FUZZ_CC) $(KHO_LDLIBS)

.PHONY: check-fuzz fuzz-corpus
check-fuzz: $(FUZZ_REPLAYS)
	@for name in $(FUZZ_NAMES); do \
		$(O)/fuzz/$$name fuzz/corpus/$$name || exit 1; \
	done
check: check-fuzz

fuzz-corpus: $(O)/fuzz/make_corpus
	@mkdir -p $(FUZZ_NAMES:%=fuzz/corpus/%)
	@$< fuzz/corpus

# ---- fuzzing ----

SECONDS ?= 60
FUZZ_CFLAGS := -O1 -g -fno-sanitize-recover=undefined
FUZZED = $(O)/fuzzed/$(TARGET)
FUZZ_BUILD = $(MAKE) -s CFLAGS="$(FUZZ_CFLAGS)"
LIBFUZZER = $(O)/libfuzzer/fuzz/$(TARGET).fuzzer

.PHONY: fuzz fuzz-afl fuzz-merge fuzz-names fuzz-target fuzz-libfuzzer
fuzz-names:
	@echo $(FUZZ_NAMES)

fuzz-target:
	@case " $(FUZZ_NAMES) " in *" $(TARGET) "*) ;; *) \
		echo "TARGET=NAME: one of $(FUZZ_NAMES)"; exit 1 ;; esac

fuzz-libfuzzer: fuzz-target
	@$(FUZZ_BUILD) O=$(O)/libfuzzer CC=clang SAN=fuzzer-no-link,address,undefined $(LIBFUZZER)
	@mkdir -p $(FUZZED)

# Leaks are looked for as well: a target frees what it takes.
fuzz: fuzz-libfuzzer
	$(LIBFUZZER) -max_total_time=$(SECONDS) -print_final_stats=1 -timeout=120 -rss_limit_mb=4096 \
		-artifact_prefix=$(FUZZED). $(FUZZED) fuzz/corpus/$(TARGET)

# Its cores and governors are its own business: no system is tuned for this.
fuzz-afl: fuzz-target
	@$(FUZZ_BUILD) O=$(O)/afl CC=afl-clang-fast SAN=address,undefined $(O)/afl/fuzz/$(TARGET).afl
	@mkdir -p $(O)/fuzzed
	AFL_SKIP_CPUFREQ=1 AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1 AFL_NO_AFFINITY=1 AFL_NO_UI=1 AFL_AUTORESUME=1 \
		afl-fuzz -i fuzz/corpus/$(TARGET) -o $(FUZZED).afl -V $(SECONDS) -t 20000 -- \
		$(O)/afl/fuzz/$(TARGET).afl
	@sed -n '/^execs_done\|^edges_found\|^total_edges\|^corpus_count\|^saved_/p' \
		$(FUZZED).afl/default/fuzzer_stats
	@! grep -q '^saved_\(crashes\|hangs\) *: [1-9]' $(FUZZED).afl/default/fuzzer_stats

# By lines of code reached, not by how often: a corpus in the tree has to stay small.
fuzz-merge: fuzz-libfuzzer
	$(LIBFUZZER) -merge=1 -use_counters=0 fuzz/corpus/$(TARGET) $(FUZZED) \
		$(wildcard $(FUZZED).afl/default/queue)
