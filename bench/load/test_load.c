/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Does the load see what it is there to see? A small server in this process lies in every
 * way that matters, and must be found out; an honest one must not be accused, however often
 * it breaks connections. And are the benchmarks by size those that were asked for?
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "sized.h"

#define KEYS 800
#define CONNS 128
#define VALUE_BYTES 256

/* What the server does wrong, once in a while. */
enum lie {
	HONEST,
	BREAKS, /* closes a connection instead of an answer: the write done, or not done */
	IGNORES, /* says STORED and keeps the old value */
	FORGETS, /* says STORED and loses the key */
	REVIVES, /* says DELETED and keeps the key */
	MIXES, /* half of one write's bytes, half of another's */
	MISPLACES, /* another key's value */
	ERRS, /* SERVER_ERROR */
	PAUSES, /* does nothing for PAUSE, once */
	SWALLOWS, /* takes a request and forgets it, once */
	FLIPS, /* a bit of every value that it reads */
};

#define PAUSE (60 * LOAD_MS)

struct entry {
	uint32_t len; /* 0: not there */
	char bytes[VALUE_BYTES];
};

struct server {
	_Atomic enum lie lie;
	unsigned int port;
	atomic_uint commands;
	int listener;
	atomic_bool stop;
	pthread_t thread;
	struct entry entries[KEYS];
	struct pollfd fds[CONNS];
	char in[CONNS][4096];
	size_t nin[CONNS];
};

static const struct load_shape shape = {40, 200};

static bool lies_now(struct server *s, enum lie lie)
{
	return s->lie == lie && load_mix(s->commands) % 101 == 0;
}

static void say(struct server *s, int i, const char *text, size_t len)
{
	if (send(s->fds[i].fd, text, len, MSG_NOSIGNAL) < 0)
		s->fds[i].revents = POLLHUP;
}

static void drop(struct server *s, int i)
{
	close(s->fds[i].fd);
	s->fds[i].fd = -1;
	s->nin[i] = 0;
}

static void do_get(struct server *s, int i, uint64_t index)
{
	struct entry *entry = &s->entries[index];
	char out[VALUE_BYTES + 64];
	size_t n;

	if (lies_now(s, MISPLACES) && s->entries[(index + 1) % KEYS].len)
		entry = &s->entries[(index + 1) % KEYS];
	if (!entry->len) {
		say(s, i, "END\r\n", 5);
		return;
	}
	n = (size_t)sprintf(out, "VALUE key:%010llu 0 %u\r\n", (unsigned long long)index,
			    entry->len);
	memcpy(out + n, entry->bytes, entry->len);
	if (s->lie == FLIPS)
		out[n + 35] ^= 1;
	memcpy(out + n + entry->len, "\r\nEND\r\n", 7);
	say(s, i, out, n + entry->len + 7);
}

static void do_set(struct server *s, int i, uint64_t index, const char *value, uint32_t len)
{
	struct entry *entry = &s->entries[index];

	if (lies_now(s, ERRS)) {
		say(s, i, "SERVER_ERROR out of memory\r\n", 28);
		return;
	}
	if (lies_now(s, FORGETS)) {
		entry->len = 0;
	} else if (lies_now(s, MIXES) && entry->len) {
		memcpy(entry->bytes, value, len / 2);
	} else if (!lies_now(s, IGNORES)) {
		memcpy(entry->bytes, value, len);
		entry->len = len;
	}
	say(s, i, "STORED\r\n", 8);
}

static void do_delete(struct server *s, int i, uint64_t index)
{
	bool there = s->entries[index].len;

	/* Deletes are few. */
	if (!(s->lie == REVIVES && s->commands % 3 == 0))
		s->entries[index].len = 0;
	say(s, i, there ? "DELETED\r\n" : "NOT_FOUND\r\n", there ? 9 : 11);
}

/* Return: bytes taken, 0: more is needed. */
static size_t command(struct server *s, int i, char *in, size_t len)
{
	char *end = memchr(in, '\n', len);
	unsigned long long index;
	unsigned int bytes = 0;
	char verb[8];
	size_t need;

	if (!end)
		return 0;
	need = (size_t)(end + 1 - in);
	*end = '\0';
	if (sscanf(in, "%7s key:%llu 0 0 %u", verb, &index, &bytes) < 2 || index >= KEYS) {
		drop(s, i);
		return 0;
	}
	*end = '\n';
	if (verb[0] == 's' && len < need + bytes + 2)
		return 0;
	s->commands++;
	if (s->lie == PAUSES && s->commands == 2000)
		load_sleep(PAUSE);
	if (s->lie == SWALLOWS && s->commands == 2000)
		return verb[0] == 's' ? need + bytes + 2 : need;
	if (lies_now(s, BREAKS)) {
		if (verb[0] == 's' && s->commands & 1) {
			memcpy(s->entries[index].bytes, in + need, bytes);
			s->entries[index].len = bytes;
		}
		drop(s, i);
		return 0;
	}
	if (verb[0] == 'g')
		do_get(s, i, index);
	else if (verb[0] == 'd')
		do_delete(s, i, index);
	else
		do_set(s, i, index, in + need, bytes);
	return verb[0] == 's' ? need + bytes + 2 : need;
}

static void serve(struct server *s, int i)
{
	ssize_t n = recv(s->fds[i].fd, s->in[i] + s->nin[i], sizeof(s->in[i]) - s->nin[i], 0);
	size_t taken;

	if (n <= 0) {
		drop(s, i);
		return;
	}
	s->nin[i] += (size_t)n;
	while (s->nin[i] && (taken = command(s, i, s->in[i], s->nin[i]))) {
		s->nin[i] -= taken;
		memmove(s->in[i], s->in[i] + taken, s->nin[i]);
	}
}

static void *server_main(void *arg)
{
	struct server *s = arg;
	int i, fd, one = 1;

	while (!atomic_load(&s->stop)) {
		if (poll(s->fds, CONNS, 10) <= 0)
			continue;
		for (i = 1; i < CONNS; i++)
			if (s->fds[i].fd >= 0 && s->fds[i].revents)
				serve(s, i);
		if (!s->fds[0].revents)
			continue;
		fd = accept(s->listener, NULL, NULL);
		for (i = 1; i < CONNS && s->fds[i].fd >= 0; i++)
			;
		assert_true(fd >= 0 && i < CONNS);
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		s->fds[i] = (struct pollfd){.fd = fd, .events = POLLIN};
	}
	return NULL;
}

static struct server *server_start(enum lie lie)
{
	struct sockaddr_in addr = load_addr(0);
	struct server *s = calloc(1, sizeof(*s));
	socklen_t len = sizeof(addr);
	int i;

	assert_non_null(s);
	s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(s->listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(s->listener, 64), 0);
	assert_int_equal(getsockname(s->listener, (struct sockaddr *)&addr, &len), 0);
	s->port = ntohs(addr.sin_port);
	for (i = 0; i < CONNS; i++)
		s->fds[i] = (struct pollfd){.fd = i ? -1 : s->listener, .events = POLLIN};
	assert_int_equal(pthread_create(&s->thread, NULL, server_main, s), 0);
	s->lie = HONEST;
	{
		struct load_fill fill = {.port = s->port, .nr = KEYS, .shape = shape};

		/* Filled honestly; from then on, as asked. */
		assert_int_equal(load_fill(&fill), 0);
		assert_true(fill.bytes > KEYS * (14u + shape.min));
	}
	s->lie = lie;
	return s;
}

static void server_stop(struct server *s)
{
	int i;

	atomic_store(&s->stop, true);
	pthread_join(s->thread, NULL);
	for (i = 0; i < CONNS; i++)
		if (s->fds[i].fd >= 0)
			close(s->fds[i].fd);
	free(s);
}

/* The load against a server that lies; what it found. */
static struct load_counts run(enum lie lie)
{
	struct server *s = server_start(lie);
	struct load_verify_config config = {.port = s->port,
					    .keys = KEYS,
					    .shape = shape,
					    .busy = 8,
					    .idle = 16,
					    .rate = 60000,
					    .opens = 200,
					    .seed = 42};
	struct load_verify *verify = load_verify_start(&config);
	struct load_counts *counts, copy;
	uint64_t end = load_now() + 20 * LOAD_NS;

	assert_non_null(verify);
	counts = load_verify_counts(verify);
	while (atomic_load(&counts->reads) < 8000 && load_now() < end)
		load_sleep(5 * LOAD_MS);
	/* The last look is at what it did before. */
	s->lie = HONEST;
	assert_int_equal(load_verify_finish(verify, NULL, NULL), 0);
	memcpy(&copy, counts, sizeof(copy));
	load_verify_free(verify);
	server_stop(s);
	assert_true(copy.reads >= 8000);
	assert_true(copy.writes > 1000);
	assert_true(copy.opened > 0);
	assert_int_equal(copy.refused, 0);
	assert_int_equal(copy.stuck, 0);
	return copy;
}

static void an_honest_server_is_not_accused(void **state)
{
	struct load_counts counts = run(HONEST);

	assert_int_equal(counts.lost, 0);
	assert_int_equal(counts.wrong, 0);
	assert_int_equal(counts.errors, 0);
	assert_int_equal(counts.maybe, 0);
	assert_int_equal(counts.dropped[LOAD_BLAME_UPGRADE], 0);
}

static void broken_connections_are_no_losses(void **state)
{
	struct load_counts counts = run(BREAKS);

	assert_int_equal(counts.lost, 0);
	assert_int_equal(counts.wrong, 0);
	assert_true(counts.maybe > 0);
	assert_true(counts.dropped[LOAD_BLAME_UPGRADE] > 0);
	assert_int_equal(counts.dropped[LOAD_BLAME_KILL], 0);
}

static void lost_writes_are_found(void **state)
{
	static const enum lie lies[] = {IGNORES, FORGETS, REVIVES};
	size_t i;

	for (i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct load_counts counts = run(lies[i]);

		assert_true(counts.lost > 0);
		assert_int_equal(counts.wrong, 0);
	}
}

static void wrong_values_are_found(void **state)
{
	struct load_counts counts = run(MIXES);

	assert_true(counts.wrong > 0);
	assert_int_equal(counts.lost, 0);
	counts = run(MISPLACES);
	assert_true(counts.wrong > 0);
	assert_int_equal(counts.lost, 0);
}

static void errors_are_counted(void **state)
{
	struct load_counts counts = run(ERRS);

	assert_true(counts.errors > 0);
	assert_int_equal(counts.wrong, 0);
}

static void the_prober_sees_a_pause(void **state)
{
	struct server *s = server_start(PAUSES);
	struct load_prober_config config = {.port = s->port, .index = 5, .shape = shape};
	struct load_prober *prober = load_prober_start(&config);
	struct load_window window;

	assert_non_null(prober);
	assert_int_equal(load_prober_begin(prober, 10 * LOAD_NS), 0);
	while (s->commands < 2000)
		load_sleep(LOAD_MS);
	assert_int_equal(load_prober_end(prober, 10 * LOAD_NS, &window), 0);
	assert_true(window.gap >= PAUSE);
	assert_true(window.answers > 100);
	assert_int_equal(window.bad, 0);
	assert_int_equal(window.breaks, 0);
	load_prober_stop(prober);
	server_stop(s);
}

static void what_is_never_answered_is_counted(void **state)
{
	struct server *s = server_start(SWALLOWS);
	struct load_prober_config config = {.port = s->port, .index = 5, .shape = shape};
	uint64_t patience = load_patience;
	struct load_prober *prober;
	struct load_window window;

	load_patience = 300 * LOAD_MS;
	prober = load_prober_start(&config);
	assert_non_null(prober);
	assert_int_equal(load_prober_begin(prober, 10 * LOAD_NS), 0);
	while (s->commands < 2000)
		load_sleep(LOAD_MS);
	assert_int_equal(load_prober_end(prober, 10 * LOAD_NS, &window), 0);
	load_prober_stop(prober);
	server_stop(s);
	load_patience = patience;
	assert_int_equal(window.stuck, 1);
	assert_int_equal(window.breaks, 1);
	assert_true(window.gap >= 300 * LOAD_MS);
}

static void the_prober_takes_the_right_bytes_only(void **state)
{
	struct server *s = server_start(HONEST);
	struct load_prober_config config = {.port = s->port, .index = 5, .shape = shape};
	struct load_prober *prober;
	struct load_window window;

	s->lie = FLIPS;
	prober = load_prober_start(&config);
	assert_non_null(prober);
	assert_int_equal(load_prober_begin(prober, 50 * LOAD_MS), -ETIMEDOUT);
	s->lie = HONEST;
	assert_int_equal(load_prober_begin(prober, 10 * LOAD_NS), 0);
	assert_int_equal(load_prober_end(prober, 10 * LOAD_NS, &window), 0);
	load_prober_stop(prober);
	server_stop(s);
}

static void every_flipped_bit_of_a_value_shows(void **state)
{
	unsigned char value[300];
	uint32_t version;
	size_t len, bit;

	for (len = LOAD_VALUE_MIN; len < sizeof(value); len += 17) {
		load_value_make(value, len, 77, 5);
		assert_true(load_value_check(value, len, 77, &version));
		assert_int_equal(version, 5);
		assert_false(load_value_check(value, len, 78, &version));
		assert_false(load_value_check(value, len - 1, 77, &version));
		for (bit = 0; bit < 8 * len; bit++) {
			value[bit / 8] ^= (unsigned char)(1u << bit % 8);
			assert_false(load_value_check(value, len, 77, &version));
			value[bit / 8] ^= (unsigned char)(1u << bit % 8);
		}
	}
}

static void what_is_owed_is_decided_exactly(void **state)
{
	/* What is known, the version found (0: a miss), the verdict, what is known after. */
	static const struct {
		struct load_known known;
		uint32_t found;
		enum load_verdict verdict;
		struct load_known after;
	} cases[] = {
		{{3, 0, 3}, 3, LOAD_GOOD, {3, 0, 3}},
		{{3, 4, 4}, 3, LOAD_GOOD, {3, 0, 4}},
		{{3, 4, 4}, 4, LOAD_GOOD, {4, 0, 4}},
		{{3, 4 | LOAD_DELETED, 4}, 0, LOAD_GOOD, {4 | LOAD_DELETED, 0, 4}},
		{{3 | LOAD_DELETED, 0, 3}, 0, LOAD_GOOD, {3 | LOAD_DELETED, 0, 3}},
		{{3 | LOAD_DELETED, 4, 4}, 4, LOAD_GOOD, {4, 0, 4}},
		{{3, 0, 3}, 2, LOAD_LOST, {2, 0, 3}},
		{{3, 4, 4}, 0, LOAD_LOST, {3 | LOAD_DELETED, 0, 4}},
		{{3, 0, 3}, 0, LOAD_LOST, {3 | LOAD_DELETED, 0, 3}},
		{{3 | LOAD_DELETED, 0, 3}, 2, LOAD_LOST, {2, 0, 3}},
		/* Settled as not done, and there after all; never written. */
		{{3, 0, 4}, 4, LOAD_WRONG, {3, 0, 4}},
		{{3, 4, 4}, 5, LOAD_WRONG, {3, 4, 4}},
	};
	char value[64];
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct load_known known = cases[i].known;
		struct load_reply reply = {LOAD_MISS, NULL, 0};

		if (cases[i].found) {
			load_value_make(value, sizeof(value), 9, cases[i].found);
			reply = (struct load_reply){LOAD_OK, value, sizeof(value)};
		}
		assert_int_equal(load_judge(&known, 9, &reply), cases[i].verdict);
		assert_memory_equal(&known, &cases[i].after, sizeof(known));
	}
}

static void still_keys_are_nobodys(void **state)
{
	unsigned int busy, n;

	for (busy = 0; busy < 70; busy += 3) {
		unsigned int turn = load_turn(busy);
		uint64_t keys = 10 * turn + 3;

		for (n = 0; n < 300; n++) {
			uint64_t index = load_still(n, keys, busy);

			assert_true(index < keys);
			assert_true(load_is_still(index, busy));
			assert_true(index % turn >= busy);
		}
	}
}

static void quantiles_are_samples(void **state)
{
	struct load_samples samples = {0};
	int i;

	assert_true(load_quantile(&samples, 0.5) == 0);
	for (i = 200; i > 0; i--)
		load_samples_add(&samples, i);
	assert_true(load_quantile(&samples, 0) == 1);
	assert_true(load_quantile(&samples, 0.5) == 100);
	assert_true(load_quantile(&samples, 0.99) == 198);
	assert_true(load_quantile(&samples, 1) == 200);
	load_samples_free(&samples);
}

static void sizes_are_bytes(void **state)
{
	assert_int_equal(sized_bytes("16MiB"), 16ULL << 20);
	assert_int_equal(sized_bytes("12GiB"), 12ULL << 30);
	assert_int_equal(sized_bytes("0GiB"), 0);
	assert_int_equal(sized_bytes("16"), 0);
	assert_int_equal(sized_bytes("MiB"), 0);
	assert_int_equal(sized_bytes("16MiB "), 0);
	assert_int_equal(sized_bytes("-1MiB"), 0);
	/* 2^61 bytes, and one GiB less. */
	assert_int_equal(sized_bytes("2147483648GiB"), 0);
	assert_int_equal(sized_bytes("2147483647GiB"), 2147483647ULL << 30);
}

static void subjects_are_chosen_by_name_or_way(void **state)
{
	const struct subject kho = {.name = "libkho", .way = "standby"}, plain = {.name = "exec"};

	assert_true(sized_wanted(&kho, NULL));
	assert_true(sized_wanted(&kho, ""));
	assert_true(sized_wanted(&kho, "libkho"));
	assert_true(sized_wanted(&kho, "redis/standby"));
	assert_true(sized_wanted(&kho, "standby,redis"));
	assert_true(sized_wanted(&plain, "libkho,exec"));
	assert_false(sized_wanted(&kho, "libkho-exec,redis"));
	assert_false(sized_wanted(&plain, "libkho-exec"));
	assert_false(sized_wanted(&plain, "exec2"));
	assert_false(sized_wanted(&plain, "exe"));
	/* Who has no way is not chosen by an empty one. */
	assert_false(sized_wanted(&plain, ",libkho,"));
}

/* ---- subjects that are nobody: one of each fate ---- */

static uint64_t need_nothing(uint64_t state)
{
	return 0;
}

static uint64_t need_all(uint64_t state)
{
	return UINT64_MAX;
}

static int start_well(struct run *run)
{
	return 0;
}

static int start_badly(struct run *run)
{
	return -ENOEXEC;
}

static char fake_dir[256];

static void stop_fake(struct run *run)
{
	assert_int_equal(access(run->dir, F_OK), 0);
	strcpy(fake_dir, run->dir);
}

/* Two metrics of three; who is cold fails after them. */
static int measure_fake(struct run *run)
{
	for (; run->events < run->n; run->events++)
		load_samples_add(&run->samples[0], 2);
	load_samples_add(&run->samples[1], (double)run->state / SIZED_MIB);
	return run->subject->cold ? -EIO : 0;
}

static const struct subject
	quick = {.name = "quick",
		 .fills_itself = true,
		 .need = need_nothing,
		 .start = start_well,
		 .stop = stop_fake},
	slow = {.name = "slow",
		.way = "late",
		.slow = true,
		.cold = true,
		.fills_itself = true,
		.need = need_nothing,
		.start = start_well,
		.stop = stop_fake},
	big = {.name = "big", .need = need_all, .start = start_well, .stop = stop_fake},
	bad = {.name = "bad", .need = need_nothing, .start = start_badly, .stop = stop_fake};

/* Its tables and messages are not this test's output. */
static int run_quietly(const struct sized *bench, char **argv, int argc)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC), out = dup(1), err = dup(2), status;

	optind = 0; /* getopt starts again */
	fflush(stdout);
	dup2(null, 1);
	dup2(null, 2);
	status = sized_main(bench, argc, argv);
	fflush(stdout);
	dup2(out, 1);
	dup2(err, 2);
	close(null);
	close(out);
	close(err);
	return status;
}

static void each_subject_has_its_row(void **state)
{
	static const struct subject *const subjects[] = {&quick, &slow, &big, &bad, NULL};
	static const struct sized bench = {.title = "test",
					   .sizes = "1MiB",
					   .n_slow = 3,
					   .subjects = subjects,
					   .metrics = {{"a_us", "us"}, {"b", "MiB"}, {"c", "ms"}},
					   .measure = measure_fake};
	static const char *const rows[] = {
		"\"case\": \"2MiB\", \"subject\": \"quick\", \"metric\": \"a_us\", \"unit\": "
		"\"us\", "
		"\"n\": 200, \"min\": 2.000,",
		"\"case\": \"2MiB\", \"subject\": \"quick\", \"metric\": \"b\", \"unit\": \"MiB\", "
		"\"n\": 1, \"min\": 2.000,",
		"\"case\": \"2MiB/late\", \"subject\": \"slow\", \"metric\": \"a_us\", \"unit\": "
		"\"us\", "
		"\"n\": 3,",
		"\"case\": \"2MiB\", \"subject\": \"big\", \"metric\": \"a_us\", \"unit\": \"us\", "
		"\"n\": 0,",
		"does not fit",
		"\"case\": \"2MiB\", \"subject\": \"bad\", \"metric\": \"a_us\", \"unit\": \"us\", "
		"\"n\": 0,",
		"failed: Exec format error",
		"\"case\": \"12GiB\", \"subject\": \"quick\", \"metric\": \"a_us\", \"unit\": "
		"\"us\", "
		"\"n\": 50,",
	};
	char dir[200], json[256], text[8192];
	char *argv[] = {"test", "--bin", dir, "--json", json, "--sizes", "2MiB 12GiB", NULL};
	const char *at = text;
	ssize_t n;
	int fd;

	assert_int_equal(load_tmpdir(dir, sizeof(dir)), 0);
	snprintf(json, sizeof(json), "%s/deep/rows.json", dir);
	assert_int_equal(run_quietly(&bench, argv, 7), 0);
	fd = open(json, O_RDONLY | O_CLOEXEC);
	n = read(fd, text, sizeof(text) - 1);
	assert_true(n > 0);
	text[n] = '\0';
	close(fd);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		at = strstr(at, rows[i]);
		if (!at)
			fail_msg("no \"%s\" (or not in its place) in %s", rows[i], text);
	}
	assert_null(strstr(text, "\"c\""));
	assert_int_equal(access(fake_dir, F_OK), -1);
	load_rmtree(dir);
}

static void nobodys_name_is_refused(void **state)
{
	static const struct subject *const subjects[] = {&quick, NULL};
	static const struct sized bench = {.sizes = "1MiB", .subjects = subjects};
	char *argv[] = {"test", "--bin", "/", "--subjects", "quicker", NULL};

	assert_int_equal(run_quietly(&bench, argv, 5), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_flipped_bit_of_a_value_shows),
		cmocka_unit_test(what_is_owed_is_decided_exactly),
		cmocka_unit_test(still_keys_are_nobodys),
		cmocka_unit_test(quantiles_are_samples),
		cmocka_unit_test(sizes_are_bytes),
		cmocka_unit_test(subjects_are_chosen_by_name_or_way),
		cmocka_unit_test(each_subject_has_its_row),
		cmocka_unit_test(nobodys_name_is_refused),
		cmocka_unit_test(an_honest_server_is_not_accused),
		cmocka_unit_test(broken_connections_are_no_losses),
		cmocka_unit_test(lost_writes_are_found),
		cmocka_unit_test(wrong_values_are_found),
		cmocka_unit_test(errors_are_counted),
		cmocka_unit_test(the_prober_sees_a_pause),
		cmocka_unit_test(what_is_never_answered_is_counted),
		cmocka_unit_test(the_prober_takes_the_right_bytes_only),
	};

	return cmocka_run_group_tests_name("load", tests, NULL, NULL);
}
