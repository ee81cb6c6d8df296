/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Sessions: the API of <kho/session.h>.
 *
 *	in	the fd into the table (whoever holds fds has it then), then the record
 *	out	the record, then the fd
 *
 * So a death in between leaves an fd that no record names: the next program closes it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "fdtable.h"
#include "life.h"
#include "sessions.h"
#include "subtree.h"

/* Is it in the arena? Checked and loaded. */
static int use(const struct luo_session *session, bool write)
{
	int rc = write ? kho_writer_error_() : 0;

	rc = rc ?: kho_luo_load_(false);
	if (rc)
		return rc;
	if (!session->alive)
		return kho_fail_(-ESTALE,
				 "session \"%s\" is finished, here or by whoever had the arena in "
				 "between: luo_session_put() it, and retrieve or create one",
				 session->name);
	return 0;
}

/* ---- sessions -------------------------------------------------------------------- */

/* The first session in an arena. Every step may be the last: what is there is found by the next try. */
static int make_head(void)
{
	struct kho_abi_session *head;
	void **slot;
	int rc = kho_part_use_(KHO_PART_BLOCK) ?: kho_part_use_(KHO_PART_SESSION);

	if (rc)
		return rc;
	if (!kho_luo_.head) {
		slot = kho_root_reserved_(KHO_ABI_SESSION_ROOT, KHO_ABI_SESSION_TYPE,
					  KHO_ABI_SESSION_VERSION);
		head = slot ? kho_calloc(1, sizeof(*head)) : NULL;
		if (!head)
			return -errno;
		memcpy(head->luo.compatible, KHO_ABI_LUO_COMPATIBLE,
		       sizeof(KHO_ABI_LUO_COMPATIBLE));
		rc = kho_publish(slot, head, NULL);
		if (rc) {
			kho_free(head);
			return rc;
		}
		kho_luo_.loaded = false;
		rc = kho_luo_load_(false);
	}
	if (!rc && kho_retrieve_subtree(KHO_ABI_LUO_NODE, NULL, NULL))
		rc = kho_add_subtree(KHO_ABI_LUO_NODE, kho_luo_.head, sizeof(struct kho_abi_luo));
	kho_luo_.named = !rc;
	return rc;
}

static int check_name(const char *name)
{
	size_t len = name ? strlen(name) : 0;

	if (!len)
		return kho_fail_(-EINVAL, "session: without a name");
	if (len > LUO_SESSION_NAME_MAX)
		return kho_fail_(-ENAMETOOLONG,
				 "session \"%.20s...\": its name has %zu bytes, at most %d are "
				 "possible",
				 name, len, LUO_SESSION_NAME_MAX);
	return 0;
}

static int full(int rc, const char *name)
{
	if (rc == -ENOSPC)
		return kho_fail_(rc, "session \"%s\": no more blocks of 4 KiB than %d", name,
				 KHO_ABI_BLOCKS_MAX);
	return rc == -ENOMEM ? kho_fail_(rc, "session \"%s\": the arena is full", name) : rc;
}

static int create(const char *name, struct luo_session **to)
{
	struct kho_abi_luo_session record = {.files_pa = 0};
	struct luo_session *session;
	int rc = kho_writer_error_() ?: check_name(name) ?: kho_luo_load_(false);

	if (!rc && kho_luo_find_session_(name))
		rc = kho_fail_(-EEXIST, "session \"%s\" exists: retrieve it, or finish it first",
			       name);
	if (!rc && !kho_luo_.named)
		rc = make_head();
	if (rc)
		return rc;
	session = kho_luo_new_session_(name);
	if (!session)
		return kho_fail_(-ENOMEM, "session \"%s\": no memory", name);
	memcpy(record.name, name, strlen(name));
	kho_luo_change_begin_();
	rc = kho_rec_insert_(&kho_luo_.sessions, &session->ref, &record, NULL);
	kho_luo_change_end_();
	if (rc) {
		kho_luo_session_forget_(session);
		return full(rc, name);
	}
	session->open = true;
	*to = session;
	return 0;
}

int luo_session_create(const char *name, struct luo_session **session)
{
	int rc = kho_luo_enter_();

	if (rc)
		return rc;
	rc = create(name, session);
	kho_luo_unlock_();
	return rc;
}

static int retrieve(const char *name, struct luo_session **to)
{
	struct luo_session *session;
	int rc = check_name(name) ?: kho_luo_load_(true);

	if (rc)
		return rc;
	session = kho_luo_find_session_(name);
	if (!session)
		return kho_fail_(-ENOENT, "session \"%s\" does not exist", name);
	if (session->open)
		return kho_fail_(-EALREADY,
				 "session \"%s\" is open in this program: use its handle, or "
				 "luo_session_put() that first",
				 name);
	session->open = true;
	*to = session;
	return 0;
}

int luo_session_retrieve(const char *name, struct luo_session **session)
{
	int rc = kho_luo_enter_();

	if (rc)
		return rc;
	rc = retrieve(name, session);
	kho_luo_unlock_();
	return rc;
}

int luo_session_next(unsigned int *pos, char *name)
{
	struct luo_session *session;
	int rc = kho_luo_enter_();

	if (rc)
		return rc;
	rc = kho_luo_load_(!*pos);
	session = rc ? NULL : kho_luo_session_nth_(*pos);
	if (session) {
		memcpy(name, session->name, KHO_ABI_LUO_SESSION_NAME_LEN);
		++*pos;
	}
	kho_luo_unlock_();
	return rc ?: session ? 0 : -ENOENT;
}

void luo_session_put(struct luo_session *session)
{
	if (!session)
		return;
	kho_luo_lock_();
	session->open = false;
	if (!session->alive)
		free(session);
	kho_luo_unlock_();
}

/* ---- files in ---------------------------------------------------------------------- */

static struct liveupdate_file_op_args args_of(const struct luo_file *file)
{
	struct kho_abi_session_object *object = kho_object_at_(file->object);

	return (struct liveupdate_file_op_args){
		.handler = file->kind->handler ? file->kind->handler->public : NULL,
		.token = file->token.key,
		.fd = file->fd >= 0 ? file->fd : kho_fd_get(kho_file_token_(file)),
		.retrieved = file->retrieved,
		.serialized_data = object->data,
		.state = object->state,
		.state_len = object->state_len,
		.private_data = file->private_data,
	};
}

/* A number that no file has, nor an fd that may still be on its way out. */
static __u64 new_number(void)
{
	do
		kho_luo_.next_number = (kho_luo_.next_number + 1) % KHO_ABI_SESSION_NUMBERS;
	while (kho_hash_find_(&kho_luo_.numbers, kho_luo_.next_number) ||
	       kho_fd_get(KHO_ABI_SESSION_TOKEN + kho_luo_.next_number) >= 0);
	return kho_luo_.next_number;
}

static int check_new(const struct luo_session *session, int fd, __u64 token)
{
	const struct luo_file *file = kho_luo_find_file_(session, token);

	if (fd < 0 || fcntl(fd, F_GETFD) < 0)
		return kho_fail_(-EBADF, "session \"%s\": fd %d is not open", session->name, fd);
	if (file)
		return kho_fail_(-EEXIST,
				 "session \"%s\": token %#llx names a file of kind \"%s\": "
				 "unpreserve or close that first",
				 session->name, (unsigned long long)token, file->kind->compatible);
	file = (unsigned int)fd < kho_luo_.nr_by_fd ? kho_luo_.by_fd[fd] : NULL;
	if (file)
		return kho_fail_(-EBUSY, "session \"%s\": fd %d is token %#llx of session \"%s\"",
				 session->name, fd, (unsigned long long)file->token.key,
				 file->session->name);
	return 0;
}

static int find_handler(const struct luo_session *session, int fd, struct handler **handler)
{
	*handler = kho_handler_for_fd_(fd);
	if (!*handler)
		return kho_fail_(-EOPNOTSUPP,
				 "session \"%s\": no handler takes a file like fd %d: register "
				 "one for its kind before kho_start()",
				 session->name, fd);
	return kho_handlers_may_use_((*handler)->public->compatible);
}

/* The file's object, reserved. */
static struct kho_abi_session_object *new_object(const struct liveupdate_file_ops *ops, __u64 flbs)
{
	struct kho_abi_session_object *object = kho_calloc(1, sizeof(*object) + ops->state_size);

	if (!object)
		return NULL;
	object->magic = KHO_ABI_SESSION_FILE_MAGIC;
	object->state_len = (__u32)ops->state_size;
	object->number = new_number();
	object->flbs = flbs;
	return object;
}

static int insert_record(struct luo_session *session, struct luo_file *file)
{
	struct kho_abi_luo_file record = {.data = file->object, .token = file->token.key};
	struct kho_abi_luo_session *stored = kho_rec_at_(&session->ref, sizeof(*stored));
	int rc;

	memcpy(record.compatible, file->kind->compatible, strlen(file->kind->compatible));
	rc = kho_rec_insert_(&session->files, &file->ref, &record, kho_object_at_(file->object));
	if (!rc)
		__atomic_store_n(&stored->count, session->tokens.nr, __ATOMIC_RELAXED);
	return full(rc, session->name);
}

/* The handler first; then the fd, then the record. */
static int enter(struct luo_session *session, struct luo_file *file, int fd)
{
	const struct liveupdate_file_ops *ops = file->kind->handler->public->ops;
	struct kho_abi_session_object *object = kho_object_at_(file->object);
	struct liveupdate_file_op_args args;
	int rc = kho_luo_set_fd_(file, fd);

	if (rc)
		return kho_fail_(rc, "session \"%s\": no memory", session->name);
	args = args_of(file);
	rc = ops->preserve ? ops->preserve(&args) : 0;
	if (rc)
		return rc;
	object->data = args.serialized_data;
	file->private_data = args.private_data;
	rc = kho_fd_preserve(kho_file_token_(file), fd);
	if (!rc) {
		rc = insert_record(session, file);
		if (rc)
			kho_fd_unpreserve(kho_file_token_(file));
	}
	if (rc && ops->unpreserve)
		ops->unpreserve(&args);
	return rc;
}

static struct luo_file *new_file(struct luo_session *session, struct handler *handler, __u64 token,
				 struct kho_abi_session_object *object)
{
	struct luo_file *file = calloc(1, sizeof(*file));

	if (!file)
		return NULL;
	file->fd = -1;
	file->token.key = token;
	file->number.key = object->number;
	file->object = kho_virt_to_phys(object);
	file->flbs = object->flbs;
	file->preserved = true;
	file->kind = kho_kind_get_(handler->public->compatible);
	if (file->kind && !kho_luo_file_add_(session, file))
		return file;
	if (file->kind)
		kho_kind_put_(file->kind);
	free(file);
	return NULL;
}

static int add_file(struct luo_session *session, struct handler *handler, int fd, __u64 token)
{
	struct kho_abi_session_object *object;
	struct luo_file *file;
	__u64 flbs;
	int rc = kho_flbs_take_(handler, &flbs);

	if (rc)
		return rc;
	object = new_object(handler->public->ops, flbs);
	file = object ? new_file(session, handler, token, object) : NULL;
	rc = file ? enter(session, file, fd) : -ENOMEM;
	if (!file && object)
		kho_fail_(rc, "session \"%s\": no memory", session->name);
	if (!rc)
		return 0;
	if (file)
		kho_luo_file_forget_(file);
	kho_free(object);
	kho_flbs_drop_(flbs);
	return rc;
}

static int preserve(struct luo_session *session, int fd, __u64 token)
{
	struct handler *handler;
	int rc = use(session, true) ?: check_new(session, fd, token) ?:
		 find_handler(session, fd, &handler);

	/* What comes in now has to find room for going out. */
	rc = rc ?: full(kho_rec_spare_(), session->name);
	if (rc)
		return rc;
	kho_luo_change_begin_();
	rc = add_file(session, handler, fd, token);
	kho_luo_change_end_();
	return rc;
}

int luo_session_preserve_fd(struct luo_session *session, int fd, __u64 token)
{
	int rc = kho_luo_enter_();

	if (rc)
		return rc;
	rc = preserve(session, fd, token);
	kho_luo_unlock_();
	return rc;
}

/* ---- files that came in --------------------------------------------------------------- */

/* Of a session that is in the arena. @write: it is to be changed. */
static int find(const struct luo_session *session, __u64 token, bool write, struct luo_file **file)
{
	int rc = use(session, write);

	if (rc)
		return rc;
	*file = kho_luo_find_file_(session, token);
	if (*file)
		return 0;
	return kho_fail_(-ENOENT, "session \"%s\": token %#llx names no file", session->name,
			 (unsigned long long)token);
}

static int check_retrieve(const struct luo_file *file, int fd)
{
	const char *name = file->session->name;
	unsigned long long token = file->token.key;
	struct handler *handler = file->kind->handler;
	char why[512];

	if (!handler) {
		kho_handler_for_(file->kind->compatible);
		snprintf(why, sizeof(why), "%s", kho_error());
		return kho_fail_(-KHO_E_INCOMPATIBLE, "session \"%s\", token %#llx: %s", name,
				 token, why);
	}
	if (fd < 0)
		return kho_fail_(-ENXIO,
				 "session \"%s\", token %#llx: its fd is lost: nobody held it when "
				 "the last program died: close the token, and have kho run or a "
				 "service manager hold fds",
				 name, token);
	if (!handler->public->ops->can_preserve(handler->public, fd))
		return kho_fail_(-KHO_E_TYPE,
				 "session \"%s\", token %#llx: fd %d, which came for it, is not of "
				 "kind \"%s\"",
				 name, token, fd, file->kind->compatible);
	return 0;
}

static int retrieve_file(struct luo_file *file)
{
	int fd = kho_fd_get(kho_file_token_(file)), rc;
	struct liveupdate_file_op_args args;

	rc = check_retrieve(file, fd);
	if (rc)
		return rc;
	args = args_of(file);
	args.fd = fd;
	if (args.handler->ops->retrieve)
		rc = args.handler->ops->retrieve(&args);
	rc = rc ?: kho_luo_set_fd_(file, fd);
	if (rc)
		return rc;
	file->private_data = args.private_data;
	file->retrieved = true;
	return fd;
}

int luo_session_retrieve_fd(struct luo_session *session, __u64 token)
{
	struct luo_file *file;
	int rc = kho_luo_enter_();

	if (rc)
		return rc;
	rc = find(session, token, false, &file);
	if (!rc)
		rc = file->fd >= 0 ? file->fd : retrieve_file(file);
	kho_luo_unlock_();
	return rc;
}

int luo_session_fd_held(struct luo_session *session, __u64 token)
{
	struct luo_file *file;
	int rc = kho_luo_enter_();

	if (rc)
		return rc;
	rc = find(session, token, false, &file);
	rc = rc ?: kho_fd_held(kho_file_token_(file));
	kho_luo_unlock_();
	return rc;
}

int luo_session_next_token(struct luo_session *session, unsigned int *pos, __u64 *token)
{
	int rc = kho_luo_enter_();

	if (rc)
		return rc;
	rc = use(session, false);
	while (!rc && *pos < session->nr_order && !session->order[*pos])
		++*pos;
	if (!rc && *pos < session->nr_order)
		*token = session->order[(*pos)++]->token.key;
	else
		rc = rc ?: -ENOENT;
	kho_luo_unlock_();
	return rc;
}

static bool unclaimed(const struct luo_file *file)
{
	return file && !file->retrieved && !file->preserved;
}

int luo_session_for_each_unclaimed(struct luo_session *session,
				   int (*fn)(void *ctx, __u64 token, int fd,
					     const char *compatible),
				   void *ctx)
{
	int rc = kho_luo_enter_();

	if (rc)
		return rc;
	rc = use(session, false);
	for (unsigned int i = 0; !rc && i < session->nr_order; i++) {
		struct luo_file *file = session->order[i];
		int fd = unclaimed(file) ? kho_fd_get(kho_file_token_(file)) : -1;

		if (unclaimed(file))
			rc = fn(ctx, file->token.key, fd < 0 ? -1 : fd, file->kind->compatible);
	}
	kho_luo_unlock_();
	return rc;
}

/* ---- files out --------------------------------------------------------------------------- */

static int remove_record(struct luo_file *file)
{
	struct luo_session *session = file->session;
	struct kho_abi_luo_session *stored;
	int rc = kho_rec_remove_(&session->files, &file->ref, kho_object_at_(file->object));

	if (rc)
		return full(rc, session->name);
	stored = kho_rec_at_(&session->ref, sizeof(*stored));
	__atomic_store_n(&stored->count, session->tokens.nr - 1, __ATOMIC_RELAXED);
	return 0;
}

/* Out of the session. @close: the fd goes, too. Return: 0, -ENOMEM: nothing changed. */
static int leave(struct luo_file *file, bool close_it)
{
	__u64 token = kho_file_token_(file), flbs = file->flbs;
	struct liveupdate_file_op_args args = args_of(file);
	const struct liveupdate_file_ops *ops = args.handler ? args.handler->ops : NULL;
	void (*last)(struct liveupdate_file_op_args *) = NULL;
	__u8 state[KHO_ABI_SESSION_STATE_MAX];
	int rc;

	/* The handler sees what the record led to when nobody else can any more. */
	memcpy(state, args.state, args.state_len);
	args.state = state;
	rc = remove_record(file);
	if (rc)
		return rc;
	if (ops)
		last = file->preserved ? ops->unpreserve : ops->finish;
	if (last)
		last(&args);
	kho_luo_file_forget_(file);
	if (close_it)
		kho_fd_close(token);
	else
		kho_fd_unpreserve(token);
	kho_flbs_drop_(flbs);
	return 0;
}

static int take_out(struct luo_session *session, __u64 token, bool close_it)
{
	struct luo_file *file;
	int rc = find(session, token, true, &file);

	if (rc)
		return rc;
	if (!close_it && file->fd < 0) {
		rc = retrieve_file(file); /* it is to be the caller's */
		if (rc < 0)
			return rc;
	}
	kho_luo_change_begin_();
	rc = leave(file, close_it);
	kho_luo_change_end_();
	return rc;
}

static int take_out_locked(struct luo_session *session, __u64 token, bool close_it)
{
	int rc = kho_luo_enter_();

	if (rc)
		return rc;
	rc = take_out(session, token, close_it);
	kho_luo_unlock_();
	return rc;
}

int luo_session_unpreserve_fd(struct luo_session *session, __u64 token)
{
	return take_out_locked(session, token, false);
}

int luo_session_close_fd(struct luo_session *session, __u64 token)
{
	return take_out_locked(session, token, true);
}

static int can_finish(const struct luo_session *session, bool all)
{
	for (unsigned int i = 0; i < session->nr_order; i++) {
		const struct luo_file *file = session->order[i];
		struct liveupdate_file_op_args args;

		if (!file || file->preserved || (!all && file->retrieved))
			continue;
		args = args_of(file);
		if (args.handler && args.handler->ops->can_finish &&
		    !args.handler->ops->can_finish(&args))
			return kho_fail_(-EBUSY,
					 "session \"%s\", token %#llx: handler \"%s\" is not done",
					 session->name, (unsigned long long)file->token.key,
					 args.handler->compatible);
	}
	return 0;
}

/* The last one first. @all: those that are in use, too. Return: how many nobody wanted, or negative. */
static int clear(struct luo_session *session, bool all)
{
	int rc = can_finish(session, all), nr = 0;

	for (unsigned int i = session->nr_order; !rc && i--;) {
		struct luo_file *file = session->order[i];
		bool unwanted = unclaimed(file);

		if (!file || (!all && !unwanted))
			continue;
		rc = leave(file, unwanted);
		nr += unwanted;
	}
	return rc ?: nr;
}

static int remove_session(struct luo_session *session)
{
	int rc = kho_rec_trim_(&session->files);

	rc = rc ?: kho_rec_remove_(&kho_luo_.sessions, &session->ref, NULL);

	if (rc)
		return full(rc, session->name);
	kho_luo_session_forget_(session);
	return 0;
}

static int finish(struct luo_session *session, bool all)
{
	int rc = use(session, true), nr;

	if (rc)
		return rc;
	kho_luo_change_begin_();
	nr = clear(session, all);
	if (nr >= 0 && all)
		rc = remove_session(session);
	kho_luo_change_end_();
	return rc ?: nr;
}

static int finish_locked(struct luo_session *session, bool all)
{
	int rc = kho_luo_enter_();

	if (rc)
		return rc;
	rc = use(session, true);
	kho_luo_unlock_();
	rc = rc ?: kho_life_retired_();
	if (rc)
		return rc;
	kho_luo_lock_();
	rc = finish(session, all);
	kho_luo_unlock_();
	return rc;
}

int luo_session_release_unclaimed(struct luo_session *session)
{
	return finish_locked(session, false);
}

int luo_session_finish(struct luo_session *session)
{
	return finish_locked(session, true);
}

/* ---- hand-over ------------------------------------------------------------------------------ */

static int freeze_file(struct luo_file *file)
{
	const struct liveupdate_file_handler *handler =
		file->kind->handler ? file->kind->handler->public : NULL;
	struct liveupdate_file_op_args args;
	int rc;

	if (!handler || (!handler->ops->freeze && !handler->ops->unfreeze))
		return 0;
	args = args_of(file);
	rc = handler->ops->freeze ? handler->ops->freeze(&args) : 0;
	if (rc)
		return rc;
	file->frozen = true;
	kho_object_at_(file->object)->data = args.serialized_data;
	return 0;
}

int kho_sessions_freeze_(void)
{
	int rc = 0;

	kho_luo_lock_();
	if (kho_luo_.as_writer && kho_luo_.head && kho_handlers_freeze_()) {
		for (struct luo_session *s = kho_luo_.list; !rc && s; s = s->next)
			for (unsigned int i = 0; !rc && i < s->nr_order; i++)
				rc = s->order[i] ? freeze_file(s->order[i]) : 0;
	}
	kho_luo_unlock_();
	return rc;
}

static void unfreeze_file(struct luo_file *file)
{
	struct liveupdate_file_op_args args;

	if (!file->frozen)
		return;
	file->frozen = false;
	args = args_of(file);
	if (args.handler && args.handler->ops->unfreeze)
		args.handler->ops->unfreeze(&args);
}

void kho_sessions_unfreeze_(void)
{
	struct luo_session *s = NULL;

	kho_luo_lock_();
	/* After a roll-back some may be gone: the successor closed them. */
	if (kho_handlers_freeze_() && !kho_luo_load_(false))
		s = kho_luo_.list;
	for (; s; s = s->next)
		for (unsigned int i = 0; i < s->nr_order; i++)
			if (s->order[i])
				unfreeze_file(s->order[i]);
	kho_luo_unlock_();
}
