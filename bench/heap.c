/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The heap against glibc's malloc, mimalloc and jemalloc (malloc and free in pairs), and against
 * libpmemobj's atomic allocation (an object made reachable from a persistent slot, and deleted): told
 * not to flush the processor's cache, which only a power failure asks for; "+fl": as it comes.
 *
 * Each allocator has a process of its own, so that all of it is the process's allocator: mimalloc and
 * jemalloc are preloaded there. The processes run in turns, each round in another order. Who is not
 * installed is left out. `heap FILE` writes the results; `heap --work SUBJECT` is such a process.
 *
 *	pairs/SIZE	pair_ns	one malloc and one free; "mixed": 16 to 256 bytes
 *	publish/SIZE	publish_ns	malloc, publish, delete; libpmemobj: alloc to a slot, free
 *	.../2		two threads at a time
 */
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heap_work.h"
#include "rows.h"

#define ROUNDS 60
#define WARM_UP 5

static struct subject {
	const char *name;
	const char *preload;
	bool kinds[2]; /* enum work_kind */
	bool flushes;
	pid_t pid;
	int to, from;
} subjects[] = {
	{.name = "libkho", .kinds = {true, true}},
	{.name = "glibc", .kinds = {true, false}},
	{.name = "mimalloc", .preload = "libmimalloc.so.2", .kinds = {true, false}},
	{.name = "jemalloc", .preload = "libjemalloc.so.2", .kinds = {true, false}},
	{.name = "libpmemobj", .kinds = {false, true}},
	{.name = "libpmemobj+fl", .kinds = {false, true}, .flushes = true},
};
#define NR_SUBJECTS (sizeof(subjects) / sizeof(subjects[0]))

static const struct {
	const char *name;
	struct work work;
} cases[] = {
	{"pairs/16", {WORK_PAIRS, 1, 16}},	   {"pairs/32", {WORK_PAIRS, 1, 32}},
	{"pairs/64", {WORK_PAIRS, 1, 64}},	   {"pairs/128", {WORK_PAIRS, 1, 128}},
	{"pairs/256", {WORK_PAIRS, 1, 256}},	   {"pairs/mixed", {WORK_PAIRS, 1, 0}},
	{"pairs/64/2", {WORK_PAIRS, 2, 64}},	   {"pairs/mixed/2", {WORK_PAIRS, 2, 0}},
	{"publish/16", {WORK_PUBLISH, 1, 16}},	   {"publish/64", {WORK_PUBLISH, 1, 64}},
	{"publish/256", {WORK_PUBLISH, 1, 256}},   {"publish/mixed", {WORK_PUBLISH, 1, 0}},
	{"publish/mixed/2", {WORK_PUBLISH, 2, 0}},
};
#define NR_CASES (sizeof(cases) / sizeof(cases[0]))

static void child(const struct subject *s, int in, int out)
{
	if (dup2(in, 0) < 0 || dup2(out, 1) < 0)
		_exit(1);
	for (int fd = 3; fd < 64; fd++)
		close(fd);
	if (s->preload)
		setenv("LD_PRELOAD", s->preload, 1);
	/* For libpmemobj: no msync(2), and no cache flushes, which a process's death does not ask for either. */
	setenv("PMEM_IS_PMEM_FORCE", "1", 1);
	if (!s->flushes)
		setenv("PMEM_NO_FLUSH", "1", 1);
	execl("/proc/self/exe", "heap", "--work", s->name, (char *)NULL);
	_exit(1);
}

static bool answer(const struct subject *s, double *ns)
{
	return read(s->from, ns, sizeof(*ns)) == sizeof(*ns);
}

/* Return: whether it is there. */
static bool start(struct subject *s)
{
	int to[2], from[2], status = 0;
	double ready;

	if (pipe(to) || pipe(from))
		abort();
	s->pid = fork();
	if (!s->pid)
		child(s, to[0], from[1]);
	close(to[0]);
	close(from[1]);
	s->to = to[1];
	s->from = from[0];
	if (answer(s, &ready))
		return true;
	waitpid(s->pid, &status, 0);
	fprintf(stderr, "bench-heap: %s is left out: %s\n", s->name,
		WIFEXITED(status) && WEXITSTATUS(status) == 3 ? "not installed" : "failed");
	s->kinds[0] = s->kinds[1] = false;
	return false;
}

static void stop(struct subject *s)
{
	close(s->to);
	close(s->from);
	waitpid(s->pid, NULL, 0);
}

static double measure(const struct subject *s, const struct work *work)
{
	double ns;

	if (write(s->to, work, sizeof(*work)) != sizeof(*work) || !answer(s, &ns)) {
		fprintf(stderr, "bench-heap: %s ended\n", s->name);
		exit(1);
	}
	return ns;
}

static void run_case(struct rows *rows, size_t c)
{
	const struct work *work = &cases[c].work;
	struct row *row[NR_SUBJECTS] = {NULL};

	for (size_t s = 0; s < NR_SUBJECTS; s++)
		if (subjects[s].kinds[work->kind])
			row[s] = row_new(rows, cases[c].name, subjects[s].name,
					 work->kind == WORK_PAIRS ? "pair_ns" : "publish_ns", "ns");
	for (size_t round = 0; round < WARM_UP + ROUNDS; round++)
		for (size_t i = 0; i < NR_SUBJECTS; i++) {
			size_t turn = (round / 2 + i) % NR_SUBJECTS;
			size_t s = round & 1 ? NR_SUBJECTS - 1 - turn : turn;
			double ns;

			if (!row[s])
				continue;
			ns = measure(&subjects[s], work);
			if (round >= WARM_UP)
				row_add(row[s], ns);
		}
}

int main(int argc, char **argv)
{
	static struct rows rows;

	if (argc == 3 && !strcmp(argv[1], "--work"))
		return heap_worker(argv[2]);
	if (argc != 2)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	for (size_t s = 0; s < NR_SUBJECTS; s++)
		if (!start(&subjects[s]) && !s)
			return 1;
	for (size_t c = 0; c < NR_CASES; c++)
		run_case(&rows, c);
	for (size_t s = 0; s < NR_SUBJECTS; s++)
		if (subjects[s].kinds[0] || subjects[s].kinds[1])
			stop(&subjects[s]);
	return rows_write(&rows, argv[1]);
}
