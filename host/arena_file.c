/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * An arena's file: made, formatted, and told from what is none, before anything is mapped.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arena.h"
#include "subtree.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

#define SIZE_STEP (64 * KHO_PAGE_SIZE) /* the union of orders comes in words of 64 pages */
#define FIRST_GROWTH (1ULL << 20)

/* ---- making ---- */

int kho_arena_create_(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);

	if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0 && errno == EACCES) /* vm.memfd_noexec=2 */
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
	if (fd < 0)
		return kho_fail_(-errno, "arena: memfd_create: %s", strerror(errno));
	/*
	 * Nobody is to execute it. By its mode, not by a seal: Linux 7.2 restores a file with F_SEAL_EXEC
	 * as an executable one, which makes that seal one against writing, too.
	 */
	fchmod(fd, 0600);
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK)) {
		int rc = kho_fail_(-errno, "arena: cannot be sealed against shrinking: %s",
				   strerror(errno));

		close(fd);
		return rc;
	}
	return fd;
}

int kho_arena_is_empty_(int fd)
{
	__u64 magic = 0;
	ssize_t n = pread(fd, &magic, sizeof(magic), 0);

	if (n < 0)
		return -errno;
	return !magic;
}

static int fill_header(struct kho_abi_arena_header *header, __u64 max_size)
{
	__u64 step = max_size < KHO_SECTION_SIZE ? SIZE_STEP : KHO_SECTION_SIZE;
	int rc = khoc_arena_geometry(max_size & ~(step - 1), header);

	if (rc)
		return kho_fail_(rc, "arena: a limit of %llu bytes is too small or too large",
				 (unsigned long long)max_size);
	header->magic = KHO_ABI_ARENA_MAGIC;
	header->header_size = sizeof(*header);
	header->version = KHO_ABI_ARENA_VERSION;
	header->page_shift = KHO_PAGE_SHIFT;
	header->base = KHO_ARENA_BASE;
	if (getrandom(header->id, sizeof(header->id), 0) != sizeof(header->id))
		return kho_fail_(-errno, "arena: no random bytes for its id");
	header->crc = khoc_crc32c(0, header, offsetof(struct kho_abi_arena_header, crc));
	return 0;
}

static __u64 first_size(const struct kho_abi_arena_header *header)
{
	__u64 size = header->data_pa + FIRST_GROWTH;

	return size < header->max_size ? size : header->max_size;
}

/* The magic number is stored last: until then the file counts as empty. */
static int write_image(char *base, const struct kho_abi_arena_header *header)
{
	struct kho_abi_arena_header *at = (void *)base;
	__s64 fdt = kho_root_format_(base, header->tree_root_pa);

	if (fdt < 0)
		return (int)fdt;
	memcpy((char *)at + 8, (const char *)header + 8, sizeof(*header) - 8);
	at->root_fdt = khoc_cword((__u64)fdt, offsetof(struct kho_abi_arena_header, root_fdt));
	at->generation = khoc_cword(0, offsetof(struct kho_abi_arena_header, generation));
	at->state = khoc_cword(KHO_ABI_STATE_STOPPED, offsetof(struct kho_abi_arena_header, state));
	__atomic_store_n(&at->magic, header->magic, __ATOMIC_RELEASE);
	return 0;
}

int kho_arena_lengthen_(int fd, __u64 size)
{
	const struct timespec at_once = {0};
	sigset_t pending, old, one;
	int r = 0;

	sigemptyset(&one);
	sigaddset(&one, SIGXFSZ);
	pthread_sigmask(SIG_BLOCK, &one, &old);
	sigpending(&pending);
	if (ftruncate(fd, (off_t)size))
		r = -errno;
	/* Ours alone: one that was sent before is somebody else's. */
	if (r == -EFBIG && !sigismember(&pending, SIGXFSZ))
		sigtimedwait(&one, NULL, &at_once);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

int kho_arena_format_(int fd, __u64 max_size)
{
	struct kho_abi_arena_header header = {0};
	char *base;
	struct stat st;
	int rc = fill_header(&header, max_size);

	if (rc)
		return rc;
	if (fstat(fd, &st))
		return kho_fail_(-errno, "arena: %s", strerror(errno));
	/* Left by somebody who died before the last store of this; sealed files do not shrink. */
	if ((__u64)st.st_size > header.max_size)
		return kho_fail_(
			-EINVAL,
			"arena: its file has %lld bytes already, more than a limit of %llu: "
			"raise --arena-max",
			(long long)st.st_size, (unsigned long long)header.max_size);
	/* Everything below the nodes, and the tree's root, is written without further ado. */
	if ((__u64)st.st_size < first_size(&header))
		rc = kho_arena_lengthen_(fd, first_size(&header));
	if (!rc && fallocate(fd, 0, 0, (off_t)(header.nodes_pa + KHO_PAGE_SIZE)))
		rc = -errno;
	if (rc)
		return kho_fail_(rc, "arena: no memory for its first %llu bytes: %s%s",
				 (unsigned long long)first_size(&header), strerror(-rc),
				 rc == -EFBIG ? ": raise the limit (ulimit -f)" : "");
	base = mmap(NULL, header.nodes_pa, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		return kho_fail_(-errno, "arena: mmap: %s", strerror(errno));
	rc = write_image(base, &header);
	munmap(base, header.nodes_pa);
	return rc;
}

/* ---- checking what came in ---- */

static int check_file(int fd, struct stat *st)
{
	int seals = fcntl(fd, F_GET_SEALS);

	if (fstat(fd, st))
		return kho_fail_(-errno, "arena: fd %d: %s", fd, strerror(errno));
	if (!S_ISREG(st->st_mode) || seals < 0)
		return kho_fail_(-KHO_E_MAGIC, "arena: fd %d is not a memfd", fd);
	if (!(seals & F_SEAL_SHRINK))
		return kho_fail_(
			-KHO_E_FORMAT,
			"arena: the memfd is not sealed against shrinking: whoever truncates it "
			"would kill its users; make it with kho run");
	if (seals & (F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
		return kho_fail_(-KHO_E_FORMAT,
				 "arena: the memfd is sealed against writing or growing (%#x)",
				 (unsigned int)seals);
	if (!st->st_size)
		return kho_fail_(-KHO_E_TRUNCATED, "arena: the memfd is empty: never formatted");
	return 0;
}

static int check_header(int fd, __u64 file_size, struct kho_abi_arena_header *header)
{
	static unsigned char page[KHO_ABI_ARENA_PAGE_SIZE] __attribute__((aligned(8)));
	struct khoc_report report;
	ssize_t n = pread(fd, page, sizeof(page), 0);

	if (n < 0)
		return kho_fail_(-errno, "arena: its header cannot be read: %s", strerror(errno));
	if (khoc_arena_check((const void *)page, (size_t)n, file_size, &report))
		return kho_fail_report_(&report);
	memcpy(header, page, sizeof(*header));
	report = (struct khoc_report){.fault = KHO_E_ALIGN,
				      .structure = KHOC_S_ARENA_HEADER,
				      .level = -1,
				      .limit = SIZE_STEP};
	if (header->base & (SIZE_STEP - 1) || header->base >> 47) {
		report.addr = offsetof(struct kho_abi_arena_header, base);
		report.value = header->base;
		report.field = "base";
		return kho_fail_report_(&report);
	}
	if (header->max_size & (SIZE_STEP - 1)) {
		report.addr = offsetof(struct kho_abi_arena_header, max_size);
		report.value = header->max_size;
		report.field = "max_size";
		return kho_fail_report_(&report);
	}
	return 0;
}

int kho_arena_check_file_(int fd, struct kho_abi_arena_header *header, __u64 *size)
{
	struct stat st;
	int rc = check_file(fd, &st);

	if (!rc)
		*size = (__u64)st.st_size;
	return rc ?: check_header(fd, *size, header);
}
