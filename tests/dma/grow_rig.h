/* SPDX-License-Identifier: BSD-2-Clause */
/* A growing pool in memory of which this rig knows what is shared in truth: conversions fail where they are told to. */
#ifndef TESTS_DMA_GROW_RIG_H
#define TESTS_DMA_GROW_RIG_H

#include <stdlib.h>
#include <string.h>

#include <tap.h>
#include <viaduct/grow.h>

#define SLOT 4096u
#define GROW_PHYS 0x40000000ull
#ifndef GROW_SLOTS
#define GROW_SLOTS 256u
#define GROW_CHUNK 16u
#endif
enum { GROW_CHUNKS = GROW_SLOTS / GROW_CHUNK, GROW_WORDS = (GROW_SLOTS + 63) / 64 };
#define NOISE 0xdb /* what a conversion leaves in a page */
enum { IS_PRIVATE, IS_SHARED, IS_UNKNOWN };

struct grow_rig {
    uint8_t *mem;
    uint8_t truth[GROW_SLOTS];
    struct via_protect protect;
    _Atomic uint64_t shared[VIA_PROTECT_WORDS(GROW_SLOTS)], free[GROW_WORDS];
    uint8_t state[GROW_CHUNKS];
    struct via_phys_range range[2];
    struct via_direct direct;
    struct via_dma strict; /* next: direct, of what is shared */
    uint64_t private_asked;
    struct via_grow grow;
    unsigned fail[2];  /* pages until an unshare, a share fails; 0: never */
    unsigned fails[2]; /* how many times then, one after the other */
    unsigned calls[2]; /* unshare, share */
    unsigned bad;      /* a page that never converts; 0: none */
    bool stale;        /* an unshare found somebody's bytes */
    bool odd;          /* a conversion of a page that was so already */
    uint64_t woken;
};

static inline int grow_convert(struct via_protect *p, size_t page, size_t n, size_t *done, bool share)
{
    struct grow_rig *r = via_container_of(p, struct grow_rig, protect);
    r->calls[share]++;
    for (*done = 0; *done < n; ++*done, page++) {
        bool fails = r->fail[share] && r->fail[share]-- == 1;
        if (fails)
            r->fail[share] = --r->fails[share] ? 1 : 0;
        if (fails || (r->bad && page == r->bad)) {
            r->truth[page] = IS_UNKNOWN;
            return -VIA_EIO;
        }
        r->odd |= r->truth[page] == (share ? IS_SHARED : IS_PRIVATE);
        for (unsigned i = 0; i < SLOT && !share; i++)
            r->stale |= r->mem[page * SLOT + i] != 0 && r->mem[page * SLOT + i] != NOISE;
        memset(r->mem + page * SLOT, NOISE, SLOT);
        r->truth[page] = share ? IS_SHARED : IS_PRIVATE;
    }
    return 0;
}

static inline int grow_share(struct via_protect *p, size_t page, size_t n, size_t *done) { return grow_convert(p, page, n, done, true); }
static inline int grow_unshare(struct via_protect *p, size_t page, size_t n, size_t *done) { return grow_convert(p, page, n, done, false); }
static const struct via_protect_ops grow_protect = {"test", grow_share, grow_unshare};

static inline int strict_map(struct via_dma *d, const struct via_span *buf, unsigned out, unsigned in, struct via_mapping *m)
{
    struct grow_rig *r = via_container_of(d, struct grow_rig, strict);
    for (unsigned i = 0; i < out + in; i++)
        if (!via_protect_is_shared(&r->protect, buf[i].ptr, buf[i].len)) {
            r->private_asked++;
            return -VIA_ERANGE;
        }
    return via_dma_map(d->next, buf, out, in, m);
}
static const struct via_dma_ops strict_ops = {"strict", strict_map, NULL, NULL};

static inline void grow_wake(struct via_pool *p, uint64_t queues)
{
    struct via_grow *g = via_container_of(p, struct via_grow, pool);
    via_container_of(g, struct grow_rig, grow)->woken |= queues;
}

/* fail: an unshare or share call to come fails at its page `at` (1: the first), `times` times. */
static inline void grow_fail(struct grow_rig *r, bool share, unsigned at, unsigned times)
{
    r->fail[share] = times ? at : 0;
    r->fails[share] = times;
}

static inline struct via_grow_cfg grow_cfg(struct grow_rig *r)
{
    return (struct via_grow_cfg){
        .next = &r->strict,
        .protect = &r->protect,
        .mem = r->mem,
        .len = GROW_SLOTS * SLOT,
        .chunk = GROW_CHUNK * SLOT,
        .least = GROW_CHUNK * SLOT,
        .low = GROW_CHUNK * SLOT,
        .high = 3 * GROW_CHUNK * SLOT,
        .idle = 1000,
        .free = r->free,
        .words = GROW_WORDS,
        .state = r->state,
        .chunks = GROW_CHUNKS,
    };
}

/* Memory and what is below the pool. */
static inline bool grow_base(struct grow_rig *r)
{
    *r = (struct grow_rig){.mem = aligned_alloc(SLOT, GROW_SLOTS * SLOT)};
    CHECK_OR_FALSE(r->mem);
    memset(r->mem, 0, GROW_SLOTS * SLOT);
    r->range[0] = (struct via_phys_range){r->mem, GROW_SLOTS * SLOT, GROW_PHYS};
    CHECK_OR_FALSE(via_direct_init(&r->direct, r->range, 1) == 0);
    r->strict = (struct via_dma){&strict_ops, &r->direct.dma};
    CHECK_OR_FALSE(via_protect_init(&r->protect, &grow_protect, r->mem, GROW_SLOTS, false, r->shared, VIA_PROTECT_WORDS(GROW_SLOTS)) == 0);
    return true;
}

static inline bool grow_up(struct grow_rig *r, struct via_budget *budget)
{
    CHECK_OR_FALSE(grow_base(r));
    struct via_grow_cfg cfg = grow_cfg(r);
    cfg.budget = budget;
    CHECK_OR_FALSE(via_grow_init(&r->grow, &cfg) == 0);
    r->grow.pool.wake = grow_wake;
    return true;
}

static inline void grow_down(struct grow_rig *r) { free(r->mem); }

static inline uint32_t grow_count(const struct grow_rig *r, uint8_t truth)
{
    uint32_t n = 0;
    for (unsigned i = 0; i < GROW_SLOTS; i++)
        n += r->truth[i] == truth;
    return n;
}

static inline bool grow_is_free(const struct grow_rig *r, unsigned slot) { return atomic_load(&r->free[slot / 64]) >> slot % 64 & 1; }

/* What holds between any two calls. */
static inline bool grow_is_sound(const struct grow_rig *r)
{
    uint32_t is_free = 0, reserved = 0;
    for (unsigned i = 0; i < GROW_SLOTS; i++) {
        bool can = grow_is_free(r, i);
        bool taken_as_private = via_protect_is_private(&r->protect, r->mem + (size_t)i * SLOT, SLOT);
        CHECK_OR_FALSE(!can || r->truth[i] == IS_SHARED);
        CHECK_OR_FALSE(!can || r->state[i / GROW_CHUNK] == VIA_CHUNK_SHARED);
        CHECK_OR_FALSE(!taken_as_private || r->truth[i] == IS_PRIVATE);
        CHECK_OR_FALSE(r->state[i / GROW_CHUNK] != VIA_CHUNK_PRIVATE || taken_as_private);
        CHECK_OR_FALSE(r->state[i / GROW_CHUNK] != VIA_CHUNK_SHARED || r->truth[i] == IS_SHARED);
        is_free += can;
    }
    for (unsigned c = 0; c < GROW_CHUNKS; c++)
        reserved += (r->state[c] == VIA_CHUNK_SHARED || r->state[c] == VIA_CHUNK_DOUBT) * GROW_CHUNK;
    CHECK_OR_FALSE(is_free + via_pool_needed(&r->grow.pool) + via_pool_kept(&r->grow.pool) == GROW_SLOTS);
    CHECK_OR_FALSE(r->grow.stats.reserved == reserved && r->grow.stats.high_water >= reserved);
    CHECK_OR_FALSE(!r->stale && !r->odd && !r->private_asked && !r->grow.busy);
    return true;
}

#endif
