/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Made tests/golden/sessions-v1.sparse once: an arena with sessions, as a program left it that died while it
 * took a file out. make.py says in its own words what is in it. Usage: make_sessions FILE
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <kho/session.h>

#include "arena.h"
#include "sessions.h"
#include "sparse.h"

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "make_sessions: %s: %s\n", what, kho_error());
	exit(1);
}

static bool is_job(struct liveupdate_file_handler *handler, int fd)
{
	struct stat st;

	return !fstat(fd, &st) && S_ISDIR(st.st_mode);
}

static int put_state(struct liveupdate_file_op_args *args)
{
	args->serialized_data = args->token + 5;
	for (size_t i = 0; i < args->state_len; i++)
		((unsigned char *)args->state)[i] = (unsigned char)(args->token * 16 + i);
	return 0;
}

static int put_shared(struct liveupdate_flb_op_args *args)
{
	args->data = 77;
	memcpy(args->state, "of all jobs", 12);
	return 0;
}

static int nothing(struct liveupdate_flb_op_args *args)
{
	return 0;
}

static const struct liveupdate_file_ops ops = {
	.state_size = 24, .can_preserve = is_job, .preserve = put_state};
static struct liveupdate_file_handler jobs = {.compatible = "job-v2;hints-v1?", .ops = &ops};
static const struct liveupdate_flb_ops flb_ops = {
	.state_size = 12, .preserve = put_shared, .retrieve = nothing};
static struct liveupdate_flb flb = {.compatible = "jobs", .ops = &flb_ops};

static struct luo_session *create(const char *name)
{
	struct luo_session *session;

	need(!luo_session_create(name, &session), name);
	return session;
}

static void add(struct luo_session *session, int fd, __u64 token)
{
	need(fd >= 0 && !luo_session_preserve_fd(session, fd, token), "file");
}

int main(int argc, char **argv)
{
	int fd = kho_arena_create_("golden");
	FILE *out = argc == 2 ? fopen(argv[1], "wb") : NULL;
	struct luo_session *many, *few;
	struct kho_abi_luo_session *record;

	need(out && fd >= 0 && !kho_arena_format_(fd, 3 << 20) && !kho_arena_map_(fd, true) &&
		     !kho_arena_own_(),
	     "arena");
	need(!liveupdate_register_file_handler(&jobs) && !liveupdate_register_flb(&jobs, &flb),
	     "handler");
	many = create("many");
	few = create("jobs of the day");
	create("empty");
	for (__u64 token = 0; token < 130; token++)
		add(many, eventfd(0, 0), token * token);
	for (__u64 token = 10; token < 20; token++)
		need(!luo_session_close_fd(many, token * token), "close");
	for (__u64 token = 1; token < 4; token++)
		add(few, open("/", O_RDONLY | O_DIRECTORY), token);
	add(few, socket(AF_UNIX, SOCK_STREAM, 0), ~0ULL);
	/* Killed before the record went, and the count of another session was stored. */
	kho_luo_.head->changes++;
	kho_luo_.head->dead = kho_luo_find_file_(many, 4)->object;
	record = kho_rec_at_(&few->ref, sizeof(*record));
	record->count = 3;
	kho_arena_set_state_(KHO_ABI_STATE_RUNNING);
	return sparse_write(out, kho_arena_.base, kho_arena_.file_size) || fclose(out);
}
