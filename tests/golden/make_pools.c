/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Made tests/golden/pool-v1.sparse once: an arena with the pools of tests/cpp/pools.h. make.py says in its own
 * words what is in them. Usage: make_pools FILE
 */
#include <stdio.h>

#include "arena.h"
#include "pools.h"
#include "sparse.h"

int main(int argc, char **argv)
{
	int fd = kho_arena_create_("golden");
	FILE *out = argc == 2 ? fopen(argv[1], "wb") : NULL;
	struct pools_why why = {.text = ""};

	if (!out || fd < 0 || kho_arena_format_(fd, 2 << 20) || kho_arena_map_(fd, true) ||
	    kho_arena_own_() || pools_fill(&why)) {
		fprintf(stderr, "make_pools: %s %s\n", kho_error(), why.text);
		return 1;
	}
	kho_arena_set_state_(KHO_ABI_STATE_RUNNING);
	return sparse_write(out, kho_arena_.base, kho_arena_.file_size) || fclose(out);
}
