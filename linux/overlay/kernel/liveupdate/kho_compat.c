// SPDX-License-Identifier: GPL-2.0-only
/*
 * What our handovers are made of, what we read, and whether the next kernel could read it.
 *
 *	list	what a kernel reads and writes, a record for each format: ours is in kho_formats.S,
 *		that of a kernel to be loaded in its image; one without a list is Linux 7.2
 *	part	a format that the root FDT's "compatible" names. A part's version is its own: a
 *		handover is refused by the name of the part that does not fit
 *
 * The next kernel is asked when its image is loaded, because there is no way back after the jump.
 * What is handed over only later, and whether the image does what its list says, is not seen.
 */
#define pr_fmt(fmt) "KHO: " fmt

#include <linux/build_bug.h>
#include <linux/cache.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/kexec_handover.h>
#include <linux/kho/abi/compat.h>
#include <linux/kho/abi/formats.h>
#include <linux/kho/abi/kexec_handover.h>
#include <linux/kho/abi/kexec_metadata.h>
#include <linux/kho/abi/luo.h>
#include <linux/kho/abi/memblock.h>
#include <linux/kho/abi/memfd.h>
#include <linux/moduleparam.h>
#include <linux/printk.h>
#include <linux/string.h>
#include <linux/stringify.h>

#include <kho/core/compat.h>
#include <kho/core/kernel_info.h>
#include <kho/core/luo.h>
#include <kho/core/metadata.h>
#include <kho/core/reserve_mem.h>
#include <kho/core/sparse_memfd.h>

#include "kexec_handover_internal.h"
#include "kho_slab.h"

static_assert(KHO_FORMAT_OPTIONAL == KHO_ABI_FORMAT_OPTIONAL);
static_assert(KHO_FORMAT_PART == KHO_ABI_FORMAT_PART);
static_assert(KHO_ARRAY_VERSION == KHO_ABI_ARRAY_VERSION);
static_assert(KHO_SLAB_VERSION == KHO_ABI_SLAB_VERSION);
static_assert(KHO_TYPES_VERSION == KHO_ABI_TYPES_VERSION);
static_assert(KHO_METADATA_VERSION == KHO_KEXEC_METADATA_VERSION);

#define VERSION(name, number) name "-v" __stringify(number)
#define MEMBLOCK_COMPATIBLE MEMBLOCK_KHO_NODE_COMPATIBLE
#define SPARSEFD VERSION("sparsefd", KHO_SPARSEFD_VERSION)

const char kho_compat_writes[] = VERSION("kho", KHO_FDT_VERSION)
	KHO_SUB_COMPAT(VERSION("block", KHO_BLOCK_VERSION))
		KHO_SUB_COMPAT(VERSION("radix", KHO_RADIX_VERSION))
			KHO_SUB_COMPAT(VERSION("vmalloc", KHO_VMALLOC_VERSION));

/* The same of Linux 7.2, which says nothing of parts. */
static const char plain_writes[] = "kho-v4;block-v1;radix-v1;vmalloc-v1";

/* Room for what khoc_compat_text() says. */
#define WHY_TEXT 160

/* ---- our own list -------------------------------------------------------- */

static struct khoc_kernel_formats own __ro_after_init;

/* Is first called in kho_populate(), or by the first initcall of ours, by one CPU. */
static const struct khoc_kernel_formats *own_formats(void)
{
	struct khoc_report report;

	if (!own.nr)
		WARN_ON_ONCE(khoc_kernel_note(&own, kho_formats, kho_formats_end - kho_formats, 0,
					      &report));
	return &own;
}

/**
 * kho_compat_init() - hand over our own list
 *
 * Return: 0 or what kho_alloc_preserve() and kho_add_subtree() say.
 */
int __init kho_compat_init(void)
{
	size_t size = kho_formats_end - kho_formats;
	void *blob = kho_alloc_preserve(size);
	int err;

	if (IS_ERR(blob))
		return PTR_ERR(blob);
	/* Each user has its version in its own header; sparse takes no strcmp() for a constant. */
	BUILD_BUG_ON(strcmp(VERSION("kho", KHO_FDT_VERSION), KHO_FDT_COMPATIBLE));
	BUILD_BUG_ON(strcmp(VERSION("luo", KHO_LUO_VERSION), LUO_ABI_COMPATIBLE));
	BUILD_BUG_ON(strcmp(VERSION("memblock", KHO_MEMBLOCK_VERSION), MEMBLOCK_COMPATIBLE));
	BUILD_BUG_ON(strcmp(VERSION("memfd", KHO_MEMFD_VERSION), MEMFD_LUO_FH_COMPATIBLE));
	BUILD_BUG_ON(strcmp(SPARSEFD, KHO_ABI_SPARSE_MEMFD_COMPATIBLE));
	own_formats();
	memcpy(blob, kho_formats, size);
	err = kho_add_subtree(KHO_ABI_KERNEL_NODE, blob, size);
	if (err)
		kho_unpreserve_free(blob);
	return err;
}

/* ---- what was handed over to us ------------------------------------------ */

/* Until debugfs has shown it: a report keeps the address. */
static char refusal[WHY_TEXT] __ro_after_init;

/**
 * kho_compat_check_root() - could we read this?
 * @fdt: a root FDT that passed khoc_root_check()
 * @fdt_phys: its address, for the report
 * @report: filled in if not
 *
 * Holds the compatibility string of "compatible" against our list, part by part. Linux 7.2 writes
 * no such string, and its own versions.
 *
 * Return: 0 or a fault.
 */
int __init kho_compat_check_root(const void *fdt, phys_addr_t fdt_phys, struct khoc_report *report)
{
	const char *composite = khoc_root_composite(fdt), *string = composite ?: plain_writes;
	struct khoc_compat_why why;
	int err;

	err = khoc_kernel_match(own_formats(), string, strlen(string) + 1, &why);
	if (!err)
		return 0;
	*report = (struct khoc_report){
		.fault = -err,
		.structure = KHOC_S_ROOT_FDT,
		.level = -1,
		.addr = fdt_phys + (composite ? composite - (const char *)fdt : 0),
		.value = why.version,
		.limit = why.max,
		.field = khoc_compat_text(&why, refusal, sizeof(refusal)),
	};
	return err;
}

/* ---- what we hand over, and to whom -------------------------------------- */

static bool arrays_in_use(void)
{
	return kho_slab_in_use() || kho_memfd_in_use();
}

/*
 * Users of the root FDT whose blobs have versions of their own; optional as our list says.
 * @in_use: is there anything? NULL: always
 */
static const struct {
	const char *node;
	const char *format;
	bool (*in_use)(void);
} users[] = {
	{KHO_ABI_METADATA_NODE, "kexec-metadata"},
	{KHO_ABI_LUO_NODE, "luo"},
	{KHO_ABI_LUO_NODE, "memfd"}, /* which it has is not known before the jump */
	{KHO_ABI_MEMBLOCK_NODE, "memblock"},
	{KHO_ABI_LUO_NODE, "sparsefd", kho_memfd_in_use},
	{KHO_ABI_SLABS_NODE, "array", arrays_in_use},
	{KHO_ABI_SLABS_NODE, "slab", kho_slab_in_use},
	{KHO_ABI_TYPES_NODE, "types"},
};

/* As a compatibility string; under kexec's lock. */
static struct {
	char text[KHO_ABI_COMPAT_MAX];
	struct khoc_compat_part part[KHO_ABI_COMPAT_PARTS_MAX + 1 + ARRAY_SIZE(users)];
	struct kho_abi_format format[ARRAY_SIZE(users)];
} now;

/* Parts of the root FDT, then those of its users that are there. */
static int describe(const void *fdt, void *ctx)
{
	const char *composite = khoc_root_composite(fdt) ?: plain_writes;
	size_t size = strlen(composite) + 1, pos = 0;
	struct khoc_subtree subtree;
	unsigned int nr = 0;
	int err;

	while (nr <= KHO_ABI_COMPAT_PARTS_MAX &&
	       !khoc_compat_next(composite, size, &pos, &now.part[nr]))
		nr++;
	for (unsigned int i = 0; i < ARRAY_SIZE(users); i++) {
		struct kho_abi_format *f = &now.format[i];

		if ((users[i].in_use && !users[i].in_use()) ||
		    khoc_root_find(fdt, users[i].node, &subtree) ||
		    khoc_kernel_find(own_formats(), users[i].format, f))
			continue;
		now.part[nr++] = (struct khoc_compat_part){
			.name = f->name,
			.name_len = strlen(f->name),
			.version = f->writes,
			.optional = f->flags & KHO_ABI_FORMAT_OPTIONAL,
		};
	}
	err = khoc_compat_compose(now.text, sizeof(now.text), &now.part[0], &now.part[1], nr - 1);
	return err < 0 ? err : 0;
}

/* kho_force: load what could not read what we hand over; it is refused there, if not misread. */
static bool kho_force;
core_param(kho_force, kho_force, bool, 0644);

/* Why an image cannot be loaded; NULL: it can. */
static const char *image_fault(const void *image, size_t size, char *text, size_t text_size)
{
	struct khoc_kernel_formats list;
	struct khoc_compat_why why;
	struct khoc_report report;
	int err = kho_root_with(describe, NULL);

	if (err) {
		scnprintf(text, text_size, "what we hand over has too many parts");
		return text;
	}
	err = khoc_kernel_image(&list, image, size, &report);
	if (err == -ENOENT || (err && report.structure == KHOC_S_NONE)) {
		list = *khoc_kernel_linux();
	} else if (err) {
		scnprintf(text, text_size, "its %s is damaged at byte 0x%llx, %s: %s",
			  khoc_structure_text(report.structure), report.addr, report.field,
			  khoc_fault_text(report.fault));
		return text;
	}
	err = khoc_kernel_match(&list, now.text, sizeof(now.text), &why);
	return err ? khoc_compat_text(&why, text, text_size) : NULL;
}

/**
 * kho_compat_check_image() - could the kernel of an image read what we hand over?
 * @image: the file, as it is to be loaded
 * @size: its bytes
 *
 * By the list in it. A bzImage without one, and what is none, is taken for Linux 7.2.
 *
 * Context: Under kexec's lock. May sleep.
 * Return: 0; -EPROTONOSUPPORT: it could not, and the log says what; with kho_force 0 all the same.
 */
int kho_compat_check_image(const void *image, size_t size)
{
	char text[WHY_TEXT];
	const char *fault = image_fault(image, size, text, sizeof(text));

	if (!fault)
		return 0;
	if (kho_force) {
		pr_warn("image loaded all the same, by kho_force: %s\n", fault);
		return 0;
	}
	pr_err("image refused: %s (we hand over \"%s\"; kho_force=1 loads it all the same)\n",
	       fault, now.text);
	return -EPROTONOSUPPORT;
}
