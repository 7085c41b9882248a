/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pool: slots and the map of free ones, shared by several queues' threads.
 *
 * Taking slots has two steps. A reservation raises `claimed` if so many are left: one atomic word, so that of two who want more than there
 * is for both, one wins. Then bits of the map are claimed, run by run. Giving back goes the other way round: bits first, then
 * `claimed`. So there are always at least as many set bits as are reserved and not yet claimed; a reserver that finds none has
 * been overtaken by others, who got on.
 *
 * No wake-up is lost. All operations below are sequentially consistent, so they have one order.
 *     who waits:       W1 set its bit in hungry    W2 try to reserve and claim once more, fail, say -VIA_EAGAIN
 *     who gives back:  G1 set bits in the map      G2 lower claimed      G3 look at hungry, wake
 * If G1 and G2 come before what W2 reads of them, W2 sees the slots. Otherwise W1 comes before G3, which then sees the bit. A try that
 * failed gives back what it took in the same way, so it does not leave another one, that failed because of it, asleep. (The bits that a
 * lost race for a run returns at once are the exception; that racer goes on, and ends in a G3 of its own.)
 *
 * What a keeper (grow.c) keeps back is claimed like anything else, and it takes and gives in the same two steps, so that all of this holds
 * for a pool that grows and shrinks, too. It adds one more place to try before -VIA_EAGAIN, after W2, and one more way to be
 * woken; grow.c says why nobody sleeps there.
 *
 * Queues' caches are outside of this: a slot put into a cache is not given back. They look at hungry with a plain load and empty
 * themselves when it is set, which helps soon but promises nothing. What is promised: each cache holds at most cache_max slots. If no G2
 * follows W2, then everything that others hold stays in use or in caches for ever; so when nothing stays in use, a mapping can only wait in
 * vain if it wants more than the pool has without the others' caches.
 */
#include "pool.h"

#define WORD 64u
#define NEXT_MAX (1u << 30) /* bytes that next is asked for at once */
#define KEPT (1ull << 32 | 1)

static uint32_t words_of(const struct via_pool *p) { return (p->slots + (WORD - 1)) / WORD; }

static uint64_t mask_of(uint32_t bit, uint32_t n)
{
    VIA_ASSERT(n >= 1 && n <= WORD && bit < WORD);
    return (~0ull >> (WORD - n)) << bit;
}

/* Raise claimed by n slots, one of them counting for `each`: 1, or KEPT. */
static bool reserve(struct via_pool *p, uint32_t n, uint64_t each, uint64_t *is)
{
    uint64_t was = atomic_load(&p->claimed);
    do {
        if (n > p->slots - (uint32_t)was)
            return false;
        *is = was + n * each;
    } while (!atomic_compare_exchange_weak(&p->claimed, &was, *is));
    return true;
}

bool via_pool_reserve(struct via_pool *p, uint32_t n)
{
    uint64_t is;
    if (!reserve(p, n, 1, &is))
        return false;
    uint32_t needed = (uint32_t)is - (uint32_t)(is >> 32), high = atomic_load(&p->high_water);
    while (high < needed && !atomic_compare_exchange_weak(&p->high_water, &high, needed))
        ;
    return true;
}

/* Bits where n (1 to 64) set bits begin: each step doubles the run that a bit stands for. */
static uint64_t runs_of(uint64_t word, uint32_t n)
{
    for (uint32_t have = 1; have < n && word;) {
        uint32_t more = have < n - have ? have : n - have;
        word &= word >> more;
        have += more;
    }
    return word;
}

/* The first run of n free slots from word `at` on, as far as a look without a lock can tell. */
static bool find(const struct via_pool *p, uint32_t n, uint32_t at, uint32_t *slot)
{
    uint32_t run = 0; /* free slots at the end of the words so far */
    for (uint32_t words = words_of(p); at < words; at++) {
        uint64_t word = atomic_load(&p->free[at]);
        uint32_t low = ~word ? (uint32_t)__builtin_ctzll(~word) : WORD;
        if (run + low >= n) {
            *slot = at * WORD - run;
            return true;
        }
        if (low == WORD) {
            run += WORD;
            continue;
        }
        uint64_t inside = n <= WORD ? runs_of(word, n) : 0;
        if (inside) {
            *slot = at * WORD + (uint32_t)__builtin_ctzll(inside);
            return true;
        }
        run = (uint32_t)__builtin_clzll(~word);
    }
    return false;
}

/* Clear the bits of a run if all of them are set still: word by word, what was taken returns if one is not. */
static bool take(struct via_pool *p, uint32_t slot, uint32_t n)
{
    for (uint32_t done = 0; done < n;) {
        uint32_t bit = (slot + done) % WORD, k = n - done < WORD - bit ? n - done : WORD - bit;
        uint64_t mask = mask_of(bit, k), word = atomic_load(&p->free[(slot + done) / WORD]);
        do {
            if ((word & mask) != mask) {
                via_pool_give(p, slot, done);
                return false;
            }
        } while (!atomic_compare_exchange_weak(&p->free[(slot + done) / WORD], &word, word & ~mask));
        done += k;
    }
    return true;
}

bool via_pool_claim(struct via_pool *p, uint32_t n, uint32_t *hint, uint32_t *slot)
{
    uint32_t from[] = {*hint, 0};
    for (unsigned pass = 0; pass < via_array_len(from); pass++)
        while (find(p, n, from[pass], slot)) {
            from[pass] = *slot / WORD; /* whoever takes from there before us gets on: this ends */
            if (take(p, *slot, n)) {
                *hint = *slot / WORD;
                return true;
            }
        }
    return false;
}

void via_pool_give(struct via_pool *p, uint32_t slot, uint32_t n)
{
    VIA_ASSERT(slot <= p->slots && n <= p->slots - slot);
    while (n) {
        uint32_t bit = slot % WORD, k = n < WORD - bit ? n : WORD - bit;
        uint64_t was = atomic_fetch_or(&p->free[slot / WORD], mask_of(bit, k));
        VIA_ASSERT(!(was & mask_of(bit, k)));
        (void)was;
        slot += k;
        n -= k;
    }
}

void via_pool_wake(struct via_pool *p, uint64_t except)
{
    if (!(atomic_load(&p->hungry) & ~except))
        return;
    uint64_t queues = atomic_fetch_and(&p->hungry, except) & ~except;
    if (queues && p->wake)
        p->wake(p, queues);
}

static void settle(struct via_pool *p, uint32_t n, uint64_t each, uint64_t except)
{
    uint64_t was = atomic_fetch_sub(&p->claimed, n * each);
    VIA_ASSERT((uint32_t)was >= n && was >= n * each);
    (void)was;
    via_pool_wake(p, except);
}

void via_pool_settle(struct via_pool *p, uint32_t n, uint64_t except) { settle(p, n, 1, except); }

static bool is_free(const struct via_pool *p, uint32_t slot, uint32_t n)
{
    for (uint32_t k; n; slot += k, n -= k) {
        uint32_t bit = slot % WORD;
        k = n < WORD - bit ? n : WORD - bit;
        if (~atomic_load(&p->free[slot / WORD]) & mask_of(bit, k))
            return false;
    }
    return true;
}

bool via_pool_keep(struct via_pool *p, uint32_t slot, uint32_t n)
{
    uint64_t is;
    if (!is_free(p, slot, n) || !reserve(p, n, KEPT, &is))
        return false;
    if (take(p, slot, n))
        return true;
    settle(p, n, KEPT, 0);
    return false;
}

void via_pool_unkeep(struct via_pool *p, uint32_t slot, uint32_t n, uint64_t except)
{
    via_pool_give(p, slot, n);
    settle(p, n, KEPT, except);
}

void via_pool_wait(struct via_pool *p, uint64_t queue) { atomic_fetch_or(&p->hungry, queue); }

void via_pool_wait_over(struct via_pool *p, uint64_t queue) { atomic_fetch_and(&p->hungry, ~queue); }

int via_pool_address(struct via_dma *next, uint8_t *mem, uint64_t bytes, uint64_t *base)
{
    for (uint64_t done = 0; done < bytes;) { /* in pieces that a segment's length can say */
        struct via_seg seg[16];
        struct via_mapping m = {.seg = seg, .cap = via_array_len(seg)};
        struct via_span span = {mem + done, via_min64(bytes - done, NEXT_MAX)};
        int r = via_dma_map(next, &span, 0, 1, &m);
        if (r < 0)
            return r == -VIA_E2BIG ? -VIA_ERANGE : r;
        for (unsigned i = 0; i < m.n_in; i++) {
            if (!done)
                *base = seg[i].addr.v;
            if (seg[i].addr.v != *base + done || *base % VIA_POOL_SLOT)
                return -VIA_ERANGE;
            done += seg[i].len;
        }
    }
    return 0;
}

int via_pool_init_kept(struct via_pool *p, struct via_dma *next, void *mem, size_t len, _Atomic uint64_t *free, size_t words)
{
    uint64_t slots = len / VIA_POOL_SLOT;
    if (!slots || slots > UINT32_MAX - WORD || (uintptr_t)mem % VIA_POOL_SLOT || words < (slots + WORD - 1) / WORD)
        return -VIA_EINVAL;
    *p = (struct via_pool){.mem = mem, .slots = (uint32_t)slots, .next = next, .free = free};
    atomic_init(&p->claimed, slots * KEPT);
    for (uint32_t i = 0; i < words_of(p); i++)
        atomic_init(&free[i], 0);
    return 0;
}

int via_pool_init(struct via_pool *p, struct via_dma *next, void *mem, size_t len, _Atomic uint64_t *free, size_t words)
{
    int r = via_pool_init_kept(p, next, mem, len, free, words);
    if (!r)
        r = via_pool_address(next, mem, (uint64_t)p->slots * VIA_POOL_SLOT, &p->base);
    if (!r)
        via_pool_unkeep(p, 0, p->slots, 0);
    return r;
}

int via_pool_set_port(struct via_pool *p, struct via_port *port)
{
    if (!via_is_pow2(port->line) || port->line > VIA_POOL_SLOT)
        return -VIA_EINVAL;
    VIA_ASSERT(!via_pool_needed(p));
    p->port = port;
    via_port_clean(port, p->mem, (size_t)p->slots * VIA_POOL_SLOT); /* what was here before the zeroes is not for the device to see */
    return 0;
}
