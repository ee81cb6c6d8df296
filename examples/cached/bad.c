/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Successors that fail, for tests and the demonstration: cached-bad --misbehave=MODE
 *
 *	exit		at once
 *	hang		before it is ready
 *	layout		says that it reads and writes version 99 only
 *	crash		one second after the grant
 *	hang-granted	takes over and never answers
 *
 * Linked around cached by the linker's --wrap, so that cached itself knows nothing of it.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <pthread.h>
#include <unistd.h>

#include <kho/host.h>

#define OPTION "--misbehave="

int __real_main(int argc, char **argv);
int __real_kho_start(const struct kho_config *config);
int __real_kho_ready(void);
int __real_kho_healthy(void);
int __wrap_main(int argc, char **argv);
int __wrap_kho_start(const struct kho_config *config);
int __wrap_kho_ready(void);
int __wrap_kho_healthy(void);

static const char *mode = "";
static int successor;

static int is(const char *name)
{
	return strcmp(mode, name) == 0;
}

static void hang(void)
{
	for (;;)
		pause();
}

static void *crash_soon(void *arg)
{
	struct timespec second = {1, 0};

	nanosleep(&second, NULL);
	raise(SIGSEGV);
	return NULL;
}

int __wrap_main(int argc, char **argv)
{
	static const char *const modes[] = {"exit", "hang", "layout", "crash", "hang-granted"};
	int i, kept = 1, known = 0;

	for (i = 1; i < argc; i++) {
		if (strncmp(argv[i], OPTION, strlen(OPTION)) == 0)
			mode = argv[i] + strlen(OPTION);
		else
			argv[kept++] = argv[i];
	}
	argv[kept] = NULL;
	for (i = 0; i < (int)(sizeof(modes) / sizeof(modes[0])); i++)
		known |= is(modes[i]);
	if (!known) {
		fprintf(stderr, "cached-bad: " OPTION "exit|hang|layout|crash|hang-granted\n");
		return 64;
	}
	return is("exit") ? 1 : __real_main(kept, argv);
}

int __wrap_kho_start(const struct kho_config *config)
{
	static const struct kho_format formats[] = {{"cached-items", 99, 99, 99, 0, 0},
						    {"cached-conns", 99, 99, 99, 0, 0}};
	struct kho_config changed = *config;
	int how;

	if (is("layout")) {
		changed.formats = formats;
		changed.nr_formats = 2;
	}
	how = __real_kho_start(&changed);
	successor = how == KHO_SUCCESSOR;
	return how;
}

int __wrap_kho_ready(void)
{
	pthread_t thread;
	int err;

	if (is("hang"))
		hang();
	err = __real_kho_ready();
	if (!err && successor && is("hang-granted"))
		hang();
	if (!err && successor && is("crash"))
		pthread_create(&thread, NULL, crash_soon, NULL);
	return err;
}

int __wrap_kho_healthy(void)
{
	return is("crash") ? 0 : __real_kho_healthy();
}
