/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * kcore [--vmcore FILE N | --dump FILE N]: what kho verify and kho inspect make of the memory of the very kernel that
 * they run on, or of one with the same release that has crashed before its N-th handover: /proc/vmcore, or what
 * makedumpfile made of it without user's pages. It preserves the region of reserve_mem=, what its own test makes on
 * every other boot, and LUO's header; all of that must be found and be sound. Of the one that has crashed (crash.c) the
 * contents, too: the region's, which case_reserve_mem() in cases.c has written, and those of the memory files that
 * make_session() there has preserved.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"
#include "views.h"

#define PAGE 4096
#define WORDS (PAGE / 8)
/* Pages of the session's files that are not holes: 16, each 73rd of 1024, 1500. */
#define WRITTEN (16 + 15 + 1500)
/* Pages of them all; LUO fills the holes. */
#define FILE_PAGES (16 + 1024 + 1500 + 32)

enum what { LIVE, VMCORE, DUMP };

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

static bool has_kept_contents(const struct model *m)
{
	const struct khoc_reserve_mem_region *r = m->reserved.at;
	__u64 word[WORDS];

	for (__u64 pa = r->start; pa < r->start + r->size; pa += PAGE) {
		if (source_read(m->source, pa, word, PAGE))
			return false;
		for (size_t i = 0; i < WORDS; i++)
			if (word[i] != ~(pa + i * 8))
				return false;
	}
	return true;
}

/* Its words are file << 56 | page << 16 | index: see content() in cases.c. */
static bool is_of_file(const __u64 *word)
{
	if (!(word[0] >> 56) || word[0] >> 56 > 3 || word[0] & 0xffff)
		return false;
	for (size_t i = 1; i < WORDS; i++)
		if (word[i] != (word[0] | i))
			return false;
	return true;
}

/* How many preserved pages have contents of the session's files. */
static __u64 pages_of_files(const struct model *m)
{
	const struct khoc_run *run = m->runs.at;
	__u64 word[WORDS], found = 0;

	for (size_t i = 0; i < m->runs.nr; i++)
		for (__u64 at = 0; at < run[i].nr << run[i].order; at++)
			found += !source_read(m->source, run[i].pa + at * PAGE, word, PAGE) &&
				 is_of_file(word);
	return found;
}

static const char *judge_crash(const struct model *m, enum what what)
{
	__u64 of_files = pages_of_files(m);

	printf("kcore: %llu of %llu pages preserved, %llu of them of files\n",
	       (unsigned long long)(m->pages - m->pages_in_gaps), (unsigned long long)m->pages,
	       (unsigned long long)of_files);
	if (m->pages < 512 + FILE_PAGES)
		return "too few pages with a session";
	if (!has_kept_contents(m))
		return "the region has other contents";
	if (what == VMCORE && m->pages_in_gaps)
		return "preserved pages are missing";
	if (what == VMCORE && of_files != WRITTEN)
		return "other contents of the session's files";
	/* Of an ELF core makedumpfile leaves pages out where there are 256 in a row. */
	if (what == DUMP && (of_files == WRITTEN || of_files + m->pages_in_gaps < WRITTEN))
		return "other contents of the session's files, or all of them";
	return NULL;
}

static const char *judge(const struct model *m, unsigned int count)
{
	char release[sizeof(m->metadata.release)] = "";
	FILE *file = fopen("/proc/sys/kernel/osrelease", "r");

	if (!file || !fgets(release, sizeof(release), file) || fclose(file))
		return "no release";
	release[strcspn(release, "\n")] = '\0';
	if (m->faults.nr)
		return "faults";
	if (!has_subtree(m, "kexec-metadata") || !has_subtree(m, "LUO") ||
	    !has_subtree(m, "memblock") || has_subtree(m, "kho_test") != count % 2)
		return "a subtree is missing";
	if (!is_kept(m))
		return "the region is not found";
	if (strcmp(m->metadata.release, release))
		return "the metadata is another kernel's";
	if (m->metadata.count != count)
		return "the metadata has another count";
	if (m->pages < 512 + count % 2 * 1024)
		return "too few pages";
	return NULL;
}

int main(int argc, char **argv)
{
	enum what what = argc < 4 ? LIVE : strcmp(argv[1], "--vmcore") ? DUMP : VMCORE;
	const char *path = what == LIVE ? "/proc/kcore" : argv[2], *why;
	static struct model m;
	struct source s;

	if (source_open_fd(&s, path, open(path, O_RDONLY), what == LIVE, 0) ||
	    model_make(&m, &s, NULL))
		return failed("the memory cannot be read");
	view_text(stdout, &m, false);
	view_map(stdout, &m, 80, false);
	why = judge(&m, what == LIVE ? 1 : atoi(argv[3]));
	if (!why && what != LIVE)
		why = judge_crash(&m, what);
	model_free(&m);
	source_close(&s);
	return why ? failed(why) : 0;
}
