# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# check-cpp: <kho/allocator.hpp> with the compiler's standard library.
CXX_FLAGS := -std=c++17 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Werror $(KHO_INC) -MMD -MP -pthread
TEST_CPP := $(O)/tests/cpp/names $(O)/tests/cpp/test_pools

$(O)/tests/cpp/names: tests/cpp/names.cpp $(LIB)
	@mkdir -p $(@D)
	$(CXX) $(CXX_FLAGS) $(if $(SAN),-fsanitize=$(SAN)) -MF $@.d -MT $@ -o $@ $< $(LIB) $(KHO_LDFLAGS) $(KHO_LDLIBS)

# kho::pool for programs in C: made by the C++ compiler that belongs to theirs, since sanitizers have to match;
# without the check that needs more of their library than is linked to programs in C.
POOLS_OBJ := $(O)/tests/cpp/pools.o
POOLS_LIBS := -lstdc++
POOLS_CXX := $(if $(findstring clang-fast,$(CC)),$(CC)++,$(if $(findstring clang,$(CC)),$(subst clang,clang++,$(CC)),$(CXX)))
$(POOLS_OBJ): tests/cpp/pools.cpp
	@mkdir -p $(@D)
	$(POOLS_CXX) $(CXX_FLAGS) $(CFLAGS) $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-sanitize=vptr) -c -o $@ $<

POOLS_CC = $(CC) $(CFLAGS) $(KHO_CFLAGS) -Wframe-larger-than=65536 $(KHO_CORE_INC) -Ihost -Itests/core -Itests/cpp \
	-Itests/golden -Itests/host -MF $@.d -MT $@ -o $@ $(filter %.c,$^) $(POOLS_OBJ) $(LIB) $(KHO_LDFLAGS) \
	$(KHO_LDLIBS) $(POOLS_LIBS)

$(O)/tests/cpp/test_pools: tests/cpp/test_pools.c tests/golden/golden.c tests/core/image.c tests/core/shim.c $(POOLS_OBJ) $(LIB)
	@mkdir -p $(@D)
	$(POOLS_CC) -lcmocka

# Not run by anything: the golden images stay as they are.
$(O)/tests/golden/make_pools: tests/golden/make_pools.c $(POOLS_OBJ) $(LIB)
	@mkdir -p $(@D)
	$(POOLS_CC)

.PHONY: check-cpp
check-cpp: $(TEST_CPP) $(O)/kho
	@tests/run.sh $@ "tests/cpp/allocator.py $(O)/kho $(O)/tests/cpp/names" $(O)/tests/cpp/test_pools
