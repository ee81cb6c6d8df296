/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Handlers of files in sessions: which there are, what they write and read, and whether another program
 * has one for everything that is there.
 *
 * What a handler reads goes to the other program with the formats, part by part: "file,NAME". So it is
 * held against what is in sessions when a successor introduces itself, when it is ready, and, since the
 * first file of a kind may come at any time, once more when the workers are parked.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "life.h"
#include "sessions.h"

#define KIND_LEN (sizeof(KHO_ABI_SESSION_KIND) - 1)
#define HANDLERS_FORMATS_MAX 24 /* of the 64 that HELLO has room for */

static struct handler *handlers; /* the last one registered first */
static struct kind *kinds; /* those that files in sessions are of */
static struct kho_htable kinds_by_text;
static pthread_once_t builtin_once = PTHREAD_ONCE_INIT;

/* What the predecessor reads, if there is one. */
static struct kho_abi_format predecessor[KHO_ABI_FORMATS_MAX];
static unsigned int nr_predecessor;
static bool negotiated;

static int refuse(const struct liveupdate_file_handler *public, const char *why)
{
	return kho_fail_(-EINVAL, "handler \"%s\": %s",
			 public && public->compatible ? public->compatible : "", why);
}

/* The parts of what it writes, as what it reads. */
static int reads_of_writes(struct handler *handler)
{
	const char *compatible = handler->public->compatible;
	char *names = handler->names;
	struct khoc_compat_part part;
	size_t pos = 0;

	while (!khoc_compat_next(compatible, strlen(compatible) + 1, &pos, &part)) {
		if (handler->nr_reads == HANDLER_READS_MAX)
			return refuse(handler->public, "it has more than 8 parts");
		memcpy(names, part.name, part.name_len);
		handler->reads[handler->nr_reads++] =
			(struct liveupdate_reads){names, part.version, part.version};
		names += part.name_len + 1;
	}
	return 0;
}

static int take_reads(struct handler *handler)
{
	const struct liveupdate_file_handler *public = handler->public;

	if (!public->nr_reads)
		return reads_of_writes(handler);
	if (public->nr_reads > HANDLER_READS_MAX)
		return refuse(public, "it reads more than 8 parts");
	memcpy(handler->reads, public->reads, public->nr_reads * sizeof(handler->reads[0]));
	handler->nr_reads = public->nr_reads;
	for (unsigned int i = 0; i < handler->nr_reads; i++) {
		const struct liveupdate_reads *reads = &handler->reads[i];

		if (!reads->name || !*reads->name || !reads->min || reads->min > reads->max)
			return refuse(public, "what it reads has no name, or no versions");
	}
	return 0;
}

static void compat_reads(const struct handler *handler, struct khoc_compat_reads *to)
{
	for (unsigned int i = 0; i < handler->nr_reads; i++)
		to[i] = (struct khoc_compat_reads){handler->reads[i].name, handler->reads[i].min,
						   handler->reads[i].max, false};
}

static int check_handler(struct handler *handler)
{
	const struct liveupdate_file_handler *public = handler->public;
	struct khoc_compat_reads reads[HANDLER_READS_MAX];
	struct khoc_compat_why why;
	char text[256];
	int rc;

	if (!public || !public->ops || !public->ops->can_preserve || !public->compatible)
		return refuse(public, "without can_preserve or compatible");
	if (public->ops->state_size > LIVEUPDATE_STATE_MAX)
		return refuse(public, "its state_size is more than 1024 bytes");
	if (strlen(public->compatible) > LIVEUPDATE_COMPATIBLE_MAX)
		return refuse(public, "longer than 47 bytes");
	if (!handler->builtin && !strncmp(public->compatible, "fd-", 3))
		return refuse(public, "names that begin with fd- are the library's");
	rc = khoc_compat_check(public->compatible, strlen(public->compatible) + 1, &why);
	if (rc)
		return refuse(public, khoc_compat_text(&why, text, sizeof(text)));
	rc = take_reads(handler);
	if (rc)
		return rc;
	for (unsigned int i = 0; i < handler->nr_reads; i++)
		if (strlen(handler->reads[i].name) > KHO_ABI_COMPAT_NAME_MAX - KIND_LEN)
			return refuse(public, "a name of it is longer than 26 bytes");
	compat_reads(handler, reads);
	if (khoc_compat_match(public->compatible, strlen(public->compatible) + 1, reads,
			      handler->nr_reads, &why))
		return refuse(public, "it does not read what it writes");
	return 0;
}

static unsigned int nr_formats(void)
{
	unsigned int nr = 0;

	for (struct handler *handler = handlers; handler; handler = handler->next)
		nr += handler->nr_reads;
	return nr;
}

static int add_handler(struct liveupdate_file_handler *public, bool builtin)
{
	struct handler *handler = calloc(1, sizeof(*handler));
	int rc;

	if (!handler)
		return kho_fail_(-ENOMEM, "no memory for a handler");
	handler->public = public;
	handler->builtin = builtin;
	rc = check_handler(handler);
	for (struct handler *h = handlers; !rc && h; h = h->next)
		if (!strcmp(h->reads[0].name, handler->reads[0].name))
			rc = kho_fail_(-EEXIST, "handler \"%s\": there is one for %s",
				       public->compatible, h->reads[0].name);
	if (!rc && nr_formats() + handler->nr_reads > HANDLERS_FORMATS_MAX)
		rc = kho_fail_(-ENOSPC, "handler \"%s\": all handlers read more than %d parts",
			       public->compatible, HANDLERS_FORMATS_MAX);
	if (rc) {
		free(handler);
		return rc;
	}
	handler->next = handlers;
	handlers = handler;
	for (struct kind *kind = kinds; kind; kind = kind->next)
		kind->handler = kind->handler ?: kho_handler_for_(kind->compatible);
	return 0;
}

static void add_builtin(void)
{
	for (unsigned int i = 0; i < kho_nr_fd_handlers_; i++)
		if (add_handler(&kho_fd_handlers_[i], true))
			abort();
}

static void know_builtin(void)
{
	pthread_once(&builtin_once, add_builtin);
}

int liveupdate_register_file_handler(struct liveupdate_file_handler *public)
{
	int rc;

	kho_luo_lock_();
	know_builtin();
	rc = add_handler(public, false);
	kho_luo_unlock_();
	return rc;
}

struct handler *kho_handler_find_(const struct liveupdate_file_handler *public)
{
	struct handler *handler = handlers;

	while (handler && handler->public != public)
		handler = handler->next;
	return handler;
}

static int remove_handler(struct liveupdate_file_handler *public)
{
	struct handler **at = &handlers, *handler = kho_handler_find_(public);

	if (!handler)
		return kho_fail_(-ENOENT, "the handler is not registered");
	for (struct kind *kind = kinds; kind; kind = kind->next)
		if (kind->handler == handler)
			return kho_fail_(-EBUSY, "handler \"%s\": %u of its files are in sessions",
					 public->compatible, kind->files);
	while (*at != handler)
		at = &(*at)->next;
	*at = handler->next;
	free(handler);
	return 0;
}

int liveupdate_unregister_file_handler(struct liveupdate_file_handler *public)
{
	int rc;

	kho_luo_lock_();
	rc = remove_handler(public);
	kho_luo_unlock_();
	return rc;
}

struct handler *kho_handler_for_fd_(int fd)
{
	struct handler *handler;

	know_builtin();
	for (handler = handlers; handler; handler = handler->next)
		if (handler->public->ops->can_preserve(handler->public, fd))
			break;
	return handler;
}

struct handler *kho_handler_for_(const char *compatible)
{
	struct khoc_compat_reads reads[HANDLER_READS_MAX];
	struct khoc_compat_why why;
	char text[256];

	know_builtin();
	kho_fail_(-KHO_E_INCOMPATIBLE, "no handler is registered for files of kind \"%s\"",
		  compatible);
	for (struct handler *handler = handlers; handler; handler = handler->next) {
		compat_reads(handler, reads);
		if (!khoc_compat_match(compatible, strlen(compatible) + 1, reads, handler->nr_reads,
				       &why))
			return handler;
		if (why.verdict != KHOC_COMPAT_BASE)
			kho_fail_(-KHO_E_INCOMPATIBLE,
				  "handler \"%s\" does not read files of kind \"%s\": %s",
				  handler->public->compatible, compatible,
				  khoc_compat_text(&why, text, sizeof(text)));
	}
	return NULL;
}

/* ---- kinds ---- */

static struct kind *new_kind(const char *compatible, __u64 key)
{
	struct kind *kind = calloc(1, sizeof(*kind));

	if (!kind)
		return NULL;
	kind->hash.key = key;
	if (kho_hash_add_(&kinds_by_text, &kind->hash)) {
		free(kind);
		return NULL;
	}
	strcpy(kind->compatible, compatible);
	kind->handler = kho_handler_for_(compatible);
	kind->next = kinds;
	kind->at = &kinds;
	if (kinds)
		kinds->at = &kind->next;
	kinds = kind;
	return kind;
}

struct kind *kho_kind_get_(const char *compatible)
{
	__u64 key = kho_hash_text_(compatible);
	struct kind *kind = (struct kind *)kho_hash_find_text_(&kinds_by_text, key, compatible,
							       offsetof(struct kind, compatible));

	kind = kind ?: new_kind(compatible, key);
	if (kind)
		kind->files++;
	return kind;
}

void kho_kind_put_(struct kind *kind)
{
	if (--kind->files)
		return;
	kho_hash_del_(&kinds_by_text, &kind->hash);
	*kind->at = kind->next;
	if (kind->next)
		kind->next->at = kind->at;
	free(kind);
}

bool kho_handlers_freeze_(void)
{
	struct handler *handler = handlers;

	while (handler && !handler->public->ops->freeze && !handler->public->ops->unfreeze)
		handler = handler->next;
	return handler;
}

/* ---- FLBs ---- */

struct liveupdate_flb *kho_handler_flb_(const char *name)
{
	for (struct handler *handler = handlers; handler; handler = handler->next)
		for (unsigned int i = 0; i < handler->nr_flbs; i++)
			if (!strcmp(handler->flbs[i]->compatible, name))
				return handler->flbs[i];
	return NULL;
}

static int add_flb(struct liveupdate_file_handler *public, struct liveupdate_flb *flb)
{
	struct handler *handler = kho_handler_find_(public);
	struct liveupdate_flb *other;

	if (!handler)
		return kho_fail_(-ENOENT, "the handler is not registered");
	if (!flb || !flb->compatible || !*flb->compatible || !flb->ops || !flb->ops->preserve ||
	    !flb->ops->retrieve || flb->ops->state_size > LIVEUPDATE_STATE_MAX ||
	    strlen(flb->compatible) > LIVEUPDATE_FLB_NAME_MAX)
		return kho_fail_(
			-EINVAL,
			"FLB of handler \"%s\": it needs a name of 1 to 47 bytes, preserve "
			"and retrieve, and at most 1024 bytes of state",
			public->compatible);
	other = kho_handler_flb_(flb->compatible);
	if (other && other != flb)
		return kho_fail_(-EEXIST, "FLB \"%s\": there is another one", flb->compatible);
	for (unsigned int i = 0; i < handler->nr_flbs; i++)
		if (handler->flbs[i] == flb)
			return 0;
	if (handler->nr_flbs == HANDLER_FLBS_MAX)
		return kho_fail_(-ENOSPC, "FLB \"%s\": handler \"%s\" has 8 already",
				 flb->compatible, public->compatible);
	handler->flbs[handler->nr_flbs++] = flb;
	kho_flb_registered_(flb);
	return 0;
}

int liveupdate_register_flb(struct liveupdate_file_handler *public, struct liveupdate_flb *flb)
{
	int rc;

	kho_luo_lock_();
	rc = add_flb(public, flb);
	kho_luo_unlock_();
	return rc;
}

/* ---- what other programs read ---- */

unsigned int kho_handlers_nr_formats_(void)
{
	unsigned int nr;

	kho_luo_lock_();
	know_builtin();
	nr = nr_formats();
	kho_luo_unlock_();
	return nr;
}

unsigned int kho_handlers_formats_(struct kho_abi_format *formats, unsigned int max)
{
	unsigned int nr = 0;

	kho_luo_lock_();
	know_builtin();
	for (struct handler *handler = handlers; handler; handler = handler->next)
		for (unsigned int i = 0; i < handler->nr_reads && nr < max; i++) {
			struct kho_abi_format *to = &formats[nr++];

			memset(to, 0, sizeof(*to));
			snprintf(to->name, sizeof(to->name), KHO_ABI_SESSION_KIND "%s",
				 handler->reads[i].name);
			to->reads_min = handler->reads[i].min;
			to->reads_max = handler->reads[i].max;
			/* Whoever has no sessions can do without. */
			to->flags = KHO_ABI_FORMAT_OPTIONAL;
		}
	kho_luo_unlock_();
	return nr;
}

/* Does one of @list read this part of a kind? Names come once for each handler that has the part. */
static const struct kho_abi_format *reader_of(const struct khoc_compat_part *part,
					      const struct kho_abi_format *list, unsigned int nr,
					      bool any_version)
{
	for (unsigned int i = 0; i < nr; i++) {
		const struct kho_abi_format *f = &list[i];

		if (strncmp(f->name, KHO_ABI_SESSION_KIND, KIND_LEN) ||
		    strnlen(f->name + KIND_LEN, sizeof(f->name) - KIND_LEN) != part->name_len ||
		    memcmp(f->name + KIND_LEN, part->name, part->name_len))
			continue;
		if (any_version || (part->version >= f->reads_min && part->version <= f->reads_max))
			return f;
	}
	return NULL;
}

/* Does a list of formats read @compatible? @who: whose list. Return: 0, -KHO_E_INCOMPATIBLE. */
static int kind_readable(const char *compatible, const struct kho_abi_format *list, unsigned int nr,
			 const char *who)
{
	const struct kho_abi_format *other;
	struct khoc_compat_part part;
	size_t pos = 0;

	while (!khoc_compat_next(compatible, strlen(compatible) + 1, &pos, &part)) {
		if (part.optional || reader_of(&part, list, nr, false))
			continue;
		other = reader_of(&part, list, nr, true);
		if (!other)
			return kho_fail_(-KHO_E_INCOMPATIBLE,
					 "files of kind \"%s\" are in sessions: %s has no handler "
					 "that reads %.*s-v%u: register one before kho_start()",
					 compatible, who, (int)part.name_len, part.name,
					 part.version);
		return kho_fail_(-KHO_E_INCOMPATIBLE,
				 "files of kind \"%s\" are in sessions: %.*s is version %u, %s "
				 "reads %u to %u",
				 compatible, (int)part.name_len, part.name, part.version, who,
				 other->reads_min, other->reads_max);
	}
	return 0;
}

int kho_sessions_readable_(const struct kho_abi_format *theirs, unsigned int nr)
{
	int rc = 0;

	kho_luo_lock_();
	if (kho_arena_.writer)
		kho_luo_load_(false); /* what cannot be loaded is told to whoever uses it */
	for (struct kind *kind = kinds; !rc && kind; kind = kind->next)
		rc = kind_readable(kind->compatible, theirs, nr, "the successor");
	kho_luo_unlock_();
	return rc;
}

void kho_handlers_welcome_(const struct kho_abi_format *theirs, unsigned int nr)
{
	kho_luo_lock_();
	memcpy(predecessor, theirs, nr * sizeof(*theirs));
	nr_predecessor = nr;
	negotiated = true;
	kho_luo_unlock_();
}

int kho_handlers_may_use_(const char *compatible)
{
	int rc = 0;
	char why[512];

	if (negotiated && !kho_life_alone_())
		rc = kind_readable(compatible, predecessor, nr_predecessor, "the predecessor");
	if (!rc)
		return 0;
	snprintf(why, sizeof(why), "%s", kho_error());
	return kho_fail_(rc, "%s: it may have to go on with this arena: not before kho_healthy()",
			 why);
}
