# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# The unit files of systemd/: make check-systemd, under the systemd that is installed here; make
# check-full-systemd, under those of Debian's later suites as well (tests/systemd/fetch).
.PHONY: check-systemd check-full-systemd
check-systemd: all
	@tests/systemd/units.py $(O)

check-full-systemd: check-systemd
	@for suite in trixie sid; do \
		root=$$(tests/systemd/fetch $$suite) && tests/systemd/units.py $(O) $$root || exit 1; \
	done
