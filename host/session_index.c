/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The index of sessions: what this program knows of them, found by name, token, number and fd. Under one
 * lock, which handlers may take again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sessions.h"

struct luo_state kho_luo_;

static pthread_once_t lock_once = PTHREAD_ONCE_INIT;

/* Handlers ask for FLBs. */
static void make_lock(void)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&kho_luo_.lock, &attr);
	pthread_mutexattr_destroy(&attr);
}

void kho_luo_lock_(void)
{
	pthread_once(&lock_once, make_lock);
	pthread_mutex_lock(&kho_luo_.lock);
}

/* A fork child asks before it locks: it may have inherited a lock that nobody gives back. */
int kho_luo_enter_(void)
{
	int rc = kho_reader_error_();

	if (!rc)
		kho_luo_lock_();
	return rc;
}

void kho_luo_unlock_(void)
{
	pthread_mutex_unlock(&kho_luo_.lock);
}

void kho_luo_change_begin_(void)
{
	__atomic_store_n(&kho_luo_.head->changes, kho_luo_.changes + 1, __ATOMIC_RELEASE);
}

void kho_luo_change_end_(void)
{
	kho_luo_.changes += 2;
	__atomic_store_n(&kho_luo_.head->changes, kho_luo_.changes, __ATOMIC_RELEASE);
}

/* ---- the index ------------------------------------------------------------- */

struct luo_session *kho_luo_find_session_(const char *name)
{
	return (struct luo_session *)kho_hash_find_text_(&kho_luo_.names, kho_hash_text_(name),
							 name, offsetof(struct luo_session, name));
}

struct luo_session *kho_luo_session_nth_(unsigned int nth)
{
	struct luo_session *session = kho_luo_.list;
	unsigned int nr = 0;

	/* A walk asks for the one behind the last it got. */
	if (kho_luo_.walked && kho_luo_.walked_nr <= nth) {
		session = kho_luo_.walked;
		nr = kho_luo_.walked_nr;
	}
	for (; session && nr < nth; nr++)
		session = session->next;
	kho_luo_.walked = session;
	kho_luo_.walked_nr = nr;
	return session;
}

struct luo_session *kho_luo_new_session_(const char *name)
{
	struct luo_session *session = calloc(1, sizeof(*session));

	if (!session)
		return NULL;
	strcpy(session->name, name);
	session->name_hash.key = kho_hash_text_(name);
	if (kho_hash_add_(&kho_luo_.names, &session->name_hash)) {
		free(session);
		return NULL;
	}
	session->files = (struct rec_store){
		.size = sizeof(struct kho_abi_luo_file),
		.owner = &session->ref,
		.owner_size = sizeof(struct kho_abi_luo_session),
		.head_off = offsetof(struct kho_abi_luo_session, files_pa),
	};
	session->alive = true;
	session->next = kho_luo_.list;
	if (session->next)
		session->next->prev = session;
	kho_luo_.list = session;
	kho_luo_.walked = NULL;
	return session;
}

struct luo_file *kho_luo_find_file_(const struct luo_session *session, __u64 token)
{
	return (struct luo_file *)kho_hash_find_(&session->tokens, token);
}

static int grow_order(struct luo_session *session)
{
	unsigned int max = session->max_order ? 2 * session->max_order : 16, nr = 0;
	struct luo_file **order;

	if (session->nr_order < session->max_order)
		return 0;
	if (session->tokens.nr < session->max_order / 2)
		max = session->max_order; /* many went: there is room between the rest */
	order = calloc(max, sizeof(struct luo_file *));
	if (!order)
		return -ENOMEM;
	for (unsigned int i = 0; i < session->nr_order; i++)
		if (session->order[i]) {
			session->order[i]->order_at = nr;
			order[nr++] = session->order[i];
		}
	free(session->order);
	session->order = order;
	session->max_order = max;
	session->nr_order = nr;
	return 0;
}

int kho_luo_file_add_(struct luo_session *session, struct luo_file *file)
{
	if (grow_order(session) || kho_hash_add_(&session->tokens, &file->token))
		return -ENOMEM;
	if (kho_hash_add_(&kho_luo_.numbers, &file->number)) {
		kho_hash_del_(&session->tokens, &file->token);
		return -ENOMEM;
	}
	file->session = session;
	file->order_at = session->nr_order;
	session->order[session->nr_order++] = file;
	return 0;
}

int kho_luo_set_fd_(struct luo_file *file, int fd)
{
	unsigned int nr = kho_luo_.nr_by_fd;
	struct luo_file **by_fd;

	if (file->fd >= 0 && (unsigned int)file->fd < nr && kho_luo_.by_fd[file->fd] == file)
		kho_luo_.by_fd[file->fd] = NULL;
	file->fd = fd;
	if (fd < 0)
		return 0;
	if ((unsigned int)fd >= nr) {
		unsigned int more = (unsigned int)fd + 64 + nr / 2;

		by_fd = realloc(kho_luo_.by_fd, more * sizeof(struct luo_file *));
		if (!by_fd) {
			file->fd = -1;
			return -ENOMEM;
		}
		memset(by_fd + nr, 0, (more - nr) * sizeof(struct luo_file *));
		kho_luo_.by_fd = by_fd;
		kho_luo_.nr_by_fd = more;
	}
	kho_luo_.by_fd[fd] = file;
	return 0;
}

void kho_luo_file_free_(struct luo_file *file)
{
	kho_luo_set_fd_(file, -1);
	kho_kind_put_(file->kind);
	free(file);
}

void kho_luo_file_forget_(struct luo_file *file)
{
	struct luo_session *session = file->session;

	kho_hash_del_(&session->tokens, &file->token);
	kho_hash_del_(&kho_luo_.numbers, &file->number);
	session->order[file->order_at] = NULL;
	kho_luo_file_free_(file);
}

static void forget_files(struct luo_session *session)
{
	for (unsigned int i = 0; i < session->nr_order; i++)
		if (session->order[i])
			kho_luo_file_forget_(session->order[i]);
	kho_rec_forget_(&session->files);
}

void kho_luo_session_forget_(struct luo_session *session)
{
	forget_files(session);
	kho_hash_del_(&kho_luo_.names, &session->name_hash);
	kho_luo_.walked = NULL;
	*(session->prev ? &session->prev->next : &kho_luo_.list) = session->next;
	if (session->next)
		session->next->prev = session->prev;
	kho_hash_free_(&session->tokens);
	free(session->order);
	session->order = NULL;
	session->nr_order = session->max_order = 0;
	session->alive = false;
	if (!session->open)
		free(session);
}

void kho_luo_forget_(void)
{
	while (kho_luo_.list)
		kho_luo_session_forget_(kho_luo_.list);
	kho_rec_forget_(&kho_luo_.sessions);
	kho_rec_forget_(&kho_luo_.flbs);
	kho_hash_free_(&kho_luo_.names);
	kho_hash_free_(&kho_luo_.numbers);
	free(kho_luo_.by_fd);
	kho_luo_.by_fd = NULL;
	kho_luo_.nr_by_fd = 0;
	memset(kho_luo_.flb, 0, sizeof(kho_luo_.flb));
	kho_luo_.head = NULL;
	kho_luo_.named = false;
	kho_luo_.loaded = kho_luo_.as_writer = false;
}
