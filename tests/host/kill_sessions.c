/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Kills: sessions, made and finished, whose files come, are retrieved, and go; every other file is of a
 * kind with state and an FLB.
 *
 *	template	a memory file that the tester opened: its size says which one it is
 *	holder		the courier, in the model's memory: the next process gets what it held as kho run
 *			would hand it over, a duplicate of the template under the file's token
 *	claimed		by the process that is killed: preserved there, or retrieved
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <kho/core/luo.h>

#include "courier.h"
#include "fdtable.h"
#include "kill.h"
#include "life.h"
#include "sessions.h"

#define TEMPLATES 16

static int templates[TEMPLATES];
static struct luo_session *handles[THREADS][SESSIONS];
static __thread __u64 fresh_seq; /* for the handler, of the file that is being preserved */

static unsigned int template_of(int fd)
{
	struct stat st;

	CHECK(!fstat(fd, &st) && st.st_size && st.st_size <= TEMPLATES, "fd %d: no template", fd);
	return (unsigned int)st.st_size - 1;
}

static int open_template(__u64 i)
{
	int fd = fcntl(templates[i % TEMPLATES], F_DUPFD_CLOEXEC, 0);

	CHECK(fd >= 0, "dup: %d", errno);
	return fd;
}

/* ---- the holder ---- */

static bool confirmed[HELD_MAX]; /* by the sync that is under way */

static struct held *held_of(__u64 token)
{
	for (unsigned int i = 0; i < HELD_MAX; i++)
		if (the_log->held[i].token == token)
			return &the_log->held[i];
	CHECK(!token, "not held: %#llx", token);
	give_up(__LINE__, "holder", "it holds more than there can be");
}

static bool is_held(__u64 token)
{
	for (unsigned int i = 0; i < HELD_MAX; i++)
		if (the_log->held[i].token == token)
			return true;
	return false;
}

static int hold(const __u64 *tokens, const int *fds, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++) {
		struct held *held = held_of(is_held(tokens[i]) ? tokens[i] : 0);

		held->template = template_of(fds[i]);
		__atomic_store_n(&held->token, tokens[i], __ATOMIC_RELEASE);
		confirmed[held - the_log->held] = true;
	}
	return 0;
}

static int drop(const __u64 *tokens, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		if (is_held(tokens[i]))
			__atomic_store_n(&held_of(tokens[i])->token, 0, __ATOMIC_RELEASE);
	return 0;
}

static int sync_held(bool end)
{
	for (unsigned int i = 0; end && i < HELD_MAX; i++)
		if (!confirmed[i])
			__atomic_store_n(&the_log->held[i].token, 0, __ATOMIC_RELEASE);
	memset(confirmed, 0, sizeof(confirmed));
	return 0;
}

static const struct kho_courier holder = {
	.name = "the test", .hold = hold, .drop = drop, .sync = sync_held};

/* ---- a kind with state and an FLB ---- */

static bool has_state(__u64 seq)
{
	return (seq >> 8) % TEMPLATES % 2;
}

static bool is_odd(struct liveupdate_file_handler *handler, int fd)
{
	return template_of(fd) % 2;
}

static int write_state(struct liveupdate_file_op_args *args)
{
	__u64 *state = args->state;

	args->serialized_data = fresh_seq;
	state[0] = state[1] = ~fresh_seq;
	return 0;
}

static int flb_make(struct liveupdate_flb_op_args *args)
{
	args->data = 77;
	return 0;
}

static int flb_retrieve(struct liveupdate_flb_op_args *args)
{
	return args->data == 77 ? 0 : -EINVAL;
}

static const struct liveupdate_file_ops odd_ops = {
	.state_size = 16, .can_preserve = is_odd, .preserve = write_state};
static struct liveupdate_file_handler odd_handler = {.compatible = "odd-v1", .ops = &odd_ops};
static const struct liveupdate_flb_ops flb_ops = {
	.preserve = flb_make, .retrieve = flb_retrieve, .state_size = 8};
static struct liveupdate_flb flb = {.compatible = "odds", .ops = &flb_ops};

/* ---- the writer's ---- */

static void make(unsigned int t, unsigned int s)
{
	struct flight *f = &the_log->flight[t];
	char name[16];
	int rc;

	name_of(name, "session", t, s);
	f->kind = SESSION_MAKE;
	f->index = s * FILES;
	phase(f, 1);
	rc = luo_session_create(name, &handles[t][s]);
	CHECK(!rc || rc == -ENOMEM, "create: %d", rc);
	done(t, !rc);
}

static void put_in(unsigned int t, unsigned int s, unsigned int i)
{
	struct session_model *model = &the_log->session[t][s];
	struct flight *f = &the_log->flight[t];
	int fd, rc;

	f->kind = FILE_IN;
	f->index = s * FILES + i;
	f->seq = fresh_seq = next_seq(t);
	fd = open_template(f->seq >> 8);
	phase(f, 1);
	rc = luo_session_preserve_fd(handles[t][s], fd, i);
	CHECK(!rc || rc == -ENOMEM, "preserve: %d", rc);
	CHECK(rc || luo_session_fd_held(handles[t][s], i) == 1, "it is not held");
	done(t, !rc);
	model->claimed[i] = !rc;
	if (rc)
		close(fd);
}

static void retrieve(unsigned int t, unsigned int s, unsigned int i)
{
	struct session_model *model = &the_log->session[t][s];
	int fd;

	model->claimed[i] = true;
	fd = luo_session_retrieve_fd(handles[t][s], i);
	CHECK(fd >= 0, "retrieve: %d", fd);
	CHECK(template_of(fd) == (model->seq[i] >> 8) % TEMPLATES, "another file's fd");
}

static void take_out(unsigned int t, unsigned int s, unsigned int i, bool close_it)
{
	struct flight *f = &the_log->flight[t];
	int rc, fd = -1;

	if (!close_it) {
		retrieve(t, s, i);
		fd = luo_session_retrieve_fd(handles[t][s], i);
	}
	f->kind = FILE_OUT;
	f->index = s * FILES + i;
	phase(f, 1);
	rc = close_it ? luo_session_close_fd(handles[t][s], i)
		      : luo_session_unpreserve_fd(handles[t][s], i);
	CHECK(!rc || rc == -ENOMEM, "out: %d", rc);
	done(t, !rc);
	if (!rc && !close_it)
		CHECK(!close(fd), "an fd that was taken out is closed");
}

/* The model has no files that the session has not; only those go that may. */
static void forget_gone(unsigned int t, unsigned int s, const struct luo_session *session, bool all)
{
	struct session_model *model = &the_log->session[t][s];

	for (unsigned int i = 0; i < FILES; i++) {
		if (!model->seq[i] || kho_luo_find_file_(session, i))
			continue;
		CHECK(all || !model->claimed[i], "a file in use is gone");
		model->seq[i] = 0;
	}
}

/* Of all files, or of those that are not claimed. */
static void finish(unsigned int t, unsigned int s, bool all)
{
	struct session_model *model = &the_log->session[t][s];
	struct luo_session *session = handles[t][s];
	struct flight *f = &the_log->flight[t];
	int fds[FILES], unwanted = 0, rc;

	for (unsigned int i = 0; i < FILES; i++) {
		fds[i] = -1;
		if (model->seq[i] && model->claimed[i])
			fds[i] = luo_session_retrieve_fd(session, i);
		unwanted += model->seq[i] && !model->claimed[i];
	}
	f->kind = all ? SESSION_FINISH : FILES_RELEASE;
	f->index = s * FILES;
	phase(f, 1);
	rc = all ? luo_session_finish(session) : luo_session_release_unclaimed(session);
	CHECK(rc == unwanted || rc == -ENOMEM, "finish: %d, not %d", rc, unwanted);
	if (rc < 0) {
		forget_gone(t, s, session, all);
	} else if (all) {
		luo_session_put(session);
		handles[t][s] = NULL;
	}
	done(t, rc >= 0);
	for (unsigned int i = 0; all && i < FILES; i++)
		if (fds[i] >= 0 && !model->seq[i])
			CHECK(!close(fds[i]), "an fd that was claimed is closed");
}

static void change_file(unsigned int t, unsigned int s, unsigned int i, uint64_t r)
{
	const struct session_model *model = &the_log->session[t][s];
	/* A while up, a while down: more than a block, or nothing. */
	bool down = the_log->next_seq[t] >> 8 & 1;

	if (!model->seq[i]) {
		if (!down || !(r & 3))
			put_in(t, s, i);
	} else if (down || !(r & 3)) {
		take_out(t, s, i, r & 4);
	} else if (r & 8) {
		retrieve(t, s, i);
	}
}

static void change_session(unsigned int t, uint64_t r)
{
	unsigned int s = (unsigned int)(r % SESSIONS), i = (unsigned int)(r >> 8) % FILES;
	void *obj;

	if (!the_log->session[t][s].there) {
		make(t, s);
	} else if ((r >> 20) % 512 == 0) {
		finish(t, s, true);
	} else if ((r >> 20) % 512 == 1) {
		finish(t, s, false);
	} else if ((r >> 20) % 512 == 2) {
		int rc = liveupdate_flb_get_outgoing(&flb, &obj);

		CHECK(!rc || rc == -ENOENT, "FLB: %d", rc);
	} else {
		change_file(t, s, i, r >> 32);
	}
}

/* ---- the model ---- */

/* Twice is once: a kill may come in the middle of it. */
static void apply_session(unsigned int t, const struct flight *f)
{
	struct session_model *model = &the_log->session[t][f->index / FILES];
	unsigned int i = f->index % FILES;

	switch (f->kind) {
	case SESSION_MAKE:
		model->there = true;
		break;
	case FILE_IN:
		model->seq[i] = f->seq;
		break;
	case FILE_OUT:
		model->seq[i] = 0;
		break;
	default:
		for (i = 0; i < FILES; i++)
			if (f->kind == SESSION_FINISH || !model->claimed[i])
				model->seq[i] = 0;
		if (f->kind == SESSION_FINISH)
			model->there = false;
	}
}

static struct luo_session *session_of(unsigned int t, unsigned int s)
{
	char name[16];

	name_of(name, "session", t, s);
	return kho_luo_find_session_(name);
}

/* Files go one by one, then the session. */
static bool ended(unsigned int t, unsigned int s, bool all)
{
	struct luo_session *session = session_of(t, s);
	__u64 before = 0, after = 0;

	if (!session) {
		CHECK(all, "the session is gone");
		return true;
	}
	for (unsigned int i = 0; i < FILES; i++)
		before += the_log->session[t][s].seq[i] != 0;
	forget_gone(t, s, session, all);
	for (unsigned int i = 0; i < FILES; i++)
		after += the_log->session[t][s].seq[i] != 0;
	the_log->partial_sessions += after && after < before;
	return false;
}

static bool session_happened(unsigned int t, const struct flight *f)
{
	unsigned int s = f->index / FILES;
	const struct luo_session *session = session_of(t, s);

	switch (f->kind) {
	case SESSION_MAKE:
		return session;
	case FILE_IN:
	case FILE_OUT:
		CHECK(session, "the session is gone");
		return !kho_luo_find_file_(session, f->index % FILES) == (f->kind == FILE_OUT);
	default:
		return ended(t, s, f->kind == SESSION_FINISH);
	}
}

/* ---- what the next process finds ---- */

#define SOUND(call) CHECK(!(call), "fault %u at %#llx", report.fault, report.addr)

static __u64 work[4096];

/* Blocks of a chain, those without records, too. */
static __u64 pages_of(kho_pa_t pa)
{
	__u64 nr = 0;

	for (; pa; pa = ((struct kho_abi_block *)kho_phys_to_virt(pa))->next)
		nr++;
	return nr;
}

static void check_file(const struct session_model *model, const struct khoc_luo_file *file)
{
	const struct kho_abi_session_object *object = kho_phys_to_virt(file->data);
	__u64 seq = file->token < FILES ? model->seq[file->token] : 0;
	const __u64 *state = (const __u64 *)object->state;
	int fd = kho_fd_get(KHO_ABI_SESSION_TOKEN + object->number);

	CHECK(seq, "token %#llx: nobody put it in, or it was taken out", file->token);
	CHECK(*kho_slab_state_of_(object) == KHO_ABI_OBJECT_LIVE, "its object is not live");
	CHECK(fd >= 0 && template_of(fd) == (seq >> 8) % TEMPLATES, "another file's fd: %d", fd);
	CHECK(!strcmp(file->compatible, has_state(seq) ? "odd-v1" : KHO_ABI_SESSION_MEMORY),
	      "kind %s", file->compatible);
	CHECK(object->data == (has_state(seq) ? seq : 0), "data of %#llx", seq);
	CHECK(!has_state(seq) || (state[0] == ~seq && state[1] == ~seq), "state of %#llx", seq);
}

/* Everything that core/luo.c finds is what the model has. Return: files. */
static __u64 check_found(const struct khoc_luo *luo, const struct khoc_luo_session *found,
			 struct sums *sums)
{
	struct khoc_luo_records walk;
	struct khoc_report report;
	struct khoc_luo_file file;
	unsigned int t, s;

	CHECK(sscanf(found->name, "session%u-%u", &t, &s) == 2 && t < THREADS && s < SESSIONS,
	      "session %s", found->name);
	CHECK(the_log->session[t][s].there, "session %s: nobody made it", found->name);
	SOUND(khoc_luo_files(&walk, luo, found, &kho_arena_.tree, &report));
	SOUND(khoc_luo_unique_tokens(luo, found, work, sizeof(work) / 8, &report));
	while (!khoc_luo_file_next(&walk, &file, &report))
		check_file(&the_log->session[t][s], &file);
	sums->struct_pages += pages_of(found->files_pa);
	return walk.nr;
}

static void check_flb(const struct khoc_luo *luo, __u64 odd, struct sums *sums)
{
	struct khoc_luo_flbs walk;
	struct khoc_report report;
	struct khoc_luo_flb one;
	__u64 nr = 0;

	SOUND(khoc_luo_flbs(&walk, luo, &kho_arena_.tree, &report));
	while (!khoc_luo_flb_next(&walk, &one, &report)) {
		CHECK(one.count == odd, "FLB: %llu files, not %llu", one.count, odd);
		nr++;
	}
	CHECK(nr == (odd != 0), "%llu FLBs for %llu files", nr, odd);
	sums->items += nr;
	sums->struct_pages += luo->flbs_pa != 0;
}

static void check_all_sessions(struct sums *sums)
{
	__u64 sessions = 0, files = 0, odd = 0, found_files = 0, nr_held = 0;
	struct khoc_luo_session found;
	struct khoc_luo_records walk;
	struct khoc_report report;
	struct khoc_luo luo;

	for (unsigned int i = 0; i < THREADS * SESSIONS; i++) {
		const struct session_model *model = &the_log->session[i / SESSIONS][i % SESSIONS];

		sessions += model->there;
		for (unsigned int j = 0; j < FILES; j++) {
			files += model->seq[j] != 0;
			odd += model->seq[j] && has_state(model->seq[j]);
		}
	}
	for (unsigned int i = 0; i < HELD_MAX; i++)
		nr_held += the_log->held[i].token != 0;
	CHECK(kho_fdtable_count_() == files, "%u fds, not %llu", kho_fdtable_count_(), files);
	CHECK(nr_held == files, "%llu fds are held, not %llu", nr_held, files);
	if (!kho_luo_.head) {
		CHECK(!sessions, "all sessions are gone");
		return;
	}
	CHECK(!kho_luo_.head->dead, "an object is still to be freed");
	SOUND(khoc_luo_open(&luo, &kho_arena_.mem, KHO_PAGE_SHIFT, kho_virt_to_phys(kho_luo_.head),
			    sizeof(struct kho_abi_luo), &report));
	SOUND(khoc_luo_sessions(&walk, &luo, &kho_arena_.tree, &report));
	SOUND(khoc_luo_unique_sessions(&luo, work, sizeof(work) / 8, &report));
	while (!khoc_luo_session_next(&walk, &found, &report))
		found_files += check_found(&luo, &found, sums);
	CHECK(walk.nr == sessions, "%llu sessions, not %llu", walk.nr, sessions);
	CHECK(found_files == files, "%llu files, not %llu", found_files, files);
	sums->struct_pages += pages_of(luo.sessions_pa);
	sums->items += 1 + files;
	check_flb(&luo, odd, sums);
}

static void check_session(unsigned int t, struct sums *sums)
{
	char name[16];

	if (!t)
		check_all_sessions(sums);
	for (unsigned int s = 0; s < SESSIONS; s++) {
		struct session_model *model = &the_log->session[t][s];

		name_of(name, "session", t, s);
		memset(model->claimed, 0, sizeof(model->claimed));
		CHECK(luo_session_retrieve(name, &handles[t][s]) == (model->there ? 0 : -ENOENT),
		      "%s", name);
	}
}

void sessions_prepare(void)
{
	for (int i = 0; i < TEMPLATES; i++) {
		templates[i] = memfd_create("template", MFD_CLOEXEC);
		assert_true(templates[i] >= 0);
		assert_int_equal(ftruncate(templates[i], i + 1), 0);
	}
}

void sessions_open(void)
{
	CHECK(!liveupdate_register_file_handler(&odd_handler) &&
		      !liveupdate_register_flb(&odd_handler, &flb),
	      "handler");
	kho_life_.phase = KHO_PHASE_OWNER;
	for (unsigned int i = 0; i < HELD_MAX; i++)
		if (the_log->held[i].token)
			CHECK(!kho_fdtable_add_(the_log->held[i].token,
						open_template(the_log->held[i].template)),
			      "table");
	/* Whoever holds fds hears of them before what nobody needs is closed, or after. */
	kho_courier_attach_(&holder, HELD_MAX);
	if (getpid() & 1)
		CHECK(!kho_courier_flush_(), "flush");
	kho_sessions_settle_();
	CHECK(!kho_luo_load_(false), "load");
	while (kho_courier_due_())
		CHECK(!kho_courier_flush_(), "flush");
}

const struct kill_subject kill_sessions = {.share = 10,
					   .change = change_session,
					   .apply = apply_session,
					   .happened = session_happened,
					   .check = check_session};
