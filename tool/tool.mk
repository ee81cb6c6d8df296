# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# kho(1)
TOOL_SRCS := kho.c options.c paths.c output.c spawn.c run.c supervisor.c servers.c holds.c standby.c upgrades.c control.c
TOOL_OBJS := $(TOOL_SRCS:%.c=$(O)/tool/%.o)

$(O)/tool/%.o: tool/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(KHO_CFLAGS) -Wframe-larger-than=65536 $(KHO_CORE_INC) -Ihost -Itool -c -o $@ $<

$(O)/kho: $(TOOL_OBJS) $(LIB)
	$(CC) $(CFLAGS) $(KHO_LDFLAGS) -o $@ $(TOOL_OBJS) $(LIB) $(KHO_LDLIBS)

ALL += $(O)/kho
