# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# check-cached		units, memccapable, a short pymemcache round trip, answers beside memcached's
# check-pymemcache	the long round trip: 100,000 keys
#
# What of memccapable, pymemcache and memcached is not installed is left out, and said.

CACHED_TESTS := tests/cached
CACHED_TEST_FLAGS := $(CFLAGS) $(filter-out -Wframe-larger-than=1024,$(KHO_CFLAGS)) $(KHO_INC) \
	-Iexamples/cached -Ihost -Ihost/env -Icore -Itests/host
CACHED_PYTHON ?= /usr/bin/python3

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

.PHONY: check-cached check-cached-units check-pymemcache
check-cached-units: $(O)/$(CACHED_TESTS)/test_proto $(O)/$(CACHED_TESTS)/test_table
	$(O)/$(CACHED_TESTS)/test_proto
	$(O)/$(CACHED_TESTS)/test_table

check-cached: check-cached-units $(O)/cached
	$(CACHED_PYTHON) $(CACHED_TESTS)/run.py $(O)/cached

check-pymemcache: $(O)/cached
	$(CACHED_PYTHON) $(CACHED_TESTS)/roundtrip.py $(O)/cached 100000
