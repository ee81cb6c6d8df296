/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Every instruction: a call that changes an arena runs in a child that is stepped by ptrace; whenever an
 * instruction changed the arena's file, a copy of it is attached and checked, as the next program would:
 * the state before the call or that after it, never back again, nothing lost and nothing leaked.
 * Each test_step_*.c has the cases of one subject.
 *
 * KHO_STEP=full takes all cases, otherwise the slow ones are left out; KHO_STEP_ONLY takes one.
 */
#ifndef KHO_TEST_STEP_H
#define KHO_TEST_STEP_H

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arena_fixture.h"
#include "heap.h"
#include "page.h"
#include "preserve.h"

#define ARENA_MAX (8ULL << 20)
#define NODE_TAG 0x6e6f6465ULL

/* Objects reachable from the roots "a" and "b" are lists of these. */
struct node {
	struct node *next;
	__u64 tag;
	__u64 value;
};

/* What set-up and operation tell the checks; shared by tracer and child. */
struct step_info {
	kho_pa_t pa;
	__u64 nr;
	bool done;
};

/* What a successor finds: the lists' values as decimal digits, pages by what they are preserved as. */
struct found {
	__u64 a, b;
	__u64 folio_pages, run_pages, slab_pages, struct_pages, area_pages;
	__u64 singles, records; /* of slab caches */
	__u64 session_objects;
};

/**
 * struct step_case - a call
 * @setup: in the child, before it
 * @op: the call; it ends the child if the call fails
 * @check: is a snapshot as before (0) or as after (1) the call? In between, some have more steps
 * @settle: what the next program does before that, if anything
 * @end: after the last snapshot, if anything
 * @constant: nothing to be seen of it
 */
struct step_case {
	const char *name;
	void (*setup)(void);
	void (*op)(void);
	int (*check)(const struct found *found);
	void (*settle)(void);
	void (*end)(void);
	bool constant;
	bool slow;
};

int step_main(const char *group, const struct step_case *cases, size_t nr);

extern struct step_info *info;

/* The child's: what set-up leaves to the operation. */
extern void **slot_a, **slot_b, *object, *old_object;

struct node *node_new(size_t size, __u64 value);
/* A page for a structure, reserved. */
kho_pa_t page_new(void);
/* The end of the program and the next one's start, up to where it would own the arena. */
void map_again(void);

void setup_nothing(void);
void setup_roots(void);
/* A node in the list "a", and another one that is reserved; then that behind the first. */
void setup_one(void);
void setup_two(void);

void op_free(void);
void op_publish_a(void);
void op_replace(void);
void op_delete(void);
void op_own(void);

/* The list "a" is @before or @after, the list "b" is empty. */
int a_is(__u64 before, __u64 after, const struct found *found);
int check_no_change(const struct found *found);
int check_one_stays(const struct found *found);
int check_two_stays(const struct found *found);
int check_insert(const struct found *found);
int check_removed(const struct found *found);

#endif
