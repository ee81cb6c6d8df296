/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Migrations: a list of version 1 becomes one of version 2 and back, whatever fails and whenever the
 * process is killed: either all of the one is there or all of the other, and nothing else.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kho/abi/migration.h>

#include "arena_fixture.h"
#include "life.h"
#include "migrate.h"
#include "subtree.h"

#define MIB (1ULL << 20)

/* Version 1. */
struct one {
	struct one *next;
	__u64 value;
};

/* Version 2: other offsets, the negated value in an object of its own. */
struct two {
	__u64 magic;
	__u64 *value;
	struct two *next;
};

#define MAGIC 0x6f7774ULL

static int fail_after = -1; /* objects until a build fails */

static void *make(size_t size)
{
	if (fail_after >= 0 && !fail_after--) {
		errno = ENOSPC;
		return NULL;
	}
	return kho_migrate_malloc(size);
}

static int build_up(void *ctx, void *old, void **fresh)
{
	struct two **tail = (struct two **)fresh;

	for (struct one *from = old; from; from = from->next) {
		struct two *to = make(sizeof(*to));

		if (!to || !(to->value = make(sizeof(*to->value))))
			return -errno;
		to->magic = MAGIC;
		*to->value = ~from->value;
		*tail = to;
		tail = &to->next;
	}
	return 0;
}

static int build_down(void *ctx, void *old, void **fresh)
{
	struct one **tail = (struct one **)fresh;

	for (struct two *from = old; from; from = from->next) {
		struct one *to = make(sizeof(*to));

		if (!to)
			return -errno;
		to->value = ~*from->value;
		*tail = to;
		tail = &to->next;
	}
	return 0;
}

static int release_one(void *ctx, void **slot)
{
	struct one *first;

	while ((first = *slot))
		if (kho_publish(slot, first->next, first))
			return -EIO;
	return 0;
}

/* The value first: what is left is a list whose first element may have none. */
static int release_two(void *ctx, void **slot)
{
	struct two *first;

	while ((first = *slot)) {
		if (first->value && kho_publish((void **)&first->value, NULL, first->value))
			return -EIO;
		if (kho_publish(slot, first->next, first))
			return -EIO;
	}
	return 0;
}

static const struct kho_migration hooks[] = {
	{"list", 1, 2, build_up, release_one},
	{"list", 2, 1, build_down, release_two},
};

static int fresh(void **state)
{
	arena_new(64 * MIB);
	fail_after = -1;
	kho_migrate_set_(hooks, 2, NULL);
	return 0;
}

static int drop(void **state)
{
	arena_drop();
	return 0;
}

/* A list of version 1 of the values @nr to 1. */
static void make_list(const char *name, __u64 nr)
{
	void **slot = kho_root(name, "list", 1);

	for (__u64 i = 1; i <= nr; i++) {
		struct one *node = kho_malloc(sizeof(*node));

		node->next = *slot;
		node->value = i;
		assert_int_equal(kho_publish(slot, node, NULL), 0);
	}
}

/* All of @nr values, in whichever version. Return: the version; @objects gets how many there are of it. */
static int check_list(const char *name, __u64 nr, __u64 *objects)
{
	int version = kho_root_version(name);
	void **slot = kho_root(name, "list", (__u32)version);

	assert_non_null(slot);
	*objects += version * nr;
	if (version == 1) {
		for (struct one *n = *slot; n; n = n->next, nr--)
			assert_int_equal(n->value, nr);
	} else {
		assert_int_equal(version, 2);
		for (struct two *n = *slot; n; n = n->next, nr--) {
			assert_int_equal(n->magic, MAGIC);
			assert_int_equal(~*n->value, nr);
		}
	}
	assert_int_equal(nr, 0);
	return version;
}

/* The lists as they are to be, nothing else living, and no root of the library's left. */
static void expect(const char *name, __u64 nr, int version)
{
	struct kho_root_info info;
	__u64 objects = 0;

	assert_int_equal(check_list(name, nr, &objects), version);
	assert_int_equal(arena_live(), objects);
	assert_false(kho_root_look_("kho,", true, 0, &info));
}

static void up_and_down(void **state)
{
	struct two *first = NULL;
	void **before;

	make_list("l", 200); /* more objects than a chunk of the journal has room for */
	before = kho_root("l", "list", 1);
	assert_int_equal(kho_root_version("l"), 1);
	assert_int_equal(kho_migrate("l", 2, (void **)&first), 0);
	assert_int_equal(~*first->value, 200);
	/* Not in force. */
	assert_int_equal(kho_root_version("l"), 1);
	assert_ptr_equal(kho_root("l", "list", 1), before);
	assert_true(kho_migrate_due_());
	assert_int_equal(kho_migrate("l", 2, NULL), -EBUSY);
	assert_int_equal(kho_migrate_finish_(), 0);
	assert_false(kho_migrate_due_());
	expect("l", 200, 2);
	assert_ptr_equal(*kho_root("l", "list", 2), first);
	assert_null(kho_root("l", "list", 1));
	assert_int_equal(errno, EPROTOTYPE);
	arena_crash();
	expect("l", 200, 2);
	/* It has that version. */
	assert_int_equal(kho_migrate("l", 2, NULL), 0);
	assert_false(kho_migrate_due_());
	assert_int_equal(kho_migrate("l", 1, NULL), 0);
	assert_int_equal(kho_migrate_finish_(), 0);
	expect("l", 200, 1);
}

static void several_at_once(void **state)
{
	__u64 objects = 0;

	make_list("a", 3);
	make_list("b", 70);
	make_list("c", 0);
	make_list("stays", 4);
	assert_int_equal(kho_migrate("a", 2, NULL), 0);
	assert_int_equal(kho_migrate("b", 2, NULL), 0);
	assert_int_equal(kho_migrate("c", 2, NULL), 0);
	assert_int_equal(kho_migrate_finish_(), 0);
	assert_int_equal(check_list("a", 3, &objects), 2);
	assert_int_equal(check_list("b", 70, &objects), 2);
	assert_int_equal(check_list("c", 0, &objects), 2);
	assert_int_equal(check_list("stays", 4, &objects), 1);
	assert_int_equal(arena_live(), objects);
}

static void what_was_not_finished_is_undone(void **state)
{
	make_list("l", 100);
	assert_int_equal(kho_migrate("l", 2, NULL), 0);
	assert_true(arena_live() > 300);
	arena_crash();
	assert_int_equal(kho_root_version("l"), 1);
	assert_int_equal(kho_migrate_recover_(), 0);
	expect("l", 100, 1);
	/* By the next migration, too. */
	assert_int_equal(kho_migrate("l", 2, NULL), 0);
	arena_crash();
	assert_int_equal(kho_migrate("l", 2, NULL), 0);
	assert_int_equal(kho_migrate_finish_(), 0);
	expect("l", 100, 2);
	/* Without hooks: the objects are freed by the journal. */
	assert_int_equal(kho_migrate("l", 1, NULL), 0);
	arena_crash();
	kho_migrate_set_(NULL, 0, NULL);
	assert_int_equal(kho_migrate_recover_(), 0);
	expect("l", 100, 2);
}

static void what_cannot_be_made_is_undone(void **state)
{
	make_list("l", 40);
	make_list("m", 0);
	for (int i = 0; i < 80; i++) {
		fail_after = i;
		assert_int_equal(kho_migrate("m", 2, NULL), 0);
		assert_int_equal(kho_migrate("l", 2, NULL), -ENOSPC);
		assert_non_null(strstr(kho_error(), "root \"l\": migration to version 2"));
		assert_false(kho_migrate_due_());
		fail_after = -1;
		expect("l", 40, 1);
	}
	assert_int_equal(kho_migrate("none", 2, NULL), -ENOENT);
	assert_int_equal(kho_migrate("l", 3, NULL), -ENOENT);
	assert_non_null(strstr(kho_error(), "no migration of \"list\" from version 1 to 3"));
	assert_int_equal(kho_root_version("none"), -ENOENT);
	assert_null(kho_migrate_malloc(10));
	assert_int_equal(errno, EINVAL);
	assert_null(kho_root("kho,new.0", "x", 1));
	assert_int_equal(errno, EINVAL);
}

static void as_many_as_there_are(void **state)
{
	char name[16];

	for (int i = 0; i <= 16; i++) {
		snprintf(name, sizeof(name), "r%d", i);
		make_list(name, 1);
		assert_int_equal(kho_migrate(name, 2, NULL), i < 16 ? 0 : -ENOSPC);
	}
	assert_int_equal(kho_migrate_finish_(), 0);
	assert_int_equal(arena_live(), 33);
}

static void a_full_arena(void **state)
{
	static const size_t sizes[] = {1 << 20, 32768, 4096, 512, 64, 16};
	__u64 before;

	arena_drop();
	arena_new(8 * MIB);
	make_list("l", 300);
	before = arena_live();
	/* Reserved objects up to the last byte. */
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		while (kho_malloc(sizes[i]))
			;
	assert_int_equal(kho_migrate("l", 2, NULL), -ENOMEM);
	assert_int_equal(arena_live(), before);
	assert_false(kho_migrate_due_());
	expect("l", 300, 1);
	arena_crash(); /* and there is room */
	assert_int_equal(kho_migrate("l", 2, NULL), 0);
	assert_int_equal(kho_migrate_finish_(), 0);
	expect("l", 300, 2);
}

/* No room for further roots: not begun. Room for them once: then the swap needs no more. */
static void a_full_root_fdt(void **state)
{
	char name[64];
	int nr = 0;

	make_list("l", 5);
	do {
		snprintf(name, sizeof(name), "filler-%050d", nr++);
	} while (kho_root(name, "some-type-with-a-long-name", 1));
	assert_int_equal(errno, ENOSPC);
	assert_true(nr > 20);
	assert_int_equal(kho_migrate("l", 2, NULL), -ENOSPC);
	expect("l", 5, 1);
	for (int i = 1; i < nr; i++) {
		int rc;

		snprintf(name, sizeof(name), "filler-%050d", i - 1);
		assert_int_equal(kho_root_remove(name), 0);
		rc = kho_migrate("l", 2, NULL);
		if (rc) {
			assert_int_equal(rc, -ENOSPC);
			continue;
		}
		assert_int_equal(kho_migrate_finish_(), 0);
		expect("l", 5, 2);
		return;
	}
	fail();
}

/* ---- for an older successor --------------------------------------------------- */

static void for_an_older_reader(void **state)
{
	struct kho_abi_format reads = {"list", 1, 1, 1, 0, 0};
	__u64 objects = 0;

	make_list("l", 10);
	make_list("m", 2);
	kho_root("other", "else", 9);
	assert_int_equal(kho_migrate_check_(&reads, 1), 0);
	assert_int_equal(kho_migrate_down_(&reads, 1), 0);
	assert_int_equal(kho_migrate("l", 2, NULL), 0);
	assert_int_equal(kho_migrate_finish_(), 0);
	/* What is made and not in force is not for it. */
	assert_int_equal(kho_migrate("m", 2, NULL), 0);
	assert_int_equal(kho_migrate_check_(&reads, 1), 0);
	assert_int_equal(kho_migrate_down_(&reads, 1), 1);
	assert_int_equal(check_list("l", 10, &objects), 1);
	assert_int_equal(check_list("m", 2, &objects), 1);
	assert_int_equal(arena_live(), objects);
	/* Without a way there. */
	reads.reads_min = reads.reads_max = 7;
	assert_int_equal(kho_migrate_check_(&reads, 1), -KHO_E_INCOMPATIBLE);
	assert_string_equal(kho_error(),
			    "root \"l\": is a \"list\", version 1; the successor reads 7 to 7");
	assert_int_equal(kho_migrate_down_(&reads, 1), 0);
	/* With one that fails: all as it was. */
	reads.reads_min = reads.reads_max = 2;
	fail_after = 21;
	assert_int_equal(kho_migrate_down_(&reads, 1), -ENOSPC);
	fail_after = -1;
	objects = 0;
	assert_int_equal(check_list("l", 10, &objects), 1);
	assert_int_equal(check_list("m", 2, &objects), 1);
	assert_int_equal(arena_live(), objects);
}

/* ---- garbage in the journal ----------------------------------------------------- */

static void a_journal_that_is_none(void **state)
{
	static const __u64 values[] = {8, 0x550000000000, 0x550000140000, 0x550000140008};
	struct kho_abi_journal *chunk;
	struct kho_root_info info;

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		make_list("l", 1);
		assert_int_equal(kho_migrate("l", 2, NULL), 0);
		assert_true(kho_root_look_("kho,journal", false, 0, &info));
		chunk = *info.slot;
		chunk->object[5] = values[i];
		chunk->object[6] = (uintptr_t)chunk;
		chunk->next = i & 1 ? (uintptr_t)chunk : values[i];
		arena_crash();
		kho_migrate_recover_();
		assert_false(kho_root_look_("kho,", true, 0, &info));
		assert_int_equal(kho_root_version("l"), 1);
		release_one(NULL, kho_root("l", "list", 1));
	}
}

/* ---- killed at each step of the work ---------------------------------------------- */

static const char *kill_step;

static void kill_at(const char *at)
{
	if (!strcmp(at, kill_step))
		kill(getpid(), SIGKILL);
}

static void back_and_forth(int fd, int rounds)
{
	if (kho_arena_map_(fd, true) || kho_arena_own_())
		_exit(2);
	for (int i = 0; i < rounds; i++) {
		__u32 to = 3 - (__u32)kho_root_version("l");

		if (kho_migrate("l", to, NULL) || kho_migrate("m", to, NULL) ||
		    kho_migrate_finish_())
			_exit(3);
	}
	_exit(0);
}

/* A child works on a copy of the fd; then we attach as the next program would. */
static int run_child(unsigned int us)
{
	int fd = fcntl(kho_arena_.fd, F_DUPFD_CLOEXEC, 0), status;
	pid_t pid;

	kho_arena_unmap_();
	pid = fork();
	if (!pid) {
		if (kill_step)
			kho_step_hook_ = kill_at;
		back_and_forth(fd, us ? 1000000 : 1);
	}
	if (us) {
		usleep(us);
		kill(pid, SIGKILL);
	}
	waitpid(pid, &status, 0);
	if (kho_arena_map_(fd, true) || kho_arena_own_())
		fail_msg("%s", kho_error());
	return status;
}

static int settle(__u64 nr)
{
	__u64 objects = 0;
	int version;

	check_list("l", nr, &objects); /* before anything is put right */
	assert_int_equal(check_list("m", 3, &objects), kho_root_version("l"));
	assert_int_equal(kho_migrate_finish_(), 0);
	objects = 0;
	version = check_list("l", nr, &objects);
	assert_int_equal(check_list("m", 3, &objects), version);
	assert_int_equal(arena_live(), objects);
	return version;
}

static void killed_at_the_named_steps(void **state)
{
	static const char *const steps[] = {"migration-built", "migration-swapped",
					    "migration-settled", "migration-finished"};

	make_list("l", 90);
	make_list("m", 3);
	for (int way = 0; way < 2; way++)
		for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
			int was = kho_root_version("l");

			kill_step = steps[i];
			assert_true(WIFSIGNALED(run_child(0)));
			kill_step = NULL;
			assert_int_equal(settle(90), i ? 3 - was : was);
			if (way == (i == 0)) /* so that both ways are taken at each step */
				assert_int_equal(run_child(0), 0);
			settle(90);
		}
}

static void killed_at_any_time(void **state)
{
	uint64_t seed = test_seed();
	int versions[3] = {0}, rounds = getenv("KHO_KILLS") ? atoi(getenv("KHO_KILLS")) : 150;

	make_list("l", 90);
	make_list("m", 3);
	for (int i = 0; i < rounds; i++) {
		int status = run_child(1 + (unsigned int)(test_random(&seed) % 3000));

		assert_true(WIFSIGNALED(status));
		versions[settle(90)]++;
	}
	printf("%d kills: %d times version 1, %d times version 2\n", rounds, versions[1],
	       versions[2]);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fresh, drop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(up_and_down),
		TEST(several_at_once),
		TEST(what_was_not_finished_is_undone),
		TEST(what_cannot_be_made_is_undone),
		TEST(as_many_as_there_are),
		TEST(a_full_arena),
		TEST(a_full_root_fdt),
		TEST(for_an_older_reader),
		TEST(a_journal_that_is_none),
		TEST(killed_at_the_named_steps),
		TEST(killed_at_any_time),
	};

	return cmocka_run_group_tests_name("migrate", tests, NULL, NULL);
}
