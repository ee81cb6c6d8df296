# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# One source, two versions: cached-v1 and cached-v2 differ in what they say they are, so that
# an upgrade can be watched. cached-bad is a successor that fails; see bad.c.

CACHED_DIR := examples/cached
CACHED_SRCS := main.c options.c listen.c worker.c survive.c table.c item.c clock.c conns.c conn.c journal.c \
	proto.c commands.c stats.c
CACHED_FLAGS := $(CFLAGS) $(KHO_CFLAGS) $(KHO_INC) -I$(CACHED_DIR)

$(O)/$(CACHED_DIR)/v1/%.o: CACHED_DEFS := -DCACHED_VERSION='"1.0.0"'
$(O)/$(CACHED_DIR)/v2/%.o: CACHED_DEFS := -DCACHED_VERSION='"2.0.0"'

$(O)/$(CACHED_DIR)/v1/%.o: $(CACHED_DIR)/%.c
	@mkdir -p $(@D)
	$(CC) $(CACHED_FLAGS) $(CACHED_DEFS) -c -o $@ $<

$(O)/$(CACHED_DIR)/v2/%.o: $(CACHED_DIR)/%.c
	@mkdir -p $(@D)
	$(CC) $(CACHED_FLAGS) $(CACHED_DEFS) -c -o $@ $<

CACHED_V1 := $(CACHED_SRCS:%.c=$(O)/$(CACHED_DIR)/v1/%.o)
CACHED_V2 := $(CACHED_SRCS:%.c=$(O)/$(CACHED_DIR)/v2/%.o)

$(O)/cached-v1: $(CACHED_V1) $(LIB)
	$(CC) $(CFLAGS) $(KHO_LDFLAGS) -o $@ $^ $(KHO_LDLIBS)

$(O)/cached-v2: $(CACHED_V2) $(LIB)
	$(CC) $(CFLAGS) $(KHO_LDFLAGS) -o $@ $^ $(KHO_LDLIBS)

$(O)/cached: $(O)/cached-v1
	cp -f $< $@

$(O)/cached-bad: $(CACHED_V2) $(O)/$(CACHED_DIR)/v2/bad.o $(LIB)
	$(CC) $(CFLAGS) $(KHO_LDFLAGS) -Wl,--wrap=main,--wrap=kho_start,--wrap=kho_ready,--wrap=kho_healthy \
		-o $@ $^ $(KHO_LDLIBS)

ALL += $(O)/cached $(O)/cached-v1 $(O)/cached-v2 $(O)/cached-bad
