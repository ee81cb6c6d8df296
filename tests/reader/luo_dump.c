/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What the library reads in images of what Linux's live update orchestrator hands over, in the
 * words of luo_agree.py: "refused" if there is any fault; "end" after each.
 *
 *	luo_dump FILE		u64 shift, u64 pa of the header, u64 bytes; the bytes; and so on
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <kho/kho.h>

typedef unsigned long long ull;

static char *out;
static size_t out_len;
static FILE *say;

static void say_hex(const char *text)
{
	for (; *text; text++)
		fprintf(say, "%02x", (unsigned char)*text);
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

static int say_all(void *bytes, const __u64 *head)
{
	struct khoc_mem mem = {.linear = bytes, .size = head[2]};
	struct khoc_luo luo;
	int err = khoc_luo_open(&luo, &mem, (unsigned int)head[0], head[1], 32, NULL);

	if (err)
		return err;
	fprintf(say, "luo %llu\n", (ull)luo.liveupdate_num);
	err = say_sessions(&luo);
	return err ? err : say_flbs(&luo);
}

int main(int argc, char **argv)
{
	FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
	__u64 head[3];

	if (!file)
		return 1;
	while (fread(head, 8, 3, file) == 3) {
		void *bytes = malloc(head[2]);
		int err;

		if (!bytes || fread(bytes, 1, head[2], file) != head[2])
			return 1;
		say = open_memstream(&out, &out_len);
		err = say_all(bytes, head);
		fclose(say);
		printf("%send\n", err ? "refused\n" : out);
		free(out);
		free(bytes);
	}
	fclose(file);
	return 0;
}
