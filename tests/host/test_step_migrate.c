/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Every instruction: a migration: all of the one version or all of the other. See step.h. */
#include "migrate.h"
#include "step.h"

static int build_up(void *ctx, void *old, void **fresh)
{
	struct node **tail = (struct node **)fresh;

	for (struct node *from = old; from; from = from->next) {
		struct node *to = kho_migrate_malloc(sizeof(*to));

		if (!to)
			return -1;
		to->tag = NODE_TAG;
		to->value = from->value + 5;
		*tail = to;
		tail = &to->next;
	}
	return 0;
}

static int release_nodes(void *ctx, void **slot)
{
	struct node *first;

	while ((first = *slot))
		if (kho_publish(slot, first->next, first))
			return -1;
	return 0;
}

static const struct kho_migration hook = {"list", 1, 2, build_up, release_nodes};

static void setup_migration(void)
{
	setup_two();
	kho_migrate_set_(&hook, 1, NULL);
}

static void op_migrate(void)
{
	if (kho_migrate("a", 2, NULL) || kho_migrate_finish_())
		_exit(7);
}

/* What the next program does with what is left. */
static void finish_migration(void)
{
	kho_migrate_set_(&hook, 1, NULL);
	assert_int_equal(kho_migrate_finish_(), 0);
	assert_false(kho_migrate_due_());
}

static int check_migrated(const struct found *found)
{
	return a_is(12, 67, found);
}

static const struct step_case cases[] = {
	{.name = "migrate",
	 .setup = setup_migration,
	 .op = op_migrate,
	 .check = check_migrated,
	 .slow = true,
	 .settle = finish_migration},
};

int main(void)
{
	return step_main("step_migrate", cases, sizeof(cases) / sizeof(*cases));
}
