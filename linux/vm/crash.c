/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vmcore: the last jump of the chain is a crash of a kernel that has preserved memory, cold or after handovers, and the
 * crash kernel looks at /proc/vmcore, and at what makedumpfile makes of that. crashkernel=256M reserve_mem=2M:4096:kept.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "init.h"

#define DUMP "/tmp/vmcore.dump"

/* The region, with known contents, a session that has not been handed over yet, and what lib/test_kho.c makes. */
static int preserve(const struct stage *stage)
{
	int luo = open("/dev/liveupdate", O_RDWR);

	if (luo < 0)
		return failed("/dev/liveupdate: %s", strerror(errno));
	if (case_reserve_mem(stage) < 0)
		return -1;
	if (stage->hop && check_session(luo, stage->hop) < 0)
		return -1;
	return make_session(luo, stage->hop);
}

int case_vmcore(const struct stage *stage)
{
	char number[16], jumps[16];

	if (!stage->last) {
		parameter("vm.jumps=", jumps, sizeof(jumps));
		if (preserve(stage) < 0)
			return -1;
		/* It has one processor, which need not be the first: so it must not start others. */
		return stage->hop + 1 < atoi(jumps) ? 0 : load_crash(" kho=off nr_cpus=1");
	}
	/* The kernel that crashed counts the handover that it was to make, too. */
	snprintf(number, sizeof(number), "%d", stage->hop);
	if (run_program("kcore", "--vmcore", "/proc/vmcore", number, NULL) < 0 ||
	    run_program("makedumpfile", "-E", "-d", "31", "/proc/vmcore", DUMP, NULL) < 0)
		return -1;
	return run_program("kcore", "--dump", DUMP, number, NULL);
}
