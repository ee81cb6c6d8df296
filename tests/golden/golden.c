/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Golden files for tests, in a process: see golden.h. */
#include "golden.h"
#include "sparse.h"

#define TEXT_MAX (1 << 20)

static FILE *open_golden(const char *name)
{
	char path[128];
	FILE *in;

	snprintf(path, sizeof(path), "tests/golden/%s", name);
	in = fopen(path, "rb");
	if (!in)
		printf("%s: not there\n", path);
	EXPECT(in);
	return in;
}

u64 golden_image(const char *name, char *bytes, u64 max)
{
	FILE *in = open_golden(name);
	u64 size = sparse_read(in, bytes, max);

	EXPECT(size);
	fclose(in);
	return size;
}

void said_begin(struct said *said)
{
	said->text = shim_alloc(TEXT_MAX);
	said->len = 0;
}

void say(struct said *said, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	said->len += (size_t)vsnprintf(said->text + said->len, TEXT_MAX - said->len, format, args);
	va_end(args);
	EXPECT(said->len < TEXT_MAX);
}

void say_bytes(struct said *said, const char *what, const void *bytes, size_t len)
{
	say(said, "%s ", what);
	for (size_t i = 0; i < len; i++)
		say(said, "%02x", ((const unsigned char *)bytes)[i]);
	say(said, "\n");
}

bool said_end(struct said *said, const char *name)
{
	FILE *in = open_golden(name);
	const char *at = said->text;
	char line[4096];
	bool same = true;

	while (same && fgets(line, sizeof(line), in)) {
		size_t len = strlen(line);

		if (line[0] == '#')
			continue;
		same = !strncmp(at, line, len);
		if (same)
			at += len;
	}
	if (!same)
		printf("%s: expected: %sfound: %.*s\n", name, line, (int)strcspn(at, "\n"), at);
	else if (*at)
		printf("%s: nothing more expected; found: %.*s\n", name, (int)strcspn(at, "\n"),
		       at);
	same = same && !*at;
	fclose(in);
	shim_free(said->text);
	return same;
}
