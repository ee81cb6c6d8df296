/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Any bytes as what Linux hands over: the live update orchestrator's header and all it leads to,
 * regions of reserve_mem=, kexec-metadata, memory files. Each walk ends, tells a fault for
 * whatever it refuses, and gives texts that end.
 */
#include "fuzz.h"

#include <errno.h>

/* Records of one walk, and of all: blocks may be as many as there are, over and over. */
#define MAX_STEPS 3000

struct input {
	struct khoc_mem mem;
	char *bytes;
};

static void *input_map(void *ctx, kho_pa_t pa, size_t len)
{
	struct input *in = ctx;

	FACT(len && pa < in->mem.size && len <= in->mem.size - pa);
	return in->bytes + pa;
}

static void check_text(const char *text, u32 len, u32 room, int err)
{
	FACT(strlen(text) == len && len <= room);
	FACT(err || (len && len < room));
}

static void check_report(int err, const struct khoc_report *report)
{
	FACT(err == -ENOENT || err == -report->fault);
	FACT(report->field && report->structure < KHOC_S_MAX);
}

static void read_files(const struct khoc_luo *luo, const struct khoc_luo_session *session,
		       __u64 *work, u64 nr_work, unsigned int *steps)
{
	struct khoc_luo_records walk;
	struct khoc_luo_file file;
	struct khoc_report report;
	u64 nr = 0;
	int sound = khoc_luo_files(&walk, luo, session, NULL, &report), err;

	FACT(sound == -EINVAL || sound == -report.fault);
	err = khoc_luo_unique_tokens(luo, session, work, nr_work, &report);
	FACT(err == sound || (!sound && (err == -ENOMEM || err == -KHO_E_DUPLICATE)));
	while (--*steps && (err = khoc_luo_file_next(&walk, &file, &report)) != -ENOENT) {
		check_report(err, &report);
		if (!file.pa)
			continue;
		check_text(file.compatible, file.compatible_len, KHO_ABI_LUO_HANDLER_LEN, err);
		FACT(file.index == nr++ && file.pa < luo->mem->size);
	}
	FACT(sound || !*steps || nr == session->nr_files);
}

static void read_luo(const struct khoc_mem *mem, unsigned int shift, kho_pa_t pa, u64 size)
{
	static __u64 work[512];
	unsigned int steps = MAX_STEPS;
	struct khoc_luo_session session;
	struct khoc_luo_records walk;
	struct khoc_luo_flbs flbs;
	struct khoc_luo_flb flb;
	struct khoc_report report;
	struct khoc_luo luo;
	int err = khoc_luo_open(&luo, mem, shift, pa, size, &report);

	FACT(err == -report.fault);
	if (err && err != -KHO_E_INCOMPATIBLE)
		return;
	err = khoc_luo_sessions(&walk, &luo, NULL, &report);
	FACT(err == -EINVAL || err == -report.fault);
	khoc_luo_unique_sessions(&luo, work, 512, &report);
	while (--steps && (err = khoc_luo_session_next(&walk, &session, &report)) != -ENOENT) {
		check_report(err, &report);
		if (!session.pa)
			continue;
		check_text(session.name, session.name_len, KHO_ABI_LUO_SESSION_NAME_LEN, err);
		read_files(&luo, &session, work, 512, &steps);
		if (!steps)
			break;
	}
	err = khoc_luo_flbs(&flbs, &luo, NULL, &report);
	FACT(err == -EINVAL || err == -report.fault);
	while ((err = khoc_luo_flb_next(&flbs, &flb, &report)) != -ENOENT) {
		check_report(err, &report);
		check_text(flb.name, flb.name_len, KHO_ABI_LUO_FLB_NAME_LEN, err);
		FACT(flb.index < flbs.nr);
	}
}

static void read_reserve_mem(const struct khoc_mem *mem, kho_pa_t pa, u64 size)
{
	struct khoc_reserve_mem_region region;
	struct khoc_reserve_mem walk;
	struct khoc_report report;
	u64 ends[KHO_ABI_RESERVE_MEM_MAX], starts[KHO_ABI_RESERVE_MEM_MAX];
	unsigned int nr = 0, tokens = 0;
	int err = khoc_reserve_mem_open(&walk, mem, pa, size, &report);

	FACT(err == -report.fault);
	while ((err = khoc_reserve_mem_next(&walk, &region, &report)) != -ENOENT) {
		check_report(err, &report);
		FACT(++tokens <= size / 4); /* a region takes more than a token */
		FACT(strlen(region.name) <= KHO_ABI_RESERVE_MEM_NAME_MAX);
		if (err)
			continue;
		FACT(nr < KHO_ABI_RESERVE_MEM_MAX && region.size);
		FACT(region.size <= mem->size && region.start <= mem->size - region.size);
		starts[nr] = region.start;
		ends[nr] = region.start + region.size;
		for (unsigned int i = 0; i < nr; i++)
			FACT(starts[nr] >= ends[i] || ends[nr] <= starts[i]);
		nr++;
	}
}

static void read_metadata(const struct khoc_mem *mem, kho_pa_t pa, u64 size)
{
	struct khoc_metadata metadata;
	struct khoc_report report;
	int err = khoc_metadata_read(&metadata, mem, pa, size, &report);

	FACT(err == -report.fault);
	FACT(strlen(metadata.release) == metadata.release_len);
	FACT(err || metadata.version == KHO_ABI_METADATA_VERSION);
}

static void read_memfd(const struct khoc_mem *mem, unsigned int shift, kho_pa_t pa)
{
	u64 page = 1ULL << shift, nr = 0;
	struct khoc_memfd_folio folio;
	struct khoc_memfd_list list;
	struct khoc_memfd memfd;
	struct khoc_report report;
	int err = khoc_memfd_open(&memfd, mem, shift, pa, &report);

	FACT(err == -report.fault);
	err = khoc_memfd_list(&list, &memfd, NULL, &report);
	FACT(err == -report.fault);
	while ((err = khoc_memfd_folio_next(&list, &folio, &report)) != -ENOENT) {
		check_report(err, &report);
		FACT(folio.pa < mem->size && !(folio.pa & (page - 1)));
		FACT(err || (folio.pa && folio.entry == list.entry - 1));
		nr += folio.at != 0;
	}
	FACT(nr <= memfd.nr_folios && nr <= mem->size / 16);
}

/* An input: log2 of the page size, which of the readers; then the image, from its first page on. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct khoc_mem_ops ops = {.map = input_map};
	struct input in;
	u64 page;

	if (size < FUZZ_LUO_HEADER || data[0] < KHO_ABI_PAGE_SHIFT_MIN ||
	    data[0] > FUZZ_BLOCK_SHIFT_MAX)
		return 0;
	page = 1ULL << data[0];
	in.mem = (struct khoc_mem){.ops = &ops, .ctx = &in, .size = FUZZ_BLOCK_PAGES * page};
	in.bytes = calloc(1, in.mem.size);
	size -= FUZZ_LUO_HEADER;
	if (size > in.mem.size - page)
		size = in.mem.size - page;
	memcpy(in.bytes + page, data + FUZZ_LUO_HEADER, size);
	if (data[1] % 4 == 0)
		read_luo(&in.mem, data[0], page, size);
	else if (data[1] % 4 == 1)
		read_reserve_mem(&in.mem, page, size);
	else if (data[1] % 4 == 2)
		read_metadata(&in.mem, page, size);
	else
		read_memfd(&in.mem, data[0], page);
	free(in.bytes);
	return 0;
}
