# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# The documents against the code: formats, examples, versions, installation, manual pages.
$(O)/tests/docs/abi_examples: tests/docs/abi_examples.c $(POOLS_OBJ) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(KHO_CFLAGS) -Wframe-larger-than=65536 $(KHO_CORE_INC) -Ihost -Itests/cpp \
		-MF $@.d -MT $@ -o $@ $< $(POOLS_OBJ) $(LIB) $(KHO_LDFLAGS) $(KHO_LDLIBS) $(POOLS_LIBS)

.PHONY: check-docs
check-docs: $(O)/tests/docs/abi_examples all
	@tests/docs/check_abi.py . $(O)/tests/docs/abi_examples
	@CC="$(CC)" SAN_FLAGS="$(if $(SAN),-fsanitize=$(SAN))" \
		tests/docs/check_install.sh . O=$(O) SAN=$(SAN) CC="$(CC)"
	@tests/docs/kernel_engineers.py docs/kernel-engineers.md $(O)
	@echo "run-tests: 3 passed, 0 failed"
