/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* See hold.h. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "hold.h"
#include "life.h"

static const char *dir;

static void hold(const char *step)
{
	char hold_path[256], at_path[256], tmp[300];
	FILE *f;

	snprintf(hold_path, sizeof(hold_path), "%s/hold.%s", dir, step);
	if (access(hold_path, F_OK))
		return;
	snprintf(at_path, sizeof(at_path), "%s/at.%s", dir, step);
	snprintf(tmp, sizeof(tmp), "%s.tmp", at_path);
	f = fopen(tmp, "we");
	if (!f)
		abort();
	fprintf(f, "%d\n", (int)getpid());
	fclose(f);
	rename(tmp, at_path);
	while (!access(hold_path, F_OK))
		usleep(1000);
}

void hold_install(void)
{
	dir = getenv("KHO_TEST_DIR");
	if (dir)
		kho_step_hook_ = hold;
}
