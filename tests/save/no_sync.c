/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* kho(1) on a disk whose directories cannot be synced: KHO_TEST_NO_SYNC is the errno. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int __real_fsync(int fd);
int __wrap_fsync(int fd);

int __wrap_fsync(int fd)
{
	const char *error = getenv("KHO_TEST_NO_SYNC");
	struct stat st;

	if (!error || fstat(fd, &st) || !S_ISDIR(st.st_mode))
		return __real_fsync(fd);
	errno = atoi(error);
	return -1;
}
