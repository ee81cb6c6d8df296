/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Every instruction: updates of an array run in a child that is stepped by ptrace; whenever an
 * instruction changed the image, a copy of it is attached, as the next program would: it must be
 * the array before the update or the one after it, never back again; and each page is either the
 * array's or free.
 *
 * publish_page() is one step to any crash by contract: how a host keeps that is the host's to test.
 * KHO_STEP=full takes more updates.
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "array_fixture.h"

#define NR_PAGES 512
#define MAX_ENTRIES 4096

/* What tracer and child share. */
static struct shared {
	u64 in_publish;
	u8 used[NR_PAGES];
	_Alignas(4096) char bytes[];
} * shared;

static unsigned int page_shift;
static size_t image_size;

static kho_pa_t page_alloc(void *ctx)
{
	for (u64 i = 2; i < NR_PAGES && i << page_shift < image_size; i++)
		if (!shared->used[i]) {
			shared->used[i] = IMAGE_RESERVED;
			memset(shared->bytes + (i << page_shift), 0, 1UL << page_shift);
			return i << page_shift;
		}
	return 0;
}

static void page_free(void *ctx, kho_pa_t pa)
{
	shared->used[pa >> page_shift] = 0;
}

static int page_publish(void *ctx, __u64 *slot, __u64 value, kho_pa_t fresh, kho_pa_t stale)
{
	__atomic_store_n(&shared->in_publish, 1, __ATOMIC_SEQ_CST);
	if (fresh)
		shared->used[fresh >> page_shift] = IMAGE_PUBLISHED;
	__atomic_store_n(slot, value, __ATOMIC_RELEASE);
	if (stale)
		page_free(ctx, stale);
	__atomic_store_n(&shared->in_publish, 0, __ATOMIC_SEQ_CST);
	return 0;
}

/* They multiply the instructions, and what they add is not the array's: then there is nothing to step. */
extern void __asan_init(void) __attribute__((weak));
extern void __tsan_init(void) __attribute__((weak));

static bool is_sanitized(void)
{
	return __asan_init || __tsan_init;
}

static const struct khoc_mem_ops ops = {
	.alloc_page = page_alloc, .free_page = page_free, .publish_page = page_publish};

/* ---- what a successor finds ---- */

static char *copy;
static u64 seen[NR_PAGES / 64];

/* Is the copy the array of @model? */
static bool copy_is(const struct model *model)
{
	struct khoc_mem mem = {&ops, NULL, copy, image_size, 0, 0};
	struct khoc_array_iter iter;
	struct khoc_array array;
	u64 index, entry, at = 0;

	EXPECT_EQ(khoc_array_attach(&array, &mem, page_shift, 1UL << page_shift, NULL), 0);
	if (khoc_array_count(&array) != model->nr)
		return false;
	khoc_array_iter_init(&iter, &array, 0, ~0ULL);
	while (khoc_array_iter_next(&iter, &index, &entry) == 1) {
		if (at == model->nr || model->entries[at].index != index ||
		    model->entries[at].entry != entry || khoc_array_get(&array, index) != entry)
			return false;
		at++;
	}
	return at == model->nr;
}

static void copy_check(void)
{
	struct khoc_mem mem = {&ops, NULL, copy, image_size, 0, 0};
	struct khoc_array_check check = {.data_lo = 0, .data_hi = image_size, .seen = seen};
	struct khoc_report report;
	struct khoc_array array;

	memset(seen, 0, sizeof(seen));
	EXPECT_EQ(khoc_array_attach(&array, &mem, page_shift, 1UL << page_shift, &report), 0);
	khoc_array_validate(&array, &check, &report);
	if (report.fault)
		printf("%s: %s level %d at %#llx: %#llx, %#llx\n", khoc_fault_text(report.fault),
		       report.field, report.level, (unsigned long long)report.addr,
		       (unsigned long long)report.value, (unsigned long long)report.limit);
	EXPECT_EQ(report.fault, 0);
	if (shared->in_publish)
		return;
	for (unsigned int i = 2; i < NR_PAGES; i++)
		EXPECT_EQ(seen[i / 64] >> (i % 64) & 1, shared->used[i] == IMAGE_PUBLISHED);
}

/* The copy goes on as the next program's array: an update finishes what was left. */
static void copy_update(const struct model *after)
{
	struct khoc_mem_ops none = {.alloc_page = NULL, .publish_page = page_publish};
	struct khoc_mem mem = {&none, NULL, copy, image_size, 0, 0};
	const struct kho_abi_array *desc;
	struct khoc_array array;
	u64 count;

	EXPECT_EQ(khoc_array_attach(&array, &mem, page_shift, 1UL << page_shift, NULL), 0);
	desc = array.desc;
	count = khoc_array_count(&array);
	if (!count || desc->doomed)
		return;
	EXPECT_EQ(khoc_array_erase(&array, 12345), -ENOENT);
	EXPECT_EQ(desc->count, count);
	EXPECT_EQ(desc->next_count, count);
}

/* ---- stepping ---- */

struct op {
	u64 index;
	u64 entry; /* 0 erases */
	bool clear;
};

static int run_op(struct khoc_array *array, const struct op *op)
{
	if (op->clear)
		return khoc_array_clear(array);
	return op->entry ? khoc_array_set(array, op->index, op->entry)
			 : khoc_array_erase(array, op->index);
}

static void model_op(struct model *model, const struct op *op)
{
	if (op->clear)
		model->nr = 0;
	else
		model_set(model, op->index, op->entry);
}

/* After an instruction: did the image change, and to what? */
static void look(const struct model *before, const struct model *after, bool *done)
{
	if (!memcmp(copy, shared->bytes, image_size))
		return;
	memcpy(copy, shared->bytes, image_size);
	copy_check();
	if (!*done && copy_is(before))
		return;
	EXPECT(copy_is(after));
	*done = true;
	copy_update(after);
	memcpy(copy, shared->bytes, image_size);
}

static void step_child(pid_t child, const struct model *before, const struct model *after)
{
	bool done = false;
	int status;

	EXPECT_EQ(waitpid(child, &status, 0), child);
	memcpy(copy, shared->bytes, image_size);
	while (WIFSTOPPED(status)) {
		EXPECT_EQ(WSTOPSIG(status) == SIGTRAP || WSTOPSIG(status) == SIGSTOP, 1);
		look(before, after, &done);
		EXPECT_EQ(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL), 0);
		EXPECT_EQ(waitpid(child, &status, 0), child);
	}
	EXPECT(WIFEXITED(status));
	EXPECT_EQ(WEXITSTATUS(status), 0);
	EXPECT(copy_is(after));
}

/* One update in a child, which then goes on with the array as it left it. */
static void step_op(struct khoc_array *array, struct model *model, const struct op *op)
{
	struct model before = *model;
	pid_t child;

	before.entries = shim_alloc((model->nr + 1) * sizeof(*before.entries));
	memcpy(before.entries, model->entries, model->nr * sizeof(*before.entries));
	model_op(model, op);
	fflush(stdout);
	child = fork();
	EXPECT(child >= 0);
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(run_op(array, op) ? 1 : 0);
	}
	step_child(child, &before, model);
	shim_free(before.entries);
}

static void step_make(struct khoc_array *array, struct khoc_mem *mem, unsigned int shift,
		      unsigned int nr_pages)
{
	page_shift = shift;
	image_size = (size_t)nr_pages << shift;
	shared = mmap(NULL, sizeof(*shared) + image_size, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	EXPECT(shared != MAP_FAILED);
	copy = shim_alloc(image_size);
	*mem = (struct khoc_mem){&ops, NULL, shared->bytes, image_size, 0, 0};
	EXPECT_EQ(khoc_array_init(array, mem, shift, 1UL << shift), 0);
}

static void step_destroy(struct model *model)
{
	munmap(shared, sizeof(*shared) + image_size);
	shim_free(copy);
	shim_free(model->entries);
}

/*
 * Tiny pages, random updates: in few of them nodes of each level are divided, evened out and merged.
 * The tracer's handle is of no use after the child's update: a new one each time, as after a crash.
 */
static void step_random(u64 wide, unsigned int nr_ops)
{
	struct model model = {shim_alloc(MAX_ENTRIES * sizeof(struct model_entry)), 0, MAX_ENTRIES};
	struct rng rng = {test_seed()};
	struct khoc_array array;
	struct khoc_mem mem;

	step_make(&array, &mem, 6, 128);
	for (unsigned int i = 0; i < nr_ops; i++) {
		struct op op = {.index = rng_next(&rng) % wide, .entry = rng_next(&rng) | 1};
		bool erase = model.nr && rng_below(&rng, 8) < (i < nr_ops * 2 / 3 ? 2 : 7);

		if (erase)
			op = (struct op){.index = model.entries[rng_below(&rng, model.nr)].index};
		EXPECT_EQ(khoc_array_attach(&array, &mem, page_shift, 1UL << page_shift, NULL), 0);
		step_op(&array, &model, &op);
	}
	EXPECT_EQ(khoc_array_attach(&array, &mem, page_shift, 1UL << page_shift, NULL), 0);
	if (model.nr)
		step_op(&array, &model, &(struct op){.clear = true});
	step_destroy(&model);
}

TEST(every_instruction_of_random_updates)
{
	unsigned int nr_ops = getenv("KHO_STEP") ? 120 : 24;

	if (is_sanitized())
		return;
	step_random(~0ULL, nr_ops);
	step_random(200, nr_ops);
}

/* Ordinary pages: a full leaf whose neighbours are full, too: three become four. */
TEST(every_instruction_of_a_division)
{
	struct model model = {shim_alloc(MAX_ENTRIES * sizeof(struct model_entry)), 0, MAX_ENTRIES};
	struct rng rng = {test_seed()};
	struct khoc_array array;
	struct khoc_mem mem;
	unsigned int steps = 0, nr_steps = getenv("KHO_STEP") ? 5 : 1;

	if (is_sanitized())
		nr_steps = 0;
	step_make(&array, &mem, 12, 24);
	while (model.nr < 2400 && steps < nr_steps) {
		struct op op = {.index = rng_next(&rng), .entry = rng_next(&rng) | 1};
		struct khoc_array probe = array;
		u64 allocs = 0;

		/* Which update divides is found out on a copy. */
		if (model.nr > 600 && !rng_below(&rng, 4)) {
			char *saved = shim_alloc(image_size);
			u8 used[NR_PAGES];

			memcpy(saved, shared->bytes, image_size);
			memcpy(used, shared->used, sizeof(used));
			EXPECT_EQ(run_op(&probe, &op), 0);
			for (unsigned int i = 0; i < NR_PAGES; i++)
				allocs += shared->used[i] && !used[i];
			memcpy(shared->bytes, saved, image_size);
			memcpy(shared->used, used, sizeof(used));
			shim_free(saved);
		}
		array.leaf = NULL;
		if (allocs) {
			steps++;
			step_op(&array, &model, &op);
		} else {
			EXPECT_EQ(run_op(&array, &op), 0);
			model_op(&model, &op);
		}
	}
	EXPECT_EQ(steps, nr_steps);
	step_destroy(&model);
}

TEST_SUITE(array_step, TEST_CASE(every_instruction_of_random_updates),
	   TEST_CASE(every_instruction_of_a_division));
