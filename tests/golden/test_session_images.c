/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The golden image of sessions: what sessions-v1.txt says is found, and goes away again without leaving anything. */
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <kho/session.h>

#include "arena.h"
#include "fdtable.h"
#include "golden.h"
#include "page.h"
#include "preserve.h"
#include "sessions.h"

#define MAX_SIZE (3 << 20)

typedef unsigned long long ull;

static bool is_job(struct liveupdate_file_handler *handler, int fd)
{
	struct stat st;

	return !fstat(fd, &st) && S_ISDIR(st.st_mode);
}

static int flb_retrieve(struct liveupdate_flb_op_args *args)
{
	args->obj = args->state;
	return 0;
}

static int unused(struct liveupdate_flb_op_args *args)
{
	return -EINVAL;
}

static const struct liveupdate_file_ops ops = {.can_preserve = is_job};
static const struct liveupdate_reads reads[] = {{"job", 1, 2}};
static struct liveupdate_file_handler jobs = {
	.compatible = "job-v1", .ops = &ops, .reads = reads, .nr_reads = 1};
static const struct liveupdate_flb_ops flb_ops = {.preserve = unused, .retrieve = flb_retrieve};
static struct liveupdate_flb flb = {.compatible = "jobs", .ops = &flb_ops};

/* As whoever held the fds would have them: what a file is its record says. */
static int fd_for(const char *compatible)
{
	if (!strcmp(compatible, "fd-eventfd-v1"))
		return eventfd(0, EFD_CLOEXEC);
	if (!strcmp(compatible, "fd-socket-v1"))
		return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void attach(int fd)
{
	if (kho_arena_map_(fd, true) || kho_arena_own_())
		printf("%s\n", kho_error());
	EXPECT(kho_arena_.writer);
	EXPECT_EQ(kho_preserve_check_all_(false), 0);
	EXPECT_EQ(kho_pages_discover_all_(), 0);
}

static void open_image(void)
{
	char *image = shim_alloc(MAX_SIZE);
	int fd = kho_arena_create_("golden");
	u64 size = golden_image("sessions-v1.sparse", image, MAX_SIZE);

	EXPECT_EQ(pwrite(fd, image, size, 0), size);
	shim_free(image);
	attach(fd);
}

static void say_file(struct said *said, struct luo_session *session, u64 token)
{
	struct luo_file *file = kho_luo_find_file_(session, token);
	const struct kho_abi_session_object *object = kho_object_at_(file->object);
	int fd = fd_for(file->kind->compatible);

	EXPECT_EQ(luo_session_retrieve_fd(session, token), -ENXIO);
	EXPECT_EQ(kho_fd_preserve(kho_file_token_(file), fd), 0);
	EXPECT_EQ(luo_session_retrieve_fd(session, token), fd);
	say(said, "file %llu %s %llu %llu %llu\n", (ull)token, file->kind->compatible,
	    (ull)object->number, (ull)object->data, (ull)object->flbs);
	if (object->state_len)
		say_bytes(said, "state", object->state, object->state_len);
}

/* Its files by ascending tokens. */
static void say_session(struct said *said, const char *name)
{
	struct luo_session *session;
	unsigned int pos = 0;
	u64 token, last = 0, least;
	bool first = true;

	EXPECT_EQ(luo_session_retrieve(name, &session), 0);
	say(said, "session %s\n", name);
	for (;;) {
		bool any = false;

		pos = 0;
		least = 0;
		while (!luo_session_next_token(session, &pos, &token)) {
			if ((!first && token <= last) || (any && token >= least))
				continue;
			least = token;
			any = true;
		}
		if (!any)
			return;
		say_file(said, session, least);
		last = least;
		first = false;
	}
}

static void finish(const char *name)
{
	struct luo_session *session = kho_luo_find_session_(name);

	EXPECT_EQ(luo_session_finish(session), 0);
	luo_session_put(session);
}

TEST(they_contain_what_they_did)
{
	struct said said;
	void *obj;
	int fd;

	EXPECT_EQ(liveupdate_register_file_handler(&jobs), 0);
	EXPECT_EQ(liveupdate_register_flb(&jobs, &flb), 0);
	open_image();
	said_begin(&said);
	say_session(&said, "empty");
	say_session(&said, "jobs of the day");
	say_session(&said, "many");
	EXPECT_EQ(liveupdate_flb_get_incoming(&flb, &obj), 0);
	say(&said, "flb jobs %s\n", (char *)obj);
	EXPECT(said_end(&said, "sessions-v1.txt"));
	finish("many");
	finish("jobs of the day");
	finish("empty");
	EXPECT_EQ(kho_fdtable_count_(), 0);
	/* To the next program: slabs of the objects, and of their head. */
	fd = fcntl(kho_arena_.fd, F_DUPFD_CLOEXEC, 0);
	kho_arena_unmap_();
	attach(fd);
	EXPECT_EQ(kho_pages_used_() % (16 * KHO_PAGE_SIZE), 0);
	kho_arena_unmap_();
	close_range(3, ~0U, 0);
}

TEST_SUITE(session_images, TEST_CASE(they_contain_what_they_did));
