/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Every instruction: sessions. After each a successor finds the files of before or of after in sound
 * chains, their objects live and no others, their pages preserved and no others. See step.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include <kho/core/luo.h>
#include <kho/session.h>

#include "sessions.h"
#include "step.h"

#define IN_A_BLOCK 63

static struct luo_session *session;

/* ---- a kind whose files have an FLB ---- */

static bool is_directory(struct liveupdate_file_handler *handler, int fd)
{
	struct stat st;

	return !fstat(fd, &st) && S_ISDIR(st.st_mode);
}

static int flb_ok(struct liveupdate_flb_op_args *args)
{
	return 0;
}

static const struct liveupdate_file_ops dir_ops = {.can_preserve = is_directory};
static struct liveupdate_file_handler dir_handler = {.compatible = "dir-v1", .ops = &dir_ops};
static const struct liveupdate_flb_ops flb_ops = {
	.preserve = flb_ok, .retrieve = flb_ok, .state_size = 8};
static struct liveupdate_flb flb = {.compatible = "dirs", .ops = &flb_ops};

/* ---- set-ups ---- */

static void preserve(__u64 token)
{
	if (luo_session_preserve_fd(session, eventfd(0, 0), token))
		_exit(7);
}

static struct luo_session *create(const char *name)
{
	struct luo_session *made;

	if (luo_session_create(name, &made))
		_exit(7);
	return made;
}

/* One session, @nr files with tokens from 0 on. The first use of everything takes more than others. */
static void setup_files(__u64 nr)
{
	session = create("first");
	for (__u64 token = 0; token < nr + !nr; token++)
		preserve(token);
	if (!nr && luo_session_close_fd(session, 0))
		_exit(7);
	info->nr = nr;
}

static void setup_empty(void)
{
	setup_files(0);
}

static void setup_three(void)
{
	setup_files(3);
}

static void setup_one_file(void)
{
	setup_files(1);
}

static void setup_full_block(void)
{
	setup_files(IN_A_BLOCK);
}

static void setup_two_blocks(void)
{
	setup_files(IN_A_BLOCK + 1);
}

/* Three sessions with a file each; the one in the middle is the session. */
static void setup_sessions(void)
{
	setup_files(1);
	session = create("second");
	preserve(0);
	session = create("third");
	preserve(0);
	luo_session_put(session);
	if (luo_session_finish(kho_luo_find_session_("first")))
		_exit(7); /* so that the third is where the first was */
	session = create("first");
	preserve(0);
	session = kho_luo_find_session_("second");
	info->nr = 3;
}

static void setup_directory(void)
{
	setup_files(1);
	if (luo_session_preserve_fd(session, open("/", O_DIRECTORY), 1))
		_exit(7);
	info->nr = 2;
}

/* As after a death between a new block and its first record. */
static void setup_empty_block(void)
{
	kho_pa_t pa;

	setup_files(0);
	pa = kho_arena_.mem.ops->alloc_page(NULL);
	if (kho_arena_.mem.ops->publish_page(
		    NULL, &((struct kho_abi_luo_session *)kho_rec_at_(&session->ref, 80))->files_pa,
		    pa, pa, 0))
		_exit(7);
	map_again();
	if (kho_arena_own_() || luo_session_retrieve("first", &session))
		_exit(7);
}

/* As after a death in the middle of a removal that did not come to be. */
static void setup_dead(void)
{
	setup_files(3);
	kho_luo_.head->dead = kho_luo_find_file_(session, 1)->object;
	kho_luo_.head->changes++;
	map_again();
}

/* And of one that did. */
static void setup_dead_indeed(void)
{
	struct luo_file *file;
	kho_pa_t dead;

	setup_files(3);
	file = kho_luo_find_file_(session, 1);
	dead = file->object;
	if (kho_rec_remove_(&session->files, &file->ref, NULL))
		_exit(7);
	kho_luo_.head->dead = dead;
	kho_luo_.head->changes++;
	map_again();
	info->nr = 2;
}

/* ---- operations ---- */

static void op_create(void)
{
	create("new");
}

static void op_preserve(void)
{
	preserve(100);
}

static void op_preserve_directory(void)
{
	if (luo_session_preserve_fd(session, open("/", O_DIRECTORY), 100))
		_exit(7);
}

static void op_close(__u64 token)
{
	if (luo_session_close_fd(session, token))
		_exit(7);
}

static void op_close_first(void)
{
	op_close(0);
}

static void op_close_last(void)
{
	op_close(info->nr - 1);
}

static void op_finish(void)
{
	if (luo_session_finish(session))
		_exit(7);
}

static void op_recover(void)
{
	if (kho_arena_own_())
		_exit(7);
	kho_sessions_settle_();
}

/* ---- what a successor finds ---- */

struct seen {
	__u64 sessions, files, flbs, pages, empty;
};

static void see_chain(kho_pa_t pa, struct seen *seen)
{
	for (; pa; pa = ((struct kho_abi_block *)kho_phys_to_virt(pa))->next) {
		seen->pages++;
		seen->empty += !((struct kho_abi_block *)kho_phys_to_virt(pa))->count;
	}
}

static void see_files(const struct khoc_luo *luo, const struct khoc_luo_session *from,
		      struct seen *seen)
{
	static __u64 work[4096];
	struct khoc_luo_records walk;
	struct khoc_luo_file file;
	struct khoc_report report;

	if (khoc_luo_files(&walk, luo, from, &kho_arena_.tree, &report) ||
	    khoc_luo_unique_tokens(luo, from, work, 4096, &report)) {
		kho_fail_report_(&report);
		fail_msg("%s", kho_error());
	}
	while (!khoc_luo_file_next(&walk, &file, &report)) {
		seen->files++;
		assert_int_equal(*kho_slab_state_of_(kho_phys_to_virt(file.data)),
				 KHO_ABI_OBJECT_LIVE);
	}
	see_chain(from->files_pa, seen);
}

/* Recovery is done: step.c has the sessions loaded. */
static struct seen see(const struct found *found)
{
	struct khoc_luo_session from;
	struct khoc_luo_records walk;
	struct khoc_luo_flbs flbs;
	struct khoc_luo_flb one;
	struct khoc_report report;
	struct seen seen = {0};
	struct khoc_luo luo;
	kho_pa_t pa;

	if (!kho_luo_.head)
		return seen;
	pa = kho_virt_to_phys(kho_luo_.head);
	assert_int_equal(khoc_luo_open(&luo, &kho_arena_.mem, KHO_PAGE_SHIFT, pa, 32, &report), 0);
	assert_int_equal(khoc_luo_sessions(&walk, &luo, &kho_arena_.tree, &report), 0);
	while (!khoc_luo_session_next(&walk, &from, &report)) {
		seen.sessions++;
		see_files(&luo, &from, &seen);
	}
	assert_int_equal(report.fault, 0);
	see_chain(luo.sessions_pa, &seen);
	assert_int_equal(khoc_luo_flbs(&flbs, &luo, &kho_arena_.tree, &report), 0);
	while (!khoc_luo_flb_next(&flbs, &one, &report)) {
		seen.flbs++;
		assert_true(one.count);
	}
	seen.pages += luo.flbs_pa != 0;
	assert_int_equal(found->struct_pages, seen.pages);
	assert_int_equal(found->session_objects, 1 + seen.files + seen.flbs);
	assert_int_equal(kho_luo_.head->dead, 0);
	return seen;
}

static int check_create(const struct found *found)
{
	return see(found).sessions > info->nr;
}

/* One more session than there were; the others keep their files. */
static int check_create_more(const struct found *found)
{
	struct seen seen = see(found);

	assert_true(seen.sessions == 1 || seen.sessions == 2);
	assert_int_equal(seen.files, info->nr);
	return seen.sessions == 2;
}

static int check_preserve(const struct found *found)
{
	struct seen seen = see(found);

	assert_int_equal(seen.sessions, 1);
	assert_true(seen.files == info->nr || seen.files == info->nr + 1);
	assert_true(seen.flbs <= 1 && seen.empty <= 1);
	return seen.files > info->nr;
}

static int check_close(const struct found *found)
{
	struct seen seen = see(found);

	assert_int_equal(seen.sessions, 1);
	assert_true(seen.files == info->nr || seen.files == info->nr - 1);
	assert_int_equal(seen.empty, 0);
	return seen.files < info->nr;
}

/* The files one by one, then the session. */
static int check_finish(const struct found *found)
{
	struct seen seen = see(found);

	assert_true(seen.files <= info->nr && seen.sessions <= 1);
	assert_true(seen.sessions || !seen.files);
	return !seen.sessions;
}

static int check_finish_one(const struct found *found)
{
	struct seen seen = see(found);

	assert_true(seen.files == 3 || seen.files == 2);
	assert_true(seen.sessions == 3 || (seen.sessions == 2 && seen.files == 2));
	return seen.sessions == 2;
}

static int check_files_stay(const struct found *found)
{
	assert_int_equal(see(found).files, info->nr);
	return 0;
}

static const struct step_case cases[] = {
	{.name = "session, first",
	 .setup = setup_nothing,
	 .op = op_create,
	 .check = check_create,
	 .slow = true},
	{.name = "session, another",
	 .setup = setup_three,
	 .op = op_create,
	 .check = check_create_more},
	{.name = "file, first", .setup = setup_empty, .op = op_preserve, .check = check_preserve},
	{.name = "file, another", .setup = setup_three, .op = op_preserve, .check = check_preserve},
	{.name = "file, new block",
	 .setup = setup_full_block,
	 .op = op_preserve,
	 .check = check_preserve},
	{.name = "file, with FLB",
	 .setup = setup_three,
	 .op = op_preserve_directory,
	 .check = check_preserve},
	{.name = "close, last", .setup = setup_three, .op = op_close_last, .check = check_close},
	{.name = "close, in the middle",
	 .setup = setup_three,
	 .op = op_close_first,
	 .check = check_close},
	{.name = "close, only",
	 .setup = setup_one_file,
	 .op = op_close_first,
	 .check = check_close},
	{.name = "close, of its block",
	 .setup = setup_two_blocks,
	 .op = op_close_last,
	 .check = check_close,
	 .slow = true},
	{.name = "close, first block",
	 .setup = setup_two_blocks,
	 .op = op_close_first,
	 .check = check_close,
	 .slow = true},
	{.name = "close, with FLB",
	 .setup = setup_directory,
	 .op = op_close_last,
	 .check = check_close},
	{.name = "finish", .setup = setup_three, .op = op_finish, .check = check_finish},
	{.name = "finish, an empty block",
	 .setup = setup_empty_block,
	 .op = op_finish,
	 .check = check_finish},
	{.name = "file, an empty block",
	 .setup = setup_empty_block,
	 .op = op_preserve,
	 .check = check_preserve},
	{.name = "finish, one of three",
	 .setup = setup_sessions,
	 .op = op_finish,
	 .check = check_finish_one},
	{.name = "recover, not removed",
	 .setup = setup_dead,
	 .op = op_recover,
	 .check = check_files_stay,
	 .constant = true},
	{.name = "recover, removed",
	 .setup = setup_dead_indeed,
	 .op = op_recover,
	 .check = check_files_stay,
	 .constant = true},
};

int main(void)
{
	if (liveupdate_register_file_handler(&dir_handler) ||
	    liveupdate_register_flb(&dir_handler, &flb))
		return 1;
	return step_main("step_session", cases, sizeof(cases) / sizeof(*cases));
}
