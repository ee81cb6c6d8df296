/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Kills: threads append to block sets, pop, grow and shrink them as fast as they can, beside others
 * that publish objects, and are killed at any instant. The next process takes the sets over: each
 * has what was acknowledged, or one record more or less, and every preserved page is one of theirs.
 *
 * What was acknowledged is in memory that the processes share, outside the arena.
 *
 * KHO_KILLS: how many (100); KHO_SEED.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <kho/block.h>

#include "arena_fixture.h"
#include "page.h"
#include "preserve.h"

#define ARENA_MAX (32ULL << 20)
#define SETS 3
#define RECORD 184 /* 22 in a block */
#define RECORDS_MAX 400

struct record {
	__u64 seq;
	__u64 words[RECORD / 8 - 1];
};

/* A thread's: an object at the root "sets", one for each. */
struct head {
	__u64 blocks;
	void *object;
};

/**
 * struct model - what a set has
 * @nr, @seq: records
 * @phase: 1: an operation is under way; 2, 3: it is done; 0: the model has it
 * @to: records after it
 * @fresh: number of the record that it adds; they never come again
 */
static struct model {
	__u64 nr;
	__u64 seq[RECORDS_MAX];
	int phase;
	__u64 to, fresh;
	__u64 ops, undecided, happened;
} * models;

static struct shared {
	struct model model[SETS];
	int running;
	char text[300];
} * shared;

static struct head *heads;

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			snprintf(shared->text, sizeof(shared->text), "line %d: %s (%.120s)",       \
				 __LINE__, #cond, kho_error());                                    \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

static void fill(struct record *record, __u64 seq)
{
	record->seq = seq;
	for (size_t i = 0; i < RECORD / 8 - 1; i++)
		record->words[i] = seq * 0x9e3779b97f4a7c15ULL + i;
}

static void phase(struct model *model, int value)
{
	__atomic_store_n(&model->phase, value, __ATOMIC_SEQ_CST);
}

/* ---- the writer -------------------------------------------------------------- */

/* Phase 2, which may be done twice. */
static void apply(struct model *model)
{
	if (model->to > model->nr)
		model->seq[model->nr] = model->fresh;
	phase(model, 3);
	model->nr = model->to;
	phase(model, 0);
}

static void change(struct model *model, struct kho_block_set_it *it, bool append)
{
	struct record record;
	int rc;

	model->to = append ? model->nr + 1 : model->nr - 1;
	model->fresh += append;
	fill(&record, model->fresh);
	phase(model, 1);
	rc = append ? kho_block_set_it_append(it, &record) : kho_block_set_it_pop(it);
	CHECK(!rc);
	phase(model, 2);
	apply(model);
	model->ops++;
}

static void *work(void *p)
{
	struct head *head = p;
	struct model *model = &models[head - heads];
	uint64_t rng = model->fresh * 977 + (uint64_t)(head - heads) + 1;
	struct kho_block_set set;
	struct kho_block_set_it it;

	CHECK(!kho_block_set_init(&set, &head->blocks, RECORD));
	CHECK(!kho_block_set_restore(&set) && !kho_block_set_it_end(&it, &set));
	for (;;) {
		uint64_t r = test_random(&rng);
		bool up = r & 64 ? r & 128 || r & 256 : r & 128 && r & 256;

		for (__u64 n = r % 60; n; n--) {
			if (up ? model->nr == RECORDS_MAX : !model->nr)
				break;
			change(model, &it, up);
		}
		if (r >> 60 == 0) {
			CHECK(!kho_block_set_grow(&set, model->nr + (r >> 20) % 100));
		} else if (r >> 60 == 1) {
			CHECK(!kho_block_set_shrink(&set, model->nr));
			CHECK(!kho_block_set_it_end(&it, &set));
		} else if (r >> 60 < 6) {
			void *fresh = kho_malloc((r >> 8) % 3000 + 1);

			CHECK(!kho_publish(&head->object, fresh, head->object));
		}
	}
	return NULL;
}

/* ---- what the next process finds ------------------------------------------------ */

static bool is(const struct kho_block_set *set, const struct model *model, __u64 nr)
{
	struct kho_block_set_it it;
	const struct record *found;
	struct record want;
	__u64 i = 0;

	kho_block_set_it_init(&it, (struct kho_block_set *)set);
	while ((found = kho_block_set_it_read_entry(&it))) {
		if (i == nr)
			return false;
		fill(&want, i < model->nr ? model->seq[i] : model->fresh);
		if (memcmp(found, &want, RECORD))
			return false;
		i++;
	}
	CHECK(!kho_block_set_it_error(&it));
	return i == nr;
}

static __u64 check_set(struct head *head, struct model *model)
{
	__u64 blocks = 0;
	struct kho_block_set set;

	CHECK(!kho_block_set_init(&set, &head->blocks, RECORD));
	CHECK(!kho_block_set_restore(&set));
	if (model->phase == 1) {
		model->undecided++;
		if (is(&set, model, model->to)) {
			model->happened++;
			phase(model, 2);
		}
	}
	if (model->phase > 1)
		apply(model);
	phase(model, 0);
	CHECK(is(&set, model, model->nr));
	for (kho_pa_t pa = head->blocks; pa; pa = *(__u64 *)kho_phys_to_virt(pa))
		blocks++;
	return blocks;
}

static void check_all(void)
{
	__u64 blocks = 0, pages[16] = {0}, sum = 0;
	struct khoc_block block;
	unsigned int type, order;

	CHECK(!kho_preserve_check_all_(false));
	CHECK(!kho_pages_discover_all_());
	for (int i = 0; i < SETS; i++)
		blocks += check_set(&heads[i], &models[i]);
	for (kho_pa_t pos = 0; khoc_radix_next(&kho_arena_.tree, pos, ARENA_MAX, &block);) {
		CHECK(!kho_block_desc_(block.pa, &type, &order) && order == block.order);
		pages[type] += 1ULL << order;
		sum += 1ULL << order;
		pos = block.pa + (KHO_PAGE_SIZE << order);
	}
	CHECK(pages[KHO_ABI_DESC_STRUCT] == blocks);
	CHECK(kho_pages_used_() == sum << KHO_PAGE_SHIFT);
}

static void attach(int fd)
{
	void **root;

	CHECK(!kho_arena_map_(fd, true) && !kho_arena_own_());
	root = kho_root("sets", "test-sets", 1);
	CHECK(root && *root);
	heads = *root;
	check_all();
}

static void writer(int fd)
{
	pthread_t thread;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	attach(fd);
	for (int i = 0; i < SETS; i++)
		pthread_create(&thread, NULL, work, &heads[i]);
	__atomic_store_n(&shared->running, 1, __ATOMIC_SEQ_CST);
	for (;;)
		pause();
}

/* In a process of its own: the tester's maps nothing at the arena's address. */
static void in_child(int fd, void (*what)(int fd))
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		what(fd);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	assert_string_equal(shared->text, "");
	assert_int_equal(status, 0);
}

static void make_arena(int fd)
{
	void **root;

	CHECK(!kho_arena_format_(fd, ARENA_MAX) && !kho_arena_map_(fd, true));
	CHECK(!kho_arena_own_());
	root = kho_root("sets", "test-sets", 1);
	CHECK(root && !kho_publish(root, kho_calloc(SETS, sizeof(struct head)), NULL));
}

static void nap(uint64_t ns)
{
	nanosleep(&(struct timespec){.tv_nsec = (long)ns}, NULL);
}

static void run_and_kill(int fd, uint64_t *rng, int round)
{
	uint64_t r = test_random(rng);
	bool early = r % 8 == 0; /* while it attaches, checks or recovers */
	int status;
	pid_t pid;

	shared->running = 0;
	pid = fork();
	if (!pid)
		writer(fd);
	while (!early && !__atomic_load_n(&shared->running, __ATOMIC_SEQ_CST) &&
	       !waitpid(pid, &status, WNOHANG))
		nap(20000);
	nap((r >> 8) % (early ? 4000000 : 6000000));
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	if (shared->text[0])
		fail_msg("kill %d: %s", round, shared->text);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		fail_msg("kill %d: the writer ended by itself: status %#x", round, status);
}

static void whatever_the_instant_of_the_kill(void **state)
{
	const char *kills = getenv("KHO_KILLS");
	int n = kills ? atoi(kills) : 100, fd = kho_arena_create_("kill");
	__u64 ops = 0, undecided = 0, happened = 0;
	uint64_t rng = test_seed();

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	models = shared->model;
	in_child(fd, make_arena);
	for (int i = 0; i < n; i++)
		run_and_kill(fd, &rng, i);
	in_child(fd, attach);
	for (int i = 0; i < SETS; i++) {
		ops += models[i].ops;
		undecided += models[i].undecided;
		happened += models[i].happened;
	}
	assert_true(ops > (__u64)n * 10);
	printf("%d kills, %llu operations acknowledged, %llu undecided at a kill, of them %llu had "
	       "happened\n",
	       n, (unsigned long long)ops, (unsigned long long)undecided,
	       (unsigned long long)happened);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(whatever_the_instant_of_the_kill)};

	return cmocka_run_group_tests_name("kill_block", tests, NULL, NULL);
}
