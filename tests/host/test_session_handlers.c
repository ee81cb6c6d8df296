/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Handlers that an application registers, and FLBs: when they are called, what they keep, and who is refused
 * without them.
 */
#include <kho/abi/handover.h>

#include "session_fixture.h"

/* ---- handlers of an application ---- */

static struct {
	unsigned int preserved, unpreserved, frozen, unfrozen, retrieved, finished;
	int fail; /* what the next callback that may returns */
	bool busy;
} calls;

static bool mine(struct liveupdate_file_handler *handler, int fd)
{
	struct stat st;

	return !fstat(fd, &st) && S_ISDIR(st.st_mode);
}

static int on_preserve(struct liveupdate_file_op_args *args)
{
	if (calls.fail)
		return calls.fail;
	calls.preserved++;
	args->serialized_data = 0x1234;
	assert_int_equal(args->state_len, 24);
	memset(args->state, 's', 24);
	args->private_data = &calls;
	return 0;
}

static void on_unpreserve(struct liveupdate_file_op_args *args)
{
	calls.unpreserved++;
	assert_ptr_equal(args->private_data, &calls);
}

static int on_freeze(struct liveupdate_file_op_args *args)
{
	calls.frozen++;
	args->serialized_data++;
	return calls.fail;
}

static void on_unfreeze(struct liveupdate_file_op_args *args)
{
	calls.unfrozen++;
}

static int on_retrieve(struct liveupdate_file_op_args *args)
{
	calls.retrieved++;
	assert_int_equal(args->serialized_data & ~3ULL, 0x1234);
	assert_int_equal(((char *)args->state)[23], 's');
	args->private_data = &calls;
	return calls.fail;
}

static bool on_can_finish(struct liveupdate_file_op_args *args)
{
	return !calls.busy;
}

static void on_finish(struct liveupdate_file_op_args *args)
{
	calls.finished++;
	assert_int_equal(((char *)args->state)[0], 's');
}

static const struct liveupdate_file_ops dir_ops = {
	.state_size = 24,
	.can_preserve = mine,
	.preserve = on_preserve,
	.unpreserve = on_unpreserve,
	.freeze = on_freeze,
	.unfreeze = on_unfreeze,
	.retrieve = on_retrieve,
	.can_finish = on_can_finish,
	.finish = on_finish,
};
static struct liveupdate_file_handler dir_handler = {.compatible = "dir-v2;names-v1",
						     .ops = &dir_ops};

static int set_up_handler(void **state)
{
	memset(&calls, 0, sizeof(calls));
	assert_int_equal(liveupdate_register_file_handler(&dir_handler), 0);
	return set_up(state);
}

static int tear_down_handler(void **state)
{
	tear_down(state);
	return liveupdate_unregister_file_handler(&dir_handler);
}

/* Between two programs nothing is left in this one. */
static int between = -1;

static void arena_drop_private(void)
{
	between = fcntl(kho_arena_.fd, F_DUPFD_CLOEXEC, 0);
	kho_arena_unmap_();
}

static void arena_map_again(void)
{
	if (kho_arena_map_(between, true) || kho_arena_own_())
		fail_msg("%s", kho_error());
}

static int directory(void)
{
	return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void callbacks_are_called(void **state)
{
	struct luo_session *session = new_session("a");
	int fd = directory(), second = directory(), third = directory();

	put_in(session, fd, 1);
	put_in(session, second, 2);
	put_in(session, third, 3);
	assert_string_equal(kind_of(session, 1), "dir-v2;names-v1");
	assert_int_equal(luo_session_unpreserve_fd(session, 3), 0);
	assert_int_equal(calls.unpreserved, 1);
	assert_int_equal(kho_sessions_freeze_(), 0);
	kho_sessions_unfreeze_();
	assert_int_equal(calls.frozen, 2);
	assert_int_equal(calls.unfrozen, 2);
	assert_int_equal(kho_sessions_freeze_(), 0); /* 0x1236 */
	assert_int_equal(liveupdate_unregister_file_handler(&dir_handler), -EBUSY);
	said("2 of its files are in sessions");
	arena_crash();
	session = old_session("a");
	calls.fail = -EIO;
	assert_int_equal(luo_session_retrieve_fd(session, 1), -EIO);
	calls.fail = 0;
	assert_int_equal(luo_session_retrieve_fd(session, 1), fd);
	assert_int_equal(luo_session_retrieve_fd(session, 1), fd);
	assert_int_equal(calls.retrieved, 2);
	calls.busy = true;
	assert_int_equal(luo_session_finish(session), -EBUSY);
	said("is not done");
	assert_int_equal(decode().files, 2);
	calls.busy = false;
	assert_int_equal(luo_session_finish(session), 1);
	put(session);
	assert_int_equal(calls.finished, 2);
	assert_true(is_open(fd));
	assert_false(is_open(second));
	no_leak();
	close(fd);
	close(third);
}

/* After a roll-back: the successor, which has an index of its own, closed a file before it failed. */
static void a_file_that_is_gone_is_not_unfrozen(void **state)
{
	struct luo_session *session = new_session("a");
	struct kho_abi_luo_session *record;
	struct luo_file *last;

	put_in(session, directory(), 1);
	put_in(session, directory(), 2);
	assert_int_equal(kho_sessions_freeze_(), 0);
	assert_int_equal(calls.frozen, 2);
	record = kho_rec_at_(&session->ref, sizeof(*record));
	last = kho_luo_find_file_(session, 2);
	kho_arena_disown_();
	((struct kho_abi_block *)kho_phys_to_virt(last->ref.block->pa))->count--;
	record->count--;
	kho_luo_.head->changes += 2;
	assert_int_equal(kho_arena_own_(), 0);
	kho_sessions_unfreeze_();
	assert_int_equal(calls.unfrozen, 1);
	assert_null(kho_luo_find_file_(session, 2));
}

static void a_callback_that_fails_leaves_nothing(void **state)
{
	struct luo_session *session = new_session("a");
	int fd = directory();

	calls.fail = -EIO;
	assert_int_equal(luo_session_preserve_fd(session, fd, 1), -EIO);
	no_leak();
	assert_int_equal(kho_fdtable_count_(), 0);
	calls.fail = 0;
	put_in(session, fd, 1);
	calls.fail = -EAGAIN;
	assert_int_equal(kho_sessions_freeze_(), -EAGAIN);
	kho_sessions_unfreeze_();
	assert_int_equal(calls.unfrozen, 0);
}

static void without_its_handler(void **state)
{
	static const struct liveupdate_reads newer[] = {{"dir", 3, 4}};
	static struct liveupdate_file_handler third = {
		.compatible = "dir-v3", .ops = &dir_ops, .reads = newer, .nr_reads = 1};
	static const struct liveupdate_reads both[] = {{"dir", 2, 3}, {"names", 1, 1}};
	static struct liveupdate_file_handler reads_both = {
		.compatible = "dir-v3", .ops = &dir_ops, .reads = both, .nr_reads = 2};
	struct luo_session *session = new_session("a");
	int fd = directory();

	put_in(session, fd, 1);
	arena_drop_private();
	assert_int_equal(liveupdate_unregister_file_handler(&dir_handler), 0);
	arena_map_again();
	session = old_session("a");
	assert_int_equal(luo_session_retrieve_fd(session, 1), -KHO_E_INCOMPATIBLE);
	said("no handler is registered for files of kind \"dir-v2;names-v1\"");
	assert_int_equal(liveupdate_register_file_handler(&third), 0);
	assert_int_equal(luo_session_retrieve_fd(session, 1), -KHO_E_INCOMPATIBLE);
	said("\"dir\": it is version 2, this reader takes versions 3 to 4");
	assert_int_equal(liveupdate_unregister_file_handler(&third), 0);
	assert_int_equal(liveupdate_register_file_handler(&reads_both), 0);
	assert_int_equal(luo_session_retrieve_fd(session, 1), fd);
	arena_drop_private();
	assert_int_equal(liveupdate_unregister_file_handler(&reads_both), 0);
	assert_int_equal(liveupdate_register_file_handler(&dir_handler), 0);
	arena_map_again();
}

static void bad_handlers(void **state)
{
	static const struct liveupdate_file_ops no_ops = {0}, ops = {.can_preserve = mine},
						large = {.state_size = 1025, .can_preserve = mine};
	static const struct liveupdate_reads other[] = {{"x", 1, 1}};
	static struct liveupdate_file_handler bad[] = {
		{.compatible = "x-v1"},
		{.compatible = "x-v1", .ops = &no_ops},
		{.ops = &ops},
		{.compatible = "x", .ops = &ops},
		{.compatible = "x-v0", .ops = &ops},
		{.compatible = "x-v1;b-v1;a-v1", .ops = &ops},
		{.compatible = "fd-mine-v1", .ops = &ops},
		{.compatible = "x-v1", .ops = &large},
		{.compatible = "x-v2", .ops = &ops, .reads = other, .nr_reads = 1},
		{.compatible = "abcdefghijklmnopqrstuvwxyza-v1", .ops = &ops},
		{.compatible = "x-v1;abcdefghijklmnopqrstuvwxyz0123456789-v12345", .ops = &ops},
	};
	static struct liveupdate_file_handler many[32];
	static char names[32][8];
	int rc = 0;
	unsigned int nr = 0;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(liveupdate_register_file_handler(&bad[i]), -EINVAL);
	assert_int_equal(liveupdate_register_file_handler(&dir_handler), -EEXIST);
	assert_int_equal(liveupdate_unregister_file_handler(&bad[0]), -ENOENT);
	for (; nr < 32 && !rc; nr++) {
		snprintf(names[nr], sizeof(names[nr]), "k%u-v1", nr);
		many[nr] = (struct liveupdate_file_handler){.compatible = names[nr], .ops = &ops};
		rc = liveupdate_register_file_handler(&many[nr]);
	}
	assert_int_equal(rc, -ENOSPC);
	assert_int_equal(nr, 24 - 7 - 2 + 1);
	while (--nr)
		assert_int_equal(liveupdate_unregister_file_handler(&many[nr - 1]), 0);
}

/* What a successor reads, as its HELLO has it. */
static void a_successor_without_the_handler_is_refused(void **state)
{
	static struct kho_abi_format theirs[KHO_ABI_FORMATS_MAX];
	unsigned int nr = kho_handlers_formats_(theirs, KHO_ABI_FORMATS_MAX);
	struct luo_session *session = new_session("a");

	assert_int_equal(nr, 9);
	assert_int_equal(kho_sessions_readable_(theirs, 0), 0);
	put_in(session, directory(), 1);
	assert_int_equal(kho_sessions_readable_(theirs, nr), 0);
	assert_int_equal(kho_sessions_readable_(theirs, 0), -KHO_E_INCOMPATIBLE);
	said("files of kind \"dir-v2;names-v1\" are in sessions: the successor has no handler that "
	     "reads dir-v2");
	for (unsigned int i = 0; i < nr; i++)
		if (!strcmp(theirs[i].name, "file,names"))
			theirs[i].reads_min = theirs[i].reads_max = 3;
	assert_int_equal(kho_sessions_readable_(theirs, nr), -KHO_E_INCOMPATIBLE);
	said("names is version 1, the successor reads 3 to 3");
	assert_int_equal(luo_session_close_fd(session, 1), 0);
	assert_int_equal(kho_sessions_readable_(theirs, nr), 0);
}

/* ---- FLBs ---- */

static struct {
	unsigned int preserved, unpreserved, retrieved, finished;
	int fail;
} flb_calls;

static int flb_preserve(struct liveupdate_flb_op_args *args)
{
	if (flb_calls.fail)
		return flb_calls.fail;
	flb_calls.preserved++;
	args->data = 99;
	memcpy(args->state, "shared", 7);
	args->obj = &flb_calls;
	return 0;
}

static void flb_unpreserve(struct liveupdate_flb_op_args *args)
{
	flb_calls.unpreserved++;
}

static int flb_retrieve(struct liveupdate_flb_op_args *args)
{
	flb_calls.retrieved++;
	assert_int_equal(args->data, 99);
	assert_string_equal(args->state, "shared");
	args->obj = &calls;
	return flb_calls.fail;
}

static void flb_finish(struct liveupdate_flb_op_args *args)
{
	flb_calls.finished++;
	assert_string_equal(args->state, "shared");
}

static const struct liveupdate_flb_ops flb_ops = {.state_size = 16,
						  .preserve = flb_preserve,
						  .unpreserve = flb_unpreserve,
						  .retrieve = flb_retrieve,
						  .finish = flb_finish};
static struct liveupdate_flb flb = {.compatible = "dirs-shared-v1", .ops = &flb_ops};

static int set_up_flb(void **state)
{
	set_up_handler(state);
	memset(&flb_calls, 0, sizeof(flb_calls));
	return liveupdate_register_flb(&dir_handler, &flb);
}

static void shared_by_all_files_of_a_handler(void **state)
{
	struct luo_session *a = new_session("a"), *b = new_session("b");
	void *obj;

	assert_int_equal(liveupdate_flb_get_outgoing(&flb, &obj), -ENOENT);
	put_in(a, event(), 9); /* another handler's */
	assert_int_equal(flb_calls.preserved, 0);
	put_in(a, directory(), 1);
	put_in(b, directory(), 1);
	put_in(b, directory(), 2);
	assert_int_equal(flb_calls.preserved, 1);
	assert_int_equal(decode().flb_files, 3);
	assert_int_equal(liveupdate_flb_get_outgoing(&flb, &obj), 0);
	assert_ptr_equal(obj, &flb_calls);
	assert_int_equal(liveupdate_flb_get_incoming(&flb, &obj), -ENOENT);
	said("it did not come in");
	no_leak();
	arena_crash();
	assert_int_equal(liveupdate_flb_get_incoming(&flb, &obj), 0);
	assert_ptr_equal(obj, &calls);
	assert_int_equal(liveupdate_flb_get_outgoing(&flb, &obj), 0);
	assert_int_equal(flb_calls.retrieved, 1);
	a = old_session("a");
	b = old_session("b");
	assert_int_equal(luo_session_finish(b), 2);
	assert_int_equal(flb_calls.finished, 0);
	put_in(a, directory(), 2);
	assert_int_equal(decode().flb_files, 2);
	assert_int_equal(luo_session_finish(a), 2);
	assert_int_equal(flb_calls.finished, 1);
	assert_int_equal(flb_calls.preserved, 1);
	put(a);
	put(b);
	assert_int_equal(decode().flbs, 0);
	no_leak();
}

static void flbs_that_fail_or_go(void **state)
{
	static struct liveupdate_flb other = {.compatible = "dirs-shared-v1", .ops = &flb_ops};
	struct luo_session *session = new_session("a");
	int fd = directory();

	assert_int_equal(liveupdate_register_flb(&dir_handler, &other), -EEXIST);
	other.compatible = "";
	assert_int_equal(liveupdate_register_flb(&dir_handler, &other), -EINVAL);
	flb_calls.fail = -ENOMSG;
	assert_int_equal(luo_session_preserve_fd(session, fd, 1), -ENOMSG);
	flb_calls.fail = 0;
	calls.fail = -EIO;
	assert_int_equal(luo_session_preserve_fd(session, fd, 1), -EIO);
	assert_int_equal(flb_calls.unpreserved, 1);
	calls.fail = 0;
	put_in(session, fd, 1);
	no_leak();
	assert_int_equal(luo_session_close_fd(session, 1), 0);
	assert_int_equal(flb_calls.unpreserved, 2);
	assert_int_equal(decode().flbs, 0);
	no_leak();
}

/* The record of the first of two FLBs cannot be taken out: then nothing of it is, until it can. */
static void an_flb_ends_in_a_full_arena(void **state)
{
	static struct liveupdate_flb second = {.compatible = "second-v1", .ops = &flb_ops};
	static struct page *pages[ARENA_MAX / KHO_PAGE_SIZE];
	struct luo_session *session;
	unsigned int nr = 0;

	assert_int_equal(liveupdate_register_flb(&dir_handler, &second), 0);
	session = new_session("a");
	put_in(session, event(), 8);
	put_in(session, event(), 9);
	put_in(session, directory(), 1);
	assert_int_equal(flb_calls.preserved, 2);
	kho_sessions_stale_(); /* as after a roll-back: no page lies ready */
	while ((pages[nr] = kho_alloc_pages(1)))
		nr++;
	assert_int_equal(luo_session_close_fd(session, 1), 0);
	assert_int_equal(decode().flbs, 1);
	assert_int_equal(flb_calls.unpreserved, 1);
	while (nr)
		kho_free_pages(pages[--nr], 1);
	assert_int_equal(luo_session_close_fd(session, 9), 0);
	assert_int_equal(decode().flbs, 0);
	assert_int_equal(flb_calls.unpreserved, 2);
	no_leak();
}

#define TEST_WITH_HANDLER(fn) cmocka_unit_test_setup_teardown(fn, set_up_handler, tear_down_handler)
#define TEST_WITH_FLB(fn) cmocka_unit_test_setup_teardown(fn, set_up_flb, tear_down_handler)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_WITH_HANDLER(callbacks_are_called),
		TEST_WITH_HANDLER(a_file_that_is_gone_is_not_unfrozen),
		TEST_WITH_HANDLER(a_callback_that_fails_leaves_nothing),
		TEST_WITH_HANDLER(without_its_handler),
		TEST_WITH_HANDLER(bad_handlers),
		TEST_WITH_HANDLER(a_successor_without_the_handler_is_refused),
		TEST_WITH_FLB(shared_by_all_files_of_a_handler),
		TEST_WITH_FLB(flbs_that_fail_or_go),
		TEST_WITH_FLB(an_flb_ends_in_a_full_arena),
	};

	return cmocka_run_group_tests_name("session handlers", tests, NULL, NULL);
}
