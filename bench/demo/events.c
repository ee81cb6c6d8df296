/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Upgrades, kills and bad successors, each with its measurements. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "demo.h"

#define ANSWER_TIMEOUT (30 * LOAD_NS)
#define SETTLE_TIMEOUT (30 * LOAD_NS)
/* Load between events, so that each meets a server that has been at work. */
#define BETWEEN (1000 * LOAD_MS)

static unsigned long dropped_so_far(struct demo *demo)
{
	struct load_counts *counts = load_verify_counts(demo->verify);

	return atomic_load(&counts->dropped[LOAD_BLAME_UPGRADE]) +
	       atomic_load(&counts->dropped[LOAD_BLAME_KILL]);
}

static int begin(struct demo *demo, enum load_blame blame, unsigned long *dropped)
{
	load_sleep(demo->options.quick ? BETWEEN / 10 : BETWEEN);
	*dropped = dropped_so_far(demo);
	load_verify_blame(demo->verify, blame);
	if (!load_prober_begin(demo->prober, ANSWER_TIMEOUT))
		return 0;
	fprintf(stderr, "demo: the server stopped answering\n");
	return -ETIMEDOUT;
}

/* Wait until all is well again, and note what the event cost. */
static int end(struct demo *demo, struct demo_kind *kind, unsigned long dropped)
{
	struct load_window window;

	if (load_prober_end(demo->prober, ANSWER_TIMEOUT, &window)) {
		fprintf(stderr, "demo: nobody answers after: %s\n", kind->what);
		return -ETIMEDOUT;
	}
	if (!(demo->paused ? load_verify_pause(demo->verify, SETTLE_TIMEOUT)
			   : load_verify_settle(demo->verify, SETTLE_TIMEOUT))) {
		fprintf(stderr, "demo: connections without an answer after: %s\n", kind->what);
		return -ETIMEDOUT;
	}
	load_verify_blame(demo->verify, LOAD_BLAME_UPGRADE);
	load_samples_add(&kind->gap_us, (double)window.gap / LOAD_US);
	demo->prober_stuck += window.stuck;
	kind->times++;
	kind->dropped += dropped_so_far(demo) - dropped;
	demo->events_done++;
	return demo_server_pid(demo, &demo->server);
}

static const char *next_build(struct demo *demo)
{
	return demo->upgraded++ % 2 ? "cached-v1" : "cached-v2";
}

static int one_upgrade(struct demo *demo)
{
	const char *build = next_build(demo);
	pid_t before = demo->server;
	unsigned long dropped;
	char said[200];
	int err, status;

	demo_progress("upgrade %u of %u, to %s", demo->upgrade.times + 1, demo->options.upgrades,
		      build);
	err = begin(demo, LOAD_BLAME_UPGRADE, &dropped);
	if (err)
		return err;
	status = demo_server_upgrade(demo, build, NULL, said, sizeof(said));
	err = end(demo, &demo->upgrade, dropped);
	if (err)
		return err;
	if (!status && demo->server != before)
		demo->upgrade.good++;
	else
		fprintf(stderr, "\ndemo: upgrade to %s failed (%d): %s\n", build, status, said);
	return 0;
}

/* One with the load at rest, so that whatever changes is the upgrade's doing. */
static int paused_upgrade(struct demo *demo)
{
	struct demo_frames *before = NULL, *after = NULL;
	struct demo_copied *copied = &demo->copied;
	uint64_t allowed = (4u << 20) + 8192ULL * (demo->options.busy + demo->options.idle);
	int err = 0;

	if (!load_verify_pause(demo->verify, SETTLE_TIMEOUT))
		return -ETIMEDOUT;
	demo->paused = true;
	demo_wait_at_rest(demo->server);
	before = demo_frames_of(demo->server);
	err = one_upgrade(demo);
	if (!err)
		after = demo_frames_of(demo->server);
	if (before && after) {
		demo_frames_compare(before, after, copied);
		copied->private_after = demo_private_bytes(demo->server, copied->inode);
		/* Not a copy but connections' buffers, up to a bound that no copy stays under. */
		if (copied->private_after > copied->private_empty + allowed)
			copied->bytes += copied->private_after - copied->private_empty;
	}
	demo_frames_free(before);
	demo_frames_free(after);
	demo->paused = false;
	load_verify_resume(demo->verify);
	return err;
}

int demo_upgrades(struct demo *demo)
{
	unsigned int i;
	int err = 0;

	snprintf(demo->upgrade.what, sizeof(demo->upgrade.what), "upgrade, v1 and v2 in turn");
	for (i = 0; i < demo->options.upgrades && !err; i++)
		err = i + 1 < demo->options.upgrades ? one_upgrade(demo) : paused_upgrade(demo);
	snprintf(demo->upgrade.outcome, sizeof(demo->upgrade.outcome), "%u of %u healthy",
		 demo->upgrade.good, demo->upgrade.times);
	return err;
}

static int one_kill(struct demo *demo, unsigned int nth)
{
	static const int signals[DEMO_SIGNALS] = {SIGKILL, SIGSEGV, SIGABRT};
	struct demo_kind *kind = &demo->kill[nth % DEMO_SIGNALS];
	pid_t before = demo->server;
	unsigned long dropped;
	uint64_t deadline;
	int err;

	snprintf(kind->what, sizeof(kind->what), "kill, SIG%s",
		 sigabbrev_np(signals[nth % DEMO_SIGNALS]));
	demo_progress("%s (%u of %u)", kind->what, nth + 1, demo->options.kills);
	err = begin(demo, LOAD_BLAME_KILL, &dropped);
	if (err)
		return err;
	kill(before, signals[nth % DEMO_SIGNALS]);
	deadline = load_now() + ANSWER_TIMEOUT;
	while (!load_is_gone(before) && load_now() < deadline)
		load_sleep(LOAD_MS / 2);
	err = end(demo, kind, dropped);
	if (err)
		return err;
	kind->good += demo->server != before;
	demo_server_cores(demo);
	return 0;
}

int demo_kills(struct demo *demo)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < demo->options.kills && !err; i++)
		err = one_kill(demo, i);
	for (i = 0; i < DEMO_SIGNALS; i++)
		snprintf(demo->kill[i].outcome, sizeof(demo->kill[i].outcome),
			 "%u of %u back with all keys", demo->kill[i].good, demo->kill[i].times);
	return err;
}

static const struct bad {
	const char *mode;
	const char *what;
	enum load_blame blame;
} bads[DEMO_BAD] = {
	{"exit", "exits at once", LOAD_BLAME_UPGRADE},
	{"hang", "never gets ready", LOAD_BLAME_UPGRADE},
	{"layout", "wants another layout", LOAD_BLAME_UPGRADE},
	/* These get the arena, and connections, before they fail. */
	{"crash", "crashes when it serves", LOAD_BLAME_KILL},
	{"hang-granted", "hangs when it serves", LOAD_BLAME_KILL},
};

static int one_bad(struct demo *demo, const struct bad *bad, struct demo_kind *kind)
{
	char args[64], said[200];
	pid_t before = demo->server;
	unsigned long dropped;
	int err, status;

	snprintf(kind->what, sizeof(kind->what), "bad: %s", bad->what);
	snprintf(args, sizeof(args), "--misbehave=%s", bad->mode);
	demo_progress("bad successor: it %s", bad->what);
	err = begin(demo, bad->blame, &dropped);
	if (err)
		return err;
	status = demo_server_upgrade(demo, "cached-bad", args, said, sizeof(said));
	err = end(demo, kind, dropped);
	if (err)
		return err;
	if (status == 1 && demo->server == before) {
		kind->good++;
		demo->rollbacks++;
		snprintf(kind->outcome, sizeof(kind->outcome), "rolled back");
		return 0;
	}
	snprintf(kind->outcome, sizeof(kind->outcome), "NOT rolled back (status %d, %s)", status,
		 demo->server == before ? "the same server" : "another server");
	fprintf(stderr, "\ndemo: %s: %s\n", kind->what, said);
	return 0;
}

int demo_bad(struct demo *demo)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < DEMO_BAD && !err; i++)
		err = one_bad(demo, &bads[i], &demo->bad[i]);
	return err;
}
