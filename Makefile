# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# make              library, kho(1) and the example
# make check        the tests; SAN=address,undefined or SAN=thread to sanitize
# make bench-NAME   one benchmark: build/bench/NAME.json
# make install      PREFIX=/usr/local DESTDIR=
# O=DIR             build elsewhere than in build/
#
# Each directory adds its own programs in DIR/DIR.mk. Keep this file short.

O ?= build
PREFIX ?= /usr/local
CC ?= gcc
CFLAGS ?= -O2 -g
SAN ?=

KHO_WARN := -Wall -Wextra -Wmissing-prototypes -Wstrict-prototypes -Wshadow -Wvla \
	$(if $(SAN),,-Wframe-larger-than=1024) -Wno-unused-parameter -Werror
KHO_CFLAGS := -std=gnu11 -D_GNU_SOURCE -fno-strict-aliasing -fvisibility=hidden -fPIC -MMD -MP -pthread \
	$(KHO_WARN) $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer)
KHO_INC := -Iinclude
KHO_CORE_INC := $(KHO_INC) -Ihost/env -Icore
KHO_LDFLAGS := -pthread $(if $(SAN),-fsanitize=$(SAN))
KHO_LDLIBS := -lfdt

include core/core.mk
include host/host.mk

CORE_OBJS := $(KHO_CORE_SRCS:%.c=$(O)/core/%.o)
HOST_OBJS := $(KHO_HOST_SRCS:%.c=$(O)/host/%.o)
LIB := $(O)/libkho.a

.DEFAULT_GOAL := all
ALL :=

# The core is freestanding: no C library but mem*, no floating point, bounded frames.
$(O)/core/%.o: core/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(KHO_CFLAGS) -ffreestanding $(KHO_CORE_INC) -c -o $@ $<

$(O)/host/%.o: host/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(KHO_CFLAGS) -Wframe-larger-than=65536 $(KHO_CORE_INC) -Ihost -c -o $@ $<

$(LIB): $(CORE_OBJS) $(HOST_OBJS)
	@rm -f $@
	$(AR) rcs $@ $^

-include $(wildcard tool/tool.mk examples/cached/cached.mk tests/tests.mk \
	tests/host/host.mk fuzz/fuzz.mk fuzz/arena.mk bench/bench.mk bench/heap.mk)

.PHONY: all clean format check-format
all: $(LIB) $(ALL)

clean:
	rm -rf $(O)

FORMATTED := $(shell git ls-files '*.c' '*.h' 2>/dev/null)
format:
	clang-format -i $(FORMATTED)

check-format:
	clang-format --dry-run -Werror $(FORMATTED)

-include $(shell find $(O) -name '*.d' 2>/dev/null)
