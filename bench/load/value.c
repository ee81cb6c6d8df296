/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Keys and self-describing values.
 *
 * A value carries its key's index, its version, its length and a checksum over all its
 * bytes, so that any value found anywhere tells which write it came from, and a value
 * made of two writes tells that it is neither.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "load.h"

#define VALUE_MAGIC 0x656d6f64u /* "demo" */
#define GOLDEN 0x9e3779b97f4a7c15ULL /* 2^64 / golden ratio, odd: steps visit all numbers */

struct value_head {
	uint32_t magic;
	uint32_t len;
	uint64_t index;
	uint32_t version;
	uint32_t pad;
	uint64_t sum;
};

_Static_assert(sizeof(struct value_head) == LOAD_VALUE_MIN, "a value's head");

uint64_t load_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * LOAD_NS + (uint64_t)ts.tv_nsec;
}

void load_sleep_until(uint64_t when)
{
	struct timespec ts = {(time_t)(when / LOAD_NS), (long)(when % LOAD_NS)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

void load_sleep(uint64_t ns)
{
	load_sleep_until(load_now() + ns);
}

uint64_t load_mix(uint64_t x)
{
	x += GOLDEN;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

size_t load_key(char key[LOAD_KEY_MAX], uint64_t index)
{
	size_t i;

	memcpy(key, "key:", 4);
	for (i = 14; i-- > 4;) {
		key[i] = (char)('0' + index % 10);
		index /= 10;
	}
	key[14] = '\0';
	return 14;
}

size_t load_value_len(const struct load_shape *shape, uint64_t index, uint32_t version)
{
	uint64_t spread = (uint64_t)shape->max - shape->min + 1;

	return shape->min + load_mix(index * GOLDEN + version) % spread;
}

static uint64_t value_sum(const struct value_head *head, const unsigned char *body, size_t len)
{
	uint64_t sum = load_mix(head->index ^ ((uint64_t)head->version << 32) ^ head->len);
	uint64_t word;

	for (; len >= 8; body += 8, len -= 8) {
		memcpy(&word, body, 8);
		sum = (sum ^ word) * GOLDEN;
		sum ^= sum >> 29;
	}
	word = len;
	memcpy(&word, body, len);
	return load_mix(sum ^ word ^ ((uint64_t)len << 56));
}

void load_value_make(void *buf, size_t len, uint64_t index, uint32_t version)
{
	struct value_head head = {VALUE_MAGIC, (uint32_t)len, index, version, 0, 0};
	unsigned char *body = (unsigned char *)buf + sizeof(head);
	uint64_t x = load_mix(index ^ ((uint64_t)version << 40));
	size_t left = len - sizeof(head);

	for (; left >= 8; body += 8, left -= 8) {
		x += GOLDEN;
		memcpy(body, &x, 8);
	}
	memcpy(body, &x, left);
	head.sum = value_sum(&head, (unsigned char *)buf + sizeof(head), len - sizeof(head));
	memcpy(buf, &head, sizeof(head));
}

bool load_value_check(const void *buf, size_t len, uint64_t index, uint32_t *version)
{
	struct value_head head;

	if (len < sizeof(head))
		return false;
	memcpy(&head, buf, sizeof(head));
	*version = head.version;
	return head.magic == VALUE_MAGIC && head.len == len && head.index == index && !head.pad &&
	       head.sum == value_sum(&head, (const unsigned char *)buf + sizeof(head),
				     len - sizeof(head));
}
