/* SPDX-License-Identifier: GPL-2.0-only */
/* The tests of vm-check that run in the guest and are not a program of the kernel's own. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#include <libfdt.h>
#include <linux/liveupdate.h>

#include "init.h"

#define PAGE 4096
#define KHO_DEBUG "/sys/kernel/debug/kho"

static char page[PAGE] __attribute__((aligned(8)));

/* Nothing to do but to boot: the kernel itself tests something. */
static int case_boot(const struct stage *stage)
{
	return 0;
}

/* The numbers in "kexec-metadata" (bytes 0, 4 and 69): version, last release, how many kexecs. */
static int metadata(const char *path, const char *release, uint32_t count)
{
	uint32_t version, found;
	char name[65];

	if (read_file(path, page, sizeof(page)) < 73)
		return failed("%s: too short", path);
	memcpy(&version, page, 4);
	memcpy(name, page + 4, sizeof(name));
	memcpy(&found, page + 69, 4);
	name[64] = 0;
	if (version != 1 || found != count || strcmp(name, release))
		return failed("%s: version %u, %s, count %u; not version 1, %s, count %u", path,
			      version, name, found, release, count);
	return 0;
}

static int case_kexec_count(const struct stage *stage)
{
	char release[65] = "";
	struct utsname uts;

	uname(&uts);
	if (metadata(KHO_DEBUG "/out/sub_fdts/kexec-metadata", uts.release, stage->hop + 1) < 0)
		return -1;
	if (stage->hop == 0)
		return 0;
	/* What comes in was written by another kernel: its name is only known to be one. */
	if (read_file(KHO_DEBUG "/in/sub_fdts/kexec-metadata", page, sizeof(page)) == 73)
		memcpy(release, page + 4, 64);
	if (strncmp(release, "7.2.", 4))
		return failed("came from \"%s\"", release);
	return metadata(KHO_DEBUG "/in/sub_fdts/kexec-metadata", release, stage->hop);
}

/* A property of 8 bytes, native order, of the region that reserve_mem= calls "kept". */
static int region(const char *path, uint64_t *start, uint64_t *size)
{
	const void *from, *bytes;
	int node, from_len, bytes_len;

	if (read_file(path, page, sizeof(page)) < 0)
		return -1;
	if (fdt_check_full(page, sizeof(page)))
		return failed("%s: no device tree", path);
	node = fdt_path_offset(page, "/kept");
	from = fdt_getprop(page, node, "start", &from_len);
	bytes = fdt_getprop(page, node, "size", &bytes_len);
	if (!from || !bytes || from_len != 8 || bytes_len != 8)
		return failed("%s: no region \"kept\"", path);
	memcpy(start, from, 8);
	memcpy(size, bytes, 8);
	return 0;
}

/* reserve_mem=2M:4096:kept: the words of the region are their own addresses, turned over. */
int case_reserve_mem(const struct stage *stage)
{
	uint64_t start, size, was, was_size, at, *word = (uint64_t *)page;
	size_t i;
	int fd;

	if (region(KHO_DEBUG "/out/sub_fdts/memblock", &start, &size) < 0)
		return -1;
	if (size != 2 << 20)
		return failed("the region has %#llx bytes", (unsigned long long)size);
	if (stage->hop) {
		if (region(KHO_DEBUG "/in/sub_fdts/memblock", &was, &was_size) < 0)
			return -1;
		if (was != start || was_size != size)
			return failed("the region has moved to %#llx", (unsigned long long)start);
	}
	fd = open("/dev/mem", O_RDWR);
	if (fd < 0)
		return failed("/dev/mem: %s", strerror(errno));
	for (at = start; at < start + size; at += PAGE) {
		if (stage->hop && pread(fd, page, PAGE, at) != PAGE)
			return failed("read %#llx: %s", (unsigned long long)at, strerror(errno));
		for (i = 0; i < PAGE / 8; i++) {
			if (stage->hop && word[i] != ~(at + i * 8))
				return failed("%#llx was changed",
					      (unsigned long long)(at + i * 8));
			word[i] = ~(at + i * 8);
		}
		if (!stage->hop && pwrite(fd, page, PAGE, at) != PAGE)
			return failed("write %#llx: %s", (unsigned long long)at, strerror(errno));
	}
	close(fd);
	return 0;
}

/*
 * The memfds of a session: page @page of @file holds 512 words, @file << 56 | @page << 16 | index,
 * if it is one of those that are written; the others are holes.
 */
static const struct {
	unsigned int pages;
	/* Every @step-th page from 0 on is written. 0: none. */
	unsigned int step;
	uint64_t token;
} files[] = {
	{16, 1, 1}, {1024, 73, 0x1234}, {1500, 1, 0xfedcba9876543210ULL}, {32, 0, 4}, {0, 0, 5},
};
#define NR_FILES (sizeof(files) / sizeof(files[0]))
#define SESSION "libkho-dump"

static uint64_t content(unsigned int file, unsigned int page_nr, unsigned int word)
{
	if (!files[file].step || page_nr % files[file].step)
		return 0;
	return (uint64_t)(file + 1) << 56 | (uint64_t)page_nr << 16 | word;
}

static int make_file(int session, unsigned int file)
{
	struct liveupdate_session_preserve_fd preserve = {.size = sizeof(preserve)};
	uint64_t *word = (uint64_t *)page;
	unsigned int nr, i;
	int fd;

	fd = memfd_create("dump", 0);
	if (fd < 0 || ftruncate(fd, (off_t)files[file].pages * PAGE))
		return failed("memfd: %s", strerror(errno));
	for (nr = 0; files[file].step && nr < files[file].pages; nr += files[file].step) {
		for (i = 0; i < PAGE / 8; i++)
			word[i] = content(file, nr, i);
		if (pwrite(fd, page, PAGE, (off_t)nr * PAGE) != PAGE)
			return failed("memfd write: %s", strerror(errno));
	}
	preserve.fd = fd;
	preserve.token = files[file].token;
	if (ioctl(session, LIVEUPDATE_SESSION_PRESERVE_FD, &preserve))
		return failed("preserve file %u: %s", file, strerror(errno));
	return 0;
}

/* What is wrong with an open file, as words; NULL if it is as make_file() made it. */
static const char *contents_fault(int fd, unsigned int file)
{
	uint64_t *word = (uint64_t *)page;
	static char fault[96];
	unsigned int nr, i;

	if (lseek(fd, 0, SEEK_END) != (off_t)files[file].pages * PAGE)
		return "has another size";
	for (nr = 0; nr < files[file].pages; nr++) {
		if (pread(fd, page, PAGE, (off_t)nr * PAGE) != PAGE)
			return "cannot be read";
		for (i = 0; i < PAGE / 8 && word[i] == content(file, nr, i); i++)
			;
		if (i == PAGE / 8)
			continue;
		snprintf(fault, sizeof(fault), "has, page %u word %u, %#llx", nr, i,
			 (unsigned long long)word[i]);
		return fault;
	}
	return NULL;
}

/* The @file-th file: @err what the kernel said, or @fault what is wrong with it. */
static void retrieve_file(int session, unsigned int file, int *err, const char **fault)
{
	struct liveupdate_session_retrieve_fd retrieve = {.size = sizeof(retrieve)};

	*err = 0;
	*fault = NULL;
	retrieve.token = files[file].token;
	if (ioctl(session, LIVEUPDATE_SESSION_RETRIEVE_FD, &retrieve)) {
		*err = errno;
		return;
	}
	*fault = contents_fault(retrieve.fd, file);
	close(retrieve.fd);
}

static int session_name(char *name, size_t size, int hop)
{
	return snprintf(name, size, "%s-%d", SESSION, hop);
}

/* Stays open: it is closed, and undone, with its last user. */
int make_session(int luo, int hop)
{
	struct liveupdate_ioctl_create_session create = {.size = sizeof(create)};
	unsigned int i;

	session_name((char *)create.name, sizeof(create.name), hop);
	if (ioctl(luo, LIVEUPDATE_IOCTL_CREATE_SESSION, &create))
		return failed("create session: %s", strerror(errno));
	for (i = 0; i < NR_FILES; i++)
		if (make_file(create.fd, i) < 0)
			return -1;
	return 0;
}

int open_session(int luo, int hop)
{
	struct liveupdate_ioctl_retrieve_session old = {.size = sizeof(old)};

	session_name((char *)old.name, sizeof(old.name), hop);
	return ioctl(luo, LIVEUPDATE_IOCTL_RETRIEVE_SESSION, &old) ? -1 : old.fd;
}

static int finish_session(int session)
{
	struct liveupdate_session_finish finish = {.size = sizeof(finish)};

	return ioctl(session, LIVEUPDATE_SESSION_FINISH, &finish) || close(session) ? -1 : 0;
}

/* A session that was retrieved: all of it must be there. */
static int check_files(int session)
{
	const char *fault;
	unsigned int i;
	int err;

	for (i = 0; i < NR_FILES; i++) {
		retrieve_file(session, i, &err, &fault);
		if (err)
			return failed("retrieve file %u: %s", i, strerror(err));
		if (fault)
			return failed("file %u %s", i, fault);
	}
	if (finish_session(session))
		return failed("finish: %s", strerror(errno));
	return 0;
}

/* The session of the boot before. */
int check_session(int luo, int hop)
{
	int session = open_session(luo, hop - 1);

	if (session < 0)
		return failed("retrieve session: %s", strerror(errno));
	return check_files(session);
}

/* A session with the files above. Boot 0 makes it; the others retrieve, compare and make it anew. */
static int case_session(const struct stage *stage)
{
	int luo;

	luo = open("/dev/liveupdate", O_RDWR);
	if (luo < 0)
		return failed("/dev/liveupdate: %s", strerror(errno));
	if (stage->hop && check_session(luo, stage->hop) < 0)
		return -1;
	return stage->last ? 0 : make_session(luo, stage->hop);
}

/*
 * How much memory is free when nothing is cached: the most of a few looks, since what was freed last
 * takes its time to get there.
 */
static int say_free(int hop)
{
	unsigned long most = 0, free;
	const char *at;
	int fd, i;

	for (i = 0; i < 5; i++) {
		fd = open("/proc/sys/vm/drop_caches", O_WRONLY);
		if (fd < 0 || write(fd, "3", 1) != 1)
			return failed("drop_caches: %s", strerror(errno));
		close(fd);
		usleep(100000);
		memset(page, 0, sizeof(page));
		if (read_file("/proc/meminfo", page, sizeof(page) - 1) < 0)
			return -1;
		at = strstr(page, "MemFree:");
		if (!at)
			return failed("/proc/meminfo: no MemFree");
		free = strtoul(at + 8, NULL, 10);
		most = free > most ? free : most;
	}
	printf("VM: free %d %lu kB\n", hop, most);
	return 0;
}

/*
 * reserve_mem=2M:4096:kept, any number of hops: everything arrives at each, the count is right, and
 * nothing is lost on the way. linux/vm/run compares the free memory.
 */
static int case_chain(const struct stage *stage)
{
	int luo;

	luo = open("/dev/liveupdate", O_RDWR);
	if (luo < 0)
		return failed("/dev/liveupdate: %s", strerror(errno));
	if (case_kexec_count(stage) < 0 || case_reserve_mem(stage) < 0)
		return -1;
	if (stage->hop && check_session(luo, stage->hop) < 0)
		return -1;
	if (say_free(stage->hop) < 0)
		return -1;
	return stage->last ? 0 : make_session(luo, stage->hop);
}

/* What kmemleak and lockdep have to say; a kernel that lacks them has nothing to say, and fails. */
static int check_debug(void)
{
	static const char leaks[] = "/sys/kernel/debug/kmemleak";
	const char *at;
	int fd, i;

	/* Too young is what is not 5 s old yet; what has a reference only for a moment is gone by then. */
	for (i = 0; i < 2; i++) {
		sleep(6);
		fd = open(leaks, O_WRONLY);
		if (fd < 0 || write(fd, "scan", 4) != 4)
			return failed("%s: %s", leaks, strerror(errno));
		close(fd);
	}
	memset(page, 0, sizeof(page));
	if (read_file(leaks, page, sizeof(page) - 1) < 0)
		return -1;
	if (page[0]) {
		printf("%s\n", page);
		return failed("kmemleak: %.60s", page);
	}
	memset(page, 0, sizeof(page));
	if (read_file("/proc/lockdep_stats", page, sizeof(page) - 1) < 0)
		return -1;
	at = strstr(page, "debug_locks:");
	if (!at || strtoul(at + 12, NULL, 10) != 1)
		return failed("lockdep has given up");
	printf("VM: no leaks, and lockdep looks on\n");
	return 0;
}

/* In the kernel "debug": as case_chain(), and what its means of finding faults say. */
static int case_debug(const struct stage *stage)
{
	return case_chain(stage) < 0 ? -1 : check_debug();
}

/*
 * As case_chain(), but that the first handover is damaged on its way (linux/vm/damage.py), so that
 * the second boot says what has arrived, whatever it is. From there on all must be well: what the
 * second boot makes, the third must find.
 */
static int say_arrived(int luo)
{
	int session, err, right = 0, wrong = 0, refused = 0;
	const char *fault;
	unsigned int i;

	session = luo < 0 ? -1 : open_session(luo, 0);
	if (session < 0) {
		printf("VM: arrived no session: %s\n", strerror(errno));
		return 0;
	}
	for (i = 0; i < NR_FILES; i++) {
		retrieve_file(session, i, &err, &fault);
		if (err || fault)
			printf("VM: file %u: %s\n", i, fault ? fault : strerror(err));
		right += !err && !fault;
		wrong += !!fault;
		refused += !!err;
	}
	err = finish_session(session) ? errno : 0;
	printf("VM: arrived session: %d files right, %d wrong, %d refused, finish: %s\n", right,
	       wrong, refused, err ? strerror(err) : "done");
	return err;
}

/*
 * What boot 1 handed over. It may have had no session: damage that only the kernel's own LUO sees
 * closes that for the whole boot. damage.py knows if that is so, and for which damage it may be. Then it
 * must work again now.
 */
static int check_after_damage(int luo, int hop)
{
	int session = open_session(luo, hop - 1);

	if (session >= 0)
		return check_files(session);
	printf("VM: boot %d has no session: %s\n", hop, strerror(errno));
	return make_session(luo, hop);
}

static int case_damaged(const struct stage *stage)
{
	static const struct stage first = {.hop = 0};
	int luo;

	luo = open("/dev/liveupdate", O_RDWR);
	if (stage->hop == 1)
		say_arrived(luo);
	/* The kernel's own LUO stays closed for ever if it does not like what it reads. */
	if (luo < 0 && stage->hop == 1)
		printf("VM: made no session: %s\n", strerror(errno));
	else if (luo < 0)
		return failed("/dev/liveupdate: %s", strerror(errno));
	if (case_reserve_mem(stage->hop > 1 ? stage : &first) < 0)
		return -1;
	if (stage->hop > 1 && check_after_damage(luo, stage->hop) < 0)
		return -1;
	return stage->last || luo < 0 ? 0 : make_session(luo, stage->hop);
}

static int expect_state(const char *state)
{
	char found[32] = "";

	if (read_file(KHO_DEBUG "/state", found, sizeof(found) - 1) < 0)
		return -1;
	found[strcspn(found, "\n")] = 0;
	return strcmp(found, state) ? failed("state: \"%s\", not \"%s\"", found, state) : 0;
}

/*
 * vm.only=1:kho=off reserve_mem=2M:4096:kept, three kexecs: boot 1 has no KHO, so that what was
 * handed to it is lost, and hands nothing over; boot 2 begins anew; what it hands over arrives.
 */
static int case_off(const struct stage *stage)
{
	const struct stage anew = {.hop = stage->hop % 2};
	struct utsname uts;
	int luo;

	uname(&uts);
	luo = open("/dev/liveupdate", O_RDWR);
	if (stage->hop == 1) {
		if (luo >= 0 || !access(KHO_DEBUG, F_OK))
			return failed("kho=off, and there is %s", luo >= 0 ? "LUO" : KHO_DEBUG);
		return 0;
	}
	if (luo < 0)
		return failed("/dev/liveupdate: %s", strerror(errno));
	if (expect_state(anew.hop ? "revived" : "cold") < 0 ||
	    metadata(KHO_DEBUG "/out/sub_fdts/kexec-metadata", uts.release, anew.hop + 1) < 0 ||
	    case_reserve_mem(&anew) < 0)
		return -1;
	if (anew.hop && check_session(luo, stage->hop) < 0)
		return -1;
	return stage->last ? 0 : make_session(luo, stage->hop);
}

/* What the module does, as its parameters, with commas between: "vm.do=do=isolated,nr=65536". */
static int load_module(const struct stage *stage, const char *parameters)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/module/%s.ko", stage->kernel);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return failed("%s: %s", path, strerror(errno));
	if (syscall(SYS_finit_module, fd, parameters, 0))
		return failed("module %s: %s", parameters, strerror(errno));
	close(fd);
	return 0;
}

/*
 * The module preserves, and the next boot has it checked, and freed. */
static int case_module(const struct stage *stage)
{
	char parameters[128];
	char *at;

	if (stage->hop && load_module(stage, "do=check") < 0)
		return -1;
	if (stage->hop && syscall(SYS_delete_module, "kho_vm", 0))
		return failed("unload the module: %s", strerror(errno));
	if (stage->hop && stage->last)
		return 0;
	parameter("vm.do=", parameters, sizeof(parameters));
	for (at = parameters; (at = strchr(at, ','));)
		*at = ' ';
	return load_module(stage, parameters);
}

/* A line of the map: @end is the last byte. */
struct map_line {
	unsigned long long start, end, nr;
	unsigned int order;
};

static const char *map_fault(const struct map_line *line, const struct map_line *before)
{
	unsigned long long block = (unsigned long long)PAGE << line->order;

	if (!line->nr || line->start % block || line->end - line->start + 1 != line->nr * block)
		return "is no run";
	if (line->order > before->order ||
	    (line->order == before->order && line->start <= before->end))
		return "is not in order";
	return NULL;
}

/* How many lines of the map are of @nr blocks of an order; -1: it is not a map. */
static int map_lines(const char *text, unsigned int order, unsigned long long nr)
{
	struct map_line line, before = {.order = 64};
	const char *fault, *end;
	int found = 0, used;

	for (; *text; text = end + 1, before = line) {
		end = strchr(text, '\n');
		if (!end ||
		    sscanf(text, "0x%llx-0x%llx order %u %llu%n", &line.start, &line.end,
			   &line.order, &line.nr, &used) != 4 ||
		    text + used != end)
			return failed("map: \"%.60s\"", text);
		fault = map_fault(&line, &before);
		if (fault)
			return failed("map: \"%.*s\" %s", (int)(end - text), text, fault);
		found += line.order == order && line.nr == nr;
	}
	return found;
}

/* The whole of a file, read in pieces of @piece bytes. Return: to be freed, or NULL. */
static char *read_whole(const char *path, size_t piece)
{
	static const size_t most = 4 << 20;
	char *text = malloc(most);
	size_t got = 0;
	ssize_t n = 0;
	int fd;

	fd = open(path, O_RDONLY);
	while (fd >= 0 && text && got + piece < most && (n = read(fd, text + got, piece)) > 0)
		got += n;
	if (fd < 0 || !text || n) {
		failed("%s: %s", path, n > 0 ? "has no end" : strerror(errno));
		free(text);
		return NULL;
	}
	close(fd);
	text[got] = 0;
	return text;
}

/* How many bytes of [@start, @start + @size) are in a map that map_lines() takes. */
static uint64_t map_covers(const char *map, uint64_t start, uint64_t size)
{
	unsigned long long first, last;
	uint64_t found = 0;

	for (; sscanf(map, "0x%llx-0x%llx", &first, &last) == 2; map = strchr(map, '\n') + 1)
		if (last >= start && first < start + size)
			found += (last + 1 < start + size ? last + 1 : start + size) -
				 (first > start ? first : start);
	return found;
}

/*
 * reserve_mem=2M:4096:kept: the map in debugfs is well-formed, is the same however it is read, has
 * the region, and has more as soon as more is preserved.
 */
static int case_map(const struct stage *stage)
{
	char *before, *with, *pieces;
	uint64_t start, size;
	int luo, err = -1;

	luo = open("/dev/liveupdate", O_RDWR);
	if (luo < 0)
		return failed("/dev/liveupdate: %s", strerror(errno));
	if (expect_state(stage->hop ? "revived" : "cold") < 0 ||
	    region(KHO_DEBUG "/out/sub_fdts/memblock", &start, &size) < 0 ||
	    case_reserve_mem(stage) < 0)
		return -1;
	before = read_whole(KHO_DEBUG "/out/map", 65536);
	if (make_session(luo, stage->hop) < 0)
		return -1;
	with = read_whole(KHO_DEBUG "/out/map", 65536);
	pieces = read_whole(KHO_DEBUG "/out/map", 61);
	if (!before || !with || !pieces)
		return -1;
	if (strcmp(with, pieces))
		failed("the map is another one if it is read in pieces");
	else if (strlen(with) <= strlen(before))
		failed("the map does not have what a session preserves");
	else if (map_covers(with, start, size) != size)
		failed("the map does not have all of the region");
	else
		err = map_lines(with, 0, 0) < 0 ? -1 : 0;
	free(before);
	free(with);
	free(pieces);
	return err;
}

/* The map in debugfs, read at once and in pieces, has the two runs that the module made. */
static int check_debug_map(void)
{
	static char whole[1 << 16], pieces[1 << 16];
	size_t used = 0;
	ssize_t got;
	int fd;

	got = read_file(KHO_DEBUG "/out/map", whole, sizeof(whole) - 1);
	fd = open(KHO_DEBUG "/out/map", O_RDONLY);
	if (got <= 0 || fd < 0)
		return failed("map: %s", strerror(errno));
	while (used + 50 < sizeof(pieces) && (got = read(fd, pieces + used, 50)) > 0)
		used += got;
	close(fd);
	if (strcmp(whole, pieces))
		return failed("map: another one when it is read in pieces");
	if (map_lines(whole, 0, 500) != 1 || map_lines(whole, 1, 200) != 1 ||
	    map_lines(whole, 11, 1) != 1)
		return failed("map: a run is missing");
	return 0;
}

static int case_blocks(const struct stage *stage)
{
	if (case_module(stage))
		return -1;
	return stage->hop ? 0 : check_debug_map();
}

/* The module hands over to itself: what ours alone has (module/ours.h), by the test's name. */
static int case_ours(const struct stage *stage)
{
	char test[32], parameters[64];

	parameter("vm.test=", test, sizeof(test));
	snprintf(parameters, sizeof(parameters), "do=%s hop=%d last=%d", test, stage->hop,
		 stage->last);
	return load_module(stage, parameters);
}

static const struct {
	const char *name;
	int (*run)(const struct stage *stage);
} cases[] = {
	{"array", case_ours},
	{"blackout", case_blackout},
	{"blocks", case_blocks},
	{"boot", case_boot},
	{"chain", case_chain},
	{"damaged", case_damaged},
	{"debug", case_debug},
	{"demo", case_demo},
	{"few", case_module},
	{"folios", case_module},
	{"isolated", case_module},
	{"kexec_count", case_kexec_count},
	{"mismatch", case_mismatch},
	{"many", case_module},
	{"map", case_map},
	{"mixed", case_module},
	{"off", case_off},
	{"orders", case_module},
	{"range", case_module},
	{"reserve_mem", case_reserve_mem},
	{"runs", case_module},
	{"session", case_session},
	{"session_sparse", case_session},
	{"slab", case_ours},
	{"sparse", case_sparse},
	{"speed", case_module},
	{"types", case_ours},
	{"vmcore", case_vmcore},
};

int run_case(const char *name, const struct stage *stage)
{
	char number[16];
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (!strcmp(name, cases[i].name))
			return cases[i].run(stage);
	/* A program: with stages, as the kernel's LUO tests have them, if a kexec is between. */
	snprintf(number, sizeof(number), "%d", stage->hop + 1);
	return run_program(name, stage->hop || !stage->last ? "--stage" : NULL, number, NULL);
}
