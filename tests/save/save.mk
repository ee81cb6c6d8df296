# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# check-save: kho save, load, clear, status --prometheus.
.PHONY: check-save
check-save: $(O)/kho $(O)/cached
	@tests/run.sh $@ "tests/save/test_save.py $(O)/kho $(O)/cached"
