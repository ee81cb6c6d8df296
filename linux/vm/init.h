/* SPDX-License-Identifier: GPL-2.0-only */
/* What the first program (init.c) and the tests it runs (cases.c) share. */
#ifndef KHO_VM_INIT_H
#define KHO_VM_INIT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Which boot of the chain this is: from 0; @last if no kexec follows. @kernel: its name. */
struct stage {
	int hop;
	bool last;
	const char *kernel;
};

/* Say on the console why the test has failed. Return: -1. */
int failed(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Up to @size bytes of a file. Return: how many, or -1 after failed(). */
ssize_t read_file(const char *path, void *buffer, size_t size);

/* The value of "@name" ("vm.x=") on the kernel's command line, or an empty string. */
void parameter(const char *name, char *value, size_t size);

/* Run /bin/@program with the arguments that follow, up to 14 and a NULL. Return: 0, or -1 after failed(). */
int run_program(const char *program, ...) __attribute__((sentinel));

/* Load the kernel that comes after this one, so that nothing is left but to jump. Return: 0, or -1 after failed(). */
int load_next(void);

/*
 * Load it as the one that is started if this one crashes; @words are added to its command line. The jump to the next
 * kernel is a crash then. Return: 0, or -1 after failed().
 */
int load_crash(const char *words);

/* In demo.c. The machine's own address, 127.0.0.1, is there from then on. Return: 0, or -1 after failed(). */
int case_demo(const struct stage *stage);
int loopback_up(void);

/* In blackout.c. */
int case_blackout(const struct stage *stage);

/* In crash.c. */
int case_vmcore(const struct stage *stage);

/* In sparse.c. */
int case_sparse(const struct stage *stage);

/*
 * In cases.c: the region of reserve_mem=; the session that boot @hop makes; boot @hop finds that of the one before, or it
 * does.
 */
int case_reserve_mem(const struct stage *stage);
int make_session(int luo, int hop);
int open_session(int luo, int hop);
int check_session(int luo, int hop);

/* In mismatch.c. */
int case_mismatch(const struct stage *stage);

/* Run a test's part for this boot. Return: 0, or -1 after failed(). */
int run_case(const char *name, const struct stage *stage);

#endif
