/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The status of servers as Prometheus' text format wants it: metric by metric, each with all servers.
 */
#include <stdlib.h>
#include <string.h>

#include "tool.h"

#define MAX_SERVERS 1000

static const struct metric {
	const char *name, *type, *help;
	const char *key; /* in the status; NULL: see the code */
	double scale;
} metrics[] = {
	{"kho_server_up", "gauge", "1 if the server serves.", NULL, 1},
	{"kho_server_info", "gauge", "1; what it is.", NULL, 1},
	{"kho_generation", "counter", "How often the arena changed hands.", "generation", 1},
	{"kho_restarts_total", "counter", "Restarts after a death.", "restarts", 1},
	{"kho_uptime_seconds", "gauge", "Since the program was started.", "uptime_ms", 0.001},
	{"kho_arena_size_bytes", "gauge", "Size of the arena's file.", "arena_size", 1},
	{"kho_arena_used_bytes", "gauge", "Memory that the arena has.", "arena_used", 1},
	{"kho_listening_sockets", "gauge", "Listening sockets that are held.", "listen", 1},
};

static char *servers[MAX_SERVERS];
static int nr_servers;

void prometheus_add(const char *status)
{
	if (nr_servers < MAX_SERVERS && (servers[nr_servers] = strdup(status)))
		nr_servers++;
}

static void label(const char *name, const char *value)
{
	const unsigned char *s = (const unsigned char *)value;

	printf("%s=\"", name);
	while (*s) {
		int len = utf8_len(s);

		if (*s == '"' || *s == '\\')
			putchar('\\');
		/* One byte that is no UTF-8, and nothing of the whole page is read. */
		if (!len || *s < 0x20)
			putchar('?');
		else
			fwrite(s, 1, len, stdout);
		s += len ? len : 1;
	}
	putchar('"');
}

static void labels(const char *status, const struct metric *m)
{
	static const char *const keys[] = {"release", "state", "program"};
	char value[1024];

	status_value(status, "name", value, sizeof(value));
	label("{name", value);
	for (size_t i = 0; !strcmp(m->name, "kho_server_info") && i < 3; i++) {
		char name[16];

		status_value(status, keys[i], value, sizeof(value));
		snprintf(name, sizeof(name), ",%s", keys[i]);
		label(name, value);
	}
	putchar('}');
}

static double value_of(const char *status, const struct metric *m)
{
	char value[64];

	if (m->key) {
		status_value(status, m->key, value, sizeof(value));
		return (double)strtoull(value, NULL, 10) * m->scale;
	}
	if (!strcmp(m->name, "kho_server_info"))
		return 1;
	status_value(status, "state", value, sizeof(value));
	return !strcmp(value, "running") || !strcmp(value, "upgrading");
}

void prometheus_print(void)
{
	for (size_t i = 0; i < sizeof(metrics) / sizeof(metrics[0]); i++) {
		const struct metric *m = &metrics[i];

		printf("# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name, m->type);
		for (int s = 0; s < nr_servers; s++) {
			printf("%s", m->name);
			labels(servers[s], m);
			printf(m->scale < 1 ? " %.3f\n" : " %.0f\n", value_of(servers[s], m));
		}
	}
}
