/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Run a fuzz target over files, and all files of directories, without a fuzzer. */
#include "fuzz.h"

#include <dirent.h>
#include <sys/stat.h>

static unsigned int nr_inputs;

static int replay(const char *path)
{
	FILE *file = fopen(path, "rb");
	uint8_t *data = NULL;
	struct stat st;
	int err = 1;

	if (!file || fstat(fileno(file), &st))
		goto out;
	data = malloc(st.st_size ? (size_t)st.st_size : 1);
	if (!data || fread(data, 1, (size_t)st.st_size, file) != (size_t)st.st_size)
		goto out;
	nr_inputs++;
	LLVMFuzzerTestOneInput(data, (size_t)st.st_size);
	err = 0;
out:
	if (err)
		perror(path);
	if (file)
		fclose(file);
	free(data);
	return err;
}

static int replay_all(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int err = 0;

	if (!dir)
		return replay(path);
	while ((entry = readdir(dir))) {
		char name[4096];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		err |= replay(name);
	}
	closedir(dir);
	return err;
}

int main(int argc, char **argv)
{
	int err = 0;

	for (int i = 1; i < argc; i++)
		err |= replay_all(argv[i]);
	printf("%s: %u inputs\n", argv[0], nr_inputs);
	return err || !nr_inputs;
}
