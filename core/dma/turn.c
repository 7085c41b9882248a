/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * turn: pages change sides while requests are in flight. What protect and a page's word in `lease` say together:
 *
 *     lasting             shared, and the device's for good
 *     leased              shared: a request of the open way uses it; only while the goal is open, or from before it was secure
 *     in doubt            a conversion failed there. Nothing is mapped there the open way before another one succeeds
 *     shared, private     to be carried, if the goal is the other
 */
#include <viaduct/turn.h>

#define PAGE ((size_t)VIA_PROTECT_PAGE)
#define GROUP 64u /* pages that are looked at at once */
#define LASTING (1u << 31)
#define USES (LASTING - 1)
#define WENT_CLOSED 0x8000u /* in via_mapping.way; the lower bits are those of the way it went */

static uint8_t *at(const struct via_turn *t, size_t page) { return t->protect->mem + page * PAGE; }

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

/* ------------------------------------------------------------------ what is to be done */

/* All of these pages are as the goal has them. */
static bool settled(const struct via_turn *t, size_t page, size_t n)
{
    return t->secure ? via_protect_is_private(t->protect, at(t, page), n * PAGE) : via_protect_is_shared(t->protect, at(t, page), n * PAGE);
}

static bool is_due(const struct via_turn *t, size_t page) { return !t->lease[page] && !settled(t, page, 1); }

static size_t count_left(const struct via_turn *t)
{
    size_t left = 0;
    for (size_t page = 0; page < t->protect->pages; page++)
        left += !(t->lease[page] & LASTING) && !settled(t, page, 1);
    return left;
}

static void look_again(struct via_turn *t, size_t page) { t->again = min_size(t->again, page); }

/* Pages changed otherwise than by being carried. */
static void recount(struct via_turn *t)
{
    t->left = count_left(t);
    t->open = !t->secure && !t->left;
}

/* The next pages to be carried at once, n at most. 0: none up to the end. */
static size_t find(struct via_turn *t, size_t n, size_t *first)
{
    size_t pages = t->protect->pages, run = 0;
    while (t->next < pages && !is_due(t, t->next)) {
        size_t group = min_size(GROUP, pages - t->next);
        t->next += t->next % GROUP == 0 && settled(t, t->next, group) ? group : 1;
    }
    *first = t->next;
    n = min_size(n, t->scratch.len / PAGE); /* one call of the platform: where it fails, others are not left out */
    while (run < n && t->next < pages && is_due(t, t->next)) {
        run++;
        t->next++;
    }
    return run;
}

/* ------------------------------------------------------------------ conversion */

/* Content is kept whatever becomes of the pages. */
static void carry(struct via_turn *t, size_t page, size_t n)
{
    int r = t->secure ? via_protect_unshare_keep(t->protect, at(t, page), n * PAGE, t->scratch)
                      : via_protect_share_keep(t->protect, at(t, page), n * PAGE, t->scratch);
    if (r < 0) {
        t->stats.failed++;
        t->stats.error = r;
    }
    for (size_t i = page; i < page + n; i++)
        if (settled(t, i, 1)) {
            t->left--;
            *(t->secure ? &t->stats.secured : &t->stats.opened) += 1;
        } else {
            look_again(t, i);
        }
}

size_t via_turn_step(struct via_turn *t, size_t n)
{
    size_t pages = t->protect->pages, page, run;
    if (t->next == pages) {
        t->next = t->again;
        t->again = pages;
    }
    while (n && t->left && (run = find(t, n, &page))) {
        carry(t, page, run);
        n -= run;
    }
    t->open = !t->secure && !t->left;
    return t->left;
}

void via_turn_begin(struct via_turn *t, bool secure)
{
    t->secure = secure;
    t->next = 0;
    t->stats.begun++;
    t->stats.leased = 0;
    for (size_t page = 0; page < t->protect->pages; page++)
        t->stats.leased += !(t->lease[page] & LASTING) && t->lease[page];
    recount(t);
}

/* ------------------------------------------------------------------ lasting pages */

static bool whole_pages(const struct via_turn *t, const void *ptr, size_t len, size_t *first, size_t *n)
{
    uintptr_t mem = (uintptr_t)t->protect->mem;
    if ((uintptr_t)ptr % PAGE || len % PAGE || !via_range_inside((uintptr_t)ptr, len, mem, mem + t->protect->pages * PAGE - 1))
        return false;
    *first = ((uintptr_t)ptr - mem) / PAGE;
    *n = len / PAGE;
    return true;
}

int via_turn_keep(struct via_turn *t, void *ptr, size_t len)
{
    size_t first, n;
    if (!whole_pages(t, ptr, len, &first, &n))
        return -VIA_EINVAL;
    if (!via_protect_is_shared(t->protect, ptr, len))
        return -VIA_EINVAL;
    for (size_t i = 0; i < n; i++)
        t->lease[first + i] |= LASTING;
    recount(t);
    return 0;
}

int via_turn_release(struct via_turn *t, void *ptr, size_t len)
{
    size_t first, n;
    if (!whole_pages(t, ptr, len, &first, &n))
        return -VIA_EINVAL;
    for (size_t i = 0; i < n; i++)
        if (!(t->lease[first + i] & LASTING))
            return -VIA_EINVAL;
    for (size_t i = 0; i < n; i++)
        t->lease[first + i] &= ~LASTING;
    look_again(t, first);
    recount(t);
    return 0;
}

int via_turn_init(struct via_turn *t, struct via_protect *p, uint32_t *lease, size_t words, void *scratch, size_t scratch_len)
{
    uintptr_t mem = (uintptr_t)p->mem, from = (uintptr_t)scratch;
    size_t len = p->pages * PAGE;
    if (words < p->pages || scratch_len < PAGE || (from >= mem ? from - mem < len : mem - from < scratch_len))
        return -VIA_EINVAL;
    *t = (struct via_turn){.protect = p, .lease = lease, .scratch = {scratch, scratch_len}, .again = p->pages};
    t->secure = !via_protect_is_shared(p, p->mem, len);
    recount(t);
    return 0;
}

/* ------------------------------------------------------------------ dma */

/* A buffer's pages that are protect's: a buffer may lie elsewhere, or begin or end there. */
static size_t pages_of(const struct via_turn *t, const struct via_span *buf, size_t *first)
{
    uintptr_t mem = (uintptr_t)t->protect->mem, end = mem + t->protect->pages * PAGE, from = (uintptr_t)buf->ptr;
    if (!buf->len || from >= end || (from < mem && buf->len <= mem - from))
        return 0;
    uintptr_t to = buf->len < end - from ? from + buf->len : end;
    *first = from > mem ? (from - mem) / PAGE : 0;
    return (to - 1 - mem) / PAGE + 1 - *first;
}

static bool all_shared(const struct via_turn *t, const struct via_span *buf, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        size_t first = 0;
        for (size_t k = pages_of(t, &buf[i], &first); k--;)
            if (!via_protect_is_shared(t->protect, at(t, first + k), PAGE))
                return false;
    }
    return true;
}

static void lease(struct via_turn *t, const struct via_span *buf, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        size_t first = 0;
        for (size_t k = pages_of(t, &buf[i], &first); k--;) {
            VIA_ASSERT((t->lease[first + k] & USES) != USES);
            t->lease[first + k]++;
        }
    }
}

static void end_lease(struct via_turn *t, const struct via_span *buf, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        size_t first = 0;
        for (size_t k = pages_of(t, &buf[i], &first); k--;) {
            VIA_ASSERT(t->lease[first + k] & USES);
            if (!(--t->lease[first + k] & USES))
                look_again(t, first + k);
        }
    }
}

static int turn_map(struct via_dma *dma, const struct via_span *buf, unsigned out, unsigned in, struct via_mapping *m)
{
    struct via_turn_dma *d = via_container_of(dma, struct via_turn_dma, dma);
    struct via_turn *t = d->turn;
    unsigned way = t->open ? VIA_TURN_OPEN : VIA_TURN_CLOSED;
    if (t->open && !all_shared(t, buf, out + in))
        return -VIA_ERANGE;
    m->way = 0; /* a way that needs none leaves it alone */
    int r = via_dma_map(d->way[way], buf, out, in, m);
    if (r < 0)
        return r;
    if (m->way & WENT_CLOSED) {
        via_dma_unmap(d->way[way], m, 0);
        return -VIA_ENOTSUP;
    }
    if (t->open)
        lease(t, buf, out + in);
    else
        m->way |= WENT_CLOSED;
    t->maps[way]++;
    return r;
}

/* The way that it went, which finds its own m->way there. */
static unsigned way_of(struct via_mapping *m)
{
    unsigned way = m->way & WENT_CLOSED ? VIA_TURN_CLOSED : VIA_TURN_OPEN;
    m->way &= (uint16_t)~WENT_CLOSED;
    return way;
}

static void turn_unmap(struct via_dma *dma, struct via_mapping *m, uint32_t written)
{
    struct via_turn_dma *d = via_container_of(dma, struct via_turn_dma, dma);
    unsigned way = way_of(m), n = (unsigned)m->buf_out + m->buf_in;
    const struct via_span *buf = m->buf;
    via_dma_unmap(d->way[way], m, written);
    if (way == VIA_TURN_OPEN)
        end_lease(d->turn, buf, n);
    d->turn->maps[way]--;
}

static int turn_sync(struct via_dma *dma, struct via_mapping *m, enum via_owner to, uint32_t written)
{
    struct via_turn_dma *d = via_container_of(dma, struct via_turn_dma, dma);
    unsigned way = way_of(m);
    int r = via_dma_sync(d->way[way], m, to, written);
    m->way |= way == VIA_TURN_CLOSED ? WENT_CLOSED : 0;
    return r;
}

static const struct via_dma_ops turn_ops = {"turn", turn_map, turn_unmap, turn_sync};

void via_turn_dma_init(struct via_turn_dma *d, struct via_turn *t, struct via_dma *open, struct via_dma *closed)
{
    *d = (struct via_turn_dma){.dma = {&turn_ops, open}, .turn = t, .way = {open, closed}};
}
