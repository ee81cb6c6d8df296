/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * bench/blackout: replacements, and the time without an answer. See blackout.h, sized.h.
 *
 *	blackout-bench [--sizes "16MiB 1GiB"] [--n N] [--subjects libkho,redis] [--json FILE]
 *		[--bin DIR]
 *
 * The same prober asks in all of them. Its figure is the time between two answers, so it
 * holds the prober's own interval of 50 microseconds and the machine's noise; the
 * noise floor is the same server and prober with nothing going on, in windows as long.
 *
 *	blackout_us	the longest time between two answers while the event lasted, noise included
 *	change_us	from the last answer of the old program to the first of the new one: the
 *			hand-over alone. Two builds take turns, and the prober asks for the version.
 */
#include <errno.h>

#include "blackout.h"

#define ANSWER_TIMEOUT (60 * LOAD_NS)
#define REST (20 * LOAD_MS) /* between events */

static int one_event(struct run *run, struct load_prober *prober)
{
	const struct subject *subject = run->subject;
	struct load_samples *samples = run->samples;
	struct load_window window;
	uint64_t start;
	int err;

	load_sleep(REST);
	err = subject->rest ? subject->rest(run) : 0;
	if (!err)
		err = load_prober_begin(prober, ANSWER_TIMEOUT);
	if (err)
		return err;
	start = load_now();
	err = subject->replace(run);
	load_samples_add(&samples[BLACKOUT_WHOLE_MS], (double)(load_now() - start) / LOAD_MS);
	if (!err)
		err = load_prober_end(prober, ANSWER_TIMEOUT, &window);
	if (err)
		return err;
	load_samples_add(&samples[BLACKOUT_US], (double)window.gap / LOAD_US);
	if (window.change)
		load_samples_add(&samples[BLACKOUT_CHANGE_US], (double)window.change / LOAD_US);
	return 0;
}

static int measure(struct run *run)
{
	struct load_prober_config config = {.port = run->port,
					    .proto = run->subject->proto,
					    .shape = sized_shape0,
					    .version = run->subject->versions};
	struct load_prober *prober = load_prober_start(&config);
	int err = prober ? 0 : -ENOMEM;

	for (; run->events < run->n && !err; run->events++) {
		sized_progress(run, "event", run->events, run->n);
		err = one_event(run, prober);
	}
	load_prober_stop(prober);
	return err;
}

int main(int argc, char **argv)
{
	static const struct sized bench = {
		.title = "Blackout of an upgrade: the longest time without an answer",
		.sizes = "16MiB 256MiB 1GiB 4GiB 12GiB",
		.json = "build/bench/blackout.json",
		.n_slow = 3,
		.subjects = blackout_subjects,
		.metrics = {[BLACKOUT_US] = {"blackout_us", "us"},
			    [BLACKOUT_CHANGE_US] = {"change_us", "us"},
			    [BLACKOUT_WHOLE_MS] = {"whole_event_ms", "ms"}},
		.measure = measure};

	return sized_main(&bench, argc, argv);
}
