/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What the arena has of sessions, as an index of this program.
 *
 * A copy of all records is made and checked first; then the index is brought in line with it: what was
 * there before keeps its place, and what is known of it. The owner may be at work meanwhile: its count of
 * changes says whether the copy is of one moment.
 *
 * Recovery, by the writer: what a record leads to and what leads nowhere is settled by
 * kho_abi_session.dead; counts of files are taken anew; what is left of blocks without records is used.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fdtable.h"
#include "heap.h"
#include "life.h"
#include "preserve.h"
#include "sessions.h"
#include "subtree.h"

#define READ_TRIES 8

/* A file as it is in the arena. */
struct seen_file {
	struct kho_hnode number;
	kho_pa_t pa;
	__u64 token;
	kho_pa_t object;
	__u64 flbs;
	char compatible[KHO_ABI_LUO_HANDLER_LEN + 1];
};

struct seen_session {
	struct kho_hnode name;
	kho_pa_t pa;
	char text[KHO_ABI_LUO_SESSION_NAME_LEN + 1];
	kho_pa_t files_pa;
	size_t first_file;
	size_t nr_files;
};

struct seen_flb {
	kho_pa_t pa;
	kho_pa_t object;
	char name[KHO_ABI_LUO_FLB_NAME_LEN + 1];
};

/* All of it. */
struct copy {
	struct khoc_luo luo;
	__u64 changes;
	struct seen_session *sessions;
	struct seen_file *files;
	size_t nr_sessions, max_sessions, nr_files, max_files;
	struct seen_flb flbs[LUO_FLBS_MAX];
	unsigned int nr_flbs;
	__u64 flb_bits;
	struct kho_htable pages; /* of records; each belongs to one chain */
	bool writer;
};

/* ---- a copy of what there is ---------------------------------------------------- */

static int fault(int code, int structure, kho_pa_t at, __u64 value, const char *field)
{
	struct khoc_report report = {
		.fault = code,
		.structure = structure,
		.level = -1,
		.addr = at,
		.value = value,
		.field = field,
	};

	return kho_fail_report_(&report);
}

/* Can an object of @size bytes, on the heap, begin there? */
static bool in_heap(kho_pa_t pa, __u64 size)
{
	const __u64 end = kho_file_size_();

	return !(pa & 15) && pa >= kho_arena_.header->data_pa && pa < end && end - pa >= size;
}

/* Room for one more of @size bytes. */
static void *one_more(void *array, size_t nr, size_t *max, size_t size)
{
	void *more;

	if (nr < *max)
		return array;
	more = realloc(array, (*max ? 2 * *max : 64) * size);
	if (more)
		*max = *max ? 2 * *max : 64;
	else
		kho_fail_(-ENOMEM, "sessions: no memory for their index");
	return more;
}

/* What a record at @at leads to. @field of @structure has its pa. */
static int check_object(const struct copy *copy, int structure, kho_pa_t at, kho_pa_t pa,
			struct kho_abi_session_object *object)
{
	const __u64 size = kho_file_size_();
	unsigned char *state;

	if (!in_heap(pa, sizeof(*object)))
		return fault(KHO_E_RANGE, structure, at, pa, "data");
	memcpy(object, kho_object_at_(pa), sizeof(*object));
	if (object->magic !=
	    (structure == KHOC_S_LUO_FLB ? KHO_ABI_SESSION_FLB_MAGIC : KHO_ABI_SESSION_FILE_MAGIC))
		return fault(KHO_E_MAGIC, structure, at, pa, "data");
	if (object->state_len > KHO_ABI_SESSION_STATE_MAX ||
	    object->state_len > size - pa - sizeof(*object))
		return fault(KHO_E_RANGE, structure, at, object->state_len, "state_len");
	if (object->number >= KHO_ABI_SESSION_NUMBERS)
		return fault(KHO_E_RANGE, structure, at, object->number, "number");
	if (!copy->writer)
		return 0;
	state = kho_slab_state_of_(kho_object_at_(pa));
	if (!state || *state != KHO_ABI_OBJECT_LIVE ||
	    kho_usable_size(kho_object_at_(pa)) < sizeof(*object) + object->state_len)
		return fault(KHO_E_STATE, structure, at, pa, "data");
	return 0;
}

static int add_page(struct copy *copy, kho_pa_t pa)
{
	struct kho_hnode *node;
	int rc = kho_block_check_(pa, 0, KHO_ABI_DESC_STRUCT);

	if (rc)
		return rc;
	if (kho_hash_find_(&copy->pages, pa))
		return fault(KHO_E_CYCLE, KHOC_S_BLOCK, pa, pa, "next");
	node = calloc(1, sizeof(*node));
	if (node) {
		node->key = pa;
		rc = kho_hash_add_(&copy->pages, node);
		if (!rc)
			return 0;
		free(node);
	}
	return kho_fail_(-ENOMEM, "sessions: no memory to check them");
}

static void forget_pages(struct copy *copy)
{
	struct kho_hnode *node;
	__u64 from = 0;

	while ((node = kho_hash_any_(&copy->pages, &from))) {
		kho_hash_del_(&copy->pages, node);
		free(node);
	}
	kho_hash_free_(&copy->pages);
}

/* The page of a record of a chain. @page: that of the record before. */
static int check_page(struct copy *copy, kho_pa_t record, kho_pa_t *page)
{
	kho_pa_t pa = record & ~(__u64)(KHO_PAGE_SIZE - 1);

	if (pa == *page)
		return 0;
	*page = pa;
	return add_page(copy, pa);
}

static int copy_file(struct copy *copy, const struct khoc_luo_file *from)
{
	struct kho_abi_session_object object;
	struct seen_file *file;
	int rc = check_object(copy, KHOC_S_LUO_FILE, from->pa, from->data, &object);

	if (rc)
		return rc;
	file = one_more(copy->files, copy->nr_files, &copy->max_files, sizeof(*file));
	if (!file)
		return -ENOMEM;
	copy->files = file;
	file += copy->nr_files++;
	*file = (struct seen_file){.pa = from->pa,
				   .token = from->token,
				   .object = from->data,
				   .flbs = object.flbs,
				   .number.key = object.number};
	memcpy(file->compatible, from->compatible, sizeof(file->compatible));
	if (object.flbs & ~copy->flb_bits)
		return fault(KHO_E_RANGE, KHOC_S_LUO_FILE, from->pa, object.flbs, "flbs");
	return 0;
}

static int copy_files(struct copy *copy, const struct khoc_luo_session *from)
{
	struct khoc_luo_records walk;
	struct khoc_luo_file file;
	struct khoc_report report;
	kho_pa_t page = 0;
	int rc = khoc_luo_files(&walk, &copy->luo, from, &kho_arena_.tree, &report);

	/* The count of them follows theirs: who died between the two, or is at work, has it settled. */
	if (rc && report.structure != KHOC_S_LUO_SESSION)
		return kho_fail_report_(&report);
	while (!(rc = khoc_luo_file_next(&walk, &file, &report))) {
		rc = check_page(copy, file.pa, &page) ?: copy_file(copy, &file);
		if (rc)
			return rc;
	}
	return rc == -ENOENT ? 0 : kho_fail_report_(&report);
}

static int copy_session(struct copy *copy, const struct khoc_luo_session *from)
{
	struct seen_session *session =
		one_more(copy->sessions, copy->nr_sessions, &copy->max_sessions, sizeof(*session));
	int rc;

	if (!session)
		return -ENOMEM;
	copy->sessions = session;
	session += copy->nr_sessions++;
	*session = (struct seen_session){.pa = from->pa,
					 .files_pa = from->files_pa,
					 .first_file = copy->nr_files,
					 .name.key = kho_hash_text_(from->name)};
	memcpy(session->text, from->name, sizeof(session->text));
	rc = copy_files(copy, from);
	session->nr_files = copy->nr_files - session->first_file;
	return rc;
}

static int copy_sessions(struct copy *copy)
{
	struct khoc_luo_records walk;
	struct khoc_luo_session session;
	struct khoc_report report;
	kho_pa_t page = 0;
	int rc = khoc_luo_sessions(&walk, &copy->luo, &kho_arena_.tree, &report);

	if (rc)
		return kho_fail_report_(&report);
	while (!(rc = khoc_luo_session_next(&walk, &session, &report))) {
		rc = check_page(copy, session.pa, &page) ?: copy_session(copy, &session);
		if (rc)
			return rc;
	}
	return rc == -ENOENT ? 0 : kho_fail_report_(&report);
}

static int copy_flb(struct copy *copy, const struct khoc_luo_flb *from)
{
	struct kho_abi_session_object object;
	struct seen_flb *flb = &copy->flbs[copy->nr_flbs];
	int rc = check_object(copy, KHOC_S_LUO_FLB, from->pa, from->data, &object);

	if (rc)
		return rc;
	if (copy->nr_flbs == LUO_FLBS_MAX || object.number >= LUO_FLBS_MAX)
		return fault(KHO_E_RANGE, KHOC_S_LUO_FLB, from->pa, object.number, "number");
	if (copy->flb_bits >> object.number & 1)
		return fault(KHO_E_DUPLICATE, KHOC_S_LUO_FLB, from->pa, object.number, "number");
	copy->flb_bits |= 1ULL << object.number;
	copy->nr_flbs++;
	flb->pa = from->pa;
	flb->object = from->data;
	memcpy(flb->name, from->name, sizeof(flb->name));
	return 0;
}

static int copy_flbs(struct copy *copy)
{
	struct khoc_luo_flbs walk;
	struct khoc_luo_flb flb;
	struct khoc_report report;
	kho_pa_t page = 0;
	int rc = khoc_luo_flbs(&walk, &copy->luo, &kho_arena_.tree, &report);

	if (rc)
		return kho_fail_report_(&report);
	while (!(rc = khoc_luo_flb_next(&walk, &flb, &report))) {
		rc = check_page(copy, flb.pa, &page) ?: copy_flb(copy, &flb);
		if (rc)
			return rc;
	}
	return rc == -ENOENT ? 0 : kho_fail_report_(&report);
}

/* Names, tokens and numbers are there once. */
static int check_unique(const struct copy *copy)
{
	struct kho_htable names = {0}, numbers = {0};
	int rc = 0;

	for (size_t i = 0; !rc && i < copy->nr_files; i++) {
		struct kho_hnode *node = &copy->files[i].number;

		if (kho_hash_find_(&numbers, node->key))
			rc = fault(KHO_E_DUPLICATE, KHOC_S_LUO_FILE, copy->files[i].pa, node->key,
				   "number");
		else
			rc = kho_hash_add_(&numbers, node);
	}
	for (size_t i = 0; !rc && i < copy->nr_sessions; i++) {
		struct seen_session *session = &copy->sessions[i];

		if (kho_hash_find_text_(&names, session->name.key, session->text,
					offsetof(struct seen_session, text)))
			rc = fault(KHO_E_DUPLICATE, KHOC_S_LUO_SESSION, session->pa, 0, "name");
		else
			rc = kho_hash_add_(&names, &session->name);
	}
	kho_hash_free_(&names);
	kho_hash_free_(&numbers);
	return rc == -ENOMEM ? kho_fail_(rc, "sessions: no memory to check them") : rc;
}

static int copy_once(struct copy *copy)
{
	struct khoc_report report;

	copy->nr_sessions = copy->nr_files = copy->nr_flbs = 0;
	copy->flb_bits = 0;
	forget_pages(copy);
	copy->changes = __atomic_load_n(&kho_luo_.head->changes, __ATOMIC_ACQUIRE);
	if (khoc_luo_open(&copy->luo, &kho_arena_.mem, KHO_PAGE_SHIFT,
			  kho_virt_to_phys(kho_luo_.head), sizeof(struct kho_abi_luo), &report))
		return kho_fail_report_(&report);
	return copy_flbs(copy) ?: copy_sessions(copy) ?: check_unique(copy);
}

/* Was somebody at work on it? Both loads of the count of changes are of a time outside of what was read. */
static bool disturbed(const struct copy *copy)
{
	/* What was read stays before the load: a fence that -fsanitize=thread knows. */
	__atomic_fetch_add(&(__u64){0}, 0, __ATOMIC_ACQ_REL);
	return copy->changes & 1 ||
	       copy->changes != __atomic_load_n(&kho_luo_.head->changes, __ATOMIC_ACQUIRE);
}

static int copy_all(struct copy *copy)
{
	int rc, tries = 0;

	do {
		rc = copy_once(copy);
	} while (!copy->writer && (rc != -ENOMEM) && disturbed(copy) && !usleep(100) &&
		 ++tries < READ_TRIES);
	if (!rc && !copy->writer && disturbed(copy))
		rc = kho_fail_(-EAGAIN, "sessions: the predecessor changes them all the time: once "
					"more, or after kho_ready()");
	return rc;
}

/* ---- the index follows ------------------------------------------------------------ */

/* Blocks of @store, in order, as its records name them; then those without records. */
static struct rec_block *block_for(struct rec_store *store, kho_pa_t record)
{
	kho_pa_t pa = record & ~(__u64)(KHO_PAGE_SIZE - 1);

	return store->last && store->last->pa == pa ? store->last : kho_rec_block_add_(store, pa);
}

/* Somebody may be at work on them, while we only read: then what is found is forgotten. */
static int add_empty_blocks(struct copy *copy, struct rec_store *store, kho_pa_t head)
{
	kho_pa_t pa = head;
	int rc;

	if (store->last)
		pa = ((struct kho_abi_block *)(kho_arena_.base + store->last->pa))->next;
	for (unsigned int left = KHO_ABI_BLOCKS_MAX; pa && left; left--) {
		rc = add_page(copy, pa);
		if (rc)
			return rc;
		if (!kho_rec_block_add_(store, pa))
			return kho_fail_(-ENOMEM, "sessions: no memory for their index");
		pa = ((struct kho_abi_block *)(kho_arena_.base + pa))->next;
	}
	return 0;
}

static struct luo_file *take_file(struct luo_session *session, struct kho_htable *old,
				  const struct seen_file *seen)
{
	struct luo_file *file = (struct luo_file *)kho_hash_find_(old, seen->token);

	if (file && file->number.key == seen->number.key) {
		kho_hash_del_(old, &file->token);
	} else {
		file = calloc(1, sizeof(*file));
		if (!file)
			return NULL;
		file->fd = -1;
		file->token.key = seen->token;
		file->number.key = seen->number.key;
		file->kind = kho_kind_get_(seen->compatible);
		if (!file->kind) {
			free(file);
			return NULL;
		}
	}
	file->object = seen->object;
	file->flbs = seen->flbs;
	if (!kho_luo_file_add_(session, file))
		return file;
	kho_luo_file_free_(file);
	return NULL;
}

/* Out of the tables of all, not of the session's, which @old is by now. */
static void set_aside(struct luo_session *session, struct kho_htable *old)
{
	for (unsigned int i = 0; i < session->nr_order; i++) {
		struct luo_file *file = session->order[i];

		if (file)
			kho_hash_del_(&kho_luo_.numbers, &file->number);
	}
	session->nr_order = 0;
	*old = session->tokens;
	session->tokens = (struct kho_htable){0};
	kho_rec_forget_(&session->files);
}

static void drop_old(struct kho_htable *old)
{
	struct kho_hnode *node;
	__u64 from = 0;

	while ((node = kho_hash_any_(old, &from))) {
		kho_hash_del_(old, node);
		kho_luo_file_free_((struct luo_file *)node);
	}
	kho_hash_free_(old);
}

static int index_files(struct luo_session *session, struct copy *copy,
		       const struct seen_session *seen, struct kho_htable *old)
{
	for (size_t i = 0; i < seen->nr_files; i++) {
		const struct seen_file *record = &copy->files[seen->first_file + i];
		struct luo_file *file;
		struct rec_block *block;

		if (kho_luo_find_file_(session, record->token))
			return fault(KHO_E_DUPLICATE, KHOC_S_LUO_FILE, record->pa, record->token,
				     "token");
		file = take_file(session, old, record);
		block = file ? block_for(&session->files, record->pa) : NULL;
		if (!block)
			return kho_fail_(-ENOMEM, "sessions: no memory for their index");
		kho_rec_adopt_(&session->files, block, &file->ref);
		kho_flbs_count_(file->flbs);
		if (file->number.key >= kho_luo_.next_number)
			kho_luo_.next_number = file->number.key + 1;
	}
	return add_empty_blocks(copy, &session->files, seen->files_pa);
}

static int index_session(struct copy *copy, const struct seen_session *seen)
{
	struct luo_session *session = kho_luo_find_session_(seen->text);
	struct kho_htable old = {0};
	struct rec_block *block;
	int rc;

	session = session ?: kho_luo_new_session_(seen->text);
	block = session ? block_for(&kho_luo_.sessions, seen->pa) : NULL;
	if (!block)
		return kho_fail_(-ENOMEM, "sessions: no memory for their index");
	kho_rec_adopt_(&kho_luo_.sessions, block, &session->ref);
	session->seen = true;
	set_aside(session, &old);
	rc = index_files(session, copy, seen, &old);
	drop_old(&old);
	return rc;
}

static int index_flbs(const struct copy *copy)
{
	struct flb_record was[LUO_FLBS_MAX];

	memcpy(was, kho_luo_.flb, sizeof(was));
	memset(kho_luo_.flb, 0, sizeof(kho_luo_.flb));
	for (unsigned int i = 0; i < copy->nr_flbs; i++) {
		const struct seen_flb *seen = &copy->flbs[i];
		unsigned int bit =
			(unsigned int)kho_object_at_(seen->object)->number % LUO_FLBS_MAX;
		struct flb_record *flb = &kho_luo_.flb[bit];
		struct rec_block *block = block_for(&kho_luo_.flbs, seen->pa);

		if (!block)
			return kho_fail_(-ENOMEM, "sessions: no memory for their index");
		if (was[bit].there && !strcmp(was[bit].name, seen->name))
			*flb = was[bit];
		flb->there = true;
		flb->files = 0;
		flb->object = seen->object;
		memcpy(flb->name, seen->name, sizeof(flb->name));
		flb->flb = kho_handler_flb_(flb->name);
		kho_rec_adopt_(&kho_luo_.flbs, block, &flb->ref);
	}
	return 0;
}

static int index_all(struct copy *copy)
{
	int rc;

	kho_rec_forget_(&kho_luo_.sessions);
	kho_rec_forget_(&kho_luo_.flbs);
	for (struct luo_session *s = kho_luo_.list; s; s = s->next)
		s->seen = false;
	rc = index_flbs(copy);
	for (size_t i = 0; !rc && i < copy->nr_sessions; i++)
		rc = index_session(copy, &copy->sessions[i]);
	if (!rc)
		rc = add_empty_blocks(copy, &kho_luo_.sessions, copy->luo.sessions_pa);
	if (rc)
		return rc;
	for (struct luo_session *s = kho_luo_.list, *next; s; s = next) {
		next = s->next;
		if (!s->seen)
			kho_luo_session_forget_(s);
	}
	return 0;
}

/* ---- recovery ------------------------------------------------------------------- */

static bool reached(kho_pa_t object)
{
	for (struct luo_session *s = kho_luo_.list; s; s = s->next)
		for (unsigned int i = 0; i < s->nr_order; i++)
			if (s->order[i] && s->order[i]->object == object)
				return true;
	for (unsigned int i = 0; i < LUO_FLBS_MAX; i++)
		if (kho_luo_.flb[i].there && kho_luo_.flb[i].object == object)
			return true;
	return false;
}

/* An object that is dead, and nothing else, is freed by the word that names it. */
static void settle_dead(void)
{
	__u64 *dead = &kho_luo_.head->dead;
	unsigned char *state;

	if (!*dead)
		return;
	state = in_heap(*dead, 1) ? kho_slab_state_of_(kho_phys_to_virt(*dead)) : NULL;
	if (!state || *state != KHO_ABI_OBJECT_LIVE || reached(*dead) ||
	    kho_publish_tagged(dead, 0, NULL, kho_phys_to_virt(*dead)))
		__atomic_store_n(dead, 0, __ATOMIC_RELEASE);
}

static void settle_counts(void)
{
	for (struct luo_session *s = kho_luo_.list; s; s = s->next) {
		struct kho_abi_luo_session *record = kho_rec_at_(&s->ref, sizeof(*record));

		if (record->count != s->tokens.nr)
			__atomic_store_n(&record->count, s->tokens.nr, __ATOMIC_RELAXED);
	}
}

struct orphans {
	__u64 *tokens;
	size_t nr, max;
};

static int find_orphan(void *ctx, __u64 token, int fd)
{
	struct orphans *orphans = ctx;
	__u64 *more;

	if (!kho_is_session_token_(token) ||
	    kho_hash_find_(&kho_luo_.numbers, token - KHO_ABI_SESSION_TOKEN))
		return 0;
	more = one_more(orphans->tokens, orphans->nr, &orphans->max, sizeof(*more));
	if (!more)
		return -ENOMEM;
	orphans->tokens = more;
	more[orphans->nr++] = token;
	return 0;
}

/* Their files were on their way into a session, or out of it: nobody will ask for them. */
static void close_orphans(void)
{
	struct orphans orphans = {0};

	kho_fdtable_each_(find_orphan, &orphans);
	while (orphans.nr)
		kho_fd_close(orphans.tokens[--orphans.nr]);
	free(orphans.tokens);
}

static void recover(void)
{
	if (kho_luo_.head) {
		kho_luo_.changes =
			(__atomic_load_n(&kho_luo_.head->changes, __ATOMIC_RELAXED) + 1) & ~1ULL;
		kho_luo_change_begin_();
		settle_dead();
		settle_counts();
		kho_flbs_settle_();
		kho_luo_change_end_();
	}
}

/* ---- loading ------------------------------------------------------------------------ */

/* Where all sessions are. Return: 0, also if there are none yet; a fault. */
static int find_head(bool writer)
{
	struct kho_root_info root;
	unsigned char *state;
	kho_pa_t pa;

	kho_luo_.head = NULL;
	if (!kho_root_look_(KHO_ABI_SESSION_ROOT, false, 0, &root) || !*root.slot)
		return 0;
	if (strcmp(root.type, KHO_ABI_SESSION_TYPE) || root.version != KHO_ABI_SESSION_VERSION)
		return kho_fail_(-KHO_E_VERSION,
				 "root \"" KHO_ABI_SESSION_ROOT "\": is a \"%s\", version %u",
				 root.type, root.version);
	pa = kho_virt_to_phys(__atomic_load_n(root.slot, __ATOMIC_ACQUIRE));
	if (!in_heap(pa, sizeof(struct kho_abi_session)))
		return fault(KHO_E_RANGE, KHOC_S_LUO, pa, pa, "root");
	state = writer ? kho_slab_state_of_(kho_phys_to_virt(pa)) : NULL;
	if (writer && (!state || *state != KHO_ABI_OBJECT_LIVE ||
		       kho_usable_size(kho_phys_to_virt(pa)) < sizeof(struct kho_abi_session)))
		return fault(KHO_E_STATE, KHOC_S_LUO, pa, pa, "root");
	kho_luo_.head = kho_phys_to_virt(pa);
	kho_luo_.sessions = (struct rec_store){
		.size = sizeof(struct kho_abi_luo_session),
		.head = &kho_luo_.head->luo.sessions_pa,
		.first = kho_luo_.sessions.first,
		.last = kho_luo_.sessions.last,
		.room = kho_luo_.sessions.room,
	};
	kho_luo_.flbs = (struct rec_store){
		.size = sizeof(struct kho_abi_luo_flb),
		.head = &kho_luo_.head->luo.flbs_pa,
		.first_word = KHO_ABI_LUO_FLB_PAGES,
		.first = kho_luo_.flbs.first,
		.last = kho_luo_.flbs.last,
		.room = kho_luo_.flbs.room,
	};
	return 0;
}

static int load(bool writer)
{
	struct copy copy = {.writer = writer};
	bool begun = false;
	int rc = find_head(writer);

	if (!rc && kho_luo_.head) {
		rc = copy_all(&copy);
		begun = !rc;
		rc = rc ?: index_all(&copy);
	}
	if (!rc && kho_luo_.head)
		kho_luo_.changes = copy.changes;
	else if (!rc || begun || writer)
		kho_luo_forget_();
	free(copy.sessions);
	free(copy.files);
	forget_pages(&copy);
	return rc;
}

/* What a rehearsal read is what we own now, if nothing changed since. */
static bool unchanged(void)
{
	return kho_luo_.loaded && kho_luo_.head && !kho_luo_.head->dead &&
	       !(kho_luo_.changes & 1) &&
	       __atomic_load_n(&kho_luo_.head->changes, __ATOMIC_ACQUIRE) == kho_luo_.changes;
}

int kho_luo_load_(bool refresh)
{
	int rc = kho_reader_error_();
	bool writer = kho_arena_.writer;

	if (rc)
		return rc;
	if (kho_luo_.loaded && kho_luo_.as_writer == writer && (writer || !refresh))
		return 0;
	if (kho_luo_.loaded && !writer && unchanged())
		return 0;
	if (!(writer && unchanged()))
		rc = load(writer);
	if (rc)
		return rc;
	kho_luo_.loaded = true;
	kho_luo_.as_writer = writer;
	if (writer)
		recover();
	return 0;
}

/* ---- for the rest of the host --------------------------------------------------------- */

void kho_sessions_stale_(void)
{
	kho_luo_lock_();
	kho_rec_spare_forget_();
	kho_luo_.as_writer = false;
	kho_luo_unlock_();
}

void kho_sessions_drop_(void)
{
	kho_luo_lock_();
	kho_luo_forget_();
	kho_luo_.next_number = 0;
	kho_luo_unlock_();
}

void kho_sessions_settle_(void)
{
	kho_luo_lock_();
	if (kho_arena_.writer && !kho_luo_load_(false))
		close_orphans();
	kho_luo_unlock_();
}
