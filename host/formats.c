/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Who reads and writes what. Checked in the predecessor before anything stops: the
 * successor must read all that is there, and until it is healthy must write nothing
 * that the predecessor, rolled back to, could not read.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "formats.h"
#include "life.h"
#include "migrate.h"
#include "note.h"
#include "sessions.h"
#include "subtree.h"

/* From the one list of the library's formats. */
#define FORMAT(name, min, max, writes, flags) {name, min, max, writes, 0, flags},
static const struct kho_format own[] = {KHO_ABI_LIBRARY_FORMATS(FORMAT)};
/* The same in the file that contains this: one without it does not hand over. */
KHO_NOTE_SECTION_(KHO_ABI_NOTE_LIBRARY, kho_note_library, KHO_ABI_LIBRARY_FORMATS(FORMAT));

#define NR_OWN (sizeof(own) / sizeof(own[0]))

static bool is_own(const char *name)
{
	for (size_t i = 0; i < NR_OWN; i++)
		if (!strcmp(own[i].name, name))
			return true;
	return false;
}

int kho_formats_valid_(const struct kho_config *config)
{
	size_t max = KHO_ABI_FORMATS_MAX - NR_OWN - kho_handlers_nr_formats_();

	if (config->nr_formats > max)
		return kho_fail_(-EINVAL, "%u formats, at most %zu are possible",
				 config->nr_formats, max);
	for (unsigned int i = 0; i < config->nr_formats; i++) {
		const struct kho_format *f = &config->formats[i];

		if (!f->name || !*f->name || strlen(f->name) > 31 || strpbrk(f->name, ".;"))
			return kho_fail_(-EINVAL,
					 "format %u: its name must have 1 to 31 bytes and "
					 "no '.' or ';'",
					 i);
		if (is_own(f->name))
			return kho_fail_(-EINVAL, "format %s: the name is the library's", f->name);
		if (f->reads_min > f->reads_max || f->writes_min > f->writes)
			return kho_fail_(-EINVAL, "format %s reads %u to %u, writes %u to %u",
					 f->name, f->reads_min, f->reads_max, f->writes_min,
					 f->writes);
		if (f->flags & ~(KHO_FORMAT_OPTIONAL | KHO_FORMAT_LATER))
			return kho_fail_(-EINVAL, "format %s: unknown flags %#x", f->name,
					 f->flags);
	}
	return 0;
}

static void put(struct kho_abi_format *to, const struct kho_format *from)
{
	memset(to, 0, sizeof(*to));
	strncpy(to->name, from->name, sizeof(to->name) - 1);
	to->reads_min = from->reads_min;
	to->reads_max = from->reads_max;
	to->writes = from->writes;
	to->writes_min = from->writes_min;
	to->flags = from->flags;
}

void kho_formats_hello_(struct kho_abi_msg_hello *hello, struct kho_abi_format *formats)
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
	hello->nr_formats += kho_handlers_formats_(&formats[hello->nr_formats],
						   KHO_ABI_FORMATS_MAX - hello->nr_formats);
}

const struct kho_abi_format *kho_format_find_(const struct kho_abi_format *list, unsigned int nr,
					      const char *name)
{
	for (unsigned int i = 0; i < nr; i++)
		if (!strcmp(list[i].name, name))
			return &list[i];
	return NULL;
}

bool kho_format_reads_(const struct kho_abi_format *reader, __u32 version)
{
	return reader && version >= reader->reads_min && version <= reader->reads_max;
}

__u32 kho_format_common_(const struct kho_abi_format *writer, const struct kho_abi_format *reader)
{
	__u32 min = writer->writes_min ?: writer->writes, max = writer->writes;

	if (!reader)
		return 0;
	min = min > reader->reads_min ? min : reader->reads_min;
	max = max < reader->reads_max ? max : reader->reads_max;
	return min <= max ? max : 0;
}

/* "version 3", "versions 1 to 3" */
static const char *range(char *text, size_t size, __u32 min, __u32 max)
{
	if (min == max)
		snprintf(text, size, "version %u", max);
	else
		snprintf(text, size, "versions %u to %u", min, max);
	return text;
}

static int refuse(const struct kho_abi_format *writer, const struct kho_abi_format *reader,
		  __u32 min, const char *who)
{
	bool ours = !strcmp(who, "we");
	char written[40], read[40] = "none";

	range(written, sizeof(written), min, writer->writes);
	if (reader)
		range(read, sizeof(read), reader->reads_min, reader->reads_max);
	return kho_fail_(-KHO_E_INCOMPATIBLE, "format %s: %s %s %s, %s %s", writer->name, who,
			 ours ? "write" : "writes", written,
			 ours ? "the successor reads" : "we read", read);
}

/* Can what is not read be made so, by a migration? */
typedef bool (*can_fn)(const struct kho_abi_format *writer, const struct kho_abi_format *reader);

static bool by_hook(const struct kho_abi_format *writer, const struct kho_abi_format *reader)
{
	return reader && kho_migrate_find_(writer->name, writer->writes, reader->reads_min,
					   reader->reads_max);
}

/* A file does not say what hooks are in it; that it can write older versions is a hint. */
static bool perhaps(const struct kho_abi_format *writer, const struct kho_abi_format *reader)
{
	return kho_format_common_(writer, reader);
}

/*
 * Does the successor read all that is there? What we wrote is there in one version each; which parts
 * there are, and in which version, the arena says.
 */
static int check_theirs_read(const struct kho_abi_format *ours, unsigned int nr_ours,
			     const struct kho_abi_format *theirs, unsigned int nr_theirs,
			     can_fn can)
{
	for (unsigned int i = 0; i < nr_ours; i++) {
		const struct kho_abi_format *w = &ours[i];
		const struct kho_abi_format *r = kho_format_find_(theirs, nr_theirs, w->name);

		if (!w->writes || w->flags & (KHO_ABI_FORMAT_OPTIONAL | KHO_ABI_FORMAT_PART))
			continue;
		if (!kho_format_reads_(r, w->writes) && !can(w, r))
			return refuse(w, r, w->writes, "we");
	}
	return 0;
}

/* Can it write what we read, until it is healthy? */
static int check_theirs_write(const struct kho_abi_format *theirs, unsigned int nr_theirs,
			      const struct kho_abi_format *ours, unsigned int nr_ours)
{
	for (unsigned int i = 0; i < nr_theirs; i++) {
		const struct kho_abi_format *w = &theirs[i];
		const struct kho_abi_format *r = kho_format_find_(ours, nr_ours, w->name);

		if (w->writes && !w->flags && !kho_format_common_(w, r))
			return refuse(w, r, w->writes_min ?: w->writes, "the successor");
	}
	return 0;
}

int kho_formats_compare_(const struct kho_abi_format *ours, unsigned int nr_ours,
			 const struct kho_abi_format *theirs, unsigned int nr_theirs)
{
	int r = check_theirs_read(ours, nr_ours, theirs, nr_theirs, perhaps);

	return r ? r : check_theirs_write(theirs, nr_theirs, ours, nr_ours);
}

/* ---- parts of the arena ------------------------------------------------------- */

struct readers {
	const struct kho_abi_format *list;
	unsigned int nr;
};

static int check_part(void *ctx, const struct khoc_compat_part *part)
{
	const struct readers *readers = ctx;
	char name[KHO_ABI_COMPAT_NAME_MAX + 1] = "", read[40] = "none";
	const struct kho_abi_format *reader;

	memcpy(name, part->name, part->name_len);
	reader = kho_format_find_(readers->list, readers->nr, name);
	if (part->optional || kho_format_reads_(reader, part->version))
		return 0;
	if (reader)
		range(read, sizeof(read), reader->reads_min, reader->reads_max);
	return kho_fail_(-KHO_E_INCOMPATIBLE,
			 "part %s: the arena has version %u, the successor reads %s", name,
			 part->version, read);
}

int kho_formats_parts_(const struct kho_abi_format *theirs, unsigned int nr)
{
	struct readers readers = {theirs, nr};

	return kho_root_parts_(check_part, &readers) ?: kho_sessions_readable_(theirs, nr);
}

int kho_formats_check_(const struct kho_abi_msg_hello *theirs)
{
	static struct kho_abi_format ours[KHO_ABI_FORMATS_MAX]; /* only the keeper comes here */
	const struct kho_abi_format *formats = (const void *)(theirs + 1);
	unsigned int nr = theirs->nr_formats;
	struct kho_abi_msg_hello hello;
	int r;

	kho_formats_hello_(&hello, ours);
	r = check_theirs_read(ours, hello.nr_formats, formats, nr, by_hook);
	r = r ? r : check_theirs_write(formats, nr, ours, hello.nr_formats);
	r = r ? r : kho_formats_parts_(formats, nr);
	return r ? r : kho_migrate_check_(formats, nr);
}

/* ---- what a successor may write until it is healthy ---------------------------- */

/* By number of kho_config.formats; written before kho_start() returns. */
static __u32 until_healthy[KHO_ABI_FORMATS_MAX];
static bool may_use[NR_OWN]; /* the library's own: does the predecessor read what we write? */
static bool negotiated;

void kho_formats_welcome_(const struct kho_abi_msg_hello *theirs)
{
	const struct kho_config *config = &kho_life_.config;
	const struct kho_abi_format *readers = (const void *)(theirs + 1);

	for (unsigned int i = 0; i < config->nr_formats; i++) {
		const struct kho_format *f = &config->formats[i];
		struct kho_abi_format writer;

		put(&writer, f);
		until_healthy[i] = kho_format_common_(
			&writer, kho_format_find_(readers, theirs->nr_formats, f->name));
		if (!until_healthy[i] && !f->flags)
			until_healthy[i] = f->writes; /* forced */
	}
	for (size_t i = 0; i < NR_OWN; i++)
		may_use[i] = kho_format_reads_(
			kho_format_find_(readers, theirs->nr_formats, own[i].name), own[i].writes);
	kho_handlers_welcome_(readers, theirs->nr_formats);
	negotiated = true;
}

int kho_formats_may_use_(const struct khoc_compat_part *part)
{
	if (!negotiated || part->optional || kho_life_alone_())
		return 0;
	for (size_t i = 0; i < NR_OWN; i++) {
		if (strlen(own[i].name) != part->name_len ||
		    memcmp(own[i].name, part->name, part->name_len) || may_use[i])
			continue;
		return kho_fail_(-KHO_E_INCOMPATIBLE,
				 "part %s: the predecessor, which may have to go on with this "
				 "arena, does not read version %u: not before kho_healthy()",
				 own[i].name, part->version);
	}
	return 0;
}

int kho_format_writes(const char *name)
{
	const struct kho_config *config = &kho_life_.config;

	for (unsigned int i = 0; i < config->nr_formats; i++) {
		const struct kho_format *f = &config->formats[i];

		if (strcmp(f->name, name))
			continue;
		return (int)(negotiated && !kho_life_alone_() ? until_healthy[i] : f->writes);
	}
	return kho_fail_(-ENOENT, "format %s is not one of kho_config.formats", name);
}
