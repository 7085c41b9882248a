/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bounce: buffers go through slots of a pool. A byte keeps its place in the page: what starts inside a page starts as far inside a slot. No
 * slot serves two buffers, so a mapping's slots can be told from its segments, and nothing else is written down about it.
 */
#include "pool.h"
#include "segs.h"

#define SLOT ((uint64_t)VIA_POOL_SLOT)
#define RUN_MAX (VIA_SEG_MAX / VIA_POOL_SLOT) /* slots of a segment */

struct need {
    uint64_t run; /* slots for buffers of several */
    uint32_t one; /* for buffers of one */
};

static uint64_t self(const struct via_bounce *b) { return 1ull << b->queue; }

static uint64_t bytes_of(const struct via_pool *p) { return p->slots * SLOT; }

/* How far in the pool a buffer starts; at or beyond bytes_of: it is none of ours. */
static uint64_t place_of(const struct via_pool *p, const struct via_span *buf) { return (uintptr_t)buf->ptr - (uintptr_t)p->mem; }

/* A buffer that is in the pool already, and can be used where it is. */
static inline bool is_ours(const struct via_pool *p, const struct via_span *buf, bool in)
{
    return place_of(p, buf) < bytes_of(p) && !(in && p->port && !via_port_fills_lines(p->port, buf));
}

static uint64_t slots_of(const struct via_span *buf) { return ((uintptr_t)buf->ptr % SLOT + buf->len + SLOT - 1) / SLOT; }

static int measure(const struct via_bounce *b, const struct via_span *buf, unsigned out, unsigned n, unsigned cap, struct need *need)
{
    const struct via_pool *p = b->pool;
    uint64_t least = 0; /* segments, if the pool were in one piece */
    *need = (struct need){0};
    for (unsigned i = 0; i < n; i++) {
        uint64_t len = buf[i].len;
        if (!len)
            return -VIA_EINVAL;
        if (is_ours(p, &buf[i], i >= out)) {
            if (len > bytes_of(p) - place_of(p, &buf[i]))
                return -VIA_ERANGE;
            least += 1 + (len - 1) / VIA_SEG_MAX;
            continue;
        }
        if (len > bytes_of(p))
            return -VIA_E2BIG;
        uint64_t slots = slots_of(&buf[i]);
        least += 1 + (slots - 1) / RUN_MAX;
        if (slots == 1)
            need->one++;
        else
            need->run += slots;
    }
    return least > cap || need->run + need->one > via_min64(p->slots, b->quota) ? -VIA_E2BIG : 0;
}

/* Claim *n slots that are reserved, or as many as there are in a run: half, a quarter ... at last one, which there is. */
static uint32_t claim(struct via_bounce *b, uint32_t *n)
{
    uint32_t slot;
    while (!via_pool_claim(b->pool, *n, &b->hint, &slot))
        if (*n > 1)
            *n /= 2;
    return slot;
}

/* Slots leave the pool, within the quota, and return. */
static bool reserve(struct via_bounce *b, uint32_t n)
{
    if (b->held > b->quota || n > b->quota - b->held || !via_pool_reserve(b->pool, n))
        return false;
    b->held += n;
    return true;
}

static void settle(struct via_bounce *b, uint32_t n, uint64_t except)
{
    VIA_ASSERT(n <= b->held);
    b->held -= n;
    via_pool_settle(b->pool, n, except);
}

/* Half a cache at once, unless others starve. */
static void refill(struct via_bounce *b)
{
    uint32_t left = (b->cache_max + 1) / 2;
    if (left > b->cache_max - b->cached)
        left = b->cache_max - b->cached;
    if (!left || atomic_load(&b->pool->hungry) || !reserve(b, left))
        return;
    while (left) {
        uint32_t n = left, slot = claim(b, &n);
        left -= n;
        while (n--)
            b->cache[b->cached++] = slot + n;
    }
}

/* What the processor may hold of these bytes of the pool is older than what the device wrote. */
static inline void look_anew(const struct via_pool *p, uint64_t off, uint64_t len)
{
    if (p->port)
        via_port_invalidate(p->port, p->mem + off, len);
}

/* The device is about to read, or to write, what these segments stand for. */
static void hand_over(const struct via_pool *p, const struct via_mapping *m)
{
    for (unsigned i = 0; p->port && i < (unsigned)m->n_out + m->n_in; i++)
        via_port_clean(p->port, p->mem + (m->seg[i].addr.v - p->base), m->seg[i].len);
}

static void arrive(struct via_bounce *b, void *to, uint64_t off, uint64_t len)
{
    via_shm_read(to, b->pool->mem + off, len);
    b->stats.bytes_in += len;
}

/* Returns how many slots the pool, and not the cache, got; the caller settles. */
static uint32_t put(struct via_bounce *b, uint32_t slot, uint32_t n)
{
    if (n == 1 && b->cached < b->cache_max) {
        b->cache[b->cached++] = slot;
        return 0;
    }
    via_pool_give(b->pool, slot, n);
    return n;
}

static uint32_t put_cache(struct via_bounce *b)
{
    uint32_t n = b->cached;
    while (b->cached)
        via_pool_give(b->pool, b->cache[--b->cached], 1);
    return n;
}

/* After slots were put back: `given` of them to the pool. While others wait, the cache follows. */
static void put_done(struct via_bounce *b, uint32_t given)
{
    if (atomic_load_explicit(&b->pool->hungry, memory_order_relaxed))
        given += put_cache(b);
    if (given)
        settle(b, given, 0);
    if (b->at_quota) {
        b->at_quota = false;
        if (b->pool->wake)
            b->pool->wake(b->pool, self(b));
    }
}

void via_bounce_drain(struct via_bounce *b)
{
    uint32_t given = put_cache(b);
    if (given)
        settle(b, given, self(b));
}

/*
 * The device is done with the segments in [seg, end), a mapping's list or the beginning of one: the first `written` bytes of the buffers
 * from `out` on arrive, and the slots are put back. Returns how many of them the pool got.
 */
static uint32_t release(struct via_bounce *b, const struct via_span *buf, unsigned out, unsigned n, const struct via_seg *seg,
                        const struct via_seg *end, uint64_t written)
{
    const struct via_pool *p = b->pool;
    uint32_t given = 0;
    for (unsigned i = 0; i < n; i++) {
        bool ours = is_ours(p, &buf[i], i >= out);
        for (size_t pos = 0; pos < buf[i].len && seg != end; pos += seg->len, seg++) {
            uint64_t off = seg->addr.v - p->base, take = i < out ? 0 : via_min64(seg->len, written);
            written -= take;
            if (take)
                look_anew(p, off, take);
            if (ours)
                continue;
            VIA_ASSERT(off < bytes_of(p) && seg->len <= bytes_of(p) - off);
            if (take)
                arrive(b, (char *)buf[i].ptr + pos, off, take);
            uint64_t first = (off + (pos ? SLOT - 1 : 0)) / SLOT; /* a window's bank may have ended within a slot: it is counted already */
            uint64_t last = (off + seg->len + SLOT - 1) / SLOT;
            b->stats.in_use -= (uint32_t)(last - first);
            if (last > first)
                given += put(b, (uint32_t)first, (uint32_t)(last - first));
        }
    }
    return given;
}

/* One buffer of several slots. *step: the longest run to look for, shorter once there was none; *held: slots reserved still. */
static bool place_run(struct via_bounce *b, const struct via_span *buf, struct via_segs *s, uint32_t *step, uint32_t *held)
{
    uint64_t off = (uintptr_t)buf->ptr % SLOT, len = buf->len;
    unsigned first = s->n;
    while (len) {
        uint32_t want = (uint32_t)via_min64((off + len + SLOT - 1) / SLOT, *step), n = want, slot = claim(b, &n);
        if (n < want)
            *step = n;
        uint64_t addr = b->pool->base + slot * SLOT + off, take = via_min64(len, n * SLOT - off);
        struct via_seg *prev = s->n > first ? &s->seg[s->n - 1] : NULL;
        if (prev && prev->addr.v + prev->len == addr && prev->len + take <= VIA_SEG_MAX) {
            prev->len += (uint32_t)take;
        } else if (!via_segs_add(s, addr, take)) {
            via_pool_give(b->pool, slot, n);
            return false;
        }
        b->stats.in_use += n;
        *held -= n;
        len -= take;
        off = 0;
    }
    return true;
}

static bool place(struct via_bounce *b, const struct via_span *buf, unsigned out, unsigned in, struct via_segs *s, unsigned *n_out,
                  uint32_t *held)
{
    const struct via_pool *p = b->pool;
    uint32_t step = RUN_MAX;
    for (unsigned i = 0; i < out + in; i++) {
        if (i == out)
            *n_out = s->n;
        bool ok;
        if (is_ours(p, &buf[i], i >= out)) {
            ok = via_segs_add(s, p->base + place_of(p, &buf[i]), buf[i].len);
        } else if (slots_of(&buf[i]) == 1) {
            if (s->n == s->cap) /* earlier buffers came out in pieces */
                return false;
            uint32_t n = 1, slot = b->cached ? b->cache[--b->cached] : (--*held, claim(b, &n));
            b->stats.in_use++;
            ok = via_segs_add(s, p->base + slot * SLOT + (uintptr_t)buf[i].ptr % SLOT, buf[i].len);
        } else {
            ok = place_run(b, &buf[i], s, &step, held);
        }
        if (!ok)
            return false;
    }
    if (!in)
        *n_out = s->n;
    return true;
}

/* All of it, or nothing and false. */
static bool try_map(struct via_bounce *b, const struct via_span *buf, unsigned out, unsigned in, const struct need *need,
                    struct via_mapping *m)
{
    if (need->one > b->cached)
        refill(b);
    uint32_t held = (uint32_t)need->run + (need->one > b->cached ? need->one - b->cached : 0);
    if (held && !reserve(b, held))
        return false;
    struct via_segs s = {m->seg, m->cap, 0};
    unsigned n_out = 0;
    if (!place(b, buf, out, in, &s, &n_out, &held)) {
        held += release(b, buf, 0, out + in, s.seg, s.seg + s.n, 0);
        settle(b, held, self(b));
        return false;
    }
    via_segs_close(&s, n_out, buf, out, in, m);
    return true;
}

/* The readable buffers' bytes go into the pool. */
static void copy_out(struct via_bounce *b, const struct via_mapping *m)
{
    const struct via_pool *p = b->pool;
    const struct via_seg *seg = m->seg;
    for (unsigned i = 0; i < m->buf_out; i++) {
        bool ours = is_ours(p, &m->buf[i], false);
        for (size_t pos = 0; pos < m->buf[i].len; pos += seg->len, seg++)
            if (!ours) {
                via_shm_write(p->mem + (seg->addr.v - p->base), (const char *)m->buf[i].ptr + pos, seg->len);
                b->stats.bytes_out += seg->len;
            }
    }
}

/* The first `written` bytes of the writable buffers arrive. */
static void copy_in(struct via_bounce *b, const struct via_mapping *m, uint64_t written)
{
    const struct via_pool *p = b->pool;
    const struct via_seg *seg = m->seg + m->n_out;
    for (unsigned i = m->buf_out; i < (unsigned)m->buf_out + m->buf_in && written; i++) {
        bool ours = is_ours(p, &m->buf[i], true);
        for (size_t pos = 0; pos < m->buf[i].len && written; pos += seg->len, seg++) {
            size_t take = via_min64(seg->len, written);
            written -= take;
            look_anew(p, seg->addr.v - p->base, take);
            if (!ours)
                arrive(b, (char *)m->buf[i].ptr + pos, seg->addr.v - p->base, take);
        }
    }
}

/* How much a device has written that says so. */
static uint64_t arrived(const struct via_bounce *b, uint32_t written) { return b->under_reports ? UINT64_MAX : written; }

static void clear_in(const struct via_bounce *b, const struct via_mapping *m)
{
    const struct via_pool *p = b->pool;
    const struct via_seg *seg = m->seg + m->n_out;
    for (unsigned i = m->buf_out; i < (unsigned)m->buf_out + m->buf_in; i++) {
        bool ours = is_ours(p, &m->buf[i], true);
        for (size_t pos = 0; pos < m->buf[i].len; pos += seg->len, seg++)
            if (!ours)
                via_shm_zero(p->mem + (seg->addr.v - p->base), seg->len);
    }
}

/* Slots that are not shared with another segment, of which one stands for a part: what is before it, behind it, and for the device to fill.
 */
static void clear_tails(const struct via_bounce *b, const struct via_mapping *m)
{
    const struct via_pool *p = b->pool;
    const struct via_seg *seg = m->seg;
    for (unsigned i = 0; i < (unsigned)m->buf_out + m->buf_in; i++) {
        bool in = i >= m->buf_out, ours = is_ours(p, &m->buf[i], in);
        for (size_t pos = 0; pos < m->buf[i].len; pos += seg->len, seg++) {
            uint64_t off = seg->addr.v - p->base, end = off + seg->len;
            if (ours)
                continue;
            if (!pos)
                via_shm_zero(p->mem + off / SLOT * SLOT, off % SLOT);
            if (in)
                via_shm_zero(p->mem + off, seg->len);
            if (pos + seg->len == m->buf[i].len)
                via_shm_zero(p->mem + end, (SLOT - end % SLOT) % SLOT);
        }
    }
}

/*
 * The usual case has a way of its own, short enough for a processor to begin the next request's copy while this one's lasts: each buffer
 * fits into a slot, the cache has as many, and no word that others write is touched. false: it is another case.
 */
#define AT_HAND 1u
#define LINE ((size_t)64)
#define LARGE 1024u /* bytes */

/* A driver's buffers are mostly cold: let the first lines come, to be read or to be written, while the slots are looked after. */
static inline void fetch(const struct via_span *buf, unsigned n, bool to_write)
{
    for (unsigned i = 0; i < n; i++)
        for (size_t at = 0; at < 8 * LINE && buf[i].len >= LARGE; at += LINE) {
            if (to_write)
                __builtin_prefetch((const char *)buf[i].ptr + at, 1);
            else
                __builtin_prefetch((const char *)buf[i].ptr + at, 0);
        }
}

static inline bool map_at_hand(struct via_bounce *b, const struct via_span *buf, unsigned out, unsigned in, struct via_mapping *m)
{
    const struct via_pool *p = b->pool;
    const uint32_t *slot = b->cache + b->cached;
    unsigned n = out + in;
    if (n > b->cached || n > m->cap || !n || b->under_reports || b->clear_tails || p->port)
        return false;
    fetch(buf, out, false);
    for (unsigned i = 0; i < n; i++) {
        uint64_t off = (uintptr_t)buf[i].ptr % SLOT;
        if (buf[i].len - 1 >= SLOT - off || is_ours(p, &buf[i], false)) /* an empty one, too */
            return false;
        m->seg[i] = (struct via_seg){{p->base + *--slot * SLOT + off}, (uint32_t)buf[i].len};
    }
    b->cached -= n;
    b->stats.in_use += n;
    via_segs_close(&(struct via_segs){m->seg, m->cap, n}, out, buf, out, in, m);
    m->way = AT_HAND;
    for (unsigned i = 0; i < out; i++) {
        via_shm_write(p->mem + (m->seg[i].addr.v - p->base), buf[i].ptr, buf[i].len);
        b->stats.bytes_out += buf[i].len;
    }
    return true;
}

static inline void unmap_at_hand(struct via_bounce *b, const struct via_mapping *m, uint64_t written)
{
    unsigned n = (unsigned)m->buf_out + m->buf_in;
    uint32_t given = 0;
    if (written)
        fetch(m->buf + m->buf_out, m->buf_in, true);
    for (unsigned i = 0; i < n; i++) {
        uint64_t off = m->seg[i].addr.v - b->pool->base;
        if (i >= m->buf_out && written) {
            uint64_t take = via_min64(m->seg[i].len, written);
            arrive(b, m->buf[i].ptr, off, take);
            written -= take;
        }
        given += put(b, (uint32_t)(off / SLOT), 1);
    }
    b->stats.in_use -= n;
    put_done(b, given);
}

/*
 * There was no room for `want` slots. The cache goes back, and from here on this queue counts as waiting. false: it is at its quota, which
 * is nobody else's matter.
 */
static bool starve(struct via_bounce *b, uint32_t want)
{
    via_bounce_drain(b);
    b->at_quota = b->held > b->quota || want > b->quota - b->held;
    if (b->at_quota)
        b->stats.over_quota++;
    else
        via_pool_wait(b->pool, self(b));
    return !b->at_quota;
}

static bool more(struct via_bounce *b, uint32_t want) { return b->pool->more && b->pool->more(b->pool, want, self(b)); }

static int full(struct via_bounce *b)
{
    b->stats.full++;
    return -VIA_EAGAIN;
}

/* Any case. 0, or why not. */
static int map_any(struct via_bounce *b, const struct via_span *buf, unsigned out, unsigned in, struct via_mapping *m)
{
    struct need need;
    struct via_segs s;
    int r = via_segs_open(&s, m, out, in);
    if (!r)
        r = measure(b, buf, out, out + in, m->cap, &need);
    if (r < 0)
        return r;
    fetch(buf, out, false);
    if (!try_map(b, buf, out, in, &need, m)) {
        uint32_t want = (uint32_t)need.run + need.one;
        if (!starve(b, want))
            return full(b);
        while (!try_map(b, buf, out, in, &need, m))
            if (!more(b, want))
                return full(b);
        via_pool_wait_over(b->pool, self(b));
    }
    m->way = 0;
    if (b->under_reports)
        clear_in(b, m);
    if (b->clear_tails)
        clear_tails(b, m);
    copy_out(b, m);
    hand_over(b->pool, m);
    return 0;
}

static int bounce_map(struct via_dma *dma, const struct via_span *buf, unsigned out, unsigned in, struct via_mapping *m)
{
    struct via_bounce *b = via_container_of(dma, struct via_bounce, dma);
    if (!map_at_hand(b, buf, out, in, m)) {
        int r = map_any(b, buf, out, in, m);
        if (r < 0)
            return r;
    }
    b->stats.maps++;
    if (b->stats.high_water < b->stats.in_use)
        b->stats.high_water = b->stats.in_use;
    return 0;
}

static void bounce_unmap(struct via_dma *dma, struct via_mapping *m, uint32_t written)
{
    struct via_bounce *b = via_container_of(dma, struct via_bounce, dma);
    b->stats.unmaps++;
    if (m->way == AT_HAND)
        unmap_at_hand(b, m, written);
    else
        put_done(
            b, release(b, m->buf, m->buf_out, (unsigned)m->buf_out + m->buf_in, m->seg, m->seg + m->n_out + m->n_in, arrived(b, written)));
}

/* Bytes from the pool, on to where the last ones ended. */
static void arrive_at(struct via_bounce *b, const struct via_span **to, size_t *at, uint64_t off, uint64_t len)
{
    while (len) {
        size_t take = via_min64(len, (*to)->len - *at);
        arrive(b, (char *)(*to)->ptr + *at, off, take);
        off += take;
        len -= take;
        *at += take;
        if (*at == (*to)->len) {
            ++*to;
            *at = 0;
        }
    }
}

void via_bounce_unmap_to(struct via_bounce *b, struct via_mapping *m, const struct via_span *in, unsigned n, uint32_t written)
{
    uint64_t left = n ? arrived(b, written) : 0;
    const struct via_seg *end = m->seg + m->n_out + m->n_in;
    size_t at = 0;
    for (const struct via_seg *seg = m->seg + m->n_out; seg != end && left; seg++) {
        uint64_t take = via_min64(seg->len, left);
        look_anew(b->pool, seg->addr.v - b->pool->base, take);
        arrive_at(b, &in, &at, seg->addr.v - b->pool->base, take);
        left -= take;
    }
    b->stats.unmaps++;
    uint32_t given = 0;
    for (const struct via_seg *seg = m->seg; seg != end; seg++) {
        const struct via_span whole = {NULL, seg->len};
        given += release(b, &whole, 1, 1, seg, seg + 1, 0);
    }
    put_done(b, given);
}

static int bounce_sync(struct via_dma *dma, struct via_mapping *m, enum via_owner to, uint32_t written)
{
    struct via_bounce *b = via_container_of(dma, struct via_bounce, dma);
    if (to == VIA_OWNER_CPU)
        copy_in(b, m, arrived(b, written));
    else {
        copy_out(b, m);
        hand_over(b->pool, m);
    }
    return 0;
}

static const struct via_dma_ops bounce_ops = {"bounce", bounce_map, bounce_unmap, bounce_sync};

int via_bounce_init(struct via_bounce *b, struct via_pool *pool, unsigned queue, uint32_t cache_max)
{
    if (queue > 63 || cache_max > VIA_BOUNCE_CACHE)
        return -VIA_EINVAL;
    /* Multiples of the golden ratio spread any number of queues over the map. */
    uint64_t words = (pool->slots + 63) / 64, spread = (uint32_t)(queue * 0x9e3779b1u);
    *b = (struct via_bounce){
        .dma = {&bounce_ops, pool->next},
        .pool = pool,
        .queue = queue,
        .quota = UINT32_MAX,
        .cache_max = (uint32_t)via_min64(cache_max, pool->slots / 16),
        .hint = (uint32_t)(spread * words >> 32),
    };
    return 0;
}

static bool try_alloc(struct via_bounce *b, uint32_t n, uint32_t *slot)
{
    if (n == 1 && !b->cached)
        refill(b);
    if (n == 1 && b->cached) {
        *slot = b->cache[--b->cached];
        return true;
    }
    if (!reserve(b, n))
        return false;
    if (n == 1)
        *slot = claim(b, &n);
    else if (!via_pool_claim(b->pool, n, &b->hint, slot)) {
        settle(b, n, self(b));
        return false;
    }
    return true;
}

void *via_bounce_alloc(struct via_bounce *b, size_t len)
{
    uint32_t n = len <= 64 * SLOT ? (uint32_t)((len + SLOT - 1) / SLOT) : 0, slot;
    if (!n || n > b->pool->slots || n > b->quota)
        return NULL;
    if (!try_alloc(b, n, &slot)) {
        if (!starve(b, n))
            return full(b), NULL;
        while (!try_alloc(b, n, &slot))
            if (!more(b, n))
                return full(b), NULL;
        via_pool_wait_over(b->pool, self(b));
    }
    void *ptr = b->pool->mem + slot * SLOT;
    via_shm_zero(ptr, n * SLOT);
    return ptr;
}

void via_bounce_free(struct via_bounce *b, void *ptr, size_t len)
{
    uint64_t off = place_of(b->pool, &(struct via_span){ptr, len});
    VIA_ASSERT(len && off % SLOT == 0 && off < bytes_of(b->pool) && len <= bytes_of(b->pool) - off);
    put_done(b, put(b, (uint32_t)(off / SLOT), (uint32_t)((len + SLOT - 1) / SLOT)));
}
