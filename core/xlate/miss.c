/* SPDX-License-Identifier: BSD-2-Clause */
/* Pages that requests wait for: found by a hash, asked for in the order in which they came. */
#include <string.h>

#include <viaduct/xlate.h>

#define NONE UINT32_MAX

enum state { FREE, FRESH, ASKED, REFUSED }; /* FRESH: in the queue */

static uint64_t page_of(uint64_t addr) { return addr & ~(uint64_t)(VIA_MISS_PAGE - 1); }
static bool pending(const struct via_miss *e) { return e->state == FRESH || e->state == ASKED; }
static uint32_t number(const struct via_misses *m, const struct via_miss *e) { return (uint32_t)(e - m->slot); }

/* Pages times the golden ratio. Who chooses addresses can make chains long, but never longer than the capacity. */
static uint32_t *chain_of(const struct via_misses *m, uint64_t page)
{
    uint64_t h = page / VIA_MISS_PAGE * 0x9e3779b97f4a7c15u;
    return &m->bucket[(h >> 32) & (m->capacity - 1)];
}

static struct via_miss *find(const struct via_misses *m, uint64_t page)
{
    for (uint32_t k = *chain_of(m, page); k != NONE; k = m->slot[k].next)
        if (m->slot[k].page == page)
            return &m->slot[k];
    return NULL;
}

/*
 * Were these rights, or some of them, refused to who came then? His pages may have been mapped after an older question was answered: a no
 * to that is not for him, and he asks anew. One to a question that was asked after he came is. A page has one question out at a time: so an
 * old one costs him one more, and a front-end that always says no still ends everybody.
 */
static bool barred(const struct via_miss *e, unsigned perm, uint64_t since)
{
    for (unsigned p = 1; p <= perm; p++)
        if ((p & perm) == p && e->no[p] > since)
            return true;
    return false;
}
/* To anybody. */
static bool denied(const struct via_miss *e, unsigned perm) { return barred(e, perm, 0); }

/* ------------------------------------------------------------------ storage */

size_t via_misses_bytes(unsigned capacity) { return (size_t)capacity * (sizeof(struct via_miss) + sizeof(uint32_t)); }

void via_misses_clear(struct via_misses *m)
{
    m->n = m->fresh = m->refused = 0;
    m->denied = false;
    m->free = 0;
    m->first = m->last = NONE;
    m->changes++;
    for (uint32_t k = 0; k < m->capacity; k++) {
        m->slot[k] = (struct via_miss){.next = k + 1 < m->capacity ? k + 1 : NONE};
        m->bucket[k] = NONE;
    }
}

int via_misses_init(struct via_misses *m, unsigned capacity, void *storage)
{
    if (!via_is_pow2(capacity) || capacity > VIA_MISSES_MAX)
        return -VIA_EINVAL;
    *m = (struct via_misses){.capacity = capacity, .slot = storage};
    m->bucket = (uint32_t *)(void *)(m->slot + capacity);
    via_misses_clear(m);
    return 0;
}

/* ------------------------------------------------------------------ the queue of pages to ask for */

static void enqueue(struct via_misses *m, struct via_miss *e, unsigned perm)
{
    uint32_t k = number(m, e);
    e->state = FRESH;
    e->perm = (uint8_t)perm;
    e->more = 0;
    e->before = m->last;
    e->after = NONE;
    *(m->last != NONE ? &m->slot[m->last].after : &m->first) = k;
    m->last = k;
    m->fresh++;
}

static void dequeue(struct via_misses *m, struct via_miss *e)
{
    *(e->before != NONE ? &m->slot[e->before].after : &m->first) = e->after;
    *(e->after != NONE ? &m->slot[e->after].before : &m->last) = e->before;
    m->fresh--;
}

/* ------------------------------------------------------------------ pages come and go */

static struct via_miss *add(struct via_misses *m, uint64_t page)
{
    uint32_t k = m->free, *chain = chain_of(m, page);
    if (k == NONE) {
        m->full++;
        return NULL;
    }
    m->free = m->slot[k].next;
    m->slot[k] = (struct via_miss){.page = page, .next = *chain};
    *chain = k;
    m->n++;
    m->total++;
    return &m->slot[k];
}

static void drop(struct via_misses *m, struct via_miss *e)
{
    uint32_t k = number(m, e), *link = chain_of(m, e->page);
    while (*link != k)
        link = &m->slot[*link].next;
    *link = e->next;
    if (e->state == FRESH)
        dequeue(m, e);
    m->refused -= e->state == REFUSED;
    m->n--;
    *e = (struct via_miss){.next = m->free};
    m->free = k;
    m->changes++;
}

/* The page was asked for, and the answer is no. Who needs other rights of it has to be asked for yet. */
static void refuse(struct via_misses *m, struct via_miss *e, unsigned perm)
{
    if (e->no[perm] < e->question)
        e->no[perm] = e->question;
    m->denied = true;
    m->changes++;
    if (e->more && !denied(e, e->more)) {
        enqueue(m, e, e->more);
        return;
    }
    e->state = REFUSED;
    m->refused++;
}

/* Rights to ask for next: all that are wanted, unless no such answer can come. */
static unsigned next_perm(const struct via_miss *e, unsigned more) { return denied(e, e->perm | more) ? more : e->perm | more; }

/* Rights for a page came. */
static void answer(struct via_misses *m, struct via_miss *e, unsigned perm)
{
    unsigned lacks = e->perm & ~perm, more = e->more & ~perm;
    if (!perm) {
        e->no[VIA_PERM_R] = e->no[VIA_PERM_W] = UINT64_MAX; /* whenever they came */
        m->denied = true;
        if (e->state == FRESH)
            dequeue(m, e);
        if (pending(e))
            refuse(m, e, e->perm);
    } else if (e->state == ASKED && lacks)
        refuse(m, e, lacks);
    else if (e->state == ASKED && more)
        enqueue(m, e, next_perm(e, more));
    else if (!lacks) /* what was not asked for yet, or is refused, stays so without them */
        drop(m, e);
}

/*
 * Somebody needs these rights of a page. lacks: there is a translation with other rights, which the answer replaces; so it is asked for
 * with all, lest those who need the others ask for these again. -VIA_EAGAIN: it is pending. -VIA_EFAULT: refused. -VIA_ENOSPC: no room.
 */
static int want(struct via_misses *m, uint64_t page, unsigned perm, uint64_t since, bool lacks)
{
    struct via_miss *e = find(m, page);
    if (!e)
        e = add(m, page);
    if (!e)
        return -VIA_ENOSPC;
    if (barred(e, perm, since))
        return -VIA_EFAULT;
    if (lacks && !barred(e, VIA_PERM_R | VIA_PERM_W, since))
        perm = VIA_PERM_R | VIA_PERM_W;
    unsigned need = e->perm | perm;
    if (!pending(e)) {
        m->refused -= e->state == REFUSED;
        enqueue(m, e, perm);
    } else if (e->state == FRESH && !denied(e, need)) {
        e->perm = (uint8_t)need;
    } else { /* another question while one is out would make it unclear which of them an answer is for */
        e->more = (uint8_t)(e->more | (perm & ~e->perm));
    }
    return -VIA_EAGAIN;
}

/* ------------------------------------------------------------------ who waits */

int via_misses_collect(struct via_misses *m, struct via_xlate *x, const struct via_seg *seg, unsigned n, unsigned perm, uint64_t since,
                       via_iova *addr)
{
    int result = 0;
    for (unsigned i = 0; i < n; i++) {
        uint64_t at = seg[i].addr.v, left = seg[i].len, step;
        if (left && left - 1 > UINT64_MAX - at) {
            *addr = seg[i].addr;
            return -VIA_EFAULT;
        }
        for (; left; at += step, left -= step) {
            struct via_span span;
            int rc = via_xlate_resolve(x, (via_iova){at}, left, perm, &span);
            if (rc == 0) {
                step = span.len;
                continue;
            }
            uint64_t page = page_of(at);
            step = via_min64(left, VIA_MISS_PAGE - (at - page));
            rc = want(m, page, perm, since, rc == -VIA_EFAULT);
            if (rc != -VIA_ENOSPC || result == 0)
                *addr = (via_iova){page};
            if (rc != -VIA_EAGAIN)
                return rc == -VIA_ENOSPC ? -VIA_EAGAIN : rc;
            result = rc;
        }
    }
    return result;
}

bool via_misses_pending(const struct via_misses *m, via_iova addr, uint64_t since)
{
    const struct via_miss *e = find(m, page_of(addr.v));
    return e && pending(e) && !barred(e, VIA_PERM_R | VIA_PERM_W, since);
}

/* ------------------------------------------------------------------ who asks */

const struct via_miss *via_misses_next(struct via_misses *m, uint64_t now_ns)
{
    if (m->first == NONE)
        return NULL;
    struct via_miss *e = &m->slot[m->first];
    dequeue(m, e);
    e->state = ASKED;
    e->asked_ns = now_ns;
    e->question = ++m->questions;
    return e;
}

void via_misses_update(struct via_misses *m, via_iova start, via_iova last, unsigned perm)
{
    uint64_t page = page_of(start.v), count = last.v < start.v ? 0 : (page_of(last.v) - page) / VIA_MISS_PAGE + 1;
    if (count <= m->n) {
        for (; count; count--, page += VIA_MISS_PAGE) {
            struct via_miss *e = find(m, page);
            if (e)
                answer(m, e, perm);
        }
        return;
    }
    for (uint32_t k = 0; k < m->capacity && m->n; k++) {
        struct via_miss *e = &m->slot[k];
        if (e->state != FREE && (e->page - page) / VIA_MISS_PAGE < count)
            answer(m, e, perm);
    }
}

void via_misses_refuse(struct via_misses *m, via_iova page, uint64_t asked_ns)
{
    struct via_miss *e = find(m, page_of(page.v));
    if (e && e->state == ASKED && e->asked_ns <= asked_ns)
        refuse(m, e, e->perm);
}

unsigned via_misses_again(struct via_misses *m, uint64_t asked_ns)
{
    unsigned n = 0;
    for (uint32_t k = 0; k < m->capacity && m->n > m->fresh; k++) {
        struct via_miss *e = &m->slot[k];
        if (e->state != ASKED || e->sure || e->asked_ns > asked_ns)
            continue;
        unsigned more = e->more;
        e->sure = true;
        enqueue(m, e, e->perm); /* the same question: it does not matter which of them is answered */
        e->more = (uint8_t)more;
        n++;
    }
    return n;
}

void via_misses_forget(struct via_misses *m)
{
    for (uint32_t k = 0; k < m->capacity && m->denied; k++) {
        struct via_miss *e = &m->slot[k];
        memset(e->no, 0, sizeof(e->no));
        if (e->state == REFUSED)
            drop(m, e);
    }
    m->denied = false;
}

uint64_t via_misses_oldest(const struct via_misses *m)
{
    uint64_t oldest = UINT64_MAX;
    for (uint32_t k = 0; k < m->capacity && m->n > m->fresh; k++)
        if (m->slot[k].state == ASKED)
            oldest = via_min64(oldest, m->slot[k].asked_ns);
    return oldest;
}
