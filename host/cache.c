/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Named caches: lists of slabs like those of the heap's size classes, with a name.
 *
 * A cache is a record in the heap, under a named root; its slabs have the record's address in
 * their headers. So a cache is found in constant time, and its slabs, as those of the heap, when
 * they are touched or memory of them is wanted. A slab whose cache the program has not asked
 * for by name is adopted all the same: the ordinary free works on every object.
 */
#include <errno.h>
#include <kho/slab.h>
#include <string.h>

#include "heap.h"
#include "preserve.h"

/* What a root's name has room for. */
#define NAME_MAX (KHO_ABI_ROOT_NAME_MAX - (sizeof(KHO_ABI_CACHE_ROOT_PREFIX) - 1))

struct kmem_cache kho_caches_[HEAP_NR_CACHES];

static pthread_mutex_t create_lock = PTHREAD_MUTEX_INITIALIZER; /* records, roots */
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER; /* kho_caches_; inside all others */

/* Names stay, so that a cache comes back to its place: who does not ask again does not meet another. */
void kho_caches_forget_(void)
{
	pthread_mutex_lock(&table_lock);
	for (unsigned int i = 0; i < HEAP_NR_CACHES; i++)
		__atomic_store_n(&kho_caches_[i].record, 0, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&table_lock);
}

static struct kmem_cache *fail(int error)
{
	errno = error;
	return NULL;
}

/* ---- records ---- */

/* A record is an object of the heap that is live. Return: NULL: not one; kho_error() says why. */
static const struct kho_abi_cache *record_at(kho_pa_t pa)
{
	const struct kho_abi_cache *record = kho_phys_to_virt(pa);
	struct khoc_report report = {.fault = KHO_E_RANGE,
				     .structure = KHOC_S_CACHE,
				     .level = -1,
				     .addr = pa,
				     .value = pa,
				     .limit = kho_file_size_(),
				     .field = "address"};
	const unsigned char *state = NULL;

	if (pa >= kho_arena_.header->data_pa && pa <= kho_file_size_() - sizeof(*record))
		state = kho_slab_state_of_(record);
	if (state && *state == KHO_ABI_OBJECT_LIVE) {
		report.fault = 0;
		if (!khoc_cache_check(record, KHO_PAGE_SHIFT, pa, &report))
			return record;
	}
	kho_fail_report_(&report);
	return NULL;
}

/* Under table_lock. */
static struct kmem_cache *find_open(kho_pa_t pa)
{
	for (unsigned int i = 0; i < HEAP_NR_CACHES; i++)
		if (kho_caches_[i].record == pa)
			return &kho_caches_[i];
	return NULL;
}

/* Under table_lock: where a cache of this name was, else where none was yet, else where none is. */
static struct kmem_cache *find_place(const char *name)
{
	struct kmem_cache *unused = NULL;

	for (unsigned int i = 0; i < HEAP_NR_CACHES; i++) {
		struct kmem_cache *cache = &kho_caches_[i];

		if (cache->record)
			continue;
		if (!strcmp(cache->name, name))
			return cache;
		if (!unused || (unused->name[0] && !cache->name[0]))
			unused = cache;
	}
	return unused;
}

/* Return: the cache of a sound record, which is open from now on; NULL: too many are. */
static struct kmem_cache *open_record(const struct kho_abi_cache *record)
{
	kho_pa_t pa = kho_virt_to_phys(record);
	struct kmem_cache *cache;

	pthread_mutex_lock(&table_lock);
	cache = find_open(pa);
	if (!cache) {
		cache = find_place(record->name);
		if (cache) {
			cache->size = record->size;
			cache->align = record->align;
			cache->object_size = record->object_size;
			cache->flags = record->flags;
			cache->ctor = NULL;
			memcpy(cache->name, record->name, sizeof(cache->name));
			__atomic_store_n(&cache->record, pa, __ATOMIC_RELEASE);
		}
	}
	pthread_mutex_unlock(&table_lock);
	if (!cache)
		kho_fail_(-ENOSPC, "cache \"%s\": more than %u caches in use", record->name,
			  HEAP_NR_CACHES);
	return cache;
}

static int cache_class(const struct kmem_cache *cache)
{
	return HEAP_NR_CLASSES + (int)(cache - kho_caches_);
}

int kho_cache_class_(const struct kho_abi_slab *header)
{
	const struct kho_abi_cache *record;
	struct kmem_cache *cache;

	pthread_mutex_lock(&table_lock);
	cache = find_open(header->cache);
	pthread_mutex_unlock(&table_lock);
	if (!cache) {
		record = record_at(header->cache);
		cache = record ? open_record(record) : NULL;
	}
	if (!cache)
		return -1;
	if (header->object_size == cache->object_size && header->flags == cache->flags)
		return cache_class(cache);
	kho_fail_report_(&(struct khoc_report){
		.fault = KHO_E_FORMAT,
		.structure = KHOC_S_SLAB,
		.level = -1,
		.addr = kho_virt_to_phys(header),
		.value = header->object_size,
		.limit = cache->object_size,
		.field = "object_size",
	});
	return -1;
}

/* ---- making and finding ---- */

static void root_name(char *to, const char *name)
{
	memcpy(to, KHO_ABI_CACHE_ROOT_PREFIX, sizeof(KHO_ABI_CACHE_ROOT_PREFIX));
	strcat(to, name);
}

/* Publish a new record in an empty root. */
static const struct kho_abi_cache *make_record(void **slot, const char *name, __u32 size,
					       __u32 align, __u32 flags)
{
	struct kho_abi_cache *record = kho_malloc(sizeof(*record));

	if (!record)
		return NULL;
	khoc_cache_init(record, KHO_PAGE_SHIFT, kho_virt_to_phys(record), name, size, align, flags);
	if (!kho_publish(slot, record, NULL))
		return record;
	kho_free(record);
	errno = ENOMEM;
	return NULL;
}

static struct kmem_cache *check_same(struct kmem_cache *cache, const char *name, __u32 size,
				     __u32 align, __u32 flags)
{
	if (cache->size == size && cache->align == align && cache->flags == flags &&
	    !strcmp(cache->name, name))
		return cache;
	kho_fail_(
		-EPROTOTYPE,
		"cache \"%s\": is of \"%s\", %u bytes, alignment %u, flags %#x; asked for with %u, "
		"%u, %#x",
		name, cache->name, cache->size, cache->align, cache->flags, size, align, flags);
	return fail(EPROTOTYPE);
}

/* Under create_lock. */
static struct kmem_cache *find_or_make(const char *name, __u32 size, __u32 align, __u32 flags)
{
	const struct kho_abi_cache *record;
	struct kmem_cache *cache;
	char root[KHO_ABI_ROOT_NAME_MAX + 1];
	void **slot;

	root_name(root, name);
	slot = kho_root(root, KHO_ABI_CACHE_ROOT_TYPE, KHO_ABI_CACHE_ROOT_VERSION);
	if (!slot)
		return NULL;
	if (*slot) {
		record = record_at(kho_virt_to_phys(*slot));
		if (!record)
			return fail(EPROTO);
	} else {
		record = make_record(slot, name, size, align, flags);
		if (!record)
			return NULL;
	}
	cache = open_record(record);
	return cache ? check_same(cache, name, size, align, flags) : fail(ENOSPC);
}

struct kmem_cache *kho_kmem_cache_create(const char *name, size_t size, size_t align,
					 unsigned int flags, void (*ctor)(void *object))
{
	struct kmem_cache *cache;

	if (!kho_may_write_())
		return NULL;
	align = align ?: 1;
	if (!name || !khoc_cache_name_ok(name, NAME_MAX) || flags & ~KHO_CACHE_SINGLE ||
	    size > KHO_ABI_SLAB_OBJECT_MAX || align > KHO_PAGE_SIZE ||
	    !khoc_cache_object_size(KHO_PAGE_SHIFT, (__u32)size, (__u32)align)) {
		kho_fail_(-EINVAL,
			  "cache \"%.64s\": %zu bytes, alignment %zu, flags %#x: cannot be had "
			  "(name of "
			  "1 to %zu letters, digits, \"._+-\"; size up to %d)",
			  name ?: "", size, align, flags, NAME_MAX, KHO_ABI_SLAB_OBJECT_MAX);
		return fail(EINVAL);
	}
	pthread_mutex_lock(&create_lock);
	cache = find_or_make(name, (__u32)size, (__u32)align, flags);
	if (cache)
		__atomic_store_n(&cache->ctor, ctor, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&create_lock);
	return cache;
}

/* Does it still stand for a cache? Return: 0, or negative. */
static int check_open(const struct kmem_cache *cache)
{
	if (kho_writer_error_())
		return kho_writer_error_();
	if (cache && __atomic_load_n(&cache->record, __ATOMIC_RELAXED))
		return 0;
	return kho_fail_(-EINVAL, "%p: not a cache, or not any more: ask for it by name",
			 (const void *)cache);
}

int kho_kmem_cache_destroy(struct kmem_cache *cache)
{
	char root[KHO_ABI_ROOT_NAME_MAX + 1];
	void **slot;
	int rc;

	pthread_mutex_lock(&create_lock);
	rc = check_open(cache);
	if (!rc) {
		root_name(root, cache->name);
		slot = kho_root(root, KHO_ABI_CACHE_ROOT_TYPE, KHO_ABI_CACHE_ROOT_VERSION);
		rc = slot ? kho_heap_drop_class_((unsigned int)cache_class(cache), cache->record)
			  : -errno;
		if (rc == -EBUSY)
			kho_fail_(rc, "cache \"%s\": objects are in use", cache->name);
		rc = rc ?: kho_publish(slot, NULL, kho_phys_to_virt(cache->record));
		rc = rc ?: kho_root_remove(root);
	}
	if (!rc) {
		pthread_mutex_lock(&table_lock);
		memset(cache, 0, sizeof(*cache));
		pthread_mutex_unlock(&table_lock);
	}
	pthread_mutex_unlock(&create_lock);
	return rc;
}

size_t kho_kmem_cache_size(const struct kmem_cache *cache)
{
	return cache->size;
}

const char *kho_kmem_cache_name(const struct kmem_cache *cache)
{
	return cache->name;
}

/* ---- objects ---- */

void *kho_kmem_cache_alloc(struct kmem_cache *cache)
{
	void (*ctor)(void *);
	struct heap *heap;
	struct slab *slab;
	void *object;
	int rc;

	if (__builtin_expect(!kho_arena_.writer || !cache || !cache->record, 0)) {
		rc = check_open(cache);
		errno = -rc;
		return NULL;
	}
	heap = kho_heap_get_();
	if (!heap)
		return NULL;
	slab = heap->current[cache_class(cache)];
	object = slab->free;
	if (__builtin_expect(!!object, 1)) {
		slab->free = *(void **)object;
		slab->used++;
	} else {
		object = kho_heap_alloc_slow_(heap, (unsigned int)cache_class(cache));
	}
	ctor = __atomic_load_n(&cache->ctor, __ATOMIC_ACQUIRE);
	if (object && ctor)
		ctor(object);
	return object;
}

/* In no slab, or in one that is damaged: then kho_error() says so already. */
static int not_in_slab(const void *object)
{
	struct khoc_block block;
	unsigned int type, order;

	if (kho_virt_to_phys(object) &&
	    khoc_radix_lookup(&kho_arena_.tree, kho_virt_to_phys(object), &block) &&
	    !kho_block_desc_(block.pa, &type, &order) && type == KHO_ABI_DESC_SLAB)
		return -KHO_E_FORMAT;
	return kho_fail_(-EINVAL, "%p: not an object of a slab", object);
}

/* The slab and index of an object. Return: 0, -EINVAL, -KHO_E_FORMAT. */
static int find_object(const void *object, struct slab **slab, long *index)
{
	if (kho_writer_error_())
		return kho_writer_error_();
	*slab = kho_slab_of_(object);
	if (!*slab)
		return not_in_slab(object);
	*index = kho_slab_index_(*slab, object);
	return *index >= 0 ? 0 : kho_fail_(-EINVAL, "%p: not the start of an object", object);
}

static struct kmem_cache *slab_cache(const struct slab *slab)
{
	return slab->class < HEAP_NR_CLASSES ? NULL : kho_class_cache_(slab->class);
}

struct kmem_cache *kho_kmem_cache_of(const void *object)
{
	struct slab *slab;
	long index;

	return find_object(object, &slab, &index) ? NULL : slab_cache(slab);
}

static int check_cache(const struct kmem_cache *cache, const struct slab *slab, const void *object)
{
	const struct kmem_cache *is = slab_cache(slab);

	if (is == cache)
		return 0;
	return kho_fail_(-EINVAL, "%p: an object of %s%s, not of cache \"%s\"", object,
			 is ? "cache " : "the heap", is ? is->name : "", cache->name);
}

int kho_kmem_cache_free(struct kmem_cache *cache, void *object)
{
	struct slab *slab;
	long index;
	int rc = check_open(cache) ?: find_object(object, &slab, &index);

	rc = rc ?: check_cache(cache, slab, object);
	if (rc)
		return rc;
	errno = 0;
	kho_free(object);
	return slab->single ? -errno : 0;
}

struct visit {
	int (*fn)(void *ctx, void *object, bool restored);
	void *ctx;
};

static int visit_slab(void *ctx, struct slab *slab)
{
	struct visit *visit = ctx;
	__u32 left = 0;
	int rc = 0;

	for (__u32 i = 0; i < slab->nr; i++)
		left += kho_slab_state_(slab, i) == KHO_ABI_OBJECT_LIVE;
	/* When @fn has freed the last one the slab may be gone. */
	for (__u32 i = 0; !rc && left && i < slab->nr; i++) {
		if (kho_slab_state_(slab, i) != KHO_ABI_OBJECT_LIVE)
			continue;
		left--;
		rc = visit->fn(visit->ctx, slab->objects + (size_t)i * slab->size,
			       !slab->single || slab->restored[i]);
	}
	return rc;
}

int kho_kmem_cache_for_each(struct kmem_cache *cache,
			    int (*fn)(void *ctx, void *object, bool restored), void *ctx)
{
	struct visit visit = {fn, ctx};
	int rc = check_open(cache);

	return rc ?: kho_slabs_of_cache_(cache->record, visit_slab, &visit);
}

/* ---- preserved one by one ---- */

static int find_single(const void *object, struct slab **slab, long *index)
{
	int rc;

	*slab = NULL;
	rc = find_object(object, slab, index);
	if (*slab ? (*slab)->single : rc != -EINVAL)
		return rc;
	return kho_fail_(
		-KHO_E_TYPE,
		"%p: not an object of a single-object cache: what else is in its slab would "
		"go along (KHO_CACHE_SINGLE)",
		object);
}

int kho_slab_preserve(void *object)
{
	struct slab *slab;
	long index;
	int rc = find_single(object, &slab, &index);

	if (rc)
		return rc;
	switch (kho_slab_state_(slab, index)) {
	case KHO_ABI_OBJECT_RESERVED:
		__atomic_store_n(&slab->restored[index], 1, __ATOMIC_RELAXED);
		heap_barrier();
		kho_slab_set_state_(slab, index, KHO_ABI_OBJECT_LIVE);
		return 0;
	case KHO_ABI_OBJECT_LIVE:
		return kho_fail_(-EALREADY, "%p: preserved already", object);
	default:
		return kho_fail_(-EINVAL, "%p: an object that is not in use", object);
	}
}

int kho_slab_unpreserve(void *object)
{
	struct slab *slab;
	long index;
	int rc = find_single(object, &slab, &index);

	if (rc)
		return rc;
	if (kho_slab_state_(slab, index) != KHO_ABI_OBJECT_LIVE)
		return kho_fail_(-KHO_E_NOT_PRESERVED, "%p: not preserved", object);
	if (!__atomic_load_n(&slab->restored[index], __ATOMIC_RELAXED))
		return kho_fail_(-EINVAL, "%p: came in and was not restored", object);
	kho_slab_set_state_(slab, index, KHO_ABI_OBJECT_RESERVED);
	return 0;
}

static int restore(struct kmem_cache *cache, kho_pa_t phys)
{
	void *object = kho_phys_to_virt(phys);
	struct slab *slab;
	long index;
	int rc = find_single(object, &slab, &index);

	if (!rc && cache)
		rc = check_open(cache) ?: check_cache(cache, slab, object);
	if (rc)
		return rc;
	if (kho_slab_state_(slab, index) != KHO_ABI_OBJECT_LIVE)
		return kho_fail_(-KHO_E_NOT_PRESERVED, "object at %#llx: never preserved",
				 (unsigned long long)phys);
	if (__atomic_exchange_n(&slab->restored[index], 1, __ATOMIC_RELAXED))
		return kho_fail_(-KHO_E_CLAIMED,
				 "object at %#llx: restored, or preserved, in this program before",
				 (unsigned long long)phys);
	return 0;
}

static void *restored(int rc, kho_pa_t phys)
{
	if (!rc)
		return kho_phys_to_virt(phys);
	errno = rc == -EOWNERDEAD || rc == -EPERM ? -rc : EINVAL;
	return NULL;
}

void *kho_slab_restore(kho_pa_t phys)
{
	return restored(restore(NULL, phys), phys);
}

void *kho_kmem_cache_restore(struct kmem_cache *cache, kho_pa_t phys)
{
	return restored(restore(cache, phys), phys);
}
