# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# check-life: ownership, quiescing, preserved fds, messages, hand-over, supervision
LIFE_TESTS := test_owner test_quiesce test_fdtable test_message test_handover test_supervise test_system
LIFE_TESTS += test_courier test_standby test_progress test_note test_versions test_parts test_edges
LIFE_TESTS += test_sessions test_systemd
LIFE_TESTS += test_liveupdate test_notify test_waits
LIFE_BINS := $(LIFE_TESTS:%=$(O)/tests/life/%)
TEST_LIFE_SERVER := $(O)/tests/life/server
LIFE_HELPERS := $(O)/tests/life/util.o

$(O)/tests/life/%.o: tests/life/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(KHO_CFLAGS) -Wframe-larger-than=65536 $(KHO_CORE_INC) -Ihost -Itests/life -c -o $@ $<

$(O)/tests/life/server: $(O)/tests/life/server.o $(O)/tests/life/store.o $(O)/tests/life/hold.o $(LIB)
	$(CC) $(CFLAGS) $(KHO_LDFLAGS) -o $@ $^ $(KHO_LDLIBS)

# All of whose files are in sessions.
$(O)/tests/life/session_server: $(O)/tests/life/session_server.o $(O)/tests/life/hold.o $(LIB)
	$(CC) $(CFLAGS) $(KHO_LDFLAGS) -o $@ $^ $(KHO_LDLIBS)

# Calls that fail when the test says so.
$(O)/tests/life/test_edges: LIFE_LD := $(foreach f,memfd_create fcntl fstat ftruncate fallocate mmap eventfd \
	pthread_create pread pwrite getrandom openat stat calloc realloc,-Wl,--wrap=$f)
# kho(1) with a kernel that the test plays.
LIFE_FAKE := $(O)/tests/life/kho-fake
$(LIFE_FAKE): $(O)/tests/life/fake_client.o $(TOOL_OBJS) $(LIB)
	$(CC) $(CFLAGS) $(KHO_LDFLAGS) -o $@ $^ $(KHO_LDLIBS) $(if $(KHO_ZSTD),-lzstd)
$(O)/tests/life/test_liveupdate: $(O)/tests/life/fake_kernel.o
# A keeper without a thread.
$(O)/tests/life/test_owner: LIFE_LD := -Wl,--wrap=pthread_create -Wl,--wrap=pthread_join
# The same with a note of its format, of version 1 or 9.
LIFE_NOTED := $(O)/tests/life/server-note1 $(O)/tests/life/server-note9
$(LIFE_NOTED): $(O)/tests/life/server-note%: tests/life/server.c $(O)/tests/life/store.o $(O)/tests/life/hold.o $(LIB)
	$(CC) $(CFLAGS) $(KHO_CFLAGS) -Wframe-larger-than=65536 $(KHO_CORE_INC) -Ihost -Itests/life \
		-DSERVER_NOTE=$* -MF $@.d -MT $@ -o $@ $^ $(KHO_LDFLAGS) $(KHO_LDLIBS)

# The same with a library that reads and writes no blocks, or version 2 of them alone.
LIFE_OTHERS := $(O)/tests/life/server-block0 $(O)/tests/life/server-block2
$(LIFE_OTHERS): $(O)/tests/life/server-block%: tests/life/server.c host/formats.c host/subtree.c \
		tests/life/other_block.h $(O)/tests/life/store.o $(O)/tests/life/hold.o $(LIB)
	$(CC) $(CFLAGS) $(filter-out -MMD -MP,$(KHO_CFLAGS)) -Wframe-larger-than=65536 $(KHO_CORE_INC) -Ihost \
		-Itests/life -DOTHER_BLOCK=$* -include tests/life/other_block.h -o $@ $(filter-out %.h,$^) \
		$(KHO_LDFLAGS) $(KHO_LDLIBS)

$(LIFE_BINS): $(O)/tests/life/%: $(O)/tests/life/%.o $(LIFE_HELPERS) $(LIB)
	$(CC) $(CFLAGS) $(KHO_LDFLAGS) $(LIFE_LD) -o $@ $^ $(KHO_LDLIBS) -lcmocka

.PHONY: check-life
check-life: $(LIFE_BINS) $(O)/tests/life/server $(O)/tests/life/session_server $(LIFE_NOTED) $(LIFE_OTHERS) $(LIFE_FAKE) $(O)/kho
	@for t in $(LIFE_BINS); do \
		CMOCKA_MESSAGE_OUTPUT=stdout $$t >$$t.log 2>&1 || { cat $$t.log; echo "$$t failed"; exit 1; }; \
	done
	@echo "check-life: passed"
