/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Any bytes as a file of kho save: what is taken is an arena in sound chunks, what is refused is refused once. */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"

#include "../tool/save/save_file.h"

#define INPUT_MAX (64 << 10)

static int complaints;

void __wrap_complain(const char *format, ...);
void __wrap_complain(const char *format, ...)
{
	char text[4096];
	va_list args;

	va_start(args, format);
	FACT(vsnprintf(text, sizeof(text), format, args) < (int)sizeof(text));
	va_end(args);
	complaints++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct save_summary sum;
	int fd = memfd_create("input", MFD_CLOEXEC), rc;

	if (fd < 0 || size > INPUT_MAX || write(fd, data, size) != (ssize_t)size ||
	    lseek(fd, 0, SEEK_SET)) {
		close(fd);
		return 0;
	}
	complaints = 0;
	rc = save_read(fd, "input", -1, &sum);
	FACT(rc <= 0);
	FACT(complaints == (rc ? 1 : 0));
	if (!rc) {
		FACT(sum.file == size && sum.head.arena_size <= sum.head.max_size);
		FACT(sum.stored >= KHO_ABI_ARENA_PAGE_SIZE &&
		     sum.stored <= sum.head.arena_size - KHO_ABI_ARENA_PAGE_SIZE);
	}
	close(fd);
	return 0;
}
