// SPDX-License-Identifier: GPL-2.0-only
/* How long it takes to preserve and to unpreserve. */
#include <linux/completion.h>
#include <linux/cpu.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/timex.h>
#include <linux/vmalloc.h>

#include "kho_vm.h"

#define WORKERS_MAX 2
#define RANGE_ORDER 7
#define RANGE_PAGES 64

/* A worker's pages: pages that stand alone, or the first of ranges that begin at an odd page. */
struct worker {
	struct page **page;
	unsigned long nr;
	unsigned long pages;
	bool undo;
	int err;
	u64 cycles;
	struct completion *go;
	struct completion done;
};

static int work(void *data)
{
	struct worker *worker = data;
	unsigned long i;
	u64 began;

	wait_for_completion(worker->go);
	began = get_cycles();
	for (i = 0; i < worker->nr && !worker->err; i++) {
		if (worker->undo)
			kho_unpreserve_pages(worker->page[i], worker->pages);
		else
			worker->err = kho_preserve_pages(worker->page[i], worker->pages);
	}
	worker->cycles = get_cycles() - began;
	complete(&worker->done);
	return 0;
}

/* All workers at once, each on its processor. */
static int round(struct worker *worker, unsigned int nr, const char *what, bool undo)
{
	DECLARE_COMPLETION_ONSTACK(go);
	struct task_struct *task;
	unsigned int i;
	u64 cycles = 0;
	ktime_t began;
	s64 ns;

	for (i = 0; i < nr; i++) {
		worker[i].undo = undo;
		worker[i].go = &go;
		init_completion(&worker[i].done);
		task = kthread_create_on_cpu(work, &worker[i], i, "kho_vm/%u");
		if (IS_ERR(task))
			return PTR_ERR(task);
		wake_up_process(task);
	}
	began = ktime_get();
	complete_all(&go);
	for (i = 0; i < nr; i++)
		wait_for_completion(&worker[i].done);
	ns = ktime_to_ns(ktime_sub(ktime_get(), began));
	for (i = 0; i < nr; i++) {
		if (worker[i].err)
			return worker[i].err;
		cycles += worker[i].cycles;
	}
	pr_info("kho_vm: speed %s_%s cpus %u calls %lu ns %lld cycles %llu\n",
		undo ? "unpreserve" : "preserve", what, nr, nr * worker[0].nr, ns, cycles);
	return 0;
}

static int fill(struct worker *worker, unsigned long nr, unsigned int order, unsigned int first)
{
	worker->page = vmalloc(array_size(nr, sizeof(*worker->page)));
	if (!worker->page)
		return -ENOMEM;
	for (worker->nr = 0; worker->nr < nr; worker->nr++) {
		struct page *page = alloc_pages(GFP_KERNEL, order);

		if (!page)
			return -ENOMEM;
		worker->page[worker->nr] = page + first;
	}
	return 0;
}

static void empty(struct worker *worker, unsigned int order, unsigned int first)
{
	while (worker->page && worker->nr)
		__free_pages(worker->page[--worker->nr] - first, order);
	vfree(worker->page);
}

static int rounds(const char *what, unsigned long nr, unsigned int order, unsigned int first,
		  unsigned long pages)
{
	unsigned int cpus = min_t(unsigned int, num_online_cpus(), WORKERS_MAX), i, used;
	struct worker worker[WORKERS_MAX] = {0};
	int err = 0;

	for (i = 0; i < cpus && !err; i++) {
		worker[i].pages = pages;
		err = fill(&worker[i], nr, order, first);
	}
	for (used = 1; used <= cpus && !err; used++) {
		err = round(worker, used, what, false);
		if (!err)
			err = round(worker, used, what, true);
	}
	/* What may still be preserved is not freed. */
	for (i = 0; i < cpus && !err; i++)
		empty(&worker[i], order, first);
	return err;
}

int kho_vm_speed(const struct kho_vm_request *request)
{
	int err = rounds("page", request->nr, 1, 0, 1);

	return err ?: rounds("range", request->nr / 64, RANGE_ORDER, 1, RANGE_PAGES);
}
