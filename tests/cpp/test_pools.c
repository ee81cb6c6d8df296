/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Pools that come in: the golden image is read and worked on, and today's code makes the same bytes; and every byte
 * of every pool and link of it, changed in two ways, is told with where and what, or does no harm. KHO_CORRUPT=full:
 * in ten (each bit, 0x00, 0xff).
 */
#include <fcntl.h>

#include <kho/host.h>

#include "arena.h"
#include "golden.h"
#include "page.h"
#include "pools.h"
#include "preserve.h"
#include "say_arena.h"

#define MAX_SIZE (2 << 20)
#define BLOCKS_MAX 8

static struct pools_why why;

/* ---- arenas ---- */

static void attach(int fd)
{
	if (kho_arena_map_(fd, true) || kho_arena_own_() || kho_preserve_check_all_(false))
		printf("%s\n", kho_error());
	EXPECT(kho_arena_.mapped && kho_arena_.writer);
	EXPECT_EQ(kho_preserve_check_all_(false), 0);
	EXPECT_EQ(kho_pages_discover_all_(), 0);
}

static char *image;
static u64 image_size;

static void open_image(void)
{
	int fd = kho_arena_create_("golden");

	if (!image) {
		image = shim_alloc(MAX_SIZE);
		image_size = golden_image("pool-v1.sparse", image, MAX_SIZE);
	}
	EXPECT_EQ(pwrite(fd, image, image_size, 0), image_size);
	attach(fd);
}

static void make_anew(void)
{
	int fd = kho_arena_create_("golden");

	EXPECT(fd >= 0 && !kho_arena_format_(fd, MAX_SIZE) && !kho_arena_map_(fd, true) &&
	       !kho_arena_own_());
	EXPECT_EQ(pools_fill(&why), 0);
}

static void close_arena(void)
{
	pools_close();
	kho_arena_unmap_();
}

static void crash(void)
{
	int fd = fcntl(kho_arena_.fd, F_DUPFD_CLOEXEC, 0);

	close_arena();
	attach(fd);
}

static void open_pool(const char *name)
{
	if (pools_open(name, &why))
		printf("%s: %s\n", name, why.text);
	EXPECT_EQ(why.error, 0);
}

static u64 live(void)
{
	struct kho_heap_stats stats;

	EXPECT_EQ(kho_heap_stats(&stats, true), 0);
	return stats.live_objects;
}

/* ---- what they contain ---- */

static struct kho_abi_pool_link *link_at(u64 at)
{
	return (struct kho_abi_pool_link *)(uintptr_t)at;
}

/* What the program asked for lies 16 bytes behind the link's start, or as many as its alignment is. */
static const u64 *content(const struct kho_abi_pool_link *link)
{
	const char *at = (const char *)link + 16;

	return (const u64 *)(strcmp(at, POOLS_TAG) ? at + 48 : at);
}

static void say_pool(struct said *said, const char *name)
{
	const struct kho_abi_pool *head;

	open_pool(name);
	head = pools_head(name);
	EXPECT_EQ(head->mending, 0);
	EXPECT_EQ(pools_torn(), !!head->updates);
	say(said, "pool %s %d %d\n", name, pools_torn(), (int)(head->top ? head->top_size : 0));
	for (u64 at = head->ring.next; at != (uintptr_t)&head->ring; at = link_at(at)->next) {
		const u64 *words = content(link_at(at));
		const unsigned char *rest = (const unsigned char *)(words + 3);

		EXPECT_STR_EQ((const char *)words, POOLS_TAG);
		say(said, "block %d %d\n", (int)words[1], (int)words[2]);
		for (u64 i = 0; i < words[2] && i < 100; i++)
			EXPECT_EQ(rest[i], words[1] ? 0x40 + words[1] : 't');
		EXPECT_EQ(link_at(link_at(at)->next)->prev, at);
		EXPECT(words[1] || head->top == (uintptr_t)words);
	}
}

static void check_image(void)
{
	struct said said;

	said_begin(&said);
	say_compatible(&said);
	for (unsigned int i = 0; i < POOLS_NR; i++)
		say_pool(&said, pools_names[i]);
	EXPECT(said_end(&said, "pool-v1.txt"));
}

TEST(they_contain_what_they_did)
{
	open_image();
	check_image();
	crash();
	check_image();
	close_arena();
}

/* All blocks go, by drop() or one by one; then nothing is left but the pools themselves. */
TEST(they_can_be_worked_on)
{
	void *p;

	open_image();
	for (unsigned int i = 0; i < POOLS_NR; i++) {
		open_pool(pools_names[i]);
		p = pools_allocate(3000, 256, &why);
		EXPECT(p && !((uintptr_t)p % 256));
		pools_deallocate(p, 3000, 256);
	}
	crash();
	check_image();
	open_pool("full");
	EXPECT_EQ(pools_top(&why), pools_head("full")->top);
	while (pools_head("full")->ring.next != (uintptr_t)&pools_head("full")->ring) {
		struct kho_abi_pool_link *link = link_at(pools_head("full")->ring.prev);

		pools_head("full")->top = 0;
		pools_deallocate((void *)(uintptr_t)content(link), 1,
				 (size_t)((char *)content(link) - (char *)link));
	}
	for (unsigned int i = 1; i < POOLS_NR; i++) {
		open_pool(pools_names[i]);
		EXPECT_EQ(pools_drop(&why), 0);
		EXPECT(!pools_torn() && pools_top(&why));
		EXPECT_EQ(pools_drop(&why), 0);
	}
	crash();
	EXPECT_EQ(live(), POOLS_NR);
	close_arena();
}

/* ---- the bytes ---- */

/* A pool and its links in words: addresses as the number of the block in the ring, so that they can be compared. */
struct bytes {
	u64 at[BLOCKS_MAX];
	unsigned int nr;
	u64 words[4 * BLOCKS_MAX];
};

/* What is no link of the ring, but of the pool: a block that went. */
#define GONE 1000

static u64 number(const struct bytes *bytes, u64 at)
{
	for (unsigned int i = 0; i < bytes->nr; i++)
		if (bytes->at[i] == at)
			return i + 1;
	return at ? GONE : 0;
}

static void take_bytes(struct bytes *bytes, const char *name)
{
	const struct kho_abi_pool *head = pools_head(name);
	u64 words[8], *to = bytes->words;

	memset(bytes, 0, sizeof(*bytes));
	memcpy(words, head, sizeof(words));
	bytes->at[bytes->nr++] = (uintptr_t)&head->ring;
	for (u64 at = words[2]; at != (uintptr_t)&head->ring; at = link_at(at)->next) {
		EXPECT(bytes->nr < BLOCKS_MAX);
		bytes->at[bytes->nr++] = at;
	}
	*to++ = words[0]; /* magic */
	*to++ = words[1]; /* version, pad */
	*to++ = number(bytes, words[4]); /* mending */
	*to++ = words[5]; /* updates */
	*to++ = words[6] ? number(bytes, words[6] - 16) : 0; /* top */
	*to++ = words[7]; /* top_size */
	for (unsigned int i = 0; i < bytes->nr; i++) {
		*to++ = number(bytes, link_at(bytes->at[i])->next);
		*to++ = number(bytes, link_at(bytes->at[i])->prev);
	}
}

TEST(the_same_bytes_are_made_today)
{
	struct bytes golden[POOLS_NR], today;

	open_image();
	for (unsigned int i = 0; i < POOLS_NR; i++)
		take_bytes(&golden[i], pools_names[i]);
	close_arena();
	make_anew();
	for (unsigned int i = 0; i < POOLS_NR; i++) {
		take_bytes(&today, pools_names[i]);
		EXPECT_EQ(today.nr, golden[i].nr);
		EXPECT_MEM_EQ(today.words, golden[i].words, sizeof(today.words));
	}
	close_arena();
}

/* ---- damage ---- */

enum outcome { TOLD_OPENING, TOLD_TORN, TOLD_DROPPING, HARMLESS };

/* The change at hand. */
static struct {
	const char *pool;
	u64 at;
	unsigned char is;
} change;

static void print_change(void)
{
	printf("%s at %#llx, now %#x: %s\n", change.pool, (unsigned long long)change.at, change.is,
	       why.text);
}

/* With a fault, its place and its field. */
static bool typed(void)
{
	return why.error == -EPROTO && why.fault >= KHO_E_TRUNCATED && why.fault < KHO_E_MAX &&
	       why.at && why.field[0] && strstr(why.text, why.field);
}

/* A change of @image at @pa: opened, used and dropped. */
static enum outcome try_change(u64 pa, unsigned char is)
{
	unsigned char was = (unsigned char)image[pa];
	enum outcome outcome = HARMLESS;
	bool torn = !strcmp(change.pool, "died-adding") || !strcmp(change.pool, "died-updating");
	u64 before;

	change.at = pa;
	change.is = is;
	image[pa] = (char)is;
	open_image();
	image[pa] = (char)was;
	before = live();
	if (pools_open(change.pool, &why)) {
		outcome = TOLD_OPENING;
		EXPECT(typed());
		EXPECT_EQ(live(), before);
	} else {
		if (pools_torn() != torn)
			outcome = TOLD_TORN;
		pools_allocate(100, 16, &why);
		EXPECT(!why.error || typed());
		if (pools_drop(&why)) {
			outcome = TOLD_DROPPING;
			EXPECT(typed() && pools_torn());
			/* And again: it stays where it is. */
			EXPECT(pools_drop(&why) && typed());
		} else {
			EXPECT(pools_head(change.pool)->ring.next ==
			       (uintptr_t)&pools_head(change.pool)->ring);
		}
	}
	EXPECT_EQ(kho_preserve_check_all_(false), 0);
	close_arena();
	return outcome;
}

/* Byte @was, changed in way @i of ten. */
static unsigned char changed(unsigned char was, unsigned int i)
{
	return (unsigned char)(i < 8 ? was ^ 1 << i : i == 8 ? 0 : 0xff);
}

/* Every byte of @len; @may: which outcomes there may be. */
static void try_bytes(u64 pa, u64 len, unsigned int may, unsigned int *count)
{
	const char *mode = getenv("KHO_CORRUPT");

	for (u64 at = pa; at < pa + len; at++)
		for (unsigned int i = 0; i < 10; i++) {
			unsigned char was = (unsigned char)image[at], is = changed(was, i);
			enum outcome outcome;

			if (is == was || (!mode && i != at % 8 && i != 9))
				continue;
			outcome = try_change(at, is);
			count[outcome]++;
			if (!(may & 1u << outcome))
				print_change();
			EXPECT(may & 1u << outcome);
		}
}

/* Where the pool and its links are in the image, as it came. */
static unsigned int places(const char *name, u64 *pa)
{
	u64 base, start, first, nr = 0;

	open_image();
	base = (uintptr_t)kho_arena_.base;
	first = (uintptr_t)pools_head(name);
	start = first + offsetof(struct kho_abi_pool, ring);
	pa[nr++] = first - base;
	for (u64 at = link_at(start)->next; at != start; at = link_at(at)->next)
		pa[nr++] = at - base;
	close_arena();
	return (unsigned int)nr;
}

#define OPENING (1u << TOLD_OPENING)
#define DROPPING (1u << TOLD_DROPPING)
#define TORN (1u << TOLD_TORN)
#define NONE (1u << HARMLESS)

static void try_pool(const char *name, unsigned int *count)
{
	bool dying = !strncmp(name, "died", 4) && strcmp(name, "died-updating");
	u64 pa[BLOCKS_MAX];
	unsigned int nr = places(name, pa);

	change.pool = name;
	/* Of what a death left half done it is mended, whatever it was. */
	try_bytes(pa[0], 16, OPENING, count); /* magic, version, pad */
	try_bytes(pa[0] + 16, 16, OPENING | (dying ? NONE : 0), count); /* ring */
	try_bytes(pa[0] + 32, 8, OPENING | (dying ? DROPPING : 0), count); /* mending */
	/* Not 0 is not 0; and that it was, nothing else says. */
	try_bytes(pa[0] + 40, 8, TORN | (image[pa[0] + 40] ? NONE : 0), count);
	try_bytes(pa[0] + 48, 8, OPENING, count); /* top */
	/* One that is less is no fault; without an object it means nothing. */
	try_bytes(pa[0] + 56, 1, nr > 1 ? OPENING | NONE : NONE, count);
	try_bytes(pa[0] + 57, 7, nr > 1 ? OPENING : NONE, count);
	for (unsigned int i = 1; i < nr; i++)
		try_bytes(pa[i], 16, OPENING | DROPPING | (dying ? NONE : 0), count);
}

/* Pool "full" as it came, and its first block. */
static struct kho_abi_pool *full(struct kho_abi_pool_link **first)
{
	struct kho_abi_pool *head;

	open_image();
	head = pools_head("full");
	*first = link_at(head->ring.next);
	return head;
}

static void expect_fault(int fault, const void *at, const char *field, u64 value)
{
	EXPECT_EQ(why.error, -EPROTO);
	EXPECT_EQ(why.fault, fault);
	EXPECT_EQ(why.at, (uintptr_t)at);
	EXPECT_STR_EQ(why.field, field);
	EXPECT_EQ(why.value, value);
	close_arena();
}

TEST(each_word_has_its_fault)
{
	static const struct {
		size_t offset;
		u64 value;
		int fault;
		const char *field;
	} words[] = {
		{0, 0x4c4f4f50204f484a, KHO_E_MAGIC, "magic"},
		{8, 2, KHO_E_VERSION, "version"},
		{8, 1 | 3ULL << 32, KHO_E_FORMAT, "pad"},
		{16, 0, KHO_E_NOT_PRESERVED, "next"},
		{16, ~15ULL, KHO_E_NOT_PRESERVED, "next"},
		{24, KHO_ARENA_BASE + 0x1000, KHO_E_NOT_PRESERVED, "prev"},
		{32, 8, KHO_E_NOT_PRESERVED, "mending"},
		{48, 8, KHO_E_NOT_PRESERVED, "top"},
		{56, POOLS_TOP_SIZE + 1, KHO_E_TRUNCATED, "top_size"},
		{56, ~0ULL, KHO_E_TRUNCATED, "top_size"},
	};
	struct kho_abi_pool_link *first;
	struct kho_abi_pool *head;

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		bool link = words[i].offset == 16 || words[i].offset == 24;
		u64 value = words[i].offset == 8 && words[i].value >> 32 ? words[i].value >> 32
									 : words[i].value;

		head = full(&first);
		memcpy((char *)head + words[i].offset, &words[i].value, 8);
		EXPECT(pools_open("full", &why));
		expect_fault(words[i].fault, link ? (void *)&head->ring : head, words[i].field,
			     value);
	}
	/* Links, but not its neighbours. */
	head = full(&first);
	head->ring.next = first->next;
	EXPECT(pools_open("full", &why));
	expect_fault(KHO_E_ORDER, &head->ring, "next", first->next);
	head = full(&first);
	head->ring.prev = first->next;
	EXPECT(pools_open("full", &why));
	expect_fault(KHO_E_ORDER, &head->ring, "prev", head->ring.prev);
	/* One that is larger, and none of the ring. */
	head = full(&first);
	head->top = (uintptr_t)pools_head("empty") + 16;
	EXPECT(pools_open("full", &why));
	expect_fault(KHO_E_NOT_PRESERVED, pools_head("empty"), "next", KHO_ABI_POOL_MAGIC);
}

TEST(objects_that_are_dead_are_told)
{
	struct kho_abi_pool_link *first, *second, was;
	struct kho_abi_pool *head = full(&first);

	kho_free(head);
	EXPECT(pools_open("full", &why));
	expect_fault(KHO_E_NOT_PRESERVED, kho_root("full", "pool", 1), "slot", (uintptr_t)head);
	head = full(&first);
	kho_free(first);
	EXPECT(pools_open("full", &why));
	expect_fault(KHO_E_NOT_PRESERVED, &head->ring, "next", (uintptr_t)first);
	head = full(&first);
	head->ring.prev = link_at(head->ring.prev)->prev;
	link_at(head->ring.prev)->next = (uintptr_t)&head->ring;
	kho_free(link_at(head->top - 16));
	EXPECT(pools_open("full", &why));
	expect_fault(KHO_E_NOT_PRESERVED, head, "top", head->top);
	/* In the midst of it: what is before goes. */
	head = full(&first);
	second = link_at(first->next);
	second = link_at(second->next);
	was = *second;
	kho_free(second);
	*second = was;
	EXPECT_EQ(pools_open("full", &why), 0);
	EXPECT(pools_drop(&why) && pools_torn());
	EXPECT_EQ(head->ring.next, (uintptr_t)second);
	expect_fault(KHO_E_NOT_PRESERVED, &head->ring, "next", (uintptr_t)second);
}

/* Three objects that lead to one another, and the first one's prev. */
static void try_mending(bool known, bool circle)
{
	struct kho_abi_pool_link *objects[4], *first, was[4];
	struct kho_abi_pool *head = full(&first);
	char name[] = "beside0";

	for (unsigned int i = 0; i < 4; i++, name[6]++) {
		objects[i] = kho_malloc(64);
		EXPECT_EQ(kho_publish(kho_root(name, "bytes", 1), objects[i], NULL), 0);
		*objects[i] = (struct kho_abi_pool_link){0, 0x1111};
	}
	for (unsigned int i = 0; i < 3; i++)
		objects[i]->next = (uintptr_t)objects[i + 1];
	if (known) /* by the one before, and nobody else by anybody */
		objects[1]->prev = (uintptr_t)objects[0];
	else /* all but that */
		for (unsigned int i = 2; i < 4; i++)
			objects[i]->prev = (uintptr_t)objects[i - 1];
	if (circle)
		objects[1]->next = objects[1]->prev = (uintptr_t)objects[1];
	for (unsigned int i = 0; i < 4; i++)
		was[i] = *objects[i];
	head->mending = (uintptr_t)objects[1];
	objects[3]->next = was[3].next = (uintptr_t)objects[3];
	EXPECT(pools_open("full", &why));
	for (unsigned int i = 0; i < 4; i++)
		EXPECT_MEM_EQ(objects[i], &was[i], sizeof(was[i]));
	expect_fault(KHO_E_ORDER, head, "mending", (uintptr_t)objects[1]);
}

TEST(what_is_no_ring_is_not_written_to)
{
	try_mending(false, false);
	try_mending(true, false);
	try_mending(false, true);
}

TEST(every_byte_damaged_is_told)
{
	unsigned int count[4] = {0};

	for (unsigned int i = 0; i < POOLS_NR; i++)
		try_pool(pools_names[i], count);
	EXPECT(count[TOLD_OPENING] > 600 && count[TOLD_DROPPING] > 200);
}

TEST_SUITE(pools, TEST_CASE(they_contain_what_they_did), TEST_CASE(they_can_be_worked_on),
	   TEST_CASE(the_same_bytes_are_made_today), TEST_CASE(each_word_has_its_fault),
	   TEST_CASE(objects_that_are_dead_are_told), TEST_CASE(what_is_no_ring_is_not_written_to),
	   TEST_CASE(every_byte_damaged_is_told));
