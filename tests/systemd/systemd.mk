# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# check-systemd: the fd store of a real systemd, where one can be had
.PHONY: check-systemd
check-systemd: $(O)/tests/life/session_server
	@tests/systemd/run $(O)
