/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vmcore: a kernel that has preserved memory crashes, and the crash kernel looks at /proc/vmcore, and at what
 * makedumpfile makes of that. crashkernel=256M reserve_mem=2M:4096:kept.
 */
#include <fcntl.h>
#include <errno.h>
#include <string.h>

#include "init.h"

#define DUMP "/tmp/vmcore.dump"

/* The region, with known contents, a session that nobody has handed over yet, and what lib/test_kho.c makes. */
static int crash_prepare(const struct stage *stage)
{
	int luo = open("/dev/liveupdate", O_RDWR);

	if (luo < 0)
		return failed("/dev/liveupdate: %s", strerror(errno));
	if (case_reserve_mem(stage) < 0 || make_session(luo, stage->hop) < 0)
		return -1;
	/* It has 256 MiB, and one processor, which need not be the first: so it does not start others. */
	return load_crash(" kho=off nr_cpus=1");
}

int case_vmcore(const struct stage *stage)
{
	if (!stage->hop)
		return crash_prepare(stage);
	if (run_program("kcore", "--vmcore", "/proc/vmcore", NULL) < 0 ||
	    run_program("makedumpfile", "-E", "-d", "31", "/proc/vmcore", DUMP, NULL) < 0)
		return -1;
	return run_program("kcore", "--dump", DUMP, NULL);
}
