/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vm-demo: the demo's server, cached under kho run --liveupdate, with 100,000 keys and under load, over
 * a kexec. What its clients were promised is in a memfd that goes over the kexec in a session of its own.
 *
 *	vm.do=stop	(default) a kernel is loaded, kho run gets SIGTERM as in a shutdown, then the jump
 *	vm.do=jump	kho preserve; then the jump, while the server works and its clients write
 *
 * Glossary: undecided = a write whose answer did not come; it counts as it is found.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <linux/liveupdate.h>

#include "init.h"
#include "load.h"

#define KEYS 100000
#define CLIENTS 4
#define BATCH 64
#define PORT 11211
#define TIMED 600 /* keys that expire, one each second */
#define LATE 0.5 /* seconds: the server's clock is one of ticks, and it looks once a round */
#define WATCH 8 /* seconds in which expiring keys are watched */
#define SESSION "demo-record"
#define SECOND 1000000000LL

static const struct load_shape shape = {64, 320};

/**
 * struct record - what outlives the kernel, beside the server
 * @answered: time stamp of the last answer that a client got
 * @hz: of the time-stamp counter, which a kexec does not set back
 * @mark, @mark_ns: counter and wall clock at one moment, before the jump
 * @stopped: time stamp of the end of kho run
 */
struct record {
	uint64_t answered;
	uint64_t hz;
	uint64_t mark;
	int64_t mark_ns;
	uint64_t stopped;
	uint64_t writes;
	uint64_t faults;
	struct {
		uint32_t issued;
		uint32_t acked;
	} key[KEYS];
	struct {
		int64_t min; /* second from which on it may be gone */
		int64_t max; /* second from which on it must be */
	} timed[TIMED];
};

struct conn {
	int fd;
	FILE *in;
};

static struct record *record;
static int record_fd;
static pid_t clients[CLIENTS];
static pid_t supervisor;

static uint64_t stamp(void)
{
	uint32_t low, high;

	__asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

static int64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * SECOND + ts.tv_nsec;
}

static void sleep_ms(long ms)
{
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&ts, NULL);
}

/* ---- the protocol ---- */

static int dial(struct conn *conn)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_port = htons(PORT),
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval patience = {.tv_sec = 30};
	int one = 1;

	conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (conn->fd < 0)
		return -1;
	if (connect(conn->fd, (struct sockaddr *)&addr, sizeof(addr))) {
		close(conn->fd);
		return -1;
	}
	setsockopt(conn->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	conn->in = fdopen(conn->fd, "r");
	return conn->in ? 0 : -1;
}

static int put(struct conn *conn, const char *bytes, size_t len)
{
	while (len) {
		ssize_t n = send(conn->fd, bytes, len, MSG_NOSIGNAL);

		if (n <= 0)
			return -1;
		bytes += n;
		len -= n;
	}
	return 0;
}

static size_t set_request(char *to, uint64_t index, uint32_t version)
{
	char key[LOAD_KEY_MAX];
	size_t len = load_value_len(&shape, index, version);
	int head;

	load_key(key, index);
	head = sprintf(to, "set %s 0 0 %zu\r\n", key, len);
	load_value_make(to + head, len, index, version);
	memcpy(to + head + len, "\r\n", 2);
	return head + len + 2;
}

static int stored(struct conn *conn)
{
	char line[128];

	return fgets(line, sizeof(line), conn->in) && !strcmp(line, "STORED\r\n") ? 0 : -1;
}

/* Return: 1 and the version; 0: no such key; -1: no answer; -2: not what was ever written. */
static int got(struct conn *conn, uint64_t index, uint32_t *version)
{
	char line[128], value[1024];
	size_t len;

	if (!fgets(line, sizeof(line), conn->in))
		return -1;
	if (!strcmp(line, "END\r\n"))
		return 0;
	if (sscanf(line, "VALUE %*s %*u %zu", &len) != 1 || len > sizeof(value) - 2 ||
	    fread(value, 1, len + 2, conn->in) != len + 2 || !fgets(line, sizeof(line), conn->in))
		return -1;
	return load_value_check(value, len, index, version) && !strcmp(line, "END\r\n") ? 1 : -2;
}

static int ask(struct conn *conn, uint64_t index, uint32_t *version)
{
	char key[LOAD_KEY_MAX], line[64];

	load_key(key, index);
	if (put(conn, line, sprintf(line, "get %s\r\n", key)))
		return -1;
	return got(conn, index, version);
}

/* ---- load ---- */

static int fill(void)
{
	static char batch[BATCH * 512];
	struct conn conn;
	uint64_t at, i;

	if (dial(&conn))
		return failed("connect: %s", strerror(errno));
	for (at = 0; at < KEYS; at += BATCH) {
		size_t len = 0;

		for (i = at; i < at + BATCH && i < KEYS; i++)
			len += set_request(batch + len, i, 1);
		if (put(&conn, batch, len))
			return failed("fill: %s", strerror(errno));
		for (i = at; i < at + BATCH && i < KEYS; i++) {
			if (stored(&conn))
				return failed("fill: key %llu was not stored",
					      (unsigned long long)i);
			record->key[i].issued = record->key[i].acked = 1;
		}
	}
	fclose(conn.in);
	return 0;
}

/* Every other one by its second of the epoch, the others by seconds from now. */
static int fill_timed(void)
{
	int64_t base = clock_ns(CLOCK_REALTIME) / SECOND + 2;
	struct conn conn;
	char line[96];
	int i;

	if (dial(&conn))
		return failed("connect: %s", strerror(errno));
	for (i = 0; i < TIMED; i++) {
		int64_t before = clock_ns(CLOCK_REALTIME) / SECOND;

		if (put(&conn, line,
			sprintf(line, "set t%d 0 %lld 1\r\nx\r\n", i,
				i % 2 ? (long long)i + 1 : (long long)base + i)) ||
		    stored(&conn))
			return failed("key t%d was not stored", i);
		record->timed[i].min = i % 2 ? before + i + 1 : base + i;
		record->timed[i].max = i % 2 ? clock_ns(CLOCK_REALTIME) / SECOND + i + 1 : base + i;
	}
	fclose(conn.in);
	return 0;
}

/* A client of its own share of the keys: each has one writer, so every read is foretold. */
static void client(int number)
{
	char request[512];
	uint64_t random = number + 1;
	struct conn conn;

	if (dial(&conn))
		_exit(0);
	for (;;) {
		uint64_t i;
		uint32_t version;

		random = load_mix(random);
		i = random % (KEYS / CLIENTS) * CLIENTS + number;
		if (random >> 63) {
			int r = ask(&conn, i, &version);

			if (r == -1)
				_exit(0);
			if (r != 1 || version != record->key[i].acked)
				__atomic_add_fetch(&record->faults, 1, __ATOMIC_RELAXED);
		} else {
			uint32_t next = record->key[i].acked + 1;

			__atomic_store_n(&record->key[i].issued, next, __ATOMIC_SEQ_CST);
			if (put(&conn, request, set_request(request, i, next)) || stored(&conn))
				_exit(0);
			__atomic_store_n(&record->key[i].acked, next, __ATOMIC_SEQ_CST);
			__atomic_add_fetch(&record->writes, 1, __ATOMIC_RELAXED);
		}
		__atomic_store_n(&record->answered, stamp(), __ATOMIC_RELAXED);
	}
}

static void start_clients(void)
{
	int i;

	for (i = 0; i < CLIENTS; i++) {
		clients[i] = fork();
		if (!clients[i])
			client(i);
	}
}

/* ---- checks ---- */

struct sums {
	unsigned int lost, wrong, undecided;
};

static void judge(struct sums *sums, uint64_t index, int r, uint32_t version)
{
	uint32_t acked = record->key[index].acked, issued = record->key[index].issued;

	sums->undecided += issued != acked;
	if (r == 0 || (r == 1 && version < acked))
		sums->lost++;
	else if (r != 1 || (version != acked && version != issued))
		sums->wrong++;
	else
		record->key[index].acked = record->key[index].issued = version;
}

static int check_keys(struct conn *conn, struct sums *sums)
{
	char batch[BATCH * 32], key[LOAD_KEY_MAX];
	uint64_t at, i;

	for (at = 0; at < KEYS; at += BATCH) {
		size_t len = 0;

		for (i = at; i < at + BATCH && i < KEYS; i++) {
			load_key(key, i);
			len += sprintf(batch + len, "get %s\r\n", key);
		}
		if (put(conn, batch, len))
			return failed("get: %s", strerror(errno));
		for (i = at; i < at + BATCH && i < KEYS; i++) {
			uint32_t version = 0;
			int r = got(conn, i, &version);

			if (r == -1)
				return failed("get: no answer for key %llu", (unsigned long long)i);
			judge(sums, i, r, version);
		}
	}
	return 0;
}

static int check_timed(struct conn *conn, unsigned int *seen, unsigned int *early,
		       unsigned int *late)
{
	char line[64];
	int i;

	for (i = 0; i < TIMED; i++) {
		double before = clock_ns(CLOCK_REALTIME) / 1e9, after;
		bool there;

		if (put(conn, line, sprintf(line, "get t%d\r\n", i)) ||
		    !fgets(line, sizeof(line), conn->in))
			return failed("get t%d: no answer", i);
		there = strcmp(line, "END\r\n");
		if (there &&
		    (!fgets(line, sizeof(line), conn->in) || !fgets(line, sizeof(line), conn->in)))
			return failed("get t%d: half an answer", i);
		after = clock_ns(CLOCK_REALTIME) / 1e9;
		*late += there && before >= record->timed[i].max + LATE;
		*early += !there && after < record->timed[i].min;
		*seen += there;
	}
	return 0;
}

/* Now and then for some seconds: some keys expire meanwhile. */
static int watch_timed(struct conn *conn, char *said, size_t size)
{
	unsigned int first = 0, last = 0, early = 0, late = 0;
	int64_t end = clock_ns(CLOCK_MONOTONIC) + WATCH * SECOND;

	if (check_timed(conn, &first, &early, &late) < 0)
		return -1;
	while (clock_ns(CLOCK_MONOTONIC) < end) {
		last = 0;
		if (check_timed(conn, &last, &early, &late) < 0)
			return -1;
		sleep_ms(100);
	}
	snprintf(said, size, "%u of %d timed keys expired, %u of these while watched", TIMED - last,
		 TIMED, first - last);
	if (early || late)
		return failed("expiry: %u looks too early, %u too late", early, late);
	/* A round may take seconds on a busy machine. */
	if (first == TIMED || first < last + 2)
		return failed("expiry: nothing was seen to expire: %s", said);
	return 0;
}

static double ms_between(uint64_t from, uint64_t to)
{
	return ((double)to - (double)from) * 1e3 / (double)record->hz;
}

/* The server of the boot before, with all that it had. */
static int check(struct conn *conn, uint64_t booted, uint64_t answer)
{
	int64_t step = clock_ns(CLOCK_REALTIME) - record->mark_ns -
		       (int64_t)(ms_between(record->mark, stamp()) * 1e6);
	struct sums sums = {0};
	char timed[128];

	if (!record->stopped) /* nobody was told */
		record->stopped = record->answered;
	if (check_keys(conn, &sums) < 0)
		return -1;
	if (sums.lost || sums.wrong)
		return failed("%u keys lost, %u wrong", sums.lost, sums.wrong);
	if (watch_timed(conn, timed, sizeof(timed)) < 0)
		return -1;
	printf("VM: demo: %d keys, %u lost, %u wrong, %llu writes, %u undecided; blackout %.0f ms "
	       "(server %.0f, kernel %.0f, server %.0f); %s; wall clock %+.0f ms\n",
	       KEYS, sums.lost, sums.wrong, (unsigned long long)record->writes, sums.undecided,
	       ms_between(record->answered, answer), ms_between(record->answered, record->stopped),
	       ms_between(record->stopped, booted), ms_between(booted, answer), timed, step / 1e6);
	if (sums.lost || sums.wrong || record->faults)
		return failed("%u keys lost, %u wrong, %llu wrong before the jump", sums.lost,
			      sums.wrong, (unsigned long long)record->faults);
	/* A kernel starts its clock by the one of the machine, which has whole seconds. */
	if (step > 3 * SECOND / 2 || step < -3 * SECOND / 2)
		return failed("the wall clock was set by %lld ms", (long long)(step / 1000000));
	return 0;
}

/* ---- the record ---- */

static int session(unsigned long request)
{
	struct liveupdate_ioctl_create_session arg = {.size = sizeof(arg)};
	int device = open("/dev/liveupdate", O_RDWR);
	int r = device < 0;

	strcpy((char *)arg.name, SESSION);
	r = r || ioctl(device, request, &arg);
	close(device);
	return r ? failed("session %s: %s", SESSION, strerror(errno)) : arg.fd;
}

static int map_record(void)
{
	record = mmap(NULL, sizeof(*record), PROT_READ | PROT_WRITE, MAP_SHARED, record_fd, 0);
	return record == MAP_FAILED ? failed("record: %s", strerror(errno)) : 0;
}

static int make_record(void)
{
	uint64_t began;
	int64_t ns;

	record_fd = memfd_create("record", MFD_CLOEXEC);
	if (record_fd < 0 || ftruncate(record_fd, sizeof(*record)) || map_record() < 0)
		return failed("record: %s", strerror(errno));
	ns = clock_ns(CLOCK_MONOTONIC_RAW);
	began = stamp();
	sleep_ms(2000);
	record->hz = (stamp() - began) * 1e9 / (clock_ns(CLOCK_MONOTONIC_RAW) - ns);
	return 0;
}

static int take_record(void)
{
	struct liveupdate_session_retrieve_fd retrieve = {.size = sizeof(retrieve), .token = 1};
	struct liveupdate_session_finish finish = {.size = sizeof(finish)};
	int fd = session(LIVEUPDATE_IOCTL_RETRIEVE_SESSION);

	if (fd < 0)
		return -1;
	if (ioctl(fd, LIVEUPDATE_SESSION_RETRIEVE_FD, &retrieve) ||
	    ioctl(fd, LIVEUPDATE_SESSION_FINISH, &finish))
		return failed("record: %s", strerror(errno));
	close(fd);
	record_fd = retrieve.fd;
	return map_record();
}

static int keep_record(void)
{
	struct liveupdate_session_preserve_fd preserve = {
		.size = sizeof(preserve), .fd = record_fd, .token = 1};
	int fd = session(LIVEUPDATE_IOCTL_CREATE_SESSION);

	if (fd < 0)
		return -1;
	record->mark = stamp();
	record->mark_ns = clock_ns(CLOCK_REALTIME);
	if (ioctl(fd, LIVEUPDATE_SESSION_PRESERVE_FD, &preserve))
		return failed("record: %s", strerror(errno));
	return 0;
}

/* ---- the server ---- */

int loopback_up(void)
{
	struct ifreq ifr = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &ifr))
		return failed("lo: %s", strerror(errno));
	close(fd);
	return 0;
}

static int start_server(void)
{
	static char *const argv[] = {"kho",
				     "run",
				     "--liveupdate",
				     "--name",
				     "demo",
				     "--listen",
				     "127.0.0.1:11211",
				     "--",
				     "/bin/cached",
				     "-m",
				     "256",
				     "-t",
				     "2",
				     NULL};

	mkdir("/run", 0755);
	supervisor = fork();
	if (!supervisor) {
		execv("/bin/kho", argv);
		_exit(127);
	}
	return supervisor < 0 ? failed("fork: %s", strerror(errno)) : 0;
}

static int kho(const char *command)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		execl("/bin/kho", "kho", command, "demo", NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		return failed("kho %s: status %#x", command, status);
	return 0;
}

/* Until it answers: kho run listens before its server is there. */
static int first_answer(struct conn *conn, uint64_t *when)
{
	char line[64];
	int i;

	for (i = 0; i < 3000; i++) {
		if (!dial(conn)) {
			if (!put(conn, "version\r\n", 9) && fgets(line, sizeof(line), conn->in) &&
			    !strncmp(line, "VERSION", 7)) {
				*when = stamp();
				return 0;
			}
			fclose(conn->in);
		}
		if (waitpid(supervisor, NULL, WNOHANG) == supervisor)
			return failed("kho run has ended");
		sleep_ms(10);
	}
	return failed("the server does not answer");
}

static int stop_server(void)
{
	int status, i;

	if (kill(supervisor, SIGTERM) || waitpid(supervisor, &status, 0) != supervisor || status)
		return failed("kho run: status %#x", status);
	record->stopped = stamp();
	for (i = 0; i < CLIENTS; i++)
		waitpid(clients[i], NULL, 0);
	return kho("status");
}

int case_demo(const struct stage *stage)
{
	uint64_t booted = stamp(), answer = 0;
	char mode[16];
	struct conn conn;

	parameter("vm.do=", mode, sizeof(mode));
	signal(SIGPIPE, SIG_IGN);
	if (loopback_up() < 0 || (stage->hop ? take_record() : make_record()) < 0)
		return -1;
	if (start_server() < 0 || first_answer(&conn, &answer) < 0)
		return -1;
	if (stage->hop ? check(&conn, booted, answer) < 0 : fill() < 0)
		return -1;
	if (kho("status") < 0)
		return -1;
	if (stage->last) {
		printf("KHO restore succeeded\n");
		return kho("stop");
	}
	if (!stage->hop && fill_timed() < 0)
		return -1;
	record->writes = 0;
	start_clients();
	sleep_ms(3000);
	if (load_next() < 0 || keep_record() < 0)
		return -1;
	if (strcmp(mode, "jump"))
		return stop_server();
	if (kho("preserve") < 0)
		return -1;
	sleep_ms(1000);
	record->stopped = 0;
	return record->writes ? 0 : failed("nothing was written");
}
