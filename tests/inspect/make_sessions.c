/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Makes an arena with sessions, for test_facts.py: make_sessions FILE */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <kho/session.h>

#include "arena.h"

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "make_sessions: %s: %s\n", what, kho_error());
	exit(1);
}

/* @nr files, under the tokens from @token on, by turns of two kinds. */
static void make(const char *name, unsigned int nr, __u64 token)
{
	struct luo_session *session;

	must(!luo_session_create(name, &session), name);
	for (unsigned int i = 0; i < nr; i++) {
		int fd = i % 2 ? eventfd(i, EFD_CLOEXEC) : memfd_create("file", MFD_CLOEXEC);

		must(fd >= 0 && !luo_session_preserve_fd(session, fd, token + i), "file");
	}
	luo_session_put(session);
}

int main(int argc, char **argv)
{
	int fd = kho_arena_create_("sessions"), out;

	must(argc == 2 && fd >= 0 && !kho_arena_format_(fd, 8 << 20) && !kho_arena_map_(fd, true) &&
		     !kho_arena_own_(),
	     "arena");
	make("first", 3, 7);
	make("empty", 0, 0);
	make("many", 200, 1ULL << 40);
	out = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	must(out >= 0 && write(out, kho_arena_.base, kho_arena_.file_size) ==
				 (ssize_t)kho_arena_.file_size,
	     argv[1]);
	return 0;
}
