# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# make              library, kho(1) and the example
# make check        the tests; SAN=address,undefined or SAN=thread to sanitize
# make bench-NAME   one benchmark: build/bench/NAME.json
# make install      PREFIX=/usr/local DESTDIR=, and what packaging/install.mk lists
# O=DIR             build elsewhere than in build/
#
# Each directory adds its own programs in DIR/DIR.mk. Keep this file short.

O ?= build
PREFIX ?= /usr/local
DESTDIR ?=
ifeq ($(origin CC),default)
CC := gcc
endif
CFLAGS ?= -O2 -g
SAN ?=
# Packages are built by compilers that were not tried.
WERROR ?= -Werror
# Of the next release; SONAME counts incompatible changes of the programming interface.
KHO_VERSION := 0.1.0
KHO_SONAME := libkho.so.0

KHO_WARN := -Wall -Wextra -Wmissing-prototypes -Wstrict-prototypes -Wshadow -Wvla \
	$(if $(SAN),,-Wframe-larger-than=1024) -Wno-unused-parameter $(WERROR)
# What a sanitizer finds ends the program: a test that passes is not read.
KHO_CFLAGS := -std=gnu11 -D_GNU_SOURCE -fno-strict-aliasing -fvisibility=hidden -fPIC -MMD -MP -pthread \
	$(CPPFLAGS) $(KHO_WARN) $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all \
	-fno-omit-frame-pointer)
KHO_INC := -Iinclude
KHO_CORE_INC := $(KHO_INC) -Ihost/env -Icore
KHO_LDFLAGS := -pthread $(LDFLAGS) $(if $(SAN),-fsanitize=$(SAN))
KHO_LDLIBS := -lfdt

include core/core.mk
include host/host.mk

CORE_OBJS := $(KHO_CORE_SRCS:%.c=$(O)/core/%.o)
HOST_OBJS := $(KHO_HOST_SRCS:%.c=$(O)/host/%.o)
LIB := $(O)/libkho.a
SHLIB := $(O)/$(KHO_SONAME)

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

# Exports what the public headers declare: that alone is compiled with default visibility.
$(SHLIB): $(CORE_OBJS) $(HOST_OBJS) host/libkho.map
	$(CC) $(CFLAGS) -shared -Wl,-soname,$(KHO_SONAME) -Wl,--version-script=host/libkho.map \
		$(KHO_LDFLAGS) -o $@ $(CORE_OBJS) $(HOST_OBJS) $(KHO_LDLIBS)

# bench/load.mk names the client library that its neighbours link.
PARTS := $(wildcard packaging/install.mk linux/vm/vm.mk tool/tool.mk examples/cached/cached.mk tests/tests.mk tests/*/*.mk fuzz/fuzz.mk) \
	bench/load.mk $(filter-out bench/load.mk,$(wildcard bench/*.mk))
include $(PARTS)

# The check-NAME targets of all parts, but those that take long; and their programs.
CHECKS := $(filter-out check-full% check-build check-package check-pymemcache check-kill check-corrupt check-mutate,$(sort \
	$(shell sed -n 's/^\(check-[a-z0-9-]*\):.*/\1/p' $(PARTS) /dev/null)))
.PHONY: check check-build
check: $(CHECKS)
check-build: $(foreach v,$(filter TEST_% LIFE_BINS TESTS,$(.VARIABLES)),$(filter $(O)/%,$($(v))))

.PHONY: all clean format check-format
all: $(LIB) $(SHLIB) $(ALL)

clean:
	rm -rf $(O)

FORMATTED = $(shell find . -path './$(O)' -prune -o -path './.*' -prune -o -path ./linux/edits -prune -o -name '*.[ch]' -print)
format:
	clang-format -i $(FORMATTED)

check-format:
	clang-format --dry-run -Werror $(FORMATTED)

-include $(shell find $(O) -name '*.d' 2>/dev/null)
