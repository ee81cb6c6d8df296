/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What the library reads in images of what Linux hands over, in the words of luo_agree.py: "refused"
 * for sessions, a memory file, reserved memory or metadata with any fault; "end" after each image.
 *
 *	luo_dump FILE		struct head; the bytes; and so on
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <string.h>

#include <kho/kho.h>

/* memblock, metadata: addresses of these; the former's size is a page, the latter's 73 bytes. */
struct head {
	__u64 shift;
	__u64 luo;
	__u64 memblock;
	__u64 metadata;
	__u64 size;
};

typedef unsigned long long ull;

static char *out;
static size_t out_len;
static FILE *say;

static void say_hex(const char *text)
{
	for (; *text; text++)
		fprintf(say, "%02x", (unsigned char)*text);
}

static __u64 digest(__u64 value, __u64 word)
{
	return (value ^ word) * 0x100000001b3ull;
}

/* All of the list is held against vmalloc-v1, also what has no entries. */
static int read_memfd(const struct khoc_luo *luo, kho_pa_t pa, struct khoc_memfd *memfd, __u64 *sum)
{
	int err = khoc_memfd_open(memfd, luo->mem, luo->shift, pa, NULL);
	struct khoc_memfd_folio folio;
	struct khoc_memfd_list list;

	if (err || !memfd->nr_folios)
		return err;
	err = khoc_vmalloc_validate(luo->mem, luo->shift, &memfd->folios, NULL, NULL);
	err = err ? err : khoc_memfd_list(&list, memfd, NULL, NULL);
	while (!err && !(err = khoc_memfd_folio_next(&list, &folio, NULL)))
		*sum = digest(digest(digest(*sum, folio.pa), folio.flags), folio.index);
	return err == -ENOENT ? 0 : err;
}

static void say_memfd(const struct khoc_luo *luo, kho_pa_t pa)
{
	__u64 sum = 0xcbf29ce484222325ull;
	struct khoc_memfd memfd;

	if (read_memfd(luo, pa, &memfd, &sum))
		fprintf(say, "memfd refused\n");
	else
		fprintf(say, "memfd %llu %llu %u %llu %016llx\n", (ull)memfd.pos, (ull)memfd.size,
			memfd.seals, (ull)memfd.nr_folios, (ull)sum);
}

static int say_files(const struct khoc_luo *luo, const struct khoc_luo_session *session)
{
	struct khoc_luo_records walk;
	struct khoc_luo_file file;
	int err = khoc_luo_files(&walk, luo, session, NULL, NULL);
	__u64 *work;

	if (err)
		return err;
	work = calloc(2 * walk.nr + 1, 8);
	err = khoc_luo_unique_tokens(luo, session, work, 2 * walk.nr, NULL);
	free(work);
	while (!err && !(err = khoc_luo_file_next(&walk, &file, NULL))) {
		fputs("file ", say);
		say_hex(file.compatible);
		fprintf(say, " %llu %llu\n", (ull)file.data, (ull)file.token);
		if (!strcmp(file.compatible, KHO_ABI_MEMFD_COMPATIBLE))
			say_memfd(luo, file.data);
	}
	return err == -ENOENT ? 0 : err;
}

static int say_sessions(const struct khoc_luo *luo)
{
	struct khoc_luo_session session;
	struct khoc_luo_records walk;
	int err = khoc_luo_sessions(&walk, luo, NULL, NULL);
	__u64 *work;

	if (err)
		return err;
	work = calloc(2 * walk.nr + 1, 8);
	err = khoc_luo_unique_sessions(luo, work, 2 * walk.nr, NULL);
	free(work);
	while (!err && !(err = khoc_luo_session_next(&walk, &session, NULL))) {
		fputs("session ", say);
		say_hex(session.name);
		fprintf(say, " %llu\n", (ull)session.nr_files);
		err = say_files(luo, &session);
	}
	return err == -ENOENT ? 0 : err;
}

static int say_flbs(const struct khoc_luo *luo)
{
	struct khoc_luo_flbs walk;
	struct khoc_luo_flb flb;
	int err = khoc_luo_flbs(&walk, luo, NULL, NULL);

	while (!err && !(err = khoc_luo_flb_next(&walk, &flb, NULL))) {
		fputs("flb ", say);
		say_hex(flb.name);
		fprintf(say, " %llu %llu\n", (ull)flb.data, (ull)flb.count);
	}
	return err == -ENOENT ? 0 : err;
}

static int say_luo(const struct khoc_mem *mem, const struct head *head)
{
	struct khoc_luo luo;
	int err = khoc_luo_open(&luo, mem, (unsigned int)head->shift, head->luo, 32, NULL);

	if (err)
		return err;
	fprintf(say, "luo %llu\n", (ull)luo.liveupdate_num);
	err = say_sessions(&luo);
	return err ? err : say_flbs(&luo);
}

static int say_regions(const struct khoc_mem *mem, const struct head *head)
{
	struct khoc_reserve_mem_region region;
	struct khoc_reserve_mem walk;
	int err = khoc_reserve_mem_open(&walk, mem, head->memblock, 1ULL << head->shift, NULL);

	fputs("memblock\n", say);
	while (!err && !(err = khoc_reserve_mem_next(&walk, &region, NULL))) {
		fputs("region ", say);
		say_hex(region.name);
		fprintf(say, " %llu %llu\n", (ull)region.start, (ull)region.size);
	}
	return err == -ENOENT ? 0 : err;
}

static int say_metadata(const struct khoc_mem *mem, const struct head *head)
{
	struct khoc_metadata metadata;
	int err = khoc_metadata_read(&metadata, mem, head->metadata, 73, NULL);

	if (err == -KHO_E_VERSION) {
		fputs("metadata ignored\n", say);
		return 0;
	}
	if (err)
		return err;
	fputs("metadata ", say);
	say_hex(metadata.release);
	fprintf(say, " %u\n", metadata.count);
	return 0;
}

/* What a part says, or that it cannot be used. */
static void told(const char *what, int (*part)(const struct khoc_mem *, const struct head *),
		 const struct khoc_mem *mem, const struct head *head)
{
	int err;

	say = open_memstream(&out, &out_len);
	err = part(mem, head);
	fclose(say);
	if (err)
		printf("%s refused\n", what);
	else
		fputs(out, stdout);
	free(out);
}

int main(int argc, char **argv)
{
	FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
	struct head head;

	if (!file)
		return 1;
	while (fread(&head, sizeof(head), 1, file) == 1) {
		void *bytes = malloc(head.size);
		struct khoc_mem mem = {.linear = bytes, .size = head.size};

		if (!bytes || fread(bytes, 1, head.size, file) != head.size)
			return 1;
		told("luo", say_luo, &mem, &head);
		told("memblock", say_regions, &mem, &head);
		told("metadata", say_metadata, &mem, &head);
		printf("end\n");
		free(bytes);
	}
	fclose(file);
	return 0;
}
