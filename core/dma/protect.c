/* SPDX-License-Identifier: BSD-2-Clause */
/* protect: which pages are shared, and their conversion in runs. */
#include <viaduct/protect.h>

#define PAGE ((size_t)VIA_PROTECT_PAGE)
#define WORD 64u

static bool is_set(const struct via_protect *p, size_t page) { return atomic_load(&p->map[page / WORD]) >> page % WORD & 1; }

static void mark(struct via_protect *p, size_t page, size_t n, bool shared)
{
    for (size_t end = page + n; page < end; page++)
        if (shared)
            atomic_fetch_or(&p->map[page / WORD], UINT64_C(1) << page % WORD);
        else
            atomic_fetch_and(&p->map[page / WORD], ~(UINT64_C(1) << page % WORD));
}

/* Bytes of mem, as numbers of pages that hold them. */
static bool pages_of(const struct via_protect *p, const void *ptr, size_t len, size_t *first, size_t *last)
{
    if (!via_range_inside((uintptr_t)ptr, len, (uintptr_t)p->mem, (uintptr_t)p->mem + p->pages * PAGE - 1))
        return false;
    size_t at = (uintptr_t)ptr - (uintptr_t)p->mem;
    *first = at / PAGE;
    *last = (at + len - 1) / PAGE;
    return true;
}

/*
 * One run. A page is marked before it becomes shared and until it is private again: whoever looks at the map never takes a shared page for
 * a private one.
 */
static int run(struct via_protect *p, size_t page, size_t n, bool share)
{
    size_t done = 0;
    mark(p, page, share ? n : 0, true);
    int r = share ? p->ops->share(p, page, n, &done) : p->ops->unshare(p, page, n, &done);
    VIA_ASSERT(r < 0 ? done < n : true);
    p->stats.conversions++;
    if (r < 0)
        p->stats.failed++;
    else
        done = n;
    if (share && r < 0)
        mark(p, page + done + 1, n - done - 1, false);
    else if (!share)
        mark(p, page, done, false);
    *(share ? &p->stats.shared : &p->stats.unshared) += done;
    return r < 0 ? r : 0;
}

static int convert(struct via_protect *p, const void *ptr, size_t len, bool share)
{
    size_t first, last;
    if ((uintptr_t)ptr % PAGE || len % PAGE || !pages_of(p, ptr, len, &first, &last))
        return -VIA_EINVAL;
    while (first <= last) {
        size_t n = 0;
        while (first + n <= last && is_set(p, first + n) != share)
            n++;
        int r = n ? run(p, first, n, share) : 0;
        if (r < 0)
            return r;
        first += n + 1;
    }
    return 0;
}

int via_protect_share(struct via_protect *p, void *ptr, size_t len) { return convert(p, ptr, len, true); }

int via_protect_unshare(struct via_protect *p, void *ptr, size_t len) { return convert(p, ptr, len, false); }

/* Whether all of the pages are in this state. */
static bool all(const struct via_protect *p, const void *ptr, size_t len, bool shared)
{
    size_t first, last;
    if (!pages_of(p, ptr, len, &first, &last))
        return false;
    while (first <= last && is_set(p, first) == shared)
        first++;
    return first > last;
}

bool via_protect_is_shared(const struct via_protect *p, const void *ptr, size_t len) { return all(p, ptr, len, true); }

bool via_protect_is_private(const struct via_protect *p, const void *ptr, size_t len) { return all(p, ptr, len, false); }

int via_protect_init(struct via_protect *p, const struct via_protect_ops *ops, void *mem, size_t pages, bool shared, _Atomic uint64_t *map,
                     size_t words)
{
    if (!pages || (uintptr_t)mem % PAGE || pages > SIZE_MAX / PAGE || words < (pages + WORD - 1) / WORD)
        return -VIA_EINVAL;
    *p = (struct via_protect){.ops = ops, .mem = mem, .pages = pages, .map = map};
    for (size_t i = 0; i < (pages + WORD - 1) / WORD; i++)
        atomic_init(&map[i], 0);
    mark(p, 0, pages, shared);
    return 0;
}
