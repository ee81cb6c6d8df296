/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The main program of a target under AFL++: one process takes many inputs, from shared memory. Each is
 * copied to memory of its exact size, so that reading beyond it is seen.
 */
#include "fuzz.h"

#include <unistd.h>

#define INPUTS 20000 /* until the process starts anew */

__AFL_FUZZ_INIT();

int main(void)
{
	const unsigned char *shared;

	__AFL_INIT();
	shared = __AFL_FUZZ_TESTCASE_BUF;
	while (__AFL_LOOP(INPUTS)) {
		size_t size = __AFL_FUZZ_TESTCASE_LEN;
		uint8_t *data = malloc(size ? size : 1);

		memcpy(data, shared, size);
		LLVMFuzzerTestOneInput(data, size);
		free(data);
	}
	return 0;
}
