/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* A program as a user of the installed library would write it: headers, linking, one round. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <kho/host.h>
#include <kho/kho.h>
#include <kho/abi/handover.h>
#include <kho/abi/slab.h>

KHO_FORMATS_NOTE({"text", 1, 1, 1, 0, 0});

/* However it was linked: what it reads and writes is in its file. */
static int noted(void)
{
	static struct kho_note_format formats[KHO_NOTE_FORMATS_MAX];
	int own = 0, library = 0, nr = kho_note_read(open("/proc/self/exe", O_RDONLY), formats);

	for (int i = 0; i < nr; i++) {
		own += formats[i].type == KHO_ABI_NOTE_FORMATS;
		library += formats[i].type == KHO_ABI_NOTE_BUILT_WITH;
	}
	return own == 1 && library > 1;
}

static int fail(const char *what)
{
	fprintf(stderr, "consumer: %s: %s\n", what, kho_error());
	return 1;
}

int main(void)
{
	struct kho_config config = KHO_CONFIG_INIT;
	void **slot;
	char *text;

	if (!noted())
		return fail("notes");
	config.name = "consumer";
	config.arena_max = 256 << 20;
	if (kho_start(&config) != KHO_FRESH)
		return fail("kho_start");
	slot = kho_root("greeting", "text", 1);
	text = kho_malloc(6);
	if (!slot || !text)
		return fail("kho_root, kho_malloc");
	memcpy(text, "hello", 6);
	if (kho_publish(slot, text, NULL))
		return fail("kho_publish");
	if (kho_ready() || kho_healthy())
		return fail("kho_ready");
	if (kho_root("greeting", "text", 1) != slot || strcmp(*slot, "hello"))
		return fail("the greeting is not there");
	return kho_close() ? fail("kho_close") : 0;
}
