/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A kernel that cannot read what it would be handed: "changed" has another version of vmalloc areas
 * than all others. Such an image is refused when it is loaded; loaded all the same, the kernel
 * refuses the handover, boots, and hands over to the next one.
 *
 * ours>changed>changed>ours, theirs>changed>changed: every other kexec is between kernels that do
 * not fit. 7.2 asks nothing of an image.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/kexec.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "init.h"

#define READ_ALL 3 /* klogctl() */
#define FORCE "/sys/module/kernel/parameters/kho_force"

static char kernel_log[1 << 20];

/* How often the kernel's log has this text. */
static int said(const char *text)
{
	int len = klogctl(READ_ALL, kernel_log, sizeof(kernel_log) - 1), nr = 0;
	const char *at = kernel_log;

	kernel_log[len > 0 ? len : 0] = 0;
	for (; (at = strstr(at, text)); at++)
		nr++;
	return nr;
}

/* "N, this reader takes version M" */
static const char *versions(int has, int takes)
{
	static char text[128];

	snprintf(text, sizeof(text),
		 "part \"vmalloc\": it is version %d, this reader takes version %d", has, takes);
	return text;
}

/* Load an image, and unload it again. Return: 0 or an errno. */
static int try_load(int fd)
{
	int err = 0;

	if (syscall(SYS_kexec_file_load, fd, -1, 1UL, "", (long)KEXEC_FILE_NO_INITRAMFS))
		err = errno;
	if (!err && syscall(SYS_kexec_file_load, -1, -1, 0UL, NULL, (long)KEXEC_FILE_UNLOAD))
		err = errno;
	return err;
}

static int try_kernel(const char *path)
{
	int fd = open(path, O_RDONLY), err;

	if (fd < 0)
		return errno;
	err = try_load(fd);
	close(fd);
	return err;
}

/* The chunk of kernel_info: "KHOF", its size, and a note whose name is behind three words. */
static char *find_chunk(char *image, size_t size)
{
	char *at = image;

	while ((at = memmem(at, image + size - at, "KHOF", 4)) && at + 24 < image + size)
		if (!memcmp(at + 20, "KHO", 4))
			return at;
		else
			at++;
	return NULL;
}

/* The image with a byte of its list changed: @at bytes behind the chunk's first. */
static int try_patched(const char *path, int at, char byte)
{
	int from = open(path, O_RDONLY), to = memfd_create("patched", 0), err;
	char *image, *chunk;
	struct stat st;

	if (from < 0 || to < 0 || fstat(from, &st) || ftruncate(to, st.st_size))
		return errno;
	image = mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, to, 0);
	if (image == MAP_FAILED || pread(from, image, st.st_size, 0) != st.st_size)
		return errno;
	chunk = find_chunk(image, st.st_size);
	if (!chunk)
		return ENOENT;
	chunk[at] = byte;
	err = try_load(to);
	munmap(image, st.st_size);
	close(from);
	close(to);
	return err;
}

static int expect(const char *what, int got, int want)
{
	return got == want ? 0 : failed("%s: %s, not %s", what, strerror(got), strerror(want));
}

/* Nothing but kho_force loads @path, which reads vmalloc areas of version @takes, not our @has. */
static int refused_at_load(const char *path, int has, int takes)
{
	int fd;

	if (expect(path, try_kernel(path), EPROTONOSUPPORT) < 0)
		return -1;
	if (said(versions(has, takes)) != 1)
		return failed("the log does not say once that \"%s\"", versions(has, takes));
	fd = open(FORCE, O_WRONLY);
	if (fd < 0 || write(fd, "1", 1) != 1)
		return failed("%s: %s", FORCE, strerror(errno));
	close(fd);
	if (expect("kho_force", try_kernel(path), 0) < 0)
		return -1;
	return said("image loaded all the same") == 1 ? 0 : failed("kho_force is not in the log");
}

/* What is damaged is refused, too; without a list it would be Linux 7.2. */
static int damaged_lists(void)
{
	if (expect("ours", try_kernel("/kernel/ours"), 0) < 0)
		return -1;
	if (expect("chunk of another", try_patched("/kernel/ours", 3, 'f'), 0) < 0)
		return -1;
	if (expect("damaged list", try_patched("/kernel/ours", 16, 9), EPROTONOSUPPORT) < 0)
		return -1;
	return said("its list of formats is damaged") == 1 ? 0 : failed("no word of damage");
}

/* The handover was refused, in one line. */
static int refused_at_boot(int has, int takes)
{
	char state[256] = "";

	read_file("/sys/kernel/debug/kho/state", state, sizeof(state) - 1);
	if (strncmp(state, "refused early", 13))
		return failed("state: %s", state);
	if (said("handover refused") != 1 || said(versions(has, takes)) != 1)
		return failed("the log does not say once that \"%s\"", versions(has, takes));
	return 0;
}

int case_mismatch(const struct stage *stage)
{
	int luo = open("/dev/liveupdate", O_RDWR), changed = !strcmp(stage->kernel, "changed");

	if (luo < 0)
		return failed("/dev/liveupdate: %s", strerror(errno));
	/* Even boots come from a kernel that fits. */
	if (stage->hop % 2) {
		if (refused_at_boot(changed ? 1 : 2, changed ? 2 : 1) < 0)
			return -1;
		if (open_session(luo, stage->hop - 1) >= 0 || errno != ENOENT)
			return failed("a session of a refused handover");
	} else if (stage->hop && check_session(luo, stage->hop) < 0) {
		return -1;
	}
	if (stage->last)
		return 0;
	if (!stage->hop && !strcmp(stage->kernel, "ours") &&
	    (damaged_lists() < 0 || refused_at_load("/kernel/changed", 1, 2) < 0))
		return -1;
	if (stage->hop == 2 && refused_at_load("/kernel/ours", 2, 1) < 0)
		return -1;
	return make_session(luo, stage->hop);
}
