/* SPDX-License-Identifier: BSD-2-Clause */
/* protect: which pages are shared, and their conversion in runs. */
#include <string.h>

#include <viaduct/protect.h>

#define PAGE ((size_t)VIA_PROTECT_PAGE)
#define WORD 64u

enum may { PRIVATE, SHARED };

static _Atomic uint64_t *word_of(const struct via_protect *p, size_t page, enum may may) { return &p->map[page / WORD * 2 + may]; }

static bool may_be(const struct via_protect *p, size_t page, enum may may) { return atomic_load(word_of(p, page, may)) >> page % WORD & 1; }

static void mark(const struct via_protect *p, size_t page, size_t n, enum may may, bool on)
{
    while (n) {
        size_t bit = page % WORD, k = via_min64(n, WORD - bit);
        uint64_t mask = (UINT64_MAX >> (WORD - k)) << bit;
        if (on)
            atomic_fetch_or(word_of(p, page, may), mask);
        else
            atomic_fetch_and(word_of(p, page, may), ~mask);
        page += k;
        n -= k;
    }
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
 * One run of pages that are alike. Before the platform is called they may be in the new state, too, and they may be in the old one until it
 * has returned: whoever looks meanwhile finds them in doubt, and takes them for neither.
 */
static int run(struct via_protect *p, size_t page, size_t n, enum may to)
{
    bool in_doubt = may_be(p, page, to);
    size_t done = 0;
    mark(p, page, n, to, true);
    int r = to == SHARED ? p->ops->share(p, page, n, &done) : p->ops->unshare(p, page, n, &done);
    VIA_ASSERT(r < 0 ? done < n : true);
    p->stats.conversions++;
    if (r < 0) {
        p->stats.failed++;
        mark(p, page + done + 1, in_doubt ? 0 : n - done - 1, to, false);
    } else {
        done = n;
    }
    mark(p, page, done, !to, false);
    *(to == SHARED ? &p->stats.shared : &p->stats.unshared) += done;
    return r < 0 ? r : 0;
}

/* The same run, its content kept. It is put back whatever became of the pages: who has them now was to have it, or had it already. */
static int run_keep(struct via_protect *p, size_t page, size_t n, enum may to, void *scratch)
{
    uint8_t *at = p->mem + page * PAGE;
    via_shm_read(scratch, at, n * PAGE);
    if (to == PRIVATE) /* what stays with the host may be what the pages held last */
        via_shm_zero(at, n * PAGE);
    int r = run(p, page, n, to);
    via_shm_write(at, scratch, n * PAGE);
    via_shm_zero(scratch, n * PAGE);
    return r;
}

/* The length, at most max, of a run from `first` on that is to be converted and whose pages are alike; 0: that one needn't be. */
static size_t run_from(const struct via_protect *p, size_t first, size_t last, enum may to, size_t max)
{
    size_t n = 0;
    while (n < max && first + n <= last && may_be(p, first + n, !to) && may_be(p, first + n, to) == may_be(p, first, to))
        n++;
    return n;
}

static int convert(struct via_protect *p, const void *ptr, size_t len, enum may to, const struct via_span *scratch)
{
    size_t first, last, max = scratch ? scratch->len / PAGE : SIZE_MAX;
    if ((uintptr_t)ptr % PAGE || len % PAGE || !pages_of(p, ptr, len, &first, &last) || !max)
        return -VIA_EINVAL;
    while (first <= last) {
        size_t n = run_from(p, first, last, to, max);
        int r = !n ? 0 : scratch ? run_keep(p, first, n, to, scratch->ptr) : run(p, first, n, to);
        if (r < 0)
            return r;
        first += n ? n : 1;
    }
    return 0;
}

int via_protect_share(struct via_protect *p, void *ptr, size_t len) { return convert(p, ptr, len, SHARED, NULL); }

int via_protect_unshare(struct via_protect *p, void *ptr, size_t len) { return convert(p, ptr, len, PRIVATE, NULL); }

int via_protect_share_keep(struct via_protect *p, void *ptr, size_t len, struct via_span scratch)
{
    return convert(p, ptr, len, SHARED, &scratch);
}

int via_protect_unshare_keep(struct via_protect *p, void *ptr, size_t len, struct via_span scratch)
{
    return convert(p, ptr, len, PRIVATE, &scratch);
}

/* None of the pages may be in that state. */
static bool none(const struct via_protect *p, const void *ptr, size_t len, enum may may)
{
    size_t first, last;
    if (!pages_of(p, ptr, len, &first, &last))
        return false;
    while (first <= last && !may_be(p, first, may))
        first++;
    return first > last;
}

bool via_protect_is_shared(const struct via_protect *p, const void *ptr, size_t len) { return none(p, ptr, len, PRIVATE); }

bool via_protect_is_private(const struct via_protect *p, const void *ptr, size_t len) { return none(p, ptr, len, SHARED); }

int via_protect_init(struct via_protect *p, const struct via_protect_ops *ops, void *mem, size_t pages, bool shared, _Atomic uint64_t *map,
                     size_t words)
{
    if (!pages || (uintptr_t)mem % PAGE || pages > SIZE_MAX / PAGE || words < VIA_PROTECT_WORDS(pages))
        return -VIA_EINVAL;
    *p = (struct via_protect){.ops = ops, .mem = mem, .pages = pages, .map = map};
    for (size_t i = 0; i < VIA_PROTECT_WORDS(pages); i++)
        atomic_init(&map[i], 0);
    mark(p, 0, pages, shared ? SHARED : PRIVATE, true);
    return 0;
}
