# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# check-save: kho save, load, clear, status --prometheus; the progress bar.
TEST_SAVE := $(O)/tests/save/test_progress_bar

$(TEST_SAVE): tests/save/test_progress_bar.c $(O)/tool/save/progress_bar.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(KHO_CFLAGS) -Wframe-larger-than=65536 $(KHO_CORE_INC) -Itool/save -MF $@.d -MT $@ \
		-o $@ $(filter %.c %.o,$^) $(LIB) -Wl,--wrap=kho_now_ms_ $(KHO_LDFLAGS) $(KHO_LDLIBS) -lcmocka

# On a disk that the test breaks.
SAVE_NO_SYNC := $(O)/tests/save/kho-no-sync
$(SAVE_NO_SYNC): tests/save/no_sync.c $(TOOL_OBJS) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(KHO_CFLAGS) -MF $@.d -MT $@ -o $@ $^ -Wl,--wrap=fsync $(KHO_LDFLAGS) $(KHO_LDLIBS) \
		$(if $(KHO_ZSTD),-lzstd)

.PHONY: check-save
check-save: $(O)/kho $(O)/cached $(TEST_SAVE) $(SAVE_NO_SYNC)
	@tests/run.sh $@ $(TEST_SAVE) "tests/save/test_save.py $(O)/kho $(O)/cached $(SAVE_NO_SYNC)"
