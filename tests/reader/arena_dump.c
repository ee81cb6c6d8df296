/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What the library reads in an arena file, in the words of arena_reader.py; and random
 * arenas for both to read.
 *
 *	arena_dump make SEED FILE	an arena that some program left, as a kill leaves it
 *	arena_dump read FILE...		what is in it, or "refused"; "end" after each
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <kho/array.h>
#include <kho/block.h>
#include <kho/slab.h>

#include "arena.h"
#include "dump_main.h"
#include "heap.h"
#include "preserve.h"
#include "vmalloc.h"

#define MIB (1ULL << 20)
#define NR_SLOTS 64
#define NR_AREAS 16
#define NR_ARRAYS 3
#define NR_LOGS 3
#define NR_CACHES 4
#define NR_STEPS 400

typedef unsigned long long ull;

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "arena_dump: %s: %s\n", what, kho_error());
	exit(1);
}

/* ---- a random arena ------------------------------------------------------------ */

static struct {
	void **slots; /* an array of NR_SLOTS words in a live object: the heap's */
	__u64 *words; /* the same for pages of structures */
	struct folio *folios[NR_SLOTS];
	struct page *pages[NR_SLOTS];
	size_t nr_pages[NR_SLOTS];
	bool named[NR_SLOTS]; /* folio is a subtree's blob */
	struct kho_vmalloc *descs; /* NR_AREAS of them: the blob of "areas" */
	void *areas[NR_AREAS];
	struct kho_array *arrays[NR_ARRAYS];
	struct kho_block_set logs[NR_LOGS];
	void *objects[NR_SLOTS]; /* of caches of single objects */
} made;

/* A root's object: where records are, and how large. */
struct log {
	__u64 head;
	__u64 entry_size;
};

/* Mostly small; a few have pages of their own. */
static size_t some_size(void)
{
	return below(12) ? 1 + below(1ULL << below(15)) : 32769 + below(100000);
}

static void step_heap(unsigned int i)
{
	void *new = below(3) ? kho_malloc(some_size()) : NULL;

	if (new && !below(8))
		return; /* reserved, and never published */
	if (new || made.slots[i])
		must(!kho_publish(&made.slots[i], new, made.slots[i]), "kho_publish");
}

static void step_folio(unsigned int i)
{
	char name[16];

	snprintf(name, sizeof(name), "blob%u", i);
	if (!made.folios[i]) {
		made.folios[i] = kho_folio_alloc((unsigned int)below(5));
		if (made.folios[i])
			must(!kho_preserve_folio(made.folios[i]), "kho_preserve_folio");
	} else if (made.named[i]) {
		kho_remove_subtree(made.folios[i]);
		made.named[i] = false;
	} else if (below(2)) {
		must(!kho_add_subtree(name, made.folios[i], below(4097)), "kho_add_subtree");
		made.named[i] = true;
	} else {
		kho_folio_put(made.folios[i]);
		made.folios[i] = NULL;
	}
}

static void step_pages(unsigned int i)
{
	if (made.pages[i]) {
		kho_unpreserve_pages(made.pages[i], made.nr_pages[i]);
		kho_free_pages(made.pages[i], made.nr_pages[i]);
		made.pages[i] = NULL;
		return;
	}
	made.nr_pages[i] = 1 + below(40);
	made.pages[i] = kho_alloc_pages(made.nr_pages[i]);
	if (made.pages[i] && below(8))
		must(!kho_preserve_pages(made.pages[i], made.nr_pages[i]), "kho_preserve_pages");
}

static void step_struct(unsigned int i)
{
	const struct khoc_mem_ops *ops = kho_arena_.mem.ops;
	kho_pa_t fresh = below(3) ? ops->alloc_page(NULL) : 0;

	if (fresh || made.words[i])
		must(!ops->publish_page(NULL, &made.words[i], fresh, fresh, made.words[i]),
		     "publish_page");
}

static void step_area(unsigned int i)
{
	size_t pages = below(20) ? 1 + below(30) : 500 + below(30);

	i %= NR_AREAS;
	if (made.areas[i]) {
		if (below(4))
			kho_unpreserve_vmalloc(&made.descs[i]);
		kho_vfree(made.areas[i]); /* or the descriptor names what is gone */
		made.areas[i] = NULL;
		return;
	}
	made.areas[i] = below(2) ? kho_vmalloc_huge(pages * KHO_PAGE_SIZE)
				 : kho_vmalloc(pages * KHO_PAGE_SIZE);
	if (made.areas[i])
		kho_preserve_vmalloc(made.areas[i], &made.descs[i]);
}

/* Ascending, scattered, in clusters; and fewer again. */
static void step_array(unsigned int i)
{
	struct kho_array *array = made.arrays[i % NR_ARRAYS];
	unsigned int kind = (unsigned int)below(4);
	__u64 nr = 1ULL << below(11), index = 0;

	for (__u64 n = 0; n < nr && kind < 3; n++) {
		index = kind == 0   ? n
			: kind == 1 ? below(~0ULL) >> below(60)
				    : below(4) << 33 | below(nr);
		kho_array_set(array, index,
			      below(2) ? kho_array_mk_value(below(1ULL << 63)) : made.slots);
	}
	index = 0;
	for (__u64 n = 0; kind == 3 && kho_array_next(array, &index); n++, index++)
		if (n % 3)
			must(!kho_array_erase(array, index), "kho_array_erase");
	if (!below(20))
		must(!kho_array_clear(array), "kho_array_clear");
}

static void step_log(unsigned int i)
{
	struct kho_block_set *log = &made.logs[i % NR_LOGS];
	char record[3000];

	for (__u64 n = below(100); n; n--) {
		struct kho_block_set_it it;

		must(!kho_block_set_it_end(&it, log), "kho_block_set_it_end");
		memset(record, (int)below(256), sizeof(record));
		if (below(3))
			kho_block_set_it_append(&it, record);
		else
			kho_block_set_it_pop(&it);
	}
	if (!below(20))
		kho_block_set_grow(log, below(50));
}

static const unsigned int cache_sizes[NR_CACHES] = {24, 200, 5000, 96};

static void step_cache(unsigned int i)
{
	unsigned int size = cache_sizes[i % NR_CACHES], single = i % 2 ? KHO_CACHE_SINGLE : 0;
	struct kmem_cache *cache;
	char name[16];
	void *object;

	snprintf(name, sizeof(name), "cache%u", i % NR_CACHES);
	cache = kho_kmem_cache_create(name, size, 16U << (i % 4), single, NULL);
	if (!cache || !(object = kho_kmem_cache_alloc(cache)))
		return;
	memset(object, (int)below(256), size);
	if (!single) {
		must(!kho_publish(&made.slots[i], object, made.slots[i]), "kho_publish");
		return;
	}
	if (made.objects[i])
		kho_free(made.objects[i]);
	made.objects[i] = object;
	if (below(4))
		must(!kho_slab_preserve(object), "kho_slab_preserve");
}

static void step_root(unsigned int i)
{
	char name[16];

	snprintf(name, sizeof(name), "root%u", i);
	if (below(3))
		must(kho_root(name, "some-type", i + 1), "kho_root");
	else
		kho_root_remove(name);
}

/* What a kill inside kho_publish() leaves. */
static void leave_record(void)
{
	struct kho_abi_intent *intent = (void *)(kho_arena_.base + KHO_ABI_INTENTS_PA);
	void *new = kho_malloc(100);

	intent += below(KHO_ABI_NR_INTENTS);
	intent->value = intent->new_object = (uintptr_t) new;
	intent->old_object = (uintptr_t)made.slots[0] & ~15ULL;
	intent->slot = kho_virt_to_phys(&made.slots[0]);
}

static void save(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	off_t size = (off_t)kho_file_size_(), at = 0, hole;

	must(fd >= 0 && !ftruncate(fd, size), path);
	while ((at = lseek(kho_arena_.fd, at, SEEK_DATA)) >= 0 && at < size) {
		hole = lseek(kho_arena_.fd, at, SEEK_HOLE);
		must(pwrite(fd, kho_arena_.base + at, (size_t)(hole - at), at) == hole - at, path);
		at = hole;
	}
	close(fd);
}

static void *some_words(const char *name)
{
	void **root = kho_root(name, "words", 1);
	void *words = kho_calloc(NR_SLOTS, sizeof(__u64));

	must(root && words && !kho_publish(root, words, NULL), name);
	return words;
}

static void make_roots(void)
{
	char name[16];

	for (unsigned int i = 0; i < NR_ARRAYS; i++) {
		struct kho_array_desc *desc = kho_array_create();

		snprintf(name, sizeof(name), "array%u", i);
		must(desc && !kho_publish(kho_root(name, "array", 1), desc, NULL), name);
		made.arrays[i] = kho_array_attach(desc);
		must(made.arrays[i], name);
	}
	for (unsigned int i = 0; i < NR_LOGS; i++) {
		struct log *log = kho_calloc(1, sizeof(*log));

		snprintf(name, sizeof(name), "log%u", i);
		must(log && !kho_publish(kho_root(name, "log", 1), log, NULL), name);
		log->entry_size = 1 + below(below(2) ? 64 : 3000);
		must(!kho_block_set_init(&made.logs[i], &log->head, log->entry_size), name);
	}
}

static int make(const char *path)
{
	static void (*const steps[])(unsigned int) = {
		step_heap,  step_heap,	 step_heap, step_heap, step_folio, step_array,
		step_pages, step_struct, step_root, step_area, step_log,   step_cache,
	};
	__u64 max = below(4) ? (3 + below(30)) * MIB : (1 + below(8)) * 128 * MIB;
	int fd = kho_arena_create_("reader");
	unsigned int nr = (unsigned int)below(NR_STEPS);

	must(fd >= 0 && !kho_arena_format_(fd, max) && !kho_arena_map_(fd, true) &&
		     !kho_arena_own_(),
	     "arena");
	made.slots = some_words("slots");
	made.words = some_words("words");
	made.descs = kho_alloc_preserve(KHO_PAGE_SIZE);
	must(made.descs && !kho_add_subtree("areas", made.descs, NR_AREAS * sizeof(*made.descs)),
	     "areas");
	make_roots();
	for (unsigned int i = 0; i < nr; i++)
		steps[below(sizeof(steps) / sizeof(steps[0]))]((unsigned int)below(NR_SLOTS));
	if (below(2))
		must(!kho_arena_set_metadata_("some release", (unsigned int)below(1000)), "name");
	kho_arena_set_state_(1 + below(4));
	if (!below(3))
		leave_record();
	save(path);
	return 0;
}

/* ---- what is in one -------------------------------------------------------------- */

/* Text that came in: on one line, whatever it is. */
static void say_text(const char *text)
{
	putchar(' ');
	for (; *text; text++)
		printf(*text > ' ' && *text < 0x7f ? "%c" : "\\x%02x", (unsigned char)*text);
}

static __u64 digest(__u64 value, __u64 word)
{
	return (value ^ word) * 0x100000001b3ull;
}

#define DIGEST_0 0xcbf29ce484222325ull

static void say_names(void)
{
	const struct kho_abi_metadata *metadata;
	struct khoc_subtree s;
	kho_pa_t fdt;
	int pos = 0;

	must(!khoc_cword_get(kho_arena_.words->root_fdt,
			     offsetof(struct kho_abi_arena_header, root_fdt), &fdt),
	     "root_fdt");
	printf("arena 0x%llx 0x%llx %llu %llu 0x%llx\n", (ull)kho_arena_.size,
	       (ull)(uintptr_t)kho_arena_.base, (ull)kho_arena_generation_(),
	       (ull)kho_arena_state_(), (ull)fdt);
	while (!khoc_root_next(kho_arena_.base + fdt, &pos, &s)) {
		printf("subtree %s 0x%llx %llu", s.name, (ull)s.data, (ull)s.size);
		if (s.type) {
			say_text(s.type);
			printf(" %u 0x%llx", s.type_version,
			       (ull) * (const __u64 *)(kho_arena_.base + s.data));
		}
		printf("\n");
	}
	metadata = (const void *)(kho_arena_.base + fdt + KHO_ABI_FDT_MAX);
	if (metadata->version == KHO_ABI_METADATA_VERSION &&
	    memchr(metadata->previous_release, 0, sizeof(metadata->previous_release))) {
		printf("metadata");
		say_text(metadata->previous_release);
		printf(" %u\n", metadata->kexec_count);
	}
}

static void say_intents(void)
{
	const struct kho_abi_intent *i = (const void *)(kho_arena_.base + KHO_ABI_INTENTS_PA);

	for (unsigned int n = 0; n < KHO_ABI_NR_INTENTS; n++, i++)
		if (i->slot)
			printf("intent 0x%llx 0x%llx 0x%llx 0x%llx\n", (ull)i->slot, (ull)i->value,
			       (ull)i->new_object, (ull)i->old_object);
}

static int by_address(const void *a, const void *b)
{
	const struct khoc_block *x = a, *y = b;

	return x->pa != y->pa ? (x->pa > y->pa) - (x->pa < y->pa)
			      : (x->order > y->order) - (x->order < y->order);
}

/* A record of a named cache. Return: NULL, or a sound one. */
static const struct kho_abi_cache *cache_at(kho_pa_t pa)
{
	const struct kho_abi_cache *record = (const void *)(kho_arena_.base + pa);

	if (pa % 16 || pa < kho_arena_.header->data_pa || pa > kho_file_size_() - sizeof(*record) ||
	    khoc_cache_check(record, KHO_PAGE_SHIFT, pa, NULL))
		return NULL;
	return record;
}

static void say_slab(const struct khoc_block *block)
{
	const struct kho_abi_slab *slab = (const void *)(kho_arena_.base + block->pa);
	const struct kho_abi_cache *cache = NULL;
	struct khoc_slab_counts counts;

	printf("slab 0x%llx", (ull)block->pa);
	if (khoc_slab_check(&kho_arena_.mem, KHO_PAGE_SHIFT, block->pa, block->order, &counts,
			    NULL) ||
	    (slab->cache && !(cache = cache_at(slab->cache))) ||
	    (cache && (cache->object_size != slab->object_size || cache->flags != slab->flags)))
		printf(" refused\n");
	else
		printf(" %u %u %u %u %u 0x%llx\n", slab->object_size, counts.live, counts.freed,
		       counts.reserved, slab->flags, (ull)slab->cache);
}

static void say_large(const struct khoc_block *block)
{
	const struct kho_abi_large *large = kho_large_of_(kho_arena_.base + block->pa + 64);

	printf("large 0x%llx", (ull)block->pa);
	if (large)
		printf(" 0x%llx %llu %llu\n", (ull)large->run_pa, (ull)large->nr_pages,
		       (ull)large->size);
	else
		printf(" refused\n");
}

static void say_block(const struct khoc_block *block)
{
	static const char *const names[] = {
		[KHO_ABI_DESC_FOLIO] = "FOLIO",
		[KHO_ABI_DESC_PAGES] = "PAGES",
		[KHO_ABI_DESC_SLAB] = "SLAB",
		[KHO_ABI_DESC_LARGE] = "LARGE",
		[KHO_ABI_DESC_LARGE_PART] = "LARGE_PART",
		[KHO_ABI_DESC_STRUCT] = "STRUCT",
		[KHO_ABI_DESC_VMALLOC] = "VMALLOC",
		[KHO_ABI_DESC_VMALLOC_CHUNK] = "VMALLOC_CHUNK",
	};
	unsigned int type, order;
	const char *name = "damaged";

	if (!kho_block_desc_(block->pa, &type, &order) && type && order == block->order)
		name = names[type];
	printf("block 0x%llx %u %s\n", (ull)block->pa, block->order, name);
	if (type == KHO_ABI_DESC_SLAB)
		say_slab(block);
	else if (type == KHO_ABI_DESC_LARGE)
		say_large(block);
}

static void say_blocks(void)
{
	struct khoc_block *blocks = NULL;
	struct khoc_radix_iter iter;
	struct khoc_run run;
	size_t nr = 0;

	khoc_radix_iter_init(&iter, &kho_arena_.tree, 0, kho_arena_.size, 0,
			     khoc_max_order(KHO_PAGE_SHIFT));
	while (khoc_radix_iter_next(&iter, &run)) {
		blocks = realloc(blocks, (nr + run.nr) * sizeof(*blocks));
		must(blocks, "memory");
		for (__u64 i = 0; i < run.nr; i++)
			blocks[nr++] = (struct khoc_block){
				run.pa + (i << (KHO_PAGE_SHIFT + run.order)), run.order};
	}
	must(!khoc_radix_iter_error(&iter), "walk");
	qsort(blocks, nr, sizeof(*blocks), by_address);
	for (size_t i = 0; i < nr; i++)
		say_block(&blocks[i]);
	free(blocks);
}

/* What a descriptor stands for, if all of it is there. */
static void say_area(unsigned int n, const struct kho_abi_vmalloc *desc)
{
	const struct khoc_vmalloc_check check = {.data_lo = kho_arena_.header->data_pa,
						 .data_hi = kho_file_size_(),
						 .tree = &kho_arena_.tree};
	struct khoc_vmalloc_iter iter;
	struct khoc_vmalloc_part part;
	unsigned int nr_chunks = 0;
	__u64 sum = DIGEST_0;

	if (!desc->first) {
		printf("area %u none\n", n);
		return;
	}
	if (khoc_vmalloc_validate(&kho_arena_.mem, KHO_PAGE_SHIFT, desc, &check, NULL)) {
		printf("area %u refused\n", n);
		return;
	}
	khoc_vmalloc_iter_init(&iter, &kho_arena_.mem, KHO_PAGE_SHIFT, desc, &check);
	while (khoc_vmalloc_iter_next(&iter, &part)) {
		nr_chunks += part.chunk;
		sum = part.chunk ? sum : digest(sum, part.pa);
	}
	printf("area %u %u %u %u %u %016llx\n", n, desc->total_pages, desc->flags, desc->order,
	       nr_chunks, (ull)sum);
}

static void say_areas(const struct khoc_subtree *s)
{
	for (unsigned int n = 0; n < s->size / 16; n++) {
		struct kho_abi_vmalloc desc;

		memcpy(&desc, kho_arena_.base + s->data + n * 16, 16);
		say_area(n, &desc);
	}
}

struct seen {
	__u64 sum;
	__u64 nr;
};

static int see(void *ctx, __u64 index, void *entry)
{
	struct seen *seen = ctx;
	__u64 word = (uintptr_t)entry;

	if (!kho_array_is_value(entry))
		word = kho_virt_to_phys(entry);
	seen->sum = digest(digest(seen->sum, index), word);
	seen->nr++;
	return 0;
}

/* Pages that a sound array has. */
static __u64 pages_of(kho_pa_t pa)
{
	__u64 lo = kho_arena_.header->data_pa, hi = kho_file_size_();
	struct khoc_array_check check = {lo, hi, calloc((hi - lo) / 4096 / 64 + 1, 8), 0, 0};
	struct khoc_array core;

	must(!khoc_array_attach(&core, &kho_arena_.mem, KHO_PAGE_SHIFT, pa, NULL) &&
		     !khoc_array_validate(&core, &check, NULL),
	     "array");
	free(check.seen);
	return check.pages;
}

static void say_array(const struct khoc_subtree *s, void *object)
{
	struct kho_array *array = kho_array_attach(object);
	struct seen seen = {DIGEST_0, 0};

	if (!array) {
		printf("array %s refused\n", s->name);
		return;
	}
	must(!kho_array_walk(array, 0, ~0ULL, false, see, &seen), s->name);
	must(seen.nr == kho_array_count(array), s->name);
	printf("array %s %llu %llu %016llx\n", s->name, (ull)seen.nr,
	       (ull)pages_of(kho_virt_to_phys(object)), (ull)seen.sum);
	kho_array_detach(array);
}

static void say_log(const struct khoc_subtree *s, struct log *log)
{
	struct khoc_block_counts counts;
	struct khoc_block_chain chain;
	struct kho_block_set_it it;
	const unsigned char *record;
	struct kho_block_set set;
	__u64 sum = DIGEST_0;
	kho_pa_t pa = kho_virt_to_phys(log);

	printf("log %s", s->name);
	if (pa % 8 || pa < kho_arena_.header->data_pa || pa > kho_file_size_() - sizeof(*log) ||
	    kho_block_set_init(&set, &log->head, log->entry_size) || kho_block_set_restore(&set)) {
		printf(" refused\n");
		return;
	}
	chain = (struct khoc_block_chain){&kho_arena_.mem, KHO_PAGE_SHIFT, log->entry_size,
					  log->head, 0};
	must(!khoc_block_check(&chain, NULL, &counts, NULL), "block set");
	kho_block_set_it_init(&it, &set);
	while ((record = kho_block_set_it_read_entry(&it)))
		for (__u64 i = 0; i < log->entry_size; i++)
			sum = digest(sum, record[i]);
	must(!kho_block_set_it_error(&it), "block set");
	printf(" %llu %llu %016llx\n", (ull)counts.blocks, (ull)counts.entries, (ull)sum);
}

static void say_cache(const struct khoc_subtree *s, kho_pa_t pa)
{
	const struct kho_abi_cache *record = cache_at(pa);

	if (record)
		printf("kmem_cache %s %s %u %u %u %u\n", s->name, record->name, record->size,
		       record->align, record->object_size, record->flags);
	else
		printf("kmem_cache %s refused\n", s->name);
}

static void say_structures(void)
{
	struct khoc_subtree s;
	kho_pa_t fdt;
	int pos = 0;

	must(!khoc_cword_get(kho_arena_.words->root_fdt,
			     offsetof(struct kho_abi_arena_header, root_fdt), &fdt),
	     "root_fdt");
	while (!khoc_root_next(kho_arena_.base + fdt, &pos, &s)) {
		void *object = s.type ? *(void **)(kho_arena_.base + s.data)
				      : NULL; /* in the data region */

		if (!strcmp(s.name, "areas"))
			say_areas(&s);
		if (!object || s.type_version != 1)
			continue;
		if (!strcmp(s.type, "array"))
			say_array(&s, object);
		else if (!strcmp(s.type, "log"))
			say_log(&s, object);
		else if (!strcmp(s.type, "kmem_cache"))
			say_cache(&s, kho_virt_to_phys(object));
	}
}

/* A sealed copy, since an arena is a memfd. */
static int load(const char *path)
{
	int from = open(path, O_RDONLY | O_CLOEXEC), to = kho_arena_create_("reader");
	off_t at = 0, hole;
	struct stat st;
	char *bytes;

	must(from >= 0 && to >= 0 && !fstat(from, &st) && !ftruncate(to, st.st_size), path);
	bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, from, 0);
	must(!st.st_size || bytes != MAP_FAILED, path);
	while ((at = lseek(from, at, SEEK_DATA)) >= 0 && at < st.st_size) {
		hole = lseek(from, at, SEEK_HOLE);
		must(pwrite(to, bytes + at, (size_t)(hole - at), at) == hole - at, path);
		at = hole;
	}
	munmap(bytes, (size_t)st.st_size);
	close(from);
	return to;
}

static void read_one(const char *path)
{
	if (kho_arena_map_(load(path), false)) {
		printf("refused\n");
		fprintf(stderr, "%s: %s\n", path, kho_error());
	} else {
		say_names();
		say_intents();
		say_blocks();
		say_structures();
		kho_arena_unmap_();
	}
	printf("end\n");
}

int main(int argc, char **argv)
{
	return dump_main(argc, argv, make, read_one);
}
