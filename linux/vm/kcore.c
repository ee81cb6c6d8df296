/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * kcore: what kho verify and kho inspect make of the memory of the very kernel that they run on. It preserves
 * the region of reserve_mem=, what its own test makes, and LUO's header; all of that must be found and be
 * sound, and the root FDT be the one that debugfs shows.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"
#include "views.h"

static int failed(const char *what)
{
	printf("VM: fail: kcore: %s\n", what);
	return 1;
}

static bool has_subtree(const struct model *m, const char *name)
{
	const struct subtree *t = m->subtrees.at;

	for (size_t i = 0; i < m->subtrees.nr; i++)
		if (!strcmp(t[i].name, name))
			return t[i].preserved;
	return false;
}

static bool is_kept(const struct model *m)
{
	const struct khoc_reserve_mem_region *r = m->reserved.at;

	return m->reserved.nr == 1 && !strcmp(r->name, "kept") && r->size == 2 << 20 &&
	       is_preserved(m, r->start, r->size);
}

static const char *judge(const struct model *m)
{
	char release[sizeof(m->metadata.release)] = "";
	FILE *file = fopen("/proc/sys/kernel/osrelease", "r");

	if (!file || !fgets(release, sizeof(release), file) || fclose(file))
		return "no release";
	release[strcspn(release, "\n")] = '\0';
	if (m->faults.nr)
		return "faults";
	if (!has_subtree(m, "kexec-metadata") || !has_subtree(m, "LUO") ||
	    !has_subtree(m, "memblock") || !has_subtree(m, "kho_test"))
		return "a subtree is missing";
	if (!is_kept(m))
		return "the region is not found";
	if (strcmp(m->metadata.release, release))
		return "the metadata is another kernel's";
	if (m->pages < 512 + 1024)
		return "too few pages";
	return NULL;
}

int main(void)
{
	static struct model m;
	struct source s;
	const char *why;

	if (source_open_fd(&s, "/proc/kcore", open("/proc/kcore", O_RDONLY), true, 0) ||
	    model_make(&m, &s, NULL))
		return failed("/proc/kcore cannot be read");
	view_text(stdout, &m, false);
	view_map(stdout, &m, 80, false);
	why = judge(&m);
	model_free(&m);
	source_close(&s);
	return why ? failed(why) : 0;
}
