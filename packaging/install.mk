# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# make install, and the checks of what it installs and of the programming and binary interface.
# A distribution sets what it has elsewhere: LIBDIR for multiarch, DOCDIR, EXAMPLEDIR, ZSHCOMPDIR.
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/libkho
EXAMPLEDIR ?= $(DOCDIR)/examples
# systemd looks there below /usr and /usr/local.
UNITDIR ?= $(PREFIX)/lib/systemd/system
BASHCOMPDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHCOMPDIR ?= $(PREFIX)/share/zsh/site-functions

# cached is an example, and stays in the tree.
MAN_PAGES := $(filter-out docs/man/cached.1,$(wildcard docs/man/*.[1-8]))

.PHONY: install package-build
package-build: $(LIB) $(SHLIB) $(O)/kho

install: package-build
	install -d $(addprefix $(DESTDIR),$(BINDIR) $(LIBDIR)/pkgconfig $(DOCDIR) $(BASHCOMPDIR) $(ZSHCOMPDIR) $(UNITDIR)) \
		$(addprefix $(DESTDIR)$(INCLUDEDIR)/,kho kho/abi kho/core)
	install -m 644 include/kho/*.h include/kho/*.hpp $(DESTDIR)$(INCLUDEDIR)/kho
	install -m 644 include/kho/abi/*.h $(DESTDIR)$(INCLUDEDIR)/kho/abi
	install -m 644 include/kho/core/*.h $(DESTDIR)$(INCLUDEDIR)/kho/core
	install -m 644 $(LIB) $(DESTDIR)$(LIBDIR)
	install -m 755 $(SHLIB) $(DESTDIR)$(LIBDIR)/libkho.so.$(KHO_VERSION)
	ln -sf libkho.so.$(KHO_VERSION) $(DESTDIR)$(LIBDIR)/$(KHO_SONAME)
	ln -sf $(KHO_SONAME) $(DESTDIR)$(LIBDIR)/libkho.so
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(KHO_VERSION)|; s|@INCLUDEDIR@|$(INCLUDEDIR:$(PREFIX)/%=$${prefix}/%)|; s|@LIBDIR@|$(LIBDIR:$(PREFIX)/%=$${prefix}/%)|' \
		host/libkho.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/libkho.pc
	install -m 755 $(O)/kho $(DESTDIR)$(BINDIR)
	packaging/install-man $(DESTDIR)$(MANDIR) $(MAN_PAGES)
	install -m 644 packaging/completion/kho.bash $(DESTDIR)$(BASHCOMPDIR)/kho
	install -m 644 packaging/completion/_kho $(DESTDIR)$(ZSHCOMPDIR)
	install -m 644 README.md $(wildcard docs/*.md) $(DESTDIR)$(DOCDIR)
	sed 's|/usr/bin/kho |$(BINDIR)/kho |' systemd/kho@.service > $(DESTDIR)$(UNITDIR)/kho@.service
	install -D -m 644 -t $(DESTDIR)$(EXAMPLEDIR)/systemd systemd/README
	for d in $(notdir $(patsubst %/kho@.service.d,%,$(wildcard systemd/*/kho@.service.d))); do \
		install -D -m 644 -t $(DESTDIR)$(EXAMPLEDIR)/systemd/$$d/kho@.service.d systemd/$$d/kho@.service.d/kho.conf || exit 1; \
	done

# The record of the binary interface is made anew at a release, or when something is added on purpose.
ABI_RECORD := packaging/libkho.abi
ABI_FLAGS := --headers-dir include/kho --exported-interfaces-only --drop-private-types --no-corpus-path \
	--no-comp-dir-path --no-show-locs --no-elf-needed --no-parameter-names --type-id-style hash

.PHONY: abi-record check-abi check-completion check-man check-package
abi-record: $(SHLIB)
	abidw $(ABI_FLAGS) --out-file $(ABI_RECORD) $(SHLIB)
	packaging/record-symbols $(SHLIB) $(KHO_VERSION) >debian/libkho0.symbols

# Sanitizers export names of their own.
check-abi: $(SHLIB)
	@$(if $(SAN),echo "check-abi: not of a sanitized library",tests/run.sh $@ "packaging/check-abi $(ABI_RECORD) $(SHLIB) debian/libkho0.symbols")

check-completion: $(O)/kho
	@tests/run.sh $@ "packaging/check-completion $(O)/kho"

check-man: $(O)/kho $(SHLIB)
	@tests/run.sh $@ "packaging/check-man $(O)/kho $(SHLIB)"

# Builds everything anew in a copy of the tree: minutes, so not a part of make check.
check-package:
	@scripts/check-package
