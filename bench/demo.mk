# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# The demo: scripts/demo installs, builds and runs it.
DEMO_SRCS := demo.c events.c server.c copied.c show.c
DEMO_OBJS := $(DEMO_SRCS:%.c=$(O)/bench/demo/%.o)

$(O)/demo/demo: $(DEMO_OBJS) $(O)/bench/libload.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(KHO_LDFLAGS) -o $@ $^

.PHONY: demo
demo: $(O)/demo/demo
