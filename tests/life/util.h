/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What the life side's tests share: a directory of their own, kho(1) and its output, the
 * test server's answers, holding processes at steps, and nothing left behind.
 */
#ifndef KHO_TESTS_UTIL_H
#define KHO_TESTS_UTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

#include <kho/types.h>

/* For what comes as soon as it can: a machine may be busy with other things for long. */
#define WAIT_MS 60000
#define WAIT_US (WAIT_MS * 1000ULL)
/* The same for kho upgrade, where its own limits are not what a test is about. */
#define PATIENT "--freeze-timeout", "50s", "--taken-timeout", "50s", "--healthy-timeout", "50s"

struct answer {
	unsigned long long count;
	unsigned long long generation;
	int pid;
	char release[32];
	char before[65]; /* release of the predecessor, "-" for none */
	unsigned int handovers;
};

extern char tool_path[256]; /* kho(1) */
extern char server_path[256]; /* the test server */
extern char test_dir[64];

/* Find the programs beside the test, make a directory, become subreaper. */
void util_begin(const char *argv0);
/* End what is left of our children by pid, remove the directory. */
void util_end(void);
/* Kill and reap every process that descends from us now. */
void end_children(void);

unsigned int seed_random(void); /* KHO_SEED, else the clock; printed */
__u64 now_us(void);
unsigned int count_fds(void);

/* Run a program to its end, at most WAIT_MS. @out gets stdout and stderr. Return: exit status. */
int run_program(char *out, size_t size, const char *const *argv);
/* kho(1) with arguments. The output is in kho_out. */
extern char kho_out[8192];
int kho(const char *first, ...) __attribute__((sentinel));
/* Start kho run with the test server and wait until it answers. Return: its pid. */
pid_t start_run(const char *name, const char *const *options, const char *const *server_args);
/* Field of kho status. Return: kho_out-owned text, "" when there is none. */
const char *status_field(const char *name, const char *key);
/* Wait until a status field has a value; fails the test after WAIT_MS. */
void await_status(const char *name, const char *key, const char *value);

/* The test server at test_dir/listen. ask() fails the test after WAIT_MS; try_ask() returns false. */
int connect_server(void);
struct answer ask(int fd);
/* The number that answers a request of one letter, of the server there. */
int ask_number(char request);
bool try_ask(struct answer *answer, unsigned int timeout_ms);

void hold(const char *step);
pid_t await_held(const char *step);
void let_go(const char *step);
/* Kill a process and wait until it is gone. */
void kill_and_wait(pid_t pid);
/* Reap a child. Return: its status. */
int await_child(pid_t pid);

#endif
