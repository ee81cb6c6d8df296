/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * An arena with sessions, and bytes of theirs changed: attached, everything retrieved, put in and finished.
 *
 * An input is a list of patches of 8 bytes: 2 bytes that say where in what sessions consist of, a length from
 * 1 to 4 less 1, a byte that is not used, and 4 bytes to be written there.
 *
 * Facts: it is refused with a fault; or it can be used, and what cannot be done says so. Without a patch,
 * once all sessions are finished nothing of them is left.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <kho/session.h>

#include "arena_ops.h"
#include "fdtable.h"
#include "heap.h"
#include "page.h"
#include "sessions.h"

#define MAX_SIZE (3ULL << 20)
#define REGIONS_MAX 128
#define NR_FILES 70 /* two blocks */
#define FIRST_FD 100 /* of those that are in sessions */

static struct arena_image image = {.fd = -1};
static int dir = -1, event = -1;

/* What patches go to. */
static struct {
	__u64 at, len;
} regions[REGIONS_MAX];
static unsigned int nr_regions;
static __u64 all_regions;
static bool patched;

/* ---- a kind with an FLB ---- */

static bool is_directory(struct liveupdate_file_handler *handler, int fd)
{
	struct stat st;

	return !fstat(fd, &st) && S_ISDIR(st.st_mode);
}

static int flb_ok(struct liveupdate_flb_op_args *args)
{
	FACT(args->state_len <= LIVEUPDATE_STATE_MAX);
	return 0;
}

static void last_look(struct liveupdate_file_op_args *args)
{
	unsigned char sum = 0;

	for (size_t i = 0; i < args->state_len; i++)
		sum += ((unsigned char *)args->state)[i];
	args->private_data = (void *)(uintptr_t)sum;
}

static const struct liveupdate_file_ops dir_ops = {
	.can_preserve = is_directory, .state_size = 20, .finish = last_look};
static struct liveupdate_file_handler dir_handler = {.compatible = "dir-v1", .ops = &dir_ops};
static const struct liveupdate_flb_ops flb_ops = {
	.preserve = flb_ok, .retrieve = flb_ok, .state_size = 8};
static struct liveupdate_flb flb = {.compatible = "dirs", .ops = &flb_ops};

/* ---- the arena ---- */

static void region(kho_pa_t pa, __u64 len)
{
	FACT(nr_regions < REGIONS_MAX);
	regions[nr_regions].at = pa;
	regions[nr_regions++].len = len;
	all_regions += len;
}

static void chain(kho_pa_t pa)
{
	for (; pa; pa = *(__u64 *)kho_phys_to_virt(pa))
		region(pa, KHO_PAGE_SIZE / 4);
}

static void fill(void)
{
	static const char *const names[] = {"first", "second", "empty"};
	struct luo_session *s[3];

	for (int i = 0; i < 3; i++)
		FACT(!luo_session_create(names[i], &s[i]));
	for (__u64 token = 0; token < NR_FILES; token++)
		FACT(!luo_session_preserve_fd(s[0], fcntl(event, F_DUPFD, FIRST_FD), token));
	FACT(!luo_session_preserve_fd(s[1], fcntl(dir, F_DUPFD, FIRST_FD), ~0ULL));
	FACT(!luo_session_preserve_fd(s[1], fcntl(dir, F_DUPFD, FIRST_FD), 1));
	region(kho_virt_to_phys(kho_luo_.head), sizeof(*kho_luo_.head));
	chain(kho_luo_.head->luo.sessions_pa);
	region(kho_luo_.head->luo.flbs_pa, 128);
	for (int i = 0; i < 3; i++) {
		struct kho_abi_luo_session *record = kho_rec_at_(&s[i]->ref, sizeof(*record));

		chain(record->files_pa);
		for (unsigned int n = 0; n < s[i]->nr_order && n < 8; n++)
			region(s[i]->order[n]->object, sizeof(struct kho_abi_session_object) + 20);
		luo_session_put(s[i]);
	}
}

static void make_image(void)
{
	event = eventfd(0, EFD_CLOEXEC);
	dir = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	FACT(!liveupdate_register_file_handler(&dir_handler));
	FACT(!liveupdate_register_flb(&dir_handler, &flb));
	arena_begin(MAX_SIZE);
	fill();
	arena_image_take(&image);
	kho_fdtable_clear_();
}

static void patch(const uint8_t *data, size_t size)
{
	memcpy(image.work, image.bytes, image.size);
	patched = size >= 8;
	for (; size >= 8; data += 8, size -= 8) {
		__u64 at = (data[0] | data[1] << 8) % all_regions;
		size_t len = (data[2] & 3) + 1;
		unsigned int i = 0;

		for (; at >= regions[i].len; i++)
			at -= regions[i].len;
		memcpy(image.work + regions[i].at + at, data + 4,
		       at + len <= regions[i].len ? len : 1);
	}
}

/* ---- use ---- */

static void use_session(struct luo_session *session, bool *whole)
{
	__u64 token;
	unsigned int pos = 0, nr = 0;
	int rc;

	while (!luo_session_next_token(session, &pos, &token)) {
		struct luo_file *file = kho_luo_find_file_(session, token);

		FACT(file && ++nr <= 2 * NR_FILES);
		/* Half of them came. */
		if (file->number.key % 2 && kho_fd_get(kho_file_token_(file)) < 0)
			FACT(!kho_fd_preserve(kho_file_token_(file),
					      fcntl(event, F_DUPFD, FIRST_FD)));
		rc = luo_session_retrieve_fd(session, token);
		FACT(rc >= 0 || rc == -ENXIO || rc == -KHO_E_TYPE || rc == -KHO_E_INCOMPATIBLE);
	}
	rc = luo_session_preserve_fd(session, fcntl(dir, F_DUPFD, FIRST_FD), 4711);
	*whole &= !rc;
	rc = luo_session_close_fd(session, 1);
	*whole &= !rc || rc == -ENOENT;
	rc = luo_session_finish(session);
	*whole &= rc >= 0;
	luo_session_put(session);
}

static void use(void)
{
	struct luo_session *session;
	struct kho_heap_stats stats;
	struct khoc_block block;
	unsigned int type, order, pos = 0, nr = 0, pages = 0;
	bool whole = true;
	char name[64];
	void *obj;

	liveupdate_flb_get_incoming(&flb, &obj);
	while (pos = 0, !luo_session_next(&pos, name)) {
		FACT(!luo_session_retrieve(name, &session));
		use_session(session, &whole);
		if (!whole || ++nr > 100)
			return;
	}
	for (kho_pa_t at = 0; khoc_radix_next(&kho_arena_.tree, at, MAX_SIZE, &block);
	     at = block.pa + (KHO_PAGE_SIZE << block.order))
		pages += !kho_block_desc_(block.pa, &type, &order) && type == KHO_ABI_DESC_STRUCT;
	for (struct rec_block *b = kho_luo_.sessions.first; b; b = b->next)
		pages--;
	/* What a patch cut off nobody finds any more. */
	FACT(pages == (kho_luo_.flbs.first != NULL) || patched);
	FACT(!kho_heap_stats(&stats, true));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned int pos = 0;
	char name[64];
	int rc;

	if (image.fd < 0)
		make_image();
	patch(data, size);
	rc = arena_image_attach(&image);
	if (!rc) {
		rc = luo_session_next(&pos, name);
		FACT(!rc || rc == -ENOENT || (rc <= -KHO_E_TRUNCATED && rc > -KHO_E_MAX));
		if (!rc)
			use();
	}
	kho_arena_unmap_();
	kho_fdtable_clear_();
	/* What was retrieved is ours. */
	close_range(FIRST_FD, ~0U, 0);
	return 0;
}
