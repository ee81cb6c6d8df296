# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# check-systemd: the store of a real systemd, where one can be had, and the unit files of systemd/ under it;
# check-full-systemd: these under the systemd of Debian's later suites as well (tests/systemd/fetch).
.PHONY: check-systemd check-full-systemd
check-systemd: $(O)/tests/life/session_server all
	@tests/systemd/run $(O)
	@tests/systemd/units.py $(O)

check-full-systemd: all
	@for suite in trixie sid; do \
		root=$$(tests/systemd/fetch $$suite) && tests/systemd/units.py $(O) $$root || exit 1; \
	done
