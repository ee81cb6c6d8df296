/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Exactly once: clients that change shared keys while their server is killed again and again.
 *
 *	torture.c	kho run, the kills, the end
 *	client.c	one client: what it asks, what it must hear, its part of the record
 *	record.c	what all of them were told, held against itself and against the final state
 */
#ifndef TORTURE_H
#define TORTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COUNTERS 8
#define CHAINS 8
#define WINDOW 64 /* appends of one client to one key */
#define VALUE_MAX 200000

/* Report what is wrong, with all that is needed to see it, and end with status 1. */
void broken(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
uint64_t now_ms(void);

/* ---- record.c ---- */

/* A client was told that incr made @counter @value. */
void record_incr(unsigned int counter, uint64_t value);
/* It was told that its append of @id to key @window was done. */
void record_append(unsigned int window, uint32_t id);
/* It was told that cas replaced @before by @after, or that it did not. */
void record_cas(unsigned int chain, uint32_t before, uint32_t after, bool stored);
/* All clients have all answers. @get reads a key: NULL: not there. */
void record_check(char *(*get)(const char *key, size_t *len));
void record_show(void);

/* ---- client.c ---- */

struct client;
struct client *client_new(unsigned int number, unsigned int port, unsigned int seed);
int client_fd(const struct client *c);
bool client_writes(const struct client *c);
/* Ask more when all is answered; nothing after @last. */
void client_ask(struct client *c, bool last);
/* The socket can be written or read. */
void client_write(struct client *c);
void client_read(struct client *c);
bool client_idle(const struct client *c);
/* Has it waited for too long? */
void client_patience(const struct client *c);

#endif
