/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * grow: the keeper of a pool. What is not shared it keeps back, as one more user of the pool's free map, so nothing changes for who maps.
 *
 * One thread at a time converts (`busy`), and nobody waits for it. A starving queue has noted that it is hungry and tried in vain (W1 and
 * W2 of pool.c), and then:
 *     who starves:   W3 look at paused, and at busy; busy: say -VIA_EAGAIN
 *     who converts:  C1 give chunks to the pool (G1 to G3 of pool.c)   C2 lower busy   C3 look at hungry, wake
 * W3 that finds another busy comes before that one's C2, so W1 comes before C3: the queue is woken and tries by itself. Where the converter
 * had no success there is no C3 (two that starve would wake each other for ever): then a tick wakes, as it does after paused. So a queue
 * that could be helped by sharing more sleeps until the next tick at most; one that can't waits for what is given back, as in any pool.
 */
#include <viaduct/grow.h>

#include "pool.h"

static uint64_t bytes_of(const struct via_grow *g, uint32_t chunks) { return (uint64_t)chunks * g->chunk * VIA_POOL_SLOT; }

static uint8_t *mem_of(const struct via_grow *g, uint32_t chunk) { return g->pool.mem + bytes_of(g, chunk); }

/* ------------------------------------------------------------------ the budget */

void via_budget_init(struct via_budget *b, uint64_t limit)
{
    b->limit = limit;
    atomic_init(&b->left, limit);
}

static bool budget_take(struct via_budget *b, uint64_t bytes)
{
    uint64_t left = atomic_load(&b->left);
    do {
        if (bytes > left)
            return false;
    } while (!atomic_compare_exchange_weak(&b->left, &left, left - bytes));
    return true;
}

/* Chunks of n that go beyond what was promised, when `have` slots are there without them. */
static uint32_t beyond(const struct via_grow *g, uint32_t have, uint32_t n)
{
    uint32_t promised = have < g->least ? (g->least - have) / g->chunk : 0;
    return n > promised ? n - promised : 0;
}

/* Up to n chunks, paid for and counted as shared. */
static uint32_t pay(struct via_grow *g, uint32_t n)
{
    uint32_t have = atomic_load(&g->stats.reserved);
    while (n && g->budget && !budget_take(g->budget, bytes_of(g, beyond(g, have, n))))
        if (!--n)
            atomic_fetch_add(&g->stats.refused, 1);
    atomic_store(&g->stats.reserved, have + n * g->chunk);
    if (atomic_load(&g->stats.high_water) < have + n * g->chunk)
        atomic_store(&g->stats.high_water, have + n * g->chunk);
    return n;
}

static void repay(struct via_grow *g, uint32_t n)
{
    uint32_t have = atomic_load(&g->stats.reserved) - n * g->chunk;
    atomic_store(&g->stats.reserved, have);
    if (g->budget)
        atomic_fetch_add(&g->budget->left, bytes_of(g, beyond(g, have, n)));
}

/* ------------------------------------------------------------------ conversions */

static bool lock(struct via_grow *g) { return !atomic_exchange(&g->busy, true); }

static void failed(struct via_grow *g)
{
    atomic_fetch_add(&g->stats.failed, 1);
    atomic_store(&g->paused, true);
}

/* A conversion leaves noise, a use somebody's bytes. */
static void clear(const struct via_grow *g, uint32_t at, uint32_t n)
{
    via_shm_zero(mem_of(g, at), bytes_of(g, n));
    if (g->pool.port)
        via_port_clean(g->pool.port, mem_of(g, at), bytes_of(g, n));
}

/* Chunks that were shared, or perhaps, are to be private. Says how many could be told to be so, and sets the state of all. */
static uint32_t make_private(struct via_grow *g, uint32_t at, uint32_t n, int *r)
{
    uint32_t is_private = 0;
    *r = via_protect_unshare(g->protect, mem_of(g, at), bytes_of(g, n));
    if (*r < 0)
        failed(g);
    for (uint32_t end = at + n; at < end; at++) {
        bool good = via_protect_is_private(g->protect, mem_of(g, at), bytes_of(g, 1));
        is_private += good;
        if (g->state[at] != VIA_CHUNK_LOST)
            g->state[at] = good ? VIA_CHUNK_PRIVATE : VIA_CHUNK_DOUBT;
    }
    repay(g, is_private);
    return is_private;
}

/* Whether these chunks lie where the pool's addresses say. The first ones say where that is. */
static int address(struct via_grow *g, uint32_t at, uint32_t n)
{
    uint64_t base = 0;
    int r = via_pool_address(g->pool.next, mem_of(g, at), bytes_of(g, n), &base);
    if (r < 0)
        return r;
    if (atomic_load(&g->stats.grown) == 0)
        g->pool.base = base;
    uint64_t last;
    if (base != g->pool.base + bytes_of(g, at) || !via_add64(g->pool.base, bytes_of(g, g->chunks) - 1, &last))
        return -VIA_ERANGE;
    return 0;
}

/* All of n chunks that are private and paid for, or none of them. */
static int make_shared(struct via_grow *g, uint32_t at, uint32_t n, uint64_t queue)
{
    int late, r = via_protect_share(g->protect, mem_of(g, at), bytes_of(g, n));
    if (r < 0)
        failed(g);
    else
        r = address(g, at, n);
    if (r < 0) {
        for (uint32_t i = at; r == -VIA_ERANGE && i < at + n; i++)
            if (address(g, i, 1) == -VIA_ERANGE)
                g->state[i] = VIA_CHUNK_LOST;
        make_private(g, at, n, &late);
        return r;
    }
    clear(g, at, n);
    for (uint32_t i = at; i < at + n; i++)
        g->state[i] = VIA_CHUNK_SHARED;
    atomic_fetch_add(&g->stats.grown, n);
    via_pool_unkeep(&g->pool, at * g->chunk, n * g->chunk, queue);
    return 0;
}

/* One chunk in doubt, if there is one, is made private. */
static void settle_doubt(struct via_grow *g)
{
    int r;
    for (uint32_t i = 0; i < g->chunks; i++) {
        uint32_t at = (g->doubt + i) % g->chunks;
        if (g->state[at] != VIA_CHUNK_DOUBT)
            continue;
        make_private(g, at, 1, &r);
        g->doubt = (at + 1) % g->chunks; /* the others, too, get their turn */
        return;
    }
}

/* ------------------------------------------------------------------ growing */

/* The first run of up to n private chunks from g->from on; 0: none is left. */
static uint32_t find_private(const struct via_grow *g, uint32_t n, uint32_t *at)
{
    for (uint32_t i = 0; i < g->chunks; i++) {
        *at = (g->from + i) % g->chunks;
        uint32_t run = 0;
        while (run < n && *at + run < g->chunks && g->state[*at + run] == VIA_CHUNK_PRIVATE)
            run++;
        if (run)
            return run;
    }
    return 0;
}

static bool grow(struct via_grow *g, uint32_t want, uint64_t queue)
{
    uint32_t is_free = g->pool.slots - (uint32_t)atomic_load(&g->pool.claimed), unshared = 0, n, at = 0;
    uint32_t lack = is_free < want ? want - is_free : want; /* enough, but in pieces: then a run of its own */
    for (uint32_t i = 0; i < g->chunks; i++)
        unshared += g->state[i] == VIA_CHUNK_PRIVATE;
    n = pay(g, (uint32_t)via_min64((lack - 1) / g->chunk + 1, unshared));
    bool grew = false;
    while (n) {
        uint32_t run = find_private(g, n, &at);
        int r = make_shared(g, at, run, queue);
        if (r < 0) {
            g->from = r == -VIA_ERANGE ? 0 : (at + 1) % g->chunks; /* what is lost is not looked at again */
            repay(g, n - run);
            return grew;
        }
        grew = true;
        n -= run;
    }
    g->from = grew ? 0 : g->from;
    return grew;
}

static bool more(struct via_pool *p, uint32_t want, uint64_t queue)
{
    struct via_grow *g = via_container_of(p, struct via_grow, pool);
    if (!via_pool_kept(p) || atomic_load(&g->paused) || !lock(g))
        return false;
    bool grew = grow(g, want, queue);
    atomic_store(&g->busy, false);
    if (grew)
        via_pool_wake(p, queue);
    return grew;
}

/* ------------------------------------------------------------------ giving back */

/*
 * Chunks at, at + 1 ... are kept back: unshare them. What lies behind a failure is shared as before, and the pool's again; so is the one
 * that failed, unless it can't be shared again either.
 */
static void shrink(struct via_grow *g, uint32_t at, uint32_t n)
{
    int r;
    clear(g, at, n); /* nobody's old bytes stay where a failure leaves them shared */
    atomic_fetch_add(&g->stats.given, make_private(g, at, n, &r));
    if (r < 0)
        g->over = false; /* it takes as long again to the next try */
    for (uint32_t end = at + n; at < end; at++) {
        if (g->state[at] == VIA_CHUNK_PRIVATE)
            continue;
        if (!via_protect_is_shared(g->protect, mem_of(g, at), bytes_of(g, 1))) {
            if (via_protect_share(g->protect, mem_of(g, at), bytes_of(g, 1)) < 0) {
                failed(g);
                continue;
            }
            clear(g, at, 1);
        }
        g->state[at] = VIA_CHUNK_SHARED;
        via_pool_unkeep(&g->pool, at * g->chunk, g->chunk, 0);
    }
}

/* How many chunks are too many by now. */
static uint32_t surplus(struct via_grow *g, uint64_t now)
{
    uint32_t is_free = g->pool.slots - (uint32_t)atomic_load(&g->pool.claimed), have = atomic_load(&g->stats.reserved);
    if (is_free <= g->high || have <= g->least) {
        g->over = false;
        return 0;
    }
    if (!g->over)
        g->since = now;
    g->over = true;
    if (now - g->since < g->idle)
        return 0;
    return (uint32_t)via_min64((is_free - g->low) / g->chunk, (have - g->least) / g->chunk);
}

/* From the end on, in runs of free chunks. Returns how many of n it could not get. */
static uint32_t give_back(struct via_grow *g, uint32_t n)
{
    uint32_t run = 0, at = g->chunks;
    while (at && n) {
        at--;
        bool kept = g->state[at] == VIA_CHUNK_SHARED && via_pool_keep(&g->pool, at * g->chunk, g->chunk);
        run += kept;
        n -= kept;
        if (run && (!kept || !n || !at))
            shrink(g, kept ? at : at + 1, run);
        run = kept ? run : 0;
    }
    return n;
}

int via_grow_tick(struct via_grow *g, uint64_t now)
{
    if (!lock(g))
        return 0; /* who converts wakes, or has failed: then the next tick does */
    settle_doubt(g);
    uint32_t stuck = give_back(g, surplus(g, now));
    atomic_store(&g->paused, false); /* whatever failed just now: a page that stays in doubt is not to keep others waiting */
    atomic_store(&g->busy, false);
    via_pool_wake(&g->pool, 0);
    return stuck > 0;
}

/* ------------------------------------------------------------------ beginning and end */

static bool is_sound(const struct via_grow_cfg *c)
{
    uint64_t slots = c->len / VIA_POOL_SLOT, chunk = c->chunk / VIA_POOL_SLOT;
    return chunk && c->chunk % VIA_POOL_SLOT == 0 && c->len % c->chunk == 0 && slots <= UINT32_MAX / 2 && c->chunks >= slots / chunk &&
           c->least && c->least <= c->len && c->low <= c->high;
}

int via_grow_init(struct via_grow *g, const struct via_grow_cfg *c)
{
    struct via_pool pool;
    if (!is_sound(c))
        return -VIA_EINVAL;
    int r = via_pool_init_kept(&pool, c->next, c->mem, c->len, c->free, c->words);
    if (r < 0)
        return r;
    uint32_t first = (uint32_t)((c->least - 1) / c->chunk + 1), chunk = (uint32_t)(c->chunk / VIA_POOL_SLOT);
    *g = (struct via_grow){
        .pool = pool,
        .protect = c->protect,
        .budget = c->budget,
        .state = c->state,
        .chunks = (uint32_t)(c->len / c->chunk),
        .chunk = chunk,
        .least = first * chunk,
        .low = (uint32_t)via_min64(c->low / VIA_POOL_SLOT, UINT32_MAX),
        .high = (uint32_t)via_min64(c->high / VIA_POOL_SLOT, UINT32_MAX),
        .idle = c->idle,
    };
    for (uint32_t i = 0; i < g->chunks; i++)
        g->state[i] = VIA_CHUNK_PRIVATE;
    if (g->budget && !budget_take(g->budget, bytes_of(g, first)))
        return -VIA_ENOSPC;
    first = pay(g, first);
    r = make_shared(g, 0, first, 0);
    if (r < 0 && g->budget)
        atomic_fetch_add(&g->budget->left, bytes_of(g, first));
    g->pool.more = more;
    return r;
}

int via_grow_finish(struct via_grow *g)
{
    if (via_pool_needed(&g->pool))
        return -VIA_EBUSY;
    for (uint32_t at = 0; at < g->chunks; at++)
        if (g->state[at] == VIA_CHUNK_SHARED) {
            bool kept = via_pool_keep(&g->pool, at * g->chunk, g->chunk);
            VIA_ASSERT(kept);
            (void)kept;
            clear(g, at, 1);
            g->state[at] = VIA_CHUNK_DOUBT;
        }
    int r = via_protect_unshare(g->protect, mem_of(g, 0), bytes_of(g, g->chunks));
    if (r < 0) {
        failed(g);
        return r;
    }
    for (uint32_t at = 0; at < g->chunks; at++)
        g->state[at] = VIA_CHUNK_PRIVATE;
    repay(g, atomic_load(&g->stats.reserved) / g->chunk);
    if (g->budget)
        atomic_fetch_add(&g->budget->left, bytes_of(g, g->least / g->chunk));
    g->budget = NULL;
    return 0;
}
