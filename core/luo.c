/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Reading what Linux's live update orchestrator handed over. Each record is copied out of the image
 * once, and what was copied is looked at.
 *
 *	text	a name that fills its field or ends with a NUL
 *	key	what two records must not have in common
 */
#include "blocks.h"

/* Copy a text of @room bytes and put a NUL behind. Return: bytes before its first. */
static u32 text_copy(char *to, const char *from, size_t room)
{
	memcpy(to, from, room);
	to[room] = 0;
	return (u32)strlen(to);
}

/* A text has to have bytes, and to end. */
static int text_check(struct khoc_report *report, int structure, kho_pa_t at, u32 len, size_t room,
		      const char *field)
{
	if (len && len < room)
		return 0;
	return report_fault(report, KHO_E_FORMAT, structure, -1, at, len, room, field);
}

static int not_preserved(const struct khoc_radix *tree, kho_pa_t pa)
{
	struct khoc_block cover;

	return tree && !khoc_radix_lookup(tree, pa, &cover);
}

/* ---- header ------------------------------------------------------------- */

int khoc_luo_open(struct khoc_luo *luo, const struct khoc_mem *mem, unsigned int shift, kho_pa_t pa,
		  __u64 size, struct khoc_report *report)
{
	struct kho_abi_luo header;
	const void *bytes;

	report_clear(report);
	*luo = (struct khoc_luo){.mem = mem, .shift = shift, .pa = pa};
	if (size < sizeof(header))
		return report_fault(report, KHO_E_TRUNCATED, KHOC_S_LUO, -1, pa, size,
				    sizeof(header), "header");
	bytes = khoc_map(mem, pa, sizeof(header));
	if (!bytes)
		return report_fault(report, KHO_E_RANGE, KHOC_S_LUO, -1, pa, pa,
				    khoc_load(&mem->size), "header");
	memcpy(&header, bytes, sizeof(header));
	text_copy(luo->compatible, header.compatible, sizeof(header.compatible));
	luo->liveupdate_num = header.liveupdate_num;
	luo->sessions_pa = header.sessions_pa;
	luo->flbs_pa = header.flbs_pa;
	if (strcmp(luo->compatible, KHO_ABI_LUO_COMPATIBLE))
		return report_fault(report, KHO_E_INCOMPATIBLE, KHOC_S_LUO, -1, pa, 0, 0,
				    "compatible");
	return 0;
}

/* ---- records of block sets --------------------------------------------------- */

static int walk_start(struct khoc_luo_records *walk, const struct khoc_luo *luo, u64 entry_size,
		      kho_pa_t head, kho_pa_t head_at, const struct khoc_radix *tree,
		      struct khoc_report *report)
{
	struct khoc_block_counts counts = {0};
	int err;

	*walk = (struct khoc_luo_records){
		.chain = {luo->mem, luo->shift, entry_size, head, head_at}};
	khoc_block_it_init_read(&walk->it, &walk->chain);
	err = khoc_block_check(&walk->chain, tree, &counts, report);
	walk->nr = counts.entries;
	return err;
}

/* Copy the next record. Return: 0, -ENOENT, or a fault of the chain, once. */
static int walk_next(struct khoc_luo_records *walk, void *record, kho_pa_t *pa,
		     struct khoc_report *report)
{
	const void *bytes = walk->ended ? NULL : khoc_block_it_read(&walk->it);
	int err;

	report_clear(report);
	if (bytes) {
		memcpy(record, bytes, walk->chain.entry_size);
		*pa = khoc_block_it_pa(&walk->it);
		walk->index++;
		return 0;
	}
	err = walk->ended ? 0 : khoc_block_it_error(&walk->it, report);
	walk->ended = true;
	return err ? err : -ENOENT;
}

int khoc_luo_sessions(struct khoc_luo_records *walk, const struct khoc_luo *luo,
		      const struct khoc_radix *tree, struct khoc_report *report)
{
	return walk_start(walk, luo, sizeof(struct kho_abi_luo_session), luo->sessions_pa,
			  luo->pa + offsetof(struct kho_abi_luo, sessions_pa), tree, report);
}

int khoc_luo_session_next(struct khoc_luo_records *walk, struct khoc_luo_session *session,
			  struct khoc_report *report)
{
	struct kho_abi_luo_session record;
	int err;

	*session = (struct khoc_luo_session){.index = walk->index};
	err = walk_next(walk, &record, &session->pa, report);
	if (err)
		return err;
	session->name_len = text_copy(session->name, record.name, sizeof(record.name));
	session->files_pa = record.files_pa;
	session->nr_files = record.count;
	return text_check(report, KHOC_S_LUO_SESSION, session->pa, session->name_len,
			  sizeof(record.name), "name");
}

int khoc_luo_files(struct khoc_luo_records *walk, const struct khoc_luo *luo,
		   const struct khoc_luo_session *session, const struct khoc_radix *tree,
		   struct khoc_report *report)
{
	int err = walk_start(walk, luo, sizeof(struct kho_abi_luo_file), session->files_pa,
			     session->pa + offsetof(struct kho_abi_luo_session, files_pa), tree,
			     report);

	if (!err && walk->nr != session->nr_files)
		err = report_fault(report, KHO_E_RANGE, KHOC_S_LUO_SESSION, -1,
				   session->pa + offsetof(struct kho_abi_luo_session, count),
				   session->nr_files, walk->nr, "count");
	return err;
}

int khoc_luo_file_next(struct khoc_luo_records *walk, struct khoc_luo_file *file,
		       struct khoc_report *report)
{
	struct kho_abi_luo_file record;
	int err;

	*file = (struct khoc_luo_file){.index = walk->index};
	err = walk_next(walk, &record, &file->pa, report);
	if (err)
		return err;
	file->compatible_len =
		text_copy(file->compatible, record.compatible, sizeof(record.compatible));
	file->data = record.data;
	file->token = record.token;
	return text_check(report, KHOC_S_LUO_FILE, file->pa, file->compatible_len,
			  sizeof(record.compatible), "compatible");
}

/* ---- what is there twice -------------------------------------------------------- */

/* A key: @len bytes at @off of a record; a text, or all of them. */
struct key {
	const struct khoc_mem *mem;
	u32 off;
	u32 len;
	bool text;
};

/* Which key is smaller? A record that is gone meanwhile has none, which is the smallest. */
static int key_compare(const struct key *key, kho_pa_t a, kho_pa_t b)
{
	const char *x = khoc_map(key->mem, a + key->off, key->len);
	const char *y = khoc_map(key->mem, b + key->off, key->len);
	size_t x_len = !x ? 0 : key->text ? strnlen(x, key->len) : key->len;
	size_t y_len = !y ? 0 : key->text ? strnlen(y, key->len) : key->len;
	size_t len = x_len < y_len ? x_len : y_len;
	int diff = len ? memcmp(x, y, len) : 0;

	return diff ? diff : x_len < y_len ? -1 : x_len > y_len;
}

/*
 * Merge two sorted runs that lie behind each other, [lo, mid) and [mid, hi); of equal keys the
 * first stays first.
 */
static void merge(const struct key *key, const u64 *from, u64 *to, u64 lo, u64 mid, u64 hi)
{
	u64 a = lo, b = mid;

	for (u64 i = lo; i < hi; i++)
		if (a < mid && (b >= hi || key_compare(key, from[a], from[b]) <= 0))
			to[i] = from[a++];
		else
			to[i] = from[b++];
}

/*
 * Sort @nr addresses of records in @work, which has room for twice as many. Return: where they are
 * then.
 */
static u64 *sort(const struct key *key, u64 *work, u64 nr)
{
	u64 *from = work, *to = work + nr;

	for (u64 width = 1; width < nr; width *= 2) {
		u64 *was = from;

		for (u64 lo = 0; lo < nr; lo += 2 * width) {
			u64 mid = lo + width < nr ? lo + width : nr;
			u64 hi = mid + width < nr ? mid + width : nr;

			merge(key, from, to, lo, mid, hi);
		}
		from = to;
		to = was;
	}
	return from;
}

/* Are all keys of the records that are left in @walk different? */
static int unique(struct khoc_luo_records *walk, const struct key *key, u64 *work, u64 nr_work,
		  int structure, const char *field, struct khoc_report *report)
{
	u64 nr = 0, *sorted;

	if (nr_work / 2 < walk->nr)
		return -ENOMEM;
	while (nr < walk->nr && khoc_block_it_read(&walk->it))
		work[nr++] = khoc_block_it_pa(&walk->it);
	sorted = sort(key, work, nr);
	for (u64 i = 1; i < nr; i++)
		if (!key_compare(key, sorted[i - 1], sorted[i]))
			return report_fault(report, KHO_E_DUPLICATE, structure, -1,
					    sorted[i] + key->off, sorted[i - 1] + key->off, 0,
					    field);
	return 0;
}

int khoc_luo_unique_sessions(const struct khoc_luo *luo, __u64 *work, __u64 nr_work,
			     struct khoc_report *report)
{
	const struct key key = {luo->mem, offsetof(struct kho_abi_luo_session, name),
				KHO_ABI_LUO_SESSION_NAME_LEN, true};
	struct khoc_luo_records walk;
	int err = khoc_luo_sessions(&walk, luo, NULL, report);

	return err ? err : unique(&walk, &key, work, nr_work, KHOC_S_LUO_SESSION, "name", report);
}

int khoc_luo_unique_tokens(const struct khoc_luo *luo, const struct khoc_luo_session *session,
			   __u64 *work, __u64 nr_work, struct khoc_report *report)
{
	const struct key key = {luo->mem, offsetof(struct kho_abi_luo_file, token), 8, false};
	struct khoc_luo_records walk;
	int err = khoc_luo_files(&walk, luo, session, NULL, report);

	return err ? err : unique(&walk, &key, work, nr_work, KHOC_S_LUO_FILE, "token", report);
}

/* ---- FLBs --------------------------------------------------------------------------- */

static int flb_fault(struct khoc_report *report, int fault, u64 at, u64 value, u64 limit,
		     const char *field)
{
	return report_fault(report, fault, KHOC_S_LUO_FLB, -1, at, value, limit, field);
}

int khoc_luo_flbs(struct khoc_luo_flbs *walk, const struct khoc_luo *luo,
		  const struct khoc_radix *tree, struct khoc_report *report)
{
	const kho_pa_t pa = luo->flbs_pa;
	u64 at = luo->pa + offsetof(struct kho_abi_luo, flbs_pa), page, fit;
	struct kho_abi_luo_flb_header header;
	const void *bytes;

	report_clear(report);
	*walk = (struct khoc_luo_flbs){.luo = luo};
	if (!block_sizes_ok(luo->shift, sizeof(struct kho_abi_luo_flb)))
		return -EINVAL;
	if (!pa)
		return 0;
	page = 1ULL << luo->shift;
	fit = (page - sizeof(header)) / sizeof(struct kho_abi_luo_flb);
	if (pa & (page - 1))
		return flb_fault(report, KHO_E_ALIGN, at, pa, page, "flbs_pa");
	bytes = khoc_map(luo->mem, pa, page);
	if (!bytes)
		return flb_fault(report, KHO_E_RANGE, at, pa, khoc_load(&luo->mem->size),
				 "flbs_pa");
	if (not_preserved(tree, pa))
		return flb_fault(report, KHO_E_NOT_PRESERVED, pa, 0, 0, "flbs_pa");
	memcpy(&header, bytes, sizeof(header));
	walk->pgcnt = header.pgcnt;
	walk->count = header.count;
	walk->nr = header.count < fit ? header.count : fit;
	if (header.pgcnt != KHO_ABI_LUO_FLB_PAGES)
		return flb_fault(report, KHO_E_RANGE,
				 pa + offsetof(struct kho_abi_luo_flb_header, pgcnt), header.pgcnt,
				 KHO_ABI_LUO_FLB_PAGES, "pgcnt");
	if (header.count > fit)
		return flb_fault(report, KHO_E_RANGE,
				 pa + offsetof(struct kho_abi_luo_flb_header, count), header.count,
				 fit, "count");
	return 0;
}

static kho_pa_t flb_pa(const struct khoc_luo_flbs *walk, u64 index)
{
	return walk->luo->flbs_pa + sizeof(struct kho_abi_luo_flb_header) +
	       index * sizeof(struct kho_abi_luo_flb);
}

int khoc_luo_flb_next(struct khoc_luo_flbs *walk, struct khoc_luo_flb *flb,
		      struct khoc_report *report)
{
	const struct key key = {walk->luo->mem, offsetof(struct kho_abi_luo_flb, name),
				KHO_ABI_LUO_FLB_NAME_LEN, true};
	struct kho_abi_luo_flb record;
	const void *bytes;
	int err;

	report_clear(report);
	*flb = (struct khoc_luo_flb){.index = walk->index};
	if (walk->index >= walk->nr)
		return -ENOENT;
	bytes = khoc_map(walk->luo->mem, flb_pa(walk, walk->index), sizeof(record));
	if (!bytes) /* the whole page was there when the walk began */
		return -ENOENT;
	flb->pa = flb_pa(walk, walk->index++);
	memcpy(&record, bytes, sizeof(record));
	flb->name_len = text_copy(flb->name, record.name, sizeof(record.name));
	flb->data = record.data;
	flb->count = record.count;
	err = text_check(report, KHOC_S_LUO_FLB, flb->pa, flb->name_len, sizeof(record.name),
			 "name");
	/* Linux finds an FLB by its name, and would never find the later of two. */
	for (u64 i = 0; !err && i < flb->index; i++)
		if (!key_compare(&key, flb_pa(walk, i), flb->pa))
			err = flb_fault(report, KHO_E_DUPLICATE, flb->pa, flb_pa(walk, i), 0,
					"name");
	return err;
}

int khoc_luo_flb_needed(const struct khoc_luo_flb *flb, struct khoc_report *report)
{
	report_clear(report);
	if (flb->count && flb->count <= KHO_ABI_LUO_FLB_COUNT_MAX)
		return 0;
	return flb_fault(report, KHO_E_RANGE, flb->pa + offsetof(struct kho_abi_luo_flb, count),
			 flb->count, KHO_ABI_LUO_FLB_COUNT_MAX, "count");
}
