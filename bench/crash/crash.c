/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * bench/crash: kills, and the time until somebody answers. See crash.h, sized.h.
 *
 *	crash-bench [--sizes "16MiB 12GiB"] [--n N] [--rate N] [--subjects standby,redis]
 *		[--json FILE] [--bin DIR]
 *
 *	crash_us	from the signal to the first answer of the next process, on a connection that the
 *			prober has had from the start (ours), or that it opens as soon as it can (peers).
 *			It holds the prober's interval of 50 microseconds and the machine's noise.
 *
 * Cases: SIZE/standby, SIZE/restart (ours); SIZE/cold, SIZE/aof (peers).
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "crash.h"

#define ANSWER_TIMEOUT (300 * LOAD_NS)
#define REST (50 * LOAD_MS)
#define LOOK (20 * LOAD_US)

static bool task_exits(pid_t pid, const char *tid)
{
	char path[64], text[512], *end;
	unsigned int flags = 0;
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%.16s/stat", (int)pid, tid);
	f = fopen(path, "re");
	if (!f)
		return true;
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	end = strrchr(text, ')');
	/* state ppid pgrp session tty tpgid flags: PF_EXITING is 4 */
	return !end || sscanf(end + 1, " %*c %*d %*d %*d %*d %*d %u", &flags) != 1 || flags & 4;
}

/* Does no thread of it return to its program any more? */
static bool is_exiting(pid_t pid)
{
	char path[32];
	struct dirent *d;
	bool all = true;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	while (tasks && all && (d = readdir(tasks)))
		if (d->d_name[0] != '.')
			all = task_exits(pid, d->d_name);
	if (tasks)
		closedir(tasks);
	return all;
}

/* Return: microseconds, or negative errno. */
static double one_kill(struct run *run, struct watch *watch)
{
	const struct subject *subject = run->subject;
	uint64_t signal, end, first;
	int err;

	if (!watch_answered(watch, ANSWER_TIMEOUT))
		return -ETIMEDOUT;
	err = subject->rest ? subject->rest(run) : 0;
	if (err)
		return err;
	load_sleep(REST);
	signal = load_now();
	if (kill(run->server, SIGKILL))
		return -errno;
	/* Asleep in between: its threads need the processors to exit. */
	while (!is_exiting(run->server))
		load_sleep(LOOK);
	watch_mark(watch);
	err = subject->replace ? subject->replace(run) : 0;
	end = load_now() + ANSWER_TIMEOUT;
	while (!err && !(first = watch_first(watch))) {
		if (load_now() > end)
			return -ETIMEDOUT;
		load_sleep(LOAD_MS);
	}
	return err ? err : (double)(first - signal) / LOAD_US;
}

static int measure(struct run *run)
{
	const struct subject *s = run->subject;
	struct pace *pace = pace_start(run->port, s->proto, run->keys, &run->shape, run->rate);
	struct watch *watch = watch_start(run->port, s->proto, s->cold);
	int err = pace && watch ? 0 : -ENOMEM;

	for (; run->events < run->n && !err; run->events++) {
		double us;

		sized_progress(run, "kill", run->events, run->n);
		us = one_kill(run, watch);
		if (us < 0)
			err = (int)us;
		else
			load_samples_add(&run->samples[0], us);
	}
	pace_stop(pace);
	watch_stop(watch);
	return err;
}

int main(int argc, char **argv)
{
	static const struct sized bench = {.title = "From a SIGKILL to the first answer",
					   .sizes = "16MiB 12GiB",
					   .json = "build/bench/crash.json",
					   .rate = 2000,
					   .n_slow = 5,
					   .subjects = crash_subjects,
					   .metrics = {{"crash_us", "us"}},
					   .measure = measure};

	return sized_main(&bench, argc, argv);
}
