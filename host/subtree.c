/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The root FDT in the process host: subtrees, named roots, and who handed over.
 *
 * Two slots in the arena take turns. A change is written to the slot that is not in force,
 * metadata included, and takes effect by one store of a checked word in the header. So there is
 * always one whole FDT, and nothing to allocate.
 */
#include <errno.h>
#include <libfdt.h>
#include <string.h>

#include <kho/abi/array.h>
#include <kho/abi/block.h>
#include <kho/abi/format.h>
#include <kho/abi/migration.h>
#include <kho/abi/session.h>
#include <kho/abi/vmalloc.h>

#include "arena.h"
#include "formats.h"
#include "life.h"
#include "subtree.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* What "kexec-metadata" said when the arena was attached. */
static struct {
	struct khoc_metadata said;
	struct khoc_report report; /* its fault is 0 if that could be read */
} incoming;

/* Where a change is put together: under the lock. */
static struct {
	__u64 edited[KHO_ABI_FDT_MAX / 8];
	__u64 stripped[KHO_ABI_FDT_MAX / 8];
	__u64 check[KHO_ABI_FDT_MAX / 8];
} scratch;

#define SALT_ROOT_FDT offsetof(struct kho_abi_arena_header, root_fdt)

static bool is_slot(__u64 pa)
{
	return pa >= KHO_ABI_FDT_SLOT_PA && pa < KHO_ABI_INTENTS_PA &&
	       !((pa - KHO_ABI_FDT_SLOT_PA) % KHO_ABI_FDT_SLOT_SIZE);
}

/* The pa of the FDT in force, or 0. */
static kho_pa_t current_slot(void)
{
	kho_abi_cword_t word = __atomic_load_n(&kho_arena_.words->root_fdt, __ATOMIC_ACQUIRE);
	__u64 pa;

	return khoc_cword_get(word, SALT_ROOT_FDT, &pa) || !is_slot(pa) ? 0 : pa;
}

static const void *current_fdt(void)
{
	return kho_arena_.base + current_slot();
}

static struct khoc_subtree metadata_node(kho_pa_t slot)
{
	return (struct khoc_subtree){
		.name = KHO_ABI_METADATA_NODE,
		.data = slot + KHO_ABI_FDT_MAX,
		.size = sizeof(struct kho_abi_metadata),
	};
}

__s64 kho_root_format_(char *base, kho_pa_t tree_root)
{
	struct khoc_subtree metadata = metadata_node(KHO_ABI_FDT_SLOT_PA);
	struct kho_abi_metadata *blob = (void *)(base + metadata.data);
	int rc;

	pthread_mutex_lock(&lock);
	rc = khoc_root_create(scratch.stripped, sizeof(scratch.stripped), tree_root)
		     ?: khoc_root_set_composite(scratch.stripped, scratch.edited,
						sizeof(scratch.edited), KHO_ABI_COMPAT_ARENA)
			     ?: khoc_root_add(scratch.edited, base + KHO_ABI_FDT_SLOT_PA,
					      KHO_ABI_FDT_MAX, &metadata);
	pthread_mutex_unlock(&lock);
	memset(blob, 0, sizeof(*blob));
	blob->version = KHO_ABI_METADATA_VERSION;
	return rc ?: KHO_ABI_FDT_SLOT_PA;
}

/* ---- checking ---- */

static int fault(int code, int structure, const char *field, kho_pa_t addr, __u64 value)
{
	struct khoc_report report = {
		.fault = code,
		.structure = structure,
		.level = -1,
		.addr = addr,
		.value = value,
		.field = field,
	};

	return kho_fail_report_(&report);
}

/* A named root's blob is a cell, whole and aligned, and its object could be one. */
static int check_cell(const struct khoc_subtree *subtree)
{
	kho_pa_t pa = subtree->data;
	const struct kho_abi_cell *cell;
	__u64 at;

	if (pa < KHO_ABI_CELLS_PA || pa >= KHO_ABI_FIXED_END ||
	    (pa - KHO_ABI_CELLS_PA) % sizeof(*cell) || subtree->size != sizeof(*cell))
		return fault(KHO_E_RANGE, KHOC_S_CELL, "preserved-data", pa, subtree->size);
	cell = (const void *)(kho_arena_.base + pa);
	at = cell->value - (uintptr_t)kho_arena_.base;
	if (cell->value && (at < kho_arena_.header->data_pa || at >= kho_file_size_()))
		return fault(KHO_E_RANGE, KHOC_S_CELL, "value", pa, cell->value);
	return 0;
}

static int check_subtrees(const void *fdt, kho_pa_t slot)
{
	struct khoc_subtree subtree;
	int pos = 0, rc = 0;

	while (!rc && !khoc_root_next(fdt, &pos, &subtree)) {
		if (!strcmp(subtree.name, KHO_ABI_METADATA_NODE))
			rc = !subtree.type && subtree.data == slot + KHO_ABI_FDT_MAX &&
					     subtree.size == sizeof(struct kho_abi_metadata)
				     ? 0
				     : fault(KHO_E_RANGE, KHOC_S_METADATA, "preserved-data", slot,
					     subtree.data);
		else if (subtree.type)
			rc = check_cell(&subtree);
		else if (subtree.data < kho_arena_.header->data_pa)
			rc = fault(KHO_E_RANGE, KHOC_S_SUBTREE, "preserved-data", slot,
				   subtree.data);
	}
	return rc;
}

/* Linux 7.2 does not say what lies in its images: what says nothing is taken as before. */
static int check_composite(const void *fdt, kho_pa_t slot)
{
	static const struct khoc_compat_reads own[] = {KHO_READS_};
	const char *composite = khoc_root_composite(fdt);
	struct khoc_compat_why why;
	char text[256];
	int rc;

	if (!composite)
		return 0;
	rc = khoc_compat_match(composite, KHO_ABI_COMPAT_MAX, own, sizeof(own) / sizeof(own[0]),
			       &why);
	if (!rc)
		return 0;
	return kho_fail_(rc, "root FDT at %#llx: compatible: %s", (unsigned long long)slot,
			 khoc_compat_text(&why, text, sizeof(text)));
}

/*
 * As much of it as it says that it has, and no page more is touched; what is wrong with that, the check says. Behind
 * the copy lies what another one left: nobody is to read there. Return: its length.
 */
static size_t copy_fdt(__u64 to[KHO_ABI_FDT_MAX / 8], const void *fdt)
{
	size_t len = fdt_totalsize(fdt);

	if (len < sizeof(struct fdt_header) || len > KHO_ABI_FDT_MAX)
		len = KHO_ABI_FDT_MAX;
	memcpy(to, fdt, len);
	return len;
}

/* A copy is checked: the owner may be at work on the slots. Changed meanwhile: look again. */
int kho_root_check_(void)
{
	struct khoc_report report;
	kho_pa_t slot;
	int rc, tries = 0;
	size_t len;

	pthread_mutex_lock(&lock);
	do {
		slot = current_slot();
		if (!slot) {
			rc = fault(KHO_E_CHECKSUM, KHOC_S_ARENA_HEADER, "root_fdt", SALT_ROOT_FDT,
				   kho_arena_.words->root_fdt);
			break;
		}
		len = copy_fdt(scratch.check, kho_arena_.base + slot);
		rc = khoc_root_check(scratch.check, len, slot, kho_file_size_(), &report);
		if (rc)
			kho_fail_report_(&report);
		else if (khoc_root_tree(scratch.check) != kho_arena_.header->tree_root_pa)
			rc = fault(KHO_E_RANGE, KHOC_S_ROOT_FDT, "preserved-memory-map", slot,
				   khoc_root_tree(scratch.check));
		rc = rc ?: check_composite(scratch.check, slot);
		rc = rc ?: check_subtrees(scratch.check, slot);
	} while (rc && current_slot() != slot && ++tries < 8);
	pthread_mutex_unlock(&lock);
	return rc;
}

/* ---- changing ---- */

/* Under the lock: put what is in scratch.edited in force, with @metadata or that of before. */
static int take_effect(const struct kho_abi_metadata *metadata)
{
	struct kho_arena *a = &kho_arena_;
	kho_pa_t from = current_slot();
	kho_pa_t to = from == KHO_ABI_FDT_SLOT_PA ? from + KHO_ABI_FDT_SLOT_SIZE
						  : KHO_ABI_FDT_SLOT_PA;
	struct khoc_subtree node = metadata_node(to);
	static const struct kho_abi_metadata none = {.version = KHO_ABI_METADATA_VERSION};
	int rc;

	copy_fdt((__u64 *)(a->base + to), scratch.edited);
	rc = khoc_root_set_data(a->base + to, KHO_ABI_METADATA_NODE, node.data);
	if (rc) { /* not our own FDT: it gets the node now */
		metadata = metadata ?: &none;
		rc = khoc_root_add(scratch.edited, a->base + to, KHO_ABI_FDT_MAX, &node);
	}
	if (rc)
		return kho_fail_(
			rc, "root FDT at %#llx: does not fit in %u bytes: remove subtrees or roots",
			(unsigned long long)to, KHO_ABI_FDT_MAX);
	memcpy(a->base + node.data,
	       metadata ? (const void *)metadata : a->base + from + KHO_ABI_FDT_MAX,
	       sizeof(*metadata));
	__atomic_store_n(&a->words->root_fdt, khoc_cword(to, SALT_ROOT_FDT), __ATOMIC_RELEASE);
	return 0;
}

static int add_node(const struct khoc_subtree *node)
{
	int rc = khoc_root_add(current_fdt(), scratch.edited, sizeof(scratch.edited), node);

	if (rc)
		return kho_fail_(rc, "subtree \"%s\": %s", node->name,
				 rc == -EEXIST	 ? "exists already"
				 : rc == -EINVAL ? "not a name: 1 to 63 letters, digits and ,._+-"
						 : "root FDT is full: remove subtrees or roots");
	return take_effect(NULL);
}

static int remove_node(const char *name)
{
	int rc = khoc_root_remove(current_fdt(), scratch.edited, sizeof(scratch.edited), name);

	return rc ? kho_fail_(rc, "subtree \"%s\": does not exist", name) : take_effect(NULL);
}

/* The parts that are there, with @part for that of its name. Return: how many, or negative. */
static int list_parts(const char *composite, const struct khoc_compat_part *part,
		      struct khoc_compat_part *parts)
{
	unsigned int nr = 0;
	size_t pos = 0;

	khoc_compat_next(composite, KHO_ABI_COMPAT_MAX, &pos, &parts[0]); /* the base */
	while (!khoc_compat_next(composite, KHO_ABI_COMPAT_MAX, &pos, &parts[nr])) {
		bool same = parts[nr].name_len == part->name_len &&
			    !memcmp(parts[nr].name, part->name, part->name_len);

		nr += !same;
		if (nr == KHO_ABI_COMPAT_PARTS_MAX)
			return -ENOSPC;
	}
	parts[nr++] = *part;
	return (int)nr;
}

/* Under the lock. */
static int add_part(const struct khoc_compat_part *part)
{
	static const struct khoc_compat_part base = {"kho", 3, 4, false};
	struct khoc_compat_part parts[KHO_ABI_COMPAT_PARTS_MAX];
	const char *was = khoc_root_composite(current_fdt()) ?: KHO_ABI_COMPAT_ARENA;
	char composite[KHO_ABI_COMPAT_MAX];
	int rc = list_parts(was, part, parts);

	if (rc > 0)
		rc = khoc_compat_compose(composite, sizeof(composite), &base, parts,
					 (unsigned int)rc);
	if (rc < 0)
		return kho_fail_(rc, "root FDT: compatible has no room for another part");
	if (!strcmp(was, composite) && khoc_root_composite(current_fdt()))
		return 0;
	rc = kho_formats_may_use_(part);
	if (rc)
		return rc;
	rc = khoc_root_set_composite(current_fdt(), scratch.edited, sizeof(scratch.edited),
				     composite);
	return rc ? kho_fail_(rc, "root FDT is full: remove subtrees or roots") : take_effect(NULL);
}

int kho_root_part_(const char *part)
{
	struct khoc_compat_part parsed;
	size_t pos = 0;
	int rc;

	if (khoc_compat_next(part, strlen(part) + 1, &pos, &parsed) || part[pos - 1])
		return kho_fail_(-EINVAL, "\"%s\" is not NAME-vNUMBER", part);
	pthread_mutex_lock(&lock);
	rc = add_part(&parsed);
	pthread_mutex_unlock(&lock);
	return rc;
}

unsigned int kho_parts_listed_;

int kho_part_list_(enum kho_part part)
{
	static const char *const names[] = {
		[KHO_PART_ARRAY] = KHO_ABI_ARRAY_COMPATIBLE,
		[KHO_PART_BLOCK] = KHO_ABI_BLOCK_COMPATIBLE,
		[KHO_PART_SESSION] = KHO_ABI_SESSION_COMPATIBLE,
		[KHO_PART_VMALLOC] = KHO_ABI_VMALLOC_COMPATIBLE,
	};
	int rc = kho_root_part_(names[part]);

	if (!rc)
		__atomic_fetch_or(&kho_parts_listed_, 1u << part, __ATOMIC_RELEASE);
	return rc;
}

void kho_parts_forget_(void)
{
	__atomic_store_n(&kho_parts_listed_, 0, __ATOMIC_RELAXED);
}

int kho_root_parts_(int (*fn)(void *ctx, const struct khoc_compat_part *part), void *ctx)
{
	struct khoc_compat_part part;
	const char *composite;
	size_t pos = 0;
	int rc = 0;

	pthread_mutex_lock(&lock);
	composite = khoc_root_composite(current_fdt());
	if (composite)
		khoc_compat_next(composite, KHO_ABI_COMPAT_MAX, &pos, &part); /* the base */
	while (composite && !rc && !khoc_compat_next(composite, KHO_ABI_COMPAT_MAX, &pos, &part))
		rc = fn(ctx, &part);
	pthread_mutex_unlock(&lock);
	return rc;
}

int kho_arena_set_metadata_(const char *release, unsigned int count)
{
	struct kho_abi_metadata metadata = {.version = KHO_ABI_METADATA_VERSION,
					    .kexec_count = count};
	int rc;

	strncpy(metadata.previous_release, release, sizeof(metadata.previous_release) - 1);
	pthread_mutex_lock(&lock);
	copy_fdt(scratch.edited, current_fdt());
	rc = take_effect(&metadata);
	pthread_mutex_unlock(&lock);
	return rc;
}

/* The owner may be at work: a slot that is in force before and after was not written meanwhile. */
void kho_metadata_take_(void)
{
	static unsigned int order;
	struct khoc_subtree node;
	kho_pa_t slot;
	int tries = 0;

	pthread_mutex_lock(&lock);
	do {
		slot = current_slot();
		copy_fdt(scratch.check, kho_arena_.base + slot);
		khoc_metadata_read(&incoming.said, &kho_arena_.mem, slot + KHO_ABI_FDT_MAX,
				   sizeof(struct kho_abi_metadata), &incoming.report);
		/* As good as a fence, which the thread sanitizer does not have. */
		__atomic_fetch_add(&order, 1, __ATOMIC_ACQ_REL);
	} while (current_slot() != slot && ++tries < 8);
	if (khoc_root_find(scratch.check, KHO_ABI_METADATA_NODE, &node))
		memset(&incoming, 0, sizeof(incoming));
	pthread_mutex_unlock(&lock);
}

int kho_metadata(char *release, unsigned int *count)
{
	if (kho_reader_error_())
		return kho_reader_error_();
	if (incoming.report.fault)
		return kho_fail_report_(&incoming.report);
	memcpy(release, incoming.said.release, KHO_ABI_METADATA_RELEASE_LEN);
	*count = incoming.said.count;
	return 0;
}

/* ---- subtrees ---- */

int kho_add_subtree(const char *name, void *blob, size_t size)
{
	struct khoc_subtree node = {.name = name, .data = kho_virt_to_phys(blob), .size = size};
	int rc;

	if (kho_writer_error_())
		return kho_writer_error_();
	/* Held against the file's end, as whoever attaches will do. */
	if (node.data < kho_arena_.header->data_pa || node.data >= kho_file_size_() ||
	    size > kho_file_size_() - node.data)
		return kho_fail_(-EINVAL, "subtree \"%s\": %p is not in the arena", name, blob);
	pthread_mutex_lock(&lock);
	rc = add_node(&node);
	pthread_mutex_unlock(&lock);
	return rc;
}

void kho_remove_subtree(void *blob)
{
	kho_pa_t pa = kho_virt_to_phys(blob);
	struct khoc_subtree node;
	int pos = 0;

	if (!kho_may_write_())
		return;
	pthread_mutex_lock(&lock);
	while (!khoc_root_next(current_fdt(), &pos, &node)) {
		if (node.type || node.data != pa)
			continue;
		remove_node(node.name);
		break;
	}
	pthread_mutex_unlock(&lock);
}

int kho_retrieve_subtree(const char *name, kho_pa_t *phys, size_t *size)
{
	struct khoc_subtree node;
	int rc;

	rc = kho_reader_error_();
	if (rc)
		return rc;
	pthread_mutex_lock(&lock);
	rc = khoc_root_find(current_fdt(), name, &node);
	if (!rc && phys)
		*phys = node.data;
	if (!rc && size)
		*size = node.size;
	pthread_mutex_unlock(&lock);
	return rc ? kho_fail_(rc, "subtree \"%s\": does not exist", name) : 0;
}

bool kho_subtree_within_(kho_pa_t pa, __u64 len)
{
	struct khoc_subtree node;
	bool found = false;
	int pos = 0;

	pthread_mutex_lock(&lock);
	while (!found && !khoc_root_next(current_fdt(), &pos, &node))
		found = node.data < pa + len && node.data + (node.size ?: 1) > pa;
	pthread_mutex_unlock(&lock);
	return found;
}

/* ---- named roots ---- */

static struct kho_abi_cell *cell_at(kho_pa_t pa)
{
	return (struct kho_abi_cell *)(kho_arena_.base + pa);
}

/* A cell that no root uses, or 0. */
static kho_pa_t free_cell(void)
{
	unsigned char used[KHO_ABI_NR_CELLS] = {0};
	struct khoc_subtree node;
	int pos = 0;

	while (!khoc_root_next(current_fdt(), &pos, &node))
		if (node.type)
			used[(node.data - KHO_ABI_CELLS_PA) / sizeof(struct kho_abi_cell)] = 1;
	for (unsigned int i = 0; i < KHO_ABI_NR_CELLS; i++)
		if (!used[i])
			return KHO_ABI_CELLS_PA + i * sizeof(struct kho_abi_cell);
	return 0;
}

static int make_root(const char *name, const char *type, __u32 version, kho_pa_t *pa)
{
	struct khoc_subtree node = {
		.name = name,
		.size = sizeof(struct kho_abi_cell),
		.type = type,
		.type_version = version,
	};

	if (!kho_arena_.writer)
		return kho_fail_(-ENOENT,
				 "root \"%s\": does not exist, and is not made before the grant",
				 name);
	if (!*type || strlen(type) > 39)
		return kho_fail_(-EINVAL, "root \"%s\": its type is not 1 to 39 bytes long", name);
	node.data = *pa = free_cell();
	if (!*pa)
		return kho_fail_(-ENOSPC, "root \"%s\": all %u cells are in use", name,
				 KHO_ABI_NR_CELLS);
	cell_at(*pa)->value = 0;
	return add_node(&node);
}

static void **get_root(const char *name, const char *type, __u32 version)
{
	struct khoc_subtree node;
	kho_pa_t pa = 0;
	int rc = 0;

	pthread_mutex_lock(&lock);
	if (khoc_root_find(current_fdt(), name, &node))
		rc = make_root(name, type, version, &pa);
	else if (!node.type || strcmp(node.type, type) || node.type_version != version)
		rc = kho_fail_(-EPROTOTYPE,
			       "root \"%s\": is a \"%s\", version %u; asked for \"%s\", version %u",
			       name, node.type ?: "plain subtree", node.type_version, type,
			       version);
	else
		pa = node.data;
	pthread_mutex_unlock(&lock);
	if (!rc)
		return (void **)&cell_at(pa)->value;
	errno = -rc;
	return NULL;
}

void **kho_root(const char *name, const char *type, __u32 version)
{
	int rc = kho_reader_error_();

	if (!rc && (!name || !type))
		rc = kho_fail_(-EINVAL, "root: without name or type");
	if (!rc && !strncmp(name, KHO_ABI_ROOT_RESERVED, strlen(KHO_ABI_ROOT_RESERVED)))
		rc = kho_fail_(-EINVAL, "root \"%s\": the name is the library's", name);
	if (!rc)
		return get_root(name, type, version);
	errno = -rc;
	return NULL;
}

void **kho_root_reserved_(const char *name, const char *type, __u32 version)
{
	return get_root(name, type, version);
}

static void describe(const struct khoc_subtree *node, struct kho_root_info *info)
{
	memset(info, 0, sizeof(*info));
	strncpy(info->name, node->name, sizeof(info->name) - 1);
	strncpy(info->type, node->type, sizeof(info->type) - 1);
	info->version = node->type_version;
	info->slot = (void **)&cell_at(node->data)->value;
}

unsigned int kho_root_collect_(bool (*want)(void *ctx, const struct kho_root_info *info), void *ctx,
			       struct kho_root_info *infos, unsigned int max)
{
	struct khoc_subtree node;
	struct kho_root_info info;
	unsigned int nr = 0;
	int pos = 0;

	pthread_mutex_lock(&lock);
	while (!khoc_root_next(current_fdt(), &pos, &node)) {
		if (!node.type)
			continue;
		describe(&node, &info);
		if (!want(ctx, &info))
			continue;
		if (nr < max)
			infos[nr] = info;
		nr++;
	}
	pthread_mutex_unlock(&lock);
	return nr;
}

bool kho_root_look_(const char *name, bool prefix, unsigned int nth, struct kho_root_info *info)
{
	struct khoc_subtree node;
	bool found = false;
	int pos = 0;

	pthread_mutex_lock(&lock);
	while (!found && !khoc_root_next(current_fdt(), &pos, &node)) {
		if (!node.type ||
		    (prefix ? strncmp(node.name, name, strlen(name)) : strcmp(node.name, name)))
			continue;
		found = !nth--;
	}
	if (found)
		describe(&node, info);
	pthread_mutex_unlock(&lock);
	return found;
}

int kho_root_edit_(bool (*each)(void *ctx, struct khoc_subtree *subtree), void *ctx)
{
	int rc;

	pthread_mutex_lock(&lock);
	rc = khoc_root_edit(current_fdt(), scratch.edited, sizeof(scratch.edited), each, ctx);
	rc = rc ? kho_fail_(rc, "root FDT is full: remove subtrees or roots") : take_effect(NULL);
	pthread_mutex_unlock(&lock);
	return rc;
}

int kho_root_remove(const char *name)
{
	struct khoc_subtree node;
	int rc;

	rc = kho_writer_error_();
	if (rc)
		return rc;
	pthread_mutex_lock(&lock);
	rc = khoc_root_find(current_fdt(), name, &node);
	if (rc || !node.type)
		rc = kho_fail_(-ENOENT, "root \"%s\": does not exist", name);
	else if (cell_at(node.data)->value)
		rc = kho_fail_(-EBUSY,
			       "root \"%s\": its slot is not NULL: publish NULL to it first", name);
	else
		rc = remove_node(name);
	pthread_mutex_unlock(&lock);
	return rc;
}
