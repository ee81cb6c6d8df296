/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* How far it is, for people who wait longer than a second. */
#include <string.h>
#include <unistd.h>

#include "proc.h"
#include "save_file.h"
#include "tool.h"

#define WIDTH 30
#define FIRST_MS 1000
#define EVERY_MS 200

void progress_begin(struct progress_bar *bar, const char *what, __u64 total)
{
	*bar = (struct progress_bar){
		.what = what, .total = total ? total : 1, .begun = kho_now_ms_()};
}

void progress_show(struct progress_bar *bar, __u64 done)
{
	static const char full[] = "##############################";
	__u64 now = kho_now_ms_(), part = done < bar->total ? done : bar->total;
	unsigned int cells = (unsigned int)((double)part / (double)bar->total * WIDTH);

	if (now - bar->begun < FIRST_MS || now - bar->shown < EVERY_MS || !isatty(STDERR_FILENO))
		return;
	bar->shown = now;
	fprintf(stderr, "\r%s [%.*s%*s] %3u%% %.1f of %.1f MiB ", bar->what, (int)cells, full,
		(int)(WIDTH - cells), "", (unsigned int)((double)part / (double)bar->total * 100),
		(double)part / (1 << 20), (double)bar->total / (1 << 20));
	fflush(stderr);
}

void progress_end(struct progress_bar *bar)
{
	if (bar->shown)
		fprintf(stderr, "\r\033[K");
}
