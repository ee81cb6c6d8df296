/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Any bytes as an ELF file: reading its notes stays inside, and what is found is well formed. */
#include "fuzz.h"

#include "../host/note.h"

struct bytes {
	const uint8_t *data;
	size_t size;
	unsigned int reads;
};

static int read_bytes(void *ctx, __u64 at, void *to, size_t len)
{
	struct bytes *b = ctx;

	FACT(at <= b->size && len <= b->size - at);
	/* Head, program headers, notes and formats: what the reader's own limits come to. */
	FACT(++b->reads <= 1 + 1024 + 16384 + KHO_NOTE_FORMATS_MAX + 1);
	memcpy(to, b->data + at, len);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct kho_note_format formats[KHO_NOTE_FORMATS_MAX];
	struct bytes bytes = {data, size, 0};
	struct note_file file = {read_bytes, &bytes, size};
	int nr = kho_note_parse_(&file, formats);

	FACT(nr <= KHO_NOTE_FORMATS_MAX);
	FACT(nr >= 0 || (-nr >= KHO_E_TRUNCATED && -nr < KHO_E_MAX));
	for (int i = 0; i < nr; i++) {
		const struct kho_abi_format *f = &formats[i].format;

		FACT(formats[i].type >= 1 && formats[i].type <= KHO_ABI_NOTE_KERNEL);
		FACT(*f->name && memchr(f->name, 0, sizeof(f->name)));
		FACT(f->reads_min <= f->reads_max && f->writes_min <= f->writes);
	}
	return 0;
}
