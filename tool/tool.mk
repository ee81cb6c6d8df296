# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# kho(1)
INSPECT_SRCS := source.c source_elf.c source_arena.c find.c faults.c
INSPECT_SRCS += roots.c model_make.c decode_ours.c decode_linux.c decode_arena.c
INSPECT_SRCS += inspect.c check_formats.c json_out.c view_text.c view_json.c view_map.c view_svg.c view_diff.c
TOOL_SRCS := kho.c options.c paths.c output.c spawn.c run.c supervisor.c servers.c holds.c standby.c upgrades.c control.c
TOOL_SRCS += prometheus.c
TOOL_SRCS += $(INSPECT_SRCS:%=inspect/%)
TOOL_SRCS += liveupdate.c notify.c
# Compressed files are for those who have libzstd.
KHO_ZSTD := $(shell pkg-config --exists libzstd 2>/dev/null && echo zstd)
SAVE_SRCS := save.c load.c save_write.c save_read.c progress_bar.c squeeze_$(or $(KHO_ZSTD),none).c
TOOL_SRCS += $(SAVE_SRCS:%=save/%)
TOOL_OBJS := $(TOOL_SRCS:%.c=$(O)/tool/%.o)

$(O)/tool/kho.o: TOOL_DEFINES := -DKHO_VERSION='"$(KHO_VERSION)"'
$(O)/tool/%.o: tool/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(KHO_CFLAGS) $(TOOL_DEFINES) -Wframe-larger-than=65536 $(KHO_CORE_INC) -Ihost -Itool -Itool/inspect -Itool/save -c -o $@ $<

$(O)/kho: $(TOOL_OBJS) $(LIB)
	$(CC) $(CFLAGS) $(KHO_LDFLAGS) -o $@ $(TOOL_OBJS) $(LIB) $(KHO_LDLIBS) $(if $(KHO_ZSTD),-lzstd)

ALL += $(O)/kho
