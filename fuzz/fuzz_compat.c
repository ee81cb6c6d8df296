/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Any bytes as a compatibility string. What passes the check can be gone through, is sorted and
 * unique, and comes out the same when its parts are put together again in another order.
 */
#include "fuzz.h"

#include <errno.h>

static void put_together(const char *string, const struct khoc_compat_part *parts, unsigned int nr)
{
	struct khoc_compat_part turned[KHO_ABI_COMPAT_PARTS_MAX];
	char again[KHO_ABI_COMPAT_MAX];
	int len;

	for (unsigned int i = 0; i < nr - 1; i++)
		turned[i] = parts[nr - 1 - i];
	len = khoc_compat_compose(again, sizeof(again), &parts[0], turned, nr - 1);
	FACT(len > 0 && !(len & 7) && !strcmp(again, string));
}

static void sound(const char *string, size_t size)
{
	static const struct khoc_compat_reads none[] = {{"kho", 4, 4, true}};
	struct khoc_compat_part parts[KHO_ABI_COMPAT_PARTS_MAX + 1];
	struct khoc_compat_reads reads[KHO_ABI_COMPAT_PARTS_MAX + 1];
	char names[KHO_ABI_COMPAT_PARTS_MAX + 1][KHO_ABI_COMPAT_NAME_MAX + 1] = {0};
	bool mandatory = false;
	unsigned int nr = 0;
	size_t pos = 0;
	int err;

	while (!(err = khoc_compat_next(string, size, &pos, &parts[nr]))) {
		memcpy(names[nr], parts[nr].name, parts[nr].name_len);
		reads[nr] = (struct khoc_compat_reads){names[nr], parts[nr].version,
						       parts[nr].version, true};
		mandatory |= nr && !parts[nr].optional;
		nr++;
	}
	FACT(err == -ENOENT && nr >= 1);
	put_together(string, parts, nr);
	FACT(!khoc_compat_match(string, size, reads, nr, NULL));
	if (!strcmp(names[0], "kho") && parts[0].version == 4)
		FACT(!khoc_compat_match(string, size, none, 1, NULL) == !mandatory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *string = malloc(size ? size : 1), text[300];
	struct khoc_compat_part part;
	struct khoc_compat_why why;
	size_t pos = 0;
	int err;

	memcpy(string, data, size);
	err = khoc_compat_check(string, size, &why);
	FACT(!err == (why.verdict == KHOC_COMPAT_OK));
	FACT(strlen(khoc_compat_text(&why, text, sizeof(text))) < sizeof(text) - 1);
	if (!err)
		sound(string, size);
	else
		for (int i = 0; i < 1000 && !khoc_compat_next(string, size, &pos, &part); i++)
			FACT(part.name_len && part.version);
	free(string);
	return 0;
}
