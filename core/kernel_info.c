/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What a kernel reads and writes: a list in its image. An image is bytes that somebody gives us, at
 * any address: words are copied out, and every offset is held against the file's size first.
 *
 *	record	struct kho_abi_format; ascending by name, so that each name is there once
 */
#include "mem.h"

#define RECORD sizeof(struct kho_abi_format)

/* ---- a list -------------------------------------------------------------- */

static int list_fault(struct khoc_report *report, int code, u64 addr, u64 value, u64 limit,
		      const char *field)
{
	return report_fault(report, code, KHOC_S_FORMATS, -1, addr, value, limit, field);
}

void khoc_kernel_format(const struct khoc_kernel_formats *formats, unsigned int i,
			struct kho_abi_format *format)
{
	memcpy(format, formats->records + i * RECORD, RECORD);
}

int khoc_kernel_find(const struct khoc_kernel_formats *formats, const char *name,
		     struct kho_abi_format *format)
{
	for (unsigned int i = 0; i < formats->nr; i++) {
		khoc_kernel_format(formats, i, format);
		if (!strcmp(format->name, name))
			return 0;
	}
	return -ENOENT;
}

static bool name_ok(const char *name)
{
	size_t len = strnlen(name, KHO_ABI_COMPAT_NAME_MAX + 1);

	for (size_t i = 0; i < len; i++)
		if (!name_char_ok(name[i]) && name[i] != ',')
			return false;
	return len && len <= KHO_ABI_COMPAT_NAME_MAX;
}

/* @before: the record before it, or NULL */
static int check_record(const struct kho_abi_format *f, const struct kho_abi_format *before, u64 at,
			struct khoc_report *report)
{
	int order;

	if (!name_ok(f->name))
		return list_fault(report, KHO_E_FORMAT, at, 0, 0, "name");
	if (!f->reads_min || f->reads_min > f->reads_max)
		return list_fault(report, KHO_E_RANGE,
				  at + offsetof(struct kho_abi_format, reads_min), f->reads_min,
				  f->reads_max, "reads_min");
	if (f->writes_min > f->writes)
		return list_fault(report, KHO_E_RANGE,
				  at + offsetof(struct kho_abi_format, writes_min), f->writes_min,
				  f->writes, "writes_min");
	if (!before)
		return 0;
	order = strcmp(before->name, f->name);
	if (order)
		return order < 0 ? 0 : list_fault(report, KHO_E_FORMAT, at, 0, 0, "name");
	return list_fault(report, KHO_E_DUPLICATE, at, 0, 0, "name");
}

/* @at: of the records; each name was seen to end before it is compared with the next. */
static int check_records(const struct khoc_kernel_formats *formats, u64 at,
			 struct khoc_report *report)
{
	struct kho_abi_format f[2];
	int err;

	for (unsigned int i = 0; i < formats->nr; i++) {
		khoc_kernel_format(formats, i, &f[i & 1]);
		err = check_record(&f[i & 1], i ? &f[~i & 1] : NULL, at + i * RECORD, report);
		if (err)
			return err;
	}
	/* Who reads no handover has no list. */
	return khoc_kernel_find(formats, KHO_ABI_KERNEL_BASE, &f[0])
		       ? list_fault(report, KHO_E_FORMAT, at, 0, 0, KHO_ABI_KERNEL_BASE)
		       : 0;
}

int khoc_kernel_list(struct khoc_kernel_formats *formats, const void *records, size_t size, u64 at,
		     struct khoc_report *report)
{
	int err;

	report_clear(report);
	*formats = (struct khoc_kernel_formats){0};
	if (!size || size % RECORD)
		return list_fault(report, KHO_E_FORMAT, at, size, RECORD, "size");
	if (size / RECORD > KHO_ABI_KERNEL_FORMATS_MAX)
		return list_fault(report, KHO_E_RANGE, at, size / RECORD,
				  KHO_ABI_KERNEL_FORMATS_MAX, "size");
	formats->records = records;
	formats->nr = (unsigned int)(size / RECORD);
	err = check_records(formats, at, report);
	if (err)
		formats->nr = 0;
	return err;
}

int khoc_kernel_note(struct khoc_kernel_formats *formats, const void *bytes, size_t size, u64 at,
		     struct khoc_report *report)
{
	struct kho_abi_note note;

	report_clear(report);
	*formats = (struct khoc_kernel_formats){0};
	if (size < sizeof(note))
		return list_fault(report, KHO_E_TRUNCATED, at, size, sizeof(note), "name_size");
	memcpy(&note, bytes, sizeof(note));
	if (note.name_size != sizeof(note.name))
		return list_fault(report, KHO_E_MAGIC, at, note.name_size, sizeof(note.name),
				  "name_size");
	if (memcmp(note.name, KHO_ABI_NOTE_OWNER, sizeof(note.name)))
		return list_fault(report, KHO_E_MAGIC, at + offsetof(struct kho_abi_note, name), 0,
				  0, "name");
	if (note.type != KHO_ABI_NOTE_KERNEL)
		return list_fault(report, KHO_E_MAGIC, at + offsetof(struct kho_abi_note, type),
				  note.type, KHO_ABI_NOTE_KERNEL, "type");
	size -= sizeof(note);
	if (note.size != size)
		return list_fault(report, note.size > size ? KHO_E_TRUNCATED : KHO_E_FORMAT,
				  at + offsetof(struct kho_abi_note, size), note.size, size,
				  "size");
	return khoc_kernel_list(formats, (const char *)bytes + sizeof(note), size,
				at + sizeof(note), report);
}

/* ---- a bzImage ----------------------------------------------------------- */

static int info_fault(struct khoc_report *report, int code, u64 addr, u64 value, u64 limit,
		      const char *field)
{
	return report_fault(report, code, KHOC_S_KERNEL_INFO, -1, addr, value, limit, field);
}

static u32 word_at(const char *image, u64 at)
{
	u32 word;

	memcpy(&word, image + at, sizeof(word));
	return word;
}

static bool is_bzimage(const char *image, size_t size)
{
	return size >= KHO_ABI_BOOT_HEADER_END &&
	       word_at(image, KHO_ABI_BOOT_MAGIC_AT) == KHO_ABI_BOOT_MAGIC;
}

/* Where kernel_info is, and its head. No sum wraps: all that is added has 32 bits. */
static int find_info(const char *image, size_t size, u64 *at, struct kho_abi_kernel_info *info,
		     struct khoc_report *report)
{
	u64 sectors = (unsigned char)image[KHO_ABI_BOOT_SETUP_SECTS];

	*at = ((sectors ? sectors : 4) + 1) * 512 + word_at(image, KHO_ABI_BOOT_INFO_OFFSET);
	if (!mem_inside(size, *at, sizeof(*info)))
		return info_fault(report, KHO_E_TRUNCATED, KHO_ABI_BOOT_INFO_OFFSET, *at, size,
				  "kernel_info_offset");
	memcpy(info, image + *at, sizeof(*info));
	if (info->magic != KHO_ABI_KERNEL_INFO_MAGIC)
		return info_fault(report, KHO_E_MAGIC, *at, info->magic, KHO_ABI_KERNEL_INFO_MAGIC,
				  "magic");
	if (info->size < sizeof(*info) || info->size > info->size_total)
		return info_fault(report, KHO_E_RANGE,
				  *at + offsetof(struct kho_abi_kernel_info, size), info->size,
				  info->size_total, "size");
	if (info->size_total > KHO_ABI_KERNEL_INFO_MAX)
		return info_fault(report, KHO_E_RANGE,
				  *at + offsetof(struct kho_abi_kernel_info, size_total),
				  info->size_total, KHO_ABI_KERNEL_INFO_MAX, "size_total");
	if (!mem_inside(size, *at, info->size_total))
		return info_fault(report, KHO_E_TRUNCATED,
				  *at + offsetof(struct kho_abi_kernel_info, size_total),
				  info->size_total, size - *at, "size_total");
	return 0;
}

/* Our chunk of those from @at to @end; each has a head at least, so the walk ends. */
static int find_chunk(struct khoc_kernel_formats *formats, const char *image, u64 at, u64 end,
		      struct khoc_report *report)
{
	struct kho_abi_kernel_chunk chunk;
	int err;

	for (; at < end; at += chunk.size) {
		if (end - at < sizeof(chunk))
			return info_fault(report, KHO_E_TRUNCATED, at, end - at, sizeof(chunk),
					  "chunk");
		memcpy(&chunk, image + at, sizeof(chunk));
		if (chunk.size < sizeof(chunk) || chunk.size > end - at)
			return info_fault(report, KHO_E_RANGE,
					  at + offsetof(struct kho_abi_kernel_chunk, size),
					  chunk.size, end - at, "chunk size");
		if (chunk.magic != KHO_ABI_KERNEL_CHUNK_MAGIC)
			continue;
		if (formats->nr)
			return info_fault(report, KHO_E_DUPLICATE, at, chunk.magic, 0, "chunk");
		err = khoc_kernel_note(formats, image + at + sizeof(chunk),
				       chunk.size - sizeof(chunk), at + sizeof(chunk), report);
		if (err)
			return err;
	}
	return formats->nr ? 0 : -ENOENT;
}

int khoc_kernel_image(struct khoc_kernel_formats *formats, const void *image, size_t size,
		      struct khoc_report *report)
{
	struct kho_abi_kernel_info info;
	u64 at;
	int err;

	report_clear(report);
	*formats = (struct khoc_kernel_formats){0};
	if (!is_bzimage(image, size))
		return report_fault(report, KHO_E_MAGIC, KHOC_S_NONE, -1, KHO_ABI_BOOT_MAGIC_AT, 0,
				    KHO_ABI_BOOT_MAGIC, "header");
	if ((word_at(image, KHO_ABI_BOOT_VERSION) & 0xffff) < KHO_ABI_BOOT_VERSION_INFO)
		return -ENOENT;
	err = find_info(image, size, &at, &info, report);
	if (!err)
		err = find_chunk(formats, image, at + info.size, at + info.size_total, report);
	if (err)
		formats->nr = 0;
	return err;
}

/* ---- what it can read, and writes ----------------------------------------- */

static const struct kho_abi_format linux_records[] = {
	{"block", 1, 1, 1, 0, 0},    {"kexec-metadata", 1, 1, 1, 0, KHO_ABI_FORMAT_OPTIONAL},
	{"kho", 4, 4, 4, 0, 0},	     {"luo", 5, 5, 5, 0, 0},
	{"memblock", 1, 1, 1, 0, 0}, {"memfd", 2, 2, 2, 0, 0},
	{"radix", 1, 1, 1, 0, 0},    {"vmalloc", 1, 1, 1, 0, 0},
};

static const struct khoc_kernel_formats linux_formats = {
	(const char *)linux_records,
	sizeof(linux_records) / RECORD,
};

const struct khoc_kernel_formats *khoc_kernel_linux(void)
{
	return &linux_formats;
}

int khoc_kernel_writes(const struct khoc_kernel_formats *formats, char *to, size_t size)
{
	struct khoc_compat_part base = {0}, parts[KHO_ABI_KERNEL_FORMATS_MAX];
	struct kho_abi_format f;
	unsigned int nr = 0;

	for (unsigned int i = 0; i < formats->nr; i++) {
		struct khoc_compat_part *part;

		khoc_kernel_format(formats, i, &f);
		part = strcmp(f.name, KHO_ABI_KERNEL_BASE) ? &parts[nr] : &base;
		if (!f.writes || (part != &base && f.flags & KHO_ABI_FORMAT_PART))
			continue;
		*part = (struct khoc_compat_part){
			.name = formats->records + i * RECORD,
			.name_len = (u32)strlen(f.name),
			.version = f.writes,
			.optional = part != &base && f.flags & KHO_ABI_FORMAT_OPTIONAL,
		};
		nr += part != &base;
	}
	return base.name ? khoc_compat_compose(to, size, &base, parts, nr) : -EINVAL;
}

int khoc_kernel_match(const struct khoc_kernel_formats *formats, const char *string, size_t size,
		      struct khoc_compat_why *why)
{
	struct khoc_compat_reads reads[KHO_ABI_KERNEL_FORMATS_MAX];
	struct kho_abi_format f;
	unsigned int nr = 1;

	/* A list that was checked has the base; in another one no version of it is read. */
	reads[0] = (struct khoc_compat_reads){.name = KHO_ABI_KERNEL_BASE};
	for (unsigned int i = 0; i < formats->nr; i++) {
		struct khoc_compat_reads *to;

		khoc_kernel_format(formats, i, &f);
		to = strcmp(f.name, KHO_ABI_KERNEL_BASE) ? &reads[nr++] : &reads[0];
		*to = (struct khoc_compat_reads){
			.name = formats->records + i * RECORD,
			.min = f.reads_min,
			.max = f.reads_max,
		};
	}
	return khoc_compat_match(string, size, reads, nr, why);
}
