/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Calls stepped through, and what must hold after each instruction: see step.h. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "sessions.h"
#include "step.h"

#define MAX_EXTENTS 256
#define MAX_CASES 64
#define FORMATTED 0x41000 /* up to the tree's root and with it */

struct step_info *info;
void **slot_a, **slot_b, *object, *old_object;

/* ---- what is reachable ---- */

/* The values of the list at root @name as decimal digits; counts and large pages are added. */
static __u64 list_value(const char *name, __u64 *count, __u64 *large_pages)
{
	void **slot = NULL;
	__u64 value = 0;

	if (!kho_retrieve_subtree(name, NULL, NULL))
		slot = kho_root(name, "list", 1) ?: kho_root(name, "list", 2);
	for (struct node *node = slot ? *slot : NULL; node; node = node->next) {
		const struct kho_abi_large *large;

		node = (void *)((uintptr_t)node & ~15UL);
		assert_true(kho_usable_size(node) >= sizeof(*node));
		assert_int_equal(node->tag, NODE_TAG);
		value = value * 10 + node->value;
		++*count;
		large = kho_usable_size(node) > HEAP_SMALL_MAX ? kho_large_of_(node) : NULL;
		*large_pages += large ? large->nr_pages : 0;
	}
	return value;
}

/* The slabs as they came in. Return: objects that are preserved singly; records of caches that roots name. */
static __u64 check_slabs(__u64 *records)
{
	static const char *const names[] = {"cache,w", "cache,s"};
	struct khoc_slab_counts counts;
	struct khoc_report report;
	struct khoc_block block;
	unsigned int type, order;
	__u64 singles = 0;

	for (kho_pa_t pos = 0; khoc_radix_next(&kho_arena_.tree, pos, ARENA_MAX, &block);
	     pos = block.pa + (KHO_PAGE_SIZE << block.order)) {
		const struct kho_abi_slab *slab = kho_phys_to_virt(block.pa);

		if (kho_block_desc_(block.pa, &type, &order) || type != KHO_ABI_DESC_SLAB)
			continue;
		if (khoc_slab_check(&kho_arena_.mem, KHO_PAGE_SHIFT, block.pa, order, &counts,
				    &report)) {
			kho_fail_report_(&report);
			fail_msg("%s", kho_error());
		}
		if (slab->cache)
			assert_int_equal(*kho_slab_state_of_(kho_phys_to_virt(slab->cache)),
					 KHO_ABI_OBJECT_LIVE);
		singles += slab->flags & KHO_ABI_SLAB_SINGLE ? counts.live : 0;
	}
	*records = 0;
	for (int i = 0; i < 2; i++)
		if (!kho_retrieve_subtree(names[i], NULL, NULL))
			*records += *kho_root(names[i], "kmem_cache", 1) != NULL;
	return singles;
}

/* Objects of sessions: of each file and FLB that the next program finds, and their head. */
static __u64 session_objects(void)
{
	__u64 nr;

	if (kho_luo_load_(false))
		fail_msg("%s", kho_error());
	nr = kho_luo_.numbers.nr + (kho_luo_.head != NULL);
	for (unsigned int i = 0; i < LUO_FLBS_MAX; i++)
		nr += kho_luo_.flb[i].there;
	return nr;
}

/* Everything that must hold in every snapshot, whatever the call. */
static struct found check_common(void)
{
	struct found found = {0};
	__u64 count = 0, large = 0, pages[16] = {0}, sum = 0;
	struct khoc_block block;
	unsigned int type, order;

	assert_int_equal(kho_preserve_check_all_(false), 0);
	assert_int_equal(kho_pages_discover_all_(), 0);
	found.singles = check_slabs(&found.records);
	found.a = list_value("a", &count, &large);
	found.b = list_value("b", &count, &large);
	found.session_objects = session_objects();
	assert_int_equal(arena_live(),
			 count + found.singles + found.records + found.session_objects);
	for (kho_pa_t pos = 0; khoc_radix_next(&kho_arena_.tree, pos, ARENA_MAX, &block);) {
		assert_int_equal(kho_block_desc_(block.pa, &type, &order), 0);
		pages[type] += 1ULL << order;
		sum += 1ULL << order;
		pos = block.pa + (KHO_PAGE_SIZE << order);
	}
	assert_int_equal(pages[KHO_ABI_DESC_LARGE] + pages[KHO_ABI_DESC_LARGE_PART], large);
	assert_int_equal(kho_pages_used_(), sum << KHO_PAGE_SHIFT);
	found.folio_pages = pages[KHO_ABI_DESC_FOLIO];
	found.run_pages = pages[KHO_ABI_DESC_PAGES];
	found.slab_pages = pages[KHO_ABI_DESC_SLAB];
	found.struct_pages = pages[KHO_ABI_DESC_STRUCT];
	found.area_pages = pages[KHO_ABI_DESC_VMALLOC] + pages[KHO_ABI_DESC_VMALLOC_CHUNK];
	return found;
}

/* ---- what cases have in common ---- */

struct node *node_new(size_t size, __u64 value)
{
	struct node *node = kho_malloc(size);

	if (!node)
		_exit(9);
	node->next = NULL;
	node->tag = NODE_TAG;
	node->value = value;
	return node;
}

kho_pa_t page_new(void)
{
	kho_pa_t pa = kho_arena_.mem.ops->alloc_page(NULL);

	if (!pa)
		_exit(9);
	return pa;
}

void map_again(void)
{
	int fd = fcntl(kho_arena_.fd, F_DUPFD_CLOEXEC, 0);

	kho_arena_unmap_();
	if (kho_arena_map_(fd, true))
		_exit(8);
}

void setup_nothing(void)
{
}

void setup_roots(void)
{
	slot_a = kho_root("a", "list", 1);
	slot_b = kho_root("b", "list", 1);
}

void setup_one(void)
{
	setup_roots();
	old_object = node_new(64, 1);
	if (kho_publish(slot_a, old_object, NULL))
		_exit(8);
	object = node_new(64, 2);
}

void setup_two(void)
{
	setup_one();
	((struct node *)old_object)->next = NULL;
	if (kho_publish((void **)old_object, object, NULL))
		_exit(8);
}

void op_free(void)
{
	kho_free(object);
}

void op_publish_a(void)
{
	if (kho_publish(slot_a, object, NULL))
		_exit(7);
}

void op_replace(void)
{
	if (kho_publish(slot_a, object, old_object))
		_exit(7);
}

void op_delete(void)
{
	if (kho_publish(slot_a, NULL, object))
		_exit(7);
}

void op_own(void)
{
	if (kho_arena_own_())
		_exit(7);
}

int a_is(__u64 before, __u64 after, const struct found *found)
{
	assert_int_equal(found->b, 0);
	assert_true(found->a == before || found->a == after);
	return found->a == after;
}

int check_no_change(const struct found *found)
{
	return a_is(0, 0, found);
}

int check_one_stays(const struct found *found)
{
	return a_is(1, 1, found);
}

int check_two_stays(const struct found *found)
{
	return a_is(2, 2, found);
}

int check_insert(const struct found *found)
{
	return a_is(0, 2, found);
}

int check_removed(const struct found *found)
{
	return a_is(2, 0, found);
}

/* ---- stepping ---- */

static struct {
	int fd;
	char *view, *shadow;
	blkcnt_t blocks;
	struct {
		off_t lo, hi;
	} extent[MAX_EXTENTS];
	int nr_extents;
	unsigned long steps, snapshots, all_steps, all_snapshots;
	int last;
} step;

/* The parts of the file that are there; they change when its blocks do. */
static void find_extents(void)
{
	struct stat st;

	fstat(step.fd, &st);
	if (st.st_blocks == step.blocks)
		return;
	step.blocks = st.st_blocks;
	step.nr_extents = 0;
	/* What was allocated and not yet written passes for a hole. */
	step.extent[step.nr_extents].lo = 0;
	step.extent[step.nr_extents++].hi = FORMATTED;
	for (off_t hi = FORMATTED, lo; (lo = lseek(step.fd, hi, SEEK_DATA)) >= 0;) {
		hi = lseek(step.fd, lo, SEEK_HOLE);
		assert_true(step.nr_extents < MAX_EXTENTS);
		step.extent[step.nr_extents].lo = lo;
		step.extent[step.nr_extents++].hi = hi;
	}
}

static bool changed(void)
{
	bool any = false;

	find_extents();
	for (int i = 0; i < step.nr_extents; i++)
		for (off_t at = step.extent[i].lo; at < step.extent[i].hi; at += 4096)
			if (memcmp(step.view + at, step.shadow + at, 4096)) {
				memcpy(step.shadow + at, step.view + at, 4096);
				any = true;
			}
	return any;
}

static int snapshot(void)
{
	int fd = kho_arena_create_("step");
	struct stat st;

	assert_true(fd >= 0);
	fstat(step.fd, &st);
	assert_int_equal(ftruncate(fd, st.st_size), 0);
	for (int i = 0; i < step.nr_extents; i++) {
		size_t len = (size_t)(step.extent[i].hi - step.extent[i].lo);

		assert_int_equal(
			pwrite(fd, step.shadow + step.extent[i].lo, len, step.extent[i].lo), len);
	}
	return fd;
}

static void attach_snapshot(const struct step_case *c)
{
	struct found found;
	int after;

	if (kho_arena_map_(snapshot(), true) || kho_arena_own_())
		fail_msg("%s, step %lu: %s", c->name, step.steps, kho_error());
	if (c->settle)
		c->settle();
	found = check_common();
	after = c->check(&found);
	if (!c->constant && after < step.last)
		fail_msg("%s, step %lu: back to the state before", c->name, step.steps);
	if (step.snapshots == 0 && !c->constant)
		assert_int_equal(after, 0);
	step.last = after;
	step.snapshots++;
	kho_arena_unmap_();
}

static void child(const struct step_case *c, int fd)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (kho_arena_format_(fd, ARENA_MAX) || kho_arena_map_(fd, true) || kho_arena_own_())
		_exit(10);
	c->setup();
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	c->op();
	raise(SIGSTOP);
	_exit(0);
}

static void whatever_the_instruction(void **state)
{
	const struct step_case *c = *state;
	pid_t pid;
	int status;

	memset(&step, 0, offsetof(typeof(step), all_steps));
	memset(info, 0, sizeof(*info));
	step.fd = kho_arena_create_("stepped");
	pid = fork();
	if (!pid)
		child(c, step.fd);
	waitpid(pid, &status, 0);
	if (!WIFSTOPPED(status))
		fail_msg("%s: set-up failed, status %#x", c->name, status);
	step.view = mmap(NULL, ARENA_MAX, PROT_READ, MAP_SHARED, step.fd, 0);
	step.shadow =
		mmap(NULL, ARENA_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	step.last = 0;
	changed();
	attach_snapshot(c);
	for (;;) {
		ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL);
		waitpid(pid, &status, 0);
		if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
			break;
		step.steps++;
		if (changed())
			attach_snapshot(c);
	}
	if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGSTOP)
		fail_msg("%s: ended with status %#x", c->name, status);
	if (!c->constant)
		assert_int_equal(step.last, 1);
	if (c->end)
		c->end();
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	munmap(step.view, ARENA_MAX);
	munmap(step.shadow, ARENA_MAX);
	close(step.fd);
	printf("%-22s %8lu instructions %6lu snapshots\n", c->name, step.steps, step.snapshots);
	step.all_steps += step.steps;
	step.all_snapshots += step.snapshots;
}

static int print_sums(void **state)
{
	printf("%lu instructions stepped, %lu snapshots attached\n", step.all_steps,
	       step.all_snapshots);
	return 0;
}

int step_main(const char *group, const struct step_case *cases, size_t nr)
{
	const char *mode = getenv("KHO_STEP"), *only = getenv("KHO_STEP_ONLY");
	bool full = only || (mode && !strcmp(mode, "full"));
	struct CMUnitTest tests[MAX_CASES];
	size_t n = 0;

	info = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	memset(tests, 0, sizeof(tests));
	for (size_t i = 0; i < nr && n < MAX_CASES; i++) {
		if ((!full && cases[i].slow) || (only && strcmp(only, cases[i].name)))
			continue;
		tests[n].name = cases[i].name;
		tests[n].test_func = whatever_the_instruction;
		tests[n++].initial_state = (void *)(uintptr_t)&cases[i];
	}
	return _cmocka_run_group_tests(group, tests, n, NULL, print_sums);
}
