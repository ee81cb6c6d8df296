/* SPDX-License-Identifier: GPL-2.0-only */
/* The memory of a stopped guest, an ELF core, as an image for libkho's core. */
#ifndef KHO_VM_VMCORE_H
#define KHO_VM_VMCORE_H

#include <elf.h>
#include <stddef.h>

#include <kho/core/image.h>
#include <kho/core/report.h>

#define SHIFT 12
#define PAGE (1UL << SHIFT)

struct dump {
	struct khoc_mem mem;
	char *file;
	size_t size;
	const Elf64_Phdr *segments;
	unsigned int nr;
};

/* Print why and exit with status 1. */
void fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* fail() with what a check has reported. */
void refused(const char *what, const struct khoc_report *report) __attribute__((noreturn));

/* Privately: what is changed in memory does not reach the file. */
void dump_open(struct dump *dump, const char *path);

/* @len bytes of one segment, or NULL. */
void *dump_map(void *dump, kho_pa_t pa, size_t len);

/*
 * The one page that is a root FDT with a subtree in it. Nothing in the guest says where it is:
 * only the next kernel is told.
 */
kho_pa_t find_root(const struct dump *dump);

#endif
