# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# check-torture		every command once, however often the server is killed: TORTURE_KILLS=60; then three servers
#			that are broken on purpose, each of which must be found out
TORTURE_DIR := tests/torture
TORTURE_KILLS ?= 60
TORTURE_WRAP := journal_open journal_close journal_release journal_done journal_commit journal_commit_get \
	journal_intend table_put conns_store kho_tcp_progress

$(O)/$(TORTURE_DIR)/pauses.o: $(TORTURE_DIR)/pauses.c
	@mkdir -p $(@D)
	$(CC) $(CACHED_FLAGS) -c -o $@ $<

$(O)/$(TORTURE_DIR)/%.o: $(TORTURE_DIR)/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(filter-out -Wframe-larger-than=%,$(KHO_CFLAGS)) -c -o $@ $<

$(O)/cached-torture: $(CACHED_V1) $(O)/$(TORTURE_DIR)/pauses.o $(LIB)
	$(CC) $(CFLAGS) $(KHO_LDFLAGS) $(TORTURE_WRAP:%=-Wl,--wrap=%) -o $@ $^ $(KHO_LDLIBS)

$(O)/$(TORTURE_DIR)/torture: $(addprefix $(O)/$(TORTURE_DIR)/,torture.o client.o record.o)
	$(CC) $(CFLAGS) $(KHO_LDFLAGS) -o $@ $^

.PHONY: check-torture
check-torture: $(O)/$(TORTURE_DIR)/torture $(O)/cached-torture $(O)/kho
	@$< --kills $(TORTURE_KILLS) $(O)
	@for what in intend commit progress; do \
		SABOTAGE=$$what $< --kills 400 --expect-broken $(O) || exit 1; \
	done
