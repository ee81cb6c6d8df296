# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# check-cpp: <kho/allocator.hpp> with the compiler's standard library.
CXX_FLAGS := -std=c++17 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Werror $(KHO_INC) -MMD -MP -pthread
TEST_CPP := $(O)/tests/cpp/names

$(TEST_CPP): tests/cpp/names.cpp $(LIB)
	@mkdir -p $(@D)
	$(CXX) $(CXX_FLAGS) $(if $(SAN),-fsanitize=$(SAN)) -MF $@.d -MT $@ -o $@ $< $(LIB) $(KHO_LDFLAGS) $(KHO_LDLIBS)

.PHONY: check-cpp
check-cpp: $(TEST_CPP) $(O)/kho
	@tests/run.sh $@ "tests/cpp/allocator.py $(O)/kho $(TEST_CPP)"
