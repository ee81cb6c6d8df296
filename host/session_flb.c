/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * FLBs: data that files of some kinds have in common. There with the first of these files, gone with the
 * last, whichever program that is in.
 *
 * Each has a bit. What a file needs its object says in bits; counts are taken anew from that when the
 * index is made, so that a death between a record and a count loses neither.
 */
#include <errno.h>
#include <string.h>

#include "sessions.h"

static struct flb_record *find(const char *name)
{
	for (unsigned int i = 0; i < LUO_FLBS_MAX; i++)
		if (kho_luo_.flb[i].there && !strcmp(kho_luo_.flb[i].name, name))
			return &kho_luo_.flb[i];
	return NULL;
}

static struct liveupdate_flb_op_args args_of(const struct flb_record *record)
{
	struct kho_abi_session_object *object = kho_object_at_(record->object);

	return (struct liveupdate_flb_op_args){
		.flb = record->flb,
		.data = object->data,
		.state = object->state,
		.state_len = object->state_len,
		.obj = record->obj,
	};
}

static void store_count(const struct flb_record *record)
{
	struct kho_abi_luo_flb *at = kho_rec_at_(&record->ref, sizeof(*at));

	if (at->count != record->files)
		__atomic_store_n(&at->count, record->files, __ATOMIC_RELAXED);
}

static struct flb_record *free_record(void)
{
	for (unsigned int i = 0; i < LUO_FLBS_MAX; i++)
		if (!kho_luo_.flb[i].there)
			return &kho_luo_.flb[i];
	return NULL;
}

static int insert(struct flb_record *record, struct kho_abi_session_object *object,
		  struct liveupdate_flb *flb)
{
	struct kho_abi_luo_flb stored = {.data = kho_virt_to_phys(object)};

	memcpy(stored.name, flb->compatible, strlen(flb->compatible));
	return kho_rec_insert_(&kho_luo_.flbs, &record->ref, &stored, object);
}

static int make(struct liveupdate_flb *flb)
{
	struct flb_record *record = free_record();
	struct kho_abi_session_object *object;
	struct liveupdate_flb_op_args args;
	int rc;

	if (!record)
		return kho_fail_(-ENOSPC, "FLB \"%s\": there are %d already", flb->compatible,
				 LUO_FLBS_MAX);
	object = kho_calloc(1, sizeof(*object) + flb->ops->state_size);
	if (!object)
		return -ENOMEM;
	object->magic = KHO_ABI_SESSION_FLB_MAGIC;
	object->state_len = (__u32)flb->ops->state_size;
	object->number = (__u64)(record - kho_luo_.flb);
	*record = (struct flb_record){.object = kho_virt_to_phys(object), .flb = flb};
	args = args_of(record);
	rc = flb->ops->preserve(&args);
	object->data = args.data;
	record->obj = args.obj;
	if (!rc) {
		rc = insert(record, object, flb);
		if (rc == -ENOSPC)
			kho_fail_(rc, "FLB \"%s\": the page of FLBs is full", flb->compatible);
		if (rc && flb->ops->unpreserve)
			flb->ops->unpreserve(&args);
	}
	if (rc) {
		kho_free(object);
		return rc;
	}
	strcpy(record->name, flb->compatible);
	record->there = record->preserved = true;
	return 0;
}

/*
 * The last file that needed it has gone. Without memory to take the record out it stays, whole: the next file
 * has it again, or the next one that goes ends it.
 */
static void end(struct flb_record *record)
{
	struct liveupdate_flb_op_args args = args_of(record);
	const struct liveupdate_flb_ops *ops = record->flb ? record->flb->ops : NULL;
	void (*last)(struct liveupdate_flb_op_args *) = NULL;
	__u8 state[KHO_ABI_SESSION_STATE_MAX];

	if (ops)
		last = record->preserved ? ops->unpreserve : ops->finish;
	/* It sees what the record led to when nobody else can any more. */
	memcpy(state, args.state, args.state_len);
	args.state = state;
	if (kho_rec_remove_(&kho_luo_.flbs, &record->ref, kho_object_at_(record->object)))
		return;
	*record = (struct flb_record){0};
	if (last)
		last(&args);
}

void kho_flbs_drop_(__u64 mask)
{
	for (unsigned int i = 0; i < LUO_FLBS_MAX; i++) {
		struct flb_record *record = &kho_luo_.flb[i];

		if (!record->there)
			continue;
		if (mask >> i & 1) {
			record->files -= !!record->files;
			store_count(record);
		}
		if (!record->files)
			end(record);
	}
}

int kho_flbs_take_(struct handler *handler, __u64 *mask)
{
	int rc = 0;

	*mask = 0;
	for (unsigned int i = 0; !rc && i < handler->nr_flbs; i++) {
		struct flb_record *record = find(handler->flbs[i]->compatible);

		if (!record)
			rc = make(handler->flbs[i]);
		record = record ?: find(handler->flbs[i]->compatible);
		if (rc || !record)
			break;
		record->files++;
		store_count(record);
		*mask |= 1ULL << (record - kho_luo_.flb);
	}
	if (rc)
		kho_flbs_drop_(*mask);
	return rc;
}

void kho_flbs_count_(__u64 mask)
{
	for (unsigned int i = 0; mask >> i && i < LUO_FLBS_MAX; i++)
		kho_luo_.flb[i].files += mask >> i & 1;
}

void kho_flbs_settle_(void)
{
	for (unsigned int i = 0; i < LUO_FLBS_MAX; i++) {
		struct flb_record *record = &kho_luo_.flb[i];

		if (!record->there)
			continue;
		if (record->files)
			store_count(record);
		else
			end(record);
	}
}

void kho_flb_registered_(struct liveupdate_flb *flb)
{
	struct flb_record *record = find(flb->compatible);

	if (record)
		record->flb = flb;
}

/* ---- the API ------------------------------------------------------------------ */

static int get(struct liveupdate_flb *flb, bool incoming, void **obj)
{
	struct flb_record *record;
	struct liveupdate_flb_op_args args;
	int rc = kho_luo_load_(false);

	if (rc)
		return rc;
	record = find(flb->compatible);
	if (!record || !record->flb || (incoming && record->preserved))
		return kho_fail_(-ENOENT, "FLB \"%s\": %s", flb->compatible,
				 !record	? "no file needs it"
				 : !record->flb ? "it is not registered"
						: "it did not come in: this program made it");
	if (!record->preserved && !record->retrieved) {
		args = args_of(record);
		rc = flb->ops->retrieve(&args);
		if (rc)
			return rc;
		record->obj = args.obj;
		record->retrieved = true;
	}
	*obj = record->obj;
	return 0;
}

static int get_locked(struct liveupdate_flb *flb, bool incoming, void **obj)
{
	int rc = kho_luo_enter_();

	if (rc)
		return rc;
	rc = get(flb, incoming, obj);
	kho_luo_unlock_();
	return rc;
}

int liveupdate_flb_get_incoming(struct liveupdate_flb *flb, void **obj)
{
	return get_locked(flb, true, obj);
}

int liveupdate_flb_get_outgoing(struct liveupdate_flb *flb, void **obj)
{
	return get_locked(flb, false, obj);
}
