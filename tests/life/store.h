/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* State of the test server in two versions, with migrations up and down: see store.c. */
#ifndef TESTS_STORE_H
#define TESTS_STORE_H

#include <kho/host.h>

extern struct kho_format store_format;
extern const struct kho_migration store_hooks[2];

/* "N" or "MIN-MAX". Without this there is no store. */
void store_parse(const char *text);
/* Look it up, in whichever version it is; make it if it is not there. */
void store_find(void);
/* Make it the newest version that this program knows; in force from kho_healthy() on. */
void store_migrate(void);
/* Count up. Return: the count times 10, and the version; -1 without a store. */
int store_next(void);

#endif
