/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Migrations: from the objects of one version to those of another, with every step safe against a
 * kill.
 *
 *	make	a journal; each new object is entered there in the step that makes it live.
 *		A root "kho,new.N" for the first of them
 *	swap	one edit of the root FDT: each root gets the cell and version of its new one, which
 *		gets its old cell and version and becomes "kho,old.N"; the journal is DONE
 *	finish	the journal's chunks go, but not what they name; old objects are released, by
 *		the hook that knows them, through "kho,old.N", and that root goes
 *
 * Whoever owns the arena next and finds an OPEN journal frees every object in it; it does not have
 * to know what they are. A DONE one is finished.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <kho/abi/migration.h>

#include "arena.h"
#include "life.h"
#include "migrate.h"
#include "subtree.h"

#define PENDING_MAX 16
#define NUMBERS 1000 /* of "kho,new.N": more than there are cells */
#define OBJECTS_MAX (sizeof(((struct kho_abi_journal *)0)->object) / sizeof(__u64))

/**
 * struct pending - a root with new objects that are not in force yet
 * @root: as it is
 * @fresh: the one that takes its place
 * @old_name: its name afterwards
 */
struct pending {
	struct kho_root_info root;
	struct kho_root_info fresh;
	char old_name[32];
};

static struct {
	pthread_mutex_t lock;
	const struct kho_migration *hooks;
	unsigned int nr_hooks;
	void *ctx;
	bool recovered;
	unsigned int nr;
	struct pending pending[PENDING_MAX];
	void **journal; /* its cell, once there is one */
	unsigned int used; /* in the first chunk */
	pthread_t builder;
	bool building;
} m = {.lock = PTHREAD_MUTEX_INITIALIZER};

void kho_migrate_set_(const struct kho_migration *migrations, unsigned int nr, void *ctx)
{
	m.hooks = migrations;
	m.nr_hooks = nr;
	m.ctx = ctx;
}

void kho_migrate_forget_(void)
{
	m.recovered = false;
	m.nr = 0;
	m.journal = NULL;
	m.used = 0;
}

const struct kho_migration *kho_migrate_find_(const char *type, __u32 from, __u32 min, __u32 max)
{
	const struct kho_migration *best = NULL;

	for (unsigned int i = 0; i < m.nr_hooks; i++) {
		const struct kho_migration *hook = &m.hooks[i];

		if (!strcmp(hook->type, type) && hook->from == from && hook->to >= min &&
		    hook->to <= max && (!best || hook->to > best->to))
			best = hook;
	}
	return best;
}

/* ---- the journal ------------------------------------------------------------- */

static int open_journal(void)
{
	if (!m.journal)
		m.journal = kho_root_reserved_(KHO_ABI_ROOT_JOURNAL, KHO_ABI_JOURNAL_TYPE,
					       KHO_ABI_JOURNAL_OPEN);
	return m.journal ? 0 : -errno;
}

static int add_chunk(void)
{
	struct kho_abi_journal *chunk = kho_calloc(1, sizeof(*chunk));
	int r;

	if (!chunk)
		return -ENOMEM;
	chunk->next = (uintptr_t)*m.journal;
	r = kho_publish(m.journal, chunk, NULL);
	if (r)
		kho_free(chunk);
	else
		m.used = 0;
	return r;
}

void *kho_migrate_malloc(size_t size)
{
	struct kho_abi_journal *chunk;
	void *object = NULL;
	int r = 0;

	if (!m.building || !pthread_equal(m.builder, pthread_self()))
		r = kho_fail_(-EINVAL, "kho_migrate_malloc(): not in a migration's build");
	else if (!*m.journal || m.used == OBJECTS_MAX)
		r = add_chunk();
	if (!r) {
		object = kho_calloc(1, size);
		r = object ? 0 : -ENOMEM;
	}
	if (!r) {
		chunk = *m.journal;
		r = kho_publish((void **)&chunk->object[m.used], object, NULL);
		m.used += !r;
	}
	if (!r)
		return object;
	kho_free(object);
	errno = -r;
	return NULL;
}

/* Is what the journal says a chunk? If not, it is given up: better a leak than a crash. */
static struct kho_abi_journal *first_chunk(void **slot)
{
	struct kho_abi_journal *chunk = *slot;

	if (chunk && kho_usable_size(chunk) < sizeof(*chunk)) {
		kho_publish(slot, NULL, NULL);
		return NULL;
	}
	return chunk;
}

/* Drop the chunks, and with @objects what they name. Each step leaves less to do. */
static void empty_journal(void **slot, bool objects)
{
	struct kho_abi_journal *chunk;

	while ((chunk = first_chunk(slot))) {
		for (size_t i = 0; objects && i < OBJECTS_MAX; i++) {
			void **object = (void **)&chunk->object[i];

			/* What is no live object is only forgotten. */
			if (*object && kho_publish(object, NULL, *object))
				kho_publish(object, NULL, NULL);
		}
		if (kho_publish(slot, (void *)(uintptr_t)chunk->next, chunk))
			kho_publish(slot, NULL, NULL);
	}
}

/* ---- after a death ------------------------------------------------------------ */

static void remove_new_roots(void)
{
	struct kho_root_info info;

	while (kho_root_look_(KHO_ABI_ROOT_NEW, true, 0, &info)) {
		kho_publish(info.slot, NULL, NULL);
		if (kho_root_remove(info.name))
			return;
	}
}

/* Under the lock: what is in the journal is gone, or has got its place. */
static int settle_journal(void)
{
	struct kho_root_info info;

	m.nr = 0;
	m.journal = NULL;
	remove_new_roots();
	if (!kho_root_look_(KHO_ABI_ROOT_JOURNAL, false, 0, &info))
		return 0;
	empty_journal(info.slot, info.version == KHO_ABI_JOURNAL_OPEN);
	return kho_root_remove(info.name);
}

static int recover(void)
{
	int r = m.recovered ? 0 : settle_journal();

	m.recovered |= !r;
	return r;
}

int kho_migrate_recover_(void)
{
	int r = kho_writer_error_();

	if (r)
		return r;
	pthread_mutex_lock(&m.lock);
	r = recover();
	pthread_mutex_unlock(&m.lock);
	return r;
}

/* ---- making -------------------------------------------------------------------- */

/* Names that are free, with one number. */
static int choose_names(char *fresh, char *old, size_t size)
{
	struct kho_root_info info;

	for (unsigned int i = 0; i < NUMBERS; i++) {
		snprintf(fresh, size, KHO_ABI_ROOT_NEW "%u", i);
		snprintf(old, size, KHO_ABI_ROOT_OLD "%u", i);
		if (!kho_root_look_(fresh, false, 0, &info) &&
		    !kho_root_look_(old, false, 0, &info))
			return 0;
	}
	return kho_fail_(-ENOSPC, "more than %d roots wait for their migration", NUMBERS);
}

static int build(const struct kho_migration *hook, struct pending *p, void **fresh)
{
	char name[32];
	int r = choose_names(name, p->old_name, sizeof(name)) ?: open_journal();

	if (r)
		return r;
	if (!kho_root_reserved_(name, hook->type, hook->to))
		return -errno;
	m.builder = pthread_self();
	m.building = true;
	*fresh = NULL;
	r = hook->build(m.ctx, *p->root.slot, fresh);
	m.building = false;
	if (!r && !kho_root_look_(name, false, 0, &p->fresh))
		r = kho_fail_(-ENOENT, "root \"%s\" has disappeared", name);
	return r ? r : kho_publish(p->fresh.slot, *fresh, NULL);
}

static bool is_pending(const char *root)
{
	for (unsigned int i = 0; i < m.nr; i++)
		if (!strcmp(m.pending[i].root.name, root))
			return true;
	return false;
}

static int failed(const char *root, __u32 to, int error)
{
	char why[400];

	snprintf(why, sizeof(why), "%s", kho_error());
	settle_journal();
	return kho_fail_(error, "root \"%s\": migration to version %u: %s", root, to, why);
}

/* Under the lock. When one fails all that are pending are undone: the journal is theirs together. */
static int migrate(const char *root, __u32 to, void **fresh)
{
	const struct kho_migration *hook;
	struct pending *p = &m.pending[m.nr];
	void *first = NULL;
	int r;

	if (is_pending(root))
		return kho_fail_(-EBUSY, "root \"%s\" is migrated already", root);
	if (m.nr == PENDING_MAX)
		return kho_fail_(-ENOSPC, "more than %d migrations at a time", PENDING_MAX);
	if (!kho_root_look_(root, false, 0, &p->root))
		return kho_fail_(-ENOENT, "root \"%s\": does not exist", root);
	if (p->root.version == to) {
		*fresh = *p->root.slot;
		return 0;
	}
	hook = kho_migrate_find_(p->root.type, p->root.version, to, to);
	if (!hook)
		return kho_fail_(-ENOENT,
				 "root \"%s\": no migration of \"%s\" from version %u to %u", root,
				 p->root.type, p->root.version, to);
	r = build(hook, p, &first);
	if (r)
		return failed(root, to, r);
	m.nr++;
	*fresh = first;
	kho_step_("migration-built");
	return 0;
}

int kho_migrate(const char *root, __u32 to, void **fresh)
{
	int r = kho_writer_error_();
	void *first;

	if (r)
		return r;
	pthread_mutex_lock(&m.lock);
	r = recover() ?: migrate(root, to, fresh ? fresh : &first);
	pthread_mutex_unlock(&m.lock);
	return r;
}

/* ---- the swap, and what comes after it --------------------------------------------- */

static bool swap_each(void *ctx, struct khoc_subtree *node)
{
	if (!strcmp(node->name, KHO_ABI_ROOT_JOURNAL))
		node->type_version = KHO_ABI_JOURNAL_DONE;
	for (unsigned int i = 0; i < m.nr; i++) {
		const struct pending *p = &m.pending[i];

		if (!strcmp(node->name, p->root.name)) {
			node->data = kho_virt_to_phys(p->fresh.slot);
			node->type_version = p->fresh.version;
		} else if (!strcmp(node->name, p->fresh.name)) {
			node->name = p->old_name;
			node->data = kho_virt_to_phys(p->root.slot);
			node->type_version = p->root.version;
		}
	}
	return true;
}

/* Old objects that a hook knows how to free. Those of which none does stay. */
static int release_old(void)
{
	struct kho_root_info info;
	unsigned int nth = 0;

	while (kho_root_look_(KHO_ABI_ROOT_OLD, true, nth, &info)) {
		const struct kho_migration *hook =
			kho_migrate_find_(info.type, info.version, 0, ~0U);
		int r = 0;

		if (*info.slot && hook && hook->release)
			r = hook->release(m.ctx, info.slot);
		if (r)
			return r;
		if (*info.slot)
			nth++;
		else if ((r = kho_root_remove(info.name)))
			return r;
	}
	return 0;
}

/* Under the lock. */
static int finish(void)
{
	int r = recover();

	if (!r && m.nr) {
		r = kho_root_edit_(swap_each, NULL);
		if (r)
			return r; /* nothing has changed: may be tried again */
		kho_step_("migration-swapped");
		r = settle_journal();
		kho_step_("migration-settled");
	}
	r = r ?: release_old();
	kho_step_("migration-finished");
	return r;
}

int kho_migrate_finish_(void)
{
	int r = kho_writer_error_();

	if (r)
		return r;
	pthread_mutex_lock(&m.lock);
	r = finish();
	pthread_mutex_unlock(&m.lock);
	return r;
}

bool kho_migrate_due_(void)
{
	struct kho_root_info info;
	bool due;

	if (!kho_arena_.mapped)
		return false;
	pthread_mutex_lock(&m.lock);
	due = m.nr || kho_root_look_(KHO_ABI_ROOT_OLD, true, 0, &info);
	pthread_mutex_unlock(&m.lock);
	return due;
}

int kho_root_version(const char *root)
{
	struct kho_root_info info;
	int r = kho_reader_error_();

	if (r)
		return r;
	if (!kho_root_look_(root, false, 0, &info))
		return kho_fail_(-ENOENT, "root \"%s\": does not exist", root);
	return (int)info.version;
}

/* ---- for a successor of an older version ------------------------------------------- */

static const struct kho_abi_format *format_of(const struct kho_abi_format *formats, unsigned int nr,
					      const char *type)
{
	for (unsigned int i = 0; i < nr; i++)
		if (!strcmp(formats[i].name, type))
			return &formats[i];
	return NULL;
}

struct reader {
	const struct kho_abi_format *formats;
	unsigned int nr;
};

/* Does the reader know the root's type, and not its version? */
static bool too_new(void *ctx, const struct kho_root_info *info)
{
	const struct reader *reader = ctx;
	const struct kho_abi_format *f = format_of(reader->formats, reader->nr, info->type);

	if (!strncmp(info->name, KHO_ABI_ROOT_RESERVED, strlen(KHO_ABI_ROOT_RESERVED)))
		return false;
	return f && (info->version < f->reads_min || info->version > f->reads_max);
}

static const struct kho_migration *way_down(const struct reader *reader,
					    const struct kho_root_info *info)
{
	const struct kho_abi_format *f = format_of(reader->formats, reader->nr, info->type);

	return kho_migrate_find_(info->type, info->version, f->reads_min, f->reads_max);
}

static bool no_way(void *ctx, const struct kho_root_info *info)
{
	return too_new(ctx, info) && !way_down(ctx, info);
}

static bool has_way(void *ctx, const struct kho_root_info *info)
{
	return too_new(ctx, info) && way_down(ctx, info);
}

int kho_migrate_check_(const struct kho_abi_format *formats, unsigned int nr)
{
	struct reader reader = {formats, nr};
	const struct kho_abi_format *f;
	struct kho_root_info info;

	if (!kho_root_collect_(no_way, &reader, &info, 1))
		return 0;
	f = format_of(formats, nr, info.type);
	return kho_fail_(-KHO_E_INCOMPATIBLE,
			 "root \"%s\": is a \"%s\", version %u; the successor reads %u to %u",
			 info.name, info.type, info.version, f->reads_min, f->reads_max);
}

/* Under the lock. Return: how many roots were migrated, or negative. */
static int build_down(struct reader *reader)
{
	struct kho_root_info infos[PENDING_MAX];
	unsigned int nr = kho_root_collect_(has_way, reader, infos, PENDING_MAX);
	void *first;

	if (nr > PENDING_MAX)
		return kho_fail_(-ENOSPC, "%u roots to be migrated, at most %d at a time", nr,
				 PENDING_MAX);
	for (unsigned int i = 0; i < nr; i++) {
		int r = migrate(infos[i].name, way_down(reader, &infos[i])->to, &first);

		if (r)
			return r;
	}
	return (int)nr;
}

int kho_migrate_down_(const struct kho_abi_format *formats, unsigned int nr)
{
	struct reader reader = {formats, nr};
	int r;

	if (!m.nr_hooks)
		return 0;
	pthread_mutex_lock(&m.lock);
	/* What is not in force by now, nobody will put in force. */
	m.recovered &= !m.nr;
	r = recover() ?: build_down(&reader);
	if (r > 0) {
		int rc = finish();

		if (rc && m.nr) { /* not swapped */
			settle_journal();
			r = rc;
		}
		/* Old objects that could not be freed are no reason to stay. */
	}
	pthread_mutex_unlock(&m.lock);
	return r > 0 ? 1 : r;
}
