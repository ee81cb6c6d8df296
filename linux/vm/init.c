/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The first program of every kernel that vm-check boots. It runs one test's part for this boot,
 * and then starts the next kernel of the chain, with the same initramfs, or powers off.
 *
 * On the kernel's command line:
 *	vm.test=NAME	one of cases[] below, or a program in /bin that is run once
 *	vm.chain=A,B,C	the kernels /kernel/A, /kernel/B, ... in the order in which they are booted, and
 *			again from the first
 *	vm.jumps=N	how many kexecs there are
 *	vm.last=BYTES	of the initramfs are all that the last boot needs: the kernels are behind them
 *	vm.only=N:WORD	boot N has that word on its command line, too
 *	vm.hop=N	which boot this is, from 0; what follows is for this boot alone
 *	retain_initrd	so that the initramfs can be given to the next kernel
 * What linux/vm/run looks for on the console begins with "VM: ".
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include <linux/kexec.h>

#include "init.h"

#define MAX_ARGS 14

static char cmdline[4096];

int failed(const char *format, ...)
{
	va_list args;

	printf("VM: fail: ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	return -1;
}

ssize_t read_file(const char *path, void *buffer, size_t size)
{
	size_t got = 0;
	ssize_t n;
	int fd;

	fd = open(path, O_RDONLY);
	if (fd < 0)
		return failed("%s: %s", path, strerror(errno));
	while (got < size && (n = read(fd, (char *)buffer + got, size - got)) > 0)
		got += n;
	close(fd);
	return got;
}

void parameter(const char *name, char *value, size_t size)
{
	size_t len = strlen(name);
	const char *at;

	value[0] = 0;
	for (at = cmdline; *at; at += strspn(at, " ")) {
		size_t word = strcspn(at, " ");

		if (word >= len && !strncmp(at, name, len))
			snprintf(value, size, "%.*s", (int)(word - len), at + len);
		at += word;
	}
}

/* The command line of the next boot: ours, but for the number and what follows it. */
static void next_cmdline(char *line, size_t size, int hop)
{
	const char *end = strstr(cmdline, "vm.hop=");
	char only[64];
	char *word;

	parameter("vm.only=", only, sizeof(only));
	word = strchr(only, ':');
	snprintf(line, size, "%.*svm.hop=%d%s%s", (int)(end - cmdline), cmdline, hop,
		 word && atoi(only) == hop ? " " : "", word && atoi(only) == hop ? word + 1 : "");
}

static int mount_all(void)
{
	static const struct {
		const char *type, *where;
	} mounts[] = {
		{"proc", "/proc"},    {"sysfs", "/sys"},
		{"devtmpfs", "/dev"}, {"debugfs", "/sys/kernel/debug"},
		{"tmpfs", "/tmp"},
	};
	size_t i;
	int fd;

	for (i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
		mkdir(mounts[i].where, 0755);
		if (mount(mounts[i].type, mounts[i].where, mounts[i].type, 0, NULL) < 0)
			return failed("mount %s: %s", mounts[i].where, strerror(errno));
	}
	fd = open("/dev/console", O_RDWR);
	if (fd >= 0) {
		dup2(fd, 0);
		dup2(fd, 1);
		dup2(fd, 2);
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	return 0;
}

int run_program(const char *program, ...)
{
	char path[128], *argv[MAX_ARGS + 2] = {(char *)program};
	va_list args;
	int status, i;
	pid_t pid;

	va_start(args, program);
	for (i = 1; i <= MAX_ARGS && (argv[i] = va_arg(args, char *)); i++)
		;
	va_end(args);
	snprintf(path, sizeof(path), "/bin/%s", program);
	pid = fork();
	if (pid == 0) {
		execv(path, argv);
		printf("%s: %s\n", path, strerror(errno));
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return failed("%s: %s", path, strerror(errno));
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return failed("%s: status %#x", program, status);
	return 0;
}

static struct {
	char name[64];
	int hop;
	bool last, loaded, on_crash;
} next;

/* The first @size bytes of the file @from, as a file of their own. */
static int beginning(int from, size_t size)
{
	static char buffer[1 << 16];
	ssize_t n = 1;
	int to;

	to = memfd_create("initrd", 0);
	for (; to >= 0 && size > 0 && n > 0; size -= n) {
		n = read(from, buffer, size < sizeof(buffer) ? size : sizeof(buffer));
		if (n > 0 && write(to, buffer, n) != n)
			n = -1;
	}
	close(from);
	return n > 0 ? to : -1;
}

/* The next boot's initramfs. */
static int open_initrd(void)
{
	int whole = open("/sys/firmware/initrd", O_RDONLY);
	char size[16];

	parameter("vm.last=", size, sizeof(size));
	return whole < 0 || !next.last ? whole : beginning(whole, atol(size));
}

static int load(unsigned long flags, const char *words)
{
	char path[128], line[sizeof(cmdline) + 160];
	int kernel, initrd;

	snprintf(path, sizeof(path), "/kernel/%s", next.name);
	kernel = open(path, O_RDONLY);
	initrd = open_initrd();
	if (kernel < 0 || initrd < 0)
		return failed("%s: %s", kernel < 0 ? path : "retained initrd", strerror(errno));
	next_cmdline(line, sizeof(line), next.hop);
	strncat(line, words, sizeof(line) - strlen(line) - 1);
	if (syscall(SYS_kexec_file_load, kernel, initrd, strlen(line) + 1, line, flags))
		return failed("kexec_file_load: %s", strerror(errno));
	close(kernel);
	close(initrd);
	next.loaded = true;
	return 0;
}

int load_next(void)
{
	return next.loaded ? 0 : load(0, "");
}

int load_crash(const char *words)
{
	next.on_crash = true;
	return load(KEXEC_FILE_ON_CRASH, words);
}

/*
 * Wait until what we said is out: the kernel's own lines do not wait for a tty's buffer, and what it says of a
 * reboot would stand in the middle of ours.
 */
static void drain(void)
{
	fflush(stdout);
	tcdrain(STDOUT_FILENO);
}

/* Start the next kernel. Returns only if it cannot be started. */
static int next_kernel(void)
{
	if (load_next() < 0)
		return -1;
	printf("VM: %s to %s\n", next.on_crash ? "crash" : "kexec", next.name);
	drain();
	/* The end of the first program is a panic, before any file of it is closed. */
	if (next.on_crash)
		_exit(1);
	reboot(RB_KEXEC);
	return failed("reboot: %s", strerror(errno));
}

/* The @nr-th name of a list that begins again and again. The list is cut up. */
static char *nth(char *list, int nr)
{
	char *name[64];
	int names = 0;

	while (names < 64 && (name[names] = strsep(&list, ",")))
		names++;
	return name[nr % names];
}

static void boot(void)
{
	char test[64], chain[1024], number[16], jumps[16];
	struct utsname uts;
	struct stage stage;

	if (read_file("/proc/cmdline", cmdline, sizeof(cmdline) - 1) < 0)
		return;
	cmdline[strcspn(cmdline, "\n")] = 0;
	parameter("vm.test=", test, sizeof(test));
	parameter("vm.chain=", chain, sizeof(chain));
	parameter("vm.hop=", number, sizeof(number));
	parameter("vm.jumps=", jumps, sizeof(jumps));
	stage.hop = atoi(number);
	uname(&uts);
	printf("VM: boot %d %s\n", stage.hop, uts.release);
	stage.kernel = strrchr(uts.release, '-') ? strrchr(uts.release, '-') + 1 : "";
	stage.last = stage.hop >= atoi(jumps);
	next.hop = stage.hop + 1;
	next.last = next.hop >= atoi(jumps);
	snprintf(next.name, sizeof(next.name), "%s", nth(chain, next.hop));
	if (run_case(test, &stage) < 0)
		return;
	printf("VM: done %d\n", stage.hop);
	if (!stage.last)
		next_kernel();
	else
		printf("VM: end\n");
}

int main(void)
{
	/* Children of tests become ours, and end with the kernel. */
	if (!mount_all())
		boot();
	drain();
	sync();
	reboot(RB_POWER_OFF);
	return 1;
}
