/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Kills: subtrees, roots, and who handed over. */
#include <errno.h>

#include "kill.h"

/* A subtree's blob stays for ever; each name has its own address in it. */
static char *blob_of(unsigned int t, unsigned int i)
{
	return kho_arena_.base + the_log->blob + (t * NAMES + i) * 16;
}

static void change_names(unsigned int t, uint64_t r)
{
	unsigned int i = (unsigned int)(r >> 8) % NAMES;
	struct flight *f = &the_log->flight[t];
	char name[16];
	int rc = 0;

	f->index = i;
	if (r % 16 == 0 && !t) {
		f->kind = META;
		f->nr = the_log->meta + 1;
		phase(f, 1);
		rc = kho_arena_set_metadata_("killed", (unsigned int)f->nr);
	} else if (r & 1) {
		name_of(name, "sub", t, i);
		f->kind = the_log->sub[t][i] ? SUB_DEL : SUB_ADD;
		phase(f, 1);
		if (f->kind == SUB_ADD)
			rc = kho_add_subtree(name, blob_of(t, i), 16);
		else
			kho_remove_subtree(blob_of(t, i));
	} else {
		name_of(name, "root", t, i);
		f->kind = the_log->root[t][i] ? ROOT_DEL : ROOT_ADD;
		phase(f, 1);
		if (f->kind == ROOT_ADD)
			rc = kho_root(name, "test-empty", 1) ? 0 : -errno;
		else
			rc = kho_root_remove(name);
	}
	CHECK(!rc, "name: %d", rc);
	done(t, true);
}

static void apply_name(unsigned int t, const struct flight *f)
{
	struct log *log = the_log;

	switch (f->kind) {
	case SUB_ADD:
	case SUB_DEL:
		log->sub[t][f->index] = f->kind == SUB_ADD;
		break;
	case ROOT_ADD:
	case ROOT_DEL:
		log->root[t][f->index] = f->kind == ROOT_ADD;
		break;
	default:
		log->meta = f->nr;
	}
}

static bool name_happened(unsigned int t, const struct flight *f)
{
	char name[16], release[65];
	unsigned int count;

	switch (f->kind) {
	case SUB_ADD:
	case SUB_DEL:
		name_of(name, "sub", t, f->index);
		return !kho_retrieve_subtree(name, NULL, NULL) == (f->kind == SUB_ADD);
	case ROOT_ADD:
	case ROOT_DEL:
		name_of(name, "root", t, f->index);
		return !kho_retrieve_subtree(name, NULL, NULL) == (f->kind == ROOT_ADD);
	default:
		CHECK(!kho_metadata(release, &count), "metadata");
		return count == f->nr;
	}
}

static void check_names(unsigned int t, struct sums *sums)
{
	char name[16];

	for (unsigned int i = 0; i < NAMES; i++) {
		name_of(name, "sub", t, i);
		CHECK(!kho_retrieve_subtree(name, NULL, NULL) == the_log->sub[t][i], "%s", name);
		name_of(name, "root", t, i);
		CHECK(!kho_retrieve_subtree(name, NULL, NULL) == the_log->root[t][i], "%s", name);
	}
}

const struct kill_subject kill_names = {.share = 2,
					.change = change_names,
					.apply = apply_name,
					.happened = name_happened,
					.check = check_names};
