/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Who reads and writes what. Checked in the predecessor before anything stops: the
 * successor must read all that is there, and until it is healthy must write nothing
 * that the predecessor, rolled back to, could not read.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "life.h"

/* Bump with the ABI headers: these are the versions of the code in this library. */
static const struct kho_format own[] = {
	{"kho", 4, 4, 4},  {"radix", 1, 1, 1},	  {"arena", 1, 1, 1},
	{"slab", 1, 1, 1}, {"handover", 1, 1, 1},
};

#define NR_OWN (sizeof(own) / sizeof(own[0]))

int kho_formats_valid_(const struct kho_config *config)
{
	if (config->nr_formats > KHO_ABI_FORMATS_MAX - NR_OWN)
		return kho_fail_(-EINVAL, "%u formats, at most %zu are possible",
				 config->nr_formats, KHO_ABI_FORMATS_MAX - NR_OWN);
	for (unsigned int i = 0; i < config->nr_formats; i++) {
		const struct kho_format *f = &config->formats[i];

		if (!f->name || !*f->name || strlen(f->name) > 31 || strpbrk(f->name, ".;"))
			return kho_fail_(-EINVAL,
					 "format %u: its name must have 1 to 31 bytes and "
					 "no '.' or ';'",
					 i);
		if (f->reads_min > f->reads_max)
			return kho_fail_(-EINVAL, "format %s reads %u to %u", f->name, f->reads_min,
					 f->reads_max);
	}
	return 0;
}

static void put(struct kho_abi_msg_format *to, const struct kho_format *from)
{
	memset(to, 0, sizeof(*to));
	strncpy(to->name, from->name, sizeof(to->name) - 1);
	to->reads_min = from->reads_min;
	to->reads_max = from->reads_max;
	to->writes = from->writes;
}

void kho_formats_hello_(struct kho_abi_msg_hello *hello, struct kho_abi_msg_format *formats)
{
	const struct kho_config *config = &kho_life_.config;

	memset(hello, 0, sizeof(*hello));
	memcpy(hello->name, kho_life_.name, sizeof(hello->name));
	memcpy(hello->release, kho_life_.release, sizeof(hello->release));
	hello->pid = getpid();
	for (size_t i = 0; i < NR_OWN; i++)
		put(&formats[i], &own[i]);
	for (unsigned int i = 0; i < config->nr_formats; i++)
		put(&formats[NR_OWN + i], &config->formats[i]);
	hello->nr_formats = NR_OWN + config->nr_formats;
}

static const struct kho_abi_msg_format *find(const struct kho_abi_msg_format *list, unsigned int nr,
					     const char *name)
{
	for (unsigned int i = 0; i < nr; i++)
		if (!strcmp(list[i].name, name))
			return &list[i];
	return NULL;
}

/* Does whoever has @readers read all that @writers say? */
static int covered(const struct kho_abi_msg_format *writers, unsigned int nr_writers,
		   const struct kho_abi_msg_format *readers, unsigned int nr_readers, bool ours)
{
	const char *writer = ours ? "we write" : "the successor writes";
	const char *reader = ours ? "the successor reads" : "we read";

	for (unsigned int i = 0; i < nr_writers; i++) {
		const struct kho_abi_msg_format *w = &writers[i];
		const struct kho_abi_msg_format *r = find(readers, nr_readers, w->name);

		if (!w->writes)
			continue;
		if (!r)
			return kho_fail_(-KHO_E_INCOMPATIBLE, "format %s: %s version %u, %s none",
					 w->name, writer, w->writes, reader);
		if (w->writes < r->reads_min || w->writes > r->reads_max)
			return kho_fail_(-KHO_E_INCOMPATIBLE,
					 "format %s: %s version %u, %s %u to %u", w->name, writer,
					 w->writes, reader, r->reads_min, r->reads_max);
	}
	return 0;
}

int kho_formats_check_(const struct kho_abi_msg_hello *theirs)
{
	static struct kho_abi_msg_format ours[KHO_ABI_FORMATS_MAX]; /* only the keeper comes here */
	const struct kho_abi_msg_format *formats = (const void *)(theirs + 1);
	struct kho_abi_msg_hello hello;

	kho_formats_hello_(&hello, ours);
	return covered(ours, hello.nr_formats, formats, theirs->nr_formats, true)
		       ?: covered(formats, theirs->nr_formats, ours, hello.nr_formats, false);
}
