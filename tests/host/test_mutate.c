/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A campaign of random damage: bytes, bits, words, addresses that lead elsewhere inside the image,
 * copies of other places, descriptors, tokens of the FDT, checksums made right again, and several of
 * these at once. Every one is tried in a child with guard pages around the arena: no
 * signal, no hang, no access outside, and no fault without a type and a place. See damage.h.
 *
 *	KHO_MUTATIONS=N		how many (3,000; make check-mutate: a million)
 *	KHO_MUTATE_FROM=K	from number K on: a campaign in several parts
 *	KHO_SEED=S		where they come from; printed. Each depends on S and its number alone
 *	KHO_MUTATION=K		only number K, in this process, and what it is
 *	KHO_MUTATE_JSON=FILE	the figures
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arena_fixture.h"
#include "damage.h"
#include "heap.h"

#define MAX_ROWS 64
#define MAX_JOBS 8
/* Mutations of one child. */
#define BATCH 5000UL
/* So many failures are enough to look at. */
#define MAX_FAILURES 20

static uint64_t rng;
static struct damage damage;

static __u64 below(__u64 n)
{
	return test_random(&rng) % n;
}

/* ---- places ---- */

/* A byte; what is left of its part from there on; where its part begins. */
struct spot {
	unsigned int row;
	__u64 at, len, lo;
};

/* Each structure as often as each other, each of its parts by its size. */
static struct spot spot_of(unsigned int row)
{
	__u64 total = 0, at;

	for (unsigned int i = 0; i < damage_nr_parts; i++)
		total += damage_parts[i].row == row ? damage_parts[i].hi - damage_parts[i].lo : 0;
	at = below(total);
	for (unsigned int i = 0;; i++) {
		const struct damage_part *part = &damage_parts[i];

		if (part->row != row)
			continue;
		if (at < part->hi - part->lo)
			return (struct spot){row, part->lo + at, part->hi - part->lo - at,
					     part->lo};
		at -= part->hi - part->lo;
	}
}

static struct spot random_spot(void)
{
	return spot_of((unsigned int)below(damage_nr_structures));
}

/* ---- values ---- */

static __u64 random_page(void)
{
	return below(damage_size / KHO_PAGE_SIZE) * KHO_PAGE_SIZE;
}

/* Somewhere in the image, most often where a structure is. */
static __u64 random_place(void)
{
	struct spot spot = random_spot();

	switch (below(4)) {
	case 0:
		return random_page();
	case 1:
		return below(damage_size) & ~7ULL;
	case 2:
		return spot.at & ~(KHO_PAGE_SIZE - 1);
	default:
		return spot.lo;
	}
}

/* Where arithmetic goes wrong. */
static __u64 random_edge(__u64 was)
{
	const __u64 edges[] = {0,
			       1,
			       7,
			       8,
			       KHO_PAGE_SIZE - 1,
			       KHO_PAGE_SIZE,
			       damage_size - 8,
			       damage_size - KHO_PAGE_SIZE,
			       damage_size,
			       0x7fffffff,
			       0x80000000,
			       0xffffffff,
			       1ULL << 32,
			       KHO_ARENA_BASE,
			       KHO_ARENA_BASE + damage_size,
			       1ULL << 47,
			       1ULL << 63,
			       ~0ULL,
			       ~0ULL - 7,
			       ~(KHO_PAGE_SIZE - 1),
			       was + 1,
			       was - 1,
			       was + 8,
			       was + KHO_PAGE_SIZE,
			       was << 1,
			       was >> 1,
			       __builtin_bswap64(was),
			       ~was};

	return edges[below(sizeof(edges) / sizeof(*edges))];
}

/* An aligned word, one that is in use more often than not. */
static struct spot random_word(void)
{
	struct spot spot = random_spot();

	spot.at &= ~7ULL;
	for (int tries = 0; tries < 3 && !*(const __u64 *)damage_now(spot.at); tries++) {
		spot = spot_of(spot.row);
		spot.at &= ~7ULL;
	}
	return spot;
}

static void put(struct spot spot, const void *bytes, size_t len)
{
	if (len > damage_size - spot.at)
		len = damage_size - spot.at;
	damage_write(&damage, spot.row, spot.at, bytes, len);
}

static void put_word(struct spot spot, __u64 value)
{
	put(spot, &value, sizeof(value));
}

/* ---- kinds ---- */

static void any_byte(void)
{
	__u8 value = (__u8)below(256);

	put(random_spot(), &value, 1);
}

static void any_bit(void)
{
	struct spot spot = random_spot();
	__u8 value = *(const __u8 *)damage_now(spot.at) ^ (__u8)(1 << below(8));

	put(spot, &value, 1);
}

static void any_word(void)
{
	put_word(random_word(), test_random(&rng));
}

static void edge_word(void)
{
	struct spot spot = random_word();

	put_word(spot, random_edge(*(const __u64 *)damage_now(spot.at)));
}

/* An address, physical or virtual or with bits below it, that leads elsewhere in the image. */
static void redirect(void)
{
	__u64 to = random_place();

	switch (below(4)) {
	case 0:
		to += KHO_ARENA_BASE;
		break;
	case 1:
		to |= below(KHO_PAGE_SIZE);
		break;
	}
	put_word(random_word(), to);
}

/* What belongs elsewhere: a node for a node, a header for a header, or anything for anything. */
static void copy_from_elsewhere(void)
{
	struct spot to = random_spot(), from = below(2) ? spot_of(to.row) : random_spot();
	__u64 len = below(8) ? 1 + below(64) : KHO_PAGE_SIZE;
	__u8 bytes[4096];

	len = len < to.len ? len : to.len;
	len = len < from.len ? len : from.len;
	memcpy(bytes, damage_now(from.at), len);
	put(to, bytes, len);
}

/* A descriptor that is sound, of a page that may be anything. */
static void other_desc(void)
{
	kho_abi_desc_t desc = khoc_desc((unsigned int)below(10), (unsigned int)below(10));
	const struct kho_abi_arena_header *header = (const void *)damage_image;
	struct spot spot = spot_of(DAMAGE_DESCS);

	if (below(2))
		spot.at = header->descs_pa + below(damage_size / KHO_PAGE_SIZE) * sizeof(desc);
	put(spot, &desc, sizeof(desc));
}

static void other_token(void)
{
	static const __u32 tokens[] = {0, 1, 2, 3, 4, 9, 0xd00dfeed, 0x7fffffff, 0xffffffff};
	struct spot spot = spot_of(DAMAGE_FDT);
	__u32 value;

	spot.at &= ~3ULL;
	if (below(2)) {
		value = __builtin_bswap32(tokens[below(sizeof(tokens) / sizeof(*tokens))]);
	} else {
		memcpy(&value, damage_now(spot.at), sizeof(value));
		value = __builtin_bswap32(__builtin_bswap32(value) + (__u32)below(17) - 8);
	}
	put(spot, &value, sizeof(value));
}

static void forge_word(void)
{
	static const unsigned int offsets[] = {offsetof(struct kho_abi_arena_header, root_fdt),
					       offsetof(struct kho_abi_arena_header, generation),
					       offsetof(struct kho_abi_arena_header, state)};
	unsigned int at = offsets[below(3)];
	__u64 value = below(2) ? random_place() : random_edge(0);

	put_word((struct spot){.row = DAMAGE_WORDS, .at = at, .len = 8},
		 khoc_cword(value & ((1ULL << 48) - 1), (__u16)at));
}

static void forge_header(void)
{
	const size_t crc_at = offsetof(struct kho_abi_arena_header, crc);
	struct kho_abi_arena_header header;
	__u64 at = below(crc_at / 8) * 8, value;

	memcpy(&header, damage_now(0), sizeof(header));
	memcpy(&value, (char *)&header + at, sizeof(value));
	value = below(2) ? random_edge(value) : random_place();
	memcpy((char *)&header + at, &value, below(2) ? 8 : 4);
	header.crc = khoc_crc32c(0, &header, crc_at);
	put((struct spot){.row = DAMAGE_HEADER, .len = crc_at + 4}, &header, crc_at + 4);
}

static void forge_slab(void)
{
	const size_t crc_at = offsetof(struct kho_abi_slab, crc);
	struct spot spot = spot_of(DAMAGE_SLABS);
	kho_pa_t pa = spot.at & ~(KHO_PAGE_SIZE - 1);
	struct kho_abi_slab slab;
	__u32 value;

	memcpy(&slab, damage_now(pa), sizeof(slab));
	switch (below(5)) {
	case 0:
		slab.order = (__u16)below(12);
		break;
	case 1:
		slab.object_size = (__u32)below(2500) * 16;
		break;
	case 2:
		slab.nr_objects += (__u32)below(9) - 4;
		break;
	case 3:
		slab.objects_off += (__u32)below(129) - 64;
		break;
	default:
		value = (__u32)random_edge(0);
		memcpy((char *)&slab + below(crc_at / 4) * 4, &value, 4);
	}
	slab.crc = khoc_crc32c(khoc_crc32c(0, &slab, crc_at), &pa, sizeof(pa));
	spot.at = pa;
	put(spot, &slab, crc_at + 4);
}

/* What somebody does who knows the format. */
static void forge(void)
{
	damage.forged = true;
	switch (below(3)) {
	case 0:
		forge_word();
		break;
	case 1:
		forge_header();
		break;
	default:
		forge_slab();
	}
}

static void several(void);

static const struct {
	const char *name;
	void (*change)(void);
} kinds[] = {
	{"a byte", any_byte},
	{"a bit", any_bit},
	{"a word", any_word},
	{"a word, at its limits", edge_word},
	{"an address inside the image", redirect},
	{"a copy from elsewhere", copy_from_elsewhere},
	{"a sound descriptor", other_desc},
	{"a token of the FDT", other_token},
	{"a checksum made right", forge},
	{"two to five of these", several},
};

#define NR_KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void several(void)
{
	for (__u64 n = 2 + below(4); n; n--)
		kinds[below(NR_KINDS - 1)].change();
	damage.forged = true; /* a bit and a descriptor that agree are as good as a checksum */
}

/* Mutation @number of a seed; one that changes nothing is drawn again. Return: its kind. */
static unsigned int mutate(uint64_t seed, unsigned long number)
{
	unsigned int kind;

	rng = seed ^ (number + 1) * 0xd1342543de82ef95ULL;
	do {
		kind = (unsigned int)below(NR_KINDS);
		damage = (struct damage){.nr = 0};
		kinds[kind].change();
	} while (!damage.nr);
	return kind;
}

/* ---- figures ---- */

struct count {
	unsigned long tried, outcome[DAMAGE_NR_OUTCOMES];
};

/**
 * struct record - one child's, shared with its parent
 * @number: of the mutation at hand
 * @last: the end of its batch
 * @rows: by structure; one row more for changes of several
 */
struct record {
	unsigned long number, last;
	struct count rows[MAX_ROWS + 1], kinds[NR_KINDS];
	unsigned long told[KHOC_S_MAX + 1];
};

static struct record *record;

/* Which structure the fault was told of. */
static unsigned int told_of(void)
{
	const char *text = damage_said;

	for (int s = 0; s < KHOC_S_MAX; s++) {
		size_t len = strlen(khoc_structure_text(s));

		if (!strncmp(text, khoc_structure_text(s), len) && text[len] == ':')
			return (unsigned int)s;
	}
	if (!strncmp(text, "root ", 5))
		return KHOC_S_ROOT_FDT;
	if (!strncmp(text, "cache ", 6))
		return KHOC_S_CACHE;
	if (!strncmp(text, "block at", 8) || !strncmp(text, "page descriptor", 15))
		return KHOC_S_DESC;
	return KHOC_S_MAX;
}

static void count(unsigned int kind, enum damage_outcome outcome)
{
	unsigned int row = damage.change[0].row;

	for (unsigned int i = 1; i < damage.nr; i++)
		if (damage.change[i].row != row)
			row = MAX_ROWS;
	record->rows[row].tried++;
	record->rows[row].outcome[outcome]++;
	record->kinds[kind].tried++;
	record->kinds[kind].outcome[outcome]++;
	if (outcome == DAMAGE_DETECTED)
		record->told[told_of()]++;
}

static void describe(uint64_t seed, unsigned long number)
{
	printf("KHO_SEED=%llu KHO_MUTATION=%lu: %s:", (unsigned long long)seed, number,
	       kinds[mutate(seed, number)].name);
	for (unsigned int i = 0; i < damage.nr; i++) {
		printf(" %s at %#llx,", damage_structures[damage.change[i].row].name,
		       (unsigned long long)damage.change[i].at);
		for (__u64 j = 0; j < damage.change[i].len && j < 16; j++)
			printf(" %02x", *(const __u8 *)damage_now(damage.change[i].at + j));
		printf(damage.change[i].len > 16 ? " ...;" : ";");
	}
	printf("\n");
}

/* ---- children ---- */

static void broken(const char *text)
{
	printf("mutation %lu: %s\n", record->number, text);
	fflush(stdout);
	_exit(1);
}

static void child(uint64_t seed)
{
	static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

	/* The harness would make failed tests of them. */
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		signal(signals[i], SIG_DFL);
	damage_work_open();
	for (; record->number < record->last; record->number++) {
		unsigned int kind;

		damage_watch();
		kind = mutate(seed, record->number);
		count(kind, damage_try(&damage, broken));
	}
	fflush(stdout);
	_exit(0);
}

static struct {
	struct record *record;
	pid_t pid;
} jobs[MAX_JOBS];
static unsigned int nr_jobs;

static unsigned long failures;

static void start(unsigned int job, uint64_t seed)
{
	fflush(stdout);
	record = jobs[job].record;
	jobs[job].pid = fork();
	assert_int_not_equal(jobs[job].pid, -1);
	if (!jobs[job].pid)
		child(seed);
}

/* Tell of a child that did not come to its end, from the image as it was: by a child of its own. */
static void tell(uint64_t seed, unsigned long number, int status)
{
	pid_t pid;

	failures++;
	if (WIFSIGNALED(status))
		printf("mutation %lu: signal %d%s\n", number, WTERMSIG(status),
		       WTERMSIG(status) == SIGALRM || WTERMSIG(status) == SIGPROF ? " (hang)" : "");
	fflush(stdout);
	pid = fork();
	if (!pid) {
		damage_work_open();
		describe(seed, number);
		fflush(stdout);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

/* Hand out batches of [@next, @nr) until there are none, and wait for all. */
static void campaign(uint64_t seed, unsigned long next, unsigned long nr)
{
	unsigned long running = 0;
	int status;

	for (;;) {
		unsigned int job = 0;
		pid_t pid;

		while (job < nr_jobs && jobs[job].pid)
			job++;
		if (job < nr_jobs && next < nr && failures < MAX_FAILURES) {
			jobs[job].record->number = next;
			next = nr - next < BATCH ? nr : next + BATCH;
			jobs[job].record->last = next;
			running++;
			start(job, seed);
			continue;
		}
		if (!running)
			return;
		pid = wait(&status);
		for (job = 0; jobs[job].pid != pid;)
			job++;
		jobs[job].pid = 0;
		if (!status) {
			running--;
			continue;
		}
		tell(seed, jobs[job].record->number++, status);
		if (failures < MAX_FAILURES)
			start(job, seed);
		else
			running--;
	}
}

/* ---- results ---- */

static struct record sum;

static void add_counts(struct count *to, const struct count *from, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		to[i].tried += from[i].tried;
		for (int o = 0; o < DAMAGE_NR_OUTCOMES; o++)
			to[i].outcome[o] += from[i].outcome[o];
	}
}

static void print_count(FILE *json, const char *what, const char *name, const struct count *c)
{
	double n = c->tried ? (double)c->tried / 100 : 1;

	printf("%-28s %9lu tried %7.2f%% detected %7.2f%% harmless %7.2f%% lost\n", name, c->tried,
	       (double)c->outcome[DAMAGE_DETECTED] / n, (double)c->outcome[DAMAGE_HARMLESS] / n,
	       (double)c->outcome[DAMAGE_LOST] / n);
	if (json)
		fprintf(json,
			"  {\"by\": \"%s\", \"name\": \"%s\", \"tried\": %lu, \"detected\": %lu, "
			"\"harmless\": %lu, \"lost\": %lu},\n",
			what, name, c->tried, c->outcome[DAMAGE_DETECTED],
			c->outcome[DAMAGE_HARMLESS], c->outcome[DAMAGE_LOST]);
}

static void print_all(const char *path)
{
	FILE *json = path ? fopen(path, "w") : NULL;
	struct count all = {0};

	for (unsigned int j = 0; j < nr_jobs; j++) {
		add_counts(sum.rows, jobs[j].record->rows, MAX_ROWS + 1);
		add_counts(sum.kinds, jobs[j].record->kinds, NR_KINDS);
		for (int s = 0; s <= KHOC_S_MAX; s++)
			sum.told[s] += jobs[j].record->told[s];
	}
	if (json)
		fprintf(json, "{\"rows\": [\n");
	for (unsigned int r = 0; r < damage_nr_structures; r++)
		print_count(json, "structure", damage_structures[r].name, &sum.rows[r]);
	print_count(json, "structure", "several structures", &sum.rows[MAX_ROWS]);
	for (size_t k = 0; k < NR_KINDS; k++) {
		print_count(json, "kind", kinds[k].name, &sum.kinds[k]);
		add_counts(&all, &sum.kinds[k], 1);
	}
	print_count(json, "all", "all", &all);
	printf("told of:");
	for (int k = 0; k <= KHOC_S_MAX; k++) {
		const char *name = k < KHOC_S_MAX ? khoc_structure_text(k) : "in other words";

		if (!sum.told[k])
			continue;
		printf(" %s %lu;", name, sum.told[k]);
		if (json)
			fprintf(json,
				"  {\"by\": \"told of\", \"name\": \"%s\", \"tried\": %lu},\n",
				name, sum.told[k]);
	}
	printf("\n");
	if (json) {
		fprintf(json,
			"  {\"by\": \"failures\", \"name\": \"signal, hang or worse\", \"tried\": "
			"%lu}\n]}\n",
			failures);
		fclose(json);
	}
}

static void whatever_is_mutated(void **state)
{
	const char *many = getenv("KHO_MUTATIONS"), *only = getenv("KHO_MUTATION");
	const char *from = getenv("KHO_MUTATE_FROM");
	unsigned long start_at = from ? strtoul(from, NULL, 0) : 0;
	unsigned long nr = many ? strtoul(many, NULL, 0) : 3000;
	uint64_t seed = test_seed();
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	assert_true(damage_nr_structures <= MAX_ROWS);
	nr_jobs = cpus < 1 ? 1 : cpus > MAX_JOBS ? MAX_JOBS : (unsigned int)cpus;
	for (unsigned int j = 0; j < nr_jobs; j++) {
		jobs[j].record = mmap(NULL, sizeof(struct record), PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		assert_ptr_not_equal(jobs[j].record, MAP_FAILED);
	}
	damage_open();
	if (only) {
		record = jobs[0].record;
		record->number = strtoul(only, NULL, 0);
		damage_work_open();
		describe(seed, record->number);
		printf("outcome %d: %s\n", damage_try(&damage, broken), damage_said);
		return;
	}
	campaign(seed, start_at, start_at + nr);
	print_all(getenv("KHO_MUTATE_JSON"));
	assert_int_equal(failures, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(whatever_is_mutated)};

	return cmocka_run_group_tests_name("mutate", tests, NULL, NULL);
}
