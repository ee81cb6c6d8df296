# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# check-cached		units, behaviour, upgrades and crashes, memccapable, a short round trip, answers
#			beside memcached's
# check-pymemcache	the long round trip: 100,000 keys
#
# What of memccapable, pymemcache and memcached is not installed is left out.

CACHED_TESTS := tests/cached
CACHED_TEST_FLAGS := $(CFLAGS) $(filter-out -Wframe-larger-than=1024,$(KHO_CFLAGS)) $(KHO_INC) \
	-Iexamples/cached -Ihost -Ihost/env -Icore -Itests/host

$(O)/$(CACHED_TESTS)/%.o: $(CACHED_TESTS)/%.c
	@mkdir -p $(@D)
	$(CC) $(CACHED_TEST_FLAGS) -c -o $@ $<

$(O)/$(CACHED_TESTS)/fuzz_proto.o: fuzz/fuzz_proto.c
	@mkdir -p $(@D)
	$(CC) $(CACHED_TEST_FLAGS) -c -o $@ $<

$(O)/$(CACHED_TESTS)/arena_fixture.o: tests/host/arena_fixture.c
	@mkdir -p $(@D)
	$(CC) $(CACHED_TEST_FLAGS) -c -o $@ $<

$(O)/$(CACHED_TESTS)/test_proto: $(O)/$(CACHED_TESTS)/test_proto.o $(O)/$(CACHED_TESTS)/fuzz_proto.o \
		$(O)/$(CACHED_DIR)/v1/proto.o
	$(CC) $(CFLAGS) $(KHO_LDFLAGS) -o $@ $^ -lcmocka

$(O)/$(CACHED_TESTS)/test_table: $(O)/$(CACHED_TESTS)/test_table.o \
		$(O)/$(CACHED_TESTS)/arena_fixture.o $(O)/$(CACHED_DIR)/v1/table.o $(LIB)
	$(CC) $(CFLAGS) $(KHO_LDFLAGS) -o $@ $^ -lcmocka $(KHO_LDLIBS)

# The scripts run from the build directory: their logs stay beside them.
$(O)/$(CACHED_TESTS)/%.py: $(CACHED_TESTS)/%.py
	@mkdir -p $(@D)
	@cp $< $@

CACHED_UNITS := $(addprefix $(O)/$(CACHED_TESTS)/,test_proto test_table)
CACHED_SCRIPTS := $(addprefix $(O)/$(CACHED_TESTS)/,behave.py upgrade.py capable.py roundtrip.py compare.py)
CACHED_MODULES := $(addprefix $(O)/$(CACHED_TESTS)/,server.py talk.py)
CACHED_PROGRAMS := $(O)/cached $(O)/cached-v1 $(O)/cached-v2 $(O)/cached-bad $(O)/kho

.PHONY: check-cached check-cached-units check-pymemcache
check-cached-units: $(CACHED_UNITS)
	@scripts/run-tests $(CACHED_UNITS)

check-cached: $(CACHED_UNITS) $(CACHED_SCRIPTS) $(CACHED_MODULES) $(CACHED_PROGRAMS)
	@CACHED_BUILD=$(O) scripts/run-tests $(CACHED_UNITS) $(CACHED_SCRIPTS)

check-pymemcache: $(CACHED_SCRIPTS) $(CACHED_MODULES) $(O)/cached
	CACHED_BUILD=$(O) $(O)/$(CACHED_TESTS)/roundtrip.py 100000
