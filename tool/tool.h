/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Private to kho(1): what its commands share.
 *
 *	kho.c		main(): finds the command
 *	options.c	numbers, sizes, names, sockets from the command line
 *	paths.c		RUNDIR, control sockets, the lock of a name
 *	output.c	messages, JSON
 *	run.c		kho run: options; supervisor.c, servers.c, upgrades.c: its event loop
 *	spawn.c		starts a server
 *	control.c	kho upgrade, preserve, stop, status, clear: the other end of the control socket
 *	inspect/	kho inspect, map, diff, verify, check: see inspect/source.h and inspect/model.h
 */
#ifndef KHO_TOOL_H
#define KHO_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/types.h>

#include <kho/types.h>

#define NAME_SIZE 32

/* ---- commands: argv[0] is the command's name; return the exit status ---- */

int cmd_run(int argc, char **argv);
int cmd_upgrade(int argc, char **argv);
int cmd_preserve(int argc, char **argv);
int cmd_stop(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_clear(int argc, char **argv);
int cmd_save(int argc, char **argv);
int cmd_load(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_map(int argc, char **argv);
int cmd_diff(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_check(int argc, char **argv);

/* ---- options.c ---- */

/* All return 0 or -EINVAL, and say what is wrong on stderr. @what: the option's name. */
int parse_ms(const char *what, const char *text, unsigned int *ms);
int parse_size(const char *what, const char *text, __u64 *size);
int parse_restarts(const char *text, unsigned int *deaths, unsigned int *seconds);
/* May it be had, too? For us and what we start. */
int parse_realtime(const char *text, int *priority);
/* @complains: say what is wrong with it. */
int parse_name(const char *text, char *name, bool complains);
/* [HOST:]PORT or unix:PATH: a listening socket. Return: the fd or negative. */
int open_listener(const char *text);
/* Open what the shell would execute for @name. Return: the fd or -errno. */
int open_program(const char *name);

/* ---- paths.c ---- */

/* Where control sockets are; made when @make. Return: 0 or negative. */
int run_dir(char *path, size_t size, bool make);
/* RUNDIR/NAME.sock. Return: 0 or negative. */
int socket_path(const char *name, char *path, size_t size, bool make);
/* Exclude other supervisors of @name. Return: the lock's fd or negative. */
int lock_name(const char *name);
/* Listen at @path, which a dead supervisor may have left. Return: the fd or negative. */
int open_control(const char *path);
/* Connect. Return: the fd or -errno. */
int connect_control(const char *path);

/* ---- output.c ---- */

/* Names, and what programs say, may hold what a terminal obeys, or lines of their own: '?' for each such byte. */
char *printable(char *text);
/* "kho: ..." on stderr, a line at a time. Not patient, it is lost if nobody reads there. */
extern bool patient;
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
void json_string(FILE *out, const char *text);
/* Bytes of a well-formed UTF-8 sequence at @s, 0 if it is none. */
int utf8_len(const unsigned char *s);
/* Return: @status; @lost, having complained, if stdout did not take all that was written to it. */
int output_done(int status, int lost);

/* ---- control.c ---- */

/* Value of @key in "key value" lines; "" if it is not there. */
void status_value(const char *text, const char *key, char *value, size_t size);

/* ---- liveupdate.c ---- */

/* Bytes of memory that may be had without others being pushed out; ~0: not known. */
__u64 memory_available(void);

/* ---- prometheus.c ---- */

/* What a supervisor answered; all of them are printed at the end. */
void prometheus_add(const char *status);
void prometheus_print(void);

/* ---- spawn.c ---- */

/**
 * struct program - what to execute
 * @binary: fd of the file itself: what was checked is what runs
 */
struct program {
	int binary;
	char **argv;
};

/**
 * struct launch - what a new server inherits
 * @channel: or -1
 * @listen: their tokens are counted from KHO_FD_LISTEN; none for a successor
 * @holds: how many fds we hold at most
 * @held: memfd with records of fds that stay open for it, or -1
 */
struct launch {
	const struct program *program;
	int arena;
	int server;
	int channel;
	int held;
	unsigned int holds;
	const int *listen;
	unsigned int nr_listen;
	const char *supervisor;
	__u64 arena_max;
	int realtime;
};

/* Of open files, for servers: ours may be higher. */
extern struct rlimit server_limit;

/* Return: 0, or -errno of what failed, exec included. */
int spawn(const struct launch *launch, pid_t *pid, int *pidfd);
/* A close-on-exec duplicate out of the way of the numbers that a server gets. Closes @fd. */
int high_fd(int fd);
/* A copy of NUL-separated @text as argv; or of an argv. NULL without memory. */
char **split_argv(const char *text, size_t len);
void free_argv(char **argv);

#endif
