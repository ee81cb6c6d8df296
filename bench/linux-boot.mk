# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# Instructions that a kernel's boot takes for preserved memory: `make bench-linux-boot`, with
# CASES='isolated mixed' for some. docs/linux.md.
.PHONY: bench-linux-boot
bench-linux-boot:
	@linux/vm/bench boot $(O)/bench/linux-boot.json $(CASES)
