/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Kills: a process with several threads changes an arena as fast as it can and is killed at
 * any instant; the next one checks everything that was acknowledged, and goes on. What was acknowledged
 * is in memory that the processes share, outside the arena: see kill.h. What there is to change, and how it
 * is checked, is in kill_*.c.
 *
 * KHO_KILLS: how many (150); KHO_SEED.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "kill.h"

#define SLAB_PAGES_MAX 6144 /* twice what there is when slabs are used again: 24 of 96 MiB */
#define BITMAP_WORDS (ARENA_MAX / KHO_PAGE_SIZE / 64)

struct log *the_log;
struct head *heads;
void **slots;

static const struct kill_subject *const subjects[] = {
	&kill_lists, &kill_pages,  &kill_areas,	 &kill_singles,	 &kill_caches,
	&kill_names, &kill_arrays, &kill_blocks, &kill_sessions,
};

#define NR_SUBJECTS (sizeof(subjects) / sizeof(*subjects))

static const struct kill_subject *subject_of(enum op kind)
{
	static const struct kill_subject *const of[] = {
		[LIST] = &kill_lists,
		[FOLIO_ADD... RUN_DEL] = &kill_pages,
		[AREA_ADD... AREA_DEL] = &kill_areas,
		[SINGLE_ADD... SINGLE_DEL] = &kill_singles,
		[CACHE_ADD... CACHE_DEL] = &kill_caches,
		[SUB_ADD... META] = &kill_names,
		[ARRAY_SET... ARRAY_DROP] = &kill_arrays,
		[BLOCK_APPEND... BLOCK_DESTROY] = &kill_blocks,
		[SESSION_MAKE... FILES_RELEASE] = &kill_sessions,
	};

	return of[kind];
}

void __attribute__((format(printf, 3, 4)))
give_up(int line, const char *cond, const char *format, ...)
{
	char text[200];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	snprintf(the_log->text, sizeof(the_log->text), "line %d: %s: %s (%.80s)", line, cond, text,
		 kho_error());
	_exit(1);
}

void phase(struct flight *f, int value)
{
	__atomic_store_n(&f->phase, value, __ATOMIC_SEQ_CST);
}

__u64 next_seq(unsigned int t)
{
	return ++the_log->next_seq[t] << 8 | t;
}

void name_of(char *name, const char *what, unsigned int t, unsigned int i)
{
	snprintf(name, 16, "%s%u-%u", what, t, i);
}

void done(unsigned int t, bool ok)
{
	struct flight *f = &the_log->flight[t];

	if (ok) {
		phase(f, 2);
		subject_of(f->kind)->apply(t, f);
		the_log->ops[f->kind]++;
	} else {
		the_log->refused++;
	}
	phase(f, 0);
}

/* ---- the writer ---- */

static struct thread_arg {
	unsigned int t;
	uint64_t rng;
	const struct kill_subject *focus; /* of most of what is done, if there is one */
	bool hungry; /* no memory is left: nothing then that must not fail for want of it */
} thread_arg[THREADS];

static void *work(void *p)
{
	struct thread_arg *arg = p;

	for (;;) {
		uint64_t r = test_random(&arg->rng);
		unsigned int what = r >> 56, s = 0;

		r &= ~(0xffULL << 56);
		r |= test_random(&arg->rng) << 62;
		if (what == 255) /* reserved, and forgotten */
			kho_malloc(r % 500);
		for (; s < NR_SUBJECTS && what >= subjects[s]->share; s++)
			what -= subjects[s]->share;
		if (arg->hungry && s < NR_SUBJECTS &&
		    (subjects[s] == &kill_caches || subjects[s] == &kill_names))
			continue;
		if (arg->focus && (r >> 48 & 7))
			arg->focus->change(arg->t, r);
		else if (s < NR_SUBJECTS)
			subjects[s]->change(arg->t, r);
		else
			kho_free(what % 8 ? kho_malloc(r % 3000) : NULL);
	}
	return NULL;
}

/* ---- what the next process finds ---- */

static void settle_flights(void)
{
	for (unsigned int t = 0; t < THREADS; t++) {
		struct flight *f = &the_log->flight[t];
		bool yes = f->phase == 2;

		if (f->phase == 1) {
			the_log->undecided++;
			the_log->undecided_of[f->kind]++;
			yes = subject_of(f->kind)->happened(t, f);
			the_log->decided_after += yes;
		}
		if (yes) {
			phase(f, 2);
			subject_of(f->kind)->apply(t, f);
		}
		phase(f, 0);
	}
}

static int is_an_areas(void *ctx, kho_pa_t pa, unsigned int order, const char *what)
{
	__u64 *pages = ctx;

	CHECK(!strncmp(what, "vmalloc", 7), "%s at %#llx: nobody's", what, pa);
	*pages += 1ULL << order;
	return 0;
}

/* What a kill left of areas that were being preserved or taken back, and nothing else, is nobody's. */
static void release_rest(void)
{
	__u64 pages = 0, one = 2 + 516 + 64; /* the largest area, and its list */

	CHECK(!kho_for_each_unclaimed(is_an_areas, &pages), "unclaimed");
	CHECK(pages <= THREADS * one, "%llu pages unclaimed", pages);
	CHECK(kho_release_unclaimed() == pages * KHO_PAGE_SIZE, "%llu pages to release", pages);
	the_log->partial_areas += pages != 0;
}

/* Every preserved page by what it is, against what is reachable; and free + used = all. */
static void check_pages(const struct sums *sums)
{
	static __u64 in_use[BITMAP_WORDS];
	__u64 pages[16] = {0}, first = kho_arena_.header->data_pa >> KHO_PAGE_SHIFT, all = 0,
	      sum = 0;
	struct khoc_block block;
	unsigned int type, order;

	for (kho_pa_t pos = 0; khoc_radix_next(&kho_arena_.tree, pos, ARENA_MAX, &block);) {
		CHECK(!kho_block_desc_(block.pa, &type, &order) && order == block.order, "desc");
		pages[type] += 1ULL << order;
		sum += 1ULL << order;
		pos = block.pa + (KHO_PAGE_SIZE << order);
	}
	CHECK(pages[KHO_ABI_DESC_FOLIO] == sums->folio_pages, "%llu folio pages, not %llu",
	      pages[KHO_ABI_DESC_FOLIO], sums->folio_pages);
	CHECK(pages[KHO_ABI_DESC_PAGES] == sums->run_pages, "%llu run pages, not %llu",
	      pages[KHO_ABI_DESC_PAGES], sums->run_pages);
	CHECK(pages[KHO_ABI_DESC_LARGE] + pages[KHO_ABI_DESC_LARGE_PART] == sums->large_pages,
	      "%llu pages of large objects, not %llu",
	      pages[KHO_ABI_DESC_LARGE] + pages[KHO_ABI_DESC_LARGE_PART], sums->large_pages);
	CHECK(pages[KHO_ABI_DESC_VMALLOC] == sums->area_pages, "%llu pages of areas, not %llu",
	      pages[KHO_ABI_DESC_VMALLOC], sums->area_pages);
	CHECK(pages[KHO_ABI_DESC_VMALLOC_CHUNK] == sums->area_chunks, "%llu chunks, not %llu",
	      pages[KHO_ABI_DESC_VMALLOC_CHUNK], sums->area_chunks);
	CHECK(pages[KHO_ABI_DESC_SLAB] <= SLAB_PAGES_MAX, "%llu pages of slabs",
	      pages[KHO_ABI_DESC_SLAB]);
	if (pages[KHO_ABI_DESC_SLAB] > the_log->slab_pages)
		the_log->slab_pages = pages[KHO_ABI_DESC_SLAB];
	CHECK(pages[KHO_ABI_DESC_STRUCT] == sums->struct_pages,
	      "%llu pages of structures, not %llu", pages[KHO_ABI_DESC_STRUCT], sums->struct_pages);
	CHECK(!khoc_radix_union(&kho_arena_.tree, 0, ARENA_MAX / KHO_PAGE_SIZE, in_use), "union");
	for (__u64 i = first; i < ARENA_MAX / KHO_PAGE_SIZE; i++) {
		bool used = in_use[i / 64] >> (i % 64) & 1;

		all += used;
		CHECK(kho_pages_are_free_(i << KHO_PAGE_SHIFT, 1) == !used, "page %#llx", i << 12);
	}
	CHECK(all == sum, "%llu pages preserved, in blocks of %llu", all, sum);
	CHECK(kho_pages_used_() == all << KHO_PAGE_SHIFT, "%llu bytes used, not %llu",
	      kho_pages_used_(), all << KHO_PAGE_SHIFT);
}

static void check_all(void)
{
	struct sums sums = {.folio_pages = 1}; /* the blob */
	struct kho_heap_stats stats;
	unsigned int count;
	char release[65];

	CHECK(!kho_preserve_check_all_(false), "descriptors");
	CHECK(!kho_pages_discover_all_(), "discovery");
	settle_flights();
	for (unsigned int t = 0; t < THREADS; t++)
		for (unsigned int s = 0; s < NR_SUBJECTS; s++)
			subjects[s]->check(t, &sums);
	CHECK(kho_restore_folio(the_log->blob), "blob");
	release_rest();
	CHECK(!kho_metadata(release, &count) && count == the_log->meta, "metadata: %u", count);
	check_pages(&sums);
	CHECK(!kho_heap_stats(&stats, true), "stats");
	sums.items += 2 + 2; /* the slots and the heads, two caches' records */
	CHECK(stats.live_objects == sums.items, "%llu live objects, %llu reachable",
	      stats.live_objects, sums.items);
}

static void attach(int fd)
{
	void **root;

	CHECK(!kho_arena_map_(fd, true), "map");
	CHECK(!kho_arena_own_(), "own");
	root = kho_root("slots", "test-slots", 1);
	CHECK(root && *root, "root");
	slots = *root;
	root = kho_root("heads", "test-heads", 1);
	CHECK(root && *root, "root");
	heads = *root;
	CHECK(!arena_check_slabs(), "slabs");
	lists_open();
	caches_open();
	sessions_open();
}

/* Leave a MiB of the arena; it comes back with the kill, as nothing of it is preserved. */
static void use_up(void)
{
	struct folio *rest = kho_folio_alloc(8);

	for (__u64 nr = 1024; nr; nr /= 4)
		while (kho_alloc_pages(nr))
			;
	if (rest)
		kho_folio_put(rest);
}

static void writer(int fd, uint64_t seed)
{
	/* Those whose operations take the least time more often: there is less time to be killed in. */
	static const struct kill_subject *const focus[] = {
		&kill_lists,	&kill_pages,  &kill_areas,  &kill_singles,
		&kill_singles,	&kill_names,  &kill_arrays, &kill_arrays,
		&kill_arrays,	&kill_blocks, &kill_blocks, &kill_sessions,
		&kill_sessions, NULL,	      NULL,	    NULL,
	};
	unsigned int at = (unsigned int)(seed % (sizeof(focus) / sizeof(*focus)));
	bool hungry = (seed >> 32) % 8 == 0;
	pthread_t thread;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	attach(fd);
	check_all();
	if (hungry)
		use_up();
	for (unsigned int t = 0; t < THREADS; t++) {
		thread_arg[t] = (struct thread_arg){
			t, seed + t * 7919, hungry && focus[at] == &kill_names ? NULL : focus[at],
			hungry};
		pthread_create(&thread, NULL, work, &thread_arg[t]);
	}
	__atomic_store_n(&the_log->running, 1, __ATOMIC_SEQ_CST);
	for (;;)
		pause();
}

/* In a process of its own: the tester's maps nothing at the arena's address. */
static void make_arena(int fd)
{
	struct folio *folio;
	void **root;

	CHECK(!kho_arena_format_(fd, ARENA_MAX) && !kho_arena_map_(fd, true), "format");
	CHECK(!kho_arena_own_(), "own");
	root = kho_root("slots", "test-slots", 1);
	CHECK(root && !kho_publish(root, kho_calloc(SLOTS, 8), NULL), "table");
	root = kho_root("heads", "test-heads", 1);
	CHECK(root && !kho_publish(root, kho_calloc(THREADS, sizeof(struct head)), NULL), "heads");
	folio = kho_folio_alloc(0);
	CHECK(folio && !kho_preserve_folio(folio), "blob");
	the_log->blob = kho_virt_to_phys(folio);
	_exit(0);
}

static void nap(uint64_t ns)
{
	nanosleep(&(struct timespec){.tv_nsec = (long)ns}, NULL);
}

static void run_and_kill(int fd, uint64_t *rng, int round)
{
	uint64_t r = test_random(rng);
	bool early = r % 4 == 0; /* while it attaches, checks or recovers */
	int status;
	pid_t pid;

	the_log->running = 0;
	pid = fork();
	if (!pid)
		writer(fd, r);
	while (!early && !__atomic_load_n(&the_log->running, __ATOMIC_SEQ_CST) &&
	       !waitpid(pid, &status, WNOHANG))
		nap(20000);
	nap((r >> 8) % (early ? 6000000 : 8000000));
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	if (the_log->text[0])
		fail_msg("kill %d: %s", round, the_log->text);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		fail_msg("kill %d: the writer ended by itself: status %#x", round, status);
}

/* Of each kind: acknowledged/undecided. */
static void print_kinds(void)
{
	static const char *const names[] = {
		"publish",	"folio +",   "folio -",	    "run +",	     "run -",
		"area +",	"area -",    "single +",    "single -",	     "cache +",
		"cache -",	"subtree +", "subtree -",   "root +",	     "root -",
		"metadata",	"array set", "array clear", "array +",	     "array -",
		"block append", "block pop", "block clear", "block destroy", "session +",
		"session -",	"file +",    "file -",	    "release"};

	for (int k = 0; k < NR_KINDS; k++)
		printf("%s%s %llu/%llu", k ? ", " : "", names[k],
		       (unsigned long long)the_log->ops[k],
		       (unsigned long long)the_log->undecided_of[k]);
	printf("\n");
}

static void whatever_the_instant_of_the_kill(void **state)
{
	const char *kills = getenv("KHO_KILLS");
	int n = kills ? atoi(kills) : 150, fd = kho_arena_create_("kill"), status;
	uint64_t rng = test_seed();
	__u64 ops = 0;
	pid_t pid;

	the_log = mmap(NULL, sizeof(*the_log), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	sessions_prepare();
	pid = fork();
	if (!pid)
		make_arena(fd);
	waitpid(pid, &status, 0);
	assert_string_equal(the_log->text, "");
	for (int i = 0; i < n; i++)
		run_and_kill(fd, &rng, i);
	/* Once more, not killed. */
	pid = fork();
	if (!pid) {
		attach(fd);
		check_all();
		_exit(0);
	}
	waitpid(pid, &status, 0);
	assert_string_equal(the_log->text, "");
	assert_int_equal(status, 0);
	for (int k = 0; k < NR_KINDS; k++) {
		assert_true(the_log->ops[k] > 0 || n < 1000);
		ops += the_log->ops[k];
	}
	assert_true(ops > (__u64)n * 10);
	printf("%d kills, %llu operations acknowledged, %llu refused, %llu undecided at a kill, of "
	       "them %llu had "
	       "happened, %llu runs, %llu block sets, %llu sessions and areas of %llu kills in "
	       "part; at most %llu pages of slabs\n",
	       n, (unsigned long long)ops, (unsigned long long)the_log->refused,
	       (unsigned long long)the_log->undecided, (unsigned long long)the_log->decided_after,
	       (unsigned long long)the_log->partial_runs, (unsigned long long)the_log->partial_sets,
	       (unsigned long long)the_log->partial_sessions,
	       (unsigned long long)the_log->partial_areas, (unsigned long long)the_log->slab_pages);
	print_kinds();
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(whatever_the_instant_of_the_kill)};

	return cmocka_run_group_tests_name("kill", tests, NULL, NULL);
}
